/*
 * dispatch.c
 *	  What waits, and what is computed next.
 *
 * Slots that connections have posted go into the queue of br_serve.h, which
 * says whose turn it is; what it gives becomes a batch in a lane of the helper.
 * While one lane is computed the other one is filled. What the worker knows of
 * a slot beyond its state, whether it is queued or in a lane, nobody else needs.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/service/service_int.h"

#define BATCH_TOKENS 16384
#define PRODUCTS_OF_A_TOKEN 2e7
#define BATCH_SECONDS 30 /* after which the helper is given up */

void
br_pg_dispatch_init(BrPgDispatch *dispatch)
{
	int slots = br_pg_service_shared->slots;
	BrContext context;

	br_pg_helper_init(&dispatch->helper);
	br_pg_context(&context, TopMemoryContext);
	br_pg_check(br_serve_create(&context, slots, &dispatch->queue), &context,
				"could not make the queue of the embedding service", NULL);
	for (int i = 0; i < BR_EXCHANGE_LANES; i++)
		dispatch->batches[i].slots = MemoryContextAllocZero(TopMemoryContext, sizeof(int) * slots);
	dispatch->places = MemoryContextAllocZero(TopMemoryContext, sizeof(BrPgPlace) * slots);
	dispatch->models = MemoryContextAllocZero(TopMemoryContext, sizeof(uint32) * slots);
	dispatch->taken = MemoryContextAllocZero(TopMemoryContext, sizeof(int) * slots);
	dispatch->largest = 1;
}

static void
set_places(BrPgDispatch *dispatch, const BrPgBatch *batch, BrPgPlace place)
{
	for (int i = 0; i < batch->n; i++)
		dispatch->places[batch->slots[i]] = place;
}

/* ---- answers ---- */

static void
count_answer(const BrPgBatch *batch, const BrExchangeReply *reply)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	BrPgServiceCounts *counts = &shared->counts;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	counts->models = (int) reply->models;
	counts->model_bytes = reply->model_bytes;
	counts->evicted = reply->evicted;
	if (reply->status != BR_OK)
		br_pg_service_note_failure(reply->detail);
	else if (batch->kind == BR_EXCHANGE_ASSIGN)
		counts->vectors += batch->rows;
	else if (batch->kind == BR_EXCHANGE_EMBED)
	{
		counts->batches++;
		counts->texts += batch->texts;
		counts->tokens += batch->tokens;
		counts->seconds += reply->seconds;
	}
	LWLockRelease(shared->lock);
}

/* The class in which a batch was computed. */
static int
class_of(const BrPgBatch *batch)
{
	if (br_pg_service_shared->precision >= 0)
		return br_pg_service_shared->precision;
	return batch->model.weights.size > 0 ? (int) batch->model.precision : (int) BR_PRECISION_F32;
}

void
br_pg_dispatch_receive(BrPgDispatch *dispatch)
{
	BrExchangeReply reply;

	while (br_pg_helper_receive(&dispatch->helper, &reply))
	{
		BrPgBatch *batch = &dispatch->batches[reply.lane];

		dispatch->heard = br_pg_service_now();
		dispatch->helper_failures = dispatch->helper.failures;
		count_answer(batch, &reply);
		set_places(dispatch, batch, BR_PG_PLACE_NONE);
		if (reply.status == BR_OK)
			br_pg_batch_answer(batch, dispatch->helper.lanes + reply.lane * BR_EXCHANGE_LANE_BYTES,
							   class_of(batch));
		else
		{
			if (batch->kind != BR_EXCHANGE_EMBED)
				dispatch->placed = 0;
			br_pg_batch_fail(batch);
		}
	}
}

void
br_pg_dispatch_drop(BrPgDispatch *dispatch)
{
	for (int i = 0; i < BR_EXCHANGE_LANES; i++)
	{
		set_places(dispatch, &dispatch->batches[i], BR_PG_PLACE_NONE);
		br_pg_batch_fail(&dispatch->batches[i]);
	}
	/* the next helper has none, and whoever wants them will give them again */
	dispatch->placed = 0;
	dispatch->gathering = 0;
	dispatch->must_place = false;
}

/* ---- what connections have posted ---- */

static bool
same_model(const BrPgServiceModel *model, const BrPgServiceModel *other)
{
	return memcmp(model->image.hash, other->image.hash, BR_PG_HASH_SIZE) == 0 &&
		model->image.layout == other->image.layout && model->image.size == other->image.size &&
		model->dimensions == other->dimensions && model->weights.size == other->weights.size &&
		(model->weights.size == 0 ||
		 (model->precision == other->precision &&
		  strcmp(model->weights.form, other->weights.form) == 0));
}

/* Whether two slots may be in one batch. */
static bool
go_together(const BrPgSlot *slot, const BrPgSlot *other)
{
	return slot->kind == other->kind &&
		(slot->kind == BR_EXCHANGE_EMBED ? same_model(&slot->model, &other->model)
										 : slot->assignment == other->assignment);
}

