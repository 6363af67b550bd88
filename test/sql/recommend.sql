\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
\i test/sql/include/small_shop.sql
--
-- recommend.sql
--    Decisions: what is offered, what is logged, what is refused.
--
SELECT plan(93);
SET client_min_messages = warning;

-- the log of the only catalog here, whatever its number is
SELECT format('decision_%s', catalog) AS decision, format('feedback_%s', catalog) AS feedback
FROM catalog WHERE name = 'small' \gset

CREATE FUNCTION pg_temp.list_price(items text[]) RETURNS double precision LANGUAGE sql
AS 'SELECT sum(price) FROM small.product WHERE sku = ANY (items)';
CREATE FUNCTION pg_temp.cost(items text[]) RETURNS double precision LANGUAGE sql
AS 'SELECT CASE WHEN bool_and(cost IS NOT NULL) THEN sum(cost) END FROM small.product WHERE sku = ANY (items)';

---- shape ----

SELECT is((SELECT count(*) FROM recommend('small')), 5::bigint, 'five bundles by default');
SELECT results_eq($$SELECT rank FROM recommend('small', bundles => 3)$$, $$VALUES (1), (2), (3)$$,
                  'ranks count from 1');
SELECT is_empty($$SELECT * FROM recommend('small', bundles => 9) WHERE cardinality(items) NOT BETWEEN 2 AND 3$$,
                'two or three items by default');
SELECT is((SELECT count(DISTINCT items) FROM recommend('small', bundles => 9)), 9::bigint,
          'no bundle twice in a slate');
SELECT is((SELECT count(DISTINCT decision_id) FROM recommend('small')), 1::bigint, 'one decision');
SELECT is_empty($$SELECT * FROM recommend('small', bundles => 20, size => '[4,5]')
                  WHERE cardinality(items) NOT BETWEEN 4 AND 5$$, 'larger bundles');
SELECT is((SELECT count(*) FROM recommend_items('small', k => 4)), 4::bigint, 'single items');
SELECT is_empty($$SELECT * FROM recommend_items('small', k => 12) JOIN small.product ON sku = item_id
                  WHERE recommend_items.price <> product.price$$, 'items have their own price');

---- constraints ----

SELECT is_empty($$SELECT * FROM recommend('small', bundles => 50) r
                  WHERE r.price IS DISTINCT FROM pg_temp.list_price(items) OR r.list_price <> r.price OR discount <> 0$$,
                'price is the sum of prices where the catalog gives no discount');
SELECT isnt_empty($$SELECT * FROM recommend('small', bundles => 50, budget => 20)$$, 'a budget leaves some');
SELECT is_empty($$SELECT * FROM recommend('small', bundles => 50, budget => 20)
                  WHERE pg_temp.list_price(items) > 20$$, 'no bundle above the budget');
SELECT is((SELECT count(*) FROM recommend('small', bundles => 5, budget => 13.00)), 1::bigint,
          'the one pair that fits exactly (6 + 7) is found');
SELECT is_empty($$SELECT * FROM recommend('small', budget => 1)$$, 'nothing below the cheapest item');
SELECT isnt_empty($$SELECT * FROM recommend('small', bundles => 50, min_margin => .5)$$, 'a margin leaves some');
SELECT is_empty($$SELECT * FROM recommend('small', bundles => 50, min_margin => .5)
                  WHERE (pg_temp.list_price(items) - pg_temp.cost(items)) / pg_temp.list_price(items) < .5 - 1e-12
                     OR pg_temp.cost(items) IS NULL$$,
                'no bundle below the margin, none of unknown cost');
SELECT is_empty($$SELECT * FROM recommend('small', bundles => 50), unnest(items) AS sku WHERE sku IN ('p03', 'p05')$$,
                'neither out of stock nor inactive');
SELECT isnt_empty($$SELECT * FROM recommend('small', bundles => 200, in_stock => false), unnest(items) AS sku
                    WHERE sku = 'p03'$$, 'out of stock where the caller says so');
SELECT is_empty($$SELECT * FROM recommend('small', bundles => 50, categories => '{kind 1,kind 2}'), unnest(items) AS i
                  JOIN small.product ON sku = i WHERE category NOT IN ('kind 1', 'kind 2')$$, 'only the categories asked for');
