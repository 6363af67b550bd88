/*
 * recommend_sql.c
 *	  SQL doors of decisions (sql/parts/recommend.sql): recommend,
 *	  recommend_items, explain_decision, feedback, feedback_batch.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

#include "pg/decide/curated.h"
#include "pg/decide/decide.h"
#include "pg/decide/decision_log.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_recommend);
PG_FUNCTION_INFO_V1(br_recommend_items);
PG_FUNCTION_INFO_V1(br_explain_decision);
PG_FUNCTION_INFO_V1(br_replay_decision);
PG_FUNCTION_INFO_V1(br_feedback);
PG_FUNCTION_INFO_V1(br_feedback_batch);

#define MAX_WANTED BR_BUNDLE_MAX_POOL

/* ---- arguments ---- */

static char *
text_argument(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

static char **
array_argument(FunctionCallInfo fcinfo, int i, const char *name, int *n)
{
	*n = 0;
	return PG_ARGISNULL(i) ? NULL : br_pg_text_array(PG_GETARG_ARRAYTYPE_P(i), name, n);
}

static char *
required_catalog(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("\"catalog\" is NULL"),
				 errhint("Name the catalog to recommend from.")));
	return text_argument(fcinfo, 0);
}

static int
wanted_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	int wanted = PG_ARGISNULL(i) ? 0 : PG_GETARG_INT32(i);

	if (wanted < 1 || wanted > MAX_WANTED)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be between 1 and %d", name, MAX_WANTED)));
	return wanted;
}

static void
size_argument(FunctionCallInfo fcinfo, int i, BrConstraints *constraints)
{
	RangeType *range = PG_GETARG_RANGE_P(i);
	RangeBound lower, upper;
	bool empty;

	range_deserialize(lookup_type_cache(RangeTypeGetOid(range), TYPECACHE_RANGE_INFO), range,
					  &lower, &upper, &empty);
	/* canonical int4range: lower included, upper excluded */
	constraints->min_size = empty || lower.infinite ? 1 : DatumGetInt32(lower.val);
	constraints->max_size =
		empty || upper.infinite ? BR_BUNDLE_MAX_SIZE : DatumGetInt32(upper.val) - 1;
	if (empty || constraints->min_size < 1 || constraints->max_size > BR_BUNDLE_MAX_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"size\" must be a range within 1 and %d", BR_BUNDLE_MAX_SIZE),
				 errhint("Give an int4range such as '[2,3]'.")));
}

static void
require_column(const BrPgCatalog *catalog, const char *column, const char *name,
			   const char *argument)
{
	if (column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("catalog \"%s\" has no %s column, which \"%s\" needs", catalog->name, name,
						argument),
				 errhint("Create the catalog with %s => column, or leave \"%s\" out.", name,
						 argument)));
}

static double
number_argument(FunctionCallInfo fcinfo, int i, const char *name, double least)
{
	double value = PG_GETARG_FLOAT8(i);

	if (!isfinite(value) || value < least)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is out of range: %g", name, value),
				 errhint("Leave it out, or NULL, for no limit.")));
	return value;
}

/* rounded down, unless it is a whole number of millionths but for the last bits */
static double
millionths_at_most(double amount)
{
	double millionths = amount * BR_PG_MILLIONTHS;

	return fabs(millionths - rint(millionths)) < 1e-3 ? rint(millionths) : floor(millionths);
}

/* curated bundles may have prices where items have none */
static bool
bundles_have_prices(const BrPgRequest *request)
{
	const BrPgBundleTables *tables = request->bundle_tables;

	for (int i = 0; tables != NULL && i < tables->n; i++)
		if (tables->tables[i].priced)
			return true;
	return false;
}

static void
budget_argument(FunctionCallInfo fcinfo, int i, BrPgRequest *request)
{
	request->has_budget = !PG_ARGISNULL(i);
	request->constraints.budget = INFINITY;
	if (!request->has_budget)
		return;
	if (!bundles_have_prices(request))
		require_column(request->catalog, request->catalog->price, "price", "budget");
	request->budget = number_argument(fcinfo, i, "budget", 0);
	request->constraints.budget = millionths_at_most(request->budget);
}

