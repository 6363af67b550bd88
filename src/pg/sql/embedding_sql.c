/*
 * embedding_sql.c
 *	  The type embedding (sql/parts/embedding.sql): how one is made and
 *	  checked, its type modifier and its casts.
 *
 * A model computes in float and its components differ from those of another
 * correct implementation in the seventh digit, so the eleven bits of a half
 * lose nothing that was known, and halve what every search has to read. Its
 * range is another matter: a component beyond it is an error and never
 * becomes infinite, so no distance can come out as NaN.
 *
 * The other files: embedding_text.c (text and binary form), embedding_operators.c,
 * embedding_aggregates.c.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/syscache.h"

#include "core/ann/br_ann.h"
#include "core/math/br_math.h"
#include "pg/embedding.h"

PG_FUNCTION_INFO_V1(br_embedding_typmod_in);
PG_FUNCTION_INFO_V1(br_embedding_coerce);
PG_FUNCTION_INFO_V1(br_embedding_from_array);
PG_FUNCTION_INFO_V1(br_embedding_to_reals);
PG_FUNCTION_INFO_V1(br_embedding_to_doubles);

static void
check_dims(int64 dims)
{
	if (dims < 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("an embedding must have at least 1 dimension")));
	if (dims > BR_EMBEDDING_MAX_DIMS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an embedding cannot have more than %d dimensions", BR_EMBEDDING_MAX_DIMS),
				 errdetail("This one would have %lld.", (long long) dims)));
}

void
br_pg_embedding_check(BrStatus status, const BrContext *context)
{
	switch (status)
	{
		case BR_OK:
			return;
		case BR_ERR_SYNTAX:
			br_pg_check(status, context, "invalid input syntax for type embedding",
						psprintf("An embedding is written like [0.1,0.2], with 1 to %d numbers.",
								 BR_EMBEDDING_MAX_DIMS));
			break;
		case BR_ERR_NUMERIC:
			br_pg_check(status, context, "embedding out of range",
						"Components are half-precision numbers: finite, and at most 65504 in size.");
			break;
		default:
			br_pg_check(status, context, "invalid binary form of an embedding",
						"It is an int16 number of dimensions, an int16 of 0, and 2 bytes for each "
						"component, in network byte order.");
	}
}

static void
component_out_of_range(double value, int index)
{
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_embedding_check(br_math_half_out_of_range(&context, value, index), &context);
}

BrEmbedding *
br_pg_embedding_create(int64 dims)
{
	BrEmbedding *embedding;

	check_dims(dims);
	embedding = palloc0(BR_EMBEDDING_SIZE(dims));
	SET_VARSIZE(embedding, BR_EMBEDDING_SIZE(dims));
	embedding->dims = (uint16) dims;
	return embedding;
}

BrEmbedding *
br_pg_embedding_from_floats(const float *components, int dims)
{
	BrEmbedding *embedding = br_pg_embedding_create(dims);

	br_math_half_from_floats(components, dims, embedding->components);
	for (int i = 0; i < dims; i++)
	{
		if (!BR_MATH_HALF_IS_FINITE(embedding->components[i]))
			component_out_of_range(components[i], i);
	}
	return embedding;
}

uint16
br_pg_embedding_component(double value, int index)
{
	uint16 half = br_math_half_from_double(value);

	if (!BR_MATH_HALF_IS_FINITE(half))
		component_out_of_range(value, index);
	return half;
}

double
br_pg_embedding_cosine(const BrEmbedding *left, const BrEmbedding *right)
{
	return br_ann_cosine(left->components, br_ann_squared_norm(left->components, left->dims),
						 right->components, left->dims);
}

void
br_pg_embedding_direction(const BrEmbedding *embedding, float *direction)
{
	double square = br_math_half_dot(embedding->components, embedding->components, embedding->dims);
	float scale = square > 0 ? (float) (1 / sqrt(square)) : 0;

	br_math_half_to_floats(embedding->components, embedding->dims, direction);
	for (int i = 0; i < embedding->dims; i++)
		direction[i] *= scale;
}

void
br_pg_embedding_check_typmod(int dims, int32 typmod)
{
	if (typmod >= 0 && typmod != dims)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("embedding has the wrong number of dimensions"),
				 errdetail("embedding(%d) was declared, the value has %d dimensions.", typmod,
						   dims)));
}

void
br_pg_embedding_check_same_dims(int left, int right)
{
	if (left != right)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("embeddings have different numbers of dimensions"),
				 errdetail("One has %d dimensions, the other %d.", left, right),
				 errhint("Only embeddings of the same model can be compared or combined.")));
}

Oid
br_pg_embedding_type(void)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("embedding"),
						   ObjectIdGetDatum(get_namespace_oid("bundle_rec", false)));
}

PGDLLEXPORT Datum
br_embedding_typmod_in(PG_FUNCTION_ARGS)
{
	int n;
	int32 *modifiers = ArrayGetIntegerTypmods(PG_GETARG_ARRAYTYPE_P(0), &n);

	if (n != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the type embedding takes one modifier, its number of dimensions"),
				 errdetail("%d were given.", n)));
	if (modifiers[0] < 1 || modifiers[0] > BR_EMBEDDING_MAX_DIMS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the dimensions of the type embedding must be between 1 and %d",
						BR_EMBEDDING_MAX_DIMS),
				 errdetail("embedding(%d) was asked for.", modifiers[0])));
	PG_RETURN_INT32(modifiers[0]);
}

PGDLLEXPORT Datum
br_embedding_coerce(PG_FUNCTION_ARGS)
{
	BrEmbedding *embedding = PG_GETARG_EMBEDDING(0);

	br_pg_embedding_check_typmod(embedding->dims, PG_GETARG_INT32(1));
	PG_RETURN_POINTER(embedding);
}

static double
number_of_datum(Datum value, Oid type)
{
	switch (type)
	{
		case INT4OID:
			return DatumGetInt32(value);
		case FLOAT4OID:
			return DatumGetFloat4(value);
		case FLOAT8OID:
			return DatumGetFloat8(value);
		case NUMERICOID:
			return DatumGetFloat8(DirectFunctionCall1(numeric_float8, value));
	}
	elog(ERROR, "no cast to embedding from an array of type %u", type);
	return 0;
}

static void
check_array(ArrayType *array)
{
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("an embedding is made from an array of one dimension"),
				 errdetail("This array has %d.", ARR_NDIM(array))));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a component of an embedding cannot be NULL")));
}

PGDLLEXPORT Datum
br_embedding_from_array(PG_FUNCTION_ARGS)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(0);
	int32 typmod = PG_GETARG_INT32(1);
	int dims = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	BrEmbedding *embedding;
	ArrayIterator iterator;
	Datum value;
	bool is_null;

	check_array(array);
	check_dims(dims);
	br_pg_embedding_check_typmod(dims, typmod);
	if (ARR_ELEMTYPE(array) == FLOAT4OID)
		PG_RETURN_POINTER(br_pg_embedding_from_floats((float *) ARR_DATA_PTR(array), dims));

	embedding = br_pg_embedding_create(dims);
	iterator = array_create_iterator(array, 0, NULL);
	for (int i = 0; array_iterate(iterator, &value, &is_null); i++)
		embedding->components[i] =
			br_pg_embedding_component(number_of_datum(value, ARR_ELEMTYPE(array)), i);
	array_free_iterator(iterator);
	PG_RETURN_POINTER(embedding);
}

/* An array of n elements without NULLs, to be filled. */
static ArrayType *
create_array(int n, Oid type, size_t element_size)
{
	size_t size = ARR_OVERHEAD_NONULLS(1) + n * element_size;
	ArrayType *array = palloc0(size);

	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->dataoffset = 0;
	array->elemtype = type;
	ARR_DIMS(array)[0] = n;
	ARR_LBOUND(array)[0] = 1;
	return array;
}

PGDLLEXPORT Datum
br_embedding_to_reals(PG_FUNCTION_ARGS)
{
	BrEmbedding *embedding = PG_GETARG_EMBEDDING(0);
	ArrayType *array = create_array(embedding->dims, FLOAT4OID, sizeof(float4));

	br_math_half_to_floats(embedding->components, embedding->dims, (float *) ARR_DATA_PTR(array));
	PG_RETURN_ARRAYTYPE_P(array);
}

PGDLLEXPORT Datum
br_embedding_to_doubles(PG_FUNCTION_ARGS)
{
	BrEmbedding *embedding = PG_GETARG_EMBEDDING(0);
	ArrayType *array = create_array(embedding->dims, FLOAT8OID, sizeof(float8));
	float8 *values = (float8 *) ARR_DATA_PTR(array);

	for (int i = 0; i < embedding->dims; i++)
		values[i] = br_math_half_to_float(embedding->components[i]);
	PG_RETURN_ARRAYTYPE_P(array);
}
