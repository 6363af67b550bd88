/*
 * test_learn_factor_kernels.c
 *	  The inner loops of factorisation, for every instruction set of this machine,
 *	  beside plain loops in double.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/learn/factors_int.h"
#include "core/math/br_math.h"
#include "unit/factor_fixture.h"

#define MAX_N 80 /* floats of a vector */
#define MAX_ROWS 19

typedef struct Inputs
{
	float rows[MAX_ROWS * MAX_N];
	float square[MAX_N * MAX_N];
	float at[MAX_N];
	float out[MAX_ROWS * MAX_N];
	float expected[MAX_ROWS * MAX_N];
	int32_t ids[MAX_ROWS];
	float values[MAX_ROWS];
} Inputs;

static const int all_n[] = {16, 32, 48, 64, 80};

static void
fill(Inputs *inputs, int n)
{
	BrRandom random;

	br_base_random_init(&random, 5, (uint64_t) n);
	for (int i = 0; i < MAX_ROWS * MAX_N; i++)
		inputs->rows[i] = (float) br_math_normal(&random);
	for (int i = 0; i < MAX_N * MAX_N; i++)
		inputs->square[i] = (float) br_math_normal(&random);
	for (int i = 0; i < MAX_N; i++)
		inputs->at[i] = (float) br_math_normal(&random);
	for (int i = 0; i < MAX_ROWS * MAX_N; i++)
		inputs->out[i] = inputs->expected[i] = (float) br_math_normal(&random);
	for (int i = 0; i < MAX_ROWS; i++)
	{
		inputs->ids[i] = (int32_t) br_base_random_below(&random, MAX_ROWS);
		inputs->values[i] = (float) br_base_random_uniform(&random);
	}
}

static double
dot(const float *left, const float *right, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += (double) left[i] * (double) right[i];
	return sum;
}

static void
check_vectors(const BrFactorKernels *kernels, Inputs *inputs, int n)
{
	const float *left = inputs->rows;
	const float *right = inputs->rows + MAX_N;
	float have = kernels->dot(left, right, n);
	float want = (float) dot(left, right, n);

	assert_true(fabs((double) (have - want)) < 1e-4);
	kernels->mix(inputs->out, .5f, left, -2, n);
	for (int i = 0; i < n; i++)
		inputs->expected[i] = .5f * inputs->expected[i] - 2 * left[i];
	factor_assert_near(inputs->out, inputs->expected, MAX_N, 1e-6);
}

/* the left matrix by rows, and by columns */
static void
check_products(const BrFactorKernels *kernels, Inputs *inputs, int n)
{
	for (int rows = 0; rows <= MAX_ROWS; rows += rows < 6 ? 1 : 13)
		for (int by_columns = 0; by_columns < 2; by_columns++)
		{
			int row = by_columns ? 1 : MAX_N;
			int step = by_columns ? MAX_ROWS : 1;
			int depth = 13;

			fill(inputs, n);
			for (int i = 0; i < rows; i++)
				for (int c = 0; c < n; c++)
				{
					double sum = 0;

					for (int s = 0; s < depth; s++)
						sum += (double) inputs->rows[i * row + s * step] *
							(double) inputs->square[s * n + c];
					inputs->expected[i * n + c] = (float) sum;
				}
			kernels->product(inputs->rows, row, step, rows, inputs->square, depth, n, inputs->out);
			factor_assert_near(inputs->out, inputs->expected, MAX_ROWS * MAX_N, 1e-5);
		}
}

static void
check_gram(const BrFactorKernels *kernels, Inputs *inputs, int n)
{
	float before[MAX_N * MAX_N];

	memcpy(before, inputs->square, sizeof(before));
	kernels->gram(inputs->rows, MAX_ROWS, n, inputs->square);
	for (int i = 0; i < n; i++)
		for (int j = i; j < n; j++)
		{
			double sum = (double) before[i * n + j];

			for (int row = 0; row < MAX_ROWS; row++)
				sum += (double) inputs->rows[row * n + i] * (double) inputs->rows[row * n + j];
			assert_true(fabs((double) inputs->square[i * n + j] - sum) < 1e-4);
		}
}

static void
check_entries(const BrFactorKernels *kernels, Inputs *inputs, int n)
{
	for (int entries = 0; entries <= MAX_ROWS; entries++)
		for (int variant = 0; variant < 3; variant++)
		{
			BrEntryRow row = {inputs->rows, n,
							  inputs->ids,	entries % 2 ? inputs->values : NULL,
							  1.5f,			entries};
			float panel[MAX_ROWS * MAX_N];

			fill(inputs, n);
			for (int e = 0; e < entries; e++)
			{
				const float *vector = inputs->rows + inputs->ids[e] * n;
				double weight = row.values != NULL ? 1.5 * (double) row.values[e] : 1.5;
				double product = dot(vector, inputs->at, n);
				double factor[] = {weight * product, 1 + weight * (1 - product), 1 + weight};

				for (int i = 0; i < n; i++)
					inputs->expected[i] += (float) (factor[variant] * (double) vector[i]);
			}
			if (variant == 0)
				kernels->add_products(&row, inputs->at, inputs->out);
			else if (variant == 1)
				kernels->add_residuals(&row, inputs->at, inputs->out);
			else
				kernels->gather(&row, panel, inputs->out);
			factor_assert_near(inputs->out, inputs->expected, MAX_N, 1e-5);
			for (int e = 0; variant == 2 && e < entries; e++)
				for (int i = 0; i < n; i++)
				{
					double weight = row.values != NULL ? 1.5 * (double) row.values[e] : 1.5;
					double want = sqrt(weight) * (double) inputs->rows[inputs->ids[e] * n + i];

					assert_true(fabs((double) panel[e * n + i] - want) < 1e-5);
				}
		}
}

