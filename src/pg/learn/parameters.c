/*
 * parameters.c
 *	  Numbers by name, as fit takes them.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "pg/learn/learn_int.h"

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
find_rule(BrPgKindNumber kind, const char *key)
{
	const BrPgParameter *rules = br_pg_kind_parameters(kind);

	for (int i = 0; rules[i].name != NULL; i++)
		if (strcmp(rules[i].name, key) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" takes no parameter \"%s\"", br_pg_fit_kind_name(kind), key),
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
br_pg_read_fit_parameters(BrPgKindNumber kind, Jsonb *given, double *parameters)
{
	const BrPgParameter *rules = br_pg_kind_parameters(kind);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	int rule = -1;

	for (int i = 0; rules[i].name != NULL; i++)
		parameters[i] = rules[i].fallback;
	if (given == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(given))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"parameters\" is not a JSON object"),
				 errhint("Name numbers, as in '{\"lambda\": 100}'.")));
	iterator = JsonbIteratorInit(&given->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY)
			rule = find_rule(kind, pnstrdup(value.val.string.val, value.val.string.len));
		else if (token == WJB_VALUE)
			parameters[rule] = read_number(&rules[rule], &value);
}
