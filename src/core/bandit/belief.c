/*
 * belief.c
 *	  From evidence and prior to what decisions need: means, indexes, factors.
 *
 * A belief is one block of memory. An arm that has seen nothing shares what
 * stands behind the last arm: the prior.
 */
#include <string.h>

#include "core/bandit/bandit_int.h"
#include "core/math/br_math.h"

#define ALIGNMENT 64

/* what rounding may leave of sums that cancel, relative to their size */
#define SLACK 1e-9

/* Hands out parts of one block; without a block it measures. */
typedef struct Carver
{
	char *block;
	size_t used;
} Carver;

static void *
carve(Carver *carver, size_t count, size_t size)
{
	size_t from = carver->used;

	carver->used += (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	return carver->block == NULL ? NULL : carver->block + from;
}

/* The evidence of a linear model: of the theta that all arms share, or of each arm. */
static const double *const *
linear_evidence(const BrPolicySpec *spec, const BrPolicyEvidence *evidence, int *thetas)
{
	*thetas = spec->model == BR_MODEL_SHARED ? 1 : evidence->n_arms;
	return spec->model == BR_MODEL_SHARED ? &evidence->shared : evidence->arms;
}

/* Posteriors with memory of their own: that of the prior, and where there is evidence. */
static size_t
count_posteriors(const double *const *evidence, int thetas)
{
	size_t n = 1;

	for (int i = 0; i < thetas; i++)
		n += evidence[i] != NULL;
	return n;
}

static double *
carve_belief(Carver *carver, const BrPolicySpec *spec, const BrPolicyEvidence *evidence,
			 BrBelief *belief)
{
	size_t arms = (size_t) evidence->n_arms + 1;
	const double *const *linear;
	int thetas;

	if (spec->model == BR_MODEL_ARM)
	{
		belief->count = carve(carver, arms, sizeof(double));
		belief->rewards = carve(carver, arms, sizeof(double));
		belief->mean = carve(carver, arms, sizeof(double));
		belief->square = carve(carver, arms, sizeof(double));
		belief->weighted = carve(carver, arms, sizeof(double));
		if (spec->algorithm->index != NULL)
			belief->index = carve(carver, arms, sizeof(double));
		return NULL;
	}
	linear = linear_evidence(spec, evidence, &thetas);
	belief->posteriors = carve(carver, (size_t) thetas + 1, sizeof(BrLinearPosterior));
	return carve(carver,
				 count_posteriors(linear, thetas) *
					 ((size_t) spec->dims + BR_MATH_PACKED(spec->dims)),
				 sizeof(double));
}

/* Puts an arm, from 0, before the reason of a failure. */
static BrStatus
name_arm(BrContext *context, BrStatus status, int arm)
{
	char reason[BR_DETAIL_SIZE];

	memcpy(reason, context->detail, sizeof(reason));
	return br_base_fail(context, status, "Arm %d: %.400s", arm + 1, reason);
}

/* ---- arms without features ---- */

static BrStatus
check_sums(BrContext *context, const BrPolicySpec *spec, const double *sums, size_t length)
{
	double slack = SLACK * (1 + fabs(sums[BR_EVIDENCE_COUNT]));

	for (size_t i = 0; i < length; i++)
	{
		if (!isfinite(sums[i]))
			return br_base_fail(context, BR_ERR_NUMERIC, "Element %zu of the evidence is %g.",
								i + 1, sums[i]);
	}
	if (sums[BR_EVIDENCE_COUNT] < -slack ||
		sums[BR_EVIDENCE_SQUARES] < -SLACK * (1 + fabs(sums[BR_EVIDENCE_SQUARES])))
		return br_base_fail(context, BR_ERR_NUMERIC,
							"The evidence counts %g slots with squared rewards of %g.",
							sums[BR_EVIDENCE_COUNT], sums[BR_EVIDENCE_SQUARES]);
	if (spec->algorithm->bounded &&
		!(sums[BR_EVIDENCE_REWARDS] >= -slack &&
		  sums[BR_EVIDENCE_REWARDS] <= sums[BR_EVIDENCE_COUNT] + slack))
		return br_base_fail(context, BR_ERR_NUMERIC,
							"The evidence has rewards of %g in %g slots; "
							"%s takes rewards between 0 and 1.",
							sums[BR_EVIDENCE_REWARDS], sums[BR_EVIDENCE_COUNT],
							spec->algorithm->name);
	return BR_OK;
}

/*
 * The mean and variance of an arm that has seen nothing. Bounded rewards take
 * the pooled rate by Krichevsky and Trofimov, (sum r + 1/2) / (n + 1), which is
 * never 0 or 1; others the plain mean, 0 before there is any. One slot of
 * variance `noise` keeps the variance from being 0.
 */
static void
pool_arms(const double *shared, BrBelief *belief)
{
	const BrPolicySpec *spec = belief->spec;
	double n = fmax(shared[BR_EVIDENCE_COUNT], 0);
	double rewards = shared[BR_EVIDENCE_REWARDS];
	double mean = n > 0 ? rewards / n : 0;
	double spread = fmax(shared[BR_EVIDENCE_SQUARES] - n * mean * mean, 0);

	belief->variance = (spread + spec->parameters.noise) / (n + 1);
	if (spec->algorithm->bounded)
		mean = (fmin(fmax(rewards, 0), n) + 0.5) / (n + 1);
	belief->pooled = mean;
	if (br_bandit_algorithm_takes(spec->algorithm, spec->model, "prior_strength"))
	{
		belief->strength = spec->parameters.prior_strength;
		if (!isnan(spec->parameters.prior_rate))
			belief->pooled = spec->parameters.prior_rate;
	}
}

static void
believe_arm(BrBelief *belief, int arm, const double *sums)
{
	double n = fmax(sums[BR_EVIDENCE_COUNT], 0);
	double rewards = sums[BR_EVIDENCE_REWARDS];
	double total = n + belief->strength;
	double square = belief->variance + belief->pooled * belief->pooled;

	if (belief->spec->algorithm->bounded)
		rewards = fmin(fmax(rewards, 0), n);
	belief->count[arm] = n;
	belief->rewards[arm] = rewards;
	belief->mean[arm] =
		total > 0 ? (rewards + belief->strength * belief->pooled) / total : belief->pooled;
	belief->square[arm] = total > 0
		? (fmax(sums[BR_EVIDENCE_SQUARES], 0) + belief->strength * square) / total
		: square;
	belief->weighted[arm] = sums[BR_EVIDENCE_WEIGHTED];
}

static BrStatus
believe_arms(BrContext *context, const BrPolicyEvidence *evidence, BrBelief *belief)
{
	static const double nothing[BR_ARM_LENGTH] = {0};
	const BrPolicySpec *spec = belief->spec;
	BrStatus status = check_sums(context, spec, evidence->shared, BR_SHARED_LENGTH);

	if (status != BR_OK)
		return status;
	pool_arms(evidence->shared, belief);
	for (int arm = 0; arm <= evidence->n_arms; arm++)
	{
		const double *sums = arm < evidence->n_arms ? evidence->arms[arm] : NULL;

		if (sums != NULL)
			status = check_sums(context, spec, sums, BR_ARM_LENGTH);
		if (status != BR_OK)
			return name_arm(context, status, arm);
		believe_arm(belief, arm, sums != NULL ? sums : nothing);
		if (!(fabs(belief->mean[arm]) < BR_BANDIT_MOST) || !isfinite(belief->square[arm]))
			return br_base_fail(context, BR_ERR_NUMERIC,
								"The mean reward of arm %d is %g, that of its square %g.", arm + 1,
								belief->mean[arm], belief->square[arm]);
		if (belief->index != NULL)
			belief->index[arm] = spec->algorithm->index(belief, arm);
		if (arm % 1024 == 1023 && br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Cancelled after %d of %d arms.", arm,
								evidence->n_arms);
	}
	return BR_OK;
}

/* ---- linear models ---- */

static void
believe_prior(const BrPolicySpec *spec, BrLinearPosterior *posterior)
{
	for (int i = 0; i < spec->dims; i++)
	{
		posterior->mean[i] = spec->prior_mean != NULL ? spec->prior_mean[i] : 0;
		posterior->factor[BR_MATH_PACKED(i + 1) - 1] = sqrt(spec->parameters.prior_precision);
	}
}

/* What br_bandit_fit left: [sum of weights, sum w r, mean, precision]. */
static BrStatus
believe_fit(BrContext *context, const double *evidence, BrLinearPosterior *posterior)
{
	size_t dims = (size_t) posterior->dims;

	for (size_t i = 0; i < br_bandit_evidence_length(posterior->dims); i++)
	{
		if (!isfinite(evidence[i]))
			return br_base_fail(context, BR_ERR_NUMERIC, "Element %zu of the evidence is %g.",
								i + 1, evidence[i]);
	}
	memcpy(posterior->mean, evidence + 2, dims * sizeof(double));
	memcpy(posterior->factor, evidence + 2 + dims, BR_MATH_PACKED(dims) * sizeof(double));
	if (br_math_cholesky(context, posterior->factor, posterior->dims) != BR_OK)
		return br_base_fail(context, BR_ERR_NUMERIC,
							"The precision fitted to %g slots on %zu features is not positive "
							"definite.",
							evidence[0], dims);
	return BR_OK;
}

/* prior: that of the arm without evidence, already believed. evidence NULL: nothing seen. */
static BrStatus
believe_theta(BrContext *context, const BrPolicySpec *spec, const double *evidence,
			  const BrLinearPosterior *prior, BrLinearPosterior *posterior)
{
	BrLinearPrior linear = {prior->mean, spec->parameters.prior_precision, spec->parameters.noise};

	if (!spec->algorithm->refits)
		return br_bandit_posterior(context, evidence, &linear, posterior);
	if (evidence[0] != 0)
		return believe_fit(context, evidence, posterior);
	believe_prior(spec, posterior);
	return BR_OK;
}

static BrLinearPosterior
next_posterior(const BrPolicySpec *spec, double **memory)
{
	BrLinearPosterior posterior = {spec->dims, *memory, *memory + spec->dims};

	*memory += (size_t) spec->dims + BR_MATH_PACKED(spec->dims);
	return posterior;
}

static BrStatus
believe_thetas(BrContext *context, const BrPolicyEvidence *evidence, double *memory,
			   BrBelief *belief)
{
	const BrPolicySpec *spec = belief->spec;
	int thetas;
	const double *const *linear = linear_evidence(spec, evidence, &thetas);
	BrLinearPosterior *prior = &belief->posteriors[thetas];

	*prior = next_posterior(spec, &memory);
	believe_prior(spec, prior);
	for (int i = 0; i < thetas; i++)
	{
		BrLinearPosterior *posterior = &belief->posteriors[i];
		BrStatus status;

		if (linear[i] == NULL)
		{
			*posterior = *prior;
			continue;
		}
		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED,
								"Cancelled while belief %d of %d was made.", i + 1, thetas);
		*posterior = next_posterior(spec, &memory);
		status = believe_theta(context, spec, linear[i], prior, posterior);
		if (status != BR_OK)
			return spec->model == BR_MODEL_SHARED ? status : name_arm(context, status, i);
	}
	return BR_OK;
}

