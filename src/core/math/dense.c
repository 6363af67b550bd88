/*
 * dense.c
 *	  The inverse of a large symmetric positive definite matrix, in place.
 *
 * The matrix is swept, a panel of columns K at a time. With P the inverse of
 * the block on the diagonal, W the panel's columns and U = W P,
 *
 *		A_IJ <- A_IJ - W_I U_J',	A_IK <- U_I,	A_KK <- -P
 *
 * and once every panel was swept the matrix is the negated inverse. Of every
 * sweep almost all the work is one product of the shape that the backend has.
 * The block P is found the same way with a smaller panel, and the smallest one
 * by sweeping one column after another. Pivots are those of a Cholesky
 * factorisation, so that the matrix is positive definite where all are positive.
 *
 * Only the lower triangle is kept up to date. It is cut into tiles, so that
 * what is above the diagonal is not computed and a cancel does not wait for
 * more than a tile.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/math/br_math.h"

#define TILE 256
#define LEVELS 2

/* Columns of a panel, of the matrix and of the block on its diagonal. */
static const int panel_columns[LEVELS] = {128, 32};

typedef struct Sweep
{
	BrContext *context;
	const BrBackend *backend;
	const double *diagonal; /* (n), as the matrix came */
	int n;
	double *panel[LEVELS]; /* W: (order, panel) */
	double *swept[LEVELS]; /* U: (order, panel) */
	double *block[LEVELS]; /* P: (panel, panel) */
} Sweep;

/* A block on the diagonal of the whole matrix. */
typedef struct Block
{
	double *values;
	int stride;
	int n;
	int first; /* its first row in the whole */
} Block;

static int
least(int a, int b)
{
	return a < b ? a : b;
}

static double *
element(const Block *block, int row, int column)
{
	return block->values + (size_t) row * block->stride + column;
}

static BrStatus
multiply(Sweep *sweep, const double *left, const double *right, int rows, int columns, int depth,
		 int right_stride, int output_stride, double scale, double keep, double *output)
{
	if (br_base_cancelled(sweep->context))
		return BR_ERR_CANCELLED;
	sweep->backend->multiply_transposed_double(left, right, rows, columns, depth, depth,
											   right_stride, output_stride, scale, keep, output);
	return BR_OK;
}

/* The matrix was swept throughout: negates it and fills its upper triangle. */
static BrStatus
negate_and_mirror(Sweep *sweep, const Block *block)
{
	for (int i = 0; i < block->n; i += TILE)
		for (int j = 0; j <= i; j += TILE)
		{
			if (br_base_cancelled(sweep->context))
				return BR_ERR_CANCELLED;
			for (int row = i; row < least(i + TILE, block->n); row++)
				for (int column = j; column < least(j + TILE, row + 1); column++)
				{
					double value = -*element(block, row, column);

					*element(block, row, column) = value;
					*element(block, column, row) = value;
				}
		}
	return BR_OK;
}

/*
 * A pivot that is nothing but the rounding of what it came from says as little
 * as one of 0.
 */
static BrStatus
check_pivot(const Sweep *sweep, double pivot, int at)
{
	if (pivot > sweep->n * DBL_EPSILON * sweep->diagonal[at] && isfinite(1 / pivot) &&
		isfinite(pivot))
		return BR_OK;
	return br_base_fail(sweep->context, BR_ERR_NUMERIC,
						"The matrix of order %d is not positive definite: pivot %d is %g.",
						sweep->n, at + 1, pivot);
}

/* Column by column; reads and keeps both triangles. */
static BrStatus
sweep_smallest(Sweep *sweep, const Block *block)
{
	double column[32];

	for (int k = 0; k < block->n; k++)
	{
		double pivot = *element(block, k, k);
		BrStatus status = check_pivot(sweep, pivot, block->first + k);

		if (status != BR_OK)
			return status;
		for (int i = 0; i < block->n; i++)
			column[i] = *element(block, i, k);
		for (int i = 0; i < block->n; i++)
		{
			double factor = column[i] / pivot;

			if (i == k)
				continue;
			for (int j = 0; j < block->n; j++)
				*element(block, i, j) -= factor * column[j];
			*element(block, i, k) = factor;
			*element(block, k, i) = factor;
		}
		*element(block, k, k) = -1 / pivot;
	}
	return negate_and_mirror(sweep, block);
}

/* W: all rows of the columns from k on; above the diagonal they are rows of the lower triangle. */
static BrStatus
copy_panel(Sweep *sweep, const Block *block, int k, int columns, double *panel)
{
	for (int i = 0; i < block->n; i += TILE)
	{
		if (br_base_cancelled(sweep->context))
			return BR_ERR_CANCELLED;
		for (int row = i; row < least(i + TILE, block->n); row++)
			for (int c = 0; c < columns; c++)
				panel[(size_t) row * columns + c] =
					row >= k + c ? *element(block, row, k + c) : *element(block, k + c, row);
	}
	return BR_OK;
}

