/*
 * test_bundle_detect.c
 *	  Bundles within a session: the dendrogram against SciPy and a naive one,
 *	  sets and what they look like by hand and by brute force.
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

#define MAX_N 24

#define assert_near(value, expected, tolerance) \
	assert_true(fabs((value) - (expected)) <= (tolerance))

static void
random_probability(int n, uint64_t seed, double *probability)
{
	BrRandom random;

	br_base_random_init(&random, seed, 1);
	for (int i = 0; i < n; i++)
	{
		probability[i * n + i] = 1;
		for (int j = i + 1; j < n; j++)
			probability[i * n + j] = probability[j * n + i] = br_base_random_uniform(&random);
	}
}

/* ---- average linkage ---- */

/*
 * SciPy: linkage(squareform(1 - P), 'average') of
 *		P[i, j] = ((i*37 + j*61 + i*j*11) % 97) / 97,	i < j, 8 items;
 * of each merge the side with the smaller item is written first.
 */
static void
merges_are_those_of_scipy(void **state)
{
	static const BrMerge expected[] = {
		{3, 5, 0.9896907216494846},	  {2, 6, 0.8969072164948454},  {1, 9, 0.8505154639175259},
		{8, 7, 0.6030927835051547},	  {0, 10, 0.5532646048109966}, {12, 11, 0.44415807560137455},
		{13, 4, 0.30486008836524303},
	};
	double probability[64] = {0};
	BrMerge merges[7];
	BrContext context;

	(void) state;
	for (int i = 0; i < 8; i++)
		for (int j = i + 1; j < 8; j++)
			probability[i * 8 + j] = ((i * 37 + j * 61 + i * j * 11) % 97) / 97.0;
	br_base_context_init(&context);
	assert_int_equal(br_bundle_average_linkage(&context, probability, 8, merges), BR_OK);
	for (int i = 0; i < 7; i++)
	{
		assert_int_equal(merges[i].left, expected[i].left);
		assert_int_equal(merges[i].right, expected[i].right);
		assert_near(merges[i].link, expected[i].link, 1e-12);
	}
}

/* clusters as lists of items; every link is a mean over all pairs, taken anew */
typedef struct Clusters
{
	int n;
	int number[MAX_N];
	int size[MAX_N];
	int items[MAX_N][MAX_N];
} Clusters;

static double
mean_between(const Clusters *clusters, int a, int b, const double *similarity, int n)
{
	double sum = 0;

	for (int i = 0; i < clusters->size[a]; i++)
		for (int j = 0; j < clusters->size[b]; j++)
			sum += similarity[clusters->items[a][i] * n + clusters->items[b][j]];
	return sum / (clusters->size[a] * clusters->size[b]);
}

static void
merges_are_those_of_a_naive_search(void **state)
{
	double similarity[MAX_N * MAX_N];
	BrMerge merges[MAX_N];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int n = 2; n <= MAX_N; n++)
	{
		Clusters clusters = {.n = n};

		random_probability(n, (uint64_t) n, similarity);
		assert_int_equal(br_bundle_average_linkage(&context, similarity, n, merges), BR_OK);
		for (int i = 0; i < n; i++)
		{
			clusters.number[i] = i;
			clusters.size[i] = 1;
			clusters.items[i][0] = i;
		}
		for (int step = 0; step < n - 1; step++)
		{
			int left = 0, right = 1;

			for (int a = 0; a < clusters.n; a++)
				for (int b = a + 1; b < clusters.n; b++)
					if (mean_between(&clusters, a, b, similarity, n) >
						mean_between(&clusters, left, right, similarity, n))
						left = a, right = b;
			assert_near(merges[step].link, mean_between(&clusters, left, right, similarity, n),
						1e-12);
			assert_int_equal(merges[step].left, clusters.number[left]);
			assert_int_equal(merges[step].right, clusters.number[right]);
			for (int i = 0; i < clusters.size[right]; i++)
				clusters.items[left][clusters.size[left]++] = clusters.items[right][i];
			clusters.number[left] = n + step;
			for (int a = right; a < clusters.n - 1; a++)
			{
				clusters.number[a] = clusters.number[a + 1];
				clusters.size[a] = clusters.size[a + 1];
				memcpy(clusters.items[a], clusters.items[a + 1], sizeof(clusters.items[a]));
			}
			clusters.n--;
		}
	}
}

