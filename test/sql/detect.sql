\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/fitted.sql
--
-- detect.sql
--    Bundles out of what a catalog has: what mine_bundles proposes, against plain
--    SQL over the baskets; what detect_bundles finds in planted sessions, with
--    scores by hand; the learner of detection and its evaluation.
--
SELECT plan(81);
SET client_min_messages = warning;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null
CREATE ROLE br_test_reader;
CREATE ROLE br_test_stranger;
CREATE SCHEMA den;
GRANT USAGE ON SCHEMA den TO PUBLIC;

---- mining ----

-- planted sets, and what everybody buys
CREATE TABLE den.product (sku text PRIMARY KEY, title text, kind text, price numeric, active boolean DEFAULT true);
INSERT INTO den.product VALUES
    ('b1', 'Loaf', 'Bread', 2), ('b2', 'Spread', 'Butter', 3), ('c1', 'Shown already', 'Curated', 5), ('c2', 'Shown too', 'Curated', 5),
    ('d1', 'Stays', 'Gone', 7), ('d2', 'Goes', 'Gone', 7), ('g1', 'Green garden hose', 'Garden', 10), ('g2', 'Garden rake green', 'Garden', 12),
    ('i1', 'Rests', NULL, 1), ('i2', 'Works', NULL, 1), ('k1', 'Mug', 'Kitchen > Mugs', 0.1), ('k2', 'Pot', 'Kitchen > Pots', 0.2),
    ('n1', 'Alpha', NULL, 1), ('n2', 'Beta', NULL, NULL), ('p', 'Popular', NULL, 1), ('q', 'Also popular', NULL, 1),
    ('t1', 'Oak tea table', 'Furniture', 100), ('t2', 'Oak tea chair', 'Furniture', 50), ('t3', 'Oak tea lamp', 'Light', 25.25),
    ('u1', 'First', NULL, 1), ('u2', 'Second', NULL, 1), ('u3', 'Now and then', NULL, 1);
CREATE TABLE den.line (receipt int, sku text, kind text DEFAULT 'purchase');
CREATE FUNCTION den.sell(first int, last int, skus text[]) RETURNS void LANGUAGE sql AS
'INSERT INTO den.line SELECT r, s FROM generate_series(first, last) r, unnest(skus) s';
SELECT den.sell(1, 40, '{t1,t2}'), den.sell(1, 38, '{t3}'), den.sell(190, 199, '{t1}'), den.sell(50, 75, '{g1,g2}'), den.sell(66, 85, '{k1,k2}'), den.sell(86, 105, '{b1,b2}'),
       den.sell(106, 125, '{c1,c2}'), den.sell(126, 145, '{d1,d2}'), den.sell(146, 165, '{i1,i2}'), den.sell(166, 183, '{n1,n2}'), den.sell(104, 110, '{n1}'),
       den.sell(184, 195, '{u1,u2}'), den.sell(184, 189, '{u3}') \g /dev/null
INSERT INTO den.line SELECT r, 'p' FROM generate_series(1, 200) r WHERE r % 4 <> 0;
INSERT INTO den.line SELECT r, 'q' FROM generate_series(1, 200) r WHERE r * r % 7 > 1;
-- bought twice, bought and returned, all of a basket returned
INSERT INTO den.line VALUES (1, 't1', 'purchase'), (76, 'g1', 'purchase'), (76, 'g2', 'purchase'), (76, 'g2', 'return'), (300, 'p', 'purchase'), (300, 'p', 'return');
CREATE TABLE den.kit (kit text, sku text);
INSERT INTO den.kit VALUES ('one', 'c1'), ('one', 'c2'), ('two', 'g1'), ('two', 'g2'), ('two', 'unheard of'), ('three', 't1'), ('three', 't2'), ('three', 't3'), ('three', 'p');
SELECT create_catalog('den', 'den.product', item_id => 'sku', text => '{title}', category => 'kind', price => 'price', active => 'active', model => 'tiny') \g /dev/null
SELECT add_event_source('den', 'den.line', item_id => 'sku', basket_id => 'receipt', kind => 'kind') \g /dev/null
SELECT add_bundle_source('den', 'den.kit', bundle_id => 'kit', item_id => 'sku') \g /dev/null
SELECT alter_catalog('den', discount => 0.1) \g /dev/null
SELECT refresh('den', 0) \g /dev/null
SELECT throws_ok($$SELECT * FROM mine_bundles('den')$$, '55000', 'catalog "den" has no sets of items that are bought together', 'first sets must be mined');
SELECT is((SELECT kind FROM fit('den', 'itemsets', '{"support": 5}')), 'itemsets', 'they are');

