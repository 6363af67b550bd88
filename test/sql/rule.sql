\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/small_shop.sql
--
-- rule.sql
--    Merchandiser rules: what each action does to bundles, items and curated
--    bundles, that enough rows still come back, what contradicts what, and that
--    policies learn nothing from pins.
--
SELECT plan(136);
SET client_min_messages = warning;
SELECT catalog AS n, format('decision_%s', catalog) AS decision FROM catalog WHERE name = 'small' \gset
CREATE TABLE small.kit (kit text, sku text, euros numeric(8, 2));
INSERT INTO small.kit VALUES ('k1', 'p01', 12), ('k1', 'p02', 12), ('k2', 'p02', 15), ('k2', 'p06', 15), ('k3', 'p09', 20), ('k3', 'p13', 20),
    ('k4', 'p10', 30), ('k4', 'p11', 30), ('k4', 'p12', 30), ('k5', 'p15', 35), ('k5', 'p16', 35), ('k6', 'p04', 9), ('k7', 'p03', 8), ('k7', 'p04', 8);
SELECT add_bundle_source('small', 'small.kit', bundle_id => 'kit', item_id => 'sku', price => 'euros') \g /dev/null

-- all that may be offered, and the sets of two and three of them, as a reader would find them
CREATE VIEW small.offerable AS SELECT sku, category, price::float8 AS price FROM small.product WHERE active AND stock >= 1;
CREATE VIEW small.pair AS SELECT ARRAY[a.sku, b.sku] AS items, a.price + b.price AS price, ARRAY[a.category, b.category] AS categories
FROM small.offerable a JOIN small.offerable b ON a.sku < b.sku;
CREATE VIEW small.set AS TABLE small.pair
UNION ALL SELECT p.items || c.sku, p.price + c.price, p.categories || c.category FROM small.pair p JOIN small.offerable c ON c.sku > p.items[2];
CREATE FUNCTION small.categories(items text[]) RETURNS text[] LANGUAGE sql AS 'SELECT array_agg(category ORDER BY sku) FROM small.product WHERE sku = ANY (items)';
CREATE FUNCTION small.drop_rules() RETURNS bigint LANGUAGE sql AS
$$SELECT count(*) FROM (SELECT bundle_rec.drop_rule(catalog, rule) FROM bundle_rec.rule OFFSET 0) x$$;

---- arguments ----

SELECT throws_ok($$SELECT create_rule(NULL, 'r', 'ban', '{p01}')$$, '22004', NULL, 'a catalog');
SELECT throws_ok($$SELECT create_rule('small', NULL, 'ban', '{p01}')$$, '22004', NULL, 'a name');
SELECT throws_ok($$SELECT create_rule('small', '', 'ban', '{p01}')$$, '22023', NULL, 'that is not empty');
SELECT throws_ok($$SELECT create_rule('small', 'r', NULL, '{p01}')$$, '22004', NULL, 'and an action are needed');
SELECT throws_ok($$SELECT create_rule('small', 'r', 'sell', '{p01}')$$, '22023', 'there is no action "sell"', 'one of five');
SELECT throws_ok($$SELECT create_rule('nowhere', 'r', 'ban', '{p01}')$$, '42704', NULL, 'the catalog is there');
SELECT throws_ok(format('SELECT create_rule(''small'', ''r'', %s)', call), '22023', NULL, 'arguments that do not fit: ' || call) FROM unnest(ARRAY[
    $$'pin'$$, $$'pin', categories => '{kind 1}'$$, $$'pin', '{p01}', bundle_id => 'k1'$$, $$'pin', '{p01}', amount => 1$$, $$'ban'$$, $$'ban', '{p01}', slot => 1$$,
    $$'ban', '{p01}', amount => 2$$, $$'boost', '{p01}'$$, $$'boost', amount => 2$$, $$'boost', bundle_id => 'k1', amount => 2$$, $$'cap', categories => '{kind 1}'$$,
    $$'cap', '{p01}', amount => 1$$, $$'require', '{p01}'$$, $$'require', categories => '{kind 1}', amount => 1$$]) call;
SELECT throws_ok(format('SELECT create_rule(''small'', ''r'', %s)', call), '22023', NULL, 'out of range: ' || call) FROM unnest(ARRAY[
    $$'boost', '{p01}', amount => 0$$, $$'boost', '{p01}', amount => -1$$, $$'boost', '{p01}', amount => 'NaN'$$, $$'boost', '{p01}', amount => 1001$$,
    $$'cap', categories => '{kind 1}', amount => 0$$, $$'cap', categories => '{kind 1}', amount => 1.5$$, $$'cap', categories => '{kind 1}', amount => 'Infinity'$$,
    $$'pin', '{p01}', slot => 0$$, $$'pin', '{p01}', slot => 257$$, $$'ban', '{}'$$, $$'ban', '{p01}', valid => 'empty'$$,
    $$'pin', '{p01,p02,p04,p06,p07,p08,p09,p10,p11}'$$]) call;
