/*
 * batch.c
 *	  Between the slots of connections and the lanes of the helper.
 *
 * A lane holds one run of offsets and one of ids, as if one connection had asked
 * for all; slots hold theirs from 0. That all of it fits into a lane is seen to
 * where batches are formed.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/service/service_int.h"

/* ---- to the helper ---- */

static void
describe_file(const BrPgPackedKey *key, BrExchangeFile *file)
{
	char name[BR_PG_PACKED_NAME];

	if (key->size == 0)
		return;
	br_pg_packed_name(key, name);
	snprintf(file->path, sizeof(file->path), "%s/%s", DataDir, name);
	file->offset = BR_PG_PACKED_HEADER;
	file->size = key->size;
}

static void
describe(const BrPgBatch *batch, BrExchangeRequest *request)
{
	memset(request, 0, sizeof(*request));
	request->kind = BR_EXCHANGE_EMBED;
	request->texts = batch->texts;
	request->tokens = batch->tokens;
	request->dimensions = batch->model.dimensions;
	memcpy(request->hash, batch->model.image.hash, BR_EXCHANGE_HASH);
	describe_file(&batch->model.image, &request->image);
	describe_file(&batch->model.weights, &request->weights);
	request->precision = batch->model.precision;
}

void
br_pg_batch_fill(BrPgBatch *batch, char *lane, BrExchangeRequest *request)
{
	int32 *offsets = (int32 *) lane;
	int32 *ids;
	int32 at = 0;

	batch->texts = 0;
	batch->tokens = 0;
	for (int i = 0; i < batch->n; i++)
		batch->texts += br_pg_service_shared->slot[batch->slots[i]].texts;
	ids = offsets + batch->texts + 1;
	*offsets++ = 0;
	for (int i = 0; i < batch->n; i++)
	{
		const BrPgSlot *slot = &br_pg_service_shared->slot[batch->slots[i]];
		const int32 *own = (const int32 *) br_pg_ring_payload(batch->slots[i]);

		for (int j = 1; j <= slot->texts; j++)
			*offsets++ = at + own[j];
		memcpy(ids + at, own + slot->texts + 1, sizeof(int32) * slot->tokens);
		at += slot->tokens;
	}
	batch->tokens = at;
	describe(batch, request);
}

/* ---- and back ---- */

/* With the lock held: of a slot that was computed, or will not be. */
static void
finish(int number, BrPgSlotState state)
{
	BrPgSlot *slot = &br_pg_service_shared->slot[number];

	if (slot->state == BR_PG_SLOT_ABANDONED)
	{
		br_pg_ring_free(number);
		return;
	}
	slot->state = state;
	if (slot->latch != NULL)
		SetLatch(slot->latch);
}

static void
finish_all(BrPgBatch *batch, BrPgSlotState state)
{
	LWLockAcquire(br_pg_service_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < batch->n; i++)
		finish(batch->slots[i], state);
	LWLockRelease(br_pg_service_shared->lock);
	batch->n = 0;
}

void
br_pg_batch_answer(BrPgBatch *batch, const char *lane, int precision)
{
	for (int i = 0; i < batch->n; i++)
	{
		BrPgSlot *slot = &br_pg_service_shared->slot[batch->slots[i]];
		Size size = sizeof(float) * slot->texts * batch->model.dimensions;

		memcpy(br_pg_ring_payload(batch->slots[i]), lane, size);
		slot->precision = precision;
		lane += size;
	}
	finish_all(batch, BR_PG_SLOT_DONE);
}

void
br_pg_batch_fail(BrPgBatch *batch)
{
	finish_all(batch, BR_PG_SLOT_FAILED);
}
