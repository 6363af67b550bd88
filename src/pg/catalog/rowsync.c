/*
 * rowsync.c
 *	  The difference between the rows of a source and those that were stored of
 *	  it, for rows that have no key of their own.
 *
 * Both sides are multisets. Each is reduced to the sum of its rows' hashes in a
 * fixed number of buckets; where all sums agree, and that takes one pass,
 * nothing changed. The rows of buckets that disagree, and those alone, are read
 * again and sorted by their hash, on disk where they are many; what one side has
 * more of is handed on with its sign.
 */
#include "postgres.h"

#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/catalog/rowsync.h"

const char br_pg_row_skipped[] = "";

#define BUCKETS (1 << 18)

/* 128 bits: among ten billion rows two are taken for one another with odds of 10^-19 */
typedef struct RowHash
{
	uint64 high;
	uint64 low;
} RowHash;

struct BrPgRowBucket
{
	uint64 high;
	uint64 low;
	int64 rows;
};

/* a row in the sort; the order is by the first two */
enum
{
	HIGH,
	LOW,
	WEIGHT,
	TEXTS,
	QUANTITY = TEXTS + 5,
	PRICE,
	TIME,
	SORT_COLUMNS
};

/* ---- hashing ---- */

static void
append_text(StringInfo bytes, const char *text)
{
	/* no text holds a zero byte, and NULL is no text */
	if (text != NULL)
		appendStringInfoString(bytes, text);
	appendStringInfoChar(bytes, text != NULL ? '\0' : '\1');
	appendStringInfoChar(bytes, '\0');
}

static RowHash
hash_event(BrPgRowSync *sync, const BrPgEvent *event)
{
	StringInfo bytes = &sync->bytes;
	double price = event->has_price ? event->price : -1;
	RowHash hash;

	resetStringInfo(bytes);
	append_text(bytes, event->user_id);
	append_text(bytes, event->item_id);
	append_text(bytes, event->bundle_id);
	append_text(bytes, event->basket_id);
	append_text(bytes, event->kind);
	appendBinaryStringInfo(bytes, (const char *) &event->quantity, sizeof(double));
	appendBinaryStringInfo(bytes, (const char *) &price, sizeof(double));
	if (sync->has_time)
		appendBinaryStringInfo(bytes, (const char *) &event->occurred_at, sizeof(TimestampTz));
	hash.high = hash_bytes_extended((const unsigned char *) bytes->data, bytes->len, 0);
	hash.low = hash_bytes_extended((const unsigned char *) bytes->data, bytes->len,
								   UINT64CONST(0x9E3779B97F4A7C15));
	return hash;
}

/* ---- the two passes ---- */

static void
put_text(TupleTableSlot *slot, int column, const char *text)
{
	slot->tts_isnull[column] = text == NULL;
	slot->tts_values[column] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static void
put_sorted(BrPgRowSync *sync, const RowHash *hash, const BrPgEvent *event, int weight)
{
	TupleTableSlot *slot = sync->slot;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, sizeof(bool) * SORT_COLUMNS);
	slot->tts_values[HIGH] = Int64GetDatum((int64) hash->high);
	slot->tts_values[LOW] = Int64GetDatum((int64) hash->low);
	slot->tts_values[WEIGHT] = Int16GetDatum(weight);
	put_text(slot, TEXTS, event->user_id);
	put_text(slot, TEXTS + 1, event->item_id);
	put_text(slot, TEXTS + 2, event->bundle_id);
	put_text(slot, TEXTS + 3, event->basket_id);
	put_text(slot, TEXTS + 4, event->kind);
	slot->tts_values[QUANTITY] = Float8GetDatum(event->quantity);
	slot->tts_values[PRICE] = Float8GetDatum(event->price);
	slot->tts_isnull[PRICE] = !event->has_price;
	slot->tts_values[TIME] = TimestampTzGetDatum(event->occurred_at);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(sync->sort, slot);
}

void
br_pg_rowsync_take(BrPgRowSync *sync, const BrPgEvent *event, int weight)
{
	RowHash hash = hash_event(sync, event);
	struct BrPgRowBucket *bucket = &sync->buckets[hash.low % BUCKETS];

	if (sync->sort == NULL)
	{
		bucket->high += hash.high * (uint64) (int64) weight;
		bucket->low += hash.low * (uint64) (int64) weight;
		bucket->rows += weight;
	}
	else if (bucket->high != 0 || bucket->low != 0 || bucket->rows != 0)
		put_sorted(sync, &hash, event, weight);
}

static void
add_row(BrPgFeed *feed, TupleTableSlot *slot, BrPgDifference difference)
{
	BrPgRowSync *sync = (BrPgRowSync *) feed;
	MemoryContext old = MemoryContextSwitchTo(sync->memory);
	BrPgEvent row;
	const char *fault = sync->read(sync->target, slot, &row);

	if (fault == NULL)
		br_pg_rowsync_take(sync, &row, 1);
	else if (fault != br_pg_row_skipped && sync->sort == NULL)
		sync->reject(sync->target, &row, fault);
	MemoryContextSwitchTo(old);
	MemoryContextReset(sync->memory);
}

static void
scan_both(BrPgRowSync *sync)
{
	br_pg_source_scan(&sync->feed);
	sync->scan_stored(sync);
}

