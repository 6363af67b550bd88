/*
 * embed.c
 *	  The embedding half of refresh: new texts, and the stored neighbours.
 *
 * Embedding takes longest, so its results are kept aside and written last:
 * until then no row of an item is locked. A row that a shopper's statement
 * holds at that moment is left out and stays pending; refresh never waits for
 * the shop.
 *
 * item_<n> holds what the model in service makes of the texts, item_shadow_<n>
 * what the model makes of them that the catalog is moving to; both have the
 * same columns and are filled by the same statements.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/embedding.h"
#include "pg/model/model.h"
#include "pg/refresh/refresh_int.h"

#define TEXTS_PER_BATCH 256
#define ROWS_PER_WRITE 1000
#define NOTICE_SECONDS 5

/* texts of items of the source that wait */
#define WAITING(table)                                                           \
	" FROM bundle_rec." table "_@ p JOIN bundle_rec.item_state_@ s USING (item)" \
	" WHERE p.pending_text IS NOT NULL"

/*
 * Each waiting text once, with the items that have it, the embedding that
 * another item has of it already, and why it has none if that is known, $1 being
 * the model. Those first, then short texts first: a batch of like lengths is
 * embedded fastest.
 */
#define WAITING_TEXTS(table)                                                          \
	"SELECT p.items, p.text_hash, p.text, d.embedding, r.reason FROM"                 \
	" (SELECT p.text_hash, pg_catalog.array_agg(p.item) AS items,"                    \
	"  pg_catalog.min(p.pending_text) AS text" WAITING(                               \
		table) " GROUP BY 1) p"                                                       \
			   " LEFT JOIN LATERAL (SELECT e.embedding FROM bundle_rec." table "_@ e" \
			   "  WHERE e.text_hash = p.text_hash AND e.pending_text IS NULL"         \
			   "  AND e.embedding IS NOT NULL AND e.model = $1 LIMIT 1) d ON true"    \
			   " LEFT JOIN bundle_rec.refused_text r"                                 \
			   "  ON r.catalog = @ AND r.model = $1 AND r.text_hash = p.text_hash"    \
			   " ORDER BY d.embedding IS NULL AND r.reason IS NULL,"                  \
			   " pg_catalog.length(p.text), p.text_hash"

#define COUNT_TEXTS(table) \
	"SELECT pg_catalog.count(DISTINCT p.text_hash)" WAITING(table) " AND $1 IS NOT NULL"

/*
 * $1 items, $2 hashes of their texts, $3 embeddings, $4 the model, $5 the precisions
 * they were computed in, unless another item had them already
 */
#define WRITE_EMBEDDINGS(table)                                                                           \
	"WITH free AS (SELECT i.item, u.text_hash, u.embedding, u.precision_class"                            \
	" FROM unnest($1, $2, $3, $5) AS u (item, text_hash, embedding, precision_class)"                     \
	" JOIN bundle_rec." table "_@ i ON i.item = u.item AND i.text_hash = u.text_hash"                     \
	" FOR UPDATE OF i SKIP LOCKED)"                                                                       \
	" UPDATE bundle_rec." table "_@ i SET embedding = free.embedding, model = $4,"                        \
	" precision_class = coalesce((SELECT e.precision_class FROM bundle_rec." table "_@ e"                 \
	"  WHERE e.text_hash = free.text_hash AND e.pending_text IS NULL"                                     \
	"  AND e.embedding IS NOT NULL AND e.model = $4 LIMIT 1), free.precision_class), pending_text = NULL" \
	" FROM free WHERE i.item = free.item AND i.text_hash = free.text_hash"

typedef struct Statements
{
	const char *texts;
	const char *count;
	const char *write;
} Statements;

static const Statements of_items = {WAITING_TEXTS("item"), COUNT_TEXTS("item"),
									WRITE_EMBEDDINGS("item")};
static const Statements of_shadows = {WAITING_TEXTS("item_shadow"), COUNT_TEXTS("item_shadow"),
									  WRITE_EMBEDDINGS("item_shadow")};

static const Statements *
statements_of(const BrPgEmbedJob *job)
{
	return job->shadow ? &of_shadows : &of_items;
}

typedef struct Progress
{
	int64 done;
	int64 all;
	TimestampTz told;
} Progress;

static void
tell(const BrPgEmbedJob *job, Progress *progress)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(progress->told, now, NOTICE_SECONDS * 1000))
		return;
	progress->told = now;
	ereport(NOTICE,
			(job->shadow ? errmsg("embedded %lld of %lld texts with the next model",
								  (long long) progress->done, (long long) progress->all)
						 : errmsg("embedded %lld of %lld texts", (long long) progress->done,
								  (long long) progress->all)));
}

