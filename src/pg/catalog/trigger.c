/*
 * trigger.c
 *	  How rows that are written to a source reach its catalog.
 *
 * A plain table has one trigger per statement, with transition tables; a
 * partitioned one has row triggers, which its partitions inherit. Either names
 * its catalog or source by number. Anybody may attach our trigger functions to
 * a table of theirs, so a trigger that does not stand on the source that the
 * number belongs to feeds nothing. That, like what is wrong with rows or columns,
 * is a WARNING: the shop's statement goes on.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/catalog/bundles.h"

PG_FUNCTION_INFO_V1(br_items_changed);
PG_FUNCTION_INFO_V1(br_events_changed);
PG_FUNCTION_INFO_V1(br_bundles_changed);

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

/* old and new rows of an UPDATE, which stand in the same order */
static bool
next_versions(Rows *old_rows, Rows *new_rows)
{
	return next_row(old_rows) && next_row(new_rows);
}

/*
 * First whatever lost its id, then the new versions: where two rows swap their
 * ids both stay.
 */
static void
apply_update(BrPgFeed *feed, const TriggerData *trigger)
{
	Rows old_rows, new_rows;

	open_rows(&old_rows, trigger->tg_oldtable, trigger->tg_relation);
	open_rows(&new_rows, trigger->tg_newtable, trigger->tg_relation);
	while (next_versions(&old_rows, &new_rows))
		if (feed->methods->compare(feed, old_rows.slot, new_rows.slot) == BR_PG_ID_DIFFERS)
			feed->methods->remove(feed, old_rows.slot);
	close_rows(&old_rows);
	close_rows(&new_rows);
	feed->methods->flush(feed);

	open_rows(&old_rows, trigger->tg_oldtable, trigger->tg_relation);
	open_rows(&new_rows, trigger->tg_newtable, trigger->tg_relation);
	while (next_versions(&old_rows, &new_rows))
	{
		BrPgDifference difference = feed->methods->compare(feed, old_rows.slot, new_rows.slot);

		if (difference != BR_PG_SAME)
			feed->methods->add(feed, new_rows.slot, difference);
	}
	close_rows(&old_rows);
	close_rows(&new_rows);
}

static void
apply_statement(BrPgFeed *feed, const TriggerData *trigger)
{
	Rows rows;

	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		apply_update(feed, trigger);
		return;
	}
	open_rows(&rows, trigger->tg_oldtable, trigger->tg_relation);
	while (next_row(&rows))
		feed->methods->remove(feed, rows.slot);
	close_rows(&rows);
	open_rows(&rows, trigger->tg_newtable, trigger->tg_relation);
	while (next_row(&rows))
		feed->methods->add(feed, rows.slot, BR_PG_ID_DIFFERS);
	close_rows(&rows);
}

/* ---- rows of partitions ---- */

static void
apply_row(BrPgFeed *feed, const TriggerData *trigger)
{
	TupleTableSlot *old_row = trigger->tg_trigslot;
	TupleTableSlot *new_row = trigger->tg_newslot;
	BrPgDifference difference = BR_PG_ID_DIFFERS;

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
	{
		feed->methods->add(feed, old_row, BR_PG_ID_DIFFERS);
		feed->methods->flush(feed);
		return;
	}
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		difference = feed->methods->compare(feed, old_row, new_row);
	if (difference == BR_PG_ID_DIFFERS)
	{
		feed->methods->remove(feed, old_row);
		feed->methods->flush(feed);
	}
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && difference != BR_PG_SAME)
	{
		feed->methods->add(feed, new_row, difference);
		feed->methods->flush(feed);
	}
}

/* The source that a statement truncated as a whole, whose partitions tell of it too. */
static struct
{
	LocalTransactionId transaction;
	CommandId command;
	Oid source;
} truncated;

static CommandId
present_command(void)
{
	return ActiveSnapshotSet() ? GetActiveSnapshot()->curcid : InvalidCommandId;
}

static void
truncate_all(BrPgFeed *feed)
{
	feed->methods->remove_all(feed);
	truncated.transaction = MyProc->lxid;
	truncated.command = present_command();
	truncated.source = feed->origin;
}

/* a partition was truncated alone: which rows those were cannot be told */
static void
tell_of_truncation(const BrPgFeed *feed, const TriggerData *trigger)
{
	const char *partition = RelationGetRelationName(trigger->tg_relation);

	if (truncated.transaction == MyProc->lxid && truncated.command == present_command() &&
		truncated.source == feed->origin)
		return;

	br_pg_reject_source(feed->catalog, feed->origin,
						psprintf("its partition \"%s\" was truncated, and sync was not called since",
								 partition));
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("catalog \"%s\" still holds the rows of partition \"%s\"", feed->catalog_name,
					partition),
			 errdetail("Truncating a partition does not say which rows it held."),
			 errhint("SELECT bundle_rec.sync(%s);", quote_literal_cstr(feed->catalog_name))));
}

/* ---- the trigger functions ---- */

