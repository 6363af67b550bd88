/*
 * check_rows.c
 *	  Compares the rows of an index with those of its table.
 *
 * Both sides are sorted by heap pointer, each row with a hash of what it is
 * indexed by, and then read side by side.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "pg/am/check_int.h"

/* A row, as bytes that sort by heap pointer: numbers are big-endian. */
typedef struct Key
{
	uint32 block;
	uint16 offset;
	uint8 waits; /* to be embedded */
	uint8 unused;
	uint64 hash;
} Key;

StaticAssertDecl(sizeof(Key) == UUID_LEN, "a key is sorted as a UUID");

struct BrAmComparison
{
	Relation heap;
	Relation index;
	bool text;
	Snapshot snapshot;
	Tuplesortstate *in_index;
	Tuplesortstate *in_heap;
	MemoryContext row; /* reset after each */

	/* reading side by side */
	BlockNumber heap_blocks;
	Buffer buffer; /* of the heap page looked at last */
	BufferAccessStrategy strategy;
};

/* ---- keys ---- */

static void
put_key(Tuplesortstate *sort, const ItemPointerData *tid, bool waits, uint64 hash)
{
	Key key = {.block = pg_hton32(ItemPointerGetBlockNumberNoCheck(tid)),
			   .offset = pg_hton16(ItemPointerGetOffsetNumberNoCheck(tid)),
			   .waits = waits,
			   .hash = hash};

	tuplesort_putdatum(sort, PointerGetDatum(&key), false);
}

static bool
next_key(Tuplesortstate *sort, Key *key)
{
	Datum value;
	bool is_null;

	CHECK_FOR_INTERRUPTS();
	if (!tuplesort_getdatum(sort, true, &value, &is_null, NULL))
		return false;
	memcpy(key, DatumGetPointer(value), sizeof(Key));
	pfree(DatumGetPointer(value));
	return true;
}

/* Of heap pointers only. */
static int
compare_keys(const Key *left, const Key *right)
{
	return memcmp(left, right, offsetof(Key, waits));
}

static uint64
hash_of_vector(const uint16 *vector, int dims)
{
	return hash_bytes_extended((const unsigned char *) vector, dims * (int) sizeof(uint16), 0);
}

static uint64
hash_of_text_hash(const uint8 *hash)
{
	uint64 first;

	memcpy(&first, hash, sizeof(first));
	return first;
}

/* ---- the index's side ---- */

static Tuplesortstate *
begin_sort(void)
{
	Oid less = lookup_type_cache(UUIDOID, TYPECACHE_LT_OPR)->lt_opr;

	return tuplesort_begin_datum(UUIDOID, less, InvalidOid, false, maintenance_work_mem / 2, NULL,
								 TUPLESORT_NONE);
}

/* A snapshot by which the index must hold every row that it sees. */
static Snapshot
take_snapshot(Relation index)
{
	Snapshot snapshot = RegisterSnapshot(GetTransactionSnapshot());

	if (IsolationUsesXactSnapshot() && index->rd_index->indcheckxmin &&
		!TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
							   snapshot->xmin))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is too new for the transaction's snapshot",
						RelationGetRelationName(index)),
				 errhint("Check it in a transaction that begins now, or in READ COMMITTED.")));
	return snapshot;
}

BrAmComparison *
br_am_compare_begin(Relation heap, Relation index)
{
	BrAmComparison *comparison = palloc0(sizeof(BrAmComparison));

	comparison->heap = heap;
	comparison->index = index;
	comparison->text = br_am_is_text(index);
	comparison->snapshot = take_snapshot(index);
	comparison->in_index = begin_sort();
	comparison->in_heap = begin_sort();
	comparison->row =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann row", ALLOCSET_DEFAULT_SIZES);
	return comparison;
}

void
br_am_compare_add(BrAmComparison *comparison, const BrAmRow *row, int dims)
{
	put_key(comparison->in_index, &row->tid, false,
			comparison->text ? hash_of_text_hash(row->hash) : hash_of_vector(row->vector, dims));
}

void
br_am_compare_add_pending(BrAmComparison *comparison, const BrAmRow *row)
{
	put_key(comparison->in_index, &row->tid, true, hash_of_text_hash(row->hash));
}

/* ---- the table's side ---- */

