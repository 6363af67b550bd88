/*
 * test_compress.c
 *	  Models with fewer layers, heads and neurons beside the models that they
 *	  were made of; importance beside differences; likeness by hand.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/compress/br_compress.h"
#include "core/math/br_math.h"
#include "unit/encoder_fixture.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

#define LAYERS 2
#define HEADS 4
#define NEURONS 64
#define HEAD_DIM 8
#define HIDDEN 32
#define TEXTS 4

static const char *const models[] = {"tiny-bert-cls",		 "tiny-bert-cased-max-dense",
									 "tiny-distilbert-mean", "tiny-mpnet-mean",
									 "tiny-roberta-mean",	 "tiny-xlmr-mean"};

static const int32_t ids[] = {2, 30, 31, 3, 2, 40, 3, 2, 600, 601, 602, 3, 2, 77, 3};
static const int32_t offsets[TEXTS + 1] = {0, 4, 7, 12, 15};

static void
embed(BrContext *context, const BrEncoder *encoder, const BrCompute *compute, float *embeddings)
{
	assert_int_equal(br_encoder_embed_tokens(encoder, context, compute, ids, offsets, TEXTS,
											 embeddings),
					 BR_OK);
}

/* Multiplies what reads a head (columns of the output projection) or a neuron. */
static void
scale_unit(const BrModelShape *shape, float *weights, int layer, bool is_head, int unit,
		   float factor)
{
	float *begin = weights + shape->map.layer + (size_t) layer * shape->map.layer_stride;
	int width = is_head ? HEAD_DIM : 1;
	int columns = is_head ? HIDDEN : NEURONS;
	float *matrix = begin + (is_head ? shape->map.output_weight : shape->map.down_weight);

	for (int row = 0; row < HIDDEN; row++)
		for (int i = 0; i < width; i++)
			matrix[row * columns + unit * width + i] *= factor;
}

/* Whether a value is among the k largest of n, ties to the smaller number. */
static bool
is_among(const double *values, int n, int number, int k)
{
	int above = 0;

	for (int i = 0; i < n; i++)
		above += values[i] > values[number] || (values[i] == values[number] && i < number);
	return above < k;
}

static BrEncoder *
with_weights(OpenModel *open, const float *weights, void **image)
{
	BrEncoder *encoder;

	assert_int_equal(br_encoder_with_weights(&open->context, open->image, open->image_size, weights,
											 image),
					 BR_OK);
	assert_int_equal(br_encoder_open(&open->context, *image, open->image_size, &encoder), BR_OK);
	return encoder;
}

static float *
copy_of_weights(const OpenModel *open, BrModelShape *shape)
{
	float *weights;

	br_encoder_tell_shape(open->encoder, shape);
	weights = malloc(shape->map.total * sizeof(float));
	memcpy(weights, br_encoder_weights(open->encoder), shape->map.total * sizeof(float));
	return weights;
}

static void
assert_near(const float *actual, const float *expected, int n, double bound)
{
	double largest = 0;

	for (int i = 0; i < n; i++)
		largest = fmax(largest, fabs((double) expected[i]));
	assert_true(largest > 0);
	for (int i = 0; i < n; i++)
		if (!(fabs((double) actual[i] - (double) expected[i]) <= bound * largest))
			fail_msg("component %d is %.8g instead of %.8g", i, (double) actual[i],
					 (double) expected[i]);
}

/* ---- heads and neurons ---- */

/* Importance of no meaning, in which some are equal. */
static void
draw_importance(uint64_t seed, double *values, int n)
{
	BrRandom random;

	br_base_random_init(&random, seed, 0);
	for (int i = 0; i < n; i++)
		values[i] = br_base_random_below(&random, (uint32_t) n);
}

