/*
 * reasons.c
 *	  Why a slot was offered, in numbers that SQL can recompute.
 *
 * features are the logged ones; contributions say what each adds to the logit of
 * their score, by the weights of ranker, or the fixed ones; pairs name the
 * co-purchases and the similarity of text inside the bundle (pair_scores and <=>
 * give the same); context names the strongest evidence that tied an item to the
 * request; same_category what all items have in common, budget what was asked
 * for; explored whether the policy expected more of another bundle; rules names
 * those that pinned the slot, boosted items of it or required one. A large curated
 * bundle names only its strongest pairs.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "pg/decide/decide.h"
#include "pg/decide/proposals.h"

/* those of the largest bundle that a search makes */
#define MOST_PAIRS (BR_BUNDLE_MAX_SIZE * (BR_BUNDLE_MAX_SIZE - 1) / 2)

static void
append_number(StringInfo json, const char *key, double value)
{
	/* four digits say what a reader wants to know; JSON has no NaN */
	if (isfinite(value))
		appendStringInfo(json, "\"%s\": %.4g", key, value);
	else
		appendStringInfo(json, "\"%s\": null", key);
}

/* money is told as it is charged */
static void
append_money(StringInfo json, const char *key, double value)
{
	if (isfinite(value))
		appendStringInfo(json, "\"%s\": %.15g", key, value);
	else
		appendStringInfo(json, "\"%s\": null", key);
}

