/*
 * structure.c
 *	  A model with some of its layers, heads and neurons.
 *
 * Which stay is a list for each; what they read and what reads them is copied
 * into the places that the smaller shape has for it. Lists are in order, so that
 * a model that keeps everything is the same one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/compress/br_compress.h"

/* What stays of a model. */
typedef struct Selection
{
	BrModelShape from;
	BrModelShape to;
	int *layers;  /* (to.layers) */
	int *heads;	  /* (to.layers, to.heads) */
	int *neurons; /* (to.layers, to.intermediate) */
} Selection;

/* ---- choosing ---- */

typedef struct Ranked
{
	double importance;
	int number;
} Ranked;

static int
by_importance(const void *left, const void *right)
{
	const Ranked *a = left;
	const Ranked *b = right;

	if (a->importance != b->importance)
		return a->importance > b->importance ? -1 : 1;
	return a->number - b->number;
}

static int
by_number(const void *left, const void *right)
{
	return *(const int *) left - *(const int *) right;
}

/* The numbers of the k most important of n, in order. ranked: room for n. */
static void
choose(const double *importance, int n, int k, Ranked *ranked, int *chosen)
{
	for (int i = 0; i < n; i++)
		ranked[i] = (Ranked){importance[i], i};
	qsort(ranked, (size_t) n, sizeof(Ranked), by_importance);
	for (int i = 0; i < k; i++)
		chosen[i] = ranked[i].number;
	qsort(chosen, (size_t) k, sizeof(int), by_number);
}

/* The same of every layer; all alike: by the sum over layers. */
static BrStatus
choose_all(BrContext *context, const double *importance /* (layers, n) */, int layers, int n, int k,
		   bool all_alike, int *chosen /* (layers, k) */)
{
	Ranked *ranked = br_base_alloc_array(context, (size_t) n, sizeof(Ranked));
	double *sums = br_base_alloc_array(context, (size_t) n, sizeof(double));
	BrStatus status = ranked != NULL && sums != NULL ? BR_OK : BR_ERR_MEMORY;

	for (int i = 0; i < layers * n && status == BR_OK; i++)
	{
		if (isnan(importance[i]))
			status = br_base_fail(context, BR_ERR_ARGUMENT, "An importance is not a number.");
		sums[i % n] += importance[i];
	}
	for (int layer = 0; layer < layers && status == BR_OK; layer++)
		choose(all_alike ? sums : importance + (size_t) layer * (size_t) n, n, k, ranked,
			   chosen + (size_t) layer * (size_t) k);
	br_base_free(context, ranked);
	br_base_free(context, sums);
	return status;
}

static void
count_from_zero(int *numbers, int rows, int n)
{
	for (int i = 0; i < rows * n; i++)
		numbers[i] = i % n;
}

/* ---- copying ---- */

static const float *
layer_of(const BrModelShape *shape, const float *weights, int layer)
{
	return weights + shape->map.layer + (size_t) layer * shape->map.layer_stride;
}

/* Rows of a matrix that are blocks of so many rows, some of them. */
static void
copy_rows(const float *from, const int *blocks, int n, size_t rows, size_t columns, float *to)
{
	size_t size = rows * columns;

	for (int i = 0; i < n; i++)
		memcpy(to + (size_t) i * size, from + (size_t) blocks[i] * size, size * sizeof(float));
}

/* The same of columns: each row is copied as a matrix of its own. */
static void
copy_columns(const float *from, size_t from_columns, const int *blocks, int n, size_t width,
			 size_t rows, float *to)
{
	for (size_t row = 0; row < rows; row++)
		copy_rows(from + row * from_columns, blocks, n, width, 1, to + row * (size_t) n * width);
}

