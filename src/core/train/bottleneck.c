/*
 * bottleneck.c
 *	  Two narrow dense layers behind each half of a layer, forward and back.
 *
 * The layers' weights stand in a set of their own, so that they use the same
 * dense products as the model's, only over other parameters. They are a part of
 * what a run computes as long as they exist: unlike low-rank additions they
 * cannot be merged into the weights.
 */
#include "core/math/br_math.h"
#include "core/train/br_train_adapters.h"
#include "core/train/train_int.h"

/* As in the paper, section 3.6. */
#define DEVIATION 0.01
#define MOST_DEVIATIONS 2

/* Of each half the weight and bias of both layers; and of each layer two norms. */
#define TENSORS_OF_LAYER (2 * 4 + 4)

struct BrTrainBottleneck
{
	BrTrainDelta delta;
	int size;
	BrTrainDense *down; /* (layers, 2): by half, among the set's parameters */
	BrTrainDense *up;	/* (layers, 2) */
};

int
br_train_bottleneck_size(const BrTrainModel *model)
{
	return model->bottleneck != NULL ? model->bottleneck->size : 0;
}

/* ---- the way forward and the way back, of rows from row on ---- */

void
br_train_adapt(const BrTrainRun *run, int half, int row, int rows, BrReal *sum)
{
	const BrTrainBottleneck *bottleneck = run->model->bottleneck;
	const BrTrainDense *down = &bottleneck->down[2 * run->layer + half];
	const BrTrainDense *up = &bottleneck->up[2 * run->layer + half];
	const BrReal *parameters = bottleneck->delta.set.parameters;
	const BrTrainAdapted *adapted = &run->tape->adapted[half];
	int hidden = run->shape->hidden;
	size_t at = (size_t) row * (size_t) hidden;
	size_t narrow = (size_t) row * (size_t) bottleneck->size;
	size_t n = (size_t) rows * (size_t) bottleneck->size;
	BrTrainFactor left = {adapted->active + narrow, bottleneck->size, false};
	BrTrainFactor right = {parameters + up->weight, bottleneck->size, true};

	memcpy(adapted->input + at, sum, (size_t) rows * (size_t) hidden * sizeof(BrReal));
	br_train_dense(run->backend, down, parameters, sum, rows, adapted->inner + narrow);
	memcpy(adapted->active + narrow, adapted->inner + narrow, n * sizeof(BrReal));
	br_train_activate(run->backend, adapted->active + narrow, n, run->shape->activation);
	br_train_multiply(run->backend, left, right, rows, hidden, bottleneck->size, 1, 1, hidden, sum);
	for (int i = 0; i < rows; i++)
		br_train_add(sum + (size_t) i * (size_t) hidden, parameters + up->bias, hidden);
}

void
br_train_adapt_slope(const BrTrainRun *run, int half, int row, int rows, BrReal *slope)
{
	const BrTrainBottleneck *bottleneck = run->model->bottleneck;
	const BrTrainDense *down = &bottleneck->down[2 * run->layer + half];
	const BrTrainDense *up = &bottleneck->up[2 * run->layer + half];
	const BrReal *parameters = bottleneck->delta.set.parameters;
	const BrTrainAdaptedSlopes *slopes = &run->slopes.adapted[half];
	size_t hidden = (size_t) run->shape->hidden;
	size_t at = (size_t) row * hidden;
	size_t narrow = (size_t) row * (size_t) bottleneck->size;

	memcpy(slopes->output + at, slope, (size_t) rows * hidden * sizeof(BrReal));
	br_train_dense_input(run->backend, up, parameters, slope, rows, 0, slopes->inner + narrow);
	br_train_activate_slope(run->backend, run->tape->adapted[half].inner + narrow,
							(size_t) rows * (size_t) bottleneck->size, run->shape->activation,
							slopes->inner + narrow);
	br_train_dense_input(run->backend, down, parameters, slopes->inner + narrow, rows, 1, slope);
}

void
br_train_adapt_weights(const BrTrainRun *run, int number)
{
	const BrTrainBottleneck *bottleneck = run->model->bottleneck;

	for (int half = 0; half < 2; half++)
	{
		const BrTrainDense *down = &bottleneck->down[2 * run->layer + half];
		const BrTrainDense *up = &bottleneck->up[2 * run->layer + half];
		const BrTrainAdapted *adapted = &run->tape->adapted[half];
		const BrTrainAdaptedSlopes *slopes = &run->slopes.adapted[half];

		br_train_dense_weight(run->backend, down, adapted->input, slopes->inner, run->tokens,
							  br_train_part(run, down->out_dim, number),
							  br_train_part(run, down->out_dim, number + 1),
							  bottleneck->delta.slopes);
		br_train_dense_weight(run->backend, up, adapted->active, slopes->output, run->tokens,
							  br_train_part(run, up->out_dim, number),
							  br_train_part(run, up->out_dim, number + 1),
							  bottleneck->delta.slopes);
	}
}

/* ---- the set ---- */

