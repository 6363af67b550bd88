/*
 * candidates.c
 *	  The candidates with the smallest bounds, in bounded memory.
 *
 * Offers are appended. When the room is full the keep-th smallest bound is
 * selected and what is larger goes; so an offer costs a constant on average.
 * What is held is always all that was offered below the limit, so that who has
 * taken everything can go on from there: candidates that tie stay or go
 * together. Only when they are asked for do candidates become a heap.
 */
#include <math.h>
#include <string.h>

#include "core/ann/br_ann.h"

#define FIRST_ROOM 64

struct BrCandidates
{
	BrContext *context;
	BrRowCandidate *rows; /* (room) */
	size_t keep;
	size_t room;
	size_t full; /* at so many it is time to drop some */
	size_t n;
	float limit;
	bool heap; /* the nearest is rows[0] */
};

BrStatus
br_ann_candidates_create(BrContext *context, int keep, BrCandidates **candidates)
{
	*candidates = NULL;
	if (keep < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d candidates are to be kept, it must be at least 1.", keep);
	*candidates = br_base_alloc_array(context, 1, sizeof(BrCandidates));
	if (*candidates == NULL)
		return BR_ERR_MEMORY;
	(*candidates)->context = context;
	br_ann_candidates_reset(*candidates, keep);
	return BR_OK;
}

void
br_ann_candidates_reset(BrCandidates *candidates, int keep)
{
	candidates->keep = (size_t) keep;
	candidates->full = 2 * (size_t) keep;
	candidates->n = 0;
	candidates->limit = INFINITY;
	candidates->heap = false;
}

void
br_ann_candidates_destroy(BrCandidates *candidates)
{
	if (candidates == NULL)
		return;
	br_base_free(candidates->context, candidates->rows);
	br_base_free(candidates->context, candidates);
}

float
br_ann_candidates_limit(const BrCandidates *candidates)
{
	return candidates->limit;
}

/* ---- dropping ---- */

static void
swap(BrRowCandidate *rows, size_t a, size_t b)
{
	BrRowCandidate row = rows[a];

	rows[a] = rows[b];
	rows[b] = row;
}

static float
middle_of_three(float a, float b, float c)
{
	if (a > b)
		return a < c ? a : b > c ? b : c;
	return b < c ? b : a > c ? a : c;
}

/*
 * The bound that `rank` others stand before in order. Hoare's selection with
 * partitions in three, so that ties cost one pass.
 */
static float
select_bound(BrRowCandidate *rows, size_t n, size_t rank)
{
	size_t first = 0;
	size_t end = n;

	for (;;)
	{
		float pivot = middle_of_three(rows[first].bound, rows[first + (end - first) / 2].bound,
									  rows[end - 1].bound);
		size_t below = first; /* rows before it are smaller than the pivot */
		size_t above = end;	  /* rows from it on are larger */
		size_t at = first;

		while (at < above)
		{
			if (rows[at].bound < pivot)
				swap(rows, at++, below++);
			else if (rows[at].bound > pivot)
				swap(rows, at, --above);
			else
				at++;
		}
		if (rank < below)
			end = below;
		else if (rank >= above)
			first = above;
		else
			return pivot;
	}
}

static void
drop_from(BrCandidates *candidates, float limit)
{
	size_t held = 0;

	for (size_t i = 0; i < candidates->n; i++)
		if (candidates->rows[i].bound < limit)
			candidates->rows[held++] = candidates->rows[i];
	candidates->n = held;
	candidates->limit = limit;
}

/*
 * Lowers the limit to the first bound behind the keep-th, where that leaves
 * room enough to be worth it; else to the keep-th itself, with which many
 * tie; and where even that would leave nothing, allows for more.
 */
static void
make_room(BrCandidates *candidates)
{
	float kept = select_bound(candidates->rows, candidates->n, candidates->keep - 1);
	float next = candidates->limit;
	size_t below = 0;
	size_t ties = 0;

	for (size_t i = 0; i < candidates->n; i++)
	{
		float bound = candidates->rows[i].bound;

		below += bound < kept;
		ties += bound == kept;
		if (bound > kept && bound < next)
			next = bound;
	}
	if (below + ties > candidates->keep + candidates->keep / 2 && below > 0)
		next = kept;
	drop_from(candidates, next);
	if (2 * candidates->n <= 3 * candidates->keep)
		candidates->full = 2 * candidates->keep;
	else if (2 * candidates->n > candidates->full + candidates->keep)
		candidates->full *= 2;
}

static BrStatus
enlarge(BrCandidates *candidates)
{
	size_t room = candidates->room == 0 ? FIRST_ROOM : 2 * candidates->room;
	BrRowCandidate *rows;

	if (room > candidates->full)
		room = candidates->full;
	rows = br_base_alloc_array(candidates->context, room, sizeof(BrRowCandidate));
	if (rows == NULL)
		return BR_ERR_MEMORY;
	if (candidates->n > 0)
		memcpy(rows, candidates->rows, candidates->n * sizeof(BrRowCandidate));
	br_base_free(candidates->context, candidates->rows);
	candidates->rows = rows;
	candidates->room = room;
	return BR_OK;
}

BrStatus
br_ann_candidates_offer(BrCandidates *candidates, const BrRowCandidate *candidate)
{
	if (!(candidate->bound < candidates->limit))
		return BR_OK;
	if (candidates->n >= candidates->full)
	{
		make_room(candidates);
		if (!(candidate->bound < candidates->limit))
			return BR_OK;
	}
	if (candidates->n == candidates->room)
	{
		BrStatus status = enlarge(candidates);

		if (status != BR_OK)
			return status;
	}
	candidates->rows[candidates->n++] = *candidate;
	candidates->heap = false;
	return BR_OK;
}

/* ---- taking ---- */

static bool
before(const BrRowCandidate *a, const BrRowCandidate *b)
{
	if (a->bound != b->bound)
		return a->bound < b->bound;
	if (a->page != b->page)
		return a->page < b->page;
	return a->slot < b->slot;
}

/* Puts row at `hole` or below it. */
static void
sift_down(BrCandidates *candidates, size_t hole, BrRowCandidate row)
{
	BrRowCandidate *rows = candidates->rows;

	for (;;)
	{
		size_t child = 2 * hole + 1;

		if (child >= candidates->n)
			break;
		if (child + 1 < candidates->n && before(&rows[child + 1], &rows[child]))
			child++;
		if (!before(&rows[child], &row))
			break;
		rows[hole] = rows[child];
		hole = child;
	}
	rows[hole] = row;
}

bool
br_ann_candidates_peek(BrCandidates *candidates, BrRowCandidate *candidate)
{
	if (candidates->n == 0)
		return false;
	if (!candidates->heap)
		for (size_t i = candidates->n / 2; i-- > 0;)
			sift_down(candidates, i, candidates->rows[i]);
	candidates->heap = true;
	*candidate = candidates->rows[0];
	return true;
}

bool
br_ann_candidates_next(BrCandidates *candidates, BrRowCandidate *candidate)
{
	if (!br_ann_candidates_peek(candidates, candidate))
		return false;
	candidates->n--;
	if (candidates->n > 0)
		sift_down(candidates, 0, candidates->rows[candidates->n]);
	return true;
}
