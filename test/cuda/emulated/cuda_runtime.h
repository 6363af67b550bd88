/*
 * cuda_runtime.h
 *	  The language of kernels in plain C++: their sources compile as they are.
 *
 * Each thread of a block is a fibre with a stack of its own. Blocks run one after
 * another, the fibres of a block in turns: each goes on until it must wait for
 * others, at a barrier or an operation of its warp. So a thread runs as far
 * ahead of the others as the synchronisation that the kernel has permits, and
 * in the order of their numbers in one block and in the reverse order in the
 * next: what a kernel forgets to wait for is not there.
 */
#ifndef BR_EMULATED_CUDA_RUNTIME_H
#define BR_EMULATED_CUDA_RUNTIME_H

#include <functional>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct dim3
{
	unsigned x;
	unsigned y;
	unsigned z;

	dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z)
	{
	}
};

struct __attribute__((aligned(8))) float2
{
	float x;
	float y;
};

struct __attribute__((aligned(16))) float4
{
	float x;
	float y;
	float z;
	float w;
};

struct __attribute__((aligned(16))) uint4
{
	unsigned x;
	unsigned y;
	unsigned z;
	unsigned w;
};

static inline float4
make_float4(float x, float y, float z, float w)
{
	return {x, y, z, w};
}

static inline uint4
make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
	return {x, y, z, w};
}

extern dim3 gridDim;
extern dim3 blockIdx;
extern dim3 threadIdx;

/* ---- what waits for other threads ---- */

#define EMULATED_WARP 32

/* Waits for all threads of the block that have not returned. */
extern void __syncthreads(void);

/*
 * Waits until all 32 lanes of the warp are here with the same work, which the
 * last one does for all of them. lanes: the argument of each.
 */
typedef void (*EmulatedWork)(void **lanes /* (32) */);
extern void emulated_together(EmulatedWork work, void *argument);

static inline void
emulated_nothing(void **lanes)
{
	(void) lanes;
}

static inline void
__syncwarp(void)
{
	emulated_together(emulated_nothing, NULL);
}

template <class T> struct EmulatedExchange
{
	T value;
	T answer;
	int with; /* lanes differ by these bits */
};

template <class T>
static void
emulated_exchange(void **lanes)
{
	for (int i = 0; i < EMULATED_WARP; i++)
	{
		EmulatedExchange<T> *own = (EmulatedExchange<T> *) lanes[i];

		own->answer = ((EmulatedExchange<T> *) lanes[i ^ own->with])->value;
	}
}

template <class T>
static inline T
__shfl_xor_sync(unsigned mask, T value, int with)
{
	EmulatedExchange<T> exchange = {value, value, with};

	(void) mask;
	emulated_together(emulated_exchange<T>, &exchange);
	return exchange.answer;
}

struct EmulatedVote
{
	bool vote;
	unsigned all;
};

static inline void
emulated_vote(void **lanes)
{
	unsigned all = 0;

	for (int i = 0; i < EMULATED_WARP; i++)
		all |= (unsigned) ((EmulatedVote *) lanes[i])->vote << i;
	for (int i = 0; i < EMULATED_WARP; i++)
		((EmulatedVote *) lanes[i])->all = all;
}

static inline unsigned
__ballot_sync(unsigned mask, int vote)
{
	EmulatedVote own = {vote != 0, 0};

	(void) mask;
	emulated_together(emulated_vote, &own);
	return own.all;
}

static inline int
__any_sync(unsigned mask, int vote)
{
	return __ballot_sync(mask, vote) != 0;
}

/* ---- what does not ---- */

static inline int
__popc(unsigned bits)
{
	return __builtin_popcount(bits);
}

static inline unsigned
__float_as_uint(float value)
{
	unsigned bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static inline float
__uint_as_float(unsigned bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static inline unsigned
atomicAdd(unsigned *place, unsigned more)
{
	unsigned before = *place;

	*place += more;
	return before;
}

/* ---- launching ---- */

extern void emulated_launch(dim3 grid, unsigned threads, size_t shared_bytes,
							const std::function<void()> &kernel);

/* At least as many bytes as the launch asked for, the same for all threads of a block. */
extern unsigned char *emulated_shared(void);

#define BR_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
	((void) (stream), emulated_launch(grid, block, shared_bytes, [=]() { kernel(__VA_ARGS__); }))
#define BR_DYNAMIC_SHARED(name) unsigned char *name = emulated_shared()

#endif /* BR_EMULATED_CUDA_RUNTIME_H */
