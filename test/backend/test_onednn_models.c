/*
 * test_onednn_models.c
 *	  Whole models with oneDNN against what sentence-transformers gives.
 *
 * Every golden model, in every precision and at every instruction set that
 * this machine has. Rows are those of test/golden and, with whatever the
 * processor has, the longer files of BR_GOLDEN: the same hostile texts and
 * then product titles. The default model is looked for in BR_MODEL_DIR.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/instruction_sets.h"
#include "backend/operations.h"
#include "unit/encoder_fixture.h"

#define DEFAULT_MODEL "all-MiniLM-L6-v2"
#define HOSTILE_ROWS 56

static const char *const precision_names[BR_PRECISION_COUNT] = {"f32", "bf16", "int8"};

/* The least cosine that the design allows. */
static double
cosine_bound(BrPrecision precision, int row)
{
	switch (precision)
	{
		case BR_PRECISION_F32:
			return COSINE_BOUND;
		case BR_PRECISION_BF16:
			return 0.999;
		case BR_PRECISION_INT8:
			break;
	}
	return row < HOSTILE_ROWS ? 0.985 : 0.99;
}

static void *
pack_model(OpenModel *model, const BrBackend *backend, BrPrecision precision)
{
	size_t size = br_encoder_packed_size(model->encoder, backend, precision);
	void *packed = NULL;

	assert_true(size > 0);
	assert_int_equal(posix_memalign(&packed, 64, size), 0);
	assert_int_equal(br_encoder_pack(model->encoder, &model->context, backend, precision, packed),
					 BR_OK);
	assert_int_equal(br_encoder_check_packed(model->encoder, &model->context, backend, precision,
											 packed, size),
					 BR_OK);
	return packed;
}

/* All rows at once, so that batches mix lengths. */
static void
check_rows(OpenModel *model, const char *name, const Golden *golden, const BrCompute *compute,
		   BrPrecision precision)
{
	const BrModelInfo *info = br_encoder_info(model->encoder);
	const char **texts = malloc((size_t) golden->n * sizeof(char *));
	size_t *sizes = malloc((size_t) golden->n * sizeof(size_t));
	float *embeddings = malloc((size_t) golden->n * (size_t) info->dimensions * sizeof(float));
	double least = 1;
	double most = 0;

	for (int i = 0; i < golden->n; i++)
	{
		texts[i] = golden->rows[i].text;
		sizes[i] = strlen(texts[i]);
	}
	assert_int_equal(br_encoder_embed(model->encoder, &model->context, compute, texts, sizes,
									  golden->n, true, embeddings),
					 BR_OK);
	for (int i = 0; i < golden->n; i++)
	{
		double difference;
		double cosine =
			golden_cosine(&golden->rows[i], embeddings + (size_t) i * (size_t) info->dimensions,
						  info->normalize, &difference);

		if (!(cosine >= cosine_bound(precision, i)))
			fail_msg("%s in %s, row %d: cosine %.5f", name, precision_names[precision], i, cosine);
		least = fmin(least, cosine);
		most = fmax(most, difference);
	}
	print_message("%s in %s, %d rows: least cosine %.5f, largest component difference %.1e\n", name,
				  precision_names[precision], golden->n, least, most);
	if (precision == BR_PRECISION_F32)
		assert_true(most <= COMPONENT_BOUND);
	free(texts);
	free(sizes);
	free(embeddings);
}

/* The rows of a directory; false: they are not there. */
static bool
check_file(OpenModel *model, const char *variable, const char *name, const BrBackend *backend)
{
	char file[100];
	char *path;
	Golden golden;
	bool found;

	snprintf(file, sizeof(file), "%s.json", name);
	path = path_from(variable, file);
	found = golden_read(&golden, path);
	for (int i = 0; i < BR_PRECISION_COUNT && found; i++)
	{
		BrPrecision precision = (BrPrecision) i;
		void *packed;

		if (!backend->packs(precision))
			continue;
		packed = pack_model(model, backend, precision);
		check_rows(model, name, &golden, &(BrCompute){.backend = backend, .packed = packed},
				   precision);
		free(packed);
	}
	golden_free(&golden);
	free(path);
	return found;
}

static void
check_model(void **state, OpenModel *model, const char *name)
{
	Variant *variant = *state;

	assert_true(check_file(model, "BR_TEST_DIR", name, variant->table));
	if (variant->instruction_set == NULL && !check_file(model, "BR_GOLDEN", name, variant->table))
		print_message("no further rows of %s in BR_GOLDEN\n", name);
}

static void
tiny_models_match_reference(void **state)
{
	static const char *const names[] = {"tiny-bert-cls",		"tiny-bert-cased-max-dense",
										"tiny-distilbert-mean", "tiny-mpnet-mean",
										"tiny-roberta-mean",	"tiny-xlmr-mean"};

	(void) table_or_skip(state);
	for (int i = 0; i < LENGTH(names); i++)
	{
		OpenModel model;

		model_open_golden(&model, names[i]);
		check_model(state, &model, names[i]);
		model_close(&model);
	}
}

static void
default_model_matches_reference(void **state)
{
	const char *directory = getenv("BR_MODEL_DIR");
	OpenModel model;
	Folder folder;

	(void) table_or_skip(state);
	if (directory == NULL || directory[0] == '\0' || !folder_read(&folder, directory))
	{
		print_message("skipped: BR_MODEL_DIR does not name the folder of all-MiniLM-L6-v2\n");
		skip();
	}
	model_open(&model, &folder);
	folder_free(&folder);
	check_model(state, &model, DEFAULT_MODEL);
	model_close(&model);
}

static int
test_set(const char *instruction_set)
{
	static const struct CMUnitTest model_tests[] = {
		cmocka_unit_test(tiny_models_match_reference),
		cmocka_unit_test(default_model_matches_reference),
	};
	struct CMUnitTest tests[LENGTH(model_tests)];
	Variant variant = {.backend = "onednn", .instruction_set = instruction_set};
	int failed;

	open_variant(&variant);
	name_tests(tests, model_tests, LENGTH(tests), &variant);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free_names(tests, LENGTH(tests));
	return failed;
}

int
main(int argc, char **argv)
{
	return run_for_each_set(argc, argv, test_set);
}
