/*
 * linear_algebra.c
 *	  Dot product, Cholesky factor and triangular solves in fixed order.
 *
 * Posteriors are small (tens of features) and must be the same bits
 * everywhere, so this is plain C in double. The lower triangle is packed by
 * rows: factoring and the forward solve are then dot products of contiguous
 * row prefixes, and the backward solve subtracts multiples of rows.
 */
#include <math.h>

#include "core/math/br_math.h"

/* Four interleaved sums, combined pairwise: short chains for the processor, one fixed order. */
double
br_math_dot(const double *left, const double *right, size_t n)
{
	double sum0 = 0;
	double sum1 = 0;
	double sum2 = 0;
	double sum3 = 0;
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
	{
		sum0 += left[i] * right[i];
		sum1 += left[i + 1] * right[i + 1];
		sum2 += left[i + 2] * right[i + 2];
		sum3 += left[i + 3] * right[i + 3];
	}
	if (i < n)
		sum0 += left[i] * right[i];
	if (i + 1 < n)
		sum1 += left[i + 1] * right[i + 1];
	if (i + 2 < n)
		sum2 += left[i + 2] * right[i + 2];
	return (sum0 + sum2) + (sum1 + sum3);
}

BrStatus
br_math_cholesky(BrContext *context, double *packed, int n)
{
	double *row = packed;

	for (int i = 0; i < n; i++)
	{
		const double *other = packed;
		double pivot;

		for (int j = 0; j < i; j++)
		{
			row[j] = (row[j] - br_math_dot(row, other, (size_t) j)) / other[j];
			other += j + 1;
		}
		pivot = row[i] - br_math_dot(row, row, (size_t) i);
		/* also where it is NaN; an infinite entry of an earlier column makes it so or -infinity */
		if (!(pivot > 0) || isinf(pivot))
			return br_base_fail(context, BR_ERR_NUMERIC,
								"The matrix of order %d is not positive definite: "
								"pivot %d is %g.",
								n, i + 1, pivot);
		row[i] = sqrt(pivot);
		row += i + 1;
	}
	return BR_OK;
}

void
br_math_solve_lower(const double *factor, int n, double *vector)
{
	const double *row = factor;

	for (int i = 0; i < n; i++)
	{
		vector[i] = (vector[i] - br_math_dot(row, vector, (size_t) i)) / row[i];
		row += i + 1;
	}
}

void
br_math_solve_lower_transposed(const double *factor, int n, double *vector)
{
	for (int i = n - 1; i >= 0; i--)
	{
		const double *row = factor + BR_MATH_PACKED(i);

		vector[i] /= row[i];
		for (int j = 0; j < i; j++)
			vector[j] -= row[j] * vector[i];
	}
}
