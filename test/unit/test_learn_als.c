/*
 * test_learn_als.c
 *	  Factorisation by alternating least squares: the small matrix beside NumPy
 *	  and implicit, larger ones by the equations that a solution meets.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/factor_fixture.h"

#define LAMBDA .1
#define ALPHA 2.0

#define ROWS 8
#define COLUMNS 6
#define FACTORS 5

/*
 * numpy 2.4.6 in double, implicit 0.7.3 in float:
 *
 *	R = [[1 + (u + 2*i) % 3 if (5*u + 3*i + u*i) % 7 < 3 and u != 4 and i != 3 else 0 ...
 *	X = [[((7*u + 11*d) % 13 - 6) / 64 for d in range(5)] for u in range(8)]
 *	Y = [[((5*i + 3*d) % 11 - 4) / 64 for d in range(5)] for i in range(6)]
 *	def half(R, Y):
 *		for u, r in enumerate(R):
 *			c = 1 + 2*r
 *			if r.any(): X[u] = np.linalg.solve(Y.T*c@Y + .1*np.eye(5), Y.T@(c*(r > 0)))
 *	X = half(R, Y); Y = half(R.T, X)
 *	S = X@Y.T
 *	objective = np.sum((1 + 2*R)*((R > 0) - S)**2) + .1*(np.sum(X**2) + np.sum(Y**2))
 *
 *	m = AlternatingLeastSquares(factors=5, regularization=.1, alpha=1., use_cg=True,
 *								iterations=4)
 *	m.user_factors, m.item_factors = X, Y
 *	m.fit(csr_matrix(np.where(R > 0, 1 + 2*R, 0)))
 */
static const float rows_1[] = {-1.694015,  0.6433514,  3.116237,	0.2628578,	-0.8524166,
							   1.701214,   0.624082,   -1.244453,	0.6131404,	2.446079,
							   2.233565,   1.720894,   -0.03504968, -0.2196173, 3.618887,
							   -0.8249352, 2.739963,   -2.063739,	1.46799,	0.28072,
							   0,		   0,		   0,			0,			0,
							   1.705709,   -0.5742606, 1.943205,	0.2184033,	2.668588,
							   -1.316489,  -0.2702149, 0.6217757,	1.67113,	-0.8547541,
							   -2.350827,  0.7692703,  4.035797,	0.6000315,	-1.213763};
static const float columns_1[] = {-0.1886125, 0.1417968,   0.09251375,	0.4332656,	 0.05690521,
								  0.00473484, 0.2161534,   -0.04919183, 0.1971922,	 0.1878624,
								  0,		  0,		   0,			0,			 0,
								  0,		  0,		   0,			0,			 0,
								  0.09518641, -0.02373008, 0.07033059,	0.2413468,	 0.2525793,
								  0.01073871, 0.1906756,   0.2965764,	-0.02804698, 0.1793224};
static const float rows_5[] = {-0.6647783, 1.063485,   1.638557,   0.6913944, 0.4554213,
							   0.9111344,  0.3105605,  -0.7853131, 0.9118574, 1.546485,
							   0.990682,   1.056104,   0.4133125,  0.5249436, 2.174099,
							   -0.4385453, 1.58602,	   -0.709399,  1.239224,  0.5501042,
							   0,		   0,		   0,		   0,		  0,
							   0.7550792,  -0.2036748, 1.398732,   0.4317547, 1.531044,
							   -0.7279418, 0.314685,   0.3252572,  1.112449,  -0.1703858,
							   -0.6858133, 1.086555,   1.672114,   0.7176963, 0.4615012};
static const float columns_5[] = {-0.3579753, 0.1811475, 0.126154,	 0.5514398,	 -0.07961027,
								  0.1147533,  0.337893,	 -0.3100772, 0.1197817,	 0.2723801,
								  0,		  0,		 0,			 0,			 0,
								  0,		  0,		 0,			 0,			 0,
								  0.2654158,  -0.2373,	 0.03466209, 0.2749696,	 0.3821663,
								  0.05866512, 0.222273,	 0.4636312,	 -0.1234038, 0.261352};
