/*
 * tokenizer_parts.c
 *	  Normaliser and pre-tokenizer of a tokenizer.json.
 *
 * Each model goes with its own: WordPiece with those of BERT, byte-level BPE
 * with ByteLevel and no normaliser, Unigram with a sequence of simple steps and
 * Metaspace, which WhitespaceSplit may precede. Whatever is not listed here is
 * refused by its name.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* ---- WordPiece ---- */

static BrStatus
read_bert_normalizer(BrContext *context, const char *where, const cJSON *json,
					 BrImageConfig *config)
{
	const cJSON *part;
	bool clean = true;
	bool cjk = true;
	bool lower = true;
	bool strip = true;
	BrStatus status =
		br_encoder_json_part(context, where, json, "normalizer", "BertNormalizer", &part);

	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, part, "clean_text", true, &clean);
	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, part, "handle_chinese_chars", true, &cjk);
	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, part, "lowercase", true, &lower);
	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, part, "strip_accents", lower, &strip);
	config->flags = (clean ? BR_BERT_CLEAN_TEXT : 0) | (cjk ? BR_BERT_SPACE_CJK : 0) |
		(lower ? BR_BERT_LOWERCASE : 0) | (strip ? BR_BERT_STRIP_ACCENTS : 0);
	return status;
}

/* ---- byte-level BPE ---- */

static BrStatus
read_byte_level(BrContext *context, const char *where, const cJSON *json, BrImageConfig *config)
{
	const cJSON *normalizer = br_encoder_json_get(json, "normalizer");
	const cJSON *part;
	const char *type;
	char quoted[BR_QUOTED_SIZE];
	bool prefix = true;
	bool regex = true;
	BrStatus status = br_encoder_json_string(context, where, normalizer, "type", "", &type);

	if (status == BR_OK && normalizer != NULL)
		status =
			br_base_fail(context, BR_ERR_UNSUPPORTED,
						 "%s: the normalizer \"%s\" is not handled with the model BPE; none is.",
						 where, br_encoder_quote(type, quoted));
	if (status == BR_OK)
		status = br_encoder_json_part(context, where, json, "pre_tokenizer", "ByteLevel", &part);
	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, part, "add_prefix_space", true, &prefix);
	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, part, "use_regex", true, &regex);
	if (status == BR_OK && !regex)
		status =
			br_base_fail(context, BR_ERR_UNSUPPORTED,
						 "%s: the pre_tokenizer \"ByteLevel\" without \"use_regex\" is not handled.",
						 where);
	config->flags |= prefix ? BR_BPE_PREFIX_SPACE : 0;
	return status;
}

/* ---- Unigram's normaliser ---- */

static int
base64_digit(char character)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *digit = character == '\0' ? NULL : strchr(digits, character);

	return digit == NULL ? -1 : (int) (digit - digits);
}

/* Decodes text, which is padded to a multiple of four; *size: bytes, -1: not base64. */
static void
decode_base64(const char *text, size_t length, uint8_t *bytes, int64_t *size)
{
	size_t padding = 0;
	size_t n = 0;

	while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
		padding++;
	*size = -1;
	if (length % 4 != 0)
		return;
	for (size_t i = 0; i < length; i += 4)
	{
		uint32_t group = 0;

		for (size_t j = 0; j < 4; j++)
		{
			int digit = i + j >= length - padding ? 0 : base64_digit(text[i + j]);

			if (digit < 0)
				return;
			group = group << 6 | (uint32_t) digit;
		}
		bytes[n++] = (uint8_t) (group >> 16);
		bytes[n++] = (uint8_t) (group >> 8);
		bytes[n++] = (uint8_t) group;
	}
	*size = (int64_t) (n - padding);
}

static BrStatus
read_precompiled(BrContext *context, const char *where, const cJSON *step, BrImageConfig *config,
				 BrTokenizerImport *import)
{
	const cJSON *map = br_encoder_json_get(step, "precompiled_charsmap");
	const char *text = cJSON_IsString(map) ? map->valuestring : "";
	size_t length = strlen(text);
	uint8_t *bytes = br_base_alloc(context, length + 3);
	int64_t size;
	BrStatus status;

	if (bytes == NULL)
		return BR_ERR_MEMORY;
	decode_base64(text, length, bytes, &size);
	if (size < 0)
		status = br_base_fail(context, BR_ERR_FORMAT, "%s: \"precompiled_charsmap\" is not base64.",
							  where);
	else
		status = br_encoder_read_charsmap(context, where, bytes, (size_t) size, config, import);
	br_base_free(context, bytes);
	return status;
}

