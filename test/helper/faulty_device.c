/*
 * faulty_device.c
 *	  A device that computes as the reference does, trains sums of words
 *	  (backend/linear_training.h), and fails as it is told to.
 *
 * It is the embedding service's device where there is none, in tests alone. At
 * each call it reads the file that the environment variable BR_FAULTS names;
 * every line is a fault, and no file is none:
 *
 *		after N			what else stands there begins after N batches of this process
 *		memory N		no memory for more than N texts at a time, or for a second model
 *		device			fails, as a device does that is of no further use
 *		overflow		embeddings are infinite
 *		abort			takes its process with it
 *		hang SECONDS	answers only after so long, whatever happens meanwhile
 *		slow MILLISECONDS	computes for so much longer, and lets itself be cancelled
 *		wrong version	is of another version: at the beginning
 *		none			there is no such device: at the beginning
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "backend/linear_training.h"
#include "backend/reference_transformer.h"

#define EXPORTED __attribute__((visibility("default")))
#define LINE_SIZE 100

struct BrDevice
{
	BrAllocator allocator;
	int models;
	float *centroids;
	int lists;
	int dims;
};

/* The description, and copies of all that it points to. */
struct BrDeviceModel
{
	BrTransformer model;
	int64_t bytes;
	int n_blocks;
	float **blocks;
};

/* ---- faults ---- */

/* Batches of texts that were computed to their end. */
static int batches;

typedef struct Faults
{
	int after;	/* batches */
	int memory; /* texts; -1: any number */
	bool device;
	bool overflow;
	bool abort;
	bool wrong_version;
	bool none;
	double hang; /* seconds */
	double slow;
} Faults;

static Faults
read_faults(void)
{
	const char *path = getenv("BR_FAULTS");
	FILE *file = path != NULL ? fopen(path, "r") : NULL;
	Faults faults = {.memory = -1};
	char line[LINE_SIZE];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
	{
		double number = 0;

		if (sscanf(line, "after %lf", &number) == 1)
			faults.after = (int) number;
		else if (sscanf(line, "memory %lf", &number) == 1)
			faults.memory = (int) number;
		else if (sscanf(line, "hang %lf", &number) == 1)
			faults.hang = number;
		else if (sscanf(line, "slow %lf", &number) == 1)
			faults.slow = number / 1000;
		else if (strncmp(line, "device", 6) == 0)
			faults.device = true;
		else if (strncmp(line, "overflow", 8) == 0)
			faults.overflow = true;
		else if (strncmp(line, "abort", 5) == 0)
			faults.abort = true;
		else if (strncmp(line, "wrong version", 13) == 0)
			faults.wrong_version = true;
		else if (strncmp(line, "none", 4) == 0)
			faults.none = true;
	}
	if (file != NULL)
		fclose(file);
	return batches < faults.after ? (Faults){.memory = -1} : faults;
}

static void
sleep_for(double seconds)
{
	struct timespec left = {.tv_sec = (time_t) seconds};

	left.tv_nsec = (long) ((seconds - (double) left.tv_sec) * 1e9);
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

/* What a call may meet before it computes; faults: what else there is for it. */
static BrStatus
suffer(BrContext *context, Faults *faults)
{
	*faults = read_faults();
	if (faults->abort)
	{
		setrlimit(RLIMIT_CORE, &(struct rlimit){0});
		abort();
	}
	sleep_for(faults->hang);
	for (double slept = 0; slept < faults->slow; slept += 0.005)
	{
		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "The device was cancelled.");
		sleep_for(0.005);
	}
	if (faults->device)
		return br_base_fail(context, BR_ERR_DEVICE, "The device fails as it was told to.");
	return BR_OK;
}

/* ---- the device ---- */

static int
count(BrContext *context)
{
	if (read_faults().none)
	{
		(void) br_base_fail(context, BR_ERR_UNSUPPORTED, "There is no device, as it was told.");
		return 0;
	}
	return 1;
}

