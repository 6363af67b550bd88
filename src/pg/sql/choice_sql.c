/*
 * choice_sql.c
 *	  SQL doors of choices among named arms (sql/parts/choice.sql).
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "pg/choose/choose.h"
#include "pg/choose/warm_start.h"
#include "pg/decide/decision_log.h"
#include "pg/policy/context.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_choose);
PG_FUNCTION_INFO_V1(br_arrange);
PG_FUNCTION_INFO_V1(br_choice_probabilities);
PG_FUNCTION_INFO_V1(br_marginal_propensity);
PG_FUNCTION_INFO_V1(br_replay_choice);
PG_FUNCTION_INFO_V1(br_warm_start);

#define LEAST_REPLAYS 1000
#define MOST_REPLAYS 10000000

/* ---- arguments ---- */

static int
slots_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	int slots;

	br_pg_require_argument(fcinfo, i, name);
	slots = PG_GETARG_INT32(i);
	if (slots < 1 || slots > BR_PG_MAX_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be between 1 and %d", name, BR_PG_MAX_SLOTS),
				 errdetail("It is %d.", slots)));
	return slots;
}

/* where the arguments that all of them have stand */
typedef struct Places
{
	int arms, context, features;
} Places;

static BrPgGiven
given_arguments(FunctionCallInfo fcinfo, const Places *at)
{
	BrPgGiven given = {.context_type = InvalidOid};

	if (!PG_ARGISNULL(at->arms))
	{
		given.arms = br_pg_text_array(PG_GETARG_ARRAYTYPE_P(at->arms), "arms", &given.n_arms);
	}
	if (!PG_ARGISNULL(at->context))
	{
		given.context_type = get_fn_expr_argtype(fcinfo->flinfo, at->context);
		given.context = PG_GETARG_DATUM(at->context);
	}
	if (!PG_ARGISNULL(at->features))
		given.features = br_pg_float8_argument(PG_GETARG_ARRAYTYPE_P(at->features), "features",
											   &given.n_features);
	return given;
}

static BrPgPolicy *
policy_argument(FunctionCallInfo fcinfo, const char *function)
{
	BrPgPolicy *policy = br_pg_policy_open(0, br_pg_text_argument(fcinfo, 0, "policy"));

	br_pg_policy_require_arms(policy, function);
	return policy;
}

/* key and seed of a choice; argument i is the seed */
static void
draw_key(FunctionCallInfo fcinfo, int i, BrPgChoice *choice)
{
	choice->seeded = !PG_ARGISNULL(i);
	choice->key = choice->seeded ? (uint64) PG_GETARG_INT64(i) : br_pg_decision_key();
}

/* takes the choice, and logs it as argument i says */
static void
take(FunctionCallInfo fcinfo, int i, BrPgChoice *choice)
{
	bool log = !PG_ARGISNULL(i) && PG_GETARG_BOOL(i);
	bool will_log = br_pg_choice_will_log(choice->options->policy, PG_ARGISNULL(i) ? NULL : &log);

	br_pg_choose(choice);
	if (will_log)
		br_pg_choice_log(choice);
}

static Datum
arm_name(const BrPgOptions *options, int member)
{
	return CStringGetTextDatum(options->names[member]);
}

/* ---- choose ---- */

