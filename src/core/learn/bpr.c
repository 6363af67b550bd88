/*
 * bpr.c
 *	  Factorisation by Bayesian personalised ranking.
 *
 * A user likes what there is feedback for better than what there is none for.
 * Each step takes one such pair of columns at random and moves the user's vector
 * and both columns' so that the first is scored higher than the second. Steps
 * follow each other in one thread, since each starts from what the last left.
 */
#include <math.h>
#include <string.h>

#include "core/learn/factors_int.h"
#include "core/math/br_math.h"

#define MAX_EPOCHS 10000

/* Triples between two looks at cancellation. */
#define LOOK_TRIPLES 4096

typedef struct Bpr
{
	BrContext *context;
	const BrSparse *matrix;
	const BrBprOptions *options;
	const BrFactorKernels *kernels;
	int32_t *row_of; /* (entries) */
	float *bias;	 /* (columns) */
	BrVectors row;
	BrVectors column;
	BrRandom random;
} Bpr;

double
br_learn_bpr_loss(const double *parameters, int dims, double lambda, double *gradient)
{
	const double *user = parameters;
	const double *liked = user + dims;
	const double *other = liked + dims;
	const double *bias = other + dims;
	double score = bias[0] - bias[1];
	double loss = 0;
	double slope;

	for (int d = 0; d < dims; d++)
		score += user[d] * (liked[d] - other[d]);
	slope = br_math_logistic(-score);
	for (int d = 0; d < dims; d++)
	{
		gradient[d] = -slope * (liked[d] - other[d]);
		gradient[dims + d] = -slope * user[d];
		gradient[2 * dims + d] = slope * user[d];
	}
	gradient[3 * dims] = -slope;
	gradient[3 * dims + 1] = slope;
	for (int p = 0; p < 3 * dims + 2; p++)
	{
		gradient[p] += lambda * parameters[p];
		loss += lambda / 2 * parameters[p] * parameters[p];
	}
	return loss + (score > 0 ? log1p(exp(-score)) : log1p(exp(score)) - score);
}

static BrStatus
check_options(BrContext *context, const BrBprOptions *options)
{
	if (!(options->learning_rate > 0 && options->learning_rate <= 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The learning rate is %g; it must be above 0 and at most 1.",
							options->learning_rate);
	if (!(options->lambda >= 0 && options->learning_rate * options->lambda <= 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"lambda is %g; it must be at least 0 and, times the learning rate, at "
							"most 1.",
							options->lambda);
	if (options->epochs < 1 || options->epochs > MAX_EPOCHS)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d epochs are not 1 to %d.", options->epochs,
							MAX_EPOCHS);
	return BR_OK;
}

static BrStatus
check(BrContext *context, const BrSparse *matrix, const BrBprOptions *options)
{
	BrStatus status = check_options(context, options);

	if (status == BR_OK && (options->factors < 1 || options->factors > BR_LEARN_MAX_FACTORS))
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d factors are not 1 to %d.",
							options->factors, BR_LEARN_MAX_FACTORS);
	if (status == BR_OK)
		status = br_learn_sparse_check(context, matrix);
	if (status == BR_OK && br_learn_entries(matrix) > UINT32_MAX)
		return br_base_fail(context, BR_ERR_LIMIT, "A matrix has more than %u entries.",
							UINT32_MAX);
	return status != BR_OK ? status
						   : br_learn_start_check(context, options->start, matrix->rows,
												  matrix->columns, options->factors);
}

