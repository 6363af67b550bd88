/*
 * multiply.cu
 *	  Matrix products without a library: of halves, of floats, of doubles.
 *
 * Products of halves are for devices without cuBLASLt. A block of four warps
 * computes 64 x 64 elements, each warp 32 x 32 on tensor cores. While they
 * multiply what stands in one half of shared memory, the next 32 columns of
 * both inputs are on their way to registers, from where they go to the other
 * half. Sums leave through shared memory, so that bias and activation see them in
 * the order of the output and rows are written 16 bytes at a time.
 */
#include <mma.h>

#include "backend/cuda/float_tile.cuh"

using nvcuda::wmma::accumulator;
using nvcuda::wmma::col_major;
using nvcuda::wmma::fill_fragment;
using nvcuda::wmma::fragment;
using nvcuda::wmma::load_matrix_sync;
using nvcuda::wmma::matrix_a;
using nvcuda::wmma::matrix_b;
using nvcuda::wmma::mem_row_major;
using nvcuda::wmma::mma_sync;
using nvcuda::wmma::row_major;
using nvcuda::wmma::store_matrix_sync;

#define TILE 16
#define BLOCK 64			/* rows and columns of a block of threads */
#define PART (BLOCK / 2)	/* of a warp */
#define TILES (PART / TILE) /* of a warp, either way */
#define DEPTH 32			/* columns of the inputs at a time */
#define THREADS 128
#define KERNEL static __global__ __launch_bounds__(THREADS)

/* Padded by 16 bytes, so that eight rows at one column lie in different banks. */
#define STRIDE (DEPTH + BR_HALF_STEP)
#define SUM_STRIDE (BLOCK + 8)

#define EIGHTS (DEPTH / BR_HALF_STEP)		   /* of a row */
#define EIGHTS_EACH (BLOCK * EIGHTS / THREADS) /* of each input, that a thread loads */

typedef fragment<matrix_a, TILE, TILE, TILE, __half, row_major> InputTile;
typedef fragment<matrix_b, TILE, TILE, TILE, __half, col_major> WeightTile;
typedef fragment<accumulator, TILE, TILE, TILE, float> SumTile;

/* One of the outputs is NULL. */
typedef struct Product
{
	const __half *input;  /* (rows, in_dim) */
	const __half *weight; /* (out_dim, in_dim) */
	const __half *bias;	  /* (out_dim), may be NULL */
	int rows;
	int in_dim;
	int out_dim;
	BrActivation activation;
	__half *halves; /* (rows, out_dim) */
	float *floats;
} Product;

/* What a thread brings of both inputs: the same places of each. */
typedef struct Load
{
	uint4 input[EIGHTS_EACH];
	uint4 weight[EIGHTS_EACH];
} Load;

typedef union Memory
{
	__half inputs[2][2][BLOCK * STRIDE]; /* by turn, then input and weight */
	float sums[BLOCK * SUM_STRIDE];
} Memory;

/* Eight halves of a row, zeros beyond the matrix. VECTORS: depth is a multiple of eight. */
template <bool VECTORS>
static __device__ inline uint4
read_eight(const __half *matrix, int rows, int depth, int row, int column)
{
	const __half *from = matrix + (size_t) row * (size_t) depth + column;
	uint4 raw = make_uint4(0, 0, 0, 0);

	if (row >= rows)
		return raw;
	if constexpr (VECTORS)
		raw = column < depth ? *(const uint4 *) from : raw;
	else
		for (int i = 0; i < BR_HALF_STEP && column + i < depth; i++)
			((__half *) &raw)[i] = from[i];
	return raw;
}

template <bool VECTORS>
static __device__ inline void
load(const Product &product, int row, int column, int depth, Load *load)
{
#pragma unroll
	for (int i = 0; i < EIGHTS_EACH; i++)
	{
		int number = (int) threadIdx.x + i * THREADS;
		int place = number / EIGHTS;
		int from = depth + number % EIGHTS * BR_HALF_STEP;

		load->input[i] =
			read_eight<VECTORS>(product.input, product.rows, product.in_dim, row + place, from);
		load->weight[i] = read_eight<VECTORS>(product.weight, product.out_dim, product.in_dim,
											  column + place, from);
	}
}

static __device__ inline void
keep(const Load &load, __half (*inputs)[BLOCK * STRIDE] /* (2) */)
{
#pragma unroll
	for (int i = 0; i < EIGHTS_EACH; i++)
	{
		int number = (int) threadIdx.x + i * THREADS;
		int place = number / EIGHTS * STRIDE + number % EIGHTS * BR_HALF_STEP;

		*(uint4 *) (inputs[0] + place) = load.input[i];
		*(uint4 *) (inputs[1] + place) = load.weight[i];
	}
}

