/*
 * seeds.c
 *	  Where the fuzzer begins: valid inputs of every kind, made from the golden
 *	  models and from the smallest one, and a few that are known to be difficult.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "fuzz/fuzz.h"
#include "fuzz/helper_step.h"
#include "helper/br_exchange.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

static const char *const golden[] = {"tiny-bert-cls", "tiny-bert-cased-max-dense"};

static void
use_file(FuzzSeedUse *use, void *arg, const char *model, const char *path, const char *name)
{
	size_t size;
	void *data = fuzz_golden_file(model, path, &size);

	use(arg, name, data, size);
	free(data);
}

static void
safetensors_seeds(FuzzSeedUse *use, void *arg)
{
	static const char *const types[] = {"F32", "F16", "BF16"};
	uint64_t header;
	uint8_t *data;
	size_t size;

	for (int i = 0; i < LENGTH(types); i++)
	{
		data = fuzz_weights(FUZZ_WORDS, types[i], &size);
		use(arg, types[i], data, size);
		free(data);
	}
	use_file(use, arg, golden[1], "2_Dense/model.safetensors", "dense");

	/* the header of a whole model; its data would only slow the fuzzer down */
	data = fuzz_golden_file(golden[0], "model.safetensors", &size);
	memcpy(&header, data, sizeof(header));
	use(arg, "header", data, 8 + (size_t) header);
	free(data);
}

/*
 * A folder's files as fuzz_folder.c reads them, but for the weights, and for
 * the tokenizer where it is long: that has a target of its own.
 */
static char *
folder_text(const FuzzFolder *folder, size_t *size)
{
	char *text;

	*size = 0;
	for (int i = 0; i < folder->n; i++)
		*size += folder->files[i].size + strlen(folder->files[i].path) + 6;
	text = malloc(*size + 1);
	*size = 0;
	for (int i = 0; i < folder->n; i++)
	{
		const BrModelFile *file = &folder->files[i];

		if (strstr(file->path, ".safetensors") != NULL || file->size > 4000)
			continue;
		*size += (size_t) sprintf(text + *size, "=== %s\n", file->path);
		memcpy(text + *size, file->data, file->size);
		*size += file->size;
		text[(*size)++] = '\n';
	}
	return text;
}

static void
folder_seeds(FuzzSeedUse *use, void *arg)
{
	static const char *const small[] = {
		"=== -modules.json\n",
		"=== -tokenizer.json\n=== -tokenizer_config.json\n",
		"=== -sentence_bert_config.json\n=== 1_Pooling/config.json\n{\"pooling_mode\":\"max\"}\n",
		"=== config_sentence_transformers.json\n{\"prompts\":{\"a\":\"\"},\"default_prompt_name\":\"a\"}\n",
		"=== tokenizer_config.json\n{\"tokenizer_class\":\"PreTrainedTokenizerFast\"}\n",
		"=== config.json\n{\"model_type\":\"roberta\",\"hidden_act\":\"gelu\",\"hidden_size\":4,\"num_hidden_layers\":1,\"num_attention_heads\":2,\"intermediate_size\":4,\"max_position_embeddings\":16,\"pad_token_id\":3,\"vocab_size\":16}\n",
		"=== 1_Pooling/config.json\n{\"embedding_dimension\":4,\"pooling_mode\":\"weightedmean\"}\n",
	};
	FuzzFolder folder;
	char *text;
	size_t size;

	fuzz_folder_init(&folder, FUZZ_WORDS);
	text = folder_text(&folder, &size);
	use(arg, "smallest", text, size);
	free(text);
	for (int i = 0; i < LENGTH(golden); i++)
	{
		fuzz_golden_folder(&folder, golden[i]);
		text = folder_text(&folder, &size);
		use(arg, golden[i], text, size);
		free(text);
		fuzz_golden_free(&folder);
	}
	for (int i = 0; i < LENGTH(small); i++)
	{
		char name[20];

		snprintf(name, sizeof(name), "small-%d", i);
		use(arg, name, small[i], strlen(small[i]));
	}
}

