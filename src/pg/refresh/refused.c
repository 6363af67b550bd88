/*
 * refused.c
 *	  Texts of which the model makes no embedding.
 *
 * There may be no token in a text, a component beyond what a half holds, bytes
 * that are no text. One such text must not keep hundreds of others from being
 * embedded: where a batch fails, its halves are tried, down to the texts that
 * are at fault. A refused text is written down by its hash and model, and no
 * refresh tries it again; its items are served as items without text are.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "pg/model/model.h"
#include "pg/refresh/refresh_int.h"

#define ROWS_PER_WRITE 1000

/* ---- finding them ---- */

/* errors that may be of a text rather than of the model, the machine or the server */
static bool
is_of_a_text(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION ||
		sqlstate == ERRCODE_FEATURE_NOT_SUPPORTED || sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
}

/* texts first .. first + n - 1, or an error of one of them */
static void
embed(BrPgTexts *texts, int first, int n)
{
	float *components = palloc_extended(sizeof(float) * (Size) n * texts->dims, MCXT_ALLOC_HUGE);

	memset(texts->precisions + first,
		   br_pg_model_embed(texts->model, texts->texts + first, n, false, NULL, components), n);
	for (int i = 0; i < n; i++)
		texts->embeddings[first + i] =
			br_pg_embedding_from_floats(components + (Size) i * texts->dims, texts->dims);
	pfree(components);
}

/*
 * Whether all n texts were embedded; otherwise *reason says why not. In a
 * subtransaction, since the error may come from anywhere.
 */
