/*
 * off_policy_int.h
 *	  What the files of the off-policy estimators share: how a value and its
 *	  error come from sums.
 */
#ifndef BR_OFF_POLICY_INT_H
#define BR_OFF_POLICY_INT_H

#include "core/eval/br_eval.h"

/* Larger counts would not be exact. */
#define BR_EVAL_MAX_ROWS 9007199254740992.0

/* Whether the estimator divides by the sum of weights. */
extern bool br_eval_is_normalised(BrEstimator estimator);

/* Whether it has weights at all. */
extern bool br_eval_is_weighted(BrEstimator estimator);

/*
 * The value that the sums n, w, z, e over all rows give, z - centre w for z, and,
 * unless NULL, the coefficients by which the same sums of a part are that part's
 * share of the value's error. NaN where all weights of a ratio are 0.
 */
extern double br_eval_value(BrEstimator estimator, double centre, const double *sums /* (4) */,
							double *coefficients /* (4) */);

/* Whether estimator is the number of one. */
extern bool br_eval_is_estimator(double estimator);

/* Adds a row's figures to a state. */
extern BrStatus br_eval_add_terms(BrContext *context, double *state /* (BR_STATE_SIZE) */, double w,
								  double max_weight, double z, double e);

/* BR_ERR_ARGUMENT unless a level of confidence is in (0, 1). */
extern BrStatus br_eval_check_level(BrContext *context, double level);

/* BR_ERR_ARGUMENT unless state and other, neither empty, are of one estimator and parameter. */
extern BrStatus br_eval_check_same(BrContext *context, const double *state, const double *other);

#endif /* BR_OFF_POLICY_INT_H */
