-- job.sql
--    Work that goes on in the background after the caller's transaction.

CREATE SEQUENCE job_number;
COMMENT ON SEQUENCE job_number IS 'Numbers of jobs, never reused';

CREATE TABLE stored_job (
    job bigint PRIMARY KEY DEFAULT nextval('@extschema@.job_number'),
    kind text NOT NULL CHECK (kind IN ('refresh', 'fit', 'train')),
    catalog int NOT NULL,
    role oid NOT NULL,
    max_texts int CHECK (max_texts >= 0),
    learner text,
    parameters jsonb,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    phase text,
    done bigint NOT NULL DEFAULT 0,
    total bigint,
    rejected bigint NOT NULL DEFAULT 0,
    rate double precision,
    loss double precision,
    learning_rate double precision,
    eta timestamptz,
    model text,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    started_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished_at timestamptz,
    message text,
    schedule bigint
);
COMMENT ON TABLE stored_job IS 'One row per job: what is to be done, with the rights of which role, and how far it is; those that ended are forgotten after 30 days';

CREATE UNIQUE INDEX stored_job_training ON stored_job (catalog) WHERE kind = 'train' AND state IN ('queued', 'running');
COMMENT ON INDEX stored_job_training IS 'A catalog has one training at a time';

-- No row is dumped: it names a role of this server by its number, and what a
-- restored catalog lacks, its next refresh makes good without it.
SELECT pg_catalog.pg_extension_config_dump('@extschema@.job_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.stored_job', 'WHERE false');
REVOKE ALL ON SEQUENCE job_number FROM PUBLIC;
REVOKE ALL ON TABLE stored_job FROM PUBLIC;

CREATE FUNCTION refresh_async(catalog text, max_texts int DEFAULT NULL) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_refresh_async';
COMMENT ON FUNCTION refresh_async(text, int) IS
'Queues what refresh does for a background worker, which begins when the transaction commits and works in steps of some seconds, each committed by itself; returns the number of the job, which the view job shows. At most max_texts texts are embedded, NULL: all. For the catalog''s owner, with whose rights it runs. An error where catalog is NULL';

CREATE FUNCTION cancel_job(job bigint) RETURNS boolean
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_cancel_job';
COMMENT ON FUNCTION cancel_job(bigint) IS
'Ends a job that is queued or at work; what its steps have committed stays. True if it had not ended already. For who queued it, and the catalog''s owner. An error where job is NULL';

CREATE FUNCTION resume_job(job bigint) RETURNS boolean
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_resume_job';
COMMENT ON FUNCTION resume_job(bigint) IS
'Queues a job again that was cancelled, failed or was interrupted: when the transaction commits it goes on with what is left. False if it is at work or done. For who queued it, and the catalog''s owner. An error where job is NULL';

CREATE FUNCTION run_jobs() RETURNS int
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_run_jobs';
COMMENT ON FUNCTION run_jobs() IS
'Starts a background worker for each job of this database that is queued or was interrupted, of those that the caller may cancel: after a restart, or where no worker was free. Returns how many were started; a WARNING tells of those for which none is free now';

CREATE FUNCTION job_worker(job bigint) RETURNS int
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'br_job_worker';
COMMENT ON FUNCTION job_worker(bigint) IS 'Process id of the background worker that is at work on a job; NULL where there is none, or the job is NULL';

CREATE FUNCTION job_interrupted(job bigint, updated_at timestamptz) RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 1000
AS 'MODULE_PATHNAME', 'br_job_interrupted';
COMMENT ON FUNCTION job_interrupted(bigint, timestamptz) IS 'Whether a job that was seen running, when its row had that time, has lost its worker; always false on a standby; NULL if an argument is NULL';

