-- learn.sql
--    What is learned from a catalog's events: versions of learners and rankers,
--    which of them are in service, and what they say of items and bundles.

CREATE SEQUENCE learned_version_number AS int;
COMMENT ON SEQUENCE learned_version_number IS 'Numbers of the versions of learners, never reused';

CREATE TABLE learned_version (
    version int PRIMARY KEY DEFAULT nextval('@extschema@.learned_version_number'),
    catalog int NOT NULL,
    kind text NOT NULL CHECK (kind <> ''),
    parameters jsonb NOT NULL,
    figures jsonb NOT NULL,
    weights double precision[],
    fitted_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    seconds double precision NOT NULL,
    events bigint NOT NULL DEFAULT 0,
    serving boolean NOT NULL
);
CREATE UNIQUE INDEX learned_version_serving ON learned_version (catalog, kind) WHERE serving;
COMMENT ON TABLE learned_version IS 'One row per version of a learner: what it was fitted with and to, its own weights, how many events refresh had ever counted then, and whether recommendations read it; only serving ever changes';

CREATE TABLE learned_list (
    catalog int NOT NULL,
    version int NOT NULL,
    item int NOT NULL,
    others int[] NOT NULL,
    weights real[] NOT NULL
);
COMMENT ON TABLE learned_list IS 'What a version says goes with an item, the strongest first, by numbers of items; of a learner of bundles, by numbers of bundles';

CREATE TABLE learned_vector (
    catalog int NOT NULL,
    version int NOT NULL,
    item int NOT NULL,
    vector real[] NOT NULL
);
COMMENT ON TABLE learned_vector IS 'The vector that a version gives an item, or a bundle; users have none that is stored';

CREATE TABLE learned_set (
    catalog int NOT NULL,
    version int NOT NULL,
    number int NOT NULL,
    items int[] NOT NULL,
    categories text[] NOT NULL,
    support bigint NOT NULL
);
COMMENT ON TABLE learned_set IS 'Items and categories that stand in so many baskets together';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.learned_version_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.learned_version', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.learned_list', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.learned_vector', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.learned_set', '');
REVOKE ALL ON SEQUENCE learned_version_number FROM PUBLIC;
REVOKE ALL ON TABLE learned_version, learned_list, learned_vector, learned_set FROM PUBLIC;

CREATE VIEW learner WITH (security_barrier) AS
SELECT c.name AS catalog, l.version, l.kind, l.serving, l.parameters, l.figures, l.fitted_at, l.seconds,
       s.events_counted - l.events AS events_since
FROM @extschema@.learned_version l JOIN @extschema@.catalog c USING (catalog) JOIN @extschema@.catalog_state s USING (catalog)
WHERE pg_catalog.has_table_privilege(c.items, 'SELECT');
COMMENT ON VIEW learner IS 'Versions of what was learned from the events of catalogs, for those who may SELECT from their source; fit makes them, serve_version and drop_version change what is in service';
COMMENT ON COLUMN learner.catalog IS 'Name of the catalog';
COMMENT ON COLUMN learner.version IS 'Number of the version; later ones are higher';
COMMENT ON COLUMN learner.kind IS 'What was learned, as fit names it';
COMMENT ON COLUMN learner.serving IS 'Whether recommendations read this version';
COMMENT ON COLUMN learner.parameters IS 'What it was fitted with, defaults included';
COMMENT ON COLUMN learner.figures IS 'What it was fitted to, and what came of it';
COMMENT ON COLUMN learner.fitted_at IS 'When the transaction that fitted it began';
COMMENT ON COLUMN learner.seconds IS 'How long fitting took';
COMMENT ON COLUMN learner.events_since IS 'Events that refresh has counted since; when they are a share bundle_rec.refit_share of all before, refresh queues a fit of the catalog';
GRANT SELECT ON learner TO PUBLIC;

CREATE FUNCTION fit(catalog text, kind text DEFAULT NULL, parameters jsonb DEFAULT NULL)
RETURNS TABLE (kind text, version int, seconds double precision, figures jsonb)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 10
AS 'MODULE_PATHNAME', 'br_fit';
COMMENT ON FUNCTION fit(text, text, jsonb) IS
'Learns from the events that refresh has counted, and puts what was learned into service when the transaction commits; one row per version. kind: popularity, association, ease, als, bpr, complement, lexical, itemsets, bundle_companions, bundle_association, bundle_ease, bundle_likeness, bundle_graph, detector, ranker or bundle_ranker; NULL: each that the data support, with a NOTICE for each that they do not. parameters: numbers by name, of one kind only; NULL: defaults. The three newest versions of each kind are kept. Memory is bounded by maintenance_work_mem where a learner needs much. For the catalog''s owner. An error where catalog is NULL';

CREATE FUNCTION fit_async(catalog text, kind text DEFAULT NULL, parameters jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_fit_async';
COMMENT ON FUNCTION fit_async(text, text, jsonb) IS
'Queues what fit does for a background worker, which begins when the transaction commits; returns the number of the job, which the view job shows. What was in service stays so until the whole is done. For the catalog''s owner, with whose rights it runs. An error where catalog is NULL';

CREATE FUNCTION serve_version(catalog text, version int) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_serve_version';
COMMENT ON FUNCTION serve_version(text, int) IS
'Puts a version that fit made into service in the place of the one of its kind that is. For the catalog''s owner. An error where an argument is NULL';

CREATE FUNCTION drop_version(catalog text, version int) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_drop_version';
COMMENT ON FUNCTION drop_version(text, int) IS
'Drops a version that fit made; if it was in service, nothing of its kind is from then on. For the catalog''s owner. An error where an argument is NULL';

CREATE FUNCTION fit_progress_rows()
RETURNS TABLE (pid int, catalog int, kind text, done bigint, total bigint)
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 5
AS 'MODULE_PATHNAME', 'br_fit_progress_rows';
COMMENT ON FUNCTION fit_progress_rows() IS 'Rows of the view fit_progress, with numbers of catalogs';

CREATE VIEW fit_progress WITH (security_barrier) AS
SELECT p.pid, c.name AS catalog, p.kind, p.done, p.total,
       CASE WHEN p.total > 0 THEN 100.0 * p.done / p.total END::double precision AS percent
FROM @extschema@.fit_progress_rows() p JOIN @extschema@.catalog c USING (catalog);
COMMENT ON VIEW fit_progress IS 'Fits that are under way in this database, in sessions and workers, for those who run them and the owners of their catalogs';
COMMENT ON COLUMN fit_progress.pid IS 'Process that fits';
COMMENT ON COLUMN fit_progress.catalog IS 'Name of the catalog';
COMMENT ON COLUMN fit_progress.kind IS 'The learner that is being fitted';
COMMENT ON COLUMN fit_progress.done IS 'Steps that it has taken: sweeps, epochs, items or whatever it counts';
COMMENT ON COLUMN fit_progress.total IS 'Steps that it will take; 0 before it knows';
COMMENT ON COLUMN fit_progress.percent IS 'The same as a percentage; NULL before it knows';
GRANT SELECT ON fit_progress TO PUBLIC;
