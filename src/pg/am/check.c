/*
 * check.c
 *	  Verifies an index, page by page.
 *
 * Rows may be inserted meanwhile: a page is copied under its lock, and what
 * stands in a slot that was in use stays there. Vacuums are kept away.
 */
#include "postgres.h"

#include <math.h>

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/math/br_math.h"
#include "pg/am/check_int.h"

typedef struct Check
{
	Relation index;
	BrAmMeta meta;
	BrAmQuantizer quantizer;
	BufferAccessStrategy strategy;
	BrAmComparison *comparison; /* NULL: not deep */
	uint8 *named;				/* a bit for each block that a chain or a page has named */
	BlockNumber n_named;
	int64 rows;

	BrAmList *lists; /* (n) */
	uint16 *centroids;
	int n;

	/* the list that is being verified */
	const BrAmList *list;
	const uint16 *centroid; /* (rotated_dims) */
	bool counts;
	bool has_tail;
	PGAlignedBlock posting;
	PGAlignedBlock exact;
	uint8 *bits; /* (code_bits / 8) */
} Check;

/* Every page belongs to one chain, or is named by one page. */
static void
name_block(Check *check, BlockNumber block)
{
	BlockNumber blocks = check->n_named;

	if (block >= blocks)
	{
		BlockNumber now = RelationGetNumberOfBlocks(check->index);

		if (block >= now)
			br_am_report_damage(check->index, block, "It lies beyond the end of the index");
		check->named = check->named == NULL
			? MemoryContextAllocHuge(CurrentMemoryContext, (Size) now / 8 + 1)
			: repalloc_huge(check->named, (Size) now / 8 + 1);
		if (blocks == 0)
			check->named[0] = 0;
		memset(check->named + blocks / 8 + 1, 0, now / 8 - blocks / 8);
		check->n_named = now;
	}
	if (check->named[block / 8] & (1 << block % 8))
		br_am_report_damage(check->index, block, "More than one page names it");
	check->named[block / 8] |= (uint8) (1 << block % 8);
}

/* ---- metapage and directory ---- */

static void
check_meta(Check *check)
{
	const BrAmMeta *meta = &check->meta;
	bool has_lists = meta->first_directory != InvalidBlockNumber;
	bool sound = has_lists == (meta->dims > 0) && meta->next_list > 0 && meta->rows >= 0;

	for (int i = 0; i < BR_AM_N_RECALLS; i++)
		sound &= meta->shares[i] > 0 && meta->shares[i] <= 1;
	if (!sound || meta->metric != (int32) br_am_metric(check->index))
		br_am_report_damage(check->index, BR_AM_META_BLOCK, "It is no sound metapage");
	name_block(check, BR_AM_META_BLOCK);
}

static bool
entry_is_sound(const Check *check, const BrAmListEntry *entry)
{
	int dims = check->quantizer.shape.rotated_dims;
	float norm = br_ann_centroid_squared_norm(entry->centroid, dims);

	for (int i = 0; i < dims; i++)
		if (!BR_MATH_HALF_IS_FINITE(entry->centroid[i]))
			return false;
	return entry->list > 0 && entry->list < check->meta.next_list &&
		memcmp(&norm, &entry->squared_norm, sizeof(float)) == 0;
}

static void
check_directory_page(Check *check, BlockNumber block, Page page)
{
	const BrAmShape *shape = &check->quantizer.shape;
	uint32 entries = BrAmPageDirectory(page)->entries;
	BlockNumber next = BrAmPageSpecial(page)->next;

	if (next == InvalidBlockNumber && block != check->meta.last_directory)
		br_am_report_damage(check->index, block, "It ends the directory, and is not its last page");
	if (next != InvalidBlockNumber && entries < (uint32) shape->per_directory)
		br_am_report_damage(check->index, block, "It has room, and is not the last page");
	for (uint32 place = 0; place < entries; place++)
	{
		const BrAmListEntry *entry = BrAmDirectoryEntry(page, shape, place);

		if (entry->state > BR_AM_LIST_DEAD ||
			(entry->state != BR_AM_LIST_EMPTY && !entry_is_sound(check, entry)))
			br_am_report_damage(check->index, block,
								psprintf("Its entry %u, of list %u, is not sound", place,
										 entry->list));
	}
}

