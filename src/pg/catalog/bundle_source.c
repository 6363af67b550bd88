/*
 * bundle_source.c
 *	  Sources of curated bundles come.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/catalog/bundles.h"

/* a table that was dropped leaves its rows behind, which another one may bring again */
static void
forget_dropped_sources(int32 catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog)};

	br_pg_execute(br_pg_catalog_sql("WITH gone AS (DELETE FROM bundle_rec.bundle_source b"
									" WHERE b.catalog = $1 AND NOT EXISTS (SELECT"
									" FROM pg_catalog.pg_class c WHERE c.oid = b.bundles)"
									" RETURNING source)"
									" DELETE FROM bundle_rec.bundle_item_@ m"
									" USING gone WHERE m.source = gone.source",
									catalog),
				  1, types, values, NULL, false, 0);
}

static int32
insert_source(const BrPgCatalog *catalog, Oid bundles, char *const columns[BR_PG_BUNDLE_COLUMNS])
{
	static const Oid types[] = {INT4OID, OIDOID, NAMEOID, NAMEOID, NAMEOID, NAMEOID};
	Datum values[lengthof(types)] = {Int32GetDatum(catalog->number), ObjectIdGetDatum(bundles)};
	char nulls[] = "      ";
	bool is_null;

	for (int i = 0; i < BR_PG_BUNDLE_COLUMNS; i++)
	{
		if (columns[i] == NULL)
			nulls[2 + i] = 'n';
		else
			values[2 + i] = DirectFunctionCall1(namein, CStringGetDatum(columns[i]));
	}
	if (br_pg_execute("INSERT INTO bundle_rec.bundle_source (catalog, bundles, bundle_id, item_id,"
					  " quantity, price) VALUES ($1, $2, $3, $4, $5, $6)"
					  " ON CONFLICT (catalog, bundles) DO NOTHING RETURNING source",
					  lengthof(types), types, values, nulls, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is already a source of bundles of catalog \"%s\"",
						get_rel_name(bundles), catalog->name)));
	return DatumGetInt32(br_pg_column(0, 1, &is_null));
}

void
br_pg_catalog_add_bundles(const BrPgCatalog *catalog, Oid bundles,
						  char *const columns[BR_PG_BUNDLE_COLUMNS])
{
	Relation source;
	BrPgSyncCounts counts;
	BrPgRights rights;
	int32 number;

	br_pg_catalog_require_owner(catalog);
	br_pg_catalog_follow_owner(catalog);
	source = br_pg_source_open(bundles);
	br_pg_enter_owner(&rights);
	br_pg_catalog_hold(catalog->number);
	forget_dropped_sources(catalog->number);
	number = insert_source(catalog, bundles, columns);
	br_pg_leave(&rights);

	br_pg_source_follow(source, "bundle_", number, "bundles_changed");
	br_pg_bundles_sync(number, source, &counts);
	br_pg_enter_owner(&rights);
	br_pg_run(br_pg_catalog_sql("ANALYZE bundle_rec.bundle_@, bundle_rec.bundle_item_@",
								catalog->number));
	br_pg_leave(&rights);
	table_close(source, NoLock);
}
