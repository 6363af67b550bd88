/*
 * refresh.c
 *	  What refresh(catalog) does, in one transaction: count the events that
 *	  came, embed new texts, bring the stored neighbours up to date.
 *
 * Counts are changed by differences. A basket that new events touch held some
 * items before and holds some now; items, pairs and baskets gain or lose what
 * differs, so that the counts always equal a plain join over the live events.
 *
 * Embedding takes longest, so its results are kept aside and written last:
 * until then no row of an item is locked. A row that a shopper's statement
 * holds at that moment is left out and stays pending; refresh never waits for
 * the shop.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/catalog_create.h"
#include "pg/catalog_int.h"
#include "pg/embedding.h"
#include "pg/model.h"

#define TEXTS_PER_BATCH 256
#define ROWS_PER_WRITE 1000
#define NOTICE_SECONDS 5
/* after this many changes the planner's idea of the tables is renewed */
#define MANY_CHANGES 1000

/* ---- counting ---- */

/* locks the catalog against another refresh; returns the basket limit of the last one, 0: none */
static int32
lock_state(int32 catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog)};
	Datum value;
	bool is_null;

	if (br_pg_execute("SELECT max_basket_items FROM bundle_rec.catalog_state"
					  " WHERE catalog = $1 FOR UPDATE",
					  1, types, values, NULL, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the catalog was dropped while refresh waited for it")));
	value = br_pg_column(0, 1, &is_null);
	return is_null ? 0 : DatumGetInt32(value);
}

/*
 * The pairs of a basket come from its array of items rather than from a join,
 * whose plan would hang on guesses about tables that have just grown.
 * $1, $2 the largest baskets whose pairs are counted, before and now; $3 whether
 * they differ, so that every basket must be looked at. Purchases without a
 * basket are baskets of their own. A return takes its quantity out of the
 * basket that it names; one that names none takes nothing back.
 */
#define IN_BASKET "kind IN ('purchase', 'return') AND basket_id IS NOT NULL"
#define NET_QUANTITY \
	"pg_catalog.sum(CASE kind WHEN 'purchase' THEN weight ELSE -weight END * quantity)"
/* quantities are sums of doubles: less than this is nothing */
#define SOMETHING "1e-9"

static const char fold_statement[] =
	"WITH folding AS ("
	"  DELETE FROM bundle_rec.event_queue_@ e USING bundle_rec.item_@ i"
	"  WHERE i.item_id = e.item_id"
	"  RETURNING e.*, i.item),"
	" logged AS ("
	"  INSERT INTO bundle_rec.event_@ (source, user_id, item_id, basket_id, kind, quantity, price,"
	"  occurred_at, weight) SELECT source, user_id, item_id, basket_id, kind, quantity, price,"
	"  occurred_at, weight FROM folding),"
	" fresh AS ("
	"  SELECT source, basket_id, item, " NET_QUANTITY " AS quantity FROM folding"
	"  WHERE " IN_BASKET " GROUP BY 1, 2, 3),"
	" single AS ("
	"  SELECT item, pg_catalog.sum(weight) AS delta FROM folding"
	"  WHERE kind = 'purchase' AND basket_id IS NULL GROUP BY 1),"
	" touched AS ("
	"  SELECT source, basket_id FROM fresh UNION"
	"  SELECT source, basket_id FROM bundle_rec.event_@ WHERE $3 AND " IN_BASKET "),"
	" before AS ("
	"  SELECT e.source, e.basket_id, i.item, " NET_QUANTITY " AS quantity FROM touched t"
	"  JOIN bundle_rec.event_@ e USING (source, basket_id)"
	"  JOIN bundle_rec.item_@ i ON i.item_id = e.item_id"
	"  WHERE " IN_BASKET " GROUP BY 1, 2, 3),"
	" member AS ("
	"  SELECT source, basket_id, item, COALESCE(b.quantity, 0) > " SOMETHING " AS was,"
	"  COALESCE(b.quantity, 0) + COALESCE(f.quantity, 0) > " SOMETHING " AS stays"
	"  FROM before b FULL JOIN fresh f USING (source, basket_id, item)),"
	" sized AS MATERIALIZED ("
	"  SELECT source, basket_id, item, was, stays,"
	"  pg_catalog.count(*) FILTER (WHERE was) OVER w AS size_was,"
	"  pg_catalog.count(*) FILTER (WHERE stays) OVER w AS size_is"
	"  FROM member WINDOW w AS (PARTITION BY source, basket_id)),"
	" item_delta AS ("
	"  SELECT item, pg_catalog.sum(delta) AS delta FROM ("
	"   SELECT item, stays::int - was::int AS delta FROM sized"
	"   UNION ALL SELECT item, delta FROM single) d GROUP BY 1),"
	" counted AS ("
	"  INSERT INTO bundle_rec.item_count_@ AS c (item, baskets)"
	"  SELECT item, delta FROM item_delta WHERE delta <> 0 ORDER BY item"
	"  ON CONFLICT (item) DO UPDATE SET baskets = c.baskets + excluded.baskets"
	"  RETURNING 1),"
	" pair_delta AS ("
	"  SELECT a.item, b.item AS other, pg_catalog.sum("
	"   (a.stays AND b.stays AND k.size_is <= $2)::int"
	"   - (a.was AND b.was AND k.size_was <= $1)::int) AS delta"
	"  FROM (SELECT size_was, size_is, pg_catalog.array_agg(item) AS items,"
	"   pg_catalog.array_agg(was) AS was, pg_catalog.array_agg(stays) AS stays FROM sized"
	"   WHERE size_is <= $2 OR size_was <= $1 GROUP BY source, basket_id, 1, 2) k,"
	"  unnest(k.items, k.was, k.stays) AS a (item, was, stays),"
	"  unnest(k.items, k.was, k.stays) AS b (item, was, stays)"
	"  WHERE a.item <> b.item GROUP BY 1, 2),"
	" paired AS ("
	"  INSERT INTO bundle_rec.item_pair_@ AS p (item, other, together)"
	"  SELECT item, other, delta FROM pair_delta WHERE delta <> 0 ORDER BY item, other"
	"  ON CONFLICT (item, other) DO UPDATE SET together = p.together + excluded.together"
	"  RETURNING together)"
	" SELECT (SELECT COALESCE(pg_catalog.sum(delta), 0)::int8 FROM single)"
	" + (SELECT COALESCE(pg_catalog.sum((size_is > 0)::int - (size_was > 0)::int), 0)::int8"
	"    FROM (SELECT DISTINCT source, basket_id, size_was, size_is FROM sized) b),"
	" (SELECT pg_catalog.count(*) FROM folding),"
	" (SELECT pg_catalog.count(*) FROM counted),"
	" (SELECT pg_catalog.count(*) FROM paired WHERE together = 0)";

/* counts what is new; returns how many event rows that was, *baskets the change of baskets */
static int64
fold_events(int32 catalog, int32 limit_was, int64 *baskets)
{
	static const Oid types[] = {INT4OID, INT4OID, BOOLOID};
	Datum values[] = {Int32GetDatum(limit_was), Int32GetDatum(br_pg_max_basket_items),
					  BoolGetDatum(limit_was != 0 && limit_was != br_pg_max_basket_items)};
	bool is_null;
	int64 folded, emptied;

	/* compiling this statement would often take longer than running it */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
	br_pg_execute_once(br_pg_catalog_sql(fold_statement, catalog), lengthof(types), types, values);
	*baskets = DatumGetInt64(br_pg_column(0, 1, &is_null));
	folded = DatumGetInt64(br_pg_column(0, 2, &is_null));
	emptied = DatumGetInt64(br_pg_column(0, 4, &is_null));
	SPI_freetuptable(SPI_tuptable);
	br_pg_execute(br_pg_catalog_sql("DELETE FROM bundle_rec.item_count_@ WHERE baskets = 0",
									catalog),
				  0, NULL, NULL, NULL, false, 0);
	if (emptied > 0)
		br_pg_execute(br_pg_catalog_sql("DELETE FROM bundle_rec.item_pair_@ WHERE together = 0",
										catalog),
					  0, NULL, NULL, NULL, false, 0);
	return folded;
}

static void
write_state(int32 catalog, int64 baskets)
{
	static const Oid types[] = {INT4OID, INT8OID, INT4OID};
	Datum values[] = {Int32GetDatum(catalog), Int64GetDatum(baskets),
					  Int32GetDatum(br_pg_max_basket_items)};

	br_pg_execute(br_pg_catalog_sql("UPDATE bundle_rec.catalog_state SET baskets = baskets + $2,"
									" max_basket_items = $3, refreshed_at = pg_catalog.now(),"
									" typical_price = (SELECT pg_catalog.percentile_cont(0.5)"
									" WITHIN GROUP (ORDER BY s.price) FROM bundle_rec.item_state_@ s"
									" WHERE s.active) WHERE catalog = $1",
									catalog),
				  lengthof(types), types, values, NULL, false, 0);
}

/* ---- embedding ---- */

/* Embeddings made by this refresh, and what they belong to. */
typedef struct Fresh
{
	BrPgMatrix *matrix; /* NULL where no text waits */
	uint8 *hashes;		/* (rows, 32) of the text */
	int capacity;
	int dims;
} Fresh;

typedef struct Progress
{
	int64 done;
	int64 all;
	TimestampTz told;
} Progress;

static void
tell(Progress *progress)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(progress->told, now, NOTICE_SECONDS * 1000))
		return;
	progress->told = now;
	ereport(NOTICE,
			(errmsg("embedded %lld of %lld texts", (long long) progress->done,
					(long long) progress->all)));
}

