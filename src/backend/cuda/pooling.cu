/*
 * pooling.cu
 *	  From the token embeddings of a text to its embedding, a column a thread.
 *
 * The rows of a text lie side by side, so that at each token the threads of a
 * block read one piece of memory. This is one pass over what the last layer
 * wrote, once for all layers.
 */
#include "backend/cuda/kernel.cuh"

#define THREADS 128
#define KERNEL static __global__ __launch_bounds__(THREADS)
#define WARPS (THREADS / BR_WARP)

/* A length below it is taken for a vector of zeros, as torch's normalize does. */
#define LEAST_LENGTH 1e-12f

static __device__ inline float
pool_column(BrPooling pooling, const __half *column, int length, size_t dim)
{
	float result = pooling == BR_POOLING_MAX ? -INFINITY : 0;

	if (pooling == BR_POOLING_CLS)
		return __half2float(column[0]);
	if (pooling == BR_POOLING_LAST)
		return __half2float(column[(size_t) (length - 1) * dim]);
	for (int i = 0; i < length; i++)
	{
		float value = __half2float(column[(size_t) i * dim]);

		if (pooling == BR_POOLING_MAX)
			result = fmaxf(result, value);
		else if (pooling == BR_POOLING_WEIGHTED_MEAN)
			result += (float) (i + 1) * value;
		else
			result += value;
	}
	if (pooling == BR_POOLING_MEAN)
		return result / (float) length;
	if (pooling == BR_POOLING_MEAN_SQRT_LENGTH)
		return result / sqrtf((float) length);
	if (pooling == BR_POOLING_WEIGHTED_MEAN)
		return result / (0.5f * (float) length * ((float) length + 1));
	return result;
}

KERNEL void
pool(BrPooling pooling, const __half *tokens, const int32_t *offsets, int dim, float *pooled)
{
	size_t text = blockIdx.x;
	int column = (int) (blockIdx.y * THREADS + threadIdx.x);
	int start = offsets[text];

	if (column < dim)
		pooled[text * (size_t) dim + (size_t) column] =
			pool_column(pooling, tokens + (size_t) start * (size_t) dim + (size_t) column,
						offsets[text + 1] - start, (size_t) dim);
}

KERNEL void
normalize(float *rows, int n, int dim)
{
	size_t number = (size_t) blockIdx.x * WARPS + threadIdx.x / BR_WARP;
	int lane = (int) threadIdx.x % BR_WARP;
	float *row = rows + number * (size_t) dim;
	float largest = 0;
	float sum = 0;
	float length;

	if (number >= (size_t) n)
		return;
	/* squares of what is relative to the largest neither overflow nor vanish */
	for (int i = lane; i < dim; i += BR_WARP)
		largest = fmaxf(largest, fabsf(row[i]));
	largest = warp_max(largest);
	if (largest == 0)
		return;
	for (int i = lane; i < dim; i += BR_WARP)
		sum += (row[i] / largest) * (row[i] / largest);
	length = fmaxf(largest * sqrtf(warp_sum(sum)), LEAST_LENGTH);
	for (int i = lane; i < dim; i += BR_WARP)
		row[i] /= length;
}

void
br_cuda_pool(BrStream stream, BrPooling pooling, const BrHalf *tokens, const int32_t *offsets,
			 int texts, int dim, float *pooled)
{
	dim3 blocks((unsigned) texts, blocks_for((size_t) dim, THREADS));

	if (texts > 0)
		BR_LAUNCH(pool, blocks, THREADS, 0, stream, pooling, (const __half *) tokens, offsets, dim,
				  pooled);
}

void
br_cuda_normalize(BrStream stream, float *rows, int n, int dim)
{
	if (n > 0)
		BR_LAUNCH(normalize, blocks_for((size_t) n, WARPS), THREADS, 0, stream, rows, n, dim);
}
