/*
 * optimiser.c
 *	  AdamW and gradient descent with momentum, schedules, clipping.
 *
 * Parameters go tensor by tensor, because decay asks what a tensor is, and of
 * each tensor every thread takes a part. The length of the gradient is added
 * up in double.
 */
#include "core/train/br_train_optimiser.h"
#include "core/train/train_int.h"

/* torch adds it to the length by which it divides. */
#define CLIP_MARGIN 1e-6

struct BrTrainOptimiser
{
	BrContext *context;
	BrTrainSet set;
	BrTrainRecipe recipe;
	BrPool *pool;
	int n_workers;
	int64_t steps;
	BrReal *moments;	/* of AdamW (2, n), of SGD (n) */
	double *squares;	/* (n_workers): of each one's part of the gradient */
	double rate;		/* of the step at work */
	double shrink;		/* what clipping multiplies the gradient by */
	double bias_first;	/* 1 - beta1^steps */
	double bias_second; /* 1 - beta2^steps */
};

double
br_train_rate(const BrTrainRecipe *recipe, int64_t step)
{
	double done;

	if (step < recipe->warm_up)
		return recipe->rate * (double) step / (double) recipe->warm_up;
	if (recipe->schedule == BR_TRAIN_CONSTANT)
		return recipe->rate;
	if (step >= recipe->steps)
		return 0;
	done = (double) (step - recipe->warm_up) / (double) (recipe->steps - recipe->warm_up);
	return recipe->rate *
		(recipe->schedule == BR_TRAIN_LINEAR ? 1 - done : (1 + cos(acos(-1) * done)) / 2);
}

/* ---- the parts of a step, by all threads ---- */

/* Where a worker's part of a tensor begins; behind the last worker its end. */
static size_t
tensor_part(const BrTrainOptimiser *optimiser, const BrTrainTensor *tensor, int number)
{
	size_t size = (size_t) tensor->rows * (size_t) (tensor->columns > 0 ? tensor->columns : 1);

	return tensor->offset + size * (size_t) number / (size_t) optimiser->n_workers;
}

static void
sum_squares(void *arg, int number)
{
	BrTrainOptimiser *optimiser = arg;
	const BrTrainSet *set = &optimiser->set;
	double total = 0;

	for (int t = 0; t < set->n_tensors; t++)
	{
		size_t last = tensor_part(optimiser, &set->tensors[t], number + 1);

		for (size_t i = tensor_part(optimiser, &set->tensors[t], number); i < last; i++)
			total += (double) set->gradient[i] * (double) set->gradient[i];
	}
	optimiser->squares[number] = total;
}

static void
step_adamw(const BrTrainOptimiser *optimiser, size_t first, size_t last, bool decays)
{
	const BrTrainRecipe *recipe = &optimiser->recipe;
	const BrTrainSet *set = &optimiser->set;
	BrReal *mean = optimiser->moments;
	BrReal *square = mean + set->n;
	BrReal beta1 = (BrReal) recipe->beta1;
	BrReal beta2 = (BrReal) recipe->beta2;
	BrReal rest1 = (BrReal) (1 - recipe->beta1);
	BrReal rest2 = (BrReal) (1 - recipe->beta2);
	BrReal shrink = (BrReal) optimiser->shrink;
	BrReal keep = (BrReal) (1 - (decays ? optimiser->rate * recipe->decay : 0));
	BrReal stride = (BrReal) (optimiser->rate / optimiser->bias_first);
	BrReal scale = (BrReal) (1 / sqrt(optimiser->bias_second));
	BrReal epsilon = (BrReal) recipe->epsilon;

	for (size_t i = first; i < last; i++)
	{
		BrReal slope = set->gradient[i] * shrink;

		mean[i] = beta1 * mean[i] + rest1 * slope;
		square[i] = beta2 * square[i] + rest2 * slope * slope;
		set->parameters[i] = keep * set->parameters[i] -
			stride * mean[i] / ((BrReal) sqrt(square[i]) * scale + epsilon);
		set->gradient[i] = 0;
	}
}

static void
step_sgd(const BrTrainOptimiser *optimiser, size_t first, size_t last, bool decays)
{
	const BrTrainRecipe *recipe = &optimiser->recipe;
	const BrTrainSet *set = &optimiser->set;
	BrReal momentum = (BrReal) recipe->momentum;
	BrReal decay = (BrReal) (decays ? recipe->decay : 0);
	BrReal shrink = (BrReal) optimiser->shrink;
	BrReal rate = (BrReal) optimiser->rate;

	for (size_t i = first; i < last; i++)
	{
		BrReal slope = set->gradient[i] * shrink + decay * set->parameters[i];

		optimiser->moments[i] = momentum * optimiser->moments[i] + slope;
		set->parameters[i] -= rate * optimiser->moments[i];
		set->gradient[i] = 0;
	}
}

