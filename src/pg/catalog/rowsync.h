/*
 * rowsync.h
 *	  The difference between the rows of a source and those that were stored of
 *	  it, for rows that have no key of their own.
 */
#ifndef BR_CATALOG_ROWSYNC_H
#define BR_CATALOG_ROWSYNC_H

#include "utils/tuplesort.h"

#include "pg/catalog/events.h"

typedef struct BrPgRowSync BrPgRowSync;

/* What the caller gives, and below it what rowsync.c keeps. */
struct BrPgRowSync
{
	BrPgFeed feed; /* reads the source; the first member */

	BrPgFeed *target; /* whose columns are read, and which takes the differences */
	bool has_time;	  /* rows of different times differ */

	/*
	 * Reads a row into the current memory context; returns what is wrong with
	 * it, as a constant, br_pg_row_skipped where it is to be passed over, or NULL.
	 */
	const char *(*read)(BrPgFeed *target, TupleTableSlot *slot, BrPgEvent *row);
	void (*reject)(BrPgFeed *target, const BrPgEvent *row, const char *fault);

	/* Passes every stored row to br_pg_rowsync_take with its weight turned round. */
	void (*scan_stored)(BrPgRowSync *sync);

	/* Takes a row that the source has more often (weight 1), or less (-1); these come first. */
	void (*put)(BrPgFeed *target, const BrPgEvent *row, int weight);

	BrPgSyncCounts *counts;
	StringInfoData bytes;
	MemoryContext memory; /* of one row */
	struct BrPgRowBucket *buckets;
	Tuplesortstate *sort; /* NULL in the first pass */
	TupleTableSlot *slot;
};

extern const char br_pg_row_skipped[];

/* Compares, and counts what was added and removed. SPI must be connected. */
extern void br_pg_rowsync(BrPgRowSync *sync, BrPgSyncCounts *counts);
extern void br_pg_rowsync_take(BrPgRowSync *sync, const BrPgEvent *row, int weight);

#endif /* BR_CATALOG_ROWSYNC_H */
