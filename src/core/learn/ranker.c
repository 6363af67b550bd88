/*
 * ranker.c
 *	  A few weights over features of candidates, and a probability of their sum.
 *
 * Ranking asks what stands out among what could have been taken, so weights are
 * fitted by the conditional likelihood of a choice within its group: whatever
 * all candidates of a group have in common drops out, be it a long basket or a
 * popular user. The features are standardised first, so that one l2 fits all of
 * them. The likelihood is concave, and with a dozen features a Newton step costs
 * no more than the pass over the candidates that it needs.
 *
 * Weights that must not be negative are kept at 0 where the step would take them
 * below (an active set that is chosen anew in each step).
 */
#include <math.h>
#include <string.h>

#include "core/learn/learn_int.h"
#include "core/math/br_math.h"

#define MAX_STEPS 100
#define MAX_HALVINGS 30
/* groups between two questions whether to go on */
#define STRIDE 256
/* robustness is raised from 0 in so many steps */
#define ROBUST_STEPS 4
/* a step that gains less ends the search */
#define LEAST_GAIN 1e-12

typedef struct Fit
{
	BrContext *context;
	const BrChoices *choices;
	const BrRankerOptions *options;
	int n;			  /* features */
	double *scale;	  /* (n): 1 / deviation within groups; 0: never varies */
	double *weights;  /* (n), of scaled features */
	double *trial;	  /* (n), and work */
	double *gradient; /* (n) */
	double *hessian;  /* (n(n+1)/2) packed, negated: positive definite */
	double *mean;	  /* (n), work */
	double *mean_taken;
	double *second; /* (n(n+1)/2), work */
	double *second_taken;
	bool *held;		   /* (n): at its bound in this step */
	int64_t telling;   /* groups that say something */
	double robustness; /* by now: it is raised in steps */
	bool stopped;	   /* cancelled: nothing computed since counts */
} Fit;

double
br_learn_ranker_score(const double *weights, const float *values, int features)
{
	double sum = 0;

	for (int f = 0; f < features; f++)
		sum += weights[f] * values[f];
	return sum;
}

/* ---- the candidates ---- */

static double
weight_of(const BrChoices *choices, int64_t candidate)
{
	return choices->weights == NULL ? 1 : choices->weights[candidate];
}

static bool
is_telling(const BrChoices *choices, int64_t group)
{
	int64_t taken = 0;

	for (int64_t i = choices->starts[group]; i < choices->starts[group + 1]; i++)
		taken += choices->taken[i] != 0;
	return taken > 0 && taken < choices->starts[group + 1] - choices->starts[group];
}

static BrStatus
check(BrContext *context, const BrChoices *choices, const BrRankerOptions *options)
{
	int64_t n = choices->groups > 0 ? choices->starts[choices->groups] : 0;

	if (choices->features < 1 || choices->features > 256)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A ranker cannot have %d features.",
							choices->features);
	if (!(options->l2 > 0) || !isfinite(options->l2))
		return br_base_fail(context, BR_ERR_ARGUMENT, "l2 is %g; it must be above 0.", options->l2);
	if (!(options->robustness >= 0 && options->robustness < 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The robustness is %g; it must be at least 0 and below 1.",
							options->robustness);
	for (int64_t i = 0; i < n * choices->features; i++)
		if (!isfinite(choices->values[i]))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Feature %d of candidate %lld is not finite.",
								(int) (i % choices->features), (long long) (i / choices->features));
	for (int64_t i = 0; choices->weights != NULL && i < n; i++)
		if (!(choices->weights[i] > 0) || !isfinite(choices->weights[i]))
			return br_base_fail(context, BR_ERR_ARGUMENT, "The weight of candidate %lld is %g.",
								(long long) i, choices->weights[i]);
	return BR_OK;
}

/*
 * How far a feature is above that of the group's first candidate. What the whole
 * group has in common is so left out before anything is squared, and not by
 * rounding afterwards.
 */
static double
above_first(const BrChoices *choices, int64_t group, int64_t candidate, int feature)
{
	const float *first = choices->values + choices->starts[group] * choices->features;

	return (double) choices->values[candidate * choices->features + feature] -
		(double) first[feature];
}

