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
 *
 * Where there are threads and only one batch, they share its layers: each of
 * the three takes a part of the rows, or of attention's heads, and all wait for
 * the slowest.
 */
#include <string.h>

#include "core/encoder/encoder_int.h"

/* Multiply-adds between two checks: a few milliseconds on a slow core. */
#define CHUNK_WORK INT64_C(150000000)

/* Below this many rows a product of plain weights spends its time on moving them. */
#define CHUNK_MIN_ROWS 128

/* Packed weights come in the order in which they are read, and few rows stay nearer. */
#define CHUNK_PACKED_ROWS 64

/* Rows of a thread are a multiple of it. */
#define ROW_STEP 4

/* What one thread works with. */
typedef struct Worker
{
	float *projected; /* (chunk, hidden) */
	float *wide;	  /* (chunk, intermediate) */
	float *scores;	  /* BR_ATTENTION_SCRATCH */
	void *scratch;	  /* of br_encoder_run_dense */
	float *narrow;	  /* (chunk, size of the bottlenecks) */
	float *adapted;	  /* (chunk, hidden), with bottlenecks */
	float *prefixed;  /* (reach, 4 * attended), with a prefix */
	BrStatus status;
} Worker;

/* One batch on its way through the layers. */
typedef struct Forward
{
	const BrEncoder *encoder;
	BrContext *context;
	const BrCompute *compute;
	const BrBackend *backend;
	const BrImageConfig *config;
	const BrWeightMap *map;
	const float *weights;
	const int32_t *offsets;
	int texts;
	int tokens;
	int longest;
	int chunk; /* rows of a block */
	int n_workers;
	uint32_t bottleneck; /* its size; 0: the model has none */
	bool prefixed;
	int reach;		/* keys of the longest text: the prefix's and its own */
	uint32_t layer; /* on which they are at work */

	Worker *workers;	/* (n_workers) */
	float *hidden;		/* (tokens, hidden) */
	float *qkv;			/* (tokens, 3 * attended) */
	float *attended;	/* (tokens, attended) */
	int32_t *positions; /* (tokens) */
	float *relative;	/* (heads, 2 * reach - 1), NULL: the architecture has none */
} Forward;

BrStatus
br_encoder_out_of_memory(BrContext *context)
{
	return br_base_fail(context, BR_ERR_MEMORY, "A matrix product ran out of memory.");
}

/* The caller's thread asks the caller; the others end with the part they are at. */
static BrStatus
check_cancel(const Forward *forward, int number)
{
	return number == 0 && br_base_cancelled(forward->context) ? BR_ERR_CANCELLED : BR_OK;
}

static int
chunk_rows(const BrImageConfig *config, bool packed, int tokens)
{
	int64_t widest =
		config->intermediate > 3 * config->hidden ? config->intermediate : 3 * config->hidden;
	int64_t rows = CHUNK_WORK / (widest * config->hidden);

	if (rows < CHUNK_MIN_ROWS)
		rows = CHUNK_MIN_ROWS;
	if (packed)
		rows = CHUNK_PACKED_ROWS;
	return rows < tokens ? (int) rows : tokens;
}

/* Cuts memory into buffers that begin at cache lines; base NULL: only counts bytes. */
typedef struct Cutter
{
	char *base;
	size_t used;
} Cutter;

static void *
cut(Cutter *cutter, size_t size)
{
	void *at = cutter->base != NULL ? cutter->base + cutter->used : NULL;

	cutter->used += (size + BR_IMAGE_ALIGNMENT - 1) / BR_IMAGE_ALIGNMENT * BR_IMAGE_ALIGNMENT;
	return at;
}

