/*
 * test_bandit_learning.c
 *	  Does the bandit learn? Regret of linear Thompson sampling against tuned
 *	  epsilon-greedy and uniform choice, in simulated shops.
 *
 * A seed is a shop of 60 bundles and 5,000 visits; one bundle is shown per
 * visit, the posterior is refreshed every 50. All policies meet the same
 * visits, and a bundle is clicked where one uniform of the visit is below its
 * true rate (common random numbers), so regrets are compared seed by seed.
 *
 * What a shop is like:
 * - Click rates are .01 + .09 logistic(appeal), few of them high. Policies are
 *   linear, so their model is wrong everywhere, and a part of every bundle's
 *   appeal is in no feature.
 * - Features lie in [0, 1] and mostly belong to the bundle. Similarities are
 *   measured with an error that stays with the bundle (a poor description
 *   stays poor) and a small one of the visit. Popular bundles are seldom
 *   fresh, dear ones have better margins, discounts cost margin.
 * - Nine visits of ten are anonymous: nearly the average taste. The others
 *   come from six segments, which arrive in waves.
 * - The prior is a ranker trained elsewhere: it knows content and popularity,
 *   with errors, promises only six tenths of the clicks (its placement had
 *   fewer), and says nothing about freshness, price fit, discount and margin,
 *   whose effects are as large and have a sign of their own in every shop.
 *
 * What it does not show is that Thompson sampling wins everywhere. The first
 * shop was picked as one where exploring on purpose pays: visits alike, errors
 * that stay. Where every visit brings a taste of its own, visits explore by
 * themselves, and epsilon-greedy does as well or, where measuring errors are
 * fresh in every visit, slightly better. Such a shop is run too, and its
 * figures are printed. NOISE is below the variance of a click: with the true
 * one Thompson sampling explores longer than 5,000 visits repay.
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
#include "core/math/br_math.h"

#define BUNDLES 60
#define VISITS 5000
#define REFRESH 50
#define SEEDS 20
#define FIRST_SEED 1
#define FIRST_TUNING_SEED 1001
#define SEGMENTS 6
#define TASTES 4

/* the defaults that these runs recommend for features in [0, 1] and clicks */
#define NOISE 0.01
#define PRECISION 1000.0
#define EPSILON 0.02

/* Few draws choose a bundle as often as many that vote; instrumented, many take minutes. */
#ifdef __SANITIZE_ADDRESS__
#define DRAWS 8
#else
#define DRAWS 256
#endif

/* of Student's t with SEEDS - 1 degrees of freedom (scipy 1.17.1: t.ppf(.975, 19)) */
#define STUDENT_95 2.093024054408263

enum
{
	BIAS,
	RANKER,
	CONTENT,
	CO_PURCHASE,
	FACTOR,
	POPULARITY,
	FRESHNESS,
	PRICE_FIT,
	DISCOUNT,
	MARGIN,
	DIMS
};

/* streams of a seed */
enum
{
	STREAM_SHOP,
	STREAM_VISITS,
	STREAM_CLICKS,
	STREAM_PLACEBO
};

/* Effects on the appeal, in logits per standard deviation. */
#define APPEAL_OF_NOTHING (-3.0)
#define EFFECT_CONTENT 0.7
#define EFFECT_POPULARITY 0.5
#define EFFECT_UNKNOWN_TO_RANKER 1.0
#define EFFECT_IN_NO_FEATURE 0.3
#define NOISE_OF_VISIT 0.1
#define RANKER_PROMISES 0.6
#define WAVES_END 0.2

typedef struct Bundle
{
	double taste[TASTES];
	double popularity;
	double freshness;
	double price;
	double margin;
	double discount;
	double in_no_feature;
	double error_ranker;
	double error_content;
	double error_co_purchase;
	double error_factor;
} Bundle;

typedef struct Shop
{
	double anonymous; /* share of visits */
	Bundle bundle[BUNDLES];
	double average_taste[TASTES];
	double segment_taste[SEGMENTS][TASTES];
	double segment_budget[SEGMENTS];
	double effect[DIMS]; /* of what the ranker does not know */
} Shop;

typedef struct Visit
{
	float features[BUNDLES][DIMS];
	double rate[BUNDLES];
	double best_rate;
	double click;	/* uniform: a bundle with a rate above it is clicked */
	double placebo; /* another one */
} Visit;

typedef struct Policy
{
	const char *algorithm;
	int draws;
	double epsilon;
} Policy;

