/*
 * ease_local.c
 *	  EASE of many columns: each regressed on those it occurs with most.
 *
 * First every target's neighbours are found by going through the rows in which
 * it occurs. Then the normal equations of each target are put together
 * (ease_support.c) and solved; the weight of a neighbour takes the place of its
 * cosine in what becomes the result, so that this needs no memory beside it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/learn/ease_int.h"
#include "core/math/br_math.h"

/* Targets between two reports. */
#define REPORT_TARGETS 256

/* One call: what it was given, and its work memory. */
typedef struct Fit
{
	BrContext *context;
	const int32_t *targets; /* NULL: all */
	int n_targets;
	const BrEaseLocalOptions *options;
	BrEaseGram gram;
	BrEasePace pace;
	BrArena *arena;
	double *sums;	  /* (columns): a row of G */
	int32_t *touched; /* (columns): where it was added to */
	bool *is_touched; /* (columns) */
	float *cosines;	  /* (columns), of those touched */
	BrEaseSupport *support;
	int32_t *columns; /* (neighbours + 1): a target's support, the target last */
	double *matrix;	  /* (stride, stride) for the largest support */
	double *vector;	  /* (stride) */
} Fit;

static int
target_of(const Fit *fit, int t)
{
	return fit->targets != NULL ? fit->targets[t] : t;
}

/* columns: of the matrix that targets number */
static BrStatus
check_targets(BrContext *context, const int32_t *targets, int n_targets, int columns)
{
	if (n_targets < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d targets cannot be computed.", n_targets);
	for (int t = 0; t < n_targets; t++)
		if (targets[t] < 0 || targets[t] >= columns || (t > 0 && targets[t] <= targets[t - 1]))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Target %d is column %d, which is out of range or order.", t,
								targets[t]);
	return BR_OK;
}

static BrStatus
check(Fit *fit)
{
	if (fit->options->neighbours < 1 || fit->options->neighbours > BR_EASE_MAX_NEIGHBOURS)
		return br_base_fail(fit->context, BR_ERR_ARGUMENT,
							"%d neighbours were asked for, but 1 to %d are possible.",
							fit->options->neighbours, BR_EASE_MAX_NEIGHBOURS);
	if (fit->targets == NULL)
		return BR_OK;
	return check_targets(fit->context, fit->targets, fit->n_targets, fit->gram.n);
}

/* ---- neighbours ---- */

static BrStatus
allocate_for_neighbours(Fit *fit)
{
	size_t n = (size_t) fit->gram.n;

	fit->arena = br_base_arena_create(fit->context, 4096);
	if (fit->arena == NULL)
		return BR_ERR_MEMORY;
	fit->sums = br_base_arena_alloc_array(fit->arena, n + 1, sizeof(double));
	fit->touched = br_base_arena_alloc_array(fit->arena, n + 1, sizeof(int32_t));
	fit->is_touched = br_base_arena_alloc_array(fit->arena, n + 1, sizeof(bool));
	fit->cosines = br_base_arena_alloc_array(fit->arena, n + 1, sizeof(float));
	return fit->sums != NULL && fit->touched != NULL && fit->is_touched != NULL &&
			fit->cosines != NULL
		? BR_OK
		: BR_ERR_MEMORY;
}

