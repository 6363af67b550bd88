/*
 * embed.c
 *	  Texts, or their token ids, to embeddings, with one thread or several.
 *
 * Work goes in rounds of a bounded number of tokens, in the order in which the
 * texts come: since a batch is packed without padding, sorting by length would
 * gain nothing, and this way only one round of ids is in memory. A round is
 * cut into one batch for each thread, of about equally many tokens; where it
 * is too small for that, the threads share one batch (forward.c). Threads
 * allocate nothing and never ask the caller's cancel callback: the caller's
 * own thread does, and raises a flag that the others see.
 */
#include <stdatomic.h>
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/*
 * Tokens of a batch, unless one text has more: enough rows to keep matrix
 * products busy, and few enough that the rows stay near.
 */
#define BATCH_TOKENS 512

/* Several threads share a round; a batch of less than this is not worth waking one. */
#define MIN_BATCH_TOKENS 64

typedef struct Batch
{
	BrContext context; /* without allocator; detail and cancel of this batch */
	const int32_t *ids;
	int32_t *offsets; /* (texts + 1), from 0 */
	int texts;
	float *embeddings;
	BrForwardWork work;
	void *pooled;
	size_t pooled_capacity; /* bytes */
	BrStatus status;
} Batch;

/* One call. */
typedef struct Embedding
{
	const BrEncoder *encoder;
	BrContext *context; /* of the caller */
	const BrCompute *compute;
	BrCompute alone;	   /* the same in one thread */
	const BrCompute *with; /* which of the two a round's batches are computed with */
	int threads;
	int round_tokens;
	int32_t *round;	  /* offsets of a round's texts (round_tokens + 1) */
	int32_t *offsets; /* of its batches (round_tokens + threads) */
	Batch *batches;	  /* (threads) */
	atomic_bool cancelled;
} Embedding;

/* ---- cancelling ---- */

static bool
ask_caller(void *arg)
{
	Embedding *embedding = arg;

	if (br_base_cancelled(embedding->context))
		atomic_store(&embedding->cancelled, true);
	return atomic_load(&embedding->cancelled);
}

static bool
ask_flag(void *arg)
{
	return atomic_load(&((Embedding *) arg)->cancelled);
}

/* ---- one call's memory ---- */

static BrStatus
open_embedding(Embedding *embedding, const BrEncoder *encoder, BrContext *context,
			   const BrCompute *compute)
{
	const BrBackend *backend = compute->backend;

	memset(embedding, 0, sizeof(*embedding));
	embedding->encoder = encoder;
	embedding->context = context;
	embedding->compute = compute;
	embedding->alone = *compute;
	embedding->alone.pool = NULL;
	embedding->threads = br_base_pool_threads(compute->pool);
	embedding->round_tokens = BATCH_TOKENS * embedding->threads;
	if (backend == NULL || backend->version != BR_BACKEND_VERSION)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The backend is of version %u, this library works with version %d.",
							backend == NULL ? 0 : backend->version, BR_BACKEND_VERSION);

	embedding->batches = br_base_alloc_array(context, (size_t) embedding->threads, sizeof(Batch));
	embedding->round =
		br_base_alloc_array(context, (size_t) embedding->round_tokens + 1, sizeof(int32_t));
	embedding->offsets =
		br_base_alloc_array(context, (size_t) embedding->round_tokens + (size_t) embedding->threads,
							sizeof(int32_t));
	if (embedding->batches == NULL || embedding->round == NULL || embedding->offsets == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < embedding->threads; i++)
		embedding->batches[i].context.cancel =
			(BrCancel){i == 0 ? ask_caller : ask_flag, embedding};
	return BR_OK;
}

static void
close_embedding(Embedding *embedding)
{
	for (int i = 0; embedding->batches != NULL && i < embedding->threads; i++)
	{
		br_base_free(embedding->context, embedding->batches[i].work.block);
		br_base_free(embedding->context, embedding->batches[i].pooled);
	}
	br_base_free(embedding->context, embedding->batches);
	br_base_free(embedding->context, embedding->round);
	br_base_free(embedding->context, embedding->offsets);
}

/* Makes all the room that the batch's thread will need. */
static BrStatus
prepare_batch(Embedding *embedding, Batch *batch)
{
	BrContext *context = embedding->context;
	size_t pooled = br_encoder_pooled_size(embedding->encoder, embedding->with, batch->texts);

	if (pooled > batch->pooled_capacity)
	{
		br_base_free(context, batch->pooled);
		batch->pooled_capacity = 0;
		batch->pooled = br_base_alloc(context, pooled);
		if (batch->pooled == NULL)
			return BR_ERR_MEMORY;
		batch->pooled_capacity = pooled;
	}
	return br_encoder_prepare_forward(embedding->encoder, context, embedding->with, batch->offsets,
									  batch->texts, &batch->work);
}

/* ---- rounds ---- */

static void
run_batch(void *arg, int number)
{
	Embedding *embedding = arg;
	Batch *batch = &embedding->batches[number];

	batch->status = br_encoder_forward(embedding->encoder, &batch->context, embedding->with,
									   batch->ids, batch->offsets, batch->texts, &batch->work);
	if (batch->status == BR_OK)
		batch->status = br_encoder_pool(embedding->encoder, &batch->context, embedding->with,
										batch->work.hidden, batch->offsets, batch->texts,
										batch->pooled, batch->embeddings);
}

