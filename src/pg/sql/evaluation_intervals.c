/*
 * evaluation_intervals.c
 *	  How far to trust an estimate: intervals, the bootstrap, warnings, overlap
 *	  (sql/parts/evaluation.sql).
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "pg/br_pg.h"
#include "pg/sql/arguments.h"
#include "pg/sql/evaluation.h"

PG_FUNCTION_INFO_V1(br_confidence_interval);
PG_FUNCTION_INFO_V1(br_bernstein_interval);
PG_FUNCTION_INFO_V1(br_support_warnings);
PG_FUNCTION_INFO_V1(br_overlap_accumulate);
PG_FUNCTION_INFO_V1(br_overlap_combine);
PG_FUNCTION_INFO_V1(br_overlap_final);
PG_FUNCTION_INFO_V1(br_bootstrap_accumulate);
PG_FUNCTION_INFO_V1(br_bootstrap_combine);
PG_FUNCTION_INFO_V1(br_bootstrap_final);

/* ---- estimates ---- */

static double
number_of(HeapTupleHeader row, AttrNumber column)
{
	bool is_null;
	Datum value = GetAttributeByNum(row, column, &is_null);

	return is_null ? NAN : DatumGetFloat8(value);
}

/* Argument 0, of the type estimate; what is NULL in it becomes NaN, or no rows. */
static BrEstimate
get_estimate(FunctionCallInfo fcinfo)
{
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(0);
	BrEstimate estimate;
	bool is_null;
	Datum rows = GetAttributeByNum(row, 3, &is_null);

	estimate.value = number_of(row, 1);
	estimate.standard_error = number_of(row, 2);
	estimate.rows = is_null ? 0 : DatumGetInt64(rows);
	estimate.effective_sample_size = number_of(row, 4);
	estimate.max_weight = number_of(row, 5);
	estimate.mean_weight = number_of(row, 6);
	return estimate;
}

static Datum
return_bounds(FunctionCallInfo fcinfo, const BrBounds *bounds)
{
	TupleDesc type;
	Datum values[2];
	bool nulls[2] = {false};

	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE || type->natts != 2)
		elog(ERROR, "the result of an interval must be of type bounds");
	br_pg_set_number(values, nulls, 0, bounds->lower);
	br_pg_set_number(values, nulls, 1, bounds->upper);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(type), values, nulls)));
}

PGDLLEXPORT Datum
br_confidence_interval(PG_FUNCTION_ARGS)
{
	BrEstimate estimate = get_estimate(fcinfo);
	BrBounds bounds;
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_normal_bounds(&context, &estimate, PG_GETARG_FLOAT8(1), &bounds), &context,
				"invalid confidence interval", NULL);
	return return_bounds(fcinfo, &bounds);
}

PGDLLEXPORT Datum
br_bernstein_interval(PG_FUNCTION_ARGS)
{
	BrEstimate estimate = get_estimate(fcinfo);
	BrBounds bounds;
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_bernstein_bounds(&context, &estimate, PG_GETARG_FLOAT8(3),
										 PG_GETARG_FLOAT8(1), PG_GETARG_FLOAT8(2), &bounds),
				&context, "invalid empirical Bernstein interval",
				"The bounds are those of a row's term, as 0 and cap times the largest reward of "
				"clipped_ips.");
	return return_bounds(fcinfo, &bounds);
}

