/*
 * half_x86.c
 *	  The half-vector kernels for AVX2 with F16C and for AVX-512.
 *
 * Lanes are held in vector registers; a tail shorter than all lanes is copied
 * into zeroed blocks, and adding +0 to a lane, which never is -0, changes
 * nothing. Products and sums stay separate operations: a fused one would round
 * the squared distance differently from the portable kernel.
 */
#include <string.h>

#include "core/math/br_math.h"
#include "core/math/math_int.h"

#ifdef __x86_64__
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,f16c")))
#define AVX512 __attribute__((target("avx512f,avx512dq,f16c")))

/* clang 14 cannot ask for it; every processor with AVX2 has it */
#ifdef __clang__
#define HAS_F16C true
#else
#define HAS_F16C __builtin_cpu_supports("f16c")
#endif

/* Lanes of eight floats to two times four doubles. */
#define LOW_HALF_256(x) _mm256_cvtps_pd(_mm256_castps256_ps128(x))
#define HIGH_HALF_256(x) _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))

AVX2 static inline __m256
load_eight(const uint16_t *halves)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) halves));
}

AVX2 static double
sum_lanes_avx2(const __m256d *lanes /* (8) */)
{
	__m256d sum0 = _mm256_add_pd(lanes[0], lanes[4]);
	__m256d sum1 = _mm256_add_pd(lanes[1], lanes[5]);
	__m256d sum2 = _mm256_add_pd(lanes[2], lanes[6]);
	__m256d sum3 = _mm256_add_pd(lanes[3], lanes[7]);
	__m256d four = _mm256_add_pd(_mm256_add_pd(sum0, sum2), _mm256_add_pd(sum1, sum3));
	__m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));

	return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

AVX2 static inline void
dot_block_avx2(__m256d *lanes /* (8) */, const uint16_t *left, const uint16_t *right)
{
	for (int i = 0; i < 4; i++)
	{
		__m256 product = _mm256_mul_ps(load_eight(left + 8 * i), load_eight(right + 8 * i));

		lanes[2 * i] = _mm256_add_pd(lanes[2 * i], LOW_HALF_256(product));
		lanes[2 * i + 1] = _mm256_add_pd(lanes[2 * i + 1], HIGH_HALF_256(product));
	}
}

AVX2 static inline void
distance_block_avx2(__m256d *lanes /* (8) */, const uint16_t *left, const uint16_t *right)
{
	for (int i = 0; i < 4; i++)
	{
		__m256 l = load_eight(left + 8 * i);
		__m256 r = load_eight(right + 8 * i);
		__m256d low = _mm256_sub_pd(LOW_HALF_256(l), LOW_HALF_256(r));
		__m256d high = _mm256_sub_pd(HIGH_HALF_256(l), HIGH_HALF_256(r));

		lanes[2 * i] = _mm256_add_pd(lanes[2 * i], _mm256_mul_pd(low, low));
		lanes[2 * i + 1] = _mm256_add_pd(lanes[2 * i + 1], _mm256_mul_pd(high, high));
	}
}

AVX2 static double
dot_avx2(const uint16_t *left, const uint16_t *right, size_t n)
{
	__m256d lanes[8];
	size_t i = 0;

	for (int lane = 0; lane < 8; lane++)
		lanes[lane] = _mm256_setzero_pd();
	for (; i + BR_MATH_LANES <= n; i += BR_MATH_LANES)
		dot_block_avx2(lanes, left + i, right + i);
	if (i < n)
	{
		uint16_t left_tail[BR_MATH_LANES] = {0};
		uint16_t right_tail[BR_MATH_LANES] = {0};

		memcpy(left_tail, left + i, (n - i) * sizeof(uint16_t));
		memcpy(right_tail, right + i, (n - i) * sizeof(uint16_t));
		dot_block_avx2(lanes, left_tail, right_tail);
	}
	return sum_lanes_avx2(lanes);
}

AVX2 static double
squared_distance_avx2(const uint16_t *left, const uint16_t *right, size_t n)
{
	__m256d lanes[8];
	size_t i = 0;

	for (int lane = 0; lane < 8; lane++)
		lanes[lane] = _mm256_setzero_pd();
	for (; i + BR_MATH_LANES <= n; i += BR_MATH_LANES)
		distance_block_avx2(lanes, left + i, right + i);
	if (i < n)
	{
		uint16_t left_tail[BR_MATH_LANES] = {0};
		uint16_t right_tail[BR_MATH_LANES] = {0};

		memcpy(left_tail, left + i, (n - i) * sizeof(uint16_t));
		memcpy(right_tail, right + i, (n - i) * sizeof(uint16_t));
		distance_block_avx2(lanes, left_tail, right_tail);
	}
	return sum_lanes_avx2(lanes);
}

