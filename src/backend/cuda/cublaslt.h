/*
 * cublaslt.h
 *	  Products by NVIDIA's library, where it can be loaded.
 *
 * It is opened by name while the program runs, so that the backend needs it
 * neither to be built nor to be loaded.
 */
#ifndef BR_CUDA_CUBLASLT_H
#define BR_CUDA_CUBLASLT_H

#include "backend/cuda/cuda_int.h"

typedef struct BrCublasLt BrCublasLt;

/*
 * *library: NULL where it is not there or does not work on this device, which is
 * no error. The context's allocator must outlive it. BR_ERR_MEMORY: no work memory.
 */
extern BrStatus br_cuda_open_cublaslt(BrContext *context, BrCublasLt **library);
extern void br_cuda_close_cublaslt(BrCublasLt *library); /* NULL is ignored */

/* As the library counts: 130100 for 13.1.0 */
extern size_t br_cuda_cublaslt_version(const BrCublasLt *library);

/* Whether the library applies it itself, in the product. */
extern bool br_cuda_cublaslt_fuses(BrActivation activation);

/*
 * As br_cuda_multiply_halves, of the activations that it fuses; with floats only
 * without bias and activation. BR_ERR_UNSUPPORTED: nothing was done, the library
 * does not do this product.
 */
extern BrStatus br_cuda_cublaslt_multiply(BrCublasLt *library, BrContext *context, BrStream stream,
										  const BrHalf *input, const BrHalf *weight,
										  const BrHalf *bias, int rows, int in_dim, int out_dim,
										  BrActivation activation, BrHalf *halves, float *floats);

/* As br_cuda_multiply_best (training.h). BR_ERR_UNSUPPORTED: nothing was done. */
extern BrStatus br_cuda_cublaslt_multiply_floats(BrCublasLt *library, BrContext *context,
												 BrStream stream, BrFactor left, BrFactor right,
												 const float *bias, int rows, int columns,
												 int depth, float keep, float *output);

#endif /* BR_CUDA_CUBLASLT_H */
