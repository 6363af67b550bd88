/*
 * curated_pool.c
 *	  The pool of a decision made of curated bundles: their items, the pairs
 *	  inside them, their features.
 *
 * A pool of curated bundles may hold thousands of items, few pairs of which
 * are in one bundle. So features are computed bundle by bundle, over the items
 * of that one alone.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/decide/curated_learned.h"
#include "pg/decide/proposals.h"

/* ---- items ---- */

static int
compare_members(const void *left, const void *right)
{
	const BrPgMember *a = *(const BrPgMember *const *) left;
	const BrPgMember *b = *(const BrPgMember *const *) right;

	return a->item < b->item ? -1 : a->item > b->item;
}

static void
fill_item(const BrPgDecision *decision, HTAB *proposals, const BrPgMember *member, BrPgItem *item)
{
	const BrPgProposal *proposal = hash_search(proposals, &member->item, HASH_FIND, NULL);
	BrCandidate *candidate = &item->candidate;

	item->item_id = member->item_id;
	item->category = member->category;
	item->baskets = member->baskets;
	item->content_from = item->copurchase_from = BR_PG_FROM_NOTHING;
	candidate->item = member->item;
	candidate->category = -1;
	candidate->price = member->price;
	candidate->cost = member->cost;
	candidate->stock = member->stock;
	candidate->popularity =
		br_pg_decide_popularity(member->baskets, decision->request->catalog->baskets);
	candidate->freshness = br_pg_decide_freshness(member->age);
	candidate->boost =
		br_pg_rules_boost(decision->request->rules, member->item_id, member->category);
	if (proposal == NULL)
		return;
	item->content_from = proposal->content_from;
	item->similarity = proposal->similarity;
	item->copurchase_from = proposal->copurchase_from;
	item->together = proposal->together;
	candidate->content = Min(proposal->content, 1.0);
	candidate->copurchase = Min(proposal->copurchase, 1.0);
}

static void
fetch_embeddings(BrPgDecision *decision)
{
	static const Oid types[] = {INT4ARRAYOID};
	int32 *items = palloc(sizeof(int32) * Max(decision->n_items, 1));
	Datum values[1];
	uint64 found;
	BrPgRights rights;

	for (int i = 0; i < decision->n_items; i++)
		items[i] = decision->items[i].candidate.item;
	values[0] = br_pg_int4_array(items, decision->n_items);
	br_pg_enter_owner(&rights);
	found = br_pg_execute(br_pg_catalog_sql("SELECT item, embedding FROM bundle_rec.item_@"
											" WHERE item = ANY ($1) AND embedding IS NOT NULL",
											decision->request->catalog->number),
						  1, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;
		int32 item = DatumGetInt32(br_pg_column(row, 1, &is_null));

		decision->items[br_pg_decide_index_of(decision, item)].embedding =
			DatumGetEmbedding(br_pg_column(row, 2, &is_null));
	}
}

/* the items of all bundles, each once, by number */
static void
fill_items(BrPgDecision *decision, HTAB *proposals, const BrPgOffer *offers, int n)
{
	const BrPgMember **members;
	int n_members = 0;

	for (int i = 0; i < n; i++)
		n_members += offers[i].draft.size;
	members = palloc(sizeof(BrPgMember *) * Max(n_members, 1));
	n_members = 0;
	for (int i = 0; i < n; i++)
		for (int j = 0; j < offers[i].draft.size; j++)
			members[n_members++] = &offers[i].draft.members[j];
	qsort(members, n_members, sizeof(BrPgMember *), compare_members);

	decision->items = palloc0(sizeof(BrPgItem) * Max(n_members, 1));
	decision->n_items = 0;
	for (int i = 0; i < n_members; i++)
		if (i == 0 || members[i]->item != members[i - 1]->item)
			fill_item(decision, proposals, members[i], &decision->items[decision->n_items++]);
	if (decision->request->catalog->model != 0 && n_members > 0)
		fetch_embeddings(decision);
}

/* ---- pairs ---- */

/* a pair of a bundle, by its members */
typedef struct Pair
{
	int bundle;
	int left;
	int right;
} Pair;

static void
set_pair(BrPgDecision *decision, const BrBundle *bundle, BrPgCurated *curated, int i, int j,
		 int64 together)
{
	const BrPgItem *left = &decision->items[bundle->members[i]];
	const BrPgItem *right = &decision->items[bundle->members[j]];
	int here = i * bundle->size + j, there = j * bundle->size + i;

	curated->together[here] = curated->together[there] = together;
	curated->copurchase[here] = curated->copurchase[there] =
		br_bundle_shrunk_cosine(together, left->baskets, right->baskets, BR_BUNDLE_SHRINKAGE);
}

