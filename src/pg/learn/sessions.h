/*
 * sessions.h
 *	  Baskets as sessions that somebody made bundles in: what the learner of
 *	  detection reads, and what its evaluation asks about.
 */
#ifndef BR_PG_LEARN_SESSIONS_H
#define BR_PG_LEARN_SESSIONS_H

#include "core/bundle/br_bundle.h"
#include "pg/learn/learn_int.h"

/* What was in one basket, looked at or bought, bundles taken apart. */
typedef struct BrPgSession
{
	int32 basket;
	int n;			/* items, 2 .. BR_BUNDLE_MAX_SESSION */
	int32_t *items; /* (n): indexes of items, ascending */
	int n_bundles;	/* different curated bundles of two items and more that were bought in it */
	int *starts;	/* (n_bundles + 1) */
	int *members;	/* (starts[n_bundles]): places in items, ascending within a bundle */
} BrPgSession;

/* Those of the events in `use` that hold a bundle, in the order of their baskets; *n of them. */
extern BrPgSession *br_pg_sessions(const BrPgLearnData *data, const bool *use, int *n);

/* ---- what speaks for pairs ---- */

/* An item as detection sees it. */
typedef struct BrPgPairItem
{
	const char *text;		/* NULL: none */
	const char *category;	/* NULL: none */
	const float *embedding; /* (dims), of unit length, or all 0; NULL: none */
	int dims;
} BrPgPairItem;

/*
 * Features of all pairs of a session; of copurchase they are not written, but 0.
 * What it allocates is freed.
 */
extern void br_pg_pair_features(const BrPgPairItem *items, int n,
								float *features /* (n, n, BR_PAIR_COUNT) */);

/* Purchases of the training part, for the copurchase of pairs. */
typedef struct BrPgPurchases BrPgPurchases;
extern BrPgPurchases *br_pg_purchases_create(const BrPgLearnData *data, const bool *use,
											 const BrPgSession *sessions, int n);

/*
 * All features of a session's pairs, by these embeddings of the data's items
 * (n_items, dims; NULL: none); what its own basket says of copurchase is left out.
 */
extern void br_pg_session_features(const BrPgLearnData *data, const float *embeddings,
								   const BrPgPurchases *purchases, const BrPgSession *session,
								   float *features /* (n, n, BR_PAIR_COUNT) */);

/* ---- how well sets name the bundles of a session ---- */

typedef struct BrPgDetected
{
	double exact; /* share of its bundles that are among the sets */
	/*
	 * Harmonic mean of two means of the best Jaccard index: over the sets, each with
	 * the bundle most like it, and over the bundles, each with the set most like it.
	 */
	double f1;
} BrPgDetected;

extern double br_pg_best_jaccard(const BrPgSession *session, const int *members, int size);
extern BrPgDetected br_pg_judge_sets(const BrPgSession *session, const int *starts,
									 const int *members, const int *chosen /* (n) */, int n);

/* ---- a detector as it is stored (learn_detector.c) ---- */

#define BR_PG_DETECTOR_WEIGHTS (1 + BR_PAIR_COUNT + 1 + BR_SET_COUNT + 1)

/* Weights of pairs, weights of sets, the threshold: (BR_PG_DETECTOR_WEIGHTS), palloc'd. */
extern double *br_pg_detector_weights(const BrDetector *detector);
extern void br_pg_detector_read(const double *weights, BrDetector *detector);

#endif /* BR_PG_LEARN_SESSIONS_H */
