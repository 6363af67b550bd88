/*
 * kernel.cuh
 *	  What the kernels share: launching, sums over a warp, vectors of halves.
 *
 * The same sources are compiled by nvcc and, with headers of test/cuda/emulated
 * in place of CUDA's, by a plain C++ compiler. So they keep to a small part of
 * CUDA, and launch and declare dynamic shared memory through macros.
 */
#ifndef BR_CUDA_KERNEL_CUH
#define BR_CUDA_KERNEL_CUH

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "backend/cuda/cuda_int.h"
#include "backend/cuda/instructions.cuh"

#ifdef __CUDACC__
/* clang-format off */
#define BR_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
	kernel<<<grid, block, shared_bytes, (cudaStream_t) (stream)>>>(__VA_ARGS__)
/* clang-format on */
#define BR_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#endif

#define BR_WARP 32
#define BR_FULL_WARP 0xffffffffu

static __device__ inline float
warp_sum(float value)
{
	for (int step = BR_WARP / 2; step > 0; step /= 2)
		value += __shfl_xor_sync(BR_FULL_WARP, value, step);
	return value;
}

static __device__ inline float
warp_max(float value)
{
	for (int step = BR_WARP / 2; step > 0; step /= 2)
		value = fmaxf(value, __shfl_xor_sync(BR_FULL_WARP, value, step));
	return value;
}

/* BR_HALF_STEP halves at a multiple of 16 bytes: one access. */
static __device__ inline void
read_halves(const __half *from, float *to /* (8) */)
{
	uint4 raw = *(const uint4 *) from;
	const __half2 *pairs = (const __half2 *) &raw;

#pragma unroll
	for (int i = 0; i < BR_HALF_STEP / 2; i++)
	{
		float2 pair = __half22float2(pairs[i]);

		to[2 * i] = pair.x;
		to[2 * i + 1] = pair.y;
	}
}

static __device__ inline void
write_halves(const float *from /* (8) */, __half *to)
{
	uint4 raw;
	__half2 *pairs = (__half2 *) &raw;

#pragma unroll
	for (int i = 0; i < BR_HALF_STEP / 2; i++)
		pairs[i] = __floats2half2_rn(from[2 * i], from[2 * i + 1]);
	*(uint4 *) to = raw;
}

#define LOG2_E 1.4426950408889634f
#define SQRT_HALF 0.70710678118654752f
#define SQRT_2_OVER_PI 0.79788456080286536f
#define GELU_TANH_CUBIC 0.044715f

/*
 * x times the normal distribution's share below x. That of the tail beyond |x| is
 * a polynomial of t = 1 / (1 + p |x| / sqrt 2) times exp(-x^2 / 2), within 1e-7
 * (Abramowitz and Stegun, "Handbook of mathematical functions", 1964, 7.1.26; the
 * coefficients are halved), which takes half the time of erff.
 */
static __device__ inline float
gelu(float x)
{
	float t = reciprocal(1 + 0.3275911f * SQRT_HALF * fabsf(x));
	float tail = 0.5307027145f;

	tail = tail * t - 0.7265760135f;
	tail = tail * t + 0.7107068705f;
	tail = tail * t - 0.142248368f;
	tail = tail * t + 0.127414796f;
	tail *= t * power_of_two(-0.5f * LOG2_E * x * x);
	return x * (x > 0 ? 1 - tail : tail);
}

/* The switch is over what all threads agree on. */
static __device__ inline float
activate(float x, BrActivation activation)
{
	switch (activation)
	{
		case BR_ACTIVATION_NONE:
			break;
		case BR_ACTIVATION_GELU_ERF:
			return gelu(x);
		case BR_ACTIVATION_GELU_TANH:
			return 0.5f * x * (1 + tanhf(SQRT_2_OVER_PI * (x + GELU_TANH_CUBIC * x * x * x)));
		case BR_ACTIVATION_TANH:
			return tanhf(x);
		case BR_ACTIVATION_RELU:
			return x > 0 ? x : 0;
	}
	return x;
}

static inline unsigned
blocks_for(size_t n, size_t of)
{
	return (unsigned) ((n + of - 1) / of);
}

#endif /* BR_CUDA_KERNEL_CUH */
