/*
 * lexical_lists.c
 *	  The texts most like each text, by products of sparse rows.
 *
 * An inverted index tells which texts have a term. The terms of a query are
 * taken from the rarest to the most common, and their shares added up for the
 * texts that have them. What the terms still to come can add at most is known
 * from the largest weight that each has anywhere; once that is below what the
 * weakest text of a full list has already, no text that has been met by none of
 * the terms so far can enter it. The long lists of common words are therefore
 * seldom read: the few texts that may still enter are scored by their own rows.
 *
 * Partial sums only decide what is looked at. The products that are listed are
 * added up in ascending order of terms, so the order of reading leaves no trace.
 *
 * Source: Turtle, Flood, "Query evaluation: strategies and optimizations",
 * Information Processing & Management 31 (1995) (max-score).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/learn/learn_int.h"

/* Steps, of a nanosecond or a few, between two questions whether to stop. */
#define STEPS_A_CHECK 1000000
/* And where next to nothing is done with one entry of a matrix. */
#define ENTRIES_A_GLANCE 1000000

/*
 * Bounds are compared with this much to spare, for what rounding to float may
 * do to a product and for sums taken in different orders.
 */
#define SPARE 1e-6

/* A term of the query. */
typedef struct Term
{
	int32_t id;
	int64_t texts; /* that have it */
	double weight; /* in the query */
	double rest;   /* what it and those behind it add to any text at most */
} Term;

typedef struct Search
{
	BrContext *context;
	const BrSparse *queries;
	const BrSparse *texts;
	const BrLexicalSearch *options;
	BrSparse index;	   /* (terms, texts) */
	float *largest;	   /* (terms): weight in any text */
	double *query;	   /* (terms): 0 but for those of the current query */
	double *sums;	   /* (texts): of the terms taken so far; 0 for those not met */
	int32_t *met;	   /* (texts) */
	float *products;   /* (texts): of those met */
	double *strongest; /* (depth): sums, the weakest on top */
	Term *terms;	   /* of the longest query */
	int n_met;
	int64_t steps;
	BrListBuilder *builder;
} Search;

static BrStatus
check_cancelled(Search *search, int64_t steps)
{
	search->steps += steps;
	if (search->steps < STEPS_A_CHECK)
		return BR_OK;
	search->steps = 0;
	if (br_base_cancelled(search->context))
		return br_base_fail(search->context, BR_ERR_CANCELLED, "Comparing texts was cancelled.");
	return BR_OK;
}