static BrStatus
add_rule(BrContext *context, const char *where, BrImageConfig *config, const BrImageRule *rule)
{
	if (config->n_rules == BR_MAX_RULES)
		return br_base_fail(context, BR_ERR_LIMIT, "%s: the normalizer has more than %d steps.",
							where, BR_MAX_RULES);
	config->rules[config->n_rules++] = *rule;
	return BR_OK;
}

/* {"pattern": {"String": ...} or {"Regex": " {2,}"}, "content": ...} */
static BrStatus
read_replace(BrContext *context, const char *where, const cJSON *step, BrImageConfig *config)
{
	const cJSON *pattern = br_encoder_json_get(step, "pattern");
	const char *regex;
	const char *string;
	const char *content;
	char quoted[BR_QUOTED_SIZE];
	BrImageRule rule = {.kind = BR_RULE_SPACES};
	BrStatus status = br_encoder_json_string(context, where, pattern, "Regex", NULL, &regex);

	if (status == BR_OK)
		status = br_encoder_json_string(context, where, pattern, "String", "", &string);
	if (status == BR_OK)
		status = br_encoder_json_string(context, where, step, "content", "", &content);
	if (status != BR_OK)
		return status;
	if (regex != NULL && strcmp(regex, " {2,}") != 0)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: the normalizer \"Replace\" of the expression \"%s\" is not handled; \" {2,}\" is.",
							where, br_encoder_quote(regex, quoted));
	if (regex == NULL)
	{
		rule.kind = BR_RULE_REPLACE;
		rule.pattern_size = (uint32_t) strlen(string);
	}
	rule.content_size = (uint32_t) strlen(content);
	if ((regex == NULL && rule.pattern_size == 0) || rule.pattern_size > BR_RULE_TEXT_SIZE ||
		rule.content_size > BR_RULE_TEXT_SIZE)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: the normalizer \"Replace\" must have a pattern of 1 to %d bytes and a content of at most as many.",
							where, BR_RULE_TEXT_SIZE);
	memcpy(rule.pattern, string, rule.pattern_size);
	memcpy(rule.content, content, rule.content_size);
	return add_rule(context, where, config, &rule);
}

static BrStatus
read_strip(BrContext *context, const char *where, const cJSON *step, BrImageConfig *config)
{
	bool left;
	bool right;
	BrStatus status = br_encoder_json_bool(context, where, step, "strip_left", true, &left);

	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, step, "strip_right", true, &right);
	if (status == BR_OK && left)
		status = add_rule(context, where, config, &(BrImageRule){.kind = BR_RULE_STRIP_LEFT});
	if (status == BR_OK && right)
		status = add_rule(context, where, config, &(BrImageRule){.kind = BR_RULE_STRIP_RIGHT});
	return status;
}

/* One step, or a sequence of them. */
static BrStatus
read_step(BrContext *context, const char *where, const cJSON *step, bool inside,
		  BrImageConfig *config, BrTokenizerImport *import)
{
	const cJSON *entry;
	const char *type;
	char quoted[BR_QUOTED_SIZE];
	BrStatus status = br_encoder_json_string(context, where, step, "type", "", &type);

	if (status != BR_OK)
		return status;
	if (strcmp(type, "Sequence") == 0 && !inside)
	{
		cJSON_ArrayForEach(entry, br_encoder_json_get(step, "normalizers"))
		{
			status = read_step(context, where, entry, true, config, import);
			if (status != BR_OK)
				return status;
		}
		return BR_OK;
	}
	if (strcmp(type, "Precompiled") == 0)
	{
		status = read_precompiled(context, where, step, config, import);
		if (status == BR_OK)
			status = add_rule(context, where, config, &(BrImageRule){.kind = BR_RULE_CHARSMAP});
		return status;
	}
	if (strcmp(type, "Strip") == 0)
		return read_strip(context, where, step, config);
	if (strcmp(type, "Replace") == 0)
		return read_replace(context, where, step, config);
	return br_base_fail(context, BR_ERR_UNSUPPORTED,
						"%s: the normalizer \"%s\" is not handled with the model Unigram; \"Precompiled\", \"Strip\", \"Replace\" and a \"Sequence\" of them are.",
						where, br_encoder_quote(type, quoted));
}

/* ---- Unigram's pre-tokenizer ---- */

