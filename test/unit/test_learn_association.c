/*
 * test_learn_association.c
 *	  Log-linear associations: loss, gradient, optimum, lists and scores.
 *
 * The loss is held to its definition, written out in double here; optima to
 * SciPy 1.17 and NumPy 2.4, whose lines stand above the values.
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

#include "core/learn/association_int.h"

/* NaN is near nothing */
#define assert_near(value, expected, tolerance) \
	assert_true(fabs((value) - (expected)) <= (tolerance))

static const BrAssociationOptions usual = {.l2 = 0.3,
										   .damping = 0.25,
										   .least_together = 1,
										   .iterations = 1000,
										   .depth = 1000};

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

/* ---- matrices ---- */

#define MAX_ENTRIES 20000
#define MAX_ROWS 4000

typedef struct Matrix
{
	BrSparse sparse;
	int64_t starts[MAX_ROWS + 1];
	int32_t ids[MAX_ENTRIES];
} Matrix;

static Matrix *
new_matrix(int columns)
{
	Matrix *matrix = calloc(1, sizeof(Matrix));

	matrix->sparse = (BrSparse){.columns = columns, .starts = matrix->starts, .ids = matrix->ids};
	return matrix;
}

/* the row `times` times; columns ascending, ended by -1 */
static void
add_row(Matrix *matrix, int times, const int32_t *columns)
{
	for (; times > 0; times--)
	{
		int64_t end = matrix->starts[matrix->sparse.rows];

		for (int i = 0; columns[i] >= 0; i++)
			matrix->ids[end++] = columns[i];
		matrix->starts[++matrix->sparse.rows] = end;
	}
}

#define ROW(matrix, times, ...) add_row(matrix, times, (const int32_t[]){__VA_ARGS__, -1})

/* 17 rows of 5 columns, of which 3 is in none */
static Matrix *
small_matrix(void)
{
	Matrix *matrix = new_matrix(5);

	ROW(matrix, 2, 0, 1);
	ROW(matrix, 3, 1, 2);
	ROW(matrix, 2, 0, 1, 2);
	ROW(matrix, 5, 0);
	ROW(matrix, 2, 0, 1);
	ROW(matrix, 1, 2);
	ROW(matrix, 1, 0, 2);
	ROW(matrix, 1, 2, 4);
	return matrix;
}

/*
 * Rows of 2 to 6 of the 16 columns beside a random place, so that most blocks
 * are touched by no column of a row; every tenth row has one column. The last
 * three columns are in none.
 */
static Matrix *
random_matrix(int rows, int columns, uint64_t key)
{
	Matrix *matrix = new_matrix(columns);
	BrRandom random;

	br_base_random_init(&random, key, 0);
	for (int row = 0; row < rows; row++)
	{
		int centre = (int) br_base_random_below(&random, (uint32_t) (columns - 3 - 16));
		int length = row % 10 == 0 ? 1 : 2 + (int) br_base_random_below(&random, 5);
		int32_t ids[8];
		int n = 0;

		for (int column = 0; column < 16 && n < length; column++)
			if (br_base_random_below(&random, (uint32_t) (16 - column)) < (uint32_t) (length - n))
				ids[n++] = centre + column;
		ids[n] = -1;
		add_row(matrix, 1, ids);
	}
	return matrix;
}

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
open_problem(Problem *problem, const Matrix *matrix, const BrAssociationOptions *options,
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
	br_learn_association_start(problem->loss, problem->parameters);
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
holds(const Matrix *matrix, int row, int32_t column)
{
	for (int64_t i = matrix->starts[row]; i < matrix->starts[row + 1]; i++)
		if (matrix->ids[i] == column)
			return true;
	return false;
}

/* - ln P(target | row without it), by definition */
static double
surprise(const Problem *problem, const Matrix *matrix, int row, int32_t target, double damping)
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
defined_loss(const Problem *problem, const Matrix *matrix, const BrAssociationOptions *options)
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
	Matrix *matrices[] = {small_matrix(), random_matrix(300, 120, 1), random_matrix(400, 37, 2)};

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
	BrAssociationOptions options = usual;
	Matrix *matrices[] = {small_matrix(), random_matrix(60, 70, 3)};

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

/* ---- the fit ---- */

static void
fit(const Matrix *matrix, const BrAssociationOptions *options, BrLists *lists, float **bias)
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
	Matrix *matrix = small_matrix();

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

/* The rows each for itself are a problem of the same optimum as merged. */
static void
merging_changes_nothing(void **state)
{
	Matrix *matrix = small_matrix();
	Problem merged;
	Problem plain;
	double value;
	int64_t rows = 0;

	(void) state;
	open_problem(&merged, matrix, &usual, NULL);
	open_problem(&plain, matrix, &usual, NULL);
	assert_int_equal(merged.rows.rows, 5); /* of 11 with two columns and more */
	br_learn_association_loss_free(&plain.context, plain.loss);
	br_base_free(&plain.context, plain.rows.starts);
	br_base_free(&plain.context, plain.rows.counts);
	plain.rows.starts = br_base_alloc_array(&plain.context, MAX_ROWS + 1, sizeof(int64_t));
	plain.rows.counts = br_base_alloc_array(&plain.context, MAX_ROWS, sizeof(double));
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
													  &usual, NULL, &plain.loss),
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

/*
 * Rows of two columns, the pair (i, j) times[i][j] times: with hardly any
 * regularisation the model is saturated, and P(j | i) is the share of j among
 * the rows of i.
 */
static void
shares_of_pairs_are_learned(void **state)
{
	static const int times[4][4] = {{0, 40, 10, 5}, {0, 0, 60, 20}, {0, 0, 0, 30}};
	BrAssociationOptions options = usual;
	Matrix *matrix = new_matrix(4);
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
	Matrix *matrix = new_matrix(40);
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
		add_row(matrix, 1, ids);
	}
	fit(matrix, &usual, &lists, &bias);
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
	BrAssociationOptions options = usual;
	Matrix *matrix = small_matrix();
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
	Matrix *nothing = new_matrix(0);
	Matrix *columns = new_matrix(3);
	Matrix *one_row = new_matrix(2);
	Matrix *one_column = new_matrix(1);
	BrLists lists;
	float *bias;

	(void) state;
	fit(nothing, &usual, &lists, &bias);
	assert_int_equal(lists.n, 0);
	discard(&lists, bias);

	fit(columns, &usual, &lists, &bias);
	assert_int_equal(lists.starts[3], 0);
	assert_true(bias[0] == 0 && bias[1] == 0 && bias[2] == 0);
	discard(&lists, bias);

	/* each of the two is the only candidate where the other is known */
	ROW(one_row, 1, 0, 1);
	fit(one_row, &usual, &lists, &bias);
	assert_int_equal(lists.n, 2);
	assert_near(bias[0], log(1.5), 1e-6);
	assert_near(bias[1], log(1.5), 1e-6);
	assert_near(listed(&lists, 0, 1), 0, 1e-6);
	discard(&lists, bias);

	ROW(one_column, 7, 0);
	fit(one_column, &usual, &lists, &bias);
	assert_int_equal(lists.starts[1], 0);
	assert_near(bias[0], log(7.5), 1e-6);
	discard(&lists, bias);
	free(nothing);
	free(columns);
	free(one_row);
	free(one_column);
}

