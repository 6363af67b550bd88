/*
 * normal_lanes.c
 *	  Normal draws of eight streams at once.
 *
 * Streams are independent of one another, so a processor that computes on
 * several numbers at once can take each from a stream of its own. The portable
 * form says what the draws are; that for AVX2 (normal_x86.c) gives the same
 * bits.
 */
#include "core/math/math_int.h"

void
br_math_normal_lanes_portable(uint64_t key, uint64_t first_stream, size_t n, double *values)
{
	for (int lane = 0; lane < BR_MATH_NORMAL_LANES; lane++)
	{
		BrRandom random;

		br_base_random_init(&random, key, first_stream + (uint64_t) lane);
		for (size_t i = 0; i < n; i++)
			values[i * BR_MATH_NORMAL_LANES + (size_t) lane] = br_math_normal(&random);
	}
}

void
br_math_normal_lanes(uint64_t key, uint64_t first_stream, size_t n, double *values)
{
	BrNormalLanes lanes = br_math_normal_lanes_avx2();

	if (lanes == NULL)
		lanes = br_math_normal_lanes_portable;
	lanes(key, first_stream, n, values);
}
