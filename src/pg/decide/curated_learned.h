/*
 * curated_learned.h
 *	  What learners in service say of curated bundles.
 */
#ifndef BR_CURATED_LEARNED_H
#define BR_CURATED_LEARNED_H

#include "pg/decide/curated.h"

/*
 * What the lists in service say to who owns these bundles, NULL: to nobody in
 * particular. Returns NULL where no learner or ranker of bundles serves.
 */
extern BrPgCuratedLearned *br_pg_curated_learned(const BrPgRequest *request,
												 const BrPgOwned *owned);

/*
 * Up to `room` bundles that they speak for, the strongest first; and such that no
 * buyer of the owned ones has, but that are like what those buyers have. Neither
 * holds an owned bundle where the request excludes them.
 */
extern int32 *br_pg_curated_learned_best(const BrPgCuratedLearned *learned, int room, int *n);
extern int32 *br_pg_curated_learned_like(BrPgCuratedLearned *learned, int room, int *n);

/* Reads which bundles are like the n offered ones, each of which is given once. */
extern void br_pg_curated_learned_compare(BrPgCuratedLearned *learned, const BrPgOffer *offers,
										  int n);

/*
 * Evidence of one of them, as the ranker of bundles was fitted to it
 * (pg/learn/model.h). most: purchases of the most purchased bundle.
 */
extern void br_pg_curated_learned_evidence(const BrPgCuratedLearned *learned, int32 bundle,
										   int64 purchases, int64 most,
										   double *evidence /* (BR_LEARNED_COUNT) */);

#endif /* BR_CURATED_LEARNED_H */
