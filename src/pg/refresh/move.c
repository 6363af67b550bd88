/*
 * move.c
 *	  How refresh takes a catalog from one model to another.
 *
 * alter_catalog names the next model. From then on every refresh embeds texts
 * with it too, into item_shadow_<n>, which no answer reads, while the model in
 * service goes on. Once no text is left, one refresh makes neighbours of the
 * shadows, puts them into item_<n>, and the catalog names the other model. That
 * is one commit: a statement sees all of the one model or all of the other, and
 * reads its query with that one.
 *
 * No item may keep an embedding of the former model, so every row of item_<n>
 * must be locked. That is tried, never waited for, since a row that waits keeps
 * other rows from the shop: where a transaction of the shop holds one for
 * longer than a moment, the switch is left to the next refresh. Neighbours take
 * longest and lock nothing of the shop's, so they come first, and are rolled
 * back with the rest of a failed attempt.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/wait_event.h"

#include "pg/catalog/history.h"
#include "pg/embedding.h"
#include "pg/refresh/refresh_int.h"

#define FETCH_ROWS 1000
#define LOCK_ATTEMPTS 50
#define LOCK_PAUSE_MS 100

typedef struct Move
{
	BrPgCatalog *catalog;
	int32 next;
	int64 held;	   /* rows that the last attempt could not lock */
	int64 changed; /* rows that got another embedding */
} Move;

int32
br_pg_move_models(BrPgCatalog *catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog->number)};
	BrPgRights rights;
	bool is_null;
	Datum next;

	br_pg_enter_owner(&rights);
	br_pg_execute("SELECT model, next_model FROM bundle_rec.catalog WHERE catalog = $1", 1, types,
				  values, NULL, false, 1);
	br_pg_leave(&rights);
	catalog->model = DatumGetInt32(br_pg_column(0, 1, &is_null));
	next = br_pg_column(0, 2, &is_null);
	return is_null ? 0 : DatumGetInt32(next);
}

static char *
model_name(int32 model)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(model)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute("SELECT name FROM bundle_rec.stored_model WHERE model = $1", 1, types, values,
				  NULL, false, 1);
	br_pg_leave(&rights);
	return br_pg_column_text(0, 1);
}

/* a statement over the catalog's tables that gives two numbers */
static void
count_two(const BrPgCatalog *catalog, const char *pattern, int64 *first, int64 *second)
{
	BrPgRights rights;
	bool is_null;

	br_pg_enter_owner(&rights);
	br_pg_execute_once(br_pg_catalog_sql(pattern, catalog->number), 0, NULL, NULL);
	br_pg_leave(&rights);
	*first = DatumGetInt64(br_pg_column(0, 1, &is_null));
	*second = DatumGetInt64(br_pg_column(0, 2, &is_null));
	SPI_freetuptable(SPI_tuptable);
}

/* ---- subtransactions ---- */

/* Keeps what work did where it returns true and keep says so, otherwise takes it back. */
static bool
in_subtransaction(bool (*work)(Move *move), Move *move, bool keep)
{
	MemoryContext memory = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(memory);
	PG_TRY();
	{
		done = work(move);
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
		ReThrowError(error);
	}
	PG_END_TRY();
	if (done && keep)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(memory);
	CurrentResourceOwner = owner;
	return done;
}

/* ---- the switch ---- */

static bool
lock_items(Move *move)
{
	int64 all, locked;

	count_two(move->catalog,
			  "WITH free AS MATERIALIZED (SELECT item FROM bundle_rec.item_@ FOR UPDATE SKIP LOCKED)"
			  " SELECT (SELECT pg_catalog.count(*) FROM bundle_rec.item_@),"
			  " (SELECT pg_catalog.count(*) FROM free)",
			  &all, &locked);
	move->held = all - locked;
	return move->held == 0;
}

