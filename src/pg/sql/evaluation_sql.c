/*
 * evaluation_sql.c
 *	  Off-policy estimators as aggregates (sql/parts/evaluation.sql).
 *
 * All estimators share one state, a float8[] whose first number says which of
 * them it belongs to: the initial condition of each aggregate. In an aggregate
 * the state is changed in place; called from anywhere else the functions work
 * on a copy, and a state is checked like any other argument.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/array.h"

#include "core/eval/br_eval.h"
#include "pg/br_pg.h"
#include "pg/sql/arguments.h"
#include "pg/sql/evaluation.h"

PG_FUNCTION_INFO_V1(br_estimate_accumulate);
PG_FUNCTION_INFO_V1(br_slate_accumulate);
PG_FUNCTION_INFO_V1(br_estimate_combine);
PG_FUNCTION_INFO_V1(br_estimate_final);
PG_FUNCTION_INFO_V1(br_clusters_accumulate);
PG_FUNCTION_INFO_V1(br_clusters_combine);
PG_FUNCTION_INFO_V1(br_clusters_final);

/* What an aggregate takes of a row, after its state, in this order. */
static const char *const row_arguments[] = {"reward", "target_probability", "logged_propensity",
											"predicted", "expected"};

/* ---- states ---- */

double *
br_pg_state_numbers(ArrayType *array, int size)
{
	if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != size || ARR_HASNULL(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid state of an off-policy estimator"),
				 errdetail("It must be an array of %d numbers without NULL.", size)));
	return (double *) ARR_DATA_PTR(array);
}

void
br_pg_check_state(BrStatus status, const BrContext *context)
{
	br_pg_check(status, context, "invalid state of an off-policy estimator",
				"States are made by aggregates such as ips_state().");
}

ArrayType *
br_pg_own_state(FunctionCallInfo fcinfo)
{
	if (AggCheckCallContext(fcinfo, NULL))
		return PG_GETARG_ARRAYTYPE_P(0);
	return PG_GETARG_ARRAYTYPE_P_COPY(0);
}

const double *
br_pg_estimator_state(FunctionCallInfo fcinfo, int i, BrContext *context)
{
	const double *state = br_pg_state_numbers(PG_GETARG_ARRAYTYPE_P(i), BR_STATE_SIZE);

	br_pg_check_state(br_eval_state_check(context, state), context);
	return state;
}

static const double *
get_clusters(FunctionCallInfo fcinfo, int i, BrContext *context)
{
	const double *clusters = br_pg_state_numbers(PG_GETARG_ARRAYTYPE_P(i), BR_CLUSTERS_SIZE);

	br_pg_check_state(br_eval_clusters_check(context, clusters), context);
	return clusters;
}

/* ---- rows ---- */

/* How many arguments the aggregate of an estimator takes, of numbers or of arrays. */
static int
arguments_of(double estimator, bool arrays)
{
	static const int8 of_numbers[] = {
		[BR_ESTIMATOR_IPS] = 3,		  [BR_ESTIMATOR_CLIPPED_IPS] = 4, [BR_ESTIMATOR_SNIPS] = 3,
		[BR_ESTIMATOR_DM] = 1,		  [BR_ESTIMATOR_DR] = 5,		  [BR_ESTIMATOR_SNDR] = 5,
		[BR_ESTIMATOR_SWITCH_DR] = 6, [BR_ESTIMATOR_DR_OS] = 6,		  [BR_ESTIMATOR_REPLAY] = 2,
		[BR_ESTIMATOR_PBM_IPS] = 0,
	};
	static const int8 of_arrays[] = {
		[BR_ESTIMATOR_SIPS] = 3,	   [BR_ESTIMATOR_IIPS] = 3,	   [BR_ESTIMATOR_RIPS] = 3,
		[BR_ESTIMATOR_CASCADE_DR] = 5, [BR_ESTIMATOR_PBM_IPS] = 4,
	};

	/* anything may stand in an array that was not made by us */
	if (!(estimator >= BR_ESTIMATOR_IPS && estimator <= BR_ESTIMATOR_PBM_IPS))
		return 0;
	return arrays ? of_arrays[(int) estimator] : of_numbers[(int) estimator];
}

