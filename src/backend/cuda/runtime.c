/*
 * runtime.c
 *	  The device's memory, streams and errors, over the CUDA runtime.
 *
 * Each call of the runtime passes through one function that turns what it
 * answers into a status and a sentence. That memory is short is an answer that
 * the runtime remembers until it is asked for the last error: it is forgotten
 * here, or the next launch would seem to have failed.
 */
#include <cuda_runtime_api.h>

#include <stdio.h>
#include <string.h>

#include "backend/cuda/runtime.h"

/* What the kernels are compiled for: 10 * major + minor of the oldest device. */
#define LEAST_CAPABILITY 75

/* Allocations until one fails, for tests; 0: none does. */
static int failing_allocation = 0;

static BrStatus
answer(BrContext *context, cudaError_t error, const char *doing)
{
	if (error == cudaSuccess)
		return BR_OK;
	(void) cudaGetLastError();
	if (error == cudaErrorMemoryAllocation)
		return br_base_fail(context, BR_ERR_MEMORY, "The device has not enough memory: %s.", doing);
	return br_base_fail(context, BR_ERR_DEVICE, "CUDA failed: %s: %s (%s).", doing,
						cudaGetErrorString(error), cudaGetErrorName(error));
}

/* ---- devices ---- */

/* 10 * major + minor; 0 where it cannot be asked. */
static int
capability(int ordinal)
{
	int major = 0;
	int minor = 0;

	if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal) != cudaSuccess ||
		cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal) != cudaSuccess)
		return 0;
	return 10 * major + minor;
}

/* Devices that are new enough; *ordinal: what the runtime calls the one of that number, or -1. */
static int
count_suitable(int all, int number, int *ordinal)
{
	int n = 0;

	*ordinal = -1;
	for (int i = 0; i < all; i++)
		if (capability(i) >= LEAST_CAPABILITY)
		{
			if (n == number)
				*ordinal = i;
			n++;
		}
	return n;
}

/* In words, why no device was found. */
static const char *
why_none(cudaError_t error)
{
	int driver = 0;

	if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0)
		return "no driver is installed";
	return error == cudaSuccess ? "none is visible" : cudaGetErrorString(error);
}

int
br_cuda_count(BrContext *context)
{
	int all = 0;
	int ordinal;
	int n;
	cudaError_t error = cudaGetDeviceCount(&all);

	if (error != cudaSuccess || all == 0)
	{
		(void) cudaGetLastError();
		(void) br_base_fail(context, BR_ERR_DEVICE, "There is no CUDA device: %s.",
							why_none(error));
		return 0;
	}
	n = count_suitable(all, 0, &ordinal);
	if (n == 0)
		(void) br_base_fail(context, BR_ERR_DEVICE,
							"No CUDA device has compute capability %d.%d or later.",
							LEAST_CAPABILITY / 10, LEAST_CAPABILITY % 10);
	return n;
}

static BrStatus
find_ordinal(BrContext *context, int number, int *ordinal)
{
	int all = 0;
	BrStatus status = answer(context, cudaGetDeviceCount(&all), "counting devices");

	if (status != BR_OK)
		return status;
	(void) count_suitable(all, number, ordinal);
	if (*ordinal < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "There is no CUDA device %d.", number);
	return BR_OK;
}

BrStatus
br_cuda_select(BrContext *context, int number)
{
	int ordinal;
	BrStatus status = find_ordinal(context, number, &ordinal);

	if (status == BR_OK)
		status = answer(context, cudaSetDevice(ordinal), "selecting the device");
	if (status == BR_OK)
		status = answer(context, cudaFree(NULL), "opening the device");
	return status;
}

