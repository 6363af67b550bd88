/*
 * refresh_embed.c
 *	  The embedding half of refresh: new texts, and the stored neighbours.
 *
 * Embedding takes longest, so its results are kept aside and written last:
 * until then no row of an item is locked. A row that a shopper's statement
 * holds at that moment is left out and stays pending; refresh never waits for
 * the shop.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/embedding.h"
#include "pg/model.h"
#include "pg/refresh_int.h"

#define TEXTS_PER_BATCH 256
#define ROWS_PER_WRITE 1000
#define NOTICE_SECONDS 5

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

void
br_pg_refresh_embeddings(const BrPgCatalog *catalog)
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
