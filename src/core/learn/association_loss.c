/*
 * association_loss.c
 *	  How badly associations foretell what was left out, and the gradient.
 *
 * All histories of a row differ from it by one column, so the weights of the
 * row are added up once and those of the column that is left out are taken away
 * again; in the gradient, the errors of all of its histories are added up once,
 * and each column takes back the error of the history that it is not in. A row
 * of n columns thus takes 2 n instead of n^2 passes over lists of weights, both
 * ways.
 *
 * A softmax is over all columns, but beyond those that have a weight with one
 * of the row, the candidates of all rows have the same shares among themselves:
 * what is in touched blocks of columns is computed for each history, and the
 * rest is one number, known from the biases.
 */
#include <math.h>
#include <string.h>

#include "core/learn/association_int.h"

/* score of what the history holds, and bias of what no row holds: e^ is 0 beside any other */
#define OWNED (-1e30f)
#define NEVER (-1e6)

/* multiplications between two questions whether to stop */
#define CHUNK (INT64_C(1) << 23)
/* pairs that are passed over without asking, and what one counts for: its pages may be fresh */
#define PASS (INT64_C(1) << 16)
#define PASS_WORK 8
/* what the two powers of a row count for */
#define POWERS_WORK 32

struct BrAssociationLoss
{
	const BrAssociationRows *rows;
	const BrAssociationPairs *pairs;
	const BrAssociationKernels *kernels;
	double l2;
	double bias_l2;
	size_t padded;
	BrBlocks all;
	BrBlocks touched;	 /* by the row at hand */
	int64_t *touched_by; /* (blocks): the last row that did, + 1 */
	float *plain;		 /* (padded): e^(b - greatest_bias) */
	double *plain_sums;	 /* (blocks) */
	double plain_sum;
	float greatest_bias;
	double plain_rate;	   /* of all histories: what plain is to be multiplied with */
	double row_plain_rate; /* of the histories of the row at hand */
	double plain_left;	   /* sum of plain over the blocks that the row does not touch */
	double alone;		   /* rows of one column */
	double *prior;		   /* (columns): what b is drawn to */
	float *scales;		   /* (rows): (length - 1)^-damping */
	float *shares;		   /* (rows): what each column of the row weighs */
	float *weights;		   /* (pairs) */
	float *slopes;		   /* (pairs): the gradient of the weights */
	float *bias;		   /* (padded) */
	float *base;		   /* (padded): the weights of a whole row, added up */
	float *scores;		   /* (padded) */
	float *errors; /* (padded): likelihoods less what was left out, of all histories of a row */
	float *own;	   /* (columns): the base of the columns of a row */
	int64_t work;  /* since we last asked */
};

int64_t
br_learn_association_parameters(const BrAssociationLoss *loss)
{
	return loss->pairs->starts[loss->rows->columns] + loss->rows->columns;
}

void
br_learn_association_loss_free(BrContext *context, BrAssociationLoss *loss)
{
	if (loss == NULL)
		return;
	br_base_free(context, loss->all.ids);
	br_base_free(context, loss->touched.ids);
	br_base_free(context, loss->touched_by);
	br_base_free(context, loss->plain);
	br_base_free(context, loss->plain_sums);
	br_base_free(context, loss->prior);
	br_base_free(context, loss->scales);
	br_base_free(context, loss->shares);
	br_base_free(context, loss->weights);
	br_base_free(context, loss->slopes);
	br_base_free(context, loss->bias);
	br_base_free(context, loss->base);
	br_base_free(context, loss->scores);
	br_base_free(context, loss->errors);
	br_base_free(context, loss->own);
	br_base_free(context, loss);
}

static BrStatus
ask(BrContext *context, BrAssociationLoss *loss, int64_t work)
{
	loss->work += work;
	if (loss->work < CHUNK)
		return BR_OK;
	loss->work = 0;
	return br_base_cancelled(context) ? BR_ERR_CANCELLED : BR_OK;
}

