/*
 * choose_items.c
 *	  Of the items that may be offered those that become candidates.
 *
 * Strength alone would not do: where a budget or a margin is tight, some of those
 * that strain it least are needed, and rules need what they name.
 */
#include "postgres.h"

#include "pg/decide/decide.h"

/* candidates that are there for rules, and of them for a budget or a margin besides */
#define RULED_ITEMS (BR_PG_CANDIDATES * 5 / 6)
#define RULED_FRUGAL_ITEMS 20

/* what was found good for something, then the stronger, then the newer item */
static int
compare_items(const void *left, const void *right)
{
	const BrPgItem *a = left;
	const BrPgItem *b = right;

	if (a->found != b->found)
		return a->found ? -1 : 1;
	if (a->strength != b->strength)
		return a->strength > b->strength ? -1 : 1;
	return a->candidate.item > b->candidate.item ? -1 : a->candidate.item < b->candidate.item;
}

static int
compare_numbers(const void *left, const void *right)
{
	const BrPgItem *a = left;
	const BrPgItem *b = right;

	return a->candidate.item < b->candidate.item ? -1 : a->candidate.item > b->candidate.item;
}

/* dense category numbers, by first appearance */
static void
number_categories(BrPgDecision *decision)
{
	for (int i = 0; i < decision->n_items; i++)
	{
		int earlier = 0;

		decision->items[i].candidate.category = -1;
		if (decision->items[i].category == NULL)
			continue;
		while (decision->items[earlier].category == NULL ||
			   strcmp(decision->items[earlier].category, decision->items[i].category) != 0)
			earlier++;
		decision->items[i].candidate.category = earlier;
	}
}

/* cheapest first, or least cost for its price first; unknown ones last */
static int
compare_prices(const void *left, const void *right)
{
	double a = ((const BrPgItem *) left)->candidate.price;
	double b = ((const BrPgItem *) right)->candidate.price;

	return a < b ? -1 : a > b ? 1 : compare_numbers(left, right);
}

static int
compare_costs(const void *left, const void *right)
{
	const BrCandidate *a = &((const BrPgItem *) left)->candidate;
	const BrCandidate *b = &((const BrPgItem *) right)->candidate;
	double of_a = a->cost / a->price;
	double of_b = b->cost / b->price;

	return of_a < of_b ? -1 : of_a > of_b ? 1 : compare_numbers(left, right);
}

/* what rules want among the candidates, strong ones and those that strain limits least, in front */
static int
reserve(BrPgDecision *decision, bool more)
{
	const BrPgRequest *request = decision->request;
	int reserved = br_pg_decide_reserve(decision, 0, RULED_ITEMS, more);

	if (more && request->has_budget)
	{
		qsort(decision->items + reserved, decision->n_items - reserved, sizeof(BrPgItem),
			  compare_prices);
		reserved = br_pg_decide_reserve(decision, reserved, reserved + RULED_FRUGAL_ITEMS, true);
	}
	if (more && request->has_margin)
	{
		qsort(decision->items + reserved, decision->n_items - reserved, sizeof(BrPgItem),
			  compare_costs);
		reserved = br_pg_decide_reserve(decision, reserved, reserved + RULED_FRUGAL_ITEMS, true);
	}
	qsort(decision->items + reserved, decision->n_items - reserved, sizeof(BrPgItem),
		  compare_items);
	return Min(reserved, BR_BUNDLE_MAX_CANDIDATES);
}

void
br_pg_decide_number(BrPgDecision *decision)
{
	qsort(decision->items, decision->n_items, sizeof(BrPgItem), compare_numbers);
	number_categories(decision);
	br_pg_decide_rule_candidates(decision);
}

static bool
was_found(const BrPgDecision *before, int32 item)
{
	int member = br_pg_decide_index_of(before, item);

	for (int b = 0; member >= 0 && b < before->pool.n; b++)
		for (int i = 0; i < before->pool.bundles[b].size; i++)
			if (before->pool.bundles[b].members[i] == member)
				return true;
	return false;
}

void
br_pg_decide_choose(BrPgDecision *decision, const BrPgDecision *before)
{
	const BrPgRequest *request = decision->request;
	bool more = before != NULL;
	int kept = more ? BR_PG_CANDIDATES / 2 : BR_PG_CANDIDATES;
	int n = decision->n_items;

	for (int i = 0; more && i < n; i++)
		decision->items[i].found = was_found(before, decision->items[i].candidate.item);
	qsort(decision->items, n, sizeof(BrPgItem), compare_items);
	if (request->rules->n > 0)
		kept = Max(kept, reserve(decision, more));
	if (more && request->has_budget && n > kept)
	{
		qsort(decision->items + kept, n - kept, sizeof(BrPgItem), compare_prices);
		kept = request->has_margin ? (kept + BR_BUNDLE_MAX_CANDIDATES) / 2 : n;
	}
	if (more && request->has_margin && n > kept)
		qsort(decision->items + kept, n - kept, sizeof(BrPgItem), compare_costs);
	decision->n_items = Min(n, more ? BR_BUNDLE_MAX_CANDIDATES : kept);
	br_pg_decide_number(decision);
}
