/*
 * click_model_sql.c
 *	  SQL doors to the order of independent arms and to click models
 *	  (sql/parts/click_model.sql).
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "core/bandit/br_bandit.h"
#include "pg/br_pg.h"
#include "pg/sql/click_rows.h"

#define MAX_ARMS 1000
#define MAX_SLOTS 100

PG_FUNCTION_INFO_V1(br_thompson_probabilities);
PG_FUNCTION_INFO_V1(br_thompson_marginals);
PG_FUNCTION_INFO_V1(br_expected_clicks);
PG_FUNCTION_INFO_V1(br_fit_position_model);
PG_FUNCTION_INFO_V1(br_fit_attractiveness);
PG_FUNCTION_INFO_V1(br_fit_cascade_model);

/* ---- arguments and rows ---- */

/* The numbers of an array without NULL; *n: how many. */
static const double *
numbers(FunctionCallInfo fcinfo, int i, const char *name, int *n)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(i);

	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be a plain list of numbers", name),
				 errdetail(ARR_HASNULL(array) ? "It has a NULL." : "It has %d dimensions.",
						   ARR_NDIM(array))));
	*n = ARR_NDIM(array) == 0 ? 0 : ARR_DIMS(array)[0];
	return (const double *) ARR_DATA_PTR(array);
}

static void
require_same_length(const char *left, int n_left, const char *right, int n_right)
{
	if (n_left != n_right)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" has %d elements, \"%s\" has %d", left, n_left, right, n_right)));
}

static void
put_row(FunctionCallInfo fcinfo, Datum *values)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool nulls[8] = {0};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* ---- independent arms ---- */

/* (arms, slots) probabilities, slots 1 for the best alone */
static double *
order_arms(FunctionCallInfo fcinfo, int slots, int *n)
{
	int n_beta;
	const double *alpha = numbers(fcinfo, 0, "alpha", n);
	const double *beta = numbers(fcinfo, 1, "beta", &n_beta);
	double *probability;
	BrContext context;

	require_same_length("alpha", *n, "beta", n_beta);
	if (*n < 1 || *n > MAX_ARMS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%d arms", *n),
				 errhint("Give 1 to %d.", MAX_ARMS)));
	if (slots < 1 || slots > MAX_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%d slots", slots),
				 errhint("Give 1 to %d.", MAX_SLOTS)));
	probability = palloc(sizeof(double) * (Size) *n * (Size) slots);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bandit_joint_marginals_beta(&context, *n, alpha, beta, slots, probability),
				&context, "invalid parameters of arms", NULL);
	return probability;
}

PGDLLEXPORT Datum
br_thompson_probabilities(PG_FUNCTION_ARGS)
{
	int n;
	double *probability = order_arms(fcinfo, 1, &n);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
		put_row(fcinfo, (Datum[]){Int32GetDatum(i + 1), Float8GetDatum(probability[i])});
	return (Datum) 0;
}

PGDLLEXPORT Datum
br_thompson_marginals(PG_FUNCTION_ARGS)
{
	int slots = PG_GETARG_INT32(2);
	int n;
	double *probability = order_arms(fcinfo, slots, &n);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
	{
		for (int k = 0; k < slots; k++)
			put_row(fcinfo,
					(Datum[]){Int32GetDatum(i + 1), Int32GetDatum(k + 1),
							  Float8GetDatum(probability[i * slots + k])});
	}
	return (Datum) 0;
}

/* ---- expected clicks ---- */

static void
require_probabilities(const char *name, const double *values, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (!(values[i] >= 0 && values[i] <= 1))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("element %d of \"%s\" is %g", i + 1, name, values[i]),
					 errhint("It is a probability, between 0 and 1.")));
	}
}

/* attractiveness, examination */
PGDLLEXPORT Datum
br_expected_clicks(PG_FUNCTION_ARGS)
{
	const double *attractiveness;
	double *clicks;
	int n;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	attractiveness = numbers(fcinfo, 0, "attractiveness", &n);
	require_probabilities("attractiveness", attractiveness, n);
	clicks = palloc(sizeof(double) * (Size) Max(n, 1));
	if (PG_ARGISNULL(1))
		br_bandit_expected_clicks_by_cascade(n, attractiveness, clicks);
	else
	{
		int n_examination;
		const double *examination = numbers(fcinfo, 1, "examination", &n_examination);

		require_same_length("attractiveness", n, "examination", n_examination);
		require_probabilities("examination", examination, n);
		br_bandit_expected_clicks_by_position(n, attractiveness, examination, clicks);
	}
	PG_RETURN_DATUM(br_pg_float8_array(clicks, n));
}

/* ---- the position-based model ---- */

typedef struct PositionFit
{
	BrPgClickCells cells;
	double *examination;	/* (cells.n_positions) */
	double *attractiveness; /* (cells.items.n) */
	BrClickFit fit;
} PositionFit;

