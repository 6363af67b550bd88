/*
 * test_backends.c
 *	  Every backend against the portable reference, operation by operation.
 *
 * The reference itself is checked first, against hand arithmetic and values
 * from numpy 2.4.6 and mpmath 1.4.1. Then each backend that is built in
 * BR_BACKEND_DIR, at each instruction set that this machine has, computes the
 * same random inputs over odd shapes. Inputs are allocated to the byte, so
 * that a sanitizer sees a read too far; outputs carry a guard behind them.
 */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/math/br_backend.h"
#include "core/math/br_math.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

#define GUARD 8
#define GUARD_VALUE 12345.0f

static const char *const backend_names[] = {"openblas"};
static const char *const instruction_sets[] = {"baseline", "avx2", "avx512"};

/* One backend at one instruction set; table is NULL where it cannot run, and why says so. */
typedef struct Variant
{
	const char *backend;
	const char *instruction_set;
	const BrBackend *table;
	char why[256];
} Variant;

static const int row_counts[] = {0, 1, 3, 17, 64, 129};
static const int dims[] = {1, 7, 32, 33, 384};

static BrRandom source;

/* n floats, uniform in (-scale, scale) */
static float *
random_floats(size_t n, double scale)
{
	float *values = malloc(n > 0 ? n * sizeof(float) : 1);

	assert_non_null(values);
	for (size_t i = 0; i < n; i++)
		values[i] = (float) (scale * (2 * br_base_random_uniform(&source) - 1));
	return values;
}

/* Room for n floats and the guard, filled so that what is not written is seen. */
static float *
guarded(size_t n)
{
	float *values = malloc((n + GUARD) * sizeof(float));

	assert_non_null(values);
	for (size_t i = 0; i < n; i++)
		values[i] = NAN;
	for (size_t i = n; i < n + GUARD; i++)
		values[i] = GUARD_VALUE;
	return values;
}

static void
assert_guard(const float *values, size_t n)
{
	for (size_t i = n; i < n + GUARD; i++)
		assert_true(values[i] == GUARD_VALUE);
}

/* |actual - expected| <= absolute + relative |expected| for every element; NaN never passes. */
static void
assert_close(const float *actual, const float *expected, size_t n, double absolute, double relative)
{
	for (size_t i = 0; i < n; i++)
	{
		double difference = fabs((double) actual[i] - (double) expected[i]);

		if (!(difference <= absolute + relative * fabs((double) expected[i])))
			fail_msg("element %zu of %zu is %.9g, the reference %.9g", i, n, (double) actual[i],
					 (double) expected[i]);
	}
	assert_guard(actual, n);
}

static const BrBackend *
table_or_skip(void **state)
{
	Variant *variant = *state;

	if (variant->table == NULL)
	{
		print_message("skipped: backend %s, %s: %s\n", variant->backend, variant->instruction_set,
					  variant->why);
		skip();
	}
	br_base_random_init(&source, 20, 4);
	return variant->table;
}

static void
portable_linear_by_hand(void **state)
{
	/* rows (1, 2, 3) and (-1, 0, 2); weights (1, 0, -1) and (2, 1, 1) */
	static const float input[] = {1, 2, 3, -1, 0, 2};
	static const float weight[] = {1, 0, -1, 2, 1, 1};
	static const float bias[] = {0.5f, -8};
	const BrBackend *portable = br_math_portable_backend();
	float *output = guarded(4);

	(void) state;
	portable->linear(input, weight, NULL, 2, 3, 2, BR_ACTIVATION_NONE, output);
	assert_close(output, (const float[]){-2, 7, -3, 0}, 4, 0, 0);
	portable->linear(input, weight, bias, 2, 3, 2, BR_ACTIVATION_NONE, output);
	assert_close(output, (const float[]){-1.5f, -1, -2.5f, -8}, 4, 0, 0);
	portable->linear(input, weight, bias, 2, 3, 2, BR_ACTIVATION_RELU, output);
	assert_close(output, (const float[]){0, 0, 0, 0}, 4, 0, 0);
	portable->multiply_transposed(input, weight, 2, 2, 3, output);
	assert_close(output, (const float[]){-2, 7, -3, 0}, 4, 0, 0);
	free(output);
}

