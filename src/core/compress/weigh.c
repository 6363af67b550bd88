/*
 * weigh.c
 *	  How much embeddings depend on each attention head and each neuron.
 *
 * A factor g on what a unit gives is a factor on the weights that read it: a
 * neuron's column of the second dense layer, a head's columns of the output
 * projection. So the slope of a loss in g is the sum of weight times slope over
 * them, which the gradient of the whole model tells. The square of a sum over
 * texts is not the sum of squares, unless each text comes with signs of its own
 * that average out.
 */
#include "core/compress/br_compress.h"
#include "core/train/br_train.h"

/* Texts of a batch: more of them cost as much and say as little as one, fewer are slow. */
#define BATCH_TEXTS 8

#define MAX_DRAWS 100000

/* One call on its way through the batches. */
typedef struct Weighing
{
	BrContext *context;
	const BrCompressOptions *options;
	BrTrainModel *model;
	const BrModelShape *shape;
	BrTrainRun *run;
	const int32_t *ids;
	const int32_t *offsets;
	int texts;
	int dim;
	int32_t starts[BATCH_TEXTS + 1];
	BrReal *embeddings; /* (BATCH_TEXTS, dim) */
	BrReal *signs;		/* (BATCH_TEXTS, dim) */
	double *sums;		/* (the larger of attended and intermediate) */
	double *heads;
	double *neurons;
} Weighing;

static void
draw_signs(Weighing *weighing, uint64_t batch, size_t n)
{
	BrRandom random;
	uint64_t bits = 0;

	br_base_random_init(&random, weighing->options->seed, batch);
	for (size_t i = 0; i < n; i++)
	{
		if (i % 64 == 0)
			bits = br_base_random_u64(&random);
		weighing->signs[i] = bits >> i % 64 & 1 ? 1 : -1;
	}
}

/* sums[column] = the sum over rows of parameter times slope */
static void
sum_columns(const Weighing *weighing, size_t at, int columns)
{
	const BrReal *parameters = br_train_parameters(weighing->model) + at;
	const BrReal *gradient = br_train_gradient(weighing->model) + at;
	double *sums = weighing->sums;

	for (int j = 0; j < columns; j++)
		sums[j] = 0;
	for (int i = 0; i < weighing->shape->hidden; i++)
		for (int j = 0; j < columns; j++, parameters++, gradient++)
			sums[j] += (double) *parameters * (double) *gradient;
}

static void
add_squares(const Weighing *weighing)
{
	const BrModelShape *shape = weighing->shape;
	int head_dim = shape->attended / shape->heads;

	for (int layer = 0; layer < shape->layers; layer++)
	{
		size_t at = shape->map.layer + (size_t) layer * shape->map.layer_stride;
		double *heads = weighing->heads + (size_t) layer * (size_t) shape->heads;
		double *neurons = weighing->neurons + (size_t) layer * (size_t) shape->intermediate;

		sum_columns(weighing, at + shape->map.output_weight, shape->attended);
		for (int head = 0; head < shape->heads; head++)
		{
			double slope = 0;

			for (int j = head * head_dim; j < (head + 1) * head_dim; j++)
				slope += weighing->sums[j];
			heads[head] += slope * slope;
		}
		sum_columns(weighing, at + shape->map.down_weight, shape->intermediate);
		for (int neuron = 0; neuron < shape->intermediate; neuron++)
			neurons[neuron] += weighing->sums[neuron] * weighing->sums[neuron];
	}
}

static BrStatus
weigh_batch(Weighing *weighing, int first, uint64_t number)
{
	int texts = weighing->texts - first < BATCH_TEXTS ? weighing->texts - first : BATCH_TEXTS;
	BrTrainBatch batch = {weighing->ids + weighing->offsets[first], weighing->starts, texts, NULL};
	BrStatus status;

	for (int i = 0; i <= texts; i++)
		weighing->starts[i] = weighing->offsets[first + i] - weighing->offsets[first];
	br_train_zero_gradient(weighing->model);
	status = br_train_embed(weighing->run, &batch, number, weighing->embeddings);
	if (status != BR_OK)
		return status;
	draw_signs(weighing, number, (size_t) texts * (size_t) weighing->dim);
	status = br_train_backpropagate(weighing->run, weighing->signs);
	if (status == BR_OK)
		add_squares(weighing);
	return status;
}

static BrStatus
weigh_all(Weighing *weighing)
{
	const BrModelShape *shape = weighing->shape;
	size_t n_heads = (size_t) shape->layers * (size_t) shape->heads;
	size_t n_neurons = (size_t) shape->layers * (size_t) shape->intermediate;
	double examples = (double) weighing->texts * weighing->options->draws;
	uint64_t number = 0;
	BrStatus status = BR_OK;

	for (size_t i = 0; i < n_heads; i++)
		weighing->heads[i] = 0;
	for (size_t i = 0; i < n_neurons; i++)
		weighing->neurons[i] = 0;
	for (int draw = 0; draw < weighing->options->draws; draw++)
		for (int first = 0; first < weighing->texts && status == BR_OK; first += BATCH_TEXTS)
			status = weigh_batch(weighing, first, number++);
	for (size_t i = 0; i < n_heads; i++)
		weighing->heads[i] /= examples;
	for (size_t i = 0; i < n_neurons; i++)
		weighing->neurons[i] /= examples;
	return status;
}

static BrStatus
make_room(Weighing *weighing)
{
	const BrModelShape *shape = weighing->shape;
	size_t n = BATCH_TEXTS * (size_t) weighing->dim;
	int widest = shape->attended > shape->intermediate ? shape->attended : shape->intermediate;

	weighing->embeddings = br_base_alloc_array(weighing->context, n, sizeof(BrReal));
	weighing->signs = br_base_alloc_array(weighing->context, n, sizeof(BrReal));
	weighing->sums = br_base_alloc_array(weighing->context, (size_t) widest, sizeof(double));
	return weighing->embeddings != NULL && weighing->signs != NULL && weighing->sums != NULL
		? BR_OK
		: BR_ERR_MEMORY;
}

BrStatus
br_compress_weigh(BrContext *context, const BrEncoder *encoder, const BrCompressOptions *options,
				  const int32_t *ids, const int32_t *offsets, int texts, double *heads,
				  double *neurons)
{
	BrTrainOptions training = {.backend = options->backend, .pool = options->pool};
	Weighing weighing = {.context = context,
						 .options = options,
						 .ids = ids,
						 .offsets = offsets,
						 .texts = texts,
						 .heads = heads,
						 .neurons = neurons};
	BrStatus status;

	if (texts < 1 || options->draws < 1 || options->draws > MAX_DRAWS)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Units are weighed by at least 1 text and 1 to %d draws for each, not %d and %d.",
							MAX_DRAWS, texts, options->draws);
	status = br_train_open(context, encoder, (BrTrainHead){0}, 0, &weighing.model);
	if (status != BR_OK)
		return status;
	weighing.shape = br_train_shape(weighing.model);
	weighing.dim = br_train_dimensions(weighing.model);
	status = br_train_begin(context, weighing.model, &training, &weighing.run);
	if (status == BR_OK)
		status = make_room(&weighing);
	if (status == BR_OK)
		status = weigh_all(&weighing);
	br_base_free(context, weighing.embeddings);
	br_base_free(context, weighing.signs);
	br_base_free(context, weighing.sums);
	br_train_end(weighing.run);
	br_train_close(weighing.model);
	return status;
}
