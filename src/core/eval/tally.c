/*
 * tally.c
 *	  Sums by key in one flat array, and what is read from them: area under the
 *	  curve, Gini index, fairness of exposure.
 *
 * Whoever fills a tally puts entries behind each other and compacts them when
 * the room is used up: sorted by key, those of one key made one. So memory
 * follows the number of different keys, and n rows cost n log n.
 */
#include <math.h>
#include <string.h>

#include "core/eval/br_eval.h"

/* Entries merged between two questions whether to go on. */
#define CANCEL_INTERVAL 65536

typedef struct Entry
{
	double key[2];
	double sum[2];
} Entry;

_Static_assert(sizeof(Entry) == BR_EVAL_TALLY_ENTRY * sizeof(double), "an entry is four doubles");

static int
compare_keys(const Entry *left, const Entry *right)
{
	for (int i = 0; i < 2; i++)
	{
		if (left->key[i] != right->key[i])
			return left->key[i] < right->key[i] ? -1 : 1;
	}
	return 0;
}

static BrStatus
check_entries(BrContext *context, const Entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		const Entry *entry = &entries[i];

		if (isnan(entry->key[0]) || isnan(entry->key[1]))
			return br_base_fail(context, BR_ERR_NUMERIC, "A key of the state is NaN.");
		for (int j = 0; j < 2; j++)
		{
			if (!isfinite(entry->sum[j]) || entry->sum[0] < 0)
				return br_base_fail(context, BR_ERR_NUMERIC, "A sum of the state is %g.",
									entry->sum[j]);
		}
	}
	return BR_OK;
}

/* Two sorted neighbours, [start, middle) and [middle, end), into target. */
static void
merge_runs(const Entry *source, size_t start, size_t middle, size_t end, Entry *target)
{
	size_t left = start;
	size_t right = middle;

	for (size_t i = start; i < end; i++)
	{
		bool take_left =
			left < middle && (right >= end || compare_keys(&source[left], &source[right]) <= 0);

		target[i] = take_left ? source[left++] : source[right++];
	}
}

/*
 * A merge sort: stable, so that sums of one key are added in the order in which
 * they came, and it can stop at any time.
 */
static BrStatus
sort_entries(BrContext *context, Entry *entries, Entry *scratch, size_t n)
{
	Entry *source = entries;
	Entry *target = scratch;
	size_t merged = 0;

	for (size_t width = 1; width < n; width *= 2)
	{
		Entry *swap = source;

		for (size_t start = 0; start < n; start += 2 * width)
		{
			size_t middle = start + width < n ? start + width : n;
			size_t end = start + 2 * width < n ? start + 2 * width : n;

			merge_runs(source, start, middle, end, target);
			merged += end - start;
			if (merged >= CANCEL_INTERVAL && br_base_cancelled(context))
				return BR_ERR_CANCELLED;
			if (merged >= CANCEL_INTERVAL)
				merged = 0;
		}
		source = target;
		target = swap;
	}
	if (source != entries)
		memcpy(entries, source, sizeof(Entry) * n);
	return BR_OK;
}

BrStatus
br_eval_tally_compact(BrContext *context, double *entries, size_t *n)
{
	Entry *all = (Entry *) entries;
	Entry *scratch;
	size_t kept = 0;
	BrStatus status = check_entries(context, all, *n);

	if (status != BR_OK || *n == 0)
		return status;
	scratch = br_base_alloc(context, sizeof(Entry) * *n);
	if (scratch == NULL)
		return BR_ERR_MEMORY;
	status = sort_entries(context, all, scratch, *n);
	br_base_free(context, scratch);
	if (status != BR_OK)
		return status;

	for (size_t i = 1; i < *n; i++)
	{
		if (compare_keys(&all[kept], &all[i]) != 0)
			all[++kept] = all[i];
		else
		{
			all[kept].sum[0] += all[i].sum[0];
			all[kept].sum[1] += all[i].sum[1];
		}
	}
	*n = kept + 1;
	return BR_OK;
}

/* ---- what is read from a compact tally ---- */

/* A class's placements: for each of its members, the share of the other class that it beats. */
static void
add_placements(double count, double placement, double area, double *squares)
{
	*squares += count * (placement - area) * (placement - area);
}