static void
fill_content(const BrPgDecision *decision, const BrBundle *bundle, BrPgCurated *curated)
{
	for (int i = 0; i < bundle->size; i++)
		for (int j = 0; j < i; j++)
		{
			const BrEmbedding *left = decision->items[bundle->members[i]].embedding;
			const BrEmbedding *right = decision->items[bundle->members[j]].embedding;
			double cosine;

			if (left == NULL || right == NULL || left->dims != right->dims)
				continue;
			cosine = Max(br_pg_embedding_cosine(left, right), 0);
			curated->content[i * bundle->size + j] = curated->content[j * bundle->size + i] =
				cosine;
		}
}

/*
 * Looks every pair up that may have been bought: unlike for a search, they are
 * few. The statement asks for catalog, which it does not need, so that the
 * key is used: the other index of the table has all other columns, but would
 * be read through for every pair.
 */
static void
fill_copurchase(BrPgDecision *decision)
{
	static const Oid types[] = {INT4ARRAYOID, INT4ARRAYOID};
	int most = 0, n = 0;
	int32 *left, *right;
	Pair *pairs;
	Datum values[2];
	uint64 found;
	BrPgRights rights;

	for (int b = 0; b < decision->pool.n; b++)
		most += decision->pool.bundles[b].size * (decision->pool.bundles[b].size - 1) / 2;
	left = palloc(sizeof(int32) * Max(most, 1));
	right = palloc(sizeof(int32) * Max(most, 1));
	pairs = palloc(sizeof(Pair) * Max(most, 1));
	for (int b = 0; b < decision->pool.n; b++)
		for (int i = 0; i < decision->pool.bundles[b].size; i++)
			for (int j = 0; j < i; j++)
			{
				const int *members = decision->pool.bundles[b].members;
				const BrPgItem *a = &decision->items[members[j]];
				const BrPgItem *c = &decision->items[members[i]];

				if (a->baskets <= 0 || c->baskets <= 0)
					continue;
				left[n] = a->candidate.item;
				right[n] = c->candidate.item;
				pairs[n++] = (Pair){b, j, i};
			}
	values[0] = br_pg_int4_array(left, n);
	values[1] = br_pg_int4_array(right, n);
	br_pg_enter_owner(&rights);
	found =
		br_pg_execute(br_pg_catalog_sql("SELECT u.place, p.together, p.catalog FROM unnest($1, $2)"
										" WITH ORDINALITY AS u(item, other, place)"
										" JOIN bundle_rec.item_pair_@ p USING (item, other)",
										decision->request->catalog->number),
					  2, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;
		const Pair *pair = &pairs[DatumGetInt64(br_pg_column(row, 1, &is_null)) - 1];

		set_pair(decision, &decision->pool.bundles[pair->bundle], &decision->curated[pair->bundle],
				 pair->left, pair->right, DatumGetInt64(br_pg_column(row, 2, &is_null)));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* ---- the pool ---- */

static void
fill_bundle(BrPgDecision *decision, const BrPgOffer *offer, int b, int64 most_purchases)
{
	const BrPgDraft *draft = &offer->draft;
	BrPgCurated *curated = &decision->curated[b];
	BrBundle *bundle = &decision->pool.bundles[b];
	int *members = palloc(sizeof(int) * draft->size);
	int pairs = draft->size * draft->size;

	curated->quantity = palloc(sizeof(double) * draft->size);
	for (int i = 0; i < draft->size; i++)
	{
		members[i] = br_pg_decide_index_of(decision, draft->members[i].item);
		curated->quantity[i] = draft->members[i].quantity;
	}
	bundle->size = draft->size;
	bundle->members = members;
	bundle->list_price = offer->list_price;
	bundle->price = offer->price;
	bundle->margin = offer->margin;
	/* a ranker weighs it among the features */
	if (decision->request->constraints.ranker == NULL)
		bundle->log_odds = br_bundle_purchase_log_odds(draft->purchases, most_purchases);
	curated->bundle = draft->bundle;
	curated->bundle_id = draft->bundle_id;
	curated->purchases = draft->purchases;
	curated->content = palloc0(sizeof(double) * pairs);
	curated->copurchase = palloc0(sizeof(double) * pairs);
	curated->together = palloc0(sizeof(int64) * pairs);
}

/* learned: may be NULL */
typedef struct Filling
{
	BrPgDecision *decision;
	const BrPgCuratedLearned *learned;
	int64 most_purchases;
} Filling;

/*
 * Some figures are the bundle's own: how often it was bought as a whole counts
 * half of its popularity, beside that of its items, as soon as any bundle was;
 * its stock is how many times it can be sold; and what was learned of bundles was
 * learned of it, so that each of its items has that.
 */
static void
fill_features(const Filling *filling, const BrPgOffer *offer, int b)
{
	BrPgDecision *decision = filling->decision;
	int64 most_purchases = filling->most_purchases;
	const BrBundle *bundle = &decision->pool.bundles[b];
	const BrPgCurated *curated = &decision->curated[b];
	BrAffinity affinity = {curated->content, curated->copurchase};
	BrCandidate *candidates = palloc(sizeof(BrCandidate) * bundle->size);
	int *members = palloc(sizeof(int) * bundle->size);
	double whole = br_pg_decide_popularity(curated->purchases, most_purchases);
	double evidence[BR_LEARNED_COUNT] = {0};
	BrBundle alone = *bundle;

	if (filling->learned != NULL)
		br_pg_curated_learned_evidence(filling->learned, curated->bundle, curated->purchases,
									   most_purchases, evidence);
	for (int i = 0; i < bundle->size; i++)
	{
		members[i] = i;
		candidates[i] = decision->items[bundle->members[i]].candidate;
		candidates[i].stock = floor(candidates[i].stock / offer->draft.members[i].quantity);
		if (most_purchases > 0)
			candidates[i].popularity = (candidates[i].popularity + whole) / 2;
		memcpy(candidates[i].learned, evidence, sizeof(evidence));
	}
	alone.members = members;
	br_bundle_features(candidates, bundle->size, &affinity,
					   decision->request->constraints.typical_price,
					   decision->request->constraints.ranker, &alone,
					   decision->pool.features + (size_t) b * BR_FEATURE_COUNT);
	pfree(candidates);
	pfree(members);
}

/* higher scores first, then the older bundle */
static int
compare_places(const void *left, const void *right, void *arg)
{
	const BrPgDecision *decision = arg;
	int a = *(const int *) left, b = *(const int *) right;
	float of_a = decision->pool.features[a * BR_FEATURE_COUNT + BR_FEATURE_SCORE];
	float of_b = decision->pool.features[b * BR_FEATURE_COUNT + BR_FEATURE_SCORE];

	if (of_a != of_b)
		return of_a > of_b ? -1 : 1;
	return decision->curated[a].bundle < decision->curated[b].bundle ? -1 : 1;
}

/* the place decides ties, and should not hang on how a bundle was found */
static void
sort_pool(BrPgDecision *decision)
{
	int n = decision->pool.n;
	int *order = palloc(sizeof(int) * Max(n, 1));
	BrBundle *bundles = palloc(sizeof(BrBundle) * Max(n, 1));
	BrPgCurated *curated = palloc(sizeof(BrPgCurated) * Max(n, 1));
	float *features = palloc(sizeof(float) * Max(n * BR_FEATURE_COUNT, 1));

	for (int i = 0; i < n; i++)
		order[i] = i;
	qsort_arg(order, n, sizeof(int), compare_places, decision);
	for (int i = 0; i < n; i++)
	{
		bundles[i] = decision->pool.bundles[order[i]];
		bundles[i].strength =
			decision->pool.features[order[i] * BR_FEATURE_COUNT + BR_FEATURE_SCORE];
		curated[i] = decision->curated[order[i]];
		memcpy(features + i * BR_FEATURE_COUNT,
			   decision->pool.features + order[i] * BR_FEATURE_COUNT,
			   sizeof(float) * BR_FEATURE_COUNT);
	}
	decision->pool.bundles = bundles;
	decision->curated = curated;
	decision->pool.features = features;
}

void
br_pg_curated_pool(BrPgDecision *decision, HTAB *proposals, BrPgCuratedLearned *learned,
				   const BrPgOffer *offers, int n)
{
	int64 most_purchases = br_pg_curated_most_purchases(decision->request->catalog);
	Filling filling = {decision, learned, most_purchases};

	if (learned != NULL)
		br_pg_curated_learned_compare(learned, offers, n);
	fill_items(decision, proposals, offers, n);
	memset(&decision->pool, 0, sizeof(decision->pool));
	decision->pool.n = n;
	decision->pool.complete = decision->pool.exhaustive = true;
	decision->pool.bundles = palloc0(sizeof(BrBundle) * Max(n, 1));
	decision->pool.features = palloc(sizeof(float) * Max(n * BR_FEATURE_COUNT, 1));
	decision->curated = palloc(sizeof(BrPgCurated) * Max(n, 1));
	for (int b = 0; b < n; b++)
	{
		fill_bundle(decision, &offers[b], b, most_purchases);
		fill_content(decision, &decision->pool.bundles[b], &decision->curated[b]);
	}
	fill_copurchase(decision);
	for (int b = 0; b < n; b++)
		fill_features(&filling, &offers[b], b);
	sort_pool(decision);
}
