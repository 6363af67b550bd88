/*
 * detect.c
 *	  Which of the items of a session are bundles.
 *
 * Bundles of a session overlap, and often one is the whole of it, so that no
 * partition can name them. Therefore many sets are proposed, each is given what
 * is expected of it, the Jaccard index with the bundle most like it, and those of
 * which enough is expected are named. Clusters at every height of a dendrogram
 * are few and nested, from pairs to the whole, and so make good proposals.
 *
 * Origin of the fixed weights: what the learner "detector" finds over the 893
 * labelled sessions of bundlerec_electronic, with all-MiniLM-L6-v2 on the titles,
 * and with the titles' words alone. Fitted to four fifths of the sessions, such
 * weights name .684 and .646 of the bundles of the others exactly, with a mean F1
 * of .813 and .800; naming the session as one gives .408 and .759. There nothing
 * was bought before, so that the weight of copurchase is a judgement: its root
 * tells as much as a cosine of embeddings.
 */
#include <math.h>
#include <string.h>

#include "core/bundle/br_bundle.h"
#include "core/math/br_math.h"

const BrDetector br_bundle_fixed_detector = {
	.pair = {-2.41, 0.18, 4.74, 1.77, 4.74},
	.set = {0.975, 1.002, 0.820, -1.748, 1.034, 0.488, -0.433, -1.064, 0.097},
	.threshold = 0.6,
};

const BrDetector br_bundle_fixed_detector_of_words = {
	.pair = {-1.92, 6.11, 0, 2.55, 4.74},
	.set = {0.485, 0.973, 0.812, -1.302, 0.791, 0.946, -0.241, -0.922, 0.049},
	.threshold = 0.625,
};

/* ---- average linkage ---- */

typedef struct Linkage
{
	int n;
	double *sum;  /* (n, n) above the diagonal: of the similarities between two clusters */
	int *cluster; /* (n): what stands at the place of its smallest item; -1: joined to another */
	int *size;	  /* (n) */
} Linkage;

static double
link_of(const Linkage *linkage, int left, int right)
{
	return linkage->sum[left * linkage->n + right] /
		((double) linkage->size[left] * linkage->size[right]);
}

/* of two clusters, in whichever order */
static double *
sum_of(Linkage *linkage, int a, int b)
{
	return &linkage->sum[a < b ? a * linkage->n + b : b * linkage->n + a];
}

static void
join_closest(Linkage *linkage, int made, BrMerge *merge)
{
	int left = -1, right = -1;
	double best = -INFINITY;

	for (int i = 0; i < linkage->n; i++)
		for (int j = i + 1; linkage->cluster[i] >= 0 && j < linkage->n; j++)
			if (linkage->cluster[j] >= 0 && (left < 0 || link_of(linkage, i, j) > best))
			{
				best = link_of(linkage, i, j);
				left = i;
				right = j;
			}
	*merge = (BrMerge){linkage->cluster[left], linkage->cluster[right], best};
	for (int k = 0; k < linkage->n; k++)
		if (k != left && k != right && linkage->cluster[k] >= 0)
			*sum_of(linkage, left, k) += *sum_of(linkage, right, k);
	linkage->size[left] += linkage->size[right];
	linkage->cluster[left] = made;
	linkage->cluster[right] = -1;
}

static BrStatus
check_size(BrContext *context, int n)
{
	if (n < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A session cannot have %d items.", n);
	if (n > BR_BUNDLE_MAX_SESSION)
		return br_base_fail(context, BR_ERR_LIMIT, "%d items are more than the %d of a session.", n,
							BR_BUNDLE_MAX_SESSION);
	return BR_OK;
}

BrStatus
br_bundle_average_linkage(BrContext *context, const double *similarity, int n, BrMerge *merges)
{
	Linkage linkage = {.n = n};
	BrStatus status = check_size(context, n);

	for (int i = 0; status == BR_OK && i < n; i++)
		for (int j = i + 1; j < n; j++)
			if (!isfinite(similarity[i * n + j]))
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"The similarity of items %d and %d is not finite.", i, j);
	if (status != BR_OK || n < 2)
		return status;
	linkage.sum = br_base_alloc_array(context, (size_t) n * (size_t) n, sizeof(double));
	linkage.cluster = br_base_alloc_array(context, 2 * (size_t) n, sizeof(int));
	if (linkage.sum == NULL || linkage.cluster == NULL)
		status = BR_ERR_MEMORY;
	else
	{
		memcpy(linkage.sum, similarity, sizeof(double) * (size_t) n * (size_t) n);
		linkage.size = linkage.cluster + n;
	}
	for (int i = 0; status == BR_OK && i < n; i++)
	{
		linkage.cluster[i] = i;
		linkage.size[i] = 1;
	}
	for (int step = 0; status == BR_OK && step < n - 1; step++)
	{
		if (br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "Joining items was cancelled.");
		else
			join_closest(&linkage, n + step, &merges[step]);
	}
	br_base_free(context, linkage.sum);
	br_base_free(context, linkage.cluster);
	return status;
}

