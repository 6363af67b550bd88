/*
 * product_openblas.c
 *	  The products by OpenBLAS: f32 alone, weights packed anew in every call.
 */
#include <stdlib.h>

#include <cblas.h>

#include "bench/bench_products.h"

struct Product
{
	ProductShape shape;
	int rows;
	float *input;
	float *weight; /* (layers, out_dim, in_dim) */
	float *output;
};

static Product *
open_product(ProductPrecision precision, const ProductShape *shape, int rows, int layers)
{
	Product *product;
	size_t in_dim = (size_t) shape->in_dim;
	size_t out_dim = (size_t) shape->out_dim;

	if (precision != PRODUCT_F32 || (product = malloc(sizeof(Product))) == NULL)
		return NULL;
	product->shape = *shape;
	product->rows = rows;
	product->input = product_random((size_t) rows * in_dim);
	product->weight = product_random((size_t) layers * in_dim * out_dim);
	product->output = product_random((size_t) rows * out_dim);
	return product;
}

static void
run_product(Product *product, int layer)
{
	const ProductShape *shape = &product->shape;
	const float *weight =
		product->weight + (size_t) layer * (size_t) shape->in_dim * (size_t) shape->out_dim;

	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, product->rows, shape->out_dim,
				shape->in_dim, 1, product->input, shape->in_dim, weight, shape->in_dim, 0,
				product->output, shape->out_dim);
}

static void
close_product(Product *product)
{
	free(product->input);
	free(product->weight);
	free(product->output);
	free(product);
}

const ProductLibrary product_openblas = {"OpenBLAS", open_product, run_product, close_product};
