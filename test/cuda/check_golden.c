/*
 * check_golden.c
 *	  The golden models, against what sentence-transformers computed in f32.
 *
 * The folders of models are in BR_TEST_DIR/models, that of the default model is
 * BR_MODEL_DIR; token ids and embeddings are in BR_TEST_DIR/NAME.json. Where core is
 * built without the encoder there is nothing to read them with.
 */
#include "cuda/checks.h"

#ifdef BR_WITHOUT_ENCODER

static void
without_the_encoder(void)
{
	check_skipped("built without the encoder");
}

static const Check checks[] = {
	{"golden models match", without_the_encoder},
};

#else

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cuda/golden.h"

extern const BrDeviceTable *br_device_table(void);

#define LEAST_COSINE 0.999
/* Rows of a golden file that are computed where the device is emulated. */
#define EMULATED_ROWS 24

/* One row of a golden file, through the device; returns the cosine. */
static double
embed_row(BrDevice *device, BrDeviceModel *model, const cJSON *row, int dimensions)
{
	const cJSON *ids = cJSON_GetObjectItem(row, "ids");
	const cJSON *embedding = cJSON_GetObjectItem(row, "embedding");
	int n = cJSON_GetArraySize(ids);
	int32_t *own = check_memory((size_t) n * sizeof(int32_t));
	float *expected = check_room((size_t) dimensions);
	float *actual = check_room((size_t) dimensions);
	const cJSON *item;
	int i = 0;

	cJSON_ArrayForEach(item, ids) own[i++] = item->valueint;
	i = 0;
	CHECK(cJSON_GetArraySize(embedding) == dimensions);
	cJSON_ArrayForEach(item, embedding) if (i < dimensions) expected[i++] =
		(float) item->valuedouble;
	check_ok(
		br_device_table()->embed(device, &check_context, model, own, (int32_t[]){0, n}, 1, actual));
	return check_cosine(actual, expected, dimensions);
}

static void
embed_rows(const BrTransformer *transformer, const cJSON *json, const char *name)
{
	const BrDeviceTable *table = br_device_table();
	const cJSON *row;
	BrDevice *device;
	BrDeviceModel *model;
	double least = 1;
	int n = 0;

	check_ok(table->open(&check_context, 0, &device));
	check_ok(table->load(device, &check_context, transformer, &model));
	cJSON_ArrayForEach(row, cJSON_GetObjectItem(json, "rows"))
	{
		double cosine;

		if (check_has_failed() || (!check_on_device && n == EMULATED_ROWS))
			break;
		cosine = embed_row(device, model, row, transformer->dimensions);
		least = cosine < least ? cosine : least;
		if (!(cosine >= LEAST_COSINE))
			check_failed("%s: the cosine of row %d is %.6f", name, n, cosine);
		n++;
	}
	CHECK(n > 20);
	printf("# %s: the least cosine of %d rows is %.6f\n", name, n, least);
	table->close(device);
}

static void
check_folder(const char *directory, const char *name)
{
	char file[100];
	size_t size;
	void *image;
	char *text;
	cJSON *json;
	BrEncoder *encoder;
	BrTransformer *transformer;

	snprintf(file, sizeof(file), "%s.json", name);
	text = golden_read(golden_directory(), file, &size);
	encoder = golden_open(directory, &image);
	if (text == NULL || encoder == NULL)
	{
		check_skipped("its folder or its golden file is not there");
		return;
	}
	json = cJSON_ParseWithLength(text, size);
	check_ok(br_encoder_describe(encoder, &check_context, &transformer));
	embed_rows(transformer, json, name);
	br_base_free(&check_context, transformer);
	golden_close(encoder, image);
	cJSON_Delete(json);
}

static void
check_tiny(const char *name)
{
	char directory[4096];

	snprintf(directory, sizeof(directory), "%s/models/%s", golden_directory(), name);
	check_folder(directory, name);
}

static void
bert_with_cls_matches(void)
{
	check_tiny("tiny-bert-cls");
}

static void
bert_with_a_dense_step_matches(void)
{
	check_tiny("tiny-bert-cased-max-dense");
}

static void
distilbert_matches(void)
{
	check_tiny("tiny-distilbert-mean");
}

static void
mpnet_matches(void)
{
	check_tiny("tiny-mpnet-mean");
}

static void
roberta_matches(void)
{
	check_tiny("tiny-roberta-mean");
}

static void
xlm_roberta_matches(void)
{
	check_tiny("tiny-xlmr-mean");
}

/* Too long for the emulated device. */
static void
the_default_model_matches(void)
{
	const char *model = getenv("BR_MODEL_DIR");

	if (!check_on_device)
		check_skipped("it takes a device");
	else if (model == NULL || model[0] == '\0')
		check_skipped("BR_MODEL_DIR is not set");
	else
		check_folder(model, "all-MiniLM-L6-v2");
}

static const Check checks[] = {
	{"BERT with cls pooling matches its golden file", bert_with_cls_matches},
	{"BERT with a dense step matches its golden file", bert_with_a_dense_step_matches},
	{"DistilBERT matches its golden file", distilbert_matches},
	{"MPNet matches its golden file", mpnet_matches},
	{"RoBERTa matches its golden file", roberta_matches},
	{"XLM-RoBERTa matches its golden file", xlm_roberta_matches},
	{"the default model matches its golden file", the_default_model_matches},
};

#endif

const Checks golden_checks = {checks, LENGTH(checks)};
