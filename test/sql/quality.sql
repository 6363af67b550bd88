\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- quality.sql
--    What rankers find on real data: floors, each at most a standard error below
--    what test/bench/quality.sh measured, in one split. The whole table takes
--    hours; here the titles are not embedded, which takes longest.
--
SELECT plan(14);
SELECT coalesce((pg_stat_file(:'data_dir' || '/steam/user_bundle.csv', true)).size > 0, false) AS have_data \gset
\if :have_data
SET client_min_messages = warning;
CREATE SCHEMA quality;
SET search_path = quality, bundle_rec, public;
CREATE TABLE found (data text, method text, metric text, k int, value float8, standard_error float8, cases bigint, difference float8, difference_error float8);
CREATE FUNCTION found(data text, method text, k int) RETURNS float8 LANGUAGE sql AS
$$SELECT value FROM quality.found f WHERE f.data = $1 AND f.method = $2 AND f.metric = 'hit_rate' AND f.k = $3$$;

---- groceries: baskets that lack an item ----

\set lines :data_dir '/groceries/groceries.csv'
CREATE TEMP TABLE line (n bigint GENERATED ALWAYS AS IDENTITY, items text);
COPY line (items) FROM :'lines' (DELIMITER E'\x01');
CREATE TABLE bought AS SELECT DISTINCT n::text AS basket, trim(item) AS item FROM line, unnest(string_to_array(items, ',')) AS item;
CREATE TABLE grocery AS SELECT DISTINCT item FROM bought;
SELECT create_catalog('groceries', 'grocery', item_id => 'item') \g /dev/null
SELECT add_event_source('groceries', 'bought', item_id => 'item', basket_id => 'basket') \g /dev/null
SELECT refresh('groceries') \g /dev/null
INSERT INTO found SELECT 'groceries', * FROM evaluate('groceries', 'completion', 'basket', 1, baseline => 'confidence');
SELECT is((SELECT DISTINCT cases FROM found), (SELECT count(*) FROM (SELECT basket FROM bought WHERE ('x' || substr(md5(basket || 0), 1, 8))::bit(32)::bigint % 5 = 0 GROUP BY 1 HAVING count(*) > 1) x),
    'groceries: every basket of the split is asked about');
SELECT cmp_ok(found('groceries', 'ranker', 10), '>', found('groceries', 'confidence', 10), 'the ranker finds more than conditional probability');
SELECT cmp_ok(found('groceries', 'ranker', 10), '>=', found('groceries', 'ease', 10), 'and no less than EASE');
SELECT cmp_ok(found('groceries', 'ranker', 10), '>=', .379::float8, 'as was measured');
SELECT cmp_ok(found('groceries', 'association', 10), '>=', .383::float8, 'of associations too');

---- Steam: one bundle of each user's ----

\set games :data_dir '/steam/items.csv'
\set contents :data_dir '/steam/bundle_item.csv'
\set purchases :data_dir '/steam/user_bundle.csv'
CREATE TABLE game (id text PRIMARY KEY, name text, price numeric, tags text);
CREATE TABLE content (bundle text, id text, PRIMARY KEY (bundle, id));
CREATE TABLE owner (shopper text, bundle text);
COPY game FROM :'games' (FORMAT csv, HEADER);
COPY content FROM :'contents' (FORMAT csv, HEADER);
COPY owner FROM :'purchases' (FORMAT csv, HEADER);
-- texts are for words alone: no model is loaded
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null
SELECT create_catalog('steam', 'game', item_id => 'id', text => '{name,tags}', price => 'price', model => 'tiny') \g /dev/null
SELECT add_bundle_source('steam', 'content', bundle_id => 'bundle', item_id => 'id') \g /dev/null
SELECT add_event_source('steam', 'owner', user_id => 'shopper', bundle_id => 'bundle') \g /dev/null
SELECT refresh('steam', 0) \g /dev/null
INSERT INTO found SELECT 'steam', * FROM evaluate('steam', 'bundle', seeds => 1, baseline => 'bundle_ease');
SELECT is((SELECT DISTINCT cases FROM found WHERE data = 'steam'), (SELECT count(*) FROM (SELECT shopper FROM owner GROUP BY 1 HAVING count(DISTINCT bundle) > 1) x), 'Steam: every user with two bundles is asked about');
SELECT cmp_ok(found('steam', 'bundle_ranker', 1), '>=', .66::float8, 'the ranker puts two of three first');
SELECT cmp_ok((SELECT difference / difference_error FROM found WHERE data = 'steam' AND method = 'bundle_ranker' AND metric = 'hit_rate' AND k = 1), '>', 2::float8, 'which is more than EASE does');
SELECT cmp_ok((SELECT difference / difference_error FROM found WHERE data = 'steam' AND method = 'bundle_ranker' AND metric = 'hit_rate' AND k = 5), '>', 2::float8, 'of the first five as well');
SELECT cmp_ok(found('steam', 'bundle_ranker', 10), '>=', found('steam', 'bundle_ease', 10), 'and ten');
INSERT INTO found SELECT 'cold', * FROM evaluate('steam', 'cold_bundle', seeds => 1, k => '{20}');
SELECT cmp_ok(found('cold', 'bundle_ranker', 20), '>=', found('cold', 'profile', 20), 'of bundles that nobody bought it finds no fewer than words do');

---- electronics: bundles of a session ----

\set titles :data_dir '/bundlerec_electronic/item_titles.csv'
\set members :data_dir '/bundlerec_electronic/bundle_item.csv'
\set sessions :data_dir '/bundlerec_electronic/session_bundle.csv'
CREATE TABLE product (id text PRIMARY KEY, title text NOT NULL);
CREATE TABLE member (bundle text, id text, PRIMARY KEY (bundle, id));
CREATE TABLE session (session text, bundle text);
COPY product FROM :'titles' (FORMAT csv, HEADER);
COPY member FROM :'members' (FORMAT csv, HEADER);
COPY session FROM :'sessions' (FORMAT csv, HEADER);
CREATE VIEW bundled AS SELECT session, bundle, id FROM session JOIN member USING (bundle);
SELECT create_catalog('electronic', 'product', item_id => 'id', text => '{title}', model => 'tiny') \g /dev/null
SELECT add_event_source('electronic', 'bundled', user_id => 'session', basket_id => 'bundle', item_id => 'id') \g /dev/null
SELECT sync('electronic') \g /dev/null
SELECT refresh('electronic', 0) \g /dev/null
INSERT INTO found SELECT 'electronic', * FROM evaluate('electronic', 'completion', 'user', 1, baseline => 'tf_idf');
SELECT cmp_ok(found('electronic', 'ranker', 10), '>=', found('electronic', 'tf_idf', 10), 'electronics: the ranker finds no less than TF-IDF');
SELECT cmp_ok(found('electronic', 'lexical', 10), '>=', .175::float8, 'nor do words whose weights are learned, as was measured');
SELECT cmp_ok(found('electronic', 'tf_idf', 10), '>', 5 * found('electronic', 'popularity', 10), 'and TF-IDF is no straw man');

\else
SELECT skip('no real data beside the checkout', 14);
\endif
SELECT * FROM finish();
