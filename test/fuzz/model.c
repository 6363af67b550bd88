/*
 * model.c
 *	  A valid folder to change, and what must hold of every imported model.
 *
 * The folder is the smallest BERT: everything that an import reads is there,
 * and one embedding costs microseconds, so that a fuzzer's time goes into its
 * own inputs.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/math/br_backend.h"
#include "core/math/br_math.h"
#include "fuzz/fuzz.h"

#define HIDDEN 4
#define POSITIONS 16
#define OUTPUT 3

static const char modules[] =
	"[{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"},"
	"{\"idx\":1,\"name\":\"1\",\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models.Pooling\"},"
	"{\"idx\":2,\"name\":\"2\",\"path\":\"2_Dense\",\"type\":\"sentence_transformers.models.Dense\"},"
	"{\"idx\":3,\"name\":\"3\",\"path\":\"3_Normalize\",\"type\":\"sentence_transformers.models.Normalize\"}]";

static const char config[] =
	"{\"model_type\":\"bert\",\"hidden_act\":\"gelu\",\"hidden_size\":4,\"num_hidden_layers\":1,"
	"\"num_attention_heads\":2,\"intermediate_size\":4,\"max_position_embeddings\":16,"
	"\"layer_norm_eps\":1e-12,\"vocab_size\":";

static const char pooling[] =
	"{\"word_embedding_dimension\":4,\"pooling_mode_cls_token\":false,\"pooling_mode_mean_tokens\":true}";

static const char dense[] = "{\"in_features\":4,\"out_features\":3,\"bias\":true,"
							"\"activation_function\":\"torch.nn.modules.activation.Tanh\"}";

static const char tokenizer[] =
	"{\"truncation\":null,\"added_tokens\":["
	"{\"id\":1,\"content\":\"[UNK]\",\"special\":true},"
	"{\"id\":2,\"content\":\"[CLS]\",\"special\":true},"
	"{\"id\":3,\"content\":\"[SEP]\",\"special\":true},"
	"{\"id\":4,\"content\":\"[MASK]\",\"lstrip\":true,\"special\":true},"
	"{\"id\":15,\"content\":\"USB\",\"single_word\":true,\"normalized\":true,\"special\":false}],"
	"\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
	"\"strip_accents\":null,\"lowercase\":true},"
	"\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
	"\"post_processor\":{\"type\":\"TemplateProcessing\","
	"\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\","
	"\"type_id\":0}},{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":0}}],"
	"\"special_tokens\":{\"[CLS]\":{\"id\":\"[CLS]\",\"ids\":[2],\"tokens\":[\"[CLS]\"]},"
	"\"[SEP]\":{\"id\":\"[SEP]\",\"ids\":[3],\"tokens\":[\"[SEP]\"]}}},"
	"\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
	"\"max_input_chars_per_word\":100,\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,"
	"\"[MASK]\":4,\"a\":5,\"##b\":6,\"red\":7,\"##c\":8,\"e\":9,\".\":10,\"-\":11,\"cable\":12,"
	"\"\\u4e2d\":13,\"##s\":14}}}";

static const char vocabulary_lines[] =
	"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\nred\n##c\ne\n.\n-\ncable\n\xE4\xB8\xAD\n##s\n";

static const char tokenizer_config[] =
	"{\"do_lower_case\":true,\"model_max_length\":512,\"tokenizer_class\":\"BertTokenizer\","
	"\"added_tokens_decoder\":{\"4\":{\"content\":\"[MASK]\",\"lstrip\":true,\"special\":true}}}";

static const char limits[] = "{\"max_seq_length\":12,\"do_lower_case\":false}";

/* ---- weights ---- */

typedef struct Tensor
{
	const char *name;
	int rows; /* -1: as many as words */
	int columns;
} Tensor;

#define LAYER "encoder.layer.0."

