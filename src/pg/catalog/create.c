/*
 * create.c
 *	  Catalogs and event sources come and go.
 *
 * Tables, triggers, first rows and policy appear in one transaction.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "pg/catalog/bundles.h"
#include "pg/catalog/catalog_int.h"
#include "pg/catalog/create.h"
#include "pg/catalog/history.h"
#include "pg/model/model.h"
#include "pg/policy/policy.h"
#include "pg/schedule/schedule.h"

/* ---- create_catalog ---- */

static void
set_name(Datum *values, char *nulls, int i, const char *name)
{
	nulls[i] = name == NULL ? 'n' : ' ';
	if (name != NULL)
		values[i] = DirectFunctionCall1(namein, CStringGetDatum(name));
}

static Datum
name_array(char **names, int n)
{
	Datum *values = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		values[i] = DirectFunctionCall1(namein, CStringGetDatum(names[i]));
	return br_pg_array(values, NULL, n, NAMEOID);
}

static void
tell_taken_name(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("catalog \"%s\" already exists", name),
			 errhint("Choose another name, or drop it with drop_catalog(%s).",
					 quote_literal_cstr(name))));
}

/*
 * Before the source is locked: who changes the catalog of that name locks its
 * row first, and to wait for that row with a source locked would be a deadlock.
 */
static void
refuse_taken_name(const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	if (br_pg_execute_now("SELECT FROM bundle_rec.catalog WHERE name = $1", 1, types, values) > 0)
		tell_taken_name(name);
	br_pg_leave(&rights);
}

/* the catalog's row; returns its number. Waits for who is about to take the same name. */
static int32
insert_catalog(const BrPgCatalog *catalog, const char *image)
{
	static const Oid types[] = {TEXTOID, OIDOID,  NAMEOID,	 NAMEARRAYOID, NAMEOID,
								NAMEOID, NAMEOID, NAMEOID,	 NAMEOID,	   NAMEOID,
								NAMEOID, INT4OID, FLOAT8OID, NAMEOID};
	const char *optional[] =
		{catalog->price,  catalog->cost,	   catalog->stock, catalog->category,
		 catalog->active, catalog->created_at, image};
	Datum values[14] = {0};
	char nulls[15] = "              ";
	Datum state[1];
	bool is_null;
	int32 number;

	values[0] = CStringGetTextDatum(catalog->name);
	values[1] = ObjectIdGetDatum(catalog->items);
	set_name(values, nulls, 2, catalog->item_id);
	values[3] = name_array(catalog->text, catalog->n_text);
	for (int i = 0; i < lengthof(optional); i++)
		set_name(values, nulls, 4 + i, optional[i]);
	values[11] = Int32GetDatum(catalog->model);
	nulls[11] = catalog->model == 0 ? 'n' : ' ';
	values[12] = Float8GetDatum(catalog->discount);
	set_name(values, nulls, 13, GetUserNameFromId(catalog->owner, false));
	if (br_pg_execute("INSERT INTO bundle_rec.catalog (name, items, item_id, text, price, cost, stock,"
					  " category, active, created_at, image, model, discount, owner)"
					  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
					  " ON CONFLICT (name) DO NOTHING RETURNING catalog",
					  lengthof(types), types, values, nulls, false, 0) == 0)
		tell_taken_name(catalog->name);
	number = DatumGetInt32(br_pg_column(0, 1, &is_null));
	state[0] = Int32GetDatum(number);
	br_pg_execute("INSERT INTO bundle_rec.catalog_state (catalog) VALUES ($1)", 1, &types[11],
				  state, NULL, false, 0);
	br_pg_execute("INSERT INTO bundle_rec.catalog_secret (catalog) VALUES ($1)", 1, &types[11],
				  state, NULL, false, 0);
	/* what log_event writes */
	br_pg_execute("INSERT INTO bundle_rec.event_source (catalog) VALUES ($1)", 1, &types[11], state,
				  NULL, false, 0);
	return number;
}

/*
 * An id that is a part of the key names many rows. The partitions of a table
 * need their key to be part of every unique index, so there it may be.
 */
static void
refuse_composite_key(const BrPgCatalog *catalog, Relation source)
{
	BrPgColumn id;

	(void) br_pg_items_open(catalog, source, NULL);
	(void) br_pg_column_find(source, catalog->item_id, BR_PG_COLUMN_TEXT, &id, NULL);
	if (br_pg_source_kind(source) == BR_PG_SOURCE_TABLE && !br_pg_column_is_unique(source, &id) &&
		br_pg_column_is_part_of_key(source, &id))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" is only a part of the primary key of table \"%s\"",
						catalog->item_id, RelationGetRelationName(source)),
				 errdetail("Several rows may have the same id."),
				 errhint("Add a generated column that joins the columns of the key, or make a view"
						 " that does, and name that as item_id.")));
}

