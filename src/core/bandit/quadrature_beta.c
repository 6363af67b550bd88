/*
 * quadrature_beta.c
 *	  The order of independent Beta arms, each less a penalty.
 *
 * A Beta density may have a pole at either end of its interval, and most of
 * its mass within 1e-100 of it. The axis of values is therefore cut at the
 * ends of the arms' intervals, and between two cuts the integration runs over
 *
 *		t = logit((value - left cut) / (right cut - left cut)),
 *
 * along which a density that behaves like x^(a-1) at a cut becomes e^(a t), and
 * each arm's distance from its own end is known to full precision. Without
 * penalties there is one such segment, and the logarithms of a node are shared
 * by all arms.
 */
#include <math.h>
#include <string.h>

#include "core/bandit/quadrature_int.h"

/* from here on x^(a-1) is as good as smooth at 0: no cut is needed */
#define SMOOTH 20
/* and below this deviation, in lengths of the axis, x has too few digits unless it counts from a cut */
#define NARROW 1e-4

#define LARGEST_PARAMETER 1e10
#define SMALLEST_PARAMETER 1e-9
#define LARGEST_PENALTY 1e6

/* probability left beyond the ends of a segment's axis, which grows until it is so little */
#define BEYOND 1e-14
#define FIRST_END 40
#define LONGEST 1e12

/* An arm as a segment sees it: x = from_left + length * part, 1 - x likewise from the right. */
typedef struct BetaArm
{
	BrBeta beta;
	double low;	 /* value at x = 0 */
	double high; /* value at x = 1 */
	double from_left;
	double from_right;
} BetaArm;

typedef struct BetaArms
{
	int n;
	BetaArm *arm;  /* (n) */
	double *scale; /* (n) */
	double *noise; /* (n) */
	double *cut;   /* (n_cuts): ascending, at least 2 */
	int n_cuts;
	double length; /* of the segment */
	double log_length;
	double width; /* of the panel */
	BrFraction node[BR_MATH_GAUSS_NODES];
} BetaArms;

/* Where a part of the segment lies in an arm's own interval; false: outside of it. */
static bool
place_in_arm(const BetaArms *arms, const BetaArm *arm, const BrFraction *part, BrFraction *at)
{
	bool anchored_left = arm->from_left == 0;
	bool anchored_right = arm->from_right == 0;

	*at = *part;
	if (anchored_left && anchored_right)
		return true;
	at->x = arm->from_left + arms->length * part->x;
	at->complement = arm->from_right + arms->length * part->complement;
	/* a small distance from a common cut has all its digits */
	if (anchored_left && at->x < 0.5)
		at->complement = 1 - at->x;
	else if (anchored_right && at->complement < 0.5)
		at->x = 1 - at->complement;
	at->log_x = anchored_left ? arms->log_length + part->log_x : br_math_log(at->x);
	at->log_complement =
		anchored_right ? arms->log_length + part->log_complement : br_math_log(at->complement);
	return (anchored_left || at->x > 0) && (anchored_right || at->complement > 0);
}

static void
beta_cdf(void *arg, double t, double *cdf)
{
	BetaArms *arms = arg;
	BrFraction part = br_math_fraction_of_logit(t);

	for (int i = 0; i < arms->n; i++)
	{
		BrFraction at;

		if (!place_in_arm(arms, &arms->arm[i], &part, &at))
			cdf[i] = at.x <= 0 ? 0 : 1;
		else if (isinf(at.log_x) || isinf(at.log_complement))
			cdf[i] = isinf(at.log_x) ? 0 : 1;
		else
			cdf[i] = br_math_beta_cdf_at(&arms->arm[i].beta, &at);
	}
}

static void
beta_enter(void *arg, double left, double right)
{
	BetaArms *arms = arg;

	arms->width = right - left;
	for (int k = 0; k < BR_MATH_GAUSS_NODES; k++)
		arms->node[k] = br_math_fraction_of_logit(left + arms->width * br_math_gauss_node[k]);
}

/* kernel / (x (1 - x)) dx/dt, where dx/dt = length * part * (1 - part) */
static void
beta_density(void *arg, int i, double *density)
{
	BetaArms *arms = arg;
	const BetaArm *arm = &arms->arm[i];

	for (int k = 0; k < BR_MATH_GAUSS_NODES; k++)
	{
		const BrFraction *part = &arms->node[k];
		BrFraction at;
		double factor = arms->width;

		density[k] = 0;
		if (!place_in_arm(arms, arm, part, &at))
			continue;
		if (arm->from_left != 0)
			factor *= part->x / at.x;
		if (arm->from_right != 0)
			factor *= part->complement / at.complement;
		if (arm->from_left != 0 && arm->from_right != 0)
			factor *= arms->length;
		density[k] = br_math_beta_kernel(&arm->beta, &at) * factor;
	}
}