SELECT throws_ok($$SELECT create_rule('small', 'r', 'ban', '{p01,NULL}')$$, '22004', NULL, 'a name that is NULL');
SELECT throws_ok($$SELECT create_rule('small', 'r', 'ban', '{p01,p99}')$$, '42704', 'item "p99" is not in catalog "small"', 'an unknown item');
SELECT throws_ok($$SELECT create_rule('small', 'r', 'ban', bundle_id => 'k99')$$, '42704', 'curated bundle "k99" is not in catalog "small"', 'an unknown bundle');
SELECT create_catalog('plain', 'small.product', item_id => 'sku') \g /dev/null
SELECT throws_ok($$SELECT create_rule('plain', 'r', 'ban', categories => '{kind 1}')$$, '55000', NULL, 'categories need their column');
SELECT throws_ok($$SELECT drop_rule('small', 'r')$$, '42704', 'catalog "small" has no rule "r"', 'none of these was made');
SELECT throws_ok($$SELECT drop_rule('small', NULL)$$, '22004', NULL, 'a rule is dropped by name');
SELECT lives_ok($$SELECT create_rule('small', 'early', 'ban', categories => '{kind 9}')$$, 'a category may come later');
SELECT throws_ok($$SELECT create_rule('small', 'early', 'ban', '{p01}')$$, '42710', NULL, 'a name stands for one rule');
SELECT lives_ok($$SELECT create_rule('plain', 'early', 'ban', '{p01}')$$, 'of a catalog');
SELECT results_eq($$SELECT catalog, rule, action, items, categories, in_force FROM rule ORDER BY catalog$$,
    $$VALUES ('plain', 'early' COLLATE "C", 'ban', '{p01}'::text[], NULL::text[], true), ('small', 'early', 'ban', NULL, '{kind 9}', true)$$, 'a view shows them');
SELECT drop_catalog('plain') \g /dev/null
SELECT is((SELECT count(*) FROM merchandiser_rule), 1::bigint, 'rules go with their catalog');
SELECT small.drop_rules() \g /dev/null

---- ban ----

SELECT create_rule('small', 'no first', 'ban', '{p02,p01,p02}'), create_rule('small', 'no fours', 'ban', categories => '{kind 4}') \g /dev/null
SELECT set_eq($$SELECT items FROM recommend('small', bundles => 256)$$,
    $$SELECT items FROM small.set WHERE NOT items && '{p01,p02}' AND NOT 'kind 4' = ANY (categories)$$, 'all bundles but those with what is banned');
SELECT set_eq($$SELECT item_id FROM recommend_items('small', k => 50)$$,
    $$SELECT sku FROM small.offerable WHERE sku NOT IN ('p01', 'p02') AND category <> 'kind 4'$$, 'and all such items');
SELECT is((SELECT count(*) FROM recommend('small', bundles => 20)), 20::bigint, 'half of the items are banned, and as many rows come back as are wanted');
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small')$$, $$VALUES ('k3')$$, 'and curated bundles: k1, k2, k5 and k6 are banned for an item, k4 too');
SELECT is_empty($$SELECT * FROM complete('small', '{p06}', k => 20) WHERE item_id IN ('p01', 'p02', 'p04', 'p08', 'p12', 'p16')$$, 'complete does not name them');
SELECT isnt_empty($$SELECT * FROM complete('small', '{p06}', k => 20) WHERE item_id = 'p10'$$, 'but others');
SELECT is((SELECT count(*) FROM complete('small', '{p06}', k => 4)), 4::bigint, 'and as many as are wanted');
SELECT is((SELECT count(*) FROM recommend('small', basket => '{p01}')), 5::bigint, 'what is banned may be in a basket');
SELECT small.drop_rules() \g /dev/null
SELECT create_rule('small', 'not this kit', 'ban', bundle_id => 'k3') \g /dev/null
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small')$$, $$VALUES ('k1'), ('k2'), ('k4'), ('k5'), ('k6')$$, 'one curated bundle is banned');
SELECT ok((SELECT bool_or(items = '{p09,p13}') FROM recommend('small', bundles => 256, size => '[2,2]')), 'not what it holds');
SELECT small.drop_rules() \g /dev/null
SELECT create_rule('small', 'last year', 'ban', '{p01}', valid => '[2020-01-01, 2021-01-01)'), create_rule('small', 'for ever', 'ban', '{p02}', valid => '[2020-01-01,)') \g /dev/null
SELECT set_eq($$SELECT rule, in_force FROM rule$$, $$VALUES ('for ever' COLLATE "C", true), ('last year', false)$$, 'rules have their times');
SELECT set_eq($$SELECT item_id FROM recommend_items('small', k => 50)$$, $$SELECT sku FROM small.offerable WHERE sku <> 'p02'$$, 'and hold then');
SELECT small.drop_rules() \g /dev/null

