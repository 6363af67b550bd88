/*
 * test_encoder_windows.c
 *	  Long texts under byte-level BPE and Unigram: what they cost, and that the
 *	  windows they are cut into change nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "unit/encoder_fixture.h"

#define R "tiny-roberta-mean"
#define X "tiny-xlmr-mean"
#define T "tokenizer.json"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

/* ---- long texts ---- */

/* Memory that is counted, and a cancel request after a number of questions. */
typedef struct Watch
{
	size_t now;
	size_t most;
	long questions;
	long cancel_at; /* -1: never */
} Watch;

static void *
watched_alloc(void *arg, size_t size)
{
	Watch *watch = arg;
	size_t *block = malloc(size + 16);

	block[0] = size;
	watch->now += size;
	watch->most = watch->now > watch->most ? watch->now : watch->most;
	return (char *) block + 16;
}

static void
watched_free(void *arg, void *pointer)
{
	Watch *watch = arg;

	if (pointer == NULL)
		return;
	pointer = (char *) pointer - 16;
	watch->now -= *(size_t *) pointer;
	free(pointer);
}

static bool
watched_cancel(void *arg)
{
	Watch *watch = arg;

	return ++watch->questions == watch->cancel_at;
}

static BrStatus
tokenize_watched(const OpenModel *model, Watch *watch, const char *text, size_t size, int32_t **ids,
				 int *n)
{
	BrContext context = {.allocator = {watched_alloc, watched_free, watch},
						 .cancel = {watched_cancel, watch}};
	BrStatus status;

	watch->now = 0;
	watch->most = 0;
	watch->questions = 0;
	status = br_encoder_tokenize(model->encoder, &context, text, size, true, ids, n);
	if (status == BR_OK)
	{
		int32_t *copy = malloc((size_t) *n * sizeof(int32_t) + 1);

		memcpy(copy, *ids, (size_t) *n * sizeof(int32_t));
		br_base_free(&context, *ids);
		*ids = copy;
	}
	assert_int_equal(watch->now, 0);
	return status;
}

static void
fill(char *text, size_t size, const char *with)
{
	size_t length = strlen(with);

	for (size_t i = 0; i + length <= size; i += length)
		memcpy(text + i, with, length);
}

/* What a long text of words costs does not depend on how long it is. */
static void
memory_is_that_of_the_beginning(void **state)
{
	enum
	{
		SIZE = 12 * 1000 * 1000
	};
	static const char *const models[] = {"tiny-roberta-mean", "tiny-xlmr-mean"};
	static const char *const words[] = {"red cable ",
										"\xD1\x80\xD1\x83\xD1\x87\xD0\xBA\xD0\xB0 x "};
	char *text = malloc(SIZE);

	(void) state;
	for (int i = 0; i < LENGTH(models) * LENGTH(words); i++)
	{
		const char *word = words[i / LENGTH(models)];
		size_t size = SIZE / strlen(word) * strlen(word);
		OpenModel model;
		Watch watch = {.cancel_at = -1};
		int32_t *expected;
		int32_t *ids;
		int n_expected;
		int n;

		model_open_golden(&model, models[i % LENGTH(models)]);
		fill(text, SIZE, word);
		assert_int_equal(tokenize_watched(&model, &watch, text, 60 * strlen(word), &expected,
										  &n_expected),
						 BR_OK);
		assert_int_equal(n_expected, 64);
		assert_int_equal(tokenize_watched(&model, &watch, text, size, &ids, &n), BR_OK);
		assert_int_equal(n, 64);
		assert_memory_equal(ids, expected, 64 * sizeof(int32_t));
		assert_true(watch.most < 1000 * 1000);
		free(ids);
		free(expected);
		model_close(&model);
	}
	free(text);
}

/*
 * A tokenizer.json with the tokens of all bytes, byte b as id 100 + b, and two
 * merges: a and a, then aa and aa. Of a word of many a no end is in sight.
 */
static char *
doubling_tokenizer(void)
{
	static const char begin[] =
		"{\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\"},"
		"\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"</s>\",2],\"cls\":[\"<s>\",0]},"
		"\"model\":{\"type\":\"BPE\",\"merges\":[\"a a\",\"aa aa\"],"
		"\"vocab\":{\"<s>\":0,\"</s>\":2,\"aa\":8,\"aaaa\":9";
	char *json = malloc(sizeof(begin) + 256 * 20);
	char *end = json + sprintf(json, "%s", begin);
	int hidden = 0;

	for (int byte = 0; byte < 256; byte++)
	{
		bool visible = (byte > ' ' && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);

		end += sprintf(end, ",\"\\u%04X\":%d", visible ? byte : 256 + hidden, 100 + byte);
		hidden += !visible;
	}
	sprintf(end, "}}}");
	return json;
}

