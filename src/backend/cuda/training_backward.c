/*
 * training_backward.c
 *	  From the slope of a batch's embeddings to the gradient of all parameters.
 *
 * Layer by layer from the last, as core/train/backward.c does it. Work follows
 * in one stream, so that a buffer is written again as soon as what reads it has been
 * asked for: a layer's slopes need no more room than its widest.
 */
#include <string.h>

#include "backend/cuda/training.h"

/* A batch on its way back. */
typedef struct Backward
{
	BrDevice *device;
	BrContext *context;
	BrDeviceTraining *training;
	BrTrainingBatch *batch;
	BrStatus status; /* of the first product that failed; those behind it are left out */
} Backward;

/* input_slope = keep * input_slope + output_slope weight */
static void
lower_input(Backward *way, const float *weight, const float *output_slope, int rows, int in_dim,
			int out_dim, float keep, float *input_slope)
{
	if (way->status == BR_OK)
		way->status =
			br_cuda_multiply_best(way->device->products, way->context, way->device->stream,
								  (BrFactor){output_slope, out_dim, false},
								  (BrFactor){weight, in_dim, false}, NULL, rows, in_dim, out_dim,
								  keep, input_slope);
}

/* Adds to the gradient of a dense layer: output_slope' input, and its sums. */
static void
add_dense(Backward *way, const float *weight, const float *bias, const float *input,
		  const float *output_slope, int rows, int in_dim, int out_dim)
{
	if (way->status == BR_OK)
		way->status =
			br_cuda_multiply_best(way->device->products, way->context, way->device->stream,
								  (BrFactor){output_slope, out_dim, true},
								  (BrFactor){input, in_dim, false}, NULL, out_dim, in_dim, rows, 1,
								  br_cuda_gradient_of(way->training, weight));
	if (bias != NULL)
		br_cuda_add_columns(way->device->stream, output_slope, rows, out_dim, way->batch->columns,
							br_cuda_gradient_of(way->training, bias));
}

/* The slope of a norm's sum, in slope, from that of its output; adds those of gain and bias. */
static void
lower_norm(Backward *way, const float *sum, const float *moments, const float *gain,
		   const float *bias, const float *output_slope, float *slope)
{
	int tokens = way->batch->tokens;
	int hidden = way->training->model.hidden;

	br_cuda_add_norm_columns(way->device->stream, sum, moments, output_slope, tokens, hidden,
							 way->batch->columns, br_cuda_gradient_of(way->training, gain),
							 br_cuda_gradient_of(way->training, bias));
	br_cuda_norm_slopes(way->device->stream, sum, moments, gain, output_slope, tokens, hidden,
						slope);
}

/* The slope of what was dropped: where nothing is, that which is given. */
static const float *
lower_dropped(Backward *way, int layer, int site, const float *slope)
{
	BrDropout dropout = br_cuda_dropout(way->training, layer, site);

	if (dropout.share == 0)
		return slope;
	br_cuda_drop_rows(way->device->stream, dropout, slope, way->batch->tokens,
					  way->training->model.hidden, way->batch->dropped_slope);
	return way->batch->dropped_slope;
}

/* From the slope of a layer's output to that of the first norm, in sum_slope. */
static void
lower_feed(Backward *way, int number)
{
	const BrTransformer *model = &way->training->model;
	const BrTransformerLayer *layer = &way->training->layers[number];
	const BrTrainingTape *tape = &way->training->tapes[number];
	BrTrainingBatch *batch = way->batch;
	int hidden = model->hidden;
	int wide = model->intermediate;
	int tokens = batch->tokens;
	const float *slope;

	lower_norm(way, tape->second_sum, tape->second_moments, layer->layer_gain, layer->layer_bias,
			   batch->state_slope, batch->sum_slope);
	slope = lower_dropped(way, number, BR_SITE_DENSE, batch->sum_slope);
	add_dense(way, layer->down_weight, layer->down_bias, tape->active, slope, tokens, wide, hidden);
	lower_input(way, layer->down_weight, slope, tokens, wide, hidden, 0, batch->inner_slope);
	br_cuda_activation_slope(way->device->stream, tape->inner, (size_t) tokens * (size_t) wide,
							 model->activation, batch->inner_slope);
	add_dense(way, layer->up_weight, layer->up_bias, tape->first, batch->inner_slope, tokens,
			  hidden, wide);
	lower_input(way, layer->up_weight, batch->inner_slope, tokens, hidden, wide, 1,
				batch->sum_slope);
}

