/*
 * plot_sql.c
 *	  SQL doors of drawings: rows of a query become an SVG document
 *	  (sql/parts/plot.sql).
 *
 * The query runs read-only with the caller's own rights, through a cursor, and
 * its columns are found by name. What core gets is UTF-8 and double.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "core/draw/br_draw.h"
#include "pg/query.h"
#include "pg/sql/arguments.h"

#define MAX_COLUMNS 6
#define MAX_POINTS 100000
#define MAX_VALUES 1000000

/* A query that is being read: which columns it may have, and where they are. */
typedef struct Rows
{
	const char *const *names; /* ends with NULL */
	BrPgQueryColumn columns[MAX_COLUMNS];
	BrPgQuery query;
	int64 limit;
} Rows;

/* Series in the order in which they were met. */
typedef struct Names
{
	const char *names[BR_DRAW_PLOT_MAX_SERIES];
	int n;
	MemoryContext memory;
} Names;

static char *
to_utf8(char *text)
{
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

/* ---- rows of a query ---- */

/* each column of the query must be one that is drawn */
static void
find_columns(Rows *rows)
{
	TupleDesc descriptor = rows->query.portal->tupDesc;
	StringInfoData known;

	initStringInfo(&known);
	for (int j = 0; rows->names[j] != NULL; j++)
	{
		appendStringInfo(&known, "%s%s", j > 0 ? ", " : "", rows->names[j]);
		rows->columns[j].name = rows->names[j];
		br_pg_query_find_column(&rows->query, &rows->columns[j]);
	}
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
		int found = -1;

		for (int j = 0; rows->names[j] != NULL; j++)
		{
			if (strcmp(NameStr(attribute->attname), rows->names[j]) == 0)
				found = j;
		}
		if (found < 0 || rows->columns[found].number != i + 1)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg(found < 0 ? "cannot plot the column \"%s\""
									  : "the query has two columns \"%s\"",
							NameStr(attribute->attname)),
					 errhint("Name the columns of the query: %s.", known.data)));
	}
}

/* Raises 42703 unless the query has the column. */
static void
require_column(const Rows *rows, int which)
{
	if (rows->columns[which].number == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the query has no column \"%s\"", rows->names[which]),
				 errhint("Name the columns of the query: SELECT ... AS %s.", rows->names[which])));
}

/* SPI must be connected. */
static void
open_rows(Rows *rows, const char *query, const char *const *names, int64 limit)
{
	*rows = (Rows){.names = names, .limit = limit};
	br_pg_query_open(&rows->query, query, "query");
	find_columns(rows);
}

static bool
next_row(Rows *rows)
{
	if (!br_pg_query_next(&rows->query))
		return false;
	if (rows->query.row > rows->limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many rows to plot"),
				 errdetail("There may be %lld.", (long long) rows->limit),
				 errhint(
					 "Aggregate in the query: a point for each hour or day, a count for each bin.")));
	return true;
}

static bool
get_value(const Rows *rows, int which, Datum *value)
{
	return br_pg_query_value(&rows->query, rows->columns[which].number, value);
}

static double
seconds_of(Timestamp moment)
{
	if (TIMESTAMP_NOT_FINITE(moment))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("cannot plot an infinite time")));
	return (double) moment / USECS_PER_SEC;
}

/* Whether the column is a time, which get_number gives in seconds since 2000 of the session's zone. */
static bool
is_time(const Rows *rows, int which)
{
	Oid type = rows->columns[which].type;

	return type == DATEOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID;
}

/* NaN where it is NULL. */
static double
get_number(const Rows *rows, int which)
{
	Oid type = rows->columns[which].type;
	Datum value;

	if (!get_value(rows, which, &value))
		return NAN;
	if (br_pg_is_number(type))
		return br_pg_number(value, type);
	switch (type)
	{
		case DATEOID:
			return seconds_of(DatumGetTimestamp(DirectFunctionCall1(date_timestamp, value)));
		case TIMESTAMPOID:
			return seconds_of(DatumGetTimestamp(value));
		case TIMESTAMPTZOID:
			return seconds_of(DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp, value)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" is of type %s", rows->names[which], format_type_be(type)),
			 errhint("Cast it to double precision.")));
}

