/*
 * models.c
 *	  Models by the files that they are in, the one used last first.
 *
 * Files are mapped for reading: the page cache has them for the sessions that
 * compute themselves anyway. What is in them is checked as a session checks it,
 * and the sizes before that: a mapping that is longer than its file ends the
 * process when it is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper/helper_int.h"

/* ---- files ---- */

static void
unmap(BrHelperMapping *mapping)
{
	if (mapping->bytes != NULL)
		munmap((void *) mapping->bytes, mapping->size);
	*mapping = (BrHelperMapping){0};
}

static BrStatus
map(BrContext *context, const BrExchangeFile *file, BrHelperMapping *mapping)
{
	struct stat status;
	void *bytes = MAP_FAILED;
	int descriptor = open(file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	BrStatus result = BR_OK;

	*mapping = (BrHelperMapping){0};
	if (descriptor < 0)
		return br_base_fail(context, BR_ERR_FORMAT, "Could not open file \"%.200s\": %s.",
							file->path, strerror(errno));
	if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode))
		result =
			br_base_fail(context, BR_ERR_FORMAT, "\"%.200s\" is not a regular file.", file->path);
	else if (file->size > (uint64_t) status.st_size ||
			 file->offset > (uint64_t) status.st_size - file->size)
		result = br_base_fail(context, BR_ERR_FORMAT,
							  "File \"%.200s\" has %lld bytes, it must have %llu from %llu on.",
							  file->path, (long long) status.st_size,
							  (unsigned long long) file->size, (unsigned long long) file->offset);
	else
	{
		bytes = mmap(NULL, file->size, PROT_READ, MAP_SHARED, descriptor, (off_t) file->offset);
		if (bytes == MAP_FAILED)
			result = br_base_fail(context, BR_ERR_MEMORY, "Could not map file \"%.200s\": %s.",
								  file->path, strerror(errno));
		else
			*mapping = (BrHelperMapping){bytes, file->size};
	}
	close(descriptor);
	return result;
}

/* ---- loading and unloading ---- */

static void
close_files(BrHelperModel *model)
{
	br_encoder_close(model->encoder);
	model->encoder = NULL;
	unmap(&model->image);
	unmap(&model->weights);
}

static void
free_model(BrHelperModels *models, BrHelperModel *model)
{
	close_files(model);
	br_base_free(models->context, model);
}

static void
unload(BrHelperModels *models, BrHelperModel **link)
{
	BrHelperModel *model = *link;

	*link = model->next;
	models->bytes -= model->bytes;
	models->n--;
	models->evicted++;
	models->compute->unload(models->compute, model);
	free_model(models, model);
}

bool
br_helper_models_make_room(BrHelperModels *models, const BrHelperModel *but)
{
	BrHelperModel **link = &models->first;
	uint32_t before = models->n;

	while (*link != NULL)
		if (*link == but)
			link = &(*link)->next;
		else
			unload(models, link);
	return models->n < before;
}

/* Unloads those used longest ago until so many bytes more are within the budget, but for one. */
static void
keep_budget(BrHelperModels *models, int64_t bytes, const BrHelperModel *but)
{
	while (models->budget > 0 && models->bytes > models->budget - bytes && models->first != NULL)
	{
		BrHelperModel **last = &models->first;

		while ((*last)->next != NULL)
			last = &(*last)->next;
		if (*last == but)
			return;
		unload(models, last);
	}
}

/* The encoder of a model whose files are named. */
static BrStatus
open_encoder(BrContext *context, BrHelperModel *model)
{
	const BrModelInfo *info;
	BrStatus status = map(context, &model->image_file, &model->image);

	if (status == BR_OK && model->weights_file.size > 0)
		status = map(context, &model->weights_file, &model->weights);
	if (status == BR_OK)
		status = br_encoder_open(context, model->image.bytes, model->image.size, &model->encoder);
	if (status != BR_OK)
		return status;
	info = br_encoder_info(model->encoder);
	model->dimensions = info->dimensions;
	model->max_tokens = info->max_tokens;
	model->vocabulary = info->vocabulary;
	return BR_OK;
}

/* A path is a string, and the rest of its room counts for nothing. */
static BrExchangeFile
copy_file(const BrExchangeFile *file)
{
	BrExchangeFile copy = {.offset = file->offset, .size = file->size};

	memcpy(copy.path, file->path, strlen(file->path));
	return copy;
}

static BrStatus
load(BrHelperModels *models, const BrExchangeRequest *request)
{
	BrContext *context = models->context;
	BrHelperModel *model = br_base_alloc_array(context, 1, sizeof(*model));
	BrStatus status;

	if (model == NULL)
		return BR_ERR_MEMORY;
	memcpy(model->hash, request->hash, BR_EXCHANGE_HASH);
	model->image_file = copy_file(&request->image);
	if (request->weights.size > 0)
	{
		model->weights_file = copy_file(&request->weights);
		model->precision = (BrPrecision) request->precision;
	}
	status = open_encoder(context, model);
	if (status == BR_OK)
	{
		keep_budget(models, (int64_t) model->image.size, NULL);
		status = models->compute->load(models->compute, context, model);
		if (status == BR_ERR_MEMORY && br_helper_models_make_room(models, NULL))
			status = models->compute->load(models->compute, context, model);
	}
	if (status != BR_OK)
	{
		free_model(models, model);
		return status;
	}
	if (model->loaded != NULL)
		close_files(model);
	model->next = models->first;
	models->first = model;
	models->bytes += model->bytes;
	models->n++;
	keep_budget(models, 0, model);
	return BR_OK;
}

/* ---- the door ---- */

static bool
same_file(const BrExchangeFile *file, const BrExchangeFile *other)
{
	if (file->size != other->size)
		return false;
	return file->size == 0 ||
		(file->offset == other->offset && strcmp(file->path, other->path) == 0);
}

static bool
is_of(const BrHelperModel *model, const BrExchangeRequest *request)
{
	return memcmp(model->hash, request->hash, BR_EXCHANGE_HASH) == 0 &&
		same_file(&model->image_file, &request->image) &&
		same_file(&model->weights_file, &request->weights) &&
		(request->weights.size == 0 || model->precision == (BrPrecision) request->precision);
}

BrStatus
br_helper_models_get(BrHelperModels *models, const BrExchangeRequest *request,
					 BrHelperModel **model)
{
	BrHelperModel **link = &models->first;
	BrStatus status;

	*model = NULL;
	while (*link != NULL && !is_of(*link, request))
		link = &(*link)->next;
	if (*link != NULL)
	{
		BrHelperModel *found = *link;

		*link = found->next;
		found->next = models->first;
		models->first = found;
	}
	else if ((status = load(models, request)) != BR_OK)
		return status;
	*model = models->first;
	return BR_OK;
}
