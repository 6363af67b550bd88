/*
 * training_columns.cu
 *	  Sums over the rows of a batch, always in one order.
 *
 * Biases, gains and rows of tables gather slopes from many tokens. A block sums
 * up a piece of the rows for 32 columns; then one thread a column adds the
 * pieces, one after another. For the tables the host says which rows of the
 * batch belong to which row of the table, and one thread a column adds those.
 */
#include "backend/cuda/kernel.cuh"
#include "backend/cuda/training.h"

#define ACROSS 32 /* columns of a block */
#define DOWN 8	  /* its threads of a column */
#define THREADS (ACROSS * DOWN)
#define KERNEL static __global__ __launch_bounds__(THREADS)

/* Rows of a block. */
#define PIECE 64

static inline unsigned
pieces_of(int rows)
{
	return blocks_for((size_t) rows, PIECE);
}

size_t
br_cuda_columns_scratch(int rows, int dim)
{
	return 2 * (size_t) pieces_of(rows) * (size_t) dim;
}

/* Adds what the threads of a column have; the first of them has the sum. */
static __device__ inline float
sum_of_column(float value, float (*shared)[ACROSS], int across, int down)
{
	__syncthreads();
	shared[down][across] = value;
	__syncthreads();
	for (int i = 1; down == 0 && i < DOWN; i++)
		value += shared[i][across];
	return value;
}

/* With sum NULL sums of the values alone; else first those of the values times z of the norm. */
KERNEL void
sum_pieces(const float *values, const float *sum, const float *moments, int rows, int dim,
		   float *pieces /* (1 or 2, pieces, dim) */)
{
	__shared__ float shared[DOWN][ACROSS];
	int across = (int) threadIdx.x % ACROSS;
	int down = (int) threadIdx.x / ACROSS;
	int column = (int) blockIdx.y * ACROSS + across;
	int first = (int) blockIdx.x * PIECE;
	size_t place = (size_t) blockIdx.x * (size_t) dim + (size_t) column;
	float plain = 0;
	float normed = 0;

	for (int row = first + down; column < dim && row < rows && row < first + PIECE; row += DOWN)
	{
		size_t at = (size_t) row * (size_t) dim + (size_t) column;
		float value = values[at];

		plain += value;
		if (sum != NULL)
			normed += value * (sum[at] - moments[2 * (size_t) row]) * moments[2 * (size_t) row + 1];
	}
	plain = sum_of_column(plain, shared, across, down);
	if (sum != NULL)
		normed = sum_of_column(normed, shared, across, down);
	if (down != 0 || column >= dim)
		return;
	pieces[place] = plain;
	if (sum != NULL)
		pieces[(size_t) gridDim.x * (size_t) dim + place] = normed;
}

KERNEL void
add_pieces(const float *pieces, int n, int dim, float *sums)
{
	int column = (int) (blockIdx.x * THREADS + threadIdx.x);
	float sum = 0;

	if (column >= dim)
		return;
	for (int i = 0; i < n; i++)
		sum += pieces[(size_t) i * (size_t) dim + (size_t) column];
	sums[column] += sum;
}

static void
launch_pieces(BrStream stream, const float *values, const float *sum, const float *moments,
			  int rows, int dim, float *pieces)
{
	dim3 blocks(pieces_of(rows), blocks_for((size_t) dim, ACROSS));

	BR_LAUNCH(sum_pieces, blocks, THREADS, 0, stream, values, sum, moments, rows, dim, pieces);
}

static void
launch_add(BrStream stream, const float *pieces, int rows, int dim, float *sums)
{
	BR_LAUNCH(add_pieces, blocks_for((size_t) dim, THREADS), THREADS, 0, stream, pieces,
			  (int) pieces_of(rows), dim, sums);
}

void
br_cuda_add_columns(BrStream stream, const float *values, int rows, int dim, float *scratch,
					float *sums)
{
	if (rows == 0 || dim == 0)
		return;
	launch_pieces(stream, values, NULL, NULL, rows, dim, scratch);
	launch_add(stream, scratch, rows, dim, sums);
}

void
br_cuda_add_norm_columns(BrStream stream, const float *sum, const float *moments,
						 const float *output_slope, int rows, int dim, float *scratch,
						 float *gain_slope, float *bias_slope)
{
	if (rows == 0)
		return;
	launch_pieces(stream, output_slope, sum, moments, rows, dim, scratch);
	launch_add(stream, scratch, rows, dim, bias_slope);
	launch_add(stream, scratch + (size_t) pieces_of(rows) * (size_t) dim, rows, dim, gain_slope);
}

/* ---- rows of tables ---- */

#define GROUP_THREADS 128

static __global__
__launch_bounds__(GROUP_THREADS) void add_groups(BrRowGroups groups, const float *values, int dim,
												 float *table)
{
	int column = (int) (blockIdx.y * GROUP_THREADS + threadIdx.x);
	int last = groups.starts[blockIdx.x + 1];
	float sum = 0;

	if (column >= dim)
		return;
	for (int i = groups.starts[blockIdx.x]; i < last; i++)
		sum += values[(size_t) groups.rows[i] * (size_t) dim + (size_t) column];
	table[(size_t) groups.which[blockIdx.x] * (size_t) dim + (size_t) column] += sum;
}

void
br_cuda_add_groups(BrStream stream, BrRowGroups groups, const float *values, int dim, float *table)
{
	dim3 blocks((unsigned) groups.n, blocks_for((size_t) dim, GROUP_THREADS));

	if (groups.n > 0)
		BR_LAUNCH(add_groups, blocks, GROUP_THREADS, 0, stream, groups, values, dim, table);
}