static const float cg_rows_4[] = {-0.7279432, 1.098498,	  1.776177,	  0.6607352, 0.4239661,
								  0.9972124,  0.5385648,  -0.8536211, 0.9138593, 1.723343,
								  1.06385,	  1.297322,	  0.4683693,  0.355816,	 2.334167,
								  -0.4821914, 1.940168,	  -0.7417493, 1.094248,	 0.6152909,
								  0,		  0,		  0,		  0,		 0,
								  0.8386638,  -0.2364527, 1.435723,	  0.561472,	 1.645592,
								  -0.8122584, 0.4329546,  0.3041871,  1.243565,	 -0.1977064,
								  -0.7539478, 1.123845,	  1.817085,	  0.6929074, 0.4301475};
static const float cg_columns_4[] = {-0.3288004, 0.2354705,	 0.117481,	 0.4603968,	 -0.07055122,
									 0.09713656, 0.3214265,	 -0.2610575, 0.07445882, 0.2455099,
									 0,			 0,			 0,			 0,			 0,
									 0,			 0,			 0,			 0,			 0,
									 0.2523159,	 -0.1569323, 0.02742216, 0.2315321,	 0.3594391,
									 0.04715778, 0.149534,	 0.4586423,	 -0.083533,	 0.2355312};

typedef struct Small
{
	BrContext context;
	BrSparse matrix;
	float row[ROWS * FACTORS];
	float column[COLUMNS * FACTORS];
	BrFactors start;
	BrAlsOptions options;
} Small;

static void
set_up_small(Small *small)
{
	BrEntry entries[ROWS * COLUMNS];
	int n = 0;

	br_base_context_init(&small->context);
	for (int u = 0; u < ROWS; u++)
		for (int i = 0; i < COLUMNS; i++)
			if ((5 * u + 3 * i + u * i) % 7 < 3 && u != 4 && i != 3)
				entries[n++] = (BrEntry){u, i, (float) (1 + (u + 2 * i) % 3)};
	assert_int_equal(br_learn_sparse_build(&small->context, entries, n, ROWS, COLUMNS,
										   &small->matrix),
					 BR_OK);
	for (int u = 0; u < ROWS; u++)
		for (int d = 0; d < FACTORS; d++)
			small->row[u * FACTORS + d] = (float) ((7 * u + 11 * d) % 13 - 6) / 64;
	for (int i = 0; i < COLUMNS; i++)
		for (int d = 0; d < FACTORS; d++)
			small->column[i * FACTORS + d] = (float) ((5 * i + 3 * d) % 11 - 4) / 64;
	small->start = (BrFactors){ROWS, COLUMNS, FACTORS, small->row, small->column, NULL};
	small->options = (BrAlsOptions){.factors = FACTORS,
									.lambda = LAMBDA,
									.alpha = ALPHA,
									.iterations = 1,
									.solver = BR_ALS_CHOLESKY,
									.start = &small->start};
}

static double
objective_of(const BrSparse *matrix, const BrFactors *factors)
{
	BrContext context;
	double objective;

	br_base_context_init(&context);
	assert_int_equal(br_learn_als_objective(&context, matrix, factors, LAMBDA, ALPHA, &objective),
					 BR_OK);
	return objective;
}

static void
assert_small(Small *small, const float *row, const float *column, double objective,
			 double tolerance)
{
	BrFactors factors = factor_learn_als(&small->matrix, &small->options);
	double have = objective_of(&small->matrix, &factors);

	factor_assert_near(factors.row, row, ROWS * FACTORS, tolerance);
	factor_assert_near(factors.column, column, COLUMNS * FACTORS, tolerance);
	if (!(fabs(have - objective) <= 1e-4 * objective))
		fail_msg("the objective is %.9g, not %.9g", have, objective);
	factor_release(NULL, &factors);
}

static void
exact_sweeps_match_numpy(void **state)
{
	Small small;

	(void) state;
	set_up_small(&small);
	assert_true(fabs(objective_of(&small.matrix, &small.start) - 59.900849199295045) < 1e-9);
	assert_small(&small, rows_1, columns_1, 11.468575406121554, 1e-4);
	small.options.iterations = 5;
	assert_small(&small, rows_5, columns_5, 3.5942100298918915, 1e-4);
	factor_release(&small.matrix, NULL);
}

/* three steps do not solve for five factors, so a step more or less would show */
static void
gradients_match_implicit(void **state)
{
	Small small;

	(void) state;
	set_up_small(&small);
	small.options.solver = BR_ALS_CG;
	small.options.iterations = 4;
	assert_small(&small, cg_rows_4, cg_columns_4, 4.168743547503418, 1e-3);
	factor_release(&small.matrix, NULL);
}

