/*
 * test_learn_association.c
 *	  Log-linear associations: optimum, lists, scores and limits.
 *
 * Optima are SciPy's and NumPy's, whose lines stand above the values.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/learn/br_learn.h"
#include "unit/association_fixture.h"

/* NaN is near nothing */
#define assert_near(value, expected, tolerance) \
	assert_true(fabs((value) - (expected)) <= (tolerance))

/* ---- a counting allocator and a clock ---- */

typedef struct Ledger
{
	int allowed; /* allocations before the first refusal; -1: all */
	int live;
} Ledger;

static void *
ledger_alloc(void *arg, size_t size)
{
	Ledger *ledger = arg;

	if (ledger->allowed == 0)
		return NULL;
	if (ledger->allowed > 0)
		ledger->allowed--;
	ledger->live++;
	return malloc(size);
}

static void
ledger_free(void *arg, void *pointer)
{
	Ledger *ledger = arg;

	if (pointer != NULL)
		ledger->live--;
	free(pointer);
}

static bool
count_down(void *arg)
{
	int *left = arg;

	return (*left)-- <= 0;
}

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
}

typedef struct Watch
{
	double last;
	double longest;
	int left;
} Watch;

static bool
watched(void *arg)
{
	Watch *watch = arg;
	double now = seconds();

	if (now - watch->last > watch->longest)
		watch->longest = now - watch->last;
	watch->last = now;
	return watch->left-- <= 0;
}

/* ---- the fit ---- */

static void
fit(const AssociationMatrix *matrix, const BrAssociationOptions *options, BrLists *lists,
	float **bias)
{
	BrContext context;

	br_base_context_init(&context);
	assert_int_equal(br_learn_association(&context, &matrix->sparse, options, lists, bias), BR_OK);
}

static void
discard(BrLists *lists, float *bias)
{
	BrContext context;

	br_base_context_init(&context);
	br_learn_lists_free(&context, lists);
	br_base_free(&context, bias);
}

static double
listed(const BrLists *lists, int from, int to)
{
	for (int64_t i = lists->starts[from]; i < lists->starts[from + 1]; i++)
		if (lists->ids[i] == to)
			return lists->weights[i];
	return 0;
}

typedef struct Optimum
{
	BrAssociationOptions options;
	double weights[8]; /* of the pairs below */
	double bias[5];
} Optimum;

/*
 * SciPy 1.17.1, the loss written out (b0 the logarithms, P the pairs, ix = 0, 1, 2, 4):
 *
 *	rows = [[0,1]]*4+[[1,2]]*3+[[0,1,2]]*2+[[0]]*5+[[2]]+[[0,2]]+[[2,4]]
 *	def f(x):
 *		W = np.zeros((5, 5)); b = np.full(5, -np.inf); b[ix] = x[len(P):]
 *		for k, (i, j) in enumerate(P): W[i, j] = x[k]
 *		v = l2/2*(x[:len(P)]**2).sum() + l2/20*((b[ix]-b0[ix])**2).sum()
 *		for R in rows:
 *			for j in R:
 *				H = [i for i in R if i != j]
 *				s = b + (W[H].sum(0)/len(H)**damping if H else 0)
 *				c = [k for k in ix if k not in H]
 *				v -= len(R)**-row_damping*(s[j]-np.log(np.exp(s[c]).sum()))
 *		return v
 *	minimize(f, np.concatenate([np.zeros(len(P)), b0[ix]]), method='BFGS',
 *			 options=dict(gtol=1e-7, maxiter=5000))
 *
 * Column 3 is in no row: the smallest bias of the others.
 */
static const int optimum_pairs[8][2] = {{0, 1}, {0, 2}, {1, 0}, {1, 2},
										{2, 0}, {2, 1}, {2, 4}, {4, 2}};
static const Optimum optima[] = {
	{{.l2 = 0.3, .damping = 0.25, .least_together = 1, .iterations = 1000, .depth = 5},
	 {1.398922, -0.632646, 0.199642, 0.832535, -1.751076, 0.731047, 1.020031, 1.432648},
	 {3.623599, 1.644603, 2.603097, -0.548757, -0.548757}},
	{{.l2 = 1,
	  .damping = 0.5,
	  .row_damping = 1,
	  .least_together = 1,
	  .iterations = 1000,
	  .depth = 5},
	 {0.526132, -0.34642, -0.162318, 0.310322, -0.766482, 0.447589, 0.318893, 0.357281},
	 {3.317906, 1.925006, 2.264809, -0.185168, -0.185168}},
	{{.l2 = 0.3, .damping = 0.25, .least_together = 2, .iterations = 1000, .depth = 5},
	 {1.575014, -0.635748, 0.321597, 0.765829, -1.979102, 0.499806, 0, 0},
	 {3.430539, 1.454487, 2.632565, -0.19504, -0.19504}},
};