/* Byte-level BPE and Unigram: the whole files among the cases of the unit tests. */
static void
subword_seeds(FuzzSeedUse *use, void *arg)
{
	static const char pieces[] =
		"\x0A\x07\x0A\x05<unk>\x0A\x07\x0A\x03<s>\x18\x03"
		"\x0A\x08\x0A\x04</s>\x18\x03\x0A\x0A\x0A\x03\xE2\x96\x81\x15\0\0\x20\xC0"
		"\x0A\x08\x0A\x01"
		"a\x15\0\0\x40\xC0\x12\x02\x18\x01";
	size_t size;
	char *data = fuzz_golden_file("..", "subword_cases.json", &size);
	cJSON *json = cJSON_ParseWithLength(data, size);
	const cJSON *item;
	int i = 0;

	cJSON_ArrayForEach(item, cJSON_GetObjectItem(json, "cases"))
	{
		const cJSON *tokenizer = cJSON_GetObjectItem(item, "tokenizer");
		char name[20];

		if (tokenizer == NULL)
			continue;
		snprintf(name, sizeof(name), "subword-%02d", i++);
		use(arg, name, tokenizer->valuestring, strlen(tokenizer->valuestring));
	}
	FUZZ_CHECK(i > 0);
	cJSON_Delete(json);
	free(data);
	use(arg, "pieces", pieces, sizeof(pieces) - 1);
}

static void
tokenizer_seeds(FuzzSeedUse *use, void *arg)
{
	FuzzFolder folder;

	for (int i = 0; i < LENGTH(golden); i++)
	{
		char name[60];

		snprintf(name, sizeof(name), "%s.json", golden[i]);
		use_file(use, arg, golden[i], "tokenizer.json", name);
		snprintf(name, sizeof(name), "%s.txt", golden[i]);
		use_file(use, arg, golden[i], "vocab.txt", name);
	}
	subword_seeds(use, arg);
	fuzz_folder_init(&folder, FUZZ_WORDS);
	for (int i = 0; i < folder.n; i++)
		if (strcmp(folder.files[i].path, "tokenizer.json") == 0 ||
			strcmp(folder.files[i].path, "vocab.txt") == 0)
			use(arg, folder.files[i].path, folder.files[i].data, folder.files[i].size);
}

/* The texts of the golden rows. */
static void
tokenize_seeds(FuzzSeedUse *use, void *arg)
{
	size_t size;
	/* beside the models' folders */
	char *data = fuzz_golden_file("..", "tiny-bert-cls.json", &size);
	cJSON *json = cJSON_ParseWithLength(data, size);
	const cJSON *row;
	int i = 0;

	cJSON_ArrayForEach(row, cJSON_GetObjectItem(json, "rows"))
	{
		const char *text = cJSON_GetObjectItem(row, "text")->valuestring;
		char name[20];

		snprintf(name, sizeof(name), "row-%02d", i++);
		use(arg, name, text, strlen(text));
	}
	FUZZ_CHECK(i > 0);
	cJSON_Delete(json);
	free(data);
}

static void
image_seeds(FuzzSeedUse *use, void *arg)
{
	static const char *const removed[] = {"none", "tokenizer.json", "modules.json"};

	for (int i = 0; i < LENGTH(removed); i++)
	{
		FuzzFolder folder;
		BrContext context;
		void *image;
		size_t size;

		fuzz_folder_init(&folder, FUZZ_WORDS);
		fuzz_folder_set(&folder, removed[i], NULL, 0);
		br_base_context_init(&context);
		if (br_encoder_import(&context, folder.files, folder.n, &image, &size) != BR_OK)
			fuzz_fail(__FILE__, __LINE__, "the smallest folder is valid", context.detail);
		use(arg, removed[i], image, size);
		br_base_free(&context, image);
	}
}

static void
embedding_text_seeds(FuzzSeedUse *use, void *arg)
{
	static const char *const texts[] = {"[0.1,0.2]",
										" [ 1 , -2.50,+3e0 ,.5] ",
										"[65504,-65504,2049,2051,65519.99]",
										"[1e-4,0.00009,6e-8,1e-9,-0]",
										"[1.00048828125,1.000488281250001]",
										"[NaN,-Infinity,1e999]",
										"[0x10]",
										"[\xC3\xA4\xC3\xB6]",
										"[1,2]]"};

	for (int i = 0; i < LENGTH(texts); i++)
	{
		char name[20];

		snprintf(name, sizeof(name), "text-%d", i);
		use(arg, name, texts[i], strlen(texts[i]));
	}
}

