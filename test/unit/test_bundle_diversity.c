/*
 * test_bundle_diversity.c
 *	  Choosing across a slate: equal to greedy choice by determinants and by
 *	  values of the objective that are computed anew for every set.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bundle/br_bundle.h"
#include "learn_countdown.h"

#define MAX_N 10
#define MAX_DIMS 24 /* well above MAX_N: determinants keep their digits */

#define assert_near(value, expected, tolerance) \
	assert_true(fabs((value) - (expected)) <= (tolerance))

/* Products of random unit vectors. */
static void
random_similarity(int n, int dims, uint64_t seed, double *similarity)
{
	double vectors[MAX_N][MAX_DIMS];
	BrRandom random;

	br_base_random_init(&random, seed, 0);
	for (int i = 0; i < n; i++)
	{
		double squares = 0;

		for (int d = 0; d < dims; d++)
		{
			vectors[i][d] = br_base_random_uniform(&random) - 0.3;
			squares += vectors[i][d] * vectors[i][d];
		}
		for (int d = 0; d < dims; d++)
			vectors[i][d] /= sqrt(squares);
	}
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
		{
			double sum = 0;

			for (int d = 0; d < dims; d++)
				sum += vectors[i][d] * vectors[j][d];
			similarity[i * n + j] = i == j ? 1 : sum;
		}
}

/* det of L over a set, by Gaussian elimination with pivots */
static double
determinant(const double *similarity, const double *log_quality, int n, const int *set, int size)
{
	double rows[MAX_N][MAX_N];
	double product = 1;

	for (int i = 0; i < size; i++)
		for (int j = 0; j < size; j++)
			rows[i][j] = exp(log_quality[set[i]]) * similarity[set[i] * n + set[j]] *
				exp(log_quality[set[j]]);
	for (int k = 0; k < size; k++)
	{
		int pivot = k;

		for (int i = k + 1; i < size; i++)
			if (fabs(rows[i][k]) > fabs(rows[pivot][k]))
				pivot = i;
		if (rows[pivot][k] == 0)
			return 0;
		if (pivot != k)
			product = -product;
		for (int j = 0; j < size; j++)
		{
			double held = rows[k][j];

			rows[k][j] = rows[pivot][j];
			rows[pivot][j] = held;
		}
		product *= rows[k][k];
		for (int i = k + 1; i < size; i++)
		{
			double factor = rows[i][k] / rows[k][k];

			for (int j = k; j < size; j++)
				rows[i][j] -= factor * rows[k][j];
		}
	}
	return product;
}

static bool
contains(const int *set, int size, int member)
{
	for (int i = 0; i < size; i++)
		if (set[i] == member)
			return true;
	return false;
}

/* ln det of the set with each other candidate, less ln det of the set */
static void
assert_gains(const double *similarity, const double *log_quality, int n, int *set, int size,
			 const double *gains)
{
	double before = determinant(similarity, log_quality, n, set, size);

	for (int i = 0; i < n; i++)
	{
		if (contains(set, size, i))
		{
			assert_true(gains[i] == -INFINITY);
			continue;
		}
		set[size] = i;
		assert_near(gains[i], log(determinant(similarity, log_quality, n, set, size + 1) / before),
					1e-9);
	}
}

static void
gains_are_ratios_of_determinants(void **state)
{
	(void) state;
	for (uint64_t seed = 1; seed <= 200; seed++)
	{
		int n = 2 + (int) (seed % (MAX_N - 1));
		double similarity[MAX_N * MAX_N];
		double log_quality[MAX_N];
		int set[MAX_N + 1];
		BrDiversity *diversity;
		BrContext context;
		BrRandom random;

		br_base_context_init(&context);
		br_base_random_init(&random, seed, 1);
		random_similarity(n, MAX_DIMS, seed, similarity);
		for (int i = 0; i < n; i++)
			log_quality[i] = 2 * br_base_random_uniform(&random) - 1;
		assert_int_equal(br_bundle_diversity_begin(&context, similarity, log_quality, n, n,
												   &diversity),
						 BR_OK);
		for (int size = 0; size < n; size++)
		{
			int next = (int) br_base_random_below(&random, (uint32_t) n);

			assert_gains(similarity, log_quality, n, set, size,
						 br_bundle_diversity_gains(diversity));
			while (contains(set, size, next))
				next = (next + 1) % n;
			set[size] = next;
			assert_int_equal(br_bundle_diversity_add(&context, diversity, next), BR_OK);
		}
		br_bundle_diversity_end(&context, diversity);
	}
}

