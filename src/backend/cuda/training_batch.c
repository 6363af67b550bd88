/*
 * training_batch.c
 *	  A batch of texts on its way to the device, and the memory of all it leaves.
 *
 * What the kernels must know of the texts is prepared by the host and goes up in
 * one copy: where tokens stand, to which text they belong, and which tokens share
 * a word or a position, since those add their slopes to the same row of a table.
 * All layers' numbers are kept until the way back; nothing is computed twice.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/training.h"

#define WORDS 0
#define POSITIONS 1

/* Cuts the host's memory; base NULL: counts it. */
static size_t
cut_host(BrDeviceTraining *training, char *base)
{
	BrTrainingBatch *batch = &training->batch;
	BrCutter cutter = {base, 0};
	size_t tokens = (size_t) batch->tokens;
	size_t texts = (size_t) batch->texts;

	batch->offsets = br_cuda_cut(&cutter, texts + 1, sizeof(int32_t));
	batch->ids = br_cuda_cut(&cutter, tokens, sizeof(int32_t));
	batch->positions = br_cuda_cut(&cutter, tokens, sizeof(int32_t));
	batch->text = br_cuda_cut(&cutter, tokens, sizeof(int32_t));
	batch->masks = br_cuda_cut(&cutter, texts, sizeof(uint64_t));
	for (int i = 0; i < 2; i++)
	{
		batch->group_rows[i] = br_cuda_cut(&cutter, tokens, sizeof(int32_t));
		batch->group_starts[i] = br_cuda_cut(&cutter, tokens + 1, sizeof(int32_t));
		batch->group_which[i] = br_cuda_cut(&cutter, tokens, sizeof(int32_t));
	}
	batch->input_bytes = cutter.used;
	batch->embeddings =
		br_cuda_cut(&cutter, texts * (size_t) training->model.dimensions, sizeof(float));
	return cutter.used;
}

static float *
floats(BrCutter *cutter, int rows, int columns)
{
	return br_cuda_cut(cutter, (size_t) rows * (size_t) columns, sizeof(float));
}

static void
cut_tape(BrCutter *cutter, const BrTransformer *model, int tokens, BrTrainingTape *tape)
{
	*tape = (BrTrainingTape){
		.qkv = floats(cutter, tokens, 3 * model->hidden),
		.logarithms = floats(cutter, tokens, model->heads),
		.attended = floats(cutter, tokens, model->hidden),
		.first_sum = floats(cutter, tokens, model->hidden),
		.first = floats(cutter, tokens, model->hidden),
		.inner = floats(cutter, tokens, model->intermediate),
		.active = floats(cutter, tokens, model->intermediate),
		.second_sum = floats(cutter, tokens, model->hidden),
		.first_moments = floats(cutter, tokens, 2),
		.second_moments = floats(cutter, tokens, 2),
		.state = floats(cutter, tokens, model->hidden),
	};
}

/* The widest rows of which sums over a batch are made. */
static size_t
columns_scratch(const BrDeviceTraining *training)
{
	const BrTransformer *model = &training->model;
	int tokens = training->batch.tokens;
	size_t most = br_cuda_columns_scratch(tokens, 3 * model->hidden);
	size_t others[] = {
		br_cuda_columns_scratch(tokens, model->intermediate),
		br_cuda_columns_scratch(tokens, training->buckets * model->heads),
		br_cuda_columns_scratch(training->batch.texts, training->widest),
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		most = others[i] > most ? others[i] : most;
	return most;
}

/* Cuts the device's memory; base NULL: counts it. */
static size_t
cut_device(BrDeviceTraining *training, char *base)
{
	const BrTransformer *model = &training->model;
	BrTrainingBatch *batch = &training->batch;
	BrCutter cutter = {base, 0};
	int tokens = batch->tokens;
	int width = model->hidden;

	batch->of_device = br_cuda_cut(&cutter, batch->input_bytes, 1);
	batch->kept = br_cuda_cut(&cutter, batch->mask_bytes, 1);
	batch->embedded_sum = floats(&cutter, tokens, width);
	batch->embedded_moments = floats(&cutter, tokens, 2);
	batch->first_state = floats(&cutter, tokens, width);
	for (int i = 0; i < model->layers; i++)
		cut_tape(&cutter, model, tokens, &training->tapes[i]);
	batch->pooled = floats(&cutter, batch->texts, width);
	for (int i = 0; i < model->n_steps; i++)
	{
		const BrTransformerStep *step = &training->steps[i];

		width = step->normalize ? width : step->out_dim;
		training->vectors[i].inner = step->normalize ? NULL : floats(&cutter, batch->texts, width);
		training->vectors[i].output = floats(&cutter, batch->texts, width);
	}
	for (int i = 0; i < 2; i++)
		batch->vector_slopes[i] = floats(&cutter, batch->texts, training->widest);
	batch->state_slope = floats(&cutter, tokens, model->hidden);
	batch->sum_slope = floats(&cutter, tokens, model->hidden);
	batch->dropped_slope = floats(&cutter, tokens, model->hidden);
	/* also that of what attention gave */
	batch->inner_slope =
		floats(&cutter, tokens,
			   model->intermediate > model->hidden ? model->intermediate : model->hidden);
	batch->qkv_slope = floats(&cutter, tokens, 3 * model->hidden);
	batch->along = floats(&cutter, tokens, model->heads);
	batch->table_slopes = floats(&cutter, tokens, training->buckets * model->heads);
	batch->columns = br_cuda_cut(&cutter, columns_scratch(training), sizeof(float));
	return cutter.used;
}

/* Where a piece of the host's inputs stands on the device. */
static const void *
on_device(const BrTrainingBatch *batch, const void *host)
{
	return batch->of_device + ((const char *) host - (const char *) batch->offsets);
}

static int
ascending(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *) left;
	uint64_t b = *(const uint64_t *) right;

	return (a > b) - (a < b);
}

