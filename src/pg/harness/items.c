/*
 * items.c
 *	  Completion and next item: one item is hidden among all items of the catalog.
 *
 * Completion asks about sets: the curated bundles that test units bought whole
 * where there are any, else their baskets, else all that a user has. Of each the
 * hidden item is chosen by a hash. Next item asks for the latest of a user's
 * items, given those before.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "pg/harness/harness.h"
#include "pg/learn/kinds.h"
#include "pg/learn/rank.h"
#include "pg/learn/split.h"
#include "pg/learn/texts.h"

/* items before the hidden one that count, as in a decision */
#define HISTORY_ITEMS 20
/* sets with more items are no baskets that anybody could complete */
#define LARGEST_SET 200

/* What ranks the cases of one seed. */
typedef struct Ranking
{
	BrPgEvaluation *evaluation;
	const char *seed;
	BrPgModel *model;
	BrPgLearned *ranker; /* NULL: there is none */
	BrLists confidence;
	BrLists words;	 /* TF-IDF, nothing learned */
	float *features; /* (n_items, BR_FEATURE_COUNT) */
	float *scores;	 /* (n_items) */
	float *counts;	 /* (n_items): in training */
	bool *left_out;	 /* (n_items), all false between cases */
} Ranking;

/* ---- scoring ---- */

static void
score_column(Ranking *ranking, const char *method, int feature)
{
	int n = ranking->model->training->data->n_items;

	for (int i = 0; i < n; i++)
		ranking->scores[i] = ranking->features[(Size) i * BR_FEATURE_COUNT + feature];
	br_pg_board_score(ranking->evaluation->board, method, ranking->scores);
}

static void
score_mean(Ranking *ranking, const char *method, const BrLists *lists, const int32_t *context,
		   int n_context)
{
	int n = ranking->model->training->data->n_items;

	memset(ranking->scores, 0, sizeof(float) * n);
	for (int c = 0; c < n_context && lists->n > 0; c++)
		for (int64 i = lists->starts[context[c]]; i < lists->starts[context[c] + 1]; i++)
			ranking->scores[lists->ids[i]] += lists->weights[i] / (float) n_context;
	br_pg_board_score(ranking->evaluation->board, method, ranking->scores);
}

static void
score_ranker(Ranking *ranking)
{
	int n = ranking->model->training->data->n_items;

	for (int i = 0; i < n; i++)
		ranking->scores[i] =
			(float) br_learn_ranker_score(ranking->ranker->weights,
										  ranking->features + (Size) i * BR_FEATURE_COUNT,
										  BR_FEATURE_COUNT);
	br_pg_board_score(ranking->evaluation->board, "ranker", ranking->scores);
}

static void
rank_case(Ranking *ranking, int32 cluster, int hidden, const int32_t *context, int n)
{
	const BrPgModel *model = ranking->model;
	const BrPgLearnData *data = model->training->data;

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < n; i++)
		ranking->left_out[context[i]] = true;
	br_pg_board_begin_case(ranking->evaluation->board, cluster, hidden, data->n_items,
						   ranking->left_out, ranking->counts);
	br_pg_model_item_features(model, context, n, ranking->features);
	score_column(ranking, "popularity", BR_FEATURE_POPULARITY);
	score_mean(ranking, "confidence", &ranking->confidence, context, n);
	score_column(ranking, "copurchase", BR_FEATURE_COPURCHASE);
	if (ranking->words.n > 0)
		score_mean(ranking, "tf_idf", &ranking->words, context, n);
	if (data->embeddings != NULL)
		score_mean(ranking, "content", br_pg_training_content(model->training), context, n);
	for (int kind = BR_PG_KIND_ASSOCIATION; kind <= BR_PG_KIND_LEXICAL; kind++)
		if (model->learned[kind] != NULL && kind == BR_PG_KIND_ALS)
			score_column(ranking, br_pg_fit_kind_name(kind), BR_FEATURE_FACTOR);
		else if (model->learned[kind] != NULL)
		{
			br_pg_learned_scores(model->learned[kind], context, n, ranking->scores, data->n_items);
			br_pg_board_score(ranking->evaluation->board, br_pg_fit_kind_name(kind),
							  ranking->scores);
		}
	if (ranking->ranker != NULL)
		score_ranker(ranking);
	for (int i = 0; i < n; i++)
		ranking->left_out[context[i]] = false;
}

/* ---- cases ---- */

/* a set without the item that a hash of its name chooses */
static void
complete_set(Ranking *ranking, int32 cluster, const char *name, const int32_t *items, int n)
{
	int hidden = (int) (br_pg_md5_number(name, ranking->seed) % (uint32) n);
	int32_t *context = palloc(sizeof(int32_t) * n);
	int kept = 0;

	for (int i = 0; i < n; i++)
		if (i != hidden)
			context[kept++] = items[i];
	rank_case(ranking, cluster, items[hidden], context, kept);
	pfree(context);
}

static bool
has_bundles(const BrPgLearnData *data, const bool *test)
{
	for (int64 i = 0; i < data->n_events; i++)
		if (test[i] && data->events[i].bundle >= 0 && data->events[i].bought > 0)
			return true;
	return false;
}

