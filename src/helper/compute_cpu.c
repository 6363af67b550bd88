/*
 * compute_cpu.c
 *	  The CPU as what computes: the fastest backend that is there, with threads.
 *
 * The libraries behind the backends start threads while they are loaded, unless
 * told otherwise; here threads are the pool's alone, as in the sessions.
 */
#include <dlfcn.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/ann/br_ann.h"
#include "helper/helper_int.h"

/* ---- backends ---- */

/* Signals are blocked meanwhile, so that threads which libraries start take none but the last. */
void *
br_helper_load_symbol(BrContext *context, const BrHelperTask *task, const char *name,
					  const char *symbol)
{
	char path[BR_EXCHANGE_PATH];
	void *object;
	void *found = NULL;
	sigset_t most;
	sigset_t before;

	if (snprintf(path, sizeof(path), "%s/br_backend_%s.so", task->backends, name) >=
		(int) sizeof(path))
	{
		(void) br_base_fail(context, BR_ERR_ARGUMENT, "The backends' directory is too long.");
		return NULL;
	}
	sigfillset(&most);
	sigdelset(&most, SIGTERM);
	pthread_sigmask(SIG_SETMASK, &most, &before);
	object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (object != NULL)
		found = dlsym(object, symbol);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (found == NULL)
	{
		const char *failure = dlerror();

		(void) br_base_fail(context, BR_ERR_UNSUPPORTED, "%s.",
							failure != NULL ? failure : "It exports no table");
	}
	return found;
}

/* From the fastest on; those that are not there, or cannot run here, are passed over. */
static const BrBackend *
choose_backend(BrContext *context, const BrHelperTask *task)
{
	static const char *const by_speed[] = {"onednn", "openblas"};

	setenv("OPENBLAS_NUM_THREADS", "1", 1);
	setenv("OMP_NUM_THREADS", "1", 1);
	setenv("OMP_WAIT_POLICY", "passive", 1);
	for (size_t i = 0; i < sizeof(by_speed) / sizeof(by_speed[0]); i++)
	{
		void *symbol = br_helper_load_symbol(context, task, by_speed[i], BR_BACKEND_SYMBOL);
		BrBackendTable function;
		const BrBackend *backend;

		if (symbol == NULL)
			continue;
		memcpy(&function, &symbol, sizeof(function));
		backend = function();
		if (backend != NULL && backend->version == BR_BACKEND_VERSION)
			return backend;
	}
	return br_math_portable_backend();
}

static int
count_cores(void)
{
	cpu_set_t cores;

	if (sched_getaffinity(0, sizeof(cores), &cores) != 0)
		return BR_POOL_MAX_THREADS;
	return CPU_COUNT(&cores) < BR_POOL_MAX_THREADS ? CPU_COUNT(&cores) : BR_POOL_MAX_THREADS;
}

/* ---- models ---- */

static BrStatus
load(BrHelperCompute *compute, BrContext *context, BrHelperModel *model)
{
	BrStatus status = model->weights.bytes == NULL
		? BR_OK
		: br_encoder_check_packed(model->encoder, context, compute->backend, model->precision,
								  model->weights.bytes, model->weights.size);

	model->bytes = (int64_t) model->image.size + (int64_t) model->weights.size;
	return status;
}

static void
unload(BrHelperCompute *compute, BrHelperModel *model)
{
	(void) compute;
	(void) model;
}

static BrStatus
embed(BrHelperCompute *compute, BrContext *context, BrHelperModel *model, const int32_t *ids,
	  const int32_t *offsets, int texts, float *embeddings)
{
	BrCompute with = {.backend = compute->backend,
					  .packed = model->weights.bytes,
					  .pool = compute->pool};

	return br_encoder_embed_tokens(model->encoder, context, &with, ids, offsets, texts, embeddings);
}

/* ---- centroids ---- */

static BrStatus
place_centroids(BrHelperCompute *compute, BrContext *context, const float *centroids, int lists,
				int dims)
{
	size_t floats = (size_t) lists * (size_t) dims;
	float *copy = br_base_alloc_array(context, floats, sizeof(float));
	float *norms = br_base_alloc_array(context, (size_t) lists, sizeof(float));

	if (copy == NULL || norms == NULL)
	{
		br_base_free(context, copy);
		br_base_free(context, norms);
		return BR_ERR_MEMORY;
	}
	memcpy(copy, centroids, floats * sizeof(float));
	for (size_t i = 0; i < (size_t) lists; i++)
		for (size_t j = 0; j < (size_t) dims; j++)
			norms[i] += copy[i * (size_t) dims + j] * copy[i * (size_t) dims + j];
	br_base_free(context, compute->centroids);
	br_base_free(context, compute->norms);
	compute->centroids = copy;
	compute->norms = norms;
	return BR_OK;
}

static BrStatus
assign(BrHelperCompute *compute, BrContext *context, const float *vectors, int n, int32_t *nearest,
	   float *distances)
{
	size_t dims = (size_t) compute->dims;
	BrStatus status =
		br_ann_assign(context, compute->backend, compute->pool, NULL, vectors, n, compute->dims,
					  compute->centroids, compute->norms, compute->lists, nearest);

	for (size_t i = 0; i < (size_t) n && status == BR_OK; i++)
	{
		const float *centroid = compute->centroids + (size_t) nearest[i] * dims;
		double squares = 0;

		for (size_t j = 0; j < dims; j++)
		{
			double difference = (double) vectors[i * dims + j] - (double) centroid[j];

			squares += difference * difference;
		}
		distances[i] = (float) squares;
	}
	return status;
}

/* ---- the door ---- */

static void
tell(BrHelperCompute *compute, const BrHelperModel *model, BrDeviceInfo *info)
{
	static const char *const precisions[BR_PRECISION_COUNT] = {"f32", "bf16", "int8"};
	int64_t page = sysconf(_SC_PAGESIZE);

	memset(info, 0, sizeof(*info));
	strncpy(info->name, compute->backend->name, sizeof(info->name) - 1);
	strncpy(info->instructions, compute->backend->instruction_set(),
			sizeof(info->instructions) - 1);
	strncpy(info->precision, precisions[model != NULL ? model->precision : BR_PRECISION_F32],
			sizeof(info->precision) - 1);
	info->memory = sysconf(_SC_PHYS_PAGES) * page;
	info->memory_free = sysconf(_SC_AVPHYS_PAGES) * page;
}

BrStatus
br_helper_open_cpu(BrHelperCompute *compute, BrContext *context, const BrHelperTask *task)
{
	int threads = task->threads > 0 ? task->threads : count_cores();

	*compute = (BrHelperCompute){.load = load,
								 .unload = unload,
								 .embed = embed,
								 .place_centroids = place_centroids,
								 .assign = assign,
								 .tell = tell,
								 .backend = choose_backend(context, task)};
	if (threads == 1)
		return BR_OK;
	return br_base_pool_create(context, threads, &compute->pool);
}