/* choose(policy, arms, context, k, user_id, features, log, seed) */
PGDLLEXPORT Datum
br_choose(PG_FUNCTION_ARGS)
{
	static const Places at = {.arms = 1, .context = 2, .features = 5};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgChoice choice = {.decision_id = 0};
	BrPgGiven given;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	given = given_arguments(fcinfo, &at);
	choice.wanted = slots_argument(fcinfo, 3, "k");
	choice.user_id = PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4));
	draw_key(fcinfo, 7, &choice);
	choice.options =
		br_pg_options(policy_argument(fcinfo, "choose"), &given, choice.wanted, choice.key);
	take(fcinfo, 6, &choice);

	for (int i = 0; i < choice.slate.slots; i++)
	{
		int member = choice.slate.chosen[i];
		Datum values[] = {
			Int32GetDatum(i + 1),
			Int64GetDatum(choice.decision_id),
			arm_name(choice.options, member),
			Float8GetDatum(choice.slate.expected[member]),
			Float8GetDatum(choice.slate.propensity[i]),
		};
		bool nulls[] = {false, choice.decision_id == 0, false, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	PG_RETURN_NULL();
}

/* ---- arrange ---- */

/* rank of each position: the position that is examined most has rank 1; earlier ones at ties */
static int *
ranks_of_positions(const BrPgPolicy *policy, int n)
{
	int *ranks = palloc(sizeof(int) * n);

	if (policy->examination != NULL && policy->n_examination < n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("policy \"%s\" knows the examination of %d positions, not of %d",
						policy->name, policy->n_examination, n),
				 errhint("Give one share for each position: alter_policy(..., "
						 "'{\"examination\": [...]}').")));
	for (int i = 0; i < n; i++)
	{
		ranks[i] = 0;
		for (int j = 0; j < n; j++)
		{
			double here = policy->examination != NULL ? policy->examination[i] : 1;
			double there = policy->examination != NULL ? policy->examination[j] : 1;

			if (there > here || (there == here && j < i))
				ranks[i]++;
		}
	}
	return ranks;
}

static char **
positions_argument(FunctionCallInfo fcinfo, int i, int *n)
{
	char **positions;

	br_pg_require_argument(fcinfo, i, "positions");
	positions = br_pg_text_array(PG_GETARG_ARRAYTYPE_P(i), "positions", n);
	if (*n < 1 || *n > BR_PG_MAX_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"positions\" must be between 1 and %d", BR_PG_MAX_SLOTS),
				 errdetail("There are %d.", *n)));
	return positions;
}

