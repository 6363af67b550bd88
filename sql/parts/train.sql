-- train.sql
--    Models that are fine-tuned on what a shop sells, by a background worker.

CREATE TABLE stored_training (
    job bigint PRIMARY KEY,
    objective text NOT NULL,
    method text NOT NULL,
    query text,
    search_path text NOT NULL,
    model_name text,
    promote boolean NOT NULL,
    parent int NOT NULL,
    sha256 bytea,
    data jsonb,
    learned_until timestamptz,
    computed_by text[] NOT NULL DEFAULT '{}',
    seeds_done int NOT NULL DEFAULT 0,
    best_seed int,
    best_figure double precision
);
COMMENT ON TABLE stored_training IS 'One row per job that trains: what is trained, and once it is read, what it learns from';

-- TOAST compresses it
CREATE TABLE job_data (
    job bigint,
    chunk int,
    contents bytea NOT NULL,
    PRIMARY KEY (job, chunk)
);
COMMENT ON TABLE job_data IS 'What a training learns from, as one snapshot saw it: token ids and examples; gone when the job is done';

-- weights and moments do not shrink
CREATE TABLE job_checkpoint (
    job bigint,
    seed int,
    step bigint,
    chunk int,
    contents bytea NOT NULL,
    PRIMARY KEY (job, seed, step, chunk)
);
ALTER TABLE job_checkpoint ALTER contents SET STORAGE EXTERNAL;
COMMENT ON TABLE job_checkpoint IS 'All that a training would go on from after a crash, the latest two of each; at step -1 the model of the best seed that has ended. Gone when the job is done';

CREATE TABLE stored_job_metric (
    job bigint,
    seed int,
    step bigint,
    seconds double precision NOT NULL,
    epoch double precision NOT NULL,
    loss double precision,
    learning_rate double precision NOT NULL,
    gradient double precision,
    tokens_per_second double precision,
    validation double precision,
    validation_loss double precision,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (job, seed, step)
);
COMMENT ON TABLE stored_job_metric IS 'How far a training was at some of its steps';

-- as the jobs that they belong to, they are not dumped
SELECT pg_catalog.pg_extension_config_dump('@extschema@.stored_training', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.job_data', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.job_checkpoint', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.stored_job_metric', 'WHERE false');
REVOKE ALL ON TABLE stored_training, job_data, job_checkpoint, stored_job_metric FROM PUBLIC;

CREATE FUNCTION train(catalog text, objective text DEFAULT 'sets', method text DEFAULT 'full', query text DEFAULT NULL,
                      model_name text DEFAULT NULL, parameters jsonb DEFAULT '{}', promote boolean DEFAULT false)
RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_train';
COMMENT ON FUNCTION train(text, text, text, text, text, jsonb, boolean) IS
'Queues the fine-tuning of the catalog''s model for a background worker, which begins when the transaction commits, and returns the number of the job. A new model comes of it, named model_name, or after its parent, the catalog and the job; the catalog keeps its own until it is promoted. objective: sets, contrastive, triplet, score, text_classes, pair_classes, masked_words, next_sentence or distillation; method: full, lora, adalora, bottleneck or prefix; models with bottlenecks or a prefix are served as they are, on the processor, and not trained further. Without a query it learns from items that were bought together, by sets to complete a bundle or basket from the rest of it, by contrastive from pairs, or of masked_words, next_sentence and distillation from the items'' texts; with one, from its rows, whose columns are anchor, positive and perhaps negative (contrastive, triplet), a, b and score, a, b and label, text and label, set and text, document and text, or text, and occurred_at where the time of what was seen is known. It is run once, by the worker, read-only and as who queued it. parameters: holdout, validation, seeds, pairs, source, classes, teacher and those of the optimiser. promote: asks the gate at the end. For the catalog''s owner. An error where catalog, objective, method or promote is NULL, where a training of the catalog has not ended, and for what is wrong with an argument';

CREATE VIEW job_metric WITH (security_barrier) AS
SELECT m.job, m.seed, m.step, m.seconds, m.epoch, m.loss, m.learning_rate, m.gradient, m.tokens_per_second, m.validation,
       m.validation_loss, m.recorded_at
FROM @extschema@.stored_job_metric m
WHERE EXISTS (SELECT FROM @extschema@.job j WHERE j.job = m.job);
COMMENT ON VIEW job_metric IS 'How trainings went, a row a second and one where validation said something, for those who see them in the view job';
COMMENT ON COLUMN job_metric.job IS 'Number of the job';
COMMENT ON COLUMN job_metric.seed IS 'Which of the seeds of the job, from 0';
COMMENT ON COLUMN job_metric.step IS 'The step that the row ends with, from 1 in each seed';
COMMENT ON COLUMN job_metric.seconds IS 'Seconds of computing up to there, in this seed';
COMMENT ON COLUMN job_metric.epoch IS 'Which pass over the examples the step is of, from 1';
COMMENT ON COLUMN job_metric.loss IS 'Mean loss of the steps since the row before';
COMMENT ON COLUMN job_metric.learning_rate IS 'Rate of the step';
COMMENT ON COLUMN job_metric.gradient IS 'Length of the gradient of the step, before clipping';
COMMENT ON COLUMN job_metric.tokens_per_second IS 'Tokens that were learned from per second since the row before, validation and mining included in the time';
COMMENT ON COLUMN job_metric.validation IS 'What validation said after the step, more is better: of sets and contrastive the mean reciprocal rank of what belongs there, of triplet the share whose partner is nearer, of score Spearman''s correlation, of classes and next_sentence the share of right answers, else the loss with the other sign; NULL where there was none';
COMMENT ON COLUMN job_metric.validation_loss IS 'Mean loss of the validation examples after the step; NULL where there was no validation';
COMMENT ON COLUMN job_metric.recorded_at IS 'When the row was written';
GRANT SELECT ON job_metric TO PUBLIC;

CREATE FUNCTION plot_job(job bigint, width integer DEFAULT 720, height integer DEFAULT NULL) RETURNS text
LANGUAGE SQL STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
RETURN (SELECT @extschema@.plot_series(pg_catalog.format(
    'SELECT m.step AS x, v.y, v.series FROM @extschema@.job_metric m, LATERAL (VALUES (''loss'' || CASE WHEN %2$L THEN '', seed '' || m.seed ELSE '''' END, m.loss),
        (''validation loss'' || CASE WHEN %2$L THEN '', seed '' || m.seed ELSE '''' END, m.validation_loss)) v (series, y)
     WHERE m.job = %1$s AND v.y IS NOT NULL ORDER BY m.seed, v.series, m.step', plot_job.job, pg_catalog.max(m.seed) > 0),
    'job ' || plot_job.job, 'step', 'loss', plot_job.width, plot_job.height)
    FROM @extschema@.job_metric m WHERE m.job = plot_job.job HAVING pg_catalog.count(*) > 0);
COMMENT ON FUNCTION plot_job(bigint, integer, integer) IS
'An SVG of the losses of a training and of its validation over its steps, so far; NULL where the caller sees no figures of such a job, or job is NULL. An error where width is NULL';
