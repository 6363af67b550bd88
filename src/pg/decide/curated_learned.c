/*
 * curated_learned.c
 *	  What learners in service say of curated bundles.
 *
 * The lists of the bundles that the user owns are read in one statement and added
 * up, over all bundles that they name: the strongest of these are candidates. What
 * is said of the likes of a bundle is asked for twice: of the strongest likes, to
 * find bundles that nobody bought yet, and of every bundle in the pool, for its
 * figure.
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "pg/decide/curated_learned.h"
#include "pg/learn/model.h"

/* bundles whose likes are looked for */
#define LIKED 64

/* What was said of one bundle. */
typedef struct Said
{
	int32 bundle; /* the key */
	char status;  /* of the entry in the table */
	bool owned;
	double evidence[BR_LEARNED_COUNT];
	double companions; /* share of the owned bundles' buyers who have it, a mean over those */
	double alike;	   /* sum over its likes: how alike, times what is said of them */
	double likeness;   /* sum over its likes */
	double strength;
} Said;

#define SH_PREFIX said
#define SH_ELEMENT_TYPE Said
#define SH_KEY_TYPE int32
#define SH_KEY bundle
#define SH_HASH_KEY(table, key) murmurhash32((uint32) (key))
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct BrPgCuratedLearned
{
	const BrPgRequest *request;
	said_hash *said;
	double share[BR_PG_N_KINDS]; /* of each owned bundle in what a kind says */
};

/* ---- what is said to the owner of some bundles ---- */

static Said *
said_of(said_hash *table, int32 bundle)
{
	bool found;
	Said *said = said_insert(table, bundle, &found);

	if (!found)
	{
		char status = said->status;

		memset(said, 0, sizeof(Said));
		said->bundle = bundle;
		said->status = status;
	}
	return said;
}

static void
take(void *state, BrPgKindNumber kind, int32 from, int32 other, float weight)
{
	BrPgCuratedLearned *learned = state;
	Said *said = said_of(learned->said, other);
	double counted = from == 0 ? weight : weight * learned->share[kind];

	if (kind == BR_PG_KIND_BUNDLE_COMPANIONS)
		said->companions += counted;
	else
		said->evidence[br_pg_kind_feature(kind) - BR_FEATURE_LEXICAL] += counted;
}

static bool
anything_serves(const BrPgServing *serving)
{
	for (int kind = BR_PG_KIND_BUNDLE_COMPANIONS; kind <= BR_PG_KIND_BUNDLE_GRAPH; kind++)
		if (serving->version[kind] != 0)
			return true;
	return serving->version[BR_PG_KIND_BUNDLE_RANKER] != 0;
}

static int32 *
numbers_of(const BrPgOwned *owned, int *n)
{
	HASH_SEQ_STATUS sequence;
	int32 *numbers, *number;

	*n = 0;
	if (owned == NULL)
		return palloc(sizeof(int32));
	numbers = palloc(sizeof(int32) * Max(hash_get_num_entries(owned->bundles), 1));
	hash_seq_init(&sequence, owned->bundles);
	while ((number = hash_seq_search(&sequence)) != NULL)
		numbers[(*n)++] = *number;
	return numbers;
}

static int
compare_numbers(const void *left, const void *right)
{
	int32 a = *(const int32 *) left;
	int32 b = *(const int32 *) right;

	return a < b ? -1 : a > b;
}

BrPgCuratedLearned *
br_pg_curated_learned(const BrPgRequest *request, const BrPgOwned *owned)
{
	BrPgCuratedLearned *learned;
	int32 *numbers;
	int n;
	BrPgRights rights;

	if (!anything_serves(request->serving))
		return NULL;
	learned = palloc0(sizeof(BrPgCuratedLearned));
	learned->request = request;
	learned->said = said_create(CurrentMemoryContext, 1024, NULL);
	numbers = numbers_of(owned, &n);
	/* sums of doubles hang on their order */
	qsort(numbers, n, sizeof(int32), compare_numbers);
	for (int i = 0; i < n; i++)
		said_of(learned->said, numbers[i])->owned = true;
	for (int kind = 0; kind < BR_PG_N_KINDS; kind++)
		learned->share[kind] = br_pg_kind_share(kind, n);
	br_pg_enter_owner(&rights);
	br_pg_serving_lists(request->serving, true, numbers, n, PG_INT32_MAX, take, learned);
	br_pg_leave(&rights);
	return learned;
}

/* ---- candidates ---- */

/* the strongest first, then the older */
static int
compare_said(const void *left, const void *right)
{
	const Said *a = *(const Said *const *) left;
	const Said *b = *(const Said *const *) right;

	if (a->strength != b->strength)
		return a->strength > b->strength ? -1 : 1;
	return a->bundle < b->bundle ? -1 : a->bundle > b->bundle;
}

/* what the ranker makes of it; without one, the learner that ranks best alone */
static double
strength_of(const BrPgCuratedLearned *learned, const Said *said)
{
	const BrRanker *ranker = learned->request->constraints.ranker;
	double sum = 0;

	if (ranker == NULL)
		return learned->request->serving->version[BR_PG_KIND_BUNDLE_ASSOCIATION] != 0
			? said->evidence[BR_LEARNED_ASSOCIATION]
			: said->companions;
	for (int i = 0; i < BR_LEARNED_COUNT; i++)
		sum += ranker->weight[BR_FEATURE_LEXICAL + i] * said->evidence[i];
	return sum;
}

