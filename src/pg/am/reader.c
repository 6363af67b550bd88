/*
 * reader.c
 *	  All rows of a list, in order, for whatever rewrites or checks it.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/am/am_int.h"

/* Copies of the pages that a row is read from. */
typedef struct Reading
{
	Relation index;
	const BrAmShape *shape;
	uint32 list;
	BufferAccessStrategy strategy;
	PGAlignedBlock posting;
	PGAlignedBlock exact;
	int exact_number; /* of the exact page that is there; -1: none */
} Reading;

static void
copy_page(const Reading *reading, BlockNumber block, BrAmPageKind kind, char *copy)
{
	Buffer buffer = br_am_try_read(reading->index, block, kind, reading->list, reading->shape,
								   BUFFER_LOCK_SHARE, reading->strategy);

	/* once more for the error */
	if (!BufferIsValid(buffer))
		buffer = br_am_read(reading->index, block, kind, reading->list, reading->shape,
							BUFFER_LOCK_SHARE);
	memcpy(copy, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
}

static void
load_row(Reading *reading, int slot, BrAmRow *row)
{
	const BrAmShape *shape = reading->shape;
	int number = slot / shape->per_exact;

	if (reading->exact_number != number)
	{
		copy_page(reading, BrAmPagePosting(reading->posting.data)->exact[number], BR_AM_PAGE_EXACT,
				  reading->exact.data);
		reading->exact_number = number;
	}
	row->tid = BrAmTids(reading->posting.data, shape)[slot];
	row->vector = BrAmExactVector(reading->exact.data, shape, slot % shape->per_exact);
	if (shape->text)
		memcpy(row->hash, BrAmExactEntry(reading->exact.data, shape, slot % shape->per_exact),
			   BR_AM_TEXT_HASH_SIZE);
}

/* false: row said that it wants no more */
static bool
read_page(Reading *reading, bool (*row)(void *arg, const BrAmRow *row), void *arg)
{
	int rows = BrAmPagePosting(reading->posting.data)->rows;

	reading->exact_number = -1;
	for (int slot = 0; slot < rows; slot++)
	{
		BrAmRow loaded = {0};

		if (!ItemPointerIsValid(&BrAmTids(reading->posting.data, reading->shape)[slot]))
			continue;
		load_row(reading, slot, &loaded);
		if (!row(arg, &loaded))
			return false;
	}
	return true;
}

void
br_am_read_list(Relation index, const BrAmShape *shape, const BrAmList *list,
				BufferAccessStrategy strategy, bool (*row)(void *arg, const BrAmRow *row),
				void *arg)
{
	Reading *reading = palloc(sizeof(Reading));
	BlockNumber block = list->head;
	BlockNumber left = RelationGetNumberOfBlocks(index);

	*reading = (Reading){.index = index, .shape = shape, .list = list->list, .strategy = strategy};
	while (block != InvalidBlockNumber)
	{
		CHECK_FOR_INTERRUPTS();
		if (left-- == 0)
			br_am_report_damage(index, list->head, "The chain that begins there has no end");
		copy_page(reading, block, BR_AM_PAGE_POSTING, reading->posting.data);
		if (!read_page(reading, row, arg))
			break;
		block = BrAmPageSpecial(reading->posting.data)->next;
	}
	pfree(reading);
}

void
br_am_walk_list(Relation index, const BrAmShape *shape, const BrAmList *list,
				BufferAccessStrategy strategy, void (*page)(void *arg, Buffer buffer), void *arg)
{
	BlockNumber block = list->head;
	BlockNumber blocks = 0; /* of the index, which may grow meanwhile */
	BlockNumber seen = 0;

	while (block != InvalidBlockNumber)
	{
		Buffer buffer;

		if (seen++ == blocks && (blocks = RelationGetNumberOfBlocks(index)) < seen)
			br_am_report_damage(index, list->head, "The chain that begins there has no end");
		buffer = br_am_try_read(index, block, BR_AM_PAGE_POSTING, list->list, shape,
								BUFFER_LOCK_SHARE, strategy);
		/* once more for the error */
		if (!BufferIsValid(buffer))
			buffer =
				br_am_read(index, block, BR_AM_PAGE_POSTING, list->list, shape, BUFFER_LOCK_SHARE);
		page(arg, buffer);
		block = BrAmPageSpecial(BufferGetPage(buffer))->next;
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
}
