/*
 * rewrite.c
 *	  New lists in the place of old ones.
 *
 * README.md tells the four steps, and what is left when one of them is the
 * last. Whoever rewrites holds BR_AM_REWRITE_LOCK from the first to the last, so
 * that whoever else gets the lock finds only what an error or a crash has left.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "core/math/br_math.h"
#include "pg/am/vacuum_int.h"

/* rows that are assigned to parts together */
#define BATCH_ROWS 256
/* a list with more is not rewritten as the only one without another that takes new rows */
#define ROWS_TO_WAIT_FOR 2000

/* ---- states ---- */

static void
set_state(BrAmListEntry *entry, void *state, int i pg_attribute_unused())
{
	entry->state = *(const uint16 *) state;
	if (entry->state == BR_AM_LIST_LIVE)
		entry->replaces = 0;
	/* under the lock: whoever reads the directory later does not see the list any more */
	if (entry->state == BR_AM_LIST_DEAD)
		entry->dead_since = ReadNextFullTransactionId();
}

static void
change_state(Relation index, const BrAmShape *shape, BrAmList *const *lists, int n, uint16 state)
{
	br_am_directory_change(index, shape, lists, n, state == BR_AM_LIST_DEAD, set_state, &state);
}

static void
flag_page(Relation index, Buffer buffer, bool frozen)
{
	BrAmSpecial *special = BrAmPageSpecial(BufferGetPage(buffer));
	GenericXLogState *record;

	if (((special->flags & BR_AM_FLAG_FROZEN) != 0) == frozen)
		return;
	record = GenericXLogStart(index);
	special = BrAmPageSpecial(GenericXLogRegisterBuffer(record, buffer, 0));
	special->flags =
		frozen ? special->flags | BR_AM_FLAG_FROZEN : special->flags & ~BR_AM_FLAG_FROZEN;
	GenericXLogFinish(record);
}

/* Forbids or allows to append to the last page of a list. */
static void
flag_last_page(Relation index, const BrAmShape *shape, const BrAmList *list, bool frozen)
{
	BlockNumber block = list->tail;
	BlockNumber left = RelationGetNumberOfBlocks(index);

	for (;;)
	{
		Buffer buffer =
			br_am_read(index, block, BR_AM_PAGE_POSTING, list->list, shape, BUFFER_LOCK_EXCLUSIVE);
		BlockNumber next = BrAmPageSpecial(BufferGetPage(buffer))->next;

		if (next == InvalidBlockNumber)
			flag_page(index, buffer, frozen);
		UnlockReleaseBuffer(buffer);
		if (next == InvalidBlockNumber)
			return;
		CHECK_FOR_INTERRUPTS();
		if (left-- == 0)
			br_am_report_damage(index, list->tail, "The chain that begins there has no end");
		block = next;
	}
}

static void
freeze(BrAmRewriter *rewriter, BrAmList *list)
{
	/* in this order: a frozen list gets no further pages, and so its last one stays the last */
	change_state(rewriter->index, &rewriter->quantizer.shape, &list, 1, BR_AM_LIST_FROZEN);
	flag_last_page(rewriter->index, &rewriter->quantizer.shape, list, true);
}

/* ---- what was broken off ---- */

static void
change_one(Relation index, const BrAmShape *shape, BrAmList *list, uint16 state)
{
	change_state(index, shape, &list, 1, state);
	list->state = state;
}

/* Whether a list that is new counts. */
static bool
predecessor_is_gone(const BrAmList *lists, int n, const BrAmList *list)
{
	for (int i = 0; i < n; i++)
		if (lists[i].list == list->replaces)
			return lists[i].state == BR_AM_LIST_DEAD;
	return true;
}

static void
settle_new(Relation index, const BrAmShape *shape, BrAmList *lists, int n)
{
	/* those that count first: a list given up would be gone, and count as such */
	for (int i = 0; i < n; i++)
		if (lists[i].state == BR_AM_LIST_NEW && predecessor_is_gone(lists, n, &lists[i]))
			change_one(index, shape, &lists[i], BR_AM_LIST_LIVE);
	for (int i = 0; i < n; i++)
		if (lists[i].state == BR_AM_LIST_NEW)
			change_one(index, shape, &lists[i], BR_AM_LIST_EMPTY);
}

