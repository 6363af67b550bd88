/*
 * append.c
 *	  One row to the end of a list.
 *
 * The nearest list takes it, or where that one is being rewritten the next
 * nearest: which list a row is in decides how early scans find it, not
 * whether.
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "miscadmin.h"

#include "core/math/br_math.h"
#include "pg/am/am_int.h"

/* A row on its way to a list. */
typedef struct Appending
{
	Relation index;
	BrAmQuantizer *quantizer;
	const BrAmRow *row;
	Buffer waiting; /* the pending page that it leaves; InvalidBuffer: none */
	bool (*leave)(Page page, void *arg);
	void *arg;
	bool left;
	uint16 *centroid; /* (rotated_dims) of the list tried */
} Appending;

/* ---- the first list ---- */

static bool
begin_directory(BrAmMeta *meta, int dims, BlockNumber directory)
{
	if (meta->first_directory != InvalidBlockNumber)
		return false;
	meta->dims = dims;
	meta->first_directory = directory;
	meta->last_directory = directory;
	meta->next_list++;
	meta->generation++;
	return true;
}

static void
fill_first_list(Page page, const BrAmShape *shape, uint32 list, BlockNumber posting)
{
	BrAmListEntry *entry = BrAmDirectoryEntry(page, shape, 0);

	memset(entry, 0, shape->directory_bytes);
	entry->list = list;
	entry->head = posting;
	entry->tail = posting;
	entry->state = BR_AM_LIST_LIVE;
	BrAmPageDirectory(page)->entries = 1;
	((PageHeader) page)->pd_lower =
		(LocationIndex) ((char *) BrAmDirectoryEntry(page, shape, 1) - (char *) page);
}

void
br_am_create_first_list(Relation index, int dims)
{
	Buffer posting = br_am_new_buffer(index);
	Buffer directory = br_am_new_buffer(index);
	Buffer meta =
		br_am_read(index, BR_AM_META_BLOCK, BR_AM_PAGE_META, 0, NULL, BUFFER_LOCK_EXCLUSIVE);
	GenericXLogState *record = GenericXLogStart(index);
	Page meta_page = GenericXLogRegisterBuffer(record, meta, 0);
	Page directory_page = GenericXLogRegisterBuffer(record, directory, GENERIC_XLOG_FULL_IMAGE);
	Page posting_page = GenericXLogRegisterBuffer(record, posting, GENERIC_XLOG_FULL_IMAGE);
	uint32 list = BrAmPageMeta(meta_page)->next_list;
	BrAmShape shape;

	br_am_shape(&shape, dims, br_am_is_text(index));
	br_am_page_init(directory_page, BR_AM_PAGE_DIRECTORY, 0, &shape);
	br_am_page_init(posting_page, BR_AM_PAGE_POSTING, list, &shape);
	fill_first_list(directory_page, &shape, list, BufferGetBlockNumber(posting));
	/* another session may have been faster: then both pages are free for the next vacuum */
	if (begin_directory(BrAmPageMeta(meta_page), dims, BufferGetBlockNumber(directory)))
		GenericXLogFinish(record);
	else
		GenericXLogAbort(record);
	UnlockReleaseBuffer(meta);
	UnlockReleaseBuffer(directory);
	UnlockReleaseBuffer(posting);
}

/* ---- where to ---- */

static int
compare_nearer(const void *left, const void *right)
{
	float a = ((const BrAmList *) left)->view.order;
	float b = ((const BrAmList *) right)->view.order;

	return (a > b) - (a < b);
}

/* The lists that may take rows, nearest to the rotated row first; *n of them. */
static BrAmList *
order_lists(const Appending *append, int *n)
{
	BrAmQuantizer *quantizer = append->quantizer;
	BrCodeQuery *query;
	BrAmList *lists;
	BrAmMeta meta;
	int all;

	/* lists are drawn around centroids by distance, whatever the metric of scans */
	br_pg_check(br_ann_code_query_create(&quantizer->context, BR_METRIC_L2, quantizer->shape.dims,
										 quantizer->rotated, 0, &query),
				&quantizer->context, "could not insert into the index", NULL);
	lists = br_am_directory_read(append->index, query, &meta, &quantizer->shape, NULL, &all);
	br_ann_code_query_destroy(query);
	*n = 0;
	for (int i = 0; i < all; i++)
		if (lists[i].state == BR_AM_LIST_LIVE)
			lists[(*n)++] = lists[i];
	/* all but the nearest are asked for very seldom */
	for (int i = 1; i < *n; i++)
		if (lists[i].view.order < lists[0].view.order)
		{
			BrAmList nearer = lists[i];

			lists[i] = lists[0];
			lists[0] = nearer;
		}
	return lists;
}

