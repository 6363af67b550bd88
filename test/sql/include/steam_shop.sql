--
-- steam_shop.sql
--    Steam's 2,819 games and 615 bundles as a shop: the catalog steam, what its
--    bundles are by the source alone, and draws from it that md5 makes.
--
--    Names, prices, bundles and who bought them are real; cost, stock, active
--    and quantities are derived from md5 of the ids. The tiny BERT model embeds
--    the names. Asks for the folder steam below data_dir, and leaves search_path
--    at steam, bundle_rec, public.
--
\set items :data_dir '/steam/items.csv'
\set prices :data_dir '/steam/bundles.csv'
\set contents :data_dir '/steam/bundle_item.csv'
\set purchases :data_dir '/steam/user_bundle.csv'

SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null
CREATE SCHEMA steam;
SET search_path = steam, bundle_rec, public;
SET client_min_messages = error;

-- in [0, 1), the same for the same words
CREATE FUNCTION chance(VARIADIC words text[]) RETURNS double precision LANGUAGE sql IMMUTABLE
AS $$SELECT ('x' || substr(md5(array_to_string(words, ' ')), 1, 8))::bit(32)::bigint / 4294967296.0::double precision$$;

---- the shop ----

CREATE TEMP TABLE raw_item (id text, name text, price numeric, tags text);
CREATE TEMP TABLE raw_price (bundle text, list numeric, final numeric, percent numeric);
CREATE TEMP TABLE raw_content (bundle text, id text);
CREATE TABLE owner (shopper text, bundle text);
COPY raw_item FROM :'items' (FORMAT csv, HEADER);
COPY raw_price FROM :'prices' (FORMAT csv, HEADER);
COPY raw_content FROM :'contents' (FORMAT csv, HEADER);
COPY owner FROM :'purchases' (FORMAT csv, HEADER);
CREATE INDEX ON owner (shopper);

-- costs of 20 to 70 % of the prices, 3 % unknown; 2 % sold out, 2 % uncounted; 1 % retired; every tenth pair of bundle and item is two of it
CREATE TABLE game (id text PRIMARY KEY, name text, genre text, price numeric, cost numeric, stock int, active boolean);
INSERT INTO game
SELECT id, name, split_part(tags, '|', 1), price, CASE WHEN chance(id, 'cost?') >= .03 THEN round(price * (.2 + .5 * chance(id, 'cost'))::numeric, 2) END,
       CASE WHEN chance(id, 'stock?') < .02 THEN 0 WHEN chance(id, 'stock?') < .98 THEN 1 + floor(50 * chance(id, 'stock')) END,
       CASE WHEN chance(id, 'active') < .01 THEN false WHEN chance(id, 'active') < .98 THEN true END
FROM raw_item;
CREATE TABLE content (bundle text, id text, units int, price numeric, PRIMARY KEY (bundle, id));
INSERT INTO content SELECT bundle, id, CASE WHEN chance(bundle, id) < .1 THEN 2 END, final FROM raw_content JOIN raw_price USING (bundle);
-- every fortieth shopper bought the items one by one, too
CREATE TABLE sale (shopper text, id text);
INSERT INTO sale SELECT DISTINCT shopper, id FROM owner JOIN content USING (bundle) WHERE chance(shopper) < .025;

SELECT create_catalog('steam', 'game', item_id => 'id', text => '{name}', price => 'price', cost => 'cost', stock => 'stock', category => 'genre',
                      active => 'active', model => 'tiny') \g /dev/null
SELECT add_event_source('steam', 'sale', user_id => 'shopper', item_id => 'id', basket_id => 'shopper') \g /dev/null
SELECT add_event_source('steam', 'owner', user_id => 'shopper', bundle_id => 'bundle') \g /dev/null
SELECT add_bundle_source('steam', 'content', bundle_id => 'bundle', item_id => 'id', quantity => 'units', price => 'price') \g /dev/null
SELECT refresh('steam') \g /dev/null

SELECT catalog AS n FROM catalog WHERE name = 'steam' \gset

---- what may be offered, from the source ----

CREATE TABLE fact AS
SELECT c.bundle, array_agg(c.id ORDER BY c.id) AS items, min(c.price) AS price, sum(coalesce(units, 1) * g.price) AS list,
       CASE WHEN count(g.cost) = count(*) THEN sum(coalesce(units, 1) * g.cost) END AS cost, bool_and(g.active IS NOT FALSE) AS active,
       bool_and(g.stock IS NULL OR g.stock >= coalesce(units, 1)) AS in_stock, array_agg(DISTINCT g.genre) AS genres
FROM content c JOIN game g ON g.id = c.id GROUP BY c.bundle;

---- draws ----

-- a call, what the draw is for, and its number name it
CREATE TABLE numbered AS SELECT row_number() OVER (ORDER BY id) AS n, id, name FROM game WHERE id IN (SELECT id FROM content);
CREATE TABLE shopper AS SELECT row_number() OVER (ORDER BY shopper) AS n, shopper FROM (SELECT DISTINCT shopper FROM owner) o;
CREATE UNIQUE INDEX ON numbered (n);
CREATE UNIQUE INDEX ON shopper (n);
ANALYZE numbered, shopper;
CREATE FUNCTION some_items(call int, which text, n int) RETURNS text[] LANGUAGE sql STABLE
AS $$SELECT coalesce(array_agg(DISTINCT id), '{}') FROM generate_series(1, n) i JOIN numbered p
     ON p.n = 1 + floor(chance(call::text, which, i::text) * (SELECT count(*) FROM numbered))::bigint$$;
CREATE TABLE genre AS SELECT row_number() OVER (ORDER BY genre) AS n, genre FROM (SELECT DISTINCT genre FROM game WHERE genre <> '') g;
CREATE TABLE kit AS SELECT row_number() OVER (ORDER BY bundle) AS n, items FROM fact;
CREATE FUNCTION some_genres(call int, n int) RETURNS text[] LANGUAGE sql STABLE
AS $$SELECT array_agg(DISTINCT genre) FROM generate_series(1, n) i JOIN genre g
     ON g.n = 1 + floor(chance(call::text, 'genre', i::text) * (SELECT count(*) FROM genre))::bigint$$;
