/*
 * bytes.c
 *	  Between floats and the narrow types, with AVX-512.
 *
 * A processor that multiplies bytes or bfloat16 fast has AVX-512 too; on any
 * other these functions are never called. A row of activations is narrowed by
 * its own extremes, zero included, to unsigned bytes: after a GELU almost all
 * of the range is on one side, which signed bytes would waste.
 */
#include <float.h>
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

/* Elements i to i + LANES - 1; with a mask only where some are missing, for it costs time. */
static inline __m512
load(const float *values, int i, int dim)
{
	return dim - i >= LANES ? _mm512_loadu_ps(values + i)
							: _mm512_maskz_loadu_ps(first_lanes(dim - i), values + i);
}

static inline __m512
scaled(const float *input, const float *factor, int i, int dim)
{
	return _mm512_mul_ps(load(input, i, dim), load(factor, i, dim));
}

static inline void
store_bytes(uint8_t *bytes, int i, int dim, __m512i values)
{
	__m512i positive = _mm512_max_epi32(values, _mm512_setzero_si512());

	if (dim - i >= LANES)
		_mm_storeu_si128((__m128i *) (bytes + i), _mm512_cvtusepi32_epi8(positive));
	else
		_mm512_mask_cvtusepi32_storeu_epi8(bytes + i, first_lanes(dim - i), positive);
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
	row.scale = range / LARGEST_BYTE;
	/* a step whose inverse is not finite: all of the row rounds to nothing */
	if (row.scale < FLT_MIN)
		row.scale = 1;
	row.zero = truncf(-lowest / row.scale + 0.5f);

	inverse = _mm512_set1_ps(1 / row.scale);
	zero = _mm512_set1_epi32((int) row.zero);
	for (int i = 0; i < dim; i += LANES)
	{
		__m512 steps = _mm512_mul_ps(scaled(input, factor, i, dim), inverse);

		store_bytes(bytes, i, dim, _mm512_add_epi32(_mm512_cvtps_epi32(steps), zero));
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

/* A vector of outputs: both scales times the sum without the row's zero, and the bias. */
static inline __m512
dequantized(__m512i sums, BrRowScale row, __m512 column_scale, __m512 column_sum, __m512 bias)
{
	__m512 both = _mm512_mul_ps(_mm512_set1_ps(row.scale), column_scale);
	__m512 sum = _mm512_fnmadd_ps(_mm512_set1_ps(row.zero), column_sum, _mm512_cvtepi32_ps(sums));

	return _mm512_fmadd_ps(both, sum, bias);
}

void
br_onednn_dequantize(const int32_t *sums, BrRowScale row, const float *column_scale,
					 const float *column_sum, const float *bias, int dim, float *output)
{
	for (int i = 0; i < dim; i += LANES)
	{
		__m512 offset = bias != NULL ? load(bias, i, dim) : _mm512_setzero_ps();
		__m512 scale = load(column_scale, i, dim);
		__m512 sum = load(column_sum, i, dim);
		__mmask16 lanes = first_lanes(dim - i);

		if (dim - i >= LANES)
			_mm512_storeu_ps(output + i,
							 dequantized(_mm512_loadu_si512(sums + i), row, scale, sum, offset));
		else
			_mm512_mask_storeu_ps(output + i, lanes,
								  dequantized(_mm512_maskz_loadu_epi32(lanes, sums + i), row, scale,
											  sum, offset));
	}
}

static inline __m256i
narrowed(__m512 values)
{
	__m512i bits = _mm512_castps_si512(values);
	__m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));

	bits = _mm512_add_epi32(bits, _mm512_add_epi32(_mm512_set1_epi32(0x7FFF), odd));
	return _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16));
}

void
br_onednn_to_bf16(const float *values, size_t n, uint16_t *narrow)
{
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		_mm256_storeu_si256((__m256i *) (narrow + i), narrowed(_mm512_loadu_ps(values + i)));
	if (i < n)
	{
		__mmask16 lanes = first_lanes((int) (n - i));

		_mm256_mask_storeu_epi16(narrow + i, lanes,
								 narrowed(_mm512_maskz_loadu_ps(lanes, values + i)));
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
br_onednn_dequantize(const int32_t *sums, BrRowScale row, const float *column_scale,
					 const float *column_sum, const float *bias, int dim, float *output)
{
	(void) sums, (void) row, (void) column_scale, (void) column_sum, (void) bias, (void) dim;
	(void) output;
	__builtin_unreachable();
}

void
br_onednn_to_bf16(const float *values, size_t n, uint16_t *narrow)
{
	(void) values, (void) n, (void) narrow;
	__builtin_unreachable();
}

#endif /* __x86_64__ */
