/*
 * test_learn_logistic.c
 *	  Logistic regression against scikit-learn, and where there is none.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/learn/br_learn.h"
#include "learn_countdown.h"

#define N 12

/*
 * Twelve examples of two features, and weights of scikit-learn 1.x
 * LogisticRegression(C=1/l2, tol=1e-12, solver='newton-cholesky'), each example
 * given once as a yes with weight t and once as a no with weight 1 - t:
 *
 *		i = np.arange(12)
 *		X = np.c_[(i*7%12)/8.-.5, (i*i%12)/4.]
 *		t = (i*5%9)/8.;  yes = (i%3==0)|(i==7)
 *
 * SciPy's BFGS on the loss of br_learn.h agrees to eight digits.
 */
typedef struct Shop
{
	float values[N * 2];
	float shares[N];
	float yes[N];
} Shop;

static Shop
make_shop(void)
{
	Shop shop;

	for (int i = 0; i < N; i++)
	{
		shop.values[2 * i] = (float) (i * 7 % 12) / 8 - 0.5f;
		shop.values[2 * i + 1] = (float) (i * i % 12) / 4;
		shop.shares[i] = (float) (i * 5 % 9) / 8;
		shop.yes[i] = i % 3 == 0 || i == 7;
	}
	return shop;
}

static void
expect(const float *targets, double l2, const double *expected)
{
	Shop shop = make_shop();
	BrExamples examples = {N, 2, shop.values, targets};
	double weights[3];
	BrContext context;

	br_base_context_init(&context);
	assert_int_equal(br_learn_logistic_fit(&context, &examples, l2, weights), BR_OK);
	for (int f = 0; f < 3; f++)
		assert_true(fabs(weights[f] - expected[f]) < 1e-9);
}

static void
weights_are_those_of_scikit_learn(void **state)
{
	Shop shop = make_shop();

	(void) state;
	expect(shop.yes, 0.5, (double[]){-0.5097984324871085, -1.1086859464324526, 0.4514635540457042});
	expect(shop.yes, 1e-3,
		   (double[]){-0.6225326415482808, -2.5753562196713538, 0.8308137254179433});
}

static void
targets_may_be_shares(void **state)
{
	Shop shop = make_shop();

	(void) state;
	expect(shop.shares, 0.5,
		   (double[]){-0.26578511585494413, 0.9008372021425902, -0.20665512664968647});
	expect(shop.shares, 1e-3,
		   (double[]){-0.3459029579849437, 1.8986571565753194, -0.37747499245356547});
}

/* without features, or with one that is always 0, the constant is the logit of the mean */
static void
a_constant_alone_is_the_mean(void **state)
{
	float values[4] = {0, 0, 0, 0};
	float targets[4] = {1, 0, 0, 0.25f};
	BrExamples examples = {4, 0, values, targets};
	double weights[2];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_logistic_fit(&context, &examples, 1, weights), BR_OK);
	assert_true(fabs(weights[0] - log(0.3125 / 0.6875)) < 1e-9);
	examples.features = 1;
	assert_int_equal(br_learn_logistic_fit(&context, &examples, 1, weights), BR_OK);
	assert_true(fabs(weights[0] - log(0.3125 / 0.6875)) < 1e-9);
	assert_true(weights[1] == 0);
}

/* what a feature tells without error has a finite weight all the same, where the gradient is 0 */
static void
separable_examples_are_held_by_l2(void **state)
{
	float values[4] = {-1000, -1000, 1000, 1000};
	float targets[4] = {0, 0, 1, 1};
	BrExamples examples = {4, 1, values, targets};
	double weights[2], gradient;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_logistic_fit(&context, &examples, 1e-6, weights), BR_OK);
	/* hardly anything depends on the constant there */
	assert_true(fabs(weights[0]) < 0.01);
	/* by symmetry 4 * 1000 / (1 + e^(1000 w)) = l2 w */
	gradient = 4000 / (1 + exp(1000 * weights[1])) - 1e-6 * weights[1];
	assert_true(fabs(gradient) < 1e-10);
}

