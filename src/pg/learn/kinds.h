/*
 * kinds.h
 *	  The learners, each a function from a training to what it learned.
 *
 * Each returns NULL, or a sentence why the data do not support it. What it
 * allocates goes to the current context.
 */
#ifndef BR_PG_LEARN_KINDS_H
#define BR_PG_LEARN_KINDS_H

#include "pg/learn/learn_int.h"

/* Places of parameters; names, defaults and ranges stand in kinds.c. */
enum
{
	BR_PG_POPULARITY_HALF_LIFE /* days */
};
/* What a thing in the context weighs: one over their number to this power. */
#define BR_PG_ASSOCIATION_DAMPING 0.25
/* A row is compared with all columns, so there must not be too many. */
#define BR_PG_MOST_ASSOCIATED 2000

enum
{
	BR_PG_ASSOCIATION_L2,
	BR_PG_ASSOCIATION_ITERATIONS,
	BR_PG_ASSOCIATION_DEPTH
};
enum
{
	BR_PG_EASE_LAMBDA,
	BR_PG_EASE_DEPTH,
	BR_PG_EASE_DENSE,	   /* 1: all items at once, or an error */
	BR_PG_EASE_NEIGHBOURS, /* where it is not dense */
	BR_PG_EASE_SIDE_WEIGHT /* of rows that say what stands in a curated bundle */
};
enum
{
	BR_PG_ALS_FACTORS,
	BR_PG_ALS_LAMBDA,
	BR_PG_ALS_ALPHA,
	BR_PG_ALS_ITERATIONS,
	BR_PG_ALS_EXACT, /* 1: Cholesky, 0: conjugate gradient */
	BR_PG_ALS_DEPTH,
	BR_PG_ALS_SEED
};
enum
{
	BR_PG_BPR_FACTORS,
	BR_PG_BPR_LAMBDA,
	BR_PG_BPR_RATE,
	BR_PG_BPR_EPOCHS,
	BR_PG_BPR_DEPTH,
	BR_PG_BPR_SEED
};
/* Fewer pairs than these tell nothing about directions of thousands of dimensions. */
#define BR_PG_LEAST_PAIRS 20
#define BR_PG_MOST_CATEGORIES 1000

enum
{
	BR_PG_COMPLEMENT_RANK,
	BR_PG_COMPLEMENT_L2,
	BR_PG_COMPLEMENT_EPOCHS,
	BR_PG_COMPLEMENT_DEPTH,
	BR_PG_COMPLEMENT_SEED
};
enum
{
	BR_PG_LEXICAL_SHRINKAGE,
	BR_PG_LEXICAL_PARTS, /* share of parts of words beside whole words */
	BR_PG_LEXICAL_DEPTH
};
enum
{
	BR_PG_ITEMSETS_SUPPORT, /* below 1: a share of the baskets; else a number of them */
	BR_PG_ITEMSETS_SIZE,
	BR_PG_ITEMSETS_LIMIT
};
enum
{
	BR_PG_LIKENESS_WORDS, /* share of words beside items */
	BR_PG_LIKENESS_DEPTH
};
enum
{
	BR_PG_GRAPH_DIMS,
	BR_PG_GRAPH_LAYERS,
	BR_PG_GRAPH_EPOCHS,
	BR_PG_GRAPH_CONTRAST,
	BR_PG_GRAPH_SEED
};
enum
{
	BR_PG_DETECTOR_L2,
	BR_PG_DETECTOR_SESSIONS /* at most */
};
enum
{
	BR_PG_RANKER_L2,
	BR_PG_RANKER_CASES, /* at most */
	BR_PG_RANKER_ROBUSTNESS
};

/* learn_items.c, learn_factors.c, learn_texts.c */
extern const char *br_pg_fit_popularity(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_association(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_ease(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_als(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_bpr(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_complement(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_lexical(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_itemsets(BrPgTraining *training, BrPgLearned *learned);

/* learn_bundles.c */
extern const char *br_pg_fit_bundle_companions(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_bundle_association(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_bundle_ease(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_bundle_likeness(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_bundle_graph(BrPgTraining *training, BrPgLearned *learned);

/* learn_detector.c */
extern const char *br_pg_fit_detector(BrPgTraining *training, BrPgLearned *learned);

/* rank.c */
extern const char *br_pg_fit_ranker(BrPgTraining *training, BrPgLearned *learned);
extern const char *br_pg_fit_bundle_ranker(BrPgTraining *training, BrPgLearned *learned);

/* The same over any matrix. */
extern const char *br_pg_fit_association_lists(const BrSparse *matrix, const double *parameters,
											   BrPgLearned *learned);
extern void br_pg_fit_ease_lists(const BrSparse *matrix, const BrSparse *extra,
								 const double *parameters, float least, BrPgLearned *learned);

/* Bytes that a learner may take at once. */
extern Size br_pg_fit_memory(void);

/* Why there is nothing where a learner said BR_ERR_LIMIT. */
extern const char *br_pg_too_large(const BrContext *context);
extern void br_pg_add_matrix_figures(BrPgLearned *learned, const BrSparse *matrix);
extern int br_pg_count_sets(const BrSparse *matrix);

/* The backend for products in double: OpenBLAS's where it can be loaded. */
extern const BrBackend *br_pg_learning_backend(void);

#endif /* BR_PG_LEARN_KINDS_H */