---- cap and require ----

SELECT create_rule('small', 'one of a kind', 'cap', categories => '{kind 1,kind 2}', amount => 1), create_rule('small', 'two threes', 'cap', categories => '{kind 3}', amount => 2) \g /dev/null
SELECT is_empty($$SELECT items FROM recommend('small', bundles => 256, size => '[2,5]') WHERE cardinality(array_positions(small.categories(items), 'kind 1')) > 1
    OR cardinality(array_positions(small.categories(items), 'kind 2')) > 1 OR cardinality(array_positions(small.categories(items), 'kind 3')) > 2$$, 'no bundle over a cap');
SELECT set_eq($$SELECT items FROM recommend('small', bundles => 256, size => '[2,2]')$$,
    $$SELECT items FROM small.pair WHERE NOT (categories[1] = categories[2] AND categories[1] IN ('kind 1', 'kind 2'))$$, 'all others');
SELECT set_eq($$SELECT bundle_id FROM rank_bundles('small')$$, $$VALUES ('k1'), ('k4'), ('k5'), ('k6')$$, 'curated bundles too: k2 has two of kind 2, k3 of kind 1');
SELECT small.drop_rules() \g /dev/null
SELECT create_rule('small', 'a one or two', 'require', categories => '{kind 1,kind 2}'), create_rule('small', 'a four', 'require', categories => '{kind 4}') \g /dev/null
SELECT set_eq($$SELECT items FROM recommend('small', bundles => 256)$$,
    $$SELECT items FROM small.set WHERE categories && '{kind 1,kind 2}' AND categories && '{kind 4}'$$, 'every bundle has what is required, and all such bundles are there');
SELECT is_empty($$SELECT items FROM recommend('small', bundles => 256, size => '[4,6]') WHERE NOT small.categories(items) && '{kind 1,kind 2}' OR NOT small.categories(items) && '{kind 4}'$$,
    'larger ones too');
SELECT set_eq($$SELECT DISTINCT reasons ->> 'rules' FROM recommend('small')$$, $$VALUES ('["a four", "a one or two"]')$$, 'reasons name what was required');
SELECT set_eq($$SELECT item_id FROM recommend_items('small', k => 50)$$, $$SELECT sku FROM small.offerable$$, 'single items need no company');
SELECT is((SELECT count(*) FROM rank_bundles('small')), 6::bigint, 'and curated bundles are as they are');
SET client_min_messages = notice;
SELECT count(*) AS rows FROM recommend('small', size => '[2,2]', categories => '{kind 3,kind 4}');
SET client_min_messages = warning;
SELECT small.drop_rules() \g /dev/null

---- boost ----

CREATE TABLE small.before AS SELECT items, (reasons -> 'features' ->> 'score')::float8 AS score FROM recommend('small', bundles => 256);
CREATE TABLE small.kits_before AS SELECT bundle_id, (reasons -> 'features' ->> 'score')::float8 AS score FROM rank_bundles('small');
SELECT create_rule('small', 'sale', 'boost', '{p02}', amount => 3), create_rule('small', 'twos', 'boost', categories => '{kind 2}', amount => 2),
       create_rule('small', 'fewer', 'boost', '{p06,p09}', amount => 0.25) \g /dev/null
-- what an item's odds are multiplied by: p02 and p06 are of kind 2
CREATE FUNCTION small.factor(sku text) RETURNS float8 LANGUAGE sql AS
$$SELECT CASE sku WHEN 'p02' THEN 3 ELSE 1 END * CASE WHEN sku IN ('p02', 'p06', 'p10', 'p14') THEN 2 ELSE 1 END * CASE WHEN sku IN ('p06', 'p09') THEN 0.25 ELSE 1 END$$;
CREATE FUNCTION small.boosted(score float8, items text[]) RETURNS float8 LANGUAGE sql AS
$$SELECT odds / (1 + odds) FROM (SELECT score / (1 - score) * exp(avg(ln(small.factor(i)))) AS odds FROM unnest(items) i) x$$;
SELECT is_empty($$SELECT * FROM recommend('small', bundles => 256) r JOIN small.before b USING (items)
                  WHERE abs((r.reasons -> 'features' ->> 'score')::float8 - small.boosted(b.score, items)) > 1e-3 * b.score$$, 'odds are multiplied by the mean over the items');
