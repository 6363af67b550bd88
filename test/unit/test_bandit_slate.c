/*
 * test_bandit_slate.c
 *	  Slates: votes, choices and their propensities.
 *
 * Expected slates come from a separate implementation in pure Python, written
 * from the papers: Philox4x32-10, AS 241, Cholesky, and the voting rule of
 * br_bandit.h by sorting. It sums in another order, so its doubles may differ
 * in the last bits; no score in the slates below is nearer to a tie, and no
 * uniform nearer to a bound between members, than 9e-4. The chi-square limit
 * is scipy 1.17.1's.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/bandit_fixture.h"

/* exceeded by chi-square with 7 degrees of freedom once in 10,000 times */
static const double chi_square_limit = 29.877503909224902;

typedef struct GoldenSlate
{
	const char *algorithm;
	uint64_t key;
	int slots;
	int draws;
	double epsilon;
	double diversity;
	int chosen[4];
	double propensity[4];
	int votes[4][POOL];
} GoldenSlate;

static const GoldenSlate golden_slates[] =
	{{"linear_thompson",
	  UINT64_C(0x0123456789abcdef),
	  4,
	  64,
	  0.125,
	  0.25,
	  {4, 2, 7, 0},
	  {0x1.9000000000000p-1, 0x1.5449249249249p-2, 0x1.e355555555555p-2, 0x1.63ccccccccccdp-1},
	  {{0, 0, 4, 0, 56, 0, 1, 3},
	   {19, 0, 23, 0, 0, 0, 12, 10},
	   {18, 0, 0, 0, 0, 0, 13, 33},
	   {49, 0, 0, 0, 0, 0, 15, 0}}},
	 {"linear_thompson",
	  UINT64_C(0xfedcba9876543210),
	  3,
	  257,
	  0.02,
	  0,
	  {4, 6, 2},
	  {0x1.a8f1ef5855bebp-1, 0x1.848442b0256e5p-3, 0x1.dfcadfcadfcaep-2},
	  {{0, 0, 11, 1, 217, 1, 14, 13},
	   {53, 3, 122, 1, 0, 1, 49, 28},
	   {74, 15, 122, 1, 0, 1, 0, 44}}},
	 {"epsilon_greedy",
	  42,
	  3,
	  257,
	  0.02,
	  0.25,
	  {4, 0, 7},
	  {0x1.f70a3d70a3d70p-1, 0x1.f7390d2a6c406p-1, 0x1.f777777777777p-1},
	  {{0}}}};

/* Votes, choices and propensities to the last bit. */
static void
slates_match_independent_implementation(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(golden_slates) / sizeof(golden_slates[0]); i++)
	{
		const GoldenSlate *golden = &golden_slates[i];
		BanditFixture fixture;
		BrSlate slate;

		bandit_set_up(&fixture);
		fixture.spec.algorithm = br_bandit_algorithm(golden->algorithm);
		fixture.request.key = golden->key;
		fixture.request.slots = golden->slots;
		fixture.spec.parameters.draws = golden->draws;
		fixture.spec.parameters.epsilon = golden->epsilon;
		fixture.request.diversity = golden->diversity;
		fixture.request.similarity = bandit_similar_by_place;
		assert_int_equal(bandit_slate(&fixture, &slate), BR_OK);
		assert_int_equal(slate.slots, golden->slots);
		assert_int_equal(slate.votes != NULL, strcmp(golden->algorithm, "linear_thompson") == 0);
		for (int k = 0; k < slate.slots; k++)
		{
			assert_int_equal(slate.chosen[k], golden->chosen[k]);
			bandit_assert_near(slate.propensity[k], golden->propensity[k], 0);
			for (int b = 0; slate.votes != NULL && b < POOL; b++)
				assert_int_equal(slate.votes[k * POOL + b], golden->votes[k][b]);
		}
		br_bandit_slate_free(&fixture.context, &slate);
		assert_null(slate.chosen);
	}
}

/* numpy's features @ mean, through the posterior mean above */
static void
expected_is_the_mean_score(void **state)
{
	BanditFixture fixture;
	BrSlate slate;

	(void) state;
	bandit_set_up(&fixture);
	assert_int_equal(bandit_slate(&fixture, &slate), BR_OK);
	for (int b = 0; b < POOL; b++)
	{
		double expected = 0;

		for (int i = 0; i < DIMS; i++)
			expected += bandit_shown[b][i] * bandit_mean[i];
		bandit_assert_near(slate.expected[b], expected, 1e-14);
	}
	br_bandit_slate_free(&fixture.context, &slate);
}

