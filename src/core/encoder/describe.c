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

static Room
plan_room(const BrModelShape *shape)
{
	size_t distances = shape->relative ? 2 * (size_t) shape->max_tokens - 1 : 0;
	Room room = {.layers = behind(sizeof(BrTransformer))};

	room.steps = behind(room.layers + (size_t) shape->layers * sizeof(BrTransformerLayer));
	room.relative = behind(room.steps + (size_t) shape->n_steps * sizeof(BrTransformerStep));
	room.size = room.relative + (size_t) shape->heads * distances * sizeof(float);
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
describe_step(const BrModelShape *shape, const float *weights, int number)
{
	const BrImageStep *step = &shape->steps[number];
	bool is_dense = step->kind == BR_STEP_DENSE;

	return (BrTransformerStep){
		.normalize = !is_dense,
		.in_dim = (int) step->in_dim,
		.out_dim = (int) step->out_dim,
		.activation = (BrActivation) step->activation,
		.weight = is_dense ? weights + shape->map.step_weight[number] : NULL,
		.bias = is_dense && step->has_bias ? weights + shape->map.step_bias[number] : NULL,
	};
}

static void
fill_relative(const BrModelShape *shape, const float *table /* (BR_RELATIVE_BUCKETS, heads) */,
			  float *relative)
{
	size_t heads = (size_t) shape->heads;
	size_t width = 2 * (size_t) shape->max_tokens - 1;

	for (size_t i = 0; i < width; i++)
	{
		int distance = (int) i - shape->max_tokens + 1;
		size_t bucket = (size_t) br_encoder_relative_bucket(distance);

		for (size_t head = 0; head < heads; head++)
			relative[head * width + i] = table[bucket * heads + head];
	}
}

static BrTransformer
describe(const BrModelShape *shape, const float *weights, int dimensions)
{
	const BrWeightMap *map = &shape->map;

	return (BrTransformer){
		.hidden = shape->hidden,
		.layers = shape->layers,
		.heads = shape->heads,
		.intermediate = shape->intermediate,
		.vocabulary = shape->vocabulary,
		.positions = shape->positions,
		.max_tokens = shape->max_tokens,
		.dimensions = dimensions,
		.first_position = shape->first_position,
		.epsilon = shape->epsilon,
		.activation = shape->activation,
		.pooling = shape->pooling,
		.word = weights + map->word,
		.position = weights + map->position,
		.type_row = shape->typed ? weights + map->type_row : NULL,
		.gain = weights + map->gain,
		.bias = weights + map->bias,
		.n_steps = shape->n_steps,
	};
}

/* What comes out of the last step. */
static int
dimensions_of(const BrModelShape *shape)
{
	return shape->n_steps > 0 ? (int) shape->steps[shape->n_steps - 1].out_dim : shape->hidden;
}

BrStatus
br_encoder_describe_weights(BrContext *context, const BrModelShape *shape, const float *weights,
							BrTransformer **transformer)
{
	Room room = plan_room(shape);
	char *block;
	BrTransformerLayer *layers;
	BrTransformerStep *steps;

	*transformer = NULL;
	if (shape->attended != shape->hidden)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"Devices do not compute models some of whose attention heads were removed.");
	block = br_base_alloc(context, room.size);
	*transformer = (BrTransformer *) block;
	if (block == NULL)
		return BR_ERR_MEMORY;
	layers = (BrTransformerLayer *) (block + room.layers);
	steps = (BrTransformerStep *) (block + room.steps);
	**transformer = describe(shape, weights, dimensions_of(shape));
	for (int i = 0; i < shape->layers; i++)
		layers[i] =
			describe_layer(&shape->map,
						   weights + shape->map.layer + (size_t) i * shape->map.layer_stride);
	for (int i = 0; i < shape->n_steps; i++)
		steps[i] = describe_step(shape, weights, i);
	(*transformer)->layer = layers;
	(*transformer)->steps = steps;
	if (shape->relative)
	{
		fill_relative(shape, weights + shape->map.relative, (float *) (block + room.relative));
		(*transformer)->relative = (const float *) (block + room.relative);
	}
	return BR_OK;
}

BrStatus
br_encoder_describe(const BrEncoder *encoder, BrContext *context, BrTransformer **transformer)
{
	BrModelShape shape;

	*transformer = NULL;
	if (br_encoder_addition(encoder).kind != BR_ADDITION_NONE)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"The model has an addition to its layers, which devices do not compute.");
	br_encoder_tell_shape(encoder, &shape);
	return br_encoder_describe_weights(context, &shape, br_encoder_weights(encoder), transformer);
}