static BrStatus
begin(Bpr *bpr)
{
	BrContext *context = bpr->context;
	const BrSparse *matrix = bpr->matrix;
	const BrFactors *start = bpr->options->start;
	int dims = bpr->options->factors;
	BrStatus status = br_learn_vectors_alloc(context, matrix->rows, dims, &bpr->row);

	if (status == BR_OK)
		status = br_learn_vectors_alloc(context, matrix->columns, dims, &bpr->column);
	if (status != BR_OK)
		return status;
	bpr->row_of = br_base_alloc_array(context, (size_t) br_learn_entries(matrix), sizeof(int32_t));
	bpr->bias = br_base_alloc_array(context, (size_t) matrix->columns, sizeof(float));
	if (bpr->row_of == NULL || bpr->bias == NULL)
		return BR_ERR_MEMORY;
	for (int row = 0; row < matrix->rows; row++)
		for (int64_t i = matrix->starts[row]; i < matrix->starts[row + 1]; i++)
			bpr->row_of[i] = row;
	if (start != NULL && start->bias != NULL && matrix->columns > 0)
		memcpy(bpr->bias, start->bias, sizeof(float) * (size_t) matrix->columns);
	status =
		br_learn_vectors_start(context, &bpr->row, start != NULL ? start->row : NULL,
							   bpr->options->seed, BR_LEARN_ROW_STREAMS, -.5 / dims, 1. / dims);
	if (status == BR_OK)
		status = br_learn_vectors_start(context, &bpr->column, start != NULL ? start->column : NULL,
										bpr->options->seed, BR_LEARN_COLUMN_STREAMS, -.5 / dims,
										1. / dims);
	return status;
}

static bool
contains(const int32_t *ids, int64_t n, int32_t id)
{
	int64_t first = 0;

	while (first < n)
	{
		int64_t middle = first + (n - first) / 2;

		if (ids[middle] == id)
			return true;
		if (ids[middle] < id)
			first = middle + 1;
		else
			n = middle;
	}
	return false;
}

/* The column before which `rank` others are not among ids: before ids[m] they are ids[m] - m. */
static int32_t
absent(const int32_t *ids, int64_t n, int32_t rank)
{
	int64_t first = 0;

	while (first < n)
	{
		int64_t middle = first + (n - first) / 2;

		if (ids[middle] - middle <= rank)
			first = middle + 1;
		else
			n = middle;
	}
	return (int32_t) (rank + first);
}

/*
 * A column that is not among ids, of which there are fewer than columns. Where
 * most are among them, drawing until one is not could take as many draws as
 * there are columns.
 */
static int32_t
draw_other(BrRandom *random, int columns, const int32_t *ids, int64_t n)
{
	int32_t column;

	if (n > columns / 2)
		return absent(ids, n, (int32_t) br_base_random_below(random, (uint32_t) (columns - n)));
	do
		column = (int32_t) br_base_random_below(random, (uint32_t) columns);
	while (contains(ids, n, column));
	return column;
}

static void
step(Bpr *bpr)
{
	const BrSparse *matrix = bpr->matrix;
	int padded = bpr->row.padded;
	float rate = (float) bpr->options->learning_rate;
	float keep = (float) (1 - bpr->options->learning_rate * bpr->options->lambda);
	uint32_t entry = br_base_random_below(&bpr->random, (uint32_t) br_learn_entries(matrix));
	int row = bpr->row_of[entry];
	int64_t first = matrix->starts[row];
	int64_t n = matrix->starts[row + 1] - first;
	int32_t i = matrix->ids[entry];
	int32_t j;
	float *user = bpr->row.vector + (size_t) row * padded;
	float *liked = bpr->column.vector + (size_t) i * padded;
	float *other;
	float slope;

	if (n == matrix->columns)
		return;
	j = draw_other(&bpr->random, matrix->columns, matrix->ids + first, n);
	other = bpr->column.vector + (size_t) j * padded;
	slope =
		(float) br_math_logistic(-(double) (bpr->kernels->pair_score(user, liked, other, padded) +
											bpr->bias[i] - bpr->bias[j]));
	bpr->kernels->pair_step(user, liked, other, keep, rate * slope, padded);
	bpr->bias[i] = keep * bpr->bias[i] + rate * slope;
	bpr->bias[j] = keep * bpr->bias[j] - rate * slope;
}

