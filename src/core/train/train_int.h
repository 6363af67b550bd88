/*
 * train_int.h
 *	  What the files of the train room share.
 *
 * model.c holds parameters and gradient, plan.c the memory of a batch,
 * forward.c and backward.c the layers, attention.c and pooling.c what is
 * particular to them, rows.c what works row by row, products.c what the
 * backend computes, accumulate.c whole batches, adversarial.c those that are
 * disturbed, masked.c those whose words are guessed, delta.c, lora.c, adalora.c,
 * bottleneck.c and prefix.c what is trained instead of the model's own weights,
 * image.c the way back into an image, device.c a run that a device computes,
 * augment.c and sentences.c texts before they are embedded. "Slope" is everywhere the
 * derivative of the loss with respect to what it is named after.
 *
 * Layers go in phases. In a phase every thread takes a part of the rows, of
 * the heads, or of the weights, and all wait for the slowest, so that sums are
 * added up in one order for a number of threads.
 */
#ifndef TRAIN_INT_H
#define TRAIN_INT_H

#include <math.h>
#include <string.h>

#include "core/train/br_train.h"

/* ---- rows.c: numbers side by side, in lanes of one width on every machine ---- */

#define BR_LANES 8

typedef BrReal BrLanes
	__attribute__((vector_size(BR_LANES * sizeof(BrReal)), aligned(sizeof(BrReal)), may_alias));

/* to += from */
extern void br_train_add(BrReal *to, const BrReal *from, int n);

/* to += weight * from */
extern void br_train_add_scaled(BrReal *to, BrReal weight, const BrReal *from, int n);
extern BrReal br_train_dot(const BrReal *left, const BrReal *right, int n);

/* 1 / |row|, the length at least 1e-12. */
extern BrReal br_train_inverse_length(const BrReal *row, int n);

/* Where a layer norm stands among the parameters. */
typedef struct BrTrainNorm
{
	size_t gain; /* (hidden) */
	size_t bias; /* (hidden) */
} BrTrainNorm;

/* output = (sum - mean) scale gain + bias, with mean and 1 / sqrt(variance + epsilon) kept. */
extern void br_train_norm(const BrReal *sum /* (rows, dim) */, const BrReal *gain,
						  const BrReal *bias, BrReal epsilon, int rows, int dim,
						  BrReal *moments /* (rows, 2): mean, scale */,
						  BrReal *output /* (rows, dim) */);

/* The slope of sum from that of the output, in place; adds the slopes of gain and bias. */
extern void br_train_norm_slope(const BrReal *sum /* (rows, dim) */,
								const BrReal *moments /* (rows, 2) */, const BrReal *gain, int rows,
								int dim, BrReal *gain_slope, BrReal *bias_slope,
								BrReal *slope /* (rows, dim) */);

/* ---- products.c: what the backend computes ---- */

#ifdef BR_TRAIN_DOUBLE
typedef struct BrTrainFactor
{
	const BrReal *values;
	int stride;
	bool transposed;
} BrTrainFactor;
#else
typedef BrFactor BrTrainFactor;
#endif

/* As the table's operations of these names. */
extern void br_train_multiply(const BrBackend *backend, BrTrainFactor left, BrTrainFactor right,
							  int rows, int columns, int depth, BrReal scale, BrReal keep,
							  int output_stride, BrReal *output);
extern void br_train_activate(const BrBackend *backend, BrReal *values, size_t n,
							  BrActivation activation);
extern void br_train_activate_slope(const BrBackend *backend, const BrReal *input, size_t n,
									BrActivation activation, BrReal *slope);
extern void br_train_softmax(const BrBackend *backend, BrReal *values, int rows, int columns,
							 int stride);

/* A dense layer: where its matrix and bias stand among the parameters. */
typedef struct BrTrainDense
{
	size_t weight; /* (out_dim, in_dim) */
	size_t bias;   /* (out_dim) */
	bool has_bias;
	int in_dim;
	int out_dim;
} BrTrainDense;

/* output = input weight' + bias */
extern void br_train_dense(const BrBackend *backend, const BrTrainDense *dense,
						   const BrReal *parameters, const BrReal *input /* (rows, in_dim) */,
						   int rows, BrReal *output /* (rows, out_dim) */);

