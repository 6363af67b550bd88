/*
 * board.c
 *	  Ranks of hidden things, method by method, and what they come to.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"

#include "core/eval/br_eval.h"
#include "core/math/br_math.h"
#include "pg/harness/board.h"

/* what methods recommend is counted over so many first places */
#define SHOWN 10

/* What a method did in one case. */
typedef struct Outcome
{
	float above; /* scores above that of the hidden thing */
	float equal; /* equal to it, itself among them */
	float shown_popularity;
} Outcome;

typedef struct Method
{
	const char *name;
	const char *metric; /* of values; NULL: it ranks */
	int64 n;
	int64 room;
	int64 *cases; /* (n), ascending: a method may lack those of a seed that it could not learn of */
	Outcome *outcomes; /* (n) */
	double *values;	   /* (n), of a method that gives values */
	double *exposure;  /* (things): how often each was among the first */
} Method;

struct BrPgBoard
{
	int n_k;
	int k[BR_PG_BOARD_CUTOFFS];
	int64 cases;
	int64 room;
	bool macro;
	int seed;
	int32 *clusters; /* (cases) */
	int *seeds;		 /* (cases) */
	int n_methods;
	Method methods[BR_PG_BOARD_METHODS];
	int things;

	/* of the present case */
	int hidden;
	const bool *left_out;
	const float *popularity;
	MemoryContext memory;
};

BrPgBoard *
br_pg_board_create(const int *k, int n_k, bool macro)
{
	BrPgBoard *board = palloc0(sizeof(BrPgBoard));

	board->memory = CurrentMemoryContext;
	board->n_k = n_k;
	memcpy(board->k, k, sizeof(int) * n_k);
	board->room = 1024;
	board->macro = macro;
	board->clusters = palloc(sizeof(int32) * board->room);
	board->seeds = palloc(sizeof(int) * board->room);
	return board;
}

void
br_pg_board_begin_seed(BrPgBoard *board)
{
	board->seed++;
}

int64
br_pg_board_cases(const BrPgBoard *board)
{
	return board->cases;
}

void
br_pg_board_begin_case(BrPgBoard *board, int32 cluster, int hidden, int n, const bool *left_out,
					   const float *popularity)
{
	if (board->cases == board->room)
	{
		board->room *= 2;
		board->clusters = repalloc_huge(board->clusters, sizeof(int32) * board->room);
		board->seeds = repalloc_huge(board->seeds, sizeof(int) * board->room);
	}
	board->seeds[board->cases] = board->seed;
	board->clusters[board->cases++] = cluster;
	board->things = n;
	board->hidden = hidden;
	board->left_out = left_out;
	board->popularity = popularity;
}

