/*
 * test_bandit_same.c
 *	  The same evidence and keys give the same decisions on every machine and in
 *	  every build.
 *
 * Each algorithm over each of its models learns from 400 slots and then decides
 * forty slates of three among 37 arms; what is chosen, every propensity and
 * every expected reward go into a hash, bit by bit. The hashes below are those
 * of a build with gcc 12 -O0 and the portable kernels; gcc -O3 for the machine itself and
 * clang 14 -O2 with the kernels of AVX-512 gave the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bandit/br_bandit.h"

#define ARMS 37
#define DIMS 6
#define SLOTS 3
#define LEARNED 400
#define SLATES 40

typedef struct Expected
{
	const char *algorithm;
	BrModel model;
	uint64_t hash;
} Expected;

static const Expected expected[] = {
	{"epsilon_greedy", BR_MODEL_ARM, UINT64_C(0x329a05fe46f0b6f3)},
	{"epsilon_delta", BR_MODEL_ARM, UINT64_C(0xe9007761d1278630)},
	{"ucb1", BR_MODEL_ARM, UINT64_C(0x422c5b9b20bcebaf)},
	{"ucb_tuned", BR_MODEL_ARM, UINT64_C(0x4fd963fd7a0b0bd3)},
	{"kl_ucb", BR_MODEL_ARM, UINT64_C(0x48b9f6ed65e6148d)},
	{"thompson_beta", BR_MODEL_ARM, UINT64_C(0x6d0d4bcecaf08d4d)},
	{"thompson_gaussian", BR_MODEL_ARM, UINT64_C(0xfcf6072f35a4696a)},
	{"softmax", BR_MODEL_ARM, UINT64_C(0x39dfe94ae763c830)},
	{"exp3", BR_MODEL_ARM, UINT64_C(0x92026c93001a65a6)},
	{"square_cb", BR_MODEL_ARM, UINT64_C(0x2c163cbfcf584143)},
	{"epsilon_greedy", BR_MODEL_SHARED, UINT64_C(0xeec9d0fb157d78fd)},
	{"softmax", BR_MODEL_SHARED, UINT64_C(0x561c413d5f8f1618)},
	{"linear_ucb", BR_MODEL_SHARED, UINT64_C(0x9c5c75785faf92e4)},
	{"linear_thompson", BR_MODEL_SHARED, UINT64_C(0x22ac4b81731fab3c)},
	{"logistic_thompson", BR_MODEL_SHARED, UINT64_C(0xca602a027e2fd4e5)},
	{"square_cb", BR_MODEL_SHARED, UINT64_C(0x7e8be159417cccb3)},
	{"epsilon_greedy", BR_MODEL_DISJOINT, UINT64_C(0xa595520741cf2b7f)},
	{"softmax", BR_MODEL_DISJOINT, UINT64_C(0x83521a3fc3e7d2e5)},
	{"linear_ucb", BR_MODEL_DISJOINT, UINT64_C(0x7df0faff850e265d)},
	{"linear_thompson", BR_MODEL_DISJOINT, UINT64_C(0xac5a5134d635c37b)},
	{"logistic_thompson", BR_MODEL_DISJOINT, UINT64_C(0x2a418f8a702af4ae)},
	{"square_cb", BR_MODEL_DISJOINT, UINT64_C(0xe277fb673661a994)},
};

typedef struct Policy
{
	BrContext context;
	BrPolicySpec spec;
	double *shared;
	double *arms[ARMS];
	float features[ARMS][DIMS];
} Policy;

static double *
zeros(size_t n)
{
	double *values = calloc(n > 0 ? n : 1, sizeof(double));

	assert_non_null(values);
	return values;
}

/* a mixture of what the bits of a double or an int say (FNV-1a) */
static void
mix(uint64_t *hash, const void *value, size_t size)
{
	const unsigned char *bytes = value;

	for (size_t i = 0; i < size; i++)
		*hash = (*hash ^ bytes[i]) * UINT64_C(1099511628211);
}

static void
learn(Policy *policy)
{
	const BrPolicySpec *spec = &policy->spec;
	BrRandom random;

	br_base_random_init(&random, 11, 1);
	for (int i = 0; i < LEARNED; i++)
	{
		int arm = (int) br_base_random_below(&random, ARMS);
		double reward = br_base_random_uniform(&random) < 0.1 + 0.02 * arm ? 1 : 0;
		const float *features = spec->dims > 0 ? policy->features[arm] : NULL;

		br_bandit_add_slot(spec, policy->shared, policy->arms[arm], features, 1);
		br_bandit_add_reward(spec, policy->shared, policy->arms[arm], features, 1, 0.5, 0, reward);
	}
}

