/*
 * test_ann_rotation.c
 *	  Rotations and exact distances, against products in double.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/ann/br_ann.h"
#include "core/math/br_math.h"
#include "unit/ann_fixture.h"

static void
sizes_are_multiples_of_64(void **state)
{
	static const int expected[ANN_DIMS][2] = {{64, 128},	{64, 128},	  {64, 128},
											  {64, 128},	{128, 256},	  {384, 768},
											  {1024, 1536}, {1536, 1536}, {4032, 1536}};

	(void) state;
	for (int i = 0; i < ANN_DIMS; i++)
	{
		assert_int_equal(br_ann_rotated_dims(ann_dims[i]), expected[i][0]);
		assert_int_equal(br_ann_code_bits(ann_dims[i]), expected[i][1]);
	}
}

static void
rotation_keeps_lengths_and_products(void **state)
{
	enum
	{
		N = 6
	};

	(void) state;
	for (int i = 0; i < ANN_DIMS; i++)
	{
		int dims = ann_dims[i];
		int padded = br_ann_rotated_dims(dims);
		float *vectors = ann_vectors(5, N, dims, 1, 3);
		float *rotated = malloc(sizeof(float) * N * (size_t) padded);
		BrContext context;
		BrRotation *rotation = ann_rotation(&context, dims, 42);

		for (int row = 0; row < N; row++)
			br_ann_rotate(rotation, vectors + row * dims, rotated + row * padded);
		for (int a = 0; a < N; a++)
			for (int b = 0; b <= a; b++)
			{
				const float *left = vectors + a * dims;
				const float *right = vectors + b * dims;
				double scale =
					sqrt(ann_product(left, left, dims) * ann_product(right, right, dims));

				ann_assert_near(ann_product(rotated + a * padded, rotated + b * padded, padded),
								ann_product(left, right, dims), 1e-5 * scale);
			}
		br_ann_rotation_destroy(rotation);
		free(vectors);
		free(rotated);
	}
}

/*
 * Every axis must be spread over all coordinates, else signs say nothing of
 * it. Of 384 coordinates of a random direction the largest is .17 or so; .45
 * is beyond nine standard deviations. A seed decides.
 */
static void
rotation_spreads_every_axis(void **state)
{
	enum
	{
		DIMS = 384
	};
	BrContext context;
	BrRotation *rotation = ann_rotation(&context, DIMS, 1);
	BrRotation *same = ann_rotation(&context, DIMS, 1);
	BrRotation *other = ann_rotation(&context, DIMS, 2);

	(void) state;
	for (int axis = 0; axis < DIMS; axis++)
	{
		float vector[DIMS] = {0};
		float rotated[DIMS];
		float again[DIMS];

		vector[axis] = 1;
		br_ann_rotate(rotation, vector, rotated);
		for (int i = 0; i < DIMS; i++)
			assert_true(fabsf(rotated[i]) < 0.45f);
		br_ann_rotate(same, vector, again);
		assert_memory_equal(rotated, again, sizeof(rotated));
		br_ann_rotate(other, vector, again);
		assert_memory_not_equal(rotated, again, sizeof(rotated));
	}
	br_ann_rotation_destroy(rotation);
	br_ann_rotation_destroy(same);
	br_ann_rotation_destroy(other);
}

/* ---- exact distances ---- */

/* Products of halves are exact in double, and sums of them nearly so. */
static void
distances_are_those_of_plain_sums(void **state)
{
	(void) state;
	for (int d = 0; d < ANN_DIMS; d++)
	{
		int dims = ann_dims[d];
		float *floats = ann_vectors(51 + d, 2, dims, 1, 1);
		uint16_t *left = malloc(sizeof(uint16_t) * (size_t) dims);
		uint16_t *right = malloc(sizeof(uint16_t) * (size_t) dims);
		double norm;
		double product;
		double cosine;

		br_math_half_from_floats(floats, (size_t) dims, left);
		br_math_half_from_floats(floats + dims, (size_t) dims, right);
		br_math_half_to_floats(left, (size_t) dims, floats);
		br_math_half_to_floats(right, (size_t) dims, floats + dims);
		norm = br_ann_squared_norm(left, dims);
		product = ann_product(floats, floats + dims, dims);
		cosine = product /
			sqrt(ann_product(floats, floats, dims) *
				 ann_product(floats + dims, floats + dims, dims));
		ann_assert_near(norm, ann_product(floats, floats, dims), 1e-12 * norm);
		ann_assert_near(br_ann_cosine(left, norm, right, dims), cosine, 1e-12);
		ann_assert_near(br_ann_distance(BR_METRIC_COSINE, left, norm, right, dims), 1 - cosine,
						1e-12);
		ann_assert_near(br_ann_distance(BR_METRIC_INNER_PRODUCT, left, 0, right, dims), -product,
						1e-12 * dims);
		ann_assert_near(br_ann_distance(BR_METRIC_L2, left, 0, right, dims),
						sqrt(ann_value(BR_METRIC_L2, floats, floats + dims, dims)), 1e-12 * dims);
		ann_assert_near(br_ann_distance(BR_METRIC_COSINE, left, norm, left, dims), 0, 1e-15);
		free(floats);
		free(left);
		free(right);
	}
}

/* No direction: the cosine counts as 0. And a product of 0 has no sign. */
static void
zero_vectors_have_distances(void **state)
{
	static const uint16_t zeros[3] = {0, 0x8000, 0};
	static const uint16_t ones[3] = {0x3C00, 0x3C00, 0x3C00};

	(void) state;
	assert_true(br_ann_distance(BR_METRIC_COSINE, zeros, 0, ones, 3) == 1);
	assert_true(br_ann_distance(BR_METRIC_COSINE, ones, 3, zeros, 3) == 1);
	assert_true(br_ann_distance(BR_METRIC_L2, ones, 3, zeros, 3) == sqrt(3));
	assert_false(signbit(br_ann_distance(BR_METRIC_INNER_PRODUCT, ones, 3, zeros, 3)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_multiples_of_64),
		cmocka_unit_test(rotation_keeps_lengths_and_products),
		cmocka_unit_test(rotation_spreads_every_axis),
		cmocka_unit_test(distances_are_those_of_plain_sums),
		cmocka_unit_test(zero_vectors_have_distances),
	};

	return cmocka_run_group_tests_name("ann_rotation", tests, NULL, NULL);
}
