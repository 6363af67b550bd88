/*
 * check_models.c
 *	  Whole models through br_device_table, against sums in double.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/reference_transformer.h"
#include "cuda/checks.h"
#include "cuda/models.h"

extern const BrDeviceTable *br_device_table(void);

static const ModelShape shapes[] = {
	/* heads of 32, 64, 24 and 1 */
	{64, 2, 2, 128, 40, 0, BR_ACTIVATION_GELU_ERF, BR_POOLING_MEAN, true, false, false, true},
	{128, 2, 2, 96, 140, 0, BR_ACTIVATION_GELU_TANH, BR_POOLING_CLS, true, false, false, false},
	{72, 1, 3, 100, 24, 2, BR_ACTIVATION_RELU, BR_POOLING_MAX, false, true, true, true},
	{5, 2, 5, 7, 9, 1, BR_ACTIVATION_GELU_ERF, BR_POOLING_LAST, false, true, true, false},
	{32, 1, 1, 33, 70, 0, BR_ACTIVATION_TANH, BR_POOLING_WEIGHTED_MEAN, true, true, false, true},
	{33, 1, 1, 64, 12, 0, BR_ACTIVATION_GELU_ERF, BR_POOLING_MEAN_SQRT_LENGTH, true, false, true,
	 true},
};

static BrDevice *
open_device(void)
{
	BrDevice *device;

	check_ok(br_device_table()->open(&check_context, 0, &device));
	return device;
}

static void
check_model(const ModelShape *shape)
{
	const BrDeviceTable *table = br_device_table();
	BrTransformer model = model_make(shape);
	int texts = check_on_device ? 100 : 6;
	int32_t *offsets = model_offsets(texts, shape->max_tokens);
	int32_t *ids = model_ids(offsets, texts);
	float *expected = model_expected(&model, ids, offsets, texts);
	float *actual = check_room((size_t) texts * (size_t) model.dimensions);
	BrDevice *device = open_device();
	BrDeviceModel *loaded;

	if (device == NULL)
		return;
	check_ok(table->load(device, &check_context, &model, &loaded));
	if (check_has_failed())
		return;
	CHECK(table->model_bytes(loaded) > 0);
	check_ok(table->embed(device, &check_context, loaded, ids, offsets, texts, actual));
	model_check(&model, actual, expected, texts);

	/* none, one alone, and all again: work memory and staging are used a second time */
	check_ok(table->embed(device, &check_context, loaded, ids, offsets, 0, actual));
	check_ok(table->embed(device, &check_context, loaded, ids, offsets + 1, 1, actual));
	model_check(&model, actual, expected + model.dimensions, 1);
	check_ok(table->embed(device, &check_context, loaded, ids, offsets, texts, actual));
	model_check(&model, actual, expected, texts);
	table->unload(device, loaded);
	table->close(device);
}

static void
models_match(void)
{
	for (int i = 0; i < LENGTH(shapes) && !check_has_failed(); i++)
		check_model(&shapes[i]);
}

/* More tokens than a batch has, and with two models at once. */
static void
many_batches_match(void)
{
	static const ModelShape small =
		{8, 1, 1, 8, 60, 0, BR_ACTIVATION_RELU, BR_POOLING_MEAN, true, false, false, true};
	const BrDeviceTable *table = br_device_table();
	BrTransformer model = model_make(&small);
	BrTransformer other = model_make(&shapes[3]);
	int texts = 4000;
	int32_t *offsets = check_memory(((size_t) texts + 1) * sizeof(int32_t));
	int32_t *ids;
	float *expected;
	float *actual;
	BrDevice *device = open_device();
	BrDeviceModel *loaded;
	BrDeviceModel *loaded_too;

	offsets[0] = 0;
	for (int i = 0; i < texts; i++)
		offsets[i + 1] = offsets[i] + (i % 13 == 4 ? 60 : 1 + i % 3);
	ids = model_ids(offsets, texts);
	expected = model_expected(&model, ids, offsets, texts);
	actual = check_room((size_t) texts * (size_t) model.dimensions);
	check_ok(table->load(device, &check_context, &other, &loaded_too));
	check_ok(table->load(device, &check_context, &model, &loaded));
	table->unload(device, loaded_too);
	check_ok(table->embed(device, &check_context, loaded, ids, offsets, texts, actual));
	model_check(&model, actual, expected, texts);
	table->close(device);
}