/* the shorter lists first */
static int
compare_terms(const void *left, const void *right)
{
	const Term *a = left;
	const Term *b = right;

	if (a->texts != b->texts)
		return a->texts < b->texts ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

/* Terms of the query that any text has, in the order of reading; returns how many. */
static int
order_terms(Search *search, int row)
{
	const BrSparse *queries = search->queries;
	const BrSparse *index = &search->index;
	double rest = 0;
	int n = 0;

	for (int64_t i = queries->starts[row]; i < queries->starts[row + 1]; i++)
	{
		int32_t id = queries->ids[i];
		int64_t texts = index->starts[id + 1] - index->starts[id];

		search->query[id] = (double) br_learn_value(queries, i);
		if (texts > 0 && search->query[id] > 0)
			search->terms[n++] = (Term){id, texts, search->query[id], 0};
	}
	if (n > 0)
		qsort(search->terms, (size_t) n, sizeof(Term), compare_terms);
	for (int i = n - 1; i >= 0; i--)
	{
		rest += search->terms[i].weight * (double) search->largest[search->terms[i].id];
		search->terms[i].rest = rest;
	}
	return n;
}

static void
add_term(Search *search, const Term *term)
{
	const BrSparse *index = &search->index;

	for (int64_t i = index->starts[term->id]; i < index->starts[term->id + 1]; i++)
	{
		int32_t text = index->ids[i];
		double share = term->weight * (double) br_learn_value(index, i);

		if (share > 0)
		{
			if (search->sums[text] == 0)
				search->met[search->n_met++] = text;
			search->sums[text] += share;
		}
	}
}

static void
sift_down(double *heap, int n, double moving)
{
	int at = 0;

	for (;;)
	{
		int child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && heap[child + 1] < heap[child])
			child++;
		if (heap[child] >= moving)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = moving;
}

/* What a text must reach: the depth-th of the sums so far, or what is listed at all. */
static double
entrance(Search *search, int self)
{
	int depth = search->options->depth;
	int n = 0;

	if (search->n_met - (self >= 0) < depth)
		return (double) search->options->least;
	/* -1 is below all sums */
	for (int i = 0; i < depth; i++)
		search->strongest[i] = -1;
	for (int i = 0; i < search->n_met; i++)
	{
		double sum = search->sums[search->met[i]];

		if (search->met[i] != self && sum > search->strongest[0])
		{
			sift_down(search->strongest, depth, sum);
			n++;
		}
	}
	return n >= depth && search->strongest[0] > (double) search->options->least
		? search->strongest[0]
		: (double) search->options->least;
}

static double
product(const Search *search, int32_t text)
{
	const BrSparse *texts = search->texts;
	double sum = 0;

	for (int64_t i = texts->starts[text]; i < texts->starts[text + 1]; i++)
		sum += search->query[texts->ids[i]] * (double) br_learn_value(texts, i);
	return sum;
}

/* Scores those met that can still enter, and forgets all sums; returns how many were scored. */
static int
score_met(Search *search, double rest, double needed, int64_t *steps)
{
	int kept = 0;

	for (int i = 0; i < search->n_met; i++)
	{
		int32_t text = search->met[i];
		double most = search->sums[text] + rest;

		search->sums[text] = 0;
		if (most * (1 + SPARE) < needed)
			continue;
		search->met[kept] = text;
		search->products[kept++] = (float) product(search, text);
		*steps += search->texts->starts[text + 1] - search->texts->starts[text];
	}
	return kept;
}

static BrStatus
answer(Search *search, int row)
{
	int self = search->options->same ? row : -1;
	int n = order_terms(search, row);
	double rest = 0;
	double needed = (double) search->options->least;
	int64_t steps = 100;
	int kept;
	BrStatus status = BR_OK;

	search->n_met = 0;
	for (int i = 0; i < n && status == BR_OK; i++)
	{
		const Term *term = &search->terms[i];

		rest = term->rest;
		/* reading a list costs about as much as looking through those met */
		if (term->texts > search->n_met)
			needed = entrance(search, self);
		if (rest * (1 + SPARE) < needed)
			break;
		add_term(search, term);
		rest = i + 1 < n ? search->terms[i + 1].rest : 0;
		status = check_cancelled(search, term->texts);
	}
	needed = entrance(search, self);
	kept = score_met(search, rest, needed, &steps);
	if (status == BR_OK)
		status = br_learn_lists_add_some(search->builder, search->met, search->products, kept, self,
										 search->options->least);
	for (int64_t i = search->queries->starts[row]; i < search->queries->starts[row + 1]; i++)
		search->query[search->queries->ids[i]] = 0;
	return status == BR_OK ? check_cancelled(search, steps + search->n_met) : status;
}

static BrStatus
prepare(Search *search)
{
	BrContext *context = search->context;
	size_t terms = (size_t) search->texts->columns;
	size_t texts = (size_t) search->texts->rows;
	int64_t longest = 0;
	BrStatus status = br_learn_sparse_transpose(context, search->texts, &search->index);

	if (status != BR_OK)
		return status;
	for (int row = 0; row < search->queries->rows; row++)
		if (search->queries->starts[row + 1] - search->queries->starts[row] > longest)
			longest = search->queries->starts[row + 1] - search->queries->starts[row];
	search->largest = br_base_alloc_array(context, terms, sizeof(float));
	search->query = br_base_alloc_array(context, terms, sizeof(double));
	search->sums = br_base_alloc_array(context, texts, sizeof(double));
	search->met = br_base_alloc_array(context, texts, sizeof(int32_t));
	search->products = br_base_alloc_array(context, texts, sizeof(float));
	search->strongest =
		br_base_alloc_array(context, (size_t) search->options->depth, sizeof(double));
	search->terms = br_base_alloc_array(context, (size_t) longest, sizeof(Term));
	if (search->largest == NULL || search->query == NULL || search->sums == NULL ||
		search->met == NULL || search->products == NULL || search->strongest == NULL ||
		search->terms == NULL)
		return BR_ERR_MEMORY;
	for (int64_t i = 0; i < br_learn_entries(search->texts); i++)
	{
		if (i % ENTRIES_A_GLANCE == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		if (br_learn_value(search->texts, i) > search->largest[search->texts->ids[i]])
			search->largest[search->texts->ids[i]] = br_learn_value(search->texts, i);
	}
	return br_learn_lists_begin(context, search->queries->rows, search->options->depth,
								&search->builder);
}

static void
release(Search *search)
{
	br_learn_sparse_free(search->context, &search->index);
	br_base_free(search->context, search->largest);
	br_base_free(search->context, search->query);
	br_base_free(search->context, search->sums);
	br_base_free(search->context, search->met);
	br_base_free(search->context, search->products);
	br_base_free(search->context, search->strongest);
	br_base_free(search->context, search->terms);
}

static BrStatus
check_weights(BrContext *context, const BrSparse *matrix)
{
	BrStatus status = br_learn_sparse_check(context, matrix);

	if (status != BR_OK)
		return status;
	for (int64_t i = 0; i < br_learn_entries(matrix); i++)
	{
		if (i % ENTRIES_A_GLANCE == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		if (br_learn_value(matrix, i) < 0)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Term %d weighs %g in a text; weights must be 0 or more.",
								matrix->ids[i], (double) br_learn_value(matrix, i));
	}
	return BR_OK;
}

BrStatus
br_learn_lexical_lists(BrContext *context, const BrSparse *queries, const BrSparse *texts,
					   const BrLexicalSearch *options, BrLists *lists)
{
	Search search = {.context = context, .queries = queries, .texts = texts, .options = options};
	BrStatus status;

	memset(lists, 0, sizeof(*lists));
	status = check_weights(context, texts);
	if (status == BR_OK)
		status = check_weights(context, queries);
	if (status != BR_OK)
		return status;
	if (queries->columns != texts->columns || (options->same && queries->rows != texts->rows))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Queries (%d by %d) do not go with texts (%d by %d).", queries->rows,
							queries->columns, texts->rows, texts->columns);
	if (options->depth < 1 || !(options->least >= 0 && isfinite(options->least)))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Lists need a depth of 1 or more and a least weight of 0 or more, but "
							"got %d and %g.",
							options->depth, (double) options->least);
	status = prepare(&search);
	for (int row = 0; row < queries->rows && status == BR_OK; row++)
	{
		status = answer(&search, row);
		if (row % 1024 == 0)
			br_learn_report(options->progress, row, queries->rows);
	}
	if (status == BR_OK)
	{
		br_learn_report(options->progress, queries->rows, queries->rows);
		status = br_learn_lists_end(search.builder, lists);
	}
	else
		br_learn_lists_abandon(search.builder);
	release(&search);
	return status;
}
