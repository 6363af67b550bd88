/*
 * events.c
 *	  Rows of an event source, appended to event_queue_<n>.
 *
 * The log is only ever appended to: a row that was deleted, or the old version
 * of one that was updated, is appended again with weight -1. Nothing is
 * counted here; refresh does that, so that no two shoppers meet in a counter.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "pg/bulk.h"
#include "pg/catalog/create.h"
#include "pg/catalog/events.h"

static const BrPgFeedMethods event_methods;

const char *const br_pg_event_names[BR_PG_EVENT_VALUES] = {"catalog",	  "source",	   "user_id",
														   "item_id",	  "bundle_id", "basket_id",
														   "kind",		  "quantity",  "price",
														   "occurred_at", "weight"};

/* ---- opening ---- */

static uint64
select_source(int32 number)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(number)};
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found =
		br_pg_execute_now("SELECT e.user_id, e.item_id, e.bundle_id, e.basket_id, e.kind,"
						  " e.quantity, e.price, e.occurred_at, e.default_kind, e.catalog, c.name,"
						  " e.events::pg_catalog.oid, s.events_since"
						  " FROM bundle_rec.event_source e JOIN bundle_rec.catalog c USING (catalog)"
						  " JOIN bundle_rec.catalog_state s USING (catalog)"
						  " WHERE e.source = $1",
						  1, types, values);
	br_pg_leave(&rights);
	return found;
}

static bool
find_columns(BrPgEventSource *events, char **problem)
{
	static const BrPgColumnKind kinds[BR_PG_EVENT_COLUMNS] =
		{BR_PG_COLUMN_TEXT, BR_PG_COLUMN_TEXT,	 BR_PG_COLUMN_TEXT,	  BR_PG_COLUMN_TEXT,
		 BR_PG_COLUMN_TEXT, BR_PG_COLUMN_NUMBER, BR_PG_COLUMN_NUMBER, BR_PG_COLUMN_TIME};

	for (int i = 0; i < BR_PG_EVENT_COLUMNS; i++)
	{
		BrPgColumn *column = &events->column[i];

		if (!br_pg_column_find(events->feed.source, br_pg_column_text(0, i + 1), kinds[i], column,
							   problem))
			return false;
		if (column->number != 0)
			events->feed.columns = bms_add_member(events->feed.columns, column->number);
	}
	return true;
}

/* the batch of a source, without its columns */
static BrPgEventSource *
create_events(int32 number, int32 catalog, const char *catalog_name)
{
	BrPgEventSource *events = palloc0(sizeof(BrPgEventSource));

	events->number = number;
	events->feed.methods = &event_methods;
	events->feed.catalog = catalog;
	events->feed.catalog_name = catalog_name;
	br_pg_forgotten_open(catalog, "event_queue", &events->forgotten);
	events->memory =
		AllocSetContextCreate(CurrentMemoryContext, "event batch", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < BR_PG_EVENT_VALUES; i++)
	{
		events->values[i] = palloc(sizeof(Datum) * BR_PG_BATCH_ROWS);
		events->nulls[i] = palloc0(sizeof(bool) * BR_PG_BATCH_ROWS);
	}
	return events;
}

BrPgFeed *
br_pg_events_open(int32 number, Relation source, int32 *catalog, char **problem)
{
	BrPgEventSource *events;
	bool is_null = true;
	Oid origin = InvalidOid;
	Datum since;

	if (select_source(number) > 0)
		origin = DatumGetObjectId(br_pg_column(0, 12, &is_null));
	if (is_null || !br_pg_source_covers(origin, RelationGetRelid(source)))
		return NULL;
	*catalog = DatumGetInt32(br_pg_column(0, 10, &is_null));
	events = create_events(number, *catalog, br_pg_column_text(0, 11));
	events->feed.origin = origin;
	events->feed.source = source;
	events->default_kind = br_pg_column_text(0, 9);
	since = br_pg_column(0, 13, &is_null);
	events->since = is_null ? DT_NOBEGIN : DatumGetTimestampTz(since);
	if (!find_columns(events, problem))
		return NULL;
	SPI_freetuptable(SPI_tuptable);
	br_pg_rejections_init(&events->rejections, *catalog, origin);
	return &events->feed;
}

static BrPgDifference
compare_versions(BrPgFeed *feed, TupleTableSlot *left, TupleTableSlot *right)
{
	const BrPgEventSource *events = (const BrPgEventSource *) feed;

	for (int i = 0; i < BR_PG_EVENT_COLUMNS; i++)
		if (!br_pg_column_same(&events->column[i], feed->source, left, right))
			return BR_PG_ID_DIFFERS;
	return BR_PG_SAME;
}

/* ---- reading a row ---- */

static char *
read_text(const BrPgColumn *column, TupleTableSlot *slot)
{
	char *text = br_pg_column_read_text(column, slot);

	return text == NULL || text[0] == '\0' ? NULL : text;
}

