/*
 * quadrature.c
 *	  Who of independent arms stands at which place of their order.
 *
 * The probability that arm i has value x and exactly k others exceed it is
 * f_i(x) times the k-th coefficient of
 *
 *		prod over j != i of (F_j(x) + (1 - F_j(x)) s),
 *
 * whose leave-one-out products come from prefixes and suffixes: sums of
 * positive terms, which lose no digits and divide by nothing. The integral over
 * x goes from left to right over panels of 16 Gauss-Legendre nodes. Inside a
 * panel F_j is the integral of the polynomial through the 16 densities, so that
 * only densities are evaluated there; the true F_j is known at both ends of the
 * panel and tells whether a narrow arm slipped between the nodes. Likewise the
 * sum over all arms is known exactly: P(at most k arms exceed x) grows by it.
 * A panel that fails a check is halved; one in which that probability does not
 * grow is passed over.
 */
#include <math.h>
#include <string.h>

#include "core/bandit/quadrature_int.h"

#define NODES BR_MATH_GAUSS_NODES

/* of a panel's share of one arm, and of all of them */
#define ARM_TOLERANCE 1e-11
#define SUM_TOLERANCE 1e-12
/* of the last two of the 16 Legendre terms of a density, whose integrals are 1/30 of them */
#define RESOLUTION 3e-9
/* probability that is passed over, in a panel; of one arm */
#define NEGLIGIBLE 1e-15

#define WIDEST_PANEL 3 /* in deviations of the narrowest arm */
#define MAX_DEPTH 128
#define MAX_PANELS 5000

/* The gap between two panels. */
typedef struct Boundary
{
	double at;
	double *cdf;	 /* (n) */
	double *at_most; /* (slots) */
} Boundary;

struct BrOrderIntegral
{
	const BrIndependentArms *arms;
	int slots;
	double antiderivative[NODES][NODES]; /* [l][k]: integral of node l's basis up to node k */
	double last_terms[2][NODES];		 /* Legendre coefficients of degrees 14 and 15 */
	Boundary boundary[MAX_DEPTH + 1];
	double *count;	 /* (slots) */
	int *active;	 /* (n): arms that are not surely below the panel */
	bool *constant;	 /* (n): no density in the panel */
	double *density; /* (n, NODES), with respect to the panel's length, and weighted */
	double *cdf;	 /* (n, NODES) */
	double *prefix;	 /* (n, slots, NODES): coefficients of the arms before */
	double *suffix;	 /* (slots, NODES) */
	double *panel;	 /* (n, slots) */
};

/* Legendre polynomials P_0 .. P_16 at x of [-1, 1] */
static void
legendre(double x, double *value /* (NODES + 1) */)
{
	value[0] = 1;
	value[1] = x;
	for (int m = 1; m < NODES; m++)
		value[m + 1] = ((2 * m + 1) * x * value[m] - m * value[m - 1]) / (m + 1);
}

/*
 * The polynomial through values g_l has the coefficients
 * (2m+1) / 2 * sum of w_l P_m(x_l) g_l, and P_m the antiderivative
 * (P_{m+1} - P_{m-1}) / (2m+1), 0 at -1.
 */
static void
prepare_rule(BrOrderIntegral *integral)
{
	double value[NODES][NODES + 1];

	for (int k = 0; k < NODES; k++)
		legendre(2 * br_math_gauss_node[k] - 1, value[k]);
	for (int l = 0; l < NODES; l++)
	{
		for (int k = 0; k < NODES; k++)
		{
			double sum = 2 * br_math_gauss_node[k];

			for (int m = 1; m < NODES; m++)
				sum += value[l][m] * (value[k][m + 1] - value[k][m - 1]);
			integral->antiderivative[l][k] = br_math_gauss_weight[l] * sum / 2;
		}
		for (int i = 0; i < 2; i++)
			integral->last_terms[i][l] =
				(2 * (NODES - 2 + i) + 1) * br_math_gauss_weight[l] * value[l][NODES - 2 + i];
	}
}

