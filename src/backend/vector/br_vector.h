/*
 * br_vector.h
 *	  The operations of a CPU backend that are no matrix product, in vectors.
 *
 * Every CPU backend links these files into its own object and brings the
 * product: what it says below. One table per instruction set; tables differ
 * in their last bits, within the tolerances of test/backend.
 */
#ifndef BR_VECTOR_H
#define BR_VECTOR_H

#include "core/math/br_backend.h"

/* output = keep * output + left right'; the backend defines it */
extern void br_vector_multiply(const float *left /* (rows, depth) */,
							   const float *right /* (columns, depth) */, int rows, int columns,
							   int depth, float keep, float *output /* (rows, columns) */);

/* What one instruction set computes; the name and the products of its table are the backend's. */
typedef struct BrVectorSet
{
	int number; /* 0 to BR_VECTOR_SETS - 1 */
	BrBackend table;

	/* values = activation(values + bias), row by row; bias may be NULL */
	void (*finish)(float *values /* (rows, dim) */, const float *bias /* (dim) */, int rows,
				   int dim, BrActivation activation);
} BrVectorSet;

#define BR_VECTOR_SETS 3

/* The largest that this processor has and BR_BACKEND_ISA_VARIABLE allows. */
extern const BrVectorSet *br_vector_set(void);

/* What every processor that the compiler targets can run. */
extern const BrVectorSet *br_vector_set_baseline(void);

/* NULL where the processor or the build lacks the instructions. */
extern const BrVectorSet *br_vector_set_avx2(void);
extern const BrVectorSet *br_vector_set_avx512(void);

#endif /* BR_VECTOR_H */
