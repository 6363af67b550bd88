\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- electronic.sql
--    1,000 random requests over the real Electronic titles and sessions: what
--    comes back obeys every constraint, judged from the source table, and as
--    many rows come back as a plain search over the same candidates finds.
--
--    The data have no prices, so price, cost, stock and active are derived from
--    md5 of the id. The tiny BERT model embeds the titles: what they mean does
--    not matter here.
--
SELECT plan(24);
SELECT coalesce((pg_stat_file(:'data_dir' || '/bundlerec_electronic/item_titles.csv', true)).size > 0, false) AS have_data \gset
\if :have_data

\set titles :data_dir '/bundlerec_electronic/item_titles.csv'
\set categories :data_dir '/bundlerec_electronic/item_categories.csv'
\set baskets :data_dir '/bundlerec_electronic/session_item.csv'
\set visits :data_dir '/bundlerec_electronic/user_session.csv'

SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null
CREATE SCHEMA electronic;
SET search_path = electronic, bundle_rec, public;
SET client_min_messages = warning;

-- in [0, 1), the same for the same words
CREATE FUNCTION chance(VARIADIC words text[]) RETURNS double precision LANGUAGE sql IMMUTABLE
AS $$SELECT ('x' || substr(md5(array_to_string(words, ' ')), 1, 8))::bit(32)::bigint / 4294967296.0::double precision$$;

---- the shop ----

CREATE TEMP TABLE title (id text, title text);
CREATE TEMP TABLE path (id text, path text);
CREATE TEMP TABLE bought (session text, id text);
CREATE TEMP TABLE visit (shopper text, session text, at bigint);
COPY title FROM :'titles' (FORMAT csv, HEADER);
COPY path FROM :'categories' (FORMAT csv, HEADER);
COPY bought FROM :'baskets' (FORMAT csv, HEADER);
COPY visit FROM :'visits' (FORMAT csv, HEADER);

-- prices from 2 to 300, 3 % unknown; costs of 40 to 95 % of them, 5 % unknown; 12 % sold out, 5 % uncounted; 4 % retired
CREATE TABLE product (
    id text PRIMARY KEY, title text, category text, price numeric(10, 2), cost numeric(10, 2), stock int, active boolean);
INSERT INTO product
SELECT id, title, split_part(trim(path, '[]'), ',', 2),
       CASE WHEN chance(id, 'price?') >= .03 THEN list END, CASE WHEN chance(id, 'cost?') >= .05 THEN round(list * (.4 + .55 * chance(id, 'cost'))::numeric, 2) END,
       CASE WHEN chance(id, 'stock?') < .12 THEN 0 WHEN chance(id, 'stock?') < .95 THEN 1 + floor(99 * chance(id, 'stock')) END,
       CASE WHEN chance(id, 'active') < .04 THEN false WHEN chance(id, 'active') < .98 THEN true END
FROM title LEFT JOIN path USING (id), LATERAL (SELECT round((2 * 150 ^ chance(id, 'price'))::numeric, 2) AS list) l;
CREATE TABLE purchase (session text, shopper text, id text, at timestamptz);
INSERT INTO purchase SELECT session, shopper, id, to_timestamp(at) FROM bought LEFT JOIN visit USING (session);

SELECT create_catalog('electronic', 'product', item_id => 'id', text => '{title}', price => 'price', cost => 'cost', stock => 'stock',
                      category => 'category', active => 'active', model => 'tiny', discount => 0.1) \g /dev/null
SELECT add_event_source('electronic', 'purchase', user_id => 'shopper', item_id => 'id', basket_id => 'session', occurred_at => 'at') \g /dev/null
SELECT refresh('electronic') \g /dev/null

SELECT results_eq($$SELECT items, active, embedded, pending, baskets FROM catalog_coverage$$,
                  $$SELECT (SELECT count(*) FROM product), (SELECT count(*) FROM product WHERE active IS NOT FALSE),
                           (SELECT count(*) FROM product), 0::bigint,
                           (SELECT count(DISTINCT session) FROM purchase JOIN product USING (id))$$,
                  'refresh takes everything in');
