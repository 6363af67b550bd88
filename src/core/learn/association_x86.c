/*
 * association_x86.c
 *	  The loops of a softmax over columns, for AVX2 and AVX-512.
 */
#include "core/learn/association_int.h"

#ifdef __x86_64__
#include <immintrin.h>
#include <math.h>

#define LANES BR_ASSOCIATION_LANES
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx2,fma")))

/* where half a block begins */
static inline size_t
half_at(const BrBlocks *blocks, int half)
{
	return (size_t) blocks->ids[half / 2] * LANES + (size_t) (half % 2) * (LANES / 2);
}

AVX2 static float
combine_avx2(const BrBlocks *blocks, const float *bias, float scale, float *scores)
{
	__m256 factor = _mm256_set1_ps(scale);
	__m256 most = _mm256_set1_ps(-INFINITY);
	float lanes[8];
	float greatest = -INFINITY;

	for (int half = 0; half < 2 * blocks->n; half++)
	{
		size_t i = half_at(blocks, half);
		__m256 sum =
			_mm256_fmadd_ps(factor, _mm256_loadu_ps(scores + i), _mm256_loadu_ps(bias + i));

		_mm256_storeu_ps(scores + i, sum);
		most = _mm256_max_ps(most, sum);
	}
	_mm256_storeu_ps(lanes, most);
	for (int lane = 0; lane < 8; lane++)
		greatest = lanes[lane] > greatest ? lanes[lane] : greatest;
	return greatest;
}

AVX2 static inline __m256
exponential_avx2(__m256 x)
{
	__m256 seen = _mm256_cmp_ps(x, _mm256_set1_ps(-60), _CMP_GE_OQ);
	__m256 k;
	__m256 r;
	__m256 sum = _mm256_set1_ps(BR_ASSOCIATION_EXP_7);
	__m256i power;

	/* what is far below would not fit the exponent */
	x = _mm256_and_ps(x, seen);
	k = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(BR_ASSOCIATION_LOG2_E)),
						_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	r = _mm256_fnmadd_ps(k, _mm256_set1_ps(BR_ASSOCIATION_LN2_HIGH), x);
	r = _mm256_fnmadd_ps(k, _mm256_set1_ps(BR_ASSOCIATION_LN2_LOW), r);
	sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(BR_ASSOCIATION_EXP_6));
	sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(BR_ASSOCIATION_EXP_5));
	sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(BR_ASSOCIATION_EXP_4));
	sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(BR_ASSOCIATION_EXP_3));
	sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(BR_ASSOCIATION_EXP_2));
	sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1));
	sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(1));
	power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127)), 23);
	return _mm256_and_ps(_mm256_mul_ps(sum, _mm256_castsi256_ps(power)), seen);
}

AVX2 static double
exponentials_avx2(const BrBlocks *blocks, float *scores, float greatest)
{
	__m256 most = _mm256_set1_ps(greatest);
	__m256 sums = _mm256_setzero_ps();
	float lanes[8];
	double sum = 0;

	for (int half = 0; half < 2 * blocks->n; half++)
	{
		size_t i = half_at(blocks, half);
		__m256 value = exponential_avx2(_mm256_sub_ps(_mm256_loadu_ps(scores + i), most));

		_mm256_storeu_ps(scores + i, value);
		sums = _mm256_add_ps(sums, value);
	}
	_mm256_storeu_ps(lanes, sums);
	for (int lane = 0; lane < 8; lane++)
		sum += (double) lanes[lane];
	return sum;
}

AVX2 static void
add_avx2(const BrBlocks *blocks, float factor, const float *values, float *sums)
{
	__m256 by = _mm256_set1_ps(factor);

	for (int half = 0; half < 2 * blocks->n; half++)
	{
		size_t i = half_at(blocks, half);

		_mm256_storeu_ps(sums + i,
						 _mm256_fmadd_ps(by, _mm256_loadu_ps(values + i),
										 _mm256_loadu_ps(sums + i)));
	}
}

AVX2 static void
gather_avx2(float factor, const int32_t *ids, const float *values, float *sums, size_t n)
{
	__m256 by = _mm256_set1_ps(factor);
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
	{
		__m256i places = _mm256_loadu_si256((const __m256i *) (ids + i));
		__m256 found = _mm256_i32gather_ps(values, places, 4);

		_mm256_storeu_ps(sums + i, _mm256_fmadd_ps(by, found, _mm256_loadu_ps(sums + i)));
	}
	for (; i < n; i++)
		sums[i] += factor * values[ids[i]];
}

