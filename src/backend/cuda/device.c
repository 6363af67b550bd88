/*
 * device.c
 *	  br_device_table over the kernels: a device, its models and its memory.
 */
#include <string.h>

#include "backend/cuda/training.h"

extern const BrDeviceTable *br_device_table(void);

static void
close_device(BrDevice *device)
{
	BrAllocator allocator;

	if (device == NULL)
		return;
	allocator = device->allocator;
	while (device->models != NULL)
		br_cuda_unload(device, device->models);
	while (device->trainings != NULL)
		br_cuda_close_training(device, device->trainings);
	br_cuda_empty(&device->work);
	br_cuda_empty(&device->centroids);
	for (int i = 0; i < BR_CUDA_BATCHES; i++)
		br_cuda_empty(&device->batches[i].host);
	br_cuda_close_products(device->products);
	br_cuda_destroy_stream(device->stream);
	allocator.free(allocator.arg, device);
}

static BrStatus
open_device(BrContext *context, int number, BrDevice **device)
{
	BrDevice *opened = br_base_alloc_array(context, 1, sizeof(BrDevice));
	BrStatus status;

	*device = NULL;
	if (opened == NULL)
		return BR_ERR_MEMORY;
	opened->allocator = context->allocator;
	opened->number = number;
	for (int i = 0; i < BR_CUDA_BATCHES; i++)
		opened->batches[i].host.of_host = true;
	status = br_cuda_select(context, number);
	if (status == BR_OK)
		status = br_cuda_describe(context, number, &opened->info);
	if (status == BR_OK)
		status = br_cuda_create_stream(context, &opened->stream);
	if (status == BR_OK)
		status = br_cuda_open_products(context, BR_PRODUCT_BEST, &opened->products);
	if (status != BR_OK)
	{
		close_device(opened);
		return status;
	}
	strcpy(opened->info.precision, "f16");
	*device = opened;
	return BR_OK;
}

/* How much memory is free changes; where it cannot be asked, what was told last holds. */
static void
tell(BrDevice *device, BrDeviceInfo *info)
{
	BrDeviceInfo now = device->info;
	BrContext context;

	br_base_context_init(&context);
	if (br_cuda_describe(&context, device->number, &now) == BR_OK)
		device->info = now;
	*info = device->info;
}

static int64_t
model_bytes(const BrDeviceModel *loaded)
{
	return (int64_t) loaded->bytes;
}

BrStatus
br_cuda_settle(BrDevice *device, BrContext *context, BrStatus status)
{
	BrContext after = *context;

	if (status == BR_ERR_DEVICE || br_cuda_wait(&after, device->stream) == BR_OK)
		return status;
	return br_base_fail(context, BR_ERR_DEVICE, "%s", after.detail);
}

__attribute__((visibility("default"))) const BrDeviceTable *
br_device_table(void)
{
	static const BrDeviceTable table = {
		.version = BR_DEVICE_VERSION,
		.name = "cuda",
		.count = br_cuda_count,
		.open = open_device,
		.close = close_device,
		.tell = tell,
		.load = br_cuda_load,
		.unload = br_cuda_unload,
		.model_bytes = model_bytes,
		.embed = br_cuda_embed_texts,
		.place_centroids = br_cuda_place_centroids,
		.assign = br_cuda_assign_vectors,
		.top_k = br_cuda_top_k,
		.open_training = br_cuda_open_training,
		.close_training = br_cuda_close_training,
		.set_parameters = br_cuda_set_parameters,
		.embed_batch = br_cuda_embed_batch,
		.propagate_back = br_cuda_propagate_back,
		.take_gradient = br_cuda_take_gradient,
	};

	return &table;
}
