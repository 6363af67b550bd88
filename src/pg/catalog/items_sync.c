/*
 * items_sync.c
 *	  The difference between a source of items and its catalog.
 *
 * Both are read in the order of ids, the source through a sort that spills to
 * disk, the catalog through a cursor, and merged: what only one of them holds
 * is new or gone, what both hold is compared column by column. Memory holds one
 * batch. A catalog that has no items yet, over a source whose ids cannot repeat,
 * takes the rows as they come.
 */
#include "postgres.h"

#include "catalog/pg_collation_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "pg/catalog/items.h"

/* a row of the source in the sort; the order is by the first three */
enum
{
	ID,
	FAULTY,
	PLACE,
	CATEGORY,
	TEXT,
	CREATED_AT,
	NUMBERS,
	ACTIVE = NUMBERS + BR_PG_ITEM_NUMBERS,
	REASON,
	SORT_COLUMNS
};

typedef struct ItemSync
{
	BrPgItemSource *items;
	BrPgSyncCounts *counts;
	Tuplesortstate *sort;
	TupleTableSlot *slot;
	int64 place;
	MemoryContext memory; /* of one row */
	BrPgItemRow *fresh;	  /* beside items->rows, which the catalog knows */
	int n_fresh;
	/* the catalog's side */
	Portal portal;
	SPITupleTable *known;
	uint64 row; /* of known */
} ItemSync;

/* ---- a first load ---- */

static void
write_first(BrPgFeed *feed)
{
	BrPgItemSource *items = (BrPgItemSource *) feed;
	MemoryContext old = MemoryContextSwitchTo(items->memory);
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_items_write_new(items, items->rows, items->n);
	br_pg_rejections_flush(&items->rejections);
	br_pg_leave(&rights);
	items->n = 0;
	items->bytes = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(items->memory);
	CHECK_FOR_INTERRUPTS();
}

static void
add_first(BrPgFeed *feed, TupleTableSlot *slot, BrPgDifference difference)
{
	BrPgItemSource *items = (BrPgItemSource *) feed;
	MemoryContext old = MemoryContextSwitchTo(items->memory);
	BrPgItemRow *row = &items->rows[items->n];

	br_pg_items_read(items, slot, row);
	items->bytes += row->text != NULL ? strlen(row->text) : 0;
	MemoryContextSwitchTo(old);
	if (row->rejected != NULL)
		br_pg_reject(&items->rejections, row->id, row->rejected);
	else
		items->n++;
	if (items->n == BR_PG_BATCH_ROWS || items->bytes > BR_PG_BATCH_BYTES ||
		br_pg_rejections_full(&items->rejections))
		write_first(feed);
}

static void
load_first(BrPgItemSource *items, BrPgSyncCounts *counts)
{
	static const BrPgFeedMethods loading = {.add = add_first};
	const BrPgFeedMethods *methods = items->feed.methods;
	BrPgRights rights;
	bool is_null;

	br_pg_enter_owner(&rights);
	br_pg_children_drop_indexes(items->feed.catalog, "item");
	br_pg_leave(&rights);
	items->feed.methods = &loading;
	br_pg_source_scan(&items->feed);
	write_first(&items->feed);
	items->feed.methods = methods;
	br_pg_enter_owner(&rights);
	br_pg_children_create_indexes(items->feed.catalog, "item");
	br_pg_execute_once_now(br_pg_catalog_sql("SELECT pg_catalog.count(*) FROM bundle_rec.item_state_@",
											 items->feed.catalog),
						   0, NULL, NULL);
	counts->added = DatumGetInt64(br_pg_column(0, 1, &is_null));
	br_pg_leave(&rights);
}

/* ---- the source, sorted ---- */

static Tuplesortstate *
begin_sort(TupleDesc *descriptor)
{
	static const Oid types[SORT_COLUMNS] = {TEXTOID,   BOOLOID,		   INT8OID,	  TEXTOID,
											TEXTOID,   TIMESTAMPTZOID, FLOAT8OID, FLOAT8OID,
											FLOAT8OID, BOOLOID,		   INT8OID};
	AttrNumber keys[] = {ID + 1, FAULTY + 1, PLACE + 1};
	Oid operators[] = {TextLessOperator, lookup_type_cache(BOOLOID, TYPECACHE_LT_OPR)->lt_opr,
					   Int8LessOperator};
	Oid collations[] = {C_COLLATION_OID, InvalidOid, InvalidOid};
	bool nulls_first[] = {false, false, false};

	*descriptor = CreateTemplateTupleDesc(SORT_COLUMNS);
	for (int i = 0; i < SORT_COLUMNS; i++)
		TupleDescInitEntry(*descriptor, i + 1, NULL, types[i], -1, 0);
	TupleDescInitEntryCollation(*descriptor, ID + 1, C_COLLATION_OID);
	return tuplesort_begin_heap(*descriptor, lengthof(keys), keys, operators, collations,
								nulls_first, maintenance_work_mem, NULL, TUPLESORT_NONE);
}

