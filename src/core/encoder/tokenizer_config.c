/*
 * tokenizer_config.c
 *	  What other files say about a tokenizer.
 *
 * The reference makes an object of a class that tokenizer_config.json names,
 * or that goes with the architecture. The class knows how its special tokens
 * are called, and some classes set options of the normaliser or of the
 * pre-tokenizer anew, whatever tokenizer.json says. Tokens that only the
 * configuration knows are added.
 */
#include <stdlib.h>
#include <string.h>

#include "core/encoder/tokenizer_int.h"

#define CONFIG_NAME "tokenizer_config.json"

/* Special tokens by their role, and what each class calls them. */
static const struct
{
	const char *key;
	const char *names[BR_CLASS_ANY];
} roles[] = {
	{"bos_token", {NULL, "<s>", "<s>", "<s>"}},
	{"eos_token", {NULL, "</s>", "</s>", "</s>"}},
	{"unk_token", {"[UNK]", "[UNK]", "<unk>", "<unk>"}},
	{"sep_token", {"[SEP]", "</s>", "</s>", "</s>"}},
	{"pad_token", {"[PAD]", "<pad>", "<pad>", "<pad>"}},
	{"cls_token", {"[CLS]", "<s>", "<s>", "<s>"}},
	{"mask_token", {"[MASK]", "<mask>", "<mask>", "<mask>"}},
};

#define N_ROLES (sizeof(roles) / sizeof(roles[0]))

/* ---- classes ---- */

BrTokenizerClass
br_encoder_tokenizer_class(const BrTokenizerImport *import, const BrImageConfig *config)
{
	static const struct
	{
		const char *tokenizer; /* without the "Fast" that may follow */
		const char *model_type;
		BrTokenizerClass class;
	} classes[] = {
		{"BertTokenizer", "bert", BR_CLASS_BERT},
		{"DistilBertTokenizer", "distilbert", BR_CLASS_BERT},
		{"ElectraTokenizer", "electra", BR_CLASS_BERT},
		{"ConvBertTokenizer", "convbert", BR_CLASS_BERT},
		{"MobileBertTokenizer", "mobilebert", BR_CLASS_BERT},
		{"MPNetTokenizer", "mpnet", BR_CLASS_MPNET},
		{"RobertaTokenizer", "roberta", BR_CLASS_ROBERTA},
		{"XLMRobertaTokenizer", "xlm-roberta", BR_CLASS_XLM_ROBERTA},
	};
	const cJSON *name = br_encoder_json_get(import->config, "tokenizer_class");
	const char *model_type = br_encoder_architecture(config->architecture)->model_type;

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
	{
		size_t length = strlen(classes[i].tokenizer);

		if (!cJSON_IsString(name))
		{
			if (strcmp(model_type, classes[i].model_type) == 0)
				return classes[i].class;
		}
		else if (strncmp(name->valuestring, classes[i].tokenizer, length) == 0 &&
				 (name->valuestring[length] == '\0' ||
				  strcmp(name->valuestring + length, "Fast") == 0))
			return classes[i].class;
	}
	return BR_CLASS_ANY;
}

/* What a file says about a role; special_tokens_map.json comes first where it counts. */
static const cJSON *
role_member(const BrTokenizerImport *import, const char *key)
{
	const cJSON *member = br_encoder_json_get(import->special_map, key);

	return member != NULL ? member : br_encoder_json_get(import->config, key);
}

const char *
br_encoder_role(const BrTokenizerImport *import, BrTokenizerClass class, const char *key)
{
	const cJSON *member = role_member(import, key);

	if (cJSON_IsObject(member))
		member = br_encoder_json_get(member, "content");
	if (cJSON_IsString(member))
		return member->valuestring;
	for (size_t i = 0; i < N_ROLES; i++)
		if (strcmp(roles[i].key, key) == 0 && class != BR_CLASS_ANY)
			return roles[i].names[class];
	return NULL;
}

BrStatus
br_encoder_require_role(BrContext *context, const char *where, BrTokenizerClass class,
						const BrImageConfig *config, const BrTokenizerImport *import,
						const char *key, int32_t *id)
{
	const char *name = br_encoder_role(import, class, key);
	char quoted[BR_QUOTED_SIZE];

	*id = name == NULL ? -1 : br_encoder_token_id(import, config, name);
	if (*id < 0)
		return br_base_fail(context, BR_ERR_FORMAT, "%s lacks the special token \"%s\".", where,
							br_encoder_quote(name == NULL ? key : name, quoted));
	return BR_OK;
}

