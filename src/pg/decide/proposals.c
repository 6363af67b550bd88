/*
 * proposals.c
 *	  Evidence from the context and the query.
 *
 * Three sides propose: stored nearest items by text of what is in the basket or
 * was bought before, items bought together with those, and items near the
 * query. Where several speak for an item its strongest evidence of each kind
 * counts, because that is what a reason can name.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/decide/learned.h"
#include "pg/decide/nearest.h"
#include "pg/decide/proposals.h"

/* partners by co-purchase looked at in all, at least so many per context item; items by query */
#define PARTNERS 240
#define LEAST_PARTNERS 12
#define QUERY_ITEMS 150
/* nearest items by text looked at in all, at least so many per context item */
#define NEIGHBOURS 600
#define LEAST_NEIGHBOURS 30

HTAB *
br_pg_proposals_create(void)
{
	HASHCTL control = {
		.keysize = sizeof(int32),
		.entrysize = sizeof(BrPgProposal),
		.hcxt = CurrentMemoryContext,
	};

	return hash_create("proposals", 512, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

BrPgProposal *
br_pg_propose(HTAB *proposals, int32 item)
{
	bool found;
	BrPgProposal *proposal = hash_search(proposals, &item, HASH_ENTER, &found);

	if (!found)
	{
		memset((char *) proposal + sizeof(int32), 0, sizeof(BrPgProposal) - sizeof(int32));
		proposal->content_from = BR_PG_FROM_NOTHING;
		proposal->copurchase_from = BR_PG_FROM_NOTHING;
	}
	return proposal;
}

static void
propose_near(HTAB *proposals, int32 item, int from, double similarity, double weight)
{
	BrPgProposal *proposal = br_pg_propose(proposals, item);

	if (similarity * weight > proposal->content)
	{
		proposal->content = similarity * weight;
		proposal->similarity = similarity;
		proposal->content_from = from;
	}
}

static int
context_index(const BrPgDecision *decision, int32 item)
{
	for (int i = 0; i < decision->n_context; i++)
		if (decision->context[i].item == item)
			return i;
	elog(ERROR, "item %d is not in the context", item);
}

static void
propose_neighbours(const BrPgDecision *decision, HTAB *proposals, Datum context)
{
	static const Oid types[] = {INT4ARRAYOID};
	int each = Max(NEIGHBOURS / decision->n_context, LEAST_NEIGHBOURS);
	uint64 n = br_pg_execute(psprintf("SELECT item, neighbours, similarity"
									  " FROM bundle_rec.item_neighbour_%d WHERE item = ANY ($1)",
									  decision->request->catalog->number),
							 1, types, &context, NULL, true, 0);

	for (uint64 row = 0; row < n; row++)
	{
		bool is_null;
		int from = context_index(decision, DatumGetInt32(br_pg_column(row, 1, &is_null)));
		ArrayType *ids = DatumGetArrayTypeP(br_pg_column(row, 2, &is_null));
		ArrayType *near = DatumGetArrayTypeP(br_pg_column(row, 3, &is_null));
		const int32 *item = (const int32 *) ARR_DATA_PTR(ids);
		const float4 *similarity = (const float4 *) ARR_DATA_PTR(near);
		int length = Min(ArrayGetNItems(ARR_NDIM(ids), ARR_DIMS(ids)),
						 ArrayGetNItems(ARR_NDIM(near), ARR_DIMS(near)));

		/* nearest first */
		for (int i = 0; i < Min(length, each); i++)
			propose_near(proposals, item[i], from, similarity[i], decision->context[from].weight);
	}
}

static void
propose_partners(const BrPgDecision *decision, HTAB *proposals, Datum context)
{
	static const Oid types[] = {INT4ARRAYOID, INT4OID};
	int32 number = decision->request->catalog->number;
	int each = Max(PARTNERS / decision->n_context, LEAST_PARTNERS);
	Datum values[] = {context, Int32GetDatum(Min(each, 100))};
	uint64 n =
		br_pg_execute(psprintf("SELECT p.item, p.other, p.together, c.baskets"
							   " FROM pg_catalog.unnest($1) AS u(item), LATERAL ("
							   "SELECT q.item, q.other, q.together FROM bundle_rec.item_pair_%d q"
							   " WHERE q.item = u.item ORDER BY q.together DESC, q.other LIMIT $2) p"
							   " JOIN bundle_rec.item_count_%d c ON c.item = p.other",
							   number, number),
					  2, types, values, NULL, true, 0);

	for (uint64 row = 0; row < n; row++)
	{
		bool is_null;
		int from = context_index(decision, DatumGetInt32(br_pg_column(row, 1, &is_null)));
		BrPgProposal *proposal =
			br_pg_propose(proposals, DatumGetInt32(br_pg_column(row, 2, &is_null)));
		int64 together = DatumGetInt64(br_pg_column(row, 3, &is_null));
		int64 baskets = DatumGetInt64(br_pg_column(row, 4, &is_null));
		double copurchase = br_bundle_shrunk_cosine(together, decision->context[from].baskets,
													baskets, BR_BUNDLE_SHRINKAGE) *
			decision->context[from].weight;

		if (copurchase > proposal->copurchase)
		{
			proposal->copurchase = copurchase;
			proposal->copurchase_from = from;
			proposal->together = together;
		}
	}
}

static void
propose_query(const BrPgDecision *decision, HTAB *proposals)
{
	int n;
	BrNeighbour *near = br_pg_nearest_to_text(decision->request->catalog, decision->request->query,
											  QUERY_ITEMS, &n);

	for (int i = 0; i < n; i++)
		propose_near(proposals, near[i].id, BR_PG_FROM_QUERY, near[i].similarity, 1.0);
}

/* What proposals are sorted by, side by side in memory: there are thousands. */
typedef struct Place
{
	double strength;
	int32 item;
	BrPgProposal *proposal;
} Place;

/* strongest evidence first, ties by number */
static inline int
compare_places(const Place *a, const Place *b)
{
	if (a->strength != b->strength)
		return a->strength > b->strength ? -1 : 1;
	return a->item < b->item ? -1 : a->item > b->item;
}

#define ST_SORT sort_places
#define ST_ELEMENT_TYPE Place
#define ST_COMPARE(a, b) compare_places(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

bool
br_pg_proposal_has_evidence(const BrPgProposal *proposal)
{
	return proposal->content_from != BR_PG_FROM_NOTHING ||
		proposal->copurchase_from != BR_PG_FROM_NOTHING || proposal->learned_any;
}

static double
strength_of(const BrPgProposal *proposal, const BrRanker *ranker)
{
	BrCandidate candidate = {.content = proposal->content, .copurchase = proposal->copurchase};

	if (ranker == NULL)
		return br_bundle_affinity(proposal->content, proposal->copurchase);
	memcpy(candidate.learned, proposal->learned, sizeof(candidate.learned));
	return br_bundle_item_strength(&candidate, ranker);
}

BrPgProposal **
br_pg_proposals_sorted(HTAB *proposals, const BrRanker *ranker, int *n)
{
	int most = Max(hash_get_num_entries(proposals), 1);
	Place *places = palloc(sizeof(Place) * most);
	BrPgProposal **sorted = palloc(sizeof(BrPgProposal *) * most);
	HASH_SEQ_STATUS sequence;
	BrPgProposal *proposal;

	*n = 0;
	hash_seq_init(&sequence, proposals);
	while ((proposal = hash_seq_search(&sequence)) != NULL)
		places[(*n)++] = (Place){strength_of(proposal, ranker), proposal->item, proposal};
	sort_places(places, *n);
	for (int i = 0; i < *n; i++)
	{
		sorted[i] = places[i].proposal;
		sorted[i]->strength = places[i].strength;
	}
	pfree(places);
	return sorted;
}

void
br_pg_propose_evidence(BrPgDecision *decision, HTAB *proposals)
{
	int32 *items = palloc(sizeof(int32) * Max(decision->n_context, 1));
	Datum context;
	BrPgRights rights;

	for (int i = 0; i < decision->n_context; i++)
		items[i] = decision->context[i].item;
	context = br_pg_int4_array(items, decision->n_context);
	br_pg_enter_owner(&rights);
	if (decision->n_context > 0)
	{
		propose_neighbours(decision, proposals, context);
		propose_partners(decision, proposals, context);
	}
	br_pg_propose_learned(decision, proposals);
	br_pg_leave(&rights);
	if (decision->request->query != NULL)
		propose_query(decision, proposals);
}