static size_t
cut_buffers(const BrEncoder *encoder, Forward *forward, char *base)
{
	Cutter cutter = {.base = base};
	size_t tokens = (size_t) forward->tokens;
	size_t chunk = (size_t) forward->chunk;
	size_t reach = (size_t) forward->reach;
	size_t hidden = forward->config->hidden;
	size_t attended = br_encoder_attended(forward->config);
	size_t dense_scratch = br_encoder_dense_scratch(encoder, forward->compute, forward->chunk);
	size_t narrow = forward->bottleneck;

	forward->workers = cut(&cutter, (size_t) forward->n_workers * sizeof(Worker));
	forward->hidden = cut(&cutter, tokens * hidden * sizeof(float));
	forward->qkv = cut(&cutter, tokens * 3 * attended * sizeof(float));
	forward->attended = cut(&cutter, tokens * attended * sizeof(float));
	for (int i = 0; i < forward->n_workers; i++)
	{
		Worker worker = {
			.projected = cut(&cutter, chunk * hidden * sizeof(float)),
			.wide = cut(&cutter, chunk * forward->config->intermediate * sizeof(float)),
			.scores = cut(&cutter, BR_ATTENTION_SCRATCH(reach) * sizeof(float)),
			.scratch = cut(&cutter, dense_scratch),
			.narrow = cut(&cutter, chunk * narrow * sizeof(float)),
			.adapted = cut(&cutter, narrow > 0 ? chunk * hidden * sizeof(float) : 0),
			.prefixed = cut(&cutter, forward->prefixed ? 4 * reach * attended * sizeof(float) : 0),
		};

		if (base != NULL)
			forward->workers[i] = worker;
	}
	forward->positions = cut(&cutter, tokens * sizeof(int32_t));
	if (br_encoder_architecture(forward->config->architecture)->relative != NULL)
		forward->relative = cut(&cutter, forward->config->heads * (2 * reach - 1) * sizeof(float));
	return cutter.used;
}

static Forward
begin(const BrEncoder *encoder, BrContext *context, const BrCompute *compute,
	  const int32_t *offsets, int texts)
{
	BrAddition addition = br_encoder_addition(encoder);
	Forward forward = {
		.encoder = encoder,
		.context = context,
		.compute = compute,
		.backend = compute->backend,
		.config = br_encoder_config(encoder),
		.map = br_encoder_weight_map(encoder),
		.weights = br_encoder_weights(encoder),
		.offsets = offsets,
		.texts = texts,
		.tokens = offsets[texts],
	};

	if (addition.kind == BR_ADDITION_BOTTLENECK)
		forward.bottleneck = (uint32_t) addition.size;
	for (int i = 0; i < texts; i++)
		if (offsets[i + 1] - offsets[i] > forward.longest)
			forward.longest = offsets[i + 1] - offsets[i];
	forward.prefixed = addition.kind == BR_ADDITION_PREFIX;
	forward.reach = forward.longest + (forward.prefixed ? addition.size : 0);
	forward.chunk = chunk_rows(forward.config, compute->packed != NULL, forward.tokens);
	forward.n_workers = br_base_pool_threads(compute->pool);
	return forward;
}

BrStatus
br_encoder_prepare_forward(const BrEncoder *encoder, BrContext *context, const BrCompute *compute,
						   const int32_t *offsets, int texts, BrForwardWork *work)
{
	Forward forward = begin(encoder, context, compute, offsets, texts);
	size_t size = cut_buffers(encoder, &forward, NULL);

	if (size <= work->capacity)
		return BR_OK;
	br_base_free(context, work->block);
	work->capacity = 0;
	work->block = br_base_alloc(context, size + BR_IMAGE_ALIGNMENT);
	if (work->block == NULL)
		return BR_ERR_MEMORY;
	work->memory =
		(char *) work->block + (BR_IMAGE_ALIGNMENT - (uintptr_t) work->block % BR_IMAGE_ALIGNMENT);
	work->capacity = size;
	return BR_OK;
}

void
br_encoder_number_tokens(int first_position, const int32_t *ids, const int32_t *offsets, int texts,
						 int32_t *positions)
{
	for (int i = 0; i < texts; i++)
	{
		int32_t next = first_position;

		for (int j = offsets[i]; j < offsets[i + 1]; j++)
			positions[j] =
				first_position > 0 && ids[j] == first_position - 1 ? first_position - 1 : next++;
	}
}

/* What attention adds for every distance between two tokens of the batch. */
static void
fill_relative(Forward *forward)
{
	const float *table = forward->weights + forward->map->relative;
	size_t heads = forward->config->heads;
	int reach = forward->reach;
	size_t width = 2 * (size_t) reach - 1;

	for (size_t i = 0; i < width; i++)
	{
		size_t bucket = (size_t) br_encoder_relative_bucket((int) i - reach + 1);

		for (size_t head = 0; head < heads; head++)
			forward->relative[head * width + i] = table[bucket * heads + head];
	}
}

