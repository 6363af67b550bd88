/*
 * pending.c
 *	  Texts that wait for their embedding: rows as token ids, on pages of their
 *	  own (text_int.h).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"

#include "pg/am/text_int.h"

#define FIRST_NUMBER 1

/* ---- entries ---- */

static int
bytes_used(Page page)
{
	return ((PageHeader) page)->pd_lower - (int) MAXALIGN(SizeOfPageHeaderData);
}

BrAmPendingEntry *
br_am_pending_entry(Relation index, BlockNumber block, Page page, int *at)
{
	BrAmPendingEntry *entry = (BrAmPendingEntry *) (PageGetContents(page) + *at);
	int left = bytes_used(page) - *at;

	if (left == 0)
		return NULL;
	if (left < (int) BR_AM_PENDING_SIZE(1) || entry->n_ids == 0 ||
		left < (int) BR_AM_PENDING_SIZE(entry->n_ids) || !ItemPointerIsValid(&entry->tid))
		br_am_report_damage(index, block, "A row that waits on it is no sound one");
	*at += (int) BR_AM_PENDING_SIZE(entry->n_ids);
	return entry;
}

void
br_am_pending_take(Page page, BrAmPendingEntry *entry, int *at)
{
	int size = (int) BR_AM_PENDING_SIZE(entry->n_ids);

	memmove(entry, (char *) entry + size, bytes_used(page) - *at);
	*at -= size;
	((PageHeader) page)->pd_lower -= size;
}

static void
put_entry(Page page, const BrAmPendingEntry *entry)
{
	int size = (int) BR_AM_PENDING_SIZE(entry->n_ids);

	memcpy((char *) page + ((PageHeader) page)->pd_lower, entry, size);
	((PageHeader) page)->pd_lower += size;
}

static void
init_page(Page page, uint32 number)
{
	br_am_page_init(page, BR_AM_PAGE_PENDING, number, NULL);
	((PageHeader) page)->pd_lower = MAXALIGN(SizeOfPageHeaderData);
}

/* ---- walking along the chain ---- */

/* A place in the chain. */
typedef struct Walk
{
	Relation index;
	int lock;
	BlockNumber first; /* where it began, and the number of that page */
	uint32 first_number;
	BlockNumber next;
	uint32 next_number;
} Walk;

/* The chain's first page, locked; InvalidBuffer: no text has ever waited. */
static Buffer
begin_walk(Relation index, int lock, Walk *walk)
{
	BlockNumber failed = InvalidBlockNumber;

	for (;;)
	{
		BrAmMeta meta;
		Buffer buffer;

		CHECK_FOR_INTERRUPTS();
		br_am_meta_read(index, &meta);
		if (meta.first_pending == InvalidBlockNumber)
			return InvalidBuffer;
		/* it is still the first one, so what is no pending page is damaged */
		if (meta.first_pending == failed)
			buffer = br_am_read(index, failed, BR_AM_PAGE_PENDING, 0, NULL, lock);
		else
			buffer =
				br_am_try_read(index, meta.first_pending, BR_AM_PAGE_PENDING, 0, NULL, lock, NULL);
		failed = meta.first_pending;
		if (!BufferIsValid(buffer))
			continue;
		/* it may have left the chain, and come back at its end, before it was locked */
		br_am_meta_read(index, &meta);
		if (meta.first_pending == failed)
		{
			Page page = BufferGetPage(buffer);

			*walk = (Walk){index,
						   lock,
						   failed,
						   BrAmPageSpecial(page)->list,
						   BrAmPageSpecial(page)->next,
						   BrAmPageSpecial(page)->list + 1};
			return buffer;
		}
		UnlockReleaseBuffer(buffer);
		failed = InvalidBlockNumber;
	}
}

/* Whether the chain begins where it did when the walk began. */
static bool
begins_as_before(const Walk *walk)
{
	Walk now;
	Buffer buffer = begin_walk(walk->index, BUFFER_LOCK_SHARE, &now);

	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
	return now.first == walk->first && now.first_number == walk->first_number;
}

/*
 * The page behind the last one, locked; that one must not be locked any more.
 * InvalidBuffer at the end, or with *lost where the page has left the chain: then
 * all rows seen so far have left it, and the walk must begin anew.
 */