/* SPI must be connected. */
static void
fit_position_model(FunctionCallInfo fcinfo, PositionFit *model)
{
	BrPgClickCells *cells = &model->cells;
	BrContext context;
	BrStatus status;

	br_pg_read_click_cells(text_to_cstring(PG_GETARG_TEXT_PP(0)), cells);
	model->examination = palloc0(sizeof(double) * (Size) Max(cells->n_positions, 1));
	model->attractiveness = palloc0(sizeof(double) * (Size) Max(cells->items.n, 1));
	br_pg_context(&context, CurrentMemoryContext);
	status =
		br_bandit_fit_position_model(&context, cells->n, cells->cells, cells->items.n,
									 cells->n_positions, PG_GETARG_FLOAT8(1), PG_GETARG_INT32(2),
									 model->examination, model->attractiveness, &model->fit);
	if (status == BR_ERR_UNSUPPORTED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("positions %lld and %lld cannot be compared",
						(long long) cells->positions[model->fit.linked],
						(long long) cells->positions[model->fit.unlinked]),
				 errdetail("No item that was clicked at all was shown in both, nor does a chain of "
						   "such items link them."),
				 errhint("Show some items in several positions, at random for instance, or fit "
						 "each group of linked positions alone.")));
	br_pg_check(status, &context, "could not fit the position-based model", NULL);
}

/* Sums of the cells' shown and clicks by position, or by item. */
static void
sum_cells(const BrPgClickCells *cells, bool by_item, double *shown, double *clicks)
{
	for (size_t i = 0; i < cells->n; i++)
	{
		int at = by_item ? cells->cells[i].item : cells->cells[i].position;

		shown[at] += cells->cells[i].shown;
		clicks[at] += cells->cells[i].clicks;
	}
}

/* query, tolerance, max_iterations */
PGDLLEXPORT Datum
br_fit_position_model(PG_FUNCTION_ARGS)
{
	PositionFit model;
	double *shown;
	double *clicks;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	fit_position_model(fcinfo, &model);
	shown = palloc0(sizeof(double) * (Size) model.cells.n_positions);
	clicks = palloc0(sizeof(double) * (Size) model.cells.n_positions);
	sum_cells(&model.cells, false, shown, clicks);
	for (int k = 0; k < model.cells.n_positions; k++)
		put_row(fcinfo,
				(Datum[]){Int64GetDatum(model.cells.positions[k]),
						  Float8GetDatum(model.examination[k]), Float8GetDatum(shown[k]),
						  Float8GetDatum(clicks[k]), Int32GetDatum(model.fit.iterations),
						  Float8GetDatum(model.fit.log_likelihood)});
	SPI_finish();
	return (Datum) 0;
}

/* query, tolerance, max_iterations */
PGDLLEXPORT Datum
br_fit_attractiveness(PG_FUNCTION_ARGS)
{
	PositionFit model;
	double *shown;
	double *clicks;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	fit_position_model(fcinfo, &model);
	shown = palloc0(sizeof(double) * (Size) model.cells.items.n);
	clicks = palloc0(sizeof(double) * (Size) model.cells.items.n);
	sum_cells(&model.cells, true, shown, clicks);
	for (int i = 0; i < model.cells.items.n; i++)
		put_row(fcinfo,
				(Datum[]){CStringGetTextDatum(model.cells.items.list[i]),
						  Float8GetDatum(model.attractiveness[i]), Float8GetDatum(shown[i]),
						  Float8GetDatum(clicks[i])});
	SPI_finish();
	return (Datum) 0;
}

/* ---- the cascade model ---- */

/* query */
PGDLLEXPORT Datum
br_fit_cascade_model(PG_FUNCTION_ARGS)
{
	BrPgListPlaces places;
	BrContext context;
	double *attractiveness;
	double *examined;
	double *clicks;
	double log_likelihood;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	br_pg_read_list_places(text_to_cstring(PG_GETARG_TEXT_PP(0)), &places);
	attractiveness = palloc(sizeof(double) * (Size) Max(places.items.n, 1));
	examined = palloc(sizeof(double) * (Size) Max(places.items.n, 1));
	clicks = palloc(sizeof(double) * (Size) Max(places.items.n, 1));
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bandit_fit_cascade_model(&context, places.n, places.places, places.items.n,
											attractiveness, examined, clicks, &log_likelihood),
				&context, "could not fit the cascade model", NULL);
	for (int i = 0; i < places.items.n; i++)
		put_row(fcinfo,
				(Datum[]){CStringGetTextDatum(places.items.list[i]),
						  Float8GetDatum(attractiveness[i]), Float8GetDatum(examined[i]),
						  Float8GetDatum(clicks[i]), Float8GetDatum(log_likelihood)});
	SPI_finish();
	return (Datum) 0;
}
