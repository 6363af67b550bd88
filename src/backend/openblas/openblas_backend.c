/*
 * openblas_backend.c
 *	  The tensor operations over OpenBLAS: the products, and the table.
 *
 * Matrix products are OpenBLAS's, which chooses its kernels itself; everything
 * around them is backend/vector. The loader sets OPENBLAS_NUM_THREADS=1 before
 * it loads this object: OpenBLAS would start its threads at loading, and this
 * backend computes in the caller's thread only.
 */
#include <cblas.h>

#include "backend/vector/br_vector.h"

extern const BrBackend *br_backend_table(void);

void
br_vector_multiply(const float *left, const float *right, int rows, int columns, int depth,
				   float keep, float *output)
{
	if (rows > 0 && columns > 0)
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, columns, depth, 1, left, depth,
					right, depth, keep, output, columns);
}

static void
multiply_transposed_double(const double *left, const double *right, int rows, int columns,
						   int depth, int left_stride, int right_stride, int output_stride,
						   double scale, double keep, double *output)
{
	if (rows > 0 && columns > 0)
		cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, columns, depth, scale, left,
					left_stride, right, right_stride, keep, output, output_stride);
}

static void
multiply(BrFactor left, BrFactor right, int rows, int columns, int depth, float scale, float keep,
		 int output_stride, float *output)
{
	if (rows > 0 && columns > 0)
		cblas_sgemm(CblasRowMajor, left.transposed ? CblasTrans : CblasNoTrans,
					right.transposed ? CblasTrans : CblasNoTrans, rows, columns, depth, scale,
					left.values, left.stride, right.values, right.stride, keep, output,
					output_stride);
}

__attribute__((visibility("default"))) const BrBackend *
br_backend_table(void)
{
	static BrBackend tables[BR_VECTOR_SETS];
	const BrVectorSet *set = br_vector_set();
	BrBackend *table = &tables[set->number];

	*table = set->table;
	table->name = "openblas";
	table->multiply_transposed_double = multiply_transposed_double;
	table->multiply = multiply;
	return table;
}
