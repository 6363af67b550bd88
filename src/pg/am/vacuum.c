/*
 * vacuum.c
 *	  Rows that are gone, and pages that are free.
 *
 * A row that is gone loses its heap pointer and nothing else moves, so that
 * inserts and scans go on beside. After the last deletion all pages are looked
 * at: what belongs to a list that the directory does not know, or that died
 * before every snapshot, becomes free, whatever has left it behind. Then lists
 * are tended (lists.c), for which that is the room.
 */
#include "postgres.h"

#include "access/table.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pg/am/vacuum_int.h"

/* ---- rows that are gone ---- */

typedef struct Deleting
{
	Relation index;
	const BrAmShape *shape;
	IndexBulkDeleteCallback dead;
	void *state;
	OffsetNumber *slots; /* (per_posting) to clear on the page at hand, from 0 */
	double removed;
	double kept;
} Deleting;

static int
find_dead(Deleting *deleting, Page page)
{
	ItemPointer tids = BrAmTids(page, deleting->shape);
	int rows = BrAmPagePosting(page)->rows;
	int n = 0;

	for (int slot = 0; slot < rows; slot++)
	{
		if (!ItemPointerIsValid(&tids[slot]))
			continue;
		if (deleting->dead(&tids[slot], deleting->state))
			deleting->slots[n++] = (OffsetNumber) slot;
		else
			deleting->kept++;
	}
	return n;
}

static void
clear_slots(Deleting *deleting, Buffer buffer, int n)
{
	GenericXLogState *record = GenericXLogStart(deleting->index);
	Page page = GenericXLogRegisterBuffer(record, buffer, 0);
	ItemPointer tids = BrAmTids(page, deleting->shape);

	for (int i = 0; i < n; i++)
		ItemPointerSetInvalid(&tids[deleting->slots[i]]);
	BrAmPagePosting(page)->dead += (uint16) n;
	GenericXLogFinish(record);
	deleting->removed += n;
}

static void
delete_from_page(void *arg, Buffer buffer)
{
	Deleting *deleting = arg;
	int n = find_dead(deleting, BufferGetPage(buffer));

	if (n == 0)
		return;
	/* rows may be appended in between, but none moves, and only a vacuum clears slots */
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	clear_slots(deleting, buffer, n);
}

static void
delete_from_list(Deleting *deleting, const BrAmList *list, BufferAccessStrategy strategy)
{
	double kept = deleting->kept;

	br_am_walk_list(deleting->index, deleting->shape, list, strategy, delete_from_page, deleting);
	/* the rows of a new list that was left behind are in the one that it should have replaced */
	if (list->state == BR_AM_LIST_NEW)
		deleting->kept = kept;
	vacuum_delay_point();
}

static void
delete_from_lists(Deleting *deleting, BufferAccessStrategy strategy)
{
	BrAmMeta meta;
	BrAmShape shape;
	BrAmList *lists;
	int n;

	br_am_meta_read(deleting->index, &meta);
	if (meta.first_directory == InvalidBlockNumber)
		return;
	br_am_shape(&shape, meta.dims, br_am_is_text(deleting->index));
	deleting->shape = &shape;
	deleting->slots = palloc(sizeof(OffsetNumber) * shape.per_posting);
	lists = br_am_directory_read(deleting->index, NULL, &meta, &shape, NULL, &n);
	/* a dead list is read by scans whose snapshots are too old for what takes its rows' places */
	for (int i = 0; i < n; i++)
		if (lists[i].state != BR_AM_LIST_DEAD)
			delete_from_list(deleting, &lists[i], strategy);
}

IndexBulkDeleteResult *
br_am_bulk_delete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats, IndexBulkDeleteCallback dead,
				  void *state)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann deletion", ALLOCSET_DEFAULT_SIZES);
	Deleting deleting = {.index = info->index, .dead = dead, .state = state};
	MemoryContext caller;

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	caller = MemoryContextSwitchTo(memory);
	/* before the lists, because a row may move from there to them */
	if (br_am_is_text(info->index))
		br_am_pending_delete(info->index, dead, state, &deleting.removed, &deleting.kept);
	delete_from_lists(&deleting, info->strategy);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
	stats->estimated_count = false;
	stats->num_index_tuples = deleting.kept;
	stats->tuples_removed += deleting.removed;
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	return stats;
}

/* ---- pages that are free ---- */

/* Which lists have pages. */
typedef struct Known
{
	uint32 *lists; /* (n) ascending */
	int n;
	uint32 next_list; /* from here on not known yet */
	BrAmList *gone;	  /* (n_gone) dead, and no scan reads them any more */
	int n_gone;
} Known;

static int
compare_numbers(const void *left, const void *right)
{
	uint32 a = *(const uint32 *) left;
	uint32 b = *(const uint32 *) right;

	return (a > b) - (a < b);
}

static bool
was_read_by_all(Relation heap, const BrAmList *list)
{
	return list->state == BR_AM_LIST_DEAD && GlobalVisCheckRemovableFullXid(heap, list->dead_since);
}

