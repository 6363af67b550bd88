/*
 * word_parts.c
 *	  Runs of three to five characters of words, which bear misspellings,
 *	  endings and model numbers that share a stem.
 *
 * A word is read between two blanks, so that its beginning and its end are parts
 * of their own; a word that is shorter than a run is one itself.
 */
#include <string.h>

#include "core/learn/words_int.h"

#define SHORTEST 3
#define LONGEST 5
#define PADDED_SIZE (BR_WORD_MAX_SIZE + 2)

typedef struct Parts
{
	BrContext *context;
	BrVocabulary *vocabulary;
	BrGrowing entries; /* of BrEntry */
	int32_t text;
} Parts;

static BrStatus
add_part(Parts *parts, const char *bytes, int size)
{
	BrText term = {bytes, (size_t) size};
	int32_t number;
	BrStatus status = br_learn_vocabulary_add(parts->context, parts->vocabulary, term, &number);

	if (status != BR_OK)
		return status;
	if (!br_learn_grow(parts->context, &parts->entries, 1, sizeof(BrEntry)))
		return BR_ERR_MEMORY;
	((BrEntry *) parts->entries.elements)[parts->entries.n++] = (BrEntry){parts->text, number, 1};
	return BR_OK;
}

/* starts: where each character of the padded word begins, and its end; n characters */
static BrStatus
add_runs(Parts *parts, const char *padded, const int *starts, int n)
{
	BrStatus status = BR_OK;

	for (int length = SHORTEST; status == BR_OK && length <= LONGEST; length++)
	{
		if (n <= length)
			return add_part(parts, padded, starts[n]);
		for (int first = 0; status == BR_OK && first + length <= n; first++)
			status =
				add_part(parts, padded + starts[first], starts[first + length] - starts[first]);
	}
	return status;
}

static BrStatus
add_word(Parts *parts, const BrWord *word)
{
	char padded[PADDED_SIZE];
	int starts[PADDED_SIZE + 1];
	int size = word->size + 2, n = 0;

	padded[0] = padded[size - 1] = ' ';
	memcpy(padded + 1, word->folded, (size_t) word->size);
	for (int i = 0; i < size; i++)
		if ((padded[i] & 0xC0) != 0x80)
			starts[n++] = i;
	starts[n] = size;
	return add_runs(parts, padded, starts, n);
}

static BrStatus
read_text(Parts *parts, BrWordReader *reader, BrText text)
{
	BrStatus status = BR_OK;
	BrWord word = {.size = 1};

	br_learn_word_reader_start(reader, text);
	while (status == BR_OK && word.size > 0)
	{
		status = br_learn_word_reader_next(reader, &word);
		if (status == BR_OK && word.size > 0)
			status = add_word(parts, &word);
	}
	return status;
}

BrStatus
br_learn_word_parts(BrContext *context, const BrText *texts, int n, BrVocabulary *vocabulary,
					const BrProgress *progress, BrSparse *counts)
{
	Parts parts = {.context = context, .vocabulary = vocabulary};
	BrStatus status = BR_OK;
	BrWordReader reader;

	*counts = (BrSparse){0};
	br_learn_word_reader_init(&reader, context);
	for (int i = 0; status == BR_OK && i < n; i++)
	{
		parts.text = i;
		status = read_text(&parts, &reader, texts[i]);
		if (i % 256 != 0)
			continue;
		br_learn_report(progress, i, n);
		if (status == BR_OK && br_base_cancelled(context))
			status = BR_ERR_CANCELLED;
	}
	if (status == BR_OK)
		status = br_learn_sparse_build(context, parts.entries.elements, (int64_t) parts.entries.n,
									   n, br_learn_vocabulary_size(vocabulary), counts);
	br_base_free(context, parts.entries.elements);
	br_learn_word_reader_free(&reader);
	return status;
}