/* Adds the products of what stands in shared memory. */
static __device__ inline void
add_products(const __half (*inputs)[BLOCK * STRIDE] /* (2) */, int row, int column,
			 SumTile (*sums)[TILES] /* (TILES) */)
{
#pragma unroll
	for (int depth = 0; depth < DEPTH; depth += TILE)
	{
		InputTile input[TILES];
		WeightTile weight[TILES];

#pragma unroll
		for (int i = 0; i < TILES; i++)
		{
			load_matrix_sync(input[i], inputs[0] + (row + i * TILE) * STRIDE + depth, STRIDE);
			load_matrix_sync(weight[i], inputs[1] + (column + i * TILE) * STRIDE + depth, STRIDE);
		}
#pragma unroll
		for (int i = 0; i < TILES; i++)
#pragma unroll
			for (int j = 0; j < TILES; j++)
				mma_sync(sums[i][j], input[i], weight[j], sums[i][j]);
	}
}

/* Eight sums of a row to where they belong, as far as the output goes. */
static __device__ inline void
write_sums(const Product &product, const float *sums, int row, int column)
{
	size_t place = (size_t) row * (size_t) product.out_dim + (size_t) column;
	float eight[BR_HALF_STEP];
	int there = product.out_dim - column;

	for (int i = 0; i < BR_HALF_STEP; i++)
	{
		eight[i] = sums[i];
		if (product.bias != NULL && i < there)
			eight[i] += __half2float(product.bias[column + i]);
		eight[i] = activate(eight[i], product.activation);
	}
	if (product.halves != NULL && product.out_dim % BR_HALF_STEP == 0)
		write_halves(eight, product.halves + place);
	else
		for (int i = 0; i < BR_HALF_STEP && i < there; i++)
		{
			if (product.halves != NULL)
				product.halves[place + i] = __float2half(eight[i]);
			else
				product.floats[place + i] = eight[i];
		}
}

template <bool VECTORS>
KERNEL void
multiply_halves(Product product)
{
	__shared__ __align__(128) Memory memory;
	int across = (product.out_dim + BLOCK - 1) / BLOCK;
	int row = (int) (blockIdx.x / (unsigned) across) * BLOCK;
	int column = (int) (blockIdx.x % (unsigned) across) * BLOCK;
	int warp = (int) threadIdx.x / BR_WARP;
	int warp_row = warp / 2 * PART;
	int warp_column = warp % 2 * PART;
	SumTile sums[TILES][TILES];
	Load next;

#pragma unroll
	for (int i = 0; i < TILES * TILES; i++)
		fill_fragment(sums[i / TILES][i % TILES], 0.0f);
	load<VECTORS>(product, row, column, 0, &next);
	keep(next, memory.inputs[0]);
	__syncthreads();
	for (int depth = 0, turn = 0; depth < product.in_dim; depth += DEPTH, turn ^= 1)
	{
		bool more = depth + DEPTH < product.in_dim;

		if (more)
			load<VECTORS>(product, row, column, depth + DEPTH, &next);
		add_products(memory.inputs[turn], warp_row, warp_column, sums);
		if (more)
			keep(next, memory.inputs[turn ^ 1]);
		__syncthreads();
	}
#pragma unroll
	for (int i = 0; i < TILES * TILES; i++)
		store_matrix_sync(memory.sums + (warp_row + i / TILES * TILE) * SUM_STRIDE + warp_column +
							  i % TILES * TILE,
						  sums[i / TILES][i % TILES], SUM_STRIDE, mem_row_major);
	__syncthreads();
	for (int i = (int) threadIdx.x; i < BLOCK * BLOCK / BR_HALF_STEP; i += THREADS)
	{
		int place = i / (BLOCK / BR_HALF_STEP);
		int from = i % (BLOCK / BR_HALF_STEP) * BR_HALF_STEP;

		if (row + place < product.rows && column + from < product.out_dim)
			write_sums(product, memory.sums + place * SUM_STRIDE + from, row + place,
					   column + from);
	}
}

static void
launch_halves(BrStream stream, const Product &product)
{
	unsigned blocks =
		blocks_for((size_t) product.rows, BLOCK) * blocks_for((size_t) product.out_dim, BLOCK);

	if (blocks == 0)
		return;
	if (product.in_dim % BR_HALF_STEP == 0)
		BR_LAUNCH(multiply_halves<true>, blocks, THREADS, 0, stream, product);
	else
		BR_LAUNCH(multiply_halves<false>, blocks, THREADS, 0, stream, product);
}