AVX2 static void
from_floats_avx2(const float *values, size_t n, uint16_t *halves)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm_storeu_si128((__m128i *) (halves + i),
						 _mm256_cvtps_ph(_mm256_loadu_ps(values + i),
										 _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
	for (; i < n; i++)
		halves[i] = br_math_half_from_float(values[i]);
}

AVX2 static void
to_floats_avx2(const uint16_t *halves, size_t n, float *values)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm256_storeu_ps(values + i, load_eight(halves + i));
	for (; i < n; i++)
		values[i] = br_math_half_to_float(halves[i]);
}

/* Lanes of sixteen floats to two times eight doubles. */
#define LOW_HALF_512(x) _mm512_cvtps_pd(_mm512_castps512_ps256(x))
#define HIGH_HALF_512(x) _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1))

AVX512 static inline __m512
load_sixteen(const uint16_t *halves)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) halves));
}

AVX512 static double
sum_lanes_avx512(const __m512d *lanes /* (4) */)
{
	__m512d eight =
		_mm512_add_pd(_mm512_add_pd(lanes[0], lanes[2]), _mm512_add_pd(lanes[1], lanes[3]));
	__m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
	__m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));

	return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

AVX512 static inline void
dot_block_avx512(__m512d *lanes /* (4) */, const uint16_t *left, const uint16_t *right)
{
	for (int i = 0; i < 2; i++)
	{
		__m512 product = _mm512_mul_ps(load_sixteen(left + 16 * i), load_sixteen(right + 16 * i));

		lanes[2 * i] = _mm512_add_pd(lanes[2 * i], LOW_HALF_512(product));
		lanes[2 * i + 1] = _mm512_add_pd(lanes[2 * i + 1], HIGH_HALF_512(product));
	}
}

AVX512 static inline void
distance_block_avx512(__m512d *lanes /* (4) */, const uint16_t *left, const uint16_t *right)
{
	for (int i = 0; i < 2; i++)
	{
		__m512 l = load_sixteen(left + 16 * i);
		__m512 r = load_sixteen(right + 16 * i);
		__m512d low = _mm512_sub_pd(LOW_HALF_512(l), LOW_HALF_512(r));
		__m512d high = _mm512_sub_pd(HIGH_HALF_512(l), HIGH_HALF_512(r));

		lanes[2 * i] = _mm512_add_pd(lanes[2 * i], _mm512_mul_pd(low, low));
		lanes[2 * i + 1] = _mm512_add_pd(lanes[2 * i + 1], _mm512_mul_pd(high, high));
	}
}

AVX512 static double
dot_avx512(const uint16_t *left, const uint16_t *right, size_t n)
{
	__m512d lanes[4];
	size_t i = 0;

	for (int lane = 0; lane < 4; lane++)
		lanes[lane] = _mm512_setzero_pd();
	for (; i + BR_MATH_LANES <= n; i += BR_MATH_LANES)
		dot_block_avx512(lanes, left + i, right + i);
	if (i < n)
	{
		uint16_t left_tail[BR_MATH_LANES] = {0};
		uint16_t right_tail[BR_MATH_LANES] = {0};

		memcpy(left_tail, left + i, (n - i) * sizeof(uint16_t));
		memcpy(right_tail, right + i, (n - i) * sizeof(uint16_t));
		dot_block_avx512(lanes, left_tail, right_tail);
	}
	return sum_lanes_avx512(lanes);
}

AVX512 static double
squared_distance_avx512(const uint16_t *left, const uint16_t *right, size_t n)
{
	__m512d lanes[4];
	size_t i = 0;

	for (int lane = 0; lane < 4; lane++)
		lanes[lane] = _mm512_setzero_pd();
	for (; i + BR_MATH_LANES <= n; i += BR_MATH_LANES)
		distance_block_avx512(lanes, left + i, right + i);
	if (i < n)
	{
		uint16_t left_tail[BR_MATH_LANES] = {0};
		uint16_t right_tail[BR_MATH_LANES] = {0};

		memcpy(left_tail, left + i, (n - i) * sizeof(uint16_t));
		memcpy(right_tail, right + i, (n - i) * sizeof(uint16_t));
		distance_block_avx512(lanes, left_tail, right_tail);
	}
	return sum_lanes_avx512(lanes);
}

const BrHalfKernels *
br_math_half_kernels_avx2(void)
{
	static const BrHalfKernels kernels = {"avx2", from_floats_avx2, to_floats_avx2, dot_avx2,
										  squared_distance_avx2};

	return __builtin_cpu_supports("avx2") && HAS_F16C ? &kernels : NULL;
}

const BrHalfKernels *
br_math_half_kernels_avx512(void)
{
	static const BrHalfKernels kernels = {"avx512", from_floats_avx2, to_floats_avx2, dot_avx512,
										  squared_distance_avx512};

	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
			br_math_half_kernels_avx2() != NULL
		? &kernels
		: NULL;
}

#else

const BrHalfKernels *
br_math_half_kernels_avx2(void)
{
	return NULL;
}

const BrHalfKernels *
br_math_half_kernels_avx512(void)
{
	return NULL;
}

#endif /* __x86_64__ */