static void
optimum_is_scipys(void **state)
{
	AssociationMatrix *matrix = association_small_matrix();

	(void) state;
	for (size_t i = 0; i < sizeof(optima) / sizeof(optima[0]); i++)
	{
		BrLists lists;
		float *bias;

		fit(matrix, &optima[i].options, &lists, &bias);
		for (int pair = 0; pair < 8; pair++)
			assert_near(listed(&lists, optimum_pairs[pair][0], optimum_pairs[pair][1]),
						optima[i].weights[pair], 1e-3);
		for (int column = 0; column < 5; column++)
			assert_near(bias[column], optima[i].bias[column], 1e-3);
		assert_int_equal(lists.starts[5], i == 2 ? 6 : 8);
		assert_int_equal(lists.starts[4] - lists.starts[3], 0);
		discard(&lists, bias);
	}
	free(matrix);
}

/*
 * Rows of two columns, the pair (i, j) times[i][j] times: with hardly any
 * regularisation the model is saturated, and P(j | i) is the share of j among
 * the rows of i.
 */
static void
shares_of_pairs_are_learned(void **state)
{
	static const int times[4][4] = {{0, 40, 10, 5}, {0, 0, 60, 20}, {0, 0, 0, 30}};
	BrAssociationOptions options = association_usual;
	AssociationMatrix *matrix = association_matrix(4);
	BrLists lists;
	float *bias;

	(void) state;
	for (int i = 0; i < 4; i++)
		for (int j = i + 1; j < 4; j++)
			ROW(matrix, times[i][j], i, j);
	options.l2 = 1e-3;
	fit(matrix, &options, &lists, &bias);
	for (int32_t i = 0; i < 4; i++)
	{
		float scores[4];
		double sum = 0;
		double rows = 0;

		br_learn_association_scores(&lists, bias, &i, 1, options.damping, scores);
		for (int j = 0; j < 4; j++)
		{
			rows += times[i][j] + times[j][i];
			sum += j == i ? 0 : exp((double) scores[j]);
		}
		for (int j = 0; j < 4; j++)
			if (j != i)
				assert_near(exp((double) scores[j]) / sum, (times[i][j] + times[j][i]) / rows,
							1e-3);
	}
	discard(&lists, bias);
	free(matrix);
}

/*
 * Ten groups of four columns; a row is three of a group and any one column. The
 * three that go with a column are the first three of its list.
 */
static void
planted_groups_are_found(void **state)
{
	AssociationMatrix *matrix = association_matrix(40);
	BrRandom random;
	BrLists lists;
	float *bias;

	(void) state;
	br_base_random_init(&random, 11, 0);
	for (int row = 0; row < 3000; row++)
	{
		int group = (int) br_base_random_below(&random, 10);
		int without = (int) br_base_random_below(&random, 4);
		int any = (int) br_base_random_below(&random, 40);
		int32_t ids[5];
		int n = 0;

		for (int column = 0; column < 40; column++)
			if (column == any || (column / 4 == group && column % 4 != without))
				ids[n++] = column;
		ids[n] = -1;
		association_add_row(matrix, 1, ids);
	}
	fit(matrix, &association_usual, &lists, &bias);
	for (int column = 0; column < 40; column++)
	{
		assert_true(lists.starts[column + 1] - lists.starts[column] > 3);
		for (int64_t i = lists.starts[column]; i < lists.starts[column] + 3; i++)
		{
			assert_int_equal(lists.ids[i] / 4, column / 4);
			assert_true(lists.weights[i] > 0);
		}
	}
	discard(&lists, bias);
	free(matrix);
}

/* b + n^-damping times the sum, by hand */
static void
scores_follow_the_formula(void **state)
{
	int64_t starts[] = {0, 2, 3, 3};
	int32_t ids[] = {1, 2, 2};
	float weights[] = {3, -2, 5};
	float bias[] = {0.5f, -1, 0.25f};
	BrLists lists = {3, starts, ids, weights};
	int32_t history[] = {1, 0, 2};
	float scores[3];

	(void) state;
	br_learn_association_scores(&lists, bias, history, 0, 0.25, scores);
	assert_memory_equal(scores, bias, sizeof(bias));
	br_learn_association_scores(&lists, bias, history, 2, 0.5, scores);
	assert_near(scores[0], 0.5, 1e-6);
	assert_near(scores[1], -1 + 3 / sqrt(2), 1e-6);
	assert_near(scores[2], 0.25 + 3 / sqrt(2), 1e-6);
	/* what has no list counts as part of the history all the same */
	br_learn_association_scores(&lists, bias, history, 3, 1, scores);
	assert_near(scores[1], 0, 1e-6);
	br_learn_association_scores(&lists, bias, history, 3, 0, scores);
	assert_near(scores[2], 3.25, 1e-6);
}

