/*
 * replay.c
 *	  A logged decision, taken again.
 *
 * The log holds the pool with its features, the key, the versions and what was
 * pinned; the slate follows from them. Which items they are decides only how much one bundle
 * repeats another.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "core/bundle/br_bundle.h"
#include "pg/decide/decision_log.h"
#include "pg/policy/policy.h"

#define LOGGED                                                                         \
	"SELECT policy, posterior, random_key, wanted, diversity, pool_sizes, pool_items," \
	" pool_features, slot_sizes, slot_items, propensity, slot_pinned"                  \
	" FROM bundle_rec.decision_@"                                                      \
	" WHERE decision_id = $1"

enum
{
	POLICY = 1,
	POSTERIOR,
	RANDOM_KEY,
	WANTED,
	DIVERSITY,
	POOL_SIZES,
	POOL_ITEMS,
	POOL_FEATURES,
	SLOT_SIZES,
	SLOT_ITEMS,
	PROPENSITY,
	SLOT_PINNED
};

/* Bundles of a flat array, cut by their sizes. */
typedef struct Bundles
{
	int n;
	BrBundle *bundles; /* members are numbers of items */
} Bundles;

typedef struct Replay
{
	Bundles pool;
	Bundles slots;
	const double *propensity; /* (slots.n), as logged */
	BrSlateRequest request;
} Replay;

static void
refuse_log(int64 decision_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the log of decision %lld makes no sense", (long long) decision_id),
			 errdetail("Its arrays do not fit each other."),
			 errhint("See who may INSERT into its table: only the extension's functions write"
					 " rows that fit.")));
}

/* elements of an array column without NULLs, of a known number where n >= 0 on entry */
static const void *
elements(int64 decision_id, int column, int *n)
{
	int found;
	const void *values = br_pg_column_elements(0, column, &found);

	if (values == NULL || (*n >= 0 && *n != found))
		refuse_log(decision_id);
	*n = found;
	return values;
}

static Bundles
cut_bundles(int64 decision_id, int sizes_column, int items_column)
{
	Bundles bundles = {.n = -1};
	const int16 *sizes = elements(decision_id, sizes_column, &bundles.n);
	const int32 *items;
	int n_items = 0;

	for (int i = 0; i < bundles.n; i++)
	{
		if (sizes[i] < 0 || n_items > PG_INT32_MAX - sizes[i])
			refuse_log(decision_id);
		n_items += sizes[i];
	}
	items = elements(decision_id, items_column, &n_items);
	bundles.bundles = palloc0(sizeof(BrBundle) * Max(bundles.n, 1));
	for (int i = 0; i < bundles.n; i++)
	{
		int *members = palloc(sizeof(int) * Max(sizes[i], 1));

		for (int j = 0; j < sizes[i]; j++)
			members[j] = *items++;
		bundles.bundles[i].size = sizes[i];
		bundles.bundles[i].members = members;
	}
	return bundles;
}

static void
overlap_with(void *arg, int chosen, double *similarity)
{
	const Bundles *pool = arg;

	for (int i = 0; i < pool->n; i++)
		similarity[i] = br_bundle_overlap(&pool->bundles[chosen], &pool->bundles[i]);
}

static bool
same_bundle(const BrBundle *a, const BrBundle *b)
{
	return a->size == b->size && memcmp(a->members, b->members, sizeof(int) * a->size) == 0;
}

static void
require_pool(int64 decision_id)
{
	bool is_null;

	(void) br_pg_column(0, POOL_SIZES, &is_null);
	if (is_null)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the pool of decision %lld was not logged", (long long) decision_id),
				 errhint("bundle_rec.log_pool says of which share of decisions it is.")));
}

