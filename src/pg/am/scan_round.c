/*
 * scan_round.c
 *	  A round of a scan: codes to candidates, and candidates to rows found.
 */
#include "postgres.h"

#include <math.h>

#include "executor/instrument.h"
#include "miscadmin.h"

#include "pg/am/scan_int.h"

/* candidates of the first round: what a LIMIT of some tens needs, and a bit */
#define FIRST_KEEP 96
#define KEEP_GROWTH 4
/* how many times as many lists the next round of the first stage reads */
#define MORE_LISTS 2.5
/* vectors read before anything is handed out, and at a time */
#define RERANK_ROWS 16
/* of a vector, fetched into the processor's cache before it is needed; it finds out the rest itself */
#define PREFETCH_BYTES 1024
/* where so large a share would be visited first, all lists are */
#define WHOLE_SHARE .5

/* ---- lists ---- */

static inline int
compare_places(const BrAmPlaceInOrder *a, const BrAmPlaceInOrder *b)
{
	return (a->order > b->order) - (a->order < b->order);
}

#define ST_SORT sort_places
#define ST_ELEMENT_TYPE BrAmPlaceInOrder
#define ST_COMPARE(a, b) compare_places(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* The nearest lists come first even where all are read: the sooner the bounds are small, the better. */
static void
order_lists(BrAmScan *scan)
{
	scan->order = palloc(sizeof(BrAmPlaceInOrder) * Max(scan->n_lists, 1));
	for (int i = 0; i < scan->n_lists; i++)
		scan->order[i] = (BrAmPlaceInOrder){scan->lists[i].view.order, i};
	if (scan->ordered)
		sort_places(scan->order, scan->n_lists);
}

/*
 * How many of the lists the first round reads: those that are little farther
 * than the nearest. The largest inner products with a query unlike the rows,
 * such as a drawn parameter vector, are in any lists, so that all are read.
 */
static int
first_lists(const BrAmScan *scan)
{
	double recall = br_am_recall > 0 ? br_am_recall : br_am_option_recall(scan->index);
	double gap = br_am_gap_for(&scan->meta, recall);
	int near = 0;

	if (br_am_probes > 0)
		return Min(br_am_probes, scan->n_lists);
	if (scan->deep || scan->meta.metric == BR_METRIC_INNER_PRODUCT)
		return scan->n_lists;
	while (near < scan->n_lists && scan->order[near].order - scan->order[0].order <= gap)
		near++;
	return near < WHOLE_SHARE * scan->n_lists ? near : scan->n_lists;
}

void
br_am_scan_lists(BrAmScan *scan)
{
	int n;

	if (scan->lists != NULL)
	{
		pfree(scan->lists);
		pfree(scan->order);
		pfree(scan->ends);
	}
	scan->lists =
		br_am_directory_read(scan->index, scan->codes, &scan->meta, &scan->shape, NULL, &n);
	scan->n_lists = br_am_directory_counting(scan->lists, n);
	scan->generation = scan->meta.generation;
	scan->blocks = RelationGetNumberOfBlocks(scan->index);
	scan->ends = palloc(sizeof(BrAmEnd) * Max(scan->n_lists, 1));
	for (int i = 0; i < scan->n_lists; i++)
		scan->ends[i] = (BrAmEnd){.page = InvalidBlockNumber};
	order_lists(scan);
}

/*
 * What to do where a page is not what it was said to be: if the lists have
 * changed, as they may under a scan on a standby, the scan begins anew with
 * them; else the page is damaged.
 */
static void
begin_anew(BrAmScan *scan, BlockNumber block, BrAmPageKind kind, uint32 list)
{
	uint32 before = scan->generation;

	br_am_scan_lists(scan);
	if (scan->generation == before)
	{
		/* read once more, for the error */
		UnlockReleaseBuffer(
			br_am_read(scan->index, block, kind, list, &scan->shape, BUFFER_LOCK_SHARE));
	}
	scan->from = -INFINITY;
	scan->list = 0;
	scan->block = InvalidBlockNumber;
}

/* ---- codes ---- */

