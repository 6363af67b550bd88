/*
 * kernels_avx2.c
 *	  The operations for x86-64 with AVX2 and FMA: vectors of eight floats.
 */
#include "backend/vector/br_vector.h"

#ifdef __x86_64__

#include <immintrin.h>

#pragma GCC target("avx2,fma")

#define SET "avx2"
#define SET_NUMBER 1
#define LANES 8
#define TILE_ROWS 4

typedef __m256 Vector;
typedef int32_t Integers __attribute__((vector_size(32)));

#define MULTIPLY_ADD(a, b, c) _mm256_fmadd_ps(a, b, c)
#define MAXIMUM(a, b) _mm256_max_ps(a, b)
#define MINIMUM(a, b) _mm256_min_ps(a, b)
#define LOAD_FIRST(p, n) _mm256_maskload_ps(p, first_lanes(n))
#define STORE_FIRST(p, n, v) _mm256_maskstore_ps(p, first_lanes(n), v)

static inline __m256i
first_lanes(size_t n)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int) n),
							  _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

#include "backend/vector/kernels_template.h"

const BrVectorSet *
br_vector_set_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &set : NULL;
}

#else

const BrVectorSet *
br_vector_set_avx2(void)
{
	return NULL;
}

#endif /* __x86_64__ */