-- what a plain reader finds: all sets of two to four, by brute force
CREATE VIEW den.held AS SELECT receipt, sku FROM den.line GROUP BY 1, 2 HAVING sum(CASE kind WHEN 'purchase' THEN 1 ELSE -1 END) > 0;
CREATE TABLE den.found AS
WITH RECURSIVE grown(receipt, items) AS (
    SELECT receipt, ARRAY[sku] FROM den.held
    UNION ALL SELECT g.receipt, g.items || h.sku FROM grown g JOIN den.held h ON h.receipt = g.receipt AND h.sku > g.items[cardinality(g.items)] WHERE cardinality(g.items) < 4)
SELECT items, count(*) AS support FROM grown GROUP BY 1 HAVING count(*) >= 5 OR cardinality(items) = 1;
CREATE VIEW den.weighed AS
SELECT f.items, f.support, x.expected, f.support - c.chance AS excess, c.chance
FROM den.found f CROSS JOIN (SELECT count(DISTINCT receipt)::float8 AS n FROM den.held) baskets
CROSS JOIN LATERAL (SELECT exp(ln(n) + sum(ln(s.support / n))) AS expected FROM den.found s WHERE cardinality(s.items) = 1 AND s.items <@ f.items) x
CROSS JOIN LATERAL (SELECT max(r.support * s.support / n) AS chance FROM den.found s JOIN den.found r
                    ON s.items <@ f.items AND r.items <@ f.items AND NOT s.items && r.items AND cardinality(r.items) = cardinality(f.items) - 1
                    WHERE cardinality(s.items) = 1) c
WHERE cardinality(f.items) > 1;
-- the choice, one by one
CREATE FUNCTION den.mine(lowest bigint, low int, high int) RETURNS SETOF den.weighed LANGUAGE plpgsql AS $$
DECLARE
    one den.weighed;
    kept text[] = '{}';
BEGIN
    CREATE TEMP TABLE good ON COMMIT DROP AS
    SELECT w.* FROM den.weighed w
    WHERE cardinality(items) BETWEEN low AND high AND support >= lowest AND excess > 2 * sqrt(chance)
      AND NOT EXISTS (SELECT FROM unnest(items) i LEFT JOIN den.product p ON p.sku = i WHERE p.active IS NOT TRUE)
      AND NOT EXISTS (SELECT FROM den.kit GROUP BY kit HAVING array_agg(sku ORDER BY sku) = w.items);
    DELETE FROM good g USING good l WHERE l.items @> g.items AND cardinality(l.items) = cardinality(g.items) + 1 AND l.support >= 0.9 * g.support;
    FOR one IN SELECT * FROM good ORDER BY excess DESC, items LOOP
        CONTINUE WHEN EXISTS (SELECT FROM unnest(kept) k
                              CROSS JOIN LATERAL (SELECT count(*) AS both FROM unnest(one.items) i WHERE i = ANY (string_to_array(k, ' '))) b
                              WHERE b.both > least(cardinality(one.items), cardinality(string_to_array(k, ' '))) / 2.0);
        kept = kept || array_to_string(one.items, ' ');
        RETURN NEXT one;
    END LOOP;
    DROP TABLE good;
END $$;
CREATE FUNCTION den.sorted(items text[]) RETURNS text[] LANGUAGE sql AS 'SELECT array_agg(i ORDER BY i) FROM unnest(items) i';

