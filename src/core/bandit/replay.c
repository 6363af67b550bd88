/*
 * replay.c
 *	  A policy that learns while it goes through a log.
 *
 * A version of a policy is made from its evidence once and serves many
 * decisions; a replay makes a new one after every few rows. So only what a row
 * was learned of is derived again, in place. LinUCB goes further: its choice
 * needs x'theta and x'P^-1 x, both of which one row changes by one rank, so P^-1
 * is kept and updated after Sherman and Morrison. Only one triangle is computed
 * and mirrored, since rounding that differs between the two grows; and after 1,
 * 2, 4, 8, ... rows P^-1 is made anew from the sums, which heals what the first
 * rows lose beside a weak prior. The same two numbers serve Thompson sampling over
 * thetas of their own: the score of an arm under a drawn theta is normal with that
 * mean and variance, and independent of the other arms'.
 */
#include <string.h>

#include "core/bandit/bandit_int.h"
#include "core/math/br_math.h"

#define LANES BR_BANDIT_LANES

typedef struct Pending
{
	int arm;
	double propensity;
	double reward;
} Pending;

struct BrReplay
{
	BrPolicySpec spec;
	int n_arms;
	int thetas; /* arrays of evidence apart from shared: n_arms, or 1 over SHARED */
	size_t arm_length;
	double *shared;
	double **arms; /* (n_arms) */
	BrPolicyEvidence evidence;
	BrBelief *belief;
	bool *allowed; /* (n_arms), all true */
	int batch;
	int n_pending;
	Pending *pending;		 /* (batch) */
	float *pending_features; /* (batch, dims) */
	int room;				 /* members that probability has room for */
	double *probability;	 /* (room) */
	int *asked;				 /* (room): arms of the last distribution over BR_MODEL_ARM */
	int n_asked;			 /* 0: none that still holds */
	/* LinUCB, and Thompson sampling over DISJOINT */
	bool draws;		 /* Thompson */
	size_t stride;	 /* dims, rounded up to whole blocks */
	double *inverse; /* (thetas, dims, stride): P^-1; NULL: another algorithm */
	double *mean;	 /* (thetas, stride) */
	uint64_t *seen;	 /* (thetas): rows */
	double *x;		 /* (stride), zero beyond dims */
	double *product; /* (stride) */
};

void
br_bandit_replay_free(BrContext *context, BrReplay *replay)
{
	if (replay == NULL)
		return;
	for (int arm = 0; replay->arms != NULL && arm < replay->n_arms; arm++)
		br_base_free(context, replay->arms[arm]);
	br_base_free(context, replay->arms);
	br_base_free(context, replay->shared);
	br_base_free(context, replay->allowed);
	br_base_free(context, replay->pending);
	br_base_free(context, replay->pending_features);
	br_base_free(context, replay->probability);
	br_base_free(context, replay->asked);
	br_base_free(context, replay->inverse);
	br_base_free(context, replay->mean);
	br_base_free(context, replay->seen);
	br_base_free(context, replay->x);
	br_base_free(context, replay->product);
	br_bandit_belief_free(context, replay->belief);
	br_base_free(context, replay);
}

/* ---- linear models in place ---- */

static double *
linear_evidence(const BrReplay *replay, int theta)
{
	return replay->spec.model == BR_MODEL_SHARED ? replay->shared : replay->arms[theta];
}

static double *
inverse_of(const BrReplay *replay, int theta)
{
	return replay->inverse + (size_t) theta * (size_t) replay->spec.dims * replay->stride;
}

/* mean and P^-1 of a theta from its sums */
static BrStatus
invert(BrContext *context, BrReplay *replay, int theta)
{
	int dims = replay->spec.dims;
	int models = replay->spec.model == BR_MODEL_SHARED ? 1 : replay->n_arms;
	BrLinearPosterior *posterior = &replay->belief->posteriors[theta];
	BrLinearPrior prior = {replay->belief->posteriors[models].mean,
						   replay->spec.parameters.prior_precision, replay->spec.parameters.noise};
	double *inverse = inverse_of(replay, theta);
	BrStatus status =
		br_bandit_posterior(context, linear_evidence(replay, theta), &prior, posterior);

	if (status != BR_OK)
		return status;
	memcpy(replay->mean + (size_t) theta * replay->stride, posterior->mean,
		   (size_t) dims * sizeof(double));
	for (int i = 0; i < dims; i++)
	{
		double *column = replay->product;

		memset(column, 0, replay->stride * sizeof(double));
		column[i] = 1;
		br_math_solve_lower(posterior->factor, dims, column);
		br_math_solve_lower_transposed(posterior->factor, dims, column);
		for (int j = i; j < dims; j++)
		{
			inverse[(size_t) i * replay->stride + (size_t) j] = column[j];
			inverse[(size_t) j * replay->stride + (size_t) i] = column[j];
		}
	}
	return BR_OK;
}

