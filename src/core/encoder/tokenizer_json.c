/*
 * tokenizer_json.c
 *	  Reader of tokenizer.json, the description of a fast tokenizer.
 *
 * The file names its normaliser, pre-tokenizer, model and post-processor by
 * type. What is known is read; every other type is refused by its name. Here
 * are added tokens and post-processors; tokenizer_model.c has the models,
 * tokenizer_parts.c what comes before them.
 */
#include <stdio.h>
#include <string.h>

#include "core/encoder/tokenizer_int.h"

BrStatus
br_encoder_read_added_flags(BrContext *context, const char *where, const cJSON *entry,
							uint32_t *flags)
{
	static const struct
	{
		const char *key;
		uint32_t flag;
	} members[] = {
		{"single_word", BR_ADDED_SINGLE_WORD}, {"lstrip", BR_ADDED_STRIP_LEFT},
		{"rstrip", BR_ADDED_STRIP_RIGHT},	   {"special", BR_ADDED_SPECIAL},
		{"normalized", BR_ADDED_NORMALIZED},
	};

	*flags = 0;
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
	{
		bool fallback = members[i].flag == BR_ADDED_NORMALIZED && !(*flags & BR_ADDED_SPECIAL);
		bool value;
		BrStatus status =
			br_encoder_json_bool(context, where, entry, members[i].key, fallback, &value);

		if (status != BR_OK)
			return status;
		*flags |= value ? members[i].flag : 0;
	}
	return BR_OK;
}

static BrStatus
read_added(BrContext *context, const char *where, const cJSON *json, BrImageConfig *config,
		   BrTokenizerImport *import)
{
	const cJSON *list = br_encoder_json_get(json, "added_tokens");
	const cJSON *entry;
	BrStatus status = BR_OK;

	import->added =
		br_base_alloc_array(context, (size_t) cJSON_GetArraySize(list) + 1, sizeof(BrImportAdded));
	if (import->added == NULL)
		return BR_ERR_MEMORY;
	cJSON_ArrayForEach(entry, list)
	{
		BrImportAdded *added = &import->added[config->n_added];
		const char *text;
		char quoted[BR_QUOTED_SIZE];
		int32_t known;
		int64_t id = 0;

		status = br_encoder_json_string(context, where, entry, "content", "", &text);
		if (status == BR_OK)
			status = br_encoder_json_int(context, where, entry, "id", 0, config->vocabulary - 1,
										 BR_JSON_REQUIRED, &id);
		if (status == BR_OK)
			status = br_encoder_read_added_flags(context, where, entry, &added->flags);
		if (status == BR_OK && br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "The import was cancelled.");
		if (status != BR_OK)
			return status;
		if (text[0] == '\0')
			continue;

		known = br_encoder_token_id(import, config, text);
		if (known >= 0 && known != id)
			return br_base_fail(context, BR_ERR_FORMAT,
								"%s: the added token \"%s\" has the id %lld, in the vocabulary %d.",
								where, br_encoder_quote(text, quoted), (long long) id, known);
		added->text = text;
		added->id = (int32_t) id;
		config->n_added++;
	}
	return BR_OK;
}

static BrStatus
append_template(BrContext *context, const char *where, BrImageConfig *config,
				BrTokenizerImport *import, const cJSON *id, bool before)
{
	if (!cJSON_IsNumber(id) || id->valuedouble != (double) id->valueint || id->valueint < 0 ||
		(uint32_t) id->valueint >= config->vocabulary)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: the post_processor has a token id outside 0 to %u.", where,
							config->vocabulary - 1);
	if (config->n_before + config->n_after >= config->positions)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: the post_processor has more special tokens than the model has positions, %u.",
							where, config->positions);
	import->template[config->n_before + config->n_after] = id->valueint;
	if (before)
		config->n_before++;
	else
		config->n_after++;
	return BR_OK;
}

/* Ids of a special token of a template, from its table. */
static const cJSON *
special_ids(const cJSON *processor, const cJSON *special)
{
	const cJSON *name = br_encoder_json_get(special, "id");
	const cJSON *table = br_encoder_json_get(processor, "special_tokens");

	if (!cJSON_IsString(name))
		return NULL;
	return br_encoder_json_get(br_encoder_json_get(table, name->valuestring), "ids");
}

