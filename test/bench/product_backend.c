/*
 * product_backend.c
 *	  The products by a backend of ours with packed weights.
 *
 * This is linear_packed as the encoder calls it. In int8 it takes float32 rows,
 * rounds them and scales the sums back, which the libraries beside it leave to
 * their callers.
 */
#include <stdint.h>
#include <stdlib.h>

#include "bench/bench_products.h"
#include "bench/load_backend.h"

struct Product
{
	const BrBackend *backend;
	BrPrecision precision;
	ProductShape shape;
	int rows;
	float *input;
	float *bias;
	float *output;
	size_t packed_size;
	char *packed; /* (layers, packed_size) */
	char *scratch;
};

static void *
allocate(size_t size)
{
	void *memory = aligned_alloc(64, (size + 64) / 64 * 64);

	if (memory == NULL)
		abort();
	return memory;
}

static void
pack_layers(Product *product, int layers)
{
	size_t in_dim = (size_t) product->shape.in_dim;
	size_t out_dim = (size_t) product->shape.out_dim;
	float *weight = product_random(in_dim * out_dim);

	product->packed = allocate((size_t) layers * product->packed_size);
	for (int i = 0; i < layers; i++)
		product->backend->pack(product->precision, weight, NULL, product->shape.in_dim,
							   product->shape.out_dim,
							   product->packed + (size_t) i * product->packed_size);
	free(weight);
}

static Product *
open_product(ProductPrecision wanted, const ProductShape *shape, int rows, int layers)
{
	static const BrPrecision precisions[] = {BR_PRECISION_F32, BR_PRECISION_BF16,
											 BR_PRECISION_INT8};
	BrPrecision precision = precisions[wanted];
	const char *why;
	const BrBackend *backend = load_backend("onednn", &why);
	Product *product;

	if (backend == NULL || backend->packs == NULL || !backend->packs(precision))
		return NULL;
	product = allocate(sizeof(Product));
	product->backend = backend;
	product->precision = precision;
	product->shape = *shape;
	product->rows = rows;
	product->input = product_random((size_t) rows * (size_t) shape->in_dim);
	product->bias = product_random((size_t) shape->out_dim);
	product->output = product_random((size_t) rows * (size_t) shape->out_dim);
	product->packed_size = backend->packed_size(precision, shape->in_dim, shape->out_dim);
	product->scratch =
		allocate(backend->packed_scratch(precision, rows, shape->in_dim, shape->out_dim));
	pack_layers(product, layers);
	return product;
}

static void
run_product(Product *product, int layer)
{
	product->backend->linear_packed(product->precision, product->input,
									product->packed + (size_t) layer * product->packed_size,
									product->bias, product->rows, product->shape.in_dim,
									product->shape.out_dim, BR_ACTIVATION_NONE, product->scratch,
									product->output);
}

static void
close_product(Product *product)
{
	free(product->input);
	free(product->bias);
	free(product->output);
	free(product->packed);
	free(product->scratch);
	free(product);
}

const ProductLibrary product_backend = {"bundle_rec onednn", open_product, run_product,
										close_product};