/* Tokens by the row of a table that they name, in their order. */
static void
group_tokens(BrTrainingBatch *batch, int which, const int32_t *names, uint64_t *sorted)
{
	int n = 0;

	for (int i = 0; i < batch->tokens; i++)
		sorted[i] = (uint64_t) names[i] << 32 | (uint64_t) i;
	qsort(sorted, (size_t) batch->tokens, sizeof(uint64_t), ascending);
	for (int i = 0; i < batch->tokens; i++)
	{
		batch->group_rows[which][i] = (int32_t) (sorted[i] & UINT32_MAX);
		if (i > 0 && sorted[i] >> 32 == sorted[i - 1] >> 32)
			continue;
		batch->group_which[which][n] = (int32_t) (sorted[i] >> 32);
		batch->group_starts[which][n++] = i;
	}
	batch->group_starts[which][n] = batch->tokens;
	batch->groups[which] = n;
}

static BrStatus
fill_host(BrContext *context, BrDeviceTraining *training, const BrDeviceBatch *texts)
{
	BrTrainingBatch *batch = &training->batch;
	size_t tokens = (size_t) batch->tokens;
	uint64_t *sorted = br_base_alloc_array(context, tokens, sizeof(uint64_t));
	uint64_t mask = 0;

	if (sorted == NULL)
		return BR_ERR_MEMORY;
	memcpy(batch->offsets, texts->offsets, ((size_t) batch->texts + 1) * sizeof(int32_t));
	memcpy(batch->ids, texts->ids, tokens * sizeof(int32_t));
	br_cuda_number_tokens(training->model.first_position, batch->ids, batch->offsets, batch->texts,
						  batch->positions);
	for (int i = 0; i < batch->texts; i++)
	{
		for (int32_t j = batch->offsets[i]; j < batch->offsets[i + 1]; j++)
			batch->text[j] = i;
		batch->masks[i] = mask;
		mask +=
			br_cuda_mask_bytes(training->model.heads, batch->offsets[i + 1] - batch->offsets[i]);
	}
	group_tokens(batch, WORDS, batch->ids, sorted);
	group_tokens(batch, POSITIONS, batch->positions, sorted);
	br_base_free(context, sorted);
	return BR_OK;
}

static void
describe_attention(BrDeviceTraining *training)
{
	const BrTransformer *model = &training->model;
	BrTrainingBatch *batch = &training->batch;

	batch->attention = (BrTrainingAttention){
		.offsets = on_device(batch, batch->offsets),
		.text = on_device(batch, batch->text),
		.masks = on_device(batch, batch->masks),
		.rows = batch->tokens,
		.heads = model->heads,
		.head_dim = model->hidden / model->heads,
		.table = model->relative,
		.bucket = training->bucket,
		.buckets = training->buckets,
		.longest = model->max_tokens,
		.kept = batch->drop_attention > 0 ? batch->kept : NULL,
		.kept_scale = (float) (65536.0 / (65536.0 - batch->drop_attention)),
	};
}

/* Takes the sizes of a batch in. */
static void
measure(BrDeviceTraining *training, const BrDeviceBatch *texts)
{
	BrTrainingBatch *batch = &training->batch;

	batch->texts = texts->texts;
	batch->tokens = texts->offsets[texts->texts];
	batch->drop = texts->drop;
	batch->drop_attention = texts->drop_attention;
	batch->key = texts->key;
	batch->first_token = texts->first_token;
	batch->mask_bytes = 0;
	for (int i = 0; batch->drop_attention > 0 && i < batch->texts; i++)
		batch->mask_bytes +=
			br_cuda_mask_bytes(training->model.heads, texts->offsets[i + 1] - texts->offsets[i]);
}

static BrStatus
check_batch(BrContext *context, const BrDeviceTraining *training, const BrDeviceBatch *texts)
{
	if (texts->texts < 1 || texts->offsets[0] != 0 || texts->drop >= 65536 ||
		texts->drop_attention >= 65536)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A batch of %d texts, or its dropout of %u and %u in 65536, is none.",
							texts->texts, (unsigned) texts->drop, (unsigned) texts->drop_attention);
	return br_cuda_check_texts(context, &training->model, texts->ids, texts->offsets, texts->texts);
}

BrStatus
br_cuda_prepare_batch(BrDevice *device, BrContext *context, BrDeviceTraining *training,
					  const BrDeviceBatch *texts)
{
	BrTrainingBatch *batch = &training->batch;
	BrStatus status = check_batch(context, training, texts);
	size_t bytes;

	batch->embedded = false;
	if (status != BR_OK)
		return status;
	measure(training, texts);
	status = br_cuda_reserve(context, &batch->host, cut_host(training, NULL));
	if (status != BR_OK)
		return status;
	(void) cut_host(training, batch->host.memory);
	bytes = cut_device(training, NULL);
	if (texts->memory > 0 && bytes > texts->memory)
		return br_base_fail(context, BR_ERR_LIMIT,
							"A batch of %d tokens needs %zu bytes on the device; %zu are allowed.",
							batch->tokens, bytes, texts->memory);
	status = br_cuda_reserve(context, &training->work, bytes);
	if (status == BR_OK)
		status = fill_host(context, training, texts);
	if (status != BR_OK)
		return status;
	(void) cut_device(training, training->work.memory);
	describe_attention(training);
	return br_cuda_upload(context, device->stream, batch->of_device, batch->offsets,
						  batch->input_bytes);
}
