/*
 * schedule.h
 *	  The door of schedules: work on a catalog that pg_cron starts, and alerts
 *	  about what failed.
 *
 * A schedule is a row of stored_schedule and an entry of pg_cron, which calls
 * run_schedule as the role that made it. Nothing here runs by itself, and
 * everything else works where pg_cron is not there.
 */
#ifndef BR_PG_SCHEDULE_H
#define BR_PG_SCHEDULE_H

#include "datatype/timestamp.h"

#include "pg/br_pg.h"

#include "utils/jsonb.h"

/* SPI must be connected for all of these, unless they say otherwise. */

/*
 * Makes a schedule of n tasks with the rights of the current user; returns its
 * number. Raises 42704, 42501, 22023 for tasks and parameters, 55000 where there
 * is no pg_cron, and pg_cron's own errors.
 */
extern int64 br_pg_schedule_create(const char *catalog, const char *cron, char **tasks, int n,
								   Jsonb *parameters);

/* Raises 42704, 42501. */
extern void br_pg_schedule_remove(int64 schedule);

/* All schedules of a catalog that is being dropped, and its alerts; not in an owner section. */
extern void br_pg_schedule_remove_all(int32 catalog);

/*
 * Does the tasks, and commits each unless atomic, in which case SPI must have
 * been connected as such. Raises 42501, and, unless atomic, the error of a task
 * that failed, after it has been written down.
 */
extern void br_pg_schedule_run(int64 schedule, bool atomic);

/* The schedule whose task is being done in this session; 0: none. Needs no SPI. */
extern int64 br_pg_schedule_at_work(void);

/* Whether the run of a schedule that began then has ended without saying so. */
extern bool br_pg_schedule_is_interrupted(int64 schedule, TimestampTz started_at);

/*
 * For who writes down that a job has failed: raises an alert if a schedule had
 * queued it. message begins with SQLSTATE and a colon. Not in an owner section.
 */
extern void br_pg_schedule_job_failed(int64 job, const char *message);

/*
 * Raises an alert of each job that a schedule had queued and that has lost its
 * worker, one each time. Not in an owner section.
 */
extern void br_pg_schedule_find_interrupted_jobs(void);

/* Whether the alert had not been acknowledged. Raises 42704, 42501. */
extern bool br_pg_schedule_acknowledge(int64 alert);

#endif /* BR_PG_SCHEDULE_H */
