/*
 * float_tile.cuh
 *	  A tile of the product of two matrices of floats, in the registers of a block.
 *
 * 256 threads have 128 x 128 sums, each 8 x 8 of them: of every 16 floats that a
 * thread reads from shared memory it makes 64 products. Rows of a thread follow
 * one another and are the same for 16 lanes; its columns are two fours, so that
 * the lanes of a row read 16 bytes side by side.
 */
#ifndef BR_CUDA_FLOAT_TILE_CUH
#define BR_CUDA_FLOAT_TILE_CUH

#include "backend/cuda/kernel.cuh"

#define FLOAT_TILE 128
#define FLOAT_THREADS 256
#define FLOAT_KERNEL static __global__ __launch_bounds__(FLOAT_THREADS)
#define FLOAT_ACROSS 16 /* threads of a row */
#define FLOAT_EACH 8	/* rows and columns of a thread */
#define FLOAT_FOUR 4
#define FLOAT_DEPTH 8 /* columns of the inputs at a time: two fours of a row */

typedef struct FloatTiles
{
	__align__(16) float left[FLOAT_DEPTH][FLOAT_TILE + FLOAT_FOUR];
	__align__(16) float right[FLOAT_DEPTH][FLOAT_TILE + FLOAT_FOUR];
} FloatTiles;

/* Of the tile, the thread's row and column number i. */
static __device__ inline int
float_row(int i)
{
	return (int) threadIdx.x / FLOAT_ACROSS * FLOAT_EACH + i;
}

static __device__ inline int
float_column(int i)
{
	return i / FLOAT_FOUR * (FLOAT_TILE / 2) + (int) threadIdx.x % FLOAT_ACROSS * FLOAT_FOUR +
		i % FLOAT_FOUR;
}

/* Four floats of a row, zeros beyond the matrix. FOURS: depth is a multiple of four. */
template <bool FOURS>
static __device__ inline float4
read_four(const float *matrix, int rows, int depth, int row, int column)
{
	const float *from = matrix + (size_t) row * (size_t) depth + column;
	float4 four = make_float4(0, 0, 0, 0);

	if (row >= rows || column >= depth)
		return four;
	if constexpr (FOURS)
		four = *(const float4 *) from;
	else
	{
		four.x = from[0];
		four.y = column + 1 < depth ? from[1] : 0;
		four.z = column + 2 < depth ? from[2] : 0;
		four.w = column + 3 < depth ? from[3] : 0;
	}
	return four;
}

static __device__ inline void
keep_four(float4 four, float (*tile)[FLOAT_TILE + FLOAT_FOUR], int row, int column)
{
	tile[column][row] = four.x;
	tile[column + 1][row] = four.y;
	tile[column + 2][row] = four.z;
	tile[column + 3][row] = four.w;
}

static __device__ inline void
add_tile(const FloatTiles *tiles, float (*sums)[FLOAT_EACH])
{
#pragma unroll
	for (int depth = 0; depth < FLOAT_DEPTH; depth++)
	{
		__align__(16) float left[FLOAT_EACH];
		__align__(16) float right[FLOAT_EACH];

#pragma unroll
		for (int i = 0; i < FLOAT_EACH; i += FLOAT_FOUR)
		{
			*(float4 *) (left + i) = *(const float4 *) &tiles->left[depth][float_row(i)];
			*(float4 *) (right + i) = *(const float4 *) &tiles->right[depth][float_column(i)];
		}
#pragma unroll
		for (int i = 0; i < FLOAT_EACH; i++)
#pragma unroll
			for (int j = 0; j < FLOAT_EACH; j++)
				sums[i][j] += left[i] * right[j];
	}
}

/*
 * sums = the thread's part of left right', of the tile that begins at these two
 * rows. All threads of the block call it; shared memory may be used again when
 * it returns.
 */
template <bool FOURS>
static __device__ inline void
multiply_tile(const float *left /* (left_rows, depth) */, int left_rows, int left_row,
			  const float *right /* (right_rows, depth) */, int right_rows, int right_row,
			  int depth, FloatTiles *tiles, float (*sums)[FLOAT_EACH])
{
	int row = (int) threadIdx.x / 2;
	int column = (int) threadIdx.x % 2 * FLOAT_FOUR;
	float4 next_left = read_four<FOURS>(left, left_rows, depth, left_row + row, column);
	float4 next_right = read_four<FOURS>(right, right_rows, depth, right_row + row, column);

#pragma unroll
	for (int i = 0; i < FLOAT_EACH; i++)
#pragma unroll
		for (int j = 0; j < FLOAT_EACH; j++)
			sums[i][j] = 0;
	for (int from = 0; from < depth; from += FLOAT_DEPTH)
	{
		keep_four(next_left, tiles->left, row, column);
		keep_four(next_right, tiles->right, row, column);
		__syncthreads();
		if (from + FLOAT_DEPTH < depth)
		{
			int next = from + FLOAT_DEPTH + column;

			next_left = read_four<FOURS>(left, left_rows, depth, left_row + row, next);
			next_right = read_four<FOURS>(right, right_rows, depth, right_row + row, next);
		}
		add_tile(tiles, sums);
		__syncthreads();
	}
}

#endif /* BR_CUDA_FLOAT_TILE_CUH */
