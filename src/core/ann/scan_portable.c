/*
 * scan_portable.c
 *	  The kernels of codes in plain C: what the others are checked against.
 */
#include <math.h>

#include "core/ann/ann_int.h"
#include "core/math/br_math.h"

static float
product(const float *query, const uint16_t *centroid, int n)
{
	float lanes[BR_ANN_LANES] = {0};

	for (int i = 0; i < n; i++)
		lanes[i % BR_ANN_LANES] += query[i] * br_math_half_to_float(centroid[i]);
	for (int width = BR_ANN_LANES / 2; width > 0; width /= 2)
		for (int lane = 0; lane < width; lane++)
			lanes[lane] += lanes[lane + width];
	return lanes[0];
}

static uint32_t
scan_block(const BrScan *scan, float *bounds)
{
	uint32_t sums[BR_ANN_BLOCK_ROWS] = {0};
	uint32_t found = 0;

	for (int pair = 0; pair < scan->pairs; pair++)
	{
		const uint8_t *first = scan->tables + pair / 2 * 128 + pair % 2 * 32;
		const uint8_t *second = first + 64;
		const uint8_t *codes = scan->codes + pair * BR_ANN_BLOCK_ROWS;

		for (int row = 0; row < BR_ANN_BLOCK_ROWS; row++)
			sums[row] += (uint32_t) first[codes[row] & 15] + second[codes[row] >> 4];
	}
	for (int row = 0; row < BR_ANN_BLOCK_ROWS; row++)
	{
		float dot = scan->step * (float) sums[row] + scan->offset;
		float estimate = scan->base + scan->add[row] - scan->scale[row] * dot;

		bounds[row] = estimate - BR_ANN_ROUNDING * fabsf(scan->add[row]);
		if (bounds[row] < scan->below && !(bounds[row] < scan->from))
			found |= UINT32_C(1) << row;
	}
	return found;
}

const BrCodeKernels *
br_ann_code_kernels_portable(void)
{
	static const BrCodeKernels kernels = {"portable", product, scan_block};

	return &kernels;
}
