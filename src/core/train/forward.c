/*
 * forward.c
 *	  The transformer's forward pass that leaves behind what backward needs.
 *
 * It computes what the encoder computes, with dropout, and keeps of every
 * layer the inputs of its products, the sums its norms are of, and the inner
 * values before the activation. Weights of attention are not kept: they grow
 * with the square of a text's length, and are soon computed again.
 *
 * Dropout asks a counter-based generator whose stream is the layer, the site
 * and the token's place in the batch, and whose key is seed and step: the same
 * decisions come out of a layer computed a second time, of a batch in parts,
 * and of any number of threads.
 */
#include "core/train/train_int.h"

#define SHARE_UNIT_BITS 16

/* ---- dropout ---- */

void
br_train_drop(const BrTrainRun *run, uint32_t share, int site, int row, int n, BrReal *values)
{
	uint64_t sites = (uint64_t) run->shape->heads + BR_SITE_HEADS;
	uint64_t stream = ((uint64_t) run->layer * sites + (uint64_t) site) << 32;
	const uint32_t unit = UINT32_C(1) << SHARE_UNIT_BITS;
	BrReal scale = (BrReal) unit / (BrReal) (unit - share);
	BrRandom random;
	uint32_t bits = 0;

	if (share == 0)
		return;
	br_base_random_init(&random, run->key, stream + run->first_token + (uint64_t) row);
	for (int i = 0; i < n; i++)
	{
		bits = i % 2 == 0 ? br_base_random_u32(&random) : bits >> SHARE_UNIT_BITS;
		values[i] *= (bits & (unit - 1)) >= share ? scale : 0;
	}
}

void
br_train_drop_rows(const BrTrainRun *run, BrTrainSite site, int row, int rows, BrReal *values)
{
	int hidden = run->shape->hidden;

	for (int i = 0; run->drop > 0 && i < rows; i++)
		br_train_drop(run, run->drop, (int) site, row + i, hidden,
					  values + (size_t) i * (size_t) hidden);
}

/* ---- threads ---- */

int
br_train_part(const BrTrainRun *run, int count, int number)
{
	return (int) ((int64_t) count * number / run->n_workers);
}

BrStatus
br_train_stopped(const BrTrainRun *run, int number)
{
	return number == 0 && br_base_cancelled(run->context) ? BR_ERR_CANCELLED : BR_OK;
}

typedef struct TrainPhase
{
	BrTrainRun *run;
	BrStatus (*phase)(BrTrainRun *run, int number);
} TrainPhase;

static void
run_one(void *arg, int number)
{
	TrainPhase *part = arg;

	part->run->workers[number].status = part->phase(part->run, number);
}

BrStatus
br_train_run_all(BrTrainRun *run, BrStatus (*phase)(BrTrainRun *run, int number))
{
	TrainPhase part = {run, phase};

	br_base_pool_run(run->options.pool, run_one, &part, run->n_workers, &run->context->cancel);
	for (int i = 0; i < run->n_workers; i++)
		if (run->workers[i].status != BR_OK)
			return br_base_fail(run->context, run->workers[i].status, "Training was cancelled.");
	return BR_OK;
}

/* ---- the phases ---- */

/* Sums of three rows of tables, their norm, and dropout. */
static BrStatus
embed_rows(BrTrainRun *run, int number)
{
	const BrModelShape *shape = run->shape;
	const BrReal *parameters = run->model->parameters;
	int first = br_train_part(run, run->tokens, number);
	int last = br_train_part(run, run->tokens, number + 1);
	int hidden = shape->hidden;
	size_t width = (size_t) hidden;
	size_t at = (size_t) first * width;

	for (int row = first; row < last; row++)
	{
		BrReal *sum = run->embedded + (size_t) row * width;

		memcpy(sum, parameters + shape->map.word + (size_t) run->batch.ids[row] * width,
			   width * sizeof(BrReal));
		if (run->disturbance != NULL && run->disturbance->moves != NULL)
			br_train_add(sum, run->disturbance->moves + br_train_disturbed(run, row), hidden);
		br_train_add(sum, parameters + shape->map.position + (size_t) run->positions[row] * width,
					 hidden);
		if (shape->typed)
			br_train_add(sum, parameters + shape->map.type_row, hidden);
	}
	br_train_norm(run->embedded + at, parameters + shape->map.gain, parameters + shape->map.bias,
				  (BrReal) shape->epsilon, last - first, hidden,
				  run->embedded_moments + 2 * (size_t) first, run->states + at);
	br_train_drop_rows(run, BR_SITE_EMBEDDING, first, last - first, run->states + at);
	return br_train_stopped(run, number);
}

static BrStatus
project_rows(BrTrainRun *run, int number)
{
	int last = br_train_part(run, run->tokens, number + 1);
	size_t hidden = (size_t) run->shape->hidden;
	size_t attended = (size_t) run->shape->attended;
	BrStatus status = BR_OK;

	for (int row = br_train_part(run, run->tokens, number); row < last && status == BR_OK;
		 row += BR_TRAIN_BLOCK)
	{
		int rows = last - row < BR_TRAIN_BLOCK ? last - row : BR_TRAIN_BLOCK;

		br_train_dense(run->backend, &run->at.qkv, run->model->parameters,
					   br_train_state(run, run->layer) + (size_t) row * hidden, rows,
					   run->tape->qkv + 3 * (size_t) row * attended);
		status = br_train_stopped(run, number);
	}
	return status;
}

