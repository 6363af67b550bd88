/*
 * br_train_texts.h
 *	  What becomes of texts before they are embedded: augmentation of token ids.
 *
 * Draws depend on a seed, a step and the place of a text's first token in the
 * batch (or in what the batch is a share of) alone. Arrays are the caller's.
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
 * shorter, so a text's new tokens stand at new offsets. Source: Wei and Zou,
 * "EDA: easy data augmentation techniques", EMNLP 2019; spans: Wu et al.,
 * "CLEAR: contrastive learning for sentence representation", 2020.
 * BR_ERR_ARGUMENT: a chance or a length out of its range, or a text without tokens.
 */
extern BrStatus br_train_augment(BrContext *context, const BrTrainBatch *batch,
								 const BrTrainAugmentation *augmentation, uint64_t seed,
								 uint64_t step, int32_t *ids /* (as many as the batch has) */,
								 int32_t *offsets /* (texts + 1) */);

#endif /* BR_TRAIN_TEXTS_H */
