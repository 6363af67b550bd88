/*
 * test_learn_itemsets.c
 *	  Frequent sets, against counting all sets one by one and against mlxtend.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/learn/br_learn.h"
#include "learn_countdown.h"

#define ITEMS 10
#define ALL_SETS (1 << ITEMS)

/* Baskets of bits, as a matrix. */
static void
matrix_of(BrContext *context, const uint32_t *baskets, int n, int items, BrSparse *matrix)
{
	BrEntry *entries = malloc(sizeof(BrEntry) * (size_t) (n * items + 1));
	int64_t m = 0;

	for (int row = 0; row < n; row++)
		for (int item = 0; item < items; item++)
			if (baskets[row] >> item & 1)
				entries[m++] = (BrEntry){row, item, 2.5F};
	assert_int_equal(br_learn_sparse_build(context, entries, m, n, items, matrix), BR_OK);
	free(entries);
}

/* ---- counting all sets ---- */

typedef struct Counted
{
	uint32_t set;
	int64_t support;
} Counted;

/* by support, then by items: at the lowest bit that differs, who has it comes first, unless the
 * other ends there */
static int
compare_counted(const void *left, const void *right)
{
	const Counted *a = left;
	const Counted *b = right;
	uint32_t differ = a->set ^ b->set;
	uint32_t lowest = differ & -differ;
	uint32_t above = ~(lowest | (lowest - 1));

	if (a->support != b->support)
		return a->support > b->support ? -1 : 1;
	if (differ == 0)
		return 0;
	if (a->set & lowest)
		return (b->set & above) == 0 ? 1 : -1;
	return (a->set & above) == 0 ? -1 : 1;
}

static int
count_all(const uint32_t *baskets, int n, const BrItemsetOptions *options,
		  const uint32_t *ancestors, Counted *counted)
{
	int found = 0;

	for (uint32_t set = 1; set < ALL_SETS; set++)
	{
		int size = __builtin_popcount(set);
		int64_t support = 0;
		bool related = false;

		for (int row = 0; row < n; row++)
			support += (baskets[row] & set) == set;
		for (int item = 0; item < ITEMS; item++)
			related = related || ((set >> item & 1) && (ancestors[item] & set) != 0);
		if (support >= options->least_support && size >= options->min_size &&
			size <= options->max_size && !related)
			counted[found++] = (Counted){set, support};
	}
	qsort(counted, (size_t) found, sizeof(Counted), compare_counted);
	return found;
}

static uint32_t
bits_of(const BrItemsets *sets, int64_t set)
{
	uint32_t bits = 0;

	for (int64_t i = sets->starts[set]; i < sets->starts[set + 1]; i++)
	{
		assert_true(i == sets->starts[set] || sets->items[i] > sets->items[i - 1]);
		bits |= 1U << sets->items[i];
	}
	return bits;
}

static void
assert_equals_counting(const uint32_t *baskets, int n, const BrItemsetOptions *options,
					   const uint32_t *ancestors)
{
	static Counted counted[ALL_SETS];
	BrItemsetOptions asked = *options;
	BrSparse matrix;
	BrSparse family;
	BrContext context;
	BrItemsets sets;
	int found = count_all(baskets, n, options, ancestors, counted);

	br_base_context_init(&context);
	matrix_of(&context, baskets, n, ITEMS, &matrix);
	matrix_of(&context, ancestors, ITEMS, ITEMS, &family);
	asked.ancestors = &family;
	assert_int_equal(br_learn_itemsets(&context, &matrix, &asked, &sets), BR_OK);
	assert_true(sets.truncated == (found > options->limit));
	assert_true(sets.n == (found > options->limit ? options->limit : found));
	assert_true(sets.starts[0] == 0);
	for (int64_t i = 0; i < sets.n; i++)
	{
		assert_true(sets.support[i] == counted[i].support);
		assert_int_equal(bits_of(&sets, i), counted[i].set);
	}
	br_learn_itemsets_free(&context, &sets);
	br_learn_sparse_free(&context, &matrix);
	br_learn_sparse_free(&context, &family);
}

