/*
 * decision_log.h
 *	  Reading the log of decisions, and adding feedback to it.
 */
#ifndef BR_DECISION_LOG_H
#define BR_DECISION_LOG_H

#include "pg/br_pg.h"

#include "funcapi.h"

#include "pg/catalog/catalog.h"

/*
 * The low bits of a decision id count decisions, the high ones are the number
 * of the catalog, or of the policy without one, whose log it stands in.
 */
#define BR_PG_DECISION_NUMBER_BITS 40

/* The id of the next decision in the log of that number. */
extern int64 br_pg_decision_next_id(int32 number);

/* The number of the log that a decision id names. Raises 42704 where none has such a number. */
extern int32 br_pg_decision_number(int64 decision_id);

/* What the draws of an unseeded decision begin with. */
extern uint64 br_pg_decision_key(void);

/*
 * The catalog whose log a decision id belongs to. SPI must be connected.
 * Raises 42704 where no catalog has that number.
 */
extern BrPgCatalog *br_pg_decision_catalog(int64 decision_id);

/* Raises 42704: the log has no such decision. */
extern void br_pg_decision_unknown(int64 decision_id) pg_attribute_noreturn();

/* Raises 42501 unless the caller may SELECT from the source and ask for decisions of it. */
extern void br_pg_require_explained(const BrPgCatalog *catalog);

/*
 * Puts the rows of replay_decision into the result; SPI must be connected.
 * Raises 55000 where the pool was not logged, 42704 for an unknown decision and
 * where its policy or its version is gone.
 */
extern void br_pg_replay_decision(int64 decision_id, ReturnSetInfo *result);

/* Puts the rows of explain_decision into the result; SPI must be connected. */
extern void br_pg_explain_decision(int64 decision_id, ReturnSetInfo *result);

/* One event of feedback on a slot. */
typedef struct BrPgFeedback
{
	int64 decision_id;
	int32 rank;
	const char *kind;
	double value;
	const char *event_id; /* NULL: one event per slot and kind */
	const char *user_id;  /* whose decision it must be; NULL: anybody's */
} BrPgFeedback;

/*
 * Records it once: true if it is new, false if the same event is there
 * already. Raises 42704 for an unknown decision, 22023 for a rank that was not
 * offered, 23505 where the event id stands with other content, 42501 where the
 * decision was for another user.
 */
extern bool br_pg_add_feedback(const BrPgFeedback *feedback);

/*
 * The same for n events, in an order of its own; returns how many were new. The
 * context of an error names the element, counted from 1.
 */
extern int64 br_pg_add_feedback_batch(const BrPgFeedback *feedback, int n);

#endif /* BR_DECISION_LOG_H */
