/*
 * bundles.c
 *	  Rows of a bundle source into bundle_<n> and bundle_item_<n>.
 *
 * One row of the source is one row of bundle_item_<n>, and nothing is derived
 * from several of them: the size and the price of a bundle are aggregated when
 * they are read, so two writers of one bundle meet in no common row but that
 * of its number, which neither changes.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/catalog/bundles.h"
#include "pg/catalog/rowsync.h"

enum
{
	BUNDLE_ID,
	ITEM_ID,
	QUANTITY,
	PRICE,
	N_COLUMNS
};

typedef struct BundleRow
{
	char *id[2]; /* of the bundle and the item */
	int place;	 /* in the order of the source */
	double quantity;
	double price;
	bool priced;
	const char *rejected; /* reason, or NULL */
} BundleRow;

typedef struct BundleSource
{
	BrPgFeed feed;
	int32 number;
	BrPgColumn column[N_COLUMNS];
	MemoryContext memory; /* of the batch */
	BundleRow *rows;
	int n;
	BundleRow *removed;
	int n_removed;
	BrPgRejections rejections;
} BundleSource;

static const BrPgFeedMethods bundle_methods;

static uint64
select_source(int32 number)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(number)};
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found =
		br_pg_execute_now("SELECT b.bundle_id, b.item_id, b.quantity, b.price, b.catalog, c.name,"
						  " b.bundles::pg_catalog.oid"
						  " FROM bundle_rec.bundle_source b JOIN bundle_rec.catalog c USING (catalog)"
						  " WHERE b.source = $1",
						  1, types, values);
	br_pg_leave(&rights);
	return found;
}

BrPgFeed *
br_pg_bundles_open(int32 number, Relation source, int32 *catalog, char **problem)
{
	static const BrPgColumnKind kinds[N_COLUMNS] = {BR_PG_COLUMN_TEXT, BR_PG_COLUMN_TEXT,
													BR_PG_COLUMN_NUMBER, BR_PG_COLUMN_NUMBER};
	BundleSource *bundles;
	bool is_null;
	Oid origin = InvalidOid;

	if (select_source(number) > 0)
		origin = DatumGetObjectId(br_pg_column(0, 7, &is_null));
	if (!OidIsValid(origin) || !br_pg_source_covers(origin, RelationGetRelid(source)))
		return NULL;
	bundles = palloc0(sizeof(BundleSource));
	bundles->number = number;
	bundles->feed.methods = &bundle_methods;
	bundles->feed.source = source;
	bundles->feed.origin = origin;
	*catalog = bundles->feed.catalog = DatumGetInt32(br_pg_column(0, 5, &is_null));
	bundles->feed.catalog_name = br_pg_column_text(0, 6);
	for (int i = 0; i < N_COLUMNS; i++)
	{
		if (!br_pg_column_find(source, br_pg_column_text(0, i + 1), kinds[i], &bundles->column[i],
							   problem))
			return NULL;
		if (bundles->column[i].number != 0)
			bundles->feed.columns =
				bms_add_member(bundles->feed.columns, bundles->column[i].number);
	}
	SPI_freetuptable(SPI_tuptable);
	bundles->memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle batch", ALLOCSET_DEFAULT_SIZES);
	bundles->rows = palloc(sizeof(BundleRow) * BR_PG_BATCH_ROWS);
	bundles->removed = palloc(sizeof(BundleRow) * BR_PG_BATCH_ROWS);
	br_pg_rejections_init(&bundles->rejections, *catalog, origin);
	return &bundles->feed;
}

static BrPgDifference
compare_versions(BrPgFeed *feed, TupleTableSlot *left, TupleTableSlot *right)
{
	const BundleSource *bundles = (const BundleSource *) feed;

	for (int i = 0; i < N_COLUMNS; i++)
		if (!br_pg_column_same(&bundles->column[i], feed->source, left, right))
			return BR_PG_ID_DIFFERS;
	return BR_PG_SAME;
}

