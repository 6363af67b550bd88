/*
 * arms.c
 *	  The arms that a policy chooses among.
 *
 * The policy counts its sets of arms: every change makes the next one, and the
 * rows of an arm say in which of them they hold. A decision names its set, and
 * so what could have been chosen is known later. Numbers of arms are never used
 * again; an arm that comes back has its old number, and what was learned of it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/policy/context.h"
#include "pg/policy/policy.h"

/* the next set of arms */
static int32
next_set(const BrPgPolicy *policy)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(policy->number)};
	bool is_null;

	br_pg_execute("UPDATE bundle_rec.policy SET arms_version = arms_version + 1 WHERE policy = $1"
				  " RETURNING arms_version",
				  1, types, values, NULL, false, 1);
	return DatumGetInt32(br_pg_column(0, 1, &is_null));
}

/* $1 policy, $2 set, $3 names, $4 features of all, $5 how many of each, NULL: none given */
static const char add[] =
	"WITH given AS (SELECT name, CASE WHEN $4 IS NULL THEN NULL"
	"  ELSE $4[(place - 1) * $5 + 1 : place * $5] END AS features, place"
	"  FROM pg_catalog.unnest($3) WITH ORDINALITY g(name, place)),"
	" known AS (SELECT DISTINCT ON (a.name) a.name, a.arm, a.features,"
	"  a.retired IS NULL AS live FROM bundle_rec.arm a JOIN given g USING (name)"
	"  WHERE a.policy = $1 ORDER BY a.name, a.added DESC),"
	" changed AS (SELECT g.name, g.place, k.arm, COALESCE(g.features, k.features) AS features,"
	"  COALESCE(k.live, false) AS live FROM given g LEFT JOIN known k USING (name)"
	"  WHERE k.arm IS NULL OR NOT k.live OR g.features IS DISTINCT FROM k.features"
	"  AND g.features IS NOT NULL),"
	" ended AS (UPDATE bundle_rec.arm a SET retired = $2 FROM changed c"
	"  WHERE a.policy = $1 AND a.arm = c.arm AND a.retired IS NULL AND c.live RETURNING a.arm),"
	" last AS (SELECT COALESCE(pg_catalog.max(arm), 0) AS arm FROM bundle_rec.arm"
	"  WHERE policy = $1)"
	" SELECT c.name, COALESCE(c.arm, l.arm + pg_catalog.row_number() OVER"
	"  (PARTITION BY c.arm IS NULL ORDER BY c.place))::pg_catalog.int4, c.features"
	" FROM changed c CROSS JOIN last l LEFT JOIN ended e ON e.arm = c.arm ORDER BY c.place";

static void
check_names(const BrPgPolicy *policy, char **arms, int n)
{
	static const Oid types[] = {TEXTARRAYOID};
	Datum values[] = {br_pg_text_array_datum(arms, n)};

	for (int i = 0; i < n; i++)
		if (arms[i][0] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the name of arm %d is empty", i + 1)));
	if (br_pg_execute("SELECT a FROM pg_catalog.unnest($1) a GROUP BY a"
					  " HAVING pg_catalog.count(*) > 1 LIMIT 1",
					  1, types, values, NULL, true, 1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arm \"%s\" is given twice to policy \"%s\"", br_pg_column_text(0, 1),
						policy->name)));
}

int
br_pg_policy_add_arms(const char *name, char **arms, int n, const double *features)
{
	static const Oid types[] = {INT4OID, INT4OID, TEXTARRAYOID, FLOAT4ARRAYOID, INT4OID};
	BrPgPolicy *policy = br_pg_policy_lock(name);
	Datum values[] = {Int32GetDatum(policy->number), (Datum) 0, br_pg_text_array_datum(arms, n),
					  (Datum) 0, Int32GetDatum(policy->arm_features)};
	char nulls[] = {' ', ' ', ' ', features == NULL ? 'n' : ' ', ' '};
	const char *insert = policy->indexed
		? psprintf("INSERT INTO bundle_rec.arm_%d (policy, added, name, arm, features, vector)"
				   " VALUES ($1, $2, $3, $4, $5, $5::bundle_rec.embedding)",
				   policy->catalog)
		: "INSERT INTO bundle_rec.arm (policy, added, name, arm, features)"
		  " VALUES ($1, $2, $3, $4, $5)";
	uint64 changed;
	SPITupleTable *rows;

	br_pg_policy_require_arms(policy, "add_arms");
	check_names(policy, arms, n);
	if (features != NULL)
		values[3] = br_pg_float4_array(br_pg_context_floats(features, n * policy->arm_features,
															"the features of arms"),
									   n * policy->arm_features);
	values[1] = Int32GetDatum(next_set(policy));
	changed = br_pg_execute(add, lengthof(types), types, values, nulls, false, 0);
	rows = SPI_tuptable;
	for (uint64 row = 0; row < changed; row++)
	{
		static const Oid row_types[] = {INT4OID, INT4OID, TEXTOID, INT4OID, FLOAT4ARRAYOID};
		Datum row_values[] = {values[0], values[1], (Datum) 0, (Datum) 0, (Datum) 0};
		char row_nulls[] = {' ', ' ', ' ', ' ', ' '};
		bool is_null;

		row_values[2] = SPI_getbinval(rows->vals[row], rows->tupdesc, 1, &is_null);
		row_values[3] = SPI_getbinval(rows->vals[row], rows->tupdesc, 2, &is_null);
		row_values[4] = SPI_getbinval(rows->vals[row], rows->tupdesc, 3, &is_null);
		row_nulls[4] = is_null ? 'n' : ' ';
		if (is_null && policy->indexed)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("arm \"%s\" has no features", TextDatumGetCString(row_values[2])),
					 errdetail("Policy \"%s\" finds its arms by an index over them.", name)));
		br_pg_execute(insert, lengthof(row_types), row_types, row_values, row_nulls, false, 0);
	}
	return (int) changed;
}

bool
br_pg_policy_retire_arm(const char *name, const char *arm)
{
	static const Oid types[] = {INT4OID, TEXTOID, INT4OID};
	BrPgPolicy *policy = br_pg_policy_lock(name);
	Datum values[] = {Int32GetDatum(policy->number), CStringGetTextDatum(arm), (Datum) 0};

	br_pg_policy_require_arms(policy, "retire_arm");
	if (br_pg_execute("SELECT pg_catalog.bool_or(retired IS NULL) FROM bundle_rec.arm"
					  " WHERE policy = $1 AND name = $2 GROUP BY name",
					  2, types, values, NULL, false, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("policy \"%s\" has no arm \"%s\"", name, arm)));
	else
	{
		bool is_null;

		if (!DatumGetBool(br_pg_column(0, 1, &is_null)))
			return false;
	}
	values[2] = Int32GetDatum(next_set(policy));
	br_pg_execute("UPDATE bundle_rec.arm SET retired = $3"
				  " WHERE policy = $1 AND name = $2 AND retired IS NULL",
				  3, types, values, NULL, false, 0);
	return true;
}
