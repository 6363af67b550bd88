/*
 * openblas_backend.c
 *	  The tensor operations over OpenBLAS: the product, and the choice of table.
 *
 * Matrix products are OpenBLAS's, which chooses its kernels itself; everything
 * around them is ours (kernels_template.h). The loader sets
 * OPENBLAS_NUM_THREADS=1 before it loads this object: OpenBLAS would start its
 * threads at loading, and this backend computes in the caller's thread only.
 */
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "backend/openblas/openblas_int.h"

extern const BrBackend *br_backend_table(void);

void
br_openblas_multiply(const float *left, const float *right, int rows, int columns, int depth,
					 float keep, float *output)
{
	if (rows > 0 && columns > 0)
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, columns, depth, 1, left, depth,
					right, depth, keep, output, columns);
}

__attribute__((visibility("default"))) const BrBackend *
br_backend_table(void)
{
	const char *most = getenv(BR_BACKEND_ISA_VARIABLE);
	const BrBackend *table = NULL;

	if (most == NULL || strcmp(most, "avx512") == 0)
		table = br_openblas_table_avx512();
	if (table == NULL && (most == NULL || strcmp(most, "baseline") != 0))
		table = br_openblas_table_avx2();
	return table != NULL ? table : br_openblas_table_baseline();
}
