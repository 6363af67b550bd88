/*
 * product.c
 *	  oneDNN's products over packed weights, by shape.
 *
 * oneDNN compiles a kernel for every shape and chooses the form of its weights.
 * Both are kept here, for the few shapes of a process's models: rows come in
 * blocks, so that a shape has eight kernels, of about 60 kB each, and not one
 * for every number of rows. The weights' form is that of a whole block, to
 * which the kernels for fewer rows are bound.
 *
 * Several threads compute at once. They hold the lock together while they
 * look a product up and use it; it is held alone to add one or, when there are
 * too many, to forget all.
 */
#define _POSIX_C_SOURCE 200809L /* pthread_rwlock_t */

#include <pthread.h>
#include <stdlib.h>

#include <oneapi/dnnl/dnnl.h>

#include "backend/onednn/onednn_int.h"
#include "backend/onednn/signals.h"

#define MAX_PRODUCTS 64
#define ROW_COUNTS (BR_ONEDNN_BLOCK / BR_ONEDNN_STEP)

struct BrProduct
{
	BrPrecision precision;
	int in_dim;
	int out_dim;
	dnnl_memory_desc_t weights; /* as packed */
	size_t scratchpad;			/* bytes that any kernel needs: several threads must not share */
	dnnl_primitive_t kernels[ROW_COUNTS];
};

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static BrProduct products[MAX_PRODUCTS];
static int n_products = 0;
static dnnl_engine_t engine = NULL;
static dnnl_stream_t stream = NULL;
static dnnl_primitive_attr_t attributes = NULL; /* the scratchpad is the caller's */

static dnnl_data_type_t
input_type(BrPrecision precision)
{
	return precision == BR_PRECISION_F32 ? dnnl_f32
		: precision == BR_PRECISION_BF16 ? dnnl_bf16
										 : dnnl_u8;
}

static dnnl_data_type_t
weight_type(BrPrecision precision)
{
	return precision == BR_PRECISION_INT8 ? dnnl_s8 : input_type(precision);
}

static dnnl_data_type_t
output_type(BrPrecision precision)
{
	return precision == BR_PRECISION_INT8 ? dnnl_s32 : dnnl_f32;
}

/* Row-major (rows, columns). */
static bool
describe(dnnl_memory_desc_t *desc, int rows, int columns, dnnl_data_type_t type)
{
	dnnl_dims_t dims = {rows, columns};

	return dnnl_memory_desc_init_by_tag(desc, 2, dims, type, dnnl_ab) == dnnl_success;
}

/* The kernel for some rows over weights of a form, which oneDNN chooses where choose says so. */
static dnnl_primitive_desc_t
describe_kernel(const BrProduct *product, int rows, bool choose)
{
	dnnl_dims_t dims = {product->in_dim, product->out_dim};
	dnnl_memory_desc_t input;
	dnnl_memory_desc_t output;
	dnnl_memory_desc_t weights = product->weights;
	dnnl_matmul_desc_t matmul;
	dnnl_primitive_desc_t result = NULL;

	if (choose &&
		dnnl_memory_desc_init_by_tag(&weights, 2, dims, weight_type(product->precision),
									 dnnl_format_tag_any) != dnnl_success)
		return NULL;
	if (!describe(&input, rows, product->in_dim, input_type(product->precision)) ||
		!describe(&output, rows, product->out_dim, output_type(product->precision)) ||
		dnnl_matmul_desc_init(&matmul, &input, &weights, NULL, &output) != dnnl_success ||
		dnnl_primitive_desc_create(&result, &matmul, attributes, engine, NULL) != dnnl_success)
		return NULL;
	return result;
}

static bool
create_kernel(BrProduct *product, int rows)
{
	dnnl_primitive_t *kernel = &product->kernels[rows / BR_ONEDNN_STEP - 1];
	dnnl_primitive_desc_t desc = describe_kernel(product, rows, false);
	bool done;

	if (desc == NULL)
		return false;
	done = dnnl_primitive_create(kernel, desc) == dnnl_success;
	dnnl_primitive_desc_destroy(desc);
	if (!done)
		*kernel = NULL;
	return done;
}

