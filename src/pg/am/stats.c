/*
 * stats.c
 *	  What an index holds, counted on its posting pages.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/am/inspect.h"

/* Of one list. */
typedef struct Counting
{
	const BrAmShape *shape;
	int64 rows;
	int64 dead;
	int64 posting_pages;
	int64 exact_pages;
} Counting;

static void
count_page(void *arg, Buffer buffer)
{
	Counting *counting = arg;
	const BrAmPosting *posting = BrAmPagePosting(BufferGetPage(buffer));

	counting->rows += posting->rows - posting->dead;
	counting->dead += posting->dead;
	counting->posting_pages++;
	for (int i = 0; i < counting->shape->n_exact; i++)
		if (posting->exact[i] != InvalidBlockNumber)
			counting->exact_pages++;
}

static int64
count_directory(Relation index, const BrAmMeta *meta, const BrAmShape *shape)
{
	BlockNumber block = meta->first_directory;
	int64 pages = 0;

	while (block != InvalidBlockNumber)
	{
		Buffer buffer = br_am_read(index, block, BR_AM_PAGE_DIRECTORY, 0, shape, BUFFER_LOCK_SHARE);

		block = BrAmPageSpecial(BufferGetPage(buffer))->next;
		UnlockReleaseBuffer(buffer);
		if (++pages > RelationGetNumberOfBlocks(index))
			br_am_report_damage(index, meta->first_directory, "Its chain has no end");
	}
	return pages;
}

static void
count_lists(Relation index, const BrAmShape *shape, BrAmStats *stats)
{
	BrAmMeta meta;
	BrAmList *lists;
	int n;

	lists = br_am_directory_read(index, NULL, &meta, shape, NULL, &n);
	stats->lists = br_am_directory_counting(lists, n);
	for (int i = 0; i < stats->lists; i++)
	{
		Counting counting = {.shape = shape};

		br_am_walk_list(index, shape, &lists[i], NULL, count_page, &counting);
		stats->rows += counting.rows;
		stats->dead += counting.dead;
		stats->posting_pages += counting.posting_pages;
		stats->exact_pages += counting.exact_pages;
		stats->longest = Max(stats->longest, counting.rows);
		stats->shortest = i == 0 ? counting.rows : Min(stats->shortest, counting.rows);
	}
}

void
br_am_stats(Relation index, BrAmStats *stats)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann stats", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);

	memset(stats, 0, sizeof(BrAmStats));
	br_am_meta_read(index, &stats->meta);
	stats->share = br_am_share_for(&stats->meta, br_am_option_recall(index));
	if (stats->meta.first_directory != InvalidBlockNumber)
	{
		BrAmShape shape;

		br_am_shape(&shape, stats->meta.dims, br_am_is_text(index));
		count_lists(index, &shape, stats);
		stats->directory_pages = count_directory(index, &stats->meta, &shape);
	}
	stats->pages = RelationGetNumberOfBlocks(index);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
}