static const char *
find_fault(const BundleRow *row)
{
	static const char *const missing[] = {"its bundle id is NULL or empty",
										  "its item id is NULL or empty"};
	static const char *const long_id[] = {"its bundle id is longer than 1024 bytes",
										  "its item id is longer than 1024 bytes"};

	for (int i = 0; i < 2; i++)
	{
		if (row->id[i] == NULL || row->id[i][0] == '\0')
			return missing[i];
		if (strlen(row->id[i]) > BR_PG_MAX_ID)
			return long_id[i];
	}
	if (!(row->quantity > 0 && isfinite(row->quantity)))
		return "its quantity is not above 0, NaN or infinite";
	if (row->priced && !(row->price >= 0 && isfinite(row->price)))
		return "its price is negative, NaN or infinite";
	return NULL;
}

/* into the current memory context */
static void
read_row(const BundleSource *bundles, TupleTableSlot *slot, BundleRow *row)
{
	bool known;

	row->id[0] = br_pg_column_read_text(&bundles->column[BUNDLE_ID], slot);
	row->id[1] = br_pg_column_read_text(&bundles->column[ITEM_ID], slot);
	row->quantity = br_pg_column_read_number(&bundles->column[QUANTITY], slot, &known);
	if (!known)
		row->quantity = 1;
	row->price = br_pg_column_read_number(&bundles->column[PRICE], slot, &row->priced);
	row->rejected = find_fault(row);
}

static void flush_bundles(BrPgFeed *feed);

static void
add_bundle(BrPgFeed *feed, TupleTableSlot *slot, BrPgDifference difference)
{
	BundleSource *bundles = (BundleSource *) feed;
	MemoryContext old = MemoryContextSwitchTo(bundles->memory);

	read_row(bundles, slot, &bundles->rows[bundles->n]);
	MemoryContextSwitchTo(old);
	bundles->rows[bundles->n].place = bundles->n;
	if (++bundles->n == BR_PG_BATCH_ROWS)
		flush_bundles(feed);
}

static void
remove_bundle(BrPgFeed *feed, TupleTableSlot *slot)
{
	BundleSource *bundles = (BundleSource *) feed;
	MemoryContext old = MemoryContextSwitchTo(bundles->memory);

	read_row(bundles, slot, &bundles->removed[bundles->n_removed]);
	MemoryContextSwitchTo(old);
	if (++bundles->n_removed == BR_PG_BATCH_ROWS)
		flush_bundles(feed);
}

/* ---- writing a batch ---- */

/* what a rejected row is called: its bundle and its item; NULL where it has no bundle */
static char *
row_name(const BundleRow *row)
{
	const char *bundle = row->id[0], *item = row->id[1];

	if (bundle == NULL || bundle[0] == '\0')
		return NULL;
	return br_pg_shown_id(item == NULL || item[0] == '\0' ? bundle
														  : psprintf("%s, %s", bundle, item));
}

/* what was said against rows of these names is no longer so */
static void
forget_rejections(const BundleSource *bundles, const BundleRow *rows, int n)
{
	static const Oid types[] = {INT4OID, OIDOID, TEXTARRAYOID};
	Datum *names = palloc(sizeof(Datum) * Max(n, 1));
	Datum values[] = {Int32GetDatum(bundles->feed.catalog), ObjectIdGetDatum(bundles->feed.origin),
					  0};
	int n_names = 0;

	for (int i = 0; i < n; i++)
	{
		char *name = row_name(&rows[i]);

		if (name != NULL)
			names[n_names++] = CStringGetTextDatum(name);
	}
	values[2] = br_pg_array(names, NULL, n_names, TEXTOID);
	br_pg_execute_now("DELETE FROM bundle_rec.rejected"
					  " WHERE catalog = $1 AND origin = $2 AND row_id = ANY ($3)",
					  lengthof(types), types, values);
}

static int
compare_rows(const void *left, const void *right)
{
	const BundleRow *a = left;
	const BundleRow *b = right;

	for (int i = 0; i < 2; i++)
		if (strcmp(a->id[i], b->id[i]) != 0)
			return strcmp(a->id[i], b->id[i]);
	return a->place - b->place;
}

