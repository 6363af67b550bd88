/*
 * items.c
 *	  Rows of a catalog's source, read, judged and gathered in batches.
 *
 * A batch is sorted by id, so that two writers meet in the same order, freed of
 * rows that the catalog cannot take, and handed to items_write.c. An
 * item without a row in item_state_<n> is not in the source (any more): its
 * number, counts and embedding stay, it is not offered.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/catalog/items.h"

static const BrPgFeedMethods item_methods;

static const char *const out_of_range[] = {"its price is negative, NaN or infinite",
										   "its cost is negative, NaN or infinite",
										   "its stock is negative, NaN or infinite"};

/* ---- opening ---- */

static bool
find_column(BrPgItemSource *items, const char *name, BrPgColumnKind kind, BrPgColumn *column,
			char **problem)
{
	if (!br_pg_column_find(items->feed.source, name, kind, column, problem))
		return false;
	if (column->number != 0)
		items->feed.columns = bms_add_member(items->feed.columns, column->number);
	return true;
}

static bool
find_columns(BrPgItemSource *items, char **problem)
{
	const BrPgCatalog *catalog = items->catalog;
	const char *numbers[] = {catalog->price, catalog->cost, catalog->stock};

	if (!find_column(items, catalog->item_id, BR_PG_COLUMN_TEXT, &items->id, problem) ||
		!find_column(items, catalog->category, BR_PG_COLUMN_TEXT, &items->category, problem) ||
		!find_column(items, catalog->active, BR_PG_COLUMN_BOOLEAN, &items->active, problem) ||
		!find_column(items, catalog->created_at, BR_PG_COLUMN_TIME, &items->created_at, problem))
		return false;
	for (int i = 0; i < BR_PG_ITEM_NUMBERS; i++)
		if (!find_column(items, numbers[i], BR_PG_COLUMN_NUMBER, &items->number[i], problem))
			return false;
	for (int i = 0; i < catalog->n_text; i++)
		if (!find_column(items, catalog->text[i], BR_PG_COLUMN_TEXT, &items->text[i], problem))
			return false;
	return true;
}

BrPgFeed *
br_pg_items_open(const BrPgCatalog *catalog, Relation source, char **problem)
{
	BrPgItemSource *items = palloc0(sizeof(BrPgItemSource));

	items->feed.methods = &item_methods;
	items->feed.catalog = catalog->number;
	items->feed.catalog_name = catalog->name;
	items->feed.origin = catalog->items;
	items->feed.source = source;
	items->catalog = catalog;
	items->text = palloc0(sizeof(BrPgColumn) * Max(catalog->n_text, 1));
	if (!find_columns(items, problem))
		return NULL;
	/* an index of one partition says nothing about the others */
	items->unique =
		RelationGetRelid(source) == catalog->items && br_pg_column_is_unique(source, &items->id);
	items->memory =
		AllocSetContextCreate(CurrentMemoryContext, "item batch", ALLOCSET_DEFAULT_SIZES);
	items->rows = palloc(sizeof(BrPgItemRow) * BR_PG_BATCH_ROWS);
	items->removed = palloc(sizeof(char *) * BR_PG_BATCH_ROWS);
	br_pg_rejections_init(&items->rejections, catalog->number, catalog->items);
	items->any_rejected = br_pg_rejections_exist(&items->rejections);
	return &items->feed;
}

static BrPgDifference
compare_versions(BrPgFeed *feed, TupleTableSlot *left, TupleTableSlot *right)
{
	const BrPgItemSource *items = (const BrPgItemSource *) feed;
	Relation source = feed->source;
	bool same;

	if (!br_pg_column_same(&items->id, source, left, right))
		return BR_PG_ID_DIFFERS;
	same = br_pg_column_same(&items->category, source, left, right) &&
		br_pg_column_same(&items->created_at, source, left, right);
	for (int i = 0; i < items->catalog->n_text; i++)
		same = same && br_pg_column_same(&items->text[i], source, left, right);
	if (!same)
		return BR_PG_TEXT_DIFFERS;
	if (!br_pg_column_same(&items->active, source, left, right))
		return BR_PG_ACTIVE_DIFFERS;
	for (int i = 0; i < BR_PG_ITEM_NUMBERS; i++)
		same = same && br_pg_column_same(&items->number[i], source, left, right);
	return same ? BR_PG_SAME : BR_PG_STATE_DIFFERS;
}

/* ---- reading a row ---- */

/* the text columns that say something, joined by blanks; NULL where none does */
static char *
read_text(const BrPgItemSource *items, TupleTableSlot *slot)
{
	StringInfoData joined;

	if (items->catalog->n_text == 0)
		return NULL;
	initStringInfo(&joined);
	for (int i = 0; i < items->catalog->n_text; i++)
	{
		char *text = br_pg_column_read_text(&items->text[i], slot);

		if (text == NULL || text[strspn(text, " \t\r\n")] == '\0')
			continue;
		if (joined.len > 0)
			appendStringInfoChar(&joined, ' ');
		appendStringInfoString(&joined, text);
	}
	return joined.len > 0 ? joined.data : NULL;
}

