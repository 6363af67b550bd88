/*
 * evidence.c
 *	  What is counted of a policy's slots: sums that merge by addition.
 *
 * The order of the sums is that of the flat arrays of br_bandit.h. Whatever
 * changes them is linear in weights and rewards, so counts may come in any
 * order, a reversed reward subtracts, and a discount scales them all.
 */
#include "core/bandit/bandit_int.h"

size_t
br_bandit_shared_length(const BrPolicySpec *spec)
{
	return spec->model == BR_MODEL_SHARED ? br_bandit_evidence_length(spec->dims)
										  : BR_SHARED_LENGTH;
}

size_t
br_bandit_arm_length(const BrPolicySpec *spec)
{
	switch (spec->model)
	{
		case BR_MODEL_ARM:
			return BR_ARM_LENGTH;
		case BR_MODEL_DISJOINT:
			return br_bandit_evidence_length(spec->dims);
		case BR_MODEL_SHARED:
			break;
	}
	return 0;
}

/* The array that holds the linear evidence, NULL where br_bandit_fit makes it. */
static double *
linear_evidence(const BrPolicySpec *spec, double *shared, double *arm)
{
	if (spec->model == BR_MODEL_ARM || spec->algorithm->refits)
		return NULL;
	return spec->model == BR_MODEL_SHARED ? shared : arm;
}

static void
count_reward(double *sums, double weight, double total_before, double reward)
{
	sums[BR_EVIDENCE_REWARDS] += weight * reward;
	/* (before + reward)^2 - before^2 */
	sums[BR_EVIDENCE_SQUARES] += weight * (reward * (2 * total_before + reward));
}

void
br_bandit_add_slot(const BrPolicySpec *spec, double *shared, double *arm, const float *features,
				   double weight)
{
	double *linear = linear_evidence(spec, shared, arm);

	if (spec->model != BR_MODEL_SHARED)
		shared[BR_EVIDENCE_COUNT] += weight;
	if (spec->model == BR_MODEL_ARM)
		arm[BR_EVIDENCE_COUNT] += weight;
	if (linear != NULL)
		br_bandit_evidence_add_slot(linear, spec->dims, features, weight);
}

void
br_bandit_add_reward(const BrPolicySpec *spec, double *shared, double *arm, const float *features,
					 double weight, double propensity, double total_before, double reward)
{
	double *linear = linear_evidence(spec, shared, arm);

	if (spec->model != BR_MODEL_SHARED)
		count_reward(shared, weight, total_before, reward);
	if (spec->model == BR_MODEL_ARM)
	{
		count_reward(arm, weight, total_before, reward);
		arm[BR_EVIDENCE_WEIGHTED] += weight * reward / propensity;
	}
	if (linear != NULL)
		br_bandit_evidence_add_reward(linear, spec->dims, features, weight, total_before, reward);
}

void
br_bandit_evidence_scale(double *evidence, size_t length, double factor)
{
	for (size_t i = 0; i < length; i++)
		evidence[i] *= factor;
}

void
br_bandit_add_totals(double *shared, double weight, double reward)
{
	shared[BR_EVIDENCE_COUNT] += weight;
	shared[BR_EVIDENCE_REWARDS] += weight * reward;
	shared[BR_EVIDENCE_SQUARES] += weight * (reward * reward);
}
