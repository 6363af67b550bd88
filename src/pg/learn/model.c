/*
 * model.c
 *	  Features of all items, or all bundles, from what was learned.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/math/br_math.h"
#include "pg/decide/decide.h"
#include "pg/learn/kinds.h"
#include "pg/learn/model.h"

#define COPURCHASE_DEPTH 200
/* as refresh does: larger baskets pair nothing */
#define SHRINKAGE BR_BUNDLE_SHRINKAGE
/* purchases of a bundle after which what is said of its like counts half */
#define LIKENESS_PURCHASES 5.0

static const struct
{
	int feature;	/* -1: none */
	double damping; /* see br_pg_kind_share */
} evidence[BR_PG_N_KINDS] = {
	[BR_PG_KIND_POPULARITY] = {BR_FEATURE_TREND, 0},
	[BR_PG_KIND_ASSOCIATION] = {BR_FEATURE_ASSOCIATION, 0.25},
	[BR_PG_KIND_EASE] = {BR_FEATURE_EASE, 0},
	[BR_PG_KIND_ALS] = {BR_FEATURE_FACTOR, 1},
	[BR_PG_KIND_BPR] = {-1, 1},
	[BR_PG_KIND_COMPLEMENT] = {BR_FEATURE_COMPLEMENT, 1},
	[BR_PG_KIND_LEXICAL] = {BR_FEATURE_LEXICAL, 1},
	[BR_PG_KIND_ITEMSETS] = {-1, 0},
	[BR_PG_KIND_BUNDLE_COMPANIONS] = {-1, 1},
	[BR_PG_KIND_BUNDLE_ASSOCIATION] = {BR_FEATURE_ASSOCIATION, 0.25},
	[BR_PG_KIND_BUNDLE_EASE] = {BR_FEATURE_EASE, 0},
	[BR_PG_KIND_BUNDLE_LIKENESS] = {-1, 0},
	[BR_PG_KIND_BUNDLE_GRAPH] = {BR_FEATURE_FACTOR, 0},
	[BR_PG_KIND_DETECTOR] = {-1, 0},
	[BR_PG_KIND_RANKER] = {-1, 0},
	[BR_PG_KIND_BUNDLE_RANKER] = {-1, 0},
};

double
br_pg_kind_share(BrPgKindNumber kind, double weight)
{
	return weight > 0 ? pow(weight, -evidence[kind].damping) : 0;
}

int
br_pg_kind_feature(BrPgKindNumber kind)
{
	return evidence[kind].feature;
}

double
br_pg_likeness_said(double companions, bool owned)
{
	return owned ? companions + 1 : companions;
}

double
br_pg_likeness_share(double alike, double likeness, double purchases)
{
	return likeness > 0 ? alike / likeness * LIKENESS_PURCHASES / (purchases + LIKENESS_PURCHASES)
						: 0;
}

/* a preference is 0 or 1, but for what the fit leaves */
double
br_pg_factor_score(const float *user, const float *item, int dims)
{
	double sum = 0;

	for (int d = 0; d < dims; d++)
		sum += (double) user[d] * item[d];
	return Min(Max(sum, -1), 2);
}

/* ---- fitting ---- */

static void
count_popularity(BrPgModel *model)
{
	const BrSparse *sets = br_pg_training_sets(model->training);
	int64 *counts = palloc0(sizeof(int64) * Max(sets->columns, 1));
	int64 rows = 0;

	for (int row = 0; row < sets->rows; row++)
	{
		rows += sets->starts[row + 1] > sets->starts[row];
		for (int64 i = sets->starts[row]; i < sets->starts[row + 1]; i++)
			counts[sets->ids[i]]++;
	}
	model->popularity = palloc(sizeof(float) * Max(sets->columns, 1));
	for (int i = 0; i < sets->columns; i++)
		model->popularity[i] = (float) br_pg_decide_popularity(counts[i], rows);
	pfree(counts);
}

static void
count_purchases(BrPgModel *model)
{
	const BrSparse *bought = br_pg_training_user_bundles(model->training);

	model->bundle_purchases = palloc0(sizeof(float) * Max(bought->columns, 1));
	for (int64 i = 0; i < bought->starts[bought->rows]; i++)
		model->bundle_purchases[bought->ids[i]]++;
	for (int i = 0; i < bought->columns; i++)
		model->most_purchases = Max(model->most_purchases, model->bundle_purchases[i]);
}

