/*
 * kernels_avx512.c
 *	  The operations for x86-64 with AVX-512: vectors of sixteen floats.
 */
#include "backend/vector/br_vector.h"

#ifdef __x86_64__

#include <immintrin.h>

#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,fma,prefer-vector-width=512")

#define SET "avx512"
#define SET_NUMBER 2
#define LANES 16
#define TILE_ROWS 8

typedef __m512 Vector;
typedef int32_t Integers __attribute__((vector_size(64)));

#define MULTIPLY_ADD(a, b, c) _mm512_fmadd_ps(a, b, c)
#define MAXIMUM(a, b) _mm512_max_ps(a, b)
#define MINIMUM(a, b) _mm512_min_ps(a, b)
#define LOAD_FIRST(p, n) _mm512_maskz_loadu_ps(first_lanes(n), p)
#define STORE_FIRST(p, n, v) _mm512_mask_storeu_ps(p, first_lanes(n), v)

static inline __mmask16
first_lanes(size_t n)
{
	return (__mmask16) ((1u << n) - 1);
}

#include "backend/vector/kernels_template.h"

const BrVectorSet *
br_vector_set_avx512(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
			__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
			__builtin_cpu_supports("fma")
		? &set
		: NULL;
}

#else

const BrVectorSet *
br_vector_set_avx512(void)
{
	return NULL;
}

#endif /* __x86_64__ */