/* ---- embedding ---- */

/* one embedding for each of the items in the array */
static void
keep(BrPgFresh *fresh, ArrayType *items, bytea *hash, const BrEmbedding *embedding, uint8 precision)
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
			fresh->precisions = repalloc_huge(fresh->precisions, fresh->capacity);
		}
		memcpy(fresh->hashes + (Size) row * 32, VARDATA_ANY(hash), 32);
		fresh->precisions[row] = precision;
		br_pg_matrix_append(fresh->matrix, item[i], embedding->components);
	}
}

/* not under the caller's snapshot: a refresh that had to wait sees what the other one did */
static Portal
open_cursor(const char *pattern, const BrPgEmbedJob *job)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(job->model)};
	MemoryContext caller = CurrentMemoryContext;
	Portal portal;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	portal = SPI_cursor_open_with_args(NULL, br_pg_catalog_sql(pattern, job->catalog->number), 1,
									   types, values, NULL, false, 0);
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

int
br_pg_refresh_dims(int32 model)
{
	return br_encoder_info(br_pg_model_encoder(model))->dimensions;
}

static bool
is_unknown(SPITupleTable *rows, uint64 row)
{
	bool has_no_embedding, has_no_reason;

	(void) SPI_getbinval(rows->vals[row], rows->tupdesc, 4, &has_no_embedding);
	(void) SPI_getbinval(rows->vals[row], rows->tupdesc, 5, &has_no_reason);
	return has_no_embedding && has_no_reason;
}

/*
 * Takes the rows of the SPI result: items, hash, text, embedding where there is
 * one, reason where there can be none. The other texts are embedded.
 */
static void
embed_batch(const BrPgEmbedJob *job, BrPgFresh *fresh, SPITupleTable *rows, BrPgRefreshWork *work)
{
	BrPgTexts texts = {.model = job->model, .dims = fresh->dims};
	int used = 0;
	bool is_null;
	uint8 usual = (uint8) br_pg_model_computing_of(job->model).precision;

	texts.texts = palloc(sizeof(char *) * rows->numvals);
	for (uint64 i = 0; i < rows->numvals; i++)
		if (is_unknown(rows, i))
			texts.texts[texts.n++] = SPI_getvalue(rows->vals[i], rows->tupdesc, 3);
	br_pg_texts_embed(&texts, work);
	for (uint64 i = 0; i < rows->numvals; i++)
	{
		Datum items = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &is_null);
		bytea *hash = DatumGetByteaPP(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &is_null));
		Datum known = SPI_getbinval(rows->vals[i], rows->tupdesc, 4, &is_null);
		BrEmbedding *embedding = is_null ? NULL : DatumGetEmbedding(known);
		const char *reason = SPI_getvalue(rows->vals[i], rows->tupdesc, 5);
		uint8 precision = usual;

		if (is_unknown(rows, i))
		{
			embedding = texts.embeddings[used];
			precision = texts.precisions[used];
			reason = texts.reasons[used++];
		}
		if (embedding != NULL)
			keep(fresh, DatumGetArrayTypeP(items), hash, embedding, precision);
		else
			br_pg_refused_keep(&fresh->refused, (const uint8 *) VARDATA_ANY(hash), reason);
	}
}

static int64
count_waiting_texts(const BrPgEmbedJob *job)
{
	Portal portal = open_cursor(statements_of(job)->count, job);
	bool is_null;
	int64 n;

	fetch(portal, 1);
	n = DatumGetInt64(br_pg_column(0, 1, &is_null));
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
	return n;
}

