/*
 * test_encoder_tensors.c
 *	  The model as numbers, against the safetensors files that it came from.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/encoder_fixture.h"

static const char *const models[] = {"tiny-bert-cls",		 "tiny-bert-cased-max-dense",
									 "tiny-distilbert-mean", "tiny-mpnet-mean",
									 "tiny-roberta-mean",	 "tiny-xlmr-mean"};

#define N_MODELS (sizeof(models) / sizeof(models[0]))

/* Of the table of types the model keeps the first row only. */
static void
check_tensor(const Folder *folder, const BrModelTensor *tensor, const float *weights)
{
	bool step = strncmp(tensor->name, "steps.", 6) == 0;
	const char *path = step ? "2_Dense/model.safetensors" : "model.safetensors";
	const char *name = step ? strstr(tensor->name, "linear") : tensor->name;
	size_t n = (size_t) tensor->rows * (size_t) (tensor->columns > 0 ? tensor->columns : 1);
	size_t size;
	float *values = folder_tensor(folder, path, name, &size);

	assert_true(size == n * sizeof(float) ||
				(strstr(name, "token_type") != NULL && size > n * sizeof(float)));
	assert_memory_equal(values, weights + tensor->offset, n * sizeof(float));
	free(values);
}

/* Every float of the weights is of a tensor of the folder, or 0. */
static void
every_tensor_is_the_folders(void **state)
{
	(void) state;
	for (size_t i = 0; i < N_MODELS; i++)
	{
		Folder folder;
		OpenModel model;
		BrModelShape shape;
		BrModelTensor tensor;
		const float *weights;
		float *rest;
		int n = 0;

		folder_read_golden(&folder, models[i]);
		model_open(&model, &folder);
		br_encoder_tell_shape(model.encoder, &shape);
		weights = br_encoder_weights(model.encoder);
		rest = malloc(shape.map.total * sizeof(float));
		memcpy(rest, weights, shape.map.total * sizeof(float));
		for (; br_encoder_tensor(model.encoder, n, &tensor); n++)
		{
			check_tensor(&folder, &tensor, weights);
			memset(rest + tensor.offset, 0,
				   (size_t) tensor.rows * (size_t) (tensor.columns > 0 ? tensor.columns : 1) *
					   sizeof(float));
		}
		for (size_t j = 0; j < shape.map.total; j++)
			assert_true(rest[j] == 0);
		/* 16 of each of 2 layers, word, position, type or relative or neither, norm, steps */
		assert_int_equal(n, 32 + 4 + shape.typed + shape.relative + (i == 1 ? 2 : 0));
		free(rest);
		model_close(&model);
		folder_free(&folder);
	}
}

/* Embeddings of a model whose last norm has twice the gain and bias are twice as long. */
static void
other_weights_make_another_model(void **state)
{
	static const int32_t ids[] = {2, 7, 8, 9, 3};
	static const int32_t offsets[] = {0, 5};
	const BrCompute compute = {.backend = br_math_portable_backend()};
	OpenModel model;
	BrModelShape shape;
	BrEncoder *other;
	void *image;
	float *weights;
	float before[32];
	float after[32];

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	br_encoder_tell_shape(model.encoder, &shape);
	weights = malloc(shape.map.total * sizeof(float));
	memcpy(weights, br_encoder_weights(model.encoder), shape.map.total * sizeof(float));
	for (int i = 0; i < shape.hidden; i++)
	{
		float *layer = weights + shape.map.layer + shape.map.layer_stride;

		layer[shape.map.layer_gain + (size_t) i] *= 2;
		layer[shape.map.layer_bias + (size_t) i] *= 2;
	}
	assert_int_equal(br_encoder_with_weights(&model.context, model.image, model.image_size, weights,
											 &image),
					 BR_OK);
	assert_int_equal(br_encoder_open(&model.context, image, model.image_size, &other), BR_OK);
	assert_int_equal(br_encoder_embed_tokens(model.encoder, &model.context, &compute, ids, offsets,
											 1, before),
					 BR_OK);
	assert_int_equal(br_encoder_embed_tokens(other, &model.context, &compute, ids, offsets, 1,
											 after),
					 BR_OK);
	for (int i = 0; i < 32; i++)
		assert_true(fabsf(after[i] - 2 * before[i]) <= 1e-6f * fabsf(after[i]) && before[i] != 0);
	br_encoder_close(other);
	br_base_free(&model.context, image);

	weights[17] = NAN;
	assert_int_equal(br_encoder_with_weights(&model.context, model.image, model.image_size, weights,
											 &image),
					 BR_ERR_NUMERIC);
	assert_null(image);
	assert_int_equal(br_encoder_with_weights(&model.context, model.image, model.image_size - 1,
											 weights, &image),
					 BR_ERR_FORMAT);
	free(weights);
	model_close(&model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_tensor_is_the_folders),
		cmocka_unit_test(other_weights_make_another_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
