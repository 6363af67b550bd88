/*
 * catalog_events_sync.c
 *	  The difference between an event source and the log of its events.
 *
 * Rows of events have no id, so both sides are multisets. Each side is reduced
 * to the sum of its rows' hashes in a fixed number of buckets; where all sums
 * agree, and that takes one pass, nothing changed. The rows of buckets that
 * disagree, and those alone, are read again, sorted by their hash on disk where
 * they are many, and what one side has more of is appended with its sign.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"

#include "pg/bulk.h"
#include "pg/catalog_events.h"

#define BUCKETS (1 << 18)

/* 128 bits: among ten billion rows two are taken for one another with odds of 10^-19 */
typedef struct RowHash
{
	uint64 high;
	uint64 low;
} RowHash;

typedef struct Bucket
{
	uint64 high;
	uint64 low;
	int64 rows;
} Bucket;

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

typedef struct EventSync
{
	BrPgFeed feed; /* reads the source for us */
	BrPgEventSource *events;
	BrPgSyncCounts *counts;
	bool has_time; /* the source says when */
	StringInfoData bytes;
	MemoryContext memory; /* of one row */
	Bucket *buckets;	  /* (BUCKETS); source less log */
	Tuplesortstate *sort; /* NULL in the first pass */
	TupleTableSlot *slot;
} EventSync;

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
hash_event(EventSync *sync, const BrPgEvent *event)
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
put_sorted(EventSync *sync, const RowHash *hash, const BrPgEvent *event, int weight)
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

/* a row of the source with weight 1, or of the log with its weight turned round */
static void
take_event(EventSync *sync, const BrPgEvent *event, int weight)
{
	RowHash hash = hash_event(sync, event);
	Bucket *bucket = &sync->buckets[hash.low % BUCKETS];

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
	EventSync *sync = (EventSync *) feed;
	BrPgRejections *rejections = &sync->events->rejections;
	MemoryContext old = MemoryContextSwitchTo(sync->memory);
	BrPgEvent event;
	const char *fault;

	br_pg_events_read(sync->events, slot, &event);
	fault = br_pg_event_fault(&event);
	if (fault == NULL)
		take_event(sync, &event, 1);
	else if (sync->sort == NULL)
		br_pg_reject(rejections, event.item_id != NULL ? event.item_id : event.bundle_id, fault);
	MemoryContextSwitchTo(old);
	MemoryContextReset(sync->memory);
	if (br_pg_rejections_full(rejections))
		sync->events->feed.methods->flush(&sync->events->feed);
}

static const char *
get_text(TupleTableSlot *slot, AttrNumber number)
{
	bool is_null;
	Datum value = slot_getattr(slot, number, &is_null);

	return is_null ? NULL : TextDatumGetCString(value);
}

/* rows of this source in one of the two tables of events */
static void
scan_log(EventSync *sync, const char *table)
{
	Relation log = table_open(br_pg_child(table, sync->events->feed.catalog), AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(log, NULL);
	TableScanDesc scan = table_beginscan(log, snapshot, 0, NULL);
	AttrNumber at[BR_PG_EVENT_VALUES];

	for (int i = 0; i < BR_PG_EVENT_VALUES; i++)
		at[i] = get_attnum(RelationGetRelid(log), br_pg_event_names[i]);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(sync->memory);
		bool is_null;
		BrPgEvent event;

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt32(slot_getattr(slot, at[1], &is_null)) == sync->events->number)
		{
			event.user_id = get_text(slot, at[2]);
			event.item_id = get_text(slot, at[3]);
			event.bundle_id = get_text(slot, at[4]);
			event.basket_id = get_text(slot, at[5]);
			event.kind = get_text(slot, at[6]);
			event.quantity = DatumGetFloat8(slot_getattr(slot, at[7], &is_null));
			event.price = DatumGetFloat8(slot_getattr(slot, at[8], &is_null));
			event.has_price = !is_null;
			event.occurred_at = DatumGetTimestampTz(slot_getattr(slot, at[9], &is_null));
			take_event(sync, &event, -DatumGetInt16(slot_getattr(slot, at[10], &is_null)));
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(sync->memory);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(log, NoLock);
}

static void
scan_both(EventSync *sync)
{
	br_pg_source_scan(&sync->feed);
	scan_log(sync, "event");
	scan_log(sync, "event_queue");
}

static bool
all_agree(const EventSync *sync)
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
	return get_text(slot, column + 1);
}

