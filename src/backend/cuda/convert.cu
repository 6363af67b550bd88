/*
 * convert.cu
 *	  Between floats and halves, eight at a time.
 */
#include "backend/cuda/elementwise.cuh"

static __global__ void
to_half(const float *values, size_t n, __half *halves)
{
	size_t vectors = n / BR_HALF_STEP;
	size_t rest = vectors * BR_HALF_STEP + element_first();

	for (size_t v = element_first(); v < vectors; v += element_step())
	{
		const float4 *from = (const float4 *) (values + v * BR_HALF_STEP);
		float4 low = from[0];
		float4 high = from[1];
		float eight[BR_HALF_STEP] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};

		write_halves(eight, halves + v * BR_HALF_STEP);
	}
	if (rest < n)
		halves[rest] = __float2half(values[rest]);
}

static __global__ void
to_float(const __half *halves, size_t n, float *values)
{
	size_t vectors = n / BR_HALF_STEP;
	size_t rest = vectors * BR_HALF_STEP + element_first();

	for (size_t v = element_first(); v < vectors; v += element_step())
	{
		float eight[BR_HALF_STEP];
		float4 *to = (float4 *) (values + v * BR_HALF_STEP);

		read_halves(halves + v * BR_HALF_STEP, eight);
		to[0] = make_float4(eight[0], eight[1], eight[2], eight[3]);
		to[1] = make_float4(eight[4], eight[5], eight[6], eight[7]);
	}
	if (rest < n)
		values[rest] = __half2float(halves[rest]);
}

/* At least one block, for what is left over of the eights. */
static unsigned
blocks_of_eights(size_t n)
{
	return element_blocks(n / BR_HALF_STEP + 1);
}

void
br_cuda_to_half(BrStream stream, const float *values, size_t n, BrHalf *halves)
{
	if (n > 0)
		BR_LAUNCH(to_half, blocks_of_eights(n), ELEMENT_THREADS, 0, stream, values, n,
				  (__half *) halves);
}

void
br_cuda_to_float(BrStream stream, const BrHalf *halves, size_t n, float *values)
{
	if (n > 0)
		BR_LAUNCH(to_float, blocks_of_eights(n), ELEMENT_THREADS, 0, stream,
				  (const __half *) halves, n, values);
}
