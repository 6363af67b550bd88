/*
 * train_sql.c
 *	  SQL doors of training (sql/parts/train.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "pg/sql/arguments.h"
#include "pg/train/train.h"

PG_FUNCTION_INFO_V1(br_train);

static char *
optional_text(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

static Jsonb *
parameters_argument(FunctionCallInfo fcinfo, int i)
{
	if (PG_ARGISNULL(i))
		return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	return PG_GETARG_JSONB_P(i);
}

/* train(catalog, objective, method, query, model_name, parameters, promote) -> job */
PGDLLEXPORT Datum
br_train(PG_FUNCTION_ARGS)
{
	BrPgTrainRequest request = {
		.catalog = br_pg_text_argument(fcinfo, 0, "catalog"),
		.objective = br_pg_text_argument(fcinfo, 1, "objective"),
		.method = br_pg_text_argument(fcinfo, 2, "method"),
		.query = optional_text(fcinfo, 3),
		.model_name = optional_text(fcinfo, 4),
		.parameters = parameters_argument(fcinfo, 5),
	};
	int64 job;

	br_pg_require_argument(fcinfo, 6, "promote");
	request.promote = PG_GETARG_BOOL(6);
	br_pg_require_writes("train()");
	SPI_connect();
	job = br_pg_train_queue(&request);
	SPI_finish();
	PG_RETURN_INT64(job);
}
