\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/small_shop.sql
--
-- curated.sql
--    Curated bundles: from their table into the catalog, which of them are
--    offered, what is logged, who sees what; and what completes a set.
--
SELECT plan(119);
SET client_min_messages = error;
SELECT catalog AS n FROM catalog WHERE name = 'small' \gset

---- a source of bundles ----

SELECT throws_ok($$SELECT rank_bundles('small')$$, '55000', NULL, 'a catalog without bundles says so');

CREATE TABLE small.kit (kit text, sku text, units int, euros numeric(8, 2));
INSERT INTO small.kit VALUES
    ('k01', 'p01', 1, 12), ('k01', 'p02', NULL, 12),        -- list price 6 + 7
    ('k02', 'p02', 2, 20), ('k02', 'p06', 1, 20),           -- 2 * 7 + 11; two p02 are there
    ('k03', 'p03', 1, 15), ('k03', 'p04', 1, 15),           -- p03 is sold out
    ('k04', 'p05', 1, 15), ('k04', 'p06', 1, 15),           -- p05 is inactive
    ('k05', 'p07', 1, 22), ('k05', 'p08', 1, 22),           -- p07 has no cost
    ('k06', 'p09', 1, 15), ('k06', 'p99', 1, 15),           -- no such product
    ('k07', 'p10', 1, 10), ('k07', 'p11', 1, 11),           -- which price?
    ('k08', 'p02', 3, 20),                                  -- three are not there
    ('k09', 'p12', 1, NULL), ('k09', 'p13', 1, NULL), ('k09', 'p14', 1, NULL), -- 17 + 18 + 19
    ('k10', 'p15', 1, 50), ('k10', 'p16', 1, 50);           -- dearer than 20 + 21
SELECT lives_ok($$SELECT add_bundle_source('small', 'small.kit', bundle_id => 'kit', item_id => 'sku', quantity => 'units', price => 'euros')$$,
                'a table of bundles');
SELECT results_eq($$SELECT b.bundle_id COLLATE "default", m.item_id COLLATE "default", m.quantity, m.price FROM bundle b JOIN bundle_item m USING (catalog, bundle) ORDER BY b.bundle_id, m.item_id$$,
                  $$SELECT kit, sku, coalesce(units, 1)::float8, euros::float8 FROM small.kit ORDER BY kit COLLATE "C", sku COLLATE "C"$$,
                  'its rows are in the catalog');
SELECT results_eq($$SELECT bundle_id COLLATE "default", items COLLATE "default", price, offered, reason FROM bundle_coverage ORDER BY bundle_id$$,
    $$VALUES ('k01', '{p01,p02}'::text[], 12::float8, true, NULL), ('k02', '{p02,p06}', 20, true, NULL),
             ('k03', '{p03,p04}', 15, false, 'item "p03" is out of stock'), ('k04', '{p05,p06}', 15, false, 'item "p05" is not active'),
             ('k05', '{p07,p08}', 22, true, NULL), ('k06', '{p09,p99}', 15, false, 'item "p99" is not in the catalog'),
             ('k07', '{p10,p11}', NULL, false, 'its rows name different prices'), ('k08', '{p02}', 20, false, 'item "p02" is out of stock'),
             ('k09', '{p12,p13,p14}', NULL, true, NULL), ('k10', '{p15,p16}', 50, true, NULL)$$, 'and a view says which are offered');
SELECT throws_ok($$SELECT add_bundle_source('small', 'small.kit', 'kit', 'sku')$$, '42710', NULL, 'a table is a source once');
SELECT throws_ok($$SELECT add_bundle_source('small', 'small.kit', NULL, 'sku')$$, '22004', NULL, 'the id of the bundle is needed');
SELECT throws_ok($$SELECT add_bundle_source('small', 'small.product', 'nothing', 'sku')$$, '42703', NULL, 'and must be a column');
SELECT throws_ok($$SELECT add_bundle_source('small', 'pg_class', 'relname', 'relname')$$, '0A000', NULL, 'of a table of the shop''s');

---- kept by triggers ----

-- what the catalog holds, and what the source says it should hold
CREATE VIEW small.held AS SELECT b.bundle_id COLLATE "default" AS bundle_id, m.item_id COLLATE "default" AS item_id, m.quantity, m.price
FROM bundle b JOIN bundle_item m USING (catalog, bundle);
CREATE VIEW small.wanted AS SELECT kit AS bundle_id, sku AS item_id, coalesce(units, 1)::float8 AS quantity, euros::float8 AS price FROM small.kit;

