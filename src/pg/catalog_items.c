/*
 * catalog_items.c
 *	  Rows of a catalog's source into item_<n> and item_state_<n>.
 *
 * Rows are gathered in batches, sorted by id so that two writers meet in the
 * same order, and written by three statements over arrays: items not known yet
 * get a number, items whose text, category or date changed are updated, and
 * the state of all of them is brought up to date. A sale touches only the
 * last, narrow table. An item without a row in item_state_<n> is not in the
 * source (any more): its number, counts and embedding stay, it is not offered.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "pg/catalog_int.h"

#define BATCH_BYTES (4 * 1024 * 1024)

typedef struct ItemRow
{
	char *id;  /* NULL only in rejected rows */
	int place; /* in the order of the source */
	char *category;
	char *text;
	TimestampTz created_at;
	double number[3]; /* price, cost, stock */
	bool known[3];
	bool has_created_at;
	bool active;
	BrPgDifference difference;
	const char *rejected; /* reason, or NULL */
	bool keep;			  /* rejected, but the item of this id is another row's */
} ItemRow;

struct BrPgItemSource
{
	const BrPgCatalog *catalog;
	Relation source;
	BrPgColumn id, category, active, created_at;
	BrPgColumn number[3];
	BrPgColumn *text;
	bool unique;
	MemoryContext memory; /* of the batch */
	ItemRow *rows;
	int n;
	char **removed;
	int n_removed;
	Size bytes;
	BrPgRejections rejections;
};

static const char *const out_of_range[] = {"its price is negative, NaN or infinite",
										   "its cost is negative, NaN or infinite",
										   "its stock is negative, NaN or infinite"};

BrPgItemSource *
br_pg_items_open(const BrPgCatalog *catalog, Relation source, char **problem)
{
	BrPgItemSource *items = palloc0(sizeof(BrPgItemSource));
	const char *numbers[] = {catalog->price, catalog->cost, catalog->stock};

	items->catalog = catalog;
	items->source = source;
	items->text = palloc0(sizeof(BrPgColumn) * Max(catalog->n_text, 1));
	if (!br_pg_column_find(source, catalog->item_id, BR_PG_COLUMN_TEXT, &items->id, problem) ||
		!br_pg_column_find(source, catalog->category, BR_PG_COLUMN_TEXT, &items->category,
						   problem) ||
		!br_pg_column_find(source, catalog->active, BR_PG_COLUMN_BOOLEAN, &items->active,
						   problem) ||
		!br_pg_column_find(source, catalog->created_at, BR_PG_COLUMN_TIME, &items->created_at,
						   problem))
		return NULL;
	for (int i = 0; i < 3; i++)
		if (!br_pg_column_find(source, numbers[i], BR_PG_COLUMN_NUMBER, &items->number[i], problem))
			return NULL;
	for (int i = 0; i < catalog->n_text; i++)
		if (!br_pg_column_find(source, catalog->text[i], BR_PG_COLUMN_TEXT, &items->text[i],
							   problem))
			return NULL;
	items->unique = br_pg_column_is_unique(source, &items->id);
	items->memory =
		AllocSetContextCreate(CurrentMemoryContext, "item batch", ALLOCSET_DEFAULT_SIZES);
	items->rows = palloc(sizeof(ItemRow) * BR_PG_BATCH_ROWS);
	items->removed = palloc(sizeof(char *) * BR_PG_BATCH_ROWS);
	br_pg_rejections_init(&items->rejections, catalog->number, RelationGetRelid(source));
	return items;
}

BrPgDifference
br_pg_items_compare(const BrPgItemSource *items, TupleTableSlot *left, TupleTableSlot *right)
{
	Relation source = items->source;
	bool same;

	if (!br_pg_column_same(&items->id, source, left, right))
		return BR_PG_ID_DIFFERS;
	same = br_pg_column_same(&items->category, source, left, right) &&
		br_pg_column_same(&items->created_at, source, left, right);
	for (int i = 0; i < items->catalog->n_text; i++)
		same = same && br_pg_column_same(&items->text[i], source, left, right);
	if (!same)
		return BR_PG_TEXT_DIFFERS;
	same = br_pg_column_same(&items->active, source, left, right);
	for (int i = 0; i < 3; i++)
		same = same && br_pg_column_same(&items->number[i], source, left, right);
	return same ? BR_PG_SAME : BR_PG_STATE_DIFFERS;
}

/* the text columns that say something, joined by blanks; NULL where none does */
static char *
read_text(BrPgItemSource *items, TupleTableSlot *slot)
{
	StringInfoData joined;

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
	items->bytes += joined.len;
	return joined.len > 0 ? joined.data : NULL;
}

