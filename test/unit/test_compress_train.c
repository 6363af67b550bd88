/*
 * test_compress_train.c
 *	  Training models that have lost heads: their gradient beside differences of
 *	  the loss, and prefixes beside those of the whole model, compiled in double;
 *	  and that devices refuse them.
 */
#include "unit/train_double.h"

#include "core/compress/br_compress.h"
#include "unit/gradient_fixture.h"

#define TEXTS 2
#define DIM 32
#define LAYERS 2
#define HEADS 4
#define HEAD_DIM 8

static const int32_t ids[] = {2, 30, 31, 32, 3, 2, 40, 3};
static const int32_t offsets[TEXTS + 1] = {0, 5, 8};
static const BrTrainBatch batch = {ids, offsets, TEXTS, NULL};

/* The golden model with 3 of its 4 heads and 9 of its 64 neurons. */
static void *
prune(OpenModel *open, size_t *size)
{
	const double heads[] = {3, 1, 2, 4, 4, 3, 2, 1};
	double neurons[128];
	void *image;

	for (int i = 0; i < 128; i++)
		neurons[i] = sin(i);
	assert_int_equal(br_compress_structure(&open->context, open->image, open->image_size, heads,
										   neurons, 3, 9, &image, size),
					 BR_OK);
	return image;
}

/* The sum of embeddings, each component weighted by its place. */
static double
loss_of(void *run)
{
	BrReal embeddings[TEXTS * DIM];
	double loss = 0;

	assert_int_equal(br_train_embed(run, &batch, 0, embeddings), BR_OK);
	for (int i = 0; i < TEXTS * DIM; i++)
		loss += embeddings[i] * cos(i);
	return loss;
}

/* Of that sum. */
static void
add_gradient(BrTrainRun *run)
{
	BrReal slope[TEXTS * DIM];

	for (int i = 0; i < TEXTS * DIM; i++)
		slope[i] = cos(i);
	assert_int_equal(br_train_backpropagate(run, slope), BR_OK);
}

static void
check_gradient(const char *name)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	Differences differences = {loss_of, NULL, 1e-5, 1e-6, 1e-4};
	OpenModel open;
	size_t size;
	void *image;
	BrEncoder *encoder;
	BrTrainModel *model;
	BrTrainRun *run;
	const BrTrainTensor *tensors;
	int n;
	int moved = 0;

	model_open_golden(&open, name);
	image = prune(&open, &size);
	assert_int_equal(br_encoder_open(&open.context, image, size, &encoder), BR_OK);
	assert_int_equal(br_train_open(&open.context, encoder, (BrTrainHead){0}, 1, &model), BR_OK);
	assert_int_equal(br_train_begin(&open.context, model, &options, &run), BR_OK);
	differences.arg = run;
	loss_of(run);
	add_gradient(run);
	tensors = br_train_tensors(model, &n);
	for (int t = 0; t < n; t++)
	{
		size_t count = tensor_numbers(&tensors[t]);

		/* of tables a part */
		for (size_t i = 0; i<count; i += count> 2000 ? 97 : 1)
		{
			size_t at = tensors[t].offset + i;

			expect_slope(&differences, tensors[t].name, i, &model->parameters[at],
						 model->gradient[at]);
			moved += fabs(model->gradient[at]) > 1e-3;
		}
	}
	assert_true(moved > 1000);
	br_train_end(run);
	br_train_close(model);
	br_encoder_close(encoder);
	br_base_free(&open.context, image);
	model_close(&open);
}

static void
gradients_are_differences(void **state)
{
	(void) state;
	check_gradient("tiny-bert-cls");
	check_gradient("tiny-mpnet-mean");
}

/* Devices take a model that has lost neurons, and none that has lost heads. */
static void
devices_refuse_lost_heads(void **state)
{
	const double importance[LAYERS * 64] = {0};

	(void) state;
	for (int heads = HEADS - 1; heads <= HEADS; heads++)
	{
		BrTransformer *transformer = NULL;
		OpenModel open;
		BrEncoder *encoder;
		void *image;
		size_t size;

		model_open_golden(&open, "tiny-bert-cls");
		assert_int_equal(br_compress_structure(&open.context, open.image, open.image_size,
											   importance, importance, heads, 9, &image, &size),
						 BR_OK);
		assert_int_equal(br_encoder_open(&open.context, image, size, &encoder), BR_OK);
		assert_int_equal(br_encoder_describe(encoder, &open.context, &transformer),
						 heads < HEADS ? BR_ERR_UNSUPPORTED : BR_OK);
		if (heads < HEADS)
		{
			assert_null(transformer);
			assert_non_null(strstr(open.context.detail, "heads were removed"));
		}
		else
			assert_int_equal(transformer->intermediate, 9);
		br_base_free(&open.context, transformer);
		br_encoder_close(encoder);
		br_base_free(&open.context, image);
		model_close(&open);
	}
}

/* ---- prefixes ---- */

#define LENGTH 3

