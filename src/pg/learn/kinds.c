/*
 * kinds.c
 *	  The learners by name: what each reads, takes, and needs.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/learn/kinds.h"

typedef struct Kind
{
	const char *name;
	int reads; /* besides events: bits of data.h */
	const BrPgParameter *parameters;
	const char *(*fit)(BrPgTraining *training, BrPgLearned *learned);
} Kind;

static const BrPgParameter none[] = {{NULL}};

static const BrPgParameter popularity_parameters[] = {
	[BR_PG_POPULARITY_HALF_LIFE] = {"half_life", 30, 0.001, 100000, false},
	{NULL},
};

static const BrPgParameter association_parameters[] = {
	[BR_PG_ASSOCIATION_L2] = {"l2", 0.3, 1e-6, 1e6, false},
	[BR_PG_ASSOCIATION_ITERATIONS] = {"iterations", 100, 1, 10000, true},
	[BR_PG_ASSOCIATION_DEPTH] = {"depth", 200, 1, 10000, true},
	{NULL},
};

static const BrPgParameter ease_parameters[] = {
	[BR_PG_EASE_LAMBDA] = {"lambda", 200, 1e-3, 1e9, false},
	[BR_PG_EASE_DEPTH] = {"depth", 200, 1, 10000, true},
	[BR_PG_EASE_DENSE] = {"dense", 0, 0, 1, true},
	[BR_PG_EASE_NEIGHBOURS] = {"neighbours", 100, 1, 2000, true},
	[BR_PG_EASE_SIDE_WEIGHT] = {"side_weight", 1, 0, 1e6, false},
	{NULL},
};

static const BrPgParameter bundle_ease_parameters[] = {
	[BR_PG_EASE_LAMBDA] = {"lambda", 100, 1e-3, 1e9, false},
	[BR_PG_EASE_DEPTH] = {"depth", 1000, 1, 10000, true},
	[BR_PG_EASE_DENSE] = {"dense", 0, 0, 1, true},
	[BR_PG_EASE_NEIGHBOURS] = {"neighbours", 100, 1, 2000, true},
	[BR_PG_EASE_SIDE_WEIGHT] = {"side_weight", 10, 0, 1e6, false},
	{NULL},
};

static const BrPgParameter als_parameters[] = {
	[BR_PG_ALS_FACTORS] = {"factors", 64, 1, 512, true},
	[BR_PG_ALS_LAMBDA] = {"lambda", 0, 0, 1e9, false},
	[BR_PG_ALS_ALPHA] = {"alpha", 20, 1e-3, 1e6, false},
	[BR_PG_ALS_ITERATIONS] = {"iterations", 15, 1, 1000, true},
	[BR_PG_ALS_EXACT] = {"exact", 0, 0, 1, true},
	[BR_PG_ALS_DEPTH] = {"depth", 100, 1, 10000, true},
	[BR_PG_ALS_SEED] = {"seed", 1, 0, 2147483647, true},
	{NULL},
};

static const BrPgParameter bpr_parameters[] = {
	[BR_PG_BPR_FACTORS] = {"factors", 32, 1, 512, true},
	[BR_PG_BPR_LAMBDA] = {"lambda", 0.01, 0, 1e6, false},
	[BR_PG_BPR_RATE] = {"learning_rate", 0.05, 1e-6, 1, false},
	[BR_PG_BPR_EPOCHS] = {"epochs", 20, 1, 1000, true},
	[BR_PG_BPR_DEPTH] = {"depth", 100, 1, 10000, true},
	[BR_PG_BPR_SEED] = {"seed", 1, 0, 2147483647, true},
	{NULL},
};

