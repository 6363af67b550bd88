/*
 * status.c
 *	  What the view bundle_rec.gpu shows of the service.
 *
 * How long requests waited is counted in buckets whose bounds grow by the root
 * of two: a percentile is then right to a fifth, in a few hundred bytes, however
 * many requests there were.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/service/service_int.h"

void
br_pg_service_note_failure(const char *detail)
{
	BrPgServiceShared *shared = br_pg_service_shared;

	shared->failures++;
	shared->failed_at = GetCurrentTimestamp();
	strlcpy(shared->failure, detail, sizeof(shared->failure));
}

/* ---- waits ---- */

void
br_pg_service_count_wait(BrPgServiceCounts *counts, int64 microseconds)
{
	int bucket = microseconds < 1 ? 0 : (int) (2 * log2((double) microseconds)) + 1;

	counts->waits[Min(bucket, BR_PG_SERVICE_BUCKETS - 1)]++;
}

/* Milliseconds that at least that share of requests did not wait longer than; -1: there were none. */
static double
wait_percentile(const BrPgServiceCounts *counts, double share)
{
	int64 all = 0;
	int64 below = 0;
	int bucket = 0;

	for (int i = 0; i < BR_PG_SERVICE_BUCKETS; i++)
		all += counts->waits[i];
	if (all == 0)
		return -1;
	for (; bucket < BR_PG_SERVICE_BUCKETS - 1; bucket++)
	{
		below += counts->waits[bucket];
		if ((double) below >= share * (double) all)
			break;
	}
	return exp2(bucket / 2.0) / 1000;
}

/* ---- the row ---- */

typedef enum Column
{
	STATE,
	COMPUTE,
	INSTRUCTIONS,
	PRECISION,
	MEMORY,
	MEMORY_FREE,
	MODELS,
	MODEL_BYTES,
	EVICTED,
	WORKER_PID,
	HELPER_PID,
	STARTED_AT,
	BATCHES,
	TEXTS,
	TOKENS,
	TOKENS_PER_SECOND,
	WAITING,
	QUEUE_WAIT_P50,
	QUEUE_WAIT_P99,
	FALLBACKS,
	RESTARTS,
	LAST_ERROR,
	LAST_ERROR_AT,
	N_COLUMNS
} Column;

typedef struct Row
{
	Datum values[N_COLUMNS];
	bool nulls[N_COLUMNS];
} Row;

static void
set(Row *row, Column column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
set_text(Row *row, Column column, const char *text)
{
	if (text[0] != '\0')
		set(row, column, CStringGetTextDatum(text));
}

static void
set_time(Row *row, Column column, TimestampTz time)
{
	if (time != 0)
		set(row, column, TimestampTzGetDatum(time));
}

static void
set_milliseconds(Row *row, Column column, double milliseconds)
{
	if (milliseconds >= 0)
		set(row, column, Float8GetDatum(milliseconds));
}

static const char *
state_name(BrPgServiceState state)
{
	static const char *const names[] = {"off", "no device", "starting", "ready", "down"};

	return names[state];
}

/* What computes, while it does. */
static void
set_device(Row *row, const BrPgServiceShared *shared)
{
	if (shared->state != BR_PG_SERVICE_READY)
		return;
	set_text(row, COMPUTE, shared->device.name);
	set_text(row, INSTRUCTIONS, shared->device.instructions);
	set_text(row, PRECISION, shared->device.precision);
	set(row, MEMORY, Int64GetDatum(shared->device.memory));
	set(row, MEMORY_FREE, Int64GetDatum(shared->device.memory_free));
	set(row, MODELS, Int32GetDatum(shared->counts.models));
	set(row, MODEL_BYTES, Int64GetDatum(shared->counts.model_bytes));
	set(row, EVICTED, Int64GetDatum(shared->counts.evicted));
	set_time(row, STARTED_AT, shared->started_at);
}

static void
set_counts(Row *row, const BrPgServiceCounts *counts)
{
	set(row, BATCHES, Int64GetDatum(counts->batches));
	set(row, TEXTS, Int64GetDatum(counts->texts));
	set(row, TOKENS, Int64GetDatum(counts->tokens));
	if (counts->seconds > 0)
		set(row, TOKENS_PER_SECOND, Float8GetDatum((double) counts->tokens / counts->seconds));
	set(row, WAITING, Int32GetDatum(counts->waiting));
	set_milliseconds(row, QUEUE_WAIT_P50, wait_percentile(counts, 0.5));
	set_milliseconds(row, QUEUE_WAIT_P99, wait_percentile(counts, 0.99));
	set(row, RESTARTS, Int64GetDatum(counts->restarts));
}

/* Of processes, and what their errors may tell of files and devices. */
static void
set_guarded(Row *row, const BrPgServiceShared *shared)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		return;
	if (shared->worker_pid != 0)
		set(row, WORKER_PID, Int32GetDatum(shared->worker_pid));
	if (shared->helper_pid != 0)
		set(row, HELPER_PID, Int32GetDatum(shared->helper_pid));
	set_text(row, LAST_ERROR, shared->failure);
}

HeapTuple
br_pg_service_info(TupleDesc descriptor)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	BrPgServiceShared copy;
	Row row;

	if (shared == NULL)
		return NULL;
	if (descriptor->natts != N_COLUMNS)
		elog(ERROR, "the view gpu has %d columns, not %d", descriptor->natts, N_COLUMNS);
	LWLockAcquire(shared->lock, LW_SHARED);
	copy = *shared;
	LWLockRelease(shared->lock);
	memset(row.nulls, true, sizeof(row.nulls));
	set(&row, STATE, CStringGetTextDatum(state_name(copy.state)));
	set_device(&row, &copy);
	set_counts(&row, &copy.counts);
	set(&row, FALLBACKS, Int64GetDatum((int64) pg_atomic_read_u64(&shared->fallbacks)));
	set_guarded(&row, &copy);
	set_time(&row, LAST_ERROR_AT, copy.failed_at);
	return heap_form_tuple(descriptor, row.values, row.nulls);
}
