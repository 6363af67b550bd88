/*
 * rule.h
 *	  Merchandiser rules: what a catalog's owner wants offered or not, whatever
 *	  a policy has learned.
 */
#ifndef BR_RULE_H
#define BR_RULE_H

#include "pg/br_pg.h"

#include "pg/catalog/catalog.h"

typedef enum BrPgRuleAction
{
	BR_PG_RULE_PIN,
	BR_PG_RULE_BAN,
	BR_PG_RULE_BOOST,
	BR_PG_RULE_CAP,
	BR_PG_RULE_REQUIRE,
	BR_PG_RULE_ACTIONS
} BrPgRuleAction;

/* "pin", "ban", "boost", "cap", "require" */
extern const char *br_pg_rule_action_name(BrPgRuleAction action);

typedef struct BrPgRule
{
	char *name;
	BrPgRuleAction action;
	int n_items;
	char **items; /* (n_items): ids, sorted by bytes */
	int n_categories;
	char **categories; /* (n_categories), sorted by bytes */
	char *bundle_id;   /* NULL: none */
	double amount;	   /* of boosts and caps */
	int slot;		   /* of pins, from 1; 0: the first free one */
} BrPgRule;

typedef struct BrPgRules
{
	int n;
	BrPgRule *rules; /* (n), by name */
} BrPgRules;

/* ---- rules in force (rules.c) ---- */

/* Those of a catalog that hold now, never NULL, palloc'd. SPI must be connected. */
extern BrPgRules *br_pg_rules_in_force(int32 catalog);

extern bool br_pg_rules_have(const BrPgRules *rules, BrPgRuleAction action);

/* Whether it names the item or its category, which may be NULL. */
extern bool br_pg_rule_names(const BrPgRule *rule, const char *item_id, const char *category);

/* What all rules of an action name, one after the other; n may be 0. */
extern char **br_pg_rules_items(const BrPgRules *rules, BrPgRuleAction action, int *n);
extern char **br_pg_rules_categories(const BrPgRules *rules, BrPgRuleAction action, int *n);

extern bool br_pg_rules_ban(const BrPgRules *rules, const char *item_id, const char *category);
extern bool br_pg_rules_ban_bundle(const BrPgRules *rules, const char *bundle_id);

/* What they add to the log-odds of an item. */
extern double br_pg_rules_boost(const BrPgRules *rules, const char *item_id, const char *category);

/* Items of a category that may be in a bundle; 0: any number. category may be NULL. */
extern int br_pg_rules_cap(const BrPgRules *rules, const char *category);

/* ---- making and ending them (create.c) ---- */

typedef struct BrPgRuleRequest
{
	const char *name;
	const char *action;
	/* ... and what was given of the rest, 0 or NULL where it is NULL */
	ArrayType *items;
	ArrayType *categories;
	const char *bundle_id;
	bool has_amount;
	double amount;
	bool has_slot;
	int slot;
	Datum valid; /* tstzrange; 0: always */
} BrPgRuleRequest;

/*
 * SPI must be connected, and the caller be the catalog's owner. Raises 22004 and
 * 22023 for arguments that the action does not take or that make no sense,
 * 42704 for unknown items and bundles, 42710 for a second rule of that name,
 * 23514 for one that contradicts another.
 */
extern void br_pg_rule_create(const BrPgCatalog *catalog, const BrPgRuleRequest *request);

/* Raises 42704 where there is no such rule. */
extern void br_pg_rule_drop(const BrPgCatalog *catalog, const char *name);

/* conflicts.c: in an owner section, of a rule that stands in the table; raises 23514 */
extern void br_pg_rule_check_conflicts(const BrPgCatalog *catalog, const char *name);

#endif /* BR_RULE_H */
