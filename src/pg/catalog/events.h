/*
 * events.h
 *	  Events on their way into event_queue_<n>: what events.c reads and writes,
 *	  and events_sync.c compares.
 */
#ifndef BR_CATALOG_EVENTS_H
#define BR_CATALOG_EVENTS_H

#include "pg/catalog/catalog_int.h"
#include "pg/privacy/privacy.h"

/* Columns of a source, in the order of BrPgEventColumns. */
enum
{
	BR_PG_EVENT_USER,
	BR_PG_EVENT_ITEM,
	BR_PG_EVENT_BUNDLE,
	BR_PG_EVENT_BASKET,
	BR_PG_EVENT_KIND,
	BR_PG_EVENT_QUANTITY,
	BR_PG_EVENT_PRICE,
	BR_PG_EVENT_TIME,
	BR_PG_EVENT_COLUMNS
};

/* columns of event_queue_<n>: catalog and source, those of the source, weight */
#define BR_PG_EVENT_VALUES (BR_PG_EVENT_COLUMNS + 3)

extern const char *const br_pg_event_names[BR_PG_EVENT_VALUES];

/* One event; "" stands for NULL in no text. */
typedef struct BrPgEvent
{
	const char *user_id;
	const char *item_id; /* or bundle_id */
	const char *bundle_id;
	const char *basket_id;
	const char *kind;
	double quantity;
	double price;
	bool has_price;
	TimestampTz occurred_at;
} BrPgEvent;

typedef struct BrPgEventSource
{
	BrPgFeed feed;
	int32 number;
	const char *default_kind;
	BrPgColumn column[BR_PG_EVENT_COLUMNS];
	TimestampTz since; /* events before it are too old to keep */
	BrPgForgotten forgotten;
	MemoryContext memory; /* of the batch */
	Datum *values[BR_PG_EVENT_VALUES];
	bool *nulls[BR_PG_EVENT_VALUES];
	int n;
	BrPgRejections rejections;
} BrPgEventSource;

/* Texts are palloc'd in the current memory context. */
extern void br_pg_events_read(BrPgEventSource *events, TupleTableSlot *slot, BrPgEvent *event);

/*
 * Whether an event is neither taken nor taken back, since the log holds nothing
 * that old for long.
 */
extern bool br_pg_event_is_too_old(const BrPgEventSource *events, const BrPgEvent *event);

/* What is wrong with an event, as a constant, or NULL. */
extern const char *br_pg_event_fault(const BrPgEvent *event);

/*
 * Takes back whatever of a source the log holds, in an owner section: for one
 * that says when its events happened rows of different times differ.
 */
extern void br_pg_events_take_back(int32 catalog, int32 number, bool has_time);

/* Appends a sound event; weight 1, or -1 to take one back. */
extern void br_pg_events_put(BrPgEventSource *events, const BrPgEvent *event, int weight);

#endif /* BR_CATALOG_EVENTS_H */
