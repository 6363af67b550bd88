/*
 * requests.c
 *	  Checks a request, has it computed, and fills the reply.
 *
 * Nothing that the service wrote is believed: numbers must fit the lane and one
 * another before anything is read by them. Token ids are copied out of the lane
 * first, because embeddings take their place while they are still read, and so
 * that they are what was checked.
 *
 * Where memory is short, other models go first; if that is not enough, a batch
 * is computed in halves, of halves if need be, down to single texts.
 */
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "helper/helper_int.h"

/* Whether so many things of so many bytes fit into a lane. */
static bool
fits(uint64_t count, uint64_t size)
{
	return count <= BR_EXCHANGE_LANE_BYTES / size;
}

static void *
lane_of(const BrHelper *helper, const BrExchangeRequest *request)
{
	return helper->exchange.lanes + request->lane * BR_EXCHANGE_LANE_BYTES;
}

/* ---- checks ---- */

static BrStatus
refuse(BrHelper *helper, const char *what)
{
	return br_base_fail(&helper->context, BR_ERR_ARGUMENT, "The request is wrong: %s.", what);
}

static bool
file_possible(const BrExchangeFile *file)
{
	uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE);

	return file->path[0] != '\0' && memchr(file->path, '\0', BR_EXCHANGE_PATH) != NULL &&
		file->offset % page == 0 && file->offset <= INT64_MAX && file->size <= INT64_MAX;
}

static BrStatus
check_embed(BrHelper *helper, const BrExchangeRequest *request)
{
	if (request->texts == 0 || request->tokens < request->texts ||
		!fits((uint64_t) request->texts + 1 + request->tokens, sizeof(int32_t)))
		return refuse(helper, "texts and tokens do not fit a lane");
	if (request->dimensions == 0 ||
		!fits((uint64_t) request->texts * request->dimensions, sizeof(float)))
		return refuse(helper, "embeddings do not fit a lane");
	if (request->image.size == 0 || !file_possible(&request->image))
		return refuse(helper, "the place of the image");
	if (request->weights.size > 0 && !file_possible(&request->weights))
		return refuse(helper, "the place of the packed weights");
	if (request->weights.size > 0 && request->precision >= BR_PRECISION_COUNT)
		return refuse(helper, "the precision");
	return BR_OK;
}

/* Vectors that stand in the lane. */
static BrStatus
check_rows(BrHelper *helper, const BrExchangeRequest *request)
{
	const float *values = lane_of(helper, request);
	uint64_t n = (uint64_t) request->rows * request->dims;

	if (request->dims > BR_EXCHANGE_MAX_DIMS ||
		(request->kind == BR_EXCHANGE_CENTROIDS && request->rows > BR_EXCHANGE_MAX_LISTS))
		return refuse(helper, "there are too many centroids or dimensions");
	if (request->rows == 0 || request->dims == 0 || !fits(n, sizeof(float)) ||
		!fits(request->rows, sizeof(int32_t) + sizeof(float)))
		return refuse(helper, "vectors do not fit a lane");
	for (uint64_t i = 0; i < n; i++)
		if (!isfinite(values[i]))
			return br_base_fail(&helper->context, BR_ERR_NUMERIC,
								"Vector %llu has a component that is no finite number.",
								(unsigned long long) (i / request->dims));
	return BR_OK;
}

/* Offsets and ids, once they are out of the service's hands. */
static BrStatus
check_tokens(BrHelper *helper, const BrExchangeRequest *request, const BrHelperModel *model,
			 const int32_t *offsets, const int32_t *ids)
{
	uint32_t texts = request->texts;

	if (offsets[0] != 0 || offsets[texts] != (int32_t) request->tokens)
		return refuse(helper, "offsets do not begin at 0 and end behind the last token");
	for (uint32_t i = 0; i < texts; i++)
	{
		int64_t length = (int64_t) offsets[i + 1] - offsets[i];

		if (length < 1 || length > model->max_tokens)
			return br_base_fail(&helper->context, BR_ERR_ARGUMENT,
								"Text %u has %lld tokens; the model takes 1 to %d.", i,
								(long long) length, model->max_tokens);
	}
	for (uint32_t i = 0; i < request->tokens; i++)
		if (ids[i] < 0 || ids[i] >= model->vocabulary)
			return br_base_fail(&helper->context, BR_ERR_ARGUMENT,
								"Token %u has the id %d; the model has 0 to %d.", i, ids[i],
								model->vocabulary - 1);
	return BR_OK;
}

/* ---- embedding ---- */

typedef struct Batch
{
	BrHelper *helper;
	BrHelperModel *model;
	const int32_t *ids;
	const int32_t *offsets; /* of the whole request */
	int32_t *own;			/* room for offsets of a part, from 0 */
	float *embeddings;
} Batch;