/* ---- the door ---- */

/* What all arms share. */
static BrStatus
believe_shared(BrContext *context, const BrPolicyEvidence *evidence, BrBelief *belief)
{
	const BrPolicySpec *spec = belief->spec;
	const BrParameters *parameters = &spec->parameters;

	if (!isfinite(evidence->shared[BR_EVIDENCE_COUNT]))
		return br_base_fail(context, BR_ERR_NUMERIC, "The evidence counts %g slots.",
							evidence->shared[BR_EVIDENCE_COUNT]);
	belief->n = fmax(evidence->shared[BR_EVIDENCE_COUNT], 0);
	belief->epsilon = parameters->epsilon;
	if (br_bandit_algorithm_takes(spec->algorithm, spec->model, "epsilon_decay"))
		belief->epsilon =
			fmax(parameters->epsilon_min,
				 parameters->epsilon * br_math_exp(-parameters->epsilon_decay * belief->n));
	return BR_OK;
}

static BrStatus
fill_belief(BrContext *context, const BrPolicyEvidence *evidence, double *memory, BrBelief *belief)
{
	BrStatus status = believe_shared(context, evidence, belief);

	if (status != BR_OK)
		return status;
	return belief->spec->model == BR_MODEL_ARM ? believe_arms(context, evidence, belief)
											   : believe_thetas(context, evidence, memory, belief);
}

