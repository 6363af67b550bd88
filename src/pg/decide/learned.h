/*
 * learned.h
 *	  What learners in service say of the items of a decision.
 */
#ifndef BR_DECIDE_LEARNED_H
#define BR_DECIDE_LEARNED_H

#include "pg/decide/proposals.h"

/*
 * Proposes what the versions in service speak for in this context; in an owner
 * section. Nothing where no learner serves.
 */
extern void br_pg_propose_learned(BrPgDecision *decision, HTAB *proposals);

/* Learned evidence of an item whose proposal it is, into its candidate. */
extern void br_pg_learned_fill(const BrPgDecision *decision, const BrPgProposal *proposal,
							   BrCandidate *candidate);

/* The part of it that needs the items' vectors; in an owner section. */
extern void br_pg_learned_factors(const BrPgDecision *decision, BrPgItem *items, int n);

#endif /* BR_DECIDE_LEARNED_H */
