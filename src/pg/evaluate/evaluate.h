/*
 * evaluate.h
 *	  What another policy would have earned, from the log of what was decided.
 *
 * The path: rows of a log, with what could be chosen and what was (log.c, and
 * log_given.c, log_own.c for where they come from); each row's weight and
 * predictions, kept (frozen.c), and the estimates (estimates.c); or a candidate
 * that learns while it goes through the log (replay.c); and what should make
 * the reader doubt the figures (alarms.c). SPI must be connected.
 */
#ifndef BR_EVALUATE_H
#define BR_EVALUATE_H

#include "pg/br_pg.h"

#include "core/eval/br_eval.h"
#include "pg/policy/policy.h"

/* Estimators of one call at most: each once. */
#define BR_PG_MAX_ESTIMATORS 16

/* What is asked. */
typedef struct BrPgEvaluation
{
	BrPgPolicy *candidate; /* as of the version that is evaluated */
	const char *query;	   /* of the log; NULL: its own */
	bool learning;
	int n_estimators;
	BrEstimator estimators[BR_PG_MAX_ESTIMATORS];
	double cap, tau, lambda; /* of clipped_ips, switch_dr, dr_os */
	double level;			 /* of intervals, in (0, 1) */
	bool logistic;			 /* the reward model; otherwise ridge */
	int folds;
	double penalty;
	int batch; /* rows that a learning candidate learns together */
	uint64 seed;
} BrPgEvaluation;

/* One row of the answer; what is not a number is NULL. */
typedef struct BrPgEstimate
{
	BrEstimator estimator;
	BrEstimate estimate;
	double lower;
	double upper;
	const char *warning; /* NULL: none */
} BrPgEstimate;

/*
 * estimates: (n_estimators), in the order asked. Raises 22023 for rows that
 * make no sense (their number is in the message), and 0A000 for what cannot be
 * evaluated, with the reason.
 */
extern void br_pg_evaluate(const BrPgEvaluation *evaluation, BrPgEstimate *estimates);

#endif /* BR_EVALUATE_H */
