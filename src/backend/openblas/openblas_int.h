/*
 * openblas_int.h
 *	  What the files of the OpenBLAS backend share: the matrix product, and one
 *	  table per instruction set.
 *
 * The tables differ in everything but the product, and in their last bits,
 * within the tolerances of test/backend.
 */
#ifndef BR_OPENBLAS_INT_H
#define BR_OPENBLAS_INT_H

#include "core/math/br_backend.h"

/* output = keep * output + left right'; OpenBLAS chooses its own instructions */
extern void br_openblas_multiply(const float *left /* (rows, depth) */,
								 const float *right /* (columns, depth) */, int rows, int columns,
								 int depth, float keep, float *output /* (rows, columns) */);

/* What every processor that the compiler targets can run. */
extern const BrBackend *br_openblas_table_baseline(void);

/* NULL where the processor or the build lacks the instructions. */
extern const BrBackend *br_openblas_table_avx2(void);
extern const BrBackend *br_openblas_table_avx512(void);

#endif /* BR_OPENBLAS_INT_H */