static void
find_known(Relation index, const BrAmMeta *before, const BrAmShape *shape, Known *known)
{
	Relation heap = table_open(index->rd_index->indrelid, NoLock);
	BrAmMeta meta;
	BrAmList *lists;
	int n;

	*known = (Known){.next_list = before->next_list};
	lists = br_am_directory_read(index, NULL, &meta, shape, NULL, &n);
	known->lists = palloc(sizeof(uint32) * Max(n, 1));
	known->gone = palloc(sizeof(BrAmList) * Max(n, 1));
	for (int i = 0; i < n; i++)
		if (was_read_by_all(heap, &lists[i]))
			known->gone[known->n_gone++] = lists[i];
		else
			known->lists[known->n++] = lists[i].list;
	qsort(known->lists, known->n, sizeof(uint32), compare_numbers);
	table_close(heap, NoLock);
}

/* Whether a page belongs to a list that is no more. */
static bool
is_left_behind(const Known *known, Page page)
{
	const BrAmSpecial *special = BrAmPageSpecial(page);

	return (special->kind == BR_AM_PAGE_POSTING || special->kind == BR_AM_PAGE_EXACT) &&
		special->list < known->next_list &&
		bsearch(&special->list, known->lists, known->n, sizeof(uint32), compare_numbers) == NULL;
}

static void
make_free(Relation index, Buffer buffer)
{
	GenericXLogState *record = GenericXLogStart(index);

	br_am_page_init(GenericXLogRegisterBuffer(record, buffer, GENERIC_XLOG_FULL_IMAGE),
					BR_AM_PAGE_FREE, 0, NULL);
	GenericXLogFinish(record);
}

/* Whether the page of a locked buffer may be used again; *left_behind: once it is marked so. */
static bool
is_free(Relation index, const Known *known, Buffer buffer, bool *left_behind)
{
	Page page = BufferGetPage(buffer);

	*left_behind = false;
	if (PageIsNew(page))
		return true;
	if (!br_am_page_is_sound(page))
		br_am_report_damage(index, BufferGetBlockNumber(buffer), "It has no sound header");
	*left_behind = is_left_behind(known, page);
	return *left_behind || BrAmPageSpecial(page)->kind == BR_AM_PAGE_FREE;
}

static void
free_page(Relation index, const Known *known, BlockNumber block, BufferAccessStrategy strategy,
		  IndexBulkDeleteResult *stats)
{
	Buffer buffer = ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	bool left_behind;
	bool is_one;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	is_one = is_free(index, known, buffer, &left_behind);
	if (left_behind)
	{
		/* nobody takes a page that is not marked as free: it is still the same */
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		make_free(index, buffer);
		stats->pages_newly_deleted++;
	}
	UnlockReleaseBuffer(buffer);
	if (!is_one)
		return;
	RecordFreeIndexPage(index, block);
	stats->pages_deleted++;
	stats->pages_free++;
}

/* As of a moment when nobody has added a page that he has not locked yet. */
static BlockNumber
count_blocks(Relation index)
{
	bool alone = RELATION_IS_LOCAL(index);
	BlockNumber blocks;

	if (!alone)
		LockRelationForExtension(index, ExclusiveLock);
	blocks = RelationGetNumberOfBlocks(index);
	if (!alone)
		UnlockRelationForExtension(index, ExclusiveLock);
	return blocks;
}

static void
set_empty(BrAmListEntry *entry, void *arg pg_attribute_unused(), int i pg_attribute_unused())
{
	entry->state = BR_AM_LIST_EMPTY;
}

/* The room of lists that are no more is free for others. shape: NULL where there are no lists yet. */
static void
free_pages(Relation index, const BrAmMeta *meta, const BrAmShape *shape,
		   BufferAccessStrategy strategy, IndexBulkDeleteResult *stats)
{
	Known known = {.next_list = meta->next_list};
	BlockNumber blocks;

	if (shape != NULL)
		find_known(index, meta, shape, &known);
	blocks = count_blocks(index);
	stats->pages_deleted = 0;
	stats->pages_free = 0;
	for (BlockNumber block = BR_AM_META_BLOCK + 1; block < blocks; block++)
	{
		vacuum_delay_point();
		free_page(index, &known, block, strategy, stats);
	}
	for (int i = 0; i < known.n_gone; i++)
	{
		BrAmList *list = &known.gone[i];

		br_am_directory_change(index, shape, &list, 1, false, set_empty, NULL);
	}
	IndexFreeSpaceMapVacuum(index);
}

/* Returns how many rows the index holds. */
static double
clean_up(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	Relation index = info->index;
	BrAmMeta meta;
	BrAmShape shape;

	br_am_meta_read(index, &meta);
	if (meta.first_directory == InvalidBlockNumber)
	{
		free_pages(index, &meta, NULL, info->strategy, stats);
		return meta.pending;
	}
	br_am_shape(&shape, meta.dims, br_am_is_text(index));
	br_am_thaw(index, &shape);
	/* before lists are rewritten, which takes room: after a crash the map knows of none */
	free_pages(index, &meta, &shape, info->strategy, stats);
	return meta.pending + br_am_tend_lists(index, info->strategy);
}

IndexBulkDeleteResult *
br_am_vacuum_cleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	MemoryContext memory;
	MemoryContext caller;

	if (info->analyze_only)
		return stats;
	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann cleanup", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(memory);
	stats->num_index_tuples = clean_up(info, stats);
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	stats->estimated_count = false;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
	return stats;
}
