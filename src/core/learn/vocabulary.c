/*
 * vocabulary.c
 *	  Terms by number and numbers by term, and how often texts have them.
 *
 * All terms stand in one array of bytes, one after the other; a table with open
 * addressing, at most half full, finds a term's number.
 */
#include <stdlib.h>
#include <string.h>

#include "core/learn/words_int.h"

/* Texts between two questions whether to stop, and terms that are put into a larger table. */
#define TEXTS_A_CHECK 1000
#define TERMS_A_CHECK (1 << 16)

struct BrVocabulary
{
	BrGrowing bytes;  /* char: all terms */
	BrGrowing ends;	  /* size_t: where each ends */
	int32_t *numbers; /* (slots); -1: free */
	size_t slots;	  /* a power of two */
};

/* ---- the table ---- */

BrStatus
br_learn_vocabulary_create(BrContext *context, BrVocabulary **made)
{
	BrVocabulary *vocabulary = br_base_alloc_array(context, 1, sizeof(BrVocabulary));

	*made = NULL;
	if (vocabulary == NULL)
		return BR_ERR_MEMORY;
	vocabulary->slots = 64;
	vocabulary->numbers = br_base_alloc(context, vocabulary->slots * sizeof(int32_t));
	if (vocabulary->numbers == NULL)
	{
		br_base_free(context, vocabulary);
		return BR_ERR_MEMORY;
	}
	memset(vocabulary->numbers, 0xFF, vocabulary->slots * sizeof(int32_t));
	*made = vocabulary;
	return BR_OK;
}

void
br_learn_vocabulary_free(BrContext *context, BrVocabulary *vocabulary)
{
	if (vocabulary == NULL)
		return;
	br_base_free(context, vocabulary->bytes.elements);
	br_base_free(context, vocabulary->ends.elements);
	br_base_free(context, vocabulary->numbers);
	br_base_free(context, vocabulary);
}

int32_t
br_learn_vocabulary_size(const BrVocabulary *vocabulary)
{
	return (int32_t) vocabulary->ends.n;
}

BrText
br_learn_vocabulary_term(const BrVocabulary *vocabulary, int32_t number)
{
	const size_t *ends = vocabulary->ends.elements;
	size_t begin = number > 0 ? ends[number - 1] : 0;

	return (BrText){(const char *) vocabulary->bytes.elements + begin, ends[number] - begin};
}

/* FNV-1a, whose upper bits are folded into the lower ones that pick the slot. */
static size_t
slot_of(const BrVocabulary *vocabulary, BrText term)
{
	uint64_t hash = UINT64_C(0xCBF29CE484222325);

	for (size_t i = 0; i < term.size; i++)
		hash = (hash ^ (unsigned char) term.bytes[i]) * UINT64_C(0x100000001B3);
	return (size_t) (hash ^ hash >> 32) & (vocabulary->slots - 1);
}

/* The slot that holds the term, or the free one that would. */
static size_t
probe(const BrVocabulary *vocabulary, BrText term)
{
	size_t slot = slot_of(vocabulary, term);

	for (;; slot = (slot + 1) & (vocabulary->slots - 1))
	{
		BrText there;

		if (vocabulary->numbers[slot] < 0)
			return slot;
		there = br_learn_vocabulary_term(vocabulary, vocabulary->numbers[slot]);
		if (there.size == term.size &&
			(term.size == 0 || memcmp(there.bytes, term.bytes, term.size) == 0))
			return slot;
	}
}

int32_t
br_learn_vocabulary_find(const BrVocabulary *vocabulary, BrText term)
{
	return vocabulary->numbers[probe(vocabulary, term)];
}

/* On failure the table is as it was. */
static BrStatus
double_slots(BrContext *context, BrVocabulary *vocabulary)
{
	BrVocabulary larger = *vocabulary;
	BrStatus status = BR_OK;

	larger.slots = vocabulary->slots * 2;
	larger.numbers = br_base_alloc(context, larger.slots * sizeof(int32_t));
	if (larger.numbers == NULL)
		return BR_ERR_MEMORY;
	memset(larger.numbers, 0xFF, larger.slots * sizeof(int32_t));
	for (int32_t i = 0; status == BR_OK && i < br_learn_vocabulary_size(&larger); i++)
	{
		larger.numbers[probe(&larger, br_learn_vocabulary_term(&larger, i))] = i;
		if ((i + 1) % TERMS_A_CHECK == 0 && br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "Counting words was cancelled.");
	}
	br_base_free(context, status == BR_OK ? vocabulary->numbers : larger.numbers);
	if (status == BR_OK)
		*vocabulary = larger;
	return status;
}

BrStatus
br_learn_vocabulary_add(BrContext *context, BrVocabulary *vocabulary, BrText term, int32_t *number)
{
	size_t slot = probe(vocabulary, term);
	size_t terms = vocabulary->ends.n;

	*number = vocabulary->numbers[slot];
	if (*number >= 0)
		return BR_OK;
	if (terms >= INT32_MAX - 1)
		return br_base_fail(context, BR_ERR_LIMIT, "A vocabulary cannot have more than %zu terms.",
							terms);
	if ((terms + 1) * 2 > vocabulary->slots)
	{
		BrStatus status = double_slots(context, vocabulary);

		if (status != BR_OK)
			return status;
		slot = probe(vocabulary, term);
	}
	if (!br_learn_grow(context, &vocabulary->bytes, term.size, 1) ||
		!br_learn_grow(context, &vocabulary->ends, 1, sizeof(size_t)))
		return BR_ERR_MEMORY;
	if (term.size > 0)
		memcpy((char *) vocabulary->bytes.elements + vocabulary->bytes.n, term.bytes, term.size);
	vocabulary->bytes.n += term.size;
	((size_t *) vocabulary->ends.elements)[vocabulary->ends.n++] = vocabulary->bytes.n;
	*number = (int32_t) terms;
	vocabulary->numbers[slot] = *number;
	return BR_OK;
}