static BrStatus
embed_part(const Batch *batch, int first, int texts)
{
	BrHelper *helper = batch->helper;
	size_t dimensions = (size_t) batch->model->dimensions;

	for (int i = 0; i <= texts; i++)
		batch->own[i] = batch->offsets[first + i] - batch->offsets[first];
	return helper->compute.embed(&helper->compute, &helper->context, batch->model,
								 batch->ids + batch->offsets[first], batch->own, texts,
								 batch->embeddings + (size_t) first * dimensions);
}

static BrStatus
embed_halves(const Batch *batch, int first, int texts)
{
	int half = texts / 2;
	BrStatus status = embed_part(batch, first, half > 0 ? half : texts);

	if (status == BR_ERR_MEMORY && half > 0)
		status = embed_halves(batch, first, half);
	if (status == BR_OK && half > 0)
	{
		status = embed_part(batch, first + half, texts - half);
		if (status == BR_ERR_MEMORY && texts - half > 1)
			status = embed_halves(batch, first + half, texts - half);
	}
	return status;
}

static BrStatus
embed_all(const Batch *batch, int texts)
{
	BrStatus status = embed_part(batch, 0, texts);

	if (status == BR_ERR_MEMORY && br_helper_models_make_room(&batch->helper->models, batch->model))
		status = embed_part(batch, 0, texts);
	if (status == BR_ERR_MEMORY && texts > 1)
		status = embed_halves(batch, 0, texts);
	return status;
}

/* Half precision overflows where single precision does not: whoever asked may compute it better. */
static BrStatus
check_embeddings(const Batch *batch, int texts)
{
	size_t dimensions = (size_t) batch->model->dimensions;

	for (size_t i = 0; i < (size_t) texts * dimensions; i++)
		if (!isfinite(batch->embeddings[i]))
			return br_base_fail(&batch->helper->context, BR_ERR_NUMERIC,
								"The embedding of text %zu has a component that is no finite "
								"number.",
								i / dimensions);
	return BR_OK;
}

static BrStatus
embed_copied(BrHelper *helper, const BrExchangeRequest *request, BrHelperModel *model,
			 int32_t *copy)
{
	Batch batch = {.helper = helper,
				   .model = model,
				   .offsets = copy,
				   .ids = copy + request->texts + 1,
				   .own = copy + request->texts + 1 + request->tokens,
				   .embeddings = lane_of(helper, request)};
	BrStatus status;

	memcpy(copy, lane_of(helper, request),
		   ((size_t) request->texts + 1 + request->tokens) * sizeof(int32_t));
	status = check_tokens(helper, request, model, batch.offsets, batch.ids);
	if (status == BR_OK)
		status = embed_all(&batch, (int) request->texts);
	if (status == BR_OK)
		status = check_embeddings(&batch, (int) request->texts);
	return status;
}

static BrStatus
answer_embed(BrHelper *helper, const BrExchangeRequest *request, BrHelperModel **model)
{
	BrStatus status = check_embed(helper, request);
	int32_t *copy;

	if (status == BR_OK)
		status = br_helper_models_get(&helper->models, request, model);
	if (status != BR_OK)
		return status;
	if ((uint32_t) (*model)->dimensions != request->dimensions)
		return br_base_fail(&helper->context, BR_ERR_ARGUMENT,
							"The model has %d dimensions, not %u.", (*model)->dimensions,
							request->dimensions);
	copy =
		br_base_alloc_array(&helper->context, 2 * ((size_t) request->texts + 1) + request->tokens,
							sizeof(int32_t));
	if (copy == NULL)
		return BR_ERR_MEMORY;
	status = embed_copied(helper, request, *model, copy);
	br_base_free(&helper->context, copy);
	return status;
}

/* ---- centroids ---- */

static BrStatus
answer_centroids(BrHelper *helper, const BrExchangeRequest *request)
{
	BrHelperCompute *compute = &helper->compute;
	const float *centroids = lane_of(helper, request);
	BrStatus status = check_rows(helper, request);

	/* whatever happens, those of before do not pass for these */
	compute->lists = 0;
	compute->dims = 0;
	if (status != BR_OK)
		return status;
	status = compute->place_centroids(compute, &helper->context, centroids, (int) request->rows,
									  (int) request->dims);
	if (status == BR_ERR_MEMORY && br_helper_models_make_room(&helper->models, NULL))
		status = compute->place_centroids(compute, &helper->context, centroids, (int) request->rows,
										  (int) request->dims);
	if (status == BR_OK)
	{
		compute->lists = (int) request->rows;
		compute->dims = (int) request->dims;
	}
	return status;
}

