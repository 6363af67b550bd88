/*
 * test_learn_association_loss.c
 *	  Log-linear associations: loss, gradient and minimisation.
 *
 * The loss is held to its definition, written out in double here.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/learn/association_int.h"
#include "learn_countdown.h"
#include "unit/association_fixture.h"

/* NaN is near nothing */
#define assert_near(value, expected, tolerance) \
	assert_true(fabs((value) - (expected)) <= (tolerance))

/* ---- the loss ---- */

typedef struct Problem
{
	BrContext context;
	BrAssociationRows rows;
	BrAssociationPairs pairs;
	BrAssociationLoss *loss;
	int64_t n;
	double *parameters;
	double *gradient;
} Problem;

static void
open_problem(Problem *problem, const AssociationMatrix *matrix, const BrAssociationOptions *options,
			 const BrAssociationKernels *kernels)
{
	BrContext *context = &problem->context;
	BrRandom random;

	br_base_context_init(context);
	assert_int_equal(br_learn_association_merge(context, &matrix->sparse, &problem->rows), BR_OK);
	assert_int_equal(br_learn_association_pairs(context, &problem->rows, options->least_together, 0,
												&problem->pairs),
					 BR_OK);
	assert_int_equal(br_learn_association_loss_create(context, &problem->rows, &problem->pairs,
													  options, kernels, &problem->loss),
					 BR_OK);
	problem->n = br_learn_association_parameters(problem->loss);
	problem->parameters = calloc((size_t) problem->n, sizeof(double));
	problem->gradient = calloc((size_t) problem->n, sizeof(double));
	assert_int_equal(br_learn_association_start(context, problem->loss, problem->parameters),
					 BR_OK);
	br_base_random_init(&random, 5, 0);
	for (int64_t i = 0; i < problem->n - matrix->sparse.columns; i++)
		problem->parameters[i] = 4 * br_base_random_uniform(&random) - 1.5;
}

static void
close_problem(Problem *problem)
{
	free(problem->parameters);
	free(problem->gradient);
	br_learn_association_loss_free(&problem->context, problem->loss);
	br_learn_association_pairs_free(&problem->context, &problem->pairs);
	br_learn_association_rows_free(&problem->context, &problem->rows);
}

static double
loss_of(Problem *problem)
{
	double value;

	assert_int_equal(br_learn_association_evaluate(&problem->context, problem->loss,
												   problem->parameters, &value, problem->gradient),
					 BR_OK);
	return value;
}

static double
weight_of(const Problem *problem, int32_t from, int32_t to)
{
	for (int64_t i = problem->pairs.starts[from]; i < problem->pairs.starts[from + 1]; i++)
		if (problem->pairs.ids[i] == to)
			return problem->parameters[i];
	return 0;
}

static bool
holds(const AssociationMatrix *matrix, int row, int32_t column)
{
	for (int64_t i = matrix->starts[row]; i < matrix->starts[row + 1]; i++)
		if (matrix->ids[i] == column)
			return true;
	return false;
}

/* - ln P(target | row without it), by definition */
static double
surprise(const Problem *problem, const AssociationMatrix *matrix, int row, int32_t target,
		 double damping)
{
	int columns = matrix->sparse.columns;
	int64_t n = matrix->starts[row + 1] - matrix->starts[row];
	const double *bias = problem->parameters + problem->n - columns;
	double sum = 0;
	double own = 0;

	for (int32_t j = 0; j < columns; j++)
	{
		double score = 0;

		if (problem->rows.met[j] == 0 || (j != target && holds(matrix, row, j)))
			continue;
		for (int64_t i = matrix->starts[row]; i < matrix->starts[row + 1]; i++)
			if (matrix->ids[i] != target)
				score += weight_of(problem, matrix->ids[i], j);
		score = bias[j] + (n > 1 ? score * pow((double) (n - 1), -damping) : 0);
		sum += exp(score);
		if (j == target)
			own = score;
	}
	return log(sum) - own;
}

/* The loss by definition, over the rows as they are in the matrix. */
static double
defined_loss(const Problem *problem, const AssociationMatrix *matrix,
			 const BrAssociationOptions *options)
{
	int columns = matrix->sparse.columns;
	int64_t n_pairs = problem->n - columns;
	double value = 0;

	for (int row = 0; row < matrix->sparse.rows; row++)
		for (int64_t i = matrix->starts[row]; i < matrix->starts[row + 1]; i++)
			value += pow((double) (matrix->starts[row + 1] - matrix->starts[row]),
						 -options->row_damping) *
				surprise(problem, matrix, row, matrix->ids[i], options->damping);
	for (int64_t i = 0; i < n_pairs; i++)
		value += options->l2 / 2 * problem->parameters[i] * problem->parameters[i];
	for (int column = 0; column < columns; column++)
	{
		double met = problem->rows.met[column];
		double apart = problem->parameters[n_pairs + column] - log(met + 0.5);

		if (met > 0)
			value += options->l2 / 20 * apart * apart;
	}
	return value;
}

