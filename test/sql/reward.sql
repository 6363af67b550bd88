\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- reward.sql
--    What counts as a reward, and when: attribution of purchases against a
--    brute-force query over the shop's own tables, windows, discount and sliding
--    window against sums over the log, and feedback by the hundred.
--
SELECT plan(83);
SET client_min_messages = warning;
SET bundle_rec.log_pool = 0;

-- 40 products, 12 curated bundles, 300 users; everything 10 % off where bundles are made up
CREATE SCHEMA shop;
CREATE TABLE shop.product (sku text PRIMARY KEY, price numeric, cost numeric);
INSERT INTO shop.product SELECT 'p' || i, 5 + i, CASE WHEN i <> 9 THEN 2 + i * .4 END FROM generate_series(1, 40) i;
CREATE TABLE shop.bundle (bundle text, sku text, quantity int, price numeric);
INSERT INTO shop.bundle SELECT 'b' || b, 'p' || 1 + (b * 3 + step * 7) % 40, 1 + step, 60 + b FROM generate_series(1, 12) b, generate_series(0, 2) step;
CREATE TABLE shop.sale (line int GENERATED ALWAYS AS IDENTITY, usr text, basket text, sku text, kind text, quantity int, at timestamptz);
CREATE TABLE shop.bundle_sale (line int GENERATED ALWAYS AS IDENTITY, usr text, bundle text, quantity int, at timestamptz);
SELECT create_catalog('shop', 'shop.product', item_id => 'sku', price => 'price', cost => 'cost', discount => .1) \g /dev/null
SELECT add_bundle_source('shop', 'shop.bundle', bundle_id => 'bundle', item_id => 'sku', quantity => 'quantity', price => 'price') \g /dev/null
CREATE TABLE shop.bare (id int PRIMARY KEY);
SELECT create_catalog('bare', 'shop.bare', item_id => 'id') \g /dev/null
SELECT format('decision_%s', catalog) AS decision, format('feedback_%s', catalog) AS feedback, catalog FROM catalog WHERE name = 'shop' \gset

---- what a reward may be ----

SELECT lives_ok($$SELECT create_policy('whole', 'linear_thompson', 'shop', attribution_window => '1 day',
                  reward => '{"click": 1, "purchase": {"weight": 10, "window": "7 days"}, "margin": {"weight": 0.5, "window": "2 days"}}')$$,
                'weights, and windows of their own');
SELECT lives_ok($$SELECT create_policy('part', 'epsilon_greedy', 'shop', '{"epsilon": 1}', attribution_window => '1 day',
                  reward => '{"partial_purchase": {"weight": 2, "window": "3 days"}, "purchase": 4}')$$, 'a window for some');
SELECT lives_ok($$SELECT create_policy('clicks', 'epsilon_greedy', 'shop', '{"epsilon": 1}', attribution_window => '0')$$, 'clicks alone');

CREATE FUNCTION pg_temp.refused(reward text, catalog_name text DEFAULT 'shop', span interval DEFAULT '1 day') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM create_policy('refused', 'linear_thompson', catalog_name, reward => reward::jsonb, attribution_window => span);
    RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT is(pg_temp.refused('{"click": {"weight": 1, "widow": "1 day"}}'), '22023 reward of kind "click" has an unknown key "widow"', 'an unknown key');
SELECT is(pg_temp.refused('{"click": {"window": "1 day"}}'), '22023 reward of kind "click" has no weight', 'no weight');
SELECT is(pg_temp.refused('{"click": {"weight": null}}'), '22023 reward of kind "click" has no weight', 'a null weight');
SELECT is(pg_temp.refused('{"click": null}'), '22023 reward of kind "click" has no weight', 'null');
SELECT is(pg_temp.refused('{"click": {"weight": "much"}}'), '22023 reward of kind "click" is not a number: "much"', 'no number');
SELECT is(pg_temp.refused('{"click": "NaN"}'), '22023 reward of kind "click" is not a number: "NaN"', 'NaN');
SELECT is(pg_temp.refused('{"click": true}'), '22023 reward of kind "click" is not a number: true', 'a truth');
SELECT is(pg_temp.refused('{"click": [1]}'), '22023 reward of kind "click" is not a number: [1]', 'a list');
SELECT is(pg_temp.refused('{"click": 1e13}'), '22023 reward of kind "click" is out of range: 10000000000000', 'a weight that could overflow');
SELECT is(pg_temp.refused('{"": 1}'), '22023 "reward" names an empty kind of feedback', 'no kind');
SELECT is(pg_temp.refused('{"click": {"weight": 1, "window": "-1 day"}}'), '22023 window of kind "click" is negative', 'a negative window');
SELECT is(pg_temp.refused('{"click": {"weight": 1, "window": 7}}'), '22023 window of kind "click" is not an interval: 7', 'a window without a unit');
SELECT is(pg_temp.refused('{"click": {"weight": 1, "window": "soon"}}'), '22007 invalid input syntax for type interval: "soon"', 'a window that is no time');
SELECT is(pg_temp.refused('{"click": 1}', span => '2000 years'), '22023 "attribution_window" is longer than 1000 years', 'a window without end');
SELECT is(pg_temp.refused('{"margin": 1}', 'bare'), '55000 the catalog has no price and cost columns, which the reward "margin" needs', 'a margin without costs');

