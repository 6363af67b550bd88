-- schedule.sql
--    Work on a catalog that pg_cron starts, and alerts about what failed.

CREATE SEQUENCE schedule_number;
COMMENT ON SEQUENCE schedule_number IS 'Numbers of schedules, never reused: what is left in pg_cron must not start another one';
CREATE SEQUENCE alert_number;
COMMENT ON SEQUENCE alert_number IS 'Numbers of alerts, never reused';

-- roles by name, as pg_cron knows them, so that both survive a dump
CREATE TABLE stored_schedule (
    schedule bigint PRIMARY KEY DEFAULT nextval('@extschema@.schedule_number'),
    catalog int NOT NULL,
    role name NOT NULL,
    cron text NOT NULL,
    tasks text[] NOT NULL,
    parameters jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    cron_name text NOT NULL DEFAULT '',
    cron_job bigint,
    cron_statement text,
    state text CHECK (state IN ('running', 'done', 'failed')),
    task text,
    runs bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    started_at timestamptz,
    finished_at timestamptz,
    message text
);
COMMENT ON TABLE stored_schedule IS 'One row per schedule: what is done for which catalog and when, and what came of its last run';

CREATE TABLE stored_alert (
    alert bigint PRIMARY KEY DEFAULT nextval('@extschema@.alert_number'),
    catalog int NOT NULL,
    role name NOT NULL,
    schedule bigint NOT NULL,
    job bigint,
    task text NOT NULL,
    sqlstate text,
    message text NOT NULL,
    raised_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    acknowledged_at timestamptz,
    acknowledged_by name
);
COMMENT ON TABLE stored_alert IS 'One row per failed run of a schedule, or job that it queued, or interruption of either; those that were acknowledged are forgotten after 90 days';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.schedule_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alert_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.stored_schedule', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.stored_alert', '');
REVOKE ALL ON SEQUENCE schedule_number, alert_number FROM PUBLIC;
REVOKE ALL ON TABLE stored_schedule, stored_alert FROM PUBLIC;

CREATE FUNCTION schedule(catalog text, cron text, tasks text[] DEFAULT '{refresh,fit,train,evaluate}',
                         parameters jsonb DEFAULT '{}')
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_schedule';
COMMENT ON FUNCTION schedule(text, text, text[], jsonb) IS
'Has pg_cron do tasks for a catalog whenever the cron expression says, one after the other, each in transactions of its own, and returns the number of the schedule. tasks: refresh, fit, fold (each policy of the catalog), train (queues a job), evaluate. parameters: an object for each task that wants other than defaults: {"refresh": {"max_texts"}, "fit": {"kind", "parameters"}, "train": {the arguments of train, and its parameters}, "evaluate": {"task", "split", "seeds", "baseline"}}. The first task that fails ends the run, leaves in service what is, and raises an alert. Runs with the rights of the current user, who must be able to log in. Where pg_cron is in another database, a WARNING has the statement to be run there. For the catalog''s owner. An error where an argument is NULL, or pg_cron is not there';

CREATE FUNCTION unschedule(schedule bigint) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_unschedule';
COMMENT ON FUNCTION unschedule(bigint) IS
'Ends a schedule, here and in pg_cron where that can be reached from here; a WARNING has the statement that is left to be run where it cannot. A run that is at work ends with its task. For who made it, and the catalog''s owner. An error where schedule is NULL';

CREATE PROCEDURE run_schedule(schedule bigint)
LANGUAGE C
AS 'MODULE_PATHNAME', 'br_run_schedule';
COMMENT ON PROCEDURE run_schedule(bigint) IS
'Does the tasks of a schedule now, as pg_cron does, and commits each; in a transaction block all are part of that transaction. A failed task is rolled back, raises an alert and ends the run with an error, in a transaction block with a WARNING. A NOTICE where the schedule is gone, a WARNING where it is at work already. With the caller''s rights; for who made the schedule, and the catalog''s owner. An error where schedule is NULL';

CREATE FUNCTION schedule_interrupted(schedule bigint, started_at timestamptz) RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'br_schedule_interrupted';
COMMENT ON FUNCTION schedule_interrupted(bigint, timestamptz) IS 'Whether a run of a schedule that was seen running, and began at that time, ended without saying so; always false on a standby; NULL if an argument is NULL';

CREATE FUNCTION acknowledge_alert(alert bigint) RETURNS boolean
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_acknowledge_alert';
COMMENT ON FUNCTION acknowledge_alert(bigint) IS
'Marks an alert as seen by the current user. False if it was already. For those who see it in the view alert. An error where alert is NULL';

