/*
 * training_shape.c
 *	  A model as numbers: where its tensors stand among the parameters.
 *
 * The payload has words of eight bytes: six tables, twelve tensors of each layer,
 * six numbers of each step, and then, as int32_t, the bucket of each distance. A
 * tensor is its place, one that is not there NOWHERE. Whether tensors of their sizes
 * are inside the parameters the device checks.
 */
#include <string.h>

#include "core/serve/training_int.h"

#define NOWHERE UINT64_MAX
#define OF_MODEL 6
#define OF_LAYER 12
#define OF_STEP 6

static uint64_t
place_of(const BrDeviceTrainable *trainable, const float *tensor)
{
	return tensor == NULL ? NOWHERE : (uint64_t) (tensor - trainable->parameters);
}

static size_t
words_of(int layers, int steps)
{
	return OF_MODEL + OF_LAYER * (size_t) layers + OF_STEP * (size_t) steps;
}

static size_t
distances_of(int max_tokens)
{
	return 2 * (size_t) max_tokens - 1;
}

static size_t
bytes_of(int layers, int steps, int max_tokens, bool relative)
{
	return words_of(layers, steps) * sizeof(uint64_t) +
		(relative ? distances_of(max_tokens) * sizeof(int32_t) : 0);
}

/* The tensors of a layer in one order. */
static void
list_layer(const BrTransformerLayer *layer, const float **tensors /* (OF_LAYER) */)
{
	const float *all[OF_LAYER] = {layer->qkv_weight,  layer->qkv_bias,		 layer->output_weight,
								  layer->output_bias, layer->attention_gain, layer->attention_bias,
								  layer->up_weight,	  layer->up_bias,		 layer->down_weight,
								  layer->down_bias,	  layer->layer_gain,	 layer->layer_bias};

	memcpy(tensors, all, sizeof(all));
}

static void
pack_words(const BrDeviceTrainable *trainable, uint64_t *words)
{
	const BrTransformer *model = trainable->model;
	const float *tables[OF_MODEL] = {model->word, model->position, model->type_row,
									 model->gain, model->bias,	   model->relative};

	for (int i = 0; i < OF_MODEL; i++)
		*words++ = place_of(trainable, tables[i]);
	for (int i = 0; i < model->layers; i++)
	{
		const float *tensors[OF_LAYER];

		list_layer(&model->layer[i], tensors);
		for (int j = 0; j < OF_LAYER; j++)
			*words++ = place_of(trainable, tensors[j]);
	}
	for (int i = 0; i < model->n_steps; i++)
	{
		const BrTransformerStep *step = &model->steps[i];

		*words++ = step->normalize;
		*words++ = (uint64_t) step->in_dim;
		*words++ = (uint64_t) step->out_dim;
		*words++ = (uint64_t) step->activation;
		*words++ = place_of(trainable, step->weight);
		*words++ = place_of(trainable, step->bias);
	}
}

BrStatus
br_serve_pack_model(BrContext *context, const BrDeviceTrainable *trainable,
					BrServeTraining *message, void *payload, size_t bytes)
{
	const BrTransformer *model = trainable->model;
	bool relative = model->relative != NULL;
	size_t needed = bytes_of(model->layers, model->n_steps, model->max_tokens, relative);

	if (needed > bytes || model->layers > BR_SERVE_MOST_LAYERS ||
		model->n_steps > BR_SERVE_MOST_STEPS)
		return br_base_fail(context, BR_ERR_LIMIT,
							"A model of %d layers and %d tokens is too large to be described.",
							model->layers, model->max_tokens);
	*message = (BrServeTraining){
		.kind = BR_SERVE_OPEN,
		.n = trainable->n,
		.hidden = model->hidden,
		.layers = model->layers,
		.heads = model->heads,
		.intermediate = model->intermediate,
		.vocabulary = model->vocabulary,
		.positions = model->positions,
		.max_tokens = model->max_tokens,
		.dimensions = model->dimensions,
		.first_position = model->first_position,
		.activation = (int32_t) model->activation,
		.pooling = (int32_t) model->pooling,
		.steps = model->n_steps,
		.buckets = trainable->buckets,
		.epsilon = model->epsilon,
	};
	pack_words(trainable, payload);
	if (relative)
		memcpy((uint64_t *) payload + words_of(model->layers, model->n_steps), trainable->bucket,
			   distances_of(model->max_tokens) * sizeof(int32_t));
	return BR_OK;
}

/* ---- back ---- */

/* Reads words; wrong: one of them cannot be. */
typedef struct Reader
{
	const uint64_t *next;
	const float *parameters;
	uint64_t n;
	bool wrong;
} Reader;

static const float *
read_tensor(Reader *reader)
{
	uint64_t place = *reader->next++;

	if (place == NOWHERE)
		return NULL;
	reader->wrong = reader->wrong || place >= reader->n;
	return reader->wrong ? NULL : reader->parameters + place;
}

/* One that must be there. */
static const float *
read_needed(Reader *reader)
{
	const float *tensor = read_tensor(reader);

	reader->wrong = reader->wrong || tensor == NULL;
	return tensor;
}

