/*
 * pair_score.c
 *	  Scores of item pairs from co-purchase counts.
 *
 * All six answer "more often together than what?" with another denominator. A
 * raw ratio ranks pairs seen together once above pairs seen together a hundred
 * times, so only the cosine, shrunk by its support, ranks anything by itself;
 * the others are for people to read.
 */
#include <math.h>

#include "core/bundle/br_bundle.h"
#include "core/math/br_math.h"

static bool
counts_possible(const BrPairCounts *counts)
{
	if (counts->together < 0 || counts->left <= 0 || counts->right <= 0)
		return false;
	if (counts->together > counts->left || counts->together > counts->right)
		return false;
	if (counts->left > counts->baskets || counts->right > counts->baskets)
		return false;
	return counts->left - counts->together <= counts->baskets - counts->right;
}

static double
normalized_pmi(const BrPairCounts *counts, double pmi)
{
	double npmi;

	if (counts->together == 0)
		return -1;
	if (counts->together == counts->baskets)
		return 1;
	npmi = pmi / -br_math_log((double) counts->together / (double) counts->baskets);
	return fmax(-1, fmin(1, npmi));
}

double
br_bundle_shrunk_cosine(int64_t together, int64_t left, int64_t right, double shrinkage)
{
	double both = (double) together;

	/* never together and unshrunk would divide 0 by 0 */
	if (together <= 0 || left <= 0 || right <= 0)
		return 0;
	return fmin(1, both / sqrt((double) left * (double) right) * (both / (both + shrinkage)));
}

BrStatus
br_bundle_pair_scores(BrContext *context, const BrPairCounts *counts, double shrinkage,
					  BrPairScores *scores)
{
	double together = (double) counts->together;
	double left = (double) counts->left;
	double right = (double) counts->right;

	if (!counts_possible(counts))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"no %lld baskets hold one item %lld times, another %lld times and both "
							"%lld times",
							(long long) counts->baskets, (long long) counts->left,
							(long long) counts->right, (long long) counts->together);
	if (!isfinite(shrinkage) || shrinkage < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"shrinkage is %g, it must be finite and at least 0", shrinkage);

	scores->confidence = together / left;
	scores->lift = (double) counts->baskets * together / (left * right);
	scores->pmi = counts->together == 0 ? -INFINITY : br_math_log(scores->lift);
	scores->npmi = normalized_pmi(counts, scores->pmi);
	scores->jaccard = together / (left + right - together);
	scores->shrunk_cosine =
		br_bundle_shrunk_cosine(counts->together, counts->left, counts->right, shrinkage);
	return BR_OK;
}