static void
sets_equal_counting_all(void **state)
{
	static const int64_t limits[] = {INT64_MAX, 1, 7, 40, 200};
	static const int sizes[][2] = {{1, 8}, {2, 3}, {1, 1}, {3, 5}, {8, 8}};
	uint32_t none[ITEMS] = {0};
	/* items 0 to 3 are of category 8, 4 and 5 of 9; 8 is of 9, and so are 0 to 3 */
	uint32_t family[ITEMS] = {0x300, 0x300, 0x300, 0x300, 0x200, 0x200, 0, 0, 0x200, 0};
	uint32_t baskets[60];

	(void) state;
	for (uint64_t seed = 1; seed <= 100; seed++)
	{
		BrItemsetOptions options = {.least_support = 1 + (int64_t) (seed % 4)};
		int n = (int) (seed * 7 % 60);
		BrRandom random;

		br_base_random_init(&random, seed, 0);
		for (int row = 0; row < n; row++)
		{
			uint32_t some = br_base_random_u32(&random);

			/* two bits of three, one of two, or one of four; item 7 in all of every fifth */
			baskets[row] = seed % 3 == 0 ? some | some >> 10
				: seed % 3 == 1			 ? some
										 : some & some >> 10;
			baskets[row] = (baskets[row] | (seed % 5 == 0 ? 0x80 : 0)) & (ALL_SETS - 1);
		}
		for (int l = 0; l < 5; l++)
			for (int s = 0; s < 5; s++)
			{
				options.limit = limits[l];
				options.min_size = sizes[s][0];
				options.max_size = sizes[s][1];
				assert_equals_counting(baskets, n, &options, none);
				assert_equals_counting(baskets, n, &options, family);
			}
	}
}

/* ---- mlxtend ---- */

/*
 * fpgrowth(frame, min_support=.2) of mlxtend 0.25.0 on these ten baskets, sorted
 * by support, then by items.
 */
static void
sets_equal_those_of_mlxtend(void **state)
{
	static const uint32_t baskets[10] = {0x0B, 0x06, 0x17, 0x09, 0x0E,
										 0x07, 0x0B, 0x14, 0x1F, 0x02};
	static const uint32_t expected[21] = {0x02, 0x01, 0x04, 0x03, 0x06, 0x08, 0x09,
										  0x0A, 0x07, 0x0B, 0x05, 0x14, 0x10, 0x17,
										  0x13, 0x15, 0x11, 0x0E, 0x16, 0x12, 0x0C};
	static const int support[21] = {8, 6, 6, 5, 5, 5, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2};
	BrItemsetOptions options = {.least_support = 2, .min_size = 1, .max_size = 8, .limit = 100};
	BrSparse matrix;
	BrContext context;
	BrItemsets sets;

	(void) state;
	br_base_context_init(&context);
	matrix_of(&context, baskets, 10, 5, &matrix);
	assert_int_equal(br_learn_itemsets(&context, &matrix, &options, &sets), BR_OK);
	assert_int_equal(sets.n, 21);
	assert_false(sets.truncated);
	for (int i = 0; i < 21; i++)
	{
		assert_int_equal(bits_of(&sets, i), expected[i]);
		assert_int_equal(sets.support[i], support[i]);
	}
	br_learn_itemsets_free(&context, &sets);
	br_learn_sparse_free(&context, &matrix);
}

/* ---- real baskets ---- */

#define MAX_NAMES 200

typedef struct Groceries
{
	char *names[MAX_NAMES];
	int n_names;
	BrEntry *entries;
	int64_t n;
	int rows;
} Groceries;

static int
name_number(Groceries *groceries, const char *name)
{
	for (int i = 0; i < groceries->n_names; i++)
		if (strcmp(groceries->names[i], name) == 0)
			return i;
	assert_true(groceries->n_names < MAX_NAMES);
	groceries->names[groceries->n_names] = strdup(name);
	return groceries->n_names++;
}

/* One basket a line, with commas between; names are stripped. false: there is no such file. */
static bool
read_groceries(Groceries *groceries)
{
	const char *golden = getenv("BR_GOLDEN");
	char path[4096];
	char line[4096];
	FILE *file;

	memset(groceries, 0, sizeof(*groceries));
	snprintf(path, sizeof(path), "%s/../data/groceries/groceries.csv", golden ? golden : ".");
	file = fopen(path, "r");
	if (file == NULL)
		return false;
	groceries->entries = malloc(sizeof(BrEntry) * 100000);
	while (fgets(line, sizeof(line), file) != NULL)
	{
		for (char *name = strtok(line, ",\n"); name != NULL; name = strtok(NULL, ",\n"))
		{
			size_t size = strlen(name);

			while (size > 0 && (name[size - 1] == ' ' || name[size - 1] == '\r'))
				name[--size] = '\0';
			if (size > 0)
				groceries->entries[groceries->n++] =
					(BrEntry){groceries->rows, name_number(groceries, name), 1};
		}
		groceries->rows++;
	}
	fclose(file);
	return true;
}

