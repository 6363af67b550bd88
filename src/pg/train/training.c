/*
 * training.c
 *	  What the worker does for a training, from its data to a model.
 *
 * First the data are read in one repeatable snapshot, or fetched if they have been
 * before; then steps go on outside of any transaction, so that no snapshot is held
 * while they last, and with a transaction now and then that writes down how far
 * they are; and at the end a model is stored. Each of these begins with what is in
 * the tables, so whoever comes after a crash goes on where the last one wrote.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/model/model.h"
#include "pg/train/training.h"
#include "pg/worker/job.h"

/* ---- the row ---- */

void
br_pg_train_refuse_dropped_model(const BrPgTrainPlan *plan)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the model that job %lld was training has been dropped", (long long) plan->job),
			 errhint("Train anew, from the model that the catalog has now.")));
}

static void
read_texts_of_row(BrPgTrainPlan *plan)
{
	plan->catalog = br_pg_column_text(0, 1);
	plan->objective = br_pg_column_text(0, 2);
	plan->method = br_pg_column_text(0, 3);
	plan->query = br_pg_column_text(0, 4);
	plan->search_path = br_pg_column_text(0, 5);
	plan->model_name = br_pg_column_text(0, 6);
	plan->parent_name = br_pg_column_text(0, 9);
	plan->model = br_pg_column_text(0, 17);
}

static void
read_numbers_of_row(BrPgTrainPlan *plan)
{
	bool is_null;
	Datum value;

	plan->promote = DatumGetBool(br_pg_column(0, 7, &is_null));
	plan->parent = DatumGetInt32(br_pg_column(0, 8, &is_null));
	plan->parameters = DatumGetJsonbPCopy(br_pg_column(0, 10, &is_null));
	value = br_pg_column(0, 11, &is_null);
	if (!is_null)
	{
		bytea *hash = DatumGetByteaPP(value);

		plan->sha256 = palloc(VARSIZE_ANY_EXHDR(hash));
		memcpy(plan->sha256, VARDATA_ANY(hash), VARSIZE_ANY_EXHDR(hash));
	}
	value = br_pg_column(0, 12, &is_null);
	plan->data = is_null ? NULL : DatumGetJsonbPCopy(value);
	value = br_pg_column(0, 13, &is_null);
	plan->learned_until = is_null ? DT_NOBEGIN : DatumGetTimestampTz(value);
	plan->seeds_done = DatumGetInt32(br_pg_column(0, 14, &is_null));
	value = br_pg_column(0, 15, &is_null);
	plan->best_seed = is_null ? -1 : DatumGetInt32(value);
	plan->best_figure = br_pg_column_number(0, 16, 0);
}

/* false where the job is not to be done any more */
static bool
read_plan(BrPgTrainPlan *plan)
{
	static const char sql[] =
		"SELECT c.name, t.objective, t.method, t.query, t.search_path, t.model_name, t.promote,"
		" t.parent, m.name, j.parameters, t.sha256, t.data, t.learned_until, t.seeds_done,"
		" t.best_seed, t.best_figure, j.model"
		" FROM bundle_rec.stored_job j JOIN bundle_rec.stored_training t USING (job)"
		" JOIN bundle_rec.catalog c USING (catalog)"
		" LEFT JOIN bundle_rec.stored_model m ON m.model = t.parent"
		" WHERE j.job = $1 AND j.state = 'running'";
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(plan->job)};

	if (br_pg_job_execute(sql, lengthof(types), types, values) == 0)
		return false;
	read_texts_of_row(plan);
	read_numbers_of_row(plan);
	if (plan->parent_name == NULL)
		br_pg_train_refuse_dropped_model(plan);
	br_pg_train_read_parameters(plan);
	return true;
}

/* ---- data ---- */

static void
gather(Training *training, BrPgTrainCounts *counts)
{
	BrPgTrainPlan *plan = &training->plan;
	BrPgRights rights;

	br_pg_enter_caller(&rights, plan->role);
	br_pg_set_for_section("search_path", plan->search_path);
	br_pg_pin_snapshot(true);
	PG_TRY();
	{
		training->data = br_pg_train_gather(plan, counts);
	}
	PG_FINALLY();
	{
		br_pg_pin_snapshot(false);
	}
	PG_END_TRY();
	br_pg_leave(&rights);
}

/* Reads the data and keeps them; false where the job is not to be done any more. */
static bool
read_data(Training *training)
{
	MemoryContext outer = CurrentMemoryContext;
	BrPgTrainCounts counts;
	bool wanted;

	wanted = br_pg_job_begin(BR_PG_JOB_SNAPSHOT);
	if (wanted)
	{
		MemoryContextSwitchTo(training->memory);
		gather(training, &counts);
	}
	br_pg_job_commit();
	if (!wanted)
		return false;
	wanted = br_pg_job_begin(BR_PG_JOB_WRITES);
	MemoryContextSwitchTo(training->memory);
	if (wanted)
	{
		br_pg_train_keep(&training->plan, training->data, &counts);
		wanted = br_pg_train_tell(training, "training");
	}
	br_pg_train_end_transaction(wanted);
	MemoryContextSwitchTo(outer);
	return wanted;
}

