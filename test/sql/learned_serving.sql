\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- learned_serving.sql
--    What fit put into service, in answers: figures of curated bundles and of
--    completions recomputed by SQL from the stored lists, and what happens when
--    versions, items and bundles go.
--
SELECT plan(58);
SET client_min_messages = error;
SET bundle_rec.backend = portable;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null

---- a shop of three themes, whose buyers mostly keep to one ----

CREATE SCHEMA theme;
CREATE TABLE theme.thing (id text PRIMARY KEY, title text, price numeric, cost numeric, since timestamptz);
INSERT INTO theme.thing
SELECT format('t%s', lpad(i::text, 2, '0')), format('thing %s for %s', i, (ARRAY['the garden', 'the kitchen', 'the sea'])[(i - 1) / 10 + 1]),
       5 + i % 4, 3 + i % 3, CASE WHEN i % 5 > 0 THEN now() - i * interval '3 days' END
FROM generate_series(1, 30) AS i;

-- four bundles of three things for each theme, each of which shares one with the next
CREATE TABLE theme.kit (kit text, id text, price numeric);
INSERT INTO theme.kit
SELECT format('k%s%s', t, j), format('t%s', lpad((10 * t + (2 * j + step) % 10 + 1)::text, 2, '0')), 15 + t + j
FROM generate_series(0, 2) AS t, generate_series(0, 3) AS j, generate_series(0, 2) AS step;
-- two that nobody buys: of the garden, and of the sea
INSERT INTO theme.kit VALUES ('cold_garden', 't03', 14), ('cold_garden', 't05', 14), ('cold_sea', 't23', 14), ('cold_sea', 't25', 14);

-- shopper s has two or three of his theme's bundles, and every tenth one of another's
CREATE TABLE theme.kit_sale (shopper text, kit text);
INSERT INTO theme.kit_sale
SELECT format('s%s', s), format('k%s%s', s % 3, (s / 3 + step * (1 + s % 2)) % 4)
FROM generate_series(1, 120) AS s, generate_series(0, 2) AS step WHERE step < 2 OR s % 4 = 0
UNION SELECT format('s%s', s), format('k%s%s', (s + 1) % 3, s % 4) FROM generate_series(10, 120, 10) AS s;

-- receipts of things that go together, most of one theme
CREATE TABLE theme.sale (receipt int, shopper text, id text, sold_at timestamptz);
INSERT INTO theme.sale
SELECT r, format('v%s', r % 40), format('t%s', lpad((CASE WHEN step = 2 AND r % 7 = 0 THEN r * 11 % 30 ELSE 10 * (r % 3) + (r / 3 + step * 4) % 10 END + 1)::text, 2, '0')),
       now() - r * interval '1 hour'
FROM generate_series(1, 240) AS r, generate_series(0, 2) AS step;

SELECT create_catalog('theme', 'theme.thing', item_id => 'id', text => '{title}', price => 'price', cost => 'cost',
                      created_at => 'since', model => 'tiny') \g /dev/null
SELECT add_bundle_source('theme', 'theme.kit', bundle_id => 'kit', item_id => 'id', price => 'price') \g /dev/null
SELECT add_event_source('theme', 'theme.kit_sale', user_id => 'shopper', bundle_id => 'kit') \g /dev/null
SELECT add_event_source('theme', 'theme.sale', user_id => 'shopper', item_id => 'id', basket_id => 'receipt', occurred_at => 'sold_at') \g /dev/null
SELECT refresh('theme') \g /dev/null
SELECT create_policy('best', 'epsilon_greedy', 'theme', params => '{"epsilon": 0}') \g /dev/null
SELECT catalog AS n FROM catalog WHERE name = 'theme' \gset

CREATE TABLE theme.asked AS SELECT DISTINCT shopper FROM theme.kit_sale WHERE right(shopper, 1) IN ('0', '4', '7');
CREATE FUNCTION theme.ranked(owned boolean DEFAULT true)
RETURNS TABLE (shopper text, rank int, bundle_id text, score float8, price float8, reasons jsonb) LANGUAGE sql
SET search_path = bundle_rec, public
BEGIN ATOMIC
    SELECT a.shopper, b.rank, b.bundle_id, b.score, b.price, b.reasons
    FROM theme.asked a, LATERAL rank_bundles('theme', a.shopper, 20, exclude_owned => owned, policy => 'best', diversity => 0, log => false) b;
