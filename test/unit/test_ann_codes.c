/*
 * test_ann_codes.c
 *	  Codes and the bounds they give, against products in double.
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

#include "core/ann/ann_int.h"
#include "core/math/br_math.h"
#include "unit/ann_fixture.h"

static const BrMetric all_metrics[] = {BR_METRIC_COSINE, BR_METRIC_INNER_PRODUCT, BR_METRIC_L2};

/* ---- codes ---- */

/* The number that two bits stand for, from the residual by plain arithmetic. */
static double
number_of(const float *row, const uint16_t *centroid, int coded, int i)
{
	double squares = 0;
	double r = (double) row[i] - (double) br_math_half_to_float(centroid[i]);

	for (int j = 0; j < coded; j++)
		squares += pow((double) row[j] - (double) br_math_half_to_float(centroid[j]), 2);
	return (fabs(r) > .9957 * sqrt(squares / coded) ? 1.5 : .5) * (r >= 0 ? 1 : -1);
}

static void
bits_are_numbers_and_come_back_from_blocks(void **state)
{
	(void) state;
	for (int d = 0; d < ANN_DIMS; d++)
	{
		int dims = ann_dims[d];
		int padded = br_ann_rotated_dims(dims);
		int bits = br_ann_code_bits(dims);
		float *rows = ann_vectors(9, BR_ANN_BLOCK_ROWS + 1, padded, 1, 1);
		uint16_t *centroid = malloc(sizeof(uint16_t) * (size_t) padded);
		uint8_t *block = malloc(BR_ANN_BLOCK_CODE_BYTES(bits));
		uint8_t *written = malloc((size_t) BR_ANN_BLOCK_ROWS * (size_t) bits / 8);
		uint8_t *read = malloc((size_t) bits / 8);

		br_math_half_from_floats(rows + BR_ANN_BLOCK_ROWS * padded, (size_t) padded, centroid);
		rows[0] = br_math_half_to_float(centroid[0]); /* equal counts as above */
		for (int row = BR_ANN_BLOCK_ROWS - 1; row >= 0; row--)
		{
			uint8_t *code = written + row * bits / 8;
			BrCode numbers;

			br_ann_encode(BR_METRIC_L2, dims, rows + row * padded, centroid, code, &numbers);
			br_ann_block_put(block, bits, row, code);
			for (int i = 0; i < bits / 2; i += 7)
			{
				int j = i + bits / 2;
				double first = (code[i / 8] >> i % 8 & 1) ? 1 : -1;
				double second = (code[j / 8] >> j % 8 & 1) ? .5 : -.5;

				assert_true(first + second ==
							number_of(rows + row * padded, centroid, bits / 2, i));
			}
		}
		for (int row = 0; row < BR_ANN_BLOCK_ROWS; row++)
		{
			br_ann_block_get(block, bits, row, read);
			assert_memory_equal(read, written + row * bits / 8, (size_t) bits / 8);
		}
		free(rows);
		free(centroid);
		free(block);
		free(written);
		free(read);
	}
}

/* Vectors in a list, rotated and encoded, and queries beside them. */
typedef struct List
{
	BrContext context;
	BrRotation *rotation;
	BrMetric metric;
	int dims;
	int padded;
	int bits;
	int n; /* a multiple of a block's rows */
	int n_queries;
	float *rows;	/* (n, dims) */
	float *queries; /* (n_queries, dims) */
	uint16_t *centroid;
	uint8_t *blocks;
	BrCode *codes; /* (n) */
	float *rotated;
} List;

/*
 * The queries are among the vectors that are given; the centroid is the mean of
 * the rest, or 0, times shift.
 */
