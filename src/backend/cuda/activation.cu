/*
 * activation.cu
 *	  Bias and activation in one pass over the output of a product.
 *
 * Eight halves a thread, 16 bytes in and out. The column of an element, which
 * only the bias asks for, costs a division; products that add their bias
 * themselves leave it out.
 */
#include "backend/cuda/elementwise.cuh"

ELEMENT_KERNEL void
activate_halves(__half *values, const __half *bias, size_t n, int dim, BrActivation activation)
{
	for (size_t v = element_first(); v < n / BR_HALF_STEP; v += element_step())
	{
		float eight[BR_HALF_STEP];
		__half *place = values + v * BR_HALF_STEP;

		read_halves(place, eight);
		if (bias != NULL)
		{
			float more[BR_HALF_STEP];

			read_halves(bias + v * BR_HALF_STEP % (size_t) dim, more);
			for (int i = 0; i < BR_HALF_STEP; i++)
				eight[i] += more[i];
		}
#pragma unroll
		for (int i = 0; i < BR_HALF_STEP; i++)
			eight[i] = activate(eight[i], activation);
		write_halves(eight, place);
	}
}

/* Where rows are not made of eights. */
ELEMENT_KERNEL void
activate_odd_halves(__half *values, const __half *bias, size_t n, int dim, BrActivation activation)
{
	for (size_t i = element_first(); i < n; i += element_step())
	{
		float value = __half2float(values[i]);

		if (bias != NULL)
			value += __half2float(bias[i % (size_t) dim]);
		values[i] = __float2half(activate(value, activation));
	}
}

ELEMENT_KERNEL void
activate_floats(float *values, const float *bias, size_t n, int dim, BrActivation activation)
{
	for (size_t i = element_first(); i < n; i += element_step())
	{
		float value = values[i];

		if (bias != NULL)
			value += bias[i % (size_t) dim];
		values[i] = activate(value, activation);
	}
}

void
br_cuda_activate(BrStream stream, BrHalf *values, const BrHalf *bias, int rows, int dim,
				 BrActivation activation)
{
	size_t n = (size_t) rows * (size_t) dim;
	__half *place = (__half *) values;
	const __half *added = (const __half *) bias;

	if (n == 0)
		return;
	if (dim % BR_HALF_STEP == 0)
		BR_LAUNCH(activate_halves, element_blocks(n / BR_HALF_STEP), ELEMENT_THREADS, 0, stream,
				  place, added, n, dim, activation);
	else
		BR_LAUNCH(activate_odd_halves, element_blocks(n), ELEMENT_THREADS, 0, stream, place, added,
				  n, dim, activation);
}

void
br_cuda_activate_floats(BrStream stream, float *values, const float *bias, int rows, int dim,
						BrActivation activation)
{
	size_t n = (size_t) rows * (size_t) dim;

	if (n > 0)
		BR_LAUNCH(activate_floats, element_blocks(n), ELEMENT_THREADS, 0, stream, values, bias, n,
				  dim, activation);
}
