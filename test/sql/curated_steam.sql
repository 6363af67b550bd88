\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- curated_steam.sql
--    300 random requests for Steam's 615 bundles: what comes back obeys every
--    constraint and is as much as there is, judged by a plain search over the
--    source tables. And what completes a set of groceries.
--
SELECT plan(25);
SELECT coalesce((pg_stat_file(:'data_dir' || '/steam/items.csv', true)).size > 0, false)
   AND coalesce((pg_stat_file(:'data_dir' || '/groceries/groceries.csv', true)).size > 0, false) AS have_data \gset
\if :have_data

\i test/sql/include/steam_shop.sql

SELECT is((SELECT count(*) FROM bundle_coverage), (SELECT count(*) FROM fact), 'every bundle is there');
SELECT set_eq($$SELECT bundle_id COLLATE "default", items COLLATE "default", price FROM bundle_coverage WHERE offered$$,
              $$SELECT bundle, ARRAY(SELECT i FROM unnest(items) i ORDER BY i COLLATE "C"), price::float8 FROM fact WHERE active AND in_stock$$, 'and offered as the source says');

---- the requests ----

CREATE TABLE request AS
SELECT call,
       CASE WHEN chance(call::text, 'user?') < .6 THEN (SELECT shopper FROM shopper s
                 WHERE s.n = 1 + floor(chance(call::text, 'user') * (SELECT count(*) FROM shopper))::bigint)
            WHEN chance(call::text, 'user?') < .7 THEN 'a stranger' END AS user_id,
       1 + floor(40 ^ chance(call::text, 'k'))::int AS k,
       (ARRAY[true, true, false, NULL])[1 + floor(chance(call::text, 'owned') * 4)::int] AS exclude_owned,
       CASE WHEN chance(call::text, 'basket?') < .4 THEN (SELECT items[1:3] FROM kit WHERE n = 1 + floor(chance(call::text, 'kit') * (SELECT count(*) FROM kit))::bigint)
            ELSE some_items(call, 'basket', floor(chance(call::text, 'basket size') * 3)::int) END AS basket,
       CASE WHEN chance(call::text, 'query?') < .1 THEN (SELECT name FROM numbered p
                 WHERE p.n = 1 + floor(chance(call::text, 'query') * (SELECT count(*) FROM numbered))::bigint) END AS query,
       CASE WHEN chance(call::text, 'budget?') < .5 THEN round((2 * 60 ^ chance(call::text, 'budget'))::numeric, 2)::float8 END AS budget,
       CASE WHEN chance(call::text, 'margin?') < .4 THEN round((-.2 + .9 * chance(call::text, 'margin'))::numeric, 3)::float8 END AS min_margin,
       CASE WHEN chance(call::text, 'genres?') < .3 THEN some_genres(call, 1 + floor(chance(call::text, 'genres') * 30)::int) END AS categories,
       CASE WHEN chance(call::text, 'exclude?') < .3 THEN some_items(call, 'exclude', 1 + floor(chance(call::text, 'excluded') * 60)::int) END AS exclude,
       chance(call::text, 'in stock') < .7 AS in_stock
FROM generate_series(1, 300) AS call;

CREATE TABLE answer AS
SELECT q.call, r.*
FROM request q, LATERAL rank_bundles('steam', user_id => q.user_id, k => q.k, exclude_owned => q.exclude_owned, basket => q.basket, query => q.query,
                                     budget => q.budget, min_margin => q.min_margin, categories => q.categories, exclude => q.exclude,
                                     in_stock => q.in_stock, seed => q.call) r;
CREATE INDEX ON answer (call);
ANALYZE answer;

\i test/sql/include/judged_bundles.sql

SELECT cmp_ok((SELECT count(DISTINCT call) FROM answer), '>=', 200::bigint, 'most requests are answered');
SELECT cmp_ok((SELECT count(*) FROM request q LEFT JOIN (SELECT call, count(*) AS n FROM answer GROUP BY call) a USING (call) WHERE k > coalesce(a.n, 0)), '>=', 20::bigint, 'some not in full');
SELECT is((SELECT count(*) FROM offered), (SELECT count(*) FROM answer), 'every bundle is in the source');
SELECT is((SELECT count(*) FROM offered WHERE inactive), 0::bigint, 'nothing retired');
SELECT is((SELECT count(*) FROM offered WHERE sold_out), 0::bigint, 'stock, in the quantity needed');
SELECT is((SELECT count(*) FROM offered WHERE dear), 0::bigint, 'budget');
SELECT is((SELECT count(*) FROM offered WHERE unprofitable), 0::bigint, 'margin');
SELECT is((SELECT count(*) FROM offered WHERE other), 0::bigint, 'categories');
SELECT is((SELECT count(*) FROM offered WHERE excluded OR had), 0::bigint, 'nothing excluded, nothing that is in the basket already');
SELECT is((SELECT count(*) FROM offered WHERE owned OR owned_in_parts), 0::bigint, 'nothing that the user owns, as a whole or in parts');
SELECT is((SELECT count(*) FROM (SELECT FROM answer GROUP BY call, bundle_id HAVING count(*) > 1) d), 0::bigint, 'no bundle twice in an answer');
SELECT is_empty($$SELECT q.call, q.k, f.n, a.n FROM request q LEFT JOIN (SELECT call, count(*) AS n FROM feasible GROUP BY call) f USING (call)
                  LEFT JOIN (SELECT call, count(*) AS n FROM answer GROUP BY call) a USING (call) WHERE coalesce(a.n, 0) <> least(q.k, coalesce(f.n, 0))$$,
                'as many as are wanted, or as there are');
