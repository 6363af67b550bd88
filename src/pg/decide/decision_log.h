/*
 * decision_log.h
 *	  Reading the log of decisions, and adding feedback to it.
 */
#ifndef BR_DECISION_LOG_H
#define BR_DECISION_LOG_H

#include "pg/br_pg.h"

#include "funcapi.h"

#include "pg/catalog/catalog.h"

/* The low bits of a decision id count decisions, the high ones name the catalog. */
#define BR_PG_DECISION_NUMBER_BITS 40

/*
 * The catalog whose log a decision id belongs to. SPI must be connected.
 * Raises 42704 where no catalog has that number.
 */
extern BrPgCatalog *br_pg_decision_catalog(int64 decision_id);

/* Raises 42704: the log has no such decision. */
extern void br_pg_decision_unknown(int64 decision_id) pg_attribute_noreturn();

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
} BrPgFeedback;

/*
 * Records it once: true if it is new, false if the same event is there
 * already. Raises 42704 for an unknown decision, 22023 for a rank that was not
 * offered, 23505 where the event id stands with other content.
 */
extern bool br_pg_add_feedback(const BrPgFeedback *feedback);

#endif /* BR_DECISION_LOG_H */
