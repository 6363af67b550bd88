/*
 * create.c
 *	  Creating policies: the defaults, and the parameters that replace them.
 *
 * The defaults are those of the simulated shops of
 * test/unit/test_bandit_learning.c, for features in [0, 1] and rewards that are
 * clicks. The prior trusts the calibrated score: mean 1 on that feature, 0
 * elsewhere, so that an untaught policy expects just the click rate that the
 * score states. The noise is set below the variance c(1 - c) of a click: at
 * rates of a few per cent the honest one explores for longer than a few
 * thousand decisions repay. For rewards s times as large, noise wants to be
 * s * s times as large and prior_precision as much smaller.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "core/bundle/br_bundle.h"
#include "pg/catalog/catalog.h"
#include "pg/policy/policy.h"

#define DEFAULT_DRAWS 256
#define DEFAULT_DIVERSITY 0.5
#define DEFAULT_PRIOR_PRECISION 1000.0
#define DEFAULT_NOISE 0.01
#define DEFAULT_THOMPSON_EPSILON 0.02
#define DEFAULT_GREEDY_EPSILON 0.1

typedef struct Parameters
{
	double epsilon;
	double draws;
	double diversity;
	double prior_precision;
	double noise;
} Parameters;

/* A parameter by name, with the range in which it makes sense. */
typedef struct ParameterRule
{
	const char *name;
	size_t offset;
	double least;
	double most;
	bool whole;
} ParameterRule;

static const ParameterRule parameter_rules[] = {
	{"epsilon", offsetof(Parameters, epsilon), 0, 1, false},
	{"draws", offsetof(Parameters, draws), 1, 65535, true},
	{"diversity", offsetof(Parameters, diversity), 0, 100, false},
	{"prior_precision", offsetof(Parameters, prior_precision), 1e-9, 1e12, false},
	{"noise", offsetof(Parameters, noise), 1e-9, 1e12, false},
};

static double
number_of(const char *what, const char *key, const char *text)
{
	char *end;
	double value;

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s \"%s\" is null", what, key),
				 errhint("Give a number.")));
	value = strtod(text, &end);
	if (*text == '\0' || *end != '\0' || !isfinite(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" is not a number: \"%s\"", what, key, text)));
	return value;
}

static void
set_parameter(Parameters *parameters, const char *key, const char *text)
{
	for (int i = 0; i < lengthof(parameter_rules); i++)
	{
		const ParameterRule *rule = &parameter_rules[i];
		double value;

		if (strcmp(rule->name, key) != 0)
			continue;
		value = number_of("parameter", key, text);
		if (value < rule->least || value > rule->most || (rule->whole && value != rint(value)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parameter \"%s\" is out of range: %s", key, text),
					 errdetail("It is a %s between %g and %g.",
							   rule->whole ? "whole number" : "number", rule->least, rule->most)));
		*(double *) ((char *) parameters + rule->offset) = value;
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown policy parameter \"%s\"", key),
			 errhint("Parameters are epsilon, draws, diversity, prior_precision and noise.")));
}

static Parameters
default_parameters(const char *algorithm)
{
	Parameters parameters = {
		.epsilon = DEFAULT_THOMPSON_EPSILON,
		.draws = DEFAULT_DRAWS,
		.diversity = DEFAULT_DIVERSITY,
		.prior_precision = DEFAULT_PRIOR_PRECISION,
		.noise = DEFAULT_NOISE,
	};

	if (strcmp(algorithm, "epsilon_greedy") == 0)
		parameters.epsilon = DEFAULT_GREEDY_EPSILON;
	else if (strcmp(algorithm, "linear_thompson") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown algorithm \"%s\"", algorithm),
				 errhint("Algorithms are linear_thompson and epsilon_greedy.")));
	return parameters;
}

