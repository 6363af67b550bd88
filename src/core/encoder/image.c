/*
 * image.c
 *	  The layout of an image, and the check that makes one safe to use.
 *
 * An image is a header, then its parts, each at a multiple of 64 bytes, so
 * that in a mapped file every matrix is aligned to cache lines. It has no
 * pointers, so that a file of it can be mapped anywhere by many processes.
 * The place of every matrix follows from the configuration alone. After the
 * check nothing in an image can lead outside it: every count, span, token id
 * and size is within its bounds. Only the weights may still be wrong, which
 * costs the answer but never the process.
 */
#include <math.h>
#include <string.h>

#include "core/encoder/tokenizer_int.h"

#define IMAGE_MAGIC "BRIMAGE"
#define IMAGE_BYTE_ORDER UINT32_C(0x01020304)

/* Reserves n floats, aligned to the image's alignment; returns where. */
static size_t
reserve(size_t *end, size_t n)
{
	const size_t unit = BR_IMAGE_ALIGNMENT / sizeof(float);
	size_t at = *end;

	*end = (at + n + unit - 1) / unit * unit;
	return at;
}

void
br_encoder_map_weights(const BrImageConfig *config, BrWeightMap *map)
{
	const BrArchitecture *architecture = br_encoder_architecture(config->architecture);
	size_t hidden = config->hidden;
	size_t attended = br_encoder_attended(config);
	size_t intermediate = config->intermediate;
	size_t end = 0;
	size_t layer = 0;

	map->word = reserve(&end, config->vocabulary * hidden);
	map->position = reserve(&end, config->positions * hidden);
	map->type_row = reserve(&end, architecture->type != NULL ? hidden : 0);
	map->gain = reserve(&end, hidden);
	map->bias = reserve(&end, hidden);
	map->relative =
		reserve(&end,
				architecture->relative != NULL ? (size_t) BR_RELATIVE_BUCKETS * config->heads : 0);

	map->qkv_weight = reserve(&layer, 3 * attended * hidden);
	map->qkv_bias = reserve(&layer, 3 * attended);
	map->output_weight = reserve(&layer, hidden * attended);
	map->output_bias = reserve(&layer, hidden);
	map->attention_gain = reserve(&layer, hidden);
	map->attention_bias = reserve(&layer, hidden);
	map->up_weight = reserve(&layer, intermediate * hidden);
	map->up_bias = reserve(&layer, intermediate);
	map->down_weight = reserve(&layer, hidden * intermediate);
	map->down_bias = reserve(&layer, hidden);
	map->layer_gain = reserve(&layer, hidden);
	map->layer_bias = reserve(&layer, hidden);
	map->layer_stride = layer;
	map->layer = reserve(&end, config->layers * layer);

	for (uint32_t i = 0; i < config->n_steps; i++)
	{
		const BrImageStep *step = &config->steps[i];
		bool dense = step->kind == BR_STEP_DENSE;

		map->step_weight[i] = reserve(&end, dense ? (size_t) step->out_dim * step->in_dim : 0);
		map->step_bias[i] = reserve(&end, dense && step->has_bias ? step->out_dim : 0);
	}
	map->total = end;
}