/* all alike: the first two first, then each next one */
static void
ties_go_to_the_first(void **state)
{
	double similarity[25];
	BrMerge merges[4];
	BrContext context;

	(void) state;
	for (int i = 0; i < 25; i++)
		similarity[i] = -0.5;
	br_base_context_init(&context);
	assert_int_equal(br_bundle_average_linkage(&context, similarity, 5, merges), BR_OK);
	assert_int_equal(merges[0].left, 0);
	assert_int_equal(merges[0].right, 1);
	for (int i = 1; i < 4; i++)
	{
		assert_int_equal(merges[i].left, 4 + i);
		assert_int_equal(merges[i].right, i + 1);
		assert_near(merges[i].link, -0.5, 0);
	}
}

/* ---- sets ---- */

static void
expect_set(const BrSessionSets *sets, int set, const int *members, int size)
{
	assert_int_equal(sets->starts[set + 1] - sets->starts[set], size);
	assert_memory_equal(sets->members + sets->starts[set], members, sizeof(int) * (size_t) size);
}

static void
expect_features(const BrSessionSets *sets, int set, const double *expected)
{
	for (int f = 0; f < BR_SET_COUNT; f++)
		assert_near(sets->features[set * BR_SET_COUNT + f], expected[f], 1e-6);
}

/*
 * Four items: 1 and 3 at .9, 0 joins them at .5 (.6 and .4), 2 is nearest to 0
 * (.3), which is nearest to 1.
 */
static void
sets_and_features_match_hand_arithmetic(void **state)
{
	static const double probability[] = {1,		   0.6, 0.3, 0.4, /**/ 0.6, 1,	 0.1, 0.9,
										 /**/ 0.3, 0.1, 1,	 0.2, /**/ 0.4, 0.9, 0.2, 1};
	BrSessionSets sets;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bundle_detect_sets(&context, probability, 4, &sets), BR_OK);
	assert_int_equal(sets.n, 5);
	expect_set(&sets, 0, (int[]){1, 3}, 2);
	expect_set(&sets, 1, (int[]){0, 1, 3}, 3);
	expect_set(&sets, 2, (int[]){0, 1, 2, 3}, 4);
	expect_set(&sets, 3, (int[]){0, 1}, 2); /* 0's nearest; 1's is a cluster already */
	expect_set(&sets, 4, (int[]){0, 2}, 2); /* 2's nearest */
	expect_features(&sets, 0, (double[]){0.9, 0.9, 0.6, log(2), 0.5, 0, log(4), 1});
	expect_features(&sets, 1, (double[]){1.9 / 3, 0.4, 0.3, log(3), 0.75, 0, log(4), 0});
	expect_features(&sets, 2, (double[]){2.5 / 6, 0.1, 0, log(4), 1, 1, log(4), 0});
	expect_features(&sets, 3, (double[]){0.6, 0.6, 0.9, log(2), 0.5, 0, log(4), 1});
	expect_features(&sets, 4, (double[]){0.3, 0.3, 0.6, log(2), 0.5, 0, log(4), 1});
	br_bundle_detect_sets_free(&context, &sets);
}

static bool
holds(const BrSessionSets *sets, int set, int item)
{
	for (int i = sets->starts[set]; i < sets->starts[set + 1]; i++)
		if (sets->members[i] == item)
			return true;
	return false;
}

static void
check_features(const BrSessionSets *sets, int set, const double *probability, int n)
{
	double sum = 0, least = 2, outside = 0;
	int pairs = 0, size = 0;

	for (int i = 0; i < n; i++)
	{
		size += holds(sets, set, i);
		for (int j = 0; j < n; j++)
			if (i != j && holds(sets, set, i) && holds(sets, set, j))
			{
				sum += probability[i * n + j];
				least = fmin(least, probability[i * n + j]);
				pairs++;
			}
			else if (holds(sets, set, i) && !holds(sets, set, j))
				outside = fmax(outside, probability[i * n + j]);
	}
	expect_features(sets, set,
					(double[]){sum / pairs, least, outside, log(size), (double) size / n, size == n,
							   log(n), size == 2});
}

/* every cluster and every nearest pair is there, and nothing else, none twice */
static void
sets_match_brute_force(void **state)
{
	double probability[MAX_N * MAX_N];
	BrMerge merges[MAX_N];
	BrSessionSets sets;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int n = 2; n <= MAX_N; n++)
	{
		bool in[2 * MAX_N][MAX_N] = {{false}};
		int pairs = 0;

		random_probability(n, 100 + (uint64_t) n, probability);
		assert_int_equal(br_bundle_detect_sets(&context, probability, n, &sets), BR_OK);
		assert_int_equal(br_bundle_average_linkage(&context, probability, n, merges), BR_OK);
		for (int i = 0; i < n; i++)
			in[i][i] = true;
		for (int s = 0; s < n - 1; s++)
			for (int i = 0; i < n; i++)
			{
				in[n + s][i] = in[merges[s].left][i] || in[merges[s].right][i];
				assert_int_equal(holds(&sets, s, i), in[n + s][i]);
			}
		for (int i = 0; i < n; i++)
		{
			int nearest = i == 0, found = 0;

			for (int j = 0; j < n; j++)
				if (j != i && probability[i * n + j] > probability[i * n + nearest])
					nearest = j;
			for (int s = 0; s < sets.n; s++)
				found += sets.starts[s + 1] - sets.starts[s] == 2 && holds(&sets, s, i) &&
					holds(&sets, s, nearest);
			assert_int_equal(found, 1);
		}
		for (int s = n - 1; s < sets.n; s++, pairs++)
			assert_int_equal(sets.starts[s + 1] - sets.starts[s], 2);
		assert_true(pairs <= n);
		for (int s = 0; s < sets.n; s++)
			check_features(&sets, s, probability, n);
		br_bundle_detect_sets_free(&context, &sets);
	}
}

