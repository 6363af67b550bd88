/*
 * curated_sql.c
 *	  SQL doors of curated bundles (sql/parts/curated.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "pg/catalog/bundles.h"
#include "pg/catalog/create.h"
#include "pg/decide/complete.h"
#include "pg/decide/decide.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_add_bundle_source);
PG_FUNCTION_INFO_V1(br_drop_bundle_source);
PG_FUNCTION_INFO_V1(br_rank_bundles);
PG_FUNCTION_INFO_V1(br_complete);

/* catalog, bundles, bundle_id, item_id, quantity, price */
PGDLLEXPORT Datum
br_add_bundle_source(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"catalog", "bundles", "bundle_id", "item_id"};
	char *columns[BR_PG_BUNDLE_COLUMNS];

	br_pg_require_writes("add_bundle_source()");
	for (int i = 0; i < lengthof(names); i++)
		br_pg_require_argument(fcinfo, i, names[i]);
	for (int i = 0; i < BR_PG_BUNDLE_COLUMNS; i++)
		columns[i] = PG_ARGISNULL(2 + i) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(2 + i)));
	SPI_connect();
	br_pg_catalog_add_bundles(br_pg_catalog_open(text_to_cstring(PG_GETARG_TEXT_PP(0))),
							  PG_GETARG_OID(1), columns);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---- rank_bundles ---- */

static void
return_bundles(ReturnSetInfo *result, const BrPgDecision *decision)
{
	for (int slot = 0; slot < decision->slate.slots; slot++)
	{
		int chosen = decision->slate.chosen[slot];
		const BrBundle *bundle = &decision->pool.bundles[chosen];
		Datum values[11];
		bool nulls[11] = {false};

		values[0] = Int32GetDatum(slot + 1);
		values[1] = Int64GetDatum(decision->decision_id);
		nulls[1] = decision->decision_id == 0;
		values[2] = CStringGetTextDatum(decision->curated[chosen].bundle_id);
		values[3] = PointerGetDatum(br_pg_decide_item_ids(decision, bundle));
		values[4] = Float8GetDatum(decision->slate.expected[chosen]);
		values[5] = Float8GetDatum(decision->slate.propensity[slot]);
		br_pg_set_number(values, nulls, 6, bundle->price / BR_PG_MILLIONTHS);
		br_pg_set_number(values, nulls, 7, bundle->list_price / BR_PG_MILLIONTHS);
		br_pg_set_number(values, nulls, 8, 1 - bundle->price / bundle->list_price);
		br_pg_set_number(values, nulls, 9, bundle->margin);
		values[10] = DirectFunctionCall1(jsonb_in, CStringGetDatum(decision->reasons[slot]));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

PGDLLEXPORT Datum
br_rank_bundles(PG_FUNCTION_ARGS)
{
	static const BrPgArgumentPlaces at = {
		.user_id = 1,
		.wanted = 2,
		.exclude_owned = 3,
		.basket = 4,
		.query = 5,
		.size = -1,
		.budget = 6,
		.min_margin = 7,
		.categories = 8,
		.exclude = 9,
		.in_stock = 10,
		.diversity = 11,
		.policy = 12,
		.log = 13,
		.seed = 14,
	};

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	return_bundles((ReturnSetInfo *) fcinfo->resultinfo,
				   br_pg_decide(br_pg_decide_request(fcinfo, "curated", "k", &at)));
	SPI_finish();
	return (Datum) 0;
}

/* ---- complete ---- */

PGDLLEXPORT Datum
br_complete(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgCatalog *catalog;
	BrPgCompletion *completions;
	char **items;
	int k, n_items, n;

	InitMaterializedSRF(fcinfo, 0);
	br_pg_require_argument(fcinfo, 0, "catalog");
	br_pg_require_argument(fcinfo, 1, "items");
	k = br_pg_rows_argument(fcinfo, 2);
	SPI_connect();
	catalog = br_pg_catalog_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	br_pg_catalog_require_reader(catalog);
	items = br_pg_text_array(PG_GETARG_ARRAYTYPE_P(1), "items", &n_items);
	completions = br_pg_complete(catalog, items, n_items, k, &n);
	for (int i = 0; i < n; i++)
	{
		Datum values[] = {Int32GetDatum(i + 1), CStringGetTextDatum(completions[i].item_id),
						  Float8GetDatum(completions[i].score)};
		bool nulls[] = {false, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

PGDLLEXPORT Datum
br_drop_bundle_source(PG_FUNCTION_ARGS)
{
	br_pg_require_writes("drop_bundle_source()");
	br_pg_require_argument(fcinfo, 0, "catalog");
	br_pg_require_argument(fcinfo, 1, "bundles");
	SPI_connect();
	br_pg_catalog_drop_bundles(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_OID(1));
	SPI_finish();
	PG_RETURN_VOID();
}
