/*
 * bandit_int.h
 *	  What the files of the bandit room share: algorithms as a table of
 *	  operations, and one decision under way.
 */
#ifndef BR_BANDIT_INT_H
#define BR_BANDIT_INT_H

#include <float.h>
#include <math.h>

#include "core/bandit/br_bandit.h"
#include "core/math/br_math.h"

/*
 * Members, and draws, are computed in blocks of that many, which fill vectors of
 * any width: br_math_normal_lanes draws as many.
 */
#define BR_BANDIT_LANES BR_MATH_NORMAL_LANES

/* No score of an arm is larger; far enough below infinity for penalties. */
#define BR_BANDIT_MOST (DBL_MAX / 4)

/* Places in the evidence of all arms, and of an arm without features. */
enum
{
	BR_EVIDENCE_COUNT,
	BR_EVIDENCE_REWARDS,
	BR_EVIDENCE_SQUARES,
	BR_SHARED_LENGTH,
	BR_EVIDENCE_WEIGHTED = BR_SHARED_LENGTH,
	BR_ARM_LENGTH
};

/*
 * Over BR_MODEL_ARM each array has one more element than there are arms: an arm
 * without evidence.
 */
struct BrBelief
{
	const BrPolicySpec *spec;
	double n;		 /* slots counted, discounted: the t of UCBs */
	double epsilon;	 /* uniform share, decayed */
	double pooled;	 /* mean of an arm without evidence */
	double variance; /* of a reward of such an arm */
	double strength; /* slots that the prior of an arm is worth */
	int n_arms;
	int incumbent;
	double *count;	  /* slots of each arm */
	double *rewards;  /* their sum */
	double *mean;	  /* sum of rewards and prior over count and strength */
	double *square;	  /* mean of r^2, prior included */
	double *weighted; /* sum of r / p */
	double *index;	  /* what an algorithm with an index ranks by; NULL: none */
	/* SHARED: one; DISJOINT: (n_arms); and one more, of an arm without evidence */
	BrLinearPosterior *posteriors;
	size_t bytes;
};

/* One decision under way: what is known of the members, and which still compete. */
typedef struct BrChooser
{
	BrContext *context;
	BrArena *arena;
	const BrBelief *belief;
	const BrSlateRequest *request;
	int slots;				/* that will be distributed */
	size_t padded;			/* pool, rounded up to whole blocks */
	double *features;		/* (padded / LANES, dims, LANES), NULL over ARM */
	double *largest;		/* (dims): largest magnitude of each feature */
	double *mean;			/* (padded): expected reward, or its logit */
	double *deviation;		/* (padded): of that mean, where the algorithm needs it */
	double *penalty;		/* (padded): infinite for members taken, and for padding */
	bool diverse;			/* penalties may be between 0 and infinity */
	int remaining;			/* members that still compete */
	int taken;				/* the member of the slot before, -1 at the first */
	bool penalties_changed; /* since the slot before, beyond that member */
	bool voting;			/* set by prepare: distribute fills votes */
	uint16_t *votes;		/* (pool), zero, of this slot */
	void *state;			/* the algorithm's own, in the arena */
} BrChooser;

/* A parameter that an algorithm reads, over which models. */
typedef struct BrTakes
{
	const char *name;
	unsigned models;
} BrTakes;

#define BR_ARM BR_MODEL_BIT(BR_MODEL_ARM)
#define BR_LINEAR (BR_MODEL_BIT(BR_MODEL_SHARED) | BR_MODEL_BIT(BR_MODEL_DISJOINT))

struct BrAlgorithm
{
	const char *name;
	unsigned models;	 /* BR_MODEL_BIT */
	unsigned deviations; /* over these, decisions need the deviations of x'theta */
	bool refits;
	bool bounded;
	bool has_incumbent;
	bool proper;		   /* over ARM: an arm without evidence needs a distribution of its own */
	double epsilon;		   /* the default share */
	double prior_strength; /* the default over ARM; 0: as of most, 2 */
	const BrTakes *takes;  /* besides epsilon and diversity; the last has no name */
	/* over ARM, what the algorithm ranks by; NULL: the mean */
	double (*index)(const BrBelief *belief, int arm);
	/* expected reward of a member; NULL: its mean */
	double (*expected)(const BrChooser *chooser, int member);
	BrStatus (*prepare)(BrChooser *chooser); /* once a decision; NULL: nothing */
	/* q of every member before epsilon, 0 where the penalty is infinite; sums to 1 */
	BrStatus (*distribute)(BrChooser *chooser, double *q /* (pool), zero */);
};

