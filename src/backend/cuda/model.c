/*
 * model.c
 *	  A model on the device: matrices and tables in half precision, norms and
 *	  what follows pooling in float, all in one piece of memory.
 *
 * The description is gone through twice by the same function. The first time
 * nothing is copied: it adds up how much memory is needed, and looks at every
 * weight, so that one which half precision cannot hold is refused before the
 * device has heard of the model. The second time each matrix passes through
 * the device's work memory as floats and is rounded there.
 */
#include <math.h>
#include <string.h>

#include "backend/cuda/device.h"

/* Floats that go to the device at a time. */
#define PIECE ((size_t) 4 * 1024 * 1024)

/* The largest that rounds to a finite half. */
#define HALF_LIMIT 65519.0f

typedef struct Loader
{
	BrDevice *device;
	BrContext *context;
	BrCutter cutter; /* base NULL: the first time */
	BrStatus status;
} Loader;

static void
check_weights(Loader *loader, const float *weights, size_t n)
{
	/* so written that NaN is found too */
	for (size_t i = 0; i < n; i++)
		if (!(fabsf(weights[i]) <= HALF_LIMIT))
		{
			loader->status =
				br_base_fail(loader->context, BR_ERR_UNSUPPORTED,
							 "The model has a weight of %g; half precision ends at 65504.",
							 (double) weights[i]);
			return;
		}
}

static void
copy_halves(Loader *loader, const float *weights, size_t n, BrHalf *place)
{
	BrDevice *device = loader->device;

	for (size_t i = 0; i < n && loader->status == BR_OK; i += PIECE)
	{
		size_t count = n - i < PIECE ? n - i : PIECE;

		loader->status = br_cuda_upload(loader->context, device->stream, device->work.memory,
										weights + i, count * sizeof(float));
		if (loader->status == BR_OK)
			br_cuda_to_half(device->stream, device->work.memory, count, place + i);
	}
}

/* weights NULL: there are none. */
static const BrHalf *
halves(Loader *loader, const float *weights, size_t rows, size_t columns)
{
	size_t n = rows * columns;
	BrHalf *place;

	if (weights == NULL || loader->status != BR_OK)
		return NULL;
	place = br_cuda_cut(&loader->cutter, n, sizeof(BrHalf));
	if (place != NULL)
		copy_halves(loader, weights, n, place);
	else
		check_weights(loader, weights, n);
	return place;
}

static const float *
floats(Loader *loader, const float *weights, size_t rows, size_t columns)
{
	size_t n = rows * columns;
	float *place;

	if (weights == NULL || loader->status != BR_OK)
		return NULL;
	place = br_cuda_cut(&loader->cutter, n, sizeof(float));
	if (place != NULL)
		loader->status = br_cuda_upload(loader->context, loader->device->stream, place, weights,
										n * sizeof(float));
	return place;
}

static void
load_layer(Loader *loader, const BrTransformer *model, const BrTransformerLayer *from, BrLayer *to)
{
	size_t hidden = (size_t) model->hidden;
	size_t wide = (size_t) model->intermediate;

	to->qkv_weight = halves(loader, from->qkv_weight, 3 * hidden, hidden);
	to->qkv_bias = halves(loader, from->qkv_bias, 3, hidden);
	to->output_weight = halves(loader, from->output_weight, hidden, hidden);
	to->output_bias = halves(loader, from->output_bias, 1, hidden);
	to->attention_gain = floats(loader, from->attention_gain, 1, hidden);
	to->attention_bias = floats(loader, from->attention_bias, 1, hidden);
	to->up_weight = halves(loader, from->up_weight, wide, hidden);
	to->up_bias = halves(loader, from->up_bias, 1, wide);
	to->down_weight = halves(loader, from->down_weight, hidden, wide);
	to->down_bias = halves(loader, from->down_bias, 1, hidden);
	to->layer_gain = floats(loader, from->layer_gain, 1, hidden);
	to->layer_bias = floats(loader, from->layer_bias, 1, hidden);
}

static void
load_step(Loader *loader, const BrTransformerStep *from, BrStep *to)
{
	size_t in_dim = (size_t) from->in_dim;
	size_t out_dim = (size_t) from->out_dim;

	to->normalize = from->normalize;
	to->in_dim = from->in_dim;
	to->out_dim = from->out_dim;
	to->activation = from->activation;
	if (from->normalize)
		return;
	to->weight = floats(loader, from->weight, out_dim, in_dim);
	to->bias = floats(loader, from->bias, 1, out_dim);
}

