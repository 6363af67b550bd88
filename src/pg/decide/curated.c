/*
 * curated.c
 *	  From a request for curated bundles to those that may be offered.
 *
 * Bundles are read in portions, the most promising first, and judged one by
 * one on what their rows and their items' rows say now, until the pool is
 * full. Where the promising ones do not make as many as are wanted, all others
 * are looked at: fewer rows than wanted mean that there are no more.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/decide/curated_learned.h"
#include "pg/decide/proposals.h"

/* bundles read at a time: a few more than fit into the pool, and of all others ever more */
#define PORTION(room) ((room) + (room) / 8)
#define LARGEST_PORTION 8192

/* Why a bundle is not offered: the first of these that holds. */
typedef enum Refusal
{
	UNAVAILABLE, /* an item is unknown or inactive, or its own rows contradict each other */
	OUT_OF_STOCK,
	EXCLUDED, /* by the caller, or by a rule */
	OTHER_CATEGORY,
	OWNED,
	OVER_BUDGET,
	UNDER_MARGIN,
	N_REFUSALS,
	OFFERED = N_REFUSALS
} Refusal;

/* Sorted strings. */
typedef struct Names
{
	int n;
	char **names;
} Names;

typedef struct Search
{
	BrPgDecision *decision;
	const BrPgRequest *request;
	BrPgOwned *owned;			 /* NULL: does not matter */
	BrPgCuratedLearned *learned; /* NULL: nothing serves */
	Names exclude, basket, categories;
	MemoryContext portion;
	int room; /* in the pool */
	int n;
	BrPgOffer offers[BR_BUNDLE_MAX_POOL];
	HTAB *looked_at;  /* numbers of bundles */
	int64 visible;	  /* how many of these the caller may see */
	bool passed_over; /* some were not looked at, as budget or categories rule them out */
	int64 refused[N_REFUSALS];
} Search;

/* ---- judging a bundle ---- */

static int
compare_names(const void *left, const void *right)
{
	return strcmp(*(char *const *) left, *(char *const *) right);
}

static Names
sort_names(char **names, int n)
{
	Names sorted = {n, palloc(sizeof(char *) * Max(n, 1))};

	if (n > 0)
		memcpy(sorted.names, names, sizeof(char *) * n);
	qsort(sorted.names, n, sizeof(char *), compare_names);
	return sorted;
}

static bool
is_named(const Names *names, const char *name)
{
	return name != NULL &&
		bsearch(&name, names->names, names->n, sizeof(char *), compare_names) != NULL;
}

static bool
source_is_there(const BrPgBundleTables *tables, int32 source)
{
	for (int i = 0; i < tables->n; i++)
		if (tables->tables[i].source == source)
			return true;
	return false;
}

bool
br_pg_curated_is_whole(const BrPgBundleTables *tables, const BrPgDraft *draft)
{
	double first = draft->members[0].bundle_price;

	if (draft->size > BR_BUNDLE_MAX_CURATED_SIZE)
		return false;
	for (int i = 0; i < draft->size; i++)
	{
		const BrPgMember *member = &draft->members[i];
		double price = member->bundle_price;

		if (!member->live || (price != first && !(isnan(price) && isnan(first))) ||
			!source_is_there(tables, member->source))
			return false;
	}
	return true;
}

/* whether a rule bans it, or allows fewer items of a category */
static bool
is_ruled_out(const Search *search, const BrPgDraft *draft)
{
	char **item_ids = palloc(sizeof(char *) * draft->size);
	char **categories = palloc(sizeof(char *) * draft->size);
	bool refused;

	for (int i = 0; i < draft->size; i++)
	{
		item_ids[i] = draft->members[i].item_id;
		categories[i] = draft->members[i].category;
	}
	refused = br_pg_decide_rules_refuse(search->request->rules, draft->bundle_id, item_ids,
										categories, draft->size);
	/* all bundles may be looked at, and the decision's memory lasts as long */
	pfree(item_ids);
	pfree(categories);
	return refused;
}

/* what its items refuse a bundle for */
static Refusal
judge_items(const Search *search, const BrPgDraft *draft)
{
	bool in_stock = true, excluded = false, other_category = false;
	bool all_in_basket = true, all_owned = search->owned != NULL;

	for (int i = 0; i < draft->size; i++)
	{
		const BrPgMember *member = &draft->members[i];

		in_stock = in_stock && member->stock >= member->quantity;
		excluded = excluded || is_named(&search->exclude, member->item_id);
		all_in_basket = all_in_basket && is_named(&search->basket, member->item_id);
		other_category = other_category || !is_named(&search->categories, member->category);
		all_owned = all_owned && br_pg_curated_owns(search->owned->items, member->item);
	}
	if (search->request->in_stock && !in_stock)
		return OUT_OF_STOCK;
	if (excluded || all_in_basket)
		return EXCLUDED;
	if (search->request->rules->n > 0 && is_ruled_out(search, draft))
		return EXCLUDED;
	if (search->request->has_categories && other_category)
		return OTHER_CATEGORY;
	if (all_owned ||
		(search->owned != NULL && br_pg_curated_owns(search->owned->bundles, draft->bundle)))
		return OWNED;
	return OFFERED;
}

