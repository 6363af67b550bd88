/*
 * writer.c
 *	  Whole lists, written page after page.
 *
 * Pages are filled in memory and written when they are full. A page comes from
 * the free space map and is filled under one lock: the map may have told
 * another session of the same page. So a posting page, which names its
 * successor, is changed once more when that one is written.
 */
#include "postgres.h"

#include "access/generic_xlog.h"

#include "pg/am/am_int.h"

struct BrAmWriter
{
	Relation index;
	BrAmQuantizer *quantizer;
	const uint16 *centroid;
	uint32 list;
	bool logged;
	uint32 rows;
	BlockNumber head;
	BlockNumber last;		/* posting page written; InvalidBlockNumber: none was */
	PGAlignedBlock posting; /* being filled */
	PGAlignedBlock exact;	/* being filled */
};

/* An image to a page of its own; the page before, if any, names it as its successor. */
static BlockNumber
write_page(const BrAmWriter *writer, const char *image, BlockNumber before)
{
	Buffer buffer = br_am_new_buffer(writer->index);
	BlockNumber block = BufferGetBlockNumber(buffer);
	Buffer previous = InvalidBuffer;

	if (before != InvalidBlockNumber)
		previous = br_am_read(writer->index, before, BR_AM_PAGE_POSTING, writer->list,
							  &writer->quantizer->shape, BUFFER_LOCK_EXCLUSIVE);
	if (writer->logged)
	{
		GenericXLogState *record = GenericXLogStart(writer->index);

		memcpy(GenericXLogRegisterBuffer(record, buffer, GENERIC_XLOG_FULL_IMAGE), image, BLCKSZ);
		if (BufferIsValid(previous))
			BrAmPageSpecial(GenericXLogRegisterBuffer(record, previous, 0))->next = block;
		GenericXLogFinish(record);
	}
	else
	{
		memcpy(BufferGetPage(buffer), image, BLCKSZ);
		MarkBufferDirty(buffer);
		if (BufferIsValid(previous))
		{
			BrAmPageSpecial(BufferGetPage(previous))->next = block;
			MarkBufferDirty(previous);
		}
	}
	if (BufferIsValid(previous))
		UnlockReleaseBuffer(previous);
	UnlockReleaseBuffer(buffer);
	return block;
}

static void
begin_posting(BrAmWriter *writer)
{
	br_am_page_init(writer->posting.data, BR_AM_PAGE_POSTING, writer->list,
					&writer->quantizer->shape);
}

BrAmWriter *
br_am_writer_begin(Relation index, BrAmQuantizer *quantizer, uint32 list, const uint16 *centroid,
				   bool logged)
{
	BrAmWriter *writer = palloc0(sizeof(BrAmWriter));

	writer->index = index;
	writer->quantizer = quantizer;
	writer->centroid = centroid;
	writer->list = list;
	writer->logged = logged;
	writer->head = InvalidBlockNumber;
	writer->last = InvalidBlockNumber;
	begin_posting(writer);
	return writer;
}

/* The exact page of the rows put last, where it holds any. */
static void
finish_exact(BrAmWriter *writer)
{
	const BrAmShape *shape = &writer->quantizer->shape;
	BrAmPosting *posting = BrAmPagePosting(writer->posting.data);
	int number = (posting->rows - 1) / shape->per_exact;

	if (posting->rows == 0)
		return;
	posting->exact[number] = write_page(writer, writer->exact.data, InvalidBlockNumber);
}

/* The posting page, full or the last one, behind the one before it. */
static void
finish_posting(BrAmWriter *writer)
{
	finish_exact(writer);
	writer->last = write_page(writer, writer->posting.data, writer->last);
	if (writer->head == InvalidBlockNumber)
		writer->head = writer->last;
}

void
br_am_writer_add(BrAmWriter *writer, const BrAmRow *row)
{
	const BrAmShape *shape = &writer->quantizer->shape;
	int rows = BrAmPagePosting(writer->posting.data)->rows;
	BrCode code;

	if (rows == shape->per_posting)
	{
		finish_posting(writer);
		begin_posting(writer);
		rows = 0;
	}
	if (rows % shape->per_exact == 0)
	{
		if (rows > 0)
			finish_exact(writer);
		br_am_page_init(writer->exact.data, BR_AM_PAGE_EXACT, writer->list, shape);
	}
	br_am_quantizer_rotate(writer->quantizer, row->vector);
	br_am_quantizer_encode(writer->quantizer, writer->centroid, &code);
	br_am_page_put(writer->quantizer, writer->posting.data, writer->exact.data, row, &code);
	writer->rows++;
}

void
br_am_writer_end(BrAmWriter *writer, BrAmList *list)
{
	finish_posting(writer);
	list->head = writer->head;
	list->tail = writer->last;
	list->rows = writer->rows;
	pfree(writer);
}
