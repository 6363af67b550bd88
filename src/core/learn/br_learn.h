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
 * places whose sum is 0 or less are left out. The entries are sorted in place.
 */
extern BrStatus br_learn_sparse_build(BrContext *context, BrEntry *entries, int64_t n, int rows,
									  int columns, BrSparse *matrix);

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

/* ---- implicit matrix factorisation (als.c, bpr.c, fold_in.c) ---- */

/*
 * A vector for each row and each column; a row's score of a column is their
 * product, plus the column's bias where there is one.
 */
typedef struct BrFactors
{
	int rows;
	int columns;
	int dims;
	float *row;	   /* (rows, dims) */
	float *column; /* (columns, dims) */
	float *bias;   /* (columns), NULL: 0 each */
} BrFactors;

extern void br_learn_factors_free(BrContext *context, BrFactors *factors);

typedef enum BrAlsSolver
{
	BR_ALS_CG = 0,	/* three steps of conjugate gradients from where the vector stands */
	BR_ALS_CHOLESKY /* exact for each vector; some five times as slow at 64 factors */
} BrAlsSolver;

typedef struct BrAlsOptions
{
	int factors;	/* 1 to 512 */
	double lambda;	/* >= 0, and > 0 for BR_ALS_CHOLESKY */
	double alpha;	/* > 0 */
	int iterations; /* 1 to 1000, each of all rows and then all columns */
	BrAlsSolver solver;
	uint64_t seed;
	BrPool *pool; /* NULL: the caller's thread alone; the result is the same */
	const BrProgress *progress;

	/*
	 * NULL: small random vectors. Else where to begin, of the same shape: what an
	 * earlier call left. Rows and columns that are new since have zeros.
	 */
	const BrFactors *start;
} BrAlsOptions;

/*
 * Weighted factorisation of implicit feedback r >= 0. Every entry counts as
 * observed, whatever its r:
 *
 *		min sum over all u, i of c_ui (p_ui - x_u'y_i)^2
 *			+ lambda (sum |x_u|^2 + sum |y_i|^2)
 *
 * with p = 1 and c = 1 + alpha r where there is an entry, p = 0 and c = 1
 * elsewhere. Rows and columns without entries get zeros. matrix: as
 * br_learn_sparse_check wants it.
 * BR_ERR_NUMERIC: lambda is below what float resolves beside the entries' sums, or
 * vectors outgrow float.
 *
 * Sources: Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback
 * datasets", ICDM 2008; for BR_ALS_CG Takacs, Pilaszy, Tikk, "Applications of the
 * conjugate gradient method for implicit feedback collaborative filtering",
 * RecSys 2011.
 */
extern BrStatus br_learn_als(BrContext *context, const BrSparse *matrix,
							 const BrAlsOptions *options, BrFactors *factors);

/* The sum that br_learn_als minimises, in double. */
extern BrStatus br_learn_als_objective(BrContext *context, const BrSparse *matrix,
									   const BrFactors *factors, double lambda, double alpha,
									   double *objective);

/* The packed lower triangle of the vectors' Y'Y, for folding in. */
extern BrStatus br_learn_als_gram(BrContext *context, const float *vectors /* (n, dims) */, int n,
								  int dims, double *gram /* (dims (dims + 1) / 2) */);

/* What a new row or column has done: columns or rows, ascending, each once. */
typedef struct BrFoldIn
{
	const int32_t *ids;	 /* (n) */
	const float *values; /* (n), >= 0; NULL: 1 each */
	int n;				 /* 0: the vector is 0 */
} BrFoldIn;

/*
 * The vector that a further half-sweep would give a row with these entries, in
 * double. others, gram: the columns' vectors and their br_learn_als_gram; for a
 * new column it is the rows'. lambda, alpha: as they were learned with.
 * BR_ERR_NUMERIC: lambda is too small.
 */
extern BrStatus br_learn_als_fold_in(BrContext *context, const float *others /* (n_others, dims) */,
									 int n_others, int dims, const double *gram, double lambda,
									 double alpha, const BrFoldIn *done,
									 float *vector /* (dims) */);

typedef struct BrBprOptions
{
	int factors;		  /* 1 to 512 */
	double learning_rate; /* > 0, at most 1 */
	double lambda;		  /* >= 0; learning_rate * lambda at most 1 */
	int epochs;			  /* 1 to 10000, each of as many triples as there are entries */
	uint64_t seed;
	const BrProgress *progress;
	const BrFactors *start; /* as in BrAlsOptions */
} BrBprOptions;

