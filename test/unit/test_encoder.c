/*
 * test_encoder.c
 *	  The encoder against what sentence-transformers gives, and its promises.
 *
 * Expected ids and embeddings are the golden files of test/golden and, where
 * BR_GOLDEN is set, the longer ones there. The default model is looked for in
 * BR_MODEL_DIR.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/encoder_fixture.h"

static void
check_ids(OpenModel *model, const GoldenRow *row)
{
	int32_t *ids;
	int n;

	assert_int_equal(br_encoder_tokenize(model->encoder, &model->context, row->text,
										 strlen(row->text), true, &ids, &n),
					 BR_OK);
	if (n != row->n_ids || memcmp(ids, row->ids, (size_t) n * sizeof(int32_t)) != 0)
		fail_msg("other ids of \"%s\"", row->text);
	br_base_free(&model->context, ids);
}

/* All rows at once, so that batches mix lengths. */
static void
check_golden(OpenModel *model, const Golden *golden, const BrBackend *backend)
{
	const BrModelInfo *info = br_encoder_info(model->encoder);
	const char **texts = malloc((size_t) golden->n * sizeof(char *));
	size_t *sizes = malloc((size_t) golden->n * sizeof(size_t));
	float *embeddings = malloc((size_t) golden->n * (size_t) info->dimensions * sizeof(float));
	double worst = 0;

	assert_int_equal(info->max_tokens, golden->max_tokens);
	for (int i = 0; i < golden->n; i++)
	{
		texts[i] = golden->rows[i].text;
		sizes[i] = strlen(texts[i]);
		check_ids(model, &golden->rows[i]);
	}
	assert_int_equal(br_encoder_embed(model->encoder, &model->context,
									  &(BrCompute){.backend = backend}, texts, sizes, golden->n,
									  true, embeddings),
					 BR_OK);
	for (int i = 0; i < golden->n; i++)
	{
		const GoldenRow *row = &golden->rows[i];
		double difference;

		assert_int_equal(row->dimensions, info->dimensions);
		assert_true(golden_cosine(row, embeddings + (size_t) i * (size_t) row->dimensions,
								  info->normalize, &difference) >= COSINE_BOUND);
		worst = fmax(worst, difference);
	}
	print_message("%s, %d rows: largest component difference %.1e\n", backend->name, golden->n,
				  worst);
	assert_true(worst <= COMPONENT_BOUND);
	free(texts);
	free(sizes);
	free(embeddings);
}

/*
 * The golden file of a directory, with every backend that is built. quick:
 * without the portable one, which takes minutes for a real model.
 */
static bool
check_golden_file(OpenModel *model, const char *variable, const char *name, bool quick)
{
	static const char *const backends[] = {"portable", "openblas"};
	char file[100];
	char *path;
	Golden golden;
	bool found;

	snprintf(file, sizeof(file), "%s.json", name);
	path = path_from(variable, file);
	found = golden_read(&golden, path);
	for (int i = quick; i < 2 && found; i++)
	{
		const BrBackend *backend = load_backend(backends[i]);

		if (backend != NULL)
			check_golden(model, &golden, backend);
		else
			print_message("backend %s is not built\n", backends[i]);
	}
	golden_free(&golden);
	free(path);
	return found;
}

static void
check_model(OpenModel *model, const char *name)
{
	bool real = br_encoder_info(model->encoder)->parameters > 1000 * 1000;

	assert_true(check_golden_file(model, "BR_TEST_DIR", name, false));
	if (!check_golden_file(model, "BR_GOLDEN", name, real))
		print_message("no further rows of %s in BR_GOLDEN\n", name);
}

static void
tiny_cls_matches_reference(void **state)
{
	OpenModel model;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	assert_int_equal(br_encoder_info(model.encoder)->pooling, BR_POOLING_CLS);
	assert_false(br_encoder_info(model.encoder)->normalize);
	check_model(&model, "tiny-bert-cls");
	model_close(&model);
}