static BrStatus
allocate(BrContext *context, BrAssociationLoss *loss)
{
	size_t columns = (size_t) loss->rows->columns;
	size_t rows = (size_t) loss->rows->rows;
	int64_t pairs = loss->pairs->starts[columns];
	size_t blocks = loss->padded / BR_ASSOCIATION_LANES;

	loss->all.ids = br_base_alloc_array(context, blocks, sizeof(int32_t));
	loss->touched.ids = br_base_alloc_array(context, blocks, sizeof(int32_t));
	loss->touched_by = br_base_alloc_array(context, blocks, sizeof(int64_t));
	loss->plain = br_base_alloc_array(context, loss->padded, sizeof(float));
	loss->plain_sums = br_base_alloc_array(context, blocks, sizeof(double));
	loss->prior = br_base_alloc_array(context, columns, sizeof(double));
	loss->scales = br_base_alloc_array(context, rows, sizeof(float));
	loss->shares = br_base_alloc_array(context, rows, sizeof(float));
	loss->weights = br_learn_association_room(context, pairs, sizeof(float));
	loss->slopes = br_learn_association_room(context, pairs, sizeof(float));
	loss->bias = br_base_alloc_array(context, loss->padded, sizeof(float));
	loss->base = br_base_alloc_array(context, loss->padded, sizeof(float));
	loss->scores = br_base_alloc_array(context, loss->padded, sizeof(float));
	loss->errors = br_base_alloc_array(context, loss->padded, sizeof(float));
	loss->own = br_base_alloc_array(context, columns, sizeof(float));
	if (loss->all.ids == NULL || loss->touched.ids == NULL || loss->touched_by == NULL ||
		loss->plain == NULL || loss->plain_sums == NULL || loss->prior == NULL ||
		loss->scales == NULL || loss->shares == NULL || loss->weights == NULL ||
		loss->slopes == NULL || loss->bias == NULL || loss->base == NULL || loss->scores == NULL ||
		loss->errors == NULL || loss->own == NULL)
		return BR_ERR_MEMORY;
	return BR_OK;
}

BrStatus
br_learn_association_loss_create(BrContext *context, const BrAssociationRows *rows,
								 const BrAssociationPairs *pairs,
								 const BrAssociationOptions *options,
								 const BrAssociationKernels *kernels, BrAssociationLoss **made)
{
	BrAssociationLoss *loss = br_base_alloc_array(context, 1, sizeof(BrAssociationLoss));
	BrStatus status = BR_OK;

	*made = NULL;
	if (loss == NULL)
		return BR_ERR_MEMORY;
	loss->rows = rows;
	loss->pairs = pairs;
	loss->kernels = kernels != NULL ? kernels : br_learn_association_kernels();
	loss->l2 = options->l2;
	loss->bias_l2 = options->l2 * BR_LEARN_ASSOCIATION_BIAS_SHARE;
	loss->padded = ((size_t) rows->columns + BR_ASSOCIATION_LANES - 1) / BR_ASSOCIATION_LANES *
		BR_ASSOCIATION_LANES;
	if (allocate(context, loss) != BR_OK)
	{
		br_learn_association_loss_free(context, loss);
		return BR_ERR_MEMORY;
	}
	for (int column = 0; column < rows->columns; column++)
	{
		loss->prior[column] = rows->met[column] > 0 ? log(rows->met[column] + 0.5) : NEVER;
		loss->alone += rows->alone[column];
	}
	for (size_t i = (size_t) rows->columns; i < loss->padded; i++)
		loss->bias[i] = (float) NEVER;
	loss->all.n = (int) (loss->padded / BR_ASSOCIATION_LANES);
	for (int block = 0; block < loss->all.n; block++)
		loss->all.ids[block] = block;
	for (int64_t row = 0; row < rows->rows && status == BR_OK; row++)
	{
		double length = (double) (rows->starts[row + 1] - rows->starts[row]);

		loss->scales[row] = (float) pow(length - 1, -options->damping);
		loss->shares[row] = (float) (rows->counts[row] * pow(length, -options->row_damping));
		status = ask(context, loss, POWERS_WORK);
	}
	if (status == BR_OK)
		*made = loss;
	else
		br_learn_association_loss_free(context, loss);
	return status;
}

BrStatus
br_learn_association_start(BrContext *context, const BrAssociationLoss *loss, double *parameters)
{
	int64_t pairs = loss->pairs->starts[loss->rows->columns];

	if (loss->rows->columns > 0)
		memcpy(parameters + pairs, loss->prior, sizeof(double) * (size_t) loss->rows->columns);
	return br_learn_association_clear(context, parameters, sizeof(double) * (size_t) pairs);
}

/* sums += sign * W of the column, over all columns */
static void
scatter(const BrAssociationLoss *loss, int32_t column, float sign, float *sums)
{
	for (int64_t i = loss->pairs->starts[column]; i < loss->pairs->starts[column + 1]; i++)
		sums[loss->pairs->ids[i]] += sign * loss->weights[i];
}

/* slopes of the column += factor * errors */
static void
gather(BrAssociationLoss *loss, int32_t column, float factor, const float *errors)
{
	int64_t start = loss->pairs->starts[column];

	loss->kernels->gather(factor, loss->pairs->ids + start, errors, loss->slopes + start,
						  (size_t) (loss->pairs->starts[column + 1] - start));
}