/*
 * One word without end: its ids are as arithmetic says, memory is linear in it,
 * and the caller is asked again and again whether to stop.
 */
static void
endless_word_can_be_cancelled(void **state)
{
	enum
	{
		SIZE = 4 * 1000 * 1000
	};
	static const int turns[] = {8, 100 + 'a', 100 + 'b'};
	char *json = doubling_tokenizer();
	char *text = malloc(SIZE);
	Folder folder;
	OpenModel model;
	Watch watch = {.cancel_at = -1};
	int32_t *ids;
	int n;

	(void) state;
	folder_read_golden(&folder, "tiny-roberta-mean");
	folder_set_text(&folder, T, json);
	model_open(&model, &folder);
	memset(text, 'a', SIZE);
	assert_int_equal(tokenize_watched(&model, &watch, text, SIZE, &ids, &n), BR_OK);
	assert_int_equal(n, 64);
	for (int i = 1; i < n - 1; i++)
		assert_int_equal(ids[i], 9);
	assert_true(watch.most < (size_t) 60 * SIZE);
	free(ids);

	/* every 65,536 of its 5,000,000 merges and more, and once for each megabyte before */
	assert_true(watch.questions > 50);
	watch.cancel_at = watch.questions;
	assert_int_equal(tokenize_watched(&model, &watch, text, SIZE, &ids, &n), BR_ERR_CANCELLED);

	/* no merge has a and b side by side: of such a word only the beginning is looked at */
	fill(text, SIZE, "aaab");
	watch.cancel_at = -1;
	assert_int_equal(tokenize_watched(&model, &watch, text, SIZE, &ids, &n), BR_OK);
	assert_int_equal(n, 64);
	for (int i = 1; i < n - 1; i++)
		assert_int_equal(ids[i], turns[(i - 1) % 3]);
	assert_true(watch.most < (size_t) 2 * SIZE);
	free(ids);
	free(text);
	free(json);
	model_close(&model);
	folder_free(&folder);
}

/*
 * Where ways to cover a text never meet, its end decides about its beginning.
 * From transformers 4.57.6: 1413 is "...", 88 is ".", 4 is the space.
 */
static void
repeated_character_matches_reference(void **state)
{
	static const struct
	{
		int size;
		int ones; /* before the threes */
	} cases[] = {{99999, 0}, {100003, 1}, {100004, 2}, {100005, 0}};
	char text[100005];
	OpenModel model;
	Watch watch = {.cancel_at = -1};
	int32_t *ids;
	int n;

	(void) state;
	model_open_golden(&model, X);
	memset(text, '.', sizeof(text));
	for (int i = 0; i < LENGTH(cases); i++)
	{
		assert_int_equal(tokenize_watched(&model, &watch, text, (size_t) cases[i].size, &ids, &n),
						 BR_OK);
		assert_int_equal(n, 64);
		assert_int_equal(ids[1], 4);
		for (int j = 2; j < n - 1; j++)
			assert_int_equal(ids[j], j < 2 + cases[i].ones ? 88 : 1413);
		free(ids);
	}
	assert_true(watch.questions > 3);
	watch.cancel_at = watch.questions;
	assert_int_equal(tokenize_watched(&model, &watch, text, sizeof(text), &ids, &n),
					 BR_ERR_CANCELLED);
	model_close(&model);
}

/* ---- windows ---- */

/*
 * A model that takes thousands of tokens. whole: a token that no text here has
 * takes in the whitespace behind it, so that texts are not cut into windows.
 * tokenizer: instead of the model's own tokenizer.json, or NULL.
 */
