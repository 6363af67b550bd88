/*
 * frozen.c
 *	  A candidate as it stands, by importance weights.
 *
 * Each row is met once, while its options are at hand: what the candidate would
 * have chosen, and with which probability. Where users repeat or rewards are
 * predicted, what came of the row waits, sorted by cluster, until the whole log
 * was seen.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/evaluate/evaluate_int.h"

/* What the candidate does, and what it did last over BR_MODEL_ARM. */
typedef struct Candidate
{
	const BrPgEvaluation *evaluation;
	BrContext context;
	MemoryContext memory;
	int32 arms_version;
	int pool; /* 0: nothing kept */
	int room;
	int *arms;			 /* (pool) */
	double *probability; /* (room) */
} Candidate;

static void
make_room(Candidate *candidate, int pool)
{
	MemoryContext before;

	if (pool <= candidate->room)
		return;
	before = MemoryContextSwitchTo(candidate->memory);
	candidate->room = Max(pool, candidate->room * 2);
	candidate->arms = palloc(sizeof(int) * candidate->room);
	candidate->probability = palloc(sizeof(double) * candidate->room);
	candidate->pool = 0;
	MemoryContextSwitchTo(before);
}

/* arms without context have the same probabilities in every row that offers the same ones */
static bool
is_kept(const Candidate *candidate, const BrPgLog *log, const BrPgLoggedRow *row)
{
	return row->state->spec.model == BR_MODEL_ARM && row->n_earlier == 0 &&
		candidate->pool == row->request.pool &&
		candidate->arms_version == log->policy.arms_version &&
		memcmp(candidate->arms, row->request.arms, sizeof(int) * candidate->pool) == 0;
}

static const double *
probabilities(Candidate *candidate, const BrPgLog *log, BrPgLoggedRow *row)
{
	int pool = row->request.pool;
	BrStatus status;

	make_room(candidate, pool);
	if (is_kept(candidate, log, row))
		return candidate->probability;
	row->request.key = br_pg_evaluation_key(candidate->evaluation, row->decision);
	status = br_bandit_probabilities(&candidate->context, row->state->belief, &row->request,
									 row->earlier, row->n_earlier, candidate->probability);
	if (status != BR_OK)
		br_pg_check(status, &candidate->context,
					psprintf("policy \"%s\" cannot choose as in row %lld of the log",
							 log->policy.name, (long long) log->query.row),
					NULL);
	candidate->pool = 0;
	if (row->n_earlier == 0 && row->request.arms != NULL)
	{
		memcpy(candidate->arms, row->request.arms, sizeof(int) * pool);
		candidate->pool = pool;
		candidate->arms_version = log->policy.arms_version;
	}
	return candidate->probability;
}

typedef struct Evaluated
{
	BrPgLog *log;
	Candidate candidate;
	BrPgPredictions *predictions; /* NULL: no estimator needs them */
	bool slates;				  /* whether slots beyond the first are read */
	BrPgSorted *sorted;			  /* NULL: rows are gathered as they come */
	BrPgGather *gather;
	BrPgSupport support;
	bool has_users;
	int64 rows;
} Evaluated;

static void
evaluate_row(Evaluated *evaluated, BrPgLoggedRow *row)
{
	const double *probability = probabilities(&evaluated->candidate, evaluated->log, row);
	BrPgFigures figures = {
		.cluster = br_pg_cluster_of(row),
		.decision = row->decision,
		.rank = row->rank,
		.row = {.reward = row->reward,
				.target = Min(probability[row->member], 1),
				.logged = row->propensity},
	};

	evaluated->has_users |= row->user != NULL;
	if (row->rank == 1)
		br_pg_support_add(&evaluated->support, row, probability);
	if (evaluated->predictions != NULL)
		br_pg_predictions_add(evaluated->predictions, row, probability);
	if (evaluated->sorted == NULL)
		br_pg_gather_add(evaluated->gather, &figures);
	else if (evaluated->predictions != NULL)
		br_pg_sorted_add(evaluated->sorted, &figures, evaluated->predictions->points.data,
						 evaluated->predictions->points.len);
	else
		br_pg_sorted_add(evaluated->sorted, &figures, NULL, 0);
}

static void
begin(Evaluated *evaluated, const BrPgEvaluation *evaluation, const BrPgLoggedRow *first)
{
	evaluated->candidate.evaluation = evaluation;
	evaluated->candidate.memory = CurrentMemoryContext;
	br_pg_context(&evaluated->candidate.context, CurrentMemoryContext);
	evaluated->support.memory = CurrentMemoryContext;
	for (int i = 0; i < evaluation->n_estimators; i++)
	{
		evaluated->slates |= br_pg_reads_slates(evaluation->estimators[i]);
		if (br_pg_reads_predictions(evaluation->estimators[i]) && evaluated->predictions == NULL)
			evaluated->predictions = br_pg_predictions_open(evaluation);
	}
	if (first->has_user || evaluated->predictions != NULL)
		evaluated->sorted = br_pg_sorted_open();
	else
		evaluated->gather = br_pg_gather_open(evaluation, false);
}

static void
gather_sorted(Evaluated *evaluated)
{
	BrPgFigures figures;
	const void *more;
	Size size;

	br_pg_sorted_turn(evaluated->sorted);
	while (br_pg_sorted_next(evaluated->sorted, &figures, &more, &size))
	{
		CHECK_FOR_INTERRUPTS();
		if (evaluated->predictions != NULL)
			br_pg_predictions_fill(evaluated->predictions, more, &figures);
		br_pg_gather_add(evaluated->gather, &figures);
	}
	br_pg_sorted_close(evaluated->sorted);
}

void
br_pg_evaluate_frozen(const BrPgEvaluation *evaluation, BrPgEstimate *estimates)
{
	Evaluated evaluated = {.log = br_pg_log_open(evaluation)};
	BrPgLoggedRow row;

	while (br_pg_log_next(evaluated.log, &row))
	{
		if (evaluated.rows++ == 0)
			begin(&evaluated, evaluation, &row);
		if (row.rank == 1 || evaluated.slates)
			evaluate_row(&evaluated, &row);
	}
	br_pg_log_close(evaluated.log);
	if (evaluated.rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the log has no rows"),
				 evaluation->query != NULL
					 ? errhint("The query returned nothing.")
					 : errhint("Decisions are read once the windows of the candidate's reward have "
							   "closed; those with a seed are not.")));
	if (evaluated.predictions != NULL)
		br_pg_predictions_fit(evaluated.predictions);
	if (evaluated.sorted != NULL)
	{
		evaluated.gather = br_pg_gather_open(evaluation, evaluated.has_users);
		gather_sorted(&evaluated);
	}
	if (evaluated.predictions != NULL)
		br_pg_predictions_close(evaluated.predictions);
	br_pg_gather_close(evaluated.gather, &evaluated.support, estimates);
}
