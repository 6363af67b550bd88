/*
 * recount.c
 *	  Rows of the log, and evidence counted anew from all of them.
 *
 * What counts is what the queues have let go: decisions whose window has
 * closed, and the feedback on them. With an evidence_window older decisions are
 * left out. Algorithms that refit get the slots themselves, for one regression
 * over all of them or one for each arm.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/policy/fold_int.h"
#include "pg/policy/reward.h"

/* ---- rows of the log ---- */

const char *
br_pg_fold_log(const BrPgPolicy *policy)
{
	return policy->owner != NULL ? "choice" : "decision";
}

const char *
br_pg_fold_arms(const BrPgPolicy *policy)
{
	return policy->owner != NULL ? "d.slot_arms" : "NULL::pg_catalog.int4[]";
}

const char *
br_pg_fold_pins(const BrPgPolicy *policy)
{
	return policy->owner != NULL ? "NULL::pg_catalog.int4[]" : "d.slot_pinned";
}

bool
br_pg_fold_is_pinned(const BrPgLoggedSlots *slots, int slot)
{
	return slots->pinned != NULL && slots->pinned[slot] != 0;
}

/* Whoever may INSERT into the log may have written anything there. */
static bool
sensible(const BrPgFold *fold, const BrPgLoggedSlots *slots, int n_features)
{
	int dims = fold->policy->spec.dims;

	if (n_features != slots->n * dims)
		return false;
	for (int i = 0; i < n_features; i++)
		if (!isfinite(slots->features[i]))
			return false;
	for (int i = 0; i < slots->n; i++)
		if (!(slots->propensity[i] > 0 && slots->propensity[i] <= 1 + 1e-9))
			return false;
	return true;
}

BrPgLoggedSlots
br_pg_fold_slots(const BrPgFold *fold, uint64 row)
{
	BrPgLoggedSlots slots;
	int n_features, n_arms, n_pinned;
	bool is_null;

	slots.features = br_pg_column_elements(row, 1, &n_features);
	slots.decided_at = DatumGetTimestampTz(br_pg_column(row, 2, &is_null));
	slots.propensity = br_pg_column_elements(row, 3, &slots.n);
	slots.arms = br_pg_column_elements(row, 4, &n_arms);
	slots.pinned = br_pg_column_elements(row, 5, &n_pinned);
	if (fold->policy->spec.model == BR_MODEL_ARM)
		slots.features = NULL;
	if (!sensible(fold, &slots, n_features) || (fold->policy->owner != NULL && n_arms != slots.n) ||
		(slots.pinned != NULL && n_pinned != slots.n))
		slots.n = 0;
	return slots;
}

BrPgSlot
br_pg_fold_slot(const BrPgFold *fold, const BrPgLoggedSlots *slots, int slot)
{
	const BrPgPolicy *policy = fold->policy;
	BrPgSlot shown = {
		.arm = slots->arms != NULL ? slots->arms[slot] : 0,
		.features =
			slots->features != NULL ? slots->features + (size_t) slot * policy->spec.dims : NULL,
		.decided_at = slots->decided_at,
		.examination = slot < policy->n_examination ? policy->examination[slot] : 1,
		.propensity = slots->propensity[slot],
	};

	return shown;
}

/* ---- counting anew ---- */

bool
br_pg_fold_has_window(const BrPgPolicy *policy)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(policy->number)};

	return br_pg_execute("SELECT FROM bundle_rec.policy WHERE policy = $1"
						 " AND evidence_window IS NOT NULL",
						 1, types, values, NULL, false, 1) > 0;
}

bool
br_pg_fold_recounts(const BrPgPolicy *policy)
{
	return br_bandit_algorithm_refits(policy->spec.algorithm) || br_pg_fold_has_window(policy);
}

/* Slots of one regression. */
typedef struct Rows
{
	int32 arm;
	size_t n;
	size_t room;
	float *features;
	double *rewards;
	double *weights;
} Rows;

static void
append_slot(const BrPgFold *fold, Rows *rows, const BrPgSlot *slot, double reward)
{
	int dims = fold->policy->spec.dims;
	double weight;

	if (rows->n == rows->room)
	{
		rows->room = Max(rows->room * 2, 64);
		rows->features = rows->n == 0
			? MemoryContextAllocHuge(fold->evidence->memory, rows->room * dims * sizeof(float))
			: repalloc_huge(rows->features, rows->room * dims * sizeof(float));
		rows->rewards = rows->n == 0
			? MemoryContextAllocHuge(fold->evidence->memory, rows->room * sizeof(double))
			: repalloc_huge(rows->rewards, rows->room * sizeof(double));
		rows->weights = rows->n == 0
			? MemoryContextAllocHuge(fold->evidence->memory, rows->room * sizeof(double))
			: repalloc_huge(rows->weights, rows->room * sizeof(double));
	}
	for (int i = 0; i < dims; i++)
		rows->features[rows->n * dims + i] = (float) (slot->examination * slot->features[i]);
	weight = br_pg_policy_weight(fold->policy, slot->decided_at, fold->evidence->as_of);
	reward = Min(Max(reward, 0), 1);
	rows->rewards[rows->n] = reward;
	rows->weights[rows->n++] = weight;
	if (fold->policy->spec.model == BR_MODEL_DISJOINT)
		br_bandit_add_totals(fold->evidence->shared, weight, reward);
}