static void
open_long(OpenModel *model, const char *name, const char *tokenizer, bool whole)
{
	enum
	{
		POSITIONS = 12000
	};
	bool unigram = strcmp(name, X) == 0;
	float *zeros = calloc(POSITIONS * 32, sizeof(float));
	Folder folder;

	folder_read_golden(&folder, name);
	if (tokenizer != NULL)
		folder_set_text(&folder, T, tokenizer);
	folder_replace(&folder, "config.json", "\"max_position_embeddings\": 80",
				   "\"max_position_embeddings\": 12000");
	folder_replace(&folder, "sentence_bert_config.json", "{", "{\"max_seq_length\": 11000,");
	folder_set_tensor(&folder, "model.safetensors", "embeddings.position_embeddings.weight", "F32",
					  POSITIONS, 32, zeros, POSITIONS * 32 * sizeof(float));
	if (whole)
		folder_replace(
			&folder, "tokenizer_config.json",
			unigram
				? "\"<mask>\",\n      \"lstrip\": true,\n      \"normalized\": true,\n      \"rstrip\": false"
				: "\"<pad>\",\n      \"lstrip\": false,\n      \"normalized\": true,\n      \"rstrip\": false",
			unigram ? "\"<mask>\", \"lstrip\": true, \"normalized\": true, \"rstrip\": true"
					: "\"<pad>\", \"lstrip\": false, \"normalized\": true, \"rstrip\": true");
	model_open(model, &folder);
	folder_free(&folder);
	free(zeros);
}

static void
expect_same_ids(OpenModel *one, OpenModel *other, const char *text, size_t size, bool special)
{
	int32_t *ids[2];
	int n[2];

	assert_int_equal(br_encoder_tokenize(one->encoder, &one->context, text, size, special, &ids[0],
										 &n[0]),
					 BR_OK);
	assert_int_equal(br_encoder_tokenize(other->encoder, &other->context, text, size, special,
										 &ids[1], &n[1]),
					 BR_OK);
	assert_true(n[0] > 1000 && n[0] < 11000);
	assert_int_equal(n[0], n[1]);
	assert_memory_equal(ids[0], ids[1], (size_t) n[0] * sizeof(int32_t));
	br_base_free(&one->context, ids[0]);
	br_base_free(&other->context, ids[1]);
}

/* Whatever stands where a window may end, the ids are those of the text in one piece. */
static void
windows_change_nothing(void **state)
{
	enum
	{
		WINDOW = 4096,
		SIZE = 9000
	};
	cJSON *json = read_cases("subword_cases.json");
	const cJSON *item;
	struct
	{
		const char *model;
		const char *tokenizer;
	} models[] = {{R, NULL}, {X, NULL}, {X, NULL}};
	static const char *const patterns[] = {"x y",
										   "x  y",
										   "x   y",
										   " \u0301 ",
										   "x \u0301y",
										   "x\u0301 y",
										   "x\u00A0 y",
										   "x \u00A0y",
										   "x\n y",
										   "x \ny",
										   "x\u3000y",
										   "x \u200By",
										   "x\u200B y",
										   "x \u0903",
										   "\u0600x y",
										   "\u0600 y",
										   "\uFDFA y",
										   "\u00B4 y",
										   "x \u00B4",
										   "1 2",
										   "' s",
										   " 's",
										   "x \x01y",
										   "x\x01 y",
										   "x\x01 \x01 y",
										   "x <s>y",
										   "x<s> y",
										   "<s> <s>",
										   "x \u2581y",
										   "\u2581 y",
										   "\u1100 \u1161",
										   "\u0915\u094D \u0937",
										   "\u00A9\u200D \u00A9",
										   "\u2126 \u2126"};
	char text[SIZE];

	(void) state;
	cJSON_ArrayForEach(item,
					   cJSON_GetObjectItem(json,
										   "cases")) if (strcmp(cJSON_GetObjectItem(item, "name")
																	->valuestring,
																"a character map of its own") == 0)
		models[2]
			.tokenizer = cJSON_GetObjectItem(item, "tokenizer")->valuestring;
	assert_non_null(models[2].tokenizer);
	for (int i = 0; i < LENGTH(models) * LENGTH(patterns); i++)
	{
		const char *pattern = patterns[i / LENGTH(models)];
		const char *name = models[i % LENGTH(models)].model;
		const char *tokenizer = models[i % LENGTH(models)].tokenizer;
		OpenModel windows;
		OpenModel whole;

		open_long(&windows, name, tokenizer, false);
		open_long(&whole, name, tokenizer, true);
		for (size_t at = WINDOW - 6; at < WINDOW + 3; at++)
		{
			/* no space before or behind it, so that the window ends within, if anywhere */
			memset(text, 'c', SIZE);
			memcpy(text + at, pattern, strlen(pattern));
			expect_same_ids(&windows, &whole, text, SIZE, false);
			expect_same_ids(&windows, &whole, text, SIZE, true);
		}
		model_close(&windows);
		model_close(&whole);
	}
	cJSON_Delete(json);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_that_of_the_beginning),
		cmocka_unit_test(endless_word_can_be_cancelled),
		cmocka_unit_test(repeated_character_matches_reference),
		cmocka_unit_test(windows_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
