/*
 * test_learn.c
 *	  Sparse matrices, lists, companions, weights of terms and the ranker: by
 *	  hand, by brute force, and beside NumPy and SciPy.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/learn/ease_int.h"

static void
assert_near(double have, double want, double tolerance)
{
	if (!(fabs(have - want) <= tolerance))
		fail_msg("%.17g is not %.17g", have, want);
}

/* ---- memory that runs out, and calls that are cancelled ---- */

typedef struct Heap
{
	int64_t live; /* blocks that were handed out and not given back */
	int left;	  /* requests that still succeed; below 0: all do */
	int asked;	  /* how often whether to stop was asked */
	int stop_at;  /* the question that is answered with yes; 0: none */
} Heap;

static void *
heap_alloc(void *arg, size_t size)
{
	Heap *heap = arg;

	if (heap->left == 0)
		return NULL;
	heap->left -= heap->left > 0;
	heap->live++;
	return malloc(size);
}

static void
heap_free(void *arg, void *pointer)
{
	if (pointer != NULL)
		((Heap *) arg)->live--;
	free(pointer);
}

static bool
heap_cancelled(void *arg)
{
	Heap *heap = arg;

	return ++heap->asked == heap->stop_at;
}

static BrContext
context_over(Heap *heap)
{
	BrContext context;

	br_base_context_init(&context);
	context.allocator = (BrAllocator){heap_alloc, heap_free, heap};
	context.cancel = (BrCancel){heap_cancelled, heap};
	return context;
}

/* ---- matrices ---- */

static void
entries_become_rows(void **state)
{
	BrEntry entries[] = {{1, 2, 1}, {0, 1, 2},	{1, 0, 3}, {1, 2, 4},
						 {2, 1, 1}, {2, 1, -1}, {0, 3, -2}};
	const int64_t starts[] = {0, 1, 3, 3};
	const int32_t ids[] = {1, 0, 2};
	const float values[] = {2, 3, 5};
	const int64_t turned_starts[] = {0, 1, 2, 3, 3};
	const int32_t turned_ids[] = {1, 0, 1};
	const float turned_values[] = {3, 2, 5};
	BrSparse matrix, turned;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_sparse_build(&context, entries, 7, 3, 4, &matrix), BR_OK);
	assert_int_equal(br_learn_sparse_check(&context, &matrix), BR_OK);
	assert_memory_equal(matrix.starts, starts, sizeof(starts));
	assert_memory_equal(matrix.ids, ids, sizeof(ids));
	assert_memory_equal(matrix.values, values, sizeof(values));
	assert_int_equal(br_learn_sparse_transpose(&context, &matrix, &turned), BR_OK);
	assert_int_equal(turned.rows, 4);
	assert_int_equal(turned.columns, 3);
	assert_memory_equal(turned.starts, turned_starts, sizeof(turned_starts));
	assert_memory_equal(turned.ids, turned_ids, sizeof(turned_ids));
	assert_memory_equal(turned.values, turned_values, sizeof(turned_values));
	matrix.ids[2] = 0;
	assert_int_equal(br_learn_sparse_check(&context, &matrix), BR_ERR_ARGUMENT);
	matrix.ids[2] = 2;
	matrix.values[0] = NAN;
	assert_int_equal(br_learn_sparse_check(&context, &matrix), BR_ERR_ARGUMENT);
	br_learn_sparse_free(&context, &matrix);
	br_learn_sparse_free(&context, &turned);
	entries[0].column = 4;
	assert_int_equal(br_learn_sparse_build(&context, entries, 1, 3, 4, &matrix), BR_ERR_ARGUMENT);
	assert_int_equal(br_learn_sparse_build(&context, NULL, 0, 0, 0, &matrix), BR_OK);
	assert_int_equal(matrix.starts[0], 0);
	br_learn_sparse_free(&context, &matrix);
}

