/*
 * tokenizer_import.c
 *	  A folder's tokenizer, from all files that have a say in it.
 *
 * tokenizer.json describes the tokenizer whole; where it is missing, vocab.txt
 * lists the tokens and the rest is as BERT has it. tokenizer_config.json comes
 * on top: the reference's BERT tokenizer takes lower-casing, accent stripping
 * and the spacing of ideographs from there, whatever tokenizer.json says, and
 * adds tokens that only the configuration knows.
 */
#include <stdlib.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

#define CONFIG_NAME "tokenizer_config.json"

/* Special tokens by their role, and what BERT calls them. */
static const struct
{
	const char *key;
	const char *fallback;
} roles[] = {
	{"unk_token", "[UNK]"}, {"sep_token", "[SEP]"},	  {"pad_token", "[PAD]"},
	{"cls_token", "[CLS]"}, {"mask_token", "[MASK]"},
};

#define N_ROLES (sizeof(roles) / sizeof(roles[0]))

int32_t
br_encoder_token_id(const BrTokenizerImport *import, const BrImageConfig *config, const char *text)
{
	/* from the end: of equal tokens the last one counts */
	for (uint32_t i = config->n_tokens; i > 0; i--)
		if (strcmp(import->tokens[i - 1].text, text) == 0)
			return import->tokens[i - 1].id;
	return -1;
}

/* ---- vocab.txt ---- */

static uint32_t
count_lines(const char *text, size_t size)
{
	uint32_t n = 0;

	for (size_t i = 0; i < size; i++)
		n += text[i] == '\n' || text[i] == '\r';
	return n + 1;
}

/* One token a line; the line's number is the id. */
static BrStatus
read_lines(BrContext *context, const BrModelFile *file, BrImageConfig *config,
		   BrTokenizerImport *import)
{
	uint32_t n_lines;
	size_t at = 0;

	if (file->size == 0 || file->size > INT32_MAX || !br_encoder_is_utf8(file->data, file->size) ||
		memchr(file->data, '\0', file->size) != NULL)
		return br_base_fail(context, BR_ERR_FORMAT, "%s is empty or not UTF-8 text.", file->path);

	n_lines = count_lines(file->data, file->size);
	import->lines = br_base_alloc(context, file->size + 1);
	import->tokens = br_base_alloc_array(context, n_lines, sizeof(BrImportToken));
	if (import->lines == NULL || import->tokens == NULL)
		return BR_ERR_MEMORY;
	memcpy(import->lines, file->data, file->size);
	import->lines[file->size] = '\0';

	while (at < file->size)
	{
		size_t length = strcspn(import->lines + at, "\r\n");
		bool pair = strncmp(import->lines + at + length, "\r\n", 2) == 0;

		if (config->n_tokens >= config->vocabulary)
			return br_base_fail(context, BR_ERR_FORMAT,
								"%s has more lines than the model has tokens, %u.", file->path,
								config->vocabulary);
		import->lines[at + length] = '\0';
		import->tokens[config->n_tokens] =
			(BrImportToken){import->lines + at, (uint32_t) length, (int32_t) config->n_tokens};
		config->n_tokens++;
		at += length + (pair ? 2 : 1);
	}
	return BR_OK;
}

/* The name of a special token: a string, or an object with its content. */
static const char *
role_name(const BrTokenizerImport *import, size_t role)
{
	const cJSON *member = br_encoder_json_get(import->config, roles[role].key);

	if (cJSON_IsObject(member))
		member = br_encoder_json_get(member, "content");
	return cJSON_IsString(member) ? member->valuestring : roles[role].fallback;
}

static BrStatus
require_role(BrContext *context, const char *where, const BrImageConfig *config,
			 const BrTokenizerImport *import, const char *key, int32_t *id)
{
	const char *name = "";
	char quoted[BR_QUOTED_SIZE];

	for (size_t i = 0; i < N_ROLES; i++)
		if (strcmp(roles[i].key, key) == 0)
			name = role_name(import, i);
	*id = br_encoder_token_id(import, config, name);
	if (*id < 0)
		return br_base_fail(context, BR_ERR_FORMAT, "%s lacks the special token \"%s\".", where,
							br_encoder_quote(name, quoted));
	return BR_OK;
}

