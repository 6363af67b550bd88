/*
 * feasibility.c
 *	  Finds feasible sets where constraints are so tight that the beam did not.
 *
 * Depth-first search over the candidates, grouped by category, that enters a
 * branch only where a table says that it may be completed. With prices q after
 * discount, and with the gain g = (1 - min_margin) q - cost, a set S of the
 * right size is feasible iff
 *
 *		sum q <= budget,		sum g >= 0 and sum q > 0,		category counts <= caps,
 *
 * and S meets everything that is required.
 *
 * A direction weighs both: every feasible S has
 *
 *		sum over S of (a g_i - b q_i) >= -b budget		for all a, b >= 0,
 *
 * and the largest value that the candidates from i on can still contribute
 * with `need` more members, `used` of the current category being taken and
 * `missing` being required still, is found for all four by dynamic programming,
 * since the candidates of a category stand together. With one of budget and margin the table is
 * exact: no branch is entered in vain, and the search is as cheap as what it
 * finds. With both, the directions are a Lagrangian relaxation of a problem
 * that is NP-hard when sizes are not bounded (a knapsack); the search may then
 * enter branches in vain. It stops after NODE_LIMIT of them, and says so.
 */
#include <float.h>

#include "core/bundle/bundle_int.h"

/* Branches entered before the search gives up: about half a second. */
#define NODE_LIMIT 20000000

#define NODES_BETWEEN_CANCEL_CHECKS 4096

/* Exchange rates between gain and price, in steps of a factor 2 around 2^0. */
#define RATES 13
#define MAX_DIRECTIONS (RATES + 5)

/* Bounds may be off by rounding; the leaf is judged exactly. */
#define ROUNDING 1e-12

typedef struct Direction
{
	double gain;  /* a */
	double price; /* b */
	double floor; /* a set whose value is below is not feasible */
} Direction;

typedef struct Finder
{
	BrBundleSearch *search;
	int wanted;
	int size;	  /* of the sets looked for */
	int max_used; /* members of one category: the largest cap, 1 without */
	int n;
	int place[BR_BUNDLE_MAX_CANDIDATES];
	bool continues[BR_BUNDLE_MAX_CANDIDATES + 1]; /* of the same category as the one before */
	int n_directions;
	Direction directions[MAX_DIRECTIONS];
	double value[BR_BUNDLE_MAX_CANDIDATES][MAX_DIRECTIONS];
	double *best; /* (n + 1, max size + 1, max_used + 1, required + 1, n_directions); see best_at */
	int64_t nodes;
	int chosen[BR_BUNDLE_MAX_SIZE];
	int n_chosen;
	bool gave_up;
	bool cancelled;
} Finder;

/* What the candidates from i on contribute at most, by direction; -infinity: no such set. */
static double *
best_at(const Finder *finder, int i, int need, int used, uint32_t missing)
{
	size_t sizes = finder->search->constraints->max_size + 1;
	size_t counts = finder->max_used + 1;
	size_t masks = finder->search->constraints->required + 1;

	return finder->best +
		(((i * sizes + need) * counts + used) * masks + missing) * finder->n_directions;
}

static double
charged(const Finder *finder, int i)
{
	return finder->search->price[finder->place[i]] * finder->search->keep;
}

static double
gain(const Finder *finder, int i)
{
	const BrBundleSearch *search = finder->search;

	return (1 - search->constraints->min_margin) * charged(finder, i) -
		search->cost[finder->place[i]];
}

/* Strong categories first, strong candidates first inside them; equal ones by place. */
static void
arrange(Finder *finder)
{
	const BrBundleSearch *search = finder->search;
	bool taken[BR_BUNDLE_MAX_CANDIDATES] = {false};

	for (int place = 0; place < search->n; place++)
	{
		double price = search->price[place] * search->keep;

		if ((search->has_budget && !(price <= search->constraints->budget)) ||
			(search->has_margin && (isnan(price) || isnan(search->cost[place]))))
			taken[place] = true;
	}
	for (int category = -1;;)
	{
		int best = -1;

		for (int place = 0; place < search->n; place++)
			if (!taken[place] && (category < 0 || search->category[place] == category) &&
				(best < 0 || search->relevance[place] > search->relevance[best]))
				best = place;
		if (best < 0 && category < 0)
			break;
		if (best >= 0)
		{
			taken[best] = true;
			finder->continues[finder->n] = category >= 0;
			finder->place[finder->n++] = best;
			category = search->category[best];
		}
		if (best < 0 || !search->has_cap)
			category = -1;
	}
}

