/*
 * tokenizer_model.c
 *	  The model of a tokenizer.json: WordPiece, byte-level BPE or Unigram.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/encoder/tokenizer_int.h"

BrStatus
br_encoder_json_part(BrContext *context, const char *where, const cJSON *json, const char *key,
					 const char *wanted, const cJSON **part)
{
	const char *type;
	char quoted[BR_QUOTED_SIZE];
	BrStatus status;

	*part = br_encoder_json_get(json, key);
	if (*part == NULL)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: a tokenizer without %s is not handled; \"%s\" is.", where, key,
							wanted);
	status = br_encoder_json_string(context, where, *part, "type", "", &type);
	if (status == BR_OK && strcmp(type, wanted) != 0)
		status = br_base_fail(context, BR_ERR_UNSUPPORTED,
							  "%s: the %s \"%s\" is not handled; \"%s\" is.", where, key,
							  br_encoder_quote(type, quoted), wanted);
	return status;
}

/* ---- WordPiece ---- */

BrStatus
br_encoder_read_vocabulary(BrContext *context, const char *where, const cJSON *vocabulary,
						   BrImageConfig *config, BrTokenizerImport *import)
{
	const cJSON *entry;
	int n = cJSON_IsObject(vocabulary) ? cJSON_GetArraySize(vocabulary) : 0;

	if (n == 0 || n > BR_MAX_VOCABULARY)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: the vocabulary must be an object of 1 to %d tokens.", where,
							BR_MAX_VOCABULARY);
	import->tokens = br_base_alloc_array(context, (size_t) n, sizeof(BrImportToken));
	if (import->tokens == NULL)
		return BR_ERR_MEMORY;

	cJSON_ArrayForEach(entry, vocabulary)
	{
		char quoted[BR_QUOTED_SIZE];

		if (!cJSON_IsNumber(entry) || entry->valuedouble != (double) entry->valueint ||
			entry->valueint < 0 || (uint32_t) entry->valueint >= config->vocabulary)
			return br_base_fail(context, BR_ERR_FORMAT,
								"%s: token \"%s\" has an id outside 0 to %u.", where,
								br_encoder_quote(entry->string, quoted), config->vocabulary - 1);
		import->tokens[config->n_tokens++] =
			(BrImportToken){entry->string, (uint32_t) strlen(entry->string), entry->valueint, 0};
	}
	return br_encoder_index_tokens(context, config, import);
}

static BrStatus
read_word_limits(BrContext *context, const char *where, const cJSON *model, BrImageConfig *config)
{
	const char *prefix;
	int64_t characters;
	BrStatus status =
		br_encoder_json_string(context, where, model, "continuing_subword_prefix", "##", &prefix);

	if (status != BR_OK)
		return status;
	if (strlen(prefix) > BR_IMAGE_PREFIX_SIZE)
		return br_base_fail(context, BR_ERR_LIMIT,
							"%s: continuing_subword_prefix has more than %d bytes.", where,
							BR_IMAGE_PREFIX_SIZE);
	config->prefix_size = (uint32_t) strlen(prefix);
	memcpy(config->prefix, prefix, config->prefix_size);

	status = br_encoder_json_int(context, where, model, "max_input_chars_per_word", 1,
								 BR_MAX_WORD_CHARACTERS, 100, &characters);
	config->max_word_characters = (uint32_t) characters;
	return status;
}

static BrStatus
read_wordpiece(BrContext *context, const char *where, const cJSON *model, BrImageConfig *config,
			   BrTokenizerImport *import)
{
	const char *unknown;
	char quoted[BR_QUOTED_SIZE];
	BrStatus status =
		br_encoder_read_vocabulary(context, where, br_encoder_json_get(model, "vocab"), config,
								   import);

	if (status == BR_OK)
		status = read_word_limits(context, where, model, config);
	if (status == BR_OK)
		status = br_encoder_json_string(context, where, model, "unk_token", "[UNK]", &unknown);
	if (status != BR_OK)
		return status;
	config->unknown_id = br_encoder_token_id(import, config, unknown);
	if (config->unknown_id < 0)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: the unknown token \"%s\" is not in the vocabulary.", where,
							br_encoder_quote(unknown, quoted));
	return BR_OK;
}

/* ---- byte-level BPE ---- */

/* A member that may only have the value with which it changes nothing. */
static BrStatus
require_off(BrContext *context, const char *where, const cJSON *model, const char *key)
{
	const cJSON *member = br_encoder_json_get(model, key);

	if (member == NULL || cJSON_IsFalse(member) ||
		(cJSON_IsNumber(member) && member->valuedouble == 0) ||
		(cJSON_IsString(member) && member->valuestring[0] == '\0'))
		return BR_OK;
	return br_base_fail(context, BR_ERR_UNSUPPORTED, "%s: a model with \"%s\" is not handled.",
						where, key);
}

static BrStatus
bad_merge(BrContext *context, const char *where, uint32_t number)
{
	return br_base_fail(context, BR_ERR_FORMAT,
						"%s: merge %u is not two tokens with one space between, nor a list of two.",
						where, number);
}

