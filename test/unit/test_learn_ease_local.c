/*
 * test_learn_ease_local.c
 *	  EASE over neighbours alone: against numpy 2.4.6, against the dense form, and
 *	  against the equations that its weights must solve.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/learn/ease_int.h"
#include "unit/ease_fixture.h"

/*
 * Over the two neighbours S of each column j with the largest cosine:
 * np.linalg.solve(G[np.ix_(S, S)] + 2.5 * np.eye(2), G[S, j]), G with side rows
 */
static const double two_neighbours[N][N] = {{0, 0.2748965181, 0, 0.2878064311, 0, 0.2240077916},
											{0.7943245779, 0, 0.2457786116, 0.4779794121,
											 0.0225512528, 0},
											{0, 0, 0, 0, 0, 0},
											{0.318011257, 0.182777372, 0.1125703565, 0, 0,
											 0.2623163704},
											{0, 0, 0, 0, 0, 0},
											{0, 0, 0, 0, 0.0362186788, 0}};

static void
assert_weights(const BrSparse *weights, const int32_t *targets, const double (*expected)[N])
{
	for (int t = 0; t < weights->rows; t++)
	{
		double row[N] = {0};

		for (int64_t i = weights->starts[t]; i < weights->starts[t + 1]; i++)
			row[weights->ids[i]] = weights->values[i];
		for (int i = 0; i < N; i++)
			assert_near(row[i], expected[i][targets != NULL ? targets[t] : t], 1e-6);
	}
}

static void
local_weights_match_numpy(void **state)
{
	static const int32_t targets[] = {0, 3, 4};
	BrSparse matrix = sparse_of(events[0], 12, N);
	BrSparse extra = sparse_of(side[0], 2, N);
	BrEaseLocalOptions options = {.lambda = 2.5,
								  .neighbours = 2,
								  .extra = &extra,
								  .extra_weight = 0.75};
	BrSparse weights;
	BrLists lists;

	(void) state;
	assert_int_equal(br_learn_ease_local(&context, &matrix, targets, 3, &options, &weights), BR_OK);
	assert_int_equal(weights.rows, 3);
	assert_weights(&weights, targets, two_neighbours);
	br_learn_sparse_free(&context, &weights);

	assert_int_equal(br_learn_ease_local(&context, &matrix, NULL, 0, &options, &weights), BR_OK);
	assert_int_equal(weights.rows, N);
	assert_weights(&weights, NULL, two_neighbours);
	assert_int_equal(br_learn_ease_lists(&context, &weights, N, 0, &lists), BR_OK);
	assert_lists(&lists, two_neighbours, 0);
	br_learn_lists_free(&context, &lists);
	br_learn_sparse_free(&context, &weights);
	br_learn_sparse_free(&context, &matrix);
	br_learn_sparse_free(&context, &extra);
}

/* Any two of 40 columns are in some of 3000 rows together. */
static void
local_equals_dense_where_all_are_neighbours(void **state)
{
	BrSparse matrix = random_events(3000, 40, 1);
	BrSparse extra = random_events(30, 40, 2);
	BrEaseOptions dense = {.lambda = 20,
						   .depth = 40,
						   .least = -INFINITY,
						   .extra = &extra,
						   .extra_weight = 1.5};
	BrEaseLocalOptions local = {.lambda = 20,
								.neighbours = 39,
								.extra = &extra,
								.extra_weight = 1.5};
	BrSparse weights;
	BrLists expected;
	BrLists actual;

	(void) state;
	assert_int_equal(br_learn_ease(&context, &matrix, &dense, &expected), BR_OK);
	assert_int_equal(br_learn_ease_local(&context, &matrix, NULL, 0, &local, &weights), BR_OK);
	assert_int_equal(weights.starts[40], 40 * 39);
	assert_int_equal(br_learn_ease_lists(&context, &weights, 40, -INFINITY, &actual), BR_OK);
	assert_sorted(&actual);
	for (int i = 0; i < 40; i++)
		for (int j = 0; j < 40; j++)
			assert_near(listed(&actual, i, j), listed(&expected, i, j), 1e-6);
	br_learn_lists_free(&context, &expected);
	br_learn_lists_free(&context, &actual);
	br_learn_sparse_free(&context, &weights);
	br_learn_sparse_free(&context, &matrix);
	br_learn_sparse_free(&context, &extra);
}

