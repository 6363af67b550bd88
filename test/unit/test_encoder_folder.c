/*
 * test_encoder_folder.c
 *	  The variants of a model folder that must be understood.
 *
 * chain_cases.json changes the files of a golden model and lists the
 * embeddings that sentence-transformers 5.7.0 gives for the changed folder.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "core/math/br_math.h"
#include "unit/encoder_fixture.h"

#define WEIGHTS "model.safetensors"
#define WORDS "embeddings.word_embeddings.weight"

/* ---- variants ---- */

static void
embed_one(OpenModel *model, const char *text, float *embedding)
{
	size_t size = strlen(text);

	assert_int_equal(br_encoder_embed(model->encoder, &model->context,
									  &(BrCompute){.backend = br_math_portable_backend()}, &text,
									  &size, 1, true, embedding),
					 BR_OK);
}

static void
check_row(OpenModel *model, const char *name, const cJSON *row)
{
	const cJSON *expected = cJSON_GetObjectItem(row, "embedding");
	const cJSON *item;
	float embedding[32];
	double largest = 1;
	int i = 0;

	assert_int_equal(cJSON_GetArraySize(expected), br_encoder_info(model->encoder)->dimensions);
	embed_one(model, cJSON_GetObjectItem(row, "text")->valuestring, embedding);
	cJSON_ArrayForEach(item, expected) largest = fmax(largest, fabs(item->valuedouble));
	cJSON_ArrayForEach(item, expected)
	{
		if (fabs(embedding[i] - item->valuedouble) > 5e-6 * largest)
			fail_msg("%s: component %d is %.8g instead of %.8g", name, i, embedding[i],
					 item->valuedouble);
		i++;
	}
}

static void
variants_match_reference(void **state)
{
	cJSON *json = read_cases("chain_cases.json");
	const cJSON *item;
	const cJSON *row;

	(void) state;
	cJSON_ArrayForEach(item, cJSON_GetObjectItem(json, "cases"))
	{
		OpenModel model;
		Folder folder;

		folder_read_golden(&folder, cJSON_GetObjectItem(item, "model")->valuestring);
		folder_change(&folder, item);
		model_open(&model, &folder);
		assert_int_equal(br_encoder_info(model.encoder)->max_tokens,
						 cJSON_GetObjectItem(item, "max_tokens")->valueint);
		cJSON_ArrayForEach(row, cJSON_GetObjectItem(item, "rows"))
			check_row(&model, cJSON_GetObjectItem(item, "name")->valuestring, row);
		model_close(&model);
		folder_free(&folder);
	}
	assert_true(cJSON_GetArraySize(cJSON_GetObjectItem(json, "cases")) > 10);
	cJSON_Delete(json);
}

/* Both folders give the same vector, bit by bit. */
static void
check_same(const Folder *one, const Folder *other)
{
	OpenModel models[2];
	float embeddings[2][32];

	model_open(&models[0], one);
	model_open(&models[1], other);
	for (int i = 0; i < 2; i++)
		embed_one(&models[i], "a red usb cable", embeddings[i]);
	assert_memory_equal(embeddings[0], embeddings[1], sizeof(embeddings[0]));
	model_close(&models[0]);
	model_close(&models[1]);
}

/* Replaces every occurrence in the header of a safetensors file. */
static void
rename_tensors(Folder *folder, const char *from, const char *to)
{
	const BrModelFile *file = folder_find(folder, WEIGHTS);
	const char *data = file->data;
	uint64_t size;
	uint64_t used = 0;
	char *changed = malloc(file->size * 2);

	memcpy(&size, data, 8);
	for (const char *at = data + 8; at < data + 8 + size;)
		if (strncmp(at, from, strlen(from)) == 0)
		{
			memcpy(changed + 8 + used, to, strlen(to));
			used += strlen(to);
			at += strlen(from);
		}
		else
			changed[8 + used++] = *at++;
	memcpy(changed, &used, 8);
	memcpy(changed + 8 + used, data + 8 + size, file->size - 8 - size);
	folder_set(folder, WEIGHTS, changed, 8 + used + file->size - 8 - size);
	free(changed);
}

/* A model that was saved with a head has its transformer's tensors under a prefix. */
static void
tensor_prefixes_are_optional(void **state)
{
	static const char *const cases[][3] = {{"tiny-distilbert-mean", "distilbert.",
											"\"transformer."},
										   {"tiny-mpnet-mean", "mpnet.", "\"encoder."},
										   {"tiny-roberta-mean", "roberta.", "\"encoder."},
										   {"tiny-xlmr-mean", "roberta.", "\"encoder."}};

	(void) state;
	for (int i = 0; i < 4; i++)
	{
		Folder plain;
		Folder renamed;
		char to[40];

		folder_read_golden(&plain, cases[i][0]);
		folder_read_golden(&renamed, cases[i][0]);
		snprintf(to, sizeof(to), "\"%sembeddings.", cases[i][1]);
		rename_tensors(&renamed, "\"embeddings.", to);
		snprintf(to, sizeof(to), "\"%s%s", cases[i][1], cases[i][2] + 1);
		rename_tensors(&renamed, cases[i][2], to);
		check_same(&plain, &renamed);
		folder_free(&plain);
		folder_free(&renamed);
	}
}

