/*
 * test_encoder_addition.c
 *	  Images with an addition behind their weights: what makes one, what is
 *	  refused, and that those without stay what they were.
 *
 * That what is served is what was trained is in test_train_served.c.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/encoder/encoder_int.h"
#include "core/math/br_math.h"
#include "core/train/br_train.h"
#include "unit/encoder_fixture.h"

#define SIZE 3
#define MOST_TENSORS 16
#define MOST_NUMBERS (40 * 32)

static const int32_t ids[] = {2, 7, 8, 9, 3, 2, 30, 3};
static const int32_t offsets[] = {0, 5, 8};
static const BrAddition usual = {BR_ADDITION_BOTTLENECK, SIZE};

/* The tensors of an addition to a model, all 0. */
typedef struct Tensors
{
	BrModelTensor described[MOST_TENSORS];
	BrNamedTensor named[MOST_TENSORS];
	float values[MOST_TENSORS][MOST_NUMBERS];
	int n;
} Tensors;

static Tensors *
make_tensors(const BrEncoder *encoder, BrAddition addition)
{
	Tensors *tensors = calloc(1, sizeof(Tensors));
	BrModelTensor tensor;

	for (; br_encoder_added_tensor(encoder, addition, tensors->n, &tensor); tensors->n++)
	{
		int i = tensors->n;

		assert_true(i < MOST_TENSORS);
		assert_true(tensor.rows * (tensor.columns > 0 ? tensor.columns : 1) <= MOST_NUMBERS);
		tensors->described[i] = tensor;
		tensors->named[i] = (BrNamedTensor){tensors->described[i].name, tensor.rows, tensor.columns,
											tensors->values[i]};
	}
	return tensors;
}

static float *
values_of(Tensors *tensors, const char *name)
{
	for (int i = 0; i < tensors->n; i++)
		if (strcmp(tensors->named[i].name, name) == 0)
			return tensors->values[i];
	fail_msg("there is no %s", name);
	return NULL;
}

/* Made of a model's own weights. */
static BrStatus
add(OpenModel *model, BrAddition addition, const Tensors *tensors, void **image, size_t *size)
{
	return br_encoder_with_addition(&model->context, model->image, model->image_size,
									br_encoder_weights(model->encoder), addition, tensors->named,
									tensors->n, image, size);
}

static void
embed(OpenModel *model, const void *image, size_t size, float embeddings[64])
{
	const BrCompute compute = {.backend = br_math_portable_backend()};
	BrEncoder *encoder;

	assert_int_equal(br_encoder_open(&model->context, image, size, &encoder), BR_OK);
	assert_int_equal(br_encoder_embed_tokens(encoder, &model->context, &compute, ids, offsets, 2,
											 embeddings),
					 BR_OK);
	br_encoder_close(encoder);
}