/* [{"SpecialToken": ...}, {"Sequence": {"id": "A"}}, {"SpecialToken": ...}], all of type 0 */
static BrStatus
read_template(BrContext *context, const char *where, const cJSON *processor, BrImageConfig *config,
			  BrTokenizerImport *import)
{
	const cJSON *single = br_encoder_json_get(processor, "single");
	const cJSON *piece;
	const cJSON *id;
	bool before = true;

	import->template = br_base_alloc_array(context, config->positions, sizeof(int32_t));
	if (import->template == NULL)
		return BR_ERR_MEMORY;

	cJSON_ArrayForEach(piece, single)
	{
		const cJSON *special = br_encoder_json_get(piece, "SpecialToken");
		const cJSON *sequence = br_encoder_json_get(piece, "Sequence");
		int64_t type_id;
		BrStatus status = br_encoder_json_int(context, where, special ? special : sequence,
											  "type_id", 0, INT32_MAX, 0, &type_id);

		if (status == BR_OK && br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "The import was cancelled.");
		if (status != BR_OK)
			return status;
		if (type_id != 0 || (special == NULL && (sequence == NULL || !before)))
			return br_base_fail(context, BR_ERR_UNSUPPORTED,
								"%s: the template of the post_processor is not handled; special tokens around one sequence of type 0 are.",
								where);
		if (sequence != NULL)
			before = false;
		else if (!cJSON_IsArray(special_ids(processor, special)))
			return br_base_fail(context, BR_ERR_FORMAT,
								"%s: a special token of the post_processor has no ids.", where);
		else
			cJSON_ArrayForEach(id, special_ids(processor, special))
			{
				status = append_template(context, where, config, import, id, before);
				if (status != BR_OK)
					return status;
			}
	}
	if (before)
		return br_base_fail(context, BR_ERR_FORMAT, "%s: the post_processor drops the text.",
							where);
	return BR_OK;
}

/* {"cls": ["[CLS]", 101], "sep": ["[SEP]", 102]} */
static BrStatus
read_bert_processing(BrContext *context, const char *where, const cJSON *processor,
					 BrImageConfig *config, BrTokenizerImport *import)
{
	BrStatus status;

	import->template = br_base_alloc_array(context, config->positions, sizeof(int32_t));
	if (import->template == NULL)
		return BR_ERR_MEMORY;
	status = append_template(context, where, config, import,
							 cJSON_GetArrayItem(br_encoder_json_get(processor, "cls"), 1), true);
	if (status == BR_OK)
		status =
			append_template(context, where, config, import,
							cJSON_GetArrayItem(br_encoder_json_get(processor, "sep"), 1), false);
	return status;
}

/* One post-processor of those that put special tokens around a text. */
static BrStatus
read_processor(BrContext *context, const char *where, const cJSON *processor, const char *type,
			   BrImageConfig *config, BrTokenizerImport *import)
{
	char quoted[BR_QUOTED_SIZE];

	if (strcmp(type, "BertProcessing") != 0 && strcmp(type, "RobertaProcessing") != 0 &&
		strcmp(type, "TemplateProcessing") != 0)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: the post_processor \"%s\" is not handled; \"TemplateProcessing\", \"BertProcessing\", \"RobertaProcessing\", \"ByteLevel\" and \"Sequence\" are.",
							where, br_encoder_quote(type, quoted));
	if (import->template != NULL)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: a post_processor with special tokens of more than one kind is not handled.",
							where);
	if (strcmp(type, "TemplateProcessing") == 0)
		return read_template(context, where, processor, config, import);
	return read_bert_processing(context, where, processor, config, import);
}

/* ByteLevel changes the offsets of tokens and nothing else. */
static BrStatus
read_post_processor(BrContext *context, const char *where, const cJSON *processor, bool inside,
					BrImageConfig *config, BrTokenizerImport *import)
{
	const cJSON *entry;
	const char *type;
	BrStatus status = br_encoder_json_string(context, where, processor, "type", "", &type);

	if (status != BR_OK || strcmp(type, "ByteLevel") == 0)
		return status;
	if (inside || strcmp(type, "Sequence") != 0)
		return read_processor(context, where, processor, type, config, import);
	cJSON_ArrayForEach(entry, br_encoder_json_get(processor, "processors"))
	{
		status = read_post_processor(context, where, entry, true, config, import);
		if (status != BR_OK)
			return status;
	}
	return BR_OK;
}

static BrStatus
check_truncation(BrContext *context, const char *where, const cJSON *json)
{
	const char *direction;
	BrStatus status =
		br_encoder_json_string(context, where, br_encoder_json_get(json, "truncation"), "direction",
							   "Right", &direction);

	if (status == BR_OK && strcmp(direction, "Right") != 0)
		status = br_base_fail(context, BR_ERR_UNSUPPORTED,
							  "%s: truncation on the left is not handled.", where);
	return status;
}

BrStatus
br_encoder_read_tokenizer_json(BrContext *context, const char *where, BrImageConfig *config,
							   BrTokenizerImport *import)
{
	const cJSON *processor = br_encoder_json_get(import->json, "post_processor");
	BrStatus status = br_encoder_read_model(context, where, import->json, config, import);

	if (status == BR_OK)
		status = br_encoder_read_parts(context, where, import->json, config, import);
	if (status == BR_OK)
		status = read_added(context, where, import->json, config, import);
	/* without one only the tokens of the text are there, which the reference allows */
	if (status == BR_OK && processor == NULL)
		status =
			br_base_fail(context, BR_ERR_UNSUPPORTED,
						 "%s: a tokenizer without post_processor is not handled; \"TemplateProcessing\" is.",
						 where);
	if (status == BR_OK)
		status = read_post_processor(context, where, processor, false, config, import);
	if (status == BR_OK)
		status = check_truncation(context, where, import->json);
	return status;
}
