/*
 * logistic.c
 *	  What a logistic policy believes: a normal distribution around the mode.
 *
 * The logarithm of the posterior of theta is, but for a constant,
 *
 *		sum of w (r s - log(1 + e^s)), s = x'theta,  less  lambda/2 |theta - m|^2,
 *
 * concave and, by the prior, with a single finite maximum even where rewards
 * can be told apart perfectly. Newton's method finds it from the prior mean;
 * the belief is the normal distribution there whose precision is the negative
 * second derivative (Laplace's approximation; Chapelle and Li, "An empirical
 * evaluation of Thompson sampling", NIPS 2011, with the whole matrix and not
 * its diagonal). It is no sum over slots, so it is made anew from all of them.
 */
#include <math.h>
#include <string.h>

#include "core/bandit/br_bandit.h"
#include "core/math/br_math.h"

#define MAX_STEPS 100
#define MAX_HALVINGS 60

/* Of the sum of weights and the objective: what rounding makes of the latter. */
#define ROUNDING 1e-14

#define ROWS_PER_CANCEL 256

/* One fit; theta, gradient, step: (dims); precision, factor: packed. */
typedef struct LogisticFit
{
	BrContext *context;
	const BrPolicySpec *spec;
	size_t n;
	const float *features;
	const double *rewards;
	const double *weights;
	double *theta;
	double *precision;
	double *factor;
	double *gradient;
	double *step;
	double *trial;
	double *row;  /* features of one slot as doubles */
	double total; /* of the weights */
} LogisticFit;

static double
prior_mean(const LogisticFit *fit, int i)
{
	return fit->spec->prior_mean != NULL ? fit->spec->prior_mean[i] : 0;
}

/* x'theta of one slot, whose features are left in fit->row. */
static double
score(LogisticFit *fit, size_t slot, const double *theta)
{
	int dims = fit->spec->dims;
	const float *features = fit->features + slot * (size_t) dims;

	for (int i = 0; i < dims; i++)
		fit->row[i] = (double) features[i];
	return br_math_dot(fit->row, theta, (size_t) dims);
}

static BrStatus
cancelled(LogisticFit *fit, size_t slot)
{
	if (slot % ROWS_PER_CANCEL == 0 && br_base_cancelled(fit->context))
		return br_base_fail(fit->context, BR_ERR_CANCELLED, "Cancelled.");
	return BR_OK;
}

/* The objective at theta; not finite where it overflows. */
static BrStatus
evaluate(LogisticFit *fit, const double *theta, double *objective)
{
	double sum = 0;

	for (size_t slot = 0; slot < fit->n; slot++)
	{
		double s = score(fit, slot, theta);
		BrStatus status = cancelled(fit, slot);

		if (status != BR_OK)
			return status;
		/* log(1 + e^s) = max(s, 0) + log(1 + e^-|s|) */
		sum += fit->weights[slot] *
			(fit->rewards[slot] * s - (s > 0 ? s : 0) - br_math_log(1 + br_math_exp(-fabs(s))));
	}
	for (int i = 0; i < fit->spec->dims; i++)
	{
		double distance = theta[i] - prior_mean(fit, i);

		sum -= 0.5 * fit->spec->parameters.prior_precision * distance * distance;
	}
	*objective = sum;
	return BR_OK;
}

/* Gradient and precision (the negative second derivative) at fit->theta. */
static BrStatus
differentiate(LogisticFit *fit)
{
	int dims = fit->spec->dims;
	double lambda = fit->spec->parameters.prior_precision;

	memset(fit->precision, 0, sizeof(double) * BR_MATH_PACKED(dims));
	for (int i = 0; i < dims; i++)
	{
		fit->precision[BR_MATH_PACKED(i + 1) - 1] = lambda;
		fit->gradient[i] = lambda * (prior_mean(fit, i) - fit->theta[i]);
	}
	for (size_t slot = 0; slot < fit->n; slot++)
	{
		double s = score(fit, slot, fit->theta);
		double p = br_math_logistic(s);
		double q = br_math_logistic(-s);
		/* r - p, to all digits where p is near 0 or 1 */
		double residual =
			fit->weights[slot] * (fit->rewards[slot] * q - (1 - fit->rewards[slot]) * p);
		double curvature = fit->weights[slot] * p * q;
		double *packed = fit->precision;
		BrStatus status = cancelled(fit, slot);

		if (status != BR_OK)
			return status;
		for (int i = 0; i < dims; i++)
		{
			double scaled = curvature * fit->row[i];

			fit->gradient[i] += residual * fit->row[i];
			for (int j = 0; j <= i; j++)
				*packed++ += scaled * fit->row[j];
		}
	}
	return BR_OK;
}

/* The Newton step at fit->theta, and by how much it would raise a quadratic objective. */
static BrStatus
newton_step(LogisticFit *fit, double *promise)
{
	int dims = fit->spec->dims;
	BrStatus status = differentiate(fit);

	if (status != BR_OK)
		return status;
	memcpy(fit->factor, fit->precision, sizeof(double) * BR_MATH_PACKED(dims));
	memcpy(fit->step, fit->gradient, sizeof(double) * (size_t) dims);
	status = br_math_cholesky(fit->context, fit->factor, dims);
	if (status != BR_OK)
		return br_base_fail(fit->context, BR_ERR_NUMERIC,
							"The precision of theta overflows: features, weights or both are too "
							"large.");
	br_math_solve_lower(fit->factor, dims, fit->step);
	br_math_solve_lower_transposed(fit->factor, dims, fit->step);
	*promise = 0.5 * br_math_dot(fit->gradient, fit->step, (size_t) dims);
	return BR_OK;
}

