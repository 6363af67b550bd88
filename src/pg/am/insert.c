/*
 * insert.c
 *	  New rows of the table.
 *
 * An embedding goes to its list at once. A text waits in the pending list for
 * its embedding, because a transformer takes longer than an INSERT should.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/am/am_int.h"

/* Kept for the rows of one statement. */
typedef struct Inserting
{
	BrAmQuantizer quantizer;
	MemoryContext row; /* reset after each */
} Inserting;

static void
raise_other_dims(Relation index, int dims, int dims_of_index)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("an embedding of %d dimensions does not fit index \"%s\", which has %d", dims,
					RelationGetRelationName(index), dims_of_index),
			 errhint("All embeddings of an indexed column must have the same dimensions; declare them, as in embedding(%d).",
					 dims_of_index)));
}

/* The metapage of an index that has dimensions: those of its first row. */
static void
read_meta(Relation index, int dims, BrAmMeta *meta)
{
	br_am_meta_read(index, meta);
	if (meta->dims == 0)
	{
		br_am_check_dims(index, dims);
		br_am_create_first_list(index, dims);
		br_am_meta_read(index, meta);
	}
	if (meta->dims != dims)
		raise_other_dims(index, dims, meta->dims);
}

static Inserting *
begin_inserting(Relation index, IndexInfo *info, int dims)
{
	Inserting *inserting = info->ii_AmCache;
	MemoryContext caller;
	BrAmMeta meta;

	if (inserting != NULL && inserting->quantizer.shape.dims == dims)
		return inserting;
	read_meta(index, dims, &meta);
	caller = MemoryContextSwitchTo(info->ii_Context);
	inserting = palloc0(sizeof(Inserting));
	br_am_quantizer_create(&meta, false, &inserting->quantizer);
	inserting->row =
		AllocSetContextCreate(info->ii_Context, "bundle_ann insert", ALLOCSET_DEFAULT_SIZES);
	info->ii_AmCache = inserting;
	MemoryContextSwitchTo(caller);
	return inserting;
}

static void
insert_embedding(Relation index, IndexInfo *info, Datum value, ItemPointer tid)
{
	BrEmbedding *embedding = DatumGetEmbedding(value);
	Inserting *inserting = begin_inserting(index, info, embedding->dims);
	BrAmRow row = {.tid = *tid, .vector = embedding->components};
	MemoryContext caller = MemoryContextSwitchTo(inserting->row);

	br_am_append(index, &inserting->quantizer, &row, InvalidBuffer, NULL, NULL);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(inserting->row);
}

static void
insert_text(Relation index, Datum value, ItemPointer tid)
{
	MemoryContext work =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann insert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	BrAmMeta meta;

	br_am_meta_read(index, &meta);
	br_am_pending_insert(index, &meta, TextDatumGetCString(value), tid);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

bool
br_am_insert(Relation index, Datum *values, bool *is_null, ItemPointer tid,
			 Relation heap pg_attribute_unused(), IndexUniqueCheck unique pg_attribute_unused(),
			 bool unchanged pg_attribute_unused(), IndexInfo *info)
{
	/* a row without a vector is near to nothing: scans need not find it */
	if (is_null[0])
		return false;
	if (br_am_is_text(index))
		insert_text(index, values[0], tid);
	else
		insert_embedding(index, info, values[0], tid);
	return false;
}
