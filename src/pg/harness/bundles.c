/*
 * bundles.c
 *	  Ranking curated bundles: one of each buyer's is hidden, or a fifth of the
 *	  bundles has never been bought.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "pg/harness/harness.h"
#include "pg/learn/kinds.h"
#include "pg/learn/rank.h"
#include "pg/learn/split.h"
#include "pg/learn/texts.h"

#define PARTS 5

/* What ranks the cases of one seed. */
typedef struct Ranking
{
	BrPgEvaluation *evaluation;
	BrPgModel *model;
	BrPgLearned *ranker;
	BrPgProfiles *profiles; /* of who likes which words; NULL: not asked about */
	float *features;
	float *scores;
	bool *left_out;
} Ranking;

static void
score_column(Ranking *ranking, const char *method, int feature)
{
	int n = ranking->evaluation->data->n_bundles;

	for (int i = 0; i < n; i++)
		ranking->scores[i] = ranking->features[(Size) i * BR_FEATURE_COUNT + feature];
	br_pg_board_score(ranking->evaluation->board, method, ranking->scores);
}

static void
rank_case(Ranking *ranking, int32 cluster, int hidden, const int32_t *owned, int n)
{
	const BrPgModel *model = ranking->model;
	int n_bundles = ranking->evaluation->data->n_bundles;
	BrPgBoard *board = ranking->evaluation->board;

	CHECK_FOR_INTERRUPTS();
	br_pg_board_begin_case(board, cluster, hidden, n_bundles, ranking->left_out,
						   model->bundle_purchases);
	br_pg_model_bundle_features(model, owned, n, ranking->features);
	br_pg_board_score(board, "popularity", model->bundle_purchases);
	if (ranking->profiles != NULL)
	{
		br_pg_profile_scores(ranking->profiles, owned, n, ranking->scores);
		br_pg_board_score(board, "profile", ranking->scores);
	}
	for (int kind = BR_PG_KIND_BUNDLE_COMPANIONS; kind <= BR_PG_KIND_BUNDLE_GRAPH; kind++)
	{
		if (model->learned[kind] == NULL)
			continue;
		if (kind == BR_PG_KIND_BUNDLE_LIKENESS)
		{
			score_column(ranking, br_pg_fit_kind_name(kind), BR_FEATURE_GRAPH);
			continue;
		}
		br_pg_learned_scores(model->learned[kind], owned, n, ranking->scores, n_bundles);
		br_pg_board_score(board, br_pg_fit_kind_name(kind), ranking->scores);
	}
	if (ranking->ranker == NULL)
		return;
	for (int i = 0; i < n_bundles; i++)
		ranking->scores[i] =
			(float) br_learn_ranker_score(ranking->ranker->weights,
										  ranking->features + (Size) i * BR_FEATURE_COUNT,
										  BR_FEATURE_COUNT);
	br_pg_board_score(board, "bundle_ranker", ranking->scores);
}

static void
prepare(Ranking *ranking, BrPgTraining *training)
{
	BrPgLearned *ranker = palloc0(sizeof(BrPgLearned));
	int n = Max(training->data->n_bundles, 1);

	ranking->model = br_pg_model_fit(training, br_pg_ranked_bundle_kinds());
	ranker->kind = BR_PG_KIND_BUNDLE_RANKER;
	initStringInfo(&ranker->figures);
	br_pg_read_fit_parameters(ranker->kind, NULL, ranker->parameters);
	if (br_pg_fit_bundle_ranker(training, ranker) == NULL)
		ranking->ranker = ranker;
	ranking->features =
		palloc_extended(sizeof(float) * (Size) n * BR_FEATURE_COUNT, MCXT_ALLOC_HUGE);
	ranking->scores = palloc(sizeof(float) * n);
	ranking->left_out = palloc0(sizeof(bool) * n);
}

