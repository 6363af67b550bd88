/*
 * run.c
 *	  A run of a schedule: its tasks, one after the other.
 *
 * Each step of a task is a subtransaction, and is committed with what the row
 * of the schedule says of it before the next one begins. So a task that fails
 * leaves nothing behind but its alert, and a run that a crash ends has lost one
 * step. In a transaction block nothing can be committed: there the same happens
 * within the caller's transaction.
 *
 * Two runs of one schedule must not meet. A run holds a lock under the kind of
 * tag by which background jobs know each other: until its end, which may be
 * several transactions later, or in a transaction block until that ends.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "pg/bulk.h"
#include "pg/schedule/schedule_int.h"
#include "pg/worker/job.h"

/* the schedule whose task is being done; 0: none */
static int64 at_work = 0;

int64
br_pg_schedule_at_work(void)
{
	return at_work;
}

/* ---- the lock ---- */

static bool is_held = false; /* by this session, over several transactions */
static LOCKTAG held;

static LOCKTAG
tag_of(int64 schedule)
{
	return (LOCKTAG){.locktag_field1 = MyDatabaseId,
					 .locktag_field2 = br_pg_relation("stored_schedule"),
					 .locktag_field3 = (uint32) schedule,
					 .locktag_field4 = (uint16) (schedule >> 32),
					 .locktag_type = LOCKTAG_USERLOCK,
					 .locktag_lockmethodid = USER_LOCKMETHOD};
}

static void
release(void)
{
	if (is_held)
		LockRelease(&held, ExclusiveLock, true);
	is_held = false;
}

/* an error that is none of a task's ends the run */
static void
at_transaction_end(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_ABORT)
		release();
}

static bool
take(int64 schedule, bool atomic)
{
	static bool registered = false;
	LOCKTAG tag = tag_of(schedule);

	if (!registered)
		RegisterXactCallback(at_transaction_end, NULL);
	registered = true;
	/* a task that runs a schedule */
	if (at_work != 0 || LockAcquire(&tag, ExclusiveLock, !atomic, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	held = tag;
	is_held = !atomic;
	return true;
}

static bool
is_running(int64 schedule)
{
	LOCKTAG tag = tag_of(schedule);
	LockData *locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
		if (memcmp(&locks->locks[i].locktag, &tag, sizeof(tag)) == 0 &&
			locks->locks[i].holdMask != 0)
			return true;
	return false;
}

/* ---- the row ---- */

bool
br_pg_schedule_is_interrupted(int64 schedule, TimestampTz started_at)
{
	static const Oid types[] = {INT8OID, TIMESTAMPTZOID};
	Datum values[] = {Int64GetDatum(schedule), TimestampTzGetDatum(started_at)};

	/* runs are on the primary */
	if (RecoveryInProgress() || is_running(schedule))
		return false;
	/* unless it has just ended, or another one has just begun */
	return br_pg_job_execute("SELECT FROM bundle_rec.stored_schedule WHERE schedule = $1"
							 " AND state = 'running' AND started_at = $2",
							 lengthof(types), types, values) > 0;
}

/* Whether there is such a schedule; raises 42501. */
static bool
read_row(BrPgRun *run, char **interrupted)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(run->schedule)};
	int32 number;
	bool is_null;

	if (br_pg_job_execute("SELECT s.role, c.catalog, c.name, s.tasks, s.parameters,"
						  " CASE s.state WHEN 'running' THEN s.task END"
						  " FROM bundle_rec.stored_schedule s JOIN bundle_rec.catalog c USING (catalog)"
						  " WHERE s.schedule = $1",
						  1, types, values) == 0)
		return false;
	run->role = br_pg_column_text(0, 1);
	number = DatumGetInt32(br_pg_column(0, 2, &is_null));
	run->catalog = br_pg_column_text(0, 3);
	run->tasks = br_pg_text_array(DatumGetArrayTypePCopy(br_pg_column(0, 4, &is_null)), "tasks",
								  &run->n_tasks);
	run->parameters = DatumGetJsonbPCopy(br_pg_column(0, 5, &is_null));
	*interrupted = br_pg_column_text(0, 6);
	br_pg_schedule_require(run->role, number, "schedule", run->schedule);
	return true;
}

