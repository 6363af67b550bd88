/*
 * models.h
 *	  Models of random weights for the checks, of any shape.
 */
#ifndef BR_TEST_CUDA_MODELS_H
#define BR_TEST_CUDA_MODELS_H

#include "core/math/br_device.h"

typedef struct ModelShape
{
	int hidden;
	int layers;
	int heads;
	int intermediate;
	int max_tokens;
	int first_position;
	BrActivation activation;
	BrPooling pooling;
	bool typed;
	bool relative;
	bool dense;		/* a dense step of 10 outputs with tanh, and one back without bias */
	bool normalize; /* at the end */
} ModelShape;

#define MODEL_VOCABULARY 50

/* Its weights live until the check ends. */
extern BrTransformer model_make(const ModelShape *shape);

/* Random texts: offsets of so many texts of 1 to longest tokens, the first of longest. */
extern int32_t *model_offsets(int texts, int longest);
extern int32_t *model_ids(const int32_t *offsets, int texts);

/* What the texts' embeddings must be. */
extern float *model_expected(const BrTransformer *model, const int32_t *ids, const int32_t *offsets,
							 int texts);

/*
 * All embeddings point where they must, within what half precision costs, and
 * have the right length.
 */
extern void model_check(const BrTransformer *model, const float *actual, const float *expected,
						int texts);

#endif /* BR_TEST_CUDA_MODELS_H */