/* On every backend that is built here, in threads, and with packed weights. */
static void
assert_same_on_backends(OpenModel *open, const BrEncoder *pruned, const BrEncoder *zeroed)
{
	static const char *const names[] = {"portable", "openblas", "onednn"};
	int dim = br_encoder_info(zeroed)->dimensions;
	float expected[TEXTS * 64];
	float actual[TEXTS * 64];
	BrPool *pool;

	assert_int_equal(br_base_pool_create(&open->context, 3, &pool), BR_OK);
	for (int i = 0; i < LENGTH(names); i++)
	{
		BrCompute compute = {.backend = load_backend(names[i])};
		size_t size;
		void *packed;

		if (compute.backend == NULL)
			continue;
		embed(&open->context, zeroed, &compute, expected);
		embed(&open->context, pruned, &compute, actual);
		assert_near(actual, expected, TEXTS * dim, 5e-6);
		compute.pool = pool;
		embed(&open->context, pruned, &compute, actual);
		assert_near(actual, expected, TEXTS * dim, 5e-6);

		if (compute.backend->packs == NULL)
			continue;
		size = br_encoder_packed_size(pruned, compute.backend, BR_PRECISION_F32);
		packed = aligned_alloc(64, size);
		assert_int_equal(br_encoder_pack(pruned, &open->context, compute.backend, BR_PRECISION_F32,
										 packed),
						 BR_OK);
		assert_int_equal(br_encoder_check_packed(pruned, &open->context, compute.backend,
												 BR_PRECISION_F32, packed, size),
						 BR_OK);
		compute.packed = packed;
		embed(&open->context, pruned, &compute, actual);
		assert_near(actual, expected, TEXTS * dim, 5e-6);
		free(packed);
	}
	br_base_pool_destroy(pool);
}

/* The model without the rest embeds as the whole one whose rest is 0. */
static void
check_structure(const char *name, int heads_kept, int neurons_kept, uint64_t seed)
{
	OpenModel open;
	BrModelShape shape;
	BrModelShape smaller;
	double heads[LAYERS * HEADS];
	double neurons[LAYERS * NEURONS];
	double sums[HEADS] = {0};
	float *weights;
	BrEncoder *pruned;
	BrEncoder *zeroed;
	void *image;
	void *zeroed_image;
	size_t size;

	model_open_golden(&open, name);
	weights = copy_of_weights(&open, &shape);
	draw_importance(seed, heads, LAYERS * HEADS);
	draw_importance(seed + 1, neurons, LAYERS * NEURONS);
	for (int i = 0; i < LAYERS * HEADS; i++)
		sums[i % HEADS] += heads[i];
	assert_int_equal(br_compress_structure(&open.context, open.image, open.image_size, heads,
										   neurons, heads_kept, neurons_kept, &image, &size),
					 BR_OK);
	assert_int_equal(br_encoder_open(&open.context, image, size, &pruned), BR_OK);
	br_encoder_tell_shape(pruned, &smaller);
	assert_int_equal(smaller.heads, heads_kept);
	assert_int_equal(smaller.attended, heads_kept * HEAD_DIM);
	assert_int_equal(smaller.intermediate, neurons_kept);
	assert_int_equal(br_encoder_info(open.encoder)->parameters -
						 br_encoder_info(pruned)->parameters,
					 LAYERS *
							 ((HEADS - heads_kept) * HEAD_DIM * (3 * (HIDDEN + 1) + HIDDEN) +
							  (NEURONS - neurons_kept) * (2 * HIDDEN + 1)) +
						 (shape.relative ? 32 * (HEADS - heads_kept) : 0));

	for (int layer = 0; layer < LAYERS; layer++)
	{
		const double *own = shape.relative ? sums : heads + layer * HEADS;

		for (int i = 0; i < HEADS; i++)
			if (!is_among(own, HEADS, i, heads_kept))
				scale_unit(&shape, weights, layer, true, i, 0);
		for (int i = 0; i < NEURONS; i++)
			if (!is_among(neurons + layer * NEURONS, NEURONS, i, neurons_kept))
				scale_unit(&shape, weights, layer, false, i, 0);
	}
	zeroed = with_weights(&open, weights, &zeroed_image);
	assert_same_on_backends(&open, pruned, zeroed);

	br_encoder_close(pruned);
	br_encoder_close(zeroed);
	br_base_free(&open.context, image);
	br_base_free(&open.context, zeroed_image);
	free(weights);
	model_close(&open);
}

