/*
 * source.c
 *	  The tables, views and foreign tables that catalogs read.
 *
 * How a source is followed depends on what it is. A plain table gets statement
 * triggers with transition tables. A partitioned one gets row triggers, which
 * PostgreSQL clones to every partition, present and future: a statement that
 * writes to a partition directly fires no statement trigger of the parent. Views
 * and foreign tables change without our knowing; sync asks them.
 *
 * Plain tables and partitions are scanned page by page. A view or a foreign
 * table is queried, as its owner and restricted, so that a function inside a
 * view never runs with the rights of whoever calls sync.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/catalog.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "pg/catalog/catalog_int.h"

/* rows of a view or foreign table that are fetched together */
#define FETCH_ROWS 1000

const char *
br_pg_qualified_name(Oid relation)
{
	char *name = get_rel_name(relation);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table with OID %u was dropped by a concurrent transaction",
						relation)));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), name);
}

BrPgSourceKind
br_pg_source_kind(Relation source)
{
	switch (source->rd_rel->relkind)
	{
		case RELKIND_RELATION:
			return BR_PG_SOURCE_TABLE;
		case RELKIND_PARTITIONED_TABLE:
			return BR_PG_SOURCE_PARTITIONED;
		default:
			return BR_PG_SOURCE_ASKED;
	}
}

bool
br_pg_source_covers(Oid source, Oid relation)
{
	return source == relation ||
		(get_rel_relispartition(relation) &&
		 list_member_oid(get_partition_ancestors(relation), source));
}

/* ---- opening ---- */

static void
refuse_source(const char *name, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("\"%s\" cannot be a source: it is %s", name, what), errhint("%s", hint)));
}

static void
require_source(Oid oid)
{
	HeapTuple tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(oid));
	Form_pg_class class;
	const char *name;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("there is no table with OID %u", oid)));
	class = (Form_pg_class) GETSTRUCT(tuple);
	name = NameStr(class->relname);
	if (strchr("rpvmf", class->relkind) == NULL)
		refuse_source(name, "no table, view or foreign table",
					  "Name the table that the rows stand in.");
	if (class->relpersistence == RELPERSISTENCE_TEMP)
		refuse_source(name, "temporary", "It would be gone before anybody asks for its items.");
	if (IsSystemClass(oid, class))
		refuse_source(name, "a system catalog", "Make a view of it that says what its rows mean.");
	if (!pg_class_ownercheck(oid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(class->relkind), name);
}

static void
refuse_inheritance(Oid oid)
{
	const char *name = get_rel_name(oid);
	bool plain = get_rel_relkind(oid) == RELKIND_RELATION;

	if (get_rel_relispartition(oid))
		refuse_source(name, "a partition", "Name the partitioned table.");
	if (plain && has_superclass(oid))
		refuse_source(name, "a table that inherits from another",
					  "Make a view over the tables, and call sync when they have changed.");
	if (plain && find_inheritance_children(oid, NoLock) != NIL)
		refuse_source(name, "a table that others inherit from",
					  "Make a view over the tables, and call sync when they have changed.");
}

Relation
br_pg_source_open(Oid oid)
{
	const char *name;
	char kind;

	/* nobody locks what is not his; once it is locked it is what it will be */
	require_source(oid);
	name = get_rel_name(oid);
	kind = get_rel_relkind(oid);
	LockRelationOid(oid,
					kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE
						? ShareRowExclusiveLock
						: AccessShareLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(oid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" was dropped by a concurrent transaction", name)));
	require_source(oid);
	refuse_inheritance(oid);
	if (get_rel_relkind(oid) == RELKIND_PARTITIONED_TABLE)
		(void) find_all_inheritors(oid, ShareRowExclusiveLock, NULL);
	return table_open(oid, NoLock);
}

/* ---- locking all of a catalog ---- */

/* the tables that are its sources, and their partitions */
static List *
list_followed(const BrPgCatalog *catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog->number)};
	List *tables = NIL;
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found =
		br_pg_execute_now("SELECT items::pg_catalog.oid FROM bundle_rec.catalog WHERE catalog = $1"
						  " UNION SELECT events::pg_catalog.oid FROM bundle_rec.event_source"
						  " WHERE catalog = $1 AND events IS NOT NULL UNION"
						  " SELECT bundles::pg_catalog.oid FROM bundle_rec.bundle_source"
						  " WHERE catalog = $1 ORDER BY 1",
						  1, types, values);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;
		Oid table = DatumGetObjectId(br_pg_column(row, 1, &is_null));
		char kind = get_rel_relkind(table);

		if ((kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE) &&
			pg_class_ownercheck(table, GetUserId()))
			tables = list_concat_unique_oid(tables, find_all_inheritors(table, NoLock, NULL));
	}
	SPI_freetuptable(SPI_tuptable);
	return tables;
}

