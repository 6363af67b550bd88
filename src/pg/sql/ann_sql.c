/*
 * ann_sql.c
 *	  SQL doors of what looks into an index (sql/parts/ann_tools.sql).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/am/inspect.h"
#include "pg/sql/arguments.h"

#define MOST_SAMPLED 100000
#define MOST_NEAREST 10000

PG_FUNCTION_INFO_V1(br_ann_check);
PG_FUNCTION_INFO_V1(br_ann_stats);
PG_FUNCTION_INFO_V1(br_ann_recall);
PG_FUNCTION_INFO_V1(br_ann_flush);

/* ---- opening ---- */

static void
require_right(Oid table, Oid index, bool owner)
{
	AclResult result = ACLCHECK_OK;

	if (owner && !pg_class_ownercheck(table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_INDEX, get_rel_name(index));
	if (!owner)
		result = pg_class_aclcheck(table, GetUserId(), ACL_SELECT);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_TABLE, get_rel_name(table));
}

static void
require_readable(Relation index)
{
	if (!br_am_is_index(index))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an index of bundle_ann", RelationGetRelationName(index)),
				 errhint("Of a partitioned index, name that of a partition.")));
	if (RELATION_IS_OTHER_TEMP(index))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" is another session's temporary one",
						RelationGetRelationName(index))));
	if (!index->rd_index->indisvalid)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is not valid", RelationGetRelationName(index)),
				 errhint("REINDEX INDEX makes it anew.")));
}

/*
 * The index of argument 0 and its table, locked in the order that everyone
 * keeps. owner: only he may; else who may SELECT from the table.
 */
static Relation
open_index(FunctionCallInfo fcinfo, LOCKMODE lock, bool owner, Relation *heap)
{
	Oid id;
	Oid table;
	Relation index;

	br_pg_require_argument(fcinfo, 0, "index");
	id = PG_GETARG_OID(0);
	table = IndexGetRelation(id, true);
	if (!OidIsValid(table))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 get_rel_name(id) == NULL
					 ? errmsg("there is no index of OID %u", id)
					 : errmsg("\"%s\" is not an index of bundle_ann", get_rel_name(id))));
	require_right(table, id, owner);
	*heap = table_open(table, lock);
	index = index_open(id, lock);
	require_readable(index);
	return index;
}

static void
close_index(Relation heap, Relation index)
{
	/* the locks stay until the transaction ends */
	index_close(index, NoLock);
	table_close(heap, NoLock);
}

/* Argument i, in 1 .. most. */
static int
count_argument(FunctionCallInfo fcinfo, int i, const char *name, int most)
{
	int value;

	br_pg_require_argument(fcinfo, i, name);
	value = PG_GETARG_INT32(i);
	if (value < 1 || value > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be from 1 to %d, and is %d", name, most, value)));
	return value;
}

/* ---- doors ---- */

PGDLLEXPORT Datum
br_ann_check(PG_FUNCTION_ARGS)
{
	Relation heap;
	Relation index;
	int64 rows;

	br_pg_require_argument(fcinfo, 1, "deep");
	/* keeps vacuums away; a standby has no such lock, nor vacuums but those that it replays */
	index = open_index(fcinfo, RecoveryInProgress() ? AccessShareLock : ShareUpdateExclusiveLock,
					   true, &heap);
	rows = br_am_check(heap, index, PG_GETARG_BOOL(1));
	close_index(heap, index);
	PG_RETURN_INT64(rows);
}

static const char *
metric_name(int metric)
{
	switch ((BrMetric) metric)
	{
		case BR_METRIC_COSINE:
			return "cosine";
		case BR_METRIC_INNER_PRODUCT:
			return "inner product";
		case BR_METRIC_L2:
			return "l2";
	}
	pg_unreachable();
}

static void
set_counts(const BrAmStats *stats, Datum *values)
{
	int64 known = 1 + stats->posting_pages + stats->exact_pages + stats->directory_pages;

	values[0] = Int64GetDatum(stats->rows);
	values[1] = Int64GetDatum(stats->dead);
	values[2] = Int64GetDatum((int64) stats->meta.pending);
	values[3] = Int32GetDatum(stats->lists);
	values[4] = Int64GetDatum(stats->shortest);
	values[6] = Int64GetDatum(stats->longest);
	values[7] = Int64GetDatum(stats->pages);
	values[8] = Int64GetDatum(stats->posting_pages);
	values[9] = Int64GetDatum(stats->exact_pages);
	values[10] = Int64GetDatum(stats->directory_pages);
	values[11] = Int64GetDatum(Max(0, stats->pages - known));
}

PGDLLEXPORT Datum
br_ann_stats(PG_FUNCTION_ARGS)
{
	Datum values[19] = {0};
	bool nulls[19] = {false};
	TupleDesc descriptor;
	Relation heap;
	Relation index = open_index(fcinfo, AccessShareLock, false, &heap);
	BrAmStats stats;

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "bundle_ann_stats must return a row");
	br_am_stats(index, &stats);
	set_counts(&stats, values);
	br_pg_set_number(values, nulls, 5, (double) stats.rows / stats.lists);
	br_pg_set_number(values, nulls, 12, (double) stats.pages * BLCKSZ / stats.rows);
	values[13] = Int32GetDatum(stats.meta.dims);
	nulls[13] = stats.meta.dims == 0;
	values[14] = CStringGetTextDatum(metric_name(stats.meta.metric));
	values[15] = Float8GetDatum(br_am_option_recall(index));
	values[16] = Float8GetDatum(stats.share);
	nulls[17] = stats.meta.model_name[0] == '\0';
	if (!nulls[17])
		values[17] = CStringGetTextDatum(stats.meta.model_name);
	values[18] = Int64GetDatum(br_am_skipped);
	close_index(heap, index);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}

PGDLLEXPORT Datum
br_ann_recall(PG_FUNCTION_ARGS)
{
	int sample = count_argument(fcinfo, 1, "sample", MOST_SAMPLED);
	int k = count_argument(fcinfo, 2, "k", MOST_NEAREST);
	Relation heap;
	Relation index = open_index(fcinfo, AccessShareLock, false, &heap);
	Datum value = (Datum) 0;
	bool is_null = false;

	br_pg_set_number(&value, &is_null, 0, br_am_measure_recall(heap, index, sample, k));
	close_index(heap, index);
	if (is_null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(value);
}

PGDLLEXPORT Datum
br_ann_flush(PG_FUNCTION_ARGS)
{
	Relation heap;
	Relation index;
	int64 rows;

	br_pg_require_writes("bundle_ann_flush()");
	index = open_index(fcinfo, RowExclusiveLock, true, &heap);
	rows = br_am_flush(index);
	close_index(heap, index);
	PG_RETURN_INT64(rows);
}
