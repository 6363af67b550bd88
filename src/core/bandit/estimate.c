/*
 * estimate.c
 *	  What is believed of each member of a pool: its mean, and how sure it is.
 *
 * Features stand in blocks of LANES members, so that loops over a block become
 * vector instructions of any width without changing the order of a member's
 * sum.
 */
#include "core/bandit/bandit_int.h"
#include "core/math/br_math.h"

#define LANES BR_BANDIT_LANES

/* how many deviations from its mean a posterior draw may be, and more */
#define FARTHEST_DRAW 16

static BrStatus
fail_scores(const BrChooser *chooser, int member, int feature, double reached)
{
	return br_base_fail(chooser->context, BR_ERR_NUMERIC,
						"Feature %d of pool member %d is %g, with which scores reach %g.",
						feature + 1, member + 1,
						br_bandit_features_of(chooser, member)[feature * LANES], reached);
}

BrStatus
br_bandit_check_scores(const BrChooser *chooser, const double *theta, size_t stride)
{
	int dims = chooser->belief->spec->dims;
	double bound = chooser->request->diversity;
	double most = -1;
	int feature = 0;
	int member = 0;

	for (int i = 0; i < dims; i++)
		bound += fabs(theta[(size_t) i * stride]) * chooser->largest[i];
	/* beyond it a score less its penalty could be infinite: a member as good as taken */
	if (bound < DBL_MAX / 2)
		return BR_OK;

	for (int i = 0; i < dims; i++)
	{
		double part = fabs(theta[(size_t) i * stride]) * chooser->largest[i];

		if (part > most)
		{
			most = part;
			feature = i;
		}
	}
	while (fabs(br_bandit_features_of(chooser, member)[feature * LANES]) <
		   chooser->largest[feature])
		member++;
	return fail_scores(chooser, member, feature, bound);
}

static int
largest_feature(const BrChooser *chooser, int member)
{
	const double *x = br_bandit_features_of(chooser, member);
	int largest = 0;

	for (int i = 1; i < chooser->belief->spec->dims; i++)
	{
		if (fabs(x[i * LANES]) > fabs(x[largest * LANES]))
			largest = i;
	}
	return largest;
}

/* Whether a member's score stays far from infinity, drawn or bounded from above. */
static BrStatus
check_member(const BrChooser *chooser, int member)
{
	double width = 1 + chooser->belief->spec->parameters.width;
	double reach = fabs(chooser->mean[member]) + chooser->request->diversity;

	if (chooser->deviation != NULL)
		reach += FARTHEST_DRAW * width * chooser->deviation[member];
	return reach < DBL_MAX / 2
		? BR_OK
		: fail_scores(chooser, member, largest_feature(chooser, member), reach);
}

static void
mean_of_block(const BrChooser *chooser, const double *theta, size_t first)
{
	int dims = chooser->belief->spec->dims;
	const double *x = chooser->features + first * (size_t) dims;
	double sum[LANES] = {0};

	for (int i = 0; i < dims; i++, x += LANES)
	{
#pragma GCC unroll 8
		for (int lane = 0; lane < LANES; lane++)
			sum[lane] += theta[i] * x[lane];
	}
	for (int lane = 0; lane < LANES; lane++)
		chooser->mean[first + (size_t) lane] = sum[lane];
}

/* |L^-1 x| of a block of members, by one forward substitution; solved: (dims, LANES). */
static void
deviation_of_block(const BrChooser *chooser, const double *factor, size_t first, double *solved)
{
	int dims = chooser->belief->spec->dims;
	const double *x = chooser->features + first * (size_t) dims;
	double square[LANES] = {0};

	for (int i = 0; i < dims; i++, x += LANES)
	{
		double rest[LANES];

		for (int lane = 0; lane < LANES; lane++)
			rest[lane] = x[lane];
		for (int j = 0; j < i; j++)
		{
#pragma GCC unroll 8
			for (int lane = 0; lane < LANES; lane++)
				rest[lane] -= factor[j] * solved[j * LANES + lane];
		}
		for (int lane = 0; lane < LANES; lane++)
		{
			rest[lane] /= factor[i];
			solved[i * LANES + lane] = rest[lane];
			square[lane] += rest[lane] * rest[lane];
		}
		factor += i + 1;
	}
	for (int lane = 0; lane < LANES; lane++)
		chooser->deviation[first + (size_t) lane] = sqrt(square[lane]);
}

static BrStatus
estimate_shared(BrChooser *chooser)
{
	const BrLinearPosterior *posterior = chooser->belief->posteriors;
	double *solved =
		br_base_arena_alloc(chooser->arena, (size_t) posterior->dims * LANES * sizeof(double));
	BrStatus status = br_bandit_check_scores(chooser, posterior->mean, 1);

	if (solved == NULL)
		return BR_ERR_MEMORY;
	for (size_t first = 0; status == BR_OK && first < chooser->padded; first += LANES)
	{
		if (br_base_cancelled(chooser->context))
			return br_base_fail(chooser->context, BR_ERR_CANCELLED,
								"Cancelled after %zu of %d members.", first,
								chooser->request->pool);
		mean_of_block(chooser, posterior->mean, first);
		if (chooser->deviation != NULL)
			deviation_of_block(chooser, posterior->factor, first, solved);
	}
	return status;
}

static BrStatus
estimate_disjoint(BrChooser *chooser)
{
	int dims = chooser->belief->spec->dims;
	double *row = br_base_arena_alloc(chooser->arena, (size_t) dims * sizeof(double));

	if (row == NULL)
		return BR_ERR_MEMORY;
	for (int b = 0; b < chooser->request->pool; b++)
	{
		const BrLinearPosterior *posterior =
			&chooser->belief->posteriors[br_bandit_arm_of(chooser, b)];
		const double *x = br_bandit_features_of(chooser, b);

		if (br_base_cancelled(chooser->context))
			return br_base_fail(chooser->context, BR_ERR_CANCELLED,
								"Cancelled after %d of %d members.", b, chooser->request->pool);
		for (int i = 0; i < dims; i++)
			row[i] = x[i * LANES];
		chooser->mean[b] = br_math_dot(posterior->mean, row, (size_t) dims);
		if (chooser->deviation == NULL)
			continue;
		br_math_solve_lower(posterior->factor, dims, row);
		chooser->deviation[b] = sqrt(br_math_dot(row, row, (size_t) dims));
	}
	return BR_OK;
}

BrStatus
br_bandit_estimate(BrChooser *chooser)
{
	BrStatus status = BR_OK;

	switch (chooser->belief->spec->model)
	{
		case BR_MODEL_ARM:
			for (int b = 0; b < chooser->request->pool; b++)
				chooser->mean[b] = chooser->belief->mean[br_bandit_arm_of(chooser, b)];
			return BR_OK;
		case BR_MODEL_SHARED:
			status = estimate_shared(chooser);
			break;
		case BR_MODEL_DISJOINT:
			status = estimate_disjoint(chooser);
			break;
	}
	for (int b = 0; status == BR_OK && b < chooser->request->pool; b++)
		status = check_member(chooser, b);
	return status;
}

void
br_bandit_all_on_favourite(const BrChooser *chooser, const double *value, double *q)
{
	q[br_bandit_kernels()->favourite(value, chooser->penalty, chooser->padded)] = 1;
}