static void
add_products(const BrSparse *matrix, double weight, double *gram)
{
	for (int row = 0; row < matrix->rows; row++)
		for (int64_t a = matrix->starts[row]; a < matrix->starts[row + 1]; a++)
			for (int64_t b = matrix->starts[row]; b < matrix->starts[row + 1]; b++)
				gram[matrix->ids[a] * matrix->columns + matrix->ids[b]] +=
					weight * (double) matrix->values[a] * (double) matrix->values[b];
}

/* What the normal equations of target j have left at the weights found; none is taken wrongly. */
static void
check_target(const BrSparse *weights, int j, const double *gram, int n, double lambda,
			 int neighbours)
{
	int64_t start = weights->starts[j];
	int64_t end = weights->starts[j + 1];
	double weakest = INFINITY;
	int others = 0;

	for (int64_t a = start; a < end; a++)
	{
		int i = weights->ids[a];
		double rest = gram[i * n + j] - lambda * (double) weights->values[a];

		for (int64_t b = start; b < end; b++)
			rest -= gram[i * n + weights->ids[b]] * (double) weights->values[b];
		assert_near(rest, 0, 1e-6 * gram[i * n + i] * 100);
		weakest = fmin(weakest, fabs(gram[i * n + j]) / sqrt(gram[i * n + i] * gram[j * n + j]));
	}
	for (int i = 0; i < n; i++)
		others += i != j && gram[i * n + j] != 0;
	assert_int_equal(end - start, others < neighbours ? others : neighbours);
	for (int i = 0; i < n; i++)
	{
		bool taken = i == j || gram[i * n + j] == 0;

		for (int64_t a = start; a < end; a++)
			taken = taken || weights->ids[a] == i;
		if (!taken)
			assert_true(fabs(gram[i * n + j]) / sqrt(gram[i * n + i] * gram[j * n + j]) <=
						weakest + 1e-6);
	}
}

/* 600 columns of which about 2 sqrt(1500) are heads */
static void
local_weights_solve_the_normal_equations(void **state)
{
	enum
	{
		COLUMNS = 600
	};
	BrSparse matrix = random_events(150, COLUMNS, 3);
	BrSparse extra = random_events(20, COLUMNS, 4);
	BrEaseLocalOptions options = {.lambda = 3,
								  .neighbours = 20,
								  .extra = &extra,
								  .extra_weight = 2};
	double *gram = calloc(COLUMNS * COLUMNS, sizeof(double));
	BrSparse weights;

	(void) state;
	assert_non_null(gram);
	add_products(&matrix, 1, gram);
	add_products(&extra, 2, gram);
	assert_int_equal(br_learn_ease_local(&context, &matrix, NULL, 0, &options, &weights), BR_OK);
	for (int j = 0; j < COLUMNS; j++)
		check_target(&weights, j, gram, COLUMNS, 3, 20);
	free(gram);
	br_learn_sparse_free(&context, &weights);
	br_learn_sparse_free(&context, &matrix);
	br_learn_sparse_free(&context, &extra);
}

static void
assert_same_row(const BrSparse *actual, int at, const BrSparse *expected, int row)
{
	int64_t n = expected->starts[row + 1] - expected->starts[row];

	assert_int_equal(actual->starts[at + 1] - actual->starts[at], n);
	for (int64_t i = 0; i < n; i++)
	{
		assert_int_equal(actual->ids[actual->starts[at] + i],
						 expected->ids[expected->starts[row] + i]);
		assert_true(actual->values[actual->starts[at] + i] ==
					expected->values[expected->starts[row] + i]);
	}
}

