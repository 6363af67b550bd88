/*
 * scan_x86.c
 *	  The kernels of codes for AVX2 with F16C and for AVX-512.
 *
 * A table of 16 bytes is a register that a shuffle reads at 32 or 64 places at
 * once. Bytes of two tables are added as bytes, and pairs of rows as one word
 * of 16 bits: `all` collects even + 256 odd, `odd` the upper bytes alone, and
 * what the latter took part in the former is subtracted at the end, modulo
 * 2^16. Floats are multiplied and added as the portable kernel does it.
 */
#include "core/ann/ann_int.h"

#ifdef __x86_64__
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,f16c")))
#define AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx2,f16c")))

/* clang 14 cannot ask for it; every processor with AVX2 has it */
#ifdef __clang__
#define HAS_F16C true
#else
#define HAS_F16C __builtin_cpu_supports("f16c")
#endif

/* Adds halves until one is left. */
AVX2 static inline float
sum_eight(__m256 eight)
{
	__m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
	__m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

AVX2 static float
product_avx2(const float *query, const uint16_t *centroid, int n)
{
	__m256 lanes[4];

	for (int lane = 0; lane < 4; lane++)
		lanes[lane] = _mm256_setzero_ps();
	for (int i = 0; i < n; i += BR_ANN_LANES)
		for (int lane = 0; lane < 4; lane++)
		{
			int at = i + 8 * lane;
			__m256 c = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (centroid + at)));

			lanes[lane] = _mm256_add_ps(lanes[lane], _mm256_mul_ps(_mm256_loadu_ps(query + at), c));
		}
	return sum_eight(
		_mm256_add_ps(_mm256_add_ps(lanes[0], lanes[2]), _mm256_add_ps(lanes[1], lanes[3])));
}

/* The bytes that a pair adds to each row: those of its two groups. */
AVX2 static inline __m256i
look_up_avx2(const uint8_t *codes, const uint8_t *tables)
{
	const __m256i nibble = _mm256_set1_epi8(15);
	__m256i both = _mm256_loadu_si256((const __m256i *) codes);
	__m256i first = _mm256_and_si256(both, nibble);
	__m256i second = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);

	return _mm256_add_epi8(_mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *) tables), first),
						   _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *) (tables + 64)),
											   second));
}

/* Rows 0 .. 15 and 16 .. 31 from the two collections. */
AVX2 static inline void
separate_rows(__m256i all, __m256i odd, __m256i *front, __m256i *back)
{
	__m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
	__m256i low = _mm256_unpacklo_epi16(even, odd);
	__m256i high = _mm256_unpackhi_epi16(even, odd);

	*front = _mm256_permute2x128_si256(low, high, 0x20);
	*back = _mm256_permute2x128_si256(low, high, 0x31);
}

/* Bounds of eight rows, and which of them are wanted. */
AVX2 static inline uint32_t
bound_eight(const BrScan *scan, __m128i sums, int row, float *bounds)
{
	const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
	__m256 sum = _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(sums));
	__m256 dot =
		_mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(scan->step), sum), _mm256_set1_ps(scan->offset));
	__m256 add = _mm256_loadu_ps(scan->add + row);
	__m256 estimate = _mm256_sub_ps(_mm256_add_ps(_mm256_set1_ps(scan->base), add),
									_mm256_mul_ps(_mm256_loadu_ps(scan->scale + row), dot));
	__m256 slack = _mm256_mul_ps(_mm256_set1_ps(BR_ANN_ROUNDING), _mm256_and_ps(add, magnitude));
	__m256 bound = _mm256_sub_ps(estimate, slack);
	__m256 below = _mm256_cmp_ps(bound, _mm256_set1_ps(scan->below), _CMP_LT_OQ);
	__m256 from = _mm256_cmp_ps(bound, _mm256_set1_ps(scan->from), _CMP_NLT_UQ);

	_mm256_storeu_ps(bounds + row, bound);
	return (uint32_t) _mm256_movemask_ps(_mm256_and_ps(below, from)) << row;
}

AVX2 static uint32_t
scan_avx2(const BrScan *scan, float *bounds)
{
	__m256i all = _mm256_setzero_si256();
	__m256i odd = _mm256_setzero_si256();
	__m256i front;
	__m256i back;

	for (int pair = 0; pair < scan->pairs; pair += 2)
	{
		const uint8_t *codes = scan->codes + pair * BR_ANN_BLOCK_ROWS;
		const uint8_t *tables = scan->tables + pair * 64;
		__m256i one = look_up_avx2(codes, tables);
		__m256i other = look_up_avx2(codes + BR_ANN_BLOCK_ROWS, tables + 32);

		all = _mm256_add_epi16(all, _mm256_add_epi16(one, other));
		odd = _mm256_add_epi16(odd,
							   _mm256_add_epi16(_mm256_srli_epi16(one, 8),
												_mm256_srli_epi16(other, 8)));
	}
	separate_rows(all, odd, &front, &back);
	return bound_eight(scan, _mm256_castsi256_si128(front), 0, bounds) |
		bound_eight(scan, _mm256_extracti128_si256(front, 1), 8, bounds) |
		bound_eight(scan, _mm256_castsi256_si128(back), 16, bounds) |
		bound_eight(scan, _mm256_extracti128_si256(back, 1), 24, bounds);
}

