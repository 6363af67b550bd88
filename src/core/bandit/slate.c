/*
 * slate.c
 *	  An ordered slate by votes, with the propensity of every slot.
 *
 * Replaying whole slates cannot tell how likely a slate was: almost every one
 * occurs once. So chance enters slot by slot. Each posterior draw votes for
 * its best remaining member, and the member is sampled from the votes; given
 * the earlier slots its propensity is then known exactly.
 *
 * The scores of all draws are computed once. A member that is taken has an
 * infinite penalty, so taking members out and keeping a slate diverse are one
 * subtraction. Loops run over blocks of LANES members: compilers turn them
 * into vector instructions of any width without changing the order of a
 * member's sum (unrolled, so that a block's sums stay in registers).
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/bandit/br_bandit.h"

#define LANES 8
#define ARENA_BLOCK ((size_t) 64 * 1024)

typedef struct Voting
{
	const BrSlateRequest *request;
	int dims;
	int voters;			/* rows of scores: the draws, or the posterior mean alone */
	int ballots;		/* votes of each voter: voters * ballots = draws */
	size_t padded;		/* pool, rounded up to whole blocks */
	double *features;	/* (padded / LANES, dims, LANES) */
	double *largest;	/* (dims): largest magnitude of each feature */
	double *theta;		/* (dims): of the voter at hand */
	double *scores;		/* (voters, padded) */
	double *penalty;	/* (padded): infinite for members taken, and for padding */
	double *similarity; /* (pool) */
	int *favourite;		/* (voters): where each voter's votes go */
} Voting;

double
br_bandit_propensity(int votes, int draws, double epsilon, int remaining)
{
	return (1 - epsilon) * ((double) votes / (double) draws) + epsilon / (double) remaining;
}

static BrStatus
check_request(BrContext *context, const BrSlateRequest *request)
{
	int dims = request->posterior->dims;

	if (request->algorithm != BR_ALGORITHM_LINEAR_THOMPSON &&
		request->algorithm != BR_ALGORITHM_EPSILON_GREEDY)
		return br_base_fail(context, BR_ERR_ARGUMENT, "There is no algorithm number %d.",
							(int) request->algorithm);
	if (dims < 1 || dims > BR_BANDIT_MAX_DIMS)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A policy of %d features; 1 to %d are allowed.", dims,
							BR_BANDIT_MAX_DIMS);
	if (request->pool < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A pool of %d members.", request->pool);
	if (request->slots < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A slate of %d slots; at least 1 is needed.",
							request->slots);
	if (request->draws < 1 || request->draws > BR_BANDIT_MAX_DRAWS)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d posterior draws; 1 to %d are allowed.",
							request->draws, BR_BANDIT_MAX_DRAWS);
	if (!(request->epsilon >= 0 && request->epsilon <= 1))
		return br_base_fail(context, BR_ERR_ARGUMENT, "Epsilon is %g; it must be from 0 to 1.",
							request->epsilon);
	if (!isfinite(request->diversity) || request->diversity < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The diversity penalty is %g; it must be finite and at least 0.",
							request->diversity);
	return BR_OK;
}

/* Blocks of members from rows of members; the last block is filled up with zeros. */
static BrStatus
arrange_features(BrContext *context, Voting *voting)
{
	const float *feature = voting->request->features;

	for (int member = 0; member < voting->request->pool; member++)
	{
		double *lane =
			voting->features + (size_t) (member / LANES) * voting->dims * LANES + member % LANES;

		for (int i = 0; i < voting->dims; i++, feature++, lane += LANES)
		{
			if (!isfinite(*feature))
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"Feature %d of pool member %d is %g; it must be finite.", i + 1,
									member + 1, (double) *feature);
			*lane = *feature;
			voting->largest[i] = fmax(voting->largest[i], fabs(*lane));
		}
	}
	return BR_OK;
}

