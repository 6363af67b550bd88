/*
 * check_rows.c
 *	  Kernels that go row by row or element by element: conversion, activation,
 *	  norm, embedding, pooling.
 *
 * Inputs are numbers that halves hold, so that the portable reference computes
 * from the same; what may differ is a rounding to half at the end (2^-11) and a
 * few of floats before it.
 */
#include <math.h>

#include "core/math/br_math.h"
#include "cuda/checks.h"

#define HALF_ROUNDING 5e-4 /* 2^-11, and what floats add */
#define HALF_SMALLEST 1e-6 /* of the numbers that a half holds less exactly */

static const int row_counts[] = {0, 1, 3, 17};

/* By vectors of a warp (384, 768), a lane that has none (8), longer ones (1032), and odd ones. */
static const int dims[] = {1, 7, 8, 24, 32, 384, 512, 768, 1024, 1032, 1025};

static void
converts_to_the_nearest_half(void)
{
	static const int counts[] = {1, 7, 8, 9, 1000};

	for (int i = 0; i < LENGTH(counts); i++)
	{
		size_t n = (size_t) counts[i];
		float *values = check_floats(n, i % 2 == 0 ? 70000 : 1e-5);
		BrHalf *expected = check_memory(n * sizeof(BrHalf));
		BrHalf *actual = check_memory(n * sizeof(BrHalf));
		float *back = check_room(n);
		BrHalf *own = check_take(n * sizeof(BrHalf));
		float *widened = check_take(n * sizeof(float));

		br_math_half_from_floats(values, n, expected);
		br_cuda_to_half(check_stream, check_upload(values, n * sizeof(float)), n, own);
		br_cuda_to_float(check_stream, own, n, widened);
		check_download(actual, own, n * sizeof(BrHalf));
		check_download(back, widened, n * sizeof(float));
		for (size_t j = 0; j < n; j++)
		{
			CHECK(actual[j] == expected[j]);
			CHECK(back[j] == br_math_half_to_float(expected[j]));
		}
	}
}

static void
check_activation(BrActivation activation, int rows, int dim, bool biased)
{
	size_t n = (size_t) rows * (size_t) dim;
	float one = 1;
	float *values = check_rounded(n, 6);
	float *bias = biased ? check_rounded((size_t) dim, 1) : NULL;
	float *sums = check_memory(n * sizeof(float));
	float *expected = check_room(n);
	float *actual = check_room(n);
	BrHalf *halves = check_upload_halves(values, n);
	float *floats = check_upload(values, n * sizeof(float));

	for (size_t i = 0; i < n; i++)
		sums[i] = values[i] + (biased ? bias[i % (size_t) dim] : 0);
	br_math_portable_backend()->linear(sums, &one, NULL, (int) n, 1, 1, activation, expected);
	br_cuda_activate(check_stream, halves, check_upload_halves(bias, (size_t) dim), rows, dim,
					 activation);
	check_download_halves(actual, halves, n);
	check_close("halves", actual, expected, n, 3e-6, HALF_ROUNDING);
	br_cuda_activate_floats(check_stream, floats, check_upload(bias, (size_t) dim * sizeof(float)),
							rows, dim, activation);
	check_download(actual, floats, n * sizeof(float));
	check_close("floats", actual, expected, n, 1e-6, 1e-6);
}

static void
activations_match(void)
{
	static const BrActivation activations[] = {BR_ACTIVATION_NONE, BR_ACTIVATION_GELU_ERF,
											   BR_ACTIVATION_GELU_TANH, BR_ACTIVATION_TANH,
											   BR_ACTIVATION_RELU};

	for (int i = 0; i < LENGTH(activations); i++)
		for (int biased = 0; biased < 2; biased++)
		{
			check_activation(activations[i], 0, 8, biased != 0);
			check_activation(activations[i], 5, 1, biased != 0);
			check_activation(activations[i], 3, 40, biased != 0);
			check_activation(activations[i], 7, 33, biased != 0);
		}
}

