--
-- recommend.sql
--    The shop of recommend.sh: :items products whose titles are composed of word
--    lists, and :baskets baskets of 2 to 5 products that mostly share a kind,
--    popular ones more often, of 30,000 shoppers.
--
--    The tiny BERT model embeds the titles, which takes seconds instead of an
--    hour; its 32 components are then repeated 12 times, so that decisions
--    handle the 384 of a real model. Cosines, and so neighbours, stay the same.
--
\set ON_ERROR_STOP 1
\pset tuples_only on
SET client_min_messages = warning;
CREATE EXTENSION bundle_rec;
CREATE EXTENSION pg_stat_statements;
SET search_path = public, bundle_rec;
SELECT setseed(.5) \g /dev/null
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null

CREATE TABLE product (id int PRIMARY KEY, title text, category text, price float8, cost float8, stock int, since timestamptz);
WITH word AS (SELECT '{compact,wireless,foldable,rugged,slim,quiet,heavy,portable,silver,black,red,blue,classic,smart,mini,large}'::text[] AS looks,
    '{camera,tripod,lens,charger,battery,cable,router,keyboard,mouse,monitor,speaker,headphone,tablet,laptop,printer,scanner,drive,card,bag,mount}'::text[] AS things,
    '{Acme,Nordia,Pixla,Voltan,Kestrel,Lumo,Orbit,Zephyr,Tesso,Branta,Calyx,Dorado}'::text[] AS makers,
    '{with case,for travel,pack of two,second edition,with stand,for beginners,for studios,refurbished,water resistant,with remote}'::text[] AS extras)
INSERT INTO product
SELECT i, concat_ws(' ', makers[1 + i * 7 % 12], looks[1 + i / 20 % 16], things[1 + i % 20], extras[1 + i / 3 % 10], i % 997),
       'kind ' || i % 20, round((2 * 150 ^ random())::numeric, 2), 1, (random() * 50)::int, timestamptz '2024-01-01' + random() * interval '700 days'
FROM word, generate_series(1, :items) i;
UPDATE product SET cost = price * (.4 + .5 * random());
CREATE TABLE purchase (receipt int, shopper text, id int, at timestamptz);
-- a basket: its kind, and within it ranks under a power law
INSERT INTO purchase
SELECT r, 'u' || r % 30000, 1 + (kind + 20 * floor(:items / 20 * random() ^ 4)::int) % :items, timestamptz '2025-01-01' + r * interval '1 minute'
FROM (SELECT r, floor(random() * 20)::int AS kind, 2 + floor(random() * 4)::int AS size FROM generate_series(1, :baskets) r) b, generate_series(1, size);

SELECT create_catalog('shop', 'product', item_id => 'id', text => '{title}', price => 'price', cost => 'cost', stock => 'stock',
                      category => 'category', created_at => 'since', model => 'tiny') \g /dev/null
SELECT add_event_source('shop', 'purchase', user_id => 'shopper', item_id => 'id', basket_id => 'receipt', occurred_at => 'at') \g /dev/null
SELECT refresh('shop') \g /dev/null
-- the index of 32 components, made anew of 384
SELECT pg_get_indexdef('item_1_embedding_1'::regclass) AS index \gset
DROP INDEX item_1_embedding_1;
UPDATE item_1 SET embedding = (SELECT array_agg(c) FROM generate_series(1, 12), unnest(item_1.embedding::real[]) c)::embedding;
:index;
VACUUM (ANALYZE, FREEZE);
SELECT format('%s items, %s baskets, %s pairs, %s components', items, baskets, pairs, (SELECT dims(embedding) FROM item_1 LIMIT 1))
FROM catalog_coverage;
