/*
 * click_rows.h
 *	  Rows of a caller's query about clicks.
 */
#ifndef BR_CLICK_ROWS_H
#define BR_CLICK_ROWS_H

#include "utils/hsearch.h"

#include "core/bandit/br_bandit.h"

/* Names in the order in which they came, each once. */
typedef struct BrPgNames
{
	HTAB *table;
	char **list;
	int n;
	int room;
} BrPgNames;

/* Shown and clicked, by item and position. */
typedef struct BrPgClickCells
{
	BrPgNames items;
	int64 *positions; /* (n_positions), ascending */
	int n_positions;
	BrClickCell *cells;
	size_t n;
} BrPgClickCells;

/* Places of lists, ordered by list and position. */
typedef struct BrPgListPlaces
{
	BrPgNames items;
	BrListPlace *places;
	size_t n;
} BrPgListPlaces;

/*
 * Read the query with the caller's rights, without writing. SPI must be
 * connected; results are in the current memory context. They raise 42703 and
 * 42804 where a column is missing or of a wrong type, 22004 and 22023, with the
 * number of the row, where a value is NULL or out of range.
 */
extern void br_pg_read_click_cells(const char *query, BrPgClickCells *cells);
extern void br_pg_read_list_places(const char *query, BrPgListPlaces *places);

#endif /* BR_CLICK_ROWS_H */
