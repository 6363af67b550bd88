/*
 * metric_sql.c
 *	  SQL doors of ranking metrics: functions of one list, and aggregates whose
 *	  state is a mean (sql/parts/metric.sql).
 *
 * The state is float8[3], the members of BrMean; it begins as {0,0,0} and is
 * changed in place inside an aggregate.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

#include "core/eval/br_eval.h"
#include "pg/embedding.h"
#include "pg/sql/metric.h"

typedef double (*ListMetric)(const BrJudgedList *list);

/* ---- one list ---- */

static BrItemName *
read_items(ArrayType *array, const char *argument, int *n)
{
	Datum *elements;
	bool *nulls;
	BrItemName *items;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("\"%s\" must have one dimension", argument),
				 errdetail("It has %d.", ARR_NDIM(array))));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, n);
	items = palloc_array(BrItemName, *n + 1);
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("\"%s\" must not contain NULL", argument)));
		items[i].bytes = VARDATA_ANY(DatumGetPointer(elements[i]));
		items[i].length = VARSIZE_ANY_EXHDR(DatumGetPointer(elements[i]));
	}
	return items;
}

/* (m) gains of graded relevance. */
static double *
read_gains(ArrayType *array, int m)
{
	int n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array) || n != m)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("\"gains\" must have one number for each of \"relevant\""),
				 errdetail("There are %d relevant items and %d gains%s.", m, n,
						   ARR_HASNULL(array) ? ", some of them NULL" : "")));
	return (double *) ARR_DATA_PTR(array);
}

/* The metric of the arguments from number first on: recommended, relevant, [gains,] k. */
static double
compute_metric(FunctionCallInfo fcinfo, int first, bool graded, ListMetric metric)
{
	BrContext context;
	BrJudgedList list;
	int n;
	int m;
	BrItemName *recommended = read_items(PG_GETARG_ARRAYTYPE_P(first), "recommended", &n);
	BrItemName *relevant = read_items(PG_GETARG_ARRAYTYPE_P(first + 1), "relevant", &m);
	double *gains = graded ? read_gains(PG_GETARG_ARRAYTYPE_P(first + 2), m) : NULL;
	double value;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_judge(&context, recommended, n, relevant, gains, m,
							  PG_GETARG_INT32(first + 2 + graded), &list),
				&context, "cannot judge the list",
				"k must be at least 1; gains must be finite, at least 0, and one for each item.");
	value = metric(&list);
	br_eval_judged_free(&context, &list);
	pfree(recommended);
	pfree(relevant);
	return value;
}

/* ---- means ---- */

static bool
is_mean(ArrayType *array)
{
	BrMean *mean = (BrMean *) ARR_DATA_PTR(array);

	return ARR_NDIM(array) == 1 && !ARR_HASNULL(array) && ARR_ELEMTYPE(array) == FLOAT8OID &&
		ARR_DIMS(array)[0] == BR_EVAL_MEAN_SIZE && mean->n >= 0 && isfinite(mean->n) &&
		isfinite(mean->mean) && mean->squares >= 0 && isfinite(mean->squares);
}

/* Argument i, which anybody may call us with; a copy unless an aggregate owns it. */
static ArrayType *
mean_argument(FunctionCallInfo fcinfo, int i)
{
	ArrayType *array = AggCheckCallContext(fcinfo, NULL) && i == 0 ? PG_GETARG_ARRAYTYPE_P(i)
																   : PG_GETARG_ARRAYTYPE_P_COPY(i);

	if (!is_mean(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid state of an aggregate of metrics"),
				 errhint("A state is made by metric_partial or metric_merge: the number of values, "
						 "their mean, and the sum of squared distances from it.")));
	return array;
}

/* Values whose squares leave the range of a double. */
static Datum
finish_mean(ArrayType *state)
{
	if (!is_mean(state))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the values are too large for a mean with its standard error")));
	PG_RETURN_ARRAYTYPE_P(state);
}

