/*
 * candidates.c
 *	  From proposals to the items that may be offered.
 *
 * What may be offered at all (active, in stock, affordable, of the right
 * category, not excluded) is one condition, shared by all statements below.
 * Items with evidence are taken strongest first, in portions, until there are
 * enough, so that a narrow filter does not empty the answer; popular and new
 * items that pass the filter join them wherever they could be among the best, and
 * so do those that rules ask for.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/float.h"

#include "core/math/br_math.h"
#include "pg/decide/learned.h"

/* popular and new items proposed beside the evidence, and more where there is little of it */
#define POPULAR_ITEMS 12
#define NEW_ITEMS 6
/* proposals fetched at a time: a few more than are needed, since some may not be offered */
#define PORTION (BR_PG_CANDIDATES + BR_PG_CANDIDATES / 8)
#define FRESH_DAYS 30.0
/* costs are not compared with more times a price than this: the product might overflow */
#define COST_LIMIT 1e6
/* rows of the source that a caller who sees few of them is asked for, and items taken from those */
#define VISIBLE_ROWS 5000
#define VISIBLE_ITEMS 500
/* what being bought by everybody counts for in the choice, beside an affinity of 1 */
#define POPULARITY_SHARE 0.1
/* popular and new items looked through for rules, and taken, for each rule or category */
#define RULED_WALK "500"
#define RULED_NEW "100"
#define RULED_EACH 16
#define RULED_OF_CATEGORY 8

/*
 * $1 in_stock, $2 budget, $3 the largest cost for a price of 1 (infinite: it must
 * be known), $4 categories, $5 excluded numbers, $7 banned categories; s is
 * item_state, i is item.
 */
#define MAY_BE_OFFERED                                                  \
	" s.active AND (NOT $1 OR s.stock IS NULL OR s.stock >= 1)"         \
	" AND ($2 IS NULL OR s.price <= $2)"                                \
	" AND ($3 IS NULL OR (s.price > 0 AND s.cost <= s.price * $3))"     \
	" AND ($4 IS NULL OR i.category = ANY ($4)) AND s.item <> ALL ($5)" \
	" AND ($7 IS NULL OR i.category IS NULL OR i.category <> ALL ($7))"

#define FILTER_ARGUMENTS BOOLOID, FLOAT8OID, FLOAT8OID, TEXTARRAYOID, INT4ARRAYOID

#define RULE_ARGUMENT TEXTARRAYOID

/* the six above, and room for a statement's own sixth and eighth */
typedef struct Filter
{
	Datum values[8];
	char nulls[8];
	bool hid; /* there were items that the caller cannot see */
} Filter;

/* numbers of what must not be offered: the basket, what the caller excludes, what rules ban */
static Datum
excluded_numbers(const BrPgDecision *decision)
{
	static const Oid types[] = {TEXTARRAYOID};
	const BrPgRequest *request = decision->request;
	int n_banned;
	char **banned = br_pg_rules_items(request->rules, BR_PG_RULE_BAN, &n_banned);
	int n_ids = request->n_basket + request->n_exclude + n_banned;
	char **ids = palloc(sizeof(char *) * Max(n_ids, 1));
	Datum values[1];
	uint64 n;
	int32 *numbers;

	memcpy(ids, request->basket, sizeof(char *) * request->n_basket);
	memcpy(ids + request->n_basket, request->exclude, sizeof(char *) * request->n_exclude);
	memcpy(ids + request->n_basket + request->n_exclude, banned, sizeof(char *) * n_banned);
	values[0] = br_pg_text_array_datum(ids, n_ids);
	n = br_pg_execute(psprintf("SELECT item FROM bundle_rec.item_%d WHERE item_id = ANY ($1)",
							   request->catalog->number),
					  1, types, values, NULL, true, 0);
	numbers = palloc(sizeof(int32) * Max(n, 1));
	for (uint64 row = 0; row < n; row++)
	{
		bool is_null;

		numbers[row] = DatumGetInt32(br_pg_column(row, 1, &is_null));
	}
	return br_pg_int4_array(numbers, (int) n);
}

/* for a price of 1; what stands alone must earn the margin, in a bundle others may make it good */
static double
largest_cost(const BrPgRequest *request)
{
	const BrConstraints *constraints = &request->constraints;
	double most = (1 - constraints->min_margin) * (1 - constraints->discount) * (1 + 1e-9);

	return constraints->max_size > 1 || most > COST_LIMIT ? get_float8_infinity() : most;
}

