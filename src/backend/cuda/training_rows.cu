/*
 * training_rows.cu
 *	  What training does row by row or number by number, both ways.
 *
 * Rows are floats and are read again where they are needed again: they are still
 * in the nearest cache. A warp has a row. Random numbers of dropout come by
 * their place, eight of a block of Philox, so that a thread has eight numbers.
 */
#include "backend/cuda/dropout.cuh"
#include "backend/cuda/elementwise.cuh"
#include "backend/cuda/training.h"

#define ROW_WARPS 4
#define ROW_THREADS (ROW_WARPS * BR_WARP)
#define ROW_KERNEL static __global__ __launch_bounds__(ROW_THREADS)

static __device__ inline size_t
row_of_warp(void)
{
	return (size_t) blockIdx.x * ROW_WARPS + threadIdx.x / BR_WARP;
}

static __device__ inline int
lane_of_warp(void)
{
	return (int) threadIdx.x % BR_WARP;
}

/* ---- dropout ---- */

ELEMENT_KERNEL void
drop_rows(BrDropout dropout, const float *input, size_t rows, int dim, float *output)
{
	size_t blocks = ((size_t) dim + DROPOUT_EACH - 1) / DROPOUT_EACH;
	float scale = dropout_scale(dropout.share);

	for (size_t i = element_first(); i < rows * blocks; i += element_step())
	{
		size_t row = i / blocks;
		size_t first = i % blocks * DROPOUT_EACH;
		unsigned kept = dropout_bits(dropout, row, (unsigned) (i % blocks));

		for (size_t j = 0; j < DROPOUT_EACH && first + j < (size_t) dim; j++)
		{
			size_t place = row * (size_t) dim + first + j;

			output[place] = (kept >> j & 1) != 0 ? input[place] * scale : 0;
		}
	}
}

void
br_cuda_drop_rows(BrStream stream, BrDropout dropout, const float *input, int rows, int dim,
				  float *output)
{
	size_t n = (size_t) rows * (size_t) ((dim + DROPOUT_EACH - 1) / DROPOUT_EACH);

	if (n > 0)
		BR_LAUNCH(drop_rows, element_blocks(n), ELEMENT_THREADS, 0, stream, dropout, input,
				  (size_t) rows, dim, output);
}

/* ---- embeddings ---- */

ELEMENT_KERNEL void
sum_embedded(const int32_t *ids, const int32_t *positions, const float *word, const float *position,
			 const float *type_row, size_t rows, int dim, float *sum)
{
	size_t width = (size_t) dim;

	for (size_t i = element_first(); i < rows * width; i += element_step())
	{
		size_t row = i / width;
		size_t column = i % width;
		float value = word[(size_t) ids[row] * width + column] +
			position[(size_t) positions[row] * width + column];

		sum[i] = type_row != NULL ? value + type_row[column] : value;
	}
}

void
br_cuda_sum_embedded(BrStream stream, const int32_t *ids, const int32_t *positions,
					 const float *word, const float *position, const float *type_row, int rows,
					 int dim, float *sum)
{
	size_t n = (size_t) rows * (size_t) dim;

	if (n > 0)
		BR_LAUNCH(sum_embedded, element_blocks(n), ELEMENT_THREADS, 0, stream, ids, positions, word,
				  position, type_row, (size_t) rows, dim, sum);
}

/* ---- layer norm ---- */

ROW_KERNEL void
norm_rows(const float *added, const float *gain, const float *bias, float epsilon, size_t rows,
		  int dim, float *sum, float *moments, float *output)
{
	size_t number = row_of_warp();
	size_t start = number * (size_t) dim;
	float total = 0;
	float squares = 0;
	float mean;
	float scale;

	if (number >= rows)
		return;
	/* each lane goes on with what it wrote itself */
	for (int i = lane_of_warp(); i < dim; i += BR_WARP)
	{
		float value = sum[start + i];

		if (added != NULL)
			sum[start + i] = value += added[start + i];
		total += value;
	}
	mean = warp_sum(total) / (float) dim;
	for (int i = lane_of_warp(); i < dim; i += BR_WARP)
		squares += (sum[start + i] - mean) * (sum[start + i] - mean);
	scale = 1 / sqrtf(warp_sum(squares) / (float) dim + epsilon);
	for (int i = lane_of_warp(); i < dim; i += BR_WARP)
		output[start + i] = (sum[start + i] - mean) * scale * gain[i] + bias[i];
	if (lane_of_warp() == 0)
	{
		moments[2 * number] = mean;
		moments[2 * number + 1] = scale;
	}
}