static void
offer_rows(BrAmScan *scan, const BrAmList *list, Page page, int first, uint32 mask,
		   const float *bounds)
{
	const BrAmShape *shape = &scan->shape;
	const ItemPointerData *tids = BrAmTids(page, shape);

	while (mask != 0)
	{
		int lane = pg_rightmost_one_pos32(mask);
		int slot = first + lane;
		BrRowCandidate candidate = {.bound = bounds[lane],
									.page = BrAmPagePosting(page)->exact[slot / shape->per_exact],
									.list = list->list,
									.slot = (uint16) (slot % shape->per_exact)};

		mask &= mask - 1;
		if (!ItemPointerIsValid(&tids[slot]))
			continue;
		memcpy(candidate.spare, &tids[slot], sizeof(ItemPointerData));
		br_pg_check(br_ann_candidates_offer(scan->candidates, &candidate), &scan->context,
					"could not search in the index", NULL);
	}
}

/* Notes the last block of a list, which others may add rows to. */
static void
note_end(const BrAmScan *scan, BlockNumber number, Page page, BrAmEnd *end)
{
	int rows = BrAmPagePosting(page)->rows;

	if (end->page != InvalidBlockNumber || rows % BR_ANN_BLOCK_ROWS == 0)
		return;
	end->page = number;
	end->first = rows - rows % BR_ANN_BLOCK_ROWS;
	end->width = BrAmPageBlock(page, &scan->shape, end->first / BR_ANN_BLOCK_ROWS)->width;
}

static void
scan_page(BrAmScan *scan, const BrAmList *list, BlockNumber number, Page page, const BrAmEnd *end)
{
	int rows = BrAmPagePosting(page)->rows;

	for (int first = 0; first < rows; first += BR_ANN_BLOCK_ROWS)
	{
		const BrAmBlock *block = BrAmPageBlock(page, &scan->shape, first / BR_ANN_BLOCK_ROWS);
		float width = number == end->page && first == end->first ? end->width : block->width;
		float bounds[BR_ANN_BLOCK_ROWS];
		uint32 mask =
			br_ann_scan_block(scan->codes, &list->view, block->codes, block->add, block->scale,
							  width, Min(rows - first, BR_ANN_BLOCK_ROWS), scan->from,
							  br_ann_candidates_limit(scan->candidates), bounds);

		if (mask != 0)
			offer_rows(scan, list, page, first, mask, bounds);
	}
}

/* Reads a list; false: a page of it has become another one. */
static bool
scan_list(BrAmScan *scan, const BrAmList *list, BrAmEnd *end)
{
	BlockNumber block = list->head;
	BlockNumber read = 0;

	while (block != InvalidBlockNumber)
	{
		Buffer buffer = br_am_try_read(scan->index, block, BR_AM_PAGE_POSTING, list->list,
									   &scan->shape, BUFFER_LOCK_SHARE, NULL);

		if (!BufferIsValid(buffer))
		{
			begin_anew(scan, block, BR_AM_PAGE_POSTING, list->list);
			return false;
		}
		if (BrAmPageSpecial(BufferGetPage(buffer))->next == InvalidBlockNumber)
			note_end(scan, block, BufferGetPage(buffer), end);
		scan_page(scan, list, block, BufferGetPage(buffer), end);
		block = BrAmPageSpecial(BufferGetPage(buffer))->next;
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
		/* the index may have grown meanwhile */
		if (++read > scan->blocks && read > RelationGetNumberOfBlocks(scan->index))
			br_am_report_damage(scan->index, list->head, "The chain that begins there has no end");
	}
	return true;
}

/* Whether pages come from outside the buffer pool, so that it pays to ask for them early. */
static bool
reads_from_disk(int64 before)
{
	return pgBufferUsage.shared_blks_read > before && effective_io_concurrency > 0;
}

/* All lists of the round; false: the scan has to begin anew. */
static bool
scan_lists(BrAmScan *scan)
{
	int64 before = pgBufferUsage.shared_blks_read;

	for (int i = 0; i < scan->visited; i++)
	{
		int list = scan->order[i].list;

		if (reads_from_disk(before) && i + 1 < scan->visited)
			PrefetchBuffer(scan->index, MAIN_FORKNUM, scan->lists[scan->order[i + 1].list].head);
		if (!scan_list(scan, &scan->lists[list], &scan->ends[list]))
			return false;
	}
	return true;
}

/* ---- rounds ---- */

/* As many candidates as work_mem has room for at most. */
static int
next_keep(const BrAmScan *scan)
{
	double most = work_mem * 1024.0 / (2 * sizeof(BrRowCandidate));

	if (scan->keep == 0)
		return FIRST_KEEP;
	return (int) Max(FIRST_KEEP, Min(most, (double) scan->keep * KEEP_GROWTH));
}