SELECT cmp_ok((SELECT count(*) FROM recommend('small', bundles => 256) r JOIN small.before b USING (items)), '>', 150::bigint, 'of the same bundles');
SELECT is_empty($$SELECT * FROM rank_bundles('small') r JOIN small.kits_before b USING (bundle_id)
                  WHERE abs((r.reasons -> 'features' ->> 'score')::float8 - small.boosted(b.score, r.items)) > 1e-3 * b.score$$, 'of curated bundles too');
SELECT results_eq($$SELECT item_id, reasons -> 'rules' FROM recommend_items('small', k => 50) ORDER BY item_id$$,
    $$SELECT sku, CASE WHEN sku = 'p02' THEN '["sale", "twos"]' WHEN sku = 'p06' THEN '["fewer", "twos"]' WHEN sku = 'p09' THEN '["fewer"]'
      WHEN category = 'kind 2' THEN '["twos"]' END::jsonb FROM small.offerable ORDER BY sku$$, 'reasons name the boosts');
SELECT is_empty($$SELECT * FROM recommend('small', bundles => 256) r WHERE abs(coalesce((r.reasons ->> 'boost_log_odds')::float8, 0) - (SELECT avg(ln(small.factor(i))) FROM unnest(items) i)) > 1e-3$$,
    'and tell what they add to the log-odds');
SELECT is((SELECT array_agg(item_id ORDER BY score DESC) FROM (SELECT item_id, score FROM recommend_items('small', k => 50) ORDER BY score DESC LIMIT 1) x), '{p02}'::text[],
    'what is boosted is expected to do best');
SELECT is((SELECT filters -> 'rules' FROM :decision ORDER BY decision_id DESC LIMIT 1), '["fewer", "sale", "twos"]'::jsonb, 'the log names the rules that held');
SELECT small.drop_rules() \g /dev/null

---- pin ----

SELECT create_rule('small', 'third', 'pin', '{p14,p01}', slot => 3), create_rule('small', 'hero', 'pin', '{p16,p12,p08}'),
       create_rule('small', 'item', 'pin', '{p15}', slot => 2), create_rule('small', 'kit', 'pin', bundle_id => 'k6', slot => 1) \g /dev/null
SELECT results_eq($$SELECT rank, items, propensity, reasons -> 'rules' FROM recommend('small') WHERE rank IN (1, 3) ORDER BY rank$$,
    $$VALUES (1, '{p08,p12,p16}'::text[], 1::float8, '["hero"]'::jsonb), (3, '{p01,p14}', 1, '["third"]')$$, 'pinned bundles stand at their slots, or at the first');
SELECT is((SELECT count(*) FROM recommend('small')), 5::bigint, 'beside others');
SELECT is_empty($$SELECT * FROM recommend('small') WHERE rank IN (2, 4, 5) AND (reasons ? 'rules' OR propensity = 1 OR items IN ('{p08,p12,p16}', '{p01,p14}'))$$, 'that the policy chooses');
SELECT results_eq($$SELECT rank, item_id, propensity FROM recommend_items('small') WHERE rank = 2 OR item_id = 'p15'$$, $$VALUES (2, 'p15', 1::float8)$$, 'a pinned item');
SELECT results_eq($$SELECT rank, bundle_id, propensity, reasons -> 'rules' FROM rank_bundles('small') WHERE rank = 1 OR bundle_id = 'k6'$$, $$VALUES (1, 'k6', 1::float8, '["kit"]'::jsonb)$$, 'a pinned curated bundle');
SELECT results_eq($$SELECT rank, items FROM recommend('small', bundles => 2) WHERE reasons ? 'rules'$$, $$VALUES (1, '{p08,p12,p16}'::text[])$$, 'a slot that is not asked for is not filled');
SELECT results_eq($$SELECT rank, items FROM recommend('small', bundles => 4, categories => '{kind 1,kind 2}', exclude => '{p06,p09,p10,p13,p02}')$$, $$VALUES (1, '{p01,p14}'::text[])$$,
    'where there are fewer rows, pins move up');