/* adds a part that is not 0 to the sum of them, with digits enough to add them up again */
static void
append_part(StringInfo json, const char *key, double value, double *sum)
{
	if (value == 0)
		return;
	appendStringInfo(json, "%s\"%s\": %.6g", json->data[json->len - 1] == '{' ? "" : ", ", key,
					 value);
	*sum += value;
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

/* what adds up to the logit of the feature score, as br_bundle_features adds it up */
static void
append_contributions(StringInfo json, const BrPgDecision *decision, int chosen, double boost)
{
	const BrRanker *ranker = decision->request->constraints.ranker;
	const double *weight = ranker != NULL ? ranker->weight : br_bundle_fixed_ranker.weight;
	const float *features = decision->pool.features + (size_t) chosen * BR_FEATURE_COUNT;
	double log_odds = decision->pool.bundles[chosen].log_odds;
	double logit = 0;

	appendStringInfoString(json, "\"contributions\": {");
	for (int i = 0; i < BR_FEATURE_COUNT; i++)
		if (i != BR_FEATURE_SCORE)
			append_part(json, br_bundle_feature_name((BrFeature) i), weight[i] * features[i],
						&logit);
	append_part(json, "log_odds", log_odds, &logit);
	append_part(json, "boost", boost, &logit);
	appendStringInfo(json, "}, \"logit\": %.6g, \"ranker\": ", logit);
	if (decision->request->ranker != 0)
		appendStringInfo(json, "%d", decision->request->ranker);
	else
		appendStringInfoString(json, "null");
}

/* how many baskets hold two items, and how often that is expected: lift as pair_scores has it */
static void
append_together(StringInfo json, const BrPgDecision *decision, int64 together, int64 left,
				int64 right)
{
	double expected = (double) left * (double) right / (double) decision->request->catalog->baskets;

	appendStringInfo(json, "\"together\": %lld, \"baskets\": [%lld, %lld], ", (long long) together,
					 (long long) left, (long long) right);
	append_number(json, "lift", (double) together / expected);
}

/* Two items of a bundle, and where their figures stand. */
typedef struct Pair
{
	int a; /* indexes of items */
	int b;
	double content;
	double copurchase;
	int64 together;
} Pair;

static void
append_pair(StringInfo json, const BrPgDecision *decision, const Pair *pair)
{
	const BrPgItem *left = &decision->items[pair->a];
	const BrPgItem *right = &decision->items[pair->b];

	appendStringInfoString(json, "{\"items\": [");
	escape_json(json, left->item_id);
	appendStringInfoString(json, ", ");
	escape_json(json, right->item_id);
	appendStringInfoString(json, "], ");
	append_together(json, decision, pair->together, left->baskets, right->baskets);
	appendStringInfoString(json, ", ");
	append_number(json, "shrunk_cosine", pair->copurchase);
	appendStringInfoString(json, ", ");
	append_number(json, "similarity", pair->content);
	appendStringInfoChar(json, '}');
}

/* the pair of members i and j of a bundle of the pool */
static Pair
pair_of(const BrPgDecision *decision, int chosen, int i, int j)
{
	const BrBundle *bundle = &decision->pool.bundles[chosen];
	Pair pair = {.a = bundle->members[i], .b = bundle->members[j]};
	int place = pair.a * decision->n_items + pair.b;
	const double *content = decision->content;
	const double *copurchase = decision->copurchase;
	const int64 *together = decision->together;

	if (decision->curated != NULL)
	{
		place = i * bundle->size + j;
		content = decision->curated[chosen].content;
		copurchase = decision->curated[chosen].copurchase;
		together = decision->curated[chosen].together;
	}
	pair.content = content[place];
	pair.copurchase = copurchase[place];
	pair.together = together[place];
	return pair;
}

/* the strongest first, ties by the order of the items */
static int
compare_pairs(const void *left, const void *right)
{
	const Pair *a = left;
	const Pair *b = right;
	double of_a = br_bundle_affinity(a->content, a->copurchase);
	double of_b = br_bundle_affinity(b->content, b->copurchase);

	if (of_a != of_b)
		return of_a > of_b ? -1 : 1;
	return a->a != b->a ? a->a - b->a : a->b - b->b;
}

static void
append_pairs(StringInfo json, const BrPgDecision *decision, int chosen)
{
	int size = decision->pool.bundles[chosen].size;
	Pair *pairs = palloc(sizeof(Pair) * Max(size * (size - 1) / 2, 1));
	int n = 0;

	for (int i = 0; i < size; i++)
		for (int j = i + 1; j < size; j++)
			pairs[n++] = pair_of(decision, chosen, i, j);
	if (n > MOST_PAIRS)
		qsort(pairs, n, sizeof(Pair), compare_pairs);
	appendStringInfoString(json, "\"pairs\": [");
	for (int i = 0; i < Min(n, MOST_PAIRS); i++)
	{
		if (i > 0)
			appendStringInfoString(json, ", ");
		append_pair(json, decision, &pairs[i]);
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
			appendStringInfoString(json, ", ");
			append_together(json, decision, item->together, from->baskets, item->baskets);
			appendStringInfoString(json, ", ");
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

/* whether a rule boosts an item of the bundle, or has it there because it requires one */
static bool
touches(const BrPgDecision *decision, const BrPgRule *rule, const BrBundle *bundle)
{
	if (rule->action != BR_PG_RULE_BOOST &&
		(rule->action != BR_PG_RULE_REQUIRE || decision->request->constraints.required == 0))
		return false;
	for (int i = 0; i < bundle->size; i++)
	{
		const BrPgItem *item = &decision->items[bundle->members[i]];

		if (br_pg_rule_names(rule, item->item_id, item->category))
			return true;
	}
	return false;
}

/* what rules add to the log-odds of the score, which the features alone do not explain */
static double
boost_of(const BrPgDecision *decision, const BrBundle *bundle)
{
	double boost = 0;

	for (int i = 0; i < bundle->size; i++)
		boost += decision->items[bundle->members[i]].candidate.boost;
	return boost / bundle->size;
}

static void
append_same_category(StringInfo json, const BrPgDecision *decision, const BrBundle *bundle)
{
	const char *category = decision->items[bundle->members[0]].category;

	if (bundle->size < 2 || category == NULL)
		return;
	for (int i = 1; i < bundle->size; i++)
	{
		const char *other = decision->items[bundle->members[i]].category;

		if (other == NULL || strcmp(other, category) != 0)
			return;
	}
	appendStringInfoString(json, ", \"same_category\": ");
	escape_json(json, category);
}

static void
append_budget(StringInfo json, const BrPgDecision *decision, const BrBundle *bundle)
{
	if (!decision->request->has_budget)
		return;
	appendStringInfoString(json, ", \"budget\": {");
	append_money(json, "limit", decision->request->budget);
	appendStringInfoString(json, ", ");
	append_money(json, "price", bundle->price / BR_PG_MILLIONTHS);
	appendStringInfoChar(json, '}');
}

static void
append_rules(StringInfo json, const BrPgDecision *decision, int slot)
{
	const BrPgRules *rules = decision->request->rules;
	const BrPgPinned *pinned = br_pg_decide_pinned_to(decision, slot);
	const BrBundle *bundle = &decision->pool.bundles[decision->slate.chosen[slot]];
	int n = 0;

	for (int i = 0; i < rules->n; i++)
	{
		const BrPgRule *rule = &rules->rules[i];

		if ((pinned == NULL || pinned->rule != rule) && !touches(decision, rule, bundle))
			continue;
		appendStringInfoString(json, n++ == 0 ? ", \"rules\": [" : ", ");
		escape_json(json, rule->name);
	}
	if (n > 0)
		appendStringInfoChar(json, ']');
}

static char *
slot_reasons(const BrPgDecision *decision, int slot)
{
	int chosen = decision->slate.chosen[slot];
	const BrBundle *bundle = &decision->pool.bundles[chosen];
	double boost = boost_of(decision, bundle);
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_features(&json, decision->pool.features + (size_t) chosen * BR_FEATURE_COUNT);
	appendStringInfoString(&json, ", ");
	append_contributions(&json, decision, chosen, boost);
	appendStringInfoString(&json, ", ");
	append_pairs(&json, decision, chosen);
	appendStringInfoString(&json, ", ");
	append_context(&json, decision, bundle);
	append_same_category(&json, decision, bundle);
	append_budget(&json, decision, bundle);
	appendStringInfo(&json, ", \"explored\": %s", decision->explored[slot] ? "true" : "false");
	append_rules(&json, decision, slot);
	if (boost != 0)
	{
		appendStringInfoString(&json, ", ");
		append_number(&json, "boost_log_odds", boost);
	}
	if (decision->curated != NULL)
	{
		appendStringInfo(&json, ", \"purchases\": %lld, ",
						 (long long) decision->curated[chosen].purchases);
		append_number(&json, "purchase_log_odds", bundle->log_odds);
	}
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