bool
br_encoder_plan_image(const BrImageConfig *config, size_t text_size, BrImageHeader *header)
{
	BrWeightMap map;
	uint64_t at = sizeof(BrImageHeader);

	br_encoder_map_weights(config, &map);
	memset(header, 0, sizeof(*header));
	memcpy(header->magic, IMAGE_MAGIC, sizeof(header->magic));
	header->layout_version = BR_ENCODER_LAYOUT_VERSION;
	header->byte_order = IMAGE_BYTE_ORDER;

	header->parts[BR_PART_CONFIG].size = sizeof(BrImageConfig);
	header->parts[BR_PART_VOCABULARY].size = (uint64_t) config->n_tokens * sizeof(BrImageToken);
	header->parts[BR_PART_SLOTS].size = (uint64_t) config->n_slots * sizeof(uint32_t);
	header->parts[BR_PART_ADDED].size = (uint64_t) config->n_added * sizeof(BrImageAdded);
	header->parts[BR_PART_TEMPLATE].size =
		((uint64_t) config->n_before + config->n_after) * sizeof(int32_t);
	header->parts[BR_PART_TEXT].size = text_size;
	header->parts[BR_PART_MERGES].size = (uint64_t) config->n_merges * sizeof(BrImageMerge);
	header->parts[BR_PART_MERGE_SLOTS].size = (uint64_t) config->n_merge_slots * sizeof(uint32_t);
	header->parts[BR_PART_BYTES].size = (uint64_t) config->n_bytes * sizeof(int32_t);
	header->parts[BR_PART_PAIRS].size = config->n_pairs;
	header->parts[BR_PART_SCORES].size = (uint64_t) config->n_scores * sizeof(double);
	header->parts[BR_PART_TRIE].size = (uint64_t) config->n_nodes * sizeof(BrImageNode);
	header->parts[BR_PART_UNITS].size = (uint64_t) config->n_units * sizeof(uint32_t);
	header->parts[BR_PART_REPLACEMENTS].size = config->n_replacements;
	header->parts[BR_PART_WEIGHTS].size = (uint64_t) map.total * sizeof(float);

	for (int i = 0; i < BR_PART_COUNT; i++)
	{
		at = (at + BR_IMAGE_ALIGNMENT - 1) / BR_IMAGE_ALIGNMENT * BR_IMAGE_ALIGNMENT;
		header->parts[i].offset = at;
		at += header->parts[i].size;
	}
	header->size = at;
	return at <= SIZE_MAX / 2 && text_size <= UINT32_MAX;
}

static bool
steps_valid(const BrImageConfig *config)
{
	uint32_t dim = config->hidden;

	if (config->n_steps > BR_IMAGE_MAX_STEPS)
		return false;
	for (uint32_t i = 0; i < config->n_steps; i++)
	{
		const BrImageStep *step = &config->steps[i];

		if (step->kind > BR_STEP_NORMALIZE || step->in_dim != dim || step->out_dim == 0 ||
			step->out_dim > BR_MAX_HIDDEN || step->activation > BR_ACTIVATION_RELU ||
			step->has_bias > 1 || (step->kind == BR_STEP_NORMALIZE && step->out_dim != dim))
			return false;
		dim = step->out_dim;
	}
	return true;
}

static bool
transformer_valid(const BrImageConfig *config)
{
	return br_encoder_architecture(config->architecture) != NULL && config->hidden > 0 &&
		config->hidden <= BR_MAX_HIDDEN && config->layers > 0 && config->layers <= BR_MAX_LAYERS &&
		config->heads > 0 && config->attended <= config->hidden &&
		br_encoder_attended(config) % config->heads == 0 && config->intermediate > 0 &&
		config->intermediate <= BR_MAX_INTERMEDIATE && config->vocabulary > 0 &&
		config->vocabulary <= BR_MAX_VOCABULARY && config->positions > 0 &&
		config->positions <= BR_MAX_POSITIONS && config->first_position < config->positions &&
		config->activation <= BR_ACTIVATION_RELU &&
		br_encoder_pooling_name((BrPooling) config->pooling) != NULL && isfinite(config->epsilon) &&
		config->epsilon >= 0 && config->parameters <= INT64_MAX;
}

/* The steps of a normaliser, and the character map that one of them uses. */
static bool
rules_valid(const BrImageConfig *config)
{
	bool valid = config->n_rules <= BR_MAX_RULES && config->n_units <= INT32_MAX &&
		config->n_replacements <= INT32_MAX;

	for (uint32_t i = 0; valid && i < config->n_rules; i++)
	{
		const BrImageRule *rule = &config->rules[i];

		valid = rule->kind <= BR_RULE_REPLACE && rule->pattern_size <= BR_RULE_TEXT_SIZE &&
			rule->content_size <= BR_RULE_TEXT_SIZE &&
			br_encoder_is_utf8(rule->pattern, rule->pattern_size) &&
			br_encoder_is_utf8(rule->content, rule->content_size) &&
			(rule->kind != BR_RULE_REPLACE || rule->pattern_size > 0);
	}
	return valid;
}

