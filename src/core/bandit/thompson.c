/*
 * thompson.c
 *	  Thompson sampling: a member is chosen as often as it is the best under
 *	  what is believed.
 *
 * Where all members share one theta, posterior draws vote (votes.c). Members
 * that are independent of one another (arms, each with a belief of its own) are
 * integrated exactly, up to BR_BANDIT_MAX_QUADRATURE of them; of more, draws
 * vote as well.
 */
#include "core/bandit/bandit_int.h"
#include "core/math/br_math.h"

#define LANES BR_BANDIT_LANES

/*
 * Draws of x'theta order members whose rewards are logistic(x'theta) as well as
 * those rewards do, but only a reward can be compared with a penalty.
 */
static void
scores_of_rewards(const BrChooser *chooser, double *scores /* (LANES, padded) */)
{
	if (!chooser->belief->spec->algorithm->refits || !chooser->diverse)
		return;
	for (size_t i = 0; i < LANES * chooser->padded; i++)
		scores[i] = br_math_logistic(scores[i]);
}

/* ---- one theta ---- */

/* theta of LANES draws, as br_bandit_draw makes one, spread by the policy's width. */
static void
draw_thetas(const BrChooser *chooser, int first, double *theta /* (dims, LANES) */)
{
	const BrLinearPosterior *posterior = chooser->belief->posteriors;
	double width = chooser->belief->spec->parameters.width;

	br_math_normal_lanes(chooser->request->key, BR_BANDIT_STREAM_DRAW + (uint64_t) first,
						 (size_t) posterior->dims, theta);
	br_bandit_kernels()->solve(posterior->factor, posterior->dims, theta);
	for (int i = 0; i < posterior->dims; i++)
	{
		for (int draw = 0; draw < LANES; draw++)
			theta[i * LANES + draw] = posterior->mean[i] + width * theta[i * LANES + draw];
	}
}

/* theta: (dims, LANES), memory for the draws */
static BrStatus
draw_shared(BrChooser *chooser, void *theta, int first, double *scores)
{
	draw_thetas(chooser, first, theta);
	for (int draw = 0; draw < LANES; draw++)
	{
		BrStatus status = br_bandit_check_scores(chooser, (const double *) theta + draw, LANES);

		if (status != BR_OK)
			return status;
	}
	br_bandit_kernels()->score(chooser->features, chooser->padded, chooser->belief->spec->dims,
							   theta, scores);
	scores_of_rewards(chooser, scores);
	return BR_OK;
}

static BrStatus
prepare_shared(BrChooser *chooser)
{
	size_t dims = (size_t) chooser->belief->spec->dims;
	double *theta = br_base_arena_alloc(chooser->arena, dims * LANES * sizeof(double));

	return theta == NULL ? BR_ERR_MEMORY : br_bandit_vote_prepare(chooser, draw_shared, theta);
}


/* ---- independent members ---- */

/* What is believed of each: normal with first and second as mean and deviation, or Beta. */
typedef struct Independent
{
	double *first;	 /* (pool) mean, or alpha */
	double *second;	 /* (pool) deviation, or beta */
	bool *skip;		 /* (pool) for the quadrature */
	double *net;	 /* (pool) for the quadrature: mean, or finite penalty */
	double *normals; /* (pool, LANES) for the votes */
} Independent;

static Independent *
allocate_independent(BrChooser *chooser)
{
	size_t pool = (size_t) chooser->request->pool;
	Independent *independent = br_base_arena_alloc_array(chooser->arena, 1, sizeof(Independent));

	if (independent == NULL)
		return NULL;
	independent->first = br_base_arena_alloc_array(chooser->arena, pool, sizeof(double));
	independent->second = br_base_arena_alloc_array(chooser->arena, pool, sizeof(double));
	independent->skip = br_base_arena_alloc_array(chooser->arena, pool, sizeof(bool));
	independent->net = br_base_arena_alloc_array(chooser->arena, pool, sizeof(double));
	if (independent->first == NULL || independent->second == NULL || independent->skip == NULL ||
		independent->net == NULL)
		return NULL;
	return independent;
}

/* Draw m of all members takes its normals from one stream, in pool order. */
static BrStatus
draw_normals(BrChooser *chooser, void *arg, int first, double *scores)
{
	const Independent *independent = arg;

	br_math_normal_lanes(chooser->request->key, BR_BANDIT_STREAM_DRAW + (uint64_t) first,
						 (size_t) chooser->request->pool, independent->normals);
	for (int draw = 0; draw < LANES; draw++)
	{
		double *score = scores + (size_t) draw * chooser->padded;

		for (int b = 0; b < chooser->request->pool; b++)
			score[b] = independent->first[b] +
				independent->second[b] * independent->normals[(size_t) b * LANES + (size_t) draw];
		for (size_t b = (size_t) chooser->request->pool; b < chooser->padded; b++)
			score[b] = 0;
	}
	scores_of_rewards(chooser, scores);
	return BR_OK;
}

