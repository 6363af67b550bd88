/*
 * test_learn_factor_lists.c
 *	  Lists of the nearest columns beside cosines taken one by one in double.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/math/br_math.h"
#include "unit/factor_fixture.h"

static BrFactors
random_columns(uint64_t seed, int columns, int dims)
{
	BrFactors factors = {.columns = columns, .dims = dims};
	BrRandom random;

	br_base_random_init(&random, seed, 0);
	factors.column = malloc(sizeof(float) * (size_t) columns * (size_t) dims);
	for (int i = 0; i < columns * dims; i++)
		factors.column[i] = (float) br_math_normal(&random);
	return factors;
}

static BrLists
make_lists(const BrFactors *factors, int depth, double least)
{
	BrContext context;
	BrLists lists;

	br_base_context_init(&context);
	if (br_learn_factor_lists(&context, factors, depth, least, NULL, &lists) != BR_OK)
		fail_msg("%s", context.detail);
	assert_int_equal(lists.n, factors->columns);
	return lists;
}

static void
release(BrFactors *factors, BrLists *lists)
{
	BrContext context;

	br_base_context_init(&context);
	br_learn_lists_free(&context, lists);
	if (factors != NULL)
		free(factors->column);
}

static double
cosine(const BrFactors *factors, int i, int j)
{
	double product = 0;
	double left = 0;
	double right = 0;

	for (int d = 0; d < factors->dims; d++)
	{
		double a = (double) factors->column[i * factors->dims + d];
		double b = (double) factors->column[j * factors->dims + d];

		product += a * b;
		left += a * a;
		right += b * b;
	}
	return product / sqrt(left * right);
}

/* How many others have a cosine above bound. */
static int
count_above(const BrFactors *factors, int i, double bound)
{
	int n = 0;

	for (int j = 0; j < factors->columns; j++)
		n += j != i && cosine(factors, i, j) > bound;
	return n;
}

/* Each list has its cosines in order, none twice, and no stronger one is missing. */
static void
assert_list(const BrFactors *factors, const BrLists *lists, int i, int depth, double least)
{
	int64_t first = lists->starts[i];
	int n = (int) (lists->starts[i + 1] - first);
	int qualify = count_above(factors, i, least);

	assert_int_equal(n, qualify < depth ? qualify : depth);
	for (int k = 0; k < n; k++)
	{
		int32_t id = lists->ids[first + k];
		double weight = (double) lists->weights[first + k];

		assert_true(id != i);
		assert_true(fabs(weight - cosine(factors, i, id)) < 1e-6);
		assert_true(k == 0 || lists->weights[first + k - 1] >= lists->weights[first + k]);
		for (int before = 0; before < k; before++)
			assert_true(lists->ids[first + before] != id);
	}
	if (n == depth)
		assert_true(count_above(factors, i, (double) lists->weights[first + n - 1] + 2e-6) < depth);
}

static void
lists_hold_the_nearest(void **state)
{
	static const int sizes[] = {0, 1, 2, 63, 64, 65, 200};
	static const int all_dims[] = {3, 17, 64};

	(void) state;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
		for (size_t d = 0; d < sizeof(all_dims) / sizeof(all_dims[0]); d++)
			for (int depth = 1; depth <= 80; depth = depth * 3 + 2)
			{
				BrFactors factors = random_columns(s + 10 * d, sizes[s], all_dims[d]);
				BrLists lists = make_lists(&factors, depth, .05);

				for (int i = 0; i < sizes[s]; i++)
					assert_list(&factors, &lists, i, depth, .05);
				release(&factors, &lists);
			}
}

/* Directions in the plane; zeros are near nothing, and equal cosines stand by number. */
static void
ties_stand_by_number(void **state)
{
	float column[140][2] = {{0}};
	BrFactors factors = {.columns = 140, .dims = 2, .column = &column[0][0]};
	BrLists lists;

	(void) state;
	for (int i = 1; i < 139; i++)
		column[i][i % 2] = (float) i;
	lists = make_lists(&factors, 5, 0);
	assert_int_equal(lists.starts[1], 0);
	for (int i = 1; i < 139; i++)
	{
		int32_t expected = i % 2 == 0 ? 2 : 1;

		assert_int_equal(lists.starts[i + 1] - lists.starts[i], 5);
		for (int k = 0; k < 5; k++, expected += 2)
		{
			expected += expected == i ? 2 : 0;
			assert_int_equal(lists.ids[lists.starts[i] + k], expected);
			assert_true(lists.weights[lists.starts[i] + k] == 1);
		}
	}
	assert_int_equal(lists.starts[140], lists.starts[139]);
	release(NULL, &lists);
	/* at right angles the cosine is 0, and a weight of 0 is none */
	lists = make_lists(&factors, 140, -1);
	assert_int_equal(lists.starts[2] - lists.starts[1], 68);
	release(NULL, &lists);
}

/* Of the first column's cosines one is -1 / sqrt(2) and three are 0, which are no weights. */
static void
zeros_displace_nothing(void **state)
{
	float column[][2] = {{1, 0}, {0, 0}, {0, 2}, {0, 0}, {-1, -1}};
	BrFactors factors = {.columns = 5, .dims = 2, .column = &column[0][0]};
	BrLists lists = make_lists(&factors, 2, -1);

	(void) state;
	assert_int_equal(lists.starts[1], 1);
	assert_int_equal(lists.ids[0], 4);
	assert_true(fabs((double) lists.weights[0] + sqrt(0.5)) < 1e-6);
	release(NULL, &lists);
}

static void
bad_arguments_are_refused(void **state)
{
	BrFactors factors = random_columns(1, 10, 4);
	BrContext context;
	BrLists lists;

	(void) state;
	br_base_context_init(&context);
#define STATUS(depth, least) br_learn_factor_lists(&context, &factors, depth, least, NULL, &lists)
	assert_int_equal(STATUS(0, 0), BR_ERR_ARGUMENT);
	assert_int_equal(STATUS(1, 1), BR_ERR_ARGUMENT);
	assert_int_equal(STATUS(1, -1.01), BR_ERR_ARGUMENT);
	assert_int_equal(STATUS(1, (double) NAN), BR_ERR_ARGUMENT);
	factors.dims = 0;
	assert_int_equal(STATUS(1, 0), BR_ERR_ARGUMENT);
	factors.dims = 513;
	assert_int_equal(STATUS(1, 0), BR_ERR_ARGUMENT);
	factors.dims = 4;
	factors.column[39] = NAN;
	assert_int_equal(STATUS(1, 0), BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "column 9"));
	assert_null(lists.ids);
	free(factors.column);
}

static BrStatus
list_in(BrContext *context)
{
	BrFactors factors = random_columns(1, 200, 16);
	BrLists lists;
	BrStatus status = br_learn_factor_lists(context, &factors, 10, 0, NULL, &lists);

	br_learn_lists_free(context, &lists);
	free(factors.column);
	return status;
}

static void
nothing_is_left_after_failures(void **state)
{
	(void) state;
	factor_assert_cleans_up(list_in);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_hold_the_nearest),
		cmocka_unit_test(ties_stand_by_number),
		cmocka_unit_test(zeros_displace_nothing),
		cmocka_unit_test(bad_arguments_are_refused),
		cmocka_unit_test(nothing_is_left_after_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
