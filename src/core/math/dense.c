/*
 * dense.c
 *	  The inverse of a large symmetric positive definite matrix, in place.
 *
 * The matrix is swept, a panel of columns K at a time. With L the Cholesky
 * factor of the block on the diagonal, W the panel's columns and V = W L^-T,
 *
 *		A_IJ <- A_IJ - V_I V_J',	A_IK <- V_I L^-1,	A_KK <- -(L L')^-1
 *
 * and once every panel was swept the matrix is the negated inverse. Almost all
 * of the work is one product of the shape that the backend has. Pivots are
 * those of a Cholesky factorisation of the whole, so that the matrix is positive
 * definite where all are positive. V stands in both places of the product
 * rather than W beside W (L L')^-1, which would lose twice as many digits.
 *
 * Only the lower triangle is kept up to date. It is cut into tiles, so that
 * what is above the diagonal is not computed and a cancel does not wait for
 * more than a tile.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/math/math_int.h"

#define TILE 256
#define PANEL 128 /* a multiple of BR_MATH_SOLVE_ALIGN */

typedef struct Sweep
{
	BrContext *context;
	const BrBackend *backend;
	double *matrix; /* (n, n) */
	int n;
	double *diagonal;		 /* (n), as the matrix came */
	double *panel;			 /* (n, PANEL): W, later A_IK */
	double *half;			 /* (n, PANEL): V */
	double *factor;			 /* (PANEL, PANEL): L', later (L L')^-1 */
	double *root;			 /* (PANEL, PANEL): L^-1 */
	double *root_transposed; /* (PANEL, PANEL): L^-T */
} Sweep;

static int
least(int a, int b)
{
	return a < b ? a : b;
}

static double *
element(const Sweep *sweep, int row, int column)
{
	return sweep->matrix + (size_t) row * (size_t) sweep->n + column;
}

/* output = keep * output + scale * left right', both inputs PANEL wide */
static BrStatus
multiply(Sweep *sweep, const double *left, const double *right, int rows, int columns,
		 int output_stride, double scale, double keep, double *output)
{
	if (br_base_cancelled(sweep->context))
		return BR_ERR_CANCELLED;
	sweep->backend->multiply_transposed_double(left, right, rows, columns, PANEL, PANEL, PANEL,
											   output_stride, scale, keep, output);
	return BR_OK;
}

/*
 * W: all rows of `columns` columns from k on; above the diagonal they are rows
 * of the lower triangle. What the last panel lacks is 0.
 */
static BrStatus
copy_panel(Sweep *sweep, int k, int columns)
{
	for (int i = 0; i < sweep->n; i += TILE)
	{
		if (br_base_cancelled(sweep->context))
			return BR_ERR_CANCELLED;
		for (int row = i; row < least(i + TILE, sweep->n); row++)
			for (int c = 0; c < PANEL; c++)
				sweep->panel[(size_t) row * PANEL + c] = c >= columns ? 0
					: row >= k + c									  ? *element(sweep, row, k + c)
																	  : *element(sweep, k + c, row);
	}
	return BR_OK;
}

static BrStatus
replace_panel(Sweep *sweep, int k, int columns)
{
	for (int i = 0; i < sweep->n; i += TILE)
	{
		if (br_base_cancelled(sweep->context))
			return BR_ERR_CANCELLED;
		for (int row = i; row < least(i + TILE, sweep->n); row++)
			for (int c = 0; c < columns; c++)
				*(row >= k + c ? element(sweep, row, k + c) : element(sweep, k + c, row)) =
					row >= k && row < k + columns ? -sweep->factor[(row - k) * PANEL + c]
												  : sweep->panel[(size_t) row * PANEL + c];
	}
	return BR_OK;
}

/* A pivot that is no more than the rounding of what it came from says as little as one of 0. */
static BrStatus
check_pivot(const Sweep *sweep, double pivot, int at)
{
	if (pivot > 4 * DBL_EPSILON * sweep->n * sweep->diagonal[at] && isfinite(pivot))
		return BR_OK;
	return br_base_fail(sweep->context, BR_ERR_NUMERIC,
						"The matrix of order %d is not positive definite: pivot %d is %g.",
						sweep->n, at + 1, pivot);
}

/* L^-1 and its transpose, from the factor's upper triangle, L'; the columns missing are 0. */
static void
invert_factor(Sweep *sweep, int columns)
{
	double *root = sweep->root;

	memset(root, 0, (size_t) PANEL * PANEL * sizeof(double));
	memset(sweep->root_transposed, 0, (size_t) PANEL * PANEL * sizeof(double));
	for (int i = 0; i < columns; i++)
	{
		double pivot = sweep->factor[i * PANEL + i];

		for (int k = 0; k < i; k++)
		{
			double entry = sweep->factor[k * PANEL + i];

			for (int j = 0; j <= k; j++)
				root[i * PANEL + j] -= entry * root[k * PANEL + j];
		}
		root[i * PANEL + i] = 1;
		for (int j = 0; j <= i; j++)
		{
			root[i * PANEL + j] /= pivot;
			sweep->root_transposed[j * PANEL + i] = root[i * PANEL + j];
		}
	}
}