INSERT INTO small.kit VALUES ('k11', 'p01', 1, 30), ('k11', 'p10', 1, 30), ('k11', 'p11', 2, 30), ('k12', 'p16', 4, 70);
SELECT set_eq('TABLE small.held', 'TABLE small.wanted', 'inserted');
UPDATE small.kit SET euros = 31 WHERE kit = 'k11';
SELECT set_eq('TABLE small.held', 'TABLE small.wanted', 'another price');
UPDATE small.kit SET kit = CASE kit WHEN 'k11' THEN 'k12' ELSE 'k11' END WHERE kit IN ('k11', 'k12');
SELECT set_eq('TABLE small.held', 'TABLE small.wanted', 'two bundles swap their ids');
UPDATE small.kit SET sku = CASE sku WHEN 'p10' THEN 'p11' ELSE 'p10' END, units = 3 WHERE kit = 'k12' AND sku IN ('p10', 'p11');
SELECT set_eq('TABLE small.held', 'TABLE small.wanted', 'two items their places');
DELETE FROM small.kit WHERE kit = 'k12' AND sku = 'p01';
SELECT set_eq('TABLE small.held', 'TABLE small.wanted', 'deleted');
DELETE FROM small.kit WHERE kit IN ('k11', 'k12');
SELECT is((SELECT count(*) FROM bundle_coverage WHERE bundle_id IN ('k11', 'k12')), 0::bigint, 'a bundle without items is none');

-- what cannot be taken is set aside, and the statement goes on
INSERT INTO small.kit VALUES (NULL, 'p01', 1, 5), ('', 'p01', 1, 5), ('b1', NULL, 1, 5), ('b2', 'p01', 0, 5), ('b3', 'p01', -1, 5), ('b4', 'p01', 1, -5),
    ('b5', 'p01', 1, 'NaN'), (repeat('x', 1025), 'p01', 1, 5), ('b6', repeat('y', 1025), 1, 5), ('b7', 'p01', 1, 5), ('b7', 'p01', 2, 5), (repeat('z', 1024), 'p01', 1, 5);
SELECT bag_eq($$SELECT left(row_id, 8), reason FROM rejected_row WHERE origin = 'small.kit'::regclass$$,
    $$VALUES (NULL, 'its bundle id is NULL or empty'), (NULL, 'its bundle id is NULL or empty'), ('b1', 'its item id is NULL or empty'),
             ('b2, p01', 'its quantity is not above 0, NaN or infinite'), ('b3, p01', 'its quantity is not above 0, NaN or infinite'),
             ('b4, p01', 'its price is negative, NaN or infinite'), ('b5, p01', 'its price is negative, NaN or infinite'),
             ('xxxxxxxx', 'its bundle id is longer than 1024 bytes'), ('b6, yyyy', 'its item id is longer than 1024 bytes'),
             ('b7, p01', 'another row puts this item into this bundle')$$, 'rows that make no sense are set aside with a reason');
SELECT is((SELECT count(*) FROM bundle_coverage WHERE bundle_id IN ('b7', repeat('z', 1024))), 2::bigint, 'the others are taken');
UPDATE small.kit SET units = 1 WHERE kit = 'b2';
SELECT is((SELECT count(*) FROM rejected_row WHERE row_id = 'b2, p01') + (SELECT count(*) FROM bundle_coverage WHERE bundle_id = 'b2'), 1::bigint,
          'what was mended is taken and no longer blamed');
DELETE FROM small.kit WHERE kit = 'b7' AND units = 2;
SELECT is((SELECT quantity FROM small.held WHERE bundle_id = 'b7'), 1::float8, 'a row set aside takes nothing along when it goes');
DELETE FROM small.kit WHERE kit IS NULL OR kit !~ '^k';
SELECT is((SELECT count(*) FROM rejected_row WHERE origin = 'small.kit'::regclass), 0::bigint, 'rows that are gone are blamed no more');
SELECT set_eq('TABLE small.held', 'TABLE small.wanted', 'and the rest is as it was');

CREATE TABLE small.stray (kit text, sku text);
CREATE TRIGGER stray AFTER TRUNCATE ON small.stray FOR EACH STATEMENT EXECUTE FUNCTION bundles_changed('1');
SELECT lives_ok('TRUNCATE small.stray', 'the trigger of nobody''s table stops nobody');

