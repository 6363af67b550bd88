/*
 * test_encoder_damage.c
 *	  Damaged and foreign model folders: each a status and a detail that helps.
 *
 * Files of a golden model are removed, cut, changed at one place or at random.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/encoder_fixture.h"

#define WEIGHTS "model.safetensors"
#define WORDS "embeddings.word_embeddings.weight"

static void
missing_files_are_named(void **state)
{
	static const char *const files[] = {"config.json", WEIGHTS, "1_Pooling/config.json",
										"2_Dense/config.json", "2_Dense/model.safetensors"};

	(void) state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
	{
		Folder folder;

		folder_read_golden(&folder, "tiny-bert-cased-max-dense");
		folder_remove(&folder, files[i]);
		expect_failure(&folder, BR_ERR_FORMAT, files[i]);
		folder_free(&folder);
	}
}

static void
missing_tokenizer_is_named(void **state)
{
	Folder folder;

	(void) state;
	folder_read_golden(&folder, "tiny-bert-cased-max-dense");
	folder_remove(&folder, "tokenizer.json");
	folder_remove(&folder, "vocab.txt");
	expect_failure(&folder, BR_ERR_FORMAT, "vocab.txt");
	folder_free(&folder);
}

/* One change of a file's text, and what must come of it. */
typedef struct Change
{
	const char *path;
	const char *from;
	const char *to;
	BrStatus status;
	const char *hint;
} Change;