/* leaves the sound rows, sorted, so that two writers meet in the same order */
static int
keep_sound(BundleRow *rows, int n)
{
	int kept = 0;

	for (int i = 0; i < n; i++)
		if (rows[i].rejected == NULL)
			rows[kept++] = rows[i];
	qsort(rows, kept, sizeof(BundleRow), compare_rows);
	return kept;
}

/* bundle_id, item_id, quantity, price and the source's number */
#define N_ARGUMENTS 5
#define ARGUMENT_TYPES TEXTARRAYOID, TEXTARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID, INT4OID

static void
set_arguments(const BundleSource *bundles, const BundleRow *rows, int n, Datum values[N_ARGUMENTS])
{
	Datum *column[N_COLUMNS];
	bool *unpriced = palloc(sizeof(bool) * n);

	for (int c = 0; c < N_COLUMNS; c++)
		column[c] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		column[BUNDLE_ID][i] = CStringGetTextDatum(rows[i].id[0]);
		column[ITEM_ID][i] = CStringGetTextDatum(rows[i].id[1]);
		column[QUANTITY][i] = Float8GetDatum(rows[i].quantity);
		column[PRICE][i] = Float8GetDatum(rows[i].price);
		unpriced[i] = !rows[i].priced;
	}
	values[0] = br_pg_array(column[BUNDLE_ID], NULL, n, TEXTOID);
	values[1] = br_pg_array(column[ITEM_ID], NULL, n, TEXTOID);
	values[2] = br_pg_array(column[QUANTITY], NULL, n, FLOAT8OID);
	values[3] = br_pg_array(column[PRICE], unpriced, n, FLOAT8OID);
	values[4] = Int32GetDatum(bundles->number);
}

/* only the row that was stored: another one of the same item may have been set aside */
static void
delete_rows(const BundleSource *bundles, const BundleRow *rows, int n)
{
	static const Oid types[N_ARGUMENTS] = {ARGUMENT_TYPES};
	Datum values[N_ARGUMENTS];

	set_arguments(bundles, rows, n, values);
	br_pg_execute_now(br_pg_catalog_sql("DELETE FROM bundle_rec.bundle_item_@ m"
										" USING unnest($1, $2, $3, $4)"
										" AS u (bundle_id, item_id, quantity, price)"
										" JOIN bundle_rec.bundle_@ b USING (bundle_id)"
										" WHERE m.bundle = b.bundle AND m.item_id = u.item_id"
										" AND m.source = $5 AND m.quantity = u.quantity"
										" AND m.price IS NOT DISTINCT FROM u.price",
										bundles->feed.catalog),
					  lengthof(types), types, values);
}

static const char twice[] = "another row puts this item into this bundle";

/* of the sorted rows, leaves the first of those that name one item of one bundle */
static int
keep_first(BundleSource *bundles, BundleRow *rows, int n)
{
	int kept = 0;

	for (int i = 0; i < n; i++)
	{
		if (kept > 0 && strcmp(rows[kept - 1].id[0], rows[i].id[0]) == 0 &&
			strcmp(rows[kept - 1].id[1], rows[i].id[1]) == 0)
			br_pg_reject(&bundles->rejections, row_name(&rows[i]), twice);
		else
			rows[kept++] = rows[i];
	}
	return kept;
}

/* sets those of the sorted rows aside that are not in the SPI result: bundle_id, item_id, sorted */
static void
reject_refused(BundleSource *bundles, const BundleRow *rows, int n)
{
	uint64 taken = 0;

	for (int i = 0; i < n && SPI_processed < (uint64) n; i++)
	{
		if (taken < SPI_processed && strcmp(br_pg_column_text(taken, 1), rows[i].id[0]) == 0 &&
			strcmp(br_pg_column_text(taken, 2), rows[i].id[1]) == 0)
			taken++;
		else
			br_pg_reject(&bundles->rejections, row_name(&rows[i]), twice);
	}
}

