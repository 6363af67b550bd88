/*
 * ease.c
 *	  EASE: every column regressed on all others, by one inverse.
 *
 * The Gram matrix of the columns is dense and is inverted in place; of the
 * inverse only the strongest entries of each row are kept. The lower triangle
 * of the Gram matrix is made by its rows: row i is the sum of the rows of
 * events in which column i occurs, up to column i.
 */
#include <math.h>
#include <string.h>

#include "core/learn/ease_int.h"
#include "core/math/br_math.h"

/* Rows between two reports. */
#define REPORT_ROWS 256

/* What memory can hold is far below; up to it the bytes can be counted. */
#define MOST_COLUMNS (1 << 28)

size_t
br_learn_ease_memory(int columns)
{
	size_t n = columns > 0 ? (size_t) columns : 0;

	if (columns > MOST_COLUMNS)
		return SIZE_MAX;
	return n * n * sizeof(double) + br_math_inverse_work((int) n) +
		n * (2 * sizeof(double) + sizeof(float));
}

static BrStatus
check(BrContext *context, const BrSparse *matrix, const BrEaseOptions *options)
{
	size_t needed = br_learn_ease_memory(matrix->columns);

	if (options->depth < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Lists of %d entries were asked for, but they need at least 1.",
							options->depth);
	if (isnan(options->least))
		return br_base_fail(context, BR_ERR_ARGUMENT, "The least weight of a list is NaN.");
	if (needed == SIZE_MAX || (options->memory_limit > 0 && needed > options->memory_limit))
		return br_base_fail(context, BR_ERR_LIMIT,
							"EASE of %d columns takes %zu bytes, of which %zu are allowed.",
							matrix->columns, needed, options->memory_limit);
	return BR_OK;
}

static BrStatus
add_row(const BrEasePart *part, int i, BrEasePace *pace, double *sums /* (i + 1) */)
{
	const BrSparse *columns = &part->columns;
	const BrSparse *rows = part->rows;

	for (int64_t c = columns->starts[i]; c < columns->starts[i + 1]; c++)
	{
		int row = columns->ids[c];
		double value = part->weight * (double) br_learn_value(columns, c);
		int64_t end = rows->starts[row + 1];
		int64_t place = rows->starts[row];

		for (; place < end && rows->ids[place] <= i; place++)
			sums[rows->ids[place]] += value * (double) br_learn_value(rows, place);
		if (br_learn_ease_stops(pace, place - rows->starts[row] + 1))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

/* The lower triangle of G. */
static BrStatus
fill(BrContext *context, const BrEaseGram *gram, const BrEaseOptions *options, double *matrix)
{
	BrEasePace pace = {context, 0};
	int n = gram->n;

	for (int i = 0; i < n; i++)
	{
		double *sums = matrix + (size_t) i * (size_t) n;

		if (i % REPORT_ROWS == 0)
			br_learn_report(options->progress, i, 3 * (int64_t) n);
		memset(sums, 0, ((size_t) i + 1) * sizeof(double));
		for (int p = 0; p < gram->n_parts; p++)
			if (add_row(&gram->parts[p], i, &pace, sums) != BR_OK)
				return BR_ERR_CANCELLED;
		sums[i] += options->lambda;
		if (br_learn_ease_stops(&pace, i))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

static BrStatus
list_row(BrListBuilder *builder, const double *inverse, const double *scale, int n, int i,
		 float least, float *weights)
{
	for (int j = 0; j < n; j++)
		weights[j] = (float) (inverse[j] * scale[j]);
	return br_learn_lists_add(builder, weights, n, i, least);
}

static BrStatus
list(BrContext *context, const double *inverse, int n, const BrEaseOptions *options, BrLists *lists)
{
	BrEasePace pace = {context, 0};
	int depth = options->depth < n ? options->depth : n > 0 ? n : 1;
	double *scale = br_base_alloc_array(context, (size_t) n + 1, sizeof(double));
	float *weights = br_base_alloc_array(context, (size_t) n + 1, sizeof(float));
	BrListBuilder *builder = NULL;
	BrStatus status = BR_ERR_MEMORY;

	if (scale != NULL && weights != NULL)
		status = br_learn_lists_begin(context, n, depth, &builder);
	for (int j = 0; status == BR_OK && j < n; j++)
		scale[j] = -1 / inverse[(size_t) j * (size_t) n + (size_t) j];
	for (int i = 0; status == BR_OK && i < n; i++)
	{
		if (i % REPORT_ROWS == 0)
			br_learn_report(options->progress, 2 * (int64_t) n + i, 3 * (int64_t) n);
		if (br_learn_ease_stops(&pace, 4 * (int64_t) n))
			status = BR_ERR_CANCELLED;
		else
			status = list_row(builder, inverse + (size_t) i * (size_t) n, scale, n, i,
							  options->least, weights);
	}
	br_base_free(context, scale);
	br_base_free(context, weights);
	if (status == BR_OK)
		return br_learn_lists_end(builder, lists);
	br_learn_lists_abandon(builder);
	return status;
}

BrStatus
br_learn_ease(BrContext *context, const BrSparse *matrix, const BrEaseOptions *options,
			  BrLists *lists)
{
	BrStatus status = check(context, matrix, options);
	int64_t n = matrix->columns;
	double *inverse = NULL;
	BrEaseGram gram;

	memset(lists, 0, sizeof(*lists));
	if (status != BR_OK)
		return status;
	status = br_learn_ease_gram_begin(context, matrix, options->extra, options->extra_weight,
									  options->lambda, &gram);
	if (status != BR_OK)
		return status;
	/* not the zeroing allocator: zeroing gigabytes would delay a cancel */
	inverse = br_base_alloc(context, ((size_t) n * (size_t) n + 1) * sizeof(double));
	status = inverse != NULL ? fill(context, &gram, options, inverse) : BR_ERR_MEMORY;
	br_learn_ease_gram_end(context, &gram);
	if (status == BR_OK)
	{
		br_learn_report(options->progress, n, 3 * n);
		status = br_math_invert_positive_definite(context, options->backend, inverse, (int) n);
	}
	if (status == BR_OK)
		status = list(context, inverse, (int) n, options, lists);
	if (status == BR_OK)
		br_learn_report(options->progress, 3 * n, 3 * n);
	br_base_free(context, inverse);
	return status;
}
