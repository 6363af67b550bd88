/*
 * learn_factors.c
 *	  Learners that give every item a vector: of who wanted it, or of its text.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "core/math/br_math.h"
#include "pg/learn/kinds.h"

static const char no_users[] =
	"Fewer than two users or baskets wanted two items, as of the last refresh.";

/* Who wants what: users where any wants two things, else baskets. */
static const BrSparse *
wants(BrPgTraining *training)
{
	const BrSparse *users = br_pg_training_user_items(training);

	return br_pg_count_sets(users) >= 2 ? users : br_pg_training_sets(training);
}

/* nearest items by the angle between their vectors */
static void
list_factors(const BrFactors *factors, int depth, BrPgLearned *learned)
{
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_factor_lists(&context, factors, depth, 0, br_pg_progress_report(),
									  &learned->lists),
				&context, "could not list the nearest factors", NULL);
}

/*
 * Weights of an item's equations add up to 1 + alpha for each who wanted it, so
 * that what damps them little or much depends on how many did: this is a twentieth
 * of the mean over items that somebody wanted.
 */
static double
usual_damping(const BrSparse *matrix, double alpha)
{
	bool *wanted = palloc0(Max(matrix->columns, 1));
	int64 entries = matrix->starts[matrix->rows];
	int columns = 0;

	for (int64 i = 0; i < entries; i++)
	{
		columns += !wanted[matrix->ids[i]];
		wanted[matrix->ids[i]] = true;
	}
	pfree(wanted);
	return 0.05 * (1 + alpha) * (double) entries / Max(columns, 1);
}

const char *
br_pg_fit_als(BrPgTraining *training, BrPgLearned *learned)
{
	const BrSparse *matrix = wants(training);
	double *lambda = &learned->parameters[BR_PG_ALS_LAMBDA];
	BrAlsOptions options = {.factors = (int) learned->parameters[BR_PG_ALS_FACTORS],
							.alpha = learned->parameters[BR_PG_ALS_ALPHA],
							.iterations = (int) learned->parameters[BR_PG_ALS_ITERATIONS],
							.solver = learned->parameters[BR_PG_ALS_EXACT] != 0 ? BR_ALS_CHOLESKY
																				: BR_ALS_CG,
							.seed = (uint64) learned->parameters[BR_PG_ALS_SEED],
							.pool = br_pg_session_pool(),
							.progress = br_pg_progress_report()};
	BrContext context;
	BrFactors factors;

	if (br_pg_count_sets(matrix) < 2)
		return no_users;
	if (*lambda == 0)
		*lambda = usual_damping(matrix, options.alpha);
	options.lambda = *lambda;
	br_pg_add_matrix_figures(learned, matrix);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_als(&context, matrix, &options, &factors), &context,
				"could not factorise who wants what", NULL);
	learned->dims = factors.dims;
	learned->vectors = factors.column;
	learned->n_weights = (int) BR_MATH_PACKED(factors.dims);
	learned->weights = palloc(sizeof(double) * learned->n_weights);
	br_pg_check(br_learn_als_gram(&context, factors.column, factors.columns, factors.dims,
								  learned->weights),
				&context, "could not factorise who wants what", NULL);
	list_factors(&factors, (int) learned->parameters[BR_PG_ALS_DEPTH], learned);
	return NULL;
}

const char *
br_pg_fit_bpr(BrPgTraining *training, BrPgLearned *learned)
{
	const BrSparse *matrix = wants(training);
	BrBprOptions options = {.factors = (int) learned->parameters[BR_PG_BPR_FACTORS],
							.learning_rate = learned->parameters[BR_PG_BPR_RATE],
							.lambda = learned->parameters[BR_PG_BPR_LAMBDA],
							.epochs = (int) learned->parameters[BR_PG_BPR_EPOCHS],
							.seed = (uint64) learned->parameters[BR_PG_BPR_SEED],
							.progress = br_pg_progress_report()};
	BrContext context;
	BrFactors factors;

	if (br_pg_count_sets(matrix) < 2)
		return no_users;
	br_pg_add_matrix_figures(learned, matrix);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_bpr(&context, matrix, &options, &factors), &context,
				"could not learn to rank who wants what",
				"A lower \"learning_rate\" keeps vectors from growing.");
	learned->dims = factors.dims;
	learned->vectors = factors.column;
	list_factors(&factors, (int) learned->parameters[BR_PG_BPR_DEPTH], learned);
	return NULL;
}