static const BrAssociationKernels *
kernels_at(int set)
{
	return set == 0 ? br_learn_association_portable()
		: set == 1	? br_learn_association_avx2()
					: br_learn_association_avx512();
}

/* Merged rows, untouched blocks, single precision and each set of kernels: all the same loss. */
static void
loss_is_as_defined(void **state)
{
	static const BrAssociationOptions cases[] = {
		{.l2 = 0.3, .damping = 0.25, .least_together = 1},
		{.l2 = 2, .damping = 0, .row_damping = 1, .least_together = 2},
		{.l2 = 0.1, .damping = 1, .row_damping = 0.5, .least_together = 3},
	};
	AssociationMatrix *matrices[] = {association_small_matrix(),
									 association_random_matrix(300, 120, 1),
									 association_random_matrix(400, 37, 2)};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int m = 0; m < 3; m++)
			for (int set = 0; set < 3; set++)
			{
				Problem problem;
				double expected;

				if (kernels_at(set) == NULL)
					continue;
				open_problem(&problem, matrices[m], &cases[i], kernels_at(set));
				problem.parameters[problem.n - matrices[m]->sparse.columns] += 0.7;
				expected = defined_loss(&problem, matrices[m], &cases[i]);
				assert_near(loss_of(&problem), expected, 2e-6 * expected);
				close_problem(&problem);
			}
	for (int m = 0; m < 3; m++)
		free(matrices[m]);
}

/* Central differences of the loss by definition, in double. */
static void
gradient_is_of_the_loss(void **state)
{
	BrAssociationOptions options = association_usual;
	AssociationMatrix *matrices[] = {association_small_matrix(),
									 association_random_matrix(60, 70, 3)};

	(void) state;
	options.row_damping = 0.5;
	for (int m = 0; m < 2; m++)
		for (int set = 0; set < 3; set++)
		{
			Problem problem;

			if (kernels_at(set) == NULL)
				continue;
			open_problem(&problem, matrices[m], &options, kernels_at(set));
			loss_of(&problem);
			for (int64_t i = 0; i < problem.n; i++)
			{
				double here = problem.parameters[i];
				double above;
				double below;

				problem.parameters[i] = here + 1e-4;
				above = defined_loss(&problem, matrices[m], &options);
				problem.parameters[i] = here - 1e-4;
				below = defined_loss(&problem, matrices[m], &options);
				problem.parameters[i] = here;
				assert_near(problem.gradient[i], (above - below) / 2e-4, 2e-5);
			}
			close_problem(&problem);
		}
	free(matrices[0]);
	free(matrices[1]);
}

/* libm's expf of the difference, to a few units in the last place; nothing below e^-60 */
static void
exponentials_are_near_libm(void **state)
{
	int32_t ids[] = {2, 0, 1};
	BrBlocks blocks = {ids, 3};

	(void) state;
	for (int set = 0; set < 3; set++)
		for (int start = 0; start < 70 && kernels_at(set) != NULL; start++)
		{
			float scores[3 * BR_ASSOCIATION_LANES];
			float before[3 * BR_ASSOCIATION_LANES];
			double expected = 0;
			double sum;

			for (int i = 0; i < 3 * BR_ASSOCIATION_LANES; i++)
				before[i] = scores[i] = (float) (3.5 - start - 0.021 * i);
			sum = kernels_at(set)->exponentials(&blocks, scores, 3.5f);
			for (int i = 0; i < 3 * BR_ASSOCIATION_LANES; i++)
			{
				double x = (double) (before[i] - 3.5f);
				double value = x < -60 ? 0 : exp(x);

				assert_near(scores[i], value, 4e-7 * value);
				expected += value;
			}
			assert_near(sum, expected, 1e-6 * expected);
		}
}

