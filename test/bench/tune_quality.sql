-- tune_quality.sql
--    The catalog of tune_quality.sh, and how a model is asked about a split.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION bundle_rec;
CREATE SCHEMA tuned;
SET search_path = tuned, bundle_rec, public;
SELECT load_model('minilm', :'model_dir') \g /dev/null
\set titles :data_dir '/bundlerec_electronic/item_titles.csv'
\set members :data_dir '/bundlerec_electronic/bundle_item.csv'
\set sessions :data_dir '/bundlerec_electronic/session_bundle.csv'
CREATE TABLE product (id text PRIMARY KEY, title text NOT NULL);
CREATE TABLE member (bundle text, id text, PRIMARY KEY (bundle, id));
CREATE TABLE session (session text, bundle text);
COPY product FROM :'titles' (FORMAT csv, HEADER);
COPY member FROM :'members' (FORMAT csv, HEADER);
COPY session FROM :'sessions' (FORMAT csv, HEADER);
CREATE VIEW bundled AS SELECT session, bundle, id FROM session JOIN member USING (bundle) JOIN product USING (id);
SELECT create_catalog('shop', 'product', item_id => 'id', text => '{title}', model => 'minilm') \g /dev/null
SELECT add_event_source('shop', 'bundled', user_id => 'session', basket_id => 'bundle', item_id => 'id') \g /dev/null
SELECT sync('shop') \g /dev/null
SELECT refresh('shop') \g /dev/null

CREATE FUNCTION is_tested(session text, seed int) RETURNS boolean LANGUAGE sql IMMUTABLE
AS $$SELECT ('x' || left(md5(session || seed), 8))::bit(32)::bigint % 5 = 0$$;

-- the chance that a hidden member is among the first ten
CREATE TABLE answer (seed int, model text, session text, bundle text, id text, hit float8);
CREATE TABLE figure (seed int, model text, method text, value float8, error float8, cases bigint, difference float8, difference_error float8);

CREATE FUNCTION hits(of_model text, of_seed int)
RETURNS TABLE (session text, bundle text, id text, hit float8) LANGUAGE sql VOLATILE SET work_mem = '256MB' AS $$
    WITH e AS MATERIALIZED (SELECT p.id, bundle_rec.embed(p.title, of_model) AS v FROM tuned.product p),
    asked AS MATERIALIZED (SELECT session, bundle, id FROM tuned.bundled WHERE tuned.is_tested(session, of_seed)
                           AND bundle IN (SELECT bundle FROM tuned.bundled GROUP BY bundle HAVING count(*) > 1)),
    rest AS (SELECT a.session, a.bundle, a.id, array_agg(b.id) AS others, array_agg(v) AS vs
             FROM asked a JOIN tuned.member b ON b.bundle = a.bundle AND b.id <> a.id JOIN e ON e.id = b.id GROUP BY 1, 2, 3),
    scored AS (SELECT r.session, r.bundle, r.id, e.id AS other, (SELECT sum(e.v OPERATOR(bundle_rec.<=>) x) FROM unnest(r.vs) x) AS distance
               FROM rest r JOIN e ON e.id <> ALL (r.others)),
    own AS (SELECT session, bundle, id, distance FROM scored WHERE other = id)
    SELECT s.session, s.bundle, s.id,
           least(greatest((10 - count(*) FILTER (WHERE s.distance < o.distance)) / count(*) FILTER (WHERE s.distance = o.distance)::float8, 0), 1)
    FROM scored s JOIN own o USING (session, bundle, id) GROUP BY 1, 2, 3 $$;

CREATE PROCEDURE ask(model text, seed int) LANGUAGE sql AS $$
    INSERT INTO tuned.answer SELECT seed, 'minilm', h.* FROM tuned.hits('minilm', seed) h;
    INSERT INTO tuned.answer SELECT seed, 'trained', h.* FROM tuned.hits(model, seed) h $$;

CREATE PROCEDURE serve(of_model text) LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT c.model FROM bundle_rec.catalog_coverage c WHERE c.catalog = 'shop') <> of_model THEN
        PERFORM bundle_rec.alter_catalog('shop', model => of_model);
        PERFORM bundle_rec.refresh('shop');
    END IF;
END $$;

CREATE PROCEDURE evaluate(of_model text, of_seed int) LANGUAGE plpgsql AS $$
BEGIN
    CALL tuned.serve(of_model);
    INSERT INTO tuned.figure SELECT of_seed, CASE of_model WHEN 'minilm' THEN of_model ELSE 'trained' END, e.method, e.value, e.standard_error, e.cases,
        e.difference, e.difference_error
    FROM bundle_rec.evaluate('shop', 'completion', 'user', seeds => 1, k => '{10}', baseline => 'tf_idf', first_seed => of_seed) e WHERE e.metric = 'hit_rate';
END $$;
