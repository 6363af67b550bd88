/*
 * bandit_fixture.h
 *	  One small posterior, known by heart, for the tests of the bandit room.
 */
#ifndef BR_BANDIT_FIXTURE_H
#define BR_BANDIT_FIXTURE_H

#include "core/bandit/br_bandit.h"
#include "core/math/br_math.h"

#define DIMS 4
#define POOL 8
#define EVIDENCE_LENGTH (2 + DIMS + DIMS * (DIMS + 1) / 2)

/* Eight bundles that were shown; also the pool of most slates. */
extern const float bandit_shown[POOL][DIMS];

/* The prior, and the posterior mean after those eight: numpy 2.4.6, linalg.solve. */
extern const double bandit_prior_mean[DIMS];
extern const BrLinearPrior bandit_prior;
extern const double bandit_mean[DIMS];

typedef struct BanditFixture
{
	BrContext context;
	double evidence[EVIDENCE_LENGTH];
	double mean[DIMS];
	double factor[BR_MATH_PACKED(DIMS)];
	BrLinearPosterior posterior;
	BrPolicySpec spec;		/* linear Thompson over a shared theta, 257 draws, epsilon .02 */
	BrSlateRequest request; /* all of the pool, 3 slots, no penalty; tests change both */
} BanditFixture;

/* The posterior after the eight, from our own functions, and a policy and a request over it. */
extern void bandit_set_up(BanditFixture *fixture);

/* A slate of that policy and request, through a belief that is freed again. */
extern BrStatus bandit_slate(BanditFixture *fixture, BrSlate *slate);

/* Adds one of the eight, with its weight and rewards. */
extern void bandit_add_shown(double *evidence, int bundle);

/* Alike as neighbours are: 1 less an eighth per place between them. */
extern void bandit_similar_by_place(void *arg, int chosen, double *similarity /* (POOL) */);

extern void bandit_assert_near(double actual, double expected, double tolerance);

#endif /* BR_BANDIT_FIXTURE_H */
