\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- bundle.sql
--    Scores of pairs, what was bought together and what reads alike, compared
--    with hand arithmetic and with plain SQL; who may see what.
--
SELECT plan(55);
SET client_min_messages = error;

-- 3 of 4 and 3 of 9 baskets among 20: 3/4; 20*3/36; ln of it; over -ln(3/20); 3/10; 3/6 * 3/8
SELECT results_eq(
    'SELECT round(confidence::numeric, 12), round(lift::numeric, 12), round(pmi::numeric, 12), round(npmi::numeric, 12),
            round(jaccard::numeric, 12), round(shrunk_cosine::numeric, 12) FROM pair_scores(3, 4, 9, 20, 5)',
    'VALUES (0.75, round(5 / 3.0, 12), round(ln(5 / 3.0), 12), round(ln(5 / 3.0) / -ln(0.15), 12), 0.3, 0.1875)',
    'scores equal hand arithmetic');
SELECT results_eq('SELECT * FROM pair_scores(0, 4, 9, 20, 0)',
                  $$VALUES (0::float8, 0::float8, '-Infinity'::float8, -1::float8, 0::float8, 0::float8)$$, 'never together');
SELECT is((SELECT npmi FROM pair_scores(20, 20, 20, 20)), 1::float8, 'always together');
SELECT is((SELECT shrunk_cosine FROM pair_scores(3, 4, 9, 20)), 0.5::float8 * 3 / 13, 'shrinkage is 10 where none is given');
SELECT is((SELECT x.lift FROM pair_scores(3, NULL, 9, 20) x), NULL, 'NULL in, NULL out');
SELECT throws_ok('SELECT pair_scores(5, 4, 9, 20)', '22023', NULL, 'more baskets together than apart');
SELECT throws_ok('SELECT pair_scores(3, 14, 9, 10)', '22023', NULL, 'more baskets than there are');
SELECT throws_ok('SELECT pair_scores(3, 4, 9, 20, -1)', '22023', NULL, 'shrinkage below 0');
SELECT throws_ok($$SELECT pair_scores(3, 4, 9, 20, 'NaN')$$, '22023', NULL, 'shrinkage NaN');

-- the groceries
SELECT :'data_dir' <> '' AS have_data \gset
\if :have_data
CREATE TABLE line (basket int GENERATED ALWAYS AS IDENTITY, items text);
\set file :data_dir '/groceries/groceries.csv'
\o /dev/null
COPY line (items) FROM :'file' WITH (DELIMITER E'\x01');
CREATE TABLE basket AS SELECT DISTINCT basket, btrim(item) AS item FROM line, unnest(string_to_array(items, ',')) AS item WHERE btrim(item) <> '';
CREATE TABLE grocery AS SELECT DISTINCT item AS id FROM basket;
CREATE UNIQUE INDEX ON grocery (id);
SELECT create_catalog('groceries', 'grocery', item_id => 'id');
SELECT add_event_source('groceries', 'basket', item_id => 'item', basket_id => 'basket');
SELECT refresh('groceries');
-- scores by their formulas, from the table of baskets alone
CREATE TEMP VIEW plain_pair AS
WITH n AS (SELECT item, count(*)::float8 AS c FROM basket GROUP BY 1), total AS (SELECT count(DISTINCT basket)::float8 AS t FROM basket)
SELECT a.item AS item, b.item AS other, count(*) AS together, na.c AS na, nb.c AS nb, t
FROM basket a JOIN basket b USING (basket) JOIN n na ON na.item = a.item JOIN n nb ON nb.item = b.item, total
WHERE a.item <> b.item GROUP BY 1, 2, na.c, nb.c, t;
CREATE TEMP TABLE plain AS
SELECT item, other, together, together / na AS confidence, t * together / (na * nb) AS lift, ln(t * together / (na * nb)) AS pmi,
       ln(t * together / (na * nb)) / -ln(together / t) AS npmi, together / (na + nb - together) AS jaccard,
       together / sqrt(na * nb) * together / (together + 10) AS shrunk_cosine
