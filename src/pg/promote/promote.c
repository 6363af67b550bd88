/*
 * promote.c
 *	  To another model, and back.
 *
 * Either way the catalog is moved as alter_catalog moves it: the next model is
 * named in this transaction, a job embeds all texts with it beside the one in
 * service, and switches at once when it has them all. The embeddings of the
 * model that was left are not kept, since items change: going back embeds them
 * again, and takes as long as going forth.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/catalog/create.h"
#include "pg/catalog/history.h"
#include "pg/promote/promote_int.h"
#include "pg/worker/job.h"

/* The models of a catalog as they are now: that in service, and the next one; 0: none. */
typedef struct Models
{
	int32 now;
	int32 next;
} Models;

static Models
read_models(int32 catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog)};
	Models models = {0};
	BrPgRights rights;
	bool is_null;
	Datum value;

	br_pg_enter_owner(&rights);
	br_pg_execute_now("SELECT model, next_model FROM bundle_rec.catalog WHERE catalog = $1", 1,
					  types, values);
	br_pg_leave(&rights);
	value = br_pg_column(0, 1, &is_null);
	models.now = is_null ? 0 : DatumGetInt32(value);
	value = br_pg_column(0, 2, &is_null);
	models.next = is_null ? 0 : DatumGetInt32(value);
	SPI_freetuptable(SPI_tuptable);
	return models;
}

static char *
model_name(int32 model)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(model)};
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found = br_pg_execute_now("SELECT name FROM bundle_rec.stored_model WHERE model = $1", 1, types,
							  values);
	br_pg_leave(&rights);
	if (found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("model number %d does not exist", model),
				 errhint("It was dropped; the view bundle_rec.model lists the models.")));
	return br_pg_column_text(0, 1);
}

/* who refreshes or alters the catalog has ended, and waits from now on */
static void
lock_catalog(int32 catalog)
{
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_catalog_lock(catalog);
	br_pg_leave(&rights);
}

static int64
count_texts(int32 catalog)
{
	BrPgRights rights;
	bool is_null;

	br_pg_enter_owner(&rights);
	br_pg_execute_once_now(br_pg_catalog_sql("SELECT pg_catalog.count(DISTINCT text_hash)"
											 " FROM bundle_rec.item_@"
											 " JOIN bundle_rec.item_state_@ USING (item)",
											 catalog),
						   0, NULL, NULL);
	br_pg_leave(&rights);
	return DatumGetInt64(br_pg_column(0, 1, &is_null));
}

/* names the next model and queues what moves the catalog there; returns the job */
static int64
begin_move(const BrPgCatalog *catalog, const BrPgCatalogChange *change)
{
	int64 job;

	br_pg_catalog_alter(catalog->name, change);
	job = br_pg_job_queue_refresh(catalog->name, PG_INT64_MAX);
	ereport(NOTICE,
			(errmsg("catalog \"%s\" moves to model \"%s\"", catalog->name, change->model),
			 errdetail("Job %lld embeds %lld texts with it, and then switches; until then the"
					   " present model serves.",
					   (long long) job, (long long) count_texts(catalog->number)),
			 errhint("The views bundle_rec.job and bundle_rec.catalog_coverage say how far it"
					 " is; rollback_model(%s) takes it back.",
					 quote_literal_cstr(catalog->name))));
	return job;
}

static void
refuse_moving(const BrPgCatalog *catalog, int32 next)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("catalog \"%s\" is moving to model \"%s\"", catalog->name, model_name(next)),
			 errhint("Wait until it has, which refresh completes, or take that back with"
					 " rollback_model(%s).",
					 quote_literal_cstr(catalog->name))));
}

/* the gate compared with a model that may have been left since */
static void
require_same(const BrPgCatalog *catalog)
{
	Models models = read_models(catalog->number);

	if (models.next != 0)
		refuse_moving(catalog, models.next);
	if (models.now != catalog->model)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("catalog \"%s\" came to another model while the gate ran", catalog->name),
				 errdetail("Nothing was written down, and no session was used up."),
				 errhint("Compare with that model: promote once more.")));
}

BrPgVerdict *
br_pg_promote(const BrPgPromotion *promotion)
{
	BrPgCatalogChange change = {.why = promotion->force ? "forced" : "promoted"};
	BrPgGateRun run;

	br_pg_require_writes("promote_model()");
	br_pg_gate_open(&run, promotion);
	require_same(run.catalog);
	change.model = model_name(run.model);
	if (promotion->force)
	{
		run.verdict->forced = true;
		run.verdict->summary = "No gate was asked.";
		ereport(NOTICE,
				(errmsg("model \"%s\" is promoted by force", change.model),
				 errdetail("Nothing says that it is better than the model in service."),
				 errhint("The view bundle_rec.model_history says so from then on.")));
	}
	else
		br_pg_gate_run(&run);
	if (!promotion->force && !run.verdict->passed)
		return run.verdict;
	change.gate = run.verdict->gate;
	lock_catalog(run.catalog->number);
	require_same(run.catalog);
	run.verdict->job = begin_move(run.catalog, &change);
	return run.verdict;
}

/* ---- back ---- */

static void
take_move_back(const BrPgCatalog *catalog, Models models)
{
	BrPgCatalogChange change = {.model = model_name(models.now)};
	char *next = model_name(models.next);

	br_pg_catalog_alter(catalog->name, &change);
	ereport(NOTICE,
			(errmsg("catalog \"%s\" no longer moves to model \"%s\"", catalog->name, next),
			 errdetail("Model \"%s\" goes on serving it; nothing needs to be embedded.",
					   change.model)));
}

int64
br_pg_rollback(const char *name)
{
	BrPgCatalog *catalog;
	BrPgCatalogChange change = {.why = "rolled back"};
	BrPgRights rights;
	Models models;
	int32 former;

	br_pg_require_writes("rollback_model()");
	catalog = br_pg_catalog_open(name);
	br_pg_catalog_require_owner(catalog);
	lock_catalog(catalog->number);
	catalog = br_pg_catalog_reopen(catalog);
	models = read_models(catalog->number);
	if (models.next != 0)
	{
		take_move_back(catalog, models);
		return 0;
	}
	br_pg_enter_owner(&rights);
	former = models.now == 0 ? 0 : br_pg_history_former(catalog->number);
	br_pg_leave(&rights);
	if (former == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no model that catalog \"%s\" could go back to", catalog->name),
				 errdetail("None served it before the present one, or it was dropped."),
				 errhint("alter_catalog moves it to any model.")));
	change.model = model_name(former);
	return begin_move(catalog, &change);
}
