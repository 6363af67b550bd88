/*
 * backward.c
 *	  From the slope of the embeddings to the gradient of all parameters.
 *
 * Layer by layer from the last, in three phases: by rows from the layer's
 * output to what attention gave; by heads through attention; and then, since
 * both only read what is there, by rows to the layer's input and by outputs to
 * the gradients of the weights. Norms are the exception: every thread sums up
 * gain and bias over its own rows, and the sums are added in the threads' order.
 *
 * A model that is trained by an addition has no use for the gradients of its own
 * matrices and tables, a large part of all work: those of the addition take
 * their place.
 */
#include "core/train/train_int.h"

/* Of a worker's sums: gain and bias of the first norm, then of the second. */
static BrReal *
norm_sums(const BrTrainRun *run, int number, int which)
{
	return run->workers[number].norms + (size_t) which * (size_t) run->shape->hidden;
}

static void
clear_norm_sums(BrTrainRun *run, int number)
{
	memset(run->workers[number].norms, 0, 4 * (size_t) run->shape->hidden * sizeof(BrReal));
}

/* Adds columns of all workers' sums to the gradient. */
static void
add_norm_sums(BrTrainRun *run, const BrTrainNorm *norm, int which, int first, int last)
{
	BrReal *gradient = run->model->gradient;

	for (int i = 0; i < run->n_workers; i++)
	{
		br_train_add(gradient + norm->gain + first, norm_sums(run, i, 2 * which) + first,
					 last - first);
		br_train_add(gradient + norm->bias + first, norm_sums(run, i, 2 * which + 1) + first,
					 last - first);
	}
}

/*
 * Rows of a layer from the slope of its output to that of what attention gave.
 * slopes.sum holds the slope of the second sum, then, with what comes through
 * the dense layers, that of the first norm, and last that of the first sum.
 */
static void
lower_rows(BrTrainRun *run, int number, int row, int rows)
{
	const BrReal *parameters = run->model->parameters;
	const BrBackend *backend = run->backend;
	const BrTrainTape *tape = run->tape;
	const BrTrainSlopes *slopes = &run->slopes;
	int hidden = run->shape->hidden;
	size_t at = (size_t) row * (size_t) hidden;
	size_t attended = (size_t) row * (size_t) run->shape->attended;
	size_t wide = (size_t) row * (size_t) run->shape->intermediate;
	size_t size = (size_t) rows * (size_t) hidden * sizeof(BrReal);

	memcpy(slopes->sum + at, slopes->state + at, size);
	br_train_norm_slope(tape->second_sum + at, tape->second_moments + 2 * row,
						parameters + run->at.layer_norm.gain, rows, hidden,
						norm_sums(run, number, 2), norm_sums(run, number, 3), slopes->sum + at);
	memcpy(slopes->down + at, slopes->sum + at, size);
	if (run->model->bottleneck != NULL)
		br_train_adapt_slope(run, 1, row, rows, slopes->down + at);
	br_train_drop_rows(run, BR_SITE_DOWN, row, rows, slopes->down + at);

	br_train_dense_input(backend, &run->at.down, parameters, slopes->down + at, rows, 0,
						 slopes->inner + wide);
	br_train_activate_slope(backend, tape->inner + wide,
							(size_t) rows * (size_t) run->shape->intermediate,
							run->shape->activation, slopes->inner + wide);
	br_train_dense_input(backend, &run->at.up, parameters, slopes->inner + wide, rows, 1,
						 slopes->sum + at);

	br_train_norm_slope(tape->first_sum + at, tape->first_moments + 2 * row,
						parameters + run->at.attention_norm.gain, rows, hidden,
						norm_sums(run, number, 0), norm_sums(run, number, 1), slopes->sum + at);
	memcpy(slopes->projected + at, slopes->sum + at, size);
	if (run->model->bottleneck != NULL)
		br_train_adapt_slope(run, 0, row, rows, slopes->projected + at);
	br_train_drop_rows(run, BR_SITE_PROJECTED, row, rows, slopes->projected + at);
	br_train_dense_input(backend, &run->at.output, parameters, slopes->projected + at, rows, 0,
						 slopes->attended + attended);
}

static BrStatus
lower_layer(BrTrainRun *run, int number)
{
	int last = br_train_part(run, run->tokens, number + 1);
	BrStatus status = BR_OK;

	clear_norm_sums(run, number);
	for (int row = br_train_part(run, run->tokens, number); row < last && status == BR_OK;
		 row += BR_TRAIN_BLOCK)
	{
		lower_rows(run, number, row, last - row < BR_TRAIN_BLOCK ? last - row : BR_TRAIN_BLOCK);
		status = br_train_stopped(run, number);
	}
	return status;
}

static BrStatus
lower_heads(BrTrainRun *run, int number)
{
	int first = br_train_part(run, run->shape->heads, number);
	int last = br_train_part(run, run->shape->heads, number + 1);
	BrStatus status = BR_OK;

	for (int text = 0; text < run->batch.texts && status == BR_OK; text++)
	{
		br_train_attend_slope(run, &run->workers[number], text, first, last);
		status = br_train_stopped(run, number);
	}
	return status;
}