static void
load_all(Loader *loader, const BrTransformer *model, BrDeviceModel *to)
{
	size_t hidden = (size_t) model->hidden;

	to->word = halves(loader, model->word, (size_t) model->vocabulary, hidden);
	to->position = halves(loader, model->position, (size_t) model->positions, hidden);
	to->type_row = halves(loader, model->type_row, 1, hidden);
	to->gain = floats(loader, model->gain, 1, hidden);
	to->bias = floats(loader, model->bias, 1, hidden);
	to->relative =
		floats(loader, model->relative, (size_t) model->heads, 2 * (size_t) model->max_tokens - 1);
	for (int i = 0; i < model->layers; i++)
		load_layer(loader, model, &model->layer[i], &to->layers[i]);
	for (int i = 0; i < model->n_steps; i++)
		load_step(loader, &model->steps[i], &to->steps[i]);
}

/* Whether each step takes what the one before it gives; *widest of them all. */
static BrStatus
check_steps(BrContext *context, const BrTransformer *model, int *widest)
{
	int width = model->hidden;

	*widest = width;
	for (int i = 0; i < model->n_steps; i++)
	{
		const BrTransformerStep *step = &model->steps[i];

		if (step->normalize)
			continue;
		if (step->in_dim != width || step->out_dim < 1 || step->weight == NULL)
			return br_base_fail(context, BR_ERR_ARGUMENT, "Step %d takes %d numbers, not %d.", i,
								step->in_dim, width);
		width = step->out_dim;
		*widest = width > *widest ? width : *widest;
	}
	if (width != model->dimensions)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The steps give %d dimensions; the model says %d.", width,
							model->dimensions);
	return BR_OK;
}

BrStatus
br_cuda_check_shape(BrContext *context, const BrTransformer *model, int *widest)
{
	if (model->hidden < 1 || model->layers < 0 || model->heads < 1 || model->intermediate < 1 ||
		model->vocabulary < 1 || model->max_tokens < 1 || model->first_position < 0 ||
		model->positions < model->first_position + model->max_tokens)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The model's shape is not one.");
	if (model->hidden % model->heads != 0 || model->hidden / model->heads > BR_CUDA_HEAD_LIMIT)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"The device takes heads of up to %d dimensions; %d heads of %d "
							"dimensions are not.",
							BR_CUDA_HEAD_LIMIT, model->heads, model->hidden);
	return check_steps(context, model, widest);
}

static void
forget(BrDeviceModel *model)
{
	BrAllocator allocator = model->allocator;

	br_cuda_release(model->memory);
	allocator.free(allocator.arg, model->layers);
	allocator.free(allocator.arg, model->steps);
	allocator.free(allocator.arg, model);
}

static BrDeviceModel *
make_room(BrContext *context, const BrTransformer *model)
{
	BrDeviceModel *made = br_base_alloc_array(context, 1, sizeof(BrDeviceModel));

	if (made == NULL)
		return NULL;
	made->allocator = context->allocator;
	made->layers = br_base_alloc_array(context, (size_t) model->layers + 1, sizeof(BrLayer));
	made->steps = br_base_alloc_array(context, (size_t) model->n_steps + 1, sizeof(BrStep));
	if (made->layers == NULL || made->steps == NULL)
	{
		forget(made);
		return NULL;
	}
	made->shape = *model;
	made->shape.word = NULL;
	made->shape.position = NULL;
	made->shape.type_row = NULL;
	made->shape.gain = NULL;
	made->shape.bias = NULL;
	made->shape.relative = NULL;
	made->shape.layer = NULL;
	made->shape.steps = NULL;
	return made;
}

BrStatus
br_cuda_load(BrDevice *device, BrContext *context, const BrTransformer *model,
			 BrDeviceModel **loaded)
{
	Loader loader = {device, context, {NULL, 0}, BR_OK};
	BrDeviceModel *made;
	int widest = 0;

	*loaded = NULL;
	loader.status = br_cuda_check_shape(context, model, &widest);
	if (loader.status != BR_OK)
		return loader.status;
	made = make_room(context, model);
	if (made == NULL)
		return BR_ERR_MEMORY;
	made->widest = widest;
	load_all(&loader, model, made);
	made->bytes = loader.cutter.used;
	if (loader.status == BR_OK)
		loader.status = br_cuda_reserve(context, &device->work, PIECE * sizeof(float));
	if (loader.status == BR_OK)
		loader.status = br_cuda_allocate(context, made->bytes, &made->memory);
	if (loader.status == BR_OK)
	{
		loader.cutter = (BrCutter){made->memory, 0};
		load_all(&loader, model, made);
		if (loader.status == BR_OK)
			loader.status = br_cuda_wait(context, device->stream);
	}
	if (loader.status != BR_OK)
	{
		forget(made);
		return loader.status;
	}
	made->next = device->models;
	device->models = made;
	*loaded = made;
	return BR_OK;
}

void
br_cuda_unload(BrDevice *device, BrDeviceModel *loaded)
{
	BrDeviceModel **place = &device->models;

	if (loaded == NULL)
		return;
	while (*place != NULL && *place != loaded)
		place = &(*place)->next;
	if (*place == NULL)
		return;
	*place = loaded->next;
	forget(loaded);
}