END;
CREATE TABLE theme.unlearned AS SELECT * FROM theme.ranked();
CREATE TABLE theme.unlearned_completion AS SELECT * FROM complete('theme', '{t01,t05}', 40);

---- fitted ----

SELECT is((SELECT array_agg(kind ORDER BY kind) FROM fit('theme') WHERE kind LIKE '%ranker' OR kind LIKE 'bundle%'),
          '{bundle_association,bundle_companions,bundle_ease,bundle_graph,bundle_likeness,bundle_ranker,ranker}', 'all learners of bundles, and both rankers');
CREATE TABLE theme.learned AS SELECT * FROM theme.ranked(false);

-- who owns what, and what each kind's lists say to him
CREATE VIEW theme.owned AS SELECT DISTINCT s.shopper, b.bundle FROM theme.kit_sale s JOIN bundle b ON b.bundle_id = s.kit AND b.catalog = :n;
CREATE VIEW theme.list AS
SELECT v.kind, l.item, o.other, o.weight::float8 AS weight
FROM learned_version v JOIN learned_list l USING (catalog, version), unnest(l.others, l.weights) AS o(other, weight)
WHERE v.serving AND v.catalog = :n;
CREATE VIEW theme.said AS
SELECT o.shopper, l.kind, l.other, sum(l.weight) AS total, (SELECT count(*) FROM theme.owned x WHERE x.shopper = o.shopper)::float8 AS n
FROM theme.owned o JOIN theme.list l ON l.item = o.bundle WHERE l.kind LIKE 'bundle%' GROUP BY 1, 2, 3;
CREATE TABLE theme.expected AS
SELECT r.shopper, r.bundle_id, b.bundle, r.score, r.reasons -> 'features' AS features,
       coalesce((SELECT total / n ^ .25 FROM theme.said s WHERE s.shopper = r.shopper AND s.other = b.bundle AND kind = 'bundle_association'), 0)
       + coalesce((SELECT weight FROM theme.list WHERE kind = 'bundle_association' AND item = 0 AND other = b.bundle), 0) AS association,
       coalesce((SELECT total FROM theme.said s WHERE s.shopper = r.shopper AND s.other = b.bundle AND kind = 'bundle_ease'), 0) AS ease,
       coalesce((SELECT total FROM theme.said s WHERE s.shopper = r.shopper AND s.other = b.bundle AND kind = 'bundle_graph'), 0) AS factor,
       coalesce((SELECT sum(l.weight * (coalesce(s.total / s.n, 0) + (o.bundle IS NOT NULL)::int)) / sum(l.weight) * 5 / (5 + coalesce(c.purchases, 0))
                 FROM theme.list l LEFT JOIN theme.said s ON s.shopper = r.shopper AND s.other = l.other AND s.kind = 'bundle_companions'
                 LEFT JOIN theme.owned o ON o.shopper = r.shopper AND o.bundle = l.other
                 WHERE l.kind = 'bundle_likeness' AND l.item = b.bundle), 0) AS graph,
       (SELECT ln((coalesce(c.purchases, 0) + sqrt(1 + max(purchases))) / (2 * sqrt(1 + max(purchases)))) FROM bundle_count WHERE catalog = :n) AS trend
FROM theme.learned r JOIN bundle b ON b.bundle_id = r.bundle_id AND b.catalog = :n LEFT JOIN bundle_count c ON c.catalog = :n AND c.bundle = b.bundle;

