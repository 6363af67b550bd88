/*
 * test_backends.c
 *	  Every backend against the portable reference, operation by operation.
 *
 * The reference itself is checked first, against hand arithmetic and values
 * from numpy 2.4.6 and mpmath 1.4.1. Then each backend that is built in
 * BR_BACKEND_DIR, at each instruction set that this machine has, goes through
 * operations.c. oneDNN has a program of its own, test_onednn.c: it keeps the
 * instruction set with which it began.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/operations.h"
#include "core/math/br_math.h"

static const char *const backend_names[] = {"openblas"};
static const char *const instruction_sets[] = {"baseline", "avx2", "avx512"};

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

/* Two rows of a matrix three wide with two of one two wide; the third column stays. */
static void
portable_double_product_by_hand(void **state)
{
	static const double left[] = {1, 2, 100, -1, 3, 100};
	static const double right[] = {4, 5, 6, -2};
	const BrBackend *portable = br_math_portable_backend();
	double output[] = {1, 10, 7, -1, 20, 7};

	(void) state;
	/* the products are 14, 2; 11, -12 */
	portable->multiply_transposed_double(left, right, 2, 2, 2, 3, 2, 3, 2, -1, output);
	for (int i = 0; i < 6; i++)
		assert_true(output[i] == ((const double[]){27, -6, 7, 23, -44, 7})[i]);
	output[0] = NAN;
	portable->multiply_transposed_double(left, right, 2, 2, 2, 3, 2, 3, 1, 0, output);
	for (int i = 0; i < 6; i++)
		assert_true(output[i] == ((const double[]){14, 2, 7, 11, -12, 7})[i]);

	/* without depth the product is 0 */
	portable->multiply_transposed_double(left, right, 2, 2, 0, 3, 2, 3, 1, 0.5, output);
	for (int i = 0; i < 6; i++)
		assert_true(output[i] == ((const double[]){7, 1, 7, 5.5, -6, 7})[i]);
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

/* A product by hand, in each of the four forms of its factors. */
static void
portable_multiply_by_hand(void **state)
{
	/* (1, 2; -1, 3; 0, 4) by (5, -2; 1, 1) is (7, 0; -2, 5; 4, 4); the third column stays */
	static const float left[] = {1, 2, -1, 3, 0, 4};
	static const float left_across[] = {1, -1, 0, 2, 3, 4};
	static const float right[] = {5, -2, 1, 1};
	static const float right_across[] = {5, 1, -2, 1};
	static const float expected[] = {3.5f, 0, 9, -1, 2.5f, 9, 2, 2, 9};
	static const float added[] = {13.5f, 10, 9, 9, 12.5f, 9, 12, 12, 9};
	const BrBackend *portable = br_math_portable_backend();
	float *output = guarded(9);

	(void) state;
	for (int form = 0; form < 4; form++)
	{
		BrFactor first = {form & 1 ? left_across : left, form & 1 ? 3 : 2, form & 1};
		BrFactor second = {form & 2 ? right_across : right, 2, form & 2};

		for (int i = 2; i < 9; i += 3)
			output[i] = 9;
		output[0] = NAN;
		portable->multiply(first, second, 3, 2, 2, 0.5f, 0, 3, output);
		assert_close(output, expected, 9, 0, 0);
		for (int i = 0; i < 9; i++)
			output[i] = i % 3 == 2 ? 9 : 5;
		portable->multiply(first, second, 3, 2, 2, 0.5f, 2, 3, output);
		assert_close(output, added, 9, 0, 0);
	}
	free(output);
}

/* Expected values from torch 2.15.0's autograd in float64, of ReLU's and softmax's as well. */
static void
portable_slopes_match_torch(void **state)
{
	static const float x[] = {-3, -1, -0.5f, 0, 0.1f, 1, 2.5f};
	static const float slopes[][7] = {
		[BR_ACTIVATION_NONE] = {1, 1, 1, 1, 1, 1, 1},
		[BR_ACTIVATION_GELU_ERF] = {-0.0119456472f, -0.08331547059f, 0.1325048753f, 0.5f,
									0.5795230932f, 1.083315471f, 1.037611086f},
		[BR_ACTIVATION_GELU_TANH] = {-0.01158416663f, -0.08296408385f, 0.1326300965f, 0.5f,
									 0.5795217904f, 1.082964084f, 1.037951576f},
		[BR_ACTIVATION_TANH] = {0.009866037165f, 0.4199743416f, 0.786447733f, 1, 0.9900662906f,
								0.4199743416f, 0.02659222668f},
		[BR_ACTIVATION_RELU] = {0, 0, 0, 0, 1, 1, 1},
	};
	const BrBackend *portable = br_math_portable_backend();
	float *output = guarded(7);

	(void) state;
	for (int activation = 0; activation < LENGTH(slopes); activation++)
	{
		for (int i = 0; i < 7; i++)
			output[i] = 1;
		portable->activate_slope(x, 7, (BrActivation) activation, output);
		assert_close(output, slopes[activation], 7, 0, 1e-7);
	}
	memcpy(output, (const float[]){1, -2, 0.5f, 77, 1, -2, 0.5f}, 7 * sizeof(float));
	portable->softmax(output, 2, 3, 4);
	assert_close(output,
				 (const float[]){0.6037488961f, 0.03005888757f, 0.3661922163f, 77, 0.6037488961f,
								 0.03005888757f, 0.3661922163f},
				 7, 0, 1e-7);
	free(output);
}

int
main(void)
{
	static const struct CMUnitTest portable_tests[] = {
		cmocka_unit_test(portable_linear_by_hand),
		cmocka_unit_test(portable_double_product_by_hand),
		cmocka_unit_test(portable_activations_match_mpmath),
		cmocka_unit_test(portable_layer_norm_matches_numpy),
		cmocka_unit_test(portable_attention_matches_numpy),
		cmocka_unit_test(portable_embed_by_hand),
		cmocka_unit_test(portable_multiply_by_hand),
		cmocka_unit_test(portable_slopes_match_torch),
	};
	static Variant variants[LENGTH(backend_names) * LENGTH(instruction_sets)];
	enum
	{
		TESTS = OPERATION_TESTS + TRAINING_TESTS
	};
	static struct CMUnitTest tests[LENGTH(portable_tests) + LENGTH(variants) * TESTS];
	struct CMUnitTest *variant_tests = tests + LENGTH(portable_tests);
	int failed;

	memcpy(tests, portable_tests, sizeof(portable_tests));
	for (int i = 0; i < LENGTH(variants); i++)
	{
		variants[i].backend = backend_names[i / LENGTH(instruction_sets)];
		variants[i].instruction_set = instruction_sets[i % LENGTH(instruction_sets)];
		open_variant(&variants[i]);
		name_tests(variant_tests + i * TESTS, operation_tests, OPERATION_TESTS, &variants[i]);
		name_tests(variant_tests + i * TESTS + OPERATION_TESTS, training_tests, TRAINING_TESTS,
				   &variants[i]);
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free_names(variant_tests, LENGTH(variants) * TESTS);
	return failed;
}