/* ---- the products there are ---- */

static BrProduct *
find(BrPrecision precision, int in_dim, int out_dim)
{
	for (int i = 0; i < n_products; i++)
		if (products[i].precision == precision && products[i].in_dim == in_dim &&
			products[i].out_dim == out_dim)
			return &products[i];
	return NULL;
}

static void
forget_all(void)
{
	for (int i = 0; i < n_products; i++)
		for (int j = 0; j < ROW_COUNTS; j++)
			if (products[i].kernels[j] != NULL)
				dnnl_primitive_destroy(products[i].kernels[j]);
	n_products = 0;
}

static bool
open_engine(void)
{
	if (stream != NULL)
		return true;
	/* what is kept here need not be kept by the library as well */
	dnnl_set_primitive_cache_capacity(0);
	if (engine == NULL && dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success)
		return false;
	if (attributes == NULL && dnnl_primitive_attr_create(&attributes) != dnnl_success)
		return false;
	if (dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user) !=
		dnnl_success)
		return false;
	return dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success;
}

static size_t
scratchpad_size(const_dnnl_primitive_desc_t desc)
{
	return dnnl_memory_desc_get_size(
		dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0));
}

/* What the kernels of all numbers of rows need; false: one of them cannot be. */
static bool
measure_scratchpad(BrProduct *product)
{
	for (int rows = BR_ONEDNN_STEP; rows <= BR_ONEDNN_BLOCK; rows += BR_ONEDNN_STEP)
	{
		dnnl_primitive_desc_t desc = describe_kernel(product, rows, false);
		size_t size;

		if (desc == NULL)
			return false;
		size = scratchpad_size(desc);
		product->scratchpad = size > product->scratchpad ? size : product->scratchpad;
		dnnl_primitive_desc_destroy(desc);
	}
	return true;
}

static bool
add(BrPrecision precision, int in_dim, int out_dim)
{
	BrProduct created = {.precision = precision, .in_dim = in_dim, .out_dim = out_dim};
	dnnl_primitive_desc_t desc;

	if (find(precision, in_dim, out_dim) != NULL)
		return true;
	if (!open_engine())
		return false;
	desc = describe_kernel(&created, BR_ONEDNN_BLOCK, true);
	if (desc == NULL)
		return false;
	created.weights = *dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
	dnnl_primitive_desc_destroy(desc);
	if (!measure_scratchpad(&created))
		return false;
	if (n_products == MAX_PRODUCTS)
		forget_all();
	products[n_products++] = created;
	return true;
}

BrProduct *
br_onednn_acquire(BrPrecision precision, int in_dim, int out_dim)
{
	for (;;)
	{
		BrProduct *product;
		bool added;

		pthread_rwlock_rdlock(&lock);
		product = find(precision, in_dim, out_dim);
		if (product != NULL)
			return product;
		pthread_rwlock_unlock(&lock);

		pthread_rwlock_wrlock(&lock);
		added = add(precision, in_dim, out_dim);
		pthread_rwlock_unlock(&lock);
		if (!added)
			return NULL;
	}
}

void
br_onednn_release(BrProduct *product)
{
	(void) product;
	pthread_rwlock_unlock(&lock);
}

/* The kernel for rows, made on first use, with the lock held by many as before. */
static dnnl_primitive_t
kernel_for(BrProduct *product, int rows)
{
	static pthread_mutex_t creating = PTHREAD_MUTEX_INITIALIZER;
	dnnl_primitive_t *kernel = &product->kernels[rows / BR_ONEDNN_STEP - 1];
	dnnl_primitive_t found = __atomic_load_n(kernel, __ATOMIC_ACQUIRE);

	if (found != NULL)
		return found;
	pthread_mutex_lock(&creating);
	if (*kernel == NULL)
		(void) create_kernel(product, rows);
	found = *kernel;
	pthread_mutex_unlock(&creating);
	return found;
}