-- reasons have four digits
CREATE FUNCTION theme.differs(float8, float8) RETURNS boolean IMMUTABLE LANGUAGE sql RETURN abs($1 - $2) > 1e-6 + 5e-4 * abs($2);
SELECT is((SELECT count(*) FROM theme.expected), 14 * (SELECT count(*) FROM theme.asked), 'a row for every bundle and buyer');
SELECT is_empty($$SELECT shopper, bundle_id, association, features FROM theme.expected WHERE theme.differs((features ->> 'association')::float8, association)$$, 'association is the bias, and a damped sum over the owned');
SELECT is_empty($$SELECT shopper, bundle_id, ease, features FROM theme.expected WHERE theme.differs((features ->> 'ease')::float8, ease)$$, 'ease a sum');
SELECT is_empty($$SELECT shopper, bundle_id, factor, features FROM theme.expected WHERE theme.differs((features ->> 'factor')::float8, factor)$$, 'so is what the graph says');
SELECT is_empty($$SELECT shopper, bundle_id, graph, features FROM theme.expected WHERE theme.differs((features ->> 'graph')::float8, graph)$$, 'what likes say is a mean that purchases outweigh');
SELECT is_empty($$SELECT shopper, bundle_id, trend, features FROM theme.expected WHERE theme.differs((features ->> 'trend')::float8, trend)$$, 'and trend what purchases do');
SELECT isnt_empty($$SELECT FROM theme.expected WHERE association <> 0 AND ease <> 0 AND factor <> 0 AND graph <> 0 AND trend <> 0$$, 'none of these is nothing');
-- bias, score, content, copurchase, cohesion, popularity, freshness, price_fit, margin, stock, then what is learned
SELECT is_empty($$SELECT shopper, bundle_id, features FROM theme.expected e, (SELECT weights AS w FROM learned_version WHERE kind = 'bundle_ranker' AND serving) v
    WHERE theme.differs((features ->> 'score')::float8, 1 / (1 + exp(-(w[1] + w[12] * association + w[13] * ease + w[14] * factor + w[16] * trend + w[17] * graph))))$$,
    'the score is the ranker''s, once');
SELECT is_empty($$SELECT FROM learned_version, unnest(weights[2:11]) AS w WHERE kind = 'bundle_ranker' AND w <> 0$$, 'which weighs nothing that it was not fitted to');
SELECT is_empty($$SELECT shopper FROM theme.learned GROUP BY shopper HAVING array_agg(rank ORDER BY (reasons -> 'features' ->> 'score')::float8 DESC, rank) <> array_agg(rank ORDER BY rank)$$, 'the best first');

---- cold bundles ----

-- to those who only bought of one theme, the cold bundle of that one comes first
CREATE VIEW theme.loyal AS SELECT shopper, min(substr(kit, 2, 1)) AS theme FROM theme.kit_sale JOIN theme.asked USING (shopper) GROUP BY 1 HAVING count(DISTINCT substr(kit, 2, 1)) = 1;
SELECT isnt_empty($$SELECT FROM theme.loyal WHERE theme = '0'$$, 'gardeners');
SELECT is_empty($$SELECT shopper FROM theme.loyal JOIN theme.ranked() r USING (shopper) WHERE theme = '0' GROUP BY 1
    HAVING min(rank) FILTER (WHERE bundle_id = 'cold_garden') > min(rank) FILTER (WHERE bundle_id = 'cold_sea')$$, 'a bundle that nobody bought ranks by its likes');
SELECT is_empty($$SELECT shopper FROM theme.loyal JOIN theme.ranked() r USING (shopper) WHERE theme = '2' GROUP BY 1
    HAVING min(rank) FILTER (WHERE bundle_id = 'cold_garden') < min(rank) FILTER (WHERE bundle_id = 'cold_sea')$$, 'to others the other way round');

---- rows and limits ----

SELECT is_empty($$SELECT a.shopper FROM theme.asked a LEFT JOIN theme.ranked() r USING (shopper) GROUP BY 1
    HAVING count(DISTINCT r.bundle_id) <> (SELECT count(DISTINCT k.kit) FROM theme.kit k WHERE k.id NOT IN
        (SELECT x.id FROM theme.kit_sale s JOIN theme.kit x USING (kit) WHERE s.shopper = a.shopper))$$, 'every bundle of which something is missing, once');
SELECT is_empty($$SELECT shopper, bundle_id FROM theme.ranked() r JOIN bundle b USING (bundle_id) JOIN theme.owned USING (shopper, bundle)$$, 'and none that is');
SELECT is((SELECT count(*) FROM theme.asked a, LATERAL rank_bundles('theme', a.shopper, 3, budget => 17, log => false) b WHERE b.price <= 17),
          3 * (SELECT count(*) FROM theme.asked), 'a budget leaves three');
SELECT is_empty($$SELECT FROM theme.asked a, LATERAL rank_bundles('theme', a.shopper, 5, min_margin => .3, log => false) b WHERE b.margin < .3$$, 'a margin is kept');
SELECT is((SELECT count(*) FROM rank_bundles('theme', 'nobody', 14, log => false)), 14::bigint, 'somebody who bought nothing gets what there is');
SELECT is((SELECT count(*) FROM rank_bundles('theme', k => 14, log => false)), 14::bigint, 'nobody in particular too');
SELECT is_empty($$SELECT b.bundle_id FROM rank_bundles('theme', basket => '{t01,t02}', k => 14, log => false) b,
    (SELECT weights AS w FROM learned_version WHERE kind = 'bundle_ranker' AND serving) v
    WHERE (reasons ->> 'purchase_log_odds')::float8 = 0$$, 'a basket, of which the ranker knows nothing, is scored without it');

