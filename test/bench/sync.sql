-- sync.sql: a shop that is followed, and tables alike that nobody follows.
CREATE EXTENSION bundle_rec;
SET client_min_messages = warning;
SET search_path = public, bundle_rec;
CREATE SEQUENCE one START 1000000;
CREATE TABLE product (sku bigint PRIMARY KEY, title text, price numeric, stock int, category text);
CREATE TABLE sale (id bigint DEFAULT nextval('one') PRIMARY KEY, basket int, sku bigint, usr int, at timestamptz);
CREATE TABLE parted (id bigint DEFAULT nextval('one'), basket int, sku bigint, usr int, at timestamptz NOT NULL,
                     PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE product_plain (LIKE product INCLUDING ALL);
CREATE TABLE sale_plain (LIKE sale INCLUDING ALL);
CREATE TABLE parted_plain (LIKE parted INCLUDING ALL) PARTITION BY RANGE (at);
SELECT format('CREATE TABLE %1$I PARTITION OF %2$I FOR VALUES FROM (%3$L) TO (%4$L)', t || '_' || i, t,
              timestamptz '2023-12-31' + i * interval '3 days', timestamptz '2023-12-31' + (i + 1) * interval '3 days')
FROM unnest('{parted,parted_plain}'::text[]) t, generate_series(0, 3) i \gexec
INSERT INTO product SELECT i, 'product number ' || i, i % 100 + .99, i % 50, 'c' || i % 20 FROM generate_series(1, 10000) i;
INSERT INTO product_plain TABLE product;
SELECT load_model('tiny', :'golden_dir' || '/models/tiny-bert-cls') \g /dev/null
SELECT create_catalog('shop', 'product', 'sku', text => '{title}', price => 'price', stock => 'stock', category => 'category',
                      model => 'tiny') \g /dev/null
SELECT add_event_source('shop', 'sale', user_id => 'usr', item_id => 'sku', basket_id => 'basket', occurred_at => 'at') \g /dev/null
SELECT add_event_source('shop', 'parted', user_id => 'usr', item_id => 'sku', basket_id => 'basket', occurred_at => 'at') \g /dev/null
VACUUM ANALYZE;