void
br_am_thaw(Relation index, const BrAmShape *shape)
{
	BrAmMeta meta;
	BrAmList *lists;
	int n;
	bool takes_rows = false;

	LockPage(index, BR_AM_REWRITE_LOCK, ExclusiveLock);
	lists = br_am_directory_read(index, NULL, &meta, shape, NULL, &n);
	settle_new(index, shape, lists, n);
	for (int i = 0; i < n; i++)
	{
		if (lists[i].state != BR_AM_LIST_FROZEN && lists[i].state != BR_AM_LIST_LIVE)
			continue;
		/* in this order: a live list whose last page is frozen would not be seen here again */
		flag_last_page(index, shape, &lists[i], false);
		if (lists[i].state == BR_AM_LIST_FROZEN)
			change_one(index, shape, &lists[i], BR_AM_LIST_LIVE);
		takes_rows = true;
	}
	if (!takes_rows)
		br_am_report_damage(index, meta.first_directory, "None of its lists takes rows");
	UnlockPage(index, BR_AM_REWRITE_LOCK, ExclusiveLock);
	if (lists != NULL)
		pfree(lists);
}

/* ---- rows to parts ---- */

/* New lists that are being written. */
typedef struct Parts
{
	BrAmRewriter *rewriter;
	const uint16 *centroids; /* (n, rotated_dims) */
	uint32 replaces;
	int n;
	BrAmList *lists;	  /* (n) */
	BrAmWriter **writers; /* (n) NULL until a row comes */
	float *plain;		  /* (n, rotated_dims) the centroids */
	float *norms;		  /* (n) their squared lengths */

	int n_batch;
	BrAmRow *rows;	  /* (BATCH_ROWS) */
	uint16 *vectors;  /* (BATCH_ROWS, dims) */
	float *rotated;	  /* (BATCH_ROWS, rotated_dims) */
	int32_t *nearest; /* (BATCH_ROWS) */
} Parts;

static bool
reserve_numbers(BrAmMeta *meta, void *n)
{
	uint32 first = meta->next_list;

	meta->next_list += *(uint32 *) n;
	*(uint32 *) n = first;
	return true;
}

/* So many numbers, of which the first is returned. */
static uint32
new_numbers(Relation index, uint32 n)
{
	br_am_meta_change(index, reserve_numbers, &n);
	return n;
}

static Parts *
begin_parts(BrAmRewriter *rewriter, uint32 replaces, const uint16 *centroids, int n)
{
	const BrAmShape *shape = &rewriter->quantizer.shape;
	Parts *parts = palloc0(sizeof(Parts));
	uint32 first = new_numbers(rewriter->index, (uint32) n);

	parts->rewriter = rewriter;
	parts->centroids = centroids;
	parts->replaces = replaces;
	parts->n = n;
	parts->lists = palloc0(sizeof(BrAmList) * n);
	parts->writers = palloc0(sizeof(BrAmWriter *) * n);
	parts->plain = palloc_extended(sizeof(float) * n * shape->rotated_dims, MCXT_ALLOC_HUGE);
	parts->norms = palloc(sizeof(float) * n);
	parts->rows = palloc(sizeof(BrAmRow) * BATCH_ROWS);
	parts->vectors = palloc(sizeof(uint16) * BATCH_ROWS * shape->dims);
	parts->rotated = palloc(sizeof(float) * BATCH_ROWS * shape->rotated_dims);
	parts->nearest = palloc(sizeof(int32_t) * BATCH_ROWS);
	br_math_half_to_floats(centroids, (size_t) n * shape->rotated_dims, parts->plain);
	for (int i = 0; i < n; i++)
	{
		const uint16 *centroid = centroids + (Size) i * shape->rotated_dims;

		parts->norms[i] = br_ann_centroid_squared_norm(centroid, shape->rotated_dims);
		parts->lists[i].list = first + (uint32) i;
		parts->lists[i].replaces = replaces;
		parts->lists[i].state = BR_AM_LIST_NEW;
	}
	return parts;
}

static BrAmWriter *
writer_of(Parts *parts, int part)
{
	BrAmRewriter *rewriter = parts->rewriter;

	if (parts->writers[part] == NULL)
		parts->writers[part] =
			br_am_writer_begin(rewriter->index, &rewriter->quantizer, parts->lists[part].list,
							   parts->centroids +
								   (Size) part * rewriter->quantizer.shape.rotated_dims,
							   true);
	return parts->writers[part];
}

static void
write_batch(Parts *parts)
{
	BrAmQuantizer *quantizer = &parts->rewriter->quantizer;

	if (parts->n_batch == 0)
		return;
	br_pg_check(br_ann_assign(&quantizer->context, br_pg_session_backend(), NULL, NULL,
							  parts->rotated, parts->n_batch, quantizer->shape.rotated_dims,
							  parts->plain, parts->norms, parts->n, parts->nearest),
				&quantizer->context, "could not assign rows to lists", NULL);
	for (int i = 0; i < parts->n_batch; i++)
		br_am_writer_add(writer_of(parts, parts->nearest[i]), &parts->rows[i]);
	parts->n_batch = 0;
}