SELECT is_empty($$SELECT * FROM recommend('small', basket => '{p01,p09}', exclude => '{p02}', bundles => 200),
                  unnest(items) AS i WHERE i IN ('p01', 'p09', 'p02')$$, 'neither the basket nor what is excluded');
UPDATE small.product SET stock = 0 WHERE sku = 'p16';
SELECT is_empty($$SELECT * FROM recommend('small', bundles => 200), unnest(items) AS i WHERE i = 'p16'$$,
                'sold out counts at once');
UPDATE small.product SET stock = 16 WHERE sku = 'p16';
SELECT is((SELECT count(*) FROM recommend('small', bundles => 10, size => '[2,2]', categories => '{kind 1}')), 3::bigint,
          'fewer rows where fewer bundles exist: p01, p09, p13');

-- the same products ten per cent off: 6 + 7 and 6 + 9 cost 11.70 and 13.50
SELECT create_catalog('sale', 'small.product', item_id => 'sku', price => 'price', stock => 'stock', active => 'active',
                      discount => .1) \g /dev/null
SELECT results_eq($$SELECT items, list_price, price, discount FROM recommend('sale', size => '[2,2]', budget => 13.5) ORDER BY items$$,
                  $$VALUES ('{p01,p02}'::text[], 13::float8, 11.7::float8, .1::float8), ('{p01,p04}', 15, 13.5, .1)$$,
                  'a budget bounds what is charged after the discount');
SELECT drop_catalog('sale') \g /dev/null

---- evidence ----

-- p02 was bought with p06 in 7 of its baskets
SELECT is((SELECT r.reasons -> 'pairs' -> 0 ->> 'together' FROM recommend('small', bundles => 200, size => '[2,2]') r
           WHERE items = '{p02,p06}'),
          (SELECT count(*)::text FROM small.purchase a JOIN small.purchase b USING (receipt)
           WHERE a.sku = 'p02' AND b.sku = 'p06'),
          'a reason counts what a join counts');
SELECT is((SELECT round((r.reasons -> 'pairs' -> 0 ->> 'shrunk_cosine')::numeric, 3)
           FROM recommend('small', bundles => 200, size => '[2,2]') r WHERE items = '{p02,p06}'),
          (SELECT round(b.shrunk_cosine::numeric, 3) FROM bought_together('small', '{p02}', k => 100) b WHERE item_id = 'p06'),
          'and its score is the one bought_together gives');
SELECT is_empty(
    $$SELECT p FROM recommend('small', bundles => 200) r, jsonb_array_elements(r.reasons -> 'pairs') p
      WHERE (p ->> 'together')::bigint <>
            (SELECT count(*) FROM small.purchase a JOIN small.purchase b USING (receipt)
             WHERE a.sku = p -> 'items' ->> 0 AND b.sku = p -> 'items' ->> 1)$$, 'so do all of them');
SELECT is_empty(
    $$SELECT p FROM recommend('small', bundles => 200) r, jsonb_array_elements(r.reasons -> 'pairs') p
      WHERE abs((p ->> 'similarity')::float8 -
            (SELECT greatest(1 - (a.embedding <=> b.embedding), 0) FROM item a, item b
             WHERE a.item_id = p -> 'items' ->> 0 AND b.item_id = p -> 'items' ->> 1)) > 1e-4$$, 'and similarities are those of <=>');
SELECT ok((SELECT bool_or(c ->> 'source' = 'basket' AND c ->> 'from' = 'p02' AND (c ->> 'together')::int > 0)
           FROM recommend('small', basket => '{p02}', bundles => 50) r, jsonb_array_elements(r.reasons -> 'context') c
           WHERE c ->> 'item' = 'p06'),
          'the basket is named as the reason');
SELECT ok((SELECT bool_or(c ->> 'source' = 'history') FROM recommend('small', user_id => 'u1', bundles => 50) r,
           jsonb_array_elements(r.reasons -> 'context') c), 'so is the history');
SELECT ok((SELECT bool_or(c ->> 'source' = 'query') FROM recommend('small', query => 'product 4', bundles => 50) r,
           jsonb_array_elements(r.reasons -> 'context') c), 'so is the query');
