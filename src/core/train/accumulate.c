/*
 * accumulate.c
 *	  Whole batches: embed, ask the loss, propagate back; at once or in parts.
 *
 * A contrastive loss needs the embeddings of the whole batch, but the way back
 * from an embedding needs only its own text. So a batch in parts is embedded
 * part by part without keeping anything, the loss gives the slope of every
 * embedding, and each part is embedded again, with the same dropout, for its
 * way back.
 *
 * A loss knows nothing of the weight of a batch in a larger one: what it gives,
 * and what it adds to the gradient of the head, is multiplied afterwards.
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
	BrReal *head;		/* (head's parameters): its gradient before the loss */
} BatchWork;

/* Embeds a batch, at its place of a larger one, with the parameters that are there. */
static BrStatus
embed(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step, size_t first_token,
	  BrReal *embeddings)
{
	BrStatus status;

	if (run->on_device != NULL)
		return br_train_device_embed(run, batch, step, first_token, embeddings);
	status = br_train_plan(run, batch);
	if (status == BR_OK)
		status = br_train_forward(run, step, first_token);
	if (status == BR_OK)
		br_train_pool(run, embeddings);
	run->pending = status == BR_OK;
	return status;
}

BrStatus
br_train_embed(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step, BrReal *embeddings)
{
	BrStatus status = br_train_device_push(run);

	return status == BR_OK ? embed(run, batch, step, br_train_place(batch), embeddings) : status;
}

BrStatus
br_train_back(BrTrainRun *run, const BrReal *slope)
{
	if (!run->pending)
		return br_base_fail(run->context, BR_ERR_ARGUMENT,
							"There is no embedded batch to propagate back from.");
	run->pending = false;
	if (run->on_device != NULL)
		return br_train_device_back(run, slope);
	br_train_pool_slope(run, slope);
	return br_train_backward(run);
}

BrStatus
br_train_backpropagate(BrTrainRun *run, const BrReal *slope)
{
	BrStatus status = br_train_back(run, slope);

	return status == BR_OK ? br_train_device_pull(run) : status;
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
	return (BatchPart){{batch->ids + begin, offsets, texts, NULL},
					   first,
					   br_train_place(batch) + (size_t) begin};
}

static BrStatus
embed_part(BrTrainRun *run, const BatchPart *part, uint64_t step, BrReal *embeddings)
{
	size_t dim = (size_t) br_train_dimensions(run->model);

	return embed(run, &part->batch, step, part->first_token,
				 embeddings + (size_t) part->first_text * dim);
}

/* Embeds part by part; *parts: how many there were. offsets: room for those of a part. */
static BrStatus
embed_parts(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step, int chunk_tokens,
			int32_t *offsets, BrReal *embeddings, int *parts)
{
	BrStatus status = BR_OK;

	*parts = 0;
	for (int text = 0; text < batch->texts && status == BR_OK; (*parts)++)
	{
		BatchPart part = take_part(batch, text, chunk_tokens, offsets);

		status = embed_part(run, &part, step, embeddings);
		text += part.batch.texts;
	}
	return status;
}

/* With the parameters that are there, and without dropout. */
static BrStatus
read_parts(BrTrainRun *run, const BrTrainBatch *batch, int chunk_tokens, int32_t *offsets,
		   BrReal *embeddings)
{
	uint32_t drop = run->drop;
	uint32_t drop_attention = run->drop_attention;
	BrStatus status;
	int parts;

	run->drop = 0;
	run->drop_attention = 0;
	status = embed_parts(run, batch, 0, chunk_tokens, offsets, embeddings, &parts);
	run->drop = drop;
	run->drop_attention = drop_attention;
	run->pending = false;
	return status;
}

