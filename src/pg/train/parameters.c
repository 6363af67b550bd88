/*
 * parameters.c
 *	  Objective, method and parameters of a training, from their names.
 *
 * Those of the fine-tuning itself core describes, one by one, and checks; a few
 * say where examples come from, and are ours.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "pg/train/train_int.h"

#define MOST_SEEDS 20
#define MOST_PAIRS 10000000
#define MOST_CLASSES 1000

/* Our own, as core describes its own. */
static const char *const sources[] = {"auto", "bundles", "baskets"};

static const BrTuneField own_fields[] = {
	{.name = "holdout",
	 .kind = BR_TUNE_DOUBLE,
	 .offset = offsetof(BrPgTrainChoice, holdout),
	 .highest = .5},
	{.name = "validation",
	 .kind = BR_TUNE_DOUBLE,
	 .offset = offsetof(BrPgTrainChoice, validation),
	 .highest = .5},
	{.name = "seeds",
	 .kind = BR_TUNE_INT,
	 .offset = offsetof(BrPgTrainChoice, seeds),
	 .lowest = 1,
	 .highest = MOST_SEEDS},
	{.name = "pairs",
	 .kind = BR_TUNE_INT64,
	 .offset = offsetof(BrPgTrainChoice, pairs),
	 .lowest = 2,
	 .highest = MOST_PAIRS},
	{.name = "source",
	 .kind = BR_TUNE_CHOICE,
	 .offset = offsetof(BrPgTrainChoice, source),
	 .words = sources,
	 .n_words = lengthof(sources)},
	{.name = "classes",
	 .kind = BR_TUNE_INT,
	 .offset = offsetof(BrPgTrainChoice, classes),
	 .lowest = 0,
	 .highest = MOST_CLASSES},
};

static const char teacher_name[] = "teacher";

static const BrTuneField *
find_field(const BrTuneField *fields, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

/* ---- values ---- */

static void
refuse_value(const BrTuneField *field, const char *problem, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("parameter \"%s\" %s", field->name, problem), errdetail("%s", detail)));
}

static char *
list_words(const BrTuneField *field)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < field->n_words; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", field->words[i]);
	return list.data;
}

static char *
describe_range(const BrTuneField *field)
{
	const char *what = field->kind == BR_TUNE_DOUBLE ? "a number" : "a whole number";

	if (isinf(field->highest))
		return psprintf("It is %s %s %g.", what, field->above ? "above" : "from", field->lowest);
	return psprintf("It is %s %s %g %s %g.", what, field->above ? "above" : "from", field->lowest,
					field->below ? "to below" : "to", field->highest);
}

static double
get_number(const BrTuneField *field, const JsonbValue *value)
{
	double number;

	if (value->type != jbvNumeric)
		refuse_value(field, "is not a number", describe_range(field));
	number = DatumGetFloat8(
		DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (!isfinite(number) || !(field->above ? number > field->lowest : number >= field->lowest) ||
		!(field->below ? number < field->highest : number <= field->highest) ||
		(field->kind != BR_TUNE_DOUBLE && number != rint(number)) ||
		(field->kind == BR_TUNE_INT && number > PG_INT32_MAX) ||
		(field->kind == BR_TUNE_INT64 && number > 9e15))
		refuse_value(field, psprintf("is out of range: %g", number), describe_range(field));
	return number;
}

static int
get_word(const BrTuneField *field, const JsonbValue *value)
{
	if (value->type == jbvString)
		for (int i = 0; i < field->n_words; i++)
			if (strlen(field->words[i]) == (Size) value->val.string.len &&
				memcmp(field->words[i], value->val.string.val, value->val.string.len) == 0)
				return i;
	refuse_value(field, "is none of its words", psprintf("It is one of %s.", list_words(field)));
	return 0;
}

/* an element of a list */
static void
add_element(const BrTuneField *field, const JsonbValue *value, char *into, int n)
{
	BrTuneField element = *field;

	if (field->kind == BR_TUNE_FLAGS)
	{
		*(unsigned *) (into + field->offset) |= 1u << get_word(field, value);
		return;
	}
	if (n == BR_TUNE_MATRYOSHKA)
		refuse_value(field, "has too many numbers", psprintf("There may be %d.", n));
	element.kind = BR_TUNE_INT;
	((int *) (into + field->offset))[n] = (int) get_number(&element, value);
	*(int *) (into + field->count_offset) = n + 1;
}

static void
set_list(const BrTuneField *field, const JsonbValue *value, char *into)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue element;
	int n = 0;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		refuse_value(field, "is not a list",
					 field->kind == BR_TUNE_FLAGS
						 ? psprintf("It is a list of %s.", list_words(field))
						 : "It is a list of whole numbers.");
	if (field->kind == BR_TUNE_FLAGS)
		*(unsigned *) (into + field->offset) = 0;
	else
		*(int *) (into + field->count_offset) = 0;
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			add_element(field, &element, into, n++);
}