static const BrPgParameter complement_parameters[] = {
	[BR_PG_COMPLEMENT_RANK] = {"rank", 64, 1, 128, true},
	[BR_PG_COMPLEMENT_L2] = {"l2", 1, 0, 1e9, false},
	[BR_PG_COMPLEMENT_EPOCHS] = {"epochs", 20, 1, 1000, true},
	[BR_PG_COMPLEMENT_DEPTH] = {"depth", 100, 1, 10000, true},
	[BR_PG_COMPLEMENT_SEED] = {"seed", 1, 0, 2147483647, true},
	{NULL},
};

static const BrPgParameter lexical_parameters[] = {
	[BR_PG_LEXICAL_SHRINKAGE] = {"shrinkage", 0.1, 1e-6, 1e6, false},
	[BR_PG_LEXICAL_PARTS] = {"parts", 0.5, 0, 1, false},
	[BR_PG_LEXICAL_DEPTH] = {"depth", 200, 1, 10000, true},
	{NULL},
};

static const BrPgParameter itemsets_parameters[] = {
	[BR_PG_ITEMSETS_SUPPORT] = {"support", 0.001, 0, 1e9, false},
	[BR_PG_ITEMSETS_SIZE] = {"size", 4, 2, 8, true},
	[BR_PG_ITEMSETS_LIMIT] = {"limit", 10000, 1, 1000000, true},
	{NULL},
};

static const BrPgParameter likeness_parameters[] = {
	[BR_PG_LIKENESS_WORDS] = {"words", 0.5, 0, 1, false},
	[BR_PG_LIKENESS_DEPTH] = {"depth", 100, 1, 10000, true},
	{NULL},
};

static const BrPgParameter graph_parameters[] = {
	[BR_PG_GRAPH_DIMS] = {"dims", 64, 8, 256, true},
	[BR_PG_GRAPH_LAYERS] = {"layers", 2, 1, 3, true},
	[BR_PG_GRAPH_EPOCHS] = {"epochs", 20, 1, 1000, true},
	[BR_PG_GRAPH_CONTRAST] = {"contrast", 0, 0, 10, false},
	[BR_PG_GRAPH_SEED] = {"seed", 1, 0, 2147483647, true},
	{NULL},
};

static const BrPgParameter detector_parameters[] = {
	[BR_PG_DETECTOR_L2] = {"l2", 0.1, 1e-9, 1e9, false},
	[BR_PG_DETECTOR_SESSIONS] = {"sessions", 5000, 20, 1000000, true},
	{NULL},
};

static const BrPgParameter ranker_parameters[] = {
	[BR_PG_RANKER_L2] = {"l2", 0.001, 1e-9, 1e6, false},
	[BR_PG_RANKER_CASES] = {"cases", 5000, 20, 100000, true},
	[BR_PG_RANKER_ROBUSTNESS] = {"robustness", 0.99, 0, 0.9999, false},
	{NULL},
};

/* what is taken explains most purchases of bundles: nothing has to be taken to be random */
static const BrPgParameter bundle_ranker_parameters[] = {
	[BR_PG_RANKER_L2] = {"l2", 0.001, 1e-9, 1e6, false},
	[BR_PG_RANKER_CASES] = {"cases", 5000, 20, 100000, true},
	[BR_PG_RANKER_ROBUSTNESS] = {"robustness", 0, 0, 0.9999, false},
	{NULL},
};

