/*
 * test_bundle.c
 *	  The bundle room without its search: pair scores, affinity, features.
 *
 * Expectations are arithmetic by hand, or Python's math module where a
 * logarithm, a root or an exponential is in it.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bundle/br_bundle.h"

/* NaN is near nothing */
#define assert_near(value, expected, tolerance) \
	assert_true(fabs((value) - (expected)) <= (tolerance))

#define TOLERANCE 1e-14

static BrPairScores
scores_of(int64_t together, int64_t left, int64_t right, int64_t baskets, double shrinkage)
{
	BrPairCounts counts = {together, left, right, baskets};
	BrPairScores scores;
	BrContext context;

	br_base_context_init(&context);
	assert_int_equal(br_bundle_pair_scores(&context, &counts, shrinkage, &scores), BR_OK);
	return scores;
}

/* 3 of 4 and 3 of 9 baskets, of 20 */
static void
pair_scores_match_hand_arithmetic(void **state)
{
	BrPairScores scores = scores_of(3, 4, 9, 20, 5);

	(void) state;
	assert_near(scores.confidence, 0.75, TOLERANCE);
	assert_near(scores.lift, 5.0 / 3, TOLERANCE);
	assert_near(scores.pmi, 0.5108256237659907, TOLERANCE);
	assert_near(scores.npmi, 0.26926374074158455, TOLERANCE);
	assert_near(scores.jaccard, 0.3, TOLERANCE);
	assert_near(scores.shrunk_cosine, 0.1875, TOLERANCE);

	scores = scores_of(10, 40, 50, 1000, 10);
	assert_near(scores.lift, 5, TOLERANCE);
	assert_near(scores.npmi, 0.34948500216800943, TOLERANCE);
	assert_near(scores.shrunk_cosine, 0.11180339887498948, TOLERANCE);
	assert_near(scores_of(5, 50, 40, 100, 0).npmi, -0.4627564263195183, TOLERANCE);
}

static void
pair_scores_at_the_ends(void **state)
{
	BrPairScores never = scores_of(0, 4, 9, 20, 0);
	BrPairScores always = scores_of(7, 7, 7, 7, 0);

	(void) state;
	assert_true(never.confidence == 0 && never.lift == 0 && never.jaccard == 0);
	assert_true(never.pmi == -INFINITY);
	assert_true(never.npmi == -1);
	assert_true(never.shrunk_cosine == 0);
	assert_true(always.confidence == 1 && always.lift == 1 && always.jaccard == 1);
	assert_true(always.npmi == 1 && always.shrunk_cosine == 1);

	/* products of counts that do not fit 64 bits */
	assert_near(scores_of(INT64_C(1) << 60, INT64_C(1) << 61, INT64_C(1) << 61, INT64_MAX, 0)
					.shrunk_cosine,
				0.5, TOLERANCE);
}

/* More support never lowers the shrunk cosine at an equal cosine, more shrinkage never raises it. */
static void
shrinking_is_monotone(void **state)
{
	double before = 0;

	(void) state;
	for (int64_t times = 1; times <= 1000; times++)
	{
		double score = scores_of(times, 2 * times, 2 * times, 4000, 10).shrunk_cosine;

		assert_true(score > before && score < 0.5);
		assert_true(scores_of(times, 2 * times, 2 * times, 4000, 11).shrunk_cosine < score);
		before = score;
	}
}

static void
impossible_counts_are_refused(void **state)
{
	static const BrPairCounts impossible[] = {
		{-1, 4, 9, 20}, {5, 4, 9, 20}, {5, 9, 4, 20},  {0, 0, 9, 20}, {0, 4, 0, 20},
		{3, 4, 9, 9},	{0, 4, 9, 12}, {3, 21, 9, 20}, {0, 4, 9, 0},
	};
	static const double shrinkages[] = {-1, NAN, INFINITY};
	BrPairCounts possible = {3, 4, 9, 10};
	BrPairScores scores;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++)
		assert_int_equal(br_bundle_pair_scores(&context, &impossible[i], 5, &scores),
						 BR_ERR_ARGUMENT);
	for (size_t i = 0; i < sizeof(shrinkages) / sizeof(shrinkages[0]); i++)
		assert_int_equal(br_bundle_pair_scores(&context, &possible, shrinkages[i], &scores),
						 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "shrinkage"));
	assert_int_equal(br_bundle_pair_scores(&context, &possible, 0, &scores), BR_OK);
}

