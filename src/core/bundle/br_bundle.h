/*
 * br_bundle.h
 *	  The door of the bundle room: how strongly items belong together, and
 *	  which sets of them to offer.
 *
 * Nothing here knows PostgreSQL. Every function is pure: same inputs, same
 * outputs, on every machine.
 */
#ifndef BR_BUNDLE_H
#define BR_BUNDLE_H

#include "core/base/br_base.h"

/* How often two items, and each of them, were bought. Unit: baskets. */
typedef struct BrPairCounts
{
	int64_t together; /* baskets with both; at most min(left, right) */
	int64_t left;	  /* baskets with the left item; > 0 */
	int64_t right;	  /* baskets with the right item; > 0 */
	int64_t baskets;  /* all baskets; >= left + right - together */
} BrPairCounts;

/*
 * Scores of a pair; N = baskets, a = left, b = right, ab = together:
 *
 *		confidence		ab / a						in [0, 1]
 *		lift			N ab / (a b)				>= 0; 1 means independent
 *		pmi				ln lift						-infinity where ab = 0
 *		npmi			pmi / -ln(ab / N)			in [-1, 1]; -1 where ab = 0, 1 where ab = N
 *		jaccard			ab / (a + b - ab)			in [0, 1]
 *		shrunk_cosine	ab / sqrt(a b) * ab / (ab + shrinkage)	in [0, 1]
 *
 * Sources: Agrawal et al., SIGMOD 1993 (confidence); Brin et al., SIGMOD 1997
 * (lift); Church and Hanks, 1990 (PMI); Bouma, GSCL 2009 (NPMI); Jaccard, 1901;
 * Koren, KDD 2008, section 2.2 (shrinking by support).
 */
typedef struct BrPairScores
{
	double confidence;
	double lift;
	double pmi;
	double npmi;
	double jaccard;
	double shrunk_cosine;
} BrPairScores;

/*
 * shrinkage: pseudo-baskets, >= 0.
 * BR_ERR_ARGUMENT: counts that no set of baskets can have, or a negative or
 * non-finite shrinkage.
 */
extern BrStatus br_bundle_pair_scores(BrContext *context, const BrPairCounts *counts,
									  double shrinkage, BrPairScores *scores);

/* Pseudo-baskets by which scores are shrunk where nobody says otherwise. */
#define BR_BUNDLE_SHRINKAGE 10.0

/* The shrunk cosine alone, of counts known to be possible; 0 where either was never bought. */
extern double br_bundle_shrunk_cosine(int64_t together, int64_t left, int64_t right,
									  double shrinkage);

/*
 * Largest number of items in one bundle that a search makes, and in one that
 * somebody put together; of candidates, and of bundles in a pool.
 */
#define BR_BUNDLE_MAX_SIZE 8
#define BR_BUNDLE_MAX_CURATED_SIZE 100
#define BR_BUNDLE_MAX_CANDIDATES 100
#define BR_BUNDLE_MAX_POOL 256

/* Largest number of different things that every bundle must hold one of. */
#define BR_BUNDLE_MAX_REQUIRED 4

/*
 * What learners say of an item in its context, each 0 where there is no such
 * learner or it knows nothing; learned[x] becomes the feature BR_FEATURE_LEXICAL + x.
 */
typedef enum BrLearnedEvidence
{
	BR_LEARNED_LEXICAL,		/* words in common */
	BR_LEARNED_ASSOCIATION, /* log-linear weights */
	BR_LEARNED_EASE,		/* weights of a linear autoencoder */
	BR_LEARNED_FACTOR,		/* latent factors of who buys what */
	BR_LEARNED_COMPLEMENT,	/* directed similarity of texts */
	BR_LEARNED_TREND,		/* popularity that fades */
	BR_LEARNED_GRAPH,		/* propagation between users, bundles and items */
	BR_LEARNED_COUNT
} BrLearnedEvidence;

