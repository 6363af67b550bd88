/*
 * als.c
 *	  Implicit matrix factorisation by alternating least squares.
 *
 * The objective is quadratic in the rows' vectors while the columns' stand
 * still, and the other way round. A sweep solves for the one and then for the
 * other; the sums over all pairs, of which hardly any has an entry, come from
 * products of whole matrices.
 */
#include <math.h>
#include <string.h>

#include "core/learn/factors_int.h"
#include "core/math/br_math.h"

#define MAX_ITERATIONS 1000

/* Random vectors begin within [0, START_RANGE), as those of other programs do. */
#define START_RANGE .01

#define LOOK_ROWS 4096

static BrStatus
check_values(BrContext *context, const BrSparse *matrix)
{
	BrStatus status = br_learn_sparse_check(context, matrix);

	if (status != BR_OK || matrix->values == NULL)
		return status;
	for (int64_t i = 0; i < br_learn_entries(matrix); i++)
		if (matrix->values[i] < 0)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Feedback of %g is negative; it must be at least 0.",
								(double) matrix->values[i]);
	return BR_OK;
}

static BrStatus
check_weights(BrContext *context, double lambda, double alpha)
{
	if (!isfinite(lambda) || lambda < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"lambda is %g; it must be finite and at least 0.", lambda);
	if (!isfinite(alpha) || alpha <= 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "alpha is %g; it must be finite and above 0.",
							alpha);
	return BR_OK;
}

static BrStatus
check(BrContext *context, const BrSparse *matrix, const BrAlsOptions *options)
{
	BrStatus status = check_weights(context, options->lambda, options->alpha);

	if (status != BR_OK)
		return status;
	if (options->factors < 1 || options->factors > BR_LEARN_MAX_FACTORS)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d factors are not 1 to %d.",
							options->factors, BR_LEARN_MAX_FACTORS);
	if (options->iterations < 1 || options->iterations > MAX_ITERATIONS)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d iterations are not 1 to %d.",
							options->iterations, MAX_ITERATIONS);
	if (options->solver != BR_ALS_CG && options->solver != BR_ALS_CHOLESKY)
		return br_base_fail(context, BR_ERR_ARGUMENT, "There is no solver %d.",
							(int) options->solver);
	if (options->solver == BR_ALS_CHOLESKY && options->lambda == 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The exact solver needs a lambda above 0.");
	status = check_values(context, matrix);
	return status != BR_OK ? status
						   : br_learn_start_check(context, options->start, matrix->rows,
												  matrix->columns, options->factors);
}

typedef struct Learning
{
	BrSparse transposed;
	BrVectors row;
	BrVectors column;
	BrAlsWork work;
} Learning;

static BrStatus
begin(BrContext *context, const BrSparse *matrix, const BrAlsOptions *options, Learning *learning)
{
	const BrFactors *start = options->start;
	BrStatus status = br_learn_sparse_transpose(context, matrix, &learning->transposed);

	if (status == BR_OK)
		status = br_learn_vectors_alloc(context, matrix->rows, options->factors, &learning->row);
	if (status == BR_OK)
		status =
			br_learn_vectors_alloc(context, matrix->columns, options->factors, &learning->column);
	if (status == BR_OK)
		status = br_learn_als_begin(context, options, &learning->work);
	if (status == BR_OK)
		status = br_learn_vectors_start(context, &learning->row, start != NULL ? start->row : NULL,
										options->seed, BR_LEARN_ROW_STREAMS, 0, START_RANGE);
	if (status == BR_OK)
		status =
			br_learn_vectors_start(context, &learning->column, start != NULL ? start->column : NULL,
								   options->seed, BR_LEARN_COLUMN_STREAMS, 0, START_RANGE);
	return status;
}

static BrStatus
sweep(const BrSparse *matrix, const BrAlsOptions *options, Learning *learning)
{
	int64_t total = 2 * (int64_t) options->iterations;
	BrStatus status = BR_OK;

	for (int64_t done = 0; done < total && status == BR_OK; done++)
	{
		if (done % 2 == 0)
			status =
				br_learn_als_half_sweep(&learning->work, matrix, &learning->column, &learning->row);
		else
			status = br_learn_als_half_sweep(&learning->work, &learning->transposed, &learning->row,
											 &learning->column);
		if (status == BR_OK)
			br_learn_report(options->progress, done + 1, total);
	}
	return status;
}