/* The propensity of every member at slot k: from the votes, else all on the largest mean left. */
static void
slot_propensities(const BanditFixture *fixture, const BrSlate *slate, int k,
				  double *propensity /* (POOL) */)
{
	double epsilon = fixture->spec.parameters.epsilon;
	double best_net = -INFINITY;
	int best = -1;
	bool taken[POOL] = {false};
	double similar[POOL] = {0};

	for (int earlier = 0; earlier < k; earlier++)
	{
		double similarity[POOL];

		taken[slate->chosen[earlier]] = true;
		bandit_similar_by_place(NULL, slate->chosen[earlier], similarity);
		for (int b = 0; b < POOL; b++)
			similar[b] = fmax(similar[b], similarity[b]);
	}
	for (int b = 0; b < POOL; b++)
	{
		double net = slate->expected[b] - fixture->request.diversity * similar[b];

		if (!taken[b] && net > best_net)
		{
			best_net = net;
			best = b;
		}
	}
	for (int b = 0; b < POOL; b++)
	{
		double q = slate->votes != NULL
			? slate->votes[k * POOL + b] / fixture->spec.parameters.draws
			: b == best;

		propensity[b] = taken[b] ? 0 : (1 - epsilon) * q + epsilon / (POOL - k);
		assert_true(!taken[b] || q == 0);
	}
}

static void
propensities_sum_to_one(void **state)
{
	BanditFixture fixture;

	(void) state;
	bandit_set_up(&fixture);
	fixture.request.slots = POOL;
	fixture.spec.parameters.draws = 50;
	fixture.request.similarity = bandit_similar_by_place;
	for (uint64_t key = 0; key < 200; key++)
	{
		BrSlate slate;

		fixture.request.key = key;
		fixture.request.diversity = key % 2 == 0 ? 0 : 0.3;
		fixture.spec.parameters.epsilon = key % 3 == 0 ? 0 : 0.1;
		assert_int_equal(bandit_slate(&fixture, &slate), BR_OK);
		for (int k = 0; k < slate.slots; k++)
		{
			double propensity[POOL];
			double sum = 0;

			slot_propensities(&fixture, &slate, k, propensity);
			for (int b = 0; b < POOL; b++)
				sum += propensity[b];
			bandit_assert_near(sum, 1, 1e-14);
			bandit_assert_near(slate.propensity[k], propensity[slate.chosen[k]], 1e-15);
			assert_true(slate.propensity[k] > 0);
		}
		br_bandit_slate_free(&fixture.context, &slate);
	}
}

/*
 * Votes differ from key to key, so counts are a sum of unequal multinomials:
 * with d = chosen - expected and V the sum of diag(p) - p p', d' V^-1 d over
 * all members but the last is chi-square with 7 degrees of freedom.
 */
static double
frequency_statistic(BrContext *context, double *difference, const double variance[POOL][POOL])
{
	double packed[BR_MATH_PACKED(POOL - 1)];

	for (int i = 0; i < POOL - 1; i++)
	{
		for (int j = 0; j <= i; j++)
			packed[i * (i + 1) / 2 + j] = variance[i][j];
	}
	assert_int_equal(br_math_cholesky(context, packed, POOL - 1), BR_OK);
	br_math_solve_lower(packed, POOL - 1, difference);
	return br_math_dot(difference, difference, POOL - 1);
}

static void
assert_frequencies(BanditFixture *fixture, const char *label)
{
	enum
	{
		KEYS = 20000,
		SLOTS = 3
	};
	double difference[SLOTS][POOL] = {{0}};
	double variance[SLOTS][POOL][POOL] = {{{0}}};

	for (uint64_t key = 0; key < KEYS; key++)
	{
		BrSlate slate;

		fixture->request.key = key * UINT64_C(0x9e3779b97f4a7c15);
		assert_int_equal(bandit_slate(fixture, &slate), BR_OK);
		for (int k = 0; k < SLOTS; k++)
		{
			double p[POOL];

			slot_propensities(fixture, &slate, k, p);
			for (int i = 0; i < POOL; i++)
			{
				difference[k][i] += (slate.chosen[k] == i) - p[i];
				for (int j = 0; j < POOL; j++)
					variance[k][i][j] += (i == j ? p[i] : 0) - p[i] * p[j];
			}
		}
		br_bandit_slate_free(&fixture->context, &slate);
	}
	for (int k = 0; k < SLOTS; k++)
	{
		double statistic = frequency_statistic(&fixture->context, difference[k], variance[k]);

		print_message("%s, slot %d: chi-square %.2f\n", label, k + 1, statistic);
		assert_true(statistic < chi_square_limit);
	}
}

