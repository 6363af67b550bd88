/*
 * test_bundle_pool.c
 *	  The pool, against brute force over all subsets of small catalogs.
 *
 * Brute force here shares nothing with the searches but the definition: it
 * walks all bit masks, adds in ascending item id, and judges as a reader of the
 * returned numbers would.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bundle/br_bundle.h"

/* NaN is near nothing */
#define assert_near(value, expected, tolerance) \
	assert_true(fabs((value) - (expected)) <= (tolerance))

#define MAX_N 22

typedef struct Shop
{
	int n;
	BrCandidate candidates[MAX_N];
	int by_id[MAX_N]; /* indexes by ascending item id */
	double content[MAX_N * MAX_N];
	double copurchase[MAX_N * MAX_N];
	BrAffinity affinity;
	BrConstraints constraints;
} Shop;

typedef struct Judged
{
	uint32_t mask; /* bits are positions in by_id */
	int size;
	double list_price;
	double price;
	double margin;
	double strength;
	bool over_budget;
	bool under_margin;
	bool category_full;
	bool lacks_required;
} Judged;

static int
below(BrRandom *random, int bound)
{
	return (int) br_base_random_below(random, (uint32_t) bound);
}

static double
any_price(BrRandom *random, int style)
{
	switch (style)
	{
		case 0: /* cents */
			return below(random, 5000) / 100.0;
		case 1: /* few distinct prices, some of them 0 */
			return below(random, 4) * 0.1;
		case 2: /* any double */
			return exp(3 * br_base_random_uniform(random));
		default: /* endings in .99 */
			return 1 + below(random, 40) - 0.01;
	}
}

static void
sort_ids(Shop *shop)
{
	for (int i = 0; i < shop->n; i++)
	{
		int j = i;

		for (; j > 0 && shop->candidates[shop->by_id[j - 1]].item > shop->candidates[i].item; j--)
			shop->by_id[j] = shop->by_id[j - 1];
		shop->by_id[j] = i;
	}
}

/* coarse: evidence in few steps, so that strengths tie */
static double
any_evidence(BrRandom *random, bool coarse)
{
	return coarse ? below(random, 3) / 4.0 : br_base_random_uniform(random);
}

static void
make_shop(Shop *shop, BrRandom *random, int n)
{
	int style = below(random, 4);
	bool coarse = below(random, 2);
	bool unknowns = below(random, 3) == 0;
	bool boosts = below(random, 3) == 0;

	memset(shop, 0, sizeof(*shop));
	shop->n = n;
	for (int i = 0; i < n; i++)
	{
		BrCandidate *item = &shop->candidates[i];

		item->item = (i * 37 + 11) % 101 - 50;
		item->category = below(random, 4) - 1;
		item->price = any_price(random, style);
		item->cost = item->price * (0.4 + 0.7 * br_base_random_uniform(random));
		if (unknowns && below(random, 5) == 0)
			item->price = NAN;
		if (unknowns && below(random, 5) == 0)
			item->cost = NAN;
		item->stock = below(random, 50);
		item->content = any_evidence(random, coarse);
		item->copurchase = any_evidence(random, coarse);
		item->popularity = any_evidence(random, coarse);
		item->freshness = any_evidence(random, coarse);
		item->boost = boosts ? below(random, 5) - 2 : 0;
		for (int j = 0; j < i; j++)
		{
			shop->content[i * n + j] = shop->content[j * n + i] = any_evidence(random, coarse);
			shop->copurchase[i * n + j] = shop->copurchase[j * n + i] =
				any_evidence(random, coarse);
		}
	}
	shop->affinity = (BrAffinity){shop->content, shop->copurchase};
	sort_ids(shop);
}