/*
 * Bayesian personalised ranking with a bias for each column: a stochastic step
 * down br_learn_bpr_loss for each of many triples, an entry (u, i) drawn
 * uniformly and a column j drawn among those where u has none. Values of the
 * matrix are not looked at; rows without an entry, or with one everywhere, keep
 * their start. One thread. BR_ERR_NUMERIC: vectors outgrow float, the learning
 * rate is too large.
 *
 * Source: Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian
 * personalized ranking from implicit feedback", UAI 2009.
 */
extern BrStatus br_learn_bpr(BrContext *context, const BrSparse *matrix,
							 const BrBprOptions *options, BrFactors *factors);

/*
 * -ln sigma(x'(y_i - y_j) + b_i - b_j) + lambda / 2 (sum of the parameters'
 * squares), and its gradient. Parameters: x, y_i, y_j, b_i, b_j.
 */
extern double br_learn_bpr_loss(const double *parameters /* (3 dims + 2) */, int dims,
								double lambda, double *gradient /* (3 dims + 2) */);

/*
 * A new row's vector under columns that stand still: epochs * n steps from 0, as
 * br_learn_bpr takes them, with the options' learning_rate, lambda, epochs and
 * seed. The loss is convex in the row's vector, so a step size that suited the
 * learning suits this. BR_ERR_NUMERIC: as there. For a new column no such function is given: what it is
 * liked less than has to be learned.
 */
extern BrStatus br_learn_bpr_fold_in(BrContext *context, const BrFactors *factors,
									 const BrBprOptions *options, const BrFoldIn *done,
									 float *vector /* (dims) */);

/*
 * For each column the `depth` others, 1 or more, whose vectors have the greatest
 * cosine with its own, above `least`, in [-1, 1). Biases are not looked at;
 * columns of zeros are in no list and have an empty one.
 */
extern BrStatus br_learn_factor_lists(BrContext *context, const BrFactors *factors, int depth,
									  double least, const BrProgress *progress, BrLists *lists);

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

/* ---- words (words.c, vocabulary.c, shared_words.c, lexical.c, lexical_lists.c) ---- */

/* A text in UTF-8. It need not end with a zero, and may hold some. */
typedef struct BrText
{
	const char *bytes; /* (size) */
	size_t size;
} BrText;

/*
 * Words are the runs of letters, marks and numbers of the text folded as
 * Unicode's NFKC_Casefold, so that "CAF\u00C9" and "cafe\u0301" are one; of one
 * that is longer than BR_WORD_MAX_SIZE bytes, the beginning. A run of more than
 * a kilobyte is read in several pieces. Languages that put no space between
 * words have long words here: embeddings tell their texts apart better.
 */
#define BR_WORD_MAX_SIZE 64

/* Terms and their numbers from 0 on, in the order in which they came. */
typedef struct BrVocabulary BrVocabulary;

extern BrStatus br_learn_vocabulary_create(BrContext *context, BrVocabulary **vocabulary);
extern void br_learn_vocabulary_free(BrContext *context, BrVocabulary *vocabulary); /* or NULL */

/* *number: the term's, which is new if nobody added it before. BR_ERR_LIMIT: 2^31 - 2 terms. */
extern BrStatus br_learn_vocabulary_add(BrContext *context, BrVocabulary *vocabulary, BrText term,
										int32_t *number);
extern int32_t br_learn_vocabulary_find(const BrVocabulary *vocabulary, BrText term); /* or -1 */
extern int32_t br_learn_vocabulary_size(const BrVocabulary *vocabulary);
/* number: below the size. Valid until the next term is added. */
extern BrText br_learn_vocabulary_term(const BrVocabulary *vocabulary, int32_t number);

typedef struct BrWordOptions
{
	bool pairs; /* adjacent words, with a space between, are terms too */
	bool known; /* terms that are not in the vocabulary are left out instead of added */
	const BrProgress *progress;
} BrWordOptions;

/*
 * counts: how often each text has each term; (n, terms of the vocabulary).
 * BR_ERR_ARGUMENT: a text that is not UTF-8. After a failure the vocabulary may
 * have terms of the texts before.
 */
extern BrStatus br_learn_words(BrContext *context, const BrText *texts /* (n) */, int n,
							   BrVocabulary *vocabulary, const BrWordOptions *options,
							   BrSparse *counts);

/*
 * The same of runs of three to five characters of each word, which is read with a
 * blank before and behind it; a shorter word is one run. As scikit-learn's
 * analyzer "char_wb" with ngram_range (3, 5), words apart.
 */
extern BrStatus br_learn_word_parts(BrContext *context, const BrText *texts /* (n) */, int n,
									BrVocabulary *vocabulary, const BrProgress *progress,
									BrSparse *counts);