static BrStatus
prepare_voting(BrContext *context, BrArena *arena, const BrSlateRequest *request, Voting *voting)
{
	size_t padded = ((size_t) request->pool + LANES - 1) / LANES * LANES;
	bool thompson = request->algorithm == BR_ALGORITHM_LINEAR_THOMPSON;

	voting->request = request;
	voting->dims = request->posterior->dims;
	voting->voters = thompson ? request->draws : 1;
	voting->ballots = thompson ? 1 : request->draws;
	voting->padded = padded;
	voting->features =
		br_base_arena_alloc_array(arena, padded, (size_t) voting->dims * sizeof(double));
	voting->largest = br_base_arena_alloc_array(arena, (size_t) voting->dims, sizeof(double));
	voting->theta = br_base_arena_alloc_array(arena, (size_t) voting->dims, sizeof(double));
	voting->scores =
		br_base_arena_alloc_array(arena, padded, (size_t) voting->voters * sizeof(double));
	voting->penalty = br_base_arena_alloc_array(arena, padded, sizeof(double));
	voting->similarity = br_base_arena_alloc_array(arena, padded, sizeof(double));
	voting->favourite = br_base_arena_alloc_array(arena, (size_t) voting->voters, sizeof(int));
	if (voting->features == NULL || voting->largest == NULL || voting->theta == NULL ||
		voting->scores == NULL || voting->penalty == NULL || voting->similarity == NULL ||
		voting->favourite == NULL)
		return BR_ERR_MEMORY;

	for (size_t b = (size_t) request->pool; b < padded; b++)
		voting->penalty[b] = INFINITY;
	return arrange_features(context, voting);
}

/* scores: (padded), features . theta. */
static BrStatus
score_members(BrContext *context, const Voting *voting, const double *theta, double *scores)
{
	const double *block = voting->features;
	double bound = voting->request->diversity;

	for (int i = 0; i < voting->dims; i++)
		bound += fabs(theta[i]) * voting->largest[i];
	/* beyond it a score less its penalty could be infinite: a member as good as taken */
	if (!(bound < DBL_MAX / 2))
		return br_base_fail(context, BR_ERR_NUMERIC,
							"The posterior is not finite, or scores reach %g.", bound);

	for (size_t first = 0; first < voting->padded; first += LANES)
	{
		double sum[LANES] = {0};

		for (int i = 0; i < voting->dims; i++, block += LANES)
		{
#pragma GCC unroll 8
			for (int lane = 0; lane < LANES; lane++)
				sum[lane] += theta[i] * block[lane];
		}
		memcpy(scores + first, sum, sizeof(sum));
	}
	return BR_OK;
}

static BrStatus
score_voters(BrContext *context, const Voting *voting)
{
	const BrSlateRequest *request = voting->request;

	if (request->algorithm == BR_ALGORITHM_EPSILON_GREEDY)
		return score_members(context, voting, request->posterior->mean, voting->scores);

	for (int m = 0; m < voting->voters; m++)
	{
		BrStatus status;

		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Cancelled after %d of %d draws.", m,
								voting->voters);
		br_bandit_draw(request->posterior, request->key, BR_BANDIT_STREAM_DRAW + (uint64_t) m,
					   voting->theta);
		status = score_members(context, voting, voting->theta,
							   voting->scores + (size_t) m * voting->padded);
		if (status != BR_OK)
			return status;
	}
	return BR_OK;
}

/* The first member with the largest score less penalty. */
static int
favourite(const double *scores, const double *penalty, size_t padded)
{
	double best[LANES];
	size_t member = 0;

	for (int lane = 0; lane < LANES; lane++)
		best[lane] = -INFINITY;
	for (size_t first = 0; first < padded; first += LANES)
	{
#pragma GCC unroll 8
		for (int lane = 0; lane < LANES; lane++)
		{
			double value = scores[first + lane] - penalty[first + lane];

			best[lane] = value > best[lane] ? value : best[lane];
		}
	}
	for (int lane = 1; lane < LANES; lane++)
		best[0] = best[lane] > best[0] ? best[lane] : best[0];

	while (scores[member] - penalty[member] != best[0])
		member++;
	return (int) member;
}

/*
 * Votes of one slot. taken: the member of the slot before, -1 at the first.
 * While nothing but that member has changed, only its voters look again.
 */
static BrStatus
collect_votes(BrContext *context, const Voting *voting, int taken, bool penalties_changed,
			  uint16_t *votes /* (pool), zero */)
{
	for (int m = 0; m < voting->voters; m++)
	{
		if (taken < 0 || penalties_changed || voting->favourite[m] == taken)
		{
			if (br_base_cancelled(context))
				return br_base_fail(context, BR_ERR_CANCELLED,
									"Cancelled while %d draws were voting.", voting->voters);
			voting->favourite[m] = favourite(voting->scores + (size_t) m * voting->padded,
											 voting->penalty, voting->padded);
		}
		votes[voting->favourite[m]] += (uint16_t) voting->ballots;
	}
	return BR_OK;
}

