/*
 * query.c
 *	  Rows of a query that a caller gave, by the names of its columns.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/query.h"

/* rows that are fetched together */
#define FETCH_ROWS 1000

void
br_pg_query_open(BrPgQuery *query, const char *sql, const char *what)
{
	MemoryContext caller = CurrentMemoryContext;
	SPIPlanPtr plan = SPI_prepare_cursor(sql, 0, NULL, CURSOR_OPT_NO_SCROLL);

	if (plan == NULL || !SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" returns no rows", what),
				 errhint("Give one SELECT.")));
	*query = (BrPgQuery){.what = what};
	query->portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	MemoryContextSwitchTo(caller);
}

/* ---- columns ---- */

static bool
is_of_kind(Oid type, BrPgQueryKind kind)
{
	switch (kind)
	{
		case BR_PG_QUERY_ANY:
			return true;
		case BR_PG_QUERY_TEXT:
			return type == TEXTOID || type == VARCHAROID;
		case BR_PG_QUERY_NUMBER:
			return br_pg_is_number(type);
		case BR_PG_QUERY_FLAG:
			return type == BOOLOID || br_pg_is_number(type);
		case BR_PG_QUERY_WHOLE:
			return type == INT2OID || type == INT4OID || type == INT8OID;
		case BR_PG_QUERY_TIME:
			return type == TIMESTAMPTZOID;
		case BR_PG_QUERY_TEXTS:
			return type == TEXTARRAYOID;
		case BR_PG_QUERY_NUMBERS:
			return type == FLOAT8ARRAYOID;
		case BR_PG_QUERY_CONTEXT:
			return type == FLOAT8ARRAYOID || type == JSONBOID;
	}
	return false;
}

static const char *
name_of_kind(BrPgQueryKind kind)
{
	switch (kind)
	{
		case BR_PG_QUERY_ANY:
			break;
		case BR_PG_QUERY_TEXT:
			return "text";
		case BR_PG_QUERY_NUMBER:
			return "number";
		case BR_PG_QUERY_FLAG:
			return "boolean or number";
		case BR_PG_QUERY_WHOLE:
			return "integer";
		case BR_PG_QUERY_TIME:
			return "timestamp with time zone";
		case BR_PG_QUERY_TEXTS:
			return "text[]";
		case BR_PG_QUERY_NUMBERS:
			return "double precision[]";
		case BR_PG_QUERY_CONTEXT:
			return "double precision[] or jsonb";
	}
	return "value";
}

void
br_pg_query_find_column(const BrPgQuery *query, BrPgQueryColumn *column)
{
	TupleDesc descriptor = query->portal->tupDesc;
	int number = SPI_fnumber(descriptor, column->name);

	column->number = Max(number, 0);
	column->type = number > 0 ? getBaseType(SPI_gettypeid(descriptor, number)) : InvalidOid;
	if (number > 0 && !is_of_kind(column->type, column->kind))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of the %s is no %s", column->name, query->what,
						name_of_kind(column->kind)),
				 errdetail("It is of type %s.", format_type_be(column->type))));
}

void
br_pg_query_need_column(const BrPgQuery *query, BrPgQueryColumn *column, const char *hint)
{
	br_pg_query_find_column(query, column);
	if (column->number == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the %s has no column \"%s\"", query->what, column->name),
				 hint != NULL ? errhint("%s", hint) : 0));
}

/* ---- rows ---- */

static bool
fetch(BrPgQuery *query)
{
	MemoryContext caller = CurrentMemoryContext;
	BrPgRights rights;

	if (query->rows != NULL)
		SPI_freetuptable(query->rows);
	if (query->own)
		br_pg_enter_owner(&rights);
	SPI_cursor_fetch(query->portal, true, FETCH_ROWS);
	if (query->own)
		br_pg_leave(&rights);
	MemoryContextSwitchTo(caller);
	query->rows = SPI_tuptable;
	query->n = SPI_processed;
	query->place = 0;
	if (query->n > 0)
		return true;
	SPI_freetuptable(query->rows);
	SPI_cursor_close(query->portal);
	query->rows = NULL;
	return false;
}

bool
br_pg_query_next(BrPgQuery *query)
{
	CHECK_FOR_INTERRUPTS();
	if ((query->rows == NULL || ++query->place == query->n) && !fetch(query))
		return false;
	query->row++;
	return true;
}

bool
br_pg_query_value(const BrPgQuery *query, int number, Datum *value)
{
	bool is_null = true;

	if (number != 0)
		*value =
			SPI_getbinval(query->rows->vals[query->place], query->rows->tupdesc, number, &is_null);
	return !is_null;
}
