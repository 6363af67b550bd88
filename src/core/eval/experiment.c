/*
 * experiment.c
 *	  Variants of an experiment compared by the moments of their units.
 *
 * Every comparison is one estimate per group with its variance, of the form
 *
 *		mean y / mean d - slope * (mean x - pooled mean x)
 *
 * whose variance, by the delta method, is that of the mean of the linearised
 * values z - slope * x with z = (y - ratio * d) / mean d. A plain mean has d = 1
 * and no slope; a share differs from it in what its test takes for the variance.
 */
#include <math.h>

#include "core/eval/br_eval.h"
#include "core/math/br_math.h"

void
br_eval_moments_add(double *moments, double value, double covariate, double denominator)
{
	double n = ++moments[BR_MOMENT_COUNT];
	double dy = value - moments[BR_MOMENT_MEAN_VALUE];
	double dx = covariate - moments[BR_MOMENT_MEAN_COVARIATE];
	double dd = denominator - moments[BR_MOMENT_MEAN_DENOMINATOR];
	double share = (n - 1) / n;

	moments[BR_MOMENT_MEAN_VALUE] += dy / n;
	moments[BR_MOMENT_MEAN_COVARIATE] += dx / n;
	moments[BR_MOMENT_MEAN_DENOMINATOR] += dd / n;
	moments[BR_MOMENT_VALUE_VALUE] += dy * dy * share;
	moments[BR_MOMENT_COVARIATE_COVARIATE] += dx * dx * share;
	moments[BR_MOMENT_DENOMINATOR_DENOMINATOR] += dd * dd * share;
	moments[BR_MOMENT_VALUE_COVARIATE] += dy * dx * share;
	moments[BR_MOMENT_VALUE_DENOMINATOR] += dy * dd * share;
	moments[BR_MOMENT_COVARIATE_DENOMINATOR] += dx * dd * share;
}

void
br_eval_moments_combine(double *moments, const double *other)
{
	double n = moments[BR_MOMENT_COUNT] + other[BR_MOMENT_COUNT];
	double share = other[BR_MOMENT_COUNT] / n;
	double weight = moments[BR_MOMENT_COUNT] * share;
	double dy = other[BR_MOMENT_MEAN_VALUE] - moments[BR_MOMENT_MEAN_VALUE];
	double dx = other[BR_MOMENT_MEAN_COVARIATE] - moments[BR_MOMENT_MEAN_COVARIATE];
	double dd = other[BR_MOMENT_MEAN_DENOMINATOR] - moments[BR_MOMENT_MEAN_DENOMINATOR];

	if (n == 0)
		return;
	moments[BR_MOMENT_COUNT] = n;
	moments[BR_MOMENT_MEAN_VALUE] += dy * share;
	moments[BR_MOMENT_MEAN_COVARIATE] += dx * share;
	moments[BR_MOMENT_MEAN_DENOMINATOR] += dd * share;
	for (int i = BR_MOMENT_VALUE_VALUE; i < BR_MOMENTS; i++)
		moments[i] += other[i];
	moments[BR_MOMENT_VALUE_VALUE] += dy * dy * weight;
	moments[BR_MOMENT_COVARIATE_COVARIATE] += dx * dx * weight;
	moments[BR_MOMENT_DENOMINATOR_DENOMINATOR] += dd * dd * weight;
	moments[BR_MOMENT_VALUE_COVARIATE] += dy * dx * weight;
	moments[BR_MOMENT_VALUE_DENOMINATOR] += dy * dd * weight;
	moments[BR_MOMENT_COVARIATE_DENOMINATOR] += dx * dd * weight;
}

bool
br_eval_moments_possible(const double *moments)
{
	double n = moments[BR_MOMENT_COUNT];

	for (int i = 0; i < BR_MOMENTS; i++)
		if (!isfinite(moments[i]))
			return false;
	return n >= 0 && n == floor(n) && moments[BR_MOMENT_VALUE_VALUE] >= 0 &&
		moments[BR_MOMENT_COVARIATE_COVARIATE] >= 0 &&
		moments[BR_MOMENT_DENOMINATOR_DENOMINATOR] >= 0;
}

static double
ratio_of(const double *moments)
{
	return moments[BR_MOMENT_MEAN_VALUE] / moments[BR_MOMENT_MEAN_DENOMINATOR];
}

