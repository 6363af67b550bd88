/*
 * test_encoder_subword.c
 *	  Byte-level BPE and Unigram, and tokenizers without tokenizer.json.
 *
 * subword_cases.json is to tiny-roberta-mean, tiny-xlmr-mean, tiny-mpnet-mean
 * and tiny-distilbert-mean what tokenizer_cases.json is to the BERT models; a
 * case may bring a whole tokenizer.json. What the reference gives for plain text
 * with Unigram is that of a vocabulary in which special tokens have names that
 * no text has.
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

/* ---- ids of the reference ---- */

static void
check_case(const cJSON *json)
{
	const cJSON *tokenizer = cJSON_GetObjectItem(json, "tokenizer");
	OpenModel model;
	Folder folder;

	folder_read_golden(&folder, cJSON_GetObjectItem(json, "model")->valuestring);
	folder_change(&folder, json);
	if (tokenizer != NULL)
		folder_set_text(&folder, "tokenizer.json", tokenizer->valuestring);
	model_open(&model, &folder);
	check_case_rows(&model, json);
	model_close(&model);
	folder_free(&folder);
}

static void
changed_folders_match_reference(void **state)
{
	cJSON *json = read_cases("subword_cases.json");
	const cJSON *item;

	(void) state;
	cJSON_ArrayForEach(item, cJSON_GetObjectItem(json, "cases")) check_case(item);
	assert_true(cJSON_GetArraySize(cJSON_GetObjectItem(json, "cases")) > 20);
	cJSON_Delete(json);
}

static void
check_golden(OpenModel *model, const char *variable, const char *name)
{
	char file[100];
	char *path;
	Golden golden;

	snprintf(file, sizeof(file), "%s.json", name);
	path = path_from(variable, file);
	if (!golden_read(&golden, path))
		assert_string_equal(variable, "BR_GOLDEN");
	for (int i = 0; i < golden.n; i++)
	{
		const GoldenRow *row = &golden.rows[i];
		int32_t *ids;
		int n;

		assert_int_equal(br_encoder_tokenize(model->encoder, &model->context, row->text,
											 strlen(row->text), true, &ids, &n),
						 BR_OK);
		assert_int_equal(n, row->n_ids);
		assert_memory_equal(ids, row->ids, (size_t) n * sizeof(int32_t));
		br_base_free(&model->context, ids);
	}
	golden_free(&golden);
	free(path);
}

static void
golden_texts_give_golden_ids(void **state)
{
	static const char *const models[][2] = {{"tiny-roberta-mean", "bpe"},
											{"tiny-xlmr-mean", "unigram"},
											{"tiny-mpnet-mean", "wordpiece"},
											{"tiny-distilbert-mean", "wordpiece"}};

	(void) state;
	for (int i = 0; i < LENGTH(models); i++)
	{
		OpenModel model;

		model_open_golden(&model, models[i][0]);
		assert_string_equal(br_encoder_info(model.encoder)->tokenizer, models[i][1]);
		check_golden(&model, "BR_TEST_DIR", models[i][0]);
		check_golden(&model, "BR_GOLDEN", models[i][0]);
		model_close(&model);
	}
}

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

/* ---- damage ---- */

static void
expect_failure(const Folder *folder, BrStatus expected, const char *hint)
{
	BrContext context;
	void *image;
	size_t size;
	BrStatus status;

	br_base_context_init(&context);
	status = br_encoder_import(&context, folder->files, folder->n, &image, &size);
	if (status != expected || strstr(context.detail, hint) == NULL)
		fail_msg("status %d instead of %d, detail without \"%s\": %s", status, expected, hint,
				 context.detail);
	assert_null(image);
}

/* One change of a file's text, and what must come of it. */
typedef struct Change
{
	const char *model;
	const char *path;
	const char *from;
	const char *to;
	BrStatus status;
	const char *hint;
} Change;

#define FIRST_MERGE "[\n        \"e\",\n        \"r\"\n      ]"

