/*
 * distributions.c
 *	  Tails and quantiles of the normal, Student's and the chi-square
 *	  distribution.
 *
 * A tail is a continued fraction or a series of the incomplete beta or gamma
 * function, a quantile is bisected from its tail: a report needs few of them. libm's
 * erfc and lgamma will do, since no decision depends on the last bit.
 *
 * Sources: NIST Digital Library of Mathematical Functions, 8.7.1, 8.9.2 (gamma),
 * 8.17.22 (beta), 5.11.13 (ratio of gamma functions); Lentz, Applied Optics 15
 * (1976).
 */
#include <float.h>
#include <math.h>

#include "core/eval/br_eval.h"
#include "core/math/br_math.h"

#define MAX_TERMS 1000000
#define TINY 1e-300

#define PI 3.14159265358979323846
#define SQRT_HALF 0.70710678118654752440

/* from here on t is the normal distribution and the first term of its expansion in 1 / df */
#define NEARLY_NORMAL_DF 1e7

static double
away_from_zero(double x)
{
	return fabs(x) < TINY ? TINY : x;
}

double
br_eval_normal_tail(double x)
{
	return 0.5 * erfc(x * SQRT_HALF);
}

/* the continued fraction of the incomplete beta function, fast for x < (a + 1) / (a + b + 2) */
static double
beta_fraction(double a, double b, double x)
{
	double c = 1;
	double d = 1 / away_from_zero(1 - (a + b) * x / (a + 1));
	double fraction = d;

	for (int m = 1; m < MAX_TERMS; m++)
	{
		double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
		double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
		double step;

		d = 1 / away_from_zero(1 + even * d);
		c = away_from_zero(1 + even / c);
		fraction *= c * d;
		d = 1 / away_from_zero(1 + odd * d);
		c = away_from_zero(1 + odd / c);
		step = c * d;
		fraction *= step;
		if (fabs(step - 1) < DBL_EPSILON)
			break;
	}
	return fraction;
}

/* gamma(a + 1/2) / gamma(a); a difference of lgamma would lose what both have in common */
static double
half_step_of_gamma(double a)
{
	static const double series[] = {-1.0 / 8,		   1.0 / 128,		5.0 / 1024,
									-21.0 / 32768,	   -399.0 / 262144, 869.0 / 4194304,
									39325.0 / 33554432};
	double sum = 0;

	if (a < 40)
		return exp(lgamma(a + 0.5) - lgamma(a));
	for (int i = (int) (sizeof(series) / sizeof(series[0])) - 1; i >= 0; i--)
		sum = (sum + series[i]) / a;
	return sqrt(a) * (1 + sum);
}

/*
 * P(|T| > t) is the incomplete beta function at df / (df + t^2) with a = df/2 and
 * b = 1/2; from its other end where that is nearer.
 */
double
br_eval_t_two_sided(double t, double df)
{
	double a = df / 2;
	double square = t * t;
	double x = df / (df + square);
	double front;

	if (isnan(t) || isnan(df))
		return NAN;
	if (isinf(square))
		return 0;
	if (df > NEARLY_NORMAL_DF)
		return 2 * br_eval_normal_tail(fabs(t)) +
			(isinf(df) ? 0 : exp(-square / 2) / sqrt(2 * PI) * fabs(t) * (square + 1) / (2 * df));
	if (square == 0)
		return 1;
	/* x^a (1 - x)^b / B(a, b), with gamma(1/2) = sqrt(pi) */
	front = exp(-a * log1p(square / df)) * sqrt(square / (df + square)) * half_step_of_gamma(a) /
		sqrt(PI);
	if (x < (a + 1) / (a + 2.5))
		return front * beta_fraction(a, 0.5, x) / a;
	return 1 - front * beta_fraction(0.5, a, square / (df + square)) / 0.5;
}

double
br_eval_t_quantile(double p, double df)
{
	double tail = 2 * fmin(p, 1 - p);
	double low = 0;
	double high = 1;

	if (!(p > 0 && p < 1))
		return NAN;
	if (p == 0.5)
		return 0;
	if (isinf(df))
		return br_math_normal_quantile(p);
	while (br_eval_t_two_sided(high, df) > tail && high < DBL_MAX / 4)
	{
		low = high;
		high *= 2;
	}
	for (;;)
	{
		double middle = low + (high - low) / 2;

		if (middle <= low || middle >= high)
			break;
		if (br_eval_t_two_sided(middle, df) > tail)
			low = middle;
		else
			high = middle;
	}
	return p < 0.5 ? -low : low;
}

/* x^a e^-x / gamma(a), the factor of both forms of the incomplete gamma function */
static double
gamma_front(double a, double x)
{
	return exp(a * log(x) - x - lgamma(a));
}

static double
gamma_series(double a, double x)
{
	double term = 1 / a;
	double sum = term;

	for (int n = 1; n < MAX_TERMS && term > sum * DBL_EPSILON / 4; n++)
	{
		term *= x / (a + n);
		sum += term;
	}
	return sum;
}

static double
gamma_fraction(double a, double x)
{
	double b = x + 1 - a;
	double c = 1 / TINY;
	double d = 1 / away_from_zero(b);
	double fraction = d;

	for (int n = 1; n < MAX_TERMS; n++)
	{
		double numerator = -n * (n - a);
		double step;

		b += 2;
		d = 1 / away_from_zero(b + numerator * d);
		c = away_from_zero(b + numerator / c);
		step = c * d;
		fraction *= step;
		if (fabs(step - 1) < DBL_EPSILON)
			break;
	}
	return fraction;
}

double
br_eval_chi_square_tail(double x, double df)
{
	double a = df / 2;
	double half = x / 2;

	if (isnan(x) || isnan(df))
		return NAN;
	if (half <= 0)
		return 1;
	if (isinf(half))
		return 0;
	if (half < a + 1)
		return 1 - gamma_front(a, half) * gamma_series(a, half);
	return gamma_front(a, half) * gamma_fraction(a, half);
}

double
br_eval_chi_square_quantile(double p, double df)
{
	double low = 0;
	double high = df + 1;

	if (!(p > 0 && p < 1))
		return NAN;
	while (br_eval_chi_square_tail(high, df) > 1 - p)
		high *= 2;
	for (;;)
	{
		double middle = low + (high - low) / 2;

		if (middle <= low || middle >= high)
			break;
		if (br_eval_chi_square_tail(middle, df) > 1 - p)
			low = middle;
		else
			high = middle;
	}
	return high;
}
