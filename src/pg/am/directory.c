/*
 * directory.c
 *	  The lists of an index and their centroids.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/indexfsm.h"

#include "pg/am/am_int.h"

/* ---- reading ---- */

/* What br_am_directory_read gathers. */
typedef struct Gathered
{
	BrAmList *lists;
	uint16 *centroids; /* NULL: not wanted */
	int n;
	int room;
} Gathered;

static void
make_room(Gathered *gathered, int rotated_dims)
{
	if (gathered->n < gathered->room)
		return;
	gathered->room = Max(64, 2 * gathered->room);
	gathered->lists = gathered->lists == NULL
		? palloc(sizeof(BrAmList) * gathered->room)
		: repalloc(gathered->lists, sizeof(BrAmList) * gathered->room);
	if (gathered->centroids != NULL)
		gathered->centroids =
			repalloc_huge(gathered->centroids, sizeof(uint16) * rotated_dims * gathered->room);
}

static void
gather_entry(Gathered *gathered, const BrCodeQuery *query, const BrAmShape *shape,
			 const BrAmListEntry *entry, BlockNumber block, int place)
{
	BrAmList *list;

	make_room(gathered, shape->rotated_dims);
	list = &gathered->lists[gathered->n];
	*list = (BrAmList){.list = entry->list,
					   .replaces = entry->replaces,
					   .state = entry->state,
					   .place = (uint16) place,
					   .directory = block,
					   .head = entry->head,
					   .tail = entry->tail,
					   .rows = entry->rows,
					   .dead_since = entry->dead_since};
	if (query != NULL)
		br_ann_view_list(query, entry->centroid, entry->squared_norm, &list->view);
	if (gathered->centroids != NULL)
		memcpy(gathered->centroids + (size_t) gathered->n * shape->rotated_dims, entry->centroid,
			   sizeof(uint16) * shape->rotated_dims);
	gathered->n++;
}

static void
gather(Relation index, const BrCodeQuery *query, const BrAmMeta *meta, const BrAmShape *shape,
	   Gathered *gathered)
{
	BlockNumber block = meta->first_directory;
	BlockNumber left = RelationGetNumberOfBlocks(index);

	while (block != InvalidBlockNumber)
	{
		Buffer buffer = br_am_read(index, block, BR_AM_PAGE_DIRECTORY, 0, shape, BUFFER_LOCK_SHARE);
		Page page = BufferGetPage(buffer);
		int entries = (int) BrAmPageDirectory(page)->entries;

		for (int place = 0; place < entries; place++)
		{
			const BrAmListEntry *entry = BrAmDirectoryEntry(page, shape, place);

			if (entry->state != BR_AM_LIST_EMPTY)
				gather_entry(gathered, query, shape, entry, block, place);
		}
		block = BrAmPageSpecial(page)->next;
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
		if (left-- == 0)
			br_am_report_damage(index, meta->first_directory, "Its chain has no end");
	}
}

BrAmList *
br_am_directory_read(Relation index, const BrCodeQuery *query, BrAmMeta *meta,
					 const BrAmShape *shape, uint16 **centroids, int *n)
{
	Gathered gathered = {NULL, NULL, 0, 0};
	BrAmMeta after;

	if (centroids != NULL)
		gathered.centroids = palloc(sizeof(uint16) * shape->rotated_dims);
	/* a writer holds all pages that it changes at once, the metapage with them */
	br_am_meta_read(index, &after);
	do
	{
		*meta = after;
		gathered.n = 0;
		gather(index, query, meta, shape, &gathered);
		br_am_meta_read(index, &after);
	} while (after.generation != meta->generation);
	if (centroids != NULL)
		*centroids = gathered.centroids;
	*n = gathered.n;
	return gathered.lists;
}

static bool
still_counts(const BrAmList *lists, int n, uint32 list)
{
	for (int i = 0; i < n; i++)
		if (lists[i].list == list)
			return lists[i].state != BR_AM_LIST_DEAD;
	return false;
}

