/*
 * packed_products.h
 *	  What tests of packed products share: shapes, and matrices with guards.
 */
#ifndef BR_TEST_PACKED_PRODUCTS_H
#define BR_TEST_PACKED_PRODUCTS_H

#include "backend/operations.h"

typedef struct Shape
{
	int rows;
	int in_dim;
	int out_dim;
} Shape;

/* Calls check for odd shapes, with every activation and with and without bias in turn. */
extern void for_all_shapes(const BrBackend *table,
						   void (*check)(const BrBackend *table, Shape shape, bool with_bias,
										 BrActivation activation));

typedef struct Packed
{
	const BrBackend *table;
	BrPrecision precision;
	int in_dim;
	int out_dim;
	size_t size;
	void *block;
} Packed;

/* Its block is to be freed. factor: as in br_backend.h, may be NULL. */
extern Packed pack_matrix(const BrBackend *table, BrPrecision precision,
						  const float *weight /* (out_dim, in_dim) */,
						  const float *factor /* (in_dim) */, int in_dim, int out_dim);

/* Multiplies, and checks that nothing but the output, which is guarded, was written. */
extern void run_packed(const Packed *packed, const float *input, const float *bias, int rows,
					   BrActivation activation, float *output);

/* Products of bytes; the state of each is a Variant that packs int8. */
#define BYTES_TESTS 3
extern const struct CMUnitTest bytes_tests[BYTES_TESTS];

#endif /* BR_TEST_PACKED_PRODUCTS_H */