static void
add_direction(Finder *finder, double a, double b, double floor)
{
	double scale = 0;

	for (int i = 0; i < finder->n; i++)
	{
		double value = (a != 0 ? a * gain(finder, i) : 0) - (b != 0 ? b * charged(finder, i) : 0);

		finder->value[i][finder->n_directions] = value;
		scale = fmax(scale, fabs(value));
	}
	floor -= ROUNDING * (fabs(floor) + scale * BR_BUNDLE_MAX_SIZE);
	finder->directions[finder->n_directions++] = (Direction){a, b, floor};
}

/* The directions that the constraints allow; the first asks only for enough members. */
static void
choose_directions(Finder *finder)
{
	const BrBundleSearch *search = finder->search;
	double budget = search->constraints->budget;
	double largest_gain = 0;
	double largest_price = 0;
	double smallest_price = DBL_MAX;

	for (int i = 0; i < finder->n && (search->has_budget || search->has_margin); i++)
	{
		largest_price = fmax(largest_price, charged(finder, i));
		if (charged(finder, i) > 0)
			smallest_price = fmin(smallest_price, charged(finder, i));
		if (search->has_margin)
			largest_gain = fmax(largest_gain, fabs(gain(finder, i)));
	}
	add_direction(finder, 0, 0, 0);
	if (search->has_budget)
		add_direction(finder, 0, 1, -budget);
	if (search->has_margin)
	{
		add_direction(finder, 1, 0, 0);

		/* a margin needs something that is not free: half the price leaves room for rounding */
		add_direction(finder, 0, -1, smallest_price / 2);
	}
	if (!search->has_budget || !search->has_margin || largest_gain == 0 || largest_price == 0)
		return;

	/* what remains is cost: its sum may be (1 - min_margin) budget */
	add_direction(finder, 1, 1 - search->constraints->min_margin,
				  (search->constraints->min_margin - 1) * budget);
	for (int rate = 0; rate < RATES; rate++)
	{
		double b = ldexp(largest_gain / largest_price, rate - RATES / 2);

		add_direction(finder, 1, b, -b * budget);
	}
}

/* `used` of the next candidate's category after this one, if this one is taken or not. */
static int
used_next(const Finder *finder, int i, int used, bool take)
{
	return finder->continues[i + 1] ? used + take : 0;
}

static bool
may_take(const Finder *finder, int i, int used)
{
	return !finder->search->has_cap || used < finder->search->cap[finder->place[i]];
}

/* what is still required once this one is taken */
static uint32_t
missing_next(const Finder *finder, int i, uint32_t missing)
{
	return missing & ~finder->search->meets[finder->place[i]];
}

static void
fill_entry(Finder *finder, int i, int need, int used, uint32_t missing)
{
	double *best = best_at(finder, i, need, used, missing);
	const double *skip = best_at(finder, i + 1, need, used_next(finder, i, used, false), missing);
	const double *take = NULL;

	if (need > 0 && may_take(finder, i, used))
		take = best_at(finder, i + 1, need - 1, used_next(finder, i, used, true),
					   missing_next(finder, i, missing));
	for (int d = 0; d < finder->n_directions; d++)
	{
		best[d] = skip[d];
		if (take != NULL && take[d] + finder->value[i][d] > best[d])
			best[d] = take[d] + finder->value[i][d];
	}
}

/* where no candidates are left */
static void
fill_end(Finder *finder, int need, int used, uint32_t missing)
{
	double *best = best_at(finder, finder->n, need, used, missing);

	for (int d = 0; d < finder->n_directions; d++)
		best[d] = need == 0 && missing == 0 ? 0 : -INFINITY;
}