/* core refuses places that there are not */
static void
read_pins(int64 decision_id, Replay *replay)
{
	int n = replay->slots.n;
	const int32 *places;
	BrPin *pins = palloc(sizeof(BrPin) * Max(n, 1));
	bool is_null;

	(void) br_pg_column(0, SLOT_PINNED, &is_null);
	if (is_null)
		return;
	places = elements(decision_id, SLOT_PINNED, &n);
	for (int slot = 0; slot < n; slot++)
		if (places[slot] != 0)
			pins[replay->request.n_pins++] = (BrPin){slot, places[slot] - 1};
	replay->request.pins = pins;
}

/* the current SPI result, copied: what follows runs other statements */
static void
read_logged(int64 decision_id, Replay *replay)
{
	int n;
	const float *features;
	bool is_null;
	double best = 0;

	require_pool(decision_id);
	replay->pool = cut_bundles(decision_id, POOL_SIZES, POOL_ITEMS);
	replay->slots = cut_bundles(decision_id, SLOT_SIZES, SLOT_ITEMS);
	n = replay->pool.n * BR_FEATURE_COUNT;
	features = elements(decision_id, POOL_FEATURES, &n);
	replay->request.features =
		memcpy(palloc(sizeof(float) * Max(n, 1)), features, sizeof(float) * n);
	n = replay->slots.n;
	replay->propensity = memcpy(palloc(sizeof(double) * Max(n, 1)),
								elements(decision_id, PROPENSITY, &n), sizeof(double) * n);
	for (int i = 0; i < replay->pool.n; i++)
		best = Max(best, replay->request.features[i * BR_FEATURE_COUNT + BR_FEATURE_SCORE]);
	read_pins(decision_id, replay);
	replay->request.pool = replay->pool.n;
	replay->request.slots = DatumGetInt32(br_pg_column(0, WANTED, &is_null));
	replay->request.diversity = best * DatumGetFloat8(br_pg_column(0, DIVERSITY, &is_null));
	replay->request.similarity = overlap_with;
	replay->request.similarity_arg = &replay->pool;
	replay->request.key = (uint64) DatumGetInt64(br_pg_column(0, RANDOM_KEY, &is_null));
}

static void
put_slots(const Replay *replay, const BrSlate *slate, ReturnSetInfo *result)
{
	for (int i = 0; i < slate->slots; i++)
	{
		int chosen = slate->chosen[i];
		Datum values[] = {
			Int32GetDatum(i + 1),
			Float8GetDatum(slate->expected[chosen]),
			Float8GetDatum(slate->propensity[i]),
			BoolGetDatum(i < replay->slots.n &&
						 same_bundle(&replay->pool.bundles[chosen], &replay->slots.bundles[i]) &&
						 slate->propensity[i] == replay->propensity[i]),
		};
		bool nulls[] = {false, false, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

void
br_pg_replay_decision(int64 decision_id, ReturnSetInfo *result)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(decision_id)};
	BrPgCatalog *catalog = br_pg_decision_catalog(decision_id);
	Replay replay = {.request = {.pool = 0}};
	BrPgPolicy *policy;
	int32 number, version;
	BrContext context;
	BrSlate slate;
	bool is_null;
	BrPgRights rights;

	br_pg_require_explained(catalog);
	br_pg_enter_owner(&rights);
	if (br_pg_execute(br_pg_catalog_sql(LOGGED, catalog->number), 1, types, values, NULL, true,
					  1) == 0)
		br_pg_decision_unknown(decision_id);
	number = DatumGetInt32(br_pg_column(0, POLICY, &is_null));
	version = DatumGetInt32(br_pg_column(0, POSTERIOR, &is_null));
	read_logged(decision_id, &replay);
	br_pg_leave(&rights);
	policy = br_pg_policy_find(number);
	if (policy == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the policy of decision %lld was dropped", (long long) decision_id)));
	br_pg_policy_at(policy, version, policy->arms_version);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bandit_slate(&context, br_pg_policy_state(policy)->belief, &replay.request,
								&slate),
				&context, "could not choose among the bundles", NULL);
	put_slots(&replay, &slate, result);
}
