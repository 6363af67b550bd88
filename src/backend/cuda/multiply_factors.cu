/*
 * multiply_factors.cu
 *	  Products of floats whose factors stand either way, without a library.
 *
 * For devices without cuBLASLt and for matrices that it does not take. A block of
 * 256 threads has 64 x 64 sums, a thread 4 x 4 of them. What the next 16 steps of
 * the sums need is brought to shared memory, neighbouring threads reading what
 * lies side by side whichever way a factor stands.
 */
#include "backend/cuda/kernel.cuh"
#include "backend/cuda/training.h"

#define THREADS 256
#define KERNEL static __global__ __launch_bounds__(THREADS)
#define TILE 64
#define DEPTH 16
#define EACH 4 /* rows and columns of a thread */
#define ACROSS (TILE / EACH)

/* Padded, so that a column is written to different banks. */
#define STRIDE (TILE + 1)

/* Element (i, k) of a factor stands at i * by_line + k * by_depth. */
typedef struct Lines
{
	const float *values;
	size_t by_line;
	size_t by_depth;
	int n;
} Lines;

/* Brings lines first .. of steps from .. to shared memory; zeros beyond the matrix. */
static __device__ inline void
bring(const Lines &lines, int first, int from, int depth, float (*tile)[STRIDE])
{
	for (int i = (int) threadIdx.x; i < TILE * DEPTH; i += THREADS)
	{
		int line = lines.by_depth == 1 ? i / DEPTH : i % TILE;
		int step = lines.by_depth == 1 ? i % DEPTH : i / TILE;
		bool inside = first + line < lines.n && from + step < depth;

		tile[step][line] = inside ? lines.values[(size_t) (first + line) * lines.by_line +
												 (size_t) (from + step) * lines.by_depth]
								  : 0;
	}
}

KERNEL void
multiply_factors(Lines left, Lines right, const float *bias, int depth, float keep, float *output)
{
	__shared__ float left_tile[DEPTH][STRIDE];
	__shared__ float right_tile[DEPTH][STRIDE];
	int row = (int) blockIdx.x * TILE;
	int column = (int) blockIdx.y * TILE;
	int down = (int) threadIdx.x / ACROSS;
	int across = (int) threadIdx.x % ACROSS;
	float sums[EACH][EACH] = {{0}};

	for (int from = 0; from < depth; from += DEPTH)
	{
		bring(left, row, from, depth, left_tile);
		bring(right, column, from, depth, right_tile);
		__syncthreads();
#pragma unroll
		for (int step = 0; step < DEPTH; step++)
#pragma unroll
			for (int i = 0; i < EACH; i++)
#pragma unroll
				for (int j = 0; j < EACH; j++)
					sums[i][j] +=
						left_tile[step][down + i * ACROSS] * right_tile[step][across + j * ACROSS];
		__syncthreads();
	}
	for (int i = 0; i < EACH; i++)
		for (int j = 0; j < EACH; j++)
		{
			int own_row = row + down + i * ACROSS;
			int own_column = column + across + j * ACROSS;
			float *place = output + (size_t) own_row * (size_t) right.n + own_column;
			float value = sums[i][j];

			if (own_row >= left.n || own_column >= right.n)
				continue;
			if (bias != NULL)
				value += bias[own_column];
			*place = keep != 0 ? keep * *place + value : value;
		}
}

void
br_cuda_multiply_factors(BrStream stream, BrFactor left, BrFactor right, const float *bias,
						 int rows, int columns, int depth, float keep, float *output)
{
	size_t left_stride = (size_t) left.stride;
	size_t right_stride = (size_t) right.stride;
	Lines left_lines = {left.values, left.transposed ? 1 : left_stride,
						left.transposed ? left_stride : 1, rows};
	Lines right_lines = {right.values, right.transposed ? right_stride : 1,
						 right.transposed ? 1 : right_stride, columns};
	dim3 blocks(blocks_for((size_t) rows, TILE), blocks_for((size_t) columns, TILE));

	if (rows > 0 && columns > 0)
		BR_LAUNCH(multiply_factors, blocks, THREADS, 0, stream, left_lines, right_lines, bias,
				  depth, keep, output);
}
