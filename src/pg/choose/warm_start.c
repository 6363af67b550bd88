/*
 * warm_start.c
 *	  Teaching a policy from a log that was kept elsewhere.
 *
 * The rows come from the caller's query and are counted like slots of the
 * policy's own log, in one version. What refits from its own log has no place
 * for them, and what ends with a window would forget them at once.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/choose/choose.h"
#include "pg/choose/warm_start.h"
#include "pg/policy/context.h"
#include "pg/policy/evidence.h"
#include "pg/policy/fold_int.h"
#include "pg/query.h"

/* Columns by name. */
enum
{
	ARM,
	REWARD,
	CONTEXT,
	FEATURES,
	PROPENSITY,
	DECIDED_AT,
	COLUMNS
};

typedef struct WarmStart
{
	BrPgPolicy *policy;
	BrPgEvidence *evidence;
	BrPgQuery query;
	BrPgQueryColumn columns[COLUMNS];
} WarmStart;

static void
find_columns(WarmStart *start)
{
	static const BrPgQueryColumn columns[COLUMNS] = {
		[ARM] = {"arm", BR_PG_QUERY_TEXT},
		[REWARD] = {"reward", BR_PG_QUERY_NUMBER},
		[CONTEXT] = {"context", BR_PG_QUERY_CONTEXT},
		[FEATURES] = {"features", BR_PG_QUERY_NUMBERS},
		[PROPENSITY] = {"propensity", BR_PG_QUERY_NUMBER},
		[DECIDED_AT] = {"decided_at", BR_PG_QUERY_TIME},
	};

	memcpy(start->columns, columns, sizeof(columns));
	for (int i = 0; i < COLUMNS; i++)
		if (i == ARM || i == REWARD)
			br_pg_query_need_column(&start->query, &start->columns[i],
									"It needs arm and reward; context, features, propensity and decided_at "
									"if the policy uses them.");
		else
			br_pg_query_find_column(&start->query, &start->columns[i]);
}

static bool
value_of(const WarmStart *start, int column, Datum *value)
{
	return br_pg_query_value(&start->query, start->columns[column].number, value);
}

static void
refuse_row(const WarmStart *start, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("row %lld of the query is wrong: %s", (long long) start->query.row, what),
			 errdetail("Nothing was counted.")));
}

static double
propensity_of(const WarmStart *start)
{
	Datum value;
	double propensity;

	if (!value_of(start, PROPENSITY, &value))
		return 1;
	propensity = br_pg_number(value, start->columns[PROPENSITY].type);
	if (!(propensity > 0 && propensity <= 1))
		refuse_row(start, psprintf("its propensity is %g, not above 0 and at most 1", propensity));
	return propensity;
}

static double
reward_of(const WarmStart *start)
{
	Datum value;
	double reward;

	if (!value_of(start, REWARD, &value))
		refuse_row(start, "it has no reward");
	reward = br_pg_number(value, start->columns[REWARD].type);
	if (!isfinite(reward))
		refuse_row(start, psprintf("its reward is %g", reward));
	if (br_bandit_algorithm_bounded(start->policy->spec.algorithm) && !(reward >= 0 && reward <= 1))
		refuse_row(start,
				   psprintf("its reward is %g, and the algorithm takes rewards from 0 to 1",
							reward));
	return reward;
}

static void
count_row(WarmStart *start)
{
	BrPgGiven given = {.context_type = InvalidOid, .n_arms = 1};
	BrPgSlot slot = {.examination = 1, .decided_at = start->evidence->as_of};
	BrPgOptions *options;
	Datum value;
	char *arm;
	double reward = reward_of(start);

	if (!value_of(start, ARM, &value))
		refuse_row(start, "it has no arm");
	arm = TextDatumGetCString(value);
	given.arms = &arm;
	if (value_of(start, CONTEXT, &value))
	{
		given.context_type = start->columns[CONTEXT].type;
		given.context = value;
	}
	if (value_of(start, FEATURES, &value))
		given.features =
			br_pg_float8_argument(DatumGetArrayTypeP(value), "features", &given.n_features);
	if (value_of(start, DECIDED_AT, &value))
		slot.decided_at = DatumGetTimestampTz(value);
	slot.propensity = propensity_of(start);
	options = br_pg_options(start->policy, &given, 1, 0);
	slot.arm = options->numbers[0];
	slot.features = options->features;
	br_pg_evidence_add_slot(start->evidence, &slot);
	br_pg_evidence_add_reward(start->evidence, &slot, 0, reward);
}

/* all rows of the query; returns how many */
static int64
count_query(WarmStart *start, const char *sql)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "bundle_rec warm start",
											  ALLOCSET_DEFAULT_SIZES);

	br_pg_query_open(&start->query, sql, "query");
	find_columns(start);
	while (br_pg_query_next(&start->query))
	{
		MemoryContextSwitchTo(row);
		count_row(start);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(row);
	}
	MemoryContextDelete(row);
	return start->query.row;
}

int64
br_pg_policy_warm_start(const char *name, const char *query)
{
	WarmStart start;
	int64 rows;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	start.policy = br_pg_policy_lock(name);
	br_pg_policy_require_arms(start.policy, "warm_start");
	if (br_pg_fold_recounts(start.policy))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("policy \"%s\" counts its whole log anew at every fold", name),
				 errdetail("What warm_start taught it would be lost then."),
				 errhint(
					 "Use an algorithm other than logistic_thompson, and no evidence_window.")));
	start.evidence = br_pg_evidence_open(start.policy, false);
	br_pg_leave(&rights);
	rows = count_query(&start, query);
	if (rows == 0)
		return 0;
	br_pg_enter_owner(&rights);
	(void) br_pg_evidence_store(start.evidence, rows, 0);
	br_pg_leave(&rights);
	return rows;
}
