/*
 * scores.c
 *	  Products of features and draws, and who wins: the portable kernels.
 *
 * A score is one sum over the features in ascending order, so blocks of
 * members and draws of any width give the same bits. A member that is taken has
 * an infinite penalty: taking members out and keeping a slate diverse are one
 * subtraction.
 */
#include "core/bandit/bandit_int.h"

#define LANES BR_BANDIT_LANES

static void
solve(const double *factor, int dims, double *z)
{
	for (int i = dims - 1; i >= 0; i--)
	{
		const double *row = factor + BR_MATH_PACKED(i);
		double *solved = z + (size_t) i * LANES;

		for (int draw = 0; draw < LANES; draw++)
			solved[draw] /= row[i];
		for (int j = 0; j < i; j++)
		{
#pragma GCC unroll 8
			for (int draw = 0; draw < LANES; draw++)
				z[j * LANES + draw] -= row[j] * solved[draw];
		}
	}
}

static void
score(const double *features, size_t padded, int dims, const double *theta, double *scores)
{
	for (size_t first = 0; first < padded; first += LANES, features += (size_t) dims * LANES)
	{
		for (int draw = 0; draw < LANES; draw++)
		{
			double *sums = scores + (size_t) draw * padded + first;
			double sum[LANES] = {0};

			for (int i = 0; i < dims; i++)
			{
#pragma GCC unroll 8
				for (int lane = 0; lane < LANES; lane++)
					sum[lane] += theta[i * LANES + draw] * features[i * LANES + lane];
			}
			for (int lane = 0; lane < LANES; lane++)
				sums[lane] = sum[lane];
		}
	}
}

static int
favourite(const double *value, const double *penalty, size_t padded)
{
	double best[LANES];
	size_t member = 0;

	for (int lane = 0; lane < LANES; lane++)
		best[lane] = -INFINITY;
	for (size_t first = 0; first < padded; first += LANES)
	{
#pragma GCC unroll 8
		for (int lane = 0; lane < LANES; lane++)
		{
			double net = value[first + lane] - penalty[first + lane];

			best[lane] = net > best[lane] ? net : best[lane];
		}
	}
	for (int lane = 1; lane < LANES; lane++)
		best[0] = best[lane] > best[0] ? best[lane] : best[0];

	while (value[member] - penalty[member] != best[0])
		member++;
	return (int) member;
}

const BrScoreKernels *
br_bandit_kernels_portable(void)
{
	static const BrScoreKernels kernels = {"portable", solve, score, favourite};

	return &kernels;
}

const BrScoreKernels *
br_bandit_kernels(void)
{
	const BrScoreKernels *kernels = br_bandit_kernels_avx512();

	if (kernels == NULL)
		kernels = br_bandit_kernels_avx2();
	return kernels != NULL ? kernels : br_bandit_kernels_portable();
}