static void
put_text(TupleTableSlot *slot, int column, const char *text)
{
	slot->tts_isnull[column] = text == NULL;
	slot->tts_values[column] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

typedef struct SortingFeed
{
	BrPgFeed feed; /* a copy of the items', but for its methods */
	ItemSync *sync;
} SortingFeed;

static void
add_sorted(BrPgFeed *feed, TupleTableSlot *source_slot, BrPgDifference difference)
{
	ItemSync *sync = ((SortingFeed *) feed)->sync;
	BrPgItemSource *items = sync->items;
	MemoryContext old = MemoryContextSwitchTo(sync->memory);
	TupleTableSlot *slot = sync->slot;
	BrPgItemRow row;

	br_pg_items_read(items, source_slot, &row);
	if (row.id == NULL || row.id[0] == '\0')
	{
		br_pg_reject(&items->rejections, row.id, row.rejected);
		MemoryContextSwitchTo(old);
		MemoryContextReset(sync->memory);
		if (br_pg_rejections_full(&items->rejections))
			items->feed.methods->flush(&items->feed);
		return;
	}
	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, sizeof(bool) * SORT_COLUMNS);
	put_text(slot, ID, row.id);
	slot->tts_values[FAULTY] = BoolGetDatum(row.rejected != NULL);
	slot->tts_values[PLACE] = Int64GetDatum(sync->place++);
	put_text(slot, CATEGORY, row.category);
	put_text(slot, TEXT, row.text);
	slot->tts_values[CREATED_AT] = TimestampTzGetDatum(row.created_at);
	slot->tts_isnull[CREATED_AT] = !row.has_created_at;
	for (int i = 0; i < BR_PG_ITEM_NUMBERS; i++)
	{
		slot->tts_values[NUMBERS + i] = Float8GetDatum(row.number[i]);
		slot->tts_isnull[NUMBERS + i] = !row.known[i];
	}
	slot->tts_values[ACTIVE] = BoolGetDatum(row.active);
	/* a constant of this library */
	slot->tts_values[REASON] = Int64GetDatum((int64) (intptr_t) row.rejected);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(sync->sort, slot);
	MemoryContextSwitchTo(old);
	MemoryContextReset(sync->memory);
}

static void
sort_source(ItemSync *sync)
{
	static const BrPgFeedMethods sorting = {.add = add_sorted};
	SortingFeed feed = {.feed = sync->items->feed, .sync = sync};
	TupleDesc descriptor;

	sync->sort = begin_sort(&descriptor);
	sync->slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsVirtual);
	feed.feed.methods = &sorting;
	br_pg_source_scan(&feed.feed);
	ExecDropSingleTupleTableSlot(sync->slot);
	tuplesort_performsort(sync->sort);
	sync->slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsMinimalTuple);
}

static char *
get_text(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : TextDatumGetCString(slot->tts_values[column]);
}

/* the next row of the sorted source, in the memory of one row; false at the end */
static bool
next_row(ItemSync *sync, BrPgItemRow *row)
{
	TupleTableSlot *slot = sync->slot;
	MemoryContext old;

	if (!tuplesort_gettupleslot(sync->sort, true, false, slot, NULL))
		return false;
	slot_getallattrs(slot);
	MemoryContextReset(sync->memory);
	old = MemoryContextSwitchTo(sync->memory);
	memset(row, 0, sizeof(*row));
	row->id = get_text(slot, ID);
	row->category = get_text(slot, CATEGORY);
	row->text = get_text(slot, TEXT);
	row->has_created_at = !slot->tts_isnull[CREATED_AT];
	row->created_at = DatumGetTimestampTz(slot->tts_values[CREATED_AT]);
	for (int i = 0; i < BR_PG_ITEM_NUMBERS; i++)
	{
		row->known[i] = !slot->tts_isnull[NUMBERS + i];
		row->number[i] = row->known[i] ? DatumGetFloat8(slot->tts_values[NUMBERS + i]) : 0;
	}
	row->active = DatumGetBool(slot->tts_values[ACTIVE]);
	row->rejected = (const char *) (intptr_t) DatumGetInt64(slot->tts_values[REASON]);
	MemoryContextSwitchTo(old);
	return true;
}

/* ---- the catalog, sorted ---- */

/* columns of the cursor */
enum
{
	KNOWN_ID = 1,
	KNOWN_CATEGORY,
	KNOWN_CREATED_AT,
	KNOWN_HASH,
	KNOWN_LIVE,
	KNOWN_NUMBERS,
	KNOWN_ACTIVE = KNOWN_NUMBERS + BR_PG_ITEM_NUMBERS
};

