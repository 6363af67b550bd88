/*
 * off_policy_estimate.c
 *	  From states of off-policy estimators to estimates, by rows or by clusters
 *	  of rows.
 *
 * A value is a function of the four sums n, w, z, e. Its error is, to first
 * order, a linear combination of the same sums of each part (row or cluster),
 * so its variance is a quadratic form in their products.
 */
#include <math.h>
#include <string.h>

#include "core/eval/off_policy_int.h"

enum
{
	SUM_N,
	SUM_W,
	SUM_Z,
	SUM_E,
	SUMS
};

/* Where a lower triangle has (i, j), j <= i. */
#define AT(i, j) ((i) * ((i) + 1) / 2 + (j))

double
br_eval_value(BrEstimator estimator, double centre, const double *sums, double *coefficients)
{
	double n = sums[SUM_N];
	double denominator = br_eval_is_normalised(estimator) ? sums[SUM_W] : n;
	double ratio = sums[SUM_Z] / denominator;

	if (!(denominator > 0))
		return NAN;
	if (coefficients != NULL)
	{
		/* sum z / sum w moves by (z - ratio w) / sum w, sum e / n by (e - mean e) / n */
		coefficients[SUM_N] = -sums[SUM_E] / n / n;
		coefficients[SUM_E] = 1 / n;
		coefficients[SUM_Z] = 1 / denominator;
		coefficients[SUM_W] = 0;
		coefficients[br_eval_is_normalised(estimator) ? SUM_W : SUM_N] -= ratio / denominator;
	}
	return centre + ratio + sums[SUM_E] / n;
}

BrStatus
br_eval_check_same(BrContext *context, const double *state, const double *other)
{
	if (state[BR_STATE_ESTIMATOR] != other[BR_STATE_ESTIMATOR])
		return br_base_fail(context, BR_ERR_ARGUMENT, "One state is of %s, another of %s.",
							br_eval_estimator_name((BrEstimator) state[BR_STATE_ESTIMATOR]),
							br_eval_estimator_name((BrEstimator) other[BR_STATE_ESTIMATOR]));
	if (state[BR_STATE_PARAMETER] != other[BR_STATE_PARAMETER])
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"One state of %s was made with %.17g, another with %.17g.",
							br_eval_estimator_name((BrEstimator) state[BR_STATE_ESTIMATOR]),
							state[BR_STATE_PARAMETER], other[BR_STATE_PARAMETER]);
	return BR_OK;
}

/* Makes a state one of the centre; of a state without rows any centre is as good. */
static void
move_centre(double *state, double centre)
{
	double by = state[BR_STATE_CENTRE] - centre;

	state[BR_STATE_CENTRE] = centre;
	state[BR_STATE_MEAN_Z] += by * state[BR_STATE_MEAN_W];
	state[BR_STATE_M_ZZ] += by * (2 * state[BR_STATE_M_WZ] + by * state[BR_STATE_M_WW]);
	state[BR_STATE_M_WZ] += by * state[BR_STATE_M_WW];
	state[BR_STATE_M_ZE] += by * state[BR_STATE_M_WE];
}

BrStatus
br_eval_combine(BrContext *context, double *state, const double *other)
{
	static const int means[] = {BR_STATE_MEAN_W, BR_STATE_MEAN_Z, BR_STATE_MEAN_E};
	static const int products[3][3] = {{BR_STATE_M_WW},
									   {BR_STATE_M_WZ, BR_STATE_M_ZZ},
									   {BR_STATE_M_WE, BR_STATE_M_ZE, BR_STATE_M_EE}};
	double n = state[BR_STATE_ROWS], m = other[BR_STATE_ROWS];
	double moved[BR_STATE_SIZE];
	double apart[3];

	if (state[BR_STATE_ESTIMATOR] != other[BR_STATE_ESTIMATOR] || (n > 0 && m > 0))
	{
		BrStatus status = br_eval_check_same(context, state, other);

		if (status != BR_OK)
			return status;
	}
	if (m == 0)
		return BR_OK;
	if (n == 0)
	{
		memcpy(state, other, sizeof(moved));
		return BR_OK;
	}
	memcpy(moved, other, sizeof(moved));
	move_centre(moved, state[BR_STATE_CENTRE]);
	for (int i = 0; i < 3; i++)
	{
		apart[i] = moved[means[i]] - state[means[i]];
		state[means[i]] += apart[i] * (m / (n + m));
		for (int j = 0; j <= i; j++)
			state[products[i][j]] +=
				moved[products[i][j]] + apart[i] * apart[j] * (n * m / (n + m));
	}
	state[BR_STATE_ROWS] = n + m;
	state[BR_STATE_MAX_WEIGHT] = fmax(state[BR_STATE_MAX_WEIGHT], other[BR_STATE_MAX_WEIGHT]);
	return BR_OK;
}