static BrStatus
open_device(BrContext *context, int number, BrDevice **device)
{
	Faults faults;
	BrStatus status = suffer(context, &faults);

	*device = NULL;
	if (status != BR_OK)
		return status;
	if (number != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Device %d, there is one.", number);
	*device = br_base_alloc_array(context, 1, sizeof(BrDevice));
	if (*device == NULL)
		return BR_ERR_MEMORY;
	(*device)->allocator = context->allocator;
	return BR_OK;
}

static void
close_device(BrDevice *device)
{
	if (device == NULL)
		return;
	free(device->centroids);
	device->allocator.free(device->allocator.arg, device);
}

static void
tell(BrDevice *device, BrDeviceInfo *info)
{
	memset(info, 0, sizeof(*info));
	strcpy(info->name, "a device that fails");
	strcpy(info->instructions, "double");
	strcpy(info->precision, "f32");
	info->memory = INT64_C(1) << 30;
	info->memory_free = info->memory - ((int64_t) device->models << 20);
}

/* ---- models ---- */

static const float *
keep(BrDeviceModel *loaded, const float *values, size_t n)
{
	float *copy;

	if (values == NULL)
		return NULL;
	copy = malloc(n * sizeof(float));
	loaded->blocks = realloc(loaded->blocks, (size_t) (loaded->n_blocks + 1) * sizeof(float *));
	if (copy == NULL || loaded->blocks == NULL)
		abort();
	memcpy(copy, values, n * sizeof(float));
	loaded->blocks[loaded->n_blocks++] = copy;
	loaded->bytes += (int64_t) (n * sizeof(float));
	return copy;
}

static void
keep_layer(BrDeviceModel *loaded, BrTransformerLayer *layer)
{
	size_t hidden = (size_t) loaded->model.hidden;
	size_t intermediate = (size_t) loaded->model.intermediate;

	layer->qkv_weight = keep(loaded, layer->qkv_weight, 3 * hidden * hidden);
	layer->qkv_bias = keep(loaded, layer->qkv_bias, 3 * hidden);
	layer->output_weight = keep(loaded, layer->output_weight, hidden * hidden);
	layer->output_bias = keep(loaded, layer->output_bias, hidden);
	layer->attention_gain = keep(loaded, layer->attention_gain, hidden);
	layer->attention_bias = keep(loaded, layer->attention_bias, hidden);
	layer->up_weight = keep(loaded, layer->up_weight, intermediate * hidden);
	layer->up_bias = keep(loaded, layer->up_bias, intermediate);
	layer->down_weight = keep(loaded, layer->down_weight, hidden * intermediate);
	layer->down_bias = keep(loaded, layer->down_bias, hidden);
	layer->layer_gain = keep(loaded, layer->layer_gain, hidden);
	layer->layer_bias = keep(loaded, layer->layer_bias, hidden);
}

static void
keep_tables(BrDeviceModel *loaded)
{
	BrTransformer *model = &loaded->model;
	size_t hidden = (size_t) model->hidden;
	size_t distances = 2 * (size_t) model->max_tokens - 1;

	model->word = keep(loaded, model->word, (size_t) model->vocabulary * hidden);
	model->position = keep(loaded, model->position, (size_t) model->positions * hidden);
	model->type_row = keep(loaded, model->type_row, hidden);
	model->gain = keep(loaded, model->gain, hidden);
	model->bias = keep(loaded, model->bias, hidden);
	model->relative = keep(loaded, model->relative, (size_t) model->heads * distances);
}

static BrStatus
load(BrDevice *device, BrContext *context, const BrTransformer *model, BrDeviceModel **loaded)
{
	BrTransformerLayer *layers;
	BrTransformerStep *steps;
	Faults faults;
	BrStatus status = suffer(context, &faults);

	*loaded = NULL;
	if (status != BR_OK)
		return status;
	if (faults.memory >= 0 && device->models > 0)
		return br_base_fail(context, BR_ERR_MEMORY, "The device has memory for one model.");
	*loaded = calloc(1, sizeof(BrDeviceModel));
	layers = calloc((size_t) model->layers, sizeof(*layers));
	steps = calloc((size_t) model->n_steps + 1, sizeof(*steps));
	if (*loaded == NULL || layers == NULL || steps == NULL)
		abort();
	(*loaded)->model = *model;
	keep_tables(*loaded);
	for (int i = 0; i < model->layers; i++)
	{
		layers[i] = model->layer[i];
		keep_layer(*loaded, &layers[i]);
	}
	for (int i = 0; i < model->n_steps; i++)
	{
		size_t size = (size_t) model->steps[i].in_dim * (size_t) model->steps[i].out_dim;

		steps[i] = model->steps[i];
		steps[i].weight = keep(*loaded, steps[i].weight, size);
		steps[i].bias = keep(*loaded, steps[i].bias, (size_t) steps[i].out_dim);
	}
	(*loaded)->model.layer = layers;
	(*loaded)->model.steps = steps;
	device->models++;
	return BR_OK;
}

static void
unload(BrDevice *device, BrDeviceModel *loaded)
{
	if (loaded == NULL)
		return;
	device->models--;
	for (int i = 0; i < loaded->n_blocks; i++)
		free(loaded->blocks[i]);
	free(loaded->blocks);
	free((void *) loaded->model.layer);
	free((void *) loaded->model.steps);
	free(loaded);
}

static int64_t
model_bytes(const BrDeviceModel *loaded)
{
	return loaded->bytes;
}

/* ---- computing ---- */

static BrStatus
embed(BrDevice *device, BrContext *context, BrDeviceModel *loaded, const int32_t *ids,
	  const int32_t *offsets, int texts, float *embeddings)
{
	const BrTransformer *model = &loaded->model;
	Faults faults;
	BrStatus status = suffer(context, &faults);

	(void) device;
	if (status != BR_OK)
		return status;
	if (faults.memory >= 0 && texts > faults.memory)
		return br_base_fail(context, BR_ERR_MEMORY, "The device has memory for %d texts, not %d.",
							faults.memory, texts);
	for (int i = 0; i < texts; i++)
	{
		int n = offsets[i + 1] - offsets[i];

		if (n < 1 || n > model->max_tokens)
			return br_base_fail(context, BR_ERR_ARGUMENT, "Text %d has %d tokens.", i, n);
		for (int32_t j = offsets[i]; j < offsets[i + 1]; j++)
			if (ids[j] < 0 || ids[j] >= model->vocabulary)
				return br_base_fail(context, BR_ERR_ARGUMENT, "Text %d has the id %d.", i, ids[j]);
		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "The device was cancelled.");
		reference_embed(model, ids + offsets[i], n,
						embeddings + (size_t) i * (size_t) model->dimensions);
		if (faults.overflow)
			embeddings[(size_t) i * (size_t) model->dimensions] = INFINITY;
	}
	batches++;
	return BR_OK;
}

