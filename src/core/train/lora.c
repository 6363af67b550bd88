/*
 * lora.c
 *	  Low-rank additions to dense layers, as another way to write their weights.
 *
 * With s = alpha / rank, W = W0 + s B A. The slope of W would be slope of the
 * output' input, summed over tokens, and from it follow the slopes of the factors:
 *
 *		slope of B = s slope of W A',	slope of A = s B' slope of W
 *
 * As W0 stays, that product of two large matrices is not made. The narrow ones
 * come first,
 *
 *		slope of B = slope of the output' (s input A')
 *		slope of A = (s slope of the output B)' input
 *
 * which makes four products of rank columns of one of as many as W has. A device
 * that knows nothing of additions makes the large one all the same, and then the
 * first two lines are computed of what it gives.
 */
#include "core/math/br_math.h"
#include "core/train/br_train_adapters.h"
#include "core/train/train_int.h"

#define KINDS 6

/* One matrix with an addition. */
typedef struct LoraTarget
{
	size_t weight; /* among the model's parameters (outputs, inputs) */
	size_t base;   /* W0, among the bases */
	size_t down;   /* A, among the set's parameters (rank, inputs) */
	size_t up;	   /* B, among the set's parameters (outputs, rank) */
	int kind;
	int inputs;
	int outputs;
} LoraTarget;

struct BrTrainLora
{
	BrTrainDelta delta;
	const BrBackend *backend;
	int rank;
	BrReal scale;
	LoraTarget *targets; /* (n_targets): as many of every layer, in order */
	int n_targets;
	BrReal *bases;
	size_t n_bases;
};

/* The matrix of a kind of a layer; query, key and value are thirds of one. */
static LoraTarget
find_target(const BrModelShape *shape, int layer, int kind)
{
	BrTrainLayer places = br_train_layer(shape, layer);
	size_t third = (size_t) shape->attended * (size_t) shape->hidden;
	const BrTrainDense *dense[KINDS] = {&places.qkv,	&places.qkv, &places.qkv,
										&places.output, &places.up,	 &places.down};

	return (LoraTarget){
		.kind = kind,
		.weight = dense[kind]->weight + (kind < 3 ? (size_t) kind * third : 0),
		.inputs = dense[kind]->in_dim,
		.outputs = kind < 3 ? shape->attended : dense[kind]->out_dim,
	};
}

static void
place_all(BrTrainLora *lora, unsigned matrices)
{
	BrTrainDelta *delta = &lora->delta;
	const BrModelShape *shape = &delta->model->shape;

	for (int layer = 0; layer < shape->layers; layer++)
		for (int kind = 0; kind < KINDS; kind++)
			if (matrices & (1u << kind))
			{
				LoraTarget *target = &lora->targets[lora->n_targets++];

				*target = find_target(shape, layer, kind);
				target->base = lora->n_bases;
				lora->n_bases += (size_t) target->inputs * (size_t) target->outputs;
				target->down =
					br_train_delta_add(delta, target->weight, "lora_A", lora->rank, target->inputs);
				target->up = br_train_delta_add(delta, target->weight, "lora_B", target->outputs,
												lora->rank);
			}
	br_train_delta_lend_head(delta);
}

/* Takes the bases out of the model and draws the first factors. */
static void
fill_lora(BrTrainLora *lora, uint64_t seed)
{
	const BrTrainModel *model = lora->delta.model;

	for (int i = 0; i < lora->n_targets; i++)
	{
		const LoraTarget *target = &lora->targets[i];
		double deviation = 1 / sqrt((double) target->inputs);
		BrRandom random;

		memcpy(lora->bases + target->base, model->parameters + target->weight,
			   (size_t) target->inputs * (size_t) target->outputs * sizeof(BrReal));
		br_base_random_init(&random, seed, (uint64_t) i);
		for (size_t j = target->down; j < target->up; j++)
			lora->delta.set.parameters[j] = (BrReal) (deviation * br_math_normal(&random));
	}
}

/* ---- the way back ---- */

/* What a matrix of the layer at work reads, and the slope of what it gives. */
typedef struct LoraEnds
{
	const BrReal *input; /* (tokens, inputs) */
	const BrReal *slope; /* (tokens, outputs), stride apart */
	int stride;
} LoraEnds;

