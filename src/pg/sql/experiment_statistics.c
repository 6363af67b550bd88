/*
 * experiment_statistics.c
 *	  SQL doors of the statistics of experiments (sql/parts/experiment.sql):
 *	  moments as an aggregate, and what follows from them.
 *
 * The state of experiment_moments is its result, float8[] of BR_MOMENTS numbers,
 * so that parts of it can be stored, sent from other servers and merged. In an
 * aggregate the state is changed in place; called from anywhere else the functions
 * work on a copy.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "core/eval/br_eval.h"
#include "pg/br_pg.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_experiment_moments_add);
PG_FUNCTION_INFO_V1(br_experiment_moments_combine);
PG_FUNCTION_INFO_V1(br_compare_variants);
PG_FUNCTION_INFO_V1(br_sequential_test);
PG_FUNCTION_INFO_V1(br_non_inferiority);
PG_FUNCTION_INFO_V1(br_sample_ratio_mismatch);
PG_FUNCTION_INFO_V1(br_benjamini_hochberg);
PG_FUNCTION_INFO_V1(br_holm);
PG_FUNCTION_INFO_V1(br_experiment_power);
PG_FUNCTION_INFO_V1(br_required_sample_size);
PG_FUNCTION_INFO_V1(br_minimum_detectable_effect);
PG_FUNCTION_INFO_V1(br_experiment_duration);

#define MOMENTS(state) ((double *) ARR_DATA_PTR(state))

static void
check_state(ArrayType *state)
{
	if (ARR_NDIM(state) != 1 || ARR_DIMS(state)[0] != BR_MOMENTS || ARR_HASNULL(state) ||
		ARR_ELEMTYPE(state) != FLOAT8OID || !br_eval_moments_possible(MOMENTS(state)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid state of experiment_moments"),
				 errhint("A state is what experiment_moments returned, of %d numbers.",
						 BR_MOMENTS)));
}

/* argument i, fit to be changed, as a state; anybody may call these functions with any array */
static ArrayType *
state_argument(FunctionCallInfo fcinfo, int i)
{
	ArrayType *state = AggCheckCallContext(fcinfo, NULL) ? PG_GETARG_ARRAYTYPE_P(i)
														 : PG_GETARG_ARRAYTYPE_P_COPY(i);

	check_state(state);
	return state;
}

static double
finite_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	double value = PG_GETARG_FLOAT8(i);

	if (!isfinite(value))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the %s of a unit is %g", name, value),
				 errhint("Values must be finite; a NULL leaves the unit out.")));
	return value;
}

/* what is too large overflows to infinity in the moments, and is refused where it happens */
static void
check_overflow(const double *moments)
{
	if (!br_eval_moments_possible(moments))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the values of units are too large for their squares")));
}

/* state, value, and covariate and denominator where they are given */
PGDLLEXPORT Datum
br_experiment_moments_add(PG_FUNCTION_ARGS)
{
	ArrayType *state = state_argument(fcinfo, 0);
	double value = finite_argument(fcinfo, 1, "value");
	double covariate = PG_NARGS() > 2 ? finite_argument(fcinfo, 2, "covariate") : 0;
	double denominator = PG_NARGS() > 3 ? finite_argument(fcinfo, 3, "denominator") : 1;

	br_eval_moments_add(MOMENTS(state), value, covariate, denominator);
	check_overflow(MOMENTS(state));
	PG_RETURN_ARRAYTYPE_P(state);
}

PGDLLEXPORT Datum
br_experiment_moments_combine(PG_FUNCTION_ARGS)
{
	ArrayType *state = state_argument(fcinfo, 0);
	ArrayType *other = PG_GETARG_ARRAYTYPE_P(1);

	check_state(other);
	br_eval_moments_combine(MOMENTS(state), MOMENTS(other));
	check_overflow(MOMENTS(state));
	PG_RETURN_ARRAYTYPE_P(state);
}

/* ---- comparisons ---- */

static BrComparisonMethod
method_of(const char *name)
{
	static const char *const names[] = {"proportions", "welch", "ratio", "cuped"};

	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(names[i], name) == 0)
			return (BrComparisonMethod) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown method \"%s\"", name),
			 errhint("Methods are proportions, welch, ratio and cuped.")));
}

/* numbers as a row of the function's result; what is NaN is NULL */
static Datum
row_of(FunctionCallInfo fcinfo, const double *numbers, int n)
{
	Datum values[16];
	bool nulls[16] = {false};
	TupleDesc description;

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE ||
		description->natts != n)
		elog(ERROR, "the function does not return %d numbers", n);
	for (int i = 0; i < n; i++)
	{
		values[i] = Float8GetDatum(numbers[i]);
		nulls[i] = isnan(numbers[i]);
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(description), values, nulls));
}

