/*
 * compress_sql.c
 *	  The SQL door of compressing models (sql/parts/compress.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/compress/compress.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_compress_model);

/* model, new_name, catalog, method, parameters -> (quantity, before, after) */
PGDLLEXPORT Datum
br_compress_model(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgCompressed rows[BR_PG_COMPRESSED_MAX];
	BrPgCompression compression = {
		.model = br_pg_text_argument(fcinfo, 0, "model"),
		.new_name = br_pg_text_argument(fcinfo, 1, "new_name"),
		.catalog = br_pg_text_argument(fcinfo, 2, "catalog"),
		.method = br_pg_text_argument(fcinfo, 3, "method"),
		.parameters = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4),
	};
	int n;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	n = br_pg_compress(&compression, rows);
	SPI_finish();
	for (int i = 0; i < n; i++)
	{
		Datum values[3] = {CStringGetTextDatum(rows[i].quantity)};
		bool nulls[3] = {false};

		br_pg_set_number(values, nulls, 1, rows[i].before);
		br_pg_set_number(values, nulls, 2, rows[i].after);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
