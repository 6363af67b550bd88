/*
 * als_rows.c
 *	  A half-sweep of ALS: all vectors of one side while the other stands still.
 *
 * With Y the vectors that stand still and w = alpha r, the vector x of a row is
 *
 *		(Y'Y + lambda + sum w y y') x = sum (1 + w) y
 *
 * where sums run over the row's entries alone. Y'Y is common to all rows and
 * computed once. Cholesky sets each row's matrix up and solves it; conjugate
 * gradients only multiply by it, all rows of a block by Y'Y at once, and each
 * by the vectors of its entries.
 */
#include <math.h>
#include <string.h>

#include "core/learn/factors_int.h"

/* Rows that are multiplied by Y'Y at once. */
#define BLOCK_ROWS 16

/* Parts in which Y'Y is summed, so that threads may share it and rounding stays small. */
#define SLICES 16

/* Vectors whose products are summed in registers. */
#define PANEL_ROWS 128

/* Entries between two looks at cancellation. */
#define LOOK_ENTRIES 4096

#define CG_STEPS 3

/* A residual whose square is below this needs no further step. */
#define CG_SMALL 1e-20f

typedef struct HalfSweep
{
	BrAlsWork *work;
	const BrSparse *matrix;
	const BrVectors *still;
	BrVectors *moving;
	int slice_rows;
	atomic_bool singular;
} HalfSweep;

BrStatus
br_learn_als_begin(BrContext *context, const BrAlsOptions *options, BrAlsWork *work)
{
	size_t padded = (size_t) BR_LEARN_PADDED(options->factors);
	size_t square = padded * padded;
	float *floats;

	*work = (BrAlsWork){.context = context,
						.options = options,
						.kernels = br_learn_factor_kernels(),
						.padded = (int) padded,
						.workers = br_base_pool_threads(options->pool)};
	work->scratch_size = options->solver == BR_ALS_CHOLESKY ? square + (PANEL_ROWS + 1) * padded
															: 3 * BLOCK_ROWS * padded;
	floats =
		br_learn_aligned_floats(context,
								(1 + SLICES) * square + (size_t) work->workers * work->scratch_size,
								&work->memory);
	if (floats == NULL)
		return BR_ERR_MEMORY;
	work->gram = floats;
	work->slices = floats + square;
	work->scratch = work->slices + SLICES * square;
	return BR_OK;
}

void
br_learn_als_end(BrAlsWork *work)
{
	br_base_free(work->context, work->memory);
	work->memory = NULL;
}

/* ---- Y'Y + lambda ---- */

static void
sum_slice(void *arg, BrBlocks *blocks, int slice, int worker)
{
	HalfSweep *half = arg;
	size_t padded = (size_t) half->work->padded;
	float *sum = half->work->slices + (size_t) slice * padded * padded;
	int64_t first = (int64_t) slice * half->slice_rows;
	int64_t end = first + half->slice_rows;

	memset(sum, 0, sizeof(float) * padded * padded);
	if (end > half->still->n)
		end = half->still->n;
	for (int64_t row = first; row < end; row += PANEL_ROWS)
	{
		int n = end - row < PANEL_ROWS ? (int) (end - row) : PANEL_ROWS;

		if (br_learn_blocks_stopped(blocks, worker))
			return;
		half->work->kernels->gram(half->still->vector + (size_t) row * padded, n, (int) padded,
								  sum);
	}
}

/* Both triangles; 1 on the diagonal of the padding, so that every solver may pass over it. */
static void
add_slices(const HalfSweep *half)
{
	const BrAlsWork *work = half->work;
	int padded = work->padded;
	size_t square = (size_t) padded * (size_t) padded;

	for (int i = 0; i < padded; i++)
		for (int j = i; j < padded; j++)
		{
			double sum = i == j ? work->options->lambda : 0;

			for (int slice = 0; slice < SLICES; slice++)
				sum += (double) work->slices[(size_t) slice * square + (size_t) i * padded + j];
			if (i == j && i >= work->options->factors)
				sum = 1;
			work->gram[(size_t) i * padded + j] = work->gram[(size_t) j * padded + i] = (float) sum;
		}
}

