--
-- learning_shop.sql
--    A shop in which there is something to learn: 40 products of two families
--    that are bought together, baskets that md5 composes and a fifth of whose
--    lines it takes from anywhere, and curated bundles of one family each, bought
--    by users who mostly keep to a family. The tiny BERT model embeds it.
--
SET bundle_rec.backend = portable;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null

CREATE SCHEMA shop;
-- in [0, n), the same for the same words
CREATE FUNCTION shop.draw(n int, VARIADIC words text[]) RETURNS int LANGUAGE sql IMMUTABLE
AS $$SELECT (('x' || substr(md5(array_to_string(words, ' ')), 1, 8))::bit(32)::bigint % n)::int$$;

-- a01 to a20 and b01 to b20
CREATE TABLE shop.product (sku text PRIMARY KEY, title text NOT NULL, category text, price numeric(8, 2), since timestamptz);
INSERT INTO shop.product
SELECT family || lpad(i::text, 2, '0'),
       concat_ws(' ', (ARRAY['small', 'large', 'red', 'green', 'light'])[1 + shop.draw(5, family, i::text)],
                 CASE family WHEN 'a' THEN (ARRAY['tent', 'stove', 'lamp', 'rope', 'pack'])[1 + i % 5] ELSE (ARRAY['pan', 'knife', 'bowl', 'whisk', 'board'])[1 + i % 5] END,
                 CASE family WHEN 'a' THEN 'for camping' ELSE 'for the kitchen' END),
       family || i % 4, 5 + i, '2020-01-01'
FROM unnest(ARRAY['a', 'b']) family, generate_series(1, 20) i;

-- the sku that a draw names, lower numbers more often
CREATE FUNCTION shop.some_sku(family text, VARIADIC words text[]) RETURNS text LANGUAGE sql IMMUTABLE
AS $$SELECT family || lpad((1 + least(shop.draw(20, VARIADIC words || 'first'::text), shop.draw(20, VARIADIC words || 'second'::text)))::text, 2, '0')$$;

-- 300 baskets of three or four lines by 90 shoppers
CREATE TABLE shop.purchase (receipt int, shopper text, sku text, at timestamptz);
INSERT INTO shop.purchase
SELECT DISTINCT r, 'u' || r % 90, shop.some_sku(CASE WHEN shop.draw(5, 'stray', r::text, line::text) = 0 THEN (ARRAY['a', 'b'])[1 + shop.draw(2, 'family', r::text, line::text)]
                                                     ELSE (ARRAY['a', 'b'])[1 + r % 2] END, 'item', r::text, line::text),
       timestamptz '2024-01-01' + r * interval '6 hours'
FROM generate_series(1, 300) r, generate_series(1, 4) line WHERE line <= 3 + r % 2;

-- bundles k01 to k12 of three products, odd ones of family a
CREATE TABLE shop.kit (kit text, sku text, PRIMARY KEY (kit, sku));
INSERT INTO shop.kit
SELECT DISTINCT 'k' || lpad(k::text, 2, '0'), (ARRAY['b', 'a'])[1 + k % 2] || lpad((1 + (k * 5 + step * 3) % 20)::text, 2, '0')
FROM generate_series(1, 12) k, generate_series(0, 2) step;
-- each shopper buys up to four of them, every fifth draw from anywhere
CREATE TABLE shop.kit_purchase (shopper text, kit text, at timestamptz);
INSERT INTO shop.kit_purchase
SELECT DISTINCT 'u' || u, 'k' || lpad((CASE WHEN shop.draw(5, 'stray', u::text, i::text) = 0 THEN 1 + shop.draw(12, 'kit', u::text, i::text)
                                            ELSE 1 + (u + 1) % 2 + 2 * least(shop.draw(6, 'kit', u::text, i::text), shop.draw(6, 'other', u::text, i::text)) END)::text, 2, '0'),
       timestamptz '2024-02-01' + u * interval '1 hour'
FROM generate_series(0, 299) u, generate_series(1, 4) i;

SELECT create_catalog('shop', 'shop.product', item_id => 'sku', text => '{title}', price => 'price', category => 'category',
                      created_at => 'since', model => 'tiny') \g /dev/null
SELECT add_bundle_source('shop', 'shop.kit', bundle_id => 'kit', item_id => 'sku') \g /dev/null
SELECT add_event_source('shop', 'shop.purchase', user_id => 'shopper', item_id => 'sku', basket_id => 'receipt', occurred_at => 'at') \g /dev/null
SELECT add_event_source('shop', 'shop.kit_purchase', user_id => 'shopper', bundle_id => 'kit', occurred_at => 'at') \g /dev/null
SELECT refresh('shop') \g /dev/null
