/*
 * pages.c
 *	  Pages of the index: their shapes, and reading and making them safely.
 *
 * A page comes from a disk that may lie. Whatever is read is checked here
 * before its counts are used as such, so that a flipped bit becomes an error
 * with the block's number rather than a read beyond the page.
 */
#include "postgres.h"

#include <math.h>

#include "storage/freespace.h"
#include "storage/indexfsm.h"
#include "storage/lmgr.h"

#include "pg/am/am_int.h"

#define ROOM (BLCKSZ - SizeOfPageHeaderData - MAXALIGN(sizeof(BrAmSpecial)))
#define ROWS_OF_A_LIST 250 /* in indexes of up to some 60,000 rows */

/* ---- shapes ---- */

/* Bytes that a posting page of so many blocks takes behind its header. */
static int
posting_bytes(const BrAmShape *shape, int blocks)
{
	int rows = blocks * BR_ANN_BLOCK_ROWS;
	int exact = (rows + shape->per_exact - 1) / shape->per_exact;
	int head =
		offsetof(BrAmPosting, exact) + exact * sizeof(BlockNumber) + rows * sizeof(ItemPointerData);

	return MAXALIGN(head) + blocks * shape->block_bytes;
}

void
br_am_shape(BrAmShape *shape, int dims, bool text)
{
	int blocks = 1;
	int head;

	shape->dims = dims;
	shape->rotated_dims = br_ann_rotated_dims(dims);
	shape->code_bits = br_ann_code_bits(dims);
	shape->text = text;
	shape->norm_offset = text ? BR_AM_TEXT_HASH_SIZE : 0;
	shape->vector_offset = shape->norm_offset + sizeof(double);
	shape->entry_bytes = shape->vector_offset + dims * sizeof(uint16);
	shape->per_exact = ROOM / shape->entry_bytes;
	shape->block_bytes = offsetof(BrAmBlock, codes) + BR_ANN_BLOCK_CODE_BYTES(shape->code_bits);
	while (posting_bytes(shape, blocks + 1) <= ROOM)
		blocks++;
	shape->per_posting = blocks * BR_ANN_BLOCK_ROWS;
	/* exact pages belong to one posting page: better a few slots of it empty than most of one of them */
	if (shape->per_posting > shape->per_exact)
		shape->per_posting -= shape->per_posting % shape->per_exact;
	shape->n_exact = (shape->per_posting + shape->per_exact - 1) / shape->per_exact;
	head =
		SizeOfPageHeaderData + offsetof(BrAmPosting, exact) + shape->n_exact * sizeof(BlockNumber);
	shape->tids_offset = head;
	shape->blocks_offset =
		SizeOfPageHeaderData + posting_bytes(shape, blocks) - blocks * shape->block_bytes;
	shape->directory_bytes =
		MAXALIGN(offsetof(BrAmListEntry, centroid) + shape->rotated_dims * sizeof(uint16));
	shape->per_directory = (ROOM - sizeof(BrAmDirectoryPage)) / shape->directory_bytes;
}

void
br_am_check_dims(Relation index, int dims)
{
	if (dims > BR_ANN_MAX_DIMS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an embedding of %d dimensions cannot be indexed", dims),
				 errdetail("Index \"%s\" takes at most %d.", RelationGetRelationName(index),
						   BR_ANN_MAX_DIMS),
				 errhint("Index an expression that gives fewer dimensions.")));
}

int
br_am_lists_for(double rows)
{
	double lists = Min(rows / ROWS_OF_A_LIST, 2 * sqrt(rows));

	return (int) Max(1, Min(lists, BR_AM_MAX_LISTS));
}

/* ---- checks ---- */

void
br_am_page_init(Page page, BrAmPageKind kind, uint32 list, const BrAmShape *shape)
{
	BrAmSpecial *special;

	PageInit(page, BLCKSZ, sizeof(BrAmSpecial));
	special = BrAmPageSpecial(page);
	*special = (BrAmSpecial){.next = InvalidBlockNumber,
							 .list = list,
							 .kind = (uint16) kind,
							 .magic = BR_AM_MAGIC};
	switch (kind)
	{
		case BR_AM_PAGE_META:
			((PageHeader) page)->pd_lower = SizeOfPageHeaderData + sizeof(BrAmMeta);
			break;
		case BR_AM_PAGE_DIRECTORY:
			((PageHeader) page)->pd_lower = SizeOfPageHeaderData + sizeof(BrAmDirectoryPage);
			break;
		case BR_AM_PAGE_POSTING:
			((PageHeader) page)->pd_lower = ((PageHeader) page)->pd_upper;
			for (int i = 0; i < shape->n_exact; i++)
				BrAmPagePosting(page)->exact[i] = InvalidBlockNumber;
			break;
		case BR_AM_PAGE_EXACT:
			((PageHeader) page)->pd_lower = ((PageHeader) page)->pd_upper;
			break;
		case BR_AM_PAGE_PENDING:
		case BR_AM_PAGE_FREE:
			break;
	}
}

bool
br_am_page_is_sound(Page page)
{
	PageHeader header = (PageHeader) page;

	return !PageIsNew(page) && PageGetPageSize(page) == BLCKSZ &&
		PageGetSpecialSize(page) == MAXALIGN(sizeof(BrAmSpecial)) &&
		header->pd_special == BLCKSZ - MAXALIGN(sizeof(BrAmSpecial)) &&
		header->pd_lower >= SizeOfPageHeaderData && header->pd_lower <= header->pd_upper &&
		header->pd_upper <= header->pd_special && BrAmPageSpecial(page)->magic == BR_AM_MAGIC;
}

