/*
 * test_bandit_clicks.c
 *	  Click models, and the marginals of slates.
 *
 * The expected position-based fit is EM in numpy 1.26 from another start
 * (kappa .5, attractiveness .1) until nothing changes by more than 1e-15.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/math/br_math.h"
#include "unit/bandit_policy.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* items 1 to 4 at positions 1 to 3; item 3 in two cells of position 2 */
static const BrClickCell cells[] = {{0, 0, 200, 60}, {0, 1, 100, 20}, {0, 2, 50, 5}, {1, 0, 80, 40},
									{1, 1, 120, 42}, {1, 2, 40, 6},	  {2, 1, 10, 1}, {2, 1, 50, 5},
									{2, 2, 90, 3},	 {3, 0, 150, 15}, {3, 2, 30, 1}};

static void
assert_near(const double *actual, const double *expected, int n, double tolerance)
{
	for (int i = 0; i < n; i++)
	{
		if (!(fabs(actual[i] - expected[i]) <= tolerance))
			fail_msg("element %d is %.17g, not %.17g within %g", i, actual[i], expected[i],
					 tolerance);
	}
}

static void
position_model_matches_numpy(void **state)
{
	static const double kappa[3] = {1, 0.6939708317800058, 0.3013721102163918};
	static const double attractiveness[4] = {0.2986989675676533, 0.5017276908034075,
											 0.13132550340077603, 0.10056151901424974};
	double fitted_kappa[3];
	double fitted[4];
	double before = -INFINITY;
	BrClickFit fit;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_fit_position_model(&context, LENGTH(cells), cells, 4, 3, 1e-12, 1000,
												  fitted_kappa, fitted, &fit),
					 BR_OK);
	assert_near(fitted_kappa, kappa, 3, 1e-10);
	assert_near(fitted, attractiveness, 4, 1e-10);
	assert_near(&fit.log_likelihood, (double[]){-424.4550645528782}, 1, 1e-10);

	/* the coarser the tolerance, the earlier it ends, never better than later */
	for (double tolerance = .5; tolerance > 1e-12; tolerance /= 4)
	{
		assert_int_equal(br_bandit_fit_position_model(&context, LENGTH(cells), cells, 4, 3,
													  tolerance, 1000, fitted_kappa, fitted, &fit),
						 BR_OK);
		assert_true(fit.log_likelihood >= before - 1e-10);
		before = fit.log_likelihood;
	}
}

/* 400,000 simulated showings: within 4 standard errors, of about 1 / sqrt(clicks). */
static void
position_model_finds_the_truth(void **state)
{
	static const double kappa[4] = {1, .6, .35, .15};
	BrClickCell simulated[80];
	double fitted_kappa[4];
	double fitted[20];
	BrClickFit fit;
	BrContext context;
	BrRandom random;

	(void) state;
	br_base_context_init(&context);
	br_base_random_init(&random, 7, 1);
	for (int i = 0; i < 80; i++)
	{
		int position = i % 4;

		simulated[i] = (BrClickCell){i / 4, position, 5000, 0};
		for (int n = 0; n < 5000; n++)
			simulated[i].clicks +=
				br_base_random_uniform(&random) < kappa[position] * (.02 + .01 * (i / 4));
	}
	assert_int_equal(br_bandit_fit_position_model(&context, 80, simulated, 20, 4, 1e-9, 10000,
												  fitted_kappa, fitted, &fit),
					 BR_OK);
	/* 11,500, 6,900, 4,000 and 1,700 clicks: standard errors of .0122, .0069 and .0041 */
	assert_near(fitted_kappa, kappa, 1, 0);
	assert_near(fitted_kappa + 1, kappa + 1, 1, 4 * .6 * sqrt(1 / 11500.0 + 1 / 6900.0));
	assert_near(fitted_kappa + 2, kappa + 2, 1, 4 * .35 * sqrt(1 / 11500.0 + 1 / 4000.0));
	assert_near(fitted_kappa + 3, kappa + 3, 1, 4 * .15 * sqrt(1 / 11500.0 + 1 / 1700.0));
	for (int i = 0; i < 20; i++)
	{
		double truth = .02 + .01 * i;

		assert_near(&fitted[i], &truth, 1, 4 * truth / sqrt(5000 * 2.1 * truth));
	}
}

