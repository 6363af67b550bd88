/*
 * mma.h
 *	  Tiles of 16 x 16 that a warp has together, and their products.
 *
 * A lane has eight elements of a tile, at places that a kernel must not know:
 * here those of the accumulators of mma.m16n8k16. Loads and stores are done by
 * each lane alone and wait for nobody, so that a kernel must do so itself; a
 * product is one operation of the warp. Addresses and strides are checked as
 * CUDA demands them.
 */
#ifndef BR_EMULATED_MMA_H
#define BR_EMULATED_MMA_H

#include <stdlib.h>

#include "cuda_fp16.h"

namespace nvcuda {
namespace wmma {

enum layout_t
{
	mem_row_major,
	mem_col_major
};

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;

#define EMULATED_TILE 16
#define EMULATED_ELEMENTS 8

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment
{
	static const int num_elements = EMULATED_ELEMENTS;
	T x[EMULATED_ELEMENTS];
};

static inline int
tile_row(int lane, int element)
{
	return lane / 4 + element / 2 % 2 * 8;
}

static inline int
tile_column(int lane, int element)
{
	return lane % 4 * 2 + element % 2 + element / 4 * 8;
}

template <class Layout>
static inline size_t
tile_place(int element, unsigned stride)
{
	int lane = (int) threadIdx.x % EMULATED_WARP;
	size_t row = (size_t) tile_row(lane, element);
	size_t column = (size_t) tile_column(lane, element);

	return __is_same(Layout, col_major) ? column * stride + row : row * stride + column;
}

/* Tiles begin at multiples of 32 bytes, their rows at multiples of 16. */
static inline void
check_tile(const void *memory, size_t bytes_of_stride)
{
	if ((uintptr_t) memory % 32 != 0 || bytes_of_stride % 16 != 0)
		abort();
}

template <class Use, class T, class Layout>
static inline void
load_matrix_sync(fragment<Use, EMULATED_TILE, EMULATED_TILE, EMULATED_TILE, T, Layout> &tile,
				 const T *from, unsigned stride)
{
	check_tile(from, stride * sizeof(T));
	for (int i = 0; i < EMULATED_ELEMENTS; i++)
		tile.x[i] = from[tile_place<Layout>(i, stride)];
}

static inline void
load_matrix_sync(fragment<accumulator, EMULATED_TILE, EMULATED_TILE, EMULATED_TILE, float> &tile,
				 const float *from, unsigned stride, layout_t layout)
{
	check_tile(from, stride * sizeof(float));
	if (layout != mem_row_major)
		abort();
	for (int i = 0; i < EMULATED_ELEMENTS; i++)
		tile.x[i] = from[tile_place<row_major>(i, stride)];
}

static inline void
store_matrix_sync(
	float *to,
	const fragment<accumulator, EMULATED_TILE, EMULATED_TILE, EMULATED_TILE, float> &tile,
	unsigned stride, layout_t layout)
{
	check_tile(to, stride * sizeof(float));
	if (layout != mem_row_major)
		abort();
	for (int i = 0; i < EMULATED_ELEMENTS; i++)
		to[tile_place<row_major>(i, stride)] = tile.x[i];
}

template <class Tile, class T>
static inline void
fill_fragment(Tile &tile, T value)
{
	for (int i = 0; i < EMULATED_ELEMENTS; i++)
		tile.x[i] = value;
}

/* What a lane brings to a product. */
struct EmulatedProduct
{
	float *output;
	const __half *left;
	const __half *right;
	const float *added;
};

static inline void
emulated_multiply(void **lanes)
{
	float left[EMULATED_TILE][EMULATED_TILE];
	float right[EMULATED_TILE][EMULATED_TILE];

	for (int lane = 0; lane < EMULATED_WARP; lane++)
		for (int i = 0; i < EMULATED_ELEMENTS; i++)
		{
			const EmulatedProduct *own = (const EmulatedProduct *) lanes[lane];

			left[tile_row(lane, i)][tile_column(lane, i)] = __half2float(own->left[i]);
			right[tile_row(lane, i)][tile_column(lane, i)] = __half2float(own->right[i]);
		}
	for (int lane = 0; lane < EMULATED_WARP; lane++)
		for (int i = 0; i < EMULATED_ELEMENTS; i++)
		{
			const EmulatedProduct *own = (const EmulatedProduct *) lanes[lane];
			float sum = own->added[i];

			for (int j = 0; j < EMULATED_TILE; j++)
				sum += left[tile_row(lane, i)][j] * right[j][tile_column(lane, i)];
			own->output[i] = sum;
		}
}

template <class Output, class Left, class Right>
static inline void
mma_sync(Output &output, const Left &left, const Right &right, const Output &added)
{
	EmulatedProduct product = {output.x, left.x, right.x, added.x};

	emulated_together(emulated_multiply, &product);
}

} /* namespace wmma */
} /* namespace nvcuda */

#endif /* BR_EMULATED_MMA_H */