/* From there to the slope of the layer's input, in state_slope. */
static void
lower_attention(Backward *way, int number)
{
	const BrTransformer *model = &way->training->model;
	const BrTransformerLayer *layer = &way->training->layers[number];
	const BrTrainingTape *tape = &way->training->tapes[number];
	BrTrainingBatch *batch = way->batch;
	const float *state = number > 0 ? way->training->tapes[number - 1].state : batch->first_state;
	int hidden = model->hidden;
	int tokens = batch->tokens;
	const float *slope;
	float *attended = batch->inner_slope;
	BrAttentionSlopes attention;

	lower_norm(way, tape->first_sum, tape->first_moments, layer->attention_gain,
			   layer->attention_bias, batch->sum_slope, batch->state_slope);
	slope = lower_dropped(way, number, BR_SITE_ATTENTION, batch->state_slope);
	add_dense(way, layer->output_weight, layer->output_bias, tape->attended, slope, tokens, hidden,
			  hidden);
	lower_input(way, layer->output_weight, slope, tokens, hidden, hidden, 0, attended);
	br_cuda_drop_weights(way->device, way->training, number);
	attention = (BrAttentionSlopes){
		.qkv = tape->qkv,
		.logarithms = tape->logarithms,
		.output = tape->attended,
		.output_slope = attended,
		.along = batch->along,
		.table_slopes = batch->table_slopes,
		.slope = batch->qkv_slope,
	};
	br_cuda_attend_slope(way->device->stream, batch->attention, attention);
	if (model->relative != NULL)
		br_cuda_add_columns(way->device->stream, batch->table_slopes, tokens,
							way->training->buckets * model->heads, batch->columns,
							br_cuda_gradient_of(way->training, model->relative));
	add_dense(way, layer->qkv_weight, layer->qkv_bias, state, batch->qkv_slope, tokens, hidden,
			  3 * hidden);
	lower_input(way, layer->qkv_weight, batch->qkv_slope, tokens, hidden, 3 * hidden, 1,
				batch->state_slope);
}

static BrRowGroups
groups_of(const BrTrainingBatch *batch, int which)
{
	const char *begin = (const char *) batch->offsets;

	return (BrRowGroups){
		.rows = (const void *) (batch->of_device + ((char *) batch->group_rows[which] - begin)),
		.starts = (const void *) (batch->of_device + ((char *) batch->group_starts[which] - begin)),
		.which = (const void *) (batch->of_device + ((char *) batch->group_which[which] - begin)),
		.n = batch->groups[which],
	};
}

static void
lower_embedded(Backward *way)
{
	const BrTransformer *model = &way->training->model;
	BrTrainingBatch *batch = way->batch;
	BrStream stream = way->device->stream;
	const float *slope = lower_dropped(way, 0, BR_SITE_EMBEDDING, batch->state_slope);

	lower_norm(way, batch->embedded_sum, batch->embedded_moments, model->gain, model->bias, slope,
			   batch->sum_slope);
	br_cuda_add_groups(stream, groups_of(batch, 0), batch->sum_slope, model->hidden,
					   br_cuda_gradient_of(way->training, model->word));
	br_cuda_add_groups(stream, groups_of(batch, 1), batch->sum_slope, model->hidden,
					   br_cuda_gradient_of(way->training, model->position));
	if (model->type_row != NULL)
		br_cuda_add_columns(stream, batch->sum_slope, batch->tokens, model->hidden, batch->columns,
							br_cuda_gradient_of(way->training, model->type_row));
}

/* From the slope of the embeddings, in vector_slopes[0], to that of the last state. */
static void
lower_vectors(Backward *way)
{
	const BrTransformer *model = &way->training->model;
	BrTrainingBatch *batch = way->batch;
	BrStream stream = way->device->stream;
	const float *state =
		model->layers > 0 ? way->training->tapes[model->layers - 1].state : batch->first_state;
	float *from = batch->vector_slopes[0];
	float *to = batch->vector_slopes[1];

	for (int i = model->n_steps - 1; i >= 0; i--)
	{
		const BrTransformerStep *step = &way->training->steps[i];
		const float *input = i > 0 ? way->training->vectors[i - 1].output : batch->pooled;
		float *done = from;

		if (step->normalize)
			br_cuda_normalize_slope(stream, input, from, batch->texts, step->in_dim, to);
		else
		{
			br_cuda_activation_slope(stream, way->training->vectors[i].inner,
									 (size_t) batch->texts * (size_t) step->out_dim,
									 step->activation, from);
			add_dense(way, step->weight, step->bias, input, from, batch->texts, step->in_dim,
					  step->out_dim);
			lower_input(way, step->weight, from, batch->texts, step->in_dim, step->out_dim, 0, to);
		}
		from = to;
		to = done;
	}
	br_cuda_pool_slope(stream, model->pooling, state, batch->attention.offsets, from, batch->texts,
					   model->hidden, batch->state_slope);
}

BrStatus
br_cuda_propagate_back(BrDevice *device, BrContext *context, BrDeviceTraining *training,
					   const float *slope)
{
	BrTrainingBatch *batch = &training->batch;
	size_t bytes = (size_t) batch->texts * (size_t) training->model.dimensions * sizeof(float);
	Backward way = {device, context, training, batch, BR_OK};

	if (!batch->embedded)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"There is no embedded batch to propagate back from.");
	batch->embedded = false;
	memcpy(batch->embeddings, slope, bytes);
	way.status =
		br_cuda_upload(context, device->stream, batch->vector_slopes[0], batch->embeddings, bytes);
	if (way.status == BR_OK)
		lower_vectors(&way);
	for (int i = training->model.layers - 1; i >= 0 && way.status == BR_OK; i--)
	{
		if (br_base_cancelled(context))
			way.status = br_base_fail(context, BR_ERR_CANCELLED, "The call was cancelled.");
		else
		{
			lower_feed(&way, i);
			lower_attention(&way, i);
		}
	}
	if (way.status == BR_OK)
	{
		lower_embedded(&way);
		way.status = br_cuda_wait(context, device->stream);
	}
	return way.status == BR_OK ? BR_OK : br_cuda_settle(device, context, way.status);
}