static void
open_known(ItemSync *sync)
{
	sync->portal = br_pg_open_latest(
		br_pg_catalog_sql("SELECT i.item_id, i.category, i.created_at, i.text_hash, s.item IS NOT NULL,"
						  " s.price, s.cost, s.stock, s.active FROM bundle_rec.item_@ i"
						  " LEFT JOIN bundle_rec.item_state_@ s USING (item) ORDER BY i.item_id",
						  sync->items->feed.catalog));
}

/* moves on; false at the end */
static bool
next_known(ItemSync *sync)
{
	if (sync->known != NULL && ++sync->row < sync->known->numvals)
		return true;
	if (sync->known != NULL)
		SPI_freetuptable(sync->known);
	sync->known = NULL;
	sync->row = 0;
	if (!br_pg_fetch(sync->portal))
		return false;
	sync->known = SPI_tuptable;
	return true;
}

static Datum
known_column(const ItemSync *sync, int column, bool *is_null)
{
	return SPI_getbinval(sync->known->vals[sync->row], sync->known->tupdesc, column, is_null);
}

static bool
same_text(const ItemSync *sync, int column, const char *wanted)
{
	bool is_null;
	Datum value = known_column(sync, column, &is_null);
	text *there;

	if (is_null || wanted == NULL)
		return is_null && wanted == NULL;
	there = DatumGetTextPP(value);
	return VARSIZE_ANY_EXHDR(there) == strlen(wanted) &&
		memcmp(VARDATA_ANY(there), wanted, strlen(wanted)) == 0;
}

static bool
same_hash(const ItemSync *sync, const char *wanted)
{
	bool is_null;
	Datum value = known_column(sync, KNOWN_HASH, &is_null);
	bytea *hash;

	if (is_null || wanted == NULL)
		return is_null && wanted == NULL;
	hash = DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, CStringGetTextDatum(wanted)));
	return memcmp(VARDATA_ANY(DatumGetByteaPP(value)), VARDATA_ANY(hash), 32) == 0;
}

static BrPgDifference
compare_row(const ItemSync *sync, const BrPgItemRow *row)
{
	bool is_null;
	Datum value;

	if (!DatumGetBool(known_column(sync, KNOWN_LIVE, &is_null)))
		return BR_PG_ID_DIFFERS;
	value = known_column(sync, KNOWN_CREATED_AT, &is_null);
	if (is_null == row->has_created_at ||
		(!is_null && DatumGetTimestampTz(value) != row->created_at) ||
		!same_text(sync, KNOWN_CATEGORY, row->category) || !same_hash(sync, row->text))
		return BR_PG_TEXT_DIFFERS;
	if (DatumGetBool(known_column(sync, KNOWN_ACTIVE, &is_null)) != row->active)
		return BR_PG_ACTIVE_DIFFERS;
	for (int i = 0; i < BR_PG_ITEM_NUMBERS; i++)
	{
		value = known_column(sync, KNOWN_NUMBERS + i, &is_null);
		if (is_null == row->known[i] || (!is_null && DatumGetFloat8(value) != row->number[i]))
			return BR_PG_STATE_DIFFERS;
	}
	return BR_PG_SAME;
}

/* ---- merging ---- */

static void
write_batch(ItemSync *sync)
{
	BrPgItemSource *items = sync->items;
	MemoryContext old = MemoryContextSwitchTo(items->memory);
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_prefer_generic_plans();
	br_pg_items_write_new(items, sync->fresh, sync->n_fresh);
	br_pg_items_write_removed(items, items->removed, items->n_removed);
	if (items->n > 0)
		br_pg_items_write(items, items->rows, items->n);
	br_pg_rejections_flush(&items->rejections);
	br_pg_leave(&rights);
	items->n = items->n_removed = sync->n_fresh = 0;
	items->bytes = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(items->memory);
	CHECK_FOR_INTERRUPTS();
}

static bool
batch_full(const ItemSync *sync)
{
	return sync->items->n == BR_PG_BATCH_ROWS || sync->items->n_removed == BR_PG_BATCH_ROWS ||
		sync->n_fresh == BR_PG_BATCH_ROWS || sync->items->bytes > BR_PG_BATCH_BYTES ||
		br_pg_rejections_full(&sync->items->rejections);
}

/* the item at the cursor is in the source no more, or cannot be taken from it */
static void
remove_known(ItemSync *sync)
{
	BrPgItemSource *items = sync->items;
	MemoryContext old;
	bool is_null;

	if (!DatumGetBool(known_column(sync, KNOWN_LIVE, &is_null)))
		return;
	old = MemoryContextSwitchTo(items->memory);
	items->removed[items->n_removed++] =
		TextDatumGetCString(known_column(sync, KNOWN_ID, &is_null));
	MemoryContextSwitchTo(old);
	sync->counts->removed++;
	if (batch_full(sync))
		write_batch(sync);
}