/*
 * An item that may become part of a bundle. Evidence is in [0, 1], give or take
 * 1e-6 of rounding, but for what is learned, in [-100, 100]; unknown money is NaN.
 */
typedef struct BrCandidate
{
	int32_t item;	   /* dense id; ties go to the smaller; unique among candidates */
	int32_t category;  /* dense id, -1: none */
	double price;	   /* >= 0, NaN: unknown */
	double cost;	   /* >= 0, NaN: unknown */
	double stock;	   /* units, below 0 counts as 0; INFINITY: not tracked */
	double content;	   /* similarity of text to the context, 0 without context */
	double copurchase; /* shrunk cosine with the context, 0 without context */
	double popularity; /* share of baskets, log-scaled to [0, 1] */
	double freshness;  /* 1 today, halved every 30 days; 0 where unknown */
	double boost;	   /* what the shop adds to the log-odds of a bundle, a mean over its items */
	int category_cap;  /* items of its category in a bundle, the least of them holds; 0: no limit */
	uint32_t meets;	   /* which bits of BrConstraints.required it meets */
	double learned[BR_LEARNED_COUNT];
} BrCandidate;

typedef struct BrRanker BrRanker; /* weights of the score; see below */

/*
 * What a bundle must satisfy. Never violated, and judged on the very numbers
 * that come back: with every sum folded in ascending item id from 0, all in
 * double,
 *
 *		list_price = p1 + p2 + ..., cost = c1 + c2 + ..., price = list_price * (1 - discount),
 *		price <= budget,			(price - cost) / price >= min_margin,
 *
 * which is what SQL's sum(... ORDER BY item) over double precision gives, bit
 * for bit. An unknown price fails a budget; an unknown price or cost, or a
 * price of 0, fails a margin. Category -1 is not capped. Of each bit of required
 * a bundle holds an item that meets it, one item perhaps several.
 */
typedef struct BrConstraints
{
	int min_size;			/* 1 .. max_size */
	int max_size;			/* .. BR_BUNDLE_MAX_SIZE */
	double budget;			/* >= 0; INFINITY: no limit; needs prices */
	double min_margin;		/* <= 1; -INFINITY: no limit; needs prices and costs */
	double discount;		/* fraction taken off the sum of prices, in [0, 1) */
	int category_cap;		/* items of one category in a bundle; 0: no limit */
	uint32_t required;		/* below 1 << BR_BUNDLE_MAX_REQUIRED */
	double typical_price;	/* of one item in this shop or for this user; NaN, 0: unknown */
	const BrRanker *ranker; /* by which bundles are scored; NULL: the fixed weights */
} BrConstraints;

/*
 * Why a search came up short: how many sets of a permitted size each constraint
 * refused. A set that several refuse counts under each of them. Exact for sizes
 * up to 3; of larger ones, how often the beam met one on its way.
 */
typedef struct BrRefusals
{
	int64_t budget;
	int64_t margin;
	int64_t category;
	int64_t required;
} BrRefusals;

/* Features of a bundle, schema 2; the order is that of logged arrays and posteriors. */
typedef enum BrFeature
{
	BR_FEATURE_BIAS,	   /* 1 */
	BR_FEATURE_SCORE,	   /* the calibrated probability of br_bundle_features, in (0, 1) */
	BR_FEATURE_CONTENT,	   /* mean of the items' content */
	BR_FEATURE_COPURCHASE, /* mean of the items' copurchase */
	BR_FEATURE_COHESION,   /* mean affinity over the pairs inside; 0 for one item */
	BR_FEATURE_POPULARITY, /* mean of the items' popularity */
	BR_FEATURE_FRESHNESS,  /* mean of the items' freshness */
	BR_FEATURE_PRICE_FIT, /* exp(-|ln(x)|), x = price per item / typical price; 0.5 where unknown */
	BR_FEATURE_MARGIN,	  /* (price - cost) / price, clipped to [-1, 1]; 0 where unknown */
	BR_FEATURE_STOCK,	  /* s / (s + 10) of the scarcest item; 1 where not tracked */
	BR_FEATURE_LEXICAL,	  /* from here on: mean of the items' learned evidence */
	BR_FEATURE_ASSOCIATION,
	BR_FEATURE_EASE,
	BR_FEATURE_FACTOR,
	BR_FEATURE_COMPLEMENT,
	BR_FEATURE_TREND,
	BR_FEATURE_GRAPH,
	BR_FEATURE_COUNT
} BrFeature;