/* What the biases alone say, of all blocks. */
static void
find_plain(BrAssociationLoss *loss)
{
	loss->plain_sum = 0;
	loss->plain_rate = 0;
	memset(loss->plain, 0, sizeof(float) * loss->padded);
	loss->greatest_bias = loss->kernels->combine(&loss->all, loss->bias, 0, loss->plain);
	for (int block = 0; block < loss->all.n; block++)
	{
		BrBlocks one = {loss->all.ids + block, 1};

		loss->plain_sums[block] =
			loss->kernels->exponentials(&one, loss->plain, loss->greatest_bias);
		loss->plain_sum += loss->plain_sums[block];
		loss->touched_by[block] = 0;
	}
}

/*
 * Of the rows of one column, whose history is empty: the loss; the gradient is
 * added to that of the bias.
 */
static double
lone_columns(BrAssociationLoss *loss, double *bias_gradient)
{
	const BrAssociationRows *rows = loss->rows;
	double value = 0;

	if (loss->alone == 0)
		return 0;
	loss->plain_rate += loss->alone / loss->plain_sum;
	for (int column = 0; column < rows->columns; column++)
		if (rows->alone[column] > 0)
		{
			bias_gradient[column] -= rows->alone[column];
			value += rows->alone[column] *
				(log(loss->plain_sum) + (double) (loss->greatest_bias - loss->bias[column]));
		}
	return value;
}

static void
touch(BrAssociationLoss *loss, int64_t row, int32_t block)
{
	size_t first = (size_t) block * BR_ASSOCIATION_LANES;

	if (loss->touched_by[block] == row + 1)
		return;
	loss->touched_by[block] = row + 1;
	loss->touched.ids[loss->touched.n++] = block;
	loss->plain_left -= loss->plain_sums[block];
	memset(loss->base + first, 0, sizeof(float) * BR_ASSOCIATION_LANES);
	memset(loss->errors + first, 0, sizeof(float) * BR_ASSOCIATION_LANES);
}

/* Touches the blocks of a column and of those that it has weights for. */
static void
touch_others(BrAssociationLoss *loss, int64_t row, int32_t column)
{
	const BrAssociationPairs *pairs = loss->pairs;
	int32_t last = column / BR_ASSOCIATION_LANES;

	touch(loss, row, last);
	for (int64_t i = pairs->starts[column]; i < pairs->starts[column + 1]; i++)
	{
		int32_t block = pairs->ids[i] / BR_ASSOCIATION_LANES;

		if (block != last)
			touch(loss, row, block);
		last = block;
	}
}

/* The weights of the row added up, and nothing that it holds as a candidate. */
static void
add_up_row(BrAssociationLoss *loss, int64_t row, const int32_t *ids, int64_t n)
{
	loss->touched.n = 0;
	loss->plain_left = loss->plain_sum;
	loss->row_plain_rate = 0;
	for (int64_t i = 0; i < n; i++)
	{
		touch_others(loss, row, ids[i]);
		scatter(loss, ids[i], 1, loss->base);
	}
	if (loss->touched.n == loss->all.n || loss->plain_left < 0)
		loss->plain_left = 0;
	for (int64_t i = 0; i < n; i++)
	{
		loss->own[i] = loss->base[ids[i]];
		loss->base[ids[i]] = OWNED;
	}
}

static void
copy_base(BrAssociationLoss *loss)
{
	for (int block = 0; block < loss->touched.n; block++)
	{
		size_t first = (size_t) loss->touched.ids[block] * BR_ASSOCIATION_LANES;

		memcpy(loss->scores + first, loss->base + first, sizeof(float) * BR_ASSOCIATION_LANES);
	}
}

/* The history without the row's column at `place`, which foretells it. */
static double
leave_out(BrAssociationLoss *loss, int64_t row, int64_t place)
{
	const BrAssociationKernels *kernels = loss->kernels;
	int32_t target = loss->rows->ids[loss->rows->starts[row] + place];
	float scale = loss->scales[row];
	float share = loss->shares[row];
	float greatest;
	float target_score;
	float factor;
	double plain_scale;
	double sum;

	copy_base(loss);
	scatter(loss, target, -1, loss->scores);
	loss->scores[target] = loss->own[place];
	greatest = kernels->combine(&loss->touched, loss->bias, scale, loss->scores);
	if (loss->plain_left > 0 && greatest < loss->greatest_bias)
		greatest = loss->greatest_bias;
	target_score = loss->scores[target];
	plain_scale = exp((double) (loss->greatest_bias - greatest));
	sum = kernels->exponentials(&loss->touched, loss->scores, greatest) +
		plain_scale * loss->plain_left;
	factor = (float) ((double) share / sum);
	kernels->add(&loss->touched, factor, loss->scores, loss->errors);
	loss->errors[target] -= share;
	loss->row_plain_rate += (double) share / sum * plain_scale;
	gather(loss, target, -scale * factor, loss->scores);
	return (double) share * (log(sum) + (double) (greatest - target_score));
}

