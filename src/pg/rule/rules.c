/*
 * rules.c
 *	  The rules that hold now, and what they say of an item.
 *
 * A decision reads them once, by one statement whose plan is kept; a catalog
 * without rules pays for nothing else. Names are few and sorted, so that an item
 * is looked up in them by halving.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "core/math/br_math.h"
#include "pg/rule/rule.h"

static const char *const action_names[BR_PG_RULE_ACTIONS] = {
	[BR_PG_RULE_PIN] = "pin", [BR_PG_RULE_BAN] = "ban",			[BR_PG_RULE_BOOST] = "boost",
	[BR_PG_RULE_CAP] = "cap", [BR_PG_RULE_REQUIRE] = "require",
};

const char *
br_pg_rule_action_name(BrPgRuleAction action)
{
	return action_names[action];
}

static BrPgRuleAction
action_of(const char *name)
{
	for (int action = 0; action < BR_PG_RULE_ACTIONS; action++)
		if (strcmp(action_names[action], name) == 0)
			return (BrPgRuleAction) action;
	elog(ERROR, "unknown action \"%s\"", name);
}

static char **
text_column(uint64 row, int column, int *n)
{
	bool is_null;
	Datum value = br_pg_column(row, column, &is_null);

	*n = 0;
	return is_null ? NULL : br_pg_text_array(DatumGetArrayTypeP(value), "names", n);
}

static void
read_rule(uint64 row, BrPgRule *rule)
{
	bool is_null;
	Datum slot = br_pg_column(row, 7, &is_null);

	rule->slot = is_null ? 0 : DatumGetInt32(slot);
	rule->name = br_pg_column_text(row, 1);
	rule->action = action_of(br_pg_column_text(row, 2));
	rule->items = text_column(row, 3, &rule->n_items);
	rule->categories = text_column(row, 4, &rule->n_categories);
	rule->bundle_id = br_pg_column_text(row, 5);
	rule->amount = br_pg_column_number(row, 6, 0);
}

BrPgRules *
br_pg_rules_in_force(int32 catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog)};
	BrPgRules *rules = palloc(sizeof(BrPgRules));
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	rules->n = (int) br_pg_execute("SELECT name, action, items, categories, bundle_id, amount, slot"
								   " FROM bundle_rec.merchandiser_rule WHERE catalog = $1"
								   " AND valid @> pg_catalog.now() ORDER BY name",
								   1, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	rules->rules = palloc(sizeof(BrPgRule) * Max(rules->n, 1));
	for (int i = 0; i < rules->n; i++)
		read_rule((uint64) i, &rules->rules[i]);
	SPI_freetuptable(SPI_tuptable);
	return rules;
}

/* ---- what they name ---- */

static int
compare_names(const void *left, const void *right)
{
	return strcmp(*(char *const *) left, *(char *const *) right);
}

static bool
is_named(char **names, int n, const char *name)
{
	return name != NULL && n > 0 && bsearch(&name, names, n, sizeof(char *), compare_names) != NULL;
}

bool
br_pg_rule_names(const BrPgRule *rule, const char *item_id, const char *category)
{
	return is_named(rule->items, rule->n_items, item_id) ||
		is_named(rule->categories, rule->n_categories, category);
}

bool
br_pg_rules_have(const BrPgRules *rules, BrPgRuleAction action)
{
	for (int i = 0; i < rules->n; i++)
		if (rules->rules[i].action == action)
			return true;
	return false;
}

char **
br_pg_rules_items(const BrPgRules *rules, BrPgRuleAction action, int *n)
{
	char **items;

	*n = 0;
	for (int i = 0; i < rules->n; i++)
		*n += rules->rules[i].action == action ? rules->rules[i].n_items : 0;
	items = palloc(sizeof(char *) * Max(*n, 1));
	*n = 0;
	for (int i = 0; i < rules->n; i++)
		for (int j = 0; rules->rules[i].action == action && j < rules->rules[i].n_items; j++)
			items[(*n)++] = rules->rules[i].items[j];
	return items;
}

char **
br_pg_rules_categories(const BrPgRules *rules, BrPgRuleAction action, int *n)
{
	char **categories;

	*n = 0;
	for (int i = 0; i < rules->n; i++)
		*n += rules->rules[i].action == action ? rules->rules[i].n_categories : 0;
	categories = palloc(sizeof(char *) * Max(*n, 1));
	*n = 0;
	for (int i = 0; i < rules->n; i++)
		for (int j = 0; rules->rules[i].action == action && j < rules->rules[i].n_categories; j++)
			categories[(*n)++] = rules->rules[i].categories[j];
	return categories;
}

/* ---- what they say of an item ---- */

bool
br_pg_rules_ban(const BrPgRules *rules, const char *item_id, const char *category)
{
	for (int i = 0; i < rules->n; i++)
		if (rules->rules[i].action == BR_PG_RULE_BAN &&
			br_pg_rule_names(&rules->rules[i], item_id, category))
			return true;
	return false;
}

bool
br_pg_rules_ban_bundle(const BrPgRules *rules, const char *bundle_id)
{
	for (int i = 0; i < rules->n; i++)
	{
		const BrPgRule *rule = &rules->rules[i];

		if (rule->action == BR_PG_RULE_BAN && rule->bundle_id != NULL &&
			strcmp(rule->bundle_id, bundle_id) == 0)
			return true;
	}
	return false;
}

double
br_pg_rules_boost(const BrPgRules *rules, const char *item_id, const char *category)
{
	double boost = 0;

	for (int i = 0; i < rules->n; i++)
		if (rules->rules[i].action == BR_PG_RULE_BOOST &&
			br_pg_rule_names(&rules->rules[i], item_id, category))
			boost += br_math_log(rules->rules[i].amount);
	return boost;
}

int
br_pg_rules_cap(const BrPgRules *rules, const char *category)
{
	int cap = 0;

	for (int i = 0; i < rules->n; i++)
	{
		int amount = (int) rules->rules[i].amount;

		if (rules->rules[i].action == BR_PG_RULE_CAP &&
			br_pg_rule_names(&rules->rules[i], NULL, category) && (cap == 0 || amount < cap))
			cap = amount;
	}
	return cap;
}