static void
embed_tokens(Forward *forward, const int32_t *ids)
{
	const BrWeightMap *map = forward->map;
	const float *weights = forward->weights;
	int hidden = (int) forward->config->hidden;
	bool typed = br_encoder_architecture(forward->config->architecture)->type != NULL;

	br_encoder_number_tokens((int) forward->config->first_position, ids, forward->offsets,
							 forward->texts, forward->positions);
	forward->backend->embed(ids, forward->positions, weights + map->word, weights + map->position,
							typed ? weights + map->type_row : NULL, forward->tokens, hidden,
							forward->hidden);
	forward->backend->add_layer_norm(forward->hidden, NULL, weights + map->gain,
									 weights + map->bias, forward->config->epsilon, forward->tokens,
									 hidden, forward->hidden);
}

/* The first row of a worker's part, by rows of whole steps; behind the last worker the end. */
static int
first_row(const Forward *forward, int number)
{
	int64_t steps = (forward->tokens + ROW_STEP - 1) / ROW_STEP;
	int64_t row = steps * number / forward->n_workers * ROW_STEP;

	return row < forward->tokens ? (int) row : forward->tokens;
}

/* Rows of the block that begins at row, of a part that ends at end. */
static int
rows_from(const Forward *forward, int row, int end)
{
	return end - row < forward->chunk ? end - row : forward->chunk;
}

static BrStatus
run_dense(Forward *forward, int number, BrMatrixKind kind, const float *input, int rows,
		  BrActivation activation, float *output)
{
	BrDense own = br_encoder_dense(forward->encoder, forward->layer * BR_MATRICES_OF_LAYER + kind);
	BrStatus status = check_cancel(forward, number);

	if (status == BR_OK &&
		!br_encoder_run_dense(forward->compute, &own, input, rows, activation,
							  forward->workers[number].scratch, output))
		status = BR_ERR_MEMORY;
	return status;
}

/* ---- the parts of a layer, each by a worker of that number ---- */

static BrStatus
project_qkv(Forward *forward, int number)
{
	size_t hidden = forward->config->hidden;
	size_t attended = br_encoder_attended(forward->config);
	int end = first_row(forward, number + 1);
	BrStatus status = BR_OK;

	for (int row = first_row(forward, number); row < end && status == BR_OK; row += forward->chunk)
		status = run_dense(forward, number, BR_MATRIX_QKV, forward->hidden + (size_t) row * hidden,
						   rows_from(forward, row, end), BR_ACTIVATION_NONE,
						   forward->qkv + (size_t) row * 3 * attended);
	return status;
}

/* Some heads of texts from first to last - 1. */
static void
attend_texts(Forward *forward, int number, int first, int last, int first_head, int last_head)
{
	const BrImageConfig *config = forward->config;
	const int32_t *offsets = forward->offsets;
	const Worker *worker = &forward->workers[number];
	size_t attended = br_encoder_attended(config);

	if (!forward->prefixed)
		forward->backend->attention(forward->qkv, offsets + first, last - first,
									(int) config->heads, (int) (attended / config->heads),
									first_head, last_head, forward->relative, forward->reach,
									worker->scores, forward->attended);
	for (int text = first; forward->prefixed && text < last; text++)
	{
		size_t row = (size_t) offsets[text];

		br_encoder_attend_with_prefix(forward->encoder, forward->backend, forward->layer,
									  forward->qkv + 3 * row * attended,
									  offsets[text + 1] - offsets[text], first_head, last_head,
									  forward->relative, forward->reach, worker->scores,
									  worker->prefixed, forward->attended + row * attended);
	}
}

/* As many texts at a time as make up the work of a block, of all of them some heads. */
static BrStatus
attend(Forward *forward, int number)
{
	const BrImageConfig *config = forward->config;
	const int32_t *offsets = forward->offsets;
	int attended = (int) br_encoder_attended(config);
	int heads = (int) config->heads;
	int first_head = heads * number / forward->n_workers;
	int last_head = heads * (number + 1) / forward->n_workers;
	int text = 0;

	while (text < forward->texts)
	{
		int64_t cost = 0;
		int first = text;
		BrStatus status = check_cancel(forward, number);

		if (status != BR_OK)
			return status;
		while (text < forward->texts && (text == first || cost < CHUNK_WORK))
		{
			int64_t length = offsets[text + 1] - offsets[text] + forward->reach - forward->longest;

			cost += 2 * length * length * attended;
			text++;
		}
		attend_texts(forward, number, first, text, first_head, last_head);
	}
	return BR_OK;
}

