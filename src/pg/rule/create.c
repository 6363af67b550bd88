/*
 * create.c
 *	  Making and ending merchandiser rules.
 *
 * Every action has arguments that it needs, some that it may have, and none
 * besides: what would be ignored is refused.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/rangetypes.h"

#include "core/bundle/br_bundle.h"
#include "pg/rule/rule.h"

/* Long lists belong into the shop's tables: every decision reads those of its catalog's rules. */
#define MOST_NAMES 1000
#define MOST_BOOST 1000.0
#define MOST_SLOT BR_BUNDLE_MAX_POOL

/* Arguments as bits. */
enum
{
	ITEMS = 1,
	CATEGORIES = 2,
	BUNDLE = 4,
	AMOUNT = 8,
	SLOT = 16
};

typedef struct Shape
{
	unsigned names;	   /* what it may name */
	bool one;		   /* just one of these */
	unsigned besides;  /* which others it may have */
	unsigned needed;   /* which of those it must have */
	const char *takes; /* the same in words */
} Shape;

static const Shape shapes[BR_PG_RULE_ACTIONS] = {
	[BR_PG_RULE_PIN] = {ITEMS | BUNDLE, true, SLOT, 0,
						"either items or a bundle_id, and perhaps a slot"},
	[BR_PG_RULE_BAN] = {ITEMS | CATEGORIES | BUNDLE, false, 0, 0,
						"items, categories or a bundle_id"},
	[BR_PG_RULE_BOOST] = {ITEMS | CATEGORIES, false, AMOUNT, AMOUNT,
						  "items or categories, and an amount"},
	[BR_PG_RULE_CAP] = {CATEGORIES, true, AMOUNT, AMOUNT, "categories and an amount"},
	[BR_PG_RULE_REQUIRE] = {CATEGORIES, true, 0, 0, "categories"},
};

/* ---- arguments ---- */

static BrPgRuleAction
action_of(const char *name)
{
	for (int action = 0; action < BR_PG_RULE_ACTIONS; action++)
		if (strcmp(br_pg_rule_action_name((BrPgRuleAction) action), name) == 0)
			return (BrPgRuleAction) action;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no action \"%s\"", name),
			 errhint("Actions are pin, ban, boost, cap and require.")));
}

static void
check_shape(const BrPgRuleRequest *request, BrPgRuleAction action)
{
	const Shape *shape = &shapes[action];
	unsigned given = (request->items != NULL ? ITEMS : 0) |
		(request->categories != NULL ? CATEGORIES : 0) | (request->bundle_id != NULL ? BUNDLE : 0) |
		(request->has_amount ? AMOUNT : 0) | (request->has_slot ? SLOT : 0);
	unsigned names = given & shape->names;

	if (names == 0 || (shape->one && (names & (names - 1)) != 0) ||
		(given & ~(shape->names | shape->besides)) != 0 || (shape->needed & ~given) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the arguments of rule \"%s\" do not fit its action \"%s\"", request->name,
						request->action),
				 errhint("A rule of action %s takes %s.", request->action, shape->takes)));
}

static void
check_amount(const BrPgRuleRequest *request, BrPgRuleAction action)
{
	double amount = request->amount;

	if (action == BR_PG_RULE_BOOST && !(amount >= 1 / MOST_BOOST && amount <= MOST_BOOST))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"amount\" of a boost must be between %g and %g", 1 / MOST_BOOST,
						MOST_BOOST),
				 errdetail("It is %g.", amount),
				 errhint("It multiplies odds: 2 doubles them, 0.5 halves them. What must not be"
						 " offered at all is banned.")));
	if (action == BR_PG_RULE_CAP &&
		!(amount >= 1 && amount <= BR_BUNDLE_MAX_CURATED_SIZE && amount == floor(amount)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"amount\" of a cap must be a whole number between 1 and %d",
						BR_BUNDLE_MAX_CURATED_SIZE),
				 errdetail("It is %g.", amount),
				 errhint("A category of which there should be none is banned.")));
}