/* deviations around the means of the groups: what is the same in a group tells nothing */
static BrStatus
find_scales(Fit *fit)
{
	const BrChoices *choices = fit->choices;
	double *squares = fit->gradient;
	double total = 0;

	memset(squares, 0, sizeof(double) * (size_t) fit->n);
	for (int64_t g = 0; g < choices->groups; g++)
	{
		double sum = 0;

		if (!is_telling(choices, g))
			continue;
		fit->telling++;
		memset(fit->mean, 0, sizeof(double) * (size_t) fit->n);
		for (int64_t i = choices->starts[g]; i < choices->starts[g + 1]; i++)
		{
			double weight = weight_of(choices, i);

			sum += weight;
			for (int f = 0; f < fit->n; f++)
				fit->mean[f] += weight * above_first(choices, g, i, f);
		}
		for (int64_t i = choices->starts[g]; i < choices->starts[g + 1]; i++)
			for (int f = 0; f < fit->n; f++)
			{
				double away = above_first(choices, g, i, f) - fit->mean[f] / sum;

				squares[f] += weight_of(choices, i) * away * away;
			}
		total += sum;
	}
	if (fit->telling == 0)
		return br_base_fail(fit->context, BR_ERR_ARGUMENT,
							"Of %lld choices none has both what was taken and what was not.",
							(long long) choices->groups);
	for (int f = 0; f < fit->n; f++)
	{
		double deviation = sqrt(squares[f] / total);

		fit->scale[f] = deviation > 1e-12 ? 1 / deviation : 0;
	}
	return BR_OK;
}

/* ---- the likelihood ---- */

static double
scaled_score(const Fit *fit, const double *weights, int64_t candidate)
{
	const float *values = fit->choices->values + candidate * fit->n;
	double sum = 0;

	for (int f = 0; f < fit->n; f++)
		sum += weights[f] * (fit->scale[f] * values[f]);
	return sum;
}

static double
largest_score(const Fit *fit, const double *weights, int64_t group)
{
	double largest = -INFINITY;

	for (int64_t i = fit->choices->starts[group]; i < fit->choices->starts[group + 1]; i++)
		largest = fmax(largest, scaled_score(fit, weights, i));
	return largest;
}

static bool
stops(Fit *fit, int64_t group)
{
	if (group % STRIDE == 0)
		fit->stopped = fit->stopped || br_base_cancelled(fit->context);
	return fit->stopped;
}

/* mean log-likelihood less the penalty */
static double
objective(Fit *fit, const double *weights)
{
	const BrChoices *choices = fit->choices;
	double sum = 0;
	double penalty = 0;

	for (int64_t g = 0; g < choices->groups; g++)
	{
		double largest, all = 0, taken = 0, weight = 0;

		if (stops(fit, g))
			return -INFINITY;
		if (!is_telling(choices, g))
			continue;
		largest = largest_score(fit, weights, g);
		for (int64_t i = choices->starts[g]; i < choices->starts[g + 1]; i++)
		{
			double mass = br_math_exp(scaled_score(fit, weights, i) - largest);

			weight += weight_of(choices, i);
			all += weight_of(choices, i) * mass;
			if (choices->taken[i])
				taken += mass;
		}
		sum += br_math_log(
			fmax((1 - fit->robustness) * taken / all + fit->robustness / weight, 1e-300));
	}
	for (int f = 0; f < fit->n; f++)
		penalty += weights[f] * weights[f];
	return sum / (double) fit->telling - fit->options->l2 * penalty;
}

/* adds mass times a candidate's scaled features, above those of the first, and their products */
static void
add_moments(Fit *fit, int64_t group, int64_t candidate, double mass, double *mean, double *second)
{
	double *values = fit->trial;
	size_t place = 0;

	for (int f = 0; f < fit->n; f++)
	{
		values[f] = fit->scale[f] * above_first(fit->choices, group, candidate, f);
		mean[f] += mass * values[f];
		for (int h = 0; h <= f; h++)
			second[place++] += mass * values[f] * values[h];
	}
}

/* hessian += sign * covariance of moments over a mass, the gradient their mean the other way */
static void
add_covariance(Fit *fit, double sign, double mass, const double *mean, const double *second)
{
	size_t place = 0;

	for (int f = 0; f < fit->n; f++)
	{
		fit->gradient[f] -= sign * mean[f] / mass;
		for (int h = 0; h <= f; h++, place++)
			fit->hessian[place] +=
				sign * (second[place] / mass - mean[f] / mass * (mean[h] / mass));
	}
}

static void
add_group(Fit *fit, int64_t group)
{
	const BrChoices *choices = fit->choices;
	size_t packed = BR_MATH_PACKED(fit->n);
	double largest = largest_score(fit, fit->weights, group);
	double all = 0, taken = 0, weight = 0, found, credit;

	memset(fit->mean, 0, sizeof(double) * (size_t) fit->n);
	memset(fit->mean_taken, 0, sizeof(double) * (size_t) fit->n);
	memset(fit->second, 0, sizeof(double) * packed);
	memset(fit->second_taken, 0, sizeof(double) * packed);
	for (int64_t i = choices->starts[group]; i < choices->starts[group + 1]; i++)
	{
		double mass = br_math_exp(scaled_score(fit, fit->weights, i) - largest);

		weight += weight_of(choices, i);
		all += weight_of(choices, i) * mass;
		add_moments(fit, group, i, weight_of(choices, i) * mass, fit->mean, fit->second);
		if (!choices->taken[i])
			continue;
		taken += mass;
		add_moments(fit, group, i, mass, fit->mean_taken, fit->second_taken);
	}
	/* a choice counts as far as it is not taken to be random; the curvature of that is left out */
	found = (1 - fit->robustness) * taken / all;
	credit = found / fmax(found + fit->robustness / weight, 1e-300);
	add_covariance(fit, credit, all, fit->mean, fit->second);
	add_covariance(fit, -credit, fmax(taken, 1e-300), fit->mean_taken, fit->second_taken);
}

