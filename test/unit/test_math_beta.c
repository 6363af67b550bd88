/*
 * test_math_beta.c
 *	  Normal distribution function, gamma and Beta functions.
 *
 * Expected values are mpmath 1.3.0's at 50 digits: ncdf, loggamma, betainc
 * (for large parameters the integral of the density over the logit, by quad)
 * and the density written out.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/math/br_math.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

static void
assert_relative(double actual, double expected, double tolerance)
{
	if (!(fabs(actual - expected) <= tolerance * fabs(expected)))
		fail_msg("%.17g is not %.17g within %g", actual, expected, tolerance);
}

static void
normal_cdf_matches_exact_values(void **state)
{
	static const double points[][2] =
		{{-37.5, 4.6053530095819548e-308}, {-20, 2.7536241186062337e-89},
		 {-8.25, 7.9197263146424773e-17},  {-5, 2.8665157187919391e-7},
		 {-3, 0.0013498980316300945},	   {-1.5, 0.066807201268858066},
		 {-0.25, 0.40129367431707628},	   {0, 0.5},
		 {0.5, 0.6914624612740131},		   {2, 0.97724986805182079},
		 {6, 0.99999999901341235}};

	(void) state;
	for (int i = 0; i < LENGTH(points); i++)
		assert_relative(br_math_normal_cdf(points[i][0]), points[i][1], 2e-15);
	assert_true(br_math_normal_cdf(-INFINITY) == 0 && br_math_normal_cdf(INFINITY) == 1);
	assert_true(br_math_normal_cdf(-50) == 0 && br_math_normal_cdf(50) == 1);
	assert_true(isnan(br_math_normal_cdf(NAN)));
}

/* The quantile is another algorithm: AS 241. */
static void
normal_cdf_inverts_the_quantile(void **state)
{
	(void) state;
	for (int i = 1; i < 1000; i++)
		assert_relative(br_math_normal_cdf(br_math_normal_quantile(i / 1000.0)), i / 1000.0, 4e-15);
}

static void
log_gamma_matches_exact_values(void **state)
{
	static const double points[][2] = {{1e-5, 11.512919692895826},	{0.005, 5.2954517999821279},
									   {0.5, 0.57236494292470009},	{1.5, -0.12078223763524522},
									   {3.25, 0.93580193110872536}, {9.75, 12.242204940050763},
									   {10, 12.80182748008147},		{123.456, 469.60554712992948},
									   {1e6, 12815504.569147612},	{1e12, 26631021115915.652}};

	(void) state;
	for (int i = 0; i < LENGTH(points); i++)
		assert_true(fabs(br_math_log_gamma(points[i][0]) - points[i][1]) <=
					2e-15 * fmax(1, fabs(points[i][1])));
	assert_true(fabs(br_math_log_gamma(1)) < 2e-15 && fabs(br_math_log_gamma(2)) < 2e-15);
	assert_true(isinf(br_math_log_gamma(0)) && isinf(br_math_log_gamma(INFINITY)));
	assert_true(isnan(br_math_log_gamma(-1)) && isnan(br_math_log_gamma(NAN)));
}

