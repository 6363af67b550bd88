/*
 * br_compress.h
 *	  The door of the compress room: smaller text encoders out of larger ones.
 *
 * Each function reads an image and makes another one, which is opened as any is:
 * with the tokens alone that a set of texts needs, without the attention heads
 * and neurons that embeddings depend on least, with some of the layers. How much
 * of the original is left is measured by comparing embeddings.
 */
#ifndef BR_COMPRESS_H
#define BR_COMPRESS_H

#include "core/base/br_base.h"
#include "core/encoder/br_encoder.h"

/*
 * Of all: image is one of an encoder; the new one is *copy_size bytes at *copy,
 * owned by the caller (br_base_free), NULL after a failure. BR_ERR_FORMAT: not an
 * image; BR_ERR_UNSUPPORTED: the model has an addition (BrAddition).
 */

/*
 * Keeps the tokens that texts use at least least_uses times, and those that the
 * tokenizer cannot do without (br_encoder_with_tokens). Texts of kept tokens have
 * the same embeddings, bit by bit. Cancellable.
 * BR_ERR_ARGUMENT: least_uses below 1, or a text that is not UTF-8.
 */
extern BrStatus br_compress_vocabulary(BrContext *context, const void *image, size_t image_size,
									   const char *const *texts /* (n) */,
									   const size_t *sizes /* (n) */, int n, int64_t least_uses,
									   void **copy, size_t *copy_size);

/* With what to weigh units. */
typedef struct BrCompressOptions
{
	const BrBackend *backend; /* one that trains */
	BrPool *pool;			  /* NULL: in the caller's thread alone */
	int draws;				  /* for each text, at least 1 */
	uint64_t seed;
} BrCompressOptions;

/*
 * How much embeddings depend on attention heads and on neurons of the dense
 * layers: with g a factor, 1 now, on what a head or a neuron gives,
 *
 *		importance = mean over texts of |d embedding / d g|^2,
 *
 * to first order the squared change of an embedding that loses it. Estimated
 * without bias: texts go in batches, the loss is the sum of embeddings times
 * random signs, and the square of its slope in g, which is the sum of weight
 * times slope over the weights that read the unit, is taken for each batch. With b
 * batches over all draws the relative standard error is at most about sqrt(2 / b).
 * ids: of text i at offsets[i] .. offsets[i + 1]. Cancellable.
 * BR_ERR_ARGUMENT: no texts, no draws, or ids that the model has not;
 * BR_ERR_UNSUPPORTED: the backend does not train.
 *
 * Sources: Molchanov et al., "Importance estimation for neural network pruning",
 * CVPR 2019, section 3; Michel et al., "Are sixteen heads really better than
 * one?", NeurIPS 2019, section 2.4, for heads; Hutchinson, "A stochastic
 * estimator of the trace", 1990, for the signs.
 */
extern BrStatus br_compress_weigh(BrContext *context, const BrEncoder *encoder,
								  const BrCompressOptions *options, const int32_t *ids,
								  const int32_t *offsets /* (texts + 1) */, int texts,
								  double *heads /* (layers, heads) */,
								  double *neurons /* (layers, intermediate) */);

/*
 * Keeps of each layer the most important heads and neurons, ties to the smaller
 * number, in their order. All layers keep as many, so that the shape stays
 * regular. Where attention looks at distances, whose table the layers share, they
 * keep the same heads, by the sum of their importance.
 * The new model embeds as the old one does where what heads and neurons give is 0
 * for all that are not kept.
 * BR_ERR_ARGUMENT: fewer than 1 to keep, or more than there are; NaN.
 */
extern BrStatus br_compress_structure(BrContext *context, const void *image, size_t image_size,
									  const double *heads /* (layers, heads) */,
									  const double *neurons /* (layers, intermediate) */,
									  int heads_kept, int neurons_kept, void **copy,
									  size_t *copy_size);

/*
 * Keeps so many layers, spread evenly from the first to the last one; of one layer
 * the first. What it embeds has to be learned from the original (Sanh et al.,
 * "DistilBERT", 2019, section 3). BR_ERR_ARGUMENT: fewer than 1, or more than there are.
 */
extern BrStatus br_compress_layers(BrContext *context, const void *image, size_t image_size,
								   int layers, void **copy, size_t *copy_size);

/* How near embeddings are to others of the same texts. */
typedef struct BrCompressLikeness
{
	double mean_cosine; /* of a text's two embeddings */
	double least_cosine;
	double recall; /* mean share of a text's k nearest others that both have; NaN: too few texts */
} BrCompressLikeness;

/*
 * Compares embeddings of n texts. Nearest by the cosine, ties to the smaller
 * number; with fewer than k + 1 texts there is no recall. An embedding of length 0
 * has the cosine 0 with all. Takes n * n products; cancellable.
 * BR_ERR_ARGUMENT: n or k below 1.
 */
extern BrStatus br_compress_compare(BrContext *context, const float *before /* (n, dim) */,
									const float *after /* (n, dim) */, int n, int dim, int k,
									BrCompressLikeness *likeness);

#endif /* BR_COMPRESS_H */
