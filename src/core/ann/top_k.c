/*
 * top_k.c
 *	  The k nearest of a stream of rows.
 *
 * A binary heap with the farthest row that is held on top: an offer that does
 * not enter costs one comparison, one that does log k.
 */
#include <math.h>

#include "core/ann/br_ann.h"

struct BrTopK
{
	BrContext *context;
	int k;
	int n;
	bool sorted; /* nearest first, and therefore not a heap */
	BrNeighbour rows[];
};

static bool
farther(BrNeighbour a, BrNeighbour b)
{
	if (a.similarity != b.similarity)
		return a.similarity < b.similarity;
	return a.id > b.id;
}

/* Puts row at `hole` or below it, the heap being n rows long. */
static void
sift_down(BrNeighbour *rows, int n, int hole, BrNeighbour row)
{
	for (;;)
	{
		int child = 2 * hole + 1;

		if (child >= n)
			break;
		if (child + 1 < n && farther(rows[child + 1], rows[child]))
			child++;
		if (!farther(rows[child], row))
			break;
		rows[hole] = rows[child];
		hole = child;
	}
	rows[hole] = row;
}

/* Nearest first becomes farthest first, which is a heap. */
static void
restore_heap(BrTopK *top)
{
	for (int i = 0, j = top->n - 1; i < j; i++, j--)
	{
		BrNeighbour row = top->rows[i];

		top->rows[i] = top->rows[j];
		top->rows[j] = row;
	}
	top->sorted = false;
}

BrStatus
br_ann_top_k_create(BrContext *context, int k, BrTopK **top)
{
	*top = NULL;
	if (k < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT, "k is %d, it must be at least 1", k);
	*top = br_base_alloc(context, sizeof(BrTopK) + (size_t) k * sizeof(BrNeighbour));
	if (*top == NULL)
		return BR_ERR_MEMORY;
	(*top)->context = context;
	(*top)->k = k;
	(*top)->n = 0;
	(*top)->sorted = false;
	return BR_OK;
}

void
br_ann_top_k_offer(BrTopK *top, int32_t id, double similarity)
{
	BrNeighbour row = {id, similarity};
	int hole;

	if (isnan(similarity))
		return;
	if (top->sorted)
		restore_heap(top);
	if (top->n == top->k)
	{
		if (farther(top->rows[0], row))
			sift_down(top->rows, top->n, 0, row);
		return;
	}
	hole = top->n++;
	while (hole > 0 && farther(row, top->rows[(hole - 1) / 2]))
	{
		top->rows[hole] = top->rows[(hole - 1) / 2];
		hole = (hole - 1) / 2;
	}
	top->rows[hole] = row;
}

double
br_ann_top_k_threshold(const BrTopK *top)
{
	if (top->n < top->k)
		return -INFINITY;
	return top->rows[top->sorted ? top->n - 1 : 0].similarity;
}

const BrNeighbour *
br_ann_top_k_sorted(BrTopK *top, int *n)
{
	for (int last = top->n - 1; !top->sorted && last > 0; last--)
	{
		BrNeighbour row = top->rows[last];

		top->rows[last] = top->rows[0];
		sift_down(top->rows, last, 0, row);
	}
	top->sorted = true;
	*n = top->n;
	return top->rows;
}

void
br_ann_top_k_destroy(BrTopK *top)
{
	if (top != NULL)
		br_base_free(top->context, top);
}
