/*
 * test_bandit_replay.c
 *	  Does a policy that learns in place choose as one does whose belief is made
 *	  anew after every row?
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bandit/br_bandit.h"

#define ARMS 5
#define DIMS 4
#define STEPS 600

/* A log of uniform choices: the features of every arm, which was chosen, its reward. */
typedef struct Step
{
	float features[ARMS * DIMS];
	int arm;
	double reward;
} Step;

static void
make_log(Step *steps, int n)
{
	BrRandom random;

	br_base_random_init(&random, 11, 0);
	for (int i = 0; i < n; i++)
	{
		for (int f = 0; f < ARMS * DIMS; f++)
			steps[i].features[f] =
				f % DIMS == 0 ? 1 : (float) (2 * br_base_random_uniform(&random) - 1);
		steps[i].arm = (int) br_base_random_below(&random, ARMS);
		steps[i].reward = br_base_random_uniform(&random) <
				0.3 + 0.1 * steps[i].arm * (double) steps[i].features[steps[i].arm * DIMS + 1]
			? 1
			: 0;
	}
}

/* What a replay is compared with: evidence, and a belief made of all of it at every choice. */
typedef struct Slow
{
	BrPolicySpec spec;
	double *shared;
	double *arms[ARMS];
	int incumbent;
} Slow;

static BrBelief *
believe(BrContext *context, const Slow *slow)
{
	BrPolicyEvidence evidence = {slow->shared, slow->spec.model == BR_MODEL_SHARED ? 0 : ARMS,
								 (const double *const *) slow->arms, slow->incumbent};
	BrBelief *belief;

	assert_int_equal(br_bandit_believe(context, &slow->spec, &evidence, &belief), BR_OK);
	return belief;
}

static void
open_slow(Slow *slow, const BrPolicySpec *spec)
{
	*slow = (Slow){.spec = *spec, .incumbent = -1};
	slow->spec.parameters.draws = 1;
	slow->shared = calloc(br_bandit_shared_length(spec), sizeof(double));
	for (int arm = 0; arm < ARMS && br_bandit_arm_length(spec) > 0; arm++)
		slow->arms[arm] = calloc(br_bandit_arm_length(spec), sizeof(double));
}

static void
close_slow(Slow *slow)
{
	free(slow->shared);
	for (int arm = 0; arm < ARMS; arm++)
		free(slow->arms[arm]);
}

static void
learn_slow(BrContext *context, Slow *slow, const Step *step)
{
	static const bool allowed[ARMS] = {true, true, true, true, true};
	const float *features =
		slow->spec.model == BR_MODEL_ARM ? NULL : step->features + step->arm * DIMS;
	BrBelief *belief;

	br_bandit_add_slot(&slow->spec, slow->shared, slow->arms[step->arm], features, 1);
	br_bandit_add_reward(&slow->spec, slow->shared, slow->arms[step->arm], features, 1, 0.2, 0,
						 step->reward);
	if (!br_bandit_algorithm_has_incumbent(slow->spec.algorithm))
		return;
	belief = believe(context, slow);
	slow->incumbent = br_bandit_next_incumbent(belief, slow->incumbent, allowed);
	br_bandit_belief_free(context, belief);
}

/* Both go through the log; every choice is the same. Returns how often it was the logged one. */
static int
compare(const char *name, BrModel model, const Step *steps)
{
	const BrAlgorithm *algorithm = br_bandit_algorithm(name);
	BrPolicySpec spec = {algorithm, model, model == BR_MODEL_ARM ? 0 : DIMS,
						 br_bandit_default_parameters(algorithm, model), NULL};
	BrContext context;
	BrReplay *replay;
	Slow slow;
	int agreed = 0;

	br_base_context_init(&context);
	open_slow(&slow, &spec);
	assert_int_equal(br_bandit_replay_create(&context, &spec, model == BR_MODEL_SHARED ? 0 : ARMS,
											 1, &replay),
					 BR_OK);
	for (int i = 0; i < STEPS; i++)
	{
		BrSlateRequest request = {.pool = ARMS,
								  .features = model == BR_MODEL_ARM ? NULL : steps[i].features,
								  .slots = 1,
								  .key = (uint64_t) i};
		BrBelief *belief = believe(&context, &slow);
		BrSlate slate;
		int chosen;

		assert_int_equal(br_bandit_replay_choose(&context, replay, &request, &chosen), BR_OK);
		assert_int_equal(br_bandit_slate(&context, belief, &request, &slate), BR_OK);
		if (chosen != slate.chosen[0])
			fail_msg("%s over model %d, step %d: %d instead of %d", name, (int) model, i, chosen,
					 slate.chosen[0]);
		if (chosen == steps[i].arm)
		{
			agreed++;
			learn_slow(&context, &slow, &steps[i]);
			assert_int_equal(br_bandit_replay_learn(&context, replay, steps[i].arm,
													request.features == NULL
														? NULL
														: request.features + steps[i].arm * DIMS,
													0.2, steps[i].reward),
							 BR_OK);
		}
		br_bandit_slate_free(&context, &slate);
		br_bandit_belief_free(&context, belief);
	}
	br_bandit_replay_free(&context, replay);
	close_slow(&slow);
	return agreed;
}

