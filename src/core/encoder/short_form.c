/*
 * short_form.c
 *	  Images whose weights are bytes with a scale for each row, and their short form.
 *
 * Everything computes with floats, so an image has floats. Where every row of its
 * matrices and tables is a scale times whole numbers up to 127 either way, a
 * quarter of the bytes says the same: that is what a database keeps, and sends to
 * its standbys and backups.
 *
 * The scale of such a row is its largest number / 127. So that dividing gives it
 * back to the bit, and every product is exact, it has so few binary digits that
 * 7 more for the whole number still fit into a float.
 *
 * A short form is a header, the image up to its weights as it stands, and the
 * tensors in their order: vectors as floats, of matrices for each row the scale
 * and its bytes. What stands between tensors is 0 and is not in it.
 */
#include <math.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

#define SHORT_MAGIC "BRSHORT"
#define SHORT_BYTE_ORDER UINT32_C(0x01020304)
#define SHORT_VERSION 1

#define LARGEST_BYTE 127
#define SPARE_DIGITS 7 /* binary ones of LARGEST_BYTE */

typedef struct ShortHeader
{
	char magic[8];
	uint32_t version;
	uint32_t byte_order;
	uint64_t image_size;
	uint64_t before; /* bytes of the image before its weights */
} ShortHeader;

/* ---- rows ---- */

static float
largest_of(const float *row, int n)
{
	float largest = 0;

	for (int i = 0; i < n; i++)
		largest = fmaxf(largest, fabsf(row[i]));
	return largest;
}

