/*
 * plan.c
 *	  A run, and the memory of its batch.
 *
 * All buffers of a batch are cut from one block, which grows with the largest
 * batch so far. Inputs of all layers are always kept; of what else a layer
 * leaves behind as much as fits, for the last layers first, because the way
 * back begins with them. One tape serves all other layers in turn.
 */
#include "core/train/train_int.h"

#define ALIGNMENT 64
#define SHARE_UNIT 65536

/* Cuts memory into buffers that begin at cache lines; base NULL: only counts bytes. */
typedef struct BatchCutter
{
	char *base;
	size_t used;
} BatchCutter;

static void *
cut_bytes(BatchCutter *cutter, size_t size)
{
	void *at = cutter->base != NULL ? cutter->base + cutter->used : NULL;

	cutter->used += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	return at;
}

static BrReal *
cut_reals(BatchCutter *cutter, size_t rows, int columns)
{
	return cut_bytes(cutter, rows * (size_t) columns * sizeof(BrReal));
}

static BrTrainTape
cut_tape(BatchCutter *cutter, size_t tokens, const BrTrainModel *model)
{
	const BrModelShape *shape = &model->shape;
	int narrow = br_train_bottleneck_size(model);
	BrTrainTape tape = {
		.qkv = cut_reals(cutter, tokens, 3 * shape->attended),
		.attended = cut_reals(cutter, tokens, shape->attended),
		.first_sum = cut_reals(cutter, tokens, shape->hidden),
		.first = cut_reals(cutter, tokens, shape->hidden),
		.inner = cut_reals(cutter, tokens, shape->intermediate),
		.active = cut_reals(cutter, tokens, shape->intermediate),
		.second_sum = cut_reals(cutter, tokens, shape->hidden),
		.first_moments = cut_reals(cutter, tokens, 2),
		.second_moments = cut_reals(cutter, tokens, 2),
	};

	for (int half = 0; half < 2 && narrow > 0; half++)
		tape.adapted[half] = (BrTrainAdapted){
			.input = cut_reals(cutter, tokens, shape->hidden),
			.inner = cut_reals(cutter, tokens, narrow),
			.active = cut_reals(cutter, tokens, narrow),
		};
	return tape;
}

static BrTrainSlopes
cut_slopes(BatchCutter *cutter, size_t tokens, const BrTrainModel *model)
{
	const BrModelShape *shape = &model->shape;
	int narrow = br_train_bottleneck_size(model);
	BrTrainSlopes slopes = {
		.state = cut_reals(cutter, tokens, shape->hidden),
		.sum = cut_reals(cutter, tokens, shape->hidden),
		.down = cut_reals(cutter, tokens, shape->hidden),
		.projected = cut_reals(cutter, tokens, shape->hidden),
		.inner = cut_reals(cutter, tokens, shape->intermediate),
		.attended = cut_reals(cutter, tokens, shape->attended),
		.qkv = cut_reals(cutter, tokens, 3 * shape->attended),
		.narrow = cut_reals(cutter, tokens, br_train_lora_width(model)),
	};

	for (int half = 0; half < 2 && narrow > 0; half++)
		slopes.adapted[half] = (BrTrainAdaptedSlopes){
			.output = cut_reals(cutter, tokens, shape->hidden),
			.inner = cut_reals(cutter, tokens, narrow),
		};
	return slopes;
}

static BrTrainWorker
cut_worker(BatchCutter *cutter, const BrTrainRun *run)
{
	return (BrTrainWorker){
		.weights = cut_reals(cutter, (size_t) run->longest, run->reach),
		.slopes = cut_reals(cutter, (size_t) run->longest, run->reach),
		.distances = cut_reals(cutter, 1, 2 * run->longest - 1),
		.norms = cut_reals(cutter, 4, run->shape->hidden),
	};
}

/* What follows pooling: the vectors between the steps. */
static void
cut_vectors(BatchCutter *cutter, BrTrainRun *run)
{
	const BrModelShape *shape = run->shape;
	size_t texts = (size_t) run->batch.texts;
	int widest = shape->hidden;

	run->vectors[0] = cut_reals(cutter, texts, shape->hidden);
	for (int i = 0; i < shape->n_steps; i++)
	{
		int width = (int) shape->steps[i].out_dim;

		widest = width > widest ? width : widest;
		run->vectors[i + 1] = cut_reals(cutter, texts, width);
		if (shape->steps[i].kind == BR_STEP_DENSE)
			run->step_inner[i] = cut_reals(cutter, texts, width);
	}
	run->vector_slopes[0] = cut_reals(cutter, texts, widest);
	run->vector_slopes[1] = cut_reals(cutter, texts, widest);
}