static void
build_list(List *list, BrMetric metric, int dims, float *vectors, int n, int n_queries, float shift)
{
	int rows = BR_ANN_BLOCK_ROWS;
	float *mean = calloc((size_t) dims, sizeof(float));
	uint8_t *bits;

	*list = (List){.metric = metric, .dims = dims, .n = n, .n_queries = n_queries};
	list->rotation = ann_rotation(&list->context, dims, 3);
	list->padded = br_ann_rotated_dims(dims);
	list->bits = br_ann_code_bits(dims);
	list->rows = vectors;
	list->queries = vectors + (size_t) n * dims;
	list->rotated = malloc(sizeof(float) * (size_t) list->padded);
	list->centroid = malloc(sizeof(uint16_t) * (size_t) list->padded);
	list->blocks = malloc((size_t) (n / rows) * BR_ANN_BLOCK_CODE_BYTES(list->bits));
	list->codes = malloc(sizeof(BrCode) * (size_t) n);
	for (int i = 0; i < n * dims; i++)
		mean[i % dims] += shift * vectors[i] / (float) n;
	br_ann_rotate(list->rotation, mean, list->rotated);
	br_math_half_from_floats(list->rotated, (size_t) list->padded, list->centroid);
	bits = malloc((size_t) list->bits / 8);
	for (int i = 0; i < n; i++)
	{
		br_ann_rotate(list->rotation, vectors + (size_t) i * dims, list->rotated);
		br_ann_encode(metric, dims, list->rotated, list->centroid, bits, &list->codes[i]);
		br_ann_block_put(list->blocks + (size_t) (i / rows) * BR_ANN_BLOCK_CODE_BYTES(list->bits),
						 list->bits, i % rows, bits);
	}
	free(bits);
	free(mean);
}

static void
free_list(List *list)
{
	br_ann_rotation_destroy(list->rotation);
	free(list->rows);
	free(list->rotated);
	free(list->centroid);
	free(list->blocks);
	free(list->codes);
}

static BrCodeQuery *
ask(List *list, int query, double epsilon, BrListView *view)
{
	BrCodeQuery *asked;

	br_ann_rotate(list->rotation, list->queries + (size_t) query * list->dims, list->rotated);
	assert_int_equal(br_ann_code_query_create(&list->context, list->metric, list->dims,
											  list->rotated, epsilon, &asked),
					 BR_OK);
	br_ann_view_list(asked, list->centroid,
					 br_ann_centroid_squared_norm(list->centroid, list->padded), view);
	return asked;
}

/* The bound of one row by its own width. */
static double
bound_of(const List *list, const BrCodeQuery *asked, const BrListView *view, int i)
{
	float add[BR_ANN_BLOCK_ROWS] = {0};
	float scale[BR_ANN_BLOCK_ROWS] = {0};
	float bounds[BR_ANN_BLOCK_ROWS];
	int row = i % BR_ANN_BLOCK_ROWS;

	add[row] = list->codes[i].add;
	scale[row] = list->codes[i].scale;
	br_ann_scan_block(asked, view,
					  list->blocks +
						  (size_t) (i / BR_ANN_BLOCK_ROWS) * BR_ANN_BLOCK_CODE_BYTES(list->bits),
					  add, scale, list->codes[i].width, row + 1, -INFINITY, INFINITY, bounds);
	return (double) bounds[row];
}

/* The share of pairs whose bound is above the value, and the mean of the error in deviations. */
static double
share_beyond(List *list, double epsilon, double *mean)
{
	int beyond = 0;

	*mean = 0;
	for (int q = 0; q < list->n_queries; q++)
	{
		BrListView view;
		BrCodeQuery *asked = ask(list, q, epsilon, &view);

		for (int i = 0; i < list->n; i++)
		{
			double deviation = (double) list->codes[i].scale * (double) list->codes[i].width *
				(double) view.distance;
			double above = bound_of(list, asked, &view, i) -
				ann_value(list->metric, list->rows + (size_t) i * list->dims,
						  list->queries + (size_t) q * list->dims, list->dims);

			beyond += above > 0;
			*mean += above / deviation + epsilon;
		}
		br_ann_code_query_destroy(asked);
	}
	*mean /= (double) list->n * list->n_queries;
	return (double) beyond / ((double) list->n * list->n_queries);
}

/*
 * Beyond 1 and 1.9 deviations are .1587 and .0287 of a normal distribution.
 * Tables and rounding are allowed for besides, so that it may be a little less.
 */
