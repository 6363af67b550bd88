/*
 * norm.cu
 *	  Residual and layer norm in one pass (row.cuh).
 */
#include "backend/cuda/row.cuh"

struct SumRow
{
	const __half *input;	/* (dim) */
	const __half *residual; /* (dim), may be NULL */

	__device__ inline void read(int column, float *values) const
	{
		read_halves(input + column, values);
		if (residual != NULL)
		{
			float more[BR_HALF_STEP];

			read_halves(residual + column, more);
			for (int i = 0; i < BR_HALF_STEP; i++)
				values[i] += more[i];
		}
	}

	__device__ inline float at(int column) const
	{
		float value = __half2float(input[column]);

		return residual != NULL ? value + __half2float(residual[column]) : value;
	}
};

template <int VECTORS>
ROW_KERNEL void
add_layer_norm(const __half *input, const __half *residual, Norm norm)
{
	size_t number = row_of_warp();
	size_t start = number * (size_t) norm.dim;
	SumRow row;

	if (number >= (size_t) norm.rows)
		return;
	row.input = input + start;
	row.residual = residual != NULL ? residual + start : NULL;
	norm_row<SumRow, VECTORS>(row, norm, number);
}

void
br_cuda_add_layer_norm(BrStream stream, const BrHalf *input, const BrHalf *residual,
					   const float *gain, const float *bias, float epsilon, int rows, int dim,
					   BrHalf *output)
{
	Norm norm = {gain, bias, epsilon, rows, dim, (__half *) output};
	unsigned blocks = blocks_for((size_t) rows, ROW_WARPS);
	const __half *from = (const __half *) input;
	const __half *more = (const __half *) residual;

	if (rows == 0)
		return;
	switch (row_vectors(dim))
	{
		case ROW_FEW:
			BR_LAUNCH(add_layer_norm<ROW_FEW>, blocks, ROW_THREADS, 0, stream, from, more, norm);
			break;
		case ROW_MANY:
			BR_LAUNCH(add_layer_norm<ROW_MANY>, blocks, ROW_THREADS, 0, stream, from, more, norm);
			break;
		default:
			BR_LAUNCH(add_layer_norm<0>, blocks, ROW_THREADS, 0, stream, from, more, norm);
	}
}
