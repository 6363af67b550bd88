/*
 * test_bandit_families.c
 *	  What every algorithm refuses, and what it leaves behind when it stops
 *	  half-way: nothing. What evidence adds up to.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/bandit_fixture.h"
#include "unit/bandit_policy.h"

static const int three_arms[] = {0, 1, 2, -1};

static void
open_case(BanditPolicy *policy, const char *name, BrModel model)
{
	bandit_policy_open(policy, name, model, model == BR_MODEL_ARM ? 0 : DIMS,
					   model == BR_MODEL_ARM ? 5 : 3);
	bandit_teach(policy);
	policy->spec.parameters.draws = 20;
}

static BrSlateRequest
request_of(BrModel model)
{
	return (BrSlateRequest){.pool = 4,
							.arms = model == BR_MODEL_SHARED ? NULL : three_arms,
							.features = &bandit_shown[0][0],
							.slots = 3,
							.diversity = 0.1,
							.similarity = bandit_similar_by_place};
}

static void
assert_detail(const BanditPolicy *policy, const char *detail)
{
	if (strstr(policy->context.detail, detail) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", policy->context.detail, detail);
}

/* ---- memory and cancelling ---- */

typedef struct Countdown
{
	BrAllocator inner;
	int left; /* calls that still succeed */
	int live; /* allocated and not yet freed */
} Countdown;

static void *
countdown_alloc(void *arg, size_t size)
{
	Countdown *countdown = arg;

	if (countdown->left-- <= 0)
		return NULL;
	countdown->live++;
	return countdown->inner.alloc(countdown->inner.arg, size);
}

static void
countdown_free(void *arg, void *pointer)
{
	Countdown *countdown = arg;

	countdown->live -= pointer != NULL;
	countdown->inner.free(countdown->inner.arg, pointer);
}

static bool
countdown_cancel(void *arg)
{
	return (*(int *) arg)-- <= 0;
}

/* Belief, slate and probabilities, or the first failure of the three. */
static BrStatus
run_all(BanditPolicy *policy, const BrSlateRequest *request)
{
	double probability[POOL];
	BrSlate slate;
	BrStatus status = bandit_believe(policy);

	if (status != BR_OK)
	{
		assert_null(policy->belief);
		return status;
	}
	status = br_bandit_slate(&policy->context, policy->belief, request, &slate);
	if (status == BR_OK)
		status = br_bandit_probabilities(&policy->context, policy->belief, request, slate.chosen, 2,
										 probability);
	else
		assert_true(slate.slots == 0 && slate.chosen == NULL && slate.votes == NULL &&
					slate.propensity == NULL && slate.expected == NULL);
	br_bandit_slate_free(&policy->context, &slate);
	br_bandit_belief_free(&policy->context, policy->belief);
	policy->belief = NULL;
	return status;
}

static void
refused_memory_leaves_nothing_behind(void **state)
{
	BrModel model;
	const char *name;

	(void) state;
	for (int i = 0; (name = bandit_case(i, &model)) != NULL; i++)
	{
		BrSlateRequest request = request_of(model);
		BrStatus status = BR_ERR_MEMORY;
		BanditPolicy policy;
		BrAllocator inner;
		int allowed;

		open_case(&policy, name, model);
		inner = policy.context.allocator;
		for (allowed = 0; status == BR_ERR_MEMORY; allowed++)
		{
			Countdown countdown = {inner, allowed, 0};

			policy.context.allocator = (BrAllocator){countdown_alloc, countdown_free, &countdown};
			status = run_all(&policy, &request);
			if (status != BR_OK)
				assert_detail(&policy, "allocate");
			assert_int_equal(countdown.live, 0);
		}
		assert_int_equal(status, BR_OK);
		assert_true(allowed > 8);
		policy.context.allocator = inner;
		bandit_policy_close(&policy);
	}
}

