/*
 * context.c
 *	  From a context, as an application has it, to features.
 *
 * A name that is missing, unknown or holds something else is an error: a feature
 * that silently were 0 would teach the policy what is not so.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "core/bandit/br_bandit.h"
#include "core/math/br_math.h"
#include "pg/policy/context.h"

/* ---- declarations ---- */

static void
refuse_declaration(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the declaration of context value \"%s\" is wrong", name),
			 errhint("Declare \"number\", \"boolean\", {\"least\": 0, \"most\": 10} or a list of "
					 "texts.")));
}

static double
number_of(const JsonbValue *value)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
}

static bool
is_text(const JsonbValue *value, const char *text)
{
	return value->type == jbvString && value->val.string.len == (int) strlen(text) &&
		memcmp(value->val.string.val, text, value->val.string.len) == 0;
}

/* the two ends of a range; false: it is none */
static bool
read_range(const JsonbValue *declared, double *least, double *most)
{
	JsonbValue low, high;
	JsonbContainer *object = declared->type == jbvBinary ? declared->val.binary.data : NULL;

	if (object == NULL || !JsonContainerIsObject(object) || JsonContainerSize(object) != 2 ||
		getKeyJsonValueFromContainer(object, "least", 5, &low) == NULL ||
		getKeyJsonValueFromContainer(object, "most", 4, &high) == NULL || low.type != jbvNumeric ||
		high.type != jbvNumeric)
		return false;
	*least = number_of(&low);
	*most = number_of(&high);
	return isfinite(*least) && isfinite(*most) && *least < *most;
}

static int
dims_of_value(const char *name, const JsonbValue *declared)
{
	JsonbContainer *list = declared->type == jbvBinary ? declared->val.binary.data : NULL;
	double least, most;

	if (is_text(declared, "number") || is_text(declared, "boolean") ||
		read_range(declared, &least, &most))
		return 1;
	if (list == NULL || !JsonContainerIsArray(list) || JsonContainerSize(list) == 0)
		refuse_declaration(name);
	for (uint32 i = 0; i < JsonContainerSize(list); i++)
		if (getIthJsonbValueFromContainer(list, i)->type != jbvString)
			refuse_declaration(name);
	return (int) JsonContainerSize(list);
}

int
br_pg_context_dims(Jsonb *declared)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;
	int64 dims = 0;

	if (declared == NULL)
		return 0;
	if (JB_ROOT_IS_SCALAR(declared))
		return (int) number_of(getIthJsonbValueFromContainer(&declared->root, 0));
	iterator = JsonbIteratorInit(&declared->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			dims += dims_of_value(name, &value);
	}
	return (int) Min(dims, PG_INT32_MAX);
}

/* ---- numbers ---- */

static float
feature(double value, const char *name)
{
	if (!(fabs(value) <= BR_PG_MAX_FEATURE))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("%s is %g", name, value),
				 errdetail("A feature is a number between %g and %g.", -BR_PG_MAX_FEATURE,
						   BR_PG_MAX_FEATURE),
				 errhint("Scale it, best to between 0 and 1.")));
	return (float) value;
}

float *
br_pg_context_floats(const double *values, int n, const char *what)
{
	float *features = palloc(sizeof(float) * Max(n, 1));

	for (int i = 0; i < n; i++)
		features[i] = fabs(values[i]) <= BR_PG_MAX_FEATURE
			? (float) values[i]
			: feature(values[i], psprintf("number %d of %s", i + 1, what));
	return features;
}

double *
br_pg_float8_argument(ArrayType *array, const char *argument, int *n)
{
	double *values;

	*n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	if (ARR_HASNULL(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" must not contain NULL", argument)));
	values = palloc(sizeof(double) * Max(*n, 1));
	memcpy(values, ARR_DATA_PTR(array), sizeof(double) * *n);
	return values;
}

/* ---- contexts ---- */

typedef struct Encoding
{
	const char *policy;
	float *features;
	int n;
} Encoding;

static void
refuse_value(const Encoding *encoding, const char *name, const char *should_be)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("context value \"%s\" is wrong", name),
			 errdetail("Policy \"%s\" declares it as %s.", encoding->policy, should_be)));
}

static void
encode_text(Encoding *encoding, const char *name, JsonbContainer *list, const JsonbValue *value)
{
	int n = (int) JsonContainerSize(list);
	int place = -1, others = -1;
	char *text;

	if (value->type != jbvString)
		refuse_value(encoding, name, "one of a list of texts");
	text = pnstrdup(value->val.string.val, value->val.string.len);
	for (int i = 0; i < n; i++)
	{
		JsonbValue *member = getIthJsonbValueFromContainer(list, i);

		if (is_text(member, text))
			place = i;
		if (is_text(member, "*"))
			others = i;
	}
	if (place < 0)
		place = others;
	if (place < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("context value \"%s\" is none of those declared: \"%s\"", name, text),
				 errhint("Give one of those that policy_state lists for policy \"%s\"; in a policy "
						 "whose list holds \"*\", that stands for all others.",
						 encoding->policy)));
	for (int i = 0; i < n; i++)
		encoding->features[encoding->n++] = i == place;
}

