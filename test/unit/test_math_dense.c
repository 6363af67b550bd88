/*
 * test_math_dense.c
 *	  Systems and inverses of symmetric positive definite matrices.
 *
 * Small values are numpy 2.4.6's; large results are multiplied with what they
 * came from.
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
#include "core/math/math_int.h"

/* An allocator that counts what is out and can refuse. */
typedef struct Ledger
{
	int outstanding;
	int allowed; /* allocations before it refuses; below 0: no limit */
} Ledger;

static void *
ledger_alloc(void *arg, size_t size)
{
	Ledger *ledger = arg;

	if (ledger->allowed == 0)
		return NULL;
	ledger->allowed--;
	ledger->outstanding++;
	return malloc(size);
}

static void
ledger_free(void *arg, void *pointer)
{
	Ledger *ledger = arg;

	ledger->outstanding -= pointer != NULL;
	free(pointer);
}

static void
assert_near(double actual, double expected, double tolerance)
{
	if (!(fabs(actual - expected) <= tolerance))
		fail_msg("%.17g is not within %g of %.17g", actual, tolerance, expected);
}

/*
 * Positive definite, eigenvalues between about 1 and n: uniform numbers off the
 * diagonal, and on it what the row's sum cannot exceed.
 */
static double *
random_matrix(int n, int stride, uint64_t seed)
{
	double *matrix = calloc((size_t) stride * (size_t) stride + 1, sizeof(double));
	BrRandom random;

	assert_non_null(matrix);
	br_base_random_init(&random, seed, (uint64_t) n);
	for (int i = 0; i < n; i++)
	{
		for (int j = 0; j < i; j++)
		{
			double value = br_base_random_uniform(&random) - 0.5;

			matrix[(size_t) i * stride + j] = value;
			matrix[(size_t) j * stride + i] = value;
		}
		matrix[(size_t) i * stride + i] = 1 + 0.5 * n;
	}
	return matrix;
}

/* ---- systems ---- */

/*
 * a = np.array([[4, 1, .5], [1, 3, -1], [.5, -1, 2]])
 * np.linalg.solve(a, [1, 2, 3]), np.linalg.inv(a)
 */
static const double small[] = {4, 1, 0.5, 1, 3, -1, 0.5, -1, 2};
static const double small_solution[] = {-0.4615384615384615, 1.6307692307692307,
										2.4307692307692306};
static const double small_inverse[] = {0.3076923077,  -0.1538461538, -0.1538461538,
									   -0.1538461538, 0.4769230769,	 0.2769230769,
									   -0.1538461538, 0.2769230769,	 0.6769230769};

static void
small_system_matches_numpy(void **state)
{
	double matrix[64] = {0};
	double vector[] = {1, 2, 3, 77};
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++)
			matrix[8 * i + j] = j >= i ? small[3 * i + j] : 1e6;
	assert_int_equal(br_math_solve_positive_definite(&context, matrix, 8, 3, vector), BR_OK);
	for (int i = 0; i < 3; i++)
		assert_near(vector[i], small_solution[i], 1e-15);
	assert_true(vector[3] == 77);

	/* the factor: its first row is that of the matrix, through the root of the pivot */
	for (int j = 0; j < 3; j++)
		assert_near(matrix[j], small[j] / 2, 1e-15);
	assert_int_equal(br_math_solve_positive_definite(&context, matrix, 8, 0, vector), BR_OK);
}

static void
system_is_solved(void **state)
{
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int n = 1; n <= 150; n += n < 20 ? 1 : 13)
	{
		int stride = (n + 8) / 8 * 8;
		double *matrix = random_matrix(n, stride, 1);
		double *factor = random_matrix(n, stride, 1);
		double vector[160];

		for (int i = 0; i < n; i++)
			vector[i] = i - 3;
		assert_int_equal(br_math_solve_positive_definite(&context, factor, stride, n, vector),
						 BR_OK);
		for (int i = 0; i < n; i++)
			assert_near(br_math_dot(matrix + (size_t) i * stride, vector, (size_t) n), i - 3,
						1e-12 * n);
		free(matrix);
		free(factor);
	}
}

static void
instruction_sets_agree_to_the_bit(void **state)
{
	BrFactorRows sets[] = {br_math_factor_avx2(), br_math_factor_avx512()};

	(void) state;
	for (int n = 1; n <= 137; n += 8)
		for (int s = 0; s < LENGTH(sets); s++)
		{
			int stride = (n + 7) / 8 * 8;
			double *expected = random_matrix(n, stride, 2);
			double *actual = random_matrix(n, stride, 2);

			assert_int_equal(br_math_factor_portable()(expected, stride, 0, n), -1);
			if (sets[s] != NULL)
			{
				assert_int_equal(sets[s](actual, stride, 0, n), -1);
				for (int i = 0; i < n; i++)
					assert_memory_equal(actual + (size_t) i * stride + i,
										expected + (size_t) i * stride + i,
										(size_t) (n - i) * sizeof(double));
			}
			free(expected);
			free(actual);
		}
}

