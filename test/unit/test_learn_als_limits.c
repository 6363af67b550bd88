/*
 * test_learn_als_limits.c
 *	  Factorisation by alternating least squares at its limits: matrices with
 *	  hardly anything in them, what is refused, what is left after a failure.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/factor_fixture.h"

#define LAMBDA .1
#define ALPHA 2.0

static void
small_and_empty_matrices_are_learned(void **state)
{
	static const int shapes[][2] = {{0, 0}, {0, 3}, {3, 0}, {1, 1}, {1, 4}, {4, 1}, {20, 20}};

	(void) state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		for (int solver = BR_ALS_CG; solver <= BR_ALS_CHOLESKY; solver++)
		{
			int rows = shapes[i][0];
			int columns = shapes[i][1];
			BrSparse matrix = factor_matrix(1, rows, columns, 1, 0, 0, false);
			BrAlsOptions options = {.factors = 3,
									.lambda = solver == BR_ALS_CG ? 0 : LAMBDA,
									.alpha = ALPHA,
									.iterations = 2,
									.solver = (BrAlsSolver) solver};
			BrFactors factors = factor_learn_als(&matrix, &options);

			assert_int_equal(factors.rows, rows);
			assert_int_equal(factors.columns, columns);
			assert_int_equal(factors.dims, 3);
			for (int k = 0; k < rows * 3; k++)
				assert_true(factors.row[k] == 0);
			factor_release(&matrix, &factors);
		}
}

/* One entry of r = 1: 3 (1 - x y)^2 + .1 (x^2 + y^2) is least where x = y and x y = 1 - .1 / 3. */
static void
one_entry_matches_hand_arithmetic(void **state)
{
	BrEntry entry = {0, 0, 1};
	BrAlsOptions options = {.factors = 1,
							.lambda = LAMBDA,
							.alpha = ALPHA,
							.iterations = 300,
							.solver = BR_ALS_CHOLESKY,
							.seed = 1};
	BrContext context;
	BrSparse matrix;
	BrFactors factors;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_sparse_build(&context, &entry, 1, 1, 1, &matrix), BR_OK);
	factors = factor_learn_als(&matrix, &options);
	assert_true(fabs((double) factors.row[0] * (double) factors.column[0] - (1 - .1 / 3)) < 1e-4);
	factor_release(&matrix, &factors);
}

static void
bad_arguments_are_refused(void **state)
{
	BrSparse matrix = factor_matrix(6, 20, 10, 2, .4, .03, true);
	float row[20 * 3] = {1};
	float column[10 * 3] = {1};
	BrFactors start = {20, 10, 3, row, column, NULL};
	BrAlsOptions usual = {.factors = 3,
						  .lambda = LAMBDA,
						  .alpha = ALPHA,
						  .iterations = 1,
						  .solver = BR_ALS_CHOLESKY,
						  .start = &start};
	BrContext context;
	BrFactors factors;
	double objective;

	(void) state;
	br_base_context_init(&context);
#define ASSERT_REFUSED(field, bad)                                                              \
	do                                                                                          \
	{                                                                                           \
		BrAlsOptions options = usual;                                                           \
                                                                                                \
		options.field = bad;                                                                    \
		context.detail[0] = 0;                                                                  \
		assert_int_equal(br_learn_als(&context, &matrix, &options, &factors), BR_ERR_ARGUMENT); \
		assert_true(context.detail[0] != 0 && factors.row == NULL);                             \
	} while (0)
	ASSERT_REFUSED(factors, 0);
	ASSERT_REFUSED(factors, 513);
	ASSERT_REFUSED(factors, 4); /* the start has fewer */
	ASSERT_REFUSED(lambda, -1e-9);
	ASSERT_REFUSED(lambda, (double) NAN);
	ASSERT_REFUSED(lambda, (double) INFINITY);
	ASSERT_REFUSED(lambda, 0); /* by the exact solver */
	ASSERT_REFUSED(alpha, 0);
	ASSERT_REFUSED(alpha, (double) INFINITY);
	ASSERT_REFUSED(iterations, 0);
	ASSERT_REFUSED(iterations, 1001);
	ASSERT_REFUSED(solver, (BrAlsSolver) 2);
	start.rows--;
	ASSERT_REFUSED(seed, 1);
	start.rows++;
	column[7] = NAN;
	ASSERT_REFUSED(seed, 1);
	column[7] = 0;
	matrix.values[0] = -1;
	ASSERT_REFUSED(seed, 1);
	matrix.values[0] = INFINITY;
	ASSERT_REFUSED(seed, 1);
	matrix.values[0] = 1;
	matrix.ids[0] = 10;
	ASSERT_REFUSED(seed, 1);
	matrix.ids[0] = 0;
	factors = factor_learn_als(&matrix, &usual);
#define OBJECTIVE(lambda, alpha) \
	br_learn_als_objective(&context, &matrix, &factors, lambda, alpha, &objective)
	assert_int_equal(OBJECTIVE(LAMBDA, ALPHA), BR_OK);
	assert_int_equal(OBJECTIVE(-LAMBDA, ALPHA), BR_ERR_ARGUMENT);
	assert_int_equal(OBJECTIVE(LAMBDA, 0), BR_ERR_ARGUMENT);
	factors.rows--;
	assert_int_equal(OBJECTIVE(LAMBDA, ALPHA), BR_ERR_ARGUMENT);
	factor_release(&matrix, &factors);
}