static void
set_filter(Filter *filter, const BrPgDecision *decision)
{
	const BrPgRequest *request = decision->request;
	int n_banned;
	char **banned = br_pg_rules_categories(request->rules, BR_PG_RULE_BAN, &n_banned);

	memset(filter, 0, sizeof(*filter));
	memset(filter->nulls, ' ', sizeof(filter->nulls));
	filter->values[0] = BoolGetDatum(request->in_stock);
	/* no item may cost more than the budget buys at the discount; the pool compares exactly */
	filter->values[1] =
		Float8GetDatum(request->budget / (1 - request->constraints.discount) * (1 + 1e-9));
	filter->nulls[1] = request->has_budget ? ' ' : 'n';
	filter->values[2] = Float8GetDatum(largest_cost(request));
	filter->nulls[2] = request->has_margin ? ' ' : 'n';
	filter->values[3] = request->categories;
	filter->nulls[3] = request->has_categories ? ' ' : 'n';
	filter->values[4] = excluded_numbers(decision);
	filter->values[6] = br_pg_text_array_datum(banned, n_banned);
	filter->nulls[6] = n_banned > 0 ? ' ' : 'n';
}

/* proposes up to n items that may be offered, in the given order */
static void
propose_offerable(const BrPgDecision *decision, HTAB *proposals, Filter *filter, const char *sql,
				  int n)
{
	static const Oid types[] = {FILTER_ARGUMENTS, INT4OID, RULE_ARGUMENT, TEXTARRAYOID};
	uint64 found;

	filter->values[5] = Int32GetDatum(n);
	found = br_pg_execute(sql, lengthof(types), types, filter->values, filter->nulls, true, 0);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;

		(void) br_pg_propose(proposals, DatumGetInt32(br_pg_column(row, 1, &is_null)));
	}
}

static void
propose_popular(const BrPgDecision *decision, HTAB *proposals, Filter *filter, int wanted)
{
	int32 n = decision->request->catalog->number;

	propose_offerable(decision, proposals, filter,
					  psprintf("SELECT c.item FROM bundle_rec.item_count_%d c JOIN bundle_rec.item_state_%d s"
							   " USING (item) JOIN bundle_rec.item_%d i USING (item) WHERE" MAY_BE_OFFERED
							   " ORDER BY c.baskets DESC, c.item LIMIT $6",
							   n, n, n),
					  wanted);
}

static void
propose_new(const BrPgDecision *decision, HTAB *proposals, Filter *filter, int wanted)
{
	int32 n = decision->request->catalog->number;

	propose_offerable(decision, proposals, filter,
					  psprintf("SELECT i.item FROM bundle_rec.item_%d i JOIN bundle_rec.item_state_%d s"
							   " USING (item) WHERE" MAY_BE_OFFERED
							   " ORDER BY i.item DESC LIMIT $6",
							   n, n),
					  wanted);
}

/* what a tight budget or margin needs, wherever in the catalog it is */
static void
propose_frugal(const BrPgDecision *decision, HTAB *proposals, Filter *filter)
{
	int32 n = decision->request->catalog->number;

	if (decision->request->has_budget)
		propose_offerable(decision, proposals, filter,
						  psprintf("SELECT s.item FROM bundle_rec.item_state_%d s JOIN bundle_rec.item_%d i"
								   " USING (item) WHERE" MAY_BE_OFFERED
								   " ORDER BY s.price, s.item LIMIT $6",
								   n, n),
						  BR_PG_CANDIDATES);
	if (decision->request->has_margin)
		propose_offerable(decision, proposals, filter,
						  psprintf("SELECT s.item FROM bundle_rec.item_state_%d s JOIN bundle_rec.item_%d i"
								   " USING (item) WHERE" MAY_BE_OFFERED
								   " ORDER BY s.cost / s.price, s.item LIMIT $6",
								   n, n),
						  BR_PG_CANDIDATES);
	propose_new(decision, proposals, filter, BR_PG_CANDIDATES);
}

/* ---- fetching and choosing ---- */

/* on a log scale the most bought item does not drown all others */
double
br_pg_decide_popularity(int64 n, int64 all)
{
	double share;

	if (n <= 0 || all <= 0)
		return 0;
	share = br_math_log(1.0 + (double) n) / br_math_log(1.0 + (double) all);
	return Min(share, 1.0);
}