#define BR_SHARED_WORDS_MAX 5
#define BR_SHARED_WORDS_SIZE 60

/*
 * A short name for texts that belong together, from the words they share: those
 * in at least two texts and half of them, as first spelled, in the order in which
 * they first occur, with spaces between; the BR_SHARED_WORDS_MAX with the most
 * weight that fit into BR_SHARED_WORDS_SIZE bytes. Weight is idf times the number
 * of texts; words of less than half the idf of the rarest shared one say too
 * little beside it. A piece of the text that folds to several words ("\u00BD") is
 * shown folded. Nothing shared, or words of idf 0 alone: an empty name.
 *
 * vocabulary, idf: of the catalog, >= 0; a word that is not in it weighs as the
 * rarest that is. Both NULL: all words weigh the same.
 */
extern BrStatus br_learn_shared_words(BrContext *context, const BrText *texts /* (n) */, int n,
									  const BrVocabulary *vocabulary,
									  const float *idf /* (terms) */,
									  char name[BR_SHARED_WORDS_SIZE + 1]);

typedef enum BrLexicalMeasure
{
	BR_LEXICAL_TFIDF,
	BR_LEXICAL_BM25
} BrLexicalMeasure;

/*
 * How much a term tells; n texts, df of them with the term:
 *
 *		TFIDF	ln((1 + n) / (1 + df)) + 1
 *		BM25	ln(1 + (n - df + .5) / (df + .5))
 *
 * Sources: scikit-learn's TfidfVectorizer (smooth_idf); Lucene's BM25Similarity.
 */
extern BrStatus br_learn_lexical_idf(BrContext *context, const BrSparse *counts,
									 BrLexicalMeasure measure, float *idf /* (terms) */);

typedef struct BrLexicalOptions
{
	BrLexicalMeasure measure;
	bool sublinear;		/* TFIDF: 1 + ln(count) instead of the count */
	double k1;			/* BM25: >= 0; usually 1.2: how soon repetition tells nothing more */
	double b;			/* BM25: [0, 1]; usually .75: how much longer texts are discounted */
	double mean_length; /* BM25: of all texts, in terms; 0: that of counts */
} BrLexicalOptions;

/*
 * weights, in place of counts c of a text of length l (the sum of its counts):
 *
 *		TFIDF	c idf, then the row at length 1
 *		BM25	idf c (k1 + 1) / (c + k1 (1 - b + b l / mean_length))
 *
 * The product of two rows of the first is their cosine; of a row of counts and
 * one of the second, how well the latter answers the former. The first is
 * scikit-learn's TfidfVectorizer with its defaults, but for what a word is: there
 * words have two characters at least, an underscore is part of one, a mark is not.
 *
 * counts: > 0, with sublinear >= 1. idf: >= 0, of these texts or of others.
 * Source: Robertson, Zaragoza, "The Probabilistic Relevance Framework: BM25 and
 * Beyond", 2009.
 */
extern BrStatus br_learn_lexical_weights(BrContext *context, const BrSparse *counts,
										 const float *idf /* (terms) */,
										 const BrLexicalOptions *options, BrSparse *weights);

typedef struct BrLexicalSearch
{
	int depth;	 /* of each list, >= 1 */
	float least; /* weights above it are listed; >= 0 */
	bool same;	 /* query i is text i, and not listed for itself */
	const BrProgress *progress;
} BrLexicalSearch;

/*
 * For each row of queries the rows of texts whose product with it is largest;
 * exactly those, though most texts are not looked at. Values are >= 0, columns
 * the same terms.
 */
extern BrStatus br_learn_lexical_lists(BrContext *context, const BrSparse *queries,
									   const BrSparse *texts, const BrLexicalSearch *search,
									   BrLists *lists);

/* ---- directed complements over embeddings (complement.c) ---- */

/*
 * What goes with an item, and not the other way about, from its text's vector:
 *
 *		s(i -> j) = (F z_i) . (G z_j) + b(category i, category j)
 *
 * F and G begin as one random orthonormal projection, under which s is close to
 * z_i . z_j, and are trained so that among targets a pair's own is told by the
 * softmax of s / temperature - ln(how often a batch has the target).
 * b is temperature * ln((n + k) / (e + k)), of the weight n of pairs from one
 * category to another and what is expected of it by chance, e; 0 where a
 * category is unknown.
 *
 * Sources: McAuley et al., "Inferring networks of substitutable and
 * complementary products", KDD 2015 (two kinds of relation over one text);
 * Yi et al., "Sampling-bias-corrected neural modeling ...", RecSys 2019 (loss).
 */
