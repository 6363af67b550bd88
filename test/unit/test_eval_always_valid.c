/*
 * test_eval_always_valid.c
 *	  A/A tests, each looked at fifty times: always-valid intervals miss the truth in
 *	  at most 5 % of them, and a fixed-horizon test in far more.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/eval/br_eval.h"

#define LOOKS 50
#define PLANNED 5000

/* what was ever said in one test */
typedef struct Verdict
{
	bool sequence_missed; /* 0 was outside of the always-valid interval */
	bool sequence_below;  /* the always-valid p-value was below 5 % */
	bool fixed_below;	  /* the p-value of the plain z test was */
} Verdict;

static void
look(BrContext *context, BrComparisonMethod method, double moments[2][BR_MOMENTS], Verdict *verdict)
{
	BrComparison comparison;
	BrSequential sequential;

	/* as long as nobody converted there is nothing to say */
	if (br_eval_compare(context, method, moments[0], moments[1], NULL, 0.95, &comparison) != BR_OK)
		return;
	assert_int_equal(br_eval_sequential(context, comparison.difference, comparison.standard_error,
										moments[0][BR_MOMENT_COUNT] + moments[1][BR_MOMENT_COUNT],
										0.95, PLANNED, &sequential),
					 BR_OK);
	verdict->fixed_below |= comparison.p_value < 0.05;
	verdict->sequence_below |= sequential.p_value < 0.05;
	verdict->sequence_missed |= sequential.lower > 0 || sequential.upper < 0;
}

/* one test with so many units per group between looks, both groups of the same rate */
static Verdict
test_of_shares(BrContext *context, double rate, int units, int number)
{
	uint32_t threshold = (uint32_t) (rate * 4294967296.0);
	int conversions[2] = {0, 0};
	double moments[2][BR_MOMENTS];
	Verdict verdict = {false, false, false};
	BrRandom random;

	memset(moments, 0, sizeof(moments));
	br_base_random_init(&random, 20240229, (uint64_t) number);
	for (int n = units; n <= LOOKS * units; n += units)
	{
		for (int unit = 0; unit < units; unit++)
			for (int group = 0; group < 2; group++)
				conversions[group] += br_base_random_u32(&random) < threshold;
		for (int group = 0; group < 2; group++)
		{
			double share = (double) conversions[group] / n;

			moments[group][BR_MOMENT_COUNT] = n;
			moments[group][BR_MOMENT_MEAN_VALUE] = share;
			moments[group][BR_MOMENT_MEAN_DENOMINATOR] = 1;
			moments[group][BR_MOMENT_VALUE_VALUE] = n * share * (1 - share);
		}
		look(context, BR_COMPARE_PROPORTIONS, moments, &verdict);
	}
	return verdict;
}

/* the same of what is spent: by the rate of the units, and then exponentially distributed */
static Verdict
test_of_means(BrContext *context, double rate, int units, int number)
{
	double moments[2][BR_MOMENTS];
	Verdict verdict = {false, false, false};
	BrRandom random;

	memset(moments, 0, sizeof(moments));
	br_base_random_init(&random, 20240301, (uint64_t) number);
	for (int i = 0; i < LOOKS; i++)
	{
		for (int unit = 0; unit < units; unit++)
			for (int group = 0; group < 2; group++)
			{
				bool spends = br_base_random_uniform(&random) < rate;

				br_eval_moments_add(moments[group],
									spends ? -log(br_base_random_uniform(&random)) : 0, 0, 1);
			}
		look(context, BR_COMPARE_MEANS, moments, &verdict);
	}
	return verdict;
}

static void
holds_at(Verdict (*test)(BrContext *context, double rate, int units, int number), double rate,
		 int units, int tests)
{
	BrContext context;
	int missed = 0;
	int below = 0;
	int fixed = 0;

	br_base_context_init(&context);
	for (int i = 0; i < tests; i++)
	{
		Verdict verdict = test(&context, rate, units, i);

		missed += verdict.sequence_missed;
		below += verdict.sequence_below;
		fixed += verdict.fixed_below;
	}
	print_message("rate %g, %d units per look, %d tests: outside of the always-valid interval "
				  "%.4f, fixed horizon below .05 %.4f\n",
				  rate, units, tests, (double) missed / tests, (double) fixed / tests);
	/* the p-value and the interval are two forms of one statement */
	assert_int_equal(missed, below);
	assert_true(missed <= 0.05 * tests);
	assert_true(fixed > 0.2 * tests);
	/* an interval that never misses would be as wide as it likes */
	assert_true(missed > 0.001 * tests);
}

static void
holds_at_half_a_per_cent(void **state)
{
	(void) state;
	holds_at(test_of_shares, 0.005, 500, 10000);
}

static void
holds_at_ten_per_cent(void **state)
{
	(void) state;
	holds_at(test_of_shares, 0.1, 200, 10000);
}

static void
holds_for_what_few_spend(void **state)
{
	(void) state;
	holds_at(test_of_means, 0.05, 200, 2000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_at_half_a_per_cent),
		cmocka_unit_test(holds_at_ten_per_cent),
		cmocka_unit_test(holds_for_what_few_spend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
