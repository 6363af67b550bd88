/*
 * complement_int.h
 *	  What the files of directed complements share.
 */
#ifndef COMPLEMENT_INT_H
#define COMPLEMENT_INT_H

#include "core/learn/real_int.h"

/* pairs that are looked at between two looks at the cancel callback */
#define BR_COMPLEMENT_PAIRS_A_CHECK (1 << 19)

/* n pairs, and of each `hard` items that only look alike. */
typedef struct BrComplementBatch
{
	int n;
	const int32_t *source; /* (n) */
	const int32_t *target; /* (n) */
	const float *weight;   /* (n), above 0 */
	const int32_t *hard;   /* (n, options.hard), -1: none */
	const float *log_hard; /* (n): ln of the chance that one of them was drawn */
} BrComplementBatch;

typedef struct BrComplementModel
{
	BrContext *context;
	BrComplementOptions options;
	const BrComplementItems *items;
	const BrSparse *known;		/* (items, items): pairs that are no negatives */
	const double *log_expected; /* (items): ln of how often a batch has one as a target */
	const float *bias;			/* (categories, categories) */
	BrReal *parameters;			/* (2, rank, dims): of sources, of targets */
	BrReal *slope;				/* as parameters */
	BrReal *start;				/* (rank, dims): where both began */
	BrReal *row;				/* (dims) */
	BrReal *f;					/* (batch, rank) */
	BrReal *f_slope;			/* (batch, rank) */
	BrReal *g;					/* (batch * (1 + hard), rank): targets, then hard ones by pair */
	BrReal *g_slope;			/* (batch * (1 + hard), rank) */
	BrReal *logits;				/* (batch, batch + hard), then their gradient */
} BrComplementModel;

extern BrStatus br_learn_complement_create(BrContext *context, const BrComplementItems *items,
										   const BrComplementOptions *options,
										   BrComplementModel *model);
extern void br_learn_complement_destroy(BrComplementModel *model);

/*
 * The mean loss of a batch by weight, and what it takes to go back: the softmax
 * of a pair's logit among the other targets of the batch and its hard ones.
 */
extern BrStatus br_learn_complement_loss(BrComplementModel *model, const BrComplementBatch *batch,
										 double *loss);

/* After it: the gradient of that loss in model->slope. */
extern BrStatus br_learn_complement_back(BrComplementModel *model, const BrComplementBatch *batch);

static inline float
br_learn_complement_bias(const float *bias, int categories, int source, int target)
{
	return bias == NULL || source < 0 || target < 0
		? 0
		: bias[(size_t) source * (size_t) categories + (size_t) target];
}

extern BrStatus br_learn_complement_check_items(BrContext *context, const BrComplementItems *items);

extern bool br_learn_complement_known(const BrSparse *known, int32_t source, int32_t target);

/* What the two sides of the training need: pairs apart, in the order of this epoch. */
typedef struct BrComplementPairs
{
	int64_t n;
	int32_t *source; /* (n) */
	int32_t *target; /* (n) */
	float *weight;	 /* (n) */
} BrComplementPairs;

extern void br_learn_complement_pairs_free(BrContext *context, BrComplementPairs *pairs);

/* Equal pairs are added up; a hash of the two items, whichever comes first, holds them out. */
extern BrStatus br_learn_complement_split(BrContext *context, const BrComplementPair *pairs,
										  int64_t n, int items, double share, uint64_t seed,
										  BrSparse *all, BrSparse *trained,
										  BrComplementPairs *training, BrComplementPairs *held);

/* temperature * ln of how often two categories meet over how often by chance, k added to both */
extern void br_learn_complement_fill_bias(const BrComplementItems *items,
										  const BrComplementPairs *pairs, double k,
										  double temperature, double *from /* (categories) */,
										  double *into /* (categories) */,
										  float *bias /* (categories, categories), of 0 */);

#endif /* COMPLEMENT_INT_H */