static void
one_item_makes_no_set(void **state)
{
	double probability[1] = {1};
	BrSessionSets sets;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int n = 0; n < 2; n++)
	{
		assert_int_equal(br_bundle_detect_sets(&context, probability, n, &sets), BR_OK);
		assert_int_equal(sets.n, 0);
		br_bundle_detect_sets_free(&context, &sets);
	}
}

static void
the_largest_session_is_split(void **state)
{
	int n = BR_BUNDLE_MAX_SESSION;
	double *probability = malloc(sizeof(double) * (size_t) (n * n));
	BrSessionSets sets;
	BrContext context;

	(void) state;
	random_probability(n, 9, probability);
	br_base_context_init(&context);
	assert_int_equal(br_bundle_detect_sets(&context, probability, n, &sets), BR_OK);
	assert_true(sets.n >= n - 1 && sets.n < 2 * n);
	assert_int_equal(sets.starts[n - 1] - sets.starts[n - 2], n);
	br_bundle_detect_sets_free(&context, &sets);
	free(probability);
}

/* ---- weights ---- */

static void
probabilities_and_scores_are_logistic(void **state)
{
	BrDetector detector = {.pair = {-1, 2, 0.5, 3, 4}, .set = {0.5, 1, -2, 3, 0.25, 1, 2, -1, 4}};
	float features[2 * 2 * BR_PAIR_COUNT] = {0};
	float set[BR_SET_COUNT] = {0.5f, 0.25f, 0.125f, 1, 0.5f, 1, 2, 1};
	BrSessionSets sets = {.n = 1, .features = set};
	double probability[4], score;

	(void) state;
	features[BR_PAIR_COUNT + BR_PAIR_WORDS] = 0.5f;
	features[BR_PAIR_COUNT + BR_PAIR_CONTENT] = 0.25f;
	features[BR_PAIR_COUNT + BR_PAIR_CATEGORY] = 1;
	features[BR_PAIR_COUNT + BR_PAIR_COPURCHASE] = 0.125f;
	/* below the diagonal nothing is read */
	features[2 * BR_PAIR_COUNT + BR_PAIR_CONTENT] = 9;
	br_bundle_detect_pairs(&detector, features, 2, probability);
	assert_near(probability[1], 1 / (1 + exp(-(-1 + 1 + 0.125 + 3 + 0.5))), 1e-12);
	assert_near(probability[2], probability[1], 0);
	assert_near(probability[0], 1, 0);
	assert_near(probability[3], 1, 0);
	br_bundle_detect_scores(&detector, &sets, &score);
	assert_near(score, 1 / (1 + exp(-(0.5 + 0.5 - 0.5 + 0.375 + 0.25 + 0.5 + 2 - 2 + 4))), 1e-12);
}

static void
the_best_and_all_above_are_chosen(void **state)
{
	static const double scores[] = {0.5, 0.7, 0.9, 0.7, 0.4, 0.6};
	int chosen[6];

	(void) state;
	assert_int_equal(br_bundle_detect_choose(scores, 6, 0.6, chosen), 4);
	assert_memory_equal(chosen, ((int[]){2, 1, 3, 5}), 4 * sizeof(int));
	assert_int_equal(br_bundle_detect_choose(scores, 6, 0.95, chosen), 1);
	assert_int_equal(chosen[0], 2);
	assert_int_equal(br_bundle_detect_choose(scores, 6, 0, chosen), 6);
	assert_memory_equal(chosen, ((int[]){2, 1, 3, 5, 0, 4}), 6 * sizeof(int));
	assert_int_equal(br_bundle_detect_choose(scores, 0, 0, chosen), 0);
}