/*
 * The second stage: all lists, with bounds so wide that hardly any fails. Who
 * asks for more than the first stage may give goes through many rows, and each
 * that fails its bound would be missing in strict order. Bounds before and
 * after cannot be compared, so that all codes are read again.
 */
static void
go_deep(BrAmScan *scan)
{
	scan->deep = true;
	br_am_scan_prepare_codes(scan, BR_AM_DEEP_EPSILON);
	br_am_scan_lists(scan);
	scan->visited = scan->n_lists;
	scan->from = -INFINITY;
}

/*
 * Another round of the same stage: what the one before turned away. Who wants
 * more rows than expected, because a filter lets few through, is given them from
 * more lists: farther neighbours are in farther lists.
 */
static void
go_on(BrAmScan *scan)
{
	BrAmMeta meta;

	scan->from = scan->limit;
	if (scan->visited < scan->n_lists)
	{
		scan->visited = Min(scan->n_lists, (int) ceil(MORE_LISTS * scan->visited));
		scan->from = -INFINITY;
	}
	br_am_meta_read(scan->index, &meta);
	if (meta.generation == scan->generation)
		return;
	/* lists have come since; in the first stage it is as good to go to the second */
	br_am_scan_lists(scan);
	scan->visited = scan->n_lists;
	scan->from = -INFINITY;
}

bool
br_am_scan_stage_is_over(const BrAmScan *scan)
{
	return !scan->deep && (scan->n_returned >= br_am_horizon || scan->limit == INFINITY);
}

void
br_am_scan_round(BrAmScan *scan)
{
	if (scan->candidates == NULL)
	{
		br_pg_check(br_ann_candidates_create(&scan->context, next_keep(scan), &scan->candidates),
					&scan->context, "could not search in the index", NULL);
		scan->visited = first_lists(scan);
	}
	else
	{
		br_ann_candidates_reset(scan->candidates, next_keep(scan));
		if (br_am_scan_stage_is_over(scan))
			go_deep(scan);
		else
			go_on(scan);
	}
	scan->keep = next_keep(scan);
	while (!scan_lists(scan))
	{
		br_ann_candidates_reset(scan->candidates, scan->keep);
		scan->visited = scan->n_lists;
	}
	scan->limit = br_ann_candidates_limit(scan->candidates);
}

/* ---- rows found ---- */

/* A distance as bounds are. */
static float
order_of(const BrAmScan *scan, double value)
{
	switch ((BrMetric) scan->meta.metric)
	{
		case BR_METRIC_COSINE:
			return (float) (value - 1);
		case BR_METRIC_INNER_PRODUCT:
			return (float) (value * scan->factor);
		case BR_METRIC_L2:
			return (float) (value * value);
	}
	pg_unreachable();
}

void
br_am_scan_found(BrAmScan *scan, const ItemPointerData *tid, const uint16 *vector,
				 double squared_norm, BlockNumber page, uint32 list, int slot)
{
	BrAmFound *found;

	if (!br_am_scan_see(scan, *tid))
		return;
	found = palloc(sizeof(BrAmFound));
	found->value = 0;
	if (scan->ordered)
		found->value =
			br_ann_distance_known((BrMetric) scan->meta.metric, scan->query, scan->squared_norm,
								  vector, squared_norm, scan->shape.dims);
	found->order = order_of(scan, found->value);
	found->tid = *tid;
	found->page = page;
	found->list = list;
	found->slot = (uint16) slot;
	pairingheap_add(scan->found, &found->node);
}

/* Pins the page of a candidate, and has the processor fetch what will be read of it. */
static Buffer
pin_vector(const BrAmScan *scan, const BrRowCandidate *candidate)
{
	Buffer buffer = br_am_pin(scan->index, candidate->page);
	const char *page;
	const char *vector;

	if (!BufferIsValid(buffer))
		return buffer;
	page = BufferGetPage(buffer);
	vector = page + SizeOfPageHeaderData + candidate->slot * scan->shape.entry_bytes;
	__builtin_prefetch(page);
	__builtin_prefetch(page + BLCKSZ - sizeof(BrAmSpecial));
	for (int i = 0; i < Min(scan->shape.entry_bytes, PREFETCH_BYTES); i += PG_CACHE_LINE_SIZE / 2)
		__builtin_prefetch(vector + i);
	return buffer;
}

