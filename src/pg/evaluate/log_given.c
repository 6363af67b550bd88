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

/* Columns by name, in the order of BrPgLog.columns. */
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

typedef struct Column
{
	const char *name;
	Oid types[2];
	bool needed;
} Column;

static const Column columns[] = {
	[ARM] = {"arm", {TEXTOID, VARCHAROID}, true},
	[REWARD] = {"reward", {FLOAT8OID, FLOAT8OID}, true},
	[PROPENSITY] = {"propensity", {FLOAT8OID, FLOAT8OID}, true},
	[CONTEXT] = {"context", {FLOAT8ARRAYOID, JSONBOID}, false},
	[FEATURES] = {"features", {FLOAT8ARRAYOID, FLOAT8ARRAYOID}, false},
	[ELIGIBLE] = {"eligible", {TEXTARRAYOID, TEXTARRAYOID}, false},
	[USER_ID] = {"user_id", {TEXTOID, VARCHAROID}, false},
	[RANK] = {"rank", {INT4OID, INT4OID}, false},
	[DECISION_ID] = {"decision_id", {INT8OID, INT4OID}, false},
	[DECIDED_AT] = {"decided_at", {TIMESTAMPTZOID, TIMESTAMPTZOID}, false},
};

static void
find_columns(BrPgLog *log, TupleDesc descriptor)
{
	for (int i = 0; i < (int) lengthof(columns); i++)
	{
		const Column *column = &columns[i];
		int number = SPI_fnumber(descriptor, column->name);

		if (number <= 0 && column->needed)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the log has no column \"%s\"", column->name),
					 errhint("It needs arm (text), reward and propensity (double precision); "
							 "context, features, eligible, user_id, decision_id and rank, and "
							 "decided_at where there are such.")));
		if (number <= 0)
			continue;
		log->columns[i] = number;
		log->types[i] = SPI_gettypeid(descriptor, number);
		if (log->types[i] != column->types[0] && log->types[i] != column->types[1])
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of the log has type %s instead of %s", column->name,
							format_type_be(log->types[i]), format_type_be(column->types[0]))));
	}
	if (log->columns[RANK] != 0 && log->columns[DECISION_ID] == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the log has a column \"rank\" and no column \"decision_id\""),
				 errhint("Slots of one decision are told apart by both.")));
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
	if (!br_pg_log_value(log, log->columns[ELIGIBLE], &value))
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

	if (!br_pg_log_value(log, log->columns[CONTEXT], &value))
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
	if (log->types[CONTEXT] == JSONBOID)
		return br_pg_context_features(policy->name, policy->context, JSONBOID, value);
	values = br_pg_float8_argument(DatumGetArrayTypeP(value), "context", &n);
	if (n != dims)
		br_pg_log_refuse(log, psprintf("its context has %d numbers instead of %d", n, dims));
	return br_pg_context_floats(values, n, "the context");
}

static float *
features_of(const BrPgLog *log, int n_arms)
{
	const BrPgPolicy *policy = &log->policy;
	int64 wanted = (int64) n_arms * policy->arm_features;
	double *values;
	Datum value;
	int n;

	if (!br_pg_log_value(log, log->columns[FEATURES], &value) || policy->arm_features == 0)
		return NULL;
	values = br_pg_float8_argument(DatumGetArrayTypeP(value), "features", &n);
	if (n != wanted)
		br_pg_log_refuse(log,
						 psprintf("\"features\" has %d numbers instead of %lld", n,
								  (long long) wanted));
	return br_pg_context_floats(values, n, "\"features\"");
}

static double
number_column(const BrPgLog *log, int column)
{
	Datum value;

	if (!br_pg_log_value(log, log->columns[column], &value))
		br_pg_log_refuse(log, psprintf("it has no %s", columns[column].name));
	return DatumGetFloat8(value);
}

static void
read_decision(const BrPgLog *log, BrPgLoggedRow *row)
{
	Datum value;

	if (br_pg_log_value(log, log->columns[DECISION_ID], &value))
		row->decision =
			log->types[DECISION_ID] == INT8OID ? DatumGetInt64(value) : DatumGetInt32(value);
	else if (log->columns[DECISION_ID] != 0)
		br_pg_log_refuse(log, "it has no decision_id");
	if (br_pg_log_value(log, log->columns[RANK], &value))
		row->rank = DatumGetInt32(value);
	row->has_user = log->columns[USER_ID] != 0;
	if (br_pg_log_value(log, log->columns[USER_ID], &value))
		row->user = TextDatumGetCString(value);
	row->has_time = br_pg_log_value(log, log->columns[DECIDED_AT], &value);
	if (row->has_time)
		row->decided_at = DatumGetTimestampTz(value);
}

static void
read_row(BrPgLog *log, BrPgLoggedRow *row)
{
	const BrPgPolicyState *state = br_pg_policy_state(&log->policy);
	Datum value;
	int32 *eligible;
	int32 arm;
	int n;

	row->propensity = number_column(log, PROPENSITY);
	row->reward = number_column(log, REWARD);
	if (!br_pg_log_value(log, log->columns[ARM], &value))
		br_pg_log_refuse(log, "it has no arm");
	arm = number_of_arm(log, state, TextDatumGetCString(value));
	eligible = eligible_arms(log, state, &n);
	br_pg_log_options(log, eligible, n, context_of(log),
					  features_of(log, eligible != NULL ? n : state->n_arms), arm, row);
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
	log->portal = SPI_cursor_open_with_args(NULL, log->evaluation->query, 0, NULL, NULL, NULL, true,
											CURSOR_OPT_NO_SCROLL);
	find_columns(log, log->portal->tupDesc);
	log->read = read_row;
}