static void
tensors_are_named(void **state)
{
	static const char *const names[] = {
		"encoder.layer.0.attention.output.dense.adapter_down.weight",
		"encoder.layer.0.attention.output.dense.adapter_down.bias",
		"encoder.layer.0.attention.output.dense.adapter_up.weight",
		"encoder.layer.0.attention.output.dense.adapter_up.bias",
		"encoder.layer.0.output.dense.adapter_down.weight",
	};
	static const int shapes[][2] = {{SIZE, 32}, {SIZE, 0}, {32, SIZE}, {32, 0}, {SIZE, 32}};
	OpenModel model;
	Tensors *tensors;
	BrModelTensor tensor;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	tensors = make_tensors(model.encoder, usual);
	assert_int_equal(tensors->n, 2 * 8);
	for (int i = 0; i < 5; i++)
	{
		assert_string_equal(tensors->named[i].name, names[i]);
		assert_int_equal(tensors->named[i].rows, shapes[i][0]);
		assert_int_equal(tensors->named[i].columns, shapes[i][1]);
	}
	assert_string_equal(tensors->named[15].name, "encoder.layer.1.output.dense.adapter_up.bias");
	/* without an overlap, each at 64 bytes */
	for (int i = 0; i < tensors->n; i++)
	{
		const BrModelTensor *one = &tensors->described[i];

		assert_true(one->offset % 16 == 0);
		if (i > 0)
			assert_true(one->offset >= tensors->described[i - 1].offset +
							(size_t) (one[-1].rows * (one[-1].columns > 0 ? one[-1].columns : 1)));
	}
	free(tensors);
	tensors = make_tensors(model.encoder, (BrAddition){BR_ADDITION_PREFIX, 9});
	assert_int_equal(tensors->n, 2 * 2);
	assert_string_equal(tensors->named[0].name, "encoder.layer.0.attention.self.key.prefix.weight");
	assert_string_equal(tensors->named[3].name,
						"encoder.layer.1.attention.self.value.prefix.weight");
	assert_int_equal(tensors->named[3].rows, 9);
	assert_int_equal(tensors->named[3].columns, 32);
	assert_int_equal(tensors->described[3].offset, 3 * 9 * 32);
	assert_false(
		br_encoder_added_tensor(model.encoder, (BrAddition){BR_ADDITION_NONE, 0}, 0, &tensor));
	free(tensors);
	model_close(&model);
}

/*
 * A bottleneck that gives the same for every token is a bias of the layer before
 * it. Also when a model with an addition gets another one instead.
 */
static void
constant_bottlenecks_are_biases(void **state)
{
	OpenModel model;
	Tensors *tensors;
	BrModelShape shape;
	float *weights;
	float expected[64];
	float plain[64];
	float found[64];
	void *image;
	void *second;
	size_t size;
	size_t second_size;
	float largest = 0;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	br_encoder_tell_shape(model.encoder, &shape);
	weights = malloc(shape.map.total * sizeof(float));
	memcpy(weights, br_encoder_weights(model.encoder), shape.map.total * sizeof(float));
	tensors = make_tensors(model.encoder, usual);
	embed(&model, model.image, model.image_size, plain);
	for (int i = 0; i < 32; i++)
	{
		float *layer = weights + shape.map.layer;

		values_of(tensors, "encoder.layer.0.attention.output.dense.adapter_up.bias")[i] =
			0.1F * (float) i;
		layer[shape.map.output_bias + (size_t) i] += 0.1F * (float) i;
		values_of(tensors, "encoder.layer.1.output.dense.adapter_up.bias")[i] = (float) sin(i);
		layer[shape.map.layer_stride + shape.map.down_bias + (size_t) i] += (float) sin(i);
	}
	assert_int_equal(br_encoder_with_weights(&model.context, model.image, model.image_size, weights,
											 &image),
					 BR_OK);
	embed(&model, image, model.image_size, expected);
	br_base_free(&model.context, image);
	assert_int_equal(add(&model, usual, tensors, &image, &size), BR_OK);
	embed(&model, image, size, found);
	for (int i = 0; i < 64; i++)
	{
		largest = fmaxf(largest, fabsf(plain[i] - expected[i]));
		assert_true(fabsf(found[i] - expected[i]) <= 1e-5F);
	}
	assert_true(largest > 0.1F);

	/* a wider one in its place, that gives 0 */
	free(tensors);
	tensors = make_tensors(model.encoder, (BrAddition){BR_ADDITION_BOTTLENECK, 32});
	assert_int_equal(br_encoder_with_addition(&model.context, image, size,
											  br_encoder_weights(model.encoder),
											  (BrAddition){BR_ADDITION_BOTTLENECK, 32},
											  tensors->named, tensors->n, &second, &second_size),
					 BR_OK);
	assert_true(second_size > size);
	embed(&model, second, second_size, found);
	assert_memory_equal(found, plain, sizeof(plain));
	br_base_free(&model.context, second);
	br_base_free(&model.context, image);
	free(weights);
	free(tensors);
	model_close(&model);
}