/* Positions 1 and 2 share item 1, position 3 has items of its own. */
static void
unlinked_positions_are_refused(void **state)
{
	static const BrClickCell apart[] = {{0, 0, 10, 2}, {0, 1, 10, 1}, {1, 2, 10, 3}, {2, 2, 9, 1}};
	/* item 4 was shown everywhere and never clicked: it says nothing of kappa */
	static const BrClickCell unclicked[] = {{0, 0, 10, 2},
											{3, 0, 10, 0},
											{3, 2, 10, 0},
											{1, 2, 10, 3}};
	/* a position without clicks is not examined at all */
	static const BrClickCell dark[] = {{0, 0, 10, 2}, {0, 1, 10, 1}, {1, 2, 10, 0}};
	double kappa[3];
	double attractiveness[4];
	BrClickFit fit;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_fit_position_model(&context, 4, apart, 4, 3, 1e-9, 1000, kappa,
												  attractiveness, &fit),
					 BR_ERR_UNSUPPORTED);
	assert_int_equal(fit.linked, 0);
	assert_int_equal(fit.unlinked, 2);
	assert_int_equal(br_bandit_fit_position_model(&context, 4, unclicked, 4, 3, 1e-9, 1000, kappa,
												  attractiveness, &fit),
					 BR_ERR_UNSUPPORTED);
	assert_int_equal(br_bandit_fit_position_model(&context, 3, dark, 4, 3, 1e-9, 1000, kappa,
												  attractiveness, &fit),
					 BR_OK);
	assert_near(kappa, (double[]){1, .5, 0}, 3, 1e-8);
	assert_near(attractiveness, (double[]){.2, 0, 0, 0}, 4, 1e-8);
}

static void
position_model_refuses(void **state)
{
	static const BrClickCell none[] = {{0, 0, 10, 0}};
	static const BrClickCell too_many[] = {{0, 0, 10, 1}, {0, 1, 10, 11}};
	static const BrClickCell elsewhere[] = {{0, 3, 10, 1}};
	double kappa[3];
	double attractiveness[4];
	BrClickFit fit;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_fit_position_model(&context, 1, none, 1, 3, 1e-9, 1000, kappa,
												  attractiveness, &fit),
					 BR_ERR_NUMERIC);
	assert_int_equal(br_bandit_fit_position_model(&context, 2, too_many, 1, 3, 1e-9, 1000, kappa,
												  attractiveness, &fit),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "Cell 2 has 11 clicks of 10"));
	assert_int_equal(br_bandit_fit_position_model(&context, 1, elsewhere, 1, 3, 1e-9, 1000, kappa,
												  attractiveness, &fit),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bandit_fit_position_model(&context, LENGTH(cells), cells, 4, 3, 1e-9, 3,
												  kappa, attractiveness, &fit),
					 BR_ERR_NUMERIC);
	assert_non_null(strstr(context.detail, "After 3 iterations"));
	assert_int_equal(br_bandit_fit_position_model(&context, LENGTH(cells), cells, 4, 3, 0, 3, kappa,
												  attractiveness, &fit),
					 BR_ERR_ARGUMENT);
}

/* List 1: a - b* - c; list 2: b - a; list 3: a*; so a 1 of 3, b 1 of 2, c never. */
static void
cascade_model_matches_hand_arithmetic(void **state)
{
	static const BrListPlace places[] = {{1, 0, false}, {1, 1, true},  {1, 2, true},
										 {2, 1, false}, {2, 0, false}, {3, 0, true}};
	static const BrListPlace outside[] = {{1, 0, false}, {1, 3, true}};
	double attractiveness[3];
	double examined[3];
	double clicked[3];
	double log_likelihood;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_fit_cascade_model(&context, LENGTH(places), places, 3,
												 attractiveness, examined, clicked,
												 &log_likelihood),
					 BR_OK);
	assert_near(attractiveness, (double[]){1 / 3.0, .5, 0}, 3, 1e-15);
	assert_near(examined, (double[]){3, 2, 0}, 3, 0);
	assert_near(clicked, (double[]){1, 1, 0}, 3, 0);
	assert_near(&log_likelihood, (double[]){log(1 / 3.0) + 2 * log(2 / 3.0) + 2 * log(.5)}, 1,
				1e-14);
	assert_int_equal(br_bandit_fit_cascade_model(&context, 2, outside, 3, attractiveness, examined,
												 clicked, &log_likelihood),
					 BR_ERR_ARGUMENT);
}

static void
expected_clicks_match_hand_arithmetic(void **state)
{
	static const double attractiveness[3] = {.5, .2, .1};
	static const double examination[3] = {1, .5, .25};
	static const float features[2] = {2, -4};
	float scaled[2];
	double clicks[3];
	double sum;

	(void) state;
	sum = br_bandit_expected_clicks_by_position(3, attractiveness, examination, clicks);
	assert_near(clicks, (double[]){.5, .1, .025}, 3, 1e-16);
	assert_near(&sum, (double[]){.625}, 1, 1e-15);
	/* .5, .5 * .2, .5 * .8 * .1: one less the chance of no click */
	sum = br_bandit_expected_clicks_by_cascade(3, attractiveness, clicks);
	assert_near(clicks, (double[]){.5, .1, .04}, 3, 1e-16);
	assert_near(&sum, (double[]){1 - .5 * .8 * .9}, 1, 1e-15);
	br_bandit_scale_features(features, 2, .25, scaled);
	assert_true(scaled[0] == .5F && scaled[1] == -1);
}

