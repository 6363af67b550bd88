/*
 * br_train_optimiser.h
 *	  From a gradient to a step: optimisers, schedules of the rate, clipping.
 */
#ifndef BR_TRAIN_OPTIMISER_H
#define BR_TRAIN_OPTIMISER_H

#include "core/train/br_train.h"

typedef enum BrTrainRule
{
	/*
	 * Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled weight
	 * decay regularization", ICLR 2019).
	 */
	BR_TRAIN_ADAMW,

	/*
	 * Gradient descent with momentum, as torch's: m = momentum m + gradient +
	 * decay p, p = p - rate m.
	 */
	BR_TRAIN_SGD
} BrTrainRule;

/* How the rate goes on once it is warm. */
typedef enum BrTrainSchedule
{
	BR_TRAIN_CONSTANT,
	BR_TRAIN_LINEAR, /* to 0 at the last step */
	BR_TRAIN_COSINE	 /* to 0 along half a cosine */
} BrTrainSchedule;

typedef struct BrTrainRecipe
{
	BrTrainRule rule;
	BrTrainSchedule schedule;
	double rate;	 /* the highest, above 0 */
	int64_t steps;	 /* in all, at least 1 */
	int64_t warm_up; /* steps over which the rate grows from 0, from 0 to steps */
	double beta1;	 /* of AdamW, in [0, 1); .9 is usual */
	double beta2;	 /* of AdamW, in [0, 1); .999 is usual */
	double epsilon;	 /* of AdamW, above 0; 1e-8 is usual */
	double momentum; /* of SGD, in [0, 1) */
	double decay;	 /* of matrices and tables, at least 0; biases and norms have none */
	double clip;	 /* the longest that the whole gradient may be; 0: as it is */
} BrTrainRecipe;

/*
 * The rate of a step, from step 0 on, as transformers' schedules have it: of
 * warm_up steps the first has rate 0. Behind the last step it stays.
 */
extern double br_train_rate(const BrTrainRecipe *recipe, int64_t step);

typedef struct BrTrainOptimiser BrTrainOptimiser;

/*
 * The context and what the set is of must outlive the optimiser. pool: may be NULL.
 * BR_ERR_ARGUMENT: a number of the recipe out of its range.
 */
extern BrStatus br_train_optimiser_create(BrContext *context, const BrTrainSet *set,
										  const BrTrainRecipe *recipe, BrPool *pool,
										  BrTrainOptimiser **optimiser);
extern void br_train_optimiser_destroy(BrTrainOptimiser *optimiser); /* NULL is ignored */

/*
 * One step along the set's gradient, which is then 0.
 * *length: of the whole gradient before clipping.
 * BR_ERR_NUMERIC: it is not finite; nothing has changed.
 */
extern BrStatus br_train_update(BrTrainOptimiser *optimiser, double *length);

/* All that an optimiser remembers, for a checkpoint to save and to write back. */
typedef struct BrTrainState
{
	int64_t *steps;	 /* done */
	BrReal *moments; /* (n): the first of AdamW and then the second, or the momentum of SGD */
	size_t n;
} BrTrainState;

extern BrTrainState br_train_state_of(BrTrainOptimiser *optimiser);

#endif /* BR_TRAIN_OPTIMISER_H */