/* The next number from value up that ends with so many zeros. */
static float
round_up(float value)
{
	const uint32_t rest = (UINT32_C(1) << SPARE_DIGITS) - 1;
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	bits = (bits + rest) & ~rest;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

static void
round_row(float *row, int n)
{
	float scale = round_up(largest_of(row, n) / LARGEST_BYTE);

	if (scale > 0 && isfinite(scale * LARGEST_BYTE))
		for (int i = 0; i < n; i++)
			row[i] = (float) lrintf(row[i] / scale) * scale;
}

/* Writes a row as its bytes; false: they would not give it back. */
static bool
put_row(const float *row, int n, float *scale, int8_t *bytes)
{
	*scale = largest_of(row, n) / LARGEST_BYTE;
	if (!isfinite(*scale))
		return false;
	for (int i = 0; i < n; i++)
	{
		float byte = *scale > 0 ? nearbyintf(row[i] / *scale) : 0;
		float again = byte * *scale;

		if (memcmp(&again, &row[i], sizeof(float)) != 0)
			return false;
		bytes[i] = (int8_t) byte;
	}
	return true;
}

/* ---- an image's tensors, one after the other ---- */

/* Reads a short form or writes one, as far as it has room. */
typedef struct Place
{
	char *at;
	size_t left;
} Place;

static char *
take(Place *place, size_t size)
{
	char *at = place->at;

	if (size > place->left)
		return NULL;
	place->at += size;
	place->left -= size;
	return at;
}

static size_t
tensor_bytes(const BrModelTensor *tensor)
{
	size_t rows = (size_t) tensor->rows;

	return tensor->columns == 0 ? rows * sizeof(float)
								: rows * (sizeof(float) + (size_t) tensor->columns);
}

static bool
put_tensor(const BrModelTensor *tensor, const float *values, Place *place)
{
	char *at = take(place, tensor_bytes(tensor));

	if (tensor->columns == 0)
	{
		memcpy(at, values, tensor_bytes(tensor));
		return true;
	}
	for (int row = 0; row < tensor->rows; row++)
	{
		float scale;

		if (!put_row(values, tensor->columns, &scale, (int8_t *) at + sizeof(float)))
			return false;
		memcpy(at, &scale, sizeof(float));
		at += sizeof(float) + (size_t) tensor->columns;
		values += tensor->columns;
	}
	return true;
}

/* false: there are not as many bytes, or a scale that is none */
static bool
get_tensor(const BrModelTensor *tensor, Place *place, float *values)
{
	const char *at = take(place, tensor_bytes(tensor));

	if (at == NULL)
		return false;
	if (tensor->columns == 0)
	{
		memcpy(values, at, tensor_bytes(tensor));
		return true;
	}
	for (int row = 0; row < tensor->rows; row++)
	{
		const int8_t *bytes = (const int8_t *) at + sizeof(float);
		float scale;

		memcpy(&scale, at, sizeof(float));
		if (!isfinite(scale))
			return false;
		for (int i = 0; i < tensor->columns; i++)
			values[i] = (float) bytes[i] * scale;
		at += sizeof(float) + (size_t) tensor->columns;
		values += tensor->columns;
	}
	return true;
}

static size_t
short_size(const BrEncoder *encoder, size_t before)
{
	size_t size = sizeof(ShortHeader) + before;
	BrModelTensor tensor;

	for (int i = 0; br_encoder_tensor(encoder, i, &tensor); i++)
		size += tensor_bytes(&tensor);
	return size;
}

static size_t
bytes_before_weights(const void *image)
{
	return (size_t) ((const BrImageHeader *) image)->parts[BR_PART_WEIGHTS].offset;
}

static float *
weights_of(void *image)
{
	return (float *) ((char *) image + bytes_before_weights(image));
}

/* ---- the door ---- */

BrStatus
br_encoder_round_weights(BrContext *context, const void *image, size_t image_size, void **copy)
{
	BrEncoder *encoder;
	BrModelTensor tensor;
	BrStatus status = br_encoder_open(context, image, image_size, &encoder);
	float *weights;

	*copy = NULL;
	if (status != BR_OK)
		return status;
	status = br_encoder_refuse_addition(context, image);
	if (status == BR_OK)
		status =
			br_encoder_with_weights(context, image, image_size, br_encoder_weights(encoder), copy);
	if (status == BR_OK)
	{
		weights = weights_of(*copy);
		for (int i = 0; br_encoder_tensor(encoder, i, &tensor); i++)
			for (int row = 0; tensor.columns > 0 && row < tensor.rows; row++)
				round_row(weights + tensor.offset + (size_t) row * (size_t) tensor.columns,
						  tensor.columns);
	}
	br_encoder_close(encoder);
	return status;
}

/* false: the image has no short form */
static bool
write_short(const BrEncoder *encoder, const void *image, size_t image_size, Place place)
{
	const float *weights = br_encoder_weights(encoder);
	size_t before = bytes_before_weights(image);
	ShortHeader header = {.version = SHORT_VERSION,
						  .byte_order = SHORT_BYTE_ORDER,
						  .image_size = image_size,
						  .before = before};
	BrModelTensor tensor;

	memcpy(header.magic, SHORT_MAGIC, sizeof(header.magic));
	memcpy(take(&place, sizeof(header)), &header, sizeof(header));
	memcpy(take(&place, before), image, before);
	for (int i = 0; br_encoder_tensor(encoder, i, &tensor); i++)
		if (!put_tensor(&tensor, weights + tensor.offset, &place))
			return false;
	return true;
}

BrStatus
br_encoder_shorten(BrContext *context, const void *image, size_t image_size, void **shortened,
				   size_t *size)
{
	BrEncoder *encoder;
	BrStatus status = br_encoder_open(context, image, image_size, &encoder);

	*shortened = NULL;
	*size = 0;
	if (status != BR_OK)
		return status;
	if (br_encoder_addition(encoder).kind == BR_ADDITION_NONE)
	{
		size_t needed = short_size(encoder, bytes_before_weights(image));

		*shortened = br_base_alloc(context, needed);
		if (*shortened == NULL)
			status = BR_ERR_MEMORY;
		else if (write_short(encoder, image, image_size, (Place){*shortened, needed}))
			*size = needed;
		else
		{
			br_base_free(context, *shortened);
			*shortened = NULL;
		}
	}
	br_encoder_close(encoder);
	return status;
}

static BrStatus
damaged(BrContext *context, const char *what)
{
	return br_base_fail(context, BR_ERR_FORMAT, "The short form of an image is damaged: %s.", what);
}

/* Of an image that has all but its weights, which are 0. */
static BrStatus
fill_weights(BrContext *context, void *image, size_t image_size, Place place)
{
	BrEncoder *encoder;
	BrModelTensor tensor;
	BrStatus status = br_encoder_open(context, image, image_size, &encoder);
	float *weights;
	bool complete = true;

	if (status != BR_OK)
		return status;
	weights = weights_of(image);
	for (int i = 0; complete && br_encoder_tensor(encoder, i, &tensor); i++)
		complete = get_tensor(&tensor, &place, weights + tensor.offset);
	br_encoder_close(encoder);
	return complete && place.left == 0
		? BR_OK
		: damaged(context, "its weights are not as many as the model has, or not finite");
}

BrStatus
br_encoder_restore(BrContext *context, const void *shortened, size_t size, void *image,
				   size_t image_size)
{
	ShortHeader header;

	if (size < sizeof(header))
		return damaged(context, "it has no header");
	memcpy(&header, shortened, sizeof(header));
	if (memcmp(header.magic, SHORT_MAGIC, sizeof(header.magic)) != 0 ||
		header.byte_order != SHORT_BYTE_ORDER)
		return damaged(context, "it does not begin with its header");
	if (header.version != SHORT_VERSION)
		return br_base_fail(context, BR_ERR_FORMAT,
							"The short form of an image has version %u, this library reads version %d.",
							header.version, SHORT_VERSION);
	if (header.image_size != image_size || header.before > size - sizeof(header) ||
		header.before > image_size)
		return damaged(context, "it is of an image of another size");
	memset(image, 0, image_size);
	memcpy(image, (const char *) shortened + sizeof(header), (size_t) header.before);
	return fill_weights(context, image, image_size,
						(Place){(char *) shortened + sizeof(header) + header.before,
								size - sizeof(header) - (size_t) header.before});
}