/* arrange(policy, items, positions, context, user_id, features, log, seed) */
PGDLLEXPORT Datum
br_arrange(PG_FUNCTION_ARGS)
{
	static const Places at = {.arms = 1, .context = 3, .features = 5};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgChoice choice = {.decision_id = 0};
	BrPgGiven given;
	BrPgPolicy *policy;
	char **positions;
	int *ranks;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	policy = policy_argument(fcinfo, "arrange");
	given = given_arguments(fcinfo, &at);
	positions = positions_argument(fcinfo, 2, &choice.wanted);
	ranks = ranks_of_positions(policy, choice.wanted);
	choice.user_id = PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4));
	draw_key(fcinfo, 7, &choice);
	choice.options = br_pg_options(policy, &given, choice.wanted, choice.key);
	choice.positions = palloc(sizeof(char *) * choice.wanted);
	for (int i = 0; i < choice.wanted; i++)
		choice.positions[ranks[i]] = positions[i];
	take(fcinfo, 6, &choice);

	for (int i = 0; i < choice.wanted; i++)
	{
		int member = choice.slate.chosen[ranks[i]];
		Datum values[] = {
			CStringGetTextDatum(positions[i]),
			Int64GetDatum(choice.decision_id),
			Int32GetDatum(ranks[i] + 1),
			arm_name(choice.options, member),
			Float8GetDatum(choice.slate.expected[member]),
			Float8GetDatum(choice.slate.propensity[ranks[i]]),
		};
		bool nulls[] = {false, choice.decision_id == 0, false, false, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	PG_RETURN_NULL();
}

/* ---- what would be chosen ---- */

/* the options of a call that only asks, as of a version where one is given */
static BrPgOptions *
asked_options(FunctionCallInfo fcinfo, const char *function, const Places *at, int version,
			  int slots, uint64 key)
{
	BrPgPolicy *policy = policy_argument(fcinfo, function);
	BrPgGiven given = given_arguments(fcinfo, at);
	bool log = false;

	(void) br_pg_choice_will_log(policy, &log);
	if (!PG_ARGISNULL(version))
		br_pg_policy_at(policy, PG_GETARG_INT32(version), policy->arms_version);
	return br_pg_options(policy, &given, slots, key);
}

static uint64
seed_argument(FunctionCallInfo fcinfo, int i)
{
	br_pg_require_argument(fcinfo, i, "seed");
	return (uint64) PG_GETARG_INT64(i);
}

/* choice_probabilities(policy, arms, context, features, version, seed) */
PGDLLEXPORT Datum
br_choice_probabilities(PG_FUNCTION_ARGS)
{
	static const Places at = {.arms = 1, .context = 2, .features = 3};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgOptions *options;
	BrSlateRequest request;
	BrContext context;
	BrSlate slate;
	double *probability;
	uint64 key;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	key = seed_argument(fcinfo, 5);
	options = asked_options(fcinfo, "choice_probabilities", &at, 4, 1, key);
	request = br_pg_options_request(options, 1, key);
	probability = palloc(sizeof(double) * options->n);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bandit_slate(&context, options->state->belief, &request, &slate), &context,
				"could not compute probabilities", NULL);
	br_pg_check(br_bandit_probabilities(&context, options->state->belief, &request, NULL, 0,
										probability),
				&context, "could not compute probabilities", NULL);
	for (int i = 0; i < options->n; i++)
	{
		Datum values[] = {arm_name(options, i), Float8GetDatum(probability[i]),
						  Float8GetDatum(slate.expected[i])};
		bool nulls[] = {false, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	PG_RETURN_NULL();
}

/* marginal_propensity(policy, slots, arms, context, features, version, replays, seed) */
PGDLLEXPORT Datum
br_marginal_propensity(PG_FUNCTION_ARGS)
{
	static const Places at = {.arms = 2, .context = 3, .features = 4};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgOptions *options;
	BrSlateRequest request;
	BrContext context;
	double *probability;
	bool estimated;
	int slots, replays;
	uint64 key;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	slots = slots_argument(fcinfo, 1, "slots");
	br_pg_require_argument(fcinfo, 6, "replays");
	replays = PG_GETARG_INT32(6);
	if (replays < LEAST_REPLAYS || replays > MOST_REPLAYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"replays\" must be between %d and %d", LEAST_REPLAYS, MOST_REPLAYS)));
	key = seed_argument(fcinfo, 7);
	options = asked_options(fcinfo, "marginal_propensity", &at, 5, slots, key);
	if (slots > options->n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d slots are wanted and %d arms are eligible", slots, options->n)));
	request = br_pg_options_request(options, slots, key);
	probability = palloc(sizeof(double) * options->n * slots);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bandit_marginals(&context, options->state->belief, &request, replays, &estimated,
									probability),
				&context, "could not compute probabilities", NULL);
	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < options->n * slots; i++)
	{
		Datum values[] = {arm_name(options, i / slots), Int32GetDatum(i % slots + 1),
						  Float8GetDatum(probability[i]), BoolGetDatum(estimated)};
		bool nulls[] = {false, false, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	PG_RETURN_NULL();
}

/* replay_choice(decision_id) */
PGDLLEXPORT Datum
br_replay_choice(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgChoice *choice;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	choice = br_pg_choice_replay(PG_GETARG_INT64(0));
	for (int i = 0; i < choice->slate.slots; i++)
	{
		int member = choice->slate.chosen[i];
		Datum values[] = {
			Int32GetDatum(i + 1),
			arm_name(choice->options, member),
			Float8GetDatum(choice->slate.expected[member]),
			Float8GetDatum(choice->slate.propensity[i]),
		};
		bool nulls[] = {false, false, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	PG_RETURN_NULL();
}

/* ---- learning ---- */

/* warm_start(policy, query) */
PGDLLEXPORT Datum
br_warm_start(PG_FUNCTION_ARGS)
{
	BrPgPolicy *policy;
	int64 rows;

	br_pg_require_writes("warm_start()");
	SPI_connect();
	policy = br_pg_policy_open(0, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	br_pg_policy_require_owner(policy);
	rows = br_pg_policy_warm_start(policy->name, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	SPI_finish();
	PG_RETURN_INT64(rows);
}