static void
refuse(BrExamples examples, double l2, const char *detail)
{
	double weights[3] = {7, 7, 7};
	BrContext context;

	br_base_context_init(&context);
	assert_int_equal(br_learn_logistic_fit(&context, &examples, l2, weights), BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, detail));
	assert_true(weights[0] == 7);
}

static void
bad_input_is_named(void **state)
{
	Shop shop = make_shop();
	float zeros[N] = {0}, ones[N], odd[N];
	BrExamples examples = {N, 2, shop.values, shop.yes};

	(void) state;
	for (int i = 0; i < N; i++)
		ones[i] = 1;
	refuse(examples, 0, "l2 is 0");
	refuse(examples, NAN, "l2 is");
	refuse(examples, INFINITY, "l2 is");
	refuse((BrExamples){0, 2, shop.values, shop.yes}, 1, "0 examples");
	refuse((BrExamples){N, -1, shop.values, shop.yes}, 1, "-1 features");
	refuse((BrExamples){N, 256, shop.values, shop.yes}, 1, "256 features");
	refuse((BrExamples){N, 2, shop.values, zeros}, 1, "same target, 0");
	refuse((BrExamples){N, 2, shop.values, ones}, 1, "same target, 1");
	memcpy(odd, shop.yes, sizeof(odd));
	odd[5] = 1.5f;
	refuse((BrExamples){N, 2, shop.values, odd}, 1, "target of example 5 is 1.5");
	odd[5] = NAN;
	refuse((BrExamples){N, 2, shop.values, odd}, 1, "target of example 5");
	shop.values[7] = INFINITY;
	refuse(examples, 1, "Feature 1 of example 3");
}

static void
nothing_is_left_after_a_failure(void **state)
{
	Shop shop = make_shop();
	BrExamples examples = {N, 2, shop.values, shop.yes};
	Countdown countdown;
	BrContext context;
	double weights[3];

	(void) state;
	countdown_begin(&context, &countdown, 0, INT_MAX);
	assert_int_equal(br_learn_logistic_fit(&context, &examples, 1, weights), BR_ERR_MEMORY);
	assert_int_equal(countdown.live, 0);
	for (int checks = 0; checks < 3; checks++)
	{
		countdown_begin(&context, &countdown, INT_MAX, checks);
		assert_int_equal(br_learn_logistic_fit(&context, &examples, 1, weights), BR_ERR_CANCELLED);
		assert_int_equal(countdown.live, 0);
	}
}

/* Half a yes each: the first step is 0 and the last. One pass for its loss, one for its slope. */
static void
each_pass_can_be_cancelled(void **state)
{
	enum
	{
		MANY = 3 * 65536
	};
	float *halves = malloc(MANY * sizeof(float));
	BrExamples examples = {MANY, 0, halves, halves};
	Countdown countdown;
	BrContext context;
	double weight;

	(void) state;
	assert_non_null(halves);
	for (int i = 0; i < MANY; i++)
		halves[i] = 0.5f;
	for (int checks = 0; checks < 6; checks++)
	{
		countdown_begin(&context, &countdown, INT_MAX, checks);
		assert_int_equal(br_learn_logistic_fit(&context, &examples, 1, &weight), BR_ERR_CANCELLED);
		assert_int_equal(countdown.checks, -1);
		assert_int_equal(countdown.live, 0);
	}
	free(halves);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(weights_are_those_of_scikit_learn),
		cmocka_unit_test(targets_may_be_shares),
		cmocka_unit_test(a_constant_alone_is_the_mean),
		cmocka_unit_test(separable_examples_are_held_by_l2),
		cmocka_unit_test(bad_input_is_named),
		cmocka_unit_test(nothing_is_left_after_a_failure),
		cmocka_unit_test(each_pass_can_be_cancelled),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
