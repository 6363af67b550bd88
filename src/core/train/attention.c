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
 * wide ones of the batch. Where there is a prefix, its keys and values stand before
 * those of the text, so that each product that has keys in it becomes two.
 */
#include "core/train/train_int.h"

/* Where one text's part of a head stands. */
typedef struct HeadPlace
{
	int head;
	int tokens;
	int prefix;		   /* keys before the text's own */
	int keys;		   /* both */
	int first_row;	   /* of the text */
	int dim;		   /* of a head */
	int attended;	   /* the stride of a prefix, and of what attention gives */
	int stride;		   /* of qkv */
	size_t query;	   /* in qkv; key and value are attended and twice attended behind it */
	size_t output;	   /* in attended */
	size_t before_key; /* in the prefix's numbers (prefix, attended) */
	size_t before_value;
	BrReal scale;
} HeadPlace;

static HeadPlace
find_head(const BrTrainRun *run, int text, int head)
{
	int attended = run->shape->attended;
	int dim = attended / run->shape->heads;
	int row = run->batch.offsets[text];
	int tokens = run->batch.offsets[text + 1] - row;
	int prefix = br_train_prefix_length(run->model);
	size_t column = (size_t) head * (size_t) dim;
	size_t block = (size_t) prefix * (size_t) attended;

	return (HeadPlace){
		.head = head,
		.tokens = tokens,
		.prefix = prefix,
		.keys = prefix + tokens,
		.first_row = row,
		.dim = dim,
		.attended = attended,
		.stride = 3 * attended,
		.query = (size_t) row * 3 * (size_t) attended + column,
		.output = (size_t) row * (size_t) attended + column,
		.before_key = 2 * (size_t) run->layer * block + column,
		.before_value = (2 * (size_t) run->layer + 1) * block + column,
		.scale = (BrReal) (1 / sqrt((double) dim)),
	};
}

void
br_train_fill_relative(BrTrainRun *run)
{
	const BrReal *table = run->model->parameters + run->shape->map.relative;
	int heads = run->shape->heads;
	int width = 2 * run->reach - 1;

	for (int i = 0; i < width; i++)
	{
		int bucket = br_encoder_relative_bucket(i - run->reach + 1);

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
					  place->first_row + query, place->keys,
					  weights + (size_t) query * (size_t) place->keys);
}

/* softmax(q k' / sqrt(d) + r), without dropout; a prefix is as far off as tokens would be */
static void
weigh(const BrTrainRun *run, const HeadPlace *place, BrReal *weights /* (tokens, keys) */)
{
	const BrReal *query = run->tape->qkv + place->query;
	BrTrainFactor queries = {query, place->stride, false};
	BrTrainFactor keys = {query + place->attended, place->stride, true};
	bool keep = run->relative != NULL;

	for (int i = 0; run->relative != NULL && i < place->tokens; i++)
		memcpy(weights + (size_t) i * (size_t) place->keys,
			   run->relative + (size_t) place->head * (size_t) (2 * run->reach - 1) +
				   (run->reach - 1 - place->prefix - i),
			   (size_t) place->keys * sizeof(BrReal));
	br_train_multiply(run->backend, queries, keys, place->tokens, place->tokens, place->dim,
					  place->scale, keep, place->keys, weights + place->prefix);
	if (place->prefix > 0)
	{
		BrTrainFactor before = {br_train_prefix_values(run->model) + place->before_key,
								place->attended, true};

		br_train_multiply(run->backend, queries, before, place->tokens, place->prefix, place->dim,
						  place->scale, keep, place->keys, weights);
	}
	br_train_softmax(run->backend, weights, place->tokens, place->keys, place->keys);
}

void
br_train_attend(BrTrainRun *run, BrTrainWorker *worker, int text, int first, int last)
{
	for (int head = first; head < last; head++)
	{
		HeadPlace place = find_head(run, text, head);
		const BrReal *value = run->tape->qkv + place.query + 2 * place.attended;
		BrReal *output = run->tape->attended + place.output;

		weigh(run, &place, worker->weights);
		drop_weights(run, &place, worker->weights);
		br_train_multiply(run->backend,
						  (BrTrainFactor){worker->weights + place.prefix, place.keys, false},
						  (BrTrainFactor){value, place.stride, false}, place.tokens, place.dim,
						  place.tokens, 1, 0, place.attended, output);
		if (place.prefix > 0)
			br_train_multiply(run->backend, (BrTrainFactor){worker->weights, place.keys, false},
							  (BrTrainFactor){br_train_prefix_values(run->model) +
												  place.before_value,
											  place.attended, false},
							  place.tokens, place.dim, place.prefix, 1, 1, place.attended, output);
	}
}