void
br_cuda_norm_rows(BrStream stream, const float *added, const float *gain, const float *bias,
				  float epsilon, int rows, int dim, float *sum, float *moments, float *output)
{
	if (rows > 0)
		BR_LAUNCH(norm_rows, blocks_for((size_t) rows, ROW_WARPS), ROW_THREADS, 0, stream, added,
				  gain, bias, epsilon, (size_t) rows, dim, sum, moments, output);
}

/*
 * With z = (sum - mean) scale and s = slope of the output times gain, the slope
 * of the sum is scale (s - mean of s - z mean of s z).
 */
ROW_KERNEL void
norm_slopes(const float *sum, const float *moments, const float *gain, const float *output_slope,
			size_t rows, int dim, float *slope)
{
	size_t number = row_of_warp();
	size_t start = number * (size_t) dim;
	float total = 0;
	float products = 0;
	float mean;
	float scale;

	if (number >= rows)
		return;
	mean = moments[2 * number];
	scale = moments[2 * number + 1];
	for (int i = lane_of_warp(); i < dim; i += BR_WARP)
	{
		float own = output_slope[start + i] * gain[i];

		total += own;
		products += own * (sum[start + i] - mean) * scale;
	}
	total = warp_sum(total) / (float) dim;
	products = warp_sum(products) / (float) dim;
	for (int i = lane_of_warp(); i < dim; i += BR_WARP)
		slope[start + i] = scale *
			(output_slope[start + i] * gain[i] - total -
			 (sum[start + i] - mean) * scale * products);
}

void
br_cuda_norm_slopes(BrStream stream, const float *sum, const float *moments, const float *gain,
					const float *output_slope, int rows, int dim, float *slope)
{
	if (rows > 0)
		BR_LAUNCH(norm_slopes, blocks_for((size_t) rows, ROW_WARPS), ROW_THREADS, 0, stream, sum,
				  moments, gain, output_slope, (size_t) rows, dim, slope);
}

/* ---- activations ---- */

#define INVERSE_SQRT_2_PI 0.39894228040143268f

static __device__ inline float
activation_slope(float x, BrActivation activation)
{
	float inner;

	switch (activation)
	{
		case BR_ACTIVATION_NONE:
			break;
		case BR_ACTIVATION_GELU_ERF:
			return 0.5f * erfcf(-x * SQRT_HALF) + x * INVERSE_SQRT_2_PI * expf(-0.5f * x * x);
		case BR_ACTIVATION_GELU_TANH:
			inner = tanhf(SQRT_2_OVER_PI * (x + GELU_TANH_CUBIC * x * x * x));
			return 0.5f * (1 + inner) +
				0.5f * x * (1 - inner * inner) * SQRT_2_OVER_PI * (1 + 3 * GELU_TANH_CUBIC * x * x);
		case BR_ACTIVATION_TANH:
			inner = tanhf(x);
			return 1 - inner * inner;
		case BR_ACTIVATION_RELU:
			return x > 0 ? 1 : 0;
	}
	return 1;
}

ELEMENT_KERNEL void
activate_into(const float *inner, size_t n, BrActivation activation, float *active)
{
	for (size_t i = element_first(); i < n; i += element_step())
		active[i] = activate(inner[i], activation);
}

ELEMENT_KERNEL void
multiply_slopes(const float *inner, size_t n, BrActivation activation, float *slope)
{
	for (size_t i = element_first(); i < n; i += element_step())
		slope[i] *= activation_slope(inner[i], activation);
}

void
br_cuda_activate_into(BrStream stream, const float *inner, size_t n, BrActivation activation,
					  float *active)
{
	if (n > 0)
		BR_LAUNCH(activate_into, element_blocks(n), ELEMENT_THREADS, 0, stream, inner, n,
				  activation, active);
}

void
br_cuda_activation_slope(BrStream stream, const float *inner, size_t n, BrActivation activation,
						 float *slope)
{
	if (n > 0)
		BR_LAUNCH(multiply_slopes, element_blocks(n), ELEMENT_THREADS, 0, stream, inner, n,
				  activation, slope);
}
