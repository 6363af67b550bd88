/*
 * lora.c
 *	  Low-rank additions to dense layers, as another way to write their weights.
 *
 * With s = alpha / rank, W = W0 + s B A. The way back gives the slope of W, and
 * from it follow the slopes of the factors:
 *
 *		slope of B = s slope of W A',	slope of A = s B' slope of W
 *
 * so neither forward nor backward knows of them.
 */
#include <stdio.h>

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
	int inputs;
	int outputs;
} LoraTarget;

struct BrTrainLora
{
	BrContext *context;
	BrTrainModel *model;
	const BrBackend *backend;
	int rank;
	BrReal scale;
	LoraTarget *targets; /* (n_targets) */
	int n_targets;
	BrReal *bases;
	size_t n_bases;
	size_t head; /* the head's parameters among the set's, which are the last */
	BrTrainTensor *tensors;
	BrTrainSet set;
};

/* The matrix of a kind of a layer; query, key and value are thirds of one. */
static LoraTarget
find_target(const BrModelShape *shape, int layer, int kind)
{
	BrTrainLayer places = br_train_layer(shape, layer);
	size_t square = (size_t) shape->hidden * (size_t) shape->hidden;
	const BrTrainDense *dense[KINDS] = {&places.qkv,	&places.qkv, &places.qkv,
										&places.output, &places.up,	 &places.down};

	return (LoraTarget){
		.weight = dense[kind]->weight + (kind < 3 ? (size_t) kind * square : 0),
		.inputs = dense[kind]->in_dim,
		.outputs = kind < 3 ? shape->hidden : dense[kind]->out_dim,
	};
}

/* Of a tensor "x.weight" the name "x.<part>.weight". */
static void
name_factor(const BrTrainTensor *tensor, const char *part, BrTrainTensor *factor)
{
	int length = (int) (strlen(tensor->name) - strlen(".weight"));

	snprintf(factor->name, sizeof(factor->name), "%.*s.%s.weight", length, tensor->name, part);
	factor->decays = true;
}

static const BrTrainTensor *
tensor_at(const BrTrainModel *model, size_t offset)
{
	int i = 0;

	while (model->tensors[i].offset != offset)
		i++;
	return &model->tensors[i];
}

static void
place_factors(BrTrainLora *lora, LoraTarget *target)
{
	const BrTrainTensor *tensor = tensor_at(lora->model, target->weight);
	BrTrainTensor *down = &lora->tensors[lora->set.n_tensors++];
	BrTrainTensor *up = &lora->tensors[lora->set.n_tensors++];

	target->base = lora->n_bases;
	lora->n_bases += (size_t) target->inputs * (size_t) target->outputs;
	target->down = lora->set.n;
	lora->set.n += (size_t) lora->rank * (size_t) target->inputs;
	target->up = lora->set.n;
	lora->set.n += (size_t) lora->rank * (size_t) target->outputs;

	name_factor(tensor, "lora_A", down);
	down->rows = lora->rank;
	down->columns = target->inputs;
	down->offset = target->down;
	name_factor(tensor, "lora_B", up);
	up->rows = target->outputs;
	up->columns = lora->rank;
	up->offset = target->up;
}

/* The head's tensors stand last in the model, and in the set as well. */
static void
place_head(BrTrainLora *lora)
{
	const BrTrainModel *model = lora->model;
	size_t first = model->shape.map.total;

	lora->head = lora->set.n;
	lora->set.n += model->n - first;
	for (int i = 0; i < model->n_tensors; i++)
		if (model->tensors[i].offset >= first)
		{
			BrTrainTensor *own = &lora->tensors[lora->set.n_tensors++];

			*own = model->tensors[i];
			own->offset = lora->head + (model->tensors[i].offset - first);
		}
}

static void
place_all(BrTrainLora *lora, unsigned matrices)
{
	const BrModelShape *shape = &lora->model->shape;

	for (int layer = 0; layer < shape->layers; layer++)
		for (int kind = 0; kind < KINDS; kind++)
			if (matrices & (1u << kind))
			{
				LoraTarget *target = &lora->targets[lora->n_targets++];

				*target = find_target(shape, layer, kind);
				place_factors(lora, target);
			}
	place_head(lora);
}

