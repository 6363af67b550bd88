/*
 * texts.c
 *	  Texts that were embedded before, from the source once more.
 *
 * A catalog keeps no text that has its embedding, only its hash. Another model
 * needs the texts again: the source is scanned, and a text is taken where its
 * hash is the one that the item has. What differs has changed since, and waits
 * to be embedded anyway. The scan ends, and the lock on the source with it,
 * before anything is embedded.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "pg/catalog/items.h"
#include "pg/refresh/refresh_int.h"

#define BATCH_BYTES (4 * 1024 * 1024)

typedef struct Gathering
{
	BrPgFeed feed; /* reads the source for us */
	BrPgItemSource *items;
	int32 catalog;
	const char *take; /* statement: $1 item ids, $2 hashes, $3 texts */
	MemoryContext batch;
	Datum *ids;
	Datum *hashes;
	Datum *texts;
	int n;
	Size bytes;
} Gathering;

static void
flush(Gathering *gathering)
{
	static const Oid types[] = {TEXTARRAYOID, BYTEAARRAYOID, TEXTARRAYOID};
	MemoryContext outer = MemoryContextSwitchTo(gathering->batch);
	Datum values[3];
	BrPgRights rights;

	values[0] = br_pg_array(gathering->ids, NULL, gathering->n, TEXTOID);
	values[1] = br_pg_array(gathering->hashes, NULL, gathering->n, BYTEAOID);
	values[2] = br_pg_array(gathering->texts, NULL, gathering->n, TEXTOID);
	br_pg_enter_owner(&rights);
	br_pg_prefer_generic_plans();
	br_pg_execute(br_pg_catalog_sql(gathering->take, gathering->catalog), lengthof(types), types,
				  values, NULL, false, 0);
	br_pg_leave(&rights);
	MemoryContextSwitchTo(outer);
	MemoryContextReset(gathering->batch);
	gathering->n = 0;
	gathering->bytes = 0;
	CHECK_FOR_INTERRUPTS();
}

static void
take_row(BrPgFeed *feed, TupleTableSlot *slot, BrPgDifference difference)
{
	Gathering *gathering = (Gathering *) feed;
	MemoryContext outer = MemoryContextSwitchTo(gathering->batch);
	int n = gathering->n;
	BrPgItemRow row;

	br_pg_items_read(gathering->items, slot, &row);
	if (row.rejected == NULL && row.text != NULL)
	{
		gathering->ids[n] = CStringGetTextDatum(row.id);
		gathering->texts[n] = CStringGetTextDatum(row.text);
		/* a text is a bytea of the same bytes */
		gathering->hashes[n] = DirectFunctionCall1(sha256_bytea, gathering->texts[n]);
		gathering->bytes += strlen(row.text);
		gathering->n++;
	}
	MemoryContextSwitchTo(outer);
	if (gathering->n == BR_PG_BATCH_ROWS || gathering->bytes > BATCH_BYTES)
		flush(gathering);
}

/* whether the statement, an EXISTS, says that there is something to gather */
static bool
is_missing(const BrPgCatalog *catalog, const char *pattern)
{
	BrPgRights rights;
	bool is_null, missing;

	br_pg_enter_owner(&rights);
	br_pg_execute_once(br_pg_catalog_sql(pattern, catalog->number), 0, NULL, NULL);
	br_pg_leave(&rights);
	missing = DatumGetBool(br_pg_column(0, 1, &is_null));
	SPI_freetuptable(SPI_tuptable);
	return missing;
}

static void
gather(const BrPgCatalog *catalog, const char *take, char **problem)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "gathered texts", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(memory);
	Relation source = table_open(catalog->items, AccessShareLock);
	static const BrPgFeedMethods gathering_methods = {.add = take_row};
	Gathering gathering = {.catalog = catalog->number, .take = take};
	BrPgFeed *items;

	gathering.batch = AllocSetContextCreate(memory, "texts", ALLOCSET_DEFAULT_SIZES);
	gathering.ids = palloc(sizeof(Datum) * BR_PG_BATCH_ROWS);
	gathering.hashes = palloc(sizeof(Datum) * BR_PG_BATCH_ROWS);
	gathering.texts = palloc(sizeof(Datum) * BR_PG_BATCH_ROWS);
	items = br_pg_items_open(catalog, source, problem);
	if (items != NULL)
	{
		gathering.items = (BrPgItemSource *) items;
		gathering.feed = *items;
		gathering.feed.methods = &gathering_methods;
		br_pg_source_scan(&gathering.feed);
		if (gathering.n > 0)
			flush(&gathering);
	}
	table_close(source, AccessShareLock);
	MemoryContextSwitchTo(outer);
	if (*problem != NULL)
		*problem = pstrdup(*problem);
	MemoryContextDelete(memory);
}

void
br_pg_texts_to_shadow(const BrPgCatalog *catalog, char **problem)
{
	static const char missing[] =
		"SELECT EXISTS (SELECT FROM bundle_rec.item_@ i JOIN bundle_rec.item_state_@ s USING (item)"
		" LEFT JOIN bundle_rec.item_shadow_@ w USING (item)"
		" WHERE i.text_hash IS NOT NULL AND w.text_hash IS DISTINCT FROM i.text_hash)";
	/* the embedding of an older text stays until the new one is embedded */
	static const char take[] =
		"INSERT INTO bundle_rec.item_shadow_@ (item, text_hash, pending_text)"
		" SELECT DISTINCT ON (i.item) i.item, u.text_hash, u.text"
		" FROM unnest($1, $2, $3) AS u (item_id, text_hash, text)"
		" JOIN bundle_rec.item_@ i ON i.item_id = u.item_id AND i.text_hash = u.text_hash"
		" LEFT JOIN bundle_rec.item_shadow_@ w ON w.item = i.item"
		" WHERE w.text_hash IS DISTINCT FROM i.text_hash"
		" ON CONFLICT (item) DO UPDATE SET text_hash = excluded.text_hash,"
		" pending_text = excluded.pending_text";

	*problem = NULL;
	if (is_missing(catalog, missing))
		gather(catalog, take, problem);
}

void
br_pg_texts_recover(const BrPgCatalog *catalog)
{
#define LACKS_EMBEDDING                                                           \
	" i.text_hash IS NOT NULL AND i.pending_text IS NULL AND i.embedding IS NULL" \
	" AND NOT EXISTS (SELECT FROM bundle_rec.refused_text r"                      \
	"  WHERE r.catalog = @ AND r.text_hash = i.text_hash AND r.model ="           \
	"  (SELECT c.model FROM bundle_rec.catalog c WHERE c.catalog = @))"
	static const char missing[] =
		"SELECT EXISTS (SELECT FROM bundle_rec.item_@ i JOIN bundle_rec.item_state_@ s USING (item)"
		" WHERE" LACKS_EMBEDDING ")";
	static const char take[] =
		"WITH free AS (SELECT i.item, u.text"
		" FROM unnest($1, $2, $3) AS u (item_id, text_hash, text)"
		" JOIN bundle_rec.item_@ i ON i.item_id = u.item_id AND i.text_hash = u.text_hash"
		" WHERE" LACKS_EMBEDDING " FOR UPDATE OF i SKIP LOCKED)"
		" UPDATE bundle_rec.item_@ i SET pending_text = free.text FROM free"
		" WHERE i.item = free.item";
#undef LACKS_EMBEDDING
	char *problem = NULL;

	/* without its columns the source gives no text; the trigger's warning has said so */
	if (is_missing(catalog, missing))
		gather(catalog, take, &problem);
}
