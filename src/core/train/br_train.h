/*
 * br_train.h
 *	  The door of the train room: fine-tuning a text encoder by its gradient.
 *
 * A model is copied out of an opened encoder into one flat array of
 * parameters, with a gradient of the same shape beside it. A run computes
 * embeddings of packed batches, keeps what the way back needs, and adds to the
 * gradient what a loss says of the embeddings. Losses are in
 * br_train_losses.h, what makes a step of a gradient in br_train_optimiser.h.
 * The same seed, steps, backend and number of threads give the same bits.
 */
#ifndef BR_TRAIN_H
#define BR_TRAIN_H

#include "core/base/br_base.h"
#include "core/encoder/br_encoder.h"
#include "core/math/br_backend.h"
#include "core/math/br_device.h"

/*
 * Training computes in float. A test compiles the room in double, where it can
 * hold gradients to differences of the loss.
 */
#ifdef BR_TRAIN_DOUBLE
typedef double BrReal;
#else
typedef float BrReal;
#endif

/* ---- a model whose weights change ---- */

typedef struct BrTrainModel BrTrainModel;

/* What stands on top of an encoder while it is trained. */
typedef struct BrTrainHead
{
	/* a classifier over embeddings, or over what a loss makes of them: one dense layer */
	int classes; /* 0: there is none; else at least 2 */
	int inputs;	 /* above 0 */

	/*
	 * A guess of words from the states of tokens, as BERT's: a dense layer, the
	 * model's activation, a norm, and the word table with a bias for each word.
	 */
	bool words;
} BrTrainHead;

/*
 * One tensor of a model, or of its head: "head.weight" (classes, inputs), "head.bias"
 * (classes), "words.dense.weight" (hidden, hidden), "words.dense.bias", "words.norm.weight",
 * "words.norm.bias" (hidden), "words.bias" (vocabulary).
 */
typedef struct BrTrainTensor
{
	char name[BR_TENSOR_NAME_SIZE];
	int rows;
	int columns;   /* 0: a vector of rows elements */
	size_t offset; /* among the parameters */
	bool decays;   /* by weight decay: matrices and tables do, biases and norms do not */
} BrTrainTensor;

/*
 * Copies the weights of an encoder, which may be closed afterwards. Every
 * architecture, pooling and step that the encoder room opens can be trained.
 * Weights of the head are drawn from N(0, .02^2) by seed, its biases are 0, a
 * norm's gain 1.
 * Tensors stand in the order of the encoder's map, the head's behind them; what
 * is between tensors is 0 and has no gradient. *model: of the caller
 * (br_train_close); the allocator of the context must outlive it.
 * BR_ERR_ARGUMENT: sizes of the head that are none; BR_ERR_UNSUPPORTED: the
 * model has an addition of an earlier training.
 */
extern BrStatus br_train_open(BrContext *context, const BrEncoder *encoder, BrTrainHead head,
							  uint64_t seed, BrTrainModel **model);
extern void br_train_close(BrTrainModel *model); /* NULL is ignored */

extern const BrModelShape *br_train_shape(const BrTrainModel *model);
extern BrTrainHead br_train_head(const BrTrainModel *model);
extern int br_train_dimensions(const BrTrainModel *model); /* of an embedding */
extern const BrTrainTensor *br_train_tensors(const BrTrainModel *model, int *n);

/* How many, those between tensors included; the first shape->map.total are the encoder's. */
extern size_t br_train_count(const BrTrainModel *model);
extern BrReal *br_train_parameters(BrTrainModel *model); /* (br_train_count) */
extern BrReal *br_train_gradient(BrTrainModel *model);	 /* (br_train_count), 0 at first */
extern void br_train_zero_gradient(BrTrainModel *model);

/* Numbers that an optimiser moves, and the tensors among them; in place, of whose they are. */
typedef struct BrTrainSet
{
	BrReal *parameters; /* (n) */
	BrReal *gradient;	/* (n) */
	size_t n;
	const BrTrainTensor *tensors; /* (n_tensors) */
	int n_tensors;
} BrTrainSet;

extern BrTrainSet br_train_set(BrTrainModel *model); /* all of a model */