/* one embedding for each of the items in the array */
static void
keep(Fresh *fresh, ArrayType *items, bytea *hash, const BrEmbedding *embedding)
{
	int n = ArrayGetNItems(ARR_NDIM(items), ARR_DIMS(items));
	const int32 *item = (const int32 *) ARR_DATA_PTR(items);

	for (int i = 0; i < n; i++)
	{
		int row = br_pg_matrix_rows(fresh->matrix);

		if (row == fresh->capacity)
		{
			fresh->capacity *= 2;
			fresh->hashes = repalloc_huge(fresh->hashes, (Size) fresh->capacity * 32);
		}
		memcpy(fresh->hashes + (Size) row * 32, VARDATA_ANY(hash), 32);
		br_pg_matrix_append(fresh->matrix, item[i], embedding->components);
	}
}

/* texts of items of the source that wait */
#define WAITING                                                             \
	" FROM bundle_rec.item_@ p JOIN bundle_rec.item_state_@ s USING (item)" \
	" WHERE p.pending_text IS NOT NULL"

/*
 * Each waiting text once, with the items that have it, and the embedding that
 * another item has of it already, $1 being the model. Those first, then short
 * texts first: a batch of like lengths is embedded fastest.
 */
static const char waiting_texts[] =
	"SELECT p.items, p.text_hash, p.text, d.embedding FROM"
	" (SELECT p.text_hash, pg_catalog.array_agg(p.item) AS items,"
	"  pg_catalog.min(p.pending_text) AS text" WAITING " GROUP BY 1) p"
	" LEFT JOIN LATERAL (SELECT e.embedding FROM bundle_rec.item_@ e"
	"  WHERE e.text_hash = p.text_hash AND e.pending_text IS NULL"
	"  AND e.embedding IS NOT NULL AND e.model = $1 LIMIT 1) d ON true"
	" ORDER BY d.embedding IS NULL, pg_catalog.length(p.text), p.text_hash";