static void
margin_argument(FunctionCallInfo fcinfo, int i, BrPgRequest *request)
{
	request->has_margin = !PG_ARGISNULL(i);
	request->constraints.min_margin = -INFINITY;
	if (!request->has_margin)
		return;
	if (!bundles_have_prices(request))
		require_column(request->catalog, request->catalog->price, "price", "min_margin");
	require_column(request->catalog, request->catalog->cost, "cost", "min_margin");
	request->constraints.min_margin = number_argument(fcinfo, i, "min_margin", -1e9);
}

static void
category_argument(FunctionCallInfo fcinfo, int i, BrPgRequest *request)
{
	request->has_categories = !PG_ARGISNULL(i);
	if (!request->has_categories)
		return;
	require_column(request->catalog, request->catalog->category, "category", "categories");
	request->categories = PG_GETARG_DATUM(i);
}

static void
diversity_argument(FunctionCallInfo fcinfo, int i, BrPgRequest *request)
{
	request->diversity = request->policy->spec.parameters.diversity;
	if (!PG_ARGISNULL(i))
		request->diversity = number_argument(fcinfo, i, "diversity", 0);
}

static void
log_and_seed_arguments(FunctionCallInfo fcinfo, int log, int seed, BrPgRequest *request)
{
	request->logging = PG_ARGISNULL(log) ? BR_PG_LOG_AUTO
		: PG_GETARG_BOOL(log)			 ? BR_PG_LOG_ON
										 : BR_PG_LOG_OFF;
	request->seeded = !PG_ARGISNULL(seed);
	request->seed = request->seeded ? PG_GETARG_INT64(seed) : 0;
}

static void
append_texts(StringInfo json, char **texts, int n)
{
	appendStringInfoChar(json, '[');
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoString(json, ", ");
		escape_json(json, texts[i]);
	}
	appendStringInfoChar(json, ']');
}

/* the filters as they were asked for; what was left out is not there */
static Datum
filters_of(const BrPgRequest *request)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"in_stock\": %s", request->in_stock ? "true" : "false");
	if (request->curated)
		appendStringInfo(&json, ", \"exclude_owned\": %s",
						 request->exclude_owned ? "true" : "false");
	else
		appendStringInfo(&json, ", \"size\": [%d, %d], \"discount\": %.17g",
						 request->constraints.min_size, request->constraints.max_size,
						 request->constraints.discount);
	if (request->has_budget)
		appendStringInfo(&json, ", \"budget\": %.17g", request->budget);
	if (request->has_margin)
		appendStringInfo(&json, ", \"min_margin\": %.17g", request->constraints.min_margin);
	if (request->has_categories)
	{
		int n;
		char **names = br_pg_text_array(DatumGetArrayTypeP(request->categories), "categories", &n);

		appendStringInfoString(&json, ", \"categories\": ");
		append_texts(&json, names, n);
	}
	if (request->n_exclude > 0)
	{
		appendStringInfoString(&json, ", \"exclude\": ");
		append_texts(&json, request->exclude, request->n_exclude);
	}
	if (request->rules->n > 0)
	{
		char **names = palloc(sizeof(char *) * request->rules->n);

		for (int i = 0; i < request->rules->n; i++)
			names[i] = request->rules->rules[i].name;
		appendStringInfoString(&json, ", \"rules\": ");
		append_texts(&json, names, request->rules->n);
	}
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* the rules in force; what they require, a bit for each, is required of bundles that are made */
static void
rule_constraints(BrPgRequest *request)
{
	int n = 0;

	request->rules = br_pg_rules_in_force(request->catalog->number);
	for (int i = 0; i < request->rules->n; i++)
		n += request->rules->rules[i].action == BR_PG_RULE_REQUIRE;
	if (strcmp(request->kind, "bundle") == 0)
		request->constraints.required = (1u << Min(n, BR_BUNDLE_MAX_REQUIRED)) - 1;
}