AVX512 static float
combine_avx512(const BrBlocks *blocks, const float *bias, float scale, float *scores)
{
	__m512 factor = _mm512_set1_ps(scale);
	__m512 most = _mm512_set1_ps(-INFINITY);

	for (int block = 0; block < blocks->n; block++)
	{
		size_t i = (size_t) blocks->ids[block] * LANES;
		__m512 sum =
			_mm512_fmadd_ps(factor, _mm512_loadu_ps(scores + i), _mm512_loadu_ps(bias + i));

		_mm512_storeu_ps(scores + i, sum);
		most = _mm512_max_ps(most, sum);
	}
	return _mm512_reduce_max_ps(most);
}

AVX512 static inline __m512
exponential_avx512(__m512 x)
{
	__mmask16 seen = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-60), _CMP_GE_OQ);
	__m512 k = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(BR_ASSOCIATION_LOG2_E)),
									_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	__m512 r = _mm512_fnmadd_ps(k, _mm512_set1_ps(BR_ASSOCIATION_LN2_HIGH), x);
	__m512 sum = _mm512_set1_ps(BR_ASSOCIATION_EXP_7);

	r = _mm512_fnmadd_ps(k, _mm512_set1_ps(BR_ASSOCIATION_LN2_LOW), r);
	sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(BR_ASSOCIATION_EXP_6));
	sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(BR_ASSOCIATION_EXP_5));
	sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(BR_ASSOCIATION_EXP_4));
	sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(BR_ASSOCIATION_EXP_3));
	sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(BR_ASSOCIATION_EXP_2));
	sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1));
	sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1));
	return _mm512_maskz_scalef_ps(seen, sum, k);
}

AVX512 static double
exponentials_avx512(const BrBlocks *blocks, float *scores, float greatest)
{
	__m512 most = _mm512_set1_ps(greatest);
	__m512 sums = _mm512_setzero_ps();

	for (int block = 0; block < blocks->n; block++)
	{
		size_t i = (size_t) blocks->ids[block] * LANES;
		__m512 value = exponential_avx512(_mm512_sub_ps(_mm512_loadu_ps(scores + i), most));

		_mm512_storeu_ps(scores + i, value);
		sums = _mm512_add_ps(sums, value);
	}
	return (double) _mm512_reduce_add_ps(sums);
}

AVX512 static void
add_avx512(const BrBlocks *blocks, float factor, const float *values, float *sums)
{
	__m512 by = _mm512_set1_ps(factor);

	for (int block = 0; block < blocks->n; block++)
	{
		size_t i = (size_t) blocks->ids[block] * LANES;

		_mm512_storeu_ps(sums + i,
						 _mm512_fmadd_ps(by, _mm512_loadu_ps(values + i),
										 _mm512_loadu_ps(sums + i)));
	}
}

AVX512 static void
gather_avx512(float factor, const int32_t *ids, const float *values, float *sums, size_t n)
{
	__m512 by = _mm512_set1_ps(factor);
	size_t i = 0;

	for (; i + 16 <= n; i += 16)
	{
		__m512 found = _mm512_i32gather_ps(_mm512_loadu_si512(ids + i), values, 4);

		_mm512_storeu_ps(sums + i, _mm512_fmadd_ps(by, found, _mm512_loadu_ps(sums + i)));
	}
	for (; i < n; i++)
		sums[i] += factor * values[ids[i]];
}

const BrAssociationKernels *
br_learn_association_avx2(void)
{
	static const BrAssociationKernels kernels = {"avx2", combine_avx2, exponentials_avx2, add_avx2,
												 gather_avx2};

	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kernels : NULL;
}

const BrAssociationKernels *
br_learn_association_avx512(void)
{
	static const BrAssociationKernels kernels = {"avx512", combine_avx512, exponentials_avx512,
												 add_avx512, gather_avx512};

	return __builtin_cpu_supports("avx512f") ? &kernels : NULL;
}

#else

const BrAssociationKernels *
br_learn_association_avx2(void)
{
	return NULL;
}

const BrAssociationKernels *
br_learn_association_avx512(void)
{
	return NULL;
}

#endif /* __x86_64__ */