/* the curated bundles of test units; one that two units have is asked about twice */
static void
complete_bundles(Ranking *ranking, const bool *test)
{
	const BrPgLearnData *data = ranking->model->training->data;
	const BrSparse *bundles = &data->bundle_items;

	for (int64 i = 0; i < data->n_events; i++)
	{
		const BrPgLearnEvent *event = &data->events[i];
		int n;

		if (!test[i] || event->bundle < 0 || event->bought <= 0)
			continue;
		n = (int) (bundles->starts[event->bundle + 1] - bundles->starts[event->bundle]);
		if (n >= 2 && n <= LARGEST_SET)
			complete_set(ranking, br_pg_split_unit(ranking->evaluation, event),
						 data->bundle_ids[event->bundle],
						 bundles->ids + bundles->starts[event->bundle], n);
	}
}

static void
complete_baskets(Ranking *ranking, BrPgTraining *held_out)
{
	const BrPgLearnData *data = held_out->data;
	const BrSparse *sets = br_pg_training_sets(held_out);
	int32 *units = br_pg_split_basket_units(ranking->evaluation, held_out->use);

	for (int row = 0; row < sets->rows; row++)
	{
		int n = (int) (sets->starts[row + 1] - sets->starts[row]);

		if (n >= 2 && n <= LARGEST_SET)
			complete_set(ranking, held_out->sets_of_users ? row : units[row],
						 held_out->sets_of_users ? data->users[row] : data->baskets[row],
						 sets->ids + sets->starts[row], n);
	}
}

/* An item that a user took, and when. */
typedef struct Taken
{
	int32 user;
	int32 item;
	double at;
} Taken;

/* by user, the latest first */
static int
compare_taken(const void *left, const void *right)
{
	const Taken *a = left;
	const Taken *b = right;

	if (a->user != b->user)
		return a->user < b->user ? -1 : 1;
	if (a->at != b->at)
		return a->at > b->at ? -1 : 1;
	return a->item < b->item ? -1 : a->item > b->item;
}

static void
ask_next_items(Ranking *ranking, const bool *test)
{
	const BrPgLearnData *data = ranking->model->training->data;
	Taken *taken = palloc_extended(sizeof(Taken) * Max(data->n_events, 1), MCXT_ALLOC_HUGE);
	int32_t context[HISTORY_ITEMS];
	int64 n = 0;

	for (int64 i = 0; i < data->n_events; i++)
		if (test[i] && data->events[i].user >= 0 && data->events[i].item >= 0 &&
			data->events[i].bought > 0)
			taken[n++] = (Taken){data->events[i].user, data->events[i].item, data->events[i].at};
	qsort(taken, n, sizeof(Taken), compare_taken);
	for (int64 first = 0, last; first < n; first = last)
	{
		int kept = 0;

		for (last = first + 1; last < n && taken[last].user == taken[first].user; last++)
		{
			bool known = taken[last].item == taken[first].item;

			/* what was taken at the same moment is not before it */
			if (!(taken[last].at < taken[first].at))
				continue;
			for (int i = 0; i < kept; i++)
				known = known || context[i] == taken[last].item;
			if (!known && kept < HISTORY_ITEMS)
				context[kept++] = taken[last].item;
		}
		if (kept > 0)
			rank_case(ranking, taken[first].user, taken[first].item, context, kept);
	}
	pfree(taken);
}

/* ---- a seed ---- */

static BrPgLearned *
fit_ranker(BrPgTraining *training)
{
	BrPgLearned *learned = palloc0(sizeof(BrPgLearned));

	learned->kind = BR_PG_KIND_RANKER;
	initStringInfo(&learned->figures);
	br_pg_read_fit_parameters(BR_PG_KIND_RANKER, NULL, learned->parameters);
	return br_pg_fit_ranker(training, learned) == NULL ? learned : NULL;
}

static void
prepare(Ranking *ranking, BrPgTraining *training)
{
	const BrSparse *sets = br_pg_training_sets(training);
	int n = Max(training->data->n_items, 1);
	BrCompanionOptions options = {BR_COMPANION_CONFIDENCE, 0, n, br_pg_max_basket_items, NULL};
	BrContext context;

	ranking->model = br_pg_model_fit(training, br_pg_ranked_item_kinds());
	ranking->ranker = fit_ranker(training);
	ranking->features =
		palloc_extended(sizeof(float) * (Size) n * BR_FEATURE_COUNT, MCXT_ALLOC_HUGE);
	ranking->scores = palloc_extended(sizeof(float) * n, MCXT_ALLOC_HUGE);
	ranking->counts = palloc_extended(sizeof(float) * n, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	ranking->left_out = palloc_extended(sizeof(bool) * n, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int64 i = 0; i < sets->starts[sets->rows]; i++)
		ranking->counts[sets->ids[i]]++;
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_companions(&context, sets, &options, &ranking->confidence), &context,
				"could not count what was bought together", NULL);
	br_pg_tf_idf_lists(training, &ranking->words);
}

void
br_pg_evaluate_items(BrPgEvaluation *evaluation, const char *seed)
{
	const BrPgLearnData *data = evaluation->data;
	bool completes = evaluation->task == BR_PG_TASK_COMPLETION;
	BrPgParts parts = br_pg_split_events(evaluation, seed, completes);
	BrPgTraining *training = br_pg_training_create(data, parts.train, evaluation->looks);
	BrPgTraining *held_out = br_pg_training_create(data, parts.test, training->looks);
	Ranking ranking = {.evaluation = evaluation, .seed = seed};

	training->bundle_known = parts.bundle_known;
	prepare(&ranking, training);
	if (!completes)
		ask_next_items(&ranking, parts.test);
	else if (has_bundles(data, parts.test))
		complete_bundles(&ranking, parts.test);
	else
		complete_baskets(&ranking, held_out);
	br_pg_model_free(ranking.model);
}
