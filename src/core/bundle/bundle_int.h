/*
 * bundle_int.h
 *	  What the files of the bundle room share: the state of one search.
 *
 * Candidates are sorted by item id once, and a set is a short ascending list of
 * places in that order. Every sum (of prices, costs, relevances, affinities) is
 * folded in ascending order from 0, so a set has the same figures bit for bit
 * whichever search came upon it, and so has a reader who adds in that order.
 */
#ifndef BUNDLE_INT_H
#define BUNDLE_INT_H

#include <math.h>

#include "core/bundle/br_bundle.h"

/* Sizes up to this one are enumerated, larger ones searched. */
#define BR_BUNDLE_EXHAUSTIVE_SIZE 3

/* Places in BrBundleSearch, ascending. */
typedef struct BrBundleSet
{
	double strength;
	uint8_t size;
	uint8_t members[BR_BUNDLE_MAX_SIZE];
} BrBundleSet;

/* The strongest `limit` sets offered; the weakest on top. */
typedef struct BrBundleHeap
{
	int limit;
	int n;
	BrBundleSet sets[BR_BUNDLE_MAX_POOL];
} BrBundleHeap;

/* Bits of what refuses a set. */
enum
{
	BR_BUNDLE_OVER_BUDGET = 1,
	BR_BUNDLE_UNDER_MARGIN = 2,
	BR_BUNDLE_CATEGORY_FULL = 4,
	BR_BUNDLE_LACKS_REQUIRED = 8
};

typedef struct BrBundleSearch
{
	BrContext *context;
	const BrConstraints *constraints;
	const BrRanker *ranker; /* never NULL */
	bool has_budget;
	bool has_margin;
	bool has_cap;
	double keep; /* 1 - discount */
	int n;
	int order[BR_BUNDLE_MAX_CANDIDATES]; /* place -> index of the caller's candidate */
	double relevance[BR_BUNDLE_MAX_CANDIDATES];
	double price[BR_BUNDLE_MAX_CANDIDATES];
	double cost[BR_BUNDLE_MAX_CANDIDATES];
	int32_t category[BR_BUNDLE_MAX_CANDIDATES];
	int cap[BR_BUNDLE_MAX_CANDIDATES]; /* of its category, at most max_size; category -1: max_size */
	uint32_t meets[BR_BUNDLE_MAX_CANDIDATES];
	double affinity[BR_BUNDLE_MAX_CANDIDATES][BR_BUNDLE_MAX_CANDIDATES];

	/* strength = sum of relevances * per_item + sum of affinities * per_pair, by size */
	double per_item[BR_BUNDLE_MAX_SIZE + 1];
	double per_pair[BR_BUNDLE_MAX_SIZE + 1];

	BrRefusals refusals;
	BrBundleHeap pool;
} BrBundleSearch;

/* What money says of a set of these sums. NaN, an unknown, fails whatever needs it. */
static inline unsigned
br_bundle_money_refuses(const BrBundleSearch *search, double list_price, double cost)
{
	double price = list_price * search->keep;
	unsigned refused = 0;

	if (search->has_budget && !(price <= search->constraints->budget))
		refused |= BR_BUNDLE_OVER_BUDGET;
	if (search->has_margin && !((price - cost) / price >= search->constraints->min_margin))
		refused |= BR_BUNDLE_UNDER_MARGIN;
	return refused;
}

static inline void
br_bundle_count_refusals(BrBundleSearch *search, unsigned refused)
{
	search->refusals.budget += (refused & BR_BUNDLE_OVER_BUDGET) != 0;
	search->refusals.margin += (refused & BR_BUNDLE_UNDER_MARGIN) != 0;
	search->refusals.category += (refused & BR_BUNDLE_CATEGORY_FULL) != 0;
	search->refusals.required += (refused & BR_BUNDLE_LACKS_REQUIRED) != 0;
}

/* set.c */
extern void br_bundle_set_sums(const BrBundleSearch *search, const BrBundleSet *set,
							   double *list_price, double *cost);
extern double br_bundle_set_strength(const BrBundleSearch *search, const BrBundleSet *set);
extern unsigned br_bundle_set_refused(const BrBundleSearch *search, const BrBundleSet *set);

/* The bits of required that no member meets. */
extern uint32_t br_bundle_set_missing(const BrBundleSearch *search, const BrBundleSet *set);
extern bool br_bundle_set_equal(const BrBundleSet *a, const BrBundleSet *b);

/* false: the place is in the set already. */
extern bool br_bundle_set_add(const BrBundleSet *set, int place, BrBundleSet *larger);

extern void br_bundle_heap_init(BrBundleHeap *heap, int limit);
extern double br_bundle_heap_threshold(const BrBundleHeap *heap); /* below it nothing enters */
extern bool br_bundle_heap_offer(BrBundleHeap *heap, const BrBundleSet *set); /* did it enter? */
extern void br_bundle_heap_offer_once(BrBundleHeap *heap, const BrBundleSet *set); /* unless held */
extern bool br_bundle_heap_holds(const BrBundleHeap *heap, const BrBundleSet *set);
extern void br_bundle_heap_sort(BrBundleHeap *heap); /* strongest first; no longer a heap */

/* features.c */
extern double br_bundle_pair_affinity(const BrAffinity *affinity, int n, int left, int right);


/* exhaustive.c: every set of one size, 1 .. BR_BUNDLE_EXHAUSTIVE_SIZE, into the pool. */
extern BrStatus br_bundle_search_all(BrBundleSearch *search, int size);

/* beam.c: strong sets of min_size .. max_size above BR_BUNDLE_EXHAUSTIVE_SIZE, into the pool. */
extern BrStatus br_bundle_search_beam(BrBundleSearch *search);

/*
 * feasibility.c: adds feasible sets above BR_BUNDLE_EXHAUSTIVE_SIZE that the
 * pool does not hold until it holds `wanted`. *complete: it does, or there are
 * no more.
 */
extern BrStatus br_bundle_search_feasible(BrBundleSearch *search, int wanted, bool *complete);

#endif /* BUNDLE_INT_H */