#define BR_FEATURE_SCHEMA 2

/* Name of a feature as it stands in logs and reasons ("copurchase"); NULL: no such feature. */
extern const char *br_bundle_feature_name(BrFeature feature);

/*
 * Weights of the calibrated score: score = logistic(sum of weight * feature), so
 * that a reader can recompute one from the other. Those of the score itself,
 * of margin and of stock are 0: they are the seller's concern, not the buyer's.
 */
struct BrRanker
{
	double weight[BR_FEATURE_COUNT];
};

/* The weights that serve until a catalog has learned its own; those of learned evidence are 0. */
extern const BrRanker br_bundle_fixed_ranker;

/* One of these. */
extern double br_bundle_feature_weight(BrFeature feature);

/* A feasible bundle. */
typedef struct BrBundle
{
	int size;
	const int *members; /* (size): indexes of candidates by ascending item id */
	double list_price;	/* sum of prices; NaN where one is unknown */
	double price;		/* list_price * (1 - discount), or a curated bundle's own */
	double margin;		/* (price - cost) / price; NaN where unknown or price 0 */
	double strength;	/* what the generator ranked it by; see br_bundle_pool */
	double log_odds;	/* of a curated bundle: br_bundle_purchase_log_odds; else 0 */
} BrBundle;

/*
 * Symmetric affinities of candidate pairs in [0, 1]; the diagonal is not read.
 * NULL: no such evidence. NaN counts as 0, and what is out of range by its end.
 */
typedef struct BrAffinity
{
	const double *content;	  /* (n, n): similarity of text, negative ones as 0 */
	const double *copurchase; /* (n, n): shrunk cosine */
} BrAffinity;

/*
 * Affinity of a pair as cohesion uses it, in [0, 1]:
 *
 *		1 - (1 - sqrt(copurchase)) (1 - 0.3 t(content)),
 *		t(c) = min(c / 0.8, 1) up to c = 0.95, then (1 - c) / 0.05 down to t(1) = 0.
 *
 * Either kind of evidence is enough, and being bought together weighs more. The
 * root spreads shrunk cosines, which rarely exceed .1. Texts beyond .95 mostly
 * name one product twice (a colour, a second listing): substitutes, which no
 * shop wants in one bundle.
 *
 * Measured, hiding one item and ranking all others by mean affinity, hit rate
 * at 10: groceries baskets (5 splits) .385, where the plain shrunk cosine has
 * .392, popularity .375 and all-MiniLM-L6-v2 on the names .115; labelled
 * electronics bundles split by session (6 splits) .164, co-purchase alone .017.
 * A content share of .5 loses .028 on the first and gains .002 on the second.
 * In the latter, pairs of similarity .4 to .5 are bundled 5 times as often as
 * any pair, .6 to .7 14 times, .8 to .85 43 times and .85 to .9 39 times; more
 * credit above .8 would rest on few pairs. The fall beyond .95 is a judgement:
 * those labels do not ask for it (it costs .005), as people also group the
 * variants that one session looked at.
 */
extern double br_bundle_affinity(double content, double copurchase);

typedef struct BrPool
{
	int n;
	BrBundle *bundles; /* (n), strongest first; ties by ascending item ids */
	int *members;	   /* of all bundles, one after the other */
	float *features;   /* (n, BR_FEATURE_COUNT) */
	BrRefusals refusals;
	bool exhaustive; /* every combination was looked at: the refusals are exact */
	bool complete;	 /* false: the search gave up, there may be more; see below */
} BrPool;

