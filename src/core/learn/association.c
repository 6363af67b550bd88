/*
 * association.c
 *	  Log-linear associations: what else a row would hold, as a softmax.
 *
 * Each column of a row is hidden in turn, and the others must tell it from all
 * that the row does not hold. That is the question asked of the lists later,
 * where a regression such as EASE answers another one: it spends its weights on
 * how large the scores are, not on which is the largest. The likelihood is
 * concave, so the answer does not depend on where the search starts.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/learn/association_int.h"

/* a step that gains less than this part of the loss is the last */
#define TOLERANCE 1e-9

/* bytes cleared between two questions whether to stop */
#define PIECE ((size_t) 1 << 23)

void *
br_learn_association_room(BrContext *context, int64_t count, size_t size)
{
	if (count < 0 || (uint64_t) count > SIZE_MAX / size)
	{
		br_base_fail(context, BR_ERR_MEMORY, "%lld entries of %zu bytes do not fit the memory.",
					 (long long) count, size);
		return NULL;
	}
	return br_base_alloc(context, count > 0 ? (size_t) count * size : 1);
}

BrStatus
br_learn_association_clear(BrContext *context, void *array, size_t bytes)
{
	for (size_t first = 0; first < bytes; first += PIECE)
	{
		memset((char *) array + first, 0, bytes - first < PIECE ? bytes - first : PIECE);
		if (bytes > PIECE && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

size_t
br_learn_association_memory(int columns, int64_t pairs)
{
	/* the parameter; a weight, a slope and an id of the pair; an id and a weight of the list */
	size_t each =
		sizeof(double) + 2 * sizeof(float) + sizeof(int32_t) + sizeof(int32_t) + sizeof(float);
	size_t fixed = (size_t) columns * 16 * sizeof(double);

	if ((uint64_t) pairs > SIZE_MAX / 1024)
		return SIZE_MAX;
	return br_learn_lbfgs_memory(pairs + columns) + (size_t) pairs * each + fixed;
}

static BrStatus
check(BrContext *context, const BrSparse *matrix, const BrAssociationOptions *options)
{
	if (!(options->l2 > 0) || !isfinite(options->l2))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Associations are regularised by more than 0, not by %g.", options->l2);
	if (!(options->damping >= 0 && options->damping <= 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The damping of associations is from 0 to 1, not %g.",
							options->damping);
	if (!(options->row_damping >= 0 && options->row_damping <= 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The row damping of associations is from 0 to 1, not %g.",
							options->row_damping);
	if (options->iterations < 1 || options->depth < 1 || options->least_together < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Associations take at least 1 iteration, a depth and rows together of "
							"at least 1, not %d, %d and %d.",
							options->iterations, options->depth, options->least_together);
	return br_learn_sparse_check(context, matrix);
}

typedef struct Weight
{
	int32_t id;
	float weight;
} Weight;

static int
compare_magnitudes(const void *left, const void *right)
{
	const Weight *a = left;
	const Weight *b = right;
	float x = fabsf(a->weight);
	float y = fabsf(b->weight);

	if (x != y)
		return x > y ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

/* What a column says against another counts as what it says for one. */
static BrStatus
list_column(BrListBuilder *builder, const BrAssociationPairs *pairs, int column, int depth,
			const double *parameters, Weight *sorted, int32_t *ids, float *weights)
{
	int64_t start = pairs->starts[column];
	int n = (int) (pairs->starts[column + 1] - start);

	for (int i = 0; i < n; i++)
		sorted[i] = (Weight){pairs->ids[start + i], (float) parameters[start + i]};
	if (n > depth)
	{
		qsort(sorted, (size_t) n, sizeof(Weight), compare_magnitudes);
		n = depth;
	}
	for (int i = 0; i < n; i++)
	{
		ids[i] = sorted[i].id;
		weights[i] = sorted[i].weight;
	}
	return br_learn_lists_add_some(builder, ids, weights, n, -1, -INFINITY);
}

static BrStatus
list_columns(BrContext *context, BrListBuilder *builder, const BrAssociationPairs *pairs,
			 int columns, int depth, const double *parameters)
{
	Weight *sorted = br_base_alloc_array(context, (size_t) columns, sizeof(Weight));
	int32_t *ids = br_base_alloc_array(context, (size_t) columns, sizeof(int32_t));
	float *weights = br_base_alloc_array(context, (size_t) columns, sizeof(float));
	BrStatus status = sorted == NULL || ids == NULL || weights == NULL ? BR_ERR_MEMORY : BR_OK;

	for (int column = 0; column < columns && status == BR_OK; column++)
	{
		status = list_column(builder, pairs, column, depth, parameters, sorted, ids, weights);
		if (status == BR_OK && br_base_cancelled(context))
			status = BR_ERR_CANCELLED;
	}
	br_base_free(context, sorted);
	br_base_free(context, ids);
	br_base_free(context, weights);
	return status;
}

/* Hands over the biases; one never met has the smallest of those that were. */
static void
copy_bias(const BrAssociationRows *rows, const double *parameters, float *bias)
{
	float smallest = INFINITY;

	for (int column = 0; column < rows->columns; column++)
	{
		bias[column] = (float) parameters[column];
		if (rows->met[column] > 0 && bias[column] < smallest)
			smallest = bias[column];
	}
	for (int column = 0; column < rows->columns; column++)
		if (rows->met[column] == 0)
			bias[column] = isfinite(smallest) ? smallest : 0;
}

static BrStatus
fit(BrContext *context, const BrAssociationRows *rows, const BrAssociationPairs *pairs,
	const BrAssociationOptions *options, double **parameters)
{
	BrAssociationLoss *loss;
	BrStatus status = br_learn_association_loss_create(context, rows, pairs, options, NULL, &loss);
	BrSmooth function = {br_learn_association_evaluate, loss, 0};
	double value;

	if (status != BR_OK)
		return status;
	function.n = br_learn_association_parameters(loss);
	*parameters = br_learn_association_room(context, function.n, sizeof(double));
	if (*parameters == NULL)
		status = BR_ERR_MEMORY;
	else
		status = br_learn_association_start(context, loss, *parameters);
	if (status == BR_OK)
		status = br_learn_lbfgs(context, &function, options->iterations, TOLERANCE,
								options->progress, *parameters, &value);
	br_learn_association_loss_free(context, loss);
	return status;
}

static BrStatus
hand_over(BrContext *context, const BrAssociationRows *rows, const BrAssociationPairs *pairs,
		  int depth, const double *parameters, BrLists *lists, float **bias)
{
	int columns = rows->columns;
	int deepest = columns > 0 && columns < depth ? columns : depth;
	BrListBuilder *builder;
	BrStatus status = br_learn_lists_begin(context, columns, deepest, &builder);

	if (status != BR_OK)
		return status;
	*bias = br_base_alloc_array(context, (size_t) columns, sizeof(float));
	status = *bias == NULL ? BR_ERR_MEMORY
						   : list_columns(context, builder, pairs, columns, deepest, parameters);
	if (status == BR_OK)
		status = br_learn_lists_end(builder, lists);
	else
		br_learn_lists_abandon(builder);
	if (status == BR_OK)
		copy_bias(rows, parameters + pairs->starts[columns], *bias);
	else
	{
		br_base_free(context, *bias);
		*bias = NULL;
	}
	return status;
}

BrStatus
br_learn_association(BrContext *context, const BrSparse *matrix,
					 const BrAssociationOptions *options, BrLists *lists, float **bias)
{
	BrAssociationRows rows = {0};
	BrAssociationPairs pairs = {0};
	double *parameters = NULL;
	BrStatus status = check(context, matrix, options);

	memset(lists, 0, sizeof(*lists));
	*bias = NULL;
	if (status == BR_OK)
		status = br_learn_association_merge(context, matrix, &rows);
	if (status == BR_OK)
		status = br_learn_association_pairs(context, &rows, options->least_together,
											options->memory_limit, &pairs);
	if (status == BR_OK)
		status = fit(context, &rows, &pairs, options, &parameters);
	if (status == BR_OK)
		status = hand_over(context, &rows, &pairs, options->depth, parameters, lists, bias);
	br_base_free(context, parameters);
	br_learn_association_pairs_free(context, &pairs);
	br_learn_association_rows_free(context, &rows);
	return status;
}

void
br_learn_association_scores(const BrLists *lists, const float *bias, const int32_t *history, int n,
							double damping, float *scores)
{
	float scale = n > 0 ? (float) pow(n, -damping) : 1;

	if (lists->n > 0)
		memcpy(scores, bias, sizeof(float) * (size_t) lists->n);
	for (int i = 0; i < n; i++)
		for (int64_t place = lists->starts[history[i]]; place < lists->starts[history[i] + 1];
			 place++)
			scores[lists->ids[place]] += scale * lists->weights[place];
}