double
br_pg_decide_freshness(double age)
{
	return br_math_exp(-br_math_log(2.0) * Max(age, 0) / FRESH_DAYS);
}

static void
fill_item(const BrPgDecision *decision, uint64 row, const BrPgProposal *proposal, BrPgItem *item)
{
	BrCandidate *candidate = &item->candidate;
	bool is_null;
	Datum embedding;

	item->item_id = br_pg_column_text(row, 2);
	item->category = br_pg_column_text(row, 3);
	embedding = br_pg_column(row, 5, &is_null);
	item->embedding = is_null ? NULL : DatumGetEmbedding(embedding);
	item->baskets = DatumGetInt64(br_pg_column(row, 9, &is_null));
	item->content_from = proposal->content_from;
	item->similarity = proposal->similarity;
	item->copurchase_from = proposal->copurchase_from;
	item->together = proposal->together;

	candidate->item = proposal->item;
	candidate->price = rint(br_pg_column_number(row, 6, NAN) * BR_PG_MILLIONTHS);
	candidate->cost = rint(br_pg_column_number(row, 7, NAN) * BR_PG_MILLIONTHS);
	candidate->stock = br_pg_column_number(row, 8, INFINITY);
	candidate->content = Min(proposal->content, 1.0);
	candidate->copurchase = Min(proposal->copurchase, 1.0);
	candidate->popularity =
		br_pg_decide_popularity(item->baskets, decision->request->catalog->baskets);
	candidate->freshness = br_pg_decide_freshness(br_pg_column_number(row, 4, INFINITY));
	candidate->boost = br_pg_rules_boost(decision->request->rules, item->item_id, item->category);
	br_pg_learned_fill(decision, proposal, candidate);
}

/* drops what the caller may not see in the source */
static int
keep_visible(const BrPgDecision *decision, BrPgItem *items, int n)
{
	char **ids = palloc(sizeof(char *) * Max(n, 1));
	bool *visible = palloc(sizeof(bool) * Max(n, 1));
	int kept = 0;

	if (n == 0 || !br_pg_catalog_must_ask(decision->request->catalog))
		return n;
	for (int i = 0; i < n; i++)
		ids[i] = items[i].item_id;
	br_pg_catalog_visible(decision->request->catalog, ids, n, visible);
	for (int i = 0; i < n; i++)
		if (visible[i])
			items[kept++] = items[i];
	return kept;
}

/* what the ranker makes of it; without one evidence, with what rules add to it, and popularity */
static double
strength_of(const BrPgDecision *decision, const BrCandidate *candidate)
{
	const BrRanker *ranker = decision->request->constraints.ranker;

	if (ranker != NULL)
		return br_bundle_item_strength(candidate, ranker);
	return br_bundle_affinity(candidate->content, candidate->copurchase) +
		POPULARITY_SHARE * candidate->popularity + candidate->boost;
}

/* appends those of n proposals that may be offered */
static void
fetch_items(BrPgDecision *decision, Filter *filter, BrPgProposal **proposals, int n)
{
	static const Oid types[] = {FILTER_ARGUMENTS, INT4ARRAYOID, RULE_ARGUMENT};
	int32 number = decision->request->catalog->number;
	int32 *wanted = palloc(sizeof(int32) * Max(n, 1));
	BrPgItem *items = palloc0(sizeof(BrPgItem) * Max(n, 1));
	uint64 found;
	BrPgRights rights;

	for (int i = 0; i < n; i++)
	{
		wanted[i] = proposals[i]->item;
		proposals[i]->fetched = true;
	}
	filter->values[5] = br_pg_int4_array(wanted, n);
	br_pg_enter_owner(&rights);
	found =
		br_pg_execute(psprintf("SELECT u.place, i.item_id, i.category,"
							   " EXTRACT(epoch FROM pg_catalog.now() - i.created_at)::pg_catalog.float8 / 86400,"
							   " i.embedding, s.price, s.cost, s.stock, COALESCE(c.baskets, 0)"
							   " FROM pg_catalog.unnest($6) WITH ORDINALITY AS u(item, place)"
							   " JOIN bundle_rec.item_state_%d s USING (item)"
							   " JOIN bundle_rec.item_%d i USING (item)"
							   " LEFT JOIN bundle_rec.item_count_%d c USING (item)"
							   " WHERE" MAY_BE_OFFERED " ORDER BY u.place",
							   number, number, number),
					  lengthof(types), types, filter->values, filter->nulls, true, 0);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;
		int64 place = DatumGetInt64(br_pg_column(row, 1, &is_null));

		fill_item(decision, row, proposals[place - 1], &items[row]);
	}
	br_pg_learned_factors(decision, items, (int) found);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < found; row++)
		items[row].strength = strength_of(decision, &items[row].candidate);

	n = keep_visible(decision, items, (int) found);
	filter->hid = filter->hid || n < (int) found;
	memcpy(decision->items + decision->n_items, items, sizeof(BrPgItem) * n);
	decision->n_items += n;
}

