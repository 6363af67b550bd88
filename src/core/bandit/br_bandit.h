/*
 * br_bandit.h
 *	  The door of the bandit room: what is believed about rewards, and which
 *	  slate to offer under that belief, with the propensity of each slot.
 *
 * A policy is an algorithm (how beliefs become probabilities) over a model
 * (what is believed about what). Evidence is additive (sums), so states merge by
 * addition, a reversed reward subtracts, and a discount is one factor. A belief
 * is derived from evidence and a prior, never updated in place. All arithmetic
 * is double, in fixed order, without BLAS: the same evidence and key give the
 * same slate on every machine.
 */
#ifndef BR_BANDIT_H
#define BR_BANDIT_H

#include "core/base/br_base.h"

/* ---- policies (algorithm.c) ---- */

typedef enum BrModel
{
	BR_MODEL_ARM,	  /* every arm has a mean of its own; no features */
	BR_MODEL_SHARED,  /* reward = x'theta, x describes the arm in its context */
	BR_MODEL_DISJOINT /* reward = x'theta_arm */
} BrModel;

#define BR_MODEL_BIT(model) (1u << (model))

/* One of the algorithms of br_bandit_algorithm; opaque, static. */
typedef struct BrAlgorithm BrAlgorithm;

/* By name, such as "kl_ucb"; NULL: there is none. */
extern const BrAlgorithm *br_bandit_algorithm(const char *name);

/* The i-th name from 0, NULL beyond the last. */
extern const char *br_bandit_algorithm_name(int i);

/* Bits BR_MODEL_BIT(...) of the models an algorithm works over. */
extern unsigned br_bandit_algorithm_models(const BrAlgorithm *algorithm);

/* Whether its evidence is no sum: br_bandit_fit makes it anew from all slots. */
extern bool br_bandit_algorithm_refits(const BrAlgorithm *algorithm);

/*
 * Whether the rewards of a slot must lie in [0, 1] in all (Beta and logistic,
 * KL-UCB, UCB-tuned, EXP3).
 */
extern bool br_bandit_algorithm_bounded(const BrAlgorithm *algorithm);

/* Whether it keeps one incumbent arm over versions (br_bandit_next_incumbent). */
extern bool br_bandit_algorithm_has_incumbent(const BrAlgorithm *algorithm);

typedef struct BrParameters
{
	double epsilon;			/* uniform share of every slot, in [0, 1] */
	double epsilon_decay;	/* kappa: the share is max(epsilon_min, epsilon e^(-kappa n)) */
	double epsilon_min;		/* in [0, 1] */
	double delta;			/* epsilon_delta: how much better a challenger must be, >= 0 */
	double eta;				/* epsilon_delta: with probability 1 - eta at least; in (0, 1) */
	double width;			/* multiplies bonuses of UCBs, deviations of normal draws; >= 0 */
	double temperature;		/* softmax, in units of reward, > 0 */
	double learning_rate;	/* EXP3, > 0 */
	double exploration;		/* SquareCB: gamma = exploration sqrt(n + 1), > 0 */
	double draws;			/* M, posterior draws that vote, 1 .. BR_BANDIT_MAX_DRAWS */
	double diversity;		/* penalty per unit of similarity, >= 0 */
	double prior_precision; /* linear models, > 0 */
	double noise;			/* variance of one reward around its mean, > 0 */
	double prior_rate;		/* mean of an arm without evidence; NaN: the pooled mean of all arms */
	double prior_strength;	/* slots that this prior is worth, >= 0 */
} BrParameters;

/* A parameter by name, with the range in which it makes sense. */
typedef struct BrParameterRule
{
	const char *name;
	size_t offset; /* in BrParameters */
	double least;
	double most;
	bool whole;
} BrParameterRule;

/* The i-th from 0, NULL beyond the last. */
extern const BrParameterRule *br_bandit_parameter_rule(int i);

/* Whether an algorithm over a model reads that parameter; epsilon and diversity all do. */
extern bool br_bandit_algorithm_takes(const BrAlgorithm *algorithm, BrModel model,
									  const char *parameter);

/* What an algorithm has where nothing is said, for rewards of about 1 at most. */
extern BrParameters br_bandit_default_parameters(const BrAlgorithm *algorithm, BrModel model);

