/*
 * factor_lists.c
 *	  For each column of factors those whose vectors point the same way.
 *
 * Cosines are products of vectors of length 1. The columns stand in groups,
 * component by component, as the kernel of products wants its right side; a
 * group times all groups gives tiles of cosines, of which only those are looked
 * at that beat the weakest of a list so far.
 */
#include <math.h>
#include <string.h>

#include "core/learn/factors_int.h"

#define GROUP 64 /* columns */

/* Multiply-adds between two looks at cancellation. */
#define LOOK_WORK 8000000

typedef struct Neighbour
{
	int32_t id;
	float cosine;
} Neighbour;

typedef struct Search
{
	const BrFactorKernels *kernels;
	int columns;
	int dims;
	int groups;
	int depth;
	float least;
	void *memory;
	float *unit;		/* (groups, dims, GROUP) */
	float *tile;		/* (GROUP, GROUP) */
	Neighbour *heap;	/* (GROUP, depth), the weakest of each row first */
	int32_t *ids;		/* (max of depth and GROUP) */
	float *cosines;		/* likewise */
	int found[GROUP];	/* in each heap */
	float bound[GROUP]; /* what a cosine must be above to be kept */
} Search;

static void
close_search(BrContext *context, Search *search)
{
	br_base_free(context, search->memory);
	br_base_free(context, search->heap);
	br_base_free(context, search->ids);
	br_base_free(context, search->cosines);
}

static BrStatus
open_search(BrContext *context, const BrFactors *factors, Search *search)
{
	size_t room = (size_t) (search->depth > GROUP ? search->depth : GROUP);
	size_t size;

	search->groups = factors->columns / GROUP + (factors->columns % GROUP != 0);
	size = (size_t) search->groups * (size_t) factors->dims * GROUP;
	search->unit = br_learn_aligned_floats(context, size + GROUP * GROUP, &search->memory);
	search->tile = search->unit + size;
	if (search->unit == NULL)
		return BR_ERR_MEMORY;
	search->heap = br_base_alloc_array(context, (size_t) search->depth, GROUP * sizeof(Neighbour));
	search->ids = br_base_alloc_array(context, room, sizeof(int32_t));
	search->cosines = br_base_alloc_array(context, room, sizeof(float));
	return search->heap != NULL && search->ids != NULL && search->cosines != NULL ? BR_OK
																				  : BR_ERR_MEMORY;
}

