/*
 * test_learn_bpr.c
 *	  Bayesian personalised ranking: its slopes beside differences of its loss, and
 *	  what it makes of a matrix whose blocks are known.
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

#define DIMS 6
#define PARAMETERS (3 * DIMS + 2)

#define ROWS 120
#define COLUMNS 61
#define BLOCKS 4

static const BrBprOptions usual = {.factors = 8,
								   .learning_rate = .1,
								   .lambda = .01,
								   .epochs = 60,
								   .seed = 3};

static BrFactors
learn(const BrSparse *matrix, const BrBprOptions *options)
{
	BrContext context;
	BrFactors factors;

	br_base_context_init(&context);
	if (br_learn_bpr(&context, matrix, options, &factors) != BR_OK)
		fail_msg("%s", context.detail);
	return factors;
}

static void
slopes_are_differences_of_the_loss(void **state)
{
	const double step = 1e-5;
	double parameters[PARAMETERS];
	double gradient[PARAMETERS];
	double ignored[PARAMETERS];
	BrRandom random;

	(void) state;
	br_base_random_init(&random, 1, 0);
	for (int trial = 0; trial < 20; trial++)
	{
		for (int p = 0; p < PARAMETERS; p++)
			parameters[p] = 3 * (br_base_random_uniform(&random) - .5);
		br_learn_bpr_loss(parameters, DIMS, .3, gradient);
		for (int p = 0; p < PARAMETERS; p++)
		{
			double at = parameters[p];
			double difference;

			parameters[p] = at + step;
			difference = br_learn_bpr_loss(parameters, DIMS, .3, ignored);
			parameters[p] = at - step;
			difference -= br_learn_bpr_loss(parameters, DIMS, .3, ignored);
			parameters[p] = at;
			assert_true(fabs(difference / (2 * step) - gradient[p]) < 1e-8);
		}
	}
}

/* -ln sigma(3) + .2 / 2 (1 + 4 + 1 + 1 + 0) with one factor; far out it is linear. */
static void
loss_matches_hand_arithmetic(void **state)
{
	double parameters[] = {1, 2, -1, 0, 0};
	double gradient[5];

	(void) state;
	assert_true(fabs(br_learn_bpr_loss(parameters, 1, .2, gradient) - (log(1 + exp(-3)) + .6)) <
				1e-14);
	parameters[3] = -1003;
	assert_true(fabs(br_learn_bpr_loss(parameters, 1, 0, gradient) - 1000) < 1e-10);
	assert_true(fabs(gradient[3] + 1) < 1e-14);
	parameters[3] = 1003;
	assert_true(br_learn_bpr_loss(parameters, 1, 0, gradient) < 1e-300);
}

/* One user, one liked and one other column: there is only one triple to draw. */
static void
a_step_goes_down_the_slope(void **state)
{
	int64_t starts[] = {0, 1};
	int32_t ids[] = {1};
	BrSparse matrix = {1, 2, starts, ids, NULL};
	float row[DIMS];
	float column[2 * DIMS];
	float bias[] = {.25f, -.5f};
	BrFactors start = {1, 2, DIMS, row, column, bias};
	BrBprOptions options = {.factors = DIMS,
							.learning_rate = .05,
							.lambda = .3,
							.epochs = 1,
							.seed = 1,
							.start = &start};
	double parameters[PARAMETERS];
	double gradient[PARAMETERS];
	float expected[PARAMETERS];
	BrFactors factors;

	(void) state;
	for (int d = 0; d < DIMS; d++)
	{
		parameters[d] = row[d] = (float) (d - 2) / 4;
		parameters[DIMS + d] = column[DIMS + d] = (float) (d * d % 5) / 8;
		parameters[2 * DIMS + d] = column[d] = (float) (3 - d) / 2;
	}
	parameters[3 * DIMS] = -.5;
	parameters[3 * DIMS + 1] = .25;
	br_learn_bpr_loss(parameters, DIMS, .3, gradient);
	for (int p = 0; p < PARAMETERS; p++)
		expected[p] = (float) (parameters[p] - .05 * gradient[p]);
	factors = learn(&matrix, &options);
	factor_assert_near(factors.row, expected, DIMS, 1e-6);
	factor_assert_near(factors.column + DIMS, expected + DIMS, DIMS, 1e-6);
	factor_assert_near(factors.column, expected + 2 * DIMS, DIMS, 1e-6);
	assert_true(fabs((double) (factors.bias[1] - expected[3 * DIMS])) < 1e-6);
	assert_true(fabs((double) (factors.bias[0] - expected[3 * DIMS + 1])) < 1e-6);
	factor_release(NULL, &factors);
}