BrStatus
br_encoder_class_template(BrContext *context, const char *where, BrTokenizerClass class,
						  BrImageConfig *config, BrTokenizerImport *import)
{
	BrStatus status;

	config->n_before = 1;
	config->n_after = 1;
	import->template = br_base_alloc_array(context, 2, sizeof(int32_t));
	if (import->template == NULL)
		return BR_ERR_MEMORY;
	status = br_encoder_require_role(context, where, class, config, import, "cls_token",
									 &import->template[0]);
	if (status == BR_OK)
		status = br_encoder_require_role(context, where, class, config, import, "sep_token",
										 &import->template[1]);
	return status;
}

/* ---- added tokens ---- */

/*
 * Flags of a class's token where no file gives any; but for BERT, the mask takes
 * in the space before it. Without tokenizer.json the reference goes through its
 * older, slow class, which is not of one mind with the other about normalising.
 */
static uint32_t
class_flags(BrTokenizerClass class, const char *key, bool slow)
{
	bool mask = strcmp(key, "mask_token") == 0 && class != BR_CLASS_BERT && class != BR_CLASS_ANY;
	bool normalized = (slow && class == BR_CLASS_ROBERTA && !mask) ||
		(!slow && (class == BR_CLASS_MPNET || (mask && class == BR_CLASS_XLM_ROBERTA)));

	return BR_ADDED_SPECIAL | (mask ? BR_ADDED_STRIP_LEFT : 0) |
		(normalized ? BR_ADDED_NORMALIZED : 0);
}

static BrImportAdded *
find_added(const BrTokenizerImport *import, const BrImageConfig *config, const char *text)
{
	for (uint32_t i = 0; i < config->n_added; i++)
		if (strcmp(import->added[i].text, text) == 0)
			return &import->added[i];
	return NULL;
}

/* The id that the reference gives to an added token that the vocabulary does not have. */
static int32_t
next_id(const BrTokenizerImport *import, const BrImageConfig *config)
{
	int32_t next = (int32_t) config->n_tokens;

	for (uint32_t i = 0; i < config->n_added; i++)
		if (import->added[i].id >= next)
			next = import->added[i].id + 1;
	return next;
}

/* Room for more added tokens; those that are there stay. */
static BrStatus
reserve_added(BrContext *context, size_t more, const BrImageConfig *config,
			  BrTokenizerImport *import)
{
	BrImportAdded *added =
		br_base_alloc_array(context, config->n_added + more, sizeof(BrImportAdded));

	if (added == NULL)
		return BR_ERR_MEMORY;
	if (config->n_added > 0)
		memcpy(added, import->added, config->n_added * sizeof(BrImportAdded));
	br_base_free(context, import->added);
	import->added = added;
	return BR_OK;
}

/*
 * Adds a special token, unless it is there: with the flags of member where that
 * is an object, else with these.
 */
static BrStatus
add_special(BrContext *context, const char *name, const cJSON *member, uint32_t flags,
			BrImageConfig *config, BrTokenizerImport *import)
{
	int32_t id = name == NULL ? -1 : br_encoder_token_id(import, config, name);
	BrStatus status = BR_OK;

	if (name == NULL || name[0] == '\0' || find_added(import, config, name) != NULL)
		return BR_OK;
	/* one that the model has no row for can have no embedding */
	if (id < 0 && (id = next_id(import, config)) >= (int32_t) config->vocabulary)
		return BR_OK;
	if (cJSON_IsObject(member))
		status = br_encoder_read_added_flags(context, CONFIG_NAME, member, &flags);
	import->added[config->n_added++] = (BrImportAdded){name, id, flags | BR_ADDED_SPECIAL};
	return status;
}

#define MORE_KEY "additional_special_tokens"

/* Special tokens without a role: a list of strings, or of objects with their content. */
static BrStatus
add_more(BrContext *context, const cJSON *json, BrImageConfig *config, BrTokenizerImport *import)
{
	const cJSON *list = br_encoder_json_get(json, MORE_KEY);
	const cJSON *entry;

	if (list != NULL && !cJSON_IsArray(list))
		return br_base_fail(context, BR_ERR_FORMAT,
							CONFIG_NAME ": \"" MORE_KEY "\" must be a list.");
	cJSON_ArrayForEach(entry, list)
	{
		const cJSON *text = cJSON_IsObject(entry) ? br_encoder_json_get(entry, "content") : entry;
		BrStatus status = add_special(context, cJSON_IsString(text) ? text->valuestring : NULL,
									  entry, BR_ADDED_SPECIAL, config, import);

		if (status == BR_OK && br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "The import was cancelled.");
		if (status != BR_OK)
			return status;
	}
	return BR_OK;
}

