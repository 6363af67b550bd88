/*
 * br_eval.h
 *	  The door of the eval room: what decisions were worth.
 *
 * Every statistic is a sum over rows, kept in a flat array of doubles that is
 * merged by addition or by Chan's formula, so that the parts of a table can be
 * summed by parallel workers or on other servers. Deterministic figures equal
 * the formulas of their sources to 1e-9.
 */
#ifndef BR_EVAL_H
#define BR_EVAL_H

#include "core/base/br_base.h"

/* ---- ranking metrics (ranking.c) ---- */

/* ---- off-policy estimators (off_policy.c, reward_model.c) ---- */

/* ---- experiments (experiment.c, sequential.c) ---- */

/* ---- drawings (svg.c) ---- */

#endif /* BR_EVAL_H */