SELECT is((SELECT count(*) FROM recommend('small', user_id => 'nobody', basket => '{}')), 5::bigint,
          'an unknown user with an empty basket is served');
SELECT is((SELECT count(*) FROM recommend('small', basket => '{no such thing}')), 5::bigint,
          'an unknown basket item is ignored');

SELECT is_empty(
    $$SELECT p FROM recommend('small', basket => '{p02}', user_id => 'u1', bundles => 200) r,
             jsonb_array_elements((r.reasons -> 'pairs') || (r.reasons -> 'context')) p
      WHERE p ? 'together' AND abs((p ->> 'lift')::float8 -
            (SELECT coalesce(sum(q.together), 0) * 60.0 / (min(a.baskets) * min(b.baskets))
             FROM (SELECT coalesce(p -> 'items' ->> 0, p ->> 'from') AS one, coalesce(p -> 'items' ->> 1, p ->> 'item') AS other) n
             JOIN item i ON i.item_id = n.one JOIN item_count a ON a.item = i.item JOIN item j ON j.item_id = n.other JOIN item_count b ON b.item = j.item
             LEFT JOIN item_pair q ON q.item = i.item AND q.other = j.item)) > 1e-3 * (p ->> 'lift')::float8$$,
    'lift is N n_ij / (n_i n_j), of the 60 baskets');
SELECT isnt_empty($$SELECT FROM recommend('small', basket => '{p02}', bundles => 200) r, jsonb_array_elements(r.reasons -> 'context') c WHERE (c ->> 'lift')::float8 > 1$$,
                  'above 1 where more than expected');
SELECT is_empty(
    $$SELECT r.reasons FROM recommend('small', bundles => 200) r
      WHERE r.reasons -> 'same_category' IS DISTINCT FROM
            (SELECT CASE WHEN count(DISTINCT category) = 1 THEN to_jsonb(min(category)) END FROM small.product WHERE sku = ANY (items))$$,
    'what all items have in common');
SELECT is_empty($$SELECT reasons FROM recommend_items('small', k => 14) WHERE reasons ? 'same_category' OR reasons ? 'budget'$$, 'of one item nothing');
SELECT is_empty(
    $$SELECT r.reasons FROM recommend('small', bundles => 50, budget => 20.5) r
      WHERE r.reasons -> 'budget' <> jsonb_build_object('limit', 20.5, 'price', pg_temp.list_price(items))$$, 'the budget and what of it is spent');

-- the weights that README names: schema 2 of features, those of learners unlearned
CREATE FUNCTION pg_temp.fixed() RETURNS jsonb LANGUAGE sql
AS $$SELECT '{"content": 0.5, "copurchase": 4, "cohesion": 1, "popularity": 0.25, "freshness": 0.1, "price_fit": 0.3}'::jsonb || jsonb_build_object('bias', ln(.03 / .97))$$;
CREATE FUNCTION pg_temp.wrong(reasons jsonb, weights jsonb) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s: %s', f.key, reasons -> 'contributions' ->> f.key) FROM jsonb_each_text(reasons -> 'features') f
    WHERE f.key <> 'score' AND abs(coalesce((reasons -> 'contributions' ->> f.key)::float8, 0) - coalesce((weights ->> f.key)::float8, 0) * f.value::float8) > 1e-3
    UNION ALL SELECT 'logit' WHERE abs((SELECT sum(c.value::float8) FROM jsonb_each_text(reasons -> 'contributions') c) / (reasons ->> 'logit')::float8 - 1) > 1e-4
    UNION ALL SELECT 'score' WHERE abs(1 / (1 + exp(-(reasons ->> 'logit')::float8)) / (reasons -> 'features' ->> 'score')::float8 - 1) > 1e-3
    UNION ALL SELECT 'zero' FROM jsonb_each_text(reasons -> 'contributions') c WHERE c.value::float8 = 0 $$;
SELECT is_empty($$SELECT pg_temp.wrong(reasons, pg_temp.fixed()) FROM recommend('small', basket => '{p02}', query => 'product 4', bundles => 200)$$,
                'contributions are weight times feature, and add up to the logit of the score');
