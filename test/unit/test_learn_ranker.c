/*
 * test_learn_ranker.c
 *	  What the ranker leaves out, its calibration beside SciPy, and how both are
 *	  cancelled; its weights are checked in test_learn.c.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/learn/br_learn.h"
#include "learn_countdown.h"

static void
assert_near(double have, double want, double tolerance)
{
	if (!(fabs(have - want) <= tolerance))
		fail_msg("%.17g is not %.17g", have, want);
}

/* a feature that is the same for all candidates of each group has no weight */
static void
constant_features_weigh_nothing(void **state)
{
	static const int64_t starts[] = {0, 2, 4};
	static const float values[] = {3, 1, 3, 0, 5, .5f, 5, .1f};
	static const uint8_t taken[] = {1, 0, 1, 0};
	BrChoices choices = {2, 2, starts, values, NULL, taken};
	BrRankerOptions options = {0.1, 0, NULL, NULL};
	BrContext context;
	double weights[2];

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_ranker_fit(&context, &choices, &options, weights), BR_OK);
	assert_true(weights[0] == 0);
	assert_true(weights[1] > 0);
}

/*
 * What all candidates of a group have in common drops out, however large it is
 * and whatever they weigh: three features, one of them 100,000 everywhere, one
 * with another level in each group.
 */
static void
levels_of_groups_drop_out(void **state)
{
	enum
	{
		GROUPS = 20,
		SIZE = 400,
		N = 3
	};
	int64_t starts[GROUPS + 1];
	float *values = malloc(sizeof(float) * GROUPS * SIZE * N);
	float *weights = malloc(sizeof(float) * GROUPS * SIZE);
	uint8_t *taken = calloc(GROUPS, SIZE);
	BrChoices choices = {GROUPS, N, starts, values, weights, taken};
	BrRankerOptions options = {0.01, 0, NULL, NULL};
	double level[N], raised[N];
	BrContext context;
	BrRandom random;

	(void) state;
	br_base_context_init(&context);
	br_base_random_init(&random, 5, 0);
	for (int i = 0; i < GROUPS * SIZE; i++)
	{
		/* sixteenths: they and their sum with a level are floats */
		values[i * N] = 100000.3f;
		values[i * N + 1] = (float) br_base_random_below(&random, 32) / 16;
		values[i * N + 2] = i == 7 ? 0.0625f : 0;
		weights[i] = (float) (1 + 100 * br_base_random_uniform(&random));
	}
	for (int g = 0; g <= GROUPS; g++)
		starts[g] = SIZE * g;
	for (int g = 0; g < GROUPS; g++)
	{
		int best = g * SIZE;

		for (int i = best; i < (g + 1) * SIZE; i++)
			best = values[i * N + 1] > values[best * N + 1] ? i : best;
		taken[best] = 1;
	}
	assert_int_equal(br_learn_ranker_fit(&context, &choices, &options, level), BR_OK);
	assert_true(level[0] == 0);
	assert_true(level[1] > 1);
	for (int i = 0; i < GROUPS * SIZE; i++)
		for (int f = 1; f < N; f++)
			values[i * N + f] += 1000000 - 7 * (float) (i / SIZE);
	assert_int_equal(br_learn_ranker_fit(&context, &choices, &options, raised), BR_OK);
	assert_true(raised[0] == 0);
	for (int f = 1; f < N; f++)
		assert_near(raised[f], level[f], 1e-5 * fabs(level[f]));
	free(values);
	free(weights);
	free(taken);
}

/* ---- calibration ---- */

/*
 * scipy.optimize (Nelder-Mead to 1e-13) of the weighted likelihood of a + b s
 * with Platt's targets (N+ + 1) / (N+ + 2) and 1 / (N- + 2).
 */