PGDLLEXPORT Datum
br_support_warnings(PG_FUNCTION_ARGS)
{
	BrEstimate estimate = get_estimate(fcinfo);
	unsigned warnings = br_eval_support_warnings(&estimate);
	Datum names[BR_SUPPORT_WARNINGS];
	int n = 0;

	for (int i = 0; i < BR_SUPPORT_WARNINGS; i++)
		if (warnings & 1u << i)
			names[n++] = CStringGetTextDatum(br_eval_support_warning_name(i));
	PG_RETURN_ARRAYTYPE_P(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* ---- overlap ---- */

PGDLLEXPORT Datum
br_overlap_accumulate(PG_FUNCTION_ARGS)
{
	ArrayType *array;
	double *bins;
	BrContext context;

	br_pg_require_argument(fcinfo, 0, "state");
	br_pg_require_argument(fcinfo, 1, "target_probability");
	array = br_pg_own_state(fcinfo);
	bins = br_pg_state_numbers(array, BR_OVERLAP_SIZE);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_overlap_add(&context, bins, PG_GETARG_FLOAT8(1),
									PG_ARGISNULL(2) ? 0 : PG_GETARG_FLOAT8(2)),
				&context, "invalid row for an overlap histogram",
				"An action that the logging policy never takes has propensity 0 or NULL.");
	PG_RETURN_ARRAYTYPE_P(array);
}

PGDLLEXPORT Datum
br_overlap_combine(PG_FUNCTION_ARGS)
{
	ArrayType *array = br_pg_own_state(fcinfo);
	double *bins = br_pg_state_numbers(array, BR_OVERLAP_SIZE);
	const double *other = br_pg_state_numbers(PG_GETARG_ARRAYTYPE_P(1), BR_OVERLAP_SIZE);

	for (int i = 0; i < BR_OVERLAP_SIZE; i++)
		bins[i] += other[i];
	PG_RETURN_ARRAYTYPE_P(array);
}

static Datum
make_bin(TupleDesc type, int bin, const double *figures)
{
	BrBounds bounds = br_eval_overlap_bin(bin);
	double rows = figures[BR_OVERLAP_ROWS];
	Datum values[5];
	bool nulls[5] = {false};

	if (!(rows > 0 && rows < (double) PG_INT64_MAX))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid state of an overlap histogram"),
				 errdetail("It has %g rows in bin %d.", rows, bin + 1)));
	values[0] = Float8GetDatum(bounds.lower);
	values[1] = Float8GetDatum(bounds.upper);
	values[2] = Int64GetDatum((int64) rows);
	values[3] = Float8GetDatum(figures[BR_OVERLAP_WEIGHT]);
	values[4] = Float8GetDatum(figures[BR_OVERLAP_TARGET]);
	nulls[3] = bin == BR_OVERLAP_BINS - 1;
	return HeapTupleGetDatum(heap_form_tuple(type, values, nulls));
}

PGDLLEXPORT Datum
br_overlap_final(PG_FUNCTION_ARGS)
{
	const double *bins = br_pg_state_numbers(PG_GETARG_ARRAYTYPE_P(0), BR_OVERLAP_SIZE);
	Oid element = get_element_type(get_fn_expr_rettype(fcinfo->flinfo));
	TupleDesc type;
	Datum rows[BR_OVERLAP_BINS];
	int n = 0;

	if (!OidIsValid(element))
		elog(ERROR, "the result of an overlap histogram must be of type overlap_bin[]");
	type = lookup_rowtype_tupdesc_copy(element, -1);
	for (int bin = 0; bin < BR_OVERLAP_BINS; bin++)
		if (bins[bin * BR_OVERLAP_FIGURES + BR_OVERLAP_ROWS] != 0)
			rows[n++] = make_bin(type, bin, bins + bin * BR_OVERLAP_FIGURES);
	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_ARRAYTYPE_P(construct_array(rows, n, element, -1, false, TYPALIGN_DOUBLE));
}

/* ---- bootstrap ---- */

/* How many replicates an array holds; 0: no rows yet. */
static int
replicates_of(ArrayType *array)
{
	int size = ARR_NDIM(array) == 0 ? 0 : ARR_DIMS(array)[0];
	int replicates = (size - BR_BOOTSTRAP_SIZE(0)) / 4;
	BrContext context;

	if (size == 0)
		return 0;
	if (size < BR_BOOTSTRAP_SIZE(1) || size != BR_BOOTSTRAP_SIZE(replicates))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid state of a bootstrap"),
				 errdetail("It has %d numbers.", size)));
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_bootstrap_check_sums(&context, br_pg_state_numbers(array, size),
											 replicates),
				&context, "invalid state of a bootstrap", NULL);
	return replicates;
}