BrOrderIntegral *
br_bandit_order_create(BrArena *arena, const BrIndependentArms *arms, int slots)
{
	size_t n = (size_t) arms->n;
	size_t k = (size_t) slots;
	BrOrderIntegral *integral = br_base_arena_alloc_array(arena, 1, sizeof(*integral));

	if (integral == NULL)
		return NULL;
	integral->arms = arms;
	integral->slots = slots;
	prepare_rule(integral);
	integral->count = br_base_arena_alloc_array(arena, k, sizeof(double));
	integral->active = br_base_arena_alloc_array(arena, n, sizeof(int));
	integral->constant = br_base_arena_alloc_array(arena, n, sizeof(bool));
	integral->density = br_base_arena_alloc_array(arena, n * NODES, sizeof(double));
	integral->cdf = br_base_arena_alloc_array(arena, n * NODES, sizeof(double));
	integral->prefix = br_base_arena_alloc_array(arena, n * k, NODES * sizeof(double));
	integral->suffix = br_base_arena_alloc_array(arena, k * NODES, sizeof(double));
	integral->panel = br_base_arena_alloc_array(arena, n * k, sizeof(double));
	if (integral->count == NULL || integral->active == NULL || integral->constant == NULL ||
		integral->density == NULL || integral->cdf == NULL || integral->prefix == NULL ||
		integral->suffix == NULL || integral->panel == NULL)
		return NULL;
	for (int i = 0; i <= MAX_DEPTH; i++)
	{
		integral->boundary[i].cdf = br_base_arena_alloc_array(arena, n, sizeof(double));
		integral->boundary[i].at_most = br_base_arena_alloc_array(arena, k, sizeof(double));
		if (integral->boundary[i].cdf == NULL || integral->boundary[i].at_most == NULL)
			return NULL;
	}
	return integral;
}

void
br_bandit_order_count(const double *cdf, int n, int slots, double *exactly)
{
	memset(exactly, 0, sizeof(double) * (size_t) slots);
	exactly[0] = 1;
	for (int i = 0; i < n; i++)
	{
		for (int k = slots - 1; k > 0; k--)
			exactly[k] = cdf[i] * exactly[k] + (1 - cdf[i]) * exactly[k - 1];
		exactly[0] *= cdf[i];
	}
}

static void
at_most(BrOrderIntegral *integral, const double *cdf, double *result)
{
	br_bandit_order_count(cdf, integral->arms->n, integral->slots, result);
	for (int k = 1; k < integral->slots; k++)
		result[k] += result[k - 1];
}

void
br_bandit_order_exceed(BrOrderIntegral *integral, double t, double *result)
{
	integral->arms->cdf(integral->arms->arg, t, integral->cdf);
	at_most(integral, integral->cdf, result);
}

static void
set_boundary(BrOrderIntegral *integral, Boundary *boundary, double at)
{
	boundary->at = at;
	integral->arms->cdf(integral->arms->arg, at, boundary->cdf);
	at_most(integral, boundary->cdf, boundary->at_most);
}

static bool
nothing_happens(const BrOrderIntegral *integral, const Boundary *left, const Boundary *right)
{
	for (int k = 0; k < integral->slots; k++)
	{
		if (right->at_most[k] - left->at_most[k] > NEGLIGIBLE)
			return false;
	}
	return true;
}

/*
 * Lists the arms that may exceed something in the panel; false where one of
 * them is too narrow for it.
 */
static bool
list_active(BrOrderIntegral *integral, const Boundary *left, const Boundary *right, int *n_active)
{
	const double *scale = integral->arms->scale;

	*n_active = 0;
	for (int i = 0; i < integral->arms->n; i++)
	{
		double share = right->cdf[i] - left->cdf[i];

		if (left->cdf[i] >= 1 - NEGLIGIBLE)
			continue;
		if (share > ARM_TOLERANCE && scale[i] > 0 && right->at - left->at > WIDEST_PANEL * scale[i])
			return false;
		integral->constant[i] = !(share > NEGLIGIBLE / 10);
		integral->active[(*n_active)++] = i;
	}
	return true;
}

