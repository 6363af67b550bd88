/*
 * catalog_int.h
 *	  What the files of catalogs share: columns of a source, and the writing of
 *	  its rows into a catalog's own tables.
 *
 * A row of a source reaches us as a slot, from a scan of the table or from a
 * trigger's transition table. Both go through the same columns and the same
 * batches, so that a catalog kept by triggers equals one loaded afresh.
 */
#ifndef BR_CATALOG_INT_H
#define BR_CATALOG_INT_H

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "core/math/br_math.h"
#include "pg/catalog.h"

/* catalog_column.c: columns of a source */

typedef enum BrPgColumnKind
{
	BR_PG_COLUMN_TEXT,	 /* ids, categories, texts: types whose output does not vary */
	BR_PG_COLUMN_NUMBER, /* integers, floats, numeric */
	BR_PG_COLUMN_BOOLEAN,
	BR_PG_COLUMN_TIME, /* date, timestamp, timestamptz */
	BR_PG_COLUMN_ANY   /* only has to exist */
} BrPgColumnKind;

typedef struct BrPgColumn
{
	AttrNumber number; /* 0: the catalog has no such column */
	Oid type;		   /* below any domain */
	FmgrInfo output;   /* of BR_PG_COLUMN_TEXT */
} BrPgColumn;

/*
 * Finds a column by name; name NULL gives a column that is NULL in every row.
 * Where it is missing or of an unfit type: raises 42703 or 42804, or with
 * problem not NULL sets *problem to a sentence and returns false.
 */
extern bool br_pg_column_find(Relation source, const char *name, BrPgColumnKind kind,
							  BrPgColumn *column, char **problem);

/* NULL for NULL; blanks that pad a char(n) are left out. */
extern char *br_pg_column_read_text(const BrPgColumn *column, TupleTableSlot *slot);

/* *known false for NULL. Numbers beyond a double become infinite. */
extern double br_pg_column_read_number(const BrPgColumn *column, TupleTableSlot *slot, bool *known);

/* *known false for NULL and for what a timestamptz cannot hold or is infinite. */
extern TimestampTz br_pg_column_read_time(const BrPgColumn *column, TupleTableSlot *slot,
										  bool *known);
extern bool br_pg_column_read_boolean(const BrPgColumn *column, TupleTableSlot *slot,
									  bool when_null);

/* Whether a column has the same bytes in two rows of its table. */
extern bool br_pg_column_same(const BrPgColumn *column, Relation source, TupleTableSlot *left,
							  TupleTableSlot *right);

/* Whether a unique index that is checked at once covers just this column. */
extern bool br_pg_column_is_unique(Relation source, const BrPgColumn *column);

/* An array parameter for unnest; nulls may be NULL. */
extern Datum br_pg_array(Datum *values, bool *nulls, int n, Oid type);

/* Rows of a source that are written together. */
#define BR_PG_BATCH_ROWS 1000

/* catalog_rejected.c: rows that are set aside, at most a batch between two flushes */

typedef struct BrPgRejections
{
	int32 catalog;
	Oid origin;
	MemoryContext memory;
	int64 total;
	int pending;
	Datum *row_ids;
	bool *row_id_nulls;
	Datum *reasons;
	char *first; /* sentence about the first one */
} BrPgRejections;

extern void br_pg_rejections_init(BrPgRejections *rejections, int32 catalog, Oid origin);

/* reason: a constant; row_id may be NULL. */
extern void br_pg_reject(BrPgRejections *rejections, const char *row_id, const char *reason);

/* Writes what is pending, in an owner section. */
extern void br_pg_rejections_flush(BrPgRejections *rejections);

/* One WARNING for all of them, none where there were none. */
extern void br_pg_rejections_warn(const BrPgRejections *rejections, const char *catalog_name);

/* catalog_items.c: items of a source into item_<n> and item_state_<n> */

typedef struct BrPgItemSource BrPgItemSource;

/*
 * The columns of a catalog's source. problem as in br_pg_column_find; NULL is
 * returned where it was set.
 */
extern BrPgItemSource *br_pg_items_open(const BrPgCatalog *catalog, Relation source,
										char **problem);

