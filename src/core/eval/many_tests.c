/*
 * many_tests.c
 *	  What several variants and several tests together need: whether units came
 *	  in the shares they should, and p-values adjusted for their number.
 */
#include <math.h>
#include <stdlib.h>

#include "core/eval/br_eval.h"

BrStatus
br_eval_sample_ratio(BrContext *context, const double *counts, const double *shares, int n,
					 double *p_value)
{
	double units = 0;
	double share = 0;
	double chi_square = 0;
	int expected_variants = 0;

	for (int i = 0; i < n; i++)
	{
		if (!isfinite(counts[i]) || counts[i] < 0 || !isfinite(shares[i]) || shares[i] < 0 ||
			(shares[i] == 0 && counts[i] > 0))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Variant %d has %g units where a share of %g is expected.", i + 1,
								counts[i], shares[i]);
		units += counts[i];
		share += shares[i];
		expected_variants += shares[i] > 0;
	}
	if (expected_variants < 2 || units == 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d variants have a share and %g units came; it takes two, and a unit.",
							expected_variants, units);
	for (int i = 0; i < n; i++)
	{
		double expected = units * (shares[i] / share);

		if (expected > 0)
			chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
	}
	*p_value = br_eval_chi_square_tail(chi_square, expected_variants - 1);
	return BR_OK;
}

typedef struct Ranked
{
	double p_value;
	int place;
} Ranked;

static int
by_p_value(const void *left, const void *right)
{
	const Ranked *a = left;
	const Ranked *b = right;

	if (a->p_value != b->p_value)
		return a->p_value < b->p_value ? -1 : 1;
	return a->place - b->place;
}

/* the p-values that are none NaN, in ascending order; *ranked is the caller's to free */
static BrStatus
rank_p_values(BrContext *context, const double *p_values, int n, Ranked **ranked, int *m)
{
	*m = 0;
	*ranked = br_base_alloc_array(context, (size_t) n + 1, sizeof(Ranked));
	if (*ranked == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < n; i++)
	{
		if (isnan(p_values[i]))
			continue;
		if (p_values[i] < 0 || p_values[i] > 1)
		{
			br_base_free(context, *ranked);
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"P-value %d is %g; it must lie between 0 and 1.", i + 1,
								p_values[i]);
		}
		(*ranked)[(*m)++] = (Ranked){p_values[i], i};
	}
	qsort(*ranked, *m, sizeof(Ranked), by_p_value);
	return BR_OK;
}

BrStatus
br_eval_benjamini_hochberg(BrContext *context, const double *p_values, int n, double *adjusted)
{
	Ranked *ranked;
	int m;
	double least = 1;
	BrStatus status = rank_p_values(context, p_values, n, &ranked, &m);

	if (status != BR_OK)
		return status;
	for (int i = 0; i < n; i++)
		adjusted[i] = NAN;
	for (int i = m - 1; i >= 0; i--)
	{
		least = fmin(least, ranked[i].p_value * m / (i + 1));
		adjusted[ranked[i].place] = least;
	}
	br_base_free(context, ranked);
	return BR_OK;
}

BrStatus
br_eval_holm(BrContext *context, const double *p_values, int n, double *adjusted)
{
	Ranked *ranked;
	int m;
	double most = 0;
	BrStatus status = rank_p_values(context, p_values, n, &ranked, &m);

	if (status != BR_OK)
		return status;
	for (int i = 0; i < n; i++)
		adjusted[i] = NAN;
	for (int i = 0; i < m; i++)
	{
		most = fmin(1, fmax(most, ranked[i].p_value * (m - i)));
		adjusted[ranked[i].place] = most;
	}
	br_base_free(context, ranked);
	return BR_OK;
}
