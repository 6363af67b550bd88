/*
 * job.h
 *	  The door of background jobs: queued by a transaction, done by a worker.
 *
 * A job is a row of stored_job. Whoever is at work on it holds a lock that bears
 * its number, until the process ends: so no two workers do one job, and a
 * job that runs by its row, but whose lock nobody holds, was interrupted.
 */
#ifndef BR_JOB_H
#define BR_JOB_H

#include "datatype/timestamp.h"

#include "pg/br_pg.h"

#include "utils/jsonb.h"

/* SPI must be connected for all of these. */

/*
 * Queues a refresh of at most max_texts texts (PG_INT64_MAX: all) with the rights
 * of the current user; it starts when the transaction commits. Returns its
 * number. Raises 42704, 42501.
 */
extern int64 br_pg_job_queue_refresh(const char *catalog, int64 max_texts);

/* The same of a fit; kind and parameters may be NULL, and are checked. */
extern int64 br_pg_job_queue_fit(const char *catalog, const char *kind, Jsonb *parameters);

/*
 * Both raise 42704 for an unknown job, 42501 for who neither queued it nor owns
 * the catalog. Whether there was anything to cancel or resume.
 */
extern bool br_pg_job_cancel(int64 job);
extern bool br_pg_job_resume(int64 job);

/* Starts workers for jobs that have none; returns how many. */
extern int br_pg_job_run_all(void);

/* ---- for jobs whose work stands elsewhere (src/pg/train) ---- */

/*
 * Queues a training: its row in stored_job alone; what is trained the caller writes
 * down. Raises besides 55006 where another training of the catalog has not ended.
 */
extern int64 br_pg_job_queue_training(const char *catalog, Jsonb *parameters);

/* A transaction of a worker's. */
typedef enum BrPgJobTransaction
{
	BR_PG_JOB_WRITES,
	BR_PG_JOB_SNAPSHOT /* repeatable read, and read only */
} BrPgJobTransaction;

/*
 * Begins one, with SPI connected and a snapshot pushed. Whether the extension is
 * there, which then cannot be dropped before the end; if it is not, commit.
 */
extern bool br_pg_job_begin(BrPgJobTransaction kind);
extern void br_pg_job_commit(void);

/* Runs a statement over the extension's tables; returns how many rows it gave or changed. */
extern uint64 br_pg_job_execute(const char *sql, int n, const Oid *types, const Datum *values);

/* In a transaction that has ended a job: tells who listens to bundle_rec_job, at its commit. */
extern void br_pg_job_notify(int64 job);

/* Between steps, outside of a transaction: raises a cancel, and follows a reload of the settings. */
extern void br_pg_job_pause(void);

/* Process that is at work on a job, 0 for none. Needs no SPI. */
extern int br_pg_job_worker(int64 job);

/* Whether a job that ran when its row had this time has lost its worker. */
extern bool br_pg_job_is_interrupted(int64 job, TimestampTz updated_at);

#endif /* BR_JOB_H */
