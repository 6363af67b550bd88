/*
 * br_learn.h
 *	  The door of the learn room: what goes with what, learned from events.
 *
 * Every learner reads a sparse matrix (baskets by items, users by bundles, ...)
 * whose rows and columns are dense numbers from 0, and leaves either lists (for
 * each item, which others go with it and how much) or factors (a vector for each
 * row and column). What it leaves is plain memory of the context's allocator,
 * freed with the function beside it. Results are the same for the same input,
 * seed and backend; only the ranking of a bundle, in core/bundle, must be the
 * same on every machine.
 *
 * Errors of all learners: BR_ERR_ARGUMENT for a parameter or a matrix out of
 * range, named in the detail; BR_ERR_MEMORY; BR_ERR_LIMIT where more memory would
 * be needed than the caller allows, with the figure in the detail;
 * BR_ERR_CANCELLED, within a tenth of a second. On failure nothing is left to free.
 */
#ifndef BR_LEARN_H
#define BR_LEARN_H

#include "core/base/br_base.h"
#include "core/math/br_backend.h"

/* ---- matrices and lists (sparse.c, lists.c) ---- */

/* A sparse matrix by rows. */
typedef struct BrSparse
{
	int rows;
	int columns;
	int64_t *starts; /* (rows + 1): where each row begins; starts[0] is 0 */
	int32_t *ids;	 /* (starts[rows]): columns, strictly ascending within a row */
	float *values;	 /* (starts[rows]), finite; NULL: 1 each */
} BrSparse;

/* BR_ERR_ARGUMENT: not as described above. */
extern BrStatus br_learn_sparse_check(BrContext *context, const BrSparse *matrix);
extern BrStatus br_learn_sparse_transpose(BrContext *context, const BrSparse *matrix,
										  BrSparse *transposed);
/* The product of two rows. */
extern double br_learn_sparse_product(const BrSparse *matrix, int left, int right);
extern void br_learn_sparse_free(BrContext *context, BrSparse *matrix);

/* An entry of a matrix before it is sorted. */
typedef struct BrEntry
{
	int32_t row;
	int32_t column;
	float value;
} BrEntry;

/*
 * The matrix of n entries in any order; entries of one place are added, and
 * places whose sum is 0 or less are left out.
 */
extern BrStatus br_learn_sparse_build(BrContext *context, const BrEntry *entries, int64_t n,
									  int rows, int columns, BrSparse *matrix);

/* For each of n things a list of others, the strongest first, ties by number. */
typedef struct BrLists
{
	int n;
	int64_t *starts; /* (n + 1) */
	int32_t *ids;	 /* (starts[n]) */
	float *weights;	 /* (starts[n]), finite, not 0 */
} BrLists;

extern void br_learn_lists_free(BrContext *context, BrLists *lists);

/*
 * Lists in the making, filled list by list from 0 on. add takes the weights of
 * all columns and keeps the `depth` strongest above `least`, without `self`
 * (-1: none).
 */
typedef struct BrListBuilder BrListBuilder;
extern BrStatus br_learn_lists_begin(BrContext *context, int n, int depth, BrListBuilder **builder);
extern BrStatus br_learn_lists_add(BrListBuilder *builder, const float *weights /* (columns) */,
								   int columns, int self, float least);
/* As add, of n_candidates columns only, each once, in any order. */
extern BrStatus br_learn_lists_add_some(BrListBuilder *builder, const int32_t *candidates,
										const float *weights /* (n_candidates) */, int n_candidates,
										int self, float least);
/* Hands the lists over and ends the builder, whatever the status. */
extern BrStatus br_learn_lists_end(BrListBuilder *builder, BrLists *lists);
extern void br_learn_lists_abandon(BrListBuilder *builder); /* NULL is ignored */

/* How far a learner is: done of total steps. Called in the caller's thread; NULL: nobody asks. */
typedef struct BrProgress
{
	void (*report)(void *arg, int64_t done, int64_t total);
	void *arg;
} BrProgress;

/* ---- companions: co-occurrence (companions.c) ---- */

typedef enum BrCompanionMeasure
{
	BR_COMPANION_CONFIDENCE,   /* n_ij / n_i */
	BR_COMPANION_SHRUNK_COSINE /* n_ij / sqrt(n_i n_j) * n_ij / (n_ij + shrinkage) */
} BrCompanionMeasure;