static void
picks_have_the_largest_determinants(void **state)
{
	(void) state;
	for (uint64_t seed = 1; seed <= 200; seed++)
	{
		int n = 2 + (int) (seed % (MAX_N - 1));
		double similarity[MAX_N * MAX_N];
		double log_quality[MAX_N];
		int picks[MAX_N];
		int set[MAX_N + 1];
		int diverse;
		BrContext context;
		BrRandom random;

		br_base_context_init(&context);
		br_base_random_init(&random, seed, 2);
		random_similarity(n, MAX_DIMS, seed + 1000, similarity);
		for (int i = 0; i < n; i++)
			log_quality[i] =
				br_bundle_log_quality(br_base_random_uniform(&random), (double) (seed % 5) / 5);
		assert_int_equal(br_bundle_diverse(&context, similarity, log_quality, n, n, picks,
										   &diverse),
						 BR_OK);
		assert_int_equal(diverse, n);
		for (int size = 0; size < n; size++)
		{
			double best = -1;

			for (int i = 0; i < n; i++)
			{
				double here;

				set[size] = i;
				if (contains(set, size, i))
					continue;
				here = determinant(similarity, log_quality, n, set, size + 1);
				/* the first pick is often a tie: all have 1 without quality */
				if (here > best * (1 + 1e-12))
				{
					best = here;
					set[MAX_N] = i;
				}
			}
			assert_int_equal(picks[size], set[MAX_N]);
			set[size] = picks[size];
		}
	}
}

/*
 * Three dimensions hold three diverse members, and no fourth; what is left is
 * filled by quality.
 */
static void
repetitions_are_filled_by_quality(void **state)
{
	double similarity[8 * 8];
	double log_quality[8] = {0.1, 0.7, 0.3, 0.9, 0.5, 0.2, 0.8, 0.4};
	int best_first[8] = {3, 6, 1, 4, 7, 2, 5, 0};
	int picks[8];
	int diverse;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	random_similarity(8, 3, 4, similarity);
	assert_int_equal(br_bundle_diverse(&context, similarity, log_quality, 8, 8, picks, &diverse),
					 BR_OK);
	assert_int_equal(diverse, 3);
	for (int i = 3, j = 0; i < 8; i++, j++)
	{
		while (contains(picks, 3, best_first[j]))
			j++;
		assert_int_equal(picks[i], best_first[j]);
	}
}

/* one and the same thing twice: the second adds nothing, and taking it anyway changes nothing */
static void
duplicates_add_nothing(void **state)
{
	double similarity[9] = {1, 1, 0.5, 1, 1, 0.5, 0.5, 0.5, 1};
	double log_quality[3] = {0, 0, 0};
	const double *gains;
	BrDiversity *diversity;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bundle_diversity_begin(&context, similarity, log_quality, 3, 3, &diversity),
					 BR_OK);
	gains = br_bundle_diversity_gains(diversity);
	assert_true(gains[0] == 0 && gains[1] == 0 && gains[2] == 0);
	assert_int_equal(br_bundle_diversity_add(&context, diversity, 0), BR_OK);
	assert_true(gains[1] == -INFINITY);
	/* ln (1 - 1/4) */
	assert_near(gains[2], -0.2876820724517809, 1e-15);
	assert_int_equal(br_bundle_diversity_add(&context, diversity, 1), BR_OK);
	assert_near(gains[2], -0.2876820724517809, 1e-15);
	assert_int_equal(br_bundle_diversity_add(&context, diversity, 1), BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_diversity_add(&context, diversity, 3), BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_diversity_add(&context, diversity, -1), BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_diversity_add(&context, diversity, 2), BR_OK);
	br_bundle_diversity_end(&context, diversity);
}

static void
strangers_are_sorted_by_quality(void **state)
{
	double similarity[36] = {0};
	double log_quality[6] = {-800, 5, 700, 5, -3, 0};
	static const int expected[6] = {2, 1, 3, 5, 4, 0};
	int picks[6];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < 6; i++)
		similarity[i * 7] = 1;
	assert_int_equal(br_bundle_diverse(&context, similarity, log_quality, 6, 6, picks, NULL),
					 BR_OK);
	assert_memory_equal(picks, expected, sizeof(picks));
}

