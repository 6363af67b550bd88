/*
 * fold_in.c
 *	  Vectors of who or what has come since factors were learned by ALS.
 *
 * A new row's vector depends on the columns' alone, so one linear system
 * answers, with Y'Y computed beforehand; a new column's is the same over rows.
 */
#include <math.h>
#include <string.h>

#include "core/learn/factors_int.h"
#include "core/math/br_math.h"

/* Multiply-adds between two looks at cancellation. */
#define LOOK_WORK 4000000

/* lower += weight vector vector' */
static void
add_outer(double *lower, const float *vector, int dims, double weight)
{
	for (int i = 0; i < dims; i++)
	{
		double factor = weight * (double) vector[i];

		for (int j = 0; j <= i; j++)
			lower[j] += factor * (double) vector[j];
		lower += i + 1;
	}
}

static int
rows_between_looks(int dims)
{
	return 1 + LOOK_WORK / (dims * dims);
}

static BrStatus
check_dims(BrContext *context, int n, int dims)
{
	if (dims < 1 || dims > BR_LEARN_MAX_FACTORS || n < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d vectors of %d factors are not 0 or more of 1 to %d.", n, dims,
							BR_LEARN_MAX_FACTORS);
	return BR_OK;
}

BrStatus
br_learn_als_gram(BrContext *context, const float *vectors, int n, int dims, double *gram)
{
	BrStatus status = check_dims(context, n, dims);

	if (status != BR_OK)
		return status;
	memset(gram, 0, sizeof(double) * BR_MATH_PACKED(dims));
	for (int i = 0; i < n; i++)
	{
		if (i % rows_between_looks(dims) == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		add_outer(gram, vectors + (size_t) i * dims, dims, 1);
	}
	return BR_OK;
}

BrStatus
br_learn_fold_in_check(BrContext *context, const BrFoldIn *done, int n_others)
{
	int32_t last = -1;

	if (done->n < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d entries cannot be folded in.", done->n);
	for (int i = 0; i < done->n; i++)
	{
		if (done->ids[i] <= last || done->ids[i] >= n_others)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"An entry to fold in has number %d, which is out of range or order.",
								done->ids[i]);
		if (done->values != NULL && !(done->values[i] >= 0 && isfinite(done->values[i])))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"An entry to fold in has value %g; it must be finite and at least "
								"0.",
								(double) done->values[i]);
		last = done->ids[i];
	}
	return BR_OK;
}

static BrStatus
check(BrContext *context, int n_others, int dims, double lambda, double alpha, const BrFoldIn *done)
{
	BrStatus status = check_dims(context, n_others, dims);

	if (status != BR_OK)
		return status;
	if (!isfinite(lambda) || lambda < 0 || !isfinite(alpha) || alpha <= 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"lambda is %g and alpha is %g; they must be finite, at least 0 and "
							"above 0.",
							lambda, alpha);
	return br_learn_fold_in_check(context, done, n_others);
}

/* lower and right: the system of als_rows.c; lower holds Y'Y at first. */
static BrStatus
set_up(BrContext *context, const float *others, int dims, double lambda, double alpha,
	   const BrFoldIn *done, double *lower, double *right)
{
	for (int d = 0; d < dims; d++)
		lower[BR_MATH_PACKED(d) + d] += lambda;
	for (int i = 0; i < done->n; i++)
	{
		const float *vector = others + (size_t) done->ids[i] * dims;
		double weight = alpha * (done->values != NULL ? (double) done->values[i] : 1);

		if (i % rows_between_looks(dims) == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		add_outer(lower, vector, dims, weight);
		for (int d = 0; d < dims; d++)
			right[d] += (1 + weight) * (double) vector[d];
	}
	return BR_OK;
}

BrStatus
br_learn_als_fold_in(BrContext *context, const float *others, int n_others, int dims,
					 const double *gram, double lambda, double alpha, const BrFoldIn *done,
					 float *vector)
{
	BrStatus status = check(context, n_others, dims, lambda, alpha, done);
	double *lower;
	double *right;

	if (status != BR_OK)
		return status;
	memset(vector, 0, sizeof(float) * (size_t) dims);
	if (done->n == 0)
		return BR_OK;
	lower = br_base_alloc_array(context, BR_MATH_PACKED(dims) + (size_t) dims, sizeof(double));
	if (lower == NULL)
		return BR_ERR_MEMORY;
	right = lower + BR_MATH_PACKED(dims);
	memcpy(lower, gram, sizeof(double) * BR_MATH_PACKED(dims));
	status = set_up(context, others, dims, lambda, alpha, done, lower, right);
	if (status == BR_OK)
		status = br_math_cholesky(context, lower, dims);
	if (status == BR_OK)
	{
		br_math_solve_lower(lower, dims, right);
		br_math_solve_lower_transposed(lower, dims, right);
		for (int d = 0; d < dims; d++)
			vector[d] = (float) right[d];
	}
	br_base_free(context, lower);
	return status;
}
