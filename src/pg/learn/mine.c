/*
 * mine.c
 *	  New curated bundles out of the sets of items that baskets hold together.
 *
 * Which set is worth a bundle? Lift ranks what was bought twice by chance first,
 * support what everybody buys anyway. Sets are therefore ranked by how many more
 * baskets hold them than chance explains. A popular item adds itself to any good
 * pair, so that chance is taken at its best: of all ways to leave one item out,
 * the one after which the rest and that item, if independent, would meet most
 * often. A set must exceed that by two deviations of a Poisson number.
 *
 * Of those, what a larger set says nearly as often is left out, and then what
 * shares more than half of its items with a set that ranks before it.
 *
 * Source for chance at its best: Webb, "Self-sufficient itemsets: an approach to
 * screening potentially interesting associations between items", TKDD 2010.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "core/learn/br_learn.h"
#include "pg/learn/detect.h"
#include "pg/learn/learn_int.h"

/* a larger set that holds so much of the support says the same */
#define NEARLY_ALL 0.9
/* of the smaller of two sets, shared items beyond which the second repeats the first */
#define MOST_SHARED 0.5
#define DEVIATIONS 2.0

/* A set by its items; unused places are 0. */
typedef struct SetKey
{
	int32 items[BR_ITEMSETS_MAX_SIZE]; /* ascending */
} SetKey;

typedef struct MinedSet
{
	SetKey key;
	int n;
	int64 support;
	double expected; /* if all items were independent */
	double excess;	 /* of the support over what chance at its best explains */
	double noise;	 /* one deviation of that */
	bool eligible;
} MinedSet;

typedef struct SetEntry
{
	SetKey key;
	int64 support; /* of a set that was mined; 0: a curated bundle only */
	int set;	   /* index of a mined set; -1 */
	bool curated;
} SetEntry;

/* An item that stands in a set. */
typedef struct MinedItem
{
	int32 item; /* the key */
	int64 baskets;
	double price;
	char *item_id; /* NULL: it is no longer there, or not active */
	char *category;
	bool visible;
} MinedItem;

typedef struct Mining
{
	const BrPgCatalog *catalog;
	const BrPgMiningRequest *request;
	int32 version;
	double baskets;
	int n;
	MinedSet *sets;
	HTAB *items;	/* MinedItem */
	HTAB *by_items; /* SetEntry */
} Mining;

static HTAB *
make_table(const char *name, Size key, Size entry)
{
	HASHCTL control = {.keysize = key, .entrysize = entry, .hcxt = CurrentMemoryContext};

	return hash_create(name, 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static MinedItem *
item_of(const Mining *mining, int32 item)
{
	return hash_search(mining->items, &item, HASH_FIND, NULL);
}

/* ---- what was mined ---- */

static void
find_version(Mining *mining)
{
	static const Oid types[] = {INT4OID, TEXTOID};
	const char *kind = br_pg_fit_kind_name(BR_PG_KIND_ITEMSETS);
	Datum values[] = {Int32GetDatum(mining->catalog->number), CStringGetTextDatum(kind)};
	const double *weights = NULL;
	uint64 found = br_pg_execute("SELECT version, weights FROM bundle_rec.learned_version"
								 " WHERE catalog = $1 AND kind = $2 AND serving",
								 lengthof(types), types, values, NULL, true, 0);
	bool is_null;
	int n = 0;

	if (found > 0)
		weights = br_pg_column_elements(0, 2, &n);
	if (n != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("catalog \"%s\" has no sets of items that are bought together",
						mining->catalog->name),
				 errhint("Its owner makes them by fit('%s', 'itemsets').", mining->catalog->name)));
	mining->version = DatumGetInt32(br_pg_column(0, 1, &is_null));
	mining->baskets = weights[0];
	SPI_freetuptable(SPI_tuptable);
}

static void
read_sets(Mining *mining)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(mining->version), Int32GetDatum(mining->request->max_size)};
	uint64 found =
		br_pg_execute(br_pg_catalog_sql("SELECT items, support FROM bundle_rec.learned_set_@"
										" WHERE version = $1 AND categories = '{}'"
										" AND pg_catalog.cardinality(items) <= $2 ORDER BY number",
										mining->catalog->number),
					  lengthof(types), types, values, NULL, true, 0);

	mining->sets =
		palloc_extended(sizeof(MinedSet) * Max(found, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint64 row = 0; row < found; row++)
	{
		MinedSet *set = &mining->sets[mining->n];
		const int32 *items = br_pg_column_elements(row, 1, &set->n);
		bool is_null, known;
		SetEntry *entry;

		set->n = Min(set->n, BR_ITEMSETS_MAX_SIZE);
		memcpy(set->key.items, items, sizeof(int32) * set->n);
		set->support = DatumGetInt64(br_pg_column(row, 2, &is_null));
		for (int i = 0; i < set->n; i++)
		{
			MinedItem *item = hash_search(mining->items, &items[i], HASH_ENTER, &known);

			if (!known)
				*item = (MinedItem){.item = items[i]};
		}
		entry = hash_search(mining->by_items, &set->key, HASH_ENTER, &known);
		*entry = (SetEntry){set->key, set->support, mining->n++, false};
	}
	SPI_freetuptable(SPI_tuptable);
}

