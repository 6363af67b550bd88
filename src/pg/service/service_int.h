/*
 * service_int.h
 *	  What the files of the embedding service share: its shared memory.
 *
 * A slot is a request that one connection makes. Its state says whose it is:
 *
 *		free -> filling -> posted -> computing -> done or failed -> free
 *
 * The connection has it while it is filling, done or failed, and takes it back
 * by itself; the worker has it while it is posted or computing. A connection
 * that no longer waits for what the worker has leaves it abandoned, and the
 * worker frees it. Every change is made under the lock, but what stands in a
 * slot's payload is read and written by who has the slot, without it.
 */
#ifndef BR_SERVICE_INT_H
#define BR_SERVICE_INT_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#include "core/math/br_device.h"
#include "core/serve/br_serve.h"
#include "pg/service/helper.h"
#include "pg/service/service.h"

/* ---- settings.c ---- */

typedef enum BrPgServiceMode
{
	BR_PG_SERVICE_OFF,
	BR_PG_SERVICE_CPU,
	BR_PG_SERVICE_GPU,
	BR_PG_SERVICE_AUTO
} BrPgServiceMode;

extern int br_pg_service_mode;	   /* BrPgServiceMode */
extern char *br_pg_service_device; /* NAME or NAME:NUMBER */
extern int br_pg_service_linger;   /* microseconds */
extern int br_pg_service_memory;   /* MB for models, 0: what the device has */
extern int br_pg_service_slots;
extern int br_pg_service_timeout;	 /* milliseconds */
extern int br_pg_service_build_work; /* 10^9 multiply-adds; -1: no build uses a device */
extern void br_pg_service_define_settings(bool preloading);

/* What a helper computes with, as the settings are now. */
extern void br_pg_service_task(BrPgHelperTask *task);

/* ---- ring.c: what is shared ---- */

#define BR_PG_SERVICE_PAYLOAD (256 * 1024) /* bytes of a slot */

typedef enum BrPgSlotState
{
	BR_PG_SLOT_FREE,
	BR_PG_SLOT_FILLING,
	BR_PG_SLOT_POSTED,
	BR_PG_SLOT_COMPUTING,
	BR_PG_SLOT_DONE,
	BR_PG_SLOT_FAILED,
	BR_PG_SLOT_ABANDONED
} BrPgSlotState;

/* The payload holds offsets (texts + 1), then ids (tokens); afterwards embeddings (texts, dimensions). */
typedef struct BrPgSlot
{
	BrPgSlotState state;
	int pid; /* of the owner */
	Latch *latch;
	Oid database;
	BrPgServiceModel model;
	int texts;
	int tokens;
	int64 posted;  /* br_pg_service_now() */
	int precision; /* class of what was computed */
} BrPgSlot;

typedef enum BrPgServiceState
{
	BR_PG_SERVICE_STOPPED,	 /* the setting says off */
	BR_PG_SERVICE_NO_DEVICE, /* auto, and there is none */
	BR_PG_SERVICE_STARTING,
	BR_PG_SERVICE_READY,
	BR_PG_SERVICE_DOWN
} BrPgServiceState;

#define BR_PG_SERVICE_BUCKETS 64

/* What the worker counts, from its server's start on. */
typedef struct BrPgServiceCounts
{
	int64 batches;
	int64 texts;
	int64 tokens;
	int64 restarts;
	double seconds; /* that were computed */
	int waiting;	/* requests, now */
	int64 waits
		[BR_PG_SERVICE_BUCKETS]; /* requests by how long they waited: half powers of 2 of a microsecond */

	/* of the helper that there is */
	int models;
	int64 model_bytes;
	int64 evicted;
} BrPgServiceCounts;

typedef struct BrPgServiceShared
{
	LWLock *lock;
	ConditionVariable freed; /* a slot, or hope that there will be one */
	int slots;
	int next_free; /* where to look first */

	/* written by the worker */
	BrPgServiceState state;
	Latch *worker; /* NULL: there is none */
	int worker_pid;
	int helper_pid;			/* 0: there is none */
	TimestampTz started_at; /* of the helper */
	BrDeviceInfo device;	/* of the last helper that was ready */
	int precision;			/* class in which a device computes; -1: the class of the weights */
	uint64 failures;		/* of which sessions hear */
	bool failing;			/* since the last one it was not ready again */
	TimestampTz failed_at;
	char failure[BR_DETAIL_SIZE];
	BrPgServiceCounts counts;

	pg_atomic_uint64 fallbacks; /* calls that were computed by their sessions after all */
	BrPgSlot slot[FLEXIBLE_ARRAY_MEMBER];
} BrPgServiceShared;