/* The member that one uniform falls on, and its propensity. */
static int
sample_member(const Voting *voting, int slot, const uint16_t *votes, double *propensity)
{
	const BrSlateRequest *request = voting->request;
	BrRandom random;
	double uniform;
	double cumulated = 0;
	int sampled = -1;

	br_base_random_init(&random, request->key, BR_BANDIT_STREAM_SLOT + (uint64_t) slot);
	uniform = br_base_random_uniform(&random);
	for (int b = 0; b < request->pool && uniform >= cumulated; b++)
	{
		double p;

		if (isinf(voting->penalty[b]))
			continue;
		p = br_bandit_propensity(votes[b], request->draws, request->epsilon, request->pool - slot);
		/* rounding may leave the total below the uniform: then the last possible member has it */
		if (p > 0)
		{
			sampled = b;
			*propensity = p;
			cumulated += p;
		}
	}
	return sampled;
}

/* Puts the penalties of the members like `chosen` where they exceed earlier ones. */
static BrStatus
penalise_similar(BrContext *context, Voting *voting, int chosen)
{
	const BrSlateRequest *request = voting->request;

	request->similarity(request->similarity_arg, chosen, voting->similarity);
	for (int b = 0; b < request->pool; b++)
	{
		double similarity = voting->similarity[b];

		if (!(similarity >= 0 && similarity <= 1))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The similarity of pool members %d and %d is %g; "
								"it must be from 0 to 1.",
								chosen + 1, b + 1, similarity);
		voting->penalty[b] = fmax(voting->penalty[b], request->diversity * similarity);
	}
	return BR_OK;
}

static BrStatus
fill_slots(BrContext *context, Voting *voting, BrSlate *slate)
{
	const BrSlateRequest *request = voting->request;
	bool diverse = request->similarity != NULL && request->diversity > 0;
	int chosen = -1;

	for (int slot = 0; slot < slate->slots; slot++)
	{
		uint16_t *votes = slate->votes + (size_t) slot * (size_t) request->pool;
		BrStatus status = collect_votes(context, voting, chosen, diverse, votes);

		if (status != BR_OK)
			return status;
		chosen = sample_member(voting, slot, votes, &slate->propensity[slot]);
		slate->chosen[slot] = chosen;

		if (diverse && slot + 1 < slate->slots)
		{
			status = penalise_similar(context, voting, chosen);
			if (status != BR_OK)
				return status;
		}
		voting->penalty[chosen] = INFINITY;
	}
	return BR_OK;
}

static BrStatus
allocate_slate(BrContext *context, const BrSlateRequest *request, BrSlate *slate)
{
	size_t pool = (size_t) request->pool;
	/* scores are written by whole blocks */
	size_t padded = (pool + LANES - 1) / LANES * LANES;

	slate->slots = request->slots < request->pool ? request->slots : request->pool;
	slate->chosen = br_base_alloc_array(context, (size_t) slate->slots, sizeof(int));
	slate->propensity = br_base_alloc_array(context, (size_t) slate->slots, sizeof(double));
	slate->votes = br_base_alloc_array(context, pool, (size_t) slate->slots * sizeof(uint16_t));
	slate->expected = br_base_alloc_array(context, padded, sizeof(double));
	if (slate->chosen == NULL || slate->propensity == NULL || slate->votes == NULL ||
		slate->expected == NULL)
		return BR_ERR_MEMORY;
	return BR_OK;
}

static BrStatus
run_vote(BrContext *context, BrArena *arena, const BrSlateRequest *request, BrSlate *slate)
{
	Voting voting;
	BrStatus status = prepare_voting(context, arena, request, &voting);

	if (status == BR_OK)
		status = score_members(context, &voting, request->posterior->mean, slate->expected);
	if (status == BR_OK)
		status = score_voters(context, &voting);
	if (status == BR_OK)
		status = fill_slots(context, &voting, slate);
	return status;
}

BrStatus
br_bandit_slate(BrContext *context, const BrSlateRequest *request, BrSlate *slate)
{
	BrArena *arena = NULL;
	BrStatus status;

	memset(slate, 0, sizeof(*slate));
	status = check_request(context, request);
	if (status == BR_OK)
		status = allocate_slate(context, request, slate);
	if (status == BR_OK)
	{
		arena = br_base_arena_create(context, ARENA_BLOCK);
		status = arena == NULL ? BR_ERR_MEMORY : run_vote(context, arena, request, slate);
	}
	br_base_arena_destroy(arena);
	if (status != BR_OK)
		br_bandit_slate_free(context, slate);
	return status;
}

void
br_bandit_slate_free(BrContext *context, BrSlate *slate)
{
	br_base_free(context, slate->chosen);
	br_base_free(context, slate->propensity);
	br_base_free(context, slate->votes);
	br_base_free(context, slate->expected);
	memset(slate, 0, sizeof(*slate));
}