/* In one transaction: the plan, and the data where they are kept. */
static bool
prepare(Training *training)
{
	bool wanted = br_pg_job_begin(BR_PG_JOB_WRITES);

	MemoryContextSwitchTo(training->memory);
	wanted = wanted && read_plan(&training->plan);
	if (wanted && training->plan.sha256 != NULL && training->plan.model == NULL)
		training->data = br_pg_train_fetch(&training->plan);
	br_pg_job_commit();
	MemoryContextSwitchTo(training->memory);
	if (wanted && training->plan.sha256 == NULL)
		wanted = read_data(training);
	MemoryContextSwitchTo(training->memory);
	return wanted;
}

/* ---- steps ---- */

/* Bytes of a checkpoint that are read. */
typedef struct Reading
{
	const char *bytes;
	Size size;
	Size place;
	BrContext *context;
} Reading;

static BrStatus
read_bytes(void *arg, void *bytes, size_t size)
{
	Reading *reading = arg;

	if (size > reading->size - reading->place)
		return br_base_fail(reading->context, BR_ERR_FORMAT, "the state is cut short");
	memcpy(bytes, reading->bytes + reading->place, size);
	reading->place += size;
	return BR_OK;
}

static void
open_tune(Training *training)
{
	BrTuneOptions options = training->plan.options;
	BrStatus status;

	options.seed += training->plan.seeds_done;
	br_tune_close(training->tune);
	training->tune = NULL;
	do
	{
		BrTuneCompute compute = br_pg_train_compute(training);

		status = br_tune_open(&training->context, br_pg_model_encoder(training->plan.parent),
							  &training->tune_data, &options, &compute, &training->tune);
	} while (br_pg_train_lose_device(training, status));
	br_pg_check(status, &training->context, "cannot train with these data", NULL);
}

/* Goes on from the latest checkpoint that can be read, or from the beginning. */
static void
restore(Training *training)
{
	BrPgTrainPlan *plan = &training->plan;
	int n;
	int64 *steps = br_pg_train_checkpoints(plan->job, plan->seeds_done, &n);

	for (int i = 0; i < n; i++)
	{
		Reading reading = {.context = &training->context};
		BrStatus status;

		reading.bytes =
			br_pg_train_read_checkpoint(plan->job, plan->seeds_done, steps[i], &reading.size);
		status = br_tune_restore(training->tune, read_bytes, &reading);
		if (reading.bytes != NULL)
			pfree(unconstify(char *, reading.bytes));
		if (status == BR_OK)
			return;
		ereport(WARNING,
				(errmsg("the checkpoint of job %lld at step %lld cannot be used",
						(long long) plan->job, (long long) steps[i]),
				 errdetail("%s", training->context.detail)));
		open_tune(training);
	}
}

static bool
begin_seed(Training *training)
{
	bool wanted;

	br_pg_train_find_device(training);
	wanted = br_pg_job_begin(BR_PG_JOB_WRITES);
	MemoryContextSwitchTo(training->memory);
	if (wanted)
	{
		if (training->tune_data.n_texts == 0)
			training->tune_data = br_pg_train_tune_data(&training->plan, training->data);
		open_tune(training);
		restore(training);
		br_pg_train_note_compute(training);
		br_pg_train_begin_meter(training);
	}
	br_pg_job_commit();
	MemoryContextSwitchTo(training->memory);
	return wanted;
}

/* false where the job is not to be done any more */
static bool
take_steps(Training *training)
{
	BrTuneProgress *progress = &training->progress;

	br_tune_tell_progress(training->tune, progress);
	while (progress->end == BR_TUNE_GOES_ON)
	{
		BrStatus status;

		br_pg_job_pause();
		status = br_tune_step(training->tune, progress);
		if (br_pg_train_lose_device(training, status))
			continue;
		br_pg_check(status, &training->context, "the training cannot go on",
					"A lower rate may help; the latest checkpoint is kept.");
		br_pg_train_meter(training);
		if (!br_pg_train_write_when_due(training))
			return false;
	}
	return true;
}

void
br_pg_train_work(int64 job, Oid role, MemoryContext memory)
{
	Training *training = MemoryContextAllocZero(memory, sizeof(Training));

	/* an attempt before may have left something */
	MemoryContextDeleteChildren(memory);
	training->memory = AllocSetContextCreate(memory, "bundle_rec training", ALLOCSET_DEFAULT_SIZES);
	training->plan.job = job;
	training->plan.role = role;
	br_pg_context(&training->context, training->memory);
	if (!prepare(training))
		return;
	while (training->plan.model == NULL && training->plan.seeds_done < training->plan.choice.seeds)
		if (!begin_seed(training) || !take_steps(training) || !br_pg_train_end_seed(training))
			return;
	br_pg_train_leave_device(training);
	if (training->plan.model == NULL && !br_pg_train_store(training))
		return;
	br_pg_train_end(training);
	br_tune_close(training->tune);
}
