/*
 * arguments.h
 *	  Arguments and results of SQL functions, as several of them take and give
 *	  them.
 */
#ifndef BR_ARGUMENTS_H
#define BR_ARGUMENTS_H

#include "fmgr.h"

/* The largest k of functions that return rows. */
#define BR_PG_MAX_ROWS 100000

/* Raises 22004 where argument i is NULL. */
extern void br_pg_require_argument(FunctionCallInfo fcinfo, int i, const char *name);

/* Argument i, palloc'd. Raises 22004 where it is NULL. */
extern char *br_pg_text_argument(FunctionCallInfo fcinfo, int i, const char *name);

/* Argument i, k: how many rows. Raises 22004, or 22023 outside 1 to BR_PG_MAX_ROWS. */
extern int br_pg_rows_argument(FunctionCallInfo fcinfo, int i);

/* Argument i, max_texts: how many texts; PG_INT64_MAX for NULL. Raises 22023 where it is negative. */
extern int64 br_pg_texts_argument(FunctionCallInfo fcinfo, int i);

/* Puts a float8 into column i of a row; what is not finite is NULL. */
extern void br_pg_set_number(Datum *values, bool *nulls, int i, double value);

#endif /* BR_ARGUMENTS_H */