static void
beta_matches_exact_values(void **state)
{
	static const struct
	{
		double alpha;
		double beta;
		double x;
		double cdf;
		double density;
	} points[] = {{.5, .5, .25, 0.33333333333333333, 0.73510519389572273},
				  {.5, .5, .999999, 0.99936338012151992, 318.31004533427653},
				  {.005, 1, 1e-30, 0.70794578438413791, 3.5397289219206893e27},
				  {1, 1, .3, 0.3, 1},
				  {2, 3, .5, 0.6875, 1.5},
				  {47, 12198, .0035, 0.28252492317868958, 643.02799773751291},
				  {47, 12198, .006, 0.99961551247959876, 1.8626133785025627},
				  {8, 3566, .0001, 4.7641543553104972e-9, 0.00036609526639821703},
				  {857, 181745, .0048, 0.74972838723779084, 1958.4871501296486},
				  {1000, .001, .999, 0.00021960811205324878, 0.3682755148658917},
				  {30000, 70000, .302, 0.91609968559049206, 106.06833071958804},
				  {25000, 1e6, .0238, 4.7550199692107092e-5, 1.3105621174296026},
				  {1e6, 1e8, .0099, 0.46010320963779771, 40294.12744624358},
				  {1e8, 1e8, .5001, 0.99766113269031021, 206.66984501597107},
				  {.01, 5000, .001, 0.99998827408187526, 0.068760049570169083},
				  {22.5, .25, .9, 0.011358345349349538, 0.34919045082998476},
				  {1e-4, 1e-4, .5, 0.5, 0.0001999722793234323}};

	(void) state;
	for (int i = 0; i < LENGTH(points); i++)
	{
		double tolerance = 1e-15 * (10 + sqrt(points[i].alpha + points[i].beta));
		BrBeta beta;

		br_math_beta_init(&beta, points[i].alpha, points[i].beta);
		assert_relative(br_math_beta_cdf(&beta, points[i].x), points[i].cdf, tolerance);
		assert_relative(br_math_beta_density(&beta, points[i].x), points[i].density, tolerance);
	}
}

/*
 * Beta(145629.354948640950, 1.0398301964447188e-4) near 1, where 1 - x is
 * known and x is not: mpmath's 1 - betainc(b, a, 0, 1 / (1 + e^logit)).
 */
static void
beta_keeps_its_digits_near_one(void **state)
{
	static const double points[][2] = {{18, 0.00057551237545582633},
									   {21, 0.00088701448029925266},
									   {25, 0.0013024799542780142}};
	BrBeta beta;

	(void) state;
	br_math_beta_init(&beta, 145629.354948640950, 1.0398301964447188e-4);
	for (int i = 0; i < LENGTH(points); i++)
	{
		BrFraction at = br_math_fraction_of_logit(points[i][0]);

		assert_true(fabs(br_math_beta_cdf_at(&beta, &at) - points[i][1]) <= 2e-15);
	}
}

static void
beta_at_its_ends(void **state)
{
	BrBeta pole;
	BrBeta flat;

	(void) state;
	br_math_beta_init(&pole, .5, 2);
	br_math_beta_init(&flat, 1, 3);
	assert_true(isinf(br_math_beta_density(&pole, 0)) && br_math_beta_density(&pole, 1) == 0);
	assert_true(br_math_beta_density(&flat, 0) == 3);
	assert_true(isnan(br_math_beta_density(&flat, -.1)) && isnan(br_math_beta_density(&flat, 2)));
	assert_true(br_math_beta_cdf(&pole, 0) == 0 && br_math_beta_cdf(&pole, -1) == 0);
	assert_true(br_math_beta_cdf(&pole, 1) == 1 && br_math_beta_cdf(&pole, 2) == 1);
	assert_true(isnan(br_math_beta_cdf(&pole, NAN)));
}

/* x^k integrates to 1 / (k + 1) up to degree 31, and no further. */
static void
gauss_rule_is_exact_to_degree_31(void **state)
{
	(void) state;
	for (int degree = 0; degree <= 32; degree++)
	{
		double sum = 0;

		for (int i = 0; i < BR_MATH_GAUSS_NODES; i++)
		{
			double power = br_math_gauss_weight[i];

			/* powers of 2 x - 1, whose integral is 0 or 1 / (degree + 1) */
			for (int j = 0; j < degree; j++)
				power *= 2 * br_math_gauss_node[i] - 1;
			sum += power;
		}
		if (degree < 32)
			assert_true(fabs(sum - (degree % 2 == 0 ? 1.0 / (degree + 1) : 0)) < 1e-15);
		else
			assert_true(fabs(sum - 1.0 / 33) > 1e-10);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(normal_cdf_matches_exact_values),
		cmocka_unit_test(normal_cdf_inverts_the_quantile),
		cmocka_unit_test(log_gamma_matches_exact_values),
		cmocka_unit_test(beta_matches_exact_values),
		cmocka_unit_test(beta_keeps_its_digits_near_one),
		cmocka_unit_test(beta_at_its_ends),
		cmocka_unit_test(gauss_rule_is_exact_to_degree_31),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