static double
score(const BrFactors *factors, const float *user, int column)
{
	double sum = factors->bias != NULL ? (double) factors->bias[column] : 0;

	for (int d = 0; d < factors->dims; d++)
		sum += (double) user[d] * (double) factors->column[column * factors->dims + d];
	return sum;
}

/*
 * The share of pairs, of a column in the row's block and one in another, neither
 * with an entry, that the scores order rightly: nothing of it was learned from.
 */
static double
area_under_curve(const BrSparse *matrix, const BrFactors *factors, const float *user, int row,
				 double *pairs)
{
	double right = 0;

	for (int i = 0; i + 1 < COLUMNS; i++)
		for (int j = 0; j + 1 < COLUMNS; j++)
		{
			double value;

			if (row * BLOCKS / ROWS != i * BLOCKS / COLUMNS ||
				row * BLOCKS / ROWS == j * BLOCKS / COLUMNS || factor_has(matrix, row, i, &value) ||
				factor_has(matrix, row, j, &value))
				continue;
			right += score(factors, user, i) > score(factors, user, j);
			*pairs += 1;
		}
	return right;
}

static void
planted_blocks_are_found(void **state)
{
	BrSparse matrix = factor_matrix(5, ROWS, COLUMNS, BLOCKS, .4, .03, false);
	BrFactors factors = learn(&matrix, &usual);
	double pairs = 0;
	double right = 0;

	(void) state;
	for (int row = 0; row + 1 < ROWS; row++)
		right += area_under_curve(&matrix, &factors, factors.row + row * factors.dims, row, &pairs);
	if (!(right / pairs > .9))
		fail_msg("%g of pairs are ordered rightly", right / pairs);
	factor_release(&matrix, &factors);
}

/* Users who were not learned from, with the entries that they would have had. */
static void
new_users_find_their_block(void **state)
{
	BrSparse matrix = factor_matrix(5, ROWS, COLUMNS, BLOCKS, .4, .03, false);
	BrSparse others = factor_matrix(77, ROWS, COLUMNS, BLOCKS, .4, .03, false);
	BrFactors factors = learn(&matrix, &usual);
	double pairs = 0;
	double right = 0;
	float vector[8];
	float again[8];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int row = 0; row + 1 < ROWS; row++)
	{
		int64_t first = others.starts[row];
		BrFoldIn done = {others.ids + first, NULL, (int) (others.starts[row + 1] - first)};

		assert_int_equal(br_learn_bpr_fold_in(&context, &factors, &usual, &done, vector), BR_OK);
		assert_int_equal(br_learn_bpr_fold_in(&context, &factors, &usual, &done, again), BR_OK);
		assert_memory_equal(vector, again, sizeof(vector));
		right += area_under_curve(&others, &factors, vector, row, &pairs);
	}
	if (!(right / pairs > .9))
		fail_msg("%g of pairs are ordered rightly", right / pairs);
	factor_release(&others, NULL);
	factor_release(&matrix, &factors);
}

/* One epoch of one entry and one other column: x = rate sigma(b_j - b_i) (y_i - y_j). */
static void
a_step_of_folding_in_matches_hand_arithmetic(void **state)
{
	float column[] = {2, 1, -1, 3};
	float bias[] = {.5f, 0};
	BrFactors factors = {0, 2, 2, NULL, column, bias};
	BrBprOptions options = {.factors = 2, .learning_rate = .1, .lambda = .2, .epochs = 1};
	const int32_t ids[] = {0, 1};
	BrFoldIn done = {ids, NULL, 1};
	double slope = 1 / (1 + exp(.5));
	float vector[2];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_bpr_fold_in(&context, &factors, &options, &done, vector), BR_OK);
	assert_true(fabs((double) vector[0] - .1 * slope * 3) < 1e-7);
	assert_true(fabs((double) vector[1] + .1 * slope * 2) < 1e-7);
	column[0] = INFINITY;
	assert_int_equal(br_learn_bpr_fold_in(&context, &factors, &options, &done, vector),
					 BR_ERR_NUMERIC);
	/* nothing is liked less, or nothing is liked */
	for (done.n = 0; done.n <= 2; done.n += 2)
	{
		assert_int_equal(br_learn_bpr_fold_in(&context, &factors, &options, &done, vector), BR_OK);
		assert_true(vector[0] == 0 && vector[1] == 0);
	}
}

