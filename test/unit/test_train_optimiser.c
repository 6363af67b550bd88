/*
 * test_train_optimiser.c
 *	  Schedules by hand, and what an optimiser promises; its steps beside
 *	  torch's are in test_train_reference.c.
 */
#include <math.h>

#include "core/train/br_train_optimiser.h"
#include "unit/train_fixture.h"

static const BrTrainHead no_head = {0};

static const BrTrainRecipe usual = {.rule = BR_TRAIN_ADAMW,
									.rate = 0.01,
									.steps = 100,
									.beta1 = 0.9,
									.beta2 = 0.999,
									.epsilon = 1e-8};

/* 4 warm steps of 12: a quarter each, then linear in 8 steps, or half a cosine. */
static void
schedules_by_hand(void **state)
{
	BrTrainRecipe recipe = {.rate = 2, .steps = 12, .warm_up = 4};

	(void) state;
	for (int schedule = BR_TRAIN_CONSTANT; schedule <= BR_TRAIN_COSINE; schedule++)
	{
		recipe.schedule = (BrTrainSchedule) schedule;
		assert_true(br_train_rate(&recipe, 0) == 0);
		assert_true(br_train_rate(&recipe, 1) == 0.5);
		assert_true(br_train_rate(&recipe, 3) == 1.5);
		assert_true(br_train_rate(&recipe, 4) == 2);
	}
	recipe.schedule = BR_TRAIN_CONSTANT;
	assert_true(br_train_rate(&recipe, 50) == 2);
	recipe.schedule = BR_TRAIN_LINEAR;
	assert_true(br_train_rate(&recipe, 6) == 1.5);
	assert_true(br_train_rate(&recipe, 12) == 0);
	assert_true(br_train_rate(&recipe, 13) == 0);
	recipe.schedule = BR_TRAIN_COSINE;
	assert_true(fabs(br_train_rate(&recipe, 6) - (1 + sqrt(0.5))) < 1e-15);
	assert_true(fabs(br_train_rate(&recipe, 8) - 1) < 1e-15);
	assert_true(br_train_rate(&recipe, 12) == 0);
	recipe.warm_up = 0;
	assert_true(br_train_rate(&recipe, 0) == 2);
	recipe.warm_up = 12;
	assert_true(br_train_rate(&recipe, 12) == 0);
}

static void
fill_gradient(Trained *trained, float factor)
{
	float *gradient = br_train_gradient(trained->model);
	const BrTrainTensor *tensors;
	int n;

	tensors = br_train_tensors(trained->model, &n);
	for (int t = 0; t < n; t++)
		for (int i = 0; i < tensors[t].rows * (tensors[t].columns > 0 ? tensors[t].columns : 1);
			 i++)
			gradient[tensors[t].offset + (size_t) i] = factor * (float) (i % 7 - 3);
}

static void
open_tiny(Trained *trained)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};

	trained_open(trained, "tiny-bert-cls", no_head, &options);
}

/*
 * The first step of AdamW is rate * slope / (|slope| + epsilon): by the sign
 * alone; decay shrinks matrices and tables and nothing else.
 */
static void
decay_spares_biases_and_norms(void **state)
{
	Trained trained;
	BrTrainRecipe recipe = usual;
	BrTrainOptimiser *optimiser;
	const BrTrainTensor *tensors;
	float *before;
	double length;
	int n;
	int decayed = 0;

	(void) state;
	open_tiny(&trained);
	before = malloc(br_train_count(trained.model) * sizeof(float));
	recipe.decay = 0.5;
	memcpy(before, br_train_parameters(trained.model),
		   br_train_count(trained.model) * sizeof(float));
	fill_gradient(&trained, 1e-3f);
	assert_int_equal(br_train_optimiser_create(&trained.open.context, &trained.set, &recipe, NULL,
											   &optimiser),
					 BR_OK);
	assert_int_equal(br_train_update(optimiser, &length), BR_OK);
	tensors = br_train_tensors(trained.model, &n);
	for (int t = 0; t < n; t++)
	{
		bool bias = strstr(tensors[t].name, ".bias") != NULL ||
			strstr(tensors[t].name, "LayerNorm") != NULL;

		assert_true(tensors[t].decays != bias);
		decayed += tensors[t].decays;
		for (int i = 0; i < tensors[t].rows * (tensors[t].columns > 0 ? tensors[t].columns : 1);
			 i++)
		{
			size_t at = tensors[t].offset + (size_t) i;
			double sign = (i % 7 > 3) - (i % 7 < 3);
			double expected = (bias ? 1 : 1 - 0.01 * 0.5) * (double) before[at] - 0.01 * sign;

			assert_true(fabs(br_train_parameters(trained.model)[at] - expected) <= 1e-6);
			assert_true(br_train_gradient(trained.model)[at] == 0);
		}
	}
	/* three tables, and six matrices of each of two layers */
	assert_int_equal(decayed, 3 + 12);
	free(before);
	br_train_optimiser_destroy(optimiser);
	trained_close(&trained);
}

