/*
 * test_bandit_propensity.c
 *	  Of every algorithm over every model: probabilities that sum to 1, choices
 *	  as frequent as their propensities say, importance weights of mean 1; and
 *	  slates around pinned members.
 *
 * The chi-square limits are scipy 1.17.1's stats.chi2.isf(1e-4, df).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/bandit_fixture.h"
#include "unit/bandit_policy.h"

#define SHARE 0.1
#define SLOTS 2

/* instrumented, decisions take long; quadratures take long anyway */
#ifdef __SANITIZE_ADDRESS__
#define DECISIONS 1000
#define DECISIONS_INTEGRATED 300
#else
#define DECISIONS 50000
#define DECISIONS_INTEGRATED 5000
#endif

/* exceeded once in 10,000 times, by degrees of freedom */
static const double chi_square_limit[] = {0,
										  15.136705226623397,
										  18.420680743952364,
										  21.10751346616021,
										  23.512742444990838,
										  25.744831959055876,
										  27.856341236013918,
										  29.877503909224902};

static const int arms_of_model[][POOL] = {{0, 1, 2, 3, 4}, {0}, {0, 1, 2, -1}};
static const int pool_of_model[] = {5, POOL, 4};

static void
open_case(BanditPolicy *policy, const char *name, BrModel model)
{
	static const int n_arms[] = {5, 0, 3};

	bandit_policy_open(policy, name, model, model == BR_MODEL_ARM ? 0 : DIMS, n_arms[model]);
	bandit_teach(policy);
	policy->spec.parameters.epsilon = SHARE;
	policy->spec.parameters.draws = 32;
	policy->incumbent = policy->spec.algorithm == br_bandit_algorithm("epsilon_delta") ? 1 : -1;
	bandit_refresh(policy);
}

static BrSlateRequest
request_of(BrModel model)
{
	return (BrSlateRequest){.pool = pool_of_model[model],
							.arms = model == BR_MODEL_SHARED ? NULL : arms_of_model[model],
							.features = &bandit_shown[0][0],
							.slots = SLOTS,
							.diversity = 0.1,
							.similarity = bandit_similar_by_place};
}

/* P(member at the slot after the first n_earlier of a slate), checked as a distribution. */
static void
probabilities(BanditPolicy *policy, const BrSlateRequest *request, const int *earlier,
			  int n_earlier, double *probability /* (POOL) */)
{
	int remaining = request->pool - n_earlier;
	double sum = 0;

	assert_int_equal(br_bandit_probabilities(&policy->context, policy->belief, request, earlier,
											 n_earlier, probability),
					 BR_OK);
	for (int b = 0; b < request->pool; b++)
	{
		bool taken = false;

		for (int k = 0; k < n_earlier; k++)
			taken = taken || earlier[k] == b;
		assert_true(taken ? probability[b] == 0
						  : probability[b] >= policy->spec.parameters.epsilon / remaining);
		sum += probability[b];
	}
	bandit_assert_near(sum, 1, 1e-12);
}

static void
probabilities_of_all_slots_sum_to_one(void **state)
{
	BrModel model;
	const char *name;

	(void) state;
	for (int i = 0; (name = bandit_case(i, &model)) != NULL; i++)
	{
		BrSlateRequest request = request_of(model);
		BanditPolicy policy;

		open_case(&policy, name, model);
		request.slots = request.pool;
		for (uint64_t key = 0; key < 40; key++)
		{
			BrSlate slate;

			request.key = key;
			policy.spec.parameters.epsilon = key % 2 == 0 ? 0 : SHARE;
			bandit_refresh(&policy);
			assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &request, &slate),
							 BR_OK);
			for (int k = 0; k < slate.slots; k++)
			{
				double probability[POOL];

				probabilities(&policy, &request, slate.chosen, k, probability);
				assert_true(slate.propensity[k] > 0);
				bandit_assert_near(slate.propensity[k], probability[slate.chosen[k]], 0);
			}
			br_bandit_slate_free(&policy.context, &slate);
		}
		bandit_policy_close(&policy);
	}
}

/* Sums over decisions at one slot: chosen less expected, and its covariance. */
typedef struct Frequency
{
	double difference[POOL];
	double variance[POOL][POOL];
} Frequency;

static void
count_choice(Frequency *frequency, int pool, const double *p, int chosen)
{
	for (int i = 0; i < pool; i++)
	{
		frequency->difference[i] += (chosen == i) - p[i];
		for (int j = 0; j < pool; j++)
			frequency->variance[i][j] += (i == j ? p[i] : 0) - p[i] * p[j];
	}
}

/*
 * Probabilities may differ from decision to decision, so counts are sums of
 * unequal multinomials: with d the difference and V its covariance, d' V^-1 d
 * over all members but the last is chi-square with pool - 1 degrees of freedom.
 */