static void
cancelling_leaves_nothing_behind(void **state)
{
	BrModel model;
	const char *name;

	(void) state;
	for (int i = 0; (name = bandit_case(i, &model)) != NULL; i++)
	{
		BrSlateRequest request = request_of(model);
		BrStatus status = BR_ERR_CANCELLED;
		BanditPolicy policy;
		BrAllocator inner;
		int asked;

		open_case(&policy, name, model);
		inner = policy.context.allocator;
		for (asked = 0; status == BR_ERR_CANCELLED; asked++)
		{
			Countdown countdown = {inner, INT32_MAX, 0};
			int left = asked;

			policy.context.allocator = (BrAllocator){countdown_alloc, countdown_free, &countdown};
			policy.context.cancel = (BrCancel){countdown_cancel, &left};
			status = run_all(&policy, &request);
			if (status != BR_OK)
				assert_detail(&policy, "ancelled");
			assert_int_equal(countdown.live, 0);
		}
		assert_int_equal(status, BR_OK);
		/* whatever takes time asks: linear models, and Thompson sampling */
		assert_true(asked > 1 || (model == BR_MODEL_ARM && strstr(name, "thompson") == NULL));
		policy.context.allocator = inner;
		bandit_policy_close(&policy);
	}
}

/* ---- bad input ---- */

static void
assert_refused(BanditPolicy *policy, const BrSlateRequest *request, BrStatus status,
			   const char *detail)
{
	assert_int_equal(run_all(policy, request), status);
	assert_detail(policy, detail);
	bandit_policy_close(policy);
}

static void
arms_are_checked(void **state)
{
	static const int beyond[] = {0, 5, 1};
	static const int below[] = {0, -2, 1};
	static const int twice[] = {3, 1, -1, -1, 3};
	BrSlateRequest request = {.pool = 3, .slots = 1};
	BanditPolicy policy;

	(void) state;
	open_case(&policy, "ucb1", BR_MODEL_ARM);
	request.arms = beyond;
	assert_refused(&policy, &request, BR_ERR_ARGUMENT, "Pool member 2 is arm 6, of 5 arms");
	open_case(&policy, "ucb1", BR_MODEL_ARM);
	request.arms = below;
	assert_refused(&policy, &request, BR_ERR_ARGUMENT, "Pool member 2 is arm -1");
	open_case(&policy, "ucb1", BR_MODEL_ARM);
	request.arms = twice;
	request.pool = 5;
	assert_refused(&policy, &request, BR_ERR_ARGUMENT, "Pool members 1 and 5 are both arm 4");
	open_case(&policy, "ucb1", BR_MODEL_ARM);
	request.arms = NULL;
	request.pool = 6;
	assert_refused(&policy, &request, BR_ERR_ARGUMENT, "A pool of 6 members, of 5 arms");
}

static void
earlier_slots_are_checked(void **state)
{
	static const int beyond[] = {1, 4};
	static const int twice[] = {1, 1};
	static const int all[] = {3, 0, 1, 2};
	BrSlateRequest request = request_of(BR_MODEL_ARM);
	double probability[4];
	BanditPolicy policy;

	(void) state;
	open_case(&policy, "softmax", BR_MODEL_ARM);
	bandit_refresh(&policy);
	assert_int_equal(br_bandit_probabilities(&policy.context, policy.belief, &request, beyond, 2,
											 probability),
					 BR_ERR_ARGUMENT);
	assert_detail(&policy, "Slot 2 holds pool member 5");
	assert_int_equal(br_bandit_probabilities(&policy.context, policy.belief, &request, twice, 2,
											 probability),
					 BR_ERR_ARGUMENT);
	assert_detail(&policy, "Slot 2 holds pool member 2");
	assert_int_equal(br_bandit_probabilities(&policy.context, policy.belief, &request, all, 5,
											 probability),
					 BR_ERR_ARGUMENT);
	assert_detail(&policy, "5 earlier slots of a pool of 4");
	/* nobody is left */
	assert_int_equal(br_bandit_probabilities(&policy.context, policy.belief, &request, all, 4,
											 probability),
					 BR_OK);
	for (int b = 0; b < 4; b++)
		bandit_assert_near(probability[b], 0, 0);
	bandit_policy_close(&policy);
}