/* Rows (key, value as text) of a jsonb object; anything but an object is refused. */
static uint64
open_object(Datum object, const char *argument)
{
	static const Oid types[] = {JSONBOID};
	bool is_null;

	br_pg_execute("SELECT pg_catalog.jsonb_typeof($1) = 'object'", 1, types, &object, NULL, true,
				  1);
	if (!DatumGetBool(br_pg_column(0, 1, &is_null)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a JSON object", argument)));
	return br_pg_execute("SELECT key, value FROM pg_catalog.jsonb_each_text($1)", 1, types, &object,
						 NULL, true, 0);
}

static void
check_reward(Datum reward)
{
	uint64 n = open_object(reward, "reward");

	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"reward\" names no kind of feedback"),
				 errhint("Give a weight for at least one kind, such as {\"click\": 1}.")));
	for (uint64 i = 0; i < n; i++)
		(void) number_of("reward of kind", br_pg_column_text(i, 1), br_pg_column_text(i, 2));
}

static void
check_window(Datum window)
{
	Datum zero = DirectFunctionCall3(interval_in, CStringGetDatum("0"),
									 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));

	if (DatumGetBool(DirectFunctionCall2(interval_lt, window, zero)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"attribution_window\" is negative")));
}

static void
insert_policy(const BrPgPolicyRequest *request, const Parameters *parameters)
{
	static const Oid types[] = {INT4OID,   TEXTOID,		TEXTOID,		BOOLOID,	   INT4OID,
								FLOAT8OID, INT4OID,		FLOAT8OID,		FLOAT8OID,	   FLOAT8OID,
								JSONBOID,  INTERVALOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID};
	double prior_mean[BR_FEATURE_COUNT] = {[BR_FEATURE_SCORE] = 1.0};
	int n_evidence = (int) br_bandit_evidence_length(BR_FEATURE_COUNT);
	double *evidence = palloc0(sizeof(double) * n_evidence);
	Datum values[] = {
		Int32GetDatum(request->catalog),
		CStringGetTextDatum(request->name),
		CStringGetTextDatum(request->algorithm),
		BoolGetDatum(request->make_default),
		Int32GetDatum(BR_FEATURE_SCHEMA),
		Float8GetDatum(parameters->epsilon),
		Int32GetDatum((int32) parameters->draws),
		Float8GetDatum(parameters->diversity),
		Float8GetDatum(parameters->prior_precision),
		Float8GetDatum(parameters->noise),
		request->reward,
		request->window,
		br_pg_float8_array(prior_mean, BR_FEATURE_COUNT),
		br_pg_float8_array(evidence, n_evidence),
	};

	br_pg_catalog_hold(request->catalog);
	if (request->make_default)
		br_pg_execute("UPDATE bundle_rec.policy SET is_default = false"
					  " WHERE catalog = $1 AND is_default",
					  1, types, values, NULL, false, 0);
	if (br_pg_execute("WITH made AS (INSERT INTO bundle_rec.policy (catalog, name, algorithm,"
					  " is_default, feature_schema, epsilon, draws, diversity, prior_precision,"
					  " noise, reward, attribution_window, prior_mean)"
					  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
					  " ON CONFLICT (name) DO NOTHING RETURNING policy)"
					  " INSERT INTO bundle_rec.posterior (policy, version, feature_schema,"
					  " evidence, decisions, events) SELECT policy, 0, $5, $14, 0, 0 FROM made",
					  lengthof(types), types, values, NULL, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("policy \"%s\" already exists", request->name),
				 errhint("Choose another name: decisions refer to policies for good.")));
}

void
br_pg_policy_create(const BrPgPolicyRequest *request)
{
	Parameters parameters = default_parameters(request->algorithm);
	uint64 n = open_object(request->parameters, "params");

	if (request->name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a policy must not be empty")));
	for (uint64 i = 0; i < n; i++)
		set_parameter(&parameters, br_pg_column_text(i, 1), br_pg_column_text(i, 2));
	check_reward(request->reward);
	check_window(request->window);
	insert_policy(request, &parameters);
}

void
br_pg_policy_create_default(int32 catalog, const char *catalog_name)
{
	BrPgPolicyRequest request = {
		.name = catalog_name,
		.algorithm = "linear_thompson",
		.catalog = catalog,
		.parameters = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")),
		.reward = DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"click\": 1}")),
		.window = DirectFunctionCall3(interval_in, CStringGetDatum("1 day"),
									  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)),
		.make_default = true,
	};

	br_pg_policy_create(&request);
}
