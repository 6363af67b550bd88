/*
 * parameters.c
 *	  Numbers by name, out of JSON by rules, and into it again.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "pg/parameters.h"

static char *
list_names(const BrPgParameter *rules)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; rules[i].name != NULL; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", rules[i].name);
	return list.data;
}

static int
find_rule(const BrPgParameter *rules, const char *taker, const char *key)
{
	for (int i = 0; rules[i].name != NULL; i++)
		if (strcmp(rules[i].name, key) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s takes no parameter \"%s\"", taker, key),
			 rules[0].name == NULL ? errhint("It takes none.")
								   : errhint("It takes %s.", list_names(rules))));
}

static double
read_number(const BrPgParameter *rule, const JsonbValue *value)
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

void
br_pg_read_parameters(const BrPgParameter *rules, const char *taker, const char *example,
					  Jsonb *given, double *numbers)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	int rule = 0;

	for (int i = 0; rules[i].name != NULL; i++)
		numbers[i] = rules[i].fallback;
	if (given == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(given))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"parameters\" is not a JSON object"),
				 errhint("Name numbers, as in '%s'.", example)));
	iterator = JsonbIteratorInit(&given->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY)
			rule = find_rule(rules, taker, pnstrdup(value.val.string.val, value.val.string.len));
		else if (token == WJB_VALUE)
			numbers[rule] = read_number(&rules[rule], &value);
}

Jsonb *
br_pg_parameters_json(const BrPgParameter *rules, const double *numbers)
{
	StringInfoData json;
	char number[DOUBLE_SHORTEST_DECIMAL_LEN];

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; rules[i].name != NULL; i++)
	{
		double_to_shortest_decimal_buf(numbers[i], number);
		appendStringInfo(&json, "%s\"%s\": %s", i > 0 ? ", " : "", rules[i].name, number);
	}
	appendStringInfoChar(&json, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
