/*
 * accumulate.c
 *	  Whole batches: embed, ask the loss, propagate back; at once or in parts.
 *
 * A contrastive loss needs the embeddings of the whole batch, but the way back
 * from an embedding needs only its own text. So a batch in parts is embedded
 * part by part without keeping anything, the loss gives the slope of every
 * embedding, and each part is embedded again, with the same dropout, for its
 * way back.
 */
#include "core/train/train_int.h"

/* A part of a batch. */
typedef struct BatchPart
{
	BrTrainBatch batch;
	int first_text;
	size_t first_token;
} BatchPart;

/* The memory of one batch's loss. */
typedef struct BatchWork
{
	BrReal *embeddings; /* (texts, dimensions) */
	BrReal *slope;		/* (texts, dimensions) */
	int32_t *offsets;	/* (texts + 1): of a part */
} BatchWork;

BrStatus
br_train_embed(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step, BrReal *embeddings)
{
	BrStatus status = br_train_plan(run, batch);

	if (status == BR_OK)
		status = br_train_forward(run, step, 0);
	if (status == BR_OK)
		br_train_pool(run, embeddings);
	run->pending = status == BR_OK;
	return status;
}

/* The part that begins with a text: as many as have so many tokens, one at least. */
static BatchPart
take_part(const BrTrainBatch *batch, int first, int chunk_tokens, int32_t *offsets)
{
	int32_t begin = batch->offsets[first];
	int texts = 0;

	while (first + texts < batch->texts &&
		   (texts == 0 || chunk_tokens == 0 ||
			batch->offsets[first + texts + 1] - begin <= chunk_tokens))
		texts++;
	for (int i = 0; i <= texts; i++)
		offsets[i] = batch->offsets[first + i] - begin;
	return (BatchPart){{batch->ids + begin, offsets, texts}, first, (size_t) begin};
}

static BrStatus
embed_part(BrTrainRun *run, const BatchPart *part, uint64_t step, BrReal *embeddings)
{
	size_t dim = (size_t) br_train_dimensions(run->model);
	BrStatus status = br_train_plan(run, &part->batch);

	if (status == BR_OK)
		status = br_train_forward(run, step, part->first_token);
	if (status == BR_OK)
		br_train_pool(run, embeddings + (size_t) part->first_text * dim);
	run->pending = status == BR_OK;
	return status;
}

/* The loss of all embeddings, which must be finite, and so must be its slope. */
static BrStatus
ask_loss(BrTrainRun *run, const BrTrainBatch *batch, BrTrainLoss loss, const void *arg,
		 const BatchWork *work, double *value)
{
	int dim = br_train_dimensions(run->model);
	size_t n = (size_t) batch->texts * (size_t) dim;
	double sum = 0;
	BrStatus status =
		loss(arg, run->context, work->embeddings, batch->texts, dim, value, work->slope);

	for (size_t i = 0; i < n && status == BR_OK; i++)
		sum += (double) work->slope[i];
	if (status == BR_OK && (!isfinite(*value) || !isfinite(sum)))
		status =
			br_base_fail(run->context, BR_ERR_NUMERIC,
						 "The loss of a batch of %d texts is %g, or its gradient is not finite.",
						 batch->texts, *value);
	return status;
}

static BrStatus
accumulate_parts(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step, BrTrainLoss loss,
				 const void *arg, int chunk_tokens, const BatchWork *work, double *value)
{
	size_t dim = (size_t) br_train_dimensions(run->model);
	BrStatus status = BR_OK;
	int parts = 0;

	for (int text = 0; text < batch->texts && status == BR_OK; parts++)
	{
		BatchPart part = take_part(batch, text, chunk_tokens, work->offsets);

		status = embed_part(run, &part, step, work->embeddings);
		text += part.batch.texts;
	}
	if (status == BR_OK)
		status = ask_loss(run, batch, loss, arg, work, value);
	for (int text = 0; text < batch->texts && status == BR_OK;)
	{
		BatchPart part = take_part(batch, text, chunk_tokens, work->offsets);

		/* a batch of one part is still there */
		if (parts > 1)
			status = embed_part(run, &part, step, work->embeddings);
		if (status == BR_OK)
			status = br_train_backpropagate(run, work->slope + (size_t) text * dim);
		text += part.batch.texts;
	}
	return status;
}

BrStatus
br_train_accumulate(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step, BrTrainLoss loss,
					const void *arg, int chunk_tokens, double *value)
{
	BrContext *context = run->context;
	BrStatus status = br_train_check_batch(context, run->shape, batch);
	size_t dim = (size_t) br_train_dimensions(run->model);
	BatchWork work = {NULL, NULL, NULL};

	*value = 0;
	if (status == BR_OK && chunk_tokens < 0)
		status = br_base_fail(context, BR_ERR_ARGUMENT,
							  "Parts of %d tokens; they have at least 1, or 0 for all at once.",
							  chunk_tokens);
	if (status != BR_OK)
		return status;
	work.embeddings = br_base_alloc_array(context, (size_t) batch->texts, dim * sizeof(BrReal));
	work.slope = br_base_alloc_array(context, (size_t) batch->texts, dim * sizeof(BrReal));
	work.offsets = br_base_alloc_array(context, (size_t) batch->texts + 1, sizeof(int32_t));
	if (work.embeddings == NULL || work.slope == NULL || work.offsets == NULL)
		status = BR_ERR_MEMORY;
	else
		status = accumulate_parts(run, batch, step, loss, arg, chunk_tokens, &work, value);
	br_base_free(context, work.embeddings);
	br_base_free(context, work.slope);
	br_base_free(context, work.offsets);
	return status;
}
