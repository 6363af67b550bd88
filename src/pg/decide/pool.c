/*
 * pool.c
 *	  How strongly the candidates belong together, and the pool of feasible
 *	  bundles made of them.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/memutils.h"

#include "core/math/br_math.h"
#include "pg/decide/ready_sets.h"

/* partners looked at per candidate; a pair counts when either end lists the other */
#define PARTNERS 40

int
br_pg_decide_index_of(const BrPgDecision *decision, int32 item)
{
	int low = 0, high = decision->n_items - 1;

	while (low <= high)
	{
		int middle = (low + high) / 2;
		int32 there = decision->items[middle].candidate.item;

		if (there == item)
			return middle;
		if (there < item)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return -1;
}

/* takes rows of item, other, together */
static void
take_pairs(BrPgDecision *decision, uint64 rows)
{
	int n = decision->n_items;

	for (uint64 row = 0; row < rows; row++)
	{
		bool is_null;
		int a = br_pg_decide_index_of(decision, DatumGetInt32(br_pg_column(row, 1, &is_null)));
		int b = br_pg_decide_index_of(decision, DatumGetInt32(br_pg_column(row, 2, &is_null)));
		int64 together = DatumGetInt64(br_pg_column(row, 3, &is_null));

		if (a < 0 || b < 0)
			continue;
		decision->together[a * n + b] = decision->together[b * n + a] = together;
		decision->copurchase[a * n + b] = decision->copurchase[b * n + a] =
			br_bundle_shrunk_cosine(together, decision->items[a].baskets,
									decision->items[b].baskets, BR_BUNDLE_SHRINKAGE);
	}
}

static void
fill_copurchase(BrPgDecision *decision)
{
	static const Oid types[] = {INT4ARRAYOID, INT4OID};
	int n = decision->n_items;
	int32 *items = palloc(sizeof(int32) * Max(n, 1));
	Datum values[2];
	uint64 found;
	BrPgRights rights;

	for (int i = 0; i < n; i++)
		items[i] = decision->items[i].candidate.item;
	values[0] = br_pg_int4_array(items, n);
	values[1] = Int32GetDatum(PARTNERS);
	br_pg_enter_owner(&rights);
	found =
		br_pg_execute(psprintf("SELECT p.item, p.other, p.together"
							   " FROM pg_catalog.unnest($1) AS u(item), LATERAL ("
							   "SELECT q.item, q.other, q.together FROM bundle_rec.item_pair_%d q"
							   " WHERE q.item = u.item"
							   " ORDER BY q.together DESC, q.other LIMIT $2) p",
							   decision->request->catalog->number),
					  2, types, values, NULL, true, 0);
	take_pairs(decision, found);
	br_pg_leave(&rights);
}

void
br_pg_decide_exact_pairs(BrPgDecision *decision)
{
	static const Oid types[] = {INT4ARRAYOID, INT4ARRAYOID};
	int most = decision->slate.slots * BR_BUNDLE_MAX_SIZE * (BR_BUNDLE_MAX_SIZE - 1) / 2;
	int32 *left = palloc(sizeof(int32) * most);
	int32 *right = palloc(sizeof(int32) * most);
	int n = 0;
	Datum values[2];
	BrPgRights rights;

	for (int slot = 0; slot < decision->slate.slots; slot++)
	{
		const BrBundle *bundle = &decision->pool.bundles[decision->slate.chosen[slot]];

		for (int i = 1; i < bundle->size; i++)
			for (int j = 0; j < i; j++)
			{
				int pair = bundle->members[j] * decision->n_items + bundle->members[i];

				if (decision->together[pair] > 0)
					continue;
				left[n] = decision->items[bundle->members[j]].candidate.item;
				right[n++] = decision->items[bundle->members[i]].candidate.item;
			}
	}
	if (n == 0)
		return;
	values[0] = br_pg_int4_array(left, n);
	values[1] = br_pg_int4_array(right, n);
	br_pg_enter_owner(&rights);
	take_pairs(decision,
			   br_pg_execute(psprintf("SELECT p.item, p.other, p.together"
									  " FROM unnest($1, $2) AS u(item, other)"
									  " JOIN bundle_rec.item_pair_%d p USING (item, other)",
									  decision->request->catalog->number),
							 2, types, values, NULL, true, 0));
	br_pg_leave(&rights);
}

/* The cosine that <=> gives, with the lengths of the vectors computed once for all their pairs. */
static void
fill_content(BrPgDecision *decision)
{
	int n = decision->n_items;
	double *squares = palloc(sizeof(double) * Max(n, 1));

	for (int a = 0; a < n; a++)
	{
		const BrEmbedding *left = decision->items[a].embedding;

		if (left == NULL)
			continue;
		squares[a] = br_math_half_dot(left->components, left->components, left->dims);
		for (int b = 0; b < a; b++)
		{
			const BrEmbedding *right = decision->items[b].embedding;
			double product;

			if (right == NULL || left->dims != right->dims || squares[a] * squares[b] == 0)
				continue;
			product = br_math_half_dot(left->components, right->components, left->dims);
			decision->content[a * n + b] = decision->content[b * n + a] =
				Min(Max(product / sqrt(squares[a] * squares[b]), 0), 1.0);
		}
	}
}

/* rows and columns of a matrix over all items, (n, n), that belong to some of them */
static double *
part_of(const double *matrix, int n, const int *kept, int n_kept)
{
	double *part = palloc(sizeof(double) * Max(n_kept * n_kept, 1));

	for (int i = 0; i < n_kept; i++)
		for (int j = 0; j < n_kept; j++)
			part[i * n_kept + j] = matrix[kept[i] * n + kept[j]];
	return part;
}

/*
 * Searches through the candidates that bundles are made of, which are all but those
 * of ready sets, and leaves room for such sets.
 */
static void
search_pool(BrPgDecision *decision, const BrCandidate *candidates, const BrAffinity *affinity,
			int room)
{
	const BrPgRequest *request = decision->request;
	int n = decision->n_items, n_kept = 0;
	int *kept = palloc(sizeof(int) * Max(n, 1));
	BrCandidate *searched = palloc(sizeof(BrCandidate) * Max(n, 1));
	BrAffinity part = *affinity;
	BrContext context;

	for (int i = 0; i < n; i++)
		if (!decision->items[i].ready_only)
		{
			searched[n_kept] = candidates[i];
			kept[n_kept++] = i;
		}
	if (n_kept < n)
	{
		part.content = part_of(affinity->content, n, kept, n_kept);
		part.copurchase = part_of(affinity->copurchase, n, kept, n_kept);
	}
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bundle_pool(&context, searched, n_kept, &part, &request->constraints,
							   request->wanted, Max(request->wanted, BR_BUNDLE_MAX_POOL - room),
							   &decision->pool),
				&context, "could not assemble bundles", NULL);
	/* back to indexes of all items */
	for (int b = 0; n_kept < n && b < decision->pool.n; b++)
		for (int i = 0; i < decision->pool.bundles[b].size; i++)
		{
			int *member = unconstify(int *, &decision->pool.bundles[b].members[i]);

			*member = kept[*member];
		}
}

void
br_pg_decide_pool(BrPgDecision *decision)
{
	const BrPgRequest *request = decision->request;
	const BrPgReadySets *ready = br_pg_ready_sets(decision);
	int n = decision->n_items;
	BrCandidate *candidates = palloc(sizeof(BrCandidate) * Max(n, 1));
	BrAffinity affinity;

	decision->content = palloc0(sizeof(double) * Max(n * n, 1));
	decision->copurchase = palloc0(sizeof(double) * Max(n * n, 1));
	decision->together = palloc0(sizeof(int64) * Max(n * n, 1));
	if (request->constraints.max_size > 1)
	{
		fill_content(decision);
		fill_copurchase(decision);
	}
	for (int i = 0; i < n; i++)
		candidates[i] = decision->items[i].candidate;
	affinity.content = decision->content;
	affinity.copurchase = decision->copurchase;

	decision->curated_ids = NULL;
	search_pool(decision, candidates, &affinity, ready == NULL ? 0 : ready->n);
	if (ready != NULL)
		br_pg_ready_sets_add(decision, ready, candidates, &affinity);
	br_pg_decide_pin(decision, candidates, &affinity);
}