void
br_pg_refresh_embed(const BrPgEmbedJob *job, BrPgRefreshWork *work, BrPgFresh *fresh)
{
	Progress progress = {0, count_waiting_texts(job), GetCurrentTimestamp()};
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext batch;
	Portal portal;

	memset(fresh, 0, sizeof(*fresh));
	if (progress.all == 0 || work->budget <= 0)
		return;
	progress.all = Min(progress.all, work->budget);
	/* what keeps it from working at all is no fault of a text */
	(void) br_pg_model_computing();
	fresh->dims = br_pg_refresh_dims(job->model);
	fresh->matrix = br_pg_matrix_create(fresh->dims);
	fresh->capacity = 1024;
	fresh->hashes = palloc((Size) fresh->capacity * 32);
	fresh->precisions = palloc(fresh->capacity);
	batch = AllocSetContextCreate(CurrentMemoryContext, "texts", ALLOCSET_DEFAULT_SIZES);
	portal = open_cursor(statements_of(job)->texts, job);
	br_pg_refused_init(&fresh->refused);
	while (work->budget > 0 && fetch(portal, (long) Min(TEXTS_PER_BATCH, work->budget)) > 0)
	{
		SPITupleTable *rows = SPI_tuptable;

		progress.done += rows->numvals;
		MemoryContextSwitchTo(batch);
		embed_batch(job, fresh, rows, work);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(batch);
		SPI_freetuptable(rows);
		CHECK_FOR_INTERRUPTS();
		tell(job, &progress);
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
	MemoryContextDelete(batch);
}

/* ---- writing ---- */

/* rows first .. first + n - 1 of the fresh embeddings into the job's table */
static void
write_some(const BrPgEmbedJob *job, BrPgFresh *fresh, int first, int n)
{
	Oid types[] = {INT4ARRAYOID, BYTEAARRAYOID, get_array_type(br_pg_embedding_type()), INT4OID,
				   TEXTARRAYOID};
	uint16 *halves = palloc(sizeof(uint16) * n * fresh->dims);
	Datum *items = palloc(sizeof(Datum) * n);
	Datum *hashes = palloc(sizeof(Datum) * n);
	Datum *embeddings = palloc(sizeof(Datum) * n);
	char **precisions = palloc(sizeof(char *) * n);
	Datum values[5];

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
		precisions[i] = unconstify(char *, br_pg_precision_name(fresh->precisions[first + i]));
	}
	values[0] = br_pg_array(items, NULL, n, INT4OID);
	values[1] = br_pg_array(hashes, NULL, n, BYTEAOID);
	values[2] = br_pg_array(embeddings, NULL, n, br_pg_embedding_type());
	values[3] = Int32GetDatum(job->model);
	values[4] = br_pg_text_array_datum(precisions, n);
	br_pg_execute(br_pg_catalog_sql(statements_of(job)->write, job->catalog->number),
				  lengthof(types), types, values, NULL, false, 0);
}

void
br_pg_refresh_write(const BrPgEmbedJob *job, BrPgFresh *fresh, BrPgRefreshWork *work)
{
	MemoryContext batch;
	BrPgRights rights;
	int rows;

	if (fresh->matrix == NULL)
		return;
	batch = AllocSetContextCreate(CurrentMemoryContext, "embeddings", ALLOCSET_DEFAULT_SIZES);
	rows = br_pg_matrix_rows(fresh->matrix);
	for (int first = 0; first < rows; first += ROWS_PER_WRITE)
	{
		MemoryContext outer = MemoryContextSwitchTo(batch);

		br_pg_enter_owner(&rights);
		write_some(job, fresh, first, Min(ROWS_PER_WRITE, rows - first));
		br_pg_leave(&rights);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(batch);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextDelete(batch);
	br_pg_refused_write(job, &fresh->refused, work);
}

void
br_pg_refresh_discard(BrPgFresh *fresh)
{
	if (fresh->matrix == NULL)
		return;
	br_pg_matrix_free(fresh->matrix);
	pfree(fresh->hashes);
	pfree(fresh->precisions);
	fresh->matrix = NULL;
}

/* ---- the whole ---- */

int64
br_pg_refresh_embeddings(BrPgCatalog *catalog, BrPgRefreshWork *work)
{
	BrPgEmbedJob job = {.catalog = catalog};
	BrPgFresh fresh;
	int64 changed = 0;
	int32 next;

	/* a refresh that waited for another one's lock must not find an older model in its snapshot */
	PushActiveSnapshot(GetLatestSnapshot());
	next = br_pg_move_models(catalog);
	job.model = catalog->model;
	br_pg_refresh_embed(&job, work, &fresh);
	if (next == 0 || !br_pg_move_step(catalog, next, work, &changed))
	{
		br_pg_neighbours_refresh(catalog, fresh.matrix, br_pg_refresh_dims(catalog->model), false);
		br_pg_refresh_write(&job, &fresh, work);
		changed = fresh.matrix == NULL ? 0 : br_pg_matrix_rows(fresh.matrix);
	}
	br_pg_refresh_discard(&fresh);
	br_pg_texts_recover(catalog);
	br_pg_refused_forget(catalog);
	br_pg_refused_warn(catalog, work);
	PopActiveSnapshot();
	return changed;
}