BrStatus
br_cuda_describe(BrContext *context, int number, BrDeviceInfo *info)
{
	struct cudaDeviceProp properties;
	size_t memory_free = 0;
	size_t memory = 0;
	int ordinal;
	BrStatus status = find_ordinal(context, number, &ordinal);

	if (status == BR_OK)
		status = answer(context, cudaGetDeviceProperties(&properties, ordinal),
						"asking what the device is");
	if (status == BR_OK)
		status = answer(context, cudaMemGetInfo(&memory_free, &memory),
						"asking how much memory is free");
	if (status != BR_OK)
		return status;
	snprintf(info->name, sizeof(info->name), "%.*s", (int) sizeof(info->name) - 1, properties.name);
	snprintf(info->instructions, sizeof(info->instructions), "sm_%d%d", properties.major,
			 properties.minor);
	info->memory = (int64_t) memory;
	info->memory_free = (int64_t) memory_free;
	return BR_OK;
}

/* ---- streams ---- */

BrStatus
br_cuda_create_stream(BrContext *context, BrStream *stream)
{
	*stream = NULL;
	return answer(context, cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking),
				  "creating a stream");
}

void
br_cuda_destroy_stream(BrStream stream)
{
	if (stream != NULL)
		(void) cudaStreamDestroy(stream);
}

/* ---- memory ---- */

void
br_cuda_fail_allocation(int number)
{
	failing_allocation = number;
}

int
br_cuda_failing_allocation(void)
{
	return failing_allocation;
}

static bool
told_to_fail(void)
{
	if (failing_allocation == 0)
		return false;
	failing_allocation--;
	return failing_allocation == 0;
}

BrStatus
br_cuda_allocate(BrContext *context, size_t bytes, void **memory)
{
	char doing[64];

	*memory = NULL;
	if (bytes == 0)
		return BR_OK;
	snprintf(doing, sizeof(doing), "%zu bytes were asked for", bytes);
	if (told_to_fail())
		return answer(context, cudaErrorMemoryAllocation, doing);
	return answer(context, cudaMalloc(memory, bytes), doing);
}

void
br_cuda_release(void *memory)
{
	if (memory != NULL)
		(void) cudaFree(memory);
}

BrStatus
br_cuda_allocate_host(BrContext *context, size_t bytes, void **memory)
{
	char doing[64];

	*memory = NULL;
	if (bytes == 0)
		return BR_OK;
	snprintf(doing, sizeof(doing), "%zu bytes of the host were asked for", bytes);
	if (told_to_fail())
		return answer(context, cudaErrorMemoryAllocation, doing);
	return answer(context, cudaMallocHost(memory, bytes), doing);
}

void
br_cuda_release_host(void *memory)
{
	if (memory != NULL)
		(void) cudaFreeHost(memory);
}

BrStatus
br_cuda_upload(BrContext *context, BrStream stream, void *device, const void *host, size_t bytes)
{
	if (bytes == 0)
		return BR_OK;
	return answer(context, cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream),
				  "copying to the device");
}

BrStatus
br_cuda_download(BrContext *context, BrStream stream, void *host, const void *device, size_t bytes)
{
	if (bytes == 0)
		return BR_OK;
	return answer(context, cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream),
				  "copying from the device");
}

BrStatus
br_cuda_clear(BrContext *context, BrStream stream, void *device, size_t bytes)
{
	if (bytes == 0)
		return BR_OK;
	return answer(context, cudaMemsetAsync(device, 0, bytes, stream), "clearing memory");
}

/* ---- what came of it ---- */

BrStatus
br_cuda_check(BrContext *context)
{
	return answer(context, cudaGetLastError(), "launching a kernel");
}

BrStatus
br_cuda_poll(BrContext *context, BrStream stream, bool *done)
{
	cudaError_t error = cudaStreamQuery(stream);

	*done = error != cudaErrorNotReady;
	return *done ? answer(context, error, "running a kernel") : BR_OK;
}

BrStatus
br_cuda_wait(BrContext *context, BrStream stream)
{
	BrStatus status = br_cuda_check(context);
	BrStatus ran = answer(context, cudaStreamSynchronize(stream), "running a kernel");

	return status != BR_OK ? status : ran;
}
