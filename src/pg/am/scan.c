/*
 * scan.c
 *	  Rows of the table, nearest first.
 *
 * What is handed out is in order of the exact distance, because the vectors
 * are in the index. A bound fails for a few rows in a hundred, which the
 * recall target allows, and some of the nearest lists may not be among those
 * read first; a row that turns up too late for its place is left out, or with
 * bundle_rec.scan_order = relaxed handed out late.
 */
#include "postgres.h"

#include <math.h>

#include "access/relscan.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/math/br_math.h"
#include "pg/am/scan_int.h"

typedef struct Returned
{
	ItemPointerData tid;
	char status;
} Returned;

static uint32
hash_tid(ItemPointerData tid)
{
	return murmurhash32(ItemPointerGetBlockNumberNoCheck(&tid)) ^
		murmurhash32(ItemPointerGetOffsetNumberNoCheck(&tid));
}

#define SH_PREFIX tids
#define SH_ELEMENT_TYPE Returned
#define SH_KEY_TYPE ItemPointerData
#define SH_KEY tid
#define SH_HASH_KEY(table, key) hash_tid(key)
#define SH_EQUAL(table, a, b) ItemPointerEquals(&(a), &(b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

int64 br_am_skipped = 0;

/* ---- begin and end ---- */

IndexScanDesc
br_am_begin_scan(Relation index, int n_keys, int n_order_bys)
{
	IndexScanDesc descriptor = RelationGetIndexScan(index, n_keys, n_order_bys);
	BrAmScan *scan = palloc0(sizeof(BrAmScan));

	scan->index = index;
	scan->memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann scan", ALLOCSET_DEFAULT_SIZES);
	descriptor->opaque = scan;
	if (n_order_bys > 0)
	{
		descriptor->xs_orderbyvals = palloc0(sizeof(Datum) * n_order_bys);
		descriptor->xs_orderbynulls = palloc(sizeof(bool) * n_order_bys);
		memset(descriptor->xs_orderbynulls, true, sizeof(bool) * n_order_bys);
	}
	return descriptor;
}

void
br_am_end_scan(IndexScanDesc descriptor)
{
	BrAmScan *scan = descriptor->opaque;

	MemoryContextDelete(scan->memory);
	pfree(scan);
	descriptor->opaque = NULL;
}

void
br_am_rescan(IndexScanDesc descriptor, ScanKey keys, int n_keys, ScanKey order_bys, int n_order_bys)
{
	BrAmScan *scan = descriptor->opaque;
	MemoryContext memory = scan->memory;
	Relation index = scan->index;

	if (keys != NULL && n_keys > 0)
		memmove(descriptor->keyData, keys, n_keys * sizeof(ScanKeyData));
	if (order_bys != NULL && n_order_bys > 0)
		memmove(descriptor->orderByData, order_bys, n_order_bys * sizeof(ScanKeyData));
	MemoryContextReset(memory);
	*scan = (BrAmScan){.index = index, .memory = memory};
}

/* ---- the query ---- */

static void
check_dims(const BrAmScan *scan, int dims)
{
	if (dims != scan->meta.dims)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different numbers of dimensions: %d and %d", scan->meta.dims, dims),
				 errdetail("Index \"%s\" is of %d, the query of %d.",
						   RelationGetRelationName(scan->index), scan->meta.dims, dims)));
}

/* The vector that rows are compared with; the metapage must say what the index is. */
static void
set_query(BrAmScan *scan, Datum value)
{
	BrEmbedding *query = scan->text
		? br_am_query_of_text(scan->index, &scan->meta, TextDatumGetCString(value))
		: DatumGetEmbedding(value);

	check_dims(scan, query->dims);
	scan->query = query->components;
	scan->squared_norm = br_ann_squared_norm(scan->query, scan->shape.dims);
}

/*
 * A bound is the narrower, the less far the query is from the centroids. For
 * inner products its length is free: that of a typical row is taken.
 */