/*
 * A forgotten user's row counts as it did, without his name, also where the
 * name serves as a basket's id. Both ways: what is taken back must equal what
 * stands in the log.
 */
static void
take_name_out(BrPgEventSource *events, BrPgEvent *event)
{
	if (br_pg_is_forgotten(&events->forgotten, event->user_id))
		event->user_id = NULL;
	if (br_pg_is_forgotten(&events->forgotten, event->basket_id))
		event->basket_id =
			br_pg_pseudonym(events->forgotten.secret, BR_PG_HASH_BYTES, "user", event->basket_id);
}

void
br_pg_events_read(BrPgEventSource *events, TupleTableSlot *slot, BrPgEvent *event)
{
	const BrPgColumn *column = events->column;
	bool known;

	event->user_id = read_text(&column[BR_PG_EVENT_USER], slot);
	event->item_id = read_text(&column[BR_PG_EVENT_ITEM], slot);
	event->bundle_id = read_text(&column[BR_PG_EVENT_BUNDLE], slot);
	event->basket_id = read_text(&column[BR_PG_EVENT_BASKET], slot);
	event->kind = read_text(&column[BR_PG_EVENT_KIND], slot);
	if (event->kind == NULL)
		event->kind = events->default_kind;
	event->quantity = br_pg_column_read_number(&column[BR_PG_EVENT_QUANTITY], slot, &known);
	if (!known)
		event->quantity = 1;
	event->price = br_pg_column_read_number(&column[BR_PG_EVENT_PRICE], slot, &event->has_price);
	event->occurred_at = br_pg_column_read_time(&column[BR_PG_EVENT_TIME], slot, &known);
	/* a row that says no time is older than all others; a source that says none tells news */
	if (!known)
		event->occurred_at = column[BR_PG_EVENT_TIME].number != 0
			? DT_NOBEGIN
			: GetCurrentTransactionStartTimestamp();
	take_name_out(events, event);
}

bool
br_pg_event_is_too_old(const BrPgEventSource *events, const BrPgEvent *event)
{
	return event->occurred_at < events->since;
}

static bool
too_long(const char *text)
{
	return text != NULL && strlen(text) > BR_PG_MAX_ID;
}

const char *
br_pg_event_fault(const BrPgEvent *event)
{
	if (event->item_id == NULL && event->bundle_id == NULL)
		return "its item id is NULL or empty";
	if (event->item_id != NULL && event->bundle_id != NULL)
		return "it names both an item and a bundle";
	if (too_long(event->item_id) || too_long(event->bundle_id) || too_long(event->user_id) ||
		too_long(event->basket_id) || too_long(event->kind))
		return "one of its ids is longer than 1024 bytes";
	if (!(event->quantity > 0 && isfinite(event->quantity)))
		return "its quantity is not above 0, NaN or infinite";
	if (event->has_price && !(event->price >= 0 && isfinite(event->price)))
		return "its price is negative, NaN or infinite";
	return NULL;
}

/* ---- the batch ---- */

