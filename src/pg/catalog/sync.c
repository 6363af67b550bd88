/*
 * sync.c
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

#include "pg/catalog/bundles.h"
#include "pg/catalog/create.h"
#include "pg/catalog/events.h"

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

static void
sync_bundles(int32 number, Oid bundles, ReturnSetInfo *result)
{
	Relation source = br_pg_source_open(bundles);
	BrPgSyncCounts counts;

	br_pg_source_follow(source, "bundle_", number, "bundles_changed");
	br_pg_bundles_sync(number, source, &counts);
	put_result(result, source, "bundles", &counts);
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
	br_pg_execute_now(sql, 1, types, values);
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

#define BUNDLE_SOURCES                                                     \
	"SELECT source, bundles::pg_catalog.oid FROM bundle_rec.bundle_source" \
	" WHERE catalog = $1 ORDER BY source"

static void
tell_dropped(const BrPgCatalog *catalog, SPITupleTable *sources, const char *drop)
{
	for (uint64 row = 0; row < sources->numvals; row++)
		(void) br_pg_source_exists(catalog, source_table(sources, row), drop);
}

void
br_pg_catalog_tell_dropped(const BrPgCatalog *catalog)
{
	tell_dropped(catalog, list_sources(catalog, EVENT_SOURCES), "drop_event_source");
	tell_dropped(catalog, list_sources(catalog, BUNDLE_SOURCES), "drop_bundle_source");
}

/* the sources of a list, by the function for their kind */
static void
sync_sources(const BrPgCatalog *catalog, SPITupleTable *sources, const char *drop,
			 void (*sync)(int32, Oid, ReturnSetInfo *), ReturnSetInfo *result)
{
	for (uint64 row = 0; row < sources->numvals; row++)
		if (br_pg_source_exists(catalog, source_table(sources, row), drop))
			sync(source_number(sources, row), source_table(sources, row), result);
}

void
br_pg_catalog_sync(const char *name, ReturnSetInfo *result)
{
	static const Oid types[] = {INT4OID};
	BrPgCatalog *catalog = br_pg_catalog_open(name);
	Datum values[] = {Int32GetDatum(catalog->number)};
	SPITupleTable *bundles, *events;
	BrPgRights rights;

	br_pg_catalog_require_owner(catalog);
	br_pg_enter_owner(&rights);
	br_pg_catalog_hold(catalog->number);
	br_pg_execute_now("UPDATE bundle_rec.catalog_state SET synced_at = pg_catalog.now()"
					  " WHERE catalog = $1",
					  1, types, values);
	br_pg_leave(&rights);
	catalog = br_pg_catalog_reopen(catalog);
	/* listed first: one that is added meanwhile would have to be locked beside the others */
	bundles = list_sources(catalog, BUNDLE_SOURCES);
	events = list_sources(catalog, EVENT_SOURCES);
	br_pg_sources_lock(catalog, ShareRowExclusiveLock);

	br_pg_catalog_follow_owner(catalog);
	sync_items(catalog, result);
	sync_sources(catalog, bundles, "drop_bundle_source", sync_bundles, result);
	sync_sources(catalog, events, "drop_event_source", sync_events, result);
}

/* ---- drop_event_source, drop_bundle_source ---- */

/* What an event source and a bundle source differ in when they are dropped. */
typedef struct SourceKind
{
	const char *find;	/* $1 catalog, $2 table */
	const char *forget; /* $1 source */
	const char *prefix; /* of its triggers */
	const char *what;
	const char *add;
} SourceKind;

static const SourceKind event_source = {
	.find =
		"SELECT source FROM bundle_rec.event_source WHERE catalog = $1 AND events = $2 FOR UPDATE",
	.forget = "DELETE FROM bundle_rec.event_source WHERE source = $1",
	.prefix = "event_",
	.what = "event source",
	.add = "add_event_source",
};
static const SourceKind bundle_source = {
	.find =
		"SELECT source FROM bundle_rec.bundle_source WHERE catalog = $1 AND bundles = $2 FOR UPDATE",
	.forget = "DELETE FROM bundle_rec.bundle_source WHERE source = $1",
	.prefix = "bundle_",
	.what = "bundle source",
	.add = "add_bundle_source",
};

/* the number of a source; no refresh and no sync runs then. Raises where the table is none */
static int32
find_source(const BrPgCatalog *catalog, const SourceKind *kind, Oid table)
{
	static const Oid types[] = {INT4OID, OIDOID};
	Datum values[] = {Int32GetDatum(catalog->number), ObjectIdGetDatum(table)};
	BrPgRights rights;
	uint64 found;
	bool is_null;

	br_pg_enter_owner(&rights);
	br_pg_catalog_lock(catalog->number);
	found = br_pg_execute_now(kind->find, lengthof(types), types, values);
	br_pg_leave(&rights);
	if (found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s is no %s of catalog \"%s\"",
						get_rel_name(table) != NULL ? br_pg_qualified_name(table)
													: psprintf("table %u", table),
						kind->what, catalog->name),
				 errhint("%s adds one.", kind->add)));
	return DatumGetInt32(br_pg_column(0, 1, &is_null));
}

static void
drop_source(const char *name, const SourceKind *kind, Oid table, bool keep)
{
	static const Oid types[] = {INT4OID, INT4OID, OIDOID};
	BrPgCatalog *catalog = br_pg_catalog_open_owned(name);
	int32 number = find_source(catalog, kind, table);
	Datum values[] = {Int32GetDatum(number), Int32GetDatum(catalog->number),
					  ObjectIdGetDatum(table)};
	BrPgRights rights;

	if (OidIsValid(catalog->owner))
		br_pg_catalog_follow_owner(catalog);
	/* writers of the table first, as its triggers come before what they write to */
	br_pg_source_unfollow(kind->prefix, number);
	br_pg_enter_owner(&rights);
	if (kind == &bundle_source)
		br_pg_bundles_remove_source(catalog->number, number);
	else if (!keep)
		br_pg_events_take_back(catalog->number, number, false);
	br_pg_execute_now("DELETE FROM bundle_rec.rejected WHERE catalog = $1 AND origin = $2", 2,
					  &types[1], &values[1]);
	br_pg_execute_now(kind->forget, 1, types, values);
	br_pg_leave(&rights);
}

void
br_pg_catalog_drop_events(const char *name, Oid events, bool keep)
{
	drop_source(name, &event_source, events, keep);
}

void
br_pg_catalog_drop_bundles(const char *name, Oid bundles)
{
	drop_source(name, &bundle_source, bundles, false);
}
