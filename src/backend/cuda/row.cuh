/*
 * row.cuh
 *	  Layer norm of one row by one warp, wherever the row comes from.
 *
 * A row of up to 1024 halves is kept in the registers of a warp, 16 bytes a lane
 * at a time: it is read once, mean and variance are two sums over the warp, and
 * it is written once. So the norms run at the memory's speed. Gain and bias are
 * read by every warp, but from the nearest cache. Other rows are read three
 * times, element by element. A Row is where a row comes from:
 *
 *		read(column, values)	eight floats from column on
 *		at(column)				one
 */
#ifndef BR_CUDA_ROW_CUH
#define BR_CUDA_ROW_CUH

#include "backend/cuda/kernel.cuh"

/* Threads of a block, each warp with a row of its own. */
#define ROW_WARPS 4
#define ROW_THREADS (ROW_WARPS * BR_WARP)
#define ROW_KERNEL static __global__ __launch_bounds__(ROW_THREADS)

/* Eights that a lane keeps of a row. */
#define ROW_FEW 2  /* dim <= 512 */
#define ROW_MANY 4 /* dim <= 1024 */

#define ROW_LIMIT(vectors) ((vectors) *BR_WARP * BR_HALF_STEP)

typedef struct Norm
{
	const float *gain; /* (dim); NULL: the row is written as it is */
	const float *bias; /* (dim) */
	float epsilon;
	int rows;
	int dim;
	__half *output; /* (rows, dim) */
} Norm;

template <class Row, int VECTORS>
static __device__ inline void
norm_in_registers(const Row &row, const Norm &norm, size_t number)
{
	int lane = (int) threadIdx.x % BR_WARP;
	__half *output = norm.output + number * (size_t) norm.dim;
	float values[VECTORS][BR_HALF_STEP];
	float sum = 0;
	float squares = 0;
	float mean;
	float scale;

#pragma unroll
	for (int v = 0; v < VECTORS; v++)
	{
		int column = (v * BR_WARP + lane) * BR_HALF_STEP;

		for (int i = 0; i < BR_HALF_STEP; i++)
			values[v][i] = 0;
		if (column < norm.dim)
			row.read(column, values[v]);
		for (int i = 0; i < BR_HALF_STEP; i++)
			sum += values[v][i];
	}
	mean = warp_sum(sum) / (float) norm.dim;
#pragma unroll
	for (int v = 0; v < VECTORS; v++)
		if ((v * BR_WARP + lane) * BR_HALF_STEP < norm.dim)
			for (int i = 0; i < BR_HALF_STEP; i++)
				squares += (values[v][i] - mean) * (values[v][i] - mean);
	scale = 1 / sqrtf(warp_sum(squares) / (float) norm.dim + norm.epsilon);

#pragma unroll
	for (int v = 0; v < VECTORS; v++)
	{
		int column = (v * BR_WARP + lane) * BR_HALF_STEP;

		if (column >= norm.dim)
			continue;
		if (norm.gain != NULL)
			for (int i = 0; i < BR_HALF_STEP; i += 4)
			{
				float4 gain = *(const float4 *) (norm.gain + column + i);
				float4 bias = *(const float4 *) (norm.bias + column + i);

				values[v][i] = (values[v][i] - mean) * scale * gain.x + bias.x;
				values[v][i + 1] = (values[v][i + 1] - mean) * scale * gain.y + bias.y;
				values[v][i + 2] = (values[v][i + 2] - mean) * scale * gain.z + bias.z;
				values[v][i + 3] = (values[v][i + 3] - mean) * scale * gain.w + bias.w;
			}
		write_halves(values[v], output + column);
	}
}

/* Each lane writes only what it alone reads, so output may be where the row comes from. */
template <class Row>
static __device__ inline void
norm_element_by_element(const Row &row, const Norm &norm, size_t number)
{
	int lane = (int) threadIdx.x % BR_WARP;
	__half *output = norm.output + number * (size_t) norm.dim;
	float sum = 0;
	float squares = 0;
	float mean;
	float scale;

	for (int column = lane; column < norm.dim; column += BR_WARP)
		sum += row.at(column);
	mean = warp_sum(sum) / (float) norm.dim;
	for (int column = lane; column < norm.dim; column += BR_WARP)
		squares += (row.at(column) - mean) * (row.at(column) - mean);
	scale = 1 / sqrtf(warp_sum(squares) / (float) norm.dim + norm.epsilon);
	for (int column = lane; column < norm.dim; column += BR_WARP)
	{
		float value = row.at(column);

		if (norm.gain != NULL)
			value = (value - mean) * scale * norm.gain[column] + norm.bias[column];
		output[column] = __float2half(value);
	}
}

/* VECTORS 0: of any length. */
template <class Row, int VECTORS>
static __device__ inline void
norm_row(const Row &row, const Norm &norm, size_t number)
{
	if (VECTORS > 0)
		norm_in_registers<Row, VECTORS == 0 ? 1 : VECTORS>(row, norm, number);
	else
		norm_element_by_element(row, norm, number);
}

/* The row of this warp, which is beyond the last one in the last block. */
static __device__ inline size_t
row_of_warp(void)
{
	return (size_t) blockIdx.x * ROW_WARPS + threadIdx.x / BR_WARP;
}

/* How many eights a lane has to keep; 0: the row is not read in eights. */
static inline int
row_vectors(int dim)
{
	if (dim % BR_HALF_STEP != 0 || dim > ROW_LIMIT(ROW_MANY))
		return 0;
	return dim <= ROW_LIMIT(ROW_FEW) ? ROW_FEW : ROW_MANY;
}

#endif /* BR_CUDA_ROW_CUH */
