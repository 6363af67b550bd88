/*
 * test_eval_off_policy.c
 *	  Off-policy estimators: states merged in any order, and intervals that cover
 *	  the truth of simulators as often as they say.
 *
 * Values of single estimators are compared with the reference's in
 * test/sql/evaluation.sql.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/eval/br_eval.h"

#define CONTEXTS 4
#define ACTIONS 5
#define ROWS 1000
#define REPETITIONS 2000

/* NaN is near nothing */
#define assert_near(value, expected, tolerance) \
	assert_true(fabs((value) - (expected)) <= (tolerance) *fabs(expected))

/* A contextual problem: contexts are equally likely, rewards are 0 or 1. */
typedef struct Problem
{
	double logged[CONTEXTS][ACTIONS];
	double target[CONTEXTS][ACTIONS];
	double rate[CONTEXTS][ACTIONS];
	double predicted[CONTEXTS][ACTIONS]; /* off by up to a quarter of the rate */
	double truth;						 /* what the target policy earns on average */
} Problem;

static Problem
make_problem(void)
{
	Problem problem = {.truth = 0};

	for (int x = 0; x < CONTEXTS; x++)
	{
		double logged = 0, target = 0;

		for (int a = 0; a < ACTIONS; a++)
		{
			logged += problem.logged[x][a] = 1 + (x + 2 * a) % 5;
			target += problem.target[x][a] = 1 + (3 * x + a) % 4;
		}
		for (int a = 0; a < ACTIONS; a++)
		{
			problem.logged[x][a] /= logged;
			problem.target[x][a] /= target;
			problem.rate[x][a] = .1 + .08 * ((x + 3 * a) % 9);
			problem.predicted[x][a] = problem.rate[x][a] * (.75 + .125 * ((x + a) % 5));
			problem.truth += problem.target[x][a] * problem.rate[x][a] / CONTEXTS;
		}
	}
	return problem;
}

/* Predictions that are right wherever the weight is above tau: there Switch-DR has no bias. */
static void
predict_rare_actions_well(Problem *problem, double tau)
{
	for (int x = 0; x < CONTEXTS; x++)
		for (int a = 0; a < ACTIONS; a++)
			if (problem->target[x][a] > tau * problem->logged[x][a])
				problem->predicted[x][a] = problem->rate[x][a];
}

static BrLoggedRow
draw_row(const Problem *problem, BrRandom *random, double shift)
{
	int x = (int) br_base_random_below(random, CONTEXTS);
	double u = br_base_random_uniform(random);
	int a = 0;
	BrLoggedRow row = {0};

	while (a < ACTIONS - 1 && u >= problem->logged[x][a])
		u -= problem->logged[x][a++];
	row.reward = (br_base_random_uniform(random) < problem->rate[x][a]) + shift;
	row.target = problem->target[x][a];
	row.logged = problem->logged[x][a];
	row.predicted = problem->predicted[x][a];
	for (int b = 0; b < ACTIONS; b++)
		row.expected += problem->target[x][b] * problem->predicted[x][b];
	return row;
}

static void
add(double *state, BrLoggedRow row)
{
	BrContext context;
	BrEstimator estimator = (BrEstimator) state[BR_STATE_ESTIMATOR];

	br_base_context_init(&context);
	if (estimator == BR_ESTIMATOR_IPS || estimator == BR_ESTIMATOR_SNIPS ||
		estimator == BR_ESTIMATOR_CLIPPED_IPS)
		row.predicted = row.expected = 0;
	if (estimator == BR_ESTIMATOR_SWITCH_DR)
		row.parameter = 2;
	if (estimator == BR_ESTIMATOR_CLIPPED_IPS || estimator == BR_ESTIMATOR_DR_OS)
		row.parameter = 1.5;
	assert_int_equal(br_eval_add_row(&context, state, &row), BR_OK);
}

