/*
 * predictions.c
 *	  The rewards that a model predicts for what could be chosen, cross-fitted.
 *
 * The model sees an arm as the candidate does: over a shared theta by its
 * features in the context. Otherwise those do not tell arms apart, and each arm
 * has a feature of its own besides. What a row's predictions need is written down
 * while its options are at hand, and used once the model is fitted: of a linear
 * model the expectation under the candidate is that of the mean features.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "pg/evaluate/evaluate_int.h"

/* What of a row comes back for its predictions: the fold, the points, and each with its weight. */
typedef struct Points
{
	int32 fold;
	int32 n;
} Points;

static int
largest_arm(const BrPgPolicy *policy)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(policy->number)};
	bool is_null;
	BrPgRights rights;
	int most;

	br_pg_enter_owner(&rights);
	br_pg_execute("SELECT COALESCE(pg_catalog.max(arm), 0) FROM bundle_rec.arm WHERE policy = $1",
				  1, types, values, NULL, true, 1);
	most = DatumGetInt32(br_pg_column(0, 1, &is_null));
	br_pg_leave(&rights);
	return most;
}

BrPgPredictions *
br_pg_predictions_open(const BrPgEvaluation *evaluation)
{
	const BrPgPolicy *policy = evaluation->candidate;
	BrPgPredictions *predictions = palloc0(sizeof(BrPgPredictions));

	predictions->evaluation = evaluation;
	if (policy->spec.model != BR_MODEL_SHARED)
		predictions->n_arms = largest_arm(policy) + 1;
	predictions->dims =
		predictions->n_arms + (policy->spec.model == BR_MODEL_ARM ? 0 : policy->spec.dims);
	predictions->x = palloc(sizeof(double) * Max(predictions->dims, 1));
	initStringInfo(&predictions->points);
	br_pg_context(&predictions->context, CurrentMemoryContext);
	br_pg_check(br_eval_reward_model_create(&predictions->context, evaluation->logistic,
											predictions->dims, evaluation->folds,
											evaluation->penalty, &predictions->model),
				&predictions->context, "the reward model cannot be made",
				"Ask for estimators without one: ips, clipped_ips, snips.");
	return predictions;
}

/* the row's member as the model sees it, into x */
static void
encode(const BrPgPredictions *predictions, const BrPgLoggedRow *row, int member, double *x)
{
	int dims = predictions->evaluation->candidate->spec.dims;

	if (predictions->n_arms > 0)
	{
		memset(x, 0, sizeof(double) * predictions->n_arms);
		x[row->numbers[member]] = 1;
		x += predictions->n_arms;
	}
	if (row->request.features != NULL)
		for (int i = 0; i < dims; i++)
			x[i] = row->request.features[(Size) member * dims + i];
}

static void
append_point(BrPgPredictions *predictions, double weight, const double *x)
{
	appendBinaryStringInfo(&predictions->points, (char *) &weight, sizeof(weight));
	appendBinaryStringInfo(&predictions->points, (const char *) x,
						   sizeof(double) * predictions->dims);
}

/* the mean of what the candidate would choose */
static void
append_mean(BrPgPredictions *predictions, const BrPgLoggedRow *row, const double *probability)
{
	double *mean = palloc0(sizeof(double) * predictions->dims);
	double total = 0;

	for (int i = 0; i < row->request.pool; i++)
	{
		if (probability[i] <= 0)
			continue;
		encode(predictions, row, i, predictions->x);
		total += probability[i];
		for (int f = 0; f < predictions->dims; f++)
			mean[f] += probability[i] * predictions->x[f];
	}
	/* probabilities may miss 1 by rounding, which the intercept would not know */
	for (int f = 0; f < predictions->dims && total > 0; f++)
		mean[f] /= total;
	append_point(predictions, 1, mean);
	pfree(mean);
}

static int
fold_of(const BrPgPredictions *predictions, const BrPgLoggedRow *row)
{
	const BrPgEvaluation *evaluation = predictions->evaluation;
	char decision[32];
	const char *key = row->user;

	if (key == NULL)
	{
		snprintf(decision, sizeof(decision), "%lld", (long long) row->decision);
		key = decision;
	}
	return br_eval_fold(key, strlen(key), evaluation->seed, evaluation->folds);
}

void
br_pg_predictions_add(BrPgPredictions *predictions, const BrPgLoggedRow *row,
					  const double *probability)
{
	Points points = {.fold = fold_of(predictions, row), .n = 1};

	resetStringInfo(&predictions->points);
	encode(predictions, row, row->member, predictions->x);
	br_pg_check(br_eval_reward_model_add(&predictions->context, predictions->model, points.fold,
										 predictions->x, row->reward),
				&predictions->context, "the reward model cannot learn from the log",
				"reward_model => 'ridge' takes any reward.");
	if (predictions->evaluation->logistic)
	{
		points.n = 0;
		for (int i = 0; i < row->request.pool; i++)
			points.n += probability[i] > 0;
	}
	appendBinaryStringInfo(&predictions->points, (char *) &points, sizeof(points));
	append_point(predictions, 1, predictions->x);
	if (!predictions->evaluation->logistic)
	{
		append_mean(predictions, row, probability);
		return;
	}
	for (int i = 0; i < row->request.pool; i++)
	{
		if (probability[i] <= 0)
			continue;
		encode(predictions, row, i, predictions->x);
		append_point(predictions, probability[i], predictions->x);
	}
}

void
br_pg_predictions_fit(BrPgPredictions *predictions)
{
	br_pg_check(br_eval_reward_model_fit(&predictions->context, predictions->model),
				&predictions->context, "the reward model cannot be fitted",
				"Raise \"penalty\", take another number of \"folds\", or ask for estimators "
				"without a model.");
	CHECK_FOR_INTERRUPTS();
}

void
br_pg_predictions_fill(const BrPgPredictions *predictions, const void *data, BrPgFigures *figures)
{
	Points points;
	const double *place;

	memcpy(&points, data, sizeof(points));
	place = (const double *) ((const char *) data + sizeof(points));
	figures->row.predicted =
		br_eval_reward_model_predict(predictions->model, points.fold, place + 1);
	figures->row.expected = 0;
	for (int i = 0; i < points.n; i++)
	{
		place += 1 + predictions->dims;
		figures->row.expected +=
			place[0] * br_eval_reward_model_predict(predictions->model, points.fold, place + 1);
	}
}

void
br_pg_predictions_close(BrPgPredictions *predictions)
{
	br_eval_reward_model_free(&predictions->context, predictions->model);
	pfree(predictions->points.data);
	pfree(predictions->x);
}
