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

#include "core/encoder/br_encoder.h"

extern const BrDeviceTable *br_device_table(void);

#define LEAST_COSINE 0.999
#define MOST_FILES 32

/* Rows of a golden file that are computed where the device is emulated. */
#define EMULATED_ROWS 24

typedef struct Folder
{
	BrModelFile files[MOST_FILES];
	int n;
} Folder;

/* NULL: not there. A NUL stands behind it. */
static char *
read_file(const char *directory, const char *name, size_t *size)
{
	char *path = check_memory(strlen(directory) + strlen(name) + 2);
	char *data = NULL;
	FILE *file;

	sprintf(path, "%s/%s", directory, name);
	file = fopen(path, "rb");
	if (file == NULL)
		return NULL;
	if (fseek(file, 0, SEEK_END) == 0)
	{
		long length = ftell(file);

		rewind(file);
		data = check_memory((size_t) length + 1);
		*size = fread(data, 1, (size_t) length, file);
		data[*size] = '\0';
	}
	fclose(file);
	return data;
}

/* Whether the folder is there. */
static bool
read_folder(const char *directory, Folder *folder)
{
	size_t size = 0;
	char *modules = read_file(directory, "modules.json", &size);
	char **paths;
	int n;

	folder->n = 0;
	if (br_encoder_needed_files(&check_context, modules, size, &paths, &n) != BR_OK)
		return false;
	for (int i = 0; i < n && folder->n < MOST_FILES; i++)
	{
		char *data = read_file(directory, paths[i], &size);
		char *name = check_memory(strlen(paths[i]) + 1);

		strcpy(name, paths[i]);
		if (data != NULL)
			folder->files[folder->n++] = (BrModelFile){name, data, size};
	}
	br_base_free(&check_context, paths);
	return folder->n > 1;
}

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
check_folder(const char *directory, const char *golden_directory, const char *name)
{
	Folder folder;
	char file[100];
	size_t size;
	void *image;
	char *text;
	cJSON *json;
	BrEncoder *encoder;
	BrTransformer *transformer;

	snprintf(file, sizeof(file), "%s.json", name);
	text = read_file(golden_directory, file, &size);
	if (text == NULL || !read_folder(directory, &folder))
	{
		check_skipped("its folder or its golden file is not there");
		return;
	}
	json = cJSON_ParseWithLength(text, size);
	check_ok(br_encoder_import(&check_context, folder.files, folder.n, &image, &size));
	if (check_has_failed())
		return;
	check_ok(br_encoder_open(&check_context, image, size, &encoder));
	check_ok(br_encoder_describe(encoder, &check_context, &transformer));
	embed_rows(transformer, json, name);
	br_base_free(&check_context, transformer);
	br_encoder_close(encoder);
	br_base_free(&check_context, image);
	cJSON_Delete(json);
}

static void
check_tiny(const char *name)
{
	const char *golden = getenv("BR_TEST_DIR");
	char directory[4096];

	if (golden == NULL)
		golden = "test/golden";
	snprintf(directory, sizeof(directory), "%s/models/%s", golden, name);
	check_folder(directory, golden, name);
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
	const char *golden = getenv("BR_TEST_DIR");
	const char *model = getenv("BR_MODEL_DIR");

	if (!check_on_device)
		check_skipped("it takes a device");
	else if (model == NULL || model[0] == '\0')
		check_skipped("BR_MODEL_DIR is not set");
	else
		check_folder(model, golden != NULL ? golden : "test/golden", "all-MiniLM-L6-v2");
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
