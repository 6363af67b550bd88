/*
 * attention.c
 *	  Self-attention of one text, both ways.
 *
 * Forward: w = softmax(q k' / sqrt(d) + r), output = drop(w) v. Backward the
 * weights are computed again and dropped by the same decisions; then
 *
 *		slope of v = drop(w)' slope of the output
 *		slope of w = drop(slope of the output v')
 *		slope of the scores s = w (slope of w - sum over keys of w slope of w)
 *		slope of q = s k / sqrt(d), of k = s' q / sqrt(d), of r = s
 *
 * Every line is one product of small matrices of one head, which stand in the
 * wide ones of the batch.
 */
#include "core/train/train_int.h"

/* Where one text's part of a head stands. */
typedef struct HeadPlace
{
	int head;
	int tokens;
	int first_row; /* of the text */
	int dim;	   /* of a head */
	int stride;	   /* of qkv */
	size_t query;  /* in qkv; key and value are hidden and twice hidden behind it */
	size_t output; /* in attended */
	BrReal scale;
} HeadPlace;

static HeadPlace
find_head(const BrTrainRun *run, int text, int head)
{
	int hidden = run->shape->hidden;
	int dim = hidden / run->shape->heads;
	int row = run->batch.offsets[text];

	return (HeadPlace){
		.head = head,
		.tokens = run->batch.offsets[text + 1] - row,
		.first_row = row,
		.dim = dim,
		.stride = 3 * hidden,
		.query = (size_t) row * 3 * (size_t) hidden + (size_t) head * (size_t) dim,
		.output = (size_t) row * (size_t) hidden + (size_t) head * (size_t) dim,
		.scale = (BrReal) (1 / sqrt((double) dim)),
	};
}

void
br_train_fill_relative(BrTrainRun *run)
{
	const BrReal *table = run->model->parameters + run->shape->map.relative;
	int heads = run->shape->heads;
	int width = 2 * run->longest - 1;

	for (int i = 0; i < width; i++)
	{
		int bucket = br_encoder_relative_bucket(i - run->longest + 1);

		for (int head = 0; head < heads; head++)
			run->relative[(size_t) head * (size_t) width + (size_t) i] =
				table[bucket * heads + head];
	}
}

static void
drop_weights(const BrTrainRun *run, const HeadPlace *place, BrReal *weights)
{
	for (int query = 0; run->drop_attention > 0 && query < place->tokens; query++)
		br_train_drop(run, run->drop_attention, BR_SITE_HEADS + place->head,
					  place->first_row + query, place->tokens,
					  weights + (size_t) query * (size_t) place->tokens);
}

/* softmax(q k' / sqrt(d) + r), without dropout */
static void
weigh(const BrTrainRun *run, const HeadPlace *place, BrReal *weights)
{
	const BrReal *query = run->tape->qkv + place->query;
	const BrReal *key = query + run->shape->hidden;
	int tokens = place->tokens;

	for (int i = 0; run->relative != NULL && i < tokens; i++)
		memcpy(weights + (size_t) i * (size_t) tokens,
			   run->relative + (size_t) place->head * (size_t) (2 * run->longest - 1) +
				   (run->longest - 1 - i),
			   (size_t) tokens * sizeof(BrReal));
	br_train_multiply(run->backend, (BrTrainFactor){query, place->stride, false},
					  (BrTrainFactor){key, place->stride, true}, tokens, tokens, place->dim,
					  place->scale, run->relative != NULL, tokens, weights);
	br_train_softmax(run->backend, weights, tokens, tokens, tokens);
}

void
br_train_attend(BrTrainRun *run, BrTrainWorker *worker, int text, int first, int last)
{
	for (int head = first; head < last; head++)
	{
		HeadPlace place = find_head(run, text, head);
		const BrReal *value = run->tape->qkv + place.query + 2 * run->shape->hidden;

		weigh(run, &place, worker->weights);
		drop_weights(run, &place, worker->weights);
		br_train_multiply(run->backend, (BrTrainFactor){worker->weights, place.tokens, false},
						  (BrTrainFactor){value, place.stride, false}, place.tokens, place.dim,
						  place.tokens, 1, 0, run->shape->hidden,
						  run->tape->attended + place.output);
	}
}

/* slopes = weights (slopes - sum over keys of weights slopes), row by row */
static void
softmax_slope(const BrReal *weights, int tokens, BrReal *slopes)
{
	for (int row = 0; row < tokens; row++, weights += tokens, slopes += tokens)
	{
		BrReal along = br_train_dot(weights, slopes, tokens);

		for (int i = 0; i < tokens; i++)
			slopes[i] = weights[i] * (slopes[i] - along);
	}
}

/* Sums by distance first, since many distances share a row of the table. */
static void
add_relative_slope(const BrTrainRun *run, const HeadPlace *place, BrTrainWorker *worker)
{
	BrReal *table = run->model->gradient + run->shape->map.relative + place->head;
	int tokens = place->tokens;

	for (int i = 0; i < 2 * tokens - 1; i++)
		worker->distances[i] = 0;
	for (int query = 0; query < tokens; query++)
		br_train_add(worker->distances + (tokens - 1 - query),
					 worker->slopes + (size_t) query * (size_t) tokens, tokens);
	for (int i = 0; i < 2 * tokens - 1; i++)
		table[br_encoder_relative_bucket(i - tokens + 1) * run->shape->heads] +=
			worker->distances[i];
}

void
br_train_attend_slope(BrTrainRun *run, BrTrainWorker *worker, int text, int first, int last)
{
	const BrBackend *backend = run->backend;
	int hidden = run->shape->hidden;

	for (int head = first; head < last; head++)
	{
		HeadPlace place = find_head(run, text, head);
		int tokens = place.tokens;
		const BrReal *query = run->tape->qkv + place.query;
		BrReal *slope = run->slopes.qkv + place.query;
		BrTrainFactor outer = {run->slopes.attended + place.output, hidden, false};
		BrReal *dropped = run->drop_attention > 0 ? worker->slopes : worker->weights;

		weigh(run, &place, worker->weights);
		if (run->drop_attention > 0)
		{
			memcpy(dropped, worker->weights, (size_t) tokens * (size_t) tokens * sizeof(BrReal));
			drop_weights(run, &place, dropped);
		}
		br_train_multiply(backend, (BrTrainFactor){dropped, tokens, true}, outer, tokens, place.dim,
						  tokens, 1, 0, place.stride, slope + 2 * hidden);
		br_train_multiply(backend, outer, (BrTrainFactor){query + 2 * hidden, place.stride, true},
						  tokens, tokens, place.dim, 1, 0, tokens, worker->slopes);
		drop_weights(run, &place, worker->slopes);
		softmax_slope(worker->weights, tokens, worker->slopes);
		if (run->relative != NULL)
			add_relative_slope(run, &place, worker);
		br_train_multiply(backend, (BrTrainFactor){worker->slopes, tokens, false},
						  (BrTrainFactor){query + hidden, place.stride, false}, tokens, place.dim,
						  tokens, place.scale, 0, place.stride, slope);
		br_train_multiply(backend, (BrTrainFactor){worker->slopes, tokens, true},
						  (BrTrainFactor){query, place.stride, false}, tokens, place.dim, tokens,
						  place.scale, 0, place.stride, slope + hidden);
	}
}