FROM plain_pair;
\o
SELECT is((SELECT baskets FROM catalog_coverage), (SELECT count(DISTINCT basket) FROM basket), 'all baskets are counted');
SELECT results_eq(
    $$SELECT item_id, together FROM bought_together('groceries', '{whole milk}', k => 5)$$,
    $$SELECT b.item, count(*) FROM basket a JOIN basket b USING (basket)
      WHERE a.item = 'whole milk' AND b.item <> a.item GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5$$,
    'the items bought with whole milk equal a plain join');
SELECT is_empty(
    $$SELECT p.* FROM plain p LEFT JOIN (SELECT g.id, b.* FROM grocery g, bought_together('groceries', ARRAY[g.id], k => 1000) b) b
        ON p.item = b.id AND p.other = b.item_id
      WHERE b.id IS NULL OR p.together <> b.together OR abs(p.confidence - b.confidence) > 1e-12 OR abs(p.lift - b.lift) > 1e-9
         OR abs(p.pmi - b.pmi) > 1e-12 OR abs(p.npmi - b.npmi) > 1e-12 OR abs(p.jaccard - b.jaccard) > 1e-12
         OR abs(p.shrunk_cosine - b.shrunk_cosine) > 1e-12$$,
    'counts and all six scores of all pairs equal plain SQL');
SELECT is((SELECT count(*) FROM grocery g, bought_together('groceries', ARRAY[g.id], k => 1000)), (SELECT count(*) FROM plain), 'and there are no others');
SELECT results_eq(
    $$SELECT item_id FROM bought_together('groceries', '{soda}', k => 20, measure => 'shrunk_cosine')$$,
    $$SELECT other FROM plain WHERE item = 'soda' ORDER BY shrunk_cosine DESC, together DESC, other COLLATE "C" LIMIT 20$$, 'by shrunk cosine');
SELECT results_eq(
    $$SELECT item_id FROM bought_together('groceries', '{soda}', k => 20, measure => 'lift')$$,
    $$SELECT other FROM plain WHERE item = 'soda' ORDER BY lift DESC, together DESC, other COLLATE "C" LIMIT 20$$, 'by lift');
-- several items: the mean, with 0 where never together
SELECT results_eq(
    $$SELECT item_id, together, round(confidence::numeric, 12), round(jaccard::numeric, 12)
      FROM bought_together('groceries', '{soda,pastry,cream}', k => 15, measure => 'jaccard')$$,
    $$SELECT other, sum(together)::bigint, round((sum(confidence) / 3)::numeric, 12), round((sum(jaccard) / 3)::numeric, 12) FROM plain
      WHERE item IN ('soda', 'pastry', 'cream') AND other NOT IN ('soda', 'pastry', 'cream')
      GROUP BY 1 ORDER BY sum(jaccard) / 3 DESC, 2 DESC, other COLLATE "C" LIMIT 15$$,
    'several items: means of the scores, sums of the counts');
\o /dev/null
DELETE FROM basket WHERE basket % 7 = 0;
INSERT INTO basket SELECT -basket, item FROM basket WHERE basket % 11 = 0;
SELECT refresh('groceries');
\o
SELECT results_eq(
    $$SELECT item_id, together FROM bought_together('groceries', '{yogurt}', k => 50)$$,
    $$SELECT b.item, count(*) FROM basket a JOIN basket b USING (basket)
      WHERE a.item = 'yogurt' AND b.item <> a.item GROUP BY 1 ORDER BY 2 DESC, b.item COLLATE "C" LIMIT 50$$,
    'after changes they equal a plain join again');
\o /dev/null
SELECT drop_catalog('groceries');
\o
\else
SELECT skip('no real data beside the checkout', 8);
\endif

