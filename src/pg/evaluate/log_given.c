/*
 * log_given.c
 *	  Rows of a log that a query returns, with the caller's rights.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/evaluate/evaluate_int.h"
#include "pg/policy/context.h"

/* Columns by name. */
enum
{
	ARM,
	REWARD,
	PROPENSITY,
	CONTEXT,
	FEATURES,
	ELIGIBLE,
	USER_ID,
	RANK,
	DECISION_ID,
	DECIDED_AT
};

static const BrPgQueryColumn columns[BR_PG_LOG_COLUMNS] = {
	[ARM] = {"arm", BR_PG_QUERY_TEXT},
	[REWARD] = {"reward", BR_PG_QUERY_NUMBER},
	[PROPENSITY] = {"propensity", BR_PG_QUERY_NUMBER},
	[CONTEXT] = {"context", BR_PG_QUERY_CONTEXT},
	[FEATURES] = {"features", BR_PG_QUERY_NUMBERS},
	[ELIGIBLE] = {"eligible", BR_PG_QUERY_TEXTS},
	[USER_ID] = {"user_id", BR_PG_QUERY_TEXT},
	[RANK] = {"rank", BR_PG_QUERY_WHOLE},
	[DECISION_ID] = {"decision_id", BR_PG_QUERY_WHOLE},
	[DECIDED_AT] = {"decided_at", BR_PG_QUERY_TIME},
};

static void
find_columns(BrPgLog *log)
{
	memcpy(log->columns, columns, sizeof(columns));
	for (int i = 0; i < BR_PG_LOG_COLUMNS; i++)
		if (i == ARM || i == REWARD || i == PROPENSITY)
			br_pg_query_need_column(&log->query, &log->columns[i],
									"It needs arm (text), reward and propensity (numbers); context, "
									"features, eligible, user_id, decision_id and rank, and decided_at "
									"where there are such.");
		else
			br_pg_query_find_column(&log->query, &log->columns[i]);
	if (log->columns[RANK].number != 0 && log->columns[DECISION_ID].number == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the log has a column \"rank\" and no column \"decision_id\""),
				 errhint("Slots of one decision are told apart by both.")));
}

static bool
value_of(const BrPgLog *log, int column, Datum *value)
{
	return br_pg_log_value(log, log->columns[column].number, value);
}

static int32
number_of_arm(const BrPgLog *log, const BrPgPolicyState *state, const char *name)
{
	int arm = br_pg_policy_arm(state, name);

	if (arm < 0)
		br_pg_log_refuse(log, psprintf("policy \"%s\" has no arm \"%s\"", log->policy.name, name));
	return state->arms[arm];
}

static int32 *
eligible_arms(const BrPgLog *log, const BrPgPolicyState *state, int *n)
{
	Datum value;
	char **names;
	int32 *numbers;

	*n = 0;
	if (!value_of(log, ELIGIBLE, &value))
		return NULL;
	names = br_pg_text_array(DatumGetArrayTypeP(value), "eligible", n);
	numbers = palloc(sizeof(int32) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		numbers[i] = number_of_arm(log, state, names[i]);
		for (int j = 0; j < i; j++)
			if (numbers[j] == numbers[i])
				br_pg_log_refuse(log, psprintf("arm \"%s\" is eligible twice", names[i]));
	}
	return numbers;
}

/* features as they stand in choice_log, or what choose takes */
static float *
context_of(const BrPgLog *log)
{
	const BrPgPolicy *policy = &log->policy;
	int dims = br_pg_context_dims(policy->context);
	double *values;
	Datum value;
	int n;

	if (!value_of(log, CONTEXT, &value))
	{
		if (dims > 0)
			br_pg_log_refuse(log,
							 psprintf("it has no context, which policy \"%s\" needs",
									  policy->name));
		return NULL;
	}
	/* of a log that other policies read too */
	if (dims == 0)
		return NULL;
	if (log->columns[CONTEXT].type == JSONBOID)
		return br_pg_context_features(policy->name, policy->context, JSONBOID, value);
	values = br_pg_float8_argument(DatumGetArrayTypeP(value), "context", &n);
	if (n != dims)
		br_pg_log_refuse(log, psprintf("its context has %d numbers instead of %d", n, dims));
	return br_pg_context_floats(values, n, "the context");
}

