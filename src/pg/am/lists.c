/*
 * lists.c
 *	  Which lists a vacuum rewrites.
 *
 * Lists are best of about the length that a build would give them. One that
 * has grown beyond twice as long is divided, those that have shrunk far below
 * are put together, and one whose dead rows fill pages is written anew.
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/memutils.h"

#include "core/math/br_math.h"
#include "pg/am/vacuum_int.h"

/* of the aimed length: longer lists are divided */
#define TOO_LONG 2
/* shorter ones are put together with such as are also short */
#define SHORT .25
/* and still shorter ones with any, up to a length */
#define TINY .0625
#define WITH_TINY 1.5
/* share of dead rows from which on a list is written anew */
#define TOO_DEAD .3
/* of the nearest lists, how many may be put together with a short one */
#define NEAREST 4
/* what a division leaves too long is divided again, so many times at most */
#define MOST_ROUNDS 8
/* of maintenance_work_mem, for the pages of the parts of a division */
#define PARTS_SHARE .25
#define BYTES_OF_A_PART (4 * BLCKSZ)

typedef struct Tending
{
	BrAmRewriter rewriter;
	MemoryContext memory; /* of a round */
	BrAmList *lists;	  /* (n) rows: as counted, or as they were written */
	uint16 *centroids;	  /* (n, rotated_dims) */
	uint32 *dead;		  /* (n) slots without a row */
	bool *done;			  /* (n) rewritten in this round */
	int n;
	int live;
	List *indivisible; /* numbers of lists */
	double rows;	   /* of all lists */
	double aimed;	   /* rows of a list */
} Tending;

/* ---- counting ---- */

typedef struct Count
{
	uint32 rows;
	uint32 dead;
} Count;

static void
count_page(void *arg, Buffer buffer)
{
	Count *count = arg;
	const BrAmPosting *posting = BrAmPagePosting(BufferGetPage(buffer));

	count->rows += posting->rows - posting->dead;
	count->dead += posting->dead;
}

static void
set_rows(BrAmListEntry *entry, void *rows, int i pg_attribute_unused())
{
	entry->rows = *(const uint32 *) rows;
}

/* Counts a list, and writes its rows into its entry where that one is far off. */
static void
count_list(Tending *tending, int i)
{
	const BrAmShape *shape = &tending->rewriter.quantizer.shape;
	BrAmList *list = &tending->lists[i];
	Count count = {0, 0};
	uint32 difference;

	br_am_walk_list(tending->rewriter.index, shape, list, tending->rewriter.strategy, count_page,
					&count);
	difference = Max(list->rows, count.rows) - Min(list->rows, count.rows);
	list->rows = count.rows;
	tending->dead[i] = count.dead;
	tending->rows += count.rows;
	if (difference > count.rows / 16)
		br_am_directory_change(tending->rewriter.index, shape, &list, 1, false, set_rows,
							   &count.rows);
	vacuum_delay_point();
}

static bool
set_total(BrAmMeta *meta, void *rows)
{
	if (meta->rows == *(const double *) rows)
		return false;
	meta->rows = *(const double *) rows;
	return true;
}

static void
count_all(Tending *tending)
{
	int wanted = br_am_option_lists(tending->rewriter.index);

	for (int i = 0; i < tending->n; i++)
		if (tending->lists[i].state == BR_AM_LIST_LIVE)
			count_list(tending, i);
	if (wanted == 0)
		wanted = br_am_lists_for(tending->rows);
	tending->aimed = Max(1, tending->rows / wanted);
	br_am_meta_change(tending->rewriter.index, set_total, &tending->rows);
}

/* ---- rounds ---- */

static void
read_lists(Tending *tending)
{
	BrAmMeta meta;

	tending->lists =
		br_am_directory_read(tending->rewriter.index, NULL, &meta,
							 &tending->rewriter.quantizer.shape, &tending->centroids, &tending->n);
	tending->dead = palloc0(sizeof(uint32) * Max(tending->n, 1));
	tending->done = palloc0(sizeof(bool) * Max(tending->n, 1));
	tending->live = 0;
	for (int i = 0; i < tending->n; i++)
		if (tending->lists[i].state == BR_AM_LIST_LIVE)
			tending->live++;
}

static bool
may_be_rewritten(const Tending *tending, int i)
{
	return tending->lists[i].state == BR_AM_LIST_LIVE && !tending->done[i];
}

static const uint16 *
centroid_of(const Tending *tending, int i)
{
	return tending->centroids + (Size) i * tending->rewriter.quantizer.shape.rotated_dims;
}

static void
rewrite(Tending *tending, const int *which, int n, const uint16 *centroids, int n_new)
{
	BrAmList *old[BR_AM_MAX_REPLACED];

	for (int i = 0; i < n; i++)
	{
		old[i] = &tending->lists[which[i]];
		tending->done[which[i]] = true;
	}
	vacuum_delay_point();
	tending->live -= n;
	tending->live +=
		br_am_rewrite(&tending->rewriter, old, n, centroids, n_new, tending->live == 0);
}

/* ---- too long ---- */

static int
parts_of(const Tending *tending, const BrAmList *list)
{
	double fit = PARTS_SHARE * maintenance_work_mem * 1024.0 / BYTES_OF_A_PART;
	double parts = Min(list->rows / tending->aimed + .5, Min(fit, BR_AM_MAX_LISTS));

	return (int) Max(2, parts);
}

