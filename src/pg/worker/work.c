/*
 * work.c
 *	  What a background worker does: the steps of a job, one transaction each.
 *
 * A step is a refresh of so many texts as take some seconds, and commits
 * together with the job's row, which says how far it is. Whatever ends the
 * worker loses one step at most, and whoever resumes the job does what is left:
 * what that is, the catalog's own tables say.
 *
 * An error ends the job, not the worker, which then takes the next job that the
 * same role has queued. It must end with exit code 0 or 1: with any other the
 * postmaster would take it for a crash, and restart the server.
 */
#include "postgres.h"

#include <math.h>
#include <sys/resource.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "pg/catalog/catalog.h"
#include "pg/learn/learn.h"
#include "pg/refresh/refresh.h"
#include "pg/schedule/schedule.h"
#include "pg/train/train.h"
#include "pg/worker/job_int.h"

/* embedding takes so long in a step, or as long as the rest of it where that takes longer */
#define STEP_SECONDS 2.0
#define FIRST_TEXTS 64
#define LEAST_TEXTS 16
#define MOST_TEXTS 100000
/* a step has at most so many times the texts of the one before */
#define GROWTH 4
/* how often it is tried again, and after which pause, where others hold rows or win a deadlock */
#define ATTEMPTS 10
#define PAUSE_MS 1000

typedef struct Work
{
	BrPgJobTicket ticket;
	MemoryContext memory; /* of the job */
	int64 texts;		  /* of the next step */
	int attempts;		  /* that came to nothing, one after the other */
	bool is_moving;		  /* to another model */
	bool is_last;		  /* nothing is left to be done */

	/* the row as this worker last wrote it */
	int64 done;
	int64 limit; /* PG_INT64_MAX where the row has none */

	bool is_training;

	/* of a fit, in the transaction's memory */
	bool is_fit;
	char *learner;
	Jsonb *parameters;
} Work;

/* ---- a step ---- */

/* false where another worker has the job, or there is nothing to do */
static bool
claim(const BrPgJobTicket *ticket)
{
	static const Oid types[] = {INT8OID, OIDOID};
	Datum values[] = {Int64GetDatum(ticket->job), ObjectIdGetDatum(ticket->role)};
	bool claimed = false;

	/* a cancel that came before was meant for another job */
	QueryCancelPending = false;
	if (br_pg_job_begin(BR_PG_JOB_WRITES) && br_pg_job_take(ticket->job))
	{
		claimed =
			br_pg_job_execute("UPDATE bundle_rec.stored_job SET state = 'running', message = NULL,"
							  " phase = CASE kind WHEN 'fit' THEN 'fitting' WHEN 'train' THEN 'reading' ELSE 'counting events' END,"
							  " finished_at = NULL,"
							  " started_at = COALESCE(started_at, pg_catalog.clock_timestamp()),"
							  " updated_at = pg_catalog.clock_timestamp()"
							  " WHERE job = $1 AND role = $2 AND state IN ('queued', 'running')",
							  lengthof(types), types, values) > 0;
		if (!claimed)
			br_pg_job_release();
	}
	br_pg_job_commit();
	return claimed;
}

/* name and number of the job's catalog; NULL where the job was cancelled or dropped */
static char *
read_row(Work *work, int32 *catalog)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(work->ticket.job)};
	Datum limit;
	bool is_null;

	if (br_pg_job_execute("SELECT c.name, c.catalog, j.done, j.max_texts, c.next_model IS NOT NULL,"
						  " j.kind = 'fit', j.learner, j.parameters, j.kind = 'train'"
						  " FROM bundle_rec.stored_job j JOIN bundle_rec.catalog c USING (catalog)"
						  " WHERE j.job = $1 AND j.state = 'running'",
						  1, types, values) == 0)
		return NULL;
	*catalog = DatumGetInt32(br_pg_column(0, 2, &is_null));
	work->done = DatumGetInt64(br_pg_column(0, 3, &is_null));
	limit = br_pg_column(0, 4, &is_null);
	work->limit = is_null ? PG_INT64_MAX : DatumGetInt32(limit);
	work->is_moving = DatumGetBool(br_pg_column(0, 5, &is_null));
	work->is_fit = DatumGetBool(br_pg_column(0, 6, &is_null));
	work->learner = br_pg_column_text(0, 7);
	limit = br_pg_column(0, 8, &is_null);
	work->parameters = is_null ? NULL : DatumGetJsonbPCopy(limit);
	work->is_training = DatumGetBool(br_pg_column(0, 9, &is_null));
	return br_pg_column_text(0, 1);
}