/* Locks those besides `held`; returns one that is not to be had now, none being locked then. */
static Oid
lock_rest(List *tables, Oid held, LOCKMODE mode)
{
	ListCell *cell;

	foreach (cell, tables)
	{
		Oid busy = lfirst_oid(cell);

		if (busy == held || ConditionalLockRelationOid(busy, mode))
			continue;
		foreach (cell, tables)
		{
			if (lfirst_oid(cell) == busy)
				break;
			if (lfirst_oid(cell) != held)
				UnlockRelationOid(lfirst_oid(cell), mode);
		}
		return busy;
	}
	return InvalidOid;
}

void
br_pg_sources_lock(const BrPgCatalog *catalog, LOCKMODE mode)
{
	List *tables = list_followed(catalog);
	Oid held = InvalidOid;
	Oid busy;

	while ((busy = lock_rest(tables, held, mode)) != InvalidOid)
	{
		if (OidIsValid(held))
			UnlockRelationOid(held, mode);
		held = busy;
		LockRelationOid(held, mode);
	}
	list_free(tables);
}

/* ---- scanning ---- */

/*
 * Under a snapshot taken after the table was locked against writers: rows
 * committed in between are seen whatever the isolation level.
 */
static void
scan_heap(BrPgFeed *feed, Relation heap)
{
	Snapshot snapshot = RegisterSnapshot(br_pg_latest_snapshot());
	TupleConversionMap *map =
		convert_tuples_by_name(RelationGetDescr(heap), RelationGetDescr(feed->source));
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	TupleTableSlot *converted = map == NULL
		? slot
		: MakeSingleTupleTableSlot(RelationGetDescr(feed->source), &TTSOpsVirtual);
	TableScanDesc scan = table_beginscan(heap, snapshot, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (map != NULL)
			(void) execute_attr_map_slot(map->attrMap, slot, converted);
		feed->methods->add(feed, converted, BR_PG_ID_DIFFERS);
	}
	table_endscan(scan);
	if (map != NULL)
	{
		ExecDropSingleTupleTableSlot(converted);
		free_conversion_map(map);
	}
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
}

/* SELECT of every column at its place, those that the feed does not read as NULL */
static char *
query_of(const BrPgFeed *feed, Oid relation, TupleDesc descriptor)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);

		appendStringInfoString(&sql, i == 0 ? "SELECT " : ", ");
		if (!attribute->attisdropped && bms_is_member(attribute->attnum, feed->columns))
			appendStringInfo(&sql, "s.%s", quote_identifier(NameStr(attribute->attname)));
		else
			appendStringInfoString(&sql, "NULL");
	}
	appendStringInfo(&sql, " FROM %s s", br_pg_qualified_name(relation));
	return sql.data;
}

static Portal
open_query(const char *sql, Oid owner)
{
	MemoryContext caller = CurrentMemoryContext;
	BrPgRights rights;
	Portal portal;

	br_pg_enter_role(&rights, owner);
	portal = SPI_cursor_open_with_args(NULL, sql, 0, NULL, NULL, NULL, false, CURSOR_OPT_NO_SCROLL);
	MemoryContextSwitchTo(caller);
	br_pg_leave(&rights);
	return portal;
}

static SPITupleTable *
fetch(Portal portal, Oid owner)
{
	MemoryContext caller = CurrentMemoryContext;
	BrPgRights rights;

	CHECK_FOR_INTERRUPTS();
	br_pg_enter_role(&rights, owner);
	SPI_cursor_fetch(portal, true, FETCH_ROWS);
	MemoryContextSwitchTo(caller);
	br_pg_leave(&rights);
	return SPI_tuptable;
}

static void
scan_query(BrPgFeed *feed, Relation relation)
{
	Oid owner = relation->rd_rel->relowner;
	TupleDesc descriptor = RelationGetDescr(relation);
	Portal portal = open_query(query_of(feed, RelationGetRelid(relation), descriptor), owner);
	TupleConversionMap *map = convert_tuples_by_name(descriptor, RelationGetDescr(feed->source));
	TupleTableSlot *slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsVirtual);
	TupleTableSlot *converted = map == NULL
		? slot
		: MakeSingleTupleTableSlot(RelationGetDescr(feed->source), &TTSOpsVirtual);
	SPITupleTable *rows;

	while ((rows = fetch(portal, owner))->numvals > 0)
	{
		for (uint64 row = 0; row < rows->numvals; row++)
		{
			ExecClearTuple(slot);
			heap_deform_tuple(rows->vals[row], rows->tupdesc, slot->tts_values, slot->tts_isnull);
			ExecStoreVirtualTuple(slot);
			if (map != NULL)
				(void) execute_attr_map_slot(map->attrMap, slot, converted);
			feed->methods->add(feed, converted, BR_PG_ID_DIFFERS);
		}
		SPI_freetuptable(rows);
	}
	SPI_freetuptable(rows);
	SPI_cursor_close(portal);
	if (map != NULL)
		ExecDropSingleTupleTableSlot(converted);
	ExecDropSingleTupleTableSlot(slot);
}

