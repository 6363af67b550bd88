/*
 * product_dnnl.c
 *	  The products by oneDNN, as matmul and as inner product.
 *
 * Weights are reordered once into the layout that the primitive asks for; which
 * of the two primitives has the better kernel differs by processor and
 * precision. A primitive without a just-in-time kernel here would fall back to
 * a reference loop of a hundredth of the speed: such a one counts as not there.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <oneapi/dnnl/dnnl.h>

#include "bench/bench_products.h"

struct Product
{
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	dnnl_primitive_desc_t description;
	dnnl_primitive_t primitive;
	dnnl_memory_t input;
	dnnl_memory_t *weights; /* (layers) */
	dnnl_memory_t output;
	int layers;
};

static const dnnl_data_type_t input_types[] = {dnnl_f32, dnnl_bf16, dnnl_u8};
static const dnnl_data_type_t weight_types[] = {dnnl_f32, dnnl_bf16, dnnl_s8};
static const dnnl_data_type_t output_types[] = {dnnl_f32, dnnl_f32, dnnl_s32};

/* What went wrong here is a mistake of this program, or no memory. */
static void
check(dnnl_status_t status)
{
	if (status != dnnl_success)
		abort();
}

static dnnl_memory_t
new_memory(Product *product, const dnnl_memory_desc_t *layout)
{
	dnnl_memory_t memory;

	check(dnnl_memory_create(&memory, layout, product->engine, DNNL_MEMORY_ALLOCATE));
	return memory;
}

static void
reorder(Product *product, dnnl_memory_t from, dnnl_memory_t to)
{
	const dnnl_memory_desc_t *from_layout;
	const dnnl_memory_desc_t *to_layout;
	dnnl_primitive_desc_t description;
	dnnl_primitive_t primitive;

	check(dnnl_memory_get_memory_desc(from, &from_layout));
	check(dnnl_memory_get_memory_desc(to, &to_layout));
	check(dnnl_reorder_primitive_desc_create(&description, from_layout, product->engine, to_layout,
											 product->engine, NULL));
	check(dnnl_primitive_create(&primitive, description));
	check(dnnl_primitive_execute(primitive, product->stream, 2,
								 (const dnnl_exec_arg_t[]){{DNNL_ARG_FROM, from},
														   {DNNL_ARG_TO, to}}));
	check(dnnl_stream_wait(product->stream));
	check(dnnl_primitive_destroy(primitive));
	check(dnnl_primitive_desc_destroy(description));
}

/* Random values, whole numbers in the range of an integer type, brought into the memory's layout. */
static void
fill(Product *product, dnnl_memory_t memory, dnnl_data_type_t type, const dnnl_dims_t dims,
	 dnnl_format_tag_t tag)
{
	size_t count = (size_t) dims[0] * (size_t) dims[1];
	float *values = product_random(count);
	dnnl_memory_desc_t layout;
	dnnl_memory_t plain;

	for (size_t i = 0; i < count; i++)
		if (type == dnnl_u8)
			values[i] = (float) (uint8_t) (128 + 127 * values[i]);
		else if (type == dnnl_s8)
			values[i] = (float) (int8_t) (127 * values[i]);
	check(dnnl_memory_desc_init_by_tag(&layout, 2, dims, dnnl_f32, tag));
	check(dnnl_memory_create(&plain, &layout, product->engine, values));
	reorder(product, plain, memory);
	check(dnnl_memory_destroy(plain));
	free(values);
}

/* NULL where there is only the reference loop for it. */
static dnnl_primitive_desc_t
describe(dnnl_engine_t engine, bool inner_product, const dnnl_memory_desc_t *input,
		 const dnnl_memory_desc_t *weight, const dnnl_memory_desc_t *output)
{
	dnnl_primitive_desc_t description = NULL;
	dnnl_inner_product_desc_t inner_product_desc;
	dnnl_matmul_desc_t matmul_desc;
	const char *kernel;

	if (inner_product)
	{
		check(dnnl_inner_product_forward_desc_init(&inner_product_desc, dnnl_forward_inference,
												   input, weight, NULL, output));
		dnnl_primitive_desc_create(&description, &inner_product_desc, NULL, engine, NULL);
	}
	else
	{
		check(dnnl_matmul_desc_init(&matmul_desc, input, weight, NULL, output));
		dnnl_primitive_desc_create(&description, &matmul_desc, NULL, engine, NULL);
	}
	if (description == NULL)
		return NULL;
	check(dnnl_primitive_desc_query(description, dnnl_query_impl_info_str, 0, &kernel));
	if (strncmp(kernel, "ref", 3) == 0)
	{
		check(dnnl_primitive_desc_destroy(description));
		return NULL;
	}
	return description;
}

