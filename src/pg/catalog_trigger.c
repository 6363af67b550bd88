/*
 * catalog_trigger.c
 *	  How rows of the sources reach a catalog: by triggers, and by a scan of the
 *	  whole table when a catalog or an event source begins.
 *
 * One trigger per statement, with transition tables, whoever writes; it names
 * its catalog or event source by number. Anybody may attach our trigger
 * functions to a table of theirs, so a trigger that does not stand on the
 * source that the number belongs to is refused. What is wrong with rows or
 * columns is a WARNING: the shop's statement goes on.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/catalog_int.h"

PG_FUNCTION_INFO_V1(br_items_changed);
PG_FUNCTION_INFO_V1(br_events_changed);

/* ---- transition tables ---- */

typedef struct Rows
{
	Tuplestorestate *store;
	int pointer;
	TupleTableSlot *slot;
} Rows;

/* store may be NULL: no rows */
static void
open_rows(Rows *rows, Tuplestorestate *store, Relation source)
{
	rows->store = store;
	if (store == NULL)
		return;
	/* other triggers read the same store at their own place */
	rows->pointer = tuplestore_alloc_read_pointer(store, EXEC_FLAG_REWIND);
	tuplestore_select_read_pointer(store, rows->pointer);
	tuplestore_rescan(store);
	rows->slot = MakeSingleTupleTableSlot(RelationGetDescr(source), &TTSOpsMinimalTuple);
}

static bool
next_row(Rows *rows)
{
	if (rows->store == NULL)
		return false;
	CHECK_FOR_INTERRUPTS();
	tuplestore_select_read_pointer(rows->store, rows->pointer);
	return tuplestore_gettupleslot(rows->store, true, false, rows->slot);
}

static void
close_rows(Rows *rows)
{
	if (rows->store != NULL)
		ExecDropSingleTupleTableSlot(rows->slot);
}

static bool
is_empty(Tuplestorestate *store)
{
	return store == NULL || tuplestore_tuple_count(store) == 0;
}

/* ---- items ---- */

/*
 * Old and new rows of an UPDATE stand in the same order. First whatever lost
 * its id, then the new versions: where two rows swap their ids both stay.
 */
static void
update_items(BrPgItemSource *items, const TriggerData *trigger)
{
	Rows old_rows, new_rows;

	open_rows(&old_rows, trigger->tg_oldtable, trigger->tg_relation);
	open_rows(&new_rows, trigger->tg_newtable, trigger->tg_relation);
	while (next_row(&old_rows) && next_row(&new_rows))
		if (br_pg_items_compare(items, old_rows.slot, new_rows.slot) == BR_PG_ID_DIFFERS)
			br_pg_items_remove(items, old_rows.slot);
	close_rows(&old_rows);
	close_rows(&new_rows);
	br_pg_items_flush(items);

	open_rows(&old_rows, trigger->tg_oldtable, trigger->tg_relation);
	open_rows(&new_rows, trigger->tg_newtable, trigger->tg_relation);
	while (next_row(&old_rows) && next_row(&new_rows))
	{
		BrPgDifference difference = br_pg_items_compare(items, old_rows.slot, new_rows.slot);

		if (difference != BR_PG_SAME)
			br_pg_items_add(items, new_rows.slot, difference);
	}
	close_rows(&old_rows);
	close_rows(&new_rows);
}

static void
apply_items(BrPgItemSource *items, const TriggerData *trigger)
{
	Rows rows;

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		br_pg_items_remove_all(items);
		return;
	}
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		update_items(items, trigger);
		return;
	}
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		open_rows(&rows, trigger->tg_oldtable, trigger->tg_relation);
		while (next_row(&rows))
			br_pg_items_remove(items, rows.slot);
	}
	else
	{
		open_rows(&rows, trigger->tg_newtable, trigger->tg_relation);
		while (next_row(&rows))
			br_pg_items_add(items, rows.slot, BR_PG_ID_DIFFERS);
	}
	close_rows(&rows);
}

/* ---- events ---- */

static void
apply_events(BrPgEventSource *events, const TriggerData *trigger)
{
	Rows old_rows, new_rows;
	bool is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		br_pg_events_remove_all(events);
		return;
	}
	open_rows(&old_rows, trigger->tg_oldtable, trigger->tg_relation);
	open_rows(&new_rows, trigger->tg_newtable, trigger->tg_relation);
	for (;;)
	{
		bool has_old = next_row(&old_rows);
		bool has_new = next_row(&new_rows);

		if (!has_old && !has_new)
			break;
		if (is_update && br_pg_events_same(events, old_rows.slot, new_rows.slot))
			continue;
		if (has_old)
			br_pg_events_add(events, old_rows.slot, -1);
		if (has_new)
			br_pg_events_add(events, new_rows.slot, 1);
	}
	close_rows(&old_rows);
	close_rows(&new_rows);
}