---- complete ----

CREATE TABLE theme.completion AS SELECT * FROM complete('theme', '{t01,t05}', 40);
SELECT is((SELECT count(*) FROM theme.completion), 28::bigint, 'with a ranker all items complete a set');
CREATE TABLE theme.completed AS
WITH given AS (SELECT item, embedding FROM item WHERE catalog = :n AND item_id IN ('t01', 't05')),
     evidence AS (SELECT l.kind, l.other, sum(l.weight / CASE l.kind WHEN 'association' THEN 2 ^ .25 WHEN 'ease' THEN 1 ELSE 2 END) AS total
                  FROM theme.list l JOIN given g ON g.item = l.item GROUP BY 1, 2),
     standing AS (SELECT kind, other, weight FROM theme.list WHERE item = 0)
SELECT i.item, i.item_id,
       (SELECT max(greatest(1 - (g.embedding <=> i.embedding), 0)) FROM given g) AS content,
       coalesce((SELECT max(p.together / sqrt(a.baskets * b.baskets::float8) * p.together / (p.together + 10))
                 FROM item_pair p JOIN item_count a ON a.catalog = :n AND a.item = p.item JOIN item_count b ON b.catalog = :n AND b.item = p.other
                 WHERE p.catalog = :n AND p.item IN (SELECT item FROM given) AND p.other = i.item), 0) AS copurchase,
       (SELECT ln(1 + c.baskets::float8) / ln(1 + s.baskets::float8) FROM item_count c, catalog_coverage s WHERE c.catalog = :n AND c.item = i.item AND s.catalog = 'theme') AS popularity,
       coalesce(2 ^ (-extract(epoch FROM now() - i.created_at)::float8 / 86400 / 30), 0) AS freshness,
       coalesce((SELECT total FROM evidence WHERE other = i.item AND kind = 'lexical'), 0) AS lexical,
       coalesce((SELECT total FROM evidence WHERE other = i.item AND kind = 'association'), 0) + coalesce((SELECT weight FROM standing WHERE other = i.item AND kind = 'association'), 0) AS association,
       coalesce((SELECT total FROM evidence WHERE other = i.item AND kind = 'ease'), 0) AS ease,
       coalesce((SELECT total FROM evidence WHERE other = i.item AND kind = 'complement'), 0) AS complement,
       coalesce((SELECT weight FROM standing WHERE other = i.item AND kind = 'popularity'), 0) AS trend
FROM item i WHERE i.catalog = :n AND i.item_id NOT IN ('t01', 't05');
-- what the factors say is not stored: the scores differ from the rest by its weight times a number in [-1, 2]
SELECT is_empty($$SELECT c.item_id, c.score FROM theme.completion c JOIN theme.completed e USING (item_id),
    (SELECT weights AS w FROM learned_version WHERE kind = 'ranker' AND serving) v,
    LATERAL (SELECT ln(c.score / (1 - c.score)) - (w[1] + w[3] * content + w[4] * copurchase + w[6] * popularity + w[7] * freshness + w[11] * lexical
             + w[12] * association + w[13] * ease + w[15] * complement + w[16] * trend) AS rest) r
    WHERE rest < -w[14] - 1e-5 OR rest > 2 * w[14] + 1e-5$$, 'by what SQL makes of lists, pairs and texts');
SELECT drop_version('theme', version) FROM learner WHERE catalog = 'theme' AND kind = 'als' AND serving \g /dev/null
SELECT is_empty($$SELECT c.item_id, c.score FROM complete('theme', '{t01,t05}', 40) c JOIN theme.completed e USING (item_id),
    (SELECT weights AS w FROM learned_version WHERE kind = 'ranker' AND serving) v
    WHERE abs(c.score - 1 / (1 + exp(-(w[1] + w[3] * content + w[4] * copurchase + w[6] * popularity + w[7] * freshness + w[11] * lexical
             + w[12] * association + w[13] * ease + w[15] * complement + w[16] * trend)))) > 1e-6$$, 'exactly where no factors serve');
