/*
 * policy.c
 *	  Opening a policy: its row and that of a version, without the evidence.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/bundle/br_bundle.h"
#include "core/math/br_math.h"
#include "pg/bulk.h"
#include "pg/catalog/catalog.h"
#include "pg/policy/policy.h"

#define POLICY_COLUMNS                                                                            \
	"SELECT p.policy, p.catalog, p.name, p.owner::pg_catalog.text, p.algorithm, p.model, p.dims," \
	" p.prior_mean, p.feature_schema, p.context, p.arm_features, p.interactions,"                 \
	" p.arms_version, p.examination, p.indexed,"                                                  \
	" p.xmin::pg_catalog.text::pg_catalog.int8, o.version, o.parameters, o.incumbent,"            \
	" o.decisions, o.events, o.as_of, o.xmin::pg_catalog.text::pg_catalog.int8"                   \
	" FROM bundle_rec.policy p, LATERAL (SELECT xmin, version, parameters, incumbent, decisions," \
	" events, as_of FROM bundle_rec.posterior o WHERE o.policy = p.policy"                        \
	" ORDER BY o.version DESC LIMIT 1) o WHERE "

/* a float8[] column, copied; NULL for NULL */
static double *
float8_array_column(uint64 row, int column, int *n)
{
	const double *values = br_pg_column_elements(row, column, n);

	return values == NULL
		? NULL
		: memcpy(palloc(sizeof(double) * Max(*n, 1)), values, sizeof(double) * *n);
}

static Jsonb *
jsonb_column(int column)
{
	bool is_null;
	Datum datum = br_pg_column(0, column, &is_null);

	return is_null ? NULL : DatumGetJsonbPCopy(datum);
}

static int64
int_column(int column)
{
	bool is_null;
	Datum datum = br_pg_column(0, column, &is_null);

	return is_null ? 0 : DatumGetInt64(datum);
}

static int32
int4_column(int column)
{
	bool is_null;
	Datum datum = br_pg_column(0, column, &is_null);

	return is_null ? 0 : DatumGetInt32(datum);
}

static void
read_version(BrPgPolicy *policy, int column)
{
	bool is_null;

	policy->version = int4_column(column);
	br_pg_policy_read_parameters(jsonb_column(column + 1), &policy->spec, &policy->discount,
								 &policy->period);
	policy->incumbent = int4_column(column + 2);
	policy->decisions = int_column(column + 3);
	policy->events = int_column(column + 4);
	policy->as_of = DatumGetTimestampTz(br_pg_column(0, column + 5, &is_null));
	policy->posterior_xmin = (uint32) int_column(column + 6);
}

static BrPgPolicy *
policy_of_row(void)
{
	BrPgPolicy *policy = palloc0(sizeof(BrPgPolicy));
	bool is_null;
	int n_prior;
	double *prior;

	policy->number = int4_column(1);
	policy->catalog = int4_column(2);
	policy->name = br_pg_column_text(0, 3);
	policy->owner = br_pg_column_text(0, 4);
	policy->algorithm_name = br_pg_column_text(0, 5);
	policy->spec.algorithm = br_bandit_algorithm(policy->algorithm_name);
	if (policy->spec.algorithm == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("policy \"%s\" has algorithm \"%s\", which this version does not know",
						policy->name, policy->algorithm_name),
				 errhint("Install the version of bundle_rec that made it.")));
	policy->spec.model = br_pg_policy_model_of(br_pg_column_text(0, 6));
	policy->spec.dims = int4_column(7);
	prior = float8_array_column(0, 8, &n_prior);
	policy->spec.prior_mean = n_prior == policy->spec.dims ? prior : NULL;
	policy->feature_schema = int4_column(9);
	policy->context = jsonb_column(10);
	policy->arm_features = int4_column(11);
	policy->interactions = DatumGetBool(br_pg_column(0, 12, &is_null));
	policy->arms_version = int4_column(13);
	policy->examination = float8_array_column(0, 14, &policy->n_examination);
	policy->indexed = DatumGetBool(br_pg_column(0, 15, &is_null));
	policy->policy_xmin = (uint32) int_column(16);
	read_version(policy, 17);
	if (policy->owner == NULL &&
		(policy->spec.dims != BR_FEATURE_COUNT || policy->feature_schema != BR_FEATURE_SCHEMA))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("policy \"%s\" was made for another feature schema", policy->name),
				 errdetail("It has schema %d with %d features; this version computes schema %d with "
						   "%d.",
						   policy->feature_schema, policy->spec.dims, BR_FEATURE_SCHEMA,
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
	if (br_pg_execute(POLICY_COLUMNS "CASE WHEN $2 IS NULL THEN p.catalog = $1 AND p.is_default"
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

static BrPgPolicy *
find(const char *sql, int32 number)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(number)};
	BrPgPolicy *policy = NULL;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	if (br_pg_execute(sql, 1, types, values, NULL, true, 1) > 0)
		policy = policy_of_row();
	br_pg_leave(&rights);
	return policy;
}

BrPgPolicy *
br_pg_policy_find(int32 number)
{
	return find(POLICY_COLUMNS "p.policy = $1", number);
}

BrPgPolicy *
br_pg_policy_of_choices(int32 catalog)
{
	return find(POLICY_COLUMNS "p.catalog = $1 AND p.owner IS NOT NULL", catalog);
}

void
br_pg_policy_at(BrPgPolicy *policy, int32 version, int32 arms_version)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(policy->number), Int32GetDatum(version)};
	BrPgRights rights;

	policy->arms_version = arms_version;
	if (version == policy->version)
		return;
	br_pg_enter_owner(&rights);
	if (br_pg_execute("SELECT o.version, o.parameters, o.incumbent, o.decisions, o.events, o.as_of,"
					  " o.xmin::pg_catalog.text::pg_catalog.int8 FROM bundle_rec.posterior o"
					  " WHERE o.policy = $1 AND o.version = $2",
					  2, types, values, NULL, true, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("policy \"%s\" has no version %d", policy->name, version),
				 errdetail("Its newest is %d.", policy->version),
				 errhint("Older versions go as keep_versions of the policy says.")));
	read_version(policy, 1);
	br_pg_leave(&rights);
}

