/*
 * device.c
 *	  What computes a training: the embedding service's device where there is one
 *	  that trains it, else the processor.
 *
 * A device is asked for when a seed begins. Where it refuses the model or is lost the
 * processor goes on from the same step: nothing of a training is on a device alone
 * (br_tune.h), so a job never fails for it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/train/training.h"
#include "pg/worker/job.h"

void
br_pg_train_find_device(Training *training)
{
	MemoryContext outer = MemoryContextSwitchTo(training->memory);

	if (training->trainer == NULL && br_tune_device_trains(&training->plan.options))
		training->trainer = br_pg_service_open_trainer(&training->context);
	MemoryContextSwitchTo(outer);
}

BrTuneCompute
br_pg_train_compute(Training *training)
{
	BrPgServiceTrainer *trainer = training->trainer;
	BrTuneCompute compute = {.backend = br_pg_session_backend(), .pool = br_pg_session_pool()};
	const char *name = compute.backend->name;

	if (trainer != NULL)
	{
		compute.device_table = trainer->table;
		compute.device = trainer->device;
		name = trainer->name;
	}
	training->computes = MemoryContextStrdup(training->memory, name);
	return compute;
}

void
br_pg_train_leave_device(Training *training)
{
	if (training->trainer == NULL)
		return;
	/* first, so that nobody waits for the answer of a device that hangs */
	br_pg_service_close_trainer(training->trainer);
	training->trainer = NULL;
	if (training->tune != NULL)
		br_pg_check(br_tune_leave_device(training->tune), &training->context,
					"the training cannot go on", NULL);
}

/* Whether it may be better without a device; a loss that is no number is not. */
static bool
is_of_device(BrStatus status)
{
	return status == BR_ERR_DEVICE || status == BR_ERR_MEMORY || status == BR_ERR_LIMIT ||
		status == BR_ERR_UNSUPPORTED;
}

bool
br_pg_train_lose_device(Training *training, BrStatus status)
{
	if (training->trainer == NULL || !is_of_device(status))
		return false;
	/* a model that devices do not train is no failure of this one */
	ereport(status == BR_ERR_UNSUPPORTED ? LOG : WARNING,
			(errmsg("the training of job %lld goes on without the device \"%s\"",
					(long long) training->plan.job, training->trainer->name),
			 errdetail("%s", training->context.detail)));
	br_pg_train_leave_device(training);
	(void) br_pg_train_compute(training);
	return true;
}

/* ---- what the lineage tells ---- */

void
br_pg_train_note_compute(const Training *training)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(training->plan.job), 0};

	if (training->computes == NULL)
		return;
	values[1] = CStringGetTextDatum(training->computes);
	br_pg_job_execute("UPDATE bundle_rec.stored_training"
					  " SET computed_by = pg_catalog.array_append(computed_by, $2)"
					  " WHERE job = $1 AND $2 <> ALL (computed_by)",
					  lengthof(types), types, values);
}

char *
br_pg_train_computed_by(const Training *training)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(training->plan.job)};

	br_pg_job_execute("SELECT pg_catalog.array_to_string(computed_by, ', ')"
					  " FROM bundle_rec.stored_training WHERE job = $1",
					  lengthof(types), types, values);
	return br_pg_column_text(0, 1);
}