SELECT is((SELECT array_agg(rank ORDER BY score DESC, rank) FROM theme.completion), (SELECT array_agg(rank ORDER BY rank) FROM theme.completion), 'the best first');
-- sums of doubles hang on their order, which no plan may choose
CREATE VIEW theme.many AS SELECT g, c.* FROM generate_series(1, 20) AS g, complete('theme', ARRAY(SELECT 't' || lpad((1 + (g + i) % 30)::text, 2, '0') FROM unnest('{0,3,5,8}'::int[]) i), 40) c;
BEGIN;
CREATE TABLE theme.planned AS TABLE theme.many;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_nestloop = off;
DISCARD PLANS;
SELECT bag_eq('TABLE theme.many', 'TABLE theme.planned', 'to the last bit whatever the plan');
COMMIT;

---- versions ----

-- another version serves, and then the first one again
SELECT version AS first FROM learner WHERE catalog = 'theme' AND kind = 'bundle_ranker' AND serving \gset
CREATE TABLE theme.before AS SELECT * FROM theme.ranked();
SELECT fit('theme', 'bundle_ranker', '{"l2": 10}') \g /dev/null
SELECT isnt_empty($$SELECT FROM theme.before b JOIN theme.ranked() r USING (shopper, bundle_id) WHERE b.score <> r.score$$, 'another ranker scores differently');
SELECT serve_version('theme', :first) \g /dev/null
SELECT bag_eq('SELECT * FROM theme.ranked()', 'TABLE theme.before', 'the earlier one as it did');