static void
pruned_units_are_as_if_zero(void **state)
{
	(void) state;
	for (int i = 0; i < LENGTH(models); i++)
	{
		check_structure(models[i], 3, 40, 10 + (uint64_t) i);
		check_structure(models[i], 1, 1, 20 + (uint64_t) i);
		check_structure(models[i], HEADS, 63, 30 + (uint64_t) i);
	}
}

/* What was pruned may be pruned again; what keeps all is the same. */
static void
keeping_all_changes_nothing(void **state)
{
	double heads[LAYERS * HEADS] = {3, 1, 2, 4, 4, 3, 2, 1};
	double neurons[LAYERS * NEURONS] = {0};

	(void) state;
	for (int i = 0; i < LENGTH(models); i++)
	{
		OpenModel open;
		void *same;
		void *fewer;
		void *again;
		size_t size;
		size_t fewer_size;

		model_open_golden(&open, models[i]);
		assert_int_equal(br_compress_structure(&open.context, open.image, open.image_size, heads,
											   neurons, HEADS, NEURONS, &same, &size),
						 BR_OK);
		assert_int_equal(size, open.image_size);
		assert_memory_equal(same, open.image, size);
		assert_int_equal(br_compress_structure(&open.context, open.image, open.image_size, heads,
											   neurons, 2, 50, &fewer, &fewer_size),
						 BR_OK);
		assert_int_equal(br_compress_structure(&open.context, fewer, fewer_size, heads, neurons, 2,
											   50, &again, &size),
						 BR_OK);
		assert_int_equal(size, fewer_size);
		assert_memory_equal(fewer, again, size);
		br_base_free(&open.context, same);
		br_base_free(&open.context, fewer);
		br_base_free(&open.context, again);
		model_close(&open);
	}
}

/* ---- importance ---- */

/* |d embedding / d g|^2 by central differences, mean over the texts. */
static double
importance_by_difference(OpenModel *open, const BrModelShape *shape, const float *weights,
						 int layer, bool is_head, int unit)
{
	static const float step = 1.0f / 64;
	const BrCompute compute = {.backend = br_math_portable_backend()};
	float embeddings[2][TEXTS * HIDDEN];
	double sum = 0;

	for (int side = 0; side < 2; side++)
	{
		float *scaled = malloc(shape->map.total * sizeof(float));
		BrEncoder *encoder;
		void *image;

		memcpy(scaled, weights, shape->map.total * sizeof(float));
		scale_unit(shape, scaled, layer, is_head, unit, side == 0 ? 1 - step : 1 + step);
		encoder = with_weights(open, scaled, &image);
		embed(&open->context, encoder, &compute, embeddings[side]);
		br_encoder_close(encoder);
		br_base_free(&open->context, image);
		free(scaled);
	}
	for (int i = 0; i < TEXTS * HIDDEN; i++)
		sum +=
			pow(((double) embeddings[1][i] - (double) embeddings[0][i]) / (2 * (double) step), 2);
	return sum / TEXTS;
}

/* Of 3,000 draws, 1 batch each: a standard error of at most .026, of which 5 are allowed. */
static void
importance_is_of_differences(void **state)
{
	BrCompressOptions options = {.backend = br_math_portable_backend(), .draws = 3000, .seed = 7};
	double heads[LAYERS * HEADS];
	double neurons[LAYERS * NEURONS];
	OpenModel open;
	BrModelShape shape;
	float *weights;

	(void) state;
	model_open_golden(&open, "tiny-bert-cls");
	weights = copy_of_weights(&open, &shape);
	assert_int_equal(br_compress_weigh(&open.context, open.encoder, &options, ids, offsets, TEXTS,
									   heads, neurons),
					 BR_OK);
	for (int layer = 0; layer < LAYERS; layer++)
	{
		for (int i = 0; i < HEADS; i++)
		{
			double expected = importance_by_difference(&open, &shape, weights, layer, true, i);

			assert_true(expected > 0);
			assert_true(fabs(heads[layer * HEADS + i] / expected - 1) < 0.13);
		}
		for (int i = 0; i < NEURONS; i += 5)
		{
			double expected = importance_by_difference(&open, &shape, weights, layer, false, i);

			assert_true(fabs(neurons[layer * NEURONS + i] - expected) < 0.13 * expected + 1e-9);
		}
	}
	free(weights);
	model_close(&open);
}

