/*
 * bulk.c
 *	  Rows written straight into a table of the extension, many at a time.
 *
 * A batch goes to the heap page by page and to the indexes row by row, as COPY
 * does it. What a statement over arrays would cost besides (building the
 * arrays, taking them apart again, a plan) is more than the writing itself.
 * Constraints are not checked: callers write only what they have checked.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/bulk.h"

/* rows that go to the heap together */
#define ROWS_AT_ONCE 200

Oid
br_pg_relation(const char *child)
{
	Oid oid = get_relname_relid(child, get_namespace_oid("bundle_rec", false));

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation bundle_rec.%s does not exist", child),
				 errdetail("It belongs to a catalog; somebody dropped it, or dropped the catalog"
						   " a moment ago."),
				 errhint("Drop the catalog with drop_catalog, and create it again.")));
	return oid;
}

Oid
br_pg_child(const char *table, int32 number)
{
	return br_pg_relation(psprintf("%s_%d", table, number));
}

Oid
br_pg_sequence(const char *table, int32 number)
{
	return br_pg_relation(psprintf("%s_%d_number", table, number));
}

/* where each column of the batch stands in the table; the others are NULL */
static void
find_columns(Relation table, const BrPgBatch *batch, AttrNumber *places)
{
	for (int c = 0; c < batch->columns; c++)
	{
		places[c] = get_attnum(RelationGetRelid(table), batch->names[c]);
		if (places[c] == InvalidAttrNumber)
			elog(ERROR, "table \"%s\" has no column \"%s\"", RelationGetRelationName(table),
				 batch->names[c]);
	}
}

static void
fill_slot(const BrPgBatch *batch, const AttrNumber *places, int row, TupleTableSlot *slot)
{
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	for (int c = 0; c < batch->columns; c++)
	{
		bool constant = batch->nulls[c] == NULL;

		slot->tts_values[places[c] - 1] = batch->values[c][constant ? 0 : row];
		slot->tts_isnull[places[c] - 1] = constant ? false : batch->nulls[c][row];
	}
	ExecStoreVirtualTuple(slot);
}

void
br_pg_bulk_insert(Oid oid, const BrPgBatch *batch)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(outer, "bulk insert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	Relation table = table_open(oid, RowExclusiveLock);
	EState *estate = CreateExecutorState();
	ResultRelInfo *result = makeNode(ResultRelInfo);
	BulkInsertState state = GetBulkInsertState();
	CommandId command = GetCurrentCommandId(true);
	int n_slots = Min(batch->rows, ROWS_AT_ONCE);
	TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * Max(n_slots, 1));
	AttrNumber *places = palloc(sizeof(AttrNumber) * batch->columns);

	find_columns(table, batch, places);
	InitResultRelInfo(result, table, 1, NULL, 0);
	ExecOpenIndices(result, false);
	for (int i = 0; i < n_slots; i++)
		slots[i] = table_slot_create(table, NULL);
	for (int first = 0; first < batch->rows; first += n_slots)
	{
		int n = Min(n_slots, batch->rows - first);

		for (int i = 0; i < n; i++)
			fill_slot(batch, places, first + i, slots[i]);
		MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
		table_multi_insert(table, slots, n, command, 0, state);
		MemoryContextSwitchTo(work);
		for (int i = 0; result->ri_NumIndices > 0 && i < n; i++)
			list_free(ExecInsertIndexTuples(result, slots[i], estate, false, false, NULL, NIL));
		ResetPerTupleExprContext(estate);
	}
	for (int i = 0; i < n_slots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	FreeBulkInsertState(state);
	ExecCloseIndices(result);
	FreeExecutorState(estate);
	table_close(table, NoLock);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	CommandCounterIncrement();
}