BrPgRequest *
br_pg_decide_request(FunctionCallInfo fcinfo, const char *kind, const char *wanted,
					 const BrPgArgumentPlaces *at)
{
	BrPgRequest *request = palloc0(sizeof(BrPgRequest));
	BrPgCatalog *catalog = br_pg_catalog_open(required_catalog(fcinfo));

	br_pg_catalog_require_reader(catalog);
	request->kind = kind;
	request->catalog = catalog;
	request->curated = strcmp(kind, "curated") == 0;
	if (request->curated)
	{
		request->bundle_tables = br_pg_bundle_tables(catalog);
		request->exclude_owned =
			PG_ARGISNULL(at->exclude_owned) || PG_GETARG_BOOL(at->exclude_owned);
	}
	request->user_id = text_argument(fcinfo, at->user_id);
	request->basket = array_argument(fcinfo, at->basket, "basket", &request->n_basket);
	request->query = text_argument(fcinfo, at->query);
	request->wanted = wanted_argument(fcinfo, at->wanted, wanted);
	request->constraints.min_size = request->constraints.max_size = 1;
	if (at->size >= 0 && PG_ARGISNULL(at->size))
		request->constraints.min_size = 2, request->constraints.max_size = 3;
	else if (at->size >= 0)
		size_argument(fcinfo, at->size, &request->constraints);
	request->constraints.discount = at->size >= 0 ? catalog->discount : 0;
	request->constraints.typical_price = catalog->typical_price * BR_PG_MILLIONTHS;
	request->serving = br_pg_serving_open(catalog->number);
	/* a ranker of bundles knows what users own, nothing of baskets and queries */
	if (!request->curated || (request->n_basket == 0 && request->query == NULL))
		request->constraints.ranker =
			br_pg_serving_ranker(request->serving, request->curated, &request->ranker);
	budget_argument(fcinfo, at->budget, request);
	margin_argument(fcinfo, at->min_margin, request);
	category_argument(fcinfo, at->categories, request);
	request->exclude = array_argument(fcinfo, at->exclude, "exclude", &request->n_exclude);
	request->in_stock = PG_ARGISNULL(at->in_stock) || PG_GETARG_BOOL(at->in_stock);
	request->policy = br_pg_policy_open(catalog->number, text_argument(fcinfo, at->policy));
	diversity_argument(fcinfo, at->diversity, request);
	log_and_seed_arguments(fcinfo, at->log, at->seed, request);
	rule_constraints(request);
	request->filters = filters_of(request);
	return request;
}

/* ---- results ---- */

ArrayType *
br_pg_decide_item_ids(const BrPgDecision *decision, const BrBundle *bundle)
{
	char **ids = palloc(sizeof(char *) * bundle->size);

	for (int i = 0; i < bundle->size; i++)
		ids[i] = decision->items[bundle->members[i]].item_id;
	return DatumGetArrayTypeP(br_pg_text_array_datum(ids, bundle->size));
}

/* the fraction taken off; of what has a price of its own as that says, perhaps negative */
static double
discount_of(const BrPgDecision *decision, const BrBundle *bundle)
{
	double usual = decision->request->constraints.discount;

	return bundle->list_price == 0 || bundle->price == bundle->list_price * (1 - usual)
		? usual
		: 1 - bundle->price / bundle->list_price;
}

