/*
 * cuda_runtime_api.h
 *	  The part of the CUDA runtime that the backend calls, over the host's memory.
 *
 * Stands in for CUDA's header of this name where the backend is tested without
 * a device. There is one device; its memory is the host's, filled with bytes that
 * are NaN in every precision, and all work is done when a call returns.
 */
#ifndef BR_EMULATED_CUDA_RUNTIME_API_H
#define BR_EMULATED_CUDA_RUNTIME_API_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cudaError
{
	cudaSuccess = 0,
	cudaErrorMemoryAllocation = 2,
	cudaErrorInvalidDevice = 101,
	cudaErrorNotReady = 600
} cudaError_t;

typedef enum cudaMemcpyKind
{
	cudaMemcpyHostToDevice = 1,
	cudaMemcpyDeviceToHost = 2
} cudaMemcpyKind;

typedef enum cudaDeviceAttr
{
	cudaDevAttrComputeCapabilityMajor = 75,
	cudaDevAttrComputeCapabilityMinor = 76
} cudaDeviceAttr;

struct cudaDeviceProp
{
	char name[256];
	int major;
	int minor;
};

typedef struct CUstream_st *cudaStream_t;

#define cudaStreamNonBlocking 1

extern cudaError_t cudaDriverGetVersion(int *version);
extern cudaError_t cudaGetDeviceCount(int *count);
extern cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device);
extern cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device);
extern cudaError_t cudaSetDevice(int device);
extern cudaError_t cudaMemGetInfo(size_t *memory_free, size_t *memory);
extern cudaError_t cudaMalloc(void **memory, size_t bytes);
extern cudaError_t cudaFree(void *memory);
extern cudaError_t cudaMallocHost(void **memory, size_t bytes);
extern cudaError_t cudaFreeHost(void *memory);
extern cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes,
								   enum cudaMemcpyKind kind, cudaStream_t stream);
extern cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream);
extern cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
extern cudaError_t cudaStreamDestroy(cudaStream_t stream);
extern cudaError_t cudaStreamQuery(cudaStream_t stream);
extern cudaError_t cudaStreamSynchronize(cudaStream_t stream);
extern cudaError_t cudaGetLastError(void);
extern const char *cudaGetErrorString(cudaError_t error);
extern const char *cudaGetErrorName(cudaError_t error);

/* Pieces of memory that were allocated and not freed. */
extern int emulated_pieces(void);

#ifdef __cplusplus
}
#endif

#endif /* BR_EMULATED_CUDA_RUNTIME_API_H */
