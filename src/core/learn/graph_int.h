/*
 * graph_int.h
 *	  What the files of propagation over graphs share.
 *
 * A view is a graph of users on one side and items, or bundles, on the other.
 * Only the users' rows of its matrix are kept: a step towards the users gathers
 * along a row, a step away from them scatters along it, and the same two carry
 * the gradient back, for the matrix is symmetric.
 */
#ifndef GRAPH_INT_H
#define GRAPH_INT_H

#include "core/learn/real_int.h"

/* Rows of a batch are told apart from so many others at once by the contrast. */
#define BR_GRAPH_GROUP 256

/* Multiplications between two looks at the cancel callback. */
#define BR_GRAPH_WORK_BLOCK (INT64_C(1) << 23)

/* Adds to *work what is as much as so many multiplications; once it is a block, it asks. */
static inline BrStatus
br_learn_graph_work(BrContext *context, int64_t *work, int64_t more)
{
	*work += more;
	if (*work < BR_GRAPH_WORK_BLOCK)
		return BR_OK;
	*work = 0;
	return br_base_cancelled(context) ? BR_ERR_CANCELLED : BR_OK;
}

/* One side of a view: its rows at each step and what is known of them. */
typedef struct BrGraphSide
{
	int rows;
	const BrReal *start; /* (rows, dims): embeddings, of the model */
	BrReal *start_slope; /* (rows, dims): their gradient, of the model */
	BrReal *steps;		 /* (layers, rows, dims): after 1 .. layers steps */
	BrReal *out;		 /* (rows, dims): the steps combined */
	BrReal *out_slope;	 /* (rows, dims) */
	BrReal *slope;		 /* (rows, dims): of the step at hand */
	BrReal *next;		 /* (rows, dims): of the step before it */
} BrGraphSide;

typedef struct BrGraphView
{
	const BrSparse *edges; /* (users, others) */
	BrReal *weights;	   /* (entries): 1 / sqrt(degree degree); 0: left out this time */
	int32_t *user_degree;  /* (users) */
	int32_t *other_degree; /* (others) */
	BrGraphSide user;
	BrGraphSide other;
} BrGraphView;

typedef struct BrGraphModel
{
	BrContext *context;
	BrGraphOptions options;
	int users;
	int items;
	int bundles;
	const BrSparse *bundle_item;
	BrReal *embedding; /* (users + items + bundles, dims) */
	BrReal *slope;	   /* as embedding: gradient of the last loss */
	BrGraphView item_view;
	BrGraphView bundle_view;
	BrReal *mean;		/* (bundles, dims): bundles in the item view */
	BrReal *mean_slope; /* (bundles, dims) */
	uint8_t *wanted;	/* (users): in the batch */
	uint8_t *met;		/* (bundles): positive in the batch */
	BrReal *group;		/* work memory of the contrast */
	int32_t *distinct;	/* (batch): rows that it compares */
} BrGraphModel;

/* n triples: a user, a bundle that he has and one that he has not. */
typedef struct BrGraphBatch
{
	int n;
	const int32_t *user;
	const int32_t *has;
	const int32_t *lacks;
} BrGraphBatch;

/* Embeddings are random, edges all there. Matrices must outlive the model. */
extern BrStatus br_learn_graph_create(BrContext *context, const BrSparse *user_bundle,
									  const BrSparse *user_item, const BrSparse *bundle_item,
									  const BrGraphOptions *options, BrGraphModel *model);
extern void br_learn_graph_destroy(BrGraphModel *model);

extern BrStatus br_learn_graph_view_create(BrGraphModel *model, const BrSparse *edges,
										   int64_t first_other, BrGraphView *view);
extern void br_learn_graph_view_free(BrContext *context, BrGraphView *view);

/* Leaves out each edge with probability `dropout` and weighs the others by what is left. */
extern BrStatus br_learn_graph_weigh(BrContext *context, BrGraphView *view, double dropout,
									 uint64_t key, uint64_t stream);

/* Both sides' steps and out; wanted: users whose last step and out are needed, NULL: all. */
extern BrStatus br_learn_graph_forward(BrGraphModel *model, BrGraphView *view,
									   const uint8_t *wanted /* (users) */);

/* Adds to the gradient of the embeddings what comes from out_slope, 0 where not wanted. */
extern BrStatus br_learn_graph_backward(BrGraphModel *model, BrGraphView *view,
										const uint8_t *wanted);

/* The mean of its items' out for each bundle, and its gradient on the way back. */
extern BrStatus br_learn_graph_mean(BrGraphModel *model);
extern BrStatus br_learn_graph_mean_back(BrGraphModel *model);

/*
 * Loss of a batch over the model as it is, and its gradient in model->slope. It
 * is the mean of -ln sigma(score of has - score of lacks), plus
 * contrast / 2 times the two contrasts, plus penalty / 2 times the squares of
 * all embeddings.
 */
extern BrStatus br_learn_graph_loss(BrGraphModel *model, const BrGraphBatch *batch, double *loss);

/*
 * InfoNCE: how well row i of one view is told from the others by row i of the
 * other view; mean over the given rows, whose gradient times `share` is added
 * to the slopes.
 */
extern BrStatus br_learn_graph_contrast(BrGraphModel *model, const int32_t *rows, int n,
										const BrReal *left, const BrReal *right, double share,
										BrReal *left_slope, BrReal *right_slope, double *loss);

/* BrReals of model->group. */
#define BR_GRAPH_GROUP_SIZE(dims) ((size_t) BR_GRAPH_GROUP * (4 * (size_t) (dims) + BR_GRAPH_GROUP))

#endif /* GRAPH_INT_H */