/* Density and distribution function at the nodes; false where 16 do not resolve the arm. */
static bool
tabulate(BrOrderIntegral *integral, int arm, const Boundary *left, const Boundary *right)
{
	double *density = integral->density + (size_t) arm * NODES;
	double *cdf = integral->cdf + (size_t) arm * NODES;
	double allowed = integral->arms->noise[arm];
	double competition = right->at_most[integral->slots - 1];
	double sum = 0;
	double last[2] = {0, 0};

	for (int k = 0; k < NODES; k++)
		cdf[k] = left->cdf[arm];
	if (integral->constant[arm])
		return true;

	integral->arms->density(integral->arms->arg, arm, density);
	for (int l = 0; l < NODES; l++)
	{
		sum += br_math_gauss_weight[l] * density[l];
		last[0] += integral->last_terms[0][l] * density[l];
		last[1] += integral->last_terms[1][l] * density[l];
		for (int k = 0; k < NODES; k++)
			cdf[k] += integral->antiderivative[l][k] * density[l];
	}
	/* where the others surely exceed this arm its error counts less */
	competition = competition < right->cdf[arm] ? competition / right->cdf[arm] : 1;
	if (!(fabs(sum - (right->cdf[arm] - left->cdf[arm])) * competition <=
		  ARM_TOLERANCE + allowed) ||
		!((fabs(last[0]) + fabs(last[1])) * competition <= RESOLUTION + 30 * allowed))
		return false;
	for (int k = 0; k < NODES; k++)
	{
		density[k] *= br_math_gauss_weight[k];
		cdf[k] = cdf[k] > 1 ? 1 : cdf[k] < 0 ? 0 : cdf[k];
	}
	return true;
}

/* coefficients, one set of NODES each: times (F + (1 - F) s), highest first */
static void
multiply(double *coefficient, int slots, const double *cdf)
{
	for (int k = slots - 1; k > 0; k--)
	{
		double *to = coefficient + (size_t) k * NODES;
		const double *lower = to - NODES;

		for (int q = 0; q < NODES; q++)
			to[q] = cdf[q] * to[q] + (1 - cdf[q]) * lower[q];
	}
	for (int q = 0; q < NODES; q++)
		coefficient[q] *= cdf[q];
}

/* sum over nodes of density times the k-th coefficient of prefix times suffix */
static double
share_of_slot(const double *density, const double *prefix, const double *suffix, int k)
{
	double product[NODES] = {0};
	double sum = 0;

	for (int m = 0; m <= k; m++)
	{
		const double *left = prefix + (size_t) m * NODES;
		const double *right = suffix + (size_t) (k - m) * NODES;

		for (int q = 0; q < NODES; q++)
			product[q] += left[q] * right[q];
	}
	for (int q = 0; q < NODES; q++)
		sum += density[q] * product[q];
	return sum;
}

/* The panel's share of every active arm and slot, in integral->panel; false: inexact. */
static bool
sum_panel(BrOrderIntegral *integral, int n_active, const Boundary *left, const Boundary *right)
{
	int slots = integral->slots;
	size_t set = (size_t) slots * NODES;
	double *suffix = integral->suffix;

	/* the product of no arms is 1 */
	memset(suffix, 0, sizeof(double) * set);
	for (int q = 0; q < NODES; q++)
		suffix[q] = 1;
	for (int i = 0; i < n_active; i++)
	{
		memcpy(integral->prefix + (size_t) i * set, suffix, sizeof(double) * set);
		multiply(suffix, slots, integral->cdf + (size_t) integral->active[i] * NODES);
	}

	memset(suffix, 0, sizeof(double) * set);
	for (int q = 0; q < NODES; q++)
		suffix[q] = 1;
	memset(integral->count, 0, sizeof(double) * (size_t) slots);
	for (int i = n_active - 1; i >= 0; i--)
	{
		int arm = integral->active[i];

		for (int k = 0; k < slots; k++)
		{
			double share = integral->constant[arm]
				? 0
				: share_of_slot(integral->density + (size_t) arm * NODES,
								integral->prefix + (size_t) i * set, suffix, k);

			integral->panel[(size_t) arm * (size_t) slots + (size_t) k] = share;
			integral->count[k] += share;
		}
		multiply(suffix, slots, integral->cdf + (size_t) arm * NODES);
	}

	for (int k = 0; k < slots; k++)
	{
		double noise = 0;

		for (int i = 0; i < n_active; i++)
			noise += integral->arms->noise[integral->active[i]];
		if (!(fabs(integral->count[k] - (right->at_most[k] - left->at_most[k])) <=
			  SUM_TOLERANCE + noise))
			return false;
	}
	return true;
}