static const Tensor transformer_tensors[] = {
	{"embeddings.word_embeddings.weight", -1, HIDDEN},
	{"embeddings.position_embeddings.weight", POSITIONS, HIDDEN},
	{"embeddings.token_type_embeddings.weight", 2, HIDDEN},
	{"embeddings.LayerNorm.weight", HIDDEN, 0},
	{"embeddings.LayerNorm.bias", HIDDEN, 0},
	{LAYER "attention.self.query.weight", HIDDEN, HIDDEN},
	{LAYER "attention.self.query.bias", HIDDEN, 0},
	{LAYER "attention.self.key.weight", HIDDEN, HIDDEN},
	{LAYER "attention.self.key.bias", HIDDEN, 0},
	{LAYER "attention.self.value.weight", HIDDEN, HIDDEN},
	{LAYER "attention.self.value.bias", HIDDEN, 0},
	{LAYER "attention.output.dense.weight", HIDDEN, HIDDEN},
	{LAYER "attention.output.dense.bias", HIDDEN, 0},
	{LAYER "attention.output.LayerNorm.weight", HIDDEN, 0},
	{LAYER "attention.output.LayerNorm.bias", HIDDEN, 0},
	{LAYER "intermediate.dense.weight", HIDDEN, HIDDEN},
	{LAYER "intermediate.dense.bias", HIDDEN, 0},
	{LAYER "output.dense.weight", HIDDEN, HIDDEN},
	{LAYER "output.dense.bias", HIDDEN, 0},
	{LAYER "output.LayerNorm.weight", HIDDEN, 0},
	{LAYER "output.LayerNorm.bias", HIDDEN, 0},
};

static const Tensor dense_tensors[] = {
	{"linear.weight", OUTPUT, HIDDEN},
	{"linear.bias", OUTPUT, 0},
};

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

static int
tensor_count(const Tensor *tensor, int vocabulary)
{
	int rows = tensor->rows < 0 ? vocabulary : tensor->rows;

	return rows * (tensor->columns > 0 ? tensor->columns : 1);
}

/* A small number that differs from place to place. */
static void
write_number(uint8_t *to, const char *type, int place)
{
	float value = (float) ((place * 37) % 29 - 14) / 16;
	uint16_t half = br_math_half_from_float(value);

	if (strcmp(type, "F16") == 0)
		memcpy(to, &half, 2);
	else if (strcmp(type, "BF16") == 0)
		memcpy(to, (uint8_t *) &value + 2, 2);
	else
		memcpy(to, &value, 4);
}

static uint8_t *
safetensors(const Tensor *tensors, int n, int vocabulary, const char *type, size_t *size)
{
	int width = strcmp(type, "F32") == 0 ? 4 : 2;
	char header[4096] = "{\"__metadata__\":{\"format\":\"pt\"}";
	uint64_t used = strlen(header);
	int end = 0;
	uint8_t *file;

	for (int i = 0; i < n; i++)
	{
		int rows = tensors[i].rows < 0 ? vocabulary : tensors[i].rows;
		int begin = end;
		char shape[32];

		end += width * tensor_count(&tensors[i], vocabulary);
		if (tensors[i].columns > 0)
			snprintf(shape, sizeof(shape), "%d,%d", rows, tensors[i].columns);
		else
			snprintf(shape, sizeof(shape), "%d", rows);
		used += (uint64_t)
			snprintf(header + used, sizeof(header) - used,
					 ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%d,%d]}",
					 tensors[i].name, type, shape, begin, end);
	}
	header[used++] = '}';

	*size = 8 + used + (size_t) end;
	file = malloc(*size);
	memcpy(file, &used, 8);
	memcpy(file + 8, header, used);
	for (int i = 0; i < end / width; i++)
		write_number(file + 8 + used + (size_t) i * (size_t) width, type, i);
	return file;
}

uint8_t *
fuzz_weights(int vocabulary, const char *type, size_t *size)
{
	return safetensors(transformer_tensors, LENGTH(transformer_tensors), vocabulary, type, size);
}

/* ---- the folder ---- */

void
fuzz_folder_set(FuzzFolder *folder, const char *path, const void *data, size_t size)
{
	int i = 0;

	while (i < folder->n && strcmp(folder->files[i].path, path) != 0)
		i++;
	if (data == NULL)
	{
		if (i < folder->n)
			folder->files[i] = folder->files[--folder->n];
		return;
	}
	if (i == FUZZ_MAX_FILES)
		return;
	folder->files[i] = (BrModelFile){path, data, size};
	folder->n += i == folder->n;
}

static void
set_text(FuzzFolder *folder, const char *path, const char *text)
{
	fuzz_folder_set(folder, path, text, strlen(text));
}

