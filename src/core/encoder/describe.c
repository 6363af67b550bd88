/*
 * describe.c
 *	  A model as devices see it (br_device.h).
 *
 * Everything is where the image has it but for distances between tokens: an
 * image keeps a row for each bucket of them, and a device gets the one of each
 * distance, so that it knows nothing of buckets.
 */
#include "core/encoder/encoder_int.h"

/* One block: the description, then what it points to. */
typedef struct Room
{
	size_t layers;
	size_t steps;
	size_t relative;
	size_t size;
} Room;

static size_t
behind(size_t end)
{
	return (end + BR_IMAGE_ALIGNMENT - 1) / BR_IMAGE_ALIGNMENT * BR_IMAGE_ALIGNMENT;
}

static bool
has_relative(const BrImageConfig *config)
{
	return br_encoder_architecture(config->architecture)->relative != NULL;
}

static Room
plan_room(const BrImageConfig *config)
{
	size_t distances = has_relative(config) ? 2 * (size_t) config->max_tokens - 1 : 0;
	Room room = {.layers = behind(sizeof(BrTransformer))};

	room.steps = behind(room.layers + config->layers * sizeof(BrTransformerLayer));
	room.relative = behind(room.steps + config->n_steps * sizeof(BrTransformerStep));
	room.size = room.relative + config->heads * distances * sizeof(float);
	return room;
}

static BrTransformerLayer
describe_layer(const BrWeightMap *map, const float *begin)
{
	return (BrTransformerLayer){
		.qkv_weight = begin + map->qkv_weight,
		.qkv_bias = begin + map->qkv_bias,
		.output_weight = begin + map->output_weight,
		.output_bias = begin + map->output_bias,
		.attention_gain = begin + map->attention_gain,
		.attention_bias = begin + map->attention_bias,
		.up_weight = begin + map->up_weight,
		.up_bias = begin + map->up_bias,
		.down_weight = begin + map->down_weight,
		.down_bias = begin + map->down_bias,
		.layer_gain = begin + map->layer_gain,
		.layer_bias = begin + map->layer_bias,
	};
}

static BrTransformerStep
describe_step(const BrEncoder *encoder, const BrImageStep *step, uint32_t number)
{
	uint32_t first = br_encoder_config(encoder)->layers * BR_MATRICES_OF_LAYER;
	BrDense dense = br_encoder_dense(encoder, first + number);

	return (BrTransformerStep){
		.normalize = step->kind == BR_STEP_NORMALIZE,
		.in_dim = (int) step->in_dim,
		.out_dim = (int) step->out_dim,
		.activation = (BrActivation) step->activation,
		.weight = dense.weight,
		.bias = dense.bias,
	};
}

static void
fill_relative(const BrImageConfig *config, const float *table /* (BR_RELATIVE_BUCKETS, heads) */,
			  float *relative)
{
	size_t heads = config->heads;
	size_t width = 2 * (size_t) config->max_tokens - 1;

	for (size_t i = 0; i < width; i++)
	{
		int distance = (int) i - (int) config->max_tokens + 1;
		size_t bucket = (size_t) br_encoder_relative_bucket(distance);

		for (size_t head = 0; head < heads; head++)
			relative[head * width + i] = table[bucket * heads + head];
	}
}

static BrTransformer
describe(const BrEncoder *encoder)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	const BrWeightMap *map = br_encoder_weight_map(encoder);
	const float *weights = br_encoder_weights(encoder);
	bool typed = br_encoder_architecture(config->architecture)->type != NULL;

	return (BrTransformer){
		.hidden = (int) config->hidden,
		.layers = (int) config->layers,
		.heads = (int) config->heads,
		.intermediate = (int) config->intermediate,
		.vocabulary = (int) config->vocabulary,
		.positions = (int) config->positions,
		.max_tokens = (int) config->max_tokens,
		.dimensions = br_encoder_info(encoder)->dimensions,
		.first_position = (int) config->first_position,
		.epsilon = config->epsilon,
		.activation = (BrActivation) config->activation,
		.pooling = (BrPooling) config->pooling,
		.word = weights + map->word,
		.position = weights + map->position,
		.type_row = typed ? weights + map->type_row : NULL,
		.gain = weights + map->gain,
		.bias = weights + map->bias,
		.n_steps = (int) config->n_steps,
	};
}

BrStatus
br_encoder_describe(const BrEncoder *encoder, BrContext *context, BrTransformer **transformer)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	const BrWeightMap *map = br_encoder_weight_map(encoder);
	const float *weights = br_encoder_weights(encoder);
	Room room = plan_room(config);
	char *block = br_base_alloc(context, room.size);
	BrTransformerLayer *layers;
	BrTransformerStep *steps;

	*transformer = (BrTransformer *) block;
	if (block == NULL)
		return BR_ERR_MEMORY;
	layers = (BrTransformerLayer *) (block + room.layers);
	steps = (BrTransformerStep *) (block + room.steps);
	**transformer = describe(encoder);
	for (uint32_t i = 0; i < config->layers; i++)
		layers[i] = describe_layer(map, weights + map->layer + i * map->layer_stride);
	for (uint32_t i = 0; i < config->n_steps; i++)
		steps[i] = describe_step(encoder, &config->steps[i], i);
	(*transformer)->layer = layers;
	(*transformer)->steps = steps;
	if (has_relative(config))
	{
		fill_relative(config, weights + map->relative, (float *) (block + room.relative));
		(*transformer)->relative = (const float *) (block + room.relative);
	}
	return BR_OK;
}
