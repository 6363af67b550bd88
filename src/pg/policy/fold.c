/*
 * fold.c
 *	  From the log to the next version of a posterior.
 *
 * Every logged decision and every feedback event waits in a queue of its own.
 * Fold takes rows out of the queues and adds what they say to the evidence, in
 * one transaction: whatever happens, a row is either still waiting or counted
 * once. Slots enter when their window has closed, rewarded or not; a reward
 * enters once its slot has, be it early, late or negative. So decisions are
 * never blocked, and the order in which transactions commit does not matter.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pg/policy/policy.h"

/* decisions counted per statement, so that memory stays bounded */
#define FOLD_BATCH 5000

typedef struct Fold
{
	BrPgPolicy *policy;
	int64 decisions; /* counted by this fold */
	int64 events;
	int64 refused;		 /* rows of the log that nothing can be learned from */
	MemoryContext batch; /* reset after each statement's rows */
} Fold;

/*
 * slot_features of a decision and how many slots they are of: none where they
 * do not fit the schema or are no numbers. Whoever may log may also INSERT into
 * the log what recommend would never write.
 */
static const float *
features_column(const Fold *fold, uint64 row, int column, int *slots)
{
	bool is_null;
	ArrayType *array = DatumGetArrayTypeP(br_pg_column(row, column, &is_null));
	const float *features = (const float *) ARR_DATA_PTR(array);
	int n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	*slots = 0;
	if (ARR_HASNULL(array) || n % fold->policy->dims != 0)
		return NULL;
	for (int i = 0; i < n; i++)
		if (!isfinite(features[i]))
			return NULL;
	*slots = n / fold->policy->dims;
	return features;
}

static uint64
fold_decisions(Fold *fold)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(fold->policy->number), Int32GetDatum(FOLD_BATCH)};
	uint64 n =
		br_pg_execute_once(psprintf("WITH due AS (DELETE FROM bundle_rec.unfolded_decision WHERE decision_id IN ("
									"SELECT u.decision_id FROM bundle_rec.unfolded_decision u"
									" JOIN bundle_rec.policy p USING (policy) WHERE p.policy = $1"
									" AND u.decided_at + p.attribution_window <= pg_catalog.now() LIMIT $2)"
									" RETURNING decision_id) SELECT d.slot_features"
									" FROM due JOIN bundle_rec.decision_%d d USING (decision_id)"
									" ORDER BY d.decision_id",
									fold->policy->catalog),
						   2, types, values);

	for (uint64 row = 0; row < n; row++)
	{
		int slots;
		const float *features = features_column(fold, row, 1, &slots);

		if (features == NULL)
			fold->refused++;
		else
			fold->decisions++;
		for (int slot = 0; slot < slots; slot++)
			br_bandit_evidence_add_slot(fold->policy->evidence, fold->policy->dims,
										features + (size_t) slot * fold->policy->dims, 1.0);
	}
	return n;
}

/*
 * One row per slot that has new rewards: its features, their weighted sum, the
 * sum that was counted before, and how many events they are. The queue is read
 * as it stood before the deletion, so "waiting" includes what is counted now.
 */
#define NEW_REWARDS                                                                             \
	"WITH due AS (DELETE FROM bundle_rec.unfolded_feedback WHERE (decision_id, event_id) IN ("  \
	"SELECT u.decision_id, u.event_id FROM bundle_rec.unfolded_feedback u WHERE u.policy = $1"  \
	" AND NOT EXISTS (SELECT FROM bundle_rec.unfolded_decision w"                               \
	" WHERE w.decision_id = u.decision_id) LIMIT $2) RETURNING decision_id, event_id),"         \
	" slot AS (SELECT f.decision_id, f.rank, pg_catalog.count(*) AS events,"                    \
	" pg_catalog.sum(f.value * COALESCE((p.reward ->> f.kind)::pg_catalog.float8, 0)) AS added" \
	" FROM due JOIN bundle_rec.feedback_%d f USING (decision_id, event_id),"                    \
	" bundle_rec.policy p WHERE p.policy = $1 GROUP BY f.decision_id, f.rank)"                  \
	" SELECT d.slot_features, s.rank, s.added, s.events, COALESCE(("                            \
	"SELECT pg_catalog.sum(f.value * COALESCE((p.reward ->> f.kind)::pg_catalog.float8, 0))"    \
	" FROM bundle_rec.feedback_%d f, bundle_rec.policy p"                                       \
	" WHERE p.policy = $1 AND f.decision_id = s.decision_id AND f.rank = s.rank"                \
	" AND NOT EXISTS (SELECT FROM bundle_rec.unfolded_feedback u"                               \
	" WHERE u.decision_id = f.decision_id AND u.event_id = f.event_id)), 0) AS before"          \
	" FROM slot s JOIN bundle_rec.decision_%d d USING (decision_id)"                            \
	" ORDER BY s.decision_id, s.rank"

