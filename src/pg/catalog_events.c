/*
 * catalog_events.c
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

#include "pg/catalog_int.h"

/* values of a row, in the order of the INSERT below */
enum
{
	USER_ID,
	ITEM_ID,
	BASKET_ID,
	KIND,
	QUANTITY,
	PRICE,
	OCCURRED_AT,
	WEIGHT,
	N_VALUES
};

static const Oid element_types[N_VALUES] = {TEXTOID,   TEXTOID,	  TEXTOID,		  TEXTOID,
											FLOAT8OID, FLOAT8OID, TIMESTAMPTZOID, INT2OID};

struct BrPgEventSource
{
	int32 number;
	int32 catalog;
	char *catalog_name;
	Relation source;
	BrPgColumn column[WEIGHT];
	MemoryContext memory; /* of the batch */
	Datum *values[N_VALUES];
	bool *nulls[N_VALUES];
	int n;
	BrPgRejections rejections;
};

static uint64
select_source(int32 number)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(number)};
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found =
		br_pg_execute("SELECT e.user_id, e.item_id, e.basket_id, e.kind, e.quantity, e.price,"
					  " e.occurred_at, e.catalog, c.name, e.events::pg_catalog.oid"
					  " FROM bundle_rec.event_source e JOIN bundle_rec.catalog c USING (catalog)"
					  " WHERE e.source = $1",
					  1, types, values, NULL, false, 1);
	br_pg_leave(&rights);
	return found;
}

BrPgEventSource *
br_pg_events_open(int32 number, Relation source, int32 *catalog, char **problem)
{
	static const BrPgColumnKind kinds[WEIGHT] = {BR_PG_COLUMN_TEXT,	  BR_PG_COLUMN_TEXT,
												 BR_PG_COLUMN_TEXT,	  BR_PG_COLUMN_TEXT,
												 BR_PG_COLUMN_NUMBER, BR_PG_COLUMN_NUMBER,
												 BR_PG_COLUMN_TIME};
	BrPgEventSource *events;
	bool is_null;

	if (select_source(number) == 0 ||
		DatumGetObjectId(br_pg_column(0, 10, &is_null)) != RelationGetRelid(source))
		return NULL;
	events = palloc0(sizeof(BrPgEventSource));
	events->number = number;
	events->source = source;
	events->catalog = DatumGetInt32(br_pg_column(0, 8, &is_null));
	events->catalog_name = br_pg_column_text(0, 9);
	*catalog = events->catalog;
	for (int i = 0; i < WEIGHT; i++)
		if (!br_pg_column_find(source, br_pg_column_text(0, i + 1), kinds[i], &events->column[i],
							   problem))
			return NULL;
	SPI_freetuptable(SPI_tuptable);
	events->memory =
		AllocSetContextCreate(CurrentMemoryContext, "event batch", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < N_VALUES; i++)
	{
		events->values[i] = palloc(sizeof(Datum) * BR_PG_BATCH_ROWS);
		events->nulls[i] = palloc(sizeof(bool) * BR_PG_BATCH_ROWS);
	}
	br_pg_rejections_init(&events->rejections, events->catalog, RelationGetRelid(source));
	return events;
}

bool
br_pg_events_same(const BrPgEventSource *events, TupleTableSlot *left, TupleTableSlot *right)
{
	for (int i = 0; i < WEIGHT; i++)
		if (!br_pg_column_same(&events->column[i], events->source, left, right))
			return false;
	return true;
}

/* into place n of the batch, "" as NULL; returns the text */
static char *
read_text(BrPgEventSource *events, TupleTableSlot *slot, int column)
{
	char *text = br_pg_column_read_text(&events->column[column], slot);

	if (text != NULL && text[0] == '\0')
		text = NULL;
	events->nulls[column][events->n] = text == NULL;
	events->values[column][events->n] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
	return text;
}

static double
read_number(BrPgEventSource *events, TupleTableSlot *slot, int column, bool *known)
{
	double number = br_pg_column_read_number(&events->column[column], slot, known);

	events->nulls[column][events->n] = !*known;
	events->values[column][events->n] = Float8GetDatum(number);
	return number;
}