/* Of SciPy's weights of column 2, -1.75, .73 and 1.02, the two of the largest magnitude. */
static void
depth_keeps_the_largest_magnitudes(void **state)
{
	BrAssociationOptions options = association_usual;
	AssociationMatrix *matrix = association_small_matrix();
	BrLists lists;
	float *bias;
	int64_t start;

	(void) state;
	options.depth = 2;
	fit(matrix, &options, &lists, &bias);
	start = lists.starts[2];
	assert_int_equal(lists.starts[3] - start, 2);
	assert_int_equal(lists.ids[start], 4);
	assert_int_equal(lists.ids[start + 1], 0);
	discard(&lists, bias);
	free(matrix);
}

/* ---- limits ---- */

static void
empty_matrices_give_empty_lists(void **state)
{
	AssociationMatrix *nothing = association_matrix(0);
	AssociationMatrix *columns = association_matrix(3);
	AssociationMatrix *one_row = association_matrix(2);
	AssociationMatrix *one_column = association_matrix(1);
	BrLists lists;
	float *bias;

	(void) state;
	fit(nothing, &association_usual, &lists, &bias);
	assert_int_equal(lists.n, 0);
	discard(&lists, bias);

	fit(columns, &association_usual, &lists, &bias);
	assert_int_equal(lists.starts[3], 0);
	assert_true(bias[0] == 0 && bias[1] == 0 && bias[2] == 0);
	discard(&lists, bias);

	/* each of the two is the only candidate where the other is known */
	ROW(one_row, 1, 0, 1);
	fit(one_row, &association_usual, &lists, &bias);
	assert_int_equal(lists.n, 2);
	assert_near(bias[0], log(1.5), 1e-6);
	assert_near(bias[1], log(1.5), 1e-6);
	assert_near(listed(&lists, 0, 1), 0, 1e-6);
	discard(&lists, bias);

	ROW(one_column, 7, 0);
	fit(one_column, &association_usual, &lists, &bias);
	assert_int_equal(lists.starts[1], 0);
	assert_near(bias[0], log(7.5), 1e-6);
	discard(&lists, bias);
	free(nothing);
	free(columns);
	free(one_row);
	free(one_column);
}

static void
expect_refusal(const AssociationMatrix *matrix, const BrAssociationOptions *options,
			   const char *hint)
{
	BrContext context;
	BrLists lists;
	float *bias;

	br_base_context_init(&context);
	assert_int_equal(br_learn_association(&context, &matrix->sparse, options, &lists, &bias),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, hint));
	assert_null(lists.ids);
	assert_null(bias);
}

static void
bad_input_is_refused(void **state)
{
	static const double no_l2[] = {0, -1, NAN, INFINITY};
	static const double no_damping[] = {-0.1, 1.1, NAN, INFINITY};
	AssociationMatrix *matrix = association_small_matrix();
	BrAssociationOptions options;

	(void) state;
	for (int i = 0; i < 4; i++)
	{
		options = association_usual;
		options.l2 = no_l2[i];
		expect_refusal(matrix, &options, "regularised");
		options = association_usual;
		options.damping = no_damping[i];
		expect_refusal(matrix, &options, "The damping");
		options = association_usual;
		options.row_damping = no_damping[i];
		expect_refusal(matrix, &options, "The row damping");
	}
	options = association_usual;
	options.iterations = 0;
	expect_refusal(matrix, &options, "not 0, 1000 and 1");
	options = association_usual;
	options.depth = 0;
	expect_refusal(matrix, &options, "not 1000, 0 and 1");
	options = association_usual;
	options.least_together = 0;
	expect_refusal(matrix, &options, "1000 and 0");
	matrix->ids[1] = 5;
	expect_refusal(matrix, &association_usual, "Row 0 has column 5");
	free(matrix);
}