static void
check_norm(int rows, int dim, bool with_residual)
{
	size_t n = (size_t) rows * (size_t) dim;
	float *input = check_rounded(n, 4);
	float *residual = with_residual ? check_rounded(n, 4) : NULL;
	float *gain = check_floats((size_t) dim, 2);
	float *bias = check_floats((size_t) dim, 1);
	float *own_gain = check_upload(gain, (size_t) dim * sizeof(float));
	float *own_bias = check_upload(bias, (size_t) dim * sizeof(float));
	BrHalf *own_input = check_upload_halves(input, n);
	BrHalf *own_residual = check_upload_halves(residual, n);
	BrHalf *reference = check_take(n * sizeof(BrHalf));
	float *expected = check_room(n);
	float *actual = check_room(n);

	br_math_portable_backend()->add_layer_norm(input, residual, gain, bias, 1e-5f, rows, dim,
											   expected);
	br_cuda_reference_add_layer_norm(check_stream, own_input, own_residual, own_gain, own_bias,
									 1e-5f, rows, dim, reference);
	check_download_halves(actual, reference, n);
	check_close("reference", actual, expected, n, HALF_SMALLEST, HALF_ROUNDING);

	/* in place of the residual, then in place of the input */
	br_cuda_add_layer_norm(check_stream, own_input, own_residual, own_gain, own_bias, 1e-5f, rows,
						   dim, with_residual ? own_residual : own_input);
	check_download_halves(actual, with_residual ? own_residual : own_input, n);
	check_close("norm", actual, expected, n, 2e-6, HALF_ROUNDING);
}

static void
norms_match(void)
{
	for (int i = 0; i < LENGTH(row_counts); i++)
		for (int j = 0; j < LENGTH(dims); j++)
			for (int residual = 0; residual < 2; residual++)
				check_norm(row_counts[i], dims[j], residual != 0);
}

/* Far from zero the variance must come from differences, or nothing is left of it. */
static void
norms_keep_small_variances(void)
{
	float *input = check_memory(384 * sizeof(float));
	float *gain = check_memory(384 * sizeof(float));
	float *bias = check_memory(384 * sizeof(float));
	float *actual = check_room(384);
	BrHalf *own;

	for (int i = 0; i < 384; i++)
	{
		input[i] = i % 2 == 0 ? 1000 : 1001;
		gain[i] = 1;
		bias[i] = 0;
	}
	own = check_upload_halves(input, 384);
	br_cuda_add_layer_norm(check_stream, own, NULL, check_upload(gain, 384 * sizeof(float)),
						   check_upload(bias, 384 * sizeof(float)), 1e-12f, 1, 384, own);
	check_download_halves(actual, own, 384);
	for (int i = 0; i < 384; i++)
		CHECK(actual[i] == (i % 2 == 0 ? -1 : 1));
}

static void
check_embedding(int rows, int dim, bool typed, bool normed)
{
	size_t n = (size_t) rows * (size_t) dim;
	int32_t *ids = check_memory((size_t) rows * sizeof(int32_t));
	int32_t *positions = check_memory((size_t) rows * sizeof(int32_t));
	float *word = check_rounded(11 * (size_t) dim, 1);
	float *position = check_rounded(5 * (size_t) dim, 1);
	float *type_row = typed ? check_rounded((size_t) dim, 1) : NULL;
	float *gain = normed ? check_floats((size_t) dim, 2) : NULL;
	float *bias = normed ? check_floats((size_t) dim, 1) : NULL;
	float *sums = check_room(n);
	float *expected = check_room(n);
	float *actual = check_room(n);
	BrHalf *own = check_take(n * sizeof(BrHalf));
	int32_t *own_ids;
	int32_t *own_positions;
	BrHalf *own_word = check_upload_halves(word, 11 * (size_t) dim);
	BrHalf *own_position = check_upload_halves(position, 5 * (size_t) dim);
	BrHalf *own_type = check_upload_halves(type_row, (size_t) dim);
	float *own_gain = check_upload(gain, (size_t) dim * sizeof(float));
	float *own_bias = check_upload(bias, (size_t) dim * sizeof(float));

	for (int i = 0; i < rows; i++)
	{
		ids[i] = i == 0 ? 10 : check_below(11);
		positions[i] = i == 0 ? 4 : check_below(5);
	}
	own_ids = check_upload(ids, (size_t) rows * sizeof(int32_t));
	own_positions = check_upload(positions, (size_t) rows * sizeof(int32_t));
	br_math_portable_backend()->embed(ids, positions, word, position, type_row, rows, dim, sums);
	if (normed)
		br_math_portable_backend()->add_layer_norm(sums, NULL, gain, bias, 1e-5f, rows, dim,
												   expected);
	else
		expected = sums;
	br_cuda_embed(check_stream, own_ids, own_positions, own_word, own_position, own_type, own_gain,
				  own_bias, 1e-5f, rows, dim, own);
	check_download_halves(actual, own, n);
	check_close("embedding", actual, expected, n, 4e-6, HALF_ROUNDING);
	br_cuda_reference_embed(check_stream, own_ids, own_positions, own_word, own_position, own_type,
							own_gain, own_bias, 1e-5f, rows, dim, own);
	check_download_halves(actual, own, n);
	check_close("reference", actual, expected, n, 4e-6, HALF_ROUNDING);
}