/* x'P^-1 x, and P^-1 x in replay->product where keep says so */
static double
quadratic_form(const BrReplay *replay, const double *inverse, const double *x, bool keep)
{
	int dims = replay->spec.dims;
	double sum[LANES] = {0};
	double total = 0;

	for (size_t first = 0; first < replay->stride; first += LANES)
	{
		const double *line = inverse + first;
		double part[LANES] = {0};

		for (int i = 0; i < dims; i++, line += replay->stride)
		{
#pragma GCC unroll 8
			for (int lane = 0; lane < LANES; lane++)
				part[lane] += x[i] * line[lane];
		}
		for (int lane = 0; lane < LANES; lane++)
		{
			if (keep)
				replay->product[first + (size_t) lane] = part[lane];
			sum[lane] += part[lane] * x[first + (size_t) lane];
		}
	}
	for (int lane = 0; lane < LANES; lane++)
		total += sum[lane];
	return total;
}

static void
load_features(BrReplay *replay, const float *features)
{
	for (int i = 0; i < replay->spec.dims; i++)
		replay->x[i] = (double) features[i];
}

/*
 * The member with the largest x'theta + width z sqrt(x'P^-1 x), the earlier of equals: z
 * is 1, or drawn for each member.
 */
static BrStatus
favourite(BrContext *context, BrReplay *replay, const BrSlateRequest *request, int *best)
{
	size_t dims = (size_t) replay->spec.dims;
	double most = -INFINITY;
	BrRandom random;

	*best = 0;
	br_base_random_init(&random, request->key, BR_BANDIT_STREAM_DRAW);
	for (int b = 0; b < request->pool; b++)
	{
		int theta = replay->spec.model == BR_MODEL_SHARED ? 0
			: request->arms != NULL						  ? request->arms[b]
														  : b;
		const double *mean;
		double value;

		if (theta < 0 || theta >= replay->thetas)
			return br_base_fail(context, BR_ERR_ARGUMENT, "Pool member %d is arm %d, of %d arms.",
								b + 1, theta + 1, replay->thetas);
		mean = replay->mean + (size_t) theta * replay->stride;
		load_features(replay, request->features + (size_t) b * dims);
		value = br_math_dot(mean, replay->x, dims) +
			(replay->draws ? br_math_normal(&random) : 1) * replay->spec.parameters.width *
				sqrt(fmax(quadratic_form(replay, inverse_of(replay, theta), replay->x, false), 0));
		if (!isfinite(value))
			return br_base_fail(context, BR_ERR_NUMERIC, "The score of pool member %d is %g.",
								b + 1, value);
		if (value > most)
		{
			most = value;
			*best = b;
		}
	}
	return BR_OK;
}

/* P^-1 -= (P^-1 x)(P^-1 x)' / (noise + x'P^-1 x), and the mean moves along P^-1 x */
static BrStatus
update(BrContext *context, BrReplay *replay, int theta, const float *features, double reward)
{
	size_t dims = (size_t) replay->spec.dims;
	double *inverse = inverse_of(replay, theta);
	double *mean = replay->mean + (size_t) theta * replay->stride;
	double form, error;

	replay->seen[theta]++;
	if ((replay->seen[theta] & (replay->seen[theta] - 1)) == 0)
		return invert(context, replay, theta);
	load_features(replay, features);
	form = replay->spec.parameters.noise + quadratic_form(replay, inverse, replay->x, true);
	error = (reward - br_math_dot(mean, replay->x, dims)) / form;
	for (size_t i = 0; i < dims; i++)
	{
		double share = replay->product[i] / form;

		mean[i] += error * replay->product[i];
		for (size_t j = 0; j <= i; j++)
		{
			double entry = inverse[i * replay->stride + j] - share * replay->product[j];

			inverse[i * replay->stride + j] = entry;
			inverse[j * replay->stride + i] = entry;
		}
	}
	return BR_OK;
}

/* ---- beginning ---- */

static BrStatus
allocate_in_place(BrContext *context, BrReplay *replay)
{
	size_t dims = (size_t) replay->spec.dims;
	size_t thetas = (size_t) replay->thetas;
	BrStatus status = BR_OK;

	replay->draws = replay->spec.algorithm == &br_bandit_linear_thompson;
	if (replay->spec.algorithm != &br_bandit_linear_ucb &&
		!(replay->draws && replay->spec.model == BR_MODEL_DISJOINT))
		return BR_OK;
	replay->stride = (dims + LANES - 1) / LANES * LANES;
	replay->inverse = br_base_alloc_array(context, thetas, dims * replay->stride * sizeof(double));
	replay->mean = br_base_alloc_array(context, thetas, replay->stride * sizeof(double));
	replay->seen = br_base_alloc_array(context, thetas, sizeof(uint64_t));
	replay->x = br_base_alloc_array(context, replay->stride, sizeof(double));
	replay->product = br_base_alloc_array(context, replay->stride, sizeof(double));
	if (replay->inverse == NULL || replay->mean == NULL || replay->seen == NULL ||
		replay->x == NULL || replay->product == NULL)
		return BR_ERR_MEMORY;
	for (int theta = 0; status == BR_OK && theta < replay->thetas; theta++)
		status = invert(context, replay, theta);
	return status;
}