static void
add_heap_row(Relation index pg_attribute_unused(), ItemPointer tid, Datum *values, bool *is_null,
			 bool is_alive pg_attribute_unused(), void *state)
{
	BrAmComparison *comparison = state;
	MemoryContext caller;
	uint64 hash;

	if (is_null[0])
		return;
	caller = MemoryContextSwitchTo(comparison->row);
	if (comparison->text)
	{
		uint8 text_hash[BR_AM_TEXT_HASH_SIZE];

		br_am_text_hash(TextDatumGetCString(values[0]), text_hash);
		hash = hash_of_text_hash(text_hash);
	}
	else
	{
		const BrEmbedding *embedding = DatumGetEmbedding(values[0]);

		hash = hash_of_vector(embedding->components, embedding->dims);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(comparison->row);
	put_key(comparison->in_heap, tid, false, hash);
}

static void
read_heap(BrAmComparison *comparison)
{
	IndexInfo *info = BuildIndexInfo(comparison->index);
	TableScanDesc scan =
		table_beginscan_strat(comparison->heap, comparison->snapshot, 0, NULL, true, true);
	BrPgRights saved;

	/* rows that the snapshot sees, rather than all that are not dead to everyone */
	info->ii_Concurrent = true;
	/* expressions and predicates are the owner's */
	br_pg_enter_role(&saved, comparison->heap->rd_rel->relowner);
	table_index_build_scan(comparison->heap, comparison->index, info, true, false, add_heap_row,
						   comparison, scan);
	br_pg_leave(&saved);
}

/* ---- side by side ---- */

static void
report_row(const BrAmComparison *comparison, const Key *key, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" does not agree with table \"%s\"",
					RelationGetRelationName(comparison->index),
					RelationGetRelationName(comparison->heap)),
			 errdetail("Row (%u,%u) %s.", pg_ntoh32(key->block), pg_ntoh16(key->offset), what),
			 errhint("REINDEX INDEX makes it anew; see to the cause, such as a failing disk.")));
}

static void
look_at_heap_page(BrAmComparison *comparison, BlockNumber block)
{
	if (BufferIsValid(comparison->buffer))
	{
		if (BufferGetBlockNumber(comparison->buffer) == block)
			return;
		ReleaseBuffer(comparison->buffer);
	}
	comparison->buffer =
		ReadBufferExtended(comparison->heap, MAIN_FORKNUM, block, RBM_NORMAL, comparison->strategy);
}

/* Whether a heap pointer leads to where a row is or was: no vacuum has taken it away yet. */
static bool
leads_to_row(Page page, OffsetNumber offset)
{
	ItemId item;

	if (offset < FirstOffsetNumber || offset > PageGetMaxOffsetNumber(page))
		return false;
	item = PageGetItemId(page, offset);
	if (!ItemIdIsNormal(item))
		return ItemIdIsUsed(item);
	return !HeapTupleHeaderIsHeapOnly((HeapTupleHeader) PageGetItem(page, item));
}

static void
check_pointer(BrAmComparison *comparison, const Key *key)
{
	BlockNumber block = pg_ntoh32(key->block);
	bool sound;

	if (comparison->heap->rd_rel->relam != HEAP_TABLE_AM_OID)
		return;
	if (block >= comparison->heap_blocks)
		comparison->heap_blocks = RelationGetNumberOfBlocks(comparison->heap);
	if (block >= comparison->heap_blocks)
		report_row(comparison, key, "of the index lies beyond the end of the table");
	look_at_heap_page(comparison, block);
	LockBuffer(comparison->buffer, BUFFER_LOCK_SHARE);
	sound = leads_to_row(BufferGetPage(comparison->buffer), pg_ntoh16(key->offset));
	LockBuffer(comparison->buffer, BUFFER_LOCK_UNLOCK);
	if (!sound)
		report_row(comparison, key, "of the index is none of the table");
}

/* The next row of the index; a row that moved from those that wait to a list is one. */
static bool
next_of_index(BrAmComparison *comparison, Key *key)
{
	Key last = *key;

	while (next_key(comparison->in_index, key))
	{
		if (compare_keys(key, &last) != 0)
			return true;
		if (!key->waits)
			report_row(comparison, key, "is in the index more than once");
	}
	return false;
}

static void
compare(BrAmComparison *comparison)
{
	Key of_index = {.block = pg_hton32(InvalidBlockNumber)};
	Key of_heap;
	bool more = next_key(comparison->in_heap, &of_heap);

	while (next_of_index(comparison, &of_index))
	{
		check_pointer(comparison, &of_index);
		if (more && compare_keys(&of_heap, &of_index) < 0)
			report_row(comparison, &of_heap, "is not in the index");
		if (!more || compare_keys(&of_heap, &of_index) != 0)
			continue;
		if (of_index.hash != of_heap.hash)
			report_row(comparison, &of_heap, "has another value in the index");
		more = next_key(comparison->in_heap, &of_heap);
	}
	if (more)
		report_row(comparison, &of_heap, "is not in the index");
}

void
br_am_compare_end(BrAmComparison *comparison)
{
	read_heap(comparison);
	comparison->strategy = GetAccessStrategy(BAS_BULKREAD);
	tuplesort_performsort(comparison->in_index);
	tuplesort_performsort(comparison->in_heap);
	compare(comparison);
	if (BufferIsValid(comparison->buffer))
		ReleaseBuffer(comparison->buffer);
	FreeAccessStrategy(comparison->strategy);
	tuplesort_end(comparison->in_index);
	tuplesort_end(comparison->in_heap);
	UnregisterSnapshot(comparison->snapshot);
}
