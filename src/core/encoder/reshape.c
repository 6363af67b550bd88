/*
 * reshape.c
 *	  A copy of an image whose transformer has fewer layers, heads or neurons.
 *
 * Only the configuration and the weights, the last part of an image, differ:
 * the tokenizer is copied as it stands. What the weights of the smaller model
 * are is the caller's business.
 */
#include <math.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

/* The configuration with other sizes; heads keep their dimension. */
static BrImageConfig
resize(const BrImageConfig *config, int layers, int heads, int intermediate)
{
	BrImageConfig resized = *config;
	uint32_t head_dim = br_encoder_attended(config) / config->heads;
	uint32_t attended = head_dim * (uint32_t) heads;

	resized.layers = (uint32_t) layers;
	resized.heads = (uint32_t) heads;
	resized.intermediate = (uint32_t) intermediate;
	resized.attended = attended == config->hidden ? 0 : attended;
	return resized;
}

/* Weights that are there, not what stands between them. */
static uint64_t
count_parameters(const BrImageConfig *config)
{
	const BrArchitecture *architecture = br_encoder_architecture(config->architecture);
	uint64_t hidden = config->hidden;
	uint64_t attended = br_encoder_attended(config);
	uint64_t intermediate = config->intermediate;
	uint64_t of_layer = 3 * attended * (hidden + 1) + hidden * (attended + 1) +
		intermediate * (hidden + 1) + hidden * (intermediate + 1) + 4 * hidden;
	uint64_t relative = architecture->relative != NULL ? BR_RELATIVE_BUCKETS * config->heads : 0;

	return config->layers * of_layer + relative;
}

BrStatus
br_encoder_reshape(const BrEncoder *encoder, BrContext *context, int layers, int heads,
				   int intermediate, BrModelShape *shape)
{
	const BrImageConfig *config = br_encoder_config(encoder);
	BrImageConfig resized;

	if (layers < 1 || layers > (int) config->layers || heads < 1 || heads > (int) config->heads ||
		intermediate < 1 || intermediate > (int) config->intermediate)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A model of %u layers, %u heads and %u neurons in a layer cannot get %d, %d and %d.",
							config->layers, config->heads, config->intermediate, layers, heads,
							intermediate);
	resized = resize(config, layers, heads, intermediate);
	br_encoder_tell_shape(encoder, shape);
	shape->layers = layers;
	shape->heads = heads;
	shape->attended = (int) br_encoder_attended(&resized);
	shape->intermediate = intermediate;
	br_encoder_map_weights(&resized, &shape->map);
	return BR_OK;
}

BrStatus
br_encoder_with_shape(BrContext *context, const void *image, size_t image_size,
					  const BrModelShape *shape, const float *weights, void **copy,
					  size_t *copy_size)
{
	BrStatus status = br_encoder_check_image(context, image, image_size);
	const BrImageHeader *header = image;
	const BrImageConfig *config;
	BrImageConfig resized;
	BrImageHeader planned;

	*copy = NULL;
	*copy_size = 0;
	if (status == BR_OK)
		status = br_encoder_refuse_addition(context, image);
	if (status != BR_OK)
		return status;
	for (size_t i = 0; i < shape->map.total; i++)
		if (!isfinite(weights[i]))
			return br_base_fail(context, BR_ERR_NUMERIC, "Weight %zu of %zu is not finite.", i,
								shape->map.total);
	config = br_encoder_part(image, BR_PART_CONFIG);
	resized = resize(config, shape->layers, shape->heads, shape->intermediate);
	resized.parameters += count_parameters(&resized) - count_parameters(config);
	if (!br_encoder_plan_image(&resized, (size_t) header->parts[BR_PART_TEXT].size, &planned) ||
		planned.parts[BR_PART_WEIGHTS].size != shape->map.total * sizeof(float))
		return br_base_fail(context, BR_ERR_ARGUMENT, "The shape is not one of this image.");

	*copy = br_base_alloc(context, (size_t) planned.size);
	if (*copy == NULL)
		return BR_ERR_MEMORY;
	*copy_size = (size_t) planned.size;
	memcpy(*copy, image, (size_t) planned.parts[BR_PART_WEIGHTS].offset);
	memcpy(*copy, &planned, sizeof(planned));
	memcpy((char *) *copy + planned.parts[BR_PART_CONFIG].offset, &resized, sizeof(resized));
	memcpy((char *) *copy + planned.parts[BR_PART_WEIGHTS].offset, weights,
		   (size_t) planned.parts[BR_PART_WEIGHTS].size);
	return BR_OK;
}