static void
tiny_max_dense_matches_reference(void **state)
{
	OpenModel model;

	(void) state;
	model_open_golden(&model, "tiny-bert-cased-max-dense");
	assert_int_equal(br_encoder_info(model.encoder)->pooling, BR_POOLING_MAX);
	assert_int_equal(br_encoder_info(model.encoder)->dimensions, 16);
	assert_true(br_encoder_info(model.encoder)->normalize);
	check_model(&model, "tiny-bert-cased-max-dense");
	model_close(&model);
}

/* The other architectures and tokenizers, from text to vector. */
static void
further_models_match_reference(void **state)
{
	static const struct
	{
		const char *name;
		const char *architecture;
		const char *tokenizer;
		bool normalize;
	} models[] = {{"tiny-distilbert-mean", "distilbert", "wordpiece", true},
				  {"tiny-mpnet-mean", "mpnet", "wordpiece", true},
				  {"tiny-roberta-mean", "roberta", "bpe", false},
				  {"tiny-xlmr-mean", "xlm-roberta", "unigram", true}};

	(void) state;
	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
	{
		OpenModel model;
		const BrModelInfo *info;

		model_open_golden(&model, models[i].name);
		info = br_encoder_info(model.encoder);
		assert_string_equal(info->architecture, models[i].architecture);
		assert_string_equal(info->tokenizer, models[i].tokenizer);
		assert_int_equal(info->pooling, BR_POOLING_MEAN);
		assert_int_equal(info->normalize, models[i].normalize);
		check_model(&model, models[i].name);
		model_close(&model);
	}
}

static void
default_model_matches_reference(void **state)
{
	const char *directory = getenv("BR_MODEL_DIR");
	OpenModel model;
	Folder folder;

	(void) state;
	if (directory == NULL || directory[0] == '\0' || !folder_read(&folder, directory))
	{
		print_message("skipped: BR_MODEL_DIR does not name the folder of all-MiniLM-L6-v2\n");
		skip();
	}
	model_open(&model, &folder);
	folder_free(&folder);

	/* 22.7 million parameters, less the pooler of 384 * 385 that no vector uses */
	assert_int_equal(br_encoder_info(model.encoder)->parameters, 22713216 - 384 * 385);
	assert_int_equal(br_encoder_info(model.encoder)->layers, 6);
	check_model(&model, "all-MiniLM-L6-v2");
	model_close(&model);
}

/* ---- promises of the doors, on a tiny model ---- */

static void
special_tokens_are_plain_text_unless_asked_for(void **state)
{
	/* [ is 36 and ] 37 in the model's vocab.txt; [SEP] as a token would be 3 */
	OpenModel model;
	int32_t *ids;
	int n;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	assert_int_equal(br_encoder_tokenize(model.encoder, &model.context, "[SEP]", 5, false, &ids,
										 &n),
					 BR_OK);
	assert_true(n >= 5);
	assert_int_equal(ids[0], 2);
	assert_int_equal(ids[1], 36);
	assert_int_equal(ids[n - 2], 37);
	assert_int_equal(ids[n - 1], 3);
	for (int i = 1; i < n - 1; i++)
		assert_int_not_equal(ids[i], 3);
	br_base_free(&model.context, ids);

	assert_int_equal(br_encoder_tokenize(model.encoder, &model.context, "[SEP]", 5, true, &ids, &n),
					 BR_OK);
	assert_int_equal(n, 3);
	assert_int_equal(ids[1], 3);
	br_base_free(&model.context, ids);
	model_close(&model);
}

