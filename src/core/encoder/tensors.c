/*
 * tensors.c
 *	  A model as numbers: its shape, its tensors by name, a copy with others.
 *
 * Training works on one flat array of weights in the order of the image, so
 * that what it learned goes back by a copy. Names are for people and for
 * optimisers, which treat biases and norms in another way than matrices.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

/* Weight and bias of query, key, value, output, up and down; gain and bias of two norms. */
#define TENSORS_OF_LAYER 16

#define TENSORS_OF_STEP 2

void
br_encoder_tell_shape(const BrEncoder *encoder, BrModelShape *shape)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	const BrArchitecture *architecture = br_encoder_architecture(config->architecture);

	*shape = (BrModelShape){
		.hidden = (int) config->hidden,
		.layers = (int) config->layers,
		.heads = (int) config->heads,
		.attended = (int) br_encoder_attended(config),
		.intermediate = (int) config->intermediate,
		.vocabulary = (int) config->vocabulary,
		.positions = (int) config->positions,
		.first_position = (int) config->first_position,
		.max_tokens = (int) config->max_tokens,
		.activation = (BrActivation) config->activation,
		.epsilon = config->epsilon,
		.typed = architecture->type != NULL,
		.relative = architecture->relative != NULL,
		.pooling = (BrPooling) config->pooling,
		.n_steps = (int) config->n_steps,
		.map = *br_encoder_weight_map(encoder),
	};
	memcpy(shape->steps, config->steps, sizeof(shape->steps));
}

/* The tensor that is called prefix and name. */
static BrModelTensor
describe(const char *prefix, const char *name, BrTensorKind kind, uint32_t rows, uint32_t columns,
		 size_t offset)
{
	BrModelTensor tensor = {.kind = kind,
							.rows = (int) rows,
							.columns = (int) columns,
							.offset = offset};

	snprintf(tensor.name, sizeof(tensor.name), "%s%s", prefix, name);
	return tensor;
}

/* Weight (part 0) or bias (part 1). */
static BrModelTensor
describe_linear(const char *prefix, const char *name, uint32_t out_dim, uint32_t in_dim,
				size_t weight, size_t bias, int part)
{
	BrModelTensor tensor = part == 0
		? describe(prefix, name, BR_TENSOR_MATRIX, out_dim, in_dim, weight)
		: describe(prefix, name, BR_TENSOR_BIAS, out_dim, 0, bias);
	size_t length = strlen(tensor.name);

	snprintf(tensor.name + length, sizeof(tensor.name) - length, part == 0 ? ".weight" : ".bias");
	return tensor;
}

static BrModelTensor
describe_norm(const char *prefix, const char *name, uint32_t hidden, size_t gain, size_t bias,
			  int part)
{
	BrModelTensor tensor = describe_linear(prefix, name, hidden, 0, gain, bias, part);

	tensor.kind = BR_TENSOR_NORM;
	return tensor;
}

static BrModelTensor
describe_of_layer(const BrEncoder *encoder, uint32_t layer, int number)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	const BrArchitecture *names = br_encoder_architecture(config->architecture);
	const BrWeightMap *map = br_encoder_weight_map(encoder);
	const char *third[3] = {names->query, names->key, names->value};
	uint32_t hidden = config->hidden;
	uint32_t attended = br_encoder_attended(config);
	size_t at = map->layer + layer * map->layer_stride;
	size_t which = (size_t) number / 2;
	int part = number % 2;
	char prefix[BR_TENSOR_NAME_SIZE / 2];

	snprintf(prefix, sizeof(prefix), "%s.%u.", names->layer, layer);
	switch (which)
	{
		case 0:
		case 1:
		case 2:
			return describe_linear(prefix, third[which], attended, hidden,
								   at + map->qkv_weight + which * attended * hidden,
								   at + map->qkv_bias + which * attended, part);
		case 3:
			return describe_linear(prefix, names->output, hidden, attended, at + map->output_weight,
								   at + map->output_bias, part);
		case 4:
			return describe_norm(prefix, names->attention_norm, hidden, at + map->attention_gain,
								 at + map->attention_bias, part);
		case 5:
			return describe_linear(prefix, names->up, config->intermediate, hidden,
								   at + map->up_weight, at + map->up_bias, part);
		case 6:
			return describe_linear(prefix, names->down, hidden, config->intermediate,
								   at + map->down_weight, at + map->down_bias, part);
		default:
			return describe_norm(prefix, names->layer_norm, hidden, at + map->layer_gain,
								 at + map->layer_bias, part);
	}
}

