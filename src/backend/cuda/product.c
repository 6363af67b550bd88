/*
 * product.c
 *	  Which of the ways to multiply is taken.
 *
 * cuBLASLt where it can be loaded; what it does not do, and every product
 * without it, is done by the kernels of multiply.cu, or by the reference
 * where a check asks for it. What cannot be fused with a product follows it as
 * a pass over its output.
 */
#include <stdio.h>

#include "backend/cuda/cublaslt.h"
#include "backend/cuda/training.h"

#define NAME_SIZE 32

struct BrProducts
{
	BrAllocator allocator;
	BrProductKind kind;
	BrCublasLt *library; /* NULL: the kernel */
	float *sums;		 /* of the reference, grown as needed */
	size_t capacity;	 /* floats */
	char name[NAME_SIZE];
};

BrStatus
br_cuda_open_products(BrContext *context, BrProductKind kind, BrProducts **products)
{
	BrProducts *opened = br_base_alloc_array(context, 1, sizeof(BrProducts));
	BrStatus status = BR_OK;
	size_t version;

	*products = NULL;
	if (opened == NULL)
		return BR_ERR_MEMORY;
	opened->allocator = context->allocator;
	opened->kind = kind;
	if (kind == BR_PRODUCT_BEST)
		status = br_cuda_open_cublaslt(context, &opened->library);
	if (status != BR_OK)
	{
		br_cuda_close_products(opened);
		return status;
	}
	snprintf(opened->name, sizeof(opened->name), "%s",
			 kind == BR_PRODUCT_REFERENCE ? "reference" : "kernel");
	if (opened->library != NULL)
	{
		version = br_cuda_cublaslt_version(opened->library);
		snprintf(opened->name, sizeof(opened->name), "cuBLASLt %zu.%zu.%zu", version / 10000,
				 version / 100 % 100, version % 100);
	}
	*products = opened;
	return BR_OK;
}

void
br_cuda_close_products(BrProducts *products)
{
	if (products == NULL)
		return;
	br_cuda_close_cublaslt(products->library);
	br_cuda_release(products->sums);
	products->allocator.free(products->allocator.arg, products);
}

const char *
br_cuda_products_name(const BrProducts *products)
{
	return products->name;
}

/* Sums in float, then bias and activation over the halves made of them. */
static BrStatus
multiply_by_reference(BrProducts *products, BrContext *context, BrStream stream,
					  const BrHalf *input, const BrHalf *weight, const BrHalf *bias, int rows,
					  int in_dim, int out_dim, BrActivation activation, BrHalf *output)
{
	size_t n = (size_t) rows * (size_t) out_dim;
	BrStatus status = BR_OK;

	if (n > products->capacity)
	{
		/* what is computed there now must be done before it goes */
		status = br_cuda_wait(context, stream);
		br_cuda_release(products->sums);
		products->sums = NULL;
		products->capacity = 0;
		if (status == BR_OK)
			status = br_cuda_allocate(context, n * sizeof(float), (void **) &products->sums);
		if (status != BR_OK)
			return status;
		products->capacity = n;
	}
	br_cuda_reference_multiply(stream, input, weight, rows, in_dim, out_dim, products->sums);
	br_cuda_to_half(stream, products->sums, n, output);
	br_cuda_activate(stream, output, bias, rows, out_dim, activation);
	return BR_OK;
}

BrStatus
br_cuda_multiply(BrProducts *products, BrContext *context, BrStream stream, const BrHalf *input,
				 const BrHalf *weight, const BrHalf *bias, int rows, int in_dim, int out_dim,
				 BrActivation activation, BrHalf *output)
{
	bool fused = br_cuda_cublaslt_fuses(activation);
	BrStatus status = BR_ERR_UNSUPPORTED;

	if (rows == 0)
		return BR_OK;
	if (products->kind == BR_PRODUCT_REFERENCE)
		return multiply_by_reference(products, context, stream, input, weight, bias, rows, in_dim,
									 out_dim, activation, output);
	if (products->library != NULL)
		status = br_cuda_cublaslt_multiply(products->library, context, stream, input, weight, bias,
										   rows, in_dim, out_dim,
										   fused ? activation : BR_ACTIVATION_NONE, output, NULL);
	if (status == BR_OK && !fused)
		br_cuda_activate(stream, output, NULL, rows, out_dim, activation);
	if (status != BR_ERR_UNSUPPORTED)
		return status;
	br_cuda_multiply_halves(stream, input, weight, bias, rows, in_dim, out_dim, activation, output,
							NULL);
	return BR_OK;
}

BrStatus
br_cuda_multiply_to_floats(BrProducts *products, BrContext *context, BrStream stream,
						   const BrHalf *input, const BrHalf *weight, int rows, int in_dim,
						   int out_dim, float *output)
{
	BrStatus status = BR_ERR_UNSUPPORTED;

	if (rows == 0)
		return BR_OK;
	if (products->kind == BR_PRODUCT_REFERENCE)
	{
		br_cuda_reference_multiply(stream, input, weight, rows, in_dim, out_dim, output);
		return BR_OK;
	}
	if (products->library != NULL)
		status = br_cuda_cublaslt_multiply(products->library, context, stream, input, weight, NULL,
										   rows, in_dim, out_dim, BR_ACTIVATION_NONE, NULL, output);
	if (status != BR_ERR_UNSUPPORTED)
		return status;
	br_cuda_multiply_halves(stream, input, weight, NULL, rows, in_dim, out_dim, BR_ACTIVATION_NONE,
							NULL, output);
	return BR_OK;
}

BrStatus
br_cuda_multiply_best(BrProducts *products, BrContext *context, BrStream stream, BrFactor left,
					  BrFactor right, const float *bias, int rows, int columns, int depth,
					  float keep, float *output)
{
	BrStatus status = BR_ERR_UNSUPPORTED;

	if (rows == 0)
		return BR_OK;
	if (products->library != NULL)
		status = br_cuda_cublaslt_multiply_floats(products->library, context, stream, left, right,
												  bias, rows, columns, depth, keep, output);
	if (status != BR_ERR_UNSUPPORTED)
		return status;
	br_cuda_multiply_factors(stream, left, right, bias, rows, columns, depth, keep, output);
	return BR_OK;
}
