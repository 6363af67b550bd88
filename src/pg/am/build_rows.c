/*
 * build_rows.c
 *	  The rows of the table, from it to a temporary file and from there.
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/math/br_math.h"
#include "pg/am/build_int.h"

/* texts that are embedded together: enough for the encoder to sort them by length */
#define BATCH_TEXTS 512
#define BATCH_BYTES (1024 * 1024)

/* What the table's rows are gathered in. */
typedef struct Reading
{
	BrAmBuild *build;
	MemoryContext row;	 /* reset after each row */
	MemoryContext batch; /* of texts; reset after each batch */
	int n_texts;
	size_t text_bytes;
	char *texts[BATCH_TEXTS];
	ItemPointerData tids[BATCH_TEXTS];
} Reading;

/* ---- the temporary file ---- */

/* The first row decides on the dimensions. */
static void
set_dims(BrAmBuild *build, int dims)
{
	br_am_check_dims(build->index, dims);
	build->meta.dims = dims;
	br_am_shape(&build->shape, dims, br_am_is_text(build->index));
	build->row_bytes = sizeof(ItemPointerData) + build->shape.entry_bytes;
	build->row = MemoryContextAllocZero(GetMemoryChunkContext(build), build->row_bytes);
}

static void
write_row(BrAmBuild *build, ItemPointer tid, const uint8 *hash, const uint16 *vector)
{
	char *at = build->row;

	memcpy(at, tid, sizeof(ItemPointerData));
	at += sizeof(ItemPointerData);
	if (build->shape.text)
		memcpy(at, hash, BR_AM_TEXT_HASH_SIZE);
	memcpy(at + build->shape.vector_offset, vector, sizeof(uint16) * build->shape.dims);
	BufFileWrite(build->rows, build->row, build->row_bytes);
	build->n_rows++;
}

void
br_am_build_rewind(BrAmBuild *build)
{
	if (BufFileSeek(build->rows, 0, 0, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not rewind a temporary file: %m")));
}

void
br_am_build_parse(BrAmBuild *build, BrAmRow *row)
{
	const char *at = build->row;

	memcpy(&row->tid, at, sizeof(ItemPointerData));
	at += sizeof(ItemPointerData);
	if (build->shape.text)
		memcpy(row->hash, at, BR_AM_TEXT_HASH_SIZE);
	row->vector = (const uint16 *) (at + build->shape.vector_offset);
}

bool
br_am_build_next(BrAmBuild *build, BrAmRow *row)
{
	size_t got = BufFileRead(build->rows, build->row, build->row_bytes);

	if (got == 0)
		return false;
	if (got != (size_t) build->row_bytes)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read from a temporary file")));
	br_am_build_parse(build, row);
	return true;
}

void
br_am_build_vector(const BrAmBuild *build, const BrAmRow *row, float *vector)
{
	int dims = build->shape.dims;

	br_math_half_to_floats(row->vector, dims, vector);
	if (build->meta.metric == BR_METRIC_COSINE)
	{
		double squared_norm = br_ann_squared_norm(row->vector, dims);
		float factor = squared_norm > 0 ? (float) (1 / sqrt(squared_norm)) : 0;

		for (int i = 0; i < dims; i++)
			vector[i] *= factor;
	}
}

/* ---- the table ---- */

static void
read_embedding(Relation index, ItemPointer tid, Datum *values, bool *is_null,
			   bool is_alive pg_attribute_unused(), void *state)
{
	Reading *reading = state;
	BrAmBuild *build = reading->build;
	MemoryContext caller;
	BrEmbedding *embedding;

	if (is_null[0])
		return;
	caller = MemoryContextSwitchTo(reading->row);
	embedding = DatumGetEmbedding(values[0]);
	if (build->meta.dims == 0)
		set_dims(build, embedding->dims);
	if (embedding->dims != build->meta.dims)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("embeddings of %d and of %d dimensions cannot be in one index",
						build->meta.dims, embedding->dims),
				 errdetail("Index \"%s\", row (%u,%u) of table \"%s\".",
						   RelationGetRelationName(index), ItemPointerGetBlockNumber(tid),
						   ItemPointerGetOffsetNumber(tid), RelationGetRelationName(build->heap)),
				 errhint("Leave rows out with a partial index, or declare the column's dimensions, as in embedding(%d).",
						 build->meta.dims)));
	write_row(build, tid, NULL, embedding->components);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(reading->row);
}

static void
embed_batch(Reading *reading)
{
	BrAmBuild *build = reading->build;
	MemoryContext caller = MemoryContextSwitchTo(reading->batch);
	int n = reading->n_texts;
	uint16 *vectors;

	if (n > 0)
	{
		if (build->meta.dims == 0)
			set_dims(build, br_am_model_dims(build->index, &build->meta));
		vectors = palloc(sizeof(uint16) * build->meta.dims * n);
		br_am_embed_texts(build->index, &build->meta, reading->texts, n, build->pool, vectors);
		for (int i = 0; i < n; i++)
		{
			uint8 hash[BR_AM_TEXT_HASH_SIZE];

			br_am_text_hash(reading->texts[i], hash);
			write_row(build, &reading->tids[i], hash, vectors + (size_t) i * build->meta.dims);
		}
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(reading->batch);
	reading->n_texts = 0;
	reading->text_bytes = 0;
}

static void
read_text(Relation index pg_attribute_unused(), ItemPointer tid, Datum *values, bool *is_null,
		  bool is_alive pg_attribute_unused(), void *state)
{
	Reading *reading = state;
	MemoryContext caller;

	if (is_null[0])
		return;
	caller = MemoryContextSwitchTo(reading->batch);
	reading->texts[reading->n_texts] = TextDatumGetCString(values[0]);
	reading->text_bytes += strlen(reading->texts[reading->n_texts]);
	reading->tids[reading->n_texts++] = *tid;
	MemoryContextSwitchTo(caller);
	if (reading->n_texts == BATCH_TEXTS || reading->text_bytes >= BATCH_BYTES)
		embed_batch(reading);
}

void
br_am_build_read(BrAmBuild *build)
{
	bool text = br_am_is_text(build->index);
	Reading *reading = palloc0(sizeof(Reading));

	reading->build = build;
	reading->row =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann row", ALLOCSET_DEFAULT_SIZES);
	reading->batch =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann texts", ALLOCSET_DEFAULT_SIZES);
	br_am_build_begin_phase(BR_AM_PHASE_READ, 0);
	build->rows = BufFileCreateTemp(false);
	build->heap_rows = table_index_build_scan(build->heap, build->index, build->info, true, true,
											  text ? read_text : read_embedding, reading, NULL);
	if (text)
		embed_batch(reading);
	MemoryContextDelete(reading->row);
	MemoryContextDelete(reading->batch);
}