static void
embeddings_match(void)
{
	for (int i = 0; i < LENGTH(row_counts); i++)
		for (int j = 0; j < LENGTH(dims); j++)
			for (int kind = 0; kind < 4; kind++)
				check_embedding(row_counts[i], dims[j], kind % 2 != 0, kind / 2 != 0);
}

static void
check_pooling(BrPooling pooling, const int32_t *offsets, int texts, int dim)
{
	size_t rows = (size_t) offsets[texts];
	size_t n = (size_t) texts * (size_t) dim;
	float *tokens = check_rounded(rows * (size_t) dim, 2);
	float *expected = check_room(n);
	float *actual = check_room(n);
	float *own = check_take(n * sizeof(float));
	BrHalf *own_tokens = check_upload_halves(tokens, rows * (size_t) dim);
	int32_t *own_offsets = check_upload(offsets, ((size_t) texts + 1) * sizeof(int32_t));

	br_cuda_reference_pool(check_stream, pooling, own_tokens, own_offsets, texts, dim, own);
	check_download(expected, own, n * sizeof(float));
	br_cuda_pool(check_stream, pooling, own_tokens, own_offsets, texts, dim, own);
	check_download(actual, own, n * sizeof(float));
	check_close("pooled", actual, expected, n, 2e-6, 2e-6);
}

static void
poolings_match(void)
{
	static const int32_t offsets[] = {0, 1, 3, 20, 276};
	static const int pooled_dims[] = {1, 32, 127, 384};

	for (int pooling = BR_POOLING_CLS; pooling <= BR_POOLING_LAST; pooling++)
		for (int i = 0; i < LENGTH(pooled_dims); i++)
		{
			check_pooling((BrPooling) pooling, offsets, LENGTH(offsets) - 1, pooled_dims[i]);
			check_pooling((BrPooling) pooling, offsets, 0, pooled_dims[i]);
		}
}

/* Tokens (1, 4), (2, -8), (6, 1) by hand. */
static void
poolings_are_right_by_hand(void)
{
	static const float tokens[] = {1, 4, 2, -8, 6, 1};
	static const int32_t offsets[] = {0, 3};
	static const float expected[][2] = {
		[BR_POOLING_CLS] = {1, 4},
		[BR_POOLING_MEAN] = {3, -1},
		[BR_POOLING_MAX] = {6, 4},
		[BR_POOLING_MEAN_SQRT_LENGTH] = {5.19615242f, -1.73205081f},
		[BR_POOLING_WEIGHTED_MEAN] = {23.0f / 6, -1.5f},
		[BR_POOLING_LAST] = {6, 1},
	};
	float actual[2];
	float *own = check_take(2 * sizeof(float));
	BrHalf *own_tokens = check_upload_halves(tokens, 6);
	int32_t *own_offsets = check_upload(offsets, sizeof(offsets));

	for (int pooling = BR_POOLING_CLS; pooling <= BR_POOLING_LAST; pooling++)
	{
		br_cuda_pool(check_stream, (BrPooling) pooling, own_tokens, own_offsets, 1, 2, own);
		check_download(actual, own, sizeof(actual));
		check_close("pooled", actual, expected[pooling], 2, 0, 3e-7);
		br_cuda_reference_pool(check_stream, (BrPooling) pooling, own_tokens, own_offsets, 1, 2,
							   own);
		check_download(actual, own, sizeof(actual));
		check_close("reference", actual, expected[pooling], 2, 0, 3e-7);
	}
}

static void
rows_get_length_one(void)
{
	static const float rows[] = {3, 4, 0, 0, 6e19f, -8e19f, 3e-30f, 4e-30f};
	static const float expected[] = {0.6f, 0.8f, 0, 0, 0.6f, -0.8f, 3e-18f, 4e-18f};
	float actual[8];
	float *own = check_upload(rows, sizeof(rows));

	br_cuda_normalize(check_stream, own, 4, 2);
	br_cuda_normalize(check_stream, own, 0, 2);
	check_download(actual, own, sizeof(actual));
	check_close("rows", actual, expected, 8, 0, 3e-7);
}

static const Check checks[] = {
	{"floats become the nearest halves", converts_to_the_nearest_half},
	{"activations match the portable reference", activations_match},
	{"norms match the portable reference", norms_match},
	{"norms keep small variances", norms_keep_small_variances},
	{"embeddings match the portable reference", embeddings_match},
	{"poolings match their reference", poolings_match},
	{"poolings are right by hand", poolings_are_right_by_hand},
	{"rows get length one", rows_get_length_one},
};

const Checks row_checks = {checks, LENGTH(checks)};