/* What a policy is. The caller keeps it while a belief made from it is in use. */
typedef struct BrPolicySpec
{
	const BrAlgorithm *algorithm;
	BrModel model;
	int dims; /* features; 0 over BR_MODEL_ARM, else 1 .. BR_BANDIT_MAX_DIMS */
	BrParameters parameters;
	const double *prior_mean; /* (dims); NULL: all 0 */
} BrPolicySpec;

/* BR_ERR_ARGUMENT, with a detail that names the parameter, its value and its range. */
extern BrStatus br_bandit_check_spec(BrContext *context, const BrPolicySpec *spec);

/* ---- evidence (evidence.c) ---- */

/*
 * A policy's evidence is one array that all arms share and, over BR_MODEL_ARM
 * and BR_MODEL_DISJOINT, one of each arm; an arm without one has seen nothing.
 *
 *	shared over ARM, DISJOINT	[n, sum w r, sum w r^2] of all arms
 *	arm over ARM				[n, sum w r, sum w r^2, sum w r / p]
 *	shared over SHARED			the linear evidence below
 *	arm over DISJOINT			the linear evidence below
 *
 * n: slots counted, each with its weight w (a discount in (0, 1]); p: the
 * propensity it was offered with.
 */
extern size_t br_bandit_shared_length(const BrPolicySpec *spec);
extern size_t br_bandit_arm_length(const BrPolicySpec *spec); /* 0: arms have none */

/*
 * One slot of an arm, without reward. arm NULL where arms have none; features
 * NULL over ARM. Of algorithms that refit, only what all arms of
 * BR_MODEL_DISJOINT share is counted.
 */
extern void br_bandit_add_slot(const BrPolicySpec *spec, double *shared, double *arm,
							   const float *features /* (dims) */, double weight);

/*
 * One reward of a slot that was counted with the same features and weight;
 * total_before: the sum of the slot's rewards counted before this one.
 */
extern void br_bandit_add_reward(const BrPolicySpec *spec, double *shared, double *arm,
								 const float *features /* (dims) */, double weight,
								 double propensity, double total_before, double reward);

/* Adds one slot and its reward to what all arms share over BR_MODEL_ARM and BR_MODEL_DISJOINT. */
extern void br_bandit_add_totals(double *shared, double weight, double reward);

/*
 * evidence *= factor: the discount of everything counted so far. Discounting the
 * evidence, and never the prior, leads back to the prior.
 */
extern void br_bandit_evidence_scale(double *evidence, size_t length, double factor);

/*
 * For algorithms that refit: the evidence of one theta from all its slots at
 * once, BR_MODEL_SHARED or one arm of BR_MODEL_DISJOINT. Rewards in [0, 1].
  * Layout: [sum of weights, sum w r, mean (dims), precision (dims(dims+1)/2)];
 * a sum of weights of 0 stands for the prior.

 * Iterates at most 100 Newton steps, each halved until the penalised likelihood
 * rises. BR_ERR_ARGUMENT, BR_ERR_NUMERIC, BR_ERR_MEMORY, BR_ERR_CANCELLED.
 */
extern BrStatus br_bandit_fit(BrContext *context, const BrPolicySpec *spec, size_t n,
							  const float *features /* (n, dims) */,
							  const double *rewards /* (n) */, const double *weights /* (n) */,
							  double *evidence);

/* ---- beliefs (belief.c) ---- */

typedef struct BrPolicyEvidence
{
	const double *shared;
	int n_arms;				   /* 0 over BR_MODEL_SHARED */
	const double *const *arms; /* (n_arms), an element NULL: nothing seen */
	int incumbent;			   /* arm, or -1: none yet */
} BrPolicyEvidence;

/*
 * What follows from the evidence: means, factors, bounds. Made once for a
 * version and used by any number of decisions, also by several at a time.
 */
typedef struct BrBelief BrBelief;

/*
 * *belief is allocated here from the context's allocator, which must outlive
 * it; nothing of evidence is referenced afterwards, spec is.
 * BR_ERR_ARGUMENT: a spec out of range; BR_ERR_NUMERIC: evidence that is not
 * finite or not positive semidefinite (the detail names the arm, counted from
 * 1); BR_ERR_MEMORY; BR_ERR_CANCELLED.
 */
extern BrStatus br_bandit_believe(BrContext *context, const BrPolicySpec *spec,
								  const BrPolicyEvidence *evidence, BrBelief **belief);
extern void br_bandit_belief_free(BrContext *context, BrBelief *belief); /* NULL is ignored */
extern size_t br_bandit_belief_bytes(const BrBelief *belief);

