/*
 * proposals.h
 *	  Items that some evidence speaks for, before anything else is known of them.
 */
#ifndef BR_PROPOSALS_H
#define BR_PROPOSALS_H

#include "pg/decide/decide.h"

#include "utils/hsearch.h"

/* content_from: an index into the context, or one of these */
#define BR_PG_FROM_NOTHING (-1)
#define BR_PG_FROM_QUERY (-2)

typedef struct BrPgProposal
{
	int32 item; /* the key */
	int content_from;
	double similarity;
	double content; /* similarity, weighted by its source */
	int copurchase_from;
	int64 together;
	double copurchase; /* shrunk cosine, weighted by its source */
	double strength;   /* both, blended: set by br_pg_proposals_sorted */
} BrPgProposal;

extern HTAB *br_pg_proposals_create(void);

/* The proposal of an item, new and without evidence if it was not there. */
extern BrPgProposal *br_pg_propose(HTAB *proposals, int32 item);

/* Proposes what the context and the query speak for. */
extern void br_pg_propose_evidence(const BrPgDecision *decision, HTAB *proposals);

/* All proposals, the strongest first, ties by item number. */
extern BrPgProposal **br_pg_proposals_sorted(HTAB *proposals, int *n);

#endif /* BR_PROPOSALS_H */
