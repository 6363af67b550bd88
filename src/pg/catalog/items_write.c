/*
 * items_write.c
 *	  Items into item_<n> and item_state_<n>.
 *
 * New items are written straight into both tables. Of known ones a statement
 * over arrays updates those whose text, category or date changed, and another
 * the state of all; a sale touches only the last, narrow table.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "pg/bulk.h"
#include "pg/catalog/items.h"

static int
compare_strings(const void *left, const void *right)
{
	return strcmp(*(char *const *) left, *(char *const *) right);
}

/* ---- new items ---- */

/* catalog, item, item_id, category, created_at, text_hash, pending_text */
#define ITEM_COLUMNS 7
/* catalog, item, price, cost, stock, active */
#define STATE_COLUMNS 6

/* columns of rows on their way into a table */
typedef struct Columns
{
	Datum *values[ITEM_COLUMNS];
	bool *nulls[ITEM_COLUMNS];
} Columns;

static void
create_columns(Columns *columns, int n_columns, int rows)
{
	for (int c = 0; c < n_columns; c++)
	{
		columns->values[c] = palloc0(sizeof(Datum) * rows);
		columns->nulls[c] = palloc0(sizeof(bool) * rows);
	}
}

static void
set_text(Columns *columns, int c, int row, const char *text)
{
	columns->nulls[c][row] = text == NULL;
	columns->values[c][row] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static void
fill_item(Columns *columns, int first, int i, const BrPgItemRow *row)
{
	set_text(columns, first, i, row->id);
	set_text(columns, first + 1, i, row->category);
	columns->values[first + 2][i] = TimestampTzGetDatum(row->created_at);
	columns->nulls[first + 2][i] = !row->has_created_at;
	set_text(columns, first + 4, i, row->text);
	columns->nulls[first + 3][i] = row->text == NULL;
	/* a text is a bytea of the same bytes */
	if (row->text != NULL)
		columns->values[first + 3][i] =
			DirectFunctionCall1(sha256_bytea, columns->values[first + 4][i]);
}

static void
fill_state(Columns *columns, int first, int i, const BrPgItemRow *row)
{
	for (int c = 0; c < BR_PG_ITEM_NUMBERS; c++)
	{
		columns->values[first + c][i] = Float8GetDatum(row->number[c]);
		columns->nulls[first + c][i] = !row->known[c];
	}
	columns->values[first + BR_PG_ITEM_NUMBERS][i] = BoolGetDatum(row->active);
}

static void
write_columns(const BrPgItemSource *items, const char *table, const char *const *names,
			  int n_columns, const Columns *columns, int rows)
{
	BrPgBatch batch = {.rows = rows,
					   .columns = n_columns,
					   .names = names,
					   .values = columns->values,
					   .nulls = columns->nulls};

	br_pg_bulk_insert(br_pg_child(table, items->feed.catalog), &batch);
}

void
br_pg_items_write_new(const BrPgItemSource *items, const BrPgItemRow *rows, int n)
{
	static const char *const item_names[ITEM_COLUMNS] = {"catalog",		"item",		  "item_id",
														 "category",	"created_at", "text_hash",
														 "pending_text"};
	static const char *const state_names[STATE_COLUMNS] = {"catalog", "item",  "price",
														   "cost",	  "stock", "active"};
	Columns item, state;
	Oid sequence;

	if (n == 0)
		return;
	sequence = br_pg_sequence("item", items->feed.catalog);
	create_columns(&item, ITEM_COLUMNS, n);
	create_columns(&state, STATE_COLUMNS, n);
	for (int i = 0; i < n; i++)
	{
		state.values[0][i] = item.values[0][i] = Int32GetDatum(items->feed.catalog);
		state.values[1][i] = item.values[1][i] =
			Int32GetDatum((int32) nextval_internal(sequence, false));
		fill_item(&item, 2, i, &rows[i]);
		fill_state(&state, 2, i, &rows[i]);
	}
	write_columns(items, "item", item_names, ITEM_COLUMNS, &item, n);
	write_columns(items, "item_state", state_names, STATE_COLUMNS, &state, n);
}

/* ---- items that may be known ---- */

/* the ids for which a statement with them as $1 returns rows, in the order of ids */
static char **
select_ids(const BrPgItemSource *items, const char *pattern, char **ids, int n, int *n_found)
{
	static const Oid types[] = {TEXTARRAYOID};
	Datum values[1];
	char **found;

	*n_found = 0;
	if (n == 0)
		return NULL;
	values[0] = br_pg_text_array_datum(ids, n);
	*n_found =
		(int) br_pg_execute_now(br_pg_catalog_sql(pattern, items->feed.catalog), 1, types, values);
	found = palloc(sizeof(char *) * Max(*n_found, 1));
	for (int i = 0; i < *n_found; i++)
		found[i] = br_pg_column_text(i, 1);
	SPI_freetuptable(SPI_tuptable);
	qsort(found, *n_found, sizeof(char *), compare_strings);
	return found;
}

char **
br_pg_items_known(const BrPgItemSource *items, char **ids, int n, int *n_known)
{
	return select_ids(items,
					  "SELECT i.item_id FROM bundle_rec.item_@ i"
					  " JOIN bundle_rec.item_state_@ s USING (item) WHERE i.item_id = ANY ($1)",
					  ids, n, n_known);
}

/* adds the items to those whose neighbours refresh must look at */
static void
note_changes(const BrPgItemSource *items, char **ids, int n)
{
	static const Oid types[] = {TEXTARRAYOID};
	Datum values[1];

	if (n == 0 || items->catalog->model == 0)
		return;
	values[0] = br_pg_text_array_datum(ids, n);
	br_pg_execute_now(br_pg_catalog_sql("INSERT INTO bundle_rec.item_change_@ (item)"
										" SELECT i.item FROM bundle_rec.item_@ i"
										" WHERE i.item_id = ANY ($1)",
										items->feed.catalog),
					  1, types, values);
}

void
br_pg_items_write_removed(const BrPgItemSource *items, char **ids, int n)
{
	static const char delete[] = "DELETE FROM bundle_rec.item_state_@ s USING bundle_rec.item_@ i"
								 " WHERE i.item = s.item AND i.item_id = ANY ($1)";
	/* refresh must look at the neighbours of what went */
	static const char delete_and_note[] =
		"WITH gone AS (DELETE FROM bundle_rec.item_state_@ s USING bundle_rec.item_@ i"
		" WHERE i.item = s.item AND i.item_id = ANY ($1) RETURNING s.item)"
		" INSERT INTO bundle_rec.item_change_@ (item) SELECT item FROM gone";
	static const Oid types[] = {TEXTARRAYOID};
	Datum values[1];

	if (n == 0)
		return;
	qsort(ids, n, sizeof(char *), compare_strings);
	values[0] = br_pg_text_array_datum(ids, n);
	br_pg_execute_now(br_pg_catalog_sql(items->catalog->model == 0 ? delete : delete_and_note,
										items->feed.catalog),
					  1, types, values);
}

/* item_id, category, created_at, text_hash, pending_text of rows as five arrays */
static void
write_items(const BrPgItemSource *items, const BrPgItemRow *rows, int n)
{
	static const Oid types[] = {TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, BYTEAARRAYOID,
								TEXTARRAYOID};
	static const Oid elements[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, BYTEAOID, TEXTOID};
	Columns columns;
	Datum values[5];

	create_columns(&columns, 5, n);
	for (int i = 0; i < n; i++)
		fill_item(&columns, 0, i, &rows[i]);
	for (int c = 0; c < 5; c++)
		values[c] = br_pg_array(columns.values[c], columns.nulls[c], n, elements[c]);

#define INCOMING                 \
	"unnest($1, $2, $3, $4, $5)" \
	" AS u (item_id, category, created_at, text_hash, pending_text)"
	br_pg_execute_now(
		br_pg_catalog_sql("INSERT INTO bundle_rec.item_@ (item_id, category, created_at, text_hash, pending_text)"
						  " SELECT u.item_id, u.category, u.created_at, u.text_hash, u.pending_text"
						  " FROM " INCOMING " WHERE NOT EXISTS (SELECT FROM bundle_rec.item_@ i"
						  " WHERE i.item_id = u.item_id) ON CONFLICT (item_id) DO NOTHING",
						  items->feed.catalog),
		lengthof(types), types, values);
	/* while a new text waits to be embedded, the embedding of the old one is better than none */
	br_pg_execute_now(
		br_pg_catalog_sql("UPDATE bundle_rec.item_@ i SET category = u.category, created_at = u.created_at,"
						  " text_hash = u.text_hash,"
						  " pending_text = CASE WHEN i.text_hash IS NOT DISTINCT FROM u.text_hash"
						  " THEN i.pending_text ELSE u.pending_text END,"
						  " embedding = CASE WHEN u.text_hash IS NOT NULL THEN i.embedding END,"
						  " model = CASE WHEN u.text_hash IS NOT NULL THEN i.model END,"
						  " precision_class = CASE WHEN u.text_hash IS NOT NULL THEN i.precision_class END"
						  " FROM " INCOMING " WHERE i.item_id = u.item_id AND"
						  " (i.category, i.created_at, i.text_hash)"
						  " IS DISTINCT FROM (u.category, u.created_at, u.text_hash)",
						  items->feed.catalog),
		lengthof(types), types, values);
#undef INCOMING
}

#define INCOMING                 \
	"unnest($1, $2, $3, $4, $5)" \
	" AS u (item_id, price, cost, stock, active)"

static const char change_states[] =
	"UPDATE bundle_rec.item_state_@ s SET price = u.price, cost = u.cost, stock = u.stock,"
	" active = u.active FROM " INCOMING " JOIN bundle_rec.item_@ i ON i.item_id = u.item_id"
	" WHERE s.item = i.item AND (s.price, s.cost, s.stock, s.active) IS DISTINCT FROM"
	" (u.price, u.cost, u.stock, u.active)";

static const char put_states[] =
	"INSERT INTO bundle_rec.item_state_@ AS s (item, price, cost, stock, active)"
	" SELECT i.item, u.price, u.cost, u.stock, u.active FROM " INCOMING
	" JOIN bundle_rec.item_@ i ON i.item_id = u.item_id"
	" ON CONFLICT (item) DO UPDATE SET price = excluded.price, cost = excluded.cost,"
	" stock = excluded.stock, active = excluded.active"
	" WHERE (s.price, s.cost, s.stock, s.active) IS DISTINCT FROM"
	" (excluded.price, excluded.cost, excluded.stock, excluded.active)";
#undef INCOMING

/* returns how many states changed */
static uint64
write_states(const BrPgItemSource *items, const char *statement, const BrPgItemRow *rows, int n)
{
	static const Oid types[] = {TEXTARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID,
								BOOLARRAYOID};
	static const Oid elements[] = {TEXTOID, FLOAT8OID, FLOAT8OID, FLOAT8OID, BOOLOID};
	Columns columns;
	Datum values[5];

	create_columns(&columns, 5, n);
	for (int i = 0; i < n; i++)
	{
		set_text(&columns, 0, i, rows[i].id);
		fill_state(&columns, 1, i, &rows[i]);
	}
	for (int c = 0; c < 5; c++)
		values[c] = br_pg_array(columns.values[c], columns.nulls[c], n, elements[c]);
	return br_pg_execute_now(br_pg_catalog_sql(statement, items->feed.catalog), lengthof(types),
							 types, values);
}

/*
 * Rows of ids that were never known go in first and leave the others, still
 * sorted; returns how many those are. Where a concurrent writer may bring the
 * same id all are left.
 */
static int
write_unknown(const BrPgItemSource *items, const BrPgItemRow *rows, int n, BrPgItemRow *others)
{
	char **ids = palloc(sizeof(char *) * n);
	BrPgItemRow *fresh = palloc(sizeof(BrPgItemRow) * n);
	char **known;
	int n_ids = 0, n_fresh = 0, n_known, n_others = 0;

	for (int i = 0; i < n; i++)
		if (rows[i].difference == BR_PG_ID_DIFFERS)
			ids[n_ids++] = rows[i].id;
	if (!items->unique || n_ids == 0)
	{
		memcpy(others, rows, sizeof(BrPgItemRow) * n);
		return n;
	}
	known = select_ids(items, "SELECT item_id FROM bundle_rec.item_@ WHERE item_id = ANY ($1)", ids,
					   n_ids, &n_known);
	for (int i = 0, k = 0; i < n; i++)
	{
		while (k < n_known && strcmp(known[k], rows[i].id) < 0)
			k++;
		if (rows[i].difference != BR_PG_ID_DIFFERS ||
			(k < n_known && strcmp(known[k], rows[i].id) == 0))
			others[n_others++] = rows[i];
		else
			fresh[n_fresh++] = rows[i];
	}
	br_pg_items_write_new(items, fresh, n_fresh);
	return n_others;
}

/*
 * A sale needs one statement. It suffices where every state changed; where one
 * did not, its item may be unknown, having been set aside until now.
 */
void
br_pg_items_write(const BrPgItemSource *items, const BrPgItemRow *rows, int n)
{
	BrPgItemRow *others = palloc(sizeof(BrPgItemRow) * Max(n, 1));
	char **changed = palloc(sizeof(char *) * Max(n, 1));
	int n_changed = 0;
	bool states_only = true;

	n = write_unknown(items, rows, n, others);
	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		states_only = states_only && others[i].difference <= BR_PG_ACTIVE_DIFFERS;
		if (others[i].difference >= BR_PG_ACTIVE_DIFFERS)
			changed[n_changed++] = others[i].id;
	}
	if (!states_only || write_states(items, change_states, others, n) != (uint64) n)
	{
		write_items(items, others, n);
		(void) write_states(items, put_states, others, n);
	}
	note_changes(items, changed, n_changed);
}
