/*
 * rotation.c
 *	  A random rotation that costs n log n.
 *
 * Codes keep the sign of each coordinate, which tells most where coordinates
 * are alike; so vectors are turned into a random basis first. A round flips
 * signs at random and applies a Walsh-Hadamard transform, which only takes
 * lengths that are powers of two: in even rounds to the front, in odd ones to
 * the back of the vector. Where these two do not coincide, a round also turns
 * the planes of the first half's coordinates with the second half's.
 *
 * The transform is the one of constant geometry: every stage adds and
 * subtracts the two halves and interleaves the results, so that all stages
 * read and write whole vector registers. Only sums and products of single
 * elements occur: any compiler's code gives the same bits.
 */
#include <math.h>
#include <string.h>

#include "core/ann/ann_int.h"

#define ROUNDS 4

/* Of a vector register's elements, a multiple; all lengths are multiples of twice this. */
#define STEP 16

struct BrRotation
{
	BrContext *context;
	int dims;
	int padded;
	int block;		 /* length of the transform, a power of two <= padded */
	int stages;		 /* its logarithm */
	float factors[]; /* (ROUNDS, padded): the signs; where the transform applies, times its scale */
};

int
br_ann_rotated_dims(int dims)
{
	return dims <= 64 ? 64 : (dims + 63) / 64 * 64;
}

int
br_ann_code_bits(int dims)
{
	int padded = br_ann_rotated_dims(dims);

	return 2 * padded < BR_ANN_MAX_CODE_BITS ? 2 * padded : BR_ANN_MAX_CODE_BITS;
}

static int
block_start(const BrRotation *rotation, int round)
{
	return round % 2 == 0 ? 0 : rotation->padded - rotation->block;
}

static void
draw_factors(BrRotation *rotation, uint64_t seed)
{
	float scale = (float) (1 / sqrt((double) rotation->block));

	for (int round = 0; round < ROUNDS; round++)
	{
		float *factors = rotation->factors + (size_t) round * rotation->padded;
		int start = block_start(rotation, round);
		BrRandom random;
		uint32_t bits = 0;

		br_base_random_init(&random, seed, (uint64_t) round);
		for (int i = 0; i < rotation->padded; i++)
		{
			bool inside = i >= start && i < start + rotation->block;
			float size = inside ? scale : 1;

			bits = i % 32 == 0 ? br_base_random_u32(&random) : bits >> 1;
			factors[i] = (bits & 1) != 0 ? -size : size;
		}
	}
}

BrStatus
br_ann_rotation_create(BrContext *context, int dims, uint64_t seed, BrRotation **rotation)
{
	int padded = br_ann_rotated_dims(dims);
	BrRotation *created;

	*rotation = NULL;
	if (dims < 1 || dims > BR_ANN_MAX_DIMS)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A vector to be rotated has 1 to %d dimensions, not %d.",
							BR_ANN_MAX_DIMS, dims);
	created = br_base_alloc(context, sizeof(BrRotation) + sizeof(float) * ROUNDS * (size_t) padded);
	if (created == NULL)
		return BR_ERR_MEMORY;
	created->context = context;
	created->dims = dims;
	created->padded = padded;
	created->block = 64;
	created->stages = 6;
	while (2 * created->block <= padded)
	{
		created->block *= 2;
		created->stages++;
	}
	draw_factors(created, seed);
	*rotation = created;
	return BR_OK;
}

void
br_ann_rotation_destroy(BrRotation *rotation)
{
	if (rotation != NULL)
		br_base_free(rotation->context, rotation);
}

static void
multiply(const float *restrict values, const float *restrict factors, int n,
		 float *restrict products)
{
	for (int i = 0; i < n; i += STEP)
		for (int j = i; j < i + STEP; j++)
			products[j] = values[j] * factors[j];
}

/* One stage: sums and differences of the halves, side by side. */
static void
transform_once(const float *restrict from, int n, float *restrict to)
{
	const float *other = from + n / 2;

	for (int i = 0; i < n / 2; i += STEP)
		for (int j = i; j < i + STEP; j++)
		{
			to[2 * j] = from[j] + other[j];
			to[2 * j + 1] = from[j] - other[j];
		}
}

/* Turns the plane of each coordinate with its partner half the vector away by 45 degrees. */
static void
turn_planes(float *restrict first, float *restrict second, int n)
{
	const float sqrt_half = 0x1.6a09e6p-1f;

	for (int i = 0; i < n; i += STEP)
		for (int j = i; j < i + STEP; j++)
		{
			float sum = first[j] + second[j];
			float difference = first[j] - second[j];

			first[j] = sum * sqrt_half;
			second[j] = difference * sqrt_half;
		}
}

void
br_ann_rotate(const BrRotation *rotation, const float *vector, float *rotated)
{
	float buffer[BR_ANN_MAX_ROTATED];
	float flipped[BR_ANN_MAX_ROTATED];
	int padded = rotation->padded;
	int block = rotation->block;

	memcpy(rotated, vector, sizeof(float) * (size_t) rotation->dims);
	memset(rotated + rotation->dims, 0, sizeof(float) * (size_t) (padded - rotation->dims));
	for (int round = 0; round < ROUNDS; round++)
	{
		int start = block_start(rotation, round);
		float *from = flipped + start;
		float *to = buffer + start;

		multiply(rotated, rotation->factors + (size_t) round * padded, padded, flipped);
		for (int stage = 0; stage < rotation->stages; stage++)
		{
			float *swap = from;

			transform_once(from, block, to);
			from = to;
			to = swap;
		}
		memcpy(rotated + start, from, sizeof(float) * (size_t) block);
		memcpy(rotated, flipped, sizeof(float) * (size_t) start);
		memcpy(rotated + start + block, flipped + start + block,
			   sizeof(float) * (size_t) (padded - start - block));
		if (block < padded)
			turn_planes(rotated, rotated + padded / 2, padded / 2);
	}
}