/* sums in the order of item numbers, of whole millionths: exact */
static void
add_up(BrPgOffer *offer)
{
	const BrPgDraft *draft = &offer->draft;
	double own = draft->members[0].bundle_price;
	double cost = 0;

	offer->list_price = 0;
	for (int i = 0; i < draft->size; i++)
	{
		offer->list_price += rint(draft->members[i].quantity * draft->members[i].price);
		cost += rint(draft->members[i].quantity * draft->members[i].cost);
	}
	offer->price = isnan(own) ? offer->list_price : rint(own * BR_PG_MILLIONTHS);
	offer->margin = offer->price > 0 ? (offer->price - cost) / offer->price : NAN;
}

static Refusal
judge(const Search *search, BrPgOffer *offer)
{
	const BrPgRequest *request = search->request;
	Refusal refusal;

	if (!br_pg_curated_is_whole(request->bundle_tables, &offer->draft))
		return UNAVAILABLE;
	refusal = judge_items(search, &offer->draft);
	if (refusal != OFFERED)
		return refusal;
	add_up(offer);
	if (request->has_budget && !(offer->price <= request->constraints.budget))
		return OVER_BUDGET;
	if (request->has_margin && !(offer->margin >= request->constraints.min_margin))
		return UNDER_MARGIN;
	return OFFERED;
}

/* ---- looking through bundles ---- */

int
br_pg_curated_keep_visible(const BrPgCatalog *catalog, const BrPgBundleTables *tables,
						   BrPgDraft *drafts, int n)
{
	BrPgBundleRow *rows;
	bool *visible;
	int n_rows = 0, row = 0, kept = 0;

	if (!tables->filtered || n == 0)
		return n;
	for (int i = 0; i < n; i++)
		n_rows += drafts[i].size;
	rows = palloc(sizeof(BrPgBundleRow) * n_rows);
	visible = palloc(sizeof(bool) * n_rows);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < drafts[i].size; j++)
			rows[row++] = (BrPgBundleRow){drafts[i].bundle_id, drafts[i].members[j].item_id,
										  drafts[i].members[j].source};
	br_pg_bundle_rows_visible(catalog, tables, rows, n_rows, visible);
	row = 0;
	for (int i = 0; i < n; i++)
	{
		bool whole = true;

		for (int j = 0; j < drafts[i].size; j++)
			whole = visible[row++] && whole;
		if (whole)
			drafts[kept++] = drafts[i];
	}
	return kept;
}

/* into the decision's memory, out of the portion's */
static void
keep_offer(Search *search, const BrPgOffer *offer)
{
	BrPgOffer *kept = &search->offers[search->n++];
	Size bytes = sizeof(BrPgMember) * offer->draft.size;

	*kept = *offer;
	kept->draft.bundle_id = pstrdup(offer->draft.bundle_id);
	kept->draft.members = memcpy(palloc(bytes), offer->draft.members, bytes);
	for (int i = 0; i < offer->draft.size; i++)
	{
		BrPgMember *member = &kept->draft.members[i];

		member->item_id = pstrdup(member->item_id);
		member->category = member->category == NULL ? NULL : pstrdup(member->category);
	}
}

/* reads and judges those of n bundles that were not looked at, until the pool is full */
static void
look_at(Search *search, const int32 *numbers, int n)
{
	MemoryContext decision = MemoryContextSwitchTo(search->portion);
	int32 *fresh = palloc(sizeof(int32) * Max(n, 1));
	int n_fresh = 0, n_drafts;
	BrPgDraft *drafts;

	for (int i = 0; i < n; i++)
	{
		bool found;

		(void) hash_search(search->looked_at, &numbers[i], HASH_ENTER, &found);
		if (!found)
			fresh[n_fresh++] = numbers[i];
	}
	drafts = br_pg_curated_read(search->request->catalog, fresh, n_fresh, &n_drafts);
	n_drafts = br_pg_curated_keep_visible(search->request->catalog, search->request->bundle_tables,
										  drafts, n_drafts);
	MemoryContextSwitchTo(decision);
	for (int i = 0; i < n_drafts && search->n < search->room; i++)
	{
		BrPgOffer offer = {.draft = drafts[i]};
		Refusal refusal = judge(search, &offer);

		search->visible++;
		if (refusal == OFFERED)
			keep_offer(search, &offer);
		else
			search->refused[refusal]++;
	}
	MemoryContextReset(search->portion);
	CHECK_FOR_INTERRUPTS();
}

/* what rules pin or boost, which nothing else need speak for */
static void
look_at_ruled(Search *search)
{
	int n;
	int32 *numbers = br_pg_decide_ruled_bundles(search->request, search->room / 4, &n);

	look_at(search, numbers, n);
}

