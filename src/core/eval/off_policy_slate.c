/*
 * off_policy_slate.c
 *	  Off-policy estimators over logged slates: what a slate adds to a state.
 *
 * The estimators differ in how far a slot's reward is held to depend on what
 * else was shown: on the whole slate (SIPS), on the slots above it (RIPS,
 * cascade-DR), on the slot alone (IIPS), or on the item and the chance that
 * the position is looked at (PBM).
 */
#include <math.h>

#include "core/eval/off_policy_int.h"

static BrStatus
check_number(BrContext *context, const char *what, int slot, double value)
{
	if (!isfinite(value))
		return br_base_fail(context, BR_ERR_ARGUMENT, "The %s of slot %d is %g; it must be finite.",
							what, slot + 1, value);
	return BR_OK;
}

static BrStatus
check_probability(BrContext *context, const char *what, int slot, double value, bool above_zero)
{
	if (!(value >= 0 && value <= 1) || (above_zero && value == 0))
		return br_base_fail(context, BR_ERR_ARGUMENT, "The %s of slot %d is %.17g; it must be %s.",
							what, slot + 1, value,
							above_zero ? "above 0 and at most 1" : "between 0 and 1");
	return BR_OK;
}

/* ---- the estimators but PBM ---- */

static BrStatus
check_slate(BrContext *context, BrEstimator estimator, const BrLoggedSlate *slate)
{
	BrStatus status = BR_OK;

	for (int l = 0; l < slate->slots && status == BR_OK; l++)
	{
		status = check_probability(context, "logged propensity", l, slate->logged[l], true);
		if (status == BR_OK)
			status = check_probability(context, "target probability", l, slate->target[l], false);
		if (status == BR_OK)
			status = check_number(context, "reward", l, slate->rewards[l]);
		if (estimator == BR_ESTIMATOR_CASCADE_DR && status == BR_OK)
			status = check_number(context, "predicted reward", l, slate->predicted[l]);
		if (estimator == BR_ESTIMATOR_CASCADE_DR && status == BR_OK)
			status = check_number(context, "expected predicted reward", l, slate->expected[l]);
	}
	return status;
}

/* Each slot by itself. */
static BrStatus
add_independent(BrContext *context, double *state, const BrLoggedSlate *slate)
{
	double sum = 0, max = 0, z = 0;

	for (int l = 0; l < slate->slots; l++)
	{
		double w = slate->target[l] / slate->logged[l];

		sum += w;
		max = fmax(max, w);
		z += w * slate->rewards[l];
	}
	return br_eval_add_terms(context, state, sum / slate->slots, max, z, 0);
}

/* Products of weights from the first slot on. */
static BrStatus
add_sequential(BrContext *context, double *state, const BrLoggedSlate *slate)
{
	BrEstimator estimator = (BrEstimator) state[BR_STATE_ESTIMATOR];
	double w = 1, z = 0, total = 0;

	for (int l = 0; l < slate->slots; l++)
	{
		double reward = slate->rewards[l];

		if (estimator == BR_ESTIMATOR_CASCADE_DR)
		{
			z += w * slate->expected[l];
			reward -= slate->predicted[l];
		}
		w *= slate->target[l] / slate->logged[l];
		z += w * reward;
		total += reward;
	}
	return br_eval_add_terms(context, state, w, w, estimator == BR_ESTIMATOR_SIPS ? w * total : z,
							 0);
}

/* ---- PBM ---- */

static BrStatus
check_examination(BrContext *context, const BrLoggedSlate *slate)
{
	for (int k = 0; k < slate->positions; k++)
		if (!(slate->examination[k] >= 0 && slate->examination[k] <= 1))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The examination probability of position %d is %.17g; it must be "
								"between 0 and 1.",
								k + 1, slate->examination[k]);
	return BR_OK;
}

/* How often the item of slot l is looked at under each policy. */
static BrStatus
examine(BrContext *context, const BrLoggedSlate *slate, int l, double *target, double *logged)
{
	BrStatus status = BR_OK;

	*target = *logged = 0;
	for (int k = 0; k < slate->positions && status == BR_OK; k++)
	{
		double from = slate->target[l * slate->positions + k];
		double to = slate->logged[l * slate->positions + k];

		status = check_probability(context, "target probability", l, from, false);
		if (status == BR_OK)
			status = check_probability(context, "logged propensity", l, to, false);
		*target += slate->examination[k] * from;
		*logged += slate->examination[k] * to;
	}
	if (status == BR_OK && !(*logged > 0))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The logging policy shows the item of slot %d at no position that is "
							"looked at.",
							l + 1);
	return status;
}

static BrStatus
add_position_based(BrContext *context, double *state, const BrLoggedSlate *slate)
{
	double sum = 0, max = 0, z = 0;
	BrStatus status = check_examination(context, slate);

	for (int l = 0; l < slate->slots && status == BR_OK; l++)
	{
		double target, logged;

		status = examine(context, slate, l, &target, &logged);
		if (status == BR_OK)
			status = check_number(context, "reward", l, slate->rewards[l]);
		sum += target / logged;
		max = fmax(max, target / logged);
		z += target / logged * slate->rewards[l];
	}
	if (status != BR_OK)
		return status;
	return br_eval_add_terms(context, state, sum / slate->slots, max, z, 0);
}

BrStatus
br_eval_add_slate(BrContext *context, double *state, const BrLoggedSlate *slate)
{
	BrEstimator estimator = (BrEstimator) state[BR_STATE_ESTIMATOR];
	BrStatus status;

	if (estimator == BR_ESTIMATOR_PBM_IPS)
		return add_position_based(context, state, slate);
	status = check_slate(context, estimator, slate);
	if (status != BR_OK)
		return status;
	if (estimator == BR_ESTIMATOR_IIPS)
		return add_independent(context, state, slate);
	return add_sequential(context, state, slate);
}
