/*
 * embedding_operators.c
 *	  Distances between embeddings, arithmetic on them, order and equality.
 *
 * Distances are computed in double in the fixed order of the math room, so
 * they are the same on every machine. Arithmetic rounds once, to half. The
 * order is that of arrays: by the first component that differs, then by the
 * number of dimensions; it has no meaning beyond sorting and uniqueness.
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"

#include "core/ann/br_ann.h"
#include "core/math/br_math.h"
#include "pg/embedding.h"

PG_FUNCTION_INFO_V1(br_embedding_cosine_distance);
PG_FUNCTION_INFO_V1(br_embedding_inner_product);
PG_FUNCTION_INFO_V1(br_embedding_negative_inner_product);
PG_FUNCTION_INFO_V1(br_embedding_l2_distance);
PG_FUNCTION_INFO_V1(br_embedding_l2_norm);
PG_FUNCTION_INFO_V1(br_embedding_l2_normalize);
PG_FUNCTION_INFO_V1(br_embedding_dims);
PG_FUNCTION_INFO_V1(br_embedding_add);
PG_FUNCTION_INFO_V1(br_embedding_subtract);
PG_FUNCTION_INFO_V1(br_embedding_multiply);
PG_FUNCTION_INFO_V1(br_embedding_eq);
PG_FUNCTION_INFO_V1(br_embedding_ne);
PG_FUNCTION_INFO_V1(br_embedding_lt);
PG_FUNCTION_INFO_V1(br_embedding_le);
PG_FUNCTION_INFO_V1(br_embedding_gt);
PG_FUNCTION_INFO_V1(br_embedding_ge);
PG_FUNCTION_INFO_V1(br_embedding_cmp);
PG_FUNCTION_INFO_V1(br_embedding_hash);
PG_FUNCTION_INFO_V1(br_embedding_hash_extended);

typedef double (*Arithmetic)(double left, double right);

static double
norm(const BrEmbedding *embedding)
{
	return sqrt(br_ann_squared_norm(embedding->components, embedding->dims));
}

static double
distance(FunctionCallInfo fcinfo, BrMetric metric)
{
	BrEmbedding *left = PG_GETARG_EMBEDDING(0);
	BrEmbedding *right = PG_GETARG_EMBEDDING(1);
	double result;

	br_pg_embedding_check_same_dims(left->dims, right->dims);
	result =
		br_ann_distance(metric, left->components, br_ann_squared_norm(left->components, left->dims),
						right->components, left->dims);
	PG_FREE_IF_COPY(left, 0);
	PG_FREE_IF_COPY(right, 1);
	return result;
}

PGDLLEXPORT Datum
br_embedding_cosine_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance(fcinfo, BR_METRIC_COSINE));
}

PGDLLEXPORT Datum
br_embedding_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(0 - distance(fcinfo, BR_METRIC_INNER_PRODUCT));
}

PGDLLEXPORT Datum
br_embedding_negative_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance(fcinfo, BR_METRIC_INNER_PRODUCT));
}

PGDLLEXPORT Datum
br_embedding_l2_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance(fcinfo, BR_METRIC_L2));
}

PGDLLEXPORT Datum
br_embedding_l2_norm(PG_FUNCTION_ARGS)
{
	BrEmbedding *embedding = PG_GETARG_EMBEDDING(0);

	PG_RETURN_FLOAT8(norm(embedding));
}

PGDLLEXPORT Datum
br_embedding_l2_normalize(PG_FUNCTION_ARGS)
{
	BrEmbedding *embedding = PG_GETARG_EMBEDDING(0);
	BrEmbedding *result = br_pg_embedding_create(embedding->dims);
	double length = norm(embedding);

	if (length == 0)
		PG_RETURN_POINTER(result);
	for (int i = 0; i < embedding->dims; i++)
		result->components[i] =
			br_pg_embedding_component(br_math_half_to_float(embedding->components[i]) / length, i);
	PG_RETURN_POINTER(result);
}

PGDLLEXPORT Datum
br_embedding_dims(PG_FUNCTION_ARGS)
{
	/* the header tells, so a value out of line is not fetched */
	BrEmbedding *head = (BrEmbedding *) PG_DETOAST_DATUM_SLICE(PG_GETARG_DATUM(0), 0,
															   BR_EMBEDDING_SIZE(0) - VARHDRSZ);

	PG_RETURN_INT32(head->dims);
}