static bool
flag_is_set(void *arg)
{
	return *(bool *) arg;
}

static void
system_is_refused(void **state)
{
	static const double bad_pivots[] = {0, -1, NAN, INFINITY};
	bool flag = true;
	double vector[104] = {0};
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int b = 0; b < LENGTH(bad_pivots); b++)
	{
		double *matrix = random_matrix(100, 104, 3);

		matrix[70 * 104 + 70] = bad_pivots[b];
		assert_int_equal(br_math_solve_positive_definite(&context, matrix, 104, 100, vector),
						 BR_ERR_NUMERIC);
		assert_non_null(strstr(context.detail, "order 100 is not positive definite: pivot 71 "));
		free(matrix);
	}
	assert_int_equal(br_math_solve_positive_definite(&context, vector, 7, 1, vector),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_math_solve_positive_definite(&context, vector, 8, 9, vector),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_math_solve_positive_definite(&context, vector, 8, -1, vector),
					 BR_ERR_ARGUMENT);
	context.cancel = (BrCancel){flag_is_set, &flag};
	assert_int_equal(br_math_solve_positive_definite(&context, vector, 8, 1, vector),
					 BR_ERR_CANCELLED);
}

/* ---- inverses ---- */

static void
small_inverse_matches_numpy(void **state)
{
	double matrix[9];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < 9; i++)
		matrix[i] = i % 3 > i / 3 ? NAN : small[i];
	assert_int_equal(br_math_invert_positive_definite(&context, NULL, matrix, 3), BR_OK);
	for (int i = 0; i < 9; i++)
		assert_near(matrix[i], small_inverse[i], 1e-10);

	matrix[0] = 16;
	assert_int_equal(br_math_invert_positive_definite(&context, NULL, matrix, 1), BR_OK);
	assert_true(matrix[0] == 0.0625);
	assert_int_equal(br_math_invert_positive_definite(&context, NULL, NULL, 0), BR_OK);
	assert_int_equal(br_math_invert_positive_definite(&context, NULL, NULL, -1), BR_ERR_ARGUMENT);
}

static void
check_inverse(BrContext *context, const BrBackend *backend, int n)
{
	double *matrix = random_matrix(n, n, 4);
	double *inverse = random_matrix(n, n, 4);

	assert_int_equal(br_math_invert_positive_definite(context, backend, inverse, n), BR_OK);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
		{
			/* rows of both: the inverse is symmetric to the bit */
			assert_true(inverse[(size_t) i * n + j] == inverse[(size_t) j * n + i]);
			assert_near(br_math_dot(matrix + (size_t) i * n, inverse + (size_t) j * n, (size_t) n),
						i == j, 1e-9);
		}
	free(matrix);
	free(inverse);
}

static const int orders[] = {2, 31, 32, 33, 64, 127, 128, 129, 160, 257, 300, 385};

static void
product_with_the_inverse_is_the_identity(void **state)
{
	BrBackend without = *br_math_portable_backend();
	Variant openblas = {.backend = "openblas"};
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < LENGTH(orders); i++)
		check_inverse(&context, NULL, orders[i]);
	without.multiply_transposed_double = NULL;
	check_inverse(&context, &without, 40);

	open_variant(&openblas);
	if (openblas.table == NULL)
		print_message("without OpenBLAS: %s\n", openblas.why);
	for (int i = 0; openblas.table != NULL && i < LENGTH(orders); i++)
		check_inverse(&context, openblas.table, orders[i]);
}

/*
 * The matrix 1e-6 I + v v' with v of ones: eigenvalues 1e-6 and n + 1e-6. Its
 * inverse is (I - v v' / (n + 1e-6)) / 1e-6.
 */
static void
condition_costs_digits_in_proportion(void **state)
{
	enum
	{
		N = 200
	};
	double *matrix = malloc(N * N * sizeof(double));
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_non_null(matrix);
	for (int i = 0; i < N * N; i++)
		matrix[i] = i / N == i % N ? 1 + 1e-6 : 1;
	assert_int_equal(br_math_invert_positive_definite(&context, NULL, matrix, N), BR_OK);
	for (int i = 0; i < N * N; i++)
		assert_near(matrix[i] * 1e-6, (i / N == i % N) - 1 / (N + 1e-6), 1e-8);
	free(matrix);
}