/* not under the caller's snapshot: a refresh that had to wait sees what the other one did */
static Portal
open_cursor(const char *pattern, const BrPgCatalog *catalog)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog->model)};
	MemoryContext caller = CurrentMemoryContext;
	Portal portal;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	portal = SPI_cursor_open_with_args(NULL, br_pg_catalog_sql(pattern, catalog->number), 1, types,
									   values, NULL, false, 0);
	MemoryContextSwitchTo(caller);
	br_pg_leave(&rights);
	return portal;
}

static uint64
fetch(Portal portal, long rows)
{
	MemoryContext caller = CurrentMemoryContext;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	SPI_cursor_fetch(portal, true, rows);
	MemoryContextSwitchTo(caller);
	br_pg_leave(&rights);
	return SPI_processed;
}

/* embeds the rows of the SPI result: items, hash, text, embedding where there is one */
static void
embed_batch(const BrPgCatalog *catalog, Fresh *fresh, SPITupleTable *rows)
{
	int n = 0, dims = br_encoder_info(br_pg_model_encoder(catalog->model))->dimensions;
	char **texts = palloc(sizeof(char *) * rows->numvals);
	float *embeddings = palloc_extended(sizeof(float) * rows->numvals * dims, MCXT_ALLOC_HUGE);
	bool is_null;

	for (uint64 i = 0; i < rows->numvals; i++)
	{
		(void) SPI_getbinval(rows->vals[i], rows->tupdesc, 4, &is_null);
		if (is_null)
			texts[n++] = SPI_getvalue(rows->vals[i], rows->tupdesc, 3);
	}
	if (n > 0)
		br_pg_model_embed(catalog->model, texts, n, false, embeddings);
	n = 0;
	for (uint64 i = 0; i < rows->numvals; i++)
	{
		Datum items = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &is_null);
		Datum hash = SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &is_null);
		Datum known = SPI_getbinval(rows->vals[i], rows->tupdesc, 4, &is_null);

		keep(fresh, DatumGetArrayTypeP(items), DatumGetByteaPP(hash),
			 is_null ? br_pg_embedding_from_floats(embeddings + (Size) n++ * dims, dims)
					 : DatumGetEmbedding(known));
	}
}