/*
 * Features of one bundle, in schema 2: of a pool's member, or of a curated
 * bundle of any size, whose members (ascending by item id), price and margin are
 * then read, and its log-odds, which are added to those of the score. The score
 * is that of the features as rounded to float, and of the mean boost of the items.
 * typical_price, ranker: see BrConstraints.
 */
extern void br_bundle_features(const BrCandidate *candidates /* (n) */, int n,
							   const BrAffinity *affinity, double typical_price,
							   const BrRanker *ranker, const BrBundle *bundle,
							   float *features /* (BR_FEATURE_COUNT) */);

/*
 * What an item adds to the strength of a bundle, before division by its size:
 * the weighted sum of its evidence, and its boost.
 */
extern double br_bundle_item_strength(const BrCandidate *candidate, const BrRanker *ranker);

/*
 * What its own purchases say for or against a curated bundle, beside a typical
 * one: ln((n + m) / 2m), where m = sqrt(1 + most) lies in the geometric middle
 * between one purchase and those of the most purchased bundle. It is 0 where no
 * bundle was purchased, and never below -ln 2, so that a new bundle has a chance.
 *
 * Measured on Steam's 615 bundles, hiding one purchase of a shopper and ranking
 * the other bundles by the score, for 2,000 shoppers that the form was not
 * chosen on: hit rate at 1, 5 and 10 of .245, .543 and .929 with it, .183, .427
 * and .636 without. Purchases alone give .246, .724 and .930: the score does not
 * beat them there, as co-purchase weighs much in it.
 */
extern double br_bundle_purchase_log_odds(int64_t purchases, int64_t most);

/*
 * The pool: at most `limit` feasible bundles of the candidates, the strongest.
 * Strength is the part of the calibrated score's logit that adds up over items
 * and pairs: weight * feature over content, copurchase, popularity, freshness,
 * cohesion and what is learned, and the mean boost.
 *
 * Sizes up to 3 are enumerated. Larger ones are searched by a beam, and where
 * the pool then holds fewer than `wanted`, by branch and bound. So n < wanted
 * only where no further feasible bundle exists among the candidates, with one
 * exception: a budget and a margin that fight over sizes of 4 and more make a
 * two-dimensional knapsack; after 20 million branches (about half a second) the
 * search ends with complete = false.
 *
 * wanted: how many the caller needs at least, 0 .. limit.
 * limit: 1 .. BR_BUNDLE_MAX_POOL.
 * *pool is allocated here; br_bundle_pool_free releases it.
 * BR_ERR_ARGUMENT: sizes, constraints or candidate values out of range, named in
 * the detail; BR_ERR_CANCELLED; BR_ERR_MEMORY. *pool is then empty.
 */
extern BrStatus br_bundle_pool(BrContext *context, const BrCandidate *candidates, int n,
							   const BrAffinity *affinity, const BrConstraints *constraints,
							   int wanted, int limit, BrPool *pool);
extern void br_bundle_pool_free(BrContext *context, BrPool *pool);

/*
 * Makes sure that a set of candidates which somebody has chosen is in the pool
 * that was made of them under these constraints: it is appended where it is not
 * there. *place: where it stands; -1: it was not there, and the constraints
 * refuse it.
 * BR_ERR_ARGUMENT: members that are no candidates, or one twice; BR_ERR_MEMORY.
 * *pool is then as it was.
 */
extern BrStatus br_bundle_pool_add(BrContext *context, const BrCandidate *candidates, int n,
								   const BrAffinity *affinity, const BrConstraints *constraints,
								   const int *members /* (size) */, int size, BrPool *pool,
								   int *place);

/* How much bundle b repeats bundle a: shared items over the smaller size, in [0, 1]. */
extern double br_bundle_overlap(const BrBundle *a, const BrBundle *b);

/* ---- diversity across a slate (diversity.c) ---- */