/* an attempt that fails gives back the locks that it got, or the shop would wait with us */
static bool
lock_items_patiently(Move *move)
{
	for (int i = 0; i < LOCK_ATTEMPTS; i++)
	{
		if (in_subtransaction(lock_items, move, true))
			return true;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOCK_PAUSE_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

/* the rows of the SPI result: item, embedding */
static void
append_rows(BrPgMatrix *matrix, MemoryContext batch)
{
	MemoryContext outer = MemoryContextSwitchTo(batch);
	bool is_null;

	for (uint64 row = 0; row < SPI_processed; row++)
	{
		BrEmbedding *embedding = DatumGetEmbedding(br_pg_column(row, 2, &is_null));
		int32 item = DatumGetInt32(br_pg_column(row, 1, &is_null));

		MemoryContextSwitchTo(outer);
		br_pg_matrix_append(matrix, item, embedding->components);
		MemoryContextSwitchTo(batch);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextReset(batch);
}

static BrPgMatrix *
read_shadows(const Move *move, int dims)
{
	static const char pattern[] = "SELECT item, embedding FROM bundle_rec.item_shadow_@"
								  " WHERE embedding IS NOT NULL";
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext batch =
		AllocSetContextCreate(CurrentMemoryContext, "shadows", ALLOCSET_DEFAULT_SIZES);
	BrPgMatrix *matrix = br_pg_matrix_create(dims);
	BrPgRights rights;
	Portal portal;

	br_pg_enter_owner(&rights);
	portal = SPI_cursor_open_with_args(NULL, br_pg_catalog_sql(pattern, move->catalog->number), 0,
									   NULL, NULL, NULL, false, CURSOR_OPT_NO_SCROLL);
	do
	{
		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		MemoryContextSwitchTo(caller);
		append_rows(matrix, batch);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	MemoryContextSwitchTo(caller);
	br_pg_leave(&rights);
	MemoryContextDelete(batch);
	return matrix;
}

/*
 * A text that changed since its shadow was made waits, as it would have, with
 * the embedding of the older text. An item that was not in the source has no
 * shadow, and must not keep what the former model made of it.
 */
static void
take_shadows(Move *move)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(move->catalog->number), Int32GetDatum(move->next)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute_once(br_pg_catalog_sql("UPDATE bundle_rec.item_@ i SET"
										 " embedding = w.embedding, model = w.model,"
										 " precision_class = w.precision_class,"
										 " pending_text = CASE WHEN w.pending_text IS NOT NULL"
										 " OR w.text_hash IS DISTINCT FROM i.text_hash THEN i.pending_text END"
										 " FROM bundle_rec.item_@ j LEFT JOIN bundle_rec.item_shadow_@ w"
										 " ON w.item = j.item AND j.text_hash IS NOT NULL"
										 " AND w.embedding IS NOT NULL"
										 " WHERE j.item = i.item"
										 " AND (i.embedding IS NOT NULL OR w.embedding IS NOT NULL)",
										 move->catalog->number),
					   0, NULL, NULL);
	br_pg_execute_once(br_pg_catalog_sql("DELETE FROM bundle_rec.item_shadow_@",
										 move->catalog->number),
					   0, NULL, NULL);
	br_pg_execute("UPDATE bundle_rec.catalog SET model = $2, next_model = NULL WHERE catalog = $1",
				  lengthof(types), types, values, NULL, false, 0);
	br_pg_history_switch(move->catalog->number, move->next);
	br_pg_leave(&rights);
}

static bool
switch_models(Move *move)
{
	int dims = br_pg_refresh_dims(move->next);
	BrPgMatrix *shadows = read_shadows(move, dims);

	br_pg_neighbours_refresh(move->catalog, shadows, dims, true);
	br_pg_matrix_free(shadows);
	if (!lock_items_patiently(move))
		return false;
	take_shadows(move);
	return true;
}

/* ---- a step ---- */

/*
 * How many texts there are, and how many of them the next model lacks. A text
 * that came or changed since the source was scanned is not counted: it waits
 * for whichever model is in service then.
 */
static void
count_texts(const BrPgCatalog *catalog, int64 *all, int64 *lacking)
{
	count_two(catalog,
			  "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER"
			  " (WHERE w.pending_text IS NOT NULL OR i.pending_text IS NULL"
			  " AND (w.embedding IS NULL AND r.text_hash IS NULL"
			  "  OR w.text_hash IS DISTINCT FROM i.text_hash))"
			  " FROM bundle_rec.item_@ i JOIN bundle_rec.item_state_@ s USING (item)"
			  " LEFT JOIN bundle_rec.item_shadow_@ w USING (item)"
			  " LEFT JOIN bundle_rec.refused_text r ON r.catalog = @ AND r.text_hash = i.text_hash"
			  " AND r.model = (SELECT next_model FROM bundle_rec.catalog WHERE catalog = @)"
			  " WHERE i.text_hash IS NOT NULL",
			  all, lacking);
}

static void
tell_held(const Move *move)
{
	ereport(NOTICE,
			(errmsg("catalog \"%s\" is ready for model \"%s\" and still served by \"%s\"",
					move->catalog->name, model_name(move->next), model_name(move->catalog->model)),
			 errdetail("Other transactions hold %lld of its items.", (long long) move->held),
			 errhint("The next refresh tries again.")));
}

bool
br_pg_move_step(BrPgCatalog *catalog, int32 next, BrPgRefreshWork *work, int64 *changed)
{
	BrPgEmbedJob job = {.catalog = catalog, .model = next, .shadow = true};
	Move move = {.catalog = catalog, .next = next};
	BrPgFresh fresh;
	int64 all, lacking;
	char *problem;

	br_pg_texts_to_shadow(catalog, &problem);
	if (problem != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("catalog \"%s\" cannot move to model \"%s\"", catalog->name,
						model_name(next)),
				 errdetail("%s", problem)));
	br_pg_refresh_embed(&job, work, &fresh);
	br_pg_refresh_write(&job, &fresh, work);
	br_pg_refresh_discard(&fresh);

	count_texts(catalog, &all, &lacking);
	if (lacking > 0)
	{
		ereport(NOTICE,
				(errmsg("model \"%s\" has embedded %lld of %lld items of catalog \"%s\"",
						model_name(next), (long long) (all - lacking), (long long) all,
						catalog->name)));
		return false;
	}
	/* whether it can be done, before neighbours are searched for in vain */
	if (!in_subtransaction(lock_items_patiently, &move, false) ||
		!in_subtransaction(switch_models, &move, true))
	{
		tell_held(&move);
		return false;
	}
	ereport(NOTICE,
			(errmsg("catalog \"%s\" is now served by model \"%s\"", catalog->name,
					model_name(next))));
	catalog->model = next;
	*changed = move.changed;
	return true;
}
