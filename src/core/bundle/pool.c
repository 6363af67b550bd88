/*
 * pool.c
 *	  From candidates to a pool of feasible bundles.
 *
 * The generator knows no policy: it ranks by the part of the score that adds up
 * over items and pairs, so that what a policy may choose from does not depend
 * on what it believes. Three searches share one heap: enumeration of small
 * sets, a beam for larger ones, and where these leave the pool shorter than
 * wanted, a search for anything feasible.
 */
#include <string.h>

#include "core/bundle/bundle_int.h"

/* Evidence may be out of [0, 1] by rounding. */
#define ROUNDING 1e-6
#define MOST_LEARNED 100

static BrStatus
check_constraints(BrContext *context, const BrConstraints *constraints)
{
	if (constraints->min_size < 1 || constraints->max_size < constraints->min_size ||
		constraints->max_size > BR_BUNDLE_MAX_SIZE)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"sizes %d to %d, they must be ascending and within 1 to %d",
							constraints->min_size, constraints->max_size, BR_BUNDLE_MAX_SIZE);
	if (!(constraints->budget >= 0))
		return br_base_fail(context, BR_ERR_ARGUMENT, "budget is %g, it must be at least 0",
							constraints->budget);
	if (!(constraints->min_margin <= 1))
		return br_base_fail(context, BR_ERR_ARGUMENT, "min_margin is %g, it must be at most 1",
							constraints->min_margin);
	if (!(constraints->discount >= 0 && constraints->discount < 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"discount is %g, it must be at least 0 and below 1",
							constraints->discount);
	if (constraints->category_cap < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "category_cap is %d, it must be at least 0",
							constraints->category_cap);
	if (constraints->required >> BR_BUNDLE_MAX_REQUIRED != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "required is %u, it must be below %u",
							(unsigned) constraints->required, 1u << BR_BUNDLE_MAX_REQUIRED);
	if (constraints->typical_price < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "typical_price is %g, it must be at least 0",
							constraints->typical_price);
	return BR_OK;
}

static bool
is_money(double value)
{
	return isnan(value) || (value >= 0 && isfinite(value));
}

static bool
is_evidence(double value)
{
	return value >= -ROUNDING && value <= 1 + ROUNDING;
}

static bool
is_learned(const BrCandidate *candidate)
{
	for (int i = 0; i < BR_LEARNED_COUNT; i++)
		if (!(fabs(candidate->learned[i]) <= MOST_LEARNED))
			return false;
	return true;
}

static BrStatus
check_candidate(BrContext *context, const BrCandidate *candidate)
{
	struct
	{
		const char *name;
		double value;
		bool good;
	} fields[] = {
		{"price", candidate->price, is_money(candidate->price)},
		{"cost", candidate->cost, is_money(candidate->cost)},
		{"stock", candidate->stock, !isnan(candidate->stock)},
		{"content", candidate->content, is_evidence(candidate->content)},
		{"copurchase", candidate->copurchase, is_evidence(candidate->copurchase)},
		{"popularity", candidate->popularity, is_evidence(candidate->popularity)},
		{"freshness", candidate->freshness, is_evidence(candidate->freshness)},
		{"boost", candidate->boost, isfinite(candidate->boost)},
		{"category_cap", candidate->category_cap, candidate->category_cap >= 0},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (!fields[i].good)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"%s of item %d is %g, which is out of range", fields[i].name,
								(int) candidate->item, fields[i].value);
	if (!is_learned(candidate))
		return br_base_fail(context, BR_ERR_ARGUMENT, "what is learned of item %d is out of range",
							(int) candidate->item);
	return BR_OK;
}

/* Sorts by item id, and refuses ids that come twice. */
static BrStatus
order_candidates(BrBundleSearch *search, const BrCandidate *candidates)
{
	int *order = search->order;

	for (int i = 0; i < search->n; i++)
	{
		int j = i;

		for (; j > 0 && candidates[order[j - 1]].item > candidates[i].item; j--)
			order[j] = order[j - 1];
		if (j > 0 && candidates[order[j - 1]].item == candidates[i].item)
			return br_base_fail(search->context, BR_ERR_ARGUMENT,
								"item %d is among the candidates twice", (int) candidates[i].item);
		order[j] = i;
	}
	return BR_OK;
}