static const Kind kinds[BR_PG_N_KINDS] = {
	[BR_PG_KIND_POPULARITY] = {"popularity", 0, popularity_parameters, br_pg_fit_popularity},
	[BR_PG_KIND_ASSOCIATION] = {"association", 0, association_parameters, br_pg_fit_association},
	[BR_PG_KIND_EASE] = {"ease", 0, ease_parameters, br_pg_fit_ease},
	[BR_PG_KIND_ALS] = {"als", 0, als_parameters, br_pg_fit_als},
	[BR_PG_KIND_BPR] = {"bpr", 0, bpr_parameters, br_pg_fit_bpr},
	[BR_PG_KIND_COMPLEMENT] = {"complement", BR_PG_LEARN_EMBEDDINGS, complement_parameters,
							   br_pg_fit_complement},
	[BR_PG_KIND_LEXICAL] = {"lexical", BR_PG_LEARN_TEXTS, lexical_parameters, br_pg_fit_lexical},
	[BR_PG_KIND_ITEMSETS] = {"itemsets", 0, itemsets_parameters, br_pg_fit_itemsets},
	[BR_PG_KIND_BUNDLE_COMPANIONS] = {"bundle_companions", 0, none, br_pg_fit_bundle_companions},
	[BR_PG_KIND_BUNDLE_ASSOCIATION] = {"bundle_association", 0, association_parameters,
									   br_pg_fit_bundle_association},
	[BR_PG_KIND_BUNDLE_EASE] = {"bundle_ease", 0, bundle_ease_parameters, br_pg_fit_bundle_ease},
	[BR_PG_KIND_BUNDLE_LIKENESS] = {"bundle_likeness", BR_PG_LEARN_TEXTS, likeness_parameters,
									br_pg_fit_bundle_likeness},
	[BR_PG_KIND_BUNDLE_GRAPH] = {"bundle_graph", 0, graph_parameters, br_pg_fit_bundle_graph},
	[BR_PG_KIND_DETECTOR] = {"detector", BR_PG_LEARN_TEXTS | BR_PG_LEARN_EMBEDDINGS,
							 detector_parameters, br_pg_fit_detector},
	[BR_PG_KIND_RANKER] = {"ranker", BR_PG_LEARN_TEXTS | BR_PG_LEARN_EMBEDDINGS, ranker_parameters,
						   br_pg_fit_ranker},
	[BR_PG_KIND_BUNDLE_RANKER] = {"bundle_ranker", BR_PG_LEARN_TEXTS, bundle_ranker_parameters,
								  br_pg_fit_bundle_ranker},
};

const char *
br_pg_fit_kind_name(int number)
{
	return number >= 0 && number < BR_PG_N_KINDS ? kinds[number].name : NULL;
}

BrPgKindNumber
br_pg_kind_of(const char *name)
{
	for (int i = 0; i < BR_PG_N_KINDS; i++)
		if (strcmp(kinds[i].name, name) == 0)
			return (BrPgKindNumber) i;
	return BR_PG_N_KINDS;
}

const BrPgParameter *
br_pg_kind_parameters(BrPgKindNumber kind)
{
	return kinds[kind].parameters;
}

void
br_pg_read_fit_parameters(BrPgKindNumber kind, Jsonb *given, double *parameters)
{
	br_pg_read_parameters(kinds[kind].parameters, psprintf("\"%s\"", kinds[kind].name),
						  "{\"lambda\": 100}", given, parameters);
}

int
br_pg_kind_reads(BrPgKindNumber kind)
{
	return kinds[kind].reads;
}

const char *
br_pg_kind_fit(BrPgTraining *training, BrPgLearned *learned)
{
	return kinds[learned->kind].fit(training, learned);
}

Size
br_pg_fit_memory(void)
{
	return (Size) maintenance_work_mem * 1024;
}

const char *
br_pg_too_large(const BrContext *context)
{
	return psprintf("%s maintenance_work_mem is the limit.", context->detail);
}

void
br_pg_add_matrix_figures(BrPgLearned *learned, const BrSparse *matrix)
{
	int64 rows = 0;

	for (int row = 0; row < matrix->rows; row++)
		rows += matrix->starts[row + 1] > matrix->starts[row];
	br_pg_add_figure(learned, "rows", (double) rows);
	br_pg_add_figure(learned, "columns", matrix->columns);
	br_pg_add_figure(learned, "entries", (double) matrix->starts[matrix->rows]);
}

/* rows that hold something together */
int
br_pg_count_sets(const BrSparse *matrix)
{
	int n = 0;

	for (int row = 0; row < matrix->rows; row++)
		n += matrix->starts[row + 1] - matrix->starts[row] > 1;
	return n;
}
