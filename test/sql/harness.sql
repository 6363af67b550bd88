\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/learning_shop.sql
--
-- harness.sql
--    What evaluate measures, beside plain SQL over the same splits; what a test
--    part may not tell the training part; and what is written down.
--
SELECT plan(81);
SET client_min_messages = warning;
-- the same events without texts, which take longest: baskets of nobody, and of shoppers
SELECT create_catalog('baskets', 'shop.product', item_id => 'sku') \g /dev/null
SELECT add_event_source('baskets', 'shop.purchase', item_id => 'sku', basket_id => 'receipt', occurred_at => 'at') \g /dev/null
SELECT create_catalog('shoppers', 'shop.product', item_id => 'sku') \g /dev/null
SELECT add_event_source('shoppers', 'shop.purchase', item_id => 'sku', basket_id => 'receipt', user_id => 'shopper', occurred_at => 'at') \g /dev/null
SELECT create_catalog('kits', 'shop.product', item_id => 'sku') \g /dev/null
SELECT add_bundle_source('kits', 'shop.kit', bundle_id => 'kit', item_id => 'sku') \g /dev/null
SELECT add_event_source('kits', 'shop.kit_purchase', user_id => 'shopper', bundle_id => 'kit') \g /dev/null
SELECT refresh(c) FROM unnest(ARRAY['baskets', 'shoppers', 'kits']) c \g /dev/null

---- baskets that lack an item ----

-- the first 8 digits of a hash as a number
CREATE FUNCTION shop.hash(id text, seed int) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$SELECT ('x' || substr(md5(id || seed), 1, 8))::bit(32)::bigint$$;
CREATE TABLE shop.numbered AS SELECT i.item, i.item_id::text COLLATE "default" AS sku FROM item i JOIN catalog c USING (catalog) WHERE c.name = 'baskets';

/*
 * Each test basket without the item that a hash names, and for every product that
 * is not left in it what two methods say, from the baskets of training alone. A
 * score is added up as single-precision numbers, so that ties are the same ones.
 */
CREATE FUNCTION shop.scores(by_shopper boolean, seeds int)
RETURNS TABLE (seed int, unit text, receipt int, item int, hidden boolean, trained bigint, popularity real, confidence real) LANGUAGE sql AS $$
WITH line AS MATERIALIZED (SELECT seed, receipt, n.item, CASE WHEN by_shopper THEN shopper ELSE receipt::text END AS unit,
         shop.hash(CASE WHEN by_shopper THEN shopper ELSE receipt::text END, seed) % 5 = 0 AS tested
         FROM shop.purchase JOIN shop.numbered n USING (sku), generate_series(0, seeds - 1) seed),
     train AS MATERIALIZED (SELECT * FROM line WHERE NOT tested),
     bought AS (SELECT seed, item, count(*) AS baskets FROM train GROUP BY 1, 2),
     pair AS MATERIALIZED (SELECT a.seed, a.item, b.item AS other, (count(*)::float8 / min(baskets))::real AS weight FROM train a JOIN train b USING (seed, receipt)
         JOIN bought n ON n.seed = a.seed AND n.item = a.item WHERE a.item <> b.item GROUP BY 1, 2, 3),
     basket AS MATERIALIZED (SELECT seed, unit, receipt, array_agg(item ORDER BY item) AS items FROM line WHERE tested GROUP BY 1, 2, 3 HAVING count(*) > 1),
     asked AS (SELECT *, items[1 + shop.hash(receipt::text, seed) % cardinality(items)] AS hidden FROM basket),
     candidate AS (SELECT a.*, n.item, array_remove(a.items, a.hidden) AS context FROM asked a JOIN shop.numbered n ON n.item = a.hidden OR n.item <> ALL (a.items))
SELECT seed, unit, receipt, c.item, c.item = hidden, coalesce(b.baskets, 0), coalesce(b.baskets, 0)::real,
       coalesce((SELECT sum(p.weight / cardinality(context)::real ORDER BY p.item) FROM pair p WHERE p.seed = c.seed AND p.item = ANY (context) AND p.other = c.item), 0::real)
FROM candidate c LEFT JOIN bought b USING (seed, item) $$;
CREATE TABLE shop.basket_score AS SELECT * FROM shop.scores(false, 3);
CREATE TABLE shop.shopper_score AS SELECT * FROM shop.scores(true, 2);

-- where the hidden item stands: how many are above it, and how many beside it, itself among them
CREATE FUNCTION shop.places(scores regclass) RETURNS TABLE (method text, seed int, unit text, receipt int, above float8, equal float8) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT m.method, s.seed, s.unit, s.receipt, count(*) FILTER (WHERE m.score > m.own)::float8, count(*) FILTER (WHERE m.score = m.own)::float8
        FROM (SELECT *, max(popularity) FILTER (WHERE hidden) OVER w AS p, max(confidence) FILTER (WHERE hidden) OVER w AS c FROM %s WINDOW w AS (PARTITION BY seed, receipt)) s,
        LATERAL (VALUES (''popularity'', s.popularity, s.p), (''confidence'', s.confidence, s.c)) m(method, score, own) GROUP BY 1, 2, 3, 4', scores);
