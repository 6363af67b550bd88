/*
 * term_weights.c
 *	  Which shared terms tell that two things belong together.
 *
 * Pairs need not be formed: a set of m things, c of which have a term, holds
 * c (c - 1) ordered pairs that share it, and c things whose partners would share
 * it by chance with probability df / n.
 */
#include <math.h>

#include "core/learn/learn_int.h"
#include "core/math/br_math.h"

/* bins of document frequency, two to a power of two */
#define BINS 64
#define LEAST_LIFT 1.05
/* what a bin is taken to have seen before anything: as much as chance gives */
#define BIN_COUNT 0.5

typedef struct Terms
{
	int n; /* terms */
	int things;
	double *shared;	  /* (n): pairs in sets that share the term */
	double *expected; /* (n) */
	int *frequency;	  /* (n): texts that have it */
	int *in_set;	  /* (n): work, all 0 between sets */
} Terms;

static void
count_set(Terms *terms, const BrSparse *texts, const BrSparse *sets, int set)
{
	int64_t first = sets->starts[set], last = sets->starts[set + 1];
	double pair = last - first > 1 ? 1.0 / (double) (last - first - 1) : 0;

	if (pair == 0)
		return;
	for (int64_t i = first; i < last; i++)
		for (int64_t t = texts->starts[sets->ids[i]]; t < texts->starts[sets->ids[i] + 1]; t++)
			terms->in_set[texts->ids[t]]++;
	for (int64_t i = first; i < last; i++)
		for (int64_t t = texts->starts[sets->ids[i]]; t < texts->starts[sets->ids[i] + 1]; t++)
		{
			int term = texts->ids[t];
			double having = terms->in_set[term];

			terms->shared[term] += having * (having - 1) * pair;
			terms->expected[term] += having * terms->frequency[term] / terms->things;
			terms->in_set[term] = 0;
		}
}

static int
bin_of(int frequency)
{
	int bin = (int) floor(2 * br_math_log(frequency) / br_math_log(2.0) + 1e-9);

	return bin < BINS - 1 ? bin : BINS - 1;
}

static void
weigh(const Terms *terms, double shrinkage, float *weights)
{
	double shared[BINS] = {0}, expected[BINS] = {0};

	for (int term = 0; term < terms->n; term++)
		if (terms->frequency[term] > 0)
		{
			shared[bin_of(terms->frequency[term])] += terms->shared[term];
			expected[bin_of(terms->frequency[term])] += terms->expected[term];
		}
	for (int term = 0; term < terms->n; term++)
	{
		int bin = terms->frequency[term] > 0 ? bin_of(terms->frequency[term]) : 0;
		double prior = (shared[bin] + BIN_COUNT) / (expected[bin] + BIN_COUNT);
		double lift =
			(terms->shared[term] + shrinkage * prior) / (terms->expected[term] + shrinkage);

		weights[term] = terms->frequency[term] == 0
			? 0
			: (float) br_math_log(lift > LEAST_LIFT ? lift : LEAST_LIFT);
	}
}

static void
weigh_by_frequency(const Terms *terms, float *weights)
{
	for (int term = 0; term < terms->n; term++)
		weights[term] =
			(float) (br_math_log((1.0 + terms->things) / (1.0 + terms->frequency[term])) + 1);
}

static BrStatus
count(BrContext *context, Terms *terms, const BrSparse *texts, const BrSparse *sets)
{
	for (int64_t i = 0; i < br_learn_entries(texts); i++)
		terms->frequency[texts->ids[i]]++;
	for (int set = 0; set < sets->rows; set++)
	{
		count_set(terms, texts, sets, set);
		if (set % 256 == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

BrStatus
br_learn_term_weights(BrContext *context, const BrSparse *texts, const BrSparse *sets,
					  double shrinkage, float *weights)
{
	Terms terms = {.n = texts->columns, .things = texts->rows};
	size_t n = (size_t) texts->columns;
	BrStatus status = br_learn_sparse_check(context, texts);
	double all = 0;

	if (status == BR_OK)
		status = br_learn_sparse_check(context, sets);
	if (status != BR_OK)
		return status;
	if (!(shrinkage > 0) || !isfinite(shrinkage) || sets->columns != texts->rows)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Shrinkage is %g, and sets are of %d things where %d have texts.",
							shrinkage, sets->columns, texts->rows);
	terms.shared = br_base_alloc_array(context, n, sizeof(double));
	terms.expected = br_base_alloc_array(context, n, sizeof(double));
	terms.frequency = br_base_alloc_array(context, n, sizeof(int));
	terms.in_set = br_base_alloc_array(context, n, sizeof(int));
	if (terms.shared != NULL && terms.expected != NULL && terms.frequency != NULL &&
		terms.in_set != NULL)
		status = count(context, &terms, texts, sets);
	else
		status = BR_ERR_MEMORY;
	if (status == BR_OK)
	{
		for (int term = 0; term < terms.n; term++)
			all += terms.shared[term];
		if (all > 0)
			weigh(&terms, shrinkage, weights);
		else
			weigh_by_frequency(&terms, weights);
	}
	br_base_free(context, terms.shared);
	br_base_free(context, terms.expected);
	br_base_free(context, terms.frequency);
	br_base_free(context, terms.in_set);
	return status;
}
