/*
 * onednn_int.h
 *	  What the files of the oneDNN backend share.
 */
#ifndef BR_ONEDNN_INT_H
#define BR_ONEDNN_INT_H

#include "core/math/br_backend.h"

/* ---- product.c: oneDNN's products over packed weights ---- */

/* Rows are multiplied in blocks of at most as many, whole multiples of the step. */
#define BR_ONEDNN_BLOCK 32
#define BR_ONEDNN_STEP 4

typedef struct BrProduct BrProduct;

/*
 * The product of a shape in a precision, made on first use; NULL: oneDNN has
 * no memory or no such product here. Input is float, bfloat16 or uint8_t,
 * weights float, bfloat16 or int8_t, output float or, of bytes, int32_t. Valid
 * until br_onednn_release, before which none is freed.
 */
extern BrProduct *br_onednn_acquire(BrPrecision precision, int in_dim, int out_dim);
extern void br_onednn_release(BrProduct *product);

/* Bytes of the packed weights. */
extern size_t br_onednn_weights_size(const BrProduct *product);

/* Packs (out_dim, in_dim) weights of the product's type, or float for bfloat16. */
extern bool br_onednn_pack_weights(BrProduct *product, const void *weight, void *packed);

/* Bytes of work memory of br_onednn_multiply. */
extern size_t br_onednn_scratchpad_size(const BrProduct *product);

/* output = input weight'. rows: a multiple of the step, at most a block. */
extern bool br_onednn_multiply(BrProduct *product, const void *input /* (rows, in_dim) */,
							   const void *packed, int rows, void *scratchpad,
							   void *output /* (rows, out_dim) */);

/* ---- bytes.c: between floats and the narrow types, with AVX-512 ---- */

/* A row of unsigned bytes stands for scale * (byte - zero). */
typedef struct BrRowScale
{
	float scale;
	float zero; /* a whole number from 0 to 255 */
} BrRowScale;

/* Rows of input, each column times its factor, as bytes between the row's extremes. */
extern void br_onednn_quantize(const float *input /* (rows, dim) */,
							   const float *factor /* (dim) */, int rows, int dim,
							   uint8_t *bytes /* (rows, dim) */, BrRowScale *scales /* (rows) */);

/*
 * output = row scale * column scale * (sum - zero * column sum) + bias, for one
 * row; output may be sums. bias may be NULL.
 */
extern void br_onednn_dequantize(const int32_t *sums /* (dim) */, BrRowScale row,
								 const float *column_scale /* (dim) */,
								 const float *column_sum /* (dim) */, const float *bias /* (dim) */,
								 int dim, float *output /* (dim) */);

/* To the nearest bfloat16, ties to even. */
extern void br_onednn_to_bf16(const float *values /* (n) */, size_t n, uint16_t *narrow);

#endif /* BR_ONEDNN_INT_H */
