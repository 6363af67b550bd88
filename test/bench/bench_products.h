/*
 * bench_products.h
 *	  What bench_products.c measures: libraries that multiply matrices.
 */
#ifndef BENCH_PRODUCTS_H
#define BENCH_PRODUCTS_H

#include <stddef.h>

typedef enum ProductPrecision
{
	PRODUCT_F32,
	PRODUCT_BF16, /* accumulated and put out in f32 */
	PRODUCT_INT8  /* u8 input, s8 weights, s32 output */
} ProductPrecision;

/* output (rows, out_dim) = input (rows, in_dim) weight', weight (out_dim, in_dim) */
typedef struct ProductShape
{
	const char *name;
	int in_dim;
	int out_dim;
} ProductShape;

typedef struct Product Product;

/*
 * open: a product of random input with the random weights of so many layers,
 * packed as the library likes them; NULL where it cannot do that precision
 * on this machine. run: the product with the weights of one layer.
 */
typedef struct ProductLibrary
{
	const char *name;
	Product *(*open)(ProductPrecision precision, const ProductShape *shape, int rows, int layers);
	void (*run)(Product *product, int layer);
	void (*close)(Product *product);
} ProductLibrary;

/* Our own; it tells nothing of the ceiling. */
extern const ProductLibrary product_backend;

/* Each of these is there where its library was found at build time; see core.mk. */
extern const ProductLibrary product_openblas;
extern const ProductLibrary product_dnnl_matmul;
extern const ProductLibrary product_dnnl_inner_product;

/* count pseudo-random values of the same sequence everywhere, in [-1, 1); the caller frees them */
extern float *product_random(size_t count);

/*
 * GOP/s of this core's widest multiply-add instructions on registers alone; 0
 * where it has none for the precision.
 */
extern double product_peak(ProductPrecision precision, double seconds);

#endif /* BENCH_PRODUCTS_H */