SELECT is_empty($$SELECT a.bundle_id, a.price, f.price FROM answer a JOIN fact f ON f.bundle = a.bundle_id COLLATE "default"
                  WHERE abs(a.price - f.price) > 1e-9 OR abs(a.list_price - f.list) > 1e-9 OR abs(a.discount - (1 - f.price / nullif(f.list, 0))) > 1e-9
                     OR abs(a.margin - (f.price - f.cost) / nullif(f.price, 0)) > 1e-9 OR (a.margin IS NULL) <> (f.cost IS NULL OR f.price = 0)$$,
                'prices, discounts and margins are those of the source');

---- the log ----

CREATE TABLE sample AS SELECT d.* FROM decision d WHERE decision_id IN (SELECT decision_id FROM answer);
CREATE TABLE chosen AS
SELECT d.decision_id, k AS rank, p.place, d.propensity[k] AS logged, p.bundle = d.slot_bundles[k] AS offered, p.bundle = ANY (d.slot_bundles[1 : k - 1]) AS gone,
       (1 - d.epsilon) * d.votes[(k - 1) * d.pool_size + p.place] / d.draws + d.epsilon / (d.pool_size - k + 1) AS p
FROM sample d, generate_subscripts(d.slot_bundles, 1) k, unnest(d.pool_bundles) WITH ORDINALITY p(bundle, place);
SELECT is((SELECT max(pool_size) FROM sample), 128, 'a pool is full where it can be');
SELECT is((SELECT count(*) FROM chosen WHERE offered), (SELECT count(*) FROM answer), 'every slot is a member of its pool, once');
SELECT is((SELECT count(*) FROM chosen WHERE offered AND abs(p - logged) > 1e-12), 0::bigint, 'propensity = (1 - epsilon) votes / draws + epsilon / remaining');
SELECT is((SELECT count(*) FROM (SELECT FROM chosen WHERE NOT gone GROUP BY decision_id, rank HAVING abs(sum(p) - 1) > 1e-9) s), 0::bigint,
          'and sums to 1 over what is left of the pool');

---- what completes a set ----

-- 20 sets of up to 4 games: mean over the set of 1 - (1 - sqrt(s)) (1 - 0.3 t), by joins, pair_scores and <=>
CREATE TABLE asked AS SELECT call, some_items(call, 'set', 1 + call % 4) AS given FROM generate_series(1, 20) call;
CREATE TABLE together AS SELECT a.id, b.id AS other, count(*) AS n FROM sale a JOIN sale b USING (shopper) WHERE a.id <> b.id GROUP BY 1, 2;
CREATE TABLE sold AS SELECT id, count(*) AS n FROM sale GROUP BY id;
CREATE TABLE by_joins AS
SELECT q.call, i.item, i.item_id, avg(1 - (1 - sqrt(s.shrunk_cosine)) * (1 - .3 * CASE WHEN c > .95 THEN (1 - c) / .05 ELSE least(c / .8, 1) END)) AS score
FROM asked q CROSS JOIN item i JOIN game p ON p.id = i.item_id JOIN item g ON g.item_id = ANY (q.given) LEFT JOIN together t ON t.id = g.item_id AND t.other = i.item_id
     LEFT JOIN sold a ON a.id = g.item_id LEFT JOIN sold b ON b.id = i.item_id,
     LATERAL (SELECT greatest(1 - (i.embedding <=> g.embedding), 0) AS c) c,
     LATERAL pair_scores(coalesce(t.n, 0), coalesce(a.n, 1), coalesce(b.n, 1), 1000000) s
WHERE p.active IS NOT FALSE AND i.item_id <> ALL (q.given) AND i.catalog = :n AND g.catalog = :n
GROUP BY 1, 2, 3;
CREATE TABLE by_complete AS SELECT q.call, c.* FROM asked q, LATERAL complete('steam', q.given, 30) c;
SELECT is((SELECT count(*) FROM (SELECT call, row_number() OVER (PARTITION BY call ORDER BY score DESC, item) AS rank, item_id, score FROM by_joins) j
           FULL JOIN by_complete c USING (call, rank) WHERE rank <= 30 AND (abs(j.score - c.score) < 1e-6) IS NOT TRUE), 0::bigint,
          'complete scores games as joins, pair_scores and <=> do');
