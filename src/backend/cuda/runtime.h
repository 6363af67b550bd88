/*
 * runtime.h
 *	  The device's memory, streams and errors: the only door to the CUDA runtime.
 *
 * The runtime is linked statically, so that the shared object loads where there
 * is no driver; a machine without driver or device is told of in words. Of all
 * functions: BR_ERR_MEMORY: the device has not enough memory now, which leaves
 * everything as it was; BR_ERR_DEVICE: anything else, after which this process
 * can do nothing more with the device. Both leave a detail in the context.
 */
#ifndef BR_CUDA_RUNTIME_H
#define BR_CUDA_RUNTIME_H

#include "core/base/br_base.h"
#include "core/math/br_device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In what order a device works: one piece of work of a stream after another. */
typedef struct CUstream_st *BrStream;

/* Devices that these kernels run on; 0 with the reason as the context's detail. */
extern int br_cuda_count(BrContext *context);

/* Makes a device, 0 .. br_cuda_count() - 1, the one of this thread. */
extern BrStatus br_cuda_select(BrContext *context, int number);

/* Fills everything but precision; of a device that was selected. */
extern BrStatus br_cuda_describe(BrContext *context, int number, BrDeviceInfo *info);

extern BrStatus br_cuda_create_stream(BrContext *context, BrStream *stream);
extern void br_cuda_destroy_stream(BrStream stream); /* NULL is ignored */

/* bytes of the device's memory at a multiple of 256; 0 bytes: *memory is NULL. */
extern BrStatus br_cuda_allocate(BrContext *context, size_t bytes, void **memory);
extern void br_cuda_release(void *memory); /* NULL is ignored */

/* Memory of the host that the device reads itself, without which copies do not overlap. */
extern BrStatus br_cuda_allocate_host(BrContext *context, size_t bytes, void **memory);
extern void br_cuda_release_host(void *memory); /* NULL is ignored */

/* For tests: the allocation of that number from now on, 1 the next one, fails; 0: none does. */
extern void br_cuda_fail_allocation(int number);
extern int br_cuda_failing_allocation(void); /* 0: it has failed, or none will */

/*
 * Copies in the order of the stream. From br_cuda_allocate_host, host memory must
 * stay as it is until br_cuda_wait; other memory may change when upload returns.
 */
extern BrStatus br_cuda_upload(BrContext *context, BrStream stream, void *device, const void *host,
							   size_t bytes);
extern BrStatus br_cuda_download(BrContext *context, BrStream stream, void *host,
								 const void *device, size_t bytes); /* there after br_cuda_wait */
extern BrStatus br_cuda_clear(BrContext *context, BrStream stream, void *device, size_t bytes);

/* What has gone wrong with launches of this thread so far. Does not wait. */
extern BrStatus br_cuda_check(BrContext *context);

/* Whether all work of the stream is done. Does not wait. */
extern BrStatus br_cuda_poll(BrContext *context, BrStream stream, bool *done);

/* Waits for all work of the stream; also tells what br_cuda_check would. */
extern BrStatus br_cuda_wait(BrContext *context, BrStream stream);

#ifdef __cplusplus
}
#endif

#endif /* BR_CUDA_RUNTIME_H */