END $$;
CREATE FUNCTION shop.values_of(scores regclass) RETURNS TABLE (method text, metric text, k int, seed int, unit text, receipt int, value float8) LANGUAGE sql AS $$
SELECT p.method, m.metric, m.k, p.seed, p.unit, p.receipt, m.value
FROM shop.places(scores) p, LATERAL (SELECT above + (equal + 1) / 2 AS rank) r, LATERAL (
    SELECT 'hit_rate', k, least(greatest((k - above) / equal, 0), 1) FROM unnest(ARRAY[1, 5, 10]) k
    UNION ALL SELECT 'ndcg', k, least(greatest((k - above) / equal, 0), 1) / log(2, 1 + least(rank, k)::numeric)::float8 FROM unnest(ARRAY[1, 5, 10]) k
    UNION ALL SELECT 'mrr', NULL, 1 / rank) m(metric, k, value) $$;
-- means, and their errors by sums over units
CREATE FUNCTION shop.means(scores regclass) RETURNS TABLE (method text, metric text, k int, value float8, error float8, cases bigint) LANGUAGE sql AS $$
SELECT method, metric, k, max(mean), sqrt(count(*)::float8 / (count(*) - 1) * sum((total - mean * n) ^ 2)) / max(cases), max(cases)
FROM (SELECT method, metric, k, unit, sum(value) AS total, count(*) AS n, sum(sum(value)) OVER w / sum(count(*)) OVER w AS mean, (sum(count(*)) OVER w)::bigint AS cases
      FROM shop.values_of(scores) GROUP BY 1, 2, 3, 4 WINDOW w AS (PARTITION BY method, metric, k)) x GROUP BY 1, 2, 3 $$;

CREATE TABLE shop.by_basket AS SELECT * FROM evaluate('baskets', 'completion', seeds => 3);
CREATE TABLE shop.by_shopper AS SELECT * FROM evaluate('shoppers', 'completion', 'user', 2, baseline => 'confidence');
SELECT results_eq($$SELECT method, sum(cases), round((sum(value * cases) / sum(cases))::numeric, 9) FROM generate_series(0, 2) AS first,
                           evaluate('baskets', 'completion', seeds => 1, first_seed => first) WHERE metric = 'mrr' GROUP BY 1 ORDER BY 1$$,
                  $$SELECT method, cases::numeric, round(value::numeric, 9) FROM shop.by_basket WHERE metric = 'mrr' ORDER BY 1$$,
                  'seeds one by one, from any on, are what they are together');
SELECT set_eq('SELECT method FROM shop.by_basket', $$VALUES ('popularity'), ('confidence'), ('copurchase'), ('association'), ('ease'), ('als'), ('ranker')$$,
    'without texts the methods are those that read events');
SELECT set_eq('SELECT metric FROM shop.by_basket', $$VALUES ('hit_rate'), ('ndcg'), ('mrr'), ('popularity'), ('coverage'), ('gini')$$, 'and each is measured');
SELECT is((SELECT count(DISTINCT cases) FROM shop.by_basket), 1::bigint, 'over the same cases');
CREATE FUNCTION shop.differ(scores regclass, measured regclass) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT m::text || f FROM shop.means(%L) m LEFT JOIN %s f ON f.method = m.method AND f.metric = m.metric AND f.k IS NOT DISTINCT FROM m.k
        WHERE (abs(f.value - m.value) < 1e-9 AND abs(f.standard_error - m.error) < 1e-9 AND f.cases = m.cases) IS NOT TRUE', scores, measured);
END $$;
SELECT is_empty($$SELECT * FROM shop.differ('shop.basket_score', 'shop.by_basket')$$, 'popularity and confidence, with their errors, are what SQL makes of the same split by basket');
SELECT is_empty($$SELECT * FROM shop.differ('shop.shopper_score', 'shop.by_shopper')$$, 'and by user');
SELECT cmp_ok((SELECT value FROM shop.by_basket WHERE method = 'confidence' AND metric = 'hit_rate' AND k = 10), '>',
              (SELECT value + .1 FROM shop.by_basket WHERE method = 'popularity' AND metric = 'hit_rate' AND k = 10), 'which tell them apart');