/* appends the event that stands in the slot as often as the source has it more, or less */
static void
append_difference(EventSync *sync, TupleTableSlot *slot, int64 more)
{
	MemoryContext old = MemoryContextSwitchTo(sync->memory);
	int weight = more > 0 ? 1 : -1;
	BrPgEvent event = {
		.user_id = sorted_text(slot, TEXTS),
		.item_id = sorted_text(slot, TEXTS + 1),
		.bundle_id = sorted_text(slot, TEXTS + 2),
		.basket_id = sorted_text(slot, TEXTS + 3),
		.kind = sorted_text(slot, TEXTS + 4),
	};
	bool is_null;

	event.quantity = DatumGetFloat8(slot_getattr(slot, QUANTITY + 1, &is_null));
	event.price = DatumGetFloat8(slot_getattr(slot, PRICE + 1, &is_null));
	event.has_price = !is_null;
	event.occurred_at = DatumGetTimestampTz(slot_getattr(slot, TIME + 1, &is_null));
	for (int64 i = 0; i < more * weight; i++)
		br_pg_events_put(sync->events, &event, weight);
	if (more > 0)
		sync->counts->added += more;
	else
		sync->counts->removed -= more;
	MemoryContextSwitchTo(old);
	MemoryContextReset(sync->memory);
}

static void
append_differences(EventSync *sync, TupleDesc descriptor)
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
		if (!same && more != 0)
			append_difference(sync, group, more);
		if (!same)
		{
			more = 0;
			ExecCopySlot(group, slot);
		}
		more += DatumGetInt16(slot_getattr(slot, WEIGHT + 1, &is_null));
	}
	if (more != 0)
		append_difference(sync, group, more);
	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(group);
}

static void
sync_known(BrPgEventSource *events, BrPgSyncCounts *counts)
{
	static const BrPgFeedMethods comparing = {.add = add_row};
	AttrNumber keys[] = {HIGH + 1, LOW + 1};
	Oid operators[] = {Int8LessOperator, Int8LessOperator};
	Oid collations[] = {InvalidOid, InvalidOid};
	bool nulls_first[] = {false, false};
	EventSync sync = {
		.feed = events->feed,
		.events = events,
		.counts = counts,
		.has_time = events->column[BR_PG_EVENT_TIME].number != 0,
		.memory = AllocSetContextCreate(CurrentMemoryContext, "event", ALLOCSET_DEFAULT_SIZES),
		.buckets = palloc0(sizeof(Bucket) * BUCKETS),
	};
	TupleDesc descriptor = sort_descriptor();

	sync.feed.methods = &comparing;
	initStringInfo(&sync.bytes);
	scan_both(&sync);
	if (!all_agree(&sync))
	{
		sync.slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsVirtual);
		sync.sort = tuplesort_begin_heap(descriptor, 2, keys, operators, collations, nulls_first,
										 maintenance_work_mem, NULL, TUPLESORT_NONE);
		scan_both(&sync);
		tuplesort_performsort(sync.sort);
		append_differences(&sync, descriptor);
		tuplesort_end(sync.sort);
		ExecDropSingleTupleTableSlot(sync.slot);
	}
	pfree(sync.buckets);
	MemoryContextDelete(sync.memory);
}

/* ---- the whole ---- */

static bool
log_is_empty(const BrPgEventSource *events)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(events->number)};

	return br_pg_execute_once(br_pg_catalog_sql("(SELECT FROM bundle_rec.event_@ WHERE source = $1 LIMIT 1)"
												" UNION ALL (SELECT FROM bundle_rec.event_queue_@"
												" WHERE source = $1 LIMIT 1)",
												events->feed.catalog),
							  1, types, values) == 0;
}

/* the feed that counts what it passes on */
static void
load_first(BrPgEventSource *events, BrPgSyncCounts *counts)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(events->number)};
	BrPgRights rights;
	bool is_null;

	br_pg_source_scan(&events->feed);
	events->feed.methods->flush(&events->feed);
	br_pg_enter_owner(&rights);
	br_pg_execute_once(br_pg_catalog_sql("SELECT pg_catalog.count(*) FROM bundle_rec.event_queue_@"
										 " WHERE source = $1",
										 events->feed.catalog),
					   1, types, values);
	counts->added = DatumGetInt64(br_pg_column(0, 1, &is_null));
	br_pg_leave(&rights);
}

void
br_pg_events_sync(int32 number, Relation source, BrPgSyncCounts *counts)
{
	int32 catalog;
	BrPgEventSource *events = (BrPgEventSource *) br_pg_events_open(number, source, &catalog, NULL);
	BrPgRights rights;
	bool first;

	memset(counts, 0, sizeof(*counts));
	br_pg_enter_owner(&rights);
	br_pg_rejections_clear(&events->rejections);
	first = log_is_empty(events);
	br_pg_leave(&rights);
	if (first)
		load_first(events, counts);
	else
		sync_known(events, counts);
	counts->rejected = events->rejections.total;
	events->feed.methods->close(&events->feed);
}