/* ---- probabilities of pairs ---- */

static double
weigh(const double *weights, const float *features, int n)
{
	double sum = weights[0];

	for (int f = 0; f < n; f++)
		sum += weights[f + 1] * features[f];
	return br_math_logistic(sum);
}

void
br_bundle_detect_pairs(const BrDetector *detector, const float *features, int n,
					   double *probability)
{
	for (int i = 0; i < n; i++)
	{
		probability[i * n + i] = 1;
		for (int j = i + 1; j < n; j++)
			probability[i * n + j] = probability[j * n + i] =
				weigh(detector->pair, features + (size_t) (i * n + j) * BR_PAIR_COUNT,
					  BR_PAIR_COUNT);
	}
}

/* ---- sets ---- */

static double
probability_of(const double *probability, int n, int i, int j)
{
	return probability[i < j ? i * n + j : j * n + i];
}

static void
describe(const double *probability, int n, const int *members, int size, float *features)
{
	double sum = 0, least = 1, outside = 0;
	int at = 0;

	for (int i = 0; i < size; i++)
		for (int j = i + 1; j < size; j++)
		{
			double p = probability_of(probability, n, members[i], members[j]);

			sum += p;
			least = fmin(least, p);
		}
	for (int other = 0; other < n; other++)
	{
		if (at < size && members[at] == other)
		{
			at++;
			continue;
		}
		for (int i = 0; i < size; i++)
			outside = fmax(outside, probability_of(probability, n, members[i], other));
	}
	features[BR_SET_MEAN_INSIDE] = (float) (sum / (size * (size - 1) / 2));
	features[BR_SET_LEAST_INSIDE] = (float) least;
	features[BR_SET_MOST_OUTSIDE] = (float) outside;
	features[BR_SET_LOG_SIZE] = (float) br_math_log(size);
	features[BR_SET_SHARE] = (float) ((double) size / n);
	features[BR_SET_WHOLE] = size == n;
	features[BR_SET_LOG_SESSION] = (float) br_math_log(n);
	features[BR_SET_PAIR] = size == 2;
}

/* the members of two ascending sets, ascending; returns how many */
static int
unite(const int *left, int n_left, const int *right, int n_right, int *both)
{
	int n = 0;

	for (int l = 0, r = 0; l < n_left || r < n_right;)
		both[n++] = r == n_right || (l < n_left && left[l] < right[r]) ? left[l++] : right[r++];
	return n;
}

static void
add_cluster(BrSessionSets *sets, int n, const BrMerge *merge)
{
	int sides[2] = {merge->left, merge->right};
	int single[2], size[2];
	const int *members[2];

	for (int s = 0; s < 2; s++)
	{
		int set = sides[s] - n;

		single[s] = sides[s];
		members[s] = set < 0 ? &single[s] : sets->members + sets->starts[set];
		size[s] = set < 0 ? 1 : sets->starts[set + 1] - sets->starts[set];
	}
	sets->starts[sets->n + 1] = sets->starts[sets->n] +
		unite(members[0], size[0], members[1], size[1], sets->members + sets->starts[sets->n]);
	sets->n++;
}

static bool
has_pair(const BrSessionSets *sets, int left, int right)
{
	for (int s = 0; s < sets->n; s++)
	{
		const int *members = sets->members + sets->starts[s];

		if (sets->starts[s + 1] - sets->starts[s] == 2 && members[0] == left && members[1] == right)
			return true;
	}
	return false;
}

