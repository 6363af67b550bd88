/*
 * words_int.h
 *	  What the files about words share: a reader of words.
 *
 * Files that include it need utf8proc, and are left out where it is missing.
 */
#ifndef WORDS_INT_H
#define WORDS_INT_H

#include "core/learn/growing_int.h"
#include "core/learn/learn_int.h"

typedef struct BrWord
{
	const char *folded;
	int size;		/* 1 .. BR_WORD_MAX_SIZE; 0: the text has no more words */
	BrText spelled; /* where it stands in the text; size 0: what stands there is several words */
} BrWord;

/* Reads the words of one text after the other. */
typedef struct BrWordReader
{
	BrContext *context;
	int64_t words; /* read so far */
	BrText text;
	size_t at;
	BrText piece;  /* of the text: what is being folded */
	BrText folded; /* the piece's, in characters */
	size_t folded_at;
	int32_t *characters; /* (room) */
	size_t room;
} BrWordReader;

extern void br_learn_word_reader_init(BrWordReader *reader, BrContext *context);
extern void br_learn_word_reader_free(BrWordReader *reader);
extern void br_learn_word_reader_start(BrWordReader *reader, BrText text);

/* The word is valid until the next call. BR_ERR_ARGUMENT: not UTF-8; BR_ERR_CANCELLED. */
extern BrStatus br_learn_word_reader_next(BrWordReader *reader, BrWord *word);

#endif /* WORDS_INT_H */
