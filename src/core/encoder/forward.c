/*
 * forward.c
 *	  The transformer's forward pass over a packed batch.
 *
 * Tokens of all texts stand one after another without padding; only attention
 * looks at where texts begin. A layer is: query, key and value of all tokens;
 * attention within each text; then, a block of rows at a time, the output
 * projection, the two dense layers and the norms. A block is so small that
 * its wide intermediate stays in cache, and that cancellation, which is
 * checked at the large products of every block, is prompt.
 */
#include <string.h>

#include "core/encoder/encoder_int.h"

/* Multiply-adds between two checks: a few milliseconds on a slow core. */
#define CHUNK_WORK INT64_C(150000000)

/* Below this many rows a matrix product spends its time on moving the weights. */
#define CHUNK_MIN_ROWS 128

/* One batch on its way through the layers. */
typedef struct Forward
{
	BrContext *context;
	const BrBackend *backend;
	const BrImageConfig *config;
	const BrWeightMap *map;
	const int32_t *offsets;
	int texts;
	int tokens;
	int longest;
	int chunk; /* rows of a block */

	float *hidden;		/* (tokens, hidden) */
	float *qkv;			/* (tokens, 3 * hidden) */
	float *attended;	/* (tokens, hidden) */
	float *projected;	/* (chunk, hidden) */
	float *wide;		/* (chunk, intermediate) */
	float *scratch;		/* (longest, longest) */
	int32_t *positions; /* (tokens) */
} Forward;

static BrStatus
check_cancel(BrContext *context)
{
	if (br_base_cancelled(context))
		return br_base_fail(context, BR_ERR_CANCELLED, "Embedding was cancelled.");
	return BR_OK;
}

static int
chunk_rows(const BrImageConfig *config, int tokens)
{
	int64_t widest =
		config->intermediate > 3 * config->hidden ? config->intermediate : 3 * config->hidden;
	int64_t rows = CHUNK_WORK / (widest * config->hidden);

	if (rows < CHUNK_MIN_ROWS)
		rows = CHUNK_MIN_ROWS;
	return rows < tokens ? (int) rows : tokens;
}

/* Floats of a buffer, rounded up to a cache line. */
static size_t
take(size_t *used, size_t n)
{
	size_t at = *used;

	*used += (n + 15) / 16 * 16;
	return at;
}

/* Cuts the work memory into the buffers of this batch; grows it where it is too small. */
static BrStatus
prepare(Forward *forward, BrForwardWork *work)
{
	size_t tokens = (size_t) forward->tokens;
	size_t chunk = (size_t) forward->chunk;
	size_t longest = (size_t) forward->longest;
	size_t hidden = forward->config->hidden;
	size_t used = 0;
	size_t at_hidden = take(&used, tokens * hidden);
	size_t at_qkv = take(&used, tokens * 3 * hidden);
	size_t at_attended = take(&used, tokens * hidden);
	size_t at_projected = take(&used, chunk * hidden);
	size_t at_wide = take(&used, chunk * forward->config->intermediate);
	size_t at_scratch = take(&used, longest * longest);
	size_t at_positions = take(&used, tokens);

	if (used > work->capacity)
	{
		br_base_free(forward->context, work->memory);
		work->capacity = 0;
		work->memory = br_base_alloc(forward->context, used * sizeof(float));
		if (work->memory == NULL)
			return BR_ERR_MEMORY;
		work->capacity = used;
	}
	forward->hidden = work->memory + at_hidden;
	forward->qkv = work->memory + at_qkv;
	forward->attended = work->memory + at_attended;
	forward->projected = work->memory + at_projected;
	forward->wide = work->memory + at_wide;
	forward->scratch = work->memory + at_scratch;
	forward->positions = (int32_t *) (work->memory + at_positions);
	work->hidden = forward->hidden;
	return BR_OK;
}

static void
embed_tokens(Forward *forward, const float *weights, const int32_t *ids)
{
	const BrWeightMap *map = forward->map;
	int hidden = (int) forward->config->hidden;

	for (int i = 0; i < forward->texts; i++)
		for (int j = forward->offsets[i]; j < forward->offsets[i + 1]; j++)
			forward->positions[j] = j - forward->offsets[i];
	forward->backend->embed(ids, forward->positions, weights + map->word, weights + map->position,
							weights + map->type_row, forward->tokens, hidden, forward->hidden);
	forward->backend->add_layer_norm(forward->hidden, NULL, weights + map->gain,
									 weights + map->bias, forward->config->epsilon, forward->tokens,
									 hidden, forward->hidden);
}