SELECT is_empty(format('SELECT * FROM recommend(''small'', %s) WHERE items = ''{p01,p14}''', call), 'left out where the request rules it out: ' || call) FROM unnest(ARRAY[
    $$budget => 24$$, $$min_margin => .9$$, $$exclude => '{p01}'$$, $$basket => '{p14}'$$, $$size => '[3,3]'$$, $$categories => '{kind 1}'$$]) call;
UPDATE small.product SET stock = 0 WHERE sku = 'p14';
SELECT is_empty($$SELECT * FROM recommend('small') WHERE items = '{p01,p14}'$$, 'or is not in stock');
SELECT is((SELECT count(*) FROM recommend('small')), 5::bigint, 'and others come in its place');
UPDATE small.product SET stock = 14 WHERE sku = 'p14';

-- p02 and p06 are 18 together, and 15 as k2
SELECT create_rule('small', 'as a kit', 'pin', '{p02,p06}', slot => 2) \g /dev/null
SELECT results_eq($$SELECT rank, price, propensity, reasons -> 'rules' FROM recommend('small', budget => 15, size => '[2,2]') WHERE items = '{p02,p06}'$$,
    $$VALUES (2, 15::float8, 1::float8, '["as a kit"]'::jsonb)$$, 'a pin stands at the price that a curated bundle of the same items has');
SELECT drop_rule('small', 'as a kit') \g /dev/null

-- the log, and what is made of it
SELECT decision_id AS id FROM recommend('small', bundles => 4) LIMIT 1 \gset
SELECT results_eq(format('SELECT slot_pinned > ''{0}'', pool_items IS NOT NULL, slot_pinned[2], slot_pinned[4], propensity[1], propensity[3] FROM %I WHERE decision_id = %s', :'decision', :'id'),
    $$VALUES (true, true, 0, 0, 1::float8, 1::float8)$$, 'the log says what was pinned');
