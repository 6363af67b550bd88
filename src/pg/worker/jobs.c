/*
 * jobs.c
 *	  The rows of stored_job as sessions see and change them.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "pg/catalog/catalog.h"
#include "pg/learn/learn.h"
#include "pg/schedule/schedule.h"
#include "pg/worker/job_int.h"

typedef struct Job
{
	int64 number;
	int32 catalog;
	Oid role;
	char *state;
} Job;

/* in an owner section; the extension's tables have no foreign keys */
static void
forget_old(void)
{
	static const char sql[] =
		"WITH old AS (DELETE FROM bundle_rec.stored_job WHERE job IN"
		" (SELECT job FROM bundle_rec.stored_job"
		"  WHERE finished_at < pg_catalog.now() - '30 days'::pg_catalog.interval"
		"  FOR UPDATE SKIP LOCKED) RETURNING job),"
		" data AS (DELETE FROM bundle_rec.job_data d USING old WHERE d.job = old.job),"
		" checkpoints AS (DELETE FROM bundle_rec.job_checkpoint c USING old WHERE c.job = old.job),"
		" metrics AS (DELETE FROM bundle_rec.stored_job_metric m USING old WHERE m.job = old.job)"
		" DELETE FROM bundle_rec.stored_training t USING old WHERE t.job = old.job";

	br_pg_execute(sql, 0, NULL, NULL, NULL, false, 0);
}

/*
 * Two trainings of a catalog would learn from the same sessions, and only one of
 * what comes of them could serve it. job: the one that asks; 0: a new one. Returns
 * where there is none, or it has just ended.
 */
static void
refuse_second_training(int32 catalog, int64 job)
{
	static const char sql[] =
		"SELECT o.job FROM bundle_rec.stored_job o WHERE o.catalog = $1 AND o.kind = 'train'"
		" AND o.state IN ('queued', 'running') AND o.job <> $2 AND ($2 = 0 OR EXISTS"
		" (SELECT FROM bundle_rec.stored_job mine WHERE mine.job = $2 AND mine.kind = 'train'))";
	static const Oid types[] = {INT4OID, INT8OID};
	Datum values[] = {Int32GetDatum(catalog), Int64GetDatum(job)};
	BrPgRights rights;
	uint64 found;
	long long other;
	bool is_null;

	br_pg_enter_owner(&rights);
	found = br_pg_execute_now(sql, lengthof(types), types, values);
	br_pg_leave(&rights);
	if (found == 0)
		return;
	other = (long long) DatumGetInt64(br_pg_column(0, 1, &is_null));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE), errmsg("a model is being trained for the catalog"),
			 errdetail("Job %lld has not ended.", other),
			 errhint("Wait for it, or end it: SELECT bundle_rec.cancel_job(%lld). Where it was"
					 " interrupted, SELECT bundle_rec.run_jobs() goes on with it.",
					 other)));
}

/* values: kind, max_texts, learner, parameters; nulls: 'n' where one is NULL */
static int64
queue(const char *name, const Datum given[4], const char given_nulls[4])
{
	static const Oid types[] = {INT4OID, OIDOID, TEXTOID, INT4OID, TEXTOID, JSONBOID, INT8OID};
	int64 schedule = br_pg_schedule_at_work();
	const BrPgCatalog *catalog = br_pg_catalog_open(name);
	Datum values[] = {Int32GetDatum(catalog->number),
					  ObjectIdGetDatum(GetUserId()),
					  given[0],
					  given[1],
					  given[2],
					  given[3],
					  Int64GetDatum(schedule)};
	char nulls[] = {' ',
					' ',
					given_nulls[0],
					given_nulls[1],
					given_nulls[2],
					given_nulls[3],
					schedule == 0 ? 'n' : ' '};
	BrPgJobTicket ticket;
	BrPgRights rights;
	bool is_null;

	br_pg_catalog_require_owner(catalog);
	br_pg_enter_owner(&rights);
	br_pg_catalog_hold(catalog->number);
	forget_old();
	/* the one conflict that there can be is with another training, which may end meanwhile */
	while (br_pg_execute("INSERT INTO bundle_rec.stored_job (catalog, role, kind, max_texts,"
						 " learner, parameters, schedule) VALUES ($1, $2, $3, $4, $5, $6, $7)"
						 " ON CONFLICT DO NOTHING RETURNING job",
						 lengthof(types), types, values, nulls, false, 0) == 0)
		refuse_second_training(catalog->number, 0);
	br_pg_leave(&rights);
	ticket = br_pg_job_ticket(DatumGetInt64(br_pg_column(0, 1, &is_null)), GetUserId());
	br_pg_job_start_at_commit(&ticket);
	return ticket.job;
}

int64
br_pg_job_queue_refresh(const char *catalog, int64 max_texts)
{
	const Datum values[] = {CStringGetTextDatum("refresh"), Int32GetDatum((int32) max_texts), 0, 0};
	const char nulls[] = {' ', max_texts > PG_INT32_MAX ? 'n' : ' ', 'n', 'n'};

	return queue(catalog, values, nulls);
}

int64
br_pg_job_queue_fit(const char *catalog, const char *kind, Jsonb *parameters)
{
	const Datum values[] = {CStringGetTextDatum("fit"), 0,
							kind == NULL ? 0 : CStringGetTextDatum(kind),
							parameters == NULL ? 0 : JsonbPGetDatum(parameters)};
	const char nulls[] = {' ', 'n', kind == NULL ? 'n' : ' ', parameters == NULL ? 'n' : ' '};

	br_pg_fit_check(kind, parameters);
	return queue(catalog, values, nulls);
}

