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

#include "core/encoder/encoder_int.h"

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

	map->qkv_weight = reserve(&layer, 3 * hidden * hidden);
	map->qkv_bias = reserve(&layer, 3 * hidden);
	map->output_weight = reserve(&layer, hidden * hidden);
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
		config->heads > 0 && config->hidden % config->heads == 0 && config->intermediate > 0 &&
		config->intermediate <= BR_MAX_INTERMEDIATE && config->vocabulary > 0 &&
		config->vocabulary <= BR_MAX_VOCABULARY && config->positions > 0 &&
		config->positions <= BR_MAX_POSITIONS && config->first_position < config->positions &&
		config->activation <= BR_ACTIVATION_RELU &&
		br_encoder_pooling_name((BrPooling) config->pooling) != NULL && isfinite(config->epsilon) &&
		config->epsilon >= 0 && config->parameters <= INT64_MAX;
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
		config->n_after < config->max_tokens - config->n_before && config->unknown_id >= 0 &&
		(uint32_t) config->unknown_id < config->vocabulary && config->max_word_characters > 0 &&
		config->max_word_characters <= BR_MAX_WORD_CHARACTERS &&
		config->prefix_size <= BR_IMAGE_PREFIX_SIZE;
}

static bool
token_valid(const BrImageConfig *config, uint64_t text_size, uint32_t offset, uint32_t size,
			int32_t id)
{
	return id >= 0 && (uint32_t) id < config->vocabulary && (uint64_t) offset + size <= text_size;
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
	if (!br_encoder_plan_image(config, (size_t) header->parts[BR_PART_TEXT].size, &expected) ||
		memcmp(header, &expected, sizeof(expected)) != 0)
		return damaged(context, "its parts do not fit its configuration");
	if (!tables_valid(image, config, header->parts[BR_PART_TEXT].size))
		return damaged(context, "a token points outside or is no text");
	return BR_OK;
}
