/*
 * safetensors.c
 *	  Reader of the safetensors format.
 *
 * A file is a little-endian u64 header length, a JSON header of at most 100 MB
 * that begins with a brace, and the tensors' bytes, row-major and
 * little-endian, one after another without holes or overlaps. All of that is
 * checked before any tensor is read; a tensor's numbers are checked when read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/encoder/encoder_int.h"
#include "core/math/br_math.h"

#define MAX_HEADER 100000000

static const struct
{
	const char *name;
	int size; /* bytes of an element */
} element_types[] = {
	{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8},	 {"I64", 8},
	{"I32", 4}, {"I16", 2}, {"I8", 1},	 {"U64", 8},	 {"U32", 4},
	{"U16", 2}, {"U8", 1},	{"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

static uint64_t
little_endian(const uint8_t *bytes, int n)
{
	uint64_t value = 0;

	for (int i = n - 1; i >= 0; i--)
		value = value << 8 | bytes[i];
	return value;
}

static int
element_size(const char *type)
{
	for (size_t i = 0; i < sizeof(element_types) / sizeof(element_types[0]); i++)
		if (strcmp(type, element_types[i].name) == 0)
			return element_types[i].size;
	return 0;
}

/* A non-negative whole number below 2^53 of an array. */
static bool
read_count(const cJSON *item, uint64_t *count)
{
	if (!cJSON_IsNumber(item) ||
		!(item->valuedouble >= 0 && item->valuedouble < 9007199254740992.0))
		return false;
	*count = (uint64_t) item->valuedouble;
	return (double) *count == item->valuedouble;
}

static bool
read_shape(const cJSON *shape, BrTensor *tensor)
{
	const cJSON *item;

	if (!cJSON_IsArray(shape))
		return false;
	tensor->n_dimensions = 0;
	cJSON_ArrayForEach(item, shape)
	{
		uint64_t size;

		if (tensor->n_dimensions == BR_TENSOR_MAX_DIMENSIONS || !read_count(item, &size))
			return false;
		tensor->shape[tensor->n_dimensions++] = (int64_t) size;
	}
	return true;
}

/* Bytes that type and shape ask for; false: more than fit in 64 bits. */
static bool
tensor_bytes(const BrTensor *tensor, int size, uint64_t *bytes)
{
	*bytes = (uint64_t) size;
	for (int i = 0; i < tensor->n_dimensions; i++)
		if (__builtin_mul_overflow(*bytes, (uint64_t) tensor->shape[i], bytes))
			return false;
	return true;
}

static BrStatus
read_entry(BrContext *context, const char *path, const cJSON *entry, uint64_t data_size,
		   BrTensor *tensor)
{
	const cJSON *type = br_encoder_json_get(entry, "dtype");
	const cJSON *offsets = br_encoder_json_get(entry, "data_offsets");
	char name[BR_QUOTED_SIZE];
	uint64_t bytes;

	br_encoder_quote(entry->string, name);
	tensor->name = entry->string;
	if (!cJSON_IsObject(entry) || !cJSON_IsString(type) || cJSON_GetArraySize(offsets) != 2 ||
		!read_shape(br_encoder_json_get(entry, "shape"), tensor) ||
		!read_count(cJSON_GetArrayItem(offsets, 0), &tensor->begin) ||
		!read_count(cJSON_GetArrayItem(offsets, 1), &tensor->end))
		return br_base_fail(context, BR_ERR_FORMAT, "%s: the entry of tensor \"%s\" is malformed.",
							path, name);

	tensor->type = type->valuestring;
	if (element_size(tensor->type) == 0)
	{
		char quoted[BR_QUOTED_SIZE];

		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: tensor \"%s\" has the unknown element type \"%s\".", path, name,
							br_encoder_quote(tensor->type, quoted));
	}
	if (tensor->begin > tensor->end || tensor->end > data_size)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: tensor \"%s\" reaches from byte %llu to %llu of %llu.", path, name,
							(unsigned long long) tensor->begin, (unsigned long long) tensor->end,
							(unsigned long long) data_size);
	if (!tensor_bytes(tensor, element_size(tensor->type), &bytes) ||
		bytes != tensor->end - tensor->begin)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: tensor \"%s\" has %llu bytes, which its shape and type deny.",
							path, name, (unsigned long long) (tensor->end - tensor->begin));
	return BR_OK;
}

