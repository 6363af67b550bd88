/*
 * curated_find.c
 *	  Which curated bundles to look at, of perhaps very many.
 *
 * Some orders are asked for their first bundles, each answered by an index:
 * bundles of items that some evidence speaks for, the most purchased bundles,
 * and the newest; where learners of bundles serve, also those that they speak
 * for, and such as are like those. Where these do not make enough that may be offered, all the
 * others follow that the budget and the categories leave, newest first.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/decide/curated_learned.h"
#include "pg/decide/proposals.h"

/* items with evidence whose bundles are looked for, and the newest bundles of each of them */
#define EVIDENCE_ITEMS 100
#define BUNDLES_PER_ITEM 32


static HTAB *
create_numbers(const char *name)
{
	HASHCTL control = {
		.keysize = sizeof(int32),
		.entrysize = sizeof(int32),
		.hcxt = CurrentMemoryContext,
	};

	return hash_create(name, 512, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* column 1 of the SPI result */
static int32 *
take_numbers(uint64 found)
{
	int32 *numbers = palloc(sizeof(int32) * Max(found, 1));

	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;

		numbers[row] = DatumGetInt32(br_pg_column(row, 1, &is_null));
	}
	SPI_freetuptable(SPI_tuptable);
	return numbers;
}

/* ---- what the user owns ---- */

#define BOUGHT(table)                                                          \
	"SELECT item_id, bundle_id, kind, quantity, weight FROM bundle_rec." table \
	" WHERE user_id = $1 AND kind IN ('purchase', 'return')"

/* quantities are sums of doubles: less than 1e-9 is nothing */
static const char owned_statement[] =
	"WITH live AS (SELECT e.item_id, e.bundle_id FROM (" BOUGHT("event_@") " UNION ALL " BOUGHT(
		"event_queue_@") ") e GROUP BY 1, 2"
						 " HAVING pg_catalog.sum(CASE kind WHEN 'purchase' THEN weight ELSE -weight END"
						 " * quantity) > 1e-9),"
						 " whole AS (SELECT b.bundle FROM live JOIN bundle_rec.bundle_@ b USING (bundle_id))"
						 " SELECT bundle, NULL::pg_catalog.int4 FROM whole"
						 " UNION ALL SELECT NULL, i.item FROM live JOIN bundle_rec.item_@ i USING (item_id)"
						 " UNION ALL SELECT NULL, i.item FROM whole JOIN bundle_rec.bundle_item_@ m USING (bundle)"
						 " JOIN bundle_rec.item_@ i USING (item_id)";

BrPgOwned *
br_pg_curated_owned(const BrPgDecision *decision)
{
	static const Oid types[] = {TEXTOID};
	BrPgOwned *owned = palloc(sizeof(BrPgOwned));
	Datum values[] = {CStringGetTextDatum(decision->request->user_id)};
	uint64 found;
	BrPgRights rights;

	owned->bundles = create_numbers("owned bundles");
	owned->items = create_numbers("owned items");
	br_pg_enter_owner(&rights);
	found = br_pg_execute(br_pg_catalog_sql(owned_statement, decision->request->catalog->number), 1,
						  types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < found; row++)
	{
		bool no_bundle, no_item;
		int32 bundle = DatumGetInt32(br_pg_column(row, 1, &no_bundle));
		int32 item = DatumGetInt32(br_pg_column(row, 2, &no_item));

		if (!no_bundle)
			(void) hash_search(owned->bundles, &bundle, HASH_ENTER, NULL);
		if (!no_item)
			(void) hash_search(owned->items, &item, HASH_ENTER, NULL);
	}
	SPI_freetuptable(SPI_tuptable);
	return owned;
}

bool
br_pg_curated_owns(HTAB *numbers, int32 number)
{
	return hash_search(numbers, &number, HASH_FIND, NULL) != NULL;
}

/* ---- what to look at ---- */

/* strength goes in as millionths: sums of whole numbers do not hang on their order */
static int32 *
with_evidence(const BrPgCatalog *catalog, HTAB *proposals, int room, int *n)
{
	static const Oid types[] = {INT4ARRAYOID, INT4ARRAYOID, INT4OID, INT4OID};
	int n_items;
	BrPgProposal **sorted = br_pg_proposals_sorted(proposals, NULL, &n_items);
	int32 items[EVIDENCE_ITEMS], strength[EVIDENCE_ITEMS];
	Datum values[4];
	int taken = 0;

	for (; taken < Min(n_items, EVIDENCE_ITEMS) && sorted[taken]->strength > 0; taken++)
	{
		items[taken] = sorted[taken]->item;
		strength[taken] = (int32) rint(sorted[taken]->strength * 1e6);
	}
	*n = 0;
	if (taken == 0)
		return NULL;
	values[0] = br_pg_int4_array(items, taken);
	values[1] = br_pg_int4_array(strength, taken);
	values[2] = Int32GetDatum(BUNDLES_PER_ITEM);
	values[3] = Int32GetDatum(room);
	*n = (int)
		br_pg_execute(br_pg_catalog_sql("SELECT m.bundle FROM unnest($1, $2) AS u(item, strength)"
										" JOIN bundle_rec.item_@ i USING (item), LATERAL ("
										"SELECT q.bundle FROM bundle_rec.bundle_item_@ q"
										" WHERE q.item_id = i.item_id ORDER BY q.bundle DESC LIMIT $3) m"
										" GROUP BY m.bundle"
										" ORDER BY pg_catalog.sum(u.strength) DESC, m.bundle DESC LIMIT $4",
										catalog->number),
					  lengthof(types), types, values, NULL, true, 0);
	return take_numbers((uint64) *n);
}

static int32 *
most_purchased(const BrPgCatalog *catalog, int room, int *n)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(room)};

	*n = (int) br_pg_execute(br_pg_catalog_sql("SELECT bundle FROM bundle_rec.bundle_count_@"
											   " WHERE purchases > 0"
											   " ORDER BY purchases DESC, bundle LIMIT $1",
											   catalog->number),
							 1, types, values, NULL, true, 0);
	return take_numbers((uint64) *n);
}

