/*
 * ranking.c
 *	  How good ranked lists are.
 *
 * A list is judged once: each of its places gets the gain of what stands
 * there, found by binary search among the relevant items. Every metric then
 * reads gains alone.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/eval/br_eval.h"

void
br_eval_mean_add(BrMean *mean, double value)
{
	double distance = value - mean->mean;

	mean->n++;
	mean->mean += distance / mean->n;
	mean->squares += distance * (value - mean->mean);
}

/* Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm", 1979 */
void
br_eval_mean_merge(BrMean *mean, const BrMean *other)
{
	double n = mean->n + other->n;
	double distance = other->mean - mean->mean;

	if (other->n == 0)
		return;
	mean->squares += other->squares + distance * distance * mean->n * other->n / n;
	mean->mean += distance * other->n / n;
	mean->n = n;
}

double
br_eval_mean_error(const BrMean *mean)
{
	if (mean->n < 2)
		return NAN;
	return sqrt(mean->squares / (mean->n - 1) / mean->n);
}

/* ---- judging a list ---- */

typedef struct Relevant
{
	BrItemName item;
	double gain;
	bool taken; /* by an earlier place */
} Relevant;

static int
compare_items(const void *left, const void *right)
{
	const BrItemName *a = left;
	const BrItemName *b = right;
	size_t shared = a->length < b->length ? a->length : b->length;
	int order = shared > 0 ? memcmp(a->bytes, b->bytes, shared) : 0;

	return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

static int
compare_descending(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return (a < b) - (a > b);
}

/* Sorted and without repetitions or what has no gain; *n of them are left. */
static BrStatus
sort_relevant(BrContext *context, Relevant *relevant, int *n)
{
	int kept = 0;

	qsort(relevant, *n, sizeof(Relevant), compare_items);
	for (int i = 0; i < *n; i++)
	{
		bool repeated = i > 0 && compare_items(&relevant[i - 1].item, &relevant[i].item) == 0;

		if (repeated && relevant[i].gain != relevant[i - 1].gain)
			return br_base_fail(context, BR_ERR_ARGUMENT, "Item \"%.*s\" has the gains %g and %g.",
								(int) (relevant[i].item.length < 60 ? relevant[i].item.length : 60),
								relevant[i].item.bytes, relevant[i - 1].gain, relevant[i].gain);
	}
	for (int i = 0; i < *n; i++)
	{
		bool repeated = kept > 0 && compare_items(&relevant[kept - 1].item, &relevant[i].item) == 0;

		if (!repeated && relevant[i].gain > 0)
			relevant[kept++] = relevant[i];
	}
	*n = kept;
	return BR_OK;
}

static BrStatus
copy_relevant(BrContext *context, const BrItemName *relevant, const double *gain, int m,
			  Relevant *copy)
{
	for (int i = 0; i < m; i++)
	{
		double value = gain != NULL ? gain[i] : 1;

		if (!isfinite(value) || value < 0)
			return br_base_fail(context, BR_ERR_ARGUMENT, "Gain number %d is %g.", i + 1, value);
		copy[i] = (Relevant){.item = relevant[i], .gain = value};
	}
	return BR_OK;
}

/* Gains of the places and of the ideal list, from sorted relevant items. */
static void
fill_gains(const BrItemName *recommended, Relevant *relevant, double *all, BrJudgedList *list)
{
	int best = list->relevant < list->cutoff ? list->relevant : list->cutoff;

	for (int i = 0; i < list->places; i++)
	{
		Relevant *found =
			bsearch(&recommended[i], relevant, list->relevant, sizeof(Relevant), compare_items);

		list->gain[i] = found != NULL && !found->taken ? found->gain : 0;
		if (found != NULL)
			found->taken = true;
	}
	for (int i = 0; i < list->relevant; i++)
		all[i] = relevant[i].gain;
	qsort(all, list->relevant, sizeof(double), compare_descending);
	if (best > 0)
		memcpy(list->ideal, all, sizeof(double) * best);
}

BrStatus
br_eval_judge(BrContext *context, const BrItemName *recommended, int n, const BrItemName *relevant,
			  const double *gain, int m, int cutoff, BrJudgedList *list)
{
	Relevant *sorted = NULL;
	double *all = NULL;
	BrStatus status = BR_ERR_MEMORY;

	*list = (BrJudgedList){.cutoff = cutoff, .places = n < cutoff ? n : cutoff, .relevant = m};
	if (cutoff < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT, "k is %d.", cutoff);
	sorted = br_base_alloc_array(context, (size_t) m + 1, sizeof(Relevant));
	all = br_base_alloc_array(context, (size_t) m + 1, sizeof(double));
	list->gain = br_base_alloc_array(context, (size_t) list->places + 1, sizeof(double));
	list->ideal = br_base_alloc_array(context, (size_t) m + 1, sizeof(double));
	if (sorted != NULL && all != NULL && list->gain != NULL && list->ideal != NULL)
	{
		status = copy_relevant(context, relevant, gain, m, sorted);
		if (status == BR_OK)
			status = sort_relevant(context, sorted, &list->relevant);
		if (status == BR_OK)
			fill_gains(recommended, sorted, all, list);
	}
	br_base_free(context, sorted);
	br_base_free(context, all);
	if (status != BR_OK)
		br_eval_judged_free(context, list);
	return status;
}

void
br_eval_judged_free(BrContext *context, BrJudgedList *list)
{
	br_base_free(context, list->gain);
	br_base_free(context, list->ideal);
	list->gain = NULL;
	list->ideal = NULL;
}

/* ---- metrics ---- */

static int
count_hits(const BrJudgedList *list)
{
	int hits = 0;

	for (int i = 0; i < list->places; i++)
		hits += list->gain[i] > 0;
	return hits;
}

double
br_eval_precision(const BrJudgedList *list)
{
	return list->relevant == 0 ? NAN : count_hits(list) / (double) list->cutoff;
}

double
br_eval_recall(const BrJudgedList *list)
{
	return list->relevant == 0 ? NAN : count_hits(list) / (double) list->relevant;
}

double
br_eval_f1(const BrJudgedList *list)
{
	double places = (double) list->cutoff + list->relevant;

	return list->relevant == 0 ? NAN : 2 * count_hits(list) / places;
}

double
br_eval_hit_rate(const BrJudgedList *list)
{
	return list->relevant == 0 ? NAN : count_hits(list) > 0;
}

double
br_eval_reciprocal_rank(const BrJudgedList *list)
{
	if (list->relevant == 0)
		return NAN;
	for (int i = 0; i < list->places; i++)
	{
		if (list->gain[i] > 0)
			return 1.0 / (i + 1);
	}
	return 0;
}

double
br_eval_average_precision(const BrJudgedList *list)
{
	int best = list->relevant < list->cutoff ? list->relevant : list->cutoff;
	int hits = 0;
	double sum = 0;

	if (list->relevant == 0)
		return NAN;
	for (int i = 0; i < list->places; i++)
	{
		if (list->gain[i] > 0)
			sum += ++hits / (i + 1.0);
	}
	return sum / best;
}

static double
discounted_gain(const double *gain, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += gain[i] / log2(i + 2.0);
	return sum;
}

double
br_eval_ndcg(const BrJudgedList *list)
{
	int best = list->relevant < list->cutoff ? list->relevant : list->cutoff;

	if (list->relevant == 0)
		return NAN;
	return discounted_gain(list->gain, list->places) / discounted_gain(list->ideal, best);
}

/*
 * The cosines of all pairs sum to (|sum of u|^2 - sum of |u|^2) / 2 over unit
 * vectors u: one pass instead of one for each pair.
 */
BrStatus
br_eval_diversity(BrContext *context, const float *vectors, int n, int dims, double *diversity)
{
	double *sum = br_base_alloc_array(context, (size_t) dims + 1, sizeof(double));
	double pairs = 0.5 * n * (n - 1.0);
	double cosines = 0;

	if (sum == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < n; i++)
	{
		const float *vector = vectors + (size_t) i * dims;
		double square = 0;

		for (int j = 0; j < dims; j++)
			square += (double) vector[j] * vector[j];
		if (square == 0)
			continue;
		for (int j = 0; j < dims; j++)
			sum[j] += vector[j] / sqrt(square);
		cosines -= 0.5;
	}
	for (int j = 0; j < dims; j++)
		cosines += 0.5 * sum[j] * sum[j];
	br_base_free(context, sum);
	*diversity = n < 2 ? NAN : fmax(0, 1 - cosines / pairs);
	return BR_OK;
}
