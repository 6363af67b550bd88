/*
 * batch.c
 *	  Texts into batches of a bounded number of tokens, one computed while the
 *	  next one is prepared.
 *
 * Texts keep their order: a batch is packed without padding, so that sorting them
 * would gain nothing. What a batch needs besides its ids, where tokens stand in
 * their texts and into what pieces attention is cut, is written by the host into
 * memory that the device copies by itself, and goes there in one copy. Where the
 * device has not enough memory for a batch, half of it is tried, down to one text.
 */
#include <math.h>
#include <string.h>

#include "backend/cuda/device.h"

/* Rows enough for the widest device to be busy; of BERT-base they take 500 MB of work memory. */
#define BATCH_TOKENS 32768

/* Texts that one call embeds. */
typedef struct Call
{
	BrDevice *device;
	BrContext *context;
	BrDeviceModel *model;
	const int32_t *ids;
	const int32_t *offsets;
	int texts;
	float *embeddings;
	int budget; /* tokens of a batch, unless one text has more */
} Call;

BrStatus
br_cuda_check_texts(BrContext *context, const BrTransformer *model, const int32_t *ids,
					const int32_t *offsets, int texts)
{
	for (int i = 0; i < texts; i++)
	{
		int64_t length = (int64_t) offsets[i + 1] - offsets[i];

		if (offsets[i] < 0 || length < 1 || length > model->max_tokens)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Text %d has %lld tokens; the model takes 1 to %d.", i,
								(long long) length, model->max_tokens);
		for (int32_t j = offsets[i]; j < offsets[i + 1]; j++)
			if (ids[j] < 0 || ids[j] >= model->vocabulary)
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"Text %d has the token id %d; the model has 0 to %d.", i,
									(int) ids[j], model->vocabulary - 1);
	}
	return BR_OK;
}

/* How many texts from first on go into a batch. */
static int
texts_within(const Call *call, int first)
{
	int n = 1;

	while (first + n < call->texts &&
		   call->offsets[first + n + 1] - call->offsets[first] <= call->budget)
		n++;
	return n;
}

/* Cuts the host's memory; base NULL: counts it. */
static size_t
cut_batch(BrBatch *batch, const BrTransformer *model, char *base)
{
	BrCutter cutter = {base, 0};
	size_t tokens = (size_t) batch->tokens;
	size_t items = br_cuda_attention_most_items(batch->texts, batch->tokens, model->heads);

	batch->offsets = br_cuda_cut(&cutter, (size_t) batch->texts + 1, sizeof(int32_t));
	batch->ids = br_cuda_cut(&cutter, tokens, sizeof(int32_t));
	batch->positions = br_cuda_cut(&cutter, tokens, sizeof(int32_t));
	batch->items = br_cuda_cut(&cutter, items, sizeof(BrAttentionItem));
	batch->input_bytes = cutter.used;
	batch->embeddings =
		br_cuda_cut(&cutter, (size_t) batch->texts * (size_t) model->dimensions, sizeof(float));
	return cutter.used;
}

void
br_cuda_number_tokens(int first, const int32_t *ids, const int32_t *offsets, int texts,
					  int32_t *positions)
{
	for (int i = 0; i < texts; i++)
	{
		int32_t next = first;

		for (int j = offsets[i]; j < offsets[i + 1]; j++)
			positions[j] = first > 0 && ids[j] == first - 1 ? first - 1 : next++;
	}
}

/* Fills a batch with texts from first on. */
static BrStatus
prepare(const Call *call, BrBatch *batch, int first)
{
	const BrTransformer *model = &call->model->shape;
	const int32_t *offsets = call->offsets + first;
	BrStatus status;

	batch->first = first;
	batch->texts = texts_within(call, first);
	batch->tokens = offsets[batch->texts] - offsets[0];
	batch->host.of_host = true;
	status = br_cuda_reserve(call->context, &batch->host, cut_batch(batch, model, NULL));
	if (status != BR_OK)
		return status;
	(void) cut_batch(batch, model, batch->host.memory);
	for (int i = 0; i <= batch->texts; i++)
		batch->offsets[i] = offsets[i] - offsets[0];
	memcpy(batch->ids, call->ids + offsets[0], (size_t) batch->tokens * sizeof(int32_t));
	br_cuda_number_tokens(model->first_position, batch->ids, batch->offsets, batch->texts,
						  batch->positions);
	batch->n_items =
		br_cuda_attention_items(batch->offsets, batch->texts, model->heads, batch->items,
								(int) br_cuda_attention_most_items(batch->texts, batch->tokens,
																   model->heads));
	return BR_OK;
}

/* Waits for a batch and hands its embeddings out. */
static BrStatus
collect(const Call *call, const BrBatch *batch)
{
	size_t dimensions = (size_t) call->model->shape.dimensions;
	size_t n = (size_t) batch->texts * dimensions;
	BrStatus status = br_cuda_wait(call->context, call->device->stream);

	if (status != BR_OK)
		return status;
	for (size_t i = 0; i < n; i++)
		if (!isfinite(batch->embeddings[i]))
			return br_base_fail(call->context, BR_ERR_NUMERIC,
								"The embedding of text %zu is not finite in half precision.",
								(size_t) batch->first + i / dimensions);
	memcpy(call->embeddings + (size_t) batch->first * dimensions, batch->embeddings,
		   n * sizeof(float));
	return BR_OK;
}

/* Prepares texts from first on, by halves where the device lacks the memory; starts none. */
static BrStatus
prepare_some(Call *call, BrBatch *batch, int first)
{
	BrStatus status = prepare(call, batch, first);

	while (status == BR_ERR_MEMORY && batch->texts > 1)
	{
		call->budget = batch->tokens / 2;
		status = prepare(call, batch, first);
	}
	return status;
}

/* Starts what is prepared, or half of it. */
static BrStatus
start_some(Call *call, BrBatch *batch)
{
	BrStatus status = br_cuda_forward(call->device, call->context, call->model, batch);

	while (status == BR_ERR_MEMORY && batch->texts > 1)
	{
		call->budget = batch->tokens / 2;
		status = prepare(call, batch, batch->first);
		if (status == BR_OK)
			status = br_cuda_forward(call->device, call->context, call->model, batch);
	}
	return status;
}

BrStatus
br_cuda_embed_texts(BrDevice *device, BrContext *context, BrDeviceModel *model, const int32_t *ids,
					const int32_t *offsets, int texts, float *embeddings)
{
	Call call = {device, context, model, ids, offsets, texts, embeddings, BATCH_TOKENS};
	BrBatch *running = NULL;
	BrStatus status = br_cuda_check_texts(context, &model->shape, ids, offsets, texts);
	int next = 0;
	int turn = 0;

	while (status == BR_OK && (running != NULL || next < texts))
	{
		BrBatch *batch = next < texts ? &device->batches[turn] : NULL;

		if (batch != NULL)
			status = prepare_some(&call, batch, next);
		if (status == BR_OK && running != NULL)
		{
			status = collect(&call, running);
			running = NULL;
		}
		if (status == BR_OK && batch != NULL)
		{
			status = start_some(&call, batch);
			running = batch;
			next = batch->first + batch->texts;
			turn = (turn + 1) % BR_CUDA_BATCHES;
		}
	}
	return status == BR_OK ? BR_OK : br_cuda_settle(device, context, status);
}