typedef struct BrCompanionOptions
{
	BrCompanionMeasure measure;
	double shrinkage; /* pseudo-rows, >= 0 and finite; of the cosine only */
	int depth;		  /* of each list, >= 1 */
	int largest_row;  /* rows with more columns count for no pair; >= 2 */
	const BrProgress *progress;
} BrCompanionOptions;

/*
 * For each column of rows (values are not looked at) the columns that share
 * rows with it: n_i rows have column i, n_ij both. Sources: those of the pair
 * scores in core/bundle/br_bundle.h.
 */
extern BrStatus br_learn_companions(BrContext *context, const BrSparse *rows,
									const BrCompanionOptions *options, BrLists *lists);
/* ---- log-linear associations (association.c) ---- */

/*
 * What else a row holds, as a softmax over all columns it does not hold:
 *
 *		P(j | H) is in proportion to exp(b_j + |H|^-damping sum_{i in H} W_ij)
 *
 * W and b maximise the likelihood of each column j of each row R, given the
 * others, H = R without j, with the candidates that are not in H:
 *
 *		- sum_R |R|^-row_damping sum_{j in R} ln P(j | R without j)
 *			+ l2/2 |W|^2 + l2/20 |b - b0|^2,	b0_j = ln(rows with j + 1/2)
 *
 * Rows of one column teach b only. W_ij is 0 where i and j share fewer than
 * least_together rows. The values of the matrix are not looked at.
 *
 * Source: the softmax of McFadden, "Conditional logit analysis of qualitative
 * choice behavior", 1974, over item-to-item weights as in Ning and Karypis,
 * "SLIM", ICDM 2011.
 */
typedef struct BrAssociationOptions
{
	double l2;			 /* > 0, finite; .3 to 1 are usual */
	double damping;		 /* 0 to 1: 0 adds up what a history says, 1 averages it */
	double row_damping;	 /* 0 to 1: 0 gives each entry the same weight, 1 each row */
	int least_together;	 /* >= 1 */
	int iterations;		 /* >= 1: of L-BFGS; it ends earlier where the loss no longer falls */
	int depth;			 /* >= 1: entries of a list, those of the largest |W_ij| */
	size_t memory_limit; /* bytes, against br_learn_association_memory; 0: none */
	const BrProgress *progress; /* counts iterations */
} BrAssociationOptions;

/* |b - b0|^2 is penalised by this part of what |W|^2 is. */
#define BR_LEARN_ASSOCIATION_BIAS_SHARE 0.1

/*
 * Bytes of a fit, beside what grows with the entries of the matrix. pairs: how
 * many W_ij there may be, (i, j) and (j, i) both counted. SIZE_MAX: more than
 * can be counted.
 */
extern size_t br_learn_association_memory(int columns, int64_t pairs);

/*
 * lists: of each column i the W_ij over j, negative ones last. *bias (columns):
 * the b_j, freed with br_base_free; a column of no row has the smallest of the
 * others and no weights.
 * BR_ERR_NUMERIC: the loss is not finite.
 */
extern BrStatus br_learn_association(BrContext *context, const BrSparse *matrix,
									 const BrAssociationOptions *options, BrLists *lists,
									 float **bias);

/*
 * scores[j] = b_j + n^-damping sum_{i in history} W_ij, of all columns, those of
 * the history too. history: n >= 0 columns below lists->n, each once, in any
 * order; damping as in the fit.
 */
extern void br_learn_association_scores(const BrLists *lists, const float *bias,
										const int32_t *history, int n, double damping,
										float *scores /* (lists->n) */);

/* ---- EASE (ease.c, ease_local.c) ---- */

/*
 * EASE: with X the matrix and E extra rows,
 *
 *		G = X'X + extra_weight E'E + lambda I,	P = G^-1,	B_ij = -P_ij / P_jj
 *
 * B_ij is by how much i in a row speaks for j in it, everything else in the
 * row being known: the ridge regression of column j on all others. The score
 * of j after a row x is the sum of x_i B_ij.
 *
 * Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW
 * 2019.
 */
