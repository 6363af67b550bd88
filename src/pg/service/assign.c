/*
 * assign.c
 *	  Has the service's device assign vectors to lists, for those who build indexes.
 *
 * Centroids go to the worker in parts, and from there to the device as a whole;
 * vectors follow, a slot full at a time. One process does this at a time, because
 * the device keeps the centroids of one: another one that comes meanwhile uses its
 * own processor, as does whoever has little to assign.
 *
 * This is called from inside of core, which an error must not jump out of:
 * interrupts are held, and a cancel is told by the status.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg/service/service_int.h"

/* products for which a processor takes longer than the way to the device and back */
#define LEAST_PRODUCTS 3e7
#define MOST_SLOTS 4
#define PAYLOAD_FLOATS (BR_PG_SERVICE_PAYLOAD / (int) sizeof(float))
#define SLOT_POLL_MS 5

/* Rows that are in a slot. */
typedef struct Piece
{
	int slot;
	int first;
	int n;
} Piece;

typedef struct Assignment
{
	uint64 number;
	const float *vectors; /* (n, dims) */
	int n;
	int dims;
	const float *centroids; /* (lists, dims) */
	int lists;
	int32 *nearest;
	float *distances;
	int posted; /* rows */
	Piece pieces[MOST_SLOTS];
	int n_pieces;
	int most_pieces;
} Assignment;

/* A slot; there may be none for a while. */
static BrPgOutcome
take_slot(int *slot)
{
	TimestampTz deadline = br_pg_client_deadline();

	while ((*slot = br_pg_ring_take()) < 0)
	{
		if (br_pg_service_precision() < 0)
			return BR_PG_IS_NOT_READY;
		if (GetCurrentTimestamp() >= deadline)
			return BR_PG_TIMES_OUT;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, SLOT_POLL_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		if (QueryCancelPending || ProcDiePending)
			return BR_PG_IS_CANCELLED;
	}
	return BR_PG_WORKS;
}

static void
describe(const Assignment *assignment, BrExchangeKind kind, BrPgSlot *slot)
{
	slot->kind = kind;
	slot->assignment = assignment->number;
	slot->lists = assignment->lists;
	slot->dims = assignment->dims;
}

/* ---- centroids ---- */

static BrPgOutcome
post_centroids(const Assignment *assignment, int slot, int first, int n)
{
	BrPgSlot *shared = &br_pg_service_shared->slot[slot];

	describe(assignment, BR_EXCHANGE_CENTROIDS, shared);
	shared->first = first;
	shared->floats = n;
	memcpy(br_pg_ring_payload(slot), assignment->centroids + first, sizeof(float) * n);
	return br_pg_ring_post(slot) ? br_pg_client_await(slot, br_pg_client_deadline())
								 : BR_PG_IS_NOT_READY;
}

static BrPgOutcome
give_centroids(const Assignment *assignment)
{
	int all = assignment->lists * assignment->dims;
	BrPgOutcome outcome = BR_PG_WORKS;

	for (int first = 0; first < all && outcome == BR_PG_WORKS; first += PAYLOAD_FLOATS)
	{
		int slot;

		outcome = take_slot(&slot);
		if (outcome != BR_PG_WORKS)
			break;
		outcome = post_centroids(assignment, slot, first, Min(PAYLOAD_FLOATS, all - first));
		br_pg_ring_release(slot);
	}
	return outcome;
}

/* ---- vectors ---- */

static BrPgOutcome
post_piece(Assignment *assignment, int slot)
{
	int fitting = PAYLOAD_FLOATS / Max(assignment->dims, 2);
	Piece piece = {slot, assignment->posted, Min(fitting, assignment->n - assignment->posted)};
	BrPgSlot *shared = &br_pg_service_shared->slot[slot];

	assignment->pieces[assignment->n_pieces++] = piece;
	assignment->posted += piece.n;
	describe(assignment, BR_EXCHANGE_ASSIGN, shared);
	shared->rows = piece.n;
	memcpy(br_pg_ring_payload(slot), assignment->vectors + (Size) piece.first * assignment->dims,
		   sizeof(float) * piece.n * assignment->dims);
	return br_pg_ring_post(slot) ? BR_PG_WORKS : BR_PG_IS_NOT_READY;
}