CREATE TABLE den.mined AS SELECT rank, den.sorted(items) AS items, name, support, expected, lift, price FROM mine_bundles('den');
SELECT results_eq($$SELECT items, support FROM den.mined ORDER BY rank$$, $$SELECT items, support FROM den.mine(1, 2, 4)$$, 'what is proposed, in this order');
SELECT is((SELECT items FROM den.mined WHERE rank = 1), '{t1,t2,t3}', 'the planted set first');
SELECT is((SELECT array_agg(rank ORDER BY rank) FROM den.mined), (SELECT array_agg(i::int) FROM generate_series(1, (SELECT count(*) FROM den.mined)) i), 'ranks count from 1');
SELECT set_eq($$SELECT items FROM den.mined WHERE NOT items && '{p,q}'$$,
    $$VALUES ('{t1,t2,t3}'::text[]), ('{g1,g2}'), ('{k1,k2}'), ('{b1,b2}'), ('{d1,d2}'), ('{i1,i2}'), ('{n1,n2}'), ('{u1,u2}')$$, 'each planted set, but the one that is curated');
SELECT is((SELECT count(*) FROM den.mined WHERE items = '{p,q}'), 0::bigint, 'nor what is popular twice');
SELECT is((SELECT count(*) FROM den.mined WHERE items = '{u1,u2,u3}'), 0::bigint, 'nor what adds one to a better one');
SELECT is((SELECT support FROM den.mined WHERE items = '{g1,g2}'), 26::bigint, 'what was returned does not count');
SELECT is((SELECT max(abs(m.expected / w.expected - 1)) < 1e-9 FROM den.mined m JOIN den.weighed w USING (items)), true, 'expected: N times the product of shares');
SELECT is((SELECT max(abs(lift - support / expected)) < 1e-9 FROM den.mined), true, 'lift: support over that');
SELECT is((SELECT name FROM den.mined WHERE items = '{t1,t2,t3}'), 'Oak tea', 'a name of shared words');
SELECT is((SELECT name FROM den.mined WHERE items = '{g1,g2}'), 'Green garden', 'as first spelled');
SELECT is((SELECT name FROM den.mined WHERE items = '{k1,k2}'), 'Kitchen', 'of the words of categories');
SELECT is((SELECT name FROM den.mined WHERE items = '{b1,b2}'), 'Bread + Butter', 'or of both categories');
SELECT is((SELECT name FROM den.mined WHERE items = '{n1,n2}'), NULL, 'or none');
SELECT is((SELECT price FROM den.mined WHERE items = '{t1,t2,t3}'), 157.725::float8, 'a price less the discount');
SELECT is((SELECT price FROM den.mined WHERE items = '{k1,k2}'), 0.27::float8, 'without the dust of binary fractions');
SELECT is((SELECT price FROM den.mined WHERE items = '{n1,n2}'), NULL, 'unknown where one is');
SELECT results_eq($$SELECT den.sorted(items), support FROM mine_bundles('den', sizes => '[2,2]')$$, $$SELECT items, support FROM den.mine(1, 2, 2)$$, 'pairs only');
SELECT results_eq($$SELECT den.sorted(items), support FROM mine_bundles('den', sizes => '[3,3]')$$, $$SELECT items, support FROM den.mine(1, 3, 3)$$, 'sets of three only');
SELECT results_eq($$SELECT den.sorted(items), support FROM mine_bundles('den', sizes => '[2,)', k => 3)$$, $$SELECT items, support FROM den.mine(1, 2, 4) LIMIT 3$$, 'the first three');
SELECT results_eq($$SELECT den.sorted(items), support FROM mine_bundles('den', min_support => 20)$$, $$SELECT items, support FROM den.mine(20, 2, 4)$$, 'of twenty baskets at least');
SELECT is((SELECT count(*) FROM mine_bundles('den', min_support => 1000)), 0::bigint, 'that is never reached');

