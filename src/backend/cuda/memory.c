/*
 * memory.c
 *	  Memory that is kept from call to call.
 *
 * Asking the driver for memory stops the device, so what a call worked in is left
 * for the next one. A buffer that must grow is given back first: the device may
 * not have room for both.
 */
#include "backend/cuda/device.h"

#define ALIGNMENT 256

/* Grown by more than is asked for, lest texts of slowly rising lengths grow it each time. */
#define GROWTH(bytes) ((bytes) + (bytes) / 8)

static BrStatus
allocate(BrContext *context, BrBuffer *buffer, size_t bytes)
{
	BrStatus status = buffer->of_host ? br_cuda_allocate_host(context, bytes, &buffer->memory)
									  : br_cuda_allocate(context, bytes, &buffer->memory);

	buffer->capacity = status == BR_OK ? bytes : 0;
	return status;
}

BrStatus
br_cuda_reserve(BrContext *context, BrBuffer *buffer, size_t bytes)
{
	if (bytes <= buffer->capacity)
		return BR_OK;
	br_cuda_empty(buffer);
	return allocate(context, buffer, GROWTH(bytes));
}

void
br_cuda_empty(BrBuffer *buffer)
{
	if (buffer->of_host)
		br_cuda_release_host(buffer->memory);
	else
		br_cuda_release(buffer->memory);
	buffer->memory = NULL;
	buffer->capacity = 0;
}

void *
br_cuda_cut(BrCutter *cutter, size_t count, size_t size)
{
	void *at = cutter->base != NULL ? cutter->base + cutter->used : NULL;

	cutter->used += (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	return at;
}