static void
set_value(const BrTuneField *field, const JsonbValue *value, void *fields_of)
{
	char *into = fields_of;
	char *place = into + field->offset;

	switch (field->kind)
	{
		case BR_TUNE_INT:
			*(int *) place = (int) get_number(field, value);
			break;
		case BR_TUNE_INT64:
			*(int64_t *) place = (int64_t) get_number(field, value);
			break;
		case BR_TUNE_DOUBLE:
			*(double *) place = get_number(field, value);
			break;
		case BR_TUNE_BOOL:
			if (value->type != jbvBool)
				refuse_value(field, "is not true or false", "It is true or false.");
			*(bool *) place = value->val.boolean;
			break;
		case BR_TUNE_CHOICE:
			*(int *) place = get_word(field, value);
			break;
		case BR_TUNE_FLAGS:
		case BR_TUNE_INTS:
			set_list(field, value, into);
			break;
	}
}

/* ---- names ---- */

static void
refuse_name(const char *key)
{
	StringInfoData list;
	int n;
	const BrTuneField *fields = br_tune_fields(&n);

	initStringInfo(&list);
	for (int i = 0; i < lengthof(own_fields); i++)
		appendStringInfo(&list, "%s, ", own_fields[i].name);
	appendStringInfo(&list, "%s", teacher_name);
	for (int i = 0; i < n; i++)
		appendStringInfo(&list, ", %s", fields[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("train() takes no parameter \"%s\"", key), errhint("It takes %s.", list.data)));
}

static void
set_parameter(BrPgTrainPlan *plan, const char *key, const JsonbValue *value)
{
	int n;
	const BrTuneField *fields = br_tune_fields(&n);
	const BrTuneField *own = find_field(own_fields, lengthof(own_fields), key);
	const BrTuneField *field = find_field(fields, n, key);

	if (own != NULL)
		set_value(own, value, &plan->choice);
	else if (field != NULL)
		set_value(field, value, &plan->options);
	else if (strcmp(key, teacher_name) != 0)
		refuse_name(key);
	else if (value->type == jbvString)
		plan->choice.teacher = pnstrdup(value->val.string.val, value->val.string.len);
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" is not a string", teacher_name),
				 errdetail("It is the name of a model.")));
}

static void
set_parameters(BrPgTrainPlan *plan)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	char *key = NULL;

	if (!JB_ROOT_IS_OBJECT(plan->parameters))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"parameters\" is not a JSON object"),
				 errhint("Name values, as in '{\"epochs\": 3}'.")));
	iterator = JsonbIteratorInit(&plan->parameters->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY)
			key = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			set_parameter(plan, key, &value);
}

static int
find_name(const char *what, const char *given, int n, const char *(*name_of)(int number))
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < n; i++)
	{
		if (strcmp(name_of(i), given) == 0)
			return i;
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", name_of(i));
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no %s \"%s\"", what, given),
			 errhint("There are %s.", list.data)));
}

static const char *
objective_name(int number)
{
	return br_tune_objective_name((BrTuneObjective) number);
}

static const char *
method_name(int number)
{
	return br_tune_method_name((BrTuneMethod) number);
}

/* ---- what goes with what ---- */

static BrPgTrainShape
shape_of(BrTuneObjective objective)
{
	switch (objective)
	{
		case BR_TUNE_CONTRASTIVE:
			return BR_PG_TRAIN_PAIRS;
		case BR_TUNE_TRIPLET:
			return BR_PG_TRAIN_TRIPLETS;
		case BR_TUNE_SCORE:
			return BR_PG_TRAIN_SCORES;
		case BR_TUNE_TEXT_CLASSES:
			return BR_PG_TRAIN_LABELS;
		case BR_TUNE_PAIR_CLASSES:
			return BR_PG_TRAIN_PAIR_LABELS;
		case BR_TUNE_NEXT_SENTENCE:
			return BR_PG_TRAIN_SENTENCES;
		case BR_TUNE_SETS:
			return BR_PG_TRAIN_SETS;
		case BR_TUNE_MASKED_WORDS:
		case BR_TUNE_DISTILLATION:
			return BR_PG_TRAIN_TEXTS;
	}
	return BR_PG_TRAIN_TEXTS;
}

static void
refuse(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", message), errhint("%s", hint)));
}

