/*
 * click_rows.c
 *	  From a caller's query to what click models are fitted to.
 *
 * Rows are told by their number where something is wrong with them. Items and
 * lists may be of any type: they are told apart by their text.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/memutils.h"

#include "pg/query.h"
#include "pg/sql/click_rows.h"

/* ---- names ---- */

typedef struct NameEntry
{
	const char *name;
	int number;
} NameEntry;

static void
open_names(BrPgNames *names)
{
	names->table =
		br_pg_text_table("names of a click model", 256, sizeof(NameEntry), CurrentMemoryContext);
	names->n = 0;
	names->room = 256;
	names->list = palloc(sizeof(char *) * (Size) names->room);
}

/* The number of a name, from 0. */
static int
number_of_name(BrPgNames *names, const char *name)
{
	bool found;
	NameEntry *entry = hash_search(names->table, &name, HASH_ENTER, &found);

	if (found)
		return entry->number;
	if (names->n == names->room)
	{
		names->room *= 2;
		names->list = repalloc_huge(names->list, sizeof(char *) * (Size) names->room);
	}
	entry->name = pstrdup(name);
	entry->number = names->n;
	names->list[names->n] = unconstify(char *, entry->name);
	return names->n++;
}

/* ---- rows ---- */

static Datum
value_of(const BrPgQuery *query, const BrPgQueryColumn *column)
{
	Datum value;

	if (!br_pg_query_value(query, column->number, &value))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("row %lld of the query has no %s", (long long) query->row, column->name)));
	return value;
}

static double
number_of(const BrPgQuery *query, const BrPgQueryColumn *column)
{
	Datum value = value_of(query, column);

	return column->type == BOOLOID ? (double) DatumGetBool(value)
								   : br_pg_number(value, column->type);
}

static void
refuse_value(const BrPgQuery *query, const BrPgQueryColumn *column, double value, const char *rule)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("row %lld of the query has %s %g", (long long) query->row, column->name, value),
			 errhint("%s", rule)));
}

/* Positions are whole numbers, of any integer type or not. */
static int64
position_of(const BrPgQuery *query, const BrPgQueryColumn *column)
{
	double position = number_of(query, column);

	if (!(fabs(position) <= 1e15) || floor(position) != position)
		refuse_value(query, column, position, "A position is a whole number.");
	return (int64) position;
}

static bool
clicked_of(const BrPgQuery *query, const BrPgQueryColumn *column)
{
	double clicked = number_of(query, column);

	if (clicked != 0 && clicked != 1)
		refuse_value(query, column, clicked,
					 "clicked is a boolean, or 0 or 1; counts belong into shown and clicks.");
	return clicked == 1;
}

static int
name_of(const BrPgQuery *query, const BrPgQueryColumn *column, BrPgNames *names)
{
	char *name;
	int number;

	(void) value_of(query, column);
	name = SPI_getvalue(query->rows->vals[query->place], query->rows->tupdesc, column->number);
	number = number_of_name(names, name);
	pfree(name);
	return number;
}

/* ---- cells ---- */

typedef struct CellKey
{
	int64 position;
	int64 item;
} CellKey;

typedef struct CellEntry
{
	CellKey key;
	double shown;
	double clicks;
} CellEntry;

static int
compare_positions(const void *left, const void *right)
{
	int64 a = *(const int64 *) left;
	int64 b = *(const int64 *) right;

	return a < b ? -1 : a > b;
}

static int
compare_cells(const void *left, const void *right)
{
	const BrClickCell *a = left;
	const BrClickCell *b = right;

	return a->item != b->item ? (a->item < b->item ? -1 : 1)
							  : (a->position < b->position ? -1 : a->position > b->position);
}

/* The table's cells, with positions numbered in their order, by item and position. */
static void
list_cells(HTAB *table, BrPgClickCells *cells)
{
	long n = hash_get_num_entries(table);
	HASH_SEQ_STATUS sequence;
	CellEntry *entry;

	cells->positions = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * (Size) n + 1);
	cells->cells = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(BrClickCell) * (Size) n + 1);
	cells->n_positions = 0;
	cells->n = 0;
	hash_seq_init(&sequence, table);
	while ((entry = hash_seq_search(&sequence)) != NULL)
		cells->positions[cells->n++] = entry->key.position;
	qsort(cells->positions, cells->n, sizeof(int64), compare_positions);
	for (size_t i = 0; i < cells->n; i++)
	{
		if (i == 0 || cells->positions[i] != cells->positions[cells->n_positions - 1])
			cells->positions[cells->n_positions++] = cells->positions[i];
	}

	cells->n = 0;
	hash_seq_init(&sequence, table);
	while ((entry = hash_seq_search(&sequence)) != NULL)
	{
		int64 *position = bsearch(&entry->key.position, cells->positions,
								  (size_t) cells->n_positions, sizeof(int64), compare_positions);

		cells->cells[cells->n++] =
			(BrClickCell){(int) entry->key.item, (int) (position - cells->positions), entry->shown,
						  entry->clicks};
	}
	/* the order of a sum is part of its result */
	qsort(cells->cells, cells->n, sizeof(BrClickCell), compare_cells);
}

