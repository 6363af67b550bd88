/*
 * test_learn_ease.c
 *	  EASE; and arguments, memory and cancellation of both its forms.
 *
 * Expected weights are numpy 2.4.6's, of the events of ease_fixture.h and these
 * lines:
 *
 *		def ease(X, lam, E, w):
 *			P = np.linalg.inv(X.T @ X + w * E.T @ E + lam * np.eye(6))
 *			return -P / np.diag(P)
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/ease_fixture.h"

/* ease(X, 2.5, side, 0) */
static const double plain[N][N] = {{0, 0.2998009769, -0.2983698089, 0.2509244639, 0, 0.2926522647},
								   {0.889814202, 0, 0.483741023, 0.4020601826, 0, -0.1095095452},
								   {-0.4415038903, 0.2411716684, 0, 0.1904272675, 0, 0.2801797152},
								   {0.2512363421, 0.1356326455, 0.1288513383, 0, 0, 0.2041491743},
								   {0, 0, 0, 0, 0, 0},
								   {0.3062225275, -0.0386074336, 0.1981263681, 0.213350379, 0, 0}};

/* ease(X, 2.5, side, .75) */
static const double with_side[N][N] =
	{{0, 0.3028467032, -0.2789898458, 0.2804464162, -0.0382190142, 0.2512321294},
	 {0.8406572271, 0, 0.4279258933, 0.320177263, 0.0784268402, 0.0144291068},
	 {-0.4225047537, 0.2334617132, 0, 0.2222671786, -0.0326621043, 0.2501969084},
	 {0.2870566975, 0.1180625548, 0.1502276672, 0, -0.0202105809, 0.1917739786},
	 {-0.3089509159, 0.2283908092, -0.174345589, -0.1596140112, 0, 0.4582086677},
	 {0.2490650375, 0.0051532467, 0.1637858295, 0.1857417261, 0.0561941211, 0}};

/* ---- dense ---- */

static void
weights_match_numpy(void **state)
{
	BrSparse matrix = sparse_of(events[0], 12, N);
	BrSparse extra = sparse_of(side[0], 2, N);
	BrEaseOptions options = {.lambda = 2.5, .depth = N, .least = -INFINITY};
	BrLists lists;

	(void) state;
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_OK);
	assert_lists(&lists, plain, -INFINITY);
	assert_int_equal(lists.starts[4], lists.starts[5]);
	br_learn_lists_free(&context, &lists);

	options.extra = &extra;
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_OK);
	assert_lists(&lists, plain, -INFINITY);
	br_learn_lists_free(&context, &lists);

	options.extra_weight = 0.75;
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_OK);
	assert_lists(&lists, with_side, -INFINITY);
	br_learn_lists_free(&context, &lists);

	options.least = 0;
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_OK);
	assert_lists(&lists, with_side, 0);
	br_learn_lists_free(&context, &lists);

	options.depth = 2;
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_OK);
	assert_int_equal(lists.starts[N], 2 * N);
	assert_int_equal(lists.ids[0], 1);
	assert_int_equal(lists.ids[1], 3);
	br_learn_lists_free(&context, &lists);
	br_learn_sparse_free(&context, &matrix);
	br_learn_sparse_free(&context, &extra);
}

/* Without values each entry is 1: of two rows {0, 1}, G is 2 everywhere. */
static void
values_are_one_if_there_are_none(void **state)
{
	int64_t starts[] = {0, 2, 4};
	int32_t ids[] = {0, 1, 0, 1};
	BrSparse matrix = {2, 2, starts, ids, NULL};
	BrEaseOptions options = {.lambda = 1, .depth = 1};
	BrLists lists;

	(void) state;
	/* the regression on one column: 2 / (2 + 1) */
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_OK);
	assert_near(listed(&lists, 0, 1), 2.0 / 3, 1e-7);
	assert_near(listed(&lists, 1, 0), 2.0 / 3, 1e-7);
	br_learn_lists_free(&context, &lists);
}

