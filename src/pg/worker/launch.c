/*
 * launch.c
 *	  How workers start, and how one knows that a job has a worker.
 *
 * A worker must not start before the job's row is committed, so it is
 * registered by a callback at commit, which cannot fail any more: where no
 * worker is free the job stays queued. A worker that starts for a row that a
 * savepoint took back finds nothing and ends. PREPARE TRANSACTION starts
 * nothing, since this session will not see its commit: run_jobs does.
 *
 * The lock is of the kind of advisory locks, which outlast transactions and end
 * with the process, under a type of tag that no SQL function can reach.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "pg/bulk.h"
#include "pg/worker/job_int.h"

StaticAssertDecl(sizeof(BrPgJobTicket) <= BGW_EXTRALEN, "a ticket fits into a worker's entry");

/* BrPgJobTicket, in TopTransactionContext: what this transaction will start */
static List *at_commit = NIL;

BrPgJobTicket
br_pg_job_ticket(int64 job, Oid role)
{
	BrPgJobTicket ticket = {.job = job, .database = MyDatabaseId, .role = role};
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));

	if (HeapTupleIsValid(tuple))
	{
		if (((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin &&
			pg_database_aclcheck(MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK)
			ticket.login = role;
		ReleaseSysCache(tuple);
	}
	return ticket;
}

bool
br_pg_job_start(const BrPgJobTicket *ticket)
{
	BackgroundWorker worker = {
		.bgw_name = "bundle_rec worker",
		.bgw_type = "bundle_rec worker",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "$libdir/bundle_rec",
		.bgw_function_name = "br_worker_main",
	};

	memcpy(worker.bgw_extra, ticket, sizeof(*ticket));
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

void
br_pg_job_warn_of_waiting(int n)
{
	if (n > 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg_plural("no background worker is free: %d job stays queued",
							   "no background worker is free: %d jobs stay queued", n, n),
				 errhint("SELECT bundle_rec.run_jobs() starts them later; max_worker_processes is"
						 " %d.",
						 max_worker_processes)));
}

static void
start_queued(void)
{
	int waiting = 0;
	ListCell *cell;

	foreach (cell, at_commit)
		waiting += !br_pg_job_start(lfirst(cell));
	br_pg_job_warn_of_waiting(waiting);
}

static void
at_transaction_end(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_COMMIT)
		start_queued();
	/* its memory goes with the transaction */
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		at_commit = NIL;
}

void
br_pg_job_start_at_commit(const BrPgJobTicket *ticket)
{
	static bool registered = false;
	MemoryContext before = MemoryContextSwitchTo(TopTransactionContext);
	BrPgJobTicket *copy = palloc(sizeof(*copy));

	if (!registered)
		RegisterXactCallback(at_transaction_end, NULL);
	registered = true;
	*copy = *ticket;
	if (!br_pg_job_starts_at_commit(ticket->job))
		at_commit = lappend(at_commit, copy);
	MemoryContextSwitchTo(before);
}

bool
br_pg_job_starts_at_commit(int64 job)
{
	ListCell *cell;

	foreach (cell, at_commit)
		if (((BrPgJobTicket *) lfirst(cell))->job == job)
			return true;
	return false;
}

/* ---- who is at work ---- */

/* the lock of the job that this worker is at work on */
static LOCKTAG taken;

static LOCKTAG
tag_of(int64 job)
{
	return (LOCKTAG){.locktag_field1 = MyDatabaseId,
					 .locktag_field2 = br_pg_relation("stored_job"),
					 .locktag_field3 = (uint32) job,
					 .locktag_field4 = (uint16) (job >> 32),
					 .locktag_type = LOCKTAG_USERLOCK,
					 .locktag_lockmethodid = USER_LOCKMETHOD};
}

bool
br_pg_job_take(int64 job)
{
	taken = tag_of(job);
	return LockAcquire(&taken, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
br_pg_job_release(void)
{
	LockRelease(&taken, ExclusiveLock, true);
}

int
br_pg_job_worker(int64 job)
{
	LOCKTAG tag = tag_of(job);
	LockData *held = GetLockStatusData();

	for (int i = 0; i < held->nelements; i++)
		if (memcmp(&held->locks[i].locktag, &tag, sizeof(tag)) == 0 && held->locks[i].holdMask != 0)
			return held->locks[i].pid;
	return 0;
}
