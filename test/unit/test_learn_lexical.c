/*
 * test_learn_lexical.c
 *	  The search for the rows of a sparse matrix most like each of others: equal,
 *	  to the bit, to looking at all of them; and its weights at their edges.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/learn/br_learn.h"
#include "learn_countdown.h"

#define assert_near(value, expected, tolerance) \
	assert_true(fabs((double) (value) - (expected)) <= (tolerance))

/*
 * Rows of 0 to 11 terms; term t is drawn with a probability that falls as
 * 1 / (t + 1), so that a few are in half of the rows. Values are few, and repeat:
 * there are many ties.
 */
static void
random_rows(BrContext *context, int rows, int terms, uint64_t seed, BrSparse *matrix)
{
	BrEntry *entries = malloc(sizeof(BrEntry) * (size_t) rows * 12);
	BrRandom random;
	int64_t n = 0;

	br_base_random_init(&random, seed, 0);
	for (int row = 0; row < rows; row++)
		for (uint32_t i = br_base_random_below(&random, 12); i > 0; i--)
		{
			double share = pow(terms, br_base_random_uniform(&random)) - 1;

			entries[n++] = (BrEntry){row, (int32_t) share < terms ? (int32_t) share : terms - 1,
									 0.5F + 0.5F * (float) br_base_random_below(&random, 3)};
		}
	assert_int_equal(br_learn_sparse_build(context, entries, n, rows, terms, matrix), BR_OK);
	free(entries);
}

static float
plain_product(const BrSparse *left, int row, const BrSparse *right, int other)
{
	int64_t i = left->starts[row];
	double sum = 0;

	for (int64_t j = right->starts[other]; j < right->starts[other + 1]; j++)
	{
		while (i < left->starts[row + 1] && left->ids[i] < right->ids[j])
			i++;
		if (i < left->starts[row + 1] && left->ids[i] == right->ids[j])
			sum += (double) left->values[i] * (double) right->values[j];
	}
	return (float) sum;
}

/* the list of one query must be what a search through all texts picks one by one */
static void
assert_list(const BrSparse *queries, const BrSparse *texts, const BrLexicalSearch *search,
			const BrLists *lists, int row)
{
	float *products = malloc(sizeof(float) * (size_t) texts->rows);
	int64_t at = lists->starts[row];

	for (int text = 0; text < texts->rows; text++)
		products[text] = plain_product(queries, row, texts, text);
	if (search->same)
		products[row] = -1;
	for (int place = 0; place < search->depth; place++, at++)
	{
		int best = 0;

		for (int text = 1; text < texts->rows; text++)
			if (products[text] > products[best])
				best = text;
		if (!(products[best] > search->least))
			break;
		assert_true(at < lists->starts[row + 1]);
		assert_int_equal(lists->ids[at], best);
		assert_true(lists->weights[at] == products[best]);
		products[best] = -1;
	}
	assert_true(at == lists->starts[row + 1]);
	free(products);
}

static void
lists_equal_looking_at_all(void **state)
{
	static const int depths[] = {1, 3, 20, 500};
	static const float leasts[] = {0, 1.5F};

	(void) state;
	for (int same = 0; same < 2; same++)
		for (int d = 0; d < 4; d++)
			for (int l = 0; l < 2; l++)
			{
				BrLexicalSearch search = {.depth = depths[d],
										  .least = leasts[l],
										  .same = same == 1};
				BrSparse queries;
				BrSparse texts;
				BrContext context;
				BrLists lists;

				br_base_context_init(&context);
				random_rows(&context, 400, 300, 17 + (uint64_t) d, &texts);
				random_rows(&context, 100, 300, 99, &queries);
				assert_int_equal(br_learn_lexical_lists(&context, same ? &texts : &queries, &texts,
														&search, &lists),
								 BR_OK);
				for (int row = 0; row < lists.n; row++)
					assert_list(same ? &texts : &queries, &texts, &search, &lists, row);
				assert_int_equal(lists.n, same ? 400 : 100);
				br_learn_lists_free(&context, &lists);
				br_learn_sparse_free(&context, &queries);
				br_learn_sparse_free(&context, &texts);
			}
}

