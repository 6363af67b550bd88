/*
 * training_pooling.cu
 *	  From the tokens of a text to its embedding in float, and back.
 *
 * A thread has a column of a text, a warp the length of a row. Of equal largest
 * tokens the first has the slope.
 */
#include "backend/cuda/kernel.cuh"
#include "backend/cuda/training.h"

#define THREADS 128
#define KERNEL static __global__ __launch_bounds__(THREADS)
#define WARPS (THREADS / BR_WARP)

#define LEAST_LENGTH 1e-12f

/* The token that pooling takes as it is; -1: it takes all. */
static __device__ inline int
single_token(BrPooling pooling, const float *column, int length, int dim)
{
	int largest = 0;

	if (pooling == BR_POOLING_CLS)
		return 0;
	if (pooling == BR_POOLING_LAST)
		return length - 1;
	if (pooling != BR_POOLING_MAX)
		return -1;
	for (int i = 1; i < length; i++)
		if (column[(size_t) i * (size_t) dim] > column[(size_t) largest * (size_t) dim])
			largest = i;
	return largest;
}

/* By what token i is multiplied in a sum over all. */
static __device__ inline float
token_factor(BrPooling pooling, int i, int length)
{
	float n = (float) length;

	if (pooling == BR_POOLING_MEAN_SQRT_LENGTH)
		return 1 / sqrtf(n);
	if (pooling == BR_POOLING_WEIGHTED_MEAN)
		return (float) (i + 1) / (0.5f * n * (n + 1));
	return 1 / n;
}

KERNEL void
pool_rows(BrPooling pooling, const float *tokens, const int32_t *offsets, int dim, float *pooled)
{
	size_t text = blockIdx.x;
	int column = (int) (blockIdx.y * THREADS + threadIdx.x);
	int length = offsets[text + 1] - offsets[text];
	const float *from = tokens + (size_t) offsets[text] * (size_t) dim + column;
	float sum = 0;
	int single;

	if (column >= dim)
		return;
	single = single_token(pooling, from, length, dim);
	for (int i = 0; single < 0 && i < length; i++)
		sum += token_factor(pooling, i, length) * from[(size_t) i * (size_t) dim];
	pooled[text * (size_t) dim + (size_t) column] =
		single < 0 ? sum : from[(size_t) single * (size_t) dim];
}

KERNEL void
pool_slope(BrPooling pooling, const float *tokens, const int32_t *offsets,
		   const float *pooled_slope, int dim, float *slope)
{
	size_t text = blockIdx.x;
	int column = (int) (blockIdx.y * THREADS + threadIdx.x);
	int length = offsets[text + 1] - offsets[text];
	size_t start = (size_t) offsets[text] * (size_t) dim + (size_t) column;
	float own;
	int single;

	if (column >= dim)
		return;
	own = pooled_slope[text * (size_t) dim + (size_t) column];
	single = single_token(pooling, tokens + start, length, dim);
	for (int i = 0; i < length; i++)
		slope[start + (size_t) i * (size_t) dim] =
			single < 0 ? token_factor(pooling, i, length) * own : (i == single ? own : 0);
}

static __device__ inline float
length_of(const float *row, int dim)
{
	float squares = 0;

	for (int i = (int) threadIdx.x % BR_WARP; i < dim; i += BR_WARP)
		squares += row[i] * row[i];
	return sqrtf(warp_sum(squares));
}

KERNEL void
normalize_rows(const float *input, int n, int dim, float *output)
{
	size_t number = (size_t) blockIdx.x * WARPS + threadIdx.x / BR_WARP;
	size_t start = number * (size_t) dim;
	float inverse;

	if (number >= (size_t) n)
		return;
	inverse = 1 / fmaxf(length_of(input + start, dim), LEAST_LENGTH);
	for (int i = (int) threadIdx.x % BR_WARP; i < dim; i += BR_WARP)
		output[start + i] = input[start + i] * inverse;
}

/* (slope - unit <unit, slope>) / length; one that is too short is divided alone. */
KERNEL void
normalize_slope(const float *input, const float *output_slope, int n, int dim, float *slope)
{
	size_t number = (size_t) blockIdx.x * WARPS + threadIdx.x / BR_WARP;
	size_t start = number * (size_t) dim;
	float along = 0;
	float length;

	if (number >= (size_t) n)
		return;
	length = length_of(input + start, dim);
	for (int i = (int) threadIdx.x % BR_WARP; i < dim; i += BR_WARP)
		along += input[start + i] * output_slope[start + i];
	along = warp_sum(along) / fmaxf(length, LEAST_LENGTH);
	if (length <= LEAST_LENGTH)
		along = 0;
	length = fmaxf(length, LEAST_LENGTH);
	for (int i = (int) threadIdx.x % BR_WARP; i < dim; i += BR_WARP)
		slope[start + i] = (output_slope[start + i] - input[start + i] / length * along) / length;
}

void
br_cuda_pool_rows(BrStream stream, BrPooling pooling, const float *tokens, const int32_t *offsets,
				  int texts, int dim, float *pooled)
{
	dim3 blocks((unsigned) texts, blocks_for((size_t) dim, THREADS));

	if (texts > 0)
		BR_LAUNCH(pool_rows, blocks, THREADS, 0, stream, pooling, tokens, offsets, dim, pooled);
}

void
br_cuda_pool_slope(BrStream stream, BrPooling pooling, const float *tokens, const int32_t *offsets,
				   const float *pooled_slope, int texts, int dim, float *slope)
{
	dim3 blocks((unsigned) texts, blocks_for((size_t) dim, THREADS));

	if (texts > 0)
		BR_LAUNCH(pool_slope, blocks, THREADS, 0, stream, pooling, tokens, offsets, pooled_slope,
				  dim, slope);
}

void
br_cuda_normalize_rows(BrStream stream, const float *input, int n, int dim, float *output)
{
	if (n > 0)
		BR_LAUNCH(normalize_rows, blocks_for((size_t) n, WARPS), THREADS, 0, stream, input, n, dim,
				  output);
}

void
br_cuda_normalize_slope(BrStream stream, const float *input, const float *output_slope, int n,
						int dim, float *slope)
{
	if (n > 0)
		BR_LAUNCH(normalize_slope, blocks_for((size_t) n, WARPS), THREADS, 0, stream, input,
				  output_slope, n, dim, slope);
}