/*
 * The image of a trained model: a copy of the one that it was opened from, with
 * what it learned, and with bottlenecks or a prefix while it has them; low-rank additions are in
 * its weights already. The head is not in it.
 * *copy: *copy_size bytes, owned by the caller (br_base_free).
 * BR_ERR_FORMAT: not the image of such a model; BR_ERR_NUMERIC: a number that is not finite.
 */
extern BrStatus br_train_make_image(BrContext *context, const BrTrainModel *model,
									const void *image, size_t image_size, void **copy,
									size_t *copy_size);

/* ---- runs ---- */

/*
 * What a batch is of a larger one, whose gradient is added up over several
 * calls of one step. Losses are means: with weight the part of the examples
 * that the batch has, and every text's place in the whole, the sum is what the
 * whole gives but for rounding, if examples of the loss do not see each other.
 * Those of a contrastive loss do; for them br_train_accumulate takes parts. With
 * pairs, whose halves stand apart in the whole, it is so without dropout.
 */
typedef struct BrTrainShare
{
	double weight;		/* above 0: of the gradient, the head's included, and of the value */
	size_t first_token; /* how many tokens of the larger batch stand before it */
} BrTrainShare;

/* Texts as token ids without padding: those of text i at offsets[i] .. offsets[i + 1]. */
typedef struct BrTrainBatch
{
	const int32_t *ids;
	const int32_t *offsets;	   /* (texts + 1), from 0 */
	int texts;				   /* at least 1 */
	const BrTrainShare *share; /* NULL: it is a whole one */
} BrTrainBatch;

/* How to compute. */
typedef struct BrTrainOptions
{
	const BrBackend *backend; /* one that trains: its multiply is not NULL */
	BrPool *pool;			  /* NULL: in the caller's thread alone */

	/*
	 * Bytes that a batch may take besides parameters and gradient. Of the layers
	 * that do not fit only the inputs are kept, and the rest is computed again
	 * on the way back (Chen et al., "Training deep nets with sublinear memory
	 * cost", 2016). 0: all are kept.
	 */
	size_t memory;

	/*
	 * Shares, each in [0, 1), of what is set to 0 while training: of the
	 * embeddings of tokens and of what both halves of a layer add to it, and of
	 * the weights of attention. Rounded to a multiple of 2^-16. Which, depends
	 * on the seed, the step, the layer and the place in the batch alone.
	 */
	double dropout;
	double attention_dropout;
	uint64_t seed;

	/*
	 * A device that computes embeddings and the way back instead of the backend,
	 * which is left the losses; NULL: there is none. Parameters go there with every
	 * batch, and its gradient comes from there. Dropout makes the same choices;
	 * nothing is computed twice to save memory. It trains through
	 * embeddings, and low-rank additions too: bottlenecks, prefixes, adversaries and
	 * masked words are BR_ERR_UNSUPPORTED. The device must outlive the run and be used by nothing
	 * else meanwhile.
	 */
	const BrDeviceTable *device_table; /* of the device */
	BrDevice *device;
} BrTrainOptions;

typedef struct BrTrainRun BrTrainRun;

/*
 * The context and the model must outlive the run; the model must not be in two
 * runs at once. BR_ERR_ARGUMENT: a share outside its range;
 * BR_ERR_UNSUPPORTED: the backend, or the device, does not train, or not this model;
 * BR_ERR_MEMORY, BR_ERR_DEVICE: also as br_device.h has them.
 */
extern BrStatus br_train_begin(BrContext *context, BrTrainModel *model,
							   const BrTrainOptions *options, BrTrainRun **run);
extern void br_train_end(BrTrainRun *run); /* NULL is ignored */

/*
 * Embeddings of a batch, through pooling and all steps, with the dropout of
 * this step. Keeps what br_train_backpropagate needs; ids and offsets must stay until then.
 * BR_ERR_ARGUMENT: a text without tokens or with too many, an id that the
 * model does not have, or a weight that is none; BR_ERR_LIMIT: the batch does not fit into memory, and
 * how much it would take.
 */
extern BrStatus br_train_embed(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step,
							   BrReal *embeddings /* (texts, dimensions) */);

/*
 * Embeddings of any number of texts, a whole batch, without dropout, in parts of
 * about so many tokens (0: at once); to a device parameters go once. What was
 * embedded before has no way back any more, nor have these. Fails as br_train_embed
 * does.
 */
