/*
 * itemsets.c
 *	  Sets of items that stand together in many baskets, by FP-growth.
 *
 * The baskets become a tree of common beginnings. What stands together with an
 * item above it is on the paths from its nodes to the root: these paths are
 * again baskets, of a smaller tree, in which the same question is asked with one
 * item more. No set is looked at that is not frequent.
 *
 * Any order of items along the paths gives the same sets. With the most
 * supported nearest to the root the tree is small; beginning with them, sets of
 * much support are found early, which matters once more are frequent than may be
 * kept. With the largest number nearest to the root, and beginning farthest from
 * it, sets are found in the order of their items: where a limit cuts through
 * sets of equal support, the second search ends as soon as the first of them are
 * found, however many there are.
 */
#include <stdlib.h>
#include <string.h>

#include "core/learn/itemsets_int.h"

typedef struct Mining
{
	BrBudget budget;
	const BrSparse *baskets;
	const BrItemsetOptions *options;
	int places;		   /* items with enough support */
	int32_t *item_at;  /* (places) */
	int32_t *place_of; /* (items); -1: not enough support */
	int32_t *path;	   /* (places) */
	BrTree trees[BR_ITEMSETS_MAX_SIZE];
	int32_t set[BR_ITEMSETS_MAX_SIZE];
	int size;
	BrKept kept;
} Mining;

void
br_learn_itemsets_free(BrContext *context, BrItemsets *sets)
{
	br_base_free(context, sets->starts);
	br_base_free(context, sets->items);
	br_base_free(context, sets->support);
	memset(sets, 0, sizeof(*sets));
}

static BrStatus
check_options(BrContext *context, const BrSparse *baskets, const BrItemsetOptions *options)
{
	const BrSparse *ancestors = options->ancestors;
	BrStatus status = br_learn_sparse_check(context, baskets);

	if (status == BR_OK && ancestors != NULL)
		status = br_learn_sparse_check(context, ancestors);
	if (status != BR_OK)
		return status;
	if (options->least_support < 1 || options->limit < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The least support and the limit must be 1 or more, but are %lld and "
							"%lld.",
							(long long) options->least_support, (long long) options->limit);
	if (options->min_size < 1 || options->max_size < options->min_size ||
		options->max_size > BR_ITEMSETS_MAX_SIZE)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Sets of %d to %d items cannot be found; sizes are 1 to %d.",
							options->min_size, options->max_size, BR_ITEMSETS_MAX_SIZE);
	if (ancestors != NULL &&
		(ancestors->rows != baskets->columns || ancestors->columns != baskets->columns))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Ancestors are %d by %d, but there are %d items.", ancestors->rows,
							ancestors->columns, baskets->columns);
	return BR_OK;
}

/* ---- the order of items ---- */

typedef struct Ranked
{
	int32_t item;
	int64_t key; /* ascending from the root */
} Ranked;

static int
compare_ranked(const void *left, const void *right)
{
	const Ranked *a = left;
	const Ranked *b = right;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return a->item < b->item ? -1 : a->item > b->item;
}

static BrStatus
count_items(Mining *mining, int64_t *support)
{
	int64_t entries = br_learn_entries(mining->baskets);

	for (int64_t i = 0; i < entries; i++)
	{
		support[mining->baskets->ids[i]]++;
		if (i % 65536 == 0)
		{
			BrStatus status = br_learn_budget_step(&mining->budget, 65536);

			if (status != BR_OK)
				return status;
		}
	}
	return BR_OK;
}

/* gives each item of enough support its place */
static BrStatus
order_items(Mining *mining, const int64_t *support, Ranked *ranked)
{
	bool by_number = mining->kept.keeping == BR_KEEP_FIRST;
	int items = mining->baskets->columns;
	int n = 0;

	for (int32_t item = 0; item < items; item++)
	{
		mining->place_of[item] = -1;
		if (support[item] >= mining->kept.threshold)
			ranked[n++] = (Ranked){item, by_number ? -(int64_t) item : -support[item]};
	}
	if (n > 0)
		qsort(ranked, (size_t) n, sizeof(Ranked), compare_ranked);
	mining->places = n;
	for (int place = 0; place < n; place++)
	{
		mining->item_at[place] = ranked[place].item;
		mining->place_of[ranked[place].item] = place;
	}
	return br_learn_budget_step(&mining->budget, 50 * (int64_t) items);
}

static int
compare_places(const void *left, const void *right)
{
	int32_t a = *(const int32_t *) left;
	int32_t b = *(const int32_t *) right;

	return a < b ? -1 : a > b;
}

static void
sort_places(int32_t *places, size_t n)
{
	if (n > 0)
		qsort(places, n, sizeof(int32_t), compare_places);
}

/* ---- the tree of all baskets ---- */