/*
 * What the last half-sweep solved for has no slope left: for each column the sum
 * over all rows of c (p - x'y) x is lambda y.
 */
static void
assert_no_slope(const BrSparse *matrix, const BrFactors *factors)
{
	int dims = factors->dims;
	double *slope = malloc(sizeof(double) * (size_t) dims);

	for (int i = 0; i < factors->columns; i++)
	{
		const float *y = factors->column + (size_t) i * dims;
		double scale = 0;

		memset(slope, 0, sizeof(double) * (size_t) dims);
		for (int u = 0; u < factors->rows; u++)
		{
			const float *x = factors->row + (size_t) u * dims;
			double value;
			double liked = factor_has(matrix, u, i, &value);
			double score = 0;

			for (int d = 0; d < dims; d++)
				score += (double) x[d] * (double) y[d];
			for (int d = 0; d < dims; d++)
			{
				slope[d] += (1 + ALPHA * value) * (liked - score) * (double) x[d];
				scale += fabs((1 + ALPHA * value) * liked * (double) x[d]);
			}
		}
		for (int d = 0; d < dims; d++)
			if (!(fabs(slope[d] - LAMBDA * (double) y[d]) <= 3e-5 * scale))
				fail_msg("%d factors, column %d: slope %g beside %g", dims, i, slope[d], scale);
	}
	free(slope);
}

static void
exact_vectors_have_no_slope(void **state)
{
	static const int all_dims[] = {1, 15, 16, 17, 64, 130};
	BrSparse matrix = factor_matrix(3, 300, 41, 4, .3, .05, true);

	(void) state;
	for (size_t i = 0; i < sizeof(all_dims) / sizeof(all_dims[0]); i++)
	{
		BrAlsOptions options = {.factors = all_dims[i],
								.lambda = LAMBDA,
								.alpha = ALPHA,
								.iterations = 2,
								.solver = BR_ALS_CHOLESKY,
								.seed = 5};
		BrFactors factors = factor_learn_als(&matrix, &options);

		assert_no_slope(&matrix, &factors);
		factor_release(NULL, &factors);
	}
	factor_release(&matrix, NULL);
}

static void
objective_is_the_sum_over_all_pairs(void **state)
{
	BrSparse matrix = factor_matrix(4, 30, 21, 3, .4, .05, false);
	BrAlsOptions options = {.factors = 7,
							.lambda = LAMBDA,
							.alpha = ALPHA,
							.iterations = 2,
							.seed = 1};
	BrFactors factors = factor_learn_als(&matrix, &options);
	double sum = 0;

	(void) state;
	for (int u = 0; u < 30; u++)
		for (int i = 0; i < 21; i++)
		{
			double value;
			double liked = factor_has(&matrix, u, i, &value);
			double score = 0;

			for (int d = 0; d < 7; d++)
				score += (double) factors.row[u * 7 + d] * (double) factors.column[i * 7 + d];
			sum += (1 + ALPHA * value) * (liked - score) * (liked - score);
		}
	for (int k = 0; k < 30 * 7; k++)
		sum += LAMBDA * (double) factors.row[k] * (double) factors.row[k];
	for (int k = 0; k < 21 * 7; k++)
		sum += LAMBDA * (double) factors.column[k] * (double) factors.column[k];
	assert_true(fabs(objective_of(&matrix, &factors) - sum) <= 1e-10 * sum);
	factor_release(&matrix, &factors);
}

/* Each sweep begins where the last one ended; the result is that of sweeps in one call. */
static void
objective_falls_and_sweeps_resume(void **state)
{
	BrSparse matrix = factor_matrix(6, 120, 50, 5, .3, .02, false);
	BrAlsOptions options = {.factors = 12,
							.lambda = LAMBDA,
							.alpha = ALPHA,
							.iterations = 1,
							.solver = BR_ALS_CHOLESKY,
							.seed = 9};
	BrFactors stepwise = factor_learn_als(&matrix, &options);
	double last = objective_of(&matrix, &stepwise);
	BrFactors at_once;

	(void) state;
	options.start = &stepwise;
	for (int i = 1; i < 8; i++)
	{
		BrFactors next = factor_learn_als(&matrix, &options);
		double objective = objective_of(&matrix, &next);

		assert_true(objective < last);
		last = objective;
		factor_release(NULL, &stepwise);
		stepwise = next;
	}
	options.start = NULL;
	options.iterations = 8;
	at_once = factor_learn_als(&matrix, &options);
	assert_memory_equal(stepwise.row, at_once.row, sizeof(float) * 120 * 12);
	assert_memory_equal(stepwise.column, at_once.column, sizeof(float) * 50 * 12);
	factor_release(NULL, &at_once);
	factor_release(&matrix, &stepwise);
}