/* As texts are: cosines of rows of length 1, where the common terms weigh little. */
static void
cosines_equal_looking_at_all(void **state)
{
	BrLexicalOptions options = {.measure = BR_LEXICAL_TFIDF, .sublinear = false};
	BrLexicalSearch search = {.depth = 10, .least = 0.1F, .same = true};
	BrSparse counts;
	BrSparse weights;
	BrContext context;
	BrLists lists;
	float idf[2000];

	(void) state;
	br_base_context_init(&context);
	random_rows(&context, 1500, 2000, 5, &counts);
	assert_int_equal(br_learn_lexical_idf(&context, &counts, BR_LEXICAL_TFIDF, idf), BR_OK);
	assert_int_equal(br_learn_lexical_weights(&context, &counts, idf, &options, &weights), BR_OK);
	assert_int_equal(br_learn_lexical_lists(&context, &weights, &weights, &search, &lists), BR_OK);
	for (int row = 0; row < 1500; row++)
		assert_list(&weights, &weights, &search, &lists, row);
	br_learn_lists_free(&context, &lists);
	br_learn_sparse_free(&context, &weights);
	br_learn_sparse_free(&context, &counts);
}

/* 3 texts, of which 1, 2 and 0 have the term: ln(4/2) + 1 and so on */
static void
idf_is_smooth(void **state)
{
	int64_t starts[] = {0, 2, 3, 3};
	int32_t ids[] = {0, 1, 1};
	BrSparse counts = {3, 3, starts, ids, NULL};
	BrContext context;
	float idf[3];

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_lexical_idf(&context, &counts, BR_LEXICAL_TFIDF, idf), BR_OK);
	assert_near(idf[0], 1.6931471805599454, 1e-6);
	assert_near(idf[1], 1.2876820724517808, 1e-6);
	assert_near(idf[2], 2.386294361119891, 1e-6);
	assert_int_equal(br_learn_lexical_idf(&context, &counts, BR_LEXICAL_BM25, idf), BR_OK);
	assert_near(idf[0], 0.9808292530117262, 1e-6);
	assert_near(idf[1], 0.47000362924573563, 1e-6);
	assert_near(idf[2], 2.0794415416798357, 1e-6);
}

static void
empty_matrices_have_empty_lists(void **state)
{
	int64_t starts[] = {0, 0};
	int32_t id = 0;
	BrSparse none = {0, 0, starts, &id, NULL};
	BrSparse blank = {1, 3, starts, &id, NULL};
	BrLexicalSearch search = {.depth = 5, .same = true};
	BrLexicalOptions options = {.measure = BR_LEXICAL_BM25, .k1 = 1.2, .b = 0.75};
	float idf[3] = {1, 1, 1};
	BrSparse weights;
	BrContext context;
	BrLists lists;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_lexical_lists(&context, &none, &none, &search, &lists), BR_OK);
	assert_int_equal(lists.n, 0);
	br_learn_lists_free(&context, &lists);
	assert_int_equal(br_learn_lexical_lists(&context, &blank, &blank, &search, &lists), BR_OK);
	assert_int_equal(lists.starts[1], 0);
	br_learn_lists_free(&context, &lists);
	assert_int_equal(br_learn_lexical_weights(&context, &blank, idf, &options, &weights), BR_OK);
	assert_int_equal(weights.starts[1], 0);
	br_learn_sparse_free(&context, &weights);
}

/* a matrix without values has 1 everywhere: products count shared terms */
static void
values_may_be_left_out(void **state)
{
	int64_t starts[] = {0, 3, 5, 6};
	int32_t ids[] = {0, 1, 2, 1, 2, 2};
	BrSparse matrix = {3, 3, starts, ids, NULL};
	BrLexicalSearch search = {.depth = 5, .least = 1, .same = true};
	BrContext context;
	BrLists lists;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_lexical_lists(&context, &matrix, &matrix, &search, &lists), BR_OK);
	assert_int_equal(lists.starts[3], 2);
	assert_int_equal(lists.ids[0], 1);
	assert_true(lists.weights[0] == 2);
	assert_int_equal(lists.ids[1], 0);
	br_learn_lists_free(&context, &lists);
}

/* ---- what is refused ---- */