/* A gradient of any length moves no further than one of the length that clipping allows. */
static void
clipping_cuts_the_length(void **state)
{
	BrTrainRecipe recipe = {.rule = BR_TRAIN_SGD, .rate = 1, .steps = 10, .clip = 0.25};
	double moved[3];

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		Trained trained;
		BrTrainOptimiser *optimiser;
		float *before;
		double length;
		double squares = 0;
		size_t n;

		open_tiny(&trained);
		n = br_train_count(trained.model);
		before = malloc(n * sizeof(float));
		memcpy(before, br_train_parameters(trained.model), n * sizeof(float));
		assert_int_equal(br_train_optimiser_create(&trained.open.context, &trained.set, &recipe,
												   NULL, &optimiser),
						 BR_OK);
		fill_gradient(&trained, (const float[]){1e-4f, 0.1f, 1e4f}[i]);
		assert_int_equal(br_train_update(optimiser, &length), BR_OK);
		for (size_t j = 0; j < n; j++)
			squares += pow((double) br_train_parameters(trained.model)[j] - (double) before[j], 2);
		moved[i] = sqrt(squares);
		if (i == 0)
			assert_true(length < 0.25 && fabs(moved[i] - length) < 1e-3 * length);
		free(before);
		br_train_optimiser_destroy(optimiser);
		trained_close(&trained);
	}
	assert_true(fabs(moved[1] - 0.25) < 1e-3 && fabs(moved[2] - 0.25) < 1e-3);
}

/* Steps, moments and parameters are all there is: written into a new optimiser it goes on alike. */
static void
state_goes_on_bit_for_bit(void **state)
{
	(void) state;
	for (int rule = BR_TRAIN_ADAMW; rule <= BR_TRAIN_SGD; rule++)
	{
		BrTrainRecipe recipe = usual;
		Trained whole;
		Trained resumed;
		BrTrainOptimiser *first;
		BrTrainOptimiser *second;
		BrTrainState from;
		BrTrainState to;
		double length;
		size_t size;

		open_tiny(&whole);
		open_tiny(&resumed);
		size = br_train_count(whole.model) * sizeof(float);
		recipe.rule = (BrTrainRule) rule;
		recipe.momentum = 0.9;
		recipe.schedule = BR_TRAIN_COSINE;
		assert_int_equal(br_train_optimiser_create(&whole.open.context, &whole.set, &recipe, NULL,
												   &first),
						 BR_OK);
		assert_int_equal(br_train_optimiser_create(&resumed.open.context, &resumed.set, &recipe,
												   NULL, &second),
						 BR_OK);
		for (int step = 0; step < 6; step++)
		{
			if (step == 3)
			{
				from = br_train_state_of(first);
				to = br_train_state_of(second);
				assert_int_equal(from.n, to.n);
				assert_int_equal(*from.steps, 3);
				*to.steps = *from.steps;
				memcpy(to.moments, from.moments, from.n * sizeof(float));
				memcpy(br_train_parameters(resumed.model), br_train_parameters(whole.model), size);
			}
			fill_gradient(&whole, 0.01f * (float) (step + 1));
			assert_int_equal(br_train_update(first, &length), BR_OK);
			if (step < 3)
				continue;
			fill_gradient(&resumed, 0.01f * (float) (step + 1));
			assert_int_equal(br_train_update(second, &length), BR_OK);
		}
		assert_memory_equal(br_train_parameters(whole.model), br_train_parameters(resumed.model),
							size);
		br_train_optimiser_destroy(first);
		br_train_optimiser_destroy(second);
		trained_close(&whole);
		trained_close(&resumed);
	}
}

static void
what_is_not_finite_changes_nothing(void **state)
{
	Trained trained;
	BrTrainOptimiser *optimiser;
	float *before;
	double length;
	size_t size;

	(void) state;
	open_tiny(&trained);
	size = br_train_count(trained.model) * sizeof(float);
	before = malloc(size);
	assert_int_equal(br_train_optimiser_create(&trained.open.context, &trained.set, &usual, NULL,
											   &optimiser),
					 BR_OK);
	memcpy(before, br_train_parameters(trained.model), size);
	fill_gradient(&trained, 1);
	br_train_gradient(trained.model)[5] = NAN;
	assert_int_equal(br_train_update(optimiser, &length), BR_ERR_NUMERIC);
	assert_non_null(strstr(trained.open.context.detail, "step 0"));
	assert_memory_equal(before, br_train_parameters(trained.model), size);
	assert_int_equal(*br_train_state_of(optimiser).steps, 0);
	free(before);
	br_train_optimiser_destroy(optimiser);
	trained_close(&trained);
}

static void
wrong_recipes_are_refused(void **state)
{
	Trained trained;
	BrTrainOptimiser *optimiser;
	BrTrainRecipe bad[12];

	(void) state;
	open_tiny(&trained);
	for (size_t i = 0; i < 12; i++)
		bad[i] = usual;
	bad[0].rate = 0;
	bad[1].rate = NAN;
	bad[2].steps = 0;
	bad[3].warm_up = -1;
	bad[4].warm_up = 101;
	bad[5].beta1 = 1;
	bad[6].beta2 = -0.1;
	bad[7].epsilon = 0;
	bad[8].decay = -1;
	bad[9].clip = INFINITY;
	bad[10].rule = BR_TRAIN_SGD;
	bad[10].momentum = 1;
	bad[11].rate = INFINITY;
	for (size_t i = 0; i < 12; i++)
	{
		assert_int_equal(br_train_optimiser_create(&trained.open.context, &trained.set, &bad[i],
												   NULL, &optimiser),
						 BR_ERR_ARGUMENT);
		assert_null(optimiser);
	}
	trained_close(&trained);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schedules_by_hand),
		cmocka_unit_test(decay_spares_biases_and_norms),
		cmocka_unit_test(clipping_cuts_the_length),
		cmocka_unit_test(state_goes_on_bit_for_bit),
		cmocka_unit_test(what_is_not_finite_changes_nothing),
		cmocka_unit_test(wrong_recipes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