/* Query, key and value one after another, what reads attention, and both norms. */
static void
copy_attention(const Selection *selection, const int *heads, const float *from, float *to)
{
	const BrWeightMap *old = &selection->from.map;
	const BrWeightMap *new = &selection->to.map;
	size_t hidden = (size_t) selection->from.hidden;
	size_t head_dim = (size_t) (selection->from.attended / selection->from.heads);
	size_t before = (size_t) selection->from.attended;
	size_t after = (size_t) selection->to.attended;

	for (size_t third = 0; third < 3; third++)
	{
		copy_rows(from + old->qkv_weight + third * before * hidden, heads, selection->to.heads,
				  head_dim, hidden, to + new->qkv_weight + third *after *hidden);
		copy_rows(from + old->qkv_bias + third * before, heads, selection->to.heads, head_dim, 1,
				  to + new->qkv_bias + third *after);
	}
	copy_columns(from + old->output_weight, before, heads, selection->to.heads, head_dim, hidden,
				 to + new->output_weight);
	memcpy(to + new->output_bias, from + old->output_bias, hidden * sizeof(float));
	memcpy(to + new->attention_gain, from + old->attention_gain, hidden * sizeof(float));
	memcpy(to + new->attention_bias, from + old->attention_bias, hidden * sizeof(float));
}

static void
copy_neurons(const Selection *selection, const int *neurons, const float *from, float *to)
{
	const BrWeightMap *old = &selection->from.map;
	const BrWeightMap *new = &selection->to.map;
	size_t hidden = (size_t) selection->from.hidden;
	int n = selection->to.intermediate;

	copy_rows(from + old->up_weight, neurons, n, 1, hidden, to + new->up_weight);
	copy_rows(from + old->up_bias, neurons, n, 1, 1, to + new->up_bias);
	copy_columns(from + old->down_weight, (size_t) selection->from.intermediate, neurons, n, 1,
				 hidden, to + new->down_weight);
	memcpy(to + new->down_bias, from + old->down_bias, hidden * sizeof(float));
	memcpy(to + new->layer_gain, from + old->layer_gain, hidden * sizeof(float));
	memcpy(to + new->layer_bias, from + old->layer_bias, hidden * sizeof(float));
}

static void
copy_steps(const Selection *selection, const float *from, float *to)
{
	const BrWeightMap *old = &selection->from.map;
	const BrWeightMap *new = &selection->to.map;

	for (int i = 0; i < selection->from.n_steps; i++)
	{
		const BrImageStep *step = &selection->from.steps[i];

		if (step->kind != BR_STEP_DENSE)
			continue;
		memcpy(to + new->step_weight[i], from + old->step_weight[i],
			   (size_t) step->out_dim * step->in_dim * sizeof(float));
		if (step->has_bias)
			memcpy(to + new->step_bias[i], from + old->step_bias[i], step->out_dim * sizeof(float));
	}
}

static BrStatus
copy_weights(BrContext *context, const Selection *selection, const float *from, float *to)
{
	const BrModelShape *old = &selection->from;
	const BrModelShape *new = &selection->to;

	/* the tables stand in front, those of distances behind them */
	memcpy(to, from, old->map.relative * sizeof(float));
	if (old->relative)
		copy_columns(from + old->map.relative, (size_t) old->heads, selection->heads, new->heads, 1,
					 BR_RELATIVE_BUCKETS, to + new->map.relative);
	for (int layer = 0; layer < new->layers; layer++)
	{
		const float *source = layer_of(old, from, selection->layers[layer]);
		float *target = (float *) layer_of(new, to, layer);

		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Copying weights was cancelled.");
		copy_attention(selection, selection->heads + (size_t) layer * (size_t) new->heads, source,
					   target);
		copy_neurons(selection, selection->neurons + (size_t) layer * (size_t) new->intermediate,
					 source, target);
	}
	copy_steps(selection, from, to);
	return BR_OK;
}

/* ---- the whole ---- */

/* An image on its way to a smaller one. */
typedef struct Shrinking
{
	BrContext *context;
	const void *image;
	size_t image_size;
	BrEncoder *encoder;
	Selection selection;
} Shrinking;

static BrStatus
open_image(Shrinking *shrinking)
{
	BrStatus status = br_encoder_open(shrinking->context, shrinking->image, shrinking->image_size,
									  &shrinking->encoder);

	if (status == BR_OK)
		br_encoder_tell_shape(shrinking->encoder, &shrinking->selection.from);
	return status;
}