/*
 * The theta (dims) with which the expected reward of a member is x'theta, over
 * BR_MODEL_SHARED; NULL where what is expected is no such sum. Valid as long as
 * the belief.
 */
extern const double *br_bandit_linear_mean(const BrBelief *belief);

/*
 * The theta (dims) that draw m of a decision with that key votes by, over
 * BR_MODEL_SHARED: the same as br_bandit_slate draws.
 */
extern void br_bandit_draw_of(const BrBelief *belief, uint64_t key, int m, double *theta);

/*
 * The incumbent of the next version (epsilon_delta): the challenger c with the
 * largest mean replaces incumbent i only when P(mu_c - mu_i > delta) >= 1 - eta.
 * allowed: (n_arms), false for retired arms.
 */
extern int br_bandit_next_incumbent(const BrBelief *belief, int incumbent, const bool *allowed);

/* ---- decisions (slate.c and one file per family) ---- */

/* Largest number of features of a linear policy. */
#define BR_BANDIT_MAX_DIMS 512

/* Largest number of posterior draws of one slate: their votes are counted in uint16. */
#define BR_BANDIT_MAX_DRAWS 65535

/*
 * Random streams of a decision's key (br_base_random_init): posterior draw m
 * uses stream BR_BANDIT_STREAM_DRAW + m, the choice of slot k uses stream
 * BR_BANDIT_STREAM_SLOT + k, both counted from 0; the keys of replayed slates
 * come from stream BR_BANDIT_STREAM_REPLAY. Streams below are the caller's.
 */
#define BR_BANDIT_STREAM_DRAW (UINT64_C(1) << 32)
#define BR_BANDIT_STREAM_SLOT (UINT64_C(2) << 32)
#define BR_BANDIT_STREAM_REPLAY (UINT64_C(3) << 32)

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

/*
 * Fills similarity[b] in [0, 1] with how much pool member b repeats the chosen
 * member (1: the same again).
 */
typedef void (*BrSimilarity)(void *arg, int chosen, double *similarity /* (pool) */);

/* A member that stands at a slot whatever the policy believes. */
typedef struct BrPin
{
	int slot; /* from 0 */
	int member;
} BrPin;

typedef struct BrSlateRequest
{
	int pool;				 /* members to choose from, in the order that breaks ties; >= 0 */
	const int *arms;		 /* (pool): which arm of the belief each is, none twice; -1: one without
							 * evidence; NULL: member b is arm b. Unused over BR_MODEL_SHARED */
	const float *features;	 /* (pool, dims); NULL over BR_MODEL_ARM */
	int slots;				 /* wanted, >= 1; fewer come back when pool < slots */
	double diversity;		 /* 0 .. 1e100; penalty per unit of similarity, in units of reward */
	BrSimilarity similarity; /* NULL: no penalty */
	void *similarity_arg;
	int n_pins;		   /* no slot and no member twice */
	const BrPin *pins; /* (n_pins) */
	uint64_t key;	   /* the decision's random key */
} BrSlateRequest;

typedef struct BrSlate
{
	int slots;			/* min(request.slots, pool) */
	int *chosen;		/* (slots): indexes into the pool */
	double *propensity; /* (slots): P(chosen | earlier slots) */
	double *expected;	/* (pool): expected reward of each member, without penalty */
	uint16_t *votes;	/* (slots, pool): of the draws, 0 for members already chosen; NULL where the
						 * algorithm knows its probabilities without voting */
} BrSlate;

/*
 * One slate. For slot k the algorithm gives each remaining member a probability
 * q from its belief less diversity * max over earlier slots of similarity; with
 * the uniform share epsilon
 *
 *		p = (1 - epsilon) q + epsilon / remaining,
 *
 * and the member is sampled with one uniform of stream BR_BANDIT_STREAM_SLOT + k:
 * the first, in pool order, whose cumulated propensity exceeds it. q is exact:
 * a closed form, a quadrature (independent arms), or the share of M posterior
 * draws that vote for the member (a theta shared by all, or more arms than
 * BR_BANDIT_MAX_QUADRATURE). Ties go to the earlier member.
 * A pinned member stands at its slot with p = 1 and no votes, and competes for no
 * other; the other slots are drawn from the rest, kept unlike it where it comes
 * before them.
 * The arrays of *slate are allocated here; br_bandit_slate_free releases them.
 * On failure *slate is empty.
 * BR_ERR_ARGUMENT: sizes or parameters out of range, a feature not finite (the
 * detail names feature and member, counted from 1), a similarity outside [0, 1];
 * BR_ERR_NUMERIC: scores that overflow; BR_ERR_MEMORY; BR_ERR_CANCELLED.
 */