-- a small shop
\o /dev/null
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls');
CREATE TABLE product (sku int PRIMARY KEY, title text, active boolean, owner text);
INSERT INTO product SELECT i, 'the ' || (ARRAY['red','green','old'])[1 + i % 3] || ' ' || (ARRAY['camera','lens','bag','lamp'])[1 + i % 4] || i, i % 10 <> 0, CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END
FROM generate_series(1, 1200) i;
INSERT INTO product VALUES (2000, NULL, true, 'even');
CREATE TABLE sale (basket int, sku int);
INSERT INTO sale SELECT i / 4, 1 + (i * 37) % 50 FROM generate_series(1, 800) i;
SELECT create_catalog('shop', 'product', item_id => 'sku', text => '{title}', active => 'active');
SELECT add_event_source('shop', 'sale', item_id => 'sku', basket_id => 'basket');
\o
SELECT throws_ok($$SELECT similar_items('shop', '7')$$, '55000', 'item "7" has no embedding', 'no similar items before refresh');
SELECT is_empty($$SELECT * FROM bought_together('shop', '{7}')$$, 'nothing is known to be bought before refresh');
\o /dev/null
SELECT refresh('shop');
\o
SELECT is((SELECT count(*) FROM similar_items('shop', '7', k => 5000)), 1079::bigint, 'all active items but itself');
SELECT results_eq(
    $$SELECT round(similarity::numeric, 9) FROM similar_items('shop', '7', k => 20)$$,
    $$SELECT round((1 - (b.embedding <=> a.embedding))::numeric, 9) FROM item a, item b JOIN item_state s ON s.item = b.item
      WHERE a.item_id = '7' AND b.item <> a.item AND s.active AND b.embedding IS NOT NULL ORDER BY 1 DESC LIMIT 20$$,
    'the nearest items equal brute force');
SELECT is_empty($$SELECT * FROM similar_items('shop', '7', k => 5000) x JOIN item a ON a.item_id = '7' JOIN item b ON b.item_id = x.item_id
                  WHERE abs(1 - (a.embedding <=> b.embedding) - similarity) > 1e-9$$, 'each with its own similarity');
SELECT is((SELECT array_agg(rank ORDER BY similarity DESC, rank) FROM similar_items('shop', '7', k => 9)), '{1,2,3,4,5,6,7,8,9}', 'ranks count from 1');
SELECT results_eq(
    $$SELECT round(similarity::numeric, 6) FROM similar_items('shop', query => 'a green lamp', k => 20)$$,
    $$SELECT round((1 - (b.embedding <=> embed('a green lamp')::embedding))::numeric, 6) FROM item b JOIN item_state s USING (item)
      WHERE s.active AND b.embedding IS NOT NULL ORDER BY 1 DESC LIMIT 20$$, 'a query is read by the model');
SELECT isnt_empty($$SELECT * FROM similar_items('shop', '10')$$, 'an inactive item may be asked for');
SELECT is_empty($$SELECT item_id FROM similar_items('shop', '7', k => 5000) WHERE item_id::int % 10 = 0$$, 'and is not answered');
SELECT throws_ok($$SELECT similar_items('shop', '2000')$$, '55000', NULL, 'an item without text');
SELECT throws_ok($$SELECT similar_items('shop', 'no')$$, '42704', 'there is no item "no" in catalog "shop"', 'an item that is not there');
SELECT throws_ok($$SELECT similar_items('no', '7')$$, '42704', NULL, 'a catalog that is not there');
SELECT throws_ok($$SELECT similar_items('shop')$$, '22023', NULL, 'neither item nor query');
SELECT throws_ok($$SELECT similar_items('shop', '7', 'words')$$, '22023', NULL, 'both item and query');
SELECT throws_ok($$SELECT similar_items('shop', '7', k => 0)$$, '22023', NULL, 'k of 0');
SELECT throws_ok($$SELECT similar_items('shop', '7', k => NULL)$$, '22004', NULL, 'k of NULL');
SELECT throws_ok($$SELECT bought_together('shop', '{7,no}')$$, '42704', 'there is no item "no" in catalog "shop"', 'an item that is not there is named');
SELECT throws_ok($$SELECT bought_together('shop', '{7,NULL}')$$, '22004', NULL, 'an item that is NULL');
SELECT throws_ok($$SELECT bought_together('shop', NULL)$$, '22004', NULL, 'items that are NULL');
SELECT throws_ok($$SELECT bought_together('shop', '{7}', measure => 'luck')$$, '22023', NULL, 'a measure that is not there');
SELECT throws_ok($$SELECT bought_together('shop', '{7}', k => -1)$$, '22023', NULL, 'k below 1');
SELECT is_empty($$SELECT * FROM bought_together('shop', '{}')$$, 'no items, no rows');
SELECT results_eq($$SELECT * FROM bought_together('shop', '{7,2000,7}')$$, $$SELECT * FROM bought_together('shop', '{7}')$$,
                  'an item that was never bought, or is named twice, changes nothing');
