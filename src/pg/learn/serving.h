/*
 * serving.h
 *	  What the versions in service say of items and bundles, for a decision.
 *
 * Scores are those of the models that rankers are fitted over (model.h), from
 * stored lists that are shorter: the strongest of each thing in the context.
 */
#ifndef BR_PG_LEARN_SERVING_H
#define BR_PG_LEARN_SERVING_H

#include "core/bundle/br_bundle.h"
#include "pg/learn/learn_int.h"

typedef struct BrPgServing
{
	int32 catalog;
	int32 version[BR_PG_N_KINDS]; /* 0: none serves */
	BrRanker ranker;			  /* weights of version[BR_PG_KIND_RANKER] */
	BrRanker bundle_ranker;
	double als_lambda;
	double als_alpha;
} BrPgServing;

/* Whatever serves a catalog, under the active snapshot; palloc'd. */
extern BrPgServing *br_pg_serving_open(int32 catalog);

/*
 * The weights by which a decision scores: those of the ranker in service, or
 * NULL where none is. *version: its number, 0.
 */
extern const BrRanker *br_pg_serving_ranker(const BrPgServing *serving, bool curated,
											int32 *version);

/* Something that a kind says: of a thing in the context, or with from 0 of nothing in particular. */
typedef void (*BrPgSaid)(void *state, BrPgKindNumber kind, int32 from, int32 other, float weight);

/*
 * Calls said for up to `most` of the strongest that each serving list-learner of
 * bundles, or of items, has for each of n things, and for all that it says of none
 * in particular, by version and thing. In an owner section.
 */
extern void br_pg_serving_lists(const BrPgServing *serving, bool of_bundles, const int32 *things,
								int n, int most, BrPgSaid said, void *state);

/* The same of one kind's lists. */
extern void br_pg_serving_list(const BrPgServing *serving, BrPgKindNumber kind, const int32 *things,
							   int n, int most, BrPgSaid said, void *state);

/*
 * The vector that ALS gives whoever wants n items so much, with that of the
 * items: (dims), palloc'd; NULL where ALS does not serve or knows none of them.
 * In an owner section.
 */
extern float *br_pg_serving_fold_in(const BrPgServing *serving, const int32 *items,
									const float *strength, int n, int *dims);

#endif /* BR_PG_LEARN_SERVING_H */