extern BrStatus br_bandit_slate(BrContext *context, const BrBelief *belief,
								const BrSlateRequest *request, BrSlate *slate);

/* *slate may be empty (all zero). */
extern void br_bandit_slate_free(BrContext *context, BrSlate *slate);

/*
 * P(member is chosen at slot n_earlier + 1 | earlier members), epsilon included;
 * 0 for the earlier ones and the pinned ones, wherever these are pinned. For
 * evaluation: request.slots is not used. Where the
 * algorithm votes, its draws are those of request.key.
 */
extern BrStatus br_bandit_probabilities(BrContext *context, const BrBelief *belief,
										const BrSlateRequest *request,
										const int *earlier /* (n_earlier) */, int n_earlier,
										double *probability /* (pool) */);

/* Independent arms beyond that vote. */
#define BR_BANDIT_MAX_QUADRATURE 1000

/* ---- independent arms (quadrature.c) ---- */

/*
 * P(member is the best of n independent ones), each normal with its mean and
 * deviation (>= 0; 0 is a point), or Beta(alpha, beta) less penalty (NULL: 0).
 * skip: (n) members that do not compete, NULL: none; they get 0. Of equal
 * points the earlier is the better. A deviation below 1e-14 of the arm's
 * distance from the largest mean, or below 1e-25 of the widest arm's, counts as
 * 0. Sums to 1 within 1e-12; within 1e-11 of the integral.
 * BR_ERR_ARGUMENT: magnitudes above 1e150, alpha or beta outside 1e-9 .. 1e10,
 * penalties above 1e6; BR_ERR_NUMERIC: does not converge; BR_ERR_MEMORY;
 * BR_ERR_CANCELLED.
 */
extern BrStatus br_bandit_best_normal(BrContext *context, int n, const double *mean,
									  const double *deviation, const bool *skip,
									  double *probability /* (n) */);
extern BrStatus br_bandit_best_beta(BrContext *context, int n, const double *alpha,
									const double *beta, const double *penalty, const bool *skip,
									double *probability /* (n) */);

/*
 * Marginals of a slate that one joint draw of all arms orders (the K largest):
 * P(arm a stands at slot k), probability[a * slots + k]; 0 in slots beyond the
 * n-th. Ranges and errors as above. Source: the density of an arm times the
 * Poisson-binomial probability that exactly k others exceed it.
 */
extern BrStatus br_bandit_joint_marginals_beta(BrContext *context, int n, const double *alpha,
											   const double *beta, int slots,
											   double *probability /* (n, slots) */);
extern BrStatus br_bandit_joint_marginals_normal(BrContext *context, int n, const double *mean,
												 const double *deviation, int slots,
												 double *probability /* (n, slots) */);

/*
 * Marginals of br_bandit_slate: P(member b stands at slot k), at
 * probability[b * request.slots + k]; 0 in slots beyond the pool. Exact by
 * enumeration of the earlier slots where that takes at most 20,000 prefixes
 * (where the algorithm votes: given the draws of request.key), else from
 * `replays` slates under keys derived from request.key (>= 10,000); *estimated
 * says which. Errors as br_bandit_slate's.
 */
extern BrStatus br_bandit_marginals(BrContext *context, const BrBelief *belief,
									const BrSlateRequest *request, int replays, bool *estimated,
									double *probability /* (pool, slots) */);

/* ---- replay (replay.c) ---- */

/*
 * A policy that learns while it goes through a log: it chooses for each logged
 * decision, and learns the reward where it chose what was logged. After every
 * `batch` rows learned its belief is what br_bandit_believe makes of all of
 * them, for linear_ucb and linear_thompson over BR_MODEL_DISJOINT to about 1e-9,
 * otherwise exactly.
 */
typedef struct BrReplay BrReplay;

/*
 * Begins at the prior. n_arms: 0 over BR_MODEL_SHARED. *replay lives in the
 * context's allocator until it is freed; of spec, prior_mean must outlive it.
 * BR_ERR_ARGUMENT; BR_ERR_UNSUPPORTED: an algorithm that refits; BR_ERR_MEMORY.
 */