/* "left right", or ["left", "right"] */
static BrStatus
read_merge(BrContext *context, const char *where, const cJSON *entry, uint32_t number,
		   BrImageConfig *config, BrTokenizerImport *import)
{
	const cJSON *left = cJSON_GetArrayItem(entry, 0);
	const cJSON *right = cJSON_GetArrayItem(entry, 1);
	const char *space;

	if (cJSON_IsArray(entry) && cJSON_GetArraySize(entry) == 2 && cJSON_IsString(left) &&
		cJSON_IsString(right))
		return br_encoder_add_merge(context, where, left->valuestring, strlen(left->valuestring),
									right->valuestring, strlen(right->valuestring), config, import);
	if (!cJSON_IsString(entry))
		return bad_merge(context, where, number);
	if (strncmp(entry->valuestring, "#version", strlen("#version")) == 0)
		return BR_OK;
	space = strchr(entry->valuestring, ' ');
	if (space == NULL || strchr(space + 1, ' ') != NULL)
		return bad_merge(context, where, number);
	return br_encoder_add_merge(context, where, entry->valuestring,
								(size_t) (space - entry->valuestring), space + 1, strlen(space + 1),
								config, import);
}

static BrStatus
read_merges(BrContext *context, const char *where, const cJSON *merges, BrImageConfig *config,
			BrTokenizerImport *import)
{
	const cJSON *entry;
	uint32_t number = 0;
	int n = cJSON_GetArraySize(merges);

	if (!cJSON_IsArray(merges) || n > BR_MAX_VOCABULARY)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: \"merges\" must be a list of at most %d pairs.", where,
							BR_MAX_VOCABULARY);
	import->merges = br_base_alloc_array(context, (size_t) n + 1, sizeof(BrImageMerge));
	if (import->merges == NULL)
		return BR_ERR_MEMORY;
	cJSON_ArrayForEach(entry, merges)
	{
		BrStatus status = read_merge(context, where, entry, number++, config, import);

		if (status == BR_OK && number % 4096 == 0 && br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "The import was cancelled.");
		if (status != BR_OK)
			return status;
	}
	return BR_OK;
}

static BrStatus
read_bpe(BrContext *context, const char *where, const cJSON *model, BrImageConfig *config,
		 BrTokenizerImport *import)
{
	static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
									  "byte_fallback", "ignore_merges"};
	const char *unknown = NULL;
	char quoted[BR_QUOTED_SIZE];
	bool fuse = false;
	BrStatus status = BR_OK;

	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]) && status == BR_OK; i++)
		status = require_off(context, where, model, off[i]);
	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, model, "fuse_unk", false, &fuse);
	if (status == BR_OK)
		status = br_encoder_json_string(context, where, model, "unk_token", NULL, &unknown);
	if (status == BR_OK)
		status = br_encoder_read_vocabulary(context, where, br_encoder_json_get(model, "vocab"),
											config, import);
	if (status == BR_OK)
		status = read_merges(context, where, br_encoder_json_get(model, "merges"), config, import);
	if (status != BR_OK)
		return status;
	config->flags = fuse ? BR_BPE_FUSE_UNKNOWN : 0;
	config->unknown_id = unknown == NULL ? -1 : br_encoder_token_id(import, config, unknown);
	if (unknown != NULL && config->unknown_id < 0)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: the unknown token \"%s\" is not in the vocabulary.", where,
							br_encoder_quote(unknown, quoted));
	return BR_OK;
}

/* ---- Unigram ---- */

/* Sums of so many scores as a text has bytes stay finite. */
#define MAX_SCORE 1e30

/*
 * A score as the reference's reader of JSON makes it of its shortest decimal
 * digits: the digits as one whole number, divided by a power of ten. Both round,
 * so that the last bit may differ from the nearest number, which parsing gives;
 * where a text repeats itself, that bit decides between ways to cover it.
 */
static double
as_reference_reads(double value)
{
	char text[40];
	uint64_t digits = 0;
	int decimals = 0;
	int exponent = 0;
	bool behind_point = false;
	const char *at = text;
	char scale[16];

	for (int precision = 15; precision <= 17; precision++)
	{
		snprintf(text, sizeof(text), "%.*e", precision - 1, value);
		if (strtod(text, NULL) == value)
			break;
	}
	for (; *at != '\0' && *at != 'e'; at++)
	{
		if (*at < '0' || *at > '9')
		{
			behind_point |= *at != '-';
			continue;
		}
		digits = digits * 10 + (uint64_t) (*at - '0');
		decimals += behind_point;
	}
	sscanf(at, "e%d", &exponent);
	exponent -= decimals;
	/* no writer gives zeros at the end */
	while (digits != 0 && digits % 10 == 0)
	{
		digits /= 10;
		exponent++;
	}
	if (exponent < -300 || exponent > 300)
		return value;
	/* the powers of ten are written as numbers there, too, not computed */
	snprintf(scale, sizeof(scale), "1e%d", abs(exponent));
	return (value < 0 ? -1.0 : 1.0) *
		(exponent < 0 ? (double) digits / strtod(scale, NULL)
					  : (double) digits * strtod(scale, NULL));
}