static float *
features_of(const BrPgLog *log, int wanted)
{
	double *values;
	Datum value;
	int n;

	if (!value_of(log, FEATURES, &value) || wanted == 0)
		return NULL;
	values = br_pg_float8_argument(DatumGetArrayTypeP(value), "features", &n);
	if (n != wanted)
		br_pg_log_refuse(log, psprintf("\"features\" has %d numbers instead of %d", n, wanted));
	return br_pg_context_floats(values, n, "\"features\"");
}

static double
number_of(const BrPgLog *log, int column)
{
	Datum value;

	if (!value_of(log, column, &value))
		br_pg_log_refuse(log, psprintf("it has no %s", columns[column].name));
	return br_pg_number(value, log->columns[column].type);
}

/* exactly, which a double is not for every decision */
static int64
whole_number(Datum value, Oid type)
{
	if (type == INT8OID)
		return DatumGetInt64(value);
	return type == INT4OID ? DatumGetInt32(value) : DatumGetInt16(value);
}

static void
read_decision(const BrPgLog *log, BrPgLoggedRow *row)
{
	Datum value;

	if (value_of(log, DECISION_ID, &value))
		row->decision = whole_number(value, log->columns[DECISION_ID].type);
	else if (log->columns[DECISION_ID].number != 0)
		br_pg_log_refuse(log, "it has no decision_id");
	if (value_of(log, RANK, &value))
		row->rank = (int) Max(Min(whole_number(value, log->columns[RANK].type), PG_INT32_MAX),
							  PG_INT32_MIN);
	row->has_user = log->columns[USER_ID].number != 0;
	if (value_of(log, USER_ID, &value))
		row->user = TextDatumGetCString(value);
	row->has_time = value_of(log, DECIDED_AT, &value);
	if (row->has_time)
		row->decided_at = DatumGetTimestampTz(value);
}

static void
read_row(BrPgLog *log, BrPgLoggedRow *row)
{
	const BrPgPolicyState *state = br_pg_policy_state(&log->policy);
	BrPgLoggedOptions logged;
	Datum value;
	int32 arm;

	row->propensity = number_of(log, PROPENSITY);
	row->reward = number_of(log, REWARD);
	if (!value_of(log, ARM, &value))
		br_pg_log_refuse(log, "it has no arm");
	arm = number_of_arm(log, state, TextDatumGetCString(value));
	logged.numbers = eligible_arms(log, state, &logged.n);
	logged.context = context_of(log);
	logged.n_context = logged.context != NULL ? br_pg_context_dims(log->policy.context) : 0;
	logged.n_given = (logged.numbers != NULL ? logged.n : state->n_arms) * log->policy.arm_features;
	logged.given = features_of(log, logged.n_given);
	br_pg_log_options(log, &logged, arm, row);
	read_decision(log, row);
}

void
br_pg_log_open_given(BrPgLog *log)
{
	const BrPgPolicy *policy = &log->policy;

	if (policy->owner == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("policy \"%s\" cannot be evaluated over a given log", policy->name),
				 errdetail("It serves a catalog: only the catalog's own log holds the pools, with "
						   "their features, that it would choose among."),
				 errhint("Leave \"log\" out.")));
	if (br_pg_policy_state(policy)->n_arms == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("policy \"%s\" has nothing to choose among", policy->name),
				 errhint("Add arms with add_arms.")));
	br_pg_query_open(&log->query, log->evaluation->query, "log");
	find_columns(log);
	log->read = read_row;
}