/*
 * Relevances 1, .9 and .5; the first two are alike (.9), the third is not. All
 * on relevance: 0, 1, 2; half of it on diversity: .5 - .95 < .5 ln 1 + .25.
 */
static void
theta_trades_relevance_for_diversity(void **state)
{
	double similarity[9] = {1, 0.9, 0, 0.9, 1, 0, 0, 0, 1};
	static const double relevance[3] = {1, 0.9, 0.5};
	static const double thetas[3] = {1, 0.5, 0.99};
	static const int second[3] = {1, 2, 1};
	double log_quality[3];
	int picks[2];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int t = 0; t < 3; t++)
	{
		for (int i = 0; i < 3; i++)
			log_quality[i] = br_bundle_log_quality(relevance[i], thetas[t]);
		assert_int_equal(br_bundle_diverse(&context, similarity, log_quality, 3, 2, picks, NULL),
						 BR_OK);
		assert_int_equal(picks[0], 0);
		assert_int_equal(picks[1], second[t]);
	}
	assert_near(br_bundle_log_quality(3, 0.75), 4.5, 1e-15);
	assert_true(br_bundle_log_quality(3, 0) == 0);
}

/* ---- facility location ---- */

static double
coverage(const double *similarity, const double *quality, int n, double gamma, unsigned set)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		if (set >> i & 1)
			sum += quality[i];
	for (int v = 0; v < n; v++)
	{
		double most = 0;

		for (int i = 0; i < n; i++)
			if ((set >> i & 1) && similarity[v * n + i] > most)
				most = similarity[v * n + i];
		sum += gamma * most;
	}
	return sum;
}

static double
best_coverage(const double *similarity, const double *quality, int n, double gamma, int k)
{
	double best = 0;

	for (unsigned set = 0; set < 1U << n; set++)
		if (__builtin_popcount(set) == k && coverage(similarity, quality, n, gamma, set) > best)
			best = coverage(similarity, quality, n, gamma, set);
	return best;
}

static void
covering_picks_what_raises_the_objective_most(void **state)
{
	(void) state;
	for (uint64_t seed = 1; seed <= 100; seed++)
	{
		int n = 2 + (int) (seed % 7);
		double gamma = (double) (seed % 3);
		double similarity[MAX_N * MAX_N];
		double quality[MAX_N];
		double value[MAX_N];
		int picks[MAX_N];
		unsigned set = 0;
		BrContext context;
		BrRandom random;

		br_base_context_init(&context);
		br_base_random_init(&random, seed, 3);
		random_similarity(n, 4, seed + 2000, similarity);
		for (int i = 0; i < n; i++)
			quality[i] = br_base_random_uniform(&random);
		assert_int_equal(br_bundle_covering(&context, similarity, quality, n, n, gamma, picks,
											value),
						 BR_OK);
		for (int size = 0; size < n; size++)
		{
			double best = -1;

			for (int i = 0; i < n; i++)
				if (!(set >> i & 1))
					best = fmax(best, coverage(similarity, quality, n, gamma, set | 1U << i));
			set |= 1U << picks[size];
			assert_int_equal(__builtin_popcount(set), size + 1);
			assert_near(coverage(similarity, quality, n, gamma, set), best, 1e-12);
			assert_near(value[size], best, 1e-12);
			/* 1 - 1/e */
			assert_true(best >= 0.6321205588285577 *
							best_coverage(similarity, quality, n, gamma, size + 1));
		}
	}
}

static void
covering_ties_go_by_index(void **state)
{
	double similarity[16];
	double quality[4] = {0, 0, 0, 0};
	int picks[3];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < 16; i++)
		similarity[i] = i / 4 / 2 == i % 4 / 2 ? 1 : -0.5;
	assert_int_equal(br_bundle_covering(&context, similarity, quality, 4, 3, 1, picks, NULL),
					 BR_OK);
	assert_int_equal(picks[0], 0);
	assert_int_equal(picks[1], 2);
	assert_int_equal(picks[2], 1);
}

/* ---- what is refused ---- */