static void
embedding_binary_seeds(FuzzSeedUse *use, void *arg)
{
	static const uint8_t two[] = {0, 2, 0, 0, 0x3C, 0, 0xC0, 0};
	static const uint8_t difficult[] = {0,	  6,	0,	  0,	0x7B, 0xFF, 0,	  1,
										0x80, 0x00, 0x04, 0x00, 0x2E, 0x66, 0x83, 0xFF};
	static const uint8_t infinite[] = {0, 1, 0, 0, 0x7C, 0};

	use(arg, "two", two, sizeof(two));
	use(arg, "difficult", difficult, sizeof(difficult));
	use(arg, "infinite", infinite, sizeof(infinite));
}

/* Adds a step and what stands in its lane. */
static void
add_step(uint8_t *seed, size_t *size, FuzzStep step, const void *lane, size_t lane_bytes)
{
	step.version = BR_EXCHANGE_VERSION;
	step.lane_bytes = (uint16_t) lane_bytes;
	memcpy(seed + *size, &step, sizeof(step));
	memcpy(seed + *size + sizeof(step), lane, lane_bytes);
	*size += sizeof(step) + lane_bytes;
}

static void
helper_seeds(FuzzSeedUse *use, void *arg)
{
	/* offsets of two texts, and their ids */
	static const int32_t texts[] = {0, 3, 5, 2, 7, 3, 2, 3};
	static const float rows[] = {0, 0, 1, 1, 0.25f, -3, 1e20f, 2, 0, 0};
	FuzzStep embed = {.kind = BR_EXCHANGE_EMBED,
					  .texts = 2,
					  .tokens = 5,
					  .dimensions = FUZZ_STEP_DIMENSIONS,
					  .flags = FUZZ_STEP_IMAGE};
	FuzzStep centroids = {.kind = BR_EXCHANGE_CENTROIDS, .lane = 1, .rows = 3, .dims = 2};
	FuzzStep assign = {.kind = BR_EXCHANGE_ASSIGN, .rows = 5, .dims = 2};
	uint8_t seed[1024];
	size_t size = 0;

	add_step(seed, &size, embed, texts, sizeof(texts));
	use(arg, "embed", seed, size);

	/* a second model, the first one again, and then room for one of them */
	embed.hash = 1;
	add_step(seed, &size, embed, texts, sizeof(texts));
	embed.hash = 0;
	embed.lane = 1;
	add_step(seed, &size, embed, texts, sizeof(texts));
	embed.flags |= FUZZ_STEP_BUDGET;
	add_step(seed, &size, embed, texts, sizeof(texts));
	embed.hash = 1;
	add_step(seed, &size, embed, texts, sizeof(texts));
	use(arg, "models", seed, size);

	/* weights that are none, and an image that is somewhere else */
	embed.flags = FUZZ_STEP_IMAGE | FUZZ_STEP_WEIGHTS;
	add_step(seed, &size, embed, texts, sizeof(texts));
	embed.flags = 0;
	add_step(seed, &size, embed, texts, sizeof(texts));
	use(arg, "files", seed, size);

	size = 0;
	add_step(seed, &size, centroids, rows, 6 * sizeof(float));
	add_step(seed, &size, assign, rows, sizeof(rows));
	use(arg, "assign", seed, size);
}

void
fuzz_each_seed(const char *target, FuzzSeedUse *use, void *arg)
{
	static const struct
	{
		const char *target;
		void (*seeds)(FuzzSeedUse *use, void *arg);
	} makers[] = {
		{"safetensors", safetensors_seeds},
		{"folder", folder_seeds},
		{"tokenizer", tokenizer_seeds},
		{"tokenize", tokenize_seeds},
		{"image", image_seeds},
		{"embedding_text", embedding_text_seeds},
		{"embedding_binary", embedding_binary_seeds},
		{"helper", helper_seeds},
	};

	for (int i = 0; i < LENGTH(makers); i++)
		if (strcmp(makers[i].target, target) == 0)
			makers[i].seeds(use, arg);
}