static BrTrainDense
place_dense(BrTrainDelta *delta, size_t beside, const char *part, int in_dim, int out_dim)
{
	size_t weight = br_train_delta_add(delta, beside, part, out_dim, in_dim);

	return (BrTrainDense){weight, br_train_delta_add(delta, beside, part, out_dim, 0), true, in_dim,
						  out_dim};
}

static void
place_layers(BrTrainBottleneck *bottleneck)
{
	BrTrainDelta *delta = &bottleneck->delta;
	const BrModelShape *shape = &delta->model->shape;

	for (int layer = 0; layer < shape->layers; layer++)
	{
		BrTrainLayer places = br_train_layer(shape, layer);
		const BrTrainDense *behind[] = {&places.output, &places.down};

		for (int half = 0; half < 2; half++)
		{
			int i = 2 * layer + half;
			size_t beside = behind[half]->weight;

			bottleneck->down[i] =
				place_dense(delta, beside, "adapter_down", shape->hidden, bottleneck->size);
			bottleneck->up[i] =
				place_dense(delta, beside, "adapter_up", bottleneck->size, shape->hidden);
		}
		br_train_delta_lend(delta, places.attention_norm.gain);
		br_train_delta_lend(delta, places.attention_norm.bias);
		br_train_delta_lend(delta, places.layer_norm.gain);
		br_train_delta_lend(delta, places.layer_norm.bias);
	}
	br_train_delta_lend_head(delta);
}

/* Draws what is too far out again. */
static void
draw_layers(BrTrainBottleneck *bottleneck, uint64_t seed)
{
	const BrTrainSet *set = &bottleneck->delta.set;

	for (int i = 0; i < 4 * bottleneck->delta.model->shape.layers; i++)
	{
		const BrTrainDense *dense = i % 2 == 0 ? &bottleneck->down[i / 2] : &bottleneck->up[i / 2];
		BrReal *weights = set->parameters + dense->weight;
		BrRandom random;

		br_base_random_init(&random, seed, (uint64_t) i);
		for (size_t j = 0; j < (size_t) dense->in_dim * (size_t) dense->out_dim; j++)
		{
			double draw = br_math_normal(&random);

			while (fabs(draw) > MOST_DEVIATIONS)
				draw = br_math_normal(&random);
			weights[j] = (BrReal) (DEVIATION * draw);
		}
	}
}

static BrStatus
open_bottleneck(BrTrainBottleneck *bottleneck, BrContext *context, BrTrainModel *model)
{
	int layers = model->shape.layers;
	BrStatus status = br_train_delta_open(&bottleneck->delta, context, model,
										  TENSORS_OF_LAYER * layers + model->n_tensors);

	if (status != BR_OK)
		return status;
	bottleneck->down = br_base_alloc_array(context, 2 * (size_t) layers, sizeof(BrTrainDense));
	bottleneck->up = br_base_alloc_array(context, 2 * (size_t) layers, sizeof(BrTrainDense));
	if (bottleneck->down == NULL || bottleneck->up == NULL)
		return BR_ERR_MEMORY;
	place_layers(bottleneck);
	return br_train_delta_fill(&bottleneck->delta);
}

static void
free_bottleneck(BrContext *context, BrTrainBottleneck *bottleneck)
{
	br_base_free(context, bottleneck->down);
	br_base_free(context, bottleneck->up);
	br_train_delta_close(&bottleneck->delta);
	br_base_free(context, bottleneck);
}

BrStatus
br_train_bottleneck_create(BrContext *context, BrTrainModel *model,
						   const BrTrainBottleneckOptions *options, BrTrainBottleneck **bottleneck)
{
	BrTrainBottleneck *created;
	BrStatus status;

	*bottleneck = NULL;
	if (options->size < 1 || options->size > model->shape.hidden)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Size %d; the model takes 1 to %d.",
							options->size, model->shape.hidden);
	created = br_base_alloc_array(context, 1, sizeof(BrTrainBottleneck));
	if (created == NULL)
		return BR_ERR_MEMORY;
	created->delta.context = context;
	created->size = options->size;
	status = open_bottleneck(created, context, model);
	if (status != BR_OK)
	{
		free_bottleneck(context, created);
		return status;
	}
	draw_layers(created, options->seed);
	model->delta = &created->delta;
	model->bottleneck = created;
	*bottleneck = created;
	return BR_OK;
}

void
br_train_bottleneck_destroy(BrTrainBottleneck *bottleneck)
{
	if (bottleneck == NULL)
		return;
	bottleneck->delta.model->delta = NULL;
	bottleneck->delta.model->bottleneck = NULL;
	free_bottleneck(bottleneck->delta.context, bottleneck);
}

BrTrainSet
br_train_bottleneck_set(BrTrainBottleneck *bottleneck)
{
	return bottleneck->delta.set;
}

void
br_train_bottleneck_pull(BrTrainBottleneck *bottleneck)
{
	br_train_delta_pull(&bottleneck->delta);
}

void
br_train_bottleneck_push(BrTrainBottleneck *bottleneck)
{
	br_train_delta_push(&bottleneck->delta);
}