/* rank, decision_id, items, score, propensity, price, list_price, discount, margin, reasons */
static void
return_bundles(ReturnSetInfo *result, const BrPgDecision *decision)
{
	for (int slot = 0; slot < decision->slate.slots; slot++)
	{
		int chosen = decision->slate.chosen[slot];
		const BrBundle *bundle = &decision->pool.bundles[chosen];
		Datum values[10];
		bool nulls[10] = {false};

		values[0] = Int32GetDatum(slot + 1);
		values[1] = Int64GetDatum(decision->decision_id);
		nulls[1] = decision->decision_id == 0;
		values[2] = PointerGetDatum(br_pg_decide_item_ids(decision, bundle));
		values[3] = Float8GetDatum(decision->slate.expected[chosen]);
		values[4] = Float8GetDatum(decision->slate.propensity[slot]);
		br_pg_set_number(values, nulls, 5, bundle->price / BR_PG_MILLIONTHS);
		br_pg_set_number(values, nulls, 6, bundle->list_price / BR_PG_MILLIONTHS);
		values[7] = Float8GetDatum(discount_of(decision, bundle));
		nulls[7] = nulls[6];
		br_pg_set_number(values, nulls, 8, bundle->margin);
		values[9] = DirectFunctionCall1(jsonb_in, CStringGetDatum(decision->reasons[slot]));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* rank, decision_id, item_id, score, propensity, price, reasons */
static void
return_items(ReturnSetInfo *result, const BrPgDecision *decision)
{
	for (int slot = 0; slot < decision->slate.slots; slot++)
	{
		int chosen = decision->slate.chosen[slot];
		const BrBundle *bundle = &decision->pool.bundles[chosen];
		Datum values[7];
		bool nulls[7] = {false};

		values[0] = Int32GetDatum(slot + 1);
		values[1] = Int64GetDatum(decision->decision_id);
		nulls[1] = decision->decision_id == 0;
		values[2] = CStringGetTextDatum(decision->items[bundle->members[0]].item_id);
		values[3] = Float8GetDatum(decision->slate.expected[chosen]);
		values[4] = Float8GetDatum(decision->slate.propensity[slot]);
		br_pg_set_number(values, nulls, 5, bundle->price / BR_PG_MILLIONTHS);
		values[6] = DirectFunctionCall1(jsonb_in, CStringGetDatum(decision->reasons[slot]));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* ---- doors ---- */

PGDLLEXPORT Datum
br_recommend(PG_FUNCTION_ARGS)
{
	static const BrPgArgumentPlaces at = {
		.exclude_owned = -1,
		.user_id = 1,
		.basket = 2,
		.query = 3,
		.wanted = 4,
		.size = 5,
		.budget = 6,
		.min_margin = 7,
		.categories = 8,
		.exclude = 9,
		.in_stock = 10,
		.diversity = 11,
		.policy = 12,
		.log = 13,
		.seed = 14,
	};

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	return_bundles((ReturnSetInfo *) fcinfo->resultinfo,
				   br_pg_decide(br_pg_decide_request(fcinfo, "bundle", "bundles", &at)));
	SPI_finish();
	return (Datum) 0;
}

PGDLLEXPORT Datum
br_recommend_items(PG_FUNCTION_ARGS)
{
	static const BrPgArgumentPlaces at = {
		.exclude_owned = -1,
		.user_id = 1,
		.basket = 2,
		.query = 3,
		.wanted = 4,
		.size = -1,
		.budget = 5,
		.min_margin = 6,
		.categories = 7,
		.exclude = 8,
		.in_stock = 9,
		.diversity = 10,
		.policy = 11,
		.log = 12,
		.seed = 13,
	};

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	return_items((ReturnSetInfo *) fcinfo->resultinfo,
				 br_pg_decide(br_pg_decide_request(fcinfo, "item", "k", &at)));
	SPI_finish();
	return (Datum) 0;
}

PGDLLEXPORT Datum
br_explain_decision(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	br_pg_explain_decision(PG_GETARG_INT64(0), (ReturnSetInfo *) fcinfo->resultinfo);
	SPI_finish();
	return (Datum) 0;
}

/* replay_decision(decision_id) */
PGDLLEXPORT Datum
br_replay_decision(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	br_pg_replay_decision(PG_GETARG_INT64(0), (ReturnSetInfo *) fcinfo->resultinfo);
	SPI_finish();
	PG_RETURN_NULL();
}

/* feedback(decision_id, rank, kind, value, event_id, user_id); the last two may be NULL */
PGDLLEXPORT Datum
br_feedback(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"decision_id", "rank", "kind", "value"};
	BrPgFeedback feedback;
	bool is_new;

	br_pg_require_writes("feedback()");
	for (int i = 0; i < (int) lengthof(names); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("\"%s\" of feedback is NULL", names[i])));
	feedback.decision_id = PG_GETARG_INT64(0);
	feedback.rank = PG_GETARG_INT32(1);
	feedback.kind = text_argument(fcinfo, 2);
	feedback.value = PG_GETARG_FLOAT8(3);
	feedback.event_id = text_argument(fcinfo, 4);
	feedback.user_id = text_argument(fcinfo, 5);

	SPI_connect();
	is_new = br_pg_add_feedback(&feedback);
	SPI_finish();
	PG_RETURN_BOOL(is_new);
}

/* ---- a batch of feedback ---- */

/* An array argument of a batch, taken apart. */
typedef struct BatchColumn
{
	const char *name;
	bool given;
	int n;
	Datum *values;
	bool *nulls;
} BatchColumn;

static BatchColumn
batch_column(FunctionCallInfo fcinfo, int i, const char *name, Oid type)
{
	BatchColumn column = {.name = name, .given = !PG_ARGISNULL(i)};
	int16 length;
	bool by_value;
	char alignment;

	if (!column.given)
		return column;
	get_typlenbyvalalign(type, &length, &by_value, &alignment);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(i), type, length, by_value, alignment, &column.values,
					  &column.nulls, &column.n);
	return column;
}

/* element i, which must not be NULL; if_absent where the array was not given */
static Datum
batch_value(const BatchColumn *column, int i, Datum if_absent)
{
	if (!column->given)
		return if_absent;
	if (column->nulls[i])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("element %d of \"%s\" is NULL", i + 1, column->name)));
	return column->values[i];
}