static void
scan_partitions(BrPgFeed *feed)
{
	List *members = find_all_inheritors(RelationGetRelid(feed->source), NoLock, NULL);
	ListCell *cell;

	foreach (cell, members)
	{
		Relation member = table_open(lfirst_oid(cell), AccessShareLock);

		if (member->rd_rel->relkind == RELKIND_RELATION)
			scan_heap(feed, member);
		else if (member->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
			scan_query(feed, member);
		table_close(member, NoLock);
	}
}

void
br_pg_source_scan(BrPgFeed *feed)
{
	Relation source = feed->source;

	if (br_pg_source_kind(source) == BR_PG_SOURCE_PARTITIONED)
		scan_partitions(feed);
	else if (br_pg_source_kind(source) == BR_PG_SOURCE_TABLE ||
			 source->rd_rel->relkind == RELKIND_MATVIEW)
		scan_heap(feed, source);
	else
		scan_query(feed, source);
}

/* ---- triggers ---- */

/* Names of our triggers end with what fires them. */
static const struct
{
	const char *name;
	const char *event;
	const char *transition; /* tables of a statement trigger */
} trigger_events[] = {
	{"insert", "INSERT", " REFERENCING NEW TABLE AS bundle_rec_new"},
	{"update", "UPDATE", " REFERENCING OLD TABLE AS bundle_rec_old NEW TABLE AS bundle_rec_new"},
	{"delete", "DELETE", " REFERENCING OLD TABLE AS bundle_rec_old"},
	{"truncate", "TRUNCATE", ""},
};

static void
create_trigger(Oid table, const char *prefix, int32 number, int event, bool for_rows,
			   const char *function)
{
	bool truncate = strcmp(trigger_events[event].event, "TRUNCATE") == 0;
	char *name = psprintf("bundle_rec_%s%d_%s", prefix, number, trigger_events[event].name);

	if (OidIsValid(get_trigger_oid(table, name, true)))
		return;
	br_pg_run(psprintf("CREATE TRIGGER %s AFTER %s ON %s%s FOR EACH %s"
					   " EXECUTE FUNCTION bundle_rec.%s('%d')",
					   name, trigger_events[event].event, br_pg_qualified_name(table),
					   for_rows ? "" : trigger_events[event].transition,
					   for_rows && !truncate ? "ROW" : "STATEMENT", function, number));
}

/* a partition that is truncated alone fires no trigger of its parent */
static void
follow_partitions(Relation source, const char *prefix, int32 number, const char *function)
{
	List *members = find_all_inheritors(RelationGetRelid(source), NoLock, NULL);
	ListCell *cell;

	foreach (cell, members)
	{
		Oid member = lfirst_oid(cell);
		char kind = get_rel_relkind(member);

		if (member != RelationGetRelid(source) && kind != RELKIND_FOREIGN_TABLE)
			create_trigger(member, prefix, number, lengthof(trigger_events) - 1, true, function);
	}
}

/* $1: a table; its triggers that feed no catalog here, but for copies of a parent's */
#define OF_THIS_TABLE(column) \
	"(" column " = $1 OR " column " IN (SELECT pg_catalog.pg_partition_ancestors($1)))"
static const char stray_triggers[] =
	"SELECT t.tgname FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
	" WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgparentid = 0"
	" AND p.pronamespace = 'bundle_rec'::pg_catalog.regnamespace"
	" AND p.proname IN ('items_changed', 'events_changed', 'bundles_changed')"
	" AND NOT EXISTS (SELECT FROM bundle_rec.catalog c WHERE " OF_THIS_TABLE(
		"c.items") " AND pg_catalog.starts_with(t.tgname, pg_catalog.format('bundle_rec_%s_', c.catalog)))"
				   " AND NOT EXISTS (SELECT FROM bundle_rec.event_source e WHERE " OF_THIS_TABLE(
					   "e.events") " AND pg_catalog.starts_with(t.tgname, pg_catalog.format('bundle_rec_event_%s_', e.source)))"
								   " AND NOT EXISTS (SELECT FROM bundle_rec.bundle_source b WHERE " OF_THIS_TABLE(
									   "b.bundles") " AND pg_catalog.starts_with(t.tgname, pg_catalog.format('bundle_rec_bundle_%s_', b.source)))";

/*
 * A dump of the shop's tables alone brings the triggers of its catalogs along.
 * Where it was restored, they have the names that the next ones will need.
 */
static void
drop_stray_triggers(Oid table, Oid owner)
{
	static const Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(table)};
	SPITupleTable *strays;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute_now(stray_triggers, 1, types, values);
	br_pg_leave(&rights);
	strays = SPI_tuptable;
	br_pg_enter_role(&rights, owner);
	for (uint64 row = 0; row < strays->numvals; row++)
		br_pg_run(psprintf("DROP TRIGGER %s ON %s",
						   quote_identifier(SPI_getvalue(strays->vals[row], strays->tupdesc, 1)),
						   br_pg_qualified_name(table)));
	br_pg_leave(&rights);
}