SELECT results_eq($$SELECT sum(together) / 2 FROM item_pair$$,
                  $$SELECT count(*)::numeric FROM purchase a JOIN purchase b USING (session) JOIN product p ON p.id = a.id
                    JOIN product q ON q.id = b.id WHERE a.id < b.id$$,
                  'and counts the pairs that a join counts');

---- the requests ----

CREATE TABLE numbered AS SELECT row_number() OVER (ORDER BY id) AS n, id, title, category FROM product;
CREATE UNIQUE INDEX ON numbered (n);
ANALYZE numbered;
CREATE TABLE shopper AS SELECT row_number() OVER (ORDER BY shopper) AS n, shopper FROM (SELECT DISTINCT shopper FROM visit) v;
CREATE TABLE kind AS SELECT row_number() OVER (ORDER BY category) AS n, category FROM (SELECT DISTINCT category FROM product) c;

-- up to `most` of a table's values, `which` naming the draw
CREATE FUNCTION some_items(call int, which text, n int) RETURNS text[] LANGUAGE sql STABLE
AS $$SELECT coalesce(array_agg(DISTINCT id), '{}') FROM generate_series(1, n) i JOIN numbered p
     ON p.n = 1 + floor(chance(call::text, which, i::text) * (SELECT count(*) FROM numbered))::bigint$$;
CREATE FUNCTION some_kinds(call int, n int) RETURNS text[] LANGUAGE sql STABLE
AS $$SELECT array_agg(DISTINCT category) FROM generate_series(1, n) i JOIN kind k
     ON k.n = 1 + floor(chance(call::text, 'kind', i::text) * (SELECT count(*) FROM kind))$$;

CREATE TABLE request AS
SELECT call,
       some_items(call, 'basket', floor(chance(call::text, 'basket size') * 4)::int) AS basket,
       CASE WHEN chance(call::text, 'user?') < .4 THEN (SELECT shopper FROM shopper s
                 WHERE s.n = 1 + floor(chance(call::text, 'user') * (SELECT count(*) FROM shopper)))
            WHEN chance(call::text, 'user?') < .5 THEN 'a stranger' END AS user_id,
       CASE WHEN chance(call::text, 'query?') < .1 THEN (SELECT title FROM numbered p
                 WHERE p.n = 1 + floor(chance(call::text, 'query') * (SELECT count(*) FROM numbered))::bigint) END AS query,
       1 + floor(chance(call::text, 'bundles') * 10)::int AS bundles,
       (ARRAY['[2,2]', '[3,3]', '[2,4]', '[1,3]', '[4,5]', '[2,3]'])[1 + floor(chance(call::text, 'size') * 6)::int]::int4range AS size,
       CASE WHEN chance(call::text, 'budget?') < .55 THEN round((3 * 100 ^ chance(call::text, 'budget'))::numeric, 2)::float8 END AS budget,
       CASE WHEN chance(call::text, 'margin?') < .4 THEN round((-.1 + .66 * chance(call::text, 'margin'))::numeric, 2)::float8 END AS min_margin,
       CASE WHEN chance(call::text, 'kinds?') < .3 THEN some_kinds(call, 1 + floor(chance(call::text, 'kinds') * 3)::int) END AS categories,
       CASE WHEN chance(call::text, 'exclude?') < .3 THEN some_items(call, 'exclude', 1 + floor(chance(call::text, 'excluded') * 40)::int) END AS exclude,
       chance(call::text, 'in stock') < .75 AS in_stock
FROM generate_series(1, 1000) AS call;

CREATE TABLE answer AS
SELECT q.call, r.*
FROM request q, LATERAL recommend('electronic', user_id => q.user_id, basket => q.basket, query => q.query, bundles => q.bundles,
                                  size => q.size, budget => q.budget, min_margin => q.min_margin, categories => q.categories,
                                  exclude => q.exclude, in_stock => q.in_stock, seed => q.call) r;
CREATE INDEX ON answer (call);
ANALYZE answer;

SELECT cmp_ok((SELECT count(DISTINCT call) FROM answer), '>=', 800::bigint, 'most requests are answered');
SELECT cmp_ok((SELECT count(*) FROM request q WHERE bundles > (SELECT count(*) FROM answer a WHERE a.call = q.call)), '>=', 50::bigint,
              'and some cannot be answered in full');

---- constraints, from the source ----