/* Vectors of length 1, or of zeros, component by component. */
static BrStatus
fill_groups(BrContext *context, const BrFactors *factors, Search *search)
{
	int dims = factors->dims;

	for (int column = 0; column < factors->columns; column++)
	{
		const float *vector = factors->column + (size_t) column * dims;
		float *unit = search->unit + (size_t) (column / GROUP) * dims * GROUP + column % GROUP;
		double squared = 0;
		double scale;

		if (column % GROUP == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		for (int d = 0; d < dims; d++)
			squared += (double) vector[d] * (double) vector[d];
		if (!isfinite(squared))
			return br_base_fail(context, BR_ERR_ARGUMENT, "The vector of column %d is not finite.",
								column);
		scale = squared > 0 ? 1 / sqrt(squared) : 0;
		for (int d = 0; d < dims; d++)
			unit[(size_t) d * GROUP] = (float) (scale * (double) vector[d]);
	}
	return BR_OK;
}

/* Puts a neighbour where the heap's weakest stood; of equal ones the later is the weaker. */
static void
sift_down(Neighbour *heap, int n, Neighbour added)
{
	int at = 0;

	for (;;)
	{
		int child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n &&
			(heap[child + 1].cosine < heap[child].cosine ||
			 (heap[child + 1].cosine == heap[child].cosine && heap[child + 1].id > heap[child].id)))
			child++;
		if (added.cosine < heap[child].cosine ||
			(added.cosine == heap[child].cosine && added.id > heap[child].id))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = added;
}

static void
sift_up(Neighbour *heap, int at, Neighbour added)
{
	/* a later one is below all that are as strong */
	while (at > 0 && heap[(at - 1) / 2].cosine >= added.cosine)
	{
		heap[at] = heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	heap[at] = added;
}

static void
keep(Search *search, int i, Neighbour added)
{
	Neighbour *heap = search->heap + (size_t) i * (size_t) search->depth;

	if (search->found[i] < search->depth)
		sift_up(heap, search->found[i]++, added);
	else if (added.cosine > heap[0].cosine)
		sift_down(heap, search->depth, added);
	if (search->found[i] == search->depth)
		search->bound[i] = heap[0].cosine;
}

/* Looks at the cosines of a group's columns with those of another. */
static void
look_at(Search *search, int group, int other)
{
	int left = search->columns - group * GROUP;
	int right = search->columns - other * GROUP;
	size_t size = (size_t) search->dims * GROUP;
	int n = left < GROUP ? left : GROUP;

	search->kernels->product(search->unit + (size_t) group * size, 1, GROUP, n,
							 search->unit + (size_t) other * size, search->dims, GROUP,
							 search->tile);
	for (int i = 0; i < n; i++)
	{
		int found = search->kernels->filter(search->tile + (size_t) i * GROUP, GROUP,
											search->bound[i], search->ids, search->cosines);

		for (int f = 0; f < found; f++)
			/* a cosine of 0 is no weight, and must not take the place of one below it */
			if (search->ids[f] < right && search->cosines[f] != 0 &&
				(other != group || search->ids[f] != i))
				keep(search, i, (Neighbour){other * GROUP + search->ids[f], search->cosines[f]});
	}
}

static BrStatus
list_group(BrContext *context, Search *search, int group, BrListBuilder *builder)
{
	int look = 1 + LOOK_WORK / (GROUP * GROUP * search->dims);
	int left = search->columns - group * GROUP;
	BrStatus status = BR_OK;

	for (int i = 0; i < GROUP; i++)
	{
		search->found[i] = 0;
		search->bound[i] = search->least;
	}
	for (int other = 0; other < search->groups; other++)
	{
		if (other % look == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		look_at(search, group, other);
	}
	for (int i = 0; i < GROUP && i < left && status == BR_OK; i++)
	{
		const Neighbour *heap = search->heap + (size_t) i * (size_t) search->depth;

		for (int f = 0; f < search->found[i]; f++)
		{
			search->ids[f] = heap[f].id;
			/* rounding may take it beyond */
			search->cosines[f] = heap[f].cosine > 1 ? 1 : heap[f].cosine;
		}
		status = br_learn_lists_add_some(builder, search->ids, search->cosines, search->found[i],
										 -1, search->least);
	}
	return status;
}

static BrStatus
list_all(BrContext *context, Search *search, const BrProgress *progress, BrLists *lists)
{
	BrListBuilder *builder;
	BrStatus status = br_learn_lists_begin(context, search->columns, search->depth, &builder);

	for (int group = 0; group < search->groups && status == BR_OK; group++)
	{
		status = list_group(context, search, group, builder);
		if (status == BR_OK)
			br_learn_report(progress, group + 1, search->groups);
	}
	if (status != BR_OK)
	{
		br_learn_lists_abandon(builder);
		return status;
	}
	return br_learn_lists_end(builder, lists);
}

BrStatus
br_learn_factor_lists(BrContext *context, const BrFactors *factors, int depth, double least,
					  const BrProgress *progress, BrLists *lists)
{
	Search search = {.kernels = br_learn_factor_kernels(),
					 .columns = factors->columns,
					 .dims = factors->dims,
					 .depth = depth < factors->columns ? depth : factors->columns,
					 .least = (float) least};
	BrStatus status;

	memset(lists, 0, sizeof(*lists));
	if (depth < 1 || !(least >= -1 && least < 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Lists of at most %d with cosines above %g cannot be made.", depth,
							least);
	if (search.columns < 0 || search.dims < 1 || search.dims > BR_LEARN_MAX_FACTORS)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d columns of %d factors are not 0 or more of 1 to %d.",
							search.columns, search.dims, BR_LEARN_MAX_FACTORS);
	if (search.depth < 1)
		search.depth = 1;
	status = open_search(context, factors, &search);
	if (status == BR_OK)
		status = fill_groups(context, factors, &search);
	if (status == BR_OK)
		status = list_all(context, &search, progress, lists);
	close_search(context, &search);
	return status;
}
