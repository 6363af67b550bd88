/*
 * detect_sql.c
 *	  SQL doors of detection and mining (sql/parts/detect.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

#include "core/learn/br_learn.h"
#include "pg/learn/detect.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_detect_bundles);
PG_FUNCTION_INFO_V1(br_mine_bundles);

static BrPgCatalog *
open_catalog(FunctionCallInfo fcinfo)
{
	BrPgCatalog *catalog = br_pg_catalog_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	br_pg_catalog_require_reader(catalog);
	return catalog;
}

/* detect_bundles(catalog, items) -> (bundle, items, score) */
PGDLLEXPORT Datum
br_detect_bundles(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgCatalog *catalog;
	BrPgFound *found;
	char **items;
	int n_items, n;

	InitMaterializedSRF(fcinfo, 0);
	br_pg_require_argument(fcinfo, 0, "catalog");
	br_pg_require_argument(fcinfo, 1, "items");
	SPI_connect();
	catalog = open_catalog(fcinfo);
	items = br_pg_text_array(PG_GETARG_ARRAYTYPE_P(1), "items", &n_items);
	found = br_pg_detect_bundles(catalog, items, n_items, &n);
	for (int i = 0; i < n; i++)
	{
		Datum values[] = {Int32GetDatum(i + 1),
						  br_pg_text_array_datum(found[i].item_ids, found[i].n),
						  Float8GetDatum(found[i].score)};
		bool nulls[] = {false, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

static void
sizes_argument(FunctionCallInfo fcinfo, int i, BrPgMiningRequest *request)
{
	RangeType *range;
	RangeBound lower, upper;
	bool empty;

	br_pg_require_argument(fcinfo, i, "sizes");
	range = PG_GETARG_RANGE_P(i);
	range_deserialize(lookup_type_cache(RangeTypeGetOid(range), TYPECACHE_RANGE_INFO), range,
					  &lower, &upper, &empty);
	/* canonical int4range: lower included, upper excluded */
	request->min_size = empty || lower.infinite ? 2 : DatumGetInt32(lower.val);
	request->max_size =
		empty || upper.infinite ? BR_ITEMSETS_MAX_SIZE : DatumGetInt32(upper.val) - 1;
	if (empty || request->min_size < 2 || request->max_size > BR_ITEMSETS_MAX_SIZE ||
		request->min_size > request->max_size)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"sizes\" must be a range within 2 and %d", BR_ITEMSETS_MAX_SIZE),
				 errhint("Give an int4range such as '[2,3]'.")));
}

static int64
support_argument(FunctionCallInfo fcinfo, int i)
{
	int64 support = PG_ARGISNULL(i) ? 1 : PG_GETARG_INT64(i);

	if (support < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"min_support\" must be at least 1: %lld", (long long) support)));
	return support;
}

/* mine_bundles(catalog, k, min_support, sizes) -> (rank, items, name, support, expected, lift, price) */
PGDLLEXPORT Datum
br_mine_bundles(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgMiningRequest request = {0};
	BrPgMined *mined;
	int n;

	InitMaterializedSRF(fcinfo, 0);
	br_pg_require_argument(fcinfo, 0, "catalog");
	request.k = br_pg_rows_argument(fcinfo, 1);
	request.min_support = support_argument(fcinfo, 2);
	sizes_argument(fcinfo, 3, &request);
	SPI_connect();
	mined = br_pg_mine_bundles(open_catalog(fcinfo), &request, &n);
	for (int i = 0; i < n; i++)
	{
		Datum values[7] = {Int32GetDatum(i + 1),
						   br_pg_text_array_datum(mined[i].item_ids, mined[i].n),
						   (Datum) 0,
						   Int64GetDatum(mined[i].support),
						   Float8GetDatum(mined[i].expected),
						   Float8GetDatum(mined[i].lift),
						   (Datum) 0};
		bool nulls[7] = {false};

		nulls[2] = mined[i].name == NULL;
		if (!nulls[2])
			values[2] = CStringGetTextDatum(mined[i].name);
		br_pg_set_number(values, nulls, 6, mined[i].price);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}