static void
expect_refusal(const Matrix *matrix, const BrAssociationOptions *options, const char *hint)
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
	Matrix *matrix = small_matrix();
	BrAssociationOptions options;

	(void) state;
	for (int i = 0; i < 4; i++)
	{
		options = usual;
		options.l2 = no_l2[i];
		expect_refusal(matrix, &options, "regularised");
		options = usual;
		options.damping = no_damping[i];
		expect_refusal(matrix, &options, "The damping");
		options = usual;
		options.row_damping = no_damping[i];
		expect_refusal(matrix, &options, "The row damping");
	}
	options = usual;
	options.iterations = 0;
	expect_refusal(matrix, &options, "not 0, 1000 and 1");
	options = usual;
	options.depth = 0;
	expect_refusal(matrix, &options, "not 1000, 0 and 1");
	options = usual;
	options.least_together = 0;
	expect_refusal(matrix, &options, "1000 and 0");
	matrix->ids[1] = 5;
	expect_refusal(matrix, &usual, "Row 0 has column 5");
	free(matrix);
}

/* 8 pairs: one byte less than they take is too little. */
static void
memory_limit_is_kept(void **state)
{
	Matrix *matrix = small_matrix();
	BrAssociationOptions options = usual;
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
	Matrix *matrix = small_matrix();
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
		status = br_learn_association(&context, &matrix->sparse, &usual, &lists, &bias);
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
		status = br_learn_association(&context, &matrix->sparse, &usual, &lists, &bias);
		if (status != BR_OK)
			assert_true(ledger.live == 0 && bias == NULL && lists.ids == NULL);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 10);
	br_learn_lists_free(&context, &lists);
	br_base_free(&context, bias);
	free(matrix);
}

/* Of 300 columns with 4,000 rows: never a tenth of a second without asking. */
static void
cancel_is_asked_often(void **state)
{
	Matrix *matrix = random_matrix(4000, 300, 6);
	BrAssociationOptions options = usual;
	Watch watch = {.left = 1000000};
	BrContext context;
	BrLists lists;
	float *bias;

	(void) state;
	br_base_context_init(&context);
	options.iterations = 20;
	watch.last = seconds();
	context.cancel = (BrCancel){watched, &watch};
	assert_int_equal(br_learn_association(&context, &matrix->sparse, &options, &lists, &bias),
					 BR_OK);
	watched(&watch);
	assert_true(watch.longest < 0.1);
	discard(&lists, bias);
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
	Matrix *matrix = small_matrix();
	int64_t last = 0;
	BrProgress progress = {count_report, &last};
	BrAssociationOptions options = usual;
	BrLists lists;
	float *bias;

	(void) state;
	options.progress = &progress;
	fit(matrix, &options, &lists, &bias);
	assert_int_equal(last, 1000);
	discard(&lists, bias);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loss_is_as_defined),
		cmocka_unit_test(gradient_is_of_the_loss),
		cmocka_unit_test(exponentials_are_near_libm),
		cmocka_unit_test(optimum_is_scipys),
		cmocka_unit_test(merging_changes_nothing),
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
		cmocka_unit_test(lbfgs_finds_the_end_of_the_valley),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