static void
gradients_come_near_the_exact_solution(void **state)
{
	BrSparse matrix = factor_matrix(6, 120, 50, 5, .3, .02, false);
	BrAlsOptions options = {.factors = 12,
							.lambda = LAMBDA,
							.alpha = ALPHA,
							.iterations = 40,
							.seed = 9};
	BrFactors gradients = factor_learn_als(&matrix, &options);
	BrFactors exact;
	double ratio;

	(void) state;
	options.solver = BR_ALS_CHOLESKY;
	exact = factor_learn_als(&matrix, &options);
	ratio = objective_of(&matrix, &gradients) / objective_of(&matrix, &exact);
	if (!(ratio > .98 && ratio < 1.02))
		fail_msg("the objective is %g times the exact one", ratio);
	factor_release(NULL, &gradients);
	factor_release(&matrix, &exact);
}

/* More entries than are added between two looks at cancellation; two steps solve exactly. */
static void
long_rows_are_solved_in_parts(void **state)
{
	BrSparse matrix = factor_matrix(8, 9001, 5, 1, .5, 0, true);
	BrAlsOptions options = {.factors = 2,
							.lambda = LAMBDA,
							.alpha = ALPHA,
							.iterations = 2,
							.seed = 2};
	BrFactors gradients = factor_learn_als(&matrix, &options);
	BrFactors exact;

	(void) state;
	options.solver = BR_ALS_CHOLESKY;
	exact = factor_learn_als(&matrix, &options);
	factor_assert_near(gradients.column, exact.column, 5 * 2, 1e-3);
	assert_no_slope(&matrix, &exact);
	factor_release(NULL, &gradients);
	factor_release(&matrix, &exact);
}

static void
threads_do_not_change_a_bit(void **state)
{
	BrSparse matrix = factor_matrix(10, 701, 203, 8, .2, .02, true);

	(void) state;
	for (int solver = BR_ALS_CG; solver <= BR_ALS_CHOLESKY; solver++)
	{
		BrAlsOptions options = {.factors = 20,
								.lambda = LAMBDA,
								.alpha = ALPHA,
								.iterations = 3,
								.solver = (BrAlsSolver) solver,
								.seed = 4};
		BrFactors one = factor_learn_als(&matrix, &options);

		for (int threads = 2; threads <= 5; threads += 3)
		{
			BrContext context;
			BrFactors many;

			br_base_context_init(&context);
			assert_int_equal(br_base_pool_create(&context, threads, &options.pool), BR_OK);
			many = factor_learn_als(&matrix, &options);
			br_base_pool_destroy(options.pool);
			assert_memory_equal(one.row, many.row, sizeof(float) * 701 * 20);
			assert_memory_equal(one.column, many.column, sizeof(float) * 203 * 20);
			factor_release(NULL, &many);
		}
		factor_release(NULL, &one);
	}
	factor_release(&matrix, NULL);
}

static void
seeds_make_the_start(void **state)
{
	BrSparse matrix = factor_matrix(6, 60, 40, 5, .3, .02, false);
	BrAlsOptions options = {.factors = 6,
							.lambda = LAMBDA,
							.alpha = ALPHA,
							.iterations = 1,
							.seed = 1};
	BrFactors first = factor_learn_als(&matrix, &options);
	BrFactors again = factor_learn_als(&matrix, &options);
	BrFactors other;

	(void) state;
	options.seed = 2;
	other = factor_learn_als(&matrix, &options);
	assert_memory_equal(first.row, again.row, sizeof(float) * 60 * 6);
	assert_true(memcmp(first.row, other.row, sizeof(float) * 60 * 6) != 0);
	factor_release(NULL, &first);
	factor_release(NULL, &again);
	factor_release(&matrix, &other);
}