static Oid
owner_of(Oid table)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", table);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static void
drop_all_strays(Relation source)
{
	ListCell *cell;

	foreach (cell, find_all_inheritors(RelationGetRelid(source), NoLock, NULL))
		drop_stray_triggers(lfirst_oid(cell), owner_of(lfirst_oid(cell)));
}

/* the triggers of a table are made on its partitions too, whoever owns those */
static void
require_trigger_rights(Relation source)
{
	Oid owner = source->rd_rel->relowner;
	ListCell *cell;

	foreach (cell, find_all_inheritors(RelationGetRelid(source), NoLock, NULL))
	{
		Oid member = lfirst_oid(cell);

		if (pg_class_aclcheck(member, owner, ACL_TRIGGER) != ACLCHECK_OK)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("the owner of table \"%s\" may not make triggers on table \"%s\"",
							RelationGetRelationName(source), get_rel_name(member)),
					 errdetail("A partitioned table is followed by triggers on its partitions,"
							   " made with the rights of its owner."),
					 errhint("GRANT TRIGGER ON %s TO %s;", br_pg_qualified_name(member),
							 quote_identifier(GetUserNameFromId(owner, false)))));
	}
}

void
br_pg_source_follow(Relation source, const char *prefix, int32 number, const char *function)
{
	BrPgSourceKind kind = br_pg_source_kind(source);
	BrPgRights rights;

	if (kind == BR_PG_SOURCE_ASKED)
		return;
	require_trigger_rights(source);
	drop_all_strays(source);
	br_pg_enter_role(&rights, source->rd_rel->relowner);
	for (int i = 0; i < lengthof(trigger_events); i++)
		create_trigger(RelationGetRelid(source), prefix, number, i,
					   kind == BR_PG_SOURCE_PARTITIONED, function);
	if (kind == BR_PG_SOURCE_PARTITIONED)
		follow_partitions(source, prefix, number, function);
	br_pg_leave(&rights);
}

/* $1: what our triggers of a source begin with; also on partitions that were detached since */
static const char own_triggers[] =
	"SELECT t.tgname, t.tgrelid, r.relowner FROM pg_catalog.pg_trigger t"
	" JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_class r ON r.oid = t.tgrelid"
	" WHERE pg_catalog.starts_with(t.tgname, $1) AND NOT t.tgisinternal AND t.tgparentid = 0"
	" AND p.pronamespace = 'bundle_rec'::pg_catalog.regnamespace"
	" AND p.proname IN ('items_changed', 'events_changed', 'bundles_changed')";

void
br_pg_source_unfollow(const char *prefix, int32 number)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(psprintf("bundle_rec_%s%d_", prefix, number))};
	SPITupleTable *triggers;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute_now(own_triggers, 1, types, values);
	br_pg_leave(&rights);
	triggers = SPI_tuptable;
	for (uint64 row = 0; row < triggers->numvals; row++)
	{
		HeapTuple tuple = triggers->vals[row];
		bool is_null;
		Oid table = DatumGetObjectId(SPI_getbinval(tuple, triggers->tupdesc, 2, &is_null));

		/* the list may be older than the end of a table that goes meanwhile */
		LockRelationOid(table, AccessExclusiveLock);
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table)))
			continue;
		br_pg_enter_role(&rights,
						 DatumGetObjectId(SPI_getbinval(tuple, triggers->tupdesc, 3, &is_null)));
		br_pg_run(psprintf("DROP TRIGGER IF EXISTS %s ON %s",
						   quote_identifier(SPI_getvalue(tuple, triggers->tupdesc, 1)),
						   br_pg_qualified_name(table)));
		br_pg_leave(&rights);
	}
}
