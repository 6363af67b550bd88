/*
 * br_train_adapters.h
 *	  Fine-tuning by few parameters: low-rank additions to dense layers, and
 *	  bottlenecks behind them.
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
 * Bottlenecks: what a layer's output projection gives, and what its last dense
 * layer gives, becomes x + up(f(down(x))) before what went past it is added,
 * with two narrow dense layers and the model's activation f. They, the norms of
 * the layers and the head are trained (Houlsby et al., "Parameter-efficient
 * transfer learning for NLP", ICML 2019). They stay a part of the computing:
 * only runs embed with them.
 */
#ifndef BR_TRAIN_ADAPTERS_H
#define BR_TRAIN_ADAPTERS_H

#include "core/train/br_train.h"

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

#endif /* BR_TRAIN_ADAPTERS_H */