/*
 * A determinantal point process over n candidates: the larger the determinant of
 * a set's rows and columns of
 *
 *		L_ij = q_i S_ij q_j,
 *
 * the better its members are, and the less they repeat one another. Members are
 * chosen one by one, each by how much it adds to ln det L, which is at most
 * 2 ln q_i and falls with every similar member.
 *
 * similarity: S, (n, n), symmetric, 1 on the diagonal, within [-1, 1]; read until
 * the end. It should be positive semidefinite, as products of unit vectors are;
 * what is not ends the choosing early.
 * log_quality: ln q_i, (n), finite; see br_bundle_log_quality.
 * most: members that are chosen at most, 0 .. n. Takes (most + 3) * n doubles.
 *
 * Source: Chen, Zhang, Zhou, "Fast greedy MAP inference for determinantal point
 * process to improve recommendation diversity", NeurIPS 2018.
 */
typedef struct BrDiversity BrDiversity;

extern BrStatus br_bundle_diversity_begin(BrContext *context, const double *similarity,
										  const double *log_quality, int n, int most,
										  BrDiversity **diversity);

/* Takes a candidate as chosen. BR_ERR_ARGUMENT: it is already, there is none, or `most` are. */
extern BrStatus br_bundle_diversity_add(BrContext *context, BrDiversity *diversity, int candidate);

/*
 * (n): what each candidate would add to ln det L now; -INFINITY of those chosen,
 * and of those that repeat them (less than 1e-10 of S_ii is left). Changed by
 * add, valid until the end.
 */
extern const double *br_bundle_diversity_gains(const BrDiversity *diversity);
extern void br_bundle_diversity_end(BrContext *context, BrDiversity *diversity); /* or NULL */

/*
 * ln q of a candidate of this relevance: theta / (2 (1 - theta)) * relevance, so
 * that ln det L is in proportion to
 *
 *		theta * sum of relevances + (1 - theta) * ln det S.
 *
 * theta: [0, 1]; 0: diversity alone; above .9999 it counts as that, with which a
 * difference in relevance of .0024 outweighs any similarity.
 */
extern double br_bundle_log_quality(double relevance, double theta);

/*
 * The greedy choice of k of n, in order; ties by index. Where nothing adds
 * anything any more, the rest is filled by quality. k: 0 .. n.
 * *diverse: how many were chosen before that; may be NULL.
 * BR_ERR_ARGUMENT: similarity or quality not as above; BR_ERR_CANCELLED.
 */
extern BrStatus br_bundle_diverse(BrContext *context, const double *similarity /* (n, n) */,
								  const double *log_quality /* (n) */, int n, int k,
								  int *picks /* (k) */, int *diverse);

/*
 * The greedy choice of k of n, in order, ties by index, that raises
 *
 *		f(S) = sum of quality over S + gamma * sum over all v of max over S of sim(v, i),
 *
 * where similarities below 0 count as 0. With qualities >= 0 it reaches 1 - 1/e of
 * the largest f of any k.
 *
 * similarity: (n, n), finite; row v, column i. quality: (n), finite. gamma: >= 0.
 * value: f after each pick; may be NULL.
 * Sources: Nemhauser, Wolsey, Fisher, "An analysis of approximations for
 * maximizing submodular set functions", 1978; Lin, Bilmes, ACL 2011.
 */
extern BrStatus br_bundle_covering(BrContext *context, const double *similarity /* (n, n) */,
								   const double *quality /* (n) */, int n, int k, double gamma,
								   int *picks /* (k) */, double *value /* (k) */);

/* ---- bundles within a session (detect.c) ---- */

/* Items of a session at most. */
#define BR_BUNDLE_MAX_SESSION 200

/* A step of joining: clusters 0 .. n - 1 are the items, step i makes cluster n + i. */
typedef struct BrMerge
{
	int left; /* the cluster with the smallest item of both */
	int right;
	double link; /* mean similarity over the pairs between them */
} BrMerge;

