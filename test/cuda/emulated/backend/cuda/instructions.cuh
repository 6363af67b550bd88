/*
 * instructions.cuh
 *	  What src/backend/cuda/instructions.cuh does by instructions, by their definition.
 *
 * Stands in for it on the emulated device: found before it, under the same name.
 */
#ifndef BR_CUDA_INSTRUCTIONS_CUH
#define BR_CUDA_INSTRUCTIONS_CUH

#include <stdlib.h>
#include <string.h>

#include <cuda_fp16.h>
#include <cuda_runtime.h>

static inline unsigned
pack_halves(float low, float high)
{
	return (unsigned) __float2half(low).bits | (unsigned) __float2half(high).bits << 16;
}

static inline float
emulated_half(unsigned pair, int which)
{
	__half half = {(uint16_t) (pair >> 16 * which)};

	return __half2float(half);
}

/* ---- products ---- */

struct EmulatedProduct
{
	float *sums;
	const unsigned *left;
	const unsigned *right;
};

static inline void
emulated_product(void **lanes)
{
	float left[16][16];
	float right[16][8];

	for (int i = 0; i < EMULATED_WARP; i++)
	{
		const EmulatedProduct *own = (const EmulatedProduct *) lanes[i];
		int row = i / 4;
		int column = 2 * (i % 4);

		for (int which = 0; which < 2; which++)
		{
			for (int e = 0; e < 4; e++)
				left[row + e % 2 * 8][column + e / 2 * 8 + which] =
					emulated_half(own->left[e], which);
			for (int e = 0; e < 2; e++)
				right[column + 8 * e + which][row] = emulated_half(own->right[e], which);
		}
	}
	for (int i = 0; i < EMULATED_WARP; i++)
		for (int e = 0; e < 4; e++)
		{
			int row = i / 4 + e / 2 * 8;
			int column = 2 * (i % 4) + e % 2;

			for (int j = 0; j < 16; j++)
				((EmulatedProduct *) lanes[i])->sums[e] += left[row][j] * right[j][column];
		}
}

static inline void
multiply_tile(float *sums /* (4) */, const unsigned *left /* (4) */,
			  const unsigned *right /* (2) */)
{
	EmulatedProduct product = {sums, left, right};

	emulated_together(emulated_product, &product);
}

/* ---- tiles from shared memory ---- */

struct EmulatedTiles
{
	unsigned *tiles;
	const __half *row;
	bool turned;
};

static inline void
emulated_tiles(void **lanes)
{
	for (int i = 0; i < EMULATED_WARP; i++)
	{
		EmulatedTiles *own = (EmulatedTiles *) lanes[i];

		for (int tile = 0; tile < 4; tile++)
		{
			unsigned pair = 0;

			for (int which = 0; which < 2; which++)
			{
				int row = own->turned ? 2 * (i % 4) + which : i / 4;
				int column = own->turned ? i / 4 : 2 * (i % 4) + which;
				const EmulatedTiles *other = (const EmulatedTiles *) lanes[8 * tile + row];

				pair |= (unsigned) other->row[column].bits << 16 * which;
			}
			own->tiles[tile] = pair;
		}
	}
}

static inline void
load_tiles(unsigned *tiles /* (4) */, const __half *row)
{
	EmulatedTiles load = {tiles, row, false};

	emulated_together(emulated_tiles, &load);
}

static inline void
load_tiles_turned(unsigned *tiles /* (4) */, const __half *row)
{
	EmulatedTiles load = {tiles, row, true};

	emulated_together(emulated_tiles, &load);
}

/* ---- copies to shared memory ---- */

#define EMULATED_COPIES 64

struct EmulatedCopy
{
	__half *to;
	const __half *from;
	bool there;
};

/* What each thread of a block has begun to copy: nothing is there before it has waited. */
static EmulatedCopy emulated_copies[1024][EMULATED_COPIES];
static int emulated_copies_begun[1024];

static inline void
copy_to_shared(__half *shared, const __half *from, bool there)
{
	int *n = &emulated_copies_begun[threadIdx.x];

	if (*n == EMULATED_COPIES)
		abort();
	emulated_copies[threadIdx.x][(*n)++] = {shared, from, there};
}

static inline void
wait_for_copies(void)
{
	for (int i = 0; i < emulated_copies_begun[threadIdx.x]; i++)
	{
		const EmulatedCopy *copy = &emulated_copies[threadIdx.x][i];

		if (copy->there)
			memcpy(copy->to, copy->from, 16);
		else
			memset(copy->to, 0, 16);
	}
	emulated_copies_begun[threadIdx.x] = 0;
}

/* ---- functions to float's precision, or nearly ---- */

static inline float
power_of_two(float x)
{
	return exp2f(x);
}

static inline float
reciprocal(float x)
{
	return 1 / x;
}

#endif /* BR_CUDA_INSTRUCTIONS_CUH */