static BrStatus
fill_table(Finder *finder)
{
	int sizes = finder->search->constraints->max_size + 1;
	int counts = finder->max_used + 1;
	uint32_t required = finder->search->constraints->required;

	finder->best = br_base_alloc_array(finder->search->context,
									   (size_t) (finder->n + 1) * sizes * counts * (required + 1),
									   sizeof(double) * finder->n_directions);
	if (finder->best == NULL)
		return BR_ERR_MEMORY;
	for (int i = finder->n; i >= 0; i--)
		for (int need = 0; need < sizes; need++)
			for (int used = 0; used < counts; used++)
				for (uint32_t missing = 0; missing <= required; missing++)
				{
					if (i < finder->n)
						fill_entry(finder, i, need, used, missing);
					else
						fill_end(finder, need, used, missing);
				}
	return BR_OK;
}

static bool
may_complete(const Finder *finder, const double *sums, const double *best)
{
	for (int d = 0; d < finder->n_directions; d++)
		if (sums[d] + best[d] < finder->directions[d].floor)
			return false;
	return true;
}

static void
judge_leaf(Finder *finder)
{
	BrBundleSearch *search = finder->search;
	BrBundleSet set = {.size = 0};
	BrBundleSet larger = set;

	for (int i = 0; i < finder->n_chosen; i++)
	{
		br_bundle_set_add(&set, finder->place[finder->chosen[i]], &larger);
		set = larger;
	}
	set.strength = br_bundle_set_strength(search, &set);
	if (br_bundle_set_refused(search, &set) == 0 && !br_bundle_heap_holds(&search->pool, &set))
		br_bundle_heap_offer(&search->pool, &set);
}

static bool
stopped(Finder *finder)
{
	finder->nodes++;
	if (finder->nodes % NODES_BETWEEN_CANCEL_CHECKS == 0)
		finder->cancelled |= br_base_cancelled(finder->search->context);
	finder->gave_up |= finder->nodes > NODE_LIMIT;
	return finder->cancelled || finder->gave_up || finder->search->pool.n >= finder->wanted;
}

/* Every completion of what is chosen, with members from i on; at most 8 levels deep. */
static void
explore(Finder *finder, int i, int used, uint32_t missing, const double *sums)
{
	int need = finder->size - finder->n_chosen;

	if (need == 0)
	{
		judge_leaf(finder);
		return;
	}
	for (; i < finder->n; i++)
	{
		double with[MAX_DIRECTIONS];

		/* what cannot be completed from here cannot be from further on */
		if (stopped(finder) || !may_complete(finder, sums, best_at(finder, i, need, used, missing)))
			return;
		if (may_take(finder, i, used))
		{
			int next = used_next(finder, i, used, true);
			uint32_t left = missing_next(finder, i, missing);

			for (int d = 0; d < finder->n_directions; d++)
				with[d] = sums[d] + finder->value[i][d];
			if (may_complete(finder, with, best_at(finder, i + 1, need - 1, next, left)))
			{
				finder->chosen[finder->n_chosen++] = i;
				explore(finder, i + 1, next, left, with);
				finder->n_chosen--;
			}
		}
		used = used_next(finder, i, used, false);
	}
}

BrStatus
br_bundle_search_feasible(BrBundleSearch *search, int wanted, bool *complete)
{
	const double nothing[MAX_DIRECTIONS] = {0};
	BrStatus status;
	Finder *finder = br_base_alloc_array(search->context, 1, sizeof(Finder));

	if (finder == NULL)
		return BR_ERR_MEMORY;
	finder->search = search;
	finder->wanted = wanted;
	finder->max_used = 1;
	for (int place = 0; search->has_cap && place < search->n; place++)
		if (search->cap[place] > finder->max_used)
			finder->max_used = search->cap[place];
	arrange(finder);
	choose_directions(finder);
	status = fill_table(finder);
	finder->size = search->constraints->min_size;
	if (finder->size <= BR_BUNDLE_EXHAUSTIVE_SIZE)
		finder->size = BR_BUNDLE_EXHAUSTIVE_SIZE + 1;
	for (; status == BR_OK && finder->size <= search->constraints->max_size; finder->size++)
	{
		explore(finder, 0, 0, search->constraints->required, nothing);
		if (finder->cancelled)
			status = BR_ERR_CANCELLED;
	}
	*complete = !finder->gave_up;
	br_base_free(search->context, finder->best);
	br_base_free(search->context, finder);
	return status;
}