static void
bad_arguments_are_refused(void **state)
{
	double good[4] = {1, 0.5, 0.5, 1};
	double bad[5][4] = {{1, 0.5, 0.4, 1},
						{1, 1.5, 1.5, 1},
						{0.9, 0, 0, 1},
						{1, NAN, NAN, 1},
						{1, 0, 0, INFINITY}};
	double quality[2] = {0, 1};
	double no_number[2] = {0, NAN};
	int picks[3];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < 5; i++)
		assert_int_equal(br_bundle_diverse(&context, bad[i], quality, 2, 1, picks, NULL),
						 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_diverse(&context, good, no_number, 2, 1, picks, NULL),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_diverse(&context, good, quality, 2, 3, picks, NULL),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_diverse(&context, good, quality, -1, 0, picks, NULL),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_covering(&context, bad[3], quality, 2, 1, 1, picks, NULL),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_covering(&context, good, no_number, 2, 1, 1, picks, NULL),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_covering(&context, good, quality, 2, 1, -1, picks, NULL),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_covering(&context, good, quality, 2, 1, NAN, picks, NULL),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_covering(&context, good, quality, 2, -1, 1, picks, NULL),
					 BR_ERR_ARGUMENT);

	assert_int_equal(br_bundle_diverse(&context, good, quality, 0, 0, picks, NULL), BR_OK);
	assert_int_equal(br_bundle_diverse(&context, good, quality, 2, 0, picks, NULL), BR_OK);
	assert_int_equal(br_bundle_covering(&context, good, quality, 0, 0, 1, picks, NULL), BR_OK);
	assert_int_equal(br_bundle_diverse(&context, good, quality, 1, 1, picks, NULL), BR_OK);
	assert_int_equal(picks[0], 0);
}

/* no positive semidefinite matrix: 0 is like 1 and 2, which are unlike each other */
static void
impossible_similarity_ends_the_choosing(void **state)
{
	double similarity[9] = {1, 0.9, 0.9, 0.9, 1, -0.9, 0.9, -0.9, 1};
	double quality[3] = {3, 2, 1};
	int picks[3];
	int diverse;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bundle_diverse(&context, similarity, quality, 3, 3, picks, &diverse),
					 BR_OK);
	assert_int_equal(diverse, 2);
	assert_int_equal(picks[0], 0);
	assert_int_equal(picks[1], 1);
	assert_int_equal(picks[2], 2);
}

static BrStatus
choose_both(BrContext *context, const double *similarity, const double *quality, int n, int *picks)
{
	BrStatus status = br_bundle_diverse(context, similarity, quality, n, n / 2, picks, NULL);

	return status != BR_OK
		? status
		: br_bundle_covering(context, similarity, quality, n, n / 2, 1, picks, NULL);
}

static void
failures_leave_nothing(void **state)
{
	int n = 120;
	double *similarity = calloc((size_t) n * (size_t) n, sizeof(double));
	double *quality = calloc((size_t) n, sizeof(double));
	int *picks = calloc((size_t) n, sizeof(int));
	BrStatus status = BR_ERR_MEMORY;
	Countdown countdown;
	BrContext context;
	int stops;

	(void) state;
	for (int i = 0; i < n; i++)
		similarity[i * (n + 1)] = 1;
	for (stops = 0; status == BR_ERR_MEMORY; stops++)
	{
		countdown_begin(&context, &countdown, stops, INT_MAX);
		status = choose_both(&context, similarity, quality, n, picks);
		assert_int_equal(countdown.live, 0);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops >= 7);

	status = BR_ERR_CANCELLED;
	for (stops = 0; status == BR_ERR_CANCELLED; stops++)
	{
		countdown_begin(&context, &countdown, INT_MAX, stops);
		status = choose_both(&context, similarity, quality, n, picks);
		assert_int_equal(countdown.live, 0);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > n);
	free(similarity);
	free(quality);
	free(picks);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gains_are_ratios_of_determinants),
		cmocka_unit_test(picks_have_the_largest_determinants),
		cmocka_unit_test(repetitions_are_filled_by_quality),
		cmocka_unit_test(duplicates_add_nothing),
		cmocka_unit_test(strangers_are_sorted_by_quality),
		cmocka_unit_test(theta_trades_relevance_for_diversity),
		cmocka_unit_test(covering_picks_what_raises_the_objective_most),
		cmocka_unit_test(covering_ties_go_by_index),
		cmocka_unit_test(bad_arguments_are_refused),
		cmocka_unit_test(impossible_similarity_ends_the_choosing),
		cmocka_unit_test(failures_leave_nothing),
	};

	return cmocka_run_group_tests_name("diversity", tests, NULL, NULL);
}
