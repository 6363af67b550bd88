/*
 * training_model.c
 *	  A model that is trained on the device: its parameters and their gradient.
 *
 * Parameters go up as they are, in one copy. The description of the model is kept
 * with its pointers moved to the device's copy, so that a tensor's gradient stands as
 * far from it as the gradient does from the parameters. A gradient comes down by
 * pieces, one on its way while the host adds the one before.
 */
#include <string.h>

#include "backend/cuda/training.h"

/* Moves pointers from the host's parameters to the device's. */
typedef struct Mover
{
	const BrDeviceTrainable *trainable;
	const float *parameters;
	bool outside; /* some tensor is not among the parameters */
} Mover;

/* A tensor of so many elements; NULL stays. */
static const float *
move(Mover *mover, const float *tensor, size_t rows, size_t columns)
{
	const float *begin = mover->trainable->parameters;
	size_t at;

	if (tensor == NULL)
		return NULL;
	at = (size_t) (tensor - begin);
	if (tensor < begin || at > mover->trainable->n || rows * columns > mover->trainable->n - at)
	{
		mover->outside = true;
		return NULL;
	}
	return mover->parameters + at;
}

static BrTransformerLayer
move_layer(Mover *mover, const BrTransformer *model, const BrTransformerLayer *from)
{
	size_t hidden = (size_t) model->hidden;
	size_t wide = (size_t) model->intermediate;

	return (BrTransformerLayer){
		.qkv_weight = move(mover, from->qkv_weight, 3 * hidden, hidden),
		.qkv_bias = move(mover, from->qkv_bias, 3, hidden),
		.output_weight = move(mover, from->output_weight, hidden, hidden),
		.output_bias = move(mover, from->output_bias, 1, hidden),
		.attention_gain = move(mover, from->attention_gain, 1, hidden),
		.attention_bias = move(mover, from->attention_bias, 1, hidden),
		.up_weight = move(mover, from->up_weight, wide, hidden),
		.up_bias = move(mover, from->up_bias, 1, wide),
		.down_weight = move(mover, from->down_weight, hidden, wide),
		.down_bias = move(mover, from->down_bias, 1, hidden),
		.layer_gain = move(mover, from->layer_gain, 1, hidden),
		.layer_bias = move(mover, from->layer_bias, 1, hidden),
	};
}

static void
move_all(Mover *mover, BrDeviceTraining *training)
{
	const BrTransformer *from = mover->trainable->model;
	BrTransformer *to = &training->model;
	size_t hidden = (size_t) from->hidden;

	*to = *from;
	to->word = move(mover, from->word, (size_t) from->vocabulary, hidden);
	to->position = move(mover, from->position, (size_t) from->positions, hidden);
	to->type_row = move(mover, from->type_row, 1, hidden);
	to->gain = move(mover, from->gain, 1, hidden);
	to->bias = move(mover, from->bias, 1, hidden);
	to->relative = move(mover, from->relative, (size_t) training->buckets, (size_t) from->heads);
	for (int i = 0; i < from->layers; i++)
		training->layers[i] = move_layer(mover, from, &from->layer[i]);
	for (int i = 0; i < from->n_steps; i++)
	{
		BrTransformerStep *step = &training->steps[i];

		*step = from->steps[i];
		step->weight = move(mover, step->weight, (size_t) step->out_dim, (size_t) step->in_dim);
		step->bias = move(mover, step->bias, 1, (size_t) step->out_dim);
	}
	to->layer = training->layers;
	to->steps = training->steps;
}

static void
forget(BrDeviceTraining *training)
{
	BrAllocator allocator = training->allocator;

	br_cuda_release(training->memory);
	br_cuda_empty(&training->work);
	br_cuda_empty(&training->batch.host);
	for (int i = 0; i < BR_TRAINING_PIECES; i++)
		br_cuda_empty(&training->pieces[i]);
	allocator.free(allocator.arg, training->layers);
	allocator.free(allocator.arg, training->steps);
	allocator.free(allocator.arg, training->tapes);
	allocator.free(allocator.arg, training->vectors);
	allocator.free(allocator.arg, training);
}

static BrDeviceTraining *
make_room(BrContext *context, const BrDeviceTrainable *trainable)
{
	size_t layers = (size_t) trainable->model->layers + 1;
	size_t steps = (size_t) trainable->model->n_steps + 1;
	BrDeviceTraining *made = br_base_alloc_array(context, 1, sizeof(BrDeviceTraining));

	if (made == NULL)
		return NULL;
	made->allocator = context->allocator;
	made->n = trainable->n;
	made->buckets = trainable->model->relative != NULL ? trainable->buckets : 0;
	made->batch.host.of_host = true;
	for (int i = 0; i < BR_TRAINING_PIECES; i++)
		made->pieces[i].of_host = true;
	made->layers = br_base_alloc_array(context, layers, sizeof(BrTransformerLayer));
	made->steps = br_base_alloc_array(context, steps, sizeof(BrTransformerStep));
	made->tapes = br_base_alloc_array(context, layers, sizeof(BrTrainingTape));
	made->vectors = br_base_alloc_array(context, steps, sizeof(BrTrainingVectors));
	if (made->layers == NULL || made->steps == NULL || made->tapes == NULL || made->vectors == NULL)
	{
		forget(made);
		return NULL;
	}
	return made;
}

