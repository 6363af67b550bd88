/*
 * factor_kernels_baseline.c
 *	  The kernels of factors for any processor: vectors of four floats, which the
 *	  compiler maps to what its target has.
 */
#define NAME "baseline"
#define TARGET
#define LANES 4
#define TILE_VECTORS 2

typedef float Vector __attribute__((vector_size(16)));

#define SPLAT(x) splat(x)
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#define SUM(v) sum_lanes(v)
#define ABOVE(a, b) above_lanes(a, b)

static inline Vector
splat(float x)
{
	return (Vector){x, x, x, x};
}

static inline float
sum_lanes(Vector v)
{
	return (v[0] + v[2]) + (v[1] + v[3]);
}

static inline unsigned
above_lanes(Vector a, Vector b)
{
	return (unsigned) (a[0] > b[0]) | (unsigned) (a[1] > b[1]) << 1 |
		(unsigned) (a[2] > b[2]) << 2 | (unsigned) (a[3] > b[3]) << 3;
}

#include "core/learn/factor_kernels_template.h"

const BrFactorKernels *
br_learn_factor_kernels_baseline(void)
{
	return &kernels;
}
