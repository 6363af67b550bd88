--
-- small_shop.sql
--    A catalog small enough to check by hand: 16 products in 4 categories,
--    1 out of stock, 1 inactive, 1 without cost; 60 baskets in which the two
--    halves of a category are bought together. The tiny BERT model embeds it,
--    by the portable backend, so that seeded answers are the same on any CPU.
--
SET bundle_rec.backend = portable;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null

CREATE SCHEMA small;
CREATE TABLE small.product (
    sku text PRIMARY KEY,
    title text NOT NULL,
    category text,
    price numeric(10, 2),
    cost numeric(10, 2),
    stock int,
    active boolean,
    since timestamptz
);
INSERT INTO small.product
SELECT format('p%s', lpad(i::text, 2, '0')), format('product %s of kind %s', i, (i - 1) % 4 + 1),
       format('kind %s', (i - 1) % 4 + 1), 5 + i, CASE WHEN i <> 7 THEN (5 + i) * (.3 + .04 * i) END,
       CASE WHEN i = 3 THEN 0 ELSE i END, i <> 5, '2020-01-01'
FROM generate_series(1, 16) AS i;

CREATE TABLE small.purchase (
    receipt int NOT NULL,
    shopper text,
    sku text NOT NULL,
    bought_at timestamptz NOT NULL
);
-- receipt r: product a = r mod 16 + 1, its partner a + 4 (same kind), every third time a + 1 too
INSERT INTO small.purchase
SELECT r, format('u%s', r % 6), format('p%s', lpad(((r + step) % 16 + 1)::text, 2, '0')),
       timestamptz '2024-01-01' + r * interval '1 hour'
FROM generate_series(1, 60) AS r, unnest(ARRAY[0, 4, 1]) AS step
WHERE step <> 1 OR r % 3 = 0;

SELECT create_catalog('small', 'small.product', item_id => 'sku', text => '{title}', price => 'price',
                      cost => 'cost', stock => 'stock', category => 'category', active => 'active',
                      created_at => 'since', model => 'tiny') \g /dev/null
SELECT add_event_source('small', 'small.purchase', user_id => 'shopper', item_id => 'sku',
                        basket_id => 'receipt', occurred_at => 'bought_at') \g /dev/null
SET client_min_messages = warning;
SELECT refresh('small') \g /dev/null
RESET client_min_messages;