static BrStatus
check_beta(BrContext *context, int n, const double *alpha, const double *beta,
		   const double *penalty)
{
	for (int i = 0; i < n; i++)
	{
		if (!(alpha[i] >= SMALLEST_PARAMETER && alpha[i] <= LARGEST_PARAMETER) ||
			!(beta[i] >= SMALLEST_PARAMETER && beta[i] <= LARGEST_PARAMETER))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Arm %d is Beta(%g, %g); both parameters must lie between %g and "
								"%g.",
								i + 1, alpha[i], beta[i], SMALLEST_PARAMETER, LARGEST_PARAMETER);
		if (penalty != NULL && !(fabs(penalty[i]) <= LARGEST_PENALTY))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The penalty of arm %d is %g; it must lie between -%g and %g.",
								i + 1, penalty[i], LARGEST_PENALTY, LARGEST_PENALTY);
	}
	return BR_OK;
}

static void
insert_cut(BetaArms *arms, double value)
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

/* Penalties count from the smallest, so that equal ones put all arms on [0, 1]. */
static void
place_beta(BetaArms *arms, const int *competing, const double *alpha, const double *beta,
		   const double *penalty)
{
	double smallest = INFINITY;

	for (int i = 0; i < arms->n; i++)
		smallest = penalty == NULL ? 0 : fmin(smallest, penalty[competing[i]]);
	for (int i = 0; i < arms->n; i++)
	{
		BetaArm *arm = &arms->arm[i];

		br_math_beta_init(&arm->beta, alpha[competing[i]], beta[competing[i]]);
		arm->low = penalty == NULL ? 0 : smallest - penalty[competing[i]];
		arm->high = arm->low + 1;
	}
}

/*
 * The cuts: the ends of the axis, and those ends of arms at which the density
 * is not smooth or, on a long axis, x has too few digits.
 */
static void
cut_axis(BetaArms *arms)
{
	double low = INFINITY;
	double high = -INFINITY;

	for (int i = 0; i < arms->n; i++)
	{
		low = fmin(low, arms->arm[i].low);
		high = fmax(high, arms->arm[i].high);
	}
	insert_cut(arms, low);
	insert_cut(arms, high);
	for (int i = 0; i < arms->n; i++)
	{
		const BetaArm *arm = &arms->arm[i];
		const BrBeta *beta = &arm->beta;
		double deviation = sqrt(beta->mean * beta->co_mean / (beta->alpha + beta->beta));
		bool narrow = deviation < NARROW * (high - low);

		if (beta->alpha < SMOOTH || (narrow && beta->alpha < beta->beta))
			insert_cut(arms, arm->low);
		if (beta->beta < SMOOTH || (narrow && beta->beta <= beta->alpha))
			insert_cut(arms, arm->high);
	}
	/* how far logit X extends, where the segment is the arm's own interval */
	for (int i = 0; i < arms->n; i++)
	{
		double spread = 1 / arms->arm[i].beta.alpha + 1 / arms->arm[i].beta.beta;

		arms->scale[i] = high - low == 1 && arms->n_cuts == 2 ? sqrt(spread) + spread : 0;
	}
}

/* Noise: of the kernel by its parameters, and of x by the distances it is the sum of. */
static void
enter_segment(BetaArms *arms, double left, double right)
{
	arms->length = right - left;
	arms->log_length = br_math_log(arms->length);
	for (int i = 0; i < arms->n; i++)
	{
		const BrBeta *beta = &arms->arm[i].beta;
		double total = beta->alpha + beta->beta;

		arms->arm[i].from_left = left - arms->arm[i].low;
		arms->arm[i].from_right = arms->arm[i].high - right;
		arms->noise[i] = 1e-15 * (1 + sqrt(total));
		if (arms->arm[i].from_left != 0 && arms->arm[i].from_right != 0)
			arms->noise[i] += 2e-16 * (fabs(arms->arm[i].from_left) + arms->length) *
				sqrt(total / (beta->mean * beta->co_mean));
	}
}

static double
largest_difference(const double *left, const double *right, int n)
{
	double largest = 0;

	for (int i = 0; i < n; i++)
		largest = fmax(largest, right[i] - left[i]);
	return largest;
}