AVX512 static float
product_avx512(const float *query, const uint16_t *centroid, int n)
{
	__m512 first = _mm512_setzero_ps();
	__m512 second = _mm512_setzero_ps();
	__m512 lanes;

	for (int i = 0; i < n; i += BR_ANN_LANES)
	{
		__m512 c = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) (centroid + i)));
		__m512 d = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) (centroid + i + 16)));

		first = _mm512_add_ps(first, _mm512_mul_ps(_mm512_loadu_ps(query + i), c));
		second = _mm512_add_ps(second, _mm512_mul_ps(_mm512_loadu_ps(query + i + 16), d));
	}
	lanes = _mm512_add_ps(first, second);
	return sum_eight(
		_mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1)));
}

/* The bytes that two pairs add to each row, one pair in either half. */
AVX512 static inline __m512i
look_up_avx512(const uint8_t *codes, const uint8_t *tables)
{
	const __m512i nibble = _mm512_set1_epi8(15);
	__m512i both = _mm512_loadu_si512(codes);
	__m512i first = _mm512_and_si512(both, nibble);
	__m512i second = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);

	return _mm512_add_epi8(_mm512_shuffle_epi8(_mm512_loadu_si512(tables), first),
						   _mm512_shuffle_epi8(_mm512_loadu_si512(tables + 64), second));
}

AVX512 static inline uint32_t
bound_sixteen(const BrScan *scan, __m256i sums, int row, float *bounds)
{
	__m512 sum = _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sums));
	__m512 dot =
		_mm512_add_ps(_mm512_mul_ps(_mm512_set1_ps(scan->step), sum), _mm512_set1_ps(scan->offset));
	__m512 add = _mm512_loadu_ps(scan->add + row);
	__m512 estimate = _mm512_sub_ps(_mm512_add_ps(_mm512_set1_ps(scan->base), add),
									_mm512_mul_ps(_mm512_loadu_ps(scan->scale + row), dot));
	__m512 slack = _mm512_mul_ps(_mm512_set1_ps(BR_ANN_ROUNDING), _mm512_abs_ps(add));
	__m512 bound = _mm512_sub_ps(estimate, slack);
	__mmask16 below = _mm512_cmp_ps_mask(bound, _mm512_set1_ps(scan->below), _CMP_LT_OQ);

	_mm512_storeu_ps(bounds + row, bound);
	return (uint32_t) _mm512_mask_cmp_ps_mask(below, bound, _mm512_set1_ps(scan->from), _CMP_NLT_UQ)
		<< row;
}

AVX512 static uint32_t
scan_avx512(const BrScan *scan, float *bounds)
{
	__m512i all = _mm512_setzero_si512();
	__m512i odd = _mm512_setzero_si512();
	__m256i front;
	__m256i back;

	for (int pair = 0; pair < scan->pairs; pair += 4)
	{
		const uint8_t *codes = scan->codes + pair * BR_ANN_BLOCK_ROWS;
		const uint8_t *tables = scan->tables + pair * 64;
		__m512i one = look_up_avx512(codes, tables);
		__m512i other = look_up_avx512(codes + 2 * BR_ANN_BLOCK_ROWS, tables + 128);

		all = _mm512_add_epi16(all, _mm512_add_epi16(one, other));
		odd = _mm512_add_epi16(odd,
							   _mm512_add_epi16(_mm512_srli_epi16(one, 8),
												_mm512_srli_epi16(other, 8)));
	}
	separate_rows(_mm256_add_epi16(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1)),
				  _mm256_add_epi16(_mm512_castsi512_si256(odd), _mm512_extracti64x4_epi64(odd, 1)),
				  &front, &back);
	return bound_sixteen(scan, front, 0, bounds) | bound_sixteen(scan, back, 16, bounds);
}

const BrCodeKernels *
br_ann_code_kernels_avx2(void)
{
	static const BrCodeKernels kernels = {"avx2", product_avx2, scan_avx2};

	return __builtin_cpu_supports("avx2") && HAS_F16C ? &kernels : NULL;
}

const BrCodeKernels *
br_ann_code_kernels_avx512(void)
{
	static const BrCodeKernels kernels = {"avx512", product_avx512, scan_avx512};

	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
			__builtin_cpu_supports("avx512bw") && br_ann_code_kernels_avx2() != NULL
		? &kernels
		: NULL;
}

#else

const BrCodeKernels *
br_ann_code_kernels_avx2(void)
{
	return NULL;
}

const BrCodeKernels *
br_ann_code_kernels_avx512(void)
{
	return NULL;
}

#endif /* __x86_64__ */