/* 2^24 + 1 + 1 is a float, but 2^24 + 1 is not */
static void
sums_do_not_depend_on_the_order(void **state)
{
	BrEntry orders[][3] = {{{0, 0, 0x1p24f}, {0, 0, 1}, {0, 0, 1}},
						   {{0, 0, 1}, {0, 0, 0x1p24f}, {0, 0, 1}},
						   {{0, 0, 1}, {0, 0, 1}, {0, 0, 0x1p24f}}};
	BrEntry too_much[] = {{0, 0, 3e38f}, {0, 0, 3e38f}};
	Heap heap = {.left = -1};
	BrContext context = context_over(&heap);
	BrSparse matrix;

	(void) state;
	for (int order = 0; order < 3; order++)
	{
		assert_int_equal(br_learn_sparse_build(&context, orders[order], 3, 1, 1, &matrix), BR_OK);
		assert_true(matrix.values[0] == 16777218);
		br_learn_sparse_free(&context, &matrix);
	}
	assert_int_equal(br_learn_sparse_build(&context, too_much, 2, 1, 1, &matrix), BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, "The sum at row 0 and column 0 is out of range.");
	assert_true(heap.live == 0);
}

/* ---- lists ---- */

/* each list against all others sorted, for many lengths and depths */
static void
lists_hold_the_strongest(void **state)
{
	enum
	{
		COLUMNS = 60,
		LISTS = 40
	};
	float weights[LISTS][COLUMNS];
	BrListBuilder *builder;
	BrContext context;
	BrRandom random;
	BrLists lists;

	(void) state;
	br_base_context_init(&context);
	br_base_random_init(&random, 1, 1);
	assert_int_equal(br_learn_lists_begin(&context, LISTS + 1, 7, &builder), BR_OK);
	for (int l = 0; l < LISTS; l++)
	{
		/* few values, so that there are ties */
		for (int c = 0; c < COLUMNS; c++)
			weights[l][c] = (float) br_base_random_below(&random, 12) - 3;
		assert_int_equal(br_learn_lists_add(builder, weights[l], COLUMNS, l, 0), BR_OK);
	}
	assert_int_equal(br_learn_lists_end(builder, &lists), BR_OK);
	assert_int_equal(lists.n, LISTS + 1);
	assert_true(lists.starts[LISTS + 1] == lists.starts[LISTS]);
	for (int l = 0; l < LISTS; l++)
	{
		int64_t n = lists.starts[l + 1] - lists.starts[l];

		assert_int_equal(n, 7);
		for (int64_t i = lists.starts[l]; i < lists.starts[l + 1]; i++)
		{
			int before = 0;

			assert_true(lists.weights[i] == weights[l][lists.ids[i]]);
			for (int c = 0; c < COLUMNS; c++)
				before += c != l &&
					(weights[l][c] > lists.weights[i] ||
					 (weights[l][c] == lists.weights[i] && c < lists.ids[i]));
			assert_int_equal(before, i - lists.starts[l]);
		}
	}
	br_learn_lists_free(&context, &lists);
}

/* ---- companions ---- */

static const int64_t row_starts[] = {0, 3, 5, 7, 8, 13};
static const int32_t row_ids[] = {0, 1, 2, 0, 1, 1, 2, 3, 0, 1, 2, 3, 4};

static BrSparse
small_rows(void)
{
	return (BrSparse){5, 5, (int64_t *) row_starts, (int32_t *) row_ids, NULL};
}

/*
 * Columns 0 to 4 stand in 3, 4, 3, 2 and 1 rows; 0 and 1 share 3 of them, 1 and
 * 2 also 3, 0 and 2 two. The last row is larger than four, and pairs nothing where
 * that is the limit.
 */
