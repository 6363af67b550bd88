/*
 * training_int.h
 *	  What both sides of training in another process share: a model without pointers.
 */
#ifndef TRAINING_INT_H
#define TRAINING_INT_H

#include "core/serve/br_serve_training.h"

/* Layers and steps that a model may have. */
#define BR_SERVE_MOST_LAYERS 1000
#define BR_SERVE_MOST_STEPS 100

/*
 * Puts the shape of a model into the message, and where its tensors stand and
 * the buckets into the payload. BR_ERR_LIMIT: they do not fit.
 */
extern BrStatus br_serve_pack_model(BrContext *context, const BrDeviceTrainable *trainable,
									BrServeTraining *message, void *payload, size_t bytes);

/* A model that was packed, one block (br_base_free of it). */
typedef struct BrServeModel
{
	BrTransformer transformer;
	BrDeviceTrainable trainable;
} BrServeModel;

/*
 * The model of a message, its tensors in parameters of which there are message->n.
 * BR_ERR_ARGUMENT: it is none.
 */
extern BrStatus br_serve_unpack_model(BrContext *context, const BrServeTraining *message,
									  const void *payload, size_t bytes, const float *parameters,
									  BrServeModel **model);

#endif /* TRAINING_INT_H */