-- sources of other kinds, and what no trigger saw
CREATE TABLE small.parted (kit text, sku text, units int) PARTITION BY LIST (kit);
CREATE TABLE small.parted_a PARTITION OF small.parted FOR VALUES IN ('pa');
CREATE TABLE small.parted_b PARTITION OF small.parted FOR VALUES IN ('pb');
CREATE VIEW small.season AS SELECT 'v' || category AS kit, sku, 1 AS units FROM small.product WHERE price < 10;
CREATE VIEW small.season_held AS SELECT b.bundle_id, m.item_id, m.quantity FROM bundle_rec.bundle b JOIN bundle_rec.bundle_item m USING (catalog, bundle);
SELECT lives_ok($$SELECT add_bundle_source('small', 'small.parted', 'kit', 'sku', quantity => 'units')$$, 'a partitioned table');
SELECT lives_ok($$SELECT add_bundle_source('small', 'small.season', 'kit', 'sku', quantity => 'units')$$, 'a view');
INSERT INTO small.parted VALUES ('pa', 'p01', 1), ('pb', 'p02', 2), ('pb', 'p03', 1);
INSERT INTO small.parted_b VALUES ('pb', 'p04', 1);
UPDATE small.parted SET units = 5 WHERE sku = 'p02';
UPDATE small.parted SET kit = 'pb' WHERE kit = 'pa';
DELETE FROM small.parted_b WHERE sku = 'p03';
SELECT set_eq($$SELECT * FROM small.season_held WHERE bundle_id IN ('pa', 'pb')$$, 'SELECT kit COLLATE "C", sku COLLATE "C", units::float8 FROM small.parted', 'partitions are followed');
SELECT set_eq($$SELECT * FROM small.season_held WHERE bundle_id LIKE 'v%'$$, 'SELECT kit COLLATE "C", sku COLLATE "C", units::float8 FROM small.season', 'a view is taken');
UPDATE small.product SET price = price + 3 WHERE sku = 'p02';
ALTER TABLE small.parted DISABLE TRIGGER USER;
INSERT INTO small.parted VALUES ('pb', 'p05', 1);
UPDATE small.parted SET units = 7 WHERE sku = 'p02';
ALTER TABLE small.parted ENABLE TRIGGER USER;
SELECT set_eq($$SELECT source, kind, added, removed FROM sync('small') WHERE source IN ('small.parted', 'small.season')$$,
              $$VALUES ('small.parted', 'bundles', 2::bigint, 1::bigint), ('small.season', 'bundles', 0, 1)$$, 'sync finds what differs');
SELECT set_eq($$SELECT * FROM small.season_held WHERE bundle_id IN ('pa', 'pb')$$, 'SELECT kit COLLATE "C", sku COLLATE "C", units::float8 FROM small.parted', 'and makes it good');
SELECT set_eq($$SELECT * FROM small.season_held WHERE bundle_id LIKE 'v%'$$, 'SELECT kit COLLATE "C", sku COLLATE "C", units::float8 FROM small.season', 'for views too');
SELECT lives_ok($$SELECT drop_bundle_source('small', 'small.season')$$, 'a source is dropped');
SELECT is_empty($$SELECT * FROM small.season_held WHERE bundle_id LIKE 'v%'$$, 'with what it brought');
SELECT throws_ok($$SELECT drop_bundle_source('small', 'small.season')$$, '42704', NULL, 'once');
SELECT throws_ok($$SELECT drop_bundle_source('small', NULL)$$, '22004', NULL, 'and by name');
SELECT drop_bundle_source('small', 'small.parted') \g /dev/null
SELECT is_empty($$SELECT FROM pg_trigger WHERE tgrelid IN ('small.parted'::regclass, 'small.parted_a'::regclass)$$, 'its triggers are gone');
UPDATE small.product SET price = price - 3 WHERE sku = 'p02';

CREATE TABLE small.more (kit text, sku text);
INSERT INTO small.more VALUES ('k10', 'p14'), ('m01', 'p01');
SELECT lives_ok($$SELECT add_bundle_source('small', 'small.more', 'kit', 'sku')$$, 'a second table');
SELECT is((SELECT reason FROM bundle_coverage WHERE bundle_id = 'k10'), 'its rows name different prices', 'may add to a bundle of the first');
TRUNCATE small.more;
SELECT set_eq('TABLE small.held', 'TABLE small.wanted', 'truncated');
INSERT INTO small.more VALUES ('m02', 'p01'), ('m02', 'p02');
DROP TABLE small.more;
SELECT is((SELECT reason FROM bundle_coverage WHERE bundle_id = 'm02'), 'the table it came from was dropped', 'a dropped table offers nothing');
SELECT is_empty($$SELECT FROM rank_bundles('small', k => 20) WHERE bundle_id = 'm02'$$, 'neither does rank_bundles');
CREATE TABLE small.more (kit text, sku text);
INSERT INTO small.more VALUES ('m02', 'p01'), ('m02', 'p02');
SELECT add_bundle_source('small', 'small.more', 'kit', 'sku') \g /dev/null
SELECT is((SELECT offered FROM bundle_coverage WHERE bundle_id = 'm02'), true, 'its successor brings them back');
DROP TABLE small.more;

---- what is offered ----

SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20)$$, $$SELECT bundle_id FROM bundle_coverage WHERE offered$$,
              'all that may be offered');
SELECT results_eq($$SELECT bundle_id, items, price, list_price, round(discount::numeric, 12), round(margin::numeric, 12)
                    FROM rank_bundles('small', k => 20) ORDER BY 1$$,
    $$SELECT kit, array_agg(sku ORDER BY sku), coalesce(max(euros), sum(coalesce(units, 1) * price))::float8, sum(coalesce(units, 1) * price)::float8,
             round((1 - coalesce(max(euros), sum(coalesce(units, 1) * price)) / sum(coalesce(units, 1) * price))::numeric, 12),
             CASE WHEN bool_and(cost IS NOT NULL) THEN round(1 - sum(coalesce(units, 1) * cost) / coalesce(max(euros), sum(coalesce(units, 1) * price)), 12) END
      FROM small.kit JOIN small.product USING (sku) WHERE kit IN ('k01', 'k02', 'k05', 'k09', 'k10') GROUP BY kit ORDER BY kit$$,
    'items, price, list price, discount and margin are those of the tables');