/* ---- one row ---- */

static BrEntryRow
entries_of(const HalfSweep *half, int64_t first, int64_t end)
{
	const BrSparse *matrix = half->matrix;

	return (BrEntryRow){.vectors = half->still->vector,
						.padded = half->still->padded,
						.ids = matrix->ids + first,
						.values = matrix->values != NULL ? matrix->values + first : NULL,
						.alpha = (float) half->work->options->alpha,
						.n = (int) (end - first)};
}

/* Adds up over a row's entries, some at a time. */
static void
add_entries(const HalfSweep *half, BrBlocks *blocks, int worker, int row,
			void (*add)(const BrEntryRow *row, const float *at, float *out), const float *at,
			float *out)
{
	int64_t end = half->matrix->starts[row + 1];

	for (int64_t first = half->matrix->starts[row]; first < end; first += LOOK_ENTRIES)
	{
		int64_t last = first + LOOK_ENTRIES < end ? first + LOOK_ENTRIES : end;
		BrEntryRow some = entries_of(half, first, last);

		if (last < end && br_learn_blocks_stopped(blocks, worker))
			return;
		add(&some, at, out);
	}
}

static bool
is_empty(const HalfSweep *half, int row)
{
	return half->matrix->starts[row] == half->matrix->starts[row + 1];
}

static void
solve_exactly(HalfSweep *half, BrBlocks *blocks, int worker, int row, float *scratch)
{
	const BrAlsWork *work = half->work;
	size_t padded = (size_t) work->padded;
	int64_t end = half->matrix->starts[row + 1];
	float *square = scratch;
	float *panel = square + padded * padded;
	float *right = panel + PANEL_ROWS * padded;

	memcpy(square, work->gram, sizeof(float) * padded * padded);
	memset(right, 0, sizeof(float) * padded);
	for (int64_t first = half->matrix->starts[row]; first < end; first += PANEL_ROWS)
	{
		BrEntryRow some =
			entries_of(half, first, first + PANEL_ROWS < end ? first + PANEL_ROWS : end);

		if (first + PANEL_ROWS < end && br_learn_blocks_stopped(blocks, worker))
			return;
		work->kernels->gather(&some, panel, right);
		work->kernels->gram(panel, some.n, (int) padded, square);
	}
	if (!work->kernels->solve(square, (int) padded, right))
		atomic_store(&half->singular, true);
	memcpy(half->moving->vector + (size_t) row * padded, right, sizeof(float) * padded);
}

/* ---- conjugate gradients for a block of rows ---- */

typedef struct Gradients
{
	float *residual;  /* (BLOCK_ROWS, padded) */
	float *direction; /* (BLOCK_ROWS, padded) */
	float *image;	  /* (BLOCK_ROWS, padded): the direction times the row's matrix */
	float squared[BLOCK_ROWS];
	bool running[BLOCK_ROWS];
} Gradients;

/* From where the rows stand: the residual is also the first direction. */
static void
start_gradients(HalfSweep *half, BrBlocks *blocks, int worker, int first, int n, Gradients *at)
{
	const BrFactorKernels *kernels = half->work->kernels;
	int padded = half->work->padded;
	float *vectors = half->moving->vector + (size_t) first * padded;

	kernels->product(vectors, padded, 1, n, half->work->gram, padded, padded, at->residual);
	for (int i = 0; i < n; i++)
	{
		float *vector = vectors + (size_t) i * padded;
		float *residual = at->residual + (size_t) i * padded;
		float *direction = at->direction + (size_t) i * padded;

		at->running[i] = false;
		memset(direction, 0, sizeof(float) * (size_t) padded);
		if (is_empty(half, first + i))
		{
			memset(vector, 0, sizeof(float) * (size_t) padded);
			continue;
		}
		kernels->mix(residual, -1, residual, 0, padded);
		add_entries(half, blocks, worker, first + i, kernels->add_residuals, vector, residual);
		memcpy(direction, residual, sizeof(float) * (size_t) padded);
		at->squared[i] = kernels->dot(residual, residual, padded);
		at->running[i] = at->squared[i] >= CG_SMALL;
	}
}

