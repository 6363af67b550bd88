/*
 * beam.c
 *	  Strong sets of more than three candidates.
 *
 * Sets grow one member at a time, and after each step the strongest survive.
 * Strength inside a set is supermodular (members raise each other), so a beam
 * promises nothing about the best set. Against enumeration (106 random catalogs
 * of 21 candidates, one size of 4 to 6, constraints that bite) it found the best
 * each time. What it must not do is drown: a step keeps the strongest sets that
 * may still come to satisfy everything, and beside them the strongest that
 * satisfy everything already; below min_size those count that lack nothing but
 * members, where something is required that the strongest do not have.
 *
 * Prices are not negative, so a set over the budget or with a full category
 * stays so and is dropped. Margin and what is required can recover. Below min_size a set also has to
 * afford the cheapest members it lacks, and to reach the margin with the best.
 */
#include <string.h>

#include "core/bundle/bundle_int.h"

/* Sets that survive a step, of either kind. */
#define BEAM_WIDTH 128

/* Screening and completion estimates may be off by rounding, never by this much. */
#define ROUNDING 1e-9

typedef struct Beam
{
	BrBundleSearch *search;
	int size;
	double gain[BR_BUNDLE_MAX_CANDIDATES];		/* charged price above what the margin needs */
	uint8_t cheapest[BR_BUNDLE_MAX_CANDIDATES]; /* places by ascending price */
	uint8_t gainful[BR_BUNDLE_MAX_CANDIDATES];	/* places by descending gain */
	int n_usable;
	int n_current;
	BrBundleSet current[2 * BEAM_WIDTH];
	BrBundleHeap strongest; /* of this size, may still satisfy everything */
	BrBundleHeap feasible;	/* of this size, satisfy everything */
} Beam;

/* Insertion sort of the usable places by ascending key. */
static void
sort_places(uint8_t *places, int n, const double *key, double sign)
{
	for (int i = 1; i < n; i++)
	{
		uint8_t place = places[i];
		int j = i;

		for (; j > 0 && sign * key[places[j - 1]] > sign * key[place]; j--)
			places[j] = places[j - 1];
		places[j] = place;
	}
}

/* A place is usable where no constraint refuses every set that has it. */
static void
prepare(Beam *beam)
{
	BrBundleSearch *search = beam->search;

	for (int place = 0; place < search->n; place++)
	{
		double price = search->price[place] * search->keep;
		unsigned refused = 0;

		if (search->has_budget && !(price <= search->constraints->budget))
			refused |= BR_BUNDLE_OVER_BUDGET;
		if (search->has_margin && (isnan(price) || isnan(search->cost[place])))
			refused |= BR_BUNDLE_UNDER_MARGIN;
		br_bundle_count_refusals(search, refused);
		if (refused != 0)
			continue;
		beam->gain[place] = (1 - search->constraints->min_margin) * price - search->cost[place];
		beam->cheapest[beam->n_usable] = (uint8_t) place;
		beam->gainful[beam->n_usable++] = (uint8_t) place;
	}
	if (search->has_budget)
		sort_places(beam->cheapest, beam->n_usable, search->price, 1);
	if (search->has_margin)
		sort_places(beam->gainful, beam->n_usable, beam->gain, -1);
}

/* Adds to *sum, and its terms to *scale, the first `need` places that are not in the set. */
static bool
add_best(const BrBundleSet *set, const uint8_t *places, int n, const double *value, int need,
		 double *sum, double *scale)
{
	for (int i = 0; i < n && need > 0; i++)
	{
		if (memchr(set->members, places[i], set->size) != NULL)
			continue;
		*sum += value[places[i]];
		*scale += fabs(value[places[i]]);
		need--;
	}
	return need == 0;
}

/* Bits of the constraints that no completion to min_size satisfies; a necessary test only. */
static unsigned
hopeless(const Beam *beam, const BrBundleSet *set)
{
	const BrBundleSearch *search = beam->search;
	int need = search->constraints->min_size - set->size;
	unsigned refused = 0;
	double sum = 0;
	double scale = 0;

	if (search->has_budget)
	{
		for (int i = 0; i < set->size; i++)
			sum += search->price[set->members[i]];
		if (!add_best(set, beam->cheapest, beam->n_usable, search->price, need, &sum, &scale) ||
			sum * search->keep > search->constraints->budget * (1 + ROUNDING))
			refused |= BR_BUNDLE_OVER_BUDGET;
	}
	if (search->has_margin)
	{
		sum = scale = 0;
		for (int i = 0; i < set->size; i++)
		{
			sum += beam->gain[set->members[i]];
			scale += fabs(beam->gain[set->members[i]]);
		}
		if (!add_best(set, beam->gainful, beam->n_usable, beam->gain, need, &sum, &scale) ||
			sum < -ROUNDING * scale)
			refused |= BR_BUNDLE_UNDER_MARGIN;
	}
	return refused;
}