static void
check_slot(const BrPgRuleRequest *request)
{
	if (request->has_slot && (request->slot < 1 || request->slot > MOST_SLOT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"slot\" must be between 1 and %d", MOST_SLOT),
				 errdetail("It is %d.", request->slot)));
}

static void
check_valid(const BrPgRuleRequest *request)
{
	if (request->valid != 0 && RangeIsEmpty(DatumGetRangeTypeP(request->valid)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"valid\" is empty"),
				 errhint("Leave it out, or NULL, for a rule that always holds.")));
}

static int
compare_names(const void *left, const void *right)
{
	return strcmp(*(char *const *) left, *(char *const *) right);
}

/* sorted, each once */
static char **
sorted_names(ArrayType *array, const char *argument, int most, int *n)
{
	int given;
	char **names = br_pg_text_array(array, argument, &given);

	qsort(names, given, sizeof(char *), compare_names);
	*n = 0;
	for (int i = 0; i < given; i++)
		if (i == 0 || strcmp(names[i], names[*n - 1]) != 0)
			names[(*n)++] = names[i];
	if (*n < 1 || *n > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must hold between 1 and %d names", argument, most),
				 errdetail("It holds %d.", *n)));
	return names;
}

/* ---- what they name ---- */

/* the first of the names that `known`, a query over u.name, does not find; NULL: it finds them all */
static char *
first_unknown(const BrPgCatalog *catalog, const char *known, char **names, int n)
{
	static const Oid types[] = {TEXTARRAYOID};
	Datum values[] = {br_pg_text_array_datum(names, n)};
	const char *sql = psprintf("SELECT u.name FROM pg_catalog.unnest($1) AS u(name)"
							   " WHERE NOT EXISTS (%s) ORDER BY u.name LIMIT 1",
							   known);

	return br_pg_execute_now(br_pg_catalog_sql(sql, catalog->number), 1, types, values) == 0
		? NULL
		: br_pg_column_text(0, 1);
}

static void
require_items(const BrPgCatalog *catalog, char **items, int n)
{
	char *unknown =
		first_unknown(catalog, "SELECT FROM bundle_rec.item_@ i WHERE i.item_id = u.name", items,
					  n);

	if (unknown != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("item \"%s\" is not in catalog \"%s\"", unknown, catalog->name),
				 errhint("A rule names items that are there; one of their category may be made"
						 " before they are.")));
}

static void
require_bundle(const BrPgCatalog *catalog, const char *bundle_id)
{
	char *name = pstrdup(bundle_id);

	if (first_unknown(catalog,
					  "SELECT FROM bundle_rec.bundle_@ b JOIN bundle_rec.bundle_item_@ m"
					  " USING (bundle) WHERE b.bundle_id = u.name",
					  &name, 1) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("curated bundle \"%s\" is not in catalog \"%s\"", bundle_id, catalog->name),
				 errhint("The view bundle_rec.bundle_coverage lists curated bundles.")));
}

static void
look_for_categories(const BrPgCatalog *catalog, char **categories, int n)
{
	char *unknown;

	if (catalog->category == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("catalog \"%s\" has no category column, which \"categories\" needs",
						catalog->name),
				 errhint("Name it with alter_catalog(%s, category => 'column').",
						 quote_literal_cstr(catalog->name))));
	unknown = first_unknown(catalog, "SELECT FROM bundle_rec.item_@ i WHERE i.category = u.name",
							categories, n);
	if (unknown != NULL)
		ereport(NOTICE,
				(errmsg("no item of catalog \"%s\" is of category \"%s\"", catalog->name,
						unknown)));
}

/* ---- creating ---- */

typedef struct Names
{
	char **items;
	int n_items;
	char **categories;
	int n_categories;
} Names;