/* What one kind of tokenizer has and the others do not. */
static bool
kind_valid(const BrImageConfig *config)
{
	bool word = config->tokenizer == BR_TOKENIZER_WORDPIECE;
	bool bpe = config->tokenizer == BR_TOKENIZER_BPE;
	bool unigram = config->tokenizer == BR_TOKENIZER_UNIGRAM;

	return config->n_merges <= BR_MAX_VOCABULARY && (bpe || config->n_merges == 0) &&
		config->n_merge_slots <= 4 * BR_MAX_VOCABULARY &&
		(config->n_merge_slots & (config->n_merge_slots - 1)) == 0 &&
		(config->n_merges == 0 || config->n_merge_slots > config->n_merges) &&
		config->n_bytes == (bpe ? BR_BYTE_VALUES : 0) &&
		config->n_pairs == (bpe ? BR_PAIR_BYTES : 0) &&
		config->n_scores == (unigram ? config->n_tokens : 0) && config->n_nodes <= BR_MAX_NODES &&
		(config->n_nodes > 0) == unigram && config->longest_token <= INT32_MAX &&
		isfinite(config->unknown_score) && config->max_word_characters <= BR_MAX_WORD_CHARACTERS &&
		(config->max_word_characters > 0) == word && config->unknown_id >= (bpe ? -1 : 0) &&
		config->prefix_size <= BR_IMAGE_PREFIX_SIZE && (!unigram || config->prefix_size > 0) &&
		br_encoder_is_utf8(config->prefix, config->prefix_size) &&
		(unigram || config->n_rules == 0);
}

static bool
tokenizer_valid(const BrImageConfig *config)
{
	return br_encoder_tokenizer_kind(config->tokenizer) != NULL && config->n_tokens > 0 &&
		config->n_tokens <= BR_MAX_VOCABULARY && config->n_added <= BR_MAX_VOCABULARY &&
		config->n_slots > config->n_tokens && config->n_slots <= 4 * BR_MAX_VOCABULARY &&
		(config->n_slots & (config->n_slots - 1)) == 0 &&
		config->max_tokens <= br_encoder_usable_positions(config) &&
		config->n_before < config->max_tokens &&
		config->n_after < config->max_tokens - config->n_before &&
		(config->unknown_id < 0 || (uint32_t) config->unknown_id < config->vocabulary) &&
		rules_valid(config) && kind_valid(config);
}

static bool
token_valid(const BrImageConfig *config, uint64_t text_size, uint32_t offset, uint32_t size,
			int32_t id)
{
	return id >= 0 && (uint32_t) id < config->vocabulary && (uint64_t) offset + size <= text_size;
}

/* The tables of byte-level BPE: what they give are ids of the model. */
static bool
merges_valid(const void *image, const BrImageConfig *config)
{
	const BrImageMerge *merges = br_encoder_part(image, BR_PART_MERGES);
	const uint32_t *slots = br_encoder_part(image, BR_PART_MERGE_SLOTS);
	const int32_t *bytes = br_encoder_part(image, BR_PART_BYTES);
	bool valid = true;

	for (uint32_t i = 0; i < config->n_merges; i++)
		valid &= merges[i].merged >= 0 && (uint32_t) merges[i].merged < config->vocabulary;
	for (uint32_t i = 0; i < config->n_merge_slots; i++)
		valid &= slots[i] <= config->n_merges;
	for (uint32_t i = 0; i < config->n_bytes; i++)
		valid &= bytes[i] >= -1 && (bytes[i] < 0 || (uint32_t) bytes[i] < config->vocabulary);
	return valid;
}

/*
 * The tables of Unigram. Children stand behind their parents, so that no way
 * leads in a circle; scores are finite, so that sums can be compared.
 */
static bool
scores_valid(const void *image, const BrImageConfig *config)
{
	const double *scores = br_encoder_part(image, BR_PART_SCORES);
	const BrImageNode *nodes = br_encoder_part(image, BR_PART_TRIE);
	bool valid = true;

	for (uint32_t i = 0; i < config->n_scores; i++)
		valid &= isfinite(scores[i]) != 0;
	for (uint32_t i = 0; i < config->n_nodes; i++)
		valid &= nodes[i].token >= -1 && nodes[i].token < (int64_t) config->n_tokens &&
			(nodes[i].n_children == 0 ||
			 (nodes[i].children > i &&
			  (uint64_t) nodes[i].children + nodes[i].n_children <= config->n_nodes));
	return valid &&
		br_encoder_is_utf8(br_encoder_part(image, BR_PART_REPLACEMENTS), config->n_replacements);
}