static void
calibration_matches_scipy(void **state)
{
	static const double scores[] = {-2, -1.5, -1, -.2, 0, .3, .8, 1.2, 2, 2.5};
	static const uint8_t taken[] = {0, 0, 1, 0, 0, 1, 0, 1, 1, 1};
	static const uint8_t against[] = {1, 1, 1, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t none[10] = {0};
	static const float weights[] = {2, 1, 1, 1, 1, 1, 1, 1, 1, 1};
	BrContext context;
	double a, b;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_calibrate(&context, scores, weights, taken, 10, &a, &b), BR_OK);
	assert_near(a, -0.20916462, 1e-6);
	assert_near(b, 0.71208941, 1e-6);
	/* where higher scores were taken less often the score says nothing */
	assert_int_equal(br_learn_calibrate(&context, scores, NULL, against, 10, &a, &b), BR_OK);
	assert_true(b == 0);
	/* Platt's targets pull 3 of 10 to (3 * 4/5 + 7 * 1/9) / 10 */
	assert_near(1 / (1 + exp(-a)), (3 * 0.8 + 7 / 9.0) / 10, 1e-6);
	assert_int_equal(br_learn_calibrate(&context, scores, NULL, none, 10, &a, &b), BR_ERR_ARGUMENT);
}

/* ---- cancelling ---- */

static int
asked(const Countdown *countdown)
{
	return INT_MAX - countdown->checks;
}

/* How often was asked by the last report, and the fewest questions between two of them. */
typedef struct Pauses
{
	const Countdown *countdown;
	int before;
	int fewest;
} Pauses;

static void
note_pause(void *arg, int64_t done, int64_t total)
{
	Pauses *pauses = arg;
	int pause = asked(pauses->countdown) - pauses->before;

	(void) total;
	if (done > 0 && pause < pauses->fewest)
		pauses->fewest = pause;
	pauses->before = asked(pauses->countdown);
}

/*
 * From step to step there are three passes over the groups at least: of the
 * likelihood at the trial, at the start of the next step, and of its slope.
 */
static void
passes_over_choices_are_cancelled(void **state)
{
	enum
	{
		GROUPS = 4 * 256
	};
	int64_t starts[GROUPS + 1];
	float values[2 * GROUPS];
	uint8_t taken[2 * GROUPS];
	BrChoices choices = {GROUPS, 1, starts, values, NULL, taken};
	Countdown countdown;
	Pauses pauses = {&countdown, 0, INT_MAX};
	BrProgress progress = {note_pause, &pauses};
	BrRankerOptions options = {0.1, 0, NULL, &progress};
	BrContext context;
	double weight;

	(void) state;
	for (int g = 0; g <= GROUPS; g++)
		starts[g] = 2 * g;
	for (int i = 0; i < 2 * GROUPS; i++)
	{
		values[i] = (float) (i * 7 % 11) + 2 * (i % 2);
		taken[i] = i % 2;
	}
	countdown_begin(&context, &countdown, INT_MAX, INT_MAX);
	assert_int_equal(br_learn_ranker_fit(&context, &choices, &options, &weight), BR_OK);
	assert_in_range(pauses.fewest, 3 * 4, INT_MAX);
}

/* Every trial of a line goes through all scores: where b is held at 0, many in one step. */
static void
trials_of_calibration_are_cancelled(void **state)
{
	static const double scores[] = {3, 2, 1, 0};
	static const uint8_t against[] = {0, 0, 1, 1};
	Countdown countdown;
	BrContext context;
	double a, b;
	int questions;

	(void) state;
	countdown_begin(&context, &countdown, INT_MAX, INT_MAX);
	assert_int_equal(br_learn_calibrate(&context, scores, NULL, against, 4, &a, &b), BR_OK);
	assert_true(b == 0);
	questions = asked(&countdown);
	assert_in_range(questions, 20, INT_MAX);
	for (int checks = 0; checks < questions; checks++)
	{
		countdown_begin(&context, &countdown, INT_MAX, checks);
		assert_int_equal(br_learn_calibrate(&context, scores, NULL, against, 4, &a, &b),
						 BR_ERR_CANCELLED);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(constant_features_weigh_nothing),
		cmocka_unit_test(levels_of_groups_drop_out),
		cmocka_unit_test(calibration_matches_scipy),
		cmocka_unit_test(passes_over_choices_are_cancelled),
		cmocka_unit_test(trials_of_calibration_are_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