void
fuzz_folder_init(FuzzFolder *folder, int vocabulary)
{
	static char configs[2][sizeof(config) + 8];
	static uint8_t *weights[2];
	static size_t sizes[2];
	static uint8_t *dense_weights;
	static size_t dense_size;
	int which = vocabulary != FUZZ_WORDS;

	if (weights[which] == NULL)
	{
		snprintf(configs[which], sizeof(configs[which]), "%s%d}", config, vocabulary);
		weights[which] = fuzz_weights(vocabulary, "F32", &sizes[which]);
	}
	if (dense_weights == NULL)
		dense_weights = safetensors(dense_tensors, LENGTH(dense_tensors), 0, "F32", &dense_size);

	folder->n = 0;
	set_text(folder, "modules.json", modules);
	set_text(folder, "config.json", configs[which]);
	set_text(folder, "1_Pooling/config.json", pooling);
	set_text(folder, "2_Dense/config.json", dense);
	fuzz_folder_set(folder, "2_Dense/model.safetensors", dense_weights, dense_size);
	set_text(folder, "sentence_bert_config.json", limits);
	set_text(folder, "tokenizer.json", tokenizer);
	set_text(folder, "tokenizer_config.json", tokenizer_config);
	set_text(folder, "vocab.txt", vocabulary_lines);
	fuzz_folder_set(folder, "model.safetensors", weights[which], sizes[which]);
}

/* ---- what must hold of a model ---- */

BrStatus
fuzz_tokenize(const BrEncoder *encoder, FuzzContext *fuzz, const char *text, size_t size,
			  bool parse_special, int32_t **ids, int *n)
{
	const BrModelInfo *info = br_encoder_info(encoder);
	int32_t *again;
	int n_again;
	BrStatus status =
		br_encoder_tokenize(encoder, &fuzz->context, text, size, parse_special, ids, n);

	fuzz_check_status(fuzz, status);
	if (status != BR_OK)
	{
		FUZZ_CHECK(*ids == NULL);
		FUZZ_CHECK(status == (fuzz_is_utf8(text, size) ? BR_ERR_MEMORY : BR_ERR_ARGUMENT));
		return status;
	}
	FUZZ_CHECK(fuzz_is_utf8(text, size));
	FUZZ_CHECK(*n >= 0 && *n <= info->max_tokens);
	for (int i = 0; i < *n; i++)
		FUZZ_CHECK((*ids)[i] >= 0 && (*ids)[i] < info->vocabulary);

	FUZZ_CHECK(br_encoder_tokenize(encoder, &fuzz->context, text, size, parse_special, &again,
								   &n_again) == BR_OK);
	FUZZ_CHECK(*n == n_again && memcmp(*ids, again, (size_t) *n * sizeof(int32_t)) == 0);
	br_base_free(&fuzz->context, again);
	return status;
}

/* A normalised vector is no longer than 1; of wild weights it may not be finite. */
static void
check_length(const BrModelInfo *info, const float *embedding)
{
	double squares = 0;

	for (int i = 0; i < info->dimensions; i++)
		squares += (double) embedding[i] * embedding[i];
	if (info->normalize && isfinite(squares))
		FUZZ_CHECK(squares < 1.0001);
}

void
fuzz_embed(const BrEncoder *encoder, FuzzContext *fuzz, const char *text, size_t size,
		   bool parse_special)
{
	const BrModelInfo *info = br_encoder_info(encoder);
	const BrBackend *backend = br_math_portable_backend();
	size_t bytes = (size_t) info->dimensions * sizeof(float);
	float *whole = malloc(2 * bytes);
	float *by_ids = whole + info->dimensions;
	int32_t offsets[2] = {0, 0};
	int32_t *ids;
	BrStatus status;

	if (fuzz_tokenize(encoder, fuzz, text, size, parse_special, &ids, &offsets[1]) == BR_OK)
	{
		status = br_encoder_embed(encoder, &fuzz->context, &(BrCompute){.backend = backend}, &text,
								  &size, 1, parse_special, whole);
		fuzz_check_status(fuzz, status);
		FUZZ_CHECK(status == (offsets[1] > 0 ? BR_OK : BR_ERR_UNSUPPORTED));
		if (status == BR_OK)
		{
			FUZZ_CHECK(br_encoder_embed_tokens(encoder, &fuzz->context,
											   &(BrCompute){.backend = backend}, ids, offsets, 1,
											   by_ids) == BR_OK);
			FUZZ_CHECK(memcmp(whole, by_ids, bytes) == 0);
			check_length(info, whole);
		}
		br_base_free(&fuzz->context, ids);
	}
	free(whole);
}