static BrStatus
attend_heads(BrTrainRun *run, int number)
{
	int first = br_train_part(run, run->shape->heads, number);
	int last = br_train_part(run, run->shape->heads, number + 1);
	BrStatus status = BR_OK;

	for (int text = 0; text < run->batch.texts && status == BR_OK; text++)
	{
		br_train_attend(run, &run->workers[number], text, first, last);
		status = br_train_stopped(run, number);
	}
	return status;
}

/* sum = drop(sum), through a bottleneck, + input, and the norm of it, of rows from row on. */
static void
add_and_norm(BrTrainRun *run, BrTrainSite site, const BrTrainNorm *norm, int row, int rows,
			 const BrReal *input, BrReal *sum, BrReal *moments, BrReal *output)
{
	const BrReal *parameters = run->model->parameters;
	int hidden = run->shape->hidden;

	br_train_drop_rows(run, site, row, rows, sum);
	if (run->model->bottleneck != NULL)
		br_train_adapt(run, site == BR_SITE_DOWN, row, rows, sum);
	br_train_add(sum, input, rows * hidden);
	br_train_norm(sum, parameters + norm->gain, parameters + norm->bias,
				  (BrReal) run->shape->epsilon, rows, hidden, moments, output);
}

/* The output projection, the dense layers and both norms of rows tokens from row on. */
static void
finish_rows_of_layer(BrTrainRun *run, int row, int rows)
{
	const BrReal *parameters = run->model->parameters;
	const BrBackend *backend = run->backend;
	const BrTrainTape *tape = run->tape;
	size_t at = (size_t) row * (size_t) run->shape->hidden;
	size_t attended = (size_t) row * (size_t) run->shape->attended;
	size_t wide = (size_t) row * (size_t) run->shape->intermediate;
	size_t inner = (size_t) rows * (size_t) run->shape->intermediate;

	br_train_dense(backend, &run->at.output, parameters, tape->attended + attended, rows,
				   tape->first_sum + at);
	add_and_norm(run, BR_SITE_PROJECTED, &run->at.attention_norm, row, rows,
				 br_train_state(run, run->layer) + at, tape->first_sum + at,
				 tape->first_moments + 2 * row, tape->first + at);

	br_train_dense(backend, &run->at.up, parameters, tape->first + at, rows, tape->inner + wide);
	memcpy(tape->active + wide, tape->inner + wide, inner * sizeof(BrReal));
	br_train_activate(backend, tape->active + wide, inner, run->shape->activation);
	br_train_dense(backend, &run->at.down, parameters, tape->active + wide, rows,
				   tape->second_sum + at);
	add_and_norm(run, BR_SITE_DOWN, &run->at.layer_norm, row, rows, tape->first + at,
				 tape->second_sum + at, tape->second_moments + 2 * row,
				 br_train_state(run, run->layer + 1) + at);
}

static BrStatus
finish_layer(BrTrainRun *run, int number)
{
	int last = br_train_part(run, run->tokens, number + 1);
	BrStatus status = BR_OK;

	for (int row = br_train_part(run, run->tokens, number); row < last && status == BR_OK;
		 row += BR_TRAIN_BLOCK)
	{
		finish_rows_of_layer(run, row, last - row < BR_TRAIN_BLOCK ? last - row : BR_TRAIN_BLOCK);
		status = br_train_stopped(run, number);
	}
	return status;
}

/* ---- the whole ---- */

void
br_train_enter(BrTrainRun *run, int layer)
{
	int lent = run->shape->layers - run->n_kept;

	run->layer = layer;
	run->at = br_train_layer(run->shape, layer);
	run->tape = &run->tapes[layer < lent ? run->n_kept : layer - lent];
}

BrStatus
br_train_forward_layer(BrTrainRun *run)
{
	BrStatus status = br_train_run_all(run, project_rows);

	if (status == BR_OK)
		status = br_train_run_all(run, attend_heads);
	if (status == BR_OK)
		status = br_train_run_all(run, finish_layer);
	return status;
}

/* A key for each step of a seed. */
uint64_t
br_train_key(uint64_t seed, uint64_t step)
{
	BrRandom random;

	br_base_random_init(&random, seed, step);
	return br_base_random_u64(&random);
}

BrStatus
br_train_forward(BrTrainRun *run, uint64_t step, size_t first_token)
{
	BrStatus status;

	run->key = br_train_key(run->options.seed, step);
	run->first_token = first_token;
	run->layer = 0;
	br_encoder_number_tokens(run->shape->first_position, run->batch.ids, run->batch.offsets,
							 run->batch.texts, run->positions);
	if (run->shape->relative)
		br_train_fill_relative(run);
	status = br_train_run_all(run, embed_rows);
	for (int layer = 0; layer < run->shape->layers && status == BR_OK; layer++)
	{
		br_train_enter(run, layer);
		status = br_train_forward_layer(run);
	}
	return status;
}