/* ---- counting ---- */

typedef struct Counting
{
	BrContext *context;
	BrVocabulary *vocabulary;
	const BrWordOptions *options;
	BrWordReader reader;
	BrGrowing row; /* int32_t: the terms of one text */
	BrGrowing ids; /* int32_t: of all texts, each term once */
	BrGrowing values;
} Counting;

static BrStatus
count_term(Counting *counting, BrText term)
{
	int32_t number;

	if (counting->options->known)
		number = br_learn_vocabulary_find(counting->vocabulary, term);
	else
	{
		BrStatus status =
			br_learn_vocabulary_add(counting->context, counting->vocabulary, term, &number);

		if (status != BR_OK)
			return status;
	}
	if (number < 0)
		return BR_OK;
	if (!br_learn_grow(counting->context, &counting->row, 1, sizeof(int32_t)))
		return BR_ERR_MEMORY;
	((int32_t *) counting->row.elements)[counting->row.n++] = number;
	return BR_OK;
}

static BrStatus
read_text(Counting *counting, BrText text)
{
	char pair[2 * BR_WORD_MAX_SIZE + 1];
	size_t before = 0; /* bytes of the previous word and the space behind it */

	counting->row.n = 0;
	br_learn_word_reader_start(&counting->reader, text);
	for (;;)
	{
		BrWord word;
		BrStatus status = br_learn_word_reader_next(&counting->reader, &word);
		size_t size = (size_t) word.size;

		if (status != BR_OK || size == 0)
			return status;
		status = count_term(counting, (BrText){word.folded, size});
		if (status == BR_OK && counting->options->pairs)
		{
			memcpy(pair + before, word.folded, size);
			if (before > 0)
				status = count_term(counting, (BrText){pair, before + size});
			memcpy(pair, word.folded, size);
			pair[size] = ' ';
			before = size + 1;
		}
		if (status != BR_OK)
			return status;
	}
}

static int
compare_numbers(const void *left, const void *right)
{
	int32_t a = *(const int32_t *) left;
	int32_t b = *(const int32_t *) right;

	return a < b ? -1 : a > b;
}

/* puts the terms of one text behind those of the texts before */
static BrStatus
close_row(Counting *counting)
{
	int32_t *row = counting->row.elements;
	int32_t *ids;
	float *values;
	size_t n = counting->row.n;

	if (!br_learn_grow(counting->context, &counting->ids, n, sizeof(int32_t)) ||
		!br_learn_grow(counting->context, &counting->values, n, sizeof(float)))
		return BR_ERR_MEMORY;
	if (n > 0)
		qsort(row, n, sizeof(int32_t), compare_numbers);
	ids = counting->ids.elements;
	values = counting->values.elements;
	for (size_t i = 0; i < n;)
	{
		size_t begin = i;

		while (i < n && row[i] == row[begin])
			i++;
		ids[counting->ids.n++] = row[begin];
		values[counting->values.n++] = (float) (i - begin);
	}
	return BR_OK;
}

static BrStatus
count_texts(Counting *counting, const BrText *texts, int n, int64_t *starts)
{
	for (int i = 0; i < n; i++)
	{
		BrStatus status = read_text(counting, texts[i]);

		if (status == BR_OK)
			status = close_row(counting);
		if (status != BR_OK)
			return status;
		starts[i + 1] = (int64_t) counting->ids.n;
		if (i % TEXTS_A_CHECK == 0)
		{
			br_learn_report(counting->options->progress, i, n);
			if (br_base_cancelled(counting->context))
				return br_base_fail(counting->context, BR_ERR_CANCELLED,
									"Counting words was cancelled.");
		}
	}
	br_learn_report(counting->options->progress, n, n);

	/* a matrix has its arrays even where it has no entries */
	return br_learn_grow(counting->context, &counting->ids, 1, sizeof(int32_t)) &&
			br_learn_grow(counting->context, &counting->values, 1, sizeof(float))
		? BR_OK
		: BR_ERR_MEMORY;
}

BrStatus
br_learn_words(BrContext *context, const BrText *texts, int n, BrVocabulary *vocabulary,
			   const BrWordOptions *options, BrSparse *counts)
{
	Counting counting = {.context = context, .vocabulary = vocabulary, .options = options};
	BrStatus status;

	memset(counts, 0, sizeof(*counts));
	if (n < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Words of %d texts cannot be counted.", n);
	counts->starts = br_base_alloc_array(context, (size_t) n + 1, sizeof(int64_t));
	if (counts->starts == NULL)
		return BR_ERR_MEMORY;
	br_learn_word_reader_init(&counting.reader, context);
	status = count_texts(&counting, texts, n, counts->starts);
	br_learn_word_reader_free(&counting.reader);
	br_base_free(context, counting.row.elements);
	counts->rows = n;
	counts->columns = br_learn_vocabulary_size(vocabulary);
	counts->ids = counting.ids.elements;
	counts->values = counting.values.elements;
	if (status != BR_OK)
		br_learn_sparse_free(context, counts);
	return status;
}