static void
copy_candidates(BrBundleSearch *search, const BrCandidate *candidates, const BrAffinity *affinity)
{
	for (int place = 0; place < search->n; place++)
	{
		int index = search->order[place];
		const BrCandidate *candidate = &candidates[index];

		search->relevance[place] = br_bundle_item_strength(candidate, search->ranker);
		search->price[place] = candidate->price;
		search->cost[place] = candidate->cost;
		search->category[place] = candidate->category;
		search->meets[place] = candidate->meets;
		for (int later = place + 1; later < search->n; later++)
		{
			double value =
				br_bundle_pair_affinity(affinity, search->n, index, search->order[later]);

			search->affinity[place][later] = value;
			search->affinity[later][place] = value;
		}
	}
	for (int size = 1; size <= BR_BUNDLE_MAX_SIZE; size++)
	{
		search->per_item[size] = 1.0 / size;
		search->per_pair[size] =
			size < 2 ? 0 : search->ranker->weight[BR_FEATURE_COHESION] * 2 / (size * (size - 1.0));
	}
}

/* the least of what the constraints say and what any candidate of the category says */
static void
find_caps(BrBundleSearch *search, const BrCandidate *candidates)
{
	const BrConstraints *constraints = search->constraints;

	for (int place = 0; place < search->n; place++)
	{
		int *cap = &search->cap[place];

		*cap = constraints->max_size;
		if (search->category[place] < 0)
			continue;
		if (constraints->category_cap > 0 && constraints->category_cap < *cap)
			*cap = constraints->category_cap;
		for (int i = 0; i < search->n; i++)
			if (candidates[i].category == search->category[place] &&
				candidates[i].category_cap > 0 && candidates[i].category_cap < *cap)
				*cap = candidates[i].category_cap;
		search->has_cap |= *cap < constraints->max_size;
	}
}

static BrStatus
prepare(BrBundleSearch *search, const BrCandidate *candidates, const BrAffinity *affinity)
{
	const BrConstraints *constraints = search->constraints;
	BrStatus status = check_constraints(search->context, constraints);

	for (int i = 0; status == BR_OK && i < search->n; i++)
		status = check_candidate(search->context, &candidates[i]);
	if (status == BR_OK)
		status = order_candidates(search, candidates);
	if (status != BR_OK)
		return status;

	search->ranker = constraints->ranker != NULL ? constraints->ranker : &br_bundle_fixed_ranker;
	search->has_budget = isfinite(constraints->budget);
	search->has_margin = isfinite(constraints->min_margin);
	search->keep = 1 - constraints->discount;
	copy_candidates(search, candidates, affinity);
	find_caps(search, candidates);
	return BR_OK;
}

static BrStatus
run_searches(BrBundleSearch *search, int wanted, bool *complete)
{
	const BrConstraints *constraints = search->constraints;
	BrStatus status = BR_OK;

	for (int size = constraints->min_size;
		 status == BR_OK && size <= constraints->max_size && size <= BR_BUNDLE_EXHAUSTIVE_SIZE;
		 size++)
		status = br_bundle_search_all(search, size);
	if (status == BR_OK && constraints->max_size > BR_BUNDLE_EXHAUSTIVE_SIZE)
	{
		status = br_bundle_search_beam(search);
		if (status == BR_OK && search->pool.n < wanted)
			status = br_bundle_search_feasible(search, wanted, complete);
	}
	if (status == BR_ERR_CANCELLED)
		br_base_fail(search->context, status, "the search for bundles was cancelled");
	return status;
}

/* members: room for those of the set */
static void
fill_bundle(const BrBundleSearch *search, const BrBundleSet *set, BrBundle *bundle, int *members)
{
	double cost;

	bundle->size = set->size;
	bundle->strength = set->strength;
	bundle->log_odds = 0;
	bundle->members = members;
	for (int i = 0; i < set->size; i++)
		members[i] = search->order[set->members[i]];
	br_bundle_set_sums(search, set, &bundle->list_price, &cost);
	bundle->price = bundle->list_price * search->keep;
	bundle->margin = bundle->price > 0 ? (bundle->price - cost) / bundle->price : NAN;
}

static BrStatus
fill_pool(BrBundleSearch *search, const BrCandidate *candidates, const BrAffinity *affinity,
		  BrPool *pool)
{
	int n = search->pool.n;

	br_bundle_heap_sort(&search->pool);
	pool->refusals = search->refusals;
	if (n == 0)
		return BR_OK;
	pool->bundles = br_base_alloc_array(search->context, n, sizeof(BrBundle));
	if (pool->bundles == NULL)
		return BR_ERR_MEMORY;
	pool->members =
		br_base_alloc_array(search->context, (size_t) n * BR_BUNDLE_MAX_SIZE, sizeof(int));
	if (pool->members == NULL)
		return BR_ERR_MEMORY;
	pool->features =
		br_base_alloc_array(search->context, (size_t) n * BR_FEATURE_COUNT, sizeof(float));
	if (pool->features == NULL)
		return BR_ERR_MEMORY;
	pool->n = n;
	for (int i = 0; i < n; i++)
	{
		fill_bundle(search, &search->pool.sets[i], &pool->bundles[i],
					pool->members + (size_t) i * BR_BUNDLE_MAX_SIZE);
		br_bundle_features(candidates, search->n, affinity, search->constraints->typical_price,
						   search->ranker, &pool->bundles[i],
						   pool->features + (size_t) i * BR_FEATURE_COUNT);
	}
	return BR_OK;
}