DELETE FROM product WHERE sku = (SELECT item_id::int FROM bought_together('shop', '{7}') WHERE rank = 1);
SELECT is_empty($$SELECT item_id FROM bought_together('shop', '{7}', 1000) EXCEPT SELECT sku::text FROM product$$, 'a deleted item is not answered');

-- who may see what
\o /dev/null
CREATE ROLE br_test_reader;
CREATE ROLE br_test_stranger;
GRANT SELECT ON product TO br_test_reader;
GRANT INSERT ON product, sale TO br_test_stranger;
SET SESSION AUTHORIZATION br_test_reader;
\o
SELECT is((SELECT count(*) FROM bundle_rec.similar_items('shop', '7')), 10::bigint, 'who may SELECT from the source may ask');
SELECT throws_ok($$SELECT refresh('shop')$$, '42501', NULL, 'but not refresh');
SELECT throws_ok($$SELECT drop_catalog('shop')$$, '42501', NULL, 'or drop');
SELECT throws_ok($$SELECT * FROM item_1$$, NULL, NULL, 'or read the tables');
SELECT is((SELECT count(*) FROM catalog_coverage), 1::bigint, 'he sees the catalog');
SET SESSION AUTHORIZATION br_test_stranger;
SELECT throws_ok($$SELECT similar_items('shop', '7')$$, '42501', NULL, 'who may not SELECT may not ask');
SELECT is_empty('SELECT * FROM catalog_coverage', 'nor see the catalog');
SELECT lives_ok($$INSERT INTO product VALUES (3001, 'by a stranger'); INSERT INTO sale VALUES (-1, 3001)$$, 'who may INSERT feeds the catalog');
RESET SESSION AUTHORIZATION;
SELECT is((SELECT count(*) FROM item JOIN item_state USING (catalog, item) WHERE item_id = '3001'), 1::bigint, 'his row is an item');

-- row-level security: the other half of the shop is not there
\o /dev/null
ALTER TABLE product ENABLE ROW LEVEL SECURITY;
CREATE POLICY even ON product TO br_test_reader USING (owner = 'even');
SET SESSION AUTHORIZATION br_test_reader;
\o
SELECT is_empty($$SELECT item_id FROM similar_items('shop', '8', k => 400) WHERE item_id::int % 2 = 1$$, 'invisible items are not similar');
SELECT is((SELECT count(*) FROM similar_items('shop', '8', k => 400)), 400::bigint, 'and do not shorten the answer');
SELECT is_empty($$SELECT item_id FROM bought_together('shop', '{8}', k => 400) WHERE item_id::int % 2 = 1$$, 'invisible items were not bought together');
SELECT throws_ok($$SELECT similar_items('shop', '7')$$, '42704', 'there is no item "7" in catalog "shop"', 'an invisible item is none');
SELECT throws_ok($$SELECT bought_together('shop', '{7}')$$, '42704', 'there is no item "7" in catalog "shop"', 'here too');
RESET SESSION AUTHORIZATION;
\o /dev/null
DROP OWNED BY br_test_reader, br_test_stranger;
DROP ROLE br_test_reader, br_test_stranger;
\o

SELECT * FROM finish();