/* A state without rows. */
static ArrayType *
create_sums(int replicates, int64 seed, double level, BrContext *context)
{
	ArrayType *array;
	Size size = ARR_OVERHEAD_NONULLS(1) + sizeof(float8) * BR_BOOTSTRAP_SIZE((Size) replicates);

	br_pg_check(br_eval_bootstrap_check(context, replicates, level), context, "invalid bootstrap",
				NULL);
	array = palloc0(size);
	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->elemtype = FLOAT8OID;
	ARR_DIMS(array)[0] = BR_BOOTSTRAP_SIZE(replicates);
	ARR_LBOUND(array)[0] = 1;
	br_eval_bootstrap_init((double *) ARR_DATA_PTR(array), replicates, seed, level);
	return array;
}

PGDLLEXPORT Datum
br_bootstrap_accumulate(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"sums", "state", "key", "replicates", "seed", "level"};
	ArrayType *array;
	text *key;
	int replicates;
	double *sums;
	uint64 seed;
	BrContext context;

	for (int i = 0; i < PG_NARGS(); i++)
		br_pg_require_argument(fcinfo, i, names[i]);
	br_pg_context(&context, CurrentMemoryContext);
	array = br_pg_own_state(fcinfo);
	key = PG_GETARG_TEXT_PP(2);
	replicates = replicates_of(array);
	if (replicates == 0)
	{
		replicates = PG_GETARG_INT32(3);
		array = create_sums(replicates, PG_GETARG_INT64(4), PG_GETARG_FLOAT8(5), &context);
	}
	sums = (double *) ARR_DATA_PTR(array);
	seed = (uint64) sums[BR_BOOTSTRAP_SEED_HIGH] << 32 | (uint64) sums[BR_BOOTSTRAP_SEED_LOW];
	if (replicates != PG_GETARG_INT32(3) || seed != (uint64) PG_GETARG_INT64(4) ||
		sums[BR_BOOTSTRAP_LEVEL] != PG_GETARG_FLOAT8(5))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("replicates, seed and level of a bootstrap must be the same in all rows")));
	br_pg_check(br_eval_bootstrap_add(&context, sums, replicates,
									  br_pg_estimator_state(fcinfo, 1, &context), VARDATA_ANY(key),
									  VARSIZE_ANY_EXHDR(key)),
				&context, "cannot combine states of different estimators", NULL);
	PG_RETURN_ARRAYTYPE_P(array);
}

PGDLLEXPORT Datum
br_bootstrap_combine(PG_FUNCTION_ARGS)
{
	ArrayType *array = br_pg_own_state(fcinfo);
	ArrayType *other = PG_GETARG_ARRAYTYPE_P(1);
	int replicates = replicates_of(array), others = replicates_of(other);
	BrContext context;

	if (others == 0)
		PG_RETURN_ARRAYTYPE_P(array);
	if (replicates == 0)
		PG_RETURN_ARRAYTYPE_P(other);
	if (replicates != others)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("replicates, seed and level of a bootstrap must be the same in all rows")));
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_bootstrap_combine(&context, (double *) ARR_DATA_PTR(array),
										  (double *) ARR_DATA_PTR(other), replicates),
				&context, "cannot combine states of different estimators", NULL);
	PG_RETURN_ARRAYTYPE_P(array);
}

PGDLLEXPORT Datum
br_bootstrap_final(PG_FUNCTION_ARGS)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(0);
	int replicates = replicates_of(array);
	BrBounds bounds;
	BrContext context;

	if (replicates == 0)
		PG_RETURN_NULL();
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_bootstrap_bounds(&context, (double *) ARR_DATA_PTR(array), replicates,
										 &bounds),
				&context, "invalid state of a bootstrap", NULL);
	return return_bounds(fcinfo, &bounds);
}
