/*
 * test_ann.c
 *	  The nearest-neighbour room: the k nearest, against sorting everything.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/ann/br_ann.h"

#define MAX_ROWS 300

static int
by_nearness(const void *a, const void *b)
{
	const BrNeighbour *left = a;
	const BrNeighbour *right = b;

	if (left->similarity != right->similarity)
		return left->similarity > right->similarity ? -1 : 1;
	return left->id < right->id ? -1 : left->id > right->id;
}

static void
assert_holds_best(BrTopK *top, int k, const BrNeighbour *offered, int n)
{
	BrNeighbour sorted[MAX_ROWS];
	const BrNeighbour *rows;
	int held = n < k ? n : k;
	int found;

	for (int i = 0; i < n; i++)
		sorted[i] = offered[i];
	qsort(sorted, n, sizeof(BrNeighbour), by_nearness);
	rows = br_ann_top_k_sorted(top, &found);
	assert_int_equal(found, held);
	for (int i = 0; i < held; i++)
	{
		assert_int_equal(rows[i].id, sorted[i].id);
		assert_true(rows[i].similarity == sorted[i].similarity);
	}
	assert_true(br_ann_top_k_threshold(top) == (n < k ? -INFINITY : sorted[k - 1].similarity));
}

/* Few distinct similarities, so that most rows tie; looked at in the middle and at the end. */
static void
nearest_equal_a_full_sort(void **state)
{
	BrRandom random;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	br_base_random_init(&random, 11, 0);
	for (int trial = 0; trial < 2000; trial++)
	{
		BrNeighbour rows[MAX_ROWS];
		int n = br_base_random_below(&random, MAX_ROWS);
		int k = 1 + br_base_random_below(&random, trial % 2 ? 8 : MAX_ROWS);
		int levels = 1 + br_base_random_below(&random, 50);
		BrTopK *top;

		assert_int_equal(br_ann_top_k_create(&context, k, &top), BR_OK);
		for (int i = 0; i < n; i++)
		{
			/* 7919 is prime and larger than n: ids are distinct, and offered out of order */
			rows[i].id = (int32_t) ((i * INT64_C(7919)) % n) - n / 2;
			rows[i].similarity = (double) br_base_random_below(&random, levels) - levels / 2;
			br_ann_top_k_offer(top, rows[i].id, rows[i].similarity);
			if (i == n / 2)
				assert_holds_best(top, k, rows, i + 1);
		}
		assert_holds_best(top, k, rows, n);
		br_ann_top_k_destroy(top);
	}
}

static void
nan_is_ignored_and_infinities_are_ordered(void **state)
{
	BrContext context;
	BrTopK *top;
	const BrNeighbour *rows;
	int n;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_ann_top_k_create(&context, 2, &top), BR_OK);
	br_ann_top_k_offer(top, 1, NAN);
	assert_non_null(br_ann_top_k_sorted(top, &n));
	assert_int_equal(n, 0);
	br_ann_top_k_offer(top, 2, -INFINITY);
	br_ann_top_k_offer(top, 3, 0);
	br_ann_top_k_offer(top, 4, NAN);
	br_ann_top_k_offer(top, 5, INFINITY);
	rows = br_ann_top_k_sorted(top, &n);
	assert_int_equal(n, 2);
	assert_int_equal(rows[0].id, 5);
	assert_int_equal(rows[1].id, 3);
	br_ann_top_k_destroy(top);
}

static void *
no_memory(void *arg, size_t size)
{
	(void) arg;
	(void) size;
	return NULL;
}

static void
bad_k_and_no_memory_are_errors(void **state)
{
	BrContext context;
	BrTopK *top;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_ann_top_k_create(&context, 0, &top), BR_ERR_ARGUMENT);
	assert_null(top);
	assert_int_equal(br_ann_top_k_create(&context, -3, &top), BR_ERR_ARGUMENT);
	context.allocator.alloc = no_memory;
	assert_int_equal(br_ann_top_k_create(&context, 5, &top), BR_ERR_MEMORY);
	assert_null(top);
	br_ann_top_k_destroy(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nearest_equal_a_full_sort),
		cmocka_unit_test(nan_is_ignored_and_infinities_are_ordered),
		cmocka_unit_test(bad_k_and_no_memory_are_errors),
	};

	return cmocka_run_group_tests_name("ann", tests, NULL, NULL);
}