BrStatus
br_bundle_pool(BrContext *context, const BrCandidate *candidates, int n, const BrAffinity *affinity,
			   const BrConstraints *constraints, int wanted, int limit, BrPool *pool)
{
	BrBundleSearch *search;
	BrStatus status;

	memset(pool, 0, sizeof(*pool));
	if (n < 0 || n > BR_BUNDLE_MAX_CANDIDATES)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d candidates, there may be 0 to %d", n,
							BR_BUNDLE_MAX_CANDIDATES);
	if (wanted < 0 || limit < 1 || wanted > limit || limit > BR_BUNDLE_MAX_POOL)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d bundles wanted of at most %d, the limit may be 1 to %d", wanted,
							limit, BR_BUNDLE_MAX_POOL);
	search = br_base_alloc_array(context, 1, sizeof(BrBundleSearch));
	if (search == NULL)
		return BR_ERR_MEMORY;

	search->context = context;
	search->constraints = constraints;
	search->n = n;
	br_bundle_heap_init(&search->pool, limit);
	pool->complete = true;
	pool->exhaustive = constraints->max_size <= BR_BUNDLE_EXHAUSTIVE_SIZE;
	status = prepare(search, candidates, affinity);
	if (status == BR_OK)
		status = run_searches(search, wanted, &pool->complete);
	if (status == BR_OK)
		status = fill_pool(search, candidates, affinity, pool);
	if (status != BR_OK)
		br_bundle_pool_free(context, pool);
	br_base_free(context, search);
	return status;
}

/* ---- a set that somebody has chosen ---- */

/* Copies of the members alone, which is all that judging them needs. */
typedef struct Chosen
{
	int size;
	BrCandidate candidates[BR_BUNDLE_MAX_SIZE];
	double content[BR_BUNDLE_MAX_SIZE * BR_BUNDLE_MAX_SIZE];
	double copurchase[BR_BUNDLE_MAX_SIZE * BR_BUNDLE_MAX_SIZE];
	BrBundleSearch search;
} Chosen;

/* what the candidates of its category say of how many may be in a bundle; 0: nothing */
static int
least_cap(const BrCandidate *candidates, int n, int candidate)
{
	int cap = 0;

	for (int i = 0; i < n; i++)
		if (candidates[i].category == candidates[candidate].category &&
			candidates[i].category_cap > 0 && (cap == 0 || candidates[i].category_cap < cap))
			cap = candidates[i].category_cap;
	return cap;
}

static BrStatus
copy_chosen(BrContext *context, const BrCandidate *candidates, int n, const BrAffinity *affinity,
			const int *members, Chosen *chosen)
{
	int size = chosen->size;
	BrAffinity within = {affinity->content != NULL ? chosen->content : NULL,
						 affinity->copurchase != NULL ? chosen->copurchase : NULL};

	for (int i = 0; i < size; i++)
	{
		if (members[i] < 0 || members[i] >= n)
			return br_base_fail(context, BR_ERR_ARGUMENT, "member %d is candidate %d of %d", i + 1,
								members[i] + 1, n);
		chosen->candidates[i] = candidates[members[i]];
		chosen->candidates[i].category_cap = least_cap(candidates, n, members[i]);
	}
	for (int i = 0; i < size * size; i++)
	{
		size_t pair = (size_t) members[i / size] * n + members[i % size];

		if (affinity->content != NULL)
			chosen->content[i] = affinity->content[pair];
		if (affinity->copurchase != NULL)
			chosen->copurchase[i] = affinity->copurchase[pair];
	}
	return prepare(&chosen->search, chosen->candidates, &within);
}

/* The place of a bundle of the same members, -1 for none. */
static int
find_bundle(const BrPool *pool, const BrBundle *bundle)
{
	for (int i = 0; i < pool->n; i++)
		if (pool->bundles[i].size == bundle->size &&
			memcmp(pool->bundles[i].members, bundle->members, sizeof(int) * bundle->size) == 0)
			return i;
	return -1;
}

