/*
 * learn_sql.c
 *	  SQL doors of what is learned (sql/parts/learn.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"

#include "pg/learn/learn.h"
#include "pg/sql/arguments.h"
#include "pg/worker/job.h"

PG_FUNCTION_INFO_V1(br_fit);
PG_FUNCTION_INFO_V1(br_fit_async);
PG_FUNCTION_INFO_V1(br_serve_version);
PG_FUNCTION_INFO_V1(br_drop_version);
PG_FUNCTION_INFO_V1(br_fit_progress_rows);

static char *
kind_argument(FunctionCallInfo fcinfo)
{
	return PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
}

static Jsonb *
parameters_argument(FunctionCallInfo fcinfo)
{
	return PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
}

/* fit(catalog, kind, parameters) -> (kind, version, seconds, figures) */
PGDLLEXPORT Datum
br_fit(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char *catalog = br_pg_text_argument(fcinfo, 0, "catalog");
	BrPgFitted *fitted;
	int n;

	br_pg_require_writes("fit()");
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	fitted = br_pg_fit(catalog, kind_argument(fcinfo), parameters_argument(fcinfo), &n);
	for (int i = 0; i < n; i++)
	{
		Datum values[] = {CStringGetTextDatum(fitted[i].kind), Int32GetDatum(fitted[i].version),
						  Float8GetDatum(fitted[i].seconds), fitted[i].figures};
		bool nulls[lengthof(values)] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

PGDLLEXPORT Datum
br_fit_async(PG_FUNCTION_ARGS)
{
	char *catalog = br_pg_text_argument(fcinfo, 0, "catalog");
	int64 job;

	br_pg_require_writes("fit_async()");
	SPI_connect();
	job = br_pg_job_queue_fit(catalog, kind_argument(fcinfo), parameters_argument(fcinfo));
	SPI_finish();
	PG_RETURN_INT64(job);
}

/* what serve_version and drop_version have in common */
static void
change(FunctionCallInfo fcinfo, const char *function,
	   void (*how)(const char *catalog, int32 version))
{
	char *catalog = br_pg_text_argument(fcinfo, 0, "catalog");

	br_pg_require_argument(fcinfo, 1, "version");
	br_pg_require_writes(function);
	SPI_connect();
	how(catalog, PG_GETARG_INT32(1));
	SPI_finish();
}

PGDLLEXPORT Datum
br_serve_version(PG_FUNCTION_ARGS)
{
	change(fcinfo, "serve_version()", br_pg_serve_version);
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_drop_version(PG_FUNCTION_ARGS)
{
	change(fcinfo, "drop_version()", br_pg_drop_version);
	PG_RETURN_VOID();
}

/* who may act as the role that fits, or as the owner of what the catalog follows */
static bool
may_see(const PgBackendStatus *status)
{
	Oid source = status->st_progress_command_target;

	if (status->st_databaseid != MyDatabaseId)
		return false;
	if (OidIsValid(status->st_userid) && has_privs_of_role(GetUserId(), status->st_userid))
		return true;
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(source)) &&
		pg_class_ownercheck(source, GetUserId());
}

/* -> (pid, catalog, kind, done, total) of the fits of this database that the caller may see */
PGDLLEXPORT Datum
br_fit_progress_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int backends = pgstat_fetch_stat_numbackends();

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 1; i <= backends; i++)
	{
		const LocalPgBackendStatus *local = pgstat_fetch_stat_local_beentry(i);
		const PgBackendStatus *status = local == NULL ? NULL : &local->backendStatus;
		const char *kind;

		if (status == NULL || status->st_progress_command != BR_PG_FIT_PROGRESS || !may_see(status))
			continue;
		kind = br_pg_fit_kind_name((int) status->st_progress_param[BR_PG_FIT_KIND]);
		if (kind != NULL)
		{
			Datum values[] = {Int32GetDatum(status->st_procpid),
							  Int32GetDatum((int32) status->st_progress_param[BR_PG_FIT_CATALOG]),
							  CStringGetTextDatum(kind),
							  Int64GetDatum(status->st_progress_param[BR_PG_FIT_DONE]),
							  Int64GetDatum(status->st_progress_param[BR_PG_FIT_TOTAL])};
			bool nulls[lengthof(values)] = {false};

			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}
