/*
 * forward.c
 *	  A batch through the transformer, put into the device's stream piece by piece.
 *
 * Tokens of all texts stand one after another without padding; only attention
 * and pooling look at where texts begin. States between layers are halves, sums
 * and statistics are floats.
 */
#include "backend/cuda/device.h"

/* One batch. */
typedef struct Forward
{
	BrDevice *device;
	BrContext *context;
	const BrDeviceModel *model;
	const BrTransformer *shape;
	const BrBatch *batch;
	char *inputs; /* the batch's memory of the host, as it is on the device */
	const int32_t *offsets;
	const int32_t *ids;
	const int32_t *positions;
	const BrAttentionItem *items;
	BrHalf *state;	   /* (tokens, hidden) */
	BrHalf *qkv;	   /* (tokens, 3 * hidden) */
	BrHalf *attended;  /* (tokens, hidden) */
	BrHalf *projected; /* (tokens, hidden) */
	BrHalf *wide;	   /* (tokens, intermediate) */
	float *pooled[2];  /* (texts, widest) */
} Forward;

static size_t
cut_work(Forward *forward, char *base)
{
	BrCutter cutter = {base, 0};
	size_t tokens = (size_t) forward->batch->tokens;
	size_t hidden = (size_t) forward->shape->hidden;
	size_t wide = tokens * (size_t) forward->shape->intermediate;
	size_t pooled = (size_t) forward->batch->texts * (size_t) forward->model->widest;

	forward->inputs = br_cuda_cut(&cutter, forward->batch->input_bytes, 1);
	forward->state = br_cuda_cut(&cutter, tokens * hidden, sizeof(BrHalf));
	forward->qkv = br_cuda_cut(&cutter, 3 * tokens * hidden, sizeof(BrHalf));
	forward->attended = br_cuda_cut(&cutter, tokens * hidden, sizeof(BrHalf));
	forward->projected = br_cuda_cut(&cutter, tokens * hidden, sizeof(BrHalf));
	forward->wide = br_cuda_cut(&cutter, wide, sizeof(BrHalf));
	forward->pooled[0] = br_cuda_cut(&cutter, pooled, sizeof(float));
	forward->pooled[1] = br_cuda_cut(&cutter, pooled, sizeof(float));
	return cutter.used;
}

/* Where a piece of the host's inputs stands on the device. */
static const void *
on_device(const Forward *forward, const void *host)
{
	return forward->inputs + ((const char *) host - (const char *) forward->batch->offsets);
}

static BrStatus
send_inputs(Forward *forward)
{
	const BrBatch *batch = forward->batch;

	forward->offsets = on_device(forward, batch->offsets);
	forward->ids = on_device(forward, batch->ids);
	forward->positions = on_device(forward, batch->positions);
	forward->items = on_device(forward, batch->items);
	return br_cuda_upload(forward->context, forward->device->stream, forward->inputs,
						  batch->offsets, batch->input_bytes);
}

static BrStatus
multiply(const Forward *forward, const BrHalf *input, const BrHalf *weight, const BrHalf *bias,
		 int rows, int in_dim, int out_dim, BrActivation activation, BrHalf *output)
{
	return br_cuda_multiply(forward->device->products, forward->context, forward->device->stream,
							input, weight, bias, rows, in_dim, out_dim, activation, output);
}

/* state = layer_norm(attention(state) + state) */
static BrStatus
attend(const Forward *forward, const BrLayer *layer)
{
	const BrTransformer *shape = forward->shape;
	BrStream stream = forward->device->stream;
	int tokens = forward->batch->tokens;
	int hidden = shape->hidden;
	BrStatus status = multiply(forward, forward->state, layer->qkv_weight, layer->qkv_bias, tokens,
							   hidden, 3 * hidden, BR_ACTIVATION_NONE, forward->qkv);

	if (status != BR_OK)
		return status;
	br_cuda_attention(stream, forward->qkv, forward->items, forward->batch->n_items, shape->heads,
					  hidden / shape->heads, 0, shape->heads, forward->model->relative,
					  shape->max_tokens, forward->attended);
	status = multiply(forward, forward->attended, layer->output_weight, layer->output_bias, tokens,
					  hidden, hidden, BR_ACTIVATION_NONE, forward->projected);
	if (status == BR_OK)
		br_cuda_add_layer_norm(stream, forward->projected, forward->state, layer->attention_gain,
							   layer->attention_bias, shape->epsilon, tokens, hidden,
							   forward->state);
	return status;
}