static void
fit_copurchase(BrPgModel *model)
{
	BrCompanionOptions options = {BR_COMPANION_SHRUNK_COSINE, SHRINKAGE, COPURCHASE_DEPTH,
								  br_pg_max_basket_items, NULL};
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_companions(&context, br_pg_training_sets(model->training), &options,
									&model->copurchase),
				&context, "could not count what was bought together", NULL);
}

static int
compare_int32(const void *left, const void *right)
{
	int32_t a = *(const int32_t *) left;
	int32_t b = *(const int32_t *) right;

	return a < b ? -1 : a > b;
}

static BrPgLearned *
fit_kind(BrPgTraining *training, BrPgKindNumber kind)
{
	BrPgLearned *learned = palloc0(sizeof(BrPgLearned));

	learned->kind = kind;
	initStringInfo(&learned->figures);
	br_pg_read_fit_parameters(kind, NULL, learned->parameters);
	return br_pg_kind_fit(training, learned) == NULL ? learned : NULL;
}

BrPgModel *
br_pg_model_fit(BrPgTraining *training, uint32 kinds)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "model", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(memory);
	BrPgModel *model = palloc0(sizeof(BrPgModel));

	model->training = training;
	model->memory = memory;
	model->work =
		palloc_extended(sizeof(float) *
							Max(Max(training->data->n_items, training->data->n_bundles), 1),
						MCXT_ALLOC_HUGE);
	fit_copurchase(model);
	count_popularity(model);
	count_purchases(model);
	for (int kind = 0; kind < BR_PG_N_KINDS; kind++)
	{
		if (kinds & (1u << kind))
			model->learned[kind] = fit_kind(training, kind);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(outer);
	return model;
}

void
br_pg_model_free(BrPgModel *model)
{
	MemoryContextDelete(model->memory);
}

/* ---- scores ---- */

void
br_pg_learned_scores(const BrPgLearned *learned, const int32_t *context, int n, float *scores,
					 int n_scores)
{
	const BrLists *lists = &learned->lists;
	double share = br_pg_kind_share(learned->kind, n);

	if (learned->bias != NULL)
		memcpy(scores, learned->bias, sizeof(float) * n_scores);
	else
		memset(scores, 0, sizeof(float) * n_scores);
	for (int c = 0; c < n && lists->n > 0; c++)
		for (int64 i = lists->starts[context[c]]; i < lists->starts[context[c] + 1]; i++)
			scores[lists->ids[i]] += (float) (share * lists->weights[i]);
}

/* the strongest over the context into a column of the features */
static void
take_strongest(const BrLists *lists, const int32_t *context, int n, int feature, float *features)
{
	for (int c = 0; c < n && lists->n > 0; c++)
		for (int64 i = lists->starts[context[c]]; i < lists->starts[context[c] + 1]; i++)
		{
			float *place = features + (Size) lists->ids[i] * BR_FEATURE_COUNT + feature;

			*place = Max(*place, Min(lists->weights[i], 1));
		}
}

static void
take_learned(const BrPgModel *model, BrPgKindNumber kind, const int32_t *context, int n,
			 int n_scores, float *features)
{
	const BrPgLearned *learned = model->learned[kind];
	int feature = evidence[kind].feature;

	if (learned == NULL || feature < 0)
		return;
	br_pg_learned_scores(learned, context, n, model->work, n_scores);
	for (int i = 0; i < n_scores; i++)
		features[(Size) i * BR_FEATURE_COUNT + feature] = model->work[i];
}

/* folds the context into the factors, as a decision does */
static void
take_factors(const BrPgModel *model, const int32_t *context, int n, float *features)
{
	const BrPgLearned *learned = model->learned[BR_PG_KIND_ALS];
	const BrPgLearnData *data = model->training->data;
	BrContext core;
	BrFoldIn done = {.n = n};
	int32_t *ids;
	float *vector;

	if (learned == NULL || n == 0)
		return;
	ids = palloc(sizeof(int32_t) * n);
	memcpy(ids, context, sizeof(int32_t) * n);
	qsort(ids, n, sizeof(int32_t), compare_int32);
	done.ids = ids;
	vector = palloc(sizeof(float) * learned->dims);
	br_pg_context(&core, CurrentMemoryContext);
	br_pg_check(br_learn_als_fold_in(&core, learned->vectors, data->n_items, learned->dims,
									 learned->weights, learned->parameters[BR_PG_ALS_LAMBDA],
									 learned->parameters[BR_PG_ALS_ALPHA], &done, vector),
				&core, "could not fold the context into the factors", NULL);
	for (int i = 0; i < data->n_items; i++)
		features[(Size) i * BR_FEATURE_COUNT + BR_FEATURE_FACTOR] =
			(float) br_pg_factor_score(vector, learned->vectors + (Size) i * learned->dims,
									   learned->dims);
	pfree(ids);
	pfree(vector);
}

