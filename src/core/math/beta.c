/*
 * beta.c
 *	  Gamma and Beta functions, the same bits everywhere.
 *
 * Beta posteriors range from Beta(.005, 1), with poles at both ends, to counts
 * of 1e8, whose whole mass lies in a sliver. Neither survives x^a (1-x)^b /
 * B(a, b) written down as it stands: the three factors are enormous and the
 * logarithms lose the digits that matter. So the kernel is measured from its
 * value at the mean p = a / (a + b),
 *
 *		x^a (1-x)^b / B(a, b) = scale * exp(a L((x-p)/p) + b L((p-x)/(1-p))),
 *		L(e) = log(1 + e) - e,
 *
 * in which the first-order terms have cancelled by algebra and not in floating
 * point. Source of the idea: Loader, "Fast and accurate computation of binomial
 * probabilities" (2000).
 */
#include <math.h>

#include "core/math/br_math.h"

#define HALF_LOG_2_PI 0x1.d67f1c864beb5p-1
#define INVERSE_ROOT_2_PI 0x1.9884533d43651p-2

#define MAX_TERMS 100000

/* parameters from here on: the continued fraction would take hundreds of steps */
#define LARGE_PARAMETER 20000.0

/* mpmath 1.3.0 with 40 digits: roots of P16, weights 2 / ((1 - x^2) P16'(x)^2); moved to [0, 1] */
const double br_math_gauss_node[BR_MATH_GAUSS_NODES] =
	{0.005299532504175033702, 0.02771248846338371196, 0.06718439880608412806,
	 0.1222977958224984831,	  0.1910618777986781258,  0.2709916111713863068,
	 0.3591982246103705434,	  0.4524937450811812799,  0.5475062549188187201,
	 0.6408017753896294566,	  0.7290083888286136932,  0.8089381222013218742,
	 0.8777022041775015169,	  0.9328156011939158719,  0.972287511536616288,
	 0.9947004674958249663};
const double br_math_gauss_weight[BR_MATH_GAUSS_NODES] =
	{0.01357622970587704743, 0.03112676196932394643, 0.0475792558412463924,
	 0.06231448562776693603, 0.07479799440828836604, 0.08457825969750126909,
	 0.09130170752246179443, 0.09472530522753424814, 0.09472530522753424814,
	 0.09130170752246179443, 0.08457825969750126909, 0.07479799440828836604,
	 0.06231448562776693603, 0.0475792558412463924,	 0.03112676196932394643,
	 0.01357622970587704743};

/* log(1 + e) - e */
static double
log_remainder(double e, double log_one_plus_e)
{
	double r;
	double square;
	double sum = 0;

	if (fabs(e) > 0.4)
		return log_one_plus_e - e;

	/* log(1 + e) = 2 atanh r with r = e / (2 + e), and e - 2 r = e r */
	r = e / (2 + e);
	square = r * r;
	for (int k = 27; k >= 3; k -= 2)
		sum = sum * square + 2.0 / k;
	return -e * r + sum * square * r;
}

/*
 * What Stirling's formula lacks: ln Gamma(x) - ((x - 1/2) ln x - x + ln(2 pi) / 2).
 * Asymptotic series (Abramowitz and Stegun 6.1.41) from 10 on, reached by
 * Gamma(x + 1) = x Gamma(x).
 */
static double
stirling_error(double x)
{
	static const double coefficient[] = {1.0 / 12,	 -1.0 / 360,	  1.0 / 1260, -1.0 / 1680,
										 1.0 / 1188, -691.0 / 360360, 1.0 / 156,  -3617.0 / 122400};
	double sum = 0;
	double steps = 0;
	double square;

	for (; x < 10; x++)
	{
		double inverse = 1 / x;

		/* (x + 1/2) log(1 + 1/x) - 1, without cancellation where x is not small */
		steps += x < 2.5 ? (x + 0.5) * (br_math_log(x + 1) - br_math_log(x)) - 1
						 : (x + 0.5) * log_remainder(inverse, 0) + 0.5 * inverse;
	}
	square = 1 / (x * x);
	for (int i = (int) (sizeof(coefficient) / sizeof(coefficient[0])) - 1; i >= 0; i--)
		sum = sum * square + coefficient[i];
	return sum / x + steps;
}

