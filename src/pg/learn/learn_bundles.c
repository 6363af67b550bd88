/*
 * learn_bundles.c
 *	  Learners of curated bundles, from who bought which as a whole and from what
 *	  is in them.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "pg/learn/kinds.h"

/* lists of companions; catalogs rarely have more bundles than these */
#define DEPTH 1000

/*
 * Of ten settings that were tried on Steam these rank best; the published ones
 * need hundreds of epochs.
 */
#define GRAPH_RATE 0.005
#define GRAPH_PENALTY 1e-5

static const char nothing_bought[] =
	"Fewer than two users bought two curated bundles as a whole, as of the last refresh.";

const char *
br_pg_fit_bundle_companions(BrPgTraining *training, BrPgLearned *learned)
{
	const BrSparse *bought = br_pg_training_user_bundles(training);
	BrCompanionOptions options = {BR_COMPANION_CONFIDENCE, 0, DEPTH, Max(bought->columns, 2),
								  br_pg_progress_report()};
	BrContext context;

	if (br_pg_count_sets(bought) < 2)
		return nothing_bought;
	learned->of_bundles = true;
	br_pg_add_matrix_figures(learned, bought);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_companions(&context, bought, &options, &learned->lists), &context,
				"could not count which bundles share buyers", NULL);
	return NULL;
}

const char *
br_pg_fit_bundle_association(BrPgTraining *training, BrPgLearned *learned)
{
	const BrSparse *bought = br_pg_training_user_bundles(training);

	if (br_pg_count_sets(bought) < 2)
		return nothing_bought;
	if (bought->columns > BR_PG_MOST_ASSOCIATED)
		return psprintf("The catalog has %d bundles; every buyer is compared with all of them,"
						" which is done for up to %d.",
						bought->columns, BR_PG_MOST_ASSOCIATED);
	learned->of_bundles = true;
	br_pg_add_matrix_figures(learned, bought);
	return br_pg_fit_association_lists(bought, learned->parameters, learned);
}

/* What stands in a bundle as rows: bundles that share an item share a row. */
const char *
br_pg_fit_bundle_ease(BrPgTraining *training, BrPgLearned *learned)
{
	const BrSparse *bought = br_pg_training_user_bundles(training);
	BrSparse items;
	BrContext context;

	if (br_pg_count_sets(bought) < 2)
		return nothing_bought;
	learned->of_bundles = true;
	br_pg_add_matrix_figures(learned, bought);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_sparse_transpose(&context, &training->data->bundle_items, &items),
				&context, "could not arrange what is in bundles", NULL);
	items.values = NULL;
	br_pg_fit_ease_lists(bought, &items, learned->parameters, -INFINITY, learned);
	return NULL;
}

/*
 * A graph as lists: what the vector of somebody who has just one bundle says of
 * the others. Somebody who has several has the mean of theirs, but for the
 * lengths to which the views are scaled.
 */
static void
list_graph(const BrPgTraining *training, const BrGraph *graph, BrPgLearned *learned)
{
	const BrSparse *items = &training->data->bundle_items;
	float *user = palloc(sizeof(float) * graph->dims);
	float *scores = palloc(sizeof(float) * Max(graph->bundles, 1));
	BrListBuilder *builder;
	BrContext context;
	BrStatus status;

	br_pg_context(&context, CurrentMemoryContext);
	status = br_learn_lists_begin(&context, graph->bundles, DEPTH, &builder);
	for (int32 b = 0; status == BR_OK && b < graph->bundles; b++)
	{
		CHECK_FOR_INTERRUPTS();
		status =
			br_learn_graph_fold_user(&context, graph, NULL, &b, 1, items->ids + items->starts[b],
									 (int) (items->starts[b + 1] - items->starts[b]), user);
		for (int other = 0; status == BR_OK && other < graph->bundles; other++)
		{
			double sum = 0;

			for (int d = 0; d < graph->dims; d++)
				sum += user[d] * graph->bundle[(Size) other * graph->dims + d];
			scores[other] = (float) sum;
		}
		if (status == BR_OK)
			status = br_learn_lists_add(builder, scores, graph->bundles, b, -INFINITY);
	}
	if (status == BR_OK)
		status = br_learn_lists_end(builder, &learned->lists);
	br_pg_check(status, &context, "could not list what the graph says", NULL);
}

const char *
br_pg_fit_bundle_graph(BrPgTraining *training, BrPgLearned *learned)
{
	const BrSparse *bought = br_pg_training_user_bundles(training);
	BrGraphOptions options;
	BrContext context;
	BrGraph graph;

	if (br_pg_count_sets(bought) < 2)
		return nothing_bought;
	learned->of_bundles = true;
	br_pg_add_matrix_figures(learned, bought);
	br_learn_graph_defaults(&options);
	options.dims = (int) learned->parameters[BR_PG_GRAPH_DIMS] / 8 * 8;
	options.layers = (int) learned->parameters[BR_PG_GRAPH_LAYERS];
	options.epochs = (int) learned->parameters[BR_PG_GRAPH_EPOCHS];
	options.contrast = learned->parameters[BR_PG_GRAPH_CONTRAST];
	options.learning_rate = GRAPH_RATE;
	options.penalty = GRAPH_PENALTY;
	options.seed = (uint64) learned->parameters[BR_PG_GRAPH_SEED];
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_graph(&context, bought, NULL, &training->data->bundle_items, &options,
							   br_pg_progress_report(), &graph),
				&context, "could not learn of the graph of users, bundles and items", NULL);
	list_graph(training, &graph, learned);
	return NULL;
}
