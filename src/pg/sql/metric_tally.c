/*
 * metric_tally.c
 *	  Aggregates whose state is a tally: area under the curve, means over
 *	  clusters, coverage, Gini index, fairness of exposure (sql/parts/metric.sql).
 *
 * The state is a float8[] that core calls a tally, with room behind the entries
 * in use. It grows to twice its size where half of the room is used after
 * compacting, so that a row costs O(log n) over time. Items and groups are
 * known by 64 bits of a hash, which two doubles hold exactly: the chance that
 * any two of a million items have the same is 3e-8.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "core/eval/br_eval.h"
#include "pg/br_pg.h"
#include "pg/sql/metric.h"

#define FIRST_ROOM 8
#define MAX_ROOM ((MaxAllocSize - 1024) / sizeof(float8) / BR_EVAL_TALLY_ENTRY)

#define TALLY(array) ((float8 *) ARR_DATA_PTR(array))
#define ENTRIES(array) (TALLY(array) + BR_EVAL_TALLY_HEADER)

static size_t
room_of(ArrayType *array)
{
	return (ARR_DIMS(array)[0] - BR_EVAL_TALLY_HEADER) / BR_EVAL_TALLY_ENTRY;
}

static size_t
used_of(ArrayType *array)
{
	return (size_t) TALLY(array)[0];
}

/* Memory is safe and numbers are numbers; what the entries say is checked when they are sorted. */
static bool
is_tally(ArrayType *array)
{
	if (ARR_NDIM(array) != 1 || ARR_HASNULL(array) || ARR_ELEMTYPE(array) != FLOAT8OID ||
		ARR_DIMS(array)[0] < BR_EVAL_TALLY_HEADER ||
		(ARR_DIMS(array)[0] - BR_EVAL_TALLY_HEADER) % BR_EVAL_TALLY_ENTRY != 0)
		return false;
	return TALLY(array)[0] >= 0 && TALLY(array)[0] <= room_of(array) &&
		TALLY(array)[0] == floor(TALLY(array)[0]) && TALLY(array)[1] >= 0 &&
		TALLY(array)[1] < PG_INT64_MAX;
}

/* Argument i; a copy unless an aggregate owns it. */
static ArrayType *
tally_argument(FunctionCallInfo fcinfo, int i, bool changed)
{
	ArrayType *array = AggCheckCallContext(fcinfo, NULL) || !changed
		? PG_GETARG_ARRAYTYPE_P(i)
		: PG_GETARG_ARRAYTYPE_P_COPY(i);

	if (!is_tally(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid state of a tally"),
				 errhint("A state is made by auc_partial, clustered_partial, exposure_partial, "
						 "gini_partial, fairness_partial or tally_merge.")));
	return array;
}

static ArrayType *
create_tally(size_t room, ArrayType *from)
{
	size_t n = BR_EVAL_TALLY_HEADER + BR_EVAL_TALLY_ENTRY * room;
	Size size = ARR_OVERHEAD_NONULLS(1) + sizeof(float8) * n;
	ArrayType *array = palloc0(size);

	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->elemtype = FLOAT8OID;
	ARR_DIMS(array)[0] = (int) n;
	ARR_LBOUND(array)[0] = 1;
	memcpy(TALLY(array), TALLY(from),
		   sizeof(float8) * (BR_EVAL_TALLY_HEADER + BR_EVAL_TALLY_ENTRY * used_of(from)));
	return array;
}

static void
compact(ArrayType *array)
{
	BrContext context;
	size_t n = used_of(array);

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_tally_compact(&context, ENTRIES(array), &n), &context,
				"cannot sort the state of the aggregate", NULL);
	TALLY(array)[0] = n;
}

/* With room for n entries more; another array where that is too small. */
static ArrayType *
make_room(ArrayType *array, size_t n)
{
	size_t room = room_of(array);

	if (used_of(array) + n <= room)
		return array;
	compact(array);
	if (used_of(array) + n <= (room < MAX_ROOM ? room / 2 : room))
		return array;
	if (used_of(array) + n > MAX_ROOM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many different values to aggregate"),
				 errdetail("There is room for %zu of them.", (size_t) MAX_ROOM),
				 errhint("Round scores and values, or aggregate a sample.")));
	room = Min(MAX_ROOM, Max(FIRST_ROOM, 2 * (used_of(array) + n)));
	return create_tally(room, array);
}

static ArrayType *
add_entry(ArrayType *state, double first_key, double second_key, double first, double second)
{
	double *entry;

	state = make_room(state, 1);
	entry = ENTRIES(state) + BR_EVAL_TALLY_ENTRY * used_of(state);
	entry[0] = first_key;
	entry[1] = second_key;
	entry[2] = first;
	entry[3] = second;
	TALLY(state)[0]++;
	return state;
}

static ArrayType *
add_name(ArrayType *state, const char *bytes, int length, double first, double second)
{
	uint64 hash = hash_bytes_extended((const unsigned char *) bytes, length, 0);

	return add_entry(state, (double) (hash >> 32), (double) (hash & PG_UINT32_MAX), first, second);
}