static bool
divide(Tending *tending, int i)
{
	const BrAmList *list = &tending->lists[i];
	uint16 *centroids;
	int parts;

	if (!may_be_rewritten(tending, i) || list->rows <= TOO_LONG * tending->aimed ||
		list_member_int(tending->indivisible, (int) list->list))
		return false;
	parts = br_am_divide_list(&tending->rewriter, list, parts_of(tending, list), &centroids);
	if (parts > 0)
		rewrite(tending, &i, 1, centroids, parts);
	else
	{
		MemoryContext round = MemoryContextSwitchTo(GetMemoryChunkContext(tending));

		tending->indivisible = lappend_int(tending->indivisible, (int) list->list);
		MemoryContextSwitchTo(round);
	}
	pfree(centroids);
	return parts > 0;
}

/* ---- too short ---- */

typedef struct Near
{
	int list;
	double distance;
} Near;

/* The nearest lists of one, nearest first; returns how many. */
static int
find_nearest(const Tending *tending, int i, Near near[NEAREST])
{
	int n = 0;

	for (int j = 0; j < tending->n; j++)
	{
		Near found = {.list = j};
		int at;

		if (j == i || tending->lists[j].state != BR_AM_LIST_LIVE)
			continue;
		found.distance =
			br_math_half_squared_distance(centroid_of(tending, i), centroid_of(tending, j),
										  tending->rewriter.quantizer.shape.rotated_dims);
		for (at = n; at > 0 && near[at - 1].distance > found.distance; at--)
			if (at < NEAREST)
				near[at] = near[at - 1];
		if (at < NEAREST)
			near[at] = found;
		n = Min(n + 1, NEAREST);
	}
	vacuum_delay_point();
	return n;
}

/* Whether a list may be put together with others that have so many rows. */
static bool
goes_with(const Tending *tending, int i, double rows)
{
	double own = tending->lists[i].rows;

	if (!may_be_rewritten(tending, i))
		return false;
	if (rows < TINY * tending->aimed)
		return own + rows <= WITH_TINY * tending->aimed;
	return own < SHORT * tending->aimed && own + rows <= tending->aimed;
}

/* The mean of centroids, each as often as its list has rows. */
static uint16 *
mean_centroid(const Tending *tending, const int *which, int n)
{
	int dims = tending->rewriter.quantizer.shape.rotated_dims;
	float *sum = palloc0(sizeof(float) * dims);
	float *one = palloc(sizeof(float) * dims);
	uint16 *mean = palloc(sizeof(uint16) * dims);
	double rows = 0;

	for (int i = 0; i < n; i++)
		rows += Max(1, tending->lists[which[i]].rows);
	for (int i = 0; i < n; i++)
	{
		float share = (float) (Max(1, tending->lists[which[i]].rows) / rows);

		br_math_half_to_floats(centroid_of(tending, which[i]), dims, one);
		for (int j = 0; j < dims; j++)
			sum[j] += share * one[j];
	}
	br_math_half_from_floats(sum, dims, mean);
	pfree(sum);
	pfree(one);
	return mean;
}

static bool
put_together(Tending *tending, int i)
{
	int which[BR_AM_MAX_REPLACED] = {i};
	double rows = tending->lists[i].rows;
	Near near[NEAREST];
	uint16 *centroid;
	int n_near;
	int n = 1;

	if (!may_be_rewritten(tending, i) || tending->live == 1 || rows >= SHORT * tending->aimed)
		return false;
	/* without a row it only has to go */
	if (rows == 0)
	{
		rewrite(tending, &i, 1, centroid_of(tending, i), 1);
		return true;
	}
	n_near = find_nearest(tending, i, near);
	for (int j = 0; j < n_near && n < BR_AM_MAX_REPLACED; j++)
		if (goes_with(tending, near[j].list, rows))
		{
			rows += tending->lists[near[j].list].rows;
			which[n++] = near[j].list;
		}
	if (n == 1)
		return false;
	centroid = mean_centroid(tending, which, n);
	rewrite(tending, which, n, centroid, 1);
	pfree(centroid);
	return true;
}

/* ---- too dead ---- */

/* Only where whole pages are won. */
static void
compact(Tending *tending, int i)
{
	const BrAmShape *shape = &tending->rewriter.quantizer.shape;
	double dead = tending->dead[i];

	if (may_be_rewritten(tending, i) && dead > TOO_DEAD * (dead + tending->lists[i].rows) &&
		dead >= Min(shape->per_exact, shape->per_posting))
		rewrite(tending, &i, 1, centroid_of(tending, i), 1);
}

/* ---- all ---- */

/* Whether lists were divided or put together, so that there may be more to do. */
static bool
tend_once(Tending *tending, bool first)
{
	bool again = false;

	read_lists(tending);
	if (first)
		count_all(tending);
	for (int i = 0; i < tending->n; i++)
		again |= divide(tending, i);
	for (int i = 0; i < tending->n; i++)
		again |= put_together(tending, i);
	for (int i = 0; first && i < tending->n; i++)
		compact(tending, i);
	return again;
}

double
br_am_tend_lists(Relation index, BufferAccessStrategy strategy)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann lists", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	Tending *tending = palloc0(sizeof(Tending));
	bool again = true;
	double rows;

	tending->rewriter.index = index;
	tending->rewriter.strategy = strategy;
	br_am_meta_read(index, &tending->rewriter.meta);
	br_am_quantizer_create(&tending->rewriter.meta, br_am_is_text(index),
						   &tending->rewriter.quantizer);
	tending->memory =
		AllocSetContextCreate(memory, "bundle_ann round of lists", ALLOCSET_DEFAULT_SIZES);
	for (int round = 0; again && round < MOST_ROUNDS; round++)
	{
		MemoryContextSwitchTo(tending->memory);
		again = tend_once(tending, round == 0);
		MemoryContextSwitchTo(memory);
		MemoryContextReset(tending->memory);
	}
	rows = tending->rows;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
	return rows;
}
