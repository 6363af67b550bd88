/*
 * addition.c
 *	  What an image carries behind its weights: bottlenecks or prefixes.
 *
 * A header says which and how large, and the numbers follow layer by layer, each
 * tensor at a multiple of 64 bytes. Where each stands follows from the
 * header and the configuration. An image without an addition ends with its
 * weights, as images always have.
 *
 * Bottlenecks are two more dense layers. A prefix is computed by showing attention
 * a text with so many rows more in front, which have its keys and values; what
 * those rows attend to is not used. So no backend knows of either, and both are
 * computed in f32 whatever the precision of the rest.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

#define ADDITION_MAGIC "BRADDED"

/* Tensors of a layer. */
#define BOTTLENECK_TENSORS 8 /* of either half: weight and bias of down and up */
#define PREFIX_TENSORS 2	 /* keys and values */

typedef struct ImageAddition
{
	char magic[8];
	uint32_t kind; /* BrAdditionKind */
	uint32_t size;
	uint64_t reserved[6];
} ImageAddition;

/* ---- the layout ---- */

static int
tensors_of_layer(BrAddition addition)
{
	return addition.kind == BR_ADDITION_BOTTLENECK ? BOTTLENECK_TENSORS : PREFIX_TENSORS;
}

/* Rows and columns of a layer's tensor; columns 0: a vector. */
static void
tell_tensor(BrAddition addition, const BrImageConfig *config, int number, int *rows, int *columns)
{
	int hidden = (int) config->hidden;

	if (addition.kind == BR_ADDITION_PREFIX)
	{
		*rows = addition.size;
		*columns = (int) br_encoder_attended(config);
		return;
	}
	*rows = number % 4 < 2 ? addition.size : hidden;
	*columns = number % 2 == 1 ? 0 : number % 4 < 2 ? hidden : addition.size;
}

static size_t
tensor_size(BrAddition addition, const BrImageConfig *config, int number)
{
	int rows;
	int columns;

	tell_tensor(addition, config, number, &rows, &columns);
	return (size_t) rows * (size_t) (columns > 0 ? columns : 1);
}

/* Where a layer's tensor begins in the layer; of their number: how long a layer is. */
static size_t
tensor_place(BrAddition addition, const BrImageConfig *config, int number)
{
	const size_t unit = BR_IMAGE_ALIGNMENT / sizeof(float);
	size_t at = 0;

	for (int i = 0; i < number; i++)
		at += (tensor_size(addition, config, i) + unit - 1) / unit * unit;
	return at;
}

static bool
addition_valid(const BrImageConfig *config, BrAddition addition)
{
	switch (addition.kind)
	{
		case BR_ADDITION_NONE:
			break;
		case BR_ADDITION_BOTTLENECK:
			return addition.size >= 1 && addition.size <= (int) config->hidden;
		case BR_ADDITION_PREFIX:
			return addition.size >= 1 && addition.size <= BR_ENCODER_MOST_PREFIX;
	}
	return false;
}

static size_t
addition_bytes(const BrImageConfig *config, BrAddition addition)
{
	return sizeof(ImageAddition) +
		config->layers * tensor_place(addition, config, tensors_of_layer(addition)) * sizeof(float);
}

static uint64_t
count_added(const BrImageConfig *config, BrAddition addition)
{
	uint64_t n = 0;

	for (int i = 0; addition.kind != BR_ADDITION_NONE && i < tensors_of_layer(addition); i++)
		n += tensor_size(addition, config, i);
	return n * config->layers;
}

/* Where an image ends that has no addition. */
static uint64_t
end_of_weights(const void *image)
{
	const BrImageSpan *weights = &((const BrImageHeader *) image)->parts[BR_PART_WEIGHTS];

	return weights->offset + weights->size;
}

bool
br_encoder_addition_size(const void *image, uint64_t end, uint64_t *size)
{
	const ImageAddition *header = (const ImageAddition *) ((const char *) image + end);
	const BrImageConfig *config = br_encoder_part(image, BR_PART_CONFIG);
	BrAddition addition;

	if (*size - end < sizeof(ImageAddition) || end % BR_IMAGE_ALIGNMENT != 0 ||
		memcmp(header->magic, ADDITION_MAGIC, sizeof(header->magic)) != 0 ||
		header->size > INT32_MAX)
		return false;
	addition = (BrAddition){(BrAdditionKind) header->kind, (int) header->size};
	if (!addition_valid(config, addition))
		return false;
	*size = end + addition_bytes(config, addition);
	return true;
}