static BrEstimate
estimate_of(const double *state)
{
	BrContext context;
	BrEstimate estimate;

	br_base_context_init(&context);
	assert_int_equal(br_eval_state_check(&context, state), BR_OK);
	assert_int_equal(br_eval_estimate(&context, state, &estimate), BR_OK);
	return estimate;
}

static void
assert_same(const BrEstimate *a, const BrEstimate *b)
{
	assert_int_equal(a->rows, b->rows);
	assert_near(a->value, b->value, 1e-12);
	assert_near(a->standard_error, b->standard_error, 1e-10);
	assert_near(a->effective_sample_size, b->effective_sample_size, 1e-12);
	assert_near(a->mean_weight, b->mean_weight, 1e-12);
	assert_true(a->max_weight == b->max_weight);
}

static void
parts_in_any_order_are_the_whole(void **state)
{
	static const BrEstimator estimators[] = {BR_ESTIMATOR_IPS,	 BR_ESTIMATOR_CLIPPED_IPS,
											 BR_ESTIMATOR_SNIPS, BR_ESTIMATOR_DR,
											 BR_ESTIMATOR_SNDR,	 BR_ESTIMATOR_SWITCH_DR,
											 BR_ESTIMATOR_DR_OS};
	Problem problem = make_problem();
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (size_t e = 0; e < sizeof(estimators) / sizeof(*estimators); e++)
	{
		double whole[BR_STATE_SIZE], parts[7][BR_STATE_SIZE], joined[BR_STATE_SIZE];
		BrEstimate left, right;
		BrRandom random;

		br_base_random_init(&random, 1, e);
		br_eval_state_init(whole, estimators[e]);
		br_eval_state_init(joined, estimators[e]);
		for (int part = 0; part < 7; part++)
			br_eval_state_init(parts[part], estimators[e]);
		for (int i = 0; i < ROWS; i++)
		{
			BrLoggedRow row = draw_row(&problem, &random, 1000);

			add(whole, row);
			/* part 6 stays empty */
			add(parts[br_base_random_below(&random, 6)], row);
		}
		for (int part = 6; part >= 0; part--)
			assert_int_equal(br_eval_combine(&context, joined, parts[part]), BR_OK);
		left = estimate_of(whole);
		right = estimate_of(joined);
		assert_same(&left, &right);
	}
}

/* How often value +- 1.959964 standard errors holds the truth. */
static double
coverage_of(const Problem *problem, BrEstimator estimator)
{
	int covered = 0;

	for (int r = 0; r < REPETITIONS; r++)
	{
		double state[BR_STATE_SIZE];
		BrEstimate estimate;
		BrRandom random;

		br_base_random_init(&random, 20, (uint64_t) r);
		br_eval_state_init(state, estimator);
		for (int i = 0; i < ROWS; i++)
			add(state, draw_row(problem, &random, 0));
		estimate = estimate_of(state);
		covered += fabs(estimate.value - problem->truth) < 1.959964 * estimate.standard_error;
	}
	return (double) covered / REPETITIONS;
}

static void
intervals_cover_the_truth(void **state)
{
	static const BrEstimator estimators[] = {BR_ESTIMATOR_IPS, BR_ESTIMATOR_SNIPS, BR_ESTIMATOR_DR,
											 BR_ESTIMATOR_SNDR, BR_ESTIMATOR_SWITCH_DR};
	Problem problem = make_problem();

	(void) state;
	for (size_t e = 0; e < sizeof(estimators) / sizeof(*estimators); e++)
	{
		double coverage;

		if (estimators[e] == BR_ESTIMATOR_SWITCH_DR)
			predict_rare_actions_well(&problem, 2);
		coverage = coverage_of(&problem, estimators[e]);
		if (coverage < .93 || coverage > .97)
			fail_msg("intervals of %s cover the truth in %.4f of the runs",
					 br_eval_estimator_name(estimators[e]), coverage);
	}
}

/* ---- users whose rows are alike ---- */

#define USERS 300
#define ROWS_PER_USER 6