static BrStatus
read_vocab_txt(BrContext *context, const BrModelFile *file, BrImageConfig *config,
			   BrTokenizerImport *import)
{
	BrStatus status = read_lines(context, file, config, import);

	config->flags = BR_BERT_CLEAN_TEXT;
	config->max_word_characters = 100;
	config->prefix_size = 2;
	memcpy(config->prefix, "##", 2);
	config->n_before = 1;
	config->n_after = 1;
	import->template = br_base_alloc_array(context, 2, sizeof(int32_t));
	if (import->template == NULL)
		return BR_ERR_MEMORY;

	if (status == BR_OK)
		status =
			require_role(context, file->path, config, import, "unk_token", &config->unknown_id);
	if (status == BR_OK)
		status =
			require_role(context, file->path, config, import, "cls_token", &import->template[0]);
	if (status == BR_OK)
		status =
			require_role(context, file->path, config, import, "sep_token", &import->template[1]);
	return status;
}

/* ---- tokenizer_config.json ---- */

/* Whether the reference builds its BERT tokenizer, which the configuration overrides. */
static bool
is_bert_class(const cJSON *json)
{
	static const char *const classes[] = {"BertTokenizer", "DistilBertTokenizer",
										  "ElectraTokenizer", "ConvBertTokenizer",
										  "MobileBertTokenizer"};
	const cJSON *name = br_encoder_json_get(json, "tokenizer_class");

	if (!cJSON_IsString(name))
		return true; /* the architecture's own */
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
	{
		size_t length = strlen(classes[i]);

		if (strncmp(name->valuestring, classes[i], length) == 0 &&
			(name->valuestring[length] == '\0' || strcmp(name->valuestring + length, "Fast") == 0))
			return true;
	}
	return false;
}

static BrStatus
override_normalizer(BrContext *context, const cJSON *json, BrImageConfig *config)
{
	bool lower;
	bool strip;
	bool cjk;
	BrStatus status =
		br_encoder_json_bool(context, CONFIG_NAME, json, "do_lower_case", true, &lower);

	if (status == BR_OK)
		status = br_encoder_json_bool(context, CONFIG_NAME, json, "strip_accents", lower, &strip);
	if (status == BR_OK)
		status =
			br_encoder_json_bool(context, CONFIG_NAME, json, "tokenize_chinese_chars", true, &cjk);
	if (status != BR_OK)
		return status;
	config->flags &= BR_BERT_CLEAN_TEXT;
	config->flags |= (cjk ? BR_BERT_SPACE_CJK : 0) | (lower ? BR_BERT_LOWERCASE : 0) |
		(strip ? BR_BERT_STRIP_ACCENTS : 0);
	return BR_OK;
}

static BrImportAdded *
find_added(const BrTokenizerImport *import, const BrImageConfig *config, const char *text)
{
	for (uint32_t i = 0; i < config->n_added; i++)
		if (strcmp(import->added[i].text, text) == 0)
			return &import->added[i];
	return NULL;
}

/* {"id": {"content": ..., flags}}: flags replace those of tokenizer.json, other tokens join. */
static BrStatus
merge_added(BrContext *context, const cJSON *decoder, BrImageConfig *config,
			BrTokenizerImport *import)
{
	const cJSON *entry;

	if (decoder != NULL && !cJSON_IsObject(decoder))
		return br_base_fail(context, BR_ERR_FORMAT,
							CONFIG_NAME ": \"added_tokens_decoder\" must be an object.");
	cJSON_ArrayForEach(entry, decoder)
	{
		char quoted[BR_QUOTED_SIZE];
		const char *text;
		char *end;
		long id = strtol(entry->string, &end, 10);
		int32_t known;
		uint32_t flags = 0;
		BrImportAdded *added;
		BrStatus status = br_encoder_json_string(context, CONFIG_NAME, entry, "content", "", &text);

		if (status == BR_OK)
			status = br_encoder_read_added_flags(context, CONFIG_NAME, entry, &flags);
		if (status == BR_OK && br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "The import was cancelled.");
		if (status != BR_OK)
			return status;
		if (text[0] == '\0')
			continue;

		added = find_added(import, config, text);
		known = added != NULL ? added->id : br_encoder_token_id(import, config, text);
		if (*end != '\0' || end == entry->string || id < 0 || id >= (long) config->vocabulary ||
			(known >= 0 && known != id))
			return br_base_fail(context, BR_ERR_FORMAT,
								CONFIG_NAME
								": the added token \"%s\" has an id of its own or none.",
								br_encoder_quote(text, quoted));
		if (added == NULL)
			added = &import->added[config->n_added++];
		*added = (BrImportAdded){text, (int32_t) id, flags};
	}
	return BR_OK;
}