static int
by_begin(const void *left, const void *right)
{
	const BrTensor *a = left;
	const BrTensor *b = right;

	if (a->begin != b->begin)
		return a->begin < b->begin ? -1 : 1;
	return (a->end > b->end) - (a->end < b->end);
}

static int
by_name(const void *left, const void *right)
{
	return strcmp(((const BrTensor *) left)->name, ((const BrTensor *) right)->name);
}

/* No holes, no overlaps, no name twice; leaves the tensors sorted by name. */
static BrStatus
check_tensors(BrContext *context, BrTensorFile *file, uint64_t data_size)
{
	char name[BR_QUOTED_SIZE];
	uint64_t end = 0;

	qsort(file->tensors, (size_t) file->n, sizeof(BrTensor), by_begin);
	for (int i = 0; i < file->n; i++)
	{
		const BrTensor *tensor = &file->tensors[i];

		if (tensor->begin != end)
			return br_base_fail(context, BR_ERR_FORMAT,
								"%s: tensor \"%s\" begins at byte %llu, %s the one before it ends at %llu.",
								file->path, br_encoder_quote(tensor->name, name),
								(unsigned long long) tensor->begin,
								tensor->begin < end ? "before" : "but", (unsigned long long) end);
		end = tensor->end;
	}
	if (end != data_size)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: the tensors end at byte %llu, the data at %llu.", file->path,
							(unsigned long long) end, (unsigned long long) data_size);

	qsort(file->tensors, (size_t) file->n, sizeof(BrTensor), by_name);
	for (int i = 1; i < file->n; i++)
		if (by_name(&file->tensors[i - 1], &file->tensors[i]) == 0)
			return br_base_fail(context, BR_ERR_FORMAT, "%s: tensor \"%s\" appears twice.",
								file->path, br_encoder_quote(file->tensors[i].name, name));
	return BR_OK;
}

static BrStatus
read_header(BrContext *context, BrTensorFile *file, uint64_t data_size)
{
	const cJSON *entry;
	BrStatus status;

	if (!cJSON_IsObject(file->header))
		return br_base_fail(context, BR_ERR_FORMAT, "%s: the header is not a JSON object.",
							file->path);
	file->tensors =
		br_base_alloc_array(context, (size_t) cJSON_GetArraySize(file->header), sizeof(BrTensor));
	if (file->tensors == NULL)
		return BR_ERR_MEMORY;

	cJSON_ArrayForEach(entry, file->header)
	{
		if (strcmp(entry->string, "__metadata__") == 0)
			continue;
		status = read_entry(context, file->path, entry, data_size, &file->tensors[file->n]);
		if (status != BR_OK)
			return status;
		file->n++;
	}
	return check_tensors(context, file, data_size);
}

BrStatus
br_encoder_tensors_open(BrContext *context, const char *path, const void *data, size_t size,
						BrTensorFile *file)
{
	const uint8_t *bytes = data;
	uint64_t header_size;
	BrStatus status;

	memset(file, 0, sizeof(*file));
	file->path = path;
	if (size < 8)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s has %zu bytes, too few for a safetensors file.", path, size);
	header_size = little_endian(bytes, 8);
	if (header_size > MAX_HEADER || header_size > size - 8)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: a header of %llu bytes does not fit in a file of %zu; it is truncated or no safetensors file.",
							path, (unsigned long long) header_size, size);
	if (header_size == 0 || bytes[8] != '{')
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s is no safetensors file: its header does not begin with a brace.",
							path);

	file->data = bytes + 8 + header_size;
	status = br_encoder_json_parse(context, path, bytes + 8, (size_t) header_size, &file->header);
	if (status == BR_OK)
		status = read_header(context, file, size - 8 - header_size);
	return status;
}