/* Its beginning is the image, with other weights it stays, and the model says what it has. */
static void
addition_is_told(void **state)
{
	OpenModel model;
	Tensors *tensors;
	BrEncoder *encoder;
	BrTrainModel *trained;
	BrTransformer *described;
	void *image;
	void *copy;
	size_t size;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	assert_int_equal(br_encoder_addition(model.encoder).kind, BR_ADDITION_NONE);
	assert_null(br_encoder_added(model.encoder));
	tensors = make_tensors(model.encoder, usual);
	for (int i = 0; i < 32 * SIZE; i++)
		values_of(tensors, "encoder.layer.1.output.dense.adapter_up.weight")[i] = (float) i;
	assert_int_equal(add(&model, usual, tensors, &image, &size), BR_OK);
	/* what is said of sizes, and then the numbers: of a layer 2 (2 (96 -> 96) + 3 -> 16 + 32) */
	assert_int_equal(size - model.image_size, 64 + 2 * 2 * (96 + 96 + 16 + 32) * 4);
	assert_memory_equal((char *) image + sizeof(BrImageHeader) + sizeof(BrImageConfig),
						(char *) model.image + sizeof(BrImageHeader) + sizeof(BrImageConfig),
						model.image_size - sizeof(BrImageHeader) - sizeof(BrImageConfig));

	assert_int_equal(br_encoder_with_weights(&model.context, image, size,
											 br_encoder_weights(model.encoder), &copy),
					 BR_OK);
	assert_memory_equal(copy, image, size);
	br_base_free(&model.context, copy);
	assert_int_equal(br_encoder_open(&model.context, image, size, &encoder), BR_OK);
	assert_int_equal(br_encoder_addition(encoder).kind, BR_ADDITION_BOTTLENECK);
	assert_int_equal(br_encoder_addition(encoder).size, SIZE);
	assert_int_equal(br_encoder_info(encoder)->parameters,
					 br_encoder_info(model.encoder)->parameters + 2 * 2 * (96 + 96 + 3 + 32));
	for (int i = 0; i < tensors->n; i++)
		assert_memory_equal(br_encoder_added(encoder) + tensors->described[i].offset,
							tensors->values[i],
							(size_t) tensors->named[i].rows * sizeof(float) *
								(size_t) (tensors->named[i].columns > 0 ? tensors->named[i].columns
																		: 1));

	assert_int_equal(br_encoder_describe(encoder, &model.context, &described), BR_ERR_UNSUPPORTED);
	assert_null(described);
	assert_int_equal(br_train_open(&model.context, encoder, (BrTrainHead){0}, 0, &trained),
					 BR_ERR_UNSUPPORTED);
	assert_null(trained);
	br_encoder_close(encoder);
	br_base_free(&model.context, image);
	free(tensors);
	model_close(&model);
}

