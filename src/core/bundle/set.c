/*
 * set.c
 *	  Sets of candidates, their figures, and the heap of the strongest ones.
 */
#include <string.h>

#include "core/bundle/bundle_int.h"

void
br_bundle_set_sums(const BrBundleSearch *search, const BrBundleSet *set, double *list_price,
				   double *cost)
{
	*list_price = 0;
	*cost = 0;
	for (int i = 0; i < set->size; i++)
	{
		*list_price += search->price[set->members[i]];
		*cost += search->cost[set->members[i]];
	}
}

double
br_bundle_set_strength(const BrBundleSearch *search, const BrBundleSet *set)
{
	double relevance = 0;
	double pairs = 0;

	for (int i = 0; i < set->size; i++)
	{
		double links = 0;

		for (int j = 0; j < i; j++)
			links += search->affinity[set->members[j]][set->members[i]];
		relevance += search->relevance[set->members[i]];
		pairs += links;
	}
	return relevance * search->per_item[set->size] + pairs * search->per_pair[set->size];
}

static bool
category_full(const BrBundleSearch *search, const BrBundleSet *set)
{
	for (int i = 0; i < set->size; i++)
	{
		int32_t category = search->category[set->members[i]];
		int same = 1;

		for (int j = 0; j < i; j++)
			same += search->category[set->members[j]] == category;
		if (same > search->cap[set->members[i]])
			return true;
	}
	return false;
}

uint32_t
br_bundle_set_missing(const BrBundleSearch *search, const BrBundleSet *set)
{
	uint32_t met = 0;

	for (int i = 0; i < set->size; i++)
		met |= search->meets[set->members[i]];
	return search->constraints->required & ~met;
}

/* BR_BUNDLE_* bits; 0: feasible, whatever its size. */
unsigned
br_bundle_set_refused(const BrBundleSearch *search, const BrBundleSet *set)
{
	unsigned refused = 0;
	double list_price;
	double cost;

	if (search->has_budget || search->has_margin)
	{
		br_bundle_set_sums(search, set, &list_price, &cost);
		refused = br_bundle_money_refuses(search, list_price, cost);
	}
	if (search->has_cap && category_full(search, set))
		refused |= BR_BUNDLE_CATEGORY_FULL;
	if (br_bundle_set_missing(search, set) != 0)
		refused |= BR_BUNDLE_LACKS_REQUIRED;
	return refused;
}

bool
br_bundle_set_equal(const BrBundleSet *a, const BrBundleSet *b)
{
	return a->size == b->size && memcmp(a->members, b->members, a->size) == 0;
}

bool
br_bundle_set_add(const BrBundleSet *set, int place, BrBundleSet *larger)
{
	int i = 0;

	while (i < set->size && set->members[i] < place)
		i++;
	if (i < set->size && set->members[i] == place)
		return false;

	memcpy(larger->members, set->members, i);
	larger->members[i] = (uint8_t) place;
	memcpy(larger->members + i + 1, set->members + i, set->size - i);
	larger->size = set->size + 1;
	return true;
}

/* Places ascend with item ids; a set goes before those that continue it. */
static bool
weaker(const BrBundleSet *a, const BrBundleSet *b)
{
	int shared = a->size < b->size ? a->size : b->size;
	int order;

	if (a->strength != b->strength)
		return a->strength < b->strength;
	order = memcmp(a->members, b->members, shared);
	return order != 0 ? order > 0 : a->size > b->size;
}

void
br_bundle_heap_init(BrBundleHeap *heap, int limit)
{
	heap->limit = limit;
	heap->n = 0;
}

double
br_bundle_heap_threshold(const BrBundleHeap *heap)
{
	return heap->n < heap->limit ? -INFINITY : heap->sets[0].strength;
}

/* Puts set at `hole` or below it, the heap being n sets long. */
static void
sift_down(BrBundleSet *sets, int n, int hole, BrBundleSet set)
{
	for (;;)
	{
		int child = 2 * hole + 1;

		if (child >= n)
			break;
		if (child + 1 < n && weaker(&sets[child + 1], &sets[child]))
			child++;
		if (!weaker(&sets[child], &set))
			break;
		sets[hole] = sets[child];
		hole = child;
	}
	sets[hole] = set;
}

bool
br_bundle_heap_offer(BrBundleHeap *heap, const BrBundleSet *set)
{
	int hole = heap->n;

	if (heap->n == heap->limit)
	{
		if (!weaker(&heap->sets[0], set))
			return false;
		sift_down(heap->sets, heap->n, 0, *set);
		return true;
	}
	heap->n++;
	while (hole > 0 && weaker(set, &heap->sets[(hole - 1) / 2]))
	{
		heap->sets[hole] = heap->sets[(hole - 1) / 2];
		hole = (hole - 1) / 2;
	}
	heap->sets[hole] = *set;
	return true;
}

void
br_bundle_heap_offer_once(BrBundleHeap *heap, const BrBundleSet *set)
{
	if (heap->n == heap->limit && !weaker(&heap->sets[0], set))
		return;
	if (!br_bundle_heap_holds(heap, set))
		br_bundle_heap_offer(heap, set);
}

bool
br_bundle_heap_holds(const BrBundleHeap *heap, const BrBundleSet *set)
{
	for (int i = 0; i < heap->n; i++)
		if (heap->sets[i].strength == set->strength && br_bundle_set_equal(&heap->sets[i], set))
			return true;
	return false;
}

void
br_bundle_heap_sort(BrBundleHeap *heap)
{
	for (int last = heap->n - 1; last > 0; last--)
	{
		BrBundleSet set = heap->sets[last];

		heap->sets[last] = heap->sets[0];
		sift_down(heap->sets, last, 0, set);
	}
}
