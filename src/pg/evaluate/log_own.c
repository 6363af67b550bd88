/*
 * log_own.c
 *	  Rows of the log that a policy has written itself: choices among its arms,
 *	  and decisions of its catalog.
 *
 * A decision is read once the longest window of the candidate's reward has
 * closed, rewarded or not. Those that a seed made deterministic are left out, and
 * so are slots that a rule pinned; what it pinned to later slots could not be
 * chosen for the first one.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/bundle/br_bundle.h"
#include "pg/bulk.h"
#include "pg/catalog/catalog.h"
#include "pg/evaluate/evaluate_int.h"
#include "pg/policy/reward.h"

/* what the slots of decisions d brought, as the candidate $1 weighs it */
#define REWARDS                                                                          \
	" LEFT JOIN (SELECT f.decision_id, f.rank, pg_catalog.sum(" BR_PG_REWARD_OF_FEEDBACK \
	") AS reward FROM bundle_rec.feedback_%d f, bundle_rec.policy p WHERE p.policy = $1" \
	" GROUP BY f.decision_id, f.rank) f ON f.decision_id = d.decision_id AND f.rank = "

#define CLOSED \
	" NOT d.deterministic AND d.decided_at + " BR_PG_LONGEST_WINDOW " <= pg_catalog.now()"

/* whether the candidate's version, made at $2, has learned from a decision */
#define LEARNED " d.policy = $1 AND d.decided_at + " BR_PG_LONGEST_WINDOW " <= $2,"

/* ---- choices ---- */

#define CHOICES                                                                                   \
	"SELECT d.decision_id, d.decided_at, d.user_id, k.rank, d.propensity[k.rank],"                \
	" COALESCE(f.reward, 0)," LEARNED " d.slot_arms[k.rank], d.context, d.pool, d.pool_features," \
	" d.arms_version FROM bundle_rec.choice_%d d CROSS JOIN LATERAL"                              \
	" pg_catalog.generate_series(1, pg_catalog.cardinality(d.slot_arms)) AS k (rank)" REWARDS     \
	"k.rank WHERE" CLOSED " ORDER BY d.decided_at, d.decision_id, k.rank"

enum
{
	DECISION_ID = 1,
	DECIDED_AT,
	USER_ID,
	RANK,
	PROPENSITY,
	REWARD,
	HAS_LEARNED,
	SLOT_ARM,
	CONTEXT,
	POOL,
	POOL_FEATURES,
	ARMS_VERSION
};

/* the elements of an array column; NULL for NULL */
static const void *
elements(const BrPgLog *log, int column, int *n)
{
	const void *found;
	Datum value;

	*n = 0;
	if (!br_pg_log_value(log, column, &value))
		return NULL;
	found = br_pg_array_elements(value, n);
	if (found == NULL)
		br_pg_log_refuse(log, "an array of it holds a NULL");
	return found;
}

static void
read_decision(const BrPgLog *log, BrPgLoggedRow *row)
{
	Datum value;

	if (br_pg_log_value(log, DECISION_ID, &value))
		row->decision = DatumGetInt64(value);
	row->has_time = br_pg_log_value(log, DECIDED_AT, &value);
	if (row->has_time)
		row->decided_at = DatumGetTimestampTz(value);
	row->has_user = true;
	if (br_pg_log_value(log, USER_ID, &value))
		row->user = TextDatumGetCString(value);
	if (br_pg_log_value(log, RANK, &value))
		row->rank = DatumGetInt32(value);
	if (br_pg_log_value(log, PROPENSITY, &value))
		row->propensity = DatumGetFloat8(value);
	if (br_pg_log_value(log, REWARD, &value))
		row->reward = DatumGetFloat8(value);
	row->learned = br_pg_log_value(log, HAS_LEARNED, &value) && DatumGetBool(value);
}

static void
read_choice(BrPgLog *log, BrPgLoggedRow *row)
{
	BrPgLoggedOptions logged;
	int32 arm = 0;
	Datum value;

	logged.numbers = elements(log, POOL, &logged.n);
	logged.context = elements(log, CONTEXT, &logged.n_context);
	logged.given = elements(log, POOL_FEATURES, &logged.n_given);
	if (br_pg_log_value(log, ARMS_VERSION, &value))
		log->policy.arms_version = DatumGetInt32(value);
	if (br_pg_log_value(log, SLOT_ARM, &value))
		arm = DatumGetInt32(value);
	br_pg_log_options(log, &logged, arm, row);
	read_decision(log, row);
}

static void
open_cursor(BrPgLog *log, const char *sql)
{
	const BrPgPolicy *policy = &log->policy;
	Oid types[] = {INT4OID, TIMESTAMPTZOID};
	Datum values[] = {Int32GetDatum(policy->number),
					  TimestampTzGetDatum(policy->decisions > 0 ? policy->as_of : DT_NOBEGIN)};
	BrPgRights rights;

	log->query = (BrPgQuery){.what = "log", .own = true};
	br_pg_enter_owner(&rights);
	log->query.portal =
		SPI_cursor_open_with_args(NULL, sql, 2, types, values, NULL, true, CURSOR_OPT_NO_SCROLL);
	br_pg_leave(&rights);
}