/*
 * fpgrowth(frame, min_support=50/9835, max_len=8) of mlxtend 0.25.0: 1,001 sets,
 * by size 120, 605, 264 and 12, whose supports add up to what stands below. The
 * most supported four: other vegetables, root vegetables, whole milk, yogurt, 77.
 */
static void
groceries_equal_mlxtend(void **state)
{
	static const int64_t number[5] = {0, 120, 605, 264, 12};
	static const int64_t sums[5] = {0, 42296, 64658, 19114, 714};
	BrItemsetOptions options = {.least_support = 50, .min_size = 1, .max_size = 8, .limit = 10000};
	int64_t counted[5] = {0};
	int64_t added[5] = {0};
	Groceries groceries;
	BrSparse matrix;
	BrContext context;
	BrItemsets sets;

	(void) state;
	if (!read_groceries(&groceries))
	{
		print_message("the groceries data is not there\n");
		skip();
	}
	assert_int_equal(groceries.rows, 9835);
	assert_int_equal(groceries.n_names, 169);
	br_base_context_init(&context);
	assert_int_equal(br_learn_sparse_build(&context, groceries.entries, groceries.n, groceries.rows,
										   groceries.n_names, &matrix),
					 BR_OK);
	assert_int_equal(br_learn_itemsets(&context, &matrix, &options, &sets), BR_OK);
	assert_int_equal(sets.n, 1001);
	for (int64_t i = 0; i < sets.n; i++)
	{
		int64_t size = sets.starts[i + 1] - sets.starts[i];

		assert_true(size <= 4);
		if (size == 4 && counted[4] == 0)
			assert_int_equal(sets.support[i], 77);
		counted[size]++;
		added[size] += sets.support[i];
	}
	for (int size = 1; size <= 4; size++)
	{
		assert_int_equal(counted[size], number[size]);
		assert_int_equal(added[size], sums[size]);
	}
	assert_int_equal(sets.support[0], 2513);
	assert_string_equal(groceries.names[sets.items[0]], "whole milk");
	br_learn_itemsets_free(&context, &sets);
	br_learn_sparse_free(&context, &matrix);
	for (int i = 0; i < groceries.n_names; i++)
		free(groceries.names[i]);
	free(groceries.entries);
}

/* ---- edges ---- */

/* Rows that all have columns 0 .. n - 1. */
static void
full_matrix(BrContext *context, int rows, int columns, BrSparse *matrix)
{
	memset(matrix, 0, sizeof(*matrix));
	matrix->rows = rows;
	matrix->columns = columns;
	matrix->starts = br_base_alloc_array(context, (size_t) rows + 1, sizeof(int64_t));
	matrix->ids = br_base_alloc_array(context, (size_t) rows * (size_t) columns, sizeof(int32_t));
	for (int row = 0; row < rows; row++)
	{
		matrix->starts[row + 1] = matrix->starts[row] + columns;
		for (int column = 0; column < columns; column++)
			matrix->ids[matrix->starts[row] + column] = column;
	}
}

/*
 * Two baskets of 10,000 lines have some 2.5e27 sets of up to eight, all of support 2.
 * The first 1,000 begin {0}, {0, 1}, .. {0 .. 7},
 * {0 .. 6, 8}, and so on.
 */
static void
long_baskets_end_at_the_limit(void **state)
{
	BrItemsetOptions options = {.least_support = 1, .min_size = 1, .max_size = 8, .limit = 1000};
	BrSparse matrix;
	BrContext context;
	BrItemsets sets;

	(void) state;
	br_base_context_init(&context);
	full_matrix(&context, 2, 10000, &matrix);
	assert_int_equal(br_learn_itemsets(&context, &matrix, &options, &sets), BR_OK);
	assert_true(sets.truncated);
	assert_int_equal(sets.n, 1000);
	for (int64_t i = 0; i < 1000; i++)
	{
		int size = i < 8 ? (int) i + 1 : 8;

		assert_int_equal(sets.support[i], 2);
		assert_int_equal(sets.starts[i + 1] - sets.starts[i], size);
		for (int k = 0; k < size; k++)
			assert_int_equal(sets.items[sets.starts[i] + k], k < 7 || i < 8 ? k : i);
	}
	br_learn_itemsets_free(&context, &sets);

	/* without a limit, memory sets one */
	options.limit = INT64_MAX;
	options.memory_limit = 20 << 20;
	assert_int_equal(br_learn_itemsets(&context, &matrix, &options, &sets), BR_ERR_LIMIT);
	assert_non_null(strstr(context.detail, "20971520"));
	assert_null(sets.starts);
	br_learn_sparse_free(&context, &matrix);
}