/* Tokens that have a role are special, even if no list says so. */
static void
add_roles(BrImageConfig *config, BrTokenizerImport *import)
{
	for (size_t i = 0; i < N_ROLES; i++)
	{
		const char *name = role_name(import, i);
		int32_t id = br_encoder_token_id(import, config, name);

		if (id >= 0 && name[0] != '\0' && find_added(import, config, name) == NULL)
			import->added[config->n_added++] = (BrImportAdded){name, id, BR_ADDED_SPECIAL};
	}
}

static BrStatus
apply_config(BrContext *context, BrImageConfig *config, BrTokenizerImport *import)
{
	const cJSON *decoder = br_encoder_json_get(import->config, "added_tokens_decoder");
	size_t room = config->n_added + (size_t) cJSON_GetArraySize(decoder) + N_ROLES;
	BrImportAdded *added = br_base_alloc_array(context, room, sizeof(BrImportAdded));
	const char *side;
	BrStatus status;

	if (added == NULL)
		return BR_ERR_MEMORY;
	if (config->n_added > 0)
		memcpy(added, import->added, config->n_added * sizeof(BrImportAdded));
	br_base_free(context, import->added);
	import->added = added;

	status = merge_added(context, decoder, config, import);
	if (status == BR_OK)
		add_roles(config, import);
	if (status == BR_OK && is_bert_class(import->config))
		status = override_normalizer(context, import->config, config);
	if (status == BR_OK)
		status = br_encoder_json_string(context, CONFIG_NAME, import->config, "truncation_side",
										"right", &side);
	if (status == BR_OK && strcmp(side, "right") != 0)
		status = br_base_fail(context, BR_ERR_UNSUPPORTED,
							  CONFIG_NAME ": truncation on the left is not handled.");
	return status;
}

static BrStatus
read_tokenizer(BrContext *context, const BrFolder *folder, const char *json_path,
			   const char *vocab_path, BrImageConfig *config, BrTokenizerImport *import)
{
	const BrModelFile *vocab = br_encoder_find_file(folder, vocab_path);
	BrStatus status = br_encoder_open_json(context, folder, json_path, false, &import->json);

	if (status != BR_OK)
		return status;
	if (import->json != NULL)
		status = br_encoder_read_tokenizer_json(context, json_path, config, import);
	else if (vocab != NULL)
		status = read_vocab_txt(context, vocab, config, import);
	else
		status =
			br_base_fail(context, BR_ERR_FORMAT,
						 "The model has neither \"%s\" nor \"%s\"; other tokenizers are not handled.",
						 json_path, vocab_path);
	if (status == BR_OK)
		status = apply_config(context, config, import);
	return status;
}

BrStatus
br_encoder_read_tokenizer(BrContext *context, const BrFolder *folder, BrImageConfig *config,
						  BrTokenizerImport *import)
{
	char *config_path = br_encoder_join(context, folder->transformer, CONFIG_NAME);
	char *json_path = br_encoder_join(context, folder->transformer, "tokenizer.json");
	char *vocab_path = br_encoder_join(context, folder->transformer, "vocab.txt");
	BrStatus status = BR_ERR_MEMORY;

	if (config_path != NULL && json_path != NULL && vocab_path != NULL)
		status = br_encoder_open_json(context, folder, config_path, false, &import->config);
	if (status == BR_OK)
		status = read_tokenizer(context, folder, json_path, vocab_path, config, import);
	br_base_free(context, config_path);
	br_base_free(context, json_path);
	br_base_free(context, vocab_path);
	return status;
}

void
br_encoder_close_tokenizer(BrContext *context, BrTokenizerImport *import)
{
	cJSON_Delete(import->json);
	cJSON_Delete(import->config);
	br_base_free(context, import->lines);
	br_base_free(context, import->tokens);
	br_base_free(context, import->added);
	br_base_free(context, import->template);
}
