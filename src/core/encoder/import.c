/*
 * import.c
 *	  From the files of a model folder to an image.
 *
 * Everything is read and checked, shapes of all tensors included, before the
 * image is allocated, so that a configuration that promises too much fails
 * with the tensor's name and not for want of memory.
 */
#include <stdlib.h>
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* All that an import has open. */
typedef struct Import
{
	BrContext *context;
	BrFolder folder;
	BrImageConfig config;
	BrTokenizerImport tokenizer;
	BrTensorFile weights;
	char *weights_path;
	BrAddedTexts added;
} Import;

/* Opens the safetensors file at path, which the folder must have. */
static BrStatus
open_tensors(BrContext *context, const BrFolder *folder, const char *path, BrTensorFile *file)
{
	const BrModelFile *source = br_encoder_find_file(folder, path);

	if (source == NULL)
		return br_base_fail(context, BR_ERR_FORMAT,
							"The model lacks the file \"%s\"; weights in another format must be converted to safetensors.",
							path);
	return br_encoder_tensors_open(context, path, source->data, source->size, file);
}

static BrStatus
read_config(Import *import)
{
	BrContext *context = import->context;
	char *path = br_encoder_join(context, import->folder.transformer, "config.json");
	cJSON *json = NULL;
	BrStatus status;

	if (path == NULL)
		return BR_ERR_MEMORY;
	status = br_encoder_open_json(context, &import->folder, path, true, &json);
	if (status == BR_OK)
		status = br_encoder_read_config(context, path, json, &import->config);
	cJSON_Delete(json);
	br_base_free(context, path);
	return status;
}

/* A dense step's matrix and bias; values NULL: look only. */
static BrStatus
read_step(Import *import, const BrWeightMap *map, uint32_t number, float *values)
{
	BrContext *context = import->context;
	const BrImageStep *step = &import->config.steps[number];
	BrTensorFile file = {.path = NULL};
	BrStatus status =
		open_tensors(context, &import->folder, import->folder.step_path[number], &file);

	if (status == BR_OK)
		status =
			br_encoder_tensor_read(context, &file, "linear.weight", step->out_dim, step->in_dim,
								   values ? values + map->step_weight[number] : NULL);
	if (status == BR_OK && step->has_bias)
		status = br_encoder_tensor_read(context, &file, "linear.bias", step->out_dim, 0,
										values ? values + map->step_bias[number] : NULL);
	br_encoder_tensors_close(context, &file);
	return status;
}

/* All weights into their places; values NULL: only look whether they are there. */
static BrStatus
read_weights(Import *import, const BrWeightMap *map, float *values)
{
	BrImageConfig *config = &import->config;
	BrStatus status = br_encoder_read_weights(import->context, &import->weights, config, map,
											  values, &config->parameters);

	for (uint32_t i = 0; i < config->n_steps && status == BR_OK; i++)
	{
		const BrImageStep *step = &config->steps[i];

		if (step->kind != BR_STEP_DENSE)
			continue;
		status = read_step(import, map, i, values);
		config->parameters += (uint64_t) step->out_dim * (step->in_dim + step->has_bias);
	}
	return status;
}

/* ---- writing ---- */

static void *
part_for_writing(void *image, BrImagePart part)
{
	return (char *) image + ((BrImageHeader *) image)->parts[part].offset;
}

static BrStatus
write_image(Import *import, void **image, size_t *image_size)
{
	BrImageConfig *config = &import->config;
	BrImageHeader header;
	BrWeightMap map;
	uint64_t text_size;
	BrStatus status = br_encoder_plan_tokenizer(import->context, config, &import->tokenizer,
												&import->added, &text_size);

	if (status != BR_OK)
		return status;
	br_encoder_map_weights(config, &map);
	status = read_weights(import, &map, NULL);
	if (status != BR_OK)
		return status;
	if (text_size > UINT32_MAX || !br_encoder_plan_image(config, (size_t) text_size, &header))
		return br_base_fail(import->context, BR_ERR_LIMIT, "The model is too large for an image.");

	*image = br_base_alloc(import->context, (size_t) header.size);
	if (*image == NULL)
		return BR_ERR_MEMORY;
	*image_size = (size_t) header.size;
	memset(*image, 0, *image_size);
	memcpy(*image, &header, sizeof(header));
	status = br_encoder_write_tokenizer(import->context, config, &import->tokenizer, &import->added,
										*image);
	if (status == BR_OK)
		status = read_weights(import, &map, part_for_writing(*image, BR_PART_WEIGHTS));
	memcpy(part_for_writing(*image, BR_PART_CONFIG), config, sizeof(*config));
	if (status == BR_OK)
		status = br_encoder_check_image(import->context, *image, *image_size);
	return status;
}

static BrStatus
read_folder(Import *import)
{
	BrContext *context = import->context;
	BrStatus status = br_encoder_read_modules(context, &import->folder);

	if (status == BR_OK)
		status = read_config(import);
	if (status == BR_OK)
		status = br_encoder_read_chain(context, &import->folder, &import->config);
	if (status == BR_OK)
		status = br_encoder_read_tokenizer(context, &import->folder, &import->config,
										   &import->tokenizer);
	if (status == BR_OK)
		status = br_encoder_read_limits(context, &import->folder, import->tokenizer.config,
										&import->config);
	if (status == BR_OK)
		status =
			br_encoder_prepare_added(context, &import->config, &import->tokenizer, &import->added);
	if (status != BR_OK)
		return status;

	import->weights_path =
		br_encoder_join(context, import->folder.transformer, "model.safetensors");
	if (import->weights_path == NULL)
		return BR_ERR_MEMORY;
	return open_tensors(context, &import->folder, import->weights_path, &import->weights);
}

static void
close_import(Import *import)
{
	BrContext *context = import->context;

	br_encoder_close_added(context, &import->config, &import->added);
	br_base_free(context, import->weights_path);
	br_encoder_tensors_close(context, &import->weights);
	br_encoder_close_tokenizer(context, &import->tokenizer);
	br_encoder_close_folder(context, &import->folder);
}

BrStatus
br_encoder_import(BrContext *context, const BrModelFile *files, int n_files, void **image,
				  size_t *image_size)
{
	Import import = {.context = context, .folder = {.files = files, .n = n_files}};
	BrStatus status;

	*image = NULL;
	*image_size = 0;
	status = read_folder(&import);
	if (status == BR_OK)
		status = write_image(&import, image, image_size);
	close_import(&import);
	if (status != BR_OK)
	{
		br_base_free(context, *image);
		*image = NULL;
		*image_size = 0;
	}
	return status;
}