static void
affinity_matches_its_formula(void **state)
{
	(void) state;
	assert_near(br_bundle_affinity(0, 0), 0, TOLERANCE);
	assert_near(br_bundle_affinity(0.4, 0), 0.15, TOLERANCE);
	assert_near(br_bundle_affinity(0.8, 0), 0.3, TOLERANCE);
	assert_near(br_bundle_affinity(0.9, 0.09), 0.51, TOLERANCE);
	assert_near(br_bundle_affinity(0.97, 0), 0.18, TOLERANCE);
	assert_near(br_bundle_affinity(1, 0.25), 0.5, TOLERANCE);
	assert_near(br_bundle_affinity(0, 1), 1, TOLERANCE);

	assert_true(br_bundle_affinity(NAN, NAN) == 0);
	assert_true(br_bundle_affinity(-0.3, -1) == 0);
	assert_true(br_bundle_affinity(1.5, 2) == 1);
}

static void
affinity_rises_until_texts_are_the_same(void **state)
{
	(void) state;
	for (int c = 0; c <= 100; c++)
		for (int s = 0; s <= 100; s++)
		{
			double here = br_bundle_affinity(c / 100.0, s / 100.0);

			assert_true(here >= 0 && here <= 1);
			if (s < 100)
				assert_true(br_bundle_affinity(c / 100.0, (s + 1) / 100.0) > here);
			if (c < 95)
				assert_true(br_bundle_affinity((c + 1) / 100.0, s / 100.0) >= here);
			else if (c < 100 && s < 100)
				assert_true(br_bundle_affinity((c + 1) / 100.0, s / 100.0) < here);
		}
}

/* Two items, the second of them first by id. */
static const BrCandidate pair[2] = {
	{7, 1, 20, 6, INFINITY, 0.1, 0.08, 0.2, 0.5, 0, 0, 0, {0}},
	{3, 1, 10, 4, 5, 0.5, 0.04, 0.6, 1, 0, 0, 0, {0}},
};
static const double pair_content[4] = {1, 0.4, 0.4, 1};
static const double pair_copurchase[4] = {1, 0.01, 0.01, 1};

static void
features_match_hand_arithmetic(void **state)
{
	/* affinity 1 - .9 * .85; 27 for two items where 9 is typical; stock 5 of 5 + 10 */
	static const double expected[BR_FEATURE_COUNT] = {
		1, 0.07755082942431933, 0.3, 0.06, 0.235, 0.4, 0.75, 9 / 13.5, 17.0 / 27, 1.0 / 3,
	};
	BrAffinity affinity = {pair_content, pair_copurchase};
	BrBundle bundle = {.size = 2, .members = (const int[]){1, 0}, .price = 27, .margin = 17.0 / 27};
	float features[BR_FEATURE_COUNT];
	double logit = 0;

	(void) state;
	br_bundle_features(pair, 2, &affinity, 9, NULL, &bundle, features);
	for (int f = 0; f < BR_FEATURE_COUNT; f++)
		assert_near(features[f], expected[f], 1e-7);
	for (int f = 0; f < BR_FEATURE_COUNT; f++)
		logit += br_bundle_feature_weight(f) * (double) features[f];
	assert_near(features[BR_FEATURE_SCORE], 1 / (1 + exp(-logit)), 1e-8);
}

/*
 * What learners say enters as means, and a ranker's own weights take the place
 * of the fixed ones: here logit = -2 + 3 (0.5 + 0.1) / 2 - 0.5 * 0.235 = -1.2175.
 */
