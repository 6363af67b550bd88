/*
 * ann_int.h
 *	  What the files of the nearest-neighbour room share: the query as codes
 *	  see it, and the kernels that scan them, one set per instruction set, all
 *	  with the same results bit for bit.
 */
#ifndef BR_ANN_INT_H
#define BR_ANN_INT_H

#include "core/ann/br_ann.h"

#define BR_ANN_MAX_CODE_BITS 1536
#define BR_ANN_MAX_ROTATED ((BR_ANN_MAX_DIMS + 63) / 64 * 64)

/*
 * Products with bits come from tables: coordinates stand in groups of four,
 * whose 16 products are rounded to bytes of at most this. Two groups are added
 * in a byte; and 384 groups stay below 2^16.
 */
#define BR_ANN_TABLE_TOP 127

/* Two groups make a byte of a row's bits. */
#define BR_ANN_GROUP_PAIRS(bits) ((bits) / 8)

/*
 * The tables of two pairs stand as registers want them: the first groups' of
 * either pair and then the second groups', each table of 16 bytes twice.
 */
#define BR_ANN_TABLE_BYTES(bits) ((size_t) BR_ANN_GROUP_PAIRS(bits) * 64)

/* The order of addition of a product of floats: as in math_int.h, with sums in float. */
#define BR_ANN_LANES 32

/*
 * What rounding may do is, in units of 2^-24 and were all of it against us, at
 * most 60 for either of two rotations (4 rounds of 11 stages and 4 more steps),
 * 131 for a product of 4032 floats in 32 lanes, and some 16 for the bound
 * itself. This is 512. With A = |q| + |c| and |r| <= scale |v| <= scale
 * sqrt(1.125 bits), or half of it for L2, so much of these is allowed for:
 *
 * - of |q| |c| for <q, c>, and of A^2 for |q - c|^2, in base and in distance;
 * - of scale sqrt(1.125 bits) |q| for <r, q>, the tables and their sum, and for
 *   |x - q|^2 of (A + |r|)^2 - A^2 <= scale sqrt(1.125 bits) (A + |c|) + |add|: with
 *   2 A >= A + |c| in what is added to the product, and |add| for each row.
 */
#define BR_ANN_ROUNDING 0x1p-15f

struct BrCodeQuery
{
	BrContext *context;
	BrMetric metric;
	int bits;
	int padded;
	float epsilon;
	float squared_norm;
	float norm;
	float step;		   /* of the tables */
	float bias;		   /* <v, q> = step * sum + bias */
	float table_error; /* epsilon standard deviations of what the tables' rounding adds */
	float *rotated;	   /* (padded) */
	uint8_t tables[];  /* (BR_ANN_TABLE_BYTES), then rotated */
};

/* One block to be scanned. */
typedef struct BrScan
{
	const uint8_t *tables;
	const uint8_t *codes;
	const float *add;	/* (32) */
	const float *scale; /* (32) */
	int pairs;			/* a multiple of 8 */
	float step;
	float offset; /* bound = base + add - scale * (step * sum + offset) - rounding * |add| */
	float base;
	float from;
	float below;
} BrScan;

typedef struct BrCodeKernels
{
	const char *name;
	float (*product)(const float *query, const uint16_t *centroid, int n);
	uint32_t (*scan)(const BrScan *scan, float *bounds); /* the mask of all 32 rows */
} BrCodeKernels;

extern const BrCodeKernels *br_ann_code_kernels_portable(void);

/* NULL where the processor or the build lacks them. */
extern const BrCodeKernels *br_ann_code_kernels_avx2(void);
extern const BrCodeKernels *br_ann_code_kernels_avx512(void);

/* br_ann_view_list and br_ann_scan_block with kernels of the caller's choice. */
extern void br_ann_view_list_with(const BrCodeKernels *kernels, const BrCodeQuery *query,
								  const uint16_t *centroid, float centroid_squared_norm,
								  BrListView *view);
extern uint32_t br_ann_scan_block_with(const BrCodeKernels *kernels, const BrCodeQuery *query,
									   const BrListView *view, const uint8_t *codes,
									   const float *add, const float *scale, float width, int rows,
									   float from, float below, float *bounds);

#endif /* BR_ANN_INT_H */
