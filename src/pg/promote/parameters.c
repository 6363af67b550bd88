/*
 * parameters.c
 *	  What a gate is told besides its margin.
 *
 *	  task       completion or next_item; default: completion of what was bought in a
 *	             session, or where nothing was, the next item of users
 *	  metric     hit_rate (default), ndcg or mrr
 *	  k          places that count: 10
 *	  cases      fewest that anything is judged by: 100
 *	  latency    most that embedding a query may take, by what it takes now: 1.5
 *	  coverage   least share of items shown in the first ten, by that of now: 0.8
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "pg/promote/promote_int.h"

/* A number, and where it goes. */
typedef struct Number
{
	const char *name;
	double least;
	double most;
	size_t offset;
	bool whole; /* an int; else a double */
} Number;

static const Number numbers[] = {
	{"k", 1, 1000, offsetof(BrPgGateOptions, k), true},
	{"cases", 2, 1000000, offsetof(BrPgGateOptions, cases), true},
	{"latency", 0, 1e6, offsetof(BrPgGateOptions, latency), false},
	{"coverage", 0, 1e6, offsetof(BrPgGateOptions, coverage), false},
};

static const char *const metrics[] = {"hit_rate", "ndcg", "mrr"};

static void
refuse(const char *key, const char *should_be)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("parameter \"%s\" is wrong", key),
			 errdetail("It must be %s.", should_be)));
}

static bool
is_text(const JsonbValue *value, const char *text)
{
	return value->type == jbvString && value->val.string.len == (int) strlen(text) &&
		memcmp(value->val.string.val, text, strlen(text)) == 0;
}

static void
read_metric(BrPgGateOptions *options, const JsonbValue *value)
{
	for (int i = 0; i < lengthof(metrics); i++)
		if (is_text(value, metrics[i]))
		{
			options->metric = metrics[i];
			return;
		}
	refuse("metric", "\"hit_rate\", \"ndcg\" or \"mrr\"");
}

static void
read_task(BrPgGateOptions *options, const JsonbValue *value)
{
	if (is_text(value, "completion"))
		options->task = BR_PG_GATE_COMPLETION;
	else if (is_text(value, "next_item"))
		options->task = BR_PG_GATE_NEXT_ITEM;
	else
		refuse("task", "\"completion\" or \"next_item\"");
}

static void
read_number(BrPgGateOptions *options, const Number *rule, const JsonbValue *value)
{
	double number = NAN;

	if (value->type == jbvNumeric)
		number = DatumGetFloat8(
			DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (!(number >= rule->least && number <= rule->most) || (rule->whole && number != rint(number)))
		refuse(rule->name,
			   psprintf("a %s between %g and %g", rule->whole ? "whole number" : "number",
						rule->least, rule->most));
	if (rule->whole)
		*(int *) ((char *) options + rule->offset) = (int) number;
	else
		*(double *) ((char *) options + rule->offset) = number;
}

static void
read_value(BrPgGateOptions *options, const char *key, const JsonbValue *value)
{
	if (strcmp(key, "metric") == 0)
	{
		read_metric(options, value);
		return;
	}
	if (strcmp(key, "task") == 0)
	{
		read_task(options, value);
		return;
	}
	for (int i = 0; i < lengthof(numbers); i++)
		if (strcmp(key, numbers[i].name) == 0)
		{
			read_number(options, &numbers[i], value);
			return;
		}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a gate takes no parameter \"%s\"", key),
			 errhint("It takes task, metric, k, cases, latency and coverage.")));
}

BrPgGateOptions
br_pg_gate_options(Jsonb *given)
{
	BrPgGateOptions options = {.metric = metrics[0],
							   .k = 10,
							   .cases = 100,
							   .latency = 1.5,
							   .coverage = 0.8};
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	char *key = NULL;

	if (given == NULL)
		return options;
	if (!JB_ROOT_IS_OBJECT(given))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"parameters\" is not a JSON object"),
				 errhint("Name them, as in '{\"cases\": 200}'.")));
	iterator = JsonbIteratorInit(&given->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY)
			key = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			read_value(&options, key, &value);
	return options;
}