typedef struct BrComplementItems
{
	int n;
	int dims;				 /* 1 to 1,024 */
	const float *embeddings; /* (n, dims), finite; of length 1 the temperature is meant */
	const int32_t *category; /* (n), -1: unknown; NULL: nothing is known */
	int categories;			 /* 0 to 2,048 */
} BrComplementItems;

typedef struct BrComplementPair
{
	int32_t source; /* item that was there */
	int32_t target; /* another that was bought with it */
	float weight;	/* above 0, finite; of equal pairs the sum counts */
} BrComplementPair;

typedef struct BrComplementOptions
{
	int rank;			  /* rows of F and G, 1 to 128, at most dims */
	double temperature;	  /* .001 to 100 */
	double learning_rate; /* of Adam, 1e-8 to 10 */
	double penalty;		  /* each step keeps 1 / (1 + rate * penalty) of what parts F and G from
						   * their start; 0 to 1e12 */
	double smoothing;	  /* k above, .001 to 1e9 */
	double held_out;	  /* share of pairs that judge each epoch, 0 to .5 */
	int epochs;			  /* at most, 0 to 100,000 */
	int patience;		  /* epochs without a better judgement before it ends, 1 to 100,000 */
	int batch;			  /* pairs, 2 to 4,096 */
	int hard;			  /* of a pair's own negatives, 0 to 64 */
	uint64_t seed;
} BrComplementOptions;

/*
 * rank 128, temperature .05, rate .001, penalty 1, smoothing 5, a tenth held out,
 * at most 50 epochs, patience 3, batches of 256, no hard ones. The rank must be
 * lowered to the dims where these are fewer.
 */
extern void br_learn_complement_defaults(BrComplementOptions *options);

typedef struct BrComplement
{
	int dims;
	int rank;
	int categories;
	float *source;		  /* F: (rank, dims) */
	float *target;		  /* G: (rank, dims) */
	float *bias;		  /* b: (categories, categories) */
	int epoch;			  /* that was kept; 0: the start */
	double held_out_loss; /* of it; NaN where no pair was held out, and the last epoch is kept */
} BrComplement;

/*
 * alike: for each item others that read like it, from which hard negatives are
 * drawn where the pairs have them in neither direction; NULL: none.
 * progress: in epochs.
 * BR_ERR_ARGUMENT: also where all pairs are held out; BR_ERR_NUMERIC: the
 * learning rate was too high for the loss to stay finite.
 */
extern BrStatus br_learn_complement(BrContext *context, const BrComplementItems *items,
									const BrComplementPair *pairs, int64_t n, const BrLists *alike,
									const BrComplementOptions *options, const BrProgress *progress,
									BrComplement *complement);
extern void br_learn_complement_free(BrContext *context, BrComplement *complement);

/* s of two items, whose categories are in range or -1. */
extern double br_learn_complement_score(const BrComplement *complement,
										const float *source /* (dims) */, int source_category,
										const float *target /* (dims) */, int target_category);

/* For each of the items the depth others with the highest s, which may be below 0. */
extern BrStatus br_learn_complement_lists(BrContext *context, const BrBackend *backend,
										  const BrComplement *complement,
										  const BrComplementItems *items, int depth,
										  BrLists *lists);

/* ---- propagation over graphs (graph.c) ---- */

/*
 * Vectors of users and curated bundles from three graphs: which bundles a user
 * bought, which items he has, which items are in a bundle. Each of the first two
 * is walked from trained embeddings, e' = D^-1/2 A D^-1/2 e; a bundle is a node
 * of the one and the mean of its items in the other. A score is the product of
 * the vectors of a user and a bundle, that of both views together.
 *
 * Sources: He et al., "LightGCN", SIGIR 2020; Ma et al., "CrossCBR: cross-view
 * contrastive learning for bundle recommendation", KDD 2022; loss: Rendle et
 * al., "BPR", UAI 2009.
 */
typedef enum BrGraphCombine
{
	BR_GRAPH_AVERAGE,	/* the mean of all steps and the embedding (LightGCN) */
	BR_GRAPH_NORMALISED /* the embedding, plus each step at length 1 (CrossCBR) */
} BrGraphCombine;

#define BR_GRAPH_MAX_LAYERS 3