/* ---- marginals ---- */

/* Softmax without a uniform share draws slates of the Plackett-Luce model: all 60 of 5 arms. */
static void
marginals_sum_over_all_slates(void **state)
{
	BanditPolicy policy;
	BrSlateRequest request = {.pool = 5, .slots = 3, .key = 4};
	BrSlate slate;
	double weight[5];
	double expected[15] = {0};
	double probability[15];
	bool estimated = true;

	(void) state;
	bandit_policy_open(&policy, "softmax", BR_MODEL_ARM, 0, 5);
	bandit_teach(&policy);
	policy.spec.parameters.epsilon = 0;
	policy.spec.parameters.temperature = .2;
	bandit_refresh(&policy);
	assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &request, &slate), BR_OK);
	for (int i = 0; i < 5; i++)
		weight[i] = exp(slate.expected[i] / .2);
	br_bandit_slate_free(&policy.context, &slate);
	for (int i = 0; i < 125; i++)
	{
		int arms[3] = {i / 25, i / 5 % 5, i % 5};
		double remaining = weight[0] + weight[1] + weight[2] + weight[3] + weight[4];
		double p = arms[0] != arms[1] && arms[0] != arms[2] && arms[1] != arms[2];

		for (int k = 0; k < 3 && p > 0; k++)
		{
			p *= weight[arms[k]] / remaining;
			remaining -= weight[arms[k]];
		}
		for (int k = 0; k < 3; k++)
			expected[arms[k] * 3 + k] += p;
	}
	assert_int_equal(br_bandit_marginals(&policy.context, policy.belief, &request, 0, &estimated,
										 probability),
					 BR_OK);
	assert_false(estimated);
	assert_near(probability, expected, 15, 1e-12);
	bandit_policy_close(&policy);
}

/* 40 members in 4 slots have 60,881 beginnings; all alike, each stands anywhere with 1/40. */
static void
marginals_of_large_pools_are_replayed(void **state)
{
	BanditPolicy policy;
	BrSlateRequest request = {.pool = 40, .slots = 4, .key = 9};
	double probability[160];
	bool estimated = false;

	(void) state;
	bandit_policy_open(&policy, "softmax", BR_MODEL_ARM, 0, 40);
	bandit_refresh(&policy);
	assert_int_equal(br_bandit_marginals(&policy.context, policy.belief, &request, 9999, &estimated,
										 probability),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bandit_marginals(&policy.context, policy.belief, &request, 10000,
										 &estimated, probability),
					 BR_OK);
	assert_true(estimated);
	for (int k = 0; k < 4; k++)
	{
		double sum = 0;

		for (int b = 0; b < 40; b++)
		{
			/* 5 standard errors of 10,000 draws */
			assert_near(&probability[b * 4 + k], (double[]){1 / 40.0}, 1,
						5 * sqrt(.025 * .975 / 10000));
			sum += probability[b * 4 + k];
		}
		assert_near(&sum, (double[]){1}, 1, 1e-9);
	}
	bandit_policy_close(&policy);
}

static void
marginals_of_small_pools_end_with_the_pool(void **state)
{
	static const double expected[6] = {.5, .5, 0, .5, .5, 0};
	BanditPolicy policy;
	BrSlateRequest request = {.pool = 2, .slots = 3, .key = 4};
	double probability[6];
	bool estimated;

	(void) state;
	bandit_policy_open(&policy, "softmax", BR_MODEL_ARM, 0, 2);
	bandit_refresh(&policy);
	assert_int_equal(br_bandit_marginals(&policy.context, policy.belief, &request, 0, &estimated,
										 probability),
					 BR_OK);
	assert_near(probability, expected, 6, 1e-15);
	request.slots = 0;
	assert_int_equal(br_bandit_marginals(&policy.context, policy.belief, &request, 0, &estimated,
										 probability),
					 BR_ERR_ARGUMENT);
	bandit_policy_close(&policy);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(position_model_matches_numpy),
		cmocka_unit_test(position_model_finds_the_truth),
		cmocka_unit_test(unlinked_positions_are_refused),
		cmocka_unit_test(position_model_refuses),
		cmocka_unit_test(cascade_model_matches_hand_arithmetic),
		cmocka_unit_test(expected_clicks_match_hand_arithmetic),
		cmocka_unit_test(marginals_sum_over_all_slates),
		cmocka_unit_test(marginals_of_large_pools_are_replayed),
		cmocka_unit_test(marginals_of_small_pools_end_with_the_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