static void
check_together(const BrPgTrainPlan *plan)
{
	bool distils = plan->options.objective == BR_TUNE_DISTILLATION;

	if (plan->query == NULL && plan->shape != BR_PG_TRAIN_PAIRS &&
		plan->shape != BR_PG_TRAIN_SETS && plan->shape != BR_PG_TRAIN_TEXTS &&
		plan->shape != BR_PG_TRAIN_SENTENCES)
		refuse(psprintf("the objective \"%s\" needs a query", plan->objective),
			   br_pg_train_columns_hint(plan->shape));
	if (distils != (plan->choice.teacher != NULL))
		refuse(distils ? "the objective \"distillation\" needs the parameter \"teacher\""
					   : psprintf("the objective \"%s\" has no teacher", plan->objective),
			   "Name the model whose embeddings are to be learned as \"teacher\" with the objective"
			   " \"distillation\".");
	if (plan->choice.seeds > 1 && plan->choice.validation == 0)
		refuse("several seeds need validation to choose among them",
			   "Let the parameter \"validation\" be above 0, or \"seeds\" be 1.");
}

void
br_pg_train_read_parameters(BrPgTrainPlan *plan)
{
	BrContext context;

	plan->choice = (BrPgTrainChoice){.holdout = .1,
									 .validation = .1,
									 .seeds = 1,
									 .pairs = 100000,
									 .source = BR_PG_TRAIN_AUTO};
	br_tune_defaults((BrTuneObjective) find_name("objective", plan->objective, BR_TUNE_OBJECTIVES,
												 objective_name),
					 (BrTuneMethod) find_name("method", plan->method, BR_TUNE_METHODS, method_name),
					 &plan->options);
	plan->shape = shape_of(plan->options.objective);
	set_parameters(plan);
	check_together(plan);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_tune_check_options(&context, &plan->options, NULL), &context,
				"these parameters do not go together", NULL);
}

/* ---- as JSON ---- */

static void
push_key(JsonbParseState **state, const char *name)
{
	JsonbValue key = {.type = jbvString,
					  .val.string = {.val = unconstify(char *, name), .len = strlen(name)}};

	(void) pushJsonbValue(state, WJB_KEY, &key);
}

static JsonbValue
word_value(const char *word)
{
	return (JsonbValue){.type = jbvString,
						.val.string = {.val = unconstify(char *, word), .len = strlen(word)}};
}

static JsonbValue
number_value(double number)
{
	Datum numeric = number == rint(number) && fabs(number) < 9e15
		? DirectFunctionCall1(int8_numeric, Int64GetDatum((int64) number))
		: DirectFunctionCall1(float8_numeric, Float8GetDatum(number));

	return (JsonbValue){.type = jbvNumeric, .val.numeric = DatumGetNumeric(numeric)};
}

static void
push_list(JsonbParseState **state, const BrTuneField *field, const char *from)
{
	int n =
		field->kind == BR_TUNE_FLAGS ? field->n_words : *(const int *) (from + field->count_offset);

	(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		JsonbValue value;

		if (field->kind == BR_TUNE_INTS)
			value = number_value(((const int *) (from + field->offset))[i]);
		else if (*(const unsigned *) (from + field->offset) & 1u << i)
			value = word_value(field->words[i]);
		else
			continue;
		(void) pushJsonbValue(state, WJB_ELEM, &value);
	}
	(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
push_field(JsonbParseState **state, const BrTuneField *field, const void *fields_of)
{
	const char *place = (const char *) fields_of + field->offset;
	JsonbValue value;

	push_key(state, field->name);
	switch (field->kind)
	{
		case BR_TUNE_INT:
			value = number_value(*(const int *) place);
			break;
		case BR_TUNE_INT64:
			value = number_value((double) *(const int64_t *) place);
			break;
		case BR_TUNE_DOUBLE:
			value = number_value(*(const double *) place);
			break;
		case BR_TUNE_BOOL:
			value = (JsonbValue){.type = jbvBool, .val.boolean = *(const bool *) place};
			break;
		case BR_TUNE_CHOICE:
			value = word_value(field->words[*(const int *) place]);
			break;
		case BR_TUNE_FLAGS:
		case BR_TUNE_INTS:
			push_list(state, field, fields_of);
			return;
	}
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

Jsonb *
br_pg_train_all_parameters(const BrPgTrainPlan *plan)
{
	JsonbParseState *state = NULL;
	int n;
	const BrTuneField *fields = br_tune_fields(&n);

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < lengthof(own_fields); i++)
		push_field(&state, &own_fields[i], &plan->choice);
	for (int i = 0; i < n; i++)
		push_field(&state, &fields[i], &plan->options);
	if (plan->choice.teacher != NULL)
	{
		JsonbValue value = word_value(plan->choice.teacher);

		push_key(&state, teacher_name);
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