static void
replay_chooses_as_a_belief_made_anew(void **state)
{
	Step *steps = calloc(STEPS, sizeof(Step));
	const char *name;

	(void) state;
	make_log(steps, STEPS);
	for (int i = 0; (name = br_bandit_algorithm_name(i)) != NULL; i++)
	{
		const BrAlgorithm *algorithm = br_bandit_algorithm(name);

		for (int model = BR_MODEL_ARM; model <= BR_MODEL_DISJOINT; model++)
		{
			int agreed;

			/* which draws scores instead of thetas */
			bool other_draws = strcmp(name, "linear_thompson") == 0 && model == BR_MODEL_DISJOINT;

			if ((br_bandit_algorithm_models(algorithm) & BR_MODEL_BIT(model)) == 0 ||
				br_bandit_algorithm_refits(algorithm) || other_draws)
				continue;
			agreed = compare(name, (BrModel) model, steps);
			/* a fifth of a uniform log, five standard deviations of 600 tosses */
			assert_in_range(agreed, 120 - 49, 120 + 49);
		}
	}
	free(steps);
}

/*
 * Sherman-Morrison over many rows and a weak prior, against the posterior made
 * from all sums at the end: a probe's expected choice flips where scores differ,
 * so the probes are many.
 */
static void
linear_ucb_does_not_drift(void **state)
{
	const BrAlgorithm *algorithm = br_bandit_algorithm("linear_ucb");
	BrPolicySpec spec = {algorithm, BR_MODEL_DISJOINT, DIMS,
						 br_bandit_default_parameters(algorithm, BR_MODEL_DISJOINT), NULL};
	int n = 20000;
	Step *steps = calloc((size_t) n, sizeof(Step));
	BrContext context;
	BrReplay *replay;
	BrBelief *belief;
	Slow slow;

	(void) state;
	spec.parameters.prior_precision = 1e-6;
	spec.parameters.epsilon = 0;
	br_base_context_init(&context);
	make_log(steps, n);
	open_slow(&slow, &spec);
	assert_int_equal(br_bandit_replay_create(&context, &spec, ARMS, 1, &replay), BR_OK);
	for (int i = 0; i < n; i++)
	{
		learn_slow(&context, &slow, &steps[i]);
		assert_int_equal(br_bandit_replay_learn(&context, replay, steps[i].arm,
												steps[i].features + steps[i].arm * DIMS, 0.2,
												steps[i].reward),
						 BR_OK);
	}
	belief = believe(&context, &slow);
	for (int i = 0; i < n; i++)
	{
		BrSlateRequest request = {.pool = ARMS,
								  .features = steps[i].features,
								  .slots = 1,
								  .key = 1};
		BrSlate slate;
		int chosen;

		assert_int_equal(br_bandit_replay_choose(&context, replay, &request, &chosen), BR_OK);
		assert_int_equal(br_bandit_slate(&context, belief, &request, &slate), BR_OK);
		assert_int_equal(chosen, slate.chosen[0]);
		br_bandit_slate_free(&context, &slate);
	}
	br_bandit_belief_free(&context, belief);
	br_bandit_replay_free(&context, replay);
	close_slow(&slow);
	free(steps);
}

/* The frequency of each choice is its probability by many votes, within 5 standard deviations. */
static void
drawn_scores_choose_as_often_as_votes(void **state)
{
	const BrAlgorithm *algorithm = br_bandit_algorithm("linear_thompson");
	BrPolicySpec spec = {algorithm, BR_MODEL_DISJOINT, DIMS,
						 br_bandit_default_parameters(algorithm, BR_MODEL_DISJOINT), NULL};
	Step steps[60];
	BrSlateRequest request = {.pool = ARMS, .features = steps[0].features, .slots = 1, .key = 77};
	double probability[ARMS];
	int count[ARMS] = {0};
	int n = 20000;
	BrContext context;
	BrReplay *replay;
	BrBelief *belief;
	Slow slow;

	(void) state;
	spec.parameters.noise = 0.25;
	spec.parameters.prior_precision = 4;
	br_base_context_init(&context);
	make_log(steps, 60);
	open_slow(&slow, &spec);
	assert_int_equal(br_bandit_replay_create(&context, &spec, ARMS, 1, &replay), BR_OK);
	for (int i = 0; i < 60; i++)
	{
		learn_slow(&context, &slow, &steps[i]);
		assert_int_equal(br_bandit_replay_learn(&context, replay, steps[i].arm,
												steps[i].features + steps[i].arm * DIMS, 0.2,
												steps[i].reward),
						 BR_OK);
	}
	slow.spec.parameters.draws = BR_BANDIT_MAX_DRAWS;
	belief = believe(&context, &slow);
	assert_int_equal(br_bandit_probabilities(&context, belief, &request, NULL, 0, probability),
					 BR_OK);
	for (int i = 0; i < n; i++)
	{
		int chosen;

		request.key = (uint64_t) i;
		assert_int_equal(br_bandit_replay_choose(&context, replay, &request, &chosen), BR_OK);
		count[chosen]++;
	}
	for (int arm = 0; arm < ARMS; arm++)
	{
		double p = probability[arm];
		double deviation = sqrt(p * (1 - p) * (1.0 / n + 1.0 / BR_BANDIT_MAX_DRAWS));

		/* none is so rare that the bound means nothing */
		assert_true(p > 0.01);
		if (fabs((double) count[arm] / n - p) > 5 * deviation)
			fail_msg("arm %d: %d of %d instead of %g", arm, count[arm], n, p);
	}
	br_bandit_belief_free(&context, belief);
	br_bandit_replay_free(&context, replay);
	close_slow(&slow);
}

