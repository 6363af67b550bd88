/*
 * kernels_baseline.c
 *	  The operations for any processor: vectors of four floats, which the compiler
 *	  maps to what its target has.
 */
#include <string.h>

#include "backend/vector/br_vector.h"

#define SET "baseline"
#define SET_NUMBER 0
#define LANES 4
#define TILE_ROWS 4

typedef float Vector __attribute__((vector_size(16)));
typedef int32_t Integers __attribute__((vector_size(16)));

#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#define MAXIMUM(a, b) choose((a) > (b), a, b)
#define MINIMUM(a, b) choose((a) < (b), a, b)
#define LOAD_FIRST(p, n) load_first(p, n)
#define STORE_FIRST(p, n, v) store_first(p, n, v)

/* which: all bits set where yes is wanted */
static inline Vector
choose(Integers which, Vector yes, Vector no)
{
	return (Vector) ((which & (Integers) yes) | (~which & (Integers) no));
}

static inline Vector
load_first(const float *p, size_t n)
{
	Vector v = {0};

	memcpy(&v, p, n * sizeof(float));
	return v;
}

static inline void
store_first(float *p, size_t n, Vector v)
{
	memcpy(p, &v, n * sizeof(float));
}

#include "backend/vector/kernels_template.h"

const BrVectorSet *
br_vector_set_baseline(void)
{
	return &set;
}
