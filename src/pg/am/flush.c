/*
 * flush.c
 *	  Rows of text from the pending list to their lists, and scans of it.
 *
 * A text is embedded while nothing is locked; then its row moves, one record
 * for each, so that at any moment it is in exactly one place.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "core/math/br_math.h"
#include "pg/am/text_int.h"
#include "pg/model/model.h"

#define BATCH_ROWS 64

/* ---- vectors ---- */

/* What was tokenized with the model has only tokens of its: anything else is damage. */
static void
check_ids(Relation index, const BrModelInfo *model, const BrAmWaiting *waiting)
{
	const BrAmPendingEntry *entry = waiting->entry;
	bool known = entry->n_ids <= model->max_tokens;

	for (int i = 0; i < entry->n_ids && known; i++)
		known = entry->ids[i] >= 0 && entry->ids[i] < model->vocabulary;
	if (!known)
		br_am_report_damage(index, waiting->block,
							"A row that waits on it has tokens that its model does not know");
}

/* Number of the index's model, which must be able to read what waits. */
static int32
model_for(Relation index, BrAmMeta *meta, const BrAmWaiting *waiting, const int *numbers, int n)
{
	int32 model = br_am_model(index, meta);
	const BrModelInfo *info;

	SPI_connect();
	info = br_encoder_info(br_pg_model_encoder(model));
	SPI_finish();
	for (int i = 0; i < n; i++)
		check_ids(index, info, &waiting[numbers[i]]);
	return model;
}

/* Embeds rows whose numbers in waiting are given. */
static void
embed_rows(Relation index, BrAmMeta *meta, const BrAmWaiting *waiting, const int *numbers, int n,
		   uint16 *halves)
{
	int dims = meta->dims;
	int32 model = model_for(index, meta, waiting, numbers, n);
	int32 *offsets = palloc(sizeof(int32) * (n + 1));
	float *floats = palloc(sizeof(float) * dims * n);
	int32 *ids;

	offsets[0] = 0;
	for (int i = 0; i < n; i++)
		offsets[i + 1] = offsets[i] + waiting[numbers[i]].entry->n_ids;
	ids = palloc(sizeof(int32) * offsets[n]);
	for (int i = 0; i < n; i++)
		memcpy(ids + offsets[i], waiting[numbers[i]].entry->ids,
			   sizeof(int32) * waiting[numbers[i]].entry->n_ids);
	br_pg_model_embed_tokens(model, ids, offsets, n, floats);
	for (int i = 0; i < n; i++)
	{
		uint16 *vector = halves + (Size) numbers[i] * dims;

		br_math_half_from_floats(floats + (Size) i * dims, dims, vector);
		if (br_am_vector_is_finite(vector, dims))
			br_am_remember_text(meta, waiting[numbers[i]].entry->hash, vector, dims);
	}
	pfree(ids);
	pfree(floats);
	pfree(offsets);
}

void
br_am_embed_waiting(Relation index, BrAmMeta *meta, const BrAmWaiting *waiting, int n,
					uint16 *halves)
{
	bool pushed = br_am_begin_models();
	int numbers[BATCH_ROWS];
	int n_numbers = 0;

	for (int i = 0; i < n; i++)
	{
		int dims;
		const uint16 *known = br_am_recall_text(meta->model_hash, waiting[i].entry->hash, &dims);

		if (known != NULL && dims == meta->dims)
			memcpy(halves + (Size) i * dims, known, sizeof(uint16) * dims);
		else
			numbers[n_numbers++] = i;
		if (n_numbers == BATCH_ROWS || (i == n - 1 && n_numbers > 0))
		{
			embed_rows(index, meta, waiting, numbers, n_numbers, halves);
			n_numbers = 0;
		}
	}
	br_am_end_models(pushed);
}