/* A number that all have which wait and may be in one batch. */
static uint32
number_model(BrPgDispatch *dispatch, int number)
{
	const BrPgSlot *slots = br_pg_service_shared->slot;

	for (int i = 0; i < br_pg_service_shared->slots; i++)
		if (dispatch->places[i] == BR_PG_PLACE_QUEUE && go_together(&slots[i], &slots[number]))
			return dispatch->models[i];
	return dispatch->next_model++;
}

/* With the lock held. */
static void
enqueue(BrPgDispatch *dispatch, int number)
{
	BrPgSlot *slot = &br_pg_service_shared->slot[number];
	BrServeRequest request = {.slot = number,
							  .database = slot->database,
							  .connection = (uint32) slot->pid,
							  .model = number_model(dispatch, number),
							  .texts = slot->texts,
							  .tokens = slot->tokens,
							  .posted = slot->posted};
	BrContext context;

	if (slot->kind == BR_EXCHANGE_ASSIGN)
	{
		/* as many tokens as would take as long: a model has some ten million weights */
		double products = (double) slot->rows * slot->dims * slot->lists;

		request.texts = 1;
		request.tokens = (int) Max(1, Min(products / PRODUCTS_OF_A_TOKEN, BATCH_TOKENS));
	}

	br_pg_context(&context, CurrentMemoryContext);
	dispatch->models[number] = request.model;
	if (br_serve_post(dispatch->queue, &context, &request) == BR_OK)
	{
		dispatch->places[number] = BR_PG_PLACE_QUEUE;
		if (slot->kind == BR_EXCHANGE_EMBED)
			dispatch->largest = Max(dispatch->largest, slot->model.dimensions);
		return;
	}
	slot->state = BR_PG_SLOT_FAILED;
	SetLatch(slot->latch);
}

/* With the lock held: takes a slot out of the queue, if it is there. */
static void
dequeue(BrPgDispatch *dispatch, int number)
{
	if (dispatch->places[number] == BR_PG_PLACE_QUEUE)
		(void) br_serve_withdraw(dispatch->queue, number);
	dispatch->places[number] = BR_PG_PLACE_NONE;
}

/* With the lock held: takes a part of centroids, and all when they are all there. */
static bool
gather(BrPgDispatch *dispatch, const BrPgSlot *slot, const char *payload)
{
	int64 all = (int64) slot->lists * slot->dims;

	if (dispatch->centroids == NULL)
		dispatch->centroids = MemoryContextAllocExtended(TopMemoryContext, BR_EXCHANGE_LANE_BYTES,
														 MCXT_ALLOC_NO_OOM | MCXT_ALLOC_HUGE);
	if (dispatch->centroids == NULL || slot->first < 0 || slot->floats < 0 ||
		all > (int64) (BR_EXCHANGE_LANE_BYTES / sizeof(float)) ||
		(int64) slot->first + slot->floats > all)
		return false;
	if (dispatch->gathering != slot->assignment)
	{
		dispatch->gathering = slot->assignment;
		dispatch->gathered = 0;
		dispatch->placed = 0;
		dispatch->must_place = false;
		dispatch->lists = slot->lists;
		dispatch->dims = slot->dims;
	}
	memcpy(dispatch->centroids + slot->first, payload, sizeof(float) * slot->floats);
	dispatch->gathered += slot->floats;
	if (dispatch->gathered == all)
	{
		dispatch->placed = slot->assignment;
		dispatch->must_place = true;
	}
	return true;
}

/* With the lock held. */
static void
take_posted(BrPgDispatch *dispatch, int number)
{
	BrPgSlot *slot = &br_pg_service_shared->slot[number];

	if (slot->kind != BR_EXCHANGE_CENTROIDS)
	{
		enqueue(dispatch, number);
		return;
	}
	slot->state =
		gather(dispatch, slot, br_pg_ring_payload(number)) ? BR_PG_SLOT_DONE : BR_PG_SLOT_FAILED;
	SetLatch(slot->latch);
}

/* With the lock held. */
static void
look_at(BrPgDispatch *dispatch, int number, bool is_ready)
{
	BrPgSlot *slot = &br_pg_service_shared->slot[number];

	if (slot->state == BR_PG_SLOT_ABANDONED && dispatch->places[number] != BR_PG_PLACE_LANE)
	{
		dequeue(dispatch, number);
		br_pg_ring_free(number);
	}
	else if (slot->state == BR_PG_SLOT_POSTED && !is_ready)
	{
		dequeue(dispatch, number);
		slot->state = BR_PG_SLOT_FAILED;
		SetLatch(slot->latch);
	}
	else if (slot->state == BR_PG_SLOT_POSTED && dispatch->places[number] == BR_PG_PLACE_NONE)
		take_posted(dispatch, number);
}

