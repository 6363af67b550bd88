/*
 * ready_sets.c
 *	  Sets that are there already, curated bundles and mined sets, in the pool of
 *	  generated ones.
 *
 * A search over the strongest candidates finds what fits together pair by pair.
 * What the shop put together, and what was bought together as a whole, may hold
 * items that are no candidates; the strongest of such sets bring theirs along, and
 * the search does not look at those. In the pool all are judged alike.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/decide/curated.h"
#include "pg/decide/ready_sets.h"

/* the strongest candidates whose sets are looked for, and the newest bundles of each of them */
#define EVIDENCE_ITEMS 24
#define BUNDLES_PER_ITEM 16
/* mined sets looked at, those of most baskets */
#define MINED_LOOKED_AT 128
/* items that sets may bring along, beside the candidates of the search */
#define ROOM 30

/* An item that speaks for the sets that hold it: in whole millionths, 1e6 at most. */
typedef struct Evidence
{
	int n;
	int32 items[EVIDENCE_ITEMS + BR_BUNDLE_MAX_CANDIDATES];
	int32 strength[EVIDENCE_ITEMS + BR_BUNDLE_MAX_CANDIDATES];
} Evidence;

/* ---- evidence ---- */

static int
compare_strength(const void *left, const void *right)
{
	const BrPgItem *a = *(const BrPgItem *const *) left;
	const BrPgItem *b = *(const BrPgItem *const *) right;

	if (a->strength != b->strength)
		return a->strength > b->strength ? -1 : 1;
	return a->candidate.item < b->candidate.item ? -1 : a->candidate.item > b->candidate.item;
}

/* What was bought before speaks as loud as the strongest candidate; the others by their strength. */
static void
find_evidence(const BrPgDecision *decision, Evidence *evidence)
{
	const BrPgItem **sorted = palloc(sizeof(BrPgItem *) * Max(decision->n_items, 1));
	double most, least;

	evidence->n = 0;
	for (int i = 0; i < decision->n_items; i++)
		sorted[i] = &decision->items[i];
	qsort(sorted, decision->n_items, sizeof(BrPgItem *), compare_strength);
	most = decision->n_items > 0 ? sorted[0]->strength : 0;
	least = decision->n_items > 0 ? sorted[decision->n_items - 1]->strength : 0;
	for (int i = 0; i < Min(decision->n_items, EVIDENCE_ITEMS); i++)
	{
		evidence->items[evidence->n] = sorted[i]->candidate.item;
		evidence->strength[evidence->n++] =
			(int32) rint((most > least ? (sorted[i]->strength - least) / (most - least) : 1) * 1e6);
	}
	for (int i = 0; i < decision->n_context && evidence->n < lengthof(evidence->items); i++)
	{
		int place = 0;

		/* a set that holds what is in the basket is not offered */
		if (strcmp(decision->context[i].source, "basket") == 0)
			continue;
		while (place < evidence->n && evidence->items[place] != decision->context[i].item)
			place++;
		evidence->items[place] = decision->context[i].item;
		evidence->strength[place] = (int32) 1e6;
		evidence->n = Max(evidence->n, place + 1);
	}
}

static double
strength_of(const Evidence *evidence, const int32 *items, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		for (int j = 0; j < evidence->n; j++)
			if (evidence->items[j] == items[i])
				sum += evidence->strength[j];
	return sum / n;
}

/* ---- curated bundles ---- */

/* sums of whole numbers do not hang on their order */
static const char curated_statement[] =
	"SELECT b.bundle FROM (SELECT m.bundle, pg_catalog.sum(u.strength) AS strength,"
	" (SELECT pg_catalog.count(*) FROM bundle_rec.bundle_item_@ x WHERE x.bundle = m.bundle) AS size"
	" FROM unnest($1, $2) AS u(item, strength) JOIN bundle_rec.item_@ i USING (item), LATERAL ("
	"SELECT q.bundle FROM bundle_rec.bundle_item_@ q"
	" WHERE q.item_id = i.item_id ORDER BY q.bundle DESC LIMIT $3) m GROUP BY m.bundle) b"
	" WHERE b.size BETWEEN $4 AND $5"
	" ORDER BY b.strength / b.size DESC, b.bundle DESC LIMIT $6";