void
br_pg_log_open_own(BrPgLog *log)
{
	int32 number = log->policy.catalog;

	br_pg_choice_require_reader(&log->policy);
	open_cursor(log, psprintf(CHOICES, number, number));
	log->read = read_choice;
}

/* ---- decisions of a catalog ---- */

/* pool and slot are cut by their sizes; first slots only */
#define DECISIONS                                                                             \
	"SELECT d.decision_id, d.decided_at, d.user_id, 1, d.propensity[1],"                      \
	" COALESCE(f.reward, 0)," LEARNED " d.slot_items[1:d.slot_sizes[1]], d.pool_items,"       \
	" d.pool_sizes::pg_catalog.int4[], d.pool_features, d.pool_bundles, d.slot_bundles[1:1]," \
	" d.slot_pinned"                                                                          \
	" FROM bundle_rec.decision_%d d" REWARDS "1 WHERE" CLOSED                                 \
	" AND d.pool_features IS NOT NULL AND d.feature_schema = %d"                              \
	" AND pg_catalog.cardinality(d.slot_sizes) > 0"                                           \
	" AND COALESCE(d.slot_pinned[1], 0) = 0"                                                  \
	" ORDER BY d.decided_at, d.decision_id"

enum
{
	SLOT_ITEMS = HAS_LEARNED + 1,
	POOL_ITEMS,
	POOL_SIZES,
	FEATURES,
	POOL_BUNDLES,
	SLOT_BUNDLES,
	SLOT_PINNED
};

/* the member of the pool that the first slot holds; -1: none */
static int
find_member(const BrPgLog *log, int n_pool)
{
	int n_slot, n_items, n_sizes, n_bundles, n_bundle;
	const int32 *slot = elements(log, SLOT_ITEMS, &n_slot);
	const int32 *items = elements(log, POOL_ITEMS, &n_items);
	const int32 *sizes = elements(log, POOL_SIZES, &n_sizes);
	const int32 *bundles = elements(log, POOL_BUNDLES, &n_bundles);
	const int32 *bundle = elements(log, SLOT_BUNDLES, &n_bundle);
	int from = 0;

	for (int i = 0; i < n_pool && i < n_sizes && sizes[i] >= 0 && sizes[i] <= n_items - from;
		 from += sizes[i++])
	{
		if (bundles != NULL && n_bundle == 1 && i < n_bundles && bundles[i] != bundle[0])
			continue;
		if (sizes[i] == n_slot && memcmp(items + from, slot, sizeof(int32) * n_slot) == 0)
			return i;
	}
	return -1;
}

/* takes the members out of the row's pool that rules pinned to later slots */
static void
drop_pinned(const BrPgLog *log, BrPgLoggedRow *row)
{
	int dims = log->policy.spec.dims;
	int n_pinned, kept = 0, member = row->member;
	const int32 *pinned = elements(log, SLOT_PINNED, &n_pinned);
	float *features;

	if (pinned == NULL)
		return;
	features = palloc(sizeof(float) * Max(row->request.pool * dims, 1));
	for (int i = 0; i < row->request.pool; i++)
	{
		bool competes = true;

		for (int slot = 0; slot < n_pinned && competes; slot++)
			competes = pinned[slot] != i + 1;
		if (i == member)
			row->member = competes ? kept : -1;
		if (competes)
			memcpy(features + kept++ * dims, row->request.features + i * dims,
				   sizeof(float) * dims);
	}
	row->request.pool = kept;
	row->request.features = features;
}

static void
read_pool(BrPgLog *log, BrPgLoggedRow *row)
{
	int dims = log->policy.spec.dims;
	int n_features;
	const float *features = elements(log, FEATURES, &n_features);

	row->state = br_pg_policy_state(&log->policy);
	row->request.pool = n_features / dims;
	row->request.features = features;
	row->request.slots = 1;
	row->member = n_features % dims == 0 ? find_member(log, row->request.pool) : -1;
	drop_pinned(log, row);
	if (row->member < 0)
		br_pg_log_refuse(log, "what was offered does not stand in its pool");
	read_decision(log, row);
}

void
br_pg_log_open_catalog(BrPgLog *log)
{
	int32 number = log->policy.catalog;
	BrPgCatalog *catalog = br_pg_catalog_find(number);

	if (!br_pg_policy_is_owned(&log->policy) &&
		pg_class_aclcheck(br_pg_child("decision", number), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read decisions of catalog \"%s\"",
						catalog != NULL ? catalog->name : log->policy.name),
				 errhint("GRANT SELECT ON bundle_rec.decision_%d TO this role.", number)));
	open_cursor(log, psprintf(DECISIONS, number, number, BR_FEATURE_SCHEMA));
	log->read = read_pool;
}