static const Change changes[] = {
	{R, T, "\"type\": \"BPE\"", "\"type\": \"WordLevel\"", BR_ERR_UNSUPPORTED, "WordLevel"},
	{R, T, "\"dropout\": null", "\"dropout\": 0.1", BR_ERR_UNSUPPORTED, "dropout"},
	{R, T, "\"continuing_subword_prefix\": \"\"", "\"continuing_subword_prefix\": \"##\"",
	 BR_ERR_UNSUPPORTED, "continuing_subword_prefix"},
	{R, T, "\"end_of_word_suffix\": \"\"", "\"end_of_word_suffix\": \"</w>\"", BR_ERR_UNSUPPORTED,
	 "end_of_word_suffix"},
	{R, T, "\"byte_fallback\": false", "\"byte_fallback\": true", BR_ERR_UNSUPPORTED,
	 "byte_fallback"},
	{R, T, "\"ignore_merges\": false", "\"ignore_merges\": true", BR_ERR_UNSUPPORTED,
	 "ignore_merges"},
	{R, T, "\"unk_token\": null", "\"unk_token\": \"<none>\"", BR_ERR_FORMAT, "<none>"},
	{R, T, "\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}", BR_ERR_UNSUPPORTED,
	 "NFC"},
	{R, T, "\"ByteLevel\"", "\"Whitespace\"", BR_ERR_UNSUPPORTED, "Whitespace"},
	{R, T, "\"use_regex\": true", "\"use_regex\": false", BR_ERR_UNSUPPORTED, "use_regex"},
	{R, T, "\"RobertaProcessing\"", "\"LlamaProcessing\"", BR_ERR_UNSUPPORTED, "LlamaProcessing"},
	{R, T, "\"<s>\",\n      0", "\"<s>\",\n      1200", BR_ERR_FORMAT, "post_processor"},
	{R, T, FIRST_MERGE, "[\"e\", \"\u2603\"]", BR_ERR_FORMAT,
	 "merge 0 has or makes the token \"\u2603\""},
	{R, T, FIRST_MERGE, "[\"e\", \"!\"]", BR_ERR_FORMAT, "\"e!\""},
	{R, T, FIRST_MERGE, "[\"e\"]", BR_ERR_FORMAT, "merge 0"},
	{R, T, FIRST_MERGE, "\"er\"", BR_ERR_FORMAT, "merge 0"},
	{R, T, FIRST_MERGE, "\"e r r\"", BR_ERR_FORMAT, "merge 0"},
	{R, T, FIRST_MERGE, "5", BR_ERR_FORMAT, "merge 0"},
	{R, T, "\"merges\"", "\"merged\"", BR_ERR_FORMAT, "merges"},
	{R, T, "\"!\": 5", "\"!\": 1200", BR_ERR_FORMAT, "\"!\""},
	{R, T, "\"!\": 5", "\"!\": -1", BR_ERR_FORMAT, "\"!\""},
	{R, T, "\"!\": 5", "\"!\": 1.5", BR_ERR_FORMAT, "\"!\""},
	{X, T, "\"unk_id\": 3", "\"unk_id\": 1502", BR_ERR_FORMAT, "unk_id"},
	{X, T, "\"unk_id\": 3", "\"unk_id\": null", BR_ERR_FORMAT, "no unknown token"},
	{X, T, "-2.818599224090576", "1e999", BR_ERR_FORMAT, "entry 4"},
	{X, T, "-2.818599224090576", "NaN", BR_ERR_FORMAT, "not valid JSON"},
	{X, T, "-2.818599224090576", "\"low\"", BR_ERR_FORMAT, "entry 4"},
	{X, T, "-2.818599224090576", "-2, 3", BR_ERR_FORMAT, "entry 4"},
	{X, T, "\"byte_fallback\": false", "\"byte_fallback\": true", BR_ERR_UNSUPPORTED,
	 "byte_fallback"},
	{X, T, "\"Metaspace\"", "\"Punctuation\"", BR_ERR_UNSUPPORTED, "Punctuation"},
	{X, T, "\"prepend_scheme\": \"always\"", "\"prepend_scheme\": \"first\"", BR_ERR_UNSUPPORTED,
	 "first"},
	{X, T, "\"replacement\": \"\u2581\"", "\"replacement\": \"\u2581\u2581\"", BR_ERR_FORMAT,
	 "replacement"},
	{X, T, "\"type\": \"Strip\"", "\"type\": \"NFKC\"", BR_ERR_UNSUPPORTED, "NFKC"},
	{X, T, " {2,}", "\\\\s+", BR_ERR_UNSUPPORTED, "\\s+"},
	{X, T, "\"precompiled_charsmap\": \"A", "\"precompiled_charsmap\": \"!", BR_ERR_FORMAT,
	 "base64"},
	{X, T, "\"precompiled_charsmap\": \"ALwC", "\"precompiled_charsmap\": \"ALx/", BR_ERR_FORMAT,
	 "cut short"},
	{X, T, "\"precompiled_charsmap\": \"ALwCAACEAAAAAAC",
	 "\"precompiled_charsmap\": \"ALwCAACE//8AAAC", BR_ERR_FORMAT, "leads outside"},
	{X, "config.json", "\"vocab_size\": 1504", "\"vocab_size\": 1501", BR_ERR_FORMAT, "1502"},
	{X, "sentence_bert_config.json", "{", "{\"do_lower_case\": true,", BR_ERR_UNSUPPORTED,
	 "do_lower_case"},
};