static void
look_at_promising(Search *search, HTAB *proposals, bool *all)
{
	int n;
	int32 *numbers = br_pg_curated_promising(search->decision, proposals, search->learned,
											 search->room, &n, all);

	for (int done = 0; done < n && search->n < search->room; done += PORTION(search->room))
		look_at(search, numbers + done, Min(PORTION(search->room), n - done));
}

static void
look_at_all(Search *search)
{
	int32 below = PG_INT32_MAX;
	int portion = PORTION(search->room), n;

	search->passed_over = search->request->has_budget || search->request->has_categories;
	do
	{
		int32 *numbers;

		n = portion;
		numbers = br_pg_curated_below(search->decision, below, &n);
		look_at(search, numbers, n);
		if (n > 0)
			below = numbers[n - 1];
		pfree(numbers);
		portion = Min(portion * 2, LARGEST_PORTION);
	} while (n > 0 && search->n < search->request->wanted);
}

/* what is in the basket speaks for the bundles that hold it */
static void
propose_basket(const BrPgDecision *decision, HTAB *proposals)
{
	for (int i = 0; i < decision->n_context; i++)
	{
		const BrPgContextItem *entry = &decision->context[i];
		BrPgProposal *proposal;

		if (strcmp(entry->source, "basket") != 0)
			continue;
		proposal = br_pg_propose(proposals, entry->item);
		proposal->copurchase_from = i;
		proposal->together = entry->baskets;
		proposal->copurchase = br_bundle_shrunk_cosine(entry->baskets, entry->baskets,
													   entry->baskets, BR_BUNDLE_SHRINKAGE);
		if (decision->request->catalog->model == 0)
			continue;
		proposal->content_from = i;
		proposal->content = proposal->similarity = 1;
	}
}

/* tells why there are fewer rows than asked for */
static void
report_shortage(const Search *search)
{
	const int64 *refused = search->refused;

	if (search->n >= search->request->wanted)
		return;
	ereport(NOTICE,
			(errmsg("only %d of %d bundles are possible", search->n, search->request->wanted),
			 errdetail("Of %lld curated bundles, %lld are incomplete or inactive, %lld out of stock,"
					   " %lld excluded, %lld of other categories, %lld owned, %lld over the budget"
					   " and %lld under the margin%s.",
					   (long long) search->visible, (long long) refused[UNAVAILABLE],
					   (long long) refused[OUT_OF_STOCK], (long long) refused[EXCLUDED],
					   (long long) refused[OTHER_CATEGORY], (long long) refused[OWNED],
					   (long long) refused[OVER_BUDGET], (long long) refused[UNDER_MARGIN],
					   search->passed_over
						   ? "; all others are over the budget or of other categories"
						   : ""),
			 refused[UNAVAILABLE] == 0
				 ? 0
				 : errhint(
					   "The view bundle_rec.bundle_coverage says what is wrong with bundles.")));
}

static HTAB *
create_looked_at(void)
{
	HASHCTL control = {
		.keysize = sizeof(int32),
		.entrysize = sizeof(int32),
		.hcxt = CurrentMemoryContext,
	};

	return hash_create("bundles looked at", 512, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

void
br_pg_decide_curated(BrPgDecision *decision)
{
	const BrPgRequest *request = decision->request;
	Search *search = palloc0(sizeof(Search));
	HTAB *proposals = br_pg_proposals_create();
	BrPgOwned *owned = NULL;
	bool all;

	search->decision = decision;
	search->request = request;
	search->room = Min(Max(BR_PG_CURATED_POOL, 2 * request->wanted), BR_BUNDLE_MAX_POOL);
	search->exclude = sort_names(request->exclude, request->n_exclude);
	search->basket = sort_names(request->basket, request->n_basket);
	if (request->has_categories)
	{
		int n;
		char **names = br_pg_text_array(DatumGetArrayTypeP(request->categories), "categories", &n);

		search->categories = sort_names(names, n);
	}
	search->looked_at = create_looked_at();
	search->portion =
		AllocSetContextCreate(CurrentMemoryContext, "curated bundles", ALLOCSET_DEFAULT_SIZES);
	if (request->user_id != NULL)
		owned = br_pg_curated_owned(decision);
	if (request->exclude_owned)
		search->owned = owned;
	search->learned = br_pg_curated_learned(request, owned);

	br_pg_propose_evidence(decision, proposals);
	propose_basket(decision, proposals);
	if (request->rules->n > 0)
		look_at_ruled(search);
	look_at_promising(search, proposals, &all);
	if (search->n < request->wanted && !all)
		look_at_all(search);
	MemoryContextDelete(search->portion);
	report_shortage(search);
	br_pg_curated_pool(decision, proposals, search->learned, search->offers, search->n);
	br_pg_decide_pin_curated(decision);
}