static void
learned_evidence_is_weighed_by_the_ranker(void **state)
{
	static const BrRanker ranker = {
		.weight = {[BR_FEATURE_BIAS] = -2, [BR_FEATURE_EASE] = 3, [BR_FEATURE_COHESION] = -0.5}};
	BrAffinity affinity = {pair_content, pair_copurchase};
	BrBundle bundle = {.size = 2, .members = (const int[]){1, 0}, .price = 27, .margin = 17.0 / 27};
	BrCandidate learned[2] = {pair[0], pair[1]};
	float features[BR_FEATURE_COUNT];

	(void) state;
	learned[0].learned[BR_LEARNED_EASE] = 0.5;
	learned[1].learned[BR_LEARNED_EASE] = 0.1;
	learned[1].learned[BR_LEARNED_GRAPH] = -4;
	br_bundle_features(learned, 2, &affinity, 9, &ranker, &bundle, features);
	assert_near(features[BR_FEATURE_EASE], 0.3, 1e-7);
	assert_near(features[BR_FEATURE_GRAPH], -2, 1e-7);
	assert_near(features[BR_FEATURE_CONTENT], 0.3, 1e-7);
	assert_near(features[BR_FEATURE_SCORE], 1 / (1 + exp(1.2175)), 1e-7);
}

/*
 * Odds times 3 for one item of two: the bundle's are multiplied by sqrt(3). From
 * the score above, .07755.../(1 - .07755...) * sqrt(3) = .145615 to one.
 */
static void
boosts_move_the_odds_of_the_score(void **state)
{
	BrAffinity affinity = {pair_content, pair_copurchase};
	BrBundle bundle = {.size = 2, .members = (const int[]){1, 0}, .price = 27, .margin = 17.0 / 27};
	BrCandidate boosted[2] = {pair[0], pair[1]};
	double odds = 0.07755082942431933 / (1 - 0.07755082942431933) * sqrt(3);
	float features[BR_FEATURE_COUNT];
	float without[BR_FEATURE_COUNT];

	(void) state;
	boosted[1].boost = log(3);
	br_bundle_features(pair, 2, &affinity, 9, NULL, &bundle, without);
	br_bundle_features(boosted, 2, &affinity, 9, NULL, &bundle, features);
	assert_near(features[BR_FEATURE_SCORE], odds / (1 + odds), 1e-7);
	features[BR_FEATURE_SCORE] = without[BR_FEATURE_SCORE];
	assert_memory_equal(features, without, sizeof(features));
}

static void
unknown_figures_have_neutral_features(void **state)
{
	BrAffinity none = {NULL, NULL};
	BrBundle bundle = {.size = 1, .members = (const int[]){0}, .price = NAN, .margin = NAN};
	BrCandidate unknown = {.item = 1, .category = -1, .price = NAN, .cost = NAN, .stock = INFINITY};
	float features[BR_FEATURE_COUNT];

	(void) state;
	br_bundle_features(&unknown, 1, &none, 9, NULL, &bundle, features);
	assert_true(features[BR_FEATURE_PRICE_FIT] == 0.5f);
	assert_true(features[BR_FEATURE_MARGIN] == 0);
	assert_true(features[BR_FEATURE_STOCK] == 1);
	assert_true(features[BR_FEATURE_COHESION] == 0);

	/* 3 %, and half of the price fit's weight in log-odds: 1 / (1 + .97 / .03 e^-.15) */
	assert_near(features[BR_FEATURE_SCORE], 0.0346866228, 1e-7);

	bundle.price = 0;
	unknown.stock = -2;
	br_bundle_features(&unknown, 1, &none, 9, NULL, &bundle, features);
	assert_true(features[BR_FEATURE_PRICE_FIT] == 0);
	assert_true(features[BR_FEATURE_STOCK] == 0);
	assert_near(features[BR_FEATURE_SCORE], 0.03, 1e-8);

	br_bundle_features(&unknown, 1, &none, NAN, NULL, &bundle, features);
	assert_true(features[BR_FEATURE_PRICE_FIT] == 0.5f);
	bundle.margin = -40;
	br_bundle_features(&unknown, 1, &none, 0, NULL, &bundle, features);
	assert_true(features[BR_FEATURE_MARGIN] == -1);
	assert_true(features[BR_FEATURE_PRICE_FIT] == 0.5f);
}

