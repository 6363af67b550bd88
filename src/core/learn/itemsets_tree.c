/*
 * itemsets_tree.c
 *	  Baskets as a tree of common beginnings, and the memory that it takes.
 *
 * A child is found by its parent and place in a table with open addressing, so
 * that a node with thousands of children is as quick as one with two. Trees are
 * emptied and filled again and again, mostly with little: what is cleared is in
 * proportion to what was in use.
 */
#include <string.h>

#include "core/learn/itemsets_int.h"

#define STEPS_A_CHECK 2000000

static BrStatus
over_limit(BrBudget *budget, size_t needed)
{
	return br_base_fail(budget->context, BR_ERR_LIMIT,
						"Finding frequent sets needs %zu bytes or more, but %zu are allowed; a "
						"larger least support needs less.",
						needed, budget->limit);
}

BrStatus
br_learn_budget_grow(BrBudget *budget, BrGrowing *array, size_t more, size_t size)
{
	size_t room = br_learn_grown_room(array, more);
	size_t before = array->room;

	if (room == before)
		return BR_OK;
	/* the old elements are there until they are copied */
	if (budget->limit > 0 && budget->used + room * size > budget->limit)
		return over_limit(budget, budget->used + room * size);
	if (!br_learn_grow(budget->context, array, more, size))
		return BR_ERR_MEMORY;
	budget->used += (room - before) * size;
	return BR_OK;
}

void *
br_learn_budget_array(BrBudget *budget, size_t n, size_t size, BrStatus *status)
{
	void *elements;

	if (budget->limit > 0 && budget->used + n * size > budget->limit)
	{
		*status = over_limit(budget, budget->used + n * size);
		return NULL;
	}
	elements = br_base_alloc_array(budget->context, n, size);
	if (elements == NULL)
		*status = BR_ERR_MEMORY;
	else
		budget->used += n * size;
	return elements;
}

void
br_learn_budget_free(BrBudget *budget, BrGrowing *array, size_t size)
{
	br_base_free(budget->context, array->elements);
	budget->used -= array->room * size;
	memset(array, 0, sizeof(*array));
}

BrStatus
br_learn_budget_step(BrBudget *budget, int64_t steps)
{
	budget->steps += steps;
	if (budget->steps < STEPS_A_CHECK)
		return BR_OK;
	budget->steps = 0;
	if (br_base_cancelled(budget->context))
		return br_base_fail(budget->context, BR_ERR_CANCELLED,
							"Finding frequent sets was cancelled.");
	return BR_OK;
}

BrStatus
br_learn_tree_init(BrBudget *budget, int places, BrTree *tree)
{
	BrStatus status = BR_OK;

	memset(tree, 0, sizeof(*tree));
	tree->places = places;
	tree->first = br_learn_budget_array(budget, (size_t) places, sizeof(int32_t), &status);
	if (status == BR_OK)
		tree->support = br_learn_budget_array(budget, (size_t) places, sizeof(int64_t), &status);
	return status;
}

void
br_learn_tree_free(BrBudget *budget, BrTree *tree)
{
	br_learn_budget_free(budget, &tree->nodes, sizeof(BrTreeNode));
	br_learn_budget_free(budget, &tree->slots, sizeof(int32_t));
	br_learn_budget_free(budget, &tree->present, sizeof(int32_t));
	if (tree->first != NULL)
		budget->used -= (size_t) tree->places * sizeof(int32_t);
	if (tree->support != NULL)
		budget->used -= (size_t) tree->places * sizeof(int64_t);
	br_base_free(budget->context, tree->first);
	br_base_free(budget->context, tree->support);
	memset(tree, 0, sizeof(*tree));
}

BrStatus
br_learn_tree_count(BrBudget *budget, BrTree *tree, int32_t place, int64_t count)
{
	if (tree->support[place] == 0)
	{
		BrStatus status = br_learn_budget_grow(budget, &tree->present, 1, sizeof(int32_t));

		if (status != BR_OK)
			return status;
		((int32_t *) tree->present.elements)[tree->present.n++] = place;
	}
	tree->support[place] += count;
	return BR_OK;
}