extern BrStatus br_train_read(BrTrainRun *run, const BrTrainBatch *batch, int chunk_tokens,
							  BrReal *embeddings /* (texts, dimensions) */);

/* Adds to the gradient that of a loss whose slope at the last embeddings is given, once. */
extern BrStatus br_train_backpropagate(BrTrainRun *run,
									   const BrReal *slope /* (texts, dimensions) */);

/*
 * A loss over the embeddings of a batch; arg is what it needs besides.
 * *loss: its value. slope: 0 before; the loss adds its derivatives.
 */
typedef BrStatus (*BrTrainLoss)(const void *arg, BrContext *context,
								const BrReal *embeddings /* (texts, dim) */, int texts, int dim,
								double *loss, BrReal *slope /* (texts, dim) */);

/*
 * Adds the gradient of a batch's loss, the head's included.
 * chunk_tokens: 0: the batch is computed at once. Otherwise in parts of about
 * so many tokens, each twice: without keeping anything, for the loss over all
 * of them, and again, with the same dropout, for the gradient (Gao et al.,
 * "Scaling deep contrastive learning batch size under memory limited setup",
 * RepL4NLP 2021). The result differs by rounding alone.
 * BR_ERR_NUMERIC: the loss, or its slope, is not finite. After a failure the
 * gradient is of no use.
 */
extern BrStatus br_train_accumulate(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step,
									BrTrainLoss loss, const void *arg, int chunk_tokens,
									double *value);

/* How texts are disturbed against the loss. */
typedef struct BrTrainAdversary
{
	double size;   /* length of a text's disturbance, above 0, on the scale of word embeddings */
	double weight; /* of the disturbed loss beside the plain one, above 0 */
} BrTrainAdversary;

/*
 * Adds what br_train_accumulate does and besides, with weight, the gradient of
 * the loss at disturbed texts: to the word embeddings of a text, side by side as
 * one vector, is added
 *
 *		size slope / |slope|
 *
 * with the slope of the plain loss there, which is then taken as given; a text
 * without slope stays. Dropout is the same in both (Miyato et al., "Adversarial
 * training methods for semi-supervised text classification", ICLR 2017, section
 * 3; the fast gradient method). Takes, besides the memory of the run, a row of
 * states for each token.
 * *disturbed: the loss there, without the adversary's weight.
 * Fails as br_train_accumulate does; BR_ERR_ARGUMENT also: a number of the
 * adversary out of its range.
 */
extern BrStatus br_train_accumulate_adversarial(BrTrainRun *run, const BrTrainBatch *batch,
												uint64_t step, BrTrainLoss loss, const void *arg,
												int chunk_tokens, const BrTrainAdversary *adversary,
												double *value, double *disturbed);

/* Which tokens are guessed. */
typedef struct BrTrainMasking
{
	double share;		 /* of the tokens, in (0, 1]; .15 is usual */
	int32_t mask_id;	 /* the token that stands for a hidden one */
	const int32_t *kept; /* (n_kept): ids that are never guessed, such as [CLS] and [SEP] */
	int n_kept;
} BrTrainMasking;

/*
 * Adds the gradient of guessing hidden words (Devlin et al., "BERT", NAACL 2019,
 * section 3.1). Each token is chosen with probability share; of those chosen 80
 * of 100 are replaced by the mask, 10 by any word of the vocabulary, 10 stay. The
 * loss is the mean cross-entropy of all chosen. Choices depend on the seed, the
 * step and the place in the batch. Needs a head that guesses words, and besides
 * the memory of the run six rows of states for each chosen token and 32 MiB.
 * *guessed: how many were chosen; with none of them the loss is 0.
 * Fails as br_train_accumulate does; BR_ERR_ARGUMENT also: no such head, or a
 * share or an id out of its range.
 */
extern BrStatus br_train_accumulate_masked(BrTrainRun *run, const BrTrainBatch *batch,
										   uint64_t step, const BrTrainMasking *masking,
										   double *value, int *guessed);

/*
 * How many tokens of a batch that call would choose, from which follow the
 * weights of batches that share a step. Fails as it does.
 */
extern BrStatus br_train_count_masked(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step,
									  const BrTrainMasking *masking, int *guessed);

#endif /* BR_TRAIN_H */
