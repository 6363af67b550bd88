/*
 * test_bundle_limits.c
 *	  The pool at its edges: ties, refusals, bad arguments, cancellation, lack of
 *	  memory, and a search without end. What to expect follows from counting.
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

/* Without evidence everything ties, and ascending item ids decide. */
static void
ties_go_to_smaller_ids(void **state)
{
	BrCandidate candidates[5];
	BrAffinity none = {NULL, NULL};
	BrConstraints constraints = {.min_size = 1,
								 .max_size = 2,
								 .budget = INFINITY,
								 .min_margin = -INFINITY,
								 .typical_price = NAN};
	static const int sizes[6] = {1, 2, 2, 2, 2, 1};
	static const int expected[6][2] = {{4}, {4, 3}, {4, 2}, {4, 1}, {4, 0}, {3}};
	BrContext context;
	BrPool pool;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < 5; i++)
		candidates[i] =
			(BrCandidate){.item = -i, .category = -1, .price = NAN, .cost = NAN, .stock = INFINITY};
	assert_int_equal(br_bundle_pool(&context, candidates, 5, &none, &constraints, 5, 6, &pool),
					 BR_OK);
	assert_int_equal(pool.n, 6);
	for (int b = 0; b < 6; b++)
	{
		assert_int_equal(pool.bundles[b].size, sizes[b]);
		for (int m = 0; m < sizes[b]; m++)
			assert_int_equal(pool.bundles[b].members[m], expected[b][m]);
		assert_true(isnan(pool.bundles[b].price) && isnan(pool.bundles[b].margin));
	}
	br_bundle_pool_free(&context, &pool);

	assert_int_equal(br_bundle_pool(&context, NULL, 0, &none, &constraints, 5, 6, &pool), BR_OK);
	assert_int_equal(pool.n, 0);
	br_bundle_pool_free(&context, &pool);
}

/*
 * No single, pair or triple of three items reaches the margin: seven sets,
 * whether or not larger ones are searched for, too.
 */
static void
refusals_of_small_sets_are_exact(void **state)
{
	BrCandidate candidates[3];
	BrAffinity none = {NULL, NULL};
	BrConstraints constraints = {.min_size = 1,
								 .budget = INFINITY,
								 .min_margin = 0.5,
								 .typical_price = NAN};
	BrContext context;
	BrPool pool;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < 3; i++)
		candidates[i] = (BrCandidate){.item = i, .category = -1, .price = 10, .cost = 6};
	for (int max_size = 3; max_size <= BR_BUNDLE_MAX_SIZE; max_size++)
	{
		constraints.max_size = max_size;
		assert_int_equal(br_bundle_pool(&context, candidates, 3, &none, &constraints, 1, 5, &pool),
						 BR_OK);
		assert_int_equal(pool.n, 0);
		assert_true(pool.refusals.margin == 7);
		assert_true(pool.refusals.budget == 0 && pool.refusals.category == 0);
		assert_true(pool.exhaustive == (max_size == 3));
		br_bundle_pool_free(&context, &pool);
	}

	/* what no bundle can hold is refused before any is built */
	for (int i = 0; i < 3; i++)
		candidates[i].cost = NAN;
	constraints.min_size = 4;
	assert_int_equal(br_bundle_pool(&context, candidates, 3, &none, &constraints, 1, 5, &pool),
					 BR_OK);
	assert_true(pool.refusals.margin == 3 && pool.refusals.budget == 0);
	br_bundle_pool_free(&context, &pool);
}

/*
 * A margin needs a price: of 100 free items no set has one, of 99 and a priced
 * one those with the priced one have. Walking all sets of 8 would not end.
 */