/*
 * A Gamma(shape, 1) draw times e^*log_factor; below shape 1 that of shape + 1
 * times u^(1/shape), which may be too small for a double.
 * Source: Marsaglia and Tsang, "A simple method for generating gamma
 * variables", ACM TOMS 26 (2000).
 */
static double
draw_gamma(BrRandom *random, double shape, double *log_factor)
{
	double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3;
	double c = 1 / sqrt(9 * d);

	*log_factor = shape < 1 ? br_math_log(br_base_random_uniform(random)) / shape : 0;
	for (;;)
	{
		double x = br_math_normal(random);
		double root = 1 + c * x;
		double v = root * root * root;
		double u;

		if (v <= 0)
			continue;
		u = br_base_random_uniform(random);
		if (u < 1 - 0.0331 * (x * x) * (x * x) ||
			br_math_log(u) < 0.5 * x * x + d * (1 - v + br_math_log(v)))
			return d * v;
	}
}

/* Beta(alpha, beta) = X / (X + Y) of two gamma draws. */
static double
draw_beta(BrRandom *random, double alpha, double beta)
{
	double log_factors[2];
	double x = draw_gamma(random, alpha, &log_factors[0]);
	double y = draw_gamma(random, beta, &log_factors[1]);

	if (log_factors[0] == 0 && log_factors[1] == 0)
		return x / (x + y);
	return br_math_logistic(br_math_log(x / y) + (log_factors[0] - log_factors[1]));
}

static BrStatus
draw_betas(BrChooser *chooser, void *arg, int first, double *scores)
{
	const Independent *independent = arg;

	for (int draw = 0; draw < LANES; draw++)
	{
		double *score = scores + (size_t) draw * chooser->padded;
		BrRandom random;

		br_base_random_init(&random, chooser->request->key,
							BR_BANDIT_STREAM_DRAW + (uint64_t) (first + draw));
		for (int b = 0; b < chooser->request->pool; b++)
			score[b] = draw_beta(&random, independent->first[b], independent->second[b]);
		for (size_t b = (size_t) chooser->request->pool; b < chooser->padded; b++)
			score[b] = 0;
	}
	return BR_OK;
}

static BrStatus
prepare_independent(BrChooser *chooser, Independent *independent, BrDrawScores draw)
{
	/* logits less a penalty on rewards are not normal */
	bool integrates = chooser->request->pool <= BR_BANDIT_MAX_QUADRATURE &&
		!(chooser->belief->spec->algorithm->refits && chooser->diverse);

	if (integrates)
	{
		chooser->state = independent;
		return BR_OK;
	}
	independent->normals =
		br_base_arena_alloc(chooser->arena,
							(size_t) chooser->request->pool * LANES * sizeof(double));
	return independent->normals == NULL ? BR_ERR_MEMORY
										: br_bandit_vote_prepare(chooser, draw, independent);
}

static BrStatus
distribute_normal(BrChooser *chooser, double *q)
{
	const Independent *independent = chooser->state;

	if (chooser->voting)
		return br_bandit_vote(chooser, q);
	for (int b = 0; b < chooser->request->pool; b++)
	{
		independent->skip[b] = !br_bandit_competes(chooser, b);
		independent->net[b] =
			independent->skip[b] ? 0 : independent->first[b] - chooser->penalty[b];
	}
	return br_bandit_best_normal(chooser->context, chooser->request->pool, independent->net,
								 independent->second, independent->skip, q);
}

static BrStatus
distribute_beta(BrChooser *chooser, double *q)
{
	const Independent *independent = chooser->state;

	if (chooser->voting)
		return br_bandit_vote(chooser, q);
	for (int b = 0; b < chooser->request->pool; b++)
	{
		independent->skip[b] = !br_bandit_competes(chooser, b);
		independent->net[b] = independent->skip[b] ? 0 : chooser->penalty[b];
	}
	return br_bandit_best_beta(chooser->context, chooser->request->pool, independent->first,
							   independent->second, independent->net, independent->skip, q);
}

/* ---- arms without features ---- */

/*
 * Rewards in [0, 1]: Beta(n0 c + S, n0 (1 - c) + n - S) of each arm, S its sum
 * of rewards, c the prior rate and n0 its strength.
 * Source: Chapelle and Li, "An empirical evaluation of Thompson sampling", NIPS
 * 2011; discounted, Raj and Kalyani, "Taming non-stationary bandits", 2017,
 * where only the evidence is discounted, never the prior.
 */
static BrStatus
prepare_beta(BrChooser *chooser)
{
	const BrBelief *belief = chooser->belief;
	Independent *independent = allocate_independent(chooser);

	if (independent == NULL)
		return BR_ERR_MEMORY;
	for (int b = 0; b < chooser->request->pool; b++)
	{
		int arm = br_bandit_arm_of(chooser, b);
		double unrewarded = belief->count[arm] - belief->rewards[arm];

		independent->first[b] = belief->strength * belief->pooled + belief->rewards[arm];
		independent->second[b] = belief->strength * (1 - belief->pooled) + unrewarded;
	}
	return prepare_independent(chooser, independent, draw_betas);
}