CREATE VIEW schedules WITH (security_barrier) AS
SELECT s.schedule, c.name AS catalog, s.cron, s.tasks, s.parameters, s.role AS created_by, s.created_at,
       CASE WHEN s.state = 'running' AND @extschema@.schedule_interrupted(s.schedule, s.started_at) THEN 'interrupted'
            ELSE s.state END AS state,
       s.task, s.runs, s.skipped, s.started_at, s.finished_at, s.message,
       s.cron_name, s.cron_job, s.cron_statement
FROM @extschema@.stored_schedule s JOIN @extschema@.catalog c USING (catalog)
WHERE EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = s.role AND pg_catalog.pg_has_role(r.oid, 'USAGE'))
   OR EXISTS (SELECT FROM pg_catalog.pg_class i WHERE i.oid = c.items AND pg_catalog.pg_has_role(i.relowner, 'USAGE'));
COMMENT ON VIEW schedules IS 'Schedules and what came of their last runs, for those who made them and the owners of their catalogs; schedule and unschedule change them';
COMMENT ON COLUMN schedules.schedule IS 'Number of the schedule, as schedule returned it';
COMMENT ON COLUMN schedules.catalog IS 'Name of the catalog';
COMMENT ON COLUMN schedules.cron IS 'When it runs, as pg_cron reads it: in GMT, unless cron.timezone, where pg_cron has it, says otherwise';
COMMENT ON COLUMN schedules.tasks IS 'What is done, in that order';
COMMENT ON COLUMN schedules.parameters IS 'What tasks are told, by task';
COMMENT ON COLUMN schedules.created_by IS 'Role with whose rights it runs';
COMMENT ON COLUMN schedules.created_at IS 'When it was made';
COMMENT ON COLUMN schedules.state IS 'Of the last run: running, done or failed; or interrupted: it ended without saying so, in a crash, a restart or a lost connection. NULL: none has begun';
COMMENT ON COLUMN schedules.task IS 'The task that a run is at, or that failed; NULL otherwise';
COMMENT ON COLUMN schedules.runs IS 'Runs that have begun';
COMMENT ON COLUMN schedules.skipped IS 'Runs that did not begin because the one before was still at work';
COMMENT ON COLUMN schedules.started_at IS 'When the last run began';
COMMENT ON COLUMN schedules.finished_at IS 'When it ended, or the job failed that it had queued; NULL: it did not';
COMMENT ON COLUMN schedules.message IS 'SQLSTATE and error of what failed; NULL: nothing did';
COMMENT ON COLUMN schedules.cron_name IS 'Name of its entry in cron.job';
COMMENT ON COLUMN schedules.cron_job IS 'Number of that entry; NULL: pg_cron is in another database';
COMMENT ON COLUMN schedules.cron_statement IS 'What makes that entry, to be run by a superuser in the database of pg_cron; NULL: it is this one, and the entry was made';
GRANT SELECT ON schedules TO PUBLIC;

CREATE VIEW alert WITH (security_barrier) AS
SELECT a.alert, c.name AS catalog, a.schedule, a.job, a.task, a.sqlstate, a.message, a.raised_at,
       a.acknowledged_at, a.acknowledged_by
FROM @extschema@.stored_alert a JOIN @extschema@.catalog c USING (catalog)
WHERE EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = a.role AND pg_catalog.pg_has_role(r.oid, 'USAGE'))
   OR EXISTS (SELECT FROM pg_catalog.pg_class i WHERE i.oid = c.items AND pg_catalog.pg_has_role(i.relowner, 'USAGE'));
COMMENT ON VIEW alert IS 'What failed or was interrupted of schedules and of the jobs that they queued, for those who made them and the owners of their catalogs; each comes with a NOTIFY bundle_rec_alert, whose payload is its number';
COMMENT ON COLUMN alert.alert IS 'Number of the alert, for acknowledge_alert';
COMMENT ON COLUMN alert.catalog IS 'Name of the catalog';
COMMENT ON COLUMN alert.schedule IS 'Number of the schedule, which may have ended since';
COMMENT ON COLUMN alert.job IS 'Number of the job that failed or was interrupted, which a run of the schedule had queued; NULL: the run itself did';
COMMENT ON COLUMN alert.task IS 'What failed: a task of the schedule, or the kind of the job';
COMMENT ON COLUMN alert.sqlstate IS 'SQLSTATE of the error; NULL: a run, or the job, was interrupted';
COMMENT ON COLUMN alert.message IS 'The error';
COMMENT ON COLUMN alert.raised_at IS 'When it was raised';
COMMENT ON COLUMN alert.acknowledged_at IS 'When acknowledge_alert was called; NULL: it was not';
COMMENT ON COLUMN alert.acknowledged_by IS 'Who called it';
GRANT SELECT ON alert TO PUBLIC;
