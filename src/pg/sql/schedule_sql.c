/*
 * schedule_sql.c
 *	  SQL doors of schedules and alerts (sql/parts/schedule.sql).
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/br_pg.h"
#include "pg/schedule/schedule.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_schedule);
PG_FUNCTION_INFO_V1(br_unschedule);
PG_FUNCTION_INFO_V1(br_run_schedule);
PG_FUNCTION_INFO_V1(br_schedule_interrupted);
PG_FUNCTION_INFO_V1(br_acknowledge_alert);

/* schedule(catalog, cron, tasks, parameters) */
PGDLLEXPORT Datum
br_schedule(PG_FUNCTION_ARGS)
{
	char *catalog = br_pg_text_argument(fcinfo, 0, "catalog");
	char *cron = br_pg_text_argument(fcinfo, 1, "cron");
	char **tasks;
	int64 schedule;
	int n;

	br_pg_require_argument(fcinfo, 2, "tasks");
	br_pg_require_argument(fcinfo, 3, "parameters");
	br_pg_require_writes("schedule()");
	tasks = br_pg_text_array(PG_GETARG_ARRAYTYPE_P(2), "tasks", &n);
	SPI_connect();
	schedule = br_pg_schedule_create(catalog, cron, tasks, n, PG_GETARG_JSONB_P(3));
	SPI_finish();
	PG_RETURN_INT64(schedule);
}

PGDLLEXPORT Datum
br_unschedule(PG_FUNCTION_ARGS)
{
	br_pg_require_argument(fcinfo, 0, "schedule");
	br_pg_require_writes("unschedule()");
	SPI_connect();
	br_pg_schedule_remove(PG_GETARG_INT64(0));
	SPI_finish();
	PG_RETURN_VOID();
}

/* the procedure run_schedule(schedule) */
PGDLLEXPORT Datum
br_run_schedule(PG_FUNCTION_ARGS)
{
	/* below an exception block nothing can be committed either */
	bool atomic = fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic || IsSubTransaction();

	br_pg_require_argument(fcinfo, 0, "schedule");
	br_pg_require_writes("run_schedule()");
	SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC);
	br_pg_schedule_run(PG_GETARG_INT64(0), atomic);
	SPI_finish();
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_schedule_interrupted(PG_FUNCTION_ARGS)
{
	bool interrupted;

	SPI_connect();
	interrupted = br_pg_schedule_is_interrupted(PG_GETARG_INT64(0), PG_GETARG_TIMESTAMPTZ(1));
	SPI_finish();
	PG_RETURN_BOOL(interrupted);
}

PGDLLEXPORT Datum
br_acknowledge_alert(PG_FUNCTION_ARGS)
{
	bool acknowledged;

	br_pg_require_argument(fcinfo, 0, "alert");
	br_pg_require_writes("acknowledge_alert()");
	SPI_connect();
	acknowledged = br_pg_schedule_acknowledge(PG_GETARG_INT64(0));
	SPI_finish();
	PG_RETURN_BOOL(acknowledged);
}