static double
count_wins(const Entry *all, size_t n, double negatives)
{
	double below = 0;
	double wins = 0;

	for (size_t i = 0; i < n; i++)
	{
		wins += all[i].sum[0] * (below + all[i].sum[1] / 2) / negatives;
		below += all[i].sum[1];
	}
	return wins;
}

void
br_eval_auc(const double *entries, size_t n, double *area, double *error)
{
	const Entry *all = (const Entry *) entries;
	double positives = 0;
	double negatives = 0;
	double positives_below = 0;
	double negatives_below = 0;
	double squares[2] = {0, 0}; /* of the distances of positives, of negatives */

	*area = *error = NAN;
	for (size_t i = 0; i < n; i++)
	{
		positives += all[i].sum[0];
		negatives += all[i].sum[1];
	}
	if (positives == 0 || negatives == 0)
		return;
	*area = count_wins(all, n, negatives) / positives;
	if (positives < 2 || negatives < 2)
		return;
	for (size_t i = 0; i < n; i++)
	{
		add_placements(all[i].sum[0], (negatives_below + all[i].sum[1] / 2) / negatives, *area,
					   &squares[0]);
		add_placements(all[i].sum[1], (positives - positives_below - all[i].sum[0] / 2) / positives,
					   *area, &squares[1]);
		positives_below += all[i].sum[0];
		negatives_below += all[i].sum[1];
	}
	*error =
		sqrt(squares[0] / (positives - 1) / positives + squares[1] / (negatives - 1) / negatives);
}

double
br_eval_gini(const double *values, const double *counts, size_t n, size_t stride, double zeros)
{
	double total = zeros;
	double before = zeros; /* values that stand before this one */
	double sum = 0;
	double weighted = 0;

	for (size_t i = 0; i < n; i++)
		total += counts[i * stride];
	for (size_t i = 0; i < n; i++)
	{
		double value = values[i * stride];
		double count = counts[i * stride];

		/* places before + 1 .. before + count */
		weighted += value * count * (2 * before + count - total);
		sum += value * count;
		before += count;
	}
	return sum > 0 ? weighted / (total * sum) : NAN;
}

void
br_eval_clustered_mean(const double *entries, size_t n, double *mean, double *error, double *rows)
{
	const Entry *all = (const Entry *) entries;
	double sum = 0;
	double squares = 0;

	*mean = *error = NAN;
	*rows = 0;
	for (size_t i = 0; i < n; i++)
	{
		*rows += all[i].sum[0];
		sum += all[i].sum[1];
	}
	if (*rows == 0)
		return;
	*mean = sum / *rows;
	for (size_t i = 0; i < n; i++)
	{
		double distance = all[i].sum[1] - *mean * all[i].sum[0];

		squares += distance * distance;
	}
	if (n > 1)
		*error = sqrt((double) n / (double) (n - 1) * squares) / *rows;
}

void
br_eval_fairness(const double *entries, size_t n, BrFairness *fairness)
{
	const Entry *all = (const Entry *) entries;
	double exposure = 0;
	double target = 0;
	double least = INFINITY;
	double greatest = 0;

	*fairness = (BrFairness){.disparity_ratio = NAN, .divergence = NAN, .variation = NAN};
	for (size_t i = 0; i < n; i++)
	{
		exposure += all[i].sum[0];
		target += all[i].sum[1];
		fairness->groups += all[i].sum[0] > 0 || all[i].sum[1] > 0;
	}
	if (exposure == 0 || target == 0)
		return;
	fairness->divergence = fairness->variation = 0;
	for (size_t i = 0; i < n; i++)
	{
		double shown = all[i].sum[0] / exposure;
		double due = all[i].sum[1] / target;

		if (shown == 0 && due == 0)
			continue;
		fairness->variation += fabs(shown - due) / 2;
		if (shown > 0)
			fairness->divergence += shown * log(shown / due);
		least = fmin(least, shown / due);
		greatest = fmax(greatest, shown / due);
	}
	fairness->divergence = fmax(0, fairness->divergence);
	fairness->disparity_ratio = isinf(greatest) ? 0 : least / greatest;
}