-- one row per bundle: what the source says of its items, in exact decimals
CREATE TABLE offered AS
SELECT a.call, a.rank, a.items, a.price, a.list_price, a.margin, cardinality(a.items) AS size, s.*
FROM answer a, LATERAL (
    SELECT count(*) AS found, sum(p.price) AS list, sum(p.cost) AS cost, bool_and(p.price IS NOT NULL) AS priced,
           bool_and(p.cost IS NOT NULL) AS costed, min(p.stock) AS least_stock, bool_and(p.active IS NOT FALSE) AS active,
           array_agg(p.category) AS categories
    FROM product p WHERE p.id = ANY (a.items)) s;

SELECT is((SELECT count(*) FROM offered WHERE found <> size), 0::bigint, 'every item is in the source, none twice in a bundle');
SELECT is((SELECT count(*) FROM offered o JOIN request q USING (call) WHERE NOT o.size <@ q.size), 0::bigint, 'size');
SELECT is((SELECT count(*) FROM offered o JOIN request q USING (call) WHERE q.budget IS NOT NULL AND (NOT priced OR list * .9 > q.budget::numeric)),
          0::bigint, 'budget, after the discount');
SELECT is((SELECT count(*) FROM offered o JOIN request q USING (call)
           WHERE q.min_margin IS NOT NULL AND (NOT priced OR NOT costed OR (list * .9 - o.cost) / (list * .9) < q.min_margin::numeric - 1e-12)),
          0::bigint, 'margin, after the discount');
SELECT is((SELECT count(*) FROM offered o JOIN request q USING (call) WHERE q.in_stock AND least_stock < 1), 0::bigint, 'stock');
SELECT is((SELECT count(*) FROM offered WHERE NOT active), 0::bigint, 'nothing retired');
SELECT is((SELECT count(*) FROM offered o JOIN request q USING (call) WHERE NOT o.categories <@ q.categories), 0::bigint, 'categories');
SELECT is((SELECT count(*) FROM offered o JOIN request q USING (call) WHERE o.items && q.exclude OR o.items && q.basket), 0::bigint,
          'nothing excluded, nothing of the basket');
SELECT is((SELECT count(*) FROM (SELECT FROM offered GROUP BY call, (SELECT array_agg(i ORDER BY i) FROM unnest(items) i) HAVING count(*) > 1) d),
          0::bigint, 'no bundle twice in an answer');
SELECT is((SELECT count(*) FROM offered
           WHERE (priced AND abs(price - (list * .9)::float8) > 1e-9) OR (priced AND abs(list_price - list::float8) > 1e-9)
              OR (priced AND costed AND abs(margin - ((list * .9 - cost) / (list * .9))::float8) > 1e-9)
              OR (NOT priced AND num_nonnulls(price, list_price) > 0) OR (NOT (priced AND costed) AND margin IS NOT NULL)),
          0::bigint, 'prices and margins are those of the source');

---- as many as there are ----

-- what things cost in a bundle
CREATE VIEW good AS SELECT id, price * .9::float8 AS price, cost::float8 AS cost, category FROM product;
\i test/sql/include/search.sql

-- 10 pairs, 10 triples
SELECT is((SELECT feasible(array_agg(id), '[2,3]', NULL, NULL, 100) FROM (SELECT id FROM product ORDER BY id LIMIT 5) p), 20,
          'the search finds every set of 5 items');

-- what could be offered at all, from the source
CREATE FUNCTION offerable(q request) RETURNS text[] LANGUAGE sql STABLE
AS $$SELECT coalesce(array_agg(id), '{}') FROM product p
     WHERE p.active IS NOT FALSE AND (NOT q.in_stock OR p.stock IS NULL OR p.stock >= 1) AND (q.categories IS NULL OR p.category = ANY (q.categories))
       AND p.id <> ALL (q.basket) AND (q.exclude IS NULL OR p.id <> ALL (q.exclude))$$;

CREATE TABLE short AS
SELECT q.call, q.size, q.budget, q.min_margin, q.bundles, a.n, a.candidates, offerable(q) AS offerable
FROM request q, LATERAL (
    SELECT count(*)::int AS n, (SELECT array_agg(i.item_id) FROM item i
                                WHERE i.item = ANY ((SELECT candidates FROM decision d WHERE d.decision_id = min(a.decision_id))::int[])) AS candidates
    FROM answer a WHERE a.call = q.call) a
