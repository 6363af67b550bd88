/*
 * test_encoder_tokenizer.c
 *	  Tokenizers with other options than the golden models have.
 *
 * tokenizer_cases.json changes one thing at a time in a golden model's files,
 * and lists the ids that transformers 4.57.6 (and, for what the transformer
 * module does, sentence-transformers 5.7.0) gives for the changed folder, with
 * special tokens in the text parsed ("special") and, where they differ, not
 * parsed ("plain", split_special_tokens). The classes of characters are
 * compared, over all of them, with what the tokenizers library 0.22.1 does (those
 * of letters, numbers and clusters: 0.22.2):
 * number of members and FNV-1a hash of their code points, three bytes each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "core/encoder/tokenizer_int.h"
#include "unit/encoder_fixture.h"

/* ---- classes of characters ---- */

typedef struct Digest
{
	int n;
	uint64_t hash;
} Digest;

static void
digest_add(Digest *digest, int32_t character)
{
	if (digest->n++ == 0)
		digest->hash = UINT64_C(0xCBF29CE484222325);
	for (int i = 0; i < 3; i++)
		digest->hash =
			(digest->hash ^ ((uint32_t) character >> (8 * i) & 0xFF)) * UINT64_C(0x100000001B3);
}

static void
digest_is(const Digest *digest, int n, uint64_t hash)
{
	assert_int_equal(digest->n, n);
	assert_true(digest->hash == hash);
}

static bool
decomposes(int32_t character)
{
	int32_t parts[BR_DECOMPOSED_MAX];

	return br_encoder_decompose(character, parts) != 1 || parts[0] != character;
}

/* NUL and U+FFFD are dropped with the control characters, tab and line ends are not. */
static bool
is_dropped(int32_t character)
{
	return character == 0xFFFD ||
		(br_encoder_is_control(character) && character != '\t' && character != '\n' &&
		 character != '\r');
}

static bool
is_lone_mark(int32_t character)
{
	return !decomposes(character) && br_encoder_is_nonspacing_mark(character);
}

/* Marks that move before a mark of class 240, or behind one of class 1. */
static bool
is_below_240(int32_t character)
{
	int class = br_encoder_combining_class(character);

	return !decomposes(character) && class > 0 && class < 240;
}

static bool
is_above_1(int32_t character)
{
	return !decomposes(character) && br_encoder_combining_class(character) > 1;
}

/* ---- clusters ---- */

/* Whether these characters are one grapheme cluster. */
static bool
is_cluster(const int32_t *characters, int n)
{
	char text[32];
	size_t size = 0;

	for (int i = 0; i < n; i++)
		size += (size_t) br_encoder_encode_character(characters[i], text + size);
	return br_encoder_grapheme_end(text, 0, size) == size;
}

static bool
joins_a_letter(int32_t character)
{
	return is_cluster((int32_t[]){'a', character}, 2);
}

static bool
takes_a_letter(int32_t character)
{
	return is_cluster((int32_t[]){character, 'a'}, 2) && br_encoder_is_prepended(character);
}

/* Joined to the copyright sign by a zero-width joiner, or a mark. */
static bool
joins_a_picture(int32_t character)
{
	return character != 0xA9 && is_cluster((int32_t[]){0xA9, 0x200D, character}, 3);
}

/* Those of three bytes that a virama joins to the Devanagari letter ka. */
static bool
is_joined_consonant(int32_t character)
{
	return character >= 0x800 && character < 0x10000 && character != 0x915 &&
		is_cluster((int32_t[]){character, 0x94D, 0x915}, 3);
}

/* Those that may stand between a consonant and its virama. */
static bool
is_inside_conjunct(int32_t character)
{
	return character != 0x915 && is_cluster((int32_t[]){0x915, character, 0x94D, 0x915}, 4);
}

