/*
 * progress.c
 *	  How far a training is, written down now and then.
 *
 * Figures are gathered in memory, a row a second or where validation says
 * something, and written together in one short transaction, with a checkpoint
 * where one is due. So the table tells at any time which step the newest
 * checkpoint belongs to, and what was computed after it is computed again.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/train/training.h"
#include "pg/worker/job.h"

/* seconds that a row of figures is about, and at most wait to be written */
#define ROW_SECONDS 1.0

static double
seconds_since(instr_time start)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	return INSTR_TIME_GET_DOUBLE(now);
}

/* ---- rows of figures ---- */

void
br_pg_train_begin_meter(Training *training)
{
	static const Oid types[] = {INT8OID, INT4OID, INT8OID};
	BrPgTrainMeter *meter = &training->meter;
	Datum values[] = {Int64GetDatum(training->plan.job), Int32GetDatum(training->plan.seeds_done),
					  0};

	br_tune_tell_progress(training->tune, &training->progress);
	values[2] = Int64GetDatum(training->progress.step);
	/* what came after the checkpoint comes once more */
	br_pg_job_execute("DELETE FROM bundle_rec.stored_job_metric WHERE job = $1"
					  " AND (seed > $2 OR (seed = $2 AND step > $3))",
					  lengthof(types), types, values);
	br_pg_job_execute("SELECT COALESCE(pg_catalog.max(seconds), 0) FROM bundle_rec.stored_job_metric"
					  " WHERE job = $1 AND seed = $2 AND step <= $3",
					  lengthof(types), types, values);
	memset(meter, 0, sizeof(*meter));
	meter->seconds = br_pg_column_number(0, 1, 0);
	meter->tokens = training->progress.tokens;
	meter->step = training->progress.step;
	INSTR_TIME_SET_CURRENT(meter->since);
	meter->checkpoint = meter->written = meter->since;
}

static void
end_row(Training *training)
{
	const BrTuneProgress *progress = &training->progress;
	BrPgTrainMeter *meter = &training->meter;
	double seconds = seconds_since(meter->since);
	int64 tokens = progress->tokens - meter->tokens;

	meter->seconds += seconds;
	meter->per_step = seconds / Max(meter->steps, 1);
	meter->rows[meter->n_rows++] = (BrPgTrainRow){
		.step = progress->step,
		.epoch = progress->epoch,
		.seconds = meter->seconds,
		.loss = meter->loss / Max(meter->steps, 1),
		.rate = progress->rate,
		.length = progress->length,
		.tokens_per_second = seconds > 0 ? tokens / seconds : 0,
		.validated = progress->validated,
		.validation = progress->validation,
	};
	meter->tokens = progress->tokens;
	meter->loss = 0;
	meter->steps = 0;
	INSTR_TIME_SET_CURRENT(meter->since);
}

void
br_pg_train_meter(Training *training)
{
	BrPgTrainMeter *meter = &training->meter;

	meter->loss += training->progress.loss;
	meter->steps++;
	if (training->progress.validated || training->progress.end != BR_TUNE_GOES_ON ||
		br_pg_checkpoint_interval == 0 || seconds_since(meter->since) >= ROW_SECONDS)
		end_row(training);
}

static void
insert_rows(const Training *training)
{
	static const char sql[] =
		"INSERT INTO bundle_rec.stored_job_metric (job, seed, step, seconds, epoch, loss,"
		" learning_rate, gradient, tokens_per_second, validation, validation_loss)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULLIF($10, 'NaN'), NULLIF($11, 'NaN'))";
	static const Oid types[] = {INT8OID,   INT4OID,	  INT8OID,	 FLOAT8OID, INT4OID,  FLOAT8OID,
								FLOAT8OID, FLOAT8OID, FLOAT8OID, FLOAT8OID, FLOAT8OID};

	for (int i = 0; i < training->meter.n_rows; i++)
	{
		const BrPgTrainRow *row = &training->meter.rows[i];
		Datum values[] = {Int64GetDatum(training->plan.job),
						  Int32GetDatum(training->plan.seeds_done),
						  Int64GetDatum(row->step),
						  Float8GetDatum(row->seconds),
						  Int32GetDatum(row->epoch + 1),
						  Float8GetDatum(row->loss),
						  Float8GetDatum(row->rate),
						  Float8GetDatum(row->length),
						  Float8GetDatum(row->tokens_per_second),
						  Float8GetDatum(row->validated ? row->validation.figure : NAN),
						  Float8GetDatum(row->validated ? row->validation.loss : NAN)};

		br_pg_job_execute(sql, lengthof(types), types, values);
	}
}

/* ---- the row of the job ---- */

static void
require_parent(const BrPgTrainPlan *plan)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(plan->parent)};

	if (br_pg_job_execute("SELECT FROM bundle_rec.stored_model WHERE model = $1", 1, types,
						  values) == 0)
		br_pg_train_refuse_dropped_model(plan);
}