/* ---- Newton's steps ---- */

/* what is held at its bound takes no part in the step */
static void
hold_bounds(Fit *fit)
{
	size_t place = 0;

	for (int f = 0; f < fit->n; f++)
		fit->held[f] = fit->scale[f] == 0 ||
			(fit->options->not_below != NULL && fit->options->not_below[f] &&
			 fit->weights[f] <= 0 && fit->gradient[f] <= 0);
	for (int f = 0; f < fit->n; f++)
		for (int h = 0; h <= f; h++, place++)
			if (fit->held[f] || fit->held[h])
				fit->hessian[place] = f == h;
	for (int f = 0; f < fit->n; f++)
		if (fit->held[f])
			fit->gradient[f] = 0;
}

/* the gradient, and the Cholesky factor of the negated Hessian */
static BrStatus
derive(Fit *fit)
{
	double groups = (double) fit->telling;
	size_t place = 0;
	double ridge = 0;

	memset(fit->gradient, 0, sizeof(double) * (size_t) fit->n);
	memset(fit->hessian, 0, sizeof(double) * BR_MATH_PACKED(fit->n));
	for (int64_t g = 0; g < fit->choices->groups; g++)
	{
		if (stops(fit, g))
			return BR_ERR_CANCELLED;
		if (is_telling(fit->choices, g))
			add_group(fit, g);
	}
	for (int f = 0; f < fit->n; f++)
		fit->gradient[f] = fit->gradient[f] / groups - 2 * fit->options->l2 * fit->weights[f];
	for (int f = 0; f < fit->n; f++)
		for (int h = 0; h <= f; h++, place++)
			fit->hessian[place] =
				fit->hessian[place] / groups + (f == h ? 2 * fit->options->l2 : 0);
	hold_bounds(fit);

	/* several taken in a group make the likelihood less than concave: then lean on the gradient */
	memcpy(fit->second, fit->hessian, sizeof(double) * BR_MATH_PACKED(fit->n));
	while (br_math_cholesky(fit->context, fit->hessian, fit->n) != BR_OK)
	{
		ridge = ridge == 0 ? 1e-3 : ridge * 10;
		if (ridge > 1e12)
			return br_base_fail(fit->context, BR_ERR_NUMERIC, "The ranker's weights diverge.");
		memcpy(fit->hessian, fit->second, sizeof(double) * BR_MATH_PACKED(fit->n));
		for (int f = 0; f < fit->n; f++)
			fit->hessian[BR_MATH_PACKED(f) + (size_t) f] += ridge;
	}
	br_math_solve_lower(fit->hessian, fit->n, fit->gradient);
	br_math_solve_lower_transposed(fit->hessian, fit->n, fit->gradient);
	return BR_OK;
}

/* along the step, halved until it gains; returns the gain */
static double
advance(Fit *fit, double now)
{
	double length = 1;

	for (int halving = 0; halving < MAX_HALVINGS && !fit->stopped; halving++, length /= 2)
	{
		double there;

		for (int f = 0; f < fit->n; f++)
		{
			fit->trial[f] = fit->weights[f] + length * fit->gradient[f];
			if (fit->options->not_below != NULL && fit->options->not_below[f])
				fit->trial[f] = fmax(fit->trial[f], 0);
		}
		there = objective(fit, fit->trial);
		if (there > now)
		{
			memcpy(fit->weights, fit->trial, sizeof(double) * (size_t) fit->n);
			return there - now;
		}
	}
	return 0;
}

static BrStatus
climb(Fit *fit, double robustness)
{
	fit->robustness = robustness;
	for (int step = 0; step < MAX_STEPS; step++)
	{
		double now = objective(fit, fit->weights);
		BrStatus status = derive(fit);

		if (status != BR_OK)
			return status;
		br_learn_report(fit->options->progress, step, MAX_STEPS);
		if (advance(fit, now) < LEAST_GAIN)
			break;
	}
	return fit->stopped ? BR_ERR_CANCELLED : BR_OK;
}

