/*
 * test_bandit_regret.c
 *	  Regret of every algorithm on simulated problems, beside a reference that
 *	  met the same problems.
 *
 * A seed is a problem; its rewards are drawn in advance, one uniform or normal
 * of a visit for all arms, so that both sides would get the same reward for
 * the same choice. The first visits show each arm once. The references ran on
 * 50 seeds, 1 to 50: MABWiser 2.7.4 (EpsilonGreedy(.1), UCB1(1),
 * ThompsonSampling(), Softmax(.1), LinGreedy(.1, 1), LinUCB(.25, 1),
 * LinTS(.25, 1)), and formulas of the same parameters in NumPy 1.26.4 where it
 * has no such policy. An algorithm may exceed their mean by two of their
 * standard errors, over seeds. The references ran once on every seed, ours run
 * four times where no quadrature makes that long: the chance of a single run is
 * as large as that error.
 *
 * Both have the same prior: MABWiser's, which is Beta(1, 1) for Thompson sampling
 * and none elsewhere, or the default of two slots at the pooled mean. A firm
 * prior draws means together, and with few slots of many arms a softmax pays for
 * it: of the Gaussian arms its regret is 32.7 with two slots and 18.3 without.
 * So its default is a tenth of a slot, which is what runs here beside MABWiser.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/math/br_math.h"
#include "unit/bandit_policy.h"

/* instrumented, a few seeds must do: they say nothing about regret then */
#ifdef __SANITIZE_ADDRESS__
#define SEEDS 1
#define RUNS 1
#else
#define SEEDS 50
#define RUNS 4
#endif
#define MAX_VISITS 1000
#define MAX_ARMS 10
#define DIMS 4

/* streams of a seed */
enum
{
	STREAM_REWARDS = 1,
	STREAM_TRUTH,
	STREAM_CONTEXTS,
	STREAM_CLICKS
};

typedef struct Problem
{
	int visits;
	int arms;
	double expected[MAX_VISITS][MAX_ARMS];
	double reward[MAX_VISITS][MAX_ARMS];
	float x[MAX_VISITS][MAX_ARMS][DIMS];
} Problem;

/* Ten arms: one is clicked at .1, the others at .05; 1,000 visits. */
static void
make_bernoulli(Problem *problem, uint64_t seed)
{
	BrRandom random;

	br_base_random_init(&random, seed, STREAM_REWARDS);
	problem->visits = 1000;
	problem->arms = 10;
	for (int t = 0; t < problem->visits; t++)
	{
		double uniform = br_base_random_uniform(&random);

		for (int a = 0; a < problem->arms; a++)
		{
			problem->expected[t][a] = (uint64_t) a == seed * 7 % 10 ? 0.1 : 0.05;
			problem->reward[t][a] = uniform < problem->expected[t][a];
		}
	}
}

/* Ten arms with means of deviation .5, rewards of deviation .5 around them; 500 visits. */
static void
make_gaussian(Problem *problem, uint64_t seed)
{
	double mean[MAX_ARMS];
	BrRandom random;

	problem->visits = 500;
	problem->arms = 10;
	br_base_random_init(&random, seed, STREAM_TRUTH);
	for (int a = 0; a < problem->arms; a++)
		mean[a] = 0.5 * br_math_normal(&random);
	br_base_random_init(&random, seed, STREAM_REWARDS);
	for (int t = 0; t < problem->visits; t++)
	{
		double noise = 0.5 * br_math_normal(&random);

		for (int a = 0; a < problem->arms; a++)
		{
			problem->expected[t][a] = mean[a];
			problem->reward[t][a] = mean[a] + noise;
		}
	}
}

/*
 * Five arms, 300 visits, x'theta plus noise of deviation .25, theta of deviation
 * .5; x has a bias and three normals. One context and a theta of each arm, or one
 * theta and a context of each arm.
 */
static void
make_linear(Problem *problem, uint64_t seed, bool shared)
{
	double theta[MAX_ARMS][DIMS];
	BrRandom random;

	problem->visits = 300;
	problem->arms = 5;
	br_base_random_init(&random, seed, STREAM_TRUTH);
	for (int a = 0; a < (shared ? 1 : problem->arms); a++)
	{
		for (int i = 0; i < DIMS; i++)
			theta[a][i] = 0.5 * br_math_normal(&random);
	}
	br_base_random_init(&random, seed, STREAM_CONTEXTS);
	for (int t = 0; t < problem->visits; t++)
	{
		for (int a = 0; a < problem->arms; a++)
		{
			if (a > 0 && !shared)
			{
				memcpy(problem->x[t][a], problem->x[t][0], sizeof(problem->x[t][a]));
				continue;
			}
			for (int i = 0; i < DIMS; i++)
				problem->x[t][a][i] = (float) br_math_normal(&random);
			problem->x[t][a][0] = 1;
		}
	}
	br_base_random_init(&random, seed, STREAM_REWARDS);
	for (int t = 0; t < problem->visits; t++)
	{
		double noise = 0.25 * br_math_normal(&random);

		for (int a = 0; a < problem->arms; a++)
		{
			problem->expected[t][a] = 0;
			for (int i = 0; i < DIMS; i++)
				problem->expected[t][a] += theta[shared ? 0 : a][i] * problem->x[t][a][i];
			problem->reward[t][a] = problem->expected[t][a] + noise;
		}
	}
}