SELECT results_eq($$SELECT round(discount::numeric, 6) FROM rank_bundles('small', k => 20) WHERE bundle_id IN ('k01', 'k10') ORDER BY bundle_id$$,
                  $$VALUES (0.076923), (-0.219512)$$, '1 of 13 off, and 9 of 41 more');
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20, in_stock => false)$$, ARRAY['k01', 'k02', 'k03', 'k05', 'k08', 'k09', 'k10'],
              'sold out ones too where the caller says so');
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20, budget => 20)$$, ARRAY['k01', 'k02'], 'a budget bounds the price of the whole');
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20, budget => 19.99)$$, ARRAY['k01'], 'to the cent');
-- (12 - 6 * .34 - 7 * .38) / 12 = .608; (20 - 14 * .38 - 11 * .54) / 20 = .437; p07 has no cost; 54 - 17 * .78 - 18 * .82 - 19 * .86 = 9.64, of 54: .179
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20, min_margin => .437)$$, ARRAY['k01', 'k02'], 'a margin');
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20, min_margin => .438)$$, ARRAY['k01'], 'to the tenth of a percent');
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20, categories => '{kind 1,kind 2}')$$, ARRAY['k01', 'k02'], 'all items of these categories');
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20, exclude => '{p02,p13}')$$, ARRAY['k05', 'k10'], 'none of the excluded items');
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20, basket => '{p01,p02,p12}')$$, ARRAY['k02', 'k05', 'k09', 'k10'],
              'what is in the basket may be part of a bundle, not all of it');
UPDATE small.product SET stock = 1 WHERE sku = 'p02';
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20)$$, ARRAY['k01', 'k05', 'k09', 'k10'], 'a sale counts at once: one p02 is left');
UPDATE small.product SET stock = 2, active = false WHERE sku = 'p02';
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20)$$, ARRAY['k05', 'k09', 'k10'], 'so does retiring it');
UPDATE small.product SET active = true WHERE sku = 'p02';
BEGIN;
DELETE FROM small.product WHERE sku = 'p02';
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20)$$, ARRAY['k05', 'k09', 'k10'], 'and deleting it');
ROLLBACK;

-- the message of the first NOTICE of a statement, and its detail, are seen by psql alone
SELECT is((SELECT count(*) FROM rank_bundles('small', k => 20, budget => 1)), 0::bigint, 'nothing where nothing fits');

---- what the user has ----

-- w1 bought k01 and k02 and returned k02; w2 bought p15 and p16 one by one; w3 k09, not counted yet
SELECT source AS log FROM event_source WHERE catalog = :n AND events IS NULL \gset
INSERT INTO event_:n (source, user_id, bundle_id, kind, quantity, occurred_at, weight)
VALUES (:log, 'w1', 'k01', 'purchase', 1, '2024-02-01', 1), (:log, 'w1', 'k02', 'purchase', 1, '2024-02-01', 1), (:log, 'w1', 'k02', 'return', 1, '2024-02-02', 1);
INSERT INTO event_:n (source, user_id, item_id, kind, quantity, occurred_at, weight)
VALUES (:log, 'w2', 'p15', 'purchase', 1, '2024-02-01', 1), (:log, 'w2', 'p16', 'purchase', 1, '2024-02-01', 1), (:log, 'w2', 'p01', 'view', 1, '2024-02-01', 1);
INSERT INTO event_queue_:n (source, user_id, bundle_id, kind, quantity, occurred_at, weight)
VALUES (:log, 'w3', 'k09', 'purchase', 1, '2024-02-01', 1);
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', 'w1', k => 20)$$, ARRAY['k02', 'k05', 'k09', 'k10'], 'a bundle bought is not offered, a returned one is');
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', 'w2', k => 20)$$, ARRAY['k01', 'k02', 'k05', 'k09'], 'nor one of which every item was bought');
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', 'w3', k => 20)$$, ARRAY['k01', 'k02', 'k05', 'k10'], 'nor one that no refresh has counted');
SELECT is((SELECT count(*) FROM rank_bundles('small', 'w1', k => 20, exclude_owned => false)), 5::bigint, 'unless the caller wants it');
SELECT is((SELECT count(*) FROM rank_bundles('small', 'w1', k => 20, exclude_owned => NULL)), 4::bigint, 'NULL is the default');
SELECT is((SELECT count(*) FROM rank_bundles('small', k => 20, exclude_owned => true)), 5::bigint, 'nobody owns nothing');
INSERT INTO event_:n (source, user_id, bundle_id, kind, quantity, occurred_at, weight) VALUES (:log, 'w1', 'k01', 'purchase', 1, '2024-02-01', -1);
SELECT is((SELECT count(*) FROM rank_bundles('small', 'w1', k => 20)), 5::bigint, 'a purchase that its source took back never was');
DELETE FROM event_:n WHERE user_id = 'w1' AND weight = -1;
-- w1 holds p01 and p02 by way of k01; p02 goes with p06
SELECT ok((SELECT bool_or(c ->> 'item' = 'p06' AND c ->> 'from' = 'p02' AND (c ->> 'together')::int =
                          (SELECT count(*) FROM small.purchase a JOIN small.purchase b USING (receipt) WHERE a.sku = 'p02' AND b.sku = 'p06'))
           FROM rank_bundles('small', 'w1', k => 20) r, jsonb_array_elements(r.reasons -> 'context') c
           WHERE bundle_id = 'k02' AND c ->> 'source' = 'history'), 'items of a bundle that was bought are history');