static ArrayType *
add_text(ArrayType *state, Datum name, double first, double second)
{
	text *value = DatumGetTextPP(name);

	return add_name(state, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), first, second);
}

PG_FUNCTION_INFO_V1(br_tally_combine);

PGDLLEXPORT Datum
br_tally_combine(PG_FUNCTION_ARGS)
{
	ArrayType *state = tally_argument(fcinfo, 0, true);
	ArrayType *other = tally_argument(fcinfo, 1, false);
	size_t n = used_of(other);

	if (TALLY(state)[1] != 0 && TALLY(other)[1] != 0 && TALLY(state)[1] != TALLY(other)[1])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"catalog_size\" must be the same for all rows"),
				 errdetail("It is %.0f and %.0f.", TALLY(state)[1], TALLY(other)[1])));
	state = make_room(state, n);
	TALLY(state)[1] = Max(TALLY(state)[1], TALLY(other)[1]);
	memcpy(ENTRIES(state) + BR_EVAL_TALLY_ENTRY * used_of(state), ENTRIES(other),
		   sizeof(float8) * BR_EVAL_TALLY_ENTRY * n);
	TALLY(state)[0] += n;
	PG_RETURN_ARRAYTYPE_P(state);
}

/* A compact copy without room to spare. */
static ArrayType *
compact_copy(FunctionCallInfo fcinfo)
{
	ArrayType *state = tally_argument(fcinfo, 0, false);
	ArrayType *copy = create_tally(used_of(state), state);

	compact(copy);
	return copy;
}

PG_FUNCTION_INFO_V1(br_tally_compact);

PGDLLEXPORT Datum
br_tally_compact(PG_FUNCTION_ARGS)
{
	ArrayType *copy = compact_copy(fcinfo);

	PG_RETURN_ARRAYTYPE_P(create_tally(used_of(copy), copy));
}

/* Sum of one of the two sums over all entries. */
static double
sum_of(ArrayType *tally, int which)
{
	double sum = 0;

	for (size_t i = 0; i < used_of(tally); i++)
		sum += ENTRIES(tally)[BR_EVAL_TALLY_ENTRY * i + 2 + which];
	return sum;
}

/* ---- area under the curve ---- */

PG_FUNCTION_INFO_V1(br_auc_accumulate);

PGDLLEXPORT Datum
br_auc_accumulate(PG_FUNCTION_ARGS)
{
	double score = PG_GETARG_FLOAT8(1);
	bool label = PG_GETARG_BOOL(2);

	if (isnan(score))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("\"score\" must not be NaN")));
	/* -0 is 0 */
	PG_RETURN_ARRAYTYPE_P(
		add_entry(tally_argument(fcinfo, 0, true), score == 0 ? 0 : score, 0, label, !label));
}

PG_FUNCTION_INFO_V1(br_auc_final);

PGDLLEXPORT Datum
br_auc_final(PG_FUNCTION_ARGS)
{
	ArrayType *tally = compact_copy(fcinfo);
	double area;
	double error;

	br_eval_auc(ENTRIES(tally), used_of(tally), &area, &error);
	return br_pg_metric(fcinfo, area, error, sum_of(tally, 0) + sum_of(tally, 1));
}

/* ---- means over clusters ---- */

PG_FUNCTION_INFO_V1(br_clustered_accumulate);

PGDLLEXPORT Datum
br_clustered_accumulate(PG_FUNCTION_ARGS)
{
	double value = PG_GETARG_FLOAT8(1);

	br_pg_require_finite(value, "value");
	PG_RETURN_ARRAYTYPE_P(add_text(tally_argument(fcinfo, 0, true), PG_GETARG_DATUM(2), 1, value));
}

PG_FUNCTION_INFO_V1(br_clustered_final);

PGDLLEXPORT Datum
br_clustered_final(PG_FUNCTION_ARGS)
{
	ArrayType *tally = compact_copy(fcinfo);
	double mean;
	double error;
	double rows;

	br_eval_clustered_mean(ENTRIES(tally), used_of(tally), &mean, &error, &rows);
	return br_pg_metric(fcinfo, mean, error, rows);
}

/* ---- exposure of items ---- */

static ArrayType *
note_catalog_size(ArrayType *state, int64 size)
{
	if (size < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"catalog_size\" must be at least 1"),
				 errdetail("It is %lld.", (long long) size)));
	if (TALLY(state)[1] != 0 && TALLY(state)[1] != size)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"catalog_size\" must be the same for all rows"),
				 errdetail("It is %.0f and %lld.", TALLY(state)[1], (long long) size)));
	TALLY(state)[1] = size;
	return state;
}

PG_FUNCTION_INFO_V1(br_exposure_accumulate);

PGDLLEXPORT Datum
br_exposure_accumulate(PG_FUNCTION_ARGS)
{
	ArrayType *state = note_catalog_size(tally_argument(fcinfo, 0, true), PG_GETARG_INT64(2));

	PG_RETURN_ARRAYTYPE_P(add_text(state, PG_GETARG_DATUM(1), 1, 0));
}