/* fetches what has evidence, strongest first, until there is enough; returns how many were proposed */
static int
fetch_evidence(BrPgDecision *decision, HTAB *proposals, Filter *filter)
{
	int n_evidence, done = 0;
	BrPgProposal **sorted =
		br_pg_proposals_sorted(proposals, decision->request->constraints.ranker, &n_evidence);

	decision->items = palloc(sizeof(BrPgItem) * Max(n_evidence, 1));
	decision->n_items = 0;
	while (done < n_evidence && decision->n_items < BR_PG_CANDIDATES)
	{
		int n = Min(PORTION, n_evidence - done);

		fetch_items(decision, filter, sorted + done, n);
		done += n;
	}
	return n_evidence;
}

/* whether no item without evidence could be among the best: popularity alone would not do */
static bool
strong_enough(const BrPgDecision *decision)
{
	int strong = 0;

	for (int i = 0; i < decision->n_items; i++)
		strong += br_bundle_affinity(decision->items[i].candidate.content,
									 decision->items[i].candidate.copurchase) >= POPULARITY_SHARE;
	return strong >= BR_PG_CANDIDATES;
}

/*
 * What the caller can see, the most bought first: where that is little of the
 * catalog, hardly any of what is popular or new is among it.
 */
static void
fetch_visible(BrPgDecision *decision, HTAB *proposals, Filter *filter)
{
	static const Oid types[] = {FILTER_ARGUMENTS, TEXTARRAYOID, RULE_ARGUMENT};
	const BrPgCatalog *catalog = decision->request->catalog;
	int n_ids, n = 0;
	char **ids = br_pg_catalog_list_visible(catalog, VISIBLE_ROWS, &n_ids);
	BrPgProposal **others = palloc(sizeof(BrPgProposal *) * VISIBLE_ITEMS);
	uint64 found;
	BrPgRights rights;

	filter->values[5] = br_pg_text_array_datum(ids, n_ids);
	br_pg_enter_owner(&rights);
	found =
		br_pg_execute(psprintf("SELECT i.item FROM bundle_rec.item_%d i JOIN bundle_rec.item_state_%d s USING (item)"
							   " LEFT JOIN bundle_rec.item_count_%d c USING (item) WHERE i.item_id = ANY ($6)"
							   " AND" MAY_BE_OFFERED
							   " ORDER BY COALESCE(c.baskets, 0) DESC, i.item DESC",
							   catalog->number, catalog->number, catalog->number),
					  lengthof(types), types, filter->values, filter->nulls, true, VISIBLE_ITEMS);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;
		int32 item = DatumGetInt32(br_pg_column(row, 1, &is_null));

		/* the others were fetched before */
		if (hash_search(proposals, &item, HASH_FIND, NULL) == NULL)
			others[n++] = br_pg_propose(proposals, item);
	}
	br_pg_leave(&rights);
	decision->items = repalloc(decision->items, sizeof(BrPgItem) * Max(decision->n_items + n, 1));
	fetch_items(decision, filter, others, n);
}