SELECT results_eq(format('SELECT rank, pinned FROM decision_log WHERE decision_id = %s ORDER BY rank', :'id'), $$VALUES (1, true), (2, false), (3, true), (4, false)$$, 'and so does its view');
SELECT is_empty(format('SELECT k FROM %I d, generate_series(1, 4) k WHERE decision_id = %s AND (SELECT sum(v) FROM unnest(votes[(k - 1) * pool_size + 1 : k * pool_size]) v)
    <> CASE WHEN k IN (2, 4) THEN draws ELSE 0 END', :'decision', :'id'), 'draws vote on the other slots');
-- p = (1 - epsilon) votes / draws + epsilon / remaining; two of the pool never compete
SELECT is_empty(format($$SELECT k FROM %I d, (VALUES (2, 0), (4, 1)) s (k, before), LATERAL (
        SELECT sum(CASE WHEN v.votes > 0 THEN 1 ELSE 0 END), array_agg((1 - epsilon) * v.votes::float8 / draws + epsilon / (pool_size - 2 - s.before)) AS p
        FROM unnest(votes[(s.k - 1) * pool_size + 1 : s.k * pool_size]) v (votes)) x
    WHERE decision_id = %s AND NOT EXISTS (SELECT FROM unnest(x.p) q WHERE abs(q - d.propensity[s.k]) < 1e-12)$$, :'decision', :'id'), 'propensities are over what is left');
SELECT is((SELECT bool_and(as_logged) FROM replay_decision(:id)), true, 'the decision can be taken again');
SELECT decision_id AS kits FROM rank_bundles('small') LIMIT 1 \gset
SELECT small.drop_rules() \g /dev/null
SELECT is((SELECT bool_and(as_logged) FROM replay_decision(:id)), true, 'after its rules are gone, too');
SELECT is((SELECT bool_and(as_logged) FROM replay_decision(:kits)), true, 'and one of curated bundles');
SELECT is((SELECT reasons -> 'rules' FROM explain_decision(:id) WHERE rank = 1), '["hero"]'::jsonb, 'and be explained');

-- one policy that adds up and one that counts anew; four slots, two of them pinned
SELECT create_policy('sums', 'epsilon_greedy', 'small', attribution_window => '0'), create_policy('anew', 'logistic_thompson', 'small', attribution_window => '0'),
       create_policy('window', 'linear_thompson', 'small', '{"evidence_window": "1 day"}', attribution_window => '0') \g /dev/null
SELECT create_rule('small', 'first', 'pin', '{p01,p14}'), create_rule('small', 'second', 'pin', '{p08,p12}') \g /dev/null
CREATE TABLE small.shown AS SELECT p.policy, r.* FROM unnest('{sums,anew,window}'::text[]) p (policy), LATERAL recommend('small', policy => p.policy, bundles => 4) r;
SELECT feedback(decision_id, rank) FROM small.shown WHERE rank IN (1, 3) \g /dev/null
SELECT fold(policy) FROM (SELECT DISTINCT policy FROM small.shown) p \g /dev/null
SELECT results_eq($$SELECT p.name, o.decisions, o.events, o.evidence[1], o.evidence[2] FROM posterior o JOIN policy p USING (policy)
    WHERE p.name IN ('sums', 'anew', 'window') AND o.version = 1 ORDER BY p.name$$,
    $$VALUES ('anew', 1::bigint, 2::bigint, 2::float8, 1::float8), ('sums', 1, 2, 2, 1), ('window', 1, 2, 2, 1)$$, 'two slots and one click are learned from');
SELECT small.drop_rules() \g /dev/null

-- a first slot that was pinned says nothing of another policy, and what was pinned to a later one could not be first
SELECT create_policy('judge', 'epsilon_greedy', 'small', '{"epsilon": 1}', attribution_window => '0') \g /dev/null
DELETE FROM :decision;
SELECT create_rule('small', 'last', 'pin', '{p01,p14}', slot => 3) \g /dev/null
SELECT count(*) FROM generate_series(1, 5) i, LATERAL recommend('small', policy => 'judge', bundles => 3 + 0 * i) \g /dev/null
SELECT create_rule('small', 'first', 'pin', '{p08,p12}', slot => 1) \g /dev/null
SELECT count(*) FROM generate_series(1, 4) i, LATERAL recommend('small', policy => 'judge', bundles => 3 + 0 * i) \g /dev/null
SELECT results_eq($$SELECT n, max_weight, mean_weight FROM evaluate_policy('judge', estimators => '{ips}')$$, $$VALUES (5::bigint, 1::float8, 1::float8)$$,
    'evaluation leaves pins out');
SELECT small.drop_rules() \g /dev/null

---- contradictions ----

CREATE FUNCTION small.refusal(first text, second text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text; detail text; hint text;
BEGIN
    EXECUTE 'SELECT bundle_rec.create_rule(''small'', ''one'', ' || first || ')';
    EXECUTE 'SELECT bundle_rec.create_rule(''small'', ''two'', ' || second || ')';
    RAISE EXCEPTION USING ERRCODE = 'BR000';
EXCEPTION WHEN SQLSTATE 'BR000' THEN RETURN 'both';
WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN state || ': ' || detail || CASE WHEN hint = '' THEN '' ELSE ' ?' END;
END $$;
SELECT is(small.refusal(one, two), expected, one || ' and ' || two) FROM (VALUES
    ($$'pin', '{p01,p02}'$$, $$'ban', '{p02}'$$, '23514: Rule "one" pins item "p02", which rule "two" bans. ?'),
    ($$'ban', '{p02}'$$, $$'pin', '{p01,p02}'$$, '23514: Rule "two" pins item "p02", which rule "one" bans. ?'),
    ($$'pin', '{p01,p02}'$$, $$'ban', categories => '{kind 1}'$$, '23514: Rule "one" pins item "p01" of category "kind 1", which rule "two" bans. ?'),
    ($$'ban', bundle_id => 'k2'$$, $$'pin', bundle_id => 'k2'$$, '23514: Rule "two" pins bundle "k2", which rule "one" bans. ?'),
    ($$'ban', '{p06}'$$, $$'pin', bundle_id => 'k2'$$, '23514: Rule "two" pins item "p06", which rule "one" bans. ?'),
    ($$'pin', '{p01,p02}', slot => 1$$, $$'pin', '{p04,p06}', slot => 1$$, '23514: Rule "two" pins to slot 1, as rule "one" does. ?'),
    ($$'pin', '{p01,p02}', slot => 1$$, $$'pin', '{p02,p01}', slot => 2$$, '23514: Rule "two" pins what rule "one" pins. ?'),
    ($$'pin', '{p01,p02}', slot => 1$$, $$'pin', '{p01}', slot => 1$$, 'both'),
    ($$'pin', '{p01,p02}', slot => 1$$, $$'pin', bundle_id => 'k1', slot => 1$$, 'both'),
    ($$'pin', '{p01,p09,p02}'$$, $$'cap', categories => '{kind 1}', amount => 1$$, '23514: Rule "one" pins 2 items of category "kind 1", of which rule "two" allows 1. ?'),
    ($$'cap', categories => '{kind 2}', amount => 1$$, $$'pin', bundle_id => 'k2'$$, '23514: Rule "two" pins 2 items of category "kind 2", of which rule "one" allows 1. ?'),
    ($$'require', categories => '{kind 3,kind 4}'$$, $$'pin', '{p01,p02}'$$, '23514: Rule "two" pins no item of the categories that rule "one" requires. ?'),
    ($$'require', categories => '{kind 3,kind 4}'$$, $$'pin', '{p01,p04}'$$, 'both'),
    ($$'require', categories => '{kind 1}'$$, $$'ban', categories => '{kind 1,kind 2}'$$, '23514: Rule "one" requires categories all of which are banned at some time by rule "two". ?'),
    ($$'require', categories => '{kind 1,kind 3}'$$, $$'ban', categories => '{kind 1,kind 2}'$$, 'both'),
    ($$'pin', '{p01,p02}', valid => '[2030-01-01,2030-02-01)'$$, $$'ban', '{p02}', valid => '[2030-02-01,)'$$, 'both'),
    ($$'pin', '{p01,p02}', valid => '[2030-01-01,2030-02-01]'$$, $$'ban', '{p02}', valid => '[2030-02-01,)'$$, '23514: Rule "one" pins item "p02", which rule "two" bans. ?'),
    ($$'ban', '{p01}'$$, $$'boost', '{p01}', amount => 2$$, 'both')) v (one, two, expected);
-- two bans that together leave nothing of what is required, at times that meet only in May
SELECT create_rule('small', 'ones', 'ban', categories => '{kind 1}', valid => '[2030-01-01,2030-06-01)'), create_rule('small', 'twos', 'ban', categories => '{kind 2}', valid => '[2030-05-01,2030-12-01)') \g /dev/null
SELECT lives_ok($$SELECT create_rule('small', 'april', 'require', categories => '{kind 1,kind 2}', valid => '[2030-02-01,2030-05-01)')$$, 'something is left');
SELECT throws_ok($$SELECT create_rule('small', 'may', 'require', categories => '{kind 1,kind 2}', valid => '[2030-02-01,2030-05-02)')$$, '23514',
    'rule "may" contradicts rule "ones", "twos"', 'nothing is left');
SELECT lives_ok($$SELECT create_rule('small', 'later', 'require', categories => '{kind 1,kind 2}', valid => '[2030-06-01,)')$$, 'something is left again');
SELECT small.drop_rules() \g /dev/null
SELECT create_rule('small', 'need ' || i, 'require', categories => ARRAY['kind ' || i]) FROM generate_series(1, 4) i \g /dev/null
SELECT throws_ok($$SELECT create_rule('small', 'need 5', 'require', categories => '{kind 1,kind 2}')$$, '54000', NULL, 'there are at most four requirements at a time');
SELECT is((SELECT count(*) FROM recommend('small', size => '[1,4]', bundles => 200) WHERE small.categories(items) @> '{kind 1,kind 2,kind 3,kind 4}'), 144::bigint,
    'which 3 * 4 * 3 * 4 sets of four items meet');
SELECT small.drop_rules() \g /dev/null

---- a larger shop: what rules ask for is found wherever it is ----

CREATE TABLE small.many AS SELECT i AS id, CASE WHEN i % 500 = 7 THEN 'rare' WHEN i % 3 = 0 THEN 'other' ELSE 'common' END AS kind, 10 + i % 50 AS price FROM generate_series(1, 3000) i;
CREATE TABLE small.sold AS SELECT r AS basket, 1 + (r * 7 + s * 3) % 90 AS id FROM generate_series(1, 600) r, generate_series(0, 3) s;
DELETE FROM small.sold s USING small.many m WHERE m.id = s.id AND m.kind = 'rare';
SELECT create_catalog('many', 'small.many', item_id => 'id', price => 'price', category => 'kind') \g /dev/null
SELECT add_event_source('many', 'small.sold', item_id => 'id', basket_id => 'basket') \g /dev/null
SELECT refresh('many') \g /dev/null
SELECT create_rule('many', 'rare', 'require', categories => '{rare}') \g /dev/null
SELECT is((SELECT count(*) FROM recommend('many', basket => '{8,11}', bundles => 50) r WHERE EXISTS (SELECT FROM unnest(r.items) i JOIN small.many m ON m.id = i::int WHERE m.kind = 'rare')),
    50::bigint, 'a required category that nothing speaks for');
SELECT is((SELECT count(*) FROM recommend('many', basket => '{8,11}', bundles => 10, budget => 28, size => '[2,2]') r), 10::bigint, 'within a budget that leaves few');
SELECT drop_rule('many', 'rare'), create_rule('many', 'few', 'cap', categories => '{common,other}', amount => 1) \g /dev/null
SELECT is((SELECT count(*) FROM recommend('many', bundles => 100, size => '[3,3]') r WHERE cardinality(items) = 3), 100::bigint, 'caps that leave three kinds for three items');
SELECT drop_rule('many', 'few'), create_rule('many', 'push', 'boost', '{2999}', amount => 500) \g /dev/null
SELECT ok((SELECT bool_or(item_id = '2999') FROM recommend_items('many', basket => '{8,11}', k => 50)), 'an item that only a rule speaks for is offered');
SELECT create_rule('many', 'hero', 'pin', '{1500,2400}', slot => 2) \g /dev/null
SELECT results_eq($$SELECT rank, propensity FROM recommend('many', basket => '{8,11}') WHERE items = '{1500,2400}'$$, $$VALUES (2, 1::float8)$$, 'and so is what is pinned');

-- three kinds that nothing speaks for, each with five cheap items that are not its newest
CREATE TABLE small.wide AS SELECT 1000 + i AS id, CASE WHEN i <= 400 THEN 'common' ELSE 'kind ' || (i - 401) / 50 END AS kind,
    CASE WHEN i <= 400 THEN 1 WHEN (i - 1) % 50 < 5 THEN 5 ELSE 14 END AS price FROM generate_series(1, 550) i;
CREATE TABLE small.wide_sold AS SELECT r AS basket, 1001 + (r * 7 + s * 3) % 400 AS id FROM generate_series(1, 600) r, generate_series(0, 3) s;
SELECT create_catalog('wide', 'small.wide', item_id => 'id', price => 'price', category => 'kind') \g /dev/null
SELECT add_event_source('wide', 'small.wide_sold', item_id => 'id', basket_id => 'basket') \g /dev/null
SELECT refresh('wide') \g /dev/null
SELECT create_rule('wide', 'need 0', 'require', categories => '{kind 0}') \g /dev/null
SELECT is((SELECT count(*) FROM recommend('wide', bundles => 40, size => '[1,1]')), 40::bigint, 'many of what is required');
SELECT create_rule('wide', 'need 1', 'require', categories => '{kind 1}') \g /dev/null
SELECT is((SELECT count(*) FROM recommend('wide', bundles => 256, size => '[2,2]')), 256::bigint, 'of 50 * 50 pairs that two requirements leave');
SELECT create_rule('wide', 'need 2', 'require', categories => '{kind 2}') \g /dev/null
SELECT is((SELECT count(*) FROM recommend('wide', bundles => 100, size => '[3,3]', budget => 15)), 100::bigint, 'of 5 * 5 * 5 that three of them and a budget leave');
SELECT drop_catalog('wide') \g /dev/null

---- who may ----

CREATE ROLE br_test_rules;
GRANT USAGE ON SCHEMA small TO br_test_rules;
SET ROLE br_test_rules;
SELECT throws_ok($$SELECT create_rule('many', 'mine', 'ban', '{1}')$$, '42501', NULL, 'rules are the owner''s');
SELECT throws_ok($$SELECT drop_rule('many', 'hero')$$, '42501', NULL, 'to make and to drop');
SELECT is_empty('SELECT * FROM rule', 'and to see for those who see the items');
RESET ROLE;
GRANT SELECT ON small.many TO br_test_rules;
SET ROLE br_test_rules;
SELECT is((SELECT count(*) FROM rule), 2::bigint, 'as now');
SELECT is((SELECT count(*) FROM recommend('many', log => false) WHERE items = '{1500,2400}'), 1::bigint, 'for whom they hold');
RESET ROLE;
ALTER TABLE small.many ENABLE ROW LEVEL SECURITY;
CREATE POLICY part ON small.many TO br_test_rules USING (id <> 1500);
SET ROLE br_test_rules;
SELECT is((SELECT count(*) FROM recommend('many', log => false) WHERE '1500' = ANY (items)), 0::bigint, 'a pin shows nobody what he may not see');
SELECT is_empty('SELECT * FROM rule', 'nor does the view');
RESET ROLE;
DROP TABLE small.many CASCADE;
SELECT throws_ok($$SELECT create_rule('many', 'late', 'ban', '{1}')$$, '42P01', NULL, 'without a source there are no new rules');
SELECT lives_ok($$SELECT drop_rule('many', 'hero')$$, 'but old ones can be dropped');

SELECT * FROM finish();