/* input_slope = keep * input_slope + output_slope weight */
extern void br_train_dense_input(const BrBackend *backend, const BrTrainDense *dense,
								 const BrReal *parameters,
								 const BrReal *output_slope /* (rows, out_dim) */, int rows,
								 BrReal keep, BrReal *input_slope /* (rows, in_dim) */);

/* Adds to the gradient that of outputs first to last - 1: output_slope' input, and its sums. */
extern void br_train_dense_weight(const BrBackend *backend, const BrTrainDense *dense,
								  const BrReal *input /* (rows, in_dim) */,
								  const BrReal *output_slope /* (rows, out_dim) */, int rows,
								  int first, int last, BrReal *gradient);

/* ---- model.c ---- */

struct BrTrainModel
{
	BrAllocator allocator; /* that the model came from */
	BrModelShape shape;
	BrTrainHead head;
	BrTrainDense head_dense;
	BrTrainDense words_dense;
	BrTrainNorm words_norm;
	size_t words_bias;		/* (vocabulary) */
	BrTrainTensor *tensors; /* (n_tensors) */
	int n_tensors;
	size_t n;
	BrReal *parameters;					  /* (n) */
	BrReal *gradient;					  /* (n) */
	struct BrTrainDelta *delta;			  /* what it is trained by; NULL: by its weights */
	struct BrTrainLora *lora;			  /* NULL: it has none */
	struct BrTrainBottleneck *bottleneck; /* NULL: it has none */
	struct BrTrainPrefix *prefix;		  /* NULL: it has none */
};

/* Where things of a layer stand. */
typedef struct BrTrainLayer
{
	BrTrainDense qkv;
	BrTrainDense output;
	BrTrainDense up;
	BrTrainDense down;
	BrTrainNorm attention_norm;
	BrTrainNorm layer_norm;
} BrTrainLayer;

extern BrTrainLayer br_train_layer(const BrModelShape *shape, int number);

/* The matrix of a dense step. */
extern BrTrainDense br_train_step_dense(const BrModelShape *shape, int number);

/* BR_ERR_ARGUMENT: texts or ids that the model cannot take, or a weight that is none. */
extern BrStatus br_train_check_batch(BrContext *context, const BrModelShape *shape,
									 const BrTrainBatch *batch);

static inline double
br_train_weight(const BrTrainBatch *batch)
{
	return batch->share != NULL ? batch->share->weight : 1;
}

/* Where the batch begins in what it is a share of. */
static inline size_t
br_train_place(const BrTrainBatch *batch)
{
	return batch->share != NULL ? batch->share->first_token : 0;
}

/* ---- plan.c: the memory of a batch ---- */

/* Of the bottleneck behind one half of a layer. */
typedef struct BrTrainAdapted
{
	BrReal *input;	/* (tokens, hidden) */
	BrReal *inner;	/* (tokens, size): before the activation */
	BrReal *active; /* (tokens, size) */
} BrTrainAdapted;

/* What the way back needs of a layer besides its input. */
typedef struct BrTrainTape
{
	BrReal *qkv;			/* (tokens, 3 * attended) */
	BrReal *attended;		/* (tokens, attended) */
	BrReal *first_sum;		/* (tokens, hidden): what the first norm is of */
	BrReal *first;			/* (tokens, hidden): the norm */
	BrReal *inner;			/* (tokens, intermediate): before the activation */
	BrReal *active;			/* (tokens, intermediate) */
	BrReal *second_sum;		/* (tokens, hidden) */
	BrReal *first_moments;	/* (tokens, 2) */
	BrReal *second_moments; /* (tokens, 2) */
	BrTrainAdapted adapted[2];
} BrTrainTape;

/* What one thread works with. */
typedef struct BrTrainWorker
{
	BrReal *weights;   /* (longest, reach): of attention */
	BrReal *slopes;	   /* (longest, reach) */
	BrReal *distances; /* (2 * longest - 1): slopes of the relative table, by distance */
	BrReal *norms;	   /* (4, hidden): slopes of gain and bias of two norms, by its rows */
	BrStatus status;
} BrTrainWorker;