/* Part 0 or 1 of a step; false: it has none. */
static bool
describe_of_step(const BrEncoder *encoder, uint32_t number, int part, BrModelTensor *tensor)
{
	const BrImageStep *step = &br_encoder_config(encoder)->steps[number];
	const BrWeightMap *map = br_encoder_weight_map(encoder);
	char prefix[BR_TENSOR_NAME_SIZE / 2];

	if (step->kind != BR_STEP_DENSE || (part == 1 && !step->has_bias))
		return false;
	snprintf(prefix, sizeof(prefix), "steps.%u.", number);
	*tensor = describe_linear(prefix, "linear", step->out_dim, step->in_dim,
							  map->step_weight[number], map->step_bias[number], part);
	return true;
}

/* What stands before the layers; the number of them, or, where *number is below it, that one. */
static int
describe_embeddings(const BrEncoder *encoder, int number, BrModelTensor *tensor)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	const BrArchitecture *names = br_encoder_architecture(config->architecture);
	const BrWeightMap *map = br_encoder_weight_map(encoder);
	uint32_t hidden = config->hidden;
	BrModelTensor all[6];
	int n = 0;

	all[n++] = describe("", names->word, BR_TENSOR_TABLE, config->vocabulary, hidden, map->word);
	all[n++] =
		describe("", names->position, BR_TENSOR_TABLE, config->positions, hidden, map->position);
	if (names->type != NULL)
		all[n++] = describe("", names->type, BR_TENSOR_TABLE, 1, hidden, map->type_row);
	all[n++] = describe_norm("", names->norm, hidden, map->gain, map->bias, 0);
	all[n++] = describe_norm("", names->norm, hidden, map->gain, map->bias, 1);
	if (names->relative != NULL)
		all[n++] = describe("", names->relative, BR_TENSOR_TABLE, BR_RELATIVE_BUCKETS,
							config->heads, map->relative);
	if (number < n)
		*tensor = all[number];
	return n;
}

bool
br_encoder_tensor(const BrEncoder *encoder, int number, BrModelTensor *tensor)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	int rest = number - describe_embeddings(encoder, number, tensor);

	if (rest < 0)
		return true;
	if (rest < (int) config->layers * TENSORS_OF_LAYER)
	{
		*tensor = describe_of_layer(encoder, (uint32_t) (rest / TENSORS_OF_LAYER),
									rest % TENSORS_OF_LAYER);
		return true;
	}
	rest -= (int) config->layers * TENSORS_OF_LAYER;
	for (uint32_t i = 0; i < config->n_steps * TENSORS_OF_STEP; i++)
		if (describe_of_step(encoder, i / TENSORS_OF_STEP, (int) i % TENSORS_OF_STEP, tensor) &&
			rest-- == 0)
			return true;
	return false;
}

BrStatus
br_encoder_put_weights(BrContext *context, void *image, const float *weights)
{
	const BrImageSpan *span = &((const BrImageHeader *) image)->parts[BR_PART_WEIGHTS];
	size_t n = (size_t) span->size / sizeof(float);

	for (size_t i = 0; i < n; i++)
		if (!isfinite(weights[i]))
			return br_base_fail(context, BR_ERR_NUMERIC, "Weight %zu of %zu is not finite.", i, n);
	memcpy((char *) image + span->offset, weights, n * sizeof(float));
	return BR_OK;
}

BrStatus
br_encoder_with_weights(BrContext *context, const void *image, size_t image_size,
						const float *weights, void **copy)
{
	BrStatus status = br_encoder_check_image(context, image, image_size);

	*copy = NULL;
	if (status != BR_OK)
		return status;
	*copy = br_base_alloc(context, image_size);
	if (*copy == NULL)
		return BR_ERR_MEMORY;
	memcpy(*copy, image, image_size);
	status = br_encoder_put_weights(context, *copy, weights);
	if (status != BR_OK)
	{
		br_base_free(context, *copy);
		*copy = NULL;
	}
	return status;
}