static const Change changes[] = {
	{"config.json", "\"bert\"", "\"gpt2\"", BR_ERR_UNSUPPORTED, "gpt2"},
	{"config.json", "\"model_type\"", "\"x\"", BR_ERR_FORMAT, "model_type"},
	{"config.json", "gelu_new", "silu", BR_ERR_UNSUPPORTED, "silu"},
	{"config.json", "absolute", "relative_key", BR_ERR_UNSUPPORTED, "relative_key"},
	{"config.json", "{", "{\"is_decoder\": true,", BR_ERR_UNSUPPORTED, "decoder"},
	{"config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5", BR_ERR_FORMAT,
	 "heads"},
	{"config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 0", BR_ERR_FORMAT,
	 "heads"},
	{"config.json", "\"vocab_size\": 1200", "\"vocab_size\": 1201", BR_ERR_FORMAT, WORDS},
	{"config.json", "\"vocab_size\": 1200", "\"vocab_size\": 4000000", BR_ERR_FORMAT, WORDS},
	{"config.json", "\"vocab_size\": 1200", "\"vocab_size\": 1199", BR_ERR_FORMAT, "1198"},
	{"config.json", "\"vocab_size\": 1200", "\"vocab_size\": 1.5", BR_ERR_FORMAT, "vocab_size"},
	{"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", BR_ERR_FORMAT,
	 "encoder.layer.2."},
	{"config.json", "\"intermediate_size\": 64", "\"intermediate_size\": 63", BR_ERR_FORMAT,
	 "intermediate.dense.weight"},
	{"config.json", "\"max_position_embeddings\": 80", "\"max_position_embeddings\": 50",
	 BR_ERR_FORMAT, "position_embeddings"},
	{"config.json", "1e-12", "\"tiny\"", BR_ERR_FORMAT, "layer_norm_eps"},
	{"config.json", "}", "", BR_ERR_FORMAT, "config.json"},
	{"config.json", "\"hidden_act\"", "\"hidden_act\\u0000\"", BR_ERR_FORMAT, "NUL"},
	{"config.json", "gelu_new", "gelu\xFF", BR_ERR_FORMAT, "UTF-8"},
	{"modules.json", "modules.pooling.Pooling", "modules.lstm.LSTM", BR_ERR_UNSUPPORTED, "LSTM"},
	{"modules.json", "sentence_transformers.base.modules.dense.Dense", "my.own.Dense",
	 BR_ERR_UNSUPPORTED, "my.own.Dense"},
	{"modules.json", "modules.pooling.Pooling", "modules.normalize.Normalize", BR_ERR_UNSUPPORTED,
	 "order"},
	{"modules.json", "\"1_Pooling\"", "\"../1_Pooling\"", BR_ERR_FORMAT, "../1_Pooling"},
	{"modules.json", "\"1_Pooling\"", "\"/etc\"", BR_ERR_FORMAT, "/etc"},
	{"modules.json", "\"1_Pooling\"", "\"1_Pool\\ning\"", BR_ERR_FORMAT, "1_Pool?ing"},
	{"modules.json", "\"path\": \"1_Pooling\",", "", BR_ERR_FORMAT, "path"},
	{"1_Pooling/config.json", "\"max\"", "\"median\"", BR_ERR_UNSUPPORTED, "median"},
	{"1_Pooling/config.json", "\"max\"", "[\"max\", \"cls\"]", BR_ERR_UNSUPPORTED, "one mode"},
	{"1_Pooling/config.json", "32", "33", BR_ERR_FORMAT, "33"},
	{"2_Dense/config.json", "activation.Tanh", "activation.Sigmoid", BR_ERR_UNSUPPORTED, "Sigmoid"},
	{"2_Dense/config.json", "\"in_features\": 32", "\"in_features\": 16", BR_ERR_FORMAT, "16"},
	{"2_Dense/config.json", "\"out_features\": 16", "\"out_features\": 17", BR_ERR_FORMAT,
	 "linear.weight"},
	{"2_Dense/config.json", "\"sentence_embedding\"", "\"token_embeddings\"", BR_ERR_UNSUPPORTED,
	 "token_embeddings"},
	{"tokenizer.json", "BertNormalizer", "Sequence", BR_ERR_UNSUPPORTED, "Sequence"},
	{"tokenizer.json", "BertPreTokenizer", "Whitespace", BR_ERR_UNSUPPORTED, "Whitespace"},
	{"tokenizer.json", "TemplateProcessing", "RobertaProcessing", BR_ERR_FORMAT, "post_processor"},
	{"tokenizer.json", "\"model\": {\n    \"type\": \"WordPiece\"",
	 "\"model\": {\"type\": \"Unigram\"", BR_ERR_FORMAT, "vocabulary"},
	{"tokenizer.json", "\"unk_token\": \"[UNK]\"", "\"unk_token\": \"<unk>\"", BR_ERR_FORMAT,
	 "<unk>"},
	{"tokenizer.json", "\"!\": 5", "\"!\": 1200", BR_ERR_FORMAT, "!"},
	{"tokenizer.json", "\"!\": 5", "\"!\": -1", BR_ERR_FORMAT, "!"},
	{"tokenizer.json", "\"!\": 5", "\"!\": \"5\"", BR_ERR_FORMAT, "!"},
	{"tokenizer.json", "\"id\": 4,", "\"id\": 5,", BR_ERR_FORMAT, "[MASK]"},
	{"tokenizer.json", "\"truncation\": null", "\"truncation\": {\"direction\": \"Left\"}",
	 BR_ERR_UNSUPPORTED, "left"},
	{"tokenizer.json", "\"max_input_chars_per_word\": 100", "\"max_input_chars_per_word\": 0",
	 BR_ERR_FORMAT, "max_input_chars_per_word"},
	{"tokenizer.json", "\"continuing_subword_prefix\": \"##\"",
	 "\"continuing_subword_prefix\": \"#################\"", BR_ERR_LIMIT, "prefix"},
	{"tokenizer_config.json", "{", "{\"truncation_side\": \"left\",", BR_ERR_UNSUPPORTED, "left"},
	{"tokenizer_config.json", "\"added_tokens_decoder\"",
	 "\"added_tokens_decoder\": [{\"content\": \"a\"}], \"x\"", BR_ERR_FORMAT, "object"},
	{"tokenizer_config.json", "\"4\"", "\"5\"", BR_ERR_FORMAT, "[MASK]"},
	{"tokenizer_config.json", "\"do_lower_case\": false", "\"do_lower_case\": 0", BR_ERR_FORMAT,
	 "do_lower_case"},
	{"sentence_bert_config.json", "{", "{\"max_seq_length\": 81,", BR_ERR_FORMAT, "81"},
	{"sentence_bert_config.json", "{", "{\"max_seq_length\": 2,", BR_ERR_FORMAT, "2 special"},
	{"sentence_bert_config.json", "feature-extraction", "fill-mask", BR_ERR_UNSUPPORTED,
	 "fill-mask"},
	{"sentence_bert_config.json", "last_hidden_state", "pooler_output", BR_ERR_UNSUPPORTED,
	 "pooler_output"},
	{"sentence_bert_config.json", "\"forward\"", "\"get_text_features\"", BR_ERR_UNSUPPORTED,
	 "get_text_features"},
	{"sentence_bert_config.json", "{", "{\"config_kwargs\": {\"num_hidden_layers\": 1},",
	 BR_ERR_UNSUPPORTED, "\"num_hidden_layers\" of config_kwargs"},
	{"sentence_bert_config.json", "{", "{\"config_args\": {\"num_hidden_layers\": 1},",
	 BR_ERR_UNSUPPORTED, "\"num_hidden_layers\" of config_args"},
	{"sentence_bert_config.json", "{", "{\"processing_kwargs\": {\"text\": {}},",
	 BR_ERR_UNSUPPORTED, "\"text\" of processing_kwargs"},
	{"config_sentence_transformers.json", "\"default_prompt_name\": null,\n",
	 "\"default_prompt_name\": \"q\", \"prompts\": {\"q\": \"query: \"}, \"x\": 1,\n",
	 BR_ERR_UNSUPPORTED, "prompt"},
};

