/*
 * factors.c
 *	  What the learners of factors share: vectors in work, blocks that threads
 *	  take, and the choice of kernels.
 */
#include <math.h>
#include <string.h>

#include "core/learn/factors_int.h"

#define ALIGNMENT 64

/* Vectors between two looks at cancellation. */
#define LOOK_VECTORS 4096

const BrFactorKernels *
br_learn_factor_kernels(void)
{
	const BrFactorKernels *kernels = br_learn_factor_kernels_avx512();

	if (kernels == NULL)
		kernels = br_learn_factor_kernels_avx2();
	return kernels != NULL ? kernels : br_learn_factor_kernels_baseline();
}

void
br_learn_factors_free(BrContext *context, BrFactors *factors)
{
	br_base_free(context, factors->row);
	br_base_free(context, factors->column);
	br_base_free(context, factors->bias);
	memset(factors, 0, sizeof(*factors));
}

/* ---- vectors in work ---- */

float *
br_learn_aligned_floats(BrContext *context, size_t count, void **memory)
{
	*memory = NULL;
	if (count > SIZE_MAX / sizeof(float) - ALIGNMENT)
		return br_base_alloc_array(context, count, sizeof(float));
	*memory = br_base_alloc_array(context, count + ALIGNMENT / sizeof(float), sizeof(float));
	if (*memory == NULL)
		return NULL;
	return (float *) (((uintptr_t) *memory + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

BrStatus
br_learn_vectors_alloc(BrContext *context, int n, int dims, BrVectors *vectors)
{
	*vectors = (BrVectors){.n = n, .dims = dims, .padded = BR_LEARN_PADDED(dims)};
	vectors->vector =
		br_learn_aligned_floats(context, (size_t) n * (size_t) vectors->padded, &vectors->memory);
	return vectors->vector != NULL ? BR_OK : BR_ERR_MEMORY;
}

void
br_learn_vectors_free(BrContext *context, BrVectors *vectors)
{
	br_base_free(context, vectors->memory);
	memset(vectors, 0, sizeof(*vectors));
}

static void
draw(float *vector, int dims, uint64_t seed, uint64_t stream, double low, double range)
{
	BrRandom random;

	br_base_random_init(&random, seed, stream);
	for (int d = 0; d < dims; d++)
		vector[d] = (float) (low + range * 0x1p-24 * (double) (br_base_random_u32(&random) >> 8));
}

BrStatus
br_learn_vectors_start(BrContext *context, BrVectors *vectors, const float *start, uint64_t seed,
					   uint64_t first_stream, double low, double range)
{
	size_t dims = (size_t) vectors->dims;

	for (int i = 0; i < vectors->n; i++)
	{
		float *vector = vectors->vector + (size_t) i * (size_t) vectors->padded;

		if (i % LOOK_VECTORS == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		if (start != NULL)
			memcpy(vector, start + (size_t) i * dims, sizeof(float) * dims);
		else
			draw(vector, vectors->dims, seed, first_stream + (uint64_t) i, low, range);
	}
	return BR_OK;
}

static bool
all_finite(const float *values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isfinite(values[i]))
			return false;
	return true;
}

/* Vectors only move towards the beginning, the first of them first. */
BrStatus
br_learn_vectors_finish(BrContext *context, BrVectors *vectors, float **result)
{
	float *packed = vectors->memory;
	size_t dims = (size_t) vectors->dims;

	for (int i = 0; i < vectors->n; i++)
	{
		const float *vector = vectors->vector + (size_t) i * (size_t) vectors->padded;

		if (i % LOOK_VECTORS == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		if (!all_finite(vector, dims))
			return br_base_fail(context, BR_ERR_NUMERIC,
								"Factors grew beyond the range of float: lambda, alpha or the "
								"learning rate does not suit the values.");
		memmove(packed + (size_t) i * dims, vector, sizeof(float) * dims);
	}
	*result = packed;
	vectors->memory = NULL;
	return BR_OK;
}

BrStatus
br_learn_start_check(BrContext *context, const BrFactors *start, int rows, int columns, int dims)
{
	if (start == NULL)
		return BR_OK;
	if (start->rows != rows || start->columns != columns || start->dims != dims)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Start factors are of %d rows, %d columns and %d factors, not of %d, "
							"%d and %d.",
							start->rows, start->columns, start->dims, rows, columns, dims);
	if (!all_finite(start->row, (size_t) rows * (size_t) dims) ||
		!all_finite(start->column, (size_t) columns * (size_t) dims) ||
		(start->bias != NULL && !all_finite(start->bias, (size_t) columns)))
		return br_base_fail(context, BR_ERR_ARGUMENT, "Start factors are not finite.");
	return BR_OK;
}

/* ---- blocks of work ---- */

struct BrBlocks
{
	BrContext *context;
	BrBlockWork work;
	void *arg;
	int n;
	atomic_int next;
	atomic_bool stopped;
};

/* In the caller's thread alone. */
static bool
ask_caller(void *arg)
{
	BrBlocks *blocks = arg;

	if (br_base_cancelled(blocks->context))
		atomic_store(&blocks->stopped, true);
	return atomic_load(&blocks->stopped);
}

bool
br_learn_blocks_stopped(BrBlocks *blocks, int worker)
{
	return worker == 0 ? ask_caller(blocks) : atomic_load(&blocks->stopped);
}

static void
take_blocks(void *arg, int worker)
{
	BrBlocks *blocks = arg;

	while (!br_learn_blocks_stopped(blocks, worker))
	{
		int block = atomic_fetch_add(&blocks->next, 1);

		if (block >= blocks->n)
			return;
		blocks->work(blocks->arg, blocks, block, worker);
	}
}

BrStatus
br_learn_blocks_run(BrContext *context, BrPool *pool, BrBlockWork work, void *arg, int n)
{
	BrBlocks blocks = {.context = context, .work = work, .arg = arg, .n = n};
	BrCancel poll = {ask_caller, &blocks};
	int workers = br_base_pool_threads(pool);

	if (n == 0)
		return BR_OK;
	br_base_pool_run(pool, take_blocks, &blocks, workers < n ? workers : n, &poll);
	return blocks.stopped ? BR_ERR_CANCELLED : BR_OK;
}