BrAddition
br_encoder_open_addition(const void *image, const float **values)
{
	uint64_t end = end_of_weights(image);
	const ImageAddition *header = (const ImageAddition *) ((const char *) image + end);

	*values = NULL;
	if (((const BrImageHeader *) image)->size == end)
		return (BrAddition){BR_ADDITION_NONE, 0};
	*values = (const float *) (header + 1);
	return (BrAddition){(BrAdditionKind) header->kind, (int) header->size};
}

BrStatus
br_encoder_refuse_addition(BrContext *context, const void *image)
{
	const float *values;

	if (br_encoder_open_addition(image, &values).kind == BR_ADDITION_NONE)
		return BR_OK;
	return br_base_fail(
		context, BR_ERR_UNSUPPORTED,
		"The model has an addition of an earlier training; make the model smaller that it was added to.");
}

/* ---- names ---- */

bool
br_encoder_added_tensor(const BrEncoder *encoder, BrAddition addition, int number,
						BrModelTensor *tensor)
{
	static const char *const parts[BOTTLENECK_TENSORS / 2] = {"down.weight", "down.bias",
															  "up.weight", "up.bias"};
	const BrImageConfig *config = br_encoder_config(encoder);
	const BrArchitecture *names = br_encoder_architecture(config->architecture);
	int n = tensors_of_layer(addition);
	int layer;
	int part;

	if (!addition_valid(config, addition) || number / n >= (int) config->layers)
		return false;
	layer = number / n;
	part = number % n;
	*tensor = (BrModelTensor){.kind = BR_TENSOR_MATRIX};
	tell_tensor(addition, config, part, &tensor->rows, &tensor->columns);
	tensor->offset =
		(size_t) layer * tensor_place(addition, config, n) + tensor_place(addition, config, part);
	if (addition.kind == BR_ADDITION_PREFIX)
	{
		tensor->kind = BR_TENSOR_TABLE;
		snprintf(tensor->name, sizeof(tensor->name), "%s.%d.%s.prefix.weight", names->layer, layer,
				 part == 0 ? names->key : names->value);
		return true;
	}
	if (tensor->columns == 0)
		tensor->kind = BR_TENSOR_BIAS;
	snprintf(tensor->name, sizeof(tensor->name), "%s.%d.%s.adapter_%s", names->layer, layer,
			 part < 4 ? names->output : names->down, parts[part % 4]);
	return true;
}

/* ---- an image with an addition ---- */

/* Of an addition's tensor, from those of the caller. */
static BrStatus
put_tensor(BrContext *context, const BrModelTensor *tensor, const BrNamedTensor *given, int n_given,
		   float *values)
{
	size_t n = (size_t) tensor->rows * (size_t) (tensor->columns > 0 ? tensor->columns : 1);
	int i = 0;

	while (i < n_given && strcmp(given[i].name, tensor->name) != 0)
		i++;
	if (i == n_given)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The addition lacks the tensor \"%s\".",
							tensor->name);
	if (given[i].rows != tensor->rows || given[i].columns != tensor->columns)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The tensor \"%s\" has %d rows and %d columns, not %d and %d.",
							tensor->name, given[i].rows, given[i].columns, tensor->rows,
							tensor->columns);
	for (size_t j = 0; j < n; j++)
		if (!isfinite(given[i].values[j]))
			return br_base_fail(context, BR_ERR_NUMERIC,
								"The tensor \"%s\" has a value that is not finite.", tensor->name);
	memcpy(values + tensor->offset, given[i].values, n * sizeof(float));
	return BR_OK;
}

/* copy: the image's beginning, and behind it room for the addition, which is 0. */
static BrStatus
fill_copy(BrContext *context, const BrEncoder *encoder, const float *weights, BrAddition addition,
		  const BrNamedTensor *tensors, int n_tensors, void *copy, size_t size)
{
	BrImageHeader *header = copy;
	BrImageConfig *config =
		(BrImageConfig *) ((char *) copy + header->parts[BR_PART_CONFIG].offset);
	ImageAddition *added = (ImageAddition *) ((char *) copy + end_of_weights(copy));
	BrStatus status = br_encoder_put_weights(context, copy, weights);
	BrModelTensor tensor;

	config->parameters -= count_added(config, br_encoder_addition(encoder));
	config->parameters += count_added(config, addition);
	header->size = size;
	memcpy(added->magic, ADDITION_MAGIC, sizeof(added->magic));
	added->kind = addition.kind;
	added->size = (uint32_t) addition.size;
	for (int i = 0; status == BR_OK && br_encoder_added_tensor(encoder, addition, i, &tensor); i++)
		status = put_tensor(context, &tensor, tensors, n_tensors, (float *) (added + 1));
	return status;
}

