/*
 * test_encoder_describe.c
 *	  What the embedding service has of an encoder: the ids of many texts, and the
 *	  model as a device sees it.
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

#include "backend/reference_transformer.h"
#include "core/encoder/encoder_int.h"
#include "unit/encoder_fixture.h"

static const char *const models[] = {"tiny-bert-cls",		 "tiny-bert-cased-max-dense",
									 "tiny-distilbert-mean", "tiny-roberta-mean",
									 "tiny-xlmr-mean",		 "tiny-mpnet-mean"};

#define N_MODELS (sizeof(models) / sizeof(models[0]))

static const char *const texts[] =
	{"",
	 "whole milk",
	 "[SEP] and <s> and </s><pad>",
	 "Gr\xC3\xBC\xC3\x9F"
	 "e aus K\xC3\xB6ln",
	 " ",
	 "a much longer text, which has more words than any model here takes tokens: one two three four "
	 "five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
	 "eighteen nineteen twenty, and once more from the beginning: one two three four five six seven "
	 "eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"};

#define N_TEXTS ((int) (sizeof(texts) / sizeof(texts[0])))

static void
measure(size_t *sizes)
{
	for (int i = 0; i < N_TEXTS; i++)
		sizes[i] = strlen(texts[i]);
}

/* ---- ids of many texts ---- */

static void
many_texts_have_the_ids_of_each(void **state)
{
	size_t sizes[N_TEXTS];

	(void) state;
	measure(sizes);
	for (size_t i = 0; i < 2 * N_MODELS; i++)
	{
		bool special = i % 2 != 0;
		OpenModel model;
		int32_t *ids;
		int32_t *offsets;

		model_open_golden(&model, models[i / 2]);
		assert_int_equal(br_encoder_encode(model.encoder, &model.context, texts, sizes, N_TEXTS,
										   special, &ids, &offsets),
						 BR_OK);
		assert_int_equal(offsets[0], 0);
		for (int j = 0; j < N_TEXTS; j++)
		{
			int32_t *alone;
			int n;

			assert_int_equal(br_encoder_tokenize(model.encoder, &model.context, texts[j], sizes[j],
												 special, &alone, &n),
							 BR_OK);
			assert_int_equal(offsets[j + 1] - offsets[j], n);
			assert_memory_equal(ids + offsets[j], alone, (size_t) n * sizeof(int32_t));
			br_base_free(&model.context, alone);
		}
		br_base_free(&model.context, ids);
		br_base_free(&model.context, offsets);

		/* of no text at all */
		assert_int_equal(br_encoder_encode(model.encoder, &model.context, NULL, NULL, 0, special,
										   &ids, &offsets),
						 BR_OK);
		assert_non_null(ids);
		assert_int_equal(offsets[0], 0);
		br_base_free(&model.context, ids);
		br_base_free(&model.context, offsets);
		model_close(&model);
	}
}

static void
encoding_fails_without_a_trace(void **state)
{
	static const char *const broken[] = {"good", "caf\xE9 "};
	const size_t broken_sizes[] = {4, 5};
	Ledger ledger = {.allowed = -1};
	Countdown countdown = {.checks = 1000};
	size_t sizes[N_TEXTS];
	OpenModel model;
	BrContext context;
	BrStatus status = BR_ERR_MEMORY;
	int32_t *ids;
	int32_t *offsets;
	int refused = 0;

	(void) state;
	measure(sizes);
	model_open_golden(&model, "tiny-bert-cls");
	ledger_context(&context, &ledger);
	assert_int_equal(br_encoder_encode(model.encoder, &context, broken, broken_sizes, 2, false,
									   &ids, &offsets),
					 BR_ERR_ARGUMENT);
	assert_null(ids);
	assert_null(offsets);
	assert_int_equal(ledger.outstanding, 0);

	/* before each of the texts */
	context.cancel = (BrCancel){count_down, &countdown};
	for (countdown.checks = 0; countdown.checks < N_TEXTS; countdown.checks++)
	{
		countdown.made = 0;
		assert_int_equal(br_encoder_encode(model.encoder, &context, texts, sizes, N_TEXTS, false,
										   &ids, &offsets),
						 BR_ERR_CANCELLED);
		assert_null(ids);
		assert_int_equal(ledger.outstanding, 0);
	}

	countdown = (Countdown){.checks = 1000};
	for (; status != BR_OK; refused++)
	{
		ledger.allowed = refused;
		status = br_encoder_encode(model.encoder, &context, texts, sizes, N_TEXTS, false, &ids,
								   &offsets);
		assert_true(status == BR_OK || (status == BR_ERR_MEMORY && ledger.outstanding == 0));
	}
	assert_true(refused > 5);
	br_base_free(&context, ids);
	br_base_free(&context, offsets);
	assert_int_equal(ledger.outstanding, 0);
	model_close(&model);
}

/* ---- the description ---- */

/* Padding tokens in the text, and the first and the last id, too. */
static int
make_ids(const BrTransformer *described, BrRandom *random, int n, int32_t *ids)
{
	for (int i = 0; i < n; i++)
		ids[i] = (int32_t) br_base_random_below(random,
												i % 3 == 0 ? 3 : (uint32_t) described->vocabulary);
	ids[n / 2] = described->vocabulary - 1;
	return n;
}