CREATE TABLE shop.paired AS
SELECT c.metric, c.k, c.unit, c.value - p.value AS value FROM shop.values_of('shop.basket_score') c JOIN shop.values_of('shop.basket_score') p
ON p.method = 'popularity' AND p.metric = c.metric AND p.k IS NOT DISTINCT FROM c.k AND p.seed = c.seed AND p.receipt = c.receipt WHERE c.method = 'confidence';
SELECT is_empty($$SELECT m.* FROM (SELECT metric, k, max(mean) AS mean, sqrt(count(*)::float8 / (count(*) - 1) * sum((total - mean * n) ^ 2)) / max(cases) AS error
        FROM (SELECT metric, k, unit, sum(value) AS total, count(*) AS n, sum(sum(value)) OVER w / sum(count(*)) OVER w AS mean, sum(count(*)) OVER w AS cases
              FROM shop.paired GROUP BY 1, 2, 3 WINDOW w AS (PARTITION BY metric, k)) x GROUP BY 1, 2) m
    LEFT JOIN shop.by_basket f ON f.method = 'confidence' AND f.metric = m.metric AND f.k IS NOT DISTINCT FROM m.k
    WHERE (abs(f.difference - m.mean) < 1e-9 AND abs(f.difference_error - m.error) < 1e-9) IS NOT TRUE$$, 'differences are means over the same cases, too');
SELECT is_empty($$SELECT FROM shop.by_basket WHERE method = 'popularity' AND num_nonnulls(difference, difference_error) > 0$$, 'the baseline has none');
SELECT is_empty($$SELECT FROM shop.by_shopper WHERE (method = 'confidence') IS DISTINCT FROM (difference IS NULL) AND metric IN ('hit_rate', 'ndcg', 'mrr')$$, 'whichever it is');
-- the first ten, ties by number
CREATE TABLE shop.shown AS SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY seed, receipt ORDER BY popularity DESC, item) AS place FROM shop.basket_score) x WHERE place <= 10;
SELECT is((SELECT value FROM shop.by_basket WHERE method = 'popularity' AND metric = 'coverage'), (SELECT count(DISTINCT item) / 40.0 FROM shop.shown)::float8, 'coverage is the share of products that are shown at all');
SELECT cmp_ok(abs((SELECT value FROM shop.by_basket WHERE method = 'popularity' AND metric = 'popularity') - (SELECT avg(trained)::float8 FROM shop.shown)), '<', 1e-4::float8,
    'popularity how often what is shown was bought in training');
-- sum over pairs of |x - y| over twice the mean and n^2
SELECT cmp_ok(abs((SELECT value FROM shop.by_basket WHERE method = 'popularity' AND metric = 'gini') - (WITH exposure AS (SELECT item, count(s.item) AS n FROM shop.numbered LEFT JOIN shop.shown s USING (item) GROUP BY 1)
    SELECT (sum(abs(a.n - b.n)) / (2 * 40 * sum(a.n) / 40))::float8 FROM exposure a, exposure b)), '<', 1e-9::float8, 'gini how unevenly it is shown');
SELECT is((SELECT array_agg(DISTINCT k ORDER BY k) FROM evaluate('baskets', 'completion', 'basket', 1, '{3,7}') WHERE metric = 'hit_rate'), '{3,7}', 'k may be others');
SELECT cmp_ok((SELECT value FROM shop.by_basket WHERE method = m AND metric = 'hit_rate' AND k = 10), '>',
              (SELECT value + .1 FROM shop.by_basket WHERE method = 'popularity' AND metric = 'hit_rate' AND k = 10), m || ' finds more than popularity')
    FROM unnest(ARRAY['copurchase', 'association', 'ease', 'ranker']) m;

---- one bundle of each buyer's ----

CREATE TABLE shop.kit_number AS SELECT b.bundle, b.bundle_id::text COLLATE "default" AS kit FROM bundle b JOIN catalog c USING (catalog) WHERE c.name = 'kits';
CREATE TABLE shop.kit_score AS
WITH owned AS (SELECT seed, shopper, bundle FROM shop.kit_purchase JOIN shop.kit_number USING (kit), generate_series(0, 4) seed),
     asked AS (SELECT seed, shopper, CASE WHEN count(*) > 1 THEN (array_agg(bundle ORDER BY bundle))[1 + shop.hash(shopper, seed) % count(*)] END AS hidden FROM owned GROUP BY 1, 2),
     train AS MATERIALIZED (SELECT seed, shopper, bundle FROM owned JOIN asked USING (seed, shopper) WHERE bundle IS DISTINCT FROM hidden),
     bought AS (SELECT seed, bundle, count(*) AS n FROM train GROUP BY 1, 2),
     pair AS MATERIALIZED (SELECT a.seed, a.bundle, b.bundle AS other, (count(*)::float8 / min(n))::real AS weight FROM train a JOIN train b USING (seed, shopper) JOIN bought n ON n.seed = a.seed AND n.bundle = a.bundle
         WHERE a.bundle <> b.bundle GROUP BY 1, 2, 3),
     context AS (SELECT seed, shopper, hidden, array_agg(bundle ORDER BY bundle) AS owned FROM asked JOIN train USING (seed, shopper) WHERE hidden IS NOT NULL GROUP BY 1, 2, 3)
