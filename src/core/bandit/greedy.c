/*
 * greedy.c
 *	  Epsilon-greedy: the best by its mean, and a uniform share for the others.
 *
 * Where every small change of the means would bring another arm, the form with
 * a delta keeps one incumbent until a challenger is better beyond doubt.
 */
#include "core/bandit/bandit_int.h"
#include "core/math/br_math.h"

/*
 * p(a) = epsilon / N + (1 - epsilon) 1{a = best}, with the share
 * max(epsilon_min, epsilon e^(-kappa n)); equal means go to the earlier member.
 * Source: Sutton and Barto, "Reinforcement Learning", 2nd ed., section 2.2;
 * the decaying share after Auer, Cesa-Bianchi and Fischer, "Finite-time
 * analysis of the multiarmed bandit problem", 2002.
 */
static BrStatus
distribute(BrChooser *chooser, double *q)
{
	br_bandit_all_on_favourite(chooser, chooser->mean, q);
	return BR_OK;
}

static const BrTakes greedy_takes[] = {{"epsilon_decay", BR_ARM | BR_LINEAR},
									   {"epsilon_min", BR_ARM | BR_LINEAR},
									   {"prior_rate", BR_ARM},
									   {"prior_strength", BR_ARM},
									   {"prior_precision", BR_LINEAR},
									   {"noise", BR_LINEAR},
									   {0}};

const BrAlgorithm br_bandit_epsilon_greedy = {
	.name = "epsilon_greedy",
	.models = BR_ARM | BR_LINEAR,
	.epsilon = 0.1,
	.takes = greedy_takes,
	.distribute = distribute,
};

/* ---- with an incumbent ---- */

/*
 * All on the incumbent while it competes without a penalty, else on the largest
 * mean less penalty.
 */
static BrStatus
distribute_to_incumbent(BrChooser *chooser, double *q)
{
	int incumbent = chooser->belief->incumbent;

	for (int b = 0; incumbent >= 0 && b < chooser->request->pool; b++)
	{
		if (br_bandit_arm_of(chooser, b) == incumbent && chooser->penalty[b] == 0)
		{
			q[b] = 1;
			return BR_OK;
		}
	}
	br_bandit_all_on_favourite(chooser, chooser->mean, q);
	return BR_OK;
}

/* Variance of an arm's believed mean: that of one reward, over the slots counted and the prior's. */
static double
variance_of_mean(const BrBelief *belief, int arm)
{
	double mean = belief->mean[arm];

	return fmax(belief->square[arm] - mean * mean, 0) / (belief->count[arm] + belief->strength);
}

/*
 * With normal beliefs, P(mu_c - mu_i > delta) >= 1 - eta just where
 * m_c - m_i - delta >= z_(1 - eta) sqrt(v_c + v_i).
 */
int
br_bandit_next_incumbent(const BrBelief *belief, int incumbent, const bool *allowed)
{
	const BrParameters *parameters = &belief->spec->parameters;
	int challenger = -1;
	double lead;
	double doubt;

	for (int arm = 0; arm < belief->n_arms; arm++)
	{
		if (allowed[arm] && (challenger < 0 || belief->mean[arm] > belief->mean[challenger]))
			challenger = arm;
	}
	if (challenger < 0 || incumbent < 0 || !allowed[incumbent] || challenger == incumbent)
		return challenger;

	lead = belief->mean[challenger] - belief->mean[incumbent] - parameters->delta;
	doubt = sqrt(variance_of_mean(belief, challenger) + variance_of_mean(belief, incumbent));
	return lead > 0 && lead >= br_math_normal_quantile(1 - parameters->eta) * doubt ? challenger
																					: incumbent;
}

static const BrTakes delta_takes[] = {{"delta", BR_ARM},		  {"eta", BR_ARM},
									  {"noise", BR_ARM},		  {"prior_rate", BR_ARM},
									  {"prior_strength", BR_ARM}, {0}};

const BrAlgorithm br_bandit_epsilon_delta = {
	.name = "epsilon_delta",
	.models = BR_ARM,
	.has_incumbent = true,
	.proper = true,
	.epsilon = 0.02,
	.takes = delta_takes,
	.distribute = distribute_to_incumbent,
};