static void
classes_match_reference(void **state)
{
	static const struct
	{
		bool (*is_member)(int32_t character);
		int n;
		uint64_t hash;
	} classes[] = {
		{is_dropped, 137681, UINT64_C(0xFE48B99DE4CFBB0C)},
		{is_lone_mark, 1549, UINT64_C(0x4C056757D7C38340)},
		{br_encoder_is_punctuation, 726, UINT64_C(0xB3A0AA4346D226CB)},
		{br_encoder_is_whitespace, 25, UINT64_C(0x93037DDF68B12EEF)},
		{br_encoder_is_cjk, 81264, UINT64_C(0xB5BCF4DF809ACA65)},
		{br_encoder_is_word, 144667, UINT64_C(0x0A783C182510DB60)},
		{is_above_1, 778, UINT64_C(0x4B778186E2B2FEF2)},
		{is_below_240, 809, UINT64_C(0xE010A56C16667BDA)},
		{br_encoder_is_letter, 141028, UINT64_C(0xA663550A20CFACE3)},
		{br_encoder_is_number, 1911, UINT64_C(0x21C196FD942FB50B)},
		{joins_a_letter, 2577, UINT64_C(0xD5F5DC6AD49DBB4E)},
		{takes_a_letter, 28, UINT64_C(0x2DB5083321DB363B)},
		{joins_a_picture, 6113, UINT64_C(0xCF7362C74C275CAD)},
		{is_joined_consonant, 239, UINT64_C(0x48CAD4C63875496A)},
		{is_inside_conjunct, 2198, UINT64_C(0x28F4929D5819506E)},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
	{
		Digest digest = {0, 0};

		for (int32_t character = 0; character < 0x110000; character++)
			if ((character < 0xD800 || character > 0xDFFF) && classes[i].is_member(character))
				digest_add(&digest, character);
		digest_is(&digest, classes[i].n, classes[i].hash);
	}
}

/* Each character that changes, followed by what it becomes. */
static void
mappings_match_reference(void **state)
{
	Digest lower = {0, 0};
	Digest decomposed = {0, 0};

	(void) state;
	for (int32_t character = 0; character < 0x110000; character++)
	{
		int32_t parts[BR_DECOMPOSED_MAX];
		int n;

		if (character >= 0xD800 && character <= 0xDFFF)
			continue;
		n = br_encoder_lower(character, parts);
		if (n > 1 || parts[0] != character)
		{
			digest_add(&lower, character);
			for (int i = 0; i < n; i++)
				digest_add(&lower, parts[i]);
		}
		n = br_encoder_decompose(character, parts);
		if (n > 1 || parts[0] != character)
		{
			digest_add(&decomposed, character);
			for (int i = 0; i < n; i++)
				digest_add(&decomposed, parts[i]);
		}
	}
	digest_is(&lower, 2921, UINT64_C(0xE3A6BE763DCEA74A));
	digest_is(&decomposed, 49753, UINT64_C(0xE1DA28E0A96DB458));
}

/* ---- folders with one thing changed ---- */

/* Rows for the tokens that a case adds: 1,200 to 1,209. */
static void
widen_vocabulary(Folder *folder, const cJSON *json)
{
	static const char name[] = "embeddings.word_embeddings.weight";
	size_t size;
	char *rows = folder_tensor(folder, "model.safetensors", name, &size);

	(void) json;
	rows = realloc(rows, size + 10 * 32 * sizeof(float));
	memset(rows + size, 0, 10 * 32 * sizeof(float));
	folder_set_tensor(folder, "model.safetensors", name, "F32", 1210, 32, rows,
					  size + 10 * 32 * sizeof(float));
	folder_replace(folder, "config.json", "\"vocab_size\": 1200", "\"vocab_size\": 1210");
	free(rows);
}

static void
changed_folders_match_reference(void **state)
{
	(void) state;
	check_cases("tokenizer_cases.json", 10, widen_vocabulary);
}

/* A post-processor of the older kind says the same as the template. */
static void
bert_processing_equals_template(void **state)
{
	static const char text[] = "two words";
	OpenModel template;
	OpenModel processing;
	Folder folder;
	int32_t *expected;
	int32_t *ids;
	int n_expected;
	int n;

	(void) state;
	folder_read_golden(&folder, "tiny-bert-cls");
	model_open(&template, &folder);
	folder_replace(&folder, "tokenizer.json", "\"type\": \"TemplateProcessing\",",
				   "\"type\": \"BertProcessing\", \"sep\": [\"[SEP]\", 3], \"cls\": [\"[CLS]\", 2],");
	model_open(&processing, &folder);
	assert_int_equal(br_encoder_tokenize(template.encoder, &template.context, text, strlen(text),
										 true, &expected, &n_expected),
					 BR_OK);
	assert_int_equal(br_encoder_tokenize(processing.encoder, &processing.context, text,
										 strlen(text), true, &ids, &n),
					 BR_OK);
	assert_int_equal(n, n_expected);
	assert_memory_equal(ids, expected, (size_t) n * sizeof(int32_t));
	br_base_free(&template.context, expected);
	br_base_free(&processing.context, ids);
	model_close(&template);
	model_close(&processing);
	folder_free(&folder);
}

/* ---- long texts ---- */

/* A cut text's ids are the beginning of the whole text's, however long it is. */
static void
long_text_is_cut(void **state)
{
	enum
	{
		SIZE = 50 * 1000 * 1000
	};
	OpenModel model;
	char *text = malloc(SIZE);
	int32_t *expected;
	int32_t *ids;
	int n;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	for (int i = 0; i < SIZE; i += 10)
		memcpy(text + i, "red cable ", 10);
	assert_int_equal(br_encoder_tokenize(model.encoder, &model.context, text, 640, true, &expected,
										 &n),
					 BR_OK);
	assert_int_equal(n, 64);
	assert_int_equal(br_encoder_tokenize(model.encoder, &model.context, text, SIZE, true, &ids, &n),
					 BR_OK);
	assert_int_equal(n, 64);
	assert_memory_equal(ids, expected, 64 * sizeof(int32_t));
	br_base_free(&model.context, ids);
	br_base_free(&model.context, expected);

	/* one endless word is one unknown token: [CLS] [UNK] [SEP] */
	memset(text, 'x', SIZE);
	assert_int_equal(br_encoder_tokenize(model.encoder, &model.context, text, SIZE, true, &ids, &n),
					 BR_OK);
	assert_int_equal(n, 3);
	assert_int_equal(ids[1], 1);
	br_base_free(&model.context, ids);
	free(text);
	model_close(&model);
}

/* Whitespace at a window's end, and special tokens across it, change nothing. */
static void
windows_change_nothing(void **state)
{
	OpenModel model;
	char text[9000];
	int32_t *ids;
	int n;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	for (int at = 4080; at < 4110; at++)
	{
		memset(text, ' ', sizeof(text));
		memcpy(text + at, "[SEP]a", 6);
		assert_int_equal(br_encoder_tokenize(model.encoder, &model.context, text, sizeof(text),
											 true, &ids, &n),
						 BR_OK);
		assert_int_equal(n, 4);
		assert_int_equal(ids[1], 3);  /* [SEP] */
		assert_int_equal(ids[2], 39); /* a */
		br_base_free(&model.context, ids);
	}
	model_close(&model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classes_match_reference),
		cmocka_unit_test(mappings_match_reference),
		cmocka_unit_test(changed_folders_match_reference),
		cmocka_unit_test(bert_processing_equals_template),
		cmocka_unit_test(long_text_is_cut),
		cmocka_unit_test(windows_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
