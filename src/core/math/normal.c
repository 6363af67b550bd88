/*
 * normal.c
 *	  Normal quantile and normal draws.
 *
 * Draws invert the distribution function, one uniform each, rather than using
 * a rejection method: the n-th draw of a stream is then a function of n alone.
 */
#include <math.h>

#include "core/math/br_math.h"

/* Numerator and denominator of degree 7, lowest power first. */
typedef struct RationalFunction
{
	double numerator[8];
	double denominator[8];
} RationalFunction;

/* |p - 1/2| <= .425, in .425^2 - (p - 1/2)^2 */
static const RationalFunction centre = {{3.3871328727963666080e0, 1.3314166789178437745e+2,
										 1.9715909503065514427e+3, 1.3731693765509461125e+4,
										 4.5921953931549871457e+4, 6.7265770927008700853e+4,
										 3.3430575583588128105e+4, 2.5090809287301226727e+3},
										{1.0, 4.2313330701600911252e+1, 6.8718700749205790830e+2,
										 5.3941960214247511077e+3, 2.1213794301586595867e+4,
										 3.9307895800092710610e+4, 2.8729085735721942674e+4,
										 5.2264952788528545610e+3}};

/* r = sqrt(-log of the smaller tail) <= 5, in r - 1.6 */
static const RationalFunction shoulder = {{1.42343711074968357734e0, 4.63033784615654529590e0,
										   5.76949722146069140550e0, 3.64784832476320460504e0,
										   1.27045825245236838258e0, 2.41780725177450611770e-1,
										   2.27238449892691845833e-2, 7.74545014278341407640e-4},
										  {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0,
										   6.89767334985100004550e-1, 1.48103976427480074590e-1,
										   1.51986665636164571966e-2, 5.47593808499534494600e-4,
										   1.05075007164441684324e-9}};

/* beyond, in r - 5 */
static const RationalFunction tail = {{6.65790464350110377720e0, 5.46378491116411436990e0,
									   1.78482653991729133580e0, 2.96560571828504891230e-1,
									   2.65321895265761230930e-2, 1.24266094738807843860e-3,
									   2.71155556874348757815e-5, 2.01033439929228813265e-7},
									  {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1,
									   1.48753612908506148525e-2, 7.86869131145613259100e-4,
									   1.84631831751005468180e-5, 1.42151175831644588870e-7,
									   2.04426310338993978564e-15}};

static double
rational(const RationalFunction *function, double x)
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

	if (fabs(from_centre) <= 0.425)
		return from_centre * rational(&centre, 0.180625 - from_centre * from_centre);

	r = sqrt(-br_math_log(from_centre < 0 ? p : 1 - p));
	magnitude = r <= 5 ? rational(&shoulder, r - 1.6) : rational(&tail, r - 5);
	return from_centre < 0 ? -magnitude : magnitude;
}

double
br_math_normal(BrRandom *random)
{
	return br_math_normal_quantile(br_base_random_uniform(random));
}
