/*
 * events_sync.c
 *	  The difference between an event source and the log of its events.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/bulk.h"
#include "pg/catalog/rowsync.h"

static const char *
read_event(BrPgFeed *feed, TupleTableSlot *slot, BrPgEvent *event)
{
	const char *fault;

	br_pg_events_read((BrPgEventSource *) feed, slot, event);
	fault = br_pg_event_fault(event);
	if (fault == NULL && br_pg_event_is_too_old((BrPgEventSource *) feed, event))
		return br_pg_row_skipped;
	return fault;
}

static void
reject_event(BrPgFeed *feed, const BrPgEvent *event, const char *fault)
{
	BrPgRejections *rejections = &((BrPgEventSource *) feed)->rejections;

	br_pg_reject(rejections, event->item_id != NULL ? event->item_id : event->bundle_id, fault);
	if (br_pg_rejections_full(rejections))
		feed->methods->flush(feed);
}

static void
put_event(BrPgFeed *feed, const BrPgEvent *event, int weight)
{
	br_pg_events_put((BrPgEventSource *) feed, event, weight);
}

static const char *
get_text(TupleTableSlot *slot, AttrNumber number)
{
	bool is_null;
	Datum value = slot_getattr(slot, number, &is_null);

	return is_null ? NULL : TextDatumGetCString(value);
}

/* columns at their places in a table of events */
static void
take_logged(BrPgRowSync *sync, TupleTableSlot *slot, const AttrNumber *at)
{
	bool is_null;
	BrPgEvent event = {
		.user_id = get_text(slot, at[2]),
		.item_id = get_text(slot, at[3]),
		.bundle_id = get_text(slot, at[4]),
		.basket_id = get_text(slot, at[5]),
		.kind = get_text(slot, at[6]),
	};

	event.quantity = DatumGetFloat8(slot_getattr(slot, at[7], &is_null));
	event.price = DatumGetFloat8(slot_getattr(slot, at[8], &is_null));
	event.has_price = !is_null;
	event.occurred_at = DatumGetTimestampTz(slot_getattr(slot, at[9], &is_null));
	br_pg_rowsync_take(sync, &event, -DatumGetInt16(slot_getattr(slot, at[10], &is_null)));
}

/* rows of this source in one of the two tables of events */
static void
scan_log(BrPgRowSync *sync, const char *table)
{
	int32 number = ((const BrPgEventSource *) sync->target)->number;
	Relation log = table_open(br_pg_child(table, sync->target->catalog), AccessShareLock);
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

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt32(slot_getattr(slot, at[1], &is_null)) == number)
			take_logged(sync, slot, at);
		MemoryContextSwitchTo(old);
		MemoryContextReset(sync->memory);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(log, NoLock);
}

static void
scan_logs(BrPgRowSync *sync)
{
	scan_log(sync, "event");
	scan_log(sync, "event_queue");
}

static bool
log_is_empty(const BrPgEventSource *events)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(events->number)};

	return br_pg_execute_once_now(br_pg_catalog_sql("(SELECT FROM bundle_rec.event_@ WHERE source = $1 LIMIT 1)"
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
	br_pg_execute_once_now(br_pg_catalog_sql("SELECT pg_catalog.count(*) FROM bundle_rec.event_queue_@"
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
	BrPgRowSync sync = {.target = &events->feed,
						.has_time = events->column[BR_PG_EVENT_TIME].number != 0,
						.read = read_event,
						.reject = reject_event,
						.scan_stored = scan_logs,
						.put = put_event};
	BrPgRights rights;
	bool first;

	if (events == NULL)
		elog(ERROR, "event source %d is not there", number);
	memset(counts, 0, sizeof(*counts));
	br_pg_enter_owner(&rights);
	br_pg_rejections_clear(&events->rejections);
	first = log_is_empty(events);
	br_pg_leave(&rights);
	if (first)
		load_first(events, counts);
	else
		br_pg_rowsync(&sync, counts);
	counts->rejected = events->rejections.total;
	events->feed.methods->close(&events->feed);
}