typedef struct BrTrainAdaptedSlopes
{
	BrReal *output; /* (tokens, hidden): of what the bottleneck gave */
	BrReal *inner;	/* (tokens, size) */
} BrTrainAdaptedSlopes;

/* The slopes of one layer. */
typedef struct BrTrainSlopes
{
	BrReal *state;	   /* (tokens, hidden): of the layer's output, then of its input */
	BrReal *sum;	   /* (tokens, hidden): of the second sum, then of the first */
	BrReal *down;	   /* (tokens, hidden): of what the last dense layer gave */
	BrReal *projected; /* (tokens, hidden): of what the output projection gave */
	BrReal *inner;	   /* (tokens, intermediate) */
	BrReal *attended;  /* (tokens, attended) */
	BrReal *qkv;	   /* (tokens, 3 * attended) */
	BrTrainAdaptedSlopes adapted[2];
	BrReal *narrow; /* (tokens, width of low-rank additions) */
} BrTrainSlopes;

/* Between the words of a batch and their embeddings, while adversarial.c is at work. */
typedef struct BrTrainDisturbance
{
	size_t first_token; /* place of the batch in what it is a share of */
	BrReal *moves;		/* (tokens, hidden): added to word embeddings; NULL: nothing is */
	BrReal *slopes;		/* (tokens, hidden): of word embeddings, to be filled; NULL: they are not */
} BrTrainDisturbance;

struct BrTrainRun
{
	BrContext *context;
	BrTrainModel *model;
	const BrModelShape *shape; /* the model's */
	BrTrainOptions options;
	const BrBackend *backend;
	int n_workers;
	uint32_t drop;			 /* of 65536 */
	uint32_t drop_attention; /* of 65536 */
	void *block;			 /* of all buffers below */
	size_t capacity;		 /* its bytes */

	/* the batch, and where it stands in a larger one */
	BrTrainBatch batch;
	int tokens;
	int longest;
	int reach;	  /* keys of the longest text: the prefix's and its own */
	uint64_t key; /* of this step's dropout */
	size_t first_token;
	bool pending; /* embedded and not yet propagated back */

	int layer;		   /* on which the workers are at work */
	BrTrainLayer at;   /* its places */
	BrTrainTape *tape; /* its tape */

	int n_kept;				/* layers that have a tape of their own: the last ones */
	BrTrainTape *tapes;		/* (n_kept), then one for all other layers */
	BrTrainWorker *workers; /* (n_workers) */
	BrTrainSlopes slopes;
	BrReal *states;			  /* (layers + 1, tokens, hidden) */
	BrReal *embedded;		  /* (tokens, hidden): what the first norm of all is of */
	BrReal *embedded_moments; /* (tokens, 2) */
	BrReal *relative;		  /* (heads, 2 * reach - 1), NULL: there is none */
	int32_t *positions;		  /* (tokens) */
	BrReal *vectors[BR_IMAGE_MAX_STEPS + 1]; /* inputs of the steps and the last output */
	BrReal *step_inner[BR_IMAGE_MAX_STEPS];	 /* of dense steps, before the activation */
	BrReal *vector_slopes[2];				 /* (texts, widest vector) */
	struct BrTrainGuesses *guesses;			 /* of masked.c, while it is at work */
	const BrTrainDisturbance *disturbance;	 /* NULL: there is none */
	BrDeviceTraining *on_device;			 /* NULL: the backend computes */
};

/* Takes a batch in, and makes room for it. */
extern BrStatus br_train_plan(BrTrainRun *run, const BrTrainBatch *batch);

/* The state that a layer reads; that of the number of layers is the last one's output. */
static inline BrReal *
br_train_state(const BrTrainRun *run, int layer)
{
	return run->states + (size_t) layer * (size_t) run->tokens * (size_t) run->shape->hidden;
}

/* The row of a disturbance for a token of the batch that was taken in. */
static inline size_t
br_train_disturbed(const BrTrainRun *run, int row)
{
	return (run->first_token - run->disturbance->first_token + (size_t) row) *
		(size_t) run->shape->hidden;
}

