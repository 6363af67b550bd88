/*
 * fold.c
 *	  From the log to the next version of a posterior.
 *
 * Every logged decision and every feedback event waits in a queue of its own.
 * Fold takes rows out of the queues and adds what they say to the evidence, in
 * one transaction: whatever happens, a row is either still waiting or counted
 * once. Slots enter when their longest window has closed, rewarded or not; a
 * reward enters once its slot has, be it early, late or negative. So decisions
 * are never blocked, and the order in which transactions commit does not matter.
 *
 * All of a fold is over what one snapshot saw, taken after the lock: what comes
 * meanwhile waits for the next one, and nothing that is counted can have been
 * missed when purchases were attributed.
 *
 * Evidence that is no sum (logistic), or that ends with a window, is counted
 * anew from the log (recount.c); the queues then only say that there is
 * something new.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/policy/attribute.h"
#include "pg/policy/fold_int.h"
#include "pg/policy/reward.h"
#include "pg/privacy/privacy.h"

/* Queue rows taken by one statement: memory stays small however long the queue is. */
#define FOLD_BATCH 5000

/*
 * One batch of decisions whose window has closed. The table has the child's
 * name, and the columns that all logs have.
 */
#define DUE_DECISIONS                                                                         \
	"WITH due AS (DELETE FROM bundle_rec.unfolded_decision WHERE decision_id IN ("            \
	"SELECT u.decision_id FROM bundle_rec.unfolded_decision u"                                \
	" WHERE u.policy = $1 AND u.decided_at + " BR_PG_LONGEST_WINDOW                           \
	" <= pg_catalog.now() LIMIT $2)"                                                          \
	" RETURNING decision_id) SELECT d.slot_features, d.decided_at, d.propensity, %s AS arms," \
	" %s AS pinned"                                                                           \
	" FROM due JOIN bundle_rec.%s_%d d USING (decision_id) ORDER BY d.decision_id"

static uint64
fold_decisions(BrPgFold *fold)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(fold->policy->number), Int32GetDatum(FOLD_BATCH)};
	uint64 n = br_pg_execute_once_at(psprintf(DUE_DECISIONS, br_pg_fold_arms(fold->policy),
											  br_pg_fold_pins(fold->policy),
											  br_pg_fold_log(fold->policy), fold->policy->catalog),
									 2, types, values, fold->snapshot);

	for (uint64 row = 0; row < n; row++)
	{
		BrPgLoggedSlots slots = br_pg_fold_slots(fold, row);

		if (slots.n == 0)
			fold->refused++;
		else
			fold->decisions++;
		for (int slot = 0; slot < slots.n && !fold->recounts; slot++)
		{
			BrPgSlot shown = br_pg_fold_slot(fold, &slots, slot);

			if (!br_pg_fold_is_pinned(&slots, slot))
				br_pg_evidence_add_slot(fold->evidence, &shown);
		}
	}
	return n;
}

/*
 * One row per slot that has new rewards: the decision, the rank, their weighted
 * sum, how many events they are, and the sum that was counted before. The queue
 * is read as it stood before the deletion, so "waiting" includes what is
 * counted now.
 */
#define NEW_REWARDS                                                                            \
	"WITH due AS (DELETE FROM bundle_rec.unfolded_feedback WHERE (decision_id, event_id) IN (" \
	"SELECT u.decision_id, u.event_id FROM bundle_rec.unfolded_feedback u WHERE u.policy = $1" \
	" AND NOT EXISTS (SELECT FROM bundle_rec.unfolded_decision w"                              \
	" WHERE w.decision_id = u.decision_id) LIMIT $2) RETURNING decision_id, event_id),"        \
	" slot AS (SELECT f.decision_id, f.rank, pg_catalog.count(*) AS events,"                   \
	" pg_catalog.sum(" BR_PG_REWARD_OF_FEEDBACK ") AS added"                                   \
	" FROM due JOIN bundle_rec.feedback_%d f USING (decision_id, event_id),"                   \
	" bundle_rec.policy p WHERE p.policy = $1 GROUP BY f.decision_id, f.rank)"                 \
	" SELECT d.slot_features, d.decided_at, d.propensity, %s AS arms, %s AS pinned,"           \
	" s.rank, s.added,"                                                                        \
	" s.events, COALESCE((SELECT pg_catalog.sum(" BR_PG_REWARD_OF_FEEDBACK ")"                 \
	" FROM bundle_rec.feedback_%d f, bundle_rec.policy p"                                      \
	" WHERE p.policy = $1 AND f.decision_id = s.decision_id AND f.rank = s.rank"               \
	" AND NOT EXISTS (SELECT FROM bundle_rec.unfolded_feedback u"                              \
	" WHERE u.decision_id = f.decision_id AND u.event_id = f.event_id)), 0) AS before"         \
	" FROM slot s JOIN bundle_rec.%s_%d d USING (decision_id)"                                 \
	" ORDER BY s.decision_id, s.rank"