static void
bad_searches_are_refused(void **state)
{
	int64_t starts[] = {0, 1, 2};
	int32_t ids[] = {0, 1};
	float negative[] = {1, -1};
	float infinite[] = {1, INFINITY};
	BrSparse good = {2, 2, starts, ids, NULL};
	BrSparse bad_value = {2, 2, starts, ids, negative};
	BrSparse bad_number = {2, 2, starts, ids, infinite};
	BrSparse wider = {2, 3, starts, ids, NULL};
	BrSparse shorter = {1, 2, starts, ids, NULL};
	struct
	{
		const BrSparse *queries;
		const BrSparse *texts;
		BrLexicalSearch search;
		const char *word;
	} cases[] = {
		{&bad_value, &good, {.depth = 1}, "-1"},
		{&good, &bad_value, {.depth = 1}, "-1"},
		{&good, &bad_number, {.depth = 1}, "finite"},
		{&wider, &good, {.depth = 1}, "queries"},
		{&shorter, &good, {.depth = 1, .same = true}, "queries"},
		{&good, &good, {.depth = 0}, "depth"},
		{&good, &good, {.depth = 1, .least = -1}, "least"},
		{&good, &good, {.depth = 1, .least = NAN}, "least"},
	};
	BrContext context;
	BrLists lists;

	(void) state;
	br_base_context_init(&context);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		assert_int_equal(br_learn_lexical_lists(&context, cases[i].queries, cases[i].texts,
												&cases[i].search, &lists),
						 BR_ERR_ARGUMENT);
		context.detail[0] |= 0x20;
		assert_non_null(strstr(context.detail, cases[i].word));
		assert_null(lists.starts);
	}
}

static void
bad_weights_are_refused(void **state)
{
	int64_t starts[] = {0, 1, 2};
	int32_t ids[] = {0, 1};
	float none[] = {1, 0};
	float half[] = {1, 0.5F};
	BrSparse good = {2, 2, starts, ids, NULL};
	BrSparse zero = {2, 2, starts, ids, none};
	BrSparse part = {2, 2, starts, ids, half};
	static const BrLexicalOptions tfidf = {.measure = BR_LEXICAL_TFIDF};
	static const BrLexicalOptions sublinear = {.measure = BR_LEXICAL_TFIDF, .sublinear = true};
	BrLexicalOptions bm25 = {.measure = BR_LEXICAL_BM25, .k1 = 1.2, .b = 0.75};
	BrLexicalOptions bad[5] = {{.measure = 7}, bm25, bm25, bm25, bm25};
	float fine[] = {1, 2};
	float below[] = {1, -2};
	float no_number[] = {NAN, 1};
	BrSparse weights;
	BrContext context;

	(void) state;
	bad[1].k1 = -1;
	bad[2].b = 1.5;
	bad[3].b = NAN;
	bad[4].mean_length = -1;
	br_base_context_init(&context);
	for (int i = 0; i < 5; i++)
		assert_int_equal(br_learn_lexical_weights(&context, &good, fine, &bad[i], &weights),
						 BR_ERR_ARGUMENT);
	assert_int_equal(br_learn_lexical_weights(&context, &good, below, &tfidf, &weights),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_learn_lexical_weights(&context, &good, no_number, &bm25, &weights),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_learn_lexical_weights(&context, &zero, fine, &tfidf, &weights),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "above 0"));
	assert_int_equal(br_learn_lexical_weights(&context, &part, fine, &sublinear, &weights),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "1 or more"));
	assert_null(weights.starts);
	assert_int_equal(br_learn_lexical_weights(&context, &part, fine, &tfidf, &weights), BR_OK);
	br_learn_sparse_free(&context, &weights);
}

/* ---- little memory, and cancelling ---- */

static BrStatus
weigh_and_search(BrContext *context, const BrSparse *counts, float *idf)
{
	BrLexicalOptions options = {.measure = BR_LEXICAL_TFIDF};
	BrLexicalSearch search = {.depth = 200, .same = true};
	BrSparse weights;
	BrLists lists;
	BrStatus status = br_learn_lexical_idf(context, counts, BR_LEXICAL_TFIDF, idf);

	if (status != BR_OK)
		return status;
	status = br_learn_lexical_weights(context, counts, idf, &options, &weights);
	if (status != BR_OK)
		return status;
	status = br_learn_lexical_lists(context, &weights, &weights, &search, &lists);
	if (status == BR_OK)
		br_learn_lists_free(context, &lists);
	br_learn_sparse_free(context, &weights);
	return status;
}