/* A model with a prefix of numbers that are given, and what came of one loss. */
typedef struct Prefixed
{
	BrTrainModel *model;
	BrTrainRun *run;
	BrTrainPrefix *prefix;
	BrTrainSet set;
	BrReal embeddings[TEXTS * DIM];
} Prefixed;

static void
prefixed_open(Prefixed *prefixed, BrContext *context, const BrEncoder *encoder)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	const BrTrainPrefixOptions prefix = {LENGTH, 0, 1};

	assert_int_equal(br_train_open(context, encoder, (BrTrainHead){0}, 1, &prefixed->model), BR_OK);
	assert_int_equal(br_train_begin(context, prefixed->model, &options, &prefixed->run), BR_OK);
	assert_int_equal(br_train_prefix_create(context, prefixed->model, options.backend, &prefix,
											&prefixed->prefix),
					 BR_OK);
	prefixed->set = br_train_prefix_set(prefixed->prefix);
}

static void
prefixed_run(Prefixed *prefixed)
{
	br_train_prefix_push(prefixed->prefix);
	assert_int_equal(br_train_embed(prefixed->run, &batch, 0, prefixed->embeddings), BR_OK);
	add_gradient(prefixed->run);
	br_train_prefix_pull(prefixed->prefix);
}

static void
prefixed_close(Prefixed *prefixed)
{
	br_train_prefix_destroy(prefixed->prefix);
	br_train_end(prefixed->run);
	br_train_close(prefixed->model);
}

/* Takes from the whole model what the output projection reads of a head. */
static void
silence_head(BrTrainModel *model, int layer, int head)
{
	BrReal *matrix = model->parameters + br_train_layer(&model->shape, layer).output.weight;

	for (int row = 0; row < DIM; row++)
		for (int i = 0; i < HEAD_DIM; i++)
			matrix[row * DIM + head * HEAD_DIM + i] = 0;
}

/* The column of the whole model's prefix that a column of the pruned one's was. */
static int
whole_column(int column, int lost)
{
	int head = column / HEAD_DIM;

	return (head + (head >= lost)) * HEAD_DIM + column % HEAD_DIM;
}

/* lost: the head of each layer that goes. */
static void
check_prefix_of(const char *name, const double *heads, const int *lost)
{
	const int width = (HEADS - 1) * HEAD_DIM;
	double neurons[LAYERS * 64] = {0};
	Prefixed whole;
	Prefixed pruned;
	OpenModel open;
	BrEncoder *encoder;
	void *image;
	size_t size;
	double largest = 0;

	model_open_golden(&open, name);
	assert_int_equal(br_compress_structure(&open.context, open.image, open.image_size, heads,
										   neurons, HEADS - 1, 64, &image, &size),
					 BR_OK);
	assert_int_equal(br_encoder_open(&open.context, image, size, &encoder), BR_OK);
	prefixed_open(&whole, &open.context, open.encoder);
	prefixed_open(&pruned, &open.context, encoder);
	assert_int_equal(whole.set.n, LAYERS * 2 * LENGTH * DIM);
	assert_int_equal(pruned.set.n, LAYERS * 2 * LENGTH * width);
	for (int layer = 0; layer < LAYERS; layer++)
		silence_head(whole.model, layer, lost[layer]);
	for (size_t i = 0; i < whole.set.n; i++)
		whole.set.parameters[i] = sin((double) i);
	for (int row = 0; row < LAYERS * 2 * LENGTH; row++)
		for (int i = 0; i < width; i++)
			pruned.set.parameters[row * width + i] =
				whole.set.parameters[row * DIM + whole_column(i, lost[row / (2 * LENGTH)])];
	prefixed_run(&whole);
	prefixed_run(&pruned);
	for (int i = 0; i < TEXTS * DIM; i++)
		assert_true(fabs(pruned.embeddings[i] - whole.embeddings[i]) < 1e-12);
	for (int row = 0; row < LAYERS * 2 * LENGTH; row++)
		for (int i = 0; i < width; i++)
		{
			double slope =
				whole.set.gradient[row * DIM + whole_column(i, lost[row / (2 * LENGTH)])];

			assert_true(fabs(pruned.set.gradient[row * width + i] - slope) < 1e-12);
			largest = fmax(largest, fabs(slope));
		}
	assert_true(largest > 1e-4);
	prefixed_close(&whole);
	prefixed_close(&pruned);
	br_encoder_close(encoder);
	br_base_free(&open.context, image);
	model_close(&open);
}

/* Those of a model without a head are those of the whole one that does not hear that head. */
static void
prefixes_lose_their_heads(void **state)
{
	(void) state;
	check_prefix_of("tiny-bert-cls", (double[]){3, 1, 2, 4, 4, 3, 2, 1}, (int[]){1, 3});
	/* where attention looks at distances all layers lose the same head */
	check_prefix_of("tiny-mpnet-mean", (double[]){3, 1, 2, 4, 4, 3, 1, 2}, (int[]){2, 2});
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_differences),
		cmocka_unit_test(devices_refuse_lost_heads),
		cmocka_unit_test(prefixes_lose_their_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
