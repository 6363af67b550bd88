/*
 * math_int.h
 *	  What the files of the math room share: the half-vector kernels, one set
 *	  per instruction set, all with the same results bit for bit, and likewise
 *	  for normal draws and for rows of a Cholesky factor.
 *
 * The order of summation is part of the contract. Element i belongs to lane
 * i mod BR_MATH_LANES; each lane adds its products in ascending i, starting
 * from +0; then the upper half of the lanes is added to the lower half until
 * one is left.
 */
#ifndef BR_MATH_INT_H
#define BR_MATH_INT_H

#include "core/math/br_math.h"

#define BR_MATH_LANES 32

typedef struct BrHalfKernels
{
	const char *name;
	void (*from_floats)(const float *values, size_t n, uint16_t *halves);
	void (*to_floats)(const uint16_t *halves, size_t n, float *values);
	double (*dot)(const uint16_t *left, const uint16_t *right, size_t n);
	double (*squared_distance)(const uint16_t *left, const uint16_t *right, size_t n);
} BrHalfKernels;

/* The portable set. */
extern const BrHalfKernels *br_math_half_kernels_portable(void);

/* The sets of x86-64; NULL where the processor or the build lacks them. */
extern const BrHalfKernels *br_math_half_kernels_avx2(void);
extern const BrHalfKernels *br_math_half_kernels_avx512(void);

/* Numerator and denominator of degree 7, lowest power first. */
typedef struct BrRational
{
	double numerator[8];
	double denominator[8];
} BrRational;

/* The normal quantile over p - 1/2 for |p - 1/2| <= .425, in .425^2 - (p - 1/2)^2. */
#define BR_MATH_QUANTILE_CENTRE 0.425
#define BR_MATH_QUANTILE_SQUARE 0.180625
extern const BrRational br_math_quantile_centre;

typedef void (*BrNormalLanes)(uint64_t key, uint64_t first_stream, size_t n, double *values);

extern void br_math_normal_lanes_portable(uint64_t key, uint64_t first_stream, size_t n,
										  double *values);

/* NULL where the processor or the build lacks it. */
extern BrNormalLanes br_math_normal_lanes_avx2(void);

/*
 * Rows `first` to `last` - 1 of the factor of br_math_solve_positive_definite,
 * those above being done; returns the row whose pivot is not positive, or -1.
 */
typedef int (*BrFactorRows)(double *matrix /* (stride, stride) */, int stride, int first, int last);

extern BrFactorRows br_math_factor(void); /* the fastest here */
extern BrFactorRows br_math_factor_portable(void);

/* NULL where the processor or the build lacks it. */
extern BrFactorRows br_math_factor_avx2(void);
extern BrFactorRows br_math_factor_avx512(void);

#endif /* BR_MATH_INT_H */