static float
length_factor(const BrAmScan *scan)
{
	if (scan->meta.metric != BR_METRIC_INNER_PRODUCT || scan->squared_norm == 0)
		return 1;
	return (float) (scan->meta.mean_norm / sqrt(scan->squared_norm));
}

static double
target_recall(const BrAmScan *scan)
{
	return br_am_recall > 0 ? br_am_recall : br_am_option_recall(scan->index);
}

/* Deviations of the bound: it fails on one side for a share of rows that the target leaves room for. */
static double
epsilon_of(double recall)
{
	return br_math_normal_quantile(recall);
}

void
br_am_scan_prepare_codes(BrAmScan *scan, double epsilon)
{
	BrAmQuantizer quantizer;

	br_ann_code_query_destroy(scan->codes);
	br_am_quantizer_create(&scan->meta, scan->text, &quantizer);
	br_am_quantizer_rotate(&quantizer, scan->query);
	scan->factor = length_factor(scan);
	for (int i = 0; i < scan->shape.rotated_dims; i++)
		quantizer.rotated[i] *= scan->factor;
	br_pg_check(br_ann_code_query_create(&scan->context, (BrMetric) scan->meta.metric,
										 scan->shape.dims, quantizer.rotated, epsilon,
										 &scan->codes),
				&scan->context, "could not search in the index", NULL);
}

static int
compare_found(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const BrAmFound *left = pairingheap_const_container(BrAmFound, node, a);
	const BrAmFound *right = pairingheap_const_container(BrAmFound, node, b);

	if (left->value != right->value)
		return left->value < right->value ? 1 : -1;
	return ItemPointerCompare(unconstify(ItemPointerData *, &right->tid),
							  unconstify(ItemPointerData *, &left->tid));
}

/* A text's rows that wait for their embedding are found like all others. */
static void
find_waiting(BrAmScan *scan)
{
	int n;
	BrAmRow *rows = br_am_pending_rows(scan->index, &scan->meta, scan->ordered, &n);

	for (int i = 0; i < n; i++)
	{
		if (scan->ordered)
			br_am_remember_text(&scan->meta, rows[i].hash, rows[i].vector, scan->shape.dims);
		br_am_scan_found(scan, &rows[i].tid, rows[i].vector,
						 br_ann_squared_norm(rows[i].vector, scan->shape.dims), InvalidBlockNumber,
						 0, 0);
	}
}

/* The scan's first step: what begins may be rescanned before anything is asked of it. */
static void
begin(IndexScanDesc descriptor)
{
	BrAmScan *scan = descriptor->opaque;
	const ScanKeyData *key = descriptor->numberOfOrderBys > 0 ? &descriptor->orderByData[0] : NULL;

	/* a page may be used again once no MVCC snapshot needs it; others say nothing of theirs */
	if (!IsMVCCSnapshot(descriptor->xs_snapshot))
		elog(ERROR, "bundle_ann works with MVCC snapshots only");
	br_pg_context(&scan->context, scan->memory);
	br_am_meta_read(scan->index, &scan->meta);
	scan->text = br_am_is_text(scan->index);
	/* no row is nearer than another to a query that is NULL */
	scan->ordered = key != NULL && !(key->sk_flags & SK_ISNULL);
	scan->nothing = scan->meta.dims == 0 && scan->meta.pending == 0;
	scan->seen = tids_create(scan->memory, 256, NULL);
	scan->round = 1;
	if (scan->nothing)
		return;
	br_am_shape(&scan->shape, scan->meta.dims, scan->text);
	scan->found = pairingheap_allocate(compare_found, NULL);
	scan->last_value = -INFINITY;
	scan->from = -INFINITY;
	if (scan->ordered)
	{
		set_query(scan, key->sk_argument);
		scan->deep = br_am_probes == 0 && scan->meta.rows < br_am_full_scan_rows;
		br_am_scan_prepare_codes(scan,
								 scan->deep ? BR_AM_DEEP_EPSILON : epsilon_of(target_recall(scan)));
	}
	/* before the lists, because a row may move from here to there */
	if (scan->text)
		find_waiting(scan);
	br_am_scan_lists(scan);
	if (scan->ordered)
		br_am_scan_round(scan);
	pgstat_count_index_scan(scan->index);
}

