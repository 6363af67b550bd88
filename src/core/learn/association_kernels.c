/*
 * association_kernels.c
 *	  The loops of a softmax over columns, in plain C.
 *
 * exp takes most of the time where libm does it. Here e^x = 2^k e^r with
 * |r| <= ln(2)/2 and a polynomial for e^r, which single precision allows to be
 * short. Each set of kernels may round differently.
 */
#include <math.h>
#include <string.h>

#include "core/learn/association_int.h"

#define LANES BR_ASSOCIATION_LANES

static float
combine(const BrBlocks *blocks, const float *bias, float scale, float *scores)
{
	float greatest = -INFINITY;

	for (int block = 0; block < blocks->n; block++)
	{
		size_t first = (size_t) blocks->ids[block] * LANES;

		for (size_t i = first; i < first + LANES; i++)
		{
			scores[i] = bias[i] + scale * scores[i];
			greatest = scores[i] > greatest ? scores[i] : greatest;
		}
	}
	return greatest;
}

/* e^x for -60 <= x <= 0, to 2 units in the last place; 0 below */
static inline float
exponential(float x)
{
	int exponent;
	uint32_t bits;
	float power;
	float r;
	float sum;

	if (x < -60)
		return 0;
	exponent = (int) (x * BR_ASSOCIATION_LOG2_E - 0.5f);
	r = x - (float) exponent * BR_ASSOCIATION_LN2_HIGH;
	r -= (float) exponent * BR_ASSOCIATION_LN2_LOW;
	sum = BR_ASSOCIATION_EXP_7;
	sum = sum * r + BR_ASSOCIATION_EXP_6;
	sum = sum * r + BR_ASSOCIATION_EXP_5;
	sum = sum * r + BR_ASSOCIATION_EXP_4;
	sum = sum * r + BR_ASSOCIATION_EXP_3;
	sum = sum * r + BR_ASSOCIATION_EXP_2;
	sum = sum * r + 1;
	sum = sum * r + 1;
	bits = (uint32_t) (exponent + 127) << 23;
	memcpy(&power, &bits, sizeof(power));
	return sum * power;
}

static double
exponentials(const BrBlocks *blocks, float *scores, float greatest)
{
	double sum = 0;

	for (int block = 0; block < blocks->n; block++)
	{
		size_t first = (size_t) blocks->ids[block] * LANES;
		float part = 0;

		for (size_t i = first; i < first + LANES; i++)
		{
			scores[i] = exponential(scores[i] - greatest);
			part += scores[i];
		}
		sum += (double) part;
	}
	return sum;
}

static void
add(const BrBlocks *blocks, float factor, const float *values, float *sums)
{
	for (int block = 0; block < blocks->n; block++)
	{
		size_t first = (size_t) blocks->ids[block] * LANES;

		for (size_t i = first; i < first + LANES; i++)
			sums[i] += factor * values[i];
	}
}

static void
gather(float factor, const int32_t *ids, const float *values, float *sums, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sums[i] += factor * values[ids[i]];
}

const BrAssociationKernels *
br_learn_association_portable(void)
{
	static const BrAssociationKernels kernels = {"portable", combine, exponentials, add, gather};

	return &kernels;
}

const BrAssociationKernels *
br_learn_association_kernels(void)
{
	const BrAssociationKernels *kernels = br_learn_association_avx512();

	if (kernels == NULL)
		kernels = br_learn_association_avx2();
	return kernels != NULL ? kernels : br_learn_association_portable();
}