static BrStatus
read_metaspace(BrContext *context, const char *where, const cJSON *part, BrImageConfig *config)
{
	const char *replacement;
	const char *scheme;
	char quoted[BR_QUOTED_SIZE];
	bool prefix = true;
	bool split = true;
	int length = 0;
	BrStatus status = br_encoder_json_string(context, where, part, "replacement", "", &replacement);

	if (status == BR_OK)
		status = br_encoder_json_string(context, where, part, "prepend_scheme", "always", &scheme);
	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, part, "add_prefix_space", true, &prefix);
	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, part, "split", true, &split);
	if (status != BR_OK)
		return status;
	if (replacement[0] != '\0')
		br_encoder_decode(replacement, &length);
	if (length == 0 || replacement[length] != '\0' || replacement[0] == ' ')
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: the replacement of the pre_tokenizer \"Metaspace\" must be one character that is not a space.",
							where);
	if ((strcmp(scheme, "always") != 0 && strcmp(scheme, "never") != 0) ||
		(!prefix && strcmp(scheme, "never") != 0 &&
		 br_encoder_json_get(part, "prepend_scheme") != NULL))
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: the pre_tokenizer \"Metaspace\" with prepend_scheme \"%s\" is not handled; \"always\" and \"never\" are.",
							where, br_encoder_quote(scheme, quoted));
	config->prefix_size = (uint32_t) length;
	memcpy(config->prefix, replacement, (size_t) length);
	config->flags |= split ? BR_UNIGRAM_SPLIT : 0;
	config->flags |= prefix && strcmp(scheme, "always") == 0 ? BR_UNIGRAM_PREPEND : 0;
	return BR_OK;
}

/* Metaspace, or a sequence of WhitespaceSplit and Metaspace. */
static BrStatus
read_unigram_pre_tokenizer(BrContext *context, const char *where, const cJSON *json,
						   BrImageConfig *config)
{
	const cJSON *part = br_encoder_json_get(json, "pre_tokenizer");
	const cJSON *list = br_encoder_json_get(part, "pretokenizers");
	const char *type;
	BrStatus status = br_encoder_json_string(context, where, part, "type", "", &type);

	if (status == BR_OK && strcmp(type, "Sequence") == 0)
	{
		const cJSON *last = cJSON_GetArrayItem(list, cJSON_GetArraySize(list) - 1);

		if (cJSON_GetArraySize(list) > 2)
			return br_base_fail(context, BR_ERR_UNSUPPORTED,
								"%s: a pre_tokenizer of more than \"WhitespaceSplit\" and \"Metaspace\" is not handled.",
								where);
		if (cJSON_GetArraySize(list) == 2)
		{
			const char *first;

			status = br_encoder_json_string(context, where, cJSON_GetArrayItem(list, 0), "type", "",
											&first);
			if (status == BR_OK && strcmp(first, "WhitespaceSplit") == 0)
				config->flags |= BR_UNIGRAM_SPLIT_WHITESPACE;
			else if (status == BR_OK)
			{
				char quoted[BR_QUOTED_SIZE];

				status =
					br_base_fail(context, BR_ERR_UNSUPPORTED,
								 "%s: the pre_tokenizer \"%s\" is not handled before another; \"WhitespaceSplit\" is.",
								 where, br_encoder_quote(first, quoted));
			}
		}
		part = last;
		if (status == BR_OK)
			status = br_encoder_json_string(context, where, part, "type", "", &type);
	}
	if (status == BR_OK && strcmp(type, "Metaspace") != 0)
	{
		char quoted[BR_QUOTED_SIZE];

		status =
			br_base_fail(context, BR_ERR_UNSUPPORTED,
						 "%s: the pre_tokenizer \"%s\" is not handled with the model Unigram; \"Metaspace\" is.",
						 where, br_encoder_quote(type, quoted));
	}
	return status == BR_OK ? read_metaspace(context, where, part, config) : status;
}

BrStatus
br_encoder_read_parts(BrContext *context, const char *where, const cJSON *json,
					  BrImageConfig *config, BrTokenizerImport *import)
{
	const cJSON *part = br_encoder_json_get(json, "normalizer");
	BrStatus status = BR_OK;

	if (config->tokenizer == BR_TOKENIZER_BPE)
		return read_byte_level(context, where, json, config);
	if (config->tokenizer == BR_TOKENIZER_UNIGRAM)
	{
		if (part != NULL)
			status = read_step(context, where, part, false, config, import);
		return status == BR_OK ? read_unigram_pre_tokenizer(context, where, json, config) : status;
	}
	status = read_bert_normalizer(context, where, json, config);
	if (status == BR_OK)
		status =
			br_encoder_json_part(context, where, json, "pre_tokenizer", "BertPreTokenizer", &part);
	return status;
}
