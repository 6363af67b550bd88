/*
 * policy_evaluation_sql.c
 *	  SQL doors of the evaluation of policies (sql/parts/policy_evaluation.sql).
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/choose/choose.h"
#include "pg/evaluate/evaluate.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_evaluate_policy);

/* Places of the arguments. */
enum
{
	AT_CANDIDATE,
	AT_LOG,
	AT_ESTIMATORS,
	AT_LEARNING,
	AT_CAP,
	AT_TAU,
	AT_LAMBDA,
	AT_LEVEL,
	AT_VERSION,
	AT_REWARD_MODEL,
	AT_FOLDS,
	AT_PENALTY,
	AT_BATCH,
	AT_SEED
};

static BrEstimator
estimator_of(const char *name)
{
	StringInfoData names;

	for (int i = BR_ESTIMATOR_IPS; i <= BR_ESTIMATOR_PBM_IPS; i++)
		if (strcmp(br_eval_estimator_name((BrEstimator) i), name) == 0)
			return (BrEstimator) i;
	initStringInfo(&names);
	for (int i = BR_ESTIMATOR_IPS; i <= BR_ESTIMATOR_PBM_IPS; i++)
		appendStringInfo(&names, "%s%s", i > BR_ESTIMATOR_IPS ? ", " : "",
						 br_eval_estimator_name((BrEstimator) i));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown estimator \"%s\"", name),
			 errdetail("There are %s.", names.data)));
	return BR_ESTIMATOR_IPS;
}

static void
read_estimators(FunctionCallInfo fcinfo, BrPgEvaluation *evaluation)
{
	static const BrEstimator usual[] = {BR_ESTIMATOR_IPS, BR_ESTIMATOR_SNIPS, BR_ESTIMATOR_DR};
	char **names;
	int n;

	if (PG_ARGISNULL(AT_ESTIMATORS))
	{
		evaluation->n_estimators = evaluation->learning ? 1 : lengthof(usual);
		memcpy(evaluation->estimators, usual, sizeof(usual));
		if (evaluation->learning)
			evaluation->estimators[0] = BR_ESTIMATOR_REPLAY;
		return;
	}
	names = br_pg_text_array(PG_GETARG_ARRAYTYPE_P(AT_ESTIMATORS), "estimators", &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"estimators\" must not be empty")));
	for (int i = 0; i < n; i++)
	{
		BrEstimator estimator = estimator_of(names[i]);

		for (int j = 0; j < evaluation->n_estimators; j++)
			if (evaluation->estimators[j] == estimator)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("estimator \"%s\" is given twice", names[i])));
		evaluation->estimators[evaluation->n_estimators++] = estimator;
	}
}

/* a number that must be at least, or with above more than, least */
static double
number_argument(FunctionCallInfo fcinfo, int i, const char *name, double least, bool above)
{
	double value;

	br_pg_require_argument(fcinfo, i, name);
	value = PG_GETARG_FLOAT8(i);
	if (!(above ? value > least : value >= least))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is out of range: %g", name, value),
				 errdetail("It must be %s %g.", above ? "above" : "at least", least)));
	return value;
}

static int
count_argument(FunctionCallInfo fcinfo, int i, const char *name, int least, int most)
{
	int value;

	br_pg_require_argument(fcinfo, i, name);
	value = PG_GETARG_INT32(i);
	if (value < least || value > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be between %d and %d", name, least, most),
				 errdetail("It is %d.", value)));
	return value;
}

static double
level_argument(FunctionCallInfo fcinfo)
{
	double level = number_argument(fcinfo, AT_LEVEL, "level", 0, true);

	if (level >= 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"level\" is out of range: %g", level),
				 errdetail("It must be above 0 and below 1, such as 0.95.")));
	return level;
}

static bool
is_logistic(FunctionCallInfo fcinfo)
{
	const char *name = br_pg_text_argument(fcinfo, AT_REWARD_MODEL, "reward_model");

	if (strcmp(name, "ridge") == 0)
		return false;
	if (strcmp(name, "logistic") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown reward model \"%s\"", name),
				 errhint("There are ridge and logistic.")));
	return true;
}

static BrPgPolicy *
candidate_argument(FunctionCallInfo fcinfo)
{
	BrPgPolicy *policy =
		br_pg_policy_open(0, br_pg_text_argument(fcinfo, AT_CANDIDATE, "candidate"));
	bool log = false;

	/* whoever may ask it to choose may ask what it would have chosen */
	if (policy->owner != NULL)
		(void) br_pg_choice_will_log(policy, &log);
	if (!PG_ARGISNULL(AT_VERSION))
		br_pg_policy_at(policy, PG_GETARG_INT32(AT_VERSION), policy->arms_version);
	return policy;
}

static void
read_arguments(FunctionCallInfo fcinfo, BrPgEvaluation *evaluation)
{
	br_pg_require_argument(fcinfo, AT_LEARNING, "learning");
	evaluation->learning = PG_GETARG_BOOL(AT_LEARNING);
	read_estimators(fcinfo, evaluation);
	evaluation->cap = number_argument(fcinfo, AT_CAP, "cap", 0, true);
	evaluation->tau = number_argument(fcinfo, AT_TAU, "tau", 0, false);
	evaluation->lambda = number_argument(fcinfo, AT_LAMBDA, "lambda", 0, false);
	evaluation->level = level_argument(fcinfo);
	evaluation->logistic = is_logistic(fcinfo);
	evaluation->folds = count_argument(fcinfo, AT_FOLDS, "folds", 2, BR_EVAL_MAX_FOLDS);
	evaluation->penalty = number_argument(fcinfo, AT_PENALTY, "penalty", 0, false);
	evaluation->batch = count_argument(fcinfo, AT_BATCH, "batch", 1, 1000000);
	br_pg_require_argument(fcinfo, AT_SEED, "seed");
	evaluation->seed = (uint64) PG_GETARG_INT64(AT_SEED);
	evaluation->query = PG_ARGISNULL(AT_LOG) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(AT_LOG));
}

/* evaluate_policy(candidate, log, estimators, learning, ...) */
PGDLLEXPORT Datum
br_evaluate_policy(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgEvaluation evaluation = {.n_estimators = 0};
	BrPgEstimate estimates[BR_PG_MAX_ESTIMATORS];

	InitMaterializedSRF(fcinfo, 0);
	read_arguments(fcinfo, &evaluation);
	SPI_connect();
	evaluation.candidate = candidate_argument(fcinfo);
	br_pg_evaluate(&evaluation, estimates);
	for (int i = 0; i < evaluation.n_estimators; i++)
	{
		const BrPgEstimate *one = &estimates[i];
		Datum values[10];
		bool nulls[10] = {false};

		values[0] = CStringGetTextDatum(br_eval_estimator_name(one->estimator));
		br_pg_set_number(values, nulls, 1, one->estimate.value);
		br_pg_set_number(values, nulls, 2, one->estimate.standard_error);
		br_pg_set_number(values, nulls, 3, one->lower);
		br_pg_set_number(values, nulls, 4, one->upper);
		values[5] = Int64GetDatum(one->estimate.rows);
		br_pg_set_number(values, nulls, 6, one->estimate.effective_sample_size);
		br_pg_set_number(values, nulls, 7, one->estimate.max_weight);
		br_pg_set_number(values, nulls, 8, one->estimate.mean_weight);
		nulls[9] = one->warning == NULL;
		values[9] = nulls[9] ? (Datum) 0 : CStringGetTextDatum(one->warning);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	PG_RETURN_NULL();
}
