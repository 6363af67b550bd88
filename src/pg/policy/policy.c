/*
 * policy.c
 *	  Opening a policy with its newest posterior.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "core/bundle/br_bundle.h"
#include "pg/policy/policy.h"

static BrAlgorithm
algorithm_of(const char *name)
{
	if (strcmp(name, "linear_thompson") == 0)
		return BR_ALGORITHM_LINEAR_THOMPSON;
	if (strcmp(name, "epsilon_greedy") == 0)
		return BR_ALGORITHM_EPSILON_GREEDY;
	elog(ERROR, "policy with unknown algorithm \"%s\"", name);
}

/* a float8[] column of known length, copied */
static double *
float8_array_column(uint64 row, int column, int *n)
{
	bool is_null;
	ArrayType *array = DatumGetArrayTypeP(br_pg_column(row, column, &is_null));
	double *values;

	*n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	if (ARR_HASNULL(array))
		elog(ERROR, "NULL in a stored float8[]");
	values = palloc(sizeof(double) * Max(*n, 1));
	memcpy(values, ARR_DATA_PTR(array), sizeof(double) * *n);
	return values;
}

static BrPgPolicy *
policy_of_row(void)
{
	BrPgPolicy *policy = palloc0(sizeof(BrPgPolicy));
	bool is_null;
	int n_evidence;

	policy->number = DatumGetInt32(br_pg_column(0, 1, &is_null));
	policy->catalog = DatumGetInt32(br_pg_column(0, 2, &is_null));
	policy->name = br_pg_column_text(0, 3);
	policy->algorithm_name = br_pg_column_text(0, 4);
	policy->algorithm = algorithm_of(policy->algorithm_name);
	policy->feature_schema = DatumGetInt32(br_pg_column(0, 5, &is_null));
	policy->epsilon = DatumGetFloat8(br_pg_column(0, 6, &is_null));
	policy->draws = DatumGetInt32(br_pg_column(0, 7, &is_null));
	policy->diversity = DatumGetFloat8(br_pg_column(0, 8, &is_null));
	policy->prior_mean = float8_array_column(0, 9, &policy->dims);
	policy->prior_precision = DatumGetFloat8(br_pg_column(0, 10, &is_null));
	policy->noise = DatumGetFloat8(br_pg_column(0, 11, &is_null));
	policy->version = DatumGetInt32(br_pg_column(0, 12, &is_null));
	policy->evidence = float8_array_column(0, 13, &n_evidence);
	policy->decisions = DatumGetInt64(br_pg_column(0, 14, &is_null));
	policy->events = DatumGetInt64(br_pg_column(0, 15, &is_null));

	if (policy->dims != BR_FEATURE_COUNT || policy->feature_schema != BR_FEATURE_SCHEMA ||
		(size_t) n_evidence != br_bandit_evidence_length(policy->dims))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("policy \"%s\" was made for another feature schema", policy->name),
				 errdetail("It has schema %d with %d features; this version computes schema %d with "
						   "%d.",
						   policy->feature_schema, policy->dims, BR_FEATURE_SCHEMA,
						   BR_FEATURE_COUNT),
				 errhint("Create a new policy with create_policy.")));
	return policy;
}

BrPgPolicy *
br_pg_policy_open(int32 catalog, const char *name)
{
	static const Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(catalog), (Datum) 0};
	char nulls[] = {' ', name == NULL ? 'n' : ' '};
	BrPgPolicy *policy;
	BrPgRights rights;

	if (name != NULL)
		values[1] = CStringGetTextDatum(name);

	br_pg_enter_owner(&rights);
	if (br_pg_execute("SELECT p.policy, p.catalog, p.name, p.algorithm, p.feature_schema, p.epsilon,"
					  " p.draws, p.diversity, p.prior_mean, p.prior_precision, p.noise,"
					  " o.version, o.evidence, o.decisions, o.events"
					  " FROM bundle_rec.policy p, LATERAL (SELECT * FROM bundle_rec.posterior o"
					  " WHERE o.policy = p.policy ORDER BY o.version DESC LIMIT 1) o"
					  " WHERE CASE WHEN $2 IS NULL THEN p.catalog = $1 AND p.is_default"
					  " ELSE p.name = $2 END",
					  2, types, values, nulls, true, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 name != NULL ? errmsg("policy \"%s\" does not exist", name)
							  : errmsg("the catalog has no default policy"),
				 errhint("SELECT policy FROM bundle_rec.policy_state lists policies; "
						 "create_policy makes one.")));
	policy = policy_of_row();
	br_pg_leave(&rights);

	if (catalog != 0 && policy->catalog != catalog)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("policy \"%s\" belongs to another catalog", policy->name),
				 errhint("Create a policy of this catalog with create_policy.")));
	return policy;
}
