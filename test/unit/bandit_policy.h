/*
 * bandit_policy.h
 *	  A policy with its evidence in memory, for the tests of the bandit room.
 */
#ifndef BR_BANDIT_POLICY_H
#define BR_BANDIT_POLICY_H

#include "core/bandit/bandit_int.h"

typedef struct BanditPolicy
{
	BrContext context;
	BrPolicySpec spec;
	int n_arms;
	double *shared;
	double **arms;	  /* (n_arms); NULL over BR_MODEL_SHARED */
	bool *seen;		  /* (n_arms) whether an arm's evidence is handed over */
	int incumbent;	  /* -1: none */
	BrBelief *belief; /* NULL before bandit_believe */
} BanditPolicy;

/* An algorithm with its default parameters and no evidence. dims: 0 over arms. */
extern void bandit_policy_open(BanditPolicy *policy, const char *algorithm, BrModel model, int dims,
							   int n_arms);
extern void bandit_policy_close(BanditPolicy *policy);

/* One slot with its reward. arm: not used over BR_MODEL_SHARED. */
extern void bandit_learn(BanditPolicy *policy, int arm, const float *features, double weight,
						 double propensity, double reward);

/* Replaces the belief by what follows from the evidence. */
extern BrStatus bandit_believe(BanditPolicy *policy);

/* As above, and it must succeed. */
extern void bandit_refresh(BanditPolicy *policy);

/*
 * The same slots in every test: 3 rewards in 10 slots, 10 in 40, 0 in 5, none,
 * and 4 halves in 8 of five arms; or the eight bundles of bandit_fixture.h, of
 * three arms in turn (spec.prior_mean and the fixture's prior are up to the test).
 */
extern void bandit_teach(BanditPolicy *policy);

/* Every algorithm over every model it works over, by number; NULL beyond the last. */
extern const char *bandit_case(int i, BrModel *model);
extern const char *bandit_model_name(BrModel model);

#endif /* BR_BANDIT_POLICY_H */