/* one without items is no longer in its source */
static int32 *
newest(const BrPgCatalog *catalog, int room, int *n)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(room)};

	*n =
		(int) br_pg_execute(br_pg_catalog_sql("SELECT DISTINCT bundle FROM bundle_rec.bundle_item_@"
											  " ORDER BY bundle DESC LIMIT $1",
											  catalog->number),
							lengthof(types), types, values, NULL, true, 0);
	return take_numbers((uint64) *n);
}

#define FITS_BUDGET "m.bundle < $1 AND ($3 IS NULL OR m.price IS NULL OR m.price <= $3)"

int32 *
br_pg_curated_below(const BrPgDecision *decision, int32 number, int *n)
{
	static const Oid types[] = {INT4OID, INT4OID, FLOAT8OID, TEXTARRAYOID};
	const BrPgRequest *request = decision->request;
	/* judged exactly when it is read */
	Datum values[] = {Int32GetDatum(number), Int32GetDatum(*n),
					  Float8GetDatum(request->budget * (1 + 1e-9)), request->categories};
	char nulls[] = {' ', ' ', request->has_budget ? ' ' : 'n', ' '};
	const char *all = "SELECT DISTINCT m.bundle FROM bundle_rec.bundle_item_@ m"
					  " WHERE " FITS_BUDGET " ORDER BY m.bundle DESC LIMIT $2";
	const char *of_categories =
		"SELECT DISTINCT m.bundle FROM bundle_rec.item_@ i"
		" JOIN bundle_rec.bundle_item_@ m USING (item_id)"
		" WHERE i.category = ANY ($4) AND " FITS_BUDGET " ORDER BY m.bundle DESC LIMIT $2";
	BrPgRights rights;
	int32 *numbers;

	br_pg_enter_owner(&rights);
	*n = (int) br_pg_execute(br_pg_catalog_sql(request->has_categories ? of_categories : all,
											   request->catalog->number),
							 request->has_categories ? 4 : 3, types, values, nulls, true, 0);
	numbers = take_numbers((uint64) *n);
	br_pg_leave(&rights);
	return numbers;
}

typedef enum Order
{
	WITH_EVIDENCE,
	LEARNED,
	LIKE_LEARNED,
	MOST_PURCHASED,
	NEWEST,
	N_ORDERS
} Order;

/* the first `share` of each order, then the rest of each */
static int32 *
merge(int32 *const *orders, const int *n_in, const int *share, int *n)
{
	HTAB *seen = create_numbers("bundles seen");
	int32 *merged;
	int all = 0;

	for (int order = 0; order < N_ORDERS; order++)
		all += n_in[order];
	merged = palloc(sizeof(int32) * Max(all, 1));
	*n = 0;
	for (int rest = 0; rest < 2; rest++)
		for (int order = 0; order < N_ORDERS; order++)
		{
			int first = rest ? Min(share[order], n_in[order]) : 0;
			int last = rest ? n_in[order] : Min(share[order], n_in[order]);

			for (int i = first; i < last; i++)
			{
				bool found;

				(void) hash_search(seen, &orders[order][i], HASH_ENTER, &found);
				if (!found)
					merged[(*n)++] = orders[order][i];
			}
		}
	hash_destroy(seen);
	return merged;
}

int32 *
br_pg_curated_promising(const BrPgDecision *decision, HTAB *proposals, BrPgCuratedLearned *learned,
						int room, int *n, bool *all)
{
	/* the places of a full pool that each order is sure of, in sixteenths */
	static const int unlearned_share[N_ORDERS] = {10, 0, 0, 4, 2};
	static const int learned_share[N_ORDERS] = {4, 6, 2, 3, 1};
	const BrPgCatalog *catalog = decision->request->catalog;
	int32 *orders[N_ORDERS] = {NULL};
	int n_in[N_ORDERS] = {0}, share[N_ORDERS];
	BrPgRights rights;

	for (int order = 0; order < N_ORDERS; order++)
		share[order] =
			room * (learned == NULL ? unlearned_share[order] : learned_share[order]) / 16;
	if (learned != NULL)
	{
		orders[LEARNED] = br_pg_curated_learned_best(learned, room, &n_in[LEARNED]);
		orders[LIKE_LEARNED] = br_pg_curated_learned_like(learned, room, &n_in[LIKE_LEARNED]);
	}
	br_pg_enter_owner(&rights);
	orders[WITH_EVIDENCE] = with_evidence(catalog, proposals, room, &n_in[WITH_EVIDENCE]);
	orders[MOST_PURCHASED] = most_purchased(catalog, room, &n_in[MOST_PURCHASED]);
	orders[NEWEST] = newest(catalog, room, &n_in[NEWEST]);
	br_pg_leave(&rights);
	*all = n_in[NEWEST] < room;
	return merge(orders, n_in, share, n);
}