static void
put_text(BrPgEventSource *events, int value, const char *text)
{
	events->nulls[value][events->n] = text == NULL;
	events->values[value][events->n] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static void
flush_events(BrPgFeed *feed)
{
	BrPgEventSource *events = (BrPgEventSource *) feed;
	MemoryContext old = MemoryContextSwitchTo(events->memory);
	BrPgBatch batch = {.rows = events->n,
					   .columns = BR_PG_EVENT_VALUES,
					   .names = br_pg_event_names,
					   .values = events->values,
					   .nulls = events->nulls};
	BrPgRights rights;

	if (events->n > 0)
		br_pg_bulk_insert(br_pg_child("event_queue", feed->catalog), &batch);
	if (br_pg_rejections_pending(&events->rejections))
	{
		br_pg_enter_owner(&rights);
		br_pg_rejections_flush(&events->rejections);
		br_pg_leave(&rights);
	}
	events->n = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(events->memory);
	CHECK_FOR_INTERRUPTS();
}

void
br_pg_events_put(BrPgEventSource *events, const BrPgEvent *event, int weight)
{
	MemoryContext old = MemoryContextSwitchTo(events->memory);
	int n = events->n;

	events->values[0][n] = Int32GetDatum(events->feed.catalog);
	events->values[1][n] = Int32GetDatum(events->number);
	put_text(events, 2, event->user_id);
	put_text(events, 3, event->item_id);
	put_text(events, 4, event->bundle_id);
	put_text(events, 5, event->basket_id);
	put_text(events, 6, event->kind);
	events->values[7][n] = Float8GetDatum(event->quantity);
	events->values[8][n] = Float8GetDatum(event->price);
	events->nulls[8][n] = !event->has_price;
	events->values[9][n] = TimestampTzGetDatum(event->occurred_at);
	events->values[10][n] = Int16GetDatum(weight);
	events->n++;
	MemoryContextSwitchTo(old);
	if (events->n == BR_PG_BATCH_ROWS)
		flush_events(&events->feed);
}

static void
append(BrPgFeed *feed, TupleTableSlot *slot, int weight)
{
	BrPgEventSource *events = (BrPgEventSource *) feed;
	MemoryContext old = MemoryContextSwitchTo(events->memory);
	BrPgEvent event;
	const char *fault, *id;

	br_pg_events_read(events, slot, &event);
	fault = br_pg_event_fault(&event);
	MemoryContextSwitchTo(old);
	if (fault == NULL)
	{
		if (!br_pg_event_is_too_old(events, &event))
			br_pg_events_put(events, &event, weight);
		return;
	}
	id = event.item_id != NULL ? event.item_id : event.bundle_id;
	if (weight > 0)
		br_pg_reject(&events->rejections, id, fault);
	else
		br_pg_unreject(&events->rejections, id, fault);
	if (br_pg_rejections_full(&events->rejections))
		flush_events(feed);
}

static void
add_event(BrPgFeed *feed, TupleTableSlot *slot, BrPgDifference difference)
{
	append(feed, slot, 1);
}

static void
remove_event(BrPgFeed *feed, TupleTableSlot *slot)
{
	append(feed, slot, -1);
}

void
br_pg_events_take_back(int32 catalog, int32 number, bool has_time)
{
	static const Oid types[] = {INT4OID, BOOLOID};
	Datum values[] = {Int32GetDatum(number), BoolGetDatum(has_time)};

	br_pg_execute_once_now(
		br_pg_catalog_sql("INSERT INTO bundle_rec.event_queue_@ (source, user_id, item_id, bundle_id, basket_id,"
						  " kind, quantity, price, occurred_at, weight)"
						  " SELECT $1, e.user_id, e.item_id, e.bundle_id, e.basket_id, e.kind, e.quantity,"
						  " e.price, e.latest, -1 FROM (SELECT user_id, item_id, bundle_id, basket_id, kind,"
						  " quantity, price, pg_catalog.max(occurred_at) AS latest,"
						  " pg_catalog.sum(weight) AS live FROM"
						  " (TABLE bundle_rec.event_@ UNION ALL TABLE bundle_rec.event_queue_@) l"
						  " WHERE source = $1 GROUP BY 1, 2, 3, 4, 5, 6, 7,"
						  " CASE WHEN $2 THEN occurred_at END) e,"
						  " pg_catalog.generate_series(1, e.live)",
						  catalog),
		lengthof(types), types, values);
}

/* rows are told apart by what the source says of them: times that we gave them are not that */
static void
remove_all_events(BrPgFeed *feed)
{
	BrPgEventSource *events = (BrPgEventSource *) feed;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_events_take_back(feed->catalog, events->number,
						   events->column[BR_PG_EVENT_TIME].number != 0);
	br_pg_rejections_clear(&events->rejections);
	br_pg_leave(&rights);
}

static void
warn_of_events(BrPgFeed *feed)
{
	br_pg_rejections_warn(&((BrPgEventSource *) feed)->rejections, feed->catalog_name);
}

static void
close_events(BrPgFeed *feed)
{
	BrPgEventSource *events = (BrPgEventSource *) feed;

	flush_events(feed);
	warn_of_events(feed);
	MemoryContextDelete(events->rejections.memory);
	MemoryContextDelete(events->memory);
}

static const BrPgFeedMethods event_methods = {
	.compare = compare_versions,
	.add = add_event,
	.remove = remove_event,
	.remove_all = remove_all_events,
	.flush = flush_events,
	.warn = warn_of_events,
	.close = close_events,
};

/* ---- log_event ---- */

/* the number of what log_event writes */
static int32
log_source(int32 catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog)};
	BrPgRights rights;
	uint64 found;
	bool is_null;

	br_pg_enter_owner(&rights);
	found = br_pg_execute_now("SELECT source FROM bundle_rec.event_source"
							  " WHERE catalog = $1 AND events IS NULL",
							  1, types, values);
	br_pg_leave(&rights);
	if (found == 0)
		elog(ERROR, "catalog %d has no log of its own", catalog);
	return DatumGetInt32(br_pg_column(0, 1, &is_null));
}

void
br_pg_catalog_log_event(const char *name, const BrPgEvent *event)
{
	BrPgCatalog *catalog = br_pg_catalog_open(name);
	const char *fault = br_pg_event_fault(event);
	BrPgEventSource *events;
	BrPgEvent logged;

	br_pg_catalog_require_insert(catalog, "event", "log events");
	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the event cannot be logged"),
				 errdetail("Of the event, %s.", fault),
				 errhint("Give an item_id or a bundle_id of the catalog, a quantity above 0 and a"
						 " price of at least 0.")));
	events = create_events(log_source(catalog->number), catalog->number, catalog->name);
	logged = *event;
	take_name_out(events, &logged);
	br_pg_events_put(events, &logged, 1);
	flush_events(&events->feed);
}