/* false: its page has become another one. */
static bool
rerank(BrAmScan *scan, const BrRowCandidate *candidate, Buffer buffer)
{
	ItemPointerData tid;
	bool is_right;

	if (!BufferIsValid(buffer))
		return false;
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	is_right =
		br_am_page_is(BufferGetPage(buffer), BR_AM_PAGE_EXACT, candidate->list, &scan->shape);
	memcpy(&tid, candidate->spare, sizeof(tid));
	if (is_right)
		br_am_scan_found(scan, &tid,
						 BrAmExactVector(BufferGetPage(buffer), &scan->shape, candidate->slot),
						 br_am_exact_norm(BufferGetPage(buffer), &scan->shape, candidate->slot),
						 candidate->page, candidate->list, candidate->slot);
	UnlockReleaseBuffer(buffer);
	return is_right;
}

/* The next candidates, and their pages asked for where they come from disk. */
static int
take_batch(BrAmScan *scan, BrRowCandidate *batch /* (RERANK_ROWS) */)
{
	int n = 0;

	while (n < RERANK_ROWS && br_ann_candidates_next(scan->candidates, &batch[n]))
	{
		ItemPointerData tid;

		/* a round after the first meets rows that were found before */
		memcpy(&tid, batch[n].spare, sizeof(tid));
		if (!br_am_scan_has_seen(scan, tid))
			n++;
	}
	if (scan->from_disk)
		for (int i = 0; i < n; i++)
			PrefetchBuffer(scan->index, MAIN_FORKNUM, batch[i].page);
	return n;
}

bool
br_am_scan_rerank(BrAmScan *scan)
{
	BrRowCandidate batch[RERANK_ROWS];
	Buffer buffers[RERANK_ROWS];
	int64 before = pgBufferUsage.shared_blks_read;
	int wrong = -1;
	int n;

	if (!br_ann_candidates_peek(scan->candidates, &batch[0]))
		return false;
	n = take_batch(scan, batch);
	for (int i = 0; i < n; i++)
		buffers[i] = pin_vector(scan, &batch[i]);
	for (int i = 0; i < n; i++)
		if (!rerank(scan, &batch[i], buffers[i]) && wrong < 0)
			wrong = i;
	scan->from_disk = reads_from_disk(before);
	if (wrong >= 0)
	{
		begin_anew(scan, batch[wrong].page, BR_AM_PAGE_EXACT, batch[wrong].list);
		br_ann_candidates_reset(scan->candidates, scan->keep);
		scan->visited = scan->n_lists;
		scan->limit = -INFINITY;
	}
	/* even if all were found before: they held back what is farther than their bounds */
	return true;
}

/* ---- without an order ---- */

/* The heap pointers of the next posting page; false: there is none. */
static bool
next_page(BrAmScan *scan)
{
	const BrAmList *list;
	Buffer buffer;

	while (scan->block == InvalidBlockNumber)
	{
		if (scan->list == scan->n_lists)
			return false;
		scan->block = scan->lists[scan->list++].head;
	}
	list = &scan->lists[scan->list - 1];
	buffer = br_am_try_read(scan->index, scan->block, BR_AM_PAGE_POSTING, list->list, &scan->shape,
							BUFFER_LOCK_SHARE, NULL);
	scan->tid = 0;
	scan->n_tids = 0;
	if (!BufferIsValid(buffer))
	{
		begin_anew(scan, scan->block, BR_AM_PAGE_POSTING, list->list);
		return true;
	}
	scan->n_tids = BrAmPagePosting(BufferGetPage(buffer))->rows;
	memcpy(scan->tids, BrAmTids(BufferGetPage(buffer), &scan->shape),
		   sizeof(ItemPointerData) * scan->n_tids);
	scan->block = BrAmPageSpecial(BufferGetPage(buffer))->next;
	UnlockReleaseBuffer(buffer);
	return true;
}

bool
br_am_scan_plain(BrAmScan *scan, ItemPointer tid)
{
	if (!pairingheap_is_empty(scan->found))
	{
		*tid = pairingheap_container(BrAmFound, node, pairingheap_remove_first(scan->found))->tid;
		return true;
	}
	if (scan->tids == NULL)
	{
		scan->tids = palloc(sizeof(ItemPointerData) * scan->shape.per_posting);
		scan->block = InvalidBlockNumber;
	}
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		while (scan->tid < scan->n_tids)
		{
			*tid = scan->tids[scan->tid++];
			if (ItemPointerIsValid(tid) && br_am_scan_see(scan, *tid))
				return true;
		}
		if (!next_page(scan))
			return false;
	}
}