/* One file per family. */
extern const BrAlgorithm br_bandit_epsilon_greedy;
extern const BrAlgorithm br_bandit_epsilon_delta;
extern const BrAlgorithm br_bandit_ucb1;
extern const BrAlgorithm br_bandit_ucb_tuned;
extern const BrAlgorithm br_bandit_kl_ucb;
extern const BrAlgorithm br_bandit_thompson_beta;
extern const BrAlgorithm br_bandit_thompson_gaussian;
extern const BrAlgorithm br_bandit_softmax;
extern const BrAlgorithm br_bandit_exp3;
extern const BrAlgorithm br_bandit_linear_ucb;
extern const BrAlgorithm br_bandit_linear_thompson;
extern const BrAlgorithm br_bandit_logistic_thompson;
extern const BrAlgorithm br_bandit_square_cb;

/* Where a member's arm stands in the arrays of a belief. */
static inline int
br_bandit_arm_of(const BrChooser *chooser, int member)
{
	const int *arms = chooser->request->arms;
	int arm = arms != NULL ? arms[member] : member;

	return arm < 0 ? chooser->belief->n_arms : arm;
}

static inline bool
br_bandit_competes(const BrChooser *chooser, int member)
{
	return !isinf(chooser->penalty[member]);
}

/* The first feature of a member; the next are LANES apart. */
static inline double *
br_bandit_features_of(const BrChooser *chooser, int member)
{
	return chooser->features +
		(size_t) (member / BR_BANDIT_LANES * chooser->belief->spec->dims) * BR_BANDIT_LANES +
		member % BR_BANDIT_LANES;
}

/* ---- what is believed of the members (estimate.c) ---- */

/* Fills mean and, where there is one, deviation. */
extern BrStatus br_bandit_estimate(BrChooser *chooser);

/*
 * BR_ERR_NUMERIC where products of theta and the largest features could reach
 * scores from which a penalty is infinitely far; the detail names the feature
 * that contributes most, and its member.
 */
extern BrStatus br_bandit_check_scores(const BrChooser *chooser, const double *theta,
									   size_t stride);

/* q = 1 for the favourite by value less penalty. */
extern void br_bandit_all_on_favourite(const BrChooser *chooser, const double *value /* (padded) */,
									   double *q);

/*
 * Derives a belief again, in place, from evidence in which nothing changed but
 * the shared part and the arm (over BR_MODEL_SHARED: 0); where the belief was
 * made, that arm's array was not NULL.
 */
extern BrStatus br_bandit_belief_renew(BrContext *context, BrBelief *belief,
									   const BrPolicyEvidence *evidence, int arm);

/* ---- votes (votes.c) ---- */

/*
 * Fills the scores of the LANES draws from number `first` on: (LANES, padded).
 * arg: what br_bandit_vote_prepare was given.
 */
typedef BrStatus (*BrDrawScores)(BrChooser *chooser, void *arg, int first, double *scores);

/* Makes the algorithm's draws vote: afterwards br_bandit_vote distributes. */
extern BrStatus br_bandit_vote_prepare(BrChooser *chooser, BrDrawScores draw, void *arg);
extern BrStatus br_bandit_vote(BrChooser *chooser, double *q /* (pool) */);

/* ---- scores (scores.c, scores_x86.c) ---- */

typedef struct BrScoreKernels
{
	const char *name;
	/* solves L' x = z of LANES draws in place, as br_math_solve_lower_transposed does for one */
	void (*solve)(const double *factor, int dims, double *z /* (dims, LANES draws) */);
	/* scores[draw * padded + member] = sum over i of theta[i * LANES + draw] x[i], i ascending */
	void (*score)(const double *features /* (padded / LANES, dims, LANES) */, size_t padded,
				  int dims, const double *theta /* (dims, LANES draws) */,
				  double *scores /* (LANES, padded) */);
	/* the member with the largest value less penalty, the earlier of equals; none is NaN */
	int (*favourite)(const double *value /* (padded) */, const double *penalty /* (padded) */,
					 size_t padded);
} BrScoreKernels;

extern const BrScoreKernels *br_bandit_kernels(void);
extern const BrScoreKernels *br_bandit_kernels_portable(void);

/* NULL where the processor or the build lacks them. */
extern const BrScoreKernels *br_bandit_kernels_avx2(void);
extern const BrScoreKernels *br_bandit_kernels_avx512(void);

#endif /* BR_BANDIT_INT_H */