static BrStatus
allocate(Fit *fit)
{
	size_t n = (size_t) fit->n;
	size_t packed = BR_MATH_PACKED(n);
	double *block = br_base_alloc_array(fit->context, 6 * n + 3 * packed, sizeof(double));

	fit->held = br_base_alloc_array(fit->context, n, sizeof(bool));
	fit->scale = block;
	if (block == NULL || fit->held == NULL)
		return BR_ERR_MEMORY;
	fit->weights = block + n;
	fit->trial = block + 2 * n;
	fit->gradient = block + 3 * n;
	fit->mean = block + 4 * n;
	fit->mean_taken = block + 5 * n;
	fit->hessian = block + 6 * n;
	fit->second = fit->hessian + packed;
	fit->second_taken = fit->second + packed;
	return BR_OK;
}

BrStatus
br_learn_ranker_fit(BrContext *context, const BrChoices *choices, const BrRankerOptions *options,
					double *weights)
{
	Fit fit = {.context = context, .choices = choices, .options = options, .n = choices->features};
	BrStatus status = check(context, choices, options);

	if (status == BR_OK)
		status = allocate(&fit);
	if (status == BR_OK)
		status = find_scales(&fit);
	if (status == BR_OK)
		status = climb(&fit, 0);
	for (int i = 1; status == BR_OK && options->robustness > 0 && i <= ROBUST_STEPS; i++)
		status = climb(&fit, options->robustness * i / ROBUST_STEPS);
	for (int f = 0; status == BR_OK && f < fit.n; f++)
		weights[f] = fit.weights[f] * fit.scale[f];
	br_base_free(context, fit.scale);
	br_base_free(context, fit.held);
	return status;
}

/* ---- calibration ---- */

typedef struct Line
{
	double a;
	double b;
} Line;

/* likelihood of a line, and with its first and second derivatives where they are asked for */
static double
line_likelihood(const double *scores, const float *weights, const uint8_t *taken, int64_t n,
				const double target[2], Line line, double first[2], double second[3])
{
	double sum = 0;

	memset(first, 0, 2 * sizeof(double));
	memset(second, 0, 3 * sizeof(double));
	for (int64_t i = 0; i < n; i++)
	{
		double weight = weights == NULL ? 1 : weights[i];
		double x = line.a + line.b * scores[i];
		double wanted = target[taken[i] != 0];
		double p = br_math_logistic(x);

		/* ln(1 + e^x), without overflow */
		sum += weight * (wanted * x - (x > 0 ? x : 0) - br_math_log(1 + br_math_exp(-fabs(x))));
		first[0] += weight * (wanted - p);
		first[1] += weight * (wanted - p) * scores[i];
		second[0] += weight * p * (1 - p);
		second[1] += weight * p * (1 - p) * scores[i];
		second[2] += weight * p * (1 - p) * scores[i] * scores[i];
	}
	return sum;
}

/* Newton's step; where it would make b negative, that of a alone with b = 0 */
static Line
line_step(Line line, const double first[2], const double second[3], double length)
{
	double determinant = second[0] * second[2] - second[1] * second[1] + 1e-12;
	Line next = {line.a + length * (second[2] * first[0] - second[1] * first[1]) / determinant,
				 line.b + length * (second[0] * first[1] - second[1] * first[0]) / determinant};

	if (next.b < 0)
		next = (Line){line.a + length * first[0] / (second[0] + 1e-12), 0};
	return next;
}

BrStatus
br_learn_calibrate(BrContext *context, const double *scores, const float *weights,
				   const uint8_t *taken, int64_t n, double *a, double *b)
{
	double yes = 0, no = 0;
	double target[2], first[2], second[3], now;
	Line line = {0, 0};

	for (int64_t i = 0; i < n; i++)
		*(taken[i] ? &yes : &no) += weights == NULL ? 1 : weights[i];
	if (yes == 0 || no == 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Of %lld candidates %s was taken: there is nothing to calibrate by.",
							(long long) n, yes == 0 ? "none" : "each");
	target[0] = 1 / (no + 2);
	target[1] = (yes + 1) / (yes + 2);
	line.a = br_math_log((yes + 1) / (no + 1));
	now = line_likelihood(scores, weights, taken, n, target, line, first, second);
	for (int step = 0; step < MAX_STEPS; step++)
	{
		double gain = 0;

		for (double length = 1; length > 1e-6 && gain <= 0; length /= 2)
		{
			double next_first[2], next_second[3], there;
			Line next = line_step(line, first, second, length);

			if (br_base_cancelled(context))
				return BR_ERR_CANCELLED;
			there =
				line_likelihood(scores, weights, taken, n, target, next, next_first, next_second);
			gain = there - now;
			if (gain <= 0)
				continue;
			line = next;
			now = there;
			memcpy(first, next_first, sizeof(first));
			memcpy(second, next_second, sizeof(second));
		}
		if (gain < LEAST_GAIN * (yes + no))
			break;
	}
	*a = line.a;
	*b = line.b;
	return BR_OK;
}
