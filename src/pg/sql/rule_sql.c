/*
 * rule_sql.c
 *	  SQL doors of merchandiser rules (sql/parts/rule.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "pg/rule/rule.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_create_rule);
PG_FUNCTION_INFO_V1(br_drop_rule);

/* create_rule(catalog, name, action, items, categories, bundle_id, amount, slot, valid) */
PGDLLEXPORT Datum
br_create_rule(PG_FUNCTION_ARGS)
{
	BrPgRuleRequest request = {
		.items = PG_ARGISNULL(3) ? NULL : PG_GETARG_ARRAYTYPE_P(3),
		.categories = PG_ARGISNULL(4) ? NULL : PG_GETARG_ARRAYTYPE_P(4),
		.bundle_id = PG_ARGISNULL(5) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(5)),
		.has_amount = !PG_ARGISNULL(6),
		.amount = PG_ARGISNULL(6) ? 0 : PG_GETARG_FLOAT8(6),
		.has_slot = !PG_ARGISNULL(7),
		.slot = PG_ARGISNULL(7) ? 0 : PG_GETARG_INT32(7),
		.valid = PG_ARGISNULL(8) ? (Datum) 0 : PG_GETARG_DATUM(8),
	};
	BrPgCatalog *catalog;

	br_pg_require_writes("create_rule()");
	br_pg_require_argument(fcinfo, 0, "catalog");
	request.name = br_pg_text_argument(fcinfo, 1, "name");
	request.action = br_pg_text_argument(fcinfo, 2, "action");
	SPI_connect();
	catalog = br_pg_catalog_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	br_pg_catalog_require_owner(catalog);
	br_pg_rule_create(catalog, &request);
	SPI_finish();
	PG_RETURN_VOID();
}

/* drop_rule(catalog, name) */
PGDLLEXPORT Datum
br_drop_rule(PG_FUNCTION_ARGS)
{
	char *name;

	br_pg_require_writes("drop_rule()");
	br_pg_require_argument(fcinfo, 0, "catalog");
	name = br_pg_text_argument(fcinfo, 1, "name");
	SPI_connect();
	br_pg_rule_drop(br_pg_catalog_open_owned(text_to_cstring(PG_GETARG_TEXT_PP(0))), name);
	SPI_finish();
	PG_RETURN_VOID();
}