static void
margin_needs_something_that_is_not_free(void **state)
{
	BrCandidate candidates[BR_BUNDLE_MAX_CANDIDATES];
	BrAffinity none = {NULL, NULL};
	BrConstraints constraints = {.min_size = 8,
								 .max_size = 8,
								 .budget = 10,
								 .min_margin = 0.5,
								 .typical_price = NAN};
	BrContext context;
	BrPool pool;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < BR_BUNDLE_MAX_CANDIDATES; i++)
		candidates[i] = (BrCandidate){.item = i, .category = -1, .popularity = i / 100.0};
	assert_int_equal(br_bundle_pool(&context, candidates, BR_BUNDLE_MAX_CANDIDATES, &none,
									&constraints, 5, 5, &pool),
					 BR_OK);
	assert_int_equal(pool.n, 0);
	assert_true(pool.complete && !pool.exhaustive && pool.refusals.margin > 0);

	candidates[0].price = 10;
	assert_int_equal(br_bundle_pool(&context, candidates, BR_BUNDLE_MAX_CANDIDATES, &none,
									&constraints, 5, 5, &pool),
					 BR_OK);
	assert_int_equal(pool.n, 5);
	assert_true(pool.complete);
	for (int b = 0; b < 5; b++)
	{
		assert_int_equal(pool.bundles[b].members[0], 0);
		assert_true(pool.bundles[b].price == 10 && pool.bundles[b].margin == 1);
	}
	br_bundle_pool_free(&context, &pool);
}

static void
bad_arguments_are_named(void **state)
{
	static const BrConstraints good = {.min_size = 1,
									   .max_size = 2,
									   .budget = INFINITY,
									   .min_margin = -INFINITY,
									   .typical_price = NAN};
	struct
	{
		const char *word;
		BrConstraints constraints;
		BrCandidate second;
	} cases[] = {
		{"sizes", good, {.item = 2}},		  {"sizes", good, {.item = 2}},
		{"sizes", good, {.item = 2}},		  {"budget", good, {.item = 2}},
		{"budget", good, {.item = 2}},		  {"min_margin", good, {.item = 2}},
		{"discount", good, {.item = 2}},	  {"category_cap", good, {.item = 2}},
		{"typical_price", good, {.item = 2}}, {"twice", good, {.item = 1}},
		{"price", good, {.item = 2}},		  {"cost", good, {.item = 2}},
		{"stock", good, {.item = 2}},		  {"content", good, {.item = 2}},
		{"copurchase", good, {.item = 2}},	  {"popularity", good, {.item = 2}},
		{"freshness", good, {.item = 2}},	  {"boost", good, {.item = 2}},
		{"category_cap", good, {.item = 2}},  {"required", good, {.item = 2}},
	};
	BrCandidate candidates[2] = {{.item = 1}};
	BrAffinity none = {NULL, NULL};
	BrContext context;
	BrPool pool;

	(void) state;
	cases[0].constraints.min_size = 0;
	cases[1].constraints.min_size = 3;
	cases[2].constraints.max_size = 9;
	cases[3].constraints.budget = -1;
	cases[4].constraints.budget = NAN;
	cases[5].constraints.min_margin = 1.5;
	cases[6].constraints.discount = 1;
	cases[7].constraints.category_cap = -1;
	cases[8].constraints.typical_price = -2;
	cases[10].second.price = -1;
	cases[11].second.cost = INFINITY;
	cases[12].second.stock = NAN;
	cases[13].second.content = 1.5;
	cases[14].second.copurchase = NAN;
	cases[15].second.popularity = -0.5;
	cases[16].second.freshness = INFINITY;
	cases[17].second.boost = NAN;
	cases[18].second.category_cap = -1;
	cases[19].constraints.required = 1 << BR_BUNDLE_MAX_REQUIRED;
	br_base_context_init(&context);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		candidates[1] = cases[i].second;
		assert_int_equal(br_bundle_pool(&context, candidates, 2, &none, &cases[i].constraints, 1, 5,
										&pool),
						 BR_ERR_ARGUMENT);
		assert_non_null(strstr(context.detail, cases[i].word));
		assert_null(pool.bundles);
	}
	candidates[1].freshness = 1 + 1e-9;
	assert_int_equal(br_bundle_pool(&context, candidates, 2, &none, &good, 6, 5, &pool),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_pool(&context, candidates, 101, &none, &good, 1, 5, &pool),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_pool(&context, candidates, 2, &none, &good, 1, 257, &pool),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bundle_pool(&context, candidates, 2, &none, &good, 1, 5, &pool), BR_OK);
	assert_int_equal(pool.n, 3);
	br_bundle_pool_free(&context, &pool);
}

