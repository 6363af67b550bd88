/*
 * job_sql.c
 *	  SQL doors of background jobs (sql/parts/job.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"

#include "pg/br_pg.h"
#include "pg/sql/arguments.h"
#include "pg/worker/job.h"

PG_FUNCTION_INFO_V1(br_refresh_async);
PG_FUNCTION_INFO_V1(br_cancel_job);
PG_FUNCTION_INFO_V1(br_resume_job);
PG_FUNCTION_INFO_V1(br_run_jobs);
PG_FUNCTION_INFO_V1(br_job_worker);
PG_FUNCTION_INFO_V1(br_job_interrupted);

PGDLLEXPORT Datum
br_refresh_async(PG_FUNCTION_ARGS)
{
	char *catalog = br_pg_text_argument(fcinfo, 0, "catalog");
	int64 max_texts = br_pg_texts_argument(fcinfo, 1);
	int64 job;

	br_pg_require_writes("refresh_async()");
	SPI_connect();
	job = br_pg_job_queue_refresh(catalog, max_texts);
	SPI_finish();
	PG_RETURN_INT64(job);
}

/* what cancel_job and resume_job have in common */
static bool
change(FunctionCallInfo fcinfo, const char *function, bool (*how)(int64 job))
{
	bool changed;

	br_pg_require_argument(fcinfo, 0, "job");
	br_pg_require_writes(function);
	SPI_connect();
	changed = how(PG_GETARG_INT64(0));
	SPI_finish();
	return changed;
}

PGDLLEXPORT Datum
br_cancel_job(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(change(fcinfo, "cancel_job()", br_pg_job_cancel));
}

PGDLLEXPORT Datum
br_resume_job(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(change(fcinfo, "resume_job()", br_pg_job_resume));
}

PGDLLEXPORT Datum
br_run_jobs(PG_FUNCTION_ARGS)
{
	int started;

	br_pg_require_writes("run_jobs()");
	SPI_connect();
	started = br_pg_job_run_all();
	SPI_finish();
	PG_RETURN_INT32(started);
}

PGDLLEXPORT Datum
br_job_worker(PG_FUNCTION_ARGS)
{
	int pid = br_pg_job_worker(PG_GETARG_INT64(0));

	if (pid == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(pid);
}

PGDLLEXPORT Datum
br_job_interrupted(PG_FUNCTION_ARGS)
{
	bool interrupted;

	SPI_connect();
	interrupted = br_pg_job_is_interrupted(PG_GETARG_INT64(0), PG_GETARG_TIMESTAMPTZ(1));
	SPI_finish();
	PG_RETURN_BOOL(interrupted);
}