-- the shop goes on
DELETE FROM den.product WHERE sku = 'd2';
UPDATE den.product SET active = false WHERE sku = 'i1';
INSERT INTO den.kit VALUES ('four', 'k1'), ('four', 'k2');
SELECT results_eq($$SELECT den.sorted(items), support FROM mine_bundles('den')$$, $$SELECT items, support FROM den.mine(1, 2, 4)$$, 'what is gone, asleep or curated since is not proposed');
SELECT is((SELECT count(*) FROM mine_bundles('den') WHERE items && '{d2,i1}' OR den.sorted(items) = '{k1,k2}'), 0::bigint, 'indeed');
SELECT throws_ok($$SELECT * FROM mine_bundles(NULL)$$, '22004', NULL, 'a catalog is needed');
SELECT throws_ok($$SELECT * FROM mine_bundles('den', NULL)$$, '22004', NULL, 'a number of rows');
SELECT throws_ok($$SELECT * FROM mine_bundles('den', 0)$$, '22023', NULL, 'of one at least');
SELECT throws_ok($$SELECT * FROM mine_bundles('den', sizes => NULL)$$, '22004', NULL, 'sizes');
SELECT throws_ok(format('SELECT * FROM mine_bundles(''den'', sizes => %L)', sizes), '22023', NULL, 'not ' || sizes) FROM unnest('{"[1,2]","[2,9]","[9,)","(,1]",empty}'::text[]) sizes;
SELECT throws_ok($$SELECT * FROM mine_bundles('den', min_support => 0)$$, '22023', NULL, 'support of one at least');
SELECT throws_ok($$SELECT * FROM mine_bundles('nowhere')$$, '42704', NULL, 'a catalog that is there');
SET ROLE br_test_stranger;
SELECT throws_ok($$SELECT * FROM mine_bundles('den')$$, '42501', NULL, 'a stranger is told nothing');
RESET ROLE;
GRANT SELECT ON den.product TO br_test_reader;
ALTER TABLE den.product ENABLE ROW LEVEL SECURITY;
CREATE POLICY no_oak ON den.product FOR SELECT TO br_test_reader USING (sku <> 't2');
SET ROLE br_test_reader;
SELECT is((SELECT count(*) FROM mine_bundles('den') WHERE 't2' = ANY (items)), 0::bigint, 'who may not see an item is not shown it');
SELECT is((SELECT count(*) FROM mine_bundles('den') WHERE items @> '{g1,g2}'), 1::bigint, 'but the others');
SELECT throws_ok($$SELECT * FROM detect_bundles('den', '{t1,t2,t3}')$$, '42704', 'there is no item "t2" in catalog "den"', 'nor is it looked at for him');
SELECT is((SELECT count(*) > 0 FROM detect_bundles('den', '{t1,t3}')), true, 'what he may see is');
RESET ROLE;

---- detection by fixed weights ----

CREATE FUNCTION den.logistic(x float8) RETURNS float8 LANGUAGE sql AS 'SELECT 1 / (1 + exp(-x))';
-- of a session of two items: their probability, and what is expected of them as a bundle
CREATE FUNCTION den.expectation(w float8[], words float8, category float8, copurchase float8) RETURNS float8 LANGUAGE sql AS
$$SELECT den.logistic(w[6] + (w[7] + w[8]) * p + w[10] * ln(2::float8) + w[11] + w[12] + w[13] * ln(2::float8) + w[14])
  FROM den.logistic(w[1] + w[2] * words + w[4] * category + w[5] * sqrt(copurchase)) p$$;