void
br_pg_dispatch_collect(BrPgDispatch *dispatch)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	bool is_ready = dispatch->helper.state == BR_PG_HELPER_READY;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->slots; i++)
		look_at(dispatch, i, is_ready);
	shared->counts.waiting = br_serve_waiting(dispatch->queue);
	LWLockRelease(shared->lock);
}

/* ---- batches ---- */

/* Makes a batch of slots that the queue gave, but for those that nobody wants any more. */
static void
form_batch(BrPgDispatch *dispatch, BrPgBatch *batch, int n)
{
	BrPgServiceShared *shared = br_pg_service_shared;

	batch->n = 0;
	batch->sent = br_pg_service_now();
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		int number = dispatch->taken[i];
		BrPgSlot *slot = &shared->slot[number];

		dispatch->places[number] = BR_PG_PLACE_NONE;
		if (slot->state != BR_PG_SLOT_POSTED)
		{
			br_pg_ring_free(number);
			continue;
		}
		if (slot->kind == BR_EXCHANGE_ASSIGN && slot->assignment != dispatch->placed)
		{
			slot->state = BR_PG_SLOT_FAILED;
			SetLatch(slot->latch);
			continue;
		}
		slot->state = BR_PG_SLOT_COMPUTING;
		dispatch->places[number] = BR_PG_PLACE_LANE;
		br_pg_service_count_wait(&shared->counts, batch->sent - slot->posted);
		batch->kind = slot->kind;
		batch->model = slot->model;
		batch->slots[batch->n++] = number;
	}
	shared->counts.waiting = br_serve_waiting(dispatch->queue);
	LWLockRelease(shared->lock);
}

/* Takes the next batch for a lane; false: none is due, and *wait is set. */
static bool
fill_lane(BrPgDispatch *dispatch, int lane, bool is_idle, int64 *wait)
{
	BrServeLimits limits = {.tokens = BATCH_TOKENS,
							.texts = (int) Min(BATCH_TOKENS,
											   BR_EXCHANGE_LANE_BYTES /
												   (sizeof(float) * dispatch->largest)),
							.linger = br_pg_service_linger};
	BrPgBatch *batch = &dispatch->batches[lane];
	BrExchangeRequest request;
	int n = br_serve_take(dispatch->queue, &limits, br_pg_service_now(), is_idle, dispatch->taken,
						  wait);

	if (n == 0)
		return false;
	form_batch(dispatch, batch, n);
	batch->used = batch->n > 0;
	if (!batch->used)
		return true;
	br_pg_batch_fill(batch, dispatch->helper.lanes + lane * BR_EXCHANGE_LANE_BYTES, &request);
	request.lane = lane;
	return br_pg_helper_send(&dispatch->helper, &request);
}

/* Sends all centroids; what is sent afterwards is computed with them. */
static bool
place_centroids(BrPgDispatch *dispatch, int lane)
{
	BrExchangeRequest request = {.kind = BR_EXCHANGE_CENTROIDS,
								 .lane = lane,
								 .rows = dispatch->lists,
								 .dims = dispatch->dims};
	BrPgBatch *batch = &dispatch->batches[lane];

	batch->used = true;
	batch->kind = BR_EXCHANGE_CENTROIDS;
	batch->n = 0;
	batch->sent = br_pg_service_now();
	dispatch->must_place = false;
	memcpy(dispatch->helper.lanes + lane * BR_EXCHANGE_LANE_BYTES, dispatch->centroids,
		   sizeof(float) * dispatch->lists * (Size) dispatch->dims);
	return br_pg_helper_send(&dispatch->helper, &request);
}

/* A lane that is not used, -1: none. */
static int
find_lane(const BrPgDispatch *dispatch, bool *is_idle)
{
	int lane = -1;

	*is_idle = true;
	for (int i = BR_EXCHANGE_LANES - 1; i >= 0; i--)
	{
		if (!dispatch->batches[i].used)
			lane = i;
		else
			*is_idle = false;
	}
	return lane;
}

int64
br_pg_dispatch_send(BrPgDispatch *dispatch)
{
	int64 wait = -1;
	bool is_idle;
	int lane;

	while (dispatch->helper.state == BR_PG_HELPER_READY &&
		   (lane = find_lane(dispatch, &is_idle)) >= 0)
	{
		if (dispatch->must_place ? !place_centroids(dispatch, lane)
								 : !fill_lane(dispatch, lane, is_idle, &wait))
			return wait;
	}
	return -1;
}

int64
br_pg_dispatch_deadline(const BrPgDispatch *dispatch)
{
	int64 deadline = -1;

	for (int i = 0; i < BR_EXCHANGE_LANES; i++)
	{
		int64 begun = Max(dispatch->batches[i].sent, dispatch->heard);

		/* of two that were sent, one waits for the other, and is not late for it */
		if (dispatch->batches[i].used && (deadline < 0 || begun < deadline))
			deadline = begun;
	}
	return deadline < 0 ? -1 : deadline + BATCH_SECONDS * INT64CONST(1000000);
}
