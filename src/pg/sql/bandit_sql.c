/*
 * bandit_sql.c
 *	  SQL doors of policies (sql/parts/bandit.sql).
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "pg/catalog/catalog.h"
#include "pg/policy/context.h"
#include "pg/policy/policy.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_create_policy);
PG_FUNCTION_INFO_V1(br_alter_policy);
PG_FUNCTION_INFO_V1(br_drop_policy);
PG_FUNCTION_INFO_V1(br_add_arms);
PG_FUNCTION_INFO_V1(br_retire_arm);
PG_FUNCTION_INFO_V1(br_fold);
PG_FUNCTION_INFO_V1(br_fold_due);

/* A policy without a catalog has tables of its own: whoever may add schemas may add it. */
static void
require_create(void)
{
	if (pg_database_aclcheck(MyDatabaseId, GetUserId(), ACL_CREATE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to create a policy without a catalog"),
				 errhint("GRANT CREATE ON DATABASE %s TO this role.",
						 quote_identifier(get_database_name(MyDatabaseId)))));
}

/* create_policy(name, algorithm, catalog, params, reward, attribution_window, make_default) */
PGDLLEXPORT Datum
br_create_policy(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"name",	  "algorithm",			NULL,		   "params",
										"reward", "attribution_window", "make_default"};
	BrPgPolicyRequest request = {.owner = GetUserId()};
	BrPgRights rights;

	br_pg_require_writes("create_policy()");
	for (int i = 0; i < (int) lengthof(names); i++)
		if (names[i] != NULL)
			br_pg_require_argument(fcinfo, i, names[i]);
	request.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	request.algorithm = text_to_cstring(PG_GETARG_TEXT_PP(1));
	request.parameters = PG_GETARG_DATUM(3);
	request.reward = PG_GETARG_DATUM(4);
	request.window = PG_GETARG_DATUM(5);
	request.make_default = PG_GETARG_BOOL(6);
	SPI_connect();
	if (!PG_ARGISNULL(2))
	{
		BrPgCatalog *catalog = br_pg_catalog_open(text_to_cstring(PG_GETARG_TEXT_PP(2)));

		br_pg_catalog_require_owner(catalog);
		request.catalog = catalog->number;
	}
	else
		require_create();
	br_pg_enter_owner(&rights);
	br_pg_policy_create(&request);
	br_pg_leave(&rights);
	SPI_finish();
	PG_RETURN_VOID();
}

/* the policy that argument 0 names, for who owns it; SPI is connected */
static BrPgPolicy *
owned_policy(FunctionCallInfo fcinfo)
{
	BrPgPolicy *policy = br_pg_policy_open(0, br_pg_text_argument(fcinfo, 0, "policy"));

	br_pg_policy_require_owner(policy);
	return policy;
}

/* alter_policy(policy, params, reward, attribution_window, make_default) */
PGDLLEXPORT Datum
br_alter_policy(PG_FUNCTION_ARGS)
{
	BrPgPolicyChange change = {
		.parameters = PG_GETARG_DATUM(1),
		.reward = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
		.window = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3),
		.has_default = !PG_ARGISNULL(4),
		.make_default = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4),
	};
	BrPgPolicy *policy;
	BrPgRights rights;

	br_pg_require_writes("alter_policy()");
	br_pg_require_argument(fcinfo, 1, "params");
	SPI_connect();
	policy = owned_policy(fcinfo);
	br_pg_enter_owner(&rights);
	br_pg_policy_alter(policy->name, &change);
	br_pg_leave(&rights);
	SPI_finish();
	PG_RETURN_VOID();
}

/* drop_policy(policy) */
PGDLLEXPORT Datum
br_drop_policy(PG_FUNCTION_ARGS)
{
	BrPgPolicy *policy;
	BrPgRights rights;

	br_pg_require_writes("drop_policy()");
	SPI_connect();
	policy = owned_policy(fcinfo);
	br_pg_enter_owner(&rights);
	br_pg_policy_drop(policy);
	br_pg_leave(&rights);
	SPI_finish();
	PG_RETURN_VOID();
}

/* features: as many as there are arms, times arm_features */
static double *
features_argument(FunctionCallInfo fcinfo, int i, const BrPgPolicy *policy, int n_arms)
{
	int64 wanted = (int64) n_arms * policy->arm_features;
	double *features;
	int n;

	if (PG_ARGISNULL(i))
		return NULL;
	features = br_pg_float8_argument(PG_GETARG_ARRAYTYPE_P(i), "features", &n);
	if (policy->arm_features == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("policy \"%s\" takes no features of arms", policy->name),
				 errhint("Declare \"arm_features\" in params of create_policy.")));
	if (n != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"features\" has %d numbers instead of %lld", n, (long long) wanted),
				 errdetail("There are %d arms with %d features each.", n_arms,
						   policy->arm_features)));
	return features;
}

/* add_arms(policy, arms, features) */
PGDLLEXPORT Datum
br_add_arms(PG_FUNCTION_ARGS)
{
	BrPgPolicy *policy;
	char **arms;
	double *features;
	int n, changed;
	BrPgRights rights;

	br_pg_require_writes("add_arms()");
	br_pg_require_argument(fcinfo, 1, "arms");
	SPI_connect();
	policy = owned_policy(fcinfo);
	br_pg_policy_require_arms(policy, "add_arms");
	arms = br_pg_text_array(PG_GETARG_ARRAYTYPE_P(1), "arms", &n);
	features = features_argument(fcinfo, 2, policy, n);
	br_pg_enter_owner(&rights);
	changed = br_pg_policy_add_arms(policy->name, arms, n, features);
	br_pg_leave(&rights);
	SPI_finish();
	PG_RETURN_INT32(changed);
}

/* retire_arm(policy, arm) */
PGDLLEXPORT Datum
br_retire_arm(PG_FUNCTION_ARGS)
{
	BrPgPolicy *policy;
	bool retired;
	BrPgRights rights;

	br_pg_require_writes("retire_arm()");
	SPI_connect();
	policy = owned_policy(fcinfo);
	br_pg_policy_require_arms(policy, "retire_arm");
	br_pg_enter_owner(&rights);
	retired = br_pg_policy_retire_arm(policy->name, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	br_pg_leave(&rights);
	SPI_finish();
	PG_RETURN_BOOL(retired);
}

/* fold(policy) */
PGDLLEXPORT Datum
br_fold(PG_FUNCTION_ARGS)
{
	BrPgPolicy *policy;
	BrPgRights rights;
	int32 version;

	br_pg_require_writes("fold()");
	SPI_connect();
	policy = owned_policy(fcinfo);
	br_pg_enter_owner(&rights);
	version = br_pg_policy_fold(policy->name);
	br_pg_leave(&rights);
	SPI_finish();
	PG_RETURN_INT32(version);
}

/* fold_due() */
PGDLLEXPORT Datum
br_fold_due(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char **names;
	int n;

	br_pg_require_writes("fold_due()");
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	names = br_pg_policy_due(&n);
	for (int i = 0; i < n; i++)
	{
		Datum values[2];
		bool nulls[] = {false, false};
		int32 version;

		if (!br_pg_policy_try_fold(names[i], &version))
			continue;
		values[0] = CStringGetTextDatum(names[i]);
		values[1] = Int32GetDatum(version);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	PG_RETURN_NULL();
}
