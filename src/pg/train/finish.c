/*
 * finish.c
 *	  The end of a training: what was learned becomes a model, and perhaps the
 *	  catalog's next one.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/model/lineage.h"
#include "pg/model/model.h"
#include "pg/promote/promote.h"
#include "pg/train/training.h"
#include "pg/worker/job.h"

/* ---- seeds ---- */

/* Of the context of the training (br_base_free). */
static void *
learned_image(Training *training, Size *size)
{
	Size parent_size;
	const void *parent = br_pg_model_image(training->plan.parent, &parent_size);
	void *image;

	br_pg_check(br_tune_image(training->tune, parent, parent_size, &image, size),
				&training->context, "what was trained makes no model", NULL);
	return image;
}

static void
keep_if_best(Training *training)
{
	static const Oid types[] = {INT8OID, INT4OID, FLOAT8OID};
	BrPgTrainPlan *plan = &training->plan;
	double figure = training->progress.best_figure;
	void *image;
	Size size;
	Datum values[] = {Int64GetDatum(plan->job), Int32GetDatum(plan->seeds_done),
					  Float8GetDatum(figure)};

	if (plan->best_seed >= 0 && figure <= plan->best_figure)
		return;
	image = learned_image(training, &size);
	br_pg_train_keep_best(plan->job, plan->seeds_done, image, size);
	br_pg_job_execute("UPDATE bundle_rec.stored_training SET best_seed = $2, best_figure = $3"
					  " WHERE job = $1",
					  lengthof(types), types, values);
	br_base_free(&training->context, image);
	plan->best_seed = plan->seeds_done;
	plan->best_figure = figure;
}

bool
br_pg_train_end_seed(Training *training)
{
	static const Oid types[] = {INT8OID, INT4OID};
	BrPgTrainPlan *plan = &training->plan;
	Datum values[] = {Int64GetDatum(plan->job), Int32GetDatum(plan->seeds_done + 1)};
	bool wanted;

	/* a single one is stored at once, or computed again from its last checkpoint */
	if (plan->choice.seeds == 1)
	{
		plan->seeds_done = 1;
		return true;
	}
	wanted = br_pg_job_begin(BR_PG_JOB_WRITES);
	MemoryContextSwitchTo(training->memory);
	if (wanted)
	{
		keep_if_best(training);
		br_pg_job_execute("UPDATE bundle_rec.stored_training SET seeds_done = $2 WHERE job = $1",
						  lengthof(types), types, values);
		wanted = br_pg_train_tell(training, "training");
	}
	br_pg_train_end_transaction(wanted);
	MemoryContextSwitchTo(training->memory);
	plan->seeds_done++;
	return wanted;
}

/* ---- the model ---- */

static const void *
best_image(Training *training, Size *size)
{
	BrPgTrainPlan *plan = &training->plan;
	const void *image;

	if (plan->choice.seeds == 1)
		return learned_image(training, size);
	image = br_pg_train_read_checkpoint(plan->job, plan->best_seed, BR_PG_TRAIN_BEST, size);
	if (image == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the model that job %lld trained is gone", (long long) plan->job),
				 errhint("Train anew.")));
	return image;
}

/* of the last seed, or of the best one where there were several */
static Jsonb *
figures_of(const Training *training)
{
	static const char sql[] =
		"SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('steps', $1,"
		" 'ended_by', $2, 'loss', NULLIF($3, 'NaN'), 'validation_before', NULLIF($4, 'NaN'),"
		" 'validation', NULLIF($5, 'NaN'), 'best_step', $6, 'best_seed', $7))";
	static const Oid types[] = {INT8OID,   TEXTOID, FLOAT8OID, FLOAT8OID,
								FLOAT8OID, INT8OID, INT4OID};
	const BrPgTrainPlan *plan = &training->plan;
	const BrTuneProgress *progress = &training->progress;
	bool validates = training->data->n_validation > 0;
	double figure = plan->choice.seeds > 1 ? plan->best_figure : progress->best_figure;
	Datum values[] = {Int64GetDatum(progress->step),
					  CStringGetTextDatum(progress->end == BR_TUNE_PATIENCE ? "patience" : "steps"),
					  Float8GetDatum(progress->loss),
					  Float8GetDatum(validates ? progress->start.figure : NAN),
					  Float8GetDatum(validates ? figure : NAN),
					  Int64GetDatum(progress->best_step),
					  Int32GetDatum(Max(plan->best_seed, 0))};
	bool is_null;

	br_pg_job_execute(sql, lengthof(types), types, values);
	return DatumGetJsonbPCopy(br_pg_column(0, 1, &is_null));
}