/* ---- forward.c ---- */

/* Rows between two questions whether to stop. */
#define BR_TRAIN_BLOCK 256

/* Where dropout strikes, in a layer; attention's heads follow. */
typedef enum BrTrainSite
{
	BR_SITE_EMBEDDING,
	BR_SITE_PROJECTED,
	BR_SITE_DOWN,
	BR_SITE_HEADS
} BrTrainSite;

/* The key of a step's random numbers. */
extern uint64_t br_train_key(uint64_t seed, uint64_t step);

/* Sets some of n values to 0 and divides the others by their share; row: of the batch. */
extern void br_train_drop(const BrTrainRun *run, uint32_t share, int site, int row, int n,
						  BrReal *values);

/* The same of whole rows of hidden values. */
extern void br_train_drop_rows(const BrTrainRun *run, BrTrainSite site, int row, int rows,
							   BrReal *values);

/* Where a worker's part of so many begins; behind the last worker the end. */
extern int br_train_part(const BrTrainRun *run, int count, int number);

/* The caller's thread asks the caller; the others end with the phase. */
extern BrStatus br_train_stopped(const BrTrainRun *run, int number);

/* All workers run a phase. */
extern BrStatus br_train_run_all(BrTrainRun *run, BrStatus (*phase)(BrTrainRun *run, int number));

/* Makes a layer, or that of the embeddings, the one at work. */
extern void br_train_enter(BrTrainRun *run, int layer);

/* The layer at work: its tape and the state behind it. */
extern BrStatus br_train_forward_layer(BrTrainRun *run);

/* All states of the batch that was taken in, at place first_token of a larger one. */
extern BrStatus br_train_forward(BrTrainRun *run, uint64_t step, size_t first_token);

/* ---- contrastive.c: what losses over unit vectors share ---- */

/* units, 0 before, and 1 / length of every embedding */
extern void br_train_make_units(const BrReal *embeddings /* (texts, dim) */, int texts, int dim,
								BrReal *units /* (texts, dim) */, BrReal *inverse /* (texts) */);

/* Adds the slope of every embedding, from that of its unit vector. */
extern void br_train_add_through_lengths(const BrReal *units, const BrReal *inverse,
										 const BrReal *outer /* (texts, dim): of the units */,
										 int texts, int dim, BrReal *slope /* (texts, dim) */);

/* ---- backward.c ---- */

/* From slopes.state of the last state to the gradient. */
extern BrStatus br_train_backward(BrTrainRun *run);

/* ---- attention.c ---- */

/* Of heads first to last - 1 of a text. */
extern void br_train_attend(BrTrainRun *run, BrTrainWorker *worker, int text, int first, int last);
extern void br_train_attend_slope(BrTrainRun *run, BrTrainWorker *worker, int text, int first,
								  int last);

/* What attention adds for every distance between two tokens. */
extern void br_train_fill_relative(BrTrainRun *run);

/* ---- lora.c: a model's low-rank additions ---- */

/* How many numbers of a token they need on the way back, 0: the model has none. */
extern int br_train_lora_width(const BrTrainModel *model);

/* A phase: of the layer at work, what its slopes need; then a worker's part of those. */
extern BrStatus br_train_lora_narrow(BrTrainRun *run, int number);
extern void br_train_lora_weights(const BrTrainRun *run, int number);

/* The same of the gradients of whole matrices, which are 0 then. */
extern void br_train_lora_of_matrices(BrTrainRun *run);

/* ---- bottleneck.c: behind both halves of a layer; the model has one ---- */

/* The width of the model's bottlenecks, 0: it has none. */
extern int br_train_bottleneck_size(const BrTrainModel *model);

/* Rows of what a half gave, from row on, as its bottleneck makes them, in place. */
extern void br_train_adapt(const BrTrainRun *run, int half, int row, int rows,
						   BrReal *sum /* (rows, hidden) */);

/* Their slope, from that of what the bottleneck gave, in place. */
extern void br_train_adapt_slope(const BrTrainRun *run, int half, int row, int rows,
								 BrReal *slope /* (rows, hidden) */);

