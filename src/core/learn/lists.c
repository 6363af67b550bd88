/*
 * lists.c
 *	  For each thing the others that go with it, the strongest first.
 *
 * A learner knows the weights of all others, of which a few dozen are ever
 * looked at. They are kept in a heap with the weakest on top while a list is
 * filled, and sorted once it is full.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/learn/learn_int.h"

typedef struct Entry
{
	int32_t id;
	float weight;
} Entry;

struct BrListBuilder
{
	BrContext *context;
	int depth;
	int filled; /* lists */
	int64_t room;
	BrLists lists;
	Entry *heap; /* (depth) */
	int n_heap;
};

void
br_learn_lists_free(BrContext *context, BrLists *lists)
{
	br_base_free(context, lists->starts);
	br_base_free(context, lists->ids);
	br_base_free(context, lists->weights);
	memset(lists, 0, sizeof(*lists));
}

BrStatus
br_learn_lists_begin(BrContext *context, int n, int depth, BrListBuilder **made)
{
	BrListBuilder *builder;

	*made = NULL;
	if (n < 0 || depth < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d lists of at most %d cannot be made.", n,
							depth);
	builder = br_base_alloc_array(context, 1, sizeof(BrListBuilder));
	if (builder == NULL)
		return BR_ERR_MEMORY;
	builder->context = context;
	builder->depth = depth;
	builder->lists.n = n;
	builder->lists.starts = br_base_alloc_array(context, (size_t) n + 1, sizeof(int64_t));
	builder->heap = br_base_alloc_array(context, (size_t) depth, sizeof(Entry));
	if (builder->lists.starts == NULL || builder->heap == NULL)
	{
		br_learn_lists_abandon(builder);
		return BR_ERR_MEMORY;
	}
	*made = builder;
	return BR_OK;
}

void
br_learn_lists_abandon(BrListBuilder *builder)
{
	BrContext *context;

	if (builder == NULL)
		return;
	context = builder->context;
	br_learn_lists_free(context, &builder->lists);
	br_base_free(context, builder->heap);
	br_base_free(context, builder);
}

/* the stronger first, ties by number */
static bool
precedes(Entry a, Entry b)
{
	return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

static void
sift_down(Entry *heap, int n, int at)
{
	Entry moving = heap[at];

	for (;;)
	{
		int child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && precedes(heap[child], heap[child + 1]))
			child++;
		if (precedes(heap[child], moving))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = moving;
}

static void
offer(BrListBuilder *builder, Entry entry)
{
	if (builder->n_heap < builder->depth)
	{
		int at = builder->n_heap++;

		while (at > 0 && precedes(builder->heap[(at - 1) / 2], entry))
		{
			builder->heap[at] = builder->heap[(at - 1) / 2];
			at = (at - 1) / 2;
		}
		builder->heap[at] = entry;
	}
	else if (precedes(entry, builder->heap[0]))
	{
		builder->heap[0] = entry;
		sift_down(builder->heap, builder->n_heap, 0);
	}
}

static BrStatus
make_room(BrListBuilder *builder, int64_t needed)
{
	int64_t room = builder->room * 2 > needed ? builder->room * 2 : needed + 1024;
	BrLists *lists = &builder->lists;
	int64_t used = lists->starts[builder->filled];
	int32_t *ids;
	float *weights;

	if (needed <= builder->room)
		return BR_OK;
	ids = br_base_alloc(builder->context, sizeof(int32_t) * (size_t) room);
	weights = br_base_alloc(builder->context, sizeof(float) * (size_t) room);
	if (ids == NULL || weights == NULL)
	{
		br_base_free(builder->context, ids);
		br_base_free(builder->context, weights);
		return BR_ERR_MEMORY;
	}
	if (used > 0)
	{
		memcpy(ids, lists->ids, sizeof(int32_t) * (size_t) used);
		memcpy(weights, lists->weights, sizeof(float) * (size_t) used);
	}
	br_base_free(builder->context, lists->ids);
	br_base_free(builder->context, lists->weights);
	lists->ids = ids;
	lists->weights = weights;
	builder->room = room;
	return BR_OK;
}

/* empties the heap into the next list, the weakest first from the back */
static BrStatus
close_list(BrListBuilder *builder)
{
	BrLists *lists = &builder->lists;
	int64_t start = lists->starts[builder->filled];
	int n = builder->n_heap;
	BrStatus status = make_room(builder, start + n);

	if (status != BR_OK)
		return status;
	for (int left = n; left > 0; left--)
	{
		lists->ids[start + left - 1] = builder->heap[0].id;
		lists->weights[start + left - 1] = builder->heap[0].weight;
		builder->heap[0] = builder->heap[left - 1];
		sift_down(builder->heap, left - 1, 0);
	}
	builder->n_heap = 0;
	builder->filled++;
	lists->starts[builder->filled] = start + n;
	return BR_OK;
}

BrStatus
br_learn_lists_add_some(BrListBuilder *builder, const int32_t *candidates, const float *weights,
						int n_candidates, int self, float least)
{
	if (builder->filled >= builder->lists.n)
		return br_base_fail(builder->context, BR_ERR_ARGUMENT, "All %d lists are filled.",
							builder->lists.n);
	for (int i = 0; i < n_candidates; i++)
	{
		int32_t id = candidates != NULL ? candidates[i] : i;

		if (id != self && weights[i] > least && weights[i] != 0 && isfinite(weights[i]))
			offer(builder, (Entry){id, weights[i]});
	}
	return close_list(builder);
}

BrStatus
br_learn_lists_add(BrListBuilder *builder, const float *weights, int columns, int self, float least)
{
	return br_learn_lists_add_some(builder, NULL, weights, columns, self, least);
}

BrStatus
br_learn_lists_end(BrListBuilder *builder, BrLists *lists)
{
	BrStatus status = BR_OK;

	memset(lists, 0, sizeof(*lists));
	/* nothing was added: lists are empty, but their arrays are there */
	if (builder->lists.ids == NULL)
		status = make_room(builder, 1);
	if (status == BR_OK)
	{
		for (int i = builder->filled; i < builder->lists.n; i++)
			builder->lists.starts[i + 1] = builder->lists.starts[i];
		*lists = builder->lists;
		memset(&builder->lists, 0, sizeof(builder->lists));
	}
	br_learn_lists_abandon(builder);
	return status;
}
