/*
 * bandit_policy.c
 *	  A policy with its evidence in memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/bandit_fixture.h"
#include "unit/bandit_policy.h"

static void *
allocate(size_t n, size_t size)
{
	void *memory = calloc(n + 1, size);

	assert_non_null(memory);
	return memory;
}

void
bandit_policy_open(BanditPolicy *policy, const char *algorithm, BrModel model, int dims, int n_arms)
{
	memset(policy, 0, sizeof(*policy));
	br_base_context_init(&policy->context);
	policy->spec.algorithm = br_bandit_algorithm(algorithm);
	assert_non_null(policy->spec.algorithm);
	policy->spec.model = model;
	policy->spec.dims = dims;
	policy->spec.parameters = br_bandit_default_parameters(policy->spec.algorithm, model);
	policy->n_arms = model == BR_MODEL_SHARED ? 0 : n_arms;
	policy->incumbent = -1;
	policy->shared = allocate(br_bandit_shared_length(&policy->spec), sizeof(double));
	policy->arms = allocate((size_t) policy->n_arms, sizeof(double *));
	policy->seen = allocate((size_t) policy->n_arms, sizeof(bool));
	for (int arm = 0; arm < policy->n_arms; arm++)
		policy->arms[arm] = allocate(br_bandit_arm_length(&policy->spec), sizeof(double));
}

void
bandit_policy_close(BanditPolicy *policy)
{
	br_bandit_belief_free(&policy->context, policy->belief);
	for (int arm = 0; arm < policy->n_arms; arm++)
		free(policy->arms[arm]);
	free(policy->arms);
	free(policy->seen);
	free(policy->shared);
	memset(policy, 0, sizeof(*policy));
}

void
bandit_learn(BanditPolicy *policy, int arm, const float *features, double weight, double propensity,
			 double reward)
{
	double *evidence = policy->spec.model == BR_MODEL_SHARED ? NULL : policy->arms[arm];

	br_bandit_add_slot(&policy->spec, policy->shared, evidence, features, weight);
	br_bandit_add_reward(&policy->spec, policy->shared, evidence, features, weight, propensity, 0,
						 reward);
	if (evidence != NULL)
		policy->seen[arm] = true;
}

BrStatus
bandit_believe(BanditPolicy *policy)
{
	const double **arms = allocate((size_t) policy->n_arms, sizeof(double *));
	BrPolicyEvidence evidence = {policy->shared, policy->n_arms, arms, policy->incumbent};
	BrStatus status;

	for (int arm = 0; arm < policy->n_arms; arm++)
		arms[arm] = policy->seen[arm] ? policy->arms[arm] : NULL;
	br_bandit_belief_free(&policy->context, policy->belief);
	status = br_bandit_believe(&policy->context, &policy->spec, &evidence, &policy->belief);
	free(arms);
	return status;
}

void
bandit_refresh(BanditPolicy *policy)
{
	if (bandit_believe(policy) != BR_OK)
		fail_msg("%s", policy->context.detail);
}

static void
learn_times(BanditPolicy *policy, int arm, int times, double reward)
{
	for (int i = 0; i < times; i++)
		bandit_learn(policy, arm, NULL, 1, 0.25, reward);
}

/* 3 of 10, 10 of 40, 0 of 5, nothing, and four halves in 8 */
static void
teach_arms(BanditPolicy *policy)
{
	learn_times(policy, 0, 7, 0);
	learn_times(policy, 0, 3, 1);
	learn_times(policy, 1, 30, 0);
	learn_times(policy, 1, 10, 1);
	learn_times(policy, 2, 5, 0);
	learn_times(policy, 4, 4, 0);
	learn_times(policy, 4, 4, 0.5);
}

static void
teach_bundles(BanditPolicy *policy)
{
	static const double weight[POOL] = {1, 1, 0.5, 1, 0.25, 1, 0.75, 1};
	static const double reward[POOL] = {1, 0, 1, 0, 1.5, 0, 0, 1};

	for (int b = 0; b < POOL; b++)
		bandit_learn(policy, b % 3, bandit_shown[b], weight[b], 0.25, reward[b]);
}

/* What br_bandit_fit may leave, of three arms: means, and precisions diagonal + constant. */
static void
teach_logistic(BanditPolicy *policy)
{
	static const double mean[3][DIMS] = {{-1, 0.5, 0.25, 0},
										 {-0.5, 0, 1, -0.25},
										 {0.25, -1, 0.5, 0.5}};
	static const double diagonal[3][DIMS] = {{8, 4, 2, 1}, {3, 3, 3, 3}, {5, 2, 5, 2}};
	static const double constant[3] = {0.5, 0.25, -0.125};

	for (int arm = 0; arm < 3; arm++)
	{
		double *evidence =
			policy->spec.model == BR_MODEL_SHARED ? policy->shared : policy->arms[arm];
		double *precision = evidence + 2 + DIMS;

		evidence[0] = 3;
		evidence[1] = 1;
		memcpy(evidence + 2, mean[arm], sizeof(mean[arm]));
		for (int i = 0; i < DIMS; i++)
		{
			for (int j = 0; j <= i; j++)
				*precision++ = constant[arm] + (i == j ? diagonal[arm][i] : 0);
		}
		if (policy->spec.model == BR_MODEL_SHARED)
			return;
		policy->seen[arm] = true;
		policy->shared[0] += 3;
	}
}

void
bandit_teach(BanditPolicy *policy)
{
	if (policy->spec.model == BR_MODEL_ARM)
		teach_arms(policy);
	else if (br_bandit_algorithm_refits(policy->spec.algorithm))
		teach_logistic(policy);
	else
		teach_bundles(policy);
}

const char *
bandit_case(int i, BrModel *model)
{
	const char *name;

	for (int algorithm = 0; (name = br_bandit_algorithm_name(algorithm)) != NULL; algorithm++)
	{
		unsigned models = br_bandit_algorithm_models(br_bandit_algorithm(name));

		for (int m = BR_MODEL_ARM; m <= BR_MODEL_DISJOINT; m++)
		{
			if ((models & BR_MODEL_BIT(m)) != 0 && i-- == 0)
			{
				*model = (BrModel) m;
				return name;
			}
		}
	}
	return NULL;
}

const char *
bandit_model_name(BrModel model)
{
	static const char *const names[] = {"arm", "shared", "disjoint"};

	return names[model];
}