/* The state of argument 0, of an estimator that takes as many arguments as there are. */
static double *
get_state_of_arguments(FunctionCallInfo fcinfo, ArrayType *array, bool arrays)
{
	double *state = br_pg_state_numbers(array, BR_STATE_SIZE);

	if (arguments_of(state[BR_STATE_ESTIMATOR], arrays) != PG_NARGS() - 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid state of an off-policy estimator"),
				 errdetail("The estimator numbered %g does not take these arguments.",
						   state[BR_STATE_ESTIMATOR])));
	return state;
}

/* Raises 22004 naming the first argument that is NULL. */
static void
refuse_nulls(FunctionCallInfo fcinfo, const char *const *names)
{
	for (int i = 1; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" of an off-policy estimator must not be NULL",
							names[i - 1]),
					 errhint("Leave such rows out by FILTER (WHERE ...) if that is what they "
							 "mean.")));
}

static void
check_row(BrStatus status, const BrContext *context)
{
	br_pg_check(status, context, "invalid row for an off-policy estimator",
				"Correct what was logged, or leave such rows out by FILTER (WHERE ...).");
}

PGDLLEXPORT Datum
br_estimate_accumulate(PG_FUNCTION_ARGS)
{
	ArrayType *array;
	double *state;
	BrLoggedRow row = {0};
	const char *names[6] = {row_arguments[0], row_arguments[1], row_arguments[2],
							row_arguments[3], row_arguments[4], "tau or lambda"};
	int n = PG_NARGS() - 1;
	BrContext context;

	if (n == 1)
		names[0] = row_arguments[4];
	else if (n == 2)
		names[1] = "matched";
	else if (n == 4)
		names[3] = "cap";
	br_pg_require_argument(fcinfo, 0, "state");
	refuse_nulls(fcinfo, names);
	array = br_pg_own_state(fcinfo);
	state = get_state_of_arguments(fcinfo, array, false);
	if (n == 1)
		row.expected = PG_GETARG_FLOAT8(1);
	else
		row.reward = PG_GETARG_FLOAT8(1);
	if (n == 2 && !PG_GETARG_BOOL(2))
		PG_RETURN_ARRAYTYPE_P(array);
	if (n >= 3)
	{
		row.target = PG_GETARG_FLOAT8(2);
		row.logged = PG_GETARG_FLOAT8(3);
	}
	if (n >= 5)
	{
		row.predicted = PG_GETARG_FLOAT8(4);
		row.expected = PG_GETARG_FLOAT8(5);
	}
	if (n == 4 || n == 6)
		row.parameter = PG_GETARG_FLOAT8(n);
	br_pg_context(&context, CurrentMemoryContext);
	check_row(br_eval_add_row(&context, state, &row), &context);
	PG_RETURN_ARRAYTYPE_P(array);
}

/* ---- slates ---- */

/* Argument i: as many numbers as of says in each dimension, 0 for any number; there are dims. */
static const double *
get_array(FunctionCallInfo fcinfo, int i, const char *name, int dims, int *of)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(i);

	if (ARR_NDIM(array) != dims || ARR_HASNULL(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be an array of %d dimension(s) without NULL, and not "
						"empty",
						name, dims)));
	for (int d = 0; d < dims; d++)
	{
		if (of[d] == 0)
			of[d] = ARR_DIMS(array)[d];
		if (of[d] != ARR_DIMS(array)[d])
			ereport(ERROR,
					(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
					 errmsg("argument \"%s\" has %d elements in dimension %d where %d are needed",
							name, ARR_DIMS(array)[d], d + 1, of[d]),
					 errhint(
						 "All arguments describe the same slots; PBM probabilities have one row "
						 "for each slot and one column for each position.")));
	}
	return (const double *) ARR_DATA_PTR(array);
}

