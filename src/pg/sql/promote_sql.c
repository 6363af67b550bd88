/*
 * promote_sql.c
 *	  SQL doors of the life of models (sql/parts/promote.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "pg/model/model.h"
#include "pg/promote/promote.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_gate);
PG_FUNCTION_INFO_V1(br_promote_model);
PG_FUNCTION_INFO_V1(br_rollback_model);
PG_FUNCTION_INFO_V1(br_prune_models);

/* condition, before, after, value, bound, held */
static void
return_conditions(FunctionCallInfo fcinfo, const BrPgVerdict *verdict)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	for (int i = 0; i < verdict->n; i++)
	{
		const BrPgCondition *condition = &verdict->conditions[i];
		Datum values[6];
		bool nulls[6] = {false};

		values[0] = CStringGetTextDatum(condition->name);
		br_pg_set_number(values, nulls, 1, condition->before);
		br_pg_set_number(values, nulls, 2, condition->after);
		br_pg_set_number(values, nulls, 3, condition->value);
		br_pg_set_number(values, nulls, 4, condition->bound);
		values[5] = BoolGetDatum(condition->held);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* catalog, model, margin; parameters: which argument these are. SPI is connected. */
static BrPgPromotion
promotion_arguments(FunctionCallInfo fcinfo, int parameters)
{
	BrPgPromotion promotion = {.catalog = br_pg_text_argument(fcinfo, 0, "catalog")};
	char *model = br_pg_text_argument(fcinfo, 1, "model");

	br_pg_require_argument(fcinfo, 2, "margin");
	promotion.margin = PG_GETARG_FLOAT8(2);
	promotion.parameters = PG_ARGISNULL(parameters) ? NULL : PG_GETARG_JSONB_P(parameters);
	promotion.model = br_pg_model_number(model);
	return promotion;
}

/* gate(catalog, model, margin, parameters) */
PGDLLEXPORT Datum
br_gate(PG_FUNCTION_ARGS)
{
	BrPgPromotion promotion;

	InitMaterializedSRF(fcinfo, 0);
	br_pg_require_writes("gate()");
	SPI_connect();
	promotion = promotion_arguments(fcinfo, 3);
	return_conditions(fcinfo, br_pg_gate(&promotion));
	SPI_finish();
	return (Datum) 0;
}

/* promote_model(catalog, model, margin, force, parameters) */
PGDLLEXPORT Datum
br_promote_model(PG_FUNCTION_ARGS)
{
	BrPgPromotion promotion;
	const BrPgVerdict *verdict;

	InitMaterializedSRF(fcinfo, 0);
	br_pg_require_writes("promote_model()");
	SPI_connect();
	promotion = promotion_arguments(fcinfo, 4);
	promotion.force = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	verdict = br_pg_promote(&promotion);
	return_conditions(fcinfo, verdict);
	if (verdict->job == 0)
		ereport(NOTICE,
				(errmsg("model \"%s\" is not promoted", text_to_cstring(PG_GETARG_TEXT_PP(1))),
				 errdetail("%s", verdict->summary)));
	SPI_finish();
	return (Datum) 0;
}

PGDLLEXPORT Datum
br_rollback_model(PG_FUNCTION_ARGS)
{
	char *catalog = br_pg_text_argument(fcinfo, 0, "catalog");
	int64 job;

	br_pg_require_writes("rollback_model()");
	SPI_connect();
	job = br_pg_rollback(catalog);
	SPI_finish();
	if (job == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(job);
}

PGDLLEXPORT Datum
br_prune_models(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char **dropped;
	int n;

	br_pg_require_argument(fcinfo, 0, "keep");
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	SPI_connect();
	dropped = br_pg_prune_models(PG_GETARG_INT32(0), &n);
	for (int i = 0; i < n; i++)
	{
		Datum value = CStringGetTextDatum(dropped[i]);
		bool is_null = false;

		tuplestore_putvalues(result->setResult, result->setDesc, &value, &is_null);
	}
	SPI_finish();
	return (Datum) 0;
}