SELECT drop_version('theme', version) FROM learner WHERE catalog = 'theme' AND kind = 'bundle_association' AND serving \g /dev/null
SELECT is_empty($$SELECT FROM theme.ranked() WHERE (reasons -> 'features' ->> 'association')::float8 <> 0$$, 'a learner that was dropped says nothing');
SELECT is((SELECT count(*) FROM theme.ranked()), (SELECT count(*) FROM theme.before), 'and takes no rows along');
SELECT drop_version('theme', version) FROM learner WHERE catalog = 'theme' AND kind LIKE 'bundle%' \g /dev/null
-- but for what is a few seconds older
SELECT is_empty($$SELECT FROM theme.ranked() r FULL JOIN theme.unlearned u USING (shopper, rank, bundle_id)
    WHERE (abs(r.score - u.score) < 1e-6 AND r.reasons #- '{features,freshness}' #- '{features,score}' #- '{contributions,freshness}' #- '{logit}' =
           u.reasons #- '{features,freshness}' #- '{features,score}' #- '{contributions,freshness}' #- '{logit}') IS NOT TRUE$$,
    'without learners all is as before them');
SELECT drop_version('theme', version) FROM learner WHERE catalog = 'theme' AND kind = 'ranker' \g /dev/null
SELECT results_eq($$SELECT * FROM complete('theme', '{t01,t05}', 40)$$, 'TABLE theme.unlearned_completion', 'completions too');

---- what was there when it was learned, and no longer is ----

SELECT fit('theme') \g /dev/null
DELETE FROM theme.kit WHERE kit = 'k00';
DELETE FROM theme.thing WHERE id IN ('t07', 't23');
SELECT is_empty($$SELECT FROM theme.ranked() WHERE bundle_id IN ('k00', 'cold_sea')
    OR bundle_id IN (SELECT kit FROM theme.kit WHERE id IN ('t07', 't23'))$$, 'what was deleted is not offered');
SELECT is_empty($$SELECT a.shopper FROM theme.asked a LEFT JOIN theme.ranked(false) r USING (shopper) GROUP BY 1
    HAVING count(r.rank) <> (SELECT count(*) FROM bundle_coverage WHERE catalog = 'theme' AND offered)$$, 'all that is left is');
SELECT is((SELECT count(*) FROM complete('theme', '{t01,t05}', 40)), 26::bigint, 'deleted items complete nothing');
SELECT is((SELECT count(*) FROM complete('theme', '{t01,t05}', 40) WHERE item_id IN ('t07', 't23')), 0::bigint, 'not even by the lists that name them');
SELECT is((SELECT count(*) FROM recommend('theme', 's3', bundles => 4, log => false)), 4::bigint, 'bundles are made of the others');
SELECT is_empty($$SELECT FROM generate_series(1, 20) AS seed, recommend('theme', 's3', bundles => 4, seed => seed, log => false) r WHERE r.items && '{t07,t23}'$$, 'of those alone');

---- one list of generated, curated and mined ----

-- a shop where hardly anything is a candidate: old, and never bought
SELECT drop_version('theme', version) FROM learner WHERE catalog = 'theme' \g /dev/null
INSERT INTO theme.thing SELECT format('f%s', lpad(i::text, 3, '0')), NULL, 9, 5, '2001-01-01' FROM generate_series(1, 200) AS i;
INSERT INTO theme.thing SELECT format('n%s', lpad(i::text, 3, '0')), NULL, 9, 5, now() FROM generate_series(1, 200) AS i;
SELECT refresh('theme') \g /dev/null
SET bundle_rec.log_pool = 1;
-- all of the pool of a request for three things, as sorted ids
CREATE FUNCTION theme.pool(shopper text, budget float8 DEFAULT NULL, min_margin float8 DEFAULT NULL)
RETURNS TABLE (place bigint, items text[], price_fit real, margin real) LANGUAGE plpgsql SET search_path = bundle_rec, public AS $$
DECLARE
    id bigint := (SELECT min(r.decision_id) FROM recommend('theme', shopper, bundles => 5, size => '[3,3]', budget => budget, min_margin => min_margin, seed => 1) r);
BEGIN
    RETURN QUERY SELECT i, (SELECT array_agg(x.item_id COLLATE "default" ORDER BY x.item_id) FROM item x JOIN catalog c USING (catalog) WHERE c.name = 'theme' AND x.item = ANY (d.pool_items[3 * i - 2:3 * i])),
                 d.pool_features[17 * i - 9], d.pool_features[17 * i - 8]
                 FROM decision d, generate_series(1, cardinality(d.pool_sizes)::bigint) AS i WHERE d.decision_id = id;
END $$;
CREATE TABLE theme.pool_before AS SELECT * FROM theme.pool('s3');
SELECT is((SELECT count(*) FROM theme.pool_before WHERE items::text ~ 'f050|f051'), 0::bigint, 'what is old and was never bought is no candidate');

-- a curated bundle of one thing that is a candidate and two that are not, cheaper than they are
INSERT INTO theme.kit SELECT 'shelf', id, 13.5 FROM unnest('{t01,f050,f051}'::text[]) AS id;
INSERT INTO theme.kit SELECT 'dear', id, 99 FROM unnest('{t02,f060,f061}'::text[]) AS id;
INSERT INTO theme.kit SELECT 'large', id, 5 FROM unnest('{t01,t02,t03,t04,f070}'::text[]) AS id;
INSERT INTO theme.kit SELECT 'foreign', id, 5 FROM unnest('{f080,f081,f082}'::text[]) AS id;
CREATE TABLE theme.pool_after AS SELECT * FROM theme.pool('s3');
SELECT is((SELECT count(*) FROM theme.pool_after WHERE items = '{f050,f051,t01}'), 1::bigint, 'a curated bundle brings its items along');
SELECT is((SELECT array_agg(DISTINCT i ORDER BY i) FROM theme.pool_after, unnest(items) AS i WHERE i LIKE 'f%'), '{f050,f051,f060,f061}', 'which nothing else is made of');
SELECT is((SELECT round(margin::numeric, 4) FROM theme.pool_after WHERE items = '{f050,f051,t01}'), round(1 - (4 + 5 + 5) / 13.5, 4), 'its margin is that of its own price');
SELECT is((SELECT count(*) FROM theme.pool_before b WHERE NOT EXISTS (SELECT FROM theme.pool_after a WHERE a.items = b.items) AND b.place <= 200), 0::bigint, 'the best generated ones stay');
SELECT is((SELECT count(*) FROM (SELECT FROM theme.pool_after GROUP BY items HAVING count(*) > 1) x), 0::bigint, 'each set is there once');
SELECT is((SELECT count(*) FROM theme.pool('s3', budget => 14) WHERE items IN ('{f050,f051,t01}', '{f060,f061,t02}')), 1::bigint, 'a budget is for its own price');
SELECT is((SELECT count(*) FROM theme.pool('s3', min_margin => .2) WHERE items IN ('{f050,f051,t01}', '{f060,f061,t02}')), 1::bigint, 'so is a margin');

CREATE TABLE theme.offered AS
SELECT r.* FROM generate_series(1, 60) AS seed, recommend('theme', 's' || seed, bundles => 40, size => '[3,3]', seed => seed, log => false, diversity => 0) r;
SELECT isnt_empty($$SELECT FROM theme.offered o WHERE price <> list_price$$, 'curated bundles are offered');
SELECT is_empty($$SELECT items, price FROM theme.offered o WHERE price <> list_price AND NOT EXISTS
    (SELECT FROM theme.kit k GROUP BY k.kit HAVING array_agg(k.id ORDER BY k.id) = (SELECT array_agg(x ORDER BY x) FROM unnest(o.items) AS x) AND min(k.price) = o.price::numeric)$$, 'at their own prices');
SELECT is_empty($$SELECT items, discount FROM theme.offered WHERE abs(discount - (1 - price / list_price)) > 1e-12$$, 'the discount is what these take off');
SELECT is_empty($$SELECT FROM generate_series(1, 60) AS seed, recommend('theme', 's' || seed, bundles => 20, budget => 15, min_margin => .1, seed => seed, log => false) r
    WHERE r.price > 15 OR r.margin < .1 OR r.price IS NULL
       OR abs(r.margin - (r.price - (SELECT sum(t.cost) FROM theme.thing t WHERE t.id = ANY (r.items))::float8) / r.price) > 1e-9$$, 'limits are kept by every price');
SELECT is((SELECT count(*) FROM generate_series(1, 20) AS seed, recommend('theme', 's' || seed, bundles => 20, seed => seed, log => false) r), 400::bigint, 'as many rows as are wanted');
SELECT is_empty($$SELECT FROM generate_series(1, 20) AS seed, recommend('theme', basket => '{t01,t02}', bundles => 40, size => '[3,3]', seed => seed, log => false) r WHERE r.items && '{t01,t02}'$$, 'nothing that is in the basket');
SELECT is_empty($$SELECT FROM generate_series(1, 20) AS seed, recommend('theme', 's3', exclude => '{f050}', bundles => 40, size => '[3,3]', seed => seed, log => false) r WHERE r.items && '{f050}'$$, 'nothing that is excluded');

-- mined sets, as fit leaves them
INSERT INTO learned_version (catalog, kind, parameters, figures, seconds, serving) VALUES (:n, 'itemsets', '{}', '{}', 0, true) RETURNING version AS sets \gset
SELECT format('learned_set_%s', :n) AS learned_set \gset
INSERT INTO :learned_set (version, number, items, categories, support)
SELECT :sets, n, (SELECT array_agg(item ORDER BY item) FROM item WHERE catalog = :n AND item_id = ANY (ids)), categories, 10 - n
FROM (VALUES (1, '{t03,f090,f091}'::text[], '{}'::text[]), (2, '{t04,f092}', '{kind}'), (3, '{t05,f093}', '{}'), (4, '{f094,f095,f096}', '{}'), (5, '{t01,f050,f051}', '{}')) AS s(n, ids, categories);
SELECT is((SELECT array_agg(DISTINCT i ORDER BY i) FROM theme.pool('s3'), unnest(items) AS i WHERE i LIKE 'f%'), '{f050,f051,f060,f061,f090,f091}', 'sets of that size, of things alone, that something speaks for');
SELECT is((SELECT count(*) FROM theme.pool('s3') WHERE items IN ('{f090,f091,t03}', '{f050,f051,t01}')), 2::bigint, 'each once');
DELETE FROM theme.thing WHERE id = 'f090';
SELECT is((SELECT count(*) FROM theme.pool('s3') WHERE items IN ('{f090,f091,t03}', '{f050,f051,t01}')), 1::bigint, 'not one of which something is gone');
SELECT drop_version('theme', :sets) \g /dev/null
SELECT is((SELECT array_agg(DISTINCT i ORDER BY i) FROM theme.pool('s3'), unnest(items) AS i WHERE i LIKE 'f%'), '{f050,f051,f060,f061}', 'and none of a version that was dropped');

-- who may not read the shop's bundles gets generated ones
CREATE ROLE learned_reader;
GRANT USAGE ON SCHEMA theme TO learned_reader;
GRANT SELECT ON theme.thing TO learned_reader;
SET ROLE learned_reader;
SELECT is((SELECT count(*) FROM generate_series(1, 20) AS seed, recommend('theme', 's3', bundles => 40, size => '[3,3]', seed => seed, log => false) r WHERE r.price <> r.list_price), 0::bigint, 'bundles of tables that he cannot read are not offered');
RESET ROLE;
DROP OWNED BY learned_reader;
DROP ROLE learned_reader;

SELECT * FROM finish();