CREATE TABLE den.thing (id text PRIMARY KEY, title text, kind text);
INSERT INTO den.thing VALUES ('a', 'red lamp', 'Home > Light'), ('b', 'Red chair', 'Home > Seats'), ('c', 'book', NULL), ('d', NULL, 'Home/Seats');
INSERT INTO den.thing SELECT format('%s%s', theme, part), format('word%s %s', theme, (ARRAY['one', 'two', 'three', 'four', 'five'])[part]), NULL
FROM generate_series(10, 61) theme, generate_series(1, 5) part;
CREATE TABLE den.looked (session text, id text);
CREATE TABLE den.bundled (session text, bundle text);
CREATE TABLE den.bundle (bundle text, id text);
-- forty sessions of three things of one theme and two of the next, and both are bundles
INSERT INTO den.looked SELECT format('s%s', s), format('%s%s', s, part) FROM generate_series(10, 49) s, generate_series(1, 3) part
UNION ALL SELECT format('s%s', s), format('%s%s', s + 1, part) FROM generate_series(10, 49) s, generate_series(4, 5) part;
INSERT INTO den.bundle SELECT format('three%s', s), format('%s%s', s, part) FROM generate_series(10, 49) s, generate_series(1, 3) part
UNION ALL SELECT format('two%s', s), format('%s%s', s + 1, part) FROM generate_series(10, 49) s, generate_series(4, 5) part;
INSERT INTO den.bundled SELECT format('s%s', s), size || s FROM generate_series(10, 49) s, unnest('{three,two}'::text[]) size;
-- and of a session of that name elsewhere, whose bundle has nothing to do with it
INSERT INTO den.bundled VALUES ('s10', 'three30');
SELECT create_catalog('things', 'den.thing', item_id => 'id', text => '{title}', category => 'kind', model => 'tiny') \g /dev/null
SELECT add_bundle_source('things', 'den.bundle', bundle_id => 'bundle', item_id => 'id') \g /dev/null
SELECT add_event_source('things', 'den.looked', item_id => 'id', basket_id => 'session', default_kind => 'view') \g /dev/null
SELECT refresh('things', 0) \g /dev/null
\set words_weights '''{-1.92,6.11,0,2.55,4.74, 0.485,0.973,0.812,-1.302,0.791,0.946,-0.241,-0.922,0.049, 0.625}''::float8[]'
-- "red" in both: 1 + ln(3/3); "lamp" and "chair" in one: 1 + ln(3/2); half of the path is the same
SELECT results_eq($$SELECT bundle, items, round(score::numeric, 6) FROM detect_bundles('things', '{a,b}')$$,
    format($$SELECT 1, '{a,b}'::text[], round(den.expectation(%L, 1 / (1 + (1 + ln(1.5)) ^ 2), 0.5, 0)::numeric, 6)$$, :words_weights), 'two items, by hand');
SELECT results_eq($$SELECT items, round(score::numeric, 6) FROM detect_bundles('things', '{c,a}')$$,
    format($$SELECT '{c,a}'::text[], round(den.expectation(%L, 0, 0, 0)::numeric, 6)$$, :words_weights), 'with nothing in common, in the order of the session');
SELECT results_eq($$SELECT items, round(score::numeric, 6) FROM detect_bundles('things', '{d,b,d}')$$,
    format($$SELECT '{d,b}'::text[], round(den.expectation(%L, 0, 1, 0)::numeric, 6)$$, :words_weights), 'the same category in other letters, an item without a text, one twice');
SELECT is((SELECT count(*) FROM detect_bundles('things', '{a}')), 0::bigint, 'one item is no bundle');
SELECT is((SELECT count(*) FROM detect_bundles('things', '{a,a}')), 0::bigint, 'nor is it twice');
SELECT is((SELECT count(*) FROM detect_bundles('things', '{}')), 0::bigint, 'nor is none');
SELECT ok('{101,102}' <@ items, 'what belongs together by its words') FROM detect_bundles('things', '{101,204,102,205}') WHERE bundle <= 2 ORDER BY '{101,102}' <@ items DESC LIMIT 1;
SELECT is((SELECT count(*) FROM detect_bundles('things', '{101,102,103,204,205}') WHERE items IN ('{101,102,103}', '{204,205}')), 2::bigint, 'two themes are told apart');
SELECT ok((SELECT array_agg(score ORDER BY bundle) = array_agg(score ORDER BY score DESC) AND min(score) > 0 AND max(score) < 1 FROM detect_bundles('things', '{101,102,103,204,205,a,b,c}')), 'the best first');
SELECT throws_ok($$SELECT * FROM detect_bundles(NULL, '{a}')$$, '22004', NULL, 'a catalog is needed');
SELECT throws_ok($$SELECT * FROM detect_bundles('things', NULL)$$, '22004', NULL, 'items');
SELECT throws_ok($$SELECT * FROM detect_bundles('things', '{a,NULL}')$$, '22004', NULL, 'each of them');
SELECT throws_ok($$SELECT * FROM detect_bundles('things', '{a,zz}')$$, '42704', 'there is no item "zz" in catalog "things"', 'that are known');
SELECT throws_ok($$SELECT * FROM detect_bundles('things', array_fill('a'::text, ARRAY[201]))$$, '22023', '"items" names 201 items, more than the 200 of a session', '200 at most');
SELECT is((SELECT count(*) > 0 FROM detect_bundles('things', (SELECT array_agg(id) FROM (SELECT id FROM den.thing LIMIT 200) t))), true, 'which are split');
SELECT throws_ok($$SELECT * FROM detect_bundles('nowhere', '{a,b}')$$, '42704', NULL, 'a catalog that is there');
SET ROLE br_test_stranger;
SELECT throws_ok($$SELECT * FROM detect_bundles('things', '{a,b}')$$, '42501', NULL, 'a stranger learns nothing');
RESET ROLE;

-- g1 in 27 of 200 baskets, g2 in 26, 26 together: the shrunk cosine
SELECT results_eq($$SELECT items, round(score::numeric, 6) FROM detect_bundles('den', '{g1,g2}')$$,
    format($$SELECT '{g1,g2}'::text[], round(den.expectation(%L, 2 / (2 + (1 + ln(1.5)) ^ 2), 1, 26 / sqrt(27 * 26.0) * 26 / 36)::numeric, 6)$$, :words_weights), 'what was bought together counts');
-- (its words: green and garden in both, hose and rake in one)

---- detection that is learned ----

SELECT throws_ok($$SELECT * FROM fit('things', 'detector')$$, '55000', '"detector" cannot be learned of catalog "things"', 'nobody has bought a bundle');
SELECT add_event_source('things', 'den.bundled', bundle_id => 'bundle', basket_id => 'session') \g /dev/null
SELECT refresh('things', 0) \g /dev/null
SELECT is((SELECT (figures ->> 'sessions')::int FROM fit('things', 'detector')), 40, 'sessions by their id, whichever source named it');
SELECT is((SELECT (figures ->> 'pairs')::int FROM learner WHERE kind = 'detector'), 400, 'with ten pairs each');
SELECT is((SELECT (figures ->> 'f1')::float8 FROM learner WHERE kind = 'detector'), 1::float8, 'are understood');
SELECT is((SELECT (figures ->> 'exact')::float8 FROM learner WHERE kind = 'detector'), 1::float8, 'exactly');
SELECT weights AS learned FROM learned_version WHERE kind = 'detector' AND serving \gset
SELECT is(cardinality(:'learned'::float8[]), 15, 'in so many weights');
SELECT results_eq($$SELECT items, round(score::numeric, 6) FROM detect_bundles('things', '{a,b}')$$,
    format($$SELECT '{a,b}'::text[], round(den.expectation(%L, 1 / (1 + (1 + ln(1.5)) ^ 2), 0.5, 0)::numeric, 6)$$, :'learned'), 'the score is theirs');
SELECT set_eq($$SELECT items FROM detect_bundles('things', '{601,614,602,615,603}')$$, $$VALUES ('{601,602,603}'::text[]), ('{614,615}')$$, 'a session that nobody had');
SELECT throws_ok($$SELECT * FROM fit('things', 'detector', '{"l2": 0}')$$, '22023', NULL, 'a parameter out of range');
SELECT throws_ok($$SELECT * FROM fit('den', 'detector')$$, '55000', NULL, 'no basket of the other has bundles');

-- where a session's items were bought, its own basket says nothing of what belongs together in it
SELECT create_catalog('bought', 'den.thing', item_id => 'id', text => '{title}', model => 'tiny') \g /dev/null
SELECT add_bundle_source('bought', 'den.bundle', bundle_id => 'bundle', item_id => 'id') \g /dev/null
CREATE VIEW den.bought AS TABLE den.looked UNION ALL SELECT 'alone ' || id, id FROM den.looked;
SELECT add_event_source('bought', 'den.bought', item_id => 'id', basket_id => 'session') \g /dev/null
SELECT add_event_source('bought', 'den.bundled', bundle_id => 'bundle', basket_id => 'session') \g /dev/null
SELECT refresh('bought', 0) \g /dev/null
SELECT fit('bought', 'detector') \g /dev/null
SELECT is((SELECT weights[5] FROM learned_version ORDER BY version DESC LIMIT 1), 0::float8, 'so that copurchase has no weight');
SELECT drop_catalog('bought') \g /dev/null

-- every session looks like every other, so that all figures are those of one, by hand
SELECT method, metric, value, standard_error, cases, difference INTO den.figure FROM evaluate('things', 'detection', 'session', seeds => 3);
SELECT results_eq($$SELECT metric, round(value::numeric, 9) FROM den.figure WHERE method = 'whole' ORDER BY 1$$,
    $$VALUES ('exact', 0::numeric), ('f1', round(2 * 0.6 * 0.5 / 1.1, 9))$$, 'the session as one: 3 of 5, and 2 of 5');
-- of ten pairs three are in the three (2/3), six across (1/3 with the two), one is the two
SELECT results_eq($$SELECT metric, round(value::numeric, 9) FROM den.figure WHERE method = 'pairs' ORDER BY 1$$,
    $$VALUES ('exact', 0.5), ('f1', round(2 * 0.5 * (5 / 6.0) / (0.5 + 5 / 6.0), 9))$$, 'all pairs');
SELECT results_eq($$SELECT method, metric, value FROM den.figure WHERE method IN ('clusters', 'detector') ORDER BY 1, 2$$,
    $$VALUES ('clusters', 'exact', 1::float8), ('clusters', 'f1', 1), ('detector', 'exact', 1), ('detector', 'f1', 1)$$, 'what tells themes apart finds all');
SELECT is((SELECT count(DISTINCT cases) FROM den.figure), 1::bigint, 'all are asked the same');
SELECT is((SELECT max(cases) FROM den.figure),
    (SELECT count(*) FROM generate_series(10, 49) s, generate_series(0, 2) seed WHERE ('x' || left(md5('s' || s || seed), 8))::bit(32)::bigint % 5 = 0), 'those that the split tests');
SELECT is((SELECT round(difference::numeric, 9) FROM den.figure WHERE method = 'detector' AND metric = 'f1'), round(1 - 2 * 0.6 * 0.5 / 1.1, 9), 'beside the session as one');
SELECT throws_ok($$SELECT * FROM evaluate('den', 'detection', 'basket')$$, '55000', NULL, 'nothing to ask about');

-- a version that is dropped is not asked
SELECT drop_version('things', version) FROM learner WHERE kind = 'detector' \g /dev/null
SELECT results_eq($$SELECT items, round(score::numeric, 6) FROM detect_bundles('things', '{a,b}')$$,
    format($$SELECT '{a,b}'::text[], round(den.expectation(%L, 1 / (1 + (1 + ln(1.5)) ^ 2), 0.5, 0)::numeric, 6)$$, :words_weights), 'then fixed weights serve again');

-- a model that was trained may know these bundles: what the detector weighs are the embeddings that it began with
SELECT compress_model('tiny', 'tuned', 'things', 'structure', '{"neurons_removed": 0.9, "heads_removed": 0.7}') \g /dev/null
SELECT refresh('things') \g /dev/null
SELECT fitted.weights('things', 'detector') AS before \gset
SELECT alter_catalog('things', model => 'tuned') \g /dev/null
SELECT refresh('things') \g /dev/null
SELECT cmp_ok(fitted.apart(fitted.weights('things', 'detector'), :'before'), '>', .01::float8, 'other embeddings weigh otherwise');
UPDATE stored_lineage SET made_by = 'train';
SELECT cmp_ok(fitted.apart(fitted.weights('things', 'detector'), :'before'), '<', .0001::float8, 'of a trained model those weigh that it began with');

SELECT drop_catalog('things'), drop_catalog('den') \g /dev/null
DROP OWNED BY br_test_reader, br_test_stranger;
DROP ROLE br_test_reader, br_test_stranger;
SELECT * FROM finish();
