/*
 * br_train_losses.h
 *	  The losses that a model can be trained with, each a BrTrainLoss.
 *
 * arg of each points to the struct above it, whose arrays are the caller's.
 * Every loss is a mean over its examples, so that a learning rate does not
 * depend on the size of a batch. BR_ERR_ARGUMENT: a number of texts that does
 * not fit, or an option or a label out of its range.
 */
#ifndef BR_TRAIN_LOSSES_H
#define BR_TRAIN_LOSSES_H

#include "core/train/br_train.h"

/*
 * Contrast in the batch. Of n pairs the texts are n anchors, their n positives,
 * and then negatives hard ones of each anchor, those of anchor i from text
 * 2n + i * negatives on. Candidates of an anchor are all positives, then all
 * hard negatives of the batch, in that order. The loss of an anchor is the
 * cross-entropy of
 *
 *		softmax over its candidates c of cosine(anchor, c) / temperature
 *
 * against its own positive; the other way round a positive's candidates are all
 * anchors. Source: Oord et al., "Representation learning with contrastive
 * predictive coding", 2018; Henderson et al., "Efficient natural language
 * response suggestion for Smart Reply", 2017.
 */
typedef struct BrTrainContrastive
{
	const BrBackend *backend;
	double temperature;	  /* above 0; .05 is usual */
	int negatives;		  /* hard ones of each anchor, at least 0 */
	bool both_directions; /* the mean of both; otherwise from anchors alone */
	double smoothing;	  /* in [0, 1): the share of the target spread over all candidates */

	/*
	 * 1 where a candidate is no negative of an anchor, because it goes with it
	 * or is the same; the own positive always stays. May be NULL: none.
	 */
	const uint8_t *excluded; /* (n, n + n * negatives) */
} BrTrainContrastive;

extern BrStatus br_train_contrastive(const void *arg, BrContext *context, const BrReal *embeddings,
									 int texts, int dim, double *loss, BrReal *slope);

/*
 * Completion of sets. Of texts that stand set by set, every member of a set of
 * two at least is a target: the loss is the cross-entropy of
 *
 *		softmax over candidates c of (mean over the set's other members m of
 *			cosine(m, c)) / temperature
 *
 * against it, where candidates are the target and the texts of all other sets; a
 * text that is alone is a candidate only. Of sets of two it is the contrast of
 * pairs in both directions, with both sides among the candidates. The mean is
 * what items that complete a bundle are ranked by.
 */
typedef struct BrTrainSets
{
	const BrBackend *backend;
	double temperature;	 /* above 0; .1 is usual */
	const int32_t *sets; /* (texts): of which set each is; equal side by side */

	/* 1 where a candidate is no negative of a target; may be NULL: none */
	const uint8_t *excluded; /* (texts, texts) */
} BrTrainSets;

extern BrStatus br_train_sets(const void *arg, BrContext *context, const BrReal *embeddings,
							  int texts, int dim, double *loss, BrReal *slope);

/*
 * max(0, d(anchor, positive) - d(anchor, negative) + margin) of n anchors, their
 * n positives and n negatives. At distance 0 and where the margin is kept the
 * slope is 0. Source: Schroff et al., "FaceNet", CVPR 2015.
 */
typedef struct BrTrainTriplet
{
	double margin; /* at least 0 */
	bool cosine;   /* d is 1 - cosine; otherwise the Euclidean distance */
} BrTrainTriplet;

extern BrStatus br_train_triplet(const void *arg, BrContext *context, const BrReal *embeddings,
								 int texts, int dim, double *loss, BrReal *slope);

/* (cosine - target)^2 of n texts with as many others. */
typedef struct BrTrainCosine
{
	const double *targets; /* (n), each in [-1, 1] */
} BrTrainCosine;

extern BrStatus br_train_cosine(const void *arg, BrContext *context, const BrReal *embeddings,
								int texts, int dim, double *loss, BrReal *slope);

/*
 * Cross-entropy of the model's head against labels. Of pairs, n lefts and then
 * their n rights, the head reads left, right and |left - right| side by side
 * (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019), so it has 3 * dim
 * inputs; of texts alone it has dim.
 * Adds the head's gradient to the model's.
 */
typedef struct BrTrainClasses
{
	const BrBackend *backend;
	BrTrainModel *model;   /* that is trained */
	const int32_t *labels; /* (n), each from 0 to classes - 1 */
	bool pairs;
	double smoothing; /* in [0, 1): the share of the target spread over all classes */
} BrTrainClasses;

extern BrStatus br_train_classes(const void *arg, BrContext *context, const BrReal *embeddings,
								 int texts, int dim, double *loss, BrReal *slope);

/* Mean squared difference from another model's embeddings of the same texts. */
typedef struct BrTrainDistillation
{
	const BrReal *teacher; /* (texts, dimensions) */
	int dimensions;		   /* at least dim, of which the first dim are compared */
} BrTrainDistillation;

extern BrStatus br_train_distillation(const void *arg, BrContext *context, const BrReal *embeddings,
									  int texts, int dim, double *loss, BrReal *slope);

/*
 * Another loss over the first dimensions of embeddings, a weighted sum over
 * several numbers of them, so that embeddings may be cut short later
 * (Kusupati et al., "Matryoshka representation learning", NeurIPS 2022).
 */
typedef struct BrTrainMatryoshka
{
	BrTrainLoss loss;
	const void *arg;
	const int *dims;	   /* (n), each from 1 to dim */
	const double *weights; /* (n), each at least 0; NULL: all 1 */
	int n;				   /* at least 1 */
} BrTrainMatryoshka;

extern BrStatus br_train_matryoshka(const void *arg, BrContext *context, const BrReal *embeddings,
									int texts, int dim, double *loss, BrReal *slope);

#endif /* BR_TRAIN_LOSSES_H */
