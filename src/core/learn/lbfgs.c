/*
 * lbfgs.c
 *	  Minimisation of a smooth function by limited-memory BFGS.
 *
 * The last few steps, and how the gradient changed along them, stand in for the
 * second derivatives: two passes over them turn the gradient into a direction
 * in which a step of length 1 is usually right. A step is halved until the
 * value falls by a fair share of what the slope promises; a pair with no
 * positive curvature, which a convex function gives by rounding only, is
 * forgotten.
 *
 * The pairs are kept in single precision: they only shape the direction, and
 * they are most of the memory.
 */
#include <math.h>
#include <string.h>

#include "core/learn/association_int.h"

#define MEMORY BR_LEARN_LBFGS_MEMORY
#define DOUBLES 5 /* arrays of as many doubles as variables */
#define FAIR_SHARE 1e-4
#define HALVINGS 30
/* below this cosine between step and change, squared, a pair says nothing */
#define LEAST_CURVATURE 1e-12

/* variables that are passed over between two questions whether to stop */
#define CHUNK (INT64_C(1) << 20)

typedef struct Lbfgs
{
	BrContext *context;
	int64_t n;
	double *gradient;
	double *direction;
	double *next;
	double *next_gradient;
	float *steps;			   /* (MEMORY, n) */
	float *changes;			   /* (MEMORY, n) */
	double curvatures[MEMORY]; /* step times change */
	double scale;			   /* of the first guess at the inverse second derivatives */
	int pairs;
	int newest;
	int64_t passed; /* since we last asked */
	bool stopped;	/* cancelled: nothing computed since counts */
} Lbfgs;

size_t
br_learn_lbfgs_memory(int64_t n)
{
	size_t each = (DOUBLES - 1) * sizeof(double) + 2 * MEMORY * sizeof(float);

	return (size_t) n > SIZE_MAX / each ? SIZE_MAX : (size_t) n * each;
}

static void
release(Lbfgs *state)
{
	br_base_free(state->context, state->gradient);
	br_base_free(state->context, state->direction);
	br_base_free(state->context, state->next);
	br_base_free(state->context, state->next_gradient);
	br_base_free(state->context, state->steps);
	br_base_free(state->context, state->changes);
}

static BrStatus
allocate(Lbfgs *state)
{
	int64_t n = state->n;

	state->gradient = br_learn_association_room(state->context, n, sizeof(double));
	state->direction = br_learn_association_room(state->context, n, sizeof(double));
	state->next = br_learn_association_room(state->context, n, sizeof(double));
	state->next_gradient = br_learn_association_room(state->context, n, sizeof(double));
	state->steps = br_learn_association_room(state->context, n, MEMORY * sizeof(float));
	state->changes = br_learn_association_room(state->context, n, MEMORY * sizeof(float));
	if (state->gradient == NULL || state->direction == NULL || state->next == NULL ||
		state->next_gradient == NULL || state->steps == NULL || state->changes == NULL)
		return BR_ERR_MEMORY;
	return BR_OK;
}

/*
 * The end of the piece of a pass that begins at first, or first where the pass
 * is over or must not go on.
 */
static int64_t
piece(Lbfgs *state, int64_t first)
{
	int64_t left = state->n - first;
	int64_t length = left < CHUNK ? left : CHUNK;

	state->passed += length;
	if (state->passed >= CHUNK)
	{
		state->passed = 0;
		state->stopped = state->stopped || br_base_cancelled(state->context);
	}
	return state->stopped ? first : first + length;
}

static double
dot(Lbfgs *state, const double *left, const double *right)
{
	double sum = 0;
	int64_t end;

	for (int64_t first = 0; (end = piece(state, first)) > first; first = end)
		for (int64_t i = first; i < end; i++)
			sum += left[i] * right[i];
	return sum;
}

static double
dot_pair(Lbfgs *state, const float *pair, const double *values)
{
	double sum = 0;
	int64_t end;

	for (int64_t first = 0; (end = piece(state, first)) > first; first = end)
		for (int64_t i = first; i < end; i++)
			sum += (double) pair[i] * values[i];
	return sum;
}

static void
add_pair(Lbfgs *state, double factor, const float *pair, double *values)
{
	int64_t end;

	for (int64_t first = 0; (end = piece(state, first)) > first; first = end)
		for (int64_t i = first; i < end; i++)
			values[i] += factor * (double) pair[i];
}

/* result = factor * values, and so in place */
static void
scale(Lbfgs *state, double factor, const double *values, double *result)
{
	int64_t end;

	for (int64_t first = 0; (end = piece(state, first)) > first; first = end)
		for (int64_t i = first; i < end; i++)
			result[i] = factor * values[i];
}

/* next = x + length * direction */
static void
walk(Lbfgs *state, const double *x, double length)
{
	int64_t end;

	for (int64_t first = 0; (end = piece(state, first)) > first; first = end)
		for (int64_t i = first; i < end; i++)
			state->next[i] = x[i] + length * state->direction[i];
}