double
br_math_log_gamma(double x)
{
	if (isnan(x) || x < 0)
		return NAN;
	if (x == 0 || isinf(x))
		return INFINITY;
	return (x - 0.5) * br_math_log(x) - x + HALF_LOG_2_PI + stirling_error(x);
}

void
br_math_beta_init(BrBeta *beta, double alpha, double beta_parameter)
{
	double total = alpha + beta_parameter;
	double corrections =
		stirling_error(total) - stirling_error(alpha) - stirling_error(beta_parameter);

	beta->alpha = alpha;
	beta->beta = beta_parameter;
	beta->mean = alpha / total;
	beta->co_mean = beta_parameter / total;
	beta->log_mean = br_math_log(beta->mean);
	beta->log_co_mean = br_math_log(beta->co_mean);
	beta->scale = INVERSE_ROOT_2_PI * sqrt(alpha) * sqrt(beta->co_mean) * br_math_exp(corrections);
}

BrFraction
br_math_fraction(double x)
{
	BrFraction fraction = {x, 1 - x, br_math_log(x), 0};

	/* log(1 - x) keeps its digits for small x */
	fraction.log_complement = x < 0.4 ? log_remainder(-x, 0) - x : br_math_log(1 - x);
	return fraction;
}

BrFraction
br_math_fraction_of_logit(double logit)
{
	double decay = br_math_exp(-fabs(logit)); /* the smaller part over the larger */
	double larger = 1 / (1 + decay);
	double smaller = decay * larger;
	double log_larger = decay < 0.4 ? -(log_remainder(decay, 0) + decay) : br_math_log(larger);
	double log_smaller = log_larger - fabs(logit);
	BrFraction low = {smaller, larger, log_smaller, log_larger};
	BrFraction high = {larger, smaller, log_larger, log_smaller};

	return logit < 0 ? low : high;
}

double
br_math_beta_kernel(const BrBeta *beta, const BrFraction *at)
{
	/* from whichever end is nearer, so that the difference keeps its digits */
	double difference = beta->mean < 0.5 ? at->x - beta->mean : beta->co_mean - at->complement;
	double exponent =
		beta->alpha * log_remainder(difference / beta->mean, at->log_x - beta->log_mean) +
		beta->beta *
			log_remainder(-difference / beta->co_mean, at->log_complement - beta->log_co_mean);

	return beta->scale * br_math_exp(exponent);
}

double
br_math_beta_density(const BrBeta *beta, double x)
{
	BrFraction at;
	double parameter = x < 0.5 ? beta->alpha : beta->beta;

	if (!(x >= 0 && x <= 1))
		return NAN;
	if (x == 0 || x == 1)
	{
		if (parameter != 1)
			return parameter < 1 ? INFINITY : 0;
		return x == 0 ? beta->beta : beta->alpha;
	}
	at = br_math_fraction(x);
	return br_math_beta_kernel(beta, &at) / at.x / at.complement;
}

/*
 * B(a, b) I_x(a, b) / (x^a (1-x)^b) for x < (a + 1) / (a + b + 2), by the
 * continued fraction 8.17.22 of the NIST Digital Library of Mathematical
 * Functions and the modified Lentz method. It knows 1 - x only through x.
 */
static double
small_x_fraction(double a, double b, double x)
{
	double c = 1;
	double d = 1 / (1 - (a + b) * x / (a + 1));
	double value = d;

	for (int m = 1; m < MAX_TERMS; m++)
	{
		double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
		double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));

		d = 1 / (1 + even * d);
		c = 1 + even / c;
		value *= c * d;
		d = 1 / (1 + odd * d);
		c = 1 + odd / c;
		value *= c * d;
		if (fabs(c * d - 1) < 1e-16)
			break;
	}
	return value / a;
}

