/*
 * diversity.c
 *	  Which of many candidates to show together, so that they do not repeat one
 *	  another: a determinantal point process, and facility location.
 *
 * Greedy choice by determinants needs no determinant. Let V be the Cholesky
 * factor of the chosen members' similarities. What a further candidate adds is
 * the square of the one new entry on the diagonal, d_i^2 = 1 - |c_i|^2, where
 * c_i = V^-1 S_i: the part of it that the members do not explain. A new member
 * appends one number to each c_i,
 *
 *		e_i = (S_ji - c_j c_i) / d_j,		d_i^2 -= e_i^2,
 *
 * which takes n times the number of members. Quality scales rows and columns of
 * the determinant, hence adds 2 ln q_i to its logarithm, and is kept out of the
 * arithmetic: it cannot overflow, and what counts as a repetition does not
 * depend on it.
 */
#include <math.h>
#include <string.h>

#include "core/bundle/br_bundle.h"
#include "core/math/br_math.h"

/* Candidates with less than this left are explained by the members, up to rounding. */
#define REPETITION 1e-10

#define TOLERANCE 1e-9
#define MOST_THETA 0.9999

/* Steps, of about a nanosecond, between two questions whether to stop. */
#define STEPS_A_CHECK 1000000

struct BrDiversity
{
	const double *similarity;
	const double *log_quality;
	int n;
	int most;
	int members;
	double *factors; /* (most, n): row k is the k-th number of each c */
	double *left;	 /* (n): d^2 */
	double *gains;	 /* (n) */
	bool *chosen;	 /* (n) */
};

double
br_bundle_log_quality(double relevance, double theta)
{
	double share = theta < MOST_THETA ? theta : MOST_THETA;

	return share / (2 * (1 - share)) * relevance;
}

static BrStatus
check_numbers(BrContext *context, const char *what, const double *numbers, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		if (i % STEPS_A_CHECK == 0 && br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Choosing candidates was cancelled.");
		if (!isfinite(numbers[i]))
			return br_base_fail(context, BR_ERR_ARGUMENT, "%s number %zu is not finite.", what, i);
	}
	return BR_OK;
}

static BrStatus
check_similarity(BrContext *context, const double *similarity, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Choosing candidates was cancelled.");
		if (!(fabs(similarity[(size_t) i * n + i] - 1) <= TOLERANCE))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The similarity of candidate %d to itself is %g instead of 1.", i,
								similarity[(size_t) i * n + i]);
		for (int j = 0; j < i; j++)
		{
			double here = similarity[(size_t) i * n + j];

			if (!(fabs(here) <= 1 + TOLERANCE) ||
				!(fabs(here - similarity[(size_t) j * n + i]) <= TOLERANCE))
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"The similarity of candidates %d and %d is not one number in "
									"[-1, 1].",
									i, j);
		}
	}
	return BR_OK;
}

static double
gain(const BrDiversity *diversity, int candidate)
{
	if (diversity->chosen[candidate] || !(diversity->left[candidate] >= REPETITION))
		return -INFINITY;
	return 2 * diversity->log_quality[candidate] + br_math_log(diversity->left[candidate]);
}

BrStatus
br_bundle_diversity_begin(BrContext *context, const double *similarity, const double *log_quality,
						  int n, int most, BrDiversity **made)
{
	BrDiversity *diversity;
	BrStatus status;

	*made = NULL;
	if (n < 0 || most < 0 || most > n)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d of %d candidates cannot be chosen.", most,
							n);
	status = check_numbers(context, "Quality", log_quality, (size_t) n);
	if (status == BR_OK)
		status = check_similarity(context, similarity, n);
	if (status != BR_OK)
		return status;
	diversity = br_base_alloc_array(context, 1, sizeof(BrDiversity));
	if (diversity == NULL)
		return BR_ERR_MEMORY;
	diversity->similarity = similarity;
	diversity->log_quality = log_quality;
	diversity->n = n;
	diversity->most = most;
	diversity->factors = br_base_alloc_array(context, (size_t) most * (size_t) n, sizeof(double));
	diversity->left = br_base_alloc_array(context, (size_t) n, sizeof(double));
	diversity->gains = br_base_alloc_array(context, (size_t) n, sizeof(double));
	diversity->chosen = br_base_alloc_array(context, (size_t) n, sizeof(bool));
	if (diversity->factors == NULL || diversity->left == NULL || diversity->gains == NULL ||
		diversity->chosen == NULL)
	{
		br_bundle_diversity_end(context, diversity);
		return BR_ERR_MEMORY;
	}
	for (int i = 0; i < n; i++)
	{
		diversity->left[i] = 1;
		diversity->gains[i] = gain(diversity, i);
	}
	*made = diversity;
	return BR_OK;
}

void
br_bundle_diversity_end(BrContext *context, BrDiversity *diversity)
{
	if (diversity == NULL)
		return;
	br_base_free(context, diversity->factors);
	br_base_free(context, diversity->left);
	br_base_free(context, diversity->gains);
	br_base_free(context, diversity->chosen);
	br_base_free(context, diversity);
}

const double *
br_bundle_diversity_gains(const BrDiversity *diversity)
{
	return diversity->gains;
}

