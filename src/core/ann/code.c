/*
 * code.c
 *	  Codes of one bit per coordinate, and blocks of them.
 *
 * r = x - c is what a vector differs by from its centroid, b its signs, u the
 * cosine of b and r. Then <r, d> is estimated by <b, d> |r| / (u sqrt(m)): it
 * is exact along r, and what of b stands across r points anywhere, so that its
 * product with d is 0 on average with the deviation |d| sqrt(1 - u^2) /
 * sqrt(n - 1) of a random direction in n - 1 dimensions (Gao and Long, theorem
 * 3.2). Products with q itself are estimated as <r, c> + <r, q - c>, so that
 * the error falls with |q - c|.
 */
#include <math.h>
#include <string.h>

#include "core/ann/ann_int.h"
#include "core/math/br_math.h"

/* Sums over the coordinates of a residual r with signs b. */
typedef struct ResidualSums
{
	double squared_norm;   /* |r|^2 */
	double absolute;	   /* <b, r> */
	double with_centroid;  /* <r, c> */
	double signs_centroid; /* <b, c> */
} ResidualSums;

static ResidualSums
sum_residual(const float *rotated, const float *centroid, int padded, int bits)
{
	ResidualSums sums = {0};

	for (int i = 0; i < padded; i++)
	{
		double c = (double) centroid[i];
		double r = (double) rotated[i] - c;

		sums.squared_norm += r * r;
		sums.with_centroid += r * c;
		if (i < bits)
		{
			sums.absolute += fabs(r);
			sums.signs_centroid += r >= 0 ? c : -c;
		}
	}
	return sums;
}

static void
write_bits(const float *rotated, const float *centroid, int n, uint8_t *bits)
{
	for (int i = 0; i < n; i += 8)
	{
		unsigned byte = 0;

		for (int j = 0; j < 8; j++)
			byte |= (unsigned) (rotated[i + j] >= centroid[i + j]) << j;
		bits[i / 8] = (uint8_t) byte;
	}
}

void
br_ann_encode(BrMetric metric, int dims, const float *rotated, const uint16_t *centroid,
			  uint8_t *bits, BrCode *code)
{
	int padded = br_ann_rotated_dims(dims);
	int n_bits = br_ann_code_bits(dims);
	float center[BR_ANN_MAX_ROTATED];
	ResidualSums sums;
	double scale = 0;
	double width = 0;

	br_math_half_to_floats(centroid, (size_t) padded, center);
	write_bits(rotated, center, n_bits, bits);
	sums = sum_residual(rotated, center, padded, n_bits);
	if (sums.squared_norm > 0)
	{
		/* coordinates without bits may hold nearly all of r: then nothing is known */
		double absolute = fmax(sums.absolute, sqrt(sums.squared_norm) * 0x1p-40);
		double cosine = absolute / sqrt(sums.squared_norm * n_bits);

		scale = sums.squared_norm / absolute;
		width = sqrt(n_bits * fmax(0, 1 - cosine * cosine) / (padded - 1));
	}
	if (metric == BR_METRIC_L2)
	{
		code->add = (float) (sums.squared_norm + 2 * scale * sums.signs_centroid);
		code->scale = (float) (2 * scale);
	}
	else
	{
		code->add = (float) (scale * sums.signs_centroid - sums.with_centroid);
		code->scale = (float) scale;
	}
	code->width = (float) width;
}

/* Byte by byte: that of each row, side by side. */
void
br_ann_block_put(uint8_t *block, int code_bits, int row, const uint8_t *bits)
{
	for (int i = 0; i < code_bits / 8; i++)
		block[i * BR_ANN_BLOCK_ROWS + row] = bits[i];
}

void
br_ann_block_get(const uint8_t *block, int code_bits, int row, uint8_t *bits)
{
	for (int i = 0; i < code_bits / 8; i++)
		bits[i] = block[i * BR_ANN_BLOCK_ROWS + row];
}
