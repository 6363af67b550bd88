/*
 * training_forward.c
 *	  Embeddings of a batch that is trained, with all that the way back reads.
 *
 * It computes what core/train/forward.c computes, in the same places and with the
 * same dropout. Nothing of it is waited for but the embeddings.
 */
#include <math.h>
#include <string.h>

#include "backend/cuda/training.h"

BrDropout
br_cuda_dropout(const BrDeviceTraining *training, int layer, int site)
{
	const BrTrainingBatch *batch = &training->batch;
	uint64_t sites = (uint64_t) training->model.heads + BR_SITE_HEADS;
	uint64_t place = (uint64_t) layer * sites + (uint64_t) site;

	return (BrDropout){batch->key, (place << 32) + batch->first_token,
					   site == BR_SITE_HEADS ? batch->drop_attention : batch->drop};
}

void
br_cuda_drop_weights(BrDevice *device, BrDeviceTraining *training, int layer)
{
	BrTrainingBatch *batch = &training->batch;

	if (batch->drop_attention > 0)
		br_cuda_fill_mask(device->stream, batch->attention,
						  br_cuda_dropout(training, layer, BR_SITE_HEADS), batch->kept);
}

/* output = input weight' + bias */
static BrStatus
dense(BrDevice *device, BrContext *context, const float *input, const float *weight,
	  const float *bias, int rows, int in_dim, int out_dim, float *output)
{
	return br_cuda_multiply_best(device->products, context, device->stream,
								 (BrFactor){input, in_dim, false}, (BrFactor){weight, in_dim, true},
								 bias, rows, out_dim, in_dim, 0, output);
}

/* In place. */
static void
drop(BrDevice *device, const BrDeviceTraining *training, int layer, int site, float *values)
{
	BrDropout dropout = br_cuda_dropout(training, layer, site);

	if (dropout.share > 0)
		br_cuda_drop_rows(device->stream, dropout, values, training->batch.tokens,
						  training->model.hidden, values);
}

static void
embed_tokens(BrDevice *device, BrDeviceTraining *training)
{
	const BrTransformer *model = &training->model;
	BrTrainingBatch *batch = &training->batch;
	const char *begin = (const char *) batch->offsets;
	const void *ids = batch->of_device + ((const char *) batch->ids - begin);
	const void *positions = batch->of_device + ((const char *) batch->positions - begin);

	br_cuda_sum_embedded(device->stream, ids, positions, model->word, model->position,
						 model->type_row, batch->tokens, model->hidden, batch->embedded_sum);
	br_cuda_norm_rows(device->stream, NULL, model->gain, model->bias, model->epsilon, batch->tokens,
					  model->hidden, batch->embedded_sum, batch->embedded_moments,
					  batch->first_state);
	drop(device, training, 0, BR_SITE_EMBEDDING, batch->first_state);
}

static BrStatus
attend(BrDevice *device, BrContext *context, BrDeviceTraining *training, int number,
	   const float *state)
{
	const BrTransformer *model = &training->model;
	const BrTransformerLayer *layer = &training->layers[number];
	const BrTrainingTape *tape = &training->tapes[number];
	int tokens = training->batch.tokens;
	int hidden = model->hidden;
	BrStatus status = dense(device, context, state, layer->qkv_weight, layer->qkv_bias, tokens,
							hidden, 3 * hidden, tape->qkv);

	if (status != BR_OK)
		return status;
	br_cuda_drop_weights(device, training, number);
	br_cuda_attend(device->stream, training->batch.attention, tape->qkv, tape->logarithms,
				   tape->attended);
	status = dense(device, context, tape->attended, layer->output_weight, layer->output_bias,
				   tokens, hidden, hidden, tape->first_sum);
	if (status != BR_OK)
		return status;
	drop(device, training, number, BR_SITE_ATTENTION, tape->first_sum);
	br_cuda_norm_rows(device->stream, state, layer->attention_gain, layer->attention_bias,
					  model->epsilon, tokens, hidden, tape->first_sum, tape->first_moments,
					  tape->first);
	return BR_OK;
}