static char *
batch_text(const BatchColumn *column, int i)
{
	return column->given && !column->nulls[i] ? TextDatumGetCString(column->values[i]) : NULL;
}

static void
check_lengths(const BatchColumn *columns, int n_columns)
{
	for (int i = 0; i < n_columns; i++)
	{
		if (i < 2 && !columns[i].given)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("\"%s\" of feedback_batch is NULL", columns[i].name)));
		if (columns[i].given && columns[i].n != columns[0].n)
			ereport(ERROR,
					(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
					 errmsg("the arrays of feedback_batch differ in length"),
					 errdetail("\"%s\" has %d elements, \"%s\" %d.", columns[0].name, columns[0].n,
							   columns[i].name, columns[i].n)));
	}
}

/* feedback_batch(decision_ids, ranks, kinds, amounts, event_ids, user_ids) */
PGDLLEXPORT Datum
br_feedback_batch(PG_FUNCTION_ARGS)
{
	BatchColumn columns[] = {
		batch_column(fcinfo, 0, "decision_ids", INT8OID),
		batch_column(fcinfo, 1, "ranks", INT4OID),
		batch_column(fcinfo, 2, "kinds", TEXTOID),
		batch_column(fcinfo, 3, "amounts", FLOAT8OID),
		batch_column(fcinfo, 4, "event_ids", TEXTOID),
		batch_column(fcinfo, 5, "user_ids", TEXTOID),
	};
	Datum click = CStringGetTextDatum("click");
	BrPgFeedback *feedback;
	int64 n_new;

	br_pg_require_writes("feedback_batch()");
	check_lengths(columns, lengthof(columns));
	feedback = palloc(sizeof(BrPgFeedback) * Max(columns[0].n, 1));
	for (int i = 0; i < columns[0].n; i++)
		feedback[i] = (BrPgFeedback){
			.decision_id = DatumGetInt64(batch_value(&columns[0], i, (Datum) 0)),
			.rank = DatumGetInt32(batch_value(&columns[1], i, (Datum) 0)),
			.kind = TextDatumGetCString(batch_value(&columns[2], i, click)),
			.value = DatumGetFloat8(batch_value(&columns[3], i, Float8GetDatum(1))),
			.event_id = batch_text(&columns[4], i),
			.user_id = batch_text(&columns[5], i),
		};
	SPI_connect();
	n_new = br_pg_add_feedback_batch(feedback, columns[0].n);
	SPI_finish();
	PG_RETURN_INT64(n_new);
}