static void
tensor_names_vary(void **state)
{
	Folder plain;
	Folder renamed;

	(void) state;
	folder_read_golden(&plain, "tiny-bert-cls");
	folder_read_golden(&renamed, "tiny-bert-cls");
	rename_tensors(&renamed, "\"embeddings.", "\"bert.embeddings.");
	rename_tensors(&renamed, "\"encoder.", "\"bert.encoder.");
	check_same(&plain, &renamed);
	rename_tensors(&renamed, "LayerNorm.weight", "LayerNorm.gamma");
	rename_tensors(&renamed, "LayerNorm.bias", "LayerNorm.beta");
	check_same(&plain, &renamed);
	folder_free(&plain);
	folder_free(&renamed);
}

/* Half-width weights equal full-width ones that were rounded before. */
static void
half_width_weights_are_widened(void **state)
{
	(void) state;
	for (int brain = 0; brain < 2; brain++)
	{
		Folder full;
		Folder half;
		size_t size;
		float *values;
		uint16_t *halves;

		folder_read_golden(&full, "tiny-bert-cls");
		folder_read_golden(&half, "tiny-bert-cls");
		values = folder_tensor(&full, WEIGHTS, WORDS, &size);
		halves = malloc(size / 2);
		for (size_t i = 0; i < size / 4; i++)
		{
			uint32_t bits;

			memcpy(&bits, &values[i], 4);
			halves[i] = brain ? (uint16_t) (bits >> 16) : br_math_half_from_float(values[i]);
			bits &= 0xFFFF0000;
			memcpy(&values[i], &bits, 4);
			if (!brain)
				values[i] = br_math_half_to_float(halves[i]);
		}
		folder_set_tensor(&full, WEIGHTS, WORDS, "F32", 1200, 32, values, size);
		folder_set_tensor(&half, WEIGHTS, WORDS, brain ? "BF16" : "F16", 1200, 32, halves,
						  size / 2);
		check_same(&full, &half);
		free(values);
		free(halves);
		folder_free(&full);
		folder_free(&half);
	}
}

/* The transformer in a folder of its own, and modules of the older packages. */
static void
modules_may_live_in_folders(void **state)
{
	Folder flat;
	Folder nested;

	(void) state;
	folder_read_golden(&flat, "tiny-bert-cls");
	folder_read_golden(&nested, "tiny-bert-cls");
	for (int i = 0; i < nested.n; i++)
	{
		const char *old = nested.files[i].path;
		char path[100];

		if (strcmp(old, "modules.json") == 0 || strchr(old, '/') != NULL)
			continue;
		snprintf(path, sizeof(path), "0_Transformer/%s", old);
		free((char *) old);
		nested.files[i].path = strdup(path);
	}
	folder_set_text(&nested, "modules.json",
					"[{\"idx\": 0, \"name\": \"0\", \"path\": \"0_Transformer\","
					"  \"type\": \"sentence_transformers.models.Transformer\"},"
					" {\"idx\": 1, \"name\": \"1\", \"path\": \"1_Pooling\","
					"  \"type\": \"sentence_transformers.models.Pooling\"}]");
	check_same(&flat, &nested);
	folder_free(&flat);
	folder_free(&nested);
}

static bool
contains(char **paths, int n, const char *path)
{
	for (int i = 0; i < n; i++)
		if (strcmp(paths[i], path) == 0)
			return true;
	return false;
}

static void
needed_files_follow_modules(void **state)
{
	BrContext context;
	Folder folder;
	const BrModelFile *modules;
	char **paths;
	int n;

	(void) state;
	br_base_context_init(&context);
	folder_read_golden(&folder, "tiny-bert-cased-max-dense");
	modules = folder_find(&folder, "modules.json");
	assert_int_equal(br_encoder_needed_files(&context, modules->data, modules->size, &paths, &n),
					 BR_OK);
	assert_true(contains(paths, n, "config.json"));
	assert_true(contains(paths, n, "1_Pooling/config.json"));
	assert_true(contains(paths, n, "2_Dense/model.safetensors"));
	assert_false(contains(paths, n, "3_Normalize/config.json"));
	br_base_free(&context, paths);

	assert_int_equal(br_encoder_needed_files(&context, NULL, 0, &paths, &n), BR_OK);
	assert_true(contains(paths, n, "tokenizer.json"));
	assert_false(contains(paths, n, "1_Pooling/config.json"));
	br_base_free(&context, paths);
	folder_free(&folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(variants_match_reference),
		cmocka_unit_test(tensor_prefixes_are_optional),
		cmocka_unit_test(tensor_names_vary),
		cmocka_unit_test(half_width_weights_are_widened),
		cmocka_unit_test(modules_may_live_in_folders),
		cmocka_unit_test(needed_files_follow_modules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