static BrStatus
feed(BrDevice *device, BrContext *context, BrDeviceTraining *training, int number)
{
	const BrTransformer *model = &training->model;
	const BrTransformerLayer *layer = &training->layers[number];
	const BrTrainingTape *tape = &training->tapes[number];
	int tokens = training->batch.tokens;
	int hidden = model->hidden;
	int wide = model->intermediate;
	BrStatus status = dense(device, context, tape->first, layer->up_weight, layer->up_bias, tokens,
							hidden, wide, tape->inner);

	if (status != BR_OK)
		return status;
	br_cuda_activate_into(device->stream, tape->inner, (size_t) tokens * (size_t) wide,
						  model->activation, tape->active);
	status = dense(device, context, tape->active, layer->down_weight, layer->down_bias, tokens,
				   wide, hidden, tape->second_sum);
	if (status != BR_OK)
		return status;
	drop(device, training, number, BR_SITE_DENSE, tape->second_sum);
	br_cuda_norm_rows(device->stream, tape->first, layer->layer_gain, layer->layer_bias,
					  model->epsilon, tokens, hidden, tape->second_sum, tape->second_moments,
					  tape->state);
	return BR_OK;
}

/* Pooling and the steps; the embeddings are on their way to the host then. */
static BrStatus
finish(BrDevice *device, BrContext *context, BrDeviceTraining *training, const float *state)
{
	const BrTransformer *model = &training->model;
	BrTrainingBatch *batch = &training->batch;
	const float *vectors = batch->pooled;
	BrStatus status = BR_OK;

	br_cuda_pool_rows(device->stream, model->pooling, state, batch->attention.offsets, batch->texts,
					  model->hidden, batch->pooled);
	for (int i = 0; i < model->n_steps && status == BR_OK; i++)
	{
		const BrTransformerStep *step = &training->steps[i];
		const BrTrainingVectors *to = &training->vectors[i];

		if (step->normalize)
			br_cuda_normalize_rows(device->stream, vectors, batch->texts, step->in_dim, to->output);
		else
		{
			status = dense(device, context, vectors, step->weight, step->bias, batch->texts,
						   step->in_dim, step->out_dim, to->inner);
			br_cuda_activate_into(device->stream, to->inner,
								  (size_t) batch->texts * (size_t) step->out_dim, step->activation,
								  to->output);
		}
		vectors = to->output;
	}
	if (status == BR_OK)
		status =
			br_cuda_download(context, device->stream, batch->embeddings, vectors,
							 (size_t) batch->texts * (size_t) model->dimensions * sizeof(float));
	return status;
}

static BrStatus
run(BrDevice *device, BrContext *context, BrDeviceTraining *training)
{
	const float *state = training->batch.first_state;
	BrStatus status = BR_OK;

	embed_tokens(device, training);
	for (int i = 0; i < training->model.layers && status == BR_OK; i++)
	{
		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "The call was cancelled.");
		status = attend(device, context, training, i, state);
		if (status == BR_OK)
			status = feed(device, context, training, i);
		state = training->tapes[i].state;
	}
	if (status == BR_OK)
		status = finish(device, context, training, state);
	return status == BR_OK ? br_cuda_wait(context, device->stream) : status;
}

BrStatus
br_cuda_embed_batch(BrDevice *device, BrContext *context, BrDeviceTraining *training,
					const BrDeviceBatch *texts, float *embeddings)
{
	BrTrainingBatch *batch = &training->batch;
	BrStatus status = br_cuda_prepare_batch(device, context, training, texts);

	if (status == BR_OK)
		status = run(device, context, training);
	if (status != BR_OK)
		return br_cuda_settle(device, context, status);
	memcpy(embeddings, batch->embeddings,
		   (size_t) batch->texts * (size_t) training->model.dimensions * sizeof(float));
	batch->embedded = true;
	return BR_OK;
}