BrAmRow *
br_am_pending_rows(Relation index, BrAmMeta *meta, bool with_vectors, int *n)
{
	BrAmWaiting *waiting = br_am_pending_copy(index, 0, PG_INT64_MAX, n);
	BrAmRow *rows = palloc_extended(sizeof(BrAmRow) * Max(*n, 1), MCXT_ALLOC_HUGE);
	uint16 *halves = NULL;

	if (with_vectors && *n > 0)
	{
		halves = palloc_extended(sizeof(uint16) * meta->dims * (Size) *n, MCXT_ALLOC_HUGE);
		br_am_embed_waiting(index, meta, waiting, *n, halves);
	}
	for (int i = 0; i < *n; i++)
	{
		BrAmPendingEntry *entry = waiting[i].entry;
		const uint16 *vector = halves == NULL ? NULL : halves + (Size) i * meta->dims;

		if (vector != NULL && !br_am_vector_is_finite(vector, meta->dims))
			br_am_report_no_vector(index,
								   psprintf("row (%u,%u)", ItemPointerGetBlockNumber(&entry->tid),
											ItemPointerGetOffsetNumber(&entry->tid)));
		rows[i] = (BrAmRow){.tid = entry->tid, .vector = vector};
		memcpy(rows[i].hash, entry->hash, BR_AM_TEXT_HASH_SIZE);
	}
	for (int i = 0; i < *n; i++)
		pfree(waiting[i].entry);
	pfree(waiting);
	return rows;
}

/* ---- moving ---- */

/* What leave looks for. */
typedef struct Leaving
{
	Relation index;
	const BrAmWaiting *waiting;
} Leaving;

static bool
leave(Page page, void *arg)
{
	const Leaving *leaving = arg;
	const BrAmPendingEntry *wanted = leaving->waiting->entry;
	BrAmPendingEntry *entry;
	int at = 0;

	while ((entry = br_am_pending_entry(leaving->index, leaving->waiting->block, page, &at)) !=
		   NULL)
		if (ItemPointerEquals(&entry->tid, unconstify(ItemPointerData *, &wanted->tid)) &&
			memcmp(entry->hash, wanted->hash, BR_AM_TEXT_HASH_SIZE) == 0)
		{
			br_am_pending_take(page, entry, &at);
			return true;
		}
	/* vacuum was faster */
	return false;
}

/* Whether it moved. */
static bool
move_row(Relation index, BrAmQuantizer *quantizer, const BrAmWaiting *waiting, const uint16 *vector)
{
	BrAmRow row = {.tid = waiting->entry->tid, .vector = vector};
	Leaving leaving = {index, waiting};
	Buffer buffer = ReadBuffer(index, waiting->block);
	bool moved;

	memcpy(row.hash, waiting->entry->hash, BR_AM_TEXT_HASH_SIZE);
	moved = br_am_append(index, quantizer, &row, buffer, leave, &leaving);
	ReleaseBuffer(buffer);
	return moved;
}

/* Moves a batch; *left stays behind because they have no vector. */
static int
move_batch(Relation index, BrAmMeta *meta, BrAmQuantizer *quantizer, const BrAmWaiting *waiting,
		   int n, int64 *left)
{
	uint16 *halves = palloc(sizeof(uint16) * meta->dims * n);
	int moved = 0;

	br_am_embed_waiting(index, meta, waiting, n, halves);
	for (int i = 0; i < n; i++)
	{
		const uint16 *vector = halves + (Size) i * meta->dims;

		CHECK_FOR_INTERRUPTS();
		if (!br_am_vector_is_finite(vector, meta->dims))
			*left += 1;
		else if (move_row(index, quantizer, &waiting[i], vector))
			moved++;
	}
	return moved;
}