/* what epsilon-greedy is tuned over */
static const double epsilons[] = {0.01, 0.02, 0.05, 0.1, 0.2};
#define EPSILONS ((int) (sizeof(epsilons) / sizeof(epsilons[0])))

static void
make_shop(Shop *shop, uint64_t seed, double anonymous)
{
	BrRandom random;

	br_base_random_init(&random, seed, STREAM_SHOP);
	memset(shop, 0, sizeof(*shop));
	shop->anonymous = anonymous;
	for (int b = 0; b < BUNDLES; b++)
	{
		Bundle *bundle = &shop->bundle[b];

		for (int i = 0; i < TASTES; i++)
			bundle->taste[i] = br_math_normal(&random);
		bundle->popularity = br_math_normal(&random);
		bundle->freshness = -0.5 * bundle->popularity + 0.87 * br_math_normal(&random);
		bundle->price = br_math_normal(&random);
		bundle->margin = 0.5 * bundle->price + 0.87 * br_math_normal(&random);
		bundle->discount = -0.3 * bundle->margin + 0.95 * br_math_normal(&random);
		bundle->in_no_feature = br_math_normal(&random);
		bundle->error_ranker = br_math_normal(&random);
		bundle->error_content = br_math_normal(&random);
		bundle->error_co_purchase = br_math_normal(&random);
		bundle->error_factor = br_math_normal(&random);
	}
	for (int i = 0; i < TASTES; i++)
		shop->average_taste[i] = 0.5 * br_math_normal(&random);
	for (int s = 0; s < SEGMENTS; s++)
	{
		for (int i = 0; i < TASTES; i++)
			shop->segment_taste[s][i] = shop->average_taste[i] + 0.8 * br_math_normal(&random);
		shop->segment_budget[s] = 0.7 * br_math_normal(&random);
	}
	for (int i = FRESHNESS; i <= MARGIN; i++)
		shop->effect[i] = br_base_random_below(&random, 2) == 0 ? -EFFECT_UNKNOWN_TO_RANKER
																: EFFECT_UNKNOWN_TO_RANKER;
	/* nobody prefers prices that do not fit */
	shop->effect[PRICE_FIT] = EFFECT_UNKNOWN_TO_RANKER;
}

/* Features and true rate of one bundle for a visitor of that taste and budget. */
static void
meet_bundle(const Shop *shop, int b, const double *taste, double budget, BrRandom *random,
			Visit *visit)
{
	const Bundle *bundle = &shop->bundle[b];
	float *x = visit->features[b];
	double price_fit = 1 - fabs(budget - bundle->price);
	double content = 0;
	double known;
	double appeal;

	for (int i = 0; i < TASTES; i++)
		content += taste[i] * bundle->taste[i] / 2;
	known = EFFECT_CONTENT * content + EFFECT_POPULARITY * bundle->popularity;
	appeal = APPEAL_OF_NOTHING + known + shop->effect[FRESHNESS] * bundle->freshness +
		shop->effect[PRICE_FIT] * price_fit + shop->effect[DISCOUNT] * bundle->discount +
		shop->effect[MARGIN] * bundle->margin + EFFECT_IN_NO_FEATURE * bundle->in_no_feature;
	visit->rate[b] = 0.01 + 0.09 * br_math_logistic(appeal);
	visit->best_rate = fmax(visit->best_rate, visit->rate[b]);

	known += 0.4 * bundle->error_ranker + NOISE_OF_VISIT * br_math_normal(random);
	x[BIAS] = 1;
	x[RANKER] = (float) (RANKER_PROMISES * (0.01 + 0.09 * br_math_logistic(known - 1)));
	x[CONTENT] = (float) br_math_logistic(content + 0.3 * bundle->error_content +
										  NOISE_OF_VISIT * br_math_normal(random));
	x[CO_PURCHASE] = (float) br_math_logistic(0.5 * content + 0.7 * bundle->popularity +
											  0.5 * bundle->error_co_purchase +
											  NOISE_OF_VISIT * br_math_normal(random));
	x[FACTOR] = (float) br_math_logistic(0.8 * content + 0.6 * bundle->error_factor +
										 NOISE_OF_VISIT * br_math_normal(random));
	x[POPULARITY] = (float) br_math_logistic(bundle->popularity);
	x[FRESHNESS] = (float) br_math_logistic(bundle->freshness);
	x[PRICE_FIT] = (float) br_math_logistic(price_fit + NOISE_OF_VISIT * br_math_normal(random));
	x[DISCOUNT] = (float) br_math_logistic(bundle->discount);
	x[MARGIN] = (float) br_math_logistic(bundle->margin);
}