/* fetches popular and new items, and those that need no evidence, besides */
static void
fetch_others(BrPgDecision *decision, HTAB *proposals, Filter *filter, int n_evidence, bool more)
{
	int n_all, n = 0;
	BrPgProposal **others;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	propose_popular(decision, proposals, filter,
					Max(POPULAR_ITEMS, BR_PG_CANDIDATES - NEW_ITEMS - n_evidence));
	propose_new(decision, proposals, filter, NEW_ITEMS);
	if (more || hash_get_num_entries(proposals) < BR_PG_CANDIDATES)
		propose_frugal(decision, proposals, filter);
	br_pg_leave(&rights);

	others = br_pg_proposals_sorted(proposals, NULL, &n_all);
	for (int i = 0; i < n_all; i++)
		if (!others[i]->fetched && !br_pg_proposal_has_evidence(others[i]))
			others[n++] = others[i];
	decision->items = repalloc(decision->items, sizeof(BrPgItem) * Max(decision->n_items + n, 1));
	fetch_items(decision, filter, others, n);
	if (decision->n_items < BR_PG_CANDIDATES && filter->hid)
		fetch_visible(decision, proposals, filter);
}

/* ---- what rules ask for ---- */

/*
 * Popular and new items of categories ($8), and with `more` those that strain
 * limits least. The index on categories gives the newest of each, however few
 * there are.
 */
static void
propose_category(const BrPgDecision *decision, HTAB *ruled, Filter *filter, char **categories,
				 int n, bool more)
{
	int32 number = decision->request->catalog->number;
	int each = more ? BR_PG_CANDIDATES : RULED_EACH;

	if (n == 0)
		return;
	filter->values[7] = br_pg_text_array_datum(categories, n);
	propose_offerable(decision, ruled, filter,
					  psprintf("SELECT c.item FROM (SELECT item, baskets FROM bundle_rec.item_count_%d"
							   " ORDER BY baskets DESC, item LIMIT %s) c"
							   " JOIN bundle_rec.item_state_%d s USING (item)"
							   " JOIN bundle_rec.item_%d i USING (item) WHERE" MAY_BE_OFFERED
							   " AND i.category = ANY ($8) ORDER BY c.baskets DESC, c.item LIMIT $6",
							   number, more ? "ALL" : RULED_WALK, number, number),
					  each);
	propose_offerable(decision, ruled, filter,
					  psprintf("SELECT i.item FROM pg_catalog.unnest($8) u(category), LATERAL"
							   " (SELECT q.item, q.category FROM bundle_rec.item_%d q"
							   " WHERE q.category = u.category ORDER BY q.item DESC LIMIT %s) i"
							   " JOIN bundle_rec.item_state_%d s USING (item) WHERE" MAY_BE_OFFERED
							   " ORDER BY i.item DESC LIMIT $6",
							   number, more ? "ALL" : RULED_NEW, number),
					  more ? each : each / 2);
	for (int limit = 0; more && limit < 2; limit++)
		if (limit == 0 ? decision->request->has_budget : decision->request->has_margin)
			propose_offerable(decision, ruled, filter,
							  psprintf("SELECT s.item FROM bundle_rec.item_state_%d s"
									   " JOIN bundle_rec.item_%d i USING (item) WHERE" MAY_BE_OFFERED
									   " AND i.category = ANY ($8) ORDER BY %s, s.item LIMIT $6",
									   number, number, limit == 0 ? "s.price" : "s.cost / s.price"),
							  each);
}

/* some of each category, so that bundles can be made however few each may have of one */
static void
propose_each_category(const BrPgDecision *decision, HTAB *ruled, Filter *filter, bool more)
{
	static const char *const orders[] = {"COALESCE(c.baskets, 0) DESC, i.item DESC",
										 "s.price, i.item", "s.cost / s.price, i.item"};
	const bool asked[] = {true, more && decision->request->has_budget,
						  more && decision->request->has_margin};
	int32 number = decision->request->catalog->number;

	for (int i = 0; i < lengthof(orders); i++)
		if (asked[i])
			propose_offerable(decision, ruled, filter,
							  psprintf("SELECT r.item FROM (SELECT i.item, pg_catalog.row_number()"
									   " OVER (PARTITION BY i.category ORDER BY %s) AS place"
									   " FROM (SELECT item, category FROM bundle_rec.item_%d"
									   " ORDER BY item DESC LIMIT %s) i"
									   " JOIN bundle_rec.item_state_%d s USING (item)"
									   " LEFT JOIN bundle_rec.item_count_%d c USING (item)"
									   " WHERE" MAY_BE_OFFERED ") r WHERE r.place <= $6",
									   orders[i], number, more ? "ALL" : RULED_WALK, number,
									   number),
							  RULED_OF_CATEGORY);
}