/* All buffers of the batch with so many tapes kept; the bytes they take. */
static size_t
cut_batch(BrTrainRun *run, int n_kept, char *base)
{
	const BrModelShape *shape = run->shape;
	size_t tokens = (size_t) run->tokens;
	size_t n_tapes = (size_t) n_kept + (n_kept < shape->layers);
	BatchCutter cutter = {.base = base};

	run->n_kept = n_kept;
	run->tapes = cut_bytes(&cutter, n_tapes * sizeof(BrTrainTape));
	run->workers = cut_bytes(&cutter, (size_t) run->n_workers * sizeof(BrTrainWorker));
	for (size_t i = 0; i < n_tapes; i++)
	{
		BrTrainTape tape = cut_tape(&cutter, tokens, run->model);

		if (base != NULL)
			run->tapes[i] = tape;
	}
	for (int i = 0; i < run->n_workers; i++)
	{
		BrTrainWorker worker = cut_worker(&cutter, run);

		if (base != NULL)
			run->workers[i] = worker;
	}
	run->slopes = cut_slopes(&cutter, tokens, run->model);
	run->states = cut_reals(&cutter, tokens * (size_t) (shape->layers + 1), shape->hidden);
	run->embedded = cut_reals(&cutter, tokens, shape->hidden);
	run->embedded_moments = cut_reals(&cutter, tokens, 2);
	if (shape->relative)
		run->relative = cut_reals(&cutter, (size_t) shape->heads, 2 * run->reach - 1);
	run->positions = cut_bytes(&cutter, tokens * sizeof(int32_t));
	cut_vectors(&cutter, run);
	return cutter.used + ALIGNMENT;
}

BrStatus
br_train_plan(BrTrainRun *run, const BrTrainBatch *batch)
{
	BrContext *context = run->context;
	int n_kept = run->shape->layers;
	BrStatus status = br_train_check_batch(context, run->shape, batch);
	size_t size;

	run->pending = false;
	if (status != BR_OK)
		return status;
	run->batch = *batch;
	run->tokens = batch->offsets[batch->texts];
	run->longest = 0;
	for (int i = 0; i < batch->texts; i++)
		if (batch->offsets[i + 1] - batch->offsets[i] > run->longest)
			run->longest = batch->offsets[i + 1] - batch->offsets[i];
	run->reach = run->longest + br_train_prefix_length(run->model);

	size = cut_batch(run, n_kept, NULL);
	while (run->options.memory > 0 && size > run->options.memory && n_kept > 0)
		size = cut_batch(run, --n_kept, NULL);
	if (run->options.memory > 0 && size > run->options.memory)
		return br_base_fail(context, BR_ERR_LIMIT,
							"A batch of %d tokens needs %zu bytes even if every layer is computed twice; %zu are allowed.",
							run->tokens, size, run->options.memory);
	if (size > run->capacity)
	{
		br_base_free(context, run->block);
		run->capacity = 0;
		run->block = br_base_alloc(context, size);
		if (run->block == NULL)
			return BR_ERR_MEMORY;
		run->capacity = size;
	}
	(void) cut_batch(run, n_kept,
					 (char *) run->block + (ALIGNMENT - (uintptr_t) run->block % ALIGNMENT));
	return BR_OK;
}

static bool
is_share(double share)
{
	return share >= 0 && share < 1;
}

BrStatus
br_train_begin(BrContext *context, BrTrainModel *model, const BrTrainOptions *options,
			   BrTrainRun **run)
{
	const BrBackend *backend = options->backend;
	BrTrainRun *begun;
	BrStatus status = BR_OK;

	*run = NULL;
	if (!is_share(options->dropout) || !is_share(options->attention_dropout))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Dropout %g, in attention %g; both must be at least 0 and below 1.",
							options->dropout, options->attention_dropout);
	if (backend == NULL || backend->version != BR_BACKEND_VERSION || backend->multiply == NULL)
		return br_base_fail(context, BR_ERR_UNSUPPORTED, "The backend \"%s\" does not train.",
							backend == NULL ? "" : backend->name);
	begun = br_base_alloc_array(context, 1, sizeof(BrTrainRun));
	if (begun == NULL)
		return BR_ERR_MEMORY;
	begun->context = context;
	begun->model = model;
	begun->shape = &model->shape;
	begun->options = *options;
	begun->backend = backend;
	begun->n_workers = br_base_pool_threads(options->pool);
	begun->drop = (uint32_t) lround(options->dropout * SHARE_UNIT);
	begun->drop_attention = (uint32_t) lround(options->attention_dropout * SHARE_UNIT);
	/* so near to 1 that nothing would be left */
	if (begun->drop == SHARE_UNIT)
		begun->drop--;
	if (begun->drop_attention == SHARE_UNIT)
		begun->drop_attention--;
	if (options->device != NULL)
		status = br_train_device_begin(begun);
	if (status != BR_OK)
	{
		br_train_end(begun);
		return status;
	}
	*run = begun;
	return BR_OK;
}

void
br_train_end(BrTrainRun *run)
{
	if (run == NULL)
		return;
	br_train_device_end(run);
	br_base_free(run->context, run->block);
	br_base_free(run->context, run);
}