static void
use_image(FuzzContext *fuzz, const void *image, size_t size)
{
	static const char *const texts[] =
		{"", "a red usb cable", "[CLS] [MASK]abc[SEP]",
		 "\xE4\xB8\xAD\xC3\xA9 e\xCC\x81\xC2\xA0-.\t\xEF\xBF\xBD",
		 "red cables. a b c a-b-c abcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbc e e e e e e e e e e"};
	BrEncoder *encoder;

	FUZZ_CHECK(br_encoder_open(&fuzz->context, image, size, &encoder) == BR_OK);
	FUZZ_CHECK(br_encoder_info(encoder)->max_tokens > 0);
	FUZZ_CHECK(br_encoder_info(encoder)->dimensions > 0);
	for (int i = 0; i < LENGTH(texts); i++)
		for (int special = 0; special < 2; special++)
			fuzz_embed(encoder, fuzz, texts[i], strlen(texts[i]), special);
	br_encoder_close(encoder);
}

/* Imports with the allocation that hash chooses failing. */
static void
import_without_memory(const FuzzFolder *folder, size_t input_size, uint64_t hash, BrStatus expected)
{
	FuzzContext fuzz;
	void *image;
	size_t size;
	BrStatus status;

	fuzz_context_init(&fuzz, input_size);
	fuzz.left = (long) (hash % 64);
	status = br_encoder_import(&fuzz.context, folder->files, folder->n, &image, &size);
	fuzz_check_status(&fuzz, status);
	/* of two reasons to refuse either may be named */
	FUZZ_CHECK(status == expected || (fuzz.failed && status == BR_ERR_MEMORY));
	FUZZ_CHECK(!fuzz.failed || status != BR_OK);
	br_base_free(&fuzz.context, image);
	fuzz_check_freed(&fuzz);
}

void
fuzz_import(const FuzzFolder *folder, size_t input_size, uint64_t hash)
{
	FuzzContext fuzz;
	void *image;
	size_t size;
	BrStatus status;

	fuzz_context_init(&fuzz, input_size);
	status = br_encoder_import(&fuzz.context, folder->files, folder->n, &image, &size);
	fuzz_check_status(&fuzz, status);
	FUZZ_CHECK((status == BR_OK) == (image != NULL));
	if (status == BR_OK)
	{
		fuzz_accepted++;
		use_image(&fuzz, image, size);
	}
	br_base_free(&fuzz.context, image);
	fuzz_check_freed(&fuzz);
	if (hash % 4 == 0)
		import_without_memory(folder, input_size, hash >> 8, status);
}

/* ---- the golden models ---- */

void *
fuzz_golden_file(const char *model, const char *path, size_t *size)
{
	const char *directory = getenv("BR_TEST_DIR");
	char name[1024];
	FILE *file;
	char *data;
	long length;

	snprintf(name, sizeof(name), "%s/models/%s/%s", directory != NULL ? directory : "test/golden",
			 model, path);
	file = fopen(name, "rb");
	if (file == NULL)
	{
		fprintf(stderr, "%s is missing\n", name);
		exit(2);
	}
	fseek(file, 0, SEEK_END);
	length = ftell(file);
	rewind(file);
	data = malloc((size_t) length + 1);
	*size = fread(data, 1, (size_t) length, file);
	fclose(file);
	return data;
}

void
fuzz_golden_folder(FuzzFolder *folder, const char *model)
{
	static const char *const paths[] = {"modules.json",
										"config.json",
										"1_Pooling/config.json",
										"2_Dense/config.json",
										"2_Dense/model.safetensors",
										"config_sentence_transformers.json",
										"sentence_bert_config.json",
										"tokenizer.json",
										"tokenizer_config.json",
										"vocab.txt",
										"model.safetensors"};
	bool has_dense = strstr(model, "dense") != NULL;

	folder->n = 0;
	for (int i = 0; i < LENGTH(paths); i++)
	{
		size_t size;
		void *data;

		if (strncmp(paths[i], "2_", 2) == 0 && !has_dense)
			continue;
		data = fuzz_golden_file(model, paths[i], &size);
		fuzz_folder_set(folder, paths[i], data, size);
	}
}

void
fuzz_golden_free(FuzzFolder *folder)
{
	for (int i = 0; i < folder->n; i++)
		free((void *) folder->files[i].data);
	folder->n = 0;
}