/* The figures of a subset, and what refuses it, from the definition. */
static Judged
judge(const Shop *shop, uint32_t mask)
{
	const BrConstraints *c = &shop->constraints;
	Judged judged = {.mask = mask};
	double cost = 0;
	double relevance = 0;
	double pairs = 0;
	uint32_t met = 0;

	for (int i = 0; i < shop->n; i++)
	{
		const BrCandidate *item = &shop->candidates[shop->by_id[i]];
		int same = 1;

		if (!(mask >> i & 1))
			continue;
		judged.size++;
		judged.list_price += item->price;
		cost += item->cost;
		relevance += br_bundle_feature_weight(BR_FEATURE_CONTENT) * item->content +
			br_bundle_feature_weight(BR_FEATURE_COPURCHASE) * item->copurchase +
			br_bundle_feature_weight(BR_FEATURE_POPULARITY) * item->popularity +
			br_bundle_feature_weight(BR_FEATURE_FRESHNESS) * item->freshness + item->boost;
		met |= item->meets;
		for (int j = 0; j < i; j++)
			if (mask >> j & 1)
			{
				int pair = shop->by_id[i] * shop->n + shop->by_id[j];

				pairs += br_bundle_affinity(shop->content[pair], shop->copurchase[pair]);
				same += shop->candidates[shop->by_id[j]].category == item->category;
			}
		if (c->category_cap > 0 && item->category >= 0 && same > c->category_cap)
			judged.category_full = true;
		if (item->category >= 0 && item->category_cap > 0 && same > item->category_cap)
			judged.category_full = true;
	}
	judged.lacks_required = (c->required & ~met) != 0;
	judged.price = judged.list_price * (1 - c->discount);
	judged.margin = judged.price == 0 ? NAN : (judged.price - cost) / judged.price;
	judged.over_budget = c->budget < INFINITY && !(judged.price <= c->budget);
	judged.under_margin = c->min_margin > -INFINITY && !(judged.margin >= c->min_margin);
	judged.strength = relevance / judged.size;
	if (judged.size > 1)
		judged.strength += br_bundle_feature_weight(BR_FEATURE_COHESION) * pairs /
			(judged.size * (judged.size - 1) / 2);
	return judged;
}

/* A cap for each category, and things required that few items meet. */
static void
make_rules(Shop *shop, BrRandom *random)
{
	int caps[3] = {0};
	int rarity = 1 + below(random, 6);

	for (int category = 0; category < 3 && below(random, 2); category++)
		caps[category] = below(random, 4);
	if (below(random, 2))
		shop->constraints.required = (uint32_t) below(random, 1 << BR_BUNDLE_MAX_REQUIRED);
	for (int i = 0; i < shop->n; i++)
	{
		BrCandidate *item = &shop->candidates[i];

		item->category_cap = item->category >= 0 ? caps[item->category] : below(random, 2);
		for (int bit = 0; bit < BR_BUNDLE_MAX_REQUIRED; bit++)
			item->meets |= (uint32_t) (below(random, rarity) == 0) << bit;
	}
}

static bool
refused(const Judged *judged)
{
	return judged->over_budget || judged->under_margin || judged->category_full ||
		judged->lacks_required;
}

/* Constraints that bite: budgets and floors near those of some random subset. */
static void
make_constraints(Shop *shop, BrRandom *random, int max_size)
{
	BrConstraints *c = &shop->constraints;
	uint32_t mask = 0;
	Judged one;

	c->max_size = 1 + below(random, max_size);
	c->min_size = 1 + below(random, c->max_size);
	c->budget = INFINITY;
	c->min_margin = -INFINITY;
	c->discount = below(random, 2) ? 0 : below(random, 40) / 100.0;
	c->category_cap = below(random, 2) ? 0 : 1 + below(random, 2);
	c->typical_price = 5;
	make_rules(shop, random);
	for (int i = 0; i < c->min_size; i++)
		mask |= UINT32_C(1) << below(random, shop->n);
	one = judge(shop, mask);
	if (below(random, 3) > 0 && !isnan(one.price))
		c->budget = one.price * (below(random, 2) ? 1 : 0.5 + br_base_random_uniform(random));
	if (below(random, 3) > 0 && !isnan(one.margin))
		c->min_margin = fmin(1, one.margin + (below(random, 2) ? 0 : 0.05));
}

