-- quality.sql
--    The catalogs of quality.sh: made anew from the data in :data_dir, with the
--    model in :model_dir.
\set ON_ERROR_STOP on
\set QUIET 1
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bundle_rec;
CREATE SCHEMA quality;
SET search_path = quality, bundle_rec, public;
SELECT load_model('minilm', :'model_dir') \g /dev/null

---- electronics: what people bundled of what they looked at in a session ----
\set titles :data_dir '/bundlerec_electronic/item_titles.csv'
\set categories :data_dir '/bundlerec_electronic/item_categories.csv'
\set members :data_dir '/bundlerec_electronic/bundle_item.csv'
\set sessions :data_dir '/bundlerec_electronic/session_bundle.csv'
\set looked :data_dir '/bundlerec_electronic/session_item.csv'
CREATE TABLE product (id text PRIMARY KEY, title text NOT NULL, category text);
CREATE TEMP TABLE path (id text, path text);
CREATE TABLE member (bundle text, id text, PRIMARY KEY (bundle, id));
CREATE TABLE session (session text, bundle text);
CREATE TABLE looked_at (session text, id text);
COPY product (id, title) FROM :'titles' (FORMAT csv, HEADER);
COPY path FROM :'categories' (FORMAT csv, HEADER);
COPY member FROM :'members' (FORMAT csv, HEADER);
COPY session FROM :'sessions' (FORMAT csv, HEADER);
COPY looked_at FROM :'looked' (FORMAT csv, HEADER);
UPDATE product SET category = trim(path, '[]') FROM path WHERE path.id = product.id;

-- each labelled bundle is a basket, the session its user: sessions hold overlapping bundles
CREATE VIEW bundled AS SELECT session, bundle, id FROM session JOIN member USING (bundle);
SELECT create_catalog('electronic', 'product', item_id => 'id', text => '{title}', category => 'category', model => 'minilm') \g /dev/null
SELECT add_event_source('electronic', 'bundled', user_id => 'session', basket_id => 'bundle', item_id => 'id') \g /dev/null
SELECT sync('electronic') \g /dev/null
SELECT refresh('electronic') \g /dev/null

-- the same as curated bundles of sessions, whose items were looked at: for detection
SELECT create_catalog('sessions', 'product', item_id => 'id', text => '{title}', category => 'category', model => 'minilm') \g /dev/null
SELECT add_bundle_source('sessions', 'member', bundle_id => 'bundle', item_id => 'id') \g /dev/null
SELECT add_event_source('sessions', 'looked_at', basket_id => 'session', item_id => 'id', default_kind => 'view') \g /dev/null
SELECT add_event_source('sessions', 'session', basket_id => 'session', bundle_id => 'bundle') \g /dev/null
SELECT refresh('sessions') \g /dev/null

---- Steam: who bought which bundle of games ----
\set games :data_dir '/steam/items.csv'
\set prices :data_dir '/steam/bundles.csv'
\set contents :data_dir '/steam/bundle_item.csv'
\set purchases :data_dir '/steam/user_bundle.csv'
CREATE TABLE game (id text PRIMARY KEY, name text, price numeric, tags text);
CREATE TEMP TABLE price (bundle text, list numeric, final numeric, percent numeric);
CREATE TEMP TABLE content_of (bundle text, id text);
CREATE TABLE owner (shopper text, bundle text);
COPY game FROM :'games' (FORMAT csv, HEADER);
COPY price FROM :'prices' (FORMAT csv, HEADER);
COPY content_of FROM :'contents' (FORMAT csv, HEADER);
COPY owner FROM :'purchases' (FORMAT csv, HEADER);
CREATE TABLE content (bundle text, id text, price numeric, PRIMARY KEY (bundle, id));
INSERT INTO content SELECT bundle, id, final FROM content_of JOIN price USING (bundle);
SELECT create_catalog('steam', 'game', item_id => 'id', text => '{name,tags}', price => 'price') \g /dev/null
SELECT add_bundle_source('steam', 'content', bundle_id => 'bundle', item_id => 'id', price => 'price') \g /dev/null
SELECT add_event_source('steam', 'owner', user_id => 'shopper', bundle_id => 'bundle') \g /dev/null
SELECT refresh('steam', 0) \g /dev/null

---- groceries: market baskets ----
\set lines :data_dir '/groceries/groceries.csv'
CREATE TEMP TABLE line (n bigint GENERATED ALWAYS AS IDENTITY, items text);
COPY line (items) FROM :'lines' (DELIMITER E'\x01');
CREATE TABLE bought AS SELECT DISTINCT n::text AS basket, trim(item) AS item FROM line, unnest(string_to_array(items, ',')) AS item;
CREATE TABLE grocery AS SELECT DISTINCT item FROM bought;
SELECT create_catalog('groceries', 'grocery', item_id => 'item') \g /dev/null
SELECT add_event_source('groceries', 'bought', item_id => 'item', basket_id => 'basket') \g /dev/null
SELECT refresh('groceries') \g /dev/null
SELECT catalog, items, embedded, events, baskets FROM catalog_coverage ORDER BY 1;