SELECT c.seed, shopper, k.bundle = hidden AS hidden, coalesce(n, 0) AS popularity,
       coalesce((SELECT sum((p.weight::float8 / cardinality(c.owned))::real ORDER BY p.bundle) FROM pair p WHERE p.seed = c.seed AND p.bundle = ANY (c.owned) AND p.other = k.bundle), 0::real) AS companions
FROM context c JOIN shop.kit_number k ON k.bundle <> ALL (c.owned) LEFT JOIN bought b ON b.seed = c.seed AND b.bundle = k.bundle;
CREATE TABLE shop.of_bundles AS SELECT * FROM evaluate('kits', 'bundle', seeds => 5);
SELECT set_eq('SELECT method FROM shop.of_bundles', $$VALUES ('popularity'), ('bundle_companions'), ('bundle_association'), ('bundle_ease'), ('bundle_likeness'), ('bundle_ranker')$$, 'methods that rank bundles');
SELECT is_empty($$WITH place AS (SELECT seed, shopper, m.method, count(*) FILTER (WHERE m.score > m.own)::float8 AS above, count(*) FILTER (WHERE m.score = m.own)::float8 AS equal
        FROM (SELECT *, max(popularity) FILTER (WHERE hidden) OVER w AS p, max(companions) FILTER (WHERE hidden) OVER w AS c FROM shop.kit_score WINDOW w AS (PARTITION BY seed, shopper)) s,
        LATERAL (VALUES ('popularity', popularity::real, p::real), ('bundle_companions', companions, c)) m(method, score, own) GROUP BY 1, 2, 3),
      mean AS (SELECT method, k, avg(least(greatest((k - above) / equal, 0), 1)) AS value, count(*) AS cases FROM place, unnest(ARRAY[1, 5, 10]) k GROUP BY 1, 2)
    SELECT method, k, m.value, f.value FROM mean m LEFT JOIN (SELECT * FROM shop.of_bundles WHERE metric = 'hit_rate') f USING (method, k, cases) WHERE (abs(m.value - f.value) < 1e-9) IS NOT TRUE$$,
    'popularity and shared buyers are what SQL finds');
SELECT is((SELECT count(*) FROM shop.of_bundles WHERE cases = (SELECT count(*) FROM shop.kit_score WHERE hidden)), (SELECT count(*) FROM shop.of_bundles), 'in as many cases');
SELECT cmp_ok((SELECT value FROM shop.of_bundles WHERE method = m AND metric = 'hit_rate' AND k = 1), '>=', (SELECT value FROM shop.of_bundles WHERE method = 'popularity' AND metric = 'hit_rate' AND k = 1),
    m || ' finds no fewer') FROM unnest(ARRAY['bundle_companions', 'bundle_association', 'bundle_ease', 'bundle_ranker']) m;

---- bundles that nobody bought ----

CREATE TABLE shop.of_cold AS SELECT * FROM evaluate('shop', 'cold_bundle', seeds => 4);
-- to popularity they are all the same; each bundle of each seed counts alike
SELECT is_empty($$WITH cold AS (SELECT seed, kit, count(*) OVER (PARTITION BY seed) AS n FROM (SELECT DISTINCT kit FROM shop.kit) b, generate_series(0, 3) seed WHERE shop.hash(kit, seed) % 5 = 0),
        asked AS (SELECT DISTINCT c.seed, c.kit, c.n FROM cold c JOIN shop.kit_purchase p USING (kit)
                  WHERE EXISTS (SELECT FROM shop.kit_purchase o WHERE o.shopper = p.shopper AND NOT EXISTS (SELECT FROM cold d WHERE d.seed = c.seed AND d.kit = o.kit)))
    SELECT k, m.value, f.value FROM (SELECT k, avg(least(k::float8 / n, 1)) AS value FROM asked, unnest(ARRAY[1, 5, 10]) k GROUP BY 1) m
    LEFT JOIN (SELECT * FROM shop.of_cold WHERE method = 'popularity' AND metric = 'hit_rate') f USING (k) WHERE (abs(m.value - f.value) < 1e-9) IS NOT TRUE$$, 'what nobody bought is equally popular');
SELECT ok(EXISTS (SELECT FROM shop.of_cold WHERE method = 'profile' AND metric = 'hit_rate' AND difference IS NULL) AND NOT EXISTS (SELECT FROM shop.of_cold WHERE method <> 'profile' AND metric = 'hit_rate' AND difference IS NULL),
    'the baseline is the profile of words');
SELECT cmp_ok((SELECT cases FROM shop.of_cold WHERE method = 'bundle_ranker' AND metric = 'mrr'), '<=', (SELECT cases FROM shop.of_cold WHERE method = 'popularity' AND metric = 'mrr'), 'a ranker that could not be learned of a part has fewer cases');

---- leaks ----