static void
bad_entries_are_not_folded_in(void **state)
{
	const float others[] = {.5f, 2};
	int32_t ids[] = {0, 1};
	float values[] = {1, 1};
	double gram = 4.25;
	float vector;
	BrContext context;
	BrFoldIn done = {ids, values, 2};

	(void) state;
	br_base_context_init(&context);
#define FOLD_IN(dims, lambda, alpha) \
	br_learn_als_fold_in(&context, others, 2, dims, &gram, lambda, alpha, &done, &vector)
	assert_int_equal(FOLD_IN(1, .1, 1), BR_OK);
	assert_int_equal(FOLD_IN(0, .1, 1), BR_ERR_ARGUMENT);
	assert_int_equal(FOLD_IN(1, -.1, 1), BR_ERR_ARGUMENT);
	assert_int_equal(FOLD_IN(1, (double) NAN, 1), BR_ERR_ARGUMENT);
	assert_int_equal(FOLD_IN(1, .1, 0), BR_ERR_ARGUMENT);
	values[1] = -1;
	assert_int_equal(FOLD_IN(1, .1, 1), BR_ERR_ARGUMENT);
	values[1] = NAN;
	assert_int_equal(FOLD_IN(1, .1, 1), BR_ERR_ARGUMENT);
	values[1] = 1;
	ids[1] = 2;
	assert_int_equal(FOLD_IN(1, .1, 1), BR_ERR_ARGUMENT);
	ids[1] = 0;
	assert_int_equal(FOLD_IN(1, .1, 1), BR_ERR_ARGUMENT);
	done.n = -1;
	assert_int_equal(FOLD_IN(1, .1, 1), BR_ERR_ARGUMENT);
	done.n = 1;
	gram = -9;
	assert_int_equal(FOLD_IN(1, .1, 1), BR_ERR_NUMERIC);
}

/* Four columns cannot tell 64 factors apart nearly without lambda; huge values outgrow float. */
static void
what_floats_cannot_hold_is_told(void **state)
{
	BrSparse matrix = factor_matrix(2, 30, 5, 1, .7, 0, false);
	BrAlsOptions options = {.factors = 64,
							.lambda = 1e-12,
							.alpha = ALPHA,
							.iterations = 1,
							.solver = BR_ALS_CHOLESKY,
							.seed = 1};
	BrContext context;
	BrFactors factors;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_als(&context, &matrix, &options, &factors), BR_ERR_NUMERIC);
	assert_non_null(strstr(context.detail, "lambda"));
	for (int64_t i = 0; i < matrix.starts[matrix.rows]; i++)
		matrix.values[i] = 3e38f;
	options.lambda = 1;
	options.solver = BR_ALS_CG;
	assert_int_equal(br_learn_als(&context, &matrix, &options, &factors), BR_ERR_NUMERIC);
	assert_null(factors.row);
	factor_release(&matrix, NULL);
}

