/*
 * transactions.c
 *	  Transactions of a worker's, and what it does between them.
 *
 * A worker has many short ones: whatever it computes for long it computes outside
 * of any, so that no snapshot of its keeps vacuum from removing what is dead.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/pmsignal.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "pg/worker/job_int.h"

/*
 * DROP EXTENSION locks the extension before anything else: held here, that waits
 * for the end of a step, rather than meet us in a deadlock half way through our
 * tables.
 */
bool
br_pg_job_begin(BrPgJobTransaction kind)
{
	Oid extension;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (kind == BR_PG_JOB_SNAPSHOT)
	{
		XactIsoLevel = XACT_REPEATABLE_READ;
		XactReadOnly = true;
	}
	extension = get_extension_oid("bundle_rec", true);
	if (OidIsValid(extension))
		LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	return OidIsValid(get_extension_oid("bundle_rec", true));
}

void
br_pg_job_commit(void)
{
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(true);
}

uint64
br_pg_job_execute(const char *sql, int n, const Oid *types, const Datum *values)
{
	BrPgRights rights;
	uint64 rows;

	br_pg_enter_owner(&rights);
	rows = br_pg_execute_now(sql, n, types, values);
	br_pg_leave(&rights);
	return rows;
}

void
br_pg_job_notify(int64 job)
{
	static const char sql[] =
		"SELECT pg_catalog.json_build_object('job', j.job, 'kind', j.kind, 'catalog', c.name,"
		" 'state', j.state, 'model', j.model)"
		" FROM bundle_rec.stored_job j JOIN bundle_rec.catalog c USING (catalog) WHERE j.job = $1";
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(job)};

	if (br_pg_job_execute(sql, lengthof(types), types, values) > 0)
		Async_Notify("bundle_rec_job", br_pg_column_text(0, 1));
}

void
br_pg_job_pause(void)
{
	CHECK_FOR_INTERRUPTS();
	/* who computes waits on nothing, and so is not told that the server has ended */
	if (!PostmasterIsAlive())
		proc_exit(1);
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}
