/*
 * ucb.c
 *	  Optimism: the best by an upper bound of its mean.
 *
 * Bounds of arms depend on the evidence alone, so they are computed once for a
 * version. t is the number of slots counted, discounted like the counts of the
 * arms; an arm that has seen nothing comes before all others, and equal bounds
 * go to the earlier member. The choice is a point, so only the uniform share
 * gives the other members a propensity above 0.
 */
#include "core/bandit/bandit_int.h"
#include "core/math/br_math.h"

static double
log_time(const BrBelief *belief)
{
	return br_math_log(fmax(belief->n, 1));
}

static double
bounded_index(double index)
{
	return fmin(index, BR_BANDIT_MOST);
}

/*
 * mean + width sqrt(2 ln t / n), for rewards in [0, 1]; width scales with their
 * range.
 * Source: Auer, Cesa-Bianchi and Fischer, "Finite-time analysis of the
 * multiarmed bandit problem", Machine Learning 47 (2002), UCB1. Over discounted
 * evidence it is D-UCB of Garivier and Moulines, "On upper-confidence bound
 * policies for switching bandit problems", ALT 2011, whose bonus
 * 2 B sqrt(xi ln n / N) has width = B sqrt(2 xi); over a window SW-UCB, whose
 * B sqrt(xi ln t / N) has width = B sqrt(xi / 2).
 */
static double
index_ucb1(const BrBelief *belief, int arm)
{
	double n = belief->count[arm];
	double width = belief->spec->parameters.width;

	if (n == 0)
		return BR_BANDIT_MOST;
	return bounded_index(belief->mean[arm] + width * sqrt(2 * log_time(belief) / n));
}

/*
 * mean + width sqrt(ln t / n min(1/4, V)), V = variance + sqrt(2 ln t / n), for
 * rewards in [0, 1].
 * Source: Auer, Cesa-Bianchi and Fischer, as above, section 4.
 */
static double
index_ucb_tuned(const BrBelief *belief, int arm)
{
	double n = belief->count[arm];
	double mean = belief->mean[arm];
	double ratio;
	double variance;

	if (n == 0)
		return BR_BANDIT_MOST;
	ratio = log_time(belief) / n;
	variance = fmax(belief->square[arm] - mean * mean, 0) + sqrt(2 * ratio);
	return bounded_index(mean +
						 belief->spec->parameters.width * sqrt(ratio * fmin(0.25, variance)));
}

/* p log(p / q) */
static double
divergence_part(double p, double q)
{
	return p == 0 ? 0 : p * br_math_log(p / q);
}

/* Of Bernoulli distributions, p in [0, 1], q in (0, 1). */
static double
divergence(double p, double q)
{
	return divergence_part(p, q) + divergence_part(1 - p, 1 - q);
}

/*
 * The largest q with n kl(mean, q) <= width^2 ln t, for rewards in [0, 1], by
 * bisection until two doubles are neighbours or nearly so.
 * Source: Garivier and Cappe, "The KL-UCB algorithm for bounded stochastic
 * bandits and beyond", COLT 2011, with c = 0.
 */
static double
index_kl_ucb(const BrBelief *belief, int arm)
{
	double n = belief->count[arm];
	double mean = belief->mean[arm];
	double width = belief->spec->parameters.width;
	double low = mean;
	double high = 1;
	double most;

	if (n == 0)
		return BR_BANDIT_MOST;
	most = width * width * log_time(belief) / n;
	for (int i = 0; i < 60; i++)
	{
		double middle = low + (high - low) / 2;

		if (middle <= low || middle >= high)
			break;
		if (divergence(mean, middle) <= most)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/*
 * Over arms their indexes; over linear models x'theta + width sqrt(x' P^-1 x)
 * with P = prior_precision I + gram / noise. Written with A = lambda I + gram,
 * where lambda = prior_precision noise, that is LinUCB with
 * alpha = width sqrt(noise).
 * Source: Li, Chu, Langford and Schapire, "A contextual-bandit approach to
 * personalized news article recommendation", WWW 2010.
 */
static BrStatus
prepare(BrChooser *chooser)
{
	const BrBelief *belief = chooser->belief;
	double *bound = br_base_arena_alloc_array(chooser->arena, chooser->padded, sizeof(double));

	if (bound == NULL)
		return BR_ERR_MEMORY;
	for (int b = 0; b < chooser->request->pool; b++)
		bound[b] = belief->index != NULL
			? belief->index[br_bandit_arm_of(chooser, b)]
			: chooser->mean[b] + belief->spec->parameters.width * chooser->deviation[b];
	chooser->state = bound;
	return BR_OK;
}

static BrStatus
distribute(BrChooser *chooser, double *q)
{
	br_bandit_all_on_favourite(chooser, chooser->state, q);
	return BR_OK;
}

static const BrTakes arm_takes[] = {{"width", BR_ARM}, {0}};
static const BrTakes linear_takes[] = {{"width", BR_LINEAR},
									   {"prior_precision", BR_LINEAR},
									   {"noise", BR_LINEAR},
									   {0}};

const BrAlgorithm br_bandit_ucb1 = {
	.name = "ucb1",
	.models = BR_ARM,
	.epsilon = 0.02,
	.takes = arm_takes,
	.index = index_ucb1,
	.prepare = prepare,
	.distribute = distribute,
};

const BrAlgorithm br_bandit_ucb_tuned = {
	.name = "ucb_tuned",
	.models = BR_ARM,
	.bounded = true,
	.epsilon = 0.02,
	.takes = arm_takes,
	.index = index_ucb_tuned,
	.prepare = prepare,
	.distribute = distribute,
};

const BrAlgorithm br_bandit_kl_ucb = {
	.name = "kl_ucb",
	.models = BR_ARM,
	.bounded = true,
	.epsilon = 0.02,
	.takes = arm_takes,
	.index = index_kl_ucb,
	.prepare = prepare,
	.distribute = distribute,
};

const BrAlgorithm br_bandit_linear_ucb = {
	.name = "linear_ucb",
	.models = BR_LINEAR,
	.deviations = BR_LINEAR,
	.epsilon = 0.02,
	.takes = linear_takes,
	.prepare = prepare,
	.distribute = distribute,
};
