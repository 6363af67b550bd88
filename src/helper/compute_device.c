/*
 * compute_device.c
 *	  A device as what computes: a shared object that exports BR_DEVICE_SYMBOL.
 */
#include <string.h>

#include "helper/helper_int.h"

static BrStatus
load(BrHelperCompute *compute, BrContext *context, BrHelperModel *model)
{
	BrTransformer *transformer;
	BrStatus status = br_encoder_describe(model->encoder, context, &transformer);

	if (status != BR_OK)
		return status;
	status = compute->table->load(compute->device, context, transformer, &model->loaded);
	br_base_free(context, transformer);
	if (status == BR_OK)
		model->bytes = compute->table->model_bytes(model->loaded);
	return status;
}

static void
unload(BrHelperCompute *compute, BrHelperModel *model)
{
	compute->table->unload(compute->device, model->loaded);
}

static BrStatus
embed(BrHelperCompute *compute, BrContext *context, BrHelperModel *model, const int32_t *ids,
	  const int32_t *offsets, int texts, float *embeddings)
{
	return compute->table->embed(compute->device, context, model->loaded, ids, offsets, texts,
								 embeddings);
}

static BrStatus
place_centroids(BrHelperCompute *compute, BrContext *context, const float *centroids, int lists,
				int dims)
{
	return compute->table->place_centroids(compute->device, context, centroids, lists, dims);
}

static BrStatus
assign(BrHelperCompute *compute, BrContext *context, const float *vectors, int n, int32_t *nearest,
	   float *distances)
{
	return compute->table->assign(compute->device, context, vectors, n, nearest, distances);
}

static void
tell(BrHelperCompute *compute, const BrHelperModel *model, BrDeviceInfo *info)
{
	(void) model;
	memset(info, 0, sizeof(*info));
	compute->table->tell(compute->device, info);
}

/* The table of the device's shared object; NULL with the reason as detail. */
static const BrDeviceTable *
find_table(BrContext *context, const BrHelperTask *task)
{
	void *symbol = br_helper_load_symbol(context, task, task->compute, BR_DEVICE_SYMBOL);
	BrDeviceTableFunction function;
	const BrDeviceTable *table;

	if (symbol == NULL)
		return NULL;
	memcpy(&function, &symbol, sizeof(function));
	table = function();
	if (table == NULL)
		(void) br_base_fail(context, BR_ERR_UNSUPPORTED,
							"The libraries of \"%s\" are of no use here.", task->compute);
	else if (table->version != BR_DEVICE_VERSION)
	{
		(void) br_base_fail(context, BR_ERR_UNSUPPORTED,
							"The device \"%s\" is of version %u, this program needs %d.",
							task->compute, table->version, BR_DEVICE_VERSION);
		table = NULL;
	}
	return table;
}

BrStatus
br_helper_open_device(BrHelperCompute *compute, BrContext *context, const BrHelperTask *task)
{
	const BrDeviceTable *table = find_table(context, task);
	int count;

	*compute = (BrHelperCompute){.load = load,
								 .unload = unload,
								 .embed = embed,
								 .place_centroids = place_centroids,
								 .assign = assign,
								 .tell = tell,
								 .table = table};
	if (table == NULL)
		return BR_ERR_UNSUPPORTED;
	context->detail[0] = '\0';
	count = table->count(context);
	if (count == 0 && context->detail[0] != '\0')
		return BR_ERR_UNSUPPORTED;
	if (task->number >= count)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"There is no device %d of \"%s\"; there are %d.", task->number,
							task->compute, count);
	return table->open(context, task->number, &compute->device);
}
