/*
 * br_train_texts.h
 *	  What becomes of texts before they are embedded: augmentation of token ids,
 *	  and pairs of sentences that follow one another or do not.
 *
 * What is drawn depends on a seed, a step and a place alone. Arrays are the caller's.
 */
#ifndef BR_TRAIN_TEXTS_H
#define BR_TRAIN_TEXTS_H

#include "core/train/br_train.h"

/* What happens to the words of a text, in this order; a word is a token that is not kept. */
typedef struct BrTrainAugmentation
{
	/* the chance that a span of words in a row is left out, in [0, 1] */
	double span;
	int longest_span; /* in words; its length is uniform from 1; at least 1 where span is above 0 */

	double dropout; /* the chance of each word to be left out, in [0, 1) */

	/* the chance of each word to change places with another of the text, any of them, in [0, 1] */
	double swap;

	const int32_t *kept; /* (n_kept): ids that stay where they are, such as [CLS] and [SEP] */
	int n_kept;
} BrTrainAugmentation;

/*
 * Of a text that has words one is always left. Words left out make a text
 * shorter, so a text's new tokens stand at new offsets. A text's place is that of
 * its first token in the batch, or in what the batch is a share of. Source: Wei and Zou,
 * "EDA: easy data augmentation techniques", EMNLP 2019; spans: Wu et al.,
 * "CLEAR: contrastive learning for sentence representation", 2020.
 * BR_ERR_ARGUMENT: a chance or a length out of its range, or a text without tokens.
 */
extern BrStatus br_train_augment(BrContext *context, const BrTrainBatch *batch,
								 const BrTrainAugmentation *augmentation, uint64_t seed,
								 uint64_t step, int32_t *ids /* (as many as the batch has) */,
								 int32_t *offsets /* (texts + 1) */);

/* Two of n sentences. */
typedef struct BrTrainNext
{
	int first;
	int second;
	int32_t label; /* 0: the second follows the first in its document; 1: it is of another */
} BrTrainNext;

/*
 * Pairs for next-sentence prediction (Devlin et al., "BERT", NAACL 2019, section
 * 3.1): every sentence that another follows in its document, in turn, with that
 * one or, as often, with any sentence of the other documents.
 * The loss of joined pairs is br_train_classes, with a head of two classes.
 * BR_ERR_ARGUMENT: fewer than two documents.
 */
extern BrStatus br_train_draw_next(BrContext *context,
								   const int32_t *documents /* (n): equal side by side */, int n,
								   uint64_t seed, uint64_t step, BrTrainNext *pairs /* (n) */,
								   int *n_pairs);

/* How two texts become one. */
typedef struct BrTrainJoin
{
	int lead;	 /* special tokens that every text begins with; a second one loses them */
	int tail;	 /* special tokens that every text ends with; both keep them */
	int longest; /* in tokens, at least lead + 2 * tail + 2 */
} BrTrainJoin;

/*
 * Joins pairs, of BERT with lead and tail 1: [CLS] first [SEP] second [SEP].
 * Where they are too long the longer one loses its last word until they are not.
 * Both halves are of the token type 0, the only one that a model here has.
 * BR_ERR_ARGUMENT: numbers out of their range, or a sentence without words.
 */
extern BrStatus br_train_join_next(BrContext *context, const BrTrainBatch *sentences,
								   const BrTrainNext *pairs, int n_pairs, const BrTrainJoin *join,
								   int32_t *ids /* (n_pairs * longest) */,
								   int32_t *offsets /* (n_pairs + 1) */,
								   int32_t *labels /* (n_pairs) */);

#endif /* BR_TRAIN_TEXTS_H */