/* One log: each user has a taste, so that his rewards go together. */
static void
draw_users(uint64_t run, BrEstimator estimator, const Problem *problem, double *rows,
		   double *clusters)
{
	BrContext context;
	BrRandom random;

	br_base_context_init(&context);
	br_base_random_init(&random, 21, run);
	br_eval_state_init(rows, estimator);
	memset(clusters, 0, sizeof(*clusters) * BR_CLUSTERS_SIZE);
	for (int user = 0; user < USERS; user++)
	{
		double one[BR_STATE_SIZE];
		double taste = 2 * br_base_random_uniform(&random) - 1;
		int n = 1 + (int) br_base_random_below(&random, 2 * ROWS_PER_USER);

		br_eval_state_init(one, estimator);
		for (int i = 0; i < n; i++)
		{
			BrLoggedRow row = draw_row(problem, &random, taste);

			add(rows, row);
			add(one, row);
		}
		assert_int_equal(br_eval_clusters_add(&context, clusters, one), BR_OK);
	}
	assert_int_equal(br_eval_clusters_check(&context, clusters), BR_OK);
}

static void
clustered_intervals_cover_the_truth(void **state)
{
	static const BrEstimator estimators[] = {BR_ESTIMATOR_IPS, BR_ESTIMATOR_SNIPS,
											 BR_ESTIMATOR_SNDR};
	Problem problem = make_problem();
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (size_t e = 0; e < sizeof(estimators) / sizeof(*estimators); e++)
	{
		int covered = 0, plain_covered = 0;

		for (int r = 0; r < REPETITIONS; r++)
		{
			double rows[BR_STATE_SIZE], clusters[BR_CLUSTERS_SIZE];
			BrEstimate plain, clustered;
			double off;

			draw_users((uint64_t) r, estimators[e], &problem, rows, clusters);
			plain = estimate_of(rows);
			assert_int_equal(br_eval_clusters_estimate(&context, clusters, &clustered), BR_OK);
			assert_near(clustered.value, plain.value, 1e-12);
			assert_near(clustered.effective_sample_size, plain.effective_sample_size, 1e-12);
			off = fabs(plain.value - problem.truth);
			covered += off < 1.959964 * clustered.standard_error;
			plain_covered += off < 1.959964 * plain.standard_error;
		}
		if (covered < .93 * REPETITIONS || covered > .97 * REPETITIONS)
			fail_msg("clustered intervals of %s cover the truth in %d of %d runs",
					 br_eval_estimator_name(estimators[e]), covered, REPETITIONS);
		/* the harness tells the two apart */
		assert_true(plain_covered < .9 * REPETITIONS);
	}
}

/* ---- the bootstrap ---- */

#define DRAWN_ROWS 300
#define REPLICATES 250

/* One unit that counts 1: its sums in the replicates are Poisson numbers of mean 1. */
static void
counts_are_poisson(void **state)
{
	/* exp(-1) / k! */
	static const double chances[] = {0.36787944117144233, 0.36787944117144233, 0.18393972058572117,
									 0.06131324019524039, 0.015328310048810098};
	static double sums[BR_BOOTSTRAP_SIZE(BR_BOOTSTRAP_MAX_REPLICATES)];
	const int n = BR_BOOTSTRAP_MAX_REPLICATES;
	double one[BR_STATE_SIZE];
	int seen[5] = {0};
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	br_eval_state_init(one, BR_ESTIMATOR_DM);
	add(one, (BrLoggedRow){.expected = 1});
	br_eval_bootstrap_init(sums, n, -3, .9);
	assert_int_equal(br_eval_bootstrap_check_sums(&context, sums, n), BR_OK);
	assert_int_equal(br_eval_bootstrap_add(&context, sums, n, one, "unit", 4), BR_OK);
	for (int r = 0; r < n; r++)
	{
		double count = sums[BR_BOOTSTRAP_SUMS + 4 * r];

		if (count < 5)
			seen[(int) count]++;
	}
	for (int k = 0; k < 5; k++)
		assert_true(fabs(seen[k] - n * chances[k]) < 4 * sqrt(n * chances[k] * (1 - chances[k])));
}

