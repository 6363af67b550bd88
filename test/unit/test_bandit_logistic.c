/*
 * test_bandit_logistic.c
 *	  Laplace's approximation of a logistic model.
 *
 * Modes and precisions are Newton's method in mpmath 1.3.0 with 40 digits;
 * where rewards are 0 or 1 and the prior mean 0, scikit-learn 1.9.1's
 * LogisticRegression(C = 1 / prior precision, fit_intercept=False,
 * tol=1e-14, solver='newton-cholesky') gives the same to 1e-15, else
 * scipy 1.17's optimize.minimize to 5e-8.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bandit/br_bandit.h"
#include "core/math/br_math.h"

#define SLOTS 12
#define DIMS 3
#define LENGTH 11 /* 2 + 3 + 6 */

static const float features[SLOTS * DIMS] = {1, .5,	 -1,  1, -.25, 2,	1, 1.5, 0,	1, -2,	 .75,
											 1, 0,	 -.5, 1, .125, 1,	1, 3,	-2, 1, -1,	 -1,
											 1, .75, .25, 1, -.5,  1.5, 1, 2,	.5, 1, -1.5, -.25};
static const double rewards[SLOTS] = {1, 0, 1, 0, .25, .5, 1, 0, .75, 0, 1, .125};
static const double clicks[SLOTS] = {1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0};
static const double weights[SLOTS] = {1, 1, .5, 1, .75, 1, 2, 1, .25, 1, 1, .5};
static const double prior_mean[DIMS] = {-.5, .25, 0};

static BrPolicySpec
logistic(int dims, double precision, const double *mean)
{
	const BrAlgorithm *algorithm = br_bandit_algorithm("logistic_thompson");
	BrPolicySpec spec = {algorithm, BR_MODEL_SHARED, dims,
						 br_bandit_default_parameters(algorithm, BR_MODEL_SHARED), mean};

	spec.parameters.prior_precision = precision;
	return spec;
}

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
fit_matches_exact_values(void **state)
{
	static const double expected[LENGTH] = {11,
											5.4375,
											-0.41817135607063867,
											1.4009120540667166,
											-0.47288822607075624,
											2.1366540777927391,
											0.15263342202644004,
											1.9635845543315926,
											0.2209550422065139,
											-0.0963723556140902,
											2.3478268683008769};
	BrPolicySpec spec = logistic(DIMS, .8, prior_mean);
	double evidence[LENGTH];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_fit(&context, &spec, SLOTS, features, rewards, weights, evidence),
					 BR_OK);
	assert_near(evidence, expected, LENGTH, 1e-14);
}

static void
fit_matches_scikit_learn(void **state)
{
	static const double expected[DIMS] = {-0.5376417626512978, 1.3472072609334034,
										  -0.6336364589018203};
	BrPolicySpec spec = logistic(DIMS, .8, NULL);
	double evidence[LENGTH];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_fit(&context, &spec, SLOTS, features, clicks, weights, evidence),
					 BR_OK);
	assert_near(evidence + 2, expected, DIMS, 1e-14);
}

/* Rewards that a sign tells apart: without a prior theta would be infinite. */
static void
separable_rewards_stay_finite(void **state)
{
	static const float separable[3] = {-1, 1, 2};
	static const double reward[3] = {0, 1, 1};
	static const double one[3] = {1, 1, 1};
	BrPolicySpec spec = logistic(1, .01, NULL);
	double evidence[4];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_fit(&context, &spec, 3, separable, reward, one, evidence), BR_OK);
	assert_near(evidence + 2, (double[]){3.9300388269793968, 0.049328941559669863}, 2, 1e-13);

	/* the mode solves lambda theta = sum x (r - p), wherever it lies */
	spec.parameters.prior_precision = 1e-9;
	assert_int_equal(br_bandit_fit(&context, &spec, 3, separable, reward, one, evidence), BR_OK);
	assert_true(evidence[2] > 15 && evidence[2] < 25);
	assert_near((double[]){2 * br_math_logistic(-evidence[2]) +
						   2 * br_math_logistic(-2 * evidence[2])},
				(double[]){1e-9 * evidence[2]}, 1, 1e-20);
}