/* A text's vector does not depend on its neighbours in the batch, nor on the door. */
static void
batches_keep_order_and_values(void **state)
{
	enum
	{
		N = 300
	};
	const BrBackend *backend = br_math_portable_backend();
	OpenModel model;
	char storage[N][200];
	const char *texts[N];
	size_t sizes[N];
	int32_t ids[N * 64];
	int32_t offsets[N + 1] = {0};
	float *together = malloc(sizeof(float) * N * 32);
	float *by_ids = malloc(sizeof(float) * N * 32);
	float alone[32];
	int64_t tokens = 0;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	for (int i = 0; i < N; i++)
	{
		int32_t *one;
		int n;

		storage[i][0] = '\0';
		for (int j = 0; j <= i % 17; j++)
			sprintf(storage[i] + strlen(storage[i]), "%d word ", i * j);
		texts[i] = storage[i];
		sizes[i] = strlen(texts[i]);
		assert_int_equal(br_encoder_tokenize(model.encoder, &model.context, texts[i], sizes[i],
											 false, &one, &n),
						 BR_OK);
		memcpy(ids + offsets[i], one, (size_t) n * sizeof(int32_t));
		offsets[i + 1] = offsets[i] + n;
		br_base_free(&model.context, one);
	}
	assert_true(offsets[N] > 3000); /* several batches */
	assert_int_equal(br_encoder_embed(model.encoder, &model.context,
									  &(BrCompute){.backend = backend, .tokens = &tokens}, texts,
									  sizes, N, false, together),
					 BR_OK);
	assert_int_equal(tokens, offsets[N]);
	assert_int_equal(br_encoder_embed_tokens(model.encoder, &model.context,
											 &(BrCompute){.backend = backend}, ids, offsets, N,
											 by_ids),
					 BR_OK);
	for (int i = 0; i < N; i++)
	{
		assert_int_equal(br_encoder_embed(model.encoder, &model.context,
										  &(BrCompute){.backend = backend}, texts + i, sizes + i, 1,
										  false, alone),
						 BR_OK);
		assert_memory_equal(alone, together + i * 32, sizeof(alone));
		assert_memory_equal(alone, by_ids + i * 32, sizeof(alone));
	}
	free(together);
	free(by_ids);
	model_close(&model);
}

static void
bad_arguments_are_refused(void **state)
{
	static const int32_t offsets[][2] = {{0, 0}, {0, 65}, {0, 1}, {-1, 1}};
	OpenModel model;
	BrBackend other = *br_math_portable_backend();
	int32_t ids[65] = {0};
	float embedding[32];
	const char *text = "a";
	size_t size = 1;
	int n;
	int32_t *found;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	ids[0] = 1200; /* the first id the model does not have */
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
		assert_int_equal(br_encoder_embed_tokens(model.encoder, &model.context,
												 &(BrCompute){.backend =
																  br_math_portable_backend()},
												 ids, offsets[i], 1, embedding),
						 BR_ERR_ARGUMENT);
	assert_int_equal(br_encoder_tokenize(model.encoder, &model.context, "caf\xE9 ", 5, false,
										 &found, &n),
					 BR_ERR_ARGUMENT);
	other.version++;
	assert_int_equal(br_encoder_embed(model.encoder, &model.context,
									  &(BrCompute){.backend = &other}, &text, &size, 1, false,
									  embedding),
					 BR_ERR_ARGUMENT);
	model_close(&model);
}

/* ---- cancellation and memory ---- */

/* Every check on the way can stop the call, and nothing is lost by it. */
static void
cancel_stops_at_every_check(void **state)
{
	OpenModel model;
	Countdown countdown = {1000000, 0};
	const char *texts[] = {"a bundle of words", "more words"};
	size_t sizes[] = {17, 10};
	float embeddings[64];
	int checks;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	model.context.cancel.requested = count_down;
	model.context.cancel.arg = &countdown;
	assert_int_equal(br_encoder_embed(model.encoder, &model.context,
									  &(BrCompute){.backend = br_math_portable_backend()}, texts,
									  sizes, 2, false, embeddings),
					 BR_OK);
	checks = countdown.made;
	assert_true(checks >= 2 * 3); /* two layers: projection, attention, the rest */
	for (int i = 0; i < checks; i++)
	{
		countdown = (Countdown){i, 0};
		assert_int_equal(br_encoder_embed(model.encoder, &model.context,
										  &(BrCompute){.backend = br_math_portable_backend()},
										  texts, sizes, 2, false, embeddings),
						 BR_ERR_CANCELLED);
	}
	model.context.cancel.requested = NULL;
	model_close(&model);
}

