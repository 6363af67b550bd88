/*
 * promote_int.h
 *	  What the files of the promote room share.
 */
#ifndef BR_PG_PROMOTE_INT_H
#define BR_PG_PROMOTE_INT_H

#include "datatype/timestamp.h"

#include "pg/learn/data.h"
#include "pg/promote/promote.h"

/* parameters.c */

typedef enum BrPgGateTask
{
	BR_PG_GATE_ANY, /* completion, or where nothing can be completed next_item */
	BR_PG_GATE_COMPLETION,
	BR_PG_GATE_NEXT_ITEM
} BrPgGateTask;

typedef struct BrPgGateOptions
{
	BrPgGateTask task;
	const char *metric; /* "hit_rate", "ndcg" or "mrr" */
	int k;				/* places that count; of mrr all do */
	int cases;			/* at least so many */
	double latency;		/* most that one embedding may take, by what it takes now */
	double coverage;	/* least share of things shown, by that of now */
} BrPgGateOptions;

/* Defaults, and what is given. Raises 22023. */
extern BrPgGateOptions br_pg_gate_options(Jsonb *given);

/* cases.c: sessions that neither model has learned from, and no gate asked about */

/* One thing hidden among all items of the source, given others. */
typedef struct BrPgCase
{
	int32 session;	  /* cases of one are not independent */
	int hidden;		  /* index of an item */
	int n;			  /* at least 1 */
	int32_t *context; /* (n): indices of items, without the hidden one */
} BrPgCase;

typedef struct BrPgCases
{
	BrPgGateTask task; /* which it came to */
	TimestampTz from;  /* sessions began after that; DT_NOBEGIN: whenever */
	TimestampTz until; /* the last event of any of them; from where there is none */
	int64 sessions;	   /* that are used up */
	int n;
	BrPgCase *cases; /* (n) */
} BrPgCases;

/*
 * Those of the catalog that began after whatever was learned or asked about, for
 * two models. data: items and bundles. In the current memory context.
 */
extern BrPgCases br_pg_gate_cases(const BrPgLearnData *data, const int32 models[2],
								  BrPgGateTask task);

/* sides.c: what a model makes of all items */

typedef struct BrPgSide
{
	int32 model;
	const char *name; /* among the board's methods */
	int dims;
	float *vectors;	   /* (n_items, dims), of unit length, or all 0 */
	bool *has_vector;  /* (n_items) */
	double unembedded; /* share of the items with text of which it makes none */
} BrPgSide;

/*
 * Fills all but model and name: takes the embeddings that the catalog holds of it,
 * and makes those that are missing, a text that several items have once. data:
 * items with texts. In the current memory context.
 */
extern void br_pg_side_fill(BrPgSide *side, const BrPgLearnData *data);

/* Median milliseconds of one text at a time, by turns; NaN where none has a vector on both sides. */
extern void br_pg_sides_time(const BrPgSide sides[2], const BrPgLearnData *data,
							 double milliseconds[2]);

/* gate.c */

/* A gate at work. */
typedef struct BrPgGateRun
{
	BrPgCatalog *catalog;
	int32 model; /* the candidate */
	BrPgGateOptions options;
	double margin;
	Oid by;
	double difference; /* of the metric, case by case */
	double difference_error;
	BrPgVerdict *verdict;
} BrPgGateRun;

/*
 * Reads what is asked for, and holds the catalog, its model and the candidate until
 * the transaction ends; waits for another gate of the catalog.
 */
extern void br_pg_gate_open(BrPgGateRun *run, const BrPgPromotion *promotion);

/* Fills its verdict, and writes it down where there were enough cases. */
extern void br_pg_gate_run(BrPgGateRun *run);

#endif /* BR_PG_PROMOTE_INT_H */
