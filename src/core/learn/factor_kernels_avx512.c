/*
 * factor_kernels_avx512.c
 *	  The kernels of factors for AVX-512: vectors of sixteen floats.
 */
#include "core/learn/factors_int.h"

#ifdef __x86_64__
#include <immintrin.h>

#define NAME "avx512"
#define TARGET __attribute__((target("avx512f,avx2,fma")))
#define LANES 16
#define TILE_VECTORS 4

typedef __m512 Vector;

#define SPLAT(x) _mm512_set1_ps(x)
#define MULTIPLY_ADD(a, b, c) _mm512_fmadd_ps(a, b, c)
#define SUM(v) _mm512_reduce_add_ps(v)
#define ABOVE(a, b) _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ)

#include "core/learn/factor_kernels_template.h"

const BrFactorKernels *
br_learn_factor_kernels_avx512(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma") ? &kernels : NULL;
}

#else

const BrFactorKernels *
br_learn_factor_kernels_avx512(void)
{
	return NULL;
}

#endif /* __x86_64__ */
