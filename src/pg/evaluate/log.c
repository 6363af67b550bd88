/*
 * log.c
 *	  A log as a stream of rows, wherever it comes from.
 *
 * A row is one slot of a decision: what could be chosen as it was then, what was
 * chosen, with which propensity, and what it brought. Slots of a decision follow
 * each other, first slot first, so that the earlier ones are known when the
 * later ones come.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "pg/evaluate/evaluate_int.h"

static void
name_row(void *arg)
{
	const BrPgLog *log = arg;

	errcontext("row %lld of the log", (long long) log->query.row);
}

void
br_pg_log_refuse(const BrPgLog *log, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("row %lld of the log is wrong: %s", (long long) log->query.row, what)));
	pg_unreachable();
}

bool
br_pg_log_value(const BrPgLog *log, int column, Datum *value)
{
	return br_pg_query_value(&log->query, column, value);
}

BrPgLog *
br_pg_log_open(const BrPgEvaluation *evaluation)
{
	BrPgLog *log = palloc0(sizeof(BrPgLog));

	log->evaluation = evaluation;
	log->policy = *evaluation->candidate;
	log->memory = CurrentMemoryContext;
	log->row_memory = AllocSetContextCreate(CurrentMemoryContext, "bundle_rec row of a log",
											ALLOCSET_DEFAULT_SIZES);
	if (evaluation->query != NULL)
		br_pg_log_open_given(log);
	else if (evaluation->candidate->owner != NULL)
		br_pg_log_open_own(log);
	else
		br_pg_log_open_catalog(log);
	return log;
}

/* ---- what could be chosen ---- */

void
br_pg_log_options(BrPgLog *log, const BrPgLoggedOptions *logged, int32 arm, BrPgLoggedRow *row)
{
	BrPgOptions *options = br_pg_options_logged(&log->policy, logged);

	row->state = options->state;
	row->request = br_pg_options_request(options, 1, 0);
	row->numbers = options->numbers;
	row->names = options->names;
	row->member = -1;
	for (int i = 0; i < options->n && row->member < 0; i++)
		if (options->numbers[i] == arm)
			row->member = i;
	if (row->member < 0)
		br_pg_log_refuse(log, "its arm is not among its eligible ones");
}

/* ---- checks that all logs share ---- */

static void
check_numbers(const BrPgLog *log, const BrPgLoggedRow *row)
{
	if (!(row->propensity > 0 && row->propensity <= 1))
		br_pg_log_refuse(log,
						 psprintf("its propensity is %.15g, not above 0 and at most 1",
								  row->propensity));
	if (!isfinite(row->reward))
		br_pg_log_refuse(log, psprintf("its reward is %g", row->reward));
}

/* the members at the earlier slots of the decision that this row belongs to */
static void
find_earlier(BrPgLog *log, BrPgLoggedRow *row)
{
	int *earlier;

	if (row->rank < 1)
		br_pg_log_refuse(log, psprintf("its rank is %d; ranks begin at 1", row->rank));
	if (row->rank == 1)
		log->n_earlier = 0;
	else if (log->query.row == 1 || row->decision != log->decision || row->rank != log->rank + 1)
		br_pg_log_refuse(log,
						 psprintf("rank %d does not follow rank %d of its decision", row->rank,
								  row->rank - 1));
	earlier = palloc(sizeof(int) * Max(log->n_earlier, 1));
	row->n_earlier = 0;
	for (int k = 0; k < log->n_earlier; k++)
		for (int i = 0; i < row->request.pool; i++)
			if ((row->numbers != NULL ? row->numbers[i] : i) == log->earlier[k])
				earlier[row->n_earlier++] = i;
	for (int k = 0; k < row->n_earlier; k++)
		if (earlier[k] == row->member)
			br_pg_log_refuse(log, "its arm stands at an earlier slot of the same decision");
	row->earlier = earlier;
}

static void
remember(BrPgLog *log, const BrPgLoggedRow *row)
{
	if (log->n_earlier == log->room)
	{
		int room = Max(log->room * 2, 16);
		int32 *wider = MemoryContextAlloc(log->memory, sizeof(int32) * room);

		if (log->n_earlier > 0)
			memcpy(wider, log->earlier, sizeof(int32) * log->n_earlier);
		log->earlier = wider;
		log->room = room;
	}
	log->earlier[log->n_earlier++] = row->numbers != NULL ? row->numbers[row->member] : row->member;
	log->decision = row->decision;
	log->rank = row->rank;
	log->decided_at = row->decided_at;
}

bool
br_pg_log_next(BrPgLog *log, BrPgLoggedRow *row)
{
	ErrorContextCallback callback = {.previous = error_context_stack,
									 .callback = name_row,
									 .arg = log};
	MemoryContext before;

	if (!br_pg_query_next(&log->query))
		return false;
	MemoryContextReset(log->row_memory);
	before = MemoryContextSwitchTo(log->row_memory);
	error_context_stack = &callback;
	memset(row, 0, sizeof(*row));
	row->rank = 1;
	row->decision = log->query.row;
	log->read(log, row);
	check_numbers(log, row);
	find_earlier(log, row);
	remember(log, row);
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(before);
	return true;
}

void
br_pg_log_close(BrPgLog *log)
{
	MemoryContextDelete(log->row_memory);
}
