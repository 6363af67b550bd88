/*
 * operations.c
 *	  A backend's plain operations against the portable reference.
 *
 * Both compute the same random inputs over odd shapes. Inputs are allocated to
 * the byte, so that a sanitizer sees a read too far; outputs carry a guard
 * behind them. Meanwhile signals come, as they do in a server.
 */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <cmocka.h>

#include "backend/operations.h"
#include "core/math/br_math.h"

#define GUARD 8
#define GUARD_VALUE 12345.0f

static const int row_counts[] = {0, 1, 3, 17, 64, 129};
static const int dims[] = {1, 7, 32, 33, 384};

BrRandom random_source;

float *
random_floats(size_t n, double scale)
{
	float *values = malloc(n > 0 ? n * sizeof(float) : 1);

	assert_non_null(values);
	for (size_t i = 0; i < n; i++)
		values[i] = (float) (scale * (2 * br_base_random_uniform(&random_source) - 1));
	return values;
}

float *
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

void
assert_guard(const float *values, size_t n)
{
	for (size_t i = n; i < n + GUARD; i++)
		assert_true(values[i] == GUARD_VALUE);
}

void
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

double
sum_tolerance(int n)
{
	return fmax(3e-6, 3e-7 * sqrt(n));
}

static const char *
set_name(const Variant *variant)
{
	return variant->instruction_set != NULL ? variant->instruction_set : "any";
}

const BrBackend *
table_or_skip(void **state)
{
	Variant *variant = *state;

	if (variant->table == NULL)
	{
		print_message("skipped: backend %s, %s: %s\n", variant->backend, set_name(variant),
					  variant->why);
		skip();
	}
	br_base_random_init(&random_source, 20, 4);
	return variant->table;
}