/* ---- complements ---- */

#define MOST_PAIRS 100000

/* ordered pairs of every so many-th set */
static int64
count_pairs(const BrSparse *sets, int64 stride)
{
	int64 n = 0;

	for (int64 row = 0; row < sets->rows; row += stride)
	{
		int64 size = sets->starts[row + 1] - sets->starts[row];

		n += size <= br_pg_max_basket_items ? size * (size - 1) : 0;
	}
	return n;
}

/*
 * Ordered pairs of sets, each set weighing as much as it has things; of very many
 * sets every so many-th: two maps of vectors need no more.
 */
static BrComplementPair *
pairs_of(const BrSparse *sets, int64 *n)
{
	int64 stride = Max(1, count_pairs(sets, 1) / MOST_PAIRS);
	BrComplementPair *pairs =
		palloc_extended(sizeof(BrComplementPair) * Max(count_pairs(sets, stride), 1),
						MCXT_ALLOC_HUGE);

	*n = 0;
	for (int64 row = 0; row < sets->rows; row += stride)
	{
		const int32_t *ids = sets->ids + sets->starts[row];
		int64 size = sets->starts[row + 1] - sets->starts[row];

		if (size > br_pg_max_basket_items)
			continue;
		for (int64 i = 0; i < size; i++)
			for (int64 j = 0; j < size; j++)
				if (i != j)
					pairs[(*n)++] = (BrComplementPair){ids[i], ids[j], 1.0f / (float) (size - 1)};
	}
	return pairs;
}

const char *
br_pg_fit_complement(BrPgTraining *training, BrPgLearned *learned)
{
	const BrPgLearnData *data = training->data;
	const BrSparse *sets = br_pg_training_sets(training);
	BrComplementItems items = {.n = data->n_items,
							   .dims = data->dims,
							   .embeddings = br_pg_training_embeddings(training)};
	int32_t *category = palloc(sizeof(int32_t) * Max(data->n_items, 1));
	BrComplementOptions options;
	BrComplementPair *pairs;
	BrComplement complement;
	BrContext context;
	int64 n;

	if (items.embeddings == NULL)
		return "The catalog has no model, or refresh has embedded none of its texts.";
	pairs = pairs_of(sets, &n);
	if (n < BR_PG_LEAST_PAIRS)
		return psprintf("Only %lld pairs of items were wanted together; %d are needed.",
						(long long) n, BR_PG_LEAST_PAIRS);
	for (int i = 0; i < data->n_items; i++)
		category[i] = data->items[i].category;
	/* a table of all pairs of categories must stay small */
	if (data->n_categories > 0 && data->n_categories <= BR_PG_MOST_CATEGORIES)
	{
		items.category = category;
		items.categories = data->n_categories;
	}
	br_learn_complement_defaults(&options);
	options.rank = Min((int) learned->parameters[BR_PG_COMPLEMENT_RANK], data->dims);
	options.penalty = learned->parameters[BR_PG_COMPLEMENT_L2];
	options.epochs = (int) learned->parameters[BR_PG_COMPLEMENT_EPOCHS];
	options.seed = (uint64) learned->parameters[BR_PG_COMPLEMENT_SEED];
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_complement(&context, &items, pairs, n, br_pg_training_content(training),
									&options, br_pg_progress_report(), &complement),
				&context, "could not learn complements", NULL);
	br_pg_check(br_learn_complement_lists(&context, br_pg_session_backend(), &complement, &items,
										  (int) learned->parameters[BR_PG_COMPLEMENT_DEPTH],
										  &learned->lists),
				&context, "could not list complements", NULL);
	br_pg_add_figure(learned, "pairs", (double) n);
	br_pg_add_figure(learned, "epoch", complement.epoch);
	return NULL;
}