WHERE a.n < q.bundles;

SELECT is_empty($$SELECT call, n, feasible(candidates, size, budget, min_margin, bundles) FROM short
                  WHERE n > 0 AND feasible(candidates, size, budget, min_margin, bundles) <> n$$,
                'where fewer come back, the candidates make just so many bundles');
SELECT is_empty($$SELECT call FROM short WHERE NOT candidates <@ offerable$$, 'and nothing but what may be offered was a candidate');
-- candidates are chosen so that a tight budget, or a tight margin, loses nothing; without rows there is no log of them
SELECT is_empty($$SELECT call, n FROM short WHERE num_nonnulls(budget, min_margin) < 2
                  AND feasible(offerable, size, budget, min_margin, bundles) <> n$$,
                'where one constraint binds, the whole catalog makes no more');

---- the log ----

-- each slot of 100 decisions, beside the pool member that it is
CREATE TABLE sample AS
SELECT d.* FROM decision d WHERE decision_id IN (SELECT decision_id FROM answer WHERE call % 10 = 0);
CREATE TABLE slot AS
SELECT d.decision_id, s.rank, d.slot_items[s.before + 1 : s.before + s.size] AS items, d.propensity[s.rank] AS propensity
FROM sample d, LATERAL (SELECT u.rank, u.size, sum(u.size) OVER (ORDER BY u.rank) - u.size AS before
                        FROM unnest(d.slot_sizes) WITH ORDINALITY AS u(size, rank)) s;
CREATE TABLE member AS
SELECT d.decision_id, m.place, d.pool_items[m.before + 1 : m.before + m.size] AS items
FROM sample d, LATERAL (SELECT u.place, u.size, sum(u.size) OVER (ORDER BY u.place) - u.size AS before
                        FROM unnest(d.pool_sizes) WITH ORDINALITY AS u(size, place)) m;
SELECT is((SELECT count(*) FROM slot JOIN member USING (decision_id, items)),
          (SELECT count(*) FROM answer WHERE call % 10 = 0), 'every slot is a member of its pool, once');
SELECT is((SELECT count(*) FROM slot s JOIN member m USING (decision_id, items) JOIN sample d USING (decision_id)
           WHERE abs(s.propensity - ((1 - d.epsilon) * d.votes[(s.rank - 1) * d.pool_size + m.place] / d.draws
                                     + d.epsilon / (d.pool_size - s.rank + 1))) > 1e-12),
          0::bigint, 'propensity = (1 - epsilon) votes / draws + epsilon / remaining');
SELECT results_eq($$SELECT e.rank, e.items, e.score, e.propensity, e.price, e.list_price, e.margin, e.reasons, e.user_id, e.basket, e.query
                    FROM (SELECT DISTINCT call, decision_id FROM answer WHERE call % 10 = 0) a, LATERAL explain_decision(decision_id) e
                    ORDER BY call, rank$$,
                  $$SELECT a.rank, a.items, a.score, a.propensity, a.price, a.list_price, a.margin, a.reasons, q.user_id, q.basket, q.query
                    FROM answer a JOIN request q USING (call) WHERE call % 10 = 0 ORDER BY call, rank$$,
                  'explain_decision tells of them what recommend did');

-- the index of the catalog's embeddings, of real titles
SELECT indexrelid::regclass::text AS nearest FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam WHERE amname = 'bundle_ann' \gset
SELECT cmp_ok(bundle_ann_recall(:'nearest'::regclass, 200, 10), '>=', .98::float8, 'recall of an index read whole');
SET bundle_rec.full_scan_rows = 0;
SELECT cmp_ok(bundle_ann_recall(:'nearest'::regclass, 200, 10), '>=', .93::float8, 'and of its nearest lists, aiming at .95');
RESET bundle_rec.full_scan_rows;
SELECT cmp_ok(bundle_ann_check(:'nearest'::regclass, true), '>=', (SELECT count(*) FROM item WHERE embedding IS NOT NULL), 'it holds every item');

\else
SELECT skip('the Electronic data are not there', 24);
\endif

SELECT * FROM finish();