static void
encode_value(Encoding *encoding, const char *name, const JsonbValue *declared,
			 const JsonbValue *value)
{
	double least, most, number;

	if (is_text(declared, "boolean"))
	{
		if (value->type != jbvBool)
			refuse_value(encoding, name, "true or false");
		encoding->features[encoding->n++] = value->val.boolean;
		return;
	}
	if (!is_text(declared, "number") && !read_range(declared, &least, &most))
	{
		encode_text(encoding, name, declared->val.binary.data, value);
		return;
	}
	if (value->type != jbvNumeric)
		refuse_value(encoding, name, "a number");
	number = number_of(value);
	if (!is_text(declared, "number"))
	{
		if (!(number >= least && number <= most))
			refuse_value(encoding, name, psprintf("a number from %g to %g", least, most));
		number = (number - least) / (most - least);
	}
	encoding->features[encoding->n++] = feature(number, psprintf("context value \"%s\"", name));
}

static void
encode_object(Encoding *encoding, Jsonb *declared, Jsonb *given)
{
	JsonbIterator *iterator = JsonbIteratorInit(&declared->root);
	JsonbIteratorToken token;
	JsonbValue value;
	JsonbValue found;
	char *name = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
		{
			if (getKeyJsonValueFromContainer(&given->root, name, (int) strlen(name), &found) ==
				NULL)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("the context lacks \"%s\"", name),
						 errdetail("Policy \"%s\" declares it.", encoding->policy)));
			encode_value(encoding, name, &value, &found);
		}
	}
}

/* what is given and not declared */
static void
refuse_others(const Encoding *encoding, Jsonb *declared, Jsonb *given)
{
	JsonbIterator *iterator = JsonbIteratorInit(&given->root);
	JsonbIteratorToken token;
	JsonbValue value;
	JsonbValue found;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY &&
			getKeyJsonValueFromContainer(&declared->root, value.val.string.val,
										 value.val.string.len, &found) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("policy \"%s\" declares no context value \"%s\"", encoding->policy,
							pnstrdup(value.val.string.val, value.val.string.len))));
}

static double *
numbers_of_json(Jsonb *given, int *n)
{
	double *values;

	*n = (int) JB_ROOT_COUNT(given);
	values = palloc(sizeof(double) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&given->root, i);

		if (value->type != jbvNumeric)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("number %d of the context is not a number", i + 1)));
		values[i] = number_of(value);
	}
	return values;
}

static double *
numbers_of_embedding(const BrEmbedding *embedding, int *n)
{
	double *values;

	*n = embedding->dims;
	values = palloc(sizeof(double) * *n);
	for (int i = 0; i < *n; i++)
		values[i] = br_math_half_to_float(embedding->components[i]);
	return values;
}

static float *
encode_numbers(const char *policy, Jsonb *declared, Oid type, Datum given)
{
	int dims = br_pg_context_dims(declared);
	double *values;
	int n;

	if (type == FLOAT8ARRAYOID)
		values = br_pg_float8_argument(DatumGetArrayTypeP(given), "context", &n);
	else if (type == JSONBOID)
		values = numbers_of_json(DatumGetJsonbP(given), &n);
	else
		values = numbers_of_embedding(DatumGetEmbedding(given), &n);
	if (n != dims)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the context has %d numbers instead of %d", n, dims),
				 errdetail("Policy \"%s\" declares %d.", policy, dims)));
	return br_pg_context_floats(values, n, "the context");
}

float *
br_pg_context_features(const char *policy, Jsonb *declared, Oid type, Datum given)
{
	Encoding encoding = {.policy = policy};
	bool is_object = type == JSONBOID && JB_ROOT_IS_OBJECT(DatumGetJsonbP(given));

	if (declared == NULL)
	{
		if (OidIsValid(type))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("policy \"%s\" takes no context", policy),
					 errhint("Declare one in params of create_policy.")));
		return NULL;
	}
	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("policy \"%s\" needs a context", policy),
				 errhint("Column context of bundle_rec.policy_state says which.")));
	if (is_object != (bool) JB_ROOT_IS_OBJECT(declared) ||
		(type == JSONBOID && JB_ROOT_IS_SCALAR(DatumGetJsonbP(given))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("policy \"%s\" takes a context of %s", policy,
						JB_ROOT_IS_OBJECT(declared) ? "named values" : "numbers"),
				 errhint("Give %s.",
						 JB_ROOT_IS_OBJECT(declared)
							 ? "a jsonb object"
							 : "a float8[], an embedding or a jsonb array")));
	if (!is_object)
		return encode_numbers(policy, declared, type, given);
	encoding.features = palloc(sizeof(float) * br_pg_context_dims(declared));
	encode_object(&encoding, declared, DatumGetJsonbP(given));
	refuse_others(&encoding, declared, DatumGetJsonbP(given));
	return encoding.features;
}
