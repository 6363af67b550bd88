/*
 * data.c
 *	  Reading a catalog's items, bundles and events for learners.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/catalog/items.h"
#include "pg/embedding.h"
#include "pg/learn/data.h"

#define FIRST_ROOM 1024
/* quantities are sums of doubles: less than this is nothing, as for refresh */
#define SOMETHING 1e-9
/* more than this is as much as this: sums of it fit into a float */
#define MOST_QUANTITY 1e30

/* A text and the dense number it was given. */
typedef struct NumberedText
{
	const char *name; /* the key */
	int32 number;
} NumberedText;

/* Texts in the order in which they came. */
typedef struct NumberedTexts
{
	HTAB *table;
	int n;
	int room;
	char **names;
} NumberedTexts;

static void
names_init(NumberedTexts *names, const char *what)
{
	names->table = br_pg_text_table(what, FIRST_ROOM, sizeof(NumberedText), CurrentMemoryContext);
	names->n = 0;
	names->room = FIRST_ROOM;
	names->names = palloc(sizeof(char *) * names->room);
}

/* shown: the text that stands for it, where that is not the name itself */
static int32
number_of(NumberedTexts *names, const char *name, const char *shown)
{
	bool found;
	NumberedText *entry = hash_search(names->table, &name, HASH_ENTER, &found);

	if (found)
		return entry->number;
	if (names->n == names->room)
	{
		names->room *= 2;
		names->names = repalloc_huge(names->names, sizeof(char *) * (Size) names->room);
	}
	entry->name = pstrdup(name);
	entry->number = names->n;
	names->names[names->n] = shown == name ? unconstify(char *, entry->name) : pstrdup(shown);
	return names->n++;
}

static int
find_number(const int32 *numbers, Size stride, int n, int32 wanted)
{
	int low = 0, high = n - 1;

	while (low <= high)
	{
		int middle = low + (high - low) / 2;
		int32 there = *(const int32 *) ((const char *) numbers + stride * (Size) middle);

		if (there == wanted)
			return middle;
		if (there < wanted)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return -1;
}

int
br_pg_learn_item_index(const BrPgLearnData *data, int32 number)
{
	return data->n_items == 0
		? -1
		: find_number(&data->items->number, sizeof(BrPgLearnItem), data->n_items, number);
}

int
br_pg_learn_bundle_index(const BrPgLearnData *data, int32 number)
{
	return find_number(data->bundles, sizeof(int32), data->n_bundles, number);
}

/* ---- items ---- */

static void
read_items(BrPgLearnData *data)
{
	int room = FIRST_ROOM;
	NumberedTexts categories;
	Portal portal;

	names_init(&categories, "categories");
	data->items = palloc(sizeof(BrPgLearnItem) * room);
	portal = br_pg_open_latest(br_pg_catalog_sql(
		"SELECT i.item, i.item_id, i.category, s.price, s.active,"
		" EXTRACT(epoch FROM pg_catalog.now() - i.created_at)::pg_catalog.float8 / 86400"
		" FROM bundle_rec.item_@ i JOIN bundle_rec.item_state_@ s USING (item) ORDER BY i.item",
		data->catalog->number));
	while (br_pg_fetch(portal))
	{
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			BrPgLearnItem *item;
			char *category = br_pg_column_text(row, 3);
			bool is_null;

			if (data->n_items == room)
			{
				room *= 2;
				data->items = repalloc_huge(data->items, sizeof(BrPgLearnItem) * (Size) room);
			}
			item = &data->items[data->n_items++];
			item->number = DatumGetInt32(br_pg_column(row, 1, &is_null));
			item->item_id = br_pg_column_text(row, 2);
			item->category = category == NULL ? -1 : number_of(&categories, category, category);
			item->price = br_pg_column_number(row, 4, NAN);
			item->active = DatumGetBool(br_pg_column(row, 5, &is_null));
			item->age = br_pg_column_number(row, 6, INFINITY);
			item->text = NULL;
		}
		SPI_freetuptable(SPI_tuptable);
	}
	data->n_categories = categories.n;
	data->categories = categories.names;
}

/* ---- texts: the source once more ---- */

typedef struct Reading
{
	BrPgFeed feed; /* reads the source for us */
	BrPgItemSource *items;
	BrPgLearnData *data;
	HTAB *places; /* of item ids */
	MemoryContext row;
} Reading;

static void
take_text(BrPgFeed *feed, TupleTableSlot *slot, BrPgDifference difference)
{
	Reading *reading = (Reading *) feed;
	MemoryContext outer = MemoryContextSwitchTo(reading->row);
	BrPgItemRow row;
	const NumberedText *place;

	br_pg_items_read(reading->items, slot, &row);
	MemoryContextSwitchTo(outer);
	if (row.rejected == NULL && row.text != NULL)
	{
		place = hash_search(reading->places, &row.id, HASH_FIND, NULL);
		if (place != NULL && reading->data->items[place->number].text == NULL)
			reading->data->items[place->number].text = pstrdup(row.text);
	}
	MemoryContextReset(reading->row);
}

