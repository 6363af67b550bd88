/*
 * build.c
 *	  Building an index over what a table holds.
 *
 * The table is read by one process, since that is the smallest part of the
 * work; what is expensive (embedding texts, k-means, finding the list of each
 * row) is shared among threads, as many as PostgreSQL would have started
 * workers, and one. Pages are written without WAL and logged once at the end.
 */
#include "postgres.h"

#include "access/xloginsert.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "utils/memutils.h"

#include "pg/am/build_int.h"

/* ---- progress ---- */

void
br_am_build_begin_phase(BrAmBuildPhase phase, int64 total)
{
	const int columns[] = {PROGRESS_CREATEIDX_SUBPHASE, PROGRESS_CREATEIDX_TUPLES_TOTAL,
						   PROGRESS_CREATEIDX_TUPLES_DONE};
	const int64 values[] = {phase, total, 0};

	pgstat_progress_update_multi_param(lengthof(columns), columns, values);
}

void
br_am_build_done(int64 done)
{
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, done);
}

char *
br_am_build_phase(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case BR_AM_PHASE_READ:
			return "reading rows";
		case BR_AM_PHASE_CLUSTER:
			return "performing k-means";
		case BR_AM_PHASE_ASSIGN:
			return "assigning rows to lists";
		case BR_AM_PHASE_WRITE:
			return "writing lists";
		case BR_AM_PHASE_LOG:
			return "writing WAL";
		default:
			return NULL;
	}
}

/* ---- threads ---- */

static void
destroy_pool(void *pool)
{
	br_base_pool_destroy(pool);
}

/* NULL for one thread. It goes with the current memory context, and so after an error too. */
static BrPool *
create_pool(BrAmBuild *build)
{
	int threads = 1 +
		plan_create_index_workers(RelationGetRelid(build->heap), RelationGetRelid(build->index));
	MemoryContextCallback *callback;
	BrPool *pool;

	if (threads == 1)
		return NULL;
	br_pg_check(br_base_pool_create(&build->context, Min(threads, BR_POOL_MAX_THREADS), &pool),
				&build->context, "could not start threads for building an index", NULL);
	callback = palloc(sizeof(MemoryContextCallback));
	*callback = (MemoryContextCallback){.func = destroy_pool, .arg = pool};
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return pool;
}

/* ---- pages that name others, written last ---- */

static void
write_page(Relation index, BlockNumber block, const char *image)
{
	Buffer buffer = ReadBuffer(index, block);

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	memcpy(BufferGetPage(buffer), image, BLCKSZ);
	MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);
}

static BlockNumber
new_block(Relation index)
{
	Buffer buffer = br_am_new_buffer(index);
	BlockNumber block = BufferGetBlockNumber(buffer);

	UnlockReleaseBuffer(buffer);
	return block;
}

static void
fill_directory_page(const BrAmBuild *build, int first, int n, Page page)
{
	const BrAmShape *shape = &build->shape;

	br_am_page_init(page, BR_AM_PAGE_DIRECTORY, 0, shape);
	for (int i = 0; i < n; i++)
	{
		const BrAmList *list = &build->lists[first + i];
		const uint16 *centroid = build->rotated + (Size) (first + i) * shape->rotated_dims;
		BrAmListEntry *entry = BrAmDirectoryEntry(page, shape, i);

		entry->list = list->list;
		entry->head = list->head;
		entry->tail = list->tail;
		entry->rows = list->rows;
		entry->state = BR_AM_LIST_LIVE;
		entry->squared_norm = br_ann_centroid_squared_norm(centroid, shape->rotated_dims);
		memcpy(entry->centroid, centroid, sizeof(uint16) * shape->rotated_dims);
	}
	BrAmPageDirectory(page)->entries = n;
	((PageHeader) page)->pd_lower =
		(LocationIndex) ((char *) BrAmDirectoryEntry(page, shape, n) - (char *) page);
}

static void
write_directory(BrAmBuild *build)
{
	int per_page = build->shape.per_directory;
	BlockNumber block = new_block(build->index);
	PGAlignedBlock image;

	build->meta.first_directory = block;
	for (int first = 0; first < build->n_lists; first += per_page)
	{
		int n = Min(per_page, build->n_lists - first);
		BlockNumber next =
			first + n < build->n_lists ? new_block(build->index) : InvalidBlockNumber;

		fill_directory_page(build, first, n, image.data);
		BrAmPageSpecial(image.data)->next = next;
		write_page(build->index, block, image.data);
		build->meta.last_directory = block;
		block = next;
	}
}

static void
write_meta(const BrAmBuild *build)
{
	PGAlignedBlock image;

	br_am_meta_init(image.data, (BrMetric) build->meta.metric);
	*BrAmPageMeta(image.data) = build->meta;
	write_page(build->index, BR_AM_META_BLOCK, image.data);
}

/* ---- the build ---- */

static void
log_all(Relation index)
{
	if (!RelationNeedsWAL(index))
		return;
	br_am_build_begin_phase(BR_AM_PHASE_LOG, 0);
	log_newpage_range(index, MAIN_FORKNUM, 0, RelationGetNumberOfBlocks(index), true);
}

static void
build_all(BrAmBuild *build)
{
	PGAlignedBlock image;

	br_am_meta_init(image.data, br_am_metric(build->index));
	build->meta = *BrAmPageMeta(image.data);
	/* the metapage is block 0 */
	if (new_block(build->index) != BR_AM_META_BLOCK)
		elog(ERROR, "index \"%s\" already contains data", RelationGetRelationName(build->index));
	br_pg_context(&build->context, CurrentMemoryContext);
	build->backend = br_pg_session_backend();
	build->pool = create_pool(build);
	br_am_build_read(build);
	if (build->n_rows > 0)
	{
		br_am_build_cluster(build);
		br_am_build_write(build);
		write_directory(build);
		build->meta.rows = (double) build->n_rows;
	}
	BufFileClose(build->rows);
	write_meta(build);
	log_all(build->index);
}

IndexBuildResult *
br_am_build(Relation heap, Relation index, IndexInfo *info)
{
	IndexBuildResult *result = palloc(sizeof(IndexBuildResult));
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann build", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	BrAmBuild *build = palloc0(sizeof(BrAmBuild));

	build->heap = heap;
	build->index = index;
	build->info = info;
	build_all(build);
	result->heap_tuples = build->heap_rows;
	result->index_tuples = (double) build->n_rows;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
	return result;
}

/* The init fork, from which an unlogged index begins anew after a crash. */
void
br_am_build_empty(Relation index)
{
	Buffer buffer = ReadBufferExtended(index, INIT_FORKNUM, P_NEW, RBM_NORMAL, NULL);

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	START_CRIT_SECTION();
	br_am_meta_init(BufferGetPage(buffer), br_am_metric(index));
	MarkBufferDirty(buffer);
	log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
}
