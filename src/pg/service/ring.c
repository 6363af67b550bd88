/*
 * ring.c
 *	  The shared memory of the embedding service, and whose slots are whose.
 *
 * It is there where the library was preloaded. A crash of any process makes the
 * server begin with new shared memory, so that no slot is ever found in a state
 * that nobody left it in; what processes leave behind that end in any other way,
 * callbacks take back.
 */
#include "postgres.h"

#include <time.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "pg/service/service_int.h"

#define SHARED_NAME "bundle_rec service"

BrPgServiceShared *br_pg_service_shared = NULL;

static char *payloads = NULL; /* (slots, BR_PG_SERVICE_PAYLOAD) */
static shmem_request_hook_type former_request_hook = NULL;
static shmem_startup_hook_type former_startup_hook = NULL;

/* ---- the memory ---- */

static Size
slots_size(void)
{
	return MAXALIGN(offsetof(BrPgServiceShared, slot) + sizeof(BrPgSlot) * br_pg_service_slots);
}

static Size
payloads_size(void)
{
	return (Size) BR_PG_SERVICE_PAYLOAD * br_pg_service_slots;
}

static void
request(void)
{
	if (former_request_hook != NULL)
		former_request_hook();
	RequestAddinShmemSpace(slots_size() + payloads_size());
	RequestNamedLWLockTranche(SHARED_NAME, 1);
}

static void
initialize(BrPgServiceShared *shared)
{
	memset(shared, 0, slots_size());
	shared->lock = &GetNamedLWLockTranche(SHARED_NAME)->lock;
	ConditionVariableInit(&shared->freed);
	shared->slots = br_pg_service_slots;
	shared->state = BR_PG_SERVICE_STOPPED;
	shared->precision = -1;
	pg_atomic_init_u64(&shared->fallbacks, 0);
}

static void
start_up(void)
{
	bool found;

	if (former_startup_hook != NULL)
		former_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	br_pg_service_shared = ShmemInitStruct(SHARED_NAME, slots_size(), &found);
	if (!found)
		initialize(br_pg_service_shared);
	payloads = ShmemInitStruct(SHARED_NAME " payloads", payloads_size(), &found);
	LWLockRelease(AddinShmemInitLock);
}

void
br_pg_ring_request(void)
{
	former_request_hook = shmem_request_hook;
	shmem_request_hook = request;
	former_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_up;
}

char *
br_pg_ring_payload(int slot)
{
	return payloads + (Size) slot * BR_PG_SERVICE_PAYLOAD;
}

int64
br_pg_service_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- slots ---- */

void
br_pg_ring_free(int slot)
{
	BrPgServiceShared *shared = br_pg_service_shared;

	shared->slot[slot].state = BR_PG_SLOT_FREE;
	shared->slot[slot].latch = NULL;
	shared->slot[slot].pid = 0;
	shared->next_free = slot;
	ConditionVariableSignal(&shared->freed);
}

int
br_pg_ring_take(void)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	int taken = -1;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->slots && shared->state == BR_PG_SERVICE_READY && taken < 0; i++)
	{
		int slot = (shared->next_free + i) % shared->slots;

		if (shared->slot[slot].state != BR_PG_SLOT_FREE)
			continue;
		shared->slot[slot].state = BR_PG_SLOT_FILLING;
		shared->slot[slot].pid = MyProcPid;
		shared->slot[slot].latch = MyLatch;
		shared->slot[slot].database = MyDatabaseId;
		shared->next_free = (slot + 1) % shared->slots;
		taken = slot;
	}
	LWLockRelease(shared->lock);
	return taken;
}

bool
br_pg_ring_post(int slot)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	bool is_ready;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	is_ready = shared->state == BR_PG_SERVICE_READY && shared->worker != NULL;
	if (is_ready)
	{
		shared->slot[slot].posted = br_pg_service_now();
		shared->slot[slot].state = BR_PG_SLOT_POSTED;
		SetLatch(shared->worker);
	}
	LWLockRelease(shared->lock);
	return is_ready;
}

BrPgSlotState
br_pg_ring_state(int slot)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	BrPgSlotState state;

	LWLockAcquire(shared->lock, LW_SHARED);
	state = shared->slot[slot].state;
	LWLockRelease(shared->lock);
	return state;
}

/* With the lock held. */
static void
let_go(int slot)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	BrPgSlotState state = shared->slot[slot].state;

	if (state == BR_PG_SLOT_POSTED || state == BR_PG_SLOT_COMPUTING)
	{
		shared->slot[slot].state = BR_PG_SLOT_ABANDONED;
		shared->slot[slot].latch = NULL;
		if (shared->worker != NULL)
			SetLatch(shared->worker);
	}
	else if (state != BR_PG_SLOT_ABANDONED)
		br_pg_ring_free(slot);
}

void
br_pg_ring_release(int slot)
{
	LWLockAcquire(br_pg_service_shared->lock, LW_EXCLUSIVE);
	let_go(slot);
	LWLockRelease(br_pg_service_shared->lock);
}

void
br_pg_ring_release_all(void)
{
	BrPgServiceShared *shared = br_pg_service_shared;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->slots; i++)
		if (shared->slot[i].pid == MyProcPid && shared->slot[i].state != BR_PG_SLOT_FREE)
			let_go(i);
	LWLockRelease(shared->lock);
}