/* what the members before do not explain of the new one's similarities, into row `place` */
static void
append_factor(BrDiversity *diversity, int place, int member)
{
	int n = diversity->n;
	const double *similarity = diversity->similarity + (size_t) member * n;
	double *row = diversity->factors + (size_t) place * n;
	double scale = sqrt(diversity->left[member]);

	memcpy(row, similarity, sizeof(double) * (size_t) n);
	for (int k = 0; k < place; k++)
	{
		const double *before = diversity->factors + (size_t) k * n;
		double own = before[member];

		for (int i = 0; i < n; i++)
			row[i] -= own * before[i];
	}
	for (int i = 0; i < n; i++)
	{
		row[i] /= scale;
		diversity->left[i] -= row[i] * row[i];
	}
}

BrStatus
br_bundle_diversity_add(BrContext *context, BrDiversity *diversity, int candidate)
{
	if (candidate < 0 || candidate >= diversity->n || diversity->chosen[candidate])
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Candidate %d does not exist or is chosen already.", candidate);
	if (diversity->members >= diversity->most)
		return br_base_fail(context, BR_ERR_ARGUMENT, "All %d candidates are chosen.",
							diversity->most);

	/* one that the others explain says nothing new, and would divide by nearly 0; its row stays 0 */
	if (diversity->left[candidate] >= REPETITION)
		append_factor(diversity, diversity->members, candidate);
	diversity->members++;
	diversity->chosen[candidate] = true;
	for (int i = 0; i < diversity->n; i++)
		diversity->gains[i] = gain(diversity, i);
	return BR_OK;
}

/* the largest number of those not chosen, the first of equals; -1: all are chosen, or -INFINITY */
static int
best_of(const double *numbers, const bool *chosen, int n)
{
	int best = -1;

	for (int i = 0; i < n; i++)
		if (!chosen[i] && numbers[i] > (best < 0 ? -INFINITY : numbers[best]))
			best = i;
	return best;
}

BrStatus
br_bundle_diverse(BrContext *context, const double *similarity, const double *log_quality, int n,
				  int k, int *picks, int *diverse)
{
	BrDiversity *diversity;
	int picked = 0;
	BrStatus status = br_bundle_diversity_begin(context, similarity, log_quality, n, k, &diversity);

	if (status != BR_OK)
		return status;
	while (picked < k && status == BR_OK)
	{
		int best = best_of(diversity->gains, diversity->chosen, n);

		if (best < 0)
			break;
		picks[picked++] = best;
		status = br_bundle_diversity_add(context, diversity, best);
		if (status == BR_OK && br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "Choosing candidates was cancelled.");
	}
	if (diverse != NULL)
		*diverse = picked;
	for (; picked < k && status == BR_OK; picked++)
	{
		picks[picked] = best_of(log_quality, diversity->chosen, n);
		diversity->chosen[picks[picked]] = true;
	}
	br_bundle_diversity_end(context, diversity);
	return status;
}

/* ---- facility location ---- */

/* how much candidate i would raise f; covered: of each v, its similarity to the nearest pick */
static double
coverage_gain(const double *similarity, const double *covered, int n, int candidate, double gamma,
			  double quality)
{
	double sum = 0;

	for (int v = 0; v < n; v++)
	{
		double more = similarity[(size_t) v * n + candidate] - covered[v];

		if (more > 0)
			sum += more;
	}
	return quality + gamma * sum;
}

static BrStatus
cover(BrContext *context, const double *similarity, const double *quality, int n, int k,
	  double gamma, int *picks, double *value, double *covered, bool *chosen)
{
	double reached = 0;
	int64_t steps = 0;

	for (int picked = 0; picked < k; picked++)
	{
		double best_gain = 0;
		int best = -1;

		for (int i = 0; i < n; i++)
		{
			double more;

			steps += n;
			if (steps >= STEPS_A_CHECK && br_base_cancelled(context))
				return br_base_fail(context, BR_ERR_CANCELLED,
									"Choosing candidates was cancelled.");
			if (steps >= STEPS_A_CHECK)
				steps = 0;
			if (chosen[i])
				continue;
			more = coverage_gain(similarity, covered, n, i, gamma, quality[i]);
			if (best < 0 || more > best_gain)
			{
				best = i;
				best_gain = more;
			}
		}
		picks[picked] = best;
		chosen[best] = true;
		reached += best_gain;
		if (value != NULL)
			value[picked] = reached;
		for (int v = 0; v < n; v++)
			if (similarity[(size_t) v * n + best] > covered[v])
				covered[v] = similarity[(size_t) v * n + best];
	}
	return BR_OK;
}

BrStatus
br_bundle_covering(BrContext *context, const double *similarity, const double *quality, int n,
				   int k, double gamma, int *picks, double *value)
{
	double *covered;
	bool *chosen;
	BrStatus status;

	if (n < 0 || k < 0 || k > n || !(gamma >= 0 && isfinite(gamma)))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d of %d candidates with gamma %g cannot be chosen.", k, n, gamma);
	status = check_numbers(context, "Quality", quality, (size_t) n);
	if (status == BR_OK)
		status = check_numbers(context, "Similarity", similarity, (size_t) n * (size_t) n);
	if (status != BR_OK)
		return status;
	covered = br_base_alloc_array(context, (size_t) n, sizeof(double));
	chosen = br_base_alloc_array(context, (size_t) n, sizeof(bool));
	status = covered == NULL || chosen == NULL
		? BR_ERR_MEMORY
		: cover(context, similarity, quality, n, k, gamma, picks, value, covered, chosen);
	br_base_free(context, covered);
	br_base_free(context, chosen);
	return status;
}
