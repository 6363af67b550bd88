/*
 * client.c
 *	  The connection's side: texts go into slots, embeddings come out of them.
 *
 * A call with many texts has a few slots at a time, so that one is computed
 * while another is filled, and never so many that others find none. It is all or
 * nothing: where the service fails in the middle, the caller computes everything
 * itself, and what was computed is of one precision. Whatever way a call ends,
 * its slots are let go of: by PG_CATCH where there is an error, by a callback
 * where the process ends.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg/service/service_int.h"

#define MOST_PIECES 4  /* slots of a call at a time */
#define LARGEST_PART 8 /* of all slots: no call has more than this part */
#define PAYLOAD_WORDS (BR_PG_SERVICE_PAYLOAD / (int) sizeof(int32))

/* Texts that are in a slot. */
typedef struct Piece
{
	int slot;
	int first;
	int n;
} Piece;

typedef enum Outcome
{
	WORKS,
	IS_NOT_READY, /* the service, or not any more */
	FAILS,		  /* it could not compute */
	TIMES_OUT	  /* it has no slot, or no answer */
} Outcome;

typedef struct Call
{
	const BrPgServiceModel *model;
	const int32 *ids;
	const int32 *offsets;
	int n;
	float *embeddings;
	int posted; /* texts that are on their way, or back */
	Piece pieces[MOST_PIECES];
	int n_pieces;
	int most_pieces;
	int precision; /* -1: none yet */
	TimestampTz deadline;
} Call;

/* What this session has warned of. */
static uint64 failures_told = 0;
static bool timeout_told = false;

/* ---- whether ---- */

bool
br_pg_service_wanted(void)
{
	return br_pg_service_shared != NULL && br_pg_service_mode != BR_PG_SERVICE_OFF &&
		br_pg_service_shared->state != BR_PG_SERVICE_NO_DEVICE &&
		br_pg_backend == BR_PG_BACKEND_AUTO && br_pg_precision == BR_PG_PRECISION_AUTO;
}

bool
br_pg_service_wants_weights(void)
{
	return br_pg_service_mode == BR_PG_SERVICE_CPU;
}

int
br_pg_service_precision(void)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	int precision;

	if (!br_pg_service_wanted())
		return -1;
	LWLockAcquire(shared->lock, LW_SHARED);
	precision = shared->state == BR_PG_SERVICE_READY ? shared->precision : -1;
	LWLockRelease(shared->lock);
	return precision;
}

bool
br_pg_service_starts(void)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	BrPgServiceState state;

	if (!br_pg_service_wanted() || br_pg_service_mode == BR_PG_SERVICE_CPU)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	state = shared->state;
	LWLockRelease(shared->lock);
	/* STOPPED is also what is there before the worker says anything */
	return state == BR_PG_SERVICE_STARTING || state == BR_PG_SERVICE_STOPPED;
}

/* ---- telling ---- */

static void
tell_timeout(void)
{
	if (timeout_told)
		return;
	timeout_told = true;
	ereport(WARNING,
			(errmsg("the embedding service did not answer within %d ms: this session computes by "
					"itself",
					br_pg_service_timeout),
			 errhint("Raise bundle_rec.service_timeout where it has much to do; the view "
					 "bundle_rec.gpu shows its state.")));
}

/* Once for each failure; none where the service was told to be off, or is only just starting. */
static void
tell_failure(Outcome outcome)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	char detail[BR_DETAIL_SIZE];
	uint64 failures;
	bool is_failing;

	LWLockAcquire(shared->lock, LW_SHARED);
	failures = shared->failures;
	is_failing = shared->failing;
	strlcpy(detail, shared->failure, sizeof(detail));
	LWLockRelease(shared->lock);
	if (failures == failures_told || (outcome == IS_NOT_READY && !is_failing))
		return;
	failures_told = failures;
	ereport(WARNING,
			(errmsg("the embedding service failed: this session computes by itself"),
			 errdetail("%s", detail),
			 errhint("The service starts again by itself; the view bundle_rec.gpu shows its "
					 "state.")));
}

static void
fall_back(Outcome outcome)
{
	pg_atomic_fetch_add_u64(&br_pg_service_shared->fallbacks, 1);
	if (outcome == TIMES_OUT)
		tell_timeout();
	else
		tell_failure(outcome);
}

/* ---- waiting ---- */

static long
milliseconds_left(const Call *call)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), call->deadline);
}

/* Each time that something comes: the service is at work. */
static void
set_deadline(Call *call)
{
	call->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), br_pg_service_timeout);
}

static bool
is_ready(void)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	bool ready;

	LWLockAcquire(shared->lock, LW_SHARED);
	ready = shared->state == BR_PG_SERVICE_READY;
	LWLockRelease(shared->lock);
	return ready;
}