void
br_pg_read_click_cells(const char *query, BrPgClickCells *cells)
{
	HASHCTL control = {.keysize = sizeof(CellKey),
					   .entrysize = sizeof(CellEntry),
					   .hcxt = CurrentMemoryContext};
	HTAB *table = hash_create("cells of a click model", 1024, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	BrPgQueryColumn item = {"item", BR_PG_QUERY_ANY};
	BrPgQueryColumn position = {"position", BR_PG_QUERY_NUMBER};
	BrPgQueryColumn clicked = {"clicked", BR_PG_QUERY_FLAG};
	BrPgQueryColumn shown = {"shown", BR_PG_QUERY_NUMBER};
	BrPgQueryColumn clicks = {"clicks", BR_PG_QUERY_NUMBER};
	BrPgQuery rows;

	open_names(&cells->items);
	br_pg_query_open(&rows, query, "query");
	br_pg_query_need_column(&rows, &item, NULL);
	br_pg_query_need_column(&rows, &position, NULL);
	br_pg_query_find_column(&rows, &shown);
	if (shown.number > 0)
	{
		br_pg_query_need_column(&rows, &shown, NULL);
		br_pg_query_need_column(&rows, &clicks, NULL);
	}
	else
		br_pg_query_need_column(&rows, &clicked, NULL);

	while (br_pg_query_next(&rows))
	{
		CellKey key = {position_of(&rows, &position), name_of(&rows, &item, &cells->items)};
		double times = shown.number > 0 ? number_of(&rows, &shown) : 1;
		double hits = shown.number > 0 ? number_of(&rows, &clicks) : clicked_of(&rows, &clicked);
		bool found;
		CellEntry *entry;

		if (!(times >= 0 && times <= 1e15))
			refuse_value(&rows, &shown, times, "shown is a number of times, at least 0.");
		if (!(hits >= 0 && hits <= times))
			refuse_value(&rows, &clicks, hits, "clicks is at least 0 and at most shown.");
		entry = hash_search(table, &key, HASH_ENTER, &found);
		if (!found)
			entry->shown = entry->clicks = 0;
		entry->shown += times;
		entry->clicks += hits;
	}
	list_cells(table, cells);
	hash_destroy(table);
}

/* ---- lists ---- */

typedef struct PlaceRow
{
	int64 position;
	int64 row;
	BrListPlace place;
} PlaceRow;

static int
compare_places(const void *left, const void *right)
{
	const PlaceRow *a = left;
	const PlaceRow *b = right;

	if (a->place.list != b->place.list)
		return a->place.list < b->place.list ? -1 : 1;
	return a->position < b->position ? -1 : a->position > b->position;
}

/* Sorted, without the positions, each of which a list has once. */
static void
order_places(PlaceRow *read, size_t n, char **lists, BrPgListPlaces *places)
{
	qsort(read, n, sizeof(PlaceRow), compare_places);
	places->n = n;
	places->places = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(BrListPlace) * n + 1);
	for (size_t i = 0; i < n; i++)
	{
		if (i > 0 && compare_places(&read[i - 1], &read[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("rows %lld and %lld of the query are both position %lld of list \"%s\"",
							(long long) Min(read[i - 1].row, read[i].row),
							(long long) Max(read[i - 1].row, read[i].row),
							(long long) read[i].position, lists[read[i].place.list])));
		places->places[i] = read[i].place;
	}
}

void
br_pg_read_list_places(const char *query, BrPgListPlaces *places)
{
	size_t room = 1024;
	size_t n = 0;
	PlaceRow *read = palloc(sizeof(PlaceRow) * room);
	BrPgQueryColumn list = {"list", BR_PG_QUERY_ANY};
	BrPgQueryColumn position = {"position", BR_PG_QUERY_NUMBER};
	BrPgQueryColumn item = {"item", BR_PG_QUERY_ANY};
	BrPgQueryColumn clicked = {"clicked", BR_PG_QUERY_FLAG};
	BrPgNames lists;
	BrPgQuery rows;

	open_names(&places->items);
	open_names(&lists);
	br_pg_query_open(&rows, query, "query");
	br_pg_query_need_column(&rows, &list, NULL);
	br_pg_query_need_column(&rows, &position, NULL);
	br_pg_query_need_column(&rows, &item, NULL);
	br_pg_query_need_column(&rows, &clicked, NULL);
	while (br_pg_query_next(&rows))
	{
		if (n == room)
		{
			room *= 2;
			read = repalloc_huge(read, sizeof(PlaceRow) * room);
		}
		read[n].position = position_of(&rows, &position);
		read[n].row = rows.row;
		read[n++].place =
			(BrListPlace){name_of(&rows, &list, &lists), name_of(&rows, &item, &places->items),
						  clicked_of(&rows, &clicked)};
	}
	order_places(read, n, lists.list, places);
	pfree(read);
}
