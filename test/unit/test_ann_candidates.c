/*
 * test_ann_candidates.c
 *	  The candidates with the smallest bounds, against sorting everything.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/ann/br_ann.h"
#include "unit/ann_fixture.h"

#define MAX_ROWS 600

static int
by_bound(const void *a, const void *b)
{
	const BrRowCandidate *left = a;
	const BrRowCandidate *right = b;

	if (left->bound != right->bound)
		return left->bound < right->bound ? -1 : 1;
	if (left->page != right->page)
		return left->page < right->page ? -1 : 1;
	return left->slot < right->slot ? -1 : left->slot > right->slot;
}

/* Bounds of so many levels, some below 0; pages and slots in no order, each pair once. */
static void
draw_rows(BrRandom *random, BrRowCandidate *rows, int n, int levels)
{
	for (int i = 0; i < n; i++)
	{
		int place = (int) ((i * INT64_C(7919)) % n);

		rows[i] =
			(BrRowCandidate){.bound = (float) br_base_random_below(random, (uint32_t) levels) - 3,
							 .page = (uint32_t) (place / 7),
							 .slot = (uint16_t) (place % 7),
							 .spare = {(uint16_t) i, 0, 5}};
	}
}

static void
assert_same(const BrRowCandidate *a, const BrRowCandidate *b)
{
	assert_true(a->bound == b->bound && a->page == b->page && a->slot == b->slot &&
				a->spare[0] == b->spare[0] && a->spare[2] == 5);
}

static int
most_ties(const BrRowCandidate *sorted, int n)
{
	int most = 0;

	for (int i = 0, first = 0; i < n; i++)
	{
		if (sorted[i].bound != sorted[first].bound)
			first = i;
		most = i - first + 1 > most ? i - first + 1 : most;
	}
	return most;
}

/* How many of the offered are below the limit: exactly those must come, in order. */
static void
assert_holds_all_below_limit(BrCandidates *candidates, const BrRowCandidate *sorted, int n,
							 int keep)
{
	float limit = br_ann_candidates_limit(candidates);
	float kept = n >= keep ? sorted[keep - 1].bound : INFINITY;
	int below_kept = 0;
	int ties = 0;
	int expected = 0;
	BrRowCandidate row;
	BrRowCandidate next;

	for (int i = 0; i < n; i++)
	{
		expected += sorted[i].bound < limit;
		below_kept += sorted[i].bound < kept;
		ties += sorted[i].bound == kept;
	}
	assert_true(n == 0 || expected > 0);
	if (n >= keep && below_kept + ties <= keep + keep / 2)
		assert_true(expected >= keep);
	assert_true(expected <= 2 * keep || 2 * most_ties(sorted, n) > 3 * keep);
	for (int i = 0; i < expected; i++)
	{
		assert_true(br_ann_candidates_peek(candidates, &row));
		assert_true(br_ann_candidates_next(candidates, &next));
		assert_same(&row, &sorted[i]);
		assert_same(&next, &sorted[i]);
	}
	assert_false(br_ann_candidates_peek(candidates, &row));
	assert_false(br_ann_candidates_next(candidates, &row));
}

/* One collection for all trials, each with another number to keep. */
static void
candidates_equal_a_full_sort(void **state)
{
	static const int level_counts[] = {1, 2, 5, 40, 100000};
	AnnLedger ledger = {.allowed = -1};
	BrCandidates *candidates;
	BrContext context;
	BrRandom random;

	(void) state;
	ann_ledger_context(&context, &ledger);
	br_base_random_init(&random, 19, 0);
	assert_int_equal(br_ann_candidates_create(&context, 7, &candidates), BR_OK);
	for (int trial = 0; trial < 4000; trial++)
	{
		BrRowCandidate rows[MAX_ROWS];
		int n = (int) br_base_random_below(&random, MAX_ROWS);
		int keep = 1 + (int) br_base_random_below(&random, trial % 2 ? 8 : MAX_ROWS / 2);

		draw_rows(&random, rows, n, level_counts[trial % 5]);
		br_ann_candidates_reset(candidates, keep);
		assert_true(br_ann_candidates_limit(candidates) == INFINITY);
		/* falling bounds are the ones of which each pushes another out */
		if (trial % 7 == 0)
			qsort(rows, (size_t) n, sizeof(rows[0]), by_bound);
		for (int i = n - 1; i >= 0; i--)
			assert_int_equal(br_ann_candidates_offer(candidates, &rows[i]), BR_OK);
		qsort(rows, (size_t) n, sizeof(rows[0]), by_bound);
		assert_holds_all_below_limit(candidates, rows, n, keep);
	}
	br_ann_candidates_destroy(candidates);
	assert_int_equal(ledger.live, 0);
}

