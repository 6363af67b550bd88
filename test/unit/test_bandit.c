/*
 * test_bandit.c
 *	  What a linear policy believes: evidence, posterior, draws.
 *
 * Expected posteriors are numpy 2.4.6's (linalg.solve, cholesky, inv). The
 * expected draw comes from a separate implementation in pure Python, written
 * from the papers: Philox4x32-10, AS 241, Cholesky.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/bandit_fixture.h"

static const double example_covariance[DIMS][DIMS] =
	{{0.07533278621671329, -0.054460523827788675, -0.024553802153646387, -0.055835386169343006},
	 {-0.05446052382778866, 0.13267683763491564, 0.024844827518702553, 0.027100160323419772},
	 {-0.024553802153646387, 0.024844827518702556, 0.12060064055438817, -0.014401334897357882},
	 {-0.055835386169343, 0.02710016032341977, -0.01440133489735788, 0.1330867174494386}};

static void
posterior_matches_numpy(void **state)
{
	static const double factor[] = {5.477225575051661,	1.6317567859008073,	 2.878643524590474,
									1.0269797953221864, -0.6717030898346746, 2.898340466388749,
									2.0767813638737547, -0.6588570509449071, 0.3136298836049241,
									2.741149001640883};
	BanditFixture fixture;

	(void) state;
	bandit_set_up(&fixture);
	assert_int_equal(br_bandit_evidence_length(DIMS), EVIDENCE_LENGTH);
	/* weights 1+1+.5+1+.25+1+.75+1; rewards 1 + .5 + .25 * 1.5^2 + 1 */
	bandit_assert_near(fixture.evidence[0], 6.5, 0);
	bandit_assert_near(fixture.evidence[1], 3.0625, 0);
	for (int i = 0; i < DIMS; i++)
		bandit_assert_near(fixture.mean[i], bandit_mean[i], 1e-14);
	for (size_t i = 0; i < BR_MATH_PACKED(DIMS); i++)
		bandit_assert_near(fixture.factor[i], factor[i], 1e-14);
}

static void
no_evidence_gives_the_prior(void **state)
{
	BanditFixture fixture;

	(void) state;
	bandit_set_up(&fixture);
	memset(fixture.evidence, 0, sizeof(fixture.evidence));
	assert_int_equal(br_bandit_posterior(&fixture.context, fixture.evidence, &bandit_prior,
										 &fixture.posterior),
					 BR_OK);
	for (int i = 0; i < DIMS; i++)
	{
		bandit_assert_near(fixture.mean[i], bandit_prior_mean[i], 0);
		for (int j = 0; j <= i; j++)
			bandit_assert_near(fixture.factor[i * (i + 1) / 2 + j], i == j ? 2 : 0, 0);
	}
}

static void
merge_is_the_sum_of_both_halves(void **state)
{
	BanditFixture fixture;
	double left[EVIDENCE_LENGTH] = {0};
	double right[EVIDENCE_LENGTH] = {0};

	(void) state;
	bandit_set_up(&fixture);
	for (int b = 0; b < POOL; b++)
		bandit_add_shown(b % 2 == 0 ? left : right, b);
	br_bandit_evidence_merge(left, right, DIMS);
	for (int i = 0; i < EVIDENCE_LENGTH; i++)
		bandit_assert_near(left[i], fixture.evidence[i], 1e-15);
}

/* 2^-3: exact in binary, so scaling first or last is the same to the bit */
static void
scaled_evidence_is_that_of_smaller_weights(void **state)
{
	double scaled[EVIDENCE_LENGTH] = {0};
	double light[EVIDENCE_LENGTH] = {0};

	(void) state;
	for (int b = 0; b < POOL; b++)
	{
		br_bandit_evidence_add_slot(scaled, DIMS, bandit_shown[b], 1);
		br_bandit_evidence_add_reward(scaled, DIMS, bandit_shown[b], 1, 2, 3);
		br_bandit_evidence_add_slot(light, DIMS, bandit_shown[b], 0.125);
		br_bandit_evidence_add_reward(light, DIMS, bandit_shown[b], 0.125, 2, 3);
	}
	br_bandit_evidence_scale(scaled, EVIDENCE_LENGTH, 0.125);
	assert_memory_equal(scaled, light, sizeof(scaled));
	assert_true(scaled[0] > 0 && scaled[1] > 0);
}

static void
reversed_reward_cancels(void **state)
{
	static const double rewards[] = {0.1, 19.99, 0.3, 1e3};
	BanditFixture fixture;
	double evidence[EVIDENCE_LENGTH];
	double total = 0;

	(void) state;
	bandit_set_up(&fixture);
	memcpy(evidence, fixture.evidence, sizeof(evidence));
	for (int i = 0; i < 4; i++)
	{
		br_bandit_evidence_add_reward(evidence, DIMS, bandit_shown[1], 0.7, total, rewards[i]);
		total += rewards[i];
	}
	assert_true(fabs(evidence[1] - fixture.evidence[1]) > 1e5);
	br_bandit_evidence_add_reward(evidence, DIMS, bandit_shown[1], 0.7, total, -total);
	/* sums as large as 7e5 were added: 1e-12 of that */
	for (int i = 0; i < EVIDENCE_LENGTH; i++)
		bandit_assert_near(evidence[i], fixture.evidence[i],
						   i == 1 ? 1e-12 * total * total : 1e-12);
}