typedef struct BrEaseOptions
{
	double lambda;			  /* > 0, finite; in the unit of the counts G, usually 10 to 1000 */
	int depth;				  /* >= 1: entries of a list */
	float least;			  /* weights above it are listed: 0 the positive, -INFINITY all but 0 */
	const BrSparse *extra;	  /* as many columns as the matrix; a row is of things that belong
							   together, such as a bundle's items or a tag's; NULL: none */
	double extra_weight;	  /* >= 0, finite; ignored without extra */
	size_t memory_limit;	  /* bytes, against br_learn_ease_memory; 0: none */
	const BrBackend *backend; /* NULL: the portable one */
	const BrProgress *progress;
} BrEaseOptions;

/* Bytes of a fit beside what grows with the entries; SIZE_MAX: more than can be counted. */
extern size_t br_learn_ease_memory(int columns);

/*
 * lists: of each column i the strongest B_ij over j. A column without entries has
 * an empty list and is in none.
 * BR_ERR_NUMERIC: G is not positive definite in double; lambda is too small.
 */
extern BrStatus br_learn_ease(BrContext *context, const BrSparse *matrix,
							  const BrEaseOptions *options, BrLists *lists);

/*
 * The same of many columns, approximately: the regression of column j on the
 * columns that occur with it most, by |cosine|, and no others. Where all of the
 * others occur with it and are admitted, it is EASE. A target takes
 * neighbours^3 / 6 multiplications, and memory is in proportion to the entries
 * of the matrix and of the result.
 *
 * Source for the sparse support: Steck, "Markov Random Fields for Collaborative
 * Filtering", NeurIPS 2019.
 */
#define BR_EASE_MAX_NEIGHBOURS 2000

typedef struct BrEaseLocalOptions
{
	double lambda; /* this and the next two as in BrEaseOptions */
	const BrSparse *extra;
	double extra_weight;
	int neighbours; /* 1 to BR_EASE_MAX_NEIGHBOURS */
	const BrProgress *progress;
} BrEaseLocalOptions;

/*
 * weights: row t holds B_ij of j = targets[t] over its neighbours i, of either
 * sign; (n_targets, matrix->columns). targets: strictly ascending; NULL: all
 * columns, n_targets is then ignored. After new rows of the matrix, computing the columns
 * that occur in them is enough but for what changed between neighbours of others.
 * BR_ERR_NUMERIC: as above.
 */
extern BrStatus br_learn_ease_local(BrContext *context, const BrSparse *matrix,
									const int32_t *targets /* (n_targets) */, int n_targets,
									const BrEaseLocalOptions *options, BrSparse *weights);

/*
 * Puts rows of fresh into weights, a square matrix of all columns, at targets.
 * weights grows to fresh->columns, if that is more. Unchanged after a failure.
 */
extern BrStatus br_learn_ease_replace(BrContext *context, BrSparse *weights,
									  const int32_t *targets /* (fresh->rows) */,
									  const BrSparse *fresh);

/* As br_learn_ease leaves them, of the weights of all columns, a square matrix. */
extern BrStatus br_learn_ease_lists(BrContext *context, const BrSparse *weights, int depth,
									float least, BrLists *lists);

/* ---- frequent sets (itemsets.c) ---- */

#define BR_ITEMSETS_MAX_SIZE 8

typedef struct BrItemsetOptions
{
	int64_t least_support; /* baskets, >= 1 */
	int min_size;		   /* 1 .. max_size */
	int max_size;		   /* .. BR_ITEMSETS_MAX_SIZE */
	int64_t limit;		   /* >= 1: sets that are kept at most */
	/*
	 * (columns, columns): of each item its ancestors at all levels, such as its
	 * category, which then has a column of its own and is in the baskets of its
	 * items. A set that holds an item and its ancestor says nothing that it would
	 * not say without, and is left out. Values are not looked at. NULL: none.
	 */
	const BrSparse *ancestors;
	size_t memory_limit; /* bytes, at any time, of everything but the result; 0: none */
	const BrProgress *progress;
} BrItemsetOptions;

/* Sets by support, largest first; ties by their items, a set before those that continue it. */
typedef struct BrItemsets
{
	int64_t n;
	int64_t *starts;  /* (n + 1) */
	int32_t *items;	  /* (starts[n]), ascending within a set */
	int64_t *support; /* (n): baskets that hold all of the set */
	bool truncated;	  /* more sets are frequent: these are the first of all */
} BrItemsets;

