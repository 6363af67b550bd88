/*
 * check_int.h
 *	  What the files that verify an index share.
 */
#ifndef BR_CHECK_INT_H
#define BR_CHECK_INT_H

#include "pg/am/inspect.h"

/*
 * Rows on both sides of a comparison of index and table. The memory is that of
 * two sorts, whatever the number of rows.
 */
typedef struct BrAmComparison BrAmComparison;

/* Before the index is read. */
extern BrAmComparison *br_am_compare_begin(Relation heap, Relation index);

/* A row of a list. */
extern void br_am_compare_add(BrAmComparison *comparison, const BrAmRow *row, int dims);

/* A row that waits to be embedded. */
extern void br_am_compare_add_pending(BrAmComparison *comparison, const BrAmRow *row);

/* After the index was read: reads the table, and raises XX002 where they differ. */
extern void br_am_compare_end(BrAmComparison *comparison);

#endif /* BR_CHECK_INT_H */