/* Whether the panel is done: nothing in it, or added to probability. */
static bool
take_panel(BrOrderIntegral *integral, const Boundary *left, const Boundary *right,
		   double *probability)
{
	int slots = integral->slots;
	int n_active;

	if (nothing_happens(integral, left, right))
		return true;
	if (!list_active(integral, left, right, &n_active))
		return false;
	integral->arms->enter(integral->arms->arg, left->at, right->at);
	for (int i = 0; i < n_active; i++)
	{
		if (!tabulate(integral, integral->active[i], left, right))
			return false;
	}
	if (!sum_panel(integral, n_active, left, right))
		return false;
	for (int i = 0; i < n_active; i++)
	{
		size_t first = (size_t) integral->active[i] * (size_t) slots;

		for (int k = 0; k < slots; k++)
			probability[first + (size_t) k] += integral->panel[first + (size_t) k];
	}
	return true;
}

/* boundary[0] is the left end of what remains; above it right ends, the nearest last. */
BrStatus
br_bandit_order_integrate(BrContext *context, BrOrderIntegral *integral, double left, double right,
						  double *probability)
{
	Boundary *boundary = integral->boundary;
	int top = 1;

	set_boundary(integral, &boundary[0], left);
	set_boundary(integral, &boundary[1], right);
	for (int tried = 0; top > 0; tried++)
	{
		double middle = boundary[0].at + (boundary[top].at - boundary[0].at) / 2;

		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Cancelled.");
		if (take_panel(integral, &boundary[0], &boundary[top], probability))
		{
			Boundary done = boundary[0];

			boundary[0] = boundary[top];
			boundary[top--] = done;
			continue;
		}
		if (tried > MAX_PANELS || top == MAX_DEPTH ||
			!(middle > boundary[0].at && middle < boundary[top].at))
			return br_base_fail(context, BR_ERR_NUMERIC,
								"The probabilities of %d independent arms do not converge.",
								integral->arms->n);
		set_boundary(integral, &boundary[++top], middle);
	}
	return BR_OK;
}

BrStatus
br_bandit_order_finish(BrContext *context, int n, const int *competing, int total, int slots,
					   const double *found, int wanted, double *probability)
{
	memset(probability, 0, sizeof(double) * (size_t) total * (size_t) wanted);
	for (int k = 0; k < slots; k++)
	{
		double sum = 0;

		for (int i = 0; i < n; i++)
			sum += found[(size_t) i * (size_t) slots + (size_t) k];
		if (!(fabs(sum - 1) <= 1e-8))
			return br_base_fail(context, BR_ERR_NUMERIC,
								"The probabilities of %d independent arms sum to %.12g.", n, sum);
		for (int i = 0; i < n; i++)
			probability[(size_t) competing[i] * (size_t) wanted + (size_t) k] =
				found[(size_t) i * (size_t) slots + (size_t) k] / sum;
	}
	return BR_OK;
}

int
br_bandit_competing(int total, const bool *skip, int *competing)
{
	int n = 0;

	for (int i = 0; i < total; i++)
	{
		if (skip == NULL || !skip[i])
			competing[n++] = i;
	}
	return n;
}