static void
variant_names_itself(void **state)
{
	const BrBackend *table = table_or_skip(state);
	Variant *variant = *state;

	assert_int_equal(table->version, BR_BACKEND_VERSION);
	assert_string_equal(table->name, variant->backend);
	if (variant->instruction_set != NULL)
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
	assert_close(actual, expected, n, sum_tolerance(in_dim), 3e-7);

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
				ids[i] = (int32_t) br_base_random_below(&random_source, 50);
				positions[i] = (int32_t) br_base_random_below(&random_source, 20);
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

/* Elements between rows hold NaN, which must neither be read nor written. */
static double *
spaced_doubles(int rows, int columns, int stride)
{
	size_t n = (size_t) rows * (size_t) stride;
	double *values = malloc((n + 1) * sizeof(double));

	assert_non_null(values);
	for (size_t i = 0; i < n; i++)
		values[i] = (int) (i % (size_t) stride) < columns
			? 2 * br_base_random_uniform(&random_source) - 1
			: NAN;
	return values;
}

/* keep 0: what the output held is not read either. */
static void
check_double_product(const BrBackend *table, int rows, int columns, int depth, int gap, double keep)
{
	int left_stride = depth + gap > 0 ? depth + gap : 1;
	int right_stride = depth + 2 * gap > 0 ? depth + 2 * gap : 1;
	int stride = columns + gap > 0 ? columns + gap : 1;
	double *left = spaced_doubles(rows, depth, left_stride);
	double *right = spaced_doubles(columns, depth, right_stride);
	double *expected = spaced_doubles(rows, keep != 0 ? columns : 0, stride);
	double *actual = malloc(((size_t) rows * (size_t) stride + 1) * sizeof(double));

	assert_non_null(actual);
	memcpy(actual, expected, (size_t) rows * (size_t) stride * sizeof(double));
	br_math_portable_backend()->multiply_transposed_double(left, right, rows, columns, depth,
														   left_stride, right_stride, stride, -0.5,
														   keep, expected);
	table->multiply_transposed_double(left, right, rows, columns, depth, left_stride, right_stride,
									  stride, -0.5, keep, actual);
	for (int row = 0; row < rows; row++)
		for (int column = 0; column < stride; column++)
		{
			double a = actual[(size_t) row * stride + column];
			double e = expected[(size_t) row * stride + column];

			if (column < columns ? !(fabs(a - e) <= 1e-14 * (10 + depth)) : !isnan(a))
				fail_msg("(%d, %d) of (%d, %d, %d) is %.17g, the reference %.17g", row, column,
						 rows, columns, depth, a, e);
		}
	free(left);
	free(right);
	free(expected);
	free(actual);
}

static void
multiply_transposed_double_matches(void **state)
{
	static const int depths[] = {0, 1, 7, 33, 256};
	const BrBackend *table = table_or_skip(state);

	if (table->multiply_transposed_double == NULL)
	{
		print_message("skipped: %s has no product in double\n", table->name);
		skip();
	}
	for (int r = 0; r < LENGTH(row_counts); r++)
		for (int c = 0; c < LENGTH(row_counts); c++)
			for (int d = 0; d < LENGTH(depths); d++)
			{
				check_double_product(table, row_counts[r], row_counts[c], depths[d], 0, 0);
				check_double_product(table, row_counts[r], row_counts[c], depths[d], 3, 1);
				check_double_product(table, row_counts[r], row_counts[c], depths[d], 1, -2);
			}
}

/* The order in which they are run and shown. */
const struct CMUnitTest operation_tests[OPERATION_TESTS] = {
	cmocka_unit_test(variant_names_itself),
	cmocka_unit_test(linear_matches),
	cmocka_unit_test(activations_match),
	cmocka_unit_test(embed_matches),
	cmocka_unit_test(add_layer_norm_matches),
	cmocka_unit_test(attention_matches),
	cmocka_unit_test(multiply_transposed_matches),
	cmocka_unit_test(multiply_transposed_double_matches),
};

/* ---- signals ---- */

#define STACK_BYTES 8192
#define INTERRUPT_US 200

/* Writes over what lies below the interrupted code's stack, as PostgreSQL's handlers do. */
static void
write_over_stack(int number)
{
	unsigned char bytes[STACK_BYTES];
	volatile unsigned char *to = bytes;

	(void) number;
	for (int i = 0; i < STACK_BYTES; i++)
		to[i] = 0x5b;
}

/* From now on the process handles a signal every moment, whatever library it is in. */
static void
interrupt_often(void)
{
	const struct itimerval often = {{0, INTERRUPT_US}, {0, INTERRUPT_US}};
	struct sigaction action = {.sa_handler = write_over_stack, .sa_flags = SA_RESTART};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
}

void
open_variant(Variant *variant)
{
	const char *directory = getenv("BR_BACKEND_DIR");
	char path[4096];
	void *library;
	BrBackendTable table;

	interrupt_often();
	/* threads of a BLAS would start when it is loaded */
	setenv("OPENBLAS_NUM_THREADS", "1", 1);
	setenv("OMP_NUM_THREADS", "1", 1);
	snprintf(path, sizeof(path), "%s/br_backend_%s.so", directory != NULL ? directory : "build",
			 variant->backend);
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
	if (variant->instruction_set != NULL)
		setenv(BR_BACKEND_ISA_VARIABLE, variant->instruction_set, 1);
	variant->table = table();
	unsetenv(BR_BACKEND_ISA_VARIABLE);
	if (variant->table == NULL ||
		(variant->instruction_set != NULL &&
		 strcmp(variant->table->instruction_set(), variant->instruction_set) != 0))
	{
		variant->table = NULL;
		snprintf(variant->why, sizeof(variant->why), "not on this machine");
	}
}

void
name_tests(struct CMUnitTest *tests, const struct CMUnitTest *from, int n, Variant *variant)
{
	for (int i = 0; i < n; i++)
	{
		size_t size =
			16 + strlen(variant->backend) + strlen(set_name(variant)) + strlen(from[i].name);
		char *name = malloc(size);

		assert_non_null(name);
		snprintf(name, size, "%s %s: %s", variant->backend, set_name(variant), from[i].name);
		tests[i] = from[i];
		tests[i].name = name;
		tests[i].initial_state = variant;
	}
}

void
free_names(struct CMUnitTest *tests, int n)
{
	for (int i = 0; i < n; i++)
		free((void *) tests[i].name);
}