static void
nothing_has_no_sets(void **state)
{
	int64_t starts[] = {0, 0, 0};
	int32_t id = 0;
	BrSparse empty = {2, 3, starts, &id, NULL};
	BrSparse none = {0, 0, starts, &id, NULL};
	BrItemsetOptions options = {.least_support = 1, .min_size = 1, .max_size = 8, .limit = 10};
	BrContext context;
	BrItemsets sets;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_itemsets(&context, &empty, &options, &sets), BR_OK);
	assert_true(sets.n == 0 && sets.starts[0] == 0 && !sets.truncated);
	br_learn_itemsets_free(&context, &sets);
	assert_int_equal(br_learn_itemsets(&context, &none, &options, &sets), BR_OK);
	assert_true(sets.n == 0 && !sets.truncated);
	br_learn_itemsets_free(&context, &sets);
}

static void
bad_arguments_are_refused(void **state)
{
	int64_t starts[] = {0, 2};
	int32_t ids[] = {0, 1};
	int32_t twice[] = {1, 1};
	BrSparse good = {1, 2, starts, ids, NULL};
	BrSparse bad = {1, 2, starts, twice, NULL};
	static const BrItemsetOptions fine = {.least_support = 1,
										  .min_size = 1,
										  .max_size = 2,
										  .limit = 10};
	BrItemsetOptions options[6] = {fine, fine, fine, fine, fine, fine};
	BrContext context;
	BrItemsets sets;

	(void) state;
	options[0].least_support = 0;
	options[1].limit = 0;
	options[2].min_size = 0;
	options[3].min_size = 3;
	options[4].max_size = 9;
	options[5].ancestors = &good; /* of one item instead of two */
	br_base_context_init(&context);
	for (int i = 0; i < 6; i++)
	{
		context.detail[0] = '\0';
		assert_int_equal(br_learn_itemsets(&context, &good, &options[i], &sets), BR_ERR_ARGUMENT);
		assert_true(context.detail[0] != '\0');
		assert_null(sets.starts);
	}
	assert_int_equal(br_learn_itemsets(&context, &bad, &fine, &sets), BR_ERR_ARGUMENT);
	assert_int_equal(br_learn_itemsets(&context, &good, &fine, &sets), BR_OK);
	assert_int_equal(sets.n, 3);
	br_learn_itemsets_free(&context, &sets);
}

static void
failures_leave_nothing(void **state)
{
	BrItemsetOptions options = {.least_support = 1, .min_size = 2, .max_size = 4, .limit = 30000};
	BrStatus status = BR_ERR_MEMORY;
	Countdown countdown;
	BrContext plain;
	BrContext context;
	BrItemsets sets;
	BrSparse matrix;
	int stops;

	(void) state;
	br_base_context_init(&plain);
	full_matrix(&plain, 2, 40, &matrix);
	for (stops = 0; status == BR_ERR_MEMORY; stops++)
	{
		countdown_begin(&context, &countdown, stops, INT_MAX);
		status = br_learn_itemsets(&context, &matrix, &options, &sets);
		if (status == BR_OK)
			br_learn_itemsets_free(&context, &sets);
		assert_int_equal(countdown.live, 0);
		assert_true(status == BR_OK || context.detail[0] != '\0');
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 30);

	status = BR_ERR_CANCELLED;
	for (stops = 0; status == BR_ERR_CANCELLED; stops++)
	{
		countdown_begin(&context, &countdown, INT_MAX, stops);
		status = br_learn_itemsets(&context, &matrix, &options, &sets);
		if (status == BR_OK)
			br_learn_itemsets_free(&context, &sets);
		assert_int_equal(countdown.live, 0);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 5);
	br_learn_sparse_free(&plain, &matrix);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_equal_counting_all), cmocka_unit_test(sets_equal_those_of_mlxtend),
		cmocka_unit_test(groceries_equal_mlxtend), cmocka_unit_test(long_baskets_end_at_the_limit),
		cmocka_unit_test(nothing_has_no_sets),	   cmocka_unit_test(bad_arguments_are_refused),
		cmocka_unit_test(failures_leave_nothing),
	};

	return cmocka_run_group_tests_name("itemsets", tests, NULL, NULL);
}