PGDLLEXPORT Datum
br_slate_accumulate(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"rewards", "target_probabilities", "logged_propensities",
										"predicted", "expected"};
	static const char *const pbm_names[] = {"rewards", "target_probabilities",
											"logged_propensities", "examination"};
	int n = PG_NARGS() - 1;
	int of[2] = {0, 0};
	int dims = n == 4 ? 2 : 1;
	ArrayType *array;
	double *state;
	BrLoggedSlate slate = {0};
	BrContext context;

	br_pg_require_argument(fcinfo, 0, "state");
	refuse_nulls(fcinfo, n == 4 ? pbm_names : names);
	array = br_pg_own_state(fcinfo);
	state = get_state_of_arguments(fcinfo, array, true);
	slate.rewards = get_array(fcinfo, 1, names[0], 1, of);
	slate.target = get_array(fcinfo, 2, names[1], dims, of);
	slate.logged = get_array(fcinfo, 3, names[2], dims, of);
	slate.slots = of[0];
	slate.positions = of[1];
	if (n == 4)
		slate.examination = get_array(fcinfo, 4, pbm_names[3], 1, of + 1);
	if (n == 5)
	{
		slate.predicted = get_array(fcinfo, 4, names[3], 1, of);
		slate.expected = get_array(fcinfo, 5, names[4], 1, of);
	}
	br_pg_context(&context, CurrentMemoryContext);
	check_row(br_eval_add_slate(&context, state, &slate), &context);
	PG_RETURN_ARRAYTYPE_P(array);
}

/* ---- states to estimates ---- */

PGDLLEXPORT Datum
br_estimate_combine(PG_FUNCTION_ARGS)
{
	ArrayType *array = br_pg_own_state(fcinfo);
	double *state = br_pg_state_numbers(array, BR_STATE_SIZE);
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check_state(br_eval_state_check(&context, state), &context);
	br_pg_check(br_eval_combine(&context, state, br_pg_estimator_state(fcinfo, 1, &context)),
				&context, "cannot combine states of different estimators", NULL);
	PG_RETURN_ARRAYTYPE_P(array);
}

/* An estimate as a row of the type; NULL without rows. */
static Datum
return_estimate(FunctionCallInfo fcinfo, const BrEstimate *estimate)
{
	TupleDesc type;
	Datum values[6];
	bool nulls[6] = {false};

	if (estimate->rows == 0)
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE || type->natts != 6)
		elog(ERROR, "the result of an off-policy estimator must be of type estimate");
	br_pg_set_number(values, nulls, 0, estimate->value);
	br_pg_set_number(values, nulls, 1, estimate->standard_error);
	values[2] = Int64GetDatum(estimate->rows);
	br_pg_set_number(values, nulls, 3, estimate->effective_sample_size);
	br_pg_set_number(values, nulls, 4, estimate->max_weight);
	br_pg_set_number(values, nulls, 5, estimate->mean_weight);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(type), values, nulls)));
}

static void
check_estimate(BrStatus status, const BrContext *context)
{
	br_pg_check(status, context, "off-policy estimate out of range", NULL);
}

PGDLLEXPORT Datum
br_estimate_final(PG_FUNCTION_ARGS)
{
	BrContext context;
	BrEstimate estimate;

	br_pg_context(&context, CurrentMemoryContext);
	check_estimate(br_eval_estimate(&context, br_pg_estimator_state(fcinfo, 0, &context),
									&estimate),
				   &context);
	return return_estimate(fcinfo, &estimate);
}

PGDLLEXPORT Datum
br_clusters_accumulate(PG_FUNCTION_ARGS)
{
	ArrayType *array = br_pg_own_state(fcinfo);
	double *clusters = br_pg_state_numbers(array, BR_CLUSTERS_SIZE);
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check_state(br_eval_clusters_check(&context, clusters), &context);
	br_pg_check(br_eval_clusters_add(&context, clusters,
									 br_pg_estimator_state(fcinfo, 1, &context)),
				&context, "cannot combine states of different estimators", NULL);
	PG_RETURN_ARRAYTYPE_P(array);
}

PGDLLEXPORT Datum
br_clusters_combine(PG_FUNCTION_ARGS)
{
	ArrayType *array = br_pg_own_state(fcinfo);
	double *clusters = br_pg_state_numbers(array, BR_CLUSTERS_SIZE);
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check_state(br_eval_clusters_check(&context, clusters), &context);
	br_pg_check(br_eval_clusters_combine(&context, clusters, get_clusters(fcinfo, 1, &context)),
				&context, "cannot combine states of different estimators", NULL);
	PG_RETURN_ARRAYTYPE_P(array);
}

PGDLLEXPORT Datum
br_clusters_final(PG_FUNCTION_ARGS)
{
	BrContext context;
	BrEstimate estimate;

	br_pg_context(&context, CurrentMemoryContext);
	check_estimate(br_eval_clusters_estimate(&context, get_clusters(fcinfo, 0, &context),
											 &estimate),
				   &context);
	return return_estimate(fcinfo, &estimate);
}
