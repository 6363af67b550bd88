/*
 * privacy_sql.c
 *	  SQL doors of privacy (sql/parts/privacy.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/privacy/privacy.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_forget_user);
PG_FUNCTION_INFO_V1(br_forget_user_choices);
PG_FUNCTION_INFO_V1(br_unforget_user);
PG_FUNCTION_INFO_V1(br_set_retention);
PG_FUNCTION_INFO_V1(br_pseudonym);
PG_FUNCTION_INFO_V1(br_sees_users);

PGDLLEXPORT Datum
br_forget_user(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char *name = br_pg_text_argument(fcinfo, 0, "catalog");
	char *user_id = br_pg_text_argument(fcinfo, 1, "user_id");
	BrPgForgetting done;
	Datum values[4];
	bool nulls[4] = {false};

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	done = br_pg_forget_user(br_pg_catalog_open(name), user_id);
	values[0] = Int64GetDatum(done.events);
	values[1] = Int64GetDatum(done.decisions);
	values[2] = Int64GetDatum(done.feedback);
	values[3] = done.in_sources;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	SPI_finish();
	return (Datum) 0;
}

PGDLLEXPORT Datum
br_forget_user_choices(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char *name = br_pg_text_argument(fcinfo, 0, "policy");
	char *user_id = br_pg_text_argument(fcinfo, 1, "user_id");
	int64 choices, feedback;
	Datum values[2];
	bool nulls[2] = {false};

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	br_pg_forget_chooser(br_pg_policy_open(0, name), user_id, &choices, &feedback);
	values[0] = Int64GetDatum(choices);
	values[1] = Int64GetDatum(feedback);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	SPI_finish();
	return (Datum) 0;
}

PGDLLEXPORT Datum
br_unforget_user(PG_FUNCTION_ARGS)
{
	char *name = br_pg_text_argument(fcinfo, 0, "catalog");
	char *user_id = br_pg_text_argument(fcinfo, 1, "user_id");
	bool was_forgotten;

	SPI_connect();
	was_forgotten = br_pg_unforget_user(br_pg_catalog_open(name), user_id);
	SPI_finish();
	PG_RETURN_BOOL(was_forgotten);
}

/* catalog, events, decisions; the intervals may be NULL */
PGDLLEXPORT Datum
br_set_retention(PG_FUNCTION_ARGS)
{
	char *name = br_pg_text_argument(fcinfo, 0, "catalog");

	br_pg_require_writes("set_retention()");
	SPI_connect();
	br_pg_set_retention(br_pg_catalog_open(name), PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1),
						PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2));
	SPI_finish();
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_pseudonym(PG_FUNCTION_ARGS)
{
	bytea *secret = PG_GETARG_BYTEA_PP(0);

	PG_RETURN_TEXT_P(cstring_to_text(br_pg_pseudonym((const uint8 *) VARDATA_ANY(secret),
													 (int) VARSIZE_ANY_EXHDR(secret),
													 text_to_cstring(PG_GETARG_TEXT_PP(1)),
													 text_to_cstring(PG_GETARG_TEXT_PP(2)))));
}

PGDLLEXPORT Datum
br_sees_users(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(br_pg_sees_users(PG_GETARG_OID(0)));
}