void
br_pg_model_item_features(const BrPgModel *model, const int32_t *context, int n, float *features)
{
	static const BrPgKindNumber kinds[] = {BR_PG_KIND_POPULARITY, BR_PG_KIND_ASSOCIATION,
										   BR_PG_KIND_EASE, BR_PG_KIND_COMPLEMENT,
										   BR_PG_KIND_LEXICAL};
	const BrPgLearnData *data = model->training->data;

	memset(features, 0, sizeof(float) * (Size) data->n_items * BR_FEATURE_COUNT);
	for (int i = 0; i < data->n_items; i++)
	{
		float *row = features + (Size) i * BR_FEATURE_COUNT;

		row[BR_FEATURE_BIAS] = 1;
		row[BR_FEATURE_POPULARITY] = model->popularity[i];
		row[BR_FEATURE_FRESHNESS] = (float) br_pg_decide_freshness(data->items[i].age);
	}
	take_strongest(&model->copurchase, context, n, BR_FEATURE_COPURCHASE, features);
	take_strongest(br_pg_training_content(model->training), context, n, BR_FEATURE_CONTENT,
				   features);
	for (int i = 0; i < lengthof(kinds); i++)
		take_learned(model, kinds[i], context, n, data->n_items, features);
	take_factors(model, context, n, features);
}

/* ---- bundles ---- */

/*
 * What is said of bundles like this one: the mean over them, by likeness, of the
 * share of owned bundles' buyers who have them, and 1 more of those owned. It
 * reaches bundles that nobody has bought yet, and counts ever less as a bundle's
 * own purchases tell more.
 */
static void
take_likeness(const BrPgModel *model, const int32_t *owned, int n, float *features)
{
	const BrPgLearned *likeness = model->learned[BR_PG_KIND_BUNDLE_LIKENESS];
	const BrPgLearned *companions = model->learned[BR_PG_KIND_BUNDLE_COMPANIONS];
	int n_bundles = model->training->data->n_bundles;

	if (likeness == NULL || companions == NULL)
		return;
	br_pg_learned_scores(companions, owned, n, model->work, n_bundles);
	for (int i = 0; i < n; i++)
		model->work[owned[i]] = (float) br_pg_likeness_said(model->work[owned[i]], true);
	for (int b = 0; b < n_bundles; b++)
	{
		double sum = 0, weight = 0;

		for (int64 i = likeness->lists.starts[b]; i < likeness->lists.starts[b + 1]; i++)
		{
			sum += (double) likeness->lists.weights[i] * model->work[likeness->lists.ids[i]];
			weight += likeness->lists.weights[i];
		}
		features[(Size) b * BR_FEATURE_COUNT + BR_FEATURE_GRAPH] =
			(float) br_pg_likeness_share(sum, weight, model->bundle_purchases[b]);
	}
}

void
br_pg_model_bundle_features(const BrPgModel *model, const int32_t *owned, int n, float *features)
{
	static const BrPgKindNumber kinds[] = {BR_PG_KIND_BUNDLE_ASSOCIATION, BR_PG_KIND_BUNDLE_EASE,
										   BR_PG_KIND_BUNDLE_GRAPH};
	int n_bundles = model->training->data->n_bundles;

	memset(features, 0, sizeof(float) * (Size) n_bundles * BR_FEATURE_COUNT);
	for (int b = 0; b < n_bundles; b++)
	{
		float *row = features + (Size) b * BR_FEATURE_COUNT;

		row[BR_FEATURE_BIAS] = 1;
		row[BR_FEATURE_TREND] =
			(float) br_bundle_purchase_log_odds((int64) model->bundle_purchases[b],
												(int64) model->most_purchases);
	}
	for (int i = 0; i < lengthof(kinds); i++)
		take_learned(model, kinds[i], owned, n, n_bundles, features);
	take_likeness(model, owned, n, features);
}