static BrPool
pool_of(const Shop *shop, int wanted, int limit)
{
	BrContext context;
	BrPool pool;

	br_base_context_init(&context);
	assert_int_equal(br_bundle_pool(&context, shop->candidates, shop->n, &shop->affinity,
									&shop->constraints, wanted, limit, &pool),
					 BR_OK);
	return pool;
}

static void
free_pool(BrPool *pool)
{
	BrContext context;

	br_base_context_init(&context);
	br_bundle_pool_free(&context, pool);
	assert_null(pool->bundles);
}

static uint32_t
mask_of(const Shop *shop, const BrBundle *bundle)
{
	uint32_t mask = 0;
	int last = -1;

	for (int m = 0; m < bundle->size; m++)
	{
		int position = 0;

		while (shop->by_id[position] != bundle->members[m])
			position++;
		assert_true(position > last);
		last = position;
		mask |= UINT32_C(1) << position;
	}
	return mask;
}

/* Bit for bit, unknown equal to unknown. */
static bool
same(double a, double b)
{
	return a == b || (isnan(a) && isnan(b));
}

/* What must hold of any pool, sorted where nothing was added; returns the masks. */
static void
assert_sound(const Shop *shop, const BrPool *pool, int limit, uint32_t *masks, bool sorted)
{
	assert_true(pool->n <= limit);
	for (int b = 0; b < pool->n; b++)
	{
		const BrBundle *bundle = &pool->bundles[b];
		float features[BR_FEATURE_COUNT];
		Judged truth;

		masks[b] = mask_of(shop, bundle);
		truth = judge(shop, masks[b]);
		assert_true(bundle->size == truth.size);
		assert_in_range(bundle->size, shop->constraints.min_size, shop->constraints.max_size);
		assert_false(refused(&truth));
		assert_true(same(bundle->list_price, truth.list_price));
		assert_true(same(bundle->price, truth.price));
		assert_true(same(bundle->margin, truth.margin));
		assert_near(bundle->strength, truth.strength, 1e-12);
		for (int other = 0; other < b; other++)
			assert_true(masks[other] != masks[b]);
		if (b > 0 && sorted)
			assert_true(bundle[-1].strength >= bundle->strength);

		br_bundle_features(shop->candidates, shop->n, &shop->affinity,
						   shop->constraints.typical_price, NULL, bundle, features);
		assert_memory_equal(features, pool->features + b * BR_FEATURE_COUNT, sizeof(features));
	}
}

typedef struct Truth
{
	int feasible;
	double strongest;
	BrRefusals refusals;
} Truth;

static Truth
brute_force(const Shop *shop)
{
	Truth truth = {.strongest = -INFINITY};

	for (uint32_t mask = 1; mask < UINT32_C(1) << shop->n; mask++)
	{
		int size = __builtin_popcount(mask);
		Judged judged;

		if (size < shop->constraints.min_size || size > shop->constraints.max_size)
			continue;
		judged = judge(shop, mask);
		truth.refusals.budget += judged.over_budget;
		truth.refusals.margin += judged.under_margin;
		truth.refusals.category += judged.category_full;
		truth.refusals.required += judged.lacks_required;
		if (refused(&judged))
			continue;
		truth.feasible++;
		truth.strongest = fmax(truth.strongest, judged.strength);
	}
	return truth;
}

/* No feasible subset outside a full pool is stronger than what is inside. */
static void
assert_strongest(const Shop *shop, const BrPool *pool, const uint32_t *masks)
{
	double weakest = pool->n > 0 ? pool->bundles[pool->n - 1].strength : INFINITY;

	for (uint32_t mask = 1; mask < UINT32_C(1) << shop->n; mask++)
	{
		int size = __builtin_popcount(mask);
		bool held = false;
		Judged judged;

		if (size < shop->constraints.min_size || size > shop->constraints.max_size)
			continue;
		for (int b = 0; b < pool->n; b++)
			held |= masks[b] == mask;
		if (held)
			continue;
		judged = judge(shop, mask);
		if (!refused(&judged))
			assert_true(judged.strength <= weakest + 1e-12);
	}
}