static void
errors_are_those_of_a_normal_distribution(void **state)
{
	enum
	{
		N = 320,
		QUERIES = 40
	};

	(void) state;
	for (int m = 0; m < 3; m++)
		for (int d = 4; d < ANN_DIMS; d++)
			for (int clusters = 1; clusters <= 8; clusters += 7)
			{
				int dims = ann_dims[d];
				List list;
				float *vectors = ann_vectors(17 + d, N + QUERIES, dims, clusters, 0.7);
				double mean;
				double share;

				if (all_metrics[m] == BR_METRIC_COSINE)
					ann_normalise(vectors, N + QUERIES, dims);
				build_list(&list, all_metrics[m], dims, vectors, N, QUERIES, clusters > 1);
				share = share_beyond(&list, 0, &mean);
				assert_true(fabs(mean) < 0.15);
				assert_true(share > 0.4 && share < 0.52);
				share = share_beyond(&list, 1, &mean);
				assert_true(share > 0.10 && share < 0.17);
				share = share_beyond(&list, 1.9, &mean);
				assert_true(share > 0.01 && share < 0.034);
				free_list(&list);
			}
}

/*
 * Eight deviations do not occur: what were above the value would be rounding.
 * The clusters stand far from the origin, where a squared distance is the
 * difference of large numbers, and in half of the cases nearly at one point.
 */
static void
rounding_never_lifts_a_bound(void **state)
{
	enum
	{
		N = 64,
		QUERIES = 12
	};

	(void) state;
	for (int m = 0; m < 3; m++)
		for (int d = 0; d < ANN_DIMS; d++)
			for (int narrow = 0; narrow < 2; narrow++)
			{
				int dims = ann_dims[d];
				float *vectors = ann_vectors(29 + d, N + QUERIES, dims, 2, narrow ? 1e-4 : 0.3);
				List list;
				double mean;

				for (int i = 0; i < (N + QUERIES) * dims; i++)
					vectors[i] += 20;
				if (all_metrics[m] == BR_METRIC_COSINE)
					ann_normalise(vectors, N + QUERIES, dims);
				/* some queries are rows, and some rows are all alike */
				memcpy(vectors + N * dims, vectors, sizeof(float) * 3 * (size_t) dims);
				for (int i = 40; i < 44; i++)
					memcpy(vectors + i * dims, vectors, sizeof(float) * (size_t) dims);
				build_list(&list, all_metrics[m], dims, vectors, N, QUERIES, 1);
				assert_true(share_beyond(&list, 8, &mean) == 0);
				free_list(&list);
			}
}

/*
 * Rows, query and centroid so near one another that all there is to see is the
 * rounding of their lengths and products: nothing but what is allowed for it
 * keeps the bound below.
 */
static void
near_rows_far_from_the_origin_stay_above_their_bounds(void **state)
{
	(void) state;
	for (int m = 1; m < 3; m++)
		for (int d = 0; d < ANN_DIMS; d++)
		{
			int dims = ann_dims[d];
			int padded = br_ann_rotated_dims(dims);
			float *vectors = ann_vectors(37 + d, 32 + 1 + 20, dims, 1, 1);
			float *near = ann_vectors(41 + d, 32 + 20, padded, 1, 1e-3);
			float *centroid = malloc(sizeof(float) * (size_t) padded);
			uint8_t *bits = malloc((size_t) br_ann_code_bits(dims) / 8);
			List list;

			build_list(&list, all_metrics[m], dims, vectors, 32, 20, 32 * 20);
			br_math_half_to_floats(list.centroid, (size_t) padded, centroid);
			for (int i = 0; i < (32 + 20) * padded; i++)
				near[i] += centroid[i % padded];
			for (int i = 0; i < 32; i++)
			{
				br_ann_encode(list.metric, dims, near + i * padded, list.centroid, bits,
							  &list.codes[i]);
				br_ann_block_put(list.blocks, list.bits, i, bits);
			}
			for (int q = 0; q < 20; q++)
			{
				const float *query = near + (32 + q) * padded;
				BrListView view;
				BrCodeQuery *asked;

				assert_int_equal(br_ann_code_query_create(&list.context, list.metric, dims, query,
														  5, &asked),
								 BR_OK);
				br_ann_view_list(asked, list.centroid,
								 br_ann_centroid_squared_norm(list.centroid, padded), &view);
				for (int i = 0; i < 32; i++)
					assert_true(bound_of(&list, asked, &view, i) <=
								ann_value(list.metric, near + i * padded, query, padded));
				br_ann_code_query_destroy(asked);
			}
			free(near);
			free(centroid);
			free(bits);
			free_list(&list);
		}
}

