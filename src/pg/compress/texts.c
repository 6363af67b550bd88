/*
 * texts.c
 *	  Texts that a model is compressed for, and those that it is judged by.
 *
 * Equal texts count once, so that none is on both sides. Which are left out is
 * drawn by the seed from the texts in the order of their hashes, so that the same
 * texts are parted alike whatever their items are called.
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/compress/compress_int.h"
#include "pg/learn/detect.h"

/* Items asked for together, and the least texts of which one can be left out. */
#define ITEMS_AT_ONCE 10000
#define LEAST_TEXTS 5

/* One item for each different text, in the order of the texts' hashes. */
static char **
read_item_ids(const BrPgCatalog *catalog, int *n)
{
	static const char sql[] =
		"SELECT min(i.item_id) FROM bundle_rec.item_@ i JOIN bundle_rec.item_state_@ s USING (item)"
		" WHERE i.text_hash IS NOT NULL GROUP BY i.text_hash ORDER BY i.text_hash";
	BrPgRights rights;
	MemoryContext caller = CurrentMemoryContext;
	char **ids;
	uint64 found;

	br_pg_enter_owner(&rights);
	found = br_pg_execute_once(br_pg_catalog_sql(sql, catalog->number), 0, NULL, NULL);
	MemoryContextSwitchTo(caller);
	ids = MemoryContextAllocHuge(caller, sizeof(char *) * Max(found, 1));
	for (uint64 i = 0; i < found; i++)
		ids[i] = br_pg_column_text(i, 1);
	br_pg_leave(&rights);
	SPI_freetuptable(SPI_tuptable);
	*n = (int) found;
	return ids;
}

/* Of so many ids those that have a text now, with it. */
static int
read_texts(const BrPgCatalog *catalog, char **ids, int n, const char **texts)
{
	int found = 0;

	for (int first = 0; first < n; first += ITEMS_AT_ONCE)
	{
		int some = Min(n - first, ITEMS_AT_ONCE);
		char **own = br_pg_source_texts(catalog, ids + first, some);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < some; i++)
			if (own[i][0] != '\0')
				texts[found++] = own[i];
	}
	return found;
}

static void
shuffle(const char **texts, int n, uint64 seed)
{
	BrRandom random;

	br_base_random_init(&random, seed, 0);
	for (int i = n - 1; i > 0; i--)
	{
		int other = (int) br_base_random_below(&random, (uint32) i + 1);
		const char *text = texts[i];

		texts[i] = texts[other];
		texts[other] = text;
	}
}

static BrPgCompressTexts
part_of(const char **texts, int n)
{
	BrPgCompressTexts part = {texts, palloc_extended(sizeof(size_t) * Max(n, 1), MCXT_ALLOC_HUGE),
							  n};

	for (int i = 0; i < n; i++)
	{
		texts[i] = pg_server_to_any(texts[i], strlen(texts[i]), PG_UTF8);
		part.sizes[i] = strlen(texts[i]);
	}
	return part;
}

void
br_pg_compress_texts(const BrPgCatalog *catalog, int most_sample, uint64 seed,
					 BrPgCompressTexts *learned, BrPgCompressTexts *sample)
{
	int n;
	char **ids = read_item_ids(catalog, &n);
	const char **texts = palloc_extended(sizeof(char *) * Max((Size) n, 1), MCXT_ALLOC_HUGE);
	int n_sample;

	n = read_texts(catalog, ids, n, texts);
	if (n < LEAST_TEXTS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("catalog \"%s\" has too few texts to compress a model for", catalog->name),
				 errdetail("It has %d different ones; %d are needed.", n, LEAST_TEXTS),
				 catalog->n_text == 0
					 ? errhint("Name text columns with alter_catalog, then refresh the catalog.")
					 : errhint("Refresh the catalog, if its items have texts by now.")));
	shuffle(texts, n, seed);
	n_sample = Min(most_sample, n / LEAST_TEXTS);
	*sample = part_of(texts, n_sample);
	*learned = part_of(texts + n_sample, n - n_sample);
}

char *
br_pg_compress_texts_hash(const BrPgCompressTexts *texts)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	char *hex = palloc0(2 * sizeof(digest) + 1);
	bool done = pg_cryptohash_init(hash) == 0;

	for (int i = 0; i < texts->n && done; i++)
		done =
			pg_cryptohash_update(hash, (const uint8 *) texts->texts[i], texts->sizes[i] + 1) == 0;
	if (!done || pg_cryptohash_final(hash, digest, sizeof(digest)) != 0)
		elog(ERROR, "could not compute SHA-256 of texts: %s", pg_cryptohash_error(hash));
	pg_cryptohash_free(hash);
	hex_encode((const char *) digest, sizeof(digest), hex);
	return hex;
}
