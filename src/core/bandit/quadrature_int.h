/*
 * quadrature_int.h
 *	  What the files of the quadrature share: independent arms on one axis, and
 *	  the integration of who stands where in their order.
 */
#ifndef BR_QUADRATURE_INT_H
#define BR_QUADRATURE_INT_H

#include "core/bandit/br_bandit.h"
#include "core/math/br_math.h"

/*
 * Independent arms along an axis t. cdf and density are with respect to t; an
 * arm may be constant over an interval (a point outside of it).
 */
typedef struct BrIndependentArms
{
	int n;
	void *arg;
	/* P(arm <= t) of each arm */
	void (*cdf)(void *arg, double t, double *cdf /* (n) */);
	/* prepares the Gauss nodes of a panel, which the densities that follow are asked at */
	void (*enter)(void *arg, double left, double right);
	void (*density)(void *arg, int arm, double *density /* (BR_MATH_GAUSS_NODES) */);
	const double *scale; /* (n): panels wider than 3 of them are not even tried; 0: unknown */
	const double *noise; /* (n): error of an arm's cdf, by rounding */
} BrIndependentArms;

typedef struct BrOrderIntegral BrOrderIntegral;

/* From the arena; slots: 1 .. arms->n. NULL: no memory. */
extern BrOrderIntegral *br_bandit_order_create(BrArena *arena, const BrIndependentArms *arms,
											   int slots);

/*
 * Adds to probability[arm * slots + k] the probability that the arm is the
 * (k+1)-th largest with a value between left and right. BR_ERR_NUMERIC: does
 * not converge; BR_ERR_CANCELLED.
 */
extern BrStatus br_bandit_order_integrate(BrContext *context, BrOrderIntegral *integral,
										  double left, double right,
										  double *probability /* (n, slots) */);

/* P(at most k of the arms exceed t) for k below slots, in at_most. */
extern void br_bandit_order_exceed(BrOrderIntegral *integral, double t,
								   double *at_most /* (slots) */);

/* P(exactly k exceed) for k below slots, from each one's P(<= t). */
extern void br_bandit_order_count(const double *cdf /* (n) */, int n, int slots,
								  double *exactly /* (slots) */);

/*
 * Makes each slot's probabilities sum to 1, from which they differ by the
 * error of integration, and puts those of the competing arms where they
 * belong. BR_ERR_NUMERIC: by more than 1e-8.
 */
extern BrStatus br_bandit_order_finish(BrContext *context, int n, const int *competing, int total,
									   int slots, const double *found /* (n, slots) */, int wanted,
									   double *probability /* (total, wanted) */);

/* The members that compete, ascending; their number. */
extern int br_bandit_competing(int total, const bool *skip, int *competing /* (total) */);

#endif /* BR_QUADRATURE_INT_H */