SELECT ok((SELECT bool_or(c ->> 'item' = 'p12') FROM recommend_items('small', 'w3', k => 16) r, jsonb_array_elements(r.reasons -> 'context') c
           WHERE c ->> 'from' IN ('p13', 'p14')), 'for recommend too');

---- features and reasons ----

INSERT INTO bundle_count_:n (bundle, purchases) SELECT bundle, CASE bundle_id WHEN 'k01' THEN 7 ELSE 1 END FROM bundle WHERE bundle_id IN ('k01', 'k10');

-- what br_bundle_features says of each bundle, from the tables: ln(1 + n) / ln(1 + all) and so on
CREATE TABLE small.figure AS
SELECT m.bundle_id, m.item_id, m.quantity, m.price, p.stock, coalesce(c.baskets, 0) AS baskets, i.embedding
FROM small.held m JOIN small.product p ON p.sku = m.item_id JOIN item i ON i.item_id = m.item_id LEFT JOIN item_count c ON c.item = i.item;
SELECT is_empty(format($$
    SELECT r.bundle_id, f, e.* FROM rank_bundles('small', k => 20) r, LATERAL (SELECT r.reasons -> 'features' AS f) f, LATERAL (
        SELECT (avg(ln(1 + baskets) / ln(1 + (SELECT baskets FROM catalog_coverage WHERE catalog = 'small')))
                + CASE r.bundle_id WHEN 'k01' THEN 1 WHEN 'k10' THEN ln(2) / ln(8) ELSE 0 END) / 2 AS popularity,
               min(floor(stock / quantity)) / (min(floor(stock / quantity)) + 10) AS stock FROM small.figure x WHERE x.bundle_id = r.bundle_id) e
    WHERE abs((f ->> 'popularity')::float8 - e.popularity) > 1e-3 OR abs((f ->> 'stock')::float8 - e.stock) > 1e-3$$),
    'popularity: half the items'', half the bundle''s own; stock: how many bundles there are');
SELECT is_empty($$
    SELECT r.bundle_id, r.reasons, e.* FROM rank_bundles('small', k => 20) r, LATERAL (
        SELECT avg(1 - (1 - sqrt(coalesce(s.shrunk_cosine, 0))) * (1 - .3 * CASE WHEN c > .95 THEN (1 - c) / .05 ELSE least(c / .8, 1) END)) AS cohesion
        FROM small.figure a JOIN small.figure b USING (bundle_id),
             LATERAL (SELECT greatest(1 - (a.embedding <=> b.embedding), 0) AS c) c,
             LATERAL (SELECT count(*) AS together FROM small.purchase v JOIN small.purchase w USING (receipt) WHERE v.sku = a.item_id AND w.sku = b.item_id) t,
             LATERAL pair_scores(t.together, a.baskets, b.baskets, 60) s
        WHERE a.item_id < b.item_id AND a.bundle_id = r.bundle_id) e
    WHERE abs((r.reasons -> 'features' ->> 'cohesion')::float8 - coalesce(e.cohesion, 0)) > 1e-3$$, 'cohesion: pair_scores and <=> inside the bundle');
-- sqrt(1 + 7) = 2.83: odds of the score are those of recommend times (n + 2.83) / 5.66
SELECT is_empty($$
    SELECT r.bundle_id, f FROM rank_bundles('small', k => 20) r, LATERAL (SELECT r.reasons -> 'features' AS f) f
    WHERE abs((f ->> 'score')::float8 - 1 / (1 + exp(3.4761 - .5 * (f ->> 'content')::float8 - 4 * (f ->> 'copurchase')::float8
              - (f ->> 'cohesion')::float8 - .25 * (f ->> 'popularity')::float8 - .1 * (f ->> 'freshness')::float8 - .3 * (f ->> 'price_fit')::float8)
              * 2 * sqrt(8) / ((r.reasons ->> 'purchases')::int + sqrt(8)))) > 1e-3$$, 'the score can be recomputed from the reasons');
