/*
 * schedule_int.h
 *	  What the files of schedules share.
 */
#ifndef BR_PG_SCHEDULE_INT_H
#define BR_PG_SCHEDULE_INT_H

#include "pg/schedule/schedule.h"

/* schedule.c */

/*
 * Raises 42501 unless the current user has the rights of the role of that name or
 * of the owner of the catalog; what and number are for the message.
 */
extern void br_pg_schedule_require(const char *role, int32 catalog, const char *what, int64 number);

/* cron.c: the entry in pg_cron */

/* Where pg_cron keeps its entries. */
typedef struct BrPgCron
{
	bool is_here;
	char *database; /* where it is not */
} BrPgCron;

/* Raises 55000, with what to do, where there is none, and 42501 where the user may not use it. */
extern BrPgCron br_pg_cron_find(void);

/* The name of a schedule's entry, of this database. */
extern char *br_pg_cron_name(int64 schedule);

/*
 * Makes the entry and returns its number; where pg_cron is elsewhere returns 0,
 * and *statement is what makes it there, of which a WARNING tells.
 */
extern int64 br_pg_cron_add(const BrPgCron *cron, int64 schedule, const char *expression,
							char **statement);

/* Removes an entry of a role, or warns that it is left, and how to remove it. */
extern void br_pg_cron_remove(const char *name, const char *role);

/* Removes the current user's entry where it can be reached; whether it was there. */
extern bool br_pg_cron_remove_own(const char *name);

/* tasks.c: what a schedule can do */

/* Raises 22023, or 22P02 for a value that is no number. */
extern void br_pg_tasks_check(char **tasks, int n, Jsonb *parameters);

/* What a run does, and how far its task is. */
typedef struct BrPgRun
{
	int64 schedule;
	char *catalog;
	char *role;
	char **tasks;
	int n_tasks;
	Jsonb *parameters;
	bool atomic;
	bool begun;		  /* the task has done a step */
	int64 texts_left; /* that a refresh may still embed */
} BrPgRun;

/* Does a step of a task; whether there is another one. */
extern bool br_pg_tasks_do(BrPgRun *run, const char *task);

/* alert.c */

/*
 * Raises an alert of a schedule's task, unless the schedule is gone; sqlstate may
 * be NULL. Returns its number, or 0.
 */
extern int64 br_pg_alert_raise(int64 schedule, const char *task, const char *sqlstate,
							   const char *message);

#endif /* BR_PG_SCHEDULE_INT_H */