static void
matrices_without_anything_have_no_lists(void **state)
{
	static const int shapes[][2] = {{0, 0}, {0, 3}, {3, 0}, {2, 3}, {1, 1}};
	static const int values[6] = {0};
	BrEaseOptions options = {.lambda = 1, .depth = 5};
	BrEaseLocalOptions local = {.lambda = 1, .neighbours = 5};

	(void) state;
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
	{
		int columns = shapes[s][1];
		int one = columns == 1;
		BrSparse matrix = sparse_of(one ? &one : values, shapes[s][0], columns);
		BrSparse weights;
		BrLists lists;

		assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_OK);
		assert_int_equal(lists.n, columns);
		assert_int_equal(lists.starts[columns], 0);
		br_learn_lists_free(&context, &lists);

		assert_int_equal(br_learn_ease_local(&context, &matrix, NULL, 0, &local, &weights), BR_OK);
		assert_int_equal(weights.rows, columns);
		assert_int_equal(weights.starts[columns], 0);
		assert_int_equal(br_learn_ease_lists(&context, &weights, 5, 0, &lists), BR_OK);
		assert_int_equal(lists.starts[columns], 0);
		br_learn_lists_free(&context, &lists);
		br_learn_sparse_free(&context, &weights);
		br_learn_sparse_free(&context, &matrix);
	}
}

static void
memory_is_said_and_limited(void **state)
{
	BrSparse matrix = sparse_of(events[0], 12, N);
	size_t needed = br_learn_ease_memory(N);
	BrEaseOptions options = {.lambda = 2.5, .depth = 1, .memory_limit = needed};
	char figure[40];
	BrLists lists;

	(void) state;
	assert_true(br_learn_ease_memory(20000) > (size_t) 8 * 20000 * 20000);
	assert_true(br_learn_ease_memory(20000) < (size_t) 8 * 20000 * 20400);
	assert_true(br_learn_ease_memory(INT32_MAX) == SIZE_MAX);
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_OK);
	br_learn_lists_free(&context, &lists);
	options.memory_limit--;
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_ERR_LIMIT);
	snprintf(figure, sizeof(figure), " %zu bytes", needed);
	assert_non_null(strstr(context.detail, figure));
	br_learn_sparse_free(&context, &matrix);
}

static void
arguments_are_checked(void **state)
{
	static const double bad[] = {0, -1, NAN, INFINITY};
	BrSparse matrix = sparse_of(events[0], 12, N);
	BrSparse narrow = sparse_of(side[0], 2, N - 1);
	BrEaseOptions good = {.lambda = 1, .depth = 1};
	BrEaseOptions options = good;
	BrEaseLocalOptions local = {.lambda = 1, .neighbours = 1};
	BrSparse weights;
	BrLists lists;

	(void) state;
	for (int i = 0; i < 4; i++)
	{
		options.lambda = local.lambda = bad[i];
		assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_ERR_ARGUMENT);
		assert_non_null(strstr(context.detail, "lambda"));
		assert_int_equal(br_learn_ease_local(&context, &matrix, NULL, 0, &local, &weights),
						 BR_ERR_ARGUMENT);
	}
	options = good;
	options.extra = &matrix;
	for (int i = 1; i < 4; i++)
	{
		options.extra_weight = bad[i];
		assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_ERR_ARGUMENT);
	}
	options = good;
	options.extra = &narrow;
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_ERR_ARGUMENT);
	options = good;
	options.depth = 0;
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_ERR_ARGUMENT);
	options = good;
	options.least = NAN;
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_ERR_ARGUMENT);
	local.lambda = 1;
	for (int i = 0; i < 2; i++)
	{
		static const int32_t targets[2][2] = {{1, 1}, {2, N}};

		local.neighbours = i * (BR_EASE_MAX_NEIGHBOURS + 1);
		assert_int_equal(br_learn_ease_local(&context, &matrix, NULL, 0, &local, &weights),
						 BR_ERR_ARGUMENT);
		local.neighbours = 1;
		assert_int_equal(br_learn_ease_local(&context, &matrix, targets[i], 2, &local, &weights),
						 BR_ERR_ARGUMENT);
	}
	assert_int_equal(br_learn_ease_lists(&context, &matrix, 1, 0, &lists), BR_ERR_ARGUMENT);
	matrix.values[3] = NAN;
	assert_int_equal(br_learn_ease(&context, &matrix, &good, &lists), BR_ERR_ARGUMENT);
	assert_int_equal(br_learn_ease_local(&context, &matrix, NULL, 0, &local, &weights),
					 BR_ERR_ARGUMENT);
	br_learn_sparse_free(&context, &matrix);
	br_learn_sparse_free(&context, &narrow);
}

/* Two columns that are the same, and a lambda that is lost in rounding beside them. */
static void
too_small_a_lambda_is_an_error(void **state)
{
	static const int same[2][3] = {{3, 3, 1}, {1, 1, 2}};
	BrSparse matrix = sparse_of(same[0], 2, 3);
	BrEaseOptions options = {.lambda = 1e-18, .depth = 1};
	BrEaseLocalOptions local = {.lambda = 1e-18, .neighbours = 2};
	BrSparse weights;
	BrLists lists;

	(void) state;
	assert_int_equal(br_learn_ease(&context, &matrix, &options, &lists), BR_ERR_NUMERIC);
	assert_int_equal(br_learn_ease_local(&context, &matrix, NULL, 0, &local, &weights),
					 BR_ERR_NUMERIC);
	br_learn_sparse_free(&context, &matrix);
}