static int
read_number(Reader *reader, uint64_t most)
{
	uint64_t number = *reader->next++;

	reader->wrong = reader->wrong || number > most;
	return reader->wrong ? 0 : (int) number;
}

static BrTransformerLayer
read_layer(Reader *reader)
{
	const float *all[OF_LAYER];

	for (int i = 0; i < OF_LAYER; i++)
		all[i] = read_needed(reader);
	return (BrTransformerLayer){all[0], all[1], all[2], all[3], all[4],	 all[5],
								all[6], all[7], all[8], all[9], all[10], all[11]};
}

static BrTransformerStep
read_step(Reader *reader)
{
	BrTransformerStep step = {.normalize = read_number(reader, 1) != 0};

	step.in_dim = read_number(reader, INT32_MAX);
	step.out_dim = read_number(reader, INT32_MAX);
	step.activation = (BrActivation) read_number(reader, BR_ACTIVATION_RELU);
	step.weight = read_tensor(reader);
	step.bias = read_tensor(reader);
	/* a step that normalizes has no tensors, a dense one a weight */
	reader->wrong = reader->wrong || step.normalize != (step.weight == NULL);
	return step;
}

static bool
numbers_possible(const BrServeTraining *message)
{
	return message->n > 0 && message->n <= SIZE_MAX / sizeof(float) / 4 && message->hidden > 0 &&
		message->layers >= 0 && message->layers <= BR_SERVE_MOST_LAYERS && message->heads > 0 &&
		message->intermediate > 0 && message->vocabulary > 0 && message->positions > 0 &&
		message->max_tokens > 0 && message->dimensions > 0 && message->first_position >= 0 &&
		message->activation >= 0 && message->activation <= BR_ACTIVATION_RELU &&
		message->pooling >= 0 && message->pooling <= BR_POOLING_LAST && message->steps >= 0 &&
		message->steps <= BR_SERVE_MOST_STEPS;
}

/* Fills a model from the words; its arrays stand behind it. */
static void
read_model(Reader *reader, const BrServeTraining *message, BrServeModel *model)
{
	BrTransformerLayer *layers = (BrTransformerLayer *) (model + 1);
	BrTransformerStep *steps = (BrTransformerStep *) (layers + message->layers);
	BrTransformer *to = &model->transformer;

	*to = (BrTransformer){
		.hidden = message->hidden,
		.layers = message->layers,
		.heads = message->heads,
		.intermediate = message->intermediate,
		.vocabulary = message->vocabulary,
		.positions = message->positions,
		.max_tokens = message->max_tokens,
		.dimensions = message->dimensions,
		.first_position = message->first_position,
		.epsilon = message->epsilon,
		.activation = (BrActivation) message->activation,
		.pooling = (BrPooling) message->pooling,
		.layer = layers,
		.n_steps = message->steps,
		.steps = steps,
	};
	to->word = read_needed(reader);
	to->position = read_needed(reader);
	to->type_row = read_tensor(reader);
	to->gain = read_needed(reader);
	to->bias = read_needed(reader);
	to->relative = read_tensor(reader);
	for (int i = 0; i < message->layers; i++)
		layers[i] = read_layer(reader);
	for (int i = 0; i < message->steps; i++)
		steps[i] = read_step(reader);
}

/* The device copies what it needs of the buckets, which stay where they are till then. */
static BrStatus
read_buckets(BrContext *context, const BrServeTraining *message, const void *payload, size_t bytes,
			 BrServeModel *model)
{
	const uint64_t *words = payload;

	model->trainable = (BrDeviceTrainable){
		.model = &model->transformer,
		.n = message->n,
		.bucket = (const int32_t *) (words + words_of(message->layers, message->steps)),
		.buckets = message->buckets,
	};
	if (bytes_of(message->layers, message->steps, message->max_tokens,
				 model->transformer.relative != NULL) > bytes)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The distances of a model are cut off.");
	return BR_OK;
}

BrStatus
br_serve_unpack_model(BrContext *context, const BrServeTraining *message, const void *payload,
					  size_t bytes, const float *parameters, BrServeModel **model)
{
	Reader reader = {payload, parameters, message->n, false};
	BrServeModel *made;
	BrStatus status;

	*model = NULL;
	if (!numbers_possible(message) ||
		bytes_of(message->layers, message->steps, message->max_tokens, false) > bytes)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The model's shape is not one.");
	made =
		br_base_alloc(context,
					  sizeof(BrServeModel) + (size_t) message->layers * sizeof(BrTransformerLayer) +
						  (size_t) message->steps * sizeof(BrTransformerStep));
	if (made == NULL)
		return BR_ERR_MEMORY;
	read_model(&reader, message, made);
	status = reader.wrong
		? br_base_fail(context, BR_ERR_ARGUMENT, "A tensor of the model stands nowhere.")
		: read_buckets(context, message, payload, bytes, made);
	if (status != BR_OK)
	{
		br_base_free(context, made);
		return status;
	}
	made->trainable.parameters = parameters;
	*model = made;
	return BR_OK;
}