/* How many layers, heads and neurons stay. */
static BrStatus
plan_copy(Shrinking *shrinking, int layers, int heads, int neurons)
{
	BrContext *context = shrinking->context;
	Selection *selection = &shrinking->selection;
	const BrModelShape *to = &selection->to;
	BrStatus status =
		br_encoder_reshape(shrinking->encoder, context, layers, heads, neurons, &selection->to);

	if (status != BR_OK)
		return status;
	selection->layers = br_base_alloc_array(context, (size_t) to->layers, sizeof(int));
	selection->heads =
		br_base_alloc_array(context, (size_t) to->layers * (size_t) to->heads, sizeof(int));
	selection->neurons =
		br_base_alloc_array(context, (size_t) to->layers * (size_t) to->intermediate, sizeof(int));
	return selection->layers != NULL && selection->heads != NULL && selection->neurons != NULL
		? BR_OK
		: BR_ERR_MEMORY;
}

static BrStatus
write_copy(const Shrinking *shrinking, void **copy, size_t *copy_size)
{
	BrContext *context = shrinking->context;
	const Selection *selection = &shrinking->selection;
	float *weights = br_base_alloc_array(context, selection->to.map.total, sizeof(float));
	BrStatus status;

	if (weights == NULL)
		return BR_ERR_MEMORY;
	status = copy_weights(context, selection, br_encoder_weights(shrinking->encoder), weights);
	if (status == BR_OK)
		status = br_encoder_with_shape(context, shrinking->image, shrinking->image_size,
									   &selection->to, weights, copy, copy_size);
	br_base_free(context, weights);
	return status;
}

static void
end(Shrinking *shrinking)
{
	br_base_free(shrinking->context, shrinking->selection.layers);
	br_base_free(shrinking->context, shrinking->selection.heads);
	br_base_free(shrinking->context, shrinking->selection.neurons);
	br_encoder_close(shrinking->encoder);
}

BrStatus
br_compress_structure(BrContext *context, const void *image, size_t image_size, const double *heads,
					  const double *neurons, int heads_kept, int neurons_kept, void **copy,
					  size_t *copy_size)
{
	Shrinking shrinking = {.context = context, .image = image, .image_size = image_size};
	const Selection *selection = &shrinking.selection;
	const BrModelShape *from = &selection->from;
	BrStatus status = open_image(&shrinking);

	*copy = NULL;
	*copy_size = 0;
	if (status == BR_OK)
		status = plan_copy(&shrinking, from->layers, heads_kept, neurons_kept);
	if (status == BR_OK)
	{
		count_from_zero(selection->layers, 1, from->layers);
		status = choose_all(context, heads, from->layers, from->heads, heads_kept, from->relative,
							selection->heads);
	}
	if (status == BR_OK)
		status = choose_all(context, neurons, from->layers, from->intermediate, neurons_kept, false,
							selection->neurons);
	if (status == BR_OK)
		status = write_copy(&shrinking, copy, copy_size);
	end(&shrinking);
	return status;
}

BrStatus
br_compress_layers(BrContext *context, const void *image, size_t image_size, int layers,
				   void **copy, size_t *copy_size)
{
	Shrinking shrinking = {.context = context, .image = image, .image_size = image_size};
	const Selection *selection = &shrinking.selection;
	const BrModelShape *from = &selection->from;
	const BrModelShape *to = &selection->to;
	BrStatus status = open_image(&shrinking);

	*copy = NULL;
	*copy_size = 0;
	if (status == BR_OK)
		status = plan_copy(&shrinking, layers, from->heads, from->intermediate);
	if (status == BR_OK)
	{
		/* rounded to the nearest of those there are */
		for (int i = 1; i < layers; i++)
			selection->layers[i] = (2 * i * (from->layers - 1) + layers - 1) / (2 * (layers - 1));
		count_from_zero(selection->heads, to->layers, to->heads);
		count_from_zero(selection->neurons, to->layers, to->intermediate);
		status = write_copy(&shrinking, copy, copy_size);
	}
	end(&shrinking);
	return status;
}
