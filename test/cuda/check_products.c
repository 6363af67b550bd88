/*
 * check_products.c
 *	  Matrix products against the portable reference.
 */
#include <math.h>
#include <stdio.h>

#include "core/math/br_math.h"
#include "cuda/checks.h"

static const BrProductKind kinds[] = {BR_PRODUCT_BEST, BR_PRODUCT_KERNEL, BR_PRODUCT_REFERENCE};

/* rows, in_dim, out_dim: of all sides of a block of 64, its steps of 32, and eights. */
static const int shapes[][3] = {{0, 8, 8},		{1, 1, 1},	   {1, 8, 8},	  {3, 7, 5},
								{17, 32, 33},	{64, 64, 64},  {65, 40, 72},  {63, 33, 65},
								{130, 384, 96}, {5, 100, 200}, {128, 16, 129}};

static void
check_halves(BrProducts *products, const int *shape, bool biased, BrActivation activation)
{
	int rows = shape[0];
	int in_dim = shape[1];
	int out_dim = shape[2];
	size_t n = (size_t) rows * (size_t) out_dim;
	double scale = 1.7 / sqrt(in_dim);
	float *input = check_rounded((size_t) rows * (size_t) in_dim, 1);
	float *weight = check_rounded((size_t) out_dim * (size_t) in_dim, scale);
	float *bias = biased ? check_rounded((size_t) out_dim, 1) : NULL;
	float *expected = check_room(n);
	float *actual = check_room(n);
	BrHalf *own = check_take(n * sizeof(BrHalf));
	float *floats = check_take(n * sizeof(float));
	BrHalf *own_input = check_upload_halves(input, (size_t) rows * (size_t) in_dim);
	BrHalf *own_weight = check_upload_halves(weight, (size_t) out_dim * (size_t) in_dim);

	br_math_portable_backend()->linear(input, weight, bias, rows, in_dim, out_dim, activation,
									   expected);
	check_ok(br_cuda_multiply(products, &check_context, check_stream, own_input, own_weight,
							  check_upload_halves(bias, (size_t) out_dim), rows, in_dim, out_dim,
							  activation, own));
	check_download_halves(actual, own, n);
	/* a product rounded before its activation is rounded twice, at most 4 * 2^-11 */
	check_close(br_cuda_products_name(products), actual, expected, n, 2.5e-3, 5e-4);

	br_math_portable_backend()->multiply_transposed(input, weight, rows, out_dim, in_dim, expected);
	check_ok(br_cuda_multiply_to_floats(products, &check_context, check_stream, own_input,
										own_weight, rows, in_dim, out_dim, floats));
	check_download(actual, floats, n * sizeof(float));
	check_close(br_cuda_products_name(products), actual, expected, n, 4e-6, 2e-6);
}

static void
products_of_halves_match(void)
{
	for (int k = 0; k < LENGTH(kinds); k++)
	{
		BrProducts *products;

		check_ok(br_cuda_open_products(&check_context, kinds[k], &products));
		if (check_has_failed())
			return;
		printf("# products by %s\n", br_cuda_products_name(products));
		for (int i = 0; i < LENGTH(shapes); i++)
			for (int biased = 0; biased < 2; biased++)
				check_halves(products, shapes[i], biased != 0,
							 (BrActivation) ((i + biased) % (BR_ACTIVATION_RELU + 1)));
		for (int activation = 0; activation <= BR_ACTIVATION_RELU; activation++)
			check_halves(products, shapes[6], true, (BrActivation) activation);
		br_cuda_close_products(products);
	}
}

static void
products_of_floats_match(void)
{
	static const int float_shapes[][3] = {{0, 4, 3},	 {1, 1, 1},	   {3, 130, 7},	  {129, 5, 8},
										  {128, 128, 8}, {2, 200, 33}, {140, 131, 36}};

	for (int i = 0; i < LENGTH(float_shapes); i++)
	{
		int rows = float_shapes[i][0];
		int columns = float_shapes[i][1];
		int depth = float_shapes[i][2];
		size_t n = (size_t) rows * (size_t) columns;
		float *left = check_floats((size_t) rows * (size_t) depth, 1);
		float *right = check_floats((size_t) columns * (size_t) depth, 1 / sqrt(depth));
		float *expected = check_room(n);
		float *actual = check_room(n);
		float *own = check_take(n * sizeof(float));

		br_math_portable_backend()->multiply_transposed(left, right, rows, columns, depth,
														expected);
		br_cuda_multiply_floats(check_stream,
								check_upload(left, (size_t) rows * (size_t) depth * sizeof(float)),
								check_upload(right,
											 (size_t) columns * (size_t) depth * sizeof(float)),
								rows, columns, depth, own);
		check_download(actual, own, n * sizeof(float));
		check_close("floats", actual, expected, n, 1e-6, 1e-6);
	}
}

/* Integers, so that sums are exact in any order. What lies between rows must stay. */
static void
check_doubles(int rows, int columns, int depth, int gap, double keep)
{
	int strides[] = {depth + gap, depth + 2 * gap + 1, columns + gap + 1};
	size_t sizes[] = {(size_t) rows * (size_t) strides[0], (size_t) columns * (size_t) strides[1],
					  (size_t) rows * (size_t) strides[2]};
	double *values[3];
	double *own[3];
	double *expected = check_memory((sizes[2] + 1) * sizeof(double));

	for (int i = 0; i < 3; i++)
	{
		values[i] = check_memory((sizes[i] + 1) * sizeof(double));
		for (size_t j = 0; j < sizes[i]; j++)
			values[i][j] = check_below(200) - 100;
		own[i] = check_upload(values[i], sizes[i] * sizeof(double));
	}
	for (size_t i = 0; i < sizes[2]; i++)
		expected[i] = values[2][i];
	br_math_portable_backend()->multiply_transposed_double(values[0], values[1], rows, columns,
														   depth, strides[0], strides[1],
														   strides[2], -0.5, keep, expected);
	br_cuda_multiply_doubles(check_stream, own[0], own[1], rows, columns, depth, strides[0],
							 strides[1], strides[2], -0.5, keep, own[2]);
	check_download(values[2], own[2], sizes[2] * sizeof(double));
	for (size_t i = 0; i < sizes[2]; i++)
		CHECK(values[2][i] == expected[i]);
}

static void
products_of_doubles_match(void)
{
	static const int sides[] = {1, 5, 16, 33};
	static const int depths[] = {0, 1, 15, 16, 50};

	for (int i = 0; i < LENGTH(sides); i++)
		for (int j = 0; j < LENGTH(sides); j++)
			for (int k = 0; k < LENGTH(depths); k++)
				check_doubles(sides[i], sides[j], depths[k], (i + j) % 3, k % 3 - 1);
	check_doubles(0, 5, 5, 0, 0);
}

static const Check checks[] = {
	{"products of halves match the portable reference", products_of_halves_match},
	{"products of floats match the portable reference", products_of_floats_match},
	{"products of doubles match the portable reference", products_of_doubles_match},
};

const Checks product_checks = {checks, LENGTH(checks)};
