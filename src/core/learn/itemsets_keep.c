/*
 * itemsets_keep.c
 *	  The frequent sets that are kept, and their order.
 *
 * Sets are kept as they are found until there are more than the limit. From then
 * on only their supports are, the largest, and what has no more than the least
 * of them is not even looked for. So when the search ends, the support of the
 * last set within the limit is known. A second search, in the order of items,
 * then keeps what has more, and the first of those that have just as much.
 */
#include <stdlib.h>
#include <string.h>

#include "core/learn/itemsets_int.h"

static void
sift_down(int64_t *heap, size_t n, size_t at)
{
	int64_t moving = heap[at];

	for (;;)
	{
		size_t child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && heap[child + 1] < heap[child])
			child++;
		if (heap[child] >= moving)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = moving;
}

/* one more set than the limit: what is kept from here on are supports */
static void
begin_counting(BrKept *kept, int64_t support)
{
	int64_t *heap = kept->support.elements;
	size_t n = kept->support.n;

	kept->keeping = BR_KEEP_COUNTS;
	br_learn_budget_free(kept->budget, &kept->items, sizeof(int32_t));
	br_learn_budget_free(kept->budget, &kept->ends, sizeof(int64_t));
	for (size_t at = n / 2; at > 0; at--)
		sift_down(heap, n, at - 1);
	kept->threshold = heap[0] + 1;
	if (support > heap[0])
	{
		heap[0] = support;
		sift_down(heap, n, 0);
		kept->threshold = heap[0] + 1;
	}
}

void
br_learn_kept_again(BrKept *kept)
{
	const int64_t *heap = kept->support.elements;

	kept->keeping = BR_KEEP_FIRST;
	kept->edge = heap[0];
	kept->at_edge = 0;
	for (size_t i = 0; i < kept->support.n; i++)
		kept->at_edge += heap[i] == kept->edge;
	kept->threshold = kept->edge;
	br_learn_budget_free(kept->budget, &kept->support, sizeof(int64_t));
}

static int
compare_items(const void *left, const void *right)
{
	int32_t a = *(const int32_t *) left;
	int32_t b = *(const int32_t *) right;

	return a < b ? -1 : a > b;
}

static BrStatus
append(BrKept *kept, const int32_t *items, int size, int64_t support)
{
	BrBudget *budget = kept->budget;
	int32_t *place;
	BrStatus status = br_learn_budget_grow(budget, &kept->items, (size_t) size, sizeof(int32_t));

	if (status == BR_OK)
		status = br_learn_budget_grow(budget, &kept->ends, 1, sizeof(int64_t));
	if (status == BR_OK)
		status = br_learn_budget_grow(budget, &kept->support, 1, sizeof(int64_t));
	if (status != BR_OK)
		return status;
	place = (int32_t *) kept->items.elements + kept->items.n;
	memcpy(place, items, sizeof(int32_t) * (size_t) size);
	qsort(place, (size_t) size, sizeof(int32_t), compare_items);
	kept->items.n += (size_t) size;
	((int64_t *) kept->ends.elements)[kept->ends.n++] = (int64_t) kept->items.n;
	((int64_t *) kept->support.elements)[kept->support.n++] = support;
	return BR_OK;
}

BrStatus
br_learn_kept_add(BrKept *kept, const int32_t *items, int size, int64_t support)
{
	int64_t *heap = kept->support.elements;

	if (support < kept->threshold)
		return BR_OK;
	switch (kept->keeping)
	{
		case BR_KEEP_ALL:
			if ((int64_t) kept->support.n < kept->limit)
				return append(kept, items, size, support);
			begin_counting(kept, support);
			return BR_OK;
		case BR_KEEP_COUNTS:
			heap[0] = support;
			sift_down(heap, kept->support.n, 0);
			kept->threshold = heap[0] + 1;
			return BR_OK;
		case BR_KEEP_FIRST:
			if (support == kept->edge && --kept->at_edge == 0)
				kept->threshold = kept->edge + 1;
			return append(kept, items, size, support);
	}
	return BR_OK;
}

