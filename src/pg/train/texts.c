/*
 * texts.c
 *	  Texts as token ids, each once.
 *
 * Two texts that the model cannot tell apart are one here, however they are
 * written: as partner and as negative of each other they would teach it what it
 * cannot learn. They are told apart by a hash of 128 bits of their tokens.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/model/model.h"
#include "pg/train/train_int.h"

#define FIRST_ROOM 1024

typedef struct Key
{
	uint64 first;
	uint64 second;
} Key;

typedef struct Known
{
	Key key;
	int32 number;
} Known;

struct BrPgTrainTexts
{
	int32 model;
	bool keeps_strings;
	MemoryContext memory;  /* of all this */
	MemoryContext scratch; /* of a text that is read */
	HTAB *known;
	int n;
	int room;
	int32 *offsets; /* (n + 1) */
	char **strings; /* (n), where they are kept */
	int64 ids_room;
	int32 *ids; /* (offsets[n]) */
};

BrPgTrainTexts *
br_pg_train_texts_create(int32 model, bool keeps_strings)
{
	BrPgTrainTexts *texts = palloc0(sizeof(BrPgTrainTexts));
	HASHCTL control = {.keysize = sizeof(Key), .entrysize = sizeof(Known)};

	texts->model = model;
	texts->keeps_strings = keeps_strings;
	texts->memory = control.hcxt = CurrentMemoryContext;
	texts->scratch =
		AllocSetContextCreate(CurrentMemoryContext, "text in training", ALLOCSET_DEFAULT_SIZES);
	texts->known = hash_create("texts in training", FIRST_ROOM, &control,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	texts->room = texts->ids_room = FIRST_ROOM;
	texts->offsets = palloc0(sizeof(int32) * (texts->room + 1));
	texts->strings = palloc(sizeof(char *) * texts->room);
	texts->ids = palloc(sizeof(int32) * texts->ids_room);
	return texts;
}

static void
append(BrPgTrainTexts *texts, const char *text, const int32 *ids, int n)
{
	int64 total = texts->offsets[texts->n] + (int64) n;

	if (total > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are too many texts to learn from"),
				 errdetail("They have more than %d tokens.", PG_INT32_MAX),
				 errhint("Give a query that returns fewer.")));
	if (texts->n == texts->room)
	{
		texts->room *= 2;
		texts->offsets = repalloc_huge(texts->offsets, sizeof(int32) * ((Size) texts->room + 1));
		texts->strings = repalloc_huge(texts->strings, sizeof(char *) * (Size) texts->room);
	}
	while (total > texts->ids_room)
	{
		texts->ids_room *= 2;
		texts->ids = repalloc_huge(texts->ids, sizeof(int32) * (Size) texts->ids_room);
	}
	memcpy(texts->ids + texts->offsets[texts->n], ids, sizeof(int32) * n);
	if (texts->keeps_strings)
		texts->strings[texts->n] = MemoryContextStrdup(texts->memory, text);
	texts->offsets[++texts->n] = (int32) total;
}

int32
br_pg_train_texts_add(BrPgTrainTexts *texts, const char *text)
{
	MemoryContext outer = MemoryContextSwitchTo(texts->scratch);
	int n;
	int32 *ids = br_pg_model_tokenize(texts->model, text, false, &n);
	Known *known;
	Key key;
	bool found;

	CHECK_FOR_INTERRUPTS();
	MemoryContextSwitchTo(outer);
	key.first = hash_bytes_extended((unsigned char *) ids, (int) (n * sizeof(int32)), 1);
	key.second = hash_bytes_extended((unsigned char *) ids, (int) (n * sizeof(int32)), 2);
	known = hash_search(texts->known, &key, HASH_ENTER, &found);
	if (!found)
	{
		known->number = texts->n;
		append(texts, text, ids, n);
	}
	MemoryContextReset(texts->scratch);
	return known->number;
}

int
br_pg_train_texts_count(const BrPgTrainTexts *texts)
{
	return texts->n;
}

const int32 *
br_pg_train_texts_ids(const BrPgTrainTexts *texts, const int32 **offsets)
{
	*offsets = texts->offsets;
	return texts->ids;
}

char **
br_pg_train_texts_strings(const BrPgTrainTexts *texts)
{
	Assert(texts->keeps_strings);
	return texts->strings;
}