static const char *
find_fault(const ItemRow *row)
{
	if (row->id == NULL)
		return "its id is NULL";
	if (row->id[0] == '\0')
		return "its id is empty";
	for (int i = 0; i < 3; i++)
		if (row->known[i] && !(row->number[i] >= 0 && isfinite(row->number[i])))
			return out_of_range[i];
	return NULL;
}

void
br_pg_items_add(BrPgItemSource *items, TupleTableSlot *slot, BrPgDifference difference)
{
	MemoryContext old = MemoryContextSwitchTo(items->memory);
	ItemRow *row = &items->rows[items->n];

	memset(row, 0, sizeof(*row));
	row->place = items->n++;
	row->id = br_pg_column_read_text(&items->id, slot);
	row->category = br_pg_column_read_text(&items->category, slot);
	row->text = read_text(items, slot);
	row->created_at = br_pg_column_read_time(&items->created_at, slot, &row->has_created_at);
	for (int i = 0; i < 3; i++)
		row->number[i] = br_pg_column_read_number(&items->number[i], slot, &row->known[i]);
	row->active = br_pg_column_read_boolean(&items->active, slot, true);
	row->difference = difference;
	row->rejected = find_fault(row);
	MemoryContextSwitchTo(old);
	if (items->n == BR_PG_BATCH_ROWS || items->bytes > BATCH_BYTES)
		br_pg_items_flush(items);
}

void
br_pg_items_remove(BrPgItemSource *items, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(items->memory);
	char *id = br_pg_column_read_text(&items->id, slot);

	MemoryContextSwitchTo(old);
	if (id == NULL || id[0] == '\0')
		return;
	items->removed[items->n_removed++] = id;
	if (items->n_removed == BR_PG_BATCH_ROWS)
		br_pg_items_flush(items);
}

/* ---- writing a batch ---- */

static int
compare_strings(const void *left, const void *right)
{
	return strcmp(*(char *const *) left, *(char *const *) right);
}

/* by id, rows without one first; of equal ids the first sound one comes first */
static int
compare_rows(const void *left, const void *right)
{
	const ItemRow *a = left;
	const ItemRow *b = right;

	if (a->id == NULL || b->id == NULL)
		return (a->id != NULL) - (b->id != NULL);
	if (strcmp(a->id, b->id) != 0)
		return strcmp(a->id, b->id);
	if ((a->rejected != NULL) != (b->rejected != NULL))
		return (a->rejected != NULL) - (b->rejected != NULL);
	return a->place - b->place;
}

static Datum
text_array(char **texts, int n)
{
	Datum *values = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		values[i] = CStringGetTextDatum(texts[i]);
	return br_pg_array(values, NULL, n, TEXTOID);
}

/* takes the states of these ids away, and what was said against them */
static void
remove_ids(const BrPgItemSource *items, char **ids, int n)
{
	static const Oid types[] = {TEXTARRAYOID};
	Datum values[1];

	if (n == 0)
		return;
	qsort(ids, n, sizeof(char *), compare_strings);
	values[0] = text_array(ids, n);
	br_pg_execute(br_pg_catalog_sql("DELETE FROM bundle_rec.item_state_@ s"
									" USING bundle_rec.item_@ i WHERE i.item = s.item"
									" AND i.item_id = ANY ($1)",
									items->catalog->number),
				  1, types, values, NULL, false, 0);
}

static void
forget_rejections(const BrPgItemSource *items, char **ids, int n)
{
	static const Oid types[] = {INT4OID, OIDOID, TEXTARRAYOID};
	Datum values[] = {Int32GetDatum(items->catalog->number),
					  ObjectIdGetDatum(RelationGetRelid(items->source)), 0};

	if (n == 0)
		return;
	values[2] = text_array(ids, n);
	br_pg_execute("DELETE FROM bundle_rec.rejected"
				  " WHERE catalog = $1 AND origin = $2 AND row_id = ANY ($3)",
				  lengthof(types), types, values, NULL, false, 0);
}