static BrStatus
learn_in(BrContext *context, BrAlsSolver solver, BrPool *pool)
{
	BrSparse matrix = factor_matrix(6, 60, 30, 3, .3, .02, false);
	BrAlsOptions options = {.factors = 6,
							.lambda = LAMBDA,
							.alpha = ALPHA,
							.iterations = 2,
							.solver = solver,
							.pool = pool};
	BrFactors factors;
	double gram[6 * 7 / 2];
	float vector[6];
	double objective;
	BrFoldIn done = {matrix.ids, NULL, 2};
	BrStatus status = br_learn_als(context, &matrix, &options, &factors);

	if (status == BR_OK)
		status = br_learn_als_objective(context, &matrix, &factors, LAMBDA, ALPHA, &objective);
	if (status == BR_OK)
		status = br_learn_als_gram(context, factors.column, 30, 6, gram);
	if (status == BR_OK)
		status = br_learn_als_fold_in(context, factors.column, 30, 6, gram, LAMBDA, ALPHA, &done,
									  vector);
	br_learn_factors_free(context, &factors);
	factor_release(&matrix, NULL);
	return status;
}

static BrStatus
learn_by_gradients(BrContext *context)
{
	return learn_in(context, BR_ALS_CG, NULL);
}

static BrStatus
learn_exactly(BrContext *context)
{
	return learn_in(context, BR_ALS_CHOLESKY, NULL);
}

static void
nothing_is_left_after_failures(void **state)
{
	(void) state;
	factor_assert_cleans_up(learn_by_gradients);
	factor_assert_cleans_up(learn_exactly);
}

/* The caller's answer reaches the threads, too. */
static void
threads_are_cancelled(void **state)
{
	FactorLedger ledger = {.allowed = -1};
	BrContext context;
	BrContext plain;
	BrPool *pool;
	int left = 5;

	(void) state;
	br_base_context_init(&plain);
	assert_int_equal(br_base_pool_create(&plain, 3, &pool), BR_OK);
	factor_ledger_context(&context, &ledger);
	context.cancel = (BrCancel){factor_count_down, &left};
	assert_int_equal(learn_in(&context, BR_ALS_CHOLESKY, pool), BR_ERR_CANCELLED);
	assert_int_equal(ledger.live, 0);
	br_base_pool_destroy(pool);
}

static void
count_report(void *arg, int64_t done, int64_t total)
{
	int64_t *last = arg;

	assert_int_equal(done, *last + 1);
	assert_int_equal(total, 6);
	*last = done;
}

static void
half_sweeps_are_reported(void **state)
{
	int64_t last = 0;
	BrProgress progress = {count_report, &last};
	BrSparse matrix = factor_matrix(6, 20, 10, 2, .4, .03, false);
	BrAlsOptions options = {.factors = 3,
							.lambda = LAMBDA,
							.alpha = ALPHA,
							.iterations = 3,
							.progress = &progress};
	BrFactors factors = factor_learn_als(&matrix, &options);

	(void) state;
	assert_int_equal(last, 6);
	factor_release(&matrix, &factors);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_and_empty_matrices_are_learned),
		cmocka_unit_test(one_entry_matches_hand_arithmetic),
		cmocka_unit_test(bad_arguments_are_refused),
		cmocka_unit_test(bad_entries_are_not_folded_in),
		cmocka_unit_test(what_floats_cannot_hold_is_told),
		cmocka_unit_test(nothing_is_left_after_failures),
		cmocka_unit_test(threads_are_cancelled),
		cmocka_unit_test(half_sweeps_are_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
