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

#include "core/encoder/encoder_int.h"

/* All that an import has open. */
typedef struct Import
{
	BrContext *context;
	BrFolder folder;
	BrImageConfig config;
	BrTokenizerImport tokenizer;
	BrTensorFile weights;
	char *weights_path;
	char **added_text;	  /* (n_added): what is matched, normalised where it must be */
	uint32_t *added_size; /* (n_added) */
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

/* ---- added tokens ---- */

/* What the text is searched for: the token as written, or normalised as the text will be. */
static BrStatus
prepare_added(Import *import)
{
	BrContext *context = import->context;
	const BrImageConfig *config = &import->config;
	const BrTokenizerKind *kind = br_encoder_tokenizer_kind(config->tokenizer);
	BrTokenWork work = {.context = context};
	BrStatus status = BR_OK;

	import->added_text = br_base_alloc_array(context, (size_t) config->n_added + 1, sizeof(char *));
	import->added_size =
		br_base_alloc_array(context, (size_t) config->n_added + 1, sizeof(uint32_t));
	if (import->added_text == NULL || import->added_size == NULL)
		return BR_ERR_MEMORY;

	for (uint32_t i = 0; i < config->n_added && status == BR_OK; i++)
	{
		const BrImportAdded *added = &import->tokenizer.added[i];

		work.text_size = 0;
		if (added->flags & BR_ADDED_NORMALIZED)
			status = kind->normalize(config, &work, added->text, strlen(added->text));
		else
			status = br_encoder_append_text(&work, added->text, strlen(added->text));
		if (status == BR_OK)
			import->added_text[i] = br_base_alloc(context, work.text_size);
		if (status == BR_OK && import->added_text[i] == NULL)
			status = BR_ERR_MEMORY;
		if (status != BR_OK)
			break;
		if (work.text_size > 0)
			memcpy(import->added_text[i], work.text, work.text_size);
		import->added_size[i] = (uint32_t) work.text_size;
	}
	br_encoder_close_work(&work);
	return status;
}

/* A token that normalising leaves nothing of can never match. */
static void
drop_empty_added(Import *import)
{
	BrImageConfig *config = &import->config;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < config->n_added; i++)
	{
		if (import->added_size[i] == 0)
		{
			br_base_free(import->context, import->added_text[i]);
			import->added_text[i] = NULL;
			continue;
		}
		if (kept != i)
		{
			import->tokenizer.added[kept] = import->tokenizer.added[i];
			import->added_size[kept] = import->added_size[i];
			import->added_text[kept] = import->added_text[i];
			import->added_text[i] = NULL;
		}
		kept++;
	}
	config->n_added = kept;
}

/* Longest first, so that the first match is the longest; equal ones in their order. */
static int
by_size(const void *left, const void *right)
{
	const BrImageAdded *a = left;
	const BrImageAdded *b = right;

	if (a->size != b->size)
		return a->size > b->size ? -1 : 1;
	return (a->offset > b->offset) - (a->offset < b->offset);
}

/* ---- writing ---- */

static void *
part_for_writing(void *image, BrImagePart part)
{
	return (char *) image + ((BrImageHeader *) image)->parts[part].offset;
}

/* Enters a token into the hash table; an equal one that is there gives way. */
static void
enter_token(const BrImageConfig *config, const BrImageToken *tokens, uint32_t *slots,
			const char *text, uint32_t number)
{
	uint32_t mask = config->n_slots - 1;
	uint32_t slot = tokens[number].hash & mask;

	while (slots[slot] != 0)
	{
		const BrImageToken *other = &tokens[slots[slot] - 1];

		if (other->hash == tokens[number].hash && other->size == tokens[number].size &&
			memcmp(text + other->offset, text + tokens[number].offset, other->size) == 0)
			break;
		slot = (slot + 1) & mask;
	}
	slots[slot] = number + 1;
}

static void
write_tokenizer(const Import *import, void *image)
{
	const BrImageConfig *config = &import->config;
	const BrTokenizerImport *source = &import->tokenizer;
	BrImageToken *tokens = part_for_writing(image, BR_PART_VOCABULARY);
	BrImageAdded *added = part_for_writing(image, BR_PART_ADDED);
	uint32_t *slots = part_for_writing(image, BR_PART_SLOTS);
	char *text = part_for_writing(image, BR_PART_TEXT);
	uint32_t at = 0;

	for (uint32_t i = 0; i < config->n_tokens; i++)
	{
		const BrImportToken *token = &source->tokens[i];
		uint32_t hash = BR_HASH_SEED;

		for (uint32_t j = 0; j < token->size; j++)
			hash = br_encoder_hash_byte(hash, (unsigned char) token->text[j]);
		memcpy(text + at, token->text, token->size);
		tokens[i] = (BrImageToken){at, token->size, hash, token->id};
		enter_token(config, tokens, slots, text, i);
		at += token->size;
	}
	for (uint32_t i = 0; i < config->n_added; i++)
	{
		memcpy(text + at, import->added_text[i], import->added_size[i]);
		added[i] =
			(BrImageAdded){at, import->added_size[i], source->added[i].id, source->added[i].flags};
		at += import->added_size[i];
	}
	qsort(added, config->n_added, sizeof(BrImageAdded), by_size);
	if (config->n_before + config->n_after > 0)
		memcpy(part_for_writing(image, BR_PART_TEMPLATE), source->template,
			   (config->n_before + config->n_after) * sizeof(int32_t));
}

static uint64_t
text_size(const Import *import)
{
	uint64_t size = 0;

	for (uint32_t i = 0; i < import->config.n_tokens; i++)
		size += import->tokenizer.tokens[i].size;
	for (uint32_t i = 0; i < import->config.n_added; i++)
		size += import->added_size[i];
	return size;
}

static BrStatus
write_image(Import *import, void **image, size_t *image_size)
{
	BrImageConfig *config = &import->config;
	BrImageHeader header;
	BrWeightMap map;
	BrStatus status;

	config->n_slots = 2;
	while (config->n_slots < 2 * config->n_tokens)
		config->n_slots *= 2;
	br_encoder_map_weights(config, &map);
	status = read_weights(import, &map, NULL);
	if (status != BR_OK)
		return status;
	if (text_size(import) > UINT32_MAX ||
		!br_encoder_plan_image(config, (size_t) text_size(import), &header))
		return br_base_fail(import->context, BR_ERR_LIMIT, "The model is too large for an image.");

	*image = br_base_alloc(import->context, (size_t) header.size);
	if (*image == NULL)
		return BR_ERR_MEMORY;
	*image_size = (size_t) header.size;
	memset(*image, 0, *image_size);
	memcpy(*image, &header, sizeof(header));
	write_tokenizer(import, *image);
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
		status = prepare_added(import);
	if (status != BR_OK)
		return status;
	drop_empty_added(import);

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

	for (uint32_t i = 0; import->added_text != NULL && i < import->config.n_added; i++)
		br_base_free(context, import->added_text[i]);
	br_base_free(context, import->added_text);
	br_base_free(context, import->added_size);
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