/* Judges one set of the beam's size and keeps it where it belongs. */
static void
consider(Beam *beam, BrBundleSet *set)
{
	BrBundleSearch *search = beam->search;
	unsigned refused = br_bundle_set_refused(search, set);
	bool sellable = set->size >= search->constraints->min_size;
	unsigned fatal = refused & ~(unsigned) (BR_BUNDLE_UNDER_MARGIN | BR_BUNDLE_LACKS_REQUIRED);

	if (set->size == search->constraints->max_size)
		fatal |= refused & BR_BUNDLE_LACKS_REQUIRED;
	if (!sellable)
		fatal |= hopeless(beam, set);
	if (sellable || fatal != 0)
		br_bundle_count_refusals(search, sellable ? refused : fatal);
	if (fatal != 0)
		return;

	br_bundle_heap_offer_once(&beam->strongest, set);
	if (refused == 0 && (sellable || search->constraints->required != 0))
		br_bundle_heap_offer_once(&beam->feasible, set);
}

static void
grow(Beam *beam, const BrBundleSet *set)
{
	const BrBundleSearch *search = beam->search;

	for (int i = 0; i < beam->n_usable; i++)
	{
		BrBundleSet larger;
		double threshold = fmin(br_bundle_heap_threshold(&beam->strongest),
								br_bundle_heap_threshold(&beam->feasible));

		if (!br_bundle_set_add(set, beam->cheapest[i], &larger))
			continue;
		larger.strength = br_bundle_set_strength(search, &larger);
		if (larger.strength >= threshold)
			consider(beam, &larger);
	}
}

/* The survivors of a step: the best of both heaps, each set once. */
static void
select_survivors(Beam *beam)
{
	beam->n_current = 0;
	br_bundle_heap_sort(&beam->strongest);
	br_bundle_heap_sort(&beam->feasible);
	for (int i = 0; i < beam->strongest.n && i < BEAM_WIDTH; i++)
		beam->current[beam->n_current++] = beam->strongest.sets[i];
	for (int i = 0; i < beam->feasible.n && i < BEAM_WIDTH; i++)
		if (!br_bundle_heap_holds(&beam->strongest, &beam->feasible.sets[i]))
			beam->current[beam->n_current++] = beam->feasible.sets[i];
}

static BrStatus
step(Beam *beam)
{
	BrBundleSearch *search = beam->search;

	br_bundle_heap_init(&beam->strongest, BEAM_WIDTH);
	br_bundle_heap_init(&beam->feasible, search->pool.limit);
	for (int i = 0; i < beam->n_current; i++)
	{
		if (br_base_cancelled(search->context))
			return BR_ERR_CANCELLED;
		grow(beam, &beam->current[i]);
	}
	select_survivors(beam);
	if (beam->size > BR_BUNDLE_EXHAUSTIVE_SIZE && beam->size >= search->constraints->min_size)
		for (int i = 0; i < beam->feasible.n; i++)
			br_bundle_heap_offer(&search->pool, &beam->feasible.sets[i]);
	return BR_OK;
}

BrStatus
br_bundle_search_beam(BrBundleSearch *search)
{
	BrRefusals exact = search->refusals;
	BrStatus status = BR_OK;
	Beam *beam = br_base_alloc_array(search->context, 1, sizeof(Beam));

	if (beam == NULL)
		return BR_ERR_MEMORY;
	beam->search = search;
	prepare(beam);
	beam->n_current = 1; /* the empty set */
	for (int size = 1; status == BR_OK && size <= search->constraints->max_size; size++)
	{
		beam->size = size;
		status = step(beam);

		/* the small sizes have been enumerated, and their refusals counted, already */
		if (size <= BR_BUNDLE_EXHAUSTIVE_SIZE && size >= search->constraints->min_size)
			search->refusals = exact;
	}
	br_base_free(search->context, beam);
	return status;
}