/* The tables of the tokenizer point only at what is there. */
static bool
tables_valid(const void *image, const BrImageConfig *config, uint64_t text_size)
{
	const BrImageToken *tokens = br_encoder_part(image, BR_PART_VOCABULARY);
	const BrImageAdded *added = br_encoder_part(image, BR_PART_ADDED);
	const uint32_t *slots = br_encoder_part(image, BR_PART_SLOTS);
	const int32_t *template = br_encoder_part(image, BR_PART_TEMPLATE);
	const char *text = br_encoder_part(image, BR_PART_TEXT);
	bool valid = true;

	for (uint32_t i = 0; i < config->n_tokens; i++)
		valid &= token_valid(config, text_size, tokens[i].offset, tokens[i].size, tokens[i].id);
	for (uint32_t i = 0; i < config->n_added; i++)
	{
		/* a text is cut around them, which must not be inside a character */
		valid &= added[i].size > 0 &&
			token_valid(config, text_size, added[i].offset, added[i].size, added[i].id) &&
			br_encoder_is_utf8(text + added[i].offset, added[i].size);
	}
	for (uint32_t i = 0; i < config->n_slots; i++)
		valid &= slots[i] <= config->n_tokens;
	for (uint32_t i = 0; i < config->n_before + config->n_after; i++)
		valid &= template[i] >= 0 && (uint32_t) template[i] < config -> vocabulary;
	return valid;
}

static BrStatus
damaged(BrContext *context, const char *what)
{
	return br_base_fail(context, BR_ERR_FORMAT, "The image is damaged: %s.", what);
}

BrStatus
br_encoder_check_image(BrContext *context, const void *image, size_t size)
{
	const BrImageHeader *header = image;
	const BrImageConfig *config;
	BrImageHeader expected;
	uint64_t planned;

	if ((uintptr_t) image % sizeof(uint64_t) != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "An image must be aligned to %zu bytes.",
							sizeof(uint64_t));
	if (size < sizeof(BrImageHeader) + sizeof(BrImageConfig) + BR_IMAGE_ALIGNMENT ||
		memcmp(header->magic, IMAGE_MAGIC, sizeof(header->magic)) != 0)
		return damaged(context, "it does not begin with an image's header");
	if (header->layout_version != BR_ENCODER_LAYOUT_VERSION ||
		header->byte_order != IMAGE_BYTE_ORDER)
		return br_base_fail(context, BR_ERR_FORMAT,
							"The image has layout version %u, this library reads version %d in the byte order of this machine.",
							header->layout_version, BR_ENCODER_LAYOUT_VERSION);
	if (header->size != size)
		return br_base_fail(context, BR_ERR_FORMAT,
							"The image has %zu bytes, its header says %llu.", size,
							(unsigned long long) header->size);
	if (header->parts[BR_PART_CONFIG].offset % BR_IMAGE_ALIGNMENT != 0 ||
		header->parts[BR_PART_CONFIG].offset > size - sizeof(BrImageConfig))
		return damaged(context, "its configuration lies outside");

	config = br_encoder_part(image, BR_PART_CONFIG);
	if (!transformer_valid(config) || !steps_valid(config))
		return damaged(context, "its configuration is out of range");
	if (!tokenizer_valid(config))
		return damaged(context, "its tokenizer is out of range");

	/* offsets and sizes follow from the configuration and the size of the text */
	if (!br_encoder_plan_image(config, (size_t) header->parts[BR_PART_TEXT].size, &expected))
		return damaged(context, "its parts do not fit its configuration");
	planned = expected.size;
	expected.size = header->size;
	if (header->size < planned || memcmp(header, &expected, sizeof(expected)) != 0)
		return damaged(context, "its parts do not fit its configuration");
	if (header->size > planned &&
		(!br_encoder_addition_size(image, planned, &expected.size) ||
		 expected.size != header->size))
		return damaged(context, "what stands behind its weights is no addition of its size");
	if (!tables_valid(image, config, header->parts[BR_PART_TEXT].size))
		return damaged(context, "a token points outside or is no text");
	if (!merges_valid(image, config) || !scores_valid(image, config))
		return damaged(context, "the tokenizer's merges, scores or character map are out of range");
	return BR_OK;
}