/* Its centroid and last page as they are now; false where it takes no rows any more. */
static bool
look_at_list(const Appending *append, BrAmList *list)
{
	const BrAmShape *shape = &append->quantizer->shape;
	Buffer buffer = br_am_read(append->index, list->directory, BR_AM_PAGE_DIRECTORY, 0, shape,
							   BUFFER_LOCK_SHARE);
	Page page = BufferGetPage(buffer);
	bool takes_rows = false;

	if (list->place < BrAmPageDirectory(page)->entries)
	{
		const BrAmListEntry *entry = BrAmDirectoryEntry(page, shape, list->place);

		takes_rows = entry->list == list->list && entry->state == BR_AM_LIST_LIVE;
		list->tail = entry->tail;
		memcpy(append->centroid, entry->centroid, sizeof(uint16) * shape->rotated_dims);
	}
	UnlockReleaseBuffer(buffer);
	return takes_rows;
}

/* ---- onto its pages ---- */

/*
 * An empty page behind the last one of a list, both locked; the last one is
 * released. InvalidBuffer where the list is no longer live.
 */
static Buffer
extend_list(const Appending *append, const BrAmList *list, Buffer last)
{
	const BrAmShape *shape = &append->quantizer->shape;
	Buffer added = br_am_new_buffer(append->index);
	Buffer directory = br_am_read(append->index, list->directory, BR_AM_PAGE_DIRECTORY, 0, shape,
								  BUFFER_LOCK_EXCLUSIVE);
	GenericXLogState *record = GenericXLogStart(append->index);
	BrAmListEntry *entry =
		BrAmDirectoryEntry(GenericXLogRegisterBuffer(record, directory, 0), shape, list->place);
	bool live = entry->list == list->list && entry->state == BR_AM_LIST_LIVE;

	if (live)
	{
		Page last_page = GenericXLogRegisterBuffer(record, last, 0);

		br_am_page_init(GenericXLogRegisterBuffer(record, added, GENERIC_XLOG_FULL_IMAGE),
						BR_AM_PAGE_POSTING, list->list, shape);
		BrAmPageSpecial(last_page)->next = BufferGetBlockNumber(added);
		entry->tail = BufferGetBlockNumber(added);
		GenericXLogFinish(record);
	}
	else
		GenericXLogAbort(record);
	UnlockReleaseBuffer(directory);
	UnlockReleaseBuffer(last);
	if (live)
		return added;
	UnlockReleaseBuffer(added);
	return InvalidBuffer;
}