/* without a unique index a new row may carry the id of another row */
static void
find_known_ids(BrPgItemSource *items)
{
	static const Oid types[] = {TEXTARRAYOID};
	char **ids = palloc(sizeof(char *) * Max(items->n, 1));
	Datum values[1];
	uint64 found;
	int n = 0;

	for (int i = 0; i < items->n; i++)
		if (items->rows[i].rejected == NULL && items->rows[i].difference == BR_PG_ID_DIFFERS)
			ids[n++] = items->rows[i].id;
	if (n == 0)
		return;
	values[0] = text_array(ids, n);
	found = br_pg_execute(br_pg_catalog_sql("SELECT i.item_id FROM bundle_rec.item_@ i"
											" JOIN bundle_rec.item_state_@ s USING (item)"
											" WHERE i.item_id = ANY ($1)"
											" ORDER BY i.item_id COLLATE \"C\"",
											items->catalog->number),
						  1, types, values, NULL, false, 0);
	/* both in the same order */
	for (uint64 known = 0, i = 0; known < found; known++)
	{
		char *id = br_pg_column_text(known, 1);

		while (i < (uint64) items->n &&
			   (items->rows[i].id == NULL || strcmp(items->rows[i].id, id) < 0))
			i++;
		if (i < (uint64) items->n && strcmp(items->rows[i].id, id) == 0 &&
			items->rows[i].rejected == NULL)
		{
			items->rows[i].rejected = "another row has this id";
			items->rows[i].keep = true;
		}
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
find_duplicates(BrPgItemSource *items)
{
	for (int i = 1; i < items->n; i++)
	{
		ItemRow *row = &items->rows[i];

		if (row->id == NULL || items->rows[i - 1].id == NULL ||
			strcmp(row->id, items->rows[i - 1].id) != 0)
			continue;
		if (row->rejected == NULL)
			row->rejected = "another row has this id";
		row->keep = true;
	}
	if (!items->unique)
		find_known_ids(items);
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
	forget_rejections(items, ids, n_ids);
	for (int i = 0; i < items->n; i++)
	{
		ItemRow *row = &items->rows[i];

		if (row->rejected == NULL)
		{
			items->rows[kept++] = *row;
			continue;
		}
		br_pg_reject(&items->rejections, row->id, row->rejected);
		if (row->id != NULL && row->id[0] != '\0' && !row->keep)
			gone[n_gone++] = row->id;
	}
	items->n = kept;
	remove_ids(items, gone, n_gone);
	br_pg_rejections_flush(&items->rejections);
}

static void
set_text(Datum *values, bool *nulls, int i, const char *text)
{
	nulls[i] = text == NULL;
	values[i] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static void
write_items(const BrPgItemSource *items)
{
	static const Oid types[] = {TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, BYTEAARRAYOID,
								TEXTARRAYOID};
	int n = items->n;
	Datum *column[5];
	bool *nulls[5];
	Datum values[5];

	for (int c = 0; c < 5; c++)
	{
		column[c] = palloc0(sizeof(Datum) * n);
		nulls[c] = palloc0(sizeof(bool) * n);
	}
	for (int i = 0; i < n; i++)
	{
		const ItemRow *row = &items->rows[i];

		set_text(column[0], nulls[0], i, row->id);
		set_text(column[1], nulls[1], i, row->category);
		column[2][i] = TimestampTzGetDatum(row->created_at);
		nulls[2][i] = !row->has_created_at;
		set_text(column[4], nulls[4], i, row->text);
		nulls[3][i] = row->text == NULL;
		/* a text is a bytea of the same bytes */
		if (row->text != NULL)
			column[3][i] = DirectFunctionCall1(sha256_bytea, column[4][i]);
	}
	values[0] = br_pg_array(column[0], nulls[0], n, TEXTOID);
	values[1] = br_pg_array(column[1], nulls[1], n, TEXTOID);
	values[2] = br_pg_array(column[2], nulls[2], n, TIMESTAMPTZOID);
	values[3] = br_pg_array(column[3], nulls[3], n, BYTEAOID);
	values[4] = br_pg_array(column[4], nulls[4], n, TEXTOID);

#define INCOMING                 \
	"unnest($1, $2, $3, $4, $5)" \
	" AS u (item_id, category, created_at, text_hash, pending_text)"
	br_pg_execute(br_pg_catalog_sql("INSERT INTO bundle_rec.item_@ (item_id, category, created_at, text_hash, pending_text)"
									" SELECT u.item_id, u.category, u.created_at, u.text_hash, u.pending_text"
									" FROM " INCOMING
									" WHERE NOT EXISTS (SELECT FROM bundle_rec.item_@ i"
									" WHERE i.item_id = u.item_id) ON CONFLICT (item_id) DO NOTHING",
									items->catalog->number),
				  lengthof(types), types, values, NULL, false, 0);
	/* while a new text waits to be embedded, the embedding of the old one is better than none */
	br_pg_execute(br_pg_catalog_sql(
					  "UPDATE bundle_rec.item_@ i SET category = u.category, created_at = u.created_at,"
					  " text_hash = u.text_hash,"
					  " pending_text = CASE WHEN i.text_hash IS NOT DISTINCT FROM u.text_hash"
					  " THEN i.pending_text ELSE u.pending_text END,"
					  " embedding = CASE WHEN u.text_hash IS NOT NULL THEN i.embedding END,"
					  " model = CASE WHEN u.text_hash IS NOT NULL THEN i.model END,"
					  " precision_class = CASE WHEN u.text_hash IS NOT NULL THEN i.precision_class END"
					  " FROM " INCOMING " WHERE i.item_id = u.item_id AND"
					  " (i.category, i.created_at, i.text_hash)"
					  " IS DISTINCT FROM (u.category, u.created_at, u.text_hash)",
					  items->catalog->number),
				  lengthof(types), types, values, NULL, false, 0);
#undef INCOMING
}

/* returns how many states changed */
static uint64
write_states(const BrPgItemSource *items)
{
	static const Oid types[] = {TEXTARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID,
								BOOLARRAYOID};
	int n = items->n;
	Datum *column = palloc(sizeof(Datum) * n);
	bool *nulls = palloc(sizeof(bool) * n);
	Datum values[5];

	for (int i = 0; i < n; i++)
		set_text(column, nulls, i, items->rows[i].id);
	values[0] = br_pg_array(column, nulls, n, TEXTOID);
	for (int c = 0; c < 3; c++)
	{
		for (int i = 0; i < n; i++)
		{
			column[i] = Float8GetDatum(items->rows[i].number[c]);
			nulls[i] = !items->rows[i].known[c];
		}
		values[1 + c] = br_pg_array(column, nulls, n, FLOAT8OID);
	}
	for (int i = 0; i < n; i++)
		column[i] = BoolGetDatum(items->rows[i].active);
	values[4] = br_pg_array(column, NULL, n, BOOLOID);

	return br_pg_execute(
		br_pg_catalog_sql("INSERT INTO bundle_rec.item_state_@ AS s (item, price, cost, stock, active)"
						  " SELECT i.item, u.price, u.cost, u.stock, u.active"
						  " FROM unnest($1, $2, $3, $4, $5)"
						  " AS u (item_id, price, cost, stock, active)"
						  " JOIN bundle_rec.item_@ i ON i.item_id = u.item_id ORDER BY i.item_id"
						  " ON CONFLICT (item) DO UPDATE SET price = excluded.price,"
						  " cost = excluded.cost, stock = excluded.stock, active = excluded.active"
						  " WHERE (s.price, s.cost, s.stock, s.active) IS DISTINCT FROM"
						  " (excluded.price, excluded.cost, excluded.stock, excluded.active)",
						  items->catalog->number),
		lengthof(types), types, values, NULL, false, 0);
}

/*
 * A sale needs one statement. It suffices where every state changed; where one
 * did not, its item may be unknown, having been set aside until now.
 */
static void
write_rows(const BrPgItemSource *items)
{
	bool states_only = true;

	for (int i = 0; i < items->n; i++)
		states_only = states_only && items->rows[i].difference == BR_PG_STATE_DIFFERS;
	if (states_only && write_states(items) == (uint64) items->n)
		return;
	write_items(items);
	(void) write_states(items);
}

void
br_pg_items_flush(BrPgItemSource *items)
{
	MemoryContext old = MemoryContextSwitchTo(items->memory);
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_prefer_generic_plans();
	if (items->n_removed > 0)
	{
		remove_ids(items, items->removed, items->n_removed);
		forget_rejections(items, items->removed, items->n_removed);
	}
	if (items->n > 0)
	{
		qsort(items->rows, items->n, sizeof(ItemRow), compare_rows);
		find_duplicates(items);
		set_aside(items);
	}
	if (items->n > 0)
		write_rows(items);
	br_pg_leave(&rights);
	items->n = 0;
	items->n_removed = 0;
	items->bytes = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(items->memory);
	CHECK_FOR_INTERRUPTS();
}

void
br_pg_items_remove_all(BrPgItemSource *items)
{
	static const Oid types[] = {INT4OID, OIDOID};
	Datum values[] = {Int32GetDatum(items->catalog->number),
					  ObjectIdGetDatum(RelationGetRelid(items->source))};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute(br_pg_catalog_sql("DELETE FROM bundle_rec.item_state_@", items->catalog->number),
				  0, NULL, NULL, NULL, false, 0);
	br_pg_execute("DELETE FROM bundle_rec.rejected WHERE catalog = $1 AND origin = $2",
				  lengthof(types), types, values, NULL, false, 0);
	br_pg_leave(&rights);
}

void
br_pg_items_close(BrPgItemSource *items)
{
	br_pg_items_flush(items);
	br_pg_rejections_warn(&items->rejections, items->catalog->name);
	MemoryContextDelete(items->rejections.memory);
	MemoryContextDelete(items->memory);
}