BrStatus
br_encoder_finish_scores(BrContext *context, const char *where, BrImageConfig *config,
						 const BrTokenizerImport *import)
{
	char quoted[BR_QUOTED_SIZE];
	double lowest = INFINITY;

	for (uint32_t i = 0; i < config->n_tokens; i++)
	{
		if (!(fabs(import->tokens[i].score) <= MAX_SCORE))
			return br_base_fail(context, BR_ERR_FORMAT,
								"%s: token \"%s\" (entry %u) has a score that is not a number of common size.",
								where, br_encoder_quote(import->tokens[i].text, quoted), i);
		if (import->tokens[i].score < lowest)
			lowest = import->tokens[i].score;
	}
	/* as far below the lowest score as sentencepiece puts it */
	config->unknown_score = lowest - 10;
	return BR_OK;
}

/* [["token", score], ...]; the place in the list is the id */
static BrStatus
read_scores(BrContext *context, const char *where, const cJSON *list, BrImageConfig *config,
			BrTokenizerImport *import)
{
	const cJSON *entry;
	int n = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;

	if (n == 0 || (uint32_t) n > config->vocabulary)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: the vocabulary must be a list of 1 to %u tokens; it has %d.",
							where, config->vocabulary, n);
	import->tokens = br_base_alloc_array(context, (size_t) n, sizeof(BrImportToken));
	if (import->tokens == NULL)
		return BR_ERR_MEMORY;
	cJSON_ArrayForEach(entry, list)
	{
		const cJSON *text = cJSON_GetArrayItem(entry, 0);
		const cJSON *score = cJSON_GetArrayItem(entry, 1);

		if (!cJSON_IsArray(entry) || cJSON_GetArraySize(entry) != 2 || !cJSON_IsString(text) ||
			!cJSON_IsNumber(score) || !(fabs(score->valuedouble) <= MAX_SCORE))
			return br_base_fail(context, BR_ERR_FORMAT,
								"%s: entry %u of the vocabulary is not a token and its score.",
								where, config->n_tokens);
		import->tokens[config->n_tokens] =
			(BrImportToken){text->valuestring, (uint32_t) strlen(text->valuestring),
							(int32_t) config->n_tokens, as_reference_reads(score->valuedouble)};
		config->n_tokens++;
	}
	return br_encoder_index_tokens(context, config, import);
}

static BrStatus
read_unigram(BrContext *context, const char *where, const cJSON *model, BrImageConfig *config,
			 BrTokenizerImport *import)
{
	int64_t unknown = -1;
	BrStatus status = require_off(context, where, model, "byte_fallback");

	if (status == BR_OK)
		status = read_scores(context, where, br_encoder_json_get(model, "vocab"), config, import);
	if (status == BR_OK)
		status = br_encoder_json_int(context, where, model, "unk_id", 0,
									 (int64_t) config->n_tokens - 1, -1, &unknown);
	if (status == BR_OK && unknown < 0)
		status = br_base_fail(context, BR_ERR_FORMAT,
							  "%s: the Unigram model has no unknown token (\"unk_id\").", where);
	config->unknown_id = (int32_t) unknown;
	if (status == BR_OK)
		status = br_encoder_finish_scores(context, where, config, import);
	return status;
}

/* ---- which of them ---- */

BrStatus
br_encoder_read_model(BrContext *context, const char *where, const cJSON *json,
					  BrImageConfig *config, BrTokenizerImport *import)
{
	static BrStatus (*const readers[])(BrContext * context, const char *where, const cJSON *model,
									   BrImageConfig *config, BrTokenizerImport *import) = {
		[BR_TOKENIZER_WORDPIECE] = read_wordpiece,
		[BR_TOKENIZER_BPE] = read_bpe,
		[BR_TOKENIZER_UNIGRAM] = read_unigram,
	};
	static const char *const types[] = {"WordPiece", "BPE", "Unigram"};
	const cJSON *model = br_encoder_json_get(json, "model");
	const char *type = "";
	char quoted[BR_QUOTED_SIZE];
	BrStatus status;

	if (model == NULL)
		return br_base_fail(context, BR_ERR_FORMAT, "%s has no model.", where);
	/* files of the first versions name no type; each model has a member of its own */
	if (br_encoder_json_get(model, "max_input_chars_per_word") != NULL)
		type = types[BR_TOKENIZER_WORDPIECE];
	else if (br_encoder_json_get(model, "merges") != NULL)
		type = types[BR_TOKENIZER_BPE];
	else if (br_encoder_json_get(model, "unk_id") != NULL)
		type = types[BR_TOKENIZER_UNIGRAM];
	status = br_encoder_json_string(context, where, model, "type", type, &type);
	if (status != BR_OK)
		return status;
	for (uint32_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(type, types[i]) == 0)
		{
			config->tokenizer = i;
			return readers[i](context, where, model, config, import);
		}
	return br_base_fail(context, BR_ERR_UNSUPPORTED,
						"%s: the model \"%s\" is not handled; \"WordPiece\", \"BPE\" and \"Unigram\" are.",
						where, br_encoder_quote(type, quoted));
}
