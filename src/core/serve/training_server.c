/*
 * training_server.c
 *	  Answers what another process wants of a device that trains.
 *
 * Every number of a message is checked against what is open and against the
 * payload; token ids are copied before they are checked, so that they are what was
 * checked. One array of the model's size takes the pieces of the parameters on
 * their way to the device, and holds a gradient while it goes by pieces.
 */
#include <string.h>

#include "core/serve/training_int.h"

void
br_serve_trainer_init(BrServeTrainer *trainer, BrContext *context, const BrDeviceTable *table,
					  BrDevice *device)
{
	*trainer = (BrServeTrainer){.context = context, .table = table, .device = device};
}

void
br_serve_trainer_release(BrServeTrainer *trainer)
{
	if (trainer->training != NULL)
		trainer->table->close_training(trainer->device, trainer->training);
	br_base_free(trainer->context, trainer->floats);
	br_serve_trainer_init(trainer, trainer->context, trainer->table, trainer->device);
}

static BrStatus
refuse(const BrServeTrainer *trainer, const char *what)
{
	return br_base_fail(trainer->context, BR_ERR_ARGUMENT, "The message is wrong: %s.", what);
}

/* payload: a copy, which the other side does not write any more. */
static BrStatus
open_copied(BrServeTrainer *trainer, const BrServeTraining *message, const void *payload,
			size_t bytes)
{
	BrContext *context = trainer->context;
	BrServeModel *model;
	/* not touched before the model is one: the number may be any */
	float *floats = br_base_alloc(context, message->n * sizeof(float));
	BrStatus status = BR_ERR_MEMORY;

	if (floats != NULL)
		status = br_serve_unpack_model(context, message, payload, bytes, floats, &model);
	if (status != BR_OK)
	{
		br_base_free(context, floats);
		return status;
	}
	br_serve_trainer_release(trainer);
	memset(floats, 0, message->n * sizeof(float));
	status = trainer->table->open_training(trainer->device, context, &model->trainable,
										   &trainer->training);
	br_base_free(context, model);
	if (status != BR_OK)
	{
		br_base_free(context, floats);
		return status;
	}
	trainer->floats = floats;
	trainer->n = message->n;
	trainer->dimensions = message->dimensions;
	return BR_OK;
}

static BrStatus
answer_open(BrServeTrainer *trainer, const BrServeTraining *message, const void *payload,
			size_t bytes)
{
	void *copy;
	BrStatus status;

	if (message->n == 0 || message->n > SIZE_MAX / sizeof(float) / 4)
		return refuse(trainer, "the number of parameters");
	copy = br_base_alloc(trainer->context, bytes);
	if (copy == NULL)
		return BR_ERR_MEMORY;
	memcpy(copy, payload, bytes);
	status = open_copied(trainer, message, copy, bytes);
	br_base_free(trainer->context, copy);
	return status;
}

static bool
piece_possible(const BrServeTrainer *trainer, const BrServeTraining *message, size_t bytes)
{
	return message->count > 0 && message->count <= bytes / sizeof(float) &&
		message->at < trainer->n && message->count <= trainer->n - message->at;
}

static BrStatus
answer_parameters(BrServeTrainer *trainer, const BrServeTraining *message, const void *payload,
				  size_t bytes)
{
	if (!piece_possible(trainer, message, bytes))
		return refuse(trainer, "a piece of the parameters");
	memcpy(trainer->floats + message->at, payload, message->count * sizeof(float));
	if (message->at + message->count < trainer->n)
		return BR_OK;
	trainer->texts = 0;
	return trainer->table->set_parameters(trainer->device, trainer->context, trainer->training,
										  trainer->floats);
}

static BrStatus
answer_gradient(BrServeTrainer *trainer, const BrServeTraining *message, void *payload,
				size_t bytes)
{
	BrStatus status = BR_OK;

	if (!piece_possible(trainer, message, bytes))
		return refuse(trainer, "a piece of the gradient");
	if (message->at == 0)
	{
		memset(trainer->floats, 0, trainer->n * sizeof(float));
		status = trainer->table->take_gradient(trainer->device, trainer->context, trainer->training,
											   trainer->floats);
	}
	if (status == BR_OK)
		memcpy(payload, trainer->floats + message->at, message->count * sizeof(float));
	return status;
}

/* Whether offsets rise from 0 to the last token, as the device takes for granted. */
static bool
offsets_rise(const int32_t *offsets, uint32_t texts, uint32_t tokens)
{
	for (uint32_t i = 0; i < texts; i++)
		if (offsets[i] >= offsets[i + 1])
			return false;
	return offsets[0] == 0 && (uint32_t) offsets[texts] == tokens;
}

static BrStatus
answer_embed(BrServeTrainer *trainer, const BrServeTraining *message, void *payload, size_t bytes)
{
	uint64_t n = (uint64_t) message->texts + 1 + message->tokens;
	int32_t *copy;
	BrStatus status;

	trainer->texts = 0;
	if (message->texts == 0 || message->tokens < message->texts || message->tokens > INT32_MAX ||
		n > bytes / sizeof(int32_t) ||
		(uint64_t) message->texts * (uint64_t) trainer->dimensions > bytes / sizeof(float))
		return refuse(trainer, "texts and tokens");
	copy = br_base_alloc_array(trainer->context, n, sizeof(int32_t));
	if (copy == NULL)
		return BR_ERR_MEMORY;
	memcpy(copy, payload, n * sizeof(int32_t));
	if (!offsets_rise(copy, message->texts, message->tokens))
		status = refuse(trainer, "offsets do not rise from 0 to the last token");
	else
	{
		BrDeviceBatch batch = {
			.ids = copy + message->texts + 1,
			.offsets = copy,
			.texts = (int) message->texts,
			.drop = message->drop,
			.drop_attention = message->drop_attention,
			.key = message->key,
			.first_token = message->first_token,
			.memory = message->memory,
		};

		status = trainer->table->embed_batch(trainer->device, trainer->context, trainer->training,
											 &batch, payload);
	}
	br_base_free(trainer->context, copy);
	trainer->texts = status == BR_OK ? (int) message->texts : 0;
	return status;
}

static BrStatus
answer_back(BrServeTrainer *trainer, const void *payload)
{
	if (trainer->texts == 0)
		return refuse(trainer, "there is no embedded batch to propagate back from");
	trainer->texts = 0;
	return trainer->table->propagate_back(trainer->device, trainer->context, trainer->training,
										  payload);
}

BrStatus
br_serve_trainer_answer(BrServeTrainer *trainer, const BrServeTraining *message, void *payload,
						size_t bytes)
{
	if (message->kind == BR_SERVE_OPEN)
		return answer_open(trainer, message, payload, bytes);
	if (message->kind == BR_SERVE_CLOSE)
	{
		br_serve_trainer_release(trainer);
		return BR_OK;
	}
	if (trainer->training == NULL)
		return refuse(trainer, "no training is open");
	switch (message->kind)
	{
		case BR_SERVE_PARAMETERS:
			return answer_parameters(trainer, message, payload, bytes);
		case BR_SERVE_EMBED:
			return answer_embed(trainer, message, payload, bytes);
		case BR_SERVE_BACK:
			return answer_back(trainer, payload);
		case BR_SERVE_GRADIENT:
			return answer_gradient(trainer, message, payload, bytes);
		default:
			return refuse(trainer, "its kind");
	}
}
