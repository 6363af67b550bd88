/*
 * quadrature_normal.c
 *	  The order of independent normal arms, points among them.
 *
 * The axis begins at the largest mean, so that arms near the top keep their
 * digits whatever the means are. Points cut the axis into segments inside which
 * every distribution function is smooth; what a point itself wins is a value of
 * the others' distribution functions there, and needs no integral.
 */
#include <math.h>
#include <string.h>

#include "core/bandit/quadrature_int.h"

/* in deviations: 1e-19 of an arm lies beyond */
#define SUPPORT 9

/* what is narrower than this part of its distance from the origin is a point */
#define RESOLVED 1e-14

#define LARGEST 1e150
/* what is narrower than this part of the widest extent is a point, too */
#define NARROWEST 1e-25

#define INVERSE_ROOT_2_PI 0x1.9884533d43651p-2

typedef struct NormalArms
{
	int n;
	double *mean;	   /* (n): less the largest */
	double *deviation; /* (n): 0 for points */
	double *noise;	   /* (n) */
	double *cut;	   /* (n_cuts): distinct points, ascending */
	int n_cuts;
	double segment; /* points at most here lie below the segment */
	double left;	/* of the panel */
	double right;
} NormalArms;

static void
normal_cdf(void *arg, double t, double *cdf)
{
	NormalArms *arms = arg;

	for (int i = 0; i < arms->n; i++)
	{
		if (arms->deviation[i] == 0)
			cdf[i] = arms->mean[i] <= arms->segment ? 1 : 0;
		else
			cdf[i] = br_math_normal_cdf((t - arms->mean[i]) / arms->deviation[i]);
	}
}

static void
normal_enter(void *arg, double left, double right)
{
	NormalArms *arms = arg;

	arms->left = left;
	arms->right = right;
}

/* Nodes are placed between the two standardised ends, so that rounding of t does not move them. */
static void
normal_density(void *arg, int arm, double *density)
{
	NormalArms *arms = arg;
	double first = (arms->left - arms->mean[arm]) / arms->deviation[arm];
	double width = (arms->right - arms->left) / arms->deviation[arm];

	for (int k = 0; k < BR_MATH_GAUSS_NODES; k++)
	{
		double z = first + width * br_math_gauss_node[k];

		density[k] = fabs(z) > SUPPORT ? 0 : INVERSE_ROOT_2_PI * width * br_math_exp(-0.5 * z * z);
	}
}

static BrStatus
check_normal(BrContext *context, int n, const double *mean, const double *deviation)
{
	for (int i = 0; i < n; i++)
	{
		if (!(fabs(mean[i]) <= LARGEST))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The mean of arm %d is %g; it must lie between -%g and %g.", i + 1,
								mean[i], LARGEST, LARGEST);
		if (!(deviation[i] >= 0 && deviation[i] <= LARGEST))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The deviation of arm %d is %g; it must lie between 0 and %g.",
								i + 1, deviation[i], LARGEST);
	}
	return BR_OK;
}

/* Inserts value into the ascending distinct list. */
static void
insert_cut(NormalArms *arms, double value)
{
	int at = arms->n_cuts;

	while (at > 0 && arms->cut[at - 1] > value)
		at--;
	if (at > 0 && arms->cut[at - 1] == value)
		return;
	memmove(arms->cut + at + 1, arms->cut + at, sizeof(double) * (size_t) (arms->n_cuts - at));
	arms->cut[at] = value;
	arms->n_cuts++;
}

static bool
alloc_normal(BrArena *arena, NormalArms *arms, int n)
{
	arms->n = n;
	arms->mean = br_base_arena_alloc_array(arena, (size_t) n, sizeof(double));
	arms->deviation = br_base_arena_alloc_array(arena, (size_t) n, sizeof(double));
	arms->noise = br_base_arena_alloc_array(arena, (size_t) n, sizeof(double));
	arms->cut = br_base_arena_alloc_array(arena, (size_t) n, sizeof(double));
	return arms->mean != NULL && arms->deviation != NULL && arms->noise != NULL &&
		arms->cut != NULL;
}

static void
place_normal(NormalArms *arms, const int *competing, const double *mean, const double *deviation)
{
	double largest = -INFINITY;
	double extent = 0;

	for (int i = 0; i < arms->n; i++)
		largest = fmax(largest, mean[competing[i]]);
	for (int i = 0; i < arms->n; i++)
		extent = fmax(extent, fmax(largest - mean[competing[i]], deviation[competing[i]]));
	for (int i = 0; i < arms->n; i++)
	{
		arms->mean[i] = mean[competing[i]] - largest;
		arms->deviation[i] = deviation[competing[i]];
		arms->noise[i] = 1e-15;
		if (arms->deviation[i] <= fmax(RESOLVED * fabs(arms->mean[i]), NARROWEST * extent))
			arms->deviation[i] = 0;
		if (arms->deviation[i] == 0)
			insert_cut(arms, arms->mean[i]);
	}
}