/* a' M a of a lower triangle; rounding may leave it below 0 where it is 0. */
static double
quadratic_form(const double *a /* (SUMS) */, const double *m /* (SUMS, SUMS) lower triangle */)
{
	double sum = 0;

	for (int i = 0; i < SUMS; i++)
		for (int j = 0; j <= i; j++)
			sum += (i == j ? 1 : 2) * a[i] * a[j] * m[AT(i, j)];
	return sum < 0 ? 0 : sum;
}

static void
set_weights(BrEstimate *estimate, double sum, double squares, double max_weight)
{
	estimate->effective_sample_size = squares > 0 ? sum / squares * sum : 0;
	estimate->max_weight = max_weight;
	estimate->mean_weight = sum / (double) estimate->rows;
}

static BrStatus
check_finite(BrContext *context, const BrEstimate *estimate)
{
	if (isinf(estimate->value) || isinf(estimate->standard_error) || isinf(estimate->mean_weight) ||
		isinf(estimate->effective_sample_size))
		return br_base_fail(context, BR_ERR_NUMERIC,
							"The sums of %lld rows are out of the range of double precision.",
							(long long) estimate->rows);
	return BR_OK;
}

BrStatus
br_eval_estimate(BrContext *context, const double *state, BrEstimate *estimate)
{
	BrEstimator estimator = (BrEstimator) state[BR_STATE_ESTIMATOR];
	double n = state[BR_STATE_ROWS];
	double sums[SUMS] = {n, n * state[BR_STATE_MEAN_W], n * state[BR_STATE_MEAN_Z],
						 n * state[BR_STATE_MEAN_E]};
	/* a row's n is 1: it does not vary */
	double products[] = {0,
						 0,
						 state[BR_STATE_M_WW],
						 0,
						 state[BR_STATE_M_WZ],
						 state[BR_STATE_M_ZZ],
						 0,
						 state[BR_STATE_M_WE],
						 state[BR_STATE_M_ZE],
						 state[BR_STATE_M_EE]};
	double coefficients[SUMS];

	*estimate = (BrEstimate){NAN, NAN, (int64_t) n, NAN, NAN, NAN};
	if (n == 0)
		return BR_OK;
	estimate->value = br_eval_value(estimator, state[BR_STATE_CENTRE], sums, coefficients);
	if (n > 1 && !isnan(estimate->value))
		estimate->standard_error = sqrt(quadratic_form(coefficients, products) *
										(br_eval_is_normalised(estimator) ? 1 : n / (n - 1)));
	if (br_eval_is_weighted(estimator))
		set_weights(estimate, sums[SUM_W],
					state[BR_STATE_M_WW] + sums[SUM_W] * state[BR_STATE_MEAN_W],
					state[BR_STATE_MAX_WEIGHT]);
	return check_finite(context, estimate);
}

/* ---- clusters ---- */

BrStatus
br_eval_clusters_check(BrContext *context, const double *clusters)
{
	double count = clusters[BR_CLUSTERS_COUNT], rows = clusters[BR_CLUSTERS_ROWS];
	bool possible = count >= 0 && rows >= count && floor(rows) == rows && floor(count) == count &&
		(count == 0 || br_eval_is_estimator(clusters[BR_CLUSTERS_ESTIMATOR])) &&
		clusters[BR_CLUSTERS_PARAMETER] >= 0 && rows <= BR_EVAL_MAX_ROWS;

	for (int i = BR_CLUSTERS_CENTRE; possible && i < BR_CLUSTERS_SIZE; i++)
		possible = isfinite(clusters[i]) && (count > 0 || clusters[i] == 0);
	if (!possible)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"It is not what clusters of rows leave: estimator %g, clusters %g, rows "
							"%g.",
							clusters[BR_CLUSTERS_ESTIMATOR], count, rows);
	return BR_OK;
}

/* The same of clusters. */
static void
move_clusters_centre(double *clusters, double centre)
{
	double by = clusters[BR_CLUSTERS_CENTRE] - centre;
	double *m = clusters + BR_CLUSTERS_M;

	clusters[BR_CLUSTERS_CENTRE] = centre;
	clusters[BR_CLUSTERS_MEANS + SUM_Z] += by * clusters[BR_CLUSTERS_MEANS + SUM_W];
	m[AT(SUM_Z, SUM_Z)] += by * (2 * m[AT(SUM_Z, SUM_W)] + by * m[AT(SUM_W, SUM_W)]);
	m[AT(SUM_Z, SUM_W)] += by * m[AT(SUM_W, SUM_W)];
	m[AT(SUM_Z, SUM_N)] += by * m[AT(SUM_W, SUM_N)];
	m[AT(SUM_E, SUM_Z)] += by * m[AT(SUM_E, SUM_W)];
}