/* Expected values from mpmath at 120 bits. */
static void
portable_activations_match_mpmath(void **state)
{
	static const float x[] = {-3, -1, -0.5f, 0, 0.1f, 1, 2.5f};
	static const float one = 1;
	static const float gelu_erf[] = {-0.004049694095f, -0.1586552539f, -0.1542687694f, 0,
									 0.05398278373f,   0.8413447461f,  2.484475837f};
	static const float gelu_tanh[] = {-0.003637392082f, -0.1588080094f, -0.1542859902f, 0,
									  0.05398275105f,	0.8411919906f,	2.484915734f};
	static const float tanh_of[] = {-0.9950547537f, -0.761594156f, -0.4621171573f, 0,
									0.09966799462f, 0.761594156f,  0.9866142982f};
	const BrBackend *portable = br_math_portable_backend();
	float *output = guarded(7);

	(void) state;
	portable->linear(x, &one, NULL, 7, 1, 1, BR_ACTIVATION_GELU_ERF, output);
	assert_close(output, gelu_erf, 7, 0, 1e-7);
	portable->linear(x, &one, NULL, 7, 1, 1, BR_ACTIVATION_GELU_TANH, output);
	assert_close(output, gelu_tanh, 7, 0, 1e-7);
	portable->linear(x, &one, NULL, 7, 1, 1, BR_ACTIVATION_TANH, output);
	assert_close(output, tanh_of, 7, 0, 1e-7);
	free(output);
}

/* Expected values from numpy: (s - mean) / sqrt(var + 0.25) * gain + bias, s = input + residual */
static void
portable_layer_norm_matches_numpy(void **state)
{
	static const float input[] = {1, 2, 4, -3};
	static const float residual[] = {0.5f, -1, 0, 2};
	static const float gain[] = {1, 2, 0.5f, -1};
	static const float bias[] = {0, 0.1f, -0.2f, 0.3f};
	static const float expected[] = {0.067573738f, -0.305442427f, 0.509524247f, 1.583901019f};
	float *output = guarded(4);

	(void) state;
	br_math_portable_backend()->add_layer_norm(input, residual, gain, bias, 0.25f, 1, 4, output);
	assert_close(output, expected, 4, 1e-7, 0);
	free(output);
}

/*
 * Expected values from numpy: softmax(Q K' / sqrt 2 + R) V for each of two
 * heads of two features. The table of R is for texts of up to four tokens,
 * so that the outermost of its seven columns are not used.
 */
static void
portable_attention_matches_numpy(void **state)
{
	static const float qkv[] = {0.5f, -1,	 2,		0.25f, 1, 0.5f,	  -0.5f, 1,		1,
								2,	  3,	 4,		1,	   1, -0.75f, 0.5f,	 -1,	0.25f,
								2,	  0,	 -1,	0.5f,  0, 2,	  0,	 0.25f, 1.5f,
								-2,	  0.75f, -0.5f, 1,	   1, 2,	  -2,	 1,		-1};
	static const float expected[] = {1.197310335f, -0.411874143f, 0.297728635f, 1.395561511f,
									 1.003542392f, 0.78886276f,	  2.107252141f, 2.394375479f,
									 0.615144399f, 0.287129297f,  0.12314123f,	1.801852172f};
	static const float relative[] = {9,	 0.5f, -1,	   0.25f, 2,	 -0.75f, 9,
									 -9, 1.5f, 0.125f, -0.5f, 0.75f, -2,	 -9};
	static const float with_relative[] = {-0.201240401f, 0.459072475f,	0.047096974f, 1.965276818f,
										  1.686990513f,	 -1.422805673f, 1.97792727f,  1.727368476f,
										  1.120916583f,	 0.429519504f,	0.2233147f,	  2.000431278f};
	static const int32_t offsets[] = {0, 3};
	const BrBackend *portable = br_math_portable_backend();
	float scratch[BR_ATTENTION_SCRATCH(3)];
	float *output = guarded(12);

	(void) state;
	portable->attention(qkv, offsets, 1, 2, 2, 0, 2, NULL, 3, scratch, output);
	assert_close(output, expected, 12, 2e-7, 0);
	portable->attention(qkv, offsets, 1, 2, 2, 0, 2, relative, 4, scratch, output);
	assert_close(output, with_relative, 12, 2e-7, 0);

	/* a text of one token attends to itself alone: its value comes back */
	portable->attention(qkv, (const int32_t[]){0, 1}, 1, 2, 2, 0, 2, relative, 4, scratch, output);
	output[4] = GUARD_VALUE;
	for (int i = 0; i < 4; i++)
		assert_true(output[i] == qkv[8 + i]);
	free(output);
}