static uint64
fold_rewards(BrPgFold *fold)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(fold->policy->number), Int32GetDatum(FOLD_BATCH)};
	int32 catalog = fold->policy->catalog;
	uint64 n = br_pg_execute_once_at(psprintf(NEW_REWARDS, catalog, br_pg_fold_arms(fold->policy),
											  br_pg_fold_pins(fold->policy), catalog,
											  br_pg_fold_log(fold->policy), catalog),
									 2, types, values, fold->snapshot);

	for (uint64 row = 0; row < n; row++)
	{
		bool is_null;
		BrPgLoggedSlots slots = br_pg_fold_slots(fold, row);
		int rank = DatumGetInt32(br_pg_column(row, 6, &is_null));
		double added = DatumGetFloat8(br_pg_column(row, 7, &is_null));
		double before = DatumGetFloat8(br_pg_column(row, 9, &is_null));
		BrPgSlot slot;

		if (rank < 1 || rank > slots.n || !isfinite(added) || !isfinite(before))
		{
			fold->refused++;
			continue;
		}
		fold->events += DatumGetInt64(br_pg_column(row, 8, &is_null));
		if (fold->recounts || br_pg_fold_is_pinned(&slots, rank - 1))
			continue;
		slot = br_pg_fold_slot(fold, &slots, rank - 1);
		br_pg_evidence_add_reward(fold->evidence, &slot, before, added);
	}
	return n;
}

/* runs a step until it finds nothing, freeing each statement's rows */
static void
fold_until_empty(BrPgFold *fold, uint64 (*step)(BrPgFold *fold))
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
warn_of_refused(const BrPgFold *fold)
{
	if (fold->refused > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("policy \"%s\" learned nothing from %lld slots or decisions of the log",
						fold->policy->name, (long long) fold->refused),
				 errdetail("Their features or values are no numbers, or do not fit each other."),
				 errhint("See who may INSERT into bundle_rec.%s_%d and feedback_%d: only the"
						 " extension's functions write rows that fit.",
						 br_pg_fold_log(fold->policy), fold->policy->catalog,
						 fold->policy->catalog)));
}

/*
 * A second fold of the same policy waits here, and then sees the first one's
 * version. Policies that learn from purchases wait for all of their catalog that
 * do: a purchase is attributed among them.
 */
#define ATTRIBUTES "(owner IS NULL AND reward ?| " BR_PG_ATTRIBUTED_KINDS ")"

static bool
lock_policies(const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	bool is_null;

	if (br_pg_execute("SELECT name = $1 AND " ATTRIBUTES " FROM bundle_rec.policy"
					  " WHERE name = $1 OR " ATTRIBUTES " AND catalog = (SELECT catalog"
					  " FROM bundle_rec.policy WHERE name = $1 AND " ATTRIBUTES ")"
					  " ORDER BY policy FOR NO KEY UPDATE",
					  1, types, values, NULL, false, 0) == 0)
		return false;
	for (uint64 row = 0; row < SPI_processed; row++)
		if (DatumGetBool(br_pg_column(row, 1, &is_null)))
			return true;
	return false;
}

/* elapsed time is something new too, where it makes evidence smaller */
static bool
fades(const BrPgFold *fold)
{
	return fold->policy->discount < 1 && fold->policy->decisions > 0 &&
		fold->evidence->as_of > fold->policy->as_of;
}

/* whether what was counted anew is what the version before says: nothing has left the window */
static bool
same_evidence(const BrPgFold *fold)
{
	return memcmp(fold->evidence->shared, br_pg_policy_shared_evidence(fold->policy),
				  sizeof(double) * br_bandit_shared_length(&fold->policy->spec)) == 0;
}

/* whether there is a next version */
static bool
count(BrPgFold *fold)
{
	bool is_new;

	fold_until_empty(fold, fold_decisions);
	fold_until_empty(fold, fold_rewards);
	is_new = fold->decisions > 0 || fold->events > 0 || fades(fold);
	if (is_new || fold->has_window)
	{
		if (fold->recounts)
			br_pg_fold_recount(fold);
		is_new = is_new || !same_evidence(fold);
	}
	return is_new;
}

int32
br_pg_policy_fold(const char *name)
{
	bool attributes = lock_policies(name);
	BrPgFold fold = {
		.snapshot = RegisterSnapshot(GetLatestSnapshot()),
		.batch =
			AllocSetContextCreate(CurrentMemoryContext, "bundle_rec fold", ALLOCSET_DEFAULT_SIZES),
	};
	bool has_next;

	/* compiling the statements would take longer than running them */
	br_pg_set_for_section("jit", "off");
	PushActiveSnapshot(fold.snapshot);
	fold.policy = br_pg_policy_open(0, name);
	fold.has_window = br_pg_fold_has_window(fold.policy);
	fold.recounts = br_pg_fold_recounts(fold.policy);
	fold.evidence = br_pg_evidence_open(fold.policy, fold.recounts);
	PopActiveSnapshot();
	if (attributes)
		br_pg_attribute(fold.policy->catalog, fold.policy->number, fold.snapshot);
	has_next = count(&fold);
	UnregisterSnapshot(fold.snapshot);
	MemoryContextDelete(fold.batch);
	warn_of_refused(&fold);
	br_pg_expire_choices(fold.policy);
	return has_next ? br_pg_evidence_store(fold.evidence, fold.decisions, fold.events)
					: fold.policy->version;
}