/* In what two versions of a row differ: the most telling of these. */
typedef enum BrPgDifference
{
	BR_PG_SAME,
	BR_PG_STATE_DIFFERS, /* price, cost, stock, active */
	BR_PG_TEXT_DIFFERS,	 /* text, category, date */
	BR_PG_ID_DIFFERS	 /* or there is no other version */
} BrPgDifference;

extern BrPgDifference br_pg_items_compare(const BrPgItemSource *items, TupleTableSlot *left,
										  TupleTableSlot *right);

/* Adds a row to the batch; full batches are written. SPI must be connected. */
extern void br_pg_items_add(BrPgItemSource *items, TupleTableSlot *slot, BrPgDifference difference);

/* Takes the item of a row away when the batch is written. */
extern void br_pg_items_remove(BrPgItemSource *items, TupleTableSlot *slot);

/* Takes all items away. */
extern void br_pg_items_remove_all(BrPgItemSource *items);

/* Writes what is left of the batch; rejected rows stay counted until br_pg_items_close. */
extern void br_pg_items_flush(BrPgItemSource *items);
extern void br_pg_items_close(BrPgItemSource *items);

/* catalog_events.c: rows of an event source into event_queue_<n> */

typedef struct BrPgEventSource BrPgEventSource;

/*
 * SPI must be connected; NULL where that number is not this table's. *catalog
 * is set also where a problem is found.
 */
extern BrPgEventSource *br_pg_events_open(int32 number, Relation source, int32 *catalog,
										  char **problem);
extern void br_pg_events_add(BrPgEventSource *events, TupleTableSlot *slot, int weight);

/* Takes back whatever of this source stands in event_<n> and event_queue_<n>. */
extern void br_pg_events_remove_all(BrPgEventSource *events);
extern bool br_pg_events_same(const BrPgEventSource *events, TupleTableSlot *left,
							  TupleTableSlot *right);
extern void br_pg_events_flush(BrPgEventSource *events);
extern void br_pg_events_close(BrPgEventSource *events);

/* catalog_children.c: the tables of one catalog; all in an owner section */

/* Several statements, run once: not worth a kept plan. */
extern void br_pg_run(const char *sql);

extern void br_pg_children_create(int32 number, Oid owner);
extern void br_pg_children_drop(int32 number);

/*
 * The indexes of a child that are no keys; parent NULL: of all children. A
 * first load drops them before it writes and makes them afterwards.
 */
extern void br_pg_children_create_indexes(int32 number, const char *parent);
extern void br_pg_children_drop_indexes(int32 number, const char *parent);

/* catalog_trigger.c: all rows of a source, by a scan of the table itself */
extern void br_pg_load_items(const BrPgCatalog *catalog, Relation source);
extern void br_pg_load_events(int32 number, Relation source);

/* catalog.c */

/*
 * In an owner section: plans are made once, not for each array that is passed.
 * Writers of a few rows at a time would spend most of their time on planning.
 */
extern void br_pg_prefer_generic_plans(void);

/* neighbours.c: stored neighbours, brought up to date by refresh */

/* Embeddings on disk, row by row, for one refresh. */
typedef struct BrPgMatrix BrPgMatrix;

extern BrPgMatrix *br_pg_matrix_create(int dims);
extern void br_pg_matrix_append(BrPgMatrix *matrix, int32 item, const uint16 *halves);
extern int br_pg_matrix_rows(const BrPgMatrix *matrix);
extern int32 br_pg_matrix_item(const BrPgMatrix *matrix, int row);
extern void br_pg_matrix_read(BrPgMatrix *matrix, int first, int n, uint16 *halves /* (n, dims) */);
extern void br_pg_matrix_free(BrPgMatrix *matrix);

/*
 * Makes item_neighbour_<n> the exact nearest active items of every active item
 * that has an embedding. changed: embeddings made by this refresh, which
 * stand for what the table says; NULL where there are none. SPI must be
 * connected.
 */
extern void br_pg_neighbours_refresh(const BrPgCatalog *catalog, BrPgMatrix *changed, int dims);

#endif /* BR_CATALOG_INT_H */