static void
read_texts(BrPgLearnData *data)
{
	static const BrPgFeedMethods methods = {.add = take_text};
	Relation source = table_open(data->catalog->items, AccessShareLock);
	Reading reading = {.data = data};
	char *problem = NULL;
	BrPgFeed *items = br_pg_items_open(data->catalog, source, &problem);

	reading.row = AllocSetContextCreate(data->memory, "row", ALLOCSET_DEFAULT_SIZES);
	reading.places =
		br_pg_text_table("item ids", data->n_items, sizeof(NumberedText), CurrentMemoryContext);
	for (int i = 0; i < data->n_items; i++)
	{
		const char *key = data->items[i].item_id;
		NumberedText *place = hash_search(reading.places, &key, HASH_ENTER, NULL);

		place->number = i;
	}
	/* without its columns the source gives no text; the trigger's warning has said so */
	if (items != NULL)
	{
		reading.items = (BrPgItemSource *) items;
		reading.feed = *items;
		reading.feed.methods = &methods;
		br_pg_source_scan(&reading.feed);
	}
	table_close(source, AccessShareLock);
	hash_destroy(reading.places);
	MemoryContextDelete(reading.row);
}

/* ---- embeddings ---- */

static void
take_embedding(BrPgLearnData *data, int index, const BrEmbedding *embedding)
{
	if (data->embeddings == NULL)
	{
		data->dims = embedding->dims;
		data->embeddings =
			MemoryContextAllocExtended(data->memory,
									   sizeof(float) * (Size) data->n_items * data->dims,
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	}
	/* one of an earlier model waits for refresh */
	if (embedding->dims == data->dims)
		br_pg_embedding_direction(embedding, data->embeddings + (Size) index * data->dims);
}

static void
read_embeddings(BrPgLearnData *data)
{
	MemoryContext batch = AllocSetContextCreate(data->memory, "embeddings", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = CurrentMemoryContext;
	Portal portal =
		br_pg_open_latest(psprintf("SELECT item, embedding FROM bundle_rec.item_%d WHERE model = %d"
								   " AND embedding IS NOT NULL",
								   data->catalog->number, data->catalog->model));

	while (br_pg_fetch(portal))
	{
		MemoryContextSwitchTo(batch);
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			bool is_null;
			int index = br_pg_learn_item_index(data, DatumGetInt32(br_pg_column(row, 1, &is_null)));

			if (index >= 0)
				take_embedding(data, index, DatumGetEmbedding(br_pg_column(row, 2, &is_null)));
		}
		MemoryContextSwitchTo(outer);
		SPI_freetuptable(SPI_tuptable);
		MemoryContextReset(batch);
	}
	MemoryContextDelete(batch);
}

/* ---- bundles ---- */

static void
read_bundles(BrPgLearnData *data)
{
	int room = FIRST_ROOM;
	Portal portal = br_pg_open_latest(
		br_pg_catalog_sql("SELECT b.bundle, b.bundle_id FROM bundle_rec.bundle_@ b WHERE EXISTS (SELECT FROM"
						  " bundle_rec.bundle_item_@ m WHERE m.bundle = b.bundle) ORDER BY b.bundle",
						  data->catalog->number));

	data->bundles = palloc(sizeof(int32) * room);
	data->bundle_ids = palloc(sizeof(char *) * room);
	while (br_pg_fetch(portal))
	{
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			bool is_null;

			if (data->n_bundles == room)
			{
				room *= 2;
				data->bundles = repalloc_huge(data->bundles, sizeof(int32) * (Size) room);
				data->bundle_ids = repalloc_huge(data->bundle_ids, sizeof(char *) * (Size) room);
			}
			data->bundles[data->n_bundles] = DatumGetInt32(br_pg_column(row, 1, &is_null));
			data->bundle_ids[data->n_bundles++] = br_pg_column_text(row, 2);
		}
		SPI_freetuptable(SPI_tuptable);
	}
}

/* Entries of a matrix in the making. */
typedef struct Entries
{
	int64 n;
	int64 room;
	BrEntry *entries;
} Entries;

static void
add_entry(Entries *entries, int32 row, int32 column, float value)
{
	if (entries->n == entries->room)
	{
		entries->room = Max(entries->room * 2, FIRST_ROOM);
		entries->entries = entries->entries == NULL
			? palloc_extended(sizeof(BrEntry) * (Size) entries->room, MCXT_ALLOC_HUGE)
			: repalloc_huge(entries->entries, sizeof(BrEntry) * (Size) entries->room);
	}
	entries->entries[entries->n++] = (BrEntry){row, column, value};
}