/* The same where NULL, NaN and, but for x, time mean nothing. */
static double
get_required_number(const Rows *rows, int which, bool may_be_time)
{
	double value;

	if (!may_be_time && is_time(rows, which))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s", rows->names[which],
						format_type_be(rows->columns[which].type)),
				 errhint("Only \"x\" of plot_series may be a time.")));
	value = get_number(rows, which);
	if (isnan(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" is NULL or NaN", rows->names[which]),
				 errdetail("In row %lld of the query.", (long long) rows->query.row)));
	return value;
}

/* A number that may be missing, where NaN must not be taken for that. */
static double
get_optional_number(const Rows *rows, int which)
{
	Datum value;

	return get_value(rows, which, &value) ? get_required_number(rows, which, false) : NAN;
}

static char *
get_text(const Rows *rows, int which)
{
	const SPITupleTable *table = rows->query.rows;
	char *text =
		SPI_getvalue(table->vals[rows->query.place], table->tupdesc, rows->columns[which].number);

	return text == NULL ? pstrdup("NULL") : to_utf8(text);
}

/* The number of the row's series. */
static int
get_series(const Rows *rows, int which, Names *names)
{
	char *name;

	if (rows->columns[which].number == 0)
		return 0;
	name = get_text(rows, which);
	for (int i = 0; i < names->n; i++)
	{
		if (strcmp(names->names[i], name) == 0)
		{
			pfree(name);
			return i;
		}
	}
	if (names->n == BR_DRAW_PLOT_MAX_SERIES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many series to plot"),
				 errdetail("There may be %d.", BR_DRAW_PLOT_MAX_SERIES),
				 errhint("Put small ones together in the query.")));
	names->names[names->n] = MemoryContextStrdup(names->memory, name);
	return names->n++;
}

/* ---- arguments and results ---- */

static char *
optional_text(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : to_utf8(text_to_cstring(PG_GETARG_TEXT_PP(i)));
}

/* Arguments from first on: title, x_label, y_label, width, height. */
static BrPlot
read_plot(FunctionCallInfo fcinfo, int first)
{
	BrPlot plot = {.n_series = 1};

	plot.title = optional_text(fcinfo, first);
	plot.x_label = optional_text(fcinfo, first + 1);
	plot.y_label = optional_text(fcinfo, first + 2);
	br_pg_require_argument(fcinfo, first + 3, "width");
	plot.width = PG_GETARG_INT32(first + 3);
	/* a height of 0 is an error as any other that is too small */
	plot.height = PG_ARGISNULL(first + 4) ? 0 : Max(1, PG_GETARG_INT32(first + 4));
	return plot;
}

static void
set_names(BrPlot *plot, const Names *names)
{
	if (names->n > 0)
	{
		plot->series = names->names;
		plot->n_series = names->n;
	}
}

/* Room for one element more. */
static void *
grow(void *array, int64 n, Size size, MemoryContext memory)
{
	if (array == NULL)
		return MemoryContextAllocHuge(memory, size * 64);
	/* full at powers of two */
	if (n >= 64 && (n & (n - 1)) == 0)
		return repalloc_huge(array, size * 2 * n);
	return array;
}

static void
check(BrStatus status, const BrContext *context)
{
	br_pg_check(status, context, "cannot draw the plot", NULL);
}

/* ---- plots ---- */

PG_FUNCTION_INFO_V1(br_plot_series);

PGDLLEXPORT Datum
br_plot_series(PG_FUNCTION_ARGS)
{
	static const char *const columns[] = {"x", "y", "series", "lower", "upper", NULL};
	char *query = br_pg_text_argument(fcinfo, 0, "query");
	BrPlot plot = read_plot(fcinfo, 1);
	Names names = {.memory = CurrentMemoryContext};
	BrPlotPoint *points = NULL;
	int n = 0;
	BrContext context;
	Rows rows;
	char *svg;

	br_pg_context(&context, CurrentMemoryContext);
	SPI_connect();
	open_rows(&rows, query, columns, MAX_POINTS);
	require_column(&rows, 0);
	require_column(&rows, 1);
	plot.time = is_time(&rows, 0);
	while (next_row(&rows))
	{
		points = grow(points, n, sizeof(BrPlotPoint), names.memory);
		points[n++] = (BrPlotPoint){
			.series = get_series(&rows, 2, &names),
			.x = get_required_number(&rows, 0, true),
			.y = get_optional_number(&rows, 1),
			.lower = get_optional_number(&rows, 3),
			.upper = get_optional_number(&rows, 4),
		};
	}
	SPI_finish();
	set_names(&plot, &names);
	check(br_draw_plot_series(&context, &plot, points, n, &svg), &context);
	PG_RETURN_TEXT_P(cstring_to_text(svg));
}