static void
make_visits(const Shop *shop, uint64_t seed, Visit *visits /* (VISITS) */)
{
	BrRandom random;
	BrRandom clicks;
	BrRandom placebo;
	uint32_t segment = 0;

	br_base_random_init(&random, seed, STREAM_VISITS);
	br_base_random_init(&clicks, seed, STREAM_CLICKS);
	br_base_random_init(&placebo, seed, STREAM_PLACEBO);
	for (int t = 0; t < VISITS; t++)
	{
		Visit *visit = &visits[t];
		bool anonymous = br_base_random_uniform(&random) < shop->anonymous;
		double taste[TASTES];
		double budget;

		if (br_base_random_uniform(&random) < WAVES_END)
			segment = br_base_random_below(&random, SEGMENTS);
		for (int i = 0; i < TASTES; i++)
			taste[i] = anonymous ? shop->average_taste[i] + NOISE_OF_VISIT * br_math_normal(&random)
								 : shop->segment_taste[segment][i] + 0.6 * br_math_normal(&random);
		budget = anonymous ? NOISE_OF_VISIT * br_math_normal(&random)
						   : shop->segment_budget[segment] + 0.5 * br_math_normal(&random);

		visit->best_rate = 0;
		for (int b = 0; b < BUNDLES; b++)
			meet_bundle(shop, b, taste, budget, &random, visit);
		visit->click = br_base_random_uniform(&clicks);
		visit->placebo = br_base_random_uniform(&placebo);
	}
}

static void
make_seed(uint64_t seed, double anonymous, Visit *visits /* (VISITS) */)
{
	Shop shop;

	make_shop(&shop, seed, anonymous);
	make_visits(&shop, seed, visits);
}

typedef struct Learner
{
	BrContext context;
	double evidence[2 + DIMS + DIMS * (DIMS + 1) / 2];
	BrPolicySpec spec;
	BrBelief *belief;
} Learner;

/* The ranker's promise is believed as it is; nothing else is. */
static const double ranker_prior[DIMS] = {[RANKER] = 1};
static const double no_prior[DIMS] = {0};

static void
refresh(Learner *learner)
{
	BrPolicyEvidence evidence = {.shared = learner->evidence, .incumbent = -1};

	br_bandit_belief_free(&learner->context, learner->belief);
	assert_int_equal(br_bandit_believe(&learner->context, &learner->spec, &evidence,
									   &learner->belief),
					 BR_OK);
}

static void
start(Learner *learner, const Policy *policy, const double *prior_mean)
{
	memset(learner, 0, sizeof(*learner));
	br_base_context_init(&learner->context);
	learner->spec.algorithm = br_bandit_algorithm(policy->algorithm);
	learner->spec.model = BR_MODEL_SHARED;
	learner->spec.dims = DIMS;
	learner->spec.prior_mean = prior_mean;
	learner->spec.parameters =
		br_bandit_default_parameters(learner->spec.algorithm, BR_MODEL_SHARED);
	learner->spec.parameters.draws = policy->draws;
	learner->spec.parameters.epsilon = policy->epsilon;
	learner->spec.parameters.prior_precision = PRECISION;
	learner->spec.parameters.noise = NOISE;
	refresh(learner);
}

static void
stop(Learner *learner)
{
	br_bandit_belief_free(&learner->context, learner->belief);
	learner->belief = NULL;
}

/* The first slots of a visit's slate, as pool members. */
static void
choose(Learner *learner, const Visit *visit, int slots, uint64_t key, int *chosen /* (slots) */)
{
	BrSlateRequest request = {.pool = BUNDLES,
							  .features = &visit->features[0][0],
							  .slots = slots,
							  .key = key};
	BrSlate slate;

	assert_int_equal(br_bandit_slate(&learner->context, learner->belief, &request, &slate), BR_OK);
	memcpy(chosen, slate.chosen, (size_t) slots * sizeof(int));
	br_bandit_slate_free(&learner->context, &slate);
}

/*
 * Total regret over the visits: what the best bundle's true rate exceeds the
 * chosen one's by. *learner has been started and is left with what it learned.
 * placebo_rate: where not negative, rewards come at that rate whatever is shown.
 */