/* ---- one row after another ---- */

bool
br_am_scan_has_seen(const BrAmScan *scan, ItemPointerData tid)
{
	return tids_lookup(scan->seen, tid) != NULL;
}

bool
br_am_scan_see(BrAmScan *scan, ItemPointerData tid)
{
	bool known;

	tids_insert(scan->seen, tid, &known);
	return !known;
}

/* The nearest row of those found, if nothing nearer can come. */
static BrAmFound *
take_ripe(BrAmScan *scan)
{
	BrAmFound *nearest;
	BrRowCandidate candidate;
	float next = scan->limit;

	if (pairingheap_is_empty(scan->found))
		return NULL;
	nearest = pairingheap_container(BrAmFound, node, pairingheap_first(scan->found));
	if (br_ann_candidates_peek(scan->candidates, &candidate))
		next = candidate.bound;
	if (nearest->order > next)
		return NULL;
	pairingheap_remove_first(scan->found);
	return nearest;
}

static BrAmFound *
next_found(BrAmScan *scan)
{
	for (;;)
	{
		BrAmFound *found;

		CHECK_FOR_INTERRUPTS();
		if (br_am_scan_stage_is_over(scan) && scan->n_returned >= br_am_horizon)
			br_am_scan_round(scan);
		found = take_ripe(scan);
		if (found != NULL)
			return found;
		if (br_am_scan_rerank(scan))
			continue;
		if (scan->limit == INFINITY && scan->deep)
			return NULL;
		br_am_scan_round(scan);
	}
}

/* Remembers the text of a row that is handed out, since its distance will be asked for again. */
static void
remember(BrAmScan *scan, const BrAmFound *found)
{
	Buffer buffer;

	if (!scan->text || found->page == InvalidBlockNumber)
		return;
	buffer = br_am_try_read(scan->index, found->page, BR_AM_PAGE_EXACT, found->list, &scan->shape,
							BUFFER_LOCK_SHARE, NULL);
	if (!BufferIsValid(buffer))
		return;
	br_am_remember_text(&scan->meta,
						(uint8 *) BrAmExactEntry(BufferGetPage(buffer), &scan->shape, found->slot),
						BrAmExactVector(BufferGetPage(buffer), &scan->shape, found->slot),
						scan->shape.dims);
	UnlockReleaseBuffer(buffer);
}

static bool
next_ordered(IndexScanDesc descriptor)
{
	BrAmScan *scan = descriptor->opaque;
	BrAmFound *found;

	while ((found = next_found(scan)) != NULL)
	{
		if (found->value < scan->last_value && br_am_scan_order == BR_AM_SCAN_STRICT)
		{
			br_am_skipped++;
			continue;
		}
		remember(scan, found);
		scan->last_value = Max(scan->last_value, found->value);
		scan->n_returned++;
		descriptor->xs_heaptid = found->tid;
		descriptor->xs_orderbyvals[0] = Float8GetDatum(found->value);
		descriptor->xs_orderbynulls[0] = false;
		pfree(found);
		return true;
	}
	return false;
}

bool
br_am_next(IndexScanDesc descriptor, ScanDirection direction)
{
	BrAmScan *scan = descriptor->opaque;
	MemoryContext caller = MemoryContextSwitchTo(scan->memory);
	bool more = false;

	Assert(ScanDirectionIsForward(direction));
	if (scan->round == 0)
		begin(descriptor);
	descriptor->xs_recheck = false;
	/* of further orders nothing is known: the executor sorts by them among equals of the first */
	descriptor->xs_recheckorderby = descriptor->numberOfOrderBys > 1;
	if (scan->nothing)
		more = false;
	else if (scan->ordered)
		more = next_ordered(descriptor);
	else
	{
		more = br_am_scan_plain(scan, &descriptor->xs_heaptid);
		if (descriptor->numberOfOrderBys > 0)
			descriptor->xs_orderbynulls[0] = true;
	}
	MemoryContextSwitchTo(caller);
	return more;
}
