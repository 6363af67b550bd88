/*
 * alert.c
 *	  Alerts: what failed of a schedule, until somebody has seen it.
 *
 * The notification bears the number of the alert and nothing else: whoever can
 * connect can listen, the view shows an alert to those whom it concerns.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/schedule/schedule_int.h"

static const char forget_old[] =
	"DELETE FROM bundle_rec.stored_alert WHERE alert IN (SELECT alert FROM bundle_rec.stored_alert"
	" WHERE acknowledged_at < pg_catalog.now() - '90 days'::pg_catalog.interval"
	" FOR UPDATE SKIP LOCKED)";

/* in an owner section; the statement inserts alerts and returns their numbers; the last, or 0 */
static int64
raise_alerts(const char *sql, int n, const Oid *types, const Datum *values, const char *nulls)
{
	int64 alert = 0;
	uint64 raised;
	bool is_null;

	br_pg_execute(forget_old, 0, NULL, NULL, NULL, false, 0);
	raised = br_pg_execute(sql, n, types, values, nulls, false, 0);
	for (uint64 i = 0; i < raised; i++)
	{
		alert = DatumGetInt64(br_pg_column(i, 1, &is_null));
		Async_Notify("bundle_rec_alert", psprintf("%lld", (long long) alert));
	}
	return alert;
}

int64
br_pg_alert_raise(int64 schedule, const char *task, const char *sqlstate, const char *message)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[] = {Int64GetDatum(schedule), CStringGetTextDatum(task),
					  sqlstate == NULL ? 0 : CStringGetTextDatum(sqlstate),
					  CStringGetTextDatum(message)};
	const char nulls[] = {' ', ' ', sqlstate == NULL ? 'n' : ' ', ' '};
	BrPgRights rights;
	int64 alert;

	br_pg_enter_owner(&rights);
	alert = raise_alerts("INSERT INTO bundle_rec.stored_alert"
						 " (catalog, role, schedule, task, sqlstate, message)"
						 " SELECT catalog, role, schedule, $2, $3, $4"
						 " FROM bundle_rec.stored_schedule WHERE schedule = $1 RETURNING alert",
						 lengthof(types), types, values, nulls);
	br_pg_leave(&rights);
	return alert;
}

void
br_pg_schedule_job_failed(int64 job, const char *message)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(job), CStringGetTextDatum(message)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	if (raise_alerts("INSERT INTO bundle_rec.stored_alert"
					 " (catalog, role, schedule, job, task, sqlstate, message)"
					 " SELECT catalog, pg_catalog.pg_get_userbyid(role), schedule, job, kind,"
					 " pg_catalog.split_part($2, ':', 1),"
					 " pg_catalog.substr($2, pg_catalog.strpos($2, ':') + 2)"
					 " FROM bundle_rec.stored_job WHERE job = $1 AND schedule IS NOT NULL"
					 " RETURNING alert",
					 lengthof(types), types, values, NULL) != 0)
		/* a run that is at work meanwhile says what comes of itself */
		br_pg_execute("UPDATE bundle_rec.stored_schedule s SET state = 'failed', task = j.kind,"
					  " message = 'job ' || j.job || ': ' || $2,"
					  " finished_at = pg_catalog.clock_timestamp()"
					  " FROM bundle_rec.stored_job j WHERE j.job = $1 AND s.schedule = j.schedule"
					  " AND s.state <> 'running'",
					  lengthof(types), types, values, NULL, false, 0);
	br_pg_leave(&rights);
}

void
br_pg_schedule_find_interrupted_jobs(void)
{
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	/* the row of a job changes when a worker begins it, and while one is at work */
	raise_alerts("INSERT INTO bundle_rec.stored_alert (catalog, role, schedule, job, task, message)"
				 " SELECT j.catalog, pg_catalog.pg_get_userbyid(j.role), j.schedule, j.job, j.kind,"
				 " pg_catalog.format('job %s was interrupted: its worker ended without saying so, in"
				 " a crash or a restart; run_jobs() or resume_job(%1$s) goes on with it', j.job)"
				 " FROM bundle_rec.stored_job j WHERE j.schedule IS NOT NULL AND j.state = 'running'"
				 " AND bundle_rec.job_interrupted(j.job, j.updated_at)"
				 " AND NOT EXISTS (SELECT FROM bundle_rec.stored_alert a WHERE a.job = j.job"
				 "  AND a.sqlstate IS NULL AND a.raised_at > j.updated_at) RETURNING alert",
				 0, NULL, NULL, NULL);
	br_pg_leave(&rights);
}

bool
br_pg_schedule_acknowledge(int64 alert)
{
	static const Oid types[] = {INT8OID, NAMEOID};
	Datum values[] = {Int64GetDatum(alert), 0};
	BrPgRights rights;
	bool acknowledged, is_null;

	values[1] = DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
	br_pg_enter_owner(&rights);
	if (br_pg_execute_now("SELECT role, catalog, acknowledged_at IS NOT NULL"
						  " FROM bundle_rec.stored_alert WHERE alert = $1 FOR UPDATE",
						  1, types, values) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no alert %lld", (long long) alert),
				 errhint("The view bundle_rec.alert lists them; those that were acknowledged are"
						 " forgotten after 90 days.")));
	br_pg_leave(&rights);
	acknowledged = DatumGetBool(br_pg_column(0, 3, &is_null));
	br_pg_schedule_require(br_pg_column_text(0, 1), DatumGetInt32(br_pg_column(0, 2, &is_null)),
						   "alert", alert);
	if (acknowledged)
		return false;
	br_pg_enter_owner(&rights);
	br_pg_execute_now("UPDATE bundle_rec.stored_alert SET acknowledged_by = $2,"
					  " acknowledged_at = pg_catalog.clock_timestamp() WHERE alert = $1",
					  lengthof(types), types, values);
	br_pg_leave(&rights);
	return true;
}