void
br_learn_kept_free(BrKept *kept)
{
	br_learn_budget_free(kept->budget, &kept->items, sizeof(int32_t));
	br_learn_budget_free(kept->budget, &kept->ends, sizeof(int64_t));
	br_learn_budget_free(kept->budget, &kept->support, sizeof(int64_t));
}

/* ---- the result ---- */

typedef struct Set
{
	const int32_t *items;
	int size;
	int64_t support;
} Set;

static bool
precedes(const Set *a, const Set *b)
{
	int shared = a->size < b->size ? a->size : b->size;

	if (a->support != b->support)
		return a->support > b->support;
	for (int i = 0; i < shared; i++)
		if (a->items[i] != b->items[i])
			return a->items[i] < b->items[i];
	return a->size < b->size;
}

static void
merge(const Set *from, size_t begin, size_t middle, size_t end, Set *to)
{
	size_t left = begin;
	size_t right = middle;

	for (size_t i = begin; i < end; i++)
		to[i] = right == end || (left < middle && !precedes(&from[right], &from[left]))
			? from[left++]
			: from[right++];
}

/* By merging runs of growing width, between which there is time to ask whether to stop. */
static BrStatus
sort_sets(BrBudget *budget, Set **sets, Set **spare, size_t n)
{
	for (size_t width = 1; width < n; width *= 2)
	{
		Set *sorted = *spare;

		for (size_t begin = 0; begin < n; begin += 2 * width)
		{
			size_t middle = begin + width < n ? begin + width : n;
			size_t end = middle + width < n ? middle + width : n;
			BrStatus status = br_learn_budget_step(budget, 20 * (int64_t) (end - begin));

			if (status != BR_OK)
				return status;
			merge(*sets, begin, middle, end, sorted);
		}
		*spare = *sets;
		*sets = sorted;
	}
	return BR_OK;
}

static BrStatus
write_sets(BrContext *context, const Set *sorted, size_t n, size_t n_items, BrItemsets *sets)
{
	sets->starts = br_base_alloc_array(context, n + 1, sizeof(int64_t));
	sets->items = br_base_alloc_array(context, n_items, sizeof(int32_t));
	sets->support = br_base_alloc_array(context, n, sizeof(int64_t));
	if (sets->starts == NULL || sets->items == NULL || sets->support == NULL)
	{
		br_learn_itemsets_free(context, sets);
		return BR_ERR_MEMORY;
	}
	sets->n = (int64_t) n;
	for (size_t i = 0; i < n; i++)
	{
		memcpy(sets->items + sets->starts[i], sorted[i].items,
			   sizeof(int32_t) * (size_t) sorted[i].size);
		sets->starts[i + 1] = sets->starts[i] + sorted[i].size;
		sets->support[i] = sorted[i].support;
	}
	return BR_OK;
}

BrStatus
br_learn_kept_sorted(BrKept *kept, BrItemsets *sets)
{
	BrContext *context = kept->budget->context;
	const int64_t *ends = kept->ends.elements;
	size_t n = kept->support.n;
	BrStatus status = BR_OK;
	Set *found = br_learn_budget_array(kept->budget, n, sizeof(Set), &status);
	Set *spare = NULL;

	if (status == BR_OK)
		spare = br_learn_budget_array(kept->budget, n, sizeof(Set), &status);
	for (size_t i = 0; i < n && status == BR_OK; i++)
	{
		int64_t begin = i > 0 ? ends[i - 1] : 0;

		found[i] = (Set){(int32_t *) kept->items.elements + begin, (int) (ends[i] - begin),
						 ((int64_t *) kept->support.elements)[i]};
	}
	if (status == BR_OK)
		status = sort_sets(kept->budget, &found, &spare, n);
	if (status == BR_OK)
		status = write_sets(context, found, n, kept->items.n, sets);
	br_base_free(context, found);
	br_base_free(context, spare);
	return status;
}