static BrStatus
clear_slots(BrBudget *budget, BrTree *tree, size_t n)
{
	BrStatus status;

	tree->slots.n = 0;
	status = br_learn_budget_grow(budget, &tree->slots, n, sizeof(int32_t));
	if (status != BR_OK)
		return status;
	tree->slots.n = n;
	tree->mask = n - 1;
	memset(tree->slots.elements, 0xFF, n * sizeof(int32_t));
	return br_learn_budget_step(budget, (int64_t) (n / 8));
}

/* The table may be half full; where equal beginnings save much, it starts smaller and grows. */
BrStatus
br_learn_tree_prepare(BrBudget *budget, BrTree *tree, int64_t nodes)
{
	size_t n = 16;

	while (n < 4096 && (int64_t) n < 2 * nodes)
		n *= 2;
	tree->nodes.n = 0;
	return clear_slots(budget, tree, n);
}

void
br_learn_tree_clear(BrTree *tree)
{
	const int32_t *present = tree->present.elements;

	for (size_t i = 0; i < tree->present.n; i++)
	{
		tree->first[present[i]] = 0;
		tree->support[present[i]] = 0;
	}
	tree->present.n = 0;
	tree->nodes.n = 0;
}

/* the slot of the child of this parent at this place, or the free one that it would have */
static size_t
probe(const BrTree *tree, int32_t parent, int32_t place)
{
	const int32_t *slots = tree->slots.elements;
	const BrTreeNode *nodes = tree->nodes.elements;
	uint64_t hash =
		((uint64_t) (uint32_t) parent << 32 | (uint32_t) place) * UINT64_C(0x9E3779B97F4A7C15);
	size_t slot = (size_t) (hash >> 32) & tree->mask;

	while (slots[slot] >= 0 &&
		   (nodes[slots[slot]].parent != parent || nodes[slots[slot]].place != place))
		slot = (slot + 1) & tree->mask;
	return slot;
}

static BrStatus
add_node(BrBudget *budget, BrTree *tree, int32_t parent, int32_t place, int32_t *added)
{
	size_t n = tree->nodes.n;
	BrStatus status = br_learn_budget_grow(budget, &tree->nodes, 1, sizeof(BrTreeNode));

	if (status == BR_OK && n >= INT32_MAX - 1)
		status = br_base_fail(budget->context, BR_ERR_LIMIT,
							  "The baskets have more than %zu beginnings; a larger least support "
							  "needs fewer.",
							  n);
	if (status != BR_OK)
		return status;
	((BrTreeNode *) tree->nodes.elements)[n] =
		(BrTreeNode){place, parent, tree->first[place] - 1, 0};
	tree->nodes.n++;
	tree->first[place] = (int32_t) n + 1;
	*added = (int32_t) n;
	if (2 * tree->nodes.n <= tree->mask + 1)
	{
		((int32_t *) tree->slots.elements)[probe(tree, parent, place)] = *added;
		return BR_OK;
	}
	status = clear_slots(budget, tree, 2 * (tree->mask + 1));
	for (size_t i = 0; i < tree->nodes.n && status == BR_OK; i++)
	{
		const BrTreeNode *node = (BrTreeNode *) tree->nodes.elements + i;

		((int32_t *) tree->slots.elements)[probe(tree, node->parent, node->place)] = (int32_t) i;
		if (i % 4096 == 0)
			status = br_learn_budget_step(budget, 4096 * 10);
	}
	return status;
}

BrStatus
br_learn_tree_insert(BrBudget *budget, BrTree *tree, const int32_t *path, int n, int64_t count)
{
	int32_t node = -1;

	for (int i = 0; i < n; i++)
	{
		int32_t child = ((int32_t *) tree->slots.elements)[probe(tree, node, path[i])];

		if (child < 0)
		{
			BrStatus status = add_node(budget, tree, node, path[i], &child);

			if (status != BR_OK)
				return status;
		}
		((BrTreeNode *) tree->nodes.elements)[child].count += count;
		node = child;
	}
	return br_learn_budget_step(budget, 10 * ((int64_t) n + 1));
}