void
br_pg_catalog_create(BrPgCatalog *catalog, const char *image, const char *model)
{
	Relation source;
	BrPgColumn column;
	BrPgSyncCounts counts;
	BrPgRights rights;
	Oid by = GetUserId();

	refuse_taken_name(catalog->name);
	source = br_pg_source_open(catalog->items);
	catalog->owner = source->rd_rel->relowner;
	refuse_composite_key(catalog, source);
	(void) br_pg_column_find(source, image, BR_PG_COLUMN_ANY, &column, NULL);
	if (catalog->n_text > 0)
		catalog->model = br_pg_model_number(model);
	else if (model != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" has no text to read", model),
				 errhint("Name the text columns too, or no model.")));

	br_pg_enter_owner(&rights);
	if (catalog->model != 0)
		br_pg_model_hold(catalog->model);
	catalog->number = insert_catalog(catalog, image);
	br_pg_history_serve(&(BrPgService){catalog->number, catalog->model, "created", 0, by});
	br_pg_children_create(catalog->number, catalog->owner);
	br_pg_children_index_embeddings(catalog->number, catalog->model);
	br_pg_leave(&rights);

	br_pg_source_follow(source, "", catalog->number, "items_changed");
	br_pg_items_sync(catalog, source, &counts);

	br_pg_enter_owner(&rights);
	br_pg_policy_create_default(catalog->number, catalog->name);
	br_pg_run(
		br_pg_catalog_sql("ANALYZE bundle_rec.item_@, bundle_rec.item_state_@", catalog->number));
	br_pg_leave(&rights);
	table_close(source, NoLock);
}

/* ---- add_event_source ---- */

/* the source's row; returns its number */
static int32
insert_event_source(const BrPgCatalog *catalog, const BrPgEventRequest *request)
{
	static const Oid types[] = {INT4OID, OIDOID,  NAMEOID, NAMEOID, NAMEOID, NAMEOID,
								NAMEOID, NAMEOID, NAMEOID, NAMEOID, TEXTOID, JSONBOID};
	Datum values[12] = {0};
	char nulls[13] = "            ";
	bool is_null;

	values[0] = Int32GetDatum(catalog->number);
	values[1] = ObjectIdGetDatum(request->events);
	for (int i = 0; i < BR_PG_EVENT_COLUMNS; i++)
		set_name(values, nulls, 2 + i, request->columns[i]);
	values[10] = CStringGetTextDatum(request->default_kind);
	values[11] = request->weights;
	nulls[11] = request->has_weights ? ' ' : 'n';

	if (br_pg_execute("INSERT INTO bundle_rec.event_source (catalog, events, user_id, item_id, bundle_id,"
					  " basket_id, kind, quantity, price, occurred_at, default_kind, weights)"
					  " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, COALESCE($12, l.weights)"
					  " FROM bundle_rec.event_source l WHERE l.catalog = $1 AND l.events IS NULL"
					  " ON CONFLICT (catalog, events) DO NOTHING RETURNING source",
					  lengthof(types), types, values, nulls, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is already an event source of catalog \"%s\"",
						get_rel_name(request->events), catalog->name)));
	return DatumGetInt32(br_pg_column(0, 1, &is_null));
}

int32
br_pg_catalog_add_events(const BrPgCatalog *catalog, const BrPgEventRequest *request)
{
	Relation source;
	BrPgSyncCounts counts;
	BrPgRights rights;
	int32 number;

	br_pg_catalog_require_owner(catalog);
	br_pg_catalog_follow_owner(catalog);
	br_pg_enter_owner(&rights);
	br_pg_catalog_hold(catalog->number);
	br_pg_leave(&rights);
	source = br_pg_source_open(request->events);
	br_pg_enter_owner(&rights);
	number = insert_event_source(catalog, request);
	br_pg_leave(&rights);

	br_pg_source_follow(source, "event_", number, "events_changed");
	br_pg_events_sync(number, source, &counts);
	br_pg_enter_owner(&rights);
	br_pg_run(br_pg_catalog_sql("ANALYZE bundle_rec.event_queue_@", catalog->number));
	br_pg_leave(&rights);
	table_close(source, NoLock);
	return number;
}

/* ---- drop_catalog ---- */