double *
br_pg_policy_shared_evidence(const BrPgPolicy *policy)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(policy->number), Int32GetDatum(policy->version)};
	int n = 0;
	double *evidence = NULL;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	if (br_pg_execute("SELECT evidence FROM bundle_rec.posterior WHERE policy = $1 AND version = $2",
					  2, types, values, NULL, true, 1) > 0)
		evidence = float8_array_column(0, 1, &n);
	br_pg_leave(&rights);
	if (evidence == NULL || (size_t) n != br_bandit_shared_length(&policy->spec))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("version %d of policy \"%s\" does not fit its model", policy->version,
						policy->name),
				 errdetail("Its evidence has %d numbers instead of %zu.", n,
						   br_bandit_shared_length(&policy->spec))));
	return evidence;
}

BrPgPolicy *
br_pg_policy_lock(const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	BrPgPolicy *policy;

	br_pg_execute("SELECT policy FROM bundle_rec.policy WHERE name = $1 FOR NO KEY UPDATE", 1,
				  types, values, NULL, false, 0);
	PushActiveSnapshot(GetTransactionSnapshot());
	policy = br_pg_policy_open(0, name);
	PopActiveSnapshot();
	return policy;
}

/* ---- rights ---- */

bool
br_pg_policy_is_owned(const BrPgPolicy *policy)
{
	if (policy->owner != NULL)
		return pg_class_aclcheck(br_pg_child("choice", policy->catalog), GetUserId(),
								 ACL_GRANT_OPTION_FOR(ACL_INSERT)) == ACLCHECK_OK;
	else
	{
		BrPgCatalog *catalog = br_pg_catalog_find(policy->catalog);

		return catalog != NULL && has_privs_of_role(GetUserId(), catalog->owner);
	}
}

static void
require_catalog_owner(const BrPgPolicy *policy)
{
	BrPgCatalog *catalog = br_pg_catalog_find(policy->catalog);

	if (catalog == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the source table of the catalog of policy \"%s\" was dropped",
						policy->name),
				 errhint("Drop the catalog with drop_catalog.")));
	br_pg_catalog_require_owner(catalog);
}

void
br_pg_policy_require_owner(const BrPgPolicy *policy)
{
	if (policy->owner == NULL)
		require_catalog_owner(policy);
	else if (!br_pg_policy_is_owned(policy))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of policy \"%s\"", policy->name),
				 errhint("Its owners have INSERT WITH GRANT OPTION on bundle_rec.choice_%d, as role"
						 " \"%s\" had that created it.",
						 policy->catalog, policy->owner)));
}

void
br_pg_policy_require_arms(const BrPgPolicy *policy, const char *function)
{
	if (policy->owner != NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("policy \"%s\" has no arms of its own, which %s needs", policy->name, function),
			 errdetail("It decides what recommend and its like offer from a catalog."),
			 errhint("Create a policy without a catalog.")));
}

double
br_pg_interval_seconds(const Interval *interval)
{
	return (double) interval->month * DAYS_PER_MONTH * SECS_PER_DAY +
		(double) interval->day * SECS_PER_DAY + (double) interval->time / USECS_PER_SEC;
}

double
br_pg_policy_weight(const BrPgPolicy *policy, TimestampTz from, TimestampTz to)
{
	double age = (double) (to - from) / USECS_PER_SEC;

	if (age <= 0 || policy->discount >= 1)
		return 1;
	return br_math_exp(br_math_log(policy->discount) * age / policy->period);
}