static Method *
find_method(BrPgBoard *board, const char *name, const char *metric)
{
	Method *method;

	for (int i = 0; i < board->n_methods; i++)
		if (strcmp(board->methods[i].name, name) == 0 &&
			(metric == NULL || strcmp(board->methods[i].metric, metric) == 0))
			return &board->methods[i];
	if (board->n_methods == BR_PG_BOARD_METHODS)
		elog(ERROR, "more than %d methods are compared", BR_PG_BOARD_METHODS);
	method = &board->methods[board->n_methods++];
	method->name = MemoryContextStrdup(board->memory, name);
	method->metric = metric;
	method->room = 1024;
	method->cases = MemoryContextAlloc(board->memory, sizeof(int64) * method->room);
	if (metric != NULL)
		method->values = MemoryContextAlloc(board->memory, sizeof(double) * method->room);
	else
	{
		method->outcomes = MemoryContextAlloc(board->memory, sizeof(Outcome) * method->room);
		method->exposure =
			MemoryContextAllocExtended(board->memory, sizeof(double) * Max(board->things, 1),
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	}
	return method;
}

/* the place of what the method did in the present case */
static int64
add_case(const BrPgBoard *board, Method *method)
{
	if (method->n == method->room)
	{
		method->room *= 2;
		method->cases = repalloc_huge(method->cases, sizeof(int64) * method->room);
		if (method->values != NULL)
			method->values = repalloc_huge(method->values, sizeof(double) * method->room);
		else
			method->outcomes = repalloc_huge(method->outcomes, sizeof(Outcome) * method->room);
	}
	method->cases[method->n] = board->cases - 1;
	return method->n++;
}

/* adds the first places to what the method showed; returns their mean popularity */
static float
show(const BrPgBoard *board, Method *method, const float *scores)
{
	int best[SHOWN];
	int n = 0;
	double sum = 0;

	for (int i = 0; i < board->things; i++)
	{
		int at;

		if (board->left_out[i] && i != board->hidden)
			continue;
		if (n == SHOWN && scores[i] <= scores[best[n - 1]])
			continue;
		for (at = Min(n, SHOWN - 1); at > 0 && scores[best[at - 1]] < scores[i]; at--)
			best[at] = best[at - 1];
		best[at] = i;
		n = Min(n + 1, SHOWN);
	}
	for (int i = 0; i < n; i++)
	{
		method->exposure[best[i]]++;
		sum += board->popularity == NULL ? 0 : board->popularity[best[i]];
	}
	return n > 0 ? (float) (sum / n) : 0;
}

void
br_pg_board_score(BrPgBoard *board, const char *name, const float *scores)
{
	Method *method = find_method(board, name, NULL);
	float own = scores[board->hidden];
	Outcome outcome = {0, 1, 0};
	int64 place;

	for (int i = 0; i < board->things; i++)
	{
		if (i == board->hidden || board->left_out[i])
			continue;
		outcome.above += scores[i] > own;
		outcome.equal += scores[i] == own;
	}
	outcome.shown_popularity = show(board, method, scores);
	place = add_case(board, method);
	method->outcomes[place] = outcome;
}

void
br_pg_board_value(BrPgBoard *board, const char *name, const char *metric, double value)
{
	Method *method = find_method(board, name, metric);
	int64 place;

	place = add_case(board, method);
	method->values[place] = value;
}

/* ---- figures ---- */

typedef enum Metric
{
	HIT_RATE,
	NDCG,
	RECIPROCAL_RANK,
	POPULARITY,
	VALUE
} Metric;

static double
outcome_of(const Method *method, int64 i, Metric metric, int k)
{
	const Outcome *outcome = &method->outcomes[i];
	double hit, rank;

	if (metric == VALUE)
		return method->values[i];
	hit = fmin(fmax((k - outcome->above) / outcome->equal, 0), 1);
	rank = outcome->above + (outcome->equal + 1.0) / 2;
	switch (metric)
	{
		case HIT_RATE:
			return hit;
		case NDCG:
			return hit > 0 ? hit * br_math_log(2.0) / br_math_log(1 + fmin(rank, k)) : 0;
		case RECIPROCAL_RANK:
			return 1 / rank;
		default:
			return outcome->shown_popularity;
	}
}

/* makes what a cluster did in a seed one case: its mean */
static void
average_clusters(double *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		double *entry = entries + i * BR_EVAL_TALLY_ENTRY;

		entry[3] /= entry[2];
		entry[2] = 1;
		entry[1] = 0;
	}
}

/* entries of all cases that a method has, or that both have; returns how many */
static size_t
list_outcomes(const BrPgBoard *board, const Method *method, const Method *less, Metric metric,
			  int k, double *entries)
{
	size_t n = 0;
	int64 other = 0;

	for (int64 i = 0; i < method->n; i++)
	{
		int64 at = method->cases[i];
		double *entry = entries + n * BR_EVAL_TALLY_ENTRY;

		while (less != NULL && other < less->n && less->cases[other] < at)
			other++;
		if (less != NULL && (other == less->n || less->cases[other] != at))
			continue;
		entry[0] = board->clusters[at];
		entry[1] = board->macro ? board->seeds[at] : 0;
		entry[2] = 1;
		entry[3] = outcome_of(method, i, metric, k) -
			(less == NULL ? 0 : outcome_of(less, other, metric, k));
		n++;
	}
	return n;
}

/* mean of a method's outcomes less those of another, if there is one, clustered */
static void
mean_of(const BrPgBoard *board, const Method *method, const Method *less, Metric metric, int k,
		double *mean, double *error)
{
	double *entries =
		palloc_extended(sizeof(double) * BR_EVAL_TALLY_ENTRY * Max((Size) method->n, 1),
						MCXT_ALLOC_HUGE);
	size_t rows = list_outcomes(board, method, less, metric, k, entries);
	BrContext context;
	double count;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_eval_tally_compact(&context, entries, &rows), &context,
				"could not average what the methods did", NULL);
	if (board->macro)
	{
		average_clusters(entries, rows);
		br_pg_check(br_eval_tally_compact(&context, entries, &rows), &context,
					"could not average what the methods did", NULL);
	}
	br_eval_clustered_mean(entries, rows, mean, error, &count);
	pfree(entries);
}

