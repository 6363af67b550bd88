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
	double learned[BR_LEARNED_COUNT];
	bool learned_any; /* a learner lists it */
	bool fetched;
	double strength; /* all of that, blended: set by br_pg_proposals_sorted */
} BrPgProposal;

extern HTAB *br_pg_proposals_create(void);

/* The proposal of an item, new and without evidence if it was not there. */
extern BrPgProposal *br_pg_propose(HTAB *proposals, int32 item);

/* Proposes what the context and the query speak for. */
extern void br_pg_propose_evidence(BrPgDecision *decision, HTAB *proposals);

/* Whether anything but being popular or new speaks for it. */
extern bool br_pg_proposal_has_evidence(const BrPgProposal *proposal);

/*
 * All proposals, the strongest first, ties by item number. ranker: by whose
 * weights; NULL: affinity.
 */
extern BrPgProposal **br_pg_proposals_sorted(HTAB *proposals, const BrRanker *ranker, int *n);

#endif /* BR_PROPOSALS_H */