/* Takes the bases out of the model and draws the first factors. */
static void
fill_lora(BrTrainLora *lora, uint64_t seed)
{
	const BrTrainModel *model = lora->model;

	for (int i = 0; i < lora->n_targets; i++)
	{
		const LoraTarget *target = &lora->targets[i];
		double deviation = 1 / sqrt((double) target->inputs);
		BrRandom random;

		memcpy(lora->bases + target->base, model->parameters + target->weight,
			   (size_t) target->inputs * (size_t) target->outputs * sizeof(BrReal));
		br_base_random_init(&random, seed, (uint64_t) i);
		for (size_t j = target->down; j < target->up; j++)
			lora->set.parameters[j] = (BrReal) (deviation * br_math_normal(&random));
	}
	memcpy(lora->set.parameters + lora->head, model->parameters + model->shape.map.total,
		   (model->n - model->shape.map.total) * sizeof(BrReal));
}

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

BrStatus
br_train_lora_create(BrContext *context, BrTrainModel *model, const BrBackend *backend,
					 const BrTrainLoraOptions *options, BrTrainLora **lora)
{
	BrStatus status = check_lora(context, model, backend, options);
	size_t most = (size_t) model->shape.layers * KINDS;
	BrTrainLora *created;

	*lora = NULL;
	if (status != BR_OK)
		return status;
	created = br_base_alloc_array(context, 1, sizeof(BrTrainLora));
	if (created == NULL)
		return BR_ERR_MEMORY;
	created->context = context;
	created->model = model;
	created->backend = backend;
	created->rank = options->rank;
	created->scale = (BrReal) (options->alpha / options->rank);
	created->targets = br_base_alloc_array(context, most, sizeof(LoraTarget));
	created->tensors =
		br_base_alloc_array(context, 2 * most + (size_t) model->n_tensors, sizeof(BrTrainTensor));
	created->set.tensors = created->tensors;
	if (created->targets != NULL && created->tensors != NULL)
	{
		place_all(created, options->matrices);
		created->bases = br_base_alloc_array(context, created->n_bases, sizeof(BrReal));
		created->set.parameters = br_base_alloc_array(context, created->set.n, sizeof(BrReal));
		created->set.gradient = br_base_alloc_array(context, created->set.n, sizeof(BrReal));
	}
	if (created->bases == NULL || created->set.parameters == NULL || created->set.gradient == NULL)
	{
		br_train_lora_destroy(created);
		return BR_ERR_MEMORY;
	}
	fill_lora(created, options->seed);
	*lora = created;
	return BR_OK;
}

void
br_train_lora_destroy(BrTrainLora *lora)
{
	if (lora == NULL)
		return;
	br_base_free(lora->context, lora->targets);
	br_base_free(lora->context, lora->tensors);
	br_base_free(lora->context, lora->bases);
	br_base_free(lora->context, lora->set.parameters);
	br_base_free(lora->context, lora->set.gradient);
	br_base_free(lora->context, lora);
}

BrTrainSet
br_train_lora_set(BrTrainLora *lora)
{
	return lora->set;
}

void
br_train_lora_pull(BrTrainLora *lora)
{
	BrTrainModel *model = lora->model;
	size_t total = model->shape.map.total;

	for (int i = 0; i < lora->n_targets; i++)
	{
		const LoraTarget *target = &lora->targets[i];
		BrTrainFactor slope = {model->gradient + target->weight, target->inputs, false};
		BrTrainFactor down = {lora->set.parameters + target->down, target->inputs, true};
		BrTrainFactor up = {lora->set.parameters + target->up, lora->rank, true};

		br_train_multiply(lora->backend, slope, down, target->outputs, lora->rank, target->inputs,
						  lora->scale, 1, lora->rank, lora->set.gradient + target->up);
		br_train_multiply(lora->backend, up, slope, lora->rank, target->inputs, target->outputs,
						  lora->scale, 1, target->inputs, lora->set.gradient + target->down);
	}
	for (size_t i = 0; i < model->n - total; i++)
		lora->set.gradient[lora->head + i] += model->gradient[total + i];
	br_train_zero_gradient(model);
}

void
br_train_lora_push(BrTrainLora *lora)
{
	BrTrainModel *model = lora->model;
	size_t total = model->shape.map.total;

	for (int i = 0; i < lora->n_targets; i++)
	{
		const LoraTarget *target = &lora->targets[i];
		BrTrainFactor up = {lora->set.parameters + target->up, lora->rank, false};
		BrTrainFactor down = {lora->set.parameters + target->down, target->inputs, false};

		memcpy(model->parameters + target->weight, lora->bases + target->base,
			   (size_t) target->inputs * (size_t) target->outputs * sizeof(BrReal));
		br_train_multiply(lora->backend, up, down, target->outputs, target->inputs, lora->rank,
						  lora->scale, 1, target->inputs, model->parameters + target->weight);
	}
	memcpy(model->parameters + total, lora->set.parameters + lora->head,
		   (model->n - total) * sizeof(BrReal));
}
