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

/* Tables of one backend, one for each instruction set. */
#define BR_VECTOR_SETS 3

/*
 * Copies the table of the largest instruction set that this processor has and
 * BR_BACKEND_ISA_VARIABLE allows to its place among the backend's own, which
 * is returned; name and products are for the backend to set.
 */
extern BrBackend *br_vector_table(BrBackend tables[BR_VECTOR_SETS]);

/* What every processor that the compiler targets can run. */
extern const BrBackend *br_vector_table_baseline(void);

/* NULL where the processor or the build lacks the instructions. */
extern const BrBackend *br_vector_table_avx2(void);
extern const BrBackend *br_vector_table_avx512(void);

#endif /* BR_VECTOR_H */