extern BrStatus br_bandit_replay_create(BrContext *context, const BrPolicySpec *spec, int n_arms,
										int batch, BrReplay **replay);
extern void br_bandit_replay_free(BrContext *context, BrReplay *replay); /* NULL is ignored */

/*
 * The member that the first slot of br_bandit_slate would hold by the same key,
 * except that where draws vote one draw decides, which chooses as often; over
 * BR_MODEL_DISJOINT of linear_thompson it is another one.
 */
extern BrStatus br_bandit_replay_choose(BrContext *context, BrReplay *replay,
										const BrSlateRequest *request, int *chosen);

/* features: (dims) of the member chosen, NULL over BR_MODEL_ARM. arm: unused over BR_MODEL_SHARED. */
extern BrStatus br_bandit_replay_learn(BrContext *context, BrReplay *replay, int arm,
									   const float *features, double propensity, double reward);

/* All that was learned, but not what waits for its batch, counts by this factor from now on. */
extern BrStatus br_bandit_replay_discount(BrContext *context, BrReplay *replay, double factor);

/* ---- click models (click_model.c) ---- */

/* How often an item was shown at a position and clicked there. */
typedef struct BrClickCell
{
	int item;	  /* from 0 */
	int position; /* from 0 */
	double shown;
	double clicks; /* 0 .. shown */
} BrClickCell;

typedef struct BrClickFit
{
	int iterations;
	double log_likelihood;
	int unlinked; /* after BR_ERR_UNSUPPORTED: a position that cannot be compared, from 0 */
	int linked;	  /* with this one */
} BrClickFit;

/*
 * The position-based model: P(click on item i at position k) = kappa_k a_i, with
 * examination kappa scaled so that its largest is 1. Maximum likelihood by EM;
 * the likelihood never falls. Items and positions without any click get 0. Cells
 * of the same item and position add up. Ends when what remains of the largest
 * relative change, by its rate, is at most tolerance.
 * BR_ERR_ARGUMENT: sizes, counts or settings out of range; BR_ERR_NUMERIC: no
 * clicks, or no end within max_iterations; BR_ERR_UNSUPPORTED: items do not
 * appear in several positions, so that their kappa cannot be compared: two
 * positions are linked by an item that was shown in both and clicked anywhere,
 * or through others; BR_ERR_MEMORY; BR_ERR_CANCELLED.
 * Source: Chuklin, Markov and de Rijke, "Click models for web search" (2015),
 * sections 3.3 and 4.2.
 */
extern BrStatus br_bandit_fit_position_model(BrContext *context, size_t n_cells,
											 const BrClickCell *cells /* (n_cells) */, int n_items,
											 int n_positions, double tolerance, int max_iterations,
											 double *examination /* (n_positions) */,
											 double *attractiveness /* (n_items) */,
											 BrClickFit *fit);

/* One place of one list, lists and their places in order. */
typedef struct BrListPlace
{
	int64_t list;
	int item; /* from 0 */
	bool clicked;
} BrListPlace;

/*
 * The cascade model: a user looks at a list from the top until the first click,
 * P(click on i | looked at) = a_i. Maximum likelihood: clicks over looks; what
 * stands below a list's first click was not looked at. examined, clicked:
 * (n_items), of each item; attractiveness is 0 where it was never looked at.
 * Source: Craswell et al., "An experimental comparison of click position-bias
 * models", WSDM 2008.
 */
extern BrStatus br_bandit_fit_cascade_model(BrContext *context, size_t n_places,
											const BrListPlace *places /* (n_places) */, int n_items,
											double *attractiveness /* (n_items) */,
											double *examined, double *clicked,
											double *log_likelihood);

/* Expected clicks of each slot, which holds an item of that attractiveness; their sum. */
extern double br_bandit_expected_clicks_by_position(int slots,
													const double *attractiveness /* (slots) */,
													const double *examination /* (slots) */,
													double *clicks /* (slots) */);
extern double br_bandit_expected_clicks_by_cascade(int slots,
												   const double *attractiveness /* (slots) */,
												   double *clicks /* (slots) */);

/*
 * What a policy learns from a slot at a position that is examined with
 * probability kappa: E reward = kappa x'theta, so kappa x is the regressor.
 */
extern void br_bandit_scale_features(const float *features /* (dims) */, int dims, double kappa,
									 float *scaled /* (dims) */);

#endif /* BR_BANDIT_H */