/* Answers no `left` times, then yes. */
static bool
after_a_while(void *arg)
{
	int *left = arg;

	return (*left)-- <= 0;
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

/* A tight knapsack, so that every search runs; stopped at each point in turn. */
static void
cancel_and_lack_of_memory_leave_nothing(void **state)
{
	BrCandidate candidates[20];
	BrAffinity none = {NULL, NULL};
	BrConstraints constraints = {.min_size = 2,
								 .max_size = 5,
								 .budget = 57,
								 .min_margin = 1 - 9 * 5 / 57.0,
								 .typical_price = NAN};
	BrContext context;
	BrStatus status = BR_ERR_CANCELLED;
	int stops = 0;

	(void) state;
	for (int i = 0; i < 20; i++)
		candidates[i] = (BrCandidate){.item = i,
									  .category = -1,
									  .price = 10 + i / 7.0,
									  .cost = 9,
									  .content = i % 7 / 7.0};
	for (; status == BR_ERR_CANCELLED; stops++)
	{
		int left = stops;
		BrPool pool;

		br_base_context_init(&context);
		context.cancel = (BrCancel){after_a_while, &left};
		status = br_bundle_pool(&context, candidates, 20, &none, &constraints, 256, 256, &pool);
		assert_true(status == BR_OK || pool.bundles == NULL);
		br_bundle_pool_free(&context, &pool);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 100);

	status = BR_ERR_MEMORY;
	for (stops = 0; status == BR_ERR_MEMORY; stops++)
	{
		int left = stops;
		BrPool pool;

		br_base_context_init(&context);
		context.allocator = (BrAllocator){refuse_later, plain_free, &left};
		status = br_bundle_pool(&context, candidates, 20, &none, &constraints, 256, 256, &pool);
		assert_true(status == BR_OK || pool.bundles == NULL);
		br_bundle_pool_free(&context, &pool);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 4);
}

/*
 * Which 8 of 100 real numbers add up to 4,000 exactly? None do, and nothing can
 * tell without trying them: the search ends early and says so, or is cancelled.
 */
static void
endless_search_gives_up_and_can_be_cancelled(void **state)
{
	BrCandidate candidates[BR_BUNDLE_MAX_CANDIDATES];
	BrAffinity none = {NULL, NULL};
	BrConstraints constraints = {.min_size = 8,
								 .max_size = 8,
								 .budget = 4000,
								 .min_margin = 0.5,
								 .typical_price = NAN};
	int left = 2500; /* more than the beam asks, fewer than the search would */
	BrContext context;
	BrRandom random;
	BrPool pool;

	(void) state;
	br_base_context_init(&context);
	br_base_random_init(&random, 27, 0);
	for (int i = 0; i < BR_BUNDLE_MAX_CANDIDATES; i++)
		candidates[i] = (BrCandidate){.item = i,
									  .category = -1,
									  .price = 1000 * br_base_random_uniform(&random),
									  .cost = 250};
	assert_int_equal(br_bundle_pool(&context, candidates, BR_BUNDLE_MAX_CANDIDATES, &none,
									&constraints, 1, 5, &pool),
					 BR_OK);
	assert_int_equal(pool.n, 0);
	assert_false(pool.complete);

	context.cancel = (BrCancel){after_a_while, &left};
	assert_int_equal(br_bundle_pool(&context, candidates, BR_BUNDLE_MAX_CANDIDATES, &none,
									&constraints, 1, 5, &pool),
					 BR_ERR_CANCELLED);

	/* with a little room there are many, and they are found */
	context.cancel.requested = NULL;
	constraints.min_margin = 0.49;
	assert_int_equal(br_bundle_pool(&context, candidates, BR_BUNDLE_MAX_CANDIDATES, &none,
									&constraints, 5, 5, &pool),
					 BR_OK);
	assert_int_equal(pool.n, 5);
	assert_true(pool.complete);
	br_bundle_pool_free(&context, &pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ties_go_to_smaller_ids),
		cmocka_unit_test(refusals_of_small_sets_are_exact),
		cmocka_unit_test(margin_needs_something_that_is_not_free),
		cmocka_unit_test(bad_arguments_are_named),
		cmocka_unit_test(cancel_and_lack_of_memory_leave_nothing),
		cmocka_unit_test(endless_search_gives_up_and_can_be_cancelled),
	};

	return cmocka_run_group_tests_name("bundle limits", tests, NULL, NULL);
}