/* Tokens that have a role are special, even if no list says so. */
static BrStatus
add_roles(BrContext *context, BrTokenizerClass class, bool slow, BrImageConfig *config,
		  BrTokenizerImport *import)
{
	size_t more = (size_t) cJSON_GetArraySize(br_encoder_json_get(import->config, MORE_KEY)) +
		(size_t) cJSON_GetArraySize(br_encoder_json_get(import->special_map, MORE_KEY));
	BrStatus status = reserve_added(context, N_ROLES + more, config, import);

	for (size_t i = 0; i < N_ROLES && status == BR_OK; i++)
		status = add_special(context, br_encoder_role(import, class, roles[i].key),
							 role_member(import, roles[i].key),
							 class_flags(class, roles[i].key, slow), config, import);
	if (status == BR_OK)
		status = add_more(context, import->config, config, import);
	if (status == BR_OK)
		status = add_more(context, import->special_map, config, import);
	return status;
}

BrStatus
br_encoder_add_class_tokens(BrContext *context, BrTokenizerClass class, BrImageConfig *config,
							BrTokenizerImport *import)
{
	return add_roles(context, class, true, config, import);
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
			(known >= 0 && known != id) ||
			(known < 0 && next_id(import, config) >= (int32_t) config->vocabulary))
			return br_base_fail(context, BR_ERR_FORMAT,
								CONFIG_NAME
								": the added token \"%s\" has an id of its own or none.",
								br_encoder_quote(text, quoted));
		/* one that is new is numbered, whatever the file says */
		if (known < 0)
			known = next_id(import, config);
		if (added == NULL)
			added = &import->added[config->n_added++];
		*added = (BrImportAdded){text, known, flags};
	}
	return BR_OK;
}

/* ---- options ---- */

static BrStatus
override_normalizer(BrContext *context, BrTokenizerClass class, const BrTokenizerImport *import,
					BrImageConfig *config)
{
	const cJSON *json = import->config;
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
	/* MPNet's class leaves ideographs to tokenizer.json */
	if (class == BR_CLASS_MPNET && import->json != NULL)
		cjk = (config->flags & BR_BERT_SPACE_CJK) != 0;
	config->flags &= BR_BERT_CLEAN_TEXT;
	config->flags |= (cjk ? BR_BERT_SPACE_CJK : 0) | (lower ? BR_BERT_LOWERCASE : 0) |
		(strip ? BR_BERT_STRIP_ACCENTS : 0);
	return BR_OK;
}

/* What the class sets anew of what tokenizer.json says. */
static BrStatus
override_options(BrContext *context, BrTokenizerClass class, BrImageConfig *config,
				 const BrTokenizerImport *import)
{
	bool prefix;
	BrStatus status = BR_OK;

	if (config->tokenizer == BR_TOKENIZER_WORDPIECE &&
		(class == BR_CLASS_BERT || class == BR_CLASS_MPNET))
		return override_normalizer(context, class, import, config);
	if (config->tokenizer == BR_TOKENIZER_BPE)
	{
		status = br_encoder_json_bool(context, CONFIG_NAME, import->config, "add_prefix_space",
									  false, &prefix);
		config->flags &= ~(uint32_t) BR_BPE_PREFIX_SPACE;
		config->flags |= prefix ? BR_BPE_PREFIX_SPACE : 0;
	}
	return status;
}

BrStatus
br_encoder_apply_tokenizer_config(BrContext *context, BrImageConfig *config,
								  BrTokenizerImport *import)
{
	const cJSON *decoder = br_encoder_json_get(import->config, "added_tokens_decoder");
	BrTokenizerClass class = br_encoder_tokenizer_class(import, config);
	const char *side;
	BrStatus status = reserve_added(context, (size_t) cJSON_GetArraySize(decoder), config, import);

	if (status == BR_OK)
		status = merge_added(context, decoder, config, import);
	if (status == BR_OK)
		status = add_roles(context, class, false, config, import);
	/* what the class sets anew comes too late for the added tokens of tokenizer.json */
	import->added_flags = config->flags;
	if (status == BR_OK)
		status = override_options(context, class, config, import);
	if (import->json == NULL)
		import->added_flags = config->flags;
	if (status == BR_OK)
		status = br_encoder_json_string(context, CONFIG_NAME, import->config, "truncation_side",
										"right", &side);
	if (status == BR_OK && strcmp(side, "right") != 0)
		status = br_base_fail(context, BR_ERR_UNSUPPORTED,
							  CONFIG_NAME ": truncation on the left is not handled.");
	return status;
}