static void
evidence_is_checked(void **state)
{
	static const struct
	{
		const char *algorithm;
		int element; /* of arm 2 */
		double damage;
		const char *detail;
	} cases[] = {{"ucb1", 0, NAN, "Arm 2: Element 1 of the evidence is nan"},
				 {"exp3", 3, INFINITY, "Arm 2: Element 4 of the evidence is inf"},
				 {"softmax", 0, -3, "Arm 2: The evidence counts -3 slots"},
				 {"softmax", 2, -3, "squared rewards of -3"},
				 {"thompson_beta", 1, 41,
				  "rewards of 41 in 40 slots; thompson_beta takes rewards between 0"},
				 {"kl_ucb", 1, -0.5, "rewards of -0.5 in 40 slots"}};
	BrSlateRequest request = request_of(BR_MODEL_ARM);
	BanditPolicy policy;

	(void) state;
	open_case(&policy, "softmax", BR_MODEL_ARM);
	policy.arms[2][1] = -DBL_MAX;
	policy.spec.parameters.prior_strength = 0;
	policy.arms[2][0] = 1;
	assert_refused(&policy, &request, BR_ERR_NUMERIC, "The mean reward of arm 3 is -1.79769e+308");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		open_case(&policy, cases[i].algorithm, BR_MODEL_ARM);
		policy.arms[1][cases[i].element] = cases[i].damage;
		assert_refused(&policy, &request, BR_ERR_NUMERIC, cases[i].detail);
	}
}

static void
linear_evidence_names_its_arm(void **state)
{
	BrSlateRequest request = request_of(BR_MODEL_DISJOINT);
	BanditPolicy policy;

	(void) state;
	open_case(&policy, "linear_ucb", BR_MODEL_DISJOINT);
	policy.arms[2][7] = -1e6;
	assert_refused(&policy, &request, BR_ERR_NUMERIC, "Arm 3: The evidence of");
	open_case(&policy, "logistic_thompson", BR_MODEL_DISJOINT);
	policy.arms[1][2 + DIMS] = -1;
	assert_refused(&policy, &request, BR_ERR_NUMERIC, "Arm 2: The precision fitted to 3 slots");
	open_case(&policy, "logistic_thompson", BR_MODEL_SHARED);
	policy.shared[3] = NAN;
	assert_refused(&policy, &request, BR_ERR_NUMERIC, "Element 4 of the evidence is nan");
}

/* The largest float in a feature that a huge prior mean weighs. */
static void
scores_that_overflow_name_feature_and_member(void **state)
{
	static const double huge_mean[DIMS] = {0, DBL_MAX / 1e6, 0, 0};
	float features[POOL][DIMS];
	BrModel model;
	const char *name;

	(void) state;
	memcpy(features, bandit_shown, sizeof(features));
	features[3][1] = -3e38f;
	for (int i = 0; (name = bandit_case(i, &model)) != NULL; i++)
	{
		BrSlateRequest request = request_of(model);
		BanditPolicy policy;

		if (model == BR_MODEL_ARM)
			continue;
		open_case(&policy, name, model);
		if (br_bandit_algorithm_refits(policy.spec.algorithm) && model == BR_MODEL_SHARED)
			memcpy(policy.shared + 2, huge_mean, sizeof(huge_mean));
		request.features = &features[0][0];
		policy.spec.prior_mean = huge_mean;
		policy.spec.parameters.noise = 1e9;
		assert_refused(&policy, &request, BR_ERR_NUMERIC, "Feature 2 of pool member 4 is -3e+38");
	}
}

static void
parameters_are_checked(void **state)
{
	static const struct
	{
		const char *algorithm;
		size_t offset;
		double value;
		const char *detail;
	} cases[] = {{"ucb1", offsetof(BrParameters, width), -1, "\"width\" is -1"},
				 {"softmax", offsetof(BrParameters, temperature), 0, "\"temperature\" is 0"},
				 {"exp3", offsetof(BrParameters, learning_rate), NAN, "\"learning_rate\" is nan"},
				 {"square_cb", offsetof(BrParameters, exploration), 0, "\"exploration\" is 0"},
				 {"epsilon_greedy", offsetof(BrParameters, epsilon_decay), -1,
				  "\"epsilon_decay\" is -1"},
				 {"epsilon_greedy", offsetof(BrParameters, epsilon_min), 2, "\"epsilon_min\" is 2"},
				 {"epsilon_delta", offsetof(BrParameters, delta), -0.1, "\"delta\" is -0.1"},
				 {"epsilon_delta", offsetof(BrParameters, eta), 1, "\"eta\" is 1"},
				 {"epsilon_delta", offsetof(BrParameters, prior_strength), 0, "at least 1e-06"},
				 {"thompson_beta", offsetof(BrParameters, prior_rate), 1,
				  "strictly between 0 and 1"},
				 {"thompson_beta", offsetof(BrParameters, prior_strength), 0, "at least 1e-06"},
				 {"thompson_gaussian", offsetof(BrParameters, noise), 0, "\"noise\" is 0"},
				 {"thompson_gaussian", offsetof(BrParameters, draws), 0, "\"draws\" is 0"}};
	BrSlateRequest request = request_of(BR_MODEL_ARM);

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		BanditPolicy policy;

		open_case(&policy, cases[i].algorithm, BR_MODEL_ARM);
		memcpy((char *) &policy.spec.parameters + cases[i].offset, &cases[i].value, sizeof(double));
		assert_refused(&policy, &request, BR_ERR_ARGUMENT, cases[i].detail);
	}
}

