/*
 * square_cb.c
 *	  SquareCB: probabilities by the inverse of the gap to the best.
 */
#include "core/bandit/bandit_int.h"

/*
 * With N members left, the best having score s*,
 *		p(a) = 1 / (N + gamma (s* - s_a)),	gamma = exploration sqrt(n + 1),
 * and what is left goes to the best, the earlier of equals; that is at least
 * 1 / N.
 * Source: Foster and Rakhlin, "Beyond UCB: optimal and efficient contextual
 * bandits with regression oracles", ICML 2020, after Abe and Long, 1999.
 */
static BrStatus
distribute(BrChooser *chooser, double *q)
{
	const BrBelief *belief = chooser->belief;
	double gamma = belief->spec->parameters.exploration * sqrt(belief->n + 1);
	int best = br_bandit_kernels()->favourite(chooser->mean, chooser->penalty, chooser->padded);
	double most = chooser->mean[best] - chooser->penalty[best];
	double others = 0;

	for (int b = 0; b < chooser->request->pool; b++)
	{
		double gap;

		if (b == best || !br_bandit_competes(chooser, b))
			continue;
		gap = most - (chooser->mean[b] - chooser->penalty[b]);
		q[b] = 1 / ((double) chooser->remaining + gamma * gap);
		others += q[b];
	}
	q[best] = fmax(1 - others, 0);
	return BR_OK;
}

static const BrTakes takes[] = {{"exploration", BR_ARM | BR_LINEAR},
								{"prior_rate", BR_ARM},
								{"prior_strength", BR_ARM},
								{"prior_precision", BR_LINEAR},
								{"noise", BR_LINEAR},
								{0}};

const BrAlgorithm br_bandit_square_cb = {
	.name = "square_cb",
	.models = BR_ARM | BR_LINEAR,
	.takes = takes,
	.distribute = distribute,
};
