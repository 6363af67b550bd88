/*
 * off_policy.c
 *	  Off-policy estimators over logged rows: what a row adds to a state.
 *
 * A row becomes three numbers (w, z, e); of those a state keeps means and
 * products of deviations, updated row by row after Welford and merged after
 * Chan. Every estimator here is a mean or a ratio of means, so the same state
 * gives its value and, linearised, its variance (off_policy_estimate.c).
 */
#include <math.h>

#include "core/eval/off_policy_int.h"

static const char *const names[] = {
	[BR_ESTIMATOR_IPS] = "ips",
	[BR_ESTIMATOR_CLIPPED_IPS] = "clipped_ips",
	[BR_ESTIMATOR_SNIPS] = "snips",
	[BR_ESTIMATOR_DM] = "dm",
	[BR_ESTIMATOR_DR] = "dr",
	[BR_ESTIMATOR_SNDR] = "sndr",
	[BR_ESTIMATOR_SWITCH_DR] = "switch_dr",
	[BR_ESTIMATOR_DR_OS] = "dr_os",
	[BR_ESTIMATOR_REPLAY] = "replay",
	[BR_ESTIMATOR_SIPS] = "sips",
	[BR_ESTIMATOR_IIPS] = "iips",
	[BR_ESTIMATOR_RIPS] = "rips",
	[BR_ESTIMATOR_CASCADE_DR] = "cascade_dr",
	[BR_ESTIMATOR_PBM_IPS] = "pbm_ips",
};

bool
br_eval_is_estimator(double estimator)
{
	return estimator >= BR_ESTIMATOR_IPS && estimator <= BR_ESTIMATOR_PBM_IPS &&
		floor(estimator) == estimator;
}

const char *
br_eval_estimator_name(BrEstimator estimator)
{
	return names[estimator];
}

bool
br_eval_is_normalised(BrEstimator estimator)
{
	return estimator == BR_ESTIMATOR_SNIPS || estimator == BR_ESTIMATOR_SNDR;
}

bool
br_eval_is_weighted(BrEstimator estimator)
{
	return estimator != BR_ESTIMATOR_DM && estimator != BR_ESTIMATOR_REPLAY;
}

void
br_eval_state_init(double *state, BrEstimator estimator)
{
	for (int i = 0; i < BR_STATE_SIZE; i++)
		state[i] = 0;
	state[BR_STATE_ESTIMATOR] = estimator;
}

BrStatus
br_eval_state_check(BrContext *context, const double *state)
{
	double rows = state[BR_STATE_ROWS];
	bool possible = br_eval_is_estimator(state[BR_STATE_ESTIMATOR]) && rows >= 0 &&
		rows <= BR_EVAL_MAX_ROWS && floor(rows) == rows && state[BR_STATE_PARAMETER] >= 0;

	for (int i = BR_STATE_CENTRE; possible && i < BR_STATE_SIZE; i++)
		possible = isfinite(state[i]) && (rows > 0 || state[i] == 0);
	possible = possible && state[BR_STATE_MAX_WEIGHT] >= 0 && state[BR_STATE_MEAN_W] >= 0 &&
		state[BR_STATE_M_WW] >= 0 && state[BR_STATE_M_ZZ] >= 0 && state[BR_STATE_M_EE] >= 0;
	if (!possible)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"It is not what an off-policy estimator leaves: estimator %g, rows %g, "
							"mean weight %g.",
							state[BR_STATE_ESTIMATOR], rows, state[BR_STATE_MEAN_W]);
	return BR_OK;
}

/* ---- rows ---- */

static bool
is_probability(double p)
{
	return p >= 0 && p <= 1;
}

/* Which value of a row is out of its range; one of them is. */
static BrStatus
refuse_row(BrContext *context, BrEstimator estimator, const BrLoggedRow *row)
{
	if (br_eval_is_weighted(estimator))
	{
		if (!(row->logged > 0 && row->logged <= 1))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The logged propensity is %.17g; it must be above 0 and at most 1.",
								row->logged);
		if (!is_probability(row->target))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The target probability is %.17g; it must be between 0 and 1.",
								row->target);
	}
	if (!isfinite(row->reward))
		return br_base_fail(context, BR_ERR_ARGUMENT, "The reward is %g; it must be finite.",
							row->reward);
	if (!isfinite(row->predicted))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The predicted reward is %g; it must be finite.", row->predicted);
	return br_base_fail(context, BR_ERR_ARGUMENT,
						"The expected predicted reward is %g; it must be finite.", row->expected);
}

/* Whether what the estimator reads is in range; the rest of a row is 0. */
static bool
row_possible(BrEstimator estimator, const BrLoggedRow *row)
{
	if (br_eval_is_weighted(estimator) &&
		!(row->logged > 0 && row->logged <= 1 && is_probability(row->target)))
		return false;
	return isfinite(row->reward) && isfinite(row->predicted) && isfinite(row->expected);
}

