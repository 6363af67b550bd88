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

/* Process that is at work on a job, 0 for none. Needs no SPI. */
extern int br_pg_job_worker(int64 job);

/* Whether a job that ran when its row had this time has lost its worker. */
extern bool br_pg_job_is_interrupted(int64 job, TimestampTz updated_at);

#endif /* BR_JOB_H */