SELECT is((SELECT array_agg((r.reasons ->> 'purchases')::int ORDER BY bundle_id) FROM rank_bundles('small', k => 20) r), '{7,0,0,0,1}', 'reasons count purchases');
SELECT is((SELECT a.bundle_id FROM rank_bundles('small', k => 20, basket => '{p12}', seed => 5) a JOIN rank_bundles('small', k => 20, seed => 5) b USING (bundle_id)
           ORDER BY a.score / b.score DESC LIMIT 1), 'k09', 'an item of the basket speaks most for the bundle that holds it');
SELECT ok((SELECT bool_or(c ->> 'source' = 'query') FROM rank_bundles('small', k => 20, query => 'product 4') r, jsonb_array_elements(r.reasons -> 'context') c),
          'a query is named as a reason');
SELECT results_eq($$SELECT rank, bundle_id, score, propensity FROM rank_bundles('small', basket => '{p02}', seed => 42)$$,
                  $$SELECT rank, bundle_id, score, propensity FROM rank_bundles('small', basket => '{p02}', seed => 42)$$, 'the same seed gives the same rows');

---- the log ----

SELECT decision_id AS id FROM rank_bundles('small', 'w3', k => 3, basket => '{p06}', budget => 60, exclude => '{p08}') LIMIT 1 \gset
CREATE TEMP TABLE entry AS SELECT * FROM decision_:n WHERE decision_id = :id;
SELECT results_eq($$SELECT kind, user_id, basket, wanted, filters FROM entry$$,
                  $$VALUES ('curated', 'w3', '{p06}'::text[], 3, '{"in_stock": true, "exclude_owned": true, "budget": 60, "exclude": ["p08"]}'::jsonb)$$,
                  'a decision is logged with what was asked for');
SELECT results_eq($$SELECT b.bundle_id COLLATE "default" FROM entry, unnest(pool_bundles) WITH ORDINALITY p(bundle, place) JOIN bundle b USING (bundle) ORDER BY b.bundle_id$$,
                  $$VALUES ('k01'), ('k02'), ('k10')$$, 'which bundles were considered');
SELECT results_eq($$SELECT cardinality(pool_bundles), cardinality(slot_bundles), cardinality(votes), cardinality(pool_features),
                           (SELECT sum(s) FROM unnest(pool_sizes) s) = cardinality(pool_items) FROM entry$$,
                  $$VALUES (3, 3, 9, 51, true)$$, 'arrays have the lengths that the pool gives');
SELECT results_eq(format($$SELECT rank, bundle_id, items, price FROM explain_decision(%s)$$, :id),
                  $$SELECT p.place::int, b.bundle_id COLLATE "default", ARRAY(SELECT item_id FROM small.held h WHERE h.bundle_id = b.bundle_id COLLATE "default" ORDER BY 1), e.price[p.place]
                    FROM entry e, unnest(slot_bundles) WITH ORDINALITY p(bundle, place) JOIN bundle b USING (bundle) ORDER BY 1$$,
                  'explain_decision names the bundles');
SELECT decision_id AS generated FROM recommend('small', bundles => 1) \gset
SELECT is((SELECT bundle_id FROM explain_decision(:generated)), NULL, 'generated ones have no id');
SELECT is_empty($$SELECT k FROM entry, generate_series(1, 3) k
                  WHERE (SELECT sum(v) FROM unnest(votes[(k - 1) * pool_size + 1 : k * pool_size]) v) <> draws$$, 'every draw votes once per slot');
SELECT is(feedback(:id, 2, 'purchase'), true, 'feedback is taken');
SELECT is(feedback(:id, 2, 'purchase'), false, 'once');
UPDATE policy SET attribution_window = '0' WHERE name = 'small';
SELECT is(fold('small'), 1, 'and learned from');
SET bundle_rec.log_pool = 0;
SELECT decision_id AS bare FROM rank_bundles('small', k => 2) LIMIT 1 \gset
RESET bundle_rec.log_pool;
SELECT is((SELECT pool_bundles IS NULL AND cardinality(slot_bundles) = 2 FROM decision_:n WHERE decision_id = :bare), true, 'without the pool the slots are still there');
SELECT is((SELECT count(*) FROM rank_bundles('small', log => false) WHERE decision_id IS NULL), 5::bigint, 'log => false gives no id');

---- bad input ----