static BrStatus
run_epochs(Bpr *bpr)
{
	int64_t entries = br_learn_entries(bpr->matrix);

	for (int epoch = 0; epoch < bpr->options->epochs; epoch++)
	{
		br_base_random_init(&bpr->random, bpr->options->seed,
							BR_LEARN_DRAW_STREAMS + (uint64_t) epoch);
		for (int64_t triple = 0; triple < entries; triple++)
		{
			if (triple % LOOK_TRIPLES == 0 && br_base_cancelled(bpr->context))
				return BR_ERR_CANCELLED;
			step(bpr);
		}
		br_learn_report(bpr->options->progress, epoch + 1, bpr->options->epochs);
	}
	return BR_OK;
}

BrStatus
br_learn_bpr(BrContext *context, const BrSparse *matrix, const BrBprOptions *options,
			 BrFactors *factors)
{
	Bpr bpr = {.context = context,
			   .matrix = matrix,
			   .options = options,
			   .kernels = br_learn_factor_kernels()};
	BrStatus status = check(context, matrix, options);

	memset(factors, 0, sizeof(*factors));
	if (status != BR_OK)
		return status;
	*factors =
		(BrFactors){.rows = matrix->rows, .columns = matrix->columns, .dims = options->factors};
	status = begin(&bpr);
	if (status == BR_OK)
		status = run_epochs(&bpr);
	if (status == BR_OK)
		status = br_learn_vectors_finish(context, &bpr.row, &factors->row);
	if (status == BR_OK)
		status = br_learn_vectors_finish(context, &bpr.column, &factors->column);
	if (status == BR_OK)
	{
		factors->bias = bpr.bias;
		bpr.bias = NULL;
	}
	else
		br_learn_factors_free(context, factors);
	br_base_free(context, bpr.row_of);
	br_base_free(context, bpr.bias);
	br_learn_vectors_free(context, &bpr.row);
	br_learn_vectors_free(context, &bpr.column);
	return status;
}

/* ---- a new row ---- */

static void
fold_in_step(const BrFactors *factors, const BrBprOptions *options, int32_t i, int32_t j,
			 double *user)
{
	const float *liked = factors->column + (size_t) i * factors->dims;
	const float *other = factors->column + (size_t) j * factors->dims;
	double score =
		factors->bias != NULL ? (double) factors->bias[i] - (double) factors->bias[j] : 0;
	double slope;

	for (int d = 0; d < factors->dims; d++)
		score += user[d] * ((double) liked[d] - (double) other[d]);
	slope = br_math_logistic(-score);
	for (int d = 0; d < factors->dims; d++)
		user[d] += options->learning_rate *
			(slope * ((double) liked[d] - (double) other[d]) - options->lambda * user[d]);
}

BrStatus
br_learn_bpr_fold_in(BrContext *context, const BrFactors *factors, const BrBprOptions *options,
					 const BrFoldIn *done, float *vector)
{
	double user[BR_LEARN_MAX_FACTORS] = {0};
	BrRandom random;
	BrStatus status = check_options(context, options);

	if (status == BR_OK && (factors->dims < 1 || factors->dims > BR_LEARN_MAX_FACTORS))
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d factors are not 1 to %d.", factors->dims,
							BR_LEARN_MAX_FACTORS);
	if (status == BR_OK)
		status = br_learn_fold_in_check(context, done, factors->columns);
	if (status != BR_OK)
		return status;
	br_base_random_init(&random, options->seed, BR_LEARN_DRAW_STREAMS);
	for (int64_t triple = 0; triple < (int64_t) options->epochs * done->n; triple++)
	{
		int32_t i = done->ids[br_base_random_below(&random, (uint32_t) done->n)];

		if (triple % LOOK_TRIPLES == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		if (done->n == factors->columns)
			break;
		fold_in_step(factors, options, i, draw_other(&random, factors->columns, done->ids, done->n),
					 user);
	}
	for (int d = 0; d < factors->dims; d++)
	{
		vector[d] = (float) user[d];
		if (!isfinite(vector[d]))
			return br_base_fail(context, BR_ERR_NUMERIC,
								"The vector of a new row grew beyond the range of float.");
	}
	return BR_OK;
}
