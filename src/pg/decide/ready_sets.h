/*
 * ready_sets.h
 *	  Sets that are there already, curated bundles and mined sets, in the pool of
 *	  generated ones.
 */
#ifndef BR_READY_SETS_H
#define BR_READY_SETS_H

#include "pg/decide/decide.h"

/* A set of candidates, each of them once. */
typedef struct BrPgReadySet
{
	char *curated_id; /* NULL: a mined set */
	double own_price; /* of a curated one, in millionths; NaN: it has none */
	double strength;
	int size;
	int32 items[BR_BUNDLE_MAX_SIZE]; /* dense numbers, ascending */
} BrPgReadySet;

/* Ready sets take at most so many places in a pool. */
#define BR_PG_READY_SETS 32

typedef struct BrPgReadySets
{
	int n;
	BrPgReadySet sets[2 * BR_PG_READY_SETS]; /* the strongest first */
} BrPgReadySets;

/*
 * Sets whose items all may be offered, of a size that the request asks for. Their
 * items join the decision's, marked as ready_only where they were none before.
 * NULL where there are none, or the request is not for bundles.
 */
extern BrPgReadySets *br_pg_ready_sets(BrPgDecision *decision);

/*
 * Puts those that meet the constraints into the pool, as far as it goes; what is
 * curated is judged by its own price. Sets curated_ids of the decision.
 */
extern void br_pg_ready_sets_add(BrPgDecision *decision, const BrPgReadySets *sets,
								 const BrCandidate *candidates, const BrAffinity *affinity);

#endif /* BR_READY_SETS_H */