static void
portable_embed_by_hand(void **state)
{
	static const float word[] = {1, 2, 3, 4, 5, 6};
	static const float position[] = {10, 20, 30, 40};
	static const float type_row[] = {100, 200};
	const BrBackend *portable = br_math_portable_backend();
	float *output = guarded(4);

	(void) state;
	portable->embed((const int32_t[]){2, 0}, (const int32_t[]){0, 1}, word, position, type_row, 2,
					2, output);
	assert_close(output, (const float[]){115, 226, 131, 242}, 4, 0, 0);
	portable->embed((const int32_t[]){2, 0}, (const int32_t[]){0, 1}, word, position, NULL, 2, 2,
					output);
	assert_close(output, (const float[]){15, 26, 31, 42}, 4, 0, 0);
	free(output);
}

static void
variant_names_itself(void **state)
{
	const BrBackend *table = table_or_skip(state);
	Variant *variant = *state;

	assert_int_equal(table->version, BR_BACKEND_VERSION);
	assert_string_equal(table->name, variant->backend);
	assert_string_equal(table->instruction_set(), variant->instruction_set);
}

/* Weights are scaled as in a trained model, so that outputs are about 1 whatever in_dim is. */
static void
check_linear(const BrBackend *table, int rows, int in_dim, int out_dim, bool with_bias,
			 BrActivation activation)
{
	size_t n = (size_t) rows * (size_t) out_dim;
	float *input = random_floats((size_t) rows * (size_t) in_dim, 2);
	float *weight = random_floats((size_t) in_dim * (size_t) out_dim, 2 / sqrt(in_dim));
	float *bias = random_floats((size_t) out_dim, 1);
	float *expected = guarded(n);
	float *actual = guarded(n);

	br_math_portable_backend()->linear(input, weight, with_bias ? bias : NULL, rows, in_dim,
									   out_dim, activation, expected);
	table->linear(input, weight, with_bias ? bias : NULL, rows, in_dim, out_dim, activation,
				  actual);
	assert_close(actual, expected, n, 3e-6, 3e-7);

	free(input);
	free(weight);
	free(bias);
	free(expected);
	free(actual);
}

static void
linear_matches(void **state)
{
	const BrBackend *table = table_or_skip(state);

	for (int rows = 0; rows < LENGTH(row_counts); rows++)
		for (int in = 0; in < LENGTH(dims); in++)
			for (int out = 0; out < LENGTH(dims); out++)
			{
				check_linear(table, row_counts[rows], dims[in], dims[out], true,
							 BR_ACTIVATION_NONE);
				check_linear(table, row_counts[rows], dims[in], dims[out], false,
							 BR_ACTIVATION_GELU_ERF);
			}
	check_linear(table, 17, 1536, 384, true, BR_ACTIVATION_NONE);
	check_linear(table, 2500, 7, 33, true, BR_ACTIVATION_RELU);
}

/* With one input of weight 1 the product is exact, and what differs is the activation. */
static void
check_activation(const BrBackend *table, BrActivation activation, double relative_to_input,
				 double relative)
{
	const int n = 24001;
	float *x = malloc((size_t) n * sizeof(float));
	float *expected = guarded((size_t) n);
	float *actual = guarded((size_t) n);
	const float one = 1;

	for (int i = 0; i < n; i++)
		x[i] = (float) (i - n / 2) / 1000;
	x[0] = 1e30f;
	x[1] = -1e30f;
	x[2] = 1e-30f;
	x[3] = -100;
	br_math_portable_backend()->linear(x, &one, NULL, n, 1, 1, activation, expected);
	table->linear(x, &one, NULL, n, 1, 1, activation, actual);
	for (int i = 0; i < n; i++)
	{
		double difference = fabs((double) actual[i] - (double) expected[i]);
		double allowed =
			relative_to_input * fabs((double) x[i]) + relative * fabs((double) expected[i]);

		if (!(difference <= allowed))
			fail_msg("activation %d of %.9g is %.9g, the reference %.9g", (int) activation,
					 (double) x[i], (double) actual[i], (double) expected[i]);
	}
	assert_guard(actual, (size_t) n);
	free(x);
	free(expected);
	free(actual);
}