static void
expect_refusal(OpenModel *model, BrAddition addition, const Tensors *tensors, BrStatus expected,
			   const char *hint)
{
	void *image;
	size_t size;

	assert_int_equal(add(model, addition, tensors, &image, &size), expected);
	assert_null(image);
	assert_int_equal(size, 0);
	if (strstr(model->context.detail, hint) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", model->context.detail, hint);
}

typedef struct Attempt
{
	const OpenModel *model;
	const Tensors *tensors;
} Attempt;

static BrStatus
add_once(BrContext *context, void *arg)
{
	const Attempt *attempt = arg;
	OpenModel model = *attempt->model;
	void *image;
	size_t size;
	BrStatus status;

	model.context = *context;
	status = add(&model, usual, attempt->tensors, &image, &size);
	br_base_free(context, image);
	return status;
}

static void
wrong_additions_are_refused(void **state)
{
	OpenModel model;
	Tensors *tensors;
	float *weights;
	void *image;
	size_t size;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	tensors = make_tensors(model.encoder, usual);
	for (int i = 0; i < 3; i++)
		expect_refusal(&model, (BrAddition){BR_ADDITION_BOTTLENECK, (const int[]){0, -1, 33}[i]},
					   tensors, BR_ERR_ARGUMENT, "1 to 32");
	for (int i = 0; i < 2; i++)
		expect_refusal(&model, (BrAddition){BR_ADDITION_PREFIX, (const int[]){0, 513}[i]}, tensors,
					   BR_ERR_ARGUMENT, "1 to 512");
	expect_refusal(&model, (BrAddition){BR_ADDITION_PREFIX, 9}, tensors, BR_ERR_ARGUMENT,
				   "key.prefix.weight");
	expect_refusal(&model, (BrAddition){BR_ADDITION_NONE, 3}, tensors, BR_ERR_ARGUMENT, "kind 0");
	expect_refusal(&model, (BrAddition){BR_ADDITION_BOTTLENECK, SIZE + 1}, tensors, BR_ERR_ARGUMENT,
				   "not 4 and 32");
	tensors->n--;
	expect_refusal(&model, usual, tensors, BR_ERR_ARGUMENT,
				   "lacks the tensor \"encoder.layer.1.output.dense.adapter_up.bias\"");
	tensors->n++;
	tensors->values[5][1] = INFINITY;
	expect_refusal(&model, usual, tensors, BR_ERR_NUMERIC, tensors->named[5].name);
	tensors->values[5][1] = 0;

	weights = malloc(br_encoder_weight_map(model.encoder)->total * sizeof(float));
	memcpy(weights, br_encoder_weights(model.encoder),
		   br_encoder_weight_map(model.encoder)->total * sizeof(float));
	weights[17] = NAN;
	assert_int_equal(br_encoder_with_addition(&model.context, model.image, model.image_size,
											  weights, usual, tensors->named, tensors->n, &image,
											  &size),
					 BR_ERR_NUMERIC);
	assert_int_equal(br_encoder_with_addition(&model.context, model.image, model.image_size - 1,
											  weights, usual, tensors->named, tensors->n, &image,
											  &size),
					 BR_ERR_FORMAT);
	free(weights);
	expect_no_leaks(add_once, &(Attempt){&model, tensors});
	free(tensors);
	model_close(&model);
}

/* Cut, lengthened, or with another header, an image is refused; of other kinds and sizes too. */
static void
damaged_additions_are_refused(void **state)
{
	OpenModel model;
	Tensors *tensors;
	BrEncoder *encoder;
	void *image;
	size_t size;
	size_t end;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	tensors = make_tensors(model.encoder, usual);
	assert_int_equal(add(&model, usual, tensors, &image, &size), BR_OK);
	end = model.image_size;
	/* of the header: magic, kind, size */
	for (size_t at = end; at < end + 16; at++)
		for (int bit = 0; bit < 8; bit++)
		{
			((unsigned char *) image)[at] ^= (unsigned char) (1 << bit);
			assert_int_equal(br_encoder_open(&model.context, image, size, &encoder), BR_ERR_FORMAT);
			assert_null(encoder);
			((unsigned char *) image)[at] ^= (unsigned char) (1 << bit);
		}
	/* the header's size says the same as the caller */
	for (size_t cut = end - 64; cut < size; cut += 32)
	{
		((BrImageHeader *) image)->size = cut;
		assert_int_equal(br_encoder_open(&model.context, image, cut, &encoder),
						 cut == end ? BR_OK : BR_ERR_FORMAT);
		br_encoder_close(encoder);
	}
	((BrImageHeader *) image)->size = size;
	assert_int_equal(br_encoder_open(&model.context, image, size - 4, &encoder), BR_ERR_FORMAT);
	assert_int_equal(br_encoder_open(&model.context, image, size, &encoder), BR_OK);
	br_encoder_close(encoder);
	br_base_free(&model.context, image);
	free(tensors);
	model_close(&model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tensors_are_named),
		cmocka_unit_test(constant_bottlenecks_are_biases),
		cmocka_unit_test(addition_is_told),
		cmocka_unit_test(wrong_additions_are_refused),
		cmocka_unit_test(damaged_additions_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