-- disjoint pairs, sold as bundles in two sessions each and never otherwise: who sees the bundles knows everything
CREATE TABLE shop.secret (id text PRIMARY KEY);
INSERT INTO shop.secret SELECT 's' || lpad(i::text, 3, '0') FROM generate_series(1, 80) i;
CREATE TABLE shop.couple (kit text, id text);
INSERT INTO shop.couple SELECT 'c' || (n + 1) / 2, id FROM (SELECT id, row_number() OVER (ORDER BY md5(id)) AS n FROM shop.secret) x;
CREATE TABLE shop.visit (session text, shopper text, kit text);
INSERT INTO shop.visit SELECT 'v' || n, 'w' || n / 2, 'c' || 1 + n % 40 FROM generate_series(0, 79) n;
SELECT create_catalog('secret', 'shop.secret', item_id => 'id') \g /dev/null
SELECT add_bundle_source('secret', 'shop.couple', bundle_id => 'kit', item_id => 'id') \g /dev/null
SELECT add_event_source('secret', 'shop.visit', basket_id => 'session', bundle_id => 'kit', user_id => 'shopper') \g /dev/null
SELECT refresh('secret') \g /dev/null
SELECT fit('secret', 'ease', '{"lambda": 1}') \g /dev/null
SELECT is((SELECT count(*) FROM learned_version v JOIN learned_list l USING (version) JOIN item i ON i.catalog = v.catalog AND i.item = l.item JOIN item o ON o.catalog = v.catalog AND o.item = l.others[1]
           JOIN shop.couple a ON a.id = i.item_id JOIN shop.couple b ON b.id = o.item_id WHERE v.kind = 'ease' AND v.serving AND a.kit = b.kit), 80::bigint, 'of all sessions every pair is learned');
CREATE TABLE shop.of_secret AS SELECT split, e.* FROM unnest(ARRAY['session', 'user']) split, evaluate('secret', 'completion', split, 3) e;
SELECT is_empty($$SELECT split, method, value FROM shop.of_secret WHERE metric = 'hit_rate' AND k = 1 AND value > .05$$, 'a bundle of a test session is unknown in training, though other sessions bought it');
SELECT results_eq($$SELECT split, max(cases) FROM shop.of_secret GROUP BY 1 ORDER BY 1$$,
    $$SELECT 'session', count(*) FROM shop.visit, generate_series(0, 2) seed WHERE shop.hash(session, seed) % 5 = 0
      UNION ALL SELECT 'user', count(*) FROM shop.visit, generate_series(0, 2) seed WHERE shop.hash(shopper, seed) % 5 = 0$$, 'and asked about');
-- of which a part is unknown to training, the bundles of no test session are not
SELECT ok((SELECT bool_or(value > 0) FROM evaluate('secret', 'bundle', seeds => 1) WHERE metric = 'mrr'), 'bundles themselves can be ranked');
SELECT throws_ok($$SELECT evaluate('shoppers', 'completion', 'basket')$$, '55000', 'the events cannot be split so', 'baskets of one user would stand on both sides');
SELECT lives_ok($$SELECT evaluate('shoppers', 'completion', 'session', 1)$$, 'sessions may be parted');
-- what is in a bundle that a tested shopper took back, and nobody is asked about, changes nothing: not even the ranker's weights
CREATE TABLE shop.tried AS SELECT min(shopper) AS shopper, 'ghost' AS kit, kind FROM shop.purchase, unnest('{purchase,return}'::text[]) kind WHERE shop.hash(shopper, 0) % 5 = 0 GROUP BY kind;
CREATE TABLE shop.ghost AS SELECT 'ghost' AS kit, sku FROM shop.product WHERE sku LIKE 'a%';
SELECT create_catalog('ghost', 'shop.product', item_id => 'sku') \g /dev/null
SELECT add_bundle_source('ghost', 'shop.ghost', bundle_id => 'kit', item_id => 'sku') \g /dev/null
SELECT add_event_source('ghost', 'shop.purchase', item_id => 'sku', basket_id => 'receipt', user_id => 'shopper') \g /dev/null
SELECT add_event_source('ghost', 'shop.tried', bundle_id => 'kit', user_id => 'shopper', kind => 'kind') \g /dev/null
SELECT refresh('ghost') \g /dev/null
CREATE TABLE shop.of_ghost AS SELECT * FROM evaluate('ghost', 'completion', 'user', 1);
UPDATE shop.ghost SET sku = 'b' || substr(sku, 2) WHERE sku > 'a10';
SELECT refresh('ghost') \g /dev/null
SELECT set_eq($$SELECT * FROM evaluate('ghost', 'completion', 'user', 1)$$, 'TABLE shop.of_ghost', 'what a tested bundle holds reaches no learner and no ranker');
-- by time: what came up after the moment is unknown before it
CREATE TABLE shop.late AS TABLE shop.purchase;
INSERT INTO shop.late SELECT receipt, shopper, 'late', at + interval '1 minute' FROM shop.purchase WHERE receipt > 270;
INSERT INTO shop.product VALUES ('late', 'a new lamp');
SELECT create_catalog('late', 'shop.product', item_id => 'sku') \g /dev/null
SELECT add_event_source('late', 'shop.late', item_id => 'sku', basket_id => 'receipt', user_id => 'shopper', occurred_at => 'at') \g /dev/null
SELECT refresh(c) FROM unnest(ARRAY['late', 'baskets', 'shoppers', 'shop']) c \g /dev/null
CREATE TABLE shop.of_late AS SELECT * FROM evaluate('late', 'next_item', 'time', 7);
SELECT is_empty($$SELECT FROM shop.of_late WHERE metric = 'hit_rate' AND k = 1 AND value > .2$$, 'a product that only the test part knows is not found');
SELECT is((SELECT cases FROM shop.of_late WHERE method = 'popularity' AND metric = 'mrr'),
    (WITH moment AS (SELECT percentile_disc(.8) WITHIN GROUP (ORDER BY at) AS at FROM shop.late), test AS (SELECT shopper, l.at FROM shop.late l, moment m WHERE l.at > m.at)
     SELECT count(*) FROM (SELECT shopper FROM test GROUP BY 1 HAVING min(at) < max(at)) x), 'asked is everybody who came back after the moment, once');