static void
seeds_decide(void **state)
{
	BrSparse matrix = factor_matrix(5, 40, 30, 2, .4, .03, false);
	BrBprOptions options = usual;
	BrFactors first;
	BrFactors again;
	BrFactors other;

	(void) state;
	options.epochs = 3;
	first = learn(&matrix, &options);
	again = learn(&matrix, &options);
	options.seed++;
	other = learn(&matrix, &options);
	assert_memory_equal(first.row, again.row, sizeof(float) * 40 * 8);
	assert_memory_equal(first.column, again.column, sizeof(float) * 30 * 8);
	assert_memory_equal(first.bias, again.bias, sizeof(float) * 30);
	assert_true(memcmp(first.row, other.row, sizeof(float) * 40 * 8) != 0);
	factor_release(NULL, &first);
	factor_release(NULL, &again);
	factor_release(&matrix, &other);
}

/* A row with an entry everywhere has no other column to draw: it and the rest stay. */
static void
small_and_full_matrices_are_learned(void **state)
{
	static const int shapes[][2] = {{0, 0}, {0, 3}, {3, 0}, {1, 1}, {1, 4}, {4, 1}};
	int64_t starts[] = {0, 2};
	int32_t ids[] = {0, 1};
	BrSparse full = {1, 2, starts, ids, NULL};
	float row[DIMS] = {1, 2, 3, 4, 5, 6};
	float column[2 * DIMS] = {7, 8, 9};
	BrFactors start = {1, 2, DIMS, row, column, NULL};
	BrBprOptions options = usual;
	BrFactors factors;

	(void) state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
	{
		BrSparse matrix = factor_matrix(1, shapes[i][0], shapes[i][1], 1, 0, 0, false);

		factors = learn(&matrix, &options);
		assert_int_equal(factors.rows, shapes[i][0]);
		assert_int_equal(factors.columns, shapes[i][1]);
		factor_release(&matrix, &factors);
	}
	options.factors = DIMS;
	options.start = &start;
	factors = learn(&full, &options);
	assert_memory_equal(factors.row, row, sizeof(row));
	assert_memory_equal(factors.column, column, sizeof(column));
	factor_release(NULL, &factors);
}

/*
 * Of a million columns a user has all but three. Each epoch draws a million
 * times among the three, each as often as the others: with vectors of zeros and
 * a small rate their biases fall, and they alone, by half of it each time.
 */
static void
users_of_almost_everything_are_learned(void **state)
{
	enum
	{
		ALL = 1000000
	};
	static const int others[] = {0, 77, ALL - 1};
	int64_t starts[] = {0, ALL - 3};
	int32_t *ids = malloc(ALL * sizeof(int32_t));
	BrSparse matrix = {1, ALL, starts, ids, NULL};
	float *zeros = calloc(ALL, sizeof(float));
	BrFactors start = {1, ALL, 1, zeros, zeros, NULL};
	BrBprOptions options = {.factors = 1,
							.learning_rate = 1e-8,
							.epochs = 1,
							.seed = 2,
							.start = &start};
	BrFoldIn done = {ids, NULL, ALL - 3};
	BrFactors factors;
	BrContext context;
	float vector[1];
	double fallen = 0;
	int n = 0;

	(void) state;
	assert_non_null(ids);
	assert_non_null(zeros);
	for (int column = 0; column < ALL; column++)
		if (column != others[0] && column != others[1] && column != others[2])
			ids[n++] = column;
	factors = learn(&matrix, &options);
	for (int i = 0; i < 3; i++)
		fallen += (double) factors.bias[others[i]];
	assert_true(fabs(fallen / (-0.5e-8 * (ALL - 3)) - 1) < 0.01);
	for (int i = 0; i < 3; i++)
		assert_true(fabs(3 * (double) factors.bias[others[i]] / fallen - 1) < 0.01);
	for (int i = 0; i < n; i++)
		assert_true(factors.bias[ids[i]] >= 0);
	br_base_context_init(&context);
	assert_int_equal(br_learn_bpr_fold_in(&context, &factors, &options, &done, vector), BR_OK);
	factor_release(NULL, &factors);
	free(ids);
	free(zeros);
}

