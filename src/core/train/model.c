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
add_tensor(BrTrainModel *model, int number, const char *name, int rows, int columns, size_t offset,
		   bool decays)
{
	BrTrainTensor *tensor = &model->tensors[number];

	snprintf(tensor->name, sizeof(tensor->name), "%s", name);
	tensor->rows = rows;
	tensor->columns = columns;
	tensor->offset = offset;
	tensor->decays = decays;
}

static void
name_all_tensors(BrTrainModel *model, const BrEncoder *encoder)
{
	BrModelTensor tensor;
	int n = 0;

	for (; br_encoder_tensor(encoder, n, &tensor); n++)
		add_tensor(model, n, tensor.name, tensor.rows, tensor.columns, tensor.offset,
				   tensor.kind == BR_TENSOR_MATRIX || tensor.kind == BR_TENSOR_TABLE);
	if (model->head.classes > 0)
	{
		add_tensor(model, n++, "head.weight", model->head.classes, model->head.inputs,
				   model->head_dense.weight, true);
		add_tensor(model, n++, "head.bias", model->head.classes, 0, model->head_dense.bias, false);
	}
	if (model->head.words)
	{
		int hidden = model->shape.hidden;

		add_tensor(model, n++, "words.dense.weight", hidden, hidden, model->words_dense.weight,
				   true);
		add_tensor(model, n++, "words.dense.bias", hidden, 0, model->words_dense.bias, false);
		add_tensor(model, n++, "words.norm.weight", hidden, 0, model->words_norm.gain, false);
		add_tensor(model, n++, "words.norm.bias", hidden, 0, model->words_norm.bias, false);
		add_tensor(model, n++, "words.bias", model->shape.vocabulary, 0, model->words_bias, false);
	}
}

static void
draw_weights(BrTrainModel *model, BrRandom *random, const BrTrainDense *dense)
{
	for (size_t i = 0; i < (size_t) dense->in_dim * (size_t) dense->out_dim; i++)
		model->parameters[dense->weight + i] = (BrReal) (HEAD_DEVIATION * br_math_normal(random));
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
	draw_weights(model, &random, &model->head_dense);
	br_base_random_init(&random, seed, 1);
	draw_weights(model, &random, &model->words_dense);
	for (int i = 0; model->head.words && i < model->shape.hidden; i++)
		model->parameters[model->words_norm.gain + (size_t) i] = 1;
}

/* Takes n parameters behind those that are there; returns where. */
static size_t
take_parameters(BrTrainModel *model, size_t n)
{
	size_t at = model->n;

	model->n += n;
	return at;
}

static BrTrainDense
take_dense(BrTrainModel *model, int in_dim, int out_dim)
{
	size_t weight = take_parameters(model, (size_t) in_dim * (size_t) out_dim);

	return (BrTrainDense){weight, take_parameters(model, (size_t) out_dim), true, in_dim, out_dim};
}

/* Places of the encoder's parameters, then of the head's. */
static void
place_parameters(BrTrainModel *model)
{
	int hidden = model->shape.hidden;

	model->n = model->shape.map.total;
	if (model->head.classes > 0)
		model->head_dense = take_dense(model, model->head.inputs, model->head.classes);
	if (model->head.words)
	{
		model->words_dense = take_dense(model, hidden, hidden);
		model->words_norm.gain = take_parameters(model, (size_t) hidden);
		model->words_norm.bias = take_parameters(model, (size_t) hidden);
		model->words_bias = take_parameters(model, (size_t) model->shape.vocabulary);
	}
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
	if (br_encoder_addition(encoder).kind != BR_ADDITION_NONE)
		return br_base_fail(
			context, BR_ERR_UNSUPPORTED,
			"The model has an addition of an earlier training; train the model that it was added to.");
	opened = br_base_alloc_array(context, 1, sizeof(BrTrainModel));
	if (opened == NULL)
		return BR_ERR_MEMORY;
	opened->allocator = context->allocator;
	opened->head = head;
	br_encoder_tell_shape(encoder, &opened->shape);
	opened->n_tensors = count_tensors(encoder) + (head.classes > 0 ? 2 : 0) + (head.words ? 5 : 0);
	place_parameters(opened);
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
	if (model->delta != NULL)
		memset(model->delta->slopes, 0, model->delta->set.n * sizeof(BrReal));
	if (model->prefix != NULL)
		br_train_prefix_forget(model);
}

BrTrainSet
br_train_set(BrTrainModel *model)
{
	return (BrTrainSet){model->parameters, model->gradient, model->n, model->tensors,
						model->n_tensors};
}

BrTrainLayer
br_train_layer(const BrModelShape *shape, int number)
{
	const BrWeightMap *map = &shape->map;
	size_t at = map->layer + (size_t) number * map->layer_stride;
	int hidden = shape->hidden;
	int attended = shape->attended;
	int intermediate = shape->intermediate;

	return (BrTrainLayer){
		.qkv = {at + map->qkv_weight, at + map->qkv_bias, true, hidden, 3 * attended},
		.output = {at + map->output_weight, at + map->output_bias, true, attended, hidden},
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
	if (!(br_train_weight(batch) > 0) || !isfinite(br_train_weight(batch)))
		return br_base_fail(context, BR_ERR_ARGUMENT, "A batch's weight, %g, is not above 0.",
							br_train_weight(batch));
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