static void
an_open_encoder_is_small(void **state)
{
	OpenModel model;
	Ledger ledger = {.allowed = -1};
	BrContext context;
	BrEncoder *encoder;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	ledger_context(&context, &ledger);
	assert_int_equal(br_encoder_open(&context, model.image, model.image_size, &encoder), BR_OK);
	assert_true(ledger.peak < 100 * 1000);
	br_encoder_close(encoder);
	br_encoder_close(NULL);
	assert_int_equal(ledger.outstanding, 0);
	model_close(&model);
}

/* Whichever allocation fails, the status says so and everything is given back. */
static void
no_memory_is_an_error_and_no_leak(void **state)
{
	OpenModel model;
	Folder folder;
	BrContext context;
	Ledger ledger;
	BrStatus status = BR_ERR_MEMORY;

	(void) state;
	folder_read_golden(&folder, "tiny-bert-cased-max-dense");
	ledger_context(&context, &ledger);
	for (int allowed = 0; status == BR_ERR_MEMORY; allowed++)
	{
		void *image;
		size_t size;

		ledger = (Ledger){.allowed = allowed};
		status = br_encoder_import(&context, folder.files, folder.n, &image, &size);
		br_base_free(&context, image);
		assert_int_equal(ledger.outstanding, 0);
	}
	assert_int_equal(status, BR_OK);

	model_open(&model, &folder);
	status = BR_ERR_MEMORY;
	for (int allowed = 0; status == BR_ERR_MEMORY; allowed++)
	{
		const char *text = "e\xCC\x81\xCC\xA3 word";
		size_t size = strlen(text);
		float embedding[16];

		ledger = (Ledger){.allowed = allowed};
		status = br_encoder_embed(model.encoder, &context,
								  &(BrCompute){.backend = br_math_portable_backend()}, &text, &size,
								  1, false, embedding);
		assert_int_equal(ledger.outstanding, 0);
	}
	assert_int_equal(status, BR_OK);
	model_close(&model);
	folder_free(&folder);
}

/* Work memory depends on the batch, not on the number of texts. */
static void
embedding_memory_is_bounded(void **state)
{
	enum
	{
		N = 2000
	};
	OpenModel model;
	Ledger ledger = {.allowed = -1};
	BrContext context;
	const char **texts = malloc(N * sizeof(char *));
	size_t *sizes = malloc(N * sizeof(size_t));
	float *embeddings = malloc(N * 32 * sizeof(float));
	size_t peak;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	ledger_context(&context, &ledger);
	for (int i = 0; i < N; i++)
	{
		texts[i] = "one two three four five six seven";
		sizes[i] = strlen(texts[i]);
	}
	assert_int_equal(br_encoder_embed(model.encoder, &context,
									  &(BrCompute){.backend = br_math_portable_backend()}, texts,
									  sizes, 200, false, embeddings),
					 BR_OK);
	peak = ledger.peak;
	assert_int_equal(br_encoder_embed(model.encoder, &context,
									  &(BrCompute){.backend = br_math_portable_backend()}, texts,
									  sizes, N, false, embeddings),
					 BR_OK);
	assert_int_equal(ledger.peak, peak);
	assert_int_equal(ledger.outstanding, 0);
	free(texts);
	free(sizes);
	free(embeddings);
	model_close(&model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tiny_cls_matches_reference),
		cmocka_unit_test(tiny_max_dense_matches_reference),
		cmocka_unit_test(further_models_match_reference),
		cmocka_unit_test(default_model_matches_reference),
		cmocka_unit_test(special_tokens_are_plain_text_unless_asked_for),
		cmocka_unit_test(batches_keep_order_and_values),
		cmocka_unit_test(bad_arguments_are_refused),
		cmocka_unit_test(cancel_stops_at_every_check),
		cmocka_unit_test(an_open_encoder_is_small),
		cmocka_unit_test(no_memory_is_an_error_and_no_leak),
		cmocka_unit_test(embedding_memory_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
