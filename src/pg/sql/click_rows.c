/*
 * click_rows.c
 *	  From a caller's query to what click models are fitted to.
 *
 * Rows come by a cursor, some at a time, and are told by their number where
 * something is wrong with them. Items and lists may be of any type: they are
 * told apart by their text.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "pg/br_pg.h"
#include "pg/sql/click_rows.h"

#define FETCH_ROWS 1000

/* A column of the query. */
typedef struct Column
{
	const char *name;
	int number; /* 0: the query has none of that name */
	Oid type;	/* under any domain */
} Column;

/* The query under way. */
typedef struct Rows
{
	Portal portal;
	MemoryContext keep; /* what outlives the query's rows */
	uint64 before;		/* rows of earlier fetches */
	uint64 row;			/* in SPI_tuptable */
} Rows;

/* ---- names ---- */

typedef struct NameEntry
{
	const char *name;
	int number;
} NameEntry;

static uint32
hash_name(const void *key, Size size)
{
	const char *name = *(const char *const *) key;

	return hash_bytes((const unsigned char *) name, (int) strlen(name));
}

static int
compare_names(const void *left, const void *right, Size size)
{
	return strcmp(*(const char *const *) left, *(const char *const *) right);
}

static void
open_names(BrPgNames *names)
{
	HASHCTL control = {.keysize = sizeof(char *),
					   .entrysize = sizeof(NameEntry),
					   .hash = hash_name,
					   .match = compare_names,
					   .hcxt = CurrentMemoryContext};

	names->table = hash_create("names of a click model", 256, &control,
							   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	names->n = 0;
	names->room = 256;
	names->list = palloc(sizeof(char *) * (Size) names->room);
}

/* The number of a name, from 0. */
static int
number_of_name(BrPgNames *names, const char *name, MemoryContext keep)
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
	entry->name = MemoryContextStrdup(keep, name);
	entry->number = names->n;
	names->list[names->n] = unconstify(char *, entry->name);
	return names->n++;
}

/* ---- rows ---- */

static void
open_rows(Rows *rows, const char *query)
{
	rows->keep = CurrentMemoryContext;
	rows->portal =
		SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true, CURSOR_OPT_NO_SCROLL);
	rows->before = 0;
	rows->row = 0;
	SPI_processed = 0;
	SPI_tuptable = NULL;
}

/* Moves to the next row; false behind the last. */
static bool
next_row(Rows *rows)
{
	CHECK_FOR_INTERRUPTS();
	if (SPI_tuptable != NULL && ++rows->row < SPI_processed)
		return true;
	if (SPI_tuptable != NULL)
	{
		rows->before += SPI_processed;
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_fetch(rows->portal, true, FETCH_ROWS);
	rows->row = 0;
	if (SPI_processed > 0)
		return true;
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(rows->portal);
	return false;
}

static void
find_column(const Rows *rows, Column *column)
{
	TupleDesc descriptor = rows->portal->tupDesc;
	int number = descriptor != NULL ? SPI_fnumber(descriptor, column->name) : 0;

	column->number = Max(number, 0);
	column->type = number > 0 ? getBaseType(SPI_gettypeid(descriptor, number)) : InvalidOid;
}

static void
need_column(const Rows *rows, Column *column)
{
	find_column(rows, column);
	if (column->number == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the query has no column \"%s\"", column->name)));
}

static void
need_number(const Rows *rows, Column *column, bool may_be_boolean)
{
	Oid type;

	need_column(rows, column);
	type = column->type;
	if (type != INT2OID && type != INT4OID && type != INT8OID && type != FLOAT4OID &&
		type != FLOAT8OID && type != NUMERICOID && !(may_be_boolean && type == BOOLOID))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of the query is no number", column->name),
				 errdetail("It is of type %s.", format_type_be(type))));
}

static Datum
value_of(const Rows *rows, const Column *column)
{
	bool is_null;
	Datum value = SPI_getbinval(SPI_tuptable->vals[rows->row], SPI_tuptable->tupdesc,
								column->number, &is_null);

	if (is_null)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("row %llu of the query has no %s",
						(unsigned long long) (rows->before + rows->row + 1), column->name)));
	return value;
}

static double
number_of(const Rows *rows, const Column *column)
{
	Datum value = value_of(rows, column);

	switch (column->type)
	{
		case BOOLOID:
			return DatumGetBool(value) ? 1 : 0;
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return (double) DatumGetInt64(value);
		case FLOAT4OID:
			return DatumGetFloat4(value);
		case FLOAT8OID:
			return DatumGetFloat8(value);
		default:
			return DatumGetFloat8(DirectFunctionCall1(numeric_float8, value));
	}
}

static void
refuse_value(const Rows *rows, const Column *column, double value, const char *rule)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("row %llu of the query has %s %g",
					(unsigned long long) (rows->before + rows->row + 1), column->name, value),
			 errhint("%s", rule)));
}

/* Positions are whole numbers, of any integer type or not. */
static int64
position_of(const Rows *rows, const Column *column)
{
	double position = number_of(rows, column);

	if (!(fabs(position) <= 1e15) || floor(position) != position)
		refuse_value(rows, column, position, "A position is a whole number.");
	return (int64) position;
}

static bool
clicked_of(const Rows *rows, const Column *column)
{
	double clicked = number_of(rows, column);

	if (clicked != 0 && clicked != 1)
		refuse_value(rows, column, clicked,
					 "clicked is a boolean, or 0 or 1; counts belong into shown and clicks.");
	return clicked == 1;
}

static int
name_of(const Rows *rows, const Column *column, BrPgNames *names)
{
	char *name;
	int number;

	(void) value_of(rows, column);
	name = SPI_getvalue(SPI_tuptable->vals[rows->row], SPI_tuptable->tupdesc, column->number);
	number = number_of_name(names, name, rows->keep);
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
	Column item = {"item"};
	Column position = {"position"};
	Column clicked = {"clicked"};
	Column shown = {"shown"};
	Column clicks = {"clicks"};
	Rows rows;

	open_names(&cells->items);
	open_rows(&rows, query);
	need_column(&rows, &item);
	need_number(&rows, &position, false);
	find_column(&rows, &shown);
	if (shown.number > 0)
	{
		need_number(&rows, &shown, false);
		need_number(&rows, &clicks, false);
	}
	else
		need_number(&rows, &clicked, true);

	while (next_row(&rows))
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
	uint64 row;
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
					 errmsg("rows %llu and %llu of the query are both position %lld of list \"%s\"",
							(unsigned long long) Min(read[i - 1].row, read[i].row),
							(unsigned long long) Max(read[i - 1].row, read[i].row),
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
	Column list = {"list"};
	Column position = {"position"};
	Column item = {"item"};
	Column clicked = {"clicked"};
	BrPgNames lists;
	Rows rows;

	open_names(&places->items);
	open_names(&lists);
	open_rows(&rows, query);
	need_column(&rows, &list);
	need_number(&rows, &position, false);
	need_column(&rows, &item);
	need_number(&rows, &clicked, true);
	while (next_row(&rows))
	{
		if (n == room)
		{
			room *= 2;
			read = repalloc_huge(read, sizeof(PlaceRow) * room);
		}
		read[n].position = position_of(&rows, &position);
		read[n].row = rows.before + rows.row + 1;
		read[n++].place =
			(BrListPlace){name_of(&rows, &list, &lists), name_of(&rows, &item, &places->items),
						  clicked_of(&rows, &clicked)};
	}
	order_places(read, n, lists.list, places);
	pfree(read);
}
