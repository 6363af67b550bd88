/*
 * complete_ranked.c
 *	  What is missing from a set of items, as the ranker in service sees it.
 *
 * What pairs and lists say of the given items is added up first, for the items
 * that they name. One scan of all items then has the rest: the embedding, the
 * vector, how popular and how new an item is. So the best of all items are found,
 * not the best of those that some list names.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/math/br_math.h"
#include "pg/decide/complete_ranked.h"
#include "pg/decide/decide.h"
#include "pg/learn/model.h"

#define FETCH_ROWS 500

/* What pairs and lists say of an item. */
typedef struct Partner
{
	int32 item;	 /* the key */
	char status; /* of the entry in the table */
	double copurchase;
	double learned[BR_LEARNED_COUNT];
} Partner;

#define SH_PREFIX partner
#define SH_ELEMENT_TYPE Partner
#define SH_KEY_TYPE int32
#define SH_KEY item
#define SH_HASH_KEY(table, key) murmurhash32((uint32) (key))
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Ranking
{
	const BrPgCatalog *catalog;
	const BrPgServing *serving;
	int n_given;
	const BrPgGiven *given;
	int32 *items; /* (n_given) */
	partner_hash *partners;
	double share[BR_PG_N_KINDS]; /* of each given item in what a kind says */
	float *folded;				 /* (dims): the vector of the set; NULL: none */
	int dims;
	int n;
	int room;
	BrPgScoredItem *scored;
} Ranking;

static Partner *
partner_of(Ranking *ranking, int32 item)
{
	bool found;
	Partner *partner = partner_insert(ranking->partners, item, &found);

	if (!found)
	{
		partner->copurchase = 0;
		memset(partner->learned, 0, sizeof(partner->learned));
	}
	return partner;
}

static const BrPgGiven *
given_of(const Ranking *ranking, int32 item)
{
	for (int i = 0; i < ranking->n_given; i++)
		if (ranking->items[i] == item)
			return &ranking->given[i];
	return NULL;
}

/* ---- what is said of the given items ---- */