static void
step_part(void *arg, int number)
{
	BrTrainOptimiser *optimiser = arg;
	const BrTrainSet *set = &optimiser->set;

	for (int t = 0; t < set->n_tensors; t++)
	{
		const BrTrainTensor *tensor = &set->tensors[t];
		size_t first = tensor_part(optimiser, tensor, number);
		size_t last = tensor_part(optimiser, tensor, number + 1);

		if (optimiser->recipe.rule == BR_TRAIN_ADAMW)
			step_adamw(optimiser, first, last, tensor->decays);
		else
			step_sgd(optimiser, first, last, tensor->decays);
	}
}

BrStatus
br_train_update(BrTrainOptimiser *optimiser, double *length)
{
	const BrTrainRecipe *recipe = &optimiser->recipe;
	const BrCancel never = {NULL, NULL};
	double total = 0;

	br_base_pool_run(optimiser->pool, sum_squares, optimiser, optimiser->n_workers, &never);
	for (int i = 0; i < optimiser->n_workers; i++)
		total += optimiser->squares[i];
	*length = sqrt(total);
	optimiser->rate = br_train_rate(recipe, optimiser->steps);
	if (!isfinite(*length))
		return br_base_fail(optimiser->context, BR_ERR_NUMERIC,
							"The gradient of step %lld is not finite, at learning rate %g.",
							(long long) optimiser->steps, optimiser->rate);

	optimiser->shrink = recipe->clip > 0 ? fmin(1, recipe->clip / (*length + CLIP_MARGIN)) : 1;
	optimiser->steps++;
	optimiser->bias_first = 1 - pow(recipe->beta1, (double) optimiser->steps);
	optimiser->bias_second = 1 - pow(recipe->beta2, (double) optimiser->steps);
	br_base_pool_run(optimiser->pool, step_part, optimiser, optimiser->n_workers, &never);
	return BR_OK;
}

/* ---- the optimiser itself ---- */

static bool
in_unit(double value)
{
	return value >= 0 && value < 1;
}

static bool
at_least_zero(double value)
{
	return value >= 0 && isfinite(value);
}

static BrStatus
check_recipe(BrContext *context, const BrTrainRecipe *recipe)
{
	if (!(recipe->rate > 0) || !isfinite(recipe->rate) || !at_least_zero(recipe->decay) ||
		!at_least_zero(recipe->clip))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Learning rate %g, weight decay %g, clipping %g; the first must be above 0, the others at least 0.",
							recipe->rate, recipe->decay, recipe->clip);
	if (recipe->steps < 1 || recipe->warm_up < 0 || recipe->warm_up > recipe->steps)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%lld steps of warm-up in %lld; there must be one step, and warm-up within them.",
							(long long) recipe->warm_up, (long long) recipe->steps);
	if (recipe->rule == BR_TRAIN_ADAMW &&
		(!in_unit(recipe->beta1) || !in_unit(recipe->beta2) || !(recipe->epsilon > 0)))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"AdamW with beta %g and %g, epsilon %g; they must be in [0, 1), in [0, 1) and above 0.",
							recipe->beta1, recipe->beta2, recipe->epsilon);
	if (recipe->rule == BR_TRAIN_SGD && !in_unit(recipe->momentum))
		return br_base_fail(context, BR_ERR_ARGUMENT, "Momentum %g is not in [0, 1).",
							recipe->momentum);
	return BR_OK;
}

static size_t
count_moments(const BrTrainOptimiser *optimiser)
{
	return optimiser->set.n * (optimiser->recipe.rule == BR_TRAIN_ADAMW ? 2 : 1);
}

BrStatus
br_train_optimiser_create(BrContext *context, const BrTrainSet *set, const BrTrainRecipe *recipe,
						  BrPool *pool, BrTrainOptimiser **optimiser)
{
	BrStatus status = check_recipe(context, recipe);
	BrTrainOptimiser *created;

	*optimiser = NULL;
	if (status != BR_OK)
		return status;
	created = br_base_alloc_array(context, 1, sizeof(BrTrainOptimiser));
	if (created == NULL)
		return BR_ERR_MEMORY;
	created->context = context;
	created->set = *set;
	created->recipe = *recipe;
	created->pool = pool;
	created->n_workers = br_base_pool_threads(pool);
	created->moments = br_base_alloc_array(context, count_moments(created), sizeof(BrReal));
	created->squares = br_base_alloc_array(context, (size_t) created->n_workers, sizeof(double));
	if (created->moments == NULL || created->squares == NULL)
	{
		br_train_optimiser_destroy(created);
		return BR_ERR_MEMORY;
	}
	*optimiser = created;
	return BR_OK;
}

void
br_train_optimiser_destroy(BrTrainOptimiser *optimiser)
{
	if (optimiser == NULL)
		return;
	br_base_free(optimiser->context, optimiser->moments);
	br_base_free(optimiser->context, optimiser->squares);
	br_base_free(optimiser->context, optimiser);
}

BrTrainState
br_train_state_of(BrTrainOptimiser *optimiser)
{
	return (BrTrainState){&optimiser->steps, optimiser->moments, count_moments(optimiser)};
}