static void
failures_leave_nothing(void **state)
{
	BrStatus status = BR_ERR_MEMORY;
	Countdown countdown;
	BrContext plain;
	BrContext context;
	BrSparse counts;
	float idf[500];
	int stops;

	(void) state;
	br_base_context_init(&plain);
	random_rows(&plain, 3000, 500, 8, &counts);
	for (stops = 0; status == BR_ERR_MEMORY; stops++)
	{
		countdown_begin(&context, &countdown, stops, INT_MAX);
		status = weigh_and_search(&context, &counts, idf);
		assert_int_equal(countdown.live, 0);
		assert_true(status == BR_OK || context.detail[0] != '\0');
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 15);

	status = BR_ERR_CANCELLED;
	for (stops = 0; status == BR_ERR_CANCELLED; stops++)
	{
		countdown_begin(&context, &countdown, INT_MAX, stops);
		status = weigh_and_search(&context, &counts, idf);
		assert_int_equal(countdown.live, 0);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 3);
	br_learn_sparse_free(&plain, &counts);
}

/* Two and a half million entries: each pass over all of them asks three times. */
static void
passes_may_be_cancelled(void **state)
{
	enum
	{
		TEXTS = 1000,
		TERMS = 2500
	};
	static int64_t starts[TEXTS + 1];
	static int32_t ids[TEXTS * TERMS];
	static float idf[TERMS];
	const BrSparse counts = {TEXTS, TERMS, starts, ids, NULL};
	const BrSparse query = {1, TERMS, (int64_t[]){0, 1}, ids, NULL};
	const BrLexicalOptions options = {.measure = BR_LEXICAL_BM25, .k1 = 1.2, .b = 0.75};
	const BrLexicalSearch search = {.depth = 1};
	Countdown countdown;
	BrContext context;
	BrSparse weights;
	BrLists lists;

	(void) state;
	for (int i = 0; i < TEXTS * TERMS; i++)
		ids[i] = i % TERMS;
	for (int text = 0; text < TEXTS; text++)
		starts[text + 1] = (int64_t) (text + 1) * TERMS;
	countdown_begin(&context, &countdown, INT_MAX, INT_MAX);
	assert_int_equal(br_learn_lexical_idf(&context, &counts, BR_LEXICAL_BM25, idf), BR_OK);
	assert_true(countdown.checks <= INT_MAX - 3);

	/* a tenth of a million that are weighed ask, too */
	countdown.checks = INT_MAX;
	assert_int_equal(br_learn_lexical_weights(&context, &counts, idf, &options, &weights), BR_OK);
	assert_true(countdown.checks <= INT_MAX - 3 - 25);
	br_learn_sparse_free(&context, &weights);

	countdown.checks = INT_MAX;
	assert_int_equal(br_learn_lexical_lists(&context, &query, &counts, &search, &lists), BR_OK);
	assert_true(countdown.checks <= INT_MAX - 3 - 3);
	br_learn_lists_free(&context, &lists);
}

/* done never falls, and ends at the total */
static void
note_progress(void *arg, int64_t done, int64_t total)
{
	int64_t *last = arg;

	assert_true(done >= *last && done <= total);
	assert_true(total == 3000);
	*last = done;
}

static void
progress_reaches_its_end(void **state)
{
	int64_t last = 0;
	BrProgress progress = {note_progress, &last};
	BrLexicalSearch search = {.depth = 1, .same = true, .progress = &progress};
	BrContext context;
	BrSparse counts;
	BrLists lists;

	(void) state;
	br_base_context_init(&context);
	random_rows(&context, 3000, 500, 8, &counts);
	assert_int_equal(br_learn_lexical_lists(&context, &counts, &counts, &search, &lists), BR_OK);
	assert_true(last == 3000);
	br_learn_lists_free(&context, &lists);
	br_learn_sparse_free(&context, &counts);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_equal_looking_at_all),
		cmocka_unit_test(cosines_equal_looking_at_all),
		cmocka_unit_test(idf_is_smooth),
		cmocka_unit_test(empty_matrices_have_empty_lists),
		cmocka_unit_test(values_may_be_left_out),
		cmocka_unit_test(bad_searches_are_refused),
		cmocka_unit_test(bad_weights_are_refused),
		cmocka_unit_test(failures_leave_nothing),
		cmocka_unit_test(passes_may_be_cancelled),
		cmocka_unit_test(progress_reaches_its_end),
	};

	return cmocka_run_group_tests_name("lexical", tests, NULL, NULL);
}
