/*
 * evaluate_int.h
 *	  What the files of the room of evaluation share: logs as streams of rows,
 *	  and what is gathered over all rows.
 */
#ifndef BR_EVALUATE_INT_H
#define BR_EVALUATE_INT_H

#include "pg/evaluate/evaluate.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

#include "pg/choose/choose.h"
#include "pg/query.h"

/* One slot of a logged decision, in memory that the next row takes. */
typedef struct BrPgLoggedRow
{
	int64 decision; /* the same for all its slots */
	int rank;		/* from 1 */
	bool has_user;
	const char *user; /* NULL: nobody's */
	bool has_time;
	TimestampTz decided_at;
	const BrPgPolicyState *state; /* of the candidate, as of the row's arms */
	BrSlateRequest request;		  /* what could be chosen; features of the candidate */
	const int32 *numbers;		  /* (pool) of arms; NULL: of a catalog */
	char *const *names;			  /* (pool) of arms; NULL: of a catalog */
	int member;					  /* what was */
	int n_earlier;
	const int *earlier; /* (n_earlier): members at earlier slots of the decision */
	double propensity;	/* in (0, 1] */
	double reward;		/* finite */
	bool learned;		/* known to be among what the candidate has learned from */
} BrPgLoggedRow;

#define BR_PG_LOG_COLUMNS 10

typedef struct BrPgLog BrPgLog;

struct BrPgLog
{
	const BrPgEvaluation *evaluation;
	BrPgPolicy policy; /* the candidate, as of the arms of the present row */
	BrPgQuery query;
	BrPgQueryColumn columns[BR_PG_LOG_COLUMNS]; /* of a given query; in log_given.c */
	void (*read)(BrPgLog *log, BrPgLoggedRow *row);
	/* the decision of the row before */
	int64 decision;
	int rank;
	TimestampTz decided_at;
	int n_earlier; /* slots of the decision before this one */
	int room;
	int32 *earlier; /* (room): their arms, or members over a catalog */
	MemoryContext memory;
	MemoryContext row_memory;
};

/* log.c; where a row is wrong these raise 22023, and the message begins with its number */
extern BrPgLog *br_pg_log_open(const BrPgEvaluation *evaluation);
extern bool br_pg_log_next(BrPgLog *log, BrPgLoggedRow *row);
extern void br_pg_log_close(BrPgLog *log);
extern void br_pg_log_refuse(const BrPgLog *log, const char *what) pg_attribute_noreturn();

/* A column of the present row, by its number; false: it is not there, or NULL. */
extern bool br_pg_log_value(const BrPgLog *log, int column, Datum *value);

/* Fills state, request, numbers and member of a row over arms, of which `arm` was chosen. */
extern void br_pg_log_options(BrPgLog *log, const BrPgLoggedOptions *logged, int32 arm,
							  BrPgLoggedRow *row);

/* log_given.c, log_own.c: open the cursor and set read */
extern void br_pg_log_open_given(BrPgLog *log);
extern void br_pg_log_open_own(BrPgLog *log);
extern void br_pg_log_open_catalog(BrPgLog *log);

/* The key of a row's draws. */
extern uint64 br_pg_evaluation_key(const BrPgEvaluation *evaluation, int64 row);

/* ---- alarms (alarms.c) ---- */

/* What is gathered over the rows for the reader's doubts. */
typedef struct BrPgSupport
{
	int n;			  /* arms, by number from 0 */
	bool *logged;	  /* (n): whether the log ever holds it */
	double *expected; /* (n): probability that the candidate gave it, summed over rows */
	char **names;	  /* (n) */
	MemoryContext memory;
	int64 rows;
	int64 learned; /* of them, those that the candidate has learned from */
} BrPgSupport;

extern void br_pg_support_add(BrPgSupport *support, const BrPgLoggedRow *row,
							  const double *probability /* (pool) */);

/*
 * What is wrong with an estimate's weights, palloc'd, and NULL where nothing is.
 * weight_error: standard error of the mean weight; NaN: none.
 */
extern char *br_pg_alarms(const BrPgSupport *support, BrEstimator estimator,
						  const BrEstimate *estimate, double weight_error);

/* ---- estimates from figures (estimates.c) ---- */

/* What a row has become. */
typedef struct BrPgFigures
{
	int64 cluster; /* of the user, or of the decision */
	int64 decision;
	int32 rank;
	BrLoggedRow row; /* without parameter; over a replay target is 1 where the candidate agrees */
} BrPgFigures;

typedef struct BrPgGather BrPgGather;

/* clustered: whether rows of a cluster are more than one decision's. */
extern BrPgGather *br_pg_gather_open(const BrPgEvaluation *evaluation, bool clustered);

/* Rows of a cluster, and within it of a decision, follow each other. */
extern void br_pg_gather_add(BrPgGather *gather, const BrPgFigures *figures);
extern void br_pg_gather_close(BrPgGather *gather, const BrPgSupport *support,
							   BrPgEstimate *estimates);

/* Whether an estimator reads whole slates, or predictions. */
extern bool br_pg_reads_slates(BrEstimator estimator);
extern bool br_pg_reads_predictions(BrEstimator estimator);

/* ---- figures sorted by cluster (sorted.c) ---- */

typedef struct BrPgSorted BrPgSorted;

extern BrPgSorted *br_pg_sorted_open(void);

/* more: bytes that come back with the figures */
extern void br_pg_sorted_add(BrPgSorted *sorted, const BrPgFigures *figures, const void *more,
							 Size size);
extern void br_pg_sorted_turn(BrPgSorted *sorted);

/* *more is aligned, and valid until the next call; false at the end. */
extern bool br_pg_sorted_next(BrPgSorted *sorted, BrPgFigures *figures, const void **more,
							  Size *size);
extern void br_pg_sorted_close(BrPgSorted *sorted);

/* ---- predicted rewards (predictions.c) ---- */

typedef struct BrPgPredictions
{
	const BrPgEvaluation *evaluation;
	BrRewardModel *model;
	int n_arms; /* one-hot features of arms, by number; 0 where features tell them apart */
	int dims;
	double *x;			   /* (dims) */
	StringInfoData points; /* of a row: what its predictions need */
	BrContext context;
} BrPgPredictions;

extern BrPgPredictions *br_pg_predictions_open(const BrPgEvaluation *evaluation);

/* Teaches the row, and leaves in points what br_pg_predictions_fill takes. */
extern void br_pg_predictions_add(BrPgPredictions *predictions, const BrPgLoggedRow *row,
								  const double *probability /* (pool) */);
extern void br_pg_predictions_fit(BrPgPredictions *predictions);

/* Sets predicted and expected. */
extern void br_pg_predictions_fill(const BrPgPredictions *predictions, const void *points,
								   BrPgFigures *figures);
extern void br_pg_predictions_close(BrPgPredictions *predictions);

/* ---- two ways ---- */

/* The rows that belong together: the user's, or the decision's. */
extern int64 br_pg_cluster_of(const BrPgLoggedRow *row);

extern void br_pg_evaluate_frozen(const BrPgEvaluation *evaluation, BrPgEstimate *estimates);
extern void br_pg_evaluate_learning(const BrPgEvaluation *evaluation, BrPgEstimate *estimates);

#endif /* BR_EVALUATE_INT_H */