static BrEmbedding *
combine(FunctionCallInfo fcinfo, Arithmetic operation)
{
	BrEmbedding *left = PG_GETARG_EMBEDDING(0);
	BrEmbedding *right = PG_GETARG_EMBEDDING(1);
	BrEmbedding *result;

	br_pg_embedding_check_same_dims(left->dims, right->dims);
	result = br_pg_embedding_create(left->dims);
	for (int i = 0; i < left->dims; i++)
		result->components[i] =
			br_pg_embedding_component(operation(br_math_half_to_float(left->components[i]),
												br_math_half_to_float(right->components[i])),
									  i);
	return result;
}

static double
add(double left, double right)
{
	return left + right;
}

static double
subtract(double left, double right)
{
	return left - right;
}

static double
multiply(double left, double right)
{
	return left * right;
}

PGDLLEXPORT Datum
br_embedding_add(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(combine(fcinfo, add));
}

PGDLLEXPORT Datum
br_embedding_subtract(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(combine(fcinfo, subtract));
}

PGDLLEXPORT Datum
br_embedding_multiply(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(combine(fcinfo, multiply));
}

/* An integer that orders halves as their values do; both zeros become 0. */
static int
order_key(uint16 half)
{
	return half & 0x8000 ? -(half & 0x7FFF) : half;
}

static int
compare(FunctionCallInfo fcinfo)
{
	BrEmbedding *left = PG_GETARG_EMBEDDING(0);
	BrEmbedding *right = PG_GETARG_EMBEDDING(1);
	int shorter = Min(left->dims, right->dims);
	int result = 0;

	for (int i = 0; i < shorter && result == 0; i++)
		result = order_key(left->components[i]) - order_key(right->components[i]);
	if (result == 0)
		result = (int) left->dims - (int) right->dims;
	PG_FREE_IF_COPY(left, 0);
	PG_FREE_IF_COPY(right, 1);
	return result;
}

PGDLLEXPORT Datum
br_embedding_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) == 0);
}

PGDLLEXPORT Datum
br_embedding_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) != 0);
}

PGDLLEXPORT Datum
br_embedding_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) < 0);
}

PGDLLEXPORT Datum
br_embedding_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) <= 0);
}

PGDLLEXPORT Datum
br_embedding_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) > 0);
}

PGDLLEXPORT Datum
br_embedding_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) >= 0);
}

PGDLLEXPORT Datum
br_embedding_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(fcinfo));
}

/* Equal embeddings hash alike: -0 counts as 0. */
static uint64
hash(FunctionCallInfo fcinfo, uint64 seed)
{
	BrEmbedding *embedding = PG_GETARG_EMBEDDING(0);
	size_t size = sizeof(uint16) * embedding->dims;
	uint16 *components = palloc(size);
	uint64 result;

	for (int i = 0; i < embedding->dims; i++)
		components[i] = embedding->components[i] == 0x8000 ? 0 : embedding->components[i];
	result = hash_bytes_extended((unsigned char *) components, (int) size, seed);
	pfree(components);
	PG_FREE_IF_COPY(embedding, 0);
	return result;
}

PGDLLEXPORT Datum
br_embedding_hash(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32((int32) hash(fcinfo, 0));
}

PGDLLEXPORT Datum
br_embedding_hash_extended(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) hash(fcinfo, (uint64) PG_GETARG_INT64(1)));
}
