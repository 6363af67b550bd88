/*
 * code.c
 *	  Codes of two bits per coordinate, and blocks of them.
 *
 * r = x - c is what a vector differs by from its centroid, v the numbers -1.5,
 * -0.5, 0.5 and 1.5 that stand for its coordinates, u the cosine of v and r.
 * Then <r, d> is estimated by <v, d> |r| / (u |v|): it is exact along r, and
 * what of v stands across r points anywhere, so that its product with d is 0 on
 * average with the deviation |d| sqrt(1 - u^2) / sqrt(n - 1) of a random
 * direction in n - 1 dimensions (Gao and Long, theorem 3.2, whose proof needs no
 * particular v; numbers of more bits: Gao et al., "Practical and asymptotically
 * optimal quantization of high-dimensional vectors in Euclidean space for
 * approximate nearest neighbor search", SIGMOD 2025). Products with q itself are
 * estimated as <r, c> + <r, q - c>, so that the error falls with |q - c|.
 *
 * With bits as +-1 a number is its first bit and half its second, so that codes
 * of m coordinates are 2 m bits, all first ones and then all second ones, and
 * their product with q is that of the bits with (q, q / 2).
 */
#include <math.h>
#include <string.h>

#include "core/ann/ann_int.h"
#include "core/math/br_math.h"

/* Interleaved sums, so that a compiler may keep them in vector registers; 64 is a multiple. */
#define LANES 4

/*
 * Coordinates larger than this many times their root mean square are 1.5, not
 * 0.5: the best four equally distant numbers for a normal distribution are
 * .9957 deviations apart (Max, "Quantizing for minimum distortion", IRE
 * Transactions on Information Theory 6, 1960).
 */
#define THRESHOLD .9957

/* Sums over the coordinates of a residual r that is coded as v. */
typedef struct ResidualSums
{
	double squared_norm[LANES];	 /* |r|^2 */
	double with_centroid[LANES]; /* <r, c> */
	double product[LANES];		 /* <v, r> */
	double code_centroid[LANES]; /* <v, c> */
	double code_norm[LANES];	 /* |v|^2 */
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

/* The sums that the code enters. Equal numbers differ by +0, whose sign is +. */
static void
sum_coded(ResidualSums *sums, const float *rotated, const float *centroid, int n, double threshold)
{
	for (int i = 0; i < n; i += LANES)
		for (int lane = 0; lane < LANES; lane++)
		{
			double c = (double) centroid[i + lane];
			double r = (double) rotated[i + lane] - c;
			double v = fabs(r) > threshold ? 1.5 : 0.5;

			sums->product[lane] += v * fabs(r);
			sums->code_centroid[lane] += copysign(v, r) * c;
			sums->code_norm[lane] += v * v;
		}
}

/* The first bit tells the sign, the second whether the number is above the middle of those of its sign. */
static void
write_bits(const float *rotated, const float *centroid, int n, double threshold, uint8_t *bits)
{
	for (int i = 0; i < n; i += 8)
	{
		unsigned first = 0;
		unsigned second = 0;

		for (int j = 0; j < 8; j++)
		{
			double r = (double) rotated[i + j] - (double) centroid[i + j];
			bool positive = r >= 0;
			bool large = fabs(r) > threshold;

			first |= (unsigned) positive << j;
			second |= (unsigned) (positive == large) << j;
		}
		bits[i / 8] = (uint8_t) first;
		bits[(n + i) / 8] = (uint8_t) second;
	}
}

void
br_ann_encode(BrMetric metric, int dims, const float *rotated, const uint16_t *centroid,
			  uint8_t *bits, BrCode *code)
{
	int padded = br_ann_rotated_dims(dims);
	int coded = br_ann_code_bits(dims) / 2;
	float center[BR_ANN_MAX_ROTATED];
	ResidualSums sums = {0};
	double threshold;
	double squared_norm;
	double scale = 0;
	double width = 0;

	br_math_half_to_floats(centroid, (size_t) padded, center);
	sum_lengths(&sums, rotated, center, 0, coded);
	threshold = THRESHOLD * sqrt(sum_lanes(sums.squared_norm) / coded);
	write_bits(rotated, center, coded, threshold, bits);
	sum_coded(&sums, rotated, center, coded, threshold);
	sum_lengths(&sums, rotated, center, coded, padded);
	squared_norm = sum_lanes(sums.squared_norm);
	if (squared_norm > 0)
	{
		double code_norm = sum_lanes(sums.code_norm);
		/* coordinates without bits may hold nearly all of r: then nothing is known */
		double product = fmax(sum_lanes(sums.product), sqrt(squared_norm) * 0x1p-40);
		double cosine = product / sqrt(squared_norm * code_norm);

		scale = squared_norm / product;
		width = sqrt(code_norm * fmax(0, 1 - cosine * cosine) / (padded - 1));
	}
	if (metric == BR_METRIC_L2)
	{
		code->add = (float) (squared_norm + 2 * scale * sum_lanes(sums.code_centroid));
		code->scale = (float) (2 * scale);
	}
	else
	{
		code->add = (float) (scale * sum_lanes(sums.code_centroid) - sum_lanes(sums.with_centroid));
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