/* sum of deviation products of z and x */
static double
linearised_covariate(const double *moments)
{
	return (moments[BR_MOMENT_VALUE_COVARIATE] -
			ratio_of(moments) * moments[BR_MOMENT_COVARIATE_DENOMINATOR]) /
		moments[BR_MOMENT_MEAN_DENOMINATOR];
}

/* sum of squared deviations of z */
static double
linearised_square(const double *moments)
{
	double ratio = ratio_of(moments);
	double denominator = moments[BR_MOMENT_MEAN_DENOMINATOR];

	return (moments[BR_MOMENT_VALUE_VALUE] +
			ratio * ratio * moments[BR_MOMENT_DENOMINATOR_DENOMINATOR] -
			2 * ratio * moments[BR_MOMENT_VALUE_DENOMINATOR]) /
		(denominator * denominator);
}

static BrStatus
check_group(BrContext *context, const char *group, const double *moments)
{
	if (!br_eval_moments_possible(moments))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The moments of the %s are not those of any units.", group);
	if (moments[BR_MOMENT_COUNT] < 2)
		return br_base_fail(context, BR_ERR_NUMERIC,
							"The %s has %.0f of the two units that a variance needs.", group,
							moments[BR_MOMENT_COUNT]);
	if (moments[BR_MOMENT_MEAN_DENOMINATOR] == 0)
		return br_base_fail(context, BR_ERR_NUMERIC, "The denominators of the %s sum to 0.", group);
	return BR_OK;
}

BrStatus
br_eval_covariate_slope(BrContext *context, const double *pooled, double *slope)
{
	BrStatus status = check_group(context, "experiment", pooled);

	if (status != BR_OK)
		return status;
	if (pooled[BR_MOMENT_COVARIATE_COVARIATE] == 0)
		return br_base_fail(context, BR_ERR_NUMERIC,
							"The covariate is %g for every unit; it explains nothing.",
							pooled[BR_MOMENT_MEAN_COVARIATE]);
	*slope = linearised_covariate(pooled) / pooled[BR_MOMENT_COVARIATE_COVARIATE];
	return BR_OK;
}

/* An estimate of one group, and what its variance is over all its units together. */
typedef struct Group
{
	double n;
	double estimate;
	double variance; /* of the estimate */
} Group;

static Group
adjusted_group(const double *moments, double slope, double pooled_covariate)
{
	double n = moments[BR_MOMENT_COUNT];
	double square = linearised_square(moments) - 2 * slope * linearised_covariate(moments) +
		slope * slope * moments[BR_MOMENT_COVARIATE_COVARIATE];

	return (Group){.n = n,
				   .estimate = ratio_of(moments) -
					   slope * (moments[BR_MOMENT_MEAN_COVARIATE] - pooled_covariate),
				   /* rounding may leave less than nothing of it */
				   .variance = fmax(square, 0) / (n - 1) / n};
}

static Group
proportion_group(const double *moments)
{
	double n = moments[BR_MOMENT_COUNT];
	double share = moments[BR_MOMENT_MEAN_VALUE];

	return (Group){.n = n, .estimate = share, .variance = share * (1 - share) / n};
}

/* values are 0 or 1 only if their squares have the mean of the values */
static BrStatus
check_proportions(BrContext *context, const char *group, const double *moments)
{
	double share = moments[BR_MOMENT_MEAN_VALUE];
	double n = moments[BR_MOMENT_COUNT];
	double expected = n * share * (1 - share);

	if (share >= 0 && share <= 1 &&
		fabs(moments[BR_MOMENT_VALUE_VALUE] - expected) <= 1e-9 * (expected + 1))
		return BR_OK;
	return br_base_fail(context, BR_ERR_NUMERIC,
						"Values of the %s are not all 0 or 1; their mean is %g.", group, share);
}

static BrStatus
check_conversions(BrContext *context, double pooled)
{
	if (pooled > 0 && pooled < 1)
		return BR_OK;
	return br_base_fail(context, BR_ERR_NUMERIC,
						pooled <= 0 ? "No unit of either group converted."
									: "Every unit of both groups converted.");
}

/* Welch and Satterthwaite */
static double
welch_degrees(const Group *control, const Group *variant)
{
	double sum = control->variance + variant->variance;

	return sum * sum /
		(control->variance * control->variance / (control->n - 1) +
		 variant->variance * variant->variance / (variant->n - 1));
}