/* Far from the mode a whole Newton step would overshoot without end. */
static void
far_priors_are_left(void **state)
{
	static const double far[DIMS] = {40, -60, 80};
	BrPolicySpec spec = logistic(DIMS, 1e-6, far);
	double evidence[LENGTH];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_fit(&context, &spec, SLOTS, features, rewards, weights, evidence),
					 BR_OK);
	for (int i = 0; i < DIMS; i++)
	{
		double gradient = 1e-6 * (far[i] - evidence[2 + i]);

		for (int slot = 0; slot < SLOTS; slot++)
		{
			double s = 0;

			for (int j = 0; j < DIMS; j++)
				s += (double) features[slot * DIMS + j] * evidence[2 + j];
			gradient += weights[slot] * (rewards[slot] - 1 / (1 + exp(-s))) *
				(double) features[slot * DIMS + i];
		}
		assert_near(&gradient, (double[]){0}, 1, 1e-12);
	}
}

static void
no_slots_leave_the_prior(void **state)
{
	static const double expected[LENGTH] = {0, 0, -.5, .25, 0, .8, 0, .8, 0, 0, .8};
	static const double nothing[SLOTS] = {0};
	BrPolicySpec spec = logistic(DIMS, .8, prior_mean);
	double evidence[LENGTH];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_fit(&context, &spec, 0, NULL, NULL, NULL, evidence), BR_OK);
	assert_near(evidence, expected, LENGTH, 0);
	assert_int_equal(br_bandit_fit(&context, &spec, SLOTS, features, rewards, nothing, evidence),
					 BR_OK);
	assert_near(evidence, expected, LENGTH, 0);
}

static void
fit_refuses(void **state)
{
	BrPolicySpec spec = logistic(DIMS, .8, prior_mean);
	BrPolicySpec without = logistic(DIMS, 0, NULL);
	BrPolicySpec flat = logistic(DIMS, .8, NULL);
	double changed[SLOTS];
	float damaged[SLOTS * DIMS];
	double evidence[LENGTH];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	memcpy(changed, rewards, sizeof(changed));
	changed[4] = 1.5;
	assert_int_equal(br_bandit_fit(&context, &spec, SLOTS, features, changed, weights, evidence),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "The reward of slot 5 is 1.5"));
	memcpy(changed, weights, sizeof(changed));
	changed[11] = INFINITY;
	assert_int_equal(br_bandit_fit(&context, &spec, SLOTS, features, rewards, changed, evidence),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "The weight of slot 12 is inf"));
	memcpy(damaged, features, sizeof(damaged));
	damaged[7] = NAN;
	assert_int_equal(br_bandit_fit(&context, &spec, SLOTS, damaged, rewards, weights, evidence),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "Feature 2 of slot 3 is nan"));
	assert_int_equal(br_bandit_fit(&context, &without, SLOTS, features, rewards, weights, evidence),
					 BR_ERR_ARGUMENT);

	/* weights of 1e300 times features of 1e20 leave the doubles */
	memcpy(damaged, features, sizeof(damaged));
	damaged[1] = 1e20F;
	memcpy(changed, weights, sizeof(changed));
	changed[0] = 1e300;
	assert_int_equal(br_bandit_fit(&context, &flat, SLOTS, damaged, rewards, changed, evidence),
					 BR_ERR_NUMERIC);
}

static bool
always(void *arg)
{
	(void) arg;
	return true;
}

static void
fit_is_cancelled(void **state)
{
	BrPolicySpec spec = logistic(DIMS, .8, prior_mean);
	double evidence[LENGTH];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	context.cancel.requested = always;
	assert_int_equal(br_bandit_fit(&context, &spec, SLOTS, features, rewards, weights, evidence),
					 BR_ERR_CANCELLED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fit_matches_exact_values),
		cmocka_unit_test(fit_matches_scikit_learn),
		cmocka_unit_test(separable_rewards_stay_finite),
		cmocka_unit_test(far_priors_are_left),
		cmocka_unit_test(no_slots_leave_the_prior),
		cmocka_unit_test(fit_refuses),
		cmocka_unit_test(fit_is_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
