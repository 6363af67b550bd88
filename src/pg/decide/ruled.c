/*
 * ruled.c
 *	  What merchandiser rules make of a decision.
 *
 * Bans are part of the filter of candidates, boosts part of their figures, caps
 * and requirements constraints of the search: all of these a policy finds already
 * done. Pins alone are about the slate: their bundles are looked for in the pool,
 * or added to it under the same constraints, and stand at their slots with
 * probability 1 while the policy fills the others.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/decide/curated.h"

/* candidates in front for each requirement, for caps, and of those of a capped category */
#define EACH_REQUIRED 12
#define FOR_CAPS 30
#define EACH_CAPPED 4

/* the most bought items looked through for those of boosted categories */
#define BOOSTED_WALK "1000"

static bool
pins_for(const BrPgRequest *request, const BrPgRule *rule)
{
	if (rule->action != BR_PG_RULE_PIN)
		return false;
	if (request->curated)
		return rule->bundle_id != NULL;
	return strcmp(request->kind, "item") == 0 ? rule->n_items == 1 : rule->n_items > 1;
}

/* ---- candidates ---- */

typedef struct Reserving
{
	BrPgDecision *decision;
	int reserved;
	int room;
} Reserving;

static void
take(Reserving *reserving, int i)
{
	BrPgItem *items = reserving->decision->items;
	BrPgItem item = items[i];

	memmove(items + reserving->reserved + 1, items + reserving->reserved,
			sizeof(BrPgItem) * (i - reserving->reserved));
	items[reserving->reserved++] = item;
}

/* up to n of the items that a rule names */
static void
take_named(Reserving *reserving, const BrPgRule *rule, int n)
{
	const BrPgDecision *decision = reserving->decision;

	for (int i = reserving->reserved; i < decision->n_items && n > 0; i++)
		if (reserving->reserved < reserving->room &&
			br_pg_rule_names(rule, decision->items[i].item_id, decision->items[i].category))
		{
			take(reserving, i);
			n--;
		}
}

/* how many of the reserved items are of the category, which may be NULL */
static int
count_reserved(const Reserving *reserving, const char *category)
{
	int n = 0;

	for (int i = 0; i < reserving->reserved; i++)
	{
		const char *of_item = reserving->decision->items[i].category;

		n += category == NULL || of_item == NULL ? category == of_item
												 : strcmp(category, of_item) == 0;
	}
	return n;
}

/* few of the capped categories, so that there is something to put beside them */
static void
take_uncapped(Reserving *reserving, int n)
{
	const BrPgDecision *decision = reserving->decision;
	const BrPgRules *rules = decision->request->rules;

	for (int i = reserving->reserved; i < decision->n_items && n > 0; i++)
	{
		const char *category = decision->items[i].category;

		if (reserving->reserved < reserving->room &&
			(br_pg_rules_cap(rules, category) == 0 ||
			 count_reserved(reserving, category) < EACH_CAPPED))
		{
			take(reserving, i);
			n--;
		}
	}
}

/* of n candidates, as many for each requirement as for the others, and for caps together */
static int
even_share(const BrPgRules *rules, int n)
{
	int shares = br_pg_rules_have(rules, BR_PG_RULE_CAP);

	for (int i = 0; i < rules->n; i++)
		shares += rules->rules[i].action == BR_PG_RULE_REQUIRE;
	return Max(n, 0) / Max(shares, 1);
}

int
br_pg_decide_reserve(BrPgDecision *decision, int reserved, int room, bool evenly)
{
	const BrPgRequest *request = decision->request;
	const BrPgRules *rules = request->rules;
	Reserving reserving = {decision, reserved, BR_BUNDLE_MAX_CANDIDATES};
	int each = EACH_REQUIRED;

	for (int i = 0; i < rules->n; i++)
		if (pins_for(request, &rules->rules[i]))
			take_named(&reserving, &rules->rules[i], rules->rules[i].n_items);
	reserving.room = room;
	if (evenly)
		each = even_share(rules, room - reserving.reserved);
	for (int i = 0; i < rules->n && request->constraints.required != 0; i++)
		if (rules->rules[i].action == BR_PG_RULE_REQUIRE)
			take_named(&reserving, &rules->rules[i], each);
	if (br_pg_rules_have(rules, BR_PG_RULE_CAP) && request->constraints.max_size > 1)
		take_uncapped(&reserving, FOR_CAPS);
	return reserving.reserved;
}

