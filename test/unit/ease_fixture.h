/*
 * ease_fixture.h
 *	  What the tests of EASE share: events, a context that counts, and checks.
 */
#ifndef BR_TEST_EASE_FIXTURE_H
#define BR_TEST_EASE_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/learn/br_learn.h"

#define N 6

/* X; column 4 occurs nowhere */
static const int events[12][N] = {{0, 0, 0, 2, 0, 0}, {3, 0, 0, 0, 0, 3}, {3, 2, 0, 0, 0, 0},
								  {0, 0, 1, 2, 0, 1}, {2, 0, 0, 0, 0, 0}, {0, 2, 3, 2, 0, 1},
								  {3, 1, 0, 3, 0, 0}, {0, 0, 0, 0, 0, 0}, {0, 0, 3, 0, 0, 1},
								  {3, 1, 0, 3, 0, 0}, {0, 0, 0, 2, 0, 3}, {3, 2, 0, 2, 0, 3}};
static const int side[2][N] = {{1, 1, 0, 0, 0, 0}, {0, 1, 0, 0, 1, 2}};

/* ---- an allocator that counts what is out and can refuse ---- */

typedef struct Ledger
{
	int outstanding;
	int allowed; /* allocations before it refuses; below 0: no limit */
} Ledger;

static inline void *
ledger_alloc(void *arg, size_t size)
{
	Ledger *ledger = arg;

	if (ledger->allowed == 0)
		return NULL;
	ledger->allowed--;
	ledger->outstanding++;
	return malloc(size);
}

static inline void
ledger_free(void *arg, void *pointer)
{
	Ledger *ledger = arg;

	ledger->outstanding -= pointer != NULL;
	free(pointer);
}

static Ledger ledger;
static BrContext context;

static inline int
set_up(void **state)
{
	(void) state;
	ledger = (Ledger){0, -1};
	br_base_context_init(&context);
	context.allocator = (BrAllocator){ledger_alloc, ledger_free, &ledger};
	return 0;
}

static inline int
nothing_is_left(void **state)
{
	(void) state;
	assert_int_equal(ledger.outstanding, 0);
	return 0;
}

/* ---- fixtures ---- */

static inline BrSparse
sparse_of(const int *values, int rows, int columns)
{
	BrEntry *entries = malloc(((size_t) rows * (size_t) columns + 1) * sizeof(BrEntry));
	BrSparse matrix;
	int n = 0;

	assert_non_null(entries);
	for (int i = 0; i < rows * columns; i++)
		if (values[i] != 0)
			entries[n++] = (BrEntry){i / columns, i % columns, (float) values[i]};
	assert_int_equal(br_learn_sparse_build(&context, entries, n, rows, columns, &matrix), BR_OK);
	free(entries);
	return matrix;
}

/*
 * Rows of ten columns, low ones far more often than high ones; values 1 to 3
 * and some negative.
 */
static inline BrSparse
random_events(int rows, int columns, uint64_t seed)
{
	BrEntry *entries = malloc((size_t) rows * 10 * sizeof(BrEntry));
	BrRandom random;
	BrSparse matrix;

	assert_non_null(entries);
	br_base_random_init(&random, seed, 0);
	for (int i = 0; i < rows * 10; i++)
	{
		double uniform = br_base_random_uniform(&random);

		entries[i] = (BrEntry){i / 10, (int) (columns * uniform * uniform * uniform),
							   1 + (float) br_base_random_below(&random, 3)};
	}
	assert_int_equal(br_learn_sparse_build(&context, entries, rows * 10, rows, columns, &matrix),
					 BR_OK);
	for (int64_t i = 0; i < matrix.starts[rows]; i += 7)
		matrix.values[i] = -1;
	free(entries);
	return matrix;
}

static inline void
assert_near(double actual, double expected, double tolerance)
{
	if (!(fabs(actual - expected) <= tolerance))
		fail_msg("%.9g is not within %g of %.9g", actual, tolerance, expected);
}

/* The weight of column j in list i; 0 where it is not listed. */
static inline double
listed(const BrLists *lists, int i, int j)
{
	for (int64_t at = lists->starts[i]; at < lists->starts[i + 1]; at++)
		if (lists->ids[at] == j)
			return lists->weights[at];
	return 0;
}

static inline void
assert_sorted(const BrLists *lists)
{
	for (int i = 0; i < lists->n; i++)
		for (int64_t at = lists->starts[i] + 1; at < lists->starts[i + 1]; at++)
			assert_true(lists->weights[at - 1] >= lists->weights[at]);
}

static inline void
assert_lists(const BrLists *lists, const double (*expected)[N], double least)
{
	assert_int_equal(lists->n, N);
	assert_sorted(lists);
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++)
			assert_near(listed(lists, i, j), expected[i][j] > least ? expected[i][j] : 0, 1e-6);
}

#define EASE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, nothing_is_left)

#endif /* BR_TEST_EASE_FIXTURE_H */