static void
frequencies_agree_with_propensities(void **state)
{
	BanditFixture fixture;

	(void) state;
	bandit_set_up(&fixture);
	fixture.spec.parameters.draws = 32;
	fixture.spec.parameters.epsilon = 0.1;
	fixture.request.diversity = 0.2;
	fixture.request.similarity = bandit_similar_by_place;
	assert_frequencies(&fixture, "Thompson");
	fixture.spec.algorithm = br_bandit_algorithm("epsilon_greedy");
	fixture.spec.parameters.epsilon = 0.5;
	assert_frequencies(&fixture, "epsilon-greedy");
}

/* P(ordered slate) under epsilon-greedy on the posterior mean, from the definition. */
static double
greedy_slate_probability(const BrSlate *slate, double epsilon)
{
	double probability = 1;
	bool taken[POOL] = {false};

	for (int k = 0; k < slate->slots; k++)
	{
		int best = -1;

		for (int b = 0; b < POOL; b++)
		{
			if (!taken[b] && (best < 0 || slate->expected[b] > slate->expected[best]))
				best = b;
		}
		probability *= (best == slate->chosen[k] ? 1 - epsilon : 0) + epsilon / (POOL - k);
		taken[slate->chosen[k]] = true;
	}
	return probability;
}

static void
assert_mean_weight_is_one(const char *label, double sum, double squares, int n)
{
	double mean = sum / n;
	double error = sqrt((squares / n - mean * mean) / n);

	print_message("mean weight of %s: %.4f, standard error %.4f\n", label, mean, error);
	assert_true(error < 0.05);
	bandit_assert_near(mean, 1, 2 * error);
}

static void
importance_weights_average_to_one(void **state)
{
	enum
	{
		KEYS = 20000
	};
	BanditFixture fixture;
	double sum[2] = {0};
	double squares[2] = {0};

	(void) state;
	bandit_set_up(&fixture);
	fixture.spec.parameters.draws = 64;
	fixture.spec.parameters.epsilon = 0.2;
	for (uint64_t key = 1; key <= KEYS; key++)
	{
		BrSlate slate;
		double logged = 1;
		double weight[2];

		fixture.request.key = key;
		assert_int_equal(bandit_slate(&fixture, &slate), BR_OK);
		for (int k = 0; k < slate.slots; k++)
			logged *= slate.propensity[k];
		weight[0] = 1.0 / (8 * 7 * 6) / logged;
		weight[1] = greedy_slate_probability(&slate, 0.3) / logged;
		for (int i = 0; i < 2; i++)
		{
			sum[i] += weight[i];
			squares[i] += weight[i] * weight[i];
		}
		br_bandit_slate_free(&fixture.context, &slate);
	}
	assert_mean_weight_is_one("uniform", sum[0], squares[0], KEYS);
	assert_mean_weight_is_one("epsilon-greedy", sum[1], squares[1], KEYS);
}

static void
epsilon_one_is_uniform(void **state)
{
	enum
	{
		KEYS = 8000
	};
	BanditFixture fixture;
	int count[POOL] = {0};
	double statistic = 0;

	(void) state;
	bandit_set_up(&fixture);
	fixture.spec.parameters.epsilon = 1;
	fixture.spec.parameters.draws = 3;
	for (uint64_t key = 0; key < KEYS; key++)
	{
		BrSlate slate;

		fixture.request.key = key;
		assert_int_equal(bandit_slate(&fixture, &slate), BR_OK);
		for (int k = 0; k < slate.slots; k++)
			bandit_assert_near(slate.propensity[k], 1.0 / (POOL - k), 0);
		count[slate.chosen[1]]++;
		br_bandit_slate_free(&fixture.context, &slate);
	}
	for (int b = 0; b < POOL; b++)
		statistic += (count[b] - 1000.0) * (count[b] - 1000.0) / 1000;
	assert_true(statistic < chi_square_limit);
}