/* A further half-sweep of rows, and then of columns, gives each what folding it in gives. */
static void
folding_in_is_a_half_sweep(void **state)
{
	BrSparse matrix = factor_matrix(12, 90, 40, 4, .3, .03, false);
	BrAlsOptions options = {.factors = 10,
							.lambda = LAMBDA,
							.alpha = ALPHA,
							.iterations = 4,
							.solver = BR_ALS_CHOLESKY,
							.seed = 3};
	BrFactors before = factor_learn_als(&matrix, &options);
	double gram[10 * 11 / 2];
	float vector[10];
	BrContext context;
	BrSparse transposed;
	BrFactors after;

	(void) state;
	br_base_context_init(&context);
	options.start = &before;
	options.iterations = 1;
	after = factor_learn_als(&matrix, &options);
	assert_int_equal(br_learn_sparse_transpose(&context, &matrix, &transposed), BR_OK);
	assert_int_equal(br_learn_als_gram(&context, before.column, 40, 10, gram), BR_OK);
	for (int u = 0; u < 90; u++)
	{
		int64_t first = matrix.starts[u];
		BrFoldIn done = {matrix.ids + first, matrix.values + first,
						 (int) (matrix.starts[u + 1] - first)};

		assert_int_equal(br_learn_als_fold_in(&context, before.column, 40, 10, gram, LAMBDA, ALPHA,
											  &done, vector),
						 BR_OK);
		factor_assert_near(vector, after.row + u * 10, 10, 1e-4);
	}
	assert_int_equal(br_learn_als_gram(&context, after.row, 90, 10, gram), BR_OK);
	for (int i = 0; i < 40; i++)
	{
		int64_t first = transposed.starts[i];
		BrFoldIn done = {transposed.ids + first, transposed.values + first,
						 (int) (transposed.starts[i + 1] - first)};

		assert_int_equal(br_learn_als_fold_in(&context, after.row, 90, 10, gram, LAMBDA, ALPHA,
											  &done, vector),
						 BR_OK);
		factor_assert_near(vector, after.column + i * 10, 10, 1e-4);
	}
	br_learn_sparse_free(&context, &transposed);
	factor_release(NULL, &before);
	factor_release(&matrix, &after);
}

/* One column y, one factor: x = (1 + 2 r) y / (y^2 + 2 r y^2 + lambda) by hand. */
static void
folding_in_matches_hand_arithmetic(void **state)
{
	const float others[] = {.5f, 2};
	const int32_t ids[] = {1};
	const float values[] = {3};
	double gram;
	float vector;
	BrContext context;
	BrFoldIn done = {ids, values, 1};

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_als_gram(&context, others, 2, 1, &gram), BR_OK);
	assert_true(fabs(gram - 4.25) < 1e-12);
	assert_int_equal(br_learn_als_fold_in(&context, others, 2, 1, &gram, .25, 2, &done, &vector),
					 BR_OK);
	/* 7 * 2 / (4.25 + 6 * 4 + .25) */
	assert_true(fabs((double) vector - 14 / 28.5) < 1e-7);
	done.values = NULL;
	assert_int_equal(br_learn_als_fold_in(&context, others, 2, 1, &gram, .25, 2, &done, &vector),
					 BR_OK);
	/* 3 * 2 / (4.25 + 2 * 4 + .25) */
	assert_true(fabs((double) vector - 6 / 12.5) < 1e-7);
	done.n = 0;
	assert_int_equal(br_learn_als_fold_in(&context, others, 2, 1, &gram, .25, 2, &done, &vector),
					 BR_OK);
	assert_true(vector == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exact_sweeps_match_numpy),
		cmocka_unit_test(gradients_match_implicit),
		cmocka_unit_test(exact_vectors_have_no_slope),
		cmocka_unit_test(objective_is_the_sum_over_all_pairs),
		cmocka_unit_test(objective_falls_and_sweeps_resume),
		cmocka_unit_test(gradients_come_near_the_exact_solution),
		cmocka_unit_test(long_rows_are_solved_in_parts),
		cmocka_unit_test(threads_do_not_change_a_bit),
		cmocka_unit_test(seeds_make_the_start),
		cmocka_unit_test(folding_in_is_a_half_sweep),
		cmocka_unit_test(folding_in_matches_hand_arithmetic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