/* A worker's part of the gradient of both bottlenecks of the layer at work. */
extern void br_train_adapt_weights(const BrTrainRun *run, int number);

/* ---- prefix.c: keys and values before every text's; but for the first, the model has one ---- */

/* How many, 0: the model has none. */
extern int br_train_prefix_length(const BrTrainModel *model);

/* The numbers that attention reads, and those to which it adds their slopes. */
extern const BrReal *br_train_prefix_values(const BrTrainModel *model); /* (layers, 2, length,
																		   hidden) */
extern BrReal *br_train_prefix_slopes(const BrTrainModel *model);

/* Their slopes are 0 again. */
extern void br_train_prefix_forget(const BrTrainModel *model);

/* ---- delta.c: what a model is trained by instead of its own weights ---- */

/* The lender of a tensor that is in the set alone. */
#define BR_TRAIN_OWN SIZE_MAX

typedef struct BrTrainDelta
{
	BrContext *context;
	BrTrainModel *model;
	BrTrainSet set;
	BrTrainTensor *tensors; /* the set's */
	size_t *lenders;		/* (tensors): where the model has the tensor, or BR_TRAIN_OWN */
	BrReal *slopes;			/* (the set's n): of own tensors, since they were pulled */
} BrTrainDelta;

/* The model's tensor that begins there. */
extern const BrTrainTensor *br_train_tensor_at(const BrTrainModel *model, size_t offset);

/* BR_ERR_ARGUMENT: the model is trained by another. After a failure the delta is to be closed. */
extern BrStatus br_train_delta_open(BrTrainDelta *delta, BrContext *context, BrTrainModel *model,
									int most_tensors);

/*
 * Adds a tensor, named "x.part.weight", or with no columns "x.part.bias", after
 * the model's "x.weight" at beside. Returns where it stands in the set.
 */
extern size_t br_train_delta_add(BrTrainDelta *delta, size_t beside, const char *part, int rows,
								 int columns);

/* Adds one of that name, of which the model has nothing. */
extern size_t br_train_delta_add_alone(BrTrainDelta *delta, const char *name, int rows,
									   int columns);

/* Adds the model's tensor that begins there, or those of its head. */
extern void br_train_delta_lend(BrTrainDelta *delta, size_t offset);
extern void br_train_delta_lend_head(BrTrainDelta *delta);

/* When all are added: makes the set, own tensors 0. */
extern BrStatus br_train_delta_fill(BrTrainDelta *delta);
extern void br_train_delta_close(BrTrainDelta *delta);

/* Adds to the set's gradient what came since the last time. */
extern void br_train_delta_pull(BrTrainDelta *delta);

/* Writes lent tensors back into the model. */
extern void br_train_delta_push(BrTrainDelta *delta);

/* ---- pooling.c ---- */

extern void br_train_pool(BrTrainRun *run, BrReal *embeddings);

/* The slope of the last state from that of the embeddings; adds the gradient of dense steps. */
extern void br_train_pool_slope(BrTrainRun *run, const BrReal *slope);

/* ---- device.c: a run whose layers a device computes ---- */

/* Opens the model on the device of the options. */
extern BrStatus br_train_device_begin(BrTrainRun *run);
extern void br_train_device_end(BrTrainRun *run); /* does nothing where there is none */

/* Whether a run can do what needs the states of tokens: BR_ERR_UNSUPPORTED on a device. */
extern BrStatus br_train_device_refuse(const BrTrainRun *run, const char *what);

/* Brings the parameters there; where there is no device nothing. */
extern BrStatus br_train_device_push(BrTrainRun *run);

/* Embeds, and goes back, without bringing anything there or from there. */
extern BrStatus br_train_device_embed(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step,
									  size_t first_token, BrReal *embeddings);
extern BrStatus br_train_device_back(BrTrainRun *run, const BrReal *slope);

/* Adds the device's gradient to the model's; where there is no device nothing. */
extern BrStatus br_train_device_pull(BrTrainRun *run);

/* ---- accumulate.c ---- */

/* As br_train_backpropagate, but that a device keeps its gradient. */
extern BrStatus br_train_back(BrTrainRun *run, const BrReal *slope);

#endif /* TRAIN_INT_H */