/* NULL where the library is not preloaded. */
extern BrPgServiceShared *br_pg_service_shared;

/* Asks for shared memory, as hooks, while libraries are preloaded. */
extern void br_pg_ring_request(void);
extern char *br_pg_ring_payload(int slot);

/* Microseconds of a clock that never goes back. */
extern int64 br_pg_service_now(void);

/*
 * All of these take the lock. br_pg_ring_take gives a free slot to this process;
 * -1: there is none now, or the service is not ready.
 */
extern int br_pg_ring_take(void);

/* Hands a filled slot to the worker; false: the service is not ready any more. */
extern bool br_pg_ring_post(int slot);
extern BrPgSlotState br_pg_ring_state(int slot);

/* Lets go of a slot, whatever became of it. */
extern void br_pg_ring_release(int slot);

/* The same of all slots of this process. */
extern void br_pg_ring_release_all(void);

/* With the lock held: frees a slot of which nobody wants to know any more. */
extern void br_pg_ring_free(int slot);

/* ---- status.c: what the view shows ---- */

/* With the lock held: notes what went wrong. */
extern void br_pg_service_note_failure(const char *detail);
extern void br_pg_service_count_wait(BrPgServiceCounts *counts, int64 microseconds);

/* ---- batch.c: between slots and the lanes of the helper ---- */

/* What is in a lane of the helper. */
typedef struct BrPgBatch
{
	int n; /* slots; 0: the lane is not used */
	int *slots;
	int texts;
	int tokens;
	int64 sent; /* br_pg_service_now() */
	BrPgServiceModel model;
} BrPgBatch;

/* Copies the batch's slots, which are computing, into a lane and describes it. */
extern void br_pg_batch_fill(BrPgBatch *batch, char *lane, BrExchangeRequest *request);

/* Gives the slots what the lane holds and wakes their owners; those abandoned become free. */
extern void br_pg_batch_answer(BrPgBatch *batch, const char *lane, int precision);

/* Tells the owners that nothing comes. */
extern void br_pg_batch_fail(BrPgBatch *batch);

/* ---- lent.c: a helper that a session has for itself ---- */

/* Starts one that is lent, as the service's settings are now; false: detail says why. */
extern bool br_pg_lent_start(BrPgHelper *helper);

/*
 * Waits for the next reply, for so many seconds. Raises no error. The reply's
 * status; BR_ERR_DEVICE: none came, with what it was waited for; BR_ERR_CANCELLED:
 * the context says so, and a reply may still come.
 */
extern BrStatus br_pg_lent_receive(BrPgHelper *helper, BrContext *context, int seconds,
								   const char *what, BrExchangeReply *reply);

/* ---- dispatch.c: what waits, and what is computed next ---- */

/* Where a slot is that the worker has. */
typedef enum BrPgPlace
{
	BR_PG_PLACE_NONE,
	BR_PG_PLACE_QUEUE,
	BR_PG_PLACE_LANE
} BrPgPlace;

typedef struct BrPgDispatch
{
	BrPgHelper helper;
	BrServeQueue *queue;
	BrPgBatch batches[BR_EXCHANGE_LANES];
	BrPgPlace *places; /* (slots) */
	uint32 *models; /* (slots) the numbers of their models, which are given anew when none waits */
	uint32 next_model;
	int *taken;			 /* (slots) */
	int largest;		 /* dimensions of an embedding so far */
	int64 heard;		 /* when the helper answered last */
	int helper_failures; /* of the helper, when we looked last */
} BrPgDispatch;

extern void br_pg_dispatch_init(BrPgDispatch *dispatch);

/* Takes what the helper has answered. */
extern void br_pg_dispatch_receive(BrPgDispatch *dispatch);

/* Takes what connections have posted, or tells them that nothing comes while the helper is not ready. */
extern void br_pg_dispatch_collect(BrPgDispatch *dispatch);

/* Sends what is due; microseconds after which more may be, -1: nothing waits for a time. */
extern int64 br_pg_dispatch_send(BrPgDispatch *dispatch);

/* Gives up what the lanes hold, because the helper has gone. */
extern void br_pg_dispatch_drop(BrPgDispatch *dispatch);

/* When a batch that is computed has taken too long, by br_pg_service_now(); -1: none is. */
extern int64 br_pg_dispatch_deadline(const BrPgDispatch *dispatch);

#endif /* BR_SERVICE_INT_H */