/*
 * All sets of items that stand together in at least least_support baskets. No
 * set is looked at that is not frequent, and few of those beyond the limit are.
 *
 * Sources: Han, Pei, Yin, "Mining frequent patterns without candidate
 * generation", SIGMOD 2000; Srikant, Agrawal, "Mining generalized association
 * rules", VLDB 1995 (ancestors).
 */
extern BrStatus br_learn_itemsets(BrContext *context,
								  const BrSparse *baskets /* (baskets, items) */,
								  const BrItemsetOptions *options, BrItemsets *sets);
extern void br_learn_itemsets_free(BrContext *context, BrItemsets *sets);

/* ---- the ranker (ranker.c) ---- */

/*
 * Choices that were observed: in each group one or more candidates, of which
 * some were taken. Candidates that were drawn from a larger set stand for all
 * of it by their weight, 1 / probability that they were drawn.
 */
typedef struct BrChoices
{
	int64_t groups;
	int features;
	const int64_t *starts; /* (groups + 1): where each group's candidates begin */
	const float *values;   /* (candidates, features), finite */
	const float *weights;  /* (candidates), > 0; NULL: 1 each */
	const uint8_t *taken;  /* (candidates): 1 or 0 */
} BrChoices;

typedef struct BrRankerOptions
{
	double l2;			   /* > 0: of the squared weights, per group, on standardised features */
	double robustness;	   /* [0, 1): share of choices that are taken to be made at random */
	const bool *not_below; /* (features): weights that must not be negative; NULL: none */
	const BrProgress *progress;
} BrRankerOptions;

/*
 * Weights under which what was taken stands out in its group: they maximise the
 * mean over groups of the conditional log-likelihood
 *
 *		ln( (1 - robustness) sum over taken of e^s / sum over all of weight e^s
 *			+ robustness / sum over all of weight ),			s = weights' values,
 *
 * less l2 times the squared weights, both of features scaled to unit deviation.
 * Without robustness the choices that nothing explains, which are most, would
 * decide about the weights; close to 1 what counts is how many can be found. Then
 * there may be several optima: the one reached from robustness 0 is taken.
 * Groups without a taken candidate, or with nothing else, say nothing. By Newton
 * steps. A feature that never varies has weight 0. BR_ERR_ARGUMENT: as stated,
 * or no group says anything.
 * Source: McFadden, "Conditional logit analysis of qualitative choice
 * behavior", 1974.
 */
extern BrStatus br_learn_ranker_fit(BrContext *context, const BrChoices *choices,
									const BrRankerOptions *options,
									double *weights /* (features) */);

/* s of one candidate, in fixed order */
extern double br_learn_ranker_score(const double *weights, const float *values, int features);

/*
 * a and b such that logistic(a + b s) is the probability that a candidate of
 * score s is taken, by maximum likelihood over candidates with their weights and
 * Platt's targets; b >= 0. BR_ERR_ARGUMENT where nothing, or everything, was taken.
 * Source: Platt, "Probabilistic outputs for support vector machines", 1999.
 */
extern BrStatus br_learn_calibrate(BrContext *context, const double *scores /* (n) */,
								   const float *weights /* (n); NULL: 1 each */,
								   const uint8_t *taken /* (n) */, int64_t n, double *a, double *b);

/* ---- logistic regression (logistic.c) ---- */

typedef struct BrExamples
{
	int64_t n;
	int features;		  /* 0 to 255 */
	const float *values;  /* (n, features), finite */
	const float *targets; /* (n), in [0, 1]: how much of an example is a yes */
} BrExamples;

/*
 * Weights of p = logistic(w_0 + w . values), the constant first, that minimise
 *
 *		- sum over examples of t ln p + (1 - t) ln(1 - p)  +  l2/2 sum of w_f^2, f > 0.
 *
 * By Newton steps; as scikit-learn's LogisticRegression with C = 1 / l2.
 * l2: > 0, finite.
 * BR_ERR_ARGUMENT: also where all targets are 0, or all are 1.
 */
extern BrStatus br_learn_logistic_fit(BrContext *context, const BrExamples *examples, double l2,
									  double *weights /* (1 + features) */);

/* The rest of the door, which stands in files of its own for its length. */
#include "core/learn/br_learn_vectors.h"
#include "core/learn/br_learn_words.h"

#endif /* BR_LEARN_H */