/*
 * The largest bundle that somebody may put together: n items with evidence i / n,
 * and pairs of affinity .3 where both numbers are even, 0 elsewhere.
 */
static void
features_of_a_large_bundle_are_means(void **state)
{
	enum
	{
		N = BR_BUNDLE_MAX_CURATED_SIZE,
		EVEN = N / 2
	};
	static BrCandidate candidates[N];
	static int members[N];
	static double content[N * N];
	BrAffinity affinity = {content, NULL};
	BrBundle bundle = {.size = N, .members = members, .price = 4 * N, .margin = 0.25};
	float features[BR_FEATURE_COUNT];

	(void) state;
	for (int i = 0; i < N; i++)
	{
		double share = (double) i / N;

		members[i] = i;
		candidates[i] =
			(BrCandidate){i, -1, 5, 3, 90 + i, share, share / 2, share / 4, 1, 0, 0, 0, {0}};
		for (int j = 0; j < N; j++)
			content[i * N + j] = i % 2 == 0 && j % 2 == 0 ? 0.8 : 0;
	}
	br_bundle_features(candidates, N, &affinity, 8, NULL, &bundle, features);
	assert_near(features[BR_FEATURE_CONTENT], (N - 1) / 2.0 / N, 1e-7);
	assert_near(features[BR_FEATURE_COPURCHASE], (N - 1) / 4.0 / N, 1e-7);
	assert_near(features[BR_FEATURE_POPULARITY], (N - 1) / 8.0 / N, 1e-7);
	assert_near(features[BR_FEATURE_COHESION], 0.3 * EVEN * (EVEN - 1) / (N * (N - 1.0)), 1e-7);
	assert_near(features[BR_FEATURE_PRICE_FIT], 0.5, 1e-7);
	assert_near(features[BR_FEATURE_STOCK], 0.9, 1e-7);
}

/* m = sqrt(1 + 8) = 3: ln((n + 3) / 6), so 8 purchases multiply the odds by 11 / 6 */
static void
purchases_move_the_odds_of_the_score(void **state)
{
	BrAffinity none = {NULL, NULL};
	BrBundle bundle = {.size = 1, .members = (const int[]){0}, .price = NAN, .margin = NAN};
	BrCandidate item = {.item = 1, .category = -1, .price = NAN, .cost = NAN, .stock = INFINITY};
	float before[BR_FEATURE_COUNT];
	float after[BR_FEATURE_COUNT];

	(void) state;
	assert_true(br_bundle_purchase_log_odds(0, 0) == 0);
	assert_true(br_bundle_purchase_log_odds(-2, 0) == 0);
	assert_near(br_bundle_purchase_log_odds(0, 8), -0.6931471805599453, 1e-15);
	assert_near(br_bundle_purchase_log_odds(-1, 8), -0.6931471805599453, 1e-15);
	assert_true(br_bundle_purchase_log_odds(3, 8) == 0);
	assert_near(br_bundle_purchase_log_odds(8, 8), 0.6061358035703156, 1e-15);

	br_bundle_features(&item, 1, &none, 9, NULL, &bundle, before);
	bundle.log_odds = br_bundle_purchase_log_odds(8, 8);
	br_bundle_features(&item, 1, &none, 9, NULL, &bundle, after);
	assert_near(after[BR_FEATURE_SCORE] / (1 - after[BR_FEATURE_SCORE]),
				before[BR_FEATURE_SCORE] / (1 - before[BR_FEATURE_SCORE]) * 11 / 6, 1e-7);
	for (int f = 0; f < BR_FEATURE_COUNT; f++)
		if (f != BR_FEATURE_SCORE)
			assert_true(after[f] == before[f]);
}