/* Rows of the block that begins at row. */
static int
rows_from(const Forward *forward, int row)
{
	int left = forward->tokens - row;

	return left < forward->chunk ? left : forward->chunk;
}

static BrStatus
project_qkv(Forward *forward, const float *layer)
{
	size_t hidden = forward->config->hidden;

	for (int row = 0; row < forward->tokens; row += forward->chunk)
	{
		BrStatus status = check_cancel(forward->context);

		if (status != BR_OK)
			return status;
		forward->backend->linear(forward->hidden + (size_t) row * hidden,
								 layer + forward->map->qkv_weight, layer + forward->map->qkv_bias,
								 rows_from(forward, row), (int) hidden, 3 * (int) hidden,
								 BR_ACTIVATION_NONE, forward->qkv + (size_t) row * 3 * hidden);
	}
	return BR_OK;
}

/* As many texts at a time as make up the work of a block. */
static BrStatus
attend(Forward *forward)
{
	const BrImageConfig *config = forward->config;
	const int32_t *offsets = forward->offsets;
	int text = 0;

	while (text < forward->texts)
	{
		int64_t cost = 0;
		int first = text;
		BrStatus status = check_cancel(forward->context);

		if (status != BR_OK)
			return status;
		while (text < forward->texts && (text == first || cost < CHUNK_WORK))
		{
			int64_t length = offsets[text + 1] - offsets[text];

			cost += 2 * length * length * config->hidden;
			text++;
		}
		forward->backend->attention(forward->qkv, offsets + first, text - first,
									(int) config->heads, (int) (config->hidden / config->heads),
									forward->scratch, forward->attended);
	}
	return BR_OK;
}

/* Output projection, the dense layers and both norms of rows tokens from row on. */
static BrStatus
finish_rows(Forward *forward, const float *layer, int row, int rows)
{
	const BrBackend *backend = forward->backend;
	const BrWeightMap *map = forward->map;
	int hidden = (int) forward->config->hidden;
	int intermediate = (int) forward->config->intermediate;
	float epsilon = forward->config->epsilon;
	float *state = forward->hidden + (size_t) row * (size_t) hidden;
	BrStatus status = check_cancel(forward->context);

	if (status != BR_OK)
		return status;
	backend->linear(forward->attended + (size_t) row * (size_t) hidden, layer + map->output_weight,
					layer + map->output_bias, rows, hidden, hidden, BR_ACTIVATION_NONE,
					forward->projected);
	backend->add_layer_norm(forward->projected, state, layer + map->attention_gain,
							layer + map->attention_bias, epsilon, rows, hidden, state);
	backend->linear(state, layer + map->up_weight, layer + map->up_bias, rows, hidden, intermediate,
					(BrActivation) forward->config->activation, forward->wide);
	status = check_cancel(forward->context);
	if (status != BR_OK)
		return status;
	backend->linear(forward->wide, layer + map->down_weight, layer + map->down_bias, rows,
					intermediate, hidden, BR_ACTIVATION_NONE, forward->projected);
	backend->add_layer_norm(forward->projected, state, layer + map->layer_gain,
							layer + map->layer_bias, epsilon, rows, hidden, state);
	return BR_OK;
}

static BrStatus
run_layer(Forward *forward, const float *layer)
{
	BrStatus status = project_qkv(forward, layer);

	if (status == BR_OK)
		status = attend(forward);
	for (int row = 0; row < forward->tokens && status == BR_OK; row += forward->chunk)
		status = finish_rows(forward, layer, row, rows_from(forward, row));
	return status;
}

BrStatus
br_encoder_forward(BrContext *context, const BrBackend *backend, const BrImageConfig *config,
				   const BrWeightMap *map, const float *weights, const int32_t *ids,
				   const int32_t *offsets, int texts, BrForwardWork *work)
{
	Forward forward = {
		.context = context,
		.backend = backend,
		.config = config,
		.map = map,
		.offsets = offsets,
		.texts = texts,
		.tokens = offsets[texts],
	};
	BrStatus status;

	for (int i = 0; i < texts; i++)
		if (offsets[i + 1] - offsets[i] > forward.longest)
			forward.longest = offsets[i + 1] - offsets[i];
	forward.chunk = chunk_rows(config, forward.tokens);

	status = prepare(&forward, work);
	if (status != BR_OK)
		return status;
	embed_tokens(&forward, weights, ids);
	for (uint32_t i = 0; i < config->layers && status == BR_OK; i++)
		status = run_layer(&forward, weights + map->layer + i * map->layer_stride);
	return status;
}