int
br_am_directory_counting(BrAmList *lists, int n)
{
	int kept = 0;
	bool *counts = palloc(sizeof(bool) * Max(n, 1));

	for (int i = 0; i < n; i++)
		counts[i] = lists[i].state == BR_AM_LIST_NEW ? !still_counts(lists, n, lists[i].replaces)
													 : lists[i].state != BR_AM_LIST_DEAD;
	for (int i = 0; i < n; i++)
		if (counts[i])
			lists[kept++] = lists[i];
	pfree(counts);
	return kept;
}

/* ---- changing ---- */

static void
fill_entry(BrAmListEntry *entry, const BrAmShape *shape, const BrAmList *list,
		   const uint16 *centroid, float squared_norm)
{
	memset(entry, 0, shape->directory_bytes);
	entry->dead_since = list->dead_since;
	entry->list = list->list;
	entry->replaces = list->replaces;
	entry->head = list->head;
	entry->tail = list->tail;
	entry->rows = list->rows;
	entry->squared_norm = squared_norm;
	entry->state = list->state;
	memcpy(entry->centroid, centroid, sizeof(uint16) * shape->rotated_dims);
}

/* A place that is empty on a page, or the one behind its last entry; -1: the page is full. */
static int
find_place(Page page, const BrAmShape *shape)
{
	int entries = (int) BrAmPageDirectory(page)->entries;

	for (int place = 0; place < entries; place++)
		if (BrAmDirectoryEntry(page, shape, place)->state == BR_AM_LIST_EMPTY)
			return place;
	return entries < shape->per_directory ? entries : -1;
}

static void
put_entry(Page page, const BrAmShape *shape, int place, BrAmList *list, const uint16 *centroid,
		  float squared_norm)
{
	BrAmDirectoryPage *directory = BrAmPageDirectory(page);

	if ((uint32) place >= directory->entries)
		directory->entries = (uint32) place + 1;
	((PageHeader) page)->pd_lower =
		(LocationIndex) ((char *) BrAmDirectoryEntry(page, shape, directory->entries) -
						 (char *) page);
	fill_entry(BrAmDirectoryEntry(page, shape, place), shape, list, centroid, squared_norm);
}

/* On the page of a buffer, where there is a place. */
static bool
add_to_page(Relation index, const BrAmShape *shape, Buffer buffer, BrAmList *list,
			const uint16 *centroid, float squared_norm)
{
	int place = find_place(BufferGetPage(buffer), shape);
	GenericXLogState *record;

	if (place < 0)
		return false;
	record = GenericXLogStart(index);
	put_entry(GenericXLogRegisterBuffer(record, buffer, 0), shape, place, list, centroid,
			  squared_norm);
	GenericXLogFinish(record);
	list->directory = BufferGetBlockNumber(buffer);
	list->place = (uint16) place;
	return true;
}

/* On a new page behind the last one, whose buffer is locked. */
static void
add_page(Relation index, const BrAmShape *shape, Buffer last, BrAmList *list,
		 const uint16 *centroid, float squared_norm)
{
	Buffer added = br_am_new_buffer(index);
	Buffer meta =
		br_am_read(index, BR_AM_META_BLOCK, BR_AM_PAGE_META, 0, NULL, BUFFER_LOCK_EXCLUSIVE);
	GenericXLogState *record = GenericXLogStart(index);
	Page last_page = GenericXLogRegisterBuffer(record, last, 0);
	Page page = GenericXLogRegisterBuffer(record, added, GENERIC_XLOG_FULL_IMAGE);
	Page meta_page = GenericXLogRegisterBuffer(record, meta, 0);

	br_am_page_init(page, BR_AM_PAGE_DIRECTORY, 0, shape);
	put_entry(page, shape, 0, list, centroid, squared_norm);
	list->directory = BufferGetBlockNumber(added);
	list->place = 0;
	BrAmPageSpecial(last_page)->next = list->directory;
	BrAmPageMeta(meta_page)->last_directory = list->directory;
	GenericXLogFinish(record);
	UnlockReleaseBuffer(meta);
	UnlockReleaseBuffer(added);
}

