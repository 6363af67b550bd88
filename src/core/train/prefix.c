/*
 * prefix.c
 *	  Keys and values of every layer that stand before those of each text.
 *
 * Attention reads and adds slopes to two flat arrays, the prefix's numbers. The set
 * holds either the same numbers, or a small network that makes them: an
 * embedding of every place, a dense layer, tanh, and a dense layer to all layers'
 * keys and values,
 *
 *		numbers of place i = up tanh(down embedding_i)
 *
 * which push runs forward and pull backward, once for an update and not for a batch.
 */
#include "core/math/br_math.h"
#include "core/train/br_train_adapters.h"
#include "core/train/train_int.h"

/* As BERT's own layers are initialised. */
#define PREFIX_DEVIATION 0.02

/* Of each layer a key and a value. */
#define PREFIX_PARTS 2

/* Embedding, and weight and bias of two dense layers. */
#define NETWORK_TENSORS 5

struct BrTrainPrefix
{
	BrTrainDelta delta;
	const BrBackend *backend;
	int length;
	int width;		   /* of the network, 0: there is none */
	size_t n;		   /* of the numbers */
	BrReal *values;	   /* (layers, 2, length, attended) */
	BrReal *slopes;	   /* of them, since they were pulled */
	size_t embedding;  /* among the set's parameters (length, hidden) */
	BrTrainDense down; /* among the set's parameters */
	BrTrainDense up;
	BrReal *inner;	 /* (length, width): before tanh */
	BrReal *active;	 /* (length, width) */
	BrReal *outputs; /* (length, layers * 2 * attended): the numbers by place, or their slopes */
};

int
br_train_prefix_length(const BrTrainModel *model)
{
	return model->prefix != NULL ? model->prefix->length : 0;
}

const BrReal *
br_train_prefix_values(const BrTrainModel *model)
{
	return model->prefix->values;
}

BrReal *
br_train_prefix_slopes(const BrTrainModel *model)
{
	return model->prefix->slopes;
}

void
br_train_prefix_forget(const BrTrainModel *model)
{
	memset(model->prefix->slopes, 0, model->prefix->n * sizeof(BrReal));
}

/* ---- the network ---- */

/* Between the order of the network, place by place, and that of the numbers. */
static void
turn_numbers(const BrTrainPrefix *prefix, bool to_values, BrReal *numbers)
{
	size_t attended = (size_t) prefix->delta.model->shape.attended;
	size_t blocks = (size_t) prefix->delta.model->shape.layers * PREFIX_PARTS;
	size_t length = (size_t) prefix->length;

	for (size_t place = 0; place < length; place++)
		for (size_t block = 0; block < blocks; block++)
		{
			BrReal *output = prefix->outputs + (place * blocks + block) * attended;
			BrReal *number = numbers + (block * length + place) * attended;

			memcpy(to_values ? number : output, to_values ? output : number,
				   attended * sizeof(BrReal));
		}
}

static void
run_network(BrTrainPrefix *prefix)
{
	const BrReal *parameters = prefix->delta.set.parameters;
	size_t n = (size_t) prefix->length * (size_t) prefix->width;

	br_train_dense(prefix->backend, &prefix->down, parameters, parameters + prefix->embedding,
				   prefix->length, prefix->inner);
	memcpy(prefix->active, prefix->inner, n * sizeof(BrReal));
	br_train_activate(prefix->backend, prefix->active, n, BR_ACTIVATION_TANH);
	br_train_dense(prefix->backend, &prefix->up, parameters, prefix->active, prefix->length,
				   prefix->outputs);
	turn_numbers(prefix, true, prefix->values);
}