static void
changes_are_named(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
	{
		const Change *change = &changes[i];
		Folder folder;

		folder_read_golden(&folder, "tiny-bert-cased-max-dense");
		folder_replace(&folder, change->path, change->from, change->to);
		if (strstr(change->to, "\"prompts\"") != NULL)
			folder_replace(&folder, change->path, "\"prompts\": {\n", "\"older\": {\n");
		expect_failure(&folder, change->status, change->hint);
		folder_free(&folder);
	}
}

/* 81 special tokens around texts of a model with 80 positions, by a list of 9 named 9 times. */
static void
long_template_is_refused(void **state)
{
	static const char piece[] = "{\"SpecialToken\": {\"id\": \"[CLS]\", \"type_id\": 0}},";
	char pieces[20 + 9 * sizeof(piece)] = "\"single\": [";
	Folder folder;

	(void) state;
	for (int i = 0; i < 9; i++)
		strcat(pieces, piece);
	folder_read_golden(&folder, "tiny-bert-cls");
	folder_replace(&folder, "tokenizer.json", "\"single\": [", pieces);
	folder_replace(&folder, "tokenizer.json", "\"ids\": [\n          2\n",
				   "\"ids\": [2, 2, 2, 2, 2, 2, 2, 2, 2\n");
	expect_failure(&folder, BR_ERR_FORMAT, "positions, 80");
	folder_free(&folder);
}

/* A safetensors file of its own: header text, then bytes of data. */
static void
set_weights(Folder *folder, const char *header, size_t data)
{
	uint64_t size = strlen(header);
	char *file = calloc(1, 8 + size + data);

	memcpy(file, &size, 8);
	memcpy(file + 8, header, size);
	folder_set(folder, WEIGHTS, file, 8 + size + data);
	free(file);
}

static void
broken_headers_are_named(void **state)
{
	static const struct
	{
		const char *header;
		size_t data;
		BrStatus status;
		const char *hint;
	} headers[] = {
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
		 8, BR_ERR_FORMAT, "\"b\""},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
		 12, BR_ERR_FORMAT, "\"b\""},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
		 8, BR_ERR_FORMAT, "twice"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, BR_ERR_FORMAT,
		 "\"a\""},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, BR_ERR_FORMAT,
		 "data"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, BR_ERR_FORMAT,
		 "shape"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
		 BR_ERR_FORMAT, "shape"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, BR_ERR_FORMAT,
		 "\"a\""},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, BR_ERR_FORMAT,
		 "malformed"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.5]}}", 4, BR_ERR_FORMAT,
		 "malformed"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1e300]}}", 4, BR_ERR_FORMAT,
		 "malformed"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, BR_ERR_FORMAT, "malformed"},
		{"{\"a\":{\"dtype\":\"Q4\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, BR_ERR_UNSUPPORTED,
		 "Q4"},
		{"{\"a\":4}", 0, BR_ERR_FORMAT, "malformed"},
		{"{\"a\":", 0, BR_ERR_FORMAT, "JSON"},
		{"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 0,
		 BR_ERR_LIMIT, "levels"},
		{"[]", 0, BR_ERR_FORMAT, "brace"},
		{" {}", 0, BR_ERR_FORMAT, "brace"},
		{"", 0, BR_ERR_FORMAT, "brace"},
		{"{}  ", 0, BR_ERR_FORMAT, WORDS},
		{"{\"__metadata__\":{\"format\":\"pt\"}}", 0, BR_ERR_FORMAT, WORDS},
	};
	Folder folder;

	(void) state;
	folder_read_golden(&folder, "tiny-bert-cls");
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
	{
		set_weights(&folder, headers[i].header, headers[i].data);
		expect_failure(&folder, headers[i].status, headers[i].hint);
	}
	folder_set(&folder, WEIGHTS, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10);
	expect_failure(&folder, BR_ERR_FORMAT, "truncated");
	folder_set(&folder, WEIGHTS, "", 0);
	expect_failure(&folder, BR_ERR_FORMAT, "0 bytes");
	folder_free(&folder);
}

static void
truncated_weights_are_refused(void **state)
{
	Folder folder;
	const BrModelFile *file;
	char *whole;
	size_t size;

	(void) state;
	folder_read_golden(&folder, "tiny-bert-cls");
	file = folder_find(&folder, WEIGHTS);
	size = file->size;
	whole = malloc(size);
	memcpy(whole, file->data, size);
	for (size_t kept = 0; kept < size; kept += 1 + kept / 7)
	{
		folder_set(&folder, WEIGHTS, whole, kept);
		expect_failure(&folder, BR_ERR_FORMAT, WEIGHTS);
	}
	folder_set(&folder, WEIGHTS, whole, size - 1);
	expect_failure(&folder, BR_ERR_FORMAT, "reaches");
	free(whole);
	folder_free(&folder);
}