/* in an owner section */
static void
propose_ruled(const BrPgDecision *decision, HTAB *ruled, Filter *filter, bool more)
{
	static const Oid types[] = {TEXTARRAYOID};
	const BrPgRules *rules = decision->request->rules;
	const BrConstraints *constraints = &decision->request->constraints;
	int n_pinned, n_boosted;
	char **pinned = br_pg_rules_items(rules, BR_PG_RULE_PIN, &n_pinned);
	char **boosted = br_pg_rules_items(rules, BR_PG_RULE_BOOST, &n_boosted);
	char **ids = palloc(sizeof(char *) * Max(n_pinned + n_boosted, 1));
	Datum values[1];
	uint64 found;

	memcpy(ids, pinned, sizeof(char *) * n_pinned);
	memcpy(ids + n_pinned, boosted, sizeof(char *) * n_boosted);
	values[0] = br_pg_text_array_datum(ids, n_pinned + n_boosted);
	found = br_pg_execute(br_pg_catalog_sql("SELECT item FROM bundle_rec.item_@"
											" WHERE item_id = ANY ($1)",
											decision->request->catalog->number),
						  1, types, values, NULL, true, 0);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;

		(void) br_pg_propose(ruled, DatumGetInt32(br_pg_column(row, 1, &is_null)));
	}
	for (int i = 0; i < rules->n; i++)
	{
		const BrPgRule *rule = &rules->rules[i];

		if (rule->action == BR_PG_RULE_REQUIRE && constraints->required != 0)
			propose_category(decision, ruled, filter, rule->categories, rule->n_categories, more);
		if (rule->action == BR_PG_RULE_BOOST && rule->amount > 1)
			propose_category(decision, ruled, filter, rule->categories, rule->n_categories, false);
	}
	if (br_pg_rules_have(rules, BR_PG_RULE_CAP) && constraints->max_size > 1)
		propose_each_category(decision, ruled, filter, more);
}

/* fetches what rules ask for and is not there yet, with the evidence for it if there is any */
static void
fetch_ruled(BrPgDecision *decision, HTAB *proposals, Filter *filter, bool more)
{
	HTAB *ruled = br_pg_proposals_create();
	BrPgProposal **others;
	int n_ruled, n = 0;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	propose_ruled(decision, ruled, filter, more);
	br_pg_leave(&rights);
	for (int i = 0; i < decision->n_items; i++)
		(void) hash_search(ruled, &decision->items[i].candidate.item, HASH_REMOVE, NULL);
	others = br_pg_proposals_sorted(ruled, NULL, &n_ruled);
	for (int i = 0; i < n_ruled; i++)
		others[n++] = br_pg_propose(proposals, others[i]->item);
	decision->items = repalloc(decision->items, sizeof(BrPgItem) * Max(decision->n_items + n, 1));
	fetch_items(decision, filter, others, n);
}

void
br_pg_decide_candidates(BrPgDecision *decision, const BrPgDecision *before)
{
	HTAB *proposals = br_pg_proposals_create();
	bool more = before != NULL;
	int n_evidence;
	Filter filter;
	BrPgRights rights;

	decision->proposals = proposals;
	br_pg_enter_owner(&rights);
	set_filter(&filter, decision);
	br_pg_leave(&rights);
	br_pg_propose_evidence(decision, proposals);
	n_evidence = fetch_evidence(decision, proposals, &filter);
	if (more || !strong_enough(decision))
		fetch_others(decision, proposals, &filter, n_evidence, more);
	if (decision->request->rules->n > 0)
		fetch_ruled(decision, proposals, &filter, more);
	br_pg_decide_choose(decision, before);
}

void
br_pg_decide_fetch_ready(BrPgDecision *decision, const int32 *items, int n)
{
	BrPgProposal **proposals = palloc(sizeof(BrPgProposal *) * Max(n, 1));
	int before = decision->n_items;
	Filter filter;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	set_filter(&filter, decision);
	br_pg_leave(&rights);
	/* whatever an item costs, a set may have a price of its own */
	filter.nulls[1] = 'n';
	filter.nulls[2] = 'n';
	for (int i = 0; i < n; i++)
		proposals[i] = br_pg_propose(decision->proposals, items[i]);
	decision->items = repalloc(decision->items, sizeof(BrPgItem) * (decision->n_items + n));
	fetch_items(decision, &filter, proposals, n);
	for (int i = before; i < decision->n_items; i++)
		decision->items[i].ready_only = true;
	br_pg_decide_number(decision);
}
