/*
 * test_eval_ranking.c
 *	  Metrics of lists by hand arithmetic, tallies beside sums made one by one,
 *	  and what a call leaves behind that runs out of memory or is cancelled.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/eval/br_eval.h"

static void
assert_near(double have, double want, double tolerance)
{
	if (!(fabs(have - want) <= tolerance))
		fail_msg("%.17g is not %.17g", have, want);
}

#define NAME(text)             \
	{                          \
		text, sizeof(text) - 1 \
	}

/* Hits at 1 and 4 of 5; a third relevant item is missing, and one is no item at all. */
static void
metrics_match_hand_arithmetic(void **state)
{
	const BrItemName recommended[] = {NAME("ab"), NAME("a"), NAME("ab"), NAME(""), NAME("b")};
	const BrItemName relevant[] = {NAME(""), NAME("abc"), NAME("ab"), NAME("zero")};
	const double gain[] = {1, 4, 2, 0};
	BrContext context;
	BrJudgedList list;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_eval_judge(&context, recommended, 5, relevant, gain, 4, 5, &list), BR_OK);
	assert_int_equal(list.relevant, 3);
	assert_near(br_eval_precision(&list), 0.4, 1e-15);
	assert_near(br_eval_recall(&list), 2 / 3.0, 1e-15);
	assert_near(br_eval_f1(&list), 0.5, 1e-15);
	assert_near(br_eval_hit_rate(&list), 1, 0);
	assert_near(br_eval_reciprocal_rank(&list), 1, 0);
	/* precisions 1/1 and 2/4, over three relevant items */
	assert_near(br_eval_average_precision(&list), 0.5, 1e-15);
	/* 2 + 1 / log2(5), over 4 + 2 / log2(3) + 1 / 2 */
	assert_near(br_eval_ndcg(&list), (2 + 1 / log2(5)) / (4.5 + 2 / log2(3)), 1e-15);
	br_eval_judged_free(&context, &list);
}

static void
judging_refuses_bad_arguments(void **state)
{
	const BrItemName items[] = {NAME("a"), NAME("a")};
	const double two[] = {1, 2};
	const double negative[] = {1, -1};
	BrContext context;
	BrJudgedList list;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_eval_judge(&context, items, 2, items, NULL, 2, 0, &list), BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, "k is 0.");
	assert_null(list.gain);
	assert_int_equal(br_eval_judge(&context, items, 2, items, two, 2, 1, &list), BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, "Item \"a\" has the gains 1 and 2.");
	assert_int_equal(br_eval_judge(&context, items, 2, items, negative, 2, 1, &list),
					 BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, "Gain number 2 is -1.");
	assert_null(list.gain);
	assert_null(list.ideal);
}

/* The sum over all pairs, written as it is defined. */
static void
diversity_is_that_of_all_pairs(void **state)
{
	enum
	{
		N = 40,
		DIMS = 17
	};
	static float vectors[N * DIMS];
	BrContext context;
	BrRandom random;
	double sum = 0;
	double diversity;

	(void) state;
	br_base_context_init(&context);
	br_base_random_init(&random, 7, 0);
	for (int i = 0; i < N * DIMS; i++)
		vectors[i] = (float) br_base_random_uniform(&random) - 0.3f;
	memset(vectors + 5 * DIMS, 0, sizeof(float) * DIMS);
	for (int i = 0; i < N; i++)
	{
		for (int j = i + 1; j < N; j++)
		{
			double product = 0, left = 0, right = 0;

			for (int d = 0; d < DIMS; d++)
			{
				product += (double) vectors[i * DIMS + d] * vectors[j * DIMS + d];
				left += (double) vectors[i * DIMS + d] * vectors[i * DIMS + d];
				right += (double) vectors[j * DIMS + d] * vectors[j * DIMS + d];
			}
			sum += 1 - (left > 0 && right > 0 ? product / sqrt(left * right) : 0);
		}
	}
	assert_int_equal(br_eval_diversity(&context, vectors, N, DIMS, &diversity), BR_OK);
	assert_near(diversity, sum / (N * (N - 1) / 2), 1e-12);
}

