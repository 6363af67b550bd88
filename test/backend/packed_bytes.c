/*
 * packed_bytes.c
 *	  Packed products of bytes against exact arithmetic, and against f32.
 *
 * Inputs and weights are made from whole numbers, at most .4 of a step beside
 * them: which bytes must come of them is known without rounding anything, and
 * the formula of onednn_backend.c gives the output from exact sums. Random
 * inputs are held to the error that half a step of each factor can make.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/packed_products.h"
#include "core/math/br_math.h"

/* ---- int8 from known bytes ---- */

/* Whole numbers and the floats that stand for them; steps of rows and columns differ. */
typedef struct Bytes
{
	int *input; /* (rows, in_dim), 0 to 255 */
	int *zero;	/* (rows) */
	float *row_step;
	int *weight; /* (out_dim, in_dim), -127 to 127 */
	float *column_step;
	float *factor; /* (in_dim), powers of two: exact */
	float *inputs;
	float *weights;
} Bytes;

static double
beside(void)
{
	return 0.8 * br_base_random_uniform(&random_source) - 0.4;
}

/*
 * A row spans its bytes from 0 to 255 exactly where it has two inputs or more,
 * and its zero is a whole number; with one input one of both ends is 0 itself.
 */
static void
make_row(Bytes *bytes, int row, int in_dim)
{
	int *whole = bytes->input + (size_t) row * (size_t) in_dim;
	float *input = bytes->inputs + (size_t) row * (size_t) in_dim;
	int zero = in_dim > 1 ? (int) br_base_random_below(&random_source, 256) : row % 2 * 255;
	float step = (float) (0.001 + 0.01 * br_base_random_uniform(&random_source));

	for (int i = 0; i < in_dim; i++)
	{
		whole[i] = (int) br_base_random_below(&random_source, 254) + 1;
		input[i] = (float) ((double) step * (whole[i] - zero + beside()));
	}
	whole[0] = zero == 0 ? 255 : 0;
	whole[in_dim - 1] = whole[0] == 255 && in_dim > 1 ? 0 : 255 - (in_dim == 1) * zero;
	input[0] = step * (float) (whole[0] - zero);
	input[in_dim - 1] = step * (float) (whole[in_dim - 1] - zero);
	for (int i = 0; i < in_dim; i++)
		input[i] *= bytes->factor[i];
	bytes->zero[row] = zero;
	bytes->row_step[row] = step;
}

static void
make_column(Bytes *bytes, int column, int in_dim)
{
	int *whole = bytes->weight + (size_t) column * (size_t) in_dim;
	float *weight = bytes->weights + (size_t) column * (size_t) in_dim;
	float step = (float) (0.0001 + 0.001 * br_base_random_uniform(&random_source));

	for (int i = 0; i < in_dim; i++)
	{
		whole[i] = (int) br_base_random_below(&random_source, 253) - 126;
		weight[i] = (float) ((double) step * (whole[i] + beside()));
	}
	whole[in_dim / 2] = column % 2 == 0 ? 127 : -127;
	weight[in_dim / 2] = step * (float) whole[in_dim / 2];
	for (int i = 0; i < in_dim; i++)
		weight[i] /= bytes->factor[i];
	bytes->column_step[column] = step;
}

static Bytes
make_bytes(Shape shape, bool with_factor)
{
	size_t rows = (size_t) shape.rows;
	size_t in_dim = (size_t) shape.in_dim;
	size_t out_dim = (size_t) shape.out_dim;
	Bytes bytes = {calloc(rows * in_dim + 1, sizeof(int)),
				   calloc(rows + 1, sizeof(int)),
				   calloc(rows + 1, sizeof(float)),
				   calloc(in_dim * out_dim, sizeof(int)),
				   calloc(out_dim, sizeof(float)),
				   calloc(in_dim, sizeof(float)),
				   malloc(rows > 0 ? rows * in_dim * sizeof(float) : 1),
				   malloc(in_dim * out_dim * sizeof(float))};

	for (int i = 0; i < shape.in_dim; i++)
		bytes.factor[i] =
			with_factor ? ldexpf(1, (int) br_base_random_below(&random_source, 9) - 4) : 1;
	for (int i = 0; i < shape.rows; i++)
		make_row(&bytes, i, shape.in_dim);
	for (int i = 0; i < shape.out_dim; i++)
		make_column(&bytes, i, shape.in_dim);
	return bytes;
}