PG_FUNCTION_INFO_V1(br_exposure_list_accumulate);

PGDLLEXPORT Datum
br_exposure_list_accumulate(PG_FUNCTION_ARGS)
{
	ArrayType *state = note_catalog_size(tally_argument(fcinfo, 0, true), PG_GETARG_INT64(2));
	int n;
	char **items = br_pg_text_array(PG_GETARG_ARRAYTYPE_P(1), "recommended", &n);

	for (int i = 0; i < n; i++)
		state = add_name(state, items[i], strlen(items[i]), 1, 0);
	PG_RETURN_ARRAYTYPE_P(state);
}

/* Items of the catalog without exposure; raises an error where more were shown than there are. */
static double
unseen_items(ArrayType *tally)
{
	double unseen = TALLY(tally)[1] - used_of(tally);

	if (unseen < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("more items were recommended than the catalog has"),
				 errdetail("They are %zu, \"catalog_size\" is %.0f.", used_of(tally),
						   TALLY(tally)[1])));
	return unseen;
}

PG_FUNCTION_INFO_V1(br_coverage_final);

PGDLLEXPORT Datum
br_coverage_final(PG_FUNCTION_ARGS)
{
	ArrayType *tally = compact_copy(fcinfo);

	if (TALLY(tally)[1] == 0)
		PG_RETURN_NULL();
	unseen_items(tally);
	PG_RETURN_FLOAT8(used_of(tally) / TALLY(tally)[1]);
}

/* Gini index of a compact tally whose first keys are values and whose first sums count them. */
static Datum
finish_gini(FunctionCallInfo fcinfo, ArrayType *tally, double zeros)
{
	double *entries = ENTRIES(tally);
	double gini = br_eval_gini(entries, entries + 2, used_of(tally), BR_EVAL_TALLY_ENTRY, zeros);

	if (!isfinite(gini))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(gini);
}

PG_FUNCTION_INFO_V1(br_exposure_gini_final);

PGDLLEXPORT Datum
br_exposure_gini_final(PG_FUNCTION_ARGS)
{
	ArrayType *tally = compact_copy(fcinfo);
	double zeros = unseen_items(tally);

	/* from the count of each item to how many items have each count */
	for (size_t i = 0; i < used_of(tally); i++)
	{
		double *entry = ENTRIES(tally) + BR_EVAL_TALLY_ENTRY * i;

		entry[0] = entry[2];
		entry[1] = 0;
		entry[2] = 1;
	}
	compact(tally);
	return finish_gini(fcinfo, tally, zeros);
}

PG_FUNCTION_INFO_V1(br_gini_accumulate);

PGDLLEXPORT Datum
br_gini_accumulate(PG_FUNCTION_ARGS)
{
	double value = PG_GETARG_FLOAT8(1);

	br_pg_require_finite(value, "value");
	if (value < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"value\" must not be negative"),
				 errdetail("It is %g.", value)));
	PG_RETURN_ARRAYTYPE_P(
		add_entry(tally_argument(fcinfo, 0, true), value == 0 ? 0 : value, 0, 1, 0));
}

PG_FUNCTION_INFO_V1(br_gini_final);

PGDLLEXPORT Datum
br_gini_final(PG_FUNCTION_ARGS)
{
	return finish_gini(fcinfo, compact_copy(fcinfo), 0);
}

/* ---- fairness ---- */

PG_FUNCTION_INFO_V1(br_fairness_accumulate);

PGDLLEXPORT Datum
br_fairness_accumulate(PG_FUNCTION_ARGS)
{
	double exposure = PG_GETARG_FLOAT8(2);
	double target = PG_GETARG_FLOAT8(3);

	br_pg_require_finite(exposure, "exposure");
	br_pg_require_finite(target, "target");
	if (exposure < 0 || target < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("exposure and target must not be negative"),
				 errdetail("They are %g and %g.", exposure, target)));
	PG_RETURN_ARRAYTYPE_P(
		add_text(tally_argument(fcinfo, 0, true), PG_GETARG_DATUM(1), exposure, target));
}

PG_FUNCTION_INFO_V1(br_fairness_final);

PGDLLEXPORT Datum
br_fairness_final(PG_FUNCTION_ARGS)
{
	ArrayType *tally = compact_copy(fcinfo);
	TupleDesc descriptor;
	BrFairness fairness;
	Datum values[4];
	bool nulls[4] = {false};

	br_eval_fairness(ENTRIES(tally), used_of(tally), &fairness);
	values[0] = Int64GetDatum((int64) fairness.groups);
	values[1] = Float8GetDatum(fairness.disparity_ratio);
	values[2] = Float8GetDatum(fairness.divergence);
	values[3] = Float8GetDatum(fairness.variation);
	nulls[1] = isnan(fairness.disparity_ratio);
	nulls[2] = isnan(fairness.divergence);
	nulls[3] = isnan(fairness.variation);
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is no row");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls));
}