BrStatus
br_bandit_belief_renew(BrContext *context, BrBelief *belief, const BrPolicyEvidence *evidence,
					   int arm)
{
	BrStatus status = believe_shared(context, evidence, belief);
	const double *const *linear;
	int thetas;

	if (status != BR_OK)
		return status;
	if (belief->spec->model == BR_MODEL_ARM)
		return believe_arms(context, evidence, belief);
	linear = linear_evidence(belief->spec, evidence, &thetas);
	return believe_theta(context, belief->spec, linear[arm], &belief->posteriors[thetas],
						 &belief->posteriors[arm]);
}

BrStatus
br_bandit_believe(BrContext *context, const BrPolicySpec *spec, const BrPolicyEvidence *evidence,
				  BrBelief **belief)
{
	BrBelief measured = {0};
	Carver carver = {NULL, sizeof(BrBelief)};
	double *memory;
	BrStatus status;

	*belief = NULL;
	status = br_bandit_check_spec(context, spec);
	if (status != BR_OK)
		return status;
	if (evidence->n_arms < 0 || (spec->model == BR_MODEL_SHARED && evidence->n_arms != 0))
		return br_base_fail(context, BR_ERR_ARGUMENT, "Evidence of %d arms for algorithm %s.",
							evidence->n_arms, spec->algorithm->name);
	if (evidence->incumbent < -1 || evidence->incumbent >= evidence->n_arms)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The incumbent is arm %d of %d.",
							evidence->incumbent + 1, evidence->n_arms);

	carve_belief(&carver, spec, evidence, &measured);
	*belief = br_base_alloc_array(context, 1, carver.used);
	if (*belief == NULL)
		return BR_ERR_MEMORY;
	(*belief)->spec = spec;
	(*belief)->n_arms = evidence->n_arms;
	(*belief)->incumbent = evidence->incumbent;
	(*belief)->bytes = carver.used;
	carver = (Carver){(char *) *belief, sizeof(BrBelief)};
	memory = carve_belief(&carver, spec, evidence, *belief);
	status = fill_belief(context, evidence, memory, *belief);
	if (status != BR_OK)
	{
		br_bandit_belief_free(context, *belief);
		*belief = NULL;
	}
	return status;
}

void
br_bandit_belief_free(BrContext *context, BrBelief *belief)
{
	br_base_free(context, belief);
}

size_t
br_bandit_belief_bytes(const BrBelief *belief)
{
	return belief->bytes;
}

const double *
br_bandit_linear_mean(const BrBelief *belief)
{
	const BrPolicySpec *spec = belief->spec;

	if (spec->model != BR_MODEL_SHARED || spec->algorithm->expected != NULL)
		return NULL;
	return belief->posteriors->mean;
}

void
br_bandit_draw_of(const BrBelief *belief, uint64_t key, int m, double *theta)
{
	const BrLinearPosterior *posterior = belief->posteriors;
	double width = belief->spec->parameters.width;
	BrRandom random;

	br_base_random_init(&random, key, BR_BANDIT_STREAM_DRAW + (uint64_t) m);
	for (int i = 0; i < posterior->dims; i++)
		theta[i] = br_math_normal(&random);
	br_math_solve_lower_transposed(posterior->factor, posterior->dims, theta);
	for (int i = 0; i < posterior->dims; i++)
		theta[i] = posterior->mean[i] + width * theta[i];
}
