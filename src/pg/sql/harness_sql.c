/*
 * harness_sql.c
 *	  The SQL door of evaluation over a catalog's own events
 *	  (sql/parts/harness.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "pg/harness/harness.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_evaluate);

static char *
optional_text(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

/* method, metric, k, value, standard_error, cases, difference, difference_error */
static void
return_figure(ReturnSetInfo *result, const BrPgFigure *figure)
{
	Datum values[8];
	bool nulls[8] = {false};

	values[0] = CStringGetTextDatum(figure->method);
	values[1] = CStringGetTextDatum(figure->metric);
	values[2] = Int32GetDatum(figure->k);
	nulls[2] = figure->k == 0;
	br_pg_set_number(values, nulls, 3, figure->value);
	br_pg_set_number(values, nulls, 4, figure->error);
	values[5] = Int64GetDatum(figure->cases);
	br_pg_set_number(values, nulls, 6, figure->difference);
	br_pg_set_number(values, nulls, 7, figure->difference_error);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* evaluate(catalog, task, split, seeds, k, baseline, first_seed) */
PGDLLEXPORT Datum
br_evaluate(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgEvaluationRequest request = {
		.catalog = br_pg_text_argument(fcinfo, 0, "catalog"),
		.task = br_pg_text_argument(fcinfo, 1, "task"),
		.split = optional_text(fcinfo, 2),
		.baseline = optional_text(fcinfo, 5),
	};
	BrPgFigure *figures;
	int n;

	br_pg_require_argument(fcinfo, 3, "seeds");
	br_pg_require_argument(fcinfo, 4, "k");
	br_pg_require_argument(fcinfo, 6, "first_seed");
	request.seeds = PG_GETARG_INT32(3);
	request.first_seed = PG_GETARG_INT32(6);
	request.k = br_pg_array_elements(PG_GETARG_DATUM(4), &request.n_k);
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	figures = br_pg_evaluate_learners(&request, &n);
	for (int i = 0; i < n; i++)
		return_figure(result, &figures[i]);
	SPI_finish();
	return (Datum) 0;
}