static Datum
add_value(FunctionCallInfo fcinfo, double value)
{
	ArrayType *state = mean_argument(fcinfo, 0);

	/* nothing was relevant: there is nothing to average */
	if (!isnan(value))
		br_eval_mean_add((BrMean *) ARR_DATA_PTR(state), value);
	return finish_mean(state);
}

void
br_pg_require_finite(double value, const char *name)
{
	if (!isfinite(value))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("\"%s\" must be finite", name),
				 errdetail("It is %g.", value)));
}

Datum
br_pg_metric(FunctionCallInfo fcinfo, double value, double error, double n)
{
	TupleDesc descriptor;
	Datum values[3] = {Float8GetDatum(value), Float8GetDatum(error), Int64GetDatum((int64) n)};
	bool nulls[3] = {isnan(value), isnan(value) || isnan(error), false};

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the result is no row");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls));
}

/* One function of a list and the transition of its aggregate. */
#define LIST_METRIC(metric, graded, of_list, accumulate)                     \
	PG_FUNCTION_INFO_V1(of_list);                                            \
	PG_FUNCTION_INFO_V1(accumulate);                                         \
	PGDLLEXPORT Datum of_list(PG_FUNCTION_ARGS)                              \
	{                                                                        \
		double value = compute_metric(fcinfo, 0, graded, metric);            \
                                                                             \
		if (isnan(value))                                                    \
			PG_RETURN_NULL();                                                \
		PG_RETURN_FLOAT8(value);                                             \
	}                                                                        \
	PGDLLEXPORT Datum accumulate(PG_FUNCTION_ARGS)                           \
	{                                                                        \
		return add_value(fcinfo, compute_metric(fcinfo, 1, graded, metric)); \
	}

LIST_METRIC(br_eval_precision, false, br_precision_at, br_precision_accumulate)
LIST_METRIC(br_eval_recall, false, br_recall_at, br_recall_accumulate)
LIST_METRIC(br_eval_f1, false, br_f1_at, br_f1_accumulate)
LIST_METRIC(br_eval_hit_rate, false, br_hit_rate_at, br_hit_rate_accumulate)
LIST_METRIC(br_eval_reciprocal_rank, false, br_reciprocal_rank_at, br_reciprocal_rank_accumulate)
LIST_METRIC(br_eval_average_precision, false, br_average_precision_at,
			br_average_precision_accumulate)
LIST_METRIC(br_eval_ndcg, false, br_ndcg_at, br_ndcg_accumulate)
LIST_METRIC(br_eval_ndcg, true, br_ndcg_graded_at, br_ndcg_graded_accumulate)

PG_FUNCTION_INFO_V1(br_metric_accumulate);

PGDLLEXPORT Datum
br_metric_accumulate(PG_FUNCTION_ARGS)
{
	br_pg_require_finite(PG_GETARG_FLOAT8(1), "value");
	return add_value(fcinfo, PG_GETARG_FLOAT8(1));
}

PG_FUNCTION_INFO_V1(br_metric_combine);

PGDLLEXPORT Datum
br_metric_combine(PG_FUNCTION_ARGS)
{
	ArrayType *state = mean_argument(fcinfo, 0);
	ArrayType *other = mean_argument(fcinfo, 1);

	br_eval_mean_merge((BrMean *) ARR_DATA_PTR(state), (BrMean *) ARR_DATA_PTR(other));
	return finish_mean(state);
}

PG_FUNCTION_INFO_V1(br_metric_final);

PGDLLEXPORT Datum
br_metric_final(PG_FUNCTION_ARGS)
{
	BrMean *mean = (BrMean *) ARR_DATA_PTR(mean_argument(fcinfo, 0));

	return br_pg_metric(fcinfo, mean->n == 0 ? NAN : mean->mean, br_eval_mean_error(mean), mean->n);
}

/* ---- predictions ---- */

static double
read_difference(FunctionCallInfo fcinfo)
{
	double difference = PG_GETARG_FLOAT8(1) - PG_GETARG_FLOAT8(2);

	br_pg_require_finite(PG_GETARG_FLOAT8(1), "prediction");
	br_pg_require_finite(PG_GETARG_FLOAT8(2), "truth");
	br_pg_require_finite(difference * difference, "squared error");
	return difference;
}

