/*
 * exhaustive.c
 *	  Every set of one, two or three candidates.
 *
 * 100 candidates have 161,700 triples, so the innermost loop decides. A prefix
 * of all members but the last carries its sums; the last member adds its own
 * terms, in the order in which set.c folds them. Each set is judged by every
 * constraint, which makes the refusals exact; only a set as strong as the
 * weakest in the pool is built and offered.
 */
#include <string.h>

#include "core/bundle/bundle_int.h"

static const double no_links[BR_BUNDLE_MAX_CANDIDATES];

/* A set that lacks its last member. */
typedef struct Prefix
{
	BrBundleSet set;
	bool category_full;
	uint32_t met; /* bits of required */
	double relevance;
	double pairs;
	double price;
	double cost;
	const double *links[BR_BUNDLE_EXHAUSTIVE_SIZE - 1]; /* affinities of its members */
} Prefix;

static bool
fills_category(const BrBundleSearch *search, const BrBundleSet *set, int place)
{
	int same = 1;

	for (int i = 0; i < set->size; i++)
		same += search->category[set->members[i]] == search->category[place];
	return same > search->cap[place];
}

static unsigned
refused_with(const BrBundleSearch *search, const Prefix *prefix, int place)
{
	unsigned refused = br_bundle_money_refuses(search, prefix->price + search->price[place],
											   prefix->cost + search->cost[place]);

	if (search->has_cap && (prefix->category_full || fills_category(search, &prefix->set, place)))
		refused |= BR_BUNDLE_CATEGORY_FULL;
	if ((search->constraints->required & ~(prefix->met | search->meets[place])) != 0)
		refused |= BR_BUNDLE_LACKS_REQUIRED;
	return refused;
}

/* Completes the prefix with each candidate after its last member. */
static void
complete(BrBundleSearch *search, const Prefix *prefix, int first)
{
	bool constrained = search->has_budget || search->has_margin || search->has_cap ||
		search->constraints->required != 0;
	double per_item = search->per_item[prefix->set.size + 1];
	double per_pair = search->per_pair[prefix->set.size + 1];
	double threshold = br_bundle_heap_threshold(&search->pool);
	bool tie_lost = false; /* to the weakest in the pool: so will later places */
	BrBundleSet set = prefix->set;

	set.size++;
	for (int place = first; place < search->n; place++)
	{
		double links = prefix->links[0][place] + prefix->links[1][place];
		double strength = (prefix->relevance + search->relevance[place]) * per_item +
			(prefix->pairs + links) * per_pair;

		if (constrained)
		{
			unsigned refused = refused_with(search, prefix, place);

			if (refused != 0)
			{
				br_bundle_count_refusals(search, refused);
				continue;
			}
		}
		if (strength > threshold || (strength == threshold && !tie_lost))
		{
			set.strength = strength;
			set.members[set.size - 1] = (uint8_t) place;
			tie_lost = !br_bundle_heap_offer(&search->pool, &set);
			threshold = br_bundle_heap_threshold(&search->pool);
		}
	}
}

static Prefix
extended(const BrBundleSearch *search, const Prefix *prefix, int place)
{
	Prefix longer = *prefix;
	int size = prefix->set.size;

	if (search->has_cap)
		longer.category_full |= fills_category(search, &prefix->set, place);
	for (int i = 0; i < size; i++)
		longer.pairs += prefix->links[i][place];
	longer.met |= search->meets[place];
	longer.relevance += search->relevance[place];
	longer.price += search->price[place];
	longer.cost += search->cost[place];
	longer.links[size] = search->affinity[place];
	longer.set.members[size] = (uint8_t) place;
	longer.set.size++;
	return longer;
}

BrStatus
br_bundle_search_all(BrBundleSearch *search, int size)
{
	Prefix none = {.links = {no_links, no_links}};

	if (size == 1)
		complete(search, &none, 0);
	for (int first = 0; size > 1 && first < search->n; first++)
	{
		Prefix one = extended(search, &none, first);

		if (br_base_cancelled(search->context))
			return BR_ERR_CANCELLED;
		if (size == 2)
			complete(search, &one, first + 1);
		for (int second = first + 1; size > 2 && second < search->n; second++)
		{
			Prefix two = extended(search, &one, second);

			complete(search, &two, second + 1);
		}
	}
	return BR_OK;
}