/* texts that wait now, for whichever model */
static int64
count_waiting(Work *work, int32 catalog)
{
#define WAITING(table)                                                      \
	"(SELECT pg_catalog.count(DISTINCT p.text_hash) FROM bundle_rec." table \
	"_@ p JOIN bundle_rec.item_state_@ s USING (item) WHERE p.pending_text IS NOT NULL)"
	bool is_null;

	br_pg_job_execute(br_pg_catalog_sql("SELECT CASE WHEN c.model IS NULL THEN 0"
										" ELSE " WAITING("item") " + " WAITING(
											"item_shadow") " END,"
														   " c.next_model IS NOT NULL"
														   " FROM bundle_rec.catalog c WHERE c.catalog = @",
										catalog),
					  0, NULL, NULL);
	work->is_moving = DatumGetBool(br_pg_column(0, 2, &is_null));
	return DatumGetInt64(br_pg_column(0, 1, &is_null));
#undef WAITING
}

static int64
texts_of_next_step(const BrPgRefreshWork *did, int64 tried, double seconds)
{
	double rest = seconds - did->seconds;
	double texts;

	if (tried == 0 || did->seconds <= 0)
		return FIRST_TEXTS;
	texts = tried / did->seconds * fmax(STEP_SECONDS, rest);
	texts = fmin(texts, (double) tried * GROWTH);
	return (int64) fmin(fmax(texts, LEAST_TEXTS), MOST_TEXTS);
}

/* what a job that is done says about what is left; NULL where nothing is */
static char *
what_is_left(const Work *work, int64 waiting)
{
	if (work->done >= work->limit)
		return NULL;
	if (waiting > 0)
		return psprintf("%lld texts still wait: they came meanwhile, or other transactions hold"
						" their items",
						(long long) waiting);
	if (work->is_moving)
		return pstrdup("the catalog has not moved to its next model: other transactions hold its"
					   " items, or its source lacks columns");
	return NULL;
}

static void
write_row(const Work *work, const BrPgRefreshWork *did, int64 tried, int64 waiting)
{
	static const Oid types[] = {INT8OID, TEXTOID, INT8OID, INT8OID, INT8OID, FLOAT8OID, TEXTOID};
	const char *phase = work->attempts > 0 ? "waiting for rows"
		: work->is_moving				   ? "moving to another model"
										   : "embedding";
	char *left = work->is_last ? what_is_left(work, waiting) : NULL;
	Datum values[] = {Int64GetDatum(work->ticket.job),
					  CStringGetTextDatum(phase),
					  Int64GetDatum(work->done),
					  Int64GetDatum(Min(work->done + waiting, work->limit)),
					  Int64GetDatum(did->set_aside),
					  Float8GetDatum(tried > 0 && did->seconds > 0 ? tried / did->seconds : -1),
					  CStringGetTextDatum(left == NULL ? "" : left)};

	(void)
		br_pg_job_execute(work->is_last
							  ? "UPDATE bundle_rec.stored_job SET state = 'done', phase = NULL, done = $3,"
								" total = $4, rejected = rejected + $5,"
								" rate = COALESCE(NULLIF($6, -1), rate), message = NULLIF($7, ''),"
								" finished_at = pg_catalog.clock_timestamp(),"
								" updated_at = pg_catalog.clock_timestamp()"
								" WHERE job = $1 AND state = 'running' AND $2 <> ''"
							  : "UPDATE bundle_rec.stored_job SET phase = $2, done = $3, total = $4,"
								" rejected = rejected + $5, rate = COALESCE(NULLIF($6, -1), rate),"
								" message = NULLIF($7, ''), updated_at = pg_catalog.clock_timestamp()"
								" WHERE job = $1 AND state = 'running'",
						  lengthof(types), types, values);
}