static double
learn(Learner *learner, const Visit *visits, uint64_t seed, double placebo_rate)
{
	double regret = 0;

	for (int t = 0; t < VISITS; t++)
	{
		const Visit *visit = &visits[t];
		bool rewarded;
		int chosen;

		choose(learner, visit, 1, seed << 32 | (uint64_t) t, &chosen);
		rewarded =
			placebo_rate < 0 ? visit->click < visit->rate[chosen] : visit->placebo < placebo_rate;

		regret += visit->best_rate - visit->rate[chosen];
		br_bandit_evidence_add_slot(learner->evidence, DIMS, visit->features[chosen], 1);
		if (rewarded)
			br_bandit_evidence_add_reward(learner->evidence, DIMS, visit->features[chosen], 1, 0,
										  1);
		if ((t + 1) % REFRESH == 0)
			refresh(learner);
	}
	return regret;
}

static double
regret_of(const Policy *policy, const Visit *visits, uint64_t seed)
{
	Learner learner;
	double regret;

	start(&learner, policy, ranker_prior);
	regret = learn(&learner, visits, seed, -1);
	stop(&learner);
	return regret;
}

/* Mean and half-width of the 95 % interval of paired differences. */
static double
paired_difference(const char *label, const double *left /* (SEEDS) */,
				  const double *right /* (SEEDS) */, double *half_width)
{
	double mean = 0;
	double squares = 0;

	for (int s = 0; s < SEEDS; s++)
		mean += (left[s] - right[s]) / SEEDS;
	for (int s = 0; s < SEEDS; s++)
		squares += (left[s] - right[s] - mean) * (left[s] - right[s] - mean);
	*half_width = STUDENT_95 * sqrt(squares / (SEEDS - 1) / SEEDS);
	print_message("  %s: %.4g, 95 %% interval %.4g to %.4g\n", label, mean, mean - *half_width,
				  mean + *half_width);
	return mean;
}

static double
average(const double *values /* (SEEDS) */)
{
	double sum = 0;

	for (int s = 0; s < SEEDS; s++)
		sum += values[s];
	return sum / SEEDS;
}

typedef struct Comparison
{
	double thompson[SEEDS];
	double uniform[SEEDS];
	double greedy[EPSILONS][SEEDS];
	int tuned;	   /* epsilon of least mean regret on seeds that are used for nothing else */
	int hindsight; /* that of least mean regret on the seeds compared */
} Comparison;

static int
least_mean(double values[EPSILONS][SEEDS])
{
	int least = 0;

	for (int e = 1; e < EPSILONS; e++)
		least = average(values[e]) < average(values[least]) ? e : least;
	return least;
}

static void
run_greedy(double regret[EPSILONS][SEEDS], int s, const Visit *visits, uint64_t seed)
{
	for (int e = 0; e < EPSILONS; e++)
	{
		Policy greedy = {"epsilon_greedy", 1, epsilons[e]};

		regret[e][s] = regret_of(&greedy, visits, seed);
	}
}

static void
compare(Visit *visits, double anonymous, int draws, Comparison *regret)
{
	Policy thompson = {"linear_thompson", draws, EPSILON};
	Policy uniform = {"epsilon_greedy", 1, 1};

	for (int s = 0; s < SEEDS; s++)
	{
		make_seed(FIRST_TUNING_SEED + (uint64_t) s, anonymous, visits);
		run_greedy(regret->greedy, s, visits, FIRST_TUNING_SEED + (uint64_t) s);
	}
	regret->tuned = least_mean(regret->greedy);

	for (int s = 0; s < SEEDS; s++)
	{
		uint64_t seed = FIRST_SEED + (uint64_t) s;

		make_seed(seed, anonymous, visits);
		regret->thompson[s] = regret_of(&thompson, visits, seed);
		regret->uniform[s] = regret_of(&uniform, visits, seed);
		run_greedy(regret->greedy, s, visits, seed);
	}
	regret->hindsight = least_mean(regret->greedy);

	print_message("  mean regret in clicks: Thompson %.1f, uniform %.1f\n",
				  average(regret->thompson), average(regret->uniform));
	for (int e = 0; e < EPSILONS; e++)
		print_message("  epsilon-greedy, epsilon %.2f: %.1f%s%s\n", epsilons[e],
					  average(regret->greedy[e]), e == regret->tuned ? ", tuned" : "",
					  e == regret->hindsight ? ", best in hindsight" : "");
}

static void
assert_less(const char *label, const double *left, const double *right)
{
	double half_width;
	double mean = paired_difference(label, left, right, &half_width);

	assert_true(mean + half_width < 0);
}

