/*
 * planning.c
 *	  How many units an experiment needs, and what it can find with those it gets.
 *
 * Both are roots of the power of a two-sided z test, which grows with the units
 * and with the effect: bracketed by doubling, then bisected to the last bit.
 */
#include <math.h>

#include "core/eval/br_eval.h"
#include "core/math/br_math.h"

#define MOST_UNITS 1e18

static BrStatus
check_plan(BrContext *context, const BrPlan *plan)
{
	bool rates = isnan(plan->standard_deviation);

	if (!isfinite(plan->baseline) || (rates && !(plan->baseline > 0 && plan->baseline < 1)))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The baseline is %g; without a standard deviation it is a rate between "
							"0 and 1.",
							plan->baseline);
	if (!rates && !(isfinite(plan->standard_deviation) && plan->standard_deviation > 0))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The standard deviation is %g; it must be above 0.",
							plan->standard_deviation);
	if (!isfinite(plan->ratio) || plan->ratio <= 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The ratio is %g; it must be above 0.",
							plan->ratio);
	if (!(plan->significance > 0 && plan->significance < 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The significance is %g; it must lie between 0 and 1.",
							plan->significance);
	return BR_OK;
}

static BrStatus
check_effect(BrContext *context, const BrPlan *plan, double effect)
{
	double rate = plan->baseline + effect;

	if (!isfinite(effect) || effect == 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The effect is %g; it must not be 0.",
							effect);
	if (isnan(plan->standard_deviation) && !(rate > 0 && rate < 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The effect %g makes a rate of %g of %g; a rate lies between 0 and 1.",
							effect, rate, plan->baseline);
	return BR_OK;
}

static BrStatus
check_power(BrContext *context, const BrPlan *plan, double power)
{
	if (power > plan->significance && power < 1)
		return BR_OK;
	return br_base_fail(context, BR_ERR_ARGUMENT,
						"The power is %g; it must lie between the significance %g and 1.", power,
						plan->significance);
}

static double
power_of(const BrPlan *plan, double effect, double n)
{
	double quantile = br_math_normal_quantile(1 - plan->significance / 2);
	double first = plan->standard_deviation * plan->standard_deviation;
	double second = first;
	double ratio;

	if (isnan(first))
	{
		double rate = plan->baseline + effect;

		first = plan->baseline * (1 - plan->baseline);
		second = rate * (1 - rate);
	}
	ratio = effect / sqrt(first / n + second / (n * plan->ratio));
	return br_eval_normal_tail(quantile - ratio) + br_eval_normal_tail(quantile + ratio);
}

BrStatus
br_eval_power(BrContext *context, const BrPlan *plan, double effect, double n, double *power)
{
	BrStatus status = check_plan(context, plan);

	if (status == BR_OK)
		status = check_effect(context, plan, effect);
	if (status != BR_OK)
		return status;
	if (!isfinite(n) || n <= 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The number of units is %g.", n);
	*power = power_of(plan, effect, n);
	return BR_OK;
}

BrStatus
br_eval_sample_size(BrContext *context, const BrPlan *plan, double effect, double power, double *n)
{
	double low = 0;
	double high = 1;
	BrStatus status = check_plan(context, plan);

	if (status == BR_OK)
		status = check_effect(context, plan, effect);
	if (status == BR_OK)
		status = check_power(context, plan, power);
	if (status != BR_OK)
		return status;
	while (power_of(plan, effect, high) < power)
	{
		low = high;
		high *= 2;
		if (high > MOST_UNITS)
			return br_base_fail(context, BR_ERR_NUMERIC,
								"More than %g units would be needed to find an effect of %g.",
								MOST_UNITS, effect);
	}
	for (double middle = (low + high) / 2; middle > low && middle < high; middle = (low + high) / 2)
	{
		if (power_of(plan, effect, middle) < power)
			low = middle;
		else
			high = middle;
	}
	*n = high;
	return BR_OK;
}

BrStatus
br_eval_minimum_effect(BrContext *context, const BrPlan *plan, double n, double power,
					   double *effect)
{
	bool rates = isnan(plan->standard_deviation);
	double low = 0;
	double high;
	BrStatus status = check_plan(context, plan);

	if (status == BR_OK)
		status = check_power(context, plan, power);
	if (status != BR_OK)
		return status;
	if (!isfinite(n) || n <= 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The number of units is %g.", n);
	high = rates ? 1 - plan->baseline : plan->standard_deviation;
	while (!rates && power_of(plan, high, n) < power)
		high *= 2;
	if (power_of(plan, high, n) < power)
		return br_base_fail(context, BR_ERR_NUMERIC,
							"With %g units no effect below %g is found with power %g.", n, high,
							power);
	for (double middle = (low + high) / 2; middle > low && middle < high; middle = (low + high) / 2)
	{
		if (power_of(plan, middle, n) < power)
			low = middle;
		else
			high = middle;
	}
	*effect = high;
	return BR_OK;
}