static Product *
open_product(bool inner_product, ProductPrecision precision, const ProductShape *shape, int rows,
			 int layers)
{
	const dnnl_dims_t input_dims = {rows, shape->in_dim};
	const dnnl_dims_t output_dims = {rows, shape->out_dim};
	/* an inner product names its weights (out, in), a matmul (in, out) */
	const dnnl_dims_t weight_dims = {inner_product ? shape->out_dim : shape->in_dim,
									 inner_product ? shape->in_dim : shape->out_dim};
	const dnnl_memory_desc_t *weight_layout;
	dnnl_memory_desc_t input;
	dnnl_memory_desc_t weight;
	dnnl_memory_desc_t output;
	Product *product = calloc(1, sizeof(Product));

	if (product == NULL)
		abort();
	check(dnnl_engine_create(&product->engine, dnnl_cpu, 0));
	check(dnnl_stream_create(&product->stream, product->engine, dnnl_stream_default_flags));
	check(dnnl_memory_desc_init_by_tag(&input, 2, input_dims, input_types[precision], dnnl_ab));
	check(dnnl_memory_desc_init_by_tag(&weight, 2, weight_dims, weight_types[precision],
									   dnnl_format_tag_any));
	check(dnnl_memory_desc_init_by_tag(&output, 2, output_dims, output_types[precision], dnnl_ab));
	product->description = describe(product->engine, inner_product, &input, &weight, &output);
	if (product->description == NULL)
	{
		check(dnnl_stream_destroy(product->stream));
		check(dnnl_engine_destroy(product->engine));
		free(product);
		return NULL;
	}
	check(dnnl_primitive_create(&product->primitive, product->description));
	product->input = new_memory(product, &input);
	product->output = new_memory(product, &output);
	fill(product, product->input, input_types[precision], input_dims, dnnl_ab);
	weight_layout = dnnl_primitive_desc_query_md(product->description, dnnl_query_weights_md, 0);
	product->layers = layers;
	product->weights = calloc((size_t) layers, sizeof(dnnl_memory_t));
	if (product->weights == NULL)
		abort();
	for (int i = 0; i < layers; i++)
	{
		product->weights[i] = new_memory(product, weight_layout);
		fill(product, product->weights[i], weight_types[precision], weight_dims,
			 inner_product ? dnnl_ab : dnnl_ba);
	}
	return product;
}

static Product *
open_matmul(ProductPrecision precision, const ProductShape *shape, int rows, int layers)
{
	return open_product(false, precision, shape, rows, layers);
}

static Product *
open_inner_product(ProductPrecision precision, const ProductShape *shape, int rows, int layers)
{
	return open_product(true, precision, shape, rows, layers);
}

static void
run_product(Product *product, int layer)
{
	const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, product->input},
										 {DNNL_ARG_WEIGHTS, product->weights[layer]},
										 {DNNL_ARG_DST, product->output}};

	check(dnnl_primitive_execute(product->primitive, product->stream, 3, arguments));
	check(dnnl_stream_wait(product->stream));
}

static void
close_product(Product *product)
{
	for (int i = 0; i < product->layers; i++)
		check(dnnl_memory_destroy(product->weights[i]));
	free(product->weights);
	check(dnnl_memory_destroy(product->input));
	check(dnnl_memory_destroy(product->output));
	check(dnnl_primitive_destroy(product->primitive));
	check(dnnl_primitive_desc_destroy(product->description));
	check(dnnl_stream_destroy(product->stream));
	check(dnnl_engine_destroy(product->engine));
	free(product);
}

const ProductLibrary product_dnnl_matmul = {"oneDNN matmul", open_matmul, run_product,
											close_product};
const ProductLibrary product_dnnl_inner_product = {"oneDNN inner product", open_inner_product,
												   run_product, close_product};