static BrStatus
plant(Mining *mining)
{
	const BrSparse *baskets = mining->baskets;
	BrTree *tree = &mining->trees[0];
	BrStatus status = BR_OK;

	for (int64_t i = 0; i < br_learn_entries(baskets) && status == BR_OK; i++)
	{
		int32_t place = mining->place_of[baskets->ids[i]];

		if (place >= 0)
			status = br_learn_tree_count(&mining->budget, tree, place, 1);
		if (status == BR_OK && i % 65536 == 0)
			status = br_learn_budget_step(&mining->budget, 65536);
	}
	sort_places(tree->present.elements, tree->present.n);
	if (status != BR_OK || mining->options->max_size == 1)
		return status;
	status = br_learn_tree_prepare(&mining->budget, tree, br_learn_entries(baskets));
	for (int row = 0; row < baskets->rows && status == BR_OK; row++)
	{
		int n = 0;

		for (int64_t i = baskets->starts[row]; i < baskets->starts[row + 1]; i++)
			if (mining->place_of[baskets->ids[i]] >= 0)
				mining->path[n++] = mining->place_of[baskets->ids[i]];
		sort_places(mining->path, (size_t) n);
		status = br_learn_budget_step(&mining->budget, 50 * (int64_t) n);
		if (status == BR_OK)
			status = br_learn_tree_insert(&mining->budget, tree, mining->path, n, 1);
	}
	return status;
}

/* ---- growing sets ---- */

static bool
is_ancestor(const BrSparse *ancestors, int32_t item, int32_t other)
{
	int64_t low = ancestors->starts[item];
	int64_t high = ancestors->starts[item + 1];

	while (low < high)
	{
		int64_t middle = low + (high - low) / 2;

		if (ancestors->ids[middle] < other)
			low = middle + 1;
		else
			high = middle;
	}
	return low < ancestors->starts[item + 1] && ancestors->ids[low] == other;
}

static bool
related_to_set(const Mining *mining, int32_t item)
{
	const BrSparse *ancestors = mining->options->ancestors;

	for (int i = 0; ancestors != NULL && i < mining->size; i++)
		if (is_ancestor(ancestors, mining->set[i], item) ||
			is_ancestor(ancestors, item, mining->set[i]))
			return true;
	return false;
}

/* counts what stands above the nodes of a place; *steps: how many nodes that are */
static BrStatus
count_above(Mining *mining, const BrTree *tree, int32_t place, BrTree *smaller, int64_t *steps)
{
	const BrTreeNode *nodes = tree->nodes.elements;

	*steps = 0;
	for (int32_t at = tree->first[place] - 1; at >= 0; at = nodes[at].next)
	{
		int64_t before = *steps;
		BrStatus status = BR_OK;

		for (int32_t above = nodes[at].parent; above >= 0 && status == BR_OK;
			 above = nodes[above].parent, ++*steps)
			status =
				br_learn_tree_count(&mining->budget, smaller, nodes[above].place, nodes[at].count);
		if (status == BR_OK)
			status = br_learn_budget_step(&mining->budget, 5 * (*steps - before + 1));
		if (status != BR_OK)
			return status;
	}
	return BR_OK;
}

/* leaves only places that make a frequent set with the present one, ascending */
static void
choose_places(Mining *mining, BrTree *smaller)
{
	int32_t *present = smaller->present.elements;
	size_t kept = 0;

	for (size_t i = 0; i < smaller->present.n; i++)
	{
		if (smaller->support[present[i]] >= mining->kept.threshold &&
			!related_to_set(mining, mining->item_at[present[i]]))
			present[kept++] = present[i];
		else
			smaller->support[present[i]] = 0;
	}
	smaller->present.n = kept;
	sort_places(present, kept);
}

/* puts the paths above the nodes of a place, as far as they are of use, into the smaller tree */
static BrStatus
copy_above(Mining *mining, const BrTree *tree, int32_t place, BrTree *smaller, int64_t steps)
{
	const BrTreeNode *nodes = tree->nodes.elements;
	BrStatus status = br_learn_tree_prepare(&mining->budget, smaller, steps);

	for (int32_t at = tree->first[place] - 1; at >= 0 && status == BR_OK; at = nodes[at].next)
	{
		int n = 0;
		int64_t length = 0;

		for (int32_t above = nodes[at].parent; above >= 0; above = nodes[above].parent, length++)
			if (smaller->support[nodes[above].place] > 0)
				mining->path[n++] = nodes[above].place;
		for (int i = 0; i < n / 2; i++)
		{
			int32_t held = mining->path[i];

			mining->path[i] = mining->path[n - 1 - i];
			mining->path[n - 1 - i] = held;
		}
		status = br_learn_budget_step(&mining->budget, 5 * length);
		if (status == BR_OK)
			status =
				br_learn_tree_insert(&mining->budget, smaller, mining->path, n, nodes[at].count);
	}
	return status;
}

static BrStatus grow(Mining *mining);