/* A matrix B'B + 1, whose solution is multiplied back; and one that has a negative direction. */
static void
check_solve(const BrFactorKernels *kernels, Inputs *inputs, int n)
{
	float matrix[MAX_N * MAX_N];
	float solution[MAX_N];

	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
		{
			double sum = i == j;

			for (int row = 0; row < MAX_ROWS; row++)
				sum += (double) inputs->rows[row * n + i] * (double) inputs->rows[row * n + j];
			inputs->square[i * n + j] = (float) sum;
			matrix[i * n + j] = j >= i ? (float) sum : NAN;
		}
	memcpy(solution, inputs->at, sizeof(float) * (size_t) n);
	assert_true(kernels->solve(matrix, n, solution));
	for (int i = 0; i < n; i++)
		inputs->out[i] = (float) dot(inputs->square + i * n, solution, n);
	factor_assert_near(inputs->out, inputs->at, n, 2e-4);
	for (int i = 0; i < n; i++)
		for (int j = i; j < n; j++)
			matrix[i * n + j] = i == j ? 1 : i == n - 3 && j == n - 2 ? 1.5f : 0;
	assert_false(kernels->solve(matrix, n, solution));
}

static void
check_pairs(const BrFactorKernels *kernels, Inputs *inputs, int n)
{
	float *user = inputs->rows;
	float *liked = user + MAX_N;
	float *other = liked + MAX_N;
	float *expected = inputs->expected;
	double want = dot(user, liked, n) - dot(user, other, n);

	assert_true(fabs((double) kernels->pair_score(user, liked, other, n) - want) < 1e-4);
	memcpy(expected, user, sizeof(float) * 3 * MAX_N);
	for (int i = 0; i < n; i++)
	{
		expected[i] = .9f * user[i] + .3f * (liked[i] - other[i]);
		expected[MAX_N + i] = .9f * liked[i] + .3f * user[i];
		expected[2 * MAX_N + i] = .9f * other[i] - .3f * user[i];
	}
	kernels->pair_step(user, liked, other, .9f, .3f, n);
	factor_assert_near(inputs->rows, expected, 3 * MAX_N, 1e-6);
}

static void
check_filter(const BrFactorKernels *kernels, Inputs *inputs, int n)
{
	int32_t places[MAX_N];
	float kept[MAX_N];
	int found;
	int want = 0;

	inputs->rows[3] = .25f;
	found = kernels->filter(inputs->rows, n, .25f, places, kept);
	for (int i = 0; i < n; i++)
		if (inputs->rows[i] > .25f)
		{
			assert_true(want < found && places[want] == i && kept[want] == inputs->rows[i]);
			want++;
		}
	assert_int_equal(found, want);
	assert_int_equal(kernels->filter(inputs->rows, n, 100, places, kept), 0);
}

static void
check_all(const BrFactorKernels *kernels)
{
	static Inputs inputs;

	if (kernels == NULL)
		return;
	for (size_t i = 0; i < sizeof(all_n) / sizeof(all_n[0]); i++)
	{
		void (*const checks[])(const BrFactorKernels *, Inputs *,
							   int) = {check_vectors, check_products, check_gram,  check_entries,
									   check_solve,	  check_pairs,	  check_filter};

		for (size_t c = 0; c < sizeof(checks) / sizeof(checks[0]); c++)
		{
			fill(&inputs, all_n[i]);
			checks[c](kernels, &inputs, all_n[i]);
		}
	}
}

static void
baseline_kernels_match_plain_loops(void **state)
{
	(void) state;
	check_all(br_learn_factor_kernels_baseline());
}

static void
avx2_kernels_match_plain_loops(void **state)
{
	(void) state;
	if (br_learn_factor_kernels_avx2() == NULL)
		skip();
	check_all(br_learn_factor_kernels_avx2());
}

static void
avx512_kernels_match_plain_loops(void **state)
{
	(void) state;
	if (br_learn_factor_kernels_avx512() == NULL)
		skip();
	check_all(br_learn_factor_kernels_avx512());
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(baseline_kernels_match_plain_loops),
		cmocka_unit_test(avx2_kernels_match_plain_loops),
		cmocka_unit_test(avx512_kernels_match_plain_loops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
