/*
 * text_memory.c
 *	  Vectors of texts that this session met in indexes.
 *
 * The executor asks the operator for the distance of every row that a scan
 * returns, and knows only the row's text. The scan knows its vector too, and
 * leaves it here, so that no text is embedded for being found. Rows that wait
 * in a pending list keep their vectors here from one query to the next.
 *
 * A vector is found by hashes of its model and text, so that nothing kept can
 * be stale; those used last stay.
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "pg/am/text_int.h"

#define MEMORY_BYTES (1024 * 1024)
#define LEAST_VECTORS 64

typedef struct Key
{
	uint8 model[BR_PG_HASH_SIZE];
	uint8 text[BR_AM_TEXT_HASH_SIZE];
} Key;

typedef struct Kept
{
	Key key;
	dlist_node recency;
	int dims;
	uint16 *vector; /* (dims) */
} Kept;

static MemoryContext memory = NULL; /* of vectors */
static HTAB *table = NULL;
static dlist_head recency; /* the one used last stands first */

static void
prepare(void)
{
	HASHCTL control = {.keysize = sizeof(Key), .entrysize = sizeof(Kept)};

	if (table != NULL)
		return;
	if (memory == NULL)
		memory = AllocSetContextCreate(TopMemoryContext, "bundle_ann vectors of texts",
									   ALLOCSET_DEFAULT_SIZES);
	control.hcxt = memory;
	dlist_init(&recency);
	table = hash_create("bundle_ann vectors of texts", LEAST_VECTORS, &control,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
set_key(Key *key, const uint8 *model_hash, const uint8 *text_hash)
{
	memcpy(key->model, model_hash, sizeof(key->model));
	memcpy(key->text, text_hash, sizeof(key->text));
}

static void
drop_least_recent(void)
{
	Kept *kept = dlist_container(Kept, recency, dlist_tail_node(&recency));

	dlist_delete(&kept->recency);
	pfree(kept->vector);
	hash_search(table, &kept->key, HASH_REMOVE, NULL);
}

const uint16 *
br_am_recall_text(const uint8 model_hash[BR_PG_HASH_SIZE],
				  const uint8 text_hash[BR_AM_TEXT_HASH_SIZE], int *dims)
{
	Key key;
	Kept *kept;

	if (table == NULL)
		return NULL;
	set_key(&key, model_hash, text_hash);
	kept = hash_search(table, &key, HASH_FIND, NULL);
	if (kept == NULL)
		return NULL;
	dlist_move_head(&recency, &kept->recency);
	*dims = kept->dims;
	return kept->vector;
}

void
br_am_remember_text(const BrAmMeta *meta, const uint8 text_hash[BR_AM_TEXT_HASH_SIZE],
					const uint16 *vector, int dims)
{
	Size size = sizeof(uint16) * dims;
	long most = Max(LEAST_VECTORS, MEMORY_BYTES / (long) (sizeof(Kept) + size));
	uint16 *copy;
	Kept *kept;
	Key key;
	bool known;

	prepare();
	set_key(&key, meta->model_hash, text_hash);
	kept = hash_search(table, &key, HASH_FIND, NULL);
	if (kept != NULL)
	{
		/* one model gives all its texts the same dimensions */
		memcpy(kept->vector, vector, sizeof(uint16) * Min(dims, kept->dims));
		dlist_move_head(&recency, &kept->recency);
		return;
	}
	while (hash_get_num_entries(table) >= most)
		drop_least_recent();
	copy = MemoryContextAlloc(memory, size);
	memcpy(copy, vector, size);
	kept = hash_search(table, &key, HASH_ENTER, &known);
	kept->dims = dims;
	kept->vector = copy;
	dlist_push_head(&recency, &kept->recency);
}