BrStatus
br_learn_als(BrContext *context, const BrSparse *matrix, const BrAlsOptions *options,
			 BrFactors *factors)
{
	Learning learning = {.work = {.context = context}};
	BrStatus status = check(context, matrix, options);

	memset(factors, 0, sizeof(*factors));
	if (status != BR_OK)
		return status;
	*factors =
		(BrFactors){.rows = matrix->rows, .columns = matrix->columns, .dims = options->factors};
	status = begin(context, matrix, options, &learning);
	if (status == BR_OK)
		status = sweep(matrix, options, &learning);
	if (status == BR_OK)
		status = br_learn_vectors_finish(context, &learning.row, &factors->row);
	if (status == BR_OK)
		status = br_learn_vectors_finish(context, &learning.column, &factors->column);
	if (status != BR_OK)
		br_learn_factors_free(context, factors);
	br_learn_als_end(&learning.work);
	br_learn_vectors_free(context, &learning.row);
	br_learn_vectors_free(context, &learning.column);
	br_learn_sparse_free(context, &learning.transposed);
	return status;
}

/* ---- the objective ---- */

static double
product(const float *left, const float *right, int dims)
{
	double sum = 0;

	for (int d = 0; d < dims; d++)
		sum += (double) left[d] * (double) right[d];
	return sum;
}

/* What the entries' terms differ by from those that the pair would have without one. */
static BrStatus
add_entries(BrContext *context, const BrSparse *matrix, const BrFactors *factors, double alpha,
			double *objective)
{
	int dims = factors->dims;
	int64_t looked = 0;

	for (int row = 0; row < matrix->rows; row++)
		for (int64_t i = matrix->starts[row]; i < matrix->starts[row + 1]; i++)
		{
			double confidence = 1 + alpha * (double) br_learn_value(matrix, i);
			double score = product(factors->row + (size_t) row * dims,
								   factors->column + (size_t) matrix->ids[i] * dims, dims);

			if (looked++ % LOOK_ROWS == 0 && br_base_cancelled(context))
				return BR_ERR_CANCELLED;
			*objective += confidence * (1 - score) * (1 - score) - score * score;
		}
	return BR_OK;
}

/* The sum over all pairs of (x'y)^2 is that of the elements of X'X times those of Y'Y. */
BrStatus
br_learn_als_objective(BrContext *context, const BrSparse *matrix, const BrFactors *factors,
					   double lambda, double alpha, double *objective)
{
	int dims = factors->dims;
	size_t size = BR_MATH_PACKED(dims);
	BrStatus status = check_weights(context, lambda, alpha);
	double *row_gram;
	double *column_gram;

	*objective = 0;
	if (status == BR_OK)
		status = check_values(context, matrix);
	if (status != BR_OK)
		return status;
	if (factors->rows != matrix->rows || factors->columns != matrix->columns)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Factors of %d rows and %d columns are not those of a matrix of %d "
							"and %d.",
							factors->rows, factors->columns, matrix->rows, matrix->columns);
	row_gram = br_base_alloc_array(context, 2 * size, sizeof(double));
	if (row_gram == NULL)
		return BR_ERR_MEMORY;
	column_gram = row_gram + size;
	status = br_learn_als_gram(context, factors->row, factors->rows, dims, row_gram);
	if (status == BR_OK)
		status = br_learn_als_gram(context, factors->column, factors->columns, dims, column_gram);
	for (int i = 0, at = 0; i < dims; i++)
	{
		for (int j = 0; j < i; j++, at++)
			*objective += 2 * row_gram[at] * column_gram[at];
		*objective += row_gram[at] * column_gram[at] + lambda * (row_gram[at] + column_gram[at]);
		at++;
	}
	br_base_free(context, row_gram);
	return status != BR_OK ? status : add_entries(context, matrix, factors, alpha, objective);
}
