/*
 * train.h
 *	  The door of training: models that are fine-tuned on what a shop sells.
 *
 * A training is a job of the background worker. It reads what it learns from in
 * one snapshot and keeps a copy of its own, so that whoever resumes it needs
 * nothing that may have changed since; then it computes outside of transactions,
 * and writes down what it would go on from now and then.
 */
#ifndef BR_PG_TRAIN_H
#define BR_PG_TRAIN_H

#include "pg/br_pg.h"

#include "utils/jsonb.h"

/* What is asked for. */
typedef struct BrPgTrainRequest
{
	const char *catalog;
	const char *objective;
	const char *method;
	const char *query;		/* NULL: what the catalog knows */
	const char *model_name; /* of the model that comes of it; NULL: named after the job */
	Jsonb *parameters;
	bool promote;
} BrPgTrainRequest;

/*
 * Checks all of it and queues the job, with the rights of the current user; it
 * starts when the transaction commits. Returns its number. SPI must be connected.
 * Raises 42704, 42501, 22023, 42710 where the name is taken, 55000 where the
 * catalog has no model, 55006 where another training of it has not ended, and
 * 42703, 42804 and 0A000 for what is wrong with the query.
 */
extern int64 br_pg_train_queue(const BrPgTrainRequest *request);

/*
 * In a worker, outside of a transaction: does the job, or what is left of it, and
 * ends it. memory: of the job; an error may leave something there. Returns without
 * a word where the job was cancelled or dropped meanwhile.
 */
extern void br_pg_train_work(int64 job, Oid role, MemoryContext memory);

#endif /* BR_PG_TRAIN_H */