/* The last posting page of a list, exclusively locked, with a free slot; InvalidBuffer: it takes no rows. */
static Buffer
lock_tail(const Appending *append, const BrAmList *list)
{
	const BrAmShape *shape = &append->quantizer->shape;
	Buffer buffer = br_am_try_read(append->index, list->tail, BR_AM_PAGE_POSTING, list->list, shape,
								   BUFFER_LOCK_EXCLUSIVE, NULL);
	BlockNumber seen = 0;

	while (BufferIsValid(buffer))
	{
		Page page = BufferGetPage(buffer);
		BlockNumber next = BrAmPageSpecial(page)->next;

		if (BrAmPageSpecial(page)->flags & BR_AM_FLAG_FROZEN)
			break;
		if (next == InvalidBlockNumber && BrAmPagePosting(page)->rows < shape->per_posting)
			return buffer;
		if (next == InvalidBlockNumber)
			return extend_list(append, list, buffer);
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
		if (++seen > RelationGetNumberOfBlocks(append->index))
			br_am_report_damage(append->index, list->tail,
								"The chain that begins there has no end");
		buffer = br_am_try_read(append->index, next, BR_AM_PAGE_POSTING, list->list, shape,
								BUFFER_LOCK_EXCLUSIVE, NULL);
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
	return InvalidBuffer;
}

/* The exact page for the next slot of a posting page, locked; *is_new: it is not named there yet. */
static Buffer
lock_exact(const Appending *append, const BrAmList *list, Page posting, bool *is_new)
{
	const BrAmShape *shape = &append->quantizer->shape;
	BrAmPosting *header = BrAmPagePosting(posting);
	BlockNumber block = header->exact[header->rows / shape->per_exact];

	*is_new = block == InvalidBlockNumber;
	return *is_new ? br_am_new_buffer(append->index)
				   : br_am_read(append->index, block, BR_AM_PAGE_EXACT, list->list, shape,
								BUFFER_LOCK_EXCLUSIVE);
}

/* Takes the row off its pending page in the record; false: it is no longer there. */
static bool
leave_pending(Appending *append, GenericXLogState *record, Buffer meta)
{
	append->left =
		append->leave(GenericXLogRegisterBuffer(record, append->waiting, 0), append->arg);
	if (append->left)
		BrAmPageMeta(GenericXLogRegisterBuffer(record, meta, 0))->pending--;
	return append->left;
}

/* On the posting page given, which has a free slot. */
static void
put_on_page(Appending *append, const BrAmList *list, const BrCode *code, Buffer posting)
{
	bool is_new;
	bool leaves = BufferIsValid(append->waiting);
	Buffer exact = lock_exact(append, list, BufferGetPage(posting), &is_new);
	Buffer meta = leaves ? br_am_read(append->index, BR_AM_META_BLOCK, BR_AM_PAGE_META, 0, NULL,
									  BUFFER_LOCK_EXCLUSIVE)
						 : InvalidBuffer;
	GenericXLogState *record = GenericXLogStart(append->index);
	Page posting_page = GenericXLogRegisterBuffer(record, posting, 0);
	Page exact_page =
		GenericXLogRegisterBuffer(record, exact, is_new ? GENERIC_XLOG_FULL_IMAGE : 0);

	if (is_new)
	{
		BrAmPosting *header = BrAmPagePosting(posting_page);

		br_am_page_init(exact_page, BR_AM_PAGE_EXACT, list->list, &append->quantizer->shape);
		header->exact[header->rows / append->quantizer->shape.per_exact] =
			BufferGetBlockNumber(exact);
	}
	br_am_page_put(append->quantizer, posting_page, exact_page, append->row, code);
	if (!leaves || leave_pending(append, record, meta))
		GenericXLogFinish(record);
	else
		GenericXLogAbort(record);
	if (BufferIsValid(meta))
		UnlockReleaseBuffer(meta);
	UnlockReleaseBuffer(exact);
}

static bool
put_row(Appending *append, const BrAmList *list, const BrCode *code)
{
	Buffer posting;

	if (BufferIsValid(append->waiting))
		LockBuffer(append->waiting, BUFFER_LOCK_EXCLUSIVE);
	posting = lock_tail(append, list);
	if (BufferIsValid(posting))
	{
		put_on_page(append, list, code, posting);
		UnlockReleaseBuffer(posting);
	}
	if (BufferIsValid(append->waiting))
		LockBuffer(append->waiting, BUFFER_LOCK_UNLOCK);
	return BufferIsValid(posting);
}

/* Into the nearest list that takes it; false: none did. */
static bool
try_lists(Appending *append)
{
	int n;
	BrAmList *lists = order_lists(append, &n);
	bool done = false;

	for (int i = 0; i < n && !done; i++)
	{
		BrCode code;

		if (i == 1)
			qsort(lists + 1, n - 1, sizeof(BrAmList), compare_nearer);
		if (!look_at_list(append, &lists[i]))
			continue;
		br_am_quantizer_encode(append->quantizer, append->centroid, &code);
		done = put_row(append, &lists[i], &code);
	}
	if (lists != NULL)
		pfree(lists);
	return done;
}

bool
br_am_append(Relation index, BrAmQuantizer *quantizer, const BrAmRow *row, Buffer waiting,
			 bool (*leave)(Page page, void *arg), void *arg)
{
	Appending append = {index, quantizer, row, waiting, leave, arg, true, NULL};

	append.centroid = palloc(sizeof(uint16) * quantizer->shape.rotated_dims);
	br_am_quantizer_rotate(quantizer, row->vector);
	while (!try_lists(&append))
	{
		/* they are all being rewritten, or were when a rewrite was broken off */
		CHECK_FOR_INTERRUPTS();
		br_am_thaw(index, &quantizer->shape);
	}
	pfree(append.centroid);
	return append.left;
}
