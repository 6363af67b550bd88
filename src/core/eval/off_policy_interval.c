/*
 * off_policy_interval.c
 *	  How far to trust an estimate: intervals, warnings, overlap of two policies.
 */
#include <math.h>

#include "core/eval/off_policy_int.h"
#include "core/math/br_math.h"

/* Deviations of the mean weight from 1 that chance makes once in 370 logs. */
#define DEVIATIONS 3.0
#define FEW_ROWS 100.0
#define ONE_WEIGHT 0.1

/* Rounding of a mean of equal weights. */
#define ROUNDING 1e-9

#define LOWEST_POWER (-10)
#define HIGHEST_POWER 10

BrStatus
br_eval_check_level(BrContext *context, double level)
{
	if (!(level > 0 && level < 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The level is %g; it must be above 0 and below 1.", level);
	return BR_OK;
}

BrStatus
br_eval_normal_bounds(BrContext *context, const BrEstimate *estimate, double level,
					  BrBounds *bounds)
{
	BrStatus status = br_eval_check_level(context, level);
	double reach;

	if (status != BR_OK)
		return status;
	reach = br_math_normal_quantile((1 + level) / 2) * estimate->standard_error;
	*bounds = (BrBounds){estimate->value - reach, estimate->value + reach};
	return BR_OK;
}

BrStatus
br_eval_bernstein_bounds(BrContext *context, const BrEstimate *estimate, double level,
						 double lowest, double highest, BrBounds *bounds)
{
	double n = (double) estimate->rows;
	double error = estimate->standard_error;
	BrStatus status = br_eval_check_level(context, level);
	double log_term, reach;

	if (status != BR_OK)
		return status;
	if (!(lowest < highest && isfinite(lowest) && isfinite(highest)))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The terms' bounds are %g and %g; they must be finite, the first below "
							"the second.",
							lowest, highest);
	if (estimate->value < lowest || estimate->value > highest)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The value %g is outside of the terms' bounds %g and %g.",
							estimate->value, lowest, highest);
	log_term = br_math_log(4 / (1 - level));
	/* error^2 is V / n; it is NaN where n - 1 is 0 */
	reach = error * sqrt(2 * log_term) + 7 * (highest - lowest) * log_term / (3 * (n - 1));
	*bounds = (BrBounds){estimate->value - reach, estimate->value + reach};
	if (bounds->lower < lowest)
		bounds->lower = lowest;
	if (bounds->upper > highest)
		bounds->upper = highest;
	return BR_OK;
}

/* ---- warnings ---- */

unsigned
br_eval_support_warnings(const BrEstimate *estimate)
{
	double n = (double) estimate->rows;
	double mean = estimate->mean_weight;
	double squares, tolerance;
	unsigned warnings = 0;

	if (estimate->rows == 0 || isnan(mean))
		return 0;
	/* mean of w^2 over the square of the mean of w */
	squares = estimate->effective_sample_size > 0 ? n / estimate->effective_sample_size : 1;
	tolerance = n > 1 ? DEVIATIONS * mean * sqrt(fmax(squares - 1, 0) / (n - 1)) : INFINITY;
	if (mean < 1 - tolerance - ROUNDING)
		warnings |= BR_SUPPORT_BELOW_1;
	if (mean > 1 + tolerance + ROUNDING)
		warnings |= BR_SUPPORT_ABOVE_1;
	if (estimate->effective_sample_size < FEW_ROWS)
		warnings |= BR_SUPPORT_FEW_ROWS;
	if (mean > 0 && estimate->max_weight >= ONE_WEIGHT * mean * n)
		warnings |= BR_SUPPORT_ONE_WEIGHT;
	return warnings;
}

const char *
br_eval_support_warning_name(int i)
{
	static const char *const names[BR_SUPPORT_WARNINGS] = {"mean_weight_below_1",
														   "mean_weight_above_1",
														   "small_effective_sample_size",
														   "dominant_weight"};

	return names[i];
}

/* ---- overlap ---- */

BrStatus
br_eval_overlap_add(BrContext *context, double *bins, double target, double logged)
{
	double w = 0;
	int bin = 0;

	if (!(target >= 0 && target <= 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The target probability is %.17g; it must be between 0 and 1.", target);
	if (!(logged >= 0 && logged <= 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The logged propensity is %.17g; it must be between 0 and 1.", logged);
	if (target > 0 && logged == 0)
		bin = BR_OVERLAP_BINS - 1;
	else if (target > 0)
	{
		w = target / logged;
		/* ilogb of what has underflowed to 0, or overflowed, is far out on the right side */
		bin = 1;
		if (w >= ldexp(1, LOWEST_POWER))
			bin = 2 + (ilogb(w) < HIGHEST_POWER ? ilogb(w) : HIGHEST_POWER) - LOWEST_POWER;
	}
	bins[bin * BR_OVERLAP_FIGURES + BR_OVERLAP_ROWS] += 1;
	bins[bin * BR_OVERLAP_FIGURES + BR_OVERLAP_WEIGHT] += w;
	bins[bin * BR_OVERLAP_FIGURES + BR_OVERLAP_TARGET] += target;
	return BR_OK;
}

BrBounds
br_eval_overlap_bin(int bin)
{
	int power = bin - 2 + LOWEST_POWER;

	if (bin == 0)
		return (BrBounds){0, 0};
	if (bin == BR_OVERLAP_BINS - 1)
		return (BrBounds){INFINITY, INFINITY};
	return (BrBounds){bin == 1 ? 0 : ldexp(1, power),
					  power == HIGHEST_POWER ? INFINITY : ldexp(1, power + 1)};
}