static void
changes_are_named(void **state)
{
	(void) state;
	for (int i = 0; i < LENGTH(changes); i++)
	{
		Folder folder;

		folder_read_golden(&folder, changes[i].model);
		folder_replace(&folder, changes[i].path, changes[i].from, changes[i].to);
		expect_failure(&folder, changes[i].status, changes[i].hint);
		folder_free(&folder);
	}
}

/* The same for the files that count where tokenizer.json is not there. */
static void
changes_of_other_sources_are_named(void **state)
{
	static const Change others[] = {
		{R, "vocab.json", "\"!\":5", "\"!\":1200", BR_ERR_FORMAT, "vocab.json"},
		{R, "vocab.json", "\"<s>\":0", "\"<x>\":0", BR_ERR_FORMAT, "<s>"},
		{R, "merges.txt", "e r\n", "e r r\n", BR_ERR_FORMAT, "line 2"},
		{R, "merges.txt", "e r\n", "e\n", BR_ERR_FORMAT, "line 2"},
		{R, "merges.txt", "e r\n", "e \u2603\n", BR_ERR_FORMAT, "\u2603"},
		{R, "merges.txt", "e r\n", "e \xFF\n", BR_ERR_FORMAT, "UTF-8"},
		{R, "tokenizer_config.json", "RobertaTokenizer", "GPT2Tokenizer", BR_ERR_UNSUPPORTED,
		 "RobertaTokenizer"},
		{X, "tokenizer_config.json", "XLMRobertaTokenizer", "T5Tokenizer", BR_ERR_UNSUPPORTED,
		 "XLMRobertaTokenizer"},
		{X, "config.json", "\"vocab_size\": 1504", "\"vocab_size\": 1500", BR_ERR_FORMAT, "pieces"},
	};

	(void) state;
	for (int i = 0; i < LENGTH(others); i++)
	{
		Folder folder;

		folder_read_golden(&folder, others[i].model);
		folder_remove(&folder, T);
		folder_replace(&folder, others[i].path, others[i].from, others[i].to);
		expect_failure(&folder, others[i].status, others[i].hint);
		folder_free(&folder);
	}
}

/* ---- sentencepiece.bpe.model, byte by byte ---- */

/* A field of bytes: its number, their number, they themselves. */
static size_t
put_field(char *to, int number, const void *bytes, size_t size)
{
	to[0] = (char) (number << 3 | 2);
	to[1] = (char) size;
	memcpy(to + 2, bytes, size);
	return size + 2;
}

static size_t
put_piece(char *to, const char *text, uint32_t score_bits)
{
	char piece[100];
	size_t size = put_field(piece, 1, text, strlen(text));

	piece[size++] = 2 << 3 | 5;
	memcpy(piece + size, &score_bits, 4);
	return put_field(to, 1, piece, size + 4);
}

/* Three pieces that are replaced, then this one, then a field of the message with these bytes. */
static void
expect_sentencepiece(const char *text, uint32_t score_bits, int field, const char *bytes,
					 size_t bytes_size, BrStatus status, const char *hint)
{
	char file[400];
	size_t size = 0;
	Folder folder;

	size += put_piece(file + size, "<unk>", 0);
	size += put_piece(file + size, "<s>", 0);
	size += put_piece(file + size, "</s>", 0);
	size += put_piece(file + size, text, score_bits);
	size += put_field(file + size, field, bytes, bytes_size);
	folder_read_golden(&folder, X);
	folder_remove(&folder, T);
	folder_remove(&folder, "tokenizer_config.json");
	folder_set(&folder, "sentencepiece.bpe.model", file, size);
	if (status != BR_OK)
		expect_failure(&folder, status, hint);
	else
	{
		OpenModel model;
		int32_t *ids;
		int n;

		/* <s> ▁ ☃ </s>: the piece is the fifth token, the space's own is not there */
		model_open(&model, &folder);
		assert_int_equal(br_encoder_tokenize(model.encoder, &model.context, "\u2603", 3, true, &ids,
											 &n),
						 BR_OK);
		assert_int_equal(n, 4);
		assert_memory_equal(ids, ((const int32_t[]){0, 3, 4, 2}), 4 * sizeof(int32_t));
		br_base_free(&model.context, ids);
		model_close(&model);
	}
	folder_free(&folder);
}

