/*
 * shared_words.c
 *	  A name for texts that belong together, from the words they share.
 *
 * The words of all texts get numbers in the order in which they first occur, so
 * that ascending numbers read as the texts do. The few that weigh most are picked
 * one by one.
 */
#include <string.h>

#include "core/learn/words_int.h"

/* A word of the texts, by its number. */
typedef struct Shared
{
	BrText spelled; /* where it first occurs; size 0: to be shown folded */
	int texts;		/* that have it */
	int last_text;	/* of them */
	float idf;
	bool picked;
} Shared;

typedef struct Naming
{
	BrContext *context;
	const BrVocabulary *vocabulary;
	const float *idf;
	float rarest; /* of the catalog's words */
	BrVocabulary *words;
	BrGrowing shared; /* Shared: (words) */
} Naming;

static float
idf_of(const Naming *naming, BrText word)
{
	int32_t number;

	if (naming->vocabulary == NULL)
		return 1;
	number = br_learn_vocabulary_find(naming->vocabulary, word);
	return number >= 0 ? naming->idf[number] : naming->rarest;
}

static BrStatus
take_word(Naming *naming, int text, const BrWord *word)
{
	BrText folded = {word->folded, (size_t) word->size};
	Shared *shared;
	int32_t number;
	BrStatus status = br_learn_vocabulary_add(naming->context, naming->words, folded, &number);

	if (status != BR_OK)
		return status;
	if ((size_t) number == naming->shared.n)
	{
		if (!br_learn_grow(naming->context, &naming->shared, 1, sizeof(Shared)))
			return BR_ERR_MEMORY;
		shared = (Shared *) naming->shared.elements + naming->shared.n++;
		*shared = (Shared){word->spelled, 0, -1, idf_of(naming, folded), false};
	}
	shared = (Shared *) naming->shared.elements + number;
	shared->texts += shared->last_text != text;
	shared->last_text = text;
	return BR_OK;
}

static BrStatus
read_texts(Naming *naming, BrWordReader *reader, const BrText *texts, int n)
{
	BrStatus status = BR_OK;

	for (int i = 0; i < n && status == BR_OK; i++)
	{
		BrWord word = {.size = 1};

		if (br_base_cancelled(naming->context))
			return br_base_fail(naming->context, BR_ERR_CANCELLED, "Naming texts was cancelled.");
		br_learn_word_reader_start(reader, texts[i]);
		while (status == BR_OK)
		{
			status = br_learn_word_reader_next(reader, &word);
			if (status != BR_OK || word.size == 0)
				break;
			status = take_word(naming, i, &word);
		}
	}
	return status;
}

/* marks the words of the name: those that weigh most, as long as they fit */
static void
pick_words(Shared *shared, int n_words, int n_texts)
{
	int least = n_texts > 4 ? (n_texts + 1) / 2 : 2;
	size_t size = 0;
	float rarest = 0;

	for (int i = 0; i < n_words; i++)
		if (shared[i].texts >= least && shared[i].idf > rarest)
			rarest = shared[i].idf;
	for (int picked = 0; picked < BR_SHARED_WORDS_MAX; picked++)
	{
		int best = -1;

		for (int i = 0; i < n_words; i++)
			if (!shared[i].picked && shared[i].texts >= least && shared[i].idf > 0 &&
				shared[i].idf >= rarest / 2 &&
				size + (size > 0) + shared[i].spelled.size <= BR_SHARED_WORDS_SIZE &&
				(best < 0 ||
				 shared[i].idf * (float) shared[i].texts >
					 shared[best].idf * (float) shared[best].texts))
				best = i;
		if (best < 0)
			break;
		shared[best].picked = true;
		size += (size > 0) + shared[best].spelled.size;
	}
}

static void
write_name(const Naming *naming, int n_texts, char *name)
{
	Shared *shared = naming->shared.elements;
	int n = (int) naming->shared.n;
	size_t size = 0;

	for (int i = 0; i < n; i++)
		if (shared[i].spelled.size == 0)
			shared[i].spelled = br_learn_vocabulary_term(naming->words, i);
	pick_words(shared, n, n_texts);
	for (int i = 0; i < n; i++)
		if (shared[i].picked)
		{
			if (size > 0)
				name[size++] = ' ';
			memcpy(name + size, shared[i].spelled.bytes, shared[i].spelled.size);
			size += shared[i].spelled.size;
		}
	name[size] = '\0';
}

BrStatus
br_learn_shared_words(BrContext *context, const BrText *texts, int n,
					  const BrVocabulary *vocabulary, const float *idf,
					  char name[BR_SHARED_WORDS_SIZE + 1])
{
	Naming naming = {.context = context, .vocabulary = vocabulary, .idf = idf, .rarest = 1};
	BrWordReader reader;
	BrStatus status;

	name[0] = '\0';
	if (n < 0 || (vocabulary == NULL) != (idf == NULL))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A name needs 0 or more texts, and a vocabulary with its weights.");
	for (int32_t i = 0; idf != NULL && i < br_learn_vocabulary_size(vocabulary); i++)
		if (i == 0 || idf[i] > naming.rarest)
			naming.rarest = idf[i];
	status = br_learn_vocabulary_create(context, &naming.words);
	if (status != BR_OK)
		return status;
	br_learn_word_reader_init(&reader, context);
	status = read_texts(&naming, &reader, texts, n);
	br_learn_word_reader_free(&reader);
	if (status == BR_OK)
		write_name(&naming, n, name);
	br_base_free(context, naming.shared.elements);
	br_learn_vocabulary_free(context, naming.words);
	return status;
}
