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

/* Interleaved sums, so that a compiler may keep them in vector registers; 64 is a multiple. */
#define LANES 4

/* Sums over the coordinates of a residual r with signs b. */
typedef struct ResidualSums
{
	double squared_norm[LANES];	  /* |r|^2 */
	double absolute[LANES];		  /* <b, r> */
	double with_centroid[LANES];  /* <r, c> */
	double signs_centroid[LANES]; /* <b, c> */
} ResidualSums;

static double
sum_lanes(const double *lanes)
{
	return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

/* The sums that take all coordinates, over those from start to end. */
static void
sum_lengths(ResidualSums *sums, const float *rotated, const float *centroid, int start, int end)
{
	for (int i = start; i < end; i += LANES)
		for (int lane = 0; lane < LANES; lane++)
		{
			double c = (double) centroid[i + lane];
			double r = (double) rotated[i + lane] - c;

			sums->squared_norm[lane] += r * r;
			sums->with_centroid[lane] += r * c;
		}
}

/* All sums over the coordinates that have bits. Equal numbers differ by +0, whose sign is +. */
static void
sum_coded(ResidualSums *sums, const float *rotated, const float *centroid, int bits)
{
	sum_lengths(sums, rotated, centroid, 0, bits);
	for (int i = 0; i < bits; i += LANES)
		for (int lane = 0; lane < LANES; lane++)
		{
			double c = (double) centroid[i + lane];
			double r = (double) rotated[i + lane] - c;

			sums->absolute[lane] += fabs(r);
			sums->signs_centroid[lane] += copysign(1, r) * c;
		}
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
	ResidualSums sums = {{0}, {0}, {0}, {0}};
	double squared_norm;
	double signs_centroid;
	double scale = 0;
	double width = 0;

	br_math_half_to_floats(centroid, (size_t) padded, center);
	write_bits(rotated, center, n_bits, bits);
	sum_coded(&sums, rotated, center, n_bits);
	sum_lengths(&sums, rotated, center, n_bits, padded);
	squared_norm = sum_lanes(sums.squared_norm);
	signs_centroid = sum_lanes(sums.signs_centroid);
	if (squared_norm > 0)
	{
		/* coordinates without bits may hold nearly all of r: then nothing is known */
		double absolute = fmax(sum_lanes(sums.absolute), sqrt(squared_norm) * 0x1p-40);
		double cosine = absolute / sqrt(squared_norm * n_bits);

		scale = squared_norm / absolute;
		width = sqrt(n_bits * fmax(0, 1 - cosine * cosine) / (padded - 1));
	}
	if (metric == BR_METRIC_L2)
	{
		code->add = (float) (squared_norm + 2 * scale * signs_centroid);
		code->scale = (float) (2 * scale);
	}
	else
	{
		code->add = (float) (scale * signs_centroid - sum_lanes(sums.with_centroid));
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
