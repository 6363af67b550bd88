/*
 * decide_reasons.c
 *	  Why a slot was offered, in numbers that SQL can recompute.
 *
 * features are the logged ones; pairs name the co-purchases and the similarity
 * of text inside the bundle (pair_scores and <=> give the same); context names
 * the strongest evidence that tied an item to the request.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "pg/decide.h"
#include "pg/proposals.h"

static void
append_number(StringInfo json, const char *key, double value)
{
	/* four digits say what a reader wants to know; JSON has no NaN */
	if (isfinite(value))
		appendStringInfo(json, "\"%s\": %.4g", key, value);
	else
		appendStringInfo(json, "\"%s\": null", key);
}

static void
append_features(StringInfo json, const float *features)
{
	appendStringInfoString(json, "\"features\": {");
	for (int i = 0; i < BR_FEATURE_COUNT; i++)
	{
		if (i > 0)
			appendStringInfoString(json, ", ");
		append_number(json, br_bundle_feature_name((BrFeature) i), features[i]);
	}
	appendStringInfoChar(json, '}');
}

static void
append_pair(StringInfo json, const BrPgDecision *decision, int a, int b)
{
	int n = decision->n_items;
	const BrPgItem *left = &decision->items[a];
	const BrPgItem *right = &decision->items[b];

	appendStringInfoString(json, "{\"items\": [");
	escape_json(json, left->item_id);
	appendStringInfoString(json, ", ");
	escape_json(json, right->item_id);
	appendStringInfo(json, "], \"together\": %lld, \"baskets\": [%lld, %lld], ",
					 (long long) decision->together[a * n + b], (long long) left->baskets,
					 (long long) right->baskets);
	append_number(json, "shrunk_cosine", decision->copurchase[a * n + b]);
	appendStringInfoString(json, ", ");
	append_number(json, "similarity", decision->content[a * n + b]);
	appendStringInfoChar(json, '}');
}

static void
append_pairs(StringInfo json, const BrPgDecision *decision, const BrBundle *bundle)
{
	bool first = true;

	appendStringInfoString(json, "\"pairs\": [");
	for (int i = 0; i < bundle->size; i++)
		for (int j = i + 1; j < bundle->size; j++)
		{
			if (!first)
				appendStringInfoString(json, ", ");
			append_pair(json, decision, bundle->members[i], bundle->members[j]);
			first = false;
		}
	appendStringInfoChar(json, ']');
}

static void
append_from(StringInfo json, const BrPgDecision *decision, const BrPgItem *item, int from)
{
	appendStringInfoString(json, "{\"item\": ");
	escape_json(json, item->item_id);
	if (from == BR_PG_FROM_QUERY)
	{
		appendStringInfoString(json, ", \"source\": \"query\", \"from\": ");
		escape_json(json, decision->request->query);
		return;
	}
	appendStringInfo(json, ", \"source\": \"%s\", \"from\": ", decision->context[from].source);
	escape_json(json, decision->context[from].item_id);
}

static void
append_context(StringInfo json, const BrPgDecision *decision, const BrBundle *bundle)
{
	const char *separator = "";

	appendStringInfoString(json, "\"context\": [");
	for (int i = 0; i < bundle->size; i++)
	{
		const BrPgItem *item = &decision->items[bundle->members[i]];

		if (item->copurchase_from != BR_PG_FROM_NOTHING)
		{
			const BrPgContextItem *from = &decision->context[item->copurchase_from];

			appendStringInfoString(json, separator);
			append_from(json, decision, item, item->copurchase_from);
			appendStringInfo(json, ", \"together\": %lld, \"baskets\": [%lld, %lld], ",
							 (long long) item->together, (long long) from->baskets,
							 (long long) item->baskets);
			append_number(json, "shrunk_cosine",
						  br_bundle_shrunk_cosine(item->together, from->baskets, item->baskets,
												  BR_BUNDLE_SHRINKAGE));
			appendStringInfoChar(json, '}');
			separator = ", ";
		}
		if (item->content_from != BR_PG_FROM_NOTHING)
		{
			appendStringInfoString(json, separator);
			append_from(json, decision, item, item->content_from);
			appendStringInfoString(json, ", ");
			append_number(json, "similarity", item->similarity);
			appendStringInfoChar(json, '}');
			separator = ", ";
		}
	}
	appendStringInfoChar(json, ']');
}

static char *
slot_reasons(const BrPgDecision *decision, int slot)
{
	int chosen = decision->slate.chosen[slot];
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_features(&json, decision->pool.features + (size_t) chosen * BR_FEATURE_COUNT);
	appendStringInfoString(&json, ", ");
	append_pairs(&json, decision, &decision->pool.bundles[chosen]);
	appendStringInfoString(&json, ", ");
	append_context(&json, decision, &decision->pool.bundles[chosen]);
	appendStringInfoChar(&json, '}');
	return json.data;
}

void
br_pg_decide_reasons(BrPgDecision *decision)
{
	decision->reasons = palloc(sizeof(char *) * Max(decision->slate.slots, 1));
	for (int slot = 0; slot < decision->slate.slots; slot++)
		decision->reasons[slot] = slot_reasons(decision, slot);
}