/* More texts than a batch has: 2 batches of 8, each text 4 times, are 4 times the 4 texts. */
static void
importance_is_a_mean_over_texts(void **state)
{
	BrCompressOptions options = {.backend = br_math_portable_backend(), .draws = 1500, .seed = 3};
	int32_t many_ids[4 * LENGTH(ids)];
	int32_t many_offsets[4 * TEXTS + 1] = {0};
	double few[LAYERS * HEADS];
	double many[LAYERS * HEADS];
	double neurons[LAYERS * NEURONS];
	OpenModel open;

	(void) state;
	for (int i = 0; i < 4; i++)
	{
		memcpy(many_ids + i * LENGTH(ids), ids, sizeof(ids));
		for (int j = 1; j <= TEXTS; j++)
			many_offsets[i * TEXTS + j] = i * LENGTH(ids) + offsets[j];
	}
	model_open_golden(&open, "tiny-mpnet-mean");
	assert_int_equal(br_compress_weigh(&open.context, open.encoder, &options, ids, offsets, TEXTS,
									   few, neurons),
					 BR_OK);
	assert_int_equal(br_compress_weigh(&open.context, open.encoder, &options, many_ids,
									   many_offsets, 4 * TEXTS, many, neurons),
					 BR_OK);
	for (int i = 0; i < LAYERS * HEADS; i++)
		assert_true(many[i] > 0 && fabs(many[i] / few[i] - 1) < 0.25);
	model_close(&open);
}

/* ---- layers ---- */

