/*
 * training_client.c
 *	  A device that another process has, as the one who trains sees it.
 *
 * It keeps nothing of the model but its size: what the trainer's side holds, it
 * holds for this one. A channel that gave no answer is not used again, since the
 * answer may come late, into a payload that is something else by then.
 */
#include <string.h>

#include "core/serve/training_int.h"

struct BrDevice
{
	BrAllocator allocator;
	BrServeChannel channel;
	bool lost; /* no message is sent any more */
	bool open; /* one training is */
	BrDeviceTraining *training;
};

struct BrDeviceTraining
{
	size_t n;
	int dimensions;
	int texts; /* of the last batch; 0: there is none to go back from */
};

static BrStatus
ask(BrDevice *device, BrContext *context, const BrServeTraining *message)
{
	BrStatus status;

	if (device->lost)
		return br_base_fail(context, BR_ERR_DEVICE, "The process that has the device is gone.");
	status = device->channel.ask(device->channel.arg, context, message);
	device->lost = status == BR_ERR_CANCELLED || status == BR_ERR_DEVICE;
	return status;
}

/* How many floats of n, from at on, go at once. */
static size_t
piece_of(const BrDevice *device, size_t n, size_t at)
{
	size_t most = device->channel.bytes / sizeof(float);

	return n - at < most ? n - at : most;
}

static BrStatus
set_parameters(BrDevice *device, BrContext *context, BrDeviceTraining *training,
			   const float *parameters)
{
	BrStatus status = BR_OK;

	training->texts = 0;
	for (size_t at = 0; at < training->n && status == BR_OK;)
	{
		size_t n = piece_of(device, training->n, at);
		BrServeTraining message = {.kind = BR_SERVE_PARAMETERS, .at = at, .count = n};

		memcpy(device->channel.payload, parameters + at, n * sizeof(float));
		status = ask(device, context, &message);
		at += n;
	}
	return status;
}

static void
close_training(BrDevice *device, BrDeviceTraining *training)
{
	BrServeTraining message = {.kind = BR_SERVE_CLOSE};
	BrContext context;

	if (training == NULL || training != device->training)
		return;
	br_base_context_init(&context);
	if (!device->lost)
		(void) ask(device, &context, &message);
	device->allocator.free(device->allocator.arg, training);
	device->training = NULL;
}

static BrStatus
open_training(BrDevice *device, BrContext *context, const BrDeviceTrainable *trainable,
			  BrDeviceTraining **training)
{
	BrServeTraining message;
	BrDeviceTraining *opened;
	BrStatus status;

	*training = NULL;
	if (device->training != NULL)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"Another process's device trains one model at a time.");
	status = br_serve_pack_model(context, trainable, &message, device->channel.payload,
								 device->channel.bytes);
	if (status == BR_OK)
		status = ask(device, context, &message);
	if (status != BR_OK)
		return status;
	opened = device->allocator.alloc(device->allocator.arg, sizeof(BrDeviceTraining));
	if (opened == NULL)
		return br_base_fail(context, BR_ERR_MEMORY, "There is no memory for a training.");
	*opened = (BrDeviceTraining){trainable->n, trainable->model->dimensions, 0};
	device->training = opened;
	status = set_parameters(device, context, opened, trainable->parameters);
	if (status != BR_OK)
	{
		close_training(device, opened);
		return status;
	}
	*training = opened;
	return BR_OK;
}

static BrStatus
embed_batch(BrDevice *device, BrContext *context, BrDeviceTraining *training,
			const BrDeviceBatch *batch, float *embeddings)
{
	size_t texts = (size_t) batch->texts;
	size_t tokens = (size_t) batch->offsets[batch->texts];
	size_t n = texts * (size_t) training->dimensions;
	int32_t *payload = device->channel.payload;
	BrServeTraining message = {
		.kind = BR_SERVE_EMBED,
		.texts = (uint32_t) texts,
		.tokens = (uint32_t) tokens,
		.drop = batch->drop,
		.drop_attention = batch->drop_attention,
		.key = batch->key,
		.first_token = batch->first_token,
		.memory = batch->memory,
	};
	BrStatus status;

	training->texts = 0;
	if ((texts + 1 + tokens) * sizeof(int32_t) > device->channel.bytes ||
		n * sizeof(float) > device->channel.bytes)
		return br_base_fail(context, BR_ERR_LIMIT,
							"A batch of %d texts and %zu tokens does not fit into %zu bytes.",
							batch->texts, tokens, device->channel.bytes);
	memcpy(payload, batch->offsets, (texts + 1) * sizeof(int32_t));
	memcpy(payload + texts + 1, batch->ids, tokens * sizeof(int32_t));
	status = ask(device, context, &message);
	if (status != BR_OK)
		return status;
	memcpy(embeddings, device->channel.payload, n * sizeof(float));
	training->texts = batch->texts;
	return BR_OK;
}

static BrStatus
propagate_back(BrDevice *device, BrContext *context, BrDeviceTraining *training, const float *slope)
{
	BrServeTraining message = {.kind = BR_SERVE_BACK};
	size_t n = (size_t) training->texts * (size_t) training->dimensions;

	if (training->texts == 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"There is no embedded batch to propagate back from.");
	training->texts = 0;
	memcpy(device->channel.payload, slope, n * sizeof(float));
	return ask(device, context, &message);
}

static BrStatus
take_gradient(BrDevice *device, BrContext *context, BrDeviceTraining *training, float *gradient)
{
	const float *payload = device->channel.payload;
	BrStatus status = BR_OK;

	for (size_t at = 0; at < training->n && status == BR_OK;)
	{
		size_t n = piece_of(device, training->n, at);
		BrServeTraining message = {.kind = BR_SERVE_GRADIENT, .at = at, .count = n};

		status = ask(device, context, &message);
		for (size_t i = 0; i < n && status == BR_OK; i++)
			gradient[at + i] += payload[i];
		at += n;
	}
	return status;
}

const BrDeviceTable *
br_serve_training_table(void)
{
	static const BrDeviceTable table = {
		.version = BR_DEVICE_VERSION,
		.name = "another process's",
		.open_training = open_training,
		.close_training = close_training,
		.set_parameters = set_parameters,
		.embed_batch = embed_batch,
		.propagate_back = propagate_back,
		.take_gradient = take_gradient,
	};

	return &table;
}

BrStatus
br_serve_connect(BrContext *context, const BrServeChannel *channel, BrDevice **device)
{
	BrDevice *connected = br_base_alloc_array(context, 1, sizeof(BrDevice));

	*device = connected;
	if (connected == NULL)
		return BR_ERR_MEMORY;
	connected->allocator = context->allocator;
	connected->channel = *channel;
	return BR_OK;
}

void
br_serve_disconnect(BrDevice *device)
{
	BrAllocator allocator;

	if (device == NULL)
		return;
	allocator = device->allocator;
	allocator.free(allocator.arg, device->training);
	allocator.free(allocator.arg, device);
}