SELECT lives_ok($$SELECT evaluate('shoppers', 'next_item', 'user', 1)$$, 'the next item by user');

---- units ----

-- three sessions of each shopper, each with a kit; those of even shoppers are the kit and nothing else
CREATE TABLE shop.trip AS
SELECT 'p' || p AS shopper, format('p%s-%s', p, visit) AS session, visit, k.kit, sku, timestamptz '2024-01-01' + p * interval '1 day' + visit * interval '1 hour' AS at
FROM generate_series(1, 40) p, generate_series(1, 3) visit, LATERAL (SELECT 'k' || lpad((1 + (p + visit) % 12)::text, 2, '0') AS kit) k,
     LATERAL (SELECT sku FROM shop.kit WHERE kit.kit = k.kit UNION SELECT 'late' WHERE p % 2 = 1) held;
CREATE TABLE shop.trip_kit AS SELECT DISTINCT shopper, session, kit, at FROM shop.trip;
CREATE TABLE shop.first_trip AS SELECT shopper, session, sku FROM shop.trip WHERE visit = 1;
CREATE TABLE shop.first_kit AS SELECT DISTINCT shopper, session, kit FROM shop.trip WHERE visit = 1;
SELECT create_catalog('trips', 'shop.product', item_id => 'sku') \g /dev/null
SELECT add_bundle_source('trips', 'shop.kit', bundle_id => 'kit', item_id => 'sku') \g /dev/null
SELECT add_event_source('trips', 'shop.trip', item_id => 'sku', basket_id => 'session', user_id => 'shopper', occurred_at => 'at') \g /dev/null
SELECT add_event_source('trips', 'shop.trip_kit', bundle_id => 'kit', basket_id => 'session', user_id => 'shopper', occurred_at => 'at') \g /dev/null
SELECT create_catalog('anonymous', 'shop.product', item_id => 'sku') \g /dev/null
SELECT add_bundle_source('anonymous', 'shop.kit', bundle_id => 'kit', item_id => 'sku') \g /dev/null
SELECT add_event_source('anonymous', 'shop.trip_kit', bundle_id => 'kit', basket_id => 'session', occurred_at => 'at') \g /dev/null
SELECT create_catalog('once', 'shop.product', item_id => 'sku') \g /dev/null
SELECT add_bundle_source('once', 'shop.kit', bundle_id => 'kit', item_id => 'sku') \g /dev/null
SELECT add_event_source('once', 'shop.first_trip', item_id => 'sku', basket_id => 'session', user_id => 'shopper') \g /dev/null
SELECT add_event_source('once', 'shop.first_kit', bundle_id => 'kit', basket_id => 'session', user_id => 'shopper') \g /dev/null
SELECT refresh(c) FROM unnest('{trips,anonymous,once}'::text[]) c \g /dev/null
-- of sessions and their units: whether the session as one is the kit, and the error of the mean
CREATE FUNCTION shop.whole(asked text) RETURNS TABLE (cases bigint, value numeric, error numeric) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT max(x.cases)::bigint, round(max(mean)::numeric, 9), round((sqrt(count(*)::float8 / (count(*) - 1) * sum((total - mean * n) ^ 2)) / max(x.cases))::numeric, 9)
        FROM (SELECT unit, sum(exact) AS total, count(*) AS n, sum(sum(exact)) OVER () / sum(count(*)) OVER () AS mean, sum(count(*)) OVER () AS cases
              FROM (SELECT unit, (substr(shopper, 2)::int %% 2 = 0)::int::float8 AS exact FROM (%s) a) e GROUP BY 1) x', asked);
