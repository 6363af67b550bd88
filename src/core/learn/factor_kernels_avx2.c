/*
 * factor_kernels_avx2.c
 *	  The kernels of factors for AVX2 with FMA: vectors of eight floats.
 */
#include "core/learn/factors_int.h"

#ifdef __x86_64__
#include <immintrin.h>

#define NAME "avx2"
#define TARGET __attribute__((target("avx2,fma")))
#define LANES 8
#define TILE_VECTORS 2

typedef __m256 Vector;

#define SPLAT(x) _mm256_set1_ps(x)
#define MULTIPLY_ADD(a, b, c) _mm256_fmadd_ps(a, b, c)
#define SUM(v) sum_lanes(v)
#define ABOVE(a, b) _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ))

TARGET static inline float
sum_lanes(Vector v)
{
	__m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	__m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#include "core/learn/factor_kernels_template.h"

const BrFactorKernels *
br_learn_factor_kernels_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kernels : NULL;
}

#else

const BrFactorKernels *
br_learn_factor_kernels_avx2(void)
{
	return NULL;
}

#endif /* __x86_64__ */