static BrSparse
build(Entries *entries, int rows, int columns)
{
	BrContext context;
	BrSparse matrix;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_sparse_build(&context, entries->entries, entries->n, rows, columns,
									  &matrix),
				&context, "could not arrange what was bought", NULL);
	if (entries->entries != NULL)
		pfree(entries->entries);
	return matrix;
}

static void
read_bundle_items(BrPgLearnData *data)
{
	Entries entries = {0};
	Portal portal = br_pg_open_latest(
		br_pg_catalog_sql("SELECT m.bundle, i.item, m.quantity FROM bundle_rec.bundle_item_@ m"
						  " JOIN bundle_rec.item_@ i USING (item_id)",
						  data->catalog->number));

	while (br_pg_fetch(portal))
	{
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			bool is_null;
			int bundle =
				br_pg_learn_bundle_index(data, DatumGetInt32(br_pg_column(row, 1, &is_null)));
			int item = br_pg_learn_item_index(data, DatumGetInt32(br_pg_column(row, 2, &is_null)));

			if (bundle >= 0 && item >= 0)
				add_entry(&entries, bundle, item,
						  (float) Min(br_pg_column_number(row, 3, 1), MOST_QUANTITY));
		}
		SPI_freetuptable(SPI_tuptable);
	}
	data->bundle_items = build(&entries, data->n_bundles, data->n_items);
}

/* ---- events ---- */

/*
 * Before any event is read: of what is counted meanwhile some may be here all the
 * same, but nothing that is missing is claimed to be known.
 */
static void
read_counted(BrPgLearnData *data)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(data->catalog->number)};
	BrPgRights rights;
	bool is_null;

	br_pg_enter_owner(&rights);
	if (br_pg_execute_now("SELECT events_counted FROM bundle_rec.catalog_state WHERE catalog = $1",
						  1, types, values) > 0)
		data->counted = DatumGetInt64(br_pg_column(0, 1, &is_null));
	br_pg_leave(&rights);
	SPI_freetuptable(SPI_tuptable);
}

static float
quantity_of(uint64 row, int column, double if_null)
{
	double quantity = br_pg_column_number(row, column, if_null);

	if (fabs(quantity) <= SOMETHING)
		return 0;
	return (float) Max(Min(quantity, MOST_QUANTITY), -MOST_QUANTITY);
}

/* a basket is named by its source too: two tables may count from 1 */
static const char events_statement[] =
	"SELECT e.user_id, CASE WHEN e.basket_id IS NOT NULL"
	" THEN pg_catalog.concat(e.source, ' ', e.basket_id) END, e.basket_id, i.item, b.bundle,"
	" pg_catalog.sum(CASE e.kind WHEN 'purchase' THEN e.weight WHEN 'return' THEN -e.weight"
	"  ELSE 0 END * e.quantity),"
	" pg_catalog.sum(e.weight * COALESCE((s.weights ->> e.kind)::pg_catalog.float8, 0)),"
	" EXTRACT(epoch FROM pg_catalog.max(e.occurred_at))::pg_catalog.float8"
	" FROM bundle_rec.event_@ e JOIN bundle_rec.event_source s USING (source)"
	" LEFT JOIN bundle_rec.item_@ i ON i.item_id = e.item_id"
	" LEFT JOIN bundle_rec.bundle_@ b ON b.bundle_id = e.bundle_id"
	" GROUP BY e.user_id, e.source, e.basket_id, i.item, b.bundle"
	" ORDER BY e.source, e.basket_id, e.user_id, i.item, b.bundle";

static void
read_event(BrPgLearnData *data, uint64 row, NumberedTexts *users, NumberedTexts *baskets,
		   BrPgLearnEvent *event)
{
	char *user = br_pg_column_text(row, 1);
	char *basket = br_pg_column_text(row, 2);
	char *shown = br_pg_column_text(row, 3);
	bool no_item, no_bundle;
	int32 item = DatumGetInt32(br_pg_column(row, 4, &no_item));
	int32 bundle = DatumGetInt32(br_pg_column(row, 5, &no_bundle));

	event->item = no_item ? -1 : br_pg_learn_item_index(data, item);
	event->bundle = no_bundle ? -1 : br_pg_learn_bundle_index(data, bundle);
	event->bought = quantity_of(row, 6, 0);
	event->strength = (float) br_pg_column_number(row, 7, 0);
	event->at = br_pg_column_number(row, 8, -INFINITY);
	event->user = user == NULL ? -1 : number_of(users, user, user);
	event->basket = basket == NULL ? -1 : number_of(baskets, basket, shown);
	if (user != NULL)
		pfree(user);
	if (basket != NULL)
	{
		pfree(basket);
		pfree(shown);
	}
}