static void
find_pairs(Ranking *ranking)
{
	static const Oid types[] = {INT4ARRAYOID};
	Datum values[] = {br_pg_int4_array(ranking->items, ranking->n_given)};
	uint64 found =
		br_pg_execute(br_pg_catalog_sql("SELECT p.item, p.other, p.together, c.baskets"
										" FROM bundle_rec.item_pair_@ p"
										" JOIN bundle_rec.item_count_@ c ON c.item = p.other"
										" WHERE p.item = ANY ($1)",
										ranking->catalog->number),
					  1, types, values, NULL, true, 0);

	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;
		const BrPgGiven *given = given_of(ranking, DatumGetInt32(br_pg_column(row, 1, &is_null)));
		Partner *partner = partner_of(ranking, DatumGetInt32(br_pg_column(row, 2, &is_null)));
		double copurchase =
			br_bundle_shrunk_cosine(DatumGetInt64(br_pg_column(row, 3, &is_null)), given->baskets,
									DatumGetInt64(br_pg_column(row, 4, &is_null)),
									BR_BUNDLE_SHRINKAGE);

		partner->copurchase = Max(partner->copurchase, copurchase);
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
take(void *state, BrPgKindNumber kind, int32 from, int32 other, float weight)
{
	Ranking *ranking = state;
	int evidence = br_pg_kind_feature(kind) - BR_FEATURE_LEXICAL;

	/* the vectors themselves say more than lists of them */
	if (kind == BR_PG_KIND_ALS)
		return;
	partner_of(ranking, other)->learned[evidence] +=
		from == 0 ? weight : weight * ranking->share[kind];
}

static void
find_learned(Ranking *ranking)
{
	for (int kind = 0; kind < BR_PG_N_KINDS; kind++)
		ranking->share[kind] = br_pg_kind_share(kind, ranking->n_given);
	br_pg_serving_lists(ranking->serving, false, ranking->items, ranking->n_given, PG_INT32_MAX,
						take, ranking);
}

static void
fold_in(Ranking *ranking)
{
	float *strength = palloc(sizeof(float) * ranking->n_given);

	if (ranking->serving->ranker.weight[BR_FEATURE_FACTOR] == 0)
		return;
	for (int i = 0; i < ranking->n_given; i++)
		strength[i] = 1;
	ranking->folded = br_pg_serving_fold_in(ranking->serving, ranking->items, strength,
											ranking->n_given, &ranking->dims);
}

/* ---- all items ---- */

/* of the nearest given item */
static double
content_of(const Ranking *ranking, const BrEmbedding *embedding)
{
	double nearest = 0;

	for (int i = 0; i < ranking->n_given; i++)
	{
		const BrEmbedding *given = ranking->given[i].embedding;

		/* an item embedded with an earlier model waits for refresh */
		if (given != NULL && embedding->dims == given->dims)
			nearest = Max(nearest, br_pg_embedding_cosine(given, embedding));
	}
	return Min(nearest, 1);
}

/* columns item, embedding, age, baskets, and vector where there are vectors */
static void
score_row(Ranking *ranking, uint64 row)
{
	BrCandidate candidate = {0};
	const BrRanker *ranker = &ranking->serving->ranker;
	bool is_null;
	int32 item = DatumGetInt32(br_pg_column(row, 1, &is_null));
	Datum embedding = br_pg_column(row, 2, &is_null);
	const Partner *partner = partner_lookup(ranking->partners, item);

	if (given_of(ranking, item) != NULL)
		return;
	if (!is_null)
		candidate.content = content_of(ranking, DatumGetEmbedding(embedding));
	candidate.freshness = br_pg_decide_freshness(br_pg_column_number(row, 3, INFINITY));
	candidate.popularity = br_pg_decide_popularity(DatumGetInt64(br_pg_column(row, 4, &is_null)),
												   ranking->catalog->baskets);
	if (partner != NULL)
	{
		candidate.copurchase = partner->copurchase;
		memcpy(candidate.learned, partner->learned, sizeof(candidate.learned));
	}
	if (ranking->folded != NULL)
	{
		int dims;
		const float *vector = br_pg_column_elements(row, 5, &dims);

		if (vector != NULL)
			candidate.learned[BR_LEARNED_FACTOR] =
				br_pg_factor_score(ranking->folded, vector, Min(dims, ranking->dims));
	}
	ranking->scored[ranking->n++] =
		(BrPgScoredItem){item,
						 br_math_logistic(ranker->weight[BR_FEATURE_BIAS] +
										  br_bundle_item_strength(&candidate, ranker))};
}

static Portal
open_items(const Ranking *ranking)
{
	static Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(ranking->serving->version[BR_PG_KIND_ALS])};
	bool folds = ranking->folded != NULL;
	const char *sql =
		psprintf("SELECT i.item, i.embedding,"
				 " EXTRACT(epoch FROM pg_catalog.now() - i.created_at)::pg_catalog.float8 / 86400,"
				 " COALESCE(c.baskets, 0)%s FROM bundle_rec.item_@ i"
				 " JOIN bundle_rec.item_state_@ s USING (item)"
				 " LEFT JOIN bundle_rec.item_count_@ c USING (item)%s WHERE s.active",
				 folds ? ", v.vector" : "",
				 folds ? " LEFT JOIN bundle_rec.learned_vector_@ v"
						 " ON v.version = $1 AND v.item = i.item"
					   : "");

	return SPI_cursor_open_with_args(NULL, br_pg_catalog_sql(sql, ranking->catalog->number),
									 folds ? 1 : 0, types, values, NULL, true,
									 CURSOR_OPT_NO_SCROLL);
}

static void
scan_items(Ranking *ranking)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext batch =
		AllocSetContextCreate(CurrentMemoryContext, "items", ALLOCSET_DEFAULT_SIZES);
	Portal portal = open_items(ranking);

	do
	{
		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		while (ranking->room < ranking->n + FETCH_ROWS)
		{
			ranking->room *= 2;
			ranking->scored =
				repalloc_huge(ranking->scored, sizeof(BrPgScoredItem) * (Size) ranking->room);
		}
		MemoryContextSwitchTo(batch);
		for (uint64 row = 0; row < SPI_processed; row++)
			score_row(ranking, row);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(batch);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	MemoryContextDelete(batch);
}

BrPgScoredItem *
br_pg_complete_ranked(const BrPgCatalog *catalog, const BrPgServing *serving,
					  const BrPgGiven *given, int n_given, int *n)
{
	Ranking ranking = {.catalog = catalog,
					   .serving = serving,
					   .n_given = n_given,
					   .given = given,
					   .room = 2 * FETCH_ROWS};
	BrPgRights rights;

	ranking.items = palloc(sizeof(int32) * n_given);
	for (int i = 0; i < n_given; i++)
		ranking.items[i] = given[i].item;
	ranking.partners = partner_create(CurrentMemoryContext, 1024, NULL);
	ranking.scored = palloc(sizeof(BrPgScoredItem) * ranking.room);
	br_pg_enter_owner(&rights);
	find_pairs(&ranking);
	find_learned(&ranking);
	fold_in(&ranking);
	scan_items(&ranking);
	br_pg_leave(&rights);
	*n = ranking.n;
	return ranking.scored;
}
