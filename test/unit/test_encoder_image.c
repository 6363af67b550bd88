/*
 * test_encoder_image.c
 *	  Images: where they lie, and that damage to one never harms the process.
 *
 * An image is changed at random; opening it must fail or the encoder must
 * work, in so far as it reads and writes only what is its own. Sanitizers see
 * the rest.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/encoder/tokenizer_int.h"
#include "unit/encoder_fixture.h"

/* Everything that reads the image, on an encoder over it if it opens; whether it did. */
static bool
use(BrContext *context, const void *image, size_t size)
{
	static const char *const texts[] = {"", "[SEP] a red usb cable",
										"\xE4\xB8\xAD e\xCC\x81 \xF0\x9F\x91\xA9"};
	BrEncoder *encoder;

	if (br_encoder_open(context, image, size, &encoder) != BR_OK)
		return false;
	for (int i = 0; i < 3; i++)
	{
		size_t length = strlen(texts[i]);
		int32_t *ids;
		int n;
		float *embedding;

		assert_int_equal(br_encoder_tokenize(encoder, context, texts[i], length, i % 2, &ids, &n),
						 BR_OK);
		assert_true(n <= br_encoder_info(encoder)->max_tokens);
		for (int j = 0; j < n; j++)
			assert_true(ids[j] >= 0 && ids[j] < br_encoder_info(encoder)->vocabulary);
		br_base_free(context, ids);

		embedding = malloc((size_t) br_encoder_info(encoder)->dimensions * sizeof(float));
		if (n > 0)
			assert_int_equal(br_encoder_embed(encoder, context,
											  &(BrCompute){.backend = br_math_portable_backend()},
											  &texts[i], &length, 1, i % 2, embedding),
							 BR_OK);
		free(embedding);
	}
	br_encoder_close(encoder);
	return true;
}

/* All of it may move, and nothing in it is written to. */
static void
image_is_pointer_free(void **state)
{
	OpenModel model;
	char *copy;
	float here[16];
	float there[16];
	const char *text = "a red usb cable";
	size_t length = strlen(text);
	BrEncoder *moved;

	(void) state;
	model_open_golden(&model, "tiny-bert-cased-max-dense");
	copy = malloc(model.image_size);
	memcpy(copy, model.image, model.image_size);
	assert_int_equal(br_encoder_open(&model.context, copy, model.image_size, &moved), BR_OK);
	assert_int_equal(br_encoder_embed(model.encoder, &model.context,
									  &(BrCompute){.backend = br_math_portable_backend()}, &text,
									  &length, 1, false, here),
					 BR_OK);
	memset(model.image, 0, model.image_size);
	assert_int_equal(br_encoder_embed(moved, &model.context,
									  &(BrCompute){.backend = br_math_portable_backend()}, &text,
									  &length, 1, false, there),
					 BR_OK);
	assert_memory_equal(here, there, sizeof(here));
	br_encoder_close(moved);
	free(copy);
	model_close(&model);
}

/* The same folder gives the same bytes: the image can be named by a hash. */
static void
image_is_reproducible(void **state)
{
	OpenModel one;
	OpenModel other;

	(void) state;
	model_open_golden(&one, "tiny-bert-cls");
	model_open_golden(&other, "tiny-bert-cls");
	assert_int_equal(one.image_size, other.image_size);
	assert_memory_equal(one.image, other.image, one.image_size);
	model_close(&one);
	model_close(&other);
}

static void
parts_are_aligned(void **state)
{
	OpenModel model;
	const BrImageHeader *header;
	BrWeightMap map;

	(void) state;
	model_open_golden(&model, "tiny-bert-cased-max-dense");
	header = model.image;
	for (int i = 0; i < BR_PART_COUNT; i++)
		assert_int_equal(header->parts[i].offset % 64, 0);
	br_encoder_map_weights(br_encoder_part(model.image, BR_PART_CONFIG), &map);
	assert_int_equal(map.position % 16, 0);
	assert_int_equal((map.layer + map.layer_stride + map.down_weight) % 16, 0);
	assert_int_equal(map.step_weight[0] % 16, 0);

	/* query, key and value stand together as one matrix of 3 * 32 rows */
	assert_true(map.qkv_bias >= map.qkv_weight + 3 * 32 * 32);
	model_close(&model);
}

static void
cut_images_are_refused(void **state)
{
	OpenModel model;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	for (size_t size = 0; size < model.image_size; size += 1 + size / 9)
	{
		char *cut = malloc(size + 1);

		memcpy(cut, model.image, size);
		assert_false(use(&model.context, cut, size));
		free(cut);
	}
	assert_false(use(&model.context, model.image, model.image_size - 1));
	model_close(&model);
}

static void
other_layouts_are_refused(void **state)
{
	OpenModel model;
	BrImageHeader *header;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	header = model.image;
	header->layout_version++;
	assert_false(use(&model.context, model.image, model.image_size));
	assert_non_null(strstr(model.context.detail, "layout version"));
	header->layout_version--;
	header->byte_order = 0x04030201;
	assert_false(use(&model.context, model.image, model.image_size));
	model_close(&model);
}

/* Texts are cut where an added token ends, which must not be inside a character. */
static void
added_tokens_are_whole_characters(void **state)
{
	OpenModel model;
	const BrImageAdded *added;
	char *text;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	added = br_encoder_part(model.image, BR_PART_ADDED);
	text = (char *) br_encoder_part(model.image, BR_PART_TEXT) + added->offset;
	assert_int_equal(text[added->size - 1], ']');
	text[added->size - 1] = (char) 0xE4;
	assert_false(use(&model.context, model.image, model.image_size));
	assert_non_null(strstr(model.context.detail, "a token"));
	text[added->size - 1] = ')';
	assert_true(use(&model.context, model.image, model.image_size));
	model_close(&model);
}