static void
one_draw_decides_alone(void **state)
{
	BanditFixture fixture;

	(void) state;
	bandit_set_up(&fixture);
	fixture.spec.parameters.draws = 1;
	fixture.spec.parameters.epsilon = 0;
	for (uint64_t key = 0; key < 50; key++)
	{
		double theta[DIMS];
		double last = INFINITY;
		BrSlate slate;

		fixture.request.key = key;
		fixture.request.slots = POOL;
		assert_int_equal(bandit_slate(&fixture, &slate), BR_OK);
		br_bandit_draw(&fixture.posterior, key, UINT64_C(4294967296), theta);
		/* the whole pool in the order of that draw's scores */
		for (int k = 0; k < POOL; k++)
		{
			double score = 0;

			for (int i = 0; i < DIMS; i++)
				score += bandit_shown[slate.chosen[k]][i] * theta[i];
			assert_true(score <= last);
			bandit_assert_near(slate.propensity[k], 1, 0);
			last = score;
		}
		br_bandit_slate_free(&fixture.context, &slate);
	}
}

static void
small_pools_give_short_slates(void **state)
{
	for (int pool = 0; pool <= 2; pool++)
	{
		BanditFixture fixture;
		BrSlate slate;

		(void) state;
		bandit_set_up(&fixture);
		fixture.request.pool = pool;
		fixture.request.slots = 5;
		assert_int_equal(bandit_slate(&fixture, &slate), BR_OK);
		assert_int_equal(slate.slots, pool);
		if (pool == 2)
			assert_int_equal(slate.chosen[0] + slate.chosen[1], 1);
		if (pool > 0)
			bandit_assert_near(slate.propensity[pool - 1], 1, 1e-15);
		br_bandit_slate_free(&fixture.context, &slate);
	}
}

/* Eleven equal members: every vote goes to the earliest of those left, beyond one block too. */
static void
ties_go_to_the_earlier_member(void **state)
{
	static const float equal[11][DIMS] = {{0}};
	BanditFixture fixture;
	BrSlate slate;

	(void) state;
	bandit_set_up(&fixture);
	fixture.request.pool = 11;
	fixture.request.features = &equal[0][0];
	fixture.request.slots = 11;
	fixture.spec.parameters.epsilon = 0;
	assert_int_equal(bandit_slate(&fixture, &slate), BR_OK);
	for (int k = 0; k < 11; k++)
	{
		assert_int_equal(slate.chosen[k], k);
		assert_int_equal(slate.votes[k * 11 + k], 257);
	}
	br_bandit_slate_free(&fixture.context, &slate);
}

/* Members of one half are copies of one another, the other half a little worse. */
static void
similar_within_halves(void *arg, int chosen, double *similarity)
{
	(void) arg;
	for (int b = 0; b < POOL; b++)
		similarity[b] = b / 4 == chosen / 4 ? 1 : 0;
}

static void
diversity_steers_away(void **state)
{
	static const double diversity[] = {0, 0.05, 0.2};
	static const int second[] = {1, 1, 4};
	static const int third[] = {2, 2, 1};
	float features[POOL][DIMS] = {{0}};

	(void) state;
	/* the bias weighs .2737: neighbours are .0027 apart, the halves .137 */
	for (int b = 0; b < POOL; b++)
		features[b][0] = (b / 4 == 0 ? 1.0f : 0.5f) - 0.01f * (float) (b % 4);
	for (int i = 0; i < 3; i++)
	{
		BanditFixture fixture;
		BrSlate slate;

		bandit_set_up(&fixture);
		fixture.spec.algorithm = br_bandit_algorithm("epsilon_greedy");
		fixture.request.features = &features[0][0];
		fixture.spec.parameters.epsilon = 0;
		fixture.request.diversity = diversity[i];
		fixture.request.similarity = similar_within_halves;
		assert_int_equal(bandit_slate(&fixture, &slate), BR_OK);
		assert_int_equal(slate.chosen[0], 0);
		assert_int_equal(slate.chosen[1], second[i]);
		/* with both halves bandit_shown, both are penalised alike and the better half is back */
		assert_int_equal(slate.chosen[2], third[i]);
		br_bandit_slate_free(&fixture.context, &slate);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slates_match_independent_implementation),
		cmocka_unit_test(expected_is_the_mean_score),
		cmocka_unit_test(propensities_sum_to_one),
		cmocka_unit_test(frequencies_agree_with_propensities),
		cmocka_unit_test(importance_weights_average_to_one),
		cmocka_unit_test(epsilon_one_is_uniform),
		cmocka_unit_test(one_draw_decides_alone),
		cmocka_unit_test(small_pools_give_short_slates),
		cmocka_unit_test(ties_go_to_the_earlier_member),
		cmocka_unit_test(diversity_steers_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
