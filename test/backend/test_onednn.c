/*
 * test_onednn.c
 *	  The oneDNN backend at every instruction set: operations and packed products.
 *
 * Products of floats are compared with the portable reference. For bfloat16
 * the test rounds both sides itself, so that only the order of sums is left to
 * differ. Products of bytes have a file of their own, packed_bytes.c.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/instruction_sets.h"
#include "backend/packed_products.h"
#include "core/math/br_math.h"

/* ---- which precisions there are ---- */

static void
precisions_follow_the_instruction_set(void **state)
{
	static const struct
	{
		const char *set;
		bool bf16;
		bool int8;
	} expected[] = {{"baseline", false, false},	 {"avx2", false, false},
					{"avx512", false, false},	 {"avx512_vnni", false, true},
					{"avx512_bf16", true, true}, {"amx", true, true}};
	const BrBackend *table = table_or_skip(state);
	int found = 0;

	assert_true(table->packs(BR_PRECISION_F32));
	for (int i = 0; i < LENGTH(expected); i++)
		if (strcmp(table->instruction_set(), expected[i].set) == 0)
		{
			assert_int_equal(table->packs(BR_PRECISION_BF16), expected[i].bf16);
			assert_int_equal(table->packs(BR_PRECISION_INT8), expected[i].int8);
			found++;
		}
	assert_int_equal(found, 1);
	assert_false(table->packs((BrPrecision) BR_PRECISION_COUNT));
}

/* ---- f32 and bf16 ---- */

/* To eight binary digits, ties to even. */
static void
round_to_bf16(float *values, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		int exponent;
		double fraction = frexp((double) values[i], &exponent);

		values[i] = (float) ldexp(nearbyint(ldexp(fraction, 8)), exponent - 8);
	}
}

static void
check_floats(const BrBackend *table, BrPrecision precision, Shape shape, bool with_bias,
			 BrActivation activation)
{
	size_t inputs = (size_t) shape.rows * (size_t) shape.in_dim;
	size_t weights = (size_t) shape.in_dim * (size_t) shape.out_dim;
	size_t outputs = (size_t) shape.rows * (size_t) shape.out_dim;
	float *input = random_floats(inputs, 2);
	float *weight = random_floats(weights, 2 / sqrt(shape.in_dim));
	float *bias = random_floats((size_t) shape.out_dim, 1);
	float *expected = guarded(outputs);
	float *actual = guarded(outputs);
	Packed packed = pack_matrix(table, precision, weight, NULL, shape.in_dim, shape.out_dim);

	run_packed(&packed, input, with_bias ? bias : NULL, shape.rows, activation, actual);
	if (precision == BR_PRECISION_BF16)
	{
		round_to_bf16(input, inputs);
		round_to_bf16(weight, weights);
	}
	br_math_portable_backend()->linear(input, weight, with_bias ? bias : NULL, shape.rows,
									   shape.in_dim, shape.out_dim, activation, expected);
	assert_close(actual, expected, outputs, sum_tolerance(shape.in_dim), 3e-7);
	free(packed.block);
	free(input);
	free(weight);
	free(bias);
	free(expected);
	free(actual);
}

static void
check_f32(const BrBackend *table, Shape shape, bool with_bias, BrActivation activation)
{
	check_floats(table, BR_PRECISION_F32, shape, with_bias, activation);
}

static void
check_bf16(const BrBackend *table, Shape shape, bool with_bias, BrActivation activation)
{
	check_floats(table, BR_PRECISION_BF16, shape, with_bias, activation);
}

static void
packed_f32_matches_plain(void **state)
{
	for_all_shapes(table_or_skip(state), check_f32);
}

static void
packed_bf16_matches_rounded(void **state)
{
	for_all_shapes(table_or_skip(state), check_bf16);
}

/* ---- several threads ---- */

#define THREADS 4
#define ROUNDS 8

typedef struct Computation
{
	Packed packed;
	const float *input;
	const float *bias;
	const float *expected;
	int rows;
	int number;
	bool same;
} Computation;

/*
 * Computes again and again, and other shapes in between, each thread its own,
 * so that shapes are forgotten while others use them. Without cmocka, which
 * knows one thread.
 */