/*
 * The t that leaves nearly nothing between it and the segment's end in its
 * direction (-1 or 1).
 */
static double
end_of_axis(BrOrderIntegral *integral, int slots, double direction, double *at_end, double *at_t)
{
	double t = direction * FIRST_END;

	br_bandit_order_exceed(integral, direction * INFINITY, at_end);
	for (;;)
	{
		br_bandit_order_exceed(integral, t, at_t);
		if ((direction < 0 ? largest_difference(at_end, at_t, slots)
						   : largest_difference(at_t, at_end, slots)) <= BEYOND ||
			fabs(t) > LONGEST)
			return t;
		t *= 2;
	}
}

static BrStatus
integrate_beta(BrContext *context, BrArena *arena, BetaArms *arms, int slots, double *found)
{
	BrIndependentArms independent = {arms->n,	   arms,		beta_cdf,	beta_enter,
									 beta_density, arms->scale, arms->noise};
	BrOrderIntegral *integral = br_bandit_order_create(arena, &independent, slots);
	double *left = br_base_arena_alloc_array(arena, (size_t) slots, sizeof(double));
	double *right = br_base_arena_alloc_array(arena, (size_t) slots, sizeof(double));

	if (integral == NULL || left == NULL || right == NULL)
		return BR_ERR_MEMORY;
	for (int c = 0; c + 1 < arms->n_cuts; c++)
	{
		BrStatus status;
		double first;
		double last;

		enter_segment(arms, arms->cut[c], arms->cut[c + 1]);
		br_bandit_order_exceed(integral, -INFINITY, left);
		br_bandit_order_exceed(integral, INFINITY, right);
		if (largest_difference(left, right, slots) <= BEYOND)
			continue;
		first = end_of_axis(integral, slots, -1, left, right);
		last = end_of_axis(integral, slots, 1, left, right);
		status = br_bandit_order_integrate(context, integral, first, last, found);
		if (status != BR_OK)
			return status;
	}
	return BR_OK;
}

static bool
alloc_beta(BrArena *arena, BetaArms *arms, int n)
{
	arms->n = n;
	arms->arm = br_base_arena_alloc_array(arena, (size_t) n, sizeof(BetaArm));
	arms->scale = br_base_arena_alloc_array(arena, (size_t) n, sizeof(double));
	arms->noise = br_base_arena_alloc_array(arena, (size_t) n, sizeof(double));
	arms->cut = br_base_arena_alloc_array(arena, 2 * (size_t) n + 2, sizeof(double));
	return arms->arm != NULL && arms->scale != NULL && arms->noise != NULL && arms->cut != NULL;
}

static BrStatus
order_beta(BrContext *context, BrArena *arena, int total, const double *alpha, const double *beta,
		   const double *penalty, const bool *skip, int wanted, double *probability)
{
	BetaArms arms = {0};
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
	if (found == NULL || !alloc_beta(arena, &arms, n))
		return BR_ERR_MEMORY;
	place_beta(&arms, competing, alpha, beta, penalty);
	cut_axis(&arms);
	status = integrate_beta(context, arena, &arms, slots, found);
	if (status != BR_OK)
		return status;
	return br_bandit_order_finish(context, n, competing, total, slots, found, wanted, probability);
}

static BrStatus
order_beta_in_arena(BrContext *context, int n, const double *alpha, const double *beta,
					const double *penalty, const bool *skip, int slots, double *probability)
{
	BrArena *arena;
	BrStatus status;

	if (n < 1 || slots < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d arms and %d slots; at least 1 of each is needed.", n, slots);
	status = check_beta(context, n, alpha, beta, penalty);
	if (status != BR_OK)
		return status;
	arena = br_base_arena_create(context, 65536);
	if (arena == NULL)
		return BR_ERR_MEMORY;
	status = order_beta(context, arena, n, alpha, beta, penalty, skip, slots, probability);
	br_base_arena_destroy(arena);
	return status;
}

BrStatus
br_bandit_best_beta(BrContext *context, int n, const double *alpha, const double *beta,
					const double *penalty, const bool *skip, double *probability)
{
	return order_beta_in_arena(context, n, alpha, beta, penalty, skip, 1, probability);
}

BrStatus
br_bandit_joint_marginals_beta(BrContext *context, int n, const double *alpha, const double *beta,
							   int slots, double *probability)
{
	return order_beta_in_arena(context, n, alpha, beta, NULL, NULL, slots, probability);
}