static int32 *
first_numbers(Said **sorted, int n_sorted, int room, int *n)
{
	int32 *numbers = palloc(sizeof(int32) * Max(Min(n_sorted, room), 1));

	qsort(sorted, n_sorted, sizeof(Said *), compare_said);
	*n = Min(n_sorted, room);
	for (int i = 0; i < *n; i++)
		numbers[i] = sorted[i]->bundle;
	return numbers;
}

int32 *
br_pg_curated_learned_best(const BrPgCuratedLearned *learned, int room, int *n)
{
	Said **sorted = palloc(sizeof(Said *) * Max(learned->said->members, 1));
	said_iterator iterator;
	Said *said;
	int found = 0;

	said_start_iterate(learned->said, &iterator);
	while ((said = said_iterate(learned->said, &iterator)) != NULL)
	{
		if (said->owned && learned->request->exclude_owned)
			continue;
		said->strength = strength_of(learned, said);
		sorted[found++] = said;
	}
	return first_numbers(sorted, found, room, n);
}

/* What is said of a bundle as the like of another. */
static double
said_as_like(const Said *said)
{
	return said == NULL ? 0 : br_pg_likeness_said(said->companions, said->owned);
}

/* the bundles of whose likes most is said */
static int32 *
most_liked(const BrPgCuratedLearned *learned, int *n)
{
	Said **sorted = palloc(sizeof(Said *) * Max(learned->said->members, 1));
	said_iterator iterator;
	Said *said;
	int found = 0;

	said_start_iterate(learned->said, &iterator);
	while ((said = said_iterate(learned->said, &iterator)) != NULL)
	{
		said->strength = said_as_like(said);
		if (said->strength > 0)
			sorted[found++] = said;
	}
	return first_numbers(sorted, found, LIKED, n);
}

/* Likes of bundles in the making: a sum for each. */
typedef struct Likes
{
	const BrPgCuratedLearned *learned;
	said_hash *found;
} Likes;

static void
take_like(void *state, BrPgKindNumber kind, int32 from, int32 other, float weight)
{
	Likes *likes = state;
	const Said *of_other = said_lookup(likes->learned->said, other);

	(void) kind;
	if (of_other != NULL && (of_other->companions > 0 || of_other->owned))
		return;
	said_of(likes->found, other)->strength +=
		weight * said_as_like(said_lookup(likes->learned->said, from));
}

int32 *
br_pg_curated_learned_like(BrPgCuratedLearned *learned, int room, int *n)
{
	Likes likes = {learned, said_create(CurrentMemoryContext, 256, NULL)};
	Said **sorted;
	said_iterator iterator;
	Said *said;
	int32 *liked;
	int n_liked, found = 0;
	BrPgRights rights;

	liked = most_liked(learned, &n_liked);
	br_pg_enter_owner(&rights);
	br_pg_serving_list(learned->request->serving, BR_PG_KIND_BUNDLE_LIKENESS, liked, n_liked,
					   PG_INT32_MAX, take_like, &likes);
	br_pg_leave(&rights);
	sorted = palloc(sizeof(Said *) * Max(likes.found->members, 1));
	said_start_iterate(likes.found, &iterator);
	while ((said = said_iterate(likes.found, &iterator)) != NULL)
		sorted[found++] = said;
	return first_numbers(sorted, found, room, n);
}

/* ---- evidence ---- */

static void
take_alike(void *state, BrPgKindNumber kind, int32 from, int32 other, float weight)
{
	BrPgCuratedLearned *learned = state;
	double said_of_other = said_as_like(said_lookup(learned->said, other));
	Said *said;

	(void) kind;
	if (from == 0)
		return;
	said = said_of(learned->said, from);
	said->alike += weight * said_of_other;
	said->likeness += weight;
}

void
br_pg_curated_learned_compare(BrPgCuratedLearned *learned, const BrPgOffer *offers, int n)
{
	const int32 *version = learned->request->serving->version;
	int32 *bundles = palloc(sizeof(int32) * Max(n, 1));
	BrPgRights rights;

	if (version[BR_PG_KIND_BUNDLE_LIKENESS] == 0 || version[BR_PG_KIND_BUNDLE_COMPANIONS] == 0)
		return;
	for (int i = 0; i < n; i++)
		bundles[i] = offers[i].draft.bundle;
	br_pg_enter_owner(&rights);
	br_pg_serving_list(learned->request->serving, BR_PG_KIND_BUNDLE_LIKENESS, bundles, n,
					   PG_INT32_MAX, take_alike, learned);
	br_pg_leave(&rights);
}

void
br_pg_curated_learned_evidence(const BrPgCuratedLearned *learned, int32 bundle, int64 purchases,
							   int64 most, double *evidence)
{
	const Said *said = said_lookup(learned->said, bundle);

	memset(evidence, 0, sizeof(double) * BR_LEARNED_COUNT);
	if (said != NULL)
	{
		memcpy(evidence, said->evidence, sizeof(double) * BR_LEARNED_COUNT);
		evidence[BR_LEARNED_GRAPH] =
			br_pg_likeness_share(said->alike, said->likeness, (double) Max(purchases, 0));
	}
	evidence[BR_LEARNED_TREND] = br_bundle_purchase_log_odds(purchases, most);
}
