-- harness.sql
--    Which learner finds what was hidden: evaluation over a catalog's own events,
--    and what came of it so far.

CREATE SEQUENCE evaluation_number;
COMMENT ON SEQUENCE evaluation_number IS 'Numbers of evaluations';

CREATE TABLE stored_evaluation (
    evaluation bigint NOT NULL,
    catalog int NOT NULL,
    task text NOT NULL,
    split text NOT NULL,
    seeds int NOT NULL,
    first_seed int NOT NULL,
    method text NOT NULL,
    metric text NOT NULL,
    k int,
    value double precision NOT NULL,
    standard_error double precision,
    cases bigint NOT NULL,
    versions jsonb NOT NULL,
    evaluated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
-- rows without a key can be deleted all the same where somebody publishes all tables
ALTER TABLE stored_evaluation REPLICA IDENTITY FULL;
CREATE INDEX stored_evaluation_catalog ON stored_evaluation (catalog, task, evaluation);
COMMENT ON TABLE stored_evaluation IS 'What evaluate found, a row per method and metric, with the versions of learners that were in service then';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.evaluation_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.stored_evaluation', '');
REVOKE ALL ON SEQUENCE evaluation_number FROM PUBLIC;
REVOKE ALL ON TABLE stored_evaluation FROM PUBLIC;

CREATE FUNCTION evaluate(catalog text, task text, split text DEFAULT NULL, seeds int DEFAULT 10,
                         k int[] DEFAULT '{1,5,10}', baseline text DEFAULT NULL, first_seed int DEFAULT 0)
RETURNS TABLE (method text, metric text, k int, value double precision, standard_error double precision,
               cases bigint, difference double precision, difference_error double precision)
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000000 ROWS 100
AS 'MODULE_PATHNAME', 'br_evaluate';
COMMENT ON FUNCTION evaluate(text, text, text, int, int[], text, int) IS
'How well each learner, and the ranker over them, finds what is hidden from it, for a catalog''s own events. task: completion (one item of a set), next_item (the last of a user), bundle (one curated bundle of each buyer), cold_bundle (a fifth of the bundles is never bought in training; figures are means over bundles) or detection (which of a session''s items were bundled). split: session (basket_id; what test sessions bundled is unknown in training), user, basket or time; NULL: user where any is known, else basket; bundle and cold_bundle split as their tasks say. Everything is fitted anew to each training part, for each of so many seeds: a unit is tested where the first 8 hexadecimal digits of md5(id || seed) are 0 modulo 5, seed being first_seed and the numbers that follow, as text. Ties take the expected rank. metric: hit_rate, ndcg, mrr, or of the first ten shown popularity, coverage and gini; of detection, as means over sessions, exact, the share of a session''s bundles that are named exactly, and f1, the harmonic mean of the best Jaccard indexes of what is named and of the bundles; a session is a basket with items, and its bundles those bought under the same basket_id, whichever source says so, whose items it holds. standard_error and difference, from the baseline case by case, are clustered by unit. baseline NULL: popularity; whole for detection. Rows go to the view leaderboard where the transaction may write. For the catalog''s owner. An error where catalog, task, seeds, k or first_seed is NULL';

CREATE VIEW leaderboard WITH (security_barrier) AS
SELECT c.name AS catalog, e.task, e.split, e.metric, e.k, e.method, e.value, e.standard_error, e.cases, e.seeds, e.first_seed,
       pg_catalog.rank() OVER (PARTITION BY e.evaluation, e.metric, e.k ORDER BY e.value DESC) AS place,
       e.evaluation, e.versions, e.evaluated_at
FROM @extschema@.stored_evaluation e JOIN @extschema@.catalog c USING (catalog)
WHERE pg_catalog.has_table_privilege(c.items, 'SELECT');
COMMENT ON VIEW leaderboard IS 'What evaluate found, for those who may SELECT from the catalog''s source; place 1 has the highest value of its evaluation, metric and k';
COMMENT ON COLUMN leaderboard.catalog IS 'Name of the catalog';
COMMENT ON COLUMN leaderboard.task IS 'What was asked for';
COMMENT ON COLUMN leaderboard.split IS 'How training and test were parted';
COMMENT ON COLUMN leaderboard.metric IS 'What was measured';
COMMENT ON COLUMN leaderboard.k IS 'Places that count; NULL: all';
COMMENT ON COLUMN leaderboard.method IS 'Learner, ranker or baseline';
COMMENT ON COLUMN leaderboard.value IS 'Mean over cases';
COMMENT ON COLUMN leaderboard.standard_error IS 'Of that mean, clustered; NULL where it is none';
COMMENT ON COLUMN leaderboard.cases IS 'Cases, of all seeds';
COMMENT ON COLUMN leaderboard.seeds IS 'Splits that were pooled';
COMMENT ON COLUMN leaderboard.first_seed IS 'Seed of the first of them';
COMMENT ON COLUMN leaderboard.place IS 'Rank by value';
COMMENT ON COLUMN leaderboard.evaluation IS 'Number of the call of evaluate';
COMMENT ON COLUMN leaderboard.versions IS 'Versions of learners that were in service then, by kind';
COMMENT ON COLUMN leaderboard.evaluated_at IS 'When the transaction of that call began';
GRANT SELECT ON leaderboard TO PUBLIC;
