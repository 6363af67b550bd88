/*
 * complement_loss.c
 *	  The loss of a batch of directed pairs, and its gradient.
 *
 * The other targets of a batch serve as negatives. They come as often as they
 * are bought, so the logarithm of how often is taken off their logits, or else
 * what everybody buys would be pushed away (Yi et al., "Sampling-bias-corrected
 * neural modeling for large corpus item recommendations", RecSys 2019). What
 * looks like the source and was never bought with it is added by the caller: it
 * teaches that alike is not yet together.
 */
#include "core/learn/complement_int.h"
#include "core/math/br_math.h"

/* rows times rank times dims between two looks at the cancel callback */
#define WORK_BLOCK (INT64_C(1) << 23)
/* and pairs of a batch, each with all columns of logits */
#define PAIRS_A_CHECK 64

bool
br_learn_complement_known(const BrSparse *known, int32_t source, int32_t target)
{
	int64_t first = known->starts[source];
	int64_t last = known->starts[source + 1];

	while (first < last)
	{
		int64_t middle = first + (last - first) / 2;

		if (known->ids[middle] == target)
			return true;
		if (known->ids[middle] < target)
			first = middle + 1;
		else
			last = middle;
	}
	return false;
}

static void
load(const BrComplementModel *model, int item)
{
	size_t dims = (size_t) model->items->dims;
	const float *embedding = model->items->embeddings + (size_t) item * dims;

	for (size_t i = 0; i < dims; i++)
		model->row[i] = (BrReal) embedding[i];
}

/* projected = map row */
BR_LEARN_INLINE void
project_body(const BrReal *map, const BrReal *row, int rank, int dims, BrReal *projected)
{
	for (int i = 0; i < rank; i++)
		projected[i] = br_learn_dot(map + (size_t) i * (size_t) dims, row, dims);
}

/* slope += outer row' */
BR_LEARN_INLINE void
project_back_body(BrReal *slope, const BrReal *row, int rank, int dims, const BrReal *outer)
{
	for (int i = 0; i < rank; i++)
		br_learn_add_scaled(slope + (size_t) i * (size_t) dims, outer[i], row, dims);
}

BR_LEARN_WIDE static void
project_wide(const BrReal *map, const BrReal *row, int rank, int dims, BrReal *projected)
{
	project_body(map, row, rank, dims, projected);
}

BR_LEARN_WIDE static void
project_back_wide(BrReal *slope, const BrReal *row, int rank, int dims, const BrReal *outer)
{
	project_back_body(slope, row, rank, dims, outer);
}

/* Through one map, forward, or with `slope` back: n items, of which -1 are none. */
static BrStatus
pass(const BrComplementModel *model, const int32_t *items, int n, const BrReal *map, BrReal *slope,
	 BrReal *rows)
{
	int rank = model->options.rank;
	int dims = model->items->dims;
	int block = 1 + (int) (WORK_BLOCK / ((int64_t) rank * dims));

	for (int i = 0; i < n; i++)
	{
		BrReal *row = rows + (size_t) i * (size_t) rank;

		if (i % block == 0 && br_base_cancelled(model->context))
			return BR_ERR_CANCELLED;
		if (items[i] < 0)
			continue;
		load(model, items[i]);
		if (slope == NULL && BR_LEARN_IS_WIDE())
			project_wide(map, model->row, rank, dims, row);
		else if (slope == NULL)
			project_body(map, model->row, rank, dims, row);
		else if (BR_LEARN_IS_WIDE())
			project_back_wide(slope, model->row, rank, dims, row);
		else
			project_back_body(slope, model->row, rank, dims, row);
	}
	return BR_OK;
}

/* The item of a column of pair p's logits, or -1: a target of the batch, or a hard one. */
static int32_t
column_item(const BrComplementModel *model, const BrComplementBatch *batch, int p, int column)
{
	int32_t source = batch->source[p];
	int32_t item;

	if (column >= batch->n)
		return batch
			->hard[(size_t) p * (size_t) model->options.hard + (size_t) (column - batch->n)];
	item = batch->target[column];
	if (column != p &&
		(item == batch->target[p] || item == source ||
		 br_learn_complement_known(model->known, source, item)))
		return -1;
	return item;
}

static size_t
column_row(const BrComplementModel *model, const BrComplementBatch *batch, int p, int column)
{
	if (column < batch->n)
		return (size_t) column;
	return (size_t) batch->n + (size_t) p * (size_t) model->options.hard +
		(size_t) (column - batch->n);
}