BrStatus
br_train_read(BrTrainRun *run, const BrTrainBatch *batch, int chunk_tokens, BrReal *embeddings)
{
	BrStatus status = br_train_check_batch(run->context, run->shape, batch);
	int32_t *offsets;

	if (status != BR_OK)
		return status;
	offsets = br_base_alloc_array(run->context, (size_t) batch->texts + 1, sizeof(int32_t));
	if (offsets == NULL)
		return BR_ERR_MEMORY;
	status = br_train_device_push(run);
	if (status == BR_OK)
		status = read_parts(run, batch, chunk_tokens, offsets, embeddings);
	br_base_free(run->context, offsets);
	return status;
}

/* How many parameters the classifier has. */
static size_t
head_size(const BrTrainModel *model)
{
	const BrTrainDense *head = &model->head_dense;

	return ((size_t) head->in_dim + 1) * (size_t) head->out_dim;
}

/* Takes the head's gradient aside, so that a weight is of what the loss adds alone. */
static void
take_head(BrTrainModel *model, BrReal *aside)
{
	BrReal *gradient = model->gradient + model->head_dense.weight;

	memcpy(aside, gradient, head_size(model) * sizeof(BrReal));
	memset(gradient, 0, head_size(model) * sizeof(BrReal));
}

static void
weigh_loss(BrTrainModel *model, double weight, const BatchWork *work, size_t n, double *value)
{
	BrReal *gradient = model->gradient + model->head_dense.weight;

	*value *= weight;
	for (size_t i = 0; i < n; i++)
		work->slope[i] *= (BrReal) weight;
	for (size_t i = 0; i < head_size(model); i++)
		gradient[i] = work->head[i] + (BrReal) weight * gradient[i];
}

/* The loss of all embeddings, which must be finite, and so must be its slope. */
static BrStatus
ask_loss(BrTrainRun *run, const BrTrainBatch *batch, BrTrainLoss loss, const void *arg,
		 const BatchWork *work, double *value)
{
	int dim = br_train_dimensions(run->model);
	size_t n = (size_t) batch->texts * (size_t) dim;
	double weight = br_train_weight(batch);
	double sum = 0;
	BrStatus status;

	if (weight != 1)
		take_head(run->model, work->head);
	status = loss(arg, run->context, work->embeddings, batch->texts, dim, value, work->slope);
	if (weight != 1)
		weigh_loss(run->model, weight, work, n, value);
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
	BrStatus status = br_train_device_push(run);
	int parts = 0;

	if (status == BR_OK)
		status =
			embed_parts(run, batch, step, chunk_tokens, work->offsets, work->embeddings, &parts);
	if (status == BR_OK)
		status = ask_loss(run, batch, loss, arg, work, value);
	for (int text = 0; text < batch->texts && status == BR_OK;)
	{
		BatchPart part = take_part(batch, text, chunk_tokens, work->offsets);

		/* a batch of one part is still there */
		if (parts > 1)
			status = embed_part(run, &part, step, work->embeddings);
		if (status == BR_OK)
			status = br_train_back(run, work->slope + (size_t) text * dim);
		text += part.batch.texts;
	}
	return status == BR_OK ? br_train_device_pull(run) : status;
}

BrStatus
br_train_accumulate(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step, BrTrainLoss loss,
					const void *arg, int chunk_tokens, double *value)
{
	BrContext *context = run->context;
	BrStatus status = br_train_check_batch(context, run->shape, batch);
	size_t dim = (size_t) br_train_dimensions(run->model);
	BatchWork work = {.head = NULL};

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
	work.head = br_base_alloc_array(context, head_size(run->model) + 1, sizeof(BrReal));
	if (work.embeddings == NULL || work.slope == NULL || work.offsets == NULL || work.head == NULL)
		status = BR_ERR_MEMORY;
	else
		status = accumulate_parts(run, batch, step, loss, arg, chunk_tokens, &work, value);
	br_base_free(context, work.embeddings);
	br_base_free(context, work.slope);
	br_base_free(context, work.offsets);
	br_base_free(context, work.head);
	return status;
}
