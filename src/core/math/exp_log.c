/*
 * exp_log.c
 *	  Exponential, logarithm and logistic function, the same bits everywhere.
 *
 * libm differs between machines in the last bit, and a last bit can turn a
 * vote. Here every value comes from additions, multiplications and divisions
 * of doubles in the order written, which IEEE 754 fixes; the build forbids
 * contracting them into fused operations.
 */
#include <math.h>
#include <string.h>

#include "core/math/br_math.h"

/* ln 2 in two parts; the first has 32 bits, so that times an exponent it is exact */
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33
#define LOG2_E 0x1.71547652b82fep+0

#define EXP_OVERFLOW 0x1.62e42fefa39efp+9	  /* the largest x with a finite e^x */
#define EXP_UNDERFLOW (-0x1.74910d52d3051p+9) /* e^x rounds to 0 from here on down */

#define SQRT_2 0x1.6a09e667f3bcdp+0
#define SMALLEST_NORMAL 0x1p-1022

#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023

/* 2^exponent, for exponents of normal numbers */
static double
power_of_two(int exponent)
{
	uint64_t bits = (uint64_t) (exponent + EXPONENT_BIAS) << MANTISSA_BITS;
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* e^r - 1 - r for |r| <= ln(2)/2: the Taylor series, cut where it adds less than 2^-57 */
static double
exp_tail(double r)
{
	static const double inverse_factorial[] = {1.0 / 2,		   1.0 / 6,			1.0 / 24,
											   1.0 / 120,	   1.0 / 720,		1.0 / 5040,
											   1.0 / 40320,	   1.0 / 362880,	1.0 / 3628800,
											   1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
	int term = (int) (sizeof(inverse_factorial) / sizeof(inverse_factorial[0])) - 1;
	double sum = inverse_factorial[term];

	while (--term >= 0)
		sum = sum * r + inverse_factorial[term];
	return sum * r * r;
}

/*
 * x = exponent ln 2 + r, so e^x = 2^exponent e^r. What rounding r to a double
 * loses is small beside r and is added back to first order.
 */
double
br_math_exp(double x)
{
	int exponent;
	double high;
	double low;
	double r;
	double result;

	if (isnan(x))
		return x;
	if (x > EXP_OVERFLOW)
		return INFINITY;
	if (x <= EXP_UNDERFLOW)
		return 0;

	exponent = (int) (x * LOG2_E + (x < 0 ? -0.5 : 0.5));
	high = x - exponent * LN2_HIGH;
	low = exponent * LN2_LOW;
	r = high - low;
	result = 1 + (r + (exp_tail(r) + ((high - r) - low)));

	/* at either end of the range 2^exponent itself is no normal number */
	if (exponent > EXPONENT_BIAS)
		return result * 2 * power_of_two(exponent - 1);
	if (exponent < 1 - EXPONENT_BIAS)
		return result * power_of_two(exponent + 64) * 0x1p-64;
	return result * power_of_two(exponent);
}

/*
 * log((1 + s) / (1 - s)) - 2 s = 2 (s^3 / 3 + s^5 / 5 + ...), divided by s, for
 * |s| <= (sqrt 2 - 1) / (sqrt 2 + 1), where 11 terms leave less than 2^-60.
 */
static double
log_tail(double s)
{
	static const double coefficient[] = {2.0 / 3,  2.0 / 5,	 2.0 / 7,  2.0 / 9,	 2.0 / 11, 2.0 / 13,
										 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23};
	int term = (int) (sizeof(coefficient) / sizeof(coefficient[0])) - 1;
	double square = s * s;
	double sum = coefficient[term];

	while (--term >= 0)
		sum = sum * square + coefficient[term];
	return sum * square;
}

/*
 * x = 2^exponent m with m near 1, f = m - 1 (exact) and s = f / (2 + f), so
 * that log m = 2 s + s tail. 2 s equals f - f^2/2 + s f^2/2, which keeps the
 * leading term f free of rounding.
 */
double
br_math_log(double x)
{
	uint64_t bits;
	int exponent = 0;
	double m;
	double f;
	double s;
	double half_square;
	double correction;

	if (isnan(x) || x < 0)
		return NAN;
	if (x == 0)
		return -INFINITY;
	if (isinf(x))
		return x;

	if (x < SMALLEST_NORMAL)
	{
		x *= 0x1p54;
		exponent = -54;
	}
	memcpy(&bits, &x, sizeof(bits));
	exponent += (int) (bits >> MANTISSA_BITS) - EXPONENT_BIAS;
	bits =
		(bits & ((UINT64_C(1) << MANTISSA_BITS) - 1)) | (uint64_t) EXPONENT_BIAS << MANTISSA_BITS;
	memcpy(&m, &bits, sizeof(m));
	if (m > SQRT_2)
	{
		m *= 0.5;
		exponent++;
	}

	f = m - 1;
	s = f / (2 + f);
	half_square = 0.5 * f * f;
	correction = s * (half_square + log_tail(s)) + exponent * LN2_LOW;
	return exponent * LN2_HIGH - ((half_square - correction) - f);
}

double
br_math_logistic(double x)
{
	double decay;

	if (x >= 0)
		return 1 / (1 + br_math_exp(-x));
	decay = br_math_exp(x);
	return decay / (1 + decay);
}