/* The slope of the layer's input: what comes past attention, and what comes through it. */
static BrStatus
lower_input(BrTrainRun *run, int number)
{
	int last = br_train_part(run, run->tokens, number + 1);
	size_t hidden = (size_t) run->shape->hidden;
	size_t attended = (size_t) run->shape->attended;
	BrStatus status = BR_OK;

	for (int row = br_train_part(run, run->tokens, number); row < last && status == BR_OK;
		 row += BR_TRAIN_BLOCK)
	{
		int rows = last - row < BR_TRAIN_BLOCK ? last - row : BR_TRAIN_BLOCK;
		size_t at = (size_t) row * hidden;

		memcpy(run->slopes.state + at, run->slopes.sum + at,
			   (size_t) rows * hidden * sizeof(BrReal));
		br_train_dense_input(run->backend, &run->at.qkv, run->model->parameters,
							 run->slopes.qkv + 3 * (size_t) row * attended, rows, 1,
							 run->slopes.state + at);
		status = br_train_stopped(run, number);
	}
	return status;
}

/* A worker's part of the gradients of the layer's matrices. */
static BrStatus
lower_matrices(BrTrainRun *run, int number)
{
	const struct
	{
		const BrTrainDense *dense;
		const BrReal *input;
		const BrReal *slope;
	} products[] = {
		{&run->at.down, run->tape->active, run->slopes.down},
		{&run->at.up, run->tape->first, run->slopes.inner},
		{&run->at.output, run->tape->attended, run->slopes.projected},
		{&run->at.qkv, br_train_state(run, run->layer), run->slopes.qkv},
	};
	BrStatus status = BR_OK;

	for (size_t i = 0; i < sizeof(products) / sizeof(products[0]) && status == BR_OK; i++)
	{
		int outputs = products[i].dense->out_dim;

		br_train_dense_weight(run->backend, products[i].dense, products[i].input, products[i].slope,
							  run->tokens, br_train_part(run, outputs, number),
							  br_train_part(run, outputs, number + 1), run->model->gradient);
		status = br_train_stopped(run, number);
	}
	return status;
}

static BrStatus
lower_weights(BrTrainRun *run, int number)
{
	int hidden = run->shape->hidden;
	BrStatus status = lower_input(run, number);

	if (status == BR_OK && run->model->delta == NULL)
		status = lower_matrices(run, number);
	if (run->model->lora != NULL)
		br_train_lora_weights(run, number);
	if (run->model->bottleneck != NULL)
		br_train_adapt_weights(run, number);
	add_norm_sums(run, &run->at.attention_norm, 0, br_train_part(run, hidden, number),
				  br_train_part(run, hidden, number + 1));
	add_norm_sums(run, &run->at.layer_norm, 1, br_train_part(run, hidden, number),
				  br_train_part(run, hidden, number + 1));
	return status;
}

/* ---- the tables of embeddings ---- */

static BrStatus
lower_embedded(BrTrainRun *run, int number)
{
	int first = br_train_part(run, run->tokens, number);
	int rows = br_train_part(run, run->tokens, number + 1) - first;
	int hidden = run->shape->hidden;
	size_t at = (size_t) first * (size_t) hidden;

	clear_norm_sums(run, number);
	br_train_drop_rows(run, BR_SITE_EMBEDDING, first, rows, run->slopes.state + at);
	br_train_norm_slope(run->embedded + at, run->embedded_moments + 2 * first,
						run->model->parameters + run->shape->map.gain, rows, hidden,
						norm_sums(run, number, 0), norm_sums(run, number, 1),
						run->slopes.state + at);
	if (run->disturbance != NULL && run->disturbance->slopes != NULL)
		memcpy(run->disturbance->slopes + br_train_disturbed(run, first), run->slopes.state + at,
			   (size_t) rows * (size_t) hidden * sizeof(BrReal));
	return br_train_stopped(run, number);
}

/* Columns of all tokens, so that no two threads add to one number. */
static BrStatus
lower_tables(BrTrainRun *run, int number)
{
	const BrWeightMap *map = &run->shape->map;
	const BrTrainNorm norm = {map->gain, map->bias};
	BrReal *gradient = run->model->gradient;
	size_t hidden = (size_t) run->shape->hidden;
	int first = br_train_part(run, run->shape->hidden, number);
	int last = br_train_part(run, run->shape->hidden, number + 1);

	for (int row = 0; run->model->delta == NULL && row < run->tokens; row++)
	{
		const BrReal *slope = run->slopes.state + (size_t) row * hidden + first;
		size_t id = (size_t) run->batch.ids[row];
		size_t position = (size_t) run->positions[row];

		br_train_add(gradient + map->word + id * hidden + first, slope, last - first);
		br_train_add(gradient + map->position + position * hidden + first, slope, last - first);
		if (run->shape->typed)
			br_train_add(gradient + map->type_row + first, slope, last - first);
	}
	add_norm_sums(run, &norm, 0, first, last);
	return br_train_stopped(run, number);
}

/* ---- the whole ---- */

static BrStatus
lower_one_layer(BrTrainRun *run, int layer)
{
	BrStatus status = BR_OK;

	br_train_enter(run, layer);
	/* the one tape that others share still holds layer shape->layers - n_kept - 1 */
	if (layer < run->shape->layers - run->n_kept - 1)
		status = br_train_forward_layer(run);
	if (status == BR_OK)
		status = br_train_run_all(run, lower_layer);
	if (status == BR_OK)
		status = br_train_run_all(run, lower_heads);
	if (status == BR_OK && run->model->lora != NULL)
		status = br_train_run_all(run, br_train_lora_narrow);
	if (status == BR_OK)
		status = br_train_run_all(run, lower_weights);
	return status;
}

BrStatus
br_train_backward(BrTrainRun *run)
{
	BrStatus status = BR_OK;

	for (int layer = run->shape->layers - 1; layer >= 0 && status == BR_OK; layer--)
		status = lower_one_layer(run, layer);
	run->layer = 0;
	if (status == BR_OK)
		status = br_train_run_all(run, lower_embedded);
	if (status == BR_OK)
		status = br_train_run_all(run, lower_tables);
	return status;
}