CREATE VIEW job WITH (security_barrier) AS
SELECT j.job, j.kind, j.learner, c.name AS catalog, s.state,
       j.phase, j.done, j.total, j.rejected, j.rate, j.loss, j.learning_rate,
       CASE WHEN j.state = 'running' THEN j.eta END AS eta, j.model, j.max_texts,
       pg_catalog.pg_get_userbyid(j.role) AS created_by,
       j.created_at, j.started_at, j.updated_at, j.finished_at,
       CASE WHEN j.state = 'running' THEN @extschema@.job_worker(j.job) END AS pid,
       CASE s.state WHEN 'queued' THEN pg_catalog.format('no worker has begun it: run_jobs() starts one where max_worker_processes, which is %s, leaves room',
                                                         pg_catalog.current_setting('max_worker_processes'))
            WHEN 'interrupted' THEN pg_catalog.format('its worker ended without saying so: run_jobs() or resume_job(%s) goes on with it', j.job)
            ELSE j.message END AS message
FROM @extschema@.stored_job j JOIN @extschema@.catalog c USING (catalog),
     -- asked once a row: state and message must not differ
     LATERAL (SELECT CASE WHEN j.state = 'running' AND @extschema@.job_interrupted(j.job, j.updated_at) THEN 'interrupted' ELSE j.state END AS state
              OFFSET 0) s
WHERE pg_catalog.pg_has_role(j.role, 'USAGE')
   OR EXISTS (SELECT FROM pg_catalog.pg_class i WHERE i.oid = c.items AND pg_catalog.pg_has_role(i.relowner, 'USAGE'));
COMMENT ON VIEW job IS 'Jobs of the background worker, for those who queued them and the owners of their catalogs; refresh_async, fit_async, train, cancel_job, resume_job and run_jobs change them';
COMMENT ON COLUMN job.job IS 'Number of the job, as refresh_async, fit_async or train returned it';
COMMENT ON COLUMN job.kind IS 'What is done: refresh, fit or train';
COMMENT ON COLUMN job.learner IS 'What a fit learns, as fit names it; NULL: all that the data support, and of other kinds of jobs';
COMMENT ON COLUMN job.catalog IS 'Name of the catalog';
COMMENT ON COLUMN job.state IS 'queued, running, done, failed or cancelled; or interrupted: the worker ended without saying so, in a crash or a restart';
COMMENT ON COLUMN job.phase IS 'What a running job does: fitting, counting events, embedding, moving to another model, or waiting for rows that other transactions hold; of a training reading, training, storing or asking the gate; NULL otherwise';
COMMENT ON COLUMN job.done IS 'Texts that were embedded, or set aside; of a fit, learners that were fitted; of a training, steps, those of earlier seeds included';
COMMENT ON COLUMN job.total IS 'The same and those that wait, as of the last step; of a training, steps in all, if it does not stop early; NULL before the first';
COMMENT ON COLUMN job.rejected IS 'Items that were set aside because their text cannot be embedded, as rejected_row lists them';
COMMENT ON COLUMN job.rate IS 'Texts per second that the last step embedded, of a training tokens per second; NULL before the first';
COMMENT ON COLUMN job.loss IS 'Of a training, the mean loss of its latest steps; NULL before, and of other kinds of jobs';
COMMENT ON COLUMN job.learning_rate IS 'Of a training, the rate of its latest step; NULL before, and of other kinds of jobs';
COMMENT ON COLUMN job.eta IS 'Of a training that is running, when it will be done if it goes on as it does and does not stop early; NULL where that cannot be said';
COMMENT ON COLUMN job.model IS 'Of a training that is done, the name of the model that it stored; NULL otherwise';
COMMENT ON COLUMN job.max_texts IS 'Texts that the job may embed; NULL: all';
COMMENT ON COLUMN job.created_by IS 'Role with whose rights the job runs: who queued it';
COMMENT ON COLUMN job.created_at IS 'When the job was queued';
COMMENT ON COLUMN job.started_at IS 'When a worker first began it; NULL: none has';
COMMENT ON COLUMN job.updated_at IS 'When anything of this changed last';
COMMENT ON COLUMN job.finished_at IS 'When it was done, failed or was cancelled; NULL: it was not';
COMMENT ON COLUMN job.pid IS 'Process id of the worker; NULL where none is at work';
COMMENT ON COLUMN job.message IS 'The error of a failed job, what a job that is done left undone, or why one that is queued or interrupted does not go on, and what starts it; NULL where there is nothing to say';
GRANT SELECT ON job TO PUBLIC;
