/*
 * cuda_fp16.h
 *	  Halves, by core's conversions.
 */
#ifndef BR_EMULATED_CUDA_FP16_H
#define BR_EMULATED_CUDA_FP16_H

#include "cuda_runtime.h"

extern "C" {
#include "core/math/br_math.h"
}

struct __half
{
	uint16_t bits;
};

struct __attribute__((aligned(4))) __half2
{
	__half x;
	__half y;
};

static inline float
__half2float(__half half)
{
	return br_math_half_to_float(half.bits);
}

static inline __half
__float2half(float value)
{
	return {br_math_half_from_float(value)};
}

static inline float2
__half22float2(__half2 pair)
{
	return {__half2float(pair.x), __half2float(pair.y)};
}

static inline __half2
__floats2half2_rn(float x, float y)
{
	return {__float2half(x), __float2half(y)};
}

#endif /* BR_EMULATED_CUDA_FP16_H */