/* what pg_stat_activity shows while the step is under way */
static void
report(const Work *work, const char *catalog)
{
	char activity[256];

	if (work->is_fit || work->is_training)
		snprintf(activity, sizeof(activity), "job %lld: %s of catalog \"%s\"",
				 (long long) work->ticket.job, work->is_fit ? "fit" : "training", catalog);
	else
		snprintf(activity, sizeof(activity),
				 "job %lld: refresh of catalog \"%s\", %lld texts so far",
				 (long long) work->ticket.job, catalog, (long long) work->done);
	pgstat_report_activity(STATE_RUNNING, activity);
}

/* Sees what a step came to, and whether there will be another one. */
static void
judge(Work *work, const BrPgRefreshWork *did, int64 waiting)
{
	/* with some of its budget left it has tried everything that waited */
	bool nothing_left_to_try = did->budget > 0;

	work->attempts = nothing_left_to_try ? work->attempts + 1 : 0;
	work->is_last = work->done >= work->limit || (waiting == 0 && !work->is_moving) ||
		work->attempts > ATTEMPTS;
}

/* a fit is one step: until it commits, what was in service stays so */
static void
fit(Work *work, const char *catalog)
{
	static const Oid types[] = {INT8OID, INT8OID};
	BrPgRights rights;
	Datum values[2];
	int n;

	br_pg_enter_caller(&rights, work->ticket.role);
	(void) br_pg_fit(catalog, work->learner, work->parameters, &n);
	br_pg_leave(&rights);
	values[0] = Int64GetDatum(work->ticket.job);
	values[1] = Int64GetDatum(n);
	(void)
		br_pg_job_execute("UPDATE bundle_rec.stored_job SET state = 'done', phase = NULL, done = $2,"
						  " total = $2, finished_at = pg_catalog.clock_timestamp(),"
						  " updated_at = pg_catalog.clock_timestamp() WHERE job = $1"
						  " AND state = 'running'",
						  lengthof(types), types, values);
	br_pg_job_notify(work->ticket.job);
	br_pg_job_commit();
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* returns whether the job goes on */
static bool
take_step(Work *work)
{
	BrPgRefreshWork did = {0};
	instr_time start, duration;
	BrPgRights rights;
	int64 budget, waiting;
	int32 number;
	char *catalog;

	INSTR_TIME_SET_CURRENT(start);
	catalog = br_pg_job_begin(BR_PG_JOB_WRITES) ? read_row(work, &number) : NULL;
	if (catalog == NULL)
	{
		br_pg_job_commit();
		return false;
	}
	report(work, catalog);
	if (work->is_training)
	{
		br_pg_job_commit();
		br_pg_train_work(work->ticket.job, work->ticket.role, work->memory);
		pgstat_report_activity(STATE_IDLE, NULL);
		return false;
	}
	if (work->is_fit)
	{
		fit(work, catalog);
		return false;
	}
	budget = did.budget = Min(work->texts, work->limit - work->done);
	br_pg_enter_caller(&rights, work->ticket.role);
	br_pg_catalog_refresh(catalog, &did);
	br_pg_leave(&rights);
	waiting = count_waiting(work, number);
	work->done += budget - did.budget;
	judge(work, &did, waiting);
	write_row(work, &did, budget - did.budget, waiting);
	if (work->is_last)
		br_pg_job_notify(work->ticket.job);
	br_pg_job_commit();
	pgstat_report_activity(STATE_IDLE, NULL);

	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	work->texts = texts_of_next_step(&did, budget - did.budget, INSTR_TIME_GET_DOUBLE(duration));
	return !work->is_last;
}

static void
pause_between_steps(const Work *work)
{
	br_pg_job_pause();
	if (work->attempts > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PAUSE_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		br_pg_job_pause();
	}
}

/* ---- a job ---- */

static void
write_failure(const Work *work, const ErrorData *error)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID};
	bool cancelled = error->sqlerrcode == ERRCODE_QUERY_CANCELED;
	char *message =
		psprintf("%s: %s%s%s", unpack_sql_state(error->sqlerrcode), error->message,
				 error->detail == NULL ? "" : ": ", error->detail == NULL ? "" : error->detail);
	Datum values[] = {Int64GetDatum(work->ticket.job),
					  CStringGetTextDatum(cancelled ? "cancelled" : "failed"),
					  CStringGetTextDatum(cancelled ? "" : message)};

	HOLD_CANCEL_INTERRUPTS();
	/* the error may be that it was dropped */
	if (br_pg_job_begin(BR_PG_JOB_WRITES) &&
		br_pg_job_execute("UPDATE bundle_rec.stored_job SET state = $2, phase = NULL,"
						  " message = NULLIF($3, ''), finished_at = pg_catalog.clock_timestamp(),"
						  " updated_at = pg_catalog.clock_timestamp()"
						  " WHERE job = $1 AND state = 'running'",
						  lengthof(types), types, values) > 0)
	{
		if (!cancelled)
			br_pg_schedule_job_failed(work->ticket.job, message);
		br_pg_job_notify(work->ticket.job);
	}
	br_pg_job_commit();
	RESUME_CANCEL_INTERRUPTS();
}