/* All that wait at this moment. The caller holds BR_AM_FLUSH_LOCK. */
static int64
flush(Relation index)
{
	MemoryContext work =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann flush", ALLOCSET_DEFAULT_SIZES);
	MemoryContext batch = AllocSetContextCreate(work, "bundle_ann batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);
	BrAmQuantizer quantizer;
	BrAmMeta meta;
	int64 moved = 0;
	int64 left = 0;
	int64 to_do;

	br_am_meta_read(index, &meta);
	to_do = meta.pending;
	if (to_do > 0)
		br_am_quantizer_create(&meta, true, &quantizer);
	MemoryContextSwitchTo(batch);
	while (to_do > 0)
	{
		int n;
		BrAmWaiting *waiting = br_am_pending_copy(index, left, Min(to_do, BATCH_ROWS), &n);

		if (n == 0)
			break;
		moved += move_batch(index, &meta, &quantizer, waiting, n, &left);
		to_do -= n;
		br_am_pending_unlink(index);
		MemoryContextReset(batch);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return moved;
}

int64
br_am_flush(Relation index)
{
	int64 moved;

	if (!br_am_is_text(index))
		return 0;
	LockPage(index, BR_AM_FLUSH_LOCK, ExclusiveLock);
	moved = flush(index);
	UnlockPage(index, BR_AM_FLUSH_LOCK, ExclusiveLock);
	return moved;
}

static void
flush_if_free(Relation index)
{
	if (!ConditionalLockPage(index, BR_AM_FLUSH_LOCK, ExclusiveLock))
		return;
	(void) flush(index);
	UnlockPage(index, BR_AM_FLUSH_LOCK, ExclusiveLock);
}

/* ---- inserting ---- */

static bool
name_model(BrAmMeta *meta, void *arg)
{
	const BrAmMeta *named = arg;

	/* the first to name one decides */
	if (meta->model != 0)
		return false;
	meta->model = named->model;
	meta->precision = named->precision;
	memcpy(meta->model_hash, named->model_hash, BR_PG_HASH_SIZE);
	memcpy(meta->model_name, named->model_name, NAMEDATALEN);
	return true;
}

/* The model of an index, which without rows gets one, and its first list. */
static int32
ready_model(Relation index, BrAmMeta *meta)
{
	int32 model = br_am_model(index, meta);

	if (meta->dims > 0)
		return model;
	(void) br_am_meta_change(index, name_model, meta);
	br_am_meta_read(index, meta);
	if (meta->dims == 0)
	{
		int dims = br_am_model_dims(index, meta);

		br_am_check_dims(index, dims);
		br_am_create_first_list(index, dims);
		br_am_meta_read(index, meta);
	}
	return br_am_model(index, meta);
}

/* A row as it waits. */
static BrAmPendingEntry *
make_entry(Relation index, int32 model, const char *text, ItemPointer tid)
{
	int n;
	int32 *ids = br_pg_model_tokenize(model, text, false, &n);
	BrAmPendingEntry *entry;

	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a text cannot be indexed in \"%s\"", RelationGetRelationName(index)),
				 errdetail("The model gives it no tokens, so it has no embedding."),
				 errhint("Leave such rows out with a partial index.")));
	entry = palloc(BR_AM_PENDING_SIZE(n));
	entry->tid = *tid;
	entry->n_ids = (uint16) Min(n, PG_UINT16_MAX);
	br_am_text_hash(text, entry->hash);
	memcpy(entry->ids, ids, sizeof(int32) * n);
	pfree(ids);
	return entry;
}

/* A row whose token ids are too many for a page. */
static void
insert_at_once(Relation index, BrAmMeta *meta, const char *text, const BrAmPendingEntry *entry)
{
	uint16 *vector = palloc(sizeof(uint16) * meta->dims);
	BrAmRow row = {.tid = entry->tid, .vector = vector};
	BrAmQuantizer quantizer;

	br_am_embed_texts(index, meta, (char *[1]){unconstify(char *, text)}, 1, NULL, vector);
	memcpy(row.hash, entry->hash, BR_AM_TEXT_HASH_SIZE);
	br_am_quantizer_create(meta, true, &quantizer);
	(void) br_am_append(index, &quantizer, &row, InvalidBuffer, NULL, NULL);
}

void
br_am_pending_insert(Relation index, BrAmMeta *meta, const char *text, ItemPointer tid)
{
	bool pushed = br_am_begin_models();
	int32 model = ready_model(index, meta);
	BrAmPendingEntry *entry = make_entry(index, model, text, tid);

	br_am_end_models(pushed);
	if (entry->n_ids > BR_AM_PENDING_MAX_IDS)
		insert_at_once(index, meta, text, entry);
	else if (br_am_pending_append(index, entry) >= (uint32) br_am_option_pending(index))
		flush_if_free(index);
}
