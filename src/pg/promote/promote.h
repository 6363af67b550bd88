/*
 * promote.h
 *	  The door of the life of models: a gate that they must pass before they serve
 *	  a catalog, the way back, and which of them may go.
 *
 * A gate asks the model in service and a candidate about the same sessions, none
 * of which either has learned from, nor any earlier gate has asked about: figures
 * over sessions that decided something before would tell how well one has chosen,
 * not how well one will be served. SPI must be connected for all of these.
 */
#ifndef BR_PG_PROMOTE_H
#define BR_PG_PROMOTE_H

#include "pg/br_pg.h"

#include "utils/jsonb.h"

/* What a candidate must meet. NaN: there is no such number. */
typedef struct BrPgCondition
{
	const char *name; /* "cases", the metric, "unembedded", "latency" or "coverage" */
	double before;	  /* of the model in service */
	double after;	  /* of the candidate */
	double value;	  /* what is held against the bound */
	double bound;
	bool held;
} BrPgCondition;

#define BR_PG_CONDITIONS 5

typedef struct BrPgVerdict
{
	int64 gate;	 /* its number; 0: there were too few cases, and no session was used up */
	bool passed; /* all conditions hold */
	bool forced; /* no gate was asked */
	int64 job;	 /* that moves the catalog to the candidate; 0: it stays with its model */
	int n;
	BrPgCondition conditions[BR_PG_CONDITIONS]; /* (n) */
	const char *summary; /* a sentence: what did not hold, or that all did; palloc'd */
} BrPgVerdict;

/* What is asked for. */
typedef struct BrPgPromotion
{
	const char *catalog;
	int32 model;	   /* number of the candidate */
	double margin;	   /* that the lower bound of the difference must exceed, finite */
	bool force;		   /* br_pg_promote alone: without a gate */
	Jsonb *parameters; /* NULL: none; see parameters.c */
} BrPgPromotion;

/*
 * Judges the candidate and writes the gate down; the sessions are used up. Rows
 * that it reads are those committed now. Cancellable. The model, and that in
 * service, cannot be dropped before the transaction ends; another gate of the
 * catalog waits. Raises 42704, 42501, 22023, 25006, and 55000 where the catalog has
 * no model or the candidate is the one in service.
 */
extern BrPgVerdict *br_pg_gate(const BrPgPromotion *promotion);

/*
 * The same, and where it passed, or force says so, names the candidate as the
 * catalog's next model and queues the refresh that moves it, with the rights of
 * the current user. Raises 55000 also where the catalog is moving to a model
 * already, or has come to another one while the gate ran. All of it takes effect
 * when the transaction commits. Fit for a background worker.
 */
extern BrPgVerdict *br_pg_promote(const BrPgPromotion *promotion);

/*
 * A move that is under way ends; otherwise the catalog moves to the model that
 * served it before, and the number of the job that does it is returned. 0: no job
 * is needed. Raises 42704, 42501, 25006, and 55000 where there was no model before.
 */
extern int64 br_pg_rollback(const char *catalog);

/*
 * Drops models that were made of others, that the current user may drop and that
 * no catalog uses, moves to or would go back to, except the latest `keep` of each
 * catalog that they were made for; what a transaction holds stays. Returns the
 * names, *n of them. Raises 22023, 25006.
 */
extern char **br_pg_prune_models(int keep, int *n);

#endif /* BR_PG_PROMOTE_H */