static bool
always(void *arg)
{
	(void) arg;
	return true;
}

/* What is refused is told in words, and leaves the device as it was. */
static void
wrong_arguments_are_refused(void)
{
	const BrDeviceTable *table = br_device_table();
	ModelShape shape = shapes[0];
	BrTransformer model = model_make(&shape);
	BrTransformer wrong = model;
	int32_t offsets[] = {0, 2, 4};
	int32_t ids[] = {1, 2, MODEL_VOCABULARY - 1, 0};
	float *actual = check_room(2 * (size_t) model.dimensions);
	float *expected = model_expected(&model, ids, offsets, 2);
	float *word = check_memory((size_t) MODEL_VOCABULARY * 64 * sizeof(float));
	BrDevice *device = open_device();
	BrDeviceModel *loaded;

	wrong.dimensions = 63;
	CHECK(table->load(device, &check_context, &wrong, &loaded) == BR_ERR_ARGUMENT);
	CHECK(loaded == NULL && strstr(check_context.detail, "64") != NULL);
	wrong = model;
	wrong.heads = 3;
	CHECK(table->load(device, &check_context, &wrong, &loaded) == BR_ERR_UNSUPPORTED);
	wrong = model;
	memcpy(word, model.word, (size_t) MODEL_VOCABULARY * 64 * sizeof(float));
	word[77] = 70000;
	wrong.word = word;
	CHECK(table->load(device, &check_context, &wrong, &loaded) == BR_ERR_UNSUPPORTED);
	word[77] = NAN;
	word[78] = 1;
	CHECK(table->load(device, &check_context, &wrong, &loaded) == BR_ERR_UNSUPPORTED);

	check_ok(table->load(device, &check_context, &model, &loaded));
	ids[3] = MODEL_VOCABULARY;
	CHECK(table->embed(device, &check_context, loaded, ids, offsets, 2, actual) == BR_ERR_ARGUMENT);
	ids[3] = -1;
	CHECK(table->embed(device, &check_context, loaded, ids, offsets, 2, actual) == BR_ERR_ARGUMENT);
	ids[3] = 0;
	offsets[1] = 0;
	CHECK(table->embed(device, &check_context, loaded, ids, offsets, 2, actual) == BR_ERR_ARGUMENT);
	offsets[1] = 2;
	check_context.cancel.requested = always;
	CHECK(table->embed(device, &check_context, loaded, ids, offsets, 2, actual) ==
		  BR_ERR_CANCELLED);
	check_context.cancel.requested = NULL;
	check_ok(table->embed(device, &check_context, loaded, ids, offsets, 2, actual));
	model_check(&model, actual, expected, 2);
	CHECK(table->open(&check_context, 1000, &(BrDevice *){NULL}) == BR_ERR_ARGUMENT);
	table->close(device);
	table->close(NULL);
}

static void
devices_describe_themselves(void)
{
	const BrDeviceTable *table = br_device_table();
	BrDevice *device = open_device();
	BrDeviceInfo info;

	CHECK(table->version == BR_DEVICE_VERSION);
	CHECK(strcmp(table->name, "cuda") == 0);
	CHECK(table->count(&check_context) >= 1);
	table->tell(device, &info);
	CHECK(strlen(info.name) > 0 && strncmp(info.instructions, "sm_", 3) == 0);
	CHECK(strcmp(info.precision, "f16") == 0);
	CHECK(info.memory > 0 && info.memory_free > 0 && info.memory_free <= info.memory);
	table->close(device);
}

/* ---- centroids and exact search through the table ---- */

