/*
 * harness.h
 *	  Which learner finds what was hidden: tasks over a catalog's own events.
 *
 * For each seed the events are split; learners, and the ranker over them, are
 * fitted to the training part by the very code that fit runs; then cases of the
 * test part are ranked by all of them. What a test unit did reaches no learner.
 */
#ifndef BR_PG_HARNESS_H
#define BR_PG_HARNESS_H

#include "pg/harness/board.h"
#include "pg/learn/model.h"

typedef enum BrPgTaskNumber
{
	BR_PG_TASK_COMPLETION,	/* a set lacks one item */
	BR_PG_TASK_NEXT_ITEM,	/* what a user took last */
	BR_PG_TASK_BUNDLE,		/* one curated bundle of each buyer is hidden */
	BR_PG_TASK_COLD_BUNDLE, /* a fifth of the bundles was never bought */
	BR_PG_TASK_DETECTION	/* which of a session's items make a bundle */
} BrPgTaskNumber;

typedef enum BrPgSplitNumber
{
	BR_PG_SPLIT_SESSION, /* basket_id of the events; a curated bundle of a test session is unknown in training */
	BR_PG_SPLIT_USER,
	BR_PG_SPLIT_BASKET, /* where no user has several */
	BR_PG_SPLIT_TIME	/* the last fifth */
} BrPgSplitNumber;

typedef struct BrPgEvaluation
{
	const BrPgCatalog *catalog;
	const BrPgLearnData *data;
	BrPgTaskNumber task;
	BrPgSplitNumber split;
	int first_seed;
	int seeds;
	BrPgBoard *board;
	BrPgLooks *looks; /* shared by all seeds */
} BrPgEvaluation;

/* What an evaluation is asked for. */
typedef struct BrPgEvaluationRequest
{
	const char *catalog;
	const char *task;
	const char *split; /* NULL: as the data suggest */
	int first_seed;	   /* of so many that follow each other */
	int seeds;
	const int *k; /* (n_k) */
	int n_k;
	const char *baseline; /* NULL: that of the task */
} BrPgEvaluationRequest;

/*
 * Runs an evaluation and writes it down where the transaction may write; *n
 * figures, palloc'd. SPI must be connected. Raises 42704, 42501, 22023, and 55000
 * where the data have nothing that the task could ask about.
 */
extern BrPgFigure *br_pg_evaluate_learners(const BrPgEvaluationRequest *request, int *n);

/* One seed of a task. */
extern void br_pg_evaluate_items(BrPgEvaluation *evaluation, const char *seed);
extern void br_pg_evaluate_bundles(BrPgEvaluation *evaluation, const char *seed);
extern void br_pg_evaluate_detection(BrPgEvaluation *evaluation, const char *seed);

/* split_units.c: what belongs to the test part */

typedef struct BrPgParts
{
	bool *train;		/* (n_events) */
	bool *test;			/* (n_events) */
	bool *bundle_known; /* (n_bundles): no test unit has it; NULL where it does not matter */
} BrPgParts;

/*
 * Parts of the events: a unit whose md5(id || seed) is 0 modulo 5 is tested; by
 * time, what happened in the last fifth. hide_bundles: curated bundles of test
 * units are unknown in training, and nobody's purchase of them is seen there.
 * Raises 55000 where events have no such unit or all one time, or a basket split
 * would put a user on both sides.
 */
extern BrPgParts br_pg_split_events(const BrPgEvaluation *evaluation, const char *seed,
									bool hide_bundles);

/*
 * The unit of an event under the split: an index of users or of baskets; -1: none.
 * By time nothing is parted by units, but cases of one user are no more
 * independent: his index, or of nobody's basket its own behind those of all users.
 */
extern int32 br_pg_split_unit(const BrPgEvaluation *evaluation, const BrPgLearnEvent *event);

/* The unit of each basket that holds something of the test part, (n_baskets); -1 of others. */
extern int32 *br_pg_split_basket_units(const BrPgEvaluation *evaluation, const bool *test);

#endif /* BR_PG_HARNESS_H */