static void
step_row(HalfSweep *half, BrBlocks *blocks, int worker, int row, int i, Gradients *at)
{
	const BrFactorKernels *kernels = half->work->kernels;
	int padded = half->work->padded;
	float *residual = at->residual + (size_t) i * padded;
	float *direction = at->direction + (size_t) i * padded;
	float *image = at->image + (size_t) i * padded;
	float curvature;
	float length;
	float squared;

	add_entries(half, blocks, worker, row, kernels->add_products, direction, image);
	curvature = kernels->dot(direction, image, padded);
	at->running[i] = curvature > 0;
	if (!at->running[i])
		return;
	length = at->squared[i] / curvature;
	kernels->mix(half->moving->vector + (size_t) row * padded, 1, direction, length, padded);
	kernels->mix(residual, 1, image, -length, padded);
	squared = kernels->dot(residual, residual, padded);
	at->running[i] = squared >= CG_SMALL;
	kernels->mix(direction, squared / at->squared[i], residual, 1, padded);
	at->squared[i] = squared;
}

static void
descend(HalfSweep *half, BrBlocks *blocks, int worker, int first, int n, float *scratch)
{
	const BrFactorKernels *kernels = half->work->kernels;
	int padded = half->work->padded;
	size_t size = BLOCK_ROWS * (size_t) padded;
	Gradients at = {.residual = scratch, .direction = scratch + size, .image = scratch + 2 * size};

	start_gradients(half, blocks, worker, first, n, &at);
	for (int step = 0; step < CG_STEPS; step++)
	{
		kernels->product(at.direction, padded, 1, n, half->work->gram, padded, padded, at.image);
		for (int i = 0; i < n; i++)
			if (at.running[i])
				step_row(half, blocks, worker, first + i, i, &at);
	}
}

/* ---- all rows ---- */

static void
solve_block(void *arg, BrBlocks *blocks, int block, int worker)
{
	HalfSweep *half = arg;
	const BrAlsWork *work = half->work;
	float *scratch = work->scratch + (size_t) worker * work->scratch_size;
	int first = block * BLOCK_ROWS;
	int n = half->moving->n - first < BLOCK_ROWS ? half->moving->n - first : BLOCK_ROWS;

	if (work->options->solver == BR_ALS_CG)
	{
		descend(half, blocks, worker, first, n, scratch);
		return;
	}
	for (int row = first; row < first + n; row++)
		if (is_empty(half, row))
			memset(half->moving->vector + (size_t) row * work->padded, 0,
				   sizeof(float) * (size_t) work->padded);
		else if (br_learn_blocks_stopped(blocks, worker))
			return;
		else
			solve_exactly(half, blocks, worker, row, scratch);
}

BrStatus
br_learn_als_half_sweep(BrAlsWork *work, const BrSparse *matrix, const BrVectors *still,
						BrVectors *moving)
{
	HalfSweep half = {.work = work,
					  .matrix = matrix,
					  .still = still,
					  .moving = moving,
					  .slice_rows = still->n / SLICES + 1};
	BrPool *pool = work->options->pool;
	BrStatus status = br_learn_blocks_run(work->context, pool, sum_slice, &half, SLICES);

	if (status != BR_OK)
		return status;
	add_slices(&half);
	status = br_learn_blocks_run(work->context, pool, solve_block, &half,
								 moving->n / BLOCK_ROWS + (moving->n % BLOCK_ROWS != 0));
	if (status == BR_OK && half.singular)
		return br_base_fail(work->context, BR_ERR_NUMERIC,
							"The entries do not determine %d factors at lambda %g; a larger one "
							"is needed.",
							work->options->factors, work->options->lambda);
	return status;
}