static BrStatus
replace_panel(Sweep *sweep, const Block *block, int k, int columns, const double *swept,
			  const double *inverse)
{
	for (int i = 0; i < block->n; i += TILE)
	{
		if (br_base_cancelled(sweep->context))
			return BR_ERR_CANCELLED;
		for (int row = i; row < least(i + TILE, block->n); row++)
			for (int c = 0; c < columns; c++)
				*(row >= k + c ? element(block, row, k + c) : element(block, k + c, row)) =
					row >= k && row < k + columns ? -inverse[(row - k) * columns + c]
												  : swept[(size_t) row * columns + c];
	}
	return BR_OK;
}

/* A_IJ <- A_IJ - W_I U_J' in the lower triangle, the panel's own place included, to no harm. */
static BrStatus
update_tiles(Sweep *sweep, const Block *block, int columns, const double *panel,
			 const double *swept)
{
	BrStatus status = BR_OK;

	for (int i = 0; i < block->n; i += TILE)
		for (int j = 0; status == BR_OK && j <= i; j += TILE)
			status = multiply(sweep, panel + (size_t) i * columns, swept + (size_t) j * columns,
							  least(TILE, block->n - i), least(TILE, block->n - j), columns,
							  columns, block->stride, -1, 1, element(block, i, j));
	return status;
}

static BrStatus invert(Sweep *sweep, const Block *block, int level);

static BrStatus
sweep_panel(Sweep *sweep, const Block *block, int level, int k)
{
	int columns = least(panel_columns[level], block->n - k);
	double *panel = sweep->panel[level];
	double *swept = sweep->swept[level];
	Block diagonal = {sweep->block[level], columns, columns, block->first + k};
	BrStatus status = copy_panel(sweep, block, k, columns, panel);

	if (status != BR_OK)
		return status;
	memcpy(diagonal.values, panel + (size_t) k * columns,
		   (size_t) columns * columns * sizeof(double));
	status = invert(sweep, &diagonal, level + 1);
	for (int i = 0; status == BR_OK && i < block->n; i += TILE)
		status = multiply(sweep, panel + (size_t) i * columns, diagonal.values,
						  least(TILE, block->n - i), columns, columns, columns, columns, 1, 0,
						  swept + (size_t) i * columns);
	if (status == BR_OK)
		status = update_tiles(sweep, block, columns, panel, swept);
	if (status == BR_OK)
		status = replace_panel(sweep, block, k, columns, swept, diagonal.values);
	return status;
}

static BrStatus
invert(Sweep *sweep, const Block *block, int level)
{
	BrStatus status = BR_OK;

	if (level == LEVELS)
		return sweep_smallest(sweep, block);
	for (int k = 0; status == BR_OK && k < block->n; k += panel_columns[level])
		status = sweep_panel(sweep, block, level, k);
	return status == BR_OK ? negate_and_mirror(sweep, block) : status;
}

/* Doubles of work memory of one level, whose matrix has the given order. */
static size_t
level_work(int order, int level)
{
	size_t columns = (size_t) least(order, panel_columns[level]);

	return columns * (2 * (size_t) order + columns);
}

/* Doubles: the diagonal, and what the levels need. */
static size_t
work_length(int n)
{
	return (size_t) n + level_work(n, 0) + level_work(least(n, panel_columns[0]), 1);
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
	Sweep sweep = {.context = context, .backend = backend, .n = n};
	Block whole = {matrix, n, n, 0};
	double *work;
	double *next;
	BrStatus status;

	if (n < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A matrix cannot be of order %d.", n);
	if (n == 0)
		return BR_OK;
	if (backend == NULL || backend->multiply_transposed_double == NULL)
		sweep.backend = br_math_portable_backend();
	work = br_base_alloc(context, br_math_inverse_work(n));
	if (work == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < n; i++)
		work[i] = *element(&whole, i, i);
	sweep.diagonal = work;
	next = work + n;
	for (int level = 0; level < LEVELS; level++)
	{
		int order = level == 0 ? n : least(n, panel_columns[0]);
		size_t columns = (size_t) least(order, panel_columns[level]);

		sweep.panel[level] = next;
		sweep.swept[level] = next + columns * (size_t) order;
		sweep.block[level] = next + 2 * columns * (size_t) order;
		next += level_work(order, level);
	}
	status = invert(&sweep, &whole, 0);
	br_base_free(context, work);
	return status;
}
