/*
 * plans.c
 *	  Statements prepared once per connection, and what they return.
 *
 * Each catalog has tables of its own, so a statement's text is its identity.
 * The number of plans is bounded: when a connection has touched very many
 * catalogs the plans are dropped together and made anew.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pg/br_pg.h"

#define MAX_PLANS 1000
/* rows of a cursor that are fetched together */
#define FETCH_ROWS 1000

typedef struct KeptPlan
{
	const char *sql; /* the key; lives in TopMemoryContext */
	SPIPlanPtr plan;
} KeptPlan;

static HTAB *kept_plans = NULL;

/* Kept plans that are being executed: a row-level policy's function may call us from within one. */
static int executing = 0;

/* an error leaves executions without their end */
static void
at_transaction_end(XactEvent event, void *argument)
{
	executing = 0;
}

static void
create_plan_table(void)
{
	kept_plans = br_pg_text_table("bundle_rec plans", 64, sizeof(KeptPlan), TopMemoryContext);
	RegisterXactCallback(at_transaction_end, NULL);
}

static void
drop_all_plans(void)
{
	HASH_SEQ_STATUS sequence;
	KeptPlan *kept;

	hash_seq_init(&sequence, kept_plans);
	while ((kept = hash_seq_search(&sequence)) != NULL)
	{
		char *sql = unconstify(char *, kept->sql);

		SPI_freeplan(kept->plan);
		hash_search(kept_plans, &kept->sql, HASH_REMOVE, NULL);
		pfree(sql);
	}
}

/*
 * Statements that only read are the short ones of the serving path: planning
 * them anew for each call would cost more than running them.
 */
static SPIPlanPtr
find_plan(const char *sql, int n_arguments, const Oid *types, bool read_only)
{
	KeptPlan *kept;
	SPIPlanPtr plan;
	char *key;

	if (kept_plans == NULL)
		create_plan_table();
	kept = hash_search(kept_plans, &sql, HASH_FIND, NULL);
	if (kept != NULL)
		return kept->plan;

	if (hash_get_num_entries(kept_plans) >= MAX_PLANS && executing == 0)
		drop_all_plans();
	plan = SPI_prepare_cursor(sql, n_arguments, unconstify(Oid *, types),
							  read_only ? CURSOR_OPT_GENERIC_PLAN : 0);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);

	key = MemoryContextStrdup(TopMemoryContext, sql);
	kept = hash_search(kept_plans, &key, HASH_ENTER, NULL);
	kept->sql = key;
	kept->plan = plan;
	return plan;
}

/* what SPI returned; it leaves its own context behind, which lives until SPI_finish */
static uint64
finish(const char *sql, int result, MemoryContext caller)
{
	MemoryContextSwitchTo(caller);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
	return SPI_processed;
}

uint64
br_pg_execute(const char *sql, int n_arguments, const Oid *types, const Datum *values,
			  const char *nulls, bool read_only, long limit)
{
	MemoryContext caller = CurrentMemoryContext;
	SPIPlanPtr plan = find_plan(sql, n_arguments, types, read_only);
	int result;

	executing++;
	result = SPI_execute_plan(plan, unconstify(Datum *, values), nulls, read_only, limit);
	executing--;
	return finish(sql, result, caller);
}

/* GetLatestSnapshot is taken anew by each call, so it is copied when it is pushed */
static int
execute_now(SPIPlanPtr plan, const Datum *values)
{
	return SPI_execute_snapshot(plan, unconstify(Datum *, values), NULL, GetLatestSnapshot(),
								InvalidSnapshot, false, true, 0);
}

uint64
br_pg_execute_now(const char *sql, int n_arguments, const Oid *types, const Datum *values)
{
	MemoryContext caller = CurrentMemoryContext;
	SPIPlanPtr plan = find_plan(sql, n_arguments, types, false);
	int result;

	executing++;
	result = execute_now(plan, values);
	executing--;
	return finish(sql, result, caller);
}

uint64
br_pg_execute_once(const char *sql, int n_arguments, const Oid *types, const Datum *values)
{
	MemoryContext caller = CurrentMemoryContext;
	int result = SPI_execute_with_args(sql, n_arguments, unconstify(Oid *, types),
									   unconstify(Datum *, values), NULL, false, 0);

	return finish(sql, result, caller);
}

uint64
br_pg_execute_once_at(const char *sql, int n_arguments, const Oid *types, const Datum *values,
					  Snapshot snapshot)
{
	MemoryContext caller = CurrentMemoryContext;
	SPIPlanPtr plan =
		SPI_prepare_cursor(sql, n_arguments, unconstify(Oid *, types), CURSOR_OPT_CUSTOM_PLAN);
	int result;

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	result = SPI_execute_snapshot(plan, unconstify(Datum *, values), NULL, snapshot,
								  InvalidSnapshot, false, true, 0);
	SPI_freeplan(plan);
	return finish(sql, result, caller);
}

uint64
br_pg_execute_once_now(const char *sql, int n_arguments, const Oid *types, const Datum *values)
{
	return br_pg_execute_once_at(sql, n_arguments, types, values, GetLatestSnapshot());
}

/* whether what is read as of now is read as of the transaction's snapshot instead */
static bool pinned = false;

void
br_pg_pin_snapshot(bool pin)
{
	pinned = pin;
}

Snapshot
br_pg_latest_snapshot(void)
{
	return pinned ? GetTransactionSnapshot() : GetLatestSnapshot();
}

Portal
br_pg_open_latest(const char *sql)
{
	MemoryContext caller = CurrentMemoryContext;
	BrPgRights rights;
	Portal portal;

	br_pg_enter_owner(&rights);
	PushActiveSnapshot(br_pg_latest_snapshot());
	portal = SPI_cursor_open_with_args(NULL, sql, 0, NULL, NULL, NULL, true, CURSOR_OPT_NO_SCROLL);
	PopActiveSnapshot();
	MemoryContextSwitchTo(caller);
	br_pg_leave(&rights);
	return portal;
}

bool
br_pg_fetch(Portal portal)
{
	MemoryContext caller = CurrentMemoryContext;
	BrPgRights rights;

	CHECK_FOR_INTERRUPTS();
	br_pg_enter_owner(&rights);
	SPI_cursor_fetch(portal, true, FETCH_ROWS);
	MemoryContextSwitchTo(caller);
	br_pg_leave(&rights);
	if (SPI_processed > 0)
		return true;
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
	return false;
}

Datum
br_pg_column(uint64 row, int column, bool *is_null)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, is_null);
}

char *
br_pg_column_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

double
br_pg_column_number(uint64 row, int column, double if_null)
{
	bool is_null;
	Datum value = br_pg_column(row, column, &is_null);

	return is_null ? if_null : DatumGetFloat8(value);
}