static void
store(Training *training, const char *name)
{
	BrPgTrainPlan *plan = &training->plan;
	Size size;
	const void *image = best_image(training, &size);
	BrPgRights rights;
	BrPgLineage lineage = {
		.made_by = "train",
		.parent = plan->parent,
		.job = plan->job,
		.catalog = plan->catalog,
		.objective = plan->objective,
		.method = plan->method,
		.parameters = br_pg_train_all_parameters(plan),
		.seed = plan->options.seed + Max(plan->best_seed, 0),
		.data = plan->data,
		.learned_until = plan->learned_until,
		.figures = figures_of(training),
		.backend = br_pg_train_computed_by(training),
		.threads = br_base_pool_threads(br_pg_session_pool()),
	};

	br_pg_enter_caller(&rights, plan->role);
	(void) br_pg_model_store(name, image, size, &lineage);
	br_pg_leave(&rights);
}

static char *
name_of_model(const BrPgTrainPlan *plan)
{
	if (plan->model_name != NULL)
		return plan->model_name;
	return psprintf("%s_%s_%lld", plan->parent_name, plan->catalog, (long long) plan->job);
}

bool
br_pg_train_store(Training *training)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	BrPgTrainPlan *plan = &training->plan;
	bool wanted = br_pg_job_begin(BR_PG_JOB_WRITES);

	MemoryContextSwitchTo(training->memory);
	wanted = wanted && br_pg_train_tell(training, "storing");
	if (wanted)
	{
		char *name = name_of_model(plan);
		Datum values[] = {Int64GetDatum(plan->job), CStringGetTextDatum(name)};

		store(training, name);
		br_pg_train_forget(plan->job);
		br_pg_job_execute("UPDATE bundle_rec.stored_job SET model = $2 WHERE job = $1",
						  lengthof(types), types, values);
		plan->model = name;
	}
	br_pg_job_commit();
	MemoryContextSwitchTo(training->memory);
	return wanted;
}

/* ---- the end ---- */

/* In a transaction: what the gate says of the model, as a message; NULL: it was not to be asked. */
static char *
ask_gate(const BrPgTrainPlan *plan)
{
	const BrPgVerdict *verdict;
	BrPgPromotion promotion = {.catalog = plan->catalog};
	BrPgRights rights;

	if (!plan->promote)
		return NULL;
	promotion.model = br_pg_model_number(plan->model);
	br_pg_enter_caller(&rights, plan->role);
	verdict = br_pg_promote(&promotion);
	br_pg_leave(&rights);
	return psprintf("%s: %s", verdict->passed ? "promoted" : "not promoted", verdict->summary);
}

static void
tell_gate(int64 job)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(job)};

	if (br_pg_job_begin(BR_PG_JOB_WRITES))
		br_pg_job_execute("UPDATE bundle_rec.stored_job SET phase = 'asking the gate',"
						  " updated_at = pg_catalog.clock_timestamp()"
						  " WHERE job = $1 AND state = 'running'",
						  lengthof(types), types, values);
	br_pg_job_commit();
}

void
br_pg_train_end(Training *training)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(training->plan.job), 0};
	char *message = NULL;
	bool there;

	/* an error of the gate fails the job, whose model is stored; resumed, it asks again */
	if (training->plan.promote)
		tell_gate(training->plan.job);
	there = br_pg_job_begin(BR_PG_JOB_WRITES);
	if (there)
		message = ask_gate(&training->plan);
	values[1] = CStringGetTextDatum(message == NULL ? "" : message);
	if (there &&
		br_pg_job_execute("UPDATE bundle_rec.stored_job SET state = 'done', phase = NULL, eta = NULL,"
						  " message = NULLIF($2, ''), finished_at = pg_catalog.clock_timestamp(),"
						  " updated_at = pg_catalog.clock_timestamp()"
						  " WHERE job = $1 AND state = 'running'",
						  lengthof(types), types, values) > 0)
		br_pg_job_notify(training->plan.job);
	br_pg_job_commit();
	MemoryContextSwitchTo(training->memory);
}