/* state = layer_norm(down(activation(up(state))) + state) */
static BrStatus
feed(const Forward *forward, const BrLayer *layer)
{
	const BrTransformer *shape = forward->shape;
	int hidden = shape->hidden;
	int tokens = forward->batch->tokens;
	BrStatus status = multiply(forward, forward->state, layer->up_weight, layer->up_bias, tokens,
							   hidden, shape->intermediate, shape->activation, forward->wide);

	if (status == BR_OK)
		status = multiply(forward, forward->wide, layer->down_weight, layer->down_bias, tokens,
						  shape->intermediate, hidden, BR_ACTIVATION_NONE, forward->projected);
	if (status == BR_OK)
		br_cuda_add_layer_norm(forward->device->stream, forward->projected, forward->state,
							   layer->layer_gain, layer->layer_bias, shape->epsilon, tokens, hidden,
							   forward->state);
	return status;
}

/* Pooling and the steps behind it; the embeddings are on their way to the host then. */
static BrStatus
finish(const Forward *forward)
{
	const BrTransformer *shape = forward->shape;
	BrStream stream = forward->device->stream;
	int texts = forward->batch->texts;
	size_t n = (size_t) texts * (size_t) shape->dimensions;
	float *from = forward->pooled[0];
	float *to = forward->pooled[1];
	int width = shape->hidden;
	BrStatus status;

	br_cuda_pool(stream, shape->pooling, forward->state, forward->offsets, texts, width, from);
	for (int i = 0; i < shape->n_steps; i++)
	{
		const BrStep *step = &forward->model->steps[i];
		float *other = from;

		if (step->normalize)
		{
			br_cuda_normalize(stream, from, texts, width);
			continue;
		}
		br_cuda_multiply_floats(stream, from, step->weight, texts, step->out_dim, step->in_dim, to);
		br_cuda_activate_floats(stream, to, step->bias, texts, step->out_dim, step->activation);
		width = step->out_dim;
		from = to;
		to = other;
	}
	status = br_cuda_download(forward->context, stream, forward->batch->embeddings, from,
							  n * sizeof(float));
	return status == BR_OK ? br_cuda_check(forward->context) : status;
}

static BrStatus
run(const Forward *forward)
{
	const BrDeviceModel *model = forward->model;
	const BrTransformer *shape = forward->shape;
	BrStatus status = BR_OK;

	br_cuda_embed(forward->device->stream, forward->ids, forward->positions, model->word,
				  model->position, model->type_row, model->gain, model->bias, shape->epsilon,
				  forward->batch->tokens, shape->hidden, forward->state);
	for (int i = 0; i < shape->layers && status == BR_OK; i++)
	{
		if (br_base_cancelled(forward->context))
			return br_base_fail(forward->context, BR_ERR_CANCELLED, "The call was cancelled.");
		status = attend(forward, &model->layers[i]);
		if (status == BR_OK)
			status = feed(forward, &model->layers[i]);
	}
	return status == BR_OK ? finish(forward) : status;
}

BrStatus
br_cuda_forward(BrDevice *device, BrContext *context, const BrDeviceModel *model, BrBatch *batch)
{
	Forward forward = {.device = device, .context = context, .model = model};
	BrStatus status;

	forward.shape = &model->shape;
	forward.batch = batch;
	status = br_cuda_reserve(context, &device->work, cut_work(&forward, NULL));
	if (status != BR_OK)
		return status;
	(void) cut_work(&forward, device->work.memory);
	status = send_inputs(&forward);
	if (status == BR_OK)
		status = run(&forward);
	return status == BR_OK ? BR_OK : br_cuda_settle(device, context, status);
}