/* a database that stores bytes without an encoding may hold what no model can read */
static bool
is_readable(const char *text)
{
	return GetDatabaseEncoding() != PG_SQL_ASCII ||
		pg_verify_mbstr(PG_UTF8, text, (int) strlen(text), true);
}

static const char *
find_fault(const BrPgItemRow *row)
{
	if (row->id == NULL)
		return "its id is NULL";
	if (row->id[0] == '\0')
		return "its id is empty";
	if (strlen(row->id) > BR_PG_MAX_ID)
		return "its id is longer than 1024 bytes";
	if (row->category != NULL && strlen(row->category) > BR_PG_MAX_ID)
		return "its category is longer than 1024 bytes";
	if (row->text != NULL && !is_readable(row->text))
		return "its text is not valid UTF-8";
	for (int i = 0; i < BR_PG_ITEM_NUMBERS; i++)
		if (row->known[i] && !(row->number[i] >= 0 && isfinite(row->number[i])))
			return out_of_range[i];
	return NULL;
}

void
br_pg_items_read(BrPgItemSource *items, TupleTableSlot *slot, BrPgItemRow *row)
{
	memset(row, 0, sizeof(*row));
	row->id = br_pg_column_read_text(&items->id, slot);
	row->category = br_pg_column_read_text(&items->category, slot);
	row->text = read_text(items, slot);
	row->created_at = br_pg_column_read_time(&items->created_at, slot, &row->has_created_at);
	for (int i = 0; i < BR_PG_ITEM_NUMBERS; i++)
		row->number[i] = br_pg_column_read_number(&items->number[i], slot, &row->known[i]);
	row->active = br_pg_column_read_boolean(&items->active, slot, true);
	row->rejected = find_fault(row);
}

/* ---- judging a batch ---- */

/* by id, rows without one first; of equal ids the first sound one comes first */
static int
compare_rows(const void *left, const void *right)
{
	const BrPgItemRow *a = left;
	const BrPgItemRow *b = right;

	if (a->id == NULL || b->id == NULL)
		return (a->id != NULL) - (b->id != NULL);
	if (strcmp(a->id, b->id) != 0)
		return strcmp(a->id, b->id);
	if ((a->rejected != NULL) != (b->rejected != NULL))
		return (a->rejected != NULL) - (b->rejected != NULL);
	return a->place - b->place;
}

/* what was said against rows of these ids, or all but that another row has their id */
static void
forget_rejections(const BrPgItemSource *items, char **ids, int n, bool duplicates)
{
	static const Oid types[] = {INT4OID, OIDOID, TEXTARRAYOID, TEXTOID};
	Datum values[] = {Int32GetDatum(items->feed.catalog), ObjectIdGetDatum(items->feed.origin), 0,
					  CStringGetTextDatum(duplicates ? "" : BR_PG_DUPLICATE_ID)};
	char **shown = palloc(sizeof(char *) * Max(n, 1));

	if (n == 0 || !items->any_rejected)
		return;
	for (int i = 0; i < n; i++)
		shown[i] = br_pg_shown_id(ids[i]);
	values[2] = br_pg_text_array_datum(shown, n);
	br_pg_execute_now("DELETE FROM bundle_rec.rejected WHERE catalog = $1 AND origin = $2"
					  " AND row_id = ANY ($3) AND reason <> $4",
					  lengthof(types), types, values);
}

/* without a unique index a new row may carry the id of another row */
static void
reject_known_ids(BrPgItemSource *items)
{
	char **ids = palloc(sizeof(char *) * Max(items->n, 1));
	char **known;
	int n = 0, n_known;

	for (int i = 0; i < items->n; i++)
		if (items->rows[i].rejected == NULL && items->rows[i].difference == BR_PG_ID_DIFFERS)
			ids[n++] = items->rows[i].id;
	known = br_pg_items_known(items, ids, n, &n_known);
	/* both in the same order */
	for (int k = 0, i = 0; k < n_known; k++)
	{
		while (i < items->n &&
			   (items->rows[i].id == NULL || strcmp(items->rows[i].id, known[k]) < 0))
			i++;
		if (i < items->n && strcmp(items->rows[i].id, known[k]) == 0 &&
			items->rows[i].rejected == NULL)
		{
			items->rows[i].rejected = BR_PG_DUPLICATE_ID;
			items->rows[i].keep = true;
		}
	}
}