static void
bad_arguments_are_refused(void **state)
{
	BrSparse matrix = factor_matrix(5, 20, 10, 2, .4, .03, false);
	float nothing[20 * 8] = {0};
	float bias[10] = {0};
	BrFactors start = {20, 10, 8, nothing, nothing, bias};
	const int32_t ids[] = {0, 10};
	BrFoldIn done = {ids, NULL, 1};
	float vector[8];
	BrContext context;
	BrFactors factors;

	(void) state;
	br_base_context_init(&context);
#define STATUS_WITH(field, value)                                       \
	(context.detail[0] = 0,                                             \
	 br_learn_bpr(&context, &matrix,                                    \
				  &(BrBprOptions){.factors = usual.factors,             \
								  .learning_rate = usual.learning_rate, \
								  .lambda = usual.lambda,               \
								  .epochs = 1,                          \
								  .start = NULL,                        \
								  .field = value},                      \
				  &factors))
#define ASSERT_REFUSED(field, value)                                  \
	do                                                                \
	{                                                                 \
		assert_int_equal(STATUS_WITH(field, value), BR_ERR_ARGUMENT); \
		assert_true(context.detail[0] != 0 && factors.row == NULL);   \
	} while (0)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
	ASSERT_REFUSED(factors, 0);
	ASSERT_REFUSED(factors, 513);
	ASSERT_REFUSED(learning_rate, 0);
	ASSERT_REFUSED(learning_rate, 1.01);
	ASSERT_REFUSED(learning_rate, (double) NAN);
	ASSERT_REFUSED(lambda, -.01);
	ASSERT_REFUSED(lambda, 10.01);
	ASSERT_REFUSED(lambda, (double) NAN);
	ASSERT_REFUSED(epochs, 0);
	ASSERT_REFUSED(epochs, 10001);
	start.dims--;
	ASSERT_REFUSED(start, &start);
	start.dims++;
	bias[2] = INFINITY;
	ASSERT_REFUSED(start, &start);
	bias[2] = 0;
	assert_int_equal(STATUS_WITH(start, &start), BR_OK);
#pragma GCC diagnostic pop
	assert_int_equal(br_learn_bpr_fold_in(&context, &factors, &usual, &done, vector), BR_OK);
	done.n = 2;
	assert_int_equal(br_learn_bpr_fold_in(&context, &factors, &usual, &done, vector),
					 BR_ERR_ARGUMENT);
	done.n = 1;
	assert_int_equal(br_learn_bpr_fold_in(&context, &factors, &(BrBprOptions){.epochs = 1}, &done,
										  vector),
					 BR_ERR_ARGUMENT);
	br_learn_factors_free(&context, &factors);
	assert_int_equal(br_learn_bpr_fold_in(&context, &factors, &usual, &done, vector),
					 BR_ERR_ARGUMENT);
	matrix.ids[0] = 10;
	assert_int_equal(br_learn_bpr(&context, &matrix, &usual, &factors), BR_ERR_ARGUMENT);
	factor_release(&matrix, NULL);
}

static BrStatus
learn_in(BrContext *context)
{
	BrSparse matrix = factor_matrix(6, 60, 30, 3, .3, .02, false);
	BrBprOptions options = usual;
	BrFactors factors;
	float vector[8];
	BrFoldIn done = {matrix.ids, NULL, 2};
	BrStatus status;

	options.epochs = 20;
	status = br_learn_bpr(context, &matrix, &options, &factors);
	if (status == BR_OK)
		status = br_learn_bpr_fold_in(context, &factors, &options, &done, vector);
	br_learn_factors_free(context, &factors);
	factor_release(&matrix, NULL);
	return status;
}

static void
nothing_is_left_after_failures(void **state)
{
	(void) state;
	factor_assert_cleans_up(learn_in);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slopes_are_differences_of_the_loss),
		cmocka_unit_test(loss_matches_hand_arithmetic),
		cmocka_unit_test(a_step_goes_down_the_slope),
		cmocka_unit_test(planted_blocks_are_found),
		cmocka_unit_test(new_users_find_their_block),
		cmocka_unit_test(a_step_of_folding_in_matches_hand_arithmetic),
		cmocka_unit_test(seeds_decide),
		cmocka_unit_test(small_and_full_matrices_are_learned),
		cmocka_unit_test(users_of_almost_everything_are_learned),
		cmocka_unit_test(bad_arguments_are_refused),
		cmocka_unit_test(nothing_is_left_after_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