void
br_pg_decide_rule_candidates(BrPgDecision *decision)
{
	const BrPgRules *rules = decision->request->rules;

	for (int i = 0; i < decision->n_items; i++)
	{
		BrPgItem *item = &decision->items[i];
		int bit = 0;

		item->candidate.category_cap = br_pg_rules_cap(rules, item->category);
		for (int j = 0; j < rules->n && bit < BR_BUNDLE_MAX_REQUIRED; j++)
			if (rules->rules[j].action == BR_PG_RULE_REQUIRE)
			{
				if (br_pg_rule_names(&rules->rules[j], item->item_id, item->category))
					item->candidate.meets |= UINT32_C(1) << bit;
				bit++;
			}
	}
}

/* ---- curated bundles ---- */

/* boosts that raise what they name */
static BrPgRules
raising_rules(const BrPgRules *rules)
{
	BrPgRules raising = {0, palloc(sizeof(BrPgRule) * Max(rules->n, 1))};

	for (int i = 0; i < rules->n; i++)
		if (rules->rules[i].action == BR_PG_RULE_BOOST && rules->rules[i].amount > 1)
			raising.rules[raising.n++] = rules->rules[i];
	return raising;
}

static const char ruled_bundles[] =
	"SELECT r.bundle FROM (SELECT b.bundle, 0 AS place, 0 AS purchases FROM bundle_rec.bundle_@ b"
	" WHERE b.bundle_id = ANY ($1) UNION ALL"
	" SELECT m.bundle, 1, COALESCE(n.purchases, 0) FROM (SELECT pg_catalog.unnest($2) AS item_id"
	" UNION SELECT i.item_id FROM (SELECT item FROM bundle_rec.item_count_@"
	" ORDER BY baskets DESC, item LIMIT " BOOSTED_WALK ") c JOIN bundle_rec.item_@ i USING (item)"
	" WHERE i.category = ANY ($3)) x JOIN bundle_rec.bundle_item_@ m USING (item_id)"
	" LEFT JOIN bundle_rec.bundle_count_@ n USING (bundle)) r GROUP BY r.bundle"
	" ORDER BY pg_catalog.min(r.place), pg_catalog.max(r.purchases) DESC, r.bundle DESC LIMIT $4";

int32 *
br_pg_decide_ruled_bundles(const BrPgRequest *request, int room, int *n)
{
	static const Oid types[] = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4OID};
	BrPgRules raising = raising_rules(request->rules);
	char **bundle_ids = palloc(sizeof(char *) * Max(request->rules->n, 1));
	int n_pinned = 0, n_items, n_categories;
	char **items = br_pg_rules_items(&raising, BR_PG_RULE_BOOST, &n_items);
	char **categories = br_pg_rules_categories(&raising, BR_PG_RULE_BOOST, &n_categories);
	Datum values[4];
	int32 *numbers;
	BrPgRights rights;

	for (int i = 0; i < request->rules->n; i++)
		if (pins_for(request, &request->rules->rules[i]))
			bundle_ids[n_pinned++] = request->rules->rules[i].bundle_id;
	*n = 0;
	if (n_pinned + raising.n == 0)
		return NULL;
	values[0] = br_pg_text_array_datum(bundle_ids, n_pinned);
	values[1] = br_pg_text_array_datum(items, n_items);
	values[2] = br_pg_text_array_datum(categories, n_categories);
	values[3] = Int32GetDatum(Max(room, n_pinned));
	br_pg_enter_owner(&rights);
	*n = (int) br_pg_execute(br_pg_catalog_sql(ruled_bundles, request->catalog->number),
							 lengthof(types), types, values, NULL, true, 0);
	br_pg_leave(&rights);
	numbers = palloc(sizeof(int32) * Max(*n, 1));
	for (int row = 0; row < *n; row++)
	{
		bool is_null;

		numbers[row] = DatumGetInt32(br_pg_column((uint64) row, 1, &is_null));
	}
	SPI_freetuptable(SPI_tuptable);
	return numbers;
}

bool
br_pg_decide_rules_refuse(const BrPgRules *rules, const char *bundle_id, char *const *item_ids,
						  char *const *categories, int n)
{
	if (br_pg_rules_ban_bundle(rules, bundle_id))
		return true;
	for (int i = 0; i < n; i++)
	{
		int cap = br_pg_rules_cap(rules, categories[i]);
		int same = 0;

		if (br_pg_rules_ban(rules, item_ids[i], categories[i]))
			return true;
		for (int j = 0; cap > 0 && j <= i; j++)
			same += categories[j] != NULL && strcmp(categories[i], categories[j]) == 0;
		if (same > cap)
			return true;
	}
	return false;
}