PG_FUNCTION_INFO_V1(br_rmse_accumulate);

PGDLLEXPORT Datum
br_rmse_accumulate(PG_FUNCTION_ARGS)
{
	double difference = read_difference(fcinfo);

	return add_value(fcinfo, difference * difference);
}

/* The error of the root by the delta method: that of the mean over twice the root. */
PG_FUNCTION_INFO_V1(br_rmse_final);

PGDLLEXPORT Datum
br_rmse_final(PG_FUNCTION_ARGS)
{
	BrMean *mean = (BrMean *) ARR_DATA_PTR(mean_argument(fcinfo, 0));
	double root = sqrt(fmax(0, mean->mean));

	return br_pg_metric(fcinfo, mean->n == 0 ? NAN : root,
						root > 0		  ? br_eval_mean_error(mean) / (2 * root)
							: mean->n < 2 ? NAN
										  : 0,
						mean->n);
}

PG_FUNCTION_INFO_V1(br_mae_accumulate);

PGDLLEXPORT Datum
br_mae_accumulate(PG_FUNCTION_ARGS)
{
	return add_value(fcinfo, fabs(read_difference(fcinfo)));
}

PG_FUNCTION_INFO_V1(br_accuracy_accumulate);

PGDLLEXPORT Datum
br_accuracy_accumulate(PG_FUNCTION_ARGS)
{
	TypeCacheEntry *type = fcinfo->flinfo->fn_extra;
	Oid type_id = get_fn_expr_argtype(fcinfo->flinfo, 1);

	if (type == NULL || type->type_id != type_id)
	{
		type = lookup_type_cache(type_id, TYPECACHE_EQ_OPR_FINFO);
		if (!OidIsValid(type->eq_opr_finfo.fn_oid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("type %s has no equality", format_type_be(type_id))));
		fcinfo->flinfo->fn_extra = type;
	}
	return add_value(fcinfo,
					 DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, PG_GET_COLLATION(),
													PG_GETARG_DATUM(1), PG_GETARG_DATUM(2))));
}

/* ---- novelty, diversity, exposure of a place ---- */

PG_FUNCTION_INFO_V1(br_novelty_accumulate);

PGDLLEXPORT Datum
br_novelty_accumulate(PG_FUNCTION_ARGS)
{
	double popularity = PG_GETARG_FLOAT8(1);

	if (!(popularity > 0 && popularity <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("popularity must be above 0 and at most 1"),
				 errdetail("It is %g.", popularity),
				 errhint("It is the share of users who had the item; for items nobody had, count "
						 "one user more: (users of the item + 1) / (users + 1).")));
	return add_value(fcinfo, -log2(popularity));
}

PG_FUNCTION_INFO_V1(br_intra_list_diversity);

PGDLLEXPORT Datum
br_intra_list_diversity(PG_FUNCTION_ARGS)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(0);
	BrContext context;
	Datum *elements;
	bool *nulls;
	int n;
	int dims = 0;
	float *vectors = NULL;
	double diversity;

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		BrEmbedding *embedding;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("\"embeddings\" must not contain NULL")));
		embedding = DatumGetEmbedding(elements[i]);
		if (i == 0)
		{
			dims = embedding->dims;
			vectors = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(float) * dims * n);
		}
		br_pg_embedding_check_same_dims(dims, embedding->dims);
		br_math_half_to_floats(embedding->components, dims, vectors + (Size) i * dims);
	}
	if (n < 2)
		PG_RETURN_NULL();
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_diversity(&context, vectors, n, dims, &diversity), &context,
				"cannot compute the diversity of the list", NULL);
	PG_RETURN_FLOAT8(diversity);
}

PG_FUNCTION_INFO_V1(br_position_exposure);

PGDLLEXPORT Datum
br_position_exposure(PG_FUNCTION_ARGS)
{
	int32 rank = PG_GETARG_INT32(0);

	if (rank < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("rank must be at least 1"),
				 errdetail("It is %d.", rank)));
	PG_RETURN_FLOAT8(1 / log2(1.0 + rank));
}