/*
 * Adds the errors of the row to the gradient of the bias. What plain has beyond
 * the touched blocks is added for all rows at once, and taken back here.
 */
static void
add_bias_gradient(BrAssociationLoss *loss, double *bias_gradient)
{
	double rate = loss->plain_left > 0 ? loss->row_plain_rate : 0;

	loss->plain_rate += rate;
	for (int block = 0; block < loss->touched.n; block++)
	{
		int first = loss->touched.ids[block] * BR_ASSOCIATION_LANES;
		int end = first + BR_ASSOCIATION_LANES;

		end = end < loss->rows->columns ? end : loss->rows->columns;
		for (int column = first; column < end; column++)
			bias_gradient[column] +=
				(double) loss->errors[column] - rate * (double) loss->plain[column];
	}
}

static BrStatus
row_loss(BrContext *context, BrAssociationLoss *loss, int64_t row, double *value,
		 double *bias_gradient)
{
	const int32_t *ids = loss->rows->ids + loss->rows->starts[row];
	int64_t n = loss->rows->starts[row + 1] - loss->rows->starts[row];

	add_up_row(loss, row, ids, n);
	for (int64_t place = 0; place < n; place++)
	{
		const int64_t *starts = loss->pairs->starts + ids[place];
		BrStatus status =
			ask(context, loss,
				(int64_t) loss->touched.n * BR_ASSOCIATION_LANES * 4 + 4 * (starts[1] - starts[0]));

		if (status != BR_OK)
			return status;
		*value += leave_out(loss, row, place);
	}
	for (int64_t place = 0; place < n; place++)
		gather(loss, ids[place], loss->scales[row], loss->errors);
	add_bias_gradient(loss, bias_gradient);
	return BR_OK;
}

/* Adds the regularisation of the loss to both, and the slopes to the gradient. */
static BrStatus
regularise(BrContext *context, BrAssociationLoss *loss, const double *parameters, double *value,
		   double *gradient)
{
	int64_t pairs = loss->pairs->starts[loss->rows->columns];
	double squares = 0;
	double bias_squares = 0;

	for (int64_t first = 0; first < pairs; first += PASS)
	{
		int64_t end = first + PASS < pairs ? first + PASS : pairs;

		for (int64_t i = first; i < end; i++)
		{
			gradient[i] = (double) loss->slopes[i] + loss->l2 * parameters[i];
			squares += parameters[i] * parameters[i];
		}
		if (ask(context, loss, PASS_WORK * (end - first)) != BR_OK)
			return BR_ERR_CANCELLED;
	}
	for (int column = 0; column < loss->rows->columns; column++)
	{
		double apart = parameters[pairs + column] - loss->prior[column];

		gradient[pairs + column] += loss->bias_l2 * apart;
		bias_squares += apart * apart;
	}
	*value += loss->l2 / 2 * squares + loss->bias_l2 / 2 * bias_squares;
	return BR_OK;
}

/* Takes the parameters over in single precision; no slopes yet. */
static BrStatus
take_over(BrContext *context, BrAssociationLoss *loss, const double *parameters,
		  double *bias_gradient)
{
	int64_t pairs = loss->pairs->starts[loss->rows->columns];

	for (int64_t first = 0; first < pairs; first += PASS)
	{
		int64_t end = first + PASS < pairs ? first + PASS : pairs;

		for (int64_t i = first; i < end; i++)
		{
			loss->weights[i] = (float) parameters[i];
			loss->slopes[i] = 0;
		}
		if (ask(context, loss, PASS_WORK * (end - first)) != BR_OK)
			return BR_ERR_CANCELLED;
	}
	for (int column = 0; column < loss->rows->columns; column++)
	{
		loss->bias[column] = (float) parameters[pairs + column];
		bias_gradient[column] = 0;
	}
	return BR_OK;
}

BrStatus
br_learn_association_evaluate(BrContext *context, void *arg, const double *parameters,
							  double *value, double *gradient)
{
	BrAssociationLoss *loss = arg;
	double *bias_gradient = gradient + loss->pairs->starts[loss->rows->columns];
	BrStatus status = br_base_cancelled(context) ? BR_ERR_CANCELLED : BR_OK;

	if (status == BR_OK)
		status = take_over(context, loss, parameters, bias_gradient);
	if (status != BR_OK)
		return status;
	find_plain(loss);
	*value = lone_columns(loss, bias_gradient);
	for (int64_t row = 0; row < loss->rows->rows; row++)
	{
		status = row_loss(context, loss, row, value, bias_gradient);
		if (status != BR_OK)
			return status;
	}
	for (int column = 0; column < loss->rows->columns; column++)
		bias_gradient[column] += loss->plain_rate * (double) loss->plain[column];
	return regularise(context, loss, parameters, value, gradient);
}
