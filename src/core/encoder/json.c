/*
 * json.c
 *	  JSON that a stranger wrote.
 *
 * cJSON parses; one pass before it refuses what it would take too lightly or
 * too heavily: strings with a NUL, which its C strings cut short, text that is
 * not UTF-8, and nesting or sizes that would exhaust stack or memory. cJSON
 * allocates with malloc: its hooks are global, and this library has no global
 * state. Nothing that it allocates outlives a call into the room.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

#define MAX_DEPTH 64
#define MAX_VALUES 20000000

const char *
br_encoder_quote(const char *name, char buffer[BR_QUOTED_SIZE])
{
	size_t used = 0;

	while (*name != '\0')
	{
		int length;

		br_encoder_decode(name, &length);
		if (used + (size_t) length + sizeof("...") > BR_QUOTED_SIZE)
		{
			memcpy(buffer + used, "...", 3);
			used += 3;
			break;
		}
		for (int i = 0; i < length; i++, used++, name++)
			buffer[used] = (unsigned char) *name < ' ' ? '?' : *name;
	}
	buffer[used] = '\0';
	return buffer;
}

/* Whether the escape at text stands for a NUL. */
static bool
escapes_nul(const char *text, const char *end)
{
	return end - text >= 6 && memcmp(text, "\\u0000", 6) == 0;
}

static BrStatus
check_text(BrContext *context, const char *where, const char *text, size_t size)
{
	const char *end = text + size;
	bool in_string = false;
	int depth = 0;
	size_t values = 0;

	if (!br_encoder_is_utf8(text, size))
		return br_base_fail(context, BR_ERR_FORMAT, "%s is not UTF-8.", where);

	for (; text < end; text++)
	{
		if (*text == '\0' || (in_string && escapes_nul(text, end)))
			return br_base_fail(context, BR_ERR_FORMAT, "%s contains a NUL character.", where);
		if (in_string && *text == '\\')
			text++;
		else if (*text == '"')
			in_string = !in_string;
		else if (!in_string && (*text == '[' || *text == '{'))
			depth++;
		else if (!in_string && (*text == ']' || *text == '}'))
			depth--;
		else if (!in_string && *text == ',')
			values++;
		if (depth > MAX_DEPTH || values > MAX_VALUES)
			return br_base_fail(context, BR_ERR_LIMIT,
								"%s has more than %d levels or %d values of JSON.", where,
								MAX_DEPTH, MAX_VALUES);
	}
	return BR_OK;
}

BrStatus
br_encoder_json_parse(BrContext *context, const char *where, const void *data, size_t size,
					  cJSON **root)
{
	const char *text = data;
	const char *end = text;
	BrStatus status = check_text(context, where, text, size);

	*root = NULL;
	if (status != BR_OK)
		return status;

	*root = cJSON_ParseWithLengthOpts(text, size, &end, false);
	if (*root != NULL)
	{
		while (end < text + size && strchr(" \t\r\n", *end) != NULL)
			end++;
		if (end == text + size)
			return BR_OK;
		cJSON_Delete(*root);
		*root = NULL;
	}
	return br_base_fail(context, BR_ERR_FORMAT, "%s is not valid JSON: error near byte %zu of %zu.",
						where, (size_t) (end - text), size);
}

const cJSON *
br_encoder_json_get(const cJSON *object, const char *key)
{
	const cJSON *found = NULL;
	const cJSON *member;

	cJSON_ArrayForEach(member, object) if (member->string != NULL &&
										   strcmp(member->string, key) == 0) found = member;
	return cJSON_IsNull(found) ? NULL : found;
}

BrStatus
br_encoder_json_int(BrContext *context, const char *where, const cJSON *object, const char *key,
					int64_t minimum, int64_t maximum, int64_t fallback, int64_t *value)
{
	const cJSON *member = br_encoder_json_get(object, key);

	*value = fallback;
	if (member == NULL)
	{
		if (fallback != BR_JSON_REQUIRED)
			return BR_OK;
		return br_base_fail(context, BR_ERR_FORMAT, "%s lacks \"%s\".", where, key);
	}
	if (!cJSON_IsNumber(member) || member->valuedouble != floor(member->valuedouble) ||
		member->valuedouble < (double) minimum || member->valuedouble > (double) maximum)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: \"%s\" must be a whole number from %lld to %lld.", where, key,
							(long long) minimum, (long long) maximum);
	*value = (int64_t) member->valuedouble;
	return BR_OK;
}

BrStatus
br_encoder_json_bool(BrContext *context, const char *where, const cJSON *object, const char *key,
					 bool fallback, bool *value)
{
	const cJSON *member = br_encoder_json_get(object, key);

	*value = fallback;
	if (member == NULL)
		return BR_OK;
	if (!cJSON_IsBool(member))
		return br_base_fail(context, BR_ERR_FORMAT, "%s: \"%s\" must be true or false.", where,
							key);
	*value = cJSON_IsTrue(member);
	return BR_OK;
}

BrStatus
br_encoder_json_string(BrContext *context, const char *where, const cJSON *object, const char *key,
					   const char *fallback, const char **value)
{
	const cJSON *member = br_encoder_json_get(object, key);

	*value = fallback;
	if (member == NULL)
		return BR_OK;
	if (!cJSON_IsString(member))
		return br_base_fail(context, BR_ERR_FORMAT, "%s: \"%s\" must be a string.", where, key);
	*value = member->valuestring;
	return BR_OK;
}