/* From the slopes of the numbers to those of the set; inner and active hold what push made. */
static void
lower_network(BrTrainPrefix *prefix)
{
	const BrReal *parameters = prefix->delta.set.parameters;
	BrReal *slopes = prefix->delta.slopes;
	int length = prefix->length;

	turn_numbers(prefix, false, prefix->slopes);
	br_train_dense_weight(prefix->backend, &prefix->up, prefix->active, prefix->outputs, length, 0,
						  prefix->up.out_dim, slopes);
	br_train_dense_input(prefix->backend, &prefix->up, parameters, prefix->outputs, length, 0,
						 prefix->active);
	br_train_activate_slope(prefix->backend, prefix->inner,
							(size_t) length * (size_t) prefix->width, BR_ACTIVATION_TANH,
							prefix->active);
	br_train_dense_weight(prefix->backend, &prefix->down, parameters + prefix->embedding,
						  prefix->active, length, 0, prefix->width, slopes);
	br_train_dense_input(prefix->backend, &prefix->down, parameters, prefix->active, length, 1,
						 slopes + prefix->embedding);
	/* what the slopes took the place of, for a further pull */
	br_train_dense(prefix->backend, &prefix->down, parameters, parameters + prefix->embedding,
				   length, prefix->active);
	br_train_activate(prefix->backend, prefix->active, (size_t) length * (size_t) prefix->width,
					  BR_ACTIVATION_TANH);
}

/* ---- the set ---- */

/* Where a layer's key or value is named after. */
static size_t
name_beside(const BrModelShape *shape, int layer, int part)
{
	size_t third = (size_t) shape->attended * (size_t) shape->hidden;

	return br_train_layer(shape, layer).qkv.weight + (size_t) (part + 1) * third;
}

static BrTrainDense
place_network_dense(BrTrainDelta *delta, const char *weight, const char *bias, int in_dim,
					int out_dim)
{
	size_t at = br_train_delta_add_alone(delta, weight, out_dim, in_dim);

	return (BrTrainDense){at, br_train_delta_add_alone(delta, bias, out_dim, 0), true, in_dim,
						  out_dim};
}

static void
place_prefix(BrTrainPrefix *prefix)
{
	BrTrainDelta *delta = &prefix->delta;
	const BrModelShape *shape = &delta->model->shape;

	if (prefix->width > 0)
	{
		prefix->embedding = br_train_delta_add_alone(delta, "prefix.embedding.weight",
													 prefix->length, shape->hidden);
		prefix->down = place_network_dense(delta, "prefix.down.weight", "prefix.down.bias",
										   shape->hidden, prefix->width);
		prefix->up = place_network_dense(delta, "prefix.up.weight", "prefix.up.bias", prefix->width,
										 shape->layers * PREFIX_PARTS * shape->attended);
	}
	else
		for (int i = 0; i < shape->layers * PREFIX_PARTS; i++)
			(void) br_train_delta_add(delta, name_beside(shape, i / PREFIX_PARTS, i % PREFIX_PARTS),
									  "prefix", prefix->length, shape->attended);
	br_train_delta_lend_head(delta);
}

static void
draw_numbers(BrReal *values, size_t n, double deviation, uint64_t seed, uint64_t stream)
{
	BrRandom random;

	br_base_random_init(&random, seed, stream);
	for (size_t i = 0; i < n; i++)
		values[i] = (BrReal) (deviation * br_math_normal(&random));
}

static void
draw_prefix(BrTrainPrefix *prefix, uint64_t seed)
{
	BrReal *parameters = prefix->delta.set.parameters;
	size_t hidden = (size_t) prefix->delta.model->shape.hidden;
	size_t width = (size_t) prefix->width;

	if (width == 0)
	{
		draw_numbers(parameters, prefix->n, PREFIX_DEVIATION, seed, 0);
		return;
	}
	draw_numbers(parameters + prefix->embedding, (size_t) prefix->length * hidden, 1, seed, 0);
	draw_numbers(parameters + prefix->down.weight, width * hidden, 1 / sqrt((double) hidden), seed,
				 1);
	draw_numbers(parameters + prefix->up.weight, width * (size_t) prefix->up.out_dim,
				 PREFIX_DEVIATION / sqrt((double) width), seed, 2);
}