/* Puts value at a place of a part; the image must be refused with it, and open without. */
static void
expect_refused(OpenModel *model, BrImagePart part, size_t at, const void *value, size_t size)
{
	char *place = (char *) br_encoder_part(model->image, part) + at;
	char kept[8];

	memcpy(kept, place, size);
	memcpy(place, value, size);
	assert_false(use(&model->context, model->image, model->image_size));
	assert_non_null(strstr(model->context.detail, "damaged"));
	memcpy(place, kept, size);
	assert_true(use(&model->context, model->image, model->image_size));
}

/* Circles, ways outside and numbers that are none, in the tables of BPE and Unigram. */
static void
tables_of_subwords_are_checked(void **state)
{
	static const double not_a_number = (double) NAN;
	static const int32_t negative = -2;
	static const int32_t none = -1;
	static const uint32_t zero = 0;
	static const uint32_t large = 1000000;
	static const char half_a_character = (char) 0xC3;
	OpenModel model;
	const BrImageNode *nodes;
	size_t inner = 1;

	(void) state;
	model_open_golden(&model, "tiny-roberta-mean");
	expect_refused(&model, BR_PART_MERGES, offsetof(BrImageMerge, merged), &none, 4);
	expect_refused(&model, BR_PART_MERGES, offsetof(BrImageMerge, merged), &large, 4);
	expect_refused(&model, BR_PART_MERGE_SLOTS, 0, &large, 4);
	expect_refused(&model, BR_PART_BYTES, 4 * 'a', &negative, 4);
	expect_refused(&model, BR_PART_BYTES, 4 * 'a', &large, 4);
	model_close(&model);

	model_open_golden(&model, "tiny-xlmr-mean");
	nodes = br_encoder_part(model.image, BR_PART_TRIE);
	while (nodes[inner].n_children == 0)
		inner++;
	/* a node that is its own child, one below the root, and children behind the last node */
	expect_refused(&model, BR_PART_TRIE, inner * sizeof(BrImageNode), &inner, 4);
	expect_refused(&model, BR_PART_TRIE, inner * sizeof(BrImageNode), &zero, 4);
	expect_refused(&model, BR_PART_TRIE, inner * sizeof(BrImageNode), &large, 4);
	expect_refused(&model, BR_PART_TRIE, inner * sizeof(BrImageNode) + offsetof(BrImageNode, token),
				   &large, 4);
	expect_refused(&model, BR_PART_SCORES, 8, &not_a_number, 8);
	expect_refused(&model, BR_PART_REPLACEMENTS, 0, &half_a_character, 1);
	expect_refused(&model, BR_PART_CONFIG, offsetof(BrImageConfig, n_rules), &large, 4);
	expect_refused(&model, BR_PART_CONFIG, offsetof(BrImageConfig, unknown_score), &not_a_number,
				   8);
	model_close(&model);
}

/* A character map that leads outside gives no string and reads nothing there. */
static void
character_map_may_be_damaged(void **state)
{
	OpenModel model;
	const BrImageConfig *config;
	uint32_t *units;

	(void) state;
	model_open_golden(&model, "tiny-xlmr-mean");
	config = br_encoder_part(model.image, BR_PART_CONFIG);
	units = (uint32_t *) br_encoder_part(model.image, BR_PART_UNITS);
	assert_true(config->n_units > 0);
	for (uint32_t i = 0; i < config->n_units; i++)
		units[i] |= UINT32_C(0x7FFFFD00);
	assert_true(use(&model.context, model.image, model.image_size));
	model_close(&model);
}

/* Random bytes and words, mostly where the image steers: header, configuration, tables. */
static void
damage_model(const char *name)
{
	enum
	{
		ROUNDS = 4000
	};
	static const uint32_t words[] = {0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1200, 64, 65};
	OpenModel model;
	BrRandom random;
	char *image;
	size_t weights;
	int opened = 0;

	model_open_golden(&model, name);
	weights = ((BrImageHeader *) model.image)->parts[BR_PART_WEIGHTS].offset;
	image = malloc(model.image_size);
	br_base_random_init(&random, 987, 1);
	for (int round = 0; round < ROUNDS; round++)
	{
		size_t range = round % 4 == 0 ? model.image_size
			: round % 4 == 1		  ? weights
									  : sizeof(BrImageHeader) + sizeof(BrImageConfig) + 64;

		memcpy(image, model.image, model.image_size);
		for (uint32_t i = 0; i <= br_base_random_below(&random, 3); i++)
		{
			size_t at = br_base_random_below(&random, (uint32_t) range);

			if (round % 2)
				image[at] ^= (char) (1 << br_base_random_below(&random, 8));
			else
				memcpy(image + at / 4 * 4, &words[br_base_random_below(&random, 8)], 4);
		}
		opened += use(&model.context, image, model.image_size);
	}
	assert_true(opened > ROUNDS / 20 && opened < ROUNDS);
	free(image);
	model_close(&model);
}

static void
damage_never_harms(void **state)
{
	(void) state;
	damage_model("tiny-bert-cased-max-dense");
	damage_model("tiny-mpnet-mean");
	damage_model("tiny-roberta-mean");
	damage_model("tiny-xlmr-mean");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_of_subwords_are_checked),
		cmocka_unit_test(character_map_may_be_damaged),
		cmocka_unit_test(image_is_pointer_free),
		cmocka_unit_test(image_is_reproducible),
		cmocka_unit_test(parts_are_aligned),
		cmocka_unit_test(cut_images_are_refused),
		cmocka_unit_test(other_layouts_are_refused),
		cmocka_unit_test(added_tokens_are_whole_characters),
		cmocka_unit_test(damage_never_harms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