/* ---- memory, cancellation, progress ---- */

/* Everything, in one go. */
static BrStatus
learn_all(const BrSparse *matrix, const BrProgress *progress)
{
	BrEaseOptions options = {.lambda = 2.5,
							 .depth = 3,
							 .extra = matrix,
							 .extra_weight = 1,
							 .progress = progress};
	BrEaseLocalOptions local = {.lambda = 2.5,
								.neighbours = 3,
								.extra = matrix,
								.extra_weight = 1,
								.progress = progress};
	static const int32_t first = 0;
	BrSparse fresh = {0};
	BrSparse weights = {0};
	BrLists lists;
	BrStatus status = br_learn_ease(&context, matrix, &options, &lists);

	br_learn_lists_free(&context, &lists);
	if (status == BR_OK)
		status = br_learn_ease_local(&context, matrix, NULL, 0, &local, &weights);
	if (status == BR_OK)
		status = br_learn_ease_local(&context, matrix, &first, 1, &local, &fresh);
	if (status == BR_OK)
		status = br_learn_ease_replace(&context, &weights, &first, &fresh);
	if (status == BR_OK)
		status = br_learn_ease_lists(&context, &weights, 3, 0, &lists);
	br_learn_lists_free(&context, &lists);
	br_learn_sparse_free(&context, &weights);
	br_learn_sparse_free(&context, &fresh);
	return status;
}

static void
lack_of_memory_leaves_nothing(void **state)
{
	BrSparse matrix = sparse_of(events[0], 12, N);
	int held = ledger.outstanding;
	int allowed = 0;
	BrStatus status;

	(void) state;
	do
	{
		ledger.allowed = allowed++;
		status = learn_all(&matrix, NULL);
		assert_true(status == BR_OK || status == BR_ERR_MEMORY);
		assert_int_equal(ledger.outstanding, held);
	} while (status != BR_OK);
	assert_true(allowed > 60);
	br_learn_sparse_free(&context, &matrix);
}

typedef struct Countdown
{
	int left;
	int asked;
} Countdown;

static bool
countdown_is_over(void *arg)
{
	Countdown *countdown = arg;

	countdown->asked++;
	return countdown->left-- <= 0;
}

static void
cancel_leaves_nothing(void **state)
{
	BrSparse matrix = random_events(400, 300, 7);
	Countdown countdown;
	int held = ledger.outstanding;
	int left = 0;
	BrStatus status;

	(void) state;
	context.cancel = (BrCancel){countdown_is_over, &countdown};
	do
	{
		countdown = (Countdown){left, 0};
		left += left < 40 ? 1 : 37;
		status = learn_all(&matrix, NULL);
		assert_true(status == BR_OK || status == BR_ERR_CANCELLED);
		assert_int_equal(ledger.outstanding, held);
		if (status == BR_ERR_CANCELLED)
			assert_int_equal(countdown.left, -1);
	} while (status != BR_OK);
	assert_true(countdown.asked > 100);
	br_learn_sparse_free(&context, &matrix);
}

static void
note_progress(void *arg, int64_t done, int64_t total)
{
	double *last = arg;
	double share = (double) done / (double) total;

	assert_true(share >= *last || *last == 1);
	assert_true(share >= 0 && share <= 1);
	*last = share;
}

static void
progress_rises_to_the_total(void **state)
{
	BrSparse matrix = random_events(400, 300, 7);
	double last = 0;
	BrProgress progress = {note_progress, &last};

	(void) state;
	assert_int_equal(learn_all(&matrix, &progress), BR_OK);
	assert_true(last == 1);
	br_learn_sparse_free(&context, &matrix);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		EASE_TEST(weights_match_numpy),
		EASE_TEST(values_are_one_if_there_are_none),
		EASE_TEST(matrices_without_anything_have_no_lists),
		EASE_TEST(memory_is_said_and_limited),
		EASE_TEST(arguments_are_checked),
		EASE_TEST(too_small_a_lambda_is_an_error),
		EASE_TEST(lack_of_memory_leaves_nothing),
		EASE_TEST(cancel_leaves_nothing),
		EASE_TEST(progress_rises_to_the_total),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