/* The reference reads nothing but the description, the encoder nothing but the image. */
static void
described_models_embed_the_same(void **state)
{
	static const int lengths[] = {1, 2, 7, 31, 64};
	BrCompute compute = {.backend = br_math_portable_backend()};
	BrRandom random;

	(void) state;
	br_base_random_init(&random, 15, 0);
	for (size_t i = 0; i < N_MODELS; i++)
	{
		BrTransformer *described;
		OpenModel model;

		model_open_golden(&model, models[i]);
		assert_int_equal(br_encoder_describe(model.encoder, &model.context, &described), BR_OK);
		for (size_t j = 0; j < sizeof(lengths) / sizeof(lengths[0]); j++)
		{
			int32_t ids[64];
			int32_t offsets[2] = {0};
			float expected[64];
			float embedding[64];

			assert_true(described->dimensions <= 64 && described->max_tokens >= 64);
			offsets[1] = make_ids(described, &random, lengths[j], ids);
			assert_int_equal(br_encoder_embed_tokens(model.encoder, &model.context, &compute, ids,
													 offsets, 1, embedding),
							 BR_OK);
			reference_embed(described, ids, offsets[1], expected);
			for (int k = 0; k < described->dimensions; k++)
				if (!(fabsf(embedding[k] - expected[k]) <= 1e-5f * fmaxf(1, fabsf(expected[k]))))
					fail_msg("%s, %d tokens, component %d: %.8g instead of %.8g", models[i],
							 offsets[1], k, (double) embedding[k], (double) expected[k]);
		}
		br_base_free(&model.context, described);
		model_close(&model);
	}
}

static bool
inside(const OpenModel *model, const float *weights)
{
	return (const char *) weights >= (const char *) model->image &&
		(const char *) weights < (const char *) model->image + model->image_size;
}

/* Weights are not copied, and what a model has not is NULL. */
static void
descriptions_point_into_the_image(void **state)
{
	(void) state;
	for (size_t i = 0; i < N_MODELS; i++)
	{
		bool typed = strstr(models[i], "distilbert") == NULL && strstr(models[i], "mpnet") == NULL;
		bool dense = strstr(models[i], "dense") != NULL;
		const BrModelInfo *info;
		BrTransformer *described;
		OpenModel model;

		model_open_golden(&model, models[i]);
		info = br_encoder_info(model.encoder);
		assert_int_equal(br_encoder_describe(model.encoder, &model.context, &described), BR_OK);
		assert_int_equal(described->layers, info->layers);
		assert_int_equal(described->hidden, info->hidden_size);
		assert_int_equal(described->vocabulary, info->vocabulary);
		assert_int_equal(described->dimensions, info->dimensions);
		assert_int_equal(described->max_tokens, info->max_tokens);
		assert_int_equal(described->pooling, info->pooling);
		assert_true(inside(&model, described->word) && inside(&model, described->position));
		assert_int_equal(described->type_row != NULL, typed);
		assert_int_equal(described->relative != NULL, strstr(models[i], "mpnet") != NULL);
		for (int j = 0; j < described->layers; j++)
			assert_true(inside(&model, described->layer[j].qkv_weight) &&
						inside(&model, described->layer[j].layer_bias));
		assert_int_equal(described->n_steps, dense + info->normalize);
		for (int j = 0; j < described->n_steps; j++)
			assert_true(described->steps[j].normalize ? described->steps[j].weight == NULL
													  : inside(&model, described->steps[j].weight));
		br_base_free(&model.context, described);
		model_close(&model);
	}
}

/* Both directions of each distance have what the image has for its bucket. */
static void
distances_are_those_of_the_buckets(void **state)
{
	/* buckets of distances 0, 1, 7, 8, 12, 63 behind the query; before it 16 less */
	static const int distances[][2] = {{0, 0},	{1, 17}, {7, 23}, {8, 24},	{12, 25}, {63, 29},
									   {-1, 1}, {-7, 7}, {-8, 8}, {-11, 8}, {-12, 9}, {-63, 13}};
	const float *table;
	BrTransformer *described;
	OpenModel model;

	(void) state;
	model_open_golden(&model, "tiny-mpnet-mean");
	assert_int_equal(br_encoder_describe(model.encoder, &model.context, &described), BR_OK);
	table = br_encoder_weights(model.encoder) + br_encoder_weight_map(model.encoder)->relative;
	for (size_t i = 0; i < sizeof(distances) / sizeof(distances[0]); i++)
		for (int head = 0; head < described->heads; head++)
		{
			int width = 2 * described->max_tokens - 1;
			float entry =
				described->relative[head * width + distances[i][0] + described->max_tokens - 1];

			assert_true(entry == table[distances[i][1] * described->heads + head]);
		}
	br_base_free(&model.context, described);
	model_close(&model);
}

static void
describing_needs_one_block(void **state)
{
	Ledger ledger = {.allowed = 0};
	BrTransformer *described;
	BrContext context;
	OpenModel model;

	(void) state;
	model_open_golden(&model, "tiny-mpnet-mean");
	ledger_context(&context, &ledger);
	assert_int_equal(br_encoder_describe(model.encoder, &context, &described), BR_ERR_MEMORY);
	assert_null(described);
	ledger.allowed = 1;
	assert_int_equal(br_encoder_describe(model.encoder, &context, &described), BR_OK);
	br_base_free(&context, described);
	assert_int_equal(ledger.outstanding, 0);
	model_close(&model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_texts_have_the_ids_of_each),
		cmocka_unit_test(encoding_fails_without_a_trace),
		cmocka_unit_test(described_models_embed_the_same),
		cmocka_unit_test(descriptions_point_into_the_image),
		cmocka_unit_test(distances_are_those_of_the_buckets),
		cmocka_unit_test(describing_needs_one_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
