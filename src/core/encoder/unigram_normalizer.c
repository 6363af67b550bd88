/*
 * unigram_normalizer.c
 *	  The steps that a Unigram tokenizer's normaliser is made of.
 *
 * Each step reads the text that the one before has written. The character map
 * is applied as the reference applies it: a grapheme cluster of less than six
 * bytes that begins with a key becomes that key's string, whatever else is in
 * it; of every other cluster each character by itself does.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* Clusters of this many bytes and more are mapped character by character. */
#define LONG_CLUSTER 6

/* Bytes between two looks at the cancel flag. */
#define CANCEL_INTERVAL (1 << 16)

static BrStatus
map_each(const BrNormalizer *normalizer, BrTokenWork *work, const char *text, size_t size)
{
	BrStatus status = BR_OK;

	for (size_t at = 0; at < size && status == BR_OK;)
	{
		int bytes;
		size_t length;
		const char *string;

		br_encoder_decode(text + at, &bytes);
		string = br_encoder_map_characters(normalizer, text + at, (size_t) bytes, &length);
		if (string != NULL)
			status = br_encoder_append_text(work, string, length);
		else
			status = br_encoder_append_text(work, text + at, (size_t) bytes);
		at += (size_t) bytes;
	}
	return status;
}

static BrStatus
apply_charsmap(const BrNormalizer *normalizer, BrTokenWork *work, const char *text, size_t size)
{
	size_t at = 0;
	size_t look = CANCEL_INTERVAL;
	BrStatus status = BR_OK;

	while (at < size && status == BR_OK)
	{
		size_t end = br_encoder_grapheme_end(text, at, size);
		size_t length;
		const char *string = NULL;

		if (end - at < LONG_CLUSTER)
			string = br_encoder_map_characters(normalizer, text + at, end - at, &length);
		if (string != NULL)
			status = br_encoder_append_text(work, string, length);
		else
			status = map_each(normalizer, work, text + at, end - at);
		at = end;
		if (at >= look && br_base_cancelled(work->context))
			status = br_base_fail(work->context, BR_ERR_CANCELLED, "Tokenizing was cancelled.");
		look = at >= look ? at + CANCEL_INTERVAL : look;
	}
	return status;
}

static BrStatus
strip(BrTokenWork *work, const char *text, size_t size, bool left)
{
	size_t begin = 0;

	while (left && begin < size)
	{
		int length;

		if (!br_encoder_is_whitespace(br_encoder_decode(text + begin, &length)))
			break;
		begin += (size_t) length;
	}
	while (!left && size > 0)
	{
		size_t before;

		if (!br_encoder_is_whitespace(br_encoder_decode_before(text, size, &before)))
			break;
		size = before;
	}
	return br_encoder_append_text(work, text + begin, size - begin);
}

/* Bytes that a rule replaces at text, 0: none. */
static size_t
matched(const BrImageRule *rule, const char *text, size_t size)
{
	size_t spaces = 0;

	if (rule->kind == BR_RULE_REPLACE)
		return rule->pattern_size <= size && memcmp(text, rule->pattern, rule->pattern_size) == 0
			? rule->pattern_size
			: 0;
	while (spaces < size && text[spaces] == ' ')
		spaces++;
	return spaces >= 2 ? spaces : 0;
}

static BrStatus
replace(BrTokenWork *work, const BrImageRule *rule, const char *text, size_t size)
{
	BrStatus status = BR_OK;
	size_t begin = 0; /* of what stays */
	size_t at = 0;

	while (at < size && status == BR_OK)
	{
		size_t length = matched(rule, text + at, size - at);

		if (length == 0)
		{
			at++;
			continue;
		}
		status = br_encoder_append_text(work, text + begin, at - begin);
		if (status == BR_OK)
			status = br_encoder_append_text(work, rule->content, rule->content_size);
		at += length;
		begin = at;
	}
	if (status == BR_OK)
		status = br_encoder_append_text(work, text + begin, size - begin);
	return status;
}

static BrStatus
apply_rule(const BrNormalizer *normalizer, BrTokenWork *work, const BrImageRule *rule,
		   const char *text, size_t size)
{
	work->text_size = 0;
	switch (rule->kind)
	{
		case BR_RULE_CHARSMAP:
			return apply_charsmap(normalizer, work, text, size);
		case BR_RULE_STRIP_LEFT:
		case BR_RULE_STRIP_RIGHT:
			return strip(work, text, size, rule->kind == BR_RULE_STRIP_LEFT);
		default:
			return replace(work, rule, text, size);
	}
}

BrStatus
br_encoder_normalize_rules(const BrNormalizer *normalizer, BrTokenWork *work, const char *piece,
						   size_t size)
{
	const BrImageConfig *config = normalizer->config;
	BrStatus status = BR_OK;

	work->text_size = 0;
	if (config->n_rules == 0)
		return br_encoder_append_text(work, piece, size);

	for (uint32_t i = 0; i < config->n_rules && status == BR_OK; i++)
	{
		char *written = work->text;
		size_t capacity = work->text_capacity;

		if (i > 0)
		{
			/* what was written is read, and what was read is written over */
			piece = work->text_size > 0 ? written : "";
			size = work->text_size;
			work->text = work->spare;
			work->text_capacity = work->spare_capacity;
			work->spare = written;
			work->spare_capacity = capacity;
		}
		status = apply_rule(normalizer, work, &config->rules[i], piece, size);
	}
	return status;
}

/* A rule that looks at more than characters and spaces sees where a window begins or ends. */
bool
br_encoder_rules_cut(const BrNormalizer *normalizer)
{
	const BrImageConfig *config = normalizer->config;

	for (uint32_t i = 0; i < config->n_rules; i++)
	{
		size_t length = 1;
		const char *space = " ";

		if (config->rules[i].kind == BR_RULE_CHARSMAP)
			space = br_encoder_map_characters(normalizer, " ", 1, &length);
		if (config->rules[i].kind == BR_RULE_STRIP_LEFT ||
			config->rules[i].kind == BR_RULE_REPLACE ||
			(space != NULL && (length != 1 || space[0] != ' ')))
			return false;
	}
	return true;
}