SELECT throws_ok($$SELECT rank_bundles(NULL)$$, '22004', NULL, 'no catalog');
SELECT throws_ok($$SELECT rank_bundles('small', k => 0)$$, '22023', NULL, 'no rows');
SELECT throws_ok($$SELECT rank_bundles('small', budget => 'NaN')$$, '22023', NULL, 'NaN budget');
CREATE TABLE small.bare (id int PRIMARY KEY);
INSERT INTO small.bare SELECT generate_series(1, 9);
SELECT create_catalog('bare', 'small.bare', item_id => 'id') \g /dev/null
CREATE TABLE small.pack (pack int, id int, price float8, PRIMARY KEY (pack, id));
INSERT INTO small.pack SELECT p, p + i, 10 * p FROM generate_series(1, 6) p, generate_series(0, 2) i;
SELECT add_bundle_source('bare', 'small.pack', 'pack', 'id') \g /dev/null
SELECT is((SELECT count(*) FROM rank_bundles('bare') WHERE num_nonnulls(price, list_price, discount, margin) = 0), 6::bigint, 'bare ids are enough');
SELECT throws_ok($$SELECT rank_bundles('bare', budget => 5)$$, '55000', NULL, 'a budget needs prices');
CREATE TABLE small.priced (pack int, id int, price float8, PRIMARY KEY (pack, id));
INSERT INTO small.priced SELECT 100 + p, p + i, 10 * p FROM generate_series(1, 6) p, generate_series(0, 2) i;
SELECT add_bundle_source('bare', 'small.priced', 'pack', 'id', price => 'price') \g /dev/null
SELECT set_eq($$SELECT bundle_id, price FROM rank_bundles('bare', budget => 30)$$, $$VALUES ('101', 10::float8), ('102', 20), ('103', 30)$$,
              'which the bundles may have alone');
SELECT throws_ok($$SELECT rank_bundles('bare', categories => '{x}')$$, '55000', NULL, 'categories need a category');
-- 100 items are a bundle, 101 are not
INSERT INTO small.bare SELECT generate_series(10, 120);
INSERT INTO small.pack SELECT 7, i FROM generate_series(1, 100) i UNION ALL SELECT 8, i FROM generate_series(1, 101) i;
SELECT set_eq($$SELECT bundle_id, offered FROM bundle_coverage WHERE catalog = 'bare' AND bundle_id IN ('7', '8')$$, $$VALUES ('7', true), ('8', false)$$, 'a hundred items are the most');
SELECT results_eq($$SELECT bundle_id, cardinality(items), jsonb_array_length(reasons -> 'pairs') FROM rank_bundles('bare', k => 20) WHERE bundle_id IN ('7', '8')$$,
                  $$VALUES ('7', 100, 28)$$, 'whose reasons name the strongest pairs');

-- a column that the source names goes away: the shop goes on, and the catalog says what it misses
ALTER TABLE small.pack RENAME id TO article;
SELECT lives_ok($$INSERT INTO small.pack VALUES (9, 1)$$, 'a renamed column does not stop the shop');
SELECT is((SELECT reason FROM rejected_row WHERE origin = 'small.pack'::regclass), 'Table "pack" has no column "id" any more.', 'which is told what is wrong');

---- what completes a set ----

CREATE FUNCTION small.affinity(content float8, copurchase float8) RETURNS float8 LANGUAGE sql
AS $$SELECT 1 - (1 - sqrt(copurchase)) * (1 - .3 * CASE WHEN content > .95 THEN (1 - content) / .05 ELSE least(greatest(content, 0) / .8, 1) END)$$;
-- mean affinity of every active item to a set, by joins
CREATE FUNCTION small.by_hand(given text[]) RETURNS TABLE (item_id text, score float8) LANGUAGE sql AS $$
    SELECT i.item_id COLLATE "default", avg(small.affinity(1 - (i.embedding <=> g.embedding), coalesce(s.shrunk_cosine, 0))) AS score
    FROM item i JOIN small.product p ON p.sku = i.item_id CROSS JOIN item g LEFT JOIN item_count a ON a.item = i.item LEFT JOIN item_count b ON b.item = g.item,
         LATERAL (SELECT count(*) AS together FROM small.purchase v JOIN small.purchase w USING (receipt) WHERE v.sku = g.item_id AND w.sku = i.item_id) t,
         LATERAL pair_scores(t.together, b.baskets, a.baskets, 60) s
    WHERE p.active AND g.item_id = ANY (given) AND i.item_id <> ALL (given) AND i.catalog = g.catalog
    GROUP BY i.item, i.item_id ORDER BY score DESC, i.item $$;
SELECT results_eq($$SELECT item_id, round(score::numeric, 6) FROM complete('small', '{p02}', 20)$$,
                  $$SELECT item_id, round(score::numeric, 6) FROM small.by_hand('{p02}')$$, 'one item');
SELECT results_eq($$SELECT item_id, round(score::numeric, 6) FROM complete('small', '{p09,p01,p14,p01}', 4)$$,
                  $$SELECT item_id, round(score::numeric, 6) FROM small.by_hand('{p01,p09,p14}') LIMIT 4$$, 'three, one of them twice');
SELECT is((SELECT array_agg(rank) FROM complete('small', '{p02,p05}', 3)), '{1,2,3}', 'an inactive item may be in the set');
SELECT is_empty($$SELECT FROM complete('small', '{p02}', 20) WHERE item_id IN ('p02', 'p05')$$, 'but does not complete one');
SELECT throws_ok($$SELECT complete('small', '{p02,p99}')$$, '42704', 'there is no item "p99" in catalog "small"', 'an unknown item');
SELECT throws_ok($$SELECT complete('small', '{}')$$, '22023', NULL, 'an empty set');
SELECT throws_ok($$SELECT complete('small', '{p02}', 0)$$, '22023', NULL, 'no rows');
SELECT throws_ok($$SELECT complete('small', NULL)$$, '22004', NULL, 'no set');
SELECT throws_ok($$SELECT complete('small', '{p02,NULL}')$$, '22004', NULL, 'NULL in the set');
SELECT is_empty($$SELECT * FROM complete('bare', '{1}')$$, 'nothing where nothing is known');

