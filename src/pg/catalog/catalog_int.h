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
#include "nodes/bitmapset.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

#include "core/math/br_math.h"
#include "pg/catalog/catalog.h"

/* column.c: columns of a source */

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

/* Whether it is one of several columns of the primary key. */
extern bool br_pg_column_is_part_of_key(Relation source, const BrPgColumn *column);

/* An array parameter for unnest; nulls may be NULL. */
extern Datum br_pg_array(Datum *values, bool *nulls, int n, Oid type);

/* Whether an index row of this many bytes and some more fits a page: ids, kinds, categories. */
#define BR_PG_MAX_ID 1024

/* Rows of a source that are written together. */
#define BR_PG_BATCH_ROWS 1000

/*
 * What takes the rows of a source: items, events or bundles of a catalog. Rows
 * come from a scan or from a trigger. SPI must be connected for all of them.
 */

/* In what two versions of a row differ: the most telling of these. */
typedef enum BrPgDifference
{
	BR_PG_SAME,
	BR_PG_STATE_DIFFERS,  /* price, cost, stock */
	BR_PG_ACTIVE_DIFFERS, /* whether it may be offered */
	BR_PG_TEXT_DIFFERS,	  /* text, category, date */
	BR_PG_ID_DIFFERS	  /* or there is no other version */
} BrPgDifference;

typedef struct BrPgFeed BrPgFeed;

typedef struct BrPgFeedMethods
{
	BrPgDifference (*compare)(BrPgFeed *feed, TupleTableSlot *left, TupleTableSlot *right);

	/* Adds a row to the batch; full batches are written. */
	void (*add)(BrPgFeed *feed, TupleTableSlot *slot, BrPgDifference difference);

	/* Takes a row away. */
	void (*remove)(BrPgFeed *feed, TupleTableSlot *slot);
	void (*remove_all)(BrPgFeed *feed);

	/* Writes what is left of the batch. */
	void (*flush)(BrPgFeed *feed);

	/* Tells of the rows that were rejected since it was last called, in one WARNING. */
	void (*warn)(BrPgFeed *feed);

	/* Flushes, warns and frees. */
	void (*close)(BrPgFeed *feed);
} BrPgFeedMethods;

struct BrPgFeed
{
	const BrPgFeedMethods *methods;
	int32 catalog;
	const char *catalog_name;
	Oid origin; /* the source; source below is it, or a partition of it */
	Relation source;
	Bitmapset *columns; /* attribute numbers that are read */
};

/* rejected.c: rows that are set aside, at most a batch between two flushes */

typedef struct BrPgRejectionList
{
	int n;
	Datum *row_ids;
	bool *row_id_nulls;
	Datum *reasons;
} BrPgRejectionList;

typedef struct BrPgRejections
{
	int32 catalog;
	Oid origin;
	MemoryContext memory;
	int64 total;
	BrPgRejectionList added;
	BrPgRejectionList gone;
	char *first; /* sentence about the first one */
} BrPgRejections;

extern void br_pg_rejections_init(BrPgRejections *rejections, int32 catalog, Oid origin);

/* The reason of a row whose id another row of the source has. */
#define BR_PG_DUPLICATE_ID "another row has this id"

/* An id as rejected rows show it: itself, or its beginning where it is very long. */
extern char *br_pg_shown_id(const char *id);

/* reason: a constant; row_id may be NULL. */
extern void br_pg_reject(BrPgRejections *rejections, const char *row_id, const char *reason);

/* A row that was rejected so is no longer in the source. */
extern void br_pg_unreject(BrPgRejections *rejections, const char *row_id, const char *reason);

/* Whether a flush has something to write; whether it must come before the next row. */
extern bool br_pg_rejections_pending(const BrPgRejections *rejections);
extern bool br_pg_rejections_full(const BrPgRejections *rejections);

/* Whether rows of the source are set aside. */
extern bool br_pg_rejections_exist(const BrPgRejections *rejections);

/* Writes what is pending, in an owner section. */
extern void br_pg_rejections_flush(BrPgRejections *rejections);

/* Forgets what was said against the source and its rows, in an owner section. */
extern void br_pg_rejections_clear(const BrPgRejections *rejections);

/* Writes a sentence about a source as a whole down, once. */
extern void br_pg_reject_source(int32 catalog, Oid origin, const char *problem);

/* One WARNING for all of them, none where there were none; counts anew from here. */
extern void br_pg_rejections_warn(BrPgRejections *rejections, const char *catalog_name);

/* items.c: items of a source into item_<n> and item_state_<n> */

/*
 * source: the catalog's table, or a partition of it. problem as in
 * br_pg_column_find; NULL is returned where it was set.
 */
extern BrPgFeed *br_pg_items_open(const BrPgCatalog *catalog, Relation source, char **problem);