/* what refits gets its slots at once: all of them, or those of each arm */
static void
fit(Policy *policy)
{
	const BrPolicySpec *spec = &policy->spec;
	bool disjoint = spec->model == BR_MODEL_DISJOINT;
	float features[LEARNED][DIMS];
	double rewards[LEARNED], weights[LEARNED];

	for (int arm = 0; arm < (disjoint ? ARMS : 1); arm++)
	{
		for (int i = 0; i < LEARNED; i++)
		{
			memcpy(features[i], policy->features[disjoint ? arm : i % ARMS], sizeof(features[i]));
			features[i][1] += (float) (i % 7) / 8;
			rewards[i] = (i * 7 + arm) % 5 < 2 ? 1 : 0.25;
			weights[i] = 1.0 / (1 + i % 3);
		}
		assert_int_equal(br_bandit_fit(&policy->context, spec, LEARNED, features[0], rewards,
									   weights, disjoint ? policy->arms[arm] : policy->shared),
						 BR_OK);
	}
}

static void
set_up(Policy *policy, const Expected *of)
{
	BrRandom random;

	memset(policy, 0, sizeof(*policy));
	br_base_context_init(&policy->context);
	policy->spec.algorithm = br_bandit_algorithm(of->algorithm);
	policy->spec.model = of->model;
	policy->spec.dims = of->model == BR_MODEL_ARM ? 0 : DIMS;
	policy->spec.parameters = br_bandit_default_parameters(policy->spec.algorithm, of->model);
	policy->shared = zeros(br_bandit_shared_length(&policy->spec));
	br_base_random_init(&random, 7, 2);
	for (int arm = 0; arm < ARMS; arm++)
	{
		policy->arms[arm] = zeros(br_bandit_arm_length(&policy->spec));
		policy->features[arm][0] = 1;
		for (int i = 1; i < DIMS; i++)
			policy->features[arm][i] = (float) br_base_random_uniform(&random);
	}
	learn(policy);
	if (br_bandit_algorithm_refits(policy->spec.algorithm))
		fit(policy);
}

static void
tear_down(Policy *policy)
{
	free(policy->shared);
	for (int arm = 0; arm < ARMS; arm++)
		free(policy->arms[arm]);
}

static uint64_t
hash_of(const Expected *of)
{
	Policy policy;
	BrPolicyEvidence evidence = {.incumbent = of->model == BR_MODEL_ARM ? 3 : -1};
	BrBelief *belief;
	uint64_t hash = UINT64_C(14695981039346656037);

	set_up(&policy, of);
	evidence.shared = policy.shared;
	evidence.arms = (const double *const *) policy.arms;
	evidence.n_arms = of->model == BR_MODEL_SHARED ? 0 : ARMS;
	assert_int_equal(br_bandit_believe(&policy.context, &policy.spec, &evidence, &belief), BR_OK);
	for (uint64_t key = 0; key < SLATES; key++)
	{
		BrSlateRequest request = {.pool = ARMS, .slots = SLOTS, .key = key};
		BrSlate slate;

		request.features = of->model == BR_MODEL_ARM ? NULL : policy.features[0];
		assert_int_equal(br_bandit_slate(&policy.context, belief, &request, &slate), BR_OK);
		assert_int_equal(slate.slots, SLOTS);
		mix(&hash, slate.chosen, SLOTS * sizeof(int));
		mix(&hash, slate.propensity, SLOTS * sizeof(double));
		mix(&hash, slate.expected, ARMS * sizeof(double));
		br_bandit_slate_free(&policy.context, &slate);
	}
	br_bandit_belief_free(&policy.context, belief);
	tear_down(&policy);
	return hash;
}

static void
decisions_are_the_same(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
	{
		uint64_t hash = hash_of(&expected[i]);

		if (hash != expected[i].hash)
			fail_msg("%s over model %d has hash 0x%016llx", expected[i].algorithm,
					 (int) expected[i].model, (unsigned long long) hash);
	}
}

/* every algorithm over every model that it works over stands above */
static void
none_is_missing(void **state)
{
	size_t n = 0;

	(void) state;
	for (int i = 0; br_bandit_algorithm_name(i) != NULL; i++)
		for (int model = BR_MODEL_ARM; model <= BR_MODEL_DISJOINT; model++)
			if (br_bandit_algorithm_models(br_bandit_algorithm(br_bandit_algorithm_name(i))) &
				BR_MODEL_BIT(model))
				n++;
	assert_int_equal(n, sizeof(expected) / sizeof(expected[0]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decisions_are_the_same),
		cmocka_unit_test(none_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