/* Up to three units in the last place, of the input where the result may be far below it. */
static void
activations_match(void **state)
{
	const BrBackend *table = table_or_skip(state);

	check_activation(table, BR_ACTIVATION_NONE, 0, 0);
	check_activation(table, BR_ACTIVATION_RELU, 0, 0);
	check_activation(table, BR_ACTIVATION_GELU_ERF, 3.6e-7, 0);
	check_activation(table, BR_ACTIVATION_GELU_TANH, 3.6e-7, 0);
	check_activation(table, BR_ACTIVATION_TANH, 0, 3.6e-7);
}

static void
embed_matches(void **state)
{
	const BrBackend *table = table_or_skip(state);

	for (int r = 0; r < LENGTH(row_counts); r++)
		for (int d = 0; d < LENGTH(dims); d++)
		{
			int rows = row_counts[r];
			size_t dim = (size_t) dims[d];
			size_t n = (size_t) rows * dim;
			float *word = random_floats(50 * dim, 1);
			float *position = random_floats(20 * dim, 1);
			float *type_row = random_floats(dim, 1);
			float *expected = guarded(n);
			float *actual = guarded(n);
			int32_t ids[129];
			int32_t positions[129];

			for (int i = 0; i < rows; i++)
			{
				ids[i] = (int32_t) br_base_random_below(&source, 50);
				positions[i] = (int32_t) br_base_random_below(&source, 20);
			}
			for (int with_type = 0; with_type < 2; with_type++)
			{
				br_math_portable_backend()->embed(ids, positions, word, position,
												  with_type ? type_row : NULL, rows, dims[d],
												  expected);
				table->embed(ids, positions, word, position, with_type ? type_row : NULL, rows,
							 dims[d], actual);
				assert_close(actual, expected, n, 3e-7, 0);
			}
			free(word);
			free(position);
			free(type_row);
			free(expected);
			free(actual);
		}
}

static void
check_layer_norm(const BrBackend *table, int rows, int dim, double mean)
{
	size_t n = (size_t) rows * (size_t) dim;
	float *input = random_floats(n, 1);
	float *residual = random_floats(n, 1);
	float *gain = random_floats((size_t) dim, 2);
	float *bias = random_floats((size_t) dim, 1);
	float *expected = guarded(n);
	float *actual = guarded(n);
	float *in_place = guarded(n);
	/* a sum of magnitude mean is rounded by 2^-24 of it before it is divided by about .8 */
	double absolute = 4e-6 + mean * 4e-7;
	const BrBackend *portable = br_math_portable_backend();

	for (size_t i = 0; i < n; i++)
		input[i] += (float) mean;

	portable->add_layer_norm(input, residual, gain, bias, 1e-3f, rows, dim, expected);
	table->add_layer_norm(input, residual, gain, bias, 1e-3f, rows, dim, actual);
	assert_close(actual, expected, n, absolute, 1e-6);
	memcpy(in_place, input, n * sizeof(float));
	table->add_layer_norm(in_place, residual, gain, bias, 1e-3f, rows, dim, in_place);
	assert_close(in_place, expected, n, absolute, 1e-6);

	portable->add_layer_norm(input, NULL, gain, bias, 1e-3f, rows, dim, expected);
	table->add_layer_norm(input, NULL, gain, bias, 1e-3f, rows, dim, actual);
	assert_close(actual, expected, n, absolute, 1e-6);

	free(input);
	free(residual);
	free(gain);
	free(bias);
	free(expected);
	free(actual);
	free(in_place);
}

static void
add_layer_norm_matches(void **state)
{
	const BrBackend *table = table_or_skip(state);

	for (int rows = 0; rows < LENGTH(row_counts); rows++)
		for (int dim = 0; dim < LENGTH(dims); dim++)
			check_layer_norm(table, row_counts[rows], dims[dim], 0);
	check_layer_norm(table, 17, 384, 50);
	check_layer_norm(table, 3, 768, 0);
}