static bool
all_agree(const BrPgRowSync *sync)
{
	for (int i = 0; i < BUCKETS; i++)
		if (sync->buckets[i].high != 0 || sync->buckets[i].low != 0 || sync->buckets[i].rows != 0)
			return false;
	return true;
}

/* ---- what differs ---- */

static TupleDesc
sort_descriptor(void)
{
	static const Oid types[SORT_COLUMNS] = {INT8OID,   INT8OID,	  INT2OID,		 TEXTOID,
											TEXTOID,   TEXTOID,	  TEXTOID,		 TEXTOID,
											FLOAT8OID, FLOAT8OID, TIMESTAMPTZOID};
	TupleDesc descriptor = CreateTemplateTupleDesc(SORT_COLUMNS);

	for (int i = 0; i < SORT_COLUMNS; i++)
		TupleDescInitEntry(descriptor, i + 1, NULL, types[i], -1, 0);
	return descriptor;
}

static const char *
sorted_text(TupleTableSlot *slot, int column)
{
	bool is_null;
	Datum value = slot_getattr(slot, column + 1, &is_null);

	return is_null ? NULL : TextDatumGetCString(value);
}

/* hands on the row that stands in the slot as often as the source has it more, or less */
static void
put_difference(BrPgRowSync *sync, TupleTableSlot *slot, int64 more)
{
	MemoryContext old = MemoryContextSwitchTo(sync->memory);
	int weight = more > 0 ? 1 : -1;
	BrPgEvent row = {
		.user_id = sorted_text(slot, TEXTS),
		.item_id = sorted_text(slot, TEXTS + 1),
		.bundle_id = sorted_text(slot, TEXTS + 2),
		.basket_id = sorted_text(slot, TEXTS + 3),
		.kind = sorted_text(slot, TEXTS + 4),
	};
	bool is_null;

	row.quantity = DatumGetFloat8(slot_getattr(slot, QUANTITY + 1, &is_null));
	row.price = DatumGetFloat8(slot_getattr(slot, PRICE + 1, &is_null));
	row.has_price = !is_null;
	row.occurred_at = DatumGetTimestampTz(slot_getattr(slot, TIME + 1, &is_null));
	for (int64 i = 0; i < more * weight; i++)
		sync->put(sync->target, &row, weight);
	if (more > 0)
		sync->counts->added += more;
	else
		sync->counts->removed -= more;
	MemoryContextSwitchTo(old);
	MemoryContextReset(sync->memory);
}

/* those of one sign; equal rows stand together in the sort */
static void
put_differences(BrPgRowSync *sync, TupleDesc descriptor, int sign)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsMinimalTuple);
	TupleTableSlot *group = MakeSingleTupleTableSlot(descriptor, &TTSOpsMinimalTuple);
	int64 more = 0;
	bool is_null;

	while (tuplesort_gettupleslot(sync->sort, true, true, slot, NULL))
	{
		bool same = !TTS_EMPTY(group) &&
			slot_getattr(slot, HIGH + 1, &is_null) == slot_getattr(group, HIGH + 1, &is_null) &&
			slot_getattr(slot, LOW + 1, &is_null) == slot_getattr(group, LOW + 1, &is_null);

		CHECK_FOR_INTERRUPTS();
		if (!same && more * sign > 0)
			put_difference(sync, group, more);
		if (!same)
		{
			more = 0;
			ExecCopySlot(group, slot);
		}
		more += DatumGetInt16(slot_getattr(slot, WEIGHT + 1, &is_null));
	}
	if (more * sign > 0)
		put_difference(sync, group, more);
	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(group);
}

static void
sort_and_put(BrPgRowSync *sync)
{
	AttrNumber keys[] = {HIGH + 1, LOW + 1};
	Oid operators[] = {Int8LessOperator, Int8LessOperator};
	Oid collations[] = {InvalidOid, InvalidOid};
	bool nulls_first[] = {false, false};
	TupleDesc descriptor = sort_descriptor();

	sync->slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsVirtual);
	sync->sort = tuplesort_begin_heap(descriptor, 2, keys, operators, collations, nulls_first,
									  maintenance_work_mem, NULL, TUPLESORT_RANDOMACCESS);
	scan_both(sync);
	tuplesort_performsort(sync->sort);
	put_differences(sync, descriptor, -1);
	tuplesort_rescan(sync->sort);
	put_differences(sync, descriptor, 1);
	tuplesort_end(sync->sort);
	ExecDropSingleTupleTableSlot(sync->slot);
}

void
br_pg_rowsync(BrPgRowSync *sync, BrPgSyncCounts *counts)
{
	static const BrPgFeedMethods comparing = {.add = add_row};

	memset(counts, 0, sizeof(*counts));
	sync->counts = counts;
	sync->feed = *sync->target;
	sync->feed.methods = &comparing;
	sync->memory = AllocSetContextCreate(CurrentMemoryContext, "row", ALLOCSET_DEFAULT_SIZES);
	sync->buckets = palloc0(sizeof(struct BrPgRowBucket) * BUCKETS);
	initStringInfo(&sync->bytes);
	scan_both(sync);
	if (!all_agree(sync))
		sort_and_put(sync);
	pfree(sync->buckets);
	MemoryContextDelete(sync->memory);
}
