/*
 * recall.c
 *	  How many of the true nearest rows a scan finds.
 *
 * Some rows of the index are taken as queries. What scans return for them is
 * compared with the distances of all rows, computed in one pass. A row that is
 * as near as the k-th nearest counts, whichever of those that tie it is.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pg/am/inspect.h"

/* A row as a query, and what is nearest to it. */
typedef struct Sampled
{
	ItemPointerData tid;
	ItemPointerData seen; /* of the version that the snapshot sees, as scans report it */
	uint16 *vector;		  /* (dims) */
	double squared_norm;
	BrTopK *top;
} Sampled;

typedef struct Measuring
{
	Relation heap;
	Relation index;
	BrAmMeta meta;
	BrAmShape shape;
	BrContext context;
	Snapshot snapshot;
	IndexFetchTableData *fetch;
	TupleTableSlot *slot;
	int k;
	int room;
	Sampled *queries; /* (room) */
	int n;
	uint32 seen;	 /* rows from which the queries were drawn */
	BrRandom random; /* the same in each call: another result has another cause */
	int32 row;		 /* number of the row that is compared */
} Measuring;

/* ---- rows ---- */

/* The row of a heap pointer as the snapshot sees it, into the slot; *seen: where that version stands. */
static bool
is_visible(Measuring *measuring, const ItemPointerData *tid, ItemPointer seen)
{
	bool again = false;

	*seen = *tid;
	return table_index_fetch_tuple(measuring->fetch, seen, measuring->snapshot, measuring->slot,
								   &again, NULL);
}

/* All rows of the index: those of the lists that count, and those that wait. */
static void
read_rows(Measuring *measuring, bool (*row)(void *arg, const BrAmRow *row))
{
	BrAmMeta meta;
	BrAmList *lists;
	int n;

	/* before the lists, because a row may move from there to them */
	if (measuring->shape.text)
	{
		BrAmRow *waiting = br_am_pending_rows(measuring->index, &measuring->meta, true, &n);

		for (int i = 0; i < n; i++)
			row(measuring, &waiting[i]);
	}
	if (measuring->meta.first_directory == InvalidBlockNumber)
		return;
	lists = br_am_directory_read(measuring->index, NULL, &meta, &measuring->shape, NULL, &n);
	n = br_am_directory_counting(lists, n);
	for (int i = 0; i < n; i++)
		br_am_read_list(measuring->index, &measuring->shape, &lists[i], NULL, row, measuring);
}

/* Vitter's algorithm R. */
static bool
draw_row(void *arg, const BrAmRow *row)
{
	Measuring *measuring = arg;
	int place = measuring->n;
	ItemPointerData seen;
	Sampled *query;

	CHECK_FOR_INTERRUPTS();
	measuring->seen++;
	if (measuring->n == measuring->room)
	{
		uint32 drawn = br_base_random_below(&measuring->random, measuring->seen);

		if (drawn >= (uint32) measuring->room)
			return true;
		place = (int) drawn;
	}
	if (!is_visible(measuring, &row->tid, &seen))
	{
		measuring->seen--;
		return true;
	}
	query = &measuring->queries[place];
	if (place == measuring->n)
	{
		measuring->n++;
		query->vector = palloc(sizeof(uint16) * measuring->shape.dims);
	}
	query->tid = row->tid;
	query->seen = seen;
	memcpy(query->vector, row->vector, sizeof(uint16) * measuring->shape.dims);
	return true;
}

/* ---- the exact answer ---- */

static bool
compare_row(void *arg, const BrAmRow *row)
{
	Measuring *measuring = arg;
	ItemPointerData seen;
	bool known = false;

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < measuring->n; i++)
	{
		Sampled *query = &measuring->queries[i];
		double distance = br_ann_distance((BrMetric) measuring->meta.metric, query->vector,
										  query->squared_norm, row->vector, measuring->shape.dims);

		if (!(-distance > br_ann_top_k_threshold(query->top)) ||
			ItemPointerEquals(&query->tid, unconstify(ItemPointerData *, &row->tid)))
			continue;
		/* only a row that would be among the nearest is worth a look at the table */
		if (!known && !is_visible(measuring, &row->tid, &seen))
			return true;
		known = true;
		br_ann_top_k_offer(query->top, measuring->row, -distance);
	}
	measuring->row++;
	return true;
}