static void
vectors_find_their_centroids(void)
{
	const BrDeviceTable *table = br_device_table();
	int n = 300;
	int dims = 20;
	float *vectors = check_floats((size_t) n * (size_t) dims, 1);
	float *centroids = check_floats(7 * (size_t) dims, 1);
	int32_t *nearest = check_memory((size_t) n * sizeof(int32_t));
	float *distances = check_room((size_t) n);
	BrDevice *device = open_device();

	CHECK(table->assign(device, &check_context, vectors, n, nearest, distances) == BR_ERR_ARGUMENT);
	check_ok(table->place_centroids(device, &check_context, vectors, 3, dims));
	check_ok(table->place_centroids(device, &check_context, centroids, 7, dims));
	check_ok(table->assign(device, &check_context, vectors, n, nearest, distances));
	for (int i = 0; i < n; i++)
	{
		double distance;

		CHECK(nearest[i] == reference_nearest(vectors + i * dims, centroids, 7, dims, &distance));
		CHECK(fabs((double) distances[i] - distance) <= 1e-5 * distance);
	}
	check_ok(table->assign(device, &check_context, vectors, n, nearest, NULL));
	check_ok(table->assign(device, &check_context, vectors, 0, NULL, NULL));
	CHECK(table->place_centroids(device, &check_context, centroids, 0, dims) == BR_ERR_ARGUMENT);
	table->close(device);
}

typedef struct Found
{
	double similarity;
	int32_t id;
} Found;

static int
greatest_first(const void *left, const void *right)
{
	const Found *a = left;
	const Found *b = right;

	if (a->similarity != b->similarity)
		return a->similarity > b->similarity ? -1 : 1;
	return a->id < b->id ? -1 : 1;
}

/* Whole numbers, so that similarities are exact and some are equal. */
static void
the_best_rows_are_found(void)
{
	const BrDeviceTable *table = br_device_table();
	int n = 500;
	int dims = 6;
	int k = 40;
	int n_queries = 5;
	float *rows = check_memory((size_t) n * (size_t) dims * sizeof(float));
	float *queries = check_memory((size_t) n_queries * (size_t) dims * sizeof(float));
	int32_t *ids = check_memory((size_t) n_queries * (size_t) k * sizeof(int32_t));
	float *similarities = check_room((size_t) n_queries * (size_t) k);
	Found *found = check_memory((size_t) n * sizeof(Found));
	BrDevice *device = open_device();

	for (int i = 0; i < n * dims; i++)
		rows[i] = (float) (check_below(9) - 4);
	for (int i = 0; i < n_queries * dims; i++)
		queries[i] = (float) (check_below(9) - 4);
	check_ok(table->top_k(device, &check_context, queries, n_queries, rows, n, dims, k, ids,
						  similarities));
	for (int query = 0; query < n_queries; query++)
	{
		for (int i = 0; i < n; i++)
		{
			found[i] = (Found){0, i};
			for (int j = 0; j < dims; j++)
				found[i].similarity += (double) queries[query * dims + j] * rows[i * dims + j];
		}
		qsort(found, (size_t) n, sizeof(Found), greatest_first);
		for (int i = 0; i < k; i++)
		{
			CHECK(ids[query * k + i] == found[i].id);
			CHECK((double) similarities[query * k + i] == found[i].similarity);
		}
	}
	CHECK(table->top_k(device, &check_context, queries, 1, rows, 3, dims, 4, ids, similarities) ==
		  BR_ERR_ARGUMENT);
	table->close(device);
}

static const Check checks[] = {
	{"devices describe themselves", devices_describe_themselves},
	{"models match sums in double", models_match},
	{"many batches match sums in double", many_batches_match},
	{"wrong arguments are refused", wrong_arguments_are_refused},
	{"vectors find their centroids", vectors_find_their_centroids},
	{"the best rows are found", the_best_rows_are_found},
};

const Checks model_checks = {checks, LENGTH(checks)};
