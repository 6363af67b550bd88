/*
 * embedding_aggregates.c
 *	  sum and avg of embeddings.
 *
 * The state is float8[]: the number of embeddings, then the sum of each
 * component; it begins as {0}. Components are multiples of 2^-24 below 2^16,
 * so in double a sum of fewer than 2^13 of them is exact whatever they are,
 * and of 2^29 where they lie in [-1, 1]: parallel and serial results agree.
 *
 * In an aggregate the state is changed in place; called from anywhere else the
 * functions work on a copy.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "core/math/br_math.h"
#include "pg/embedding.h"

PG_FUNCTION_INFO_V1(br_embedding_accumulate);
PG_FUNCTION_INFO_V1(br_embedding_combine);
PG_FUNCTION_INFO_V1(br_embedding_sum_final);
PG_FUNCTION_INFO_V1(br_embedding_avg_final);

#define STATE_COUNT(state) (((float8 *) ARR_DATA_PTR(state))[0])
#define STATE_SUMS(state) ((float8 *) ARR_DATA_PTR(state) + 1)
#define STATE_DIMS(state) (ARR_DIMS(state)[0] - 1)

/* Components converted at a time: a block that stays in the nearest cache. */
#define BLOCK 256

static ArrayType *
create_state(int dims)
{
	Size size = ARR_OVERHEAD_NONULLS(1) + sizeof(float8) * (1 + dims);
	ArrayType *state = palloc0(size);

	SET_VARSIZE(state, size);
	state->ndim = 1;
	state->elemtype = FLOAT8OID;
	ARR_DIMS(state)[0] = 1 + dims;
	ARR_LBOUND(state)[0] = 1;
	return state;
}

/* Argument n, fit to be changed, as a state; anybody may call these functions with any array. */
static ArrayType *
get_state(FunctionCallInfo fcinfo, int n)
{
	ArrayType *state = AggCheckCallContext(fcinfo, NULL) ? PG_GETARG_ARRAYTYPE_P(n)
														 : PG_GETARG_ARRAYTYPE_P_COPY(n);
	bool is_state = ARR_NDIM(state) == 1 && !ARR_HASNULL(state) &&
		ARR_ELEMTYPE(state) == FLOAT8OID && STATE_DIMS(state) <= BR_EMBEDDING_MAX_DIMS;

	/* nothing summed, no dimensions */
	if (!is_state || !(STATE_COUNT(state) >= 0) ||
		(STATE_COUNT(state) == 0) != (STATE_DIMS(state) == 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid state of an aggregate of embeddings"),
				 errhint("A state is {0}, or a count above 0 followed by one sum for each of 1 to "
						 "%d dimensions.",
						 BR_EMBEDDING_MAX_DIMS)));
	return state;
}

PGDLLEXPORT Datum
br_embedding_accumulate(PG_FUNCTION_ARGS)
{
	ArrayType *state = get_state(fcinfo, 0);
	BrEmbedding *embedding = PG_GETARG_EMBEDDING(1);
	float8 *sums;
	float block[BLOCK];

	if (STATE_COUNT(state) == 0)
		state = create_state(embedding->dims);
	br_pg_embedding_check_same_dims(STATE_DIMS(state), embedding->dims);
	STATE_COUNT(state)++;
	sums = STATE_SUMS(state);
	for (int start = 0; start < embedding->dims; start += BLOCK)
	{
		int n = Min(BLOCK, embedding->dims - start);

		br_math_half_to_floats(embedding->components + start, n, block);
		for (int i = 0; i < n; i++)
			sums[start + i] += block[i];
	}
	PG_RETURN_ARRAYTYPE_P(state);
}

PGDLLEXPORT Datum
br_embedding_combine(PG_FUNCTION_ARGS)
{
	ArrayType *state = get_state(fcinfo, 0);
	ArrayType *other = get_state(fcinfo, 1);

	if (STATE_COUNT(other) == 0)
		PG_RETURN_ARRAYTYPE_P(state);
	if (STATE_COUNT(state) == 0)
		PG_RETURN_ARRAYTYPE_P(other);
	br_pg_embedding_check_same_dims(STATE_DIMS(state), STATE_DIMS(other));
	STATE_COUNT(state) += STATE_COUNT(other);
	for (int i = 0; i < STATE_DIMS(state); i++)
		STATE_SUMS(state)[i] += STATE_SUMS(other)[i];
	PG_RETURN_ARRAYTYPE_P(state);
}

/* The sums divided by divisor. */
static BrEmbedding *
finish(ArrayType *state, double divisor)
{
	BrEmbedding *result = br_pg_embedding_create(STATE_DIMS(state));

	for (int i = 0; i < result->dims; i++)
		result->components[i] = br_pg_embedding_component(STATE_SUMS(state)[i] / divisor, i);
	return result;
}

PGDLLEXPORT Datum
br_embedding_sum_final(PG_FUNCTION_ARGS)
{
	ArrayType *state = get_state(fcinfo, 0);

	if (STATE_COUNT(state) == 0)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(finish(state, 1));
}

PGDLLEXPORT Datum
br_embedding_avg_final(PG_FUNCTION_ARGS)
{
	ArrayType *state = get_state(fcinfo, 0);

	if (STATE_COUNT(state) == 0)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(finish(state, STATE_COUNT(state)));
}