/* an item and the one that it most probably belongs to, the first of equal ones */
static void
add_nearest(BrSessionSets *sets, const double *probability, int n, int item)
{
	int nearest = -1;
	int *members = sets->members + sets->starts[sets->n];

	for (int j = 0; j < n; j++)
		if (j != item &&
			(nearest < 0 ||
			 probability_of(probability, n, item, j) >
				 probability_of(probability, n, item, nearest)))
			nearest = j;
	if (has_pair(sets, item < nearest ? item : nearest, item < nearest ? nearest : item))
		return;
	members[0] = item < nearest ? item : nearest;
	members[1] = item < nearest ? nearest : item;
	sets->starts[sets->n + 1] = sets->starts[sets->n] + 2;
	sets->n++;
}

static BrStatus
check_probabilities(BrContext *context, const double *probability, int n)
{
	BrStatus status = check_size(context, n);

	for (int i = 0; status == BR_OK && i < n; i++)
		for (int j = i + 1; j < n; j++)
			if (!(probability[i * n + j] >= 0 && probability[i * n + j] <= 1))
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"The probability of items %d and %d is %g.", i, j,
									probability[i * n + j]);
	return status;
}

/* room for n - 1 clusters and n pairs */
static BrStatus
allocate_sets(BrContext *context, int n, BrSessionSets *sets)
{
	size_t most = 2 * (size_t) n;

	sets->starts = br_base_alloc_array(context, most + 1, sizeof(int));
	sets->members = br_base_alloc_array(context, (size_t) n * (size_t) n + most, sizeof(int));
	sets->features = br_base_alloc_array(context, most * BR_SET_COUNT, sizeof(float));
	return sets->starts == NULL || sets->members == NULL || sets->features == NULL ? BR_ERR_MEMORY
																				   : BR_OK;
}

BrStatus
br_bundle_detect_sets(BrContext *context, const double *probability, int n, BrSessionSets *sets)
{
	BrMerge merges[BR_BUNDLE_MAX_SESSION];
	BrStatus status = check_probabilities(context, probability, n);

	memset(sets, 0, sizeof(*sets));
	if (status == BR_OK)
		status = br_bundle_average_linkage(context, probability, n, merges);
	if (status == BR_OK)
		status = allocate_sets(context, n, sets);
	for (int i = 0; status == BR_OK && i < n - 1; i++)
		add_cluster(sets, n, &merges[i]);
	for (int i = 0; status == BR_OK && n > 1 && i < n; i++)
		add_nearest(sets, probability, n, i);
	for (int s = 0; status == BR_OK && s < sets->n; s++)
	{
		describe(probability, n, sets->members + sets->starts[s],
				 sets->starts[s + 1] - sets->starts[s], sets->features + (size_t) s * BR_SET_COUNT);
		if (br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "Describing sets was cancelled.");
	}
	if (status != BR_OK)
		br_bundle_detect_sets_free(context, sets);
	return status;
}

void
br_bundle_detect_sets_free(BrContext *context, BrSessionSets *sets)
{
	br_base_free(context, sets->starts);
	br_base_free(context, sets->members);
	br_base_free(context, sets->features);
	memset(sets, 0, sizeof(*sets));
}

/* ---- the choice ---- */

void
br_bundle_detect_scores(const BrDetector *detector, const BrSessionSets *sets, double *scores)
{
	for (int s = 0; s < sets->n; s++)
		scores[s] = weigh(detector->set, sets->features + (size_t) s * BR_SET_COUNT, BR_SET_COUNT);
}

int
br_bundle_detect_choose(const double *scores, int n, double threshold, int *chosen)
{
	int best = 0, kept = 0;

	for (int s = 1; s < n; s++)
		if (scores[s] > scores[best])
			best = s;
	for (int s = 0; s < n; s++)
	{
		int at = kept;

		if (s != best && !(scores[s] >= threshold))
			continue;
		for (; at > 0 && scores[chosen[at - 1]] < scores[s]; at--)
			chosen[at] = chosen[at - 1];
		chosen[at] = s;
		kept++;
	}
	return kept;
}