/* state = layer_norm(what a half of the layer gave, in projected, + state) */
static void
add_norm(Forward *forward, int number, int half, const float *gain, const float *bias, int rows,
		 float *state)
{
	const Worker *worker = &forward->workers[number];

	if (forward->bottleneck > 0)
		br_encoder_adapt(forward->encoder, forward->backend, forward->layer, half, rows,
						 worker->narrow, worker->adapted, worker->projected);
	forward->backend->add_layer_norm(worker->projected, state, gain, bias, forward->config->epsilon,
									 rows, (int) forward->config->hidden, state);
}

/* Output projection, the dense layers and both norms of rows tokens from row on. */
static BrStatus
finish_block(Forward *forward, int number, int row, int rows)
{
	const BrWeightMap *map = forward->map;
	const float *layer = forward->weights + map->layer + forward->layer * map->layer_stride;
	const Worker *worker = &forward->workers[number];
	size_t at = (size_t) row * forward->config->hidden;
	const float *attended = forward->attended + (size_t) row * br_encoder_attended(forward->config);
	float *state = forward->hidden + at;
	BrStatus status = run_dense(forward, number, BR_MATRIX_OUTPUT, attended, rows,
								BR_ACTIVATION_NONE, worker->projected);

	if (status != BR_OK)
		return status;
	add_norm(forward, number, 0, layer + map->attention_gain, layer + map->attention_bias, rows,
			 state);
	status = run_dense(forward, number, BR_MATRIX_UP, state, rows,
					   (BrActivation) forward->config->activation, worker->wide);
	if (status == BR_OK)
		status = run_dense(forward, number, BR_MATRIX_DOWN, worker->wide, rows, BR_ACTIVATION_NONE,
						   worker->projected);
	if (status == BR_OK)
		add_norm(forward, number, 1, layer + map->layer_gain, layer + map->layer_bias, rows, state);
	return status;
}

static BrStatus
finish_rows(Forward *forward, int number)
{
	int end = first_row(forward, number + 1);
	BrStatus status = BR_OK;

	for (int row = first_row(forward, number); row < end && status == BR_OK; row += forward->chunk)
		status = finish_block(forward, number, row, rows_from(forward, row, end));
	return status;
}

/* ---- the whole ---- */

typedef struct Part
{
	Forward *forward;
	BrStatus (*run)(Forward *forward, int number);
} Part;

static void
run_part(void *arg, int number)
{
	Part *part = arg;

	part->forward->workers[number].status = part->run(part->forward, number);
}

/* All workers run it; the caller's thread says what went wrong in any of them. */
static BrStatus
run_by_all(Forward *forward, BrStatus (*run)(Forward *forward, int number))
{
	Part part = {forward, run};

	br_base_pool_run(forward->compute->pool, run_part, &part, forward->n_workers,
					 &forward->context->cancel);
	for (int i = 0; i < forward->n_workers; i++)
		switch (forward->workers[i].status)
		{
			case BR_OK:
				break;
			case BR_ERR_CANCELLED:
				return br_base_fail(forward->context, BR_ERR_CANCELLED, "Embedding was cancelled.");
			default:
				return br_encoder_out_of_memory(forward->context);
		}
	return BR_OK;
}

static BrStatus
run_layer(Forward *forward)
{
	BrStatus status = run_by_all(forward, project_qkv);

	if (status == BR_OK)
		status = run_by_all(forward, attend);
	if (status == BR_OK)
		status = run_by_all(forward, finish_rows);
	return status;
}

BrStatus
br_encoder_forward(const BrEncoder *encoder, BrContext *context, const BrCompute *compute,
				   const int32_t *ids, const int32_t *offsets, int texts, BrForwardWork *work)
{
	Forward forward = begin(encoder, context, compute, offsets, texts);
	BrStatus status = BR_OK;

	(void) cut_buffers(encoder, &forward, work->memory);
	work->hidden = forward.hidden;
	if (forward.relative != NULL)
		fill_relative(&forward);
	embed_tokens(&forward, ids);
	for (; forward.layer < forward.config->layers && status == BR_OK; forward.layer++)
		status = run_layer(&forward);
	return status;
}