/* Passes that go on from the limit of the one before meet every row once, in order. */
static void
passes_meet_every_row_once(void **state)
{
	BrCandidates *candidates;
	BrContext context;
	BrRandom random;

	(void) state;
	br_base_context_init(&context);
	br_base_random_init(&random, 23, 0);
	assert_int_equal(br_ann_candidates_create(&context, 10, &candidates), BR_OK);
	for (int levels = 1; levels < 3000; levels *= 3)
	{
		BrRowCandidate rows[MAX_ROWS];
		BrRowCandidate taken;
		float from = -INFINITY;
		int met = 0;

		draw_rows(&random, rows, MAX_ROWS, levels);
		while (from < INFINITY)
		{
			br_ann_candidates_reset(candidates, 10);
			for (int i = 0; i < MAX_ROWS; i++)
				if (rows[i].bound >= from)
					assert_int_equal(br_ann_candidates_offer(candidates, &rows[i]), BR_OK);
			qsort(rows, MAX_ROWS, sizeof(rows[0]), by_bound);
			while (br_ann_candidates_next(candidates, &taken))
				assert_same(&taken, &rows[met++]);
			from = br_ann_candidates_limit(candidates);
		}
		assert_int_equal(met, MAX_ROWS);
	}
	br_ann_candidates_destroy(candidates);
}

static void
infinity_and_nan_are_ignored(void **state)
{
	BrRowCandidate row = {.bound = INFINITY};
	BrCandidates *candidates;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_ann_candidates_create(&context, 1, &candidates), BR_OK);
	assert_int_equal(br_ann_candidates_offer(candidates, &row), BR_OK);
	row.bound = NAN;
	assert_int_equal(br_ann_candidates_offer(candidates, &row), BR_OK);
	assert_false(br_ann_candidates_next(candidates, &row));
	br_ann_candidates_destroy(candidates);
}

/* What was refused can be offered again once there is memory. */
static void
no_memory_loses_only_the_refused(void **state)
{
	AnnLedger ledger = {.allowed = 0};
	BrRowCandidate row = {.bound = 1};
	BrCandidates *candidates;
	BrContext context;
	int refusals = 0;

	(void) state;
	ann_ledger_context(&context, &ledger);
	assert_int_equal(br_ann_candidates_create(&context, 0, &candidates), BR_ERR_ARGUMENT);
	assert_int_equal(br_ann_candidates_create(&context, 1000, &candidates), BR_ERR_MEMORY);
	assert_null(candidates);
	ledger.allowed = 1;
	assert_int_equal(br_ann_candidates_create(&context, 1000, &candidates), BR_OK);
	for (uint32_t i = 0; i < 5000; i++)
	{
		BrStatus status;

		row.page = i;
		while ((status = br_ann_candidates_offer(candidates, &row)) == BR_ERR_MEMORY)
		{
			refusals++;
			ledger.allowed = 1;
		}
		assert_int_equal(status, BR_OK);
	}
	assert_true(refusals > 5);
	for (uint32_t i = 0; i < 5000; i++)
	{
		assert_true(br_ann_candidates_next(candidates, &row));
		assert_int_equal(row.page, i);
	}
	assert_false(br_ann_candidates_next(candidates, &row));
	br_ann_candidates_destroy(candidates);
	br_ann_candidates_destroy(NULL);
	assert_int_equal(ledger.live, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(candidates_equal_a_full_sort),
		cmocka_unit_test(passes_meet_every_row_once),
		cmocka_unit_test(infinity_and_nan_are_ignored),
		cmocka_unit_test(no_memory_loses_only_the_refused),
	};

	return cmocka_run_group_tests_name("ann_candidates", tests, NULL, NULL);
}