/* A model of 12 layers, told apart by the bias of their last norm. */
static void
read_twelve_layers(Folder *folder)
{
	OpenModel open;
	BrModelTensor tensor;

	folder_read_golden(folder, "tiny-bert-cls");
	model_open(&open, folder);
	folder_replace(folder, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 12");
	for (int i = 0; br_encoder_tensor(open.encoder, i, &tensor); i++)
		for (int layer = 0; layer < 12; layer++)
		{
			const char *rest = strstr(tensor.name, "layer.1.");
			int columns = tensor.columns > 0 ? tensor.columns : 1;
			float *values;
			char name[BR_TENSOR_NAME_SIZE];

			if (rest == NULL)
				continue;
			values = malloc((size_t) tensor.rows * (size_t) columns * sizeof(float));
			memcpy(values, br_encoder_weights(open.encoder) + tensor.offset,
				   (size_t) tensor.rows * (size_t) columns * sizeof(float));
			if (strcmp(rest + 8, "output.LayerNorm.bias") == 0)
				values[0] = (float) layer;
			snprintf(name, sizeof(name), "%.*slayer.%d.%s", (int) (rest - tensor.name), tensor.name,
					 layer, rest + 8);
			folder_set_tensor(folder, "model.safetensors", name, "F32", tensor.rows, tensor.columns,
							  values, (size_t) tensor.rows * (size_t) columns * sizeof(float));
			free(values);
		}
	model_close(&open);
}

/* DistilBERT took 0, 2, 4, 7, 9 and 11 of BERT's 12 (transformers' extract_distilbert.py). */
static void
layers_are_spread_evenly(void **state)
{
	static const int kept[] = {6, 1, 2, 3, 12};
	static const int expected[][12] = {{0, 2, 4, 7, 9, 11},
									   {0},
									   {0, 11},
									   {0, 6, 11},
									   {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};
	Folder folder;
	OpenModel open;

	(void) state;
	read_twelve_layers(&folder);
	model_open(&open, &folder);
	assert_int_equal(br_encoder_info(open.encoder)->layers, 12);
	for (int i = 0; i < LENGTH(kept); i++)
	{
		BrEncoder *encoder;
		BrModelShape shape;
		void *image;
		size_t size;

		assert_int_equal(br_compress_layers(&open.context, open.image, open.image_size, kept[i],
											&image, &size),
						 BR_OK);
		assert_int_equal(br_encoder_open(&open.context, image, size, &encoder), BR_OK);
		br_encoder_tell_shape(encoder, &shape);
		assert_int_equal(shape.layers, kept[i]);
		for (int layer = 0; layer < kept[i]; layer++)
			assert_true(br_encoder_weights(
							encoder)[shape.map.layer + (size_t) layer * shape.map.layer_stride +
									 shape.map.layer_bias] == (float) expected[i][layer]);
		br_encoder_close(encoder);
		br_base_free(&open.context, image);
	}
	model_close(&open);
	folder_free(&folder);
}

/* ---- likeness ---- */

/*
 * Before: at 0, 10, 40, 90 and 100 degrees; after: the second has moved to 80. The
 * cosines are 1 but for cos 70 = .34202014. The two nearest before: {1,2} {0,2}
 * {1,0} {4,2} {3,2}; after: {2,1} {3,4} {0,1} {1,4} {3,1}, where the third is 40
 * from both 0 and 80: 2, 0, 2, 1 and 1 of 2 in common.
 */
static void
likeness_is_as_by_hand(void **state)
{
	static const double degrees[2][5] = {{0, 10, 40, 90, 100}, {0, 80, 40, 90, 100}};
	BrCompressLikeness likeness;
	BrContext context;
	float vectors[2][5][2];

	(void) state;
	br_base_context_init(&context);
	for (int side = 0; side < 2; side++)
		for (int i = 0; i < 5; i++)
		{
			double angle = degrees[side][i] * acos(-1) / 180;

			vectors[side][i][0] = (float) ((i + 1) * cos(angle));
			vectors[side][i][1] = (float) ((i + 1) * sin(angle));
		}
	assert_int_equal(br_compress_compare(&context, vectors[0][0], vectors[1][0], 5, 2, 2,
										 &likeness),
					 BR_OK);
	assert_true(fabs(likeness.least_cosine - 0.34202014) < 1e-6);
	assert_true(fabs(likeness.mean_cosine - 4.34202014 / 5) < 1e-6);
	assert_true(fabs(likeness.recall - 0.6) < 1e-12);
	assert_int_equal(br_compress_compare(&context, vectors[0][0], vectors[1][0], 5, 2, 5,
										 &likeness),
					 BR_OK);
	assert_true(isnan(likeness.recall));
	assert_int_equal(br_compress_compare(&context, vectors[0][0], vectors[1][0], 0, 2, 5,
										 &likeness),
					 BR_ERR_ARGUMENT);
}

/* Neighbours that there are not take no memory; sorting many of them can be cancelled, too. */
static void
many_neighbours_are_compared(void **state)
{
	static float vectors[200];
	BrCompressLikeness likeness;
	Countdown countdown = {.checks = 1000};
	Ledger ledger = {.allowed = -1};
	BrContext context;

	(void) state;
	for (int i = 0; i < 200; i++)
		vectors[i] = (float) (i + 1);
	ledger_context(&context, &ledger);
	context.cancel = (BrCancel){count_down, &countdown};
	assert_int_equal(br_compress_compare(&context, vectors, vectors, 200, 1, 10000000, &likeness),
					 BR_OK);
	assert_true(isnan(likeness.recall));
	assert_true(ledger.peak < 20000);
	assert_int_equal(countdown.made, 0);
	/* of 199 neighbours each of 200 texts is worth 2 * 200 * (1 + 199) + 199 * 199 steps */
	assert_int_equal(br_compress_compare(&context, vectors, vectors, 200, 1, 199, &likeness),
					 BR_OK);
	assert_true(likeness.recall == 1);
	assert_true(countdown.made >= 4);
}

/* ---- what goes wrong ---- */

static void
wrong_arguments_are_refused(void **state)
{
	BrCompressOptions options = {.backend = br_math_portable_backend(), .draws = 1};
	double heads[LAYERS * HEADS] = {0};
	double neurons[LAYERS * NEURONS] = {0};
	static const int wrong_layers[] = {0, -1, LAYERS + 1};
	static const int wrong[][2] = {{0, 1},			 {1, 0},  {HEADS + 1, 1},
								   {1, NEURONS + 1}, {-1, 1}, {1, -1}};
	OpenModel open;
	void *image;
	size_t size;

	(void) state;
	model_open_golden(&open, "tiny-bert-cls");
	for (int i = 0; i < LENGTH(wrong); i++)
	{
		assert_int_equal(br_compress_structure(&open.context, open.image, open.image_size, heads,
											   neurons, wrong[i][0], wrong[i][1], &image, &size),
						 BR_ERR_ARGUMENT);
		assert_null(image);
	}
	for (int i = 0; i < LENGTH(wrong_layers); i++)
	{
		assert_int_equal(br_compress_layers(&open.context, open.image, open.image_size,
											wrong_layers[i], &image, &size),
						 BR_ERR_ARGUMENT);
		assert_null(image);
	}
	assert_non_null(strstr(open.context.detail, "2 layers"));
	neurons[5] = NAN;
	assert_int_equal(br_compress_structure(&open.context, open.image, open.image_size, heads,
										   neurons, 2, 2, &image, &size),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_compress_structure(&open.context, open.image, open.image_size - 64, heads,
										   neurons, 2, 2, &image, &size),
					 BR_ERR_FORMAT);
	assert_int_equal(br_compress_weigh(&open.context, open.encoder, &options, ids, offsets, 0,
									   heads, neurons),
					 BR_ERR_ARGUMENT);
	options.draws = 0;
	assert_int_equal(br_compress_weigh(&open.context, open.encoder, &options, ids, offsets, TEXTS,
									   heads, neurons),
					 BR_ERR_ARGUMENT);
	model_close(&open);
}

/* A step of each of the three that may run out of memory or be cancelled. */
static BrStatus
do_all(BrContext *context, const OpenModel *open)
{
	BrCompressOptions options = {.backend = br_math_portable_backend(), .draws = 2};
	float vectors[40] = {1};
	double heads[LAYERS * HEADS];
	double neurons[LAYERS * NEURONS];
	BrCompressLikeness likeness;
	void *image = NULL;
	size_t size;
	BrStatus status =
		br_compress_weigh(context, open->encoder, &options, ids, offsets, TEXTS, heads, neurons);

	if (status == BR_OK)
		status = br_compress_structure(context, open->image, open->image_size, heads, neurons, 2, 9,
									   &image, &size);
	br_base_free(context, image);
	if (status == BR_OK)
		status = br_compress_compare(context, vectors, vectors, 10, 4, 3, &likeness);
	return status;
}

static void
failures_leave_nothing(void **state)
{
	OpenModel open;
	Ledger ledger = {.allowed = 0};
	BrContext context;
	BrStatus status;
	int allowed = 0;

	(void) state;
	model_open_golden(&open, "tiny-mpnet-mean");
	do
	{
		ledger = (Ledger){.allowed = ++allowed};
		ledger_context(&context, &ledger);
		status = do_all(&context, &open);
		assert_true(status == BR_OK || status == BR_ERR_MEMORY);
		assert_int_equal(ledger.outstanding, 0);
	} while (status != BR_OK);
	assert_true(allowed > 10);
	for (int checks = 0; checks < 4; checks++)
	{
		Countdown countdown = {checks, 0};

		ledger = (Ledger){.allowed = -1};
		ledger_context(&context, &ledger);
		context.cancel = (BrCancel){count_down, &countdown};
		assert_int_equal(do_all(&context, &open), BR_ERR_CANCELLED);
		assert_int_equal(ledger.outstanding, 0);
	}
	model_close(&open);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pruned_units_are_as_if_zero),
		cmocka_unit_test(keeping_all_changes_nothing),
		cmocka_unit_test(importance_is_of_differences),
		cmocka_unit_test(importance_is_a_mean_over_texts),
		cmocka_unit_test(layers_are_spread_evenly),
		cmocka_unit_test(likeness_is_as_by_hand),
		cmocka_unit_test(many_neighbours_are_compared),
		cmocka_unit_test(wrong_arguments_are_refused),
		cmocka_unit_test(failures_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