void
br_am_directory_add(Relation index, const BrAmShape *shape, BrAmList *list, const uint16 *centroid,
					float squared_norm)
{
	BrAmMeta meta;
	BlockNumber block;

	br_am_meta_read(index, &meta);
	block = meta.first_directory;
	for (;;)
	{
		Buffer buffer =
			br_am_read(index, block, BR_AM_PAGE_DIRECTORY, 0, shape, BUFFER_LOCK_EXCLUSIVE);
		BlockNumber next = BrAmPageSpecial(BufferGetPage(buffer))->next;
		bool added = add_to_page(index, shape, buffer, list, centroid, squared_norm);

		if (!added && next == InvalidBlockNumber)
		{
			add_page(index, shape, buffer, list, centroid, squared_norm);
			added = true;
		}
		UnlockReleaseBuffer(buffer);
		if (added)
			return;
		block = next;
	}
}

/* The directory pages of some lists, each once, locked in the order of their blocks. */
typedef struct Held
{
	BlockNumber blocks[3];
	Buffer buffers[3];
	Page pages[3]; /* of the record */
	int n;
} Held;

static void
hold(Relation index, const BrAmShape *shape, BrAmList *const *lists, int n, Held *held)
{
	held->n = 0;
	for (int i = 0; i < n; i++)
	{
		int at = held->n;

		while (at > 0 && held->blocks[at - 1] >= lists[i]->directory)
			at--;
		if (at < held->n && held->blocks[at] == lists[i]->directory)
			continue;
		memmove(&held->blocks[at + 1], &held->blocks[at], sizeof(BlockNumber) * (held->n - at));
		held->blocks[at] = lists[i]->directory;
		held->n++;
	}
	for (int i = 0; i < held->n; i++)
		held->buffers[i] = br_am_read(index, held->blocks[i], BR_AM_PAGE_DIRECTORY, 0, shape,
									  BUFFER_LOCK_EXCLUSIVE);
}

static BrAmListEntry *
held_entry(Relation index, const BrAmShape *shape, const Held *held, const BrAmList *list)
{
	for (int i = 0; i < held->n; i++)
	{
		BrAmListEntry *entry;

		if (held->blocks[i] != list->directory)
			continue;
		entry = BrAmDirectoryEntry(held->pages[i], shape, list->place);
		if (list->place < BrAmPageDirectory(held->pages[i])->entries && entry->list == list->list)
			return entry;
	}
	br_am_report_damage(index, list->directory, "It has lost a list");
}

void
br_am_directory_change(Relation index, const BrAmShape *shape, BrAmList *const *lists, int n,
					   bool new_generation, void (*change)(BrAmListEntry *entry, void *arg, int i),
					   void *arg)
{
	Buffer meta = InvalidBuffer;
	GenericXLogState *record;
	Held held;

	Assert(n <= 3);
	hold(index, shape, lists, n, &held);
	if (new_generation)
		meta = br_am_read(index, BR_AM_META_BLOCK, BR_AM_PAGE_META, 0, NULL, BUFFER_LOCK_EXCLUSIVE);
	record = GenericXLogStart(index);
	for (int i = 0; i < held.n; i++)
		held.pages[i] = GenericXLogRegisterBuffer(record, held.buffers[i], 0);
	for (int i = 0; i < n; i++)
		change(held_entry(index, shape, &held, lists[i]), arg, i);
	if (new_generation)
		BrAmPageMeta(GenericXLogRegisterBuffer(record, meta, 0))->generation++;
	GenericXLogFinish(record);
	if (new_generation)
		UnlockReleaseBuffer(meta);
	for (int i = 0; i < held.n; i++)
		UnlockReleaseBuffer(held.buffers[i]);
}