BrStatus
br_encoder_with_addition(BrContext *context, const void *image, size_t image_size,
						 const float *weights, BrAddition addition, const BrNamedTensor *tensors,
						 int n_tensors, void **copy, size_t *copy_size)
{
	const BrImageConfig *config;
	BrEncoder *encoder;
	size_t end;
	int hidden;
	BrStatus status = br_encoder_open(context, image, image_size, &encoder);

	*copy = NULL;
	*copy_size = 0;
	if (status != BR_OK)
		return status;
	config = br_encoder_config(encoder);
	end = (size_t) end_of_weights(image);
	hidden = (int) config->hidden;
	if (!addition_valid(config, addition))
	{
		br_encoder_close(encoder);
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"An addition of kind %d and size %d; a bottleneck has 1 to %d, a prefix 1 to %d.",
							(int) addition.kind, addition.size, hidden, BR_ENCODER_MOST_PREFIX);
	}
	*copy_size = end + addition_bytes(config, addition);
	*copy = br_base_alloc(context, *copy_size);
	status = *copy == NULL ? BR_ERR_MEMORY : BR_OK;
	if (status == BR_OK)
	{
		memcpy(*copy, image, end);
		memset((char *) *copy + end, 0, *copy_size - end);
		status =
			fill_copy(context, encoder, weights, addition, tensors, n_tensors, *copy, *copy_size);
	}
	if (status != BR_OK)
	{
		br_base_free(context, *copy);
		*copy = NULL;
		*copy_size = 0;
	}
	br_encoder_close(encoder);
	return status;
}

/* ---- computing with it ---- */

/* A tensor of a layer. */
static const float *
added_at(const BrEncoder *encoder, uint32_t layer, int number)
{
	BrAddition addition = br_encoder_addition(encoder);
	const BrImageConfig *config = br_encoder_config(encoder);

	return br_encoder_added(encoder) +
		layer * tensor_place(addition, config, tensors_of_layer(addition)) +
		tensor_place(addition, config, number);
}

void
br_encoder_adapt(const BrEncoder *encoder, const BrBackend *backend, uint32_t layer, int half,
				 int rows, float *narrow, float *wide, float *values)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	int hidden = (int) config->hidden;
	int size = br_encoder_addition(encoder).size;
	int first = 4 * half;

	backend->linear(values, added_at(encoder, layer, first), added_at(encoder, layer, first + 1),
					rows, hidden, size, (BrActivation) config->activation, narrow);
	backend->linear(narrow, added_at(encoder, layer, first + 2),
					added_at(encoder, layer, first + 3), rows, size, hidden, BR_ACTIVATION_NONE,
					wide);
	for (size_t i = 0; i < (size_t) rows * (size_t) hidden; i++)
		values[i] += wide[i];
}

/* Some columns of so many rows. */
static void
copy_columns(const float *from, int from_stride, int rows, int first, int last, int to_stride,
			 float *to)
{
	for (size_t row = 0; row < (size_t) rows; row++)
		memcpy(to + row * (size_t) to_stride + first, from + row * (size_t) from_stride + first,
			   (size_t) (last - first) * sizeof(float));
}

void
br_encoder_attend_with_prefix(const BrEncoder *encoder, const BrBackend *backend, uint32_t layer,
							  const float *qkv, int tokens, int first_head, int last_head,
							  const float *relative, int reach, float *scratch, float *room,
							  float *attended)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	int width = (int) br_encoder_attended(config);
	int dim = width / (int) config->heads;
	int length = br_encoder_addition(encoder).size;
	int first = first_head * dim;
	int last = last_head * dim;
	const int32_t offsets[2] = {0, length + tokens};
	float *longer = room;
	float *text = longer + 3 * (size_t) length * (size_t) width;
	float *output = longer + 3 * (size_t) reach * (size_t) width;

	/* rows of the prefix ask for nothing */
	for (size_t row = 0; row < (size_t) length; row++)
		memset(longer + 3 * row * (size_t) width + first, 0,
			   (size_t) (last - first) * sizeof(float));
	for (int part = 0; part < PREFIX_TENSORS; part++)
		copy_columns(added_at(encoder, layer, part), width, length, first, last, 3 * width,
					 longer + (part + 1) * width);
	for (int third = 0; third < 3; third++)
		copy_columns(qkv + third * width, 3 * width, tokens, first, last, 3 * width,
					 text + third * width);
	backend->attention(longer, offsets, 1, (int) config->heads, dim, first_head, last_head,
					   relative, reach, scratch, output);
	copy_columns(output + (size_t) length * (size_t) width, width, tokens, first, last, width,
				 attended);
}