/* events.c: rows of an event source into event_queue_<n> */

/*
 * NULL where that number is not the number of this table, or of one that it is
 * a partition of. *catalog is set also where a problem is found.
 */
extern BrPgFeed *br_pg_events_open(int32 number, Relation source, int32 *catalog, char **problem);

/* items_sync.c, events_sync.c: differences between a source and its catalog */

typedef struct BrPgSyncCounts
{
	int64 added;
	int64 changed;
	int64 removed;
	int64 rejected;
} BrPgSyncCounts;

/*
 * Make the catalog's items, or the events of a source, those of the source as
 * it is now; memory is bounded by maintenance_work_mem. source is locked as
 * br_pg_source_open does it. Raise 42703 or 42804 for columns that are gone.
 */
extern void br_pg_items_sync(const BrPgCatalog *catalog, Relation source, BrPgSyncCounts *counts);
extern void br_pg_events_sync(int32 number, Relation source, BrPgSyncCounts *counts);

/* source.c: the tables, views and foreign tables that catalogs read */

typedef enum BrPgSourceKind
{
	BR_PG_SOURCE_TABLE,		  /* statement triggers follow it */
	BR_PG_SOURCE_PARTITIONED, /* row triggers follow it, whichever partition is written to */
	BR_PG_SOURCE_ASKED		  /* views and foreign tables: only sync tells what changed */
} BrPgSourceKind;

extern BrPgSourceKind br_pg_source_kind(Relation source);

/*
 * Opens a source that the caller owns, locked until the end of the transaction
 * against writers whom triggers follow, so that none slips between a scan and
 * the triggers. Raises 42P01, 42501, 0A000 for what cannot be a source.
 */
extern Relation br_pg_source_open(Oid source);

/*
 * Locks the sources of a catalog that triggers follow, with all partitions, in
 * one go: while one is waited for none is held, so that a transaction of the
 * shop that writes to several of them meets no deadlock. Passes over those that
 * are gone or are not the caller's.
 */
extern void br_pg_sources_lock(const BrPgCatalog *catalog, LOCKMODE mode);

/* Every row of the source into the feed, read with the rights of the source's owner. */
extern void br_pg_source_scan(BrPgFeed *feed);

/*
 * Makes those of the triggers bundle_rec_<prefix><number>_* that are not there,
 * or drops them; a source may be gone.
 */
extern void br_pg_source_follow(Relation source, const char *prefix, int32 number,
								const char *function);
extern void br_pg_source_unfollow(const char *prefix, int32 number);

/* Whether the table is there; a WARNING that names the function to drop it with where it is not. */
extern bool br_pg_source_exists(const BrPgCatalog *catalog, Oid source, const char *drop);

/* One such WARNING for each event source of the catalog that is gone. */
extern void br_pg_catalog_tell_dropped(const BrPgCatalog *catalog);

/* Whether relation is the source, or a partition of it. */
extern bool br_pg_source_covers(Oid source, Oid relation);

/* schema.table, quoted */
extern const char *br_pg_qualified_name(Oid relation);

/* children.c: the tables of one catalog; all in an owner section */

/* Several statements, run once: not worth a kept plan. */
extern void br_pg_run(const char *sql);

extern void br_pg_children_create(int32 number, Oid owner);
extern void br_pg_children_drop(int32 number);

/*
 * The rights of a catalog's owner pass to another one, who then stands for what
 * the former granted to others. from: InvalidOid where that role is gone.
 */
extern void br_pg_children_hand_over(int32 number, Oid from, Oid to);

/*
 * The indexes of a child that are no keys; parent NULL: of all children. A
 * first load drops them before it writes and makes them afterwards.
 */
extern void br_pg_children_create_indexes(int32 number, const char *parent);
extern void br_pg_children_drop_indexes(int32 number, const char *parent);

/*
 * The index through which items are found by their embedding of a model, where
 * it is not there yet; nothing for model 0. A lock that others are in the way
 * of is not waited for: then it is left to the next refresh, and searches read
 * all items.
 */
extern void br_pg_children_index_embeddings(int32 number, int32 model);

/* Drops those of other models than this one, unless others are in the way. */
extern void br_pg_children_unindex_embeddings(int32 number, int32 model);

/* catalog.c */

/*
 * In an owner section: plans are made once, not for each array that is passed,
 * and look their rows up by index. Writers of a few rows at a time would spend
 * most of their time on planning, and a plan that was made while a table was
 * empty must serve when it holds millions of rows.
 */
extern void br_pg_prefer_generic_plans(void);

/* retry.c: takes items that were set aside for an id that is free now */
extern void br_pg_retry_items(const BrPgCatalog *catalog);

#endif /* BR_CATALOG_INT_H */
