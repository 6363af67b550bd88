/*
 * job_int.h
 *	  What the files of background jobs share.
 */
#ifndef BR_JOB_INT_H
#define BR_JOB_INT_H

#include "pg/worker/job.h"

/* launch.c: workers that start, and who is at work */

/* What a worker is told when it starts. */
typedef struct BrPgJobTicket
{
	int64 job;
	Oid database;
	Oid role;  /* with whose rights the job runs */
	Oid login; /* as whom the worker connects; InvalidOid: as nobody, where role may not log in */
} BrPgJobTicket;

extern BrPgJobTicket br_pg_job_ticket(int64 job, Oid role);

/* Starts a worker now; false where none is free. */
extern bool br_pg_job_start(const BrPgJobTicket *ticket);

/* A WARNING that so many jobs have found no worker free; none of 0. */
extern void br_pg_job_warn_of_waiting(int n);

/* Starts one when the transaction commits; a WARNING tells where none is free. */
extern void br_pg_job_start_at_commit(const BrPgJobTicket *ticket);
extern bool br_pg_job_starts_at_commit(int64 job);

/*
 * In a transaction: takes the lock of who is at work on a job; false where another
 * worker has it. It is kept until it is released, or the process ends.
 */
extern bool br_pg_job_take(int64 job);
extern void br_pg_job_release(void);

/* work.c: what the worker does; its name stands in launch.c */
extern PGDLLEXPORT void br_worker_main(Datum argument);

#endif /* BR_JOB_INT_H */
