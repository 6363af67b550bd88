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
#define BATCH_SECONDS 30 /* after which the helper is given up */

void
br_pg_dispatch_init(BrPgDispatch *dispatch)
{
	int slots = br_pg_service_shared->slots;
	BrContext context;

	if (!br_pg_helper_init(&dispatch->helper, false))
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg(
					 "could not map memory for the helper process of the embedding service: %m")));
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
	if (reply->status == BR_OK)
	{
		counts->batches++;
		counts->texts += batch->texts;
		counts->tokens += batch->tokens;
		counts->seconds += reply->seconds;
	}
	else
		br_pg_service_note_failure(reply->detail);
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
			br_pg_batch_fail(batch);
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

/* A number of the slot's model that all have which wait for the same one. */
static uint32
number_model(BrPgDispatch *dispatch, int number)
{
	const BrPgSlot *slots = br_pg_service_shared->slot;

	for (int i = 0; i < br_pg_service_shared->slots; i++)
		if (dispatch->places[i] == BR_PG_PLACE_QUEUE &&
			same_model(&slots[i].model, &slots[number].model))
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

	br_pg_context(&context, CurrentMemoryContext);
	dispatch->models[number] = request.model;
	if (br_serve_post(dispatch->queue, &context, &request) == BR_OK)
	{
		dispatch->places[number] = BR_PG_PLACE_QUEUE;
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
		enqueue(dispatch, number);
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
		slot->state = BR_PG_SLOT_COMPUTING;
		dispatch->places[number] = BR_PG_PLACE_LANE;
		br_pg_service_count_wait(&shared->counts, batch->sent - slot->posted);
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
	if (batch->n == 0)
		return true;
	br_pg_batch_fill(batch, dispatch->helper.lanes + lane * BR_EXCHANGE_LANE_BYTES, &request);
	request.lane = lane;
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
		if (dispatch->batches[i].n == 0)
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
		if (!fill_lane(dispatch, lane, is_idle, &wait))
			return wait;
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
		if (dispatch->batches[i].n > 0 && (deadline < 0 || begun < deadline))
			deadline = begun;
	}
	return deadline < 0 ? -1 : deadline + BATCH_SECONDS * INT64CONST(1000000);
}