static bool
counts_are_possible(Page page, BrAmPageKind kind, const BrAmShape *shape)
{
	if (kind == BR_AM_PAGE_POSTING)
		return BrAmPagePosting(page)->rows <= shape->per_posting &&
			BrAmPagePosting(page)->dead <= BrAmPagePosting(page)->rows;
	if (kind == BR_AM_PAGE_DIRECTORY)
		return BrAmPageDirectory(page)->entries <= (uint32) shape->per_directory;
	return true;
}

bool
br_am_page_is(Page page, BrAmPageKind kind, uint32 list, const BrAmShape *shape)
{
	bool of_list = kind == BR_AM_PAGE_POSTING || kind == BR_AM_PAGE_EXACT;

	return br_am_page_is_sound(page) && BrAmPageSpecial(page)->kind == kind &&
		(!of_list || BrAmPageSpecial(page)->list == list) && counts_are_possible(page, kind, shape);
}

void
br_am_report_damage(Relation index, BlockNumber block, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" is damaged in block %u", RelationGetRelationName(index), block),
			 errdetail("%s.", what),
			 errhint("REINDEX INDEX makes it anew; see to the cause, such as a failing disk.")));
}

/* ---- reading ---- */

/*
 * Whether the index has such a block; asking for one beyond the end would be an
 * error that names no way out. An index only grows, and the operating system
 * need not be asked for its length at each page.
 */
static bool
block_exists(Relation index, BlockNumber block)
{
	static RelFileNode known_node;
	static BlockNumber known_blocks;

	if (block < known_blocks && RelFileNodeEquals(known_node, index->rd_node))
		return true;
	known_node = index->rd_node;
	known_blocks = RelationGetNumberOfBlocksInFork(index, MAIN_FORKNUM);
	return block < known_blocks;
}

Buffer
br_am_pin(Relation index, BlockNumber block)
{
	return block_exists(index, block) ? ReadBuffer(index, block) : InvalidBuffer;
}

/* InvalidBuffer where there is no such block. */
static Buffer
read_block(Relation index, BlockNumber block, int lock, BufferAccessStrategy strategy)
{
	Buffer buffer;

	if (!block_exists(index, block))
		return InvalidBuffer;
	buffer = ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	LockBuffer(buffer, lock);
	return buffer;
}

Buffer
br_am_try_read(Relation index, BlockNumber block, BrAmPageKind kind, uint32 list,
			   const BrAmShape *shape, int lock, BufferAccessStrategy strategy)
{
	Buffer buffer = read_block(index, block, lock, strategy);

	if (BufferIsValid(buffer) && !br_am_page_is(BufferGetPage(buffer), kind, list, shape))
	{
		UnlockReleaseBuffer(buffer);
		return InvalidBuffer;
	}
	return buffer;
}

static const char *
kind_name(int kind)
{
	static const char *const names[] =
		{"no page of this index", "the metapage",	"a directory page", "a posting page",
		 "an exact page",		  "a pending page", "a free page"};

	return kind >= 0 && kind < (int) lengthof(names) ? names[kind] : names[0];
}

/* Why br_am_page_is said no. */
static const char *
what_is_wrong(Buffer buffer, BrAmPageKind kind, uint32 list)
{
	Page page;
	const BrAmSpecial *special;

	if (!BufferIsValid(buffer))
		return psprintf("It lies beyond the end of the index, where %s should be", kind_name(kind));
	page = BufferGetPage(buffer);
	if (!br_am_page_is_sound(page))
		return psprintf("It has no sound header, and should be %s", kind_name(kind));
	special = BrAmPageSpecial(page);
	if (special->kind != kind)
		return psprintf("It is %s, and should be %s", kind_name(special->kind), kind_name(kind));
	if (special->list != list)
		return psprintf("It belongs to list %u, and should to %u", special->list, list);
	return "Its counts are impossible";
}

Buffer
br_am_read(Relation index, BlockNumber block, BrAmPageKind kind, uint32 list,
		   const BrAmShape *shape, int lock)
{
	Buffer buffer = read_block(index, block, lock, NULL);
	const char *wrong;

	if (BufferIsValid(buffer) && br_am_page_is(BufferGetPage(buffer), kind, list, shape))
		return buffer;
	wrong = what_is_wrong(buffer, kind, list);
	if (BufferIsValid(buffer))
		UnlockReleaseBuffer(buffer);
	br_am_report_damage(index, block, wrong);
}

/* ---- new pages ---- */

static bool
may_be_taken(Page page)
{
	return PageIsNew(page) ||
		(br_am_page_is_sound(page) && BrAmPageSpecial(page)->kind == BR_AM_PAGE_FREE);
}

Buffer
br_am_new_buffer(Relation index)
{
	bool alone = RELATION_IS_LOCAL(index);
	BlockNumber block;
	Buffer buffer;

	/* what the map says may be out of date: the page itself knows */
	while ((block = GetFreeIndexPage(index)) != InvalidBlockNumber)
	{
		/* after a crash even its pages may be lost that the map knows */
		if (!block_exists(index, block))
			continue;
		buffer = ReadBuffer(index, block);
		if (ConditionalLockBuffer(buffer))
		{
			if (may_be_taken(BufferGetPage(buffer)))
				return buffer;
			LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		}
		ReleaseBuffer(buffer);
	}
	if (!alone)
		LockRelationForExtension(index, ExclusiveLock);
	buffer = ReadBuffer(index, P_NEW);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (!alone)
		UnlockRelationForExtension(index, ExclusiveLock);
	return buffer;
}
