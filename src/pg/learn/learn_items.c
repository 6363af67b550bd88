/*
 * learn_items.c
 *	  Learners of items from who wanted what together.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "core/math/br_math.h"
#include "pg/learn/kinds.h"

#define SECONDS_PER_DAY 86400.0
/* more columns than these are never held in a dense matrix */
#define MOST_DENSE 20000
/* items whose popularity is kept */
#define MOST_POPULAR 1000

static const char nothing_together[] =
	"Fewer than two baskets or users wanted two items together, as of the last refresh.";

/* ---- popularity that fades ---- */

static bool
is_taken(const BrPgTraining *training, int64 event)
{
	return (training->use == NULL || training->use[event]) &&
		training->data->events[event].strength > 0;
}

/*
 * Ages count from the latest event that is not yet to come: what fades by the
 * same factor everywhere changes no order, and of old events nothing would be
 * left. -INFINITY: no event says a time.
 */
static double
latest_of(const BrPgTraining *training)
{
	const BrPgLearnData *data = training->data;
	double latest = -INFINITY;

	for (int64 i = 0; i < data->n_events; i++)
		if (is_taken(training, i))
			latest = Max(latest, Min(data->events[i].at, data->now));
	return latest;
}

/* an event that says no time is as old as can be, unless none says any */
static double
faded(const BrPgLearnEvent *event, double half_life, double latest)
{
	if (!isfinite(latest))
		return 1;
	return br_math_exp(-br_math_log(2.0) * Max(latest - event->at, 0) /
					   (half_life * SECONDS_PER_DAY));
}

static int
compare_descending(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return a > b ? -1 : a < b;
}

/* a decision reads the whole list, so it holds only what is popular indeed */
static double
least_of_strongest(const double *sums, int n)
{
	double *sorted = palloc_extended(sizeof(double) * Max(n, 1), MCXT_ALLOC_HUGE);
	double least;

	memcpy(sorted, sums, sizeof(double) * n);
	qsort(sorted, n, sizeof(double), compare_descending);
	least = n > MOST_POPULAR ? sorted[MOST_POPULAR - 1] : 0;
	pfree(sorted);
	return Max(least, 1e-12);
}

const char *
br_pg_fit_popularity(BrPgTraining *training, BrPgLearned *learned)
{
	const BrPgLearnData *data = training->data;
	const BrSparse *bundles = br_pg_training_bundle_items(training);
	double half_life = learned->parameters[BR_PG_POPULARITY_HALF_LIFE];
	double latest = latest_of(training);
	double *sums = palloc0(sizeof(double) * Max(data->n_items, 1));
	double most = 0, least;

	for (int64 i = 0; i < data->n_events; i++)
	{
		const BrPgLearnEvent *event = &data->events[i];
		double weight;

		CHECK_FOR_INTERRUPTS();
		if (!is_taken(training, i))
			continue;
		weight = faded(event, half_life, latest) * Min(event->strength, 1);
		if (event->item >= 0)
			sums[event->item] += weight;
		else
			for (int64 j = bundles->starts[event->bundle]; j < bundles->starts[event->bundle + 1];
				 j++)
				sums[bundles->ids[j]] += weight;
	}
	for (int i = 0; i < data->n_items; i++)
		most = Max(most, sums[i]);
	if (most <= 0)
		return "Nothing was bought or looked at, as of the last refresh.";
	learned->bias = palloc_extended(sizeof(float) * Max(data->n_items, 1), MCXT_ALLOC_HUGE);
	least = least_of_strongest(sums, data->n_items);
	for (int i = 0; i < data->n_items; i++)
		learned->bias[i] =
			sums[i] < least ? 0 : (float) (br_math_log(1 + sums[i]) / br_math_log(1 + most));
	br_pg_add_figure(learned, "most", most);
	return NULL;
}

/* ---- EASE ---- */