static int32 *
find_curated(const BrPgDecision *decision, const Evidence *evidence, int *n)
{
	static const Oid types[] = {INT4ARRAYOID, INT4ARRAYOID, INT4OID, INT4OID, INT4OID, INT4OID};
	const BrConstraints *constraints = &decision->request->constraints;
	Datum values[] = {br_pg_int4_array(evidence->items, evidence->n),
					  br_pg_int4_array(evidence->strength, evidence->n),
					  Int32GetDatum(BUNDLES_PER_ITEM),
					  Int32GetDatum(constraints->min_size),
					  Int32GetDatum(constraints->max_size),
					  Int32GetDatum(BR_PG_READY_SETS)};
	int32 *numbers = palloc(sizeof(int32) * BR_PG_READY_SETS);
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	*n = (int) br_pg_execute(br_pg_catalog_sql(curated_statement,
											   decision->request->catalog->number),
							 lengthof(types), types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (int i = 0; i < *n; i++)
	{
		bool is_null;

		numbers[i] = DatumGetInt32(br_pg_column(i, 1, &is_null));
	}
	SPI_freetuptable(SPI_tuptable);
	return numbers;
}

/* whether a slate, which names items and not how many of them, can offer it */
static bool
can_be_named(const BrPgDraft *draft)
{
	for (int i = 0; i < draft->size; i++)
		if (draft->members[i].quantity != 1)
			return false;
	return draft->size <= BR_BUNDLE_MAX_SIZE;
}

static bool
is_ruled_out(const BrPgRules *rules, const BrPgDraft *draft)
{
	char *item_ids[BR_BUNDLE_MAX_SIZE], *categories[BR_BUNDLE_MAX_SIZE];

	for (int i = 0; i < draft->size; i++)
	{
		item_ids[i] = draft->members[i].item_id;
		categories[i] = draft->members[i].category;
	}
	return br_pg_decide_rules_refuse(rules, draft->bundle_id, item_ids, categories, draft->size);
}

static void
add_curated(const BrPgDecision *decision, const BrPgBundleTables *tables, const Evidence *evidence,
			BrPgReadySets *sets)
{
	const BrPgCatalog *catalog = decision->request->catalog;
	const BrPgRules *rules = decision->request->rules;
	int n_numbers, n;
	int32 *numbers = find_curated(decision, evidence, &n_numbers);
	BrPgDraft *drafts = br_pg_curated_read(catalog, numbers, n_numbers, &n);

	n = br_pg_curated_keep_visible(catalog, tables, drafts, n);
	for (int i = 0; i < n; i++)
	{
		const BrPgDraft *draft = &drafts[i];
		BrPgReadySet *set = &sets->sets[sets->n];

		if (!br_pg_curated_is_whole(tables, draft) || !can_be_named(draft) ||
			(rules->n > 0 && is_ruled_out(rules, draft)))
			continue;
		set->curated_id = draft->bundle_id;
		set->own_price = rint(draft->members[0].bundle_price * BR_PG_MILLIONTHS);
		set->size = draft->size;
		for (int j = 0; j < draft->size; j++)
			set->items[j] = draft->members[j].item;
		set->strength = strength_of(evidence, set->items, set->size);
		sets->n++;
	}
}

/* ---- mined sets ---- */

/* the stronger, then what is curated, then as they were found */
static int
compare_sets(const void *left, const void *right)
{
	const BrPgReadySet *a = left;
	const BrPgReadySet *b = right;

	if (a->strength != b->strength)
		return a->strength > b->strength ? -1 : 1;
	if ((a->curated_id == NULL) != (b->curated_id == NULL))
		return a->curated_id != NULL ? -1 : 1;
	for (int i = 0; i < Min(a->size, b->size); i++)
		if (a->items[i] != b->items[i])
			return a->items[i] < b->items[i] ? -1 : 1;
	if (a->size != b->size)
		return a->size - b->size;
	return a->curated_id == NULL ? 0 : strcmp(a->curated_id, b->curated_id);
}

static int
compare_numbers(const void *left, const void *right)
{
	int32 a = *(const int32 *) left;
	int32 b = *(const int32 *) right;

	return a < b ? -1 : a > b;
}

static void
add_mined(const BrPgDecision *decision, const Evidence *evidence, BrPgReadySets *sets)
{
	static const Oid types[] = {INT4OID, INT4ARRAYOID, INT4OID, INT4OID, INT4OID};
	const BrPgRequest *request = decision->request;
	Datum values[] = {Int32GetDatum(request->serving->version[BR_PG_KIND_ITEMSETS]),
					  br_pg_int4_array(evidence->items, evidence->n),
					  Int32GetDatum(request->constraints.min_size),
					  Int32GetDatum(request->constraints.max_size), Int32GetDatum(MINED_LOOKED_AT)};
	BrPgReadySet *mined = palloc0(sizeof(BrPgReadySet) * MINED_LOOKED_AT);
	int n;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	n = (int)
		br_pg_execute(br_pg_catalog_sql("SELECT items FROM bundle_rec.learned_set_@"
										" WHERE version = $1 AND items && $2 AND categories = '{}'"
										" AND pg_catalog.cardinality(items) BETWEEN $3 AND $4"
										" ORDER BY support DESC, number LIMIT $5",
										request->catalog->number),
					  lengthof(types), types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (int i = 0; i < n; i++)
	{
		const int32 *items = br_pg_column_elements(i, 1, &mined[i].size);

		mined[i].own_price = NAN;
		memcpy(mined[i].items, items, sizeof(int32) * mined[i].size);
		qsort(mined[i].items, mined[i].size, sizeof(int32), compare_numbers);
		mined[i].strength = strength_of(evidence, mined[i].items, mined[i].size);
	}
	SPI_freetuptable(SPI_tuptable);
	qsort(mined, n, sizeof(BrPgReadySet), compare_sets);
	for (int i = 0; i < Min(n, BR_PG_READY_SETS); i++)
		sets->sets[sets->n++] = mined[i];
}

/* ---- their items ---- */

/* indexes of a set's items; false where one is not among the decision's */
static bool
find_members(const BrPgDecision *decision, const BrPgReadySet *set, int *members)
{
	for (int i = 0; i < set->size; i++)
	{
		members[i] = br_pg_decide_index_of(decision, set->items[i]);
		if (members[i] < 0)
			return false;
	}
	return true;
}

/* asks for the items that sets lack, the strongest sets first, as far as there is room */
static void
bring_items(BrPgDecision *decision, const BrPgReadySets *sets)
{
	int32 missing[ROOM + BR_BUNDLE_MAX_SIZE];
	int n = 0;

	for (int s = 0; s < sets->n; s++)
	{
		const BrPgReadySet *set = &sets->sets[s];
		int before = n;

		for (int i = 0; i < set->size; i++)
		{
			bool known = br_pg_decide_index_of(decision, set->items[i]) >= 0;

			for (int j = 0; j < n && !known; j++)
				known = missing[j] == set->items[i];
			if (!known)
				missing[n++] = set->items[i];
		}
		if (n > ROOM)
			n = before;
	}
	if (n > 0)
		br_pg_decide_fetch_ready(decision, missing, n);
}

BrPgReadySets *
br_pg_ready_sets(BrPgDecision *decision)
{
	const BrPgRequest *request = decision->request;
	bool mined = request->serving->version[BR_PG_KIND_ITEMSETS] != 0;
	BrPgBundleTables *tables;
	BrPgReadySets *sets;
	Evidence evidence;
	int members[BR_BUNDLE_MAX_SIZE];
	int n = 0;

	if (strcmp(request->kind, "bundle") != 0 || decision->n_items == 0)
		return NULL;
	tables = br_pg_bundle_tables_readable(request->catalog);
	if (tables == NULL && !mined)
		return NULL;
	sets = palloc0(sizeof(BrPgReadySets));
	find_evidence(decision, &evidence);
	if (tables != NULL)
		add_curated(decision, tables, &evidence, sets);
	if (mined)
		add_mined(decision, &evidence, sets);
	qsort(sets->sets, sets->n, sizeof(BrPgReadySet), compare_sets);
	bring_items(decision, sets);
	for (int i = 0; i < sets->n; i++)
		if (find_members(decision, &sets->sets[i], members))
			sets->sets[n++] = sets->sets[i];
	sets->n = Min(n, BR_PG_READY_SETS);
	return sets->n > 0 ? sets : NULL;
}

/* ---- into the pool ---- */

/* A member of the pool, and what it is judged with. */
typedef struct Adding
{
	BrPgDecision *decision;
	const BrCandidate *candidates;
	const BrAffinity *affinity;
	BrContext context;
} Adding;

/* whether its own price leaves the margin and keeps to the budget; sets both of *priced */
static bool
affords(const Adding *adding, const BrPgReadySet *set, const int *members, BrBundle *priced)
{
	const BrPgRequest *request = adding->decision->request;
	double cost = 0;

	for (int i = 0; i < set->size; i++)
		cost += adding->candidates[members[i]].cost;
	priced->price = set->own_price;
	priced->margin = set->own_price > 0 ? (set->own_price - cost) / set->own_price : NAN;
	return (!request->has_budget || priced->price <= request->constraints.budget) &&
		(!request->has_margin || priced->margin >= request->constraints.min_margin);
}

/* the place of a set in the pool; -1: the constraints refuse it */
static int
add_set(Adding *adding, const BrPgReadySet *set)
{
	BrPgDecision *decision = adding->decision;
	BrConstraints constraints = decision->request->constraints;
	int members[BR_BUNDLE_MAX_SIZE], place = -1;
	bool own = !isnan(set->own_price);
	BrBundle priced;

	if (!find_members(decision, set, members) || (own && !affords(adding, set, members, &priced)))
		return -1;
	if (own)
	{
		constraints.budget = INFINITY;
		constraints.min_margin = -INFINITY;
	}
	br_pg_check(br_bundle_pool_add(&adding->context, adding->candidates, decision->n_items,
								   adding->affinity, &constraints, members, set->size,
								   &decision->pool, &place),
				&adding->context, "could not assemble bundles", NULL);
	if (own && place >= 0)
	{
		BrBundle *bundle = &decision->pool.bundles[place];

		bundle->price = priced.price;
		bundle->margin = priced.margin;
		br_bundle_features(adding->candidates, decision->n_items, adding->affinity,
						   constraints.typical_price, constraints.ranker, bundle,
						   decision->pool.features + (size_t) place * BR_FEATURE_COUNT);
	}
	return place;
}

/* whether an earlier set holds the same items, all of them ascending */
static bool
is_repeated(const BrPgReadySets *sets, int i)
{
	const BrPgReadySet *set = &sets->sets[i];

	for (int j = 0; j < i; j++)
		if (sets->sets[j].size == set->size &&
			memcmp(sets->sets[j].items, set->items, sizeof(int32) * set->size) == 0)
			return true;
	return false;
}

void
br_pg_ready_sets_add(BrPgDecision *decision, const BrPgReadySets *sets,
					 const BrCandidate *candidates, const BrAffinity *affinity)
{
	Adding adding = {decision, candidates, affinity};

	br_pg_context(&adding.context, CurrentMemoryContext);
	/* pins may follow */
	decision->curated_ids =
		palloc0(sizeof(char *) * (BR_BUNDLE_MAX_POOL + decision->request->rules->n));
	for (int i = 0; i < sets->n && decision->pool.n < BR_BUNDLE_MAX_POOL; i++)
	{
		const BrPgReadySet *set = &sets->sets[i];
		int place;

		/* of two that hold the same the first is offered */
		if (is_repeated(sets, i))
			continue;
		place = add_set(&adding, set);
		if (place >= 0)
			decision->curated_ids[place] = set->curated_id;
	}
}
