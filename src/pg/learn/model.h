/*
 * model.h
 *	  All that was learned of one training, as something that scores items and
 *	  bundles: what rankers are fitted over and what evaluations compare.
 *
 * Features are those that a decision computes from the stored versions, for
 * every item or bundle at once.
 */
#ifndef BR_PG_LEARN_MODEL_H
#define BR_PG_LEARN_MODEL_H

#include "core/bundle/br_bundle.h"
#include "pg/learn/learn_int.h"

typedef struct BrPgModel
{
	BrPgTraining *training;
	BrPgLearned *learned[BR_PG_N_KINDS]; /* NULL: not supported, or not asked for */
	BrLists copurchase;					 /* shrunk cosine over sets */
	float *popularity;					 /* (n_items) */
	float *bundle_purchases;			 /* (n_bundles) */
	double most_purchases;
	float *work; /* (max of n_items, n_bundles) */
	MemoryContext memory;
} BrPgModel;

/* Fits those kinds that the data support; a bit for each. */
extern BrPgModel *br_pg_model_fit(BrPgTraining *training, uint32 kinds);
extern void br_pg_model_free(BrPgModel *model);

/*
 * Features of every item as a bundle of its own, in the schema of decisions, but
 * for the score: (n_items, BR_FEATURE_COUNT). context: indexes of items.
 */
extern void br_pg_model_item_features(const BrPgModel *model, const int32_t *context, int n,
									  float *features);

/* The same of every curated bundle for who owns n bundles. */
extern void br_pg_model_bundle_features(const BrPgModel *model, const int32_t *owned, int n,
										float *features);

/* What one list-learner says of all things: scores, of n_items or n_bundles, are overwritten. */
extern void br_pg_learned_scores(const BrPgLearned *learned, const int32_t *context, int n,
								 float *scores, int n_scores);

/*
 * What a thing of the context counts for in what a kind says, where all of them
 * weigh so much together: 1 over that, to a power that is the kind's own.
 */
extern double br_pg_kind_share(BrPgKindNumber kind, double weight);

/*
 * What is said of a bundle as the like of another: the share of the owned bundles'
 * buyers who have it, a mean over those, and 1 more where it is owned itself.
 */
extern double br_pg_likeness_said(double companions, bool owned);

/*
 * What its likes say of a bundle that was bought so often: the mean of what is said
 * of them, by how alike they are. alike: the sum of the products; likeness: how
 * alike they are in all.
 */
extern double br_pg_likeness_share(double alike, double likeness, double purchases);

/* The score that two vectors of ALS make, within the range of features. */
extern double br_pg_factor_score(const float *user, const float *item, int dims);

/* Which feature a kind gives; -1: none. */
extern int br_pg_kind_feature(BrPgKindNumber kind);

#endif /* BR_PG_LEARN_MODEL_H */