static double
logit(const BrComplementModel *model, const BrComplementBatch *batch, int p, int column,
	  int32_t item)
{
	const int32_t *category = model->items->category;
	size_t rank = (size_t) model->options.rank;
	double score = (double) br_learn_dot(model->f + (size_t) p * rank,
										 model->g + column_row(model, batch, p, column) * rank,
										 model->options.rank);
	double offset = column < batch->n ? model->log_expected[item] : (double) batch->log_hard[p];

	if (category != NULL)
		score += (double) br_learn_complement_bias(model->bias, model->items->categories,
												   category[batch->source[p]], category[item]);
	return score / model->options.temperature - offset;
}

/* Row p of the logits becomes share times the gradient of its loss; the loss. */
static double
soften(const BrComplementModel *model, const BrComplementBatch *batch, int p, double share)
{
	int columns = batch->n + model->options.hard;
	BrReal *row = model->logits + (size_t) p * (size_t) columns;
	double own = logit(model, batch, p, p, batch->target[p]);
	double most = own;
	double sum = 0;

	for (int column = 0; column < columns; column++)
	{
		int32_t item = column_item(model, batch, p, column);

		row[column] = item < 0 ? (BrReal) -INFINITY : (BrReal) logit(model, batch, p, column, item);
		most = (double) row[column] > most ? (double) row[column] : most;
	}
	for (int column = 0; column < columns; column++)
	{
		row[column] = (BrReal) br_math_exp((double) row[column] - most);
		sum += (double) row[column];
	}
	for (int column = 0; column < columns; column++)
		row[column] = (BrReal) (share * ((double) row[column] / sum - (column == p)));
	return most + br_math_log(sum) - own;
}

BrStatus
br_learn_complement_loss(BrComplementModel *model, const BrComplementBatch *batch, double *loss)
{
	size_t size = (size_t) model->options.rank * (size_t) model->items->dims;
	BrReal *hard = model->g + (size_t) batch->n * (size_t) model->options.rank;
	double total = 0;
	BrStatus status = pass(model, batch->source, batch->n, model->parameters, NULL, model->f);

	*loss = 0;
	if (status == BR_OK)
		status = pass(model, batch->target, batch->n, model->parameters + size, NULL, model->g);
	if (status == BR_OK && model->options.hard > 0)
		status = pass(model, batch->hard, batch->n * model->options.hard, model->parameters + size,
					  NULL, hard);
	if (status != BR_OK)
		return status;
	for (int p = 0; p < batch->n; p++)
		total += (double) batch->weight[p];
	for (int p = 0; p < batch->n; p++)
	{
		double share = (double) batch->weight[p] / total;

		*loss += share * soften(model, batch, p, share / model->options.temperature);
		if (p % PAIRS_A_CHECK == 0 && br_base_cancelled(model->context))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

BrStatus
br_learn_complement_back(BrComplementModel *model, const BrComplementBatch *batch)
{
	int rank = model->options.rank;
	int columns = batch->n + model->options.hard;
	size_t size = (size_t) rank * (size_t) model->items->dims;
	size_t rows = (size_t) batch->n * (size_t) rank;
	BrStatus status;

	memset(model->slope, 0, sizeof(BrReal) * 2 * size);
	memset(model->f_slope, 0, sizeof(BrReal) * rows);
	memset(model->g_slope, 0, sizeof(BrReal) * rows * (size_t) (1 + model->options.hard));
	for (int p = 0; p < batch->n; p++)
	{
		if (p % PAIRS_A_CHECK == 0 && br_base_cancelled(model->context))
			return BR_ERR_CANCELLED;
		for (int column = 0; column < columns; column++)
		{
			BrReal outer = model->logits[(size_t) p * (size_t) columns + (size_t) column];
			size_t at = column_row(model, batch, p, column) * (size_t) rank;

			if (outer == 0)
				continue;
			br_learn_add_scaled(model->f_slope + (size_t) p * (size_t) rank, outer, model->g + at,
								rank);
			br_learn_add_scaled(model->g_slope + at, outer, model->f + (size_t) p * (size_t) rank,
								rank);
		}
	}
	status = pass(model, batch->source, batch->n, NULL, model->slope, model->f_slope);
	if (status == BR_OK)
		status = pass(model, batch->target, batch->n, NULL, model->slope + size, model->g_slope);
	if (status == BR_OK && model->options.hard > 0)
		status = pass(model, batch->hard, batch->n * model->options.hard, NULL, model->slope + size,
					  model->g_slope + rows);
	return status;
}