/* Writes the task that begins; false where the schedule was ended meanwhile. */
static bool
begin_task(BrPgRun *run, int task)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(run->schedule), CStringGetTextDatum(run->tasks[task])};

	run->begun = false;
	return br_pg_job_execute(task == 0
								 ? "UPDATE bundle_rec.stored_schedule SET state = 'running', task = $2,"
								   " runs = runs + 1, finished_at = NULL, message = NULL,"
								   " started_at = pg_catalog.clock_timestamp() WHERE schedule = $1"
								 : "UPDATE bundle_rec.stored_schedule SET task = $2"
								   " WHERE schedule = $1",
							 lengthof(types), types, values) > 0;
}

static void
end_run(const BrPgRun *run, const char *task, const char *message)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID};
	Datum values[] = {Int64GetDatum(run->schedule), CStringGetTextDatum(task),
					  CStringGetTextDatum(message)};

	br_pg_job_execute("UPDATE bundle_rec.stored_schedule SET task = NULLIF($2, ''),"
					  " message = NULLIF($3, ''), finished_at = pg_catalog.clock_timestamp(),"
					  " state = CASE $3 WHEN '' THEN 'done' ELSE 'failed' END WHERE schedule = $1",
					  lengthof(types), types, values);
}

static void
commit(const BrPgRun *run)
{
	if (run->atomic)
		return;
	SPI_commit();
	/* what a task calls may look at the active snapshot */
	EnsurePortalSnapshotExists();
}

/* ---- a task ---- */

/* Does a step of a task; NULL, or the error that has taken it back. */
static ErrorData *
attempt(BrPgRun *run, const char *task, bool *more)
{
	MemoryContext memory = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(memory);
	PG_TRY();
	{
		at_work = run->schedule;
		*more = br_pg_tasks_do(run, task);
		at_work = 0;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		at_work = 0;
		MemoryContextSwitchTo(memory);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(memory);
	CurrentResourceOwner = owner;
	return error;
}

/* Writes a failure down, and tells who called. */
static void
fail(const BrPgRun *run, const char *task, const ErrorData *error)
{
	const char *sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	const char *message =
		error->detail == NULL ? error->message : psprintf("%s: %s", error->message, error->detail);
	int64 alert = br_pg_alert_raise(run->schedule, task, sqlstate, message);

	end_run(run, task, psprintf("%s: %s", sqlstate, message));
	commit(run);
	release();
	ereport(run->atomic && error->sqlerrcode != ERRCODE_QUERY_CANCELED ? WARNING : ERROR,
			(errcode(error->sqlerrcode),
			 errmsg("schedule %lld failed at task \"%s\"", (long long) run->schedule, task),
			 errdetail("%s", message),
			 errhint("What was in service still is, and the schedule runs again at its time; alert"
					 " %lld in the view bundle_rec.alert.",
					 (long long) alert)));
}

/* whether it was done to its end */
static bool
do_task(BrPgRun *run, int task)
{
	bool more = true;

	if (!begin_task(run, task))
		return false;
	commit(run);
	while (more)
	{
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		error = attempt(run, run->tasks[task], &more);
		if (error != NULL)
		{
			fail(run, run->tasks[task], error);
			return false;
		}
		commit(run);
	}
	return true;
}

/* ---- a run ---- */

static void
say_gone(int64 schedule)
{
	bool removed = br_pg_cron_remove_own(br_pg_cron_name(schedule));

	ereport(NOTICE,
			(errmsg("there is no schedule %lld", (long long) schedule),
			 removed ? errdetail("Its entry in pg_cron was removed.") : 0));
}

static void
skip(const BrPgRun *run)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(run->schedule)};

	/* a run in a transaction block keeps the row */
	br_pg_job_execute("UPDATE bundle_rec.stored_schedule SET skipped = skipped + 1 WHERE schedule ="
					  " (SELECT schedule FROM bundle_rec.stored_schedule WHERE schedule = $1"
					  "  FOR UPDATE SKIP LOCKED)",
					  1, types, values);
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("schedule %lld is still at work: this run is skipped",
					(long long) run->schedule)));
}

void
br_pg_schedule_run(int64 schedule, bool atomic)
{
	BrPgRun run = {.schedule = schedule, .atomic = atomic};
	bool taken = take(schedule, atomic);
	char *interrupted;
	int done = 0;

	if (!read_row(&run, &interrupted))
		say_gone(schedule);
	else if (!taken)
		skip(&run);
	else
	{
		if (interrupted != NULL)
			br_pg_alert_raise(schedule, interrupted, NULL,
							  "the run before ended without saying so: the server was stopped, or"
							  " the connection lost");
		br_pg_schedule_find_interrupted_jobs();
		while (done < run.n_tasks && do_task(&run, done))
			done++;
		if (done == run.n_tasks)
			end_run(&run, "", "");
	}
	if (taken)
		release();
}