static void
sentencepiece_file_is_checked(void **state)
{
	static const uint32_t minus_one = 0xBF800000;
	static const uint32_t not_a_number = 0x7FC00000;

	(void) state;
	expect_sentencepiece("\u2603", minus_one, 9, "", 0, BR_OK, "");
	expect_sentencepiece("\u2603", not_a_number, 9, "", 0, BR_ERR_FORMAT, "score");
	expect_sentencepiece("", minus_one, 9, "", 0, BR_ERR_FORMAT, "piece 3");
	expect_sentencepiece("\xFF", minus_one, 9, "", 0, BR_ERR_FORMAT, "piece 3");
	/* the trainer's kind of model is BPE, its byte_fallback is set; the map has no trie */
	expect_sentencepiece("\u2603", minus_one, 2, "\x18\x02", 2, BR_ERR_UNSUPPORTED, "kind 2");
	expect_sentencepiece("\u2603", minus_one, 2, "\x98\x02\x01", 3, BR_ERR_UNSUPPORTED,
						 "byte_fallback");
	expect_sentencepiece("\u2603", minus_one, 3, "\x12\x04\0\0\0\0", 6, BR_ERR_FORMAT, "no trie");
	/* a number without end, bytes beyond the file, a kind that is none */
	expect_sentencepiece("\u2603", minus_one, 2, "\x18\xFF\xFF\xFF", 4, BR_ERR_FORMAT, "damaged");
	expect_sentencepiece("\u2603", minus_one, 1, "\x0A\x7F", 2, BR_ERR_FORMAT, "damaged");
	expect_sentencepiece("\u2603", minus_one, 1, "\x0F", 1, BR_ERR_FORMAT, "damaged");
}

/* A file that is cut anywhere, or has another byte, is refused or read, and never harms. */
static void
damaged_sentencepiece_is_survived(void **state)
{
	Folder folder;
	const BrModelFile *file;
	char *copy;
	size_t size;
	BrRandom random;
	int refused = 0;

	(void) state;
	folder_read_golden(&folder, X);
	folder_remove(&folder, T);
	file = folder_find(&folder, "sentencepiece.bpe.model");
	size = file->size;
	copy = malloc(size);
	memcpy(copy, file->data, size);
	br_base_random_init(&random, 5, 0);
	for (int i = 0; i < 100; i++)
	{
		size_t at = br_base_random_below(&random, (uint32_t) size);
		char kept = copy[at];
		BrContext context;
		void *image;
		size_t image_size;
		BrStatus status;

		br_base_context_init(&context);
		copy[at] = (char) br_base_random_u32(&random);
		folder_set(&folder, "sentencepiece.bpe.model", copy, i % 2 == 0 ? at : size);
		status = br_encoder_import(&context, folder.files, folder.n, &image, &image_size);
		assert_true((status == BR_OK) == (image != NULL));
		assert_true(status == BR_OK || context.detail[0] != '\0');
		refused += status != BR_OK;
		br_base_free(&context, image);
		copy[at] = kept;
	}
	assert_true(refused >= 50);
	free(copy);
	folder_free(&folder);
}

/* A token so long that the trie of all tokens would not be worth its memory. */
static void
giant_token_is_refused(void **state)
{
	enum
	{
		SIZE = 20 * 1000 * 1000
	};
	char *text = malloc(SIZE + 1);
	Folder folder;

	(void) state;
	memset(text, 'x', SIZE);
	text[SIZE] = '\0';
	folder_read_golden(&folder, X);
	folder_replace(&folder, T, "\u2581word", text);
	expect_failure(&folder, BR_ERR_LIMIT, "16000000");
	folder_free(&folder);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changed_folders_match_reference),
		cmocka_unit_test(golden_texts_give_golden_ids),
		cmocka_unit_test(memory_is_that_of_the_beginning),
		cmocka_unit_test(endless_word_can_be_cancelled),
		cmocka_unit_test(repeated_character_matches_reference),
		cmocka_unit_test(windows_change_nothing),
		cmocka_unit_test(changes_are_named),
		cmocka_unit_test(changes_of_other_sources_are_named),
		cmocka_unit_test(sentencepiece_file_is_checked),
		cmocka_unit_test(damaged_sentencepiece_is_survived),
		cmocka_unit_test(giant_token_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