/* Cuts a round's texts into batches; returns their number. */
static int
cut_round(Embedding *embedding, const int32_t *ids, const int32_t *offsets, int texts,
		  float *embeddings)
{
	int64_t tokens = offsets[texts] - offsets[0];
	int64_t share = tokens / embedding->threads;
	int32_t *room = embedding->offsets;
	int text = 0;
	int n = 0;

	if (share < MIN_BATCH_TOKENS)
		share = MIN_BATCH_TOKENS;
	while (text < texts)
	{
		Batch *batch = &embedding->batches[n];
		int64_t end = n == embedding->threads - 1 ? tokens : (n + 1) * share;
		int first = text;

		while (
			text < texts &&
			(text == first || ((int64_t) offsets[text] + offsets[text + 1]) / 2 - offsets[0] < end))
			text++;
		batch->ids = ids + offsets[first];
		batch->texts = text - first;
		batch->embeddings =
			embeddings + (size_t) first * (size_t) br_encoder_info(embedding->encoder)->dimensions;
		batch->offsets = room;
		for (int i = first; i <= text; i++)
			*room++ = offsets[i] - offsets[first];
		n++;
	}
	return n;
}

static BrStatus
run_round(Embedding *embedding, const int32_t *ids, const int32_t *offsets, int texts,
		  float *embeddings)
{
	int n = cut_round(embedding, ids, offsets, texts, embeddings);

	embedding->with = n == 1 ? embedding->compute : &embedding->alone;
	for (int i = 0; i < n; i++)
	{
		BrStatus status = prepare_batch(embedding, &embedding->batches[i]);

		if (status != BR_OK)
			return status;
	}
	br_base_pool_run(embedding->compute->pool, run_batch, embedding, n,
					 &embedding->batches[0].context.cancel);
	for (int i = 0; i < n; i++)
	{
		Batch *batch = &embedding->batches[i];

		if (batch->status != BR_OK)
			return br_base_fail(embedding->context, batch->status, "%s", batch->context.detail);
	}
	if (embedding->compute->tokens != NULL)
		*embedding->compute->tokens += offsets[texts] - offsets[0];
	return BR_OK;
}

/* ---- the doors ---- */

/*
 * Takes texts from the first one on into work and the round, as long as it has
 * room; *taken of them. A text of which only the first part fits is left,
 * unless it is the first.
 */
static BrStatus
fill_round(Embedding *embedding, BrTokenWork *work, const char *const *texts, const size_t *sizes,
		   int n, bool parse_special, int *taken)
{
	size_t room = (size_t) embedding->round_tokens;
	int32_t *offsets = embedding->round;

	work->n_ids = 0;
	offsets[0] = 0;
	for (*taken = 0; *taken < n && work->n_ids < room; (*taken)++)
	{
		BrStatus status = br_encoder_encode_text(br_encoder_tokenizer(embedding->encoder), work,
												 texts[*taken], sizes[*taken], parse_special);

		if (status != BR_OK)
			return status;
		if (*taken > 0 && work->n_ids > room)
			break;
		if ((int32_t) work->n_ids == offsets[*taken])
			return br_base_fail(work->context, BR_ERR_UNSUPPORTED,
								"The model gives a text without tokens, which has no embedding.");
		offsets[*taken + 1] = (int32_t) work->n_ids;
	}
	return BR_OK;
}

BrStatus
br_encoder_embed(const BrEncoder *encoder, BrContext *context, const BrCompute *compute,
				 const char *const *texts, const size_t *sizes, int n, bool parse_special,
				 float *embeddings)
{
	size_t dimensions = (size_t) br_encoder_info(encoder)->dimensions;
	BrTokenWork work = {.context = context};
	Embedding embedding;
	BrStatus status = open_embedding(&embedding, encoder, context, compute);
	int done = 0;

	while (done < n && status == BR_OK)
	{
		int taken;

		status = fill_round(&embedding, &work, texts + done, sizes + done, n - done, parse_special,
							&taken);
		if (status == BR_OK)
			status = run_round(&embedding, work.ids, embedding.round, taken,
							   embeddings + (size_t) done * dimensions);
		done += status == BR_OK ? taken : 0;
	}
	br_encoder_close_work(&work);
	close_embedding(&embedding);
	return status;
}

static BrStatus
check_tokens(const BrModelInfo *info, BrContext *context, const int32_t *ids,
			 const int32_t *offsets, int n)
{
	for (int i = 0; i < n; i++)
	{
		int64_t length = (int64_t) offsets[i + 1] - offsets[i];

		if (offsets[i] < 0 || length < 1 || length > info->max_tokens)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Text %d has %lld tokens; the model takes 1 to %d.", i,
								(long long) length, info->max_tokens);
		for (int32_t j = offsets[i]; j < offsets[i + 1]; j++)
			if (ids[j] < 0 || ids[j] >= info->vocabulary)
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"Text %d has the token id %d; the model has 0 to %d.", i,
									ids[j], info->vocabulary - 1);
	}
	return BR_OK;
}

BrStatus
br_encoder_embed_tokens(const BrEncoder *encoder, BrContext *context, const BrCompute *compute,
						const int32_t *ids, const int32_t *offsets, int n, float *embeddings)
{
	const BrModelInfo *info = br_encoder_info(encoder);
	Embedding embedding;
	BrStatus status = open_embedding(&embedding, encoder, context, compute);
	int done = 0;

	if (status == BR_OK)
		status = check_tokens(info, context, ids, offsets, n);
	while (done < n && status == BR_OK)
	{
		int taken = 0;

		while (done + taken < n &&
			   (taken == 0 || offsets[done + taken + 1] - offsets[done] <= embedding.round_tokens))
			taken++;
		status = run_round(&embedding, ids, offsets + done, taken,
						   embeddings + (size_t) done * (size_t) info->dimensions);
		done += taken;
	}
	close_embedding(&embedding);
	return status;
}