/* two clear pairs, as the fixed weights see them with and without embeddings */
static void
fixed_weights_name_clear_pairs(void **state)
{
	const BrDetector *detectors[] = {&br_bundle_fixed_detector, &br_bundle_fixed_detector_of_words};

	(void) state;
	for (int d = 0; d < 2; d++)
	{
		float features[16 * BR_PAIR_COUNT] = {0};
		double probability[16], scores[8];
		int chosen[8];
		BrSessionSets sets;
		BrContext context;

		for (int i = 0; i < 4; i += 2)
			for (int f = 0; f < 3; f++)
				features[(i * 4 + i + 1) * BR_PAIR_COUNT + f] = 0.9f;
		br_base_context_init(&context);
		br_bundle_detect_pairs(detectors[d], features, 4, probability);
		assert_true(probability[1] > 0.9 && probability[2] < 0.2);
		assert_int_equal(br_bundle_detect_sets(&context, probability, 4, &sets), BR_OK);
		br_bundle_detect_scores(detectors[d], &sets, scores);
		assert_true(br_bundle_detect_choose(scores, sets.n, detectors[d]->threshold, chosen) >= 2);
		assert_int_equal(chosen[0], 0);
		assert_int_equal(chosen[1], 1);
		expect_set(&sets, 0, (int[]){0, 1}, 2);
		expect_set(&sets, 1, (int[]){2, 3}, 2);
		br_bundle_detect_sets_free(&context, &sets);
	}
}

/* ---- what goes wrong ---- */

static void
bad_input_is_named(void **state)
{
	double probability[9] = {1, 0.5, 0.5, 0.5, 1, 0.5, 0.5, 0.5, 1};
	BrMerge merges[2];
	BrSessionSets sets;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bundle_detect_sets(&context, probability, -1, &sets), BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_detect_sets(&context, probability, BR_BUNDLE_MAX_SESSION + 1, &sets),
					 BR_ERR_LIMIT);
	assert_non_null(strstr(context.detail, "201 items"));
	assert_int_equal(br_bundle_average_linkage(&context, probability, BR_BUNDLE_MAX_SESSION + 1,
											   merges),
					 BR_ERR_LIMIT);
	probability[5] = 1.5;
	assert_int_equal(br_bundle_detect_sets(&context, probability, 3, &sets), BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "items 1 and 2 is 1.5"));
	assert_null(sets.starts);
	assert_int_equal(br_bundle_average_linkage(&context, probability, 3, merges), BR_OK);
	probability[5] = NAN;
	assert_int_equal(br_bundle_detect_sets(&context, probability, 3, &sets), BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_average_linkage(&context, probability, 3, merges), BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "items 1 and 2 is not finite"));
	probability[5] = -0.1;
	assert_int_equal(br_bundle_detect_sets(&context, probability, 3, &sets), BR_ERR_ARGUMENT);
}

static void
nothing_is_left_after_a_failure(void **state)
{
	double probability[100];
	Countdown countdown;
	BrContext context;
	BrSessionSets sets;
	BrStatus status = BR_ERR_MEMORY;
	int allocations = 0, checks = 0;

	(void) state;
	random_probability(10, 3, probability);
	for (; status == BR_ERR_MEMORY; allocations++)
	{
		countdown_begin(&context, &countdown, allocations, INT_MAX);
		status = br_bundle_detect_sets(&context, probability, 10, &sets);
		if (status == BR_OK)
			br_bundle_detect_sets_free(&context, &sets);
		assert_int_equal(countdown.live, 0);
		assert_null(sets.starts);
	}
	assert_int_equal(status, BR_OK);
	assert_int_equal(allocations - 1, 5);
	for (status = BR_ERR_CANCELLED; status == BR_ERR_CANCELLED; checks++)
	{
		countdown_begin(&context, &countdown, INT_MAX, checks);
		status = br_bundle_detect_sets(&context, probability, 10, &sets);
		if (status == BR_OK)
			br_bundle_detect_sets_free(&context, &sets);
		assert_int_equal(countdown.live, 0);
	}
	assert_int_equal(status, BR_OK);
	assert_true(checks > 9);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merges_are_those_of_scipy),
		cmocka_unit_test(merges_are_those_of_a_naive_search),
		cmocka_unit_test(ties_go_to_the_first),
		cmocka_unit_test(sets_and_features_match_hand_arithmetic),
		cmocka_unit_test(sets_match_brute_force),
		cmocka_unit_test(one_item_makes_no_set),
		cmocka_unit_test(the_largest_session_is_split),
		cmocka_unit_test(probabilities_and_scores_are_logistic),
		cmocka_unit_test(the_best_and_all_above_are_chosen),
		cmocka_unit_test(fixed_weights_name_clear_pairs),
		cmocka_unit_test(bad_input_is_named),
		cmocka_unit_test(nothing_is_left_after_a_failure),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
