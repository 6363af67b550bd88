/*
 * half.c
 *	  IEEE half precision: conversions, products and distances of vectors.
 *
 * The product of two halves has 22 bits and is exact in float; their
 * difference is exact in double. So the only roundings are those of the sums,
 * and fixing their order (math_int.h) fixes the result. This file holds the
 * portable kernels and the choice among the sets.
 */
#include <string.h>

#include "core/math/br_math.h"
#include "core/math/math_int.h"

#define FLOAT_INFINITY UINT32_C(0x7F800000)
#define HALF_INFINITY 0x7C00
#define HALF_QUIET 0x0200

static uint32_t
float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static float
float_from_bits(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* bits / 2^shift, rounded to nearest, ties to even; 1 <= shift <= 31 */
static uint32_t
shift_to_nearest(uint32_t bits, int shift)
{
	uint32_t half_way = UINT32_C(1) << (shift - 1);
	uint32_t odd = bits >> shift & 1;

	return (bits + half_way - 1 + odd) >> shift;
}

uint16_t
br_math_half_from_float(float value)
{
	uint32_t bits = float_bits(value);
	uint32_t sign = bits >> 16 & 0x8000;
	uint32_t magnitude = bits & 0x7FFFFFFF;
	int exponent = (int) (magnitude >> 23) - 127;

	if (magnitude > FLOAT_INFINITY)
		return (uint16_t) (sign | HALF_INFINITY | HALF_QUIET | (magnitude >> 13 & 0x3FF));
	if (exponent > 15)
		return (uint16_t) (sign | HALF_INFINITY);
	/* a carry out of the mantissa raises the exponent, up to infinity, as it should */
	if (exponent >= -14)
		return (uint16_t) (sign | (shift_to_nearest(magnitude, 13) - ((127 - 15) << 10)));
	if (exponent < -25)
		return (uint16_t) sign;
	/* subnormal: multiples of 2^-24 */
	return (uint16_t) (sign | shift_to_nearest((magnitude & 0x7FFFFF) | 0x800000, -1 - exponent));
}

float
br_math_half_to_float(uint16_t half)
{
	uint32_t sign = (uint32_t) (half & 0x8000) << 16;
	uint32_t exponent = half >> 10 & 0x1F;
	uint32_t mantissa = half & 0x3FF;

	if (exponent == 0)
		return float_from_bits(sign | float_bits((float) mantissa * 0x1p-24f));
	if (exponent == 0x1F)
		return float_from_bits(sign | FLOAT_INFINITY |
							   (mantissa != 0 ? 0x400000 | mantissa << 13 : 0));
	return float_from_bits(sign | (exponent + (127 - 15)) << 23 | mantissa << 13);
}

static void
from_floats(const float *values, size_t n, uint16_t *halves)
{
	for (size_t i = 0; i < n; i++)
		halves[i] = br_math_half_from_float(values[i]);
}

static void
to_floats(const uint16_t *halves, size_t n, float *values)
{
	for (size_t i = 0; i < n; i++)
		values[i] = br_math_half_to_float(halves[i]);
}

static double
sum_lanes(double *lanes)
{
	for (int width = BR_MATH_LANES / 2; width > 0; width /= 2)
		for (int lane = 0; lane < width; lane++)
			lanes[lane] += lanes[lane + width];
	return lanes[0];
}

static double
dot(const uint16_t *left, const uint16_t *right, size_t n)
{
	double lanes[BR_MATH_LANES] = {0};

	for (size_t i = 0; i < n; i++)
		lanes[i % BR_MATH_LANES] +=
			(double) (br_math_half_to_float(left[i]) * br_math_half_to_float(right[i]));
	return sum_lanes(lanes);
}

static double
squared_distance(const uint16_t *left, const uint16_t *right, size_t n)
{
	double lanes[BR_MATH_LANES] = {0};

	for (size_t i = 0; i < n; i++)
	{
		double difference =
			(double) br_math_half_to_float(left[i]) - (double) br_math_half_to_float(right[i]);

		lanes[i % BR_MATH_LANES] += difference * difference;
	}
	return sum_lanes(lanes);
}

const BrHalfKernels *
br_math_half_kernels_portable(void)
{
	static const BrHalfKernels kernels = {"portable", from_floats, to_floats, dot,
										  squared_distance};

	return &kernels;
}

/* Asking the processor costs a load and a test, so nothing needs to be remembered. */
static const BrHalfKernels *
best_kernels(void)
{
	const BrHalfKernels *kernels = br_math_half_kernels_avx512();

	if (kernels == NULL)
		kernels = br_math_half_kernels_avx2();
	return kernels != NULL ? kernels : br_math_half_kernels_portable();
}

void
br_math_half_from_floats(const float *values, size_t n, uint16_t *halves)
{
	best_kernels()->from_floats(values, n, halves);
}

void
br_math_half_to_floats(const uint16_t *halves, size_t n, float *values)
{
	best_kernels()->to_floats(halves, n, values);
}

double
br_math_half_dot(const uint16_t *left, const uint16_t *right, size_t n)
{
	return best_kernels()->dot(left, right, n);
}

double
br_math_half_squared_distance(const uint16_t *left, const uint16_t *right, size_t n)
{
	return best_kernels()->squared_distance(left, right, n);
}