SELECT is((SELECT count(*) FROM by_complete c JOIN by_joins j USING (call, item_id) WHERE abs(c.score - j.score) < 1e-6), 600::bigint, 'each of them');

-- a line is one text: neither delimiter nor quote occurs in it
\set groceries :data_dir '/groceries/groceries.csv'
CREATE TABLE line (n bigint GENERATED ALWAYS AS IDENTITY, items text);
COPY line (items) FROM :'groceries' (FORMAT csv, DELIMITER E'\b', QUOTE E'\f');
CREATE TABLE bought AS SELECT DISTINCT n AS basket, trim(i) AS item FROM line, unnest(string_to_array(items, ',')) i WHERE trim(i) <> '';
CREATE TABLE grocery AS SELECT DISTINCT item FROM bought;
ALTER TABLE grocery ADD PRIMARY KEY (item);
-- a fifth of the baskets is kept for the test: one item of each, drawn by md5, is hidden
CREATE TABLE hidden AS
SELECT DISTINCT ON (basket) basket, item FROM bought
WHERE (('x' || substr(md5(basket || 'seed'), 1, 8))::bit(32)::bigint % 5) = 0
  AND basket IN (SELECT basket FROM bought GROUP BY basket HAVING count(*) >= 2)
ORDER BY basket, md5(basket || item);
CREATE TABLE learned AS SELECT * FROM bought WHERE (('x' || substr(md5(basket || 'seed'), 1, 8))::bit(32)::bigint % 5) <> 0;
SELECT create_catalog('groceries', 'grocery', item_id => 'item') \g /dev/null
SELECT add_event_source('groceries', 'learned', item_id => 'item', basket_id => 'basket') \g /dev/null
SELECT refresh('groceries') \g /dev/null

-- the same by joins: mean over the set of sqrt(shrunk cosine), which is the affinity where there is no text
CREATE TABLE single AS SELECT item, count(*) AS n FROM learned GROUP BY item;
CREATE TABLE pair AS SELECT a.item, b.item AS other, count(*) AS n FROM learned a JOIN learned b USING (basket) WHERE a.item <> b.item GROUP BY 1, 2;
CREATE TABLE affinity AS
SELECT p.item, p.other, sqrt(s.shrunk_cosine) AS a FROM pair p JOIN single x ON x.item = p.item JOIN single y ON y.item = p.other,
       LATERAL pair_scores(p.n, x.n, y.n, (SELECT count(DISTINCT basket) FROM learned)) s;
CREATE TABLE test_set AS SELECT h.basket, h.item AS hidden, array_agg(b.item) AS rest FROM hidden h JOIN bought b USING (basket) WHERE b.item <> h.item GROUP BY 1, 2;
CREATE TABLE completed AS SELECT t.basket, c.* FROM test_set t, LATERAL complete('groceries', t.rest, 10) c;
CREATE TABLE by_hand AS
SELECT t.basket, r.* FROM test_set t, LATERAL (
    SELECT other AS item_id, sum(a) / cardinality(t.rest) AS score FROM affinity WHERE item = ANY (t.rest) AND other <> ALL (t.rest)
    GROUP BY other ORDER BY 2 DESC LIMIT 10) r;
SELECT cmp_ok((SELECT count(*) FROM test_set), '>', 1400::bigint, 'baskets of which one item is hidden');
SELECT is((SELECT count(*) FROM (SELECT basket, row_number() OVER (PARTITION BY basket ORDER BY score DESC) AS rank, score FROM by_hand) h
           FULL JOIN completed c USING (basket, rank) WHERE (abs(h.score - c.score) < 1e-9) IS NOT TRUE), 0::bigint, 'complete scores as joins do');
SELECT is_empty($$SELECT basket, item_id COLLATE "default" FROM completed c JOIN (SELECT basket, min(score) AS least FROM by_hand GROUP BY basket) l USING (basket) WHERE score > least + 1e-9
                  EXCEPT SELECT basket, item_id FROM by_hand$$, 'and names the same items');
-- a plain cosine of baskets finds .40 of them, popularity .385 (over other splits)
SELECT cmp_ok((SELECT avg((hidden IN (SELECT item_id COLLATE "default" FROM completed c WHERE c.basket = t.basket))::int) FROM test_set t), '>', .36, 'more than a third of the hidden items is among the first ten');

\else
SELECT skip('the Steam and groceries data are not there', 25);
\endif

SELECT * FROM finish();