static void
assert_frequent(BrContext *context, Frequency *frequency, int pool, const char *label, int slot)
{
	double packed[BR_MATH_PACKED(POOL)];
	double statistic;

	for (int i = 0; i < pool - 1; i++)
	{
		for (int j = 0; j <= i; j++)
			packed[i * (i + 1) / 2 + j] = frequency->variance[i][j];
	}
	assert_int_equal(br_math_cholesky(context, packed, pool - 1), BR_OK);
	br_math_solve_lower(packed, pool - 1, frequency->difference);
	statistic = br_math_dot(frequency->difference, frequency->difference, (size_t) pool - 1);
	if (statistic > chi_square_limit[pool - 1])
		fail_msg("%s, slot %d: chi-square %.2f", label, slot + 1, statistic);
}

static void
choices_are_as_frequent_as_their_propensities(void **state)
{
	BrModel model;
	const char *name;

	(void) state;
	for (int i = 0; (name = bandit_case(i, &model)) != NULL; i++)
	{
		BrSlateRequest request = request_of(model);
		Frequency frequency[SLOTS];
		BanditPolicy policy;
		int decisions = strstr(name, "thompson") != NULL && model != BR_MODEL_SHARED
			? DECISIONS_INTEGRATED
			: DECISIONS;

		open_case(&policy, name, model);
		memset(frequency, 0, sizeof(frequency));
		for (int n = 0; n < decisions; n++)
		{
			BrSlate slate;

			request.key = (uint64_t) n * UINT64_C(0x9e3779b97f4a7c15);
			assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &request, &slate),
							 BR_OK);
			for (int k = 0; k < SLOTS; k++)
			{
				double p[POOL];

				probabilities(&policy, &request, slate.chosen, k, p);
				count_choice(&frequency[k], request.pool, p, slate.chosen[k]);
			}
			br_bandit_slate_free(&policy.context, &slate);
		}
		for (int k = 0; k < SLOTS; k++)
			assert_frequent(&policy.context, &frequency[k], request.pool, name, k);
		bandit_policy_close(&policy);
	}
}

/*
 * A uniform log of contexts that differ: each algorithm's probability of the
 * logged member over that of the log must average to 1.
 */
static void
importance_weights_average_to_one(void **state)
{
	enum
	{
		SEED = 1,
		LOGGED = 2000
	};
	BrModel model;
	const char *name;

	(void) state;
	for (int i = 0; (name = bandit_case(i, &model)) != NULL; i++)
	{
		BrSlateRequest request = request_of(model);
		BanditPolicy policy;
		float features[POOL][DIMS];
		double sum = 0;
		double squares = 0;
		double error;
		BrRandom random;

		open_case(&policy, name, model);
		request.features = &features[0][0];
		br_base_random_init(&random, SEED, (uint64_t) i);
		for (int n = 0; n < LOGGED; n++)
		{
			double p[POOL];
			double weight;

			for (int b = 0; b < POOL; b++)
			{
				for (int d = 0; d < DIMS; d++)
					features[b][d] = d == 0 ? 1 : (float) br_math_normal(&random);
			}
			request.key = (uint64_t) n;
			probabilities(&policy, &request, NULL, 0, p);
			weight = p[br_base_random_below(&random, (uint32_t) request.pool)] * request.pool;
			sum += weight / LOGGED;
			squares += weight * weight / LOGGED;
		}
		error = sqrt((squares - sum * sum) / LOGGED);
		if (!(fabs(sum - 1) <= 2 * error))
			fail_msg("%s over %s: mean weight %.4f, standard error %.4f", name,
					 bandit_model_name(model), sum, error);
		bandit_policy_close(&policy);
	}
}

#define PINNED 2

/* The same request without the pinned member; diversity does not tell places apart. */
static BrSlateRequest
without_pinned(const BrSlateRequest *request, int *arms, float features[][DIMS])
{
	BrSlateRequest rest = *request;

	rest.pool--;
	rest.n_pins = 0;
	for (int b = 0; b < rest.pool; b++)
	{
		int from = b < PINNED ? b : b + 1;

		arms[b] = request->arms != NULL ? request->arms[from] : from;
		memcpy(features[b], bandit_shown[from], sizeof(features[b]));
	}
	rest.arms = request->arms != NULL ? arms : NULL;
	rest.features = &features[0][0];
	return rest;
}

