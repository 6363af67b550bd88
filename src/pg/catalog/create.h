/*
 * create.h
 *	  How catalogs and event sources come and go: what sql/catalog_sql.c calls.
 */
#ifndef BR_CATALOG_CREATE_H
#define BR_CATALOG_CREATE_H

#include "nodes/execnodes.h"

#include "pg/catalog/catalog.h"
#include "pg/catalog/events.h"

/* What add_event_source is asked for. */
typedef struct BrPgEventRequest
{
	Oid events;
	char *columns[BR_PG_EVENT_COLUMNS]; /* NULL: the source has none */
	const char *default_kind;
	Datum weights; /* jsonb object: weight per kind */
	bool has_weights;
} BrPgEventRequest;

/*
 * Creates the catalog that is described but for number, owner and model, with
 * its tables, triggers, default policy and the source's rows. image and model
 * may be NULL. SPI must be connected. Raises 42710 where the name is taken,
 * 0A000 where the source is no plain table, 42501 where it is not the caller's.
 */
extern void br_pg_catalog_create(BrPgCatalog *catalog, const char *image, const char *model);

/* Adds a source of events and takes its rows; returns its number. */
extern int32 br_pg_catalog_add_events(const BrPgCatalog *catalog, const BrPgEventRequest *request);

/* Makes every source's part of the catalog what the source holds now; rows as sync says. */
extern void br_pg_catalog_sync(const char *name, ReturnSetInfo *result);

/* Drops an event source, also one that is gone; its events are taken back unless they are kept. */
extern void br_pg_catalog_drop_events(const char *name, Oid events, bool keep);

/* Drops a bundle source, also one that is gone, with what it brought. */
extern void br_pg_catalog_drop_bundles(const char *name, Oid bundles);

/* Appends an event that no table holds; weight 1. Raises 22023 for an unsound one, 42501. */
extern void br_pg_catalog_log_event(const char *name, const BrPgEvent *event);

/* Drops a catalog, also one whose source is gone. Raises 42704, 42501. */
extern void br_pg_catalog_drop(const char *name);

/* item_id, price, cost, stock, category, active, created_at */
#define BR_PG_CATALOG_COLUMNS 7

/* What alter_catalog is asked for; NULL and 0 leave things as they are. */
typedef struct BrPgCatalogChange
{
	const char *model;
	const char *why; /* another model, as history.h says it; NULL: "altered" */
	int64 gate;		 /* that this model passed; 0: none */
	Oid items;
	char *columns[BR_PG_CATALOG_COLUMNS]; /* "": the catalog has no such column any more */
	bool has_text;
	char **text;
	int n_text;
	bool has_discount;
	double discount;
} BrPgCatalogChange;

/*
 * alter.c: changes the description of a catalog, also of one whose
 * source is gone, and compares all items with the source where that is
 * concerned. Another model is named, and refresh moves the catalog to it;
 * naming the one in service stays with that. Raises 42704, 42501.
 */
extern void br_pg_catalog_alter(const char *name, const BrPgCatalogChange *change);

#endif /* BR_CATALOG_CREATE_H */