static Buffer
next_page(Walk *walk, bool *lost)
{
	Buffer buffer;
	Page page;

	*lost = false;
	CHECK_FOR_INTERRUPTS();
	if (walk->next == InvalidBlockNumber)
		return InvalidBuffer;
	buffer = br_am_try_read(walk->index, walk->next, BR_AM_PAGE_PENDING, 0, NULL, walk->lock, NULL);
	if (BufferIsValid(buffer) && BrAmPageSpecial(BufferGetPage(buffer))->list == walk->next_number)
	{
		page = BufferGetPage(buffer);
		walk->next = BrAmPageSpecial(page)->next;
		walk->next_number++;
		return buffer;
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
	/* pages leave from the beginning on */
	if (begins_as_before(walk))
		br_am_report_damage(walk->index, walk->next,
							"It should be the next page of texts that wait");
	*lost = true;
	return InvalidBuffer;
}

/* ---- copying ---- */

typedef struct Copies
{
	BrAmWaiting *waiting;
	int n;
	int room;
	int64 skip;
	int64 limit;
} Copies;

static void
copy_entry(Copies *copies, BlockNumber block, const BrAmPendingEntry *entry)
{
	Size size = BR_AM_PENDING_SIZE(entry->n_ids);
	BrAmPendingEntry *copy;

	if (copies->n == copies->room)
	{
		copies->room *= 2;
		copies->waiting = repalloc_huge(copies->waiting, sizeof(BrAmWaiting) * (Size) copies->room);
	}
	copy = palloc(size);
	memcpy(copy, entry, size);
	copies->waiting[copies->n++] = (BrAmWaiting){block, copy};
}

static void
copy_page(Relation index, Copies *copies, Buffer buffer)
{
	BlockNumber block = BufferGetBlockNumber(buffer);
	const BrAmPendingEntry *entry;
	int at = 0;

	while (copies->n < copies->limit &&
		   (entry = br_am_pending_entry(index, block, BufferGetPage(buffer), &at)) != NULL)
	{
		if (copies->skip > 0)
			copies->skip--;
		else
			copy_entry(copies, block, entry);
	}
}

BrAmWaiting *
br_am_pending_copy(Relation index, int64 skip, int64 limit, int *n)
{
	Copies copies = {.room = 64};
	bool lost;

	copies.waiting = palloc(sizeof(BrAmWaiting) * copies.room);
	do
	{
		Walk walk;
		Buffer buffer = begin_walk(index, BUFFER_LOCK_SHARE, &walk);

		lost = false;
		copies.n = 0;
		copies.skip = skip;
		copies.limit = limit;
		while (BufferIsValid(buffer))
		{
			copy_page(index, &copies, buffer);
			UnlockReleaseBuffer(buffer);
			buffer = copies.n < limit ? next_page(&walk, &lost) : InvalidBuffer;
		}
	} while (lost);
	*n = copies.n;
	return copies.waiting;
}

/* ---- adding ---- */

static Buffer
lock_meta(Relation index)
{
	return br_am_read(index, BR_AM_META_BLOCK, BR_AM_PAGE_META, 0, NULL, BUFFER_LOCK_EXCLUSIVE);
}

/* The first page of all. false: another session has made it. */
static bool
begin_chain(Relation index, const BrAmPendingEntry *entry, uint32 *pending)
{
	Buffer added = br_am_new_buffer(index);
	Buffer meta_buffer = lock_meta(index);
	GenericXLogState *record = GenericXLogStart(index);
	Page page = GenericXLogRegisterBuffer(record, added, GENERIC_XLOG_FULL_IMAGE);
	BrAmMeta *meta = BrAmPageMeta(GenericXLogRegisterBuffer(record, meta_buffer, 0));
	bool is_first = meta->first_pending == InvalidBlockNumber;

	if (is_first)
	{
		init_page(page, FIRST_NUMBER);
		put_entry(page, entry);
		meta->first_pending = BufferGetBlockNumber(added);
		meta->last_pending = meta->first_pending;
		*pending = ++meta->pending;
		GenericXLogFinish(record);
	}
	else
		GenericXLogAbort(record);
	UnlockReleaseBuffer(meta_buffer);
	UnlockReleaseBuffer(added);
	return is_first;
}

/* On the last page, which is locked, or one behind it. */
static void
put_last(Relation index, Buffer last, const BrAmPendingEntry *entry, uint32 *pending)
{
	int size = bytes_used(BufferGetPage(last)) + (int) BR_AM_PENDING_SIZE(entry->n_ids);
	bool fits = size <= BR_AM_PENDING_ROOM;
	Buffer added = fits ? InvalidBuffer : br_am_new_buffer(index);
	Buffer meta_buffer = lock_meta(index);
	GenericXLogState *record = GenericXLogStart(index);
	Page page = GenericXLogRegisterBuffer(record, last, 0);
	BrAmMeta *meta = BrAmPageMeta(GenericXLogRegisterBuffer(record, meta_buffer, 0));

	if (!fits)
	{
		Page added_page = GenericXLogRegisterBuffer(record, added, GENERIC_XLOG_FULL_IMAGE);

		init_page(added_page, BrAmPageSpecial(page)->list + 1);
		BrAmPageSpecial(page)->next = BufferGetBlockNumber(added);
		meta->last_pending = BufferGetBlockNumber(added);
		page = added_page;
	}
	put_entry(page, entry);
	*pending = ++meta->pending;
	GenericXLogFinish(record);
	UnlockReleaseBuffer(meta_buffer);
	if (BufferIsValid(added))
		UnlockReleaseBuffer(added);
}

/*
 * The page locked may have got a successor, or left the chain, since the
 * metapage was read; a last page has no successor.
 */
static bool
try_append(Relation index, BlockNumber last, const BrAmPendingEntry *entry, uint32 *pending)
{
	Buffer buffer =
		br_am_try_read(index, last, BR_AM_PAGE_PENDING, 0, NULL, BUFFER_LOCK_EXCLUSIVE, NULL);
	bool is_last;

	if (!BufferIsValid(buffer))
		return false;
	is_last = BrAmPageSpecial(BufferGetPage(buffer))->next == InvalidBlockNumber;
	if (is_last)
		put_last(index, buffer, entry, pending);
	UnlockReleaseBuffer(buffer);
	return is_last;
}

uint32
br_am_pending_append(Relation index, const BrAmPendingEntry *entry)
{
	BlockNumber failed = InvalidBlockNumber;
	uint32 pending;

	for (;;)
	{
		BrAmMeta meta;

		CHECK_FOR_INTERRUPTS();
		br_am_meta_read(index, &meta);
		if (meta.last_pending == InvalidBlockNumber
				? begin_chain(index, entry, &pending)
				: try_append(index, meta.last_pending, entry, &pending))
			return pending;
		if (meta.last_pending != InvalidBlockNumber && meta.last_pending == failed)
			br_am_report_damage(index, failed, "It should be the last page of texts that wait");
		failed = meta.last_pending;
	}
}

/* ---- removing ---- */

/* How many rows of a page are gone; *kept is raised by the others. */
static int
count_dead(Relation index, Buffer buffer, IndexBulkDeleteCallback dead, void *state, double *kept)
{
	const BrAmPendingEntry *entry;
	int n = 0;
	int at = 0;

	while ((entry = br_am_pending_entry(index, BufferGetBlockNumber(buffer), BufferGetPage(buffer),
										&at)) != NULL)
	{
		if (dead(unconstify(ItemPointerData *, &entry->tid), state))
			n++;
		else
			*kept += 1;
	}
	return n;
}

static void
delete_from_page(Relation index, Buffer buffer, IndexBulkDeleteCallback dead, void *state,
				 double *removed, double *kept)
{
	int n = count_dead(index, buffer, dead, state, kept);
	BrAmPendingEntry *entry;
	GenericXLogState *record;
	Buffer meta_buffer;
	Page page;
	int at = 0;

	if (n == 0)
		return;
	meta_buffer = lock_meta(index);
	record = GenericXLogStart(index);
	page = GenericXLogRegisterBuffer(record, buffer, 0);
	while ((entry = br_am_pending_entry(index, BufferGetBlockNumber(buffer), page, &at)) != NULL)
		if (dead(&entry->tid, state))
			br_am_pending_take(page, entry, &at);
	BrAmPageMeta(GenericXLogRegisterBuffer(record, meta_buffer, 0))->pending -= n;
	GenericXLogFinish(record);
	UnlockReleaseBuffer(meta_buffer);
	*removed += n;
}

/* The chain's first page, if it is empty and not the last one, becomes free. */
static bool
unlink_first(Relation index)
{
	Walk walk;
	Buffer buffer = begin_walk(index, BUFFER_LOCK_EXCLUSIVE, &walk);
	bool leaves = BufferIsValid(buffer) && bytes_used(BufferGetPage(buffer)) == 0 &&
		walk.next != InvalidBlockNumber;

	if (leaves)
	{
		Buffer meta_buffer = lock_meta(index);
		GenericXLogState *record = GenericXLogStart(index);

		br_am_page_init(GenericXLogRegisterBuffer(record, buffer, 0), BR_AM_PAGE_FREE, 0, NULL);
		BrAmPageMeta(GenericXLogRegisterBuffer(record, meta_buffer, 0))->first_pending = walk.next;
		GenericXLogFinish(record);
		UnlockReleaseBuffer(meta_buffer);
	}
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
	if (leaves)
		RecordFreeIndexPage(index, walk.first);
	return leaves;
}

void
br_am_pending_unlink(Relation index)
{
	while (unlink_first(index))
		CHECK_FOR_INTERRUPTS();
}

void
br_am_pending_delete(Relation index, IndexBulkDeleteCallback dead, void *state, double *removed,
					 double *kept)
{
	bool lost;

	do
	{
		Walk walk;
		Buffer buffer = begin_walk(index, BUFFER_LOCK_EXCLUSIVE, &walk);

		lost = false;
		while (BufferIsValid(buffer))
		{
			delete_from_page(index, buffer, dead, state, removed, kept);
			UnlockReleaseBuffer(buffer);
			buffer = next_page(&walk, &lost);
		}
	} while (lost);
	if (ConditionalLockPage(index, BR_AM_FLUSH_LOCK, ExclusiveLock))
	{
		br_am_pending_unlink(index);
		UnlockPage(index, BR_AM_FLUSH_LOCK, ExclusiveLock);
	}
}