static void
check_directory_pages(Check *check)
{
	BlockNumber block = check->meta.first_directory;

	while (block != InvalidBlockNumber)
	{
		Buffer buffer;

		name_block(check, block);
		buffer = br_am_read(check->index, block, BR_AM_PAGE_DIRECTORY, 0, &check->quantizer.shape,
							BUFFER_LOCK_SHARE);
		check_directory_page(check, block, BufferGetPage(buffer));
		block = BrAmPageSpecial(BufferGetPage(buffer))->next;
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
}

static int
compare_lists(const void *left, const void *right)
{
	uint32 a = (*(const BrAmList *const *) left)->list;
	uint32 b = (*(const BrAmList *const *) right)->list;

	return (a > b) - (a < b);
}

/* By number; raises an error where a number is used twice. */
static const BrAmList **
sort_lists(const Check *check)
{
	const BrAmList **sorted = palloc(sizeof(BrAmList *) * Max(check->n, 1));

	for (int i = 0; i < check->n; i++)
		sorted[i] = &check->lists[i];
	qsort(sorted, check->n, sizeof(BrAmList *), compare_lists);
	for (int i = 1; i < check->n; i++)
		if (sorted[i]->list == sorted[i - 1]->list)
			br_am_report_damage(check->index, sorted[i]->directory,
								psprintf("List %u has more than one entry", sorted[i]->list));
	return sorted;
}

static bool
list_counts(const Check *check, const BrAmList **sorted, const BrAmList *list)
{
	BrAmList key = {.list = list->replaces};
	const BrAmList *key_pointer = &key;
	const BrAmList **replaced;

	if (list->state != BR_AM_LIST_NEW)
		return list->state != BR_AM_LIST_DEAD;
	replaced = bsearch(&key_pointer, sorted, check->n, sizeof(BrAmList *), compare_lists);
	return replaced == NULL || (*replaced)->state == BR_AM_LIST_DEAD;
}

/* ---- rows ---- */

static void
report_slot(const Check *check, BlockNumber block, int slot, const char *what)
{
	br_am_report_damage(check->index, block,
						psprintf("List %u, slot %d: %s", check->list->list, slot, what));
}

static void
check_vector(const Check *check, BlockNumber block, int slot, const uint16 *vector)
{
	for (int i = 0; i < check->quantizer.shape.dims; i++)
		if (!BR_MATH_HALF_IS_FINITE(vector[i]))
			report_slot(check, block, slot, "a component of its vector is not finite");
}

/* The code that stands on the page is the one that the vector gives. */
static void
check_code(Check *check, BlockNumber block, int slot, const uint16 *vector)
{
	BrAmQuantizer *quantizer = &check->quantizer;
	const BrAmShape *shape = &quantizer->shape;
	const BrAmBlock *codes = BrAmPageBlock(check->posting.data, shape, slot / BR_ANN_BLOCK_ROWS);
	int lane = slot % BR_ANN_BLOCK_ROWS;
	BrCode code;

	br_am_quantizer_rotate(quantizer, vector);
	br_am_quantizer_encode(quantizer, check->centroid, &code);
	br_ann_block_get(codes->codes, shape->code_bits, lane, check->bits);
	if (memcmp(check->bits, quantizer->bits, shape->code_bits / 8) != 0 ||
		memcmp(&codes->add[lane], &code.add, sizeof(float)) != 0 ||
		memcmp(&codes->scale[lane], &code.scale, sizeof(float)) != 0 ||
		!(codes->width >= code.width))
		report_slot(check, block, slot, "its code is not that of its vector");
}

static void
check_row(Check *check, BlockNumber block, int slot)
{
	const BrAmShape *shape = &check->quantizer.shape;
	int exact_slot = slot % shape->per_exact;
	BrAmRow row = {.tid = BrAmTids(check->posting.data, shape)[slot]};

	row.vector = BrAmExactVector(check->exact.data, shape, exact_slot);
	check_vector(check, block, slot, row.vector);
	check_code(check, block, slot, row.vector);
	if (br_am_exact_norm(check->exact.data, shape, exact_slot) !=
		br_ann_squared_norm(row.vector, shape->dims))
		report_slot(check, block, slot, "its length is not that of its vector");
	if (!ItemPointerIsValid(&row.tid) || !check->counts)
		return;
	if (shape->text)
		memcpy(row.hash, BrAmExactEntry(check->exact.data, shape, exact_slot),
			   BR_AM_TEXT_HASH_SIZE);
	br_am_compare_add(check->comparison, &row, shape->dims);
}

/* ---- lists ---- */

static void
copy_exact(Check *check, BlockNumber block)
{
	Buffer buffer = br_am_try_read(check->index, block, BR_AM_PAGE_EXACT, check->list->list,
								   &check->quantizer.shape, BUFFER_LOCK_SHARE, check->strategy);

	/* once more for the error */
	if (!BufferIsValid(buffer))
		buffer = br_am_read(check->index, block, BR_AM_PAGE_EXACT, check->list->list,
							&check->quantizer.shape, BUFFER_LOCK_SHARE);
	memcpy(check->exact.data, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
}

static void
check_exact_pages(Check *check, BlockNumber block)
{
	const BrAmShape *shape = &check->quantizer.shape;
	const BrAmPosting *posting = BrAmPagePosting(check->posting.data);

	for (int i = 0; i < shape->n_exact; i++)
	{
		int first = i * shape->per_exact;

		CHECK_FOR_INTERRUPTS();
		if (first >= posting->rows)
		{
			if (posting->exact[i] != InvalidBlockNumber)
				br_am_report_damage(check->index, block,
									"It names a page for rows that it has not");
			continue;
		}
		name_block(check, posting->exact[i]);
		copy_exact(check, posting->exact[i]);
		for (int slot = first;
			 check->comparison != NULL && slot < Min(posting->rows, first + shape->per_exact);
			 slot++)
			check_row(check, block, slot);
	}
}

static void
check_counts(Check *check, BlockNumber block)
{
	const BrAmShape *shape = &check->quantizer.shape;
	Page page = check->posting.data;
	const BrAmPosting *posting = BrAmPagePosting(page);
	int dead = 0;

	for (int slot = 0; slot < posting->rows; slot++)
	{
		ItemPointer tid = &BrAmTids(page, shape)[slot];

		if (!ItemPointerIsValid(tid))
			dead++;
		else if (ItemPointerGetBlockNumber(tid) == InvalidBlockNumber ||
				 ItemPointerGetOffsetNumber(tid) > MaxOffsetNumber)
			report_slot(check, block, slot, "its heap pointer is impossible");
	}
	if (dead != posting->dead)
		br_am_report_damage(check->index, block,
							psprintf("List %u: %d rows are gone, and it says %d", check->list->list,
									 dead, posting->dead));
	if (BrAmPageSpecial(page)->next != InvalidBlockNumber && posting->rows < shape->per_posting)
		br_am_report_damage(check->index, block, "It has room, and is not the last of its list");
}

static void
check_posting(void *arg, Buffer buffer)
{
	Check *check = arg;
	BlockNumber block = BufferGetBlockNumber(buffer);
	const BrAmPosting *posting = BrAmPagePosting(check->posting.data);

	memcpy(check->posting.data, BufferGetPage(buffer), BLCKSZ);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	name_block(check, block);
	check->has_tail |= block == check->list->tail;
	check_counts(check, block);
	check_exact_pages(check, block);
	if (check->counts)
		check->rows += posting->rows - posting->dead;
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
}

static void
check_list(Check *check, const BrAmList *list)
{
	check->list = list;
	check->centroid =
		check->centroids + (Size) (list - check->lists) * check->quantizer.shape.rotated_dims;
	check->has_tail = false;
	br_am_walk_list(check->index, &check->quantizer.shape, list, check->strategy, check_posting,
					check);
	if (!check->has_tail)
		br_am_report_damage(check->index, list->directory,
							psprintf("The last page of list %u is none of its pages", list->list));
}

static void
check_lists(Check *check)
{
	const BrAmList **sorted;
	BrAmMeta meta;

	check->lists = br_am_directory_read(check->index, NULL, &meta, &check->quantizer.shape,
										&check->centroids, &check->n);
	sorted = sort_lists(check);
	for (int i = 0; i < check->n; i++)
	{
		check->counts = list_counts(check, sorted, &check->lists[i]);
		/* pages of a dead list may be others' already */
		if (check->lists[i].state != BR_AM_LIST_DEAD)
			check_list(check, &check->lists[i]);
	}
}

/* ---- rows that wait, and pages of no chain ---- */

static void
check_pending(Check *check)
{
	int n;
	BrAmRow *rows = br_am_pending_rows(check->index, &check->meta, false, &n);

	for (int i = 0; i < n && check->comparison != NULL; i++)
		br_am_compare_add_pending(check->comparison, &rows[i]);
	check->rows += n;
	pfree(rows);
}

static void
check_headers(const Check *check)
{
	BlockNumber blocks = RelationGetNumberOfBlocks(check->index);

	for (BlockNumber block = 0; block < blocks; block++)
	{
		Buffer buffer =
			ReadBufferExtended(check->index, MAIN_FORKNUM, block, RBM_NORMAL, check->strategy);
		Page page = BufferGetPage(buffer);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		if (!PageIsNew(page) &&
			(!br_am_page_is_sound(page) || BrAmPageSpecial(page)->kind < BR_AM_PAGE_META ||
			 BrAmPageSpecial(page)->kind > BR_AM_PAGE_FREE))
			br_am_report_damage(check->index, block, "It has no sound header");
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---- all ---- */

static int64
check_all(Check *check)
{
	bool text = br_am_is_text(check->index);

	br_am_meta_read(check->index, &check->meta);
	check_meta(check);
	check_headers(check);
	/* before the lists, because a row may move from there to them */
	if (text)
		check_pending(check);
	/* and what a row that moved may have begun */
	br_am_meta_read(check->index, &check->meta);
	if (check->meta.dims > 0)
	{
		br_am_quantizer_create(&check->meta, text, &check->quantizer);
		check->bits = palloc(check->quantizer.shape.code_bits / 8);
		check_directory_pages(check);
		check_lists(check);
	}
	if (check->comparison != NULL)
		br_am_compare_end(check->comparison);
	return check->rows;
}

int64
br_am_check(Relation heap, Relation index, bool deep)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann check", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	Check *check = palloc0(sizeof(Check));
	int64 rows;

	check->index = index;
	check->strategy = GetAccessStrategy(BAS_BULKREAD);
	if (deep)
		check->comparison = br_am_compare_begin(heap, index);
	rows = check_all(check);
	FreeAccessStrategy(check->strategy);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
	return rows;
}
