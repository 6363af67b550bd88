/*
 * model.c
 *	  A model whose weights change: parameters, their gradient, their names.
 *
 * Parameters stand as the encoder's weights do, so that a trained model goes
 * back into an image by one copy; a head's stand behind them.
 */
#include <stdio.h>

#include "core/math/br_math.h"
#include "core/train/train_int.h"

/* As BERT's own layers are initialised. */
#define HEAD_DEVIATION 0.02

static bool
head_possible(BrTrainHead head)
{
	return head.classes == 0 ||
		(head.classes >= 2 && head.inputs > 0 && head.classes <= INT32_MAX / head.inputs);
}

static int
count_tensors(const BrEncoder *encoder)
{
	BrModelTensor tensor;
	int n = 0;

	while (br_encoder_tensor(encoder, n, &tensor))
		n++;
	return n;
}

static void
name_all_tensors(BrTrainModel *model, const BrEncoder *encoder)
{
	BrModelTensor tensor;
	int n = 0;

	for (; br_encoder_tensor(encoder, n, &tensor); n++)
	{
		BrTrainTensor *own = &model->tensors[n];

		snprintf(own->name, sizeof(own->name), "%s", tensor.name);
		own->rows = tensor.rows;
		own->columns = tensor.columns;
		own->offset = tensor.offset;
		own->decays = tensor.kind == BR_TENSOR_MATRIX || tensor.kind == BR_TENSOR_TABLE;
	}
	if (model->head.classes == 0)
		return;
	model->tensors[n] = (BrTrainTensor){.name = "head.weight",
										.rows = model->head.classes,
										.columns = model->head.inputs,
										.offset = model->head_dense.weight,
										.decays = true};
	model->tensors[n + 1] = (BrTrainTensor){.name = "head.bias",
											.rows = model->head.classes,
											.offset = model->head_dense.bias};
}

/* Copies the encoder's weights, into double where the room is compiled so, and draws the head's. */
static void
fill_parameters(BrTrainModel *model, const BrEncoder *encoder, uint64_t seed)
{
	const float *weights = br_encoder_weights(encoder);
	BrRandom random;

	for (size_t i = 0; i < model->shape.map.total; i++)
		model->parameters[i] = weights[i];
	br_base_random_init(&random, seed, 0);
	for (size_t i = model->head_dense.weight; i < model->head_dense.bias; i++)
		model->parameters[i] = (BrReal) (HEAD_DEVIATION * br_math_normal(&random));
}

BrStatus
br_train_open(BrContext *context, const BrEncoder *encoder, BrTrainHead head, uint64_t seed,
			  BrTrainModel **model)
{
	BrTrainModel *opened;

	*model = NULL;
	if (!head_possible(head))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A head cannot have %d classes of %d inputs; it has at least 2 of 1.",
							head.classes, head.inputs);
	opened = br_base_alloc_array(context, 1, sizeof(BrTrainModel));
	if (opened == NULL)
		return BR_ERR_MEMORY;
	opened->allocator = context->allocator;
	opened->head = head;
	br_encoder_tell_shape(encoder, &opened->shape);
	opened->n_tensors = count_tensors(encoder) + (head.classes > 0 ? 2 : 0);
	opened->n = opened->shape.map.total;
	if (head.classes > 0)
	{
		size_t weights = (size_t) head.classes * (size_t) head.inputs;

		opened->head_dense =
			(BrTrainDense){opened->n, opened->n + weights, true, head.inputs, head.classes};
		opened->n += weights + (size_t) head.classes;
	}
	opened->tensors =
		br_base_alloc_array(context, (size_t) opened->n_tensors, sizeof(BrTrainTensor));
	opened->parameters = br_base_alloc_array(context, opened->n, sizeof(BrReal));
	opened->gradient = br_base_alloc_array(context, opened->n, sizeof(BrReal));
	if (opened->tensors == NULL || opened->parameters == NULL || opened->gradient == NULL)
	{
		br_train_close(opened);
		return BR_ERR_MEMORY;
	}
	name_all_tensors(opened, encoder);
	fill_parameters(opened, encoder, seed);
	*model = opened;
	return BR_OK;
}

void
br_train_close(BrTrainModel *model)
{
	BrAllocator allocator;

	if (model == NULL)
		return;
	allocator = model->allocator;
	allocator.free(allocator.arg, model->tensors);
	allocator.free(allocator.arg, model->parameters);
	allocator.free(allocator.arg, model->gradient);
	allocator.free(allocator.arg, model);
}

const BrModelShape *
br_train_shape(const BrTrainModel *model)
{
	return &model->shape;
}

BrTrainHead
br_train_head(const BrTrainModel *model)
{
	return model->head;
}

int
br_train_dimensions(const BrTrainModel *model)
{
	const BrModelShape *shape = &model->shape;

	return shape->n_steps > 0 ? (int) shape->steps[shape->n_steps - 1].out_dim : shape->hidden;
}

const BrTrainTensor *
br_train_tensors(const BrTrainModel *model, int *n)
{
	*n = model->n_tensors;
	return model->tensors;
}

size_t
br_train_count(const BrTrainModel *model)
{
	return model->n;
}

BrReal *
br_train_parameters(BrTrainModel *model)
{
	return model->parameters;
}

BrReal *
br_train_gradient(BrTrainModel *model)
{
	return model->gradient;
}

void
br_train_zero_gradient(BrTrainModel *model)
{
	memset(model->gradient, 0, model->n * sizeof(BrReal));
}

BrTrainLayer
br_train_layer(const BrModelShape *shape, int number)
{
	const BrWeightMap *map = &shape->map;
	size_t at = map->layer + (size_t) number * map->layer_stride;
	int hidden = shape->hidden;
	int intermediate = shape->intermediate;

	return (BrTrainLayer){
		.qkv = {at + map->qkv_weight, at + map->qkv_bias, true, hidden, 3 * hidden},
		.output = {at + map->output_weight, at + map->output_bias, true, hidden, hidden},
		.up = {at + map->up_weight, at + map->up_bias, true, hidden, intermediate},
		.down = {at + map->down_weight, at + map->down_bias, true, intermediate, hidden},
		.attention_norm = {at + map->attention_gain, at + map->attention_bias},
		.layer_norm = {at + map->layer_gain, at + map->layer_bias},
	};
}

BrTrainDense
br_train_step_dense(const BrModelShape *shape, int number)
{
	const BrImageStep *step = &shape->steps[number];

	return (BrTrainDense){shape->map.step_weight[number], shape->map.step_bias[number],
						  step->has_bias != 0, (int) step->in_dim, (int) step->out_dim};
}

BrStatus
br_train_check_batch(BrContext *context, const BrModelShape *shape, const BrTrainBatch *batch)
{
	if (batch->texts < 1 || batch->offsets[0] != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A batch of %d texts that begins at token %d; it takes at least one, and begins at 0.",
							batch->texts, batch->texts < 1 ? 0 : batch->offsets[0]);
	for (int i = 0; i < batch->texts; i++)
	{
		int64_t length = (int64_t) batch->offsets[i + 1] - batch->offsets[i];

		if (length < 1 || length > shape->max_tokens)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Text %d has %lld tokens; the model takes 1 to %d.", i,
								(long long) length, shape->max_tokens);
		for (int32_t j = batch->offsets[i]; j < batch->offsets[i + 1]; j++)
			if (batch->ids[j] < 0 || batch->ids[j] >= shape->vocabulary)
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"Text %d has the token id %d; the model has 0 to %d.", i,
									batch->ids[j], shape->vocabulary - 1);
	}
	return BR_OK;
}