/* A vector that is its centroid has no error: its bound is the value but for rounding. */
static void
the_centroid_itself_is_exact(void **state)
{
	(void) state;
	for (int m = 0; m < 3; m++)
	{
		enum
		{
			DIMS = 384
		};
		float *vectors = ann_vectors(31, 33, DIMS, 1, 0.05);
		List list;
		BrListView view;
		BrCodeQuery *asked;
		BrCode code;
		uint8_t bits[2 * DIMS / 8];
		float rotated[DIMS];
		double value;
		double bound;

		build_list(&list, all_metrics[m], DIMS, vectors, 32, 1, 1);
		br_math_half_to_floats(list.centroid, DIMS, rotated);
		br_ann_encode(list.metric, DIMS, rotated, list.centroid, bits, &code);
		assert_true(code.scale == 0 && code.width == 0 && code.add == 0);
		br_ann_block_put(list.blocks, list.bits, 0, bits);
		list.codes[0] = code;
		asked = ask(&list, 0, 3, &view);
		value = ann_value(list.metric, rotated, list.rotated, DIMS);
		bound = bound_of(&list, asked, &view, 0);
		assert_true(bound <= value && bound > value - 3e-4);
		br_ann_code_query_destroy(asked);
		free_list(&list);
	}
}

/* ---- kernels ---- */

static int
other_kernels(const BrCodeKernels **kernels /* (2) */)
{
	int n = 0;

	if (br_ann_code_kernels_avx2() != NULL)
		kernels[n++] = br_ann_code_kernels_avx2();
	if (br_ann_code_kernels_avx512() != NULL)
		kernels[n++] = br_ann_code_kernels_avx512();
	return n;
}

/* Scans every block with both kernels; bounds are wanted from about the middle on. */
static void
compare_scans(const List *list, const BrCodeKernels *kernels, const BrCodeQuery *asked,
			  const BrListView *view)
{
	for (int start = 0; start < list->n; start += BR_ANN_BLOCK_ROWS)
	{
		const uint8_t *block = list->blocks +
			(size_t) (start / BR_ANN_BLOCK_ROWS) * BR_ANN_BLOCK_CODE_BYTES(list->bits);
		float add[BR_ANN_BLOCK_ROWS];
		float scale[BR_ANN_BLOCK_ROWS];
		float bounds[BR_ANN_BLOCK_ROWS];
		float others[BR_ANN_BLOCK_ROWS];

		for (int i = 0; i < BR_ANN_BLOCK_ROWS; i++)
		{
			add[i] = list->codes[start + i].add;
			scale[i] = list->codes[start + i].scale;
		}
		br_ann_scan_block_with(br_ann_code_kernels_portable(), asked, view, block, add, scale, 1,
							   32, 0, 0, bounds);
		for (int rows = 1; rows <= BR_ANN_BLOCK_ROWS; rows++)
		{
			float from = bounds[rows / 2];
			float below = bounds[(rows * 7 + 5) % BR_ANN_BLOCK_ROWS];
			uint32_t expected = 0;

			for (int i = 0; i < rows; i++)
				expected |= (uint32_t) (bounds[i] >= from && bounds[i] < below) << i;
			assert_int_equal(br_ann_scan_block_with(br_ann_code_kernels_portable(), asked, view,
													block, add, scale, 1, rows, from, below,
													others),
							 expected);
			assert_int_equal(br_ann_scan_block_with(kernels, asked, view, block, add, scale, 1,
													rows, from, below, others),
							 expected);
			assert_memory_equal(bounds, others, sizeof(bounds));
		}
	}
}

static void
kernels_agree_bit_for_bit(void **state)
{
	const BrCodeKernels *kernels[2];
	int n_kernels = other_kernels(kernels);

	(void) state;
	if (n_kernels == 0)
		skip();
	for (int k = 0; k < n_kernels; k++)
		for (int m = 0; m < 3; m++)
			for (int d = 0; d < ANN_DIMS; d++)
			{
				float *vectors = ann_vectors(3 + d, 96 + 3, ann_dims[d], 1, 1);
				List list;

				build_list(&list, all_metrics[m], ann_dims[d], vectors, 96, 3, 1);
				for (int q = 0; q < 3; q++)
				{
					float norm = br_ann_centroid_squared_norm(list.centroid, list.padded);
					BrListView view;
					BrListView other;
					BrCodeQuery *asked = ask(&list, q, 1.9, &view);

					br_ann_view_list_with(br_ann_code_kernels_portable(), asked, list.centroid,
										  norm, &view);
					br_ann_view_list_with(kernels[k], asked, list.centroid, norm, &other);
					assert_memory_equal(&view, &other, sizeof(view));
					compare_scans(&list, kernels[k], asked, &view);
					br_ann_code_query_destroy(asked);
				}
				free_list(&list);
			}
}