static void *
compute(void *arg)
{
	Computation *own = arg;
	const Packed *packed = &own->packed;
	const BrBackend *table = packed->table;
	size_t size = (size_t) own->rows * (size_t) packed->out_dim * sizeof(float);
	float *output = malloc(size);
	void *scratch = NULL;

	own->same = output != NULL &&
		posix_memalign(&scratch, 64,
					   table->packed_scratch(packed->precision, own->rows, packed->in_dim,
											 packed->out_dim)) == 0;
	for (int round = 0; round < ROUNDS && own->same; round++)
	{
		for (int other = 0; other < 5; other++)
			(void) table->packed_size(packed->precision, 2 + own->number, 100 + 5 * round + other);
		memset(output, 0xFF, size);
		own->same = table->linear_packed(packed->precision, own->input, packed->block, own->bias,
										 own->rows, packed->in_dim, packed->out_dim,
										 BR_ACTIVATION_GELU_ERF, scratch, output) &&
			memcmp(output, own->expected, size) == 0;
	}
	free(output);
	free(scratch);
	return NULL;
}

static void
check_threads(const BrBackend *table, BrPrecision precision, int rows, int in_dim, int out_dim)
{
	float *input = random_floats((size_t) rows * (size_t) in_dim, 2);
	float *weight = random_floats((size_t) in_dim * (size_t) out_dim, 0.1);
	float *bias = random_floats((size_t) out_dim, 1);
	float *expected = guarded((size_t) rows * (size_t) out_dim);
	Packed packed = pack_matrix(table, precision, weight, NULL, in_dim, out_dim);
	Computation computations[THREADS];
	pthread_t threads[THREADS];

	run_packed(&packed, input, bias, rows, BR_ACTIVATION_GELU_ERF, expected);
	for (int i = 0; i < THREADS; i++)
	{
		computations[i] = (Computation){packed, input, bias, expected, rows, i, false};
		assert_int_equal(pthread_create(&threads[i], NULL, compute, &computations[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < THREADS; i++)
		assert_true(computations[i].same);
	free(packed.block);
	free(input);
	free(weight);
	free(bias);
	free(expected);
}

static void
threads_share_a_matrix(void **state)
{
	const BrBackend *table = table_or_skip(state);

	for (int precision = 0; precision < BR_PRECISION_COUNT; precision++)
		if (table->packs((BrPrecision) precision))
			check_threads(table, (BrPrecision) precision, 45, 96, 160);
}

/* ---- one process ---- */

static int
test_set(const char *instruction_set)
{
	static const struct CMUnitTest float_tests[] = {
		cmocka_unit_test(precisions_follow_the_instruction_set),
		cmocka_unit_test(packed_f32_matches_plain),
		cmocka_unit_test(threads_share_a_matrix),
	};
	static const struct CMUnitTest bf16_tests[] = {cmocka_unit_test(packed_bf16_matches_rounded)};
	static const struct
	{
		BrPrecision precision; /* without which they do not apply */
		const struct CMUnitTest *tests;
		int n;
	} groups[] = {{BR_PRECISION_F32, operation_tests, OPERATION_TESTS},
				  {BR_PRECISION_F32, training_tests, TRAINING_TESTS},
				  {BR_PRECISION_F32, float_tests, LENGTH(float_tests)},
				  {BR_PRECISION_BF16, bf16_tests, LENGTH(bf16_tests)},
				  {BR_PRECISION_INT8, bytes_tests, BYTES_TESTS}};
	struct CMUnitTest tests[OPERATION_TESTS + TRAINING_TESTS + LENGTH(float_tests) +
							LENGTH(bf16_tests) + BYTES_TESTS];
	Variant variant = {.backend = "onednn", .instruction_set = instruction_set};
	int n = 0;
	int failed;

	open_variant(&variant);
	for (int i = 0; i < LENGTH(groups); i++)
		if (variant.table == NULL || variant.table->packs(groups[i].precision))
		{
			name_tests(tests + n, groups[i].tests, groups[i].n, &variant);
			n += groups[i].n;
		}
	failed = _cmocka_run_group_tests("onednn", tests, (size_t) n, NULL, NULL);
	free_names(tests, n);
	return failed;
}

int
main(int argc, char **argv)
{
	return run_for_each_set(argc, argv, test_set);
}
