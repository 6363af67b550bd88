/*
 * progress.c
 *	  How far a fit is, where other sessions can see it.
 *
 * Every backend has a place in shared memory for the progress of one command.
 * Those that PostgreSQL knows have views of their own; ours goes by a number
 * that none of them has, so that no other view shows it, and the server clears
 * it when the transaction ends badly.
 */
#include "postgres.h"

#include "utils/backend_progress.h"

#include "pg/learn/learn_int.h"

void
br_pg_progress_begin(const BrPgCatalog *catalog)
{
	pgstat_progress_start_command(BR_PG_FIT_PROGRESS, catalog->items);
	pgstat_progress_update_param(BR_PG_FIT_CATALOG, catalog->number);
}

void
br_pg_progress_kind(BrPgKindNumber kind)
{
	static const int places[] = {BR_PG_FIT_KIND, BR_PG_FIT_DONE, BR_PG_FIT_TOTAL};
	const int64 values[] = {kind, 0, 0};

	pgstat_progress_update_multi_param(lengthof(places), places, values);
}

static void
report(void *arg, int64_t done, int64_t total)
{
	static const int places[] = {BR_PG_FIT_DONE, BR_PG_FIT_TOTAL};
	const int64 values[] = {done, total};

	pgstat_progress_update_multi_param(lengthof(places), places, values);
}

const BrProgress *
br_pg_progress_report(void)
{
	static const BrProgress progress = {.report = report};

	return &progress;
}

void
br_pg_progress_end(void)
{
	pgstat_progress_end_command();
}