/*
 * The same for x near 1, where y = 1 - x has the digits: the continued fraction
 * of Didonato and Morris, "Algorithm 708", ACM Transactions on Mathematical
 * Software 18 (1992), section 3, built on distance = a - (a + b) x =
 * (a + b) y - b > 0.
 */
static double
large_x_fraction(double a, double b, double x, double y)
{
	double distance = (a + b) * y - b;
	double value = (a / (a + 1)) * (distance + 1);
	double c = value;
	double d = 0;

	for (int m = 1; m < MAX_TERMS; m++)
	{
		double odd = a + 2 * m - 1;
		double numerator = ((a + m - 1) / odd) * ((a + b + m - 1) / odd) * (m * x) * ((b - m) * x);
		double denominator =
			m + m * (b - m) * x / odd + ((a + m) / (odd + 2)) * (distance + 1 + m * (1 + y));

		d = 1 / (denominator + numerator * d);
		c = denominator + numerator / c;
		value *= c * d;
		if (fabs(c * d - 1) < 1e-16)
			break;
	}
	return 1 / value;
}

/*
 * The integral of the kernel over logits from here away from the mean, for
 * large parameters: there it is nearly a normal density, of deviation
 * sqrt(1/alpha + 1/beta), of which each panel takes two.
 */
static double
beta_tail(const BrBeta *beta, const BrFraction *at, bool lower)
{
	double deviation = sqrt(1 / beta->alpha + 1 / beta->beta);
	double start = at->log_x - at->log_complement;
	double outward = lower ? -1 : 1;
	double sum = 0;

	for (;;)
	{
		BrFraction here = br_math_fraction_of_logit(start);
		double slope = fabs(beta->alpha * here.complement - beta->beta * here.x);
		double width = 2 * deviation;
		double panel = 0;

		/* e^-12 over a panel is as steep as the rule can take */
		if (width * slope > 12)
			width = 12 / slope;
		for (int k = 0; k < BR_MATH_GAUSS_NODES; k++)
		{
			BrFraction node =
				br_math_fraction_of_logit(start + outward * width * br_math_gauss_node[k]);

			panel += br_math_gauss_weight[k] * br_math_beta_kernel(beta, &node);
		}
		sum += panel * width;
		if (!(panel * width > 1e-17 * sum))
			return sum;
		start += outward * width;
	}
}

/* I_x(a, b) / (x^a (1-x)^b / B(a, b)), x below the point from which 1 - I is computed */
static double
beta_fraction(double a, double b, double x, double y)
{
	return x <= 0.5 ? small_x_fraction(a, b, x) : large_x_fraction(a, b, x, y);
}

double
br_math_beta_cdf_at(const BrBeta *beta, const BrFraction *at)
{
	double a = beta->alpha;
	double b = beta->beta;
	bool lower = a < b ? at->x * (a + b + 2) < a + 1 : at->complement * (a + b + 2) > b + 1;
	double tail;

	if (a > LARGE_PARAMETER && b > LARGE_PARAMETER)
		tail = beta_tail(beta, at, lower);
	else if (lower)
		tail = br_math_beta_kernel(beta, at) * beta_fraction(a, b, at->x, at->complement);
	else
		tail = br_math_beta_kernel(beta, at) * beta_fraction(b, a, at->complement, at->x);
	if (tail > 1)
		tail = 1;
	return lower ? tail : 1 - tail;
}

double
br_math_beta_cdf(const BrBeta *beta, double x)
{
	BrFraction at;

	if (isnan(x))
		return x;
	if (x <= 0 || x >= 1)
		return x <= 0 ? 0 : 1;
	at = br_math_fraction(x);
	return br_math_beta_cdf_at(beta, &at);
}
