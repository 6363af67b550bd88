/*
 * training_operations.c
 *	  What a backend computes for training alone, against the portable reference.
 *
 * As operations.c does it: random inputs over odd shapes, outputs with a guard.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/operations.h"
#include "core/math/br_math.h"

static const int sizes[] = {0, 1, 3, 17, 33, 70};

/* A random factor of a product, in a matrix a little wider; free its values. */
static BrFactor
random_factor(int rows, int columns, bool transposed, int gap)
{
	int stored_rows = transposed ? columns : rows;
	int stored_columns = transposed ? rows : columns;
	int stride = stored_columns + gap > 0 ? stored_columns + gap : 1;

	return (BrFactor){random_floats((size_t) stored_rows * (size_t) stride, 1), stride, transposed};
}

/* What stands between the rows of the output stays. */
static void
check_multiply(const BrBackend *table, int rows, int columns, int depth, int form, float keep)
{
	BrFactor left = random_factor(rows, depth, form & 1, form % 3);
	BrFactor right = random_factor(depth, columns, form & 2, (form + 1) % 3);
	int stride = columns + 1 + form;
	size_t n = (size_t) rows * (size_t) stride;
	float *expected = guarded(n);
	float *actual = guarded(n);

	for (size_t i = 0; i < n; i++)
		if (keep != 0 || i % (size_t) stride >= (size_t) columns)
			expected[i] = actual[i] = (float) br_base_random_uniform(&random_source);
	br_math_portable_backend()->multiply(left, right, rows, columns, depth, 0.25f, keep, stride,
										 expected);
	table->multiply(left, right, rows, columns, depth, 0.25f, keep, stride, actual);
	assert_close(actual, expected, n, sum_tolerance(depth), 3e-7);
	free((void *) left.values);
	free((void *) right.values);
	free(expected);
	free(actual);
}

static void
multiply_matches(void **state)
{
	const BrBackend *table = table_or_skip(state);

	for (int r = 0; r < LENGTH(sizes); r++)
		for (int c = 0; c < LENGTH(sizes); c++)
			for (int d = 1; d < LENGTH(sizes); d++)
				for (int form = 0; form < 4; form++)
					check_multiply(table, sizes[r], sizes[c], sizes[d], form,
								   (form + r + c) % 3 == 0		 ? 0
									   : (form + r + c) % 3 == 1 ? 1
																 : -0.5f);
	for (int form = 0; form < 4; form++)
		check_multiply(table, 129, 384, 300, form, 1);
}

/* One call over all inputs gives what calls over one each give: a vector's lanes are alike. */
static void
check_elements(const BrBackend *table, BrActivation activation, bool slope, double absolute)
{
	const int n = 24001;
	float *x = malloc((size_t) n * sizeof(float));
	float *expected = guarded((size_t) n);
	float *actual = guarded((size_t) n);

	for (int i = 0; i < n; i++)
	{
		x[i] = (float) (i - n / 2) / 1000;
		expected[i] = actual[i] = slope ? 1.5f : x[i];
	}
	x[0] = 1e30f;
	x[1] = -1e30f;
	x[2] = 1e-30f;
	x[3] = -100;
	if (slope)
	{
		br_math_portable_backend()->activate_slope(x, (size_t) n, activation, expected);
		table->activate_slope(x, (size_t) n, activation, actual);
	}
	else
	{
		br_math_portable_backend()->activate(expected, (size_t) n, activation);
		table->activate(actual, (size_t) n, activation);
	}
	assert_close(actual, expected, (size_t) n, absolute, 1e-6);
	free(x);
	free(expected);
	free(actual);
}

static void
activate_matches(void **state)
{
	const BrBackend *table = table_or_skip(state);

	check_elements(table, BR_ACTIVATION_NONE, false, 0);
	check_elements(table, BR_ACTIVATION_RELU, false, 0);
	check_elements(table, BR_ACTIVATION_GELU_ERF, false, 2e-6);
	check_elements(table, BR_ACTIVATION_GELU_TANH, false, 2e-6);
	check_elements(table, BR_ACTIVATION_TANH, false, 0);
}

static void
activate_slope_matches(void **state)
{
	const BrBackend *table = table_or_skip(state);

	check_elements(table, BR_ACTIVATION_NONE, true, 0);
	check_elements(table, BR_ACTIVATION_RELU, true, 0);
	check_elements(table, BR_ACTIVATION_GELU_ERF, true, 2e-6);
	check_elements(table, BR_ACTIVATION_GELU_TANH, true, 2e-6);
	check_elements(table, BR_ACTIVATION_TANH, true, 1e-6);
}

static void
softmax_matches(void **state)
{
	const BrBackend *table = table_or_skip(state);

	for (int columns = 1; columns < 70; columns++)
		for (int gap = 0; gap < 3; gap++)
		{
			int stride = columns + gap;
			size_t n = (size_t) 5 * (size_t) stride;
			float *expected = guarded(n);
			float *actual = guarded(n);

			for (size_t i = 0; i < n; i++)
				expected[i] = actual[i] =
					(float) (40 * br_base_random_uniform(&random_source) - 100);
			br_math_portable_backend()->softmax(expected, 5, columns, stride);
			table->softmax(actual, 5, columns, stride);
			assert_close(actual, expected, n, 1e-7, 1e-5);
			free(expected);
			free(actual);
		}
}

const struct CMUnitTest training_tests[TRAINING_TESTS] = {
	cmocka_unit_test(multiply_matches),
	cmocka_unit_test(activate_matches),
	cmocka_unit_test(activate_slope_matches),
	cmocka_unit_test(softmax_matches),
};
