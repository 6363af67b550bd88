/*
 * packed_products.c
 *	  What tests of packed products share: shapes, and matrices with guards.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/packed_products.h"

#define GUARD_BYTES 64
#define GUARD_BYTE 0xA5

/* oneDNN keeps 64 shapes; there are more here, so that it forgets some on the way. */
static const int row_counts[] = {0, 1, 3, 4, 17, 31, 32, 33, 64, 129};
static const int small_dims[] = {1, 7, 32, 33};

static const BrActivation activations[] = {BR_ACTIVATION_NONE, BR_ACTIVATION_GELU_ERF,
										   BR_ACTIVATION_GELU_TANH, BR_ACTIVATION_TANH,
										   BR_ACTIVATION_RELU};

static const Shape large_shapes[] = {{1, 384, 384},	  {33, 384, 384},  {129, 384, 7},
									 {31, 33, 384},	  {17, 384, 1536}, {4, 1536, 384},
									 {3, 1536, 1536}, {64, 1536, 1},   {32, 1, 1536}};

void
for_all_shapes(const BrBackend *table,
			   void (*check)(const BrBackend *table, Shape shape, bool with_bias,
							 BrActivation activation))
{
	int n = 0;

	for (int in = 0; in < LENGTH(small_dims); in++)
		for (int out = 0; out < LENGTH(small_dims); out++)
			for (int rows = 0; rows < LENGTH(row_counts); rows++, n++)
				check(table, (Shape){row_counts[rows], small_dims[in], small_dims[out]},
					  n / LENGTH(activations) % 2 == 0, activations[n % LENGTH(activations)]);
	for (int i = 0; i < LENGTH(large_shapes); i++, n++)
		check(table, large_shapes[i], n % 2 == 0, activations[n % LENGTH(activations)]);
}

/* size bytes at a multiple of 64, and a guard behind them. */
static void *
guarded_block(size_t size)
{
	void *block = NULL;

	assert_int_equal(posix_memalign(&block, 64, size + GUARD_BYTES), 0);
	memset(block, GUARD_BYTE, size + GUARD_BYTES);
	return block;
}

static void
assert_block_guard(const void *block, size_t size)
{
	const unsigned char *bytes = block;

	for (size_t i = size; i < size + GUARD_BYTES; i++)
		assert_int_equal(bytes[i], GUARD_BYTE);
}

Packed
pack_matrix(const BrBackend *table, BrPrecision precision, const float *weight, const float *factor,
			int in_dim, int out_dim)
{
	Packed packed =
		{table, precision, in_dim, out_dim, table->packed_size(precision, in_dim, out_dim), NULL};

	assert_true(packed.size > 0);
	assert_int_equal(packed.size % 64, 0);
	packed.block = guarded_block(packed.size);
	assert_true(table->pack(precision, weight, factor, in_dim, out_dim, packed.block));
	assert_block_guard(packed.block, packed.size);
	return packed;
}

void
run_packed(const Packed *packed, const float *input, const float *bias, int rows,
		   BrActivation activation, float *output)
{
	size_t size =
		packed->table->packed_scratch(packed->precision, rows, packed->in_dim, packed->out_dim);
	void *scratch = guarded_block(size);
	void *before = malloc(packed->size);

	memcpy(before, packed->block, packed->size);
	assert_true(packed->table->linear_packed(packed->precision, input, packed->block, bias, rows,
											 packed->in_dim, packed->out_dim, activation, scratch,
											 output));
	assert_memory_equal(before, packed->block, packed->size);
	assert_block_guard(scratch, size);
	assert_guard(output, (size_t) rows * (size_t) packed->out_dim);
	free(before);
	free(scratch);
}
