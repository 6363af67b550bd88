/*
 * catalog_create.h
 *	  How catalogs and event sources come and go: what sql/catalog_sql.c calls.
 */
#ifndef BR_CATALOG_CREATE_H
#define BR_CATALOG_CREATE_H

#include "nodes/execnodes.h"

#include "pg/catalog.h"
#include "pg/catalog_events.h"

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

/* Appends an event that no table holds; weight 1. Raises 22023 for an unsound one, 42501. */
extern void br_pg_catalog_log_event(const char *name, const BrPgEvent *event);

/* Drops a catalog, also one whose source is gone. Raises 42704, 42501. */
extern void br_pg_catalog_drop(const char *name);

/*
 * catalog_alter.c: names the model that the catalog is to move to, which
 * refresh then does; model NULL: leaves it. SPI must be connected.
 */
extern void br_pg_catalog_alter(const char *name, const char *model);

/*
 * refresh.c: everything that refresh(catalog, max_texts) does; at most so many
 * texts are embedded. SPI must be connected.
 */
extern void br_pg_catalog_refresh(const char *name, int64 max_texts);

#endif /* BR_CATALOG_CREATE_H */