static void
read_events(BrPgLearnData *data)
{
	int64 room = FIRST_ROOM;
	NumberedTexts users, baskets;
	Portal portal = br_pg_open_latest(br_pg_catalog_sql(events_statement, data->catalog->number));

	names_init(&users, "users");
	names_init(&baskets, "baskets");
	data->events = palloc(sizeof(BrPgLearnEvent) * room);
	while (br_pg_fetch(portal))
	{
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			BrPgLearnEvent *event;

			if (data->n_events == room)
			{
				room *= 2;
				data->events = repalloc_huge(data->events, sizeof(BrPgLearnEvent) * (Size) room);
			}
			event = &data->events[data->n_events];
			read_event(data, row, &users, &baskets, event);
			if (event->item >= 0 || event->bundle >= 0)
				data->n_events++;
		}
		SPI_freetuptable(SPI_tuptable);
	}
	data->n_users = users.n;
	data->users = users.names;
	data->n_baskets = baskets.n;
	data->baskets = baskets.names;
	hash_destroy(users.table);
	hash_destroy(baskets.table);
}

BrPgLearnData *
br_pg_learn_read_items(const BrPgCatalog *catalog, int what)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "learning", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(memory);
	BrPgLearnData *data = palloc0(sizeof(BrPgLearnData));

	data->catalog = catalog;
	data->memory = memory;
	data->now = (double) GetCurrentTransactionStartTimestamp() / USECS_PER_SEC +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (double) SECS_PER_DAY;
	read_items(data);
	if ((what & BR_PG_LEARN_TEXTS) && catalog->n_text > 0)
		read_texts(data);
	if ((what & BR_PG_LEARN_EMBEDDINGS) && catalog->model != 0)
		read_embeddings(data);
	read_bundles(data);
	read_bundle_items(data);
	MemoryContextSwitchTo(outer);
	return data;
}

BrPgLearnData *
br_pg_learn_read(const BrPgCatalog *catalog, int what)
{
	BrPgLearnData *data = br_pg_learn_read_items(catalog, what);
	MemoryContext outer = MemoryContextSwitchTo(data->memory);

	read_counted(data);
	read_events(data);
	MemoryContextSwitchTo(outer);
	return data;
}

void
br_pg_learn_data_free(BrPgLearnData *data)
{
	MemoryContextDelete(data->memory);
}

/* ---- matrices ---- */

static bool
is_used(const bool *use, int64 event)
{
	return use == NULL || use[event];
}

/* what an event is about, item by item */
static void
add_items(const BrPgLearnData *data, const BrPgLearnEvent *event, int32 row, float value,
		  Entries *entries)
{
	const BrSparse *bundles = &data->bundle_items;

	if (event->item >= 0)
		add_entry(entries, row, event->item, value);
	else
		for (int64 i = bundles->starts[event->bundle]; i < bundles->starts[event->bundle + 1]; i++)
			add_entry(entries, row, bundles->ids[i], value);
}

static void
set_ones(BrSparse *matrix)
{
	for (int64 i = 0; i < matrix->starts[matrix->rows]; i++)
		matrix->values[i] = 1;
}

BrSparse
br_pg_learn_baskets(const BrPgLearnData *data, const bool *use)
{
	Entries entries = {0};
	BrSparse matrix;

	for (int64 i = 0; i < data->n_events; i++)
		if (is_used(use, i) && data->events[i].basket >= 0)
			add_items(data, &data->events[i], data->events[i].basket, data->events[i].bought,
					  &entries);
	matrix = build(&entries, data->n_baskets, data->n_items);
	set_ones(&matrix);
	return matrix;
}

BrSparse
br_pg_learn_user_items(const BrPgLearnData *data, const bool *use)
{
	Entries entries = {0};

	for (int64 i = 0; i < data->n_events; i++)
		if (is_used(use, i) && data->events[i].user >= 0)
			add_items(data, &data->events[i], data->events[i].user, data->events[i].strength,
					  &entries);
	return build(&entries, data->n_users, data->n_items);
}

BrSparse
br_pg_learn_user_bundles(const BrPgLearnData *data, const bool *use)
{
	Entries entries = {0};
	BrSparse matrix;

	for (int64 i = 0; i < data->n_events; i++)
		if (is_used(use, i) && data->events[i].user >= 0 && data->events[i].bundle >= 0)
			add_entry(&entries, data->events[i].user, data->events[i].bundle,
					  data->events[i].bought);
	matrix = build(&entries, data->n_users, data->n_bundles);
	set_ones(&matrix);
	return matrix;
}