/* 8 pairs: one byte less than they take is too little. */
static void
memory_limit_is_kept(void **state)
{
	AssociationMatrix *matrix = association_small_matrix();
	BrAssociationOptions options = association_usual;
	BrContext context;
	BrLists lists;
	float *bias;

	(void) state;
	br_base_context_init(&context);
	assert_true(br_learn_association_memory(5, INT64_MAX) == SIZE_MAX);
	assert_true(br_learn_association_memory(5, 9) > br_learn_association_memory(5, 8));
	options.memory_limit = br_learn_association_memory(5, 8);
	fit(matrix, &options, &lists, &bias);
	discard(&lists, bias);
	options.memory_limit--;
	assert_int_equal(br_learn_association(&context, &matrix->sparse, &options, &lists, &bias),
					 BR_ERR_LIMIT);
	assert_non_null(strstr(context.detail, "8 pairs of 5 columns"));
	assert_null(bias);
	/* 6 pairs are in two rows and more */
	options.least_together = 2;
	fit(matrix, &options, &lists, &bias);
	discard(&lists, bias);
	free(matrix);
}

static void
cancelled_and_starved_fits_leave_nothing(void **state)
{
	AssociationMatrix *matrix = association_small_matrix();
	BrStatus status = BR_ERR_MEMORY;
	BrContext context;
	Ledger ledger;
	BrLists lists;
	float *bias;
	int stops;

	(void) state;
	for (stops = 0; status == BR_ERR_MEMORY; stops++)
	{
		ledger = (Ledger){.allowed = stops};
		br_base_context_init(&context);
		context.allocator = (BrAllocator){ledger_alloc, ledger_free, &ledger};
		status = br_learn_association(&context, &matrix->sparse, &association_usual, &lists, &bias);
		if (status != BR_OK)
			assert_true(ledger.live == 0 && bias == NULL && lists.ids == NULL);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 30);
	br_learn_lists_free(&context, &lists);
	br_base_free(&context, bias);
	assert_int_equal(ledger.live, 0);

	status = BR_ERR_CANCELLED;
	for (stops = 0; status == BR_ERR_CANCELLED; stops++)
	{
		int left = stops;

		ledger = (Ledger){.allowed = -1};
		br_base_context_init(&context);
		context.allocator = (BrAllocator){ledger_alloc, ledger_free, &ledger};
		context.cancel = (BrCancel){count_down, &left};
		status = br_learn_association(&context, &matrix->sparse, &association_usual, &lists, &bias);
		if (status != BR_OK)
			assert_true(ledger.live == 0 && bias == NULL && lists.ids == NULL);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 10);
	br_learn_lists_free(&context, &lists);
	br_base_free(&context, bias);
	free(matrix);
}

/*
 * 2,000 rows of 50 among 1,000 columns: one evaluation of the loss alone takes
 * longer than a tenth of a second, and is stopped in its midst.
 */
static void
cancel_is_asked_often(void **state)
{
	AssociationMatrix *matrix = association_matrix(1000);
	Watch watch = {.left = 40};
	BrContext context;
	BrRandom random;
	BrLists lists;
	float *bias;

	(void) state;
	br_base_context_init(&context);
	br_base_random_init(&random, 6, 0);
	for (int row = 0; row < 2000; row++)
	{
		int32_t ids[51];

		for (int i = 0; i < 50; i++)
			ids[i] = i * 20 + (int32_t) br_base_random_below(&random, 20);
		ids[50] = -1;
		association_add_row(matrix, 1, ids);
	}
	watch.last = seconds();
	context.cancel = (BrCancel){watched, &watch};
	assert_int_equal(br_learn_association(&context, &matrix->sparse, &association_usual, &lists,
										  &bias),
					 BR_ERR_CANCELLED);
	watched(&watch);
	assert_true(watch.longest < 0.1);
	free(matrix);
}

static void
count_report(void *arg, int64_t done, int64_t total)
{
	int64_t *last = arg;

	assert_true(done >= *last && done <= total && total == 1000);
	*last = done;
}

static void
progress_ends_at_the_total(void **state)
{
	AssociationMatrix *matrix = association_small_matrix();
	int64_t last = 0;
	BrProgress progress = {count_report, &last};
	BrAssociationOptions options = association_usual;
	BrLists lists;
	float *bias;

	(void) state;
	options.progress = &progress;
	fit(matrix, &options, &lists, &bias);
	assert_int_equal(last, 1000);
	discard(&lists, bias);
	free(matrix);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(optimum_is_scipys),
		cmocka_unit_test(shares_of_pairs_are_learned),
		cmocka_unit_test(planted_groups_are_found),
		cmocka_unit_test(scores_follow_the_formula),
		cmocka_unit_test(depth_keeps_the_largest_magnitudes),
		cmocka_unit_test(empty_matrices_give_empty_lists),
		cmocka_unit_test(bad_input_is_refused),
		cmocka_unit_test(memory_limit_is_kept),
		cmocka_unit_test(cancelled_and_starved_fits_leave_nothing),
		cmocka_unit_test(cancel_is_asked_often),
		cmocka_unit_test(progress_ends_at_the_total),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