static BrStatus
open_prefix(BrTrainPrefix *prefix, BrContext *context, BrTrainModel *model)
{
	const BrModelShape *shape = &model->shape;
	size_t inner = (size_t) prefix->length * (size_t) prefix->width;
	int most = prefix->width > 0 ? NETWORK_TENSORS : PREFIX_PARTS * shape->layers;
	BrStatus status = br_train_delta_open(&prefix->delta, context, model, most + model->n_tensors);

	if (status != BR_OK)
		return status;
	place_prefix(prefix);
	prefix->n =
		(size_t) prefix->length * (size_t) shape->attended * PREFIX_PARTS * (size_t) shape->layers;
	prefix->values = br_base_alloc_array(context, prefix->n, sizeof(BrReal));
	prefix->slopes = br_base_alloc_array(context, prefix->n, sizeof(BrReal));
	if (prefix->values == NULL || prefix->slopes == NULL)
		return BR_ERR_MEMORY;
	if (prefix->width > 0)
	{
		prefix->inner = br_base_alloc_array(context, inner, sizeof(BrReal));
		prefix->active = br_base_alloc_array(context, inner, sizeof(BrReal));
		prefix->outputs = br_base_alloc_array(context, prefix->n, sizeof(BrReal));
		if (prefix->inner == NULL || prefix->active == NULL || prefix->outputs == NULL)
			return BR_ERR_MEMORY;
	}
	return br_train_delta_fill(&prefix->delta);
}

static void
free_prefix(BrContext *context, BrTrainPrefix *prefix)
{
	br_base_free(context, prefix->values);
	br_base_free(context, prefix->slopes);
	br_base_free(context, prefix->inner);
	br_base_free(context, prefix->active);
	br_base_free(context, prefix->outputs);
	br_train_delta_close(&prefix->delta);
	br_base_free(context, prefix);
}

static BrStatus
check_prefix(BrContext *context, const BrBackend *backend, const BrTrainPrefixOptions *options)
{
	if (options->length < 1 || options->length > BR_ENCODER_MOST_PREFIX)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Length %d; a prefix has 1 to %d.",
							options->length, BR_ENCODER_MOST_PREFIX);
	if (options->width < 0 || options->width > BR_TRAIN_PREFIX_WIDEST)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A network of width %d; 0 is none, the widest has %d.", options->width,
							BR_TRAIN_PREFIX_WIDEST);
	if (backend == NULL || backend->multiply == NULL)
		return br_base_fail(context, BR_ERR_UNSUPPORTED, "The backend \"%s\" does not train.",
							backend == NULL ? "" : backend->name);
	return BR_OK;
}

BrStatus
br_train_prefix_create(BrContext *context, BrTrainModel *model, const BrBackend *backend,
					   const BrTrainPrefixOptions *options, BrTrainPrefix **prefix)
{
	BrStatus status = check_prefix(context, backend, options);
	BrTrainPrefix *created;

	*prefix = NULL;
	if (status != BR_OK)
		return status;
	created = br_base_alloc_array(context, 1, sizeof(BrTrainPrefix));
	if (created == NULL)
		return BR_ERR_MEMORY;
	created->delta.context = context;
	created->backend = backend;
	created->length = options->length;
	created->width = options->width;
	status = open_prefix(created, context, model);
	if (status != BR_OK)
	{
		free_prefix(context, created);
		return status;
	}
	draw_prefix(created, options->seed);
	model->delta = &created->delta;
	model->prefix = created;
	br_train_prefix_push(created);
	*prefix = created;
	return BR_OK;
}

void
br_train_prefix_destroy(BrTrainPrefix *prefix)
{
	if (prefix == NULL)
		return;
	prefix->delta.model->delta = NULL;
	prefix->delta.model->prefix = NULL;
	free_prefix(prefix->delta.context, prefix);
}

BrTrainSet
br_train_prefix_set(BrTrainPrefix *prefix)
{
	return prefix->delta.set;
}

void
br_train_prefix_pull(BrTrainPrefix *prefix)
{
	if (prefix->width > 0)
		lower_network(prefix);
	else
		memcpy(prefix->delta.slopes, prefix->slopes, prefix->n * sizeof(BrReal));
	br_train_delta_pull(&prefix->delta);
}

void
br_train_prefix_push(BrTrainPrefix *prefix)
{
	if (prefix->width > 0)
		run_network(prefix);
	else
		memcpy(prefix->values, prefix->delta.set.parameters, prefix->n * sizeof(BrReal));
	br_train_delta_push(&prefix->delta);
}
