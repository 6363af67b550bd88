/*
 * writer.c
 *	  Whole lists, written page after page.
 *
 * Pages are filled in memory and written once. A posting page names its
 * successor, so that it is written when the block of that one is known.
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
	BlockNumber full_block;	  /* of `full`; InvalidBlockNumber: there is none */
	PGAlignedBlock full;	  /* a posting page that waits for its successor's block */
	PGAlignedBlock posting;	  /* being filled */
	PGAlignedBlock exact;	  /* being filled */
};

static BlockNumber
new_block(Relation index)
{
	Buffer buffer = br_am_new_buffer(index);
	BlockNumber block = BufferGetBlockNumber(buffer);

	UnlockReleaseBuffer(buffer);
	return block;
}

static void
write_page(const BrAmWriter *writer, BlockNumber block, const char *image)
{
	Buffer buffer = ReadBuffer(writer->index, block);

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (writer->logged)
	{
		GenericXLogState *record = GenericXLogStart(writer->index);

		memcpy(GenericXLogRegisterBuffer(record, buffer, GENERIC_XLOG_FULL_IMAGE), image, BLCKSZ);
		GenericXLogFinish(record);
	}
	else
	{
		memcpy(BufferGetPage(buffer), image, BLCKSZ);
		MarkBufferDirty(buffer);
	}
	UnlockReleaseBuffer(buffer);
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
	writer->full_block = InvalidBlockNumber;
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
	posting->exact[number] = new_block(writer->index);
	write_page(writer, posting->exact[number], writer->exact.data);
}

/* The posting page, full or the last one, gets its block; the one before it is written. */
static void
finish_posting(BrAmWriter *writer)
{
	BlockNumber block;

	finish_exact(writer);
	block = new_block(writer->index);
	if (writer->full_block == InvalidBlockNumber)
		writer->head = block;
	else
	{
		BrAmPageSpecial(writer->full.data)->next = block;
		write_page(writer, writer->full_block, writer->full.data);
	}
	memcpy(writer->full.data, writer->posting.data, BLCKSZ);
	writer->full_block = block;
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
	write_page(writer, writer->full_block, writer->full.data);
	list->head = writer->head;
	list->tail = writer->full_block;
	list->rows = writer->rows;
	pfree(writer);
}