/* A member pinned to the last slot leaves the others what they are without it. */
static void
pinned_members_do_not_compete(void **state)
{
	BrModel model;
	const char *name;

	(void) state;
	for (int i = 0; (name = bandit_case(i, &model)) != NULL; i++)
	{
		BrSlateRequest request = request_of(model);
		BrPin pin = {.slot = request.pool - 1, .member = PINNED};
		float features[POOL][DIMS];
		int arms[POOL];
		BanditPolicy policy;

		open_case(&policy, name, model);
		request.slots = request.pool;
		request.diversity = 0;
		request.n_pins = 1;
		request.pins = &pin;
		for (uint64_t key = 0; key < 20; key++)
		{
			BrSlateRequest rest = without_pinned(&request, arms, features);
			double probability[POOL];
			BrSlate slate;
			BrSlate other;

			request.key = rest.key = key;
			assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &request, &slate),
							 BR_OK);
			assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &rest, &other), BR_OK);
			assert_int_equal(slate.slots, other.slots + 1);
			for (int k = 0; k < other.slots; k++)
			{
				int from = other.chosen[k] < PINNED ? other.chosen[k] : other.chosen[k] + 1;

				assert_int_equal(slate.chosen[k], from);
				bandit_assert_near(slate.propensity[k], other.propensity[k], 0);
				bandit_assert_near(slate.expected[from], other.expected[other.chosen[k]], 0);
			}
			assert_int_equal(slate.chosen[pin.slot], PINNED);
			bandit_assert_near(slate.propensity[pin.slot], 1, 0);
			for (int b = 0; slate.votes != NULL && b < request.pool; b++)
				assert_int_equal(slate.votes[pin.slot * request.pool + b], 0);
			assert_int_equal(br_bandit_probabilities(&policy.context, policy.belief, &request, NULL,
													 0, probability),
							 BR_OK);
			assert_true(probability[PINNED] == 0);
			bandit_assert_near(probability[slate.chosen[0]], slate.propensity[0], 0);
			br_bandit_slate_free(&policy.context, &slate);
			br_bandit_slate_free(&policy.context, &other);
		}
		bandit_policy_close(&policy);
	}
}

/* What follows two pinned slots is drawn as after any two slots of these members. */
static void
slots_after_pinned_ones_know_them(void **state)
{
	static const BrPin pins[] = {{.slot = 0, .member = PINNED}, {.slot = 1, .member = 0}};
	BrModel model;
	const char *name;

	(void) state;
	for (int i = 0; (name = bandit_case(i, &model)) != NULL; i++)
	{
		BrSlateRequest request = request_of(model);
		BrSlateRequest free_request = request;
		BanditPolicy policy;

		open_case(&policy, name, model);
		request.slots = request.pool;
		request.n_pins = 2;
		request.pins = pins;
		for (uint64_t key = 0; key < 20; key++)
		{
			BrSlate slate;

			request.key = free_request.key = key;
			assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &request, &slate),
							 BR_OK);
			assert_int_equal(slate.chosen[0], PINNED);
			assert_int_equal(slate.chosen[1], 0);
			for (int k = 2; k < slate.slots; k++)
			{
				double probability[POOL];

				probabilities(&policy, &free_request, slate.chosen, k, probability);
				bandit_assert_near(slate.propensity[k], probability[slate.chosen[k]], 0);
			}
			br_bandit_slate_free(&policy.context, &slate);
		}
		bandit_policy_close(&policy);
	}
}

static void
impossible_pins_are_refused(void **state)
{
	static const BrPin pins[][2] = {
		{{0, POOL}, {1, 0}}, {{0, -1}, {1, 0}}, {{-1, 0}, {1, 1}},
		{{3, 0}, {1, 1}},	 {{0, 1}, {0, 2}},	{{0, 1}, {1, 1}},
	};
	BanditFixture fixture;
	BrSlate slate;

	(void) state;
	bandit_set_up(&fixture);
	fixture.request.n_pins = 2;
	for (size_t i = 0; i < sizeof(pins) / sizeof(pins[0]); i++)
	{
		fixture.request.pins = pins[i];
		assert_int_equal(bandit_slate(&fixture, &slate), BR_ERR_ARGUMENT);
		assert_non_null(strstr(fixture.context.detail, "pinned"));
		assert_null(slate.chosen);
		assert_int_equal(slate.slots, 0);
	}
	/* nothing is left to draw */
	fixture.request.pool = 2;
	fixture.request.pins = (const BrPin[]){{0, 1}, {1, 0}};
	assert_int_equal(bandit_slate(&fixture, &slate), BR_OK);
	assert_int_equal(slate.slots, 2);
	assert_int_equal(slate.chosen[0], 1);
	assert_int_equal(slate.chosen[1], 0);
	br_bandit_slate_free(&fixture.context, &slate);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(probabilities_of_all_slots_sum_to_one),
		cmocka_unit_test(choices_are_as_frequent_as_their_propensities),
		cmocka_unit_test(importance_weights_average_to_one),
		cmocka_unit_test(pinned_members_do_not_compete),
		cmocka_unit_test(slots_after_pinned_ones_know_them),
		cmocka_unit_test(impossible_pins_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
