/*
 * scores_x86.c
 *	  The kernels of scores for AVX2 and AVX-512.
 *
 * Sums of a block of members under several draws stay in registers while the
 * features pass once. Products are rounded before they are added, as the
 * portable kernel does it.
 */
#include "core/bandit/bandit_int.h"

#ifdef __x86_64__
#include <immintrin.h>

#define LANES BR_BANDIT_LANES
#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx2")))

/* draws whose sums are in registers at once */
#define DRAWS_AVX2 4

AVX2 static void
solve_avx2(const double *factor, int dims, double *z)
{
	for (int i = dims - 1; i >= 0; i--)
	{
		const double *row = factor + BR_MATH_PACKED(i);
		double *place = z + (size_t) i * LANES;
		__m256d pivot = _mm256_set1_pd(row[i]);
		__m256d low = _mm256_div_pd(_mm256_loadu_pd(place), pivot);
		__m256d high = _mm256_div_pd(_mm256_loadu_pd(place + 4), pivot);

		_mm256_storeu_pd(place, low);
		_mm256_storeu_pd(place + 4, high);
		place = z;
		for (int j = 0; j < i; j++, place += LANES)
		{
			__m256d weight = _mm256_set1_pd(row[j]);

			_mm256_storeu_pd(place,
							 _mm256_sub_pd(_mm256_loadu_pd(place), _mm256_mul_pd(weight, low)));
			_mm256_storeu_pd(place + 4,
							 _mm256_sub_pd(_mm256_loadu_pd(place + 4),
										   _mm256_mul_pd(weight, high)));
		}
	}
}

AVX2 static void
score_block_avx2(const double *features, size_t padded, int dims, const double *theta,
				 double *scores)
{
	__m256d low[DRAWS_AVX2];
	__m256d high[DRAWS_AVX2];

	for (int draw = 0; draw < DRAWS_AVX2; draw++)
		low[draw] = high[draw] = _mm256_setzero_pd();
	for (int i = 0; i < dims; i++, features += LANES, theta += LANES)
	{
		__m256d x = _mm256_loadu_pd(features);
		__m256d y = _mm256_loadu_pd(features + 4);

#pragma GCC unroll 4
		for (int draw = 0; draw < DRAWS_AVX2; draw++)
		{
			__m256d t = _mm256_set1_pd(theta[draw]);

			low[draw] = _mm256_add_pd(low[draw], _mm256_mul_pd(t, x));
			high[draw] = _mm256_add_pd(high[draw], _mm256_mul_pd(t, y));
		}
	}
	for (int draw = 0; draw < DRAWS_AVX2; draw++, scores += padded)
	{
		_mm256_storeu_pd(scores, low[draw]);
		_mm256_storeu_pd(scores + 4, high[draw]);
	}
}

AVX2 static void
score_avx2(const double *features, size_t padded, int dims, const double *theta, double *scores)
{
	for (size_t first = 0; first < padded; first += LANES, features += (size_t) dims * LANES)
	{
		for (int draw = 0; draw < LANES; draw += DRAWS_AVX2)
			score_block_avx2(features, padded, dims, theta + draw,
							 scores + (size_t) draw * padded + first);
	}
}

AVX2 static int
favourite_avx2(const double *value, const double *penalty, size_t padded)
{
	__m256d low = _mm256_set1_pd(-INFINITY);
	__m256d high = low;
	__m256d best;

	for (size_t first = 0; first < padded; first += LANES)
	{
		low = _mm256_max_pd(low,
							_mm256_sub_pd(_mm256_loadu_pd(value + first),
										  _mm256_loadu_pd(penalty + first)));
		high = _mm256_max_pd(high,
							 _mm256_sub_pd(_mm256_loadu_pd(value + first + 4),
										   _mm256_loadu_pd(penalty + first + 4)));
	}
	best = _mm256_max_pd(low, high);
	best = _mm256_max_pd(best, _mm256_permute2f128_pd(best, best, 1));
	best = _mm256_max_pd(best, _mm256_shuffle_pd(best, best, 5));
	for (size_t first = 0;; first += 4)
	{
		__m256d net =
			_mm256_sub_pd(_mm256_loadu_pd(value + first), _mm256_loadu_pd(penalty + first));
		int equal = _mm256_movemask_pd(_mm256_cmp_pd(net, best, _CMP_EQ_OQ));

		if (equal != 0)
			return (int) first + __builtin_ctz((unsigned) equal);
	}
}

AVX512 static void
solve_avx512(const double *factor, int dims, double *z)
{
	for (int i = dims - 1; i >= 0; i--)
	{
		const double *row = factor + BR_MATH_PACKED(i);
		double *place = z + (size_t) i * LANES;
		__m512d solved = _mm512_div_pd(_mm512_loadu_pd(place), _mm512_set1_pd(row[i]));

		_mm512_storeu_pd(place, solved);
		place = z;
		for (int j = 0; j < i; j++, place += LANES)
			_mm512_storeu_pd(place,
							 _mm512_sub_pd(_mm512_loadu_pd(place),
										   _mm512_mul_pd(_mm512_set1_pd(row[j]), solved)));
	}
}

AVX512 static void
score_avx512(const double *features, size_t padded, int dims, const double *theta, double *scores)
{
	for (size_t first = 0; first < padded; first += LANES)
	{
		const double *weight = theta;
		__m512d sum[LANES];

		for (int draw = 0; draw < LANES; draw++)
			sum[draw] = _mm512_setzero_pd();
		for (int i = 0; i < dims; i++, features += LANES, weight += LANES)
		{
			__m512d x = _mm512_loadu_pd(features);

#pragma GCC unroll 8
			for (int draw = 0; draw < LANES; draw++)
				sum[draw] =
					_mm512_add_pd(sum[draw], _mm512_mul_pd(_mm512_set1_pd(weight[draw]), x));
		}
		for (int draw = 0; draw < LANES; draw++)
			_mm512_storeu_pd(scores + (size_t) draw * padded + first, sum[draw]);
	}
}

AVX512 static int
favourite_avx512(const double *value, const double *penalty, size_t padded)
{
	__m512d most = _mm512_set1_pd(-INFINITY);
	__m512d best;

	for (size_t first = 0; first < padded; first += LANES)
		most = _mm512_max_pd(most,
							 _mm512_sub_pd(_mm512_loadu_pd(value + first),
										   _mm512_loadu_pd(penalty + first)));
	best = _mm512_set1_pd(_mm512_reduce_max_pd(most));
	for (size_t first = 0;; first += LANES)
	{
		__m512d net =
			_mm512_sub_pd(_mm512_loadu_pd(value + first), _mm512_loadu_pd(penalty + first));
		__mmask8 equal = _mm512_cmp_pd_mask(net, best, _CMP_EQ_OQ);

		if (equal != 0)
			return (int) first + __builtin_ctz((unsigned) equal);
	}
}

const BrScoreKernels *
br_bandit_kernels_avx2(void)
{
	static const BrScoreKernels kernels = {"avx2", solve_avx2, score_avx2, favourite_avx2};

	return __builtin_cpu_supports("avx2") ? &kernels : NULL;
}

const BrScoreKernels *
br_bandit_kernels_avx512(void)
{
	static const BrScoreKernels kernels = {"avx512", solve_avx512, score_avx512, favourite_avx512};

	return __builtin_cpu_supports("avx512f") ? &kernels : NULL;
}

#else

const BrScoreKernels *
br_bandit_kernels_avx2(void)
{
	return NULL;
}

const BrScoreKernels *
br_bandit_kernels_avx512(void)
{
	return NULL;
}

#endif /* __x86_64__ */