static BrStatus
place_centroids(BrDevice *device, BrContext *context, const float *centroids, int lists, int dims)
{
	size_t size = (size_t) lists * (size_t) dims * sizeof(float);
	Faults faults;
	BrStatus status = suffer(context, &faults);
	float *copy;

	if (status != BR_OK)
		return status;
	if (faults.memory >= 0 && lists > faults.memory)
		return br_base_fail(context, BR_ERR_MEMORY, "The device has memory for %d centroids.",
							faults.memory);
	copy = malloc(size);
	if (copy == NULL)
		abort();
	memcpy(copy, centroids, size);
	free(device->centroids);
	device->centroids = copy;
	device->lists = lists;
	device->dims = dims;
	return BR_OK;
}

static BrStatus
assign(BrDevice *device, BrContext *context, const float *vectors, int n, int32_t *nearest,
	   float *distances)
{
	Faults faults;
	BrStatus status = suffer(context, &faults);

	if (status != BR_OK)
		return status;
	if (device->centroids == NULL)
		return br_base_fail(context, BR_ERR_ARGUMENT, "No centroids are placed.");
	for (int i = 0; i < n; i++)
	{
		double distance = 0;

		nearest[i] = reference_nearest(vectors + (size_t) i * (size_t) device->dims,
									   device->centroids, device->lists, device->dims, &distance);
		if (distances != NULL)
			distances[i] = (float) distance;
	}
	return BR_OK;
}

