/*
 * normal.c
 *	  Normal quantile, distribution function and draws.
 *
 * Draws invert the distribution function, one uniform each, rather than using
 * a rejection method: the n-th draw of a stream is then a function of n alone.
 */
#include <math.h>

#include "core/math/math_int.h"

const BrRational br_math_quantile_centre = {{3.3871328727963666080e0, 1.3314166789178437745e+2,
											 1.9715909503065514427e+3, 1.3731693765509461125e+4,
											 4.5921953931549871457e+4, 6.7265770927008700853e+4,
											 3.3430575583588128105e+4, 2.5090809287301226727e+3},
											{1.0, 4.2313330701600911252e+1,
											 6.8718700749205790830e+2, 5.3941960214247511077e+3,
											 2.1213794301586595867e+4, 3.9307895800092710610e+4,
											 2.8729085735721942674e+4, 5.2264952788528545610e+3}};

/* r = sqrt(-log of the smaller tail) <= 5, in r - 1.6 */
static const BrRational shoulder = {{1.42343711074968357734e0, 4.63033784615654529590e0,
									 5.76949722146069140550e0, 3.64784832476320460504e0,
									 1.27045825245236838258e0, 2.41780725177450611770e-1,
									 2.27238449892691845833e-2, 7.74545014278341407640e-4},
									{1.0, 2.05319162663775882187e0, 1.67638483018380384940e0,
									 6.89767334985100004550e-1, 1.48103976427480074590e-1,
									 1.51986665636164571966e-2, 5.47593808499534494600e-4,
									 1.05075007164441684324e-9}};

/* beyond, in r - 5 */
static const BrRational tail = {{6.65790464350110377720e0, 5.46378491116411436990e0,
								 1.78482653991729133580e0, 2.96560571828504891230e-1,
								 2.65321895265761230930e-2, 1.24266094738807843860e-3,
								 2.71155556874348757815e-5, 2.01033439929228813265e-7},
								{1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1,
								 1.48753612908506148525e-2, 7.86869131145613259100e-4,
								 1.84631831751005468180e-5, 1.42151175831644588870e-7,
								 2.04426310338993978564e-15}};

static double
rational(const BrRational *function, double x)
{
	double numerator = function->numerator[7];
	double denominator = function->denominator[7];

	for (int i = 6; i >= 0; i--)
	{
		numerator = numerator * x + function->numerator[i];
		denominator = denominator * x + function->denominator[i];
	}
	return numerator / denominator;
}

double
br_math_normal_quantile(double p)
{
	double from_centre = p - 0.5;
	double r;
	double magnitude;

	if (isnan(p) || p < 0 || p > 1)
		return NAN;
	if (p == 0 || p == 1)
		return p == 0 ? -INFINITY : INFINITY;

	if (fabs(from_centre) <= BR_MATH_QUANTILE_CENTRE)
		return from_centre *
			rational(&br_math_quantile_centre, BR_MATH_QUANTILE_SQUARE - from_centre * from_centre);

	r = sqrt(-br_math_log(from_centre < 0 ? p : 1 - p));
	magnitude = r <= 5 ? rational(&shoulder, r - 1.6) : rational(&tail, r - 5);
	return from_centre < 0 ? -magnitude : magnitude;
}

double
br_math_normal(BrRandom *random)
{
	return br_math_normal_quantile(br_base_random_uniform(random));
}

/*
 * (x + 5) Q(x) / phi(x) for x >= 0, where Q is the upper tail and phi the
 * density, as a Chebyshev series in (x - 5) / (x + 5): smooth over the whole
 * half line, 1 at infinity. Variable: Schonfelder, "Chebyshev expansions for
 * the error and related functions", Mathematics of Computation 32 (1978).
 * Coefficients: the discrete cosine sum over 80 Chebyshev nodes in mpmath
 * 1.3.0 with 40 digits.
 */
static double
scaled_mills_ratio(double x)
{
	static const double coefficient[] = {2.7196852387678242555,		 -2.3690676056508791831,
										 0.85110764519129009316,	 -0.25267101020189897835,
										 0.061015386404907040526,	 -0.011475514073056178165,
										 0.0014946108965619614021,	 -7.5285508404314180944e-5,
										 -1.7441640986188531907e-5,	 4.1650693764604264587e-6,
										 -1.0754917411154359728e-7,	 -9.4712264255509214156e-8,
										 1.1672253441654395959e-8,	 1.8216467239028025385e-9,
										 -4.7026125036358784305e-10, -3.3960991403471658438e-11,
										 1.6931861387628094468e-11,	 7.1162612334266919614e-13,
										 -6.1926282678062521437e-13, -2.2672531819948238887e-14,
										 2.3690546063399658385e-14,	 1.2094286091906465014e-15,
										 -9.3880691369470256228e-16, -7.9556715200499730315e-17,
										 3.7260120477204473083e-17};
	double t = (x - 5) / (x + 5);
	double next = 0;
	double after = 0;

	/* Clenshaw's recurrence */
	for (int i = (int) (sizeof(coefficient) / sizeof(coefficient[0])) - 1; i > 0; i--)
	{
		double sum = 2 * t * next - after + coefficient[i];

		after = next;
		next = sum;
	}
	return t * next - after + coefficient[0];
}

/* e^(-x^2 / 2): x^2 to twice the precision, by Dekker's product, since its error is multiplied */
static double
gaussian(double x)
{
	double split = x * 134217729; /* 2^27 + 1 */
	double high = split - (split - x);
	double low = x - high;
	double square = x * x;
	double error = ((high * high - square) + 2 * high * low) + low * low;

	return br_math_exp(-0.5 * square) * (1 - 0.5 * error);
}

double
br_math_normal_cdf(double x)
{
	const double inverse_root = 0x1.9884533d43651p-2; /* 1 / sqrt(2 pi) */
	double magnitude = fabs(x);
	double tail;

	if (isnan(x))
		return x;
	if (magnitude > 40)
		return x < 0 ? 0 : 1;
	tail = gaussian(magnitude) * inverse_root * scaled_mills_ratio(magnitude) / (magnitude + 5);
	return x < 0 ? tail : 1 - tail;
}