/* slopes = weights (slopes - sum over keys of weights slopes), row by row */
static void
softmax_slope(const BrReal *weights, int rows, int keys, BrReal *slopes)
{
	for (int row = 0; row < rows; row++, weights += keys, slopes += keys)
	{
		BrReal along = br_train_dot(weights, slopes, keys);

		for (int i = 0; i < keys; i++)
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

/* The slope of values from the dropped weights, and that of the weights before dropout. */
static void
lower_values(const BrTrainRun *run, const HeadPlace *place, const BrReal *dropped, BrReal *slopes)
{
	const BrBackend *backend = run->backend;
	const BrReal *value = run->tape->qkv + place->query + 2 * place->attended;
	BrReal *value_slope = run->slopes.qkv + place->query + 2 * place->attended;
	BrTrainFactor outer = {run->slopes.attended + place->output, place->attended, false};

	br_train_multiply(backend, (BrTrainFactor){dropped + place->prefix, place->keys, true}, outer,
					  place->tokens, place->dim, place->tokens, 1, 0, place->stride, value_slope);
	if (place->prefix > 0)
		br_train_multiply(backend, (BrTrainFactor){dropped, place->keys, true}, outer,
						  place->prefix, place->dim, place->tokens, 1, 1, place->attended,
						  br_train_prefix_slopes(run->model) + place->before_value);
	br_train_multiply(backend, outer, (BrTrainFactor){value, place->stride, true}, place->tokens,
					  place->tokens, place->dim, 1, 0, place->keys, slopes + place->prefix);
	if (place->prefix > 0)
		br_train_multiply(backend, outer,
						  (BrTrainFactor){br_train_prefix_values(run->model) + place->before_value,
										  place->attended, true},
						  place->tokens, place->prefix, place->dim, 1, 0, place->keys, slopes);
}

/* The slopes of queries and keys from that of the scores. */
static void
lower_scores(const BrTrainRun *run, const HeadPlace *place, const BrReal *slopes)
{
	const BrBackend *backend = run->backend;
	const BrReal *query = run->tape->qkv + place->query;
	BrReal *slope = run->slopes.qkv + place->query;
	BrTrainFactor queries = {query, place->stride, false};

	br_train_multiply(backend, (BrTrainFactor){slopes + place->prefix, place->keys, false},
					  (BrTrainFactor){query + place->attended, place->stride, false}, place->tokens,
					  place->dim, place->tokens, place->scale, 0, place->stride, slope);
	br_train_multiply(backend, (BrTrainFactor){slopes + place->prefix, place->keys, true}, queries,
					  place->tokens, place->dim, place->tokens, place->scale, 0, place->stride,
					  slope + place->attended);
	if (place->prefix > 0)
	{
		BrTrainFactor before = {br_train_prefix_values(run->model) + place->before_key,
								place->attended, false};

		br_train_multiply(backend, (BrTrainFactor){slopes, place->keys, false}, before,
						  place->tokens, place->dim, place->prefix, place->scale, 1, place->stride,
						  slope);
		br_train_multiply(backend, (BrTrainFactor){slopes, place->keys, true}, queries,
						  place->prefix, place->dim, place->tokens, place->scale, 1,
						  place->attended, br_train_prefix_slopes(run->model) + place->before_key);
	}
}

void
br_train_attend_slope(BrTrainRun *run, BrTrainWorker *worker, int text, int first, int last)
{
	for (int head = first; head < last; head++)
	{
		HeadPlace place = find_head(run, text, head);
		size_t size = (size_t) place.tokens * (size_t) place.keys * sizeof(BrReal);
		BrReal *dropped = worker->weights;

		weigh(run, &place, worker->weights);
		if (run->drop_attention > 0)
		{
			dropped = worker->slopes;
			memcpy(dropped, worker->weights, size);
			drop_weights(run, &place, dropped);
		}
		lower_values(run, &place, dropped, worker->slopes);
		drop_weights(run, &place, worker->slopes);
		softmax_slope(worker->weights, place.tokens, place.keys, worker->slopes);
		/* with a prefix the table stays */
		if (run->relative != NULL && place.prefix == 0)
			add_relative_slope(run, &place, worker);
		lower_scores(run, &place, worker->slopes);
	}
}