/* epsilon 0, rewards 0 of arm 0 and 1 of arm 1: the second row counts only once a batch is full */
static void
batches_and_discounts(void **state)
{
	const BrAlgorithm *algorithm = br_bandit_algorithm("epsilon_greedy");
	BrPolicySpec spec = {algorithm, BR_MODEL_ARM, 0,
						 br_bandit_default_parameters(algorithm, BR_MODEL_ARM), NULL};
	BrSlateRequest request = {.pool = 2, .slots = 1, .key = 5};
	BrContext context;
	BrReplay *replay;
	int chosen;

	(void) state;
	spec.parameters.epsilon = 0;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_replay_create(&context, &spec, 2, 2, &replay), BR_OK);
	assert_int_equal(br_bandit_replay_learn(&context, replay, 1, NULL, 0.5, 1), BR_OK);
	assert_int_equal(br_bandit_replay_choose(&context, replay, &request, &chosen), BR_OK);
	assert_int_equal(chosen, 0);
	assert_int_equal(br_bandit_replay_learn(&context, replay, 0, NULL, 0.5, 0), BR_OK);
	assert_int_equal(br_bandit_replay_choose(&context, replay, &request, &chosen), BR_OK);
	assert_int_equal(chosen, 1);

	/* 1 of arm 1 at weight 1e-9 counts less than .5 of arm 0 beside a 0 of the same small weight */
	assert_int_equal(br_bandit_replay_discount(&context, replay, 1e-9), BR_OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(br_bandit_replay_learn(&context, replay, 1, NULL, 0.5, 0), BR_OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(br_bandit_replay_learn(&context, replay, 0, NULL, 0.5, 0.5), BR_OK);
	assert_int_equal(br_bandit_replay_choose(&context, replay, &request, &chosen), BR_OK);
	assert_int_equal(chosen, 0);
	br_bandit_replay_free(&context, replay);
}

static void
replay_refuses(void **state)
{
	const BrAlgorithm *logistic = br_bandit_algorithm("logistic_thompson");
	const BrAlgorithm *greedy = br_bandit_algorithm("epsilon_greedy");
	BrPolicySpec spec = {logistic, BR_MODEL_DISJOINT, DIMS,
						 br_bandit_default_parameters(logistic, BR_MODEL_DISJOINT), NULL};
	BrContext context;
	BrReplay *replay;
	BrSlateRequest empty = {.pool = 0, .slots = 1};
	int chosen;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_replay_create(&context, &spec, 2, 1, &replay), BR_ERR_UNSUPPORTED);
	assert_null(replay);
	spec = (BrPolicySpec){greedy, BR_MODEL_ARM, 0,
						  br_bandit_default_parameters(greedy, BR_MODEL_ARM), NULL};
	assert_int_equal(br_bandit_replay_create(&context, &spec, 2, 0, &replay), BR_ERR_ARGUMENT);
	assert_int_equal(br_bandit_replay_create(&context, &spec, 2, 1, &replay), BR_OK);
	assert_int_equal(br_bandit_replay_choose(&context, replay, &empty, &chosen), BR_ERR_ARGUMENT);
	assert_int_equal(br_bandit_replay_learn(&context, replay, 2, NULL, 0.5, 1), BR_ERR_ARGUMENT);
	br_bandit_replay_free(&context, replay);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replay_chooses_as_a_belief_made_anew),
		cmocka_unit_test(linear_ucb_does_not_drift),
		cmocka_unit_test(drawn_scores_choose_as_often_as_votes),
		cmocka_unit_test(batches_and_discounts),
		cmocka_unit_test(replay_refuses),
	};

	return cmocka_run_group_tests_name("bandit_replay", tests, NULL, NULL);
}