/* control, variant, method, pooled, confidence */
PGDLLEXPORT Datum
br_compare_variants(PG_FUNCTION_ARGS)
{
	ArrayType *control;
	ArrayType *variant;
	double pooled[BR_MOMENTS];
	BrComparison comparison;
	BrContext context;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(4))
		PG_RETURN_NULL();
	control = PG_GETARG_ARRAYTYPE_P(0);
	variant = PG_GETARG_ARRAYTYPE_P(1);
	check_state(control);
	check_state(variant);
	memcpy(pooled, MOMENTS(control), sizeof(pooled));
	br_eval_moments_combine(pooled, MOMENTS(variant));
	if (!PG_ARGISNULL(3))
	{
		check_state(PG_GETARG_ARRAYTYPE_P(3));
		memcpy(pooled, MOMENTS(PG_GETARG_ARRAYTYPE_P(3)), sizeof(pooled));
	}
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_compare(&context, method_of(text_to_cstring(PG_GETARG_TEXT_PP(2))),
								MOMENTS(control), MOMENTS(variant), pooled, PG_GETARG_FLOAT8(4),
								&comparison),
				&context, "cannot compare the variants", NULL);
	return row_of(fcinfo,
				  (double[]){comparison.control, comparison.variant, comparison.difference,
							 comparison.standard_error, comparison.statistic,
							 comparison.degrees_of_freedom, comparison.p_value, comparison.lower,
							 comparison.upper, comparison.lift, comparison.lift_standard_error,
							 comparison.lift_lower, comparison.lift_upper},
				  13);
}

/* difference, standard_error, n, confidence, planned */
PGDLLEXPORT Datum
br_sequential_test(PG_FUNCTION_ARGS)
{
	BrSequential sequential;
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_sequential(&context, PG_GETARG_FLOAT8(0), PG_GETARG_FLOAT8(1),
								   PG_GETARG_FLOAT8(2), PG_GETARG_FLOAT8(3), PG_GETARG_FLOAT8(4),
								   &sequential),
				&context, "cannot make a sequential interval", NULL);
	return row_of(fcinfo, (double[]){sequential.p_value, sequential.lower, sequential.upper}, 3);
}

/* estimate, standard_error, margin */
PGDLLEXPORT Datum
br_non_inferiority(PG_FUNCTION_ARGS)
{
	double p_value;
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_non_inferiority(&context, PG_GETARG_FLOAT8(0), PG_GETARG_FLOAT8(1),
										PG_GETARG_FLOAT8(2), &p_value),
				&context, "cannot test a margin", NULL);
	PG_RETURN_FLOAT8(p_value);
}

/* ---- arrays ---- */

/* numbers of an array, palloc'd; a NULL is NaN, or refused where if_null is not allowed */
static double *
numbers_argument(FunctionCallInfo fcinfo, int i, const char *name, bool may_be_null, int *n)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(i);
	Oid type = ARR_ELEMTYPE(array);
	Datum *elements;
	bool *nulls;
	double *numbers;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("\"%s\" has more than one dimension", name)));
	deconstruct_array(array, type, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, &nulls, n);
	numbers = palloc(sizeof(double) * Max(*n, 1));
	for (int e = 0; e < *n; e++)
	{
		if (nulls[e] && !may_be_null)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("element %d of \"%s\" is NULL", e + 1, name)));
		numbers[e] = nulls[e] ? NAN
			: type == INT8OID ? (double) DatumGetInt64(elements[e])
							  : DatumGetFloat8(elements[e]);
	}
	return numbers;
}

/* counts, weights */
PGDLLEXPORT Datum
br_sample_ratio_mismatch(PG_FUNCTION_ARGS)
{
	int n;
	int n_weights;
	double *counts = numbers_argument(fcinfo, 0, "counts", false, &n);
	double *weights = numbers_argument(fcinfo, 1, "weights", false, &n_weights);
	double p_value;
	BrContext context;

	if (n != n_weights)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there are %d counts and %d weights", n, n_weights)));
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_sample_ratio(&context, counts, weights, n, &p_value), &context,
				"cannot compare counts with weights", NULL);
	PG_RETURN_FLOAT8(p_value);
}

