/*
 * inspect.h
 *	  What looks into an index and changes nothing, for SQL.
 *
 * The callers have opened table and index with a lock that keeps vacuums away,
 * or bear what one changes meanwhile.
 */
#ifndef BR_INSPECT_H
#define BR_INSPECT_H

#include "pg/am/am_int.h"

/*
 * Verifies an index and returns how many rows it holds. deep: codes, heap
 * pointers and the table's rows too. Raises XX002 at the first fault. No vacuum
 * may run meanwhile (ShareUpdateExclusiveLock on the table), nor be replayed.
 */
extern int64 br_am_check(Relation heap, Relation index, bool deep);

typedef struct BrAmStats
{
	BrAmMeta meta;
	int64 rows; /* in lists */
	int64 dead; /* slots without a row */
	int lists;
	int64 shortest; /* rows of a list */
	int64 longest;
	int64 pages;
	int64 posting_pages;
	int64 exact_pages;
	int64 directory_pages;
	double share; /* of the lists that a scan visits first, by its recall target */
} BrAmStats;

extern void br_am_stats(Relation index, BrAmStats *stats);

/*
 * Recall at k of scans with the settings of the session, over a sample of rows,
 * each of which is left out of its own result; NaN where the index has not two
 * rows that the snapshot sees.
 */
extern double br_am_measure_recall(Relation heap, Relation index, int sample, int k);

#endif /* BR_INSPECT_H */