/*
 * What the points at one place win: the r-th of them, in their order, stands at
 * slot k when exactly k - r of the others exceed it.
 */
static void
add_points(NormalArms *arms, double place, int slots, double *cdf /* (n) */,
		   double *exactly /* (slots) */, double *found)
{
	int rank = 0;

	arms->segment = place;
	normal_cdf(arms, place, cdf);
	br_bandit_order_count(cdf, arms->n, slots, exactly);
	for (int i = 0; i < arms->n; i++)
	{
		if (arms->deviation[i] != 0 || arms->mean[i] != place)
			continue;
		for (int k = rank; k < slots; k++)
			found[(size_t) i * (size_t) slots + (size_t) k] += exactly[k - rank];
		rank++;
	}
}

/* Segments between the cuts, and the cuts. */
static BrStatus
integrate_normal(BrContext *context, BrArena *arena, NormalArms *arms, int slots, double *found)
{
	BrIndependentArms independent = {arms->n,	   arms,		   normal_cdf,
									 normal_enter, normal_density, arms->deviation,
									 arms->noise};
	BrOrderIntegral *integral = br_bandit_order_create(arena, &independent, slots);
	double *cdf = br_base_arena_alloc_array(arena, (size_t) arms->n, sizeof(double));
	double *exactly = br_base_arena_alloc_array(arena, (size_t) slots, sizeof(double));
	double left = INFINITY;
	double right = -INFINITY;
	BrStatus status = BR_OK;

	if (integral == NULL || cdf == NULL || exactly == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < arms->n; i++)
	{
		left = fmin(left, arms->mean[i] - SUPPORT * arms->deviation[i]);
		right = fmax(right, arms->mean[i] + SUPPORT * arms->deviation[i]);
	}
	for (int c = 0; c <= arms->n_cuts && status == BR_OK; c++)
	{
		double end = c < arms->n_cuts ? arms->cut[c] : right;

		arms->segment = c > 0 ? arms->cut[c - 1] : -INFINITY;
		if (end > left)
			status = br_bandit_order_integrate(context, integral, left, end, found);
		left = end;
		if (c < arms->n_cuts)
			add_points(arms, end, slots, cdf, exactly, found);
	}
	return status;
}

static BrStatus
order_normal(BrContext *context, BrArena *arena, int total, const double *mean,
			 const double *deviation, const bool *skip, int wanted, double *probability)
{
	NormalArms arms = {0};
	int *competing = br_base_arena_alloc_array(arena, (size_t) total, sizeof(int));
	int n;
	int slots;
	double *found;
	BrStatus status;

	if (competing == NULL)
		return BR_ERR_MEMORY;
	n = br_bandit_competing(total, skip, competing);
	slots = wanted < n ? wanted : n;
	if (n == 0)
		return br_bandit_order_finish(context, 0, competing, total, 0, NULL, wanted, probability);
	found = br_base_arena_alloc_array(arena, (size_t) n * (size_t) slots, sizeof(double));
	if (found == NULL || !alloc_normal(arena, &arms, n))
		return BR_ERR_MEMORY;
	place_normal(&arms, competing, mean, deviation);
	status = integrate_normal(context, arena, &arms, slots, found);
	if (status != BR_OK)
		return status;
	return br_bandit_order_finish(context, n, competing, total, slots, found, wanted, probability);
}

static BrStatus
order_normal_in_arena(BrContext *context, int n, const double *mean, const double *deviation,
					  const bool *skip, int slots, double *probability)
{
	BrArena *arena;
	BrStatus status;

	if (n < 1 || slots < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d arms and %d slots; at least 1 of each is needed.", n, slots);
	status = check_normal(context, n, mean, deviation);
	if (status != BR_OK)
		return status;
	arena = br_base_arena_create(context, 65536);
	if (arena == NULL)
		return BR_ERR_MEMORY;
	status = order_normal(context, arena, n, mean, deviation, skip, slots, probability);
	br_base_arena_destroy(arena);
	return status;
}

BrStatus
br_bandit_best_normal(BrContext *context, int n, const double *mean, const double *deviation,
					  const bool *skip, double *probability)
{
	return order_normal_in_arena(context, n, mean, deviation, skip, 1, probability);
}

BrStatus
br_bandit_joint_marginals_normal(BrContext *context, int n, const double *mean,
								 const double *deviation, int slots, double *probability)
{
	return order_normal_in_arena(context, n, mean, deviation, NULL, slots, probability);
}
