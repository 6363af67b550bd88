/*
 * query.h
 *	  Rows of a query that a caller gave, by the names of its columns.
 *
 * The query runs with the caller's rights and does not write. Its rows come
 * through a cursor, some at a time, whatever other statements run in between.
 * SPI must be connected.
 */
#ifndef BR_PG_QUERY_H
#define BR_PG_QUERY_H

#include "pg/br_pg.h"

#include "utils/portal.h"

/* What a column may hold. */
typedef enum BrPgQueryKind
{
	BR_PG_QUERY_ANY,
	BR_PG_QUERY_TEXT,	 /* text or varchar */
	BR_PG_QUERY_NUMBER,	 /* for br_pg_number */
	BR_PG_QUERY_FLAG,	 /* boolean, or a number */
	BR_PG_QUERY_WHOLE,	 /* int2, int4 or int8 */
	BR_PG_QUERY_TIME,	 /* timestamptz */
	BR_PG_QUERY_TEXTS,	 /* text[] */
	BR_PG_QUERY_NUMBERS, /* float8[] */
	BR_PG_QUERY_CONTEXT	 /* float8[] or jsonb */
} BrPgQueryKind;

typedef struct BrPgQueryColumn
{
	const char *name;
	BrPgQueryKind kind;
	int number; /* in the row, from 1; 0: the query has none of that name */
	Oid type;	/* under any domain */
} BrPgQueryColumn;

typedef struct BrPgQuery
{
	const char *what; /* the argument that messages name: "query" or "log" */
	Portal portal;
	bool own;			 /* fetched with the rights of the extension's owner */
	int64 row;			 /* number of the present one, from 1 */
	SPITupleTable *rows; /* (n) fetched together; NULL before the first and behind the last */
	uint64 n;
	uint64 place; /* of the present one among them */
} BrPgQuery;

/* Raises 22023 where sql is not one statement that returns rows. */
extern void br_pg_query_open(BrPgQuery *query, const char *sql, const char *what);

/* Finds a column by its name and sets number and type. Raises 42804 where it is not of its kind. */
extern void br_pg_query_find_column(const BrPgQuery *query, BrPgQueryColumn *column);

/* The same, and raises 42703 where there is none; hint: what to do about that, or NULL. */
extern void br_pg_query_need_column(const BrPgQuery *query, BrPgQueryColumn *column,
									const char *hint);

/* Moves to the next row; false behind the last, and the cursor is closed. */
extern bool br_pg_query_next(BrPgQuery *query);

/* A value of the present row, by the column's number; false: NULL, or no such column. */
extern bool br_pg_query_value(const BrPgQuery *query, int number, Datum *value);

#endif /* BR_PG_QUERY_H */