/* theta + size * step, in fit->trial, with its objective */
static BrStatus
try_step(LogisticFit *fit, double size, double *objective)
{
	for (int i = 0; i < fit->spec->dims; i++)
		fit->trial[i] = fit->theta[i] + size * fit->step[i];
	return evaluate(fit, fit->trial, objective);
}

/* The step, halved until the objective rises; false in *rises: it never did. */
static BrStatus
climb(LogisticFit *fit, double *objective, bool *rises)
{
	double size = 1;

	for (int i = 0; i < MAX_HALVINGS; i++, size /= 2)
	{
		double raised;
		BrStatus status = try_step(fit, size, &raised);

		*rises = raised > *objective;
		if (status != BR_OK || *rises)
		{
			*objective = raised;
			return status;
		}
	}
	return BR_OK;
}

/*
 * Leaves mode and precision in fit. Once steps promise less than rounding
 * leaves of the objective, it cannot judge them; they are then taken whole for
 * as long as the promise halves.
 */
static BrStatus
find_mode(LogisticFit *fit)
{
	size_t bytes = sizeof(double) * (size_t) fit->spec->dims;
	double before = INFINITY;
	double objective;
	BrStatus status = evaluate(fit, fit->theta, &objective);

	for (int steps = 0; status == BR_OK && steps < MAX_STEPS; steps++)
	{
		double promise = 0;
		bool rises = true;

		status = newton_step(fit, &promise);
		if (status != BR_OK)
			return status;
		if (!isfinite(objective) || !isfinite(promise))
			return br_base_fail(fit->context, BR_ERR_NUMERIC,
								"The likelihood of %zu slots overflows.", fit->n);
		if (promise > ROUNDING * (fit->total + fabs(objective)))
			status = climb(fit, &objective, &rises);
		else if (promise > 0 && promise < before / 2)
			status = try_step(fit, 1, &objective);
		else
			return BR_OK;
		if (!rises)
			break;
		memcpy(fit->theta, fit->trial, bytes);
		before = promise;
	}
	if (status != BR_OK)
		return status;
	return br_base_fail(fit->context, BR_ERR_NUMERIC,
						"The logistic model of %zu slots on %d features does not converge.", fit->n,
						fit->spec->dims);
}

static BrStatus
check_slots(const LogisticFit *fit)
{
	size_t dims = (size_t) fit->spec->dims;

	if (fit->spec->model == BR_MODEL_ARM)
		return br_base_fail(fit->context, BR_ERR_ARGUMENT, "A logistic model needs features.");
	for (size_t slot = 0; slot < fit->n; slot++)
	{
		if (!(fit->rewards[slot] >= 0 && fit->rewards[slot] <= 1))
			return br_base_fail(fit->context, BR_ERR_ARGUMENT,
								"The reward of slot %zu is %g; it must lie between 0 and 1.",
								slot + 1, fit->rewards[slot]);
		if (!(fit->weights[slot] >= 0) || isinf(fit->weights[slot]))
			return br_base_fail(fit->context, BR_ERR_ARGUMENT,
								"The weight of slot %zu is %g; it must be finite and at least 0.",
								slot + 1, fit->weights[slot]);
		for (size_t i = 0; i < dims; i++)
		{
			if (!isfinite(fit->features[slot * dims + i]))
				return br_base_fail(fit->context, BR_ERR_ARGUMENT,
									"Feature %zu of slot %zu is %g; it must be finite.", i + 1,
									slot + 1, (double) fit->features[slot * dims + i]);
		}
	}
	return BR_OK;
}

/* Works in the evidence itself: mean and precision are where they stay. */
static BrStatus
fit_in_arena(LogisticFit *fit, BrArena *arena, double *evidence)
{
	size_t dims = (size_t) fit->spec->dims;

	fit->theta = evidence + 2;
	fit->precision = fit->theta + dims;
	fit->factor = br_base_arena_alloc_array(arena, BR_MATH_PACKED(dims), sizeof(double));
	fit->gradient = br_base_arena_alloc_array(arena, dims, sizeof(double));
	fit->step = br_base_arena_alloc_array(arena, dims, sizeof(double));
	fit->trial = br_base_arena_alloc_array(arena, dims, sizeof(double));
	fit->row = br_base_arena_alloc_array(arena, dims, sizeof(double));
	if (fit->factor == NULL || fit->gradient == NULL || fit->step == NULL || fit->trial == NULL ||
		fit->row == NULL)
		return BR_ERR_MEMORY;

	evidence[0] = 0;
	evidence[1] = 0;
	for (size_t slot = 0; slot < fit->n; slot++)
	{
		evidence[0] += fit->weights[slot];
		evidence[1] += fit->weights[slot] * fit->rewards[slot];
	}
	fit->total = evidence[0];
	for (size_t i = 0; i < dims; i++)
		fit->theta[i] = prior_mean(fit, (int) i);
	return find_mode(fit);
}

BrStatus
br_bandit_fit(BrContext *context, const BrPolicySpec *spec, size_t n, const float *features,
			  const double *rewards, const double *weights, double *evidence)
{
	LogisticFit fit = {.context = context,
					   .spec = spec,
					   .n = n,
					   .features = features,
					   .rewards = rewards,
					   .weights = weights};
	BrArena *arena;
	BrStatus status = br_bandit_check_spec(context, spec);

	if (status == BR_OK)
		status = check_slots(&fit);
	if (status != BR_OK)
		return status;
	arena = br_base_arena_create(context, 16384);
	if (arena == NULL)
		return BR_ERR_MEMORY;
	status = fit_in_arena(&fit, arena, evidence);
	br_base_arena_destroy(arena);
	return status;
}