/* those of its sources of events and bundles */
static void
drop_source_triggers(int32 number)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(number)};
	BrPgRights rights;
	SPITupleTable *sources;

	br_pg_enter_owner(&rights);
	br_pg_execute_now("SELECT source, 'event_' FROM bundle_rec.event_source"
					  " WHERE catalog = $1 AND events IS NOT NULL UNION ALL"
					  " SELECT source, 'bundle_' FROM bundle_rec.bundle_source WHERE catalog = $1"
					  " ORDER BY 1",
					  1, types, values);
	br_pg_leave(&rights);
	sources = SPI_tuptable;
	for (uint64 row = 0; row < sources->numvals; row++)
	{
		bool is_null;
		Datum source = SPI_getbinval(sources->vals[row], sources->tupdesc, 1, &is_null);

		br_pg_source_unfollow(SPI_getvalue(sources->vals[row], sources->tupdesc, 2),
							  DatumGetInt32(source));
	}
}

/* Who adds to the catalog, refreshes it or folds its policies holds one of these rows. */
static const char *const wait_for_writers[] = {
	"SELECT FROM bundle_rec.catalog WHERE catalog = $1 FOR UPDATE",
	"SELECT FROM bundle_rec.catalog_state WHERE catalog = $1 FOR UPDATE",
	"SELECT FROM bundle_rec.policy WHERE catalog = $1 FOR UPDATE",
	"SELECT FROM bundle_rec.stored_job WHERE catalog = $1 FOR UPDATE",
};

#define OF_ITS_POLICIES " WHERE policy IN (SELECT policy FROM bundle_rec.policy WHERE catalog = $1)"
#define OF_ITS_JOBS " WHERE job IN (SELECT job FROM bundle_rec.stored_job WHERE catalog = $1)"

/* every row of the extension's own tables that belongs to the catalog */
static const char *const delete_rows[] = {
	"DELETE FROM bundle_rec.unfolded_decision" OF_ITS_POLICIES,
	"DELETE FROM bundle_rec.unfolded_feedback" OF_ITS_POLICIES,
	"DELETE FROM bundle_rec.unattributed_event WHERE catalog = $1",
	"DELETE FROM bundle_rec.posterior" OF_ITS_POLICIES,
	"DELETE FROM bundle_rec.posterior_arm" OF_ITS_POLICIES,
	"DELETE FROM bundle_rec.policy WHERE catalog = $1",
	"DELETE FROM bundle_rec.learned_version WHERE catalog = $1",
	"DELETE FROM bundle_rec.stored_evaluation WHERE catalog = $1",
	"DELETE FROM bundle_rec.stored_gate WHERE catalog = $1",
	"DELETE FROM bundle_rec.stored_model_history WHERE catalog = $1",
	"DELETE FROM bundle_rec.merchandiser_rule WHERE catalog = $1",
	"DELETE FROM bundle_rec.rejected WHERE catalog = $1",
	"DELETE FROM bundle_rec.refused_text WHERE catalog = $1",
	"DELETE FROM bundle_rec.job_data" OF_ITS_JOBS,
	"DELETE FROM bundle_rec.job_checkpoint" OF_ITS_JOBS,
	"DELETE FROM bundle_rec.stored_job_metric" OF_ITS_JOBS,
	"DELETE FROM bundle_rec.stored_training" OF_ITS_JOBS,
	"DELETE FROM bundle_rec.stored_job WHERE catalog = $1",
	"DELETE FROM bundle_rec.event_source WHERE catalog = $1",
	"DELETE FROM bundle_rec.bundle_source WHERE catalog = $1",
	"DELETE FROM bundle_rec.forgotten_user WHERE catalog = $1",
	"DELETE FROM bundle_rec.catalog_secret WHERE catalog = $1",
	"DELETE FROM bundle_rec.catalog_state WHERE catalog = $1",
	"DELETE FROM bundle_rec.catalog WHERE catalog = $1",
};

static void
run_for_catalog(const char *const *statements, int n, int32 number)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(number)};

	for (int i = 0; i < n; i++)
		br_pg_execute_now(statements[i], 1, types, values);
}

void
br_pg_catalog_drop(const char *name)
{
	BrPgCatalog *catalog = br_pg_catalog_open_owned(name);
	int32 number = catalog->number;
	BrPgRights rights;

	/* sources before children, as their writers do */
	br_pg_enter_owner(&rights);
	run_for_catalog(wait_for_writers, lengthof(wait_for_writers), number);
	br_pg_catalog_hold(number); /* unless who was waited for has dropped it */
	br_pg_leave(&rights);
	br_pg_sources_lock(catalog, AccessExclusiveLock);
	br_pg_source_unfollow("", number);
	drop_source_triggers(number);

	br_pg_enter_owner(&rights);
	br_pg_children_drop(number);
	run_for_catalog(delete_rows, lengthof(delete_rows), number);
	br_pg_leave(&rights);
	br_pg_schedule_remove_all(number);
}