static void
companions_match_hand_counts(void **state)
{
	BrCompanionOptions options = {BR_COMPANION_CONFIDENCE, 0, 2, 10, NULL};
	BrSparse rows = small_rows();
	BrContext context;
	BrLists lists;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_companions(&context, &rows, &options, &lists), BR_OK);
	assert_int_equal(lists.ids[lists.starts[1]], 0);
	assert_int_equal(lists.ids[lists.starts[1] + 1], 2);
	assert_near(lists.weights[lists.starts[1]], 0.75, 1e-7);
	assert_int_equal(lists.ids[lists.starts[0] + 1], 2);
	assert_near(lists.weights[lists.starts[0] + 1], 2 / 3.0, 1e-7);
	br_learn_lists_free(&context, &lists);

	options = (BrCompanionOptions){BR_COMPANION_SHRUNK_COSINE, 5, 9, 4, NULL};
	assert_int_equal(br_learn_companions(&context, &rows, &options, &lists), BR_OK);
	/* without the last row 0 and 1 share 2; all rows count for what each has alone */
	assert_near(lists.weights[lists.starts[0]], 2 / sqrt(12) * 2 / 7, 1e-7);
	assert_true(lists.starts[4] == lists.starts[3]);
	br_learn_lists_free(&context, &lists);
	options.shrinkage = -1;
	assert_int_equal(br_learn_companions(&context, &rows, &options, &lists), BR_ERR_ARGUMENT);
	options.shrinkage = 0;
	rows.columns = 4;
	assert_int_equal(br_learn_companions(&context, &rows, &options, &lists), BR_ERR_ARGUMENT);
}

/* ---- terms ---- */

/*
 * NumPy: X binary (5, 6), A_ij the sum over sets of 1 / (m - 1); pos =
 * (X * (A @ X)).sum(0), ex = A.sum(1) @ X * df / 5, prior by
 * floor(2 log2 df) of (sum pos + .5) / (sum ex + .5);
 * log(maximum((pos + .3 prior) / (ex + .3), 1.05))
 */
static void
term_weights_match_numpy(void **state)
{
	static const int64_t text_starts[] = {0, 3, 5, 8, 10, 13};
	static const int32_t text_ids[] = {0, 1, 2, 0, 3, 1, 3, 4, 2, 4, 0, 4, 5};
	static const int64_t set_starts[] = {0, 2, 5, 7, 9};
	static const int32_t set_ids[] = {0, 1, 2, 3, 4, 0, 4, 1, 2};
	static const double expected[] = {0.10156133, 0.04879016, 0.04879016,
									  0.12503677, 0.04879016, 0.04879016};
	BrSparse texts = {5, 6, (int64_t *) text_starts, (int32_t *) text_ids, NULL};
	BrSparse sets = {4, 5, (int64_t *) set_starts, (int32_t *) set_ids, NULL};
	BrSparse none = {0, 5, (int64_t *) set_starts, NULL, NULL};
	BrSparse beyond = {1, 5, (int64_t[]){0, 2}, (int32_t[]){0, 5}, NULL};
	float weights[6];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_term_weights(&context, &texts, &sets, 0.3, weights), BR_OK);
	for (int t = 0; t < 6; t++)
		assert_near(weights[t], expected[t], 1e-6);
	/* no sets: ln(6 / 4) + 1 of what three of five texts have */
	assert_int_equal(br_learn_term_weights(&context, &texts, &none, 0.3, weights), BR_OK);
	assert_near(weights[0], log(6 / 4.0) + 1, 1e-6);
	assert_int_equal(br_learn_term_weights(&context, &texts, &sets, 0, weights), BR_ERR_ARGUMENT);
	assert_int_equal(br_learn_term_weights(&context, &sets, &texts, 1, weights), BR_ERR_ARGUMENT);
	assert_int_equal(br_learn_term_weights(&context, &texts, &beyond, 1, weights), BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, "Row 0 has column 5, which is out of range or order.");
}

/* ---- the ranker ---- */

static const int64_t group_starts[] = {0, 3, 6, 9, 11, 12};
static const float group_values[] = {1,	  0,   0,	1,	 .5f, .5f, .2f, .1f, .9f, .3f, .1f, .8f,
									 .4f, .9f, .3f, .2f, .6f, .6f, .1f, .2f, .8f, .9f, .7f, .7f};
static const float group_weights[] = {1, 1, 2, 1, 1, 1, 1, 3, 1, 1, 1, 1};
/* the last group has nothing beside what was taken */
static const uint8_t group_taken[] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 1};

/*
 * scipy.optimize of the mean over the first four groups of
 * log(sum of taken exp(s)) - log(sum of w exp(s)) - l2 u'u, s = (v / sd) u, with
 * sd the weighted deviation around the groups' means: Nelder-Mead to 1e-12,
 * and L-BFGS-B with u_1 >= 0. Robust: of log(.1 q + .9 / sum w), from the optimum
 * at .675 on.
 */