static void
make_disjoint(Problem *problem, uint64_t seed)
{
	make_linear(problem, seed, false);
}

static void
make_shared(Problem *problem, uint64_t seed)
{
	make_linear(problem, seed, true);
}

/* As the shared one, clicked at the rate logistic(2 x'theta - 1). */
static void
make_logistic(Problem *problem, uint64_t seed)
{
	BrRandom random;

	make_linear(problem, seed, true);
	br_base_random_init(&random, seed, STREAM_CLICKS);
	for (int t = 0; t < problem->visits; t++)
	{
		double uniform = br_base_random_uniform(&random);

		for (int a = 0; a < problem->arms; a++)
		{
			problem->expected[t][a] = br_math_logistic(2 * problem->expected[t][a] - 1);
			problem->reward[t][a] = uniform < problem->expected[t][a];
		}
	}
}

typedef struct Contest
{
	const char *problem;
	void (*make)(Problem *problem, uint64_t seed);
	BrModel model;
	const char *algorithm;
	double noise;
	double strength;  /* of the prior over arms */
	double rate;	  /* its mean; NaN: the pooled mean */
	double reference; /* mean regret */
	double error;	  /* its standard error */
} Contest;

static const Contest contests[] = {
	{"Bernoulli", make_bernoulli, BR_MODEL_ARM, "epsilon_greedy", 0.25, 0, NAN, 29.4800, 2.3548},
	{"Bernoulli", make_bernoulli, BR_MODEL_ARM, "epsilon_delta", 0.25, 2, NAN, 43.2170, 2.0656},
	{"Bernoulli", make_bernoulli, BR_MODEL_ARM, "ucb1", 0.25, 2, NAN, 43.2780, 0.1193},
	{"Bernoulli", make_bernoulli, BR_MODEL_ARM, "ucb_tuned", 0.25, 2, NAN, 39.6270, 0.3922},
	{"Bernoulli", make_bernoulli, BR_MODEL_ARM, "kl_ucb", 0.25, 2, NAN, 38.1110, 0.5830},
	{"Bernoulli", make_bernoulli, BR_MODEL_ARM, "thompson_beta", 0.25, 2, 0.5, 36.4070, 0.7883},
	{"Bernoulli", make_bernoulli, BR_MODEL_ARM, "thompson_gaussian", 0.05, 2, NAN, 32.7520, 1.3889},
	{"Bernoulli", make_bernoulli, BR_MODEL_ARM, "softmax", 0.25, 0.1, NAN, 41.6970, 0.3373},
	{"Bernoulli", make_bernoulli, BR_MODEL_ARM, "exp3", 0.25, 2, NAN, 37.9290, 2.0994},
	{"Bernoulli", make_bernoulli, BR_MODEL_ARM, "square_cb", 0.25, 2, NAN, 31.9670, 1.3063},
	{"Gaussian", make_gaussian, BR_MODEL_ARM, "epsilon_greedy", 0.25, 0, NAN, 53.3691, 5.3943},
	{"Gaussian", make_gaussian, BR_MODEL_ARM, "epsilon_delta", 0.25, 2, NAN, 92.4950, 11.5313},
	{"Gaussian", make_gaussian, BR_MODEL_ARM, "ucb1", 0.25, 2, NAN, 80.7804, 1.9059},
	{"Gaussian", make_gaussian, BR_MODEL_ARM, "thompson_gaussian", 0.25, 2, NAN, 30.5979, 1.3709},
	{"Gaussian", make_gaussian, BR_MODEL_ARM, "softmax", 0.25, 0.1, NAN, 17.7059, 2.0054},
	{"Gaussian", make_gaussian, BR_MODEL_ARM, "square_cb", 0.25, 2, NAN, 45.1954, 1.8610},
	{"disjoint", make_disjoint, BR_MODEL_DISJOINT, "epsilon_greedy", 1, 0, NAN, 48.8598, 2.0012},
	{"disjoint", make_disjoint, BR_MODEL_DISJOINT, "softmax", 1, 0, NAN, 29.4823, 4.0079},
	{"disjoint", make_disjoint, BR_MODEL_DISJOINT, "linear_ucb", 1, 0, NAN, 19.9678, 2.4718},
	{"disjoint", make_disjoint, BR_MODEL_DISJOINT, "linear_thompson", 1, 0, NAN, 24.3421, 2.5874},
	{"disjoint", make_disjoint, BR_MODEL_DISJOINT, "square_cb", 1, 0, NAN, 31.0248, 2.5796},
	{"shared", make_shared, BR_MODEL_SHARED, "epsilon_greedy", 1, 0, NAN, 25.7309, 1.6642},
	{"shared", make_shared, BR_MODEL_SHARED, "softmax", 1, 0, NAN, 5.6868, 0.4657},
	{"shared", make_shared, BR_MODEL_SHARED, "linear_ucb", 1, 0, NAN, 0.8197, 0.1017},
	{"shared", make_shared, BR_MODEL_SHARED, "linear_thompson", 1, 0, NAN, 1.5674, 0.1443},
	{"shared", make_shared, BR_MODEL_SHARED, "square_cb", 1, 0, NAN, 11.1370, 0.5697},
	{"logistic", make_logistic, BR_MODEL_SHARED, "logistic_thompson", 1, 0, NAN, 9.8319, 0.4150},
};

