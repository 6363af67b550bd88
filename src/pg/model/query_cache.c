/*
 * query_cache.c
 *	  Embeddings of the single texts that this session embedded last.
 *
 * A text is found by a hash of it, and taken only where all that its embedding
 * depends on is equal; the model is meant by the hash of its contents, so that
 * nothing kept can be stale. Entries hang in the order of their use. All of it
 * lies in one memory context, whose size is what the setting bounds: entries
 * leave until it fits, at the latest when none is left.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/ilist.h"
#include "utils/memutils.h"

#include "pg/model/model_int.h"

#define BLOCK_SIZE (8 * 1024)
#define LEAST_SIZE (4 * BLOCK_SIZE) /* of a cache that is worth its own blocks */
#define TYPICAL_ENTRY 1024			/* bytes: of 384 dimensions, and a line of text */
/* an entry of more than this part of the cache would push out too many others */
#define LARGEST_PART 8

typedef struct Entry
{
	dlist_node recency;
	struct Entry *next; /* of the same bucket */
	uint32 text_hash;
	uint8 model[BR_PG_HASH_SIZE];
	BrPgComputing by;
	bool parse_special;
	const char *text;
	BrEmbedding embedding; /* and its components, and the text */
} Entry;

static MemoryContext memory = NULL;
static dlist_head recency; /* the entry used last stands first */
static Entry **buckets;	   /* (n_buckets) */
static uint32 n_buckets;   /* a power of 2 */
static int kilobytes;	   /* of the setting, when buckets were made */

static void
drop_all(void)
{
	if (memory != NULL)
		MemoryContextDelete(memory);
	memory = NULL;
}

/* Makes the cache ready; false where the setting allows none. */
static bool
prepare(void)
{
	if (memory != NULL && kilobytes == br_pg_query_cache)
		return true;
	drop_all();
	if (br_pg_query_cache * 1024L < LEAST_SIZE)
		return false;
	memory = GenerationContextCreate(TopMemoryContext, "bundle_rec query cache", 0, BLOCK_SIZE,
									 BLOCK_SIZE);
	kilobytes = br_pg_query_cache;
	n_buckets = pg_nextpower2_32(Max(1, (uint32) kilobytes * 1024 / TYPICAL_ENTRY));
	buckets = MemoryContextAllocZero(memory, sizeof(Entry *) * n_buckets);
	dlist_init(&recency);
	return true;
}

static uint32
hash_of(const BrPgQueryKey *key)
{
	return hash_bytes((const unsigned char *) key->text, (int) strlen(key->text));
}

/* Where the pointer to the entry stands, or would stand. */
static Entry **
place_of(const BrPgQueryKey *key, uint32 text_hash)
{
	Entry **place = &buckets[text_hash & (n_buckets - 1)];

	for (; *place != NULL; place = &(*place)->next)
	{
		const Entry *entry = *place;

		if (entry->text_hash == text_hash && entry->by.backend == key->by.backend &&
			entry->by.precision == key->by.precision &&
			entry->parse_special == key->parse_special &&
			memcmp(entry->model, key->hash, BR_PG_HASH_SIZE) == 0 &&
			strcmp(entry->text, key->text) == 0)
			break;
	}
	return place;
}

static void
drop_least_recent(void)
{
	Entry *entry = dlist_container(Entry, recency, dlist_tail_node(&recency));
	Entry **place = &buckets[entry->text_hash & (n_buckets - 1)];

	while (*place != entry)
		place = &(*place)->next;
	*place = entry->next;
	dlist_delete(&entry->recency);
	pfree(entry);
}

BrEmbedding *
br_pg_query_find(const BrPgQueryKey *key)
{
	BrEmbedding *copy;
	Entry *entry;

	if (!prepare())
		return NULL;
	entry = *place_of(key, hash_of(key));
	if (entry == NULL)
		return NULL;
	dlist_move_head(&recency, &entry->recency);
	copy = palloc(VARSIZE(&entry->embedding));
	memcpy(copy, &entry->embedding, VARSIZE(&entry->embedding));
	return copy;
}

static Entry *
make_entry(const BrPgQueryKey *key, uint32 text_hash, const BrEmbedding *embedding)
{
	size_t embedding_end = offsetof(Entry, embedding) + VARSIZE(embedding);
	size_t text_size = strlen(key->text) + 1;
	Entry *entry = MemoryContextAllocExtended(memory, embedding_end + text_size, MCXT_ALLOC_HUGE);

	entry->text_hash = text_hash;
	memcpy(entry->model, key->hash, BR_PG_HASH_SIZE);
	entry->by = key->by;
	entry->parse_special = key->parse_special;
	memcpy(&entry->embedding, embedding, VARSIZE(embedding));
	memcpy((char *) entry + embedding_end, key->text, text_size);
	entry->text = (char *) entry + embedding_end;
	return entry;
}

void
br_pg_query_keep(const BrPgQueryKey *key, const BrEmbedding *embedding)
{
	size_t size = sizeof(Entry) + VARSIZE(embedding) + strlen(key->text) + 1;
	size_t limit = (size_t) br_pg_query_cache * 1024;
	uint32 text_hash = hash_of(key);
	Entry **place;
	Entry *entry;

	if (size > limit / LARGEST_PART || !prepare())
		return;
	place = place_of(key, text_hash);
	if (*place != NULL)
		return;
	entry = make_entry(key, text_hash, embedding);
	entry->next = NULL;
	*place = entry;
	dlist_push_head(&recency, &entry->recency);
	while (!dlist_is_empty(&recency) && MemoryContextMemAllocated(memory, false) > limit)
		drop_least_recent();
}
