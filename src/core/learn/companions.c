/*
 * companions.c
 *	  What stands in the same rows: lists by co-occurrence.
 *
 * Column by column: the rows that have it are found in the transposed matrix,
 * and what else they have is counted in one array that is cleared by going
 * through what was touched.
 */
#include <math.h>

#include "core/learn/learn_int.h"

typedef struct Counting
{
	BrContext *context;
	const BrSparse *rows;
	const BrCompanionOptions *options;
	BrSparse columns; /* rows, transposed */
	int *together;	  /* (columns) */
	int32_t *touched; /* (columns) */
	float *weights;	  /* (columns) */
	int n_touched;
	int64_t work; /* entries looked at since the last question whether to stop */
} Counting;

#define WORK_BETWEEN_QUESTIONS 4000000

/* columns between two reports */
#define REPORT_COLUMNS 256

static bool
is_large(const Counting *counting, int row)
{
	return counting->rows->starts[row + 1] - counting->rows->starts[row] >
		counting->options->largest_row;
}

/* whether to go on is asked once in so much work, wherever it is done */
static bool
stops(Counting *counting, int64_t work)
{
	counting->work += work;
	if (counting->work < WORK_BETWEEN_QUESTIONS)
		return false;
	counting->work = 0;
	return br_base_cancelled(counting->context);
}

static BrStatus
count_partners(Counting *counting, int column)
{
	const BrSparse *rows = counting->rows;
	const BrSparse *columns = &counting->columns;

	counting->n_touched = 0;
	for (int64_t i = columns->starts[column]; i < columns->starts[column + 1]; i++)
	{
		int row = columns->ids[i];

		if (is_large(counting, row))
			continue;
		for (int64_t j = rows->starts[row]; j < rows->starts[row + 1]; j++)
			if (counting->together[rows->ids[j]]++ == 0)
				counting->touched[counting->n_touched++] = rows->ids[j];
		if (stops(counting, rows->starts[row + 1] - rows->starts[row]))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

static double
measure(const Counting *counting, int column, int other)
{
	const int64_t *starts = counting->columns.starts;
	double together = counting->together[other];
	double left = (double) (starts[column + 1] - starts[column]);
	double right = (double) (starts[other + 1] - starts[other]);

	if (counting->options->measure == BR_COMPANION_CONFIDENCE)
		return together / left;
	return together / sqrt(left * right) * together / (together + counting->options->shrinkage);
}

static BrStatus
fill(Counting *counting, BrListBuilder *builder)
{
	BrStatus status = BR_OK;

	for (int column = 0; column < counting->rows->columns && status == BR_OK; column++)
	{
		if (column % REPORT_COLUMNS == 0)
			br_learn_report(counting->options->progress, column, counting->rows->columns);
		status = count_partners(counting, column);
		if (status != BR_OK)
			break;
		for (int i = 0; i < counting->n_touched; i++)
			counting->weights[i] = (float) measure(counting, column, counting->touched[i]);
		status = br_learn_lists_add_some(builder, counting->touched, counting->weights,
										 counting->n_touched, column, 0);
		for (int i = 0; i < counting->n_touched; i++)
			counting->together[counting->touched[i]] = 0;
		if (status == BR_OK && stops(counting, counting->n_touched + 1))
			status = BR_ERR_CANCELLED;
	}
	return status;
}

BrStatus
br_learn_companions(BrContext *context, const BrSparse *rows, const BrCompanionOptions *options,
					BrLists *lists)
{
	Counting counting = {.context = context, .rows = rows, .options = options};
	size_t n = (size_t) rows->columns;
	BrListBuilder *builder;
	BrStatus status;

	*lists = (BrLists){0};
	if (!(options->shrinkage >= 0) || !isfinite(options->shrinkage) || options->largest_row < 2)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Shrinkage is %g and the largest row %d: at least 0 and 2 are needed.",
							options->shrinkage, options->largest_row);
	status = br_learn_sparse_check(context, rows);
	if (status != BR_OK)
		return status;
	status = br_learn_lists_begin(context, rows->columns, options->depth, &builder);
	if (status == BR_OK)
		status = br_learn_sparse_transpose(context, rows, &counting.columns);
	if (status == BR_OK)
	{
		counting.together = br_base_alloc_array(context, n, sizeof(int));
		counting.touched = br_base_alloc_array(context, n, sizeof(int32_t));
		counting.weights = br_base_alloc_array(context, n, sizeof(float));
		if (counting.together == NULL || counting.touched == NULL || counting.weights == NULL)
			status = BR_ERR_MEMORY;
	}
	if (status == BR_OK)
		status = fill(&counting, builder);
	if (status == BR_OK)
		status = br_learn_lists_end(builder, lists);
	else
		br_learn_lists_abandon(builder);
	br_base_free(context, counting.together);
	br_base_free(context, counting.touched);
	br_base_free(context, counting.weights);
	br_learn_sparse_free(context, &counting.columns);
	return status;
}