static void
reject_duplicates(BrPgItemSource *items)
{
	for (int i = 1; i < items->n; i++)
	{
		BrPgItemRow *row = &items->rows[i];

		if (row->id == NULL || items->rows[i - 1].id == NULL ||
			strcmp(row->id, items->rows[i - 1].id) != 0)
			continue;
		if (row->rejected == NULL)
			row->rejected = BR_PG_DUPLICATE_ID;
		row->keep = true;
	}
	if (!items->unique)
		reject_known_ids(items);
}

/* writes down the rows with a reason and leaves the others, still sorted */
static void
set_aside(BrPgItemSource *items)
{
	char **ids = palloc(sizeof(char *) * Max(items->n, 1));
	char **gone = palloc(sizeof(char *) * Max(items->n, 1));
	int n_ids = 0, n_gone = 0, kept = 0;

	for (int i = 0; i < items->n; i++)
		if (items->rows[i].id != NULL)
			ids[n_ids++] = items->rows[i].id;
	forget_rejections(items, ids, n_ids, true);
	for (int i = 0; i < items->n; i++)
	{
		BrPgItemRow *row = &items->rows[i];

		if (row->rejected == NULL)
		{
			items->rows[kept++] = *row;
			continue;
		}
		br_pg_reject(&items->rejections, row->id, row->rejected);
		items->any_rejected = true;
		if (row->id != NULL && row->id[0] != '\0' && !row->keep)
			gone[n_gone++] = row->id;
	}
	items->n = kept;
	br_pg_items_write_removed(items, gone, n_gone);
}

/* ---- the feed ---- */

static void
flush_items(BrPgFeed *feed)
{
	BrPgItemSource *items = (BrPgItemSource *) feed;
	MemoryContext old = MemoryContextSwitchTo(items->memory);
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_prefer_generic_plans();
	if (items->n_removed > 0)
	{
		br_pg_items_write_removed(items, items->removed, items->n_removed);
		/* where ids repeat it may be the other row that went: refresh will look */
		forget_rejections(items, items->removed, items->n_removed, items->unique);
	}
	if (items->n > 0)
	{
		qsort(items->rows, items->n, sizeof(BrPgItemRow), compare_rows);
		reject_duplicates(items);
		set_aside(items);
	}
	if (items->n > 0)
		br_pg_items_write(items, items->rows, items->n);
	/* sync rejects rows that never were in the batch */
	br_pg_rejections_flush(&items->rejections);
	br_pg_leave(&rights);
	items->n = 0;
	items->n_removed = 0;
	items->bytes = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(items->memory);
	CHECK_FOR_INTERRUPTS();
}

static void
add_item(BrPgFeed *feed, TupleTableSlot *slot, BrPgDifference difference)
{
	BrPgItemSource *items = (BrPgItemSource *) feed;
	MemoryContext old = MemoryContextSwitchTo(items->memory);
	BrPgItemRow *row = &items->rows[items->n];

	br_pg_items_read(items, slot, row);
	row->place = items->n++;
	row->difference = difference;
	items->bytes += row->text != NULL ? strlen(row->text) : 0;
	MemoryContextSwitchTo(old);
	if (items->n == BR_PG_BATCH_ROWS || items->bytes > BR_PG_BATCH_BYTES)
		flush_items(feed);
}

static void
remove_item(BrPgFeed *feed, TupleTableSlot *slot)
{
	BrPgItemSource *items = (BrPgItemSource *) feed;
	MemoryContext old = MemoryContextSwitchTo(items->memory);
	char *id = br_pg_column_read_text(&items->id, slot);

	MemoryContextSwitchTo(old);
	if (id == NULL || id[0] == '\0')
		return;
	items->removed[items->n_removed++] = id;
	if (items->n_removed == BR_PG_BATCH_ROWS)
		flush_items(feed);
}

static void
remove_all_items(BrPgFeed *feed)
{
	BrPgItemSource *items = (BrPgItemSource *) feed;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute_now(br_pg_catalog_sql("WITH gone AS (DELETE FROM bundle_rec.item_state_@ RETURNING item)"
										" INSERT INTO bundle_rec.item_change_@ (item)"
										" SELECT item FROM gone",
										feed->catalog),
					  0, NULL, NULL);
	br_pg_rejections_clear(&items->rejections);
	br_pg_leave(&rights);
}

static void
warn_of_items(BrPgFeed *feed)
{
	br_pg_rejections_warn(&((BrPgItemSource *) feed)->rejections, feed->catalog_name);
}

static void
close_items(BrPgFeed *feed)
{
	BrPgItemSource *items = (BrPgItemSource *) feed;

	flush_items(feed);
	warn_of_items(feed);
	MemoryContextDelete(items->rejections.memory);
	MemoryContextDelete(items->memory);
}

static const BrPgFeedMethods item_methods = {
	.compare = compare_versions,
	.add = add_item,
	.remove = remove_item,
	.remove_all = remove_all_items,
	.flush = flush_items,
	.warn = warn_of_items,
	.close = close_items,
};
