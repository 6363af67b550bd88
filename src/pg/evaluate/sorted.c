/*
 * sorted.c
 *	  Figures in the order of their clusters, however many: what exceeds work_mem
 *	  goes to temporary files.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/tuplesort.h"

#include "pg/evaluate/evaluate_int.h"

struct BrPgSorted
{
	Tuplesortstate *sort;
	TupleTableSlot *slot;
	int64 rows;
	char *buffer; /* of the present row */
	Size room;
};

BrPgSorted *
br_pg_sorted_open(void)
{
	AttrNumber keys[] = {1, 2};
	Oid operators[] = {Int8LessOperator, Int8LessOperator};
	Oid collations[] = {InvalidOid, InvalidOid};
	bool nulls_first[] = {false, false};
	BrPgSorted *sorted = palloc0(sizeof(BrPgSorted));
	TupleDesc descriptor = CreateTemplateTupleDesc(3);

	TupleDescInitEntry(descriptor, 1, "cluster", INT8OID, -1, 0);
	TupleDescInitEntry(descriptor, 2, "row", INT8OID, -1, 0);
	TupleDescInitEntry(descriptor, 3, "figures", BYTEAOID, -1, 0);
	sorted->slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsMinimalTuple);
	sorted->sort = tuplesort_begin_heap(descriptor, 2, keys, operators, collations, nulls_first,
										work_mem, NULL, TUPLESORT_NONE);
	return sorted;
}

static void
make_room(BrPgSorted *sorted, Size size)
{
	if (size <= sorted->room)
		return;
	if (sorted->buffer != NULL)
		pfree(sorted->buffer);
	sorted->room = size * 2;
	sorted->buffer = palloc(sorted->room);
}

void
br_pg_sorted_add(BrPgSorted *sorted, const BrPgFigures *figures, const void *more, Size size)
{
	TupleTableSlot *slot = sorted->slot;
	Size total = VARHDRSZ + sizeof(*figures) + size;

	make_room(sorted, total);
	SET_VARSIZE(sorted->buffer, total);
	memcpy(VARDATA(sorted->buffer), figures, sizeof(*figures));
	if (size > 0)
		memcpy(VARDATA(sorted->buffer) + sizeof(*figures), more, size);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, sizeof(bool) * 3);
	slot->tts_values[0] = Int64GetDatum(figures->cluster);
	slot->tts_values[1] = Int64GetDatum(sorted->rows++);
	slot->tts_values[2] = PointerGetDatum(sorted->buffer);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(sorted->sort, slot);
}

void
br_pg_sorted_turn(BrPgSorted *sorted)
{
	tuplesort_performsort(sorted->sort);
}

bool
br_pg_sorted_next(BrPgSorted *sorted, BrPgFigures *figures, const void **more, Size *size)
{
	bytea *kept;
	bool is_null;

	if (!tuplesort_gettupleslot(sorted->sort, true, false, sorted->slot, NULL))
		return false;
	kept = DatumGetByteaPP(slot_getattr(sorted->slot, 3, &is_null));
	memcpy(figures, VARDATA_ANY(kept), sizeof(*figures));
	*size = VARSIZE_ANY_EXHDR(kept) - sizeof(*figures);
	make_room(sorted, *size);
	if (*size > 0)
		memcpy(sorted->buffer, VARDATA_ANY(kept) + sizeof(*figures), *size);
	*more = sorted->buffer;
	return true;
}

void
br_pg_sorted_close(BrPgSorted *sorted)
{
	tuplesort_end(sorted->sort);
	ExecDropSingleTupleTableSlot(sorted->slot);
}