/* A thousand entries with keys of a 7 by 5 grid, beside a table of sums. */
static void
tally_adds_by_key(void **state)
{
	double entries[1000][BR_EVAL_TALLY_ENTRY];
	double sums[7][5][2] = {0};
	size_t n = 1000;
	BrContext context;
	BrRandom random;

	(void) state;
	br_base_context_init(&context);
	br_base_random_init(&random, 8, 0);
	for (size_t i = 0; i < n; i++)
	{
		int row = (int) br_base_random_below(&random, 7);
		int column = (int) br_base_random_below(&random, 5);

		entries[i][0] = row - 3;
		entries[i][1] = column;
		entries[i][2] = br_base_random_below(&random, 9);
		entries[i][3] = br_base_random_below(&random, 9);
		sums[row][column][0] += entries[i][2];
		sums[row][column][1] += entries[i][3];
	}
	assert_int_equal(br_eval_tally_compact(&context, entries[0], &n), BR_OK);
	assert_int_equal(n, 35);
	for (int i = 0; i < 35; i++)
	{
		assert_near(entries[i][0], i / 5 - 3, 0);
		assert_near(entries[i][1], i % 5, 0);
		assert_near(entries[i][2], sums[i / 5][i % 5][0], 0);
		assert_near(entries[i][3], sums[i / 5][i % 5][1], 0);
	}
}

/* One has all: (n - 1) / n. The rest is by the mean absolute difference: 1, 2, 2, 5 have 24 / 80. */
static void
gini_matches_hand_arithmetic(void **state)
{
	const double values[] = {1, 2, 5};
	const double counts[] = {1, 2, 1};

	(void) state;
	assert_near(br_eval_gini(values + 2, counts, 1, 1, 9), 0.9, 1e-15);
	assert_near(br_eval_gini(values, counts, 3, 1, 0), 24 / 80.0, 1e-15);
	assert_true(isnan(br_eval_gini(values, counts, 0, 1, 3)));
}

static bool
always(void *arg)
{
	(void) arg;
	return true;
}

static void *
no_memory(void *arg, size_t size)
{
	(void) arg;
	(void) size;
	return NULL;
}

static void
calls_stop_half_way(void **state)
{
	size_t n = 200000;
	double *entries = calloc(n, sizeof(double) * BR_EVAL_TALLY_ENTRY);
	const BrItemName item = NAME("a");
	const float vector[] = {1, 1};
	BrContext context;
	BrJudgedList list;
	double diversity;

	(void) state;
	br_base_context_init(&context);
	context.cancel.requested = always;
	assert_int_equal(br_eval_tally_compact(&context, entries, &n), BR_ERR_CANCELLED);
	br_base_context_init(&context);
	context.allocator.alloc = no_memory;
	assert_int_equal(br_eval_tally_compact(&context, entries, &n), BR_ERR_MEMORY);
	assert_int_equal(br_eval_judge(&context, &item, 1, &item, NULL, 1, 1, &list), BR_ERR_MEMORY);
	assert_int_equal(br_eval_diversity(&context, vector, 2, 1, &diversity), BR_ERR_MEMORY);
	entries[6] = -1;
	assert_int_equal(br_eval_tally_compact(&context, entries, &n), BR_ERR_NUMERIC);
	assert_string_equal(context.detail, "A sum of the state is -1.");
	free(entries);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(metrics_match_hand_arithmetic),
		cmocka_unit_test(judging_refuses_bad_arguments),
		cmocka_unit_test(diversity_is_that_of_all_pairs),
		cmocka_unit_test(tally_adds_by_key),
		cmocka_unit_test(gini_matches_hand_arithmetic),
		cmocka_unit_test(calls_stop_half_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