/* rows whose item their bundle holds already are set aside */
static void
insert_rows(BundleSource *bundles, const BundleRow *rows, int n)
{
	static const Oid types[N_ARGUMENTS] = {ARGUMENT_TYPES};
	Datum values[N_ARGUMENTS];

	set_arguments(bundles, rows, n, values);
	br_pg_execute_now(br_pg_catalog_sql("INSERT INTO bundle_rec.bundle_@ (bundle_id)"
										" SELECT DISTINCT u.bundle_id FROM unnest($1) AS u (bundle_id)"
										" WHERE NOT EXISTS (SELECT FROM bundle_rec.bundle_@ b"
										" WHERE b.bundle_id = u.bundle_id)"
										" ORDER BY u.bundle_id ON CONFLICT (bundle_id) DO NOTHING",
										bundles->feed.catalog),
					  1, types, values);
	br_pg_execute_now(br_pg_catalog_sql("WITH taken AS (INSERT INTO bundle_rec.bundle_item_@"
										" (bundle, item_id, quantity, price, source)"
										" SELECT b.bundle, u.item_id, u.quantity, u.price, $5"
										" FROM unnest($1, $2, $3, $4) WITH ORDINALITY"
										" AS u (bundle_id, item_id, quantity, price, place)"
										" JOIN bundle_rec.bundle_@ b USING (bundle_id) ORDER BY u.place"
										" ON CONFLICT (bundle, item_id) DO NOTHING"
										" RETURNING bundle, item_id)"
										" SELECT b.bundle_id, t.item_id"
										" FROM taken t JOIN bundle_rec.bundle_@ b USING (bundle)"
										" ORDER BY b.bundle_id, t.item_id",
										bundles->feed.catalog),
					  lengthof(types), types, values);
	reject_refused(bundles, rows, n);
	SPI_freetuptable(SPI_tuptable);
}

static void
flush_bundles(BrPgFeed *feed)
{
	BundleSource *bundles = (BundleSource *) feed;
	MemoryContext old = MemoryContextSwitchTo(bundles->memory);
	int n;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_prefer_generic_plans();
	/* a plan made while the tables are empty would read through them when they have grown */
	br_pg_set_for_section("enable_hashjoin", "off");
	br_pg_set_for_section("enable_seqscan", "off");
	br_pg_set_for_section("enable_mergejoin", "off");
	if (bundles->n_removed > 0)
	{
		forget_rejections(bundles, bundles->removed, bundles->n_removed);
		for (int i = 0; i < bundles->n_removed; i++)
			if (row_name(&bundles->removed[i]) == NULL)
				br_pg_unreject(&bundles->rejections, NULL, bundles->removed[i].rejected);
		n = keep_sound(bundles->removed, bundles->n_removed);
		if (n > 0)
			delete_rows(bundles, bundles->removed, n);
	}
	if (bundles->n > 0)
	{
		forget_rejections(bundles, bundles->rows, bundles->n);
		for (int i = 0; i < bundles->n; i++)
			if (bundles->rows[i].rejected != NULL)
				br_pg_reject(&bundles->rejections, row_name(&bundles->rows[i]),
							 bundles->rows[i].rejected);
		n = keep_first(bundles, bundles->rows, keep_sound(bundles->rows, bundles->n));
		if (n > 0)
			insert_rows(bundles, bundles->rows, n);
	}
	br_pg_rejections_flush(&bundles->rejections);
	br_pg_leave(&rights);
	bundles->n = 0;
	bundles->n_removed = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(bundles->memory);
	CHECK_FOR_INTERRUPTS();
}

static void
remove_all_bundles(BrPgFeed *feed)
{
	BundleSource *bundles = (BundleSource *) feed;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_bundles_remove_source(feed->catalog, bundles->number);
	br_pg_rejections_clear(&bundles->rejections);
	br_pg_leave(&rights);
}

void
br_pg_bundles_remove_source(int32 catalog, int32 number)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(number)};

	br_pg_execute_now(br_pg_catalog_sql("DELETE FROM bundle_rec.bundle_item_@ WHERE source = $1",
										catalog),
					  1, types, values);
}

static void
warn_of_bundles(BrPgFeed *feed)
{
	br_pg_rejections_warn(&((BundleSource *) feed)->rejections, feed->catalog_name);
}

static void
close_bundles(BrPgFeed *feed)
{
	BundleSource *bundles = (BundleSource *) feed;

	flush_bundles(feed);
	warn_of_bundles(feed);
	MemoryContextDelete(bundles->rejections.memory);
	MemoryContextDelete(bundles->memory);
}

