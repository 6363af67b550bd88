/*
 * catalog_sync.c
 *	  What sync(catalog) does: every source of a catalog is compared with what
 *	  the catalog holds of it, and the difference is made good.
 *
 * For views and foreign tables this is the only way in; for tables it finds what
 * no trigger saw: rows that replication applied, partitions that came and went,
 * loads with triggers off. A table is locked against writers meanwhile, since
 * its triggers would count what the comparison counts too.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "pg/catalog_create.h"
#include "pg/catalog_events.h"

#define RESULT_COLUMNS 6

static void
put_result(ReturnSetInfo *result, Relation source, const char *kind, const BrPgSyncCounts *counts)
{
	Datum values[RESULT_COLUMNS];
	bool nulls[RESULT_COLUMNS] = {false};

	values[0] = CStringGetTextDatum(br_pg_qualified_name(RelationGetRelid(source)));
	values[1] = CStringGetTextDatum(kind);
	values[2] = Int64GetDatum(counts->added);
	values[3] = Int64GetDatum(counts->changed);
	values[4] = Int64GetDatum(counts->removed);
	values[5] = Int64GetDatum(counts->rejected);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
sync_items(const BrPgCatalog *catalog, ReturnSetInfo *result)
{
	Relation source = br_pg_source_open(catalog->items);
	BrPgSyncCounts counts;

	br_pg_source_follow(source, "", catalog->number, "items_changed");
	br_pg_items_sync(catalog, source, &counts);
	put_result(result, source, "items", &counts);
	table_close(source, NoLock);
}

static void
sync_events(int32 number, Oid events, ReturnSetInfo *result)
{
	Relation source = br_pg_source_open(events);
	BrPgSyncCounts counts;

	br_pg_source_follow(source, "event_", number, "events_changed");
	br_pg_events_sync(number, source, &counts);
	put_result(result, source, "events", &counts);
	table_close(source, NoLock);
}

bool
br_pg_source_exists(const BrPgCatalog *catalog, Oid source, const char *drop)
{
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(source)))
		return true;
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("a source of catalog \"%s\" was dropped", catalog->name),
			 errdetail("What came from it still counts."),
			 errhint("SELECT bundle_rec.%s(%s, %u);", drop, quote_literal_cstr(catalog->name),
					 source)));
	return false;
}

/* numbers and tables of the sources that a statement lists for catalog $1 */
static SPITupleTable *
list_sources(const BrPgCatalog *catalog, const char *sql)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog->number)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute(sql, 1, types, values, NULL, false, 0);
	br_pg_leave(&rights);
	return SPI_tuptable;
}

static int32
source_number(SPITupleTable *sources, uint64 row)
{
	bool is_null;

	return DatumGetInt32(SPI_getbinval(sources->vals[row], sources->tupdesc, 1, &is_null));
}

static Oid
source_table(SPITupleTable *sources, uint64 row)
{
	bool is_null;

	return DatumGetObjectId(SPI_getbinval(sources->vals[row], sources->tupdesc, 2, &is_null));
}

#define EVENT_SOURCES                                                    \
	"SELECT source, events::pg_catalog.oid FROM bundle_rec.event_source" \
	" WHERE catalog = $1 AND events IS NOT NULL ORDER BY source"

void
br_pg_catalog_tell_dropped(const BrPgCatalog *catalog)
{
	SPITupleTable *sources = list_sources(catalog, EVENT_SOURCES);

	for (uint64 row = 0; row < sources->numvals; row++)
		(void) br_pg_source_exists(catalog, source_table(sources, row), "drop_event_source");
}

void
br_pg_catalog_sync(const char *name, ReturnSetInfo *result)
{
	static const Oid types[] = {INT4OID};
	BrPgCatalog *catalog = br_pg_catalog_open(name);
	Datum values[] = {Int32GetDatum(catalog->number)};
	SPITupleTable *sources;
	BrPgRights rights;

	br_pg_catalog_require_owner(catalog);
	br_pg_enter_owner(&rights);
	br_pg_catalog_hold(catalog->number);
	br_pg_execute("UPDATE bundle_rec.catalog_state SET synced_at = pg_catalog.now()"
				  " WHERE catalog = $1",
				  1, types, values, NULL, false, 0);
	br_pg_leave(&rights);

	sync_items(catalog, result);
	sources = list_sources(catalog, EVENT_SOURCES);
	for (uint64 row = 0; row < sources->numvals; row++)
		if (br_pg_source_exists(catalog, source_table(sources, row), "drop_event_source"))
			sync_events(source_number(sources, row), source_table(sources, row), result);
}

/* ---- drop_event_source ---- */

/* the number of an event source, locked; raises where the table is none */
static int32
find_event_source(const BrPgCatalog *catalog, Oid events)
{
	static const Oid types[] = {INT4OID, OIDOID};
	Datum values[] = {Int32GetDatum(catalog->number), ObjectIdGetDatum(events)};
	BrPgRights rights;
	uint64 found;
	bool is_null;

	br_pg_enter_owner(&rights);
	br_pg_catalog_hold(catalog->number);
	found = br_pg_execute("SELECT source FROM bundle_rec.event_source"
						  " WHERE catalog = $1 AND events = $2 FOR UPDATE",
						  lengthof(types), types, values, NULL, false, 1);
	br_pg_leave(&rights);
	if (found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s is no event source of catalog \"%s\"",
						get_rel_name(events) != NULL ? br_pg_qualified_name(events)
													 : psprintf("table %u", events),
						catalog->name),
				 errhint("add_event_source adds one.")));
	return DatumGetInt32(br_pg_column(0, 1, &is_null));
}

void
br_pg_catalog_drop_events(const char *name, Oid events, bool keep)
{
	static const Oid types[] = {INT4OID, INT4OID, OIDOID};
	BrPgCatalog *catalog = br_pg_catalog_open(name);
	int32 number;
	Datum values[3];
	BrPgRights rights;

	br_pg_catalog_require_owner(catalog);
	number = find_event_source(catalog, events);
	/* writers of the table first, as its triggers come before what they write to */
	br_pg_source_unfollow("event_", number);
	values[0] = Int32GetDatum(number);
	values[1] = Int32GetDatum(catalog->number);
	values[2] = ObjectIdGetDatum(events);
	br_pg_enter_owner(&rights);
	if (!keep)
		br_pg_events_take_back(catalog->number, number, false);
	br_pg_execute("DELETE FROM bundle_rec.rejected WHERE catalog = $1 AND origin = $2", 2,
				  &types[1], &values[1], NULL, false, 0);
	br_pg_execute("DELETE FROM bundle_rec.event_source WHERE source = $1", 1, types, values, NULL,
				  false, 0);
	br_pg_leave(&rights);
}