static BrStatus
allocate(BrContext *context, BrReplay *replay)
{
	size_t n_arms = (size_t) replay->n_arms;
	size_t batch = (size_t) replay->batch;

	replay->shared =
		br_base_alloc_array(context, br_bandit_shared_length(&replay->spec), sizeof(double));
	replay->arms = br_base_alloc_array(context, n_arms + 1, sizeof(double *));
	replay->allowed = br_base_alloc_array(context, n_arms + 1, sizeof(bool));
	replay->pending = br_base_alloc_array(context, batch, sizeof(Pending));
	replay->pending_features =
		br_base_alloc_array(context, batch, ((size_t) replay->spec.dims + 1) * sizeof(float));
	if (replay->shared == NULL || replay->arms == NULL || replay->allowed == NULL ||
		replay->pending == NULL || replay->pending_features == NULL)
		return BR_ERR_MEMORY;
	for (size_t arm = 0; arm < n_arms; arm++)
	{
		replay->allowed[arm] = true;
		if (replay->arm_length == 0)
			continue;
		replay->arms[arm] = br_base_alloc_array(context, replay->arm_length, sizeof(double));
		if (replay->arms[arm] == NULL)
			return BR_ERR_MEMORY;
	}
	return BR_OK;
}

BrStatus
br_bandit_replay_create(BrContext *context, const BrPolicySpec *spec, int n_arms, int batch,
						BrReplay **replay)
{
	BrReplay *made;
	BrStatus status = br_bandit_check_spec(context, spec);

	*replay = NULL;
	if (status != BR_OK)
		return status;
	if (spec->algorithm->refits)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s fits all its slots anew for every version.", spec->algorithm->name);
	if (batch < 1 || n_arms < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A replay of %d arms in batches of %d.",
							n_arms, batch);
	made = br_base_alloc_array(context, 1, sizeof(BrReplay));
	if (made == NULL)
		return BR_ERR_MEMORY;
	made->spec = *spec;
	/* who draws from the votes of many draws chooses as one draw does */
	made->spec.parameters.draws = 1;
	made->n_arms = spec->model == BR_MODEL_SHARED ? 0 : n_arms;
	made->thetas = spec->model == BR_MODEL_SHARED ? 1 : n_arms;
	made->arm_length = br_bandit_arm_length(spec);
	made->batch = batch;
	status = allocate(context, made);
	if (status == BR_OK)
	{
		made->evidence =
			(BrPolicyEvidence){made->shared, made->n_arms, (const double *const *) made->arms, -1};
		status = br_bandit_believe(context, &made->spec, &made->evidence, &made->belief);
	}
	if (status == BR_OK)
		status = allocate_in_place(context, made);
	if (status != BR_OK)
	{
		br_bandit_replay_free(context, made);
		return status;
	}
	*replay = made;
	return BR_OK;
}

/* ---- choosing ---- */

static BrStatus
make_room(BrContext *context, BrReplay *replay, int pool)
{
	if (pool <= replay->room)
		return BR_OK;
	br_base_free(context, replay->probability);
	br_base_free(context, replay->asked);
	replay->n_asked = 0;
	replay->room = 0;
	replay->probability = br_base_alloc_array(context, (size_t) pool, sizeof(double));
	replay->asked = br_base_alloc_array(context, (size_t) pool, sizeof(int));
	if (replay->probability == NULL || replay->asked == NULL)
		return BR_ERR_MEMORY;
	replay->room = pool;
	return BR_OK;
}

/* Whether the same arms were asked for since the belief last changed. */
static bool
is_known(const BrReplay *replay, const BrSlateRequest *request)
{
	if (replay->n_asked != request->pool)
		return false;
	for (int b = 0; b < request->pool; b++)
	{
		if (replay->asked[b] != (request->arms != NULL ? request->arms[b] : b))
			return false;
	}
	return true;
}