static Names
names_of(const BrPgCatalog *catalog, const BrPgRuleRequest *request, BrPgRuleAction action)
{
	Names names = {.n_items = 0};

	if (request->items != NULL)
	{
		int most = action == BR_PG_RULE_PIN ? BR_BUNDLE_MAX_SIZE : MOST_NAMES;

		names.items = sorted_names(request->items, "items", most, &names.n_items);
		require_items(catalog, names.items, names.n_items);
	}
	if (request->categories != NULL)
	{
		names.categories =
			sorted_names(request->categories, "categories", MOST_NAMES, &names.n_categories);
		look_for_categories(catalog, names.categories, names.n_categories);
	}
	if (request->bundle_id != NULL)
		require_bundle(catalog, request->bundle_id);
	return names;
}

static void
insert_rule(const BrPgCatalog *catalog, const BrPgRuleRequest *request, const Names *names)
{
	static const Oid types[] = {INT4OID, TEXTOID,	TEXTOID, TEXTARRAYOID, TEXTARRAYOID,
								TEXTOID, FLOAT8OID, INT4OID, TSTZRANGEOID};
	Datum values[] = {
		Int32GetDatum(catalog->number),
		CStringGetTextDatum(request->name),
		CStringGetTextDatum(request->action),
		br_pg_text_array_datum(names->items, names->n_items),
		br_pg_text_array_datum(names->categories, names->n_categories),
		request->bundle_id != NULL ? CStringGetTextDatum(request->bundle_id) : (Datum) 0,
		Float8GetDatum(request->amount),
		Int32GetDatum(request->slot),
		request->valid,
	};
	char nulls[] = {' ',
					' ',
					' ',
					names->n_items > 0 ? ' ' : 'n',
					names->n_categories > 0 ? ' ' : 'n',
					request->bundle_id != NULL ? ' ' : 'n',
					request->has_amount ? ' ' : 'n',
					request->has_slot ? ' ' : 'n',
					request->valid != 0 ? ' ' : 'n'};

	if (br_pg_execute("INSERT INTO bundle_rec.merchandiser_rule (catalog, name, action, items,"
					  " categories, bundle_id, amount, slot, valid)"
					  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, COALESCE($9, '(,)'))"
					  " ON CONFLICT (catalog, name) DO NOTHING",
					  lengthof(types), types, values, nulls, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("catalog \"%s\" has a rule \"%s\" already", catalog->name, request->name),
				 errhint("Drop it with drop_rule, or choose another name.")));
}

/* Two rules that are made at the same time must see each other; drop_catalog waits for both. */
static void
lock_rules(const BrPgCatalog *catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog->number)};

	br_pg_catalog_hold(catalog->number);
	br_pg_execute("SELECT FROM bundle_rec.catalog WHERE catalog = $1 FOR NO KEY UPDATE", 1, types,
				  values, NULL, false, 0);
}

void
br_pg_rule_create(const BrPgCatalog *catalog, const BrPgRuleRequest *request)
{
	BrPgRuleAction action = action_of(request->action);
	Names names;
	BrPgRights rights;

	if (request->name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a rule must not be empty")));
	check_shape(request, action);
	check_amount(request, action);
	check_slot(request);
	check_valid(request);

	br_pg_enter_owner(&rights);
	lock_rules(catalog);
	names = names_of(catalog, request, action);
	insert_rule(catalog, request, &names);
	br_pg_rule_check_conflicts(catalog, request->name);
	br_pg_leave(&rights);
}

void
br_pg_rule_drop(const BrPgCatalog *catalog, const char *name)
{
	static const Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(catalog->number), CStringGetTextDatum(name)};
	BrPgRights rights;
	uint64 dropped;

	br_pg_enter_owner(&rights);
	dropped = br_pg_execute("DELETE FROM bundle_rec.merchandiser_rule"
							" WHERE catalog = $1 AND name = $2",
							lengthof(types), types, values, NULL, false, 0);
	br_pg_leave(&rights);
	if (dropped == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("catalog \"%s\" has no rule \"%s\"", catalog->name, name),
				 errhint("The view bundle_rec.rule lists rules.")));
}