/* ---- the trigger functions ---- */

/* the number that the trigger names, 0 where there is nothing to do */
static int32
trigger_number(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) || trigger->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not fired by a trigger that create_catalog or add_event_source made")));
	if (!TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) && is_empty(trigger->tg_oldtable) &&
		is_empty(trigger->tg_newtable))
		return 0;
	return pg_strtoint32(trigger->tg_trigger->tgargs[0]);
}

static void
refuse_foreign_trigger(const TriggerData *trigger)
{
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("trigger \"%s\" of table \"%s\" belongs to no catalog",
					trigger->tg_trigger->tgname, RelationGetRelationName(trigger->tg_relation)),
			 errhint("Drop the trigger; create_catalog and add_event_source make their own.")));
}

/* the columns a catalog names are not there: written down once per statement */
static void
warn_of_columns(int32 catalog, const TriggerData *trigger, const char *problem)
{
	BrPgRejections rejections;
	BrPgRights rights;

	br_pg_rejections_init(&rejections, catalog, RelationGetRelid(trigger->tg_relation));
	br_pg_reject(&rejections, NULL, problem);
	br_pg_enter_owner(&rights);
	br_pg_rejections_flush(&rejections);
	br_pg_leave(&rights);
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("a catalog no longer follows table \"%s\"",
					RelationGetRelationName(trigger->tg_relation)),
			 errdetail("%s", problem), errhint("Drop the catalog and create it again.")));
}

PGDLLEXPORT Datum
br_items_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	int32 number = trigger_number(fcinfo);
	BrPgCatalog *catalog;
	BrPgItemSource *items;
	char *problem = NULL;

	if (number == 0)
		return PointerGetDatum(NULL);
	SPI_connect();
	catalog = br_pg_catalog_find(number);
	if (catalog == NULL || catalog->items != RelationGetRelid(trigger->tg_relation))
		refuse_foreign_trigger(trigger);
	items = br_pg_items_open(catalog, trigger->tg_relation, &problem);
	if (items == NULL)
		warn_of_columns(number, trigger, problem);
	else
	{
		apply_items(items, trigger);
		br_pg_items_close(items);
	}
	SPI_finish();
	return PointerGetDatum(NULL);
}

PGDLLEXPORT Datum
br_events_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	int32 number = trigger_number(fcinfo);
	BrPgEventSource *events;
	int32 catalog = 0;
	char *problem = NULL;

	if (number == 0)
		return PointerGetDatum(NULL);
	SPI_connect();
	events = br_pg_events_open(number, trigger->tg_relation, &catalog, &problem);
	if (events == NULL && problem == NULL)
		refuse_foreign_trigger(trigger);
	if (events == NULL)
		warn_of_columns(catalog, trigger, problem);
	else
	{
		apply_events(events, trigger);
		br_pg_events_close(events);
	}
	SPI_finish();
	return PointerGetDatum(NULL);
}

/* ---- loading ---- */

typedef void (*TakeRow)(void *target, TupleTableSlot *slot);

/*
 * Scans the table itself under a snapshot taken after it was locked against
 * writers: rows committed in between are seen whatever the isolation level.
 */
static void
scan_source(Relation source, TakeRow take, void *target)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(source, NULL);
	TableScanDesc scan = table_beginscan(source, snapshot, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		take(target, slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
}

static void
take_item(void *target, TupleTableSlot *slot)
{
	br_pg_items_add(target, slot, BR_PG_ID_DIFFERS);
}

static void
take_event(void *target, TupleTableSlot *slot)
{
	br_pg_events_add(target, slot, 1);
}

void
br_pg_load_items(const BrPgCatalog *catalog, Relation source)
{
	BrPgItemSource *items = br_pg_items_open(catalog, source, NULL);

	scan_source(source, take_item, items);
	br_pg_items_close(items);
}

void
br_pg_load_events(int32 number, Relation source)
{
	int32 catalog;
	BrPgEventSource *events = br_pg_events_open(number, source, &catalog, NULL);

	scan_source(source, take_event, events);
	br_pg_events_close(events);
}