/*
 * Plain, and with a table of relative positions for texts that may be longer.
 * spread: of queries and keys; the larger, the sharper the softmax.
 */
/* Some heads now and the others later give what all give at once. */
static void
check_head_ranges(const BrBackend *table, const float *qkv, const int32_t *offsets, int texts,
				  int heads, int head_dim, const float *relative, int longest, float *scratch,
				  const float *whole)
{
	size_t n = (size_t) offsets[texts] * (size_t) heads * (size_t) head_dim;
	float *parts = guarded(n);

	table->attention(qkv, offsets, texts, heads, head_dim, heads / 2, heads, relative, longest,
					 scratch, parts);
	table->attention(qkv, offsets, texts, heads, head_dim, 0, heads / 2, relative, longest, scratch,
					 parts);
	assert_close(parts, whole, n, 0, 0);
	free(parts);
}

static void
check_attention(const BrBackend *table, const int32_t *offsets, int texts, int heads, int head_dim,
				double spread, double absolute)
{
	const BrBackend *portable = br_math_portable_backend();
	size_t rows = (size_t) offsets[texts];
	size_t n = rows * (size_t) heads * (size_t) head_dim;
	float *qkv = random_floats(3 * n, spread);
	float *expected = guarded(n);
	float *actual = guarded(n);
	size_t longest = 0;
	float *scratch;
	float *relative;

	for (int i = 0; i < texts; i++)
		if ((size_t) (offsets[i + 1] - offsets[i]) > longest)
			longest = (size_t) (offsets[i + 1] - offsets[i]);
	scratch = guarded(BR_ATTENTION_SCRATCH(longest));

	portable->attention(qkv, offsets, texts, heads, head_dim, 0, heads, NULL, (int) longest,
						scratch, expected);
	table->attention(qkv, offsets, texts, heads, head_dim, 0, heads, NULL, (int) longest, scratch,
					 actual);
	assert_close(actual, expected, n, absolute, 0);

	for (int more = 0; more < 4; more += 3)
	{
		int table_longest = (int) longest + more;

		relative = random_floats((size_t) heads * (size_t) (2 * table_longest - 1), spread);
		portable->attention(qkv, offsets, texts, heads, head_dim, 0, heads, relative, table_longest,
							scratch, expected);
		table->attention(qkv, offsets, texts, heads, head_dim, 0, heads, relative, table_longest,
						 scratch, actual);
		assert_close(actual, expected, n, absolute, 0);
		check_head_ranges(table, qkv, offsets, texts, heads, head_dim, relative, table_longest,
						  scratch, actual);
		free(relative);
	}
	assert_guard(scratch, BR_ATTENTION_SCRATCH(longest));

	free(qkv);
	free(expected);
	free(actual);
	free(scratch);
}

static void
attention_matches(void **state)
{
	const BrBackend *table = table_or_skip(state);
	static const int head_dims[] = {1, 7, 16, 32, 33, 64, 100, 130, 260};
	int32_t offsets[72] = {0};

	/* no text, nothing read or written */
	table->attention(NULL, offsets, 0, 12, 32, 0, 12, NULL, 0, NULL, NULL);
	for (int length = 1; length <= 70; length++)
		check_attention(table, (const int32_t[]){0, length}, 1, 2, 32, 1.5, 2e-6);

	/* texts of 1 to 71 tokens together, one of none among them */
	for (int i = 1; i < 72; i++)
		offsets[i] = offsets[i - 1] + (i == 5 ? 0 : i);
	check_attention(table, offsets, 71, 12, 32, 1.5, 2e-6);

	for (int i = 0; i < LENGTH(head_dims); i++)
		check_attention(table, (const int32_t[]){0, 19, 20, 61}, 3, 3, head_dims[i], 1, 2e-6);
	check_attention(table, (const int32_t[]){0, 257}, 1, 1, 64, 1, 2e-6);

	/* scores of up to 200 are rounded by 1e-5, and so is the logarithm of every weight */
	check_attention(table, (const int32_t[]){0, 40}, 1, 2, 32, 8, 4e-4);
}