/* fills place n of the batch; returns what is wrong with the row, or NULL */
static const char *
read_row(BrPgEventSource *events, TupleTableSlot *slot, char **item_id)
{
	int n = events->n;
	double quantity, price;
	bool known, price_known;

	(void) read_text(events, slot, USER_ID);
	*item_id = read_text(events, slot, ITEM_ID);
	(void) read_text(events, slot, BASKET_ID);
	if (read_text(events, slot, KIND) == NULL)
		events->values[KIND][n] = CStringGetTextDatum("purchase");
	events->nulls[KIND][n] = false;

	quantity = read_number(events, slot, QUANTITY, &known);
	if (!known)
		quantity = 1;
	events->values[QUANTITY][n] = Float8GetDatum(quantity);
	events->nulls[QUANTITY][n] = false;
	price = read_number(events, slot, PRICE, &price_known);

	events->values[OCCURRED_AT][n] =
		TimestampTzGetDatum(br_pg_column_read_time(&events->column[OCCURRED_AT], slot, &known));
	if (!known)
		events->values[OCCURRED_AT][n] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	events->nulls[OCCURRED_AT][n] = false;
	events->nulls[WEIGHT][n] = false;

	if (*item_id == NULL)
		return "its item id is NULL or empty";
	if (!(quantity > 0 && isfinite(quantity)))
		return "its quantity is not above 0, NaN or infinite";
	if (price_known && !(price >= 0 && isfinite(price)))
		return "its price is negative, NaN or infinite";
	return NULL;
}

void
br_pg_events_add(BrPgEventSource *events, TupleTableSlot *slot, int weight)
{
	MemoryContext old = MemoryContextSwitchTo(events->memory);
	char *item_id;
	const char *fault = read_row(events, slot, &item_id);

	if (fault == NULL)
	{
		events->values[WEIGHT][events->n] = Int16GetDatum(weight);
		events->n++;
	}
	else if (weight > 0)
		br_pg_reject(&events->rejections, item_id, fault);
	MemoryContextSwitchTo(old);
	if (events->n == BR_PG_BATCH_ROWS || events->rejections.pending == BR_PG_BATCH_ROWS)
		br_pg_events_flush(events);
}

void
br_pg_events_flush(BrPgEventSource *events)
{
	static const Oid types[] = {TEXTARRAYOID,		 TEXTARRAYOID,	 TEXTARRAYOID,
								TEXTARRAYOID,		 FLOAT8ARRAYOID, FLOAT8ARRAYOID,
								TIMESTAMPTZARRAYOID, INT2ARRAYOID,	 INT4OID};
	MemoryContext old = MemoryContextSwitchTo(events->memory);
	Datum values[N_VALUES + 1];
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_prefer_generic_plans();
	if (events->n > 0)
	{
		for (int i = 0; i < N_VALUES; i++)
			values[i] =
				br_pg_array(events->values[i], events->nulls[i], events->n, element_types[i]);
		values[N_VALUES] = Int32GetDatum(events->number);
		br_pg_execute(br_pg_catalog_sql("INSERT INTO bundle_rec.event_queue_@ (source, user_id, item_id, basket_id,"
										" kind, quantity, price, occurred_at, weight)"
										" SELECT $9, u.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)"
										" AS u",
										events->catalog),
					  lengthof(types), types, values, NULL, false, 0);
	}
	br_pg_rejections_flush(&events->rejections);
	br_pg_leave(&rights);
	events->n = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(events->memory);
	CHECK_FOR_INTERRUPTS();
}

void
br_pg_events_remove_all(BrPgEventSource *events)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(events->number)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute(br_pg_catalog_sql(
					  "INSERT INTO bundle_rec.event_queue_@ (source, user_id, item_id, basket_id, kind, quantity,"
					  " price, occurred_at, weight)"
					  " SELECT $1, e.user_id, e.item_id, e.basket_id, e.kind, e.quantity, e.price,"
					  " e.occurred_at, -1 FROM (SELECT user_id, item_id, basket_id, kind, quantity, price,"
					  " occurred_at, pg_catalog.sum(weight) AS live FROM"
					  " (TABLE bundle_rec.event_@ UNION ALL TABLE bundle_rec.event_queue_@) l"
					  " WHERE source = $1 GROUP BY 1, 2, 3, 4, 5, 6, 7) e,"
					  " pg_catalog.generate_series(1, e.live)",
					  events->catalog),
				  1, types, values, NULL, false, 0);
	br_pg_leave(&rights);
}

void
br_pg_events_close(BrPgEventSource *events)
{
	br_pg_events_flush(events);
	br_pg_rejections_warn(&events->rejections, events->catalog_name);
	MemoryContextDelete(events->rejections.memory);
	MemoryContextDelete(events->memory);
}
