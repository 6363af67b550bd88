/*
 * learn_factors.c
 *	  Learners that give every item a vector: of who wanted it, or of its text.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

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
	br_pg_check(br_learn_factor_lists(&context, factors, depth, br_pg_learning_backend(),
									  br_pg_progress_report(), &learned->lists),
				&context, "could not list the nearest factors", NULL);
}

const char *
br_pg_fit_als(BrPgTraining *training, BrPgLearned *learned)
{
	const BrSparse *matrix = wants(training);
	BrAlsOptions options = {.factors = (int) learned->parameters[BR_PG_ALS_FACTORS],
							.lambda = learned->parameters[BR_PG_ALS_LAMBDA],
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