/*
 * Rewards of variance `noise`: N((S + n0 c) / (n + n0), width^2 noise / (n + n0)).
 * Source: Agrawal and Goyal, "Further optimal regret bounds for Thompson
 * sampling", AISTATS 2013, where noise = 1, n0 = 1 and c = 0.
 */
static BrStatus
prepare_gaussian(BrChooser *chooser)
{
	const BrBelief *belief = chooser->belief;
	const BrParameters *parameters = &belief->spec->parameters;
	Independent *independent = allocate_independent(chooser);

	if (independent == NULL)
		return BR_ERR_MEMORY;
	for (int b = 0; b < chooser->request->pool; b++)
	{
		int arm = br_bandit_arm_of(chooser, b);

		independent->first[b] = belief->mean[arm];
		independent->second[b] =
			parameters->width * sqrt(parameters->noise / (belief->count[arm] + belief->strength));
	}
	return prepare_independent(chooser, independent, draw_normals);
}

static const BrTakes beta_takes[] = {{"draws", BR_ARM},
									 {"prior_rate", BR_ARM},
									 {"prior_strength", BR_ARM},
									 {0}};
static const BrTakes gaussian_takes[] = {{"width", BR_ARM},			 {"draws", BR_ARM},
										 {"noise", BR_ARM},			 {"prior_rate", BR_ARM},
										 {"prior_strength", BR_ARM}, {0}};

const BrAlgorithm br_bandit_thompson_beta = {
	.name = "thompson_beta",
	.models = BR_ARM,
	.bounded = true,
	.proper = true,
	.epsilon = 0.02,
	.takes = beta_takes,
	.prepare = prepare_beta,
	.distribute = distribute_beta,
};

const BrAlgorithm br_bandit_thompson_gaussian = {
	.name = "thompson_gaussian",
	.models = BR_ARM,
	.proper = true,
	.epsilon = 0.02,
	.takes = gaussian_takes,
	.prepare = prepare_gaussian,
	.distribute = distribute_normal,
};

/* ---- linear models ---- */

/*
 * theta ~ N(mean, width^2 precision^-1), score x'theta; a theta of each arm makes
 * independent normal scores N(x'mean, width^2 x' precision^-1 x).
 * Source: Agrawal and Goyal, "Thompson sampling for contextual bandits with
 * linear payoffs", ICML 2013; width is their v over the deviation of a reward.
 * Logistic rewards: Chapelle and Li, as above, algorithm 3, with the whole
 * precision matrix of the Laplace approximation where they keep its diagonal.
 */
static BrStatus
prepare_linear(BrChooser *chooser)
{
	double width = chooser->belief->spec->parameters.width;
	Independent *independent;

	if (chooser->belief->spec->model == BR_MODEL_SHARED)
		return prepare_shared(chooser);
	independent = allocate_independent(chooser);
	if (independent == NULL)
		return BR_ERR_MEMORY;
	for (int b = 0; b < chooser->request->pool; b++)
	{
		independent->first[b] = chooser->mean[b];
		independent->second[b] = width * chooser->deviation[b];
	}
	return prepare_independent(chooser, independent, draw_normals);
}

/*
 * E logistic(N(m, v)), about logistic(m / sqrt(1 + pi v / 8)).
 * Source: MacKay, "The evidence framework applied to classification networks",
 * Neural Computation 4 (1992).
 */
static double
expected_logistic(const BrChooser *chooser, int member)
{
	const double eighth_of_pi = 0x1.921fb54442d18p-2;
	double deviation = chooser->deviation[member];

	return br_math_logistic(chooser->mean[member] / sqrt(1 + eighth_of_pi * deviation * deviation));
}

static const BrTakes linear_takes[] = {{"width", BR_LINEAR},
									   {"draws", BR_LINEAR},
									   {"prior_precision", BR_LINEAR},
									   {"noise", BR_LINEAR},
									   {0}};
static const BrTakes logistic_takes[] = {{"width", BR_LINEAR},
										 {"draws", BR_LINEAR},
										 {"prior_precision", BR_LINEAR},
										 {0}};

const BrAlgorithm br_bandit_linear_thompson = {
	.name = "linear_thompson",
	.models = BR_LINEAR,
	.deviations = BR_MODEL_BIT(BR_MODEL_DISJOINT),
	.epsilon = 0.02,
	.takes = linear_takes,
	.prepare = prepare_linear,
	.distribute = distribute_normal,
};

const BrAlgorithm br_bandit_logistic_thompson = {
	.name = "logistic_thompson",
	.models = BR_LINEAR,
	.deviations = BR_LINEAR,
	.refits = true,
	.bounded = true,
	.epsilon = 0.02,
	.takes = logistic_takes,
	.expected = expected_logistic,
	.prepare = prepare_linear,
	.distribute = distribute_normal,
};
