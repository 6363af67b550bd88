/*
 * queue.c
 *	  A training is asked for: what can be refused, is refused at once.
 *
 * Whoever queues it may be gone when it fails at night; so arguments, rights, the
 * columns of the query and the name of the new model are looked at before.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/catalog/catalog.h"
#include "pg/model/lineage.h"
#include "pg/model/model.h"
#include "pg/train/train_int.h"
#include "pg/worker/job.h"

static void
insert_training(const BrPgTrainPlan *plan)
{
	static const char sql[] =
		"INSERT INTO bundle_rec.stored_training (job, objective, method, query, search_path,"
		" model_name, promote, parent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID,
								TEXTOID, TEXTOID, BOOLOID, INT4OID};
	Datum values[] = {Int64GetDatum(plan->job),
					  CStringGetTextDatum(plan->objective),
					  CStringGetTextDatum(plan->method),
					  plan->query == NULL ? (Datum) 0 : CStringGetTextDatum(plan->query),
					  CStringGetTextDatum(plan->search_path),
					  plan->model_name == NULL ? (Datum) 0 : CStringGetTextDatum(plan->model_name),
					  BoolGetDatum(plan->promote),
					  Int32GetDatum(plan->parent)};
	char nulls[] = "        ";
	BrPgRights rights;

	if (plan->query == NULL)
		nulls[3] = 'n';
	if (plan->model_name == NULL)
		nulls[5] = 'n';
	br_pg_enter_owner(&rights);
	br_pg_execute(sql, lengthof(types), types, values, nulls, false, 0);
	br_pg_leave(&rights);
}

static void
check_models(const BrPgTrainPlan *plan)
{
	BrPgStoredModel teacher;

	if (plan->parent == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("catalog \"%s\" has no model to train", plan->catalog),
				 errhint("Name one: SELECT bundle_rec.alter_catalog(%s, model => 'name').",
						 quote_literal_cstr(plan->catalog))));
	if (br_encoder_addition(br_pg_model_encoder(plan->parent)).kind != BR_ADDITION_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the model of catalog \"%s\" cannot be trained further", plan->catalog),
				 errdetail("It has bottlenecks or a prefix of an earlier training."),
				 errhint("Train the model that it came from, which the view lineage names.")));
	if (plan->model_name != NULL)
		br_pg_model_require_new_name(plan->model_name);
	if (plan->choice.teacher != NULL)
		br_pg_model_get(plan->choice.teacher, &teacher);
}

int64
br_pg_train_queue(const BrPgTrainRequest *request)
{
	const BrPgCatalog *catalog = br_pg_catalog_open(request->catalog);
	BrPgTrainPlan plan = {
		.catalog = catalog->name,
		.objective = unconstify(char *, request->objective),
		.method = unconstify(char *, request->method),
		.query = unconstify(char *, request->query),
		.search_path = namespace_search_path,
		.model_name = unconstify(char *, request->model_name),
		.promote = request->promote,
		.parent = catalog->model,
		.parameters = request->parameters,
	};

	br_pg_catalog_require_owner(catalog);
	br_pg_train_read_parameters(&plan);
	check_models(&plan);
	if (plan.query != NULL)
		br_pg_train_check_query(plan.shape, plan.query);
	plan.job = br_pg_job_queue_training(plan.catalog, plan.parameters);
	insert_training(&plan);
	return plan.job;
}