/*
 * Joins the two clusters of the highest mean similarity until there is one; ties
 * go to the pair whose smallest items come first.
 *
 * similarity: (n, n), finite; read above the diagonal. n: 0 .. BR_BUNDLE_MAX_SESSION.
 * merges: (n - 1).
 * Source: Sokal, Michener, "A statistical method for evaluating systematic
 * relationships", 1958 (average linkage).
 */
extern BrStatus br_bundle_average_linkage(BrContext *context, const double *similarity, int n,
										  BrMerge *merges);

/* What speaks for two items of a session belonging together, each 0 where it is unknown. */
typedef enum BrPairFeature
{
	BR_PAIR_WORDS,		/* cosine of the TF-IDF of their words, idf within the session */
	BR_PAIR_CONTENT,	/* cosine of their embeddings */
	BR_PAIR_CATEGORY,	/* how much of the path of their categories is the same, in [0, 1] */
	BR_PAIR_COPURCHASE, /* square root of their shrunk cosine */
	BR_PAIR_COUNT
} BrPairFeature;

/* What speaks for a set of a session's items being a bundle; p: probability of a pair. */
typedef enum BrSetFeature
{
	BR_SET_MEAN_INSIDE,	 /* mean p of its pairs */
	BR_SET_LEAST_INSIDE, /* least p of its pairs */
	BR_SET_MOST_OUTSIDE, /* largest p of one of its items with another's; 0 of the whole */
	BR_SET_LOG_SIZE,	 /* ln of its size */
	BR_SET_SHARE,		 /* its size over the session's */
	BR_SET_WHOLE,		 /* 1: it is the session */
	BR_SET_LOG_SESSION,	 /* ln of the session's size */
	BR_SET_PAIR,		 /* 1: of two items */
	BR_SET_COUNT
} BrSetFeature;

/*
 * Weights, the constant first. A pair's p = logistic(pair . features); a set's
 * expected Jaccard index with the bundle most like it, logistic(set . features).
 */
typedef struct BrDetector
{
	double pair[1 + BR_PAIR_COUNT];
	double set[1 + BR_SET_COUNT];
	double threshold; /* of that expectation, from which on a set is a bundle */
} BrDetector;

/*
 * Weights that serve until a catalog has learned its own: where items have
 * embeddings, and where they have none. Their origin stands in detect.c.
 */
extern const BrDetector br_bundle_fixed_detector;
extern const BrDetector br_bundle_fixed_detector_of_words;

/* probability: (n, n), symmetric, 1 on the diagonal; features above the diagonal are read. */
extern void br_bundle_detect_pairs(const BrDetector *detector,
								   const float *features /* (n, n, BR_PAIR_COUNT) */, int n,
								   double *probability);

/* Sets of a session's items that may be bundles. */
typedef struct BrSessionSets
{
	int n;
	int *starts;	 /* (n + 1) */
	int *members;	 /* (starts[n]): indexes of items, ascending within a set */
	float *features; /* (n, BR_SET_COUNT) */
} BrSessionSets;

/*
 * The clusters of average linkage over the probabilities, in the order of its
 * merges, the last of which is the whole session; then each item with the one
 * that it most probably belongs to, where that is no cluster already. None of
 * fewer than two items.
 *
 * probability: (n, n), in [0, 1]; read above the diagonal.
 * BR_ERR_ARGUMENT; BR_ERR_LIMIT: more items than BR_BUNDLE_MAX_SESSION.
 */
extern BrStatus br_bundle_detect_sets(BrContext *context, const double *probability, int n,
									  BrSessionSets *sets);
extern void br_bundle_detect_sets_free(BrContext *context, BrSessionSets *sets);

/* The expected Jaccard index of each set. */
extern void br_bundle_detect_scores(const BrDetector *detector, const BrSessionSets *sets,
									double *scores /* (sets->n) */);

/*
 * Which sets are bundles: the best one, and all others at or above the threshold,
 * the best first, ties by number. Returns how many.
 */
extern int br_bundle_detect_choose(const double *scores /* (n) */, int n, double threshold,
								   int *chosen /* (n) */);

#endif /* BR_BUNDLE_H */
