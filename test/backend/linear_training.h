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

/* As in a table of br_device.h; device is unread. */
extern BrStatus linear_open(BrDevice *device, BrContext *context,
							const BrDeviceTrainable *trainable, BrDeviceTraining **training);
extern void linear_close(BrDevice *device, BrDeviceTraining *training);
extern BrStatus linear_set(BrDevice *device, BrContext *context, BrDeviceTraining *training,
						   const float *parameters);
extern BrStatus linear_embed(BrDevice *device, BrContext *context, BrDeviceTraining *training,
							 const BrDeviceBatch *batch, float *embeddings);
extern BrStatus linear_back(BrDevice *device, BrContext *context, BrDeviceTraining *training,
							const float *slope);
extern BrStatus linear_take(BrDevice *device, BrContext *context, BrDeviceTraining *training,
							float *gradient);

/* Of all that are open. */
extern int linear_open_count(void);

#endif /* LINEAR_TRAINING_H */