static BrStatus
factor_block(Sweep *sweep, int k, int columns)
{
	const double *block = sweep->panel + (size_t) k * PANEL;
	int failed;

	memset(sweep->factor, 0, (size_t) PANEL * PANEL * sizeof(double));
	memcpy(sweep->factor, block, (size_t) columns * PANEL * sizeof(double));
	failed = br_math_factor()(sweep->factor, PANEL, 0, columns);
	if (failed >= 0)
		return check_pivot(sweep, sweep->factor[failed * PANEL + failed], k + failed);
	for (int i = 0; i < columns; i++)
	{
		double root = sweep->factor[i * PANEL + i];
		BrStatus status = check_pivot(sweep, root * root, k + i);

		if (status != BR_OK)
			return status;
	}
	invert_factor(sweep, columns);
	return BR_OK;
}

/* A_IJ <- A_IJ - V_I V_J' in the lower triangle, the panel's own place included, to no harm. */
static BrStatus
update_tiles(Sweep *sweep)
{
	BrStatus status = BR_OK;

	for (int i = 0; i < sweep->n; i += TILE)
		for (int j = 0; status == BR_OK && j <= i; j += TILE)
			status = multiply(sweep, sweep->half + (size_t) i * PANEL,
							  sweep->half + (size_t) j * PANEL, least(TILE, sweep->n - i),
							  least(TILE, sweep->n - j), sweep->n, -1, 1, element(sweep, i, j));
	return status;
}

/* output = input matrix', all rows of both PANEL wide */
static BrStatus
multiply_panel(Sweep *sweep, const double *input, const double *matrix, int rows, double *output)
{
	BrStatus status = BR_OK;

	for (int i = 0; status == BR_OK && i < rows; i += TILE)
		status = multiply(sweep, input + (size_t) i * PANEL, matrix, least(TILE, rows - i), PANEL,
						  PANEL, 1, 0, output + (size_t) i * PANEL);
	return status;
}

static BrStatus
sweep_panel(Sweep *sweep, int k)
{
	int columns = least(PANEL, sweep->n - k);
	BrStatus status = copy_panel(sweep, k, columns);

	if (status == BR_OK)
		status = factor_block(sweep, k, columns);
	if (status == BR_OK)
		status = multiply_panel(sweep, sweep->panel, sweep->root, sweep->n, sweep->half);
	if (status == BR_OK)
		status = update_tiles(sweep);
	if (status == BR_OK)
		status = multiply_panel(sweep, sweep->half, sweep->root_transposed, sweep->n, sweep->panel);
	if (status == BR_OK)
		status = multiply_panel(sweep, sweep->root_transposed, sweep->root_transposed, PANEL,
								sweep->factor);
	return status == BR_OK ? replace_panel(sweep, k, columns) : status;
}

/* The matrix was swept throughout: negates it and fills its upper triangle. */
static BrStatus
negate_and_mirror(Sweep *sweep)
{
	bool finite = true;

	for (int i = 0; i < sweep->n; i += TILE)
		for (int j = 0; j <= i; j += TILE)
		{
			if (br_base_cancelled(sweep->context))
				return BR_ERR_CANCELLED;
			for (int row = i; row < least(i + TILE, sweep->n); row++)
				for (int column = j; column < least(j + TILE, row + 1); column++)
				{
					double value = -*element(sweep, row, column);

					finite = finite && isfinite(value);
					*element(sweep, row, column) = value;
					*element(sweep, column, row) = value;
				}
		}
	return finite ? BR_OK
				  : br_base_fail(sweep->context, BR_ERR_NUMERIC,
								 "The inverse of the matrix of order %d is not finite.", sweep->n);
}

/* Doubles: the diagonal, two panels, three blocks. */
static size_t
work_length(int n)
{
	return (size_t) n * (1 + 2 * PANEL) + (size_t) 3 * PANEL * PANEL;
}

size_t
br_math_inverse_work(int n)
{
	return work_length(n) * sizeof(double);
}

BrStatus
br_math_invert_positive_definite(BrContext *context, const BrBackend *backend, double *matrix,
								 int n)
{
	Sweep sweep = {.context = context, .backend = backend, .matrix = matrix, .n = n};
	BrStatus status = BR_OK;

	if (n < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A matrix cannot be of order %d.", n);
	if (n == 0)
		return BR_OK;
	if (backend == NULL || backend->multiply_transposed_double == NULL)
		sweep.backend = br_math_portable_backend();
	sweep.factor = br_base_alloc(context, br_math_inverse_work(n));
	if (sweep.factor == NULL)
		return BR_ERR_MEMORY;
	sweep.root = sweep.factor + PANEL * PANEL;
	sweep.root_transposed = sweep.root + PANEL * PANEL;
	sweep.panel = sweep.root_transposed + PANEL * PANEL;
	sweep.half = sweep.panel + (size_t) n * PANEL;
	sweep.diagonal = sweep.half + (size_t) n * PANEL;
	for (int i = 0; i < n; i++)
		sweep.diagonal[i] = *element(&sweep, i, i);
	for (int k = 0; status == BR_OK && k < n; k += PANEL)
		status = sweep_panel(&sweep, k);
	if (status == BR_OK)
		status = negate_and_mirror(&sweep);
	br_base_free(context, sweep.factor);
	return status;
}