void
br_encoder_tensors_close(BrContext *context, BrTensorFile *file)
{
	cJSON_Delete(file->header);
	br_base_free(context, file->tensors);
	memset(file, 0, sizeof(*file));
}

const BrTensor *
br_encoder_tensor_find(const BrTensorFile *file, const char *name)
{
	BrTensor key = {.name = name};

	if (file->n == 0)
		return NULL;
	return bsearch(&key, file->tensors, (size_t) file->n, sizeof(BrTensor), by_name);
}

static void
widen(const uint8_t *bytes, const char *type, size_t n, float *values)
{
	bool brain = strcmp(type, "BF16") == 0;

	if (strcmp(type, "F16") == 0)
	{
		for (size_t i = 0; i < n; i++)
			values[i] = br_math_half_to_float((uint16_t) little_endian(bytes + 2 * i, 2));
		return;
	}
	for (size_t i = 0; i < n; i++)
	{
		/* bfloat16 is the upper half of a float */
		uint32_t bits = brain ? (uint32_t) little_endian(bytes + 2 * i, 2) << 16
							  : (uint32_t) little_endian(bytes + 4 * i, 4);

		memcpy(&values[i], &bits, sizeof(bits));
	}
}

/* Not isfinite: all exponent bits set, whatever the compiler assumes of floats. */
static bool
all_finite(const float *values, size_t n)
{
	bool finite = true;

	for (size_t i = 0; i < n; i++)
	{
		uint32_t bits;

		memcpy(&bits, &values[i], sizeof(bits));
		finite &= (bits & 0x7F800000) != 0x7F800000;
	}
	return finite;
}

static void
shape_text(const int64_t *shape, int n, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; i < n && used < size; i++)
		used += (size_t) snprintf(text + used, size - used, "%s%lld", i > 0 ? ", " : "",
								  (long long) shape[i]);
}

BrStatus
br_encoder_tensor_read(BrContext *context, const BrTensorFile *file, const char *name, int64_t rows,
					   int64_t columns, float *values)
{
	const BrTensor *tensor = br_encoder_tensor_find(file, name);
	int64_t wanted[2] = {rows, columns};
	int n_wanted = columns == 0 ? 1 : 2;
	size_t n = (size_t) rows * (size_t) (columns == 0 ? 1 : columns);

	if (tensor == NULL)
		return br_base_fail(context, BR_ERR_FORMAT, "%s lacks the tensor \"%s\".", file->path,
							name);
	if (tensor->n_dimensions != n_wanted ||
		memcmp(tensor->shape, wanted, (size_t) n_wanted * sizeof(int64_t)) != 0)
	{
		char found[100];
		char expected[100];

		shape_text(tensor->shape, tensor->n_dimensions, found, sizeof(found));
		shape_text(wanted, n_wanted, expected, sizeof(expected));
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: tensor \"%s\" has the shape (%s), the configuration asks for (%s).",
							file->path, name, found, expected);
	}
	if (strcmp(tensor->type, "F32") != 0 && strcmp(tensor->type, "F16") != 0 &&
		strcmp(tensor->type, "BF16") != 0)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: tensor \"%s\" is of type %s; F32, F16 and BF16 are read.",
							file->path, name, tensor->type);

	if (values == NULL)
		return BR_OK;
	widen(file->data + tensor->begin, tensor->type, n, values);
	if (!all_finite(values, n))
		return br_base_fail(context, BR_ERR_NUMERIC, "%s: tensor \"%s\" contains NaN or infinity.",
							file->path, name);
	return BR_OK;
}