/* Rules name every parameter once, and every algorithm reads only parameters that have one. */
static void
names_lead_to_what_they_name(void **state)
{
	const BrParameterRule *rule;
	BrModel model;
	const char *name;
	int rules = 0;

	(void) state;
	assert_null(br_bandit_algorithm("thompson"));
	while ((rule = br_bandit_parameter_rule(rules)) != NULL)
		rules++;
	assert_int_equal(rules * sizeof(double), sizeof(BrParameters));
	for (int i = 0; (name = bandit_case(i, &model)) != NULL; i++)
	{
		const BrAlgorithm *algorithm = br_bandit_algorithm(name);
		int taken = 0;

		assert_string_equal(algorithm->name, name);
		for (int r = 0; r < rules; r++)
			taken += br_bandit_algorithm_takes(algorithm, model, br_bandit_parameter_rule(r)->name);
		for (const BrTakes *takes = algorithm->takes; takes->name != NULL; takes++)
			taken -= (takes->models & BR_MODEL_BIT(model)) != 0;
		/* epsilon and diversity */
		assert_int_equal(taken, 2);
	}
}

/* ---- evidence ---- */

/* Two policies that saw half each add up to one that saw all, and reversed rewards cancel. */
static void
evidence_is_a_sum(void **state)
{
	BrModel model;
	const char *name;

	(void) state;
	for (int i = 0; (name = bandit_case(i, &model)) != NULL; i++)
	{
		size_t arm_length;
		BanditPolicy once;
		BanditPolicy twice;

		open_case(&once, name, model);
		open_case(&twice, name, model);
		if (br_bandit_algorithm_refits(once.spec.algorithm))
		{
			bandit_policy_close(&once);
			bandit_policy_close(&twice);
			continue;
		}
		bandit_teach(&twice);
		br_bandit_add_reward(&twice.spec, twice.shared, twice.n_arms > 0 ? twice.arms[1] : NULL,
							 bandit_shown[1], 0.5, 0.25, 0, 3);
		br_bandit_add_reward(&twice.spec, twice.shared, twice.n_arms > 0 ? twice.arms[1] : NULL,
							 bandit_shown[1], 0.5, 0.25, 3, -3);
		for (size_t k = 0; k < br_bandit_shared_length(&once.spec); k++)
			bandit_assert_near(twice.shared[k], 2 * once.shared[k], 1e-13);
		arm_length = br_bandit_arm_length(&once.spec);
		assert_int_equal(arm_length == 0, model == BR_MODEL_SHARED);
		for (int arm = 0; arm < once.n_arms; arm++)
		{
			br_bandit_evidence_scale(twice.arms[arm], arm_length, 0.5);
			for (size_t k = 0; k < arm_length; k++)
				bandit_assert_near(twice.arms[arm][k], once.arms[arm][k], 1e-13);
		}
		bandit_policy_close(&once);
		bandit_policy_close(&twice);
	}
}

