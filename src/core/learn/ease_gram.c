/*
 * ease_gram.c
 *	  What EASE starts from: the events and the extra rows, both ways.
 */
#include <math.h>
#include <string.h>

#include "core/learn/ease_int.h"

static BrStatus
check(BrContext *context, const BrSparse *matrix, const BrSparse *extra, double extra_weight,
	  double lambda)
{
	BrStatus status = br_learn_sparse_check(context, matrix);

	if (status != BR_OK)
		return status;
	if (!(lambda > 0) || isinf(lambda))
		return br_base_fail(context, BR_ERR_ARGUMENT, "lambda is %g, but must be above 0.", lambda);
	if (extra == NULL)
		return BR_OK;
	if (!(extra_weight >= 0) || isinf(extra_weight))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The weight of extra rows is %g, but must be at least 0.",
							extra_weight);
	if (extra->columns != matrix->columns)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Extra rows have %d columns, but the matrix has %d.", extra->columns,
							matrix->columns);
	return br_learn_sparse_check(context, extra);
}

static BrStatus
add_part(BrContext *context, BrEaseGram *gram, const BrSparse *rows, double weight)
{
	BrEasePart *part = &gram->parts[gram->n_parts];
	BrStatus status = br_learn_sparse_transpose(context, rows, &part->columns);
	BrEasePace pace = {context, 0};

	if (status != BR_OK)
		return status;
	gram->n_parts++;
	part->rows = rows;
	part->weight = weight;
	for (int64_t i = 0; i < br_learn_entries(rows); i++)
	{
		double value = br_learn_value(rows, i);

		gram->diagonal[rows->ids[i]] += weight * value * value;
		if (br_learn_ease_stops(&pace, 1))
			return BR_ERR_CANCELLED;
	}
	return br_base_cancelled(context) ? BR_ERR_CANCELLED : BR_OK;
}

BrStatus
br_learn_ease_gram_begin(BrContext *context, const BrSparse *matrix, const BrSparse *extra,
						 double extra_weight, double lambda, BrEaseGram *gram)
{
	BrStatus status = check(context, matrix, extra, extra_weight, lambda);

	memset(gram, 0, sizeof(*gram));
	if (status != BR_OK)
		return status;
	gram->n = matrix->columns;
	gram->diagonal = br_base_alloc_array(context, (size_t) gram->n + 1, sizeof(double));
	if (gram->diagonal == NULL)
		return BR_ERR_MEMORY;
	status = add_part(context, gram, matrix, 1);
	if (status == BR_OK && extra != NULL && extra_weight > 0)
		status = add_part(context, gram, extra, extra_weight);
	if (status != BR_OK)
		br_learn_ease_gram_end(context, gram);
	return status;
}

void
br_learn_ease_gram_end(BrContext *context, BrEaseGram *gram)
{
	for (int p = 0; p < gram->n_parts; p++)
		br_learn_sparse_free(context, &gram->parts[p].columns);
	br_base_free(context, gram->diagonal);
	memset(gram, 0, sizeof(*gram));
}