/* how many baskets hold each item, as of the fit */
static void
read_counts(Mining *mining)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(mining->version)};
	uint64 found =
		br_pg_execute(br_pg_catalog_sql("SELECT others, weights FROM bundle_rec.learned_list_@"
										" WHERE version = $1 AND item = 0",
										mining->catalog->number),
					  1, types, values, NULL, true, 0);

	for (uint64 row = 0; row < found; row++)
	{
		int n, n_weights;
		const int32 *others = br_pg_column_elements(row, 1, &n);
		const float *weights = br_pg_column_elements(row, 2, &n_weights);

		for (int i = 0; i < Min(n, n_weights); i++)
		{
			MinedItem *item = item_of(mining, others[i]);

			if (item != NULL)
				item->baskets = (int64) weights[i];
		}
	}
	SPI_freetuptable(SPI_tuptable);
}

/* those that are there and active */
static void
read_items(Mining *mining)
{
	static const Oid types[] = {INT4ARRAYOID};
	int32 *numbers = palloc(sizeof(int32) * Max(hash_get_num_entries(mining->items), 1));
	HASH_SEQ_STATUS walk;
	const MinedItem *met;
	Datum values[1];
	uint64 found;
	int n = 0;

	hash_seq_init(&walk, mining->items);
	while ((met = hash_seq_search(&walk)) != NULL)
		numbers[n++] = met->item;
	values[0] = br_pg_int4_array(numbers, n);
	found = br_pg_execute(br_pg_catalog_sql("SELECT i.item, i.item_id, i.category, s.price"
											" FROM bundle_rec.item_@ i"
											" JOIN bundle_rec.item_state_@ s USING (item)"
											" WHERE i.item = ANY ($1) AND s.active",
											mining->catalog->number),
						  1, types, values, NULL, true, 0);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;
		MinedItem *item = item_of(mining, DatumGetInt32(br_pg_column(row, 1, &is_null)));

		item->item_id = br_pg_column_text(row, 2);
		item->category = br_pg_column_text(row, 3);
		item->price = br_pg_column_number(row, 4, NAN);
		item->visible = true;
	}
	SPI_freetuptable(SPI_tuptable);
	pfree(numbers);
}

static void
hide_invisible(Mining *mining)
{
	int most = (int) hash_get_num_entries(mining->items), n = 0;
	char **item_ids = palloc(sizeof(char *) * Max(most, 1));
	MinedItem **items = palloc(sizeof(MinedItem *) * Max(most, 1));
	bool *visible = palloc(sizeof(bool) * Max(most, 1));
	HASH_SEQ_STATUS walk;
	MinedItem *item;

	if (!br_pg_catalog_must_ask(mining->catalog))
		return;
	hash_seq_init(&walk, mining->items);
	while ((item = hash_seq_search(&walk)) != NULL)
		if (item->visible)
		{
			items[n] = item;
			item_ids[n++] = item->item_id;
		}
	br_pg_catalog_visible(mining->catalog, item_ids, n, visible);
	for (int i = 0; i < n; i++)
		items[i]->visible = visible[i];
}

