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

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/choose/choose.h"
#include "pg/policy/context.h"
#include "pg/policy/evidence.h"
#include "pg/policy/fold_int.h"
#include "pg/policy/warm_start.h"

#define FETCH_ROWS 1000

/* Columns of the query by name; 0: it has none of that name. */
typedef struct Columns
{
	int arm, reward, context, features, propensity, decided_at;
	Oid context_type;
} Columns;

typedef struct WarmStart
{
	BrPgPolicy *policy;
	BrPgEvidence *evidence;
	Columns columns;
	int64 rows;
} WarmStart;

static int
column(TupleDesc descriptor, const char *name, Oid type, Oid other)
{
	int number = SPI_fnumber(descriptor, name);
	Oid has;

	if (number <= 0)
		return 0;
	has = SPI_gettypeid(descriptor, number);
	if (has != type && has != other)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of the query has type %s instead of %s", name,
						format_type_be(has), format_type_be(type))));
	return number;
}

static Columns
find_columns(TupleDesc descriptor)
{
	Columns columns = {
		.arm = column(descriptor, "arm", TEXTOID, VARCHAROID),
		.reward = column(descriptor, "reward", FLOAT8OID, FLOAT8OID),
		.context = column(descriptor, "context", FLOAT8ARRAYOID, JSONBOID),
		.features = column(descriptor, "features", FLOAT8ARRAYOID, FLOAT8ARRAYOID),
		.propensity = column(descriptor, "propensity", FLOAT8OID, FLOAT8OID),
		.decided_at = column(descriptor, "decided_at", TIMESTAMPTZOID, TIMESTAMPTZOID),
	};

	if (columns.arm == 0 || columns.reward == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the query has no column \"%s\"", columns.arm == 0 ? "arm" : "reward"),
				 errhint("It needs arm (text) and reward (double precision); context, features, "
						 "propensity and decided_at if the policy uses them.")));
	if (columns.context != 0)
		columns.context_type = SPI_gettypeid(descriptor, columns.context);
	return columns;
}

/* a column that is there and not NULL */
static bool
value_of(int number, uint64 row, Datum *value)
{
	bool is_null = true;

	if (number != 0)
		*value = br_pg_column(row, number, &is_null);
	return !is_null;
}

static void
refuse_row(const WarmStart *start, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("row %lld of the query is wrong: %s", (long long) start->rows + 1, what),
			 errdetail("Nothing was counted.")));
}

static double
propensity_of(const WarmStart *start, uint64 row)
{
	Datum value;
	double propensity;

	if (!value_of(start->columns.propensity, row, &value))
		return 1;
	propensity = DatumGetFloat8(value);
	if (!(propensity > 0 && propensity <= 1))
		refuse_row(start, psprintf("its propensity is %g, not above 0 and at most 1", propensity));
	return propensity;
}

static double
reward_of(const WarmStart *start, uint64 row)
{
	Datum value;
	double reward;

	if (!value_of(start->columns.reward, row, &value))
		refuse_row(start, "it has no reward");
	reward = DatumGetFloat8(value);
	if (!isfinite(reward))
		refuse_row(start, psprintf("its reward is %g", reward));
	if (br_bandit_algorithm_bounded(start->policy->spec.algorithm) && !(reward >= 0 && reward <= 1))
		refuse_row(start,
				   psprintf("its reward is %g, and the algorithm takes rewards from 0 to 1",
							reward));
	return reward;
}

static void
count_row(WarmStart *start, uint64 row)
{
	BrPgGiven given = {.context_type = InvalidOid, .n_arms = 1};
	BrPgSlot slot = {.examination = 1, .decided_at = start->evidence->as_of};
	BrPgOptions *options;
	Datum value;
	char *arm;
	double reward = reward_of(start, row);

	if (!value_of(start->columns.arm, row, &value))
		refuse_row(start, "it has no arm");
	arm = TextDatumGetCString(value);
	given.arms = &arm;
	if (value_of(start->columns.context, row, &value))
	{
		given.context_type = start->columns.context_type;
		given.context = value;
	}
	if (value_of(start->columns.features, row, &value))
		given.features =
			br_pg_float8_argument(DatumGetArrayTypeP(value), "features", &given.n_features);
	if (value_of(start->columns.decided_at, row, &value))
		slot.decided_at = DatumGetTimestampTz(value);
	slot.propensity = propensity_of(start, row);
	/* from here on the result of another statement may be the current one */
	options = br_pg_options(start->policy, &given, 1, 0);
	slot.arm = options->numbers[0];
	slot.features = options->features;
	br_pg_evidence_add_slot(start->evidence, &slot);
	br_pg_evidence_add_reward(start->evidence, &slot, 0, reward);
	start->rows++;
}

/* the query as the caller, one batch after the other */
static void
count_query(WarmStart *start, const char *query)
{
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "bundle_rec warm start",
												ALLOCSET_DEFAULT_SIZES);
	Portal portal =
		SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true, CURSOR_OPT_NO_SCROLL);

	for (;;)
	{
		MemoryContext before;
		BrPgRights rights;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (start->rows == 0)
			start->columns = find_columns(SPI_tuptable->tupdesc);
		if (SPI_processed == 0)
			break;
		before = MemoryContextSwitchTo(batch);
		br_pg_enter_owner(&rights);
		for (uint64 row = 0, n = SPI_processed; row < n; row++)
		{
			SPITupleTable *rows = SPI_tuptable;

			CHECK_FOR_INTERRUPTS();
			count_row(start, row);
			SPI_tuptable = rows;
		}
		br_pg_leave(&rights);
		SPI_freetuptable(SPI_tuptable);
		MemoryContextSwitchTo(before);
		MemoryContextReset(batch);
	}
	SPI_cursor_close(portal);
}

int64
br_pg_policy_warm_start(const char *name, const char *query)
{
	WarmStart start = {.rows = 0};
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
	count_query(&start, query);
	if (start.rows == 0)
		return 0;
	br_pg_enter_owner(&rights);
	(void) br_pg_evidence_store(start.evidence, start.rows, 0);
	br_pg_leave(&rights);
	return start.rows;
}
