/*
 * normal_x86.c
 *	  Normal draws of eight streams at once, for AVX2.
 *
 * A register holds four streams: Philox's 32-bit words in 64-bit places, where
 * the products of a round fit, and four doubles of the quantile's central
 * formula. The 15 % of uniforms outside its range are done again one by one.
 */
#include "core/math/math_int.h"

#ifdef __x86_64__
#include <immintrin.h>
#include <math.h>

#define AVX2 __attribute__((target("avx2")))
#define STREAMS 4

/* Block `counter` of four streams, a word in each 64-bit place. */
AVX2 static inline void
random_block(uint64_t key, __m256i streams, uint64_t counter, __m256i *words /* (4) */)
{
	const __m256i low = _mm256_set1_epi64x(0xFFFFFFFF);
	const __m256i multiplier0 = _mm256_set1_epi64x(BR_PHILOX_MULTIPLIER_0);
	const __m256i multiplier1 = _mm256_set1_epi64x(BR_PHILOX_MULTIPLIER_1);
	__m256i c0 = _mm256_set1_epi64x((int64_t) (counter & 0xFFFFFFFF));
	__m256i c1 = _mm256_set1_epi64x((int64_t) (counter >> 32));
	__m256i c2 = _mm256_and_si256(streams, low);
	__m256i c3 = _mm256_srli_epi64(streams, 32);
	uint32_t k0 = (uint32_t) key;
	uint32_t k1 = (uint32_t) (key >> 32);

	for (int round = 0; round < BR_PHILOX_ROUNDS; round++)
	{
		__m256i product0 = _mm256_mul_epu32(multiplier0, c0);
		__m256i product1 = _mm256_mul_epu32(multiplier1, c2);

		c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product1, 32), c1),
							  _mm256_set1_epi64x(k0));
		c1 = _mm256_and_si256(product1, low);
		c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product0, 32), c3),
							  _mm256_set1_epi64x(k1));
		c3 = _mm256_and_si256(product0, low);
		k0 += BR_PHILOX_WEYL_0;
		k1 += BR_PHILOX_WEYL_1;
	}
	words[0] = c0;
	words[1] = c1;
	words[2] = c2;
	words[3] = c3;
}

/*
 * As br_base_random_uniform. Of the 53 bits, the upper 21 are put into a double
 * that counts in 2^32 and the lower 32 into one that counts in 1; both sums
 * are exact.
 */
AVX2 static inline __m256d
uniform(__m256i low, __m256i high)
{
	const __m256i exponent_84 = _mm256_set1_epi64x(0x4530000000000000);
	const __m256i exponent_52 = _mm256_set1_epi64x(0x4330000000000000);
	__m256i bits =
		_mm256_or_si256(_mm256_srli_epi64(_mm256_or_si256(low, _mm256_slli_epi64(high, 32)), 11),
						_mm256_set1_epi64x(1));
	__m256d upper = _mm256_castsi256_pd(_mm256_or_si256(_mm256_srli_epi64(bits, 32), exponent_84));
	__m256d lower = _mm256_castsi256_pd(
		_mm256_or_si256(_mm256_and_si256(bits, _mm256_set1_epi64x(0xFFFFFFFF)), exponent_52));

	upper = _mm256_sub_pd(upper, _mm256_set1_pd(0x1p84 + 0x1p52));
	return _mm256_mul_pd(_mm256_add_pd(upper, lower), _mm256_set1_pd(0x1p-53));
}

AVX2 static inline void
store_quantiles(__m256d p, double *values /* (STREAMS) */)
{
	const BrRational *centre = &br_math_quantile_centre;
	__m256d from_centre = _mm256_sub_pd(p, _mm256_set1_pd(0.5));
	__m256d x = _mm256_sub_pd(_mm256_set1_pd(BR_MATH_QUANTILE_SQUARE),
							  _mm256_mul_pd(from_centre, from_centre));
	__m256d numerator = _mm256_set1_pd(centre->numerator[7]);
	__m256d denominator = _mm256_set1_pd(centre->denominator[7]);
	__m256d magnitude = _mm256_andnot_pd(_mm256_set1_pd(-0.0), from_centre);
	int outside = _mm256_movemask_pd(
		_mm256_cmp_pd(magnitude, _mm256_set1_pd(BR_MATH_QUANTILE_CENTRE), _CMP_GT_OQ));
	double uniforms[STREAMS];

	for (int i = 6; i >= 0; i--)
	{
		numerator =
			_mm256_add_pd(_mm256_mul_pd(numerator, x), _mm256_set1_pd(centre->numerator[i]));
		denominator =
			_mm256_add_pd(_mm256_mul_pd(denominator, x), _mm256_set1_pd(centre->denominator[i]));
	}
	_mm256_storeu_pd(values, _mm256_mul_pd(from_centre, _mm256_div_pd(numerator, denominator)));
	_mm256_storeu_pd(uniforms, p);
	for (; outside != 0; outside &= outside - 1)
	{
		int lane = __builtin_ctz((unsigned) outside);

		values[lane] = br_math_normal_quantile(uniforms[lane]);
	}
}

AVX2 static void
normal_lanes(uint64_t key, uint64_t first_stream, size_t n, double *values)
{
	for (int half = 0; half < BR_MATH_NORMAL_LANES; half += STREAMS)
	{
		int64_t stream = (int64_t) (first_stream + (uint64_t) half);
		__m256i streams =
			_mm256_add_epi64(_mm256_set1_epi64x(stream), _mm256_set_epi64x(3, 2, 1, 0));

		for (size_t i = 0; i < n; i += 2)
		{
			double *place = values + i * BR_MATH_NORMAL_LANES + half;
			__m256i words[4];

			random_block(key, streams, i / 2, words);
			store_quantiles(uniform(words[0], words[1]), place);
			if (i + 1 < n)
				store_quantiles(uniform(words[2], words[3]), place + BR_MATH_NORMAL_LANES);
		}
	}
}

BrNormalLanes
br_math_normal_lanes_avx2(void)
{
	return __builtin_cpu_supports("avx2") ? normal_lanes : NULL;
}

#else

BrNormalLanes
br_math_normal_lanes_avx2(void)
{
	return NULL;
}

#endif /* __x86_64__ */