static int64
count_waiting_texts(const BrPgCatalog *catalog)
{
	Portal portal =
		open_cursor("SELECT pg_catalog.count(DISTINCT p.text_hash)" WAITING " AND $1 IS NOT NULL",
					catalog);
	bool is_null;
	int64 n;

	fetch(portal, 1);
	n = DatumGetInt64(br_pg_column(0, 1, &is_null));
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
	return n;
}

static void
embed_waiting_texts(const BrPgCatalog *catalog, Fresh *fresh)
{
	Progress progress = {0, count_waiting_texts(catalog), GetCurrentTimestamp()};
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext batch;
	Portal portal;

	if (progress.all == 0)
		return;
	fresh->dims = br_encoder_info(br_pg_model_encoder(catalog->model))->dimensions;
	fresh->matrix = br_pg_matrix_create(fresh->dims);
	fresh->capacity = 1024;
	fresh->hashes = palloc((Size) fresh->capacity * 32);
	batch = AllocSetContextCreate(CurrentMemoryContext, "texts", ALLOCSET_DEFAULT_SIZES);
	portal = open_cursor(waiting_texts, catalog);
	while (fetch(portal, TEXTS_PER_BATCH) > 0)
	{
		SPITupleTable *rows = SPI_tuptable;

		progress.done += rows->numvals;
		MemoryContextSwitchTo(batch);
		embed_batch(catalog, fresh, rows);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(batch);
		SPI_freetuptable(rows);
		CHECK_FOR_INTERRUPTS();
		tell(&progress);
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
	MemoryContextDelete(batch);
}

/* rows first .. first + n - 1 of the fresh embeddings into item_<n> */
static void
write_embeddings(const BrPgCatalog *catalog, Fresh *fresh, int first, int n)
{
	Oid types[] = {INT4ARRAYOID, BYTEAARRAYOID, get_array_type(br_pg_embedding_type()), INT4OID};
	uint16 *halves = palloc(sizeof(uint16) * n * fresh->dims);
	Datum *items = palloc(sizeof(Datum) * n);
	Datum *hashes = palloc(sizeof(Datum) * n);
	Datum *embeddings = palloc(sizeof(Datum) * n);
	Datum values[4];

	br_pg_matrix_read(fresh->matrix, first, n, halves);
	for (int i = 0; i < n; i++)
	{
		bytea *hash = palloc(VARHDRSZ + 32);
		BrEmbedding *embedding = palloc0(BR_EMBEDDING_SIZE(fresh->dims));

		SET_VARSIZE(hash, VARHDRSZ + 32);
		memcpy(VARDATA(hash), fresh->hashes + (Size) (first + i) * 32, 32);
		SET_VARSIZE(embedding, BR_EMBEDDING_SIZE(fresh->dims));
		embedding->dims = fresh->dims;
		memcpy(embedding->components, halves + (Size) i * fresh->dims,
			   sizeof(uint16) * fresh->dims);
		items[i] = Int32GetDatum(br_pg_matrix_item(fresh->matrix, first + i));
		hashes[i] = PointerGetDatum(hash);
		embeddings[i] = PointerGetDatum(embedding);
	}
	values[0] = br_pg_array(items, NULL, n, INT4OID);
	values[1] = br_pg_array(hashes, NULL, n, BYTEAOID);
	values[2] = br_pg_array(embeddings, NULL, n, br_pg_embedding_type());
	values[3] = Int32GetDatum(catalog->model);
	br_pg_execute(br_pg_catalog_sql(
					  "WITH free AS (SELECT i.item, u.text_hash, u.embedding"
					  " FROM unnest($1, $2, $3) AS u (item, text_hash, embedding)"
					  " JOIN bundle_rec.item_@ i ON i.item = u.item AND i.text_hash = u.text_hash"
					  " FOR UPDATE OF i SKIP LOCKED)"
					  " UPDATE bundle_rec.item_@ i SET embedding = free.embedding, model = $4,"
					  " precision_class = 'f32', pending_text = NULL"
					  " FROM free WHERE i.item = free.item AND i.text_hash = free.text_hash",
					  catalog->number),
				  lengthof(types), types, values, NULL, false, 0);
}

static void
write_all_embeddings(const BrPgCatalog *catalog, Fresh *fresh)
{
	MemoryContext batch =
		AllocSetContextCreate(CurrentMemoryContext, "embeddings", ALLOCSET_DEFAULT_SIZES);
	int rows = br_pg_matrix_rows(fresh->matrix);
	BrPgRights rights;

	for (int first = 0; first < rows; first += ROWS_PER_WRITE)
	{
		MemoryContext outer = MemoryContextSwitchTo(batch);

		br_pg_enter_owner(&rights);
		write_embeddings(catalog, fresh, first, Min(ROWS_PER_WRITE, rows - first));
		br_pg_leave(&rights);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(batch);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextDelete(batch);
}

/* ---- the whole ---- */

static void
refresh_embeddings(const BrPgCatalog *catalog)
{
	Fresh fresh = {0};

	embed_waiting_texts(catalog, &fresh);
	if (fresh.dims == 0)
		fresh.dims = br_encoder_info(br_pg_model_encoder(catalog->model))->dimensions;
	br_pg_neighbours_refresh(catalog, fresh.matrix, fresh.dims);
	if (fresh.matrix != NULL)
	{
		write_all_embeddings(catalog, &fresh);
		br_pg_matrix_free(fresh.matrix);
	}
}

static void
analyze(int32 catalog)
{
	int result;

	result =
		SPI_execute(br_pg_catalog_sql("ANALYZE bundle_rec.item_@, bundle_rec.item_state_@,"
									  " bundle_rec.item_count_@, bundle_rec.item_pair_@, bundle_rec.event_@",
									  catalog),
					false, 0);
	if (result < 0)
		elog(ERROR, "could not analyze: %s", SPI_result_code_string(result));
}

void
br_pg_catalog_refresh(const char *name)
{
	BrPgCatalog *catalog = br_pg_catalog_open(name);
	BrPgRights rights;
	int32 limit;
	int64 folded, baskets;

	br_pg_catalog_require_owner(catalog);
	br_pg_enter_owner(&rights);
	limit = lock_state(catalog->number);
	folded = fold_events(catalog->number, limit, &baskets);
	br_pg_leave(&rights);

	if (catalog->model != 0)
		refresh_embeddings(catalog);

	br_pg_enter_owner(&rights);
	write_state(catalog->number, baskets);
	if (folded >= MANY_CHANGES)
		analyze(catalog->number);
	br_pg_leave(&rights);
}
