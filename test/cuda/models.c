/*
 * models.c
 *	  Models of random weights for the checks, of any shape.
 */
#include <math.h>

#include "backend/reference_transformer.h"
#include "cuda/checks.h"
#include "cuda/models.h"

#define DENSE_WIDTH 10

/* Of f32, as the design demands it of half precision. */
#define LEAST_COSINE 0.999

static const float *
weights(int rows, int columns)
{
	return check_floats((size_t) rows * (size_t) columns, 1.7 / sqrt(columns));
}

static const float *
vector(int n, double around)
{
	float *values = check_floats((size_t) n, 0.3);

	for (int i = 0; i < n; i++)
		values[i] += (float) around;
	return values;
}

static BrTransformerLayer
make_layer(const ModelShape *shape)
{
	int hidden = shape->hidden;
	int wide = shape->intermediate;

	return (BrTransformerLayer){
		.qkv_weight = weights(3 * hidden, hidden),
		.qkv_bias = vector(3 * hidden, 0),
		.output_weight = weights(hidden, hidden),
		.output_bias = vector(hidden, 0),
		.attention_gain = vector(hidden, 1),
		.attention_bias = vector(hidden, 0),
		.up_weight = weights(wide, hidden),
		.up_bias = vector(wide, 0),
		.down_weight = weights(hidden, wide),
		.down_bias = vector(hidden, 0),
		.layer_gain = vector(hidden, 1),
		.layer_bias = vector(hidden, 0),
	};
}

static void
add_steps(const ModelShape *shape, BrTransformer *model)
{
	BrTransformerStep *steps = check_memory(3 * sizeof(BrTransformerStep));

	model->steps = steps;
	if (shape->dense)
	{
		steps[model->n_steps++] = (BrTransformerStep){
			.in_dim = shape->hidden,
			.out_dim = DENSE_WIDTH,
			.activation = BR_ACTIVATION_TANH,
			.weight = weights(DENSE_WIDTH, shape->hidden),
			.bias = vector(DENSE_WIDTH, 0),
		};
		steps[model->n_steps++] = (BrTransformerStep){
			.in_dim = DENSE_WIDTH,
			.out_dim = shape->hidden + 1,
			.weight = weights(shape->hidden + 1, DENSE_WIDTH),
		};
		model->dimensions = shape->hidden + 1;
	}
	if (shape->normalize)
		steps[model->n_steps++] = (BrTransformerStep){.normalize = true,
													  .in_dim = model->dimensions,
													  .out_dim = model->dimensions};
}

BrTransformer
model_make(const ModelShape *shape)
{
	int hidden = shape->hidden;
	BrTransformerLayer *layers = check_memory((size_t) shape->layers * sizeof(BrTransformerLayer));
	BrTransformer model = {
		.hidden = hidden,
		.layers = shape->layers,
		.heads = shape->heads,
		.intermediate = shape->intermediate,
		.vocabulary = MODEL_VOCABULARY,
		.positions = shape->first_position + shape->max_tokens,
		.max_tokens = shape->max_tokens,
		.dimensions = hidden,
		.first_position = shape->first_position,
		.epsilon = 1e-5f,
		.activation = shape->activation,
		.pooling = shape->pooling,
		.word = check_floats((size_t) MODEL_VOCABULARY * (size_t) hidden, 1),
		.position =
			check_floats((size_t) (shape->first_position + shape->max_tokens) * (size_t) hidden, 1),
		.type_row = shape->typed ? vector(hidden, 0) : NULL,
		.gain = vector(hidden, 1),
		.bias = vector(hidden, 0),
		.layer = layers,
	};

	if (shape->relative)
		model.relative =
			check_floats((size_t) shape->heads * (2 * (size_t) shape->max_tokens - 1), 1);
	for (int i = 0; i < shape->layers; i++)
		layers[i] = make_layer(shape);
	add_steps(shape, &model);
	return model;
}

int32_t *
model_offsets(int texts, int longest)
{
	int32_t *offsets = check_memory(((size_t) texts + 1) * sizeof(int32_t));

	offsets[0] = 0;
	for (int i = 0; i < texts; i++)
		offsets[i + 1] = offsets[i] + (i == 0 ? longest : 1 + check_below(longest));
	return offsets;
}

int32_t *
model_ids(const int32_t *offsets, int texts)
{
	int32_t *ids = check_memory((size_t) (offsets[texts] + 1) * sizeof(int32_t));

	for (int i = 0; i < offsets[texts]; i++)
		ids[i] = check_below(MODEL_VOCABULARY);
	return ids;
}

float *
model_expected(const BrTransformer *model, const int32_t *ids, const int32_t *offsets, int texts)
{
	float *expected = check_room((size_t) texts * (size_t) model->dimensions);

	for (int i = 0; i < texts; i++)
		reference_embed(model, ids + offsets[i], offsets[i + 1] - offsets[i],
						expected + (size_t) i * (size_t) model->dimensions);
	return expected;
}

static double
length_of(const float *vector, int n)
{
	double squares = 0;

	for (int i = 0; i < n; i++)
		squares += (double) vector[i] * (double) vector[i];
	return sqrt(squares);
}

void
model_check(const BrTransformer *model, const float *actual, const float *expected, int texts)
{
	for (int i = 0; i < texts; i++)
	{
		const float *left = actual + (size_t) i * (size_t) model->dimensions;
		const float *right = expected + (size_t) i * (size_t) model->dimensions;
		double cosine = check_cosine(left, right, model->dimensions);
		double ratio = length_of(left, model->dimensions) / length_of(right, model->dimensions);

		if (!(cosine >= LEAST_COSINE) && model->dimensions > 1)
			check_failed("text %d: the cosine is %.6f", i, cosine);
		if (!(fabs(ratio - 1) <= 0.03))
			check_failed("text %d: the length is %.4f of what it must be", i, ratio);
	}
}