static void
inverse_is_refused(void **state)
{
	static const double bad[] = {0, -1, NAN, INFINITY, -INFINITY};
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int b = 0; b < LENGTH(bad); b++)
	{
		double *matrix = random_matrix(200, 200, 5);

		matrix[150 * 200 + 150] = bad[b];
		assert_int_equal(br_math_invert_positive_definite(&context, NULL, matrix, 200),
						 BR_ERR_NUMERIC);
		assert_non_null(strstr(context.detail, "order 200 is not positive definite: pivot 151 "));
		free(matrix);
		if (isfinite(bad[b]))
			continue;
		matrix = random_matrix(200, 200, 5);
		matrix[150 * 200 + 20] = bad[b];
		assert_int_equal(br_math_invert_positive_definite(&context, NULL, matrix, 200),
						 BR_ERR_NUMERIC);
		free(matrix);
	}

	/* the products of i / 7 and j / 7 are of rank 1; whatever the second pivot is, it is rounding */
	for (int i = 1; i < 40; i++)
		for (int j = 1; j < 40; j++)
		{
			double singular[] = {i / 7.0 * (i / 7.0), NAN, i / 7.0 * (j / 7.0),
								 j / 7.0 * (j / 7.0)};

			assert_int_equal(br_math_invert_positive_definite(&context, NULL, singular, 2),
							 BR_ERR_NUMERIC);
		}
}

/* ---- a backend that counts, and is cancelled in the middle ---- */

static int n_products;
static int cancel_after;
static double most_work; /* multiplications of a product */

static void
counting_product(const double *left, const double *right, int rows, int columns, int depth,
				 int left_stride, int right_stride, int output_stride, double scale, double keep,
				 double *output)
{
	n_products++;
	most_work = fmax(most_work, (double) rows * columns * depth);
	br_math_portable_backend()->multiply_transposed_double(left, right, rows, columns, depth,
														   left_stride, right_stride, output_stride,
														   scale, keep, output);
}

static bool
enough_products(void *arg)
{
	(void) arg;
	return n_products >= cancel_after;
}

/* Wherever the cancel comes, not one more product is begun. */
static void
cancel_stops_before_the_next_product(void **state)
{
	BrBackend counting = *br_math_portable_backend();
	Ledger ledger = {0, -1};
	BrContext context;
	int all;

	(void) state;
	counting.multiply_transposed_double = counting_product;
	br_base_context_init(&context);
	context.allocator = (BrAllocator){ledger_alloc, ledger_free, &ledger};
	context.cancel = (BrCancel){enough_products, NULL};
	n_products = 0;
	most_work = 0;
	cancel_after = INT32_MAX;
	check_inverse(&context, &counting, 600);
	all = n_products;
	assert_true(all >= 5 * (3 + 6 + 3 + 1));
	assert_true(most_work <= 256.0 * 256 * 128);
	for (cancel_after = 0; cancel_after <= all; cancel_after += 7)
	{
		double *matrix = random_matrix(600, 600, 4);

		n_products = 0;
		assert_int_equal(br_math_invert_positive_definite(&context, &counting, matrix, 600),
						 BR_ERR_CANCELLED);
		assert_int_equal(n_products, cancel_after);
		assert_int_equal(ledger.outstanding, 0);
		free(matrix);
	}
}

static void
lack_of_memory_is_an_error(void **state)
{
	Ledger ledger = {0, 0};
	double matrix[9];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	context.allocator = (BrAllocator){ledger_alloc, ledger_free, &ledger};
	memcpy(matrix, small, sizeof(small));
	assert_int_equal(br_math_invert_positive_definite(&context, NULL, matrix, 3), BR_ERR_MEMORY);
	ledger.allowed = 1;
	assert_int_equal(br_math_invert_positive_definite(&context, NULL, matrix, 3), BR_OK);
	assert_int_equal(ledger.outstanding, 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_system_matches_numpy),
		cmocka_unit_test(system_is_solved),
		cmocka_unit_test(instruction_sets_agree_to_the_bit),
		cmocka_unit_test(system_is_refused),
		cmocka_unit_test(small_inverse_matches_numpy),
		cmocka_unit_test(product_with_the_inverse_is_the_identity),
		cmocka_unit_test(condition_costs_digits_in_proportion),
		cmocka_unit_test(inverse_is_refused),
		cmocka_unit_test(cancel_stops_before_the_next_product),
		cmocka_unit_test(lack_of_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
