/*
 * br_train_adapters.h
 *	  Fine-tuning by few parameters: low-rank additions to dense layers, of equal
 *	  or of shared-out rank, bottlenecks behind them, and prefixes of attention.
 *
 * Either comes with a set of its own, some per cent of the model, which is what
 * an optimiser moves and a checkpoint stores, and in which the head is, too. A
 * model has one addition at a time; it must not come or go between an
 * embedding and its way back, and must go before the model does. While it is
 * there the model's own matrices and tables get no gradient, which saves about a
 * quarter of a step.
 *
 * Low-rank: W = W0 + alpha / rank B A, where W0 stays and B (outputs, rank) and A (rank,
 * inputs) are trained (Hu et al., "LoRA: low-rank adaptation of large language
 * models", ICLR 2022). The model always holds the sums, so that a run computes
 * it as it computes any model, and it is served without a trace of them.
 *
 * With a rank that is shared out: W = W0 + alpha / rank P diag(l) Q, where P and Q
 * are held near orthogonal and the numbers of l that matter least are set to 0,
 * over all matrices, until a budget is met (Zhang et al., "AdaLoRA: adaptive
 * budget allocation for parameter-efficient fine-tuning", ICLR 2023).
 *
 * Bottlenecks: what a layer's output projection gives, and what its last dense
 * layer gives, becomes x + up(f(down(x))) before what went past it is added,
 * with two narrow dense layers and the model's activation f. They, the norms of
 * the layers and the head are trained (Houlsby et al., "Parameter-efficient
 * transfer learning for NLP", ICML 2019). They stay a part of the computing,
 * and of the image (br_train_make_image).
 *
 * Prefixes: in every layer, attention sees trained keys and values before those
 * of the text, all else but the head stays (Li and Liang, "Prefix-tuning: optimizing
 * continuous prompts for generation", ACL 2021). They stay a part of the
 * computing, too.
 */
#ifndef BR_TRAIN_ADAPTERS_H
#define BR_TRAIN_ADAPTERS_H

#include "core/train/br_train_optimiser.h"

/* The dense layers that get an addition, in every layer of the model. */
#define BR_TRAIN_LORA_QUERY 0x01
#define BR_TRAIN_LORA_KEY 0x02
#define BR_TRAIN_LORA_VALUE 0x04
#define BR_TRAIN_LORA_OUTPUT 0x08
#define BR_TRAIN_LORA_UP 0x10
#define BR_TRAIN_LORA_DOWN 0x20
#define BR_TRAIN_LORA_ALL 0x3f

typedef struct BrTrainLoraOptions
{
	int rank;		   /* from 1 to the hidden size */
	double alpha;	   /* above 0; rank makes the factor 1 */
	unsigned matrices; /* BR_TRAIN_LORA_, at least one */
	uint64_t seed;
} BrTrainLoraOptions;

typedef struct BrTrainLora BrTrainLora;

/*
 * A is drawn from N(0, 1 / inputs) by seed, B is 0: the model is at first what
 * it was. The set holds "<layer's name>.lora_A.weight", "….lora_B.weight" and,
 * where the model has a head, all of its tensors, which are trained in full.
 * The rest of the model stays. The context and the model must outlive it.
 * BR_ERR_ARGUMENT: an option out of its range, or the model has an addition.
 */
extern BrStatus br_train_lora_create(BrContext *context, BrTrainModel *model,
									 const BrBackend *backend, const BrTrainLoraOptions *options,
									 BrTrainLora **lora);

/* The model keeps what was learned. NULL is ignored. */
extern void br_train_lora_destroy(BrTrainLora *lora);

/* What an optimiser moves, and what a checkpoint stores. */
extern BrTrainSet br_train_lora_set(BrTrainLora *lora);

/* Before an update: adds the model's gradient to the set's; the model's is then 0. */
extern void br_train_lora_pull(BrTrainLora *lora);

/* After an update, or when a stored set was written back: the model becomes what the set says. */
extern void br_train_lora_push(BrTrainLora *lora);

typedef struct BrTrainAdaloraOptions
{
	int rank;			  /* of every matrix at first, from 1 to the hidden size */
	double target_rank;	  /* of a matrix at the end, on average; above 0, at most rank */
	double alpha;		  /* above 0; rank makes the factor 1 */
	unsigned matrices;	  /* BR_TRAIN_LORA_, at least one */
	double orthogonality; /* of |P' P - 1|^2 + |Q Q' - 1|^2 in the loss, at least 0; .1 is usual */
	double beta1;		  /* of the averages of sensitivity, in [0, 1); .85 is usual */
	double beta2;		  /* of those of its uncertainty, in [0, 1); .85 is usual */
	int64_t steps;		  /* in all */
	int64_t warm_up;	  /* steps with all ranks, at least 0 */
	int64_t final;		  /* steps at the end with ranks that stay, at least 0 */
	int64_t interval;	  /* steps between two choices, at least 1 */
	uint64_t seed;
} BrTrainAdaloraOptions;

/*
 * How many triplets (a column of P, a number of l, a row of Q) so many matrices
 * have after a step, from step 1 on: all while warming up, then fewer along a
 * cubic (the paper's (12)), target_rank times matrices, at least 1, in the final phase.
 */
extern int br_train_adalora_budget(const BrTrainAdaloraOptions *options, int matrices,
								   int64_t step);

typedef struct BrTrainAdalora BrTrainAdalora;