/* After an error: undoes the step; returns whether the same may be tried once more. */
static bool
recover(Work *work, MemoryContext memory)
{
	ErrorData *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(memory);
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();
	AbortCurrentTransaction();
	RESUME_INTERRUPTS();
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(memory);

	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK &&
		++work->attempts <= ATTEMPTS)
		return true;
	write_failure(work, error);
	return false;
}

/* returns false where another worker has the job */
static bool
do_job(const BrPgJobTicket *ticket)
{
	MemoryContext memory =
		AllocSetContextCreate(TopMemoryContext, "bundle_rec job", ALLOCSET_DEFAULT_SIZES);
	Work *work = MemoryContextAllocZero(memory, sizeof(Work));
	volatile bool goes_on = true;

	if (!claim(ticket))
		return false;
	work->ticket = *ticket;
	work->memory = memory;
	work->texts = FIRST_TEXTS;
	while (goes_on)
	{
		PG_TRY();
		{
			pause_between_steps(work);
			goes_on = take_step(work);
		}
		PG_CATCH();
		{
			goes_on = recover(work, memory);
		}
		PG_END_TRY();
	}
	br_pg_job_release();
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(memory);
	return true;
}

/*
 * Another job that waits for a worker: one of the same role becomes this
 * worker's, true is returned; those of others get workers, where one is free.
 */
static bool
find_next(BrPgJobTicket *ticket)
{
	bool found = false;
	uint64 n = 0;

	/* a cancel that comes too late must not keep other jobs from being done */
	HOLD_CANCEL_INTERRUPTS();
	if (br_pg_job_begin(BR_PG_JOB_WRITES))
		n = br_pg_job_execute("SELECT job, role FROM bundle_rec.stored_job WHERE state = 'queued'"
							  " ORDER BY job",
							  0, NULL, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		bool is_null;
		int64 job = DatumGetInt64(br_pg_column(i, 1, &is_null));
		Oid role = DatumGetObjectId(br_pg_column(i, 2, &is_null));
		BrPgJobTicket other;

		if (br_pg_job_worker(job) != 0 || (found && role == ticket->role))
			continue;
		other = br_pg_job_ticket(job, role);
		if (role == ticket->role)
		{
			ticket->job = job;
			found = true;
		}
		else if (!br_pg_job_start(&other))
			break;
	}
	br_pg_job_commit();
	RESUME_CANCEL_INTERRUPTS();
	return found;
}

/* ---- the worker ---- */

/* The session has the settings of its role and database, but for what could break a step off. */
static void
settle(void)
{
	static const char *const settings[][2] = {
		{"application_name", "bundle_rec worker"},
		{"lock_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
	};

	char threads[12];

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	snprintf(threads, sizeof(threads), "%d", br_pg_worker_threads);
	SetConfigOption("bundle_rec.threads", threads, PGC_USERSET, PGC_S_OVERRIDE);
	/* threads that are started from here on inherit it; on Linux those that are there do not */
	(void) setpriority(PRIO_PROCESS, 0, Max(getpriority(PRIO_PROCESS, 0), br_pg_worker_nice));
}

void
br_worker_main(Datum argument)
{
	BrPgJobTicket ticket;

	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(ticket.database, ticket.login, 0);
	settle();
	while (do_job(&ticket) && find_next(&ticket))
		;
	proc_exit(0);
}