/* [n, sum w r, sum w r^2] of all arms and [.., sum w r / p] of one, by hand. */
static void
sums_of_arms_are_what_the_door_says(void **state)
{
	static const double shared[] = {1.5, 0.5 * 3 + 2, 0.5 * 9 + 4};
	static const double first[] = {0.5, 1.5, 4.5, 1.5 / 0.2};
	BanditPolicy policy;

	(void) state;
	bandit_policy_open(&policy, "exp3", BR_MODEL_ARM, 0, 2);
	br_bandit_add_slot(&policy.spec, policy.shared, policy.arms[0], NULL, 0.5);
	br_bandit_add_slot(&policy.spec, policy.shared, policy.arms[1], NULL, 1);
	/* a reward of 3 in two parts */
	br_bandit_add_reward(&policy.spec, policy.shared, policy.arms[0], NULL, 0.5, 0.2, 0, 1);
	br_bandit_add_reward(&policy.spec, policy.shared, policy.arms[0], NULL, 0.5, 0.2, 1, 2);
	br_bandit_add_reward(&policy.spec, policy.shared, policy.arms[1], NULL, 1, 0.8, 0, 2);
	for (int k = 0; k < 3; k++)
		bandit_assert_near(policy.shared[k], shared[k], 1e-15);
	for (int k = 0; k < 4; k++)
		bandit_assert_near(policy.arms[0][k], first[k], 1e-15);
	bandit_policy_close(&policy);
}

/* ---- sizes ---- */

/* 512 features, and pools that vote beyond the quadrature's limit. */
static void
large_policies_decide(void **state)
{
	enum
	{
		MANY = BR_BANDIT_MAX_QUADRATURE + 1,
		WIDE = BR_BANDIT_MAX_DIMS
	};
	static const char *const voters[] = {"thompson_beta", "thompson_gaussian"};
	float *features = calloc((size_t) 3 * WIDE, sizeof(float));
	BrSlateRequest request = {.pool = 3, .features = features, .slots = 2};
	BanditPolicy policy;
	BrSlate slate;

	(void) state;
	assert_non_null(features);
	for (int b = 0; b < 3; b++)
		features[b * WIDE + 200 * b] = 1;
	for (int i = 0; i < 2; i++)
	{
		BrModel model = i == 0 ? BR_MODEL_SHARED : BR_MODEL_DISJOINT;

		bandit_policy_open(&policy, "linear_thompson", model, WIDE, 3);
		policy.spec.parameters.epsilon = 0;
		for (int n = 0; n < 60; n++)
			bandit_learn(&policy, n % 3, features + n % 3 * WIDE, 1, 1, n % 3 == 2);
		bandit_refresh(&policy);
		assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &request, &slate), BR_OK);
		/* means 0, 0 and 20 / 20.25, deviations .11: eight of them between best and rest */
		assert_int_equal(slate.chosen[0], 2);
		bandit_assert_near(slate.expected[2], 80.0 / 81, 1e-12);
		br_bandit_slate_free(&policy.context, &slate);
		bandit_policy_close(&policy);
	}
	free(features);

	for (int i = 0; i < 2; i++)
	{
		bandit_policy_open(&policy, voters[i], BR_MODEL_ARM, 0, MANY);
		for (int n = 0; n < 400; n++)
			bandit_learn(&policy, n % 2 == 0 ? 7 : 8 + n, NULL, 1, 1, n % 2 == 0);
		policy.spec.parameters.prior_rate = 0.001;
		policy.spec.parameters.noise = 1e-4;
		policy.spec.parameters.epsilon = 0;
		bandit_refresh(&policy);
		request = (BrSlateRequest){.pool = MANY, .slots = 2};
		assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &request, &slate), BR_OK);
		assert_non_null(slate.votes);
		assert_int_equal(slate.chosen[0], 7);
		assert_int_equal(slate.votes[7], 256);
		assert_int_equal(slate.votes[MANY + 7], 0);
		br_bandit_slate_free(&policy.context, &slate);
		bandit_policy_close(&policy);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_memory_leaves_nothing_behind),
		cmocka_unit_test(cancelling_leaves_nothing_behind),
		cmocka_unit_test(arms_are_checked),
		cmocka_unit_test(earlier_slots_are_checked),
		cmocka_unit_test(evidence_is_checked),
		cmocka_unit_test(linear_evidence_names_its_arm),
		cmocka_unit_test(scores_that_overflow_name_feature_and_member),
		cmocka_unit_test(parameters_are_checked),
		cmocka_unit_test(names_lead_to_what_they_name),
		cmocka_unit_test(evidence_is_a_sum),
		cmocka_unit_test(sums_of_arms_are_what_the_door_says),
		cmocka_unit_test(large_policies_decide),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