static bool
add_row(void *arg, const BrAmRow *row)
{
	Parts *parts = arg;
	BrAmQuantizer *quantizer = &parts->rewriter->quantizer;
	int dims = quantizer->shape.dims;
	int rotated_dims = quantizer->shape.rotated_dims;
	int i = parts->n_batch;
	uint16 *vector = parts->vectors + (Size) i * dims;

	CHECK_FOR_INTERRUPTS();
	if (parts->n == 1)
	{
		br_am_writer_add(writer_of(parts, 0), row);
		return true;
	}
	memcpy(vector, row->vector, sizeof(uint16) * dims);
	parts->rows[i] = *row;
	parts->rows[i].vector = vector;
	br_am_quantizer_rotate(quantizer, vector);
	memcpy(parts->rotated + (Size) i * rotated_dims, quantizer->rotated,
		   sizeof(float) * rotated_dims);
	if (++parts->n_batch == BATCH_ROWS)
		write_batch(parts);
	return true;
}

/* Finishes the lists that have rows, and adds their entries; returns how many, those first in parts->lists. */
static int
end_parts(Parts *parts, bool keep_one)
{
	const BrAmShape *shape = &parts->rewriter->quantizer.shape;
	int kept = 0;

	write_batch(parts);
	for (int i = 0; i < parts->n; i++)
	{
		bool is_last_hope = keep_one && kept == 0 && i == parts->n - 1;

		if (parts->writers[i] == NULL && !is_last_hope)
			continue;
		br_am_writer_end(writer_of(parts, i), &parts->lists[i]);
		br_am_directory_add(parts->rewriter->index, shape, &parts->lists[i],
							parts->centroids + (Size) i * shape->rotated_dims, parts->norms[i]);
		parts->lists[kept++] = parts->lists[i];
	}
	return kept;
}

/* ---- the rewrite ---- */

/* A list without rows that takes what is inserted meanwhile. */
static void
add_spare(BrAmRewriter *rewriter, const uint16 *centroid)
{
	BrAmList spare = {.list = new_numbers(rewriter->index, 1), .state = BR_AM_LIST_LIVE};
	const BrAmShape *shape = &rewriter->quantizer.shape;

	br_am_writer_end(br_am_writer_begin(rewriter->index, &rewriter->quantizer, spare.list, centroid,
										true),
					 &spare);
	br_am_directory_add(rewriter->index, shape, &spare, centroid,
						br_ann_centroid_squared_norm(centroid, shape->rotated_dims));
}

static void
make_live(BrAmRewriter *rewriter, BrAmList *lists, int n)
{
	for (int i = 0; i < n; i++)
		change_one(rewriter->index, &rewriter->quantizer.shape, &lists[i], BR_AM_LIST_LIVE);
}

static int
replace(BrAmRewriter *rewriter, BrAmList *const *old, int n_old, const uint16 *centroids, int n_new,
		bool keep_one)
{
	const BrAmShape *shape = &rewriter->quantizer.shape;
	double rows = 0;
	int written;
	Parts *parts;
	bool spare;

	for (int i = 0; i < n_old; i++)
		rows += old[i]->rows;
	spare = keep_one && rows > ROWS_TO_WAIT_FOR;
	if (spare)
		add_spare(rewriter, centroids);
	for (int i = 0; i < n_old; i++)
		freeze(rewriter, old[i]);
	parts = begin_parts(rewriter, old[0]->list, centroids, n_new);
	for (int i = 0; i < n_old; i++)
		br_am_read_list(rewriter->index, shape, old[i], rewriter->strategy, add_row, parts);
	written = end_parts(parts, keep_one && !spare);
	change_state(rewriter->index, shape, old, n_old, BR_AM_LIST_DEAD);
	make_live(rewriter, parts->lists, written);
	return written + (spare ? 1 : 0);
}

int
br_am_rewrite(BrAmRewriter *rewriter, BrAmList *const *old, int n_old, const uint16 *centroids,
			  int n_new, bool keep_one)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann rewrite", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	int written;

	Assert(n_old >= 1 && n_old <= BR_AM_MAX_REPLACED && n_new >= 1);
	LockPage(rewriter->index, BR_AM_REWRITE_LOCK, ExclusiveLock);
	written = replace(rewriter, old, n_old, centroids, n_new, keep_one);
	UnlockPage(rewriter->index, BR_AM_REWRITE_LOCK, ExclusiveLock);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
	return written;
}