static Datum
adjusted(FunctionCallInfo fcinfo,
		 BrStatus (*adjust)(BrContext *context, const double *p_values, int n, double *adjusted))
{
	int n;
	double *p_values = numbers_argument(fcinfo, 0, "p_values", true, &n);
	Datum *values = palloc(sizeof(Datum) * Max(n, 1));
	bool *nulls = palloc(sizeof(bool) * Max(n, 1));
	int lower_bound = 1;
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(adjust(&context, p_values, n, p_values), &context, "cannot adjust p-values", NULL);
	for (int i = 0; i < n; i++)
	{
		values[i] = Float8GetDatum(p_values[i]);
		nulls[i] = isnan(p_values[i]);
	}
	if (n == 0)
		return PointerGetDatum(construct_empty_array(FLOAT8OID));
	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower_bound, FLOAT8OID, 8,
											  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

PGDLLEXPORT Datum
br_benjamini_hochberg(PG_FUNCTION_ARGS)
{
	return adjusted(fcinfo, br_eval_benjamini_hochberg);
}

PGDLLEXPORT Datum
br_holm(PG_FUNCTION_ARGS)
{
	return adjusted(fcinfo, br_eval_holm);
}

/* ---- planning ---- */

/* whether an argument other than the standard deviation is NULL */
static bool
plan_is_null(FunctionCallInfo fcinfo, int deviation)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (i != deviation && PG_ARGISNULL(i))
			return true;
	return false;
}

/* baseline is argument 0; standard_deviation, ratio and significance stand where it is said */
static BrPlan
plan_arguments(FunctionCallInfo fcinfo, int deviation, int ratio, int significance)
{
	return (BrPlan){
		.baseline = PG_GETARG_FLOAT8(0),
		.standard_deviation = PG_ARGISNULL(deviation) ? NAN : PG_GETARG_FLOAT8(deviation),
		.ratio = PG_GETARG_FLOAT8(ratio),
		.significance = PG_GETARG_FLOAT8(significance),
	};
}

/* baseline, effect, units, standard_deviation, ratio, significance */
PGDLLEXPORT Datum
br_experiment_power(PG_FUNCTION_ARGS)
{
	BrPlan plan;
	double power;
	BrContext context;

	if (plan_is_null(fcinfo, 3))
		PG_RETURN_NULL();
	plan = plan_arguments(fcinfo, 3, 4, 5);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_power(&context, &plan, PG_GETARG_FLOAT8(1), PG_GETARG_FLOAT8(2), &power),
				&context, "cannot compute the power of an experiment", NULL);
	PG_RETURN_FLOAT8(power);
}

static double
sample_size(const BrPlan *plan, double effect, double power)
{
	BrContext context;
	double n;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_sample_size(&context, plan, effect, power, &n), &context,
				"cannot compute the size of an experiment", NULL);
	return ceil(n);
}

/* baseline, effect, standard_deviation, ratio, power, significance */
PGDLLEXPORT Datum
br_required_sample_size(PG_FUNCTION_ARGS)
{
	BrPlan plan;

	if (plan_is_null(fcinfo, 2))
		PG_RETURN_NULL();
	plan = plan_arguments(fcinfo, 2, 3, 5);
	PG_RETURN_INT64((int64) sample_size(&plan, PG_GETARG_FLOAT8(1), PG_GETARG_FLOAT8(4)));
}

/* baseline, units, standard_deviation, ratio, power, significance */
PGDLLEXPORT Datum
br_minimum_detectable_effect(PG_FUNCTION_ARGS)
{
	BrPlan plan;
	double effect;
	BrContext context;

	if (plan_is_null(fcinfo, 2))
		PG_RETURN_NULL();
	plan = plan_arguments(fcinfo, 2, 3, 5);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_minimum_effect(&context, &plan, PG_GETARG_FLOAT8(1), PG_GETARG_FLOAT8(4),
									   &effect),
				&context, "cannot compute what an experiment finds", NULL);
	PG_RETURN_FLOAT8(effect);
}

/* baseline, effect, units_per_day, standard_deviation, ratio, power, significance */
PGDLLEXPORT Datum
br_experiment_duration(PG_FUNCTION_ARGS)
{
	BrPlan plan;
	double units_per_day;
	double n;
	double days;

	if (plan_is_null(fcinfo, 3))
		PG_RETURN_NULL();
	units_per_day = PG_GETARG_FLOAT8(2);
	if (!(units_per_day > 0 && isfinite(units_per_day)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"units_per_day\" is %g", units_per_day),
				 errhint("Give how many new units the control and the variant get a day.")));
	plan = plan_arguments(fcinfo, 3, 4, 6);
	n = sample_size(&plan, PG_GETARG_FLOAT8(1), PG_GETARG_FLOAT8(5));
	days = ceil((n + ceil(n * plan.ratio)) / units_per_day);
	if (days > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the experiment would take %.0f days", days)));
	PG_RETURN_INT32((int32) days);
}
