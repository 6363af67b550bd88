/*
 * votes.c
 *	  Probabilities as the share of posterior draws that vote for a member.
 *
 * Where members share a theta, P(member is the best) has no closed form and
 * replaying whole slates cannot tell it: almost every slate occurs once. So
 * each of M draws votes for its best remaining member, the member is sampled
 * from the votes, and given the draws and the earlier slots its propensity is
 * known exactly.
 *
 * Scores of all draws are computed once, and kept only where a later slot asks
 * for them again.
 */
#include "core/bandit/bandit_int.h"

#define LANES BR_BANDIT_LANES

typedef struct Voting
{
	const BrScoreKernels *kernels;
	BrDrawScores draw;
	void *arg;
	int voters;
	double *scores; /* (voters, padded), or (LANES, padded) where only one slot votes */
	bool kept;
	int *favourite; /* (voters) */
} Voting;

BrStatus
br_bandit_vote_prepare(BrChooser *chooser, BrDrawScores draw, void *arg)
{
	Voting *voting = br_base_arena_alloc_array(chooser->arena, 1, sizeof(Voting));
	size_t rows;

	if (voting == NULL)
		return BR_ERR_MEMORY;
	voting->kernels = br_bandit_kernels();
	voting->draw = draw;
	voting->arg = arg;
	voting->voters = (int) chooser->belief->spec->parameters.draws;
	voting->kept = chooser->slots > 1;
	/* whole blocks of draws */
	rows = voting->kept ? ((size_t) voting->voters + LANES - 1) / LANES * LANES : LANES;
	if (chooser->padded > 0 && rows > SIZE_MAX / sizeof(double) / chooser->padded)
		return br_base_fail(chooser->context, BR_ERR_MEMORY,
							"Could not allocate scores of %zu draws on %zu members.", rows,
							chooser->padded);
	voting->scores = br_base_arena_alloc(chooser->arena, rows * chooser->padded * sizeof(double));
	voting->favourite =
		br_base_arena_alloc_array(chooser->arena, (size_t) voting->voters, sizeof(int));
	if (voting->scores == NULL || voting->favourite == NULL)
		return BR_ERR_MEMORY;
	chooser->state = voting;
	chooser->voting = true;
	return BR_OK;
}

static BrStatus
first_votes(BrChooser *chooser, Voting *voting)
{
	for (int m = 0; m < voting->voters; m += LANES)
	{
		double *scores = voting->scores + (voting->kept ? (size_t) m * chooser->padded : 0);
		BrStatus status;

		if (br_base_cancelled(chooser->context))
			return br_base_fail(chooser->context, BR_ERR_CANCELLED,
								"Cancelled after %d of %d draws.", m, voting->voters);
		status = voting->draw(chooser, voting->arg, m, scores);
		if (status != BR_OK)
			return status;
		for (int i = m; i < m + LANES && i < voting->voters; i++, scores += chooser->padded)
			voting->favourite[i] =
				voting->kernels->favourite(scores, chooser->penalty, chooser->padded);
	}
	return BR_OK;
}

/* While nothing but the member taken last has changed, only its voters look again. */
static BrStatus
later_votes(BrChooser *chooser, Voting *voting)
{
	for (int m = 0; m < voting->voters; m++)
	{
		if (!chooser->penalties_changed && voting->favourite[m] != chooser->taken)
			continue;
		if (br_base_cancelled(chooser->context))
			return br_base_fail(chooser->context, BR_ERR_CANCELLED,
								"Cancelled while %d draws were voting.", voting->voters);
		voting->favourite[m] =
			voting->kernels->favourite(voting->scores + (size_t) m * chooser->padded,
									   chooser->penalty, chooser->padded);
	}
	return BR_OK;
}

BrStatus
br_bandit_vote(BrChooser *chooser, double *q)
{
	Voting *voting = chooser->state;
	BrStatus status =
		chooser->taken < 0 ? first_votes(chooser, voting) : later_votes(chooser, voting);

	if (status != BR_OK)
		return status;
	for (int m = 0; m < voting->voters; m++)
		chooser->votes[voting->favourite[m]]++;
	for (int b = 0; b < chooser->request->pool; b++)
		q[b] = (double) chooser->votes[b] / (double) voting->voters;
	return BR_OK;
}