/* Algorithm 7.4: minus the gradient, times the remembered inverse second derivatives. */
static void
find_direction(Lbfgs *state)
{
	int64_t n = state->n;
	double along[MEMORY];

	scale(state, -1, state->gradient, state->direction);
	for (int back = 0; back < state->pairs; back++)
	{
		int pair = (state->newest - back + MEMORY) % MEMORY;

		along[pair] =
			dot_pair(state, state->steps + pair * n, state->direction) / state->curvatures[pair];
		add_pair(state, -along[pair], state->changes + pair * n, state->direction);
	}
	scale(state, state->scale, state->direction, state->direction);
	for (int back = state->pairs - 1; back >= 0; back--)
	{
		int pair = (state->newest - back + MEMORY) % MEMORY;
		double across =
			dot_pair(state, state->changes + pair * n, state->direction) / state->curvatures[pair];

		add_pair(state, along[pair] - across, state->steps + pair * n, state->direction);
	}
}

/* Remembers the step from x to next, if the gradient grew along it. */
static void
remember(Lbfgs *state, const double *x)
{
	int64_t n = state->n;
	int place = state->pairs == 0 ? 0 : (state->newest + 1) % MEMORY;
	float *step = state->steps + place * n;
	float *change = state->changes + place * n;
	int64_t end;
	double curvature = 0;
	double step_square = 0;
	double change_square = 0;

	for (int64_t first = 0; (end = piece(state, first)) > first; first = end)
		for (int64_t i = first; i < end; i++)
		{
			step[i] = (float) (state->next[i] - x[i]);
			change[i] = (float) (state->next_gradient[i] - state->gradient[i]);
			curvature += (double) step[i] * (double) change[i];
			step_square += (double) step[i] * (double) step[i];
			change_square += (double) change[i] * (double) change[i];
		}
	if (!(curvature > 0 && curvature * curvature > LEAST_CURVATURE * step_square * change_square))
	{
		/* the oldest was overwritten, if the memory was full */
		if (state->pairs == MEMORY)
			state->pairs--;
		return;
	}
	state->curvatures[place] = curvature;
	state->scale = curvature / change_square;
	state->newest = place;
	if (state->pairs < MEMORY)
		state->pairs++;
}

/*
 * Algorithm 3.1: halves the step until the value falls by a fair share of what
 * the slope promises. *found: whether it did before the step was nothing.
 */
static BrStatus
search(Lbfgs *state, const BrSmooth *function, const double *x, double value, double *next_value,
	   bool *found)
{
	double slope = dot(state, state->gradient, state->direction);
	double length = 1;

	*found = false;
	if (!(slope < 0))
		return BR_OK;
	for (int halving = 0; halving < HALVINGS; halving++, length /= 2)
	{
		BrStatus status;

		walk(state, x, length);
		if (state->stopped)
			return BR_ERR_CANCELLED;
		status = function->evaluate(state->context, function->arg, state->next, next_value,
									state->next_gradient);
		if (status != BR_OK)
			return status;
		if (isfinite(*next_value) && *next_value < value &&
			*next_value <= value + FAIR_SHARE * length * slope)
		{
			*found = true;
			return BR_OK;
		}
	}
	return BR_OK;
}

/* One step; *gain: by how much the value fell, 0 where there is no step left. */
static BrStatus
step(Lbfgs *state, const BrSmooth *function, double *x, double *value, double *gain)
{
	double next_value = 0;
	bool found = false;
	double *gradient = state->gradient;
	BrStatus status;

	*gain = 0;
	find_direction(state);
	status = search(state, function, x, *value, &next_value, &found);
	if (status == BR_OK && found)
	{
		remember(state, x);
		scale(state, 1, state->next, x);
		state->gradient = state->next_gradient;
		state->next_gradient = gradient;
		*gain = *value - next_value;
		*value = next_value;
	}
	return state->stopped ? BR_ERR_CANCELLED : status;
}

static BrStatus
descend(Lbfgs *state, const BrSmooth *function, int iterations, double tolerance,
		const BrProgress *progress, double *x, double *value)
{
	BrStatus status = function->evaluate(state->context, function->arg, x, value, state->gradient);
	double length;

	if (status != BR_OK)
		return status;
	length = sqrt(dot(state, state->gradient, state->gradient));
	if (state->stopped)
		return BR_ERR_CANCELLED;
	if (!isfinite(*value) || !isfinite(length))
		return br_base_fail(state->context, BR_ERR_NUMERIC,
							"The function to be minimised is not finite at the start.");
	state->scale = length > 1 ? 1 / length : 1;
	for (int iteration = 1; iteration <= iterations && length > 0; iteration++)
	{
		double gain;
		bool fresh = state->pairs == 0;

		status = step(state, function, x, value, &gain);
		if (status != BR_OK)
			return status;
		br_learn_report(progress, iteration, iterations);
		if (gain > tolerance * fabs(*value))
			continue;
		/* what is remembered may be at fault: once more from the plain gradient */
		if (fresh || gain > 0)
			break;
		state->pairs = 0;
		length = sqrt(dot(state, state->gradient, state->gradient));
		state->scale = length > 1 ? 1 / length : 1;
	}
	br_learn_report(progress, iterations, iterations);
	return BR_OK;
}

BrStatus
br_learn_lbfgs(BrContext *context, const BrSmooth *function, int iterations, double tolerance,
			   const BrProgress *progress, double *x, double *value)
{
	Lbfgs state = {.context = context, .n = function->n};
	BrStatus status = allocate(&state);

	if (status == BR_OK)
		status = descend(&state, function, iterations, tolerance, progress, x, value);
	release(&state);
	return status;
}
