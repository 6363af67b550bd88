/*
 * tokenizer_import.c
 *	  A folder's tokenizer, from all files that have a say in it.
 *
 * tokenizer.json describes the tokenizer whole. Where it is missing, vocab.txt
 * lists the tokens of WordPiece, vocab.json and merges.txt are byte-level BPE,
 * and sentencepiece.bpe.model is Unigram; the rest is then as the reference's
 * class of the tokenizer has it. tokenizer_config.json comes on top.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* ---- tokens by their text ---- */

static uint32_t
hash_text(const char *text, size_t size)
{
	uint32_t hash = BR_HASH_SEED;

	for (size_t i = 0; i < size; i++)
		hash = br_encoder_hash_byte(hash, (unsigned char) text[i]);
	return hash;
}

/* The slot of a text: its token's, or the empty one where it would be. */
static uint32_t
find_slot(const BrTokenizerImport *import, const BrImageConfig *config, const char *text,
		  size_t size)
{
	uint32_t mask = config->n_slots - 1;
	uint32_t slot = hash_text(text, size) & mask;

	while (import->slots[slot] != 0)
	{
		const BrImportToken *token = &import->tokens[import->slots[slot] - 1];

		if (token->size == size && memcmp(token->text, text, size) == 0)
			break;
		slot = (slot + 1) & mask;
	}
	return slot;
}

BrStatus
br_encoder_index_tokens(BrContext *context, BrImageConfig *config, BrTokenizerImport *import)
{
	config->n_slots = 2;
	while (config->n_slots < 2 * config->n_tokens)
		config->n_slots *= 2;
	import->slots = br_base_alloc_array(context, config->n_slots, sizeof(uint32_t));
	if (import->slots == NULL)
		return BR_ERR_MEMORY;
	/* an equal one that is there gives way */
	for (uint32_t i = 0; i < config->n_tokens; i++)
		import->slots[find_slot(import, config, import->tokens[i].text, import->tokens[i].size)] =
			i + 1;
	return BR_OK;
}

int64_t
br_encoder_token_number(const BrTokenizerImport *import, const BrImageConfig *config,
						const char *text, size_t size)
{
	return (int64_t) import->slots[find_slot(import, config, text, size)] - 1;
}

int32_t
br_encoder_token_id(const BrTokenizerImport *import, const BrImageConfig *config, const char *text)
{
	int64_t number = br_encoder_token_number(import, config, text, strlen(text));

	return number < 0 ? -1 : import->tokens[number].id;
}

/* ---- vocab.txt ---- */

BrStatus
br_encoder_check_lines(BrContext *context, const BrModelFile *file)
{
	if (file->size == 0 || file->size > INT32_MAX || !br_encoder_is_utf8(file->data, file->size) ||
		memchr(file->data, '\0', file->size) != NULL)
		return br_base_fail(context, BR_ERR_FORMAT, "%s is empty or not UTF-8 text.", file->path);
	return BR_OK;
}

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
	BrStatus status = br_encoder_check_lines(context, file);

	if (status != BR_OK)
		return status;
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
			(BrImportToken){import->lines + at, (uint32_t) length, (int32_t) config->n_tokens, 0};
		config->n_tokens++;
		at += length + (pair ? 2 : 1);
	}
	return br_encoder_index_tokens(context, config, import);
}

static BrStatus
read_vocab_txt(BrContext *context, const BrModelFile *file, BrImageConfig *config,
			   BrTokenizerImport *import)
{
	BrTokenizerClass class = br_encoder_tokenizer_class(import, config);
	BrStatus status;

	if (class != BR_CLASS_BERT && class != BR_CLASS_MPNET && class != BR_CLASS_ANY)
		return br_base_fail(context, BR_ERR_FORMAT,
							"The model's tokenizer is not of the kind that \"%s\" belongs to.",
							file->path);
	if (class == BR_CLASS_ANY)
		class = BR_CLASS_BERT;
	status = read_lines(context, file, config, import);
	config->tokenizer = BR_TOKENIZER_WORDPIECE;
	config->flags = BR_BERT_CLEAN_TEXT;
	config->max_word_characters = 100;
	config->prefix_size = 2;
	memcpy(config->prefix, "##", 2);

	if (status == BR_OK)
		status = br_encoder_require_role(context, file->path, class, config, import, "unk_token",
										 &config->unknown_id);
	if (status == BR_OK)
		status = br_encoder_class_template(context, file->path, class, config, import);
	if (status == BR_OK && class != BR_CLASS_BERT)
		status = br_encoder_add_class_tokens(context, class, config, import);
	return status;
}