static BrPgOutcome
post_pieces(Assignment *assignment)
{
	BrPgOutcome outcome = BR_PG_WORKS;

	while (outcome == BR_PG_WORKS && assignment->posted < assignment->n &&
		   assignment->n_pieces < assignment->most_pieces)
	{
		int slot = br_pg_ring_take();

		if (slot < 0 && assignment->n_pieces > 0)
			break;
		if (slot < 0)
			outcome = take_slot(&slot);
		if (outcome == BR_PG_WORKS)
			outcome = post_piece(assignment, slot);
	}
	return outcome;
}

/* What a device says is used as an index: it must be one. */
static bool
is_possible(const int32 *nearest, const float *distances, int n, int lists)
{
	for (int i = 0; i < n; i++)
		if (nearest[i] < 0 || nearest[i] >= lists || !isfinite(distances[i]) || distances[i] < 0)
			return false;
	return true;
}

static BrPgOutcome
take_piece(Assignment *assignment)
{
	const Piece *piece = &assignment->pieces[0];
	const int32 *nearest = (const int32 *) br_pg_ring_payload(piece->slot);
	const float *distances = (const float *) (nearest + piece->n);
	BrPgOutcome outcome = br_pg_client_await(piece->slot, br_pg_client_deadline());

	if (outcome != BR_PG_WORKS)
		return outcome;
	if (!is_possible(nearest, distances, piece->n, assignment->lists))
		return BR_PG_FAILS;
	memcpy(assignment->nearest + piece->first, nearest, sizeof(int32) * piece->n);
	if (assignment->distances != NULL)
		memcpy(assignment->distances + piece->first, distances, sizeof(float) * piece->n);
	br_pg_ring_release(piece->slot);
	memmove(&assignment->pieces[0], &assignment->pieces[1], sizeof(Piece) * --assignment->n_pieces);
	return BR_PG_WORKS;
}

static BrPgOutcome
assign_vectors(Assignment *assignment)
{
	BrPgOutcome outcome = give_centroids(assignment);

	while (outcome == BR_PG_WORKS &&
		   (assignment->posted < assignment->n || assignment->n_pieces > 0))
	{
		outcome = post_pieces(assignment);
		if (outcome == BR_PG_WORKS)
			outcome = take_piece(assignment);
	}
	while (assignment->n_pieces > 0)
		br_pg_ring_release(assignment->pieces[--assignment->n_pieces].slot);
	return outcome;
}

/* ---- the door ---- */

/* Whether a device is there, and it is worth the way to it. */
static bool
is_worth(int n, int dims, int lists)
{
	return br_pg_service_precision() >= 0 && dims <= BR_EXCHANGE_MAX_DIMS &&
		lists <= BR_EXCHANGE_MAX_LISTS &&
		(double) lists * dims * sizeof(float) <= (double) BR_EXCHANGE_LANE_BYTES &&
		(double) n * lists * dims >= LEAST_PRODUCTS;
}

BrStatus
br_pg_service_assign(const float *vectors, int n, int dims, const float *centroids, int lists,
					 int32 *nearest, float *distances)
{
	Assignment assignment = {.vectors = vectors,
							 .n = n,
							 .dims = dims,
							 .centroids = centroids,
							 .lists = lists,
							 .nearest = nearest,
							 .distances = distances};
	BrPgOutcome outcome;

	if (!is_worth(n, dims, lists))
		return BR_ERR_UNSUPPORTED;
	br_pg_client_register();
	assignment.number = br_pg_ring_claim_device();
	if (assignment.number == 0)
		return BR_ERR_UNSUPPORTED;
	assignment.most_pieces = Min(MOST_SLOTS, br_pg_client_most_slots());
	HOLD_INTERRUPTS();
	outcome = assign_vectors(&assignment);
	br_pg_ring_give_device_back();
	if (outcome == BR_PG_IS_CANCELLED)
	{
		RESUME_INTERRUPTS();
		return BR_ERR_CANCELLED;
	}
	if (outcome != BR_PG_WORKS)
		br_pg_client_fall_back(outcome);
	RESUME_INTERRUPTS();
	return outcome == BR_PG_WORKS ? BR_OK : BR_ERR_UNSUPPORTED;
}
