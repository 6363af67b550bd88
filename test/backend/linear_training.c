/*
 * linear_training.c
 *	  What a device trains in tests: an embedding is a sum over the text's tokens.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/linear_training.h"

struct BrDeviceTraining
{
	size_t n;
	int dimensions;
	int vocabulary;
	int texts;
	int32_t *offsets; /* (texts + 1): of the last batch */
	int32_t *ids;
	float *parameters; /* (n) */
	float *gradient;   /* (n) */
};

static int n_open;

static void *
room(size_t count, size_t size)
{
	void *memory = calloc(count + 1, size);

	if (memory == NULL)
		abort();
	return memory;
}

BrStatus
linear_open(BrDevice *device, BrContext *context, const BrDeviceTrainable *trainable,
			BrDeviceTraining **training)
{
	BrDeviceTraining *opened;

	(void) device;
	/* as a device must: the last weight of all is inside */
	if ((size_t) (trainable->model->word - trainable->parameters) +
			(size_t) trainable->model->vocabulary * (size_t) trainable->model->hidden >
		trainable->n)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The words end behind the parameters.");
	opened = room(1, sizeof(BrDeviceTraining));
	opened->n = trainable->n;
	opened->dimensions = trainable->model->dimensions;
	opened->vocabulary = trainable->model->vocabulary;
	opened->parameters = room(opened->n, sizeof(float));
	opened->gradient = room(opened->n, sizeof(float));
	memcpy(opened->parameters, trainable->parameters, opened->n * sizeof(float));
	n_open++;
	*training = opened;
	return BR_OK;
}

void
linear_close(BrDevice *device, BrDeviceTraining *training)
{
	(void) device;
	if (training == NULL)
		return;
	n_open--;
	free(training->offsets);
	free(training->ids);
	free(training->parameters);
	free(training->gradient);
	free(training);
}

int
linear_open_count(void)
{
	return n_open;
}

BrStatus
linear_set(BrDevice *device, BrContext *context, BrDeviceTraining *training,
		   const float *parameters)
{
	(void) device, (void) context;
	memcpy(training->parameters, parameters, training->n * sizeof(float));
	memset(training->gradient, 0, training->n * sizeof(float));
	return BR_OK;
}

static size_t
place_of(const BrDeviceTraining *training, int32_t id, int dimension)
{
	return ((size_t) id * (size_t) training->dimensions + (size_t) dimension) % training->n;
}

static void
keep_batch(BrDeviceTraining *training, const BrDeviceBatch *batch)
{
	size_t tokens = (size_t) batch->offsets[batch->texts];

	free(training->offsets);
	free(training->ids);
	training->texts = batch->texts;
	training->offsets = room((size_t) batch->texts + 1, sizeof(int32_t));
	training->ids = room(tokens, sizeof(int32_t));
	memcpy(training->offsets, batch->offsets, ((size_t) batch->texts + 1) * sizeof(int32_t));
	memcpy(training->ids, batch->ids, tokens * sizeof(int32_t));
}

BrStatus
linear_embed(BrDevice *device, BrContext *context, BrDeviceTraining *training,
			 const BrDeviceBatch *batch, float *embeddings)
{
	(void) device;
	for (int j = 0; j < batch->offsets[batch->texts]; j++)
		if (batch->ids[j] < 0 || batch->ids[j] >= training->vocabulary)
			return br_base_fail(context, BR_ERR_ARGUMENT, "Token %d has the id %d.", j,
								(int) batch->ids[j]);
	keep_batch(training, batch);
	for (int i = 0; i < batch->texts; i++)
		for (int d = 0; d < training->dimensions; d++)
		{
			float sum = 0;

			for (int j = batch->offsets[i]; j < batch->offsets[i + 1]; j++)
				sum += training->parameters[place_of(training, batch->ids[j], d)];
			embeddings[i * training->dimensions + d] = sum;
		}
	return BR_OK;
}

BrStatus
linear_back(BrDevice *device, BrContext *context, BrDeviceTraining *training, const float *slope)
{
	(void) device, (void) context;
	for (int i = 0; i < training->texts; i++)
		for (int d = 0; d < training->dimensions; d++)
			for (int j = training->offsets[i]; j < training->offsets[i + 1]; j++)
				training->gradient[place_of(training, training->ids[j], d)] +=
					slope[i * training->dimensions + d];
	return BR_OK;
}

BrStatus
linear_take(BrDevice *device, BrContext *context, BrDeviceTraining *training, float *gradient)
{
	(void) device, (void) context;
	for (size_t i = 0; i < training->n; i++)
		gradient[i] += training->gradient[i];
	memset(training->gradient, 0, training->n * sizeof(float));
	return BR_OK;
}