/* Slots of a policy with a theta for all arms that refits. */
typedef struct Kept
{
	float x[MAX_VISITS][DIMS];
	double reward[MAX_VISITS];
	double weight[MAX_VISITS];
} Kept;

#define REFIT 10

static void
open_policy(BanditPolicy *policy, const Contest *contest, const Problem *problem)
{
	BrParameters *parameters;

	bandit_policy_open(policy, contest->algorithm, contest->model,
					   contest->model == BR_MODEL_ARM ? 0 : DIMS, problem->arms);
	parameters = &policy->spec.parameters;
	parameters->noise = contest->noise;
	parameters->width =
		contest->model == BR_MODEL_ARM || br_bandit_algorithm_refits(policy->spec.algorithm) ? 1
																							 : 0.25;
	parameters->prior_strength = contest->strength;
	parameters->prior_rate = contest->rate;
	parameters->draws = 1;
	parameters->epsilon = strncmp(contest->algorithm, "epsilon", 7) == 0 ? 0.1 : 0;
}

/* What is learned of a visit: at once, or kept and fitted every REFIT visits. */
static void
learn_visit(BanditPolicy *policy, const Problem *problem, Kept *kept, int t, int chosen,
			double propensity)
{
	const float *x = problem->x[t][chosen];

	if (!br_bandit_algorithm_refits(policy->spec.algorithm))
	{
		bandit_learn(policy, chosen, x, 1, propensity, problem->reward[t][chosen]);
		bandit_refresh(policy);
		return;
	}
	memcpy(kept->x[t], x, sizeof(kept->x[t]));
	kept->reward[t] = problem->reward[t][chosen];
	kept->weight[t] = 1;
	if ((t + 1) % REFIT == 0)
		assert_int_equal(br_bandit_fit(&policy->context, &policy->spec, (size_t) t + 1,
									   &kept->x[0][0], kept->reward, kept->weight, policy->shared),
						 BR_OK);
	bandit_refresh(policy);
}

static double
regret_of(const Contest *contest, const Problem *problem, uint64_t seed, uint64_t run)
{
	static Kept kept;
	BanditPolicy policy;
	double regret = 0;

	open_policy(&policy, contest, problem);
	for (int t = 0; t < problem->visits; t++)
	{
		int chosen = t;
		double propensity = 1.0 / problem->arms;

		if (t >= problem->arms)
		{
			BrSlateRequest request = {.pool = problem->arms,
									  .features = &problem->x[t][0][0],
									  .slots = 1,
									  .key = run << 48 | seed << 32 | (uint64_t) t};
			double best = -INFINITY;
			BrSlate slate;

			assert_int_equal(br_bandit_slate(&policy.context, policy.belief, &request, &slate),
							 BR_OK);
			chosen = slate.chosen[0];
			propensity = slate.propensity[0];
			br_bandit_slate_free(&policy.context, &slate);
			for (int a = 0; a < problem->arms; a++)
				best = fmax(best, problem->expected[t][a]);
			regret += best - problem->expected[t][chosen];
		}
		learn_visit(&policy, problem, &kept, t, chosen, propensity);
		if (br_bandit_algorithm_has_incumbent(policy.spec.algorithm) && t + 1 >= problem->arms)
		{
			static const bool all[MAX_ARMS] = {true, true, true, true, true,
											   true, true, true, true, true};

			policy.incumbent = br_bandit_next_incumbent(policy.belief, policy.incumbent, all);
			bandit_refresh(&policy);
		}
	}
	bandit_policy_close(&policy);
	return regret;
}

static void
regret_is_that_of_the_reference(void **state)
{
	static Problem problem;
	int lost = 0;

	(void) state;
	for (size_t i = 0; i < sizeof(contests) / sizeof(contests[0]); i++)
	{
		const Contest *contest = &contests[i];
		/* quadratures take long, and so does a thousand of them */
		bool integrates =
			contest->model != BR_MODEL_SHARED && strstr(contest->algorithm, "thompson") != NULL;
		uint64_t runs = integrates ? 1 : RUNS;
		double mean = 0;
		bool within;

		for (uint64_t seed = 1; seed <= SEEDS; seed++)
		{
			contest->make(&problem, seed);
			for (uint64_t run = 0; run < runs; run++)
				mean += regret_of(contest, &problem, seed, run) / (double) (SEEDS * runs);
		}
		within = SEEDS < 50 || mean <= contest->reference + 2 * contest->error;
		print_message("%-9s %-17s %7.2f, reference %7.2f, standard error %5.2f%s\n",
					  contest->problem, contest->algorithm, mean, contest->reference,
					  contest->error, within ? "" : ": too much");
		lost += !within;
	}
	assert_int_equal(lost, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regret_is_that_of_the_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