/* Adds row `target` of G to sums, for one part; n: how many columns were touched so far. */
static BrStatus
add_row(Fit *fit, const BrEasePart *part, int target, int *n)
{
	const BrSparse *columns = &part->columns;
	const BrSparse *rows = part->rows;

	for (int64_t c = columns->starts[target]; c < columns->starts[target + 1]; c++)
	{
		int row = columns->ids[c];
		double value = part->weight * (double) br_learn_value(columns, c);

		for (int64_t i = rows->starts[row]; i < rows->starts[row + 1]; i++)
		{
			int32_t column = rows->ids[i];

			if (!fit->is_touched[column])
			{
				fit->is_touched[column] = true;
				fit->touched[(*n)++] = column;
			}
			fit->sums[column] += value * (double) br_learn_value(rows, i);
		}
		if (br_learn_ease_stops(&fit->pace, rows->starts[row + 1] - rows->starts[row] + 1))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

/* Leaves sums and is_touched as it found them: empty. */
static BrStatus
add_neighbours(Fit *fit, BrListBuilder *builder, int target)
{
	BrStatus status = BR_OK;
	int n = 0;

	for (int p = 0; status == BR_OK && p < fit->gram.n_parts; p++)
		status = add_row(fit, &fit->gram.parts[p], target, &n);
	for (int i = 0; i < n; i++)
	{
		int32_t other = fit->touched[i];

		fit->cosines[i] =
			(float) (fabs(fit->sums[other]) /
					 (sqrt(fit->gram.diagonal[target]) * sqrt(fit->gram.diagonal[other])));
		fit->sums[other] = 0;
		fit->is_touched[other] = false;
	}
	if (status == BR_OK && br_learn_ease_stops(&fit->pace, 16 * (int64_t) n))
		status = BR_ERR_CANCELLED;
	if (status == BR_OK)
		status = br_learn_lists_add_some(builder, fit->touched, fit->cosines, n, target, 0);
	return status;
}

static BrStatus
find_neighbours(Fit *fit, BrLists *lists)
{
	BrListBuilder *builder;
	BrStatus status =
		br_learn_lists_begin(fit->context, fit->n_targets, fit->options->neighbours, &builder);

	for (int t = 0; status == BR_OK && t < fit->n_targets; t++)
	{
		if (t % REPORT_TARGETS == 0)
			br_learn_report(fit->options->progress, t, 2 * (int64_t) fit->n_targets);
		status = add_neighbours(fit, builder, target_of(fit, t));
	}
	if (status == BR_OK)
		return br_learn_lists_end(builder, lists);
	br_learn_lists_abandon(builder);
	return status;
}

/* ---- weights ---- */

static int
padded(int n)
{
	return (n + BR_MATH_SOLVE_ALIGN - 1) / BR_MATH_SOLVE_ALIGN * BR_MATH_SOLVE_ALIGN;
}

static BrStatus
allocate_for_weights(Fit *fit, const BrLists *lists)
{
	int most = 0;
	size_t stride;

	for (int t = 0; t < lists->n; t++)
	{
		int64_t length = lists->starts[t + 1] - lists->starts[t];

		most = length > most ? (int) length : most;
	}
	stride = (size_t) padded(most + 1);
	fit->columns = br_base_arena_alloc_array(fit->arena, stride, sizeof(int32_t));
	fit->matrix = br_base_arena_alloc_array(fit->arena, stride * stride, sizeof(double));
	fit->vector = br_base_arena_alloc_array(fit->arena, stride, sizeof(double));
	if (fit->columns == NULL || fit->matrix == NULL || fit->vector == NULL)
		return BR_ERR_MEMORY;
	return br_learn_ease_support_begin(fit->context, &fit->gram, most + 1, &fit->support);
}

static int
compare_ids(const void *left, const void *right)
{
	int32_t a = *(const int32_t *) left;
	int32_t b = *(const int32_t *) right;

	return a < b ? -1 : a > b;
}

/*
 * The regression of a target on its n neighbours. It stands behind them, so
 * that their equations are the leading part of the matrix and the right-hand
 * side the column after it.
 */
static BrStatus
solve(Fit *fit, int target, int32_t *neighbours, int n, float *weights)
{
	int stride = padded(n + 1);
	BrStatus status;

	qsort(neighbours, (size_t) n, sizeof(int32_t), compare_ids);
	memcpy(fit->columns, neighbours, (size_t) n * sizeof(int32_t));
	fit->columns[n] = target;
	memset(fit->matrix, 0, (size_t) stride * (size_t) stride * sizeof(double));
	status = br_learn_ease_support_gram(fit->support, fit->columns, n + 1, &fit->pace, fit->matrix,
										stride);
	if (status != BR_OK)
		return status;
	for (int i = 0; i < n; i++)
	{
		fit->matrix[(size_t) i * (size_t) stride + (size_t) i] += fit->options->lambda;
		fit->vector[i] = fit->matrix[(size_t) i * (size_t) stride + (size_t) n];
	}
	status = br_math_solve_positive_definite(fit->context, fit->matrix, stride, n, fit->vector);
	for (int i = 0; status == BR_OK && i < n; i++)
	{
		weights[i] = (float) fit->vector[i];
		if (!isfinite(weights[i]))
			status = br_base_fail(fit->context, BR_ERR_NUMERIC,
								  "The weight of column %d for column %d is not finite.",
								  neighbours[i], target);
	}
	return status;
}

static BrStatus
compute(Fit *fit, BrLists *lists)
{
	BrStatus status = find_neighbours(fit, lists);

	if (status == BR_OK)
		status = allocate_for_weights(fit, lists);
	for (int t = 0; status == BR_OK && t < fit->n_targets; t++)
	{
		int64_t start = lists->starts[t];
		int n = (int) (lists->starts[t + 1] - start);

		if (t % REPORT_TARGETS == 0)
			br_learn_report(fit->options->progress, fit->n_targets + (int64_t) t,
							2 * (int64_t) fit->n_targets);
		if (n > 0)
			status = solve(fit, target_of(fit, t), lists->ids + start, n, lists->weights + start);
	}
	if (status == BR_OK)
		br_learn_report(fit->options->progress, 2 * (int64_t) fit->n_targets,
						2 * (int64_t) fit->n_targets);
	return status;
}

BrStatus
br_learn_ease_local(BrContext *context, const BrSparse *matrix, const int32_t *targets,
					int n_targets, const BrEaseLocalOptions *options, BrSparse *weights)
{
	Fit fit = {.context = context,
			   .targets = targets,
			   .n_targets = targets != NULL ? n_targets : matrix->columns,
			   .options = options,
			   .pace = {context, 0}};
	BrLists lists = {0};
	BrStatus status = br_learn_ease_gram_begin(context, matrix, options->extra,
											   options->extra_weight, options->lambda, &fit.gram);

	memset(weights, 0, sizeof(*weights));
	if (status != BR_OK)
		return status;
	status = check(&fit);
	if (status == BR_OK)
		status = allocate_for_neighbours(&fit);
	if (status == BR_OK)
		status = compute(&fit, &lists);
	if (status == BR_OK)
		*weights = (BrSparse){lists.n, matrix->columns, lists.starts, lists.ids, lists.weights};
	else
		br_learn_lists_free(context, &lists);
	br_learn_ease_support_end(context, fit.support);
	br_base_arena_destroy(fit.arena);
	br_learn_ease_gram_end(context, &fit.gram);
	return status;
}

/* ---- what is done with weights ---- */

/* Row j of the result: of fresh where j is a target, otherwise of the old ones. */
static void
merge(const BrSparse *old, const int32_t *targets, const BrSparse *fresh, BrSparse *merged)
{
	int t = 0;
	int64_t n = 0;

	for (int row = 0; row < merged->rows; row++)
	{
		bool is_target = t < fresh->rows && targets[t] == row;
		const BrSparse *from = is_target ? fresh : old;
		int at = is_target ? t : row;

		if (is_target || row < old->rows)
			for (int64_t i = from->starts[at]; i < from->starts[at + 1]; i++, n++)
			{
				merged->ids[n] = from->ids[i];
				merged->values[n] = br_learn_value(from, i);
			}
		merged->starts[row + 1] = n;
		t += is_target;
	}
}

BrStatus
br_learn_ease_replace(BrContext *context, BrSparse *weights, const int32_t *targets,
					  const BrSparse *fresh)
{
	int n = fresh->columns > weights->columns ? fresh->columns : weights->columns;
	BrSparse merged = {.rows = n, .columns = n};
	BrStatus status = check_targets(context, targets, fresh->rows, n);
	int64_t entries;

	if (status != BR_OK)
		return status;
	entries = br_learn_entries(weights) + br_learn_entries(fresh);
	merged.starts = br_base_alloc_array(context, (size_t) n + 1, sizeof(int64_t));
	merged.ids = br_base_alloc_array(context, (size_t) entries + 1, sizeof(int32_t));
	merged.values = br_base_alloc_array(context, (size_t) entries + 1, sizeof(float));
	if (merged.starts == NULL || merged.ids == NULL || merged.values == NULL)
	{
		br_learn_sparse_free(context, &merged);
		return BR_ERR_MEMORY;
	}
	merge(weights, targets, fresh, &merged);
	br_learn_sparse_free(context, weights);
	*weights = merged;
	return BR_OK;
}

static BrStatus
list_rows(BrContext *context, const BrSparse *by_source, int depth, float least, BrLists *lists)
{
	BrEasePace pace = {context, 0};
	BrListBuilder *builder;
	BrStatus status = br_learn_lists_begin(context, by_source->rows, depth, &builder);

	for (int i = 0; status == BR_OK && i < by_source->rows; i++)
	{
		int64_t start = by_source->starts[i];
		int n = (int) (by_source->starts[i + 1] - start);

		status = br_learn_ease_stops(&pace, 16 * (int64_t) n + 1)
			? BR_ERR_CANCELLED
			: br_learn_lists_add_some(builder, by_source->ids + start, by_source->values + start, n,
									  i, least);
	}
	if (status == BR_OK)
		return br_learn_lists_end(builder, lists);
	br_learn_lists_abandon(builder);
	return status;
}

BrStatus
br_learn_ease_lists(BrContext *context, const BrSparse *weights, int depth, float least,
					BrLists *lists)
{
	BrStatus status = br_learn_sparse_check(context, weights);
	int n = weights->columns;
	BrSparse by_source;

	memset(lists, 0, sizeof(*lists));
	if (status != BR_OK)
		return status;
	if (weights->rows != n || weights->values == NULL)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Weights of %d columns in %d rows are not those of all columns.", n,
							weights->rows);
	if (depth < 1 || isnan(least))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Lists of %d weights above %g cannot be made.", depth, (double) least);
	status = br_learn_sparse_transpose(context, weights, &by_source);
	if (status != BR_OK)
		return status;
	status = list_rows(context, &by_source, depth < n || n == 0 ? depth : n, least, lists);
	br_learn_sparse_free(context, &by_source);
	return status;
}
