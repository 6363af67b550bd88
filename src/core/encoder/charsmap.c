/*
 * charsmap.c
 *	  The character map of sentencepiece: what strings become before tokenizing.
 *
 * The map is a trie in one array (a double array: the children of a node stand
 * at its base xor their byte, and name that byte) whose values are places in a
 * block of strings, each ended by a NUL. An import follows every way through
 * the trie once and refuses a map that leads outside; use trusts nothing and
 * takes a step outside for the end of the way.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* One unit of the array. */
#define UNIT_LABEL(unit) ((unit) & (UINT32_C(1) << 31 | 0xFF))
#define UNIT_HAS_VALUE(unit) (((unit) >> 8 & 1) != 0)
#define UNIT_VALUE(unit) ((unit) & ((UINT32_C(1) << 31) - 1))

/* From the place of a unit to the base of its children, by xor. */
static uint32_t
unit_offset(uint32_t unit)
{
	return unit >> 10 << ((unit & UINT32_C(1) << 9) >> 6);
}

/* The place of the value of the shortest key that text begins with; -1: none. */
static int64_t
find_value(const uint32_t *units, uint32_t n_units, const char *text, size_t size)
{
	uint32_t place;

	if (n_units == 0)
		return -1;
	place = unit_offset(units[0]);
	for (size_t i = 0; i < size && text[i] != '\0'; i++)
	{
		unsigned char byte = (unsigned char) text[i];

		place ^= byte;
		if (place >= n_units || UNIT_LABEL(units[place]) != byte)
			return -1;
		if (UNIT_HAS_VALUE(units[place]))
		{
			place ^= unit_offset(units[place]);
			return place < n_units ? (int64_t) UNIT_VALUE(units[place]) : -1;
		}
		place ^= unit_offset(units[place]);
	}
	return -1;
}

/* Bytes of a string that ends with a NUL or with all strings. */
static size_t
string_size(const char *string, size_t room)
{
	const char *end = memchr(string, '\0', room);

	return end == NULL ? room : (size_t) (end - string);
}

const char *
br_encoder_map_characters(const BrNormalizer *normalizer, const char *text, size_t size,
						  size_t *length)
{
	const BrImageConfig *config = normalizer->config;
	int64_t value = find_value(normalizer->units, config->n_units, text, size);
	const char *string;

	if (value < 0 || value >= config->n_replacements)
		return NULL;
	string = normalizer->replacements + value;
	*length = string_size(string, config->n_replacements - (size_t) value);
	return *length > BR_MAX_REPLACEMENT || ((unsigned char) string[0] & 0xC0) == 0x80 ? NULL
																					  : string;
}

/* ---- reading ---- */

static BrStatus
refuse(BrContext *context, const char *where, const char *what)
{
	return br_base_fail(context, BR_ERR_FORMAT, "%s: the character map (precompiled_charsmap) %s.",
						where, what);
}

static uint32_t
read_u32(const uint8_t *bytes)
{
	return (uint32_t) bytes[0] | (uint32_t) bytes[1] << 8 | (uint32_t) bytes[2] << 16 |
		(uint32_t) bytes[3] << 24;
}

static BrStatus
check_value(BrContext *context, const char *where, const BrImageConfig *config,
			const char *replacements, uint32_t value)
{
	if (value >= config->n_replacements || ((unsigned char) replacements[value] & 0xC0) == 0x80)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: the character map (precompiled_charsmap) has a value %u that is no place in its %u bytes of strings.",
							where, value, config->n_replacements);
	if (string_size(replacements + value, config->n_replacements - value) > BR_MAX_REPLACEMENT)
		return br_base_fail(context, BR_ERR_LIMIT,
							"%s: the character map (precompiled_charsmap) has a string of more than %d bytes.",
							where, BR_MAX_REPLACEMENT);
	return BR_OK;
}

/* Follows each way through the trie from its bases, which are marked once seen. */
static BrStatus
check_ways(BrContext *context, const char *where, const BrImageConfig *config,
		   const uint32_t *units, uint32_t *waiting, bool *seen)
{
	static const char outside[] = "leads outside itself";
	const char *replacements = (const char *) (units + config->n_units);
	uint32_t n = 1;
	BrStatus status = BR_OK;

	waiting[0] = unit_offset(units[0]);
	while (n > 0 && status == BR_OK)
	{
		uint32_t base = waiting[--n];

		if (base / BR_BYTE_VALUES >= config->n_units / BR_BYTE_VALUES)
			return refuse(context, where, outside);
		for (uint32_t byte = 1; byte < BR_BYTE_VALUES && status == BR_OK; byte++)
		{
			uint32_t place = base ^ byte;
			uint32_t child = place ^ unit_offset(units[place]);

			if (UNIT_LABEL(units[place]) != byte)
				continue;
			if (child >= config->n_units)
				return refuse(context, where, outside);
			if (UNIT_HAS_VALUE(units[place]))
				status =
					check_value(context, where, config, replacements, UNIT_VALUE(units[child]));
			if (!seen[child])
				waiting[n++] = child;
			seen[child] = true;
		}
		if (br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "The import was cancelled.");
	}
	return status;
}

BrStatus
br_encoder_read_charsmap(BrContext *context, const char *where, const uint8_t *data, size_t size,
						 BrImageConfig *config, BrTokenizerImport *import)
{
	uint32_t trie_size = size < 4 ? 0 : read_u32(data);
	uint32_t *waiting;
	bool *seen;
	BrStatus status = BR_ERR_MEMORY;

	if (import->units != NULL)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: more than one Precompiled normalizer is not handled.", where);
	if (size < 4 || size > INT32_MAX || trie_size % (4 * BR_BYTE_VALUES) != 0 || trie_size == 0 ||
		trie_size > size - 4)
		return refuse(context, where, "is cut short or has no trie");
	config->n_units = trie_size / 4;
	config->n_replacements = (uint32_t) (size - 4 - trie_size);
	import->units = br_base_alloc(context, size);
	if (import->units == NULL)
		return BR_ERR_MEMORY;
	for (uint32_t i = 0; i < config->n_units; i++)
		import->units[i] = read_u32(data + 4 + 4 * i);
	memcpy(import->units + config->n_units, data + 4 + trie_size, config->n_replacements);
	if (!br_encoder_is_utf8((const char *) (import->units + config->n_units),
							config->n_replacements))
		return refuse(context, where, "has strings that are not UTF-8");

	waiting = br_base_alloc_array(context, config->n_units + 1, sizeof(uint32_t));
	seen = br_base_alloc_array(context, config->n_units, sizeof(bool));
	if (waiting != NULL && seen != NULL)
		status = check_ways(context, where, config, import->units, waiting, seen);
	br_base_free(context, waiting);
	br_base_free(context, seen);
	return status;
}
