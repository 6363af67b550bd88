/*
 * softmax.c
 *	  Probabilities in proportion to exponentials: softmax and EXP3.
 *
 * Slot by slot over the members that remain, both are the Plackett-Luce model
 * of an ordered slate. Exponents are taken from their maximum, so none
 * overflows; a member far below it may round to probability 0.
 */
#include "core/bandit/bandit_int.h"
#include "core/math/br_math.h"

/* q in proportion to exp(rate (value - scale penalty)). */
static BrStatus
distribute_exponentials(const BrChooser *chooser, const double *value, double scale, double rate,
						double *q)
{
	double most = -INFINITY;
	double sum = 0;

	for (int b = 0; b < chooser->request->pool; b++)
	{
		if (br_bandit_competes(chooser, b))
			most = fmax(most, value[b] - scale * chooser->penalty[b]);
	}
	for (int b = 0; b < chooser->request->pool; b++)
	{
		if (br_bandit_competes(chooser, b))
			q[b] = br_math_exp(((value[b] - scale * chooser->penalty[b]) - most) * rate);
		sum += q[b];
	}
	for (int b = 0; b < chooser->request->pool; b++)
		q[b] /= sum;
	return BR_OK;
}

/*
 * p(a) in proportion to exp((mean - penalty) / temperature).
 * Source: Sutton and Barto, "Reinforcement Learning", 2nd ed., section 2.8; over
 * slots Plackett, "The analysis of permutations", Applied Statistics 24 (1975).
 */
static BrStatus
distribute_softmax(BrChooser *chooser, double *q)
{
	return distribute_exponentials(chooser, chooser->mean, 1,
								   1 / chooser->belief->spec->parameters.temperature, q);
}

/*
 * p(a) in proportion to exp(learning_rate G_a), G_a = sum of r / p over the
 * slots of arm a. G_a / n estimates its mean reward, so a penalty in units of
 * reward counts n times. The uniform share epsilon is the gamma of the source.
 * Source: Auer, Cesa-Bianchi, Freund and Schapire, "The nonstochastic
 * multiarmed bandit problem", SIAM J. Computing 32 (2002).
 */
static BrStatus
prepare_exp3(BrChooser *chooser)
{
	double *gain = br_base_arena_alloc_array(chooser->arena, chooser->padded, sizeof(double));

	if (gain == NULL)
		return BR_ERR_MEMORY;
	for (int b = 0; b < chooser->request->pool; b++)
		gain[b] = chooser->belief->weighted[br_bandit_arm_of(chooser, b)];
	chooser->state = gain;
	return BR_OK;
}

static BrStatus
distribute_exp3(BrChooser *chooser, double *q)
{
	return distribute_exponentials(chooser, chooser->state, chooser->belief->n,
								   chooser->belief->spec->parameters.learning_rate, q);
}

static const BrTakes softmax_takes[] = {{"temperature", BR_ARM | BR_LINEAR},
										{"prior_rate", BR_ARM},
										{"prior_strength", BR_ARM},
										{"prior_precision", BR_LINEAR},
										{"noise", BR_LINEAR},
										{0}};
static const BrTakes exp3_takes[] = {{"learning_rate", BR_ARM}, {0}};

const BrAlgorithm br_bandit_softmax = {
	.name = "softmax",
	.models = BR_ARM | BR_LINEAR,
	/* its temperature alone keeps it from trusting few slots: a firmer prior hides good arms */
	.prior_strength = 0.1,
	.takes = softmax_takes,
	.distribute = distribute_softmax,
};

const BrAlgorithm br_bandit_exp3 = {
	.name = "exp3",
	.models = BR_ARM,
	.bounded = true,
	.takes = exp3_takes,
	.prepare = prepare_exp3,
	.distribute = distribute_exp3,
};