static void
set_left_out(Ranking *ranking, const int32_t *bundles, int n, bool left_out)
{
	for (int i = 0; i < n; i++)
		ranking->left_out[bundles[i]] = left_out;
}

/* ---- one hidden of each buyer's ---- */

/* which bundle of each user is hidden; -1: none, he has but one */
static int32_t *
hide_one_each(const BrPgLearnData *data, const BrSparse *bought, const char *seed, bool *train)
{
	int32_t *hidden = palloc(sizeof(int32_t) * Max(bought->rows, 1));

	for (int user = 0; user < bought->rows; user++)
	{
		int64 first = bought->starts[user];
		uint32 n = (uint32) (bought->starts[user + 1] - first);

		hidden[user] =
			n < 2 ? -1 : bought->ids[first + br_pg_md5_number(data->users[user], seed) % n];
	}
	for (int64 i = 0; i < data->n_events; i++)
	{
		const BrPgLearnEvent *event = &data->events[i];

		train[i] =
			!(event->bundle >= 0 && event->user >= 0 && hidden[event->user] == event->bundle);
	}
	return hidden;
}

static void
find_hidden(Ranking *ranking, const int32_t *hidden)
{
	const BrSparse *bought = br_pg_training_user_bundles(ranking->model->training);

	for (int user = 0; user < bought->rows; user++)
	{
		const int32_t *owned = bought->ids + bought->starts[user];
		int n = (int) (bought->starts[user + 1] - bought->starts[user]);

		if (hidden[user] < 0)
			continue;
		set_left_out(ranking, owned, n, true);
		rank_case(ranking, user, hidden[user], owned, n);
		set_left_out(ranking, owned, n, false);
	}
}

/* ---- bundles that nobody has bought ---- */

static bool *
choose_cold(const BrPgLearnData *data, const char *seed, bool *train)
{
	bool *cold = palloc(sizeof(bool) * Max(data->n_bundles, 1));

	for (int b = 0; b < data->n_bundles; b++)
		cold[b] = br_pg_md5_number(data->bundle_ids[b], seed) % PARTS == 0;
	for (int64 i = 0; i < data->n_events; i++)
		train[i] = data->events[i].bundle < 0 || !cold[data->events[i].bundle];
	return cold;
}

/* each purchase of a cold bundle by who has others; a cluster is a bundle */
static void
find_cold(Ranking *ranking, const BrSparse *all, const bool *cold)
{
	const BrSparse *bought = br_pg_training_user_bundles(ranking->model->training);

	for (int b = 0; b < bought->columns; b++)
		ranking->left_out[b] = !cold[b];
	for (int user = 0; user < all->rows; user++)
	{
		const int32_t *owned = bought->ids + bought->starts[user];
		int n = (int) (bought->starts[user + 1] - bought->starts[user]);

		for (int64 i = all->starts[user]; n > 0 && i < all->starts[user + 1]; i++)
			if (cold[all->ids[i]])
				rank_case(ranking, all->ids[i], all->ids[i], owned, n);
	}
}

void
br_pg_evaluate_bundles(BrPgEvaluation *evaluation, const char *seed)
{
	const BrPgLearnData *data = evaluation->data;
	bool *train = palloc_extended(sizeof(bool) * Max(data->n_events, 1), MCXT_ALLOC_HUGE);
	BrSparse all = br_pg_learn_user_bundles(data, NULL);
	BrPgTraining *training = br_pg_training_create(data, train, evaluation->looks);
	Ranking ranking = {.evaluation = evaluation};

	if (evaluation->task == BR_PG_TASK_BUNDLE)
	{
		int32_t *hidden = hide_one_each(data, &all, seed, train);

		prepare(&ranking, training);
		find_hidden(&ranking, hidden);
	}
	else
	{
		bool *cold = choose_cold(data, seed, train);

		prepare(&ranking, training);
		ranking.profiles = br_pg_profiles_create(training);
		find_cold(&ranking, &all, cold);
	}
	br_pg_model_free(ranking.model);
}