/* ---- pins ---- */

/* member: -1 where it cannot be offered */
static void
add_pinned(BrPgDecision *decision, const BrPgRule *rule, int member)
{
	if (member < 0)
		ereport(DEBUG1,
				(errmsg_internal("rule \"%s\" pins what this request rules out", rule->name)));
	else
		decision->pinned[decision->n_pinned++] = (BrPgPinned){rule, member, -1};
}

/* the candidates that a rule names; false where one is missing */
static bool
find_members(const BrPgDecision *decision, const BrPgRule *rule, int *members)
{
	for (int i = 0; i < rule->n_items; i++)
	{
		members[i] = -1;
		for (int j = 0; j < decision->n_items && members[i] < 0; j++)
			if (strcmp(decision->items[j].item_id, rule->items[i]) == 0)
				members[i] = j;
		if (members[i] < 0)
			return false;
	}
	return true;
}

void
br_pg_decide_pin(BrPgDecision *decision, const BrCandidate *candidates, const BrAffinity *affinity)
{
	const BrPgRules *rules = decision->request->rules;
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	decision->n_pinned = 0;
	decision->pinned = palloc(sizeof(BrPgPinned) * Max(rules->n, 1));
	for (int i = 0; i < rules->n; i++)
	{
		const BrPgRule *rule = &rules->rules[i];
		int members[BR_BUNDLE_MAX_SIZE];
		int place = -1;

		if (!pins_for(decision->request, rule))
			continue;
		if (find_members(decision, rule, members))
			br_pg_check(br_bundle_pool_add(&context, candidates, decision->n_items, affinity,
										   &decision->request->constraints, members, rule->n_items,
										   &decision->pool, &place),
						&context, "could not assemble bundles", NULL);
		add_pinned(decision, rule, place);
	}
}

void
br_pg_decide_pin_curated(BrPgDecision *decision)
{
	const BrPgRules *rules = decision->request->rules;

	decision->pinned = palloc(sizeof(BrPgPinned) * Max(rules->n, 1));
	for (int i = 0; i < rules->n; i++)
	{
		const BrPgRule *rule = &rules->rules[i];
		int place = decision->pool.n - 1;

		if (!pins_for(decision->request, rule))
			continue;
		while (place >= 0 && strcmp(decision->curated[place].bundle_id, rule->bundle_id) != 0)
			place--;
		add_pinned(decision, rule, place);
	}
}

/* the slots that rules name, then the first free ones; `at` has the pin of each slot */
static void
assign_slots(BrPgDecision *decision, BrPgPinned **at)
{
	int wanted = decision->request->wanted;
	int next = 0;

	for (int i = 0; i < decision->n_pinned; i++)
	{
		int slot = decision->pinned[i].rule->slot;

		if (slot > 0 && slot <= wanted && at[slot - 1] == NULL)
			at[slot - 1] = &decision->pinned[i];
	}
	for (int i = 0; i < decision->n_pinned; i++)
	{
		if (decision->pinned[i].rule->slot > 0)
			continue;
		while (next < wanted && at[next] != NULL)
			next++;
		if (next < wanted)
			at[next] = &decision->pinned[i];
	}
}

/* Where there are fewer slots than were wanted, those at the end move up, in their order. */
BrPin *
br_pg_decide_place_pins(BrPgDecision *decision, int slots, int *n)
{
	BrPgPinned **at = palloc0(sizeof(BrPgPinned *) * decision->request->wanted);
	BrPin *pins = palloc(sizeof(BrPin) * Max(decision->n_pinned, 1));

	assign_slots(decision, at);
	*n = 0;
	for (int slot = decision->request->wanted - 1; slot >= 0; slot--)
		if (at[slot] != NULL)
		{
			at[slot]->slot = Min(slot, slots - 1);
			slots = at[slot]->slot;
			pins[(*n)++] = (BrPin){at[slot]->slot, at[slot]->member};
		}
	return pins;
}

const BrPgPinned *
br_pg_decide_pinned_to(const BrPgDecision *decision, int slot)
{
	for (int i = 0; i < decision->n_pinned; i++)
		if (decision->pinned[i].slot == slot)
			return &decision->pinned[i];
	return NULL;
}