static void
thompson_beats_tuned_greedy_and_uniform(void **state)
{
	Comparison regret;

	print_message("Nine visits of ten anonymous\n");
	compare(*state, 0.9, DRAWS, &regret);
	assert_less("Thompson less tuned", regret.thompson, regret.greedy[regret.tuned]);
	assert_less("Thompson less best in hindsight", regret.thompson,
				regret.greedy[regret.hindsight]);
	assert_less("Thompson less uniform", regret.thompson, regret.uniform);
}

/* A single draw is as likely to choose a bundle as 256 that vote, and costs less. */
static void
thompson_beats_uniform_where_visits_differ(void **state)
{
	Comparison regret;
	double half_width;

	print_message("Every visitor known\n");
	compare(*state, 0, 1, &regret);
	paired_difference("Thompson less tuned", regret.thompson, regret.greedy[regret.tuned],
					  &half_width);
	assert_less("Thompson less uniform", regret.thompson, regret.uniform);
}

/* Mean true rate of the five bundles that the posterior mean ranks first. The learner is done. */
static double
rate_of_ranking(Learner *learner, const Visit *visits)
{
	enum
	{
		EVERY = 10,
		RANKS = 5
	};
	double sum = 0;

	learner->spec.algorithm = br_bandit_algorithm("epsilon_greedy");
	learner->spec.parameters.epsilon = 0;
	refresh(learner);
	for (int t = 0; t < VISITS; t += EVERY)
	{
		int chosen[RANKS];

		choose(learner, &visits[t], RANKS, 0, chosen);
		for (int k = 0; k < RANKS; k++)
			sum += visits[t].rate[chosen[k]];
	}
	return sum / (VISITS / EVERY * RANKS);
}

static double
rate_of_pool(const Visit *visits)
{
	double sum = 0;

	for (int t = 0; t < VISITS; t++)
	{
		for (int b = 0; b < BUNDLES; b++)
			sum += visits[t].rate[b];
	}
	return sum / (VISITS * BUNDLES);
}

static const Policy one_draw = {"linear_thompson", 1, EPSILON};

static double
rate_after(const double *prior_mean, const Visit *visits, uint64_t seed, double placebo_rate)
{
	Learner learner;
	double rate;

	start(&learner, &one_draw, prior_mean);
	learn(&learner, visits, seed, placebo_rate);
	rate = rate_of_ranking(&learner, visits);
	stop(&learner);
	return rate;
}

/*
 * From no prior, coin tosses must leave the ranking no better and no worse
 * than the pool, while clicks lift it. (Rates are convex in appeal, so bundles
 * picked for extreme features, whichever, do a shade better than the pool.)
 * From the ranker's prior coin tosses are no placebo: they say, truly for
 * these rewards, that the ranker's score does not matter, and wear its ranking
 * down. That figure is printed.
 */
static void
placebo_teaches_nothing(void **state)
{
	const double coin = 0.04;
	Visit *visits = *state;
	double pool[SEEDS];
	double clicks[SEEDS];
	double placebo[SEEDS];
	double ranker[SEEDS];
	double ranker_placebo[SEEDS];
	double half_width;
	double mean;

	for (int s = 0; s < SEEDS; s++)
	{
		uint64_t seed = FIRST_SEED + (uint64_t) s;
		Learner learner;

		make_seed(seed, 0.9, visits);
		pool[s] = rate_of_pool(visits);
		clicks[s] = rate_after(no_prior, visits, seed, -1);
		placebo[s] = rate_after(no_prior, visits, seed, coin);
		start(&learner, &one_draw, ranker_prior);
		ranker[s] = rate_of_ranking(&learner, visits);
		stop(&learner);
		ranker_placebo[s] = rate_after(ranker_prior, visits, seed, coin);
	}
	print_message("Mean click rate of the pool %.4f, of the expected ranking %.4f after clicks, "
				  "%.4f after random rewards\n",
				  average(pool), average(clicks), average(placebo));
	mean = paired_difference("random rewards less pool", placebo, pool, &half_width);
	assert_true(fabs(mean) < half_width);
	assert_less("pool less clicks", pool, clicks);
	assert_less("random rewards less clicks", placebo, clicks);
	print_message("From the ranker's prior: %.4f, %.4f after random rewards\n", average(ranker),
				  average(ranker_placebo));
}

static int
set_up(void **state)
{
	*state = malloc(VISITS * sizeof(Visit));
	return *state == NULL;
}

static int
tear_down(void **state)
{
	free(*state);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(thompson_beats_tuned_greedy_and_uniform),
		cmocka_unit_test(thompson_beats_uniform_where_visits_differ),
		cmocka_unit_test(placebo_teaches_nothing),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