/* A slot, waited for where the call has none: who has one and waits for another could wait for himself. */
static Outcome
take_slot(Call *call, int *slot)
{
	Outcome outcome = WORKS;

	*slot = br_pg_ring_take();
	if (*slot >= 0 || call->n_pieces > 0)
		return WORKS;
	set_deadline(call);
	ConditionVariablePrepareToSleep(&br_pg_service_shared->freed);
	while ((*slot = br_pg_ring_take()) < 0 && outcome == WORKS)
	{
		long left = milliseconds_left(call);

		if (!is_ready())
			outcome = IS_NOT_READY;
		else if (left <= 0)
			outcome = TIMES_OUT;
		else
			(void) ConditionVariableTimedSleep(&br_pg_service_shared->freed, left,
											   PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return *slot >= 0 ? WORKS : outcome;
}

static Outcome
await(Call *call, int slot)
{
	set_deadline(call);
	for (;;)
	{
		BrPgSlotState state = br_pg_ring_state(slot);
		long left = milliseconds_left(call);

		if (state == BR_PG_SLOT_DONE)
			return WORKS;
		/* where the service is not there any more, it is that of which a failure is told */
		if (state == BR_PG_SLOT_FAILED)
			return is_ready() ? FAILS : IS_NOT_READY;
		if (left <= 0)
			return TIMES_OUT;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---- pieces ---- */

/* How many of the texts from first on fit into a slot, with their embeddings. */
static int
count_fitting(const Call *call, int first)
{
	int most = Min(call->n - first, PAYLOAD_WORDS / call->model->dimensions);
	int n = 0;

	while (n < most && n + 2 + call->offsets[first + n + 1] - call->offsets[first] <= PAYLOAD_WORDS)
		n++;
	return n;
}

static Outcome
post_piece(Call *call, int slot)
{
	Piece piece = {slot, call->posted, count_fitting(call, call->posted)};
	BrPgSlot *shared = &br_pg_service_shared->slot[slot];
	const int32 *offsets = call->offsets + piece.first;
	int32 *payload = (int32 *) br_pg_ring_payload(slot);

	call->pieces[call->n_pieces++] = piece;
	shared->model = *call->model;
	shared->texts = piece.n;
	shared->tokens = offsets[piece.n] - offsets[0];
	for (int i = 0; i <= piece.n; i++)
		payload[i] = offsets[i] - offsets[0];
	memcpy(payload + piece.n + 1, call->ids + offsets[0], sizeof(int32) * shared->tokens);
	call->posted += piece.n;
	return br_pg_ring_post(slot) ? WORKS : IS_NOT_READY;
}

static Outcome
post_pieces(Call *call)
{
	while (call->posted < call->n && call->n_pieces < call->most_pieces)
	{
		int slot;
		Outcome outcome = take_slot(call, &slot);

		if (outcome == WORKS && slot < 0)
			return WORKS;
		if (outcome == WORKS)
			outcome = post_piece(call, slot);
		if (outcome != WORKS)
			return outcome;
	}
	return WORKS;
}

/* Waits for the oldest, and takes what it holds. */
static Outcome
take_piece(Call *call)
{
	const Piece *piece = &call->pieces[0];
	Size dimensions = call->model->dimensions;
	Outcome outcome = await(call, piece->slot);
	int precision;

	if (outcome != WORKS)
		return outcome;
	precision = br_pg_service_shared->slot[piece->slot].precision;
	if (call->precision >= 0 && call->precision != precision)
		return IS_NOT_READY;
	call->precision = precision;
	memcpy(call->embeddings + piece->first * dimensions, br_pg_ring_payload(piece->slot),
		   sizeof(float) * piece->n * dimensions);
	br_pg_ring_release(piece->slot);
	memmove(&call->pieces[0], &call->pieces[1], sizeof(Piece) * --call->n_pieces);
	return WORKS;
}

static void
release_pieces(Call *call)
{
	while (call->n_pieces > 0)
		br_pg_ring_release(call->pieces[--call->n_pieces].slot);
}

/* ---- the call ---- */

static void
release_at_exit(int code, Datum arg)
{
	br_pg_ring_release_all();
}

static void
register_exit(void)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(release_at_exit, (Datum) 0);
	registered = true;
}

static Outcome
do_call(Call *call)
{
	Outcome outcome = WORKS;

	while (outcome == WORKS && (call->posted < call->n || call->n_pieces > 0))
	{
		outcome = post_pieces(call);
		if (outcome == WORKS)
			outcome = take_piece(call);
	}
	return outcome;
}

/* A text too long for a slot is no failure, and no request either. */
static bool
all_fit(const Call *call)
{
	if (call->model->dimensions > PAYLOAD_WORDS)
		return false;
	for (int i = 0; i < call->n; i++)
		if (call->offsets[i + 1] - call->offsets[i] + 2 > PAYLOAD_WORDS)
			return false;
	return true;
}

static Outcome
make_call(Call *call)
{
	volatile Outcome outcome = IS_NOT_READY;

	register_exit();
	PG_TRY();
	{
		if (is_ready())
			outcome = do_call(call);
	}
	PG_FINALLY();
	{
		release_pieces(call);
	}
	PG_END_TRY();
	return outcome;
}

int
br_pg_service_embed(const BrPgServiceModel *model, const int32 *ids, const int32 *offsets, int n,
					float *embeddings)
{
	/* not on the stack, because an error must find it as it is */
	Call *call = palloc0(sizeof(Call));
	Outcome outcome;
	int precision;

	*call = (Call){.model = model,
				   .ids = ids,
				   .offsets = offsets,
				   .n = n,
				   .embeddings = embeddings,
				   .precision = -1};
	call->most_pieces = Max(1, Min(MOST_PIECES, br_pg_service_shared->slots / LARGEST_PART));
	if (n == 0 || !all_fit(call))
	{
		pfree(call);
		return -1;
	}
	outcome = make_call(call);
	precision = call->precision;
	pfree(call);
	if (outcome == WORKS)
		timeout_told = false;
	else
	{
		fall_back(outcome);
		precision = -1;
	}
	return precision;
}