/* ---- whichever is there ---- */

typedef enum SourceFile
{
	SOURCE_CONFIG,
	SOURCE_SPECIAL_MAP,
	SOURCE_JSON,
	SOURCE_VOCAB_TXT,
	SOURCE_VOCAB_JSON,
	SOURCE_MERGES,
	SOURCE_SENTENCEPIECE,
	SOURCE_COUNT
} SourceFile;

static const char *const source_names[SOURCE_COUNT] = {
	"tokenizer_config.json",
	"special_tokens_map.json",
	"tokenizer.json",
	"vocab.txt",
	"vocab.json",
	"merges.txt",
	"sentencepiece.bpe.model",
};

static BrStatus
read_source(BrContext *context, const BrFolder *folder, char *const *paths, BrImageConfig *config,
			BrTokenizerImport *import)
{
	const BrModelFile *vocab = br_encoder_find_file(folder, paths[SOURCE_VOCAB_TXT]);
	const BrModelFile *merges = br_encoder_find_file(folder, paths[SOURCE_MERGES]);
	const BrModelFile *pieces = br_encoder_find_file(folder, paths[SOURCE_SENTENCEPIECE]);
	BrStatus status =
		br_encoder_open_json(context, folder, paths[SOURCE_JSON], false, &import->json);

	if (status != BR_OK)
		return status;
	if (import->json != NULL)
		return br_encoder_read_tokenizer_json(context, paths[SOURCE_JSON], config, import);
	if (vocab != NULL)
		return read_vocab_txt(context, vocab, config, import);
	if (merges != NULL && br_encoder_find_file(folder, paths[SOURCE_VOCAB_JSON]) != NULL)
	{
		status =
			br_encoder_open_json(context, folder, paths[SOURCE_VOCAB_JSON], true, &import->json);
		if (status == BR_OK)
			status = br_encoder_read_bpe_files(context, paths[SOURCE_VOCAB_JSON], merges, config,
											   import);
		return status;
	}
	if (pieces != NULL)
		return br_encoder_read_sentencepiece(context, pieces, config, import);
	return br_base_fail(context, BR_ERR_FORMAT,
						"The model has neither \"%s\" nor \"%s\" nor \"%s\" with \"%s\" nor \"%s\"; other tokenizers are not handled.",
						paths[SOURCE_JSON], paths[SOURCE_VOCAB_TXT], paths[SOURCE_VOCAB_JSON],
						paths[SOURCE_MERGES], paths[SOURCE_SENTENCEPIECE]);
}

BrStatus
br_encoder_read_tokenizer(BrContext *context, const BrFolder *folder, BrImageConfig *config,
						  BrTokenizerImport *import)
{
	char *paths[SOURCE_COUNT] = {NULL};
	BrStatus status = BR_OK;

	for (int i = 0; i < SOURCE_COUNT && status == BR_OK; i++)
	{
		paths[i] = br_encoder_join(context, folder->transformer, source_names[i]);
		status = paths[i] == NULL ? BR_ERR_MEMORY : BR_OK;
	}
	if (status == BR_OK)
		status =
			br_encoder_open_json(context, folder, paths[SOURCE_CONFIG], false, &import->config);
	if (status == BR_OK)
		status = br_encoder_open_json(context, folder, paths[SOURCE_SPECIAL_MAP], false,
									  &import->special_map);
	/* the reference reads it only where the tokenizer's configuration lists no added tokens */
	if (status == BR_OK && br_encoder_json_get(import->config, "added_tokens_decoder") != NULL)
	{
		cJSON_Delete(import->special_map);
		import->special_map = NULL;
	}
	if (status == BR_OK)
		status = read_source(context, folder, paths, config, import);
	if (status == BR_OK)
		status = br_encoder_apply_tokenizer_config(context, config, import);
	for (int i = 0; i < SOURCE_COUNT; i++)
		br_base_free(context, paths[i]);
	return status;
}

void
br_encoder_close_tokenizer(BrContext *context, BrTokenizerImport *import)
{
	cJSON_Delete(import->json);
	cJSON_Delete(import->config);
	cJSON_Delete(import->special_map);
	br_base_free(context, import->lines);
	br_base_free(context, import->tokens);
	br_base_free(context, import->slots);
	br_base_free(context, import->added);
	br_base_free(context, import->template);
	br_base_free(context, import->merges);
	br_base_free(context, import->units);
}
