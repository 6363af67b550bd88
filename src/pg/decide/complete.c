/*
 * complete.c
 *	  What is missing from a set of items: the others by what the ranker in
 *	  service makes of them (complete_ranked.c), or where there is none by their
 *	  mean affinity to it, found by a scan of all of them.
 *
 * Affinity falls again where two texts are nearly the same, so that neither
 * the nearest items by text nor the most frequent partners need be the best.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "core/bundle/br_bundle.h"
#include "pg/decide/complete.h"
#include "pg/decide/complete_ranked.h"
#include "pg/decide/nearest.h"
#include "pg/rule/rule.h"

#define MOST_GIVEN BR_BUNDLE_MAX_CURATED_SIZE

/* An item that was bought with some of the given ones. */
typedef struct Partner
{
	int32 item;								  /* the key */
	double copurchase[FLEXIBLE_ARRAY_MEMBER]; /* (n_given): shrunk cosine */
} Partner;

typedef struct Search
{
	const BrPgCatalog *catalog;
	int n_given;
	BrPgGiven *given; /* by id */
	HTAB *partners;
	int n;
	int room;
	BrPgScoredItem *scored;
} Search;

/* ---- the set ---- */

/* each of them once, in the order of ids */
static void
find_given(Search *search, char **item_ids, int n)
{
	static const Oid types[] = {TEXTARRAYOID};
	Datum values[] = {br_pg_text_array_datum(item_ids, n)};
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found =
		br_pg_execute(br_pg_catalog_sql("SELECT u.item_id, i.item, COALESCE(c.baskets, 0), i.embedding"
										" FROM (SELECT DISTINCT x.id COLLATE \"C\" AS item_id"
										" FROM pg_catalog.unnest($1) AS x(id)) u"
										" LEFT JOIN bundle_rec.item_@ i USING (item_id)"
										" LEFT JOIN bundle_rec.item_count_@ c USING (item)"
										" ORDER BY u.item_id",
										search->catalog->number),
					  1, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	search->given = palloc0(sizeof(BrPgGiven) * found);
	for (uint64 row = 0; row < found; row++)
	{
		BrPgGiven *given = &search->given[search->n_given++];
		bool is_null;
		Datum value = br_pg_column(row, 2, &is_null);

		if (is_null)
			br_pg_catalog_refuse_item(search->catalog, br_pg_column_text(row, 1));
		given->item = DatumGetInt32(value);
		given->baskets = DatumGetInt64(br_pg_column(row, 3, &is_null));
		value = br_pg_column(row, 4, &is_null);
		given->embedding = is_null ? NULL : (BrEmbedding *) PG_DETOAST_DATUM_COPY(value);
	}
	SPI_freetuptable(SPI_tuptable);
	br_pg_catalog_require_visible(search->catalog, item_ids, n);
}

static int
index_of_given(const Search *search, int32 item)
{
	for (int i = 0; i < search->n_given; i++)
		if (search->given[i].item == item)
			return i;
	return -1;
}

static void
find_partners(Search *search)
{
	static const Oid types[] = {INT4ARRAYOID};
	HASHCTL control = {
		.keysize = sizeof(int32),
		.entrysize = offsetof(Partner, copurchase) + sizeof(double) * search->n_given,
		.hcxt = CurrentMemoryContext,
	};
	int32 *items = palloc(sizeof(int32) * search->n_given);
	Datum values[1];
	BrPgRights rights;
	uint64 found;

	for (int i = 0; i < search->n_given; i++)
		items[i] = search->given[i].item;
	values[0] = br_pg_int4_array(items, search->n_given);
	search->partners =
		hash_create("partners", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	br_pg_enter_owner(&rights);
	found = br_pg_execute(br_pg_catalog_sql("SELECT p.item, p.other, p.together, c.baskets"
											" FROM bundle_rec.item_pair_@ p"
											" JOIN bundle_rec.item_count_@ c ON c.item = p.other"
											" WHERE p.item = ANY ($1)",
											search->catalog->number),
						  1, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null, known;
		int given = index_of_given(search, DatumGetInt32(br_pg_column(row, 1, &is_null)));
		int32 other = DatumGetInt32(br_pg_column(row, 2, &is_null));
		Partner *partner = hash_search(search->partners, &other, HASH_ENTER, &known);

		if (!known)
			memset(partner->copurchase, 0, sizeof(double) * search->n_given);
		partner->copurchase[given] =
			br_bundle_shrunk_cosine(DatumGetInt64(br_pg_column(row, 3, &is_null)),
									search->given[given].baskets,
									DatumGetInt64(br_pg_column(row, 4, &is_null)),
									BR_BUNDLE_SHRINKAGE);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* ---- the others ---- */

/* embedding may be NULL */
static double
mean_affinity(const Search *search, int32 item, const BrEmbedding *embedding)
{
	const Partner *partner = hash_search(search->partners, &item, HASH_FIND, NULL);
	double sum = 0;

	for (int i = 0; i < search->n_given; i++)
	{
		const BrEmbedding *given = search->given[i].embedding;
		double content = 0;

		/* an item embedded with an earlier model waits for refresh */
		if (embedding != NULL && given != NULL && embedding->dims == given->dims)
			content = br_pg_embedding_cosine(given, embedding);
		sum += br_bundle_affinity(content, partner == NULL ? 0 : partner->copurchase[i]);
	}
	return sum / search->n_given;
}

static void
score_item(void *state, int32 item, const BrEmbedding *embedding)
{
	Search *search = state;
	double score;

	if (index_of_given(search, item) >= 0)
		return;
	score = mean_affinity(search, item, embedding);
	if (score <= 0)
		return;
	if (search->n == search->room)
	{
		search->room *= 2;
		search->scored = repalloc_huge(search->scored, sizeof(BrPgScoredItem) * search->room);
	}
	search->scored[search->n++] = (BrPgScoredItem){item, score};
}

/* best first, then the older item */
static int
compare_scored(const void *left, const void *right)
{
	const BrPgScoredItem *a = left;
	const BrPgScoredItem *b = right;

	if (a->score != b->score)
		return a->score > b->score ? -1 : 1;
	return a->item < b->item ? -1 : a->item > b->item;
}

/* takes out what rules ban */
static void
hide_banned(const Search *search, const BrPgRules *rules, const int32 *items, int n, bool *visible)
{
	static const Oid types[] = {INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	int n_items, n_categories;
	char **item_ids = br_pg_rules_items(rules, BR_PG_RULE_BAN, &n_items);
	char **categories = br_pg_rules_categories(rules, BR_PG_RULE_BAN, &n_categories);
	Datum values[] = {br_pg_int4_array(items, n), br_pg_text_array_datum(item_ids, n_items),
					  br_pg_text_array_datum(categories, n_categories)};
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found = br_pg_execute(br_pg_catalog_sql("SELECT u.place FROM pg_catalog.unnest($1)"
											" WITH ORDINALITY AS u(item, place)"
											" JOIN bundle_rec.item_@ i USING (item)"
											" WHERE i.item_id = ANY ($2) OR i.category = ANY ($3)",
											search->catalog->number),
						  lengthof(types), types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;

		visible[DatumGetInt64(br_pg_column(row, 1, &is_null)) - 1] = false;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* the first k of the sorted items that the caller may see and no rule bans */
static BrPgCompletion *
first_visible(const Search *search, int k, int *n)
{
	BrPgRules *rules = br_pg_rules_in_force(search->catalog->number);
	bool bans = br_pg_rules_have(rules, BR_PG_RULE_BAN);
	bool asks = br_pg_catalog_must_ask(search->catalog);
	bool filter = asks || bans;
	int step = filter ? Max(64, 2 * k) : k;
	BrPgCompletion *completions = palloc(sizeof(BrPgCompletion) * Min(k, Max(search->n, 1)));
	int32 *items = palloc(sizeof(int32) * step);
	bool *visible = palloc(sizeof(bool) * step);

	*n = 0;
	for (int first = 0; first < search->n && *n < k; first += step)
	{
		const BrPgScoredItem *scored = search->scored + first;
		int length = Min(step, search->n - first);
		char **item_ids;

		for (int i = 0; i < length; i++)
			items[i] = scored[i].item;
		item_ids = br_pg_item_ids(search->catalog, items, length);
		memset(visible, true, sizeof(bool) * length);
		if (asks)
			br_pg_catalog_visible(search->catalog, item_ids, length, visible);
		if (bans)
			hide_banned(search, rules, items, length, visible);
		for (int i = 0; i < length && *n < k; i++)
			if (visible[i])
				completions[(*n)++] = (BrPgCompletion){item_ids[i], scored[i].score};
	}
	return completions;
}

BrPgCompletion *
br_pg_complete(const BrPgCatalog *catalog, char **item_ids, int n_ids, int k, int *n)
{
	Search search = {.catalog = catalog, .room = 1024};
	BrPgServing *serving;
	int32 version;

	if (n_ids < 1 || n_ids > MOST_GIVEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"items\" must name between 1 and %d items", MOST_GIVEN),
				 errdetail("It names %d.", n_ids),
				 errhint("Give the ids of what is in the set already;"
						 " recommend_items serves an empty basket.")));
	find_given(&search, item_ids, n_ids);
	serving = br_pg_serving_open(catalog->number);
	if (br_pg_serving_ranker(serving, false, &version) != NULL)
		search.scored =
			br_pg_complete_ranked(catalog, serving, search.given, search.n_given, &search.n);
	else
	{
		find_partners(&search);
		search.scored = palloc(sizeof(BrPgScoredItem) * search.room);
		br_pg_scan_items(search.catalog, score_item, &search);
	}
	qsort(search.scored, search.n, sizeof(BrPgScoredItem), compare_scored);
	return first_visible(&search, k, n);
}
