/*
 * experiment_sql.c
 *	  SQL doors of experiments (sql/parts/experiment.sql); those of their
 *	  statistics stand in experiment_statistics.c.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "pg/experiment/experiment.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_create_experiment);
PG_FUNCTION_INFO_V1(br_alter_experiment);
PG_FUNCTION_INFO_V1(br_stop_experiment);
PG_FUNCTION_INFO_V1(br_drop_experiment);
PG_FUNCTION_INFO_V1(br_assign);
PG_FUNCTION_INFO_V1(br_assignment);
PG_FUNCTION_INFO_V1(br_ab_test);

/* name, variants, layer, traffic, holdout, salt */
PGDLLEXPORT Datum
br_create_experiment(PG_FUNCTION_ARGS)
{
	BrPgExperimentRequest request;

	br_pg_require_writes("create_experiment()");
	request.name = br_pg_text_argument(fcinfo, 0, "name");
	br_pg_require_argument(fcinfo, 1, "variants");
	br_pg_require_argument(fcinfo, 3, "traffic");
	request.variants = PG_GETARG_DATUM(1);
	request.layer = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	request.traffic = PG_GETARG_FLOAT8(3);
	request.holdout = PG_ARGISNULL(4) ? NAN : PG_GETARG_FLOAT8(4);
	request.salt = PG_ARGISNULL(5) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(5));
	SPI_connect();
	br_pg_experiment_create(&request);
	SPI_finish();
	PG_RETURN_VOID();
}

/* name, variants, traffic */
PGDLLEXPORT Datum
br_alter_experiment(PG_FUNCTION_ARGS)
{
	Datum variants = PG_GETARG_DATUM(1);
	char *name;

	br_pg_require_writes("alter_experiment()");
	name = br_pg_text_argument(fcinfo, 0, "name");
	SPI_connect();
	br_pg_experiment_alter(name, PG_ARGISNULL(1) ? NULL : &variants,
						   PG_ARGISNULL(2) ? NAN : PG_GETARG_FLOAT8(2));
	SPI_finish();
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_stop_experiment(PG_FUNCTION_ARGS)
{
	char *name;

	br_pg_require_writes("stop_experiment()");
	name = br_pg_text_argument(fcinfo, 0, "name");
	SPI_connect();
	br_pg_experiment_stop(name);
	SPI_finish();
	PG_RETURN_VOID();
}

PGDLLEXPORT Datum
br_drop_experiment(PG_FUNCTION_ARGS)
{
	char *name;

	br_pg_require_writes("drop_experiment()");
	name = br_pg_text_argument(fcinfo, 0, "name");
	SPI_connect();
	br_pg_experiment_drop(name);
	SPI_finish();
	PG_RETURN_VOID();
}

/* a text made while SPI is connected, where it outlives that; NULL stays */
static text *
finish_with_text(const char *string)
{
	text *result = NULL;

	if (string != NULL)
	{
		text *made = cstring_to_text(string);

		result = SPI_palloc(VARSIZE(made));
		memcpy(result, made, VARSIZE(made));
	}
	SPI_finish();
	return result;
}

/* experiment, unit_id, log */
PGDLLEXPORT Datum
br_assign(PG_FUNCTION_ARGS)
{
	char *name = br_pg_text_argument(fcinfo, 0, "experiment");
	char *unit_id = br_pg_text_argument(fcinfo, 1, "unit_id");
	BrPgExposureLog log = PG_ARGISNULL(2) ? BR_PG_EXPOSURE_AUTO
		: PG_GETARG_BOOL(2)				  ? BR_PG_EXPOSURE_ON
										  : BR_PG_EXPOSURE_OFF;
	text *variant;

	SPI_connect();
	variant = finish_with_text(br_pg_experiment_assign(name, unit_id, log));
	if (variant == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(variant);
}

/* experiment, unit_id */
PGDLLEXPORT Datum
br_assignment(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *unit_id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	text *variant;

	SPI_connect();
	variant = finish_with_text(br_pg_experiment_assignment(name, unit_id));
	if (variant == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(variant);
}

/* query, experiment, metrics, control, covariates, denominators, margins, weights, confidence, planned */
PGDLLEXPORT Datum
br_ab_test(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"query",	  NULL,			  "metrics", "control",
										"covariates", "denominators", "margins", NULL,
										"confidence", "planned"};
	BrPgTestRequest request;
	Datum weights = PG_GETARG_DATUM(7);

	for (int i = 0; i < lengthof(names); i++)
		if (names[i] != NULL)
			br_pg_require_argument(fcinfo, i, names[i]);
	request.query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	request.experiment = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	request.metrics = br_pg_text_array(PG_GETARG_ARRAYTYPE_P(2), "metrics", &request.n_metrics);
	request.control = text_to_cstring(PG_GETARG_TEXT_PP(3));
	request.covariates = PG_GETARG_DATUM(4);
	request.denominators = PG_GETARG_DATUM(5);
	request.margins = PG_GETARG_DATUM(6);
	request.weights = PG_ARGISNULL(7) ? NULL : &weights;
	request.confidence = PG_GETARG_FLOAT8(8);
	request.planned = PG_GETARG_FLOAT8(9);
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	br_pg_experiment_test(&request, (ReturnSetInfo *) fcinfo->resultinfo);
	SPI_finish();
	return (Datum) 0;
}
