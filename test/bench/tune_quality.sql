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

-- TF-IDF as scikit-learn has it: words of two letters or more, counts times 1 + ln((1 + n) / (1 + df)), length 1
CREATE TABLE word AS
    WITH counted AS (SELECT id, w[1] AS word, count(*) AS times FROM product, regexp_matches(lower(title), '\w\w+', 'g') w GROUP BY 1, 2),
    known AS (SELECT word, 1 + ln((1 + (SELECT count(*) FROM product)) / (1 + count(*))::float8) AS rarity FROM counted GROUP BY 1)
    SELECT id, word, times * rarity / sqrt(sum((times * rarity) ^ 2) OVER (PARTITION BY id)) AS weight FROM counted JOIN known USING (word);
CREATE INDEX ON word (word) INCLUDE (id, weight);
ANALYZE word;

-- the chance that a hidden member is among the first ten: by the encoder alone, by TF-IDF alone, by the sum of their standard scores
CREATE TABLE answer (seed int, model text, session text, bundle text, id text, encoder float8, lexical float8, fused float8);
CREATE TABLE figure (seed int, model text, method text, value float8, error float8, cases bigint, difference float8, difference_error float8);

CREATE FUNCTION first_ten(better bigint, equal bigint) RETURNS float8 LANGUAGE sql IMMUTABLE
AS $$SELECT least(greatest((10 - better) / equal::float8, 0), 1)$$;

CREATE FUNCTION hits(of_model text, of_seed int)
RETURNS TABLE (session text, bundle text, id text, encoder float8, lexical float8, fused float8) LANGUAGE sql VOLATILE SET work_mem = '256MB' AS $$
    WITH e AS MATERIALIZED (SELECT p.id, bundle_rec.embed(p.title, of_model) AS v FROM tuned.product p),
    asked AS MATERIALIZED (SELECT session, bundle, id FROM tuned.bundled WHERE tuned.is_tested(session, of_seed)
                           AND bundle IN (SELECT bundle FROM tuned.bundled GROUP BY bundle HAVING count(*) > 1)),
    rest AS MATERIALIZED (SELECT a.session, a.bundle, a.id, array_agg(b.id) AS others, array_agg(v) AS vs
                          FROM asked a JOIN tuned.member b ON b.bundle = a.bundle AND b.id <> a.id JOIN e ON e.id = b.id GROUP BY 1, 2, 3),
    shared AS (SELECT r.session, r.bundle, r.id, w.id AS other, sum(m.weight * w.weight) AS score
               FROM rest r JOIN tuned.word m ON m.id = ANY (r.others) JOIN tuned.word w USING (word) GROUP BY 1, 2, 3, 4),
    scored AS (SELECT r.session, r.bundle, r.id, e.id AS other, (SELECT -sum(e.v OPERATOR(bundle_rec.<=>) x) FROM unnest(r.vs) x) AS encoder,
                      coalesce(s.score, 0) AS lexical
               FROM rest r JOIN e ON e.id <> ALL (r.others) LEFT JOIN shared s ON s.session = r.session AND s.bundle = r.bundle AND s.id = r.id AND s.other = e.id),
    standard AS (SELECT session, bundle, id, avg(encoder) AS e, stddev_pop(encoder) AS e_scale, avg(lexical) AS l, nullif(stddev_pop(lexical), 0) AS l_scale
                 FROM scored GROUP BY 1, 2, 3),
    fused AS (SELECT s.*, (encoder - e) / e_scale + coalesce((lexical - l) / l_scale, 0) AS fused FROM scored s JOIN standard USING (session, bundle, id)),
    own AS (SELECT * FROM fused WHERE other = id)
    SELECT f.session, f.bundle, f.id,
           tuned.first_ten(count(*) FILTER (WHERE f.encoder > o.encoder), count(*) FILTER (WHERE f.encoder = o.encoder)),
           tuned.first_ten(count(*) FILTER (WHERE f.lexical > o.lexical), count(*) FILTER (WHERE f.lexical = o.lexical)),
           tuned.first_ten(count(*) FILTER (WHERE f.fused > o.fused), count(*) FILTER (WHERE f.fused = o.fused))
    FROM fused f JOIN own o USING (session, bundle, id) GROUP BY 1, 2, 3 $$;

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