static uint64
fold_rewards(Fold *fold)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(fold->policy->number), Int32GetDatum(FOLD_BATCH)};
	int32 catalog = fold->policy->catalog;
	uint64 n =
		br_pg_execute_once(psprintf(NEW_REWARDS, catalog, catalog, catalog), 2, types, values);

	for (uint64 row = 0; row < n; row++)
	{
		bool is_null;
		int slots;
		const float *features = features_column(fold, row, 1, &slots);
		int rank = DatumGetInt32(br_pg_column(row, 2, &is_null));
		double added = DatumGetFloat8(br_pg_column(row, 3, &is_null));
		double before = DatumGetFloat8(br_pg_column(row, 5, &is_null));

		if (rank < 1 || rank > slots || !isfinite(added) || !isfinite(before))
		{
			fold->refused++;
			continue;
		}
		br_bandit_evidence_add_reward(fold->policy->evidence, fold->policy->dims,
									  features + (size_t) (rank - 1) * fold->policy->dims, 1.0,
									  before, added);
		fold->events += DatumGetInt64(br_pg_column(row, 4, &is_null));
	}
	return n;
}

/* runs a step until it finds nothing, freeing each statement's rows */
static void
fold_until_empty(Fold *fold, uint64 (*step)(Fold *fold))
{
	uint64 n;

	do
	{
		MemoryContext before = MemoryContextSwitchTo(fold->batch);

		CHECK_FOR_INTERRUPTS();
		n = step(fold);
		SPI_freetuptable(SPI_tuptable);
		MemoryContextSwitchTo(before);
		MemoryContextReset(fold->batch);
	} while (n > 0);
}

static void
insert_version(const Fold *fold)
{
	static const Oid types[] = {INT4OID, INT4OID, INT4OID, FLOAT8ARRAYOID, INT8OID, INT8OID};
	const BrPgPolicy *policy = fold->policy;
	int n = (int) br_bandit_evidence_length(policy->dims);
	Datum values[6];

	values[0] = Int32GetDatum(policy->number);
	values[1] = Int32GetDatum(policy->version + 1);
	values[2] = Int32GetDatum(policy->feature_schema);
	values[3] = br_pg_float8_array(policy->evidence, n);
	values[4] = Int64GetDatum(policy->decisions + fold->decisions);
	values[5] = Int64GetDatum(policy->events + fold->events);
	br_pg_execute("INSERT INTO bundle_rec.posterior (policy, version, feature_schema, evidence,"
				  " decisions, events) VALUES ($1, $2, $3, $4, $5, $6)",
				  6, types, values, NULL, false, 0);
}

static void
warn_of_refused(const Fold *fold)
{
	if (fold->refused > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("policy \"%s\" learned nothing from %lld slots or decisions of the log",
						fold->policy->name, (long long) fold->refused),
				 errdetail("Their features or values are no numbers, or do not fit each other."),
				 errhint("See who may INSERT into bundle_rec.decision_%d and feedback_%d: recommend"
						 " and feedback write no such rows.",
						 fold->policy->catalog, fold->policy->catalog)));
}

/* A second fold of the same policy waits here, and then sees the first one's version. */
static BrPgPolicy *
lock_and_open(const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};

	br_pg_execute("SELECT policy FROM bundle_rec.policy WHERE name = $1 FOR NO KEY UPDATE", 1,
				  types, values, NULL, false, 0);
	PushActiveSnapshot(GetTransactionSnapshot());
	return br_pg_policy_open(0, name);
}

int32
br_pg_policy_fold(const char *name)
{
	Fold fold = {
		.policy = lock_and_open(name),
		.batch =
			AllocSetContextCreate(CurrentMemoryContext, "bundle_rec fold", ALLOCSET_DEFAULT_SIZES),
	};

	PopActiveSnapshot();
	fold_until_empty(&fold, fold_decisions);
	fold_until_empty(&fold, fold_rewards);
	MemoryContextDelete(fold.batch);
	warn_of_refused(&fold);
	if (fold.decisions == 0 && fold.events == 0)
		return fold.policy->version;
	insert_version(&fold);
	return fold.policy->version + 1;
}