/* everything that follows from the two groups; test_error is the standard error of the p-value */
static void
finish(const Group *control, const Group *variant, double test_error, double confidence,
	   BrComparison *comparison)
{
	double quantile = br_eval_t_quantile(0.5 + confidence / 2, comparison->degrees_of_freedom);
	double error = sqrt(control->variance + variant->variance);
	double base = fabs(control->estimate);
	double lift_error;

	comparison->control = control->estimate;
	comparison->variant = variant->estimate;
	comparison->difference = variant->estimate - control->estimate;
	comparison->standard_error = error;
	comparison->statistic = comparison->difference / test_error;
	comparison->p_value =
		br_eval_t_two_sided(comparison->statistic, comparison->degrees_of_freedom);
	comparison->lower = comparison->difference - quantile * error;
	comparison->upper = comparison->difference + quantile * error;
	comparison->lift = comparison->lift_standard_error = NAN;
	comparison->lift_lower = comparison->lift_upper = NAN;
	if (base == 0)
		return;
	lift_error = hypot(sqrt(variant->variance) / base,
					   variant->estimate * sqrt(control->variance) / (base * base));
	comparison->lift = comparison->difference / base;
	comparison->lift_standard_error = lift_error;
	comparison->lift_lower = comparison->lift - quantile * lift_error;
	comparison->lift_upper = comparison->lift + quantile * lift_error;
}

static BrStatus
compare_proportions(BrContext *context, const double *control, const double *variant,
					double confidence, BrComparison *comparison)
{
	Group groups[] = {proportion_group(control), proportion_group(variant)};
	double n = groups[0].n + groups[1].n;
	double pooled = (groups[0].n * groups[0].estimate + groups[1].n * groups[1].estimate) / n;
	BrStatus status = check_proportions(context, "control", control);

	if (status == BR_OK)
		status = check_proportions(context, "variant", variant);
	if (status == BR_OK)
		status = check_conversions(context, pooled);
	if (status != BR_OK)
		return status;
	comparison->degrees_of_freedom = INFINITY;
	finish(&groups[0], &groups[1],
		   sqrt(pooled * (1 - pooled) * (1 / groups[0].n + 1 / groups[1].n)), confidence,
		   comparison);
	return BR_OK;
}

static BrStatus
compare_linearised(BrContext *context, BrComparisonMethod method, const double *control,
				   const double *variant, double slope, double pooled_covariate, double confidence,
				   BrComparison *comparison)
{
	Group groups[] = {adjusted_group(control, slope, pooled_covariate),
					  adjusted_group(variant, slope, pooled_covariate)};
	bool means = method == BR_COMPARE_MEANS ||
		(method == BR_COMPARE_ADJUSTED && control[BR_MOMENT_DENOMINATOR_DENOMINATOR] == 0 &&
		 variant[BR_MOMENT_DENOMINATOR_DENOMINATOR] == 0);
	double variance = groups[0].variance + groups[1].variance;

	if (variance == 0)
		return br_base_fail(context, BR_ERR_NUMERIC,
							"Neither group varies: every unit of the control has %g, of the variant "
							"%g.",
							groups[0].estimate, groups[1].estimate);
	comparison->degrees_of_freedom = means ? welch_degrees(&groups[0], &groups[1]) : INFINITY;
	finish(&groups[0], &groups[1], sqrt(variance), confidence, comparison);
	return BR_OK;
}

BrStatus
br_eval_compare(BrContext *context, BrComparisonMethod method, const double *control,
				const double *variant, const double *pooled, double confidence,
				BrComparison *comparison)
{
	double slope = 0;
	BrStatus status;

	if (!(confidence > 0 && confidence < 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The confidence is %g; it must lie between 0 and 1.", confidence);
	status = check_group(context, "control", control);
	if (status == BR_OK)
		status = check_group(context, "variant", variant);
	if (status == BR_OK && method == BR_COMPARE_ADJUSTED)
		status = br_eval_covariate_slope(context, pooled, &slope);
	if (status != BR_OK)
		return status;
	if (method == BR_COMPARE_PROPORTIONS)
		return compare_proportions(context, control, variant, confidence, comparison);
	return compare_linearised(context, method, control, variant, slope,
							  method == BR_COMPARE_ADJUSTED ? pooled[BR_MOMENT_MEAN_COVARIATE] : 0,
							  confidence, comparison);
}
