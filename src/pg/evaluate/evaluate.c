/*
 * evaluate.c
 *	  The two ways to evaluate a candidate, and what neither can.
 */
#include "postgres.h"

#include "pg/evaluate/evaluate_int.h"

uint64
br_pg_evaluation_key(const BrPgEvaluation *evaluation, int64 row)
{
	BrRandom random;

	br_base_random_init(&random, evaluation->seed, (uint64) row);
	return br_base_random_u64(&random);
}

static void
refuse(const char *message, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s", message), errdetail("%s", detail),
			 errhint("%s", hint)));
}

static void
check_estimator(const BrPgEvaluation *evaluation, BrEstimator estimator)
{
	if (evaluation->learning != (estimator == BR_ESTIMATOR_REPLAY))
		refuse(evaluation->learning ? psprintf("a learning candidate cannot be evaluated by %s",
											   br_eval_estimator_name(estimator))
									: "replay evaluates learning candidates only",
			   evaluation->learning
				   ? "What it would choose depends on what it has learned before, which weights of "
					 "single rows do not know."
				   : "Of a candidate as it stands, weights use all rows of the log.",
			   evaluation->learning ? "Leave \"estimators\" out, or set learning => false."
									: "Ask for ips or dr, or set learning => true.");
	if (estimator == BR_ESTIMATOR_IIPS || estimator == BR_ESTIMATOR_PBM_IPS)
		refuse(psprintf("%s needs more than a log holds", br_eval_estimator_name(estimator)),
			   "It needs marginal propensities of both policies, and a log has conditional ones.",
			   "Use the aggregate of that name over marginal_propensity().");
	if (br_pg_reads_slates(estimator) && evaluation->candidate->owner == NULL)
		refuse(psprintf("%s cannot evaluate policy \"%s\"", br_eval_estimator_name(estimator),
						evaluation->candidate->name),
			   "Of a catalog's slates the first slot is evaluated: what later slots would have held "
			   "depends on how their bundles overlap, which the log does not hold.",
			   "Ask for estimators of single choices, such as ips, snips and dr.");
}

/* of indexed policies the eligible arms are what an index finds */
static void
check_candidate(const BrPgEvaluation *evaluation)
{
	if (evaluation->candidate->indexed)
		refuse(psprintf("policy \"%s\" cannot be evaluated", evaluation->candidate->name),
			   "It finds its arms by an index, so that a log does not say what else it might have "
			   "chosen.",
			   "Create a policy with the same parameters and without \"index\", and evaluate that.");
}

/* each alarm once, however many estimates it concerns */
static void
warn(const BrPgEvaluation *evaluation, const BrPgEstimate *estimates)
{
	const BrPgEstimate *worst = NULL;

	for (int i = 0; i < evaluation->n_estimators; i++)
		if (estimates[i].warning != NULL &&
			(worst == NULL || strlen(estimates[i].warning) > strlen(worst->warning)))
			worst = &estimates[i];
	if (worst != NULL)
		ereport(WARNING,
				(errmsg("estimates for policy \"%s\" are doubtful", evaluation->candidate->name),
				 errdetail("By %s %s.", br_eval_estimator_name(worst->estimator), worst->warning)));
}

void
br_pg_evaluate(const BrPgEvaluation *evaluation, BrPgEstimate *estimates)
{
	check_candidate(evaluation);
	for (int i = 0; i < evaluation->n_estimators; i++)
		check_estimator(evaluation, evaluation->estimators[i]);
	if (evaluation->learning)
		br_pg_evaluate_learning(evaluation, estimates);
	else
		br_pg_evaluate_frozen(evaluation, estimates);
	warn(evaluation, estimates);
}
