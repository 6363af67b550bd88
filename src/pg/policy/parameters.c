/*
 * parameters.c
 *	  What params of create_policy and alter_policy say, and how the numbers of
 *	  a version are stored.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "pg/policy/policy.h"

static const char *const model_names[] =
	{[BR_MODEL_ARM] = "arm", [BR_MODEL_SHARED] = "shared", [BR_MODEL_DISJOINT] = "disjoint"};

static void
refuse(const char *key, const char *should_be)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("parameter \"%s\" is wrong", key),
			 errdetail("It must be %s.", should_be)));
}

BrModel
br_pg_policy_model_of(const char *name)
{
	for (int i = 0; i < lengthof(model_names); i++)
		if (strcmp(model_names[i], name) == 0)
			return (BrModel) i;
	refuse("model", "\"arm\", \"shared\" or \"disjoint\"");
	return BR_MODEL_ARM;
}

const char *
br_pg_policy_model_name(BrModel model)
{
	return model_names[model];
}

/* ---- values ---- */

static double
number_of(const char *key, const JsonbValue *value)
{
	double number;

	if (value->type != jbvNumeric)
		refuse(key, "a number");
	number =
		DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
	if (!isfinite(number))
		refuse(key, "a finite number");
	return number;
}

static double
number_within(const char *key, const JsonbValue *value, double least, double most, bool whole)
{
	double number = number_of(key, value);

	if (number < least || number > most || (whole && number != rint(number)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" is out of range: %g", key, number),
				 errdetail("It is a %s between %g and %g.", whole ? "whole number" : "number",
						   least, most)));
	return number;
}

static char *
text_of(const char *key, const JsonbValue *value)
{
	if (value->type != jbvString)
		refuse(key, "a text");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static bool
boolean_of(const char *key, const JsonbValue *value)
{
	if (value->type != jbvBool)
		refuse(key, "true or false");
	return value->val.boolean;
}

static Interval *
interval_of(const char *key, const JsonbValue *value)
{
	const Interval nothing = {0};
	Interval *interval =
		DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text_of(key, value)),
											  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));

	if (!DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(interval),
										  IntervalPGetDatum(&nothing))))
		refuse(key, "an interval above 0");
	return interval;
}

/* shares in (0, 1] */
static void
read_examination(const char *key, const JsonbValue *value, BrPgPolicySettings *settings)
{
	JsonbContainer *array = value->type == jbvBinary ? value->val.binary.data : NULL;
	uint32 n;

	settings->n_examination = 0;
	settings->examination = NULL;
	if (value->type == jbvNull)
		return;
	if (array == NULL || !JsonContainerIsArray(array) || JsonContainerSize(array) == 0)
		refuse(key, "an array of numbers above 0 and at most 1");
	n = JsonContainerSize(array);
	settings->examination = palloc(sizeof(double) * n);
	for (uint32 i = 0; i < n; i++)
	{
		settings->examination[i] = number_of(key, getIthJsonbValueFromContainer(array, i));
		if (!(settings->examination[i] > 0 && settings->examination[i] <= 1))
			refuse(key, "an array of numbers above 0 and at most 1");
	}
	settings->n_examination = (int) n;
}

static void
read_context(const char *key, JsonbValue *value, BrPgPolicySettings *settings)
{
	if (value->type == jbvNumeric)
		(void) number_within(key, value, 1, BR_BANDIT_MAX_DIMS, true);
	else if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data) ||
			 JsonContainerSize(value->val.binary.data) == 0)
		refuse(key, "a number of features, or an object of names");
	settings->context = JsonbValueToJsonb(value);
}

/* ---- keys ---- */

/* what stands for itself; false: no key of these */
static bool
read_shape(const char *key, JsonbValue *value, BrPgPolicySettings *settings)
{
	if (strcmp(key, "model") == 0)
	{
		settings->model = br_pg_policy_model_of(text_of(key, value));
		settings->model_given = true;
	}
	else if (strcmp(key, "context") == 0)
		read_context(key, value, settings);
	else if (strcmp(key, "arm_features") == 0)
		settings->arm_features = (int) number_within(key, value, 0, BR_BANDIT_MAX_DIMS, true);
	else if (strcmp(key, "interactions") == 0)
		settings->interactions = boolean_of(key, value);
	else if (strcmp(key, "index") == 0)
		settings->indexed = boolean_of(key, value);
	else
		return false;
	settings->shape_given = true;
	return true;
}

static bool
read_ageing(const char *key, const JsonbValue *value, BrPgPolicySettings *settings)
{
	if (strcmp(key, "discount") == 0)
	{
		settings->discount = number_of(key, value);
		if (!(settings->discount > 0 && settings->discount <= 1))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parameter \"discount\" is out of range: %g", settings->discount),
					 errdetail("It must be above 0 and at most 1.")));
	}
	else if (strcmp(key, "discount_period") == 0)
		settings->discount_period = interval_of(key, value);
	else if (strcmp(key, "evidence_window") == 0)
		settings->evidence_window = value->type == jbvNull ? NULL : interval_of(key, value);
	else if (strcmp(key, "examination") == 0)
		read_examination(key, value, settings);
	else if (strcmp(key, "keep_versions") == 0)
		settings->keep_versions =
			value->type == jbvNull ? 0 : (int32) number_within(key, value, 1, PG_INT32_MAX, true);
	else if (strcmp(key, "keep_decisions") == 0)
		settings->keep_decisions = value->type == jbvNull ? NULL : interval_of(key, value);
	else if (strcmp(key, "fold_size") == 0)
		settings->fold_size = (int32) number_within(key, value, 1, PG_INT32_MAX, true);
	else if (strcmp(key, "fold_every") == 0)
		settings->fold_every = interval_of(key, value);
	else
		return false;
	return true;
}