/* bundles that hold nothing that the catalog does not know */
static void
mark_curated(Mining *mining)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(mining->request->max_size)};
	uint64 found =
		br_pg_execute(br_pg_catalog_sql("SELECT pg_catalog.array_agg(i.item ORDER BY i.item)"
										" FROM bundle_rec.bundle_item_@ m"
										" LEFT JOIN bundle_rec.item_@ i USING (item_id)"
										" GROUP BY m.bundle HAVING pg_catalog.count(*) <= $1"
										" AND pg_catalog.count(*) = pg_catalog.count(i.item)",
										mining->catalog->number),
					  1, types, values, NULL, true, 0);

	for (uint64 row = 0; row < found; row++)
	{
		SetKey key = {{0}};
		int n;
		const int32 *items = br_pg_column_elements(row, 1, &n);
		SetEntry *entry;

		memcpy(key.items, items, sizeof(int32) * n);
		entry = hash_search(mining->by_items, &key, HASH_FIND, NULL);
		if (entry != NULL)
			entry->curated = true;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* ---- what they are worth ---- */

/* the set without one of its items */
static SetKey
without(const MinedSet *set, int left_out)
{
	SetKey key = {{0}};
	int n = 0;

	for (int i = 0; i < set->n; i++)
		if (i != left_out)
			key.items[n++] = set->key.items[i];
	return key;
}

/* baskets with the set's other items; where these are not listed, what independence expects */
static double
support_without(const Mining *mining, const MinedSet *set, int left_out)
{
	SetKey key = without(set, left_out);
	const SetEntry *entry = hash_search(mining->by_items, &key, HASH_FIND, NULL);

	if (set->n == 2)
		return (double) item_of(mining, key.items[0])->baskets;
	return entry != NULL ? (double) entry->support
						 : set->expected * mining->baskets /
			(double) Max(item_of(mining, set->key.items[left_out])->baskets, 1);
}

static void
weigh_set(const Mining *mining, MinedSet *set)
{
	double chance = 0;
	bool there = true;

	set->expected = mining->baskets;
	for (int i = 0; i < set->n; i++)
	{
		const MinedItem *item = item_of(mining, set->key.items[i]);

		set->expected *= (double) item->baskets / mining->baskets;
		there = there && item->visible;
	}
	for (int i = 0; i < set->n; i++)
		chance = Max(chance,
					 support_without(mining, set, i) *
						 (double) item_of(mining, set->key.items[i])->baskets / mining->baskets);
	set->excess = (double) set->support - chance;
	set->noise = sqrt(chance);
	set->eligible = there && set->n >= mining->request->min_size &&
		set->support >= mining->request->min_support && set->excess > DEVIATIONS * set->noise &&
		!((SetEntry *) hash_search(mining->by_items, &set->key, HASH_FIND, NULL))->curated;
}

/* those that a set of one more item says nearly as often */
static void
drop_absorbed(Mining *mining)
{
	bool *absorbed = palloc0(sizeof(bool) * Max(mining->n, 1));

	for (int s = 0; s < mining->n; s++)
	{
		const MinedSet *larger = &mining->sets[s];

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; larger->eligible && larger->n > 2 && i < larger->n; i++)
		{
			SetKey key = without(larger, i);
			const SetEntry *entry = hash_search(mining->by_items, &key, HASH_FIND, NULL);

			if (entry != NULL && (double) larger->support >= NEARLY_ALL * (double) entry->support)
				absorbed[entry->set] = true;
		}
	}
	for (int s = 0; s < mining->n; s++)
		mining->sets[s].eligible = mining->sets[s].eligible && !absorbed[s];
	pfree(absorbed);
}