SELECT is_empty($$SELECT pg_temp.wrong(reasons, pg_temp.fixed()) FROM recommend_items('small', user_id => 'u1', k => 14)$$, 'of items too');
SELECT create_rule('small', 'twice', 'boost', '{p02,p06}', amount => 2) \g /dev/null
SELECT is_empty(
    $$SELECT pg_temp.wrong(reasons, pg_temp.fixed()) FROM recommend('small', bundles => 200) UNION ALL
      SELECT reasons ->> 'contributions' FROM recommend('small', bundles => 200)
      WHERE abs(coalesce((reasons -> 'contributions' ->> 'boost')::float8, 0) - ln(2) * ((items @> '{p02}')::int + (items @> '{p06}')::int) / cardinality(items)) > 1e-5$$,
    'and what rules add');
SELECT drop_rule('small', 'twice') \g /dev/null
SELECT is((SELECT count(*) FROM recommend('small') WHERE reasons -> 'ranker' = 'null'), 5::bigint, 'no ranker has been fitted');
-- a ranker of the largest, which is bought most: 17 weights, in the order of the features
INSERT INTO learned_version (catalog, kind, parameters, figures, weights, seconds, events, serving)
SELECT catalog, 'ranker', '{}', '{}', ARRAY[-2, 0, 1, 2, .5, 3, 0, -.25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, 0, true FROM catalog WHERE name = 'small';
SELECT is_empty(
    $$SELECT pg_temp.wrong(reasons, (SELECT jsonb_object_agg(f.name, v.weights[f.place]) FROM learned_version v,
             unnest('{bias,score,content,copurchase,cohesion,popularity,freshness,price_fit,margin,stock}'::text[]) WITH ORDINALITY f (name, place) WHERE v.kind = 'ranker'))
      FROM recommend('small', basket => '{p02}', bundles => 200)$$, 'contributions are those of the ranker in service');
SELECT results_eq($$SELECT DISTINCT (reasons ->> 'ranker')::int FROM recommend('small')$$, $$SELECT version FROM learned_version WHERE kind = 'ranker'$$, 'whose version is named');
DELETE FROM learned_version;

---- exploring ----

-- a policy that has learned nothing expects a bundle's score; what repeats an earlier slot is worth less
CREATE FUNCTION pg_temp.explored(asked text) RETURNS TABLE (decision_id bigint, rank bigint, explored boolean, expected boolean) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE replace($q$
    WITH d AS (SELECT e.* FROM @ e WHERE e.wanted = 3 AND e.filters ->> 'in_stock' = 'false'),
    pool AS (SELECT d.decision_id, u.place, d.pool_items[u.before + 1 : u.before + u.size] AS items, d.pool_features[(u.place - 1) * 17 + 2]::float8 AS score
             FROM d, LATERAL (SELECT o.place, o.size, sum(o.size) OVER (ORDER BY o.place) - o.size AS before FROM unnest(d.pool_sizes) WITH ORDINALITY o (size, place)) u),
    slot AS (SELECT d.decision_id, u.rank, d.slot_items[u.before + 1 : u.before + u.size] AS items
             FROM d, LATERAL (SELECT o.rank, o.size, sum(o.size) OVER (ORDER BY o.rank) - o.size AS before FROM unnest(d.slot_sizes) WITH ORDINALITY o (size, rank)) u),
    worth AS (SELECT s.decision_id, s.rank, p.items, p.score - d.diversity * max(p.score) OVER (PARTITION BY s.decision_id, s.rank)
                     * coalesce((SELECT max((SELECT count(*) FROM unnest(e.items) i WHERE i = ANY (p.items))::float8 / least(cardinality(e.items), cardinality(p.items)))
                                 FROM slot e WHERE e.decision_id = s.decision_id AND e.rank < s.rank), 0) AS worth,
                     EXISTS (SELECT FROM slot e WHERE e.decision_id = s.decision_id AND e.rank < s.rank AND e.items = p.items) AS taken
              FROM slot s JOIN d USING (decision_id) JOIN pool p USING (decision_id))
    SELECT s.decision_id, s.rank, (d.reasons -> (s.rank - 1)::int ->> 'explored')::boolean,
           (SELECT w.worth FROM worth w WHERE w.decision_id = s.decision_id AND w.rank = s.rank AND w.items = s.items)
           < (SELECT max(w.worth) FROM worth w WHERE w.decision_id = s.decision_id AND w.rank = s.rank AND NOT w.taken) - 1e-12
    FROM slot s JOIN d USING (decision_id) $q$, '@', asked);
END $$;
SELECT create_policy('surely', 'epsilon_greedy', 'small', '{"epsilon": 0}'), create_policy('any', 'epsilon_greedy', 'small', '{"epsilon": 1}') \g /dev/null
SELECT is_empty($$SELECT FROM recommend('small', policy => 'surely', bundles => 30) WHERE (reasons ->> 'explored')::boolean$$, 'a greedy policy never explores');
SELECT isnt_empty($$SELECT FROM recommend('small', policy => 'any', bundles => 30) WHERE (reasons ->> 'explored')::boolean$$, 'one that chooses evenly does');
SELECT count(*) FROM generate_series(0, 3) n, LATERAL recommend('small', bundles => 3, diversity => n / 3.0, in_stock => false) \g /dev/null
SELECT results_eq(format($$SELECT explored FROM pg_temp.explored(%L) ORDER BY decision_id, rank$$, :'decision'),
                  format($$SELECT expected FROM pg_temp.explored(%L) ORDER BY decision_id, rank$$, :'decision'), 'explored where another was worth more');
SELECT results_eq(format($$SELECT count(DISTINCT explored) FROM pg_temp.explored(%L)$$, :'decision'), 'VALUES (2::bigint)', 'which is so and is not so');
SELECT create_rule('small', 'hero', 'pin', '{p13,p16}') \g /dev/null
SELECT is((SELECT reasons ->> 'explored' FROM recommend('small', policy => 'surely') WHERE reasons ? 'rules'), 'false', 'what a rule pins is not explored');
SELECT is_empty($$SELECT FROM recommend('small', policy => 'surely') WHERE (reasons ->> 'explored')::boolean$$, 'nor is what stands beside it');
SELECT drop_rule('small', 'hero') \g /dev/null
SELECT drop_policy('surely'), drop_policy('any') \g /dev/null

---- reproducible ----

SELECT results_eq(
    $$SELECT rank, items, score, propensity FROM recommend('small', basket => '{p02}', seed => 42)$$,
    $$SELECT rank, items, score, propensity FROM recommend('small', basket => '{p02}', seed => 42)$$,
    'the same seed gives the same rows');
SELECT isnt((SELECT array_agg(items::text) FROM recommend('small', bundles => 9, seed => 1)),
            (SELECT array_agg(items::text) FROM recommend('small', bundles => 9, seed => 2)),
            'another seed gives others');

---- the log ----

SELECT decision_id AS id FROM recommend('small', basket => '{p02}', bundles => 4, budget => 40, user_id => 'u9') LIMIT 1 \gset
CREATE TEMP TABLE entry AS SELECT * FROM :decision WHERE decision_id = :id;

SELECT is((SELECT count(*) FROM entry), 1::bigint, 'a decision is logged');
SELECT results_eq(
    $$SELECT user_id, basket, wanted, (filters ->> 'budget')::float8, kind, deterministic FROM entry$$,
    $$VALUES ('u9', '{p02}'::text[], 4, 40::float8, 'bundle', false)$$, 'with what was asked for');
SELECT is((SELECT decision_id >> 40 FROM entry), (SELECT catalog::bigint FROM catalog WHERE name = 'small'),
          'the catalog is in the high bits of its id');
SELECT results_eq(
    $$SELECT cardinality(pool_sizes), cardinality(votes), cardinality(pool_features), cardinality(slot_features),
             (SELECT sum(s) FROM unnest(pool_sizes) s) = cardinality(pool_items) FROM entry$$,
    $$SELECT pool_size, 4 * pool_size, 17 * pool_size, 68, true FROM entry$$, 'arrays have the lengths that sizes give');
SELECT is_empty(
    $$SELECT k FROM entry, generate_series(1, 4) k
      WHERE (SELECT sum(v) FROM unnest(votes[(k - 1) * pool_size + 1 : k * pool_size]) v) <> draws$$,
    'every draw votes once per slot');

-- pool member of each slot: the one with its items
CREATE TEMP VIEW member AS
SELECT m.place, e.pool_items[m.before + 1 : m.before + m.size] AS items, m.size
FROM entry e, LATERAL (SELECT u.place, u.size, sum(u.size) OVER (ORDER BY u.place) - u.size AS before
                       FROM unnest(e.pool_sizes) WITH ORDINALITY AS u(size, place)) m;
CREATE TEMP VIEW slot AS
SELECT s.rank, e.slot_items[s.before + 1 : s.before + s.size] AS items, e.propensity[s.rank] AS propensity
FROM entry e, LATERAL (SELECT u.rank, u.size, sum(u.size) OVER (ORDER BY u.rank) - u.size AS before
                       FROM unnest(e.slot_sizes) WITH ORDINALITY AS u(size, rank)) s;
SELECT is((SELECT count(*) FROM slot JOIN member USING (items)), 4::bigint, 'every slot is a member of the pool');
SELECT is_empty(
    $$SELECT s.rank, s.propensity FROM entry e, slot s JOIN member m USING (items)
      WHERE abs(s.propensity - ((1 - e.epsilon) * e.votes[(s.rank - 1) * e.pool_size + m.place] / e.draws
                                + e.epsilon / (e.pool_size - s.rank + 1))) > 1e-12$$,
    'propensity = (1 - epsilon) votes / draws + epsilon / remaining');
SELECT is_empty(
    $$SELECT s.rank FROM entry e, slot s JOIN member m USING (items)
      WHERE e.slot_features[(s.rank - 1) * 17 + 1 : s.rank * 17] <> e.pool_features[(m.place - 1) * 17 + 1 : m.place * 17]$$,
    'features of a slot are those of its pool member');
SELECT is((SELECT bool_and(m.size BETWEEN 2 AND 3) FROM member m), true, 'the pool obeys the sizes');

SET bundle_rec.log_pool = 0;
SELECT decision_id AS bare FROM recommend('small') LIMIT 1 \gset
RESET bundle_rec.log_pool;
SELECT is((SELECT pool_items IS NULL AND votes IS NULL AND cardinality(slot_features) = 85 FROM :decision WHERE decision_id = :bare),
          true, 'without the pool the slots are still there');

SELECT is((SELECT count(*) FROM recommend('small', log => false) WHERE decision_id IS NULL), 5::bigint, 'log => false gives no id');
SELECT count(*) AS before FROM :decision \gset
SELECT count(*) FROM recommend('small', log => false) \g /dev/null
SELECT is((SELECT count(*) FROM :decision), :before::bigint, 'and logs nothing');
BEGIN READ ONLY;
SELECT is((SELECT count(*) FROM recommend('small') WHERE decision_id IS NULL), 5::bigint, 'a read-only transaction is answered');
SELECT throws_ok($$SELECT recommend('small', log => true)$$, '25006', NULL, 'but cannot log');
COMMIT;

---- bad input ----

SELECT throws_ok($$SELECT recommend('nowhere')$$, '42704', NULL, 'unknown catalog');
SELECT throws_ok($$SELECT recommend(NULL)$$, '22004', NULL, 'no catalog');
SELECT throws_ok($$SELECT recommend('small', policy => 'nobody')$$, '42704', NULL, 'unknown policy');
SELECT throws_ok($$SELECT recommend('small', bundles => 0)$$, '22023', NULL, 'no bundles');
SELECT throws_ok($$SELECT recommend('small', bundles => NULL)$$, '22023', NULL, 'NULL bundles');
SELECT throws_ok($$SELECT recommend('small', size => '[0,2]')$$, '22023', NULL, 'size 0');
SELECT throws_ok($$SELECT recommend('small', size => '[2,9]')$$, '22023', NULL, 'size 9');
SELECT throws_ok($$SELECT recommend('small', size => 'empty')$$, '22023', NULL, 'empty size');
SELECT throws_ok($$SELECT recommend('small', budget => 'NaN')$$, '22023', NULL, 'NaN budget');
SELECT throws_ok($$SELECT recommend('small', budget => -1)$$, '22023', NULL, 'negative budget');
SELECT throws_ok($$SELECT recommend('small', basket => '{p01,NULL}')$$, '22004', NULL, 'NULL in the basket');
SELECT throws_ok($$SELECT recommend('small', diversity => -1)$$, '22023', NULL, 'negative diversity');

CREATE TABLE small.bare (id int PRIMARY KEY, name text);
SELECT create_catalog('bare', 'small.bare', item_id => 'id') \g /dev/null
SELECT is_empty($$SELECT * FROM recommend('bare')$$, 'an empty catalog gives nothing');
INSERT INTO small.bare SELECT i, 'thing' FROM generate_series(1, 5) i;
SELECT is((SELECT count(*) FROM recommend('bare', bundles => 3) WHERE price IS NULL AND margin IS NULL), 3::bigint,
          'bare ids are enough for bundles');
SELECT throws_ok($$SELECT recommend('bare', budget => 5)$$, '55000', NULL, 'a budget needs prices');
SELECT throws_ok($$SELECT recommend('bare', categories => '{x}')$$, '55000', NULL, 'categories need a category');
SELECT throws_ok($$SELECT recommend('bare', policy => 'small')$$, '22023', NULL, 'a policy of another catalog');

---- explaining ----

SELECT results_eq(
    format($$SELECT rank, propensity FROM explain_decision(%s)$$, :id), 'SELECT rank::int, propensity FROM slot ORDER BY rank',
    'explain_decision gives what was logged');
SELECT throws_ok($$SELECT explain_decision(12345)$$, '42704', NULL, 'unknown decision');

CREATE FUNCTION pg_temp.sums(id bigint) RETURNS TABLE (rank int, score double precision, told double precision, parts bigint) LANGUAGE sql AS $$
    SELECT e.rank, e.score, (SELECT sum(c.value::float8) FROM jsonb_each_text(e.contributions) c), (SELECT count(*) FROM jsonb_object_keys(e.contributions))
    FROM explain_decision(id) e $$;
CREATE FUNCTION pg_temp.folded(policy text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE id bigint;
BEGIN
    SELECT r.decision_id INTO id FROM recommend('small', basket => '{p02}', bundles => 12, policy => policy) r LIMIT 1;
    PERFORM feedback(id, k, 'click', .1 * k) FROM generate_series(1, 9, 2) k;
    PERFORM fold(policy);
    SELECT r.decision_id INTO id FROM recommend('small', basket => '{p06}', user_id => 'u1', bundles => 12, policy => policy) r LIMIT 1;
    RETURN id;
END $$;
SELECT create_policy(name, algorithm, 'small', '{"keep_versions": 2}', attribution_window => '0') FROM (VALUES
    ('draws', 'linear_thompson'), ('bounds', 'linear_ucb'), ('greedy', 'epsilon_greedy'), ('logits', 'logistic_thompson')) p (name, algorithm) \g /dev/null
CREATE TABLE small.told AS SELECT name, pg_temp.folded(name) AS id FROM unnest('{draws,bounds,greedy,logits}'::text[]) name;
SELECT results_eq(
    $$SELECT name, count(*), bool_and(abs(told / score - 1) < 1e-9), min(parts) > 4 FROM small.told, pg_temp.sums(id) GROUP BY 1 ORDER BY 1$$,
    $$VALUES ('bounds', 12::bigint, true, true), ('draws', 12, true, true), ('greedy', 12, true, true), ('logits', 12, NULL, false)$$,
    'contributions sum to the score of linear policies, and others have none');
SET extra_float_digits = -15;
SELECT is((SELECT count(*) FROM small.told, pg_temp.sums(id) WHERE abs(told / score - 1) < 1e-9), 36::bigint, 'in whatever digits a session prints');
RESET extra_float_digits;
SELECT is((SELECT count(*) FROM pg_temp.sums(:id) WHERE abs(told / score - 1) < 1e-9 AND parts = 1), 4::bigint, 'what has learned nothing expects the score alone');
-- theta = contribution / feature solves (gram / noise + precision) theta = rewards / noise + precision prior, whose prior is 1 for the score
CREATE TEMP TABLE theta AS
SELECT f.place, max((e.contributions ->> f.name)::float8 / d.slot_features[(e.rank - 1) * 17 + f.place]) AS value,
       max((e.contributions ->> f.name)::float8 / d.slot_features[(e.rank - 1) * 17 + f.place])
       - min((e.contributions ->> f.name)::float8 / d.slot_features[(e.rank - 1) * 17 + f.place]) AS spread
FROM small.told t, LATERAL explain_decision(t.id) e, :decision d,
     unnest('{bias,score,content,copurchase,cohesion,popularity,freshness,price_fit,margin,stock}'::text[]) WITH ORDINALITY f (name, place)
WHERE t.name = 'draws' AND d.decision_id = t.id AND d.slot_features[(e.rank - 1) * 17 + f.place] <> 0 GROUP BY 1;
SELECT ok((SELECT count(*) = 10 AND max(spread) < 1e-9 FROM theta), 'one weight for each feature');
SELECT is_empty($$
    WITH o AS (SELECT o.evidence, (o.parameters ->> 'noise')::float8 AS noise, (o.parameters ->> 'prior_precision')::float8 AS precision
               FROM posterior o JOIN policy p USING (policy) WHERE p.name = 'draws' AND o.version = 1)
    SELECT a.place FROM o, theta a WHERE abs(
        (SELECT sum(o.evidence[19 + (greatest(a.place, b.place) * (greatest(a.place, b.place) - 1) / 2 + least(a.place, b.place))] / o.noise * b.value) FROM theta b)
        + o.precision * (a.value - (a.place = 2)::int) - o.evidence[2 + a.place] / o.noise) > 1e-9$$, 'that of the posterior mean');
SELECT count(*) FROM generate_series(1, 3) n, LATERAL (SELECT pg_temp.folded('draws') + 0 * n) f \g /dev/null
SELECT is((SELECT count(*) FROM small.told, LATERAL explain_decision(id) WHERE name = 'draws' AND contributions IS NULL AND score IS NOT NULL), 12::bigint,
          'nor has what a version decided that has gone');
SELECT drop_policy('greedy') \g /dev/null
SELECT is((SELECT count(*) FROM small.told, LATERAL explain_decision(id) WHERE name = 'greedy' AND contributions IS NULL AND policy IS NULL), 12::bigint,
          'or a policy');

---- whoever asks for more does not get less ----

-- of the items that are bought only 31 to 33 leave half of their price, in pairs that just fit; the cheapest
-- leave nothing, and those that cost nothing are too dear for any company
CREATE TABLE small.tight AS
SELECT 1000 + i AS id, CASE WHEN i BETWEEN 31 AND 33 THEN 50 WHEN i <= 60 THEN 90 WHEN i <= 300 THEN 1 ELSE 99.5 END AS price,
       CASE WHEN i BETWEEN 31 AND 33 THEN 20 WHEN i <= 60 THEN 80 WHEN i <= 300 THEN 1 ELSE 0 END AS cost FROM generate_series(1, 600) i;
CREATE TABLE small.tight_sold AS SELECT i * 1000 + r AS basket, 1000 + i AS id FROM generate_series(1, 60) i, generate_series(1, 100 - i) r;
SELECT create_catalog('tight', 'small.tight', item_id => 'id', price => 'price', cost => 'cost') \g /dev/null
SELECT add_event_source('tight', 'small.tight_sold', item_id => 'id', basket_id => 'basket') \g /dev/null
SELECT refresh('tight') \g /dev/null
SELECT set_eq($$SELECT items FROM recommend('tight', bundles => 3, size => '[2,2]', budget => 100, min_margin => .5)$$,
              $$VALUES ('{1031,1032}'::text[]), ('{1031,1033}'), ('{1032,1033}')$$, 'three that fit');
SELECT is((SELECT count(*) FROM recommend('tight', bundles => 5, size => '[2,2]', budget => 100, min_margin => .5)), 5::bigint,
          'two more, each with something cheap, beside those');
SELECT is((SELECT count(*) FROM recommend_items('tight', k => 100, budget => 100, min_margin => .5)), 100::bigint, 'a hundred items that leave it by themselves');

SELECT * FROM finish();