int64
br_pg_job_queue_training(const char *catalog, Jsonb *parameters)
{
	const Datum values[] = {CStringGetTextDatum("train"), 0, 0, JsonbPGetDatum(parameters)};
	const char nulls[] = {' ', 'n', 'n', ' '};

	return queue(catalog, values, nulls);
}

/* ---- who may change them ---- */

static void
read_job(uint64 row, Job *job)
{
	bool is_null;

	job->number = DatumGetInt64(br_pg_column(row, 1, &is_null));
	job->catalog = DatumGetInt32(br_pg_column(row, 2, &is_null));
	job->role = DatumGetObjectId(br_pg_column(row, 3, &is_null));
	job->state = br_pg_column_text(row, 4);
}

static bool
may_change(const Job *job)
{
	const BrPgCatalog *catalog;

	if (has_privs_of_role(GetUserId(), job->role))
		return true;
	catalog = br_pg_catalog_find(job->catalog);
	return catalog != NULL && pg_class_ownercheck(catalog->items, GetUserId());
}

/* as it is now; locked, unless a worker that commits a step holds it a moment longer */
static void
lock_job(int64 number, Job *job)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(number)};
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found = br_pg_execute_now("SELECT job, catalog, role, state FROM bundle_rec.stored_job"
							  " WHERE job = $1 FOR UPDATE",
							  1, types, values);
	br_pg_leave(&rights);
	if (found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no job %lld", (long long) number),
				 errhint("The view bundle_rec.job lists jobs; those that ended are forgotten after"
						 " 30 days.")));
	read_job(0, job);
	if (!may_change(job))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of the catalog of job %lld, or have queued it",
						(long long) number)));
}

static void
set_state(int64 number, const char *sql)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(number)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute_now(sql, 1, types, values);
	br_pg_leave(&rights);
}

bool
br_pg_job_cancel(int64 number)
{
	Job job;
	int pid;

	lock_job(number, &job);
	if (strcmp(job.state, "queued") != 0 && strcmp(job.state, "running") != 0)
		return false;
	set_state(number,
			  "UPDATE bundle_rec.stored_job SET state = 'cancelled', phase = NULL,"
			  " finished_at = pg_catalog.clock_timestamp(),"
			  " updated_at = pg_catalog.clock_timestamp() WHERE job = $1");
	br_pg_job_notify(number);
	pid = br_pg_job_worker(number);
	/* it ends by itself, should this come too late */
	if (pid != 0)
		(void) kill(pid, SIGINT);
	return true;
}

bool
br_pg_job_resume(int64 number)
{
	BrPgJobTicket ticket;
	Job job;

	lock_job(number, &job);
	if (strcmp(job.state, "done") == 0 ||
		(strcmp(job.state, "running") == 0 && br_pg_job_worker(number) != 0))
		return false;
	refuse_second_training(job.catalog, number);
	set_state(number,
			  "UPDATE bundle_rec.stored_job SET state = 'queued', phase = NULL,"
			  " finished_at = NULL, message = NULL,"
			  " updated_at = pg_catalog.clock_timestamp() WHERE job = $1");
	ticket = br_pg_job_ticket(number, job.role);
	br_pg_job_start_at_commit(&ticket);
	return true;
}

/* ---- starting them ---- */

/* false where no worker is free */
static bool
start(const Job *job, int *started)
{
	BrPgJobTicket ticket;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(job->role)))
	{
		set_state(job->number,
				  "UPDATE bundle_rec.stored_job SET state = 'failed', phase = NULL,"
				  " message = 'the role that queued it was dropped',"
				  " finished_at = pg_catalog.clock_timestamp(),"
				  " updated_at = pg_catalog.clock_timestamp() WHERE job = $1");
		br_pg_schedule_job_failed(job->number, "42704: the role that queued it was dropped");
		br_pg_job_notify(job->number);
		return true;
	}
	ticket = br_pg_job_ticket(job->number, job->role);
	if (!br_pg_job_start(&ticket))
		return false;
	(*started)++;
	return true;
}

int
br_pg_job_run_all(void)
{
	BrPgRights rights;
	uint64 n;
	Job *jobs;
	int started = 0, waiting = 0;

	br_pg_schedule_find_interrupted_jobs();
	br_pg_enter_owner(&rights);
	n = br_pg_execute_now("SELECT job, catalog, role, state FROM bundle_rec.stored_job"
						  " WHERE state IN ('queued', 'running') ORDER BY job",
						  0, NULL, NULL);
	br_pg_leave(&rights);
	jobs = palloc(sizeof(Job) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
		read_job(i, &jobs[i]);
	for (uint64 i = 0; i < n; i++)
		if (br_pg_job_worker(jobs[i].number) == 0 && !br_pg_job_starts_at_commit(jobs[i].number) &&
			may_change(&jobs[i]) && (waiting > 0 || !start(&jobs[i], &started)))
			waiting++;
	br_pg_job_warn_of_waiting(waiting);
	return started;
}

bool
br_pg_job_is_interrupted(int64 job, TimestampTz updated_at)
{
	static const Oid types[] = {INT8OID, TIMESTAMPTZOID};
	Datum values[] = {Int64GetDatum(job), TimestampTzGetDatum(updated_at)};
	BrPgRights rights;
	bool unchanged;

	/* workers are on the primary */
	if (RecoveryInProgress() || br_pg_job_worker(job) != 0)
		return false;
	/* unless it has just ended, or another one has just begun */
	br_pg_enter_owner(&rights);
	unchanged = br_pg_execute_now("SELECT FROM bundle_rec.stored_job WHERE job = $1"
								  " AND state = 'running' AND updated_at = $2",
								  lengthof(types), types, values) > 0;
	br_pg_leave(&rights);
	return unchanged;
}
