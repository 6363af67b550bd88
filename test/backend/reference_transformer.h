/*
 * reference_transformer.h
 *	  What a device must compute, written down as slowly and plainly as it can be.
 */
#ifndef BR_REFERENCE_TRANSFORMER_H
#define BR_REFERENCE_TRANSFORMER_H

#include "core/math/br_device.h"

/*
 * The embedding of one text of n tokens, 1 to max_tokens of the vocabulary.
 * Weights are those of the description, sums are in double. Aborts without
 * memory.
 */
extern void reference_embed(const BrTransformer *model, const int32_t *ids, int n,
							float *embedding /* (dimensions) */);

/*
 * The number of the centroid nearest to a vector, ties to the smaller, and the
 * squared distance.
 */
extern int reference_nearest(const float *vector /* (dims) */,
							 const float *centroids /* (lists, dims) */, int lists, int dims,
							 double *distance);

#endif /* BR_REFERENCE_TRANSFORMER_H */
