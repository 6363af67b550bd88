/*
 * learn_sets.c
 *	  Items and categories that stand in many baskets together.
 *
 * A category is a further column of every basket that holds one of its items, so
 * that a set may say "pasta and something of Sauces" where no single sauce is
 * bought often enough.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/learn/kinds.h"

/* baskets with the categories of their items as further columns */
static BrSparse
with_categories(const BrPgLearnData *data, const BrSparse *sets)
{
	int64 n = sets->starts[sets->rows];
	BrEntry *entries = palloc_extended(sizeof(BrEntry) * Max(2 * n, 1), MCXT_ALLOC_HUGE);
	int64 kept = 0;
	BrSparse levels;
	BrContext context;

	for (int row = 0; row < sets->rows; row++)
		for (int64 i = sets->starts[row]; i < sets->starts[row + 1]; i++)
		{
			int32 category = data->items[sets->ids[i]].category;

			entries[kept++] = (BrEntry){row, sets->ids[i], 1};
			if (category >= 0)
				entries[kept++] = (BrEntry){row, data->n_items + category, 1};
		}
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_sparse_build(&context, entries, kept, sets->rows,
									  data->n_items + data->n_categories, &levels),
				&context, "could not arrange baskets", NULL);
	pfree(entries);
	return levels;
}

/* which columns are the category of which: (columns, columns) */
static BrSparse
ancestors_of(const BrPgLearnData *data)
{
	int columns = data->n_items + data->n_categories;
	BrSparse ancestors = {.rows = columns, .columns = columns};
	int64 n = 0;

	ancestors.starts = palloc_extended(sizeof(int64_t) * ((Size) columns + 1), MCXT_ALLOC_HUGE);
	ancestors.ids = palloc_extended(sizeof(int32_t) * Max(data->n_items, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < columns; i++)
	{
		ancestors.starts[i] = n;
		if (i < data->n_items && data->items[i].category >= 0)
			ancestors.ids[n++] = data->n_items + data->items[i].category;
	}
	ancestors.starts[columns] = n;
	return ancestors;
}

static void
take_sets(const BrItemsets *found, BrPgLearned *learned)
{
	learned->n_sets = (int) found->n;
	learned->sets = palloc_extended(sizeof(BrPgSet) * Max(found->n, 1), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < found->n; i++)
		learned->sets[i] = (BrPgSet){(int) (found->starts[i + 1] - found->starts[i]),
									 found->items + found->starts[i], found->support[i]};
}

/* baskets, and those that hold each item: what sets are compared with */
static void
count_items(const BrSparse *sets, BrPgLearned *learned)
{
	int64 *counts =
		palloc_extended(sizeof(int64) * Max(sets->columns, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	learned->bias = palloc_extended(sizeof(float) * Max(sets->columns, 1), MCXT_ALLOC_HUGE);
	learned->weights = palloc0(sizeof(double));
	learned->n_weights = 1;
	for (int row = 0; row < sets->rows; row++)
		learned->weights[0] += sets->starts[row + 1] > sets->starts[row];
	for (int64 i = 0; i < sets->starts[sets->rows]; i++)
		counts[sets->ids[i]]++;
	for (int i = 0; i < sets->columns; i++)
		learned->bias[i] = (float) counts[i];
	pfree(counts);
}

const char *
br_pg_fit_itemsets(BrPgTraining *training, BrPgLearned *learned)
{
	const BrPgLearnData *data = training->data;
	const BrSparse *sets = br_pg_training_sets(training);
	double support = learned->parameters[BR_PG_ITEMSETS_SUPPORT];
	int n_sets = br_pg_count_sets(sets);
	BrSparse levels, ancestors;
	BrItemsetOptions options = {.min_size = 2,
								.max_size = (int) learned->parameters[BR_PG_ITEMSETS_SIZE],
								.limit = (int64_t) learned->parameters[BR_PG_ITEMSETS_LIMIT],
								.memory_limit = br_pg_fit_memory(),
								.progress = br_pg_progress_report()};
	BrItemsets found;
	BrContext context;
	BrStatus status;

	if (n_sets < 2)
		return "Fewer than two baskets or users hold two items, as of the last refresh.";
	options.least_support = Max((int64) (support < 1 ? support * n_sets + 0.999999 : support), 2);
	levels = with_categories(data, sets);
	ancestors = ancestors_of(data);
	options.ancestors = &ancestors;
	br_pg_context(&context, CurrentMemoryContext);
	status = br_learn_itemsets(&context, &levels, &options, &found);
	if (status == BR_ERR_LIMIT)
		return br_pg_too_large(&context);
	br_pg_check(status, &context, "could not mine frequent sets", NULL);
	take_sets(&found, learned);
	count_items(sets, learned);
	br_pg_add_matrix_figures(learned, sets);
	br_pg_add_figure(learned, "least_support", (double) options.least_support);
	br_pg_add_figure(learned, "sets", (double) found.n);
	return NULL;
}