END $$;
CREATE FUNCTION shop.measured(split text, seeds int) RETURNS TABLE (cases bigint, value numeric, error numeric) LANGUAGE sql
AS $$SELECT cases, round(value::numeric, 9), round(standard_error::numeric, 9) FROM evaluate('trips', 'detection', split, seeds) WHERE method = 'whole' AND metric = 'exact'$$;
SELECT results_eq($$SELECT * FROM shop.measured('session', 2)$$, $$SELECT * FROM shop.whole('SELECT session AS unit, shopper FROM shop.trip_kit, generate_series(0, 1) seed WHERE shop.hash(session, seed) % 5 = 0')$$,
    'sessions that were split are clusters');
SELECT results_eq($$SELECT * FROM shop.measured('user', 2)$$, $$SELECT * FROM shop.whole('SELECT shopper AS unit, shopper FROM shop.trip_kit, generate_series(0, 1) seed WHERE shop.hash(shopper, seed) % 5 = 0')$$,
    'of users all sessions are one');
SELECT results_eq($$SELECT * FROM shop.measured('time', 2)$$,
    $$SELECT * FROM shop.whole('WITH event AS (SELECT at FROM shop.trip UNION ALL SELECT at FROM shop.trip_kit)
        SELECT shopper AS unit, shopper FROM shop.trip_kit WHERE at >= (SELECT (array_agg(at ORDER BY at))[count(*) - count(*) / 5 + 1] FROM event)')$$, 'by time, too');
SELECT results_eq($$SELECT DISTINCT value, standard_error FROM evaluate('anonymous', 'completion', 'time', k => '{41}') WHERE metric = 'hit_rate'$$, $$VALUES (1::float8, 0::float8)$$, 'where nobody is known, their baskets');
SELECT lives_ok($$SELECT evaluate('once', 'completion', 'basket', 1)$$, 'a basket that two sources name is one');

---- what cannot be asked ----

CREATE FUNCTION shop.told(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
    detail text;
BEGIN
    EXECUTE statement;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws('; ', SQLSTATE, SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;
SELECT is(shop.told(format('SELECT evaluate(%s)', call)), told, call) FROM (VALUES
    ($$'shoppers', 'completeness'$$, '22023; there is no task "completeness"; Tasks are completion, next_item, bundle, cold_bundle and detection.'),
    ($$'shoppers', 'completion', 'hour'$$, '22023; there is no split "hour"; Splits are session, user, basket and time.'),
    ($$'shoppers', 'completion', seeds => 0$$, '22023; "seeds" must be between 1 and 1000: 0'),
    ($$'shoppers', 'completion', seeds => -1$$, '22023; "seeds" must be between 1 and 1000: -1'),
    ($$'shoppers', 'completion', seeds => 1001$$, '22023; "seeds" must be between 1 and 1000: 1001'),
    ($$'shoppers', 'completion', first_seed => -1$$, '22023; "first_seed" must be between 0 and 1000000000: -1'),
    ($$'shoppers', 'completion', k => '{}'$$, '22023; "k" must name between 1 and 8 numbers'),
    ($$'shoppers', 'completion', k => '{1,2,3,4,5,6,7,8,9}'$$, '22023; "k" must name between 1 and 8 numbers'),
    ($$'shoppers', 'completion', k => '{1,NULL}'$$, '22023; "k" must name between 1 and 8 numbers'),
    ($$'shoppers', 'completion', k => '{1,0}'$$, '22023; "k" must be at least 1: 0'),
    ($$'baskets', 'completion', seeds => 1, baseline => 'tf_idf'$$, '22023; "tf_idf" is none of the methods that were compared; These are popularity, confidence, copurchase, association, ease, als, ranker.'),
    ($$'shop', 'bundle', seeds => 1, baseline => ''$$, '22023; "" is none of the methods that were compared; These are popularity, bundle_companions, bundle_association, bundle_ease, bundle_likeness, bundle_ranker.'),
    ($$'baskets', 'completion', 'user'$$, '55000; the events cannot be split so; Fewer than two users are known.; Split by something that the event sources name.'),
    ($$'baskets', 'next_item'$$, '55000; there is nothing to evaluate "next_item" by; No test part has a set of two things, as of the last refresh.; Call refresh after events have come, or choose another split.'),
    ($$'baskets', 'bundle'$$, '55000; there is nothing to evaluate "bundle" by; No test part has a set of two things, as of the last refresh.; Call refresh after events have come, or choose another split.'),
    ($$'kits', 'completion', 'session'$$, '55000; the events cannot be split so; Fewer than two baskets are known.; Split by something that the event sources name.'),
    ($$'nowhere', 'completion'$$, '42704; there is no catalog "nowhere"; The view bundle_rec.catalog_coverage lists catalogs; create_catalog makes one.')) x(call, told);
SELECT throws_ok(format('SELECT evaluate(%s)', call), '22004', NULL, call) FROM unnest(ARRAY[$$NULL, 'completion'$$, $$'shoppers', NULL$$, $$'shoppers', 'completion', seeds => NULL$$,
    $$'shoppers', 'completion', k => NULL$$, $$'shoppers', 'completion', first_seed => NULL$$]) call;
CREATE TABLE shop.untimed AS SELECT receipt, shopper, sku FROM shop.purchase;
SELECT create_catalog('empty', 'shop.product', item_id => 'sku') \g /dev/null
SELECT throws_ok($$SELECT evaluate('empty', 'completion')$$, '55000', NULL, 'a catalog without events');
SELECT add_event_source('empty', 'shop.untimed', item_id => 'sku', user_id => 'shopper', basket_id => 'receipt') \g /dev/null
SELECT throws_ok($$SELECT evaluate('empty', 'completion')$$, '55000', NULL, 'and before refresh has counted any');
SELECT refresh('empty') \g /dev/null
SELECT is(shop.told($$SELECT evaluate('empty', 'completion', 'time')$$), '55000; the events cannot be split so; All events happened at one time.; Name occurred_at in add_event_source.', 'nothing is before what was noticed at once');
UPDATE shop.purchase SET at = NULL;
SELECT refresh('shoppers') \g /dev/null
SELECT is(shop.told($$SELECT evaluate('shoppers', 'completion', 'time')$$), '55000; the events cannot be split so; The events say no time.; Name occurred_at in add_event_source.', 'a split by time needs times');

---- what is written down ----

SELECT results_eq($$SELECT task, split, seeds, method, metric, k, value, standard_error, cases FROM leaderboard WHERE catalog = 'kits' ORDER BY method, metric, k$$,
    $$SELECT 'bundle', 'leave_one_out', 5, method, metric, k, value, standard_error, cases FROM shop.of_bundles ORDER BY method, metric, k$$, 'the leaderboard has all rows');
SELECT is_empty($$SELECT FROM leaderboard l WHERE place <> 1 + (SELECT count(*) FROM leaderboard o WHERE o.evaluation = l.evaluation AND o.metric = l.metric AND o.k IS NOT DISTINCT FROM l.k AND o.value > l.value)$$,
    'places are by value');
SELECT is((SELECT DISTINCT versions FROM leaderboard WHERE catalog = 'kits'), '{}'::jsonb, 'nothing was in service');
SELECT version FROM fit('kits', 'bundle_ease') \gset
SELECT evaluate('kits', 'bundle', seeds => 1) \g /dev/null
SELECT is((SELECT versions FROM leaderboard WHERE catalog = 'kits' ORDER BY evaluation DESC LIMIT 1), jsonb_build_object('bundle_ease', :version), 'now a version is');
SELECT count(*) AS rows FROM stored_evaluation \gset
BEGIN READ ONLY;
SELECT results_eq($$SELECT method, metric, k, value FROM evaluate('kits', 'bundle', seeds => 5)$$, 'SELECT method, metric, k, value FROM shop.of_bundles', 'in a read-only transaction it answers');
COMMIT;
SELECT is((SELECT count(*) FROM stored_evaluation), :rows::bigint, 'and writes nothing');
CREATE FUNCTION shop.broken_off(statement text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN false;
EXCEPTION WHEN query_canceled THEN
    RETURN true;
END $$;
SET statement_timeout = '300ms';
SELECT shop.broken_off($$SELECT evaluate('shop', 'completion', seeds => 1000)$$) AS cancelled \gset
RESET statement_timeout;
SELECT ok(:'cancelled', 'it can be cancelled');
SELECT is((SELECT count(*) FROM stored_evaluation), :rows::bigint, 'without a trace');

DROP ROLE IF EXISTS br_test_reader;
CREATE ROLE br_test_reader;
GRANT USAGE ON SCHEMA shop TO br_test_reader;
SET ROLE br_test_reader;
SELECT throws_ok($$SELECT evaluate('kits', 'bundle')$$, '42501', NULL, 'only the owner evaluates');
SELECT is_empty('SELECT FROM leaderboard', 'and who may not read the source sees nothing');
RESET ROLE;
GRANT SELECT ON shop.product TO br_test_reader;
SET ROLE br_test_reader;
SELECT isnt_empty('SELECT FROM leaderboard', 'who may sees what came of it');
RESET ROLE;
DROP OWNED BY br_test_reader;
DROP ROLE br_test_reader;
SELECT drop_catalog('kits') \g /dev/null
SELECT is_empty($$SELECT FROM stored_evaluation e WHERE NOT EXISTS (SELECT FROM catalog c WHERE c.catalog = e.catalog)$$, 'figures go with their catalog');

SELECT * FROM finish();
