/*
 * linear_training.h
 *	  What a device trains in tests: an embedding is a sum over the text's tokens.
 *
 *		embedding[d] = sum over tokens t of parameter (t dimensions + d) mod n
 *
 * So every gradient is known: a parameter's is the sum of the slopes of where it
 * is counted in. It takes any model's parameters; dropout leaves it cold.
 */
#ifndef LINEAR_TRAINING_H
#define LINEAR_TRAINING_H

#include "core/math/br_device.h"

extern BrStatus linear_open(BrContext *context, const BrDeviceTrainable *trainable,
							BrDeviceTraining **training);
extern void linear_close(BrDeviceTraining *training); /* NULL is ignored */
extern void linear_set(BrDeviceTraining *training, const float *parameters);
extern BrStatus linear_embed(BrContext *context, BrDeviceTraining *training,
							 const BrDeviceBatch *batch, float *embeddings);
extern void linear_back(BrDeviceTraining *training, const float *slope);
extern void linear_take(BrDeviceTraining *training, float *gradient);

/* Of all that are open. */
extern int linear_open_count(void);

#endif /* LINEAR_TRAINING_H */
