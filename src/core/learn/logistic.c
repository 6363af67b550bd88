/*
 * logistic.c
 *	  The probability of something as a function of a few features.
 *
 * The loss is convex, and with few features a Newton step costs no more than the
 * pass over the examples that it needs. Where a full step would overshoot, it is
 * halved until it gains.
 */
#include <math.h>
#include <string.h>

#include "core/learn/learn_int.h"
#include "core/math/br_math.h"

#define MAX_STEPS 100
#define MAX_HALVINGS 40
#define MAX_FEATURES 255
/* a step that promises less of the loss is taken, and ends the search: what is left is its square */
#define LEAST_PROMISE 1e-10
/* examples between two questions whether to go on */
#define STRIDE 65536

typedef struct Fit
{
	BrContext *context;
	const BrExamples *examples;
	double l2;
	int n;			  /* weights */
	double *weights;  /* (n) */
	double *trial;	  /* (n) */
	double *gradient; /* (n) */
	double *hessian;  /* (n(n+1)/2) packed */
	double promise;	  /* twice what the step would gain if the loss were quadratic */
	bool stopped;	  /* cancelled: nothing computed since counts */
} Fit;

static BrStatus
check(BrContext *context, const BrExamples *examples, double l2)
{
	double sum = 0;

	if (examples->n < 1 || examples->features < 0 || examples->features > MAX_FEATURES)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%lld examples of %d features make no regression.",
							(long long) examples->n, examples->features);
	if (!(l2 > 0) || !isfinite(l2))
		return br_base_fail(context, BR_ERR_ARGUMENT, "l2 is %g; it must be above 0.", l2);
	for (int64_t i = 0; i < examples->n * examples->features; i++)
		if (!isfinite(examples->values[i]))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Feature %d of example %lld is not finite.",
								(int) (i % examples->features),
								(long long) (i / examples->features));
	for (int64_t i = 0; i < examples->n; i++)
	{
		if (!(examples->targets[i] >= 0 && examples->targets[i] <= 1))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The target of example %lld is %g; it must lie in [0, 1].",
								(long long) i, examples->targets[i]);
		sum += examples->targets[i];
	}
	if (sum == 0 || sum == (double) examples->n)
		return br_base_fail(context, BR_ERR_ARGUMENT, "All %lld examples have the same target, %g.",
							(long long) examples->n, sum == 0 ? 0.0 : 1.0);
	return BR_OK;
}

static double
linear(const BrExamples *examples, const double *weights, int64_t i)
{
	const float *values = examples->values + i * examples->features;
	double sum = weights[0];

	for (int f = 0; f < examples->features; f++)
		sum += weights[f + 1] * values[f];
	return sum;
}

static bool
stops(Fit *fit, int64_t example)
{
	if (example % STRIDE == 0)
		fit->stopped = fit->stopped || br_base_cancelled(fit->context);
	return fit->stopped;
}

static double
loss(Fit *fit, const double *weights)
{
	const BrExamples *examples = fit->examples;
	double sum = 0, squares = 0;

	for (int64_t i = 0; i < examples->n; i++)
	{
		double x = linear(examples, weights, i);

		if (stops(fit, i))
			return INFINITY;
		/* ln(1 + e^x) - t x, without overflow */
		sum += fmax(x, 0) + br_math_log(1 + br_math_exp(-fabs(x))) - examples->targets[i] * x;
	}
	for (int f = 1; f < fit->n; f++)
		squares += weights[f] * weights[f];
	return sum + fit->l2 / 2 * squares;
}

static void
add_example(Fit *fit, int64_t i)
{
	const float *values = fit->examples->values + i * fit->examples->features;
	double p = br_math_logistic(linear(fit->examples, fit->weights, i));
	double away = p - fit->examples->targets[i];
	double *row = fit->hessian;

	for (int f = 0; f < fit->n; f++)
	{
		double value = f == 0 ? 1 : values[f - 1];

		fit->gradient[f] += away * value;
		row[0] += p * (1 - p) * value;
		for (int h = 1; h <= f; h++)
			row[h] += p * (1 - p) * value * values[h - 1];
		row += f + 1;
	}
}

/* the gradient becomes Newton's step */
static BrStatus
derive(Fit *fit)
{
	memset(fit->gradient, 0, sizeof(double) * (size_t) fit->n);
	memset(fit->hessian, 0, sizeof(double) * BR_MATH_PACKED(fit->n));
	for (int64_t i = 0; i < fit->examples->n; i++)
	{
		if (stops(fit, i))
			return BR_ERR_CANCELLED;
		add_example(fit, i);
	}
	for (int f = 1; f < fit->n; f++)
	{
		fit->gradient[f] += fit->l2 * fit->weights[f];
		fit->hessian[BR_MATH_PACKED(f) + (size_t) f] += fit->l2;
	}
	/* where every p is 0 or 1 but for rounding, nothing else curves along the constant */
	fit->hessian[0] += 1e-12;
	if (br_math_cholesky(fit->context, fit->hessian, fit->n) != BR_OK)
		return br_base_fail(fit->context, BR_ERR_NUMERIC, "The weights of a regression diverge.");
	br_math_solve_lower(fit->hessian, fit->n, fit->gradient);
	fit->promise = 0;
	for (int f = 0; f < fit->n; f++)
		fit->promise += fit->gradient[f] * fit->gradient[f];
	br_math_solve_lower_transposed(fit->hessian, fit->n, fit->gradient);
	return BR_OK;
}

/* along the step, halved until it gains; false: this was the last one */
static bool
advance(Fit *fit, double now)
{
	bool last = fit->promise <= LEAST_PROMISE * now;
	double length = 1;

	for (int halving = 0; halving < MAX_HALVINGS && !fit->stopped; halving++, length /= 2)
	{
		for (int f = 0; f < fit->n; f++)
			fit->trial[f] = fit->weights[f] - length * fit->gradient[f];
		if (last || loss(fit, fit->trial) < now)
		{
			memcpy(fit->weights, fit->trial, sizeof(double) * (size_t) fit->n);
			return !last;
		}
	}
	return false;
}

BrStatus
br_learn_logistic_fit(BrContext *context, const BrExamples *examples, double l2, double *weights)
{
	Fit fit = {.context = context, .examples = examples, .l2 = l2, .n = examples->features + 1};
	BrStatus status = check(context, examples, l2);
	size_t n = (size_t) fit.n;

	if (status != BR_OK)
		return status;
	fit.weights = br_base_alloc_array(context, 3 * n + BR_MATH_PACKED(n), sizeof(double));
	if (fit.weights == NULL)
		return BR_ERR_MEMORY;
	fit.trial = fit.weights + n;
	fit.gradient = fit.weights + 2 * n;
	fit.hessian = fit.weights + 3 * n;
	for (int step = 0; step < MAX_STEPS && status == BR_OK; step++)
	{
		double now = loss(&fit, fit.weights);

		status = derive(&fit);
		if (status == BR_OK && !advance(&fit, now))
			break;
	}
	if (fit.stopped)
		status = br_base_fail(context, BR_ERR_CANCELLED, "A regression was cancelled.");
	if (status == BR_OK)
		memcpy(weights, fit.weights, sizeof(double) * n);
	br_base_free(context, fit.weights);
	return status;
}
