/*
 * limits.c
 *	  What the transformer module of a folder says about its input.
 *
 * The longest input is, as in sentence-transformers 5, max_seq_length of the
 * module where it is given, else the tokenizer's model_max_length, but not
 * more than the model has positions for. The limit inside tokenizer.json is only
 * what the model was once exported with.
 */
#include <math.h>
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* The module's configuration was once named after the architecture. */
static const char *const names[] = {"sentence_bert_config.json",
									"sentence_roberta_config.json",
									"sentence_distilbert_config.json",
									"sentence_camembert_config.json",
									"sentence_albert_config.json",
									"sentence_xlm-roberta_config.json",
									"sentence_xlnet_config.json"};

const char *
br_encoder_limit_file(int number)
{
	return number < (int) (sizeof(names) / sizeof(names[0])) ? names[number] : NULL;
}

/* A member that must have this value where it is given. */
static BrStatus
require_value(BrContext *context, const char *where, const cJSON *json, const char *key,
			  const char *wanted)
{
	const char *value;
	char quoted[BR_QUOTED_SIZE];
	BrStatus status = br_encoder_json_string(context, where, json, key, wanted, &value);

	if (status == BR_OK && strcmp(value, wanted) != 0)
		status =
			br_base_fail(context, BR_ERR_UNSUPPORTED, "%s: %s \"%s\" is not handled; \"%s\" is.",
						 where, key, br_encoder_quote(value, quoted), wanted);
	return status;
}

/* Arguments that the module would hand on to what computes, where they would win. */
static BrStatus
refuse_arguments(BrContext *context, const char *where, const cJSON *json)
{
	static const char *const keys[] = {"config_kwargs", "config_args", "processing_kwargs"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
	{
		const cJSON *arguments = br_encoder_json_get(json, keys[i]);
		char quoted[BR_QUOTED_SIZE];

		if (arguments != NULL && arguments->child != NULL)
			return br_base_fail(context, BR_ERR_UNSUPPORTED, "%s: \"%s\" of %s is not handled.",
								where,
								br_encoder_quote(arguments->child->string != NULL
													 ? arguments->child->string
													 : "",
												 quoted),
								keys[i]);
	}
	return BR_OK;
}

/* What of the transformer's output is pooled. */
static BrStatus
check_modality(BrContext *context, const char *where, const cJSON *json)
{
	const cJSON *text = br_encoder_json_get(br_encoder_json_get(json, "modality_config"), "text");
	BrStatus status = BR_OK;

	if (text != NULL)
		status = require_value(context, where, text, "method", "forward");
	if (status == BR_OK && text != NULL)
		status = require_value(context, where, text, "method_output_name", "last_hidden_state");
	return status;
}

/* A limit that the module sets itself, which no number of positions lowers; 0: none. */
static BrStatus
read_own_limit(BrContext *context, const char *where, const cJSON *json, int64_t *limit)
{
	static const char *const arguments[] = {"processor_kwargs", "tokenizer_args"};
	BrStatus status =
		br_encoder_json_int(context, where, json, "max_seq_length", 1, INT32_MAX, 0, limit);

	for (int i = 0; i < 2 && status == BR_OK; i++)
	{
		const cJSON *object = br_encoder_json_get(json, arguments[i]);

		/* these arguments win over max_seq_length */
		if (cJSON_IsObject(object))
			status = br_encoder_json_int(context, where, object, "model_max_length", 1, INT32_MAX,
										 *limit, limit);
	}
	return status;
}

static BrStatus
read_module_limits(BrContext *context, const char *where, const cJSON *json, int64_t *limit,
				   BrImageConfig *config)
{
	bool lower;
	BrStatus status = read_own_limit(context, where, json, limit);

	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, json, "do_lower_case", false, &lower);
	if (status == BR_OK)
		status = require_value(context, where, json, "transformer_task", "feature-extraction");
	if (status == BR_OK)
		status = require_value(context, where, json, "module_output_name", "token_embeddings");
	if (status == BR_OK)
		status = check_modality(context, where, json);
	if (status == BR_OK)
		status = refuse_arguments(context, where, json);
	if (status == BR_OK && lower && config->tokenizer != BR_TOKENIZER_WORDPIECE)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: \"do_lower_case\" is not handled with this kind of tokenizer.",
							where);
	if (status == BR_OK && lower && !(config->flags & BR_BERT_LOWERCASE))
		config->flags |= BR_BERT_LOWERCASE_FIRST;
	return status;
}

/* The tokenizer's limit, often 10^30 for none, cut to the number of positions. */
static BrStatus
read_tokenizer_limit(BrContext *context, const cJSON *json, int64_t positions, int64_t *limit)
{
	const cJSON *member = br_encoder_json_get(json, "model_max_length");

	*limit = positions;
	if (member == NULL)
		return BR_OK;
	if (!cJSON_IsNumber(member) || !(member->valuedouble >= 1))
		return br_base_fail(context, BR_ERR_FORMAT,
							"tokenizer_config.json: \"model_max_length\" must be a number from 1 on.");
	if (member->valuedouble < (double) positions)
		*limit = (int64_t) floor(member->valuedouble);
	return BR_OK;
}

/* The first of the module's configurations that is there and not empty. */
static BrStatus
open_module_config(BrContext *context, const BrFolder *folder, cJSON **json)
{
	BrStatus status = BR_OK;

	*json = NULL;
	for (int i = 0; *json == NULL && status == BR_OK && br_encoder_limit_file(i) != NULL; i++)
	{
		char *path = br_encoder_join(context, folder->transformer, br_encoder_limit_file(i));

		if (path == NULL)
			return BR_ERR_MEMORY;
		status = br_encoder_open_json(context, folder, path, false, json);
		br_base_free(context, path);
		if (*json != NULL && (*json)->child == NULL)
		{
			cJSON_Delete(*json);
			*json = NULL;
		}
	}
	return status;
}

BrStatus
br_encoder_read_limits(BrContext *context, const BrFolder *folder, const cJSON *tokenizer_config,
					   BrImageConfig *config)
{
	int64_t positions = br_encoder_usable_positions(config);
	int64_t special = (int64_t) config->n_before + config->n_after;
	int64_t limit = 0;
	cJSON *json = NULL;
	BrStatus status = open_module_config(context, folder, &json);

	if (status == BR_OK && json != NULL)
		status = read_module_limits(context, "The configuration of the transformer module", json,
									&limit, config);
	cJSON_Delete(json);
	if (status == BR_OK && limit == 0)
		status = read_tokenizer_limit(context, tokenizer_config, positions, &limit);
	if (status != BR_OK)
		return status;
	if (limit > positions || limit <= special)
		return br_base_fail(context, BR_ERR_FORMAT,
							"Texts of at most %lld tokens are asked for; the model has positions for %lld, and %lld special tokens come with every text.",
							(long long) limit, (long long) positions, (long long) special);
	config->max_tokens = (uint32_t) limit;
	return BR_OK;
}
