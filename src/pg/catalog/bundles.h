/*
 * bundles.h
 *	  Curated bundles on their way from a source table into a catalog.
 */
#ifndef BR_CATALOG_BUNDLES_H
#define BR_CATALOG_BUNDLES_H

#include "pg/catalog/catalog_int.h"

/* bundles.c: rows of a bundle source into bundle_<n> and bundle_item_<n> */

/*
 * SPI must be connected; NULL where that number is not the number of this
 * table, or of one that it is a partition of. *catalog is set also where a
 * problem is found.
 */
extern BrPgFeed *br_pg_bundles_open(int32 number, Relation source, int32 *catalog, char **problem);

/* As br_pg_events_sync. */
extern void br_pg_bundles_sync(int32 number, Relation source, BrPgSyncCounts *counts);

/* Takes away whatever a source brought, in an owner section. */
extern void br_pg_bundles_remove_source(int32 catalog, int32 number);

/* bundle_source.c: bundle sources come and go */

/* bundle_id, item_id, quantity, price */
#define BR_PG_BUNDLE_COLUMNS 4

/* Adds a table of bundles, NULL for columns it does not have, and takes its rows. */
extern void br_pg_catalog_add_bundles(const BrPgCatalog *catalog, Oid bundles,
									  char *const columns[BR_PG_BUNDLE_COLUMNS]);

#endif /* BR_CATALOG_BUNDLES_H */
