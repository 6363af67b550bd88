/*
 * test_eval_reward_model.c
 *	  Cross-fitted reward models beside scikit-learn, and what they refuse.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/eval/br_eval.h"

#define ROWS 12
#define DIMS 2
#define FOLDS 3

static void
assert_close(double value, double wanted, double tolerance)
{
	if (!(fabs(value - wanted) <= tolerance))
		fail_msg("%.17g instead of %.17g", value, wanted);
}

static void
features_of(int i, double *x)
{
	x[0] = (i * 5 % 7) / 4.0;
	x[1] = (i * 3 % 5) / 2.0 - 1;
}

/* Row i of fold i mod 3 is predicted by the model of the other two folds. */
static void
assert_predictions(bool logistic, double penalty, const double *wanted, double tolerance)
{
	BrContext context;
	BrRewardModel *model;
	double x[DIMS];

	br_base_context_init(&context);
	assert_int_equal(br_eval_reward_model_create(&context, logistic, DIMS, FOLDS, penalty, &model),
					 BR_OK);
	for (int i = 0; i < ROWS; i++)
	{
		features_of(i, x);
		assert_int_equal(br_eval_reward_model_add(&context, model, i % FOLDS, x,
												  !logistic ? (i * 7 % 4) / 3.0 : i * 7 % 5 < 2),
						 BR_OK);
	}
	assert_int_equal(br_eval_reward_model_fit(&context, model), BR_OK);
	for (int i = 0; i < ROWS; i++)
	{
		features_of(i, x);
		assert_close(br_eval_reward_model_predict(model, i % FOLDS, x), wanted[i], tolerance);
	}
	br_eval_reward_model_free(&context, model);
}

/*
 * scikit-learn 1.9.1, over the folds that are not the row's:
 * Ridge(alpha=penalty, solver='cholesky'), and
 * LogisticRegression(C=1/penalty, solver='newton-cg', tol=1e-14).
 */
static void
models_predict_as_scikit_learn(void **state)
{
	static const double ridge[] = {0.667626359564939, 0.49312834847426,	 0.461706502184528,
								   0.173064619321817, 0.606219426974144, 0.420521716782318,
								   0.315099168266155, 0.495108315863033, 0.675533281932665,
								   0.457133717210493, 0.608199394362916, 0.634348496530455};
	static const double plain[] = {0.659139784946237, 0.505922165820643, 0.457815442561205,
								   0.043010752688172, 0.643147208121827, 0.412523540489642,
								   0.238709677419355, 0.473604060913706, 0.695856873822975,
								   0.434408602150538, 0.61082910321489,	 0.650564971751412};
	static const double logistic[] = {0.487911060670686, 0.425555700446201, 0.347781123209824,
									  0.289406328318798, 0.405415898069919, 0.326502003912911,
									  0.326226173806532, 0.608561973057703, 0.146849453718244,
									  0.365322140241093, 0.588636142030958, 0.135313800319205};

	(void) state;
	assert_predictions(false, 0.5, ridge, 1e-12);
	assert_predictions(false, 0, plain, 1e-12);
	assert_predictions(true, 0.5, logistic, 1e-9);
}

/* FNV-1a and SplitMix64's finaliser, computed by Python's integers */
static void
folds_are_the_same_everywhere(void **state)
{
	(void) state;
	assert_int_equal(br_eval_fold("a", 1, 0, 5), 1);
	assert_int_equal(br_eval_fold("u1", 2, 0, 5), 0);
	assert_int_equal(br_eval_fold("17", 2, 0, 5), 4);
	assert_int_equal(br_eval_fold("a", 1, 7, 5), 4);
}

static void
no_row_is_predicted_by_a_model_that_saw_it(void **state)
{
	BrContext context;
	BrRewardModel *model;
	double x[1] = {1};

	(void) state;
	br_base_context_init(&context);
	/* a constant feature: the model is the mean of the other fold */
	assert_int_equal(br_eval_reward_model_create(&context, false, 1, 2, 1, &model), BR_OK);
	for (int i = 0; i < 10; i++)
		assert_int_equal(br_eval_reward_model_add(&context, model, i < 3, x, i < 3 ? 8 : 2), BR_OK);
	assert_int_equal(br_eval_reward_model_fit(&context, model), BR_OK);
	assert_close(br_eval_reward_model_predict(model, 1, x), 2, 1e-12);
	assert_close(br_eval_reward_model_predict(model, 0, x), 8, 1e-12);
	br_eval_reward_model_free(&context, model);
}

static void
all_rewards_alike_are_learned(void **state)
{
	BrContext context;
	BrRewardModel *model;
	double x[1];

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_eval_reward_model_create(&context, true, 1, 2, 1, &model), BR_OK);
	for (int i = 0; i < 50; i++)
	{
		x[0] = i;
		assert_int_equal(br_eval_reward_model_add(&context, model, i % 2, x, 0), BR_OK);
	}
	assert_int_equal(br_eval_reward_model_fit(&context, model), BR_OK);
	assert_true(br_eval_reward_model_predict(model, 0, x) < 1e-6);
	br_eval_reward_model_free(&context, model);
}

static void
refuses_what_it_cannot_learn(void **state)
{
	BrContext context;
	BrRewardModel *model;
	double x[2] = {1, 1};

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_eval_reward_model_create(&context, false, 0, 2, 1, &model), BR_ERR_LIMIT);
	assert_int_equal(br_eval_reward_model_create(&context, false, BR_EVAL_MAX_FEATURES + 1, 2, 1,
												 &model),
					 BR_ERR_LIMIT);
	assert_int_equal(br_eval_reward_model_create(&context, false, 2, 1, 1, &model),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_eval_reward_model_create(&context, false, 2, 2, NAN, &model),
					 BR_ERR_ARGUMENT);
	assert_null(model);

	/* two features that are always equal, without a penalty */
	assert_int_equal(br_eval_reward_model_create(&context, false, 2, 2, 0, &model), BR_OK);
	for (int i = 0; i < 20; i++)
	{
		x[0] = x[1] = 0.1 * i;
		assert_int_equal(br_eval_reward_model_add(&context, model, i % 2, x, i), BR_OK);
	}
	assert_int_equal(br_eval_reward_model_fit(&context, model), BR_ERR_NUMERIC);
	x[1] = INFINITY;
	assert_int_equal(br_eval_reward_model_add(&context, model, 0, x, 1), BR_ERR_ARGUMENT);
	x[1] = 0;
	assert_int_equal(br_eval_reward_model_add(&context, model, 0, x, NAN), BR_ERR_ARGUMENT);
	br_eval_reward_model_free(&context, model);

	assert_int_equal(br_eval_reward_model_create(&context, true, 2, 2, 1, &model), BR_OK);
	assert_int_equal(br_eval_reward_model_add(&context, model, 0, x, 1.5), BR_ERR_ARGUMENT);
	assert_int_equal(br_eval_reward_model_add(&context, model, 0, x, 1), BR_OK);
	assert_int_equal(br_eval_reward_model_fit(&context, model), BR_ERR_ARGUMENT);
	br_eval_reward_model_free(&context, model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(models_predict_as_scikit_learn),
		cmocka_unit_test(folds_are_the_same_everywhere),
		cmocka_unit_test(no_row_is_predicted_by_a_model_that_saw_it),
		cmocka_unit_test(all_rewards_alike_are_learned),
		cmocka_unit_test(refuses_what_it_cannot_learn),
	};

	return cmocka_run_group_tests_name("eval_reward_model", tests, NULL, NULL);
}
