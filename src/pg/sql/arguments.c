/*
 * arguments.c
 *	  Arguments and results that several SQL functions share.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"

#include "pg/sql/arguments.h"

void
br_pg_require_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be NULL", name)));
}

char *
br_pg_text_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	br_pg_require_argument(fcinfo, i, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(i));
}

int
br_pg_rows_argument(FunctionCallInfo fcinfo, int i)
{
	int k;

	br_pg_require_argument(fcinfo, i, "k");
	k = PG_GETARG_INT32(i);
	if (k < 1 || k > BR_PG_MAX_ROWS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be between 1 and %d", BR_PG_MAX_ROWS), errdetail("It is %d.", k)));
	return k;
}

int64
br_pg_texts_argument(FunctionCallInfo fcinfo, int i)
{
	int64 max_texts = PG_ARGISNULL(i) ? PG_INT64_MAX : PG_GETARG_INT32(i);

	if (max_texts < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max_texts must not be negative"),
				 errhint("NULL, or leaving it out, embeds all texts.")));
	return max_texts;
}

void
br_pg_set_number(Datum *values, bool *nulls, int i, double value)
{
	values[i] = Float8GetDatum(value);
	nulls[i] = !isfinite(value);
}