static BrStatus
assign_copied(BrHelper *helper, const BrExchangeRequest *request, int32_t *nearest)
{
	BrHelperCompute *compute = &helper->compute;
	size_t n = request->rows;
	float *distances = (float *) (nearest + n);
	const float *vectors = lane_of(helper, request);
	BrStatus status =
		compute->assign(compute, &helper->context, vectors, (int) n, nearest, distances);

	if (status == BR_ERR_MEMORY && br_helper_models_make_room(&helper->models, NULL))
		status = compute->assign(compute, &helper->context, vectors, (int) n, nearest, distances);
	if (status == BR_OK)
		memcpy(lane_of(helper, request), nearest, n * (sizeof(int32_t) + sizeof(float)));
	return status;
}

static BrStatus
answer_assign(BrHelper *helper, const BrExchangeRequest *request)
{
	BrStatus status = check_rows(helper, request);
	int32_t *nearest;

	if (status != BR_OK)
		return status;
	if (helper->compute.lists == 0 || (uint32_t) helper->compute.dims != request->dims)
		return br_base_fail(&helper->context, BR_ERR_ARGUMENT,
							"No centroids of %u dimensions are placed.", request->dims);
	nearest = br_base_alloc_array(&helper->context, request->rows, sizeof(int32_t) + sizeof(float));
	if (nearest == NULL)
		return BR_ERR_MEMORY;
	status = assign_copied(helper, request, nearest);
	br_base_free(&helper->context, nearest);
	return status;
}

/* ---- training ---- */

static BrStatus
answer_train(BrHelper *helper, const BrExchangeRequest *request)
{
	BrServeTrainer *trainer = &helper->trainer;
	const BrDeviceTable *table = helper->compute.table;
	BrStatus status;

	if (table == NULL || table->open_training == NULL)
		return br_base_fail(&helper->context, BR_ERR_UNSUPPORTED,
							"What computes here does not train.");
	if (trainer->device == NULL)
		br_serve_trainer_init(trainer, &helper->context, table, helper->compute.device);
	status = br_serve_trainer_answer(trainer, &request->training, lane_of(helper, request),
									 BR_EXCHANGE_LANE_BYTES);
	/* of the way back the batch would be gone */
	if (status == BR_ERR_MEMORY && request->training.kind != BR_SERVE_BACK &&
		br_helper_models_make_room(&helper->models, NULL))
		status = br_serve_trainer_answer(trainer, &request->training, lane_of(helper, request),
										 BR_EXCHANGE_LANE_BYTES);
	return status;
}

/* ---- replies ---- */

static double
seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

void
br_helper_fill_reply(BrHelper *helper, BrExchangeReplyKind kind, BrStatus status,
					 const BrHelperModel *model, BrExchangeReply *reply)
{
	memset(reply, 0, sizeof(*reply));
	reply->version = BR_EXCHANGE_VERSION;
	reply->kind = kind;
	reply->status = status;
	reply->models = helper->models.n;
	reply->evicted = helper->models.evicted;
	reply->model_bytes = helper->models.bytes;
	if (status != BR_OK)
		memcpy(reply->detail, helper->context.detail, BR_DETAIL_SIZE);
	/* one that has failed may not answer any more */
	if (kind != BR_EXCHANGE_FAILED)
		helper->compute.tell(&helper->compute, model, &reply->device);
}

void
br_helper_answer(BrHelper *helper, const BrExchangeRequest *request, BrExchangeReply *reply)
{
	BrHelperModel *model = NULL;
	double begin = seconds_now();
	BrStatus status;

	helper->context.detail[0] = '\0';
	if (request->version != BR_EXCHANGE_VERSION)
		status = refuse(helper, "it is of another version");
	else if (request->lane >= BR_EXCHANGE_LANES)
		status = refuse(helper, "there is no such lane");
	else
		switch (request->kind)
		{
			case BR_EXCHANGE_EMBED:
				status = answer_embed(helper, request, &model);
				break;
			case BR_EXCHANGE_CENTROIDS:
				status = answer_centroids(helper, request);
				break;
			case BR_EXCHANGE_ASSIGN:
				status = answer_assign(helper, request);
				break;
			case BR_EXCHANGE_TRAIN:
				status = answer_train(helper, request);
				break;
			default:
				status = refuse(helper, "its kind");
				break;
		}
	br_helper_fill_reply(helper, status == BR_ERR_DEVICE ? BR_EXCHANGE_FAILED : BR_EXCHANGE_DONE,
						 status, model, reply);
	reply->lane = request->lane;
	reply->number = request->number;
	reply->seconds = seconds_now() - begin;
}