static double
score_with(const BrCandidate *candidates)
{
	BrAffinity affinity = {pair_content, pair_copurchase};
	BrBundle bundle = {.size = 2, .members = (const int[]){1, 0}, .price = 27, .margin = NAN};
	float features[BR_FEATURE_COUNT];

	br_bundle_features(candidates, 2, &affinity, 9, NULL, &bundle, features);
	return features[BR_FEATURE_SCORE];
}

/* The same step of evidence raises the score in this order: co-purchase, content, popularity. */
static void
score_rises_with_evidence(void **state)
{
	BrCandidate content[2];
	BrCandidate copurchase[2];
	BrCandidate popularity[2];
	BrCandidate freshness[2];

	(void) state;
	memcpy(content, pair, sizeof(pair));
	memcpy(copurchase, pair, sizeof(pair));
	memcpy(popularity, pair, sizeof(pair));
	memcpy(freshness, pair, sizeof(pair));
	content[0].content += 0.2;
	copurchase[0].copurchase += 0.2;
	popularity[0].popularity += 0.2;
	freshness[0].freshness += 0.2;
	assert_true(score_with(copurchase) > score_with(content));
	assert_true(score_with(content) > score_with(popularity));
	assert_true(score_with(popularity) > score_with(freshness));
	assert_true(score_with(freshness) > score_with(pair));
}

static void
every_feature_has_a_name(void **state)
{
	(void) state;
	for (int f = 0; f < BR_FEATURE_COUNT; f++)
	{
		assert_non_null(br_bundle_feature_name(f));
		for (int g = 0; g < f; g++)
			assert_string_not_equal(br_bundle_feature_name(f), br_bundle_feature_name(g));
	}
	assert_string_equal(br_bundle_feature_name(BR_FEATURE_COPURCHASE), "copurchase");
	assert_string_equal(br_bundle_feature_name(BR_FEATURE_PRICE_FIT), "price_fit");
	assert_null(br_bundle_feature_name(BR_FEATURE_COUNT));
	assert_true(br_bundle_feature_weight(BR_FEATURE_SCORE) == 0);
}

static void
overlap_is_shared_items_over_the_smaller_size(void **state)
{
	BrBundle two = {.size = 2, .members = (const int[]){1, 4}};
	BrBundle three = {.size = 3, .members = (const int[]){4, 5, 6}};
	BrBundle other = {.size = 3, .members = (const int[]){7, 8, 9}};

	(void) state;
	assert_true(br_bundle_overlap(&two, &three) == 0.5);
	assert_true(br_bundle_overlap(&three, &two) == 0.5);
	assert_true(br_bundle_overlap(&three, &three) == 1);
	assert_true(br_bundle_overlap(&three, &other) == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pair_scores_match_hand_arithmetic),
		cmocka_unit_test(pair_scores_at_the_ends),
		cmocka_unit_test(shrinking_is_monotone),
		cmocka_unit_test(impossible_counts_are_refused),
		cmocka_unit_test(affinity_matches_its_formula),
		cmocka_unit_test(affinity_rises_until_texts_are_the_same),
		cmocka_unit_test(features_match_hand_arithmetic),
		cmocka_unit_test(learned_evidence_is_weighed_by_the_ranker),
		cmocka_unit_test(boosts_move_the_odds_of_the_score),
		cmocka_unit_test(unknown_figures_have_neutral_features),
		cmocka_unit_test(features_of_a_large_bundle_are_means),
		cmocka_unit_test(purchases_move_the_odds_of_the_score),
		cmocka_unit_test(score_rises_with_evidence),
		cmocka_unit_test(every_feature_has_a_name),
		cmocka_unit_test(overlap_is_shared_items_over_the_smaller_size),
	};

	return cmocka_run_group_tests_name("bundle", tests, NULL, NULL);
}
