/*
 * service_sql.c
 *	  SQL doors of the embedding service (sql/parts/service.sql).
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"

#include "pg/service/service.h"

PG_FUNCTION_INFO_V1(br_service_state);

PGDLLEXPORT Datum
br_service_state(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	HeapTuple row;

	InitMaterializedSRF(fcinfo, 0);
	row = br_pg_service_info(result->setDesc);
	if (row != NULL)
		tuplestore_puttuple(result->setResult, row);
	return (Datum) 0;
}