static LoraEnds
find_ends(const BrTrainRun *run, int kind)
{
	const BrTrainTape *tape = run->tape;
	const BrTrainSlopes *slopes = &run->slopes;
	int hidden = run->shape->hidden;
	int attended = run->shape->attended;
	const BrReal *state = br_train_state(run, run->layer);
	const LoraEnds ends[KINDS] = {
		{state, slopes->qkv, 3 * attended},
		{state, slopes->qkv + attended, 3 * attended},
		{state, slopes->qkv + 2 * attended, 3 * attended},
		{tape->attended, slopes->projected, hidden},
		{tape->first, slopes->inner, run->shape->intermediate},
		{tape->active, slopes->down, hidden},
	};

	return ends[kind];
}

static int
targets_of_layer(const BrTrainLora *lora)
{
	return lora->n_targets / lora->delta.model->shape.layers;
}

int
br_train_lora_width(const BrTrainModel *model)
{
	return model->lora != NULL ? 2 * targets_of_layer(model->lora) * model->lora->rank : 0;
}

/* Of a layer's target s input A', and with which 1 s slope B. */
static BrReal *
narrow_rows(const BrTrainRun *run, int number, int which)
{
	return run->slopes.narrow +
		(size_t) (2 * number + which) * (size_t) run->tokens * (size_t) run->model->lora->rank;
}

BrStatus
br_train_lora_narrow(BrTrainRun *run, int number)
{
	const BrTrainLora *lora = run->model->lora;
	const LoraTarget *target = lora->targets + run->layer * targets_of_layer(lora);
	const BrReal *parameters = lora->delta.set.parameters;
	int rank = lora->rank;
	int first = br_train_part(run, run->tokens, number);
	int rows = br_train_part(run, run->tokens, number + 1) - first;
	size_t at = (size_t) first * (size_t) rank;

	for (int i = 0; i < targets_of_layer(lora) && rows > 0; i++, target++)
	{
		LoraEnds ends = find_ends(run, target->kind);
		BrTrainFactor input = {ends.input + (size_t) first * (size_t) target->inputs,
							   target->inputs, false};
		BrTrainFactor slope = {ends.slope + (size_t) first * (size_t) ends.stride, ends.stride,
							   false};

		br_train_multiply(run->backend, input,
						  (BrTrainFactor){parameters + target->down, target->inputs, true}, rows,
						  rank, target->inputs, lora->scale, 0, rank, narrow_rows(run, i, 0) + at);
		br_train_multiply(run->backend, slope,
						  (BrTrainFactor){parameters + target->up, rank, false}, rows, rank,
						  target->outputs, lora->scale, 0, rank, narrow_rows(run, i, 1) + at);
	}
	return br_train_stopped(run, number);
}

void
br_train_lora_weights(const BrTrainRun *run, int number)
{
	const BrTrainLora *lora = run->model->lora;
	const LoraTarget *target = lora->targets + run->layer * targets_of_layer(lora);
	BrReal *slopes = lora->delta.slopes;
	int rank = lora->rank;

	for (int i = 0; i < targets_of_layer(lora); i++, target++)
	{
		LoraEnds ends = find_ends(run, target->kind);
		int output = br_train_part(run, target->outputs, number);
		int outputs = br_train_part(run, target->outputs, number + 1) - output;
		int input = br_train_part(run, target->inputs, number);
		int inputs = br_train_part(run, target->inputs, number + 1) - input;

		if (outputs > 0)
			br_train_multiply(run->backend, (BrTrainFactor){ends.slope + output, ends.stride, true},
							  (BrTrainFactor){narrow_rows(run, i, 0), rank, false}, outputs, rank,
							  run->tokens, 1, 1, rank,
							  slopes + target->up + (size_t) output * (size_t) rank);
		if (inputs > 0)
			br_train_multiply(run->backend, (BrTrainFactor){narrow_rows(run, i, 1), rank, true},
							  (BrTrainFactor){ends.input + input, target->inputs, false}, rank,
							  inputs, run->tokens, 1, 1, target->inputs,
							  slopes + target->down + input);
	}
}

void
br_train_lora_of_matrices(BrTrainRun *run)
{
	const BrTrainLora *lora = run->model->lora;
	const BrReal *parameters = lora->delta.set.parameters;
	BrReal *slopes = lora->delta.slopes;
	int rank = lora->rank;

	for (int i = 0; i < lora->n_targets; i++)
	{
		const LoraTarget *target = &lora->targets[i];
		BrReal *gradient = run->model->gradient + target->weight;
		BrTrainFactor matrix = {gradient, target->inputs, false};

		br_train_multiply(run->backend, matrix,
						  (BrTrainFactor){parameters + target->down, target->inputs, true},
						  target->outputs, rank, target->inputs, lora->scale, 1, rank,
						  slopes + target->up);
		br_train_multiply(run->backend, (BrTrainFactor){parameters + target->up, rank, true},
						  matrix, rank, target->inputs, target->outputs, lora->scale, 1,
						  target->inputs, slopes + target->down);
		memset(gradient, 0, (size_t) target->outputs * (size_t) target->inputs * sizeof(BrReal));
	}
}