static void
bad_tensors_are_named(void **state)
{
	static const char bias[] = "encoder.layer.1.output.dense.bias";
	static const float good[32] = {0};
	const float bad[] = {NAN, INFINITY, -INFINITY};
	Folder folder;

	(void) state;
	folder_read_golden(&folder, "tiny-bert-cls");
	for (int i = 0; i < 3; i++)
	{
		float values[32] = {0};

		values[31] = bad[i];
		folder_set_tensor(&folder, WEIGHTS, bias, "F32", 32, 0, values, sizeof(values));
		expect_failure(&folder, BR_ERR_NUMERIC, bias);
	}
	folder_set_tensor(&folder, WEIGHTS, bias, "F16", 32, 0, (uint16_t[32]){[3] = 0x7C00}, 64);
	expect_failure(&folder, BR_ERR_NUMERIC, bias);
	folder_set_tensor(&folder, WEIGHTS, bias, "F32", 31, 0, good, 31 * sizeof(float));
	expect_failure(&folder, BR_ERR_FORMAT, bias);
	folder_set_tensor(&folder, WEIGHTS, bias, "F32", 1, 32, good, sizeof(good));
	expect_failure(&folder, BR_ERR_FORMAT, "(1, 32)");
	folder_set_tensor(&folder, WEIGHTS, bias, "I32", 32, 0, good, sizeof(good));
	expect_failure(&folder, BR_ERR_UNSUPPORTED, "I32");

	/* what no vector uses may be of any kind */
	folder_set_tensor(&folder, WEIGHTS, bias, "F32", 32, 0, good, sizeof(good));
	folder_set_tensor(&folder, WEIGHTS, "embeddings.position_ids", "I64", 1, 4, good, 32);
	{
		OpenModel model;

		model_open(&model, &folder);
		model_close(&model);
	}
	folder_free(&folder);
}

/* ---- noise ---- */

/*
 * Random changes of random files: any answer is right but a crash, which the
 * sanitizers see, and an encoder that opens must also work.
 */
static void
noise_never_crashes(void **state)
{
	enum
	{
		ROUNDS = 1500
	};
	BrRandom random;
	BrContext context;
	int imported = 0;

	(void) state;
	br_base_context_init(&context);
	br_base_random_init(&random, 20240607, 1);
	for (int round = 0; round < ROUNDS; round++)
	{
		Folder folder;
		BrModelFile *file;
		void *image;
		size_t size;

		folder_read_golden(&folder, "tiny-bert-cased-max-dense");
		file = &folder.files[br_base_random_below(&random, (uint32_t) folder.n)];
		for (uint32_t i = 0; i <= br_base_random_below(&random, 4); i++)
		{
			/* the beginning holds what steers */
			uint32_t range = file->size > 3000 && round % 2 ? 3000 : (uint32_t) file->size;

			((char *) file->data)[br_base_random_below(&random, range)] = round % 3
				? (char) br_base_random_u32(&random)
				: "0123456789\"[]{},:eE-"[br_base_random_below(&random, 20)];
		}
		if (round % 7 == 0)
			file->size = br_base_random_below(&random, (uint32_t) file->size + 1);
		if (br_encoder_import(&context, folder.files, folder.n, &image, &size) == BR_OK)
		{
			BrEncoder *encoder;
			const char *text = "[SEP] a red usb cable \xE4\xB8\xAD e\xCC\x81";
			size_t length = strlen(text);
			float *embedding;

			imported++;
			assert_int_equal(br_encoder_open(&context, image, size, &encoder), BR_OK);
			embedding = malloc((size_t) br_encoder_info(encoder)->dimensions * sizeof(float));
			assert_int_equal(br_encoder_embed(encoder, &context,
											  &(BrCompute){.backend = br_math_portable_backend()},
											  &text, &length, 1, true, embedding),
							 BR_OK);
			free(embedding);
			br_encoder_close(encoder);
			br_base_free(&context, image);
		}
		folder_free(&folder);
	}
	assert_true(imported > ROUNDS / 20 && imported < ROUNDS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(missing_files_are_named),	cmocka_unit_test(missing_tokenizer_is_named),
		cmocka_unit_test(changes_are_named),		cmocka_unit_test(long_template_is_refused),
		cmocka_unit_test(broken_headers_are_named), cmocka_unit_test(truncated_weights_are_refused),
		cmocka_unit_test(bad_tensors_are_named),	cmocka_unit_test(noise_never_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