static void
find_nearest(Measuring *measuring)
{
	for (int i = 0; i < measuring->n; i++)
	{
		Sampled *query = &measuring->queries[i];

		query->squared_norm = br_ann_squared_norm(query->vector, measuring->shape.dims);
		br_pg_check(br_ann_top_k_create(&measuring->context, measuring->k, &query->top),
					&measuring->context, "could not measure the recall", NULL);
	}
	read_rows(measuring, compare_row);
}

/* ---- the index's answer ---- */

/* What stands at the right of the operator: the vector, or the row's text. false: the row is gone. */
static bool
query_value(Measuring *measuring, IndexInfo *info, EState *state, const Sampled *query,
			Datum *value)
{
	Datum values[INDEX_MAX_KEYS];
	bool is_null[INDEX_MAX_KEYS];
	ItemPointerData seen;
	BrEmbedding *embedding;

	if (!measuring->shape.text)
	{
		embedding = br_pg_embedding_create(measuring->shape.dims);
		memcpy(embedding->components, query->vector, sizeof(uint16) * measuring->shape.dims);
		*value = PointerGetDatum(embedding);
		return true;
	}
	if (!is_visible(measuring, &query->tid, &seen))
		return false;
	GetPerTupleExprContext(state)->ecxt_scantuple = measuring->slot;
	FormIndexDatum(info, measuring->slot, state, values, is_null);
	*value = values[0];
	return !is_null[0];
}

/* How many of the first k rows of a scan are no farther than `farthest`. */
static int
count_found(Measuring *measuring, IndexScanDesc scan, TupleTableSlot *slot, const Sampled *query,
			Datum value, double farthest)
{
	Relation index = measuring->index;
	ScanKeyData key;
	int returned = 0;
	int found = 0;

	ScanKeyEntryInitialize(&key, SK_ORDER_BY, 1, 1, index->rd_opcintype[0],
						   index->rd_indcollation[0], index_getprocid(index, 1, 1), value);
	index_rescan(scan, NULL, 0, &key, 1);
	while (returned < measuring->k && index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		if (ItemPointerEquals(&scan->xs_heaptid, unconstify(ItemPointerData *, &query->seen)))
			continue;
		returned++;
		if (DatumGetFloat8(scan->xs_orderbyvals[0]) <= farthest)
			found++;
	}
	return found;
}

/* The share of the nearest rows that scans return; NaN where there are none. */
static double
ask_index(Measuring *measuring)
{
	IndexScanDesc scan =
		index_beginscan(measuring->heap, measuring->index, measuring->snapshot, 0, 1);
	TupleTableSlot *slot = table_slot_create(measuring->heap, NULL);
	IndexInfo *info = BuildIndexInfo(measuring->index);
	EState *state = CreateExecutorState();
	double wanted = 0;
	double found = 0;

	for (int i = 0; i < measuring->n; i++)
	{
		Sampled *query = &measuring->queries[i];
		const BrNeighbour *nearest;
		Datum value;
		int n;

		nearest = br_ann_top_k_sorted(query->top, &n);
		if (n == 0 || !query_value(measuring, info, state, query, &value))
			continue;
		found += count_found(measuring, scan, slot, query, value, -nearest[n - 1].similarity);
		wanted += n;
		ResetPerTupleExprContext(state);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(state);
	return wanted > 0 ? found / wanted : NAN;
}

/* ---- all ---- */

double
br_am_measure_recall(Relation heap, Relation index, int sample, int k)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann recall", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	Measuring *measuring = palloc0(sizeof(Measuring));
	double recall = NAN;

	measuring->heap = heap;
	measuring->index = index;
	measuring->k = k;
	measuring->room = sample;
	measuring->queries = palloc0(sizeof(Sampled) * sample);
	br_am_meta_read(index, &measuring->meta);
	if (measuring->meta.dims > 0)
	{
		br_am_shape(&measuring->shape, measuring->meta.dims, br_am_is_text(index));
		br_pg_context(&measuring->context, memory);
		br_base_random_init(&measuring->random, measuring->meta.seed, 0);
		measuring->snapshot = GetActiveSnapshot();
		measuring->fetch = table_index_fetch_begin(heap);
		measuring->slot = table_slot_create(heap, NULL);
		read_rows(measuring, draw_row);
		find_nearest(measuring);
		recall = ask_index(measuring);
		table_index_fetch_end(measuring->fetch);
		ExecDropSingleTupleTableSlot(measuring->slot);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
	return recall;
}