static void
ranker_matches_scipy(void **state)
{
	static const struct
	{
		double l2;
		bool bounded;
		double robustness;
		double expected[2];
	} cases[] = {
		{0.01, false, 0, {3.72078199, -3.79020026}},   {0.01, true, 0, {2.37675962, 0}},
		{0.5, false, 0, {1.20767264, -0.99803044}},	   {0.5, true, 0, {1.19177167, 0}},
		{0.01, false, 0.9, {6.11124845, -0.05507561}},
	};
	static const bool bounds[] = {false, true};
	BrChoices choices = {5, 2, group_starts, group_values, group_weights, group_taken};
	BrContext context;
	double weights[2];

	(void) state;
	br_base_context_init(&context);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		BrRankerOptions options = {cases[i].l2, cases[i].robustness,
								   cases[i].bounded ? bounds : NULL, NULL};

		assert_int_equal(br_learn_ranker_fit(&context, &choices, &options, weights), BR_OK);
		assert_near(weights[0], cases[i].expected[0], 2e-5);
		assert_near(weights[1], cases[i].expected[1], 2e-5);
	}
	assert_near(br_learn_ranker_score(weights, group_values, 2), weights[0], 1e-12);
}

static void
ranker_refuses_what_says_nothing(void **state)
{
	BrChoices choices = {5, 2, group_starts, group_values, NULL, group_taken};
	BrRankerOptions options = {0, 0, NULL, NULL};
	float bad[24];
	BrContext context;
	double weights[2];

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_ranker_fit(&context, &choices, &options, weights), BR_ERR_ARGUMENT);
	options.l2 = 0.1;
	memcpy(bad, group_values, sizeof(bad));
	bad[3] = INFINITY;
	choices.values = bad;
	assert_int_equal(br_learn_ranker_fit(&context, &choices, &options, weights), BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, "Feature 1 of candidate 1 is not finite.");
	choices.values = group_values;
	choices.groups = 0;
	assert_int_equal(br_learn_ranker_fit(&context, &choices, &options, weights), BR_ERR_ARGUMENT);
}

/* ---- failures ---- */

static BrStatus
do_everything(BrContext *context)
{
	BrCompanionOptions companions = {BR_COMPANION_CONFIDENCE, 0, 3, 10, NULL};
	BrChoices choices = {5, 2, group_starts, group_values, group_weights, group_taken};
	BrRankerOptions ranker = {0.1, 0.5, NULL, NULL};
	BrEntry entries[] = {{1, 2, 1}, {0, 1, 2}};
	BrSparse rows = small_rows();
	BrSparse matrix = {0}, turned = {0};
	BrLists lists = {0};
	float terms[5];
	double weights[2];
	BrStatus status = br_learn_companions(context, &rows, &companions, &lists);

	if (status == BR_OK)
		status = br_learn_sparse_build(context, entries, 2, 2, 3, &matrix);
	if (status == BR_OK)
		status = br_learn_sparse_transpose(context, &matrix, &turned);
	if (status == BR_OK)
		status = br_learn_term_weights(context, &rows, &rows, 1, terms);
	if (status == BR_OK)
		status = br_learn_ranker_fit(context, &choices, &ranker, weights);
	br_learn_lists_free(context, &lists);
	br_learn_sparse_free(context, &matrix);
	br_learn_sparse_free(context, &turned);
	return status;
}

static void
lack_of_memory_leaves_nothing(void **state)
{
	int failures = 0;

	(void) state;
	for (int allowed = 0;; allowed++)
	{
		Heap heap = {.left = allowed};
		BrContext context = context_over(&heap);
		BrStatus status = do_everything(&context);

		assert_true(heap.live == 0);
		if (status == BR_OK)
			break;
		assert_int_equal(status, BR_ERR_MEMORY);
		assert_true(context.detail[0] != '\0');
		failures++;
	}
	assert_true(failures > 15);
}