/* features: (BR_FEATURE_COUNT) */
static BrStatus
append_bundle(BrContext *context, BrPool *pool, const BrBundle *bundle, const float *features)
{
	size_t n = pool->n;
	BrPool longer = *pool;

	longer.bundles = br_base_alloc_array(context, n + 1, sizeof(BrBundle));
	longer.members = br_base_alloc_array(context, (n + 1) * BR_BUNDLE_MAX_SIZE, sizeof(int));
	longer.features = br_base_alloc_array(context, (n + 1) * BR_FEATURE_COUNT, sizeof(float));
	if (longer.bundles == NULL || longer.members == NULL || longer.features == NULL)
	{
		br_bundle_pool_free(context, &longer);
		return BR_ERR_MEMORY;
	}
	for (size_t i = 0; i <= n; i++)
	{
		const BrBundle *from = i < n ? &pool->bundles[i] : bundle;
		int *members = longer.members + i * BR_BUNDLE_MAX_SIZE;

		longer.bundles[i] = *from;
		longer.bundles[i].members = memcpy(members, from->members, sizeof(int) * from->size);
	}
	if (n > 0)
		memcpy(longer.features, pool->features, sizeof(float) * n * BR_FEATURE_COUNT);
	memcpy(longer.features + n * BR_FEATURE_COUNT, features, sizeof(float) * BR_FEATURE_COUNT);
	longer.n++;
	br_base_free(context, pool->bundles);
	br_base_free(context, pool->members);
	br_base_free(context, pool->features);
	*pool = longer;
	return BR_OK;
}

static BrStatus
add_chosen(BrContext *context, const BrCandidate *candidates, int n, const BrAffinity *affinity,
		   const int *members, Chosen *chosen, BrPool *pool, int *place)
{
	const BrConstraints *constraints = chosen->search.constraints;
	BrBundleSet set = {.size = (uint8_t) chosen->size};
	int of_set[BR_BUNDLE_MAX_SIZE];
	float features[BR_FEATURE_COUNT];
	BrBundle bundle;

	for (int i = 0; i < chosen->size; i++)
		set.members[i] = (uint8_t) i;
	set.strength = br_bundle_set_strength(&chosen->search, &set);
	fill_bundle(&chosen->search, &set, &bundle, of_set);
	for (int i = 0; i < chosen->size; i++)
		of_set[i] = members[of_set[i]];
	*place = find_bundle(pool, &bundle);
	if (*place >= 0 || chosen->size < constraints->min_size ||
		chosen->size > constraints->max_size || br_bundle_set_refused(&chosen->search, &set) != 0)
		return BR_OK;
	br_bundle_features(candidates, n, affinity, constraints->typical_price, chosen->search.ranker,
					   &bundle, features);
	*place = pool->n;
	return append_bundle(context, pool, &bundle, features);
}

BrStatus
br_bundle_pool_add(BrContext *context, const BrCandidate *candidates, int n,
				   const BrAffinity *affinity, const BrConstraints *constraints, const int *members,
				   int size, BrPool *pool, int *place)
{
	Chosen *chosen;
	BrStatus status;

	*place = -1;
	if (size < 1 || size > BR_BUNDLE_MAX_SIZE)
		return br_base_fail(context, BR_ERR_ARGUMENT, "a set of %d, it must be of 1 to %d", size,
							BR_BUNDLE_MAX_SIZE);
	chosen = br_base_alloc_array(context, 1, sizeof(Chosen));
	if (chosen == NULL)
		return BR_ERR_MEMORY;
	chosen->size = chosen->search.n = size;
	chosen->search.context = context;
	chosen->search.constraints = constraints;
	status = copy_chosen(context, candidates, n, affinity, members, chosen);
	if (status == BR_OK)
		status = add_chosen(context, candidates, n, affinity, members, chosen, pool, place);
	if (status != BR_OK)
		*place = -1;
	br_base_free(context, chosen);
	return status;
}

void
br_bundle_pool_free(BrContext *context, BrPool *pool)
{
	br_base_free(context, pool->bundles);
	br_base_free(context, pool->members);
	br_base_free(context, pool->features);
	memset(pool, 0, sizeof(*pool));
}

double
br_bundle_overlap(const BrBundle *a, const BrBundle *b)
{
	int shared = 0;

	for (int i = 0; i < a->size; i++)
		for (int j = 0; j < b->size; j++)
			shared += a->members[i] == b->members[j];
	return (double) shared / (a->size < b->size ? a->size : b->size);
}