bool
br_pg_train_tell(Training *training, const char *phase)
{
	static const char sql[] =
		"UPDATE bundle_rec.stored_job SET phase = $2, done = $3, total = NULLIF($4, 0),"
		" rate = COALESCE(NULLIF($5, 'NaN'), rate), loss = COALESCE(NULLIF($6, 'NaN'), loss),"
		" learning_rate = COALESCE(NULLIF($7, 'NaN'), learning_rate), eta = pg_catalog.clock_timestamp()"
		" + NULLIF($8, 'NaN') * '1 second'::pg_catalog.interval, message = NULLIF($9, ''),"
		" updated_at = pg_catalog.clock_timestamp() WHERE job = $1 AND state = 'running'";
	static const Oid types[] = {INT8OID,   TEXTOID,	  INT8OID,	 INT8OID, FLOAT8OID,
								FLOAT8OID, FLOAT8OID, FLOAT8OID, TEXTOID};
	const BrPgTrainMeter *meter = &training->meter;
	const BrPgTrainRow *row = meter->n_rows > 0 ? &meter->rows[meter->n_rows - 1] : NULL;
	const BrTuneProgress *progress = &training->progress;
	int64 done = training->plan.seeds_done * progress->steps + progress->step;
	int64 total = training->plan.choice.seeds * progress->steps;
	Datum values[] = {Int64GetDatum(training->plan.job),
					  CStringGetTextDatum(phase),
					  Int64GetDatum(Min(done, total)),
					  Int64GetDatum(total),
					  Float8GetDatum(row == NULL ? NAN : row->tokens_per_second),
					  Float8GetDatum(row == NULL ? NAN : row->loss),
					  Float8GetDatum(row == NULL ? NAN : row->rate),
					  Float8GetDatum(row == NULL ? NAN : meter->per_step * (double) (total - done)),
					  CStringGetTextDatum(meter->message == NULL ? "" : meter->message)};

	require_parent(&training->plan);
	br_pg_train_note_compute(training);
	return br_pg_job_execute(sql, lengthof(types), types, values) > 0;
}

void
br_pg_train_end_transaction(bool wanted)
{
	if (wanted)
		br_pg_job_commit();
	else
		AbortCurrentTransaction();
}

/* ---- checkpoints ---- */

typedef struct Writing
{
	char *bytes;
	Size size;
	Size place;
} Writing;

static BrStatus
write_bytes(void *arg, const void *bytes, size_t size)
{
	Writing *writing = arg;

	Assert(size <= writing->size - writing->place);
	memcpy(writing->bytes + writing->place, bytes, size);
	writing->place += size;
	return BR_OK;
}

static void
write_checkpoint(Training *training)
{
	Writing writing = {.size = br_tune_state_size(training->tune)};

	writing.bytes = palloc_extended(writing.size, MCXT_ALLOC_HUGE);
	br_pg_check(br_tune_save(training->tune, write_bytes, &writing), &training->context,
				"could not save the state of the training", NULL);
	br_pg_train_checkpoint(training->plan.job, training->plan.seeds_done, training->progress.step,
						   writing.bytes, writing.place);
	pfree(writing.bytes);
}

/* whether an error says that there was no room, which there may be later */
static bool
is_for_lack_of_room(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_INSUFFICIENT_RESOURCES ||
		ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_SYSTEM_ERROR;
}

/* one transaction; false where the job is not to be done any more */
static bool
write_down(Training *training, bool checkpoint)
{
	bool wanted = br_pg_job_begin(BR_PG_JOB_WRITES);

	if (wanted)
	{
		insert_rows(training);
		if (checkpoint)
			write_checkpoint(training);
		/* last, so that who cancels the job waits no longer than for this */
		wanted = br_pg_train_tell(training, "training");
	}
	br_pg_train_end_transaction(wanted);
	MemoryContextSwitchTo(training->memory);
	return wanted;
}

/* After an error for lack of room: says so, and leaves the rest to the next time. */
static void
put_off(Training *training, ErrorData *error)
{
	BrPgTrainMeter *meter = &training->meter;

	ereport(WARNING,
			(errmsg("could not write a checkpoint of job %lld at step %lld",
					(long long) training->plan.job, (long long) training->progress.step),
			 errdetail("%s", error->message),
			 errhint(
				 "The training goes on, and tries again after bundle_rec.checkpoint_interval.")));
	if (meter->message != NULL)
		pfree(meter->message);
	meter->message =
		MemoryContextStrdup(training->memory,
							psprintf("%s: could not write a checkpoint at step %lld: %s",
									 unpack_sql_state(error->sqlerrcode),
									 (long long) training->progress.step, error->message));
}

/* returns whether the job is still to be done */
static bool
try_to_write(Training *training, bool checkpoint)
{
	volatile bool wanted = true;
	volatile bool failed = false;

	PG_TRY();
	{
		wanted = write_down(training, checkpoint);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(training->memory);
		error = CopyErrorData();
		if (!is_for_lack_of_room(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(training->memory);
		put_off(training, error);
		FreeErrorData(error);
		failed = true;
	}
	PG_END_TRY();
	if (!failed && checkpoint && training->meter.message != NULL)
	{
		pfree(training->meter.message);
		training->meter.message = NULL;
	}
	/* the disk may have room for a few figures */
	if (failed && checkpoint)
		return try_to_write(training, false);
	if (!failed)
		training->meter.n_rows = 0;
	return wanted;
}

bool
br_pg_train_write_when_due(Training *training)
{
	BrPgTrainMeter *meter = &training->meter;
	bool ended = training->progress.end != BR_TUNE_GOES_ON;
	bool checkpoint = !ended && seconds_since(meter->checkpoint) >= br_pg_checkpoint_interval;
	bool wanted;

	if (!checkpoint && !ended && meter->n_rows < BR_PG_TRAIN_ROWS &&
		(meter->n_rows == 0 || seconds_since(meter->written) < ROW_SECONDS))
		return true;
	if (checkpoint && meter->steps > 0 && meter->n_rows < BR_PG_TRAIN_ROWS)
		end_row(training);
	wanted = try_to_write(training, checkpoint);
	INSTR_TIME_SET_CURRENT(meter->written);
	if (checkpoint)
		INSTR_TIME_SET_CURRENT(meter->checkpoint);
	/* without room for figures the oldest go */
	if (meter->n_rows == BR_PG_TRAIN_ROWS)
		meter->n_rows = 0;
	return wanted;
}
