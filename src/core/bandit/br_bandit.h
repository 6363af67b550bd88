/*
 * br_bandit.h
 *	  The door of the bandit room: what is believed about rewards, and which
 *	  slate to offer under that belief, with the propensity of each slot.
 *
 * Evidence is additive (sums), so states merge by addition and a reversed
 * reward subtracts. A posterior is derived from evidence and a prior, never
 * updated in place. All arithmetic is double, in fixed order, without BLAS:
 * the same state and key give the same slate on every machine.
 */
#ifndef BR_BANDIT_H
#define BR_BANDIT_H

#include "core/base/br_base.h"

/* Largest number of features of a linear policy. */
#define BR_BANDIT_MAX_DIMS 64

/* Largest number of posterior draws of one slate: their votes are counted in uint16. */
#define BR_BANDIT_MAX_DRAWS 65535

/*
 * Random streams of a decision's key (br_base_random_init): posterior draw m
 * uses stream BR_BANDIT_STREAM_DRAW + m, the choice of slot k uses stream
 * BR_BANDIT_STREAM_SLOT + k, both counted from 0. Streams below are the
 * caller's.
 */
#define BR_BANDIT_STREAM_DRAW (UINT64_C(1) << 32)
#define BR_BANDIT_STREAM_SLOT (UINT64_C(2) << 32)

/*
 * Evidence of a linear policy over d features, one flat array so that it can
 * be stored as float8[]:
 *
 *		[0]				slots counted (their weights summed)
 *		[1]				sum of w r^2
 *		[2 .. 2+d)		sum of w r x
 *		[2+d ..)		sum of w x x', packed lower triangle
 *
 * No evidence is all zeros. A slot enters once without reward (add_slot); its
 * rewards are added as they arrive (add_reward), a reversed one with the
 * opposite sign. The sum of r^2 needs the total of the slot's rewards before
 * this one. The caller guarantees 1 <= dims <= BR_BANDIT_MAX_DIMS; weight
 * (usually a discount in (0, 1]), rewards and features are checked by
 * br_bandit_posterior, which refuses sums that are not finite.
 */
extern size_t br_bandit_evidence_length(int dims);
extern void br_bandit_evidence_add_slot(double *evidence, int dims,
										const float *features /* (dims) */, double weight);
extern void br_bandit_evidence_add_reward(double *evidence, int dims,
										  const float *features /* (dims) */, double weight,
										  double total_before, double reward);

/* into += from; both of the same length. */
extern void br_bandit_evidence_merge(double *into, const double *from, int dims);

/* Prior of a linear policy: theta ~ N(mean, I / precision), rewards with variance noise. */
typedef struct BrLinearPrior
{
	const double *mean; /* (dims) */
	double precision;	/* > 0; in units of one over (reward per feature)^2 */
	double noise;		/* variance of one reward around its mean, > 0 */
} BrLinearPrior;

/* theta ~ N(mean, (L L')^-1). */
typedef struct BrLinearPosterior
{
	int dims;
	double *mean;	/* (dims) */
	double *factor; /* (dims(dims+1)/2): L, packed, of the precision matrix */
} BrLinearPosterior;

/*
 * precision = prior.precision I + gram / noise,
 * mean = precision^-1 (prior.precision prior.mean + rewards / noise).
 * The caller sets posterior->dims and its arrays, which are already of the
 * right length; on failure their contents are undefined.
 * BR_ERR_ARGUMENT: dims or a prior out of range; BR_ERR_NUMERIC: evidence that
 * is not finite, or so far from positive semidefinite that the precision
 * matrix is not positive definite.
 * Source: Agrawal and Goyal, "Thompson sampling for contextual bandits with
 * linear payoffs", ICML 2013, with an informative prior mean.
 */
extern BrStatus br_bandit_posterior(BrContext *context, const double *evidence,
									const BrLinearPrior *prior, BrLinearPosterior *posterior);

/* theta = mean + L'^-1 z with z from stream `stream` of `key`: replayable draw by draw. */
extern void br_bandit_draw(const BrLinearPosterior *posterior, uint64_t key, uint64_t stream,
						   double *theta /* (dims) */);

typedef enum BrAlgorithm
{
	BR_ALGORITHM_LINEAR_THOMPSON, /* each of `draws` posterior draws votes */
	BR_ALGORITHM_EPSILON_GREEDY	  /* the posterior mean has every vote */
} BrAlgorithm;

/*
 * Fills similarity[b] in [0, 1] with how much pool member b repeats the chosen
 * member (1: the same again).
 */
typedef void (*BrSimilarity)(void *arg, int chosen, double *similarity /* (pool) */);

typedef struct BrSlateRequest
{
	BrAlgorithm algorithm;
	const BrLinearPosterior *posterior;
	int pool;				 /* members to choose from, in the order that breaks ties; >= 0 */
	const float *features;	 /* (pool, dims) */
	int slots;				 /* wanted, >= 1; fewer come back when pool < slots */
	int draws;				 /* M, 1 .. BR_BANDIT_MAX_DRAWS */
	double epsilon;			 /* uniform share of every slot, in [0, 1] */
	double diversity;		 /* >= 0; penalty per unit of similarity, in units of reward */
	BrSimilarity similarity; /* NULL: no penalty */
	void *similarity_arg;
	uint64_t key; /* the decision's random key */
} BrSlateRequest;

typedef struct BrSlate
{
	int slots;			/* min(request.slots, pool) */
	int *chosen;		/* (slots): indexes into the pool */
	double *propensity; /* (slots): P(chosen | earlier slots) */
	uint16_t *votes;	/* (slots, pool): of the draws; 0 for members already chosen */
	double *expected;	/* (pool): features . posterior mean */
} BrSlate;

/*
 * P(a member is chosen at a slot | earlier slots), of a member that got
 * `votes` of `draws` and is one of `remaining` not yet chosen:
 *
 *		p = (1 - epsilon) votes / draws + epsilon / remaining
 */
extern double br_bandit_propensity(int votes, int draws, double epsilon, int remaining);

/*
 * One slate. For slot k each draw votes for its argmax over the remaining
 * members of  x'theta - diversity * max over earlier slots of similarity;
 * the member is sampled from the propensities with one uniform of a stream
 * independent of the draws: the first member, in pool order, whose cumulated
 * propensity exceeds it. Ties go to the earlier member.
 * Takes draws x pool doubles of working memory. The arrays of *slate are
 * allocated here; br_bandit_slate_free releases them. On failure *slate is
 * empty.
 * BR_ERR_ARGUMENT: sizes or parameters out of range, features not finite, a
 * similarity outside [0, 1]; BR_ERR_NUMERIC: a posterior that is not finite or
 * scores that overflow; BR_ERR_MEMORY; BR_ERR_CANCELLED.
 */
extern BrStatus br_bandit_slate(BrContext *context, const BrSlateRequest *request, BrSlate *slate);

/* *slate may be empty (all zero). */
extern void br_bandit_slate_free(BrContext *context, BrSlate *slate);

#endif /* BR_BANDIT_H */