/* most excess first; ties by items */
static int
compare_sets(const void *left, const void *right)
{
	const MinedSet *a = left;
	const MinedSet *b = right;

	if (a->excess != b->excess)
		return a->excess > b->excess ? -1 : 1;
	for (int i = 0; i < BR_ITEMSETS_MAX_SIZE; i++)
		if (a->key.items[i] != b->key.items[i])
			return a->key.items[i] < b->key.items[i] ? -1 : 1;
	return 0;
}

static bool
repeats(const MinedSet *set, const MinedSet *kept)
{
	int shared = 0;

	for (int a = 0, b = 0; a < set->n && b < kept->n;)
	{
		shared += set->key.items[a] == kept->key.items[b];
		if (set->key.items[a] < kept->key.items[b])
			a++;
		else if (set->key.items[a] > kept->key.items[b])
			b++;
		else
			a++, b++;
	}
	return shared > MOST_SHARED * Min(set->n, kept->n);
}

/* the first k sets that repeat none before them, in the first places; returns how many */
static int
keep_best(Mining *mining)
{
	int eligible = 0, kept = 0;

	for (int s = 0; s < mining->n; s++)
		if (mining->sets[s].eligible)
			mining->sets[eligible++] = mining->sets[s];
	qsort(mining->sets, eligible, sizeof(MinedSet), compare_sets);
	for (int s = 0; s < eligible && kept < mining->request->k; s++)
	{
		bool again = false;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < kept && !again; i++)
			again = repeats(&mining->sets[s], &mining->sets[i]);
		if (!again)
			mining->sets[kept++] = mining->sets[s];
	}
	return kept;
}

/* ---- what they are called and cost ---- */

/* sum of prices, less the discount of bundles that are made, as recommend has it */
static double
price_of(const Mining *mining, const MinedSet *set)
{
	double millionths = 0;

	for (int i = 0; i < set->n; i++)
		millionths += rint(item_of(mining, set->key.items[i])->price * 1e6);
	return millionths * (1 - mining->catalog->discount) / 1e6;
}

static BrPgMined *
describe(const Mining *mining, int n)
{
	BrPgMined *mined = palloc0(sizeof(BrPgMined) * Max(n, 1));

	for (int s = 0; s < n; s++)
	{
		const MinedSet *set = &mining->sets[s];

		mined[s] = (BrPgMined){.n = set->n,
							   .support = set->support,
							   .expected = set->expected,
							   .lift = (double) set->support / set->expected,
							   .price = price_of(mining, set)};
		mined[s].item_ids = palloc(sizeof(char *) * set->n);
		mined[s].categories = palloc(sizeof(char *) * set->n);
		for (int i = 0; i < set->n; i++)
		{
			mined[s].item_ids[i] = item_of(mining, set->key.items[i])->item_id;
			mined[s].categories[i] = item_of(mining, set->key.items[i])->category;
		}
	}
	return mined;
}

BrPgMined *
br_pg_mine_bundles(const BrPgCatalog *catalog, const BrPgMiningRequest *request, int *n)
{
	Mining mining = {.catalog = catalog,
					 .request = request,
					 .items = make_table("mined items", sizeof(int32), sizeof(MinedItem)),
					 .by_items = make_table("mined sets", sizeof(SetKey), sizeof(SetEntry))};
	BrPgRights rights;
	BrPgMined *mined;

	br_pg_enter_owner(&rights);
	find_version(&mining);
	read_sets(&mining);
	read_counts(&mining);
	read_items(&mining);
	mark_curated(&mining);
	br_pg_leave(&rights);
	hide_invisible(&mining);
	for (int s = 0; s < mining.n; s++)
	{
		weigh_set(&mining, &mining.sets[s]);
		CHECK_FOR_INTERRUPTS();
	}
	drop_absorbed(&mining);
	*n = keep_best(&mining);
	mined = describe(&mining, *n);
	br_pg_name_bundles(catalog, mined, *n);
	return mined;
}