static void
small_sizes_equal_brute_force(void **state)
{
	BrRandom random;
	uint32_t masks[BR_BUNDLE_MAX_POOL];
	int short_pools = 0;

	(void) state;
	br_base_random_init(&random, 21, 0);
	for (int trial = 0; trial < 4000; trial++)
	{
		Shop shop;
		Truth truth;
		BrPool pool;
		int limit = 1 + below(&random, below(&random, 2) ? 8 : BR_BUNDLE_MAX_POOL);

		make_shop(&shop, &random, 1 + below(&random, 10));
		make_constraints(&shop, &random, 3);
		truth = brute_force(&shop);
		pool = pool_of(&shop, below(&random, limit + 1), limit);
		assert_sound(&shop, &pool, limit, masks, true);
		assert_int_equal(pool.n, truth.feasible < limit ? truth.feasible : limit);
		assert_strongest(&shop, &pool, masks);
		assert_true(pool.exhaustive && pool.complete);
		assert_true(pool.refusals.budget == truth.refusals.budget);
		assert_true(pool.refusals.margin == truth.refusals.margin);
		assert_true(pool.refusals.category == truth.refusals.category);
		assert_true(pool.refusals.required == truth.refusals.required);
		short_pools += truth.feasible < limit;
		free_pool(&pool);
	}
	assert_in_range(short_pools, 400, 3600); /* both ways of ending were tried */
}

/* The promise: at least `wanted` whenever they exist; and the beam nearly always finds the best. */
static void
large_sizes_keep_the_promise(void **state)
{
	BrRandom random;
	uint32_t masks[BR_BUNDLE_MAX_POOL];
	int nonempty = 0;
	int best_found = 0;
	int scarce = 0;

	(void) state;
	br_base_random_init(&random, 22, 0);
	for (int trial = 0; trial < 3000; trial++)
	{
		Shop shop;
		Truth truth;
		BrPool pool;
		int limit = 1 + below(&random, below(&random, 2) ? 8 : BR_BUNDLE_MAX_POOL);
		int wanted = below(&random, limit + 1);

		make_shop(&shop, &random, 4 + below(&random, 9));
		make_constraints(&shop, &random, BR_BUNDLE_MAX_SIZE);
		truth = brute_force(&shop);
		pool = pool_of(&shop, wanted, limit);
		assert_sound(&shop, &pool, limit, masks, true);
		assert_true(pool.complete);
		assert_true(pool.n >= (truth.feasible < wanted ? truth.feasible : wanted));
		assert_true(pool.n > 0 || truth.feasible == 0 || wanted == 0);
		scarce += truth.feasible > 0 && truth.feasible < wanted;
		nonempty += pool.n > 0;
		best_found += pool.n > 0 && pool.bundles[0].strength >= truth.strongest - 1e-12;
		free_pool(&pool);
	}
	assert_true(scarce > 300);
	assert_true(nonempty > 1500);
	assert_true(best_found >= 0.99 * nonempty);
}

/*
 * Budget and margin are those of one hidden set, and meet: with equal costs the
 * margin rises with the price, so that hardly another set satisfies both. Its
 * items are the least relevant, which leads the beam astray, and fill the
 * categories they are of.
 */