static void
free_bytes(Bytes *bytes)
{
	free(bytes->input);
	free(bytes->zero);
	free(bytes->row_step);
	free(bytes->weight);
	free(bytes->column_step);
	free(bytes->factor);
	free(bytes->inputs);
	free(bytes->weights);
}

/* The output of a row and a column, and what float arithmetic may be off after exact sums. */
static double
exact_output(const Bytes *bytes, int row, int column, int in_dim, double *allowed)
{
	const int *input = bytes->input + (size_t) row * (size_t) in_dim;
	const int *weight = bytes->weight + (size_t) column * (size_t) in_dim;
	double step = (double) bytes->row_step[row] * (double) bytes->column_step[column];
	int64_t sum = 0;
	int64_t all = 0;

	for (int i = 0; i < in_dim; i++)
	{
		sum += (int64_t) input[i] * weight[i];
		all += weight[i];
	}
	/* the sum is rounded once, and steps come from extremes: four roundings of 2^-24 */
	*allowed =
		step * (1.2e-7 * fabs((double) sum) + 5e-7 * fabs((double) (sum - bytes->zero[row] * all)));
	return step * (double) (sum - bytes->zero[row] * all);
}

static void
check_known_bytes(const BrBackend *table, Shape shape, bool with_bias, BrActivation activation)
{
	bool with_factor = shape.rows % 2 == 1;
	Bytes bytes = make_bytes(shape, with_factor);
	float *bias = random_floats((size_t) shape.out_dim, 1);
	float *actual = guarded((size_t) shape.rows * (size_t) shape.out_dim);
	Packed packed = pack_matrix(table, BR_PRECISION_INT8, bytes.weights,
								with_factor ? bytes.factor : NULL, shape.in_dim, shape.out_dim);
	const float one = 1;

	run_packed(&packed, bytes.inputs, with_bias ? bias : NULL, shape.rows, activation, actual);
	for (int row = 0; row < shape.rows; row++)
		for (int column = 0; column < shape.out_dim; column++)
		{
			double allowed;
			double exact = exact_output(&bytes, row, column, shape.in_dim, &allowed) +
				(with_bias ? (double) bias[column] : 0);
			float before = (float) exact;
			float expected;
			float found = actual[(size_t) row * (size_t) shape.out_dim + (size_t) column];

			br_math_portable_backend()->linear(&before, &one, NULL, 1, 1, 1, activation, &expected);
			/* no activation is steeper than 1.13, and each is within 3.6e-7 of its input */
			allowed = 1.13 * allowed + 6e-7 * fabs(exact) + 1e-9;
			if (!(fabs((double) found - (double) expected) <= allowed))
				fail_msg("(%d, %d, %d) at %d, %d: %.9g, expected %.9g", shape.rows, shape.in_dim,
						 shape.out_dim, row, column, (double) found, (double) expected);
		}
	free(packed.block);
	free(actual);
	free(bias);
	free_bytes(&bytes);
}

static void
packed_int8_matches_known_bytes(void **state)
{
	for_all_shapes(table_or_skip(state), check_known_bytes);
}

/* ---- int8 against f32 ---- */

/* The steps that rounding a row and a column makes, from their extremes. */
static double
row_step(const float *input, const float *factor, int dim)
{
	double low = 0;
	double high = 0;

	for (int i = 0; i < dim; i++)
	{
		low = fmin(low, (double) input[i] / (double) factor[i]);
		high = fmax(high, (double) input[i] / (double) factor[i]);
	}
	return (high - low) / 255;
}

static double
column_step(const float *weight, const float *factor, int dim)
{
	double largest = 0;

	for (int i = 0; i < dim; i++)
		largest = fmax(largest, fabs((double) weight[i] * (double) factor[i]));
	return largest / 127;
}

/*
 * |sum of x w - x' w'| with x' within half a row's step of x and w' within half
 * a column's step of w is at most the sum of |x| t / 2 + (|w| + t / 2) s / 2.
 * The mean of its square is the sum of x^2 t^2 / 12 + w^2 s^2 / 12.
 */
