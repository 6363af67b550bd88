/*
 * test_eval_experiment_coverage.c
 *	  How often intervals of 95 % hold the truth, where it is known: between 93 % and
 *	  97 % of the time, whatever the method.
 *
 * A unit has a covariate x and a noise e, both standard normal, a denominator d
 * that is uniform over 1 to 5, and the value y = rate * d + x + e with a rate of 1 in
 * the control and 1.2 in the variant. So means are 3 and 3.6, ratios the rates, and
 * the lift is .2 in all of them, adjusted by x or not.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/eval/br_eval.h"
#include "core/math/br_math.h"

#define EXPERIMENTS 4000
#define UNITS 200
#define RATE 1.2
#define MEAN_DENOMINATOR 3

static const double rates[] = {1, RATE};
static const double shares[] = {0.10, 0.12};

typedef struct Coverage
{
	int difference;
	int lift;
	double width; /* of the difference's interval, summed */
} Coverage;

static void
draw_unit(BrRandom *random, BrComparisonMethod method, bool denominators, int group,
		  double *moments /* (BR_MOMENTS) */)
{
	double d = 1 + br_base_random_below(random, 5);
	double x = br_math_normal(random);
	double y = rates[group] * d + x + br_math_normal(random);

	if (method == BR_COMPARE_PROPORTIONS)
		br_eval_moments_add(moments, br_base_random_uniform(random) < shares[group], 0, 1);
	else
		br_eval_moments_add(moments, y, method == BR_COMPARE_ADJUSTED ? x : 0,
							denominators ? d : 1);
}

static Coverage
cover(BrComparisonMethod method, bool denominators, int units, double difference, double lift)
{
	Coverage coverage = {0, 0, 0};
	BrContext context;

	br_base_context_init(&context);
	for (int number = 0; number < EXPERIMENTS; number++)
	{
		double moments[2][BR_MOMENTS];
		double pooled[BR_MOMENTS];
		BrComparison comparison;
		BrRandom random;

		memset(moments, 0, sizeof(moments));
		br_base_random_init(&random, 77, (uint64_t) number);
		for (int unit = 0; unit < units; unit++)
			for (int group = 0; group < 2; group++)
				draw_unit(&random, method, denominators, group, moments[group]);
		memcpy(pooled, moments[0], sizeof(pooled));
		br_eval_moments_combine(pooled, moments[1]);
		assert_int_equal(br_eval_compare(&context, method, moments[0], moments[1], pooled, 0.95,
										 &comparison),
						 BR_OK);
		coverage.difference += comparison.lower <= difference && difference <= comparison.upper;
		coverage.lift += comparison.lift_lower <= lift && lift <= comparison.lift_upper;
		coverage.width += comparison.upper - comparison.lower;
	}
	return coverage;
}

static void
assert_covers(const Coverage *coverage)
{
	double difference = (double) coverage->difference / EXPERIMENTS;
	double lift = (double) coverage->lift / EXPERIMENTS;

	print_message("covered: difference %.4f, lift %.4f; mean width %.4f\n", difference, lift,
				  coverage->width / EXPERIMENTS);
	assert_true(difference >= 0.93 && difference <= 0.97);
	assert_true(lift >= 0.93 && lift <= 0.97);
}

static void
intervals_of_proportions_cover(void **state)
{
	Coverage coverage = cover(BR_COMPARE_PROPORTIONS, false, 1000, 0.02, 0.2);

	(void) state;
	assert_covers(&coverage);
}

static void
intervals_of_means_cover(void **state)
{
	Coverage coverage =
		cover(BR_COMPARE_MEANS, false, UNITS, (RATE - 1) * MEAN_DENOMINATOR, RATE - 1);

	(void) state;
	assert_covers(&coverage);
}

static void
intervals_of_ratios_cover(void **state)
{
	Coverage coverage = cover(BR_COMPARE_RATIOS, true, UNITS, RATE - 1, RATE - 1);

	(void) state;
	assert_covers(&coverage);
}

/* and a covariate narrows them: of the variances 2 + 1 + 1 and 2.88 + 1 + 1 it takes 1 off */
static void
adjusted_intervals_cover(void **state)
{
	Coverage means = cover(BR_COMPARE_MEANS, false, UNITS, (RATE - 1) * MEAN_DENOMINATOR, RATE - 1);
	Coverage adjusted =
		cover(BR_COMPARE_ADJUSTED, false, UNITS, (RATE - 1) * MEAN_DENOMINATOR, RATE - 1);
	Coverage ratios = cover(BR_COMPARE_ADJUSTED, true, UNITS, RATE - 1, RATE - 1);

	(void) state;
	assert_covers(&adjusted);
	assert_covers(&ratios);
	assert_true(fabs(adjusted.width / means.width - sqrt(6.88 / 8.88)) < 0.01);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(intervals_of_proportions_cover),
		cmocka_unit_test(intervals_of_means_cover),
		cmocka_unit_test(intervals_of_ratios_cover),
		cmocka_unit_test(adjusted_intervals_cover),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