/*
 * Q is drawn from N(0, 1 / inputs), P from N(0, 1 / outputs) by seed, l is 0: the
 * model is at first what it was. The set holds "<layer's name>.adalora_Q.weight"
 * (rank, inputs), "….adalora_lambda.weight" (rank), "….adalora_P.weight" (outputs,
 * rank), and the head as that of low-rank additions does; served as they are.
 * Otherwise as br_train_lora_create; BR_ERR_ARGUMENT also: warm-up and final
 * phase that leave no step between them.
 */
extern BrStatus br_train_adalora_create(BrContext *context, BrTrainModel *model,
										const BrBackend *backend,
										const BrTrainAdaloraOptions *options,
										BrTrainAdalora **adalora);

/* The model keeps what was learned. NULL is ignored. */
extern void br_train_adalora_destroy(BrTrainAdalora *adalora);
extern BrTrainSet br_train_adalora_set(BrTrainAdalora *adalora);

/*
 * As for low-rank additions; but pull, once for each update, also adds the slope
 * of the orthogonality and counts a step, and push gives up triplets when that
 * is due. The loss does not tell the value of the orthogonality. A gradient
 * that is not finite, which an update refuses, counts no step.
 */
extern void br_train_adalora_pull(BrTrainAdalora *adalora);
extern void br_train_adalora_push(BrTrainAdalora *adalora);

/*
 * What a checkpoint stores besides the set and the optimiser: steps pulled, and
 * averages and triplets kept. Written back before the set is pushed, a resumed
 * run goes on bit for bit.
 */
extern BrTrainState br_train_adalora_state(BrTrainAdalora *adalora);

/* How many triplets of a matrix were kept when they were last chosen. */
typedef struct BrTrainMatrixRank
{
	char name[BR_TENSOR_NAME_SIZE]; /* of the model's tensor */
	int rank;
} BrTrainMatrixRank;

/* Of all *n matrices that have an addition. They stay until the next call. */
extern const BrTrainMatrixRank *br_train_adalora_ranks(BrTrainAdalora *adalora, int *n);

typedef struct BrTrainBottleneckOptions
{
	int size; /* of the narrow side, from 1 to the hidden size */
	uint64_t seed;
} BrTrainBottleneckOptions;

typedef struct BrTrainBottleneck BrTrainBottleneck;

/*
 * Weights are drawn from N(0, .01^2), cut at two deviations, by seed, biases are
 * 0: the model is at first nearly what it was. The set holds, for the layer's
 * names of those dense layers, "x.adapter_down.weight" (size, hidden), "….bias"
 * (size), "x.adapter_up.weight" (hidden, size) and "….bias" (hidden), then both
 * norms of the layer, and in the end the tensors of the head.
 * BR_ERR_ARGUMENT: a size out of its range, or the model has an addition.
 */
extern BrStatus br_train_bottleneck_create(BrContext *context, BrTrainModel *model,
										   const BrTrainBottleneckOptions *options,
										   BrTrainBottleneck **bottleneck);

/* The model is without them again; its norms and its head keep what was learned. NULL is ignored. */
extern void br_train_bottleneck_destroy(BrTrainBottleneck *bottleneck);

/* As for low-rank additions. */
extern BrTrainSet br_train_bottleneck_set(BrTrainBottleneck *bottleneck);
extern void br_train_bottleneck_pull(BrTrainBottleneck *bottleneck);
extern void br_train_bottleneck_push(BrTrainBottleneck *bottleneck);

/* The widest network that makes a prefix. */
#define BR_TRAIN_PREFIX_WIDEST 8192

typedef struct BrTrainPrefixOptions
{
	int length; /* keys and values of a layer, from 1 to BR_ENCODER_MOST_PREFIX; 10 to 20 are usual */

	/*
	 * Of a network that makes them while training, which is steadier (section 4.3):
	 * up tanh(down embedding). 0: they are trained themselves; at most
	 * BR_TRAIN_PREFIX_WIDEST.
	 */
	int width;
	uint64_t seed;
} BrTrainPrefixOptions;

typedef struct BrTrainPrefix BrTrainPrefix;

/*
 * Keys and values are drawn from N(0, .02^2) by seed; of a network, the embedding from
 * N(0, 1), down from N(0, 1 / hidden), up from N(0, .02^2 / width), biases are 0.
 * The set holds, for the layer's names of key and value, "x.prefix.weight"
 * (length, hidden), or "prefix.embedding.weight" (length, hidden),
 * "prefix.down.weight" (width, hidden), "prefix.up.weight" (layers * 2 * hidden,
 * width) and both biases, and in the end the tensors of the head.
 * Where attention looks at distances, the prefix stands right before the text.
 * Fails as br_train_lora_create does.
 */
extern BrStatus br_train_prefix_create(BrContext *context, BrTrainModel *model,
									   const BrBackend *backend,
									   const BrTrainPrefixOptions *options, BrTrainPrefix **prefix);

/* The model is without it again; its head keeps what was learned. NULL is ignored. */
extern void br_train_prefix_destroy(BrTrainPrefix *prefix);

/* As for low-rank additions; push makes the keys and values that runs see. */
extern BrTrainSet br_train_prefix_set(BrTrainPrefix *prefix);
extern void br_train_prefix_pull(BrTrainPrefix *prefix);
extern void br_train_prefix_push(BrTrainPrefix *prefix);

#endif /* BR_TRAIN_ADAPTERS_H */