typedef struct Writing
{
	const BrPgBoard *board;
	BrPgFigure *figures;
	int n;
} Writing;

static void
write_mean(Writing *writing, const Method *method, const Method *baseline, const char *name,
		   Metric metric, int k)
{
	BrPgFigure *figure = &writing->figures[writing->n++];

	*figure = (BrPgFigure){.method = method->name,
						   .metric = name,
						   .k = k,
						   .cases = method->n,
						   .difference = NAN,
						   .difference_error = NAN};
	mean_of(writing->board, method, NULL, metric, k, &figure->value, &figure->error);
	if (baseline != NULL && baseline != method)
		mean_of(writing->board, method, baseline, metric, k, &figure->difference,
				&figure->difference_error);
}

static int
compare_numbers(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return a < b ? -1 : a > b;
}

/* share of things that were shown at all, and how unevenly they were */
static void
write_exposure(Writing *writing, const Method *method)
{
	int n = writing->board->things;
	double *sorted = palloc_extended(sizeof(double) * Max(n, 1), MCXT_ALLOC_HUGE);
	double *ones = palloc_extended(sizeof(double) * Max(n, 1), MCXT_ALLOC_HUGE);
	double shown = 0;

	for (int i = 0; i < n; i++)
	{
		sorted[i] = method->exposure[i];
		ones[i] = 1;
		shown += sorted[i] > 0;
	}
	qsort(sorted, n, sizeof(double), compare_numbers);
	writing->figures[writing->n++] =
		(BrPgFigure){method->name, "coverage", SHOWN, shown / Max(n, 1), NAN, method->n, NAN, NAN};
	writing->figures[writing->n++] =
		(BrPgFigure){method->name, "gini",	  SHOWN, br_eval_gini(sorted, ones, (size_t) n, 1, 0),
					 NAN,		   method->n, NAN,	 NAN};
	pfree(sorted);
	pfree(ones);
}

static void
write_method(Writing *writing, const Method *method, const Method *baseline)
{
	if (method->metric != NULL)
	{
		write_mean(writing, method, baseline, method->metric, VALUE, 0);
		return;
	}
	for (int i = 0; i < writing->board->n_k; i++)
		write_mean(writing, method, baseline, "hit_rate", HIT_RATE, writing->board->k[i]);
	for (int i = 0; i < writing->board->n_k; i++)
		write_mean(writing, method, baseline, "ndcg", NDCG, writing->board->k[i]);
	write_mean(writing, method, baseline, "mrr", RECIPROCAL_RANK, 0);
	if (writing->board->popularity != NULL)
		write_mean(writing, method, baseline, "popularity", POPULARITY, SHOWN);
	write_exposure(writing, method);
}

static const Method *
find_baseline(const BrPgBoard *board, const char *name, const char *metric)
{
	for (int i = 0; name != NULL && i < board->n_methods; i++)
		if (strcmp(board->methods[i].name, name) == 0 &&
			(metric == NULL || strcmp(board->methods[i].metric, metric) == 0))
			return &board->methods[i];
	return NULL;
}

bool
br_pg_board_has_method(const BrPgBoard *board, const char *method)
{
	return find_baseline(board, method, NULL) != NULL;
}

const char *
br_pg_board_list_methods(const BrPgBoard *board)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < board->n_methods; i++)
		if (i == 0 || strcmp(board->methods[i].name, board->methods[i - 1].name) != 0)
			appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", board->methods[i].name);
	return list.data;
}

BrPgFigure *
br_pg_board_figures(const BrPgBoard *board, const char *baseline, int *n)
{
	Writing writing = {.board = board};

	writing.figures =
		palloc(sizeof(BrPgFigure) * (Size) board->n_methods * (2 * BR_PG_BOARD_CUTOFFS + 4));
	for (int i = 0; i < board->n_methods; i++)
		write_method(&writing, &board->methods[i],
					 find_baseline(board, baseline, board->methods[i].metric));
	*n = writing.n;
	return writing.figures;
}