/* ---- the set ---- */

static BrStatus
check_lora(BrContext *context, const BrTrainModel *model, const BrBackend *backend,
		   const BrTrainLoraOptions *options)
{
	if (options->rank < 1 || options->rank > model->shape.hidden)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Rank %d; the model takes 1 to %d.",
							options->rank, model->shape.hidden);
	if (!(options->alpha > 0) || !isfinite(options->alpha))
		return br_base_fail(context, BR_ERR_ARGUMENT, "Alpha %g is not above 0.", options->alpha);
	if (options->matrices == 0 || (options->matrices & ~(unsigned) BR_TRAIN_LORA_ALL) != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Matrices %#x; at least one bit of %#x must be set, and no other.",
							options->matrices, BR_TRAIN_LORA_ALL);
	if (backend == NULL || backend->multiply == NULL)
		return br_base_fail(context, BR_ERR_UNSUPPORTED, "The backend \"%s\" does not train.",
							backend == NULL ? "" : backend->name);
	return BR_OK;
}

static BrStatus
open_lora(BrTrainLora *lora, BrContext *context, BrTrainModel *model, unsigned matrices)
{
	int most = model->shape.layers * KINDS;
	BrStatus status =
		br_train_delta_open(&lora->delta, context, model, 2 * most + model->n_tensors);

	if (status != BR_OK)
		return status;
	lora->targets = br_base_alloc_array(context, (size_t) most, sizeof(LoraTarget));
	if (lora->targets == NULL)
		return BR_ERR_MEMORY;
	place_all(lora, matrices);
	lora->bases = br_base_alloc_array(context, lora->n_bases, sizeof(BrReal));
	return lora->bases == NULL ? BR_ERR_MEMORY : br_train_delta_fill(&lora->delta);
}

static void
free_lora(BrContext *context, BrTrainLora *lora)
{
	br_base_free(context, lora->targets);
	br_base_free(context, lora->bases);
	br_train_delta_close(&lora->delta);
	br_base_free(context, lora);
}

BrStatus
br_train_lora_create(BrContext *context, BrTrainModel *model, const BrBackend *backend,
					 const BrTrainLoraOptions *options, BrTrainLora **lora)
{
	BrStatus status = check_lora(context, model, backend, options);
	BrTrainLora *created;

	*lora = NULL;
	if (status != BR_OK)
		return status;
	created = br_base_alloc_array(context, 1, sizeof(BrTrainLora));
	if (created == NULL)
		return BR_ERR_MEMORY;
	created->delta.context = context;
	created->backend = backend;
	created->rank = options->rank;
	created->scale = (BrReal) (options->alpha / options->rank);
	status = open_lora(created, context, model, options->matrices);
	if (status != BR_OK)
	{
		free_lora(context, created);
		return status;
	}
	fill_lora(created, options->seed);
	model->delta = &created->delta;
	model->lora = created;
	*lora = created;
	return BR_OK;
}

void
br_train_lora_destroy(BrTrainLora *lora)
{
	if (lora == NULL)
		return;
	lora->delta.model->delta = NULL;
	lora->delta.model->lora = NULL;
	free_lora(lora->delta.context, lora);
}

BrTrainSet
br_train_lora_set(BrTrainLora *lora)
{
	return lora->delta.set;
}

void
br_train_lora_pull(BrTrainLora *lora)
{
	br_train_delta_pull(&lora->delta);
}

void
br_train_lora_push(BrTrainLora *lora)
{
	BrTrainModel *model = lora->delta.model;
	const BrReal *parameters = lora->delta.set.parameters;

	for (int i = 0; i < lora->n_targets; i++)
	{
		const LoraTarget *target = &lora->targets[i];
		BrTrainFactor up = {parameters + target->up, lora->rank, false};
		BrTrainFactor down = {parameters + target->down, target->inputs, false};

		memcpy(model->parameters + target->weight, lora->bases + target->base,
			   (size_t) target->inputs * (size_t) target->outputs * sizeof(BrReal));
		br_train_multiply(lora->backend, up, down, target->outputs, target->inputs, lora->rank,
						  lora->scale, 1, target->inputs, model->parameters + target->weight);
	}
	br_train_delta_push(&lora->delta);
}
