/*
 * parameters.c
 *	  Methods of compress_model, and the numbers by name that each takes.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "pg/compress/compress_int.h"

/* Methods as bits. */
#define OF_VOCABULARY (1 << BR_PG_COMPRESS_VOCABULARY)
#define OF_STRUCTURE (1 << BR_PG_COMPRESS_STRUCTURE)
#define OF_ALL (OF_VOCABULARY | OF_STRUCTURE)

#define PLACE(field) offsetof(BrPgCompressParameters, field)

typedef struct Rule
{
	const char *name;
	size_t place; /* of a double in BrPgCompressParameters */
	unsigned methods;
	double fallback;
	double least;
	double most;
	bool whole;
} Rule;

static const Rule rules[] = {
	{"sample", PLACE(sample), OF_ALL, 1000, 1, 20000, true},
	{"seed", PLACE(seed), OF_ALL, 1, 0, PG_INT32_MAX, true},
	{"least_uses", PLACE(least_uses), OF_VOCABULARY, 1, 1, PG_INT32_MAX, true},
	{"heads_removed", PLACE(heads_removed), OF_STRUCTURE, 0, 0, .99, false},
	{"neurons_removed", PLACE(neurons_removed), OF_STRUCTURE, .25, 0, .99, false},
	{"texts", PLACE(texts), OF_STRUCTURE, 1000, 1, 1000000, true},
	{"draws", PLACE(draws), OF_STRUCTURE, 1, 1, 1000, true},
};

static const char *const method_names[BR_PG_COMPRESS_METHODS] = {
	[BR_PG_COMPRESS_VOCABULARY] = "vocabulary",
	[BR_PG_COMPRESS_STRUCTURE] = "structure",
};

static BrPgCompressMethod
find_method(const char *name)
{
	for (int i = 0; i < BR_PG_COMPRESS_METHODS; i++)
		if (strcmp(method_names[i], name) == 0)
			return (BrPgCompressMethod) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no method \"%s\"", name),
			 errhint("Methods are vocabulary and structure.")));
}

static bool
takes(BrPgCompressMethod method, const Rule *rule)
{
	return (rule->methods >> method & 1) != 0;
}

static const Rule *
find_rule(BrPgCompressMethod method, const char *key)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < lengthof(rules); i++)
	{
		if (!takes(method, &rules[i]))
			continue;
		if (strcmp(rules[i].name, key) == 0)
			return &rules[i];
		appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", rules[i].name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("method \"%s\" takes no parameter \"%s\"", method_names[method], key),
			 errhint("It takes %s.", list.data)));
}

static double
read_number(const Rule *rule, const JsonbValue *value)
{
	double number = NAN;

	if (value->type == jbvNumeric)
		number = DatumGetFloat8(
			DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (!(number >= rule->least && number <= rule->most) || (rule->whole && number != rint(number)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 value->type == jbvNumeric
					 ? errmsg("parameter \"%s\" is out of range: %g", rule->name, number)
					 : errmsg("parameter \"%s\" is not a number", rule->name),
				 errdetail("It is a %s between %g and %g.", rule->whole ? "whole number" : "number",
						   rule->least, rule->most)));
	return number;
}

static double *
number_of(BrPgCompressParameters *parameters, const Rule *rule)
{
	return (double *) ((char *) parameters + rule->place);
}

void
br_pg_read_compress_parameters(const BrPgCompression *compression,
							   BrPgCompressParameters *parameters)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	const Rule *rule = NULL;

	memset(parameters, 0, sizeof(*parameters));
	parameters->method = find_method(compression->method);
	for (int i = 0; i < lengthof(rules); i++)
		*number_of(parameters, &rules[i]) = rules[i].fallback;
	if (compression->parameters == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(compression->parameters))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"parameters\" is not a JSON object"),
				 errhint("Name numbers, as in '{\"sample\": 500}'.")));
	iterator = JsonbIteratorInit(&compression->parameters->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY)
			rule =
				find_rule(parameters->method, pnstrdup(value.val.string.val, value.val.string.len));
		else if (token == WJB_VALUE)
			*number_of(parameters, rule) = read_number(rule, &value);
}

Jsonb *
br_pg_compress_parameters_json(const BrPgCompressParameters *parameters)
{
	BrPgCompressParameters copy = *parameters;
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < lengthof(rules); i++)
		if (takes(parameters->method, &rules[i]))
			appendStringInfo(&json, "%s\"%s\": %s", json.len > 0 ? ", " : "{", rules[i].name,
							 double_to_shortest_decimal(*number_of(&copy, &rules[i])));
	appendStringInfoChar(&json, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