/* Cuts the device's memory; base NULL: counts it. */
static size_t
cut_model(BrDeviceTraining *training, const BrTransformer *model, char *base)
{
	BrCutter cutter = {base, 0};

	training->parameters = br_cuda_cut(&cutter, training->n, sizeof(float));
	training->gradient = br_cuda_cut(&cutter, training->n, sizeof(float));
	training->bucket = br_cuda_cut(&cutter, 2 * (size_t) model->max_tokens, sizeof(int32_t));
	return cutter.used;
}

static BrStatus
check_table(BrContext *context, const BrDeviceTrainable *trainable)
{
	if (trainable->model->relative == NULL)
		return BR_OK;
	if (trainable->buckets < 1 || trainable->buckets > BR_DEVICE_BUCKETS ||
		trainable->bucket == NULL)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"The device trains tables of 1 to %d distances, not of %d.",
							BR_DEVICE_BUCKETS, trainable->buckets);
	for (int i = 0; i < 2 * trainable->model->max_tokens - 1; i++)
		if (trainable->bucket[i] < 0 || trainable->bucket[i] >= trainable->buckets)
			return br_base_fail(context, BR_ERR_ARGUMENT, "A distance has row %d of %d.",
								(int) trainable->bucket[i], trainable->buckets);
	return BR_OK;
}

/* Memory, where tensors stand in it, and the first parameters. */
static BrStatus
fill(BrDevice *device, BrContext *context, const BrDeviceTrainable *trainable,
	 BrDeviceTraining *training)
{
	size_t bytes = cut_model(training, trainable->model, NULL);
	Mover mover = {trainable, NULL, false};
	BrStatus status = br_cuda_allocate(context, bytes, &training->memory);

	if (status != BR_OK)
		return status;
	(void) cut_model(training, trainable->model, training->memory);
	mover.parameters = training->parameters;
	move_all(&mover, training);
	if (mover.outside)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A tensor of the model is not among its parameters.");
	if (training->buckets > 0)
		status = br_cuda_upload(context, device->stream, training->bucket, trainable->bucket,
								(2 * (size_t) trainable->model->max_tokens - 1) * sizeof(int32_t));
	if (status == BR_OK)
		status = br_cuda_set_parameters(device, context, training, trainable->parameters);
	return status;
}

BrStatus
br_cuda_open_training(BrDevice *device, BrContext *context, const BrDeviceTrainable *trainable,
					  BrDeviceTraining **training)
{
	BrDeviceTraining *made;
	int widest;
	BrStatus status = br_cuda_check_shape(context, trainable->model, &widest);

	*training = NULL;
	if (status == BR_OK)
		status = check_table(context, trainable);
	if (status != BR_OK)
		return status;
	made = make_room(context, trainable);
	if (made == NULL)
		return BR_ERR_MEMORY;
	made->widest = widest;
	status = fill(device, context, trainable, made);
	if (status != BR_OK)
	{
		forget(made);
		return status;
	}
	made->next = device->trainings;
	device->trainings = made;
	*training = made;
	return BR_OK;
}

void
br_cuda_close_training(BrDevice *device, BrDeviceTraining *training)
{
	BrDeviceTraining **place = &device->trainings;

	while (*place != NULL && *place != training)
		place = &(*place)->next;
	if (training == NULL || *place == NULL)
		return;
	*place = training->next;
	forget(training);
}

BrStatus
br_cuda_set_parameters(BrDevice *device, BrContext *context, BrDeviceTraining *training,
					   const float *parameters)
{
	size_t bytes = training->n * sizeof(float);
	BrStatus status =
		br_cuda_upload(context, device->stream, training->parameters, parameters, bytes);

	training->batch.embedded = false;
	if (status == BR_OK)
		status = br_cuda_clear(context, device->stream, training->gradient, bytes);
	return status == BR_OK ? br_cuda_wait(context, device->stream) : status;
}

/* How many floats of a piece that begins there. */
static size_t
piece_at(const BrDeviceTraining *training, size_t at)
{
	size_t left = training->n - at;

	return left < BR_TRAINING_PIECE ? left : BR_TRAINING_PIECE;
}

static BrStatus
fetch(BrDevice *device, BrContext *context, BrDeviceTraining *training, size_t at, int turn)
{
	return br_cuda_download(context, device->stream, training->pieces[turn].memory,
							training->gradient + at, piece_at(training, at) * sizeof(float));
}

BrStatus
br_cuda_take_gradient(BrDevice *device, BrContext *context, BrDeviceTraining *training,
					  float *gradient)
{
	BrStatus status = BR_OK;
	int turn = 0;

	for (int i = 0; i < BR_TRAINING_PIECES && status == BR_OK; i++)
		status = br_cuda_reserve(context, &training->pieces[i], BR_TRAINING_PIECE * sizeof(float));
	if (status == BR_OK)
		status = fetch(device, context, training, 0, turn);
	for (size_t at = 0; at < training->n && status == BR_OK; turn = 1 - turn)
	{
		const float *piece = training->pieces[turn].memory;
		size_t n = piece_at(training, at);

		status = br_cuda_wait(context, device->stream);
		if (status == BR_OK && at + n < training->n)
			status = fetch(device, context, training, at + n, 1 - turn);
		for (size_t i = 0; i < n && status == BR_OK; i++)
			gradient[at + i] += piece[i];
		at += n;
	}
	if (status == BR_OK)
		status =
			br_cuda_clear(context, device->stream, training->gradient, training->n * sizeof(float));
	return status == BR_OK ? BR_OK : br_cuda_settle(device, context, status);
}
