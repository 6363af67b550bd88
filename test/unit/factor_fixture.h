/*
 * factor_fixture.h
 *	  Matrices of feedback, and callers that run out of memory or of patience,
 *	  for the tests of factorisation.
 */
#ifndef BR_FACTOR_FIXTURE_H
#define BR_FACTOR_FIXTURE_H

#include "core/learn/br_learn.h"

/*
 * rows by columns in `blocks` equal blocks along the diagonal: a place inside one
 * has an entry with probability `inside`, others with `outside`; values are 1 to
 * 3. Column 0 is full where `full`; the last row and column are empty.
 */
extern BrSparse factor_matrix(uint64_t seed, int rows, int columns, int blocks, double inside,
							  double outside, bool full);

extern bool factor_has(const BrSparse *matrix, int row, int column, double *value);

/* Fails the test where it does not succeed. */
extern BrFactors factor_learn_als(const BrSparse *matrix, const BrAlsOptions *options);

extern void factor_release(BrSparse *matrix, BrFactors *factors); /* NULL is ignored */

/* Fails the test where values differ by more than tolerance times the largest expected one. */
extern void factor_assert_near(const float *values, const float *expected, int n, double tolerance);

/* An allocator that counts what is out, and refuses after some calls; below 0: never. */
typedef struct FactorLedger
{
	int allowed;
	int live;
} FactorLedger;

extern void factor_ledger_context(BrContext *context, FactorLedger *ledger);

/* A cancel callback that says yes after *left questions. */
extern bool factor_count_down(void *left);

/*
 * Runs call with an allocator that refuses after 0, 1, 2, ... calls, until it
 * succeeds, and then with one that is cancelled after 0, 1, 2, ... questions. It
 * frees what it made; fails the test where anything is left.
 */
extern void factor_assert_cleans_up(BrStatus (*call)(BrContext *context));

#endif /* BR_FACTOR_FIXTURE_H */