/* The parameter is fixed by the first row. */
static BrStatus
check_parameter(BrContext *context, const double *state, const BrLoggedRow *row)
{
	static const char *const parameters[] = {
		[BR_ESTIMATOR_CLIPPED_IPS] = "cap",
		[BR_ESTIMATOR_SWITCH_DR] = "tau",
		[BR_ESTIMATOR_DR_OS] = "lambda",
	};
	BrEstimator estimator = (BrEstimator) state[BR_STATE_ESTIMATOR];
	double parameter = row->parameter;

	if (estimator != BR_ESTIMATOR_CLIPPED_IPS && estimator != BR_ESTIMATOR_SWITCH_DR &&
		estimator != BR_ESTIMATOR_DR_OS)
		return BR_OK;
	if (estimator == BR_ESTIMATOR_CLIPPED_IPS ? !(parameter > 0) : !(parameter >= 0))
		return br_base_fail(context, BR_ERR_ARGUMENT, "%s is %g; it must be %s 0.",
							parameters[estimator], parameter,
							estimator == BR_ESTIMATOR_CLIPPED_IPS ? "above" : "at least");
	if (state[BR_STATE_ROWS] > 0 && parameter != state[BR_STATE_PARAMETER])
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%s is %.17g after rows in which it was %.17g; it must be the same in "
							"all.",
							parameters[estimator], parameter, state[BR_STATE_PARAMETER]);
	return BR_OK;
}

/* The weight of Su et al., equation (9); its limits where lambda is 0 or infinite. */
static double
shrunk(double w, double lambda)
{
	if (w == 0 || lambda == 0)
		return 0;
	return isinf(lambda) ? w : w / (w * (w / lambda) + 1);
}

BrStatus
br_eval_add_terms(BrContext *context, double *state, double w, double max_weight, double z,
				  double e)
{
	double n = state[BR_STATE_ROWS] + 1;
	double share = 1 / n;
	double from_w = w - state[BR_STATE_MEAN_W], past_w = from_w - from_w * share;
	double from_z = z - state[BR_STATE_MEAN_Z], past_z = from_z - from_z * share;
	double from_e = e - state[BR_STATE_MEAN_E], past_e = from_e - from_e * share;

	/* squares bound the products; NaN and infinity fail here too */
	if (!isfinite(state[BR_STATE_M_WW] + from_w * past_w + state[BR_STATE_M_ZZ] + from_z * past_z +
				  state[BR_STATE_M_EE] + from_e * past_e))
		return br_base_fail(context, BR_ERR_NUMERIC,
							"Importance weight %g and weighted reward %g are too large for sums of "
							"their squares.",
							w, z);
	state[BR_STATE_ROWS] = n;
	state[BR_STATE_MAX_WEIGHT] = fmax(state[BR_STATE_MAX_WEIGHT], max_weight);
	state[BR_STATE_MEAN_W] += from_w * share;
	state[BR_STATE_MEAN_Z] += from_z * share;
	state[BR_STATE_M_WW] += from_w * past_w;
	state[BR_STATE_M_WZ] += from_w * past_z;
	state[BR_STATE_M_ZZ] += from_z * past_z;
	if ((BrEstimator) state[BR_STATE_ESTIMATOR] == BR_ESTIMATOR_SNDR)
	{
		state[BR_STATE_MEAN_E] += from_e * share;
		state[BR_STATE_M_WE] += from_e * past_w;
		state[BR_STATE_M_ZE] += from_e * past_z;
		state[BR_STATE_M_EE] += from_e * past_e;
	}
	return BR_OK;
}

/* The weight that the estimator puts on a row of weight w. */
static double
used_weight(BrEstimator estimator, double w, double parameter)
{
	switch (estimator)
	{
		case BR_ESTIMATOR_CLIPPED_IPS:
			return fmin(w, parameter);
		case BR_ESTIMATOR_SWITCH_DR:
			return w <= parameter ? w : 0;
		case BR_ESTIMATOR_DR_OS:
			return shrunk(w, parameter);
		default:
			return w;
	}
}

BrStatus
br_eval_add_row(BrContext *context, double *state, const BrLoggedRow *row)
{
	BrEstimator estimator = (BrEstimator) state[BR_STATE_ESTIMATOR];
	double centre = state[BR_STATE_CENTRE];
	double w = 0, residual, z, e = 0;
	BrStatus status;

	if (!row_possible(estimator, row))
		return refuse_row(context, estimator, row);
	status = check_parameter(context, state, row);
	if (status != BR_OK)
		return status;
	if (br_eval_is_weighted(estimator))
		w = row->target / row->logged;
	residual = row->reward - row->predicted;
	z = used_weight(estimator, w, row->parameter) * residual;
	if (br_eval_is_normalised(estimator))
	{
		if (state[BR_STATE_ROWS] == 0)
			centre = residual;
		z = w * (residual - centre);
		e = row->expected;
	}
	else if (estimator == BR_ESTIMATOR_REPLAY)
		z = row->reward;
	else
		z += row->expected;
	status = br_eval_add_terms(context, state, w, w, z, e);
	if (status != BR_OK)
		return status;
	state[BR_STATE_PARAMETER] = row->parameter;
	state[BR_STATE_CENTRE] = centre;
	return BR_OK;
}