/* ---- weights and products ---- */

static bool
execute(dnnl_primitive_t primitive, const dnnl_exec_arg_t *arguments, int n)
{
	sigset_t before;
	bool done;

	br_onednn_hold_signals(&before);
	done = dnnl_primitive_execute(primitive, stream, n, arguments) == dnnl_success;
	br_onednn_let_signals(&before);
	return done;
}

size_t
br_onednn_weights_size(const BrProduct *product)
{
	return dnnl_memory_desc_get_size(&product->weights);
}

size_t
br_onednn_scratchpad_size(const BrProduct *product)
{
	return product->scratchpad;
}

bool
br_onednn_pack_weights(BrProduct *product, const void *weight, void *packed)
{
	/* oneDNN's weights are (in_dim, out_dim) */
	dnnl_dims_t dims = {product->in_dim, product->out_dim};
	dnnl_dims_t strides = {1, product->in_dim};
	dnnl_memory_desc_t plain;
	dnnl_memory_t from = NULL;
	dnnl_memory_t to = NULL;
	dnnl_primitive_desc_t desc = NULL;
	dnnl_primitive_t reorder = NULL;
	bool done = false;

	if (dnnl_memory_desc_init_by_strides(&plain, 2, dims,
										 product->precision == BR_PRECISION_INT8 ? dnnl_s8
																				 : dnnl_f32,
										 strides) == dnnl_success &&
		dnnl_memory_create(&from, &plain, engine, (void *) weight) == dnnl_success &&
		dnnl_memory_create(&to, &product->weights, engine, packed) == dnnl_success &&
		dnnl_reorder_primitive_desc_create(&desc, &plain, engine, &product->weights, engine,
										   NULL) == dnnl_success &&
		dnnl_primitive_create(&reorder, desc) == dnnl_success)
	{
		dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};

		done = execute(reorder, arguments, 2);
	}
	dnnl_primitive_destroy(reorder);
	dnnl_primitive_desc_destroy(desc);
	dnnl_memory_destroy(from);
	dnnl_memory_destroy(to);
	return done;
}

static bool
make_memory(dnnl_memory_t *memory, int rows, int columns, dnnl_data_type_t type, void *data)
{
	dnnl_memory_desc_t desc;

	return describe(&desc, rows, columns, type) &&
		dnnl_memory_create(memory, &desc, engine, data) == dnnl_success;
}

static bool
make_scratchpad(dnnl_memory_t *memory, size_t size, void *data)
{
	dnnl_memory_desc_t desc;
	dnnl_dims_t dims = {(dnnl_dim_t) size};

	return dnnl_memory_desc_init_by_tag(&desc, 1, dims, dnnl_u8, dnnl_a) == dnnl_success &&
		dnnl_memory_create(memory, &desc, engine, data) == dnnl_success;
}

bool
br_onednn_multiply(BrProduct *product, const void *input, const void *packed, int rows,
				   void *scratchpad, void *output)
{
	dnnl_primitive_t kernel = kernel_for(product, rows);
	dnnl_memory_t memory[4] = {NULL, NULL, NULL, NULL};
	bool done = false;

	if (kernel != NULL &&
		make_memory(&memory[0], rows, product->in_dim, input_type(product->precision),
					(void *) input) &&
		dnnl_memory_create(&memory[1], &product->weights, engine, (void *) packed) ==
			dnnl_success &&
		make_memory(&memory[2], rows, product->out_dim, output_type(product->precision), output) &&
		make_scratchpad(&memory[3], product->scratchpad, scratchpad))
	{
		dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, memory[0]},
									   {DNNL_ARG_WEIGHTS, memory[1]},
									   {DNNL_ARG_DST, memory[2]},
									   {DNNL_ARG_SCRATCHPAD, memory[3]}};

		done = execute(kernel, arguments, 4);
	}
	for (int i = 0; i < 4; i++)
		dnnl_memory_destroy(memory[i]);
	return done;
}