/* Against double: base never above and distance never below, both by little. */
static void
views_of_lists_are_distances_of_centroids(void **state)
{
	(void) state;
	for (int m = 0; m < 3; m++)
		for (int d = 0; d < ANN_DIMS; d++)
		{
			float *vectors = ann_vectors(61, 32 + 5, ann_dims[d], 1, 1);
			List list;
			float *centroid;

			build_list(&list, all_metrics[m], ann_dims[d], vectors, 32, 5, 5);
			centroid = malloc(sizeof(float) * (size_t) list.padded);
			br_math_half_to_floats(list.centroid, (size_t) list.padded, centroid);
			for (int q = 0; q < 5; q++)
			{
				BrListView view;
				BrCodeQuery *asked = ask(&list, q, 1.9, &view);
				double squares = ann_product(centroid, centroid, list.padded) +
					ann_product(list.rotated, list.rotated, list.padded);
				double value = ann_value(list.metric, centroid, list.rotated, list.padded);
				double distance =
					sqrt(ann_value(BR_METRIC_L2, centroid, list.rotated, list.padded));

				assert_true((double) view.base <= value &&
							(double) view.base > value - 1e-4 * squares);
				assert_true((double) view.distance >= distance);
				ann_assert_near((double) view.distance, distance, 1e-3 * sqrt(squares));
				ann_assert_near((double) view.order,
								list.metric == BR_METRIC_INNER_PRODUCT ? value : distance,
								1e-5 * (1 + squares));
				br_ann_code_query_destroy(asked);
			}
			free(centroid);
			free_list(&list);
		}
}

/* ---- refusals ---- */

static void
bad_arguments_and_no_memory_are_errors(void **state)
{
	AnnLedger ledger = {.allowed = 0};
	float zeros[64] = {0};
	BrContext context;
	BrRotation *rotation;
	BrCodeQuery *query;

	(void) state;
	ann_ledger_context(&context, &ledger);
	assert_int_equal(br_ann_rotation_create(&context, 0, 1, &rotation), BR_ERR_ARGUMENT);
	assert_int_equal(br_ann_rotation_create(&context, 4001, 1, &rotation), BR_ERR_ARGUMENT);
	assert_int_equal(br_ann_rotation_create(&context, 5, 1, &rotation), BR_ERR_MEMORY);
	assert_null(rotation);
	assert_int_equal(br_ann_code_query_create(&context, BR_METRIC_L2, 5, zeros, -1, &query),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_ann_code_query_create(&context, BR_METRIC_L2, 5, zeros, NAN, &query),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_ann_code_query_create(&context, BR_METRIC_L2, 5, zeros, 1, &query),
					 BR_ERR_MEMORY);
	assert_null(query);
	ledger.allowed = -1;
	assert_int_equal(br_ann_rotation_create(&context, 5, 1, &rotation), BR_OK);
	assert_int_equal(br_ann_code_query_create(&context, BR_METRIC_L2, 5, zeros, 1, &query), BR_OK);
	br_ann_rotation_destroy(rotation);
	br_ann_code_query_destroy(query);
	br_ann_rotation_destroy(NULL);
	br_ann_code_query_destroy(NULL);
	assert_int_equal(ledger.live, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_are_numbers_and_come_back_from_blocks),
		cmocka_unit_test(errors_are_those_of_a_normal_distribution),
		cmocka_unit_test(rounding_never_lifts_a_bound),
		cmocka_unit_test(near_rows_far_from_the_origin_stay_above_their_bounds),
		cmocka_unit_test(the_centroid_itself_is_exact),
		cmocka_unit_test(kernels_agree_bit_for_bit),
		cmocka_unit_test(views_of_lists_are_distances_of_centroids),
		cmocka_unit_test(bad_arguments_and_no_memory_are_errors),
	};

	return cmocka_run_group_tests_name("ann_codes", tests, NULL, NULL);
}