/* A row more and three columns more; its columns are computed again and put in place. */
static void
refresh_replaces_what_events_touched(void **state)
{
	static const int32_t touched[] = {2, 30, 48, 51};
	BrSparse before = random_events(60, 49, 5);
	BrSparse after = random_events(60, 52, 6);
	BrEaseLocalOptions options = {.lambda = 3, .neighbours = 10};
	BrSparse weights;
	BrSparse old;
	BrSparse fresh;
	BrSparse full;

	(void) state;
	assert_int_equal(br_learn_ease_local(&context, &before, NULL, 0, &options, &weights), BR_OK);
	assert_int_equal(br_learn_ease_local(&context, &before, NULL, 0, &options, &old), BR_OK);
	assert_int_equal(br_learn_ease_local(&context, &after, touched, 4, &options, &fresh), BR_OK);
	assert_int_equal(br_learn_ease_local(&context, &after, NULL, 0, &options, &full), BR_OK);
	assert_int_equal(br_learn_ease_replace(&context, &weights, touched, &fresh), BR_OK);
	assert_int_equal(weights.rows, 52);
	assert_int_equal(weights.columns, 52);
	assert_int_equal(br_learn_sparse_check(&context, &weights), BR_OK);
	for (int row = 0, t = 0; row < 52; row++)
	{
		if (t < 4 && touched[t] == row)
		{
			assert_same_row(&fresh, t++, &full, row);
			assert_same_row(&weights, row, &full, row);
		}
		else if (row < 49)
			assert_same_row(&weights, row, &old, row);
		else
			assert_int_equal(weights.starts[row], weights.starts[row + 1]);
	}
	assert_int_equal(br_learn_ease_replace(&context, &weights, (const int32_t[]){0, 1, 2, 52},
										   &fresh),
					 BR_ERR_ARGUMENT);
	br_learn_sparse_free(&context, &weights);
	br_learn_sparse_free(&context, &old);
	br_learn_sparse_free(&context, &fresh);
	br_learn_sparse_free(&context, &full);
	br_learn_sparse_free(&context, &before);
	br_learn_sparse_free(&context, &after);
}

static bool
count_questions(void *arg)
{
	++*(int *) arg;
	return false;
}

/*
 * One row of 4,000 columns, all of them heads as there are four million other
 * entries: its 16 million products alone take 15 questions, one for each 2^20.
 */
static void
rows_of_everything_are_cancelled(void **state)
{
	enum
	{
		COLUMNS = 4000,
		SINGLE = 4000000
	};
	BrSparse matrix = {.rows = SINGLE + 1, .columns = COLUMNS};
	BrEaseSupport *support;
	BrEaseGram gram;
	int questions[2] = {0};

	(void) state;
	matrix.starts = malloc((SINGLE + 2) * sizeof(int64_t));
	matrix.ids = malloc((SINGLE + COLUMNS) * sizeof(int32_t));
	assert_non_null(matrix.starts);
	assert_non_null(matrix.ids);
	for (int i = 0; i < SINGLE + COLUMNS; i++)
		matrix.ids[i] = i % COLUMNS;
	for (int row = 0; row <= SINGLE; row++)
		matrix.starts[row] = row;
	for (int everything = 0; everything < 2; everything++)
	{
		matrix.starts[SINGLE + 1] = SINGLE + everything * COLUMNS;
		assert_int_equal(br_learn_ease_gram_begin(&context, &matrix, NULL, 0, 1, &gram), BR_OK);
		context.cancel = (BrCancel){count_questions, &questions[everything]};
		assert_int_equal(br_learn_ease_support_begin(&context, &gram, 2, &support), BR_OK);
		br_learn_ease_support_end(&context, support);
		br_learn_ease_gram_end(&context, &gram);
		context.cancel = (BrCancel){NULL, NULL};
	}
	assert_in_range(questions[1] - questions[0], 15, 16);
	free(matrix.starts);
	free(matrix.ids);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		EASE_TEST(local_weights_match_numpy),
		EASE_TEST(local_equals_dense_where_all_are_neighbours),
		EASE_TEST(local_weights_solve_the_normal_equations),
		EASE_TEST(refresh_replaces_what_events_touched),
		EASE_TEST(rows_of_everything_are_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