static void
multiply_transposed_matches(void **state)
{
	const BrBackend *table = table_or_skip(state);

	for (int r = 0; r < LENGTH(row_counts); r++)
		for (int c = 0; c < LENGTH(row_counts); c++)
			for (int d = 0; d < LENGTH(dims); d++)
			{
				int rows = row_counts[r];
				int columns = row_counts[c];
				size_t n = (size_t) rows * (size_t) columns;
				double scale = 1 / sqrt(dims[d]);
				float *left = random_floats((size_t) rows * (size_t) dims[d], scale);
				float *right = random_floats((size_t) columns * (size_t) dims[d], scale);
				float *expected = guarded(n);
				float *actual = guarded(n);

				br_math_portable_backend()->multiply_transposed(left, right, rows, columns, dims[d],
																expected);
				table->multiply_transposed(left, right, rows, columns, dims[d], actual);
				assert_close(actual, expected, n, 4e-7, 4e-7);
				free(left);
				free(right);
				free(expected);
				free(actual);
			}
}

/* Says in variant->why what is missing where it leaves table NULL. */
static void
open_variant(Variant *variant, const char *directory)
{
	char path[4096];
	void *library;
	BrBackendTable table;

	snprintf(path, sizeof(path), "%s/br_backend_%s.so", directory, variant->backend);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
	{
		snprintf(variant->why, sizeof(variant->why), "not built (%s)", dlerror());
		return;
	}
	*(void **) &table = dlsym(library, BR_BACKEND_SYMBOL);
	if (table == NULL)
	{
		snprintf(variant->why, sizeof(variant->why), "exports no %s", BR_BACKEND_SYMBOL);
		return;
	}
	setenv(BR_BACKEND_ISA_VARIABLE, variant->instruction_set, 1);
	variant->table = table();
	unsetenv(BR_BACKEND_ISA_VARIABLE);
	if (variant->table == NULL ||
		strcmp(variant->table->instruction_set(), variant->instruction_set) != 0)
	{
		variant->table = NULL;
		snprintf(variant->why, sizeof(variant->why), "not on this machine");
	}
}

int
main(void)
{
	static const struct CMUnitTest portable_tests[] = {
		cmocka_unit_test(portable_linear_by_hand),
		cmocka_unit_test(portable_activations_match_mpmath),
		cmocka_unit_test(portable_layer_norm_matches_numpy),
		cmocka_unit_test(portable_attention_matches_numpy),
		cmocka_unit_test(portable_embed_by_hand),
	};
	static const struct CMUnitTest variant_tests[] = {
		cmocka_unit_test(variant_names_itself),		   cmocka_unit_test(linear_matches),
		cmocka_unit_test(activations_match),		   cmocka_unit_test(embed_matches),
		cmocka_unit_test(add_layer_norm_matches),	   cmocka_unit_test(attention_matches),
		cmocka_unit_test(multiply_transposed_matches),
	};
	static Variant variants[LENGTH(backend_names) * LENGTH(instruction_sets)];
	static char names[LENGTH(variants) * LENGTH(variant_tests)][96];
	static struct CMUnitTest tests[LENGTH(portable_tests) + LENGTH(names)];
	const char *directory = getenv("BR_BACKEND_DIR");
	int n = 0;

	memcpy(tests, portable_tests, sizeof(portable_tests));
	/* threads of a BLAS would start when it is loaded */
	setenv("OPENBLAS_NUM_THREADS", "1", 1);
	for (int i = 0; i < LENGTH(variants); i++)
	{
		variants[i].backend = backend_names[i / LENGTH(instruction_sets)];
		variants[i].instruction_set = instruction_sets[i % LENGTH(instruction_sets)];
		open_variant(&variants[i], directory != NULL ? directory : "build");
		for (int j = 0; j < LENGTH(variant_tests); j++, n++)
		{
			struct CMUnitTest *test = &tests[LENGTH(portable_tests) + n];

			*test = variant_tests[j];
			snprintf(names[n], sizeof(names[n]), "%s %s: %s", variants[i].backend,
					 variants[i].instruction_set, variant_tests[j].name);
			test->name = names[n];
			test->initial_state = &variants[i];
		}
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
