/*
 * reward.c
 *	  Checking what a policy calls a reward.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "pg/policy/reward.h"

#define LONGEST_YEARS 1000

static void
check_weight(const char *kind, const char *text)
{
	char *end;
	double weight;

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reward of kind \"%s\" has no weight", kind),
				 errhint("Give a number, or an object such as {\"weight\": 10, \"window\": \"7 "
						 "days\"}.")));
	weight = strtod(text, &end);
	if (*text == '\0' || *end != '\0' || !isfinite(weight))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reward of kind \"%s\" is not a number: \"%s\"", kind, text)));
	if (fabs(weight) > BR_PG_LARGEST_REWARD)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reward of kind \"%s\" is out of range: %s", kind, text),
				 errdetail("It is a number between %g and %g.", -BR_PG_LARGEST_REWARD,
						   BR_PG_LARGEST_REWARD)));
}

static void
check_window(Datum window, const char *what)
{
	const Interval nothing = {0};
	const Interval longest = {.month = LONGEST_YEARS * MONTHS_PER_YEAR};

	if (DatumGetBool(DirectFunctionCall2(interval_lt, window, IntervalPGetDatum(&nothing))))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s is negative", what)));
	if (DatumGetBool(DirectFunctionCall2(interval_gt, window, IntervalPGetDatum(&longest))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is longer than %d years", what, LONGEST_YEARS)));
}

/* a row of the reward: kind, its type, weight, window and its type, a key that is none of these */
static void
check_kind(uint64 row)
{
	const char *kind = br_pg_column_text(row, 1);
	const char *type = br_pg_column_text(row, 2);
	const char *window = br_pg_column_text(row, 4);
	const char *window_type = br_pg_column_text(row, 5);
	const char *unknown = br_pg_column_text(row, 6);

	if (kind[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"reward\" names an empty kind of feedback")));
	if (unknown != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reward of kind \"%s\" has an unknown key \"%s\"", kind, unknown),
				 errhint("Keys are weight and window.")));
	if (strcmp(type, "array") == 0 || strcmp(type, "boolean") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reward of kind \"%s\" is not a number: %s", kind,
						br_pg_column_text(row, 3))));
	check_weight(kind, br_pg_column_text(row, 3));
	if (window_type == NULL)
		return;
	if (strcmp(window_type, "string") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("window of kind \"%s\" is not an interval: %s", kind,
						window != NULL ? window : "null"),
				 errhint("Give a string such as \"7 days\".")));
	check_window(DirectFunctionCall3(interval_in, CStringGetDatum(window),
									 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)),
				 psprintf("window of kind \"%s\"", kind));
}

static void
check_margin(Datum reward, int32 catalog)
{
	static const Oid types[] = {INT4OID, JSONBOID};
	Datum values[] = {Int32GetDatum(catalog), reward};

	if (br_pg_execute("SELECT 1 FROM bundle_rec.catalog WHERE catalog = $1"
					  " AND (price IS NULL OR cost IS NULL) AND $2 ? 'margin'",
					  2, types, values, NULL, true, 1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the catalog has no price and cost columns, which the reward \"margin\" "
						"needs"),
				 errhint("Create the catalog with price and cost, or leave \"margin\" out.")));
}

void
br_pg_reward_check(Datum reward, Datum window, int32 catalog)
{
	static const Oid types[] = {JSONBOID};
	bool is_null;
	uint64 n;

	check_window(window, "\"attribution_window\"");
	br_pg_execute("SELECT pg_catalog.jsonb_typeof($1) = 'object'", 1, types, &reward, NULL, true,
				  1);
	if (!DatumGetBool(br_pg_column(0, 1, &is_null)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"reward\" is not a JSON object")));
	n = br_pg_execute("SELECT k.key, pg_catalog.jsonb_typeof(k.value),"
					  " CASE pg_catalog.jsonb_typeof(k.value) WHEN 'object'"
					  "  THEN k.value ->> 'weight' ELSE k.value #>> '{}' END,"
					  " k.value ->> 'window', pg_catalog.jsonb_typeof(k.value -> 'window'),"
					  " (SELECT pg_catalog.min(o) FROM pg_catalog.jsonb_object_keys("
					  "  CASE pg_catalog.jsonb_typeof(k.value) WHEN 'object' THEN k.value"
					  "  ELSE '{}' END) o WHERE o NOT IN ('weight', 'window'))"
					  " FROM pg_catalog.jsonb_each($1) k",
					  1, types, &reward, NULL, true, 0);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"reward\" names no kind of feedback"),
				 errhint("Give a weight for at least one kind, such as {\"click\": 1}.")));
	for (uint64 row = 0; row < n; row++)
		check_kind(row);
	check_margin(reward, catalog);
}