void
br_cuda_multiply_halves(BrStream stream, const BrHalf *input, const BrHalf *weight,
						const BrHalf *bias, int rows, int in_dim, int out_dim,
						BrActivation activation, BrHalf *halves, float *floats)
{
	Product product = {(const __half *) input,
					   (const __half *) weight,
					   (const __half *) bias,
					   rows,
					   in_dim,
					   out_dim,
					   activation,
					   (__half *) halves,
					   floats};

	launch_halves(stream, product);
}

/* ---- floats ---- */

template <bool FOURS>
FLOAT_KERNEL void
multiply_floats(const float *left, const float *right, int rows, int columns, int depth,
				float *output)
{
	__shared__ FloatTiles tiles;
	int across = (columns + FLOAT_TILE - 1) / FLOAT_TILE;
	int row = (int) (blockIdx.x / (unsigned) across) * FLOAT_TILE;
	int column = (int) (blockIdx.x % (unsigned) across) * FLOAT_TILE;
	float sums[FLOAT_EACH][FLOAT_EACH];

	multiply_tile<FOURS>(left, rows, row, right, columns, column, depth, &tiles, sums);
#pragma unroll
	for (int i = 0; i < FLOAT_EACH; i++)
#pragma unroll
		for (int j = 0; j < FLOAT_EACH; j++)
		{
			int to_row = row + float_row(i);
			int to_column = column + float_column(j);

			if (to_row < rows && to_column < columns)
				output[(size_t) to_row * (size_t) columns + (size_t) to_column] = sums[i][j];
		}
}

void
br_cuda_multiply_floats(BrStream stream, const float *left, const float *right, int rows,
						int columns, int depth, float *output)
{
	unsigned blocks =
		blocks_for((size_t) rows, FLOAT_TILE) * blocks_for((size_t) columns, FLOAT_TILE);

	if (blocks == 0)
		return;
	if (depth % FLOAT_FOUR == 0)
		BR_LAUNCH(multiply_floats<true>, blocks, FLOAT_THREADS, 0, stream, left, right, rows,
				  columns, depth, output);
	else
		BR_LAUNCH(multiply_floats<false>, blocks, FLOAT_THREADS, 0, stream, left, right, rows,
				  columns, depth, output);
}

/* ---- doubles: an element a thread ---- */

#define DOUBLE_TILE 16
#define DOUBLE_KERNEL static __global__ __launch_bounds__(DOUBLE_TILE *DOUBLE_TILE)

typedef struct DoubleProduct
{
	const double *left;
	const double *right;
	int rows;
	int columns;
	int depth;
	int left_stride;
	int right_stride;
	int output_stride;
	double scale;
	double keep;
	double *output;
} DoubleProduct;

DOUBLE_KERNEL void
multiply_doubles(DoubleProduct product)
{
	__shared__ double left[DOUBLE_TILE][DOUBLE_TILE + 1];
	__shared__ double right[DOUBLE_TILE][DOUBLE_TILE + 1];
	int across = (product.columns + DOUBLE_TILE - 1) / DOUBLE_TILE;
	int x = (int) threadIdx.x % DOUBLE_TILE;
	int y = (int) threadIdx.x / DOUBLE_TILE;
	int row = (int) (blockIdx.x / (unsigned) across) * DOUBLE_TILE + y;
	int first = (int) (blockIdx.x % (unsigned) across) * DOUBLE_TILE;
	int column = first + x;
	double sum = 0;

	for (int depth = 0; depth < product.depth; depth += DOUBLE_TILE)
	{
		bool inside = depth + x < product.depth;

		left[y][x] = inside && row < product.rows
			? product.left[(size_t) row * (size_t) product.left_stride + (size_t) (depth + x)]
			: 0;
		right[y][x] = inside && first + y < product.columns
			? product.right[(size_t) (first + y) * (size_t) product.right_stride +
							(size_t) (depth + x)]
			: 0;
		__syncthreads();
		for (int i = 0; i < DOUBLE_TILE; i++)
			sum += left[y][i] * right[x][i];
		__syncthreads();
	}
	if (row < product.rows && column < product.columns)
	{
		double *place =
			product.output + (size_t) row * (size_t) product.output_stride + (size_t) column;

		*place = product.scale * sum + (product.keep != 0 ? product.keep * *place : 0);
	}
}

void
br_cuda_multiply_doubles(BrStream stream, const double *left, const double *right, int rows,
						 int columns, int depth, int left_stride, int right_stride,
						 int output_stride, double scale, double keep, double *output)
{
	DoubleProduct product = {left,		   right,		  rows,	 columns, depth, left_stride,
							 right_stride, output_stride, scale, keep,	  output};
	unsigned blocks =
		blocks_for((size_t) rows, DOUBLE_TILE) * blocks_for((size_t) columns, DOUBLE_TILE);

	if (blocks > 0)
		BR_LAUNCH(multiply_doubles, blocks, DOUBLE_TILE * DOUBLE_TILE, 0, stream, product);
}
