/*
 * bandit_sql.c
 *	  SQL doors of policies (sql/parts/bandit.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "pg/catalog/catalog.h"
#include "pg/policy/policy.h"

PG_FUNCTION_INFO_V1(br_create_policy);
PG_FUNCTION_INFO_V1(br_fold);

/* create_policy(name, algorithm, catalog, params, reward, attribution_window, make_default) */
PGDLLEXPORT Datum
br_create_policy(PG_FUNCTION_ARGS)
{
	BrPgPolicyRequest request = {
		.name = text_to_cstring(PG_GETARG_TEXT_PP(0)),
		.algorithm = text_to_cstring(PG_GETARG_TEXT_PP(1)),
		.parameters = PG_GETARG_DATUM(3),
		.reward = PG_GETARG_DATUM(4),
		.window = PG_GETARG_DATUM(5),
		.make_default = PG_GETARG_BOOL(6),
	};
	BrPgCatalog *catalog;
	BrPgRights rights;

	br_pg_require_writes("create_policy()");
	SPI_connect();
	catalog = br_pg_catalog_open(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	br_pg_catalog_require_owner(catalog);
	request.catalog = catalog->number;

	br_pg_enter_owner(&rights);
	br_pg_policy_create(&request);
	br_pg_leave(&rights);
	SPI_finish();
	PG_RETURN_VOID();
}

/* fold(policy) */
PGDLLEXPORT Datum
br_fold(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	BrPgPolicy *policy;
	BrPgCatalog *catalog;
	BrPgRights rights;
	int32 version;

	br_pg_require_writes("fold()");
	SPI_connect();
	policy = br_pg_policy_open(0, name);
	catalog = br_pg_catalog_find(policy->catalog);
	if (catalog == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the source table of the catalog of policy \"%s\" was dropped", name),
				 errhint("Drop the catalog with drop_catalog.")));
	br_pg_catalog_require_owner(catalog);

	br_pg_enter_owner(&rights);
	version = br_pg_policy_fold(name);
	br_pg_leave(&rights);
	SPI_finish();
	PG_RETURN_INT32(version);
}