---- who sees what ----

DROP ROLE IF EXISTS br_test_reader;
CREATE ROLE br_test_reader;
GRANT USAGE ON SCHEMA small, bundle_rec TO br_test_reader;
GRANT SELECT ON small.product TO br_test_reader;
SELECT decision_id AS told FROM rank_bundles('small', k => 20) LIMIT 1 \gset
GRANT SELECT ON decision_:n TO br_test_reader;
SET ROLE br_test_reader;
SELECT throws_ok($$SELECT rank_bundles('small', log => false)$$, '42501', 'permission denied for the bundles of catalog "small"', 'bundles need SELECT on their table');
SELECT throws_ok(format($$SELECT explain_decision(%s)$$, :told), '42501', NULL, 'to be explained, too');
SELECT is((SELECT count(*) FROM bundle_coverage), 0::bigint, 'and in the view');
SELECT is((SELECT count(*) FROM complete('small', '{p02}', 5)), 5::bigint, 'items do not');
SELECT throws_ok($$SELECT add_bundle_source('small', 'small.pack', 'pack', 'id')$$, '42501', NULL, 'only the owner adds a table');
RESET ROLE;
GRANT SELECT ON small.kit TO br_test_reader;
SET ROLE br_test_reader;
SELECT is((SELECT count(*) FROM rank_bundles('small', log => false)), 5::bigint, 'with it they are offered');
RESET ROLE;
ALTER TABLE small.kit ENABLE ROW LEVEL SECURITY;
CREATE POLICY half ON small.kit FOR SELECT TO br_test_reader USING (NOT (kit = 'k01' AND sku = 'p01') AND kit <> 'k05');
SET ROLE br_test_reader;
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20, log => false)$$, ARRAY['k02', 'k09', 'k10'], 'not where a row of the bundle is hidden');
SELECT set_eq(format($$SELECT bundle_id FROM explain_decision(%s)$$, :told), ARRAY['k02', 'k09', 'k10'], 'nor explained');
SELECT is((SELECT count(*) FROM bundle_coverage), 0::bigint, 'nor in the view');
RESET ROLE;
ALTER TABLE small.kit DISABLE ROW LEVEL SECURITY;
CREATE TABLE small.padded (kit char(9), sku char(6));
INSERT INTO small.padded VALUES ('seen', 'p12'), ('seen', 'p13'), ('unseen', 'p12');
SELECT add_bundle_source('small', 'small.padded', 'kit', 'sku') \g /dev/null
ALTER TABLE small.padded ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON small.padded FOR SELECT TO br_test_reader USING (kit = 'seen');
GRANT SELECT ON small.padded TO br_test_reader;
SET ROLE br_test_reader;
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20, log => false) WHERE bundle_id ~ 'seen'$$, ARRAY['seen'], 'blanks that pad an id do not matter');
RESET ROLE;
DROP TABLE small.padded;
ALTER TABLE small.product ENABLE ROW LEVEL SECURITY;
CREATE POLICY most ON small.product FOR SELECT TO br_test_reader USING (sku <> 'p15');
SET ROLE br_test_reader;
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small', k => 20, log => false)$$, ARRAY['k01', 'k02', 'k05', 'k09'], 'nor where an item is hidden');
SELECT is_empty($$SELECT FROM complete('small', '{p11}', 20) WHERE item_id = 'p15'$$, 'which completes nothing');
SELECT throws_ok($$SELECT complete('small', '{p15}')$$, '42704', 'there is no item "p15" in catalog "small"', 'and is as good as none');
RESET ROLE;
ALTER TABLE small.product DISABLE ROW LEVEL SECURITY;

---- the end ----

SELECT drop_catalog('small') \g /dev/null
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgrelid = 'small.kit'::regclass), 0::bigint, 'drop_catalog takes the triggers away');
SELECT is((SELECT count(*) FROM bundle_source s JOIN catalog c USING (catalog) WHERE c.name = 'small'), 0::bigint, 'and the description');
SELECT lives_ok($$INSERT INTO small.kit VALUES ('k20', 'p01', 1, 5)$$, 'the table lives on');
DROP OWNED BY br_test_reader;
DROP ROLE br_test_reader;

SELECT is_empty($$SELECT d.decision_id, r.rank FROM decision d, replay_decision(d.decision_id) r WHERE d.kind = 'curated' AND d.pool_sizes IS NOT NULL AND NOT r.as_logged$$, 'decisions about curated bundles can be replayed');

SELECT * FROM finish();
