/*
 * factor_fixture.c
 *	  Matrices of feedback, and callers that run out of memory or of patience,
 *	  for the tests of factorisation.
 */
#include "unit/factor_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

BrSparse
factor_matrix(uint64_t seed, int rows, int columns, int blocks, double inside, double outside,
			  bool full)
{
	BrEntry *entries = malloc(sizeof(BrEntry) * (size_t) rows * (size_t) columns);
	BrContext context;
	BrRandom random;
	BrSparse matrix;
	int64_t n = 0;

	br_base_context_init(&context);
	br_base_random_init(&random, seed, 0);
	for (int row = 0; row + 1 < rows; row++)
		for (int column = 0; column + 1 < columns; column++)
		{
			bool same = row * blocks / rows == column * blocks / columns;

			if (br_base_random_uniform(&random) < (same ? inside : outside) ||
				(full && column == 0))
				entries[n++] = (BrEntry){row, column, (float) (1 + (row + column) % 3)};
		}
	assert_int_equal(br_learn_sparse_build(&context, entries, n, rows, columns, &matrix), BR_OK);
	free(entries);
	return matrix;
}

bool
factor_has(const BrSparse *matrix, int row, int column, double *value)
{
	for (int64_t i = matrix->starts[row]; i < matrix->starts[row + 1]; i++)
		if (matrix->ids[i] == column)
		{
			*value = matrix->values != NULL ? (double) matrix->values[i] : 1;
			return true;
		}
	*value = 0;
	return false;
}

void
factor_assert_near(const float *values, const float *expected, int n, double tolerance)
{
	double largest = 0;

	for (int i = 0; i < n; i++)
		largest = fmax(largest, fabs((double) expected[i]));
	for (int i = 0; i < n; i++)
		if (!(fabs((double) values[i] - (double) expected[i]) <= tolerance * largest))
			fail_msg("value %d is %.9g, not %.9g", i, (double) values[i], (double) expected[i]);
}

BrFactors
factor_learn_als(const BrSparse *matrix, const BrAlsOptions *options)
{
	BrContext context;
	BrFactors factors;

	br_base_context_init(&context);
	if (br_learn_als(&context, matrix, options, &factors) != BR_OK)
		fail_msg("%s", context.detail);
	return factors;
}

void
factor_release(BrSparse *matrix, BrFactors *factors)
{
	BrContext context;

	br_base_context_init(&context);
	if (matrix != NULL)
		br_learn_sparse_free(&context, matrix);
	if (factors != NULL)
		br_learn_factors_free(&context, factors);
}

static void *
ledger_alloc(void *arg, size_t size)
{
	FactorLedger *ledger = arg;

	if (ledger->allowed == 0)
		return NULL;
	ledger->allowed--;
	ledger->live++;
	return malloc(size);
}

static void
ledger_free(void *arg, void *pointer)
{
	FactorLedger *ledger = arg;

	ledger->live -= pointer != NULL;
	free(pointer);
}

void
factor_ledger_context(BrContext *context, FactorLedger *ledger)
{
	br_base_context_init(context);
	context->allocator = (BrAllocator){ledger_alloc, ledger_free, ledger};
}

bool
factor_count_down(void *left)
{
	return (*(int *) left)-- <= 0;
}

void
factor_assert_cleans_up(BrStatus (*call)(BrContext *context))
{
	FactorLedger ledger;
	BrContext context;
	BrStatus status = BR_ERR_MEMORY;
	int tries = 0;

	for (; status == BR_ERR_MEMORY; tries++)
	{
		ledger = (FactorLedger){.allowed = tries};
		factor_ledger_context(&context, &ledger);
		status = call(&context);
		assert_true(status == BR_OK || status == BR_ERR_MEMORY);
		assert_int_equal(ledger.live, 0);
	}
	assert_true(tries > 1);
	status = BR_ERR_CANCELLED;
	for (tries = 0; status == BR_ERR_CANCELLED; tries++)
	{
		int left = tries;

		ledger = (FactorLedger){.allowed = -1};
		factor_ledger_context(&context, &ledger);
		context.cancel = (BrCancel){factor_count_down, &left};
		status = call(&context);
		assert_true(status == BR_OK || status == BR_ERR_CANCELLED);
		assert_int_equal(ledger.live, 0);
	}
	assert_true(tries > 1);
}