static BrStatus
distribute(BrContext *context, BrReplay *replay, const BrSlateRequest *request)
{
	BrStatus status;
	int best;

	if (replay->inverse != NULL)
	{
		double epsilon = replay->belief->epsilon;

		status = favourite(context, replay, request, &best);
		for (int b = 0; status == BR_OK && b < request->pool; b++)
			replay->probability[b] = (b == best ? 1 - epsilon : 0) + epsilon / request->pool;
		return status;
	}
	if (replay->spec.model == BR_MODEL_ARM && is_known(replay, request))
		return BR_OK;
	status =
		br_bandit_probabilities(context, replay->belief, request, NULL, 0, replay->probability);
	replay->n_asked = status == BR_OK ? request->pool : 0;
	for (int b = 0; b < replay->n_asked; b++)
		replay->asked[b] = request->arms != NULL ? request->arms[b] : b;
	return status;
}

BrStatus
br_bandit_replay_choose(BrContext *context, BrReplay *replay, const BrSlateRequest *request,
						int *chosen)
{
	BrStatus status = make_room(context, replay, request->pool);
	BrRandom random;
	double uniform;
	double cumulated = 0;

	*chosen = -1;
	if (status == BR_OK && request->pool < 1)
		status = br_base_fail(context, BR_ERR_ARGUMENT, "A pool of %d members.", request->pool);
	if (status == BR_OK)
		status = distribute(context, replay, request);
	if (status != BR_OK)
		return status;
	br_base_random_init(&random, request->key, BR_BANDIT_STREAM_SLOT);
	uniform = br_base_random_uniform(&random);
	for (int b = 0; b < request->pool && uniform >= cumulated; b++)
	{
		if (replay->probability[b] > 0)
		{
			*chosen = b;
			cumulated += replay->probability[b];
		}
	}
	return BR_OK;
}

/* ---- learning ---- */

static BrStatus
renew(BrContext *context, BrReplay *replay, int theta)
{
	BrStatus status = br_bandit_belief_renew(context, replay->belief, &replay->evidence, theta);

	replay->n_asked = 0;
	return status;
}

static BrStatus
learn_one(BrContext *context, BrReplay *replay, const Pending *row, const float *features)
{
	const BrPolicySpec *spec = &replay->spec;
	int theta = spec->model == BR_MODEL_SHARED ? 0 : row->arm;
	double *arm = replay->arm_length > 0 ? replay->arms[row->arm] : NULL;

	br_bandit_add_slot(spec, replay->shared, arm, features, 1);
	br_bandit_add_reward(spec, replay->shared, arm, features, 1, row->propensity, 0, row->reward);
	if (replay->inverse != NULL)
		return update(context, replay, theta, features, row->reward);
	/* over ARM one derivation serves the whole batch */
	return spec->model == BR_MODEL_ARM ? BR_OK : renew(context, replay, theta);
}

/* The pending rows become evidence, and the evidence a belief. */
static BrStatus
learn_pending(BrContext *context, BrReplay *replay)
{
	BrStatus status = BR_OK;

	for (int i = 0; status == BR_OK && i < replay->n_pending; i++)
		status = learn_one(context, replay, &replay->pending[i],
						   replay->pending_features + (size_t) i * (size_t) replay->spec.dims);
	replay->n_pending = 0;
	if (status == BR_OK && replay->spec.model == BR_MODEL_ARM)
		status = renew(context, replay, 0);
	if (status == BR_OK && replay->spec.algorithm->has_incumbent)
	{
		replay->evidence.incumbent =
			br_bandit_next_incumbent(replay->belief, replay->evidence.incumbent, replay->allowed);
		replay->belief->incumbent = replay->evidence.incumbent;
	}
	return status;
}

BrStatus
br_bandit_replay_learn(BrContext *context, BrReplay *replay, int arm, const float *features,
					   double propensity, double reward)
{
	size_t dims = (size_t) replay->spec.dims;

	if (replay->spec.model != BR_MODEL_SHARED && (arm < 0 || arm >= replay->n_arms))
		return br_base_fail(context, BR_ERR_ARGUMENT, "Arm %d of %d.", arm + 1, replay->n_arms);
	replay->pending[replay->n_pending] = (Pending){arm, propensity, reward};
	if (dims > 0)
		memcpy(replay->pending_features + (size_t) replay->n_pending * dims, features,
			   dims * sizeof(float));
	replay->n_pending++;
	return replay->n_pending < replay->batch ? BR_OK : learn_pending(context, replay);
}

BrStatus
br_bandit_replay_discount(BrContext *context, BrReplay *replay, double factor)
{
	BrStatus status = BR_OK;

	br_bandit_evidence_scale(replay->shared, br_bandit_shared_length(&replay->spec), factor);
	for (int arm = 0; arm < replay->n_arms; arm++)
		br_bandit_evidence_scale(replay->arms[arm], replay->arm_length, factor);
	for (int theta = 0; status == BR_OK && theta < replay->thetas; theta++)
	{
		if (replay->inverse != NULL)
			status = invert(context, replay, theta);
		else if (theta == 0 || replay->spec.model != BR_MODEL_ARM)
			status = renew(context, replay, theta);
	}
	return status;
}