static void
hidden_set_is_found(void **state)
{
	BrRandom random;
	uint32_t masks[BR_BUNDLE_MAX_POOL];

	(void) state;
	br_base_random_init(&random, 23, 0);
	for (int trial = 0; trial < 60; trial++)
	{
		Shop shop;
		BrPool pool;
		Truth truth;
		uint32_t hidden = 0;
		int seen = 0;
		int size = 4 + below(&random, 3);

		make_shop(&shop, &random, 16);
		while (__builtin_popcount(hidden) < size)
			hidden |= UINT32_C(1) << below(&random, shop.n);
		for (int i = 0; i < shop.n; i++)
		{
			BrCandidate *item = &shop.candidates[shop.by_id[i]];
			bool inside = hidden >> i & 1;

			item->category = inside ? seen++ / 2 : below(&random, 3);
			item->price = 10 + br_base_random_uniform(&random);
			item->cost = 9; /* the dearer, the better the margin */
			item->content = item->copurchase = inside ? 0 : 0.5 + item->content / 2;
			for (int j = 0; j < shop.n; j++)
				if (inside != (hidden >> j & 1))
					shop.copurchase[shop.by_id[i] * shop.n + shop.by_id[j]] =
						shop.copurchase[shop.by_id[j] * shop.n + shop.by_id[i]] = 0;
		}
		shop.constraints = (BrConstraints){.min_size = size,
										   .max_size = size,
										   .budget = INFINITY,
										   .min_margin = -INFINITY,
										   .typical_price = NAN};
		shop.constraints.category_cap = 2;
		shop.constraints.budget = judge(&shop, hidden).price;
		shop.constraints.min_margin = judge(&shop, hidden).margin;

		truth = brute_force(&shop);
		pool = pool_of(&shop, 3, 3);
		assert_sound(&shop, &pool, 3, masks, true);
		assert_true(truth.feasible >= 1);
		assert_int_equal(pool.n, truth.feasible < 3 ? truth.feasible : 3);
		free_pool(&pool);
	}
}

/* Each set added on its own: refused as brute force refuses it, else in the pool once. */
static void
chosen_sets_are_added(void **state)
{
	BrRandom random;
	uint32_t masks[BR_BUNDLE_MAX_POOL];
	BrContext context;
	int refusals = 0;
	int found = 0;
	int appended = 0;

	(void) state;
	br_base_context_init(&context);
	br_base_random_init(&random, 26, 0);
	for (int trial = 0; trial < 3000; trial++)
	{
		Shop shop;
		int limit = 1 + below(&random, 12);
		BrPool pool;

		make_shop(&shop, &random, 1 + below(&random, 10));
		make_constraints(&shop, &random, 4);
		pool = pool_of(&shop, 0, limit);
		for (int i = 0; i < 5; i++)
		{
			uint32_t mask = 1 + (uint32_t) below(&random, (1 << shop.n) - 1);
			Judged truth = judge(&shop, mask);
			int members[MAX_N];
			int size = 0;
			int before = pool.n;
			int place;

			for (int at = shop.n - 1; at >= 0; at--)
				if (mask >> at & 1)
					members[size++] = shop.by_id[at];
			if (size > BR_BUNDLE_MAX_SIZE)
				continue;
			assert_int_equal(br_bundle_pool_add(&context, shop.candidates, shop.n, &shop.affinity,
												&shop.constraints, members, size, &pool, &place),
							 BR_OK);
			if (refused(&truth) || size < shop.constraints.min_size ||
				size > shop.constraints.max_size)
			{
				assert_true(place == -1 && pool.n == before);
				refusals++;
				continue;
			}
			assert_in_range(place, 0, before);
			assert_int_equal(pool.n, place == before ? before + 1 : before);
			assert_true(mask_of(&shop, &pool.bundles[place]) == mask);
			found += place < before;
			appended += place == before;
		}
		assert_sound(&shop, &pool, pool.n, masks, false);
		free_pool(&pool);
	}
	assert_true(refusals > 100 && found > 100 && appended > 100);
}

/* Refuses after `left` allocations. */
static void *
refuse_later(void *arg, size_t size)
{
	int *left = arg;

	return (*left)-- <= 0 ? NULL : malloc(size);
}

static void
plain_free(void *arg, void *pointer)
{
	(void) arg;
	free(pointer);
}

