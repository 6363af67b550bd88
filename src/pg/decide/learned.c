/*
 * learned.c
 *	  What learners in service say of the items of a decision.
 *
 * Each learner's lists of the context's items are read in one statement. An item
 * that several of them list gets the sum, over the number of context items to
 * the power that the learner's kind asks for, as in training (pg/learn/model.c);
 * an item of the user's history weighs less than one of the basket.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "pg/decide/learned.h"
#include "pg/learn/model.h"

/* entries of a list that are looked at, fewer where there are many lists */
#define ENTRIES 600
#define LEAST_ENTRIES 30
/* items that are popular now, proposed beside all others */
#define TRENDING 12

/* What is said of an item whatever the context. */
typedef struct Standing
{
	int32 item; /* the key */
	float association;
	float trend;
} Standing;

struct BrPgDecisionLearned
{
	HTAB *standing;
	float *folded; /* (dims): the context's vector; NULL: none */
	int dims;
};

typedef struct Reading
{
	BrPgDecision *decision;
	HTAB *proposals;
	double share[BR_PG_N_KINDS];
	int trending;
} Reading;

static Standing *
standing_of(HTAB *standing, int32 item)
{
	bool found;
	Standing *entry = hash_search(standing, &item, HASH_ENTER, &found);

	if (!found)
		entry->association = entry->trend = 0;
	return entry;
}

static double
weight_of(const BrPgDecision *decision, int32 item)
{
	for (int i = 0; i < decision->n_context; i++)
		if (decision->context[i].item == item)
			return decision->context[i].weight;
	return 0;
}

static void
take(void *state, BrPgKindNumber kind, int32 from, int32 other, float weight)
{
	Reading *reading = state;
	BrPgProposal *proposal;
	int evidence = br_pg_kind_feature(kind) - BR_FEATURE_LEXICAL;

	if (from == 0 && kind == BR_PG_KIND_POPULARITY)
	{
		standing_of(reading->decision->learned->standing, other)->trend = weight;
		if (reading->trending++ < TRENDING)
			(void) br_pg_propose(reading->proposals, other);
		return;
	}
	if (from == 0)
	{
		standing_of(reading->decision->learned->standing, other)->association = weight;
		return;
	}
	proposal = br_pg_propose(reading->proposals, other);
	/* factors are scored by the vectors themselves, their lists only propose */
	proposal->learned_any = true;
	if (kind != BR_PG_KIND_ALS)
		proposal->learned[evidence] +=
			weight * weight_of(reading->decision, from) * reading->share[kind];
}

static void
fold_in(BrPgDecision *decision, const int32 *items)
{
	float *strength = palloc(sizeof(float) * Max(decision->n_context, 1));

	for (int i = 0; i < decision->n_context; i++)
		strength[i] = (float) decision->context[i].weight;
	decision->learned->folded =
		br_pg_serving_fold_in(decision->request->serving, items, strength, decision->n_context,
							  &decision->learned->dims);
}

void
br_pg_propose_learned(BrPgDecision *decision, HTAB *proposals)
{
	HASHCTL control = {.keysize = sizeof(int32),
					   .entrysize = sizeof(Standing),
					   .hcxt = CurrentMemoryContext};
	const BrPgServing *serving = decision->request->serving;
	Reading reading = {.decision = decision, .proposals = proposals};
	int32 *items = palloc(sizeof(int32) * Max(decision->n_context, 1));
	double weight = 0;

	decision->learned = palloc0(sizeof(BrPgDecisionLearned));
	decision->learned->standing =
		hash_create("standing", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < decision->n_context; i++)
	{
		items[i] = decision->context[i].item;
		weight += decision->context[i].weight;
	}
	for (int kind = 0; kind < BR_PG_N_KINDS; kind++)
		reading.share[kind] = br_pg_kind_share(kind, weight);
	br_pg_serving_lists(serving, false, items, decision->n_context,
						Max(ENTRIES / Max(decision->n_context, 1), LEAST_ENTRIES), take, &reading);
	fold_in(decision, items);
}

void
br_pg_learned_fill(const BrPgDecision *decision, const BrPgProposal *proposal,
				   BrCandidate *candidate)
{
	const Standing *standing =
		hash_search(decision->learned->standing, &proposal->item, HASH_FIND, NULL);

	memcpy(candidate->learned, proposal->learned, sizeof(candidate->learned));
	if (standing == NULL)
		return;
	candidate->learned[BR_LEARNED_ASSOCIATION] += standing->association;
	candidate->learned[BR_LEARNED_TREND] = standing->trend;
}

void
br_pg_learned_factors(const BrPgDecision *decision, BrPgItem *items, int n)
{
	static const Oid types[] = {INT4OID, INT4ARRAYOID};
	const BrPgDecisionLearned *learned = decision->learned;
	int32 *numbers = palloc(sizeof(int32) * Max(n, 1));
	Datum values[2];
	uint64 found;

	if (learned->folded == NULL || n == 0)
		return;
	for (int i = 0; i < n; i++)
		numbers[i] = items[i].candidate.item;
	values[0] = Int32GetDatum(decision->request->serving->version[BR_PG_KIND_ALS]);
	values[1] = br_pg_int4_array(numbers, n);
	found = br_pg_execute(br_pg_catalog_sql("SELECT u.place, v.vector FROM pg_catalog.unnest($2)"
											" WITH ORDINALITY AS u(item, place)"
											" JOIN bundle_rec.learned_vector_@ v"
											" ON v.version = $1 AND v.item = u.item",
											decision->request->catalog->number),
						  lengthof(types), types, values, NULL, true, 0);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;
		int64 place = DatumGetInt64(br_pg_column(row, 1, &is_null));
		int dims;
		const float *vector = br_pg_column_elements(row, 2, &dims);

		items[place - 1].candidate.learned[BR_LEARNED_FACTOR] =
			br_pg_factor_score(learned->folded, vector, Min(dims, learned->dims));
	}
	SPI_freetuptable(SPI_tuptable);
}
