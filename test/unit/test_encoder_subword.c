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
take_own_tokenizer(Folder *folder, const cJSON *json)
{
	const cJSON *tokenizer = cJSON_GetObjectItem(json, "tokenizer");

	if (tokenizer != NULL)
		folder_set_text(folder, "tokenizer.json", tokenizer->valuestring);
}

static void
changed_folders_match_reference(void **state)
{
	(void) state;
	check_cases("subword_cases.json", 20, take_own_tokenizer);
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

/* ---- damage ---- */

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
		cmocka_unit_test(changes_are_named),
		cmocka_unit_test(changes_of_other_sources_are_named),
		cmocka_unit_test(sentencepiece_file_is_checked),
		cmocka_unit_test(damaged_sentencepiece_is_survived),
		cmocka_unit_test(giant_token_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