static void
fit(const BrPgFold *fold, const Rows *rows)
{
	BrContext context;

	br_pg_context(&context, fold->batch);
	br_pg_check(br_bandit_fit(&context, &fold->policy->spec, rows->n, rows->features, rows->rewards,
							  rows->weights, br_pg_evidence_of(fold->evidence, rows->arm)),
				&context, psprintf("policy \"%s\" could not be fitted", fold->policy->name),
				"Raise prior_precision.");
}

/*
 * Every slot that counts, by arm where each has a regression of its own, with
 * its reward. Columns 1 to 5 as br_pg_fold_slots wants them, 6 the rewards.
 */
#define COUNTED                                                                           \
	"SELECT d.slot_features, d.decided_at, d.propensity, %s AS arms, %s AS pinned,"       \
	" ARRAY(SELECT COALESCE("                                                             \
	"(SELECT pg_catalog.sum(" BR_PG_REWARD_OF_FEEDBACK ") FROM bundle_rec.feedback_%d f"  \
	" WHERE f.decision_id = d.decision_id AND f.rank = r AND NOT EXISTS (SELECT FROM"     \
	" bundle_rec.unfolded_feedback u WHERE u.decision_id = f.decision_id"                 \
	" AND u.event_id = f.event_id)), 0) FROM pg_catalog.generate_series(1,"               \
	" pg_catalog.cardinality(d.propensity)) r ORDER BY r) AS rewards, d.decision_id"      \
	" FROM bundle_rec.%s_%d d, bundle_rec.policy p WHERE p.policy = %d AND d.policy = %d" \
	" AND NOT d.deterministic AND NOT EXISTS (SELECT FROM bundle_rec.unfolded_decision w" \
	" WHERE w.decision_id = d.decision_id) AND (p.evidence_window IS NULL"                \
	" OR d.decided_at > pg_catalog.now() - p.evidence_window) ORDER BY d.decision_id"

typedef struct Recount
{
	BrPgFold *fold;
	int n; /* regressions */
	int room;
	Rows *rows; /* (n), by arm */
} Recount;

static Rows *
rows_of(Recount *recount, int32 arm)
{
	int low = 0, high = recount->n;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (recount->rows[middle].arm < arm)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < recount->n && recount->rows[low].arm == arm)
		return &recount->rows[low];
	if (recount->n == recount->room)
	{
		Rows *larger;

		recount->room = Max(recount->room * 2, 16);
		larger =
			MemoryContextAllocZero(recount->fold->evidence->memory, sizeof(Rows) * recount->room);
		if (recount->n > 0)
			memcpy(larger, recount->rows, sizeof(Rows) * recount->n);
		recount->rows = larger;
	}
	memmove(&recount->rows[low + 1], &recount->rows[low], sizeof(Rows) * (recount->n - low));
	recount->n++;
	memset(&recount->rows[low], 0, sizeof(Rows));
	recount->rows[low].arm = arm;
	return &recount->rows[low];
}

static void
count_row(Recount *recount, uint64 row)
{
	BrPgFold *fold = recount->fold;
	BrPgLoggedSlots slots = br_pg_fold_slots(fold, row);
	int n_rewards;
	const double *rewards = br_pg_column_elements(row, 6, &n_rewards);
	bool refits = br_bandit_algorithm_refits(fold->policy->spec.algorithm);
	bool disjoint = fold->policy->spec.model == BR_MODEL_DISJOINT;

	for (int i = 0; i < slots.n; i++)
	{
		BrPgSlot slot = br_pg_fold_slot(fold, &slots, i);
		double reward = i < n_rewards && isfinite(rewards[i]) ? rewards[i] : 0;

		if (br_pg_fold_is_pinned(&slots, i))
			continue;
		if (refits)
			append_slot(fold, rows_of(recount, disjoint ? slot.arm : 0), &slot, reward);
		else
		{
			br_pg_evidence_add_slot(fold->evidence, &slot);
			br_pg_evidence_add_reward(fold->evidence, &slot, 0, reward);
		}
	}
}

void
br_pg_fold_recount(BrPgFold *fold)
{
	const BrPgPolicy *policy = fold->policy;
	Recount recount = {.fold = fold};
	Portal portal;

	/* with what this fold took out of the queues */
	CommandCounterIncrement();
	PushCopiedSnapshot(fold->snapshot);
	UpdateActiveSnapshotCommandId();
	portal = SPI_cursor_open_with_args(NULL,
									   psprintf(COUNTED, br_pg_fold_arms(policy),
												br_pg_fold_pins(policy), policy->catalog,
												br_pg_fold_log(policy), policy->catalog,
												policy->number, policy->number),
									   0, NULL, NULL, NULL, true, CURSOR_OPT_NO_SCROLL);
	PopActiveSnapshot();
	while (br_pg_fetch(portal))
	{
		MemoryContext before = MemoryContextSwitchTo(fold->batch);

		CHECK_FOR_INTERRUPTS();
		for (uint64 row = 0; row < SPI_processed; row++)
			count_row(&recount, row);
		SPI_freetuptable(SPI_tuptable);
		MemoryContextSwitchTo(before);
		MemoryContextReset(fold->batch);
	}
	for (int i = 0; i < recount.n; i++)
		fit(fold, &recount.rows[i]);
}