/* The rows each for itself are a problem of the same optimum as merged. */
static void
merging_changes_nothing(void **state)
{
	AssociationMatrix *matrix = association_small_matrix();
	Problem merged;
	Problem plain;
	double value;
	int64_t rows = 0;

	(void) state;
	open_problem(&merged, matrix, &association_usual, NULL);
	open_problem(&plain, matrix, &association_usual, NULL);
	assert_int_equal(merged.rows.rows, 5); /* of 11 with two columns and more */
	br_learn_association_loss_free(&plain.context, plain.loss);
	br_base_free(&plain.context, plain.rows.starts);
	br_base_free(&plain.context, plain.rows.counts);
	plain.rows.starts =
		br_base_alloc_array(&plain.context, ASSOCIATION_MAX_ROWS + 1, sizeof(int64_t));
	plain.rows.counts = br_base_alloc_array(&plain.context, ASSOCIATION_MAX_ROWS, sizeof(double));
	for (int row = 0; row < matrix->sparse.rows; row++)
	{
		int64_t n = matrix->starts[row + 1] - matrix->starts[row];

		if (n < 2)
			continue;
		memcpy(plain.rows.ids + plain.rows.starts[rows], matrix->ids + matrix->starts[row],
			   sizeof(int32_t) * (size_t) n);
		plain.rows.starts[rows + 1] = plain.rows.starts[rows] + n;
		plain.rows.counts[rows++] = 1;
	}
	plain.rows.rows = rows;
	assert_int_equal(rows, 11);
	assert_int_equal(br_learn_association_loss_create(&plain.context, &plain.rows, &plain.pairs,
													  &association_usual, NULL, &plain.loss),
					 BR_OK);
	for (int set = 0; set < 2; set++)
	{
		Problem *problem = set ? &merged : &plain;
		BrSmooth function = {br_learn_association_evaluate, problem->loss, problem->n};

		assert_int_equal(br_learn_lbfgs(&problem->context, &function, 1000, 1e-9, NULL,
										problem->parameters, &value),
						 BR_OK);
	}
	for (int64_t i = 0; i < plain.n; i++)
		assert_near(plain.parameters[i], merged.parameters[i], 1e-3);
	close_problem(&plain);
	close_problem(&merged);
	free(matrix);
}

/* ---- L-BFGS alone ---- */

/* Rosenbrock's valley; its minimum is 0 at (1, 1) */
static BrStatus
rosenbrock(BrContext *context, void *arg, const double *x, double *value, double *gradient)
{
	double across = x[1] - x[0] * x[0];

	(void) context;
	(void) arg;
	*value = 100 * across * across + (1 - x[0]) * (1 - x[0]);
	gradient[0] = -400 * across * x[0] - 2 * (1 - x[0]);
	gradient[1] = 200 * across;
	return BR_OK;
}

static BrStatus
nowhere(BrContext *context, void *arg, const double *x, double *value, double *gradient)
{
	(void) context;
	(void) arg;
	(void) x;
	*value = NAN;
	gradient[0] = gradient[1] = 0;
	return BR_OK;
}

static void
lbfgs_finds_the_end_of_the_valley(void **state)
{
	BrSmooth function = {rosenbrock, NULL, 2};
	double x[2] = {-1.2, 1};
	BrContext context;
	double value;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_lbfgs(&context, &function, 200, 0, NULL, x, &value), BR_OK);
	assert_near(x[0], 1, 1e-6);
	assert_near(x[1], 1, 1e-6);
	assert_true(value < 1e-12);
	function.evaluate = nowhere;
	assert_int_equal(br_learn_lbfgs(&context, &function, 200, 0, NULL, x, &value), BR_ERR_NUMERIC);
}

/* A million rows of two columns, whose powers take a while: it is asked on the way. */
static void
preparing_may_be_cancelled(void **state)
{
	const int64_t n = 1000000;
	int64_t *starts = malloc(sizeof(int64_t) * (size_t) (n + 1));
	int32_t *ids = malloc(sizeof(int32_t) * (size_t) (2 * n));
	double *counts = malloc(sizeof(double) * (size_t) n);
	double alone[2] = {0};
	double met[2] = {(double) n, (double) n};
	const BrAssociationRows rows = {2, n, starts, ids, counts, alone, met};
	BrAssociationPairs pairs;
	BrAssociationLoss *loss;
	Countdown countdown;
	BrContext context;

	(void) state;
	for (int64_t i = 0; i < n; i++)
	{
		starts[i] = 2 * i;
		ids[2 * i] = 0;
		ids[2 * i + 1] = 1;
		counts[i] = 1;
	}
	starts[n] = 2 * n;
	countdown_begin(&context, &countdown, INT_MAX, INT_MAX);
	assert_int_equal(br_learn_association_pairs(&context, &rows, 1, 0, &pairs), BR_OK);
	countdown.checks = 0;
	assert_int_equal(br_learn_association_loss_create(&context, &rows, &pairs, &association_usual,
													  NULL, &loss),
					 BR_ERR_CANCELLED);
	assert_null(loss);
	br_learn_association_pairs_free(&context, &pairs);
	assert_int_equal(countdown.live, 0);
	free(starts);
	free(ids);
	free(counts);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loss_is_as_defined),
		cmocka_unit_test(gradient_is_of_the_loss),
		cmocka_unit_test(exponentials_are_near_libm),
		cmocka_unit_test(merging_changes_nothing),
		cmocka_unit_test(lbfgs_finds_the_end_of_the_valley),
		cmocka_unit_test(preparing_may_be_cancelled),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