static void
failing_to_add_leaves_the_pool(void **state)
{
	BrCandidate candidates[3] = {{.item = 1}, {.item = 2}, {.item = 3}};
	BrAffinity none = {NULL, NULL};
	BrConstraints constraints = {.min_size = 1,
								 .max_size = 2,
								 .budget = INFINITY,
								 .min_margin = -INFINITY,
								 .typical_price = NAN};
	int pair[2] = {2, 1};
	BrContext context;
	BrStatus status = BR_ERR_MEMORY;
	BrPool pool;
	int left = 1000;
	int place;
	int tries = 0;

	(void) state;
	br_base_context_init(&context);
	context.allocator = (BrAllocator){refuse_later, plain_free, &left};
	assert_int_equal(br_bundle_pool(&context, candidates, 3, &none, &constraints, 1, 2, &pool),
					 BR_OK);
	for (; status == BR_ERR_MEMORY; tries++)
	{
		left = tries;
		status = br_bundle_pool_add(&context, candidates, 3, &none, &constraints, pair, 2, &pool,
									&place);
		assert_int_equal(pool.n, status == BR_OK ? 3 : 2);
		assert_int_equal(place, status == BR_OK ? 2 : -1);
	}
	assert_int_equal(status, BR_OK);
	assert_int_equal(tries, 5);
	pair[1] = 2;
	left = 1000;
	assert_int_equal(br_bundle_pool_add(&context, candidates, 3, &none, &constraints, pair, 2,
										&pool, &place),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "twice"));
	pair[1] = 3;
	assert_int_equal(br_bundle_pool_add(&context, candidates, 3, &none, &constraints, pair, 2,
										&pool, &place),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_pool_add(&context, candidates, 3, &none, &constraints, pair, 0,
										&pool, &place),
					 BR_ERR_ARGUMENT);
	assert_int_equal(pool.n, 3);
	br_bundle_pool_free(&context, &pool);
}

static void
order_of_candidates_does_not_matter(void **state)
{
	BrRandom random;
	Shop shop;
	Shop turned;
	BrPool pool;
	BrPool again;

	(void) state;
	br_base_random_init(&random, 25, 0);
	make_shop(&shop, &random, 20);
	shop.constraints = (BrConstraints){.min_size = 2,
									   .max_size = 4,
									   .budget = INFINITY,
									   .min_margin = -INFINITY,
									   .typical_price = 5};
	turned = shop;
	turned.affinity = (BrAffinity){turned.content, turned.copurchase};
	for (int i = 0; i < 20; i++)
	{
		turned.candidates[i] = shop.candidates[19 - i];
		for (int j = 0; j < 20; j++)
		{
			turned.content[i * 20 + j] = shop.content[(19 - i) * 20 + 19 - j];
			turned.copurchase[i * 20 + j] = shop.copurchase[(19 - i) * 20 + 19 - j];
		}
	}
	pool = pool_of(&shop, 5, 100);
	again = pool_of(&turned, 5, 100);
	assert_int_equal(pool.n, 100);
	assert_int_equal(again.n, 100);
	assert_memory_equal(pool.features, again.features, sizeof(float) * 100 * BR_FEATURE_COUNT);
	for (int b = 0; b < 100; b++)
		for (int m = 0; m < pool.bundles[b].size; m++)
			assert_int_equal(pool.bundles[b].members[m], 19 - again.bundles[b].members[m]);
	free_pool(&pool);
	free_pool(&again);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_sizes_equal_brute_force),
		cmocka_unit_test(large_sizes_keep_the_promise),
		cmocka_unit_test(hidden_set_is_found),
		cmocka_unit_test(chosen_sets_are_added),
		cmocka_unit_test(failing_to_add_leaves_the_pool),
		cmocka_unit_test(order_of_candidates_does_not_matter),
	};

	return cmocka_run_group_tests_name("bundle pool", tests, NULL, NULL);
}