static bool
try_embed(BrPgTexts *texts, int first, int n, char **reason)
{
	MemoryContext memory = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool embedded = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(memory);
	PG_TRY();
	{
		embed(texts, first, n);
		ReleaseCurrentSubTransaction();
		embedded = true;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(memory);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(memory);
		CurrentResourceOwner = owner;
		if (!is_of_a_text(error->sqlerrcode))
			ReThrowError(error);
		*reason = error->detail == NULL ? pstrdup(error->message)
										: psprintf("%s: %s", error->message, error->detail);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(memory);
	CurrentResourceOwner = owner;
	return embedded;
}

static void
embed_or_split(BrPgTexts *texts, int first, int n)
{
	char *reason = NULL;

	CHECK_FOR_INTERRUPTS();
	if (n == 0 || try_embed(texts, first, n, &reason))
		return;
	if (n == 1)
	{
		texts->embeddings[first] = NULL;
		texts->reasons[first] = reason;
		return;
	}
	embed_or_split(texts, first, n / 2);
	embed_or_split(texts, first + n / 2, n - n / 2);
}

void
br_pg_texts_embed(BrPgTexts *texts, BrPgRefreshWork *work)
{
	instr_time start, duration;

	texts->embeddings = palloc0(sizeof(BrEmbedding *) * Max(texts->n, 1));
	texts->precisions = palloc0(Max(texts->n, 1));
	texts->reasons = palloc0(sizeof(char *) * Max(texts->n, 1));
	INSTR_TIME_SET_CURRENT(start);
	embed_or_split(texts, 0, texts->n);
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	work->seconds += INSTR_TIME_GET_DOUBLE(duration);
	work->budget -= texts->n;
	for (int i = 0; i < texts->n; i++)
		work->embedded += texts->embeddings[i] != NULL;
}

/* ---- writing them down ---- */

void
br_pg_refused_init(BrPgRefused *refused)
{
	memset(refused, 0, sizeof(*refused));
	refused->memory = CurrentMemoryContext;
}

void
br_pg_refused_keep(BrPgRefused *refused, const uint8 *hash, const char *reason)
{
	MemoryContext before = MemoryContextSwitchTo(refused->memory);
	bytea *copy = palloc(VARHDRSZ + 32);

	if (refused->n == refused->capacity)
	{
		refused->capacity = Max(64, refused->capacity * 2);
		refused->hashes = refused->n == 0
			? palloc(sizeof(Datum) * refused->capacity)
			: repalloc_huge(refused->hashes, sizeof(Datum) * refused->capacity);
		refused->reasons = refused->n == 0
			? palloc(sizeof(Datum) * refused->capacity)
			: repalloc_huge(refused->reasons, sizeof(Datum) * refused->capacity);
	}
	SET_VARSIZE(copy, VARHDRSZ + 32);
	memcpy(VARDATA(copy), hash, 32);
	refused->hashes[refused->n] = PointerGetDatum(copy);
	refused->reasons[refused->n++] = CStringGetTextDatum(reason);
	MemoryContextSwitchTo(before);
}

/*
 * $1 hashes, $2 reasons, $3 the model. Items whose row another transaction holds
 * wait on: the next refresh finds the reason and needs not try. What an older
 * text left in the lists of other items goes with the next refresh.
 */
#define SET_ASIDE(table)                                                                           \
	"WITH refused AS (SELECT u.text_hash, u.reason FROM unnest($1, $2) AS u (text_hash, reason))," \
	" noted AS (INSERT INTO bundle_rec.refused_text (catalog, model, text_hash, reason)"           \
	"  SELECT @, $3, text_hash, reason FROM refused ON CONFLICT DO NOTHING),"                      \
	" free AS (SELECT i.item, r.reason, i.embedding IS NOT NULL AS embedded"                       \
	"  FROM refused r JOIN bundle_rec." table "_@ i ON i.text_hash = r.text_hash"                  \
	"  WHERE i.pending_text IS NOT NULL FOR UPDATE OF i SKIP LOCKED),"                             \
	" changed AS (INSERT INTO bundle_rec.item_change_@ (item)"                                     \
	"  SELECT item FROM free WHERE embedded),"                                                     \
	" emptied AS (UPDATE bundle_rec." table "_@ i SET embedding = NULL, model = NULL,"             \
	"  precision_class = NULL, pending_text = NULL FROM free WHERE i.item = free.item"             \
	"  RETURNING i.item, free.reason)"                                                             \
	" SELECT n.item_id, e.reason FROM emptied e JOIN bundle_rec.item_@ n USING (item)"             \
	" ORDER BY n.item_id"

static void
write_some(const BrPgEmbedJob *job, const BrPgRefused *refused, int first, int n,
		   BrPgRefreshWork *work)
{
	static const Oid types[] = {BYTEAARRAYOID, TEXTARRAYOID, INT4OID};
	Datum values[] = {br_pg_array(refused->hashes + first, NULL, n, BYTEAOID),
					  br_pg_array(refused->reasons + first, NULL, n, TEXTOID),
					  Int32GetDatum(job->model)};
	uint64 items =
		br_pg_execute(br_pg_catalog_sql(job->shadow ? SET_ASIDE("item_shadow") : SET_ASIDE("item"),
										job->catalog->number),
					  lengthof(types), types, values, NULL, false, 0);

	if (items > 0 && work->first_refusal == NULL)
		work->first_refusal =
			psprintf("The first one is \"%s\": %s", br_pg_shown_id(br_pg_column_text(0, 1)),
					 br_pg_column_text(0, 2));
	work->set_aside += items;
	SPI_freetuptable(SPI_tuptable);
}

void
br_pg_refused_write(const BrPgEmbedJob *job, const BrPgRefused *refused, BrPgRefreshWork *work)
{
	BrPgRights rights;

	for (int first = 0; first < refused->n; first += ROWS_PER_WRITE)
	{
		br_pg_enter_owner(&rights);
		write_some(job, refused, first, Min(ROWS_PER_WRITE, refused->n - first), work);
		br_pg_leave(&rights);
		CHECK_FOR_INTERRUPTS();
	}
}

void
br_pg_refused_forget(const BrPgCatalog *catalog)
{
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	/* most catalogs have none, and need not have their items read for it */
	if (br_pg_execute(br_pg_catalog_sql("SELECT FROM bundle_rec.refused_text WHERE catalog = @",
										catalog->number),
					  0, NULL, NULL, NULL, false, 1) > 0)
		br_pg_execute_once(br_pg_catalog_sql("DELETE FROM bundle_rec.refused_text r WHERE r.catalog = @"
											 " AND (NOT EXISTS (SELECT FROM bundle_rec.item_@ i"
											 "  WHERE i.text_hash = r.text_hash)"
											 " OR NOT EXISTS (SELECT FROM bundle_rec.catalog c"
											 "  WHERE c.catalog = @ AND r.model IN (c.model, c.next_model)))",
											 catalog->number),
						   0, NULL, NULL);
	br_pg_leave(&rights);
}

void
br_pg_refused_warn(const BrPgCatalog *catalog, const BrPgRefreshWork *work)
{
	if (work->set_aside == 0)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg_plural("catalog \"%s\" set aside the text of %lld item",
						   "catalog \"%s\" set aside the texts of %lld items",
						   (unsigned long) work->set_aside, catalog->name,
						   (long long) work->set_aside),
			 errdetail("%s", work->first_refusal),
			 errhint("The view bundle_rec.rejected_row lists them; a text that changes is tried"
					 " again.")));
}