void
br_pg_fit_ease_lists(const BrSparse *matrix, const BrSparse *extra, const double *parameters,
					 float least, BrPgLearned *learned)
{
	BrEaseOptions dense = {.lambda = parameters[BR_PG_EASE_LAMBDA],
						   .depth = (int) parameters[BR_PG_EASE_DEPTH],
						   .least = least,
						   .extra = extra,
						   .extra_weight = parameters[BR_PG_EASE_SIDE_WEIGHT],
						   .memory_limit = br_pg_fit_memory(),
						   .backend = br_pg_learning_backend(),
						   .progress = br_pg_progress_report()};
	BrEaseLocalOptions local = {.lambda = dense.lambda,
								.extra = extra,
								.extra_weight = dense.extra_weight,
								.neighbours = (int) parameters[BR_PG_EASE_NEIGHBOURS],
								.progress = dense.progress};
	bool fits = matrix->columns <= MOST_DENSE &&
		br_learn_ease_memory(matrix->columns) <= br_pg_fit_memory();
	BrSparse weights;
	BrContext context;
	BrStatus status;

	br_pg_context(&context, CurrentMemoryContext);
	if (fits || parameters[BR_PG_EASE_DENSE] != 0)
	{
		br_pg_check(br_learn_ease(&context, matrix, &dense, &learned->lists), &context,
					"could not fit EASE to all columns at once",
					"Raise maintenance_work_mem, or leave \"dense\" out.");
		br_pg_add_figure(learned, "dense", 1);
		return;
	}
	status = br_learn_ease_local(&context, matrix, NULL, 0, &local, &weights);
	if (status == BR_OK)
		status = br_learn_ease_lists(&context, &weights, dense.depth, least, &learned->lists);
	br_pg_check(status, &context, "could not fit EASE", NULL);
	br_pg_add_figure(learned, "dense", 0);
}

const char *
br_pg_fit_ease(BrPgTraining *training, BrPgLearned *learned)
{
	const BrSparse *sets = br_pg_training_sets(training);
	const BrSparse *bundles = br_pg_training_bundle_items(training);

	if (br_pg_count_sets(sets) < 2)
		return nothing_together;
	br_pg_add_matrix_figures(learned, sets);
	br_pg_fit_ease_lists(sets, bundles->rows > 0 ? bundles : NULL, learned->parameters, 0, learned);
	return NULL;
}

/* ---- associations ---- */

const char *
br_pg_fit_association_lists(const BrSparse *matrix, const double *parameters, BrPgLearned *learned)
{
	BrAssociationOptions options = {.l2 = parameters[BR_PG_ASSOCIATION_L2],
									.damping = BR_PG_ASSOCIATION_DAMPING,
									.row_damping = 1,
									.least_together = 1,
									.iterations = (int) parameters[BR_PG_ASSOCIATION_ITERATIONS],
									.depth = (int) parameters[BR_PG_ASSOCIATION_DEPTH],
									.memory_limit = br_pg_fit_memory(),
									.progress = br_pg_progress_report()};
	BrContext context;
	BrStatus status;

	br_pg_context(&context, CurrentMemoryContext);
	status = br_learn_association(&context, matrix, &options, &learned->lists, &learned->bias);
	if (status == BR_ERR_LIMIT)
		return br_pg_too_large(&context);
	br_pg_check(status, &context, "could not fit associations", NULL);
	return NULL;
}

const char *
br_pg_fit_association(BrPgTraining *training, BrPgLearned *learned)
{
	const BrSparse *sets = br_pg_training_sets(training);

	if (br_pg_count_sets(sets) < 2)
		return nothing_together;
	if (sets->columns > BR_PG_MOST_ASSOCIATED)
		return psprintf("The catalog has %d items; every basket is compared with all of them,"
						" which is done for up to %d.",
						sets->columns, BR_PG_MOST_ASSOCIATED);
	br_pg_add_matrix_figures(learned, sets);
	return br_pg_fit_association_lists(sets, learned->parameters, learned);
}