static void
posterior_refuses(void **state)
{
	const double bad_mean[DIMS] = {0, 0, NAN, 0};
	const struct
	{
		BrLinearPrior prior;
		int dims;
		int damaged; /* element of the evidence, -1: none */
		double damage;
		BrStatus status;
		const char *detail;
	} cases[] =
		{{{bandit_prior_mean, 0, 1}, DIMS, -1, 0, BR_ERR_ARGUMENT, "precision is 0"},
		 {{bandit_prior_mean, -1, 1}, DIMS, -1, 0, BR_ERR_ARGUMENT, "precision is -1"},
		 {{bandit_prior_mean, NAN, 1}, DIMS, -1, 0, BR_ERR_ARGUMENT, "precision is nan"},
		 {{bandit_prior_mean, 1, 0}, DIMS, -1, 0, BR_ERR_ARGUMENT, "noise variance is 0"},
		 {{bandit_prior_mean, 1, INFINITY}, DIMS, -1, 0, BR_ERR_ARGUMENT, "noise variance is inf"},
		 {{bad_mean, 1, 1}, DIMS, -1, 0, BR_ERR_ARGUMENT, "prior mean of feature 3 is nan"},
		 {{bandit_prior_mean, 1, 1}, 0, -1, 0, BR_ERR_ARGUMENT, "0 features"},
		 {{bandit_prior_mean, 1, 1}, 513, -1, 0, BR_ERR_ARGUMENT, "513 features"},
		 {{bandit_prior_mean, 1, 1},
		  DIMS,
		  3,
		  NAN,
		  BR_ERR_NUMERIC,
		  "Element 4 of the evidence is nan"},
		 {{bandit_prior_mean, 1, 1}, DIMS, 7, -INFINITY, BR_ERR_NUMERIC, "Element 8"},
		 {{bandit_prior_mean, 1, 1}, DIMS, 6, -100, BR_ERR_NUMERIC, "not positive semidefinite"},
		 {{bandit_prior_mean, 1, 1e-320}, DIMS, -1, 0, BR_ERR_NUMERIC, "overflows"},
		 {{bandit_prior_mean, 1, 1e-10},
		  DIMS,
		  2,
		  1e300,
		  BR_ERR_NUMERIC,
		  "posterior mean of feature"}};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		BanditFixture fixture;

		bandit_set_up(&fixture);
		fixture.posterior.dims = cases[i].dims;
		if (cases[i].damaged >= 0)
			fixture.evidence[cases[i].damaged] = cases[i].damage;
		assert_int_equal(br_bandit_posterior(&fixture.context, fixture.evidence, &cases[i].prior,
											 &fixture.posterior),
						 cases[i].status);
		if (strstr(fixture.context.detail, cases[i].detail) == NULL)
			fail_msg("case %zu: \"%s\" lacks \"%s\"", i, fixture.context.detail, cases[i].detail);
	}
}

static void
draw_matches_independent_implementation(void **state)
{
	static const double expected[] = {0.7031663333502813, 0.9197648101405611, 0.45021015501453077,
									  -0.8761948251231129};
	BanditFixture fixture;
	double theta[DIMS];

	(void) state;
	bandit_set_up(&fixture);
	br_bandit_draw(&fixture.posterior, UINT64_C(0x0123456789abcdef), BR_BANDIT_STREAM_DRAW + 5,
				   theta);
	for (int i = 0; i < DIMS; i++)
		bandit_assert_near(theta[i], expected[i], 1e-14);
}

/* Standard errors: of a mean sqrt(S_ii / n), of a covariance sqrt((S_ii S_jj + S_ij^2) / n). */
static void
draws_have_the_posterior_moments(void **state)
{
	enum
	{
		DRAWS = 200000
	};
	BanditFixture fixture;
	double sum[DIMS] = {0};
	double product[DIMS][DIMS] = {{0}};

	(void) state;
	bandit_set_up(&fixture);
	for (int n = 0; n < DRAWS; n++)
	{
		double theta[DIMS];

		br_bandit_draw(&fixture.posterior, 77, BR_BANDIT_STREAM_DRAW + (uint64_t) n, theta);
		for (int i = 0; i < DIMS; i++)
		{
			sum[i] += theta[i] - bandit_mean[i];
			for (int j = 0; j < DIMS; j++)
				product[i][j] += (theta[i] - bandit_mean[i]) * (theta[j] - bandit_mean[j]);
		}
	}
	for (int i = 0; i < DIMS; i++)
	{
		bandit_assert_near(sum[i] / DRAWS, 0, 4 * sqrt(example_covariance[i][i] / DRAWS));
		for (int j = 0; j <= i; j++)
		{
			double variance = example_covariance[i][i] * example_covariance[j][j] +
				example_covariance[i][j] * example_covariance[i][j];

			bandit_assert_near(product[i][j] / DRAWS, example_covariance[i][j],
							   4 * sqrt(variance / DRAWS));
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(posterior_matches_numpy),
		cmocka_unit_test(no_evidence_gives_the_prior),
		cmocka_unit_test(merge_is_the_sum_of_both_halves),
		cmocka_unit_test(scaled_evidence_is_that_of_smaller_weights),
		cmocka_unit_test(reversed_reward_cancels),
		cmocka_unit_test(posterior_refuses),
		cmocka_unit_test(draw_matches_independent_implementation),
		cmocka_unit_test(draws_have_the_posterior_moments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