static const BrPgFeedMethods bundle_methods = {
	.compare = compare_versions,
	.add = add_bundle,
	.remove = remove_bundle,
	.remove_all = remove_all_bundles,
	.flush = flush_bundles,
	.warn = warn_of_bundles,
	.close = close_bundles,
};

/* ---- sync ---- */

static const char *
read_compared(BrPgFeed *feed, TupleTableSlot *slot, BrPgEvent *row)
{
	BundleRow read;

	read_row((const BundleSource *) feed, slot, &read);
	memset(row, 0, sizeof(*row));
	row->bundle_id = read.id[0];
	row->item_id = read.id[1];
	row->quantity = read.quantity;
	row->price = read.price;
	row->has_price = read.priced;
	return read.rejected;
}

static BundleRow
compared_row(const BrPgEvent *row)
{
	BundleRow written = {.quantity = row->quantity, .price = row->price, .priced = row->has_price};

	written.id[0] = row->bundle_id == NULL ? NULL : pstrdup(row->bundle_id);
	written.id[1] = row->item_id == NULL ? NULL : pstrdup(row->item_id);
	return written;
}

static void
reject_compared(BrPgFeed *feed, const BrPgEvent *row, const char *fault)
{
	BundleSource *bundles = (BundleSource *) feed;
	BundleRow rejected = compared_row(row);

	br_pg_reject(&bundles->rejections, row_name(&rejected), fault);
	if (br_pg_rejections_full(&bundles->rejections))
		flush_bundles(feed);
}

static void
put_compared(BrPgFeed *feed, const BrPgEvent *row, int weight)
{
	BundleSource *bundles = (BundleSource *) feed;
	MemoryContext old = MemoryContextSwitchTo(bundles->memory);
	BundleRow *place =
		weight > 0 ? &bundles->rows[bundles->n] : &bundles->removed[bundles->n_removed];

	*place = compared_row(row);
	MemoryContextSwitchTo(old);
	place->place = bundles->n;
	if (weight > 0)
		bundles->n++;
	else
		bundles->n_removed++;
	if (bundles->n == BR_PG_BATCH_ROWS || bundles->n_removed == BR_PG_BATCH_ROWS)
		flush_bundles(feed);
}

static void
scan_stored(BrPgRowSync *sync)
{
	const BundleSource *bundles = (const BundleSource *) sync->target;
	Portal portal;
	char *sql = psprintf("SELECT b.bundle_id, m.item_id, m.quantity, m.price"
						 " FROM bundle_rec.bundle_item_%d m JOIN bundle_rec.bundle_%d b"
						 " USING (bundle) WHERE m.source = %d",
						 sync->target->catalog, sync->target->catalog, bundles->number);

	portal = br_pg_open_latest(sql);
	while (br_pg_fetch(portal))
	{
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			BrPgEvent row = {0};
			bool is_null;
			Datum price = br_pg_column(i, 4, &is_null);

			row.has_price = !is_null;
			row.price = is_null ? 0 : DatumGetFloat8(price);
			row.bundle_id = br_pg_column_text(i, 1);
			row.item_id = br_pg_column_text(i, 2);
			row.quantity = DatumGetFloat8(br_pg_column(i, 3, &is_null));
			br_pg_rowsync_take(sync, &row, -1);
		}
		SPI_freetuptable(SPI_tuptable);
	}
}

void
br_pg_bundles_sync(int32 number, Relation source, BrPgSyncCounts *counts)
{
	int32 catalog;
	BrPgFeed *feed = br_pg_bundles_open(number, source, &catalog, NULL);
	BundleSource *bundles = (BundleSource *) feed;
	BrPgRowSync sync = {.target = feed,
						.has_time = false,
						.read = read_compared,
						.reject = reject_compared,
						.scan_stored = scan_stored,
						.put = put_compared};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_rejections_clear(&bundles->rejections);
	br_pg_leave(&rights);
	br_pg_rowsync(&sync, counts);
	feed->methods->flush(feed);
	counts->rejected = bundles->rejections.total;
	feed->methods->close(feed);
}