/* the sets that continue the present one, whose last item has this place in its tree */
static BrStatus
grow_above(Mining *mining, int32_t place)
{
	const BrTree *tree = &mining->trees[mining->size - 1];
	BrTree *smaller = &mining->trees[mining->size];
	int64_t steps;
	BrStatus status = BR_OK;

	if (smaller->first == NULL)
		status = br_learn_tree_init(&mining->budget, mining->places, smaller);
	if (status == BR_OK)
		status = count_above(mining, tree, place, smaller, &steps);
	if (status == BR_OK)
		choose_places(mining, smaller);
	if (status == BR_OK && smaller->present.n > 1 && mining->size + 1 < mining->options->max_size)
		status = copy_above(mining, tree, place, smaller, steps);
	if (status == BR_OK && smaller->present.n > 0)
		status = grow(mining);
	br_learn_tree_clear(smaller);
	return status;
}

/* Adds each item of the tree to the set in turn. Recursive, as deep as sets are large. */
static BrStatus
grow(Mining *mining)
{
	BrTree *tree = &mining->trees[mining->size];
	size_t n = tree->present.n;
	BrStatus status = BR_OK;

	for (size_t i = 0; i < n && status == BR_OK; i++)
	{
		/* from the root, or in the order of items, which begins farthest from it */
		size_t at = mining->kept.keeping == BR_KEEP_FIRST ? n - 1 - i : i;
		int32_t place = ((int32_t *) tree->present.elements)[at];

		if (tree->support[place] < mining->kept.threshold)
			continue;
		mining->set[mining->size++] = mining->item_at[place];
		if (mining->size >= mining->options->min_size)
			status =
				br_learn_kept_add(&mining->kept, mining->set, mining->size, tree->support[place]);
		if (status == BR_OK && mining->size < mining->options->max_size && tree->first[place] > 0)
			status = grow_above(mining, place);
		mining->size--;
		if (status == BR_OK)
			status = br_learn_budget_step(&mining->budget, 100);
		if (mining->size == 0)
			br_learn_report(mining->options->progress, (int64_t) i + 1, (int64_t) n);
	}
	return status;
}

static BrStatus
search(Mining *mining, const int64_t *support, Ranked *ranked)
{
	BrStatus status = order_items(mining, support, ranked);

	if (status == BR_OK)
		status = br_learn_tree_init(&mining->budget, mining->places, &mining->trees[0]);
	if (status == BR_OK)
		status = plant(mining);
	if (status == BR_OK)
		status = grow(mining);
	for (int i = 0; i < BR_ITEMSETS_MAX_SIZE; i++)
		br_learn_tree_free(&mining->budget, &mining->trees[i]);
	return status;
}

static BrStatus
mine(Mining *mining, BrItemsets *sets)
{
	BrContext *context = mining->budget.context;
	size_t items = (size_t) mining->baskets->columns;
	BrStatus status = BR_OK;
	int64_t *support = br_learn_budget_array(&mining->budget, items, sizeof(int64_t), &status);
	Ranked *ranked = NULL;

	if (status == BR_OK)
		ranked = br_learn_budget_array(&mining->budget, items, sizeof(Ranked), &status);
	if (status == BR_OK)
		mining->item_at = br_learn_budget_array(&mining->budget, items, sizeof(int32_t), &status);
	if (status == BR_OK)
		mining->place_of = br_learn_budget_array(&mining->budget, items, sizeof(int32_t), &status);
	if (status == BR_OK)
		mining->path = br_learn_budget_array(&mining->budget, items, sizeof(int32_t), &status);
	if (status == BR_OK)
		status = count_items(mining, support);
	if (status == BR_OK)
		status = search(mining, support, ranked);
	sets->truncated = mining->kept.keeping == BR_KEEP_COUNTS;
	if (status == BR_OK && sets->truncated)
	{
		br_learn_kept_again(&mining->kept);
		status = search(mining, support, ranked);
	}
	if (status == BR_OK)
		status = br_learn_kept_sorted(&mining->kept, sets);
	br_base_free(context, support);
	br_base_free(context, ranked);
	br_base_free(context, mining->item_at);
	br_base_free(context, mining->place_of);
	br_base_free(context, mining->path);
	br_learn_kept_free(&mining->kept);
	return status;
}

BrStatus
br_learn_itemsets(BrContext *context, const BrSparse *baskets, const BrItemsetOptions *options,
				  BrItemsets *sets)
{
	Mining mining = {.baskets = baskets, .options = options};
	BrStatus status;

	memset(sets, 0, sizeof(*sets));
	status = check_options(context, baskets, options);
	if (status != BR_OK)
		return status;
	mining.budget = (BrBudget){context, options->memory_limit, 0, 0};
	mining.kept.budget = &mining.budget;
	mining.kept.limit = options->limit;
	mining.kept.threshold = options->least_support;
	status = mine(&mining, sets);
	if (status != BR_OK)
		sets->truncated = false;
	return status;
}
