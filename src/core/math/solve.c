/*
 * solve.c
 *	  Systems of a hundred or so equations, a hundred thousand times over.
 *
 * The factor U of A = U' U is made by rows, four at a time: from them the
 * products with all rows above are taken while the sums stay in registers, and
 * then the four are finished one after another. An element's products are
 * subtracted in the order of rows, rounded each, whatever the width of the
 * vectors, so that every instruction set gives the same bits.
 *
 * Vectors begin at a multiple of BR_MATH_SOLVE_ALIGN columns, before the
 * diagonal; what this leaves below the diagonal nobody reads.
 */
#include <math.h>

#include "core/math/math_int.h"

#define PANEL 4
#define FLOOR(column) ((column) / BR_MATH_SOLVE_ALIGN * BR_MATH_SOLVE_ALIGN)

/* Rows between two questions for cancellation. */
#define ROWS_AT_ONCE 64

#define TARGET
#define WIDTH 2
#define VECTORS 2
#define NAME(name) name##_portable
#include "core/math/solve_template.h"

#ifdef __x86_64__
#define TARGET __attribute__((target("avx2")))
#define WIDTH 4
#define VECTORS 2
#define NAME(name) name##_avx2
#include "core/math/solve_template.h"

#define TARGET __attribute__((target("avx512f")))
#define WIDTH 8
#define VECTORS 1
#define NAME(name) name##_avx512
#include "core/math/solve_template.h"
#endif

BrFactorRows
br_math_factor_portable(void)
{
	return factor_portable;
}

#ifdef __x86_64__
BrFactorRows
br_math_factor_avx2(void)
{
	return __builtin_cpu_supports("avx2") ? factor_avx2 : NULL;
}

BrFactorRows
br_math_factor_avx512(void)
{
	return __builtin_cpu_supports("avx512f") ? factor_avx512 : NULL;
}
#else
BrFactorRows
br_math_factor_avx2(void)
{
	return NULL;
}

BrFactorRows
br_math_factor_avx512(void)
{
	return NULL;
}
#endif

BrFactorRows
br_math_factor(void)
{
	BrFactorRows factor = br_math_factor_avx512();

	if (factor == NULL)
		factor = br_math_factor_avx2();
	return factor != NULL ? factor : br_math_factor_portable();
}

/* U' y = b, then U x = y. */
static void
substitute(const double *matrix, int stride, int n, double *vector)
{
	for (int i = 0; i < n; i++)
	{
		const double *row = matrix + (size_t) i * stride;

		vector[i] /= row[i];
		for (int j = i + 1; j < n; j++)
			vector[j] -= row[j] * vector[i];
	}
	for (int i = n - 1; i >= 0; i--)
	{
		const double *row = matrix + (size_t) i * stride;
		size_t after = (size_t) (n - 1 - i);

		vector[i] = (vector[i] - br_math_dot(row + i + 1, vector + i + 1, after)) / row[i];
	}
}

BrStatus
br_math_solve_positive_definite(BrContext *context, double *matrix, int stride, int n,
								double *vector)
{
	BrFactorRows factor = br_math_factor();

	if (n < 0 || stride < n || stride % BR_MATH_SOLVE_ALIGN != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A system of order %d cannot stand in rows of %d.", n, stride);
	for (int first = 0; first < n; first += ROWS_AT_ONCE)
	{
		int failed;

		if (br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		failed = factor(matrix, stride, first, first + ROWS_AT_ONCE < n ? first + ROWS_AT_ONCE : n);
		if (failed >= 0)
			return br_base_fail(context, BR_ERR_NUMERIC,
								"The matrix of order %d is not positive definite: "
								"pivot %d is %g.",
								n, failed + 1, matrix[(size_t) failed * stride + failed]);
	}
	substitute(matrix, stride, n, vector);
	return BR_OK;
}