static const BrParameterRule *
rule_of(const char *key)
{
	const BrParameterRule *rule;

	for (int i = 0; (rule = br_bandit_parameter_rule(i)) != NULL; i++)
		if (strcmp(rule->name, key) == 0)
			return rule;
	return NULL;
}

static void
read_number(const char *key, const JsonbValue *value, BrParameters *parameters)
{
	const BrParameterRule *rule = rule_of(key);
	double *place;

	if (rule == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown policy parameter \"%s\"", key),
				 errhint("README lists the parameters of each algorithm under \"Policies\".")));
	place = (double *) ((char *) parameters + rule->offset);
	/* the pooled rate is no number */
	if (value->type == jbvNull && strcmp(key, "prior_rate") == 0)
		*place = NAN;
	else if (value->type == jbvNull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("parameter \"%s\" is null", key),
				 errhint("Give a number.")));
	else
		*place = number_within(key, value, rule->least, rule->most, rule->whole);
}

static void
require_read(const BrAlgorithm *algorithm, Jsonb *params, BrModel model)
{
	JsonbIterator *iterator = JsonbIteratorInit(&params->root);
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char *key;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(value.val.string.val, value.val.string.len);
		if (rule_of(key) != NULL && !br_bandit_algorithm_takes(algorithm, model, key))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("over model \"%s\" this algorithm does not read parameter \"%s\"",
							br_pg_policy_model_name(model), key),
					 errhint("README lists the parameters of each algorithm under \"Policies\".")));
	}
}

static void
require_object(Jsonb *params)
{
	if (!JB_ROOT_IS_OBJECT(params))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"params\" is not a JSON object")));
}

/* the next pair of an object; false: there is none */
static bool
next_pair(JsonbIterator **iterator, char **key, JsonbValue *value)
{
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(iterator, value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			*key = pnstrdup(value->val.string.val, value->val.string.len);
		else if (token == WJB_VALUE)
			return true;
	}
	return false;
}

BrPgPolicySettings
br_pg_policy_read_shape(Jsonb *params)
{
	BrPgPolicySettings settings = {.model = BR_MODEL_SHARED, .interactions = true};
	JsonbIterator *iterator = JsonbIteratorInit(&params->root);
	JsonbValue value;
	char *key = NULL;

	require_object(params);
	while (next_pair(&iterator, &key, &value))
		(void) read_shape(key, &value, &settings);
	return settings;
}

void
br_pg_policy_read_settings(const BrAlgorithm *algorithm, Jsonb *params,
						   BrPgPolicySettings *settings)
{
	JsonbIterator *iterator = JsonbIteratorInit(&params->root);
	JsonbValue value;
	char *key = NULL;

	require_object(params);
	while (next_pair(&iterator, &key, &value))
		if (!read_shape(key, &value, settings) && !read_ageing(key, &value, settings))
			read_number(key, &value, &settings->parameters);
	require_read(algorithm, params, settings->model);
}

/* ---- as stored ---- */

static const double *
parameter(const BrParameters *parameters, const BrParameterRule *rule)
{
	return (const double *) ((const char *) parameters + rule->offset);
}

static void
push_number(JsonbParseState **state, const char *name, double number)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, name);
	value.val.string.len = (int) strlen(name);
	pushJsonbValue(state, WJB_KEY, &value);
	value.type = jbvNumeric;
	value.val.numeric =
		DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(psprintf("%.17g", number)),
											ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	pushJsonbValue(state, WJB_VALUE, &value);
}

Datum
br_pg_policy_write_parameters(const BrPolicySpec *spec, double discount, double period)
{
	JsonbParseState *state = NULL;
	const BrParameterRule *rule;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; (rule = br_bandit_parameter_rule(i)) != NULL; i++)
	{
		double number = *parameter(&spec->parameters, rule);

		if (br_bandit_algorithm_takes(spec->algorithm, spec->model, rule->name) && !isnan(number))
			push_number(&state, rule->name, number);
	}
	push_number(&state, "discount", discount);
	push_number(&state, "discount_seconds", period);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static bool
find_number(Jsonb *stored, const char *name, double *number)
{
	JsonbValue value;
	JsonbValue *found =
		getKeyJsonValueFromContainer(&stored->root, name, (int) strlen(name), &value);

	if (found == NULL || found->type != jbvNumeric)
		return false;
	*number = number_of(name, found);
	return true;
}

void
br_pg_policy_read_parameters(Jsonb *stored, BrPolicySpec *spec, double *discount, double *period)
{
	const BrParameterRule *rule;

	spec->parameters = br_bandit_default_parameters(spec->algorithm, spec->model);
	for (int i = 0; (rule = br_bandit_parameter_rule(i)) != NULL; i++)
		(void) find_number(stored, rule->name,
						   (double *) ((char *) &spec->parameters + rule->offset));
	if (!find_number(stored, "discount", discount) ||
		!find_number(stored, "discount_seconds", period))
		elog(ERROR, "parameters of a version without discount");
}