static void
apply(BrPgFeed *feed, const TriggerData *trigger)
{
	if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
	{
		apply_row(feed, trigger);
		feed->methods->warn(feed);
	}
	else if (!TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		apply_statement(feed, trigger);
	else if (RelationGetRelid(trigger->tg_relation) == feed->origin)
		truncate_all(feed);
	else
		tell_of_truncation(feed, trigger);
}

/* whether a statement trigger has nothing to do */
static bool
nothing_changed(const TriggerData *trigger)
{
	return TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) &&
		!TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) && is_empty(trigger->tg_oldtable) &&
		is_empty(trigger->tg_newtable);
}

/* the number that the trigger names */
static int32
trigger_number(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		trigger->tg_trigger->tgnargs != 1 ||
		(TRIGGER_FIRED_FOR_ROW(trigger->tg_event) && !trigger->tg_relation->rd_rel->relispartition))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg(
					 "not fired by a trigger that create_catalog, add_event_source or add_bundle_source made")));
	return pg_strtoint32(trigger->tg_trigger->tgargs[0]);
}

/* a dump of the shop's tables alone leaves such triggers: the shop goes on */
static void
warn_of_stray_trigger(const TriggerData *trigger)
{
	ereport(WARNING,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("trigger \"%s\" of table \"%s\" belongs to no catalog",
					trigger->tg_trigger->tgname, RelationGetRelationName(trigger->tg_relation)),
			 errhint("Drop the trigger, or call create_catalog or add_event_source, which replace"
					 " it.")));
}

/* the columns a catalog names are not there */
static void
warn_of_columns(int32 catalog, const TriggerData *trigger, const char *problem)
{
	br_pg_reject_source(catalog, RelationGetRelid(trigger->tg_relation), problem);
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("a catalog no longer follows table \"%s\"",
					RelationGetRelationName(trigger->tg_relation)),
			 errdetail("%s", problem),
			 errhint("Tell the catalog the new name with alter_catalog, or the event source by"
					 " dropping and adding it again; or name the column back and call sync.")));
}

/* what takes the rows: opened by number, NULL where the columns are not there */
typedef BrPgFeed *(*OpenFeed)(int32 number, const TriggerData *trigger);

static BrPgFeed *
open_items(int32 number, const TriggerData *trigger)
{
	BrPgCatalog *catalog = br_pg_catalog_find(number);
	char *problem = NULL;
	BrPgFeed *feed;

	if (catalog == NULL ||
		!br_pg_source_covers(catalog->items, RelationGetRelid(trigger->tg_relation)))
	{
		warn_of_stray_trigger(trigger);
		return NULL;
	}
	feed = br_pg_items_open(catalog, trigger->tg_relation, &problem);
	if (feed == NULL)
		warn_of_columns(number, trigger, problem);
	return feed;
}

/* the feed that a source's function opened, or a warning */
static BrPgFeed *
open_source(BrPgFeed *(*open)(int32, Relation, int32 *, char **), int32 number,
			const TriggerData *trigger)
{
	int32 catalog = 0;
	char *problem = NULL;
	BrPgFeed *feed = open(number, trigger->tg_relation, &catalog, &problem);

	if (feed == NULL && problem == NULL)
		warn_of_stray_trigger(trigger);
	else if (feed == NULL)
		warn_of_columns(catalog, trigger, problem);
	return feed;
}

static BrPgFeed *
open_events(int32 number, const TriggerData *trigger)
{
	return open_source(br_pg_events_open, number, trigger);
}

static BrPgFeed *
open_bundles(int32 number, const TriggerData *trigger)
{
	return open_source(br_pg_bundles_open, number, trigger);
}

/* What is kept where opening failed: it is told once per statement. */
static BrPgFeed no_feed;

/*
 * A row trigger is called for each row of a statement; what it opens is kept
 * where the executor keeps what is known of the trigger for that statement.
 */
static BrPgFeed *
open_for_rows(FunctionCallInfo fcinfo, OpenFeed open)
{
	FmgrInfo *function = fcinfo->flinfo;

	if (function->fn_extra == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(function->fn_mcxt);
		BrPgFeed *feed = open(trigger_number(fcinfo), (TriggerData *) fcinfo->context);

		function->fn_extra = feed != NULL ? feed : &no_feed;
		MemoryContextSwitchTo(old);
	}
	return function->fn_extra == &no_feed ? NULL : function->fn_extra;
}

static void
follow(FunctionCallInfo fcinfo, OpenFeed open)
{
	const TriggerData *trigger = (TriggerData *) fcinfo->context;
	int32 number = trigger_number(fcinfo);
	BrPgFeed *feed;

	if (nothing_changed(trigger))
		return;
	SPI_connect();
	if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
	{
		feed = open_for_rows(fcinfo, open);
		if (feed != NULL)
			apply(feed, trigger);
	}
	else if ((feed = open(number, trigger)) != NULL)
	{
		apply(feed, trigger);
		feed->methods->close(feed);
	}
	SPI_finish();
}

PGDLLEXPORT Datum
br_items_changed(PG_FUNCTION_ARGS)
{
	follow(fcinfo, open_items);
	return PointerGetDatum(NULL);
}

PGDLLEXPORT Datum
br_events_changed(PG_FUNCTION_ARGS)
{
	follow(fcinfo, open_events);
	return PointerGetDatum(NULL);
}

PGDLLEXPORT Datum
br_bundles_changed(PG_FUNCTION_ARGS)
{
	follow(fcinfo, open_bundles);
	return PointerGetDatum(NULL);
}
