/*
 * lexical.c
 *	  What a word in a text weighs: TF-IDF and BM25.
 */
#include <math.h>
#include <string.h>

#include "core/learn/learn_int.h"

/* Entries between two questions whether to stop. */
#define ENTRIES_A_CHECK 100000
/* And where next to nothing is done with one. */
#define ENTRIES_A_GLANCE 1000000

static BrStatus
check_counts(BrContext *context, const BrSparse *counts, float least)
{
	BrStatus status = br_learn_sparse_check(context, counts);

	if (status != BR_OK)
		return status;
	for (int64_t i = 0; i < br_learn_entries(counts); i++)
	{
		if (i % ENTRIES_A_GLANCE == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		if (!(br_learn_value(counts, i) > 0 && br_learn_value(counts, i) >= least))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Term %d is counted %g times in a text; counts must be %s.",
								counts->ids[i], (double) br_learn_value(counts, i),
								least > 0 ? "1 or more" : "above 0");
	}
	return BR_OK;
}

BrStatus
br_learn_lexical_idf(BrContext *context, const BrSparse *counts, BrLexicalMeasure measure,
					 float *idf)
{
	BrStatus status = br_learn_sparse_check(context, counts);
	int64_t *texts;

	if (status != BR_OK)
		return status;
	texts = br_base_alloc_array(context, (size_t) counts->columns, sizeof(int64_t));
	if (texts == NULL)
		return BR_ERR_MEMORY;
	for (int64_t i = 0; i < br_learn_entries(counts) && status == BR_OK; i++)
	{
		texts[counts->ids[i]]++;
		if (i % ENTRIES_A_GLANCE == 0 && br_base_cancelled(context))
			status = BR_ERR_CANCELLED;
	}
	for (int term = 0; term < counts->columns && status == BR_OK; term++)
	{
		double n = counts->rows;
		double df = (double) texts[term];

		idf[term] = (float) (measure == BR_LEXICAL_TFIDF ? log((1 + n) / (1 + df)) + 1
														 : log(1 + (n - df + 0.5) / (df + 0.5)));
	}
	br_base_free(context, texts);
	return status;
}

static BrStatus
check_options(BrContext *context, const BrLexicalOptions *options, const float *idf, int terms)
{
	if (options->measure != BR_LEXICAL_TFIDF && options->measure != BR_LEXICAL_BM25)
		return br_base_fail(context, BR_ERR_ARGUMENT, "There is no lexical measure %d.",
							(int) options->measure);
	if (options->measure == BR_LEXICAL_BM25 &&
		!(options->k1 >= 0 && isfinite(options->k1) && options->b >= 0 && options->b <= 1 &&
		  options->mean_length >= 0 && isfinite(options->mean_length)))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"BM25 needs k1 >= 0, b in [0, 1] and a mean length >= 0, but got %g, "
							"%g and %g.",
							options->k1, options->b, options->mean_length);
	for (int term = 0; term < terms; term++)
		if (!(idf[term] >= 0 && isfinite(idf[term])))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Term %d has an idf of %g; it must be 0 or more.", term,
								(double) idf[term]);
	return BR_OK;
}

static double
length_of(const BrSparse *counts, int64_t begin, int64_t end)
{
	double length = 0;

	for (int64_t i = begin; i < end; i++)
		length += (double) br_learn_value(counts, i);
	return length;
}

/* the cosine's weights of one text */
static void
weigh_tfidf(const BrSparse *counts, int row, const float *idf, bool sublinear, float *values)
{
	int64_t begin = counts->starts[row];
	int64_t end = counts->starts[row + 1];
	double squares = 0;
	double scale;

	for (int pass = 0; pass < 2; pass++)
	{
		scale = squares > 0 ? 1 / sqrt(squares) : 0;
		for (int64_t i = begin; i < end; i++)
		{
			double count = (double) br_learn_value(counts, i);
			double weight = (sublinear ? 1 + log(count) : count) * (double) idf[counts->ids[i]];

			if (pass == 0)
				squares += weight * weight;
			values[i] = (float) (weight * scale);
		}
	}
}

static void
weigh_bm25(const BrSparse *counts, int row, const float *idf, const BrLexicalOptions *options,
		   double mean_length, float *values)
{
	int64_t begin = counts->starts[row];
	int64_t end = counts->starts[row + 1];
	double length = length_of(counts, begin, end);
	double norm = options->k1 * (1 - options->b + options->b * length / mean_length);

	for (int64_t i = begin; i < end; i++)
	{
		double count = (double) br_learn_value(counts, i);

		values[i] =
			(float) ((double) idf[counts->ids[i]] * count * (options->k1 + 1) / (count + norm));
	}
}

static BrStatus
weigh(BrContext *context, const BrSparse *counts, const float *idf, const BrLexicalOptions *options,
	  BrSparse *weights)
{
	double mean_length = options->mean_length;
	int64_t next_check = 0;

	if (mean_length == 0 && counts->rows > 0)
		mean_length = length_of(counts, 0, br_learn_entries(counts)) / counts->rows;
	for (int row = 0; row < counts->rows; row++)
	{
		if (counts->starts[row] >= next_check)
		{
			if (br_base_cancelled(context))
				return br_base_fail(context, BR_ERR_CANCELLED, "Weighing terms was cancelled.");
			next_check = counts->starts[row] + ENTRIES_A_CHECK;
		}
		if (options->measure == BR_LEXICAL_TFIDF)
			weigh_tfidf(counts, row, idf, options->sublinear, weights->values);
		else
			weigh_bm25(counts, row, idf, options, mean_length, weights->values);
	}
	return BR_OK;
}

BrStatus
br_learn_lexical_weights(BrContext *context, const BrSparse *counts, const float *idf,
						 const BrLexicalOptions *options, BrSparse *weights)
{
	bool sublinear = options->measure == BR_LEXICAL_TFIDF && options->sublinear;
	size_t entries;
	BrStatus status;

	memset(weights, 0, sizeof(*weights));
	status = check_counts(context, counts, sublinear ? 1 : 0);
	if (status == BR_OK)
		status = check_options(context, options, idf, counts->columns);
	if (status != BR_OK)
		return status;
	entries = (size_t) br_learn_entries(counts);
	weights->rows = counts->rows;
	weights->columns = counts->columns;
	weights->starts = br_base_alloc_array(context, (size_t) counts->rows + 1, sizeof(int64_t));
	weights->ids = br_base_alloc_array(context, entries, sizeof(int32_t));
	weights->values = br_base_alloc_array(context, entries, sizeof(float));
	if (weights->starts == NULL || weights->ids == NULL || weights->values == NULL)
		status = BR_ERR_MEMORY;
	else
	{
		memcpy(weights->starts, counts->starts, ((size_t) counts->rows + 1) * sizeof(int64_t));
		if (entries > 0)
			memcpy(weights->ids, counts->ids, entries * sizeof(int32_t));
		status = weigh(context, counts, idf, options, weights);
	}
	if (status != BR_OK)
		br_learn_sparse_free(context, weights);
	return status;
}
