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

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/choose/choose.h"
#include "pg/evaluate/evaluate_int.h"

#define FETCH_ROWS 1000

static void
name_row(void *arg)
{
	const BrPgLog *log = arg;

	errcontext("row %lld of the log", (long long) log->number);
}

void
br_pg_log_refuse(const BrPgLog *log, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("row %lld of the log is wrong: %s", (long long) log->number, what)));
	pg_unreachable();
}

bool
br_pg_log_value(const BrPgLog *log, int column, Datum *value)
{
	bool is_null = true;

	if (column != 0)
		*value =
			SPI_getbinval(log->table->vals[log->next - 1], log->table->tupdesc, column, &is_null);
	return !is_null;
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

/* the next rows of the cursor; false at its end */
static bool
fetch(BrPgLog *log)
{
	BrPgRights rights;

	if (log->table != NULL)
		SPI_freetuptable(log->table);
	if (log->own)
		br_pg_enter_owner(&rights);
	SPI_cursor_fetch(log->portal, true, FETCH_ROWS);
	if (log->own)
		br_pg_leave(&rights);
	log->table = SPI_tuptable;
	log->n_fetched = SPI_processed;
	log->next = 0;
	return log->n_fetched > 0;
}

/* ---- what could be chosen ---- */

void
br_pg_log_options(BrPgLog *log, const int32 *numbers, int n, float *context, float *features,
				  int32 logged, BrPgLoggedRow *row)
{
	BrPgOptions *options = br_pg_options_logged(&log->policy, numbers, n, context, features);

	row->state = options->state;
	row->request = br_pg_options_request(options, 1, 0);
	row->numbers = options->numbers;
	row->names = options->names;
	row->member = -1;
	for (int i = 0; i < options->n && row->member < 0; i++)
		if (options->numbers[i] == logged)
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
	else if (log->number == 1 || row->decision != log->decision || row->rank != log->rank + 1)
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

	CHECK_FOR_INTERRUPTS();
	if (log->next == log->n_fetched && !fetch(log))
		return false;
	log->number++;
	log->next++;
	MemoryContextReset(log->row_memory);
	before = MemoryContextSwitchTo(log->row_memory);
	error_context_stack = &callback;
	memset(row, 0, sizeof(*row));
	row->rank = 1;
	row->decision = log->number;
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
	if (log->table != NULL)
		SPI_freetuptable(log->table);
	SPI_cursor_close(log->portal);
	MemoryContextDelete(log->row_memory);
}