/* Merges other into clusters; both of one estimator, parameter and centre, other not empty. */
static void
merge(double *clusters, const double *other)
{
	double n = clusters[BR_CLUSTERS_COUNT], m = other[BR_CLUSTERS_COUNT];
	double *means = clusters + BR_CLUSTERS_MEANS, *products = clusters + BR_CLUSTERS_M;
	double apart[SUMS];

	for (int i = 0; i < SUMS; i++)
	{
		apart[i] = other[BR_CLUSTERS_MEANS + i] - means[i];
		means[i] += apart[i] * (m / (n + m));
		for (int j = 0; j <= i; j++)
		{
			products[AT(i, j)] +=
				other[BR_CLUSTERS_M + AT(i, j)] + apart[i] * apart[j] * (n * m / (n + m));
		}
	}
	clusters[BR_CLUSTERS_ESTIMATOR] = other[BR_CLUSTERS_ESTIMATOR];
	clusters[BR_CLUSTERS_PARAMETER] = other[BR_CLUSTERS_PARAMETER];
	clusters[BR_CLUSTERS_CENTRE] = other[BR_CLUSTERS_CENTRE];
	clusters[BR_CLUSTERS_COUNT] = n + m;
	clusters[BR_CLUSTERS_ROWS] += other[BR_CLUSTERS_ROWS];
	clusters[BR_CLUSTERS_SQUARES] += other[BR_CLUSTERS_SQUARES];
	clusters[BR_CLUSTERS_MAX_WEIGHT] =
		fmax(clusters[BR_CLUSTERS_MAX_WEIGHT], other[BR_CLUSTERS_MAX_WEIGHT]);
}

BrStatus
br_eval_clusters_combine(BrContext *context, double *clusters, const double *other)
{
	double moved[BR_CLUSTERS_SIZE];

	if (other[BR_CLUSTERS_COUNT] == 0)
		return BR_OK;
	memcpy(moved, other, sizeof(moved));
	if (clusters[BR_CLUSTERS_COUNT] > 0)
	{
		/* estimator and parameter stand where a state has them */
		BrStatus status = br_eval_check_same(context, clusters, other);

		if (status != BR_OK)
			return status;
		move_clusters_centre(moved, clusters[BR_CLUSTERS_CENTRE]);
	}
	merge(clusters, moved);
	return BR_OK;
}

BrStatus
br_eval_clusters_add(BrContext *context, double *clusters, const double *state)
{
	double n = state[BR_STATE_ROWS];
	double one[BR_CLUSTERS_SIZE] = {
		[BR_CLUSTERS_ESTIMATOR] = state[BR_STATE_ESTIMATOR],
		[BR_CLUSTERS_PARAMETER] = state[BR_STATE_PARAMETER],
		[BR_CLUSTERS_CENTRE] = state[BR_STATE_CENTRE],
		[BR_CLUSTERS_COUNT] = n > 0 ? 1 : 0,
		[BR_CLUSTERS_ROWS] = n,
		[BR_CLUSTERS_MAX_WEIGHT] = state[BR_STATE_MAX_WEIGHT],
		[BR_CLUSTERS_SQUARES] =
			state[BR_STATE_M_WW] + n * state[BR_STATE_MEAN_W] * state[BR_STATE_MEAN_W],
		[BR_CLUSTERS_MEANS + SUM_N] = n,
		[BR_CLUSTERS_MEANS + SUM_W] = n * state[BR_STATE_MEAN_W],
		[BR_CLUSTERS_MEANS + SUM_Z] = n * state[BR_STATE_MEAN_Z],
		[BR_CLUSTERS_MEANS + SUM_E] = n * state[BR_STATE_MEAN_E],
	};

	return br_eval_clusters_combine(context, clusters, one);
}

BrStatus
br_eval_clusters_estimate(BrContext *context, const double *clusters, BrEstimate *estimate)
{
	BrEstimator estimator = (BrEstimator) clusters[BR_CLUSTERS_ESTIMATOR];
	double count = clusters[BR_CLUSTERS_COUNT];
	double sums[SUMS], coefficients[SUMS];

	*estimate = (BrEstimate){NAN, NAN, (int64_t) clusters[BR_CLUSTERS_ROWS], NAN, NAN, NAN};
	if (count == 0)
		return BR_OK;
	for (int i = 0; i < SUMS; i++)
		sums[i] = count * clusters[BR_CLUSTERS_MEANS + i];
	sums[SUM_N] = clusters[BR_CLUSTERS_ROWS];
	estimate->value = br_eval_value(estimator, clusters[BR_CLUSTERS_CENTRE], sums, coefficients);
	if (count > 1 && !isnan(estimate->value))
		estimate->standard_error =
			sqrt(quadratic_form(coefficients, clusters + BR_CLUSTERS_M) * (count / (count - 1)));
	if (br_eval_is_weighted(estimator))
		set_weights(estimate, sums[SUM_W], clusters[BR_CLUSTERS_SQUARES],
					clusters[BR_CLUSTERS_MAX_WEIGHT]);
	return check_finite(context, estimate);
}
