/*
 * bytes.c
 *	  Between floats and the narrow types, with AVX-512.
 *
 * A processor that multiplies bytes or bfloat16 fast has AVX-512 too; on any
 * other these functions are never called. A row of activations is narrowed by
 * its own extremes, zero included, to unsigned bytes: after a GELU almost all
 * of the range is on one side, which signed bytes would waste.
 */
#include <math.h>

#include "backend/onednn/onednn_int.h"

#ifdef __x86_64__

#include <immintrin.h>

#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,prefer-vector-width=512")

#define LANES 16
#define LARGEST_BYTE 255

static inline __mmask16
first_lanes(int n)
{
	return n >= LANES ? 0xFFFF : (__mmask16) ((1u << n) - 1);
}

static inline __m512
scaled(const float *input, const float *factor, int i, int dim)
{
	__mmask16 lanes = first_lanes(dim - i);

	return _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, input + i),
						 _mm512_maskz_loadu_ps(lanes, factor + i));
}

/* The bytes of one row; what lies behind its end counts as zero, which is always in range. */
static BrRowScale
quantize_row(const float *input, const float *factor, int dim, uint8_t *bytes)
{
	__m512 low = _mm512_setzero_ps();
	__m512 high = _mm512_setzero_ps();
	BrRowScale row;
	float lowest;
	float range;
	__m512 inverse;
	__m512i zero;

	for (int i = 0; i < dim; i += LANES)
	{
		__m512 x = scaled(input, factor, i, dim);

		low = _mm512_min_ps(low, x);
		high = _mm512_max_ps(high, x);
	}
	lowest = _mm512_reduce_min_ps(low);
	range = _mm512_reduce_max_ps(high) - lowest;
	row.scale = range > 0 ? range / LARGEST_BYTE : 1;
	row.zero = truncf(-lowest / row.scale + 0.5f);

	inverse = _mm512_set1_ps(1 / row.scale);
	zero = _mm512_set1_epi32((int) row.zero);
	for (int i = 0; i < dim; i += LANES)
	{
		__m512i q = _mm512_add_epi32(_mm512_cvtps_epi32(
										 _mm512_mul_ps(scaled(input, factor, i, dim), inverse)),
									 zero);

		_mm512_mask_cvtusepi32_storeu_epi8(bytes + i, first_lanes(dim - i),
										   _mm512_max_epi32(q, _mm512_setzero_si512()));
	}
	return row;
}

void
br_onednn_quantize(const float *input, const float *factor, int rows, int dim, uint8_t *bytes,
				   BrRowScale *scales)
{
	for (int row = 0; row < rows; row++)
		scales[row] = quantize_row(input + (size_t) row * (size_t) dim, factor, dim,
								   bytes + (size_t) row * (size_t) dim);
}

void
br_onednn_dequantize(const int32_t *sums, const BrRowScale *scales, const float *column_scale,
					 const float *column_sum, const float *bias, int rows, int dim, float *output)
{
	for (int row = 0; row < rows; row++, sums += dim, output += dim)
	{
		__m512 scale = _mm512_set1_ps(scales[row].scale);
		__m512 zero = _mm512_set1_ps(scales[row].zero);

		for (int i = 0; i < dim; i += LANES)
		{
			__mmask16 lanes = first_lanes(dim - i);
			__m512 sum = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(lanes, sums + i));
			__m512 shift = _mm512_maskz_loadu_ps(lanes, column_sum + i);
			__m512 both = _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(lanes, column_scale + i));
			__m512 offset =
				bias != NULL ? _mm512_maskz_loadu_ps(lanes, bias + i) : _mm512_setzero_ps();

			_mm512_mask_storeu_ps(output + i, lanes,
								  _mm512_fmadd_ps(both, _mm512_fnmadd_ps(zero, shift, sum),
												  offset));
		}
	}
}

void
br_onednn_to_bf16(const float *values, size_t n, uint16_t *narrow)
{
	const __m512i one = _mm512_set1_epi32(1);
	const __m512i half = _mm512_set1_epi32(0x7FFF);

	for (size_t i = 0; i < n; i += LANES)
	{
		__mmask16 lanes = first_lanes(n - i < LANES ? (int) (n - i) : LANES);
		__m512i bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(lanes, values + i));
		__m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);

		bits = _mm512_add_epi32(bits, _mm512_add_epi32(half, odd));
		_mm512_mask_cvtepi32_storeu_epi16(narrow + i, lanes, _mm512_srli_epi32(bits, 16));
	}
}

#else

void
br_onednn_quantize(const float *input, const float *factor, int rows, int dim, uint8_t *bytes,
				   BrRowScale *scales)
{
	(void) input, (void) factor, (void) rows, (void) dim, (void) bytes, (void) scales;
	__builtin_unreachable();
}

void
br_onednn_dequantize(const int32_t *sums, const BrRowScale *scales, const float *column_scale,
					 const float *column_sum, const float *bias, int rows, int dim, float *output)
{
	(void) sums, (void) scales, (void) column_scale, (void) column_sum, (void) bias, (void) rows;
	(void) dim, (void) output;
	__builtin_unreachable();
}

void
br_onednn_to_bf16(const float *values, size_t n, uint16_t *narrow)
{
	(void) values, (void) n, (void) narrow;
	__builtin_unreachable();
}

#endif /* __x86_64__ */