static void
cancel_leaves_nothing(void **state)
{
	Heap asking = {.left = -1};
	BrContext context = context_over(&asking);

	(void) state;
	assert_int_equal(do_everything(&context), BR_OK);
	assert_true(asking.asked > 2);
	for (int question = 1; question <= asking.asked; question++)
	{
		Heap heap = {.left = -1, .stop_at = question};

		context = context_over(&heap);
		assert_int_equal(do_everything(&context), BR_ERR_CANCELLED);
		assert_true(heap.live == 0);
	}
}

typedef BrStatus (*Work)(BrContext *context, const BrSparse *matrix);

static BrStatus
check_work(BrContext *context, const BrSparse *matrix)
{
	return br_learn_sparse_check(context, matrix);
}

static BrStatus
transpose_work(BrContext *context, const BrSparse *matrix)
{
	BrSparse turned;
	BrStatus status = br_learn_sparse_transpose(context, matrix, &turned);

	br_learn_sparse_free(context, &turned);
	return status;
}

static BrStatus
build_work(BrContext *context, const BrSparse *matrix)
{
	int64_t n = matrix->starts[matrix->rows];
	BrEntry *entries = malloc((size_t) n * sizeof(BrEntry));
	BrSparse built;
	BrStatus status;

	assert_non_null(entries);
	for (int64_t i = 0; i < n; i++)
		entries[i] = (BrEntry){(int32_t) (i / 2), (int32_t) (i % 2), 1};
	status = br_learn_sparse_build(context, entries, n, matrix->rows, matrix->columns, &built);
	br_learn_sparse_free(context, &built);
	free(entries);
	return status;
}

static BrStatus
companions_work(BrContext *context, const BrSparse *matrix)
{
	BrCompanionOptions options = {BR_COMPANION_CONFIDENCE, 0, 1, 2, NULL};
	BrLists lists;
	BrStatus status = br_learn_companions(context, matrix, &options, &lists);

	br_learn_lists_free(context, &lists);
	return status;
}

static BrStatus
gram_work(BrContext *context, const BrSparse *matrix)
{
	BrEaseGram gram;
	BrStatus status = br_learn_ease_gram_begin(context, matrix, NULL, 0, 1, &gram);

	br_learn_ease_gram_end(context, &gram);
	return status;
}

/* Two items in each of three million baskets: a question for each few million entries or fewer. */
static void
items_of_every_basket_are_cancelled(void **state)
{
	enum
	{
		ROWS = 3000000
	};
	static const struct
	{
		Work work;
		int questions; /* at least, a million entries between two, or four million of pairs */
	} cases[] = {{check_work, 6},
				 {transpose_work, 12},
				 {build_work, 4 * 6 + 5},
				 {companions_work, 6 + 12 + 3},
				 {gram_work, 6 + 12 + 5}};
	BrSparse rows = {.rows = ROWS, .columns = 2};

	(void) state;
	rows.starts = malloc((ROWS + 1) * sizeof(int64_t));
	rows.ids = malloc(2 * ROWS * sizeof(int32_t));
	assert_non_null(rows.starts);
	assert_non_null(rows.ids);
	for (int i = 0; i <= ROWS; i++)
		rows.starts[i] = 2 * (int64_t) i;
	for (int i = 0; i < 2 * ROWS; i++)
		rows.ids[i] = i % 2;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Heap heap = {.left = -1, .stop_at = cases[i].questions};
		BrContext context = context_over(&heap);

		assert_int_equal(cases[i].work(&context, &rows), BR_ERR_CANCELLED);
		assert_int_equal(heap.asked, cases[i].questions);
		assert_true(heap.live == 0);
	}
	free(rows.starts);
	free(rows.ids);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_become_rows),
		cmocka_unit_test(sums_do_not_depend_on_the_order),
		cmocka_unit_test(lists_hold_the_strongest),
		cmocka_unit_test(companions_match_hand_counts),
		cmocka_unit_test(term_weights_match_numpy),
		cmocka_unit_test(ranker_matches_scipy),
		cmocka_unit_test(ranker_refuses_what_says_nothing),
		cmocka_unit_test(lack_of_memory_leaves_nothing),
		cmocka_unit_test(cancel_leaves_nothing),
		cmocka_unit_test(items_of_every_basket_are_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