static void
check_error(const BrBackend *table, Shape shape, double spread)
{
	size_t in_dim = (size_t) shape.in_dim;
	size_t n = (size_t) shape.rows * (size_t) shape.out_dim;
	float *input = random_floats((size_t) shape.rows * in_dim, 2);
	float *weight = random_floats(in_dim * (size_t) shape.out_dim, 2 / sqrt(shape.in_dim));
	float *factor = malloc(in_dim * sizeof(float));
	float *actual = guarded(n);
	Packed packed;
	double squares = 0;
	double expected_squares = 0;

	/* inputs as different in range as the factors say */
	for (size_t i = 0; i < in_dim; i++)
		factor[i] = (float) pow(spread, 2 * br_base_random_uniform(&random_source) - 1);
	for (size_t i = 0; i < in_dim * (size_t) shape.rows; i++)
		input[i] *= factor[i % in_dim];
	for (size_t i = 0; i < in_dim * (size_t) shape.out_dim; i++)
		weight[i] /= factor[i % in_dim];
	packed = pack_matrix(table, BR_PRECISION_INT8, weight, factor, shape.in_dim, shape.out_dim);
	run_packed(&packed, input, NULL, shape.rows, BR_ACTIVATION_NONE, actual);
	for (size_t at = 0; at < n; at++)
	{
		const float *x = input + at / (size_t) shape.out_dim * in_dim;
		const float *w = weight + at % (size_t) shape.out_dim * in_dim;
		double s = row_step(x, factor, shape.in_dim);
		double t = column_step(w, factor, shape.in_dim);
		double exact = 0;
		double bound = 0;

		for (size_t i = 0; i < in_dim; i++)
		{
			double own = (double) x[i] / (double) factor[i];
			double other = (double) w[i] * (double) factor[i];

			exact += own * other;
			bound += fabs(own) * t / 2 + (fabs(other) + t / 2) * s / 2;
			expected_squares += (own * own * t * t + other * other * s * s) / 12;
		}
		assert_true(fabs((double) actual[at] - exact) <= bound * 1.0001 + 1e-6);
		squares += pow((double) actual[at] - exact, 2);
	}
	/* over tens of thousands of outputs; the zero's own rounding adds nothing */
	assert_true(squares <= 1.1 * expected_squares);
	assert_true(squares >= 0.9 * expected_squares);
	free(packed.block);
	free(input);
	free(weight);
	free(factor);
	free(actual);
}

static void
int8_errs_by_half_a_step(void **state)
{
	const BrBackend *table = table_or_skip(state);

	check_error(table, (Shape){129, 384, 129}, 1);
	check_error(table, (Shape){129, 33, 257}, 30);
	check_error(table, (Shape){65, 384, 257}, 30);
}

/* What a scale of zero or of nothing would spoil: the output is the bias then. */
static void
int8_survives_nothing(void **state)
{
	static const float smallest[] = {0, 1e-45f, 3e-44f, -1e-40f, 1e-38f, -2e-37f};
	const BrBackend *table = table_or_skip(state);
	float *weight = random_floats(33 * 33, 1);
	float *input = random_floats(17 * 33, 1);
	float *bias = random_floats(33, 1);
	float *expected = guarded(17 * 33);
	float *actual = guarded(17 * 33);
	Packed packed = pack_matrix(table, BR_PRECISION_INT8, weight, NULL, 33, 33);

	for (int i = 0; i < 17 * 33; i++)
		expected[i] = bias[i % 33];
	for (int i = 0; i < LENGTH(smallest); i++)
	{
		Packed nothing;

		for (int j = 0; j < 33 * 33; j++)
			weight[j] = j % 5 == 0 ? 0 : smallest[i];
		nothing = pack_matrix(table, BR_PRECISION_INT8, weight, NULL, 33, 33);
		run_packed(&nothing, input, bias, 17, BR_ACTIVATION_NONE, actual);
		assert_close(actual, expected, 17 * 33, 1e-30, 0);
		free(nothing.block);
	}
	for (int i = 0; i < LENGTH(smallest); i++)
	{
		for (int j = 0; j < 17 * 33; j++)
			input[j] = j % 5 == 0 ? 0 : smallest[i];
		run_packed(&packed, input, bias, 17, BR_ACTIVATION_NONE, actual);
		assert_close(actual, expected, 17 * 33, 1e-30, 0);
	}
	free(packed.block);
	free(weight);
	free(input);
	free(bias);
	free(expected);
	free(actual);
}

const struct CMUnitTest bytes_tests[BYTES_TESTS] = {
	cmocka_unit_test(packed_int8_matches_known_bytes),
	cmocka_unit_test(int8_errs_by_half_a_step),
	cmocka_unit_test(int8_survives_nothing),
};
