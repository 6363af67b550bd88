/*
 * retry.c
 *	  Items that were set aside because another row had their id, once that row
 *	  is gone.
 *
 * Every other fault is of the row itself, and the row is looked at again when
 * it changes. This one is not: nothing tells that the other row went but the
 * catalog's own tables.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "pg/catalog/items.h"

/* Passes on the rows whose ids are wanted. */
typedef struct RetryFeed
{
	BrPgFeed feed; /* a copy of the items', but for its methods */
	BrPgItemSource *items;
	char **ids; /* (n), sorted */
	int n;
	MemoryContext memory; /* of one row */
} RetryFeed;

static int
compare_strings(const void *left, const void *right)
{
	return strcmp(*(char *const *) left, *(char *const *) right);
}

static void
add_wanted(BrPgFeed *feed, TupleTableSlot *slot, BrPgDifference difference)
{
	RetryFeed *retry = (RetryFeed *) feed;
	MemoryContext old = MemoryContextSwitchTo(retry->memory);
	char *id = br_pg_column_read_text(&retry->items->id, slot);
	bool wanted =
		id != NULL && bsearch(&id, retry->ids, retry->n, sizeof(char *), compare_strings) != NULL;

	MemoryContextSwitchTo(old);
	MemoryContextReset(retry->memory);
	if (wanted)
		retry->items->feed.methods->add(&retry->items->feed, slot, difference);
}

/* ids that were refused to one row and that no row has now */
static char **
free_ids(const BrPgCatalog *catalog, int *n)
{
	static const Oid types[] = {INT4OID, OIDOID, TEXTOID};
	Datum values[] = {Int32GetDatum(catalog->number), ObjectIdGetDatum(catalog->items),
					  CStringGetTextDatum(BR_PG_DUPLICATE_ID)};
	BrPgRights rights;
	char **ids;

	br_pg_enter_owner(&rights);
	*n = (int)
		br_pg_execute_once_now(br_pg_catalog_sql("SELECT DISTINCT r.row_id FROM bundle_rec.rejected r"
												 " LEFT JOIN bundle_rec.item_@ i ON i.item_id = r.row_id"
												 " LEFT JOIN bundle_rec.item_state_@ s ON s.item = i.item"
												 " WHERE r.catalog = $1 AND r.origin = $2 AND r.reason = $3"
												 " AND s.item IS NULL",
												 catalog->number),
							   lengthof(types), types, values);
	br_pg_leave(&rights);
	ids = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		ids[i] = br_pg_column_text(i, 1);
	qsort(ids, *n, sizeof(char *), compare_strings);
	return ids;
}

/* the rows that are there still will be judged anew */
static void
forget_rejections(const BrPgCatalog *catalog, char **ids, int n)
{
	static const Oid types[] = {INT4OID, OIDOID, TEXTOID, TEXTARRAYOID};
	Datum values[] = {Int32GetDatum(catalog->number), ObjectIdGetDatum(catalog->items),
					  CStringGetTextDatum(BR_PG_DUPLICATE_ID), br_pg_text_array_datum(ids, n)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute_now("DELETE FROM bundle_rec.rejected WHERE catalog = $1 AND origin = $2"
					  " AND reason = $3 AND row_id = ANY ($4)",
					  lengthof(types), types, values);
	br_pg_leave(&rights);
}

/*
 * Rows that triggers follow must not change meanwhile, in partitions neither;
 * but refresh never waits for the shop.
 */
static bool
lock_source(Oid source)
{
	ListCell *cell;

	if (!ConditionalLockRelationOid(source, ShareRowExclusiveLock) ||
		!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(source)))
		return false;
	foreach (cell, find_all_inheritors(source, NoLock, NULL))
		if (!ConditionalLockRelationOid(lfirst_oid(cell), ShareRowExclusiveLock))
			return false;
	return true;
}

void
br_pg_retry_items(const BrPgCatalog *catalog)
{
	static const BrPgFeedMethods retrying = {.add = add_wanted};
	RetryFeed retry = {.n = 0};
	Relation source;
	char *problem = NULL;

	retry.ids = free_ids(catalog, &retry.n);
	if (retry.n == 0 || !lock_source(catalog->items))
		return;
	forget_rejections(catalog, retry.ids, retry.n);
	source = table_open(catalog->items, NoLock);
	retry.items = (BrPgItemSource *) br_pg_items_open(catalog, source, &problem);
	if (retry.items != NULL && br_pg_source_kind(source) != BR_PG_SOURCE_ASKED)
	{
		retry.memory =
			AllocSetContextCreate(CurrentMemoryContext, "retried row", ALLOCSET_DEFAULT_SIZES);
		retry.feed = retry.items->feed;
		retry.feed.methods = &retrying;
		br_pg_source_scan(&retry.feed);
		retry.items->feed.methods->close(&retry.items->feed);
	}
	table_close(source, NoLock);
}
