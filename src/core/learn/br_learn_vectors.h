/*
 * br_learn_vectors.h
 *	  Learners that give everything a vector: part of the door br_learn.h, through
 *	  which it is included.
 *
 * Factors come from who wanted what, complements from the vectors of texts, and
 * graphs from users, items and bundles together.
 */
#ifndef BR_LEARN_VECTORS_H
#define BR_LEARN_VECTORS_H

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

#endif /* BR_LEARN_VECTORS_H */