PG_FUNCTION_INFO_V1(br_plot_intervals);

PGDLLEXPORT Datum
br_plot_intervals(PG_FUNCTION_ARGS)
{
	static const char *const columns[] = {"label", "value", "series", "lower", "upper", NULL};
	char *query = br_pg_text_argument(fcinfo, 0, "query");
	double reference = PG_ARGISNULL(1) ? NAN : PG_GETARG_FLOAT8(1);
	BrPlot plot = read_plot(fcinfo, 2);
	Names names = {.memory = CurrentMemoryContext};
	BrPlotInterval *intervals = NULL;
	int n = 0;
	BrContext context;
	Rows rows;
	char *svg;

	br_pg_context(&context, CurrentMemoryContext);
	SPI_connect();
	open_rows(&rows, query, columns, BR_DRAW_PLOT_MAX_INTERVALS);
	require_column(&rows, 0);
	require_column(&rows, 1);
	while (next_row(&rows))
	{
		intervals = grow(intervals, n, sizeof(BrPlotInterval), names.memory);
		intervals[n++] = (BrPlotInterval){
			.label = MemoryContextStrdup(names.memory, get_text(&rows, 0)),
			.series = get_series(&rows, 2, &names),
			.value = get_optional_number(&rows, 1),
			.lower = get_optional_number(&rows, 3),
			.upper = get_optional_number(&rows, 4),
		};
	}
	SPI_finish();
	set_names(&plot, &names);
	check(br_draw_plot_intervals(&context, &plot, intervals, n, reference, &svg), &context);
	PG_RETURN_TEXT_P(cstring_to_text(svg));
}

/* What a histogram's query gave: bins, or values that are still to be counted. */
typedef struct Distribution
{
	BrPlotBin *bins;
	double *values;
	int *series; /* of values */
	int n;
} Distribution;

static void
read_distribution(Rows *rows, Names *names, Distribution *all)
{
	bool counted = rows->columns[0].number == 0;

	for (int i = 1; i <= 3 && counted; i++)
		require_column(rows, i);
	for (int i = 1; i <= 3 && !counted; i++)
	{
		if (rows->columns[i].number != 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the query has the columns \"value\" and \"%s\"", rows->names[i]),
					 errhint("Give values to be counted, or bins with lower, upper and count.")));
	}
	while (next_row(rows))
	{
		int series = get_series(rows, 4, names);

		if (counted)
		{
			all->bins = grow(all->bins, all->n, sizeof(BrPlotBin), names->memory);
			all->bins[all->n++] = (BrPlotBin){
				.series = series,
				.lower = get_required_number(rows, 1, false),
				.upper = get_required_number(rows, 2, false),
				.count = get_required_number(rows, 3, false),
			};
		}
		else
		{
			all->values = grow(all->values, all->n, sizeof(double), names->memory);
			all->series = grow(all->series, all->n, sizeof(int), names->memory);
			all->values[all->n] = get_required_number(rows, 0, false);
			all->series[all->n++] = series;
		}
	}
}

PG_FUNCTION_INFO_V1(br_plot_histogram);

PGDLLEXPORT Datum
br_plot_histogram(PG_FUNCTION_ARGS)
{
	static const char *const columns[] = {"value", "lower", "upper", "count", "series", NULL};
	char *query = br_pg_text_argument(fcinfo, 0, "query");
	BrPlot plot = read_plot(fcinfo, 2);
	Names names = {.memory = CurrentMemoryContext};
	Distribution all = {NULL};
	BrContext context;
	Rows rows;
	char *svg;

	br_pg_require_argument(fcinfo, 1, "bins");
	br_pg_context(&context, CurrentMemoryContext);
	SPI_connect();
	open_rows(&rows, query, columns, MAX_VALUES);
	read_distribution(&rows, &names, &all);
	SPI_finish();
	set_names(&plot, &names);
	if (all.bins == NULL)
		check(br_draw_count_bins(&context, all.values, all.series, all.n, plot.n_series,
								 PG_GETARG_INT32(1), &all.bins, &all.n),
			  &context);
	if (all.n > BR_DRAW_PLOT_MAX_BINS * plot.n_series)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many bins to plot"),
				 errdetail("There are %d; there may be %d for each series.", all.n,
						   BR_DRAW_PLOT_MAX_BINS)));
	check(br_draw_plot_histogram(&context, &plot, all.bins, all.n, &svg), &context);
	PG_RETURN_TEXT_P(cstring_to_text(svg));
}
