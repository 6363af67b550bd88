/*
 * rows.c
 *	  What works on rows of numbers: sums, lengths, layer norms both ways.
 *
 * Lanes are eight wide on every machine and added up in one order, so the
 * instruction set does not change a bit of a result.
 */
#include "core/train/train_int.h"

#define SMALLEST_LENGTH 1e-12

#define LANES_AT(row) (*(const BrLanes *) (row))

static inline BrReal
sum_of_lanes(const BrLanes *sums)
{
	const BrLanes s = *sums;

	return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

void
br_train_add(BrReal *to, const BrReal *from, int n)
{
	int i = 0;

	for (; i + BR_LANES <= n; i += BR_LANES)
		*(BrLanes *) (to + i) += LANES_AT(from + i);
	for (; i < n; i++)
		to[i] += from[i];
}

void
br_train_add_scaled(BrReal *to, BrReal weight, const BrReal *from, int n)
{
	int i = 0;

	for (; i + BR_LANES <= n; i += BR_LANES)
		*(BrLanes *) (to + i) += weight * LANES_AT(from + i);
	for (; i < n; i++)
		to[i] += weight * from[i];
}

BrReal
br_train_dot(const BrReal *left, const BrReal *right, int n)
{
	BrLanes sums = {0};
	BrReal rest = 0;
	int i = 0;

	for (; i + BR_LANES <= n; i += BR_LANES)
		sums += LANES_AT(left + i) * LANES_AT(right + i);
	for (; i < n; i++)
		rest += left[i] * right[i];
	return sum_of_lanes(&sums) + rest;
}

BrReal
br_train_inverse_length(const BrReal *row, int n)
{
	return (BrReal) (1 / fmax(sqrt((double) br_train_dot(row, row, n)), SMALLEST_LENGTH));
}

static BrReal
mean_of(const BrReal *row, int n)
{
	BrLanes sums = {0};
	BrReal rest = 0;
	int i = 0;

	for (; i + BR_LANES <= n; i += BR_LANES)
		sums += LANES_AT(row + i);
	for (; i < n; i++)
		rest += row[i];
	return (sum_of_lanes(&sums) + rest) / (BrReal) n;
}

static BrReal
variance_of(const BrReal *row, BrReal mean, int n)
{
	BrLanes sums = {0};
	BrReal rest = 0;
	int i = 0;

	for (; i + BR_LANES <= n; i += BR_LANES)
		sums += (LANES_AT(row + i) - mean) * (LANES_AT(row + i) - mean);
	for (; i < n; i++)
		rest += (row[i] - mean) * (row[i] - mean);
	return (sum_of_lanes(&sums) + rest) / (BrReal) n;
}

void
br_train_norm(const BrReal *sum, const BrReal *gain, const BrReal *bias, BrReal epsilon, int rows,
			  int dim, BrReal *moments, BrReal *output)
{
	for (int row = 0; row < rows; row++, sum += dim, output += dim, moments += 2)
	{
		BrReal mean = mean_of(sum, dim);
		BrReal scale = (BrReal) (1 / sqrt((double) variance_of(sum, mean, dim) + (double) epsilon));
		int i = 0;

		for (; i + BR_LANES <= dim; i += BR_LANES)
			*(BrLanes *) (output + i) =
				(LANES_AT(sum + i) - mean) * scale * LANES_AT(gain + i) + LANES_AT(bias + i);
		for (; i < dim; i++)
			output[i] = (sum[i] - mean) * scale * gain[i] + bias[i];
		moments[0] = mean;
		moments[1] = scale;
	}
}

/*
 * With z = (sum - mean) scale and s = slope of the output times gain, the slope
 * of the sum is scale (s - mean of s - z mean of s z).
 */
void
br_train_norm_slope(const BrReal *sum, const BrReal *moments, const BrReal *gain, int rows, int dim,
					BrReal *gain_slope, BrReal *bias_slope, BrReal *slope)
{
	for (int row = 0; row < rows; row++, sum += dim, slope += dim, moments += 2)
	{
		BrReal mean = moments[0];
		BrReal scale = moments[1];
		BrLanes sums = {0};
		BrLanes products = {0};
		BrReal rest = 0;
		BrReal rest_product = 0;
		int i = 0;

		for (; i + BR_LANES <= dim; i += BR_LANES)
		{
			BrLanes z = (LANES_AT(sum + i) - mean) * scale;
			BrLanes outer = LANES_AT(slope + i);
			BrLanes s = outer * LANES_AT(gain + i);

			*(BrLanes *) (gain_slope + i) += outer * z;
			*(BrLanes *) (bias_slope + i) += outer;
			*(BrLanes *) (slope + i) = s;
			sums += s;
			products += s * z;
		}
		for (; i < dim; i++)
		{
			BrReal z = (sum[i] - mean) * scale;

			gain_slope[i] += slope[i] * z;
			bias_slope[i] += slope[i];
			slope[i] *= gain[i];
			rest += slope[i];
			rest_product += slope[i] * z;
		}
		rest = (sum_of_lanes(&sums) + rest) / (BrReal) dim;
		rest_product = (sum_of_lanes(&products) + rest_product) / (BrReal) dim;
		for (i = 0; i + BR_LANES <= dim; i += BR_LANES)
			*(BrLanes *) (slope + i) = scale *
				(LANES_AT(slope + i) - rest - (LANES_AT(sum + i) - mean) * scale * rest_product);
		for (; i < dim; i++)
			slope[i] = scale * (slope[i] - rest - (sum[i] - mean) * scale * rest_product);
	}
}
