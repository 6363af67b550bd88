/*
 * items.h
 *	  Rows of a catalog's source on their way into its tables: what items.c
 *	  reads, items_write.c writes and items_sync.c compares.
 */
#ifndef BR_CATALOG_ITEMS_H
#define BR_CATALOG_ITEMS_H

#include "pg/catalog/catalog_int.h"

/* price, cost, stock */
#define BR_PG_ITEM_NUMBERS 3

/* Texts that are written together have so many bytes, and one text more. */
#define BR_PG_BATCH_BYTES (4 * 1024 * 1024)

typedef struct BrPgItemRow
{
	char *id;  /* NULL only in rejected rows */
	int place; /* in the order of the source, within a batch */
	char *category;
	char *text;
	TimestampTz created_at;
	double number[BR_PG_ITEM_NUMBERS];
	bool known[BR_PG_ITEM_NUMBERS];
	bool has_created_at;
	bool active;
	BrPgDifference difference;
	const char *rejected; /* reason, or NULL */
	bool keep;			  /* rejected, but the item of this id is another row's */
} BrPgItemRow;

typedef struct BrPgItemSource
{
	BrPgFeed feed;
	const BrPgCatalog *catalog;
	BrPgColumn id, category, active, created_at;
	BrPgColumn number[BR_PG_ITEM_NUMBERS];
	BrPgColumn *text;
	bool unique;
	MemoryContext memory; /* of the batch */
	BrPgItemRow *rows;
	int n;
	char **removed;
	int n_removed;
	Size bytes;
	bool any_rejected; /* rows of the source may stand among those set aside */
	BrPgRejections rejections;
} BrPgItemSource;

/* items.c */

/* Reads a row, with the first fault that is found, into the current memory context. */
extern void br_pg_items_read(BrPgItemSource *items, TupleTableSlot *slot, BrPgItemRow *row);

/* items_write.c; all in an owner section, and all write item_change_<n> where they must */

/* Items that the catalog does not know. */
extern void br_pg_items_write_new(const BrPgItemSource *items, const BrPgItemRow *rows, int n);

/* Items that may be known, in the order of their ids. */
extern void br_pg_items_write(const BrPgItemSource *items, const BrPgItemRow *rows, int n);

/* Takes the states of these ids away; sorts them. */
extern void br_pg_items_write_removed(const BrPgItemSource *items, char **ids, int n);

/* Ids among these that a row of the source holds already, sorted. */
extern char **br_pg_items_known(const BrPgItemSource *items, char **ids, int n, int *n_known);

#endif /* BR_CATALOG_ITEMS_H */
