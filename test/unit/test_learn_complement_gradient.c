/*
 * test_learn_complement_gradient.c
 *	  The gradient of directed complements, compiled in double, beside differences
 *	  of the loss.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define BR_LEARN_DOUBLE
#include "core/learn/complement_loss.c"
#include "core/learn/complement_model.c"

enum
{
	ITEMS = 7,
	DIMS = 11,
	RANK = 9,
	PARAMETERS = 2 * RANK * DIMS
};

static double
loss_of(BrComplementModel *model, const BrComplementBatch *batch)
{
	double loss;

	assert_int_equal(br_learn_complement_loss(model, batch, &loss), BR_OK);
	return loss;
}

/* A batch with equal targets, a known pair, a target that is a source, and missing hard ones. */
static void
slopes_are_differences(void **state)
{
	static float embeddings[ITEMS * DIMS];
	const int32_t category[ITEMS] = {0, 1, -1, 0, 1, 1, 0};
	const float bias[4] = {0.1f, -0.2f, 0.3f, 0};
	const double log_expected[ITEMS] = {-0.7, 0.7, 0, -0.7, -1.4, 0, 1.1};
	const BrSparse known = {ITEMS, ITEMS, (int64_t[]){0, 2, 2, 3, 4, 4, 5, 5},
							(int32_t[]){1, 4, 3, 2, 1}, NULL};
	const BrComplementItems items = {ITEMS, DIMS, embeddings, category, 2};
	const BrComplementOptions options = {.rank = RANK,
										 .temperature = 0.4,
										 .batch = 4,
										 .hard = 2,
										 .seed = 3};
	const BrComplementBatch batch = {4,
									 (int32_t[]){0, 2, 5, 0},
									 (int32_t[]){1, 3, 1, 4},
									 (float[]){1, 2, 0.5f, 1},
									 (int32_t[]){5, 6, -1, -1, 0, -1, 2, 3},
									 (float[]){-0.7f, 0, -1.4f, 0}};
	const double step = 1e-5;
	double slope[PARAMETERS];
	double largest = 0;
	BrContext context;
	BrComplementModel model;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < ITEMS * DIMS; i++)
		embeddings[i] = (float) sin(1.3 * i + 0.5);
	assert_int_equal(br_learn_complement_create(&context, &items, &options, &model), BR_OK);
	model.known = &known;
	model.log_expected = log_expected;
	model.bias = bias;
	for (int i = 0; i < PARAMETERS; i++)
		model.parameters[i] = cos(0.7 * i) / 2;
	loss_of(&model, &batch);
	assert_int_equal(br_learn_complement_back(&model, &batch), BR_OK);
	memcpy(slope, model.slope, sizeof(slope));
	for (int i = 0; i < PARAMETERS; i++)
	{
		double kept = model.parameters[i];
		double difference;

		model.parameters[i] = kept + step;
		difference = loss_of(&model, &batch);
		model.parameters[i] = kept - step;
		difference = (difference - loss_of(&model, &batch)) / (2 * step);
		model.parameters[i] = kept;
		if (!(fabs(difference - slope[i]) < 1e-8 * (1 + 100 * fabs(difference))))
			fail_msg("parameter %d: slope %.12g, difference %.12g", i, slope[i], difference);
		largest = fabs(slope[i]) > largest ? fabs(slope[i]) : largest;
	}
	assert_true(largest > 0.1);
	br_learn_complement_destroy(&model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slopes_are_differences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