/* The greatest first, by looking for each one anew among those that are not taken. */
static BrStatus
top_k(BrDevice *device, BrContext *context, const float *queries, int n_queries, const float *rows,
	  int n, int dims, int k, int32_t *ids, float *similarities)
{
	Faults faults;
	BrStatus status = suffer(context, &faults);
	double *products = malloc((size_t) n * sizeof(double));

	(void) device;
	if (products == NULL)
		abort();
	for (int query = 0; query < n_queries && status == BR_OK; query++)
	{
		for (int i = 0; i < n; i++)
		{
			products[i] = 0;
			for (int j = 0; j < dims; j++)
				products[i] += (double) queries[(size_t) query * (size_t) dims + (size_t) j] *
					(double) rows[(size_t) i * (size_t) dims + (size_t) j];
		}
		for (int place = 0; place < k; place++)
		{
			int best = -1;

			for (int i = 0; i < n; i++)
			{
				bool taken = false;

				for (int j = 0; j < place; j++)
					taken = taken || ids[query * k + j] == i;
				if (!taken && (best < 0 || products[i] > products[best]))
					best = i;
			}
			ids[query * k + place] = best;
			similarities[query * k + place] = (float) products[best];
		}
	}
	free(products);
	return status;
}

/* ---- training ---- */

static BrStatus
open_training(BrDevice *device, BrContext *context, const BrDeviceTrainable *trainable,
			  BrDeviceTraining **training)
{
	Faults faults;
	BrStatus status = suffer(context, &faults);

	*training = NULL;
	return status == BR_OK ? linear_open(device, context, trainable, training) : status;
}

static BrStatus
embed_batch(BrDevice *device, BrContext *context, BrDeviceTraining *training,
			const BrDeviceBatch *batch, float *embeddings)
{
	Faults faults;
	BrStatus status = suffer(context, &faults);

	if (status == BR_OK && faults.memory >= 0 && batch->texts > faults.memory)
		status = br_base_fail(context, BR_ERR_MEMORY, "The device has memory for %d texts.",
							  faults.memory);
	if (status == BR_OK)
		status = linear_embed(device, context, training, batch, embeddings);
	batches += status == BR_OK;
	return status;
}

static BrStatus
propagate_back(BrDevice *device, BrContext *context, BrDeviceTraining *training, const float *slope)
{
	Faults faults;
	BrStatus status = suffer(context, &faults);

	return status == BR_OK ? linear_back(device, context, training, slope) : status;
}

EXPORTED const BrDeviceTable *br_device_table(void);

EXPORTED const BrDeviceTable *
br_device_table(void)
{
	static BrDeviceTable table = {
		.version = BR_DEVICE_VERSION,
		.name = "faulty",
		.count = count,
		.open = open_device,
		.close = close_device,
		.tell = tell,
		.load = load,
		.unload = unload,
		.model_bytes = model_bytes,
		.embed = embed,
		.place_centroids = place_centroids,
		.assign = assign,
		.top_k = top_k,
		.open_training = open_training,
		.close_training = linear_close,
		.set_parameters = linear_set,
		.embed_batch = embed_batch,
		.propagate_back = propagate_back,
		.take_gradient = linear_take,
	};

	if (read_faults().wrong_version)
		table.version++;
	return &table;
}