typedef struct BrGraphOptions
{
	int dims;	/* of a view: a multiple of 8, 8 to 256 */
	int layers; /* steps, 1 to BR_GRAPH_MAX_LAYERS */
	BrGraphCombine combine;
	double contrast;	/* share of the two InfoNCE terms between the views, 0 to 100; 0: without */
	double temperature; /* of them, .01 to 100 */
	double learning_rate; /* of Adam, 1e-8 to 10 */
	double penalty;		  /* on squares of embeddings, at each batch, 0 to 100 */
	double edge_dropout;  /* probability that an edge is left out for an epoch, 0 to .95 */
	int epochs;			  /* over all purchases, 0 to 100,000; 0 leaves random embeddings */
	int batch; /* purchases a step, each with one bundle drawn as not bought; 1 to 2^20 */
	uint64_t seed;
} BrGraphOptions;

/* dims 64, 1 layer, normalised, contrast .04 at .25, rate .001, penalty 1e-4, 50 epochs of 2,048. */
extern void br_learn_graph_defaults(BrGraphOptions *options);

typedef struct BrGraph
{
	int users;
	int items;
	int bundles;
	int dims; /* 2 * view_dims: the item view, then the bundle view */
	int view_dims;
	int layers;
	BrGraphCombine combine;
	float *user;   /* (users, dims) */
	float *bundle; /* (bundles, dims) */

	/* what folding in needs */
	float *own;			 /* (users, view_dims): users' embeddings */
	float *item;		 /* (items, view_dims): of which a bundle's item view is the mean */
	float *item_steps;	 /* (items, layers, view_dims): what an item gives its users */
	float *bundle_steps; /* (bundles, layers, view_dims) */
} BrGraph;

/*
 * Values of the matrices are not looked at: an edge is there or not.
 * user_item: NULL: the items of a user's bundles, as br_learn_graph_items.
 * progress: in epochs.
 * It takes 4 (12 + 2 layers) bytes for each dimension of each user, item and
 * bundle while it trains, and each batch walks all edges.
 * BR_ERR_ARGUMENT also where nobody has a bundle; BR_ERR_LIMIT: users, items and
 * bundles times dims exceed 2^26; BR_ERR_NUMERIC: the learning rate was too high
 * for the loss to stay finite.
 */
extern BrStatus br_learn_graph(BrContext *context,
							   const BrSparse *user_bundle /* (users, bundles) */,
							   const BrSparse *user_item /* (users, items) */,
							   const BrSparse *bundle_item /* (bundles, items) */,
							   const BrGraphOptions *options, const BrProgress *progress,
							   BrGraph *graph);
extern void br_learn_graph_free(BrContext *context, BrGraph *graph);

/* Each user's items, from his bundles: freed by br_learn_sparse_free. */
extern BrStatus br_learn_graph_items(BrContext *context, const BrSparse *user_bundle,
									 const BrSparse *bundle_item, BrSparse *user_item);

/*
 * The vector of a user who is new, or has bought since, without training.
 * own: his row of graph->own, NULL where he was not trained. With it and what
 * he had in training, the result is his row of graph->user up to rounding.
 * bundles, items: all that he has now, each once.
 * BR_ERR_ARGUMENT: one of them does not exist.
 */
extern BrStatus br_learn_graph_fold_user(BrContext *context, const BrGraph *graph,
										 const float *own /* (view_dims) */, const int32_t *bundles,
										 int n_bundles, const int32_t *items, int n_items,
										 float *user /* (dims) */);

/* The vector of a bundle that nobody has bought, from its items; its bundle view is 0. */
extern BrStatus br_learn_graph_fold_bundle(BrContext *context, const BrGraph *graph,
										   const int32_t *items, int n, float *bundle /* (dims) */);
/* ---- what words say about belonging together (term_weights.c) ---- */

/*
 * How much a term that two texts share speaks for their things standing in one
 * set: the logarithm of its lift,
 *
 *		w_t = ln max( (n_t + shrinkage prior) / (e_t + shrinkage), 1.05 ),
 *
 * n_t: over all sets and ordered pairs in them, each set of m things weighing its
 * pairs by 1 / (m - 1), the pairs that share t; e_t: what it would be if partners
 * were drawn from all things; prior: the same lift of all terms that occur about as often
 * (within half a power of two). Where no pair shares any term the smooth idf
 * ln((1 + n) / (1 + df)) + 1 stands in.
 *
 * An idf says that rare words tell more; this says which of the rare ones, a
 * model number more than a colour. Measured on labelled electronics bundles (10
 * splits by session), hit rate at 10 of the cosine: .206, with smooth idf .188.
 *
 * texts: (things, terms), values not looked at; sets: (sets, things), values not
 * looked at. shrinkage: > 0, finite.
 */
extern BrStatus br_learn_term_weights(BrContext *context, const BrSparse *texts,
									  const BrSparse *sets, double shrinkage,
									  float *weights /* (terms) */);

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

#endif /* BR_LEARN_H */
