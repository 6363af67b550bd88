/*
 * sequential.c
 *	  Tests and intervals that stay valid however often they are looked at.
 *
 * A fixed-horizon test that is looked at fifty times rejects a true null in a
 * third of all experiments. The confidence sequence here is the boundary that a
 * normal mixture of likelihood ratios crosses with probability alpha over all
 * sample sizes together (Ville's inequality), with the estimated standard error
 * in the place of the true one. Like a mixture test it has no power to spare at
 * sizes far from the planned one, and holds its error rate at all of them.
 */
#include <math.h>

#include "core/eval/br_eval.h"

BrStatus
br_eval_sequential(BrContext *context, double difference, double standard_error, double n,
				   double confidence, double planned, BrSequential *sequential)
{
	double alpha = 1 - confidence;
	double mixture;
	double z;
	double half_width;

	if (!(confidence > 0 && confidence < 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The confidence is %g; it must lie between 0 and 1.", confidence);
	if (!isfinite(difference) || !isfinite(standard_error) || standard_error <= 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The difference is %g and its standard error %g; they must be finite, "
							"and the error above 0.",
							difference, standard_error);
	if (!isfinite(n) || n < 2 || !isfinite(planned) || planned <= 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%g units, %g planned; there must be at least 2, and a plan above 0.",
							n, planned);

	mixture = n * (log1p(-2 * log(alpha)) - 2 * log(alpha)) / planned;
	z = difference / standard_error;
	sequential->p_value = fmin(1, exp(0.5 * log1p(mixture) - z * z / 2 * mixture / (mixture + 1)));
	half_width =
		standard_error * sqrt(2 * (mixture + 1) / mixture * (0.5 * log1p(mixture) - log(alpha)));
	sequential->lower = difference - half_width;
	sequential->upper = difference + half_width;
	return BR_OK;
}

BrStatus
br_eval_non_inferiority(BrContext *context, double estimate, double standard_error, double margin,
						double *p_value)
{
	if (!isfinite(estimate) || !isfinite(standard_error) || standard_error <= 0 ||
		!isfinite(margin) || margin == 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Estimate %g, standard error %g, margin %g; they must be finite, the "
							"error above 0 and the margin not 0.",
							estimate, standard_error, margin);
	*p_value = br_eval_normal_tail((margin > 0 ? 1 : -1) * (estimate + margin) / standard_error);
	return BR_OK;
}