static BrBounds
redraw(const Problem *problem, BrEstimator estimator, uint64_t run)
{
	static double sums[BR_BOOTSTRAP_SIZE(REPLICATES)], half[BR_BOOTSTRAP_SIZE(REPLICATES)];
	BrBounds bounds;
	BrContext context;
	BrRandom random;

	br_base_context_init(&context);
	br_base_random_init(&random, 22, run);
	br_eval_bootstrap_init(sums, REPLICATES, (int64_t) run, .95);
	br_eval_bootstrap_init(half, REPLICATES, (int64_t) run, .95);
	for (int i = 0; i < DRAWN_ROWS; i++)
	{
		double one[BR_STATE_SIZE];

		br_eval_state_init(one, estimator);
		add(one, draw_row(problem, &random, 0));
		assert_int_equal(br_eval_bootstrap_add(&context, i % 2 ? sums : half, REPLICATES, one, &i,
											   sizeof(i)),
						 BR_OK);
	}
	assert_int_equal(br_eval_bootstrap_combine(&context, sums, half, REPLICATES), BR_OK);
	assert_int_equal(br_eval_bootstrap_bounds(&context, sums, REPLICATES, &bounds), BR_OK);
	return bounds;
}

static void
bootstrap_intervals_cover_the_truth(void **state)
{
	static const BrEstimator estimators[] = {BR_ESTIMATOR_SNIPS, BR_ESTIMATOR_SNDR};
	Problem problem = make_problem();

	(void) state;
	for (size_t e = 0; e < sizeof(estimators) / sizeof(*estimators); e++)
	{
		int covered = 0;

		for (int r = 0; r < REPETITIONS / 2; r++)
		{
			BrBounds bounds = redraw(&problem, estimators[e], (uint64_t) r);

			covered += bounds.lower < problem.truth && bounds.upper > problem.truth;
		}
		if (covered < .93 * REPETITIONS / 2 || covered > .97 * REPETITIONS / 2)
			fail_msg("bootstrap intervals of %s cover the truth in %d of %d runs",
					 br_eval_estimator_name(estimators[e]), covered, REPETITIONS / 2);
	}
}

/* No count of rows is too small for the empirical Bernstein interval. */
static void
bernstein_intervals_hold_for_few_rows(void **state)
{
	Problem problem = make_problem();
	BrContext context;
	int covered = 0;

	(void) state;
	br_base_context_init(&context);
	for (int r = 0; r < REPETITIONS; r++)
	{
		double rows[BR_STATE_SIZE];
		BrEstimate estimate;
		BrBounds bounds;
		BrRandom random;

		br_base_random_init(&random, 23, (uint64_t) r);
		br_eval_state_init(rows, BR_ESTIMATOR_IPS);
		for (int i = 0; i < 20; i++)
			add(rows, draw_row(&problem, &random, 0));
		estimate = estimate_of(rows);
		/* no weight of the problem is above 8 */
		assert_true(estimate.max_weight < 8);
		assert_int_equal(br_eval_bernstein_bounds(&context, &estimate, .95, 0, 8, &bounds), BR_OK);
		covered += bounds.lower <= problem.truth && bounds.upper >= problem.truth;
	}
	assert_true(covered >= .95 * REPETITIONS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_in_any_order_are_the_whole),
		cmocka_unit_test(intervals_cover_the_truth),
		cmocka_unit_test(clustered_intervals_cover_the_truth),
		cmocka_unit_test(counts_are_poisson),
		cmocka_unit_test(bootstrap_intervals_cover_the_truth),
		cmocka_unit_test(bernstein_intervals_hold_for_few_rows),
	};

	return cmocka_run_group_tests_name("eval_off_policy", tests, NULL, NULL);
}