---- one user, by hand ----

-- policies are as old as the decisions that are moved back in time below
UPDATE policy SET created_at = now() - interval '60 days';
SELECT add_event_source('shop', 'shop.sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', kind => 'kind',
                        quantity => 'quantity', occurred_at => 'at') \g /dev/null
SELECT add_event_source('shop', 'shop.bundle_sale', user_id => 'usr', bundle_id => 'bundle', quantity => 'quantity', occurred_at => 'at') \g /dev/null
SELECT refresh('shop') \g /dev/null

CREATE FUNCTION pg_temp.move(moved bigint, moment timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE decision SET decided_at = moment WHERE decision_id = moved;
    UPDATE unfolded_decision SET decided_at = moment WHERE decision_id = moved;
END $$;
CREATE FUNCTION pg_temp.attributed(wanted bigint) RETURNS TABLE (rank int, kind text, value numeric, events bigint) LANGUAGE sql AS $$
    SELECT rank, kind, round(sum(value)::numeric, 6), count(*) FROM feedback WHERE decision_id = wanted AND attributed GROUP BY 1, 2 ORDER BY 1, 2
$$;
-- p5 costs 10 and p25 30, less 10 %; they cost the shop 4 and 12
SELECT decision_id AS one FROM recommend('shop', user_id => 'ann', size => '[2,2]', bundles => 1, policy => 'whole',
    exclude => ARRAY(SELECT sku FROM shop.product WHERE sku NOT IN ('p5', 'p25'))) LIMIT 1 \gset
SELECT decision_id AS two FROM recommend('shop', user_id => 'bob', size => '[2,2]', bundles => 1, policy => 'part',
    exclude => ARRAY(SELECT sku FROM shop.product WHERE sku NOT IN ('p5', 'p25'))) LIMIT 1 \gset
SELECT pg_temp.move(:one, now() - interval '10 days'), pg_temp.move(:two, now() - interval '10 days') \g /dev/null

INSERT INTO shop.sale (usr, basket, sku, kind, quantity, at) VALUES
    ('ann', 'r1', 'p5', 'purchase', 2, now() - interval '9 days'), ('bob', 'r2', 'p5', 'purchase', 1, now() - interval '9 days 1 hour'),
    ('ann', 'r1', 'p25', 'view', 1, now() - interval '9 days'), (NULL, 'r3', 'p25', 'purchase', 1, now() - interval '9 days');
SELECT refresh('shop') \g /dev/null
SELECT is((SELECT count(*) FROM unattributed_event), 2::bigint, 'purchases of known users wait');
SELECT fold('whole') \g /dev/null
SELECT results_eq(format('SELECT * FROM pg_temp.attributed(%s)', :one), $$VALUES (1, 'margin', 10::numeric, 1::bigint)$$,
                  'two of p5 earn 2 (9 - 4)');
SELECT results_eq(format('SELECT * FROM pg_temp.attributed(%s)', :two), $$VALUES (1, 'partial_purchase', .25::numeric, 1::bigint)$$,
                  'a fold attributes what is another policy''s: p5 is a quarter of the value');
SELECT is((SELECT count(*) FROM unattributed_event), 0::bigint, 'nothing waits');
INSERT INTO shop.sale (usr, basket, sku, kind, quantity, at) VALUES
    ('ann', 'r1', 'p25', 'purchase', 1, now() - interval '4 days'), ('bob', NULL, 'p25', 'purchase', 1, now() - interval '8 days');
SELECT refresh('shop'), fold('part') \g /dev/null
SELECT results_eq(format('SELECT * FROM pg_temp.attributed(%s)', :one), $$VALUES (1, 'margin', 10::numeric, 1::bigint), (1, 'purchase', 1, 1)$$,
                  'bought whole within 7 days, but the margin of p25 is after 2 days');
SELECT results_eq(format('SELECT * FROM pg_temp.attributed(%s)', :two), $$VALUES (1, 'partial_purchase', 1::numeric, 2::bigint)$$,
                  'all of it is 1; the purchase as a whole came after the one day that it is waited for');
SELECT fold('whole') \g /dev/null
SELECT results_eq(format($$SELECT o.evidence[1], o.evidence[2] FROM posterior o JOIN policy USING (policy) WHERE name = 'whole' ORDER BY version DESC LIMIT 1$$),
                  $$VALUES (1::float8, 225::float8)$$, 'one slot, with 10 + 10 / 2');
DELETE FROM shop.sale WHERE usr = 'ann' AND sku = 'p25' AND kind = 'purchase';
INSERT INTO shop.sale (usr, basket, sku, kind, quantity, at) VALUES (NULL, 'r1', 'p5', 'return', 1, now() - interval '1 day'),
    (NULL, 'r2', 'p5', 'return', 1, now() - interval '1 day');
SELECT refresh('shop'), fold('whole') \g /dev/null
SELECT results_eq(format('SELECT * FROM pg_temp.attributed(%s)', :one), $$VALUES (1, 'margin', 5::numeric, 2::bigint), (1, 'purchase', 0, 2)$$,
                  'a row that was taken back and a return reverse');
SELECT results_eq(format('SELECT * FROM pg_temp.attributed(%s)', :two), $$VALUES (1, 'partial_purchase', .75::numeric, 3::bigint)$$,
                  'each its own slot');
SELECT fold('whole') AS version \gset
SELECT is(fold('whole'), :version, 'nothing new makes no version');

-- explicit feedback
SELECT is(feedback(:one, 1, 'margin', 7, 'order 1'), true, 'what is known better');
SELECT fold('whole') \g /dev/null
SELECT results_eq(format('SELECT * FROM pg_temp.attributed(%s)', :one), $$VALUES (1, 'margin', 0::numeric, 3::bigint), (1, 'purchase', 0, 2)$$,
                  'supersedes what was attributed');
INSERT INTO shop.sale (usr, basket, sku, kind, quantity, at) VALUES ('ann', NULL, 'p5', 'purchase', 1, now() - interval '9 days');
SELECT refresh('shop'), fold('whole') \g /dev/null
SELECT results_eq(format('SELECT * FROM pg_temp.attributed(%s)', :one), $$VALUES (1, 'margin', 0::numeric, 3::bigint), (1, 'purchase', 0, 2)$$,
                  'and what would be');
SELECT results_eq($$SELECT o.evidence[1], o.evidence[2] FROM posterior o JOIN policy USING (policy) WHERE name = 'whole' ORDER BY version DESC LIMIT 1$$,
                  $$VALUES (1::float8, 12.25::float8)$$, 'one slot still, with 7 / 2');
SELECT is((SELECT count(*) FROM feedback WHERE decision_id = :one AND event_id LIKE 'source\_%:1:margin:1'), 1::bigint, 'events are named after the source''s row');

---- whose feedback ----

SELECT throws_ok(format($$SELECT feedback(%s, 1, user_id => 'bob')$$, :one), '42501', format('decision %s was not taken for user "bob"', :one), 'another user''s decision');
SELECT is(feedback(:one, 1, user_id => 'ann'), true, 'one''s own');
SELECT decision_id AS nobody FROM recommend('shop', bundles => 1, policy => 'clicks') LIMIT 1 \gset
SELECT throws_ok(format($$SELECT feedback(%s, 1, user_id => 'ann')$$, :nobody), '42501', NULL, 'nobody''s');
SELECT throws_ok(format($$SELECT feedback(%s, 1, value => 1e13)$$, :one), '22003', NULL, 'a value that could overflow');

---- batches ----

SELECT array_agg(decision_id) AS some FROM (SELECT DISTINCT r.decision_id FROM generate_series(1, 8) i, LATERAL
    recommend('shop', user_id => 'u' || i, bundles => 2, policy => 'clicks') r) d \gset
SELECT is(feedback_batch(:'some', array_fill(1, '{8}')), 8::bigint, 'a click for each');
SELECT is(feedback_batch(:'some' || :'some'::bigint[], array_fill(1, '{8}') || array_fill(2, '{8}')), 8::bigint, 'what was recorded is not new');
SELECT is(feedback_batch('{}', '{}'), 0::bigint, 'nothing');
SELECT is(feedback_batch(:'some', array_fill(2, '{8}'), array_fill('purchase'::text, '{8}'), array_fill(2.5::float8, '{8}'), ARRAY['a', 'b', 'c', 'd', 'e', 'f', NULL, NULL],
                         (SELECT array_agg(user_id ORDER BY n) FROM unnest(:'some'::bigint[]) WITH ORDINALITY s(decision_id, n) JOIN decision USING (decision_id))), 8::bigint, 'everything given');
SELECT results_eq(format($$SELECT kind, value, count(*) FROM feedback WHERE decision_id = ANY (%L) AND rank = 2 GROUP BY 1, 2 ORDER BY 1$$, :'some'),
                  $$VALUES ('click', 1::float8, 8::bigint), ('purchase', 2.5, 8)$$, 'is recorded');
SELECT is((SELECT count(feedback(d, 1, 'seen')) FROM unnest(:'some'::bigint[]) d), 8::bigint, 'feedback over a set');
CREATE FUNCTION pg_temp.batch_error(decisions bigint[], ranks int[], kinds text[] DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE context text;
BEGIN
    PERFORM feedback_batch(decisions, ranks, kinds);
    RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RETURN SQLSTATE || ' ' || split_part(context, E'\n', 1);
END $$;
SELECT is(pg_temp.batch_error(:'some', ARRAY[1, 1, 1, 1, 1, 3, 1, 1], array_fill('later'::text, '{8}')), '22023 element 6 of feedback_batch', 'an error names its element');
SELECT is((SELECT count(*) FROM feedback WHERE kind = 'later'), 0::bigint, 'and none of the batch is there');
SELECT matches(pg_temp.batch_error(:'some', ARRAY[1, 1]), '^2202E ', 'arrays of different lengths');
SELECT matches(pg_temp.batch_error(NULL, ARRAY[1, 1]), '^22004 ', 'no decisions');
SELECT matches(pg_temp.batch_error(ARRAY[:one, NULL], ARRAY[1, 1]), '^22004 ', 'a NULL among them');
PREPARE untyped AS SELECT feedback($1, $2);
EXECUTE untyped(:one, 1) \g /dev/null
SELECT pass('parameters without types find the function');

---- a random shop ----

-- decisions of all kinds over 30 days, some of them seeded
SELECT setseed(.25) \g /dev/null
CREATE TEMP TABLE asked AS SELECT n, 'u' || 1 + (random() * 299)::int AS usr, (random() * 3)::int AS kind,
    (ARRAY['whole', 'whole', 'part', 'part', 'clicks'])[1 + (random() * 4)::int] AS policy,
    now() - interval '30 days' * random() AS at FROM generate_series(1, 900) n;
CREATE TEMP TABLE told AS
    SELECT n, (SELECT min(decision_id) FROM recommend('shop', user_id => usr, size => '[1,3]', bundles => 3, policy => policy, seed => CASE WHEN n % 20 = 0 THEN n END)) AS decision_id FROM asked WHERE kind IN (0, 1)
    UNION ALL SELECT n, (SELECT min(decision_id) FROM recommend_items('shop', user_id => usr, k => 4, policy => policy)) FROM asked WHERE kind = 2
    UNION ALL SELECT n, (SELECT min(decision_id) FROM rank_bundles('shop', user_id => usr, k => 3, policy => policy, exclude_owned => false)) FROM asked WHERE kind = 3;
SELECT count(pg_temp.move(decision_id, at)) FROM told JOIN asked USING (n) \g /dev/null

-- what each slot offered, from the log by the shop's own ids, with the shop's prices
CREATE TEMP TABLE offer AS
SELECT d.decision_id, d.kind, d.user_id, p.name AS policy, d.decided_at, s.rank::int, b.bundle_id, i.item_id AS sku,
       w.price * coalesce(m.quantity, 1) AS value, w.price::float8 * (d.price[s.rank] / d.list_price[s.rank]) - w.cost::float8 AS margin,
       (SELECT m.price - sum(x.quantity * y.cost) FROM shop.bundle x JOIN shop.product y USING (sku) WHERE x.bundle = b.bundle_id GROUP BY m.price) AS bundle_margin
FROM decision d JOIN policy p USING (policy)
CROSS JOIN LATERAL (SELECT rank, size, sum(size) OVER (ORDER BY rank) - size AS before FROM unnest(d.slot_sizes) WITH ORDINALITY u(size, rank)) s
CROSS JOIN LATERAL unnest(d.slot_items[s.before + 1 : s.before + s.size]) AS u(item)
JOIN item i ON i.item = u.item AND i.catalog = d.catalog JOIN shop.product w ON w.sku = i.item_id
LEFT JOIN bundle b ON b.bundle = d.slot_bundles[s.rank] AND b.catalog = d.catalog LEFT JOIN shop.bundle m ON m.bundle = b.bundle_id AND m.sku = i.item_id
WHERE NOT d.deterministic;
CREATE INDEX ON offer (user_id, sku);
CREATE INDEX ON offer (user_id, bundle_id);
ANALYZE offer;
SELECT is_empty($$SELECT o.decision_id FROM offer o JOIN decision d USING (decision_id) GROUP BY o.decision_id, d.slot_item_share, o.rank
                  HAVING abs(sum(value) FILTER (WHERE rank = 1) / sum(value) - 1) > 1e-9$$, 'the log is read aright');

CREATE TEMP TABLE waited (policy text, kind text, span interval);
INSERT INTO waited VALUES ('whole', 'purchase', '7 days'), ('whole', 'margin', '2 days'), ('part', 'partial_purchase', '3 days'), ('part', 'purchase', '1 day');

-- what was sold and not returned; then for each the last decision; then what each slot is worth
CREATE FUNCTION pg_temp.expected() RETURNS TABLE (decision_id bigint, rank int, kind text, value float8) LANGUAGE sql SET enable_nestloop = off AS $$
    WITH bought AS (
        SELECT row_number() OVER () AS n, * FROM (
            SELECT p.usr, p.sku, NULL AS bundle, min(p.at) AS at, sum(p.quantity) - coalesce((SELECT sum(r.quantity) FROM shop.sale r WHERE r.kind = 'return' AND r.basket = p.basket AND r.sku = p.sku), 0) AS quantity
            FROM shop.sale p WHERE p.kind = 'purchase' AND p.basket IS NOT NULL AND p.at <= now() GROUP BY p.usr, p.basket, p.sku
            UNION ALL SELECT usr, sku, NULL, at, sum(quantity) FROM shop.sale WHERE kind = 'purchase' AND basket IS NULL AND at <= now() GROUP BY usr, sku, at
            UNION ALL SELECT usr, NULL, bundle, at, sum(quantity) FROM shop.bundle_sale WHERE at <= now() GROUP BY usr, bundle, at) b
        WHERE quantity > 0 AND usr IS NOT NULL),
    credited AS MATERIALIZED (
        SELECT b.*, k.kind, (SELECT o.decision_id FROM offer o JOIN waited w USING (policy) WHERE o.user_id = b.usr AND w.kind = k.kind AND (o.sku = b.sku OR o.bundle_id = b.bundle)
                             AND o.decided_at < b.at AND b.at <= o.decided_at + w.span ORDER BY o.decided_at DESC, o.decision_id DESC LIMIT 1) AS decision_id
        FROM bought b, (SELECT DISTINCT kind FROM waited) k),
    sold AS MATERIALIZED (SELECT decision_id, kind, sku, bundle, sum(quantity) AS quantity FROM credited WHERE decision_id IS NOT NULL GROUP BY 1, 2, 3, 4),
    slot AS (
        SELECT o.decision_id, o.rank, w.kind, o.bundle_id, o.bundle_margin, bool_and(s.quantity IS NOT NULL) AS complete,
               coalesce(sum(o.value) FILTER (WHERE s.quantity IS NOT NULL), 0) / sum(o.value) AS share, coalesce(sum(o.margin * s.quantity) FILTER (WHERE o.first), 0) AS margin
        FROM (SELECT *, rank = min(rank) OVER (PARTITION BY decision_id, sku) AS first FROM offer) o JOIN waited w USING (policy)
        LEFT JOIN sold s ON s.decision_id = o.decision_id AND s.kind = w.kind AND s.sku = o.sku GROUP BY 1, 2, 3, 4, 5),
    slate AS (SELECT s.*, b.quantity AS wholes FROM slot s LEFT JOIN sold b ON b.decision_id = s.decision_id AND b.kind = s.kind AND b.bundle = s.bundle_id)
    SELECT s.decision_id, s.rank, s.kind, CASE s.kind WHEN 'purchase' THEN CASE WHEN complete OR wholes > 0 THEN 1 ELSE 0 END
           WHEN 'partial_purchase' THEN CASE WHEN wholes > 0 THEN 1 ELSE share END ELSE margin + coalesce(wholes * bundle_margin, 0) END
    FROM slate s WHERE NOT EXISTS (SELECT FROM feedback f WHERE f.decision_id = s.decision_id AND f.rank = s.rank AND f.kind = s.kind AND NOT f.attributed)
$$;
CREATE FUNCTION pg_temp.wrong() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s slot %s %s: %s, not %s', decision_id, rank, kind, f.value, e.value)
    FROM (SELECT * FROM pg_temp.expected() WHERE abs(value) > 1e-9) e
    FULL JOIN (SELECT f.decision_id, f.rank, f.kind, sum(f.value) AS value FROM feedback f JOIN decision d USING (decision_id) WHERE f.attributed AND d.anonymised_at IS NULL
               GROUP BY 1, 2, 3 HAVING abs(sum(f.value)) > 1e-9) f USING (decision_id, rank, kind)
    WHERE abs(coalesce(f.value, 0) - coalesce(e.value, 0)) > 1e-6 LIMIT 5
$$;
-- mostly what was offered lately, all over the time, in baskets of several rows or in none
CREATE FUNCTION pg_temp.sell(n int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO shop.sale (usr, basket, sku, kind, quantity, at)
    SELECT CASE WHEN random() < .95 THEN user_id END, CASE WHEN random() < .6 THEN user_id || ' ' || date_trunc('day', at) END, sku,
           CASE WHEN random() < .9 THEN 'purchase' WHEN random() < .5 THEN 'return' ELSE 'view' END, 1 + (random() * 2)::int, at
    FROM (SELECT user_id, sku, decided_at + interval '9 days' * random() ^ 2 - interval '12 hours' * (random() < .2)::int AS at FROM offer ORDER BY random() LIMIT n) o;
    INSERT INTO shop.bundle_sale (usr, bundle, quantity, at)
    SELECT user_id, bundle_id, 1 + (random() * 2)::int, decided_at + interval '4 days' * random()
    FROM (SELECT DISTINCT user_id, bundle_id, decided_at FROM offer WHERE bundle_id IS NOT NULL) o ORDER BY random() LIMIT n / 10;
$$;
-- rows of one basket belong to one user
SELECT pg_temp.sell(1500) \g /dev/null
DELETE FROM shop.sale a USING shop.sale b WHERE a.basket = b.basket AND a.usr IS DISTINCT FROM b.usr AND a.kind = 'purchase' AND a.line > b.line;
SELECT refresh('shop'), fold('whole') \g /dev/null
SELECT cmp_ok((SELECT count(*) FROM feedback WHERE attributed), '>', 300::bigint, 'much of what was sold is attributed');
SELECT is_empty('SELECT pg_temp.wrong()', 'as brute force attributes it');
SELECT fold('part') \g /dev/null

-- late rows, rows that go, rows that change, and explicit feedback, before they are counted
SELECT pg_temp.sell(700) \g /dev/null
DELETE FROM shop.sale a USING shop.sale b WHERE a.basket = b.basket AND a.usr IS DISTINCT FROM b.usr AND a.kind = 'purchase' AND a.line > b.line;
DELETE FROM shop.sale WHERE line % 5 = 0;
UPDATE shop.sale SET at = at - interval '1 day' WHERE line % 7 = 0;
UPDATE shop.sale SET quantity = 1 WHERE line % 11 = 0;
UPDATE shop.bundle_sale SET quantity = 2 WHERE line % 3 = 0;
DELETE FROM shop.bundle_sale WHERE line % 4 = 0;
INSERT INTO shop.sale (usr, sku, kind, quantity, at) SELECT user_id, sku, 'purchase', 1, now() + interval '1 hour' FROM offer LIMIT 50;
SELECT count(feedback(decision_id, rank, kind, 1)) FROM (SELECT DISTINCT decision_id, rank, w.kind FROM offer JOIN waited w USING (policy) WHERE decision_id % 7 = 0 AND rank = 1) o \g /dev/null
SELECT refresh('shop'), fold('part'), fold('whole') \g /dev/null
SELECT is_empty('SELECT pg_temp.wrong()', 'and so it is when everything changes');
SELECT results_eq('SELECT occurred_at > now(), count(*) >= 50 FROM unattributed_event GROUP BY 1', 'VALUES (true, true)', 'what has not happened yet waits');

-- the same again finds nothing, and a whole second look at every event changes nothing
SELECT count(*) AS attributed FROM feedback WHERE attributed \gset
INSERT INTO unattributed_event (catalog, source, user_id, item_id, bundle_id, basket_id, kind, quantity, occurred_at)
SELECT catalog, source, user_id, item_id, bundle_id, basket_id, kind, quantity, occurred_at FROM event WHERE kind IN ('purchase', 'return');
SELECT fold('whole') \g /dev/null
SELECT is((SELECT count(*) FROM feedback WHERE attributed), :attributed::bigint, 'events that are met again are attributed once');
SELECT is_empty('SELECT pg_temp.wrong()', 'and as they were');

-- a forgotten user's purchases are nobody's
SELECT user_id AS gone FROM decision JOIN feedback USING (decision_id) WHERE attributed AND user_id LIKE 'u%' LIMIT 1 \gset
INSERT INTO shop.sale (usr, sku, kind, quantity, at) VALUES (:'gone', 'p1', 'purchase', 1, now() + interval '1 hour');
SELECT refresh('shop') \g /dev/null
SELECT isnt_empty(format('SELECT 1 FROM unattributed_event WHERE user_id = %L', :'gone'), 'what a user will have bought waits');
SELECT forget_user('shop', :'gone') \g /dev/null
SELECT is_empty(format('SELECT 1 FROM unattributed_event WHERE user_id = %L', :'gone'), 'until he is forgotten');
SELECT count(*) AS of_gone FROM feedback JOIN decision USING (decision_id) WHERE anonymised_at IS NOT NULL \gset
INSERT INTO shop.sale (usr, sku, kind, quantity, at) SELECT :'gone', sku, 'purchase', 1, decided_at + interval '1 hour' FROM offer WHERE user_id = :'gone';
DELETE FROM shop.sale WHERE usr = :'gone' AND line % 2 = 0;
SELECT refresh('shop'), fold('whole'), fold('part') \g /dev/null
SELECT is((SELECT count(*) FROM feedback JOIN decision USING (decision_id) WHERE anonymised_at IS NOT NULL), :of_gone::bigint, 'nothing more is attributed to a forgotten user');
SELECT throws_ok(format('SELECT feedback(%s, 1, user_id => %L)', (SELECT min(decision_id) FROM decision WHERE anonymised_at IS NOT NULL), 'ann'), '42501', NULL,
                 'nor may others give feedback in his place');

---- what is counted ----

-- the evidence from the log in plain SQL; weight of a decision by its age in days at the version's time
CREATE FUNCTION pg_temp.largest_difference(of_policy text, gamma float8 DEFAULT 1, since timestamptz DEFAULT '-infinity') RETURNS float8 LANGUAGE sql AS $$
    WITH o AS (SELECT o.* FROM posterior o JOIN policy USING (policy) WHERE name = of_policy ORDER BY version DESC LIMIT 1),
    slot AS MATERIALIZED (
        SELECT power(gamma, extract(epoch FROM (SELECT as_of FROM o) - d.decided_at)::float8 / 86400) AS w,
               d.slot_features[(r - 1) * 17 + 1 : r * 17]::float8[] AS x,
               coalesce((SELECT sum(f.value * CASE f.kind || ' ' || p.name WHEN 'click whole' THEN 1 WHEN 'purchase whole' THEN 10 WHEN 'margin whole' THEN .5
                                              WHEN 'partial_purchase part' THEN 2 WHEN 'purchase part' THEN 4 WHEN 'click clicks' THEN 1 WHEN 'click fading' THEN 1 ELSE 0 END)
                         FROM feedback f WHERE f.decision_id = d.decision_id AND f.rank = r), 0) AS reward
        FROM decision d JOIN policy p USING (policy), generate_series(1, cardinality(d.slot_sizes)) r
        WHERE p.name = of_policy AND NOT d.deterministic AND d.decided_at > since AND NOT EXISTS (SELECT FROM unfolded_decision u WHERE u.decision_id = d.decision_id)),
    e AS (SELECT 1 AS place, sum(w) AS value FROM slot UNION ALL SELECT 2, sum(w * reward ^ 2) FROM slot
          UNION ALL SELECT 2 + i, sum(w * reward * x[i]) FROM slot, generate_series(1, 17) i GROUP BY i
          UNION ALL SELECT 19 + i * (i - 1) / 2 + j, sum(w * x[i] * x[j]) FROM slot, generate_series(1, 17) i, generate_series(1, i) j GROUP BY i, j)
    SELECT max(abs(e.value - o.evidence[e.place]) / greatest(1, abs(e.value))) FROM e, o
$$;
SELECT cmp_ok(pg_temp.largest_difference('whole'), '<', 1e-9::float8, 'evidence is what the log says');
SELECT cmp_ok(pg_temp.largest_difference('part'), '<', 1e-9::float8, 'of either policy');
SELECT results_eq($$SELECT policy, decisions + unfolded_decisions, events + unfolded_feedback FROM policy_state WHERE policy IN ('part', 'whole') ORDER BY 1$$,
                  $$SELECT p.name, count(*), sum((SELECT count(*) FROM feedback f WHERE f.decision_id = d.decision_id))::bigint FROM decision d JOIN policy p USING (policy)
                    WHERE p.name IN ('part', 'whole') AND NOT d.deterministic GROUP BY 1 ORDER BY 1$$, 'log = what waits + what is counted');
SELECT is_empty($$SELECT u.decision_id FROM unfolded_decision u JOIN policy p USING (policy) WHERE p.name = 'whole' AND u.decided_at + interval '7 days' <= now()$$,
                'a slot is counted when its longest window has closed');
SELECT isnt_empty($$SELECT u.decision_id FROM unfolded_decision u JOIN policy p USING (policy) WHERE p.name = 'whole' AND u.decided_at + interval '2 days' <= now()$$,
                  'and not before');

-- events that are too old to keep were bought all the same
CREATE FUNCTION pg_temp.of_old() RETURNS float8 LANGUAGE sql AS $$
    SELECT sum(f.value) FROM feedback f JOIN decision d USING (decision_id) WHERE f.attributed AND d.decided_at < now() - interval '15 days'
$$;
SELECT pg_temp.of_old() AS of_old \gset
SELECT set_retention('shop', events => '15 days'), refresh('shop') \g /dev/null
INSERT INTO shop.sale (usr, sku, kind, quantity, at) SELECT user_id, sku, 'purchase', 1, now() - interval '14 days' FROM offer;
SELECT refresh('shop'), fold('whole'), fold('part') \g /dev/null
SELECT is((SELECT count(*) FROM event WHERE occurred_at < now() - interval '16 days'), 0::bigint, 'old events go');
SELECT cmp_ok(abs(pg_temp.of_old() - :of_old), '<', 1e-9::float8, 'and what they were to decisions stays');
SELECT cmp_ok(pg_temp.largest_difference('whole'), '<', 1e-9::float8, 'counted as it was');

---- discount and sliding window ----

-- a decision that is 10 days old when it is counted, and a reward that comes 5 days later: clocks are moved, not slept
SELECT create_policy('fading', 'linear_thompson', 'shop', '{"discount": 0.9}', attribution_window => '0') \g /dev/null
SELECT decision_id AS old FROM recommend('shop', bundles => 2, policy => 'fading') LIMIT 1 \gset
SELECT pg_temp.move(:old, now() - interval '10 days') \g /dev/null
UPDATE posterior SET as_of = now() - interval '20 days' WHERE policy = (SELECT policy FROM policy WHERE name = 'fading');
SELECT is(fold('fading'), 1, 'counted');
SELECT as_of AS first FROM posterior JOIN policy USING (policy) WHERE name = 'fading' AND version = 1 \gset
SELECT cmp_ok((SELECT abs(evidence[1] - 2 * .9 ^ 10) FROM posterior JOIN policy USING (policy) WHERE name = 'fading' AND version = 1), '<', 1e-6::float8, 'two slots are worth .9^10 each');
-- as if all that had been 5 days ago
SELECT pg_temp.move(:old, decided_at - interval '5 days') FROM decision WHERE decision_id = :old \g /dev/null
UPDATE posterior SET as_of = as_of - interval '5 days' WHERE policy = (SELECT policy FROM policy WHERE name = 'fading');
SELECT feedback(:old, 2, value => 3), feedback(:old, 1, value => 2, event_id => 'late') \g /dev/null
SELECT is(fold('fading'), 2, 'and with its rewards');
SELECT cmp_ok((SELECT abs(evidence[1] - 2 * .9 ^ 15) + abs(evidence[2] - 13 * .9 ^ 15) FROM posterior JOIN policy USING (policy) WHERE name = 'fading' AND version = 2), '<', 1e-6::float8,
              'evidence of both folds is as of the second');
SELECT cmp_ok(pg_temp.largest_difference('fading', .9), '<', 1e-9::float8, 'all of it');
SELECT feedback(:old, 1, value => -2, event_id => 'returned') \g /dev/null
SELECT decision_id AS fresh FROM recommend('shop', bundles => 3, policy => 'fading') LIMIT 1 \gset
SELECT feedback(:fresh, 3) \g /dev/null
SELECT fold('fading') \g /dev/null
SELECT cmp_ok(pg_temp.largest_difference('fading', .9), '<', 1e-9::float8, 'a late reversal has the weight of its decision''s age');
SELECT is(fold('fading'), 4, 'where evidence fades, time alone makes a version');
SELECT cmp_ok(pg_temp.largest_difference('fading', .9), '<', 1e-9::float8, 'that fades on');
-- a clock that went back an hour
UPDATE posterior SET as_of = now() + interval '1 hour' WHERE policy = (SELECT policy FROM policy WHERE name = 'fading') AND version = 4;
SELECT feedback(:fresh, 2) \g /dev/null
SELECT is(fold('fading'), 5, 'a clock that goes back');
SELECT is((SELECT count(DISTINCT as_of) FROM posterior JOIN policy USING (policy) WHERE name = 'fading' AND version >= 4), 1::bigint, 'takes the time of evidence nowhere');

SELECT alter_policy('part', '{"evidence_window": "8 days"}'), alter_policy('whole', '{"evidence_window": "20 days", "discount": 0.8}') \g /dev/null
SELECT fold('part'), fold('whole') \g /dev/null
SELECT cmp_ok(pg_temp.largest_difference('part', 1, now() - interval '8 days'), '<', 1e-9::float8, 'a sliding window holds the log of its time');
SELECT cmp_ok(pg_temp.largest_difference('whole', .8, now() - interval '20 days'), '<', 1e-9::float8, 'discounted where the policy discounts');
SELECT cmp_ok((SELECT evidence[1] FROM posterior JOIN policy USING (policy) WHERE name = 'part' ORDER BY version DESC LIMIT 1), '<',
              (SELECT evidence[1] FROM posterior o JOIN policy USING (policy) WHERE name = 'part' ORDER BY version DESC OFFSET 1 LIMIT 1), 'which is less than all');
SELECT fold('part') AS version \gset
SELECT is(fold('part'), :version, 'a window in which nothing changes makes no version');

SELECT drop_catalog('shop') \g /dev/null
SELECT is((SELECT count(*) FROM unattributed_event), 0::bigint, 'nothing is left of a dropped catalog');

SELECT * FROM finish();