/* moves the cursor to an id, past items that the source does not hold; whether it is there */
static bool
find_known(ItemSync *sync, const char *id, bool *more)
{
	while (*more)
	{
		bool is_null;
		text *there = DatumGetTextPP(known_column(sync, KNOWN_ID, &is_null));
		int order = varstr_cmp(VARDATA_ANY(there), VARSIZE_ANY_EXHDR(there), id, (int) strlen(id),
							   C_COLLATION_OID);

		if (order >= 0)
			return order == 0;
		remove_known(sync);
		*more = next_known(sync);
	}
	return false;
}

/* into the batch: the memory of one row does not last */
static void
keep_row(ItemSync *sync, const BrPgItemRow *row, BrPgItemRow *kept)
{
	MemoryContext old = MemoryContextSwitchTo(sync->items->memory);

	*kept = *row;
	kept->id = pstrdup(row->id);
	kept->category = row->category == NULL ? NULL : pstrdup(row->category);
	kept->text = row->text == NULL ? NULL : pstrdup(row->text);
	sync->items->bytes += row->text == NULL ? 0 : strlen(row->text);
	MemoryContextSwitchTo(old);
}

/* a sound row of the source, which is the item at the cursor where that is known */
static void
take_row(ItemSync *sync, BrPgItemRow *row, bool is_known)
{
	BrPgItemSource *items = sync->items;
	MemoryContext old;

	if (!is_known)
	{
		keep_row(sync, row, &sync->fresh[sync->n_fresh++]);
		sync->counts->added++;
		return;
	}
	old = MemoryContextSwitchTo(sync->memory);
	row->difference = compare_row(sync, row);
	MemoryContextSwitchTo(old);
	if (row->difference == BR_PG_SAME)
		return;
	if (row->difference == BR_PG_ID_DIFFERS)
		sync->counts->added++;
	else
		sync->counts->changed++;
	keep_row(sync, row, &items->rows[items->n++]);
}

static void
merge(ItemSync *sync)
{
	StringInfoData previous;
	BrPgItemRow row;
	bool more;

	initStringInfo(&previous);
	open_known(sync);
	more = next_known(sync);
	while (next_row(sync, &row))
	{
		bool again = previous.len > 0 && strcmp(previous.data, row.id) == 0;
		bool is_known = !again && find_known(sync, row.id, &more);

		/* of equal ids the first sound one came first */
		if (again || row.rejected != NULL)
			br_pg_reject(&sync->items->rejections, row.id,
						 row.rejected != NULL ? row.rejected : BR_PG_DUPLICATE_ID);
		else
			take_row(sync, &row, is_known);
		if (is_known && row.rejected != NULL)
			remove_known(sync);
		if (is_known)
			more = next_known(sync);
		if (batch_full(sync))
			write_batch(sync);
		resetStringInfo(&previous);
		appendStringInfoString(&previous, row.id);
	}
	while (more)
	{
		remove_known(sync);
		more = next_known(sync);
	}
	write_batch(sync);
}

static void
sync_known(BrPgItemSource *items, BrPgSyncCounts *counts)
{
	ItemSync sync = {.items = items, .counts = counts};

	sync.memory = AllocSetContextCreate(CurrentMemoryContext, "item", ALLOCSET_DEFAULT_SIZES);
	sync.fresh = palloc(sizeof(BrPgItemRow) * BR_PG_BATCH_ROWS);
	sort_source(&sync);
	merge(&sync);
	ExecDropSingleTupleTableSlot(sync.slot);
	tuplesort_end(sync.sort);
	MemoryContextDelete(sync.memory);
}

/* ---- the whole ---- */

void
br_pg_items_sync(const BrPgCatalog *catalog, Relation source, BrPgSyncCounts *counts)
{
	BrPgItemSource *items = (BrPgItemSource *) br_pg_items_open(catalog, source, NULL);
	BrPgRights rights;
	bool first;

	memset(counts, 0, sizeof(*counts));
	br_pg_enter_owner(&rights);
	br_pg_rejections_clear(&items->rejections);
	first = items->unique &&
		br_pg_execute_once_now(br_pg_catalog_sql("SELECT FROM bundle_rec.item_@ LIMIT 1",
												 catalog->number),
							   0, NULL, NULL) == 0;
	br_pg_leave(&rights);
	if (first)
		load_first(items, counts);
	else
		sync_known(items, counts);
	counts->rejected = items->rejections.total;
	items->feed.methods->close(&items->feed);
}
